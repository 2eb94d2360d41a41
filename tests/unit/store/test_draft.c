#include "draftbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* What comes to the disk when is looked at in test_draft_faults.c; here it only takes time. */
int fdatasync(int fd)
{
	return 0;
}

int fsync(int fd)
{
	return 0;
}

int syncfs(int fd)
{
	return 0;
}

static void expect_bytes(struct draft *d, uint64_t off, const char *want, size_t len)
{
	char buf[64];

	assert_int_equal(draft_read(d, off, buf, len), len);
	assert_memory_equal(buf, want, len);
}

static void test_written_base_and_zero(void **state)
{
	struct draft *d = draftbox_create(*state, 1, 100);
	struct draft_piece v[8];
	char buf[8];

	assert_int_equal(draft_size(d), 100);
	assert_false(draft_is_whole(d));
	assert_int_equal(draft_write(d, 10, "abc", 3), 3);
	assert_int_equal(draft_truncate(d, 50), 0);
	assert_int_equal(draft_truncate(d, 200), 0);
	assert_int_equal(draft_write(d, 60, "xyz", 3), 3);
	assert_int_equal(draft_get_pieces(d, 0, 1000, v, 8), 5);
	const struct draft_piece want[] = {
		{ DRAFT_BASE, 0, 10 },     { DRAFT_WRITTEN, 10, 3 }, { DRAFT_BASE, 13, 37 },
		{ DRAFT_WRITTEN, 50, 13 }, { DRAFT_ZERO, 63, 137 },
	};
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(v[i].kind, want[i].kind);
		assert_int_equal(v[i].off, want[i].off);
		assert_int_equal(v[i].len, want[i].len);
	}
	assert_int_equal(draft_get_pieces(d, 200, 1, v, 8), 0);
	assert_int_equal(draft_get_pieces(d, UINT64_MAX, UINT64_MAX, v, 8), 0);
	assert_int_equal(draft_get_pieces(d, 0, UINT64_MAX, v, 2), 2);
	expect_bytes(d, 58, "\0\0xyz\0\0", 7);
	assert_int_equal(draft_read(d, 198, buf, 8), 2);
	assert_int_equal(draft_read(d, 200, buf, 8), 0);
	assert_int_equal(draft_read(d, 12, buf, 2), -ENODATA);
	draft_close(d);
}

static void test_filling(void **state)
{
	struct draft *d = draftbox_create(*state, 1, 20);
	uint64_t off, len;

	assert_int_equal(draft_write(d, 5, "WW", 2), 2);
	assert_true(draft_next_missing(d, 5, &off, &len));
	assert_int_equal(off, 7);
	assert_int_equal(len, 13);
	assert_int_equal(draft_fill(d, 0, "bbbbbbbbbb", 10), 0);
	expect_bytes(d, 0, "bbbbbWWbbb", 10);
	assert_false(draft_is_whole(d));
	assert_int_equal(draft_truncate(d, 12), 0);
	/* Of a base that once was longer. */
	assert_int_equal(draft_fill(d, 10, "cccccccccc", 10), 0);
	assert_true(draft_is_whole(d));
	assert_int_equal(draft_size(d), 12);
	assert_int_equal(draft_truncate(d, 14), 0);
	expect_bytes(d, 9, "bcc\0\0", 5);
	draft_close(d);
}

static void test_limits(void **state)
{
	struct draftbox *p = *state;
	struct draft_header header = draftbox_header(DRAFT_SIZE_MAX + 1);
	struct draft *d, *same;
	char name[DRAFT_PATH_MAX + 2];

	assert_int_equal(draft_create(p->dir, 1, &header, &d), -EFBIG);
	header.base_size = DRAFT_SIZE_MAX;
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	header.dir_path = name;
	assert_int_equal(draft_create(p->dir, 1, &header, &d), -ENAMETOOLONG);
	name[DRAFT_PATH_MAX] = '\0';
	assert_int_equal(draft_create(p->dir, 1, &header, &d), 0);
	assert_int_equal(draft_create(p->dir, 1, &header, &same), -EEXIST);
	assert_int_equal(draft_open(p->dir, 2, &same), -ENOENT);
	assert_int_equal(draft_write(d, DRAFT_SIZE_MAX, "x", 1), -EFBIG);
	assert_int_equal(draft_write(d, UINT64_MAX, "x", 1), -EFBIG);
	assert_int_equal(draft_write(d, 1, "x", SIZE_MAX), -EFBIG);
	assert_int_equal(draft_fill(d, UINT64_MAX, "x", 1), -EFBIG);
	assert_int_equal(draft_truncate(d, DRAFT_SIZE_MAX + 1), -EFBIG);
	assert_int_equal(draft_write(d, 7, "x", 0), 0);
	assert_int_equal(draft_version(d), 0);
	assert_int_equal(draft_write(d, DRAFT_SIZE_MAX - 1, "x", 1), 1);
	assert_int_equal(draft_size(d), DRAFT_SIZE_MAX);
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	d = draftbox_open(p, 1);
	expect_bytes(d, DRAFT_SIZE_MAX - 1, "x", 1);
	draft_close(d);
	/* The same one where it was not in memory. */
	header.base_size = 0;
	assert_int_equal(draft_create(p->dir, 1, &header, &d), -EEXIST);
}

static void test_header(void **state)
{
	struct draftbox *p = *state;
	struct draft_header header = draftbox_header(10), got;
	struct draft *d = draftbox_create(p, 1, 10);

	header.name = (char *)"other name";
	header.item_id = (char *)"ID!1";
	header.base_etag = NULL;
	assert_int_equal(draft_write(d, 0, "1", 1), 1);
	assert_int_equal(draft_set_header(d, &header), 0);
	assert_int_equal(draft_write(d, 1, "2", 1), 1);
	header.base_size = 11;
	assert_int_equal(draft_set_header(d, &header), -EINVAL);
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	d = draftbox_open(p, 1);
	expect_bytes(d, 0, "12", 2);
	assert_int_equal(draft_get_header(d, &got), 0);
	assert_int_equal(got.ino, 77);
	assert_int_equal(got.base_cid, 5);
	assert_int_equal(got.base_size, 10);
	assert_string_equal(got.dir_path, "some/folder");
	assert_string_equal(got.name, "other name");
	assert_string_equal(got.item_id, "ID!1");
	assert_null(got.drive_id);
	assert_null(got.base_etag);
	draft_header_fini(&got);
	draft_close(d);
}

static void test_versions_rise_over_restarts(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, 100);
	uint64_t version = draft_version(d);

	for (int life = 0; life < 4; life++) {
		assert_int_equal(draft_write(d, 0, "a", 1), 1);
		assert_true(draft_version(d) > version);
		version = draft_version(d);
		assert_int_equal(draft_truncate(d, 50 + (uint64_t)life), 0);
		assert_true(draft_version(d) > version);
		version = draft_version(d);
		assert_int_equal(draft_fill(d, 10, "b", 1), 0);
		assert_int_equal(draft_version(d), version);
		draft_close(d);
		draftbox_end(p);
		draftbox_begin_boot(p, (uint64_t)life / 2 * 2);
		d = draftbox_open(p, 1);
		assert_int_equal(draft_version(d), version);
	}
	draft_close(d);
}

/* --- against a model --- */

enum { ROUNDS = 30000, BASE = 50000 };

static void restart(struct draftbox *p, struct draft **d, uint64_t i)
{
	draft_close(*d);
	if (i % 3 > 0) {
		draftbox_end(p);
		if (i % 3 == 1)
			draftbox_begin(p);
		else
			draftbox_begin_boot(p, i);
	}
	*d = draftbox_open(p, 1);
}

static void test_random_changes(void **state)
{
	static struct model m;
	const struct model *models[] = { &m };
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, BASE);
	static struct op op;

	model_init(&m, BASE);
	for (uint64_t i = 0; i < ROUNDS; i++) {
		/* A base that is cut off never comes back; so there are several drafts. */
		if (i % 1000 == 999) {
			assert_int_equal(draft_remove(d), 0);
			draft_close(d);
			d = draftbox_create(p, 1, BASE);
			model_init(&m, BASE);
		}
		op_make(&op, 1, i);
		if (op.kind == OP_TRUNCATE && i % 8 > 0)
			op.off = m.size / 2 + op.off / 2;
		assert_int_equal(op_do(&op, d), 0);
		model_apply(&m, &op);
		assert_true(model_is(models, 1, d, op.off < 100 ? 0 : op.off - 100, op.len + 200));
		if (i % 101 == 0)
			restart(p, &d, i);
		if (i % 157 == 0) {
			draft_take_turn(d, DRAFT_TURN_ALONE);
			assert_int_equal(draft_rewrite(d), 0);
			draft_end_turn(d, DRAFT_TURN_ALONE);
		}
		if (i % 61 == 0)
			assert_int_equal(draft_sync(d), 0);
		if (i % 53 == 0)
			assert_true(model_is(models, 1, d, 0, MODEL_MAX));
	}
	draft_close(d);
}

static void test_the_log_does_not_grow_for_ever(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, 1 << 20);
	uint64_t longest = 0;
	struct stat st;
	char text[16];

	for (uint64_t i = 0; i < 300000; i++) {
		snprintf(text, sizeof(text), "%015lu", (unsigned long)i);
		assert_int_equal(draft_write(d, i % 40000 * 20, text, 16), 16);
		longest = d->s.log_end > longest ? d->s.log_end : longest;
	}
	assert_true(longest <= DRAFT_LOG_TOO_LONG + 1000);
	assert_true(d->s.ranges.n == 40000);
	/* Then as long as it need be. */
	for (uint64_t i = 0; i < 40000; i++)
		assert_int_equal(draft_fill(d, i * 20, "0123456789abcdefghij", 20), 0);
	assert_int_equal(draft_sync(d), 0);
	assert_int_equal(fstatat(p->fd, "0000000000000001.log", &st, 0), 0);
	assert_true(st.st_size < 1000);
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	d = draftbox_open(p, 1);
	expect_bytes(d, 39999 * 20, "000000000279999\0ghij", 20);
	expect_bytes(d, 0, "000000000280000\0ghij", 20);
	draft_close(d);
}

static void test_too_many_ranges_are_refused(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, UINT64_C(1) << 30);
	uint64_t version;

	for (uint64_t i = 0; i < DRAFT_RANGES_MAX; i++)
		assert_int_equal(draft_write(d, i * 2, "x", 1), 1);
	version = draft_version(d);
	assert_int_equal(draft_write(d, 1000000, "x", 1), -ENOBUFS);
	assert_int_equal(draft_version(d), version);
	assert_int_equal(draft_write(d, 10, "xx", 2), 2);
	assert_int_equal(draft_write(d, 1000000, "x", 1), 1);
	assert_int_equal(draft_write(d, UINT64_C(1) << 31, "behind", 6), 6);
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	d = draftbox_open(p, 1);
	assert_int_equal(d->s.ranges.n, DRAFT_RANGES_MAX);
	expect_bytes(d, 1000000, "x", 1);
	draft_close(d);
}

/* --- hash, removal, handing over --- */

static void hash_of(const void *data, size_t len, uint8_t ret[QUICKXOR_BYTES])
{
	struct quickxor sum;

	quickxor_init(&sum);
	quickxor_add(&sum, 0, data, len);
	quickxor_finish(&sum, len, ret);
}

static int note_found(void *arg, const struct draft_found *found)
{
	struct draft_found *ret = arg;

	*ret = *found;
	return 1;
}

static void test_hash(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, 10);
	uint8_t want[QUICKXOR_BYTES], got[QUICKXOR_BYTES];
	struct draft_found found = { 0 };

	assert_int_equal(draft_write(d, 4, "456789", 6), 6);
	assert_int_equal(draft_hash(d, got), -ENODATA);
	assert_int_equal(draft_fill(d, 0, "01234567", 8), 0);
	assert_int_equal(draft_hash(d, got), 0);
	hash_of("0123456789", 10, want);
	assert_memory_equal(got, want, sizeof(want));
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	assert_int_equal(draft_dir_list(p->dir, note_found, &found), 0);
	assert_true(found.has_hash && found.is_whole);
	assert_memory_equal(found.hash, want, sizeof(want));
	d = draftbox_open(p, 1);
	assert_int_equal(draft_write(d, 0, "X", 1), 1);
	assert_int_equal(draft_dir_list(p->dir, note_found, &found), 0);
	assert_false(found.has_hash);
	assert_int_equal(draft_truncate(d, 12), 0);
	hash_of("X123456789\0\0", 12, want);
	assert_int_equal(draft_hash(d, got), 0);
	assert_memory_equal(got, want, sizeof(want));
	draft_close(d);
}

static void test_removed_while_open(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, 10), *other, *empty;
	struct draft_stats stats;

	other = draft_ref(d);
	empty = draftbox_create(p, 2, 0);
	assert_int_equal(draft_write(d, 0, "abc", 3), 3);
	assert_int_equal(draft_remove(d), 0);
	assert_int_equal(draft_remove(d), 0);
	draft_close(d);
	expect_bytes(other, 0, "abc", 3);
	assert_int_equal(draft_write(other, 1, "x", 1), 1);
	expect_bytes(other, 0, "axc", 3);
	assert_int_equal(draft_sync(other), 0);
	assert_int_equal(draft_remove(empty), 0);
	assert_int_equal(draft_write(empty, 0, "late", 4), 4);
	expect_bytes(empty, 0, "late", 4);
	assert_int_equal(draft_open(p->dir, 1, &d), -ENOENT);
	draft_dir_get_stats(p->dir, &stats);
	assert_int_equal(stats.drafts_n, 0);
	assert_int_equal(stats.bytes, 0);
	d = draftbox_create(p, 1, 0);
	draft_close(other);
	draft_close(empty);
	assert_int_equal(draft_remove(d), 0);
	draft_close(d);
	assert_false(draftbox_has(p, "0000000000000001"));
	assert_false(draftbox_has(p, "0000000000000001.log"));
	assert_false(draftbox_has(p, "0000000000000002"));
}

static void test_handed_over(void **state)
{
	/* The last one is usually another file system. */
	const char *const places[] = { "", "/dev/shm/gfs-test-draft-XXXXXX" };
	struct draftbox *p = *state;

	for (size_t i = 0; i < 2; i++) {
		struct draft *d = draftbox_create(p, 1, 4), *other = draft_ref(d);
		char dir[96], buf[16], path[128], cmd[128];
		int to_fd, fd;

		snprintf(dir, sizeof(dir), "%s", places[i]);
		if (i == 0)
			snprintf(dir, sizeof(dir), "%s/to-XXXXXX", p->path);
		assert_non_null(mkdtemp(dir));
		to_fd = open(dir, O_RDONLY | O_DIRECTORY);
		assert_int_equal(draft_write(d, 2, "cd", 2), 2);
		assert_int_equal(draft_take(d, draft_version(d), to_fd, "file"), -EBUSY);
		draft_close(other);
		assert_int_equal(draft_take(d, draft_version(d), to_fd, "file"), -ENODATA);
		assert_int_equal(draft_fill(d, 0, "ab", 2), 0);
		assert_int_equal(draft_truncate(d, 6), 0);
		assert_int_equal(draft_take(d, draft_version(d) - 1, to_fd, "file"), -EAGAIN);
		assert_int_equal(draft_take(d, draft_version(d), to_fd, "no/such"), -ENOENT);
		expect_bytes(d, 0, "abcd\0\0", 6);
		assert_int_equal(draft_take(d, draft_version(d), to_fd, "file"), 0);
		draft_close(d);
		assert_int_equal(draft_open(p->dir, 1, &d), -ENOENT);
		snprintf(path, sizeof(path), "%s/file", dir);
		fd = open(path, O_RDONLY);
		assert_int_equal(read(fd, buf, sizeof(buf)), 6);
		assert_memory_equal(buf, "abcd\0\0", 6);
		close(fd);
		close(to_fd);
		snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
		assert_int_equal(system(cmd), 0);
	}
}

/* --- many --- */

static int count_found(void *arg, const struct draft_found *found)
{
	unsigned *n = arg;

	assert_false(found->is_damaged);
	assert_false(found->is_cut);
	assert_string_equal(found->header->name, "name");
	assert_int_equal(found->size, found->cid % 10);
	++*n;
	return 0;
}

static void test_many_closed_and_synced_together(void **state)
{
	enum { MANY = 2000 };
	struct draftbox *p = *state;
	struct draft_stats stats;
	unsigned n = 0;

	for (uint64_t cid = 1; cid <= MANY; cid++) {
		struct draft *d = draftbox_create(p, cid, 0);

		assert_int_equal(draft_write(d, 0, "0123456789", cid % 10), cid % 10);
		draft_close(d);
	}
	assert_int_equal(draft_dir_sync(p->dir), 0);
	for (size_t i = 0; i < DRAFT_BUCKETS_N; i++)
		assert_true(list_empty(&p->dir->buckets[i]));
	draft_dir_get_stats(p->dir, &stats);
	assert_int_equal(stats.drafts_n, MANY);
	assert_int_equal(stats.bytes, MANY / 10 * 45);
	draftbox_end(p);
	draftbox_begin_boot(p, 99);
	draft_dir_get_stats(p->dir, &stats);
	assert_int_equal(stats.drafts_n, MANY);
	assert_int_equal(stats.bytes, MANY / 10 * 45);
	assert_int_equal(draft_dir_list(p->dir, count_found, &n), 0);
	assert_int_equal(n, MANY);
}

/* --- threads --- */

enum { THREADS = 4, PART = 4096, TURNS = 400 };

struct worker {
	struct draftbox *p;
	struct draft *d;
	uint64_t part;
};

static bool hash_fails(struct draft *d)
{
	uint8_t hash[QUICKXOR_BYTES];
	int r = draft_hash(d, hash);

	return r < 0 && r != -EAGAIN;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	char buf[PART], base[PART * THREADS];

	for (size_t i = 0; i < sizeof(base); i++)
		base[i] = (char)draftbox_base(i);
	for (int i = 0; i < TURNS; i++) {
		struct draft *small;

		memset(buf, 1 + i % 100, sizeof(buf));
		if (draft_write(w->d, w->part * PART, buf, PART / 2) != PART / 2 ||
		    draft_fill(w->d, 0, base, sizeof(base)) < 0)
			return "write";
		if (draft_read(w->d, w->part * PART, buf, PART) != PART || buf[0] != 1 + i % 100 ||
		    buf[PART / 2] != (char)draftbox_base(w->part * PART + PART / 2))
			return "read";
		if (i % 20 == (int)w->part && draft_sync(w->d) < 0)
			return "sync";
		if (i % 50 == (int)w->part && draft_dir_sync(w->p->dir) < 0)
			return "sync all";
		if (i % 30 == (int)w->part && hash_fails(w->d))
			return "hash";
		if (i % 10 == 0) {
			struct draft_header header = draftbox_header(0);
			uint64_t cid = 2 + (uint64_t)i % 3;

			if (draft_create(w->p->dir, cid, &header, &small) < 0 &&
			    draft_open(w->p->dir, cid, &small) < 0)
				continue;
			(void)!draft_write(small, 0, buf, 10);
			if (i % 40 == 0 && draft_remove(small) < 0)
				return "remove";
			draft_close(small);
		}
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct draftbox *p = *state;
	struct draft *d = draftbox_create(p, 1, PART * THREADS);
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (uint64_t i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){ p, d, i };
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (uint64_t i = 0; i < THREADS; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
	assert_true(draft_is_whole(d));
	assert_int_equal(draft_version(d), THREADS * TURNS);
	draft_close(d);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, draftbox_setup, draftbox_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_written_base_and_zero),
		T(test_filling),
		T(test_limits),
		T(test_header),
		T(test_versions_rise_over_restarts),
		T(test_random_changes),
		T(test_the_log_does_not_grow_for_ever),
		T(test_too_many_ranges_are_refused),
		T(test_hash),
		T(test_removed_while_open),
		T(test_handed_over),
		T(test_many_closed_and_synced_together),
		T(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * More changes than are told one by one: everything that the kernel holds is revoked at once, by an
 * epoch (Linux 6.16) and by the walk that older kernels need; afterwards every look is right.
 */
#include "inner.h"

#include "inodes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { DIRS_N = 5, FILES_N = 500, EVENT_MS = 10000, T = 1500000000 };

struct files {
	int dirs[DIRS_N], files[DIRS_N][FILES_N], top[5];
};

static int set_up_epoch(void **state)
{
	*state = inner_start(&(struct inner_options){ .umask = 022 });
	return 0;
}

static int set_up_walk(void **state)
{
	*state = inner_start(&(struct inner_options){ .umask = 022, .no_epoch = true });
	return 0;
}

static int tear_down(void **state)
{
	inner_stop(*state);
	return 0;
}

static uint64_t bulks_n(struct inner *in)
{
	struct notify_stats stats;
	unsigned parked_n;

	fs_get_stats(inner_fs(in), &stats, &parked_n);
	return stats.bulks_n;
}

static void make_files(struct inner *in, struct files *f)
{
	char name[32];

	inner_hold(in);
	inner_begin(in);
	for (int d = 0; d < DIRS_N; d++) {
		snprintf(name, sizeof(name), "d%d", d);
		f->dirs[d] = inner_mkdir(in, INNER_ROOT, name);
		for (int i = 0; i < FILES_N; i++) {
			snprintf(name, sizeof(name), "f%d", i);
			f->files[d][i] = inner_create(in, f->dirs[d], name, 10);
		}
	}
	for (int i = 0; i < 5; i++) {
		snprintf(name, sizeof(name), "t%d", i);
		f->top[i] = inner_create(in, INNER_ROOT, name, 10);
	}
	inner_end(in);
	inner_drop(in);
}

/* Every name, and what it should be: -1 absent, else the size. */
static int64_t wanted(int d, int i, const char *kind)
{
	switch (i % 5) {
	case 0: /* deleted, and another made */
		return kind[0] == 'f' ? -1 : kind[0] == 'n' ? 30 : -1;
	case 1: /* renamed */
		return kind[0] == 'f' ? -1 : kind[0] == 'm' ? 10 : -1;
	case 2: /* written */
		return kind[0] == 'f' ? 20 + d : -1;
	default:
		return kind[0] == 'f' ? 10 : -1;
	}
}

static int64_t size_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : st.st_size;
}

static size_t count_names(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void look_at_all(struct inner *in, bool is_changed)
{
	static const char *const kinds[] = { "f", "n", "m" };

	for (int d = 0; d < DIRS_N; d++) {
		assert_int_equal(count_names(inner_path(in, "d%d", d)), FILES_N);
		for (int i = 0; i < FILES_N; i++)
			for (size_t k = 0; k < 3; k++) {
				int64_t want = is_changed ? wanted(d, i, kinds[k])
					       : k == 0   ? 10
							  : -1;
				int64_t got = size_of(inner_path(in, "d%d/%s%d", d, kinds[k], i));

				if (got != want)
					fail_msg("d%d/%s%d: size %lld, not %lld", d, kinds[k], i,
						 (long long)got, (long long)want);
			}
	}
}

static void change_all(struct inner *in, const struct files *f)
{
	char name[32];

	inner_begin(in);
	for (int d = 0; d < DIRS_N; d++) {
		for (int i = 0; i < FILES_N; i++) {
			snprintf(name, sizeof(name), "%c%d", i % 5 == 0 ? 'n' : 'm', i);
			if (i % 5 == 0) {
				inner_delete(in, f->files[d][i]);
				inner_create(in, f->dirs[d], name, 30);
			} else if (i % 5 == 1) {
				inner_move(in, f->files[d][i], f->dirs[d], name);
			} else if (i % 5 == 2) {
				inner_write(in, f->files[d][i], 20 + (uint64_t)d);
			} else if (i % 5 == 3) {
				inner_touch(in, f->files[d][i], T);
			}
		}
	}
	inner_delete(in, f->top[0]);
	inner_write(in, f->top[1], 77);
	inner_create(in, INNER_ROOT, "new", 5);
	inner_end(in);
}

static bool has_path(struct inner *in, int fd, const char *path)
{
	char link[64], target[512];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, target, sizeof(target) - 1);
	assert_true(n > 0);
	target[n] = '\0';
	return strcmp(target, inner_path(in, "%s", path)) == 0;
}

static void test_flood(void **state)
{
	struct inner *in = *state;
	struct files f;
	struct stat st;
	struct watch w;
	int open_dir, open_file;

	make_files(in, &f);
	look_at_all(in, false);
	assert_int_equal(size_of(inner_path(in, "t0")), 10);
	assert_int_equal(size_of(inner_path(in, "t1")), 10);
	assert_int_equal(size_of(inner_path(in, "new")), -1);
	open_dir = open(inner_path(in, "d1"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	open_file = open(inner_path(in, "d2/f2"), O_RDONLY | O_CLOEXEC);
	assert_true(open_dir >= 0 && open_file >= 0);
	watch_open(&w, inner_path(in, "d1"), IN_CREATE);

	assert_int_equal(bulks_n(in), 0);
	change_all(in, &f);
	inner_settle(in);
	assert_int_equal(bulks_n(in), 1); /* the control: it was too much */
	look_at_all(in, true);
	assert_int_equal(size_of(inner_path(in, "t0")), -1);
	assert_int_equal(size_of(inner_path(in, "t1")), 77);
	assert_int_equal(size_of(inner_path(in, "new")), 5);
	assert_int_equal(stat(inner_path(in, "d3/f3"), &st), 0);
	assert_int_equal(st.st_mtim.tv_sec, T);

	/* Who is in there stays in there. */
	assert_int_equal(fstat(open_file, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_true(has_path(in, open_dir, "d1"));
	assert_int_equal(faccessat(open_dir, "n0", F_OK, 0), 0);
	inner_create(in, f.dirs[1], "later", 1);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_CREATE, "later", EVENT_MS));
	watch_close(&w);
	close(open_dir);
	close(open_file);
}

/* Nobody said what changed (the channel was gone): as above, but without any names. */
static void test_gap(void **state)
{
	struct inner *in = *state;
	struct files f;
	int open_dir;

	make_files(in, &f);
	look_at_all(in, false);
	open_dir = open(inner_path(in, "d4"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	inner_hold(in);
	change_all(in, &f);
	inner_drop(in);
	assert_int_equal(size_of(inner_path(in, "d0/f0")), 10); /* the control: it is stale */
	fs_push_all(inner_fs(in));
	inner_settle(in);
	assert_true(has_path(in, open_dir, "d4"));
	look_at_all(in, true);
	close(open_dir);
}

/* Floods one after the other, while the kernel is told of the first. */
static void test_floods(void **state)
{
	struct inner *in = *state;
	struct files f;

	make_files(in, &f);
	look_at_all(in, false);
	for (int round = 0; round < 5; round++) {
		inner_begin(in);
		for (int d = 0; d < DIRS_N; d++)
			for (int i = 0; i < FILES_N; i++)
				inner_write(in, f.files[d][i], 100 + (uint64_t)round);
		inner_end(in);
	}
	inner_settle(in);
	assert_true(bulks_n(in) >= 1);
	for (int d = 0; d < DIRS_N; d++)
		for (int i = 0; i < FILES_N; i++)
			assert_int_equal(size_of(inner_path(in, "d%d/f%d", d, i)), 104);
}

#define both(fn)                                                      \
	cmocka_unit_test_setup_teardown(fn, set_up_epoch, tear_down), \
		cmocka_unit_test_setup_teardown(fn, set_up_walk, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = { both(test_flood), both(test_gap), both(test_floods) };

	harness_require_fuse();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

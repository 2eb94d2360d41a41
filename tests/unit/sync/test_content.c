#include "cache.h"
#include "change.h"
#include "content.h"
#include "fake_source.h"
#include "inodes.h"
#include "item.h"
#include "lane.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = CACHE_BLOCK_BYTES, SIZE = 10 * BLOCK };

struct env {
	struct fake_source fake;
	char dir[64];
	int dir_fd;
	struct cache *cache;
	struct tree *tree;
	struct lane *lane;
	struct inodes *inodes;
	struct content *content;
	atomic_uint changed_n;
	/* Store lane: runs once inside a commit, after the writer asked whether a file is open. */
	void (*in_commit)(struct env *env);
	/* The same between the commit and content_after_commit(). */
	void (*after_commit)(struct env *env);
	/* What the hooks leave. */
	struct content_handle *handle;
	int result, second;
	bool keep_cache;
	struct change_set *more;
};

static void on_version_changed(void *arg, uint64_t ino)
{
	struct env *env = arg;

	env->changed_n++;
}

static bool guard_is_open(void *arg, uint64_t ino)
{
	struct env *env = arg;
	void (*hook)(struct env * env) = env->in_commit;
	bool open = content_is_open(env->content, ino);

	env->in_commit = NULL;
	if (hook)
		hook(env);
	return open;
}

static bool guard_is_known(void *arg, uint64_t ino)
{
	return true;
}

/* --- the store lane --- */

struct errand {
	struct lane_job job;
	struct env *env;
	void (*fn)(struct env *env);
	sem_t done;
};

static void on_errand(void *arg)
{
	struct errand *errand = arg;

	errand->fn(errand->env);
	sem_post(&errand->done);
}

static void on_lane(struct env *env, void (*fn)(struct env *env))
{
	struct errand errand = { .env = env, .fn = fn };

	sem_init(&errand.done, 0, 0);
	lane_push(env->lane, &errand.job, on_errand, NULL, &errand);
	while (sem_wait(&errand.done) < 0)
		;
	sem_destroy(&errand.done);
}

static int apply_items(struct env *env, const struct item *items, size_t n)
{
	struct change_set *set = NULL;
	int r = tree_stage_begin(env->tree);

	if (r == 0)
		r = tree_stage_page(env->tree, items, n);
	if (r == 0)
		r = tree_stage_apply(env->tree, "link", false, &set);
	if (r == 0 && env->after_commit)
		env->after_commit(env);
	env->after_commit = NULL;
	change_set_free(env->more);
	env->more = NULL;
	if (r == 0)
		r = content_after_commit(env->content, &env->more);
	change_set_free(set);
	return r;
}

/* The item as the service has it now comes into the tree. */
static void apply_now(struct env *env)
{
	const struct item items[] = {
		{ .id = "R", .name = "root", .name_len = 4, .is_root = true, .kind = ITEM_FOLDER },
		{
			.id = "ID",
			.parent_id = "R",
			.name = "f",
			.name_len = 1,
			.kind = ITEM_FILE,
			.size = (int64_t)env->fake.size,
			.etag = env->fake.etag,
			.ctag = env->fake.ctag,
			.mtime_ns = env->fake.mtime_ns,
			.btime_ns = 1,
			.child_count = -1,
		},
	};

	env->result = apply_items(env, items, 2);
}

/* Somebody writes a new content, and delta brings it. */
static void change(struct env *env)
{
	fake_do(&env->fake, fake_change);
	on_lane(env, apply_now);
	assert_int_equal(env->result, 0);
}

static uint64_t current_ino(struct env *env)
{
	struct tree_attr attr;

	assert_int_equal(tree_lookup(env->tree, TREE_ROOT_INO, "f", &attr), 0);
	return attr.ino;
}

/* --- set up --- */

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct fetch_source source;

	strcpy(env->dir, "/tmp/gfs-test-content-XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	env->dir_fd = open(env->dir, O_RDONLY | O_DIRECTORY);
	fake_init(&env->fake, SIZE);
	source = fake_ops(&env->fake);
	assert_int_equal(cache_new(env->dir_fd, "e", UINT64_C(1) << 30, &env->cache), 0);
	assert_int_equal(tree_open(env->dir_fd, "tree.db", "D", &env->tree), 0);
	assert_int_equal(lane_new(NULL, "store", 1, &env->lane), 0);
	assert_int_equal(inodes_new(&env->inodes), 0);
	assert_int_equal(content_new(
				 &(struct content_options){
					 .loop = env->fake.loop,
					 .store_lane = env->lane,
					 .tree = env->tree,
					 .inodes = env->inodes,
					 .cache = env->cache,
					 .drive_id = "D",
					 .source = &source,
					 .on_version_changed = on_version_changed,
					 .arg = env,
				 },
				 &env->content),
			 0);
	tree_set_guard(env->tree, &(struct tree_guard){ env, guard_is_known, guard_is_open });
	fake_start(&env->fake);
	on_lane(env, apply_now);
	*state = env;
	return env->result;
}

static int teardown(void **state)
{
	struct env *env = *state;
	char cmd[96];

	lane_free(env->lane);
	fake_stop(&env->fake);
	content_free(env->content);
	fake_fini(&env->fake);
	change_set_free(env->more);
	inodes_free(env->inodes);
	tree_free(env->tree);
	cache_free(env->cache);
	close(env->dir_fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", env->dir);
	free(env);
	return system(cmd);
}

/* --- reads --- */

struct one {
	struct content_read read;
	sem_t done;
	ssize_t got;
};

static void on_read(struct content_read *read, ssize_t got)
{
	struct one *one = read->arg;

	one->got = got;
	sem_post(&one->done);
}

static ssize_t read_at(struct content_handle *h, uint64_t off, char *buf, size_t len)
{
	struct one one = { 0 };
	bool parked;
	ssize_t got;

	one.read = (struct content_read){
		.h = h, .off = off, .len = len, .buf = buf, .done = on_read, .arg = &one
	};
	sem_init(&one.done, 0, 0);
	got = content_read_start(&one.read, &parked);
	while (parked && sem_wait(&one.done) < 0)
		;
	sem_destroy(&one.done);
	return parked ? one.got : got;
}

static ssize_t read_version(struct content_handle *h, int version, uint64_t off)
{
	char buf[1000];
	ssize_t got = read_at(h, off, buf, sizeof(buf));

	if (got > 0)
		assert_true(fake_is_right(version, off, buf, (size_t)got));
	return got;
}

static struct content_handle *open_now(struct env *env, uint64_t ino, bool keep_cache)
{
	struct content_handle *h;
	bool keep = !keep_cache;

	assert_int_equal(content_open(env->content, ino, &h, &keep), 0);
	assert_int_equal(keep, keep_cache);
	return h;
}

static int try_open(struct env *env, uint64_t ino)
{
	struct content_handle *h;
	bool keep;
	int r = content_open(env->content, ino, &h, &keep);

	if (r == 0)
		content_close(h);
	return r;
}

/* --- tests --- */

static struct tree_attr attr_of(const struct content_handle *h)
{
	struct tree_attr attr;

	content_get_attr(h, &attr);
	return attr;
}

static void test_open_read_close(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);
	struct content_handle *h = open_now(env, ino, true);
	struct content_stats stats;

	assert_int_equal(attr_of(h).size, SIZE);
	assert_true(inodes_is_open(env->inodes, ino));
	assert_int_equal(read_version(h, 1, 5), 1000);
	assert_int_equal(read_version(h, 1, SIZE - 10), 10);
	content_get_stats(env->content, &stats);
	assert_int_equal(stats.open_n, 1);
	assert_true(stats.cached_bytes >= 2 * BLOCK && stats.is_caching);
	content_close(h);
	assert_false(inodes_is_open(env->inodes, ino));
	assert_int_equal(try_open(env, TREE_ROOT_INO), -EISDIR);
	assert_int_equal(try_open(env, 12345), -ESTALE);
}

static void test_closed_file_keeps_its_inode_and_drops_its_pages(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);
	struct content_handle *h = open_now(env, ino, true);

	assert_int_equal(read_version(h, 1, 5), 1000);
	content_close(h);
	change(env);
	assert_int_equal(current_ino(env), ino);
	h = open_now(env, ino, false);
	assert_int_equal(read_version(h, 2, 5), 1000);
	content_close(h);
	content_close(open_now(env, ino, true));
}

static void test_open_file_keeps_its_version(void **state)
{
	struct env *env = *state;
	uint64_t old_ino = current_ino(env), new_ino;
	struct content_handle *h = open_now(env, old_ino, true), *h2;
	struct tree_attr attr;

	assert_int_equal(read_version(h, 1, 5 * BLOCK), 1000);
	change(env);
	new_ino = current_ino(env);
	assert_int_not_equal(new_ino, old_ino);
	assert_int_equal(read_version(h, 1, 5 * BLOCK), 1000);
	assert_int_equal(read_version(h, 1, 0), -ESTALE);
	assert_int_equal(try_open(env, old_ino), -ESTALE);
	assert_int_equal(content_find_attr(env->content, old_ino, &attr), 0);
	assert_int_equal(attr.cid, attr_of(h).cid);
	h2 = open_now(env, new_ino, true);
	assert_int_equal(read_version(h2, 2, 5 * BLOCK), 1000);
	content_close(h2);
	content_close(h);
	assert_int_equal(content_find_attr(env->content, old_ino, &attr), -ENOENT);
}

/* The service is ahead of delta: the plant "mixed-version" must fail here. */
static void test_change_that_delta_has_not_told_yet(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);
	struct content_handle *h = open_now(env, ino, true);

	assert_int_equal(read_version(h, 1, 5 * BLOCK), 1000);
	fake_do(&env->fake, fake_change);
	assert_int_equal(read_version(h, 1, 0), -ESTALE);
	assert_int_equal(env->changed_n, 1);
	on_lane(env, apply_now);
	content_close(h);
	h = open_now(env, current_ino(env), true);
	assert_int_equal(read_version(h, 2, 0), 1000);
	content_close(h);
}

static void open_in_hook(struct env *env)
{
	env->result = content_open(env->content, current_ino(env), &env->handle, &env->keep_cache);
}

static void test_opened_while_its_content_is_committed(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);

	env->in_commit = open_in_hook;
	change(env);
	assert_non_null(env->handle);
	assert_non_null(env->more);
	assert_int_equal(env->more->n, 1);
	assert_int_equal(env->more->v[0].kind, CHANGE_CONTENT);
	assert_int_equal(env->more->v[0].old_ino, ino);
	assert_int_not_equal(current_ino(env), ino);
	/* The service has only the new content. */
	assert_int_equal(read_version(env->handle, 1, 0), -ESTALE);
	content_close(env->handle);
}

static void try_in_hook(struct env *env)
{
	struct content_handle *h;
	bool keep;

	env->second = content_open(env->content, current_ino(env), &h, &keep);
}

static void note_settled(void *arg)
{
	sem_post(arg);
}

static void test_second_open_waits_until_it_is_settled(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);
	sem_t settled;

	sem_init(&settled, 0, 0);
	env->in_commit = open_in_hook;
	env->after_commit = try_in_hook;
	fake_do(&env->fake, fake_change);
	on_lane(env, apply_now);
	assert_int_equal(env->second, CONTENT_WAIT);
	assert_int_equal(content_on_settled(env->content, note_settled, &settled), 0);
	while (sem_wait(&settled) < 0)
		;
	sem_destroy(&settled);
	assert_int_equal(try_open(env, ino), -ESTALE);
	assert_int_equal(try_open(env, current_ino(env)), 0);
	content_close(env->handle);
}

static void open_and_close_in_hook(struct env *env)
{
	open_in_hook(env);
	if (env->result == 0)
		content_close(env->handle);
}

static void test_pages_from_before_the_commit_are_not_kept(void **state)
{
	struct env *env = *state;
	uint64_t ino = current_ino(env);

	/* The mark that the writer left must outlive this open. */
	env->in_commit = open_and_close_in_hook;
	change(env);
	assert_false(env->keep_cache);
	assert_int_equal(current_ino(env), ino);
	assert_null(env->more);
	content_close(open_now(env, ino, false));
	content_close(open_now(env, ino, true));
	/* And this one, after the commit, drops too. */
	env->after_commit = open_and_close_in_hook;
	change(env);
	assert_false(env->keep_cache);
}

static void test_cancel_a_parked_read(void **state)
{
	struct env *env = *state;
	struct content_handle *h = open_now(env, current_ino(env), true);
	struct one one = { 0 };
	char buf[100];
	bool parked;

	one.read = (struct content_read){
		.h = h, .len = sizeof(buf), .buf = buf, .done = on_read, .arg = &one
	};
	env->fake.is_holding = true;
	assert_int_equal(content_read_start(&one.read, &parked), 0);
	assert_true(parked);
	assert_true(content_read_cancel(&one.read));
	assert_false(content_read_cancel(&one.read));
	content_close(h);
}

/* --- a reader against a writer --- */

enum { VERSIONS = 60, INOS_MAX = 4096 };

static int version_of(const char *buf, size_t len)
{
	for (int v = 1; v <= VERSIONS + 1; v++) {
		if (fake_is_right(v, 0, buf, len))
			return v;
	}
	return 0;
}

struct race {
	struct env *env;
	atomic_bool stop;
	atomic_uint rounds_n;
	unsigned last_n;
	int pages[INOS_MAX]; /* which version the kernel would have pages of; 0 none */
	unsigned mixed_n, stale_pages_n, whole_n, refused_n, failed_n;
};

/* Reads a whole file as the kernel would, with pages that outlive the open. */
static void read_once(struct race *race, uint64_t ino)
{
	static char buf[SIZE];
	struct content_handle *h;
	size_t at = 0;
	bool keep;
	int version;

	if (content_open(race->env->content, ino, &h, &keep) != 0) {
		race->refused_n++;
		return;
	}
	if (!keep)
		race->pages[ino] = 0;
	while (at < SIZE) {
		ssize_t got = read_at(h, at, buf + at, 128 * 1024);

		if (got == 0)
			break;
		if (got < 0) {
			race->failed_n += got != -ESTALE;
			break;
		}
		at += (size_t)got;
	}
	if (at > 0) {
		version = version_of(buf, at);
		race->mixed_n += version == 0;
		race->stale_pages_n += race->pages[ino] != 0 && race->pages[ino] != version;
		race->whole_n += at == SIZE;
		race->pages[ino] = version;
	}
	content_close(h);
}

static void *read_all(void *arg)
{
	struct race *race = arg;

	while (!race->stop) {
		struct tree_attr attr;

		if (tree_lookup(race->env->tree, TREE_ROOT_INO, "f", &attr) < 0 ||
		    attr.ino >= INOS_MAX)
			race->failed_n++;
		else
			read_once(race, attr.ino);
		race->rounds_n++;
	}
	return NULL;
}

static void test_reader_sees_one_version_whatever_is_committed(void **state)
{
	struct env *env = *state;
	struct race *race = calloc(1, sizeof(*race));
	pthread_t reader;

	race->env = env;
	pthread_create(&reader, NULL, read_all, race);
	for (int i = 0; i < VERSIONS; i++) {
		unsigned rounds_n = race->rounds_n;

		change(env);
		/* Some changes meet a reader in the middle, some one that has just ended. */
		while (i % 3 == 0 && race->rounds_n == rounds_n)
			usleep(100);
	}
	race->last_n = race->rounds_n + 2;
	while (race->rounds_n < race->last_n)
		usleep(100);
	race->stop = true;
	pthread_join(reader, NULL);
	assert_int_equal(race->mixed_n, 0);
	assert_int_equal(race->stale_pages_n, 0);
	assert_int_equal(race->failed_n, 0);
	assert_true(race->whole_n > 0);
	free(race);
}

/* An aborted connection releases nothing. */
static void test_handles_that_are_left_open_are_closed(void **state)
{
	struct env *env = *state;
	struct content_handle *h = open_now(env, current_ino(env), true);

	assert_int_equal(read_version(h, 1, 0), 1000);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_open_read_close),
		T(test_closed_file_keeps_its_inode_and_drops_its_pages),
		T(test_open_file_keeps_its_version),
		T(test_change_that_delta_has_not_told_yet),
		T(test_opened_while_its_content_is_committed),
		T(test_second_open_waits_until_it_is_settled),
		T(test_pages_from_before_the_commit_are_not_kept),
		T(test_cancel_a_parked_read),
		T(test_handles_that_are_left_open_are_closed),
		T(test_reader_sees_one_version_whatever_is_committed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "cachebox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

static void test_blocks_are_there_after_a_restart(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);
	struct cache_file *f, *same;
	struct cache_stats stats;
	char buf[16];

	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &f), 0);
	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &same), 0);
	assert_ptr_equal(f, same);
	cache_close(same);
	assert_false(cache_has_block(f, 0));
	assert_int_equal(cache_read(f, 0, buf, 16), -ENODATA);
	assert_int_equal(cachebox_write(f, 5, 3), 0);
	assert_int_equal(cachebox_write(f, 5, 1), 0);
	assert_int_equal(cache_write(f, 4, buf, 16), -EINVAL);
	assert_int_equal(cache_write(f, 0, buf, 16), -EINVAL);
	cache_close(f);
	cache_free(cache);

	cache = cachebox_open(*state, "e", GIB);
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.files, 1);
	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &f), 0);
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.bytes, BLOCK + 10);
	assert_false(cache_has_block(f, 0));
	assert_true(cachebox_is_right(f, 5, 1));
	assert_false(cache_has_block(f, 2));
	assert_true(cachebox_is_right(f, 5, 3));
	cache_close(f);
	cache_free(cache);
}

static const uint64_t both_kinds[] = { 100, BLOCK };

static void test_another_epoch_or_size_is_worthless(void **state)
{
	for (size_t i = 0; i < 2; i++) {
		uint64_t size = both_kinds[i];
		struct cache *cache = cachebox_open(*state, "e", GIB);

		cachebox_put(cache, 1, size);
		cachebox_put(cache, 2, size);
		assert_false(cachebox_has(cache, 1, size + 1));
		assert_false(cachebox_has(cache, 1, size));
		assert_true(cachebox_has(cache, 2, size));
		cache_free(cache);
		cache = cachebox_open(*state, "other", GIB);
		assert_false(cachebox_has(cache, 2, size));
		cache_free(cache);
	}
}

static void test_unclean_stop_of_the_machine_throws_away(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);

	cachebox_put(cache, 1, 100);
	cachebox_put(cache, 2, BLOCK);
	cache_free(cache);
	cachebox_file(*state, "running", "boot-of-last-week");
	cache = cachebox_open(*state, "e", GIB);
	assert_false(cachebox_has(cache, 1, 100));
	assert_false(cachebox_has(cache, 2, BLOCK));
	cache_free(cache);
}

static void test_broken_maps_are_removed(void **state)
{
	const char *const maps[] = { "", "gfsmap1",
				     "garbage that is as long as a header is, or more" };
	struct cachebox *p = *state;

	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
		struct cache *cache = cachebox_open(p, "e", GIB);

		cachebox_put(cache, 1, BLOCK);
		cache_free(cache);
		cachebox_file(p, "01/0000000000000001.map", maps[i]);
		cache = cachebox_open(p, "e", GIB);
		assert_false(cachebox_has(cache, 1, BLOCK));
		cachebox_put(cache, 1, BLOCK);
		assert_true(cachebox_has(cache, 1, BLOCK));
		cache_free(cache);
	}
}

static void test_links_are_not_followed(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB);
	struct cache_file *f;

	cachebox_file(p, "victim", "precious");
	assert_int_equal(mkdirat(p->fd, "01", 0700), 0);
	assert_int_equal(symlinkat("../victim", p->fd, "01/0000000000000001"), 0);
	assert_int_equal(symlinkat("../victim", p->fd, "01/0000000000000001.map"), 0);
	assert_int_equal(cache_open(cache, 1, BLOCK, NULL, &f), 0);
	assert_int_equal(cachebox_write(f, 1, 0), 0);
	assert_true(cachebox_is_right(f, 1, 0));
	cache_close(f);
	cache_free(cache);
	{
		char buf[16] = "";
		int fd = openat(p->fd, "victim", O_RDONLY);

		assert_int_equal(read(fd, buf, sizeof(buf)), 8);
		assert_string_equal(buf, "precious");
		close(fd);
	}
}

static void test_one_process_at_a_time(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB), *second;
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);

	assert_int_equal(cache_new(fd, "e", GIB, &second), -EBUSY);
	cache_free(cache);
	assert_int_equal(cache_new(fd, "e", GIB, &second), 0);
	cache_free(second);
	close(fd);
}

static void test_complete_only_with_the_right_hash(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);
	uint8_t hash[QUICKXOR_BYTES];
	struct cache_file *f;
	char bad[100] = "not it";

	cachebox_hash(9, 2 * BLOCK + 100, hash);
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	assert_int_equal(cachebox_write(f, 9, 1), 0);
	cache_close(f);
	/* A block of an earlier life is hashed from the disk. */
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	assert_int_equal(cachebox_write(f, 9, 0), 0);
	assert_int_equal(cache_write(f, 2, bad, sizeof(bad)), -EBADMSG);
	for (uint64_t i = 0; i < 3; i++) {
		assert_false(cache_has_block(f, i));
		assert_int_equal(cachebox_write(f, 9, i), 0);
	}
	assert_true(cachebox_is_right(f, 9, 2));
	cache_close(f);
	cache_free(cache);
	cache = cachebox_open(*state, "e", GIB);
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(cachebox_is_right(f, 9, i));
	cache_close(f);
	cache_free(cache);
}

static void test_another_length_than_the_row_says(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);
	uint8_t hash[QUICKXOR_BYTES] = { 1 };
	struct cache_file *f;

	assert_int_equal(cache_open(cache, 9, 100, hash, &f), 0);
	assert_int_equal(cache_set_size(f, BLOCK + 7), 0);
	assert_int_equal(cachebox_write(f, 9, 0), 0);
	assert_int_equal(cache_set_size(f, 8), -EBUSY);
	assert_int_equal(cachebox_write(f, 9, 1), 0); /* the hash is of something else */
	cache_close(f);
	assert_int_equal(cache_open(cache, 9, 100, hash, &f), 0);
	assert_int_equal(cache_size(f), BLOCK + 7);
	assert_true(cachebox_is_right(f, 9, 1));
	cache_close(f);
	assert_int_equal(cache_open(cache, 10, CACHE_SIZE_MAX + 1, NULL, &f), -EFBIG);
	cache_free(cache);
}

static void test_eviction_spares_what_is_open(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", 4 * BLOCK);
	struct cache_stats stats;
	struct cache_file *f;

	assert_int_equal(cache_open(cache, 1, 5 * BLOCK, NULL, &f), 0);
	assert_int_equal(cachebox_write(f, 1, 0), 0);
	for (uint64_t cid = 2; cid < 12; cid++) {
		cachebox_put(cache, cid, BLOCK);
		if (cid > 2)
			assert_true(cachebox_has(cache, 2, BLOCK)); /* used: the newest */
	}
	cache_get_stats(cache, &stats);
	assert_true(stats.bytes <= 4 * BLOCK);
	assert_true(stats.evicted_files >= 7 && stats.evicted_files < 10);
	assert_true(cachebox_is_right(f, 1, 0));
	/* The open file alone fills the budget. */
	for (uint64_t i = 1; i < 4; i++)
		assert_int_equal(cachebox_write(f, 1, i), 0);
	assert_int_equal(cachebox_write(f, 1, 4), -EDQUOT);
	for (uint64_t i = 0; i < 4; i++)
		assert_true(cachebox_is_right(f, 1, i));
	cache_close(f);
	cache_free(cache);
}

/* RLIMIT_FSIZE stands for a full disk. */
static void test_full_disk_leaves_no_block(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);
	struct rlimit old, limit = { 2 * BLOCK, RLIM_INFINITY };
	struct cache_file *f;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(cache_open(cache, 1, 2 * BLOCK, NULL, &f), 0);
	assert_int_equal(cachebox_write(f, 1, 0), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit.rlim_cur = BLOCK + 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(cachebox_write(f, 1, 1), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_false(cache_has_block(f, 1));
	assert_true(cachebox_is_right(f, 1, 0));
	assert_int_equal(cachebox_write(f, 1, 1), 0);
	assert_true(cachebox_is_right(f, 1, 1));
	cache_close(f);
	cache_free(cache);
}

enum { CRASH_BLOCKS = 64, CRASHES = 30 };

static void write_for_ever(struct cachebox *p, int ready_fd)
{
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);
	unsigned seed = (unsigned)getpid();
	struct cache *cache;

	if (fd < 0 || cache_new(fd, "e", GIB, &cache) < 0)
		_exit(1);
	for (;;) {
		uint64_t cid = 1 + (uint64_t)rand_r(&seed) % 8;
		struct cache_file *f;

		if (cache_open(cache, cid, CRASH_BLOCKS * BLOCK - 5, NULL, &f) < 0)
			_exit(1);
		(void)cachebox_write(f, cid, (uint64_t)rand_r(&seed) % CRASH_BLOCKS);
		cache_close(f);
		if (ready_fd >= 0)
			close(ready_fd);
		ready_fd = -1;
	}
}

static uint64_t check_after_crash(struct cachebox *p)
{
	struct cache *cache = cachebox_open(p, "e", GIB);
	uint64_t there = 0;

	for (uint64_t cid = 1; cid <= 8; cid++) {
		struct cache_file *f;

		assert_int_equal(cache_open(cache, cid, CRASH_BLOCKS * BLOCK - 5, NULL, &f), 0);
		for (uint64_t i = 0; i < CRASH_BLOCKS; i++) {
			if (!cache_has_block(f, i))
				continue;
			assert_true(cachebox_is_right(f, cid, i));
			there++;
		}
		cache_close(f);
	}
	cache_free(cache);
	return there;
}

static void test_killed_process_marks_no_block_that_is_not_there(void **state)
{
	struct cachebox *p = *state;
	uint64_t there = 0;

	for (int i = 0; i < CRASHES; i++) {
		int ready[2];
		char byte;
		pid_t pid;

		assert_int_equal(pipe(ready), 0);
		pid = fork();
		if (pid == 0)
			write_for_ever(p, ready[1]);
		close(ready[1]);
		/* Now and then it dies while it begins. */
		if (i % 4 != 0)
			assert_int_equal(read(ready[0], &byte, 1), 0);
		close(ready[0]);
		usleep((useconds_t)(2000 + i * 1000)); /* when it dies is left to chance */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		there = check_after_crash(p);
	}
	assert_true(there > 0);
}

struct race {
	struct cache *cache;
	struct cache_file *file;
	atomic_int bad, dropped;
	atomic_bool stop;
};

enum { RACE_BLOCKS = 16 };

static void *write_all(void *arg)
{
	struct race *race = arg;

	for (int round = 0; round < 40; round++) {
		for (uint64_t i = 0; i < RACE_BLOCKS; i++) {
			int r = cachebox_write(race->file, 3, i);

			if (r == -EBADMSG)
				race->dropped++;
			else if (r < 0)
				race->bad++;
		}
	}
	return NULL;
}

static void *read_all(void *arg)
{
	struct race *race = arg;
	char buf[4096], want[4096];

	while (!race->stop) {
		for (uint64_t i = 0; i < RACE_BLOCKS; i++) {
			cachebox_fill(3, i, want, sizeof(want));
			if (cache_read(race->file, i * BLOCK, buf, sizeof(buf)) == 0 &&
			    memcmp(buf, want, sizeof(buf)) != 0)
				race->bad++;
		}
	}
	return NULL;
}

/* The hash never fits, so the content is dropped again and again under its readers. */
static void test_readers_never_see_holes_of_a_dropped_content(void **state)
{
	const uint8_t hash[QUICKXOR_BYTES] = { 0xff };
	struct race race = { .cache = cachebox_open(*state, "e", GIB) };
	pthread_t writers[2], reader;

	assert_int_equal(cache_open(race.cache, 3, RACE_BLOCKS * BLOCK, hash, &race.file), 0);
	pthread_create(&reader, NULL, read_all, &race);
	for (int i = 0; i < 2; i++)
		pthread_create(&writers[i], NULL, write_all, &race);
	for (int i = 0; i < 2; i++)
		pthread_join(writers[i], NULL);
	race.stop = true;
	pthread_join(reader, NULL);
	assert_int_equal(race.bad, 0);
	assert_true(race.dropped > 0);
	cache_close(race.file);
	cache_free(race.cache);
}

static void *churn(void *arg)
{
	struct race *race = arg;
	unsigned seed = (unsigned)(uintptr_t)pthread_self();

	for (int i = 0; i < 600; i++) {
		uint64_t cid = 1 + (uint64_t)rand_r(&seed) % 12;
		struct cache_file *f;

		if (cache_open(race->cache, cid, BLOCK, NULL, &f) < 0) {
			race->bad++;
			continue;
		}
		if (cachebox_write(f, cid, 0) < 0)
			race->dropped++;
		cache_close(f);
	}
	return NULL;
}

static void test_open_write_and_evict_at_once(void **state)
{
	struct race race = { .cache = cachebox_open(*state, "e", 6 * BLOCK) };
	struct cache_stats stats;
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, churn, &race);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(race.bad, 0);
	cache_get_stats(race.cache, &stats);
	assert_true(stats.bytes <= 6 * BLOCK && stats.evicted_files > 0);
	cache_free(race.cache);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, cachebox_setup, cachebox_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_blocks_are_there_after_a_restart),
		T(test_another_epoch_or_size_is_worthless),
		T(test_unclean_stop_of_the_machine_throws_away),
		T(test_broken_maps_are_removed),
		T(test_links_are_not_followed),
		T(test_one_process_at_a_time),
		T(test_complete_only_with_the_right_hash),
		T(test_another_length_than_the_row_says),
		T(test_eviction_spares_what_is_open),
		T(test_full_disk_leaves_no_block),
		T(test_killed_process_marks_no_block_that_is_not_there),
		T(test_readers_never_see_holes_of_a_dropped_content),
		T(test_open_write_and_evict_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

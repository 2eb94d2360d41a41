#include "cache.h"
#include "quickxor.h"

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

enum { BLOCK = CACHE_BLOCK_BYTES };
#define GIB (UINT64_C(1) << 30)

struct place {
	char path[64];
	int fd;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/gfs-test-cache-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	char cmd[96];

	close(p->fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", p->path);
	free(p);
	return system(cmd);
}

static struct cache *open_cache(struct place *p, const char *epoch, uint64_t budget)
{
	struct cache *cache;

	assert_int_equal(cache_new(p->fd, epoch, budget, &cache), 0);
	return cache;
}

/* The byte at each place of a content tells its content and its place. */
static void fill(uint64_t cid, uint64_t block, char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(cid * 31 + block * 7 + i % 251 + 1);
}

static int write_block(struct cache_file *f, uint64_t cid, uint64_t block)
{
	static _Thread_local char buf[BLOCK];
	uint64_t left = cache_size(f) - block * BLOCK;
	size_t len = left < BLOCK ? (size_t)left : BLOCK;

	fill(cid, block, buf, len);
	return cache_write(f, block, buf, len);
}

static bool is_block_right(struct cache_file *f, uint64_t cid, uint64_t block)
{
	static char buf[BLOCK], want[BLOCK];
	uint64_t left = cache_size(f) - block * BLOCK;
	size_t len = left < BLOCK ? (size_t)left : BLOCK;

	fill(cid, block, want, len);
	return cache_read(f, block * BLOCK, buf, len) == 0 && memcmp(buf, want, len) == 0;
}

static void hash_of(uint64_t cid, uint64_t size, uint8_t ret[QUICKXOR_BYTES])
{
	static char buf[BLOCK];
	struct quickxor x;

	quickxor_init(&x);
	for (uint64_t off = 0; off < size; off += BLOCK) {
		size_t len = size - off < BLOCK ? (size_t)(size - off) : BLOCK;

		fill(cid, off / BLOCK, buf, len);
		quickxor_add(&x, off, buf, len);
	}
	quickxor_finish(&x, size, ret);
}

static void test_blocks_are_there_after_a_restart(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);
	struct cache_file *f, *same;
	struct cache_stats stats;
	char buf[16];

	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &f), 0);
	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &same), 0);
	assert_ptr_equal(f, same);
	cache_close(same);
	assert_false(cache_has_block(f, 0));
	assert_int_equal(cache_read(f, 0, buf, 16), -ENODATA);
	assert_int_equal(write_block(f, 5, 3), 0);
	assert_int_equal(write_block(f, 5, 1), 0);
	assert_int_equal(cache_write(f, 4, buf, 16), -EINVAL);
	assert_int_equal(cache_write(f, 0, buf, 16), -EINVAL);
	cache_close(f);
	cache_free(cache);

	cache = open_cache(*state, "e", GIB);
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.files, 1);
	assert_int_equal(cache_open(cache, 5, 3 * BLOCK + 10, NULL, &f), 0);
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.bytes, BLOCK + 10);
	assert_false(cache_has_block(f, 0));
	assert_true(is_block_right(f, 5, 1));
	assert_false(cache_has_block(f, 2));
	assert_true(is_block_right(f, 5, 3));
	cache_close(f);
	cache_free(cache);
}

static void put_one(struct cache *cache, uint64_t cid, uint64_t size)
{
	struct cache_file *f;

	assert_int_equal(cache_open(cache, cid, size, NULL, &f), 0);
	assert_int_equal(write_block(f, cid, 0), 0);
	cache_close(f);
}

static bool has_one(struct cache *cache, uint64_t cid, uint64_t size)
{
	struct cache_file *f;
	bool has;

	assert_int_equal(cache_open(cache, cid, size, NULL, &f), 0);
	has = cache_has_block(f, 0);
	cache_close(f);
	return has;
}

static void test_another_epoch_or_size_is_worthless(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);

	put_one(cache, 1, 100);
	put_one(cache, 2, 100);
	assert_false(has_one(cache, 1, 101));
	assert_false(has_one(cache, 1, 100));
	assert_true(has_one(cache, 2, 100));
	cache_free(cache);
	cache = open_cache(*state, "other", GIB);
	assert_false(has_one(cache, 2, 100));
	cache_free(cache);
}

static void write_file(struct place *p, const char *name, const char *text)
{
	int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void test_unclean_stop_of_the_machine_throws_away(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);

	put_one(cache, 1, 100);
	cache_free(cache);
	write_file(*state, "running", "boot-of-last-week");
	cache = open_cache(*state, "e", GIB);
	assert_false(has_one(cache, 1, 100));
	cache_free(cache);
}

static void test_broken_maps_are_removed(void **state)
{
	const char *const maps[] = { "", "gfsmap1",
				     "garbage that is as long as a header is, or more" };
	struct place *p = *state;

	for (size_t i = 0; i < sizeof(maps) / sizeof(*maps); i++) {
		struct cache *cache = open_cache(p, "e", GIB);

		put_one(cache, 1, 100);
		cache_free(cache);
		write_file(p, "01/0000000000000001.map", maps[i]);
		cache = open_cache(p, "e", GIB);
		assert_false(has_one(cache, 1, 100));
		put_one(cache, 1, 100);
		assert_true(has_one(cache, 1, 100));
		cache_free(cache);
	}
}

static void test_links_are_not_followed(void **state)
{
	struct place *p = *state;
	struct cache *cache = open_cache(p, "e", GIB);
	struct cache_file *f;

	write_file(p, "victim", "precious");
	assert_int_equal(mkdirat(p->fd, "01", 0700), 0);
	assert_int_equal(symlinkat("../victim", p->fd, "01/0000000000000001"), 0);
	assert_int_equal(symlinkat("../victim", p->fd, "01/0000000000000001.map"), 0);
	assert_int_equal(cache_open(cache, 1, 100, NULL, &f), 0);
	assert_int_equal(write_block(f, 1, 0), 0);
	assert_true(is_block_right(f, 1, 0));
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
	struct place *p = *state;
	struct cache *cache = open_cache(p, "e", GIB), *second;
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);

	assert_int_equal(cache_new(fd, "e", GIB, &second), -EBUSY);
	cache_free(cache);
	assert_int_equal(cache_new(fd, "e", GIB, &second), 0);
	cache_free(second);
	close(fd);
}

static void test_complete_only_with_the_right_hash(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);
	uint8_t hash[QUICKXOR_BYTES];
	struct cache_file *f;
	char bad[100] = "not it";

	hash_of(9, 2 * BLOCK + 100, hash);
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	assert_int_equal(write_block(f, 9, 1), 0);
	cache_close(f);
	/* A block of an earlier life is hashed from the disk. */
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	assert_int_equal(write_block(f, 9, 0), 0);
	assert_int_equal(cache_write(f, 2, bad, sizeof(bad)), -EBADMSG);
	for (uint64_t i = 0; i < 3; i++) {
		assert_false(cache_has_block(f, i));
		assert_int_equal(write_block(f, 9, i), 0);
	}
	assert_true(is_block_right(f, 9, 2));
	cache_close(f);
	cache_free(cache);
	cache = open_cache(*state, "e", GIB);
	assert_int_equal(cache_open(cache, 9, 2 * BLOCK + 100, hash, &f), 0);
	for (uint64_t i = 0; i < 3; i++)
		assert_true(is_block_right(f, 9, i));
	cache_close(f);
	cache_free(cache);
}

static void test_another_length_than_the_row_says(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);
	uint8_t hash[QUICKXOR_BYTES] = { 1 };
	struct cache_file *f;

	assert_int_equal(cache_open(cache, 9, 100, hash, &f), 0);
	assert_int_equal(cache_set_size(f, BLOCK + 7), 0);
	assert_int_equal(write_block(f, 9, 0), 0);
	assert_int_equal(cache_set_size(f, 8), -EBUSY);
	assert_int_equal(write_block(f, 9, 1), 0); /* the hash is of something else */
	cache_close(f);
	assert_int_equal(cache_open(cache, 9, 100, hash, &f), 0);
	assert_int_equal(cache_size(f), BLOCK + 7);
	assert_true(is_block_right(f, 9, 1));
	cache_close(f);
	assert_int_equal(cache_open(cache, 10, CACHE_SIZE_MAX + 1, NULL, &f), -EFBIG);
	cache_free(cache);
}

static void test_eviction_spares_what_is_open(void **state)
{
	struct cache *cache = open_cache(*state, "e", 4 * BLOCK);
	struct cache_stats stats;
	struct cache_file *f;

	assert_int_equal(cache_open(cache, 1, 5 * BLOCK, NULL, &f), 0);
	assert_int_equal(write_block(f, 1, 0), 0);
	for (uint64_t cid = 2; cid < 12; cid++) {
		put_one(cache, cid, BLOCK);
		if (cid > 2)
			assert_true(has_one(cache, 2, BLOCK)); /* used: the newest */
	}
	cache_get_stats(cache, &stats);
	assert_true(stats.bytes <= 4 * BLOCK);
	assert_int_equal(stats.evicted_files, 7);
	assert_true(is_block_right(f, 1, 0));
	/* The open file alone fills the budget. */
	for (uint64_t i = 1; i < 4; i++)
		assert_int_equal(write_block(f, 1, i), 0);
	assert_int_equal(write_block(f, 1, 4), -EDQUOT);
	for (uint64_t i = 0; i < 4; i++)
		assert_true(is_block_right(f, 1, i));
	cache_close(f);
	cache_free(cache);
}

/* RLIMIT_FSIZE stands for a full disk. */
static void test_full_disk_leaves_no_block(void **state)
{
	struct cache *cache = open_cache(*state, "e", GIB);
	struct rlimit old, limit = { 2 * BLOCK, RLIM_INFINITY };
	struct cache_file *f;

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(cache_open(cache, 1, 2 * BLOCK, NULL, &f), 0);
	assert_int_equal(write_block(f, 1, 0), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit.rlim_cur = BLOCK + 100;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(write_block(f, 1, 1), -EFBIG);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_false(cache_has_block(f, 1));
	assert_true(is_block_right(f, 1, 0));
	assert_int_equal(write_block(f, 1, 1), 0);
	assert_true(is_block_right(f, 1, 1));
	cache_close(f);
	cache_free(cache);
}

enum { CRASH_BLOCKS = 64, CRASHES = 30 };

static void write_for_ever(struct place *p)
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
		(void)write_block(f, cid, (uint64_t)rand_r(&seed) % CRASH_BLOCKS);
		cache_close(f);
	}
}

static uint64_t check_after_crash(struct place *p)
{
	struct cache *cache = open_cache(p, "e", GIB);
	uint64_t there = 0;

	for (uint64_t cid = 1; cid <= 8; cid++) {
		struct cache_file *f;

		assert_int_equal(cache_open(cache, cid, CRASH_BLOCKS * BLOCK - 5, NULL, &f), 0);
		for (uint64_t i = 0; i < CRASH_BLOCKS; i++) {
			if (!cache_has_block(f, i))
				continue;
			assert_true(is_block_right(f, cid, i));
			there++;
		}
		cache_close(f);
	}
	cache_free(cache);
	return there;
}

static void test_killed_process_marks_no_block_that_is_not_there(void **state)
{
	struct place *p = *state;
	uint64_t there = 0;

	for (int i = 0; i < CRASHES; i++) {
		pid_t pid = fork();

		if (pid == 0)
			write_for_ever(p);
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
			int r = write_block(race->file, 3, i);

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
			fill(3, i, want, sizeof(want));
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
	struct race race = { .cache = open_cache(*state, "e", GIB) };
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
		if (write_block(f, cid, 0) < 0)
			race->dropped++;
		cache_close(f);
	}
	return NULL;
}

static void test_open_write_and_evict_at_once(void **state)
{
	struct race race = { .cache = open_cache(*state, "e", 6 * BLOCK) };
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

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

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

/*
 * How fast is the cache of contents? bench_cache [CONTENTS] [DIR]
 * Small contents are written and opened, read and closed again, then large ones, then evicted; and
 * the same small contents as plain files, as the limit. DIR: where, /tmp by default.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = CACHE_BLOCK_BYTES, READS = 10000, LARGE_BLOCKS = 4096, LARGE_CID = 1 << 30 };

static char block[BLOCK];

static unsigned long anonymous_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	return kib;
}

struct began {
	int64_t us, cpu_us;
};

static int64_t us_of(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static struct began begin(void)
{
	return (struct began){ us_of(CLOCK_MONOTONIC), us_of(CLOCK_THREAD_CPUTIME_ID) };
}

/* The processor time is of the calling thread: what a FUSE thread or a lane would be busy. */
static void report(const char *what, struct began began, uint64_t n, uint64_t bytes)
{
	double us = (double)(us_of(CLOCK_MONOTONIC) - began.us);
	double cpu_us = (double)(us_of(CLOCK_THREAD_CPUTIME_ID) - began.cpu_us);

	printf("%-32s %9.0f/s %8.2f us each (%7.2f CPU) %6.0f MB/s %4lu MiB anonymous\n", what,
	       (double)n * 1e6 / us, us / (double)n, cpu_us / (double)n, (double)(n * bytes) / us,
	       anonymous_kib() / 1024);
}

static int put(struct cache *cache, uint64_t cid, size_t size)
{
	struct cache_file *f;
	int r = cache_open(cache, cid, size, NULL, &f);

	if (r < 0)
		return r;
	for (uint64_t i = 0; r == 0 && i * BLOCK < size; i++)
		r = cache_write(f, i, block, size - i * BLOCK < BLOCK ? size - i * BLOCK : BLOCK);
	cache_close(f);
	return r;
}

static int get(struct cache *cache, uint64_t cid, size_t size)
{
	struct cache_file *f;
	int r = cache_open(cache, cid, size, NULL, &f);

	if (r < 0)
		return r;
	r = cache_read(f, 0, block, size);
	cache_close(f);
	return r;
}

/* The same work for n contents of one size. */
static int run_small(int dir_fd, uint64_t n, size_t size)
{
	struct cache *cache;
	struct began began;
	int r = cache_new(dir_fd, "bench", UINT64_C(1) << 40, &cache);

	if (r < 0)
		return r;
	printf("-- %llu contents of %zu bytes\n", (unsigned long long)n, size);
	began = begin();
	for (uint64_t i = 0; r == 0 && i < n; i++)
		r = put(cache, i + 1, size);
	report("open, write, close", began, n, size);
	began = begin();
	cache_free(cache);
	report("end", began, 1, 0);
	began = begin();
	if (r == 0)
		r = cache_new(dir_fd, "bench", UINT64_C(1) << 40, &cache);
	if (r < 0)
		return r;
	report("begin", began, 1, 0);
	for (int pass = 0; pass < 2; pass++) {
		began = begin();
		for (uint64_t i = 0; r == 0 && i < READS; i++)
			r = get(cache, i * 7919 % n + 1, size);
		report(pass ? "open, read, close, again" : "open, read, close", began, READS, size);
	}
	cache_free(cache);
	began = begin();
	if (r == 0)
		r = cache_new(dir_fd, "bench", n * size / 2, &cache);
	if (r < 0)
		return r;
	for (struct cache_stats stats = { .bytes = UINT64_MAX }; stats.bytes > n * size / 2;) {
		usleep(1000);
		cache_get_stats(cache, &stats);
	}
	report("evicted in the background", began, n / 2, size);
	cache_free(cache);
	return r;
}

static int run_large(int dir_fd)
{
	const uint64_t size = (uint64_t)LARGE_BLOCKS * BLOCK;
	struct cache_file *f;
	struct cache *cache;
	struct began began;
	int r = cache_new(dir_fd, "large", 2 * size, &cache);

	if (r < 0)
		return r;
	printf("-- one content of %llu MiB, blocks of %d KiB\n", (unsigned long long)(size >> 20),
	       BLOCK / 1024);
	r = cache_open(cache, LARGE_CID, size, NULL, &f);
	began = begin();
	for (uint64_t i = 0; r == 0 && i < LARGE_BLOCKS; i++)
		r = cache_write(f, i * 1021 % LARGE_BLOCKS, block, BLOCK);
	report("write, any order", began, LARGE_BLOCKS, BLOCK);
	for (size_t len = 4096; r == 0 && len <= BLOCK; len *= 64) {
		began = begin();
		for (uint64_t i = 0; r == 0 && i < LARGE_BLOCKS; i++)
			r = cache_read(f, i * BLOCK, block, len);
		report(len == BLOCK ? "read blocks" : "read 4 KiB", began, LARGE_BLOCKS, len);
	}
	cache_close(f);
	cache_free(cache);
	began = begin();
	if (r == 0)
		r = cache_new(dir_fd, "large", size / 2, &cache);
	if (r < 0)
		return r;
	for (struct cache_stats stats = { .bytes = UINT64_MAX }; stats.bytes > 0;) {
		usleep(1000);
		cache_get_stats(cache, &stats);
	}
	report("evicted in the background", began, 1, size);
	cache_free(cache);
	return r;
}

/* The limit: files without a cache around them. */
static int run_plain(int dir_fd, uint64_t n, size_t size)
{
	struct began began = begin();
	char name[32];

	for (uint64_t i = 0; i < n; i++) {
		auto_close int fd = -1;

		snprintf(name, sizeof(name), "plain-%llu", (unsigned long long)i);
		fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || write(fd, block, size) != (ssize_t)size)
			return -errno;
	}
	report("plain files: open, write, close", began, n, size);
	began = begin();
	for (uint64_t i = 0; i < READS; i++) {
		auto_close int fd = -1;

		snprintf(name, sizeof(name), "plain-%llu", (unsigned long long)(i * 7919 % n));
		fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, block, size) != (ssize_t)size)
			return -errno;
	}
	report("plain files: open, read, close", began, READS, size);
	return 0;
}

int main(int argc, char **argv)
{
	const size_t sizes[] = { 4096, CACHE_SMALL_BYTES, CACHE_SMALL_BYTES + 1, 65536 };
	uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 10000;
	char path[200], command[220];
	int r = 0;

	snprintf(path, sizeof(path), "%s/gfs-bench-cache-XXXXXX", argc > 2 ? argv[2] : "/tmp");
	if (n == 0 || !mkdtemp(path))
		return 1;
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (size_t i = 0; r == 0 && i < sizeof(sizes) / sizeof(*sizes); i++) {
		r = run_small(fd, i == 0 ? n : n < READS ? n : READS, sizes[i]);
		if (r == 0 && i == 0 && n <= 100000)
			r = run_plain(fd, n, sizes[i]);
		if (r == 0 && i == 0)
			r = run_large(fd);
		snprintf(command, sizeof(command), "rm -rf %s/*", path);
		if (system(command) != 0)
			r = -EIO;
	}
	snprintf(command, sizeof(command), "rm -rf %s", path);
	if (system(command) != 0 || r < 0)
		fprintf(stderr, "failed: %s\n", strerror(-r));
	return r < 0;
}

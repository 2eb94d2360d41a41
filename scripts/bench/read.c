/*
 * What reading costs that is not in the cache yet, and how near that is to what the line can do.
 *
 *   bench_read [--size MIB] [--files N] [--latency MS] [--rate BYTES_S] [--csv FILE]
 *
 * On one simulated service, with so many bytes per second on each connection and so many
 * milliseconds before each reply:
 *   sequential   a file from end to end, beside eight curls that fetch a part each
 *   unshaped     the same without delay or limit, beside one curl that writes a file
 *   random       200 reads of 4 KiB: round trips for each, bytes fetched for each byte read
 *   first byte   of files whose URL is not known, then of the same when it is
 *   small files  grep -r over N files of 8 KiB
 *   re-read      the first file again from the disk, with a new mount and without page cache
 * With each stand the requests it took and the greatest memory of the daemon so far.
 *
 * Fails only if bytes are wrong or missing. The times decide nothing here.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20, RANDOM_N = 200, FIRST_N = 20, CURLS_N = 8, SMALL_BYTES = 8192 };

struct bench {
	struct harness h;
	uint64_t size, rate;
	unsigned files_n, latency_ms;
	FILE *csv;
	char *buf;
};

/* --- what it stands on --- */

static void shape(struct bench *b, bool is_on)
{
	harness_do(&b->h, "/shape", NULL, "{\"latency_ms\":%u,\"bandwidth_bytes_per_s\":%llu}",
		   is_on ? b->latency_ms : 0, (unsigned long long)(is_on ? b->rate : 0));
}

/* Only the delay: for what is counted in round trips. */
static void delay(struct bench *b)
{
	harness_do(&b->h, "/shape", NULL, "{\"latency_ms\":%u,\"bandwidth_bytes_per_s\":0}",
		   b->latency_ms);
}

static void remount(struct bench *b, bool is_cold)
{
	if (b->h.is_mounted)
		harness_umount(&b->h);
	if (is_cold)
		assert_int_equal(harness_sh(&b->h, "rm -rf $DIR/cache/*"), 0);
	else /* pages of the cache files go; what is dirty is written first */
		(void)harness_sh(&b->h, "sync; find $DIR/cache -type f -exec "
					"dd if={} iflag=nocache count=0 status=none \\;");
	harness_mount(&b->h, NULL);
	/* The tree is known: neither a walk nor a look needs the service. */
	assert_int_equal(harness_sh(&b->h, "find $MNT -type f >/dev/null"), 0);
	harness_do(&b->h, "/counters/reset", NULL, "{}");
}

static uint64_t peak_kib(const struct bench *b)
{
	char path[64], line[256];
	unsigned long long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)b->h.mount_pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "VmHWM: %llu", &kib) == 1)
			break;
	}
	if (f)
		(void)fclose(f);
	return kib;
}

static void row(struct bench *b, const char *what, double value, const char *unit, double limit)
{
	long long items = harness_counter(&b->h, "item"),
		  contents = harness_counter(&b->h, "content");

	printf("| %-34s | %9.2f %-10s |", what, value, unit);
	if (limit > 0)
		printf(" %9.2f | %5.2f |", limit, value / limit);
	else
		printf(" %9s | %5s |", "", "");
	printf(" %5lld | %5lld | %6.1f |\n", items, contents, (double)peak_kib(b) / 1024);
	(void)fflush(stdout);
	if (b->csv)
		(void)fprintf(b->csv, "%s,%.3f,%s,%.3f,%lld,%lld,%llu\n", what, value, unit, limit,
			      items, contents, (unsigned long long)peak_kib(b));
}

/* --- curl, the limit --- */

static const char token_of[] = "code=$(curl -s -d client_id=11111111-2222-3333-4444-555555555555 "
			       "-d scope=Files.Read '%s/common/oauth2/v2.0/devicecode' | "
			       "sed 's/.*\"device_code\": *\"\\([^\"]*\\)\".*/\\1/'); "
			       "curl -s -d client_id=11111111-2222-3333-4444-555555555555 "
			       "--data-urlencode device_code=$code "
			       "-d grant_type=urn:ietf:params:oauth:grant-type:device_code "
			       "'%s/common/oauth2/v2.0/token' | "
			       "sed 's/.*\"access_token\": *\"\\([^\"]*\\)\".*/\\1/' >$DIR/token";

static void find_url(struct bench *b)
{
	assert_int_equal(harness_sh(&b->h, token_of, b->h.login, b->h.login), 0);
	assert_int_equal(
		harness_sh(&b->h,
			   "curl -s -o /dev/null -w '%%{redirect_url}' -H \"Authorization: Bearer "
			   "$(cat $DIR/token)\" '%s/me/drive/root:/big:/content' >$DIR/url; "
			   "test -s $DIR/url",
			   b->h.api),
		0);
}

static double curl_mib_s(struct bench *b, unsigned n)
{
	uint64_t part = b->size / n, begun = harness_now_ns();

	assert_int_equal(
		harness_sh(&b->h,
			   "url=$(cat $DIR/url); for i in $(seq 0 %u); do "
			   "curl -sf -o $DIR/part.$i -r $((i * %llu))-$((i * %llu + %llu)) "
			   "\"$url\" & done; wait",
			   n - 1, (unsigned long long)part, (unsigned long long)part,
			   (unsigned long long)part - 1),
		0);
	begun = harness_now_ns() - begun;
	assert_int_equal(harness_sh(&b->h,
				    "test $(cat $DIR/part.* | wc -c) = %llu && rm $DIR/part.*",
				    (unsigned long long)(part * n)),
			 0);
	return (double)b->size / MIB / ((double)begun / 1e9);
}

/* --- workloads --- */

static double read_mib_s(struct bench *b, const char *name)
{
	int fd = open(harness_path(&b->h, "%s", name), O_RDONLY | O_CLOEXEC);
	uint64_t begun = harness_now_ns(), n = 0;
	ssize_t got;

	assert_true(fd >= 0);
	while ((got = read(fd, b->buf, MIB)) > 0)
		n += (uint64_t)got;
	begun = harness_now_ns() - begun;
	close(fd);
	assert_int_equal(n, b->size);
	return (double)n / MIB / ((double)begun / 1e9);
}

static void sequential(struct bench *b)
{
	double limit, got;

	shape(b, true);
	limit = curl_mib_s(b, CURLS_N);
	remount(b, true);
	got = read_mib_s(b, "big");
	row(b, "sequential, beside 8 curls", got, "MiB/s", limit);
	assert_int_equal(
		harness_sh(&b->h, "curl -sf '%s/content?path=big' | cmp - $MNT/big", b->h.admin),
		0);
	shape(b, false);
	limit = curl_mib_s(b, 1);
	remount(b, true);
	got = read_mib_s(b, "big");
	row(b, "unshaped, beside 1 curl", got, "MiB/s", limit);
	remount(b, false);
	row(b, "re-read from the disk", read_mib_s(b, "big"), "MiB/s", 0);
}

/* Milliseconds of one read, in round trips. */
static double timed_read(struct bench *b, int fd, uint64_t off)
{
	uint64_t begun = harness_now_ns();

	assert_int_equal(pread(fd, b->buf, 4096, (off_t)off), 4096);
	return (double)(harness_now_ns() - begun) / 1e6 / b->latency_ms;
}

static void random_reads(struct bench *b)
{
	double sum = 0;
	unsigned seed = 1;
	int fd;

	delay(b);
	remount(b, true);
	fd = open(harness_path(&b->h, "big"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < RANDOM_N; i++) {
		uint64_t page = ((uint64_t)rand_r(&seed) << 16 ^ (uint64_t)rand_r(&seed)) %
				(b->size / 4096);

		sum += timed_read(b, fd, page * 4096);
	}
	close(fd);
	row(b, "random 4 KiB", sum / RANDOM_N, "trips each", 0);
	row(b, "random 4 KiB, bytes fetched",
	    (double)harness_counter(&b->h, "content_bytes") / (RANDOM_N * 4096.0), "per byte", 0);
}

static double first_bytes(struct bench *b, uint64_t off)
{
	double sum = 0;

	for (unsigned i = 0; i < FIRST_N; i++) {
		int fd = open(harness_path(&b->h, "first/%02u", i), O_RDONLY | O_CLOEXEC);

		assert_true(fd >= 0);
		sum += timed_read(b, fd, off);
		close(fd);
	}
	return sum / FIRST_N;
}

static void first(struct bench *b)
{
	delay(b);
	remount(b, true);
	row(b, "first byte, URL not known", first_bytes(b, 0), "trips", 0);
	row(b, "first byte, URL known", first_bytes(b, 5 * MIB), "trips", 0);
}

static void small_files(struct bench *b)
{
	uint64_t begun;
	double trips;

	delay(b);
	remount(b, true);
	begun = harness_now_ns();
	assert_int_equal(harness_sh(&b->h, "grep -r no-such-text $MNT/small; test $? = 1"), 0);
	trips = (double)(harness_now_ns() - begun) / 1e6 / b->latency_ms;
	row(b, "grep -r, small files", trips / b->files_n, "trips each", 0);
	row(b, "grep -r, small files", trips * b->latency_ms / 1000, "s", 0);
}

/* --- */

static void seed(struct bench *b)
{
	harness_create(&b->h, "big", b->size);
	for (unsigned i = 0; i < FIRST_N; i++) {
		char path[32];

		snprintf(path, sizeof(path), "first/%02u", i);
		harness_create(&b->h, path, 8 * MIB);
	}
	for (unsigned i = 0; i < b->files_n; i++) {
		char path[48];

		snprintf(path, sizeof(path), "small/file-%05u.txt", i);
		harness_create(&b->h, path, SMALL_BYTES);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "size", required_argument, NULL, 's' },
		{ "files", required_argument, NULL, 'f' },
		{ "latency", required_argument, NULL, 'l' },
		{ "rate", required_argument, NULL, 'r' },
		{ "csv", required_argument, NULL, 'c' },
		{ 0 },
	};
	struct bench b = { .size = 1024ull * MIB, .files_n = 2000, .latency_ms = 50 };
	int c;

	b.rate = 20000000;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			b.size = strtoull(optarg, NULL, 10) * MIB;
			break;
		case 'f':
			b.files_n = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'l':
			b.latency_ms = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'r':
			b.rate = strtoull(optarg, NULL, 10);
			break;
		case 'c':
			b.csv = fopen(optarg, "we");
			break;
		default:
			(void)fprintf(stderr, "see the head of read.c\n");
			return 2;
		}
	}
	harness_require_fuse();
	(void)setenv("GRAPHFS_LOG", "error", 0);
	b.buf = malloc(MIB);
	harness_start(&b.h, NULL);
	seed(&b);
	harness_mount(&b.h, NULL);
	harness_wait_equal(&b.h, 120000);
	find_url(&b);
	printf("%llu MiB, %u ms, %llu bytes/s for each connection, %u small files\n\n",
	       (unsigned long long)(b.size / MIB), b.latency_ms, (unsigned long long)b.rate,
	       b.files_n);
	printf("| workload | value | limit | ratio | items asked | contents | peak MiB |\n"
	       "| --- | --- | --- | --- | --- | --- | --- |\n");
	sequential(&b);
	random_reads(&b);
	first(&b);
	small_files(&b);
	if (b.csv)
		(void)fclose(b.csv);
	free(b.buf);
	harness_umount(&b.h);
	harness_stop(&b.h);
	return 0;
}

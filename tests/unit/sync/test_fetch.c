#include "fake_source.h"
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

enum { BLOCK = CACHE_BLOCK_BYTES, MIB = 1 << 20, STALL_MS = 400 };

struct env {
	struct fake_source fake;
	char dir[64];
	int dir_fd;
	struct cache *cache;
	struct fetch *fetch;
	struct fetch_file *file;
	struct fetch_stream *stream;
	atomic_uint gone_n;
	char etag[32], ctag[32];
	uint8_t hash[20];
	bool has_hash;
	uint64_t stall_ms; /* 0: the usual */
};

static void on_gone(void *arg, uint64_t ino)
{
	struct env *env = arg;

	env->gone_n++;
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	strcpy(env->dir, "/tmp/gfs-test-fetch-XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	env->dir_fd = open(env->dir, O_RDONLY | O_DIRECTORY);
	*state = env;
	return cache_new(env->dir_fd, "e", UINT64_C(1) << 30, &env->cache);
}

static void begin(struct env *env, uint64_t size, struct cache *cache)
{
	fake_init(&env->fake, size);
	assert_int_equal(fetch_new(
				 &(struct fetch_options){
					 .loop = env->fake.loop,
					 .cache = cache,
					 .source = fake_ops(&env->fake),
					 .on_gone = on_gone,
					 .arg = env,
					 .stall_ms = env->stall_ms,
				 },
				 &env->fetch),
			 0);
	strcpy(env->etag, env->fake.etag);
	strcpy(env->ctag, env->fake.ctag);
	fake_start(&env->fake);
}

static struct fetch_file *open_file(struct env *env, uint64_t cid)
{
	struct fetch_file *file;

	assert_int_equal(fetch_open(env->fetch,
				    &(struct fetch_version){
					    .drive_id = "D",
					    .id = "ID",
					    .etag = env->etag,
					    .ctag = env->ctag,
					    .ino = 100 + cid,
					    .cid = cid,
					    .size = env->fake.size,
					    .mtime_ns = 1,
					    .hash = env->has_hash ? env->hash : NULL,
				    },
				    &file),
			 0);
	return file;
}

/* One file that is open once, the usual case. */
static void begin_open(struct env *env, uint64_t size)
{
	begin(env, size, env->cache);
	if (env->has_hash)
		fake_hash(env->fake.version, size, env->hash);
	env->file = open_file(env, 1);
	assert_int_equal(fetch_stream_new(env->file, &env->stream), 0);
}

static int teardown(void **state)
{
	struct env *env = *state;
	char cmd[96];

	if (env->stream)
		fetch_stream_free(env->stream);
	if (env->file)
		fetch_close(env->file);
	fake_stop(&env->fake);
	fetch_free(env->fetch);
	fake_fini(&env->fake);
	cache_free(env->cache);
	close(env->dir_fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", env->dir);
	free(env);
	return system(cmd);
}

/* --- reads --- */

struct one {
	struct fetch_read read;
	sem_t done;
	ssize_t got;
	bool parked;
	char *buf;
};

static void on_read(struct fetch_read *read, ssize_t got)
{
	struct one *one = (struct one *)read;

	one->got = got;
	sem_post(&one->done);
}

static void start(struct one *one, struct fetch_stream *stream, uint64_t off, size_t len)
{
	ssize_t got;

	*one = (struct one){ .buf = malloc(len) };
	one->read = (struct fetch_read){
		.stream = stream, .off = off, .len = len, .buf = one->buf, .done = on_read
	};
	sem_init(&one->done, 0, 0);
	got = fetch_start(&one->read, &one->parked);
	if (!one->parked)
		one->got = got;
}

static void wait_for(struct one *one)
{
	while (one->parked && sem_wait(&one->done) < 0)
		;
}

static void finish(struct one *one)
{
	sem_destroy(&one->done);
	free(one->buf);
}

/* Reads and compares with the version; -errno, or the bytes. */
static ssize_t read_some(struct fetch_stream *stream, int version, uint64_t off, size_t len)
{
	struct one one;
	ssize_t got;

	start(&one, stream, off, len);
	wait_for(&one);
	if (one.parked && one.got == 0)
		fail();
	got = one.got;
	if (got > 0)
		assert_true(fake_is_right(version, off, one.buf, (size_t)got));
	finish(&one);
	return got;
}

/* Linked in place of the clock that requests are timed by: how much is asked for at once must not
 * depend on how busy the machine is. */
uint64_t __wrap_clock_mono_us(void);
uint64_t __wrap_clock_mono_us(void)
{
	return 0;
}

/* Polls until the number is what it should become. */
#define eventually(condition)                                   \
	do {                                                    \
		for (int tries_ = 0; !(condition); tries_++) {  \
			if (tries_ == 5000)                     \
				fail_msg("never: " #condition); \
			usleep(1000);                           \
		}                                               \
	} while (0)

static struct fetch_stats stats(struct env *env)
{
	struct fetch_stats s;

	fetch_get_stats(env->fetch, &s);
	return s;
}

static void hold(struct fake_source *fake)
{
	fake->is_holding = true;
}

static void hold_items(struct fake_source *fake)
{
	fake->is_holding_items = true;
}

static void drop_etags(struct fake_source *fake)
{
	strcpy(fake->content_etag, "-");
}

/* --- tests --- */

static void test_bytes_come_and_stay(void **state)
{
	struct env *env = *state;

	begin_open(env, 700000);
	assert_int_equal(read_some(env->stream, 1, 5, 1000), 1000);
	assert_int_equal(read_some(env->stream, 1, 600000, 200000), 100000);
	assert_int_equal(read_some(env->stream, 1, 699999, 10), 1);
	assert_int_equal(read_some(env->stream, 1, 700000, 10), 0);
	assert_int_equal(read_some(env->stream, 1, UINT64_MAX - 5, 10), 0);
	assert_int_equal(stats(env).requests_n, 1); /* small: asked for whole */
	assert_int_equal(env->fake.infos_n, 1);
	eventually(stats(env).memory_blocks == 0);
}

static void test_empty_file_needs_no_request(void **state)
{
	struct env *env = *state;

	begin_open(env, 0);
	assert_int_equal(read_some(env->stream, 1, 0, 1000), 0);
	assert_int_equal(env->fake.infos_n + env->fake.contents_n, 0);
}

static void test_twenty_readers_share_one_request(void **state)
{
	struct env *env = *state;
	struct fetch_stream *streams[20];
	struct one reads[20];

	begin_open(env, 100 * BLOCK);
	fake_do(&env->fake, hold);
	for (size_t i = 0; i < 20; i++) {
		assert_int_equal(fetch_stream_new(env->file, &streams[i]), 0);
		start(&reads[i], streams[i], 50 * BLOCK + i * 1000, 1000);
		assert_true(reads[i].parked);
	}
	eventually(env->fake.contents_n == 1);
	assert_int_equal(stats(env).parked_n, 20);
	fake_do(&env->fake, fake_release);
	for (size_t i = 0; i < 20; i++) {
		wait_for(&reads[i]);
		assert_int_equal(reads[i].got, 1000);
		assert_true(fake_is_right(1, 50 * BLOCK + i * 1000, reads[i].buf, 1000));
		finish(&reads[i]);
		fetch_stream_free(streams[i]);
	}
	assert_int_equal(env->fake.contents_n, 1);
	assert_int_equal(stats(env).fetched_bytes, BLOCK); /* random: the block alone */
}

static void test_sequential_reader_is_ahead(void **state)
{
	struct env *env = *state;
	const uint64_t size = 24 * MIB + 12345;

	begin_open(env, size);
	for (uint64_t off = 0; off < size; off += 128 * 1024)
		assert_true(read_some(env->stream, 1, off, 128 * 1024) > 0);
	eventually(stats(env).in_flight_n == 0);
	assert_true(env->fake.contents_n <= 26); /* a MiB each, at least */
	assert_int_equal(stats(env).fetched_bytes, size);
}

/* Reads in a row until the service, which says nothing more, is waited for. */
static void read_until_held(struct env *env, struct one *one)
{
	uint64_t off = 0;

	for (; off < 16 * MIB; off += MIB)
		assert_int_equal(read_some(env->stream, 1, off, MIB), MIB);
	eventually(stats(env).in_flight_n == 0);
	fake_do(&env->fake, hold);
	for (;; off += MIB) {
		start(one, env->stream, off, MIB);
		if (one->parked)
			return;
		assert_int_equal(one->got, MIB);
		finish(one);
	}
}

/* As many requests side by side as connections are used, the rest when one ends. */
static void test_read_ahead_is_parallel_and_bounded(void **state)
{
	struct env *env = *state;
	struct one one;

	begin_open(env, 400 * MIB);
	read_until_held(env, &one);
	/* The one that the reader waits for may be a request of his own, beside them. */
	eventually(stats(env).in_flight_n >= FETCH_AHEAD_REQUESTS);
	assert_in_range(stats(env).ahead_n, FETCH_AHEAD_REQUESTS - 1, FETCH_AHEAD_REQUESTS);
	fake_do(&env->fake, fake_release);
	wait_for(&one);
	assert_int_equal(one.got, MIB);
	finish(&one);
	eventually(stats(env).in_flight_n == 0);
	assert_int_equal(stats(env).ahead_n, 0);
}

static void test_seek_cancels_read_ahead(void **state)
{
	struct env *env = *state;
	struct one one, far;

	begin_open(env, 400 * MIB);
	read_until_held(env, &one);
	eventually(stats(env).in_flight_n >= FETCH_AHEAD_REQUESTS);
	assert_true(fetch_cancel(&one.read));
	finish(&one);
	start(&far, env->stream, 390 * MIB, 4096);
	eventually(stats(env).ahead_n == 0 && stats(env).in_flight_n == 1);
	eventually(env->fake.cancelled_n >= FETCH_AHEAD_REQUESTS);
	fake_do(&env->fake, fake_release);
	wait_for(&far);
	assert_int_equal(far.got, 4096);
	finish(&far);
}

static void test_random_reads_fetch_a_block_each(void **state)
{
	enum { N = 40 };
	struct env *env = *state;

	begin_open(env, 1024 * MIB);
	/* Each two MiB and more from all others, in no stride. */
	for (uint64_t i = 0; i < N; i++)
		assert_int_equal(read_some(env->stream, 1, (i * i * 37 % 101 * 10 + 5) * MIB, 4096),
				 4096);
	eventually(stats(env).in_flight_n == 0);
	assert_true(stats(env).fetched_bytes <= (uint64_t)N * 64 * 4096);
	assert_int_equal(env->fake.infos_n, 1);
}

static void test_strides_are_read_ahead(void **state)
{
	struct env *env = *state;

	begin_open(env, 400 * MIB);
	for (uint64_t i = 0; i < 4; i++)
		assert_int_equal(read_some(env->stream, 1, (1 + i * 10) * MIB, 4096), 4096);
	eventually(env->fake.contents_n >= 6 && stats(env).in_flight_n == 0);
	fake_do(&env->fake, hold);
	assert_int_equal(read_some(env->stream, 1, 41 * MIB, 4096), 4096);
	assert_int_equal(read_some(env->stream, 1, 51 * MIB, 4096), 4096);
	fake_do(&env->fake, fake_release);
}

/* What a version in doubt brings stays in memory until the item was asked, which here it is not:
 * no more than the limit, and a block for each reader. */
static void test_memory_is_bounded_over_all_files(void **state)
{
	enum { N = 12, READS = 2 };
	struct env *env = *state;
	struct fetch_file *files[N];
	struct fetch_stream *streams[N];
	struct one reads[N][READS];
	struct one one;

	begin_open(env, 64 * MIB);
	fake_do(&env->fake, drop_etags);
	for (size_t i = 0; i < N; i++) {
		files[i] = open_file(env, i + 2);
		assert_int_equal(fetch_stream_new(files[i], &streams[i]), 0);
		/* Brings the URL, and the item is not asked again for this one. */
		assert_int_equal(read_some(streams[i], 1, 60 * MIB, 100), 100);
	}
	fake_do(&env->fake, hold_items);
	for (size_t i = 0; i < N; i++) {
		for (size_t j = 0; j < READS; j++)
			start(&reads[i][j], streams[i], j * 16 * MIB, 8 * MIB);
	}
	eventually(stats(env).memory_blocks >= FETCH_MEMORY_BLOCKS);
	usleep(100000); /* what is wrong would show now; what is right does not depend on it */
	assert_in_range(stats(env).memory_blocks, FETCH_MEMORY_BLOCKS,
			FETCH_MEMORY_BLOCKS + N * READS);
	/* One more reader gets its block in spite of that. */
	start(&one, env->stream, 0, 100);
	fake_do(&env->fake, fake_release_items);
	wait_for(&one);
	assert_int_equal(one.got, 100);
	finish(&one);
	for (size_t i = 0; i < N; i++) {
		for (size_t j = 0; j < READS; j++) {
			wait_for(&reads[i][j]);
			assert_int_equal(reads[i][j].got, 8 * MIB);
			finish(&reads[i][j]);
		}
		fetch_stream_free(streams[i]);
		fetch_close(files[i]);
	}
	eventually(stats(env).memory_blocks == 0);
}

static void reopen(struct env *env)
{
	fetch_stream_free(env->stream);
	fetch_close(env->file);
	eventually(stats(env).files_n == 0);
	env->file = open_file(env, 1);
	assert_int_equal(fetch_stream_new(env->file, &env->stream), 0);
}

static void test_url_serves_the_next_open(void **state)
{
	struct env *env = *state;

	begin_open(env, 400 * MIB);
	assert_int_equal(read_some(env->stream, 1, 100 * MIB, 100), 100);
	reopen(env);
	assert_int_equal(read_some(env->stream, 1, 200 * MIB, 100), 100);
	assert_int_equal(env->fake.infos_n, 1);
	assert_int_equal(env->fake.contents_n, 2);
}

static void test_remembered_url_that_ran_out(void **state)
{
	struct env *env = *state;

	begin_open(env, 400 * MIB);
	assert_int_equal(read_some(env->stream, 1, 100 * MIB, 100), 100);
	reopen(env);
	/* Nothing is on its way that would read them. */
	env->fake.content_error = -ESTALE;
	env->fake.content_errors_n = 1;
	assert_int_equal(read_some(env->stream, 1, 200 * MIB, 100), 100);
	assert_int_equal(env->fake.infos_n, 2);
	/* Refused twice in a row, it is no matter of the URL. */
	env->fake.content_errors_n = 99;
	assert_int_equal(read_some(env->stream, 1, 300 * MIB, 100), -EACCES);
	assert_int_equal(env->fake.infos_n, 3);
}

/* A URL that never brought anything is asked for again by the next open. */
static void test_url_that_leads_nowhere(void **state)
{
	struct env *env = *state;
	unsigned infos;

	begin_open(env, 400 * MIB);
	env->fake.content_error = -EINVAL;
	env->fake.content_errors_n = 99;
	assert_true(read_some(env->stream, 1, 100 * MIB, 100) < 0);
	infos = env->fake.infos_n;
	env->fake.content_errors_n = 0;
	reopen(env);
	assert_int_equal(read_some(env->stream, 1, 100 * MIB, 100), 100);
	assert_int_equal(env->fake.infos_n, infos + 1);
}

/* The URL leads to the item: behind the one that is remembered there is another version. */
static void test_remembered_url_never_mixes_versions(void **state)
{
	struct env *env = *state;

	begin_open(env, 400 * MIB);
	assert_int_equal(read_some(env->stream, 1, 100 * MIB, 100), 100);
	reopen(env);
	fake_do(&env->fake, fake_change);
	assert_int_equal(read_some(env->stream, 1, 200 * MIB, 100), -ESTALE);
	assert_int_equal(read_some(env->stream, 1, 100 * MIB, 100), 100);
	assert_int_equal(env->gone_n, 1);
	reopen(env);
	/* Nor is it kept after that. */
	assert_int_equal(read_some(env->stream, 1, 300 * MIB, 100), -ESTALE);
	assert_int_equal(env->fake.contents_n, 2);
}

static void test_background_reads_go_last(void **state)
{
	struct env *env = *state;

	begin_open(env, 30000);
	fetch_stream_set_background(env->stream);
	assert_int_equal(read_some(env->stream, 1, 29999, 1), 1);
	assert_int_equal(env->fake.later_n, 2); /* the item and its content */
	assert_int_equal(stats(env).fetched_bytes, 30000);
}

/* Whole blocks up to the limit and what is cached; the rest is refused without a request. */
static void test_limited_reads_are_refused_beyond_it(void **state)
{
	struct env *env = *state;

	begin_open(env, 4 * BLOCK);
	fetch_stream_set_background(env->stream);
	fetch_stream_set_limit(env->stream, BLOCK);
	assert_int_equal(read_some(env->stream, 1, BLOCK - 100, 200), -ENODATA);
	assert_int_equal(read_some(env->stream, 1, BLOCK, 1), -ENODATA);
	assert_int_equal(env->fake.infos_n, 0);
	/* A file of this size is otherwise fetched whole. */
	assert_int_equal(read_some(env->stream, 1, BLOCK - 100, 100), 100);
	assert_int_equal(stats(env).fetched_bytes, BLOCK);
	assert_int_equal(read_some(env->stream, 1, BLOCK, 1), -ENODATA);
	fetch_stream_set_limit(env->stream, UINT64_MAX);
	assert_int_equal(read_some(env->stream, 1, 4 * BLOCK - 1, 1), 1);
	fetch_stream_set_limit(env->stream, 0);
	assert_int_equal(read_some(env->stream, 1, BLOCK - 100, 200), 200);
	assert_int_equal(read_some(env->stream, 1, 4 * BLOCK, 1), 0);
	assert_int_equal(stats(env).fetched_bytes, 4 * BLOCK);
}

static void test_try_takes_what_is_cached(void **state)
{
	struct env *env = *state;
	char buf[3000];

	begin_open(env, 30 * BLOCK);
	assert_int_equal(fetch_try(env->stream, 5 * BLOCK, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(read_some(env->stream, 1, 5 * BLOCK, 100), 100);
	assert_int_equal(fetch_try(env->stream, 5 * BLOCK, buf, sizeof(buf)), sizeof(buf));
	assert_true(fake_is_right(1, 5 * BLOCK, buf, sizeof(buf)));
	assert_int_equal(fetch_try(env->stream, 6 * BLOCK - 1000, buf, sizeof(buf)), -EAGAIN);
	assert_int_equal(fetch_try(env->stream, 30 * BLOCK, buf, sizeof(buf)), 0);
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK - 10, 10), 10);
	assert_int_equal(fetch_try(env->stream, 30 * BLOCK - 10, buf, sizeof(buf)), 10);
	assert_int_equal(env->fake.contents_n, 2);
}

static void wait_there(void *arg)
{
	while (sem_wait(arg) < 0)
		;
}

/* Not even at the end, so that opening what is cached costs no other thread a turn. */
static void test_cached_files_do_without_the_loop(void **state)
{
	struct env *env = *state;
	uint64_t size = 3 * BLOCK + 5, open_n, after_n[2];
	char *buf = malloc(size);
	sem_t go;

	assert_non_null(buf);
	begin_open(env, size);
	assert_int_equal(read_some(env->stream, 1, 0, size), size);
	open_n = stats(env).files_n;
	assert_int_equal(sem_init(&go, 0, 0), 0);
	assert_int_equal(loop_post_new(env->fake.loop, wait_there, &go), 0);
	for (int with_reads = 0; with_reads < 2; with_reads++) {
		struct fetch_file *file = open_file(env, 2 - with_reads);
		struct fetch_stream *stream;

		assert_int_equal(fetch_stream_new(file, &stream), 0);
		if (with_reads) {
			assert_int_equal(fetch_try(stream, 0, buf, size), size);
			assert_true(fake_is_right(1, 0, buf, size));
		}
		fetch_stream_free(stream);
		fetch_close(file);
		after_n[with_reads] = stats(env).files_n;
	}
	sem_post(&go);
	assert_int_equal(after_n[0], open_n);
	assert_int_equal(after_n[1], open_n);
	free(buf);
	/* The loop may still be about to wait. */
	fake_do(&env->fake, fake_release);
	sem_destroy(&go);
}

static void test_cancelled_read_is_not_answered(void **state)
{
	struct env *env = *state;
	struct one one;

	begin_open(env, 10 * BLOCK);
	fake_do(&env->fake, hold);
	start(&one, env->stream, 5 * BLOCK, 100);
	assert_true(one.parked);
	assert_true(fetch_cancel(&one.read));
	assert_false(fetch_cancel(&one.read));
	fake_do(&env->fake, fake_release);
	eventually(stats(env).in_flight_n == 0 && stats(env).memory_blocks == 0);
	assert_int_equal(sem_trywait(&one.done), -1);
	finish(&one);
	assert_int_equal(read_some(env->stream, 1, 5 * BLOCK, 100), 100);
}

static void test_every_read_is_answered_or_cancelled_once(void **state)
{
	struct env *env = *state;
	unsigned answered = 0, cancelled = 0;

	begin_open(env, 400 * BLOCK);
	for (uint64_t i = 0; i < 400; i++) {
		struct one one;

		start(&one, env->stream, (i * 7 % 400) * BLOCK, 100);
		for (unsigned spin = 0; spin < i * 50; spin++)
			__asm__ volatile("");
		if (one.parked && fetch_cancel(&one.read)) {
			assert_int_equal(sem_trywait(&one.done), -1);
			cancelled++;
		} else {
			wait_for(&one);
			assert_int_equal(one.got, 100);
			answered++;
		}
		finish(&one);
	}
	assert_int_equal(answered + cancelled, 400);
}

static void test_new_version_is_never_mixed_in(void **state)
{
	struct env *env = *state;

	begin_open(env, 40 * BLOCK);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	fake_do(&env->fake, fake_change);
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), -ESTALE);
	assert_int_equal(env->gone_n, 1);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	assert_int_equal(read_some(env->stream, 1, 10 * BLOCK, 1000), -ESTALE);
	assert_int_equal(env->gone_n, 1);
}

static void rename_only(struct fake_source *fake)
{
	strcpy(fake->etag, "\"renamed\"");
}

static void test_tag_that_moves_alone_is_no_new_version(void **state)
{
	struct env *env = *state;

	begin_open(env, 40 * BLOCK);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	fake_do(&env->fake, rename_only);
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), 1000);
	assert_int_equal(env->gone_n, 0);
}

static void test_unknown_tags_are_asked_about(void **state)
{
	const char *const tags[] = { "\"another form\"", "-" };
	struct env *env = *state;

	begin_open(env, 40 * BLOCK);
	for (uint64_t i = 0; i < 2; i++) {
		strcpy(env->fake.content_etag, tags[i]);
		assert_int_equal(read_some(env->stream, 1, (20 + i * 9) * BLOCK, 1000), 1000);
	}
	assert_int_equal(env->fake.infos_n, 3);
	/* And what came in doubt from another version is not handed out. */
	fake_do(&env->fake, fake_change);
	assert_int_equal(read_some(env->stream, 1, 10 * BLOCK, 1000), -ESTALE);
}

static void test_truncated_replies(void **state)
{
	struct env *env = *state;

	begin_open(env, 40 * BLOCK);
	env->fake.truncate_at = BLOCK / 2;
	env->fake.truncate_n = 1;
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	env->fake.truncate_n = 1000;
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), -EIO);
	env->fake.truncate_n = 0;
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), 1000);
	eventually(stats(env).memory_blocks == 0);
}

struct fault {
	int error;
	unsigned n;
	ssize_t got;
};

static void test_failures_of_content(void **state)
{
	static const struct fault faults[] = {
		{ -ESTALE, 1, 100 },
		{ -ESTALE, 99, -EACCES },
		{ -EBADMSG, 1, 100 },
		{ -EBADMSG, 99, -EIO },
		{ -EAGAIN, 1, 100 },
		{ -ENETDOWN, 1, 100 },
		{ -ENETDOWN, 99, -ENETDOWN },
		{ -ETIMEDOUT, 1, 100 },
		{ -ETIMEDOUT, 99, -ETIMEDOUT },
		{ -ERANGE, 1, 100 },
		{ -EPERM, 1, -EPERM },
	};
	struct env *env = *state;

	begin_open(env, 100 * BLOCK);
	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		env->fake.content_error = faults[i].error;
		env->fake.content_errors_n = faults[i].n;
		/* In no stride: nothing is there before it is asked for. */
		assert_int_equal(read_some(env->stream, 1, (90 - 5 * i - i % 2) * BLOCK, 100),
				 faults[i].got);
		env->fake.content_errors_n = 0;
	}
	assert_int_equal(env->gone_n, 0);
}

static void test_failures_of_the_item(void **state)
{
	static const struct fault faults[] = {
		{ -ENETDOWN, 99, -ENETDOWN }, { -ENOENT, 1, 100 },   { -ENOENT, 99, -ESTALE },
		{ -EACCES, 1, -EACCES },      { -EPERM, 1, -EPERM },
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		struct env *env = *state;

		if (i > 0) {
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
			env = *state;
		}
		begin_open(env, 10 * BLOCK);
		env->fake.info_error = faults[i].error;
		env->fake.info_errors_n = faults[i].n;
		assert_int_equal(read_some(env->stream, 1, 5 * BLOCK, 100), faults[i].got);
		assert_int_equal(env->gone_n, faults[i].got == -ESTALE);
	}
}

static void test_url_apart_from_the_item(void **state)
{
	struct env *env = *state;

	begin_open(env, 10 * BLOCK);
	env->fake.has_no_url = true;
	assert_int_equal(read_some(env->stream, 1, 5 * BLOCK, 100), 100);
	assert_int_equal(env->fake.urls_n, 1);
}

static void test_real_length_differs_from_the_metadata(void **state)
{
	struct env *env = *state;

	begin_open(env, 3 * BLOCK);
	env->fake.content_total = 2 * BLOCK + 7;
	assert_int_equal(read_some(env->stream, 1, 2 * BLOCK, 1000), 7);
	assert_int_equal(fetch_size(env->file), 2 * BLOCK + 7);
	assert_int_equal(read_some(env->stream, 1, 0, 1000), 1000);
	/* Again another length, with bytes already there: another content. */
	env->fake.content_total = 2 * BLOCK + 8;
	assert_int_equal(read_some(env->stream, 1, BLOCK, 1000), 1000);
	assert_int_equal(env->gone_n, 0);
}

static void test_another_length_later_is_another_version(void **state)
{
	struct env *env = *state;

	begin_open(env, 100 * BLOCK);
	assert_int_equal(read_some(env->stream, 1, 50 * BLOCK, 1000), 1000);
	env->fake.content_total = 99 * BLOCK;
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), -ESTALE);
}

static void test_damaged_content_is_asked_for_again(void **state)
{
	struct env *env = *state;

	env->has_hash = true;
	begin_open(env, 700000);
	env->fake.damage_n = 1;
	assert_int_equal(read_some(env->stream, 1, 0, 700000), 700000);
	assert_true(env->fake.contents_n >= 2);
	assert_int_equal(env->fake.infos_n, 2);
}

static void test_content_damaged_twice_is_an_error(void **state)
{
	struct env *env = *state;

	env->has_hash = true;
	begin_open(env, 200000);
	env->fake.damage_n = 99;
	assert_int_equal(read_some(env->stream, 1, 0, 200000), -EIO);
	assert_int_equal(read_some(env->stream, 1, 0, 100), -EIO);
	assert_int_equal(env->fake.contents_n, 2);
}

static void test_offline(void **state)
{
	struct env *env = *state;

	begin_open(env, 40 * BLOCK);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	fetch_set_reachable(env->fetch, false);
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), -ENETDOWN);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
	fetch_set_reachable(env->fetch, true);
	assert_int_equal(read_some(env->stream, 1, 30 * BLOCK, 1000), 1000);
}

static void let_go(struct fake_source *fake)
{
	fake->is_holding = false;
}

static void test_silence_has_a_deadline(void **state)
{
	struct env *env = *state;

	env->stall_ms = STALL_MS;
	begin_open(env, 40 * BLOCK);
	fake_do(&env->fake, hold);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), -ETIMEDOUT);
	/* The next one does not wait for the same request. */
	fake_do(&env->fake, let_go);
	assert_int_equal(read_some(env->stream, 1, 20 * BLOCK, 1000), 1000);
}

/* They may have to let others go first. */
static void test_background_reads_wait_longer(void **state)
{
	struct env *env = *state;
	struct fetch_stream *person;
	struct one one;

	env->stall_ms = STALL_MS;
	begin_open(env, 40 * BLOCK);
	assert_int_equal(fetch_stream_new(env->file, &person), 0);
	fetch_stream_set_background(env->stream);
	fake_do(&env->fake, hold);
	start(&one, env->stream, 20 * BLOCK, 1000);
	assert_int_equal(read_some(person, 1, 20 * BLOCK, 1000), -ETIMEDOUT);
	fake_do(&env->fake, fake_release);
	wait_for(&one);
	assert_int_equal(one.got, 1000);
	finish(&one);
	fetch_stream_free(person);
}

static void test_without_a_cache(void **state)
{
	struct env *env = *state;

	begin(env, 40 * BLOCK, NULL);
	env->file = open_file(env, 1);
	assert_int_equal(fetch_stream_new(env->file, &env->stream), 0);
	for (uint64_t off = 0; off < 5 * BLOCK; off += 100000)
		assert_int_equal(read_some(env->stream, 1, off, 100000), 100000);
	assert_false(stats(env).is_caching);
}

/* RLIMIT_FSIZE stands for a full disk. */
static void test_full_disk_costs_no_reader_its_bytes(void **state)
{
	struct env *env = *state;
	struct rlimit old, limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	begin_open(env, 10 * BLOCK);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = (struct rlimit){ BLOCK, old.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_some(env->stream, 1, 5 * BLOCK + 10, 2 * BLOCK), 2 * BLOCK);
	assert_false(stats(env).is_caching);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(read_some(env->stream, 1, 5 * BLOCK + 10, 2 * BLOCK), 2 * BLOCK);
	assert_true(stats(env).is_caching);
}

static void test_closing_ends_what_is_on_its_way(void **state)
{
	struct env *env = *state;
	struct one one;

	begin_open(env, 40 * BLOCK);
	fake_do(&env->fake, hold);
	start(&one, env->stream, 0, 100);
	eventually(env->fake.contents_n > 0);
	assert_true(fetch_cancel(&one.read));
	finish(&one);
	fetch_stream_free(env->stream);
	fetch_close(env->file);
	env->stream = NULL;
	env->file = NULL;
	eventually(stats(env).files_n == 0);
	assert_int_equal(env->fake.cancelled_n, env->fake.contents_n);
	eventually(stats(env).memory_blocks == 0);
}

struct crowd {
	struct env *env;
	struct fetch_stream *stream;
	unsigned seed;
	atomic_uint *bad;
};

static void *read_here_and_there(void *arg)
{
	struct crowd *crowd = arg;

	for (int i = 0; i < 150; i++) {
		uint64_t off = (uint64_t)rand_r(&crowd->seed) % (60 * BLOCK);
		struct one one;

		start(&one, crowd->stream, off, 50000);
		if (rand_r(&crowd->seed) % 4 == 0 && one.parked && fetch_cancel(&one.read)) {
			finish(&one);
			continue;
		}
		wait_for(&one);
		if (one.got != 50000 || !fake_is_right(1, off, one.buf, 50000))
			(*crowd->bad)++;
		finish(&one);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	struct env *env = *state;
	struct crowd crowd[6];
	pthread_t threads[6];
	atomic_uint bad = 0;

	begin_open(env, 61 * BLOCK);
	for (unsigned i = 0; i < 6; i++) {
		crowd[i] = (struct crowd){ .env = env, .seed = i, .bad = &bad };
		assert_int_equal(fetch_stream_new(env->file, &crowd[i].stream), 0);
		pthread_create(&threads[i], NULL, read_here_and_there, &crowd[i]);
	}
	for (unsigned i = 0; i < 6; i++) {
		pthread_join(threads[i], NULL);
		fetch_stream_free(crowd[i].stream);
	}
	assert_int_equal(bad, 0);
	eventually(stats(env).in_flight_n == 0);
	assert_true(stats(env).fetched_bytes <= 2 * 61 * BLOCK);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_bytes_come_and_stay),
		T(test_empty_file_needs_no_request),
		T(test_twenty_readers_share_one_request),
		T(test_sequential_reader_is_ahead),
		T(test_read_ahead_is_parallel_and_bounded),
		T(test_seek_cancels_read_ahead),
		T(test_random_reads_fetch_a_block_each),
		T(test_strides_are_read_ahead),
		T(test_memory_is_bounded_over_all_files),
		T(test_url_serves_the_next_open),
		T(test_remembered_url_that_ran_out),
		T(test_remembered_url_never_mixes_versions),
		T(test_url_that_leads_nowhere),
		T(test_background_reads_go_last),
		T(test_limited_reads_are_refused_beyond_it),
		T(test_try_takes_what_is_cached),
		T(test_cached_files_do_without_the_loop),
		T(test_cancelled_read_is_not_answered),
		T(test_every_read_is_answered_or_cancelled_once),
		T(test_new_version_is_never_mixed_in),
		T(test_tag_that_moves_alone_is_no_new_version),
		T(test_unknown_tags_are_asked_about),
		T(test_truncated_replies),
		T(test_failures_of_content),
		T(test_failures_of_the_item),
		T(test_url_apart_from_the_item),
		T(test_real_length_differs_from_the_metadata),
		T(test_another_length_later_is_another_version),
		T(test_damaged_content_is_asked_for_again),
		T(test_content_damaged_twice_is_an_error),
		T(test_offline),
		T(test_silence_has_a_deadline),
		T(test_background_reads_wait_longer),
		T(test_without_a_cache),
		T(test_full_disk_costs_no_reader_its_bytes),
		T(test_closing_ends_what_is_on_its_way),
		T(test_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

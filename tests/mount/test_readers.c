/*
 * Programs that open everything: what they are refused, that nothing of it is fetched, that nobody
 * else is refused anything, and that they stay behind people. They are known by their name, so each
 * is a copy of cat.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	BLOCK = 256 * 1024,
	BIG = 20 * BLOCK,
	READERS_N = 14,
	/* Of the connections to content those that only people may use are left. */
	CONNECTIONS = 10,
	FOR_OTHERS = 8,
};

static struct harness h;

static int set_up(void **state)
{
	static const char *const copies[] = { "tumblerd", "clamscan", "restic", "my-indexer",
					      "person-cat" };

	harness_start(&h, NULL);
	harness_create(&h, "photo.raw", BIG);
	harness_create(&h, "small.jpg", 3 * BLOCK);
	harness_create(&h, "scanned.bin", BIG);
	harness_create(&h, "indexed.bin", BIG);
	harness_create_text(&h, "person.txt", "person\n");
	for (int i = 0; i < READERS_N; i++) {
		char path[32];

		snprintf(path, sizeof(path), "stalled-%d.bin", i);
		harness_create(&h, path, BIG);
		snprintf(path, sizeof(path), "waited-%d.bin", i);
		harness_create(&h, path, BIG);
	}
	for (size_t i = 0; i < sizeof(copies) / sizeof(copies[0]); i++)
		assert_int_equal(harness_sh(&h, "cp /bin/cat $DIR/%s", copies[i]), 0);
	harness_config(&h, "[readers]\nindexer = cached\nindexer_names = my-indexer\n");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_no_faults(&h);
	harness_stop(&h);
	return 0;
}

static int64_t reader_count(const char *class, const char *key)
{
	struct json_object *status = harness_status(&h), *readers, *one, *value;
	int64_t n;

	assert_true(json_object_object_get_ex(status, "readers", &readers));
	assert_true(json_object_object_get_ex(readers, class, &one));
	assert_true(json_object_object_get_ex(one, key, &value));
	n = json_object_get_int64(value);
	json_object_put(status);
	return n;
}

/* The program reads the file and fails with ENODATA after so many bytes. */
static void expect_refused(const char *program, const char *file, int64_t bytes)
{
	int status;
	char *out = harness_sh_output(&h, &status,
				      "LC_ALL=C $DIR/%s $MNT/%s 2>$DIR/error | wc -c; "
				      "grep -c 'No data available' $DIR/error",
				      program, file);
	char want[32];

	snprintf(want, sizeof(want), "%lld\n1\n", (long long)bytes);
	assert_string_equal(out, want);
	free(out);
}

static void expect_whole(const char *program, const char *file, int64_t bytes)
{
	int status;
	char *out = harness_sh_output(&h, &status, "$DIR/%s $MNT/%s | wc -c", program, file);

	assert_int_equal(atoll(out), bytes);
	free(out);
}

static int64_t content_bytes(void)
{
	return harness_counter(&h, "content_bytes");
}

static void test_a_thumbnailer_gets_heads(void **state)
{
	int64_t bytes = content_bytes();

	expect_refused("tumblerd", "photo.raw", BLOCK);
	assert_int_equal(content_bytes() - bytes, BLOCK);
	/* A small file is fetched whole for people only. */
	expect_refused("tumblerd", "small.jpg", BLOCK);
	assert_int_equal(content_bytes() - bytes, 2 * BLOCK);
	assert_int_equal(reader_count("thumbnailer", "opens"), 2);
	assert_int_equal(reader_count("thumbnailer", "refused_files"), 2);
	assert_int_equal(reader_count("thumbnailer", "refused_bytes"), BIG + 3 * BLOCK);
	assert_int_equal(harness_sh(&h, "$GRAPHFS status $MNT | grep -q 'thumbnailers would have "
					"downloaded 5.8 MiB in 2 files'"),
			 0);

	/* The kernel's pages are everybody's: nobody else is refused. */
	expect_whole("person-cat", "photo.raw", BIG);
	assert_int_equal(content_bytes() - bytes, BIG + BLOCK);
	/* What is cached is for all, whoever had it fetched, with the kernel's pages or without. */
	assert_int_equal(harness_sh(&h, "$DIR/tumblerd $MNT/photo.raw | cmp - $MNT/photo.raw"), 0);
	harness_umount(&h);
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	assert_int_equal(harness_sh(&h, "$DIR/tumblerd $MNT/photo.raw | cmp - $MNT/photo.raw"), 0);
	assert_int_equal(content_bytes() - bytes, BIG + BLOCK);
	assert_int_equal(reader_count("thumbnailer", "refused_files"), 0);
}

static void test_a_scanner_gets_what_is_cached(void **state)
{
	int64_t bytes = content_bytes(), requests = harness_counter(&h, "content");

	expect_refused("clamscan", "scanned.bin", 0);
	/* By name and class of the configuration. */
	expect_refused("my-indexer", "indexed.bin", 0);
	assert_int_equal(content_bytes(), bytes);
	assert_int_equal(harness_counter(&h, "content"), requests);
	assert_int_equal(reader_count("scanner", "refused_bytes"), BIG);
	assert_int_equal(reader_count("indexer", "refused_bytes"), BIG);
	expect_whole("person-cat", "scanned.bin", BIG);
	expect_whole("clamscan", "scanned.bin", BIG);
	assert_int_equal(reader_count("scanner", "refused_files"), 1);
}

static void start_readers(const char *program, const char *stem, pid_t pids[READERS_N])
{
	for (int i = 0; i < READERS_N; i++) {
		char path[160], name[160];

		snprintf(path, sizeof(path), "%s/%s", h.dir, program);
		snprintf(name, sizeof(name), "%s/%s-%d.bin", h.mnt, stem, i);
		pids[i] = fork();
		if (pids[i] == 0) {
			int null = open("/dev/null", O_WRONLY);

			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
			execl(path, program, name, NULL);
			_exit(127);
		}
	}
}

/* What the kernel reads ahead for them is not interrupted with them. */
static void end_readers(const pid_t pids[READERS_N])
{
	harness_no_faults(&h);
	for (int i = 0; i < READERS_N; i++) {
		kill(pids[i], SIGKILL);
		assert_int_equal(waitpid(pids[i], NULL, 0), pids[i]);
	}
	harness_wait_until(harness_counter(&h, "content_stalled") == 0);
}

static void stall(void)
{
	harness_fault(&h, "{\"class\":\"content\",\"match\":\"*ed-*.bin\",\"action\":\"stall\"}");
}

/* However many of them wait, the connections that are kept for people stay free. */
static void test_a_backup_goes_after_people(void **state)
{
	pid_t pids[READERS_N];

	stall();
	start_readers("restic", "stalled", pids);
	harness_wait_until(reader_count("backup", "opens") == READERS_N);
	harness_wait_until(harness_counter(&h, "content_stalled") == FOR_OTHERS);
	expect_whole("person-cat", "person.txt", 7);
	assert_int_equal(harness_counter(&h, "content_stalled"), FOR_OTHERS);
	end_readers(pids);
	/* The control: as many people take all. */
	stall();
	start_readers("person-cat", "waited", pids);
	harness_wait_until(harness_counter(&h, "content_stalled") == CONNECTIONS);
	end_readers(pids);
	expect_whole("restic", "stalled-0.bin", BIG);
	assert_int_equal(reader_count("backup", "refused_files"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_thumbnailer_gets_heads),
		cmocka_unit_test(test_a_scanner_gets_what_is_cached),
		cmocka_unit_test(test_a_backup_goes_after_people),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

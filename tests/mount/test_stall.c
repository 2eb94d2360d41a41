/*
 * What is slow or gone stays by itself: stalled reads delay nobody else, can be interrupted, and
 * without the service the known things go on working.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	READERS_N = 20,
	QUICK_MS = 1000, /* generous for a sanitizer build; a stall is ten seconds */
	INTERRUPT_MS = 100,
	FIRST_FAILURE_S = 10,
};

static const char *const outages[] = { "blackhole", "refuse" };

static struct harness h;

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_mkdir(&h, "dir");
	harness_create(&h, "dir/stalled.bin", 64 << 20);
	harness_create_text(&h, "dir/cached.txt", "cached\n");
	harness_create_text(&h, "dir/other.txt", "other\n");
	for (size_t i = 0; i < sizeof(outages) / sizeof(outages[0]); i++) {
		for (int n = 0; n < 2; n++) {
			char path[64];

			snprintf(path, sizeof(path), "dir/never-%zu-%d.txt", i, n);
			harness_create_text(&h, path, "never\n");
			snprintf(path, sizeof(path), "unlisted-%zu-%d/x", i, n);
			harness_create_text(&h, path, "x\n");
		}
	}
	harness_config(&h, "[sync]\ncrawl = off\n");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	assert_int_equal(harness_sh(&h, "ls -l $MNT/dir >/dev/null && cat $MNT/dir/cached.txt "
					">/dev/null"),
			 0);
	return 0;
}

static int tear_down(void **state)
{
	harness_no_faults(&h);
	harness_stop(&h);
	return 0;
}

static void wait_for_exec(pid_t pid)
{
	char path[64], name[64];

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	for (;;) {
		FILE *f = fopen(path, "r");
		bool is_cat = f && fgets(name, sizeof(name), f) && strcmp(name, "cat\n") == 0;

		if (f)
			(void)fclose(f);
		if (is_cat)
			return;
		harness_nap();
	}
}

static pid_t start_cat(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execlp("cat", "cat", path, NULL);
		_exit(127);
	}
	wait_for_exec(pid);
	return pid;
}

static uint64_t time_of(const char *command)
{
	uint64_t start = harness_now_ms();

	assert_int_equal(harness_sh(&h, "%s", command), 0);
	return harness_now_ms() - start;
}

static void test_stalled_reads_delay_nobody(void **state)
{
	pid_t readers[READERS_N];

	harness_fault(&h, "{\"class\":\"content\",\"match\":\"stalled.bin\",\"action\":\"stall\"}");
	for (int i = 0; i < READERS_N; i++)
		readers[i] = start_cat(harness_path(&h, "dir/stalled.bin"));
	harness_wait_until(harness_counter(&h, "content_stalled") > 0);
	assert_true(time_of("ls -l $MNT/dir >/dev/null") < QUICK_MS);
	assert_true(time_of("stat $MNT/dir/stalled.bin >/dev/null") < QUICK_MS);
	assert_true(time_of("test \"$(cat $MNT/dir/other.txt)\" = other") < QUICK_MS);
	for (int i = 0; i < READERS_N; i++) {
		uint64_t start = harness_now_ms();
		int status;

		kill(readers[i], SIGINT);
		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
		assert_true(harness_now_ms() - start < INTERRUPT_MS);
	}
	harness_no_faults(&h);
}

static int error_of_open_and_read(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY), error = errno;

	if (fd < 0)
		return error;
	error = read(fd, &byte, 1) < 0 ? errno : 0;
	close(fd);
	return error;
}

/* All at once, each with its own end: nothing takes longer than the limit, and each says why. */
static void fail_all(size_t outage, int n, unsigned limit_s)
{
	int status;
	char *wrong = harness_sh_output(
		&h, &status,
		"cd $MNT; for c in 'cat dir/never-%zu-%d.txt' 'ls unlisted-%zu-%d' "
		"'stat unlisted-%zu-%d/x' 'cat unlisted-%zu-%d/x' 'find unlisted-%zu-%d'; do "
		"(LC_ALL=C timeout %u $c >$DIR/out.$$ 2>&1; r=$?; "
		"[ $r = 1 ] || [ $r = 2 ] || echo \"$c ended with $r\") & done; wait",
		outage, n, outage, n, outage, n, outage, n, outage, n, limit_s);

	if (wrong[0])
		fail_msg("in a %s: %s", outages[outage], wrong);
	free(wrong);
}

static void expect_error(const char *path, int error)
{
	struct stat st;

	if (stat(path, &st) == 0)
		assert_int_equal(error_of_open_and_read(path), error);
	else
		assert_int_equal(errno, error);
}

static void check_outage(size_t outage)
{
	char never[256], unlisted[256], again[256];
	uint64_t start;

	snprintf(never, sizeof(never), "%s", harness_path(&h, "dir/never-%zu-1.txt", outage));
	snprintf(unlisted, sizeof(unlisted), "%s", harness_path(&h, "unlisted-%zu-1/x", outage));
	harness_do(&h, "/outage", NULL, "{\"mode\":\"%s\"}", outages[outage]);
	fail_all(outage, 0, FIRST_FAILURE_S);
	harness_wait_state(&h, "offline");

	/* From now on at once, those that were asked for already and others. */
	start = harness_now_ms();
	expect_error(never, ENETDOWN);
	expect_error(unlisted, ENETDOWN);
	expect_error(harness_path(&h, "dir/never-%zu-0.txt", outage), ENETDOWN);
	assert_true(harness_now_ms() - start < QUICK_MS);
	assert_true(time_of("test \"$(cat $MNT/dir/cached.txt)\" = cached") < QUICK_MS);
	assert_true(time_of("ls -l $MNT $MNT/dir >/dev/null") < QUICK_MS);
	assert_true(time_of("df $MNT >/dev/null") < QUICK_MS);
	snprintf(again, sizeof(again), "%s", harness_path(&h, "dir/no-such-file"));
	expect_error(again, ENOENT);

	harness_do(&h, "/outage", NULL, "{\"mode\":\"none\"}");
	harness_wait_state(&h, "live");
	harness_wait_until(error_of_open_and_read(never) == 0);
	harness_wait_until(error_of_open_and_read(unlisted) == 0);
}

static void test_without_the_service(void **state)
{
	for (size_t i = 0; i < sizeof(outages) / sizeof(outages[0]); i++)
		check_outage(i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stalled_reads_delay_nobody),
		cmocka_unit_test(test_without_the_service),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * What the kernel holds is asked of nobody: a walk with stat(2) over 20,000 files makes no request
 * to user space the second time, and none to the service. The kernel forgets a directory's access
 * time when it reads the directory, so one GETATTR for each directory is its own.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DIRS_N = 100, FILES_N = 20000, CRAWL_MS = 120000, LS_EXTRA_MAX = 8 };

static struct harness h;

static int set_up(void **state)
{
	const char *const args[] = { "--seed-tree", "100,200,2000", NULL };

	harness_start(&h, args);
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

/* The crawl goes on, or the kernel has not been told yet of all that it found. */
static bool is_busy(void)
{
	struct json_object *status = harness_status(&h), *member, *kernel;
	bool is = !json_object_object_get_ex(status, "crawling", &member) ||
		  json_object_get_boolean(member) ||
		  !json_object_object_get_ex(status, "kernel", &kernel) ||
		  !json_object_object_get_ex(kernel, "waiting", &member) ||
		  json_object_get_int(member) > 0;

	json_object_put(status);
	return is;
}

/* Requests of the kernel so far; the question itself takes another way. */
static int64_t kernel_requests(void)
{
	struct json_object *status = harness_status(&h), *kernel, *member;
	int64_t n;

	assert_true(json_object_object_get_ex(status, "kernel", &kernel));
	assert_true(json_object_object_get_ex(kernel, "requests", &member));
	n = json_object_get_int64(member);
	json_object_put(status);
	return n;
}

static void find_all(void)
{
	int status;
	char *out = harness_sh_output(&h, &status, "find $MNT -type f -size +1k | wc -l");

	assert_int_equal(status, 0);
	assert_int_equal(atoi(out), FILES_N);
	free(out);
}

static void test_find(void **state)
{
	uint64_t until = harness_now_ms() + CRAWL_MS;
	int64_t cold, warm, service;

	while (is_busy()) {
		assert_true(harness_now_ms() < until);
		harness_nap();
	}
	cold = kernel_requests();
	find_all();
	cold = kernel_requests() - cold;
	assert_true(cold > DIRS_N); /* the control: it does count */

	service = harness_counter(&h, "requests");
	warm = kernel_requests();
	find_all();
	warm = kernel_requests() - warm;
	service = harness_counter(&h, "requests") - service;
	printf("find over %d files: %lld requests of the kernel, then %lld, and %lld to the "
	       "service\n",
	       FILES_N, (long long)cold, (long long)warm, (long long)service);
	assert_true(warm <= DIRS_N + 1); /* the directories and the root */
	assert_int_equal(service, 0);

	/* With those answered there is nothing left to ask. */
	warm = kernel_requests();
	assert_int_equal(harness_sh(&h, "find $MNT -type f -newermt 1970-01-02 >/dev/null"), 0);
	assert_int_equal(kernel_requests() - warm, 0);
}

/* It asks for access lists and labels, too, until it learns that there are none here. */
static void test_ls(void **state)
{
	int64_t n = kernel_requests();

	assert_int_equal(harness_sh(&h, "ls -lR $MNT >/dev/null"), 0);
	n = kernel_requests() - n;
	printf("ls -lR: %lld requests of the kernel\n", (long long)n);
	assert_true(n <= LS_EXTRA_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_find),
					    cmocka_unit_test(test_ls) };

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

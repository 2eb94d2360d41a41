/*
 * Deletions that delta never tells: the comparison with the service finds them, and the folder and
 * those who watch it are told as if delta had.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cmocka.h>

enum { LOST_N = 12, EQUAL_MS = 60000 };

/* Delta is asked often enough for the verification to be looked at. */
static const char config[] = "[sync]\nsafety_poll = 200ms\nverify = 2s\n";

static struct harness h;

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_config(&h, config);
	for (int i = 0; i < LOST_N; i++) {
		char path[64];

		snprintf(path, sizeof(path), "dir/sub%d/file", i);
		harness_create(&h, path, 100);
	}
	harness_create_text(&h, "dir/lost.txt", "lost\n");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	harness_wait_equal(&h, EQUAL_MS);
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void test_lost_tombstones(void **state)
{
	struct watch w;

	watch_open(&w, harness_path(&h, "dir"), IN_DELETE);
	harness_do(&h, "/delta", NULL, "{\"drop_tombstones\":%d}", LOST_N * 2 + 1);
	harness_delete(&h, "dir/lost.txt");
	for (int i = 0; i < LOST_N; i++) {
		char path[64];

		snprintf(path, sizeof(path), "dir/sub%d", i);
		harness_delete(&h, path);
	}
	harness_create_text(&h, "dir/after.txt", "x");
	harness_wait_until(access(harness_path(&h, "dir/after.txt"), F_OK) == 0);
	/* The control: delta did not tell. */
	assert_int_equal(access(harness_path(&h, "dir/lost.txt"), F_OK), 0);
	harness_wait_equal(&h, EQUAL_MS);
	assert_non_null(watch_wait(&w, IN_DELETE, "lost.txt", HARNESS_WAIT_MS));
	assert_non_null(watch_wait(&w, IN_DELETE, "sub0", HARNESS_WAIT_MS));
	watch_close(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lost_tombstones),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

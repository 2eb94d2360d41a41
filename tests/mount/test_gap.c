/*
 * Changes that nobody is told of: the channel is dropped, silent, expired or refused while 500
 * things change. Afterwards the mounted tree equals the service's, and the time it took is told.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { CHANGES_N = 500, FOLDERS_N = 10, FILES_N = 40, EQUAL_MS = 90000 };

/* Short enough for a test, in the proportions of the real ones. */
static const char config[] = "[channel]\nbackoff_min = 200ms\n"
			     "[sync]\npoll_min = 500ms\npoll_max = 2s\nsafety_poll = 600s\n";

static struct harness h;
static unsigned seed;

static int set_up(void **state)
{
	const char *const args[] = { "--ping-interval", "1000", "--ping-timeout", "1000", NULL };

	harness_start(&h, args);
	harness_config(&h, config);
	for (int d = 0; d < FOLDERS_N; d++) {
		char dir[32], path[64];

		snprintf(dir, sizeof(dir), "d%d", d);
		harness_mkdir(&h, dir);
		for (int f = 0; f < FILES_N; f++) {
			snprintf(path, sizeof(path), "%s/f%d", dir, f);
			harness_create(&h, path, 100 + (uint64_t)f);
		}
	}
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	/* Everything is in the kernel's caches, with long leases. */
	harness_wait_equal(&h, EQUAL_MS);
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void change_much(void)
{
	char path[64], to[64];

	for (int i = 0; i < CHANGES_N; i++) {
		int d = rand_r(&seed) % FOLDERS_N;

		snprintf(path, sizeof(path), "d%d/n%u-%d", d, seed, i);
		harness_create(&h, path, (uint64_t)i);
		switch (i % 4) {
		case 0:
			harness_write(&h, path, (uint64_t)i + 7);
			break;
		case 1:
			snprintf(to, sizeof(to), "d%d/m%u-%d", rand_r(&seed) % FOLDERS_N, seed, i);
			harness_move(&h, path, to);
			break;
		case 2:
			harness_delete(&h, path);
			break;
		default:
			harness_touch(&h, path, 1400000000 + i);
		}
	}
}

static void recover(const char *what)
{
	assert_false(harness_trees_equal(&h, false)); /* the control: it did miss something */
	printf("%s: equal again %llu ms after the end of the fault\n", what,
	       (unsigned long long)harness_wait_equal(&h, EQUAL_MS));
	harness_wait_state(&h, "live");
}

static void test_dropped(void **state)
{
	harness_do(&h, "/socket", NULL, "{\"action\":\"refuse\"}");
	harness_do(&h, "/socket", NULL, "{\"action\":\"drop\"}");
	harness_do(&h, "/outage", NULL, "{\"mode\":\"refuse\"}");
	change_much();
	harness_do(&h, "/outage", NULL, "{\"mode\":\"none\"}");
	harness_do(&h, "/socket", NULL, "{\"action\":\"normal\"}");
	recover("dropped and refused");
}

static void test_silent(void **state)
{
	harness_do(&h, "/outage", NULL, "{\"mode\":\"blackhole\"}");
	change_much();
	harness_do(&h, "/outage", NULL, "{\"mode\":\"none\"}");
	recover("half-open");
}

static void test_not_notified(void **state)
{
	harness_do(&h, "/socket", NULL, "{\"action\":\"silence\"}");
	change_much();
	recover("silent socket");
	harness_do(&h, "/socket", NULL, "{\"action\":\"normal\"}");
}

static void test_delta_token_gone(void **state)
{
	harness_do(&h, "/delta", NULL, "{\"resync_now\":true}");
	change_much();
	harness_wait_equal(&h, EQUAL_MS);
	harness_wait_state(&h, "live");
}

static void test_killed_and_remounted(void **state)
{
	harness_kill(&h);
	change_much();
	harness_mount(&h, NULL); /* over the dead mount point */
	harness_wait_equal(&h, EQUAL_MS);
	harness_wait_state(&h, "live");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_silent),
		cmocka_unit_test(test_not_notified),
		cmocka_unit_test(test_delta_token_gone),
		cmocka_unit_test(test_killed_and_remounted),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * Changes that nobody is told of: the channel is dropped, silenced, expired or refused while 500
 * things change. Afterwards the mounted tree equals the service's, and the time from the end of
 * the fault (and of the changes) until then is told.
 */
#include "harness.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { CHANGES_N = 500, FOLDERS_N = 10, FILES_N = 40, EQUAL_MS = 90000 };

/* Short enough for a test, in the proportions of the real ones. */
static const char config[] = "[channel]\nbackoff_min = 200ms\nrenew_min = 20s\n"
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

static void become_equal(const char *what)
{
	printf("%s: equal again after %llu ms\n", what,
	       (unsigned long long)harness_wait_equal(&h, EQUAL_MS));
	harness_wait_state(&h, "live");
}

static void recover(const char *what)
{
	assert_false(harness_trees_equal(&h, false)); /* the control: it did miss something */
	become_equal(what);
}

static void socket_is(const char *members)
{
	harness_do(&h, "/socket", NULL, "{%s}", members);
}

static void outage_is(const char *mode)
{
	harness_do(&h, "/outage", NULL, "{\"mode\":\"%s\"}", mode);
}

static void test_dropped(void **state)
{
	socket_is("\"action\":\"drop\"");
	outage_is("refuse");
	change_much();
	outage_is("none");
	recover("dropped, the whole service gone");
}

static void test_blackhole(void **state)
{
	outage_is("blackhole");
	change_much();
	outage_is("none");
	recover("silenced, the whole service swallows bytes");
}

/* Half-open: the socket looks alive, and only its heartbeat tells. */
static void test_silenced(void **state)
{
	socket_is("\"action\":\"silence\"");
	change_much();
	recover("silenced, half-open socket");
	socket_is("\"action\":\"normal\"");
}

/* A new subscription that ends after a second, as it says. */
static void subscribe_shortly(const char *more)
{
	char members[160];

	snprintf(members, sizeof(members), "\"action\":\"drop\",\"lifetime_s\":1%s", more);
	socket_is(members);
	harness_wait_until(harness_counter(&h, "sockets") == 0);
	harness_wait_until(harness_counter(&h, "sockets") == 1);
	harness_wait_state(&h, "live");
}

/* Heartbeats go on, notifications do not: the renewal is what finds it. */
static void test_expired(void **state)
{
	subscribe_shortly("");
	poll(NULL, 0, 1100); /* its whole life: after this nobody is told */
	socket_is("\"lifetime_s\":3600");
	change_much();
	recover("expired, socket silent until the renewal");
}

static void test_expired_and_closed(void **state)
{
	subscribe_shortly(",\"drop_at_expiry\":true");
	socket_is("\"refuse\":503,\"lifetime_s\":3600,\"drop_at_expiry\":false");
	harness_wait_until(harness_counter(&h, "sockets") == 0);
	change_much();
	socket_is("\"action\":\"normal\"");
	become_equal("expired, socket closed by the service");
}

/* No channel can be had, but the service answers: polling finds what changed. */
static void test_refused(void **state)
{
	socket_is("\"action\":\"drop\"");
	socket_is("\"action\":\"refuse\"");
	harness_wait_state(&h, "polling");
	change_much();
	printf("refused, by polling: equal again after %llu ms\n",
	       (unsigned long long)harness_wait_equal(&h, EQUAL_MS));
	socket_is("\"action\":\"normal\"");
	harness_wait_state(&h, "live");
}

static void test_delta_token_gone(void **state)
{
	harness_do(&h, "/delta", NULL, "{\"resync_now\":true}");
	change_much();
	become_equal("delta's token gone");
}

static void test_killed_and_remounted(void **state)
{
	harness_kill(&h);
	change_much();
	harness_mount(&h, NULL); /* over the dead mount point */
	become_equal("killed and mounted again");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_blackhole),
		cmocka_unit_test(test_silenced),
		cmocka_unit_test(test_expired),
		cmocka_unit_test(test_expired_and_closed),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_delta_token_gone),
		cmocka_unit_test(test_killed_and_remounted),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

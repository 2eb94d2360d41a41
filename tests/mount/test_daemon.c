/*
 * The daemon in the background: where its log goes, that it holds no secret, and what a service
 * manager is told.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct harness h;

static int set_up(void **state)
{
	const char *const args[] = { "--seed-demo", NULL };

	harness_start(&h, args);
	return 0;
}

static int tear_down(void **state)
{
	harness_sh(&h, "$GRAPHFS umount $MNT 2>/dev/null");
	harness_stop(&h);
	return 0;
}

static void expect(int status, const char *command)
{
	int got;
	char *out = harness_sh_output(&h, &got, "exec 2>&1; %s", command);

	if (got != status)
		fail_msg("%s: status %d, \"%s\"", command, got, out);
	free(out);
}

/* A pipe that nobody else holds any more has an end, within the test's time. */
#define MOUNT(before) "timeout 20 bash -o pipefail -c '" before " $GRAPHFS mount $MNT 2>&1 | cat'"

/* Where a journal is there the lines are in it, and this file is not. */
#define LOG "$($GRAPHFS status --json $MNT | sed -E 's/.*\"log\":\"([^\"]*)\".*/\\1/')"

static void test_a_log_of_its_own(void **state)
{
	if (harness_sh(&h, "test -S /run/systemd/journal/socket") == 0)
		skip();
	expect(0, "test -z \"$(" MOUNT("unset GRAPHFS_LOG;") ")\"");
	expect(0, "test $(stat -c %a " LOG ") = 600");
	expect(0, "grep -q 'info mount: .* is mounted, the daemon is' " LOG);
	expect(0, "$GRAPHFS status $MNT | grep -q '  log .*/state/graphfs/.*/log'");
	expect(0, "cp " LOG " $DIR/kept; ! grep -q ' debug ' $DIR/kept");
	expect(0, "$GRAPHFS umount $MNT && grep -q 'is unmounted' $DIR/state/graphfs/*/log");
}

static void test_the_debug_log_holds_no_secret(void **state)
{
	if (harness_sh(&h, "test -S /run/systemd/journal/socket") == 0)
		skip();
	expect(0, MOUNT("GRAPHFS_LOG=debug"));
	expect(0,
	       "cat $MNT/README.txt >/dev/null; md5sum $MNT/Documents/*/* >/dev/null 2>&1; true");
	harness_wait_state(&h, "live");
	expect(0, "grep -q ' debug ' " LOG);
	/* The tokens of the account, and every query of a URL: download and notification URLs are
	 * secret by theirs. */
	expect(0, "grep -o '\"[a-z]*_token\": *\"[^\"]*' $DIR/config/graphfs/accounts/*.json | "
		  "sed 's/.*\"//' >$DIR/tokens; test $(wc -l <$DIR/tokens) -ge 2 && "
		  "! grep -F -f $DIR/tokens $DIR/state/graphfs/*/log");
	expect(0, "! grep -E 'https?://[^ ]*\\?' $DIR/state/graphfs/*/log");
	expect(0, "$GRAPHFS umount $MNT");
}

static void test_a_file_that_was_given_is_used(void **state)
{
	expect(0, "GRAPHFS_LOG=info $GRAPHFS mount $MNT 2>$DIR/given");
	expect(0, "$GRAPHFS umount $MNT && grep -q 'is unmounted' $DIR/given");
}

static void test_a_folder_that_is_not_empty(void **state)
{
	expect(0, "touch $MNT/hidden");
	expect(0, MOUNT("unset GRAPHFS_LOG;") " | grep -q 'is not empty'");
	expect(0, "$GRAPHFS umount $MNT && rm $MNT/hidden");
}

/* "ro" would keep the replays out that announce changes. */
static void test_read_only_still_announces(void **state)
{
	const char *const args[] = { "-o", "ro,noatime", NULL };
	struct watch w;

	harness_mount(&h, args);
	harness_wait_state(&h, "live");
	expect(0, "ls $MNT >/dev/null");
	watch_open(&w, h.mnt, IN_CREATE);
	harness_create(&h, "announced.txt", 1);
	assert_non_null(watch_wait(&w, IN_CREATE, "announced.txt", HARNESS_WAIT_MS));
	watch_close(&w);
	harness_umount(&h);
}

static void test_a_service_manager_is_told(void **state)
{
	const struct timeval limit = { .tv_sec = HARNESS_WAIT_MS / 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char got[64], variable[160];
	size_t n = 0;
	ssize_t len;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", h.dir);
	snprintf(variable, sizeof(variable), "NOTIFY_SOCKET=%s", address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	while (h.environment[n])
		n++;
	assert_true(n + 1 < sizeof(h.environment) / sizeof(h.environment[0]));
	h.environment[n] = strdup(variable);
	h.environment[n + 1] = NULL;
	harness_mount(&h, NULL);
	len = recv(fd, got, sizeof(got) - 1, 0);
	assert_int_equal(len, strlen("READY=1"));
	assert_memory_equal(got, "READY=1", 7);
	harness_umount(&h);
	len = recv(fd, got, sizeof(got) - 1, 0);
	assert_int_equal(len, strlen("STOPPING=1"));
	close(fd);
	free(h.environment[n]);
	h.environment[n] = NULL;
}

/* A first mount without a service fails at once and says why; a known drive is mounted. */
static void test_without_a_service(void **state)
{
	expect(0, MOUNT(""));
	expect(0, "$GRAPHFS umount $MNT");
	harness_do(&h, "/outage", NULL, "{\"mode\":\"refuse\"}");
	expect(1, "$GRAPHFS mount --drive groups/new $MNT");
	expect(0, "$GRAPHFS mount --drive groups/new $MNT 2>&1 | grep -q 'cannot be reached'");
	expect(0, MOUNT(""));
	expect(0, "$GRAPHFS status $MNT | grep -q because");
	expect(0, "ls $MNT/Documents >/dev/null");
	expect(0, "$GRAPHFS umount $MNT");
	harness_do(&h, "/outage", NULL, "{\"mode\":\"none\"}");
}

/* Mounting a known drive works without a sign-in; status says that there is none. */
static void test_a_sign_in_that_ended(void **state)
{
	harness_do(&h, "/expire_tokens", NULL, "{}");
	harness_do(&h, "/oauth", NULL, "{\"refuse_refresh\":true}");
	expect(0, "$GRAPHFS mount --drive groups/new $MNT 2>&1 | grep -q 'run: graphfs login'");
	expect(0, MOUNT(""));
	harness_wait_until(harness_sh(&h, "$GRAPHFS status $MNT | grep -q 'sign in again'") == 0);
	expect(0, "$GRAPHFS umount $MNT");
	harness_do(&h, "/oauth", NULL, "{\"refuse_refresh\":false}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_log_of_its_own),
		cmocka_unit_test(test_the_debug_log_holds_no_secret),
		cmocka_unit_test(test_a_file_that_was_given_is_used),
		cmocka_unit_test(test_a_folder_that_is_not_empty),
		cmocka_unit_test(test_read_only_still_announces),
		cmocka_unit_test(test_a_service_manager_is_told),
		cmocka_unit_test(test_without_a_service),
		cmocka_unit_test(test_a_sign_in_that_ended),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

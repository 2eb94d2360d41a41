/*
 * The channel against the official socket.io servers. Usage: test_official SERVER (see
 * official-server.js); NODE and OFFICIAL_SERVER name the programs. 77: there is no node, or no
 * server.
 */
#include "clock.h"
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { STEP_MS = 20000, EVENTS_MAX = 256, INPUT_MAX = 65536, SKIPPED = 77 };

static struct {
	const char *flavour;
	struct loop *loop;
	struct ws *ws;
	struct live *live;
	pid_t pid;
	int in, out; /* the server's, as it sees them */
	unsigned port, urls_n;
	bool was_up;
	char said[INPUT_MAX]; /* by the server, not yet read by the test */
	size_t said_n;
	struct {
		enum live_event event;
		char reason[200];
	} events[EVENTS_MAX];
	size_t events_n, events_read;
} t;

static const char *const names[] = {
	[LIVE_CONNECTING] = "connecting",
	[LIVE_UP] = "up",
	[LIVE_NOTIFICATION] = "notification",
	[LIVE_SUSPECT] = "suspect",
	[LIVE_DOWN] = "down",
	[LIVE_UNSUPPORTED] = "unsupported",
};

/* --- the server --- */

static void start_server(void)
{
	char *argv[] = { getenv("NODE"), getenv("OFFICIAL_SERVER"), (char *)t.flavour, NULL };
	posix_spawn_file_actions_t files;
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, in[0], 0);
	posix_spawn_file_actions_adddup2(&files, out[1], 1);
	assert_int_equal(posix_spawn(&t.pid, argv[0], &files, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&files);
	close(in[0]);
	close(out[1]);
	t.in = in[1];
	t.out = out[0];
}

static void tell(const char *command)
{
	size_t len = strlen(command);

	assert_int_equal(write(t.in, command, len), len);
	assert_int_equal(write(t.in, "\n", 1), 1);
}

static void turn(void)
{
	struct pollfd fd = { .fd = t.out, .events = POLLIN };
	ssize_t n;

	loop_run_once(t.loop);
	if (poll(&fd, 1, 1) != 1)
		return;
	n = read(t.out, t.said + t.said_n, sizeof(t.said) - 1 - t.said_n);
	if (n <= 0)
		fail_msg("the server ended");
	t.said_n += (size_t)n;
	t.said[t.said_n] = '\0';
}

/* The rest of the server's next line, which begins with this. */
static const char *expect_line(const char *begins)
{
	static char line[4096];
	uint64_t end_ms = clock_mono_ms() + STEP_MS;
	size_t n;

	while (!memchr(t.said, '\n', t.said_n)) {
		if (clock_mono_ms() > end_ms)
			fail_msg("the server did not say \"%s\"", begins);
		turn();
	}
	n = strcspn(t.said, "\n");
	snprintf(line, sizeof(line), "%.*s", (int)n, t.said);
	t.said_n -= n + 1;
	memmove(t.said, t.said + n + 1, t.said_n + 1);
	if (strncmp(line, begins, strlen(begins)) != 0)
		fail_msg("the server said \"%s\" instead of \"%s\"", line, begins);
	return line + strlen(begins);
}

/* --- the channel --- */

static void on_event(void *arg, enum live_event event, const char *reason)
{
	assert_true(t.events_n < EVENTS_MAX);
	t.events[t.events_n].event = event;
	snprintf(t.events[t.events_n].reason, sizeof(t.events[0].reason), "%s", reason);
	t.events_n++;
	t.was_up |= event == LIVE_UP;
}

static void get_endpoint(void *arg)
{
	/* The first that comes up ends soon, the others do not. */
	int64_t expires_ns = clock_real_ns() + (t.was_up ? 3600 : 4) * 1000000000LL;
	char url[200];

	snprintf(url, sizeof(url),
		 "http://127.0.0.1:%u/notifications?token=T%%2F%u+%%7e==&applicationId=1-2", t.port,
		 t.urls_n++);
	live_set_endpoint(t.live, 0, false, "", url, expires_ns);
}

static const char *expect_event(enum live_event event)
{
	uint64_t end_ms = clock_mono_ms() + STEP_MS;

	while (t.events_read == t.events_n) {
		if (clock_mono_ms() > end_ms)
			fail_msg("no event \"%s\"", names[event]);
		turn();
	}
	if (t.events[t.events_read].event != event)
		fail_msg("\"%s\" (%s) instead of \"%s\"", names[t.events[t.events_read].event],
			 t.events[t.events_read].reason, names[event]);
	return t.events[t.events_read++].reason;
}

/* The URL of the last endpoint came to the server as it was. */
static void expect_joined(void)
{
	char want[200];

	snprintf(want, sizeof(want),
		 "/socket.io/?EIO=%d&transport=websocket&token=T%%2F%u+%%7e==&applicationId=1-2",
		 t.flavour[0] == '4' && !t.flavour[1] ? 4 : 3, t.urls_n - 1);
	assert_string_equal(expect_line("joined "), want);
}

static void expect_again(void)
{
	expect_event(LIVE_CONNECTING);
	expect_event(LIVE_UP);
	expect_joined();
}

/* --- tests, in one session after the other; each leaves the channel up --- */

/* Of the attempt that was given up the server may have said something or nothing. */
static void skip_older_lines(void)
{
	const char *line = "";

	while (strcmp(line, "sockets 1") != 0) {
		tell("count");
		do
			line = expect_line("");
		while (strncmp(line, "sockets ", 8) != 0);
	}
}

static void test_connect(void **state)
{
	live_start(t.live);
	expect_event(LIVE_CONNECTING);
	if (strcmp(t.flavour, "2") == 0) {
		/* It takes Engine.IO 4 for its own, joins and never pings. */
		assert_non_null(strstr(expect_event(LIVE_DOWN), "older Socket.IO"));
		expect_event(LIVE_CONNECTING);
		expect_event(LIVE_UP);
		skip_older_lines();
		return;
	}
	expect_event(LIVE_UP);
	expect_joined();
}

static void test_notifications(void **state)
{
	tell("other");
	tell("emit");
	expect_event(LIVE_NOTIFICATION);
	tell("object");
	expect_event(LIVE_NOTIFICATION);
	tell("binary");
	expect_event(LIVE_NOTIFICATION);
	tell("ack");
	expect_event(LIVE_NOTIFICATION);
	expect_line("acked");
}

/* Many heartbeats pass until the first subscription is renewed. */
static void test_renewal(void **state)
{
	expect_event(LIVE_UP);
	expect_joined();
	expect_line("left ");
	tell("count");
	assert_string_equal(expect_line("sockets "), "1");
	test_notifications(state);
}

static void test_kicked(void **state)
{
	tell("kick");
	expect_line("left ");
	assert_non_null(strstr(expect_event(LIVE_DOWN), "ended the session"));
	expect_again();
	test_notifications(state);
}

static void test_closed(void **state)
{
	tell("close");
	expect_line("left ");
	expect_event(LIVE_DOWN);
	expect_again();
	test_notifications(state);
}

static void test_refused(void **state)
{
	tell("refuse");
	tell("kick");
	expect_line("left ");
	expect_event(LIVE_DOWN);
	for (int i = 0; i < 2; i++) {
		expect_event(LIVE_CONNECTING);
		assert_non_null(strstr(expect_event(LIVE_DOWN), "refused here"));
	}
	tell("allow");
	/* Attempts that were under way are refused still. */
	expect_event(LIVE_CONNECTING);
	for (uint64_t end_ms = clock_mono_ms() + STEP_MS; t.events_read == t.events_n;) {
		assert_true(clock_mono_ms() < end_ms);
		turn();
	}
	if (t.events[t.events_read].event == LIVE_DOWN) {
		expect_event(LIVE_DOWN);
		expect_event(LIVE_CONNECTING);
	}
	expect_event(LIVE_UP);
	expect_joined();
	test_notifications(state);
}

/* A server that stands still is a line that is half open. */
static void test_silence(void **state)
{
	kill(t.pid, SIGSTOP);
	expect_event(LIVE_SUSPECT);
	assert_non_null(strstr(expect_event(LIVE_DOWN), "silent"));
	kill(t.pid, SIGCONT);
	expect_event(LIVE_CONNECTING);
	expect_event(LIVE_UP);
	/* It hears of the old end and the new beginning in either order. */
	if (strncmp(expect_line(""), "left", 4) == 0)
		expect_joined();
	else
		expect_line("left ");
	test_notifications(state);
}

static int set_up(void **state)
{
	const struct live_options options = {
		.backoff_min_ms = 50,
		.backoff_max_ms = 200,
		.renew_before_ms = 10,
		.renew_min_ms = 10,
		.eio = strcmp(t.flavour, "4-eio3") == 0 ? 3 : 0,
	};
	const struct live_events events = { NULL, get_endpoint, on_event };

	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(ws_new(t.loop, NULL, &t.ws), 0);
	assert_int_equal(live_new(t.loop, t.ws, &options, &events, &t.live), 0);
	return 0;
}

static int tear_down(void **state)
{
	live_free(t.live);
	ws_free(t.ws);
	loop_free(t.loop);
	return 0;
}

/* False: it is not installed, and said so. */
static bool has_server(void)
{
	struct pollfd fd;
	int status;

	start_server();
	fd = (struct pollfd){ .fd = t.out, .events = POLLIN };
	if (poll(&fd, 1, STEP_MS) == 1 && (fd.revents & POLLIN)) {
		ssize_t n = read(t.out, t.said, sizeof(t.said) - 1);

		return n > 0 && sscanf(t.said, "port %u", &t.port) == 1;
	}
	waitpid(t.pid, &status, 0);
	return false;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_connect), cmocka_unit_test(test_notifications),
		cmocka_unit_test(test_renewal), cmocka_unit_test(test_kicked),
		cmocka_unit_test(test_closed),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_silence),
	};
	int r;

	if (argc != 2)
		return 2;
	if (!getenv("NODE") || access(getenv("NODE"), X_OK) != 0) {
		fprintf(stderr, "SKIP: there is no node. Nothing was tested.\n");
		return SKIPPED;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	t.flavour = argv[1];
	if (!has_server())
		return SKIPPED;
	r = cmocka_run_group_tests(tests, set_up, tear_down);
	kill(t.pid, SIGKILL);
	waitpid(t.pid, NULL, 0);
	return r;
}

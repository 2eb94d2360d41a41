/* The public library against the simulated service, through its header alone. Every test turns it
 * as a program would: dispatch is called when its descriptor is readable, and never else. */
#include <graphlive/graphlive.h>

#include "simproc.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, EVENTS = GRAPHLIVE_UNSUPPORTED + 1 };

static struct simproc sim;

struct test {
	struct graphlive *live;
	unsigned events_n[EVENTS];
	enum graphlive_event last;
	char reason[300];
	unsigned endpoints_n, tokens_n, rejected_n, dispatches_n;
	char *token; /* for simproc_endpoint() and get_token */

	bool answers_later; /* the test answers, not the callback */
	bool token_pending, endpoint_pending;
	const char *url; /* instead of the service's */
	int endpoint_error, token_error;
	int64_t expires_in_s;
	enum graphlive_event free_at; /* frees the handle from inside the callback */
	int dispatch_inside;          /* what a nested dispatch gave */
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* --- the callbacks --- */

static void on_event(void *arg, struct graphlive *live, enum graphlive_event event,
		     const char *reason)
{
	struct test *t = arg;

	assert_in_range(event, 1, EVENTS - 1);
	t->events_n[event]++;
	t->last = event;
	snprintf(t->reason, sizeof(t->reason), "%s", reason);
	t->dispatch_inside = graphlive_dispatch(live);
	if (event == t->free_at) {
		graphlive_free(live);
		t->live = NULL;
	}
}

static void answer_endpoint(struct test *t, struct graphlive *live)
{
	char *url = t->url || t->endpoint_error ? NULL : simproc_endpoint(&sim, t->token);
	int64_t expires_s = t->expires_in_s ? time(NULL) + t->expires_in_s : 0;

	t->endpoint_pending = false;
	assert_int_equal(t->endpoint_error
				 ? graphlive_fail_endpoint(live, t->endpoint_error, "because")
				 : graphlive_set_endpoint(live, t->url ? t->url : url, expires_s),
			 0);
	/* One question, one answer. */
	assert_int_equal(graphlive_set_endpoint(live, "https://a.example/n", 0), -EINVAL);
	assert_int_equal(graphlive_fail_endpoint(live, -EIO, NULL), -EINVAL);
	free(url);
}

static void get_endpoint(void *arg, struct graphlive *live)
{
	struct test *t = arg;

	t->endpoints_n++;
	t->endpoint_pending = true;
	if (!t->answers_later)
		answer_endpoint(t, live);
}

static void answer_token(struct test *t, struct graphlive *live)
{
	t->token_pending = false;
	assert_int_equal(t->token_error ? graphlive_fail_token(live, t->token_error)
					: graphlive_set_token(live, t->token),
			 0);
	assert_int_equal(graphlive_set_token(live, "another"), -EINVAL);
}

static void get_token(void *arg, struct graphlive *live, int was_rejected)
{
	struct test *t = arg;

	t->tokens_n++;
	t->token_pending = true;
	if (was_rejected) {
		t->rejected_n++;
		free(t->token);
		t->token = simproc_token(&sim);
	}
	if (!t->answers_later)
		answer_token(t, live);
}

/* --- turning --- */

/* One look at the descriptor; false: the deadline passed. */
static bool turn(struct test *t, uint64_t until_ms)
{
	struct pollfd p = { .fd = graphlive_fd(t->live), .events = POLLIN };
	uint64_t now = now_ms();

	if (now >= until_ms)
		return false;
	if (poll(&p, 1, (int)(until_ms - now)) == 1) {
		t->dispatches_n++;
		assert_int_equal(graphlive_dispatch(t->live), 0);
	}
	return true;
}

#define wait_until(t, cond)                                               \
	do {                                                              \
		uint64_t until_ = now_ms() + PATIENCE_MS;                 \
		while (!(cond))                                           \
			if (!turn(t, until_))                             \
				fail_msg("never became true: %s", #cond); \
	} while (0)

static struct graphlive_options short_options(struct test *t)
{
	return (struct graphlive_options){
		.size = sizeof(struct graphlive_options),
		.arg = t,
		.on_event = on_event,
		.backoff_min_ms = 50,
		.backoff_max_ms = 200,
		.renew_min_ms = 100,
		.renew_before_ms = 100,
		.refused_ms = 50,
	};
}

static void open_plain(struct test *t)
{
	struct graphlive_options o = short_options(t);

	o.get_endpoint = get_endpoint;
	t->token = simproc_token(&sim);
	assert_int_equal(graphlive_new(&o, &t->live), 0);
	assert_int_equal(graphlive_start(t->live), 0);
}

static void open_graph(struct test *t)
{
	struct graphlive_options o = short_options(t);

	o.get_token = get_token;
	o.graph_url = sim.api;
	o.drive = "me";
	t->token = simproc_token(&sim);
	assert_int_equal(graphlive_new(&o, &t->live), 0);
	assert_int_equal(graphlive_start(t->live), 0);
}

static void finish(struct test *t)
{
	graphlive_free(t->live);
	free(t->token);
	simproc_do(&sim, "/socket", "{\"action\":\"normal\"}");
	simproc_do(&sim, "/faults", "DELETE");
}

static void change_something(void)
{
	static unsigned n;
	char body[100];

	snprintf(body, sizeof(body), "{\"path\":\"file %u\",\"size\":1}", n++);
	simproc_do(&sim, "/create", body);
}

/* --- the tests --- */

static void test_options(void **state)
{
	static const struct {
		const char *name;
		int want;
		size_t size;
		bool no_event, both, graph, token, tail;
		const char *url, *drive;
	} cases[] = {
		{ "a smaller struct than ever was", -EINVAL, .size = 8 },
		{ "no event callback", -EINVAL, .no_event = true },
		{ "two sources of the endpoint", -EINVAL, .both = true },
		{ "no base", -EINVAL, .graph = true, .drive = "me" },
		{ "no drive", -EINVAL, .graph = true, .url = "https://graph.example/v1.0" },
		{ "plain http to another machine", -EINVAL, .graph = true,
		  .url = "http://graph.example/v1.0", .drive = "me" },
		{ "a drive of no known form", -EINVAL, .graph = true,
		  .url = "https://graph.example/v1.0", .drive = "drives/a/b" },
		{ "an option of the future", -E2BIG, .tail = true },
		{ "a newer struct without news", 0, .size = sizeof(struct graphlive_options) + 8 },
		{ "the plain way", 0 },
		{ "the Graph way", 0, .graph = true, .url = "https://graph.example/v1.0/",
		  .drive = "sites/a/lists/b" },
	};
	struct test t = { 0 };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct {
			struct graphlive_options o;
			char tail[8];
		} given = { short_options(&t), { 0 } };
		struct graphlive *live = (struct graphlive *)&t;
		int r;

		if (cases[i].size)
			given.o.size = cases[i].size;
		if (cases[i].tail) {
			given.o.size += sizeof(given.tail);
			given.tail[3] = 1;
		}
		if (cases[i].no_event)
			given.o.on_event = NULL;
		if (!cases[i].graph)
			given.o.get_endpoint = get_endpoint;
		if (cases[i].graph || cases[i].both)
			given.o.get_token = get_token;
		given.o.graph_url = cases[i].url;
		given.o.drive = cases[i].drive;
		r = graphlive_new(&given.o, &live);
		if (r != cases[i].want)
			fail_msg("%s: %d instead of %d", cases[i].name, r, cases[i].want);
		if (r == 0)
			graphlive_free(live);
		else
			assert_ptr_equal(live, &t); /* no output on failure */
	}
	graphlive_free(NULL);
}

static void test_a_notification_url_of_the_caller(void **state)
{
	struct test t = { 0 };

	open_plain(&t);
	assert_int_equal(graphlive_start(t.live), -EALREADY);
	assert_int_equal(graphlive_set_endpoint(t.live, "https://a.example/n", 0), -EINVAL);
	assert_int_equal(graphlive_set_token(t.live, "x"), -EINVAL);
	assert_int_equal(t.events_n[GRAPHLIVE_CONNECTING], 0); /* only from inside dispatch */
	assert_string_equal(graphlive_host(t.live), "");
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	assert_int_equal(t.events_n[GRAPHLIVE_CONNECTING], 1);
	assert_int_equal(t.endpoints_n, 1);
	assert_int_equal(t.dispatch_inside, -EBUSY);
	assert_true(graphlive_is_up(t.live));
	assert_string_equal(graphlive_host(t.live), "127.0.0.1");
	assert_true(graphlive_connected_since(t.live) >= time(NULL) - PATIENCE_MS / 1000);
	assert_int_equal(graphlive_last_notification(t.live), 0);
	change_something();
	wait_until(&t, t.events_n[GRAPHLIVE_NOTIFICATION] == 1);
	assert_true(graphlive_last_notification(t.live) > 0);
	finish(&t);
}

static void test_answers_from_outside(void **state)
{
	struct test t = { .answers_later = true };

	open_plain(&t);
	wait_until(&t, t.endpoint_pending);
	/* Nothing is to do until the answer: the descriptor stays quiet. */
	while (poll(&(struct pollfd){ .fd = graphlive_fd(t.live), .events = POLLIN }, 1, 50) == 1)
		assert_int_equal(graphlive_dispatch(t.live), 0);
	answer_endpoint(&t, t.live);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	finish(&t);
}

static void test_a_drive_of_graph(void **state)
{
	struct test t = { .answers_later = true };

	open_graph(&t);
	wait_until(&t, t.token_pending);
	answer_token(&t, t.live);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	change_something();
	wait_until(&t, t.events_n[GRAPHLIVE_NOTIFICATION] == 1);
	assert_int_equal(t.tokens_n, 1);
	finish(&t);
}

static void test_a_refused_token_is_asked_for_again(void **state)
{
	struct test t = { 0 };

	open_graph(&t);
	simproc_do(&sim, "/expire_tokens", "{}");
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	assert_int_equal(t.tokens_n, 2);
	assert_int_equal(t.rejected_n, 1);
	finish(&t);
}

static void test_no_token_can_be_had(void **state)
{
	struct test t = { .token_error = -EACCES };

	open_graph(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_DOWN] == 2); /* and tried again */
	assert_int_equal(t.last, GRAPHLIVE_DOWN);
	assert_string_not_equal(t.reason, "");
	t.token_error = 0;
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	finish(&t);
}

static void test_a_drive_without_a_channel(void **state)
{
	struct test t = { 0 };

	simproc_do(&sim, "/faults",
		   "{\"class\":\"socketio\",\"first\":2,\"action\":"
		   "{\"status\":400,\"code\":\"notSupported\"}}");
	open_graph(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UNSUPPORTED] == 2);
	assert_int_equal(t.events_n[GRAPHLIVE_DOWN], 0);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	finish(&t);
}

static void test_the_caller_knows_of_no_channel(void **state)
{
	struct test t = { .endpoint_error = -EOPNOTSUPP };

	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UNSUPPORTED] == 1);
	assert_string_equal(t.reason, "because");
	t.endpoint_error = -EIO;
	wait_until(&t, t.events_n[GRAPHLIVE_DOWN] == 1);
	assert_string_equal(t.reason, "because");
	finish(&t);
}

static void test_urls_that_are_not_dialled(void **state)
{
	static const char *const urls[] = {
		"http://notify.example/notifications?token=SECRET",
		"https://user@notify.example/notifications?token=SECRET",
		"ftp://notify.example/?token=SECRET",
		"token=SECRET",
	};

	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		struct test t = { .url = urls[i] };

		open_plain(&t);
		wait_until(&t, t.events_n[GRAPHLIVE_DOWN] == 1);
		assert_null(strstr(t.reason, "SECRET"));
		finish(&t);
	}
}

static void test_a_silent_line_is_noticed(void **state)
{
	struct test t = { 0 };

	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	simproc_do(&sim, "/socket", "{\"action\":\"silence\"}");
	wait_until(&t, t.events_n[GRAPHLIVE_SUSPECT] >= 1);
	wait_until(&t, t.events_n[GRAPHLIVE_DOWN] >= 1);
	assert_false(graphlive_is_up(t.live));
	assert_int_equal(graphlive_connected_since(t.live), 0);
	simproc_do(&sim, "/socket", "{\"action\":\"normal\"}");
	wait_until(&t, graphlive_is_up(t.live));
	finish(&t);
}

static void test_a_subscription_is_renewed_without_a_gap(void **state)
{
	struct test t = { .expires_in_s = 1 };

	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 3);
	assert_int_equal(t.events_n[GRAPHLIVE_DOWN], 0);
	assert_true(t.endpoints_n >= 3);
	change_something();
	wait_until(&t, t.events_n[GRAPHLIVE_NOTIFICATION] >= 1);
	finish(&t);
}

static void test_a_kick_dials_anew(void **state)
{
	struct graphlive_options o;
	struct test t = { 0 };

	o = short_options(&t);
	o.get_endpoint = get_endpoint;
	assert_int_equal(graphlive_new(&o, &t.live), 0);
	assert_int_equal(graphlive_kick(t.live), -EINVAL);
	graphlive_free(t.live);
	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	assert_int_equal(graphlive_kick(t.live), 0);
	assert_int_equal(graphlive_kick(t.live), 0);
	assert_int_equal(t.events_n[GRAPHLIVE_DOWN], 0);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 2);
	assert_int_equal(t.events_n[GRAPHLIVE_DOWN], 1);
	finish(&t);
}

/* Heartbeats come every 300 ms: what wakes the owner more often than a few times for each is a
 * descriptor that stays readable. */
static void test_an_idle_channel_wakes_nobody(void **state)
{
	struct test t = { 0 };
	uint64_t until;

	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	t.dispatches_n = 0;
	until = now_ms() + 1500;
	while (turn(&t, until))
		continue;
	assert_int_equal(t.events_n[GRAPHLIVE_DOWN], 0);
	assert_in_range(t.dispatches_n, 1, 100);
	finish(&t);
}

static void test_freed_from_inside_a_callback(void **state)
{
	static const enum graphlive_event when[] = { GRAPHLIVE_CONNECTING, GRAPHLIVE_UP,
						     GRAPHLIVE_NOTIFICATION, GRAPHLIVE_DOWN };

	for (size_t i = 0; i < sizeof(when) / sizeof(when[0]); i++) {
		struct test t = { .free_at = when[i] };
		uint64_t until = now_ms() + PATIENCE_MS;

		if (i % 2)
			open_graph(&t);
		else
			open_plain(&t);
		while (t.live && t.events_n[GRAPHLIVE_UP] == 0)
			assert_true(turn(&t, until));
		if (when[i] == GRAPHLIVE_NOTIFICATION)
			change_something();
		else if (when[i] == GRAPHLIVE_DOWN)
			simproc_do(&sim, "/socket", "{\"action\":\"drop\"}");
		while (t.live)
			assert_true(turn(&t, until));
		assert_int_equal(t.last, when[i]);
		finish(&t);
	}
}

static void test_certificates_are_verified(void **state)
{
	char dir[] = "/tmp/test_graphlive.XXXXXX", command[100];
	const char *const args[] = { "--tls", dir, NULL };
	const struct simproc plain = sim;
	struct graphlive_options o;
	struct test t = { 0 };

	assert_non_null(mkdtemp(dir));
	simproc_start(&sim, args);
	assert_string_not_equal(sim.ca, "");
	open_graph(&t); /* which trusts the system's authorities only */
	wait_until(&t, t.events_n[GRAPHLIVE_DOWN] == 1);
	graphlive_free(t.live);
	t.url = simproc_endpoint(&sim, t.token);
	free(t.token);
	open_plain(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_DOWN] == 2);
	graphlive_free(t.live);

	o = short_options(&t);
	o.get_token = get_token;
	o.graph_url = sim.api;
	o.drive = "me";
	o.ca_file = sim.ca;
	assert_int_equal(graphlive_new(&o, &t.live), 0);
	assert_int_equal(graphlive_start(t.live), 0);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	free((char *)t.url);
	finish(&t);
	simproc_stop(&sim);
	sim = plain;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	assert_int_equal(system(command), 0);
}

/* --- threads, and the log --- */

static char log_text[65536];
static atomic_size_t log_len;

static void on_log(int level, const char *line)
{
	size_t len = strlen(line), at = atomic_fetch_add(&log_len, len + 1);

	assert_true(level >= 3 && level <= 7);
	assert_null(strchr(line, '\n'));
	if (at + len + 1 < sizeof(log_text))
		memcpy(log_text + at, line, len);
}

static void test_the_log_is_the_callers_and_holds_no_secret(void **state)
{
	struct test t = { 0 };
	char *url, *query;

	graphlive_set_log(on_log, 7);
	open_graph(&t);
	wait_until(&t, t.events_n[GRAPHLIVE_UP] == 1);
	url = simproc_endpoint(&sim, t.token);
	query = strchr(url, '?');
	assert_true(log_len > 0);
	for (size_t i = 0; i < sizeof(log_text); i++)
		if (!log_text[i])
			log_text[i] = '\n';
	log_text[sizeof(log_text) - 1] = '\0';
	assert_non_null(strstr(log_text, "channel up"));
	assert_null(strstr(log_text, t.token));
	assert_non_null(query);
	query[8] = '\0'; /* "?token=x": the name of what is secret */
	assert_null(strstr(log_text, query));
	free(url);
	graphlive_set_log(NULL, 3);
	finish(&t);
}

static void *run_one(void *arg)
{
	struct test *t = arg;
	uint64_t until = now_ms() + PATIENCE_MS;

	while (t->events_n[GRAPHLIVE_UP] == 0 && turn(t, until))
		continue;
	return NULL;
}

static void test_two_handles_on_two_threads(void **state)
{
	char *url;
	struct test t[2] = { 0 };
	pthread_t threads[2];

	t[0].token = simproc_token(&sim);
	url = simproc_endpoint(&sim, t[0].token);
	for (int i = 0; i < 2; i++) {
		struct graphlive_options o = short_options(&t[i]);

		t[i].url = url; /* the test's own HTTP is not for two threads */
		o.get_endpoint = get_endpoint;
		assert_int_equal(graphlive_new(&o, &t[i].live), 0);
		assert_int_equal(graphlive_start(t[i].live), 0);
		assert_int_equal(pthread_create(&threads[i], NULL, run_one, &t[i]), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(t[i].events_n[GRAPHLIVE_UP], 1);
		finish(&t[i]);
	}
	free(url);
}

static void test_version(void **state)
{
	int major, minor, patch;

	assert_int_equal(sscanf(graphlive_version(), "%d.%d.%d", &major, &minor, &patch), 3);
}

static int setup_service(void **state)
{
	static const char *const args[] = { "--ping-interval", "300", "--ping-timeout", "3000",
					    NULL };

	simproc_start(&sim, args);
	return 0;
}

static int teardown_service(void **state)
{
	simproc_stop(&sim);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),
		cmocka_unit_test(test_a_notification_url_of_the_caller),
		cmocka_unit_test(test_answers_from_outside),
		cmocka_unit_test(test_a_drive_of_graph),
		cmocka_unit_test(test_a_refused_token_is_asked_for_again),
		cmocka_unit_test(test_no_token_can_be_had),
		cmocka_unit_test(test_a_drive_without_a_channel),
		cmocka_unit_test(test_the_caller_knows_of_no_channel),
		cmocka_unit_test(test_urls_that_are_not_dialled),
		cmocka_unit_test(test_a_silent_line_is_noticed),
		cmocka_unit_test(test_a_subscription_is_renewed_without_a_gap),
		cmocka_unit_test(test_a_kick_dials_anew),
		cmocka_unit_test(test_an_idle_channel_wakes_nobody),
		cmocka_unit_test(test_freed_from_inside_a_callback),
		cmocka_unit_test(test_certificates_are_verified),
		cmocka_unit_test(test_the_log_is_the_callers_and_holds_no_secret),
		cmocka_unit_test(test_two_handles_on_two_threads),
		cmocka_unit_test(test_version),
	};

	return cmocka_run_group_tests(tests, setup_service, teardown_service);
}

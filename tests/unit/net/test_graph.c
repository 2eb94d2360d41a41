#include "graph.h"
#include "service.h"

#include "clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { CALLS_N = 32 };

#define PAGE "{\"value\":[{\"id\":\"A\",\"name\":\"a\",\"file\":{}}]}"

#define BAD_PAGE                                                 \
	"{\"value\":[{\"id\":\"A\",\"name\":\"a\",\"file\":{}}," \
	"{\"id\":\"B\",\"name\":7}]}"

struct call {
	struct service *sv;
	struct graph_call *call; /* NULL: has ended */
	struct graph_result result;
	char location[256];
	size_t items_n;
	bool has_page;
	uint64_t ended_ms;
};

static unsigned ended_n;

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct call *c = arg;

	c->call = NULL;
	c->result = *result;
	snprintf(c->location, sizeof(c->location), "%s", result->location ? result->location : "");
	c->has_page = page != NULL;
	c->items_n = page ? page->n : 0;
	c->ended_ms = clock_mono_ms();
	ended_n++;
}

static struct graph *make_graph(struct service *sv)
{
	struct graph *graph = NULL;
	char base[80];

	snprintf(base, sizeof(base), "%s/v1.0", sv->url);
	assert_int_equal(graph_new(sv->bench.loop, sv->bench.http, sv->auth, base, &graph), 0);
	ended_n = 0;
	return graph;
}

/* Asks for a page of delta and waits for the end. */
static void ask(struct service *sv, struct graph *graph, const char *link,
		enum http_priority priority, struct call *c)
{
	unsigned before = ended_n;

	*c = (struct call){ .sv = sv };
	assert_int_equal(graph_get_delta(graph, "D", link, priority, on_page, c, &c->call), 0);
	assert_int_equal(ended_n, before); /* never from inside */
	service_run_until(sv, &ended_n, before + 1);
	assert_null(c->call);
}

/* --- what is asked --- */

static char targets[16][1024];

static void note_target(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char bearer[64] = "", target[1024];

	(void)script_header(req, "Authorization", bearer, sizeof(bearer));
	snprintf(target, sizeof(target), "%s %.900s", bearer, req->target);
	script_copy(targets[req->number % 16], sizeof(targets[0]), target);
	if (strstr(req->target, "/content"))
		script_reply(conn, 302, "Location: https://cdn.example/x?tempauth=%2F\r\n", "");
	else
		script_reply(conn, 200, "",
			     "{\"id\":\"D\",\"name\":\"n\",\"root\":{},\"value\":[],"
			     "\"notificationUrl\":\"https://h/n?t=1\"}");
}

static void on_drive(void *arg, const struct graph_result *result, const struct item_drive *drive)
{
	assert_int_equal(result->error, 0);
	assert_string_equal(drive->id, "D");
	ended_n++;
}

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	assert_int_equal(result->error, 0);
	if (arg)
		assert_string_equal(item->download_url, arg);
	ended_n++;
}

static void on_subscription(void *arg, const struct graph_result *result,
			    const struct item_subscription *sub)
{
	assert_int_equal(result->error, 0);
	assert_string_equal(sub->notification_url, "https://h/n?t=1");
	ended_n++;
}

static void expect_target(unsigned number, const char *begin, const char *contains)
{
	char target[1024];

	script_copy(target, sizeof(target), targets[number]);
	if (strncmp(target, begin, strlen(begin)) != 0 || !strstr(target, contains))
		fail_msg("asked for %s", target);
}

static void test_requests(void **state)
{
	struct graph_call *gc;
	struct service sv;
	struct graph *graph;
	struct call c;
	char link[200];

	service_init(&sv, note_target, NULL, 3600);
	graph = make_graph(&sv);
	assert_int_equal(graph_get_drive(graph, "/me/drive", HTTP_PERSON, on_drive, NULL, &gc), 0);
	service_run_until(&sv, &ended_n, 1);
	expect_target(0, "Bearer access-0 /v1.0/me/drive", "");
	assert_int_equal(graph_get_root(graph, "b!x", HTTP_PERSON, on_item, NULL, &gc), 0);
	service_run_until(&sv, &ended_n, 2);
	expect_target(1, "Bearer access-0 /v1.0/drives/b!x/root?select=", "deleted");
	assert_int_equal(
		graph_get_content_info(graph, "D", "a/../b?c#d%", HTTP_PERSON, on_item, NULL, &gc),
		0);
	service_run_until(&sv, &ended_n, 3);
	expect_target(2, "Bearer access-0 /v1.0/drives/D/items/a%2F..%2Fb%3Fc%23d%25?select=",
		      "@microsoft.graph.downloadUrl");
	assert_int_equal(graph_get_content_url(graph, "D", "I", HTTP_PERSON, on_item,
					       (void *)"https://cdn.example/x?tempauth=%2F", &gc),
			 0);
	service_run_until(&sv, &ended_n, 4);
	expect_target(3, "Bearer access-0 /v1.0/drives/D/items/I/content", "");
	assert_int_equal(graph_get_subscription(graph, "D", on_subscription, NULL, &gc), 0);
	service_run_until(&sv, &ended_n, 5);
	expect_target(4, "Bearer access-0 /v1.0/drives/D/root/subscriptions/socketIo", "");
	c = (struct call){ .sv = &sv };
	assert_int_equal(graph_get_children(graph, "D", "I", NULL, HTTP_PERSON, on_page, &c, &gc),
			 0);
	service_run_until(&sv, &ended_n, 6);
	expect_target(5, "Bearer access-0 /v1.0/drives/D/items/I/children?", "$top=");
	ask(&sv, graph, GRAPH_DELTA_LATEST, HTTP_BACKGROUND, &c);
	expect_target(6, "Bearer access-0 /v1.0/drives/D/root/delta?token=latest", "deleted");
	ask(&sv, graph, NULL, HTTP_BACKGROUND, &c);
	expect_target(7, "Bearer access-0 /v1.0/drives/D/root/delta?", "$top=");
	/* A link goes back byte for byte. */
	snprintf(link, sizeof(link), "%s/v1.0/x/delta(token='a%%2Bb')?$skiptoken=%%7e&q=a+b/../c",
		 sv.url);
	ask(&sv, graph, link, HTTP_BACKGROUND, &c);
	expect_target(8, "Bearer access-0 /v1.0/x/delta(token='a%2Bb')?$skiptoken=%7e&q=a+b/../c",
		      "");
	graph_free(graph);
	service_fini(&sv);
}

static void test_drive_paths(void **state)
{
	static const struct {
		const char *drive, *path;
	} rows[] = {
		{ "me", "/me/drive" },
		{ "drives/b!Abc-_1", "/drives/b!Abc-_1" },
		{ "groups/G", "/groups/G/drive" },
		{ "users/me@example.com", "/users/me@example.com/drive" },
		{ "sites/host,1,2", "/sites/host,1,2/drive" },
		{ "sites/host,1,2/lists/L", "/sites/host,1,2/lists/L/drive" },
		{ "", NULL },
		{ "you", NULL },
		{ "drives/", NULL },
		{ "drives", NULL },
		{ "drives/a/b", NULL },
		{ "drives/..", NULL },
		{ "drives/../me", NULL },
		{ "drives/a?b", NULL },
		{ "drives/a#b", NULL },
		{ "drives/a%2fb", NULL },
		{ "drives/a b", NULL },
		{ "groups/", NULL },
		{ "users/a/b", NULL },
		{ "sites/", NULL },
		{ "sites/S/lists/", NULL },
		{ "sites//lists/L", NULL },
		{ "sites/S/lists/L/M", NULL },
		{ "sites/S/drives/D", NULL },
		{ "me/", NULL },
		{ "/me", NULL },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_free char *path = NULL;
		int r = graph_drive_path(rows[i].drive, &path);

		if (r != (rows[i].path ? 0 : -EINVAL) || (path && strcmp(path, rows[i].path) != 0))
			fail_msg("\"%s\" gave %d %s", rows[i].drive, r, path);
	}
}

static void test_links_that_lead_away(void **state)
{
	static const char *const links[] = {
		"https://graph.microsoft.com.evil.example/v1.0/x",
		"https://evil.example/v1.0/x",
		"http://127.0.0.1:1/v1.0/x",
		"https://127.0.0.1/v1.0/x",
		"http://user@127.0.0.1/v1.0",
		"//evil.example/v1.0",
		"/v1.0/x",
		"file:///etc/passwd",
		"",
		"not a link",
	};
	struct graph_call *gc;
	struct service sv;
	struct graph *graph;
	struct call c = { 0 };

	service_init(&sv, note_target, NULL, 3600);
	graph = make_graph(&sv);
	for (size_t i = 0; i < array_n(links); i++) {
		if (graph_get_delta(graph, "D", links[i], HTTP_PERSON, on_page, &c, &gc) !=
			    -EPERM ||
		    graph_get_children(graph, "D", "I", links[i], HTTP_PERSON, on_page, &c, &gc) !=
			    -EPERM)
			fail_msg("%s was asked", links[i]);
	}
	assert_int_equal(graph_new(sv.bench.loop, sv.bench.http, sv.auth,
				   "http://graph.microsoft.com/v1.0", &graph),
			 -EINVAL);
	assert_int_equal(script_connections_n(sv.script), 0);
	graph_free(graph);
	service_fini(&sv);
}

/* --- tokens --- */

static void refuse_access_0(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char bearer[64] = "";

	(void)script_header(req, "Authorization", bearer, sizeof(bearer));
	if (strcmp(bearer, "Bearer access-0") == 0)
		script_reply(conn, 401, "",
			     "{\"error\":{\"code\":\"InvalidAuthenticationToken\"}}");
	else
		script_reply(conn, 200, "", PAGE);
}

static void test_one_renewal_after_many_401(void **state)
{
	static struct call calls[CALLS_N];
	struct service sv;
	struct graph *graph;

	service_init(&sv, refuse_access_0, NULL, 3600);
	graph = make_graph(&sv);
	for (int i = 0; i < CALLS_N; i++)
		assert_int_equal(graph_get_delta(graph, "D", NULL, HTTP_PERSON, on_page, &calls[i],
						 &calls[i].call),
				 0);
	service_run_until(&sv, &ended_n, CALLS_N);
	for (int i = 0; i < CALLS_N; i++) {
		assert_int_equal(calls[i].result.error, 0);
		assert_int_equal(calls[i].items_n, 1);
	}
	assert_int_equal(sv.token_asked_n, 1);
	graph_free(graph);
	service_fini(&sv);
}

/* --- the ends of a call: a row is what the service answers, one reply for each try --- */

struct ending {
	const char *name;
	const char *replies[4]; /* "STATUS HEADERS|BODY"; the last is repeated; "" resets */
	enum http_priority priority;
	bool is_delta_link;
	int want;
	const char *code;
	unsigned asked_n;
	bool is_resync;
};

#define ERROR(code) "{\"error\":{\"code\":\"" code "\"}}"

static const struct ending endings[] = {
	{ "good", { "200|" PAGE }, HTTP_PERSON, false, 0, "", 1, false },
	{ "missing",
	  { "404|" ERROR("itemNotFound") },
	  HTTP_PERSON,
	  false,
	  -ENOENT,
	  "itemNotFound",
	  1,
	  false },
	{ "denied",
	  { "403|" ERROR("accessDenied") },
	  HTTP_PERSON,
	  false,
	  -EACCES,
	  "accessDenied",
	  1,
	  false },
	{ "401 for ever",
	  { "401|" ERROR("unauthenticated") },
	  HTTP_PERSON,
	  false,
	  -EACCES,
	  "unauthenticated",
	  2,
	  false },
	{ "one 503", { "503|", "200|" PAGE }, HTTP_PERSON, false, 0, "", 2, false },
	{ "one 500, one 504",
	  { "500|<html>", "504|", "200|" PAGE },
	  HTTP_PERSON,
	  false,
	  0,
	  "",
	  3,
	  false },
	{ "always 500",
	  { "500|" ERROR("generalException") },
	  HTTP_PERSON,
	  false,
	  -EIO,
	  "generalException",
	  4,
	  false },
	{ "one reset", { "", "200|" PAGE }, HTTP_PERSON, false, 0, "", 2, false },
	{ "Retry-After beyond a person's patience",
	  { "429 Retry-After: 3600\r\n|" ERROR("activityLimitReached") },
	  HTTP_PERSON,
	  false,
	  -EAGAIN,
	  "activityLimitReached",
	  1,
	  false },
	{ "Retry-After in the past",
	  { "429 Retry-After: Thu, 01 Jan 2015 00:00:00 GMT\r\n|", "200|" PAGE },
	  HTTP_PERSON,
	  false,
	  0,
	  "",
	  2,
	  false },
	{ "Retry-After is a word",
	  { "503 Retry-After: soon\r\n|" },
	  HTTP_PERSON,
	  false,
	  -EIO,
	  "",
	  1,
	  false },
	{ "Retry-After below zero",
	  { "429 Retry-After: -5\r\n|" },
	  HTTP_PERSON,
	  false,
	  -EAGAIN,
	  "",
	  1,
	  false },
	{ "no Retry-After", { "429|" }, HTTP_PERSON, false, -EAGAIN, "", 1, false },
	{ "a page of HTML",
	  { "200 Content-Type: text/html\r\n|<html>Sign in</html>" },
	  HTTP_PERSON,
	  false,
	  -EBADMSG,
	  "",
	  2,
	  false },
	{ "an error as 200",
	  { "200|" ERROR("generalException") },
	  HTTP_PERSON,
	  false,
	  -EBADMSG,
	  "",
	  2,
	  false },
	{ "HTML, then sense", { "200|<html>", "200|" PAGE }, HTTP_PERSON, false, 0, "", 2, false },
	{ "an item that is mended",
	  { "200|" BAD_PAGE, "200|" BAD_PAGE, "200|" PAGE },
	  HTTP_PERSON,
	  false,
	  0,
	  "",
	  3,
	  false },
	{ "an item that stays malformed",
	  { "200|" BAD_PAGE },
	  HTTP_PERSON,
	  false,
	  0,
	  "",
	  4,
	  false },
	{ "an item without an id",
	  { "200|{\"value\":[{\"name\":\"x\"}]}" },
	  HTTP_PERSON,
	  false,
	  -EBADMSG,
	  "",
	  2,
	  false },
	{ "a link that leads away",
	  { "200|{\"value\":[],\"@odata.deltaLink\":\"https://graph.test.evil/v1.0\"}" },
	  HTTP_PERSON,
	  false,
	  -EBADMSG,
	  "",
	  2,
	  false },
	{ "nothing as 204", { "204|" }, HTTP_PERSON, false, -EBADMSG, "", 2, false },
	{ "a redirect",
	  { "302 Location: https://evil.example/\r\n|" },
	  HTTP_PERSON,
	  false,
	  -EIO,
	  "",
	  1,
	  false },
	{ "410",
	  { "410|" ERROR("resyncRequired") },
	  HTTP_BACKGROUND,
	  true,
	  -ESTALE,
	  "resyncRequired",
	  1,
	  true },
	{ "410 without a body", { "410|" }, HTTP_BACKGROUND, true, -ESTALE, "", 1, true },
	{ "resync as an inner code of 400",
	  { "400|{\"error\":{\"code\":\"invalidRequest\",\"innerError\":"
	    "{\"code\":\"resyncApplyDifferences\"}}}" },
	  HTTP_BACKGROUND,
	  true,
	  -ESTALE,
	  "resyncApplyDifferences",
	  2,
	  true },
	{ "token unknown",
	  { "404|" ERROR("itemNotFound") },
	  HTTP_BACKGROUND,
	  true,
	  -ENOENT,
	  "itemNotFound",
	  2,
	  true },
	{ "token unknown for a moment",
	  { "404|", "200|" PAGE },
	  HTTP_BACKGROUND,
	  true,
	  0,
	  "",
	  2,
	  false },
	{ "delta denied",
	  { "403|" ERROR("accessDenied") },
	  HTTP_BACKGROUND,
	  true,
	  -EACCES,
	  "accessDenied",
	  1,
	  false },
};

static void answer_ending(struct script_conn *conn, const struct script_request *req, void *arg)
{
	const struct ending *row = arg;
	const char *reply = NULL, *bar;
	char headers[256];

	for (unsigned i = 0; i < array_n(row->replies) && row->replies[i]; i++)
		if (i <= req->number)
			reply = row->replies[i];
	if (!reply[0]) {
		script_reset(conn);
		return;
	}
	bar = strchr(reply, '|');
	snprintf(headers, sizeof(headers), "%.*s",
		 (int)(bar - reply) > 4 ? (int)(bar - reply) - 4 : 0, reply + 4);
	if (strncmp(reply, "204", 3) == 0)
		script_printf(conn, "HTTP/1.1 204 No\r\n\r\n");
	else
		script_reply(conn, atoi(reply), headers, bar + 1);
}

static void test_endings(void **state)
{
	for (size_t i = 0; i < array_n(endings); i++) {
		const struct ending *row = &endings[i];
		struct service sv;
		struct graph *graph;
		struct call c;
		char link[100];
		unsigned asked_n;

		service_init(&sv, answer_ending, (void *)row, 3600);
		/* Counts what Graph is asked, not the login service. */
		graph = make_graph(&sv);
		snprintf(link, sizeof(link), "%s/v1.0/delta?token=old", sv.url);
		ask(&sv, graph, row->is_delta_link ? link : NULL, row->priority, &c);
		asked_n = script_requests_n(sv.script) - sv.token_asked_n;
		if (c.result.error != row->want || strcmp(c.result.code, row->code) != 0 ||
		    asked_n != row->asked_n || c.result.is_resync != row->is_resync ||
		    c.has_page != (row->want == 0))
			fail_msg("%s: %d \"%s\" after %u, %s", row->name, c.result.error,
				 c.result.code, asked_n, c.result.text);
		if (c.result.error != 0)
			assert_true(c.result.text[0]);
		graph_free(graph);
		service_fini(&sv);
	}
}

/* An item that was left out before is not waited for again, until it was seen mended. */
static const struct {
	const char *reply;
	unsigned asked_n, skipped_n;
} skips[] = {
	{ BAD_PAGE, 4, 1 }, { BAD_PAGE, 1, 1 },
	{ PAGE, 1, 1 },     { "{\"value\":[{\"id\":\"B\",\"name\":\"b\",\"file\":{}}]}", 1, 0 },
	{ BAD_PAGE, 4, 1 }, { "{\"value\":[{\"id\":\"B\",\"deleted\":{}}]}", 1, 0 },
};

static _Atomic(const char *) skip_reply;

static void answer_skip(struct script_conn *conn, const struct script_request *req, void *arg)
{
	script_reply(conn, 200, "", skip_reply);
}

static void test_skipped_items(void **state)
{
	struct service sv;
	struct graph *graph;
	unsigned asked_n = 0;

	service_init(&sv, answer_skip, NULL, 3600);
	graph = make_graph(&sv);
	for (size_t i = 0; i < array_n(skips); i++) {
		struct call c;

		skip_reply = skips[i].reply;
		ask(&sv, graph, NULL, HTTP_BACKGROUND, &c);
		assert_int_equal(c.result.error, 0);
		asked_n += skips[i].asked_n;
		if (script_requests_n(sv.script) != asked_n ||
		    graph_skipped_n(graph) != skips[i].skipped_n)
			fail_msg("row %zu: asked %u times in all, %u skipped", i,
				 script_requests_n(sv.script), graph_skipped_n(graph));
	}
	graph_free(graph);
	service_fini(&sv);
}

static char redirect_to[128];

static void gone(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char header[200];

	snprintf(header, sizeof(header), "Location: %s\r\n", redirect_to);
	script_reply(conn, 410, header, ERROR("resyncRequired"));
}

static void test_where_to_begin_again(void **state)
{
	struct service sv;
	struct graph *graph;
	struct call c;

	service_init(&sv, gone, NULL, 3600);
	graph = make_graph(&sv);
	snprintf(redirect_to, sizeof(redirect_to), "%s/v1.0/fresh?token=", sv.url);
	ask(&sv, graph, NULL, HTTP_BACKGROUND, &c);
	assert_string_equal(c.location, redirect_to);
	snprintf(redirect_to, sizeof(redirect_to), "https://evil.example/v1.0/fresh");
	ask(&sv, graph, NULL, HTTP_BACKGROUND, &c);
	assert_true(c.result.is_resync);
	assert_string_equal(c.location, "");
	graph_free(graph);
	service_fini(&sv);
}

/* --- the gate --- */

static _Atomic uint64_t sent_ms[8];

static void throttle_first(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (req->number < array_n(sent_ms))
		sent_ms[req->number] = clock_mono_ms();
	if (req->number == 0)
		script_reply(conn, 429, "Retry-After: 1\r\n", "");
	else
		script_reply(conn, 200, "", PAGE);
}

/* One Retry-After stops every request, those that are started later too. */
static void test_retry_after_is_for_all(void **state)
{
	struct call first = { 0 }, later[3] = { 0 };
	struct service sv;
	struct graph *graph;

	service_init(&sv, throttle_first, NULL, 3600);
	graph = make_graph(&sv);
	assert_int_equal(
		graph_get_delta(graph, "D", NULL, HTTP_BACKGROUND, on_page, &first, &first.call),
		0);
	while (script_requests_n(sv.script) == 0)
		bench_turn(&sv.bench);
	/* The reply is there within this; the others start well before its second is over. */
	for (uint64_t end_ms = clock_mono_ms() + 200; clock_mono_ms() < end_ms;)
		bench_turn(&sv.bench);
	for (int i = 0; i < 3; i++)
		assert_int_equal(graph_get_delta(graph, "D", NULL,
						 i ? HTTP_PERSON : HTTP_BACKGROUND, on_page,
						 &later[i], &later[i].call),
				 0);
	service_run_until(&sv, &ended_n, 4);
	assert_int_equal(first.result.error, 0);
	assert_int_equal(script_requests_n(sv.script), 5);
	for (int i = 1; i < 5; i++)
		assert_true(sent_ms[i] - sent_ms[0] >= 950);
	graph_free(graph);
	service_fini(&sv);
}

/* --- offline --- */

static atomic_bool is_dead;

static void dead_or_alive(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (is_dead)
		script_reset(conn);
	else
		script_reply(conn, 200, "", PAGE);
}

static int reachable_now = -1;

static void on_reachable(void *arg, bool reachable)
{
	reachable_now = reachable;
}

static void test_offline_fails_at_once_and_is_noticed(void **state)
{
	struct service sv;
	struct graph *graph;
	uint64_t began_ms;
	struct call c;

	reachable_now = -1;
	is_dead = true;
	service_init(&sv, dead_or_alive, NULL, 3600);
	graph = make_graph(&sv);
	graph_on_reachable(graph, on_reachable, NULL);
	began_ms = clock_mono_ms();
	ask(&sv, graph, NULL, HTTP_PERSON, &c);
	assert_int_equal(c.result.error, -ENETDOWN);
	assert_true(c.result.is_offline);
	assert_int_equal(c.result.status, 0);
	assert_true(c.ended_ms - began_ms < 5000);
	assert_int_equal(reachable_now, 0);
	/* From now on a person is told at once, without asking the network. */
	began_ms = clock_mono_ms();
	is_dead = false;
	ask(&sv, graph, NULL, HTTP_PERSON, &c);
	assert_int_equal(c.result.error, -ENETDOWN);
	assert_true(c.ended_ms - began_ms < 100);
	/* Background work finds out that the service is back. */
	ask(&sv, graph, NULL, HTTP_BACKGROUND, &c);
	assert_int_equal(c.result.error, 0);
	assert_int_equal(reachable_now, 1);
	ask(&sv, graph, NULL, HTTP_PERSON, &c);
	assert_int_equal(c.result.error, 0);
	graph_free(graph);
	service_fini(&sv);
}

/* --- cancelling --- */

static void hold_all(struct script_conn *conn, const struct script_request *req, void *arg)
{
	script_hold(conn);
	script_reply(conn, 200, "", PAGE);
}

static void test_cancel_at_every_stage(void **state)
{
	struct call c = { 0 };
	struct service sv;
	struct graph *graph;

	/* not sent yet */
	service_init(&sv, hold_all, NULL, -1);
	sv.token_hold = true;
	graph = make_graph(&sv);
	assert_int_equal(graph_get_delta(graph, "D", NULL, HTTP_PERSON, on_page, &c, &c.call), 0);
	graph_cancel(c.call);
	/* waiting for a token */
	assert_int_equal(graph_get_delta(graph, "D", NULL, HTTP_PERSON, on_page, &c, &c.call), 0);
	while (sv.token_asked_n == 0)
		bench_turn(&sv.bench);
	graph_cancel(c.call);
	graph_free(graph);
	service_fini(&sv);
	/* waiting for the reply */
	service_init(&sv, hold_all, NULL, 3600);
	graph = make_graph(&sv);
	assert_int_equal(graph_get_delta(graph, "D", NULL, HTTP_PERSON, on_page, &c, &c.call), 0);
	while (script_requests_n(sv.script) == 0)
		bench_turn(&sv.bench);
	graph_cancel(c.call);
	graph_cancel(NULL);
	graph_free(graph);
	service_fini(&sv);
	assert_int_equal(ended_n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_drive_paths),
		cmocka_unit_test(test_links_that_lead_away),
		cmocka_unit_test(test_one_renewal_after_many_401),
		cmocka_unit_test(test_endings),
		cmocka_unit_test(test_skipped_items),
		cmocka_unit_test(test_where_to_begin_again),
		cmocka_unit_test(test_retry_after_is_for_all),
		cmocka_unit_test(test_offline_fails_at_once_and_is_noticed),
		cmocka_unit_test(test_cancel_at_every_stage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

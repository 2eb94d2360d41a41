#include "graph_write.h"
#include "service.h"

#include "clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ITEM "{\"id\":\"I\",\"name\":\"n\",\"eTag\":\"\\\"e,2\\\"\",\"file\":{}}"

#define ERROR(code) "{\"error\":{\"code\":\"" code "\"}}"

/* --- the service: one reply for each request; the last is repeated; "" resets, "FIN" closes --- */

enum { REPLIES_N = 6 };

static const char *const *replies;
static char seen[2048]; /* the last request: METHOD TARGET IF-MATCH CONTENT-TYPE BODY */
static char url[64];

static void answer(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char match[256] = "-", type[64] = "-", text[2048], headers[256], bearer[64] = "none";
	const char *reply = replies[0], *bar;

	for (unsigned i = 0; i < REPLIES_N && replies[i]; i++)
		if (i <= req->number)
			reply = replies[i];
	(void)script_header(req, "If-Match", match, sizeof(match));
	(void)script_header(req, "Content-Type", type, sizeof(type));
	(void)script_header(req, "Authorization", bearer, sizeof(bearer));
	snprintf(text, sizeof(text), "%s %.400s %s %s %.1000s", req->method, req->target, match,
		 type, req->body);
	script_copy(seen, sizeof(seen), text);
	if (!reply[0] || strcmp(reply, "FIN") == 0) {
		(reply[0] ? script_close : script_reset)(conn);
		return;
	}
	/* The monitor is asked without the token, everything else with it. */
	if (!strncmp(req->target, "/monitor", 8) != !strcmp(bearer, "none"))
		reply = "400|the bearer is where it should not be";
	bar = strchr(reply, '|');
	snprintf(headers, sizeof(headers), "%.*s",
		 (int)(bar - reply) > 4 ? (int)(bar - reply) - 4 : 0, reply + 4);
	if (strstr(headers, "MONITOR"))
		snprintf(headers, sizeof(headers), "Location: %s/monitor/1?secret\r\n", url);
	if (strncmp(reply, "204", 3) == 0)
		script_printf(conn, "HTTP/1.1 204 No\r\n\r\n");
	else
		script_reply(conn, atoi(reply), headers, bar + 1);
}

struct setup {
	struct service sv;
	struct graph *graph;
};

static void setup_init(struct setup *s, const char *const *with)
{
	replies = with;
	service_init(&s->sv, answer, NULL, 3600);
	snprintf(url, sizeof(url), "%s", s->sv.url);
	assert_int_equal(
		graph_new(s->sv.bench.loop, s->sv.bench.http, s->sv.auth, s->sv.url, &s->graph), 0);
}

static void setup_fini(struct setup *s)
{
	graph_free(s->graph);
	service_fini(&s->sv);
}

struct got {
	unsigned ends_n;
	struct graph_result result;
	char id[32], etag[32];
	bool has_item, is_empty;
};

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	struct got *g = arg;

	g->ends_n++;
	g->result = *result;
	g->has_item = item != NULL;
	snprintf(g->id, sizeof(g->id), "%s", item ? item->id : "");
	snprintf(g->etag, sizeof(g->etag), "%s", item && item->etag ? item->etag : "");
}

static void on_emptiness(void *arg, const struct graph_result *result, bool is_empty)
{
	struct got *g = arg;

	g->ends_n++;
	g->result = *result;
	g->is_empty = is_empty;
}

/* --- what is asked --- */

#define TIME_NS INT64_C(1704067200500000000)

static const struct {
	struct graph_op op;
	const char *want;
} asked[] = {
	{ { .kind = GRAPH_OP_FOLDER, .parent_id = "P!1", .name = "a b" },
	  "POST /drives/b!D/items/P!1/children - application/json {\"name\":\"a b\",\"folder\":{},"
	  "\"@microsoft.graph.conflictBehavior\":\"fail\"}" },
	{ { .kind = GRAPH_OP_FOLDER,
	    .parent_id = "P",
	    .name = "q\"\\\n\xc3\xa4",
	    .conflict = GRAPH_CONFLICT_REPLACE },
	  "POST /drives/b!D/items/P/children - application/json {\"name\":\"q\\\"\\\\\\n\xc3\xa4\","
	  "\"folder\":{},\"@microsoft.graph.conflictBehavior\":\"replace\"}" },
	{ { .kind = GRAPH_OP_PATCH,
	    .id = "../I?x",
	    .name = "new",
	    .mtime_ns = ITEM_TIME_UNKNOWN,
	    .btime_ns = ITEM_TIME_UNKNOWN,
	    .if_match = "\"{A},3\"",
	    .conflict = GRAPH_CONFLICT_REPLACE },
	  "PATCH /drives/b!D/items/..%2FI%3Fx?@microsoft.graph.conflictBehavior=replace \"{A},3\" "
	  "application/json {\"name\":\"new\",\"@microsoft.graph.conflictBehavior\":\"replace\"}" },
	{ { .kind = GRAPH_OP_PATCH,
	    .id = "I",
	    .parent_id = "Q",
	    .mtime_ns = TIME_NS,
	    .btime_ns = ITEM_TIME_UNKNOWN },
	  "PATCH /drives/b!D/items/I?@microsoft.graph.conflictBehavior=fail - application/json "
	  "{\"parentReference\":{\"id\":\"Q\"},\"fileSystemInfo\":{\"lastModifiedDateTime\":"
	  "\"2024-01-01T00:00:00Z\"},\"@microsoft.graph.conflictBehavior\":\"fail\"}" },
	{ { .kind = GRAPH_OP_PATCH, .id = "I", .mtime_ns = -1, .btime_ns = TIME_NS },
	  "PATCH /drives/b!D/items/I - application/json {\"fileSystemInfo\":"
	  "{\"lastModifiedDateTime\":\"1969-12-31T23:59:59Z\","
	  "\"createdDateTime\":\"2024-01-01T00:00:00Z\"}}" },
	{ { .kind = GRAPH_OP_DELETE, .id = "I" }, "DELETE /drives/b!D/items/I - - " },
	{ { .kind = GRAPH_OP_DELETE, .id = "I", .if_match = "aMDE.4" },
	  "DELETE /drives/b!D/items/I aMDE.4 - " },
};

static void expect_seen(const char *want)
{
	char text[2048];

	script_copy(text, sizeof(text), seen);
	assert_string_equal(text, want);
}

static void test_what_is_asked(void **state)
{
	static const char *const ok[] = { "200|" ITEM, NULL };
	struct graph_call *call;
	struct got g = { 0 };
	struct setup s;

	setup_init(&s, ok);
	for (size_t i = 0; i < array_n(asked); i++) {
		assert_int_equal(graph_write(s.graph, "b!D", &asked[i].op, HTTP_BACKGROUND, on_item,
					     &g, &call),
				 0);
		assert_int_equal(g.ends_n, i); /* never from inside */
		service_run_until(&s.sv, &g.ends_n, (unsigned)i + 1);
		expect_seen(asked[i].want);
		assert_int_equal(g.result.error, 0);
		assert_string_equal(g.id, asked[i].op.kind == GRAPH_OP_DELETE ? "" : "I");
	}
	assert_int_equal(graph_get_child(s.graph, "D", "P", "a%2f..%2fb#?:@&+ \xc3\xa4",
					 HTTP_BACKGROUND, on_item, &g, &call),
			 0);
	service_run_until(&s.sv, &g.ends_n, array_n(asked) + 1);
	assert_non_null(strstr(seen, "GET /drives/D/items/P:/a%252f..%252fb%23%3F%3A%40%26%2B%20%C3"
				     "%A4?select="));
	assert_string_equal(g.etag, "\"e,2\"");
	setup_fini(&s);
}

static void test_what_cannot_be_asked(void **state)
{
	static const struct graph_op bad[] = {
		{ .kind = GRAPH_OP_FOLDER, .parent_id = "P", .name = "" },
		{ .kind = GRAPH_OP_FOLDER, .parent_id = "P", .name = "." },
		{ .kind = GRAPH_OP_FOLDER, .parent_id = "P", .name = "a/b" },
		{ .kind = GRAPH_OP_FOLDER, .parent_id = "P" },
		{ .kind = GRAPH_OP_FOLDER, .name = "a" },
		{ .kind = GRAPH_OP_PATCH, .name = "a" },
		{ .kind = GRAPH_OP_PATCH, .id = "I", .name = ".." },
		{ .kind = GRAPH_OP_PATCH, .id = "I", .if_match = "\"x\r\nX-Evil: 1\"" },
		{ .kind = GRAPH_OP_DELETE, .id = "I", .if_match = "\"x\n\"" },
		{ .kind = GRAPH_OP_DELETE, .id = "I", .if_match = "" },
		{ .kind = GRAPH_OP_DELETE, .id = "" },
	};
	static const char *const ok[] = { "200|" ITEM, NULL };
	struct graph_put put = {
		.drive_id = "D",
		.id = "P",
		.name = "..",
		.body = "",
	};
	struct graph_copy_spec copy = { .drive_id = "D",
					.id = "I",
					.to_drive_id = "D",
					.to_parent_id = "P",
					.to_name = "a/b" };
	struct graph_op many[GRAPH_BATCH_MAX + 1] = { 0 };
	struct graph_copy *gc;
	struct graph_call *call;
	struct setup s;

	setup_init(&s, ok);
	for (size_t i = 0; i < array_n(bad); i++)
		if (graph_write(s.graph, "D", &bad[i], HTTP_PERSON, on_item, NULL, &call) !=
			    -EINVAL ||
		    graph_write_batch(s.graph, "D", &bad[i], 1, HTTP_PERSON, NULL, NULL, &call) !=
			    -EINVAL)
			fail_msg("row %zu was asked", i);
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_PERSON, on_item, NULL, &call),
			 -EINVAL);
	put.name = "a";
	put.if_match = "\x7f";
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_PERSON, on_item, NULL, &call),
			 -EINVAL);
	put.body_len = GRAPH_PUT_MAX + 1;
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_PERSON, on_item, NULL, &call),
			 -EFBIG);
	assert_int_equal(graph_copy_start(s.graph, &copy, &gc), -EINVAL);
	assert_int_equal(graph_write_batch(s.graph, "D", many, 0, HTTP_PERSON, NULL, NULL, &call),
			 -EINVAL);
	for (size_t i = 0; i < array_n(many); i++)
		many[i] = (struct graph_op){ .kind = GRAPH_OP_DELETE, .id = "I" };
	assert_int_equal(graph_write_batch(s.graph, "D", many, array_n(many), HTTP_PERSON, NULL,
					   NULL, &call),
			 -EINVAL);
	assert_int_equal(
		graph_get_child(s.graph, "D", "P", "..", HTTP_PERSON, on_item, NULL, &call),
		-EINVAL);
	assert_int_equal(script_connections_n(s.sv.script), 0);
	setup_fini(&s);
}

static void test_put(void **state)
{
	static const char *const ok[] = { "201|" ITEM, NULL };
	struct graph_put put = { .drive_id = "D",
				 .id = "P",
				 .name = "a b",
				 .body = "hello",
				 .body_len = 5,
				 .if_match = "\"c:{A},1\"" };
	struct graph_call *call;
	struct got g = { 0 };
	struct setup s;
	char *big = calloc(1, GRAPH_PUT_MAX);

	setup_init(&s, ok);
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_BACKGROUND, on_item, &g, &call), 0);
	service_run_until(&s.sv, &g.ends_n, 1);
	expect_seen("PUT /drives/D/items/P:/a%20b:/content?@microsoft.graph.conflictBehavior=fail "
		    "\"c:{A},1\" application/octet-stream hello");
	put = (struct graph_put){ .drive_id = "D", .id = "I", .conflict = GRAPH_CONFLICT_REPLACE };
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_BACKGROUND, on_item, &g, &call), 0);
	service_run_until(&s.sv, &g.ends_n, 2);
	expect_seen("PUT /drives/D/items/I/content?@microsoft.graph.conflictBehavior=replace - "
		    "application/octet-stream ");
	put.body = big;
	put.body_len = GRAPH_PUT_MAX;
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_BACKGROUND, on_item, &g, &call), 0);
	service_run_until(&s.sv, &g.ends_n, 3);
	assert_int_equal(g.result.error, 0);
	/* The body is the caller's again after a cancel. */
	assert_int_equal(graph_put_content(s.graph, &put, HTTP_BACKGROUND, on_item, &g, &call), 0);
	bench_turn(&s.sv.bench);
	graph_cancel(call);
	free(big);
	for (int i = 0; i < 20; i++)
		bench_turn(&s.sv.bench);
	assert_int_equal(g.ends_n, 3);
	setup_fini(&s);
}

/* --- how it ends: what is sent again, and what is only unclear --- */

enum what { PATCH, DELETE, FOLDER, PUT };

static const struct ending {
	const char *name;
	enum what what;
	const char *replies[REPLIES_N];
	int want;
	enum graph_reason reason;
	bool is_unclear, has_item;
	unsigned asked_n;
} endings[] = {
	{ "200", PATCH, { "200|" ITEM }, 0, GRAPH_FINE, false, true, 1 },
	{ "201", FOLDER, { "201|" ITEM }, 0, GRAPH_FINE, false, true, 1 },
	{ "204 of a patch", PATCH, { "204|" }, 0, GRAPH_FINE, false, false, 1 },
	{ "200 without a body", FOLDER, { "200|" }, 0, GRAPH_FINE, false, false, 1 },
	{ "200 of HTML", FOLDER, { "200|<html>" }, -EBADMSG, GRAPH_NO_REPLY, true, false, 1 },
	{ "200 of another thing",
	  PUT,
	  { "201|{\"value\":[]}" },
	  -EBADMSG,
	  GRAPH_NO_REPLY,
	  true,
	  false,
	  1 },
	{ "204 of a delete", DELETE, { "204|" }, 0, GRAPH_FINE, false, false, 1 },
	{ "200 of a delete", DELETE, { "200|" }, 0, GRAPH_FINE, false, false, 1 },
	{ "404 of a delete",
	  DELETE,
	  { "404|" ERROR("itemNotFound") },
	  0,
	  GRAPH_FINE,
	  false,
	  false,
	  1 },
	{ "404 of a patch",
	  PATCH,
	  { "404|" ERROR("itemNotFound") },
	  -ENOENT,
	  GRAPH_MISSING,
	  false,
	  false,
	  1 },
	{ "409",
	  FOLDER,
	  { "409|" ERROR("nameAlreadyExists") },
	  -EEXIST,
	  GRAPH_NAME_TAKEN,
	  false,
	  false,
	  1 },
	{ "409 of a tag",
	  PATCH,
	  { "409|" ERROR("entityTagDoesNotMatch") },
	  -EBUSY,
	  GRAPH_CHANGED,
	  false,
	  false,
	  1 },
	{ "412",
	  PATCH,
	  { "412|" ERROR("resourceModified") },
	  -EBUSY,
	  GRAPH_CHANGED,
	  false,
	  false,
	  1 },
	{ "412 of a delete", DELETE, { "412|" }, -EBUSY, GRAPH_CHANGED, false, false, 1 },
	{ "423", PUT, { "423|" ERROR("resourceLocked") }, -EBUSY, GRAPH_LOCKED, false, false, 1 },
	{ "507", PUT, { "507|" ERROR("quotaLimitReached") }, -ENOSPC, GRAPH_FULL, false, false, 1 },
	{ "403", PUT, { "403|" ERROR("accessDenied") }, -EACCES, GRAPH_FORBIDDEN, false, false, 1 },
	{ "400", PATCH, { "400|" ERROR("invalidRequest") }, -EIO, GRAPH_REFUSED, false, false, 1 },
	{ "400 of a name",
	  FOLDER,
	  { "400|{\"error\":{\"code\":\"invalidRequest\",\"innerError\":{\"code\":\"invalidPath\"}}"
	    "}" },
	  -EINVAL,
	  GRAPH_BAD_NAME,
	  false,
	  false,
	  1 },
	{ "413", PUT, { "413|" }, -EFBIG, GRAPH_TOO_LARGE, false, false, 1 },
	{ "401 once", PUT, { "401|", "200|" ITEM }, 0, GRAPH_FINE, false, true, 2 },
	{ "401 for ever", PUT, { "401|" }, -EACCES, GRAPH_SIGN_IN, false, false, 2 },

	/* the service did nothing: sent again */
	{ "429",
	  FOLDER,
	  { "429 Retry-After: 1\r\n|", "201|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  2 },
	{ "503 with a time",
	  PATCH,
	  { "503 Retry-After: 1\r\n|", "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  2 },
	/* it may have done it: not sent again */
	{ "503", PATCH, { "503|", "200|" ITEM }, -EIO, GRAPH_FAULT, true, false, 1 },
	{ "500", FOLDER, { "500|", "200|" ITEM }, -EIO, GRAPH_FAULT, true, false, 1 },
	{ "502", PUT, { "502|", "200|" ITEM }, -EIO, GRAPH_FAULT, true, false, 1 },
	{ "504", PATCH, { "504|", "200|" ITEM }, -EIO, GRAPH_FAULT, true, false, 1 },
	{ "408", PUT, { "408|", "200|" ITEM }, -EIO, GRAPH_FAULT, true, false, 1 },
	{ "reset", FOLDER, { "", "200|" ITEM }, -ENETDOWN, GRAPH_NO_REPLY, true, false, 1 },
	{ "closed", PATCH, { "FIN", "200|" ITEM }, -ENETDOWN, GRAPH_NO_REPLY, true, false, 1 },
	{ "reset after 429",
	  PUT,
	  { "429 Retry-After: 1\r\n|", "", "200|" ITEM },
	  -ENETDOWN,
	  GRAPH_NO_REPLY,
	  true,
	  false,
	  2 },
	/* a delete is the same twice */
	{ "500 of a delete", DELETE, { "500|", "204|" }, 0, GRAPH_FINE, false, false, 2 },
	{ "delete is lost, then gone", DELETE, { "", "404|" }, 0, GRAPH_FINE, false, false, 2 },
	{ "500 of a delete for ever", DELETE, { "500|" }, -EIO, GRAPH_FAULT, false, false, 4 },
};

static int begin(struct setup *s, enum what what, struct got *g)
{
	static const struct graph_op ops[] = {
		[PATCH] = { .kind = GRAPH_OP_PATCH,
			    .id = "I",
			    .name = "n",
			    .mtime_ns = ITEM_TIME_UNKNOWN,
			    .btime_ns = ITEM_TIME_UNKNOWN },
		[DELETE] = { .kind = GRAPH_OP_DELETE, .id = "I" },
		[FOLDER] = { .kind = GRAPH_OP_FOLDER, .parent_id = "P", .name = "n" },
	};
	static const struct graph_put put = {
		.drive_id = "D", .id = "P", .name = "n", .body = "x", .body_len = 1
	};
	struct graph_call *call;

	if (what == PUT)
		return graph_put_content(s->graph, &put, HTTP_PERSON, on_item, g, &call);
	return graph_write(s->graph, "D", &ops[what], HTTP_PERSON, on_item, g, &call);
}

static void test_endings(void **state)
{
	for (size_t i = 0; i < array_n(endings); i++) {
		const struct ending *row = &endings[i];
		struct got g = { 0 };
		struct setup s;
		unsigned asked_n;

		setup_init(&s, row->replies);
		assert_int_equal(begin(&s, row->what, &g), 0);
		service_run_until(&s.sv, &g.ends_n, 1);
		asked_n = script_requests_n(s.sv.script) - s.sv.token_asked_n;
		if (g.result.error != row->want || g.result.reason != row->reason ||
		    g.result.is_unclear != row->is_unclear || g.has_item != row->has_item ||
		    asked_n != row->asked_n)
			fail_msg("%s: %d, reason %d, unclear %d, item %d, asked %u, %s", row->name,
				 g.result.error, g.result.reason, g.result.is_unclear, g.has_item,
				 asked_n, g.result.text);
		setup_fini(&s);
	}
}

/* Nobody is there: nothing was sent, so nothing is unclear. */
static void test_nobody_there(void **state)
{
	static const char *const ok[] = { "200|" ITEM, NULL };
	struct got g = { 0 };
	struct setup s;

	setup_init(&s, ok);
	graph_free(s.graph);
	assert_int_equal(graph_new(s.sv.bench.loop, s.sv.bench.http, s.sv.auth,
				   "http://127.0.0.1:1", &s.graph),
			 0);
	assert_int_equal(begin(&s, FOLDER, &g), 0);
	service_run_until(&s.sv, &g.ends_n, 1);
	assert_int_equal(g.result.error, -ENETDOWN);
	assert_true(g.result.is_offline);
	assert_false(g.result.is_unclear);
	setup_fini(&s);
}

/* --- emptiness --- */

static void test_emptiness(void **state)
{
	static const struct {
		const char *replies[REPLIES_N];
		int want;
		bool is_empty;
	} rows[] = {
		{ { "200|{\"value\":[]}" }, 0, true },
		{ { "200|{\"value\":[{\"id\":\"A\",\"name\":\"a\"}]}" }, 0, false },
		{ { "200|{\"value\":[{\"id\":\"A\",\"name\":7}]}" }, 0, false },
		{ { "200|{\"value\":[],\"@odata.nextLink\":\"NEXT\"}", "200|{\"value\":[]}" },
		  0,
		  true },
		{ { "200|{\"value\":[],\"@odata.nextLink\":\"NEXT\"}",
		    "200|{\"value\":[{\"id\":\"A\",\"name\":\"a\"}]}" },
		  0,
		  false },
		{ { "200|{\"value\":[],\"@odata.nextLink\":\"https://evil.example/\"}" },
		  -EBADMSG,
		  false },
		{ { "404|" ERROR("itemNotFound") }, -ENOENT, false },
		{ { "200|<html>" }, -EBADMSG, false },
		{ { "503|", "200|{\"value\":[]}" }, 0, true },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char text[REPLIES_N][256];
		const char *with[REPLIES_N] = { NULL };
		struct graph_call *call;
		struct got g = { .is_empty = !rows[i].is_empty };
		struct setup s;

		setup_init(&s, with);
		for (int j = 0; j < REPLIES_N && rows[i].replies[j]; j++) {
			const char *next = strstr(rows[i].replies[j], "NEXT");

			if (next)
				snprintf(text[j], sizeof(text[j]), "%.*s%s/more%s",
					 (int)(next - rows[i].replies[j]), rows[i].replies[j],
					 s.sv.url, next + 4);
			with[j] = next ? text[j] : rows[i].replies[j];
		}
		assert_int_equal(graph_get_emptiness(s.graph, "D", "F", HTTP_PERSON, on_emptiness,
						     &g, &call),
				 0);
		service_run_until(&s.sv, &g.ends_n, 1);
		if (g.result.error != rows[i].want || g.is_empty != rows[i].is_empty)
			fail_msg("row %zu: %d %s, empty %d", i, g.result.error, g.result.text,
				 g.is_empty);
		setup_fini(&s);
	}
}

/* --- batches --- */

enum { BATCH = 4 };

static const struct graph_op batch_ops[BATCH] = {
	{ .kind = GRAPH_OP_PATCH,
	  .id = "A",
	  .name = "a",
	  .mtime_ns = ITEM_TIME_UNKNOWN,
	  .btime_ns = ITEM_TIME_UNKNOWN,
	  .if_match = "\"e\"" },
	{ .kind = GRAPH_OP_DELETE, .id = "B" },
	{ .kind = GRAPH_OP_FOLDER, .parent_id = "P", .name = "c" },
	{ .kind = GRAPH_OP_DELETE, .id = "D" },
};

struct batch_want {
	int error;
	enum graph_reason reason;
	bool is_unclear;
	const char *id;
};

#define R(id, status, rest) "{\"id\":\"" id "\",\"status\":" status rest "}"
#define FINE_A              R("0", "200", ",\"body\":{\"id\":\"A\",\"name\":\"a\",\"file\":{}}")
#define FINE_B              R("1d", "204", "")
#define FINE_C              R("2", "201", ",\"body\":{\"id\":\"C\",\"name\":\"c\",\"folder\":{}}")
#define FINE_D              R("3d", "204", ",\"body\":null")
#define MISSING                                    \
	{                                          \
		-EBADMSG, GRAPH_NO_REPLY, true, "" \
	}

static const struct batch_row {
	const char *name, *reply;
	struct batch_want want[BATCH];
} batches[] = {
	{ "all well, in any order",
	  "200|{\"responses\":[" FINE_D "," FINE_C "," FINE_A "," FINE_B "]}",
	  { { 0, GRAPH_FINE, false, "A" }, { 0 }, { 0, GRAPH_FINE, false, "C" }, { 0 } } },
	{ "each its own",
	  "200|{\"responses\":[" R("0", "412", ",\"body\":" ERROR("resourceModified")) "," R(
		  "1d", "404",
		  ",\"body\":" ERROR(
			  "itemNotFound")) "," R("2", "409",
						 ",\"body\":" ERROR(
							 "nameAlreadyExists")) "," R("3d", "423",
										     "") "]}",
	  { { -EBUSY, GRAPH_CHANGED, false, "" },
	    { 0 },
	    { -EEXIST, GRAPH_NAME_TAKEN, false, "" },
	    { -EBUSY, GRAPH_LOCKED, false, "" } } },
	{ "faults",
	  "200|{\"responses\":[" R("0", "500", "") "," R("1d", "503", "") "," R(
		  "2", "507", "") "," R("3d", "401", "") "]}",
	  { { -EIO, GRAPH_FAULT, true, "" },
	    { -EIO, GRAPH_FAULT, false, "" },
	    { -ENOSPC, GRAPH_FULL, false, "" },
	    { -EACCES, GRAPH_SIGN_IN, false, "" } } },
	{ "some are missing",
	  "200|{\"responses\":[" FINE_B "," FINE_C "]}",
	  { MISSING, { 0 }, { 0, GRAPH_FINE, false, "C" }, MISSING } },
	{ "ids that nobody gave, and twice",
	  "200|{\"responses\":[" FINE_A "," R("0", "500", "") "," R("9", "200", "") "," R(
		  "x", "200", "") "," R("-1", "200", "") ",7,null,{}]}",
	  { { 0, GRAPH_FINE, false, "A" }, MISSING, MISSING, MISSING } },
	{ "bodies that are no items",
	  "200|{\"responses\":[" R("0", "200", ",\"body\":\"aGk=\"") "," FINE_B "," R(
		  "2", "200", "") "," R("3d", "\"204\"", "") "]}",
	  { MISSING, { 0 }, { 0, GRAPH_FINE, false, "" }, MISSING } },
	{ "no responses", "200|{}", { MISSING, MISSING, MISSING, MISSING } },
	{ "HTML", "200|<html>", { MISSING, MISSING, MISSING, MISSING } },
	{ "refused as a whole",
	  "400|" ERROR("invalidRequest"),
	  { { -EIO, GRAPH_REFUSED, false, "" },
	    { -EIO, GRAPH_REFUSED, false, "" },
	    { -EIO, GRAPH_REFUSED, false, "" },
	    { -EIO, GRAPH_REFUSED, false, "" } } },
	{ "a fault of the whole",
	  "500|",
	  { { -EIO, GRAPH_FAULT, true, "" },
	    { -EIO, GRAPH_FAULT, true, "" },
	    { -EIO, GRAPH_FAULT, true, "" },
	    { -EIO, GRAPH_FAULT, true, "" } } },
};

struct batch_got {
	unsigned ends_n;
	size_t n;
	struct got answers[GRAPH_BATCH_MAX];
};

static void on_batch(void *arg, struct graph_answer *answers, size_t n)
{
	struct batch_got *b = arg;

	b->ends_n++;
	b->n = n;
	for (size_t i = 0; i < n; i++)
		on_item(&b->answers[i], &answers[i].result, answers[i].item);
}

static void test_batches(void **state)
{
	for (size_t i = 0; i < array_n(batches); i++) {
		const char *const with[] = { batches[i].reply, NULL };
		struct batch_got b = { 0 };
		struct graph_call *call;
		struct setup s;

		setup_init(&s, with);
		assert_int_equal(graph_write_batch(s.graph, "X", batch_ops, BATCH, HTTP_BACKGROUND,
						   on_batch, &b, &call),
				 0);
		service_run_until(&s.sv, &b.ends_n, 1);
		assert_int_equal(b.n, BATCH);
		for (size_t j = 0; j < BATCH; j++) {
			const struct batch_want *w = &batches[i].want[j];
			const struct got *g = &b.answers[j];

			if (g->result.error != w->error || g->result.reason != w->reason ||
			    g->result.is_unclear != w->is_unclear ||
			    strcmp(g->id, w->id ? w->id : "") != 0)
				fail_msg("%s, %zu: %d, reason %d, unclear %d, item %s, %s",
					 batches[i].name, j, g->result.error, g->result.reason,
					 g->result.is_unclear, g->id, g->result.text);
		}
		if (i == 0)
			expect_seen(
				"POST /$batch - application/json {\"requests\":["
				"{\"id\":\"0\",\"method\":\"PATCH\",\"url\":\"/drives/X/items/A?"
				"@microsoft.graph.conflictBehavior=fail\",\"headers\":{"
				"\"Content-Type\":\"application/json\",\"If-Match\":\"\\\"e\\\"\"},"
				"\"body\":{\"name\":\"a\","
				"\"@microsoft.graph.conflictBehavior\":\"fail\"}},"
				"{\"id\":\"1d\",\"method\":\"DELETE\",\"url\":\"/drives/X/items/"
				"B\","
				"\"headers\":{}},"
				"{\"id\":\"2\",\"method\":\"POST\",\"url\":"
				"\"/drives/X/items/P/children\",\"headers\":{\"Content-Type\":"
				"\"application/json\"},\"body\":{\"name\":\"c\",\"folder\":{},"
				"\"@microsoft.graph.conflictBehavior\":\"fail\"}},"
				"{\"id\":\"3d\",\"method\":\"DELETE\",\"url\":\"/drives/X/items/"
				"D\","
				"\"headers\":{}}]}");
		setup_fini(&s);
	}
}

/* A refusal within a batch stops every request that comes later. */
static void test_a_refusal_within(void **state)
{
	static const char *const with[] = {
		"200|{\"responses\":[" FINE_A "," FINE_B ","
		"{\"id\":\"2\",\"status\":429,\"headers\":{\"retry-after\":\"1\"},\"body\":" ERROR(
			"activityLimitReached") "}," FINE_D "]}",
		"200|" ITEM, NULL
	};
	struct batch_got b = { 0 };
	struct got g = { 0 };
	struct graph_call *call;
	struct setup s;
	uint64_t began_ms;

	setup_init(&s, with);
	assert_int_equal(graph_write_batch(s.graph, "X", batch_ops, BATCH, HTTP_BACKGROUND,
					   on_batch, &b, &call),
			 0);
	service_run_until(&s.sv, &b.ends_n, 1);
	assert_int_equal(b.answers[2].result.error, -EAGAIN);
	assert_int_equal(b.answers[2].result.reason, GRAPH_THROTTLED);
	assert_int_equal(b.answers[2].result.retry_after_ms, 1000);
	assert_false(b.answers[2].result.is_unclear);
	assert_int_equal(b.answers[0].result.error, 0);
	began_ms = clock_mono_ms();
	assert_int_equal(begin(&s, FOLDER, &g), 0);
	service_run_until(&s.sv, &g.ends_n, 1);
	assert_int_equal(g.result.error, 0);
	assert_true(clock_mono_ms() - began_ms >= 900);
	setup_fini(&s);
}

/* --- copies --- */

#define RUNS  "202|{\"status\":\"inProgress\",\"percentageComplete\":40}"
#define ENDED "200|{\"status\":\"completed\",\"resourceId\":\"I\"}"

static const struct copy_row {
	const char *name;
	const char *replies[REPLIES_N];
	int want;
	enum graph_reason reason;
	bool is_unclear, has_item;
	const char *last; /* what was asked last begins with this */
} copies[] = {
	{ "at once",
	  { "202 MONITOR|", ENDED, "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  "GET /drives/E/items/I?select=" },
	{ "after a while",
	  { "202 MONITOR|", RUNS, ENDED, "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  "GET /drives/E/items/I?select=" },
	{ "a monitor with a hiccup",
	  { "202 MONITOR|", "500|", ENDED, "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  "GET /drives/E/items/I?select=" },
	{ "done without an id",
	  { "202 MONITOR|", "200|{\"status\":\"completed\"}", "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  "GET /drives/E/items/Q:/new%20n?select=" },
	{ "303",
	  { "202 MONITOR|", "303 Location: https://evil.example/\r\n|", "200|" ITEM },
	  0,
	  GRAPH_FINE,
	  false,
	  true,
	  "GET /drives/E/items/Q:/new%20n?select=" },
	{ "done, and not found",
	  { "202 MONITOR|", ENDED, "404|" },
	  0,
	  GRAPH_FINE,
	  false,
	  false,
	  "GET /drives/E/items/I" },
	{ "refused",
	  { "403|" ERROR("accessDenied") },
	  -EACCES,
	  GRAPH_FORBIDDEN,
	  false,
	  false,
	  "POST " },
	{ "lost",
	  { "" },
	  -ENETDOWN,
	  GRAPH_NO_REPLY,
	  true,
	  false,
	  "POST /drives/D/items/I/copy?@microsoft.graph.conflictBehavior=fail - application/json "
	  "{\"parentReference\":{\"driveId\":\"E\",\"id\":\"Q\"},\"name\":\"new n\"}" },
	{ "no monitor", { "202|" }, -EBADMSG, GRAPH_NO_REPLY, true, false, "POST " },
	{ "a monitor over http",
	  { "202 Location: http://evil.example/\r\n|" },
	  -EBADMSG,
	  GRAPH_NO_REPLY,
	  true,
	  false,
	  "POST " },
	{ "the monitor is gone",
	  { "202 MONITOR|", "404|" },
	  -EIO,
	  GRAPH_NO_REPLY,
	  true,
	  false,
	  "GET /monitor/1?secret" },
	{ "failed",
	  { "202 MONITOR|",
	    "200|{\"status\":\"failed\",\"error\":{\"code\":\"nameAlreadyExists\"}}" },
	  -EEXIST,
	  GRAPH_NAME_TAKEN,
	  false,
	  false,
	  "GET /monitor/1?secret" },
	{ "failed at the end",
	  { "202 MONITOR|", "200|{\"status\":\"failed\",\"percentageComplete\":100}" },
	  -EIO,
	  GRAPH_FAULT,
	  false,
	  false,
	  "GET /monitor/1?secret" },
};

static void on_percent(void *arg, double percent)
{
	assert_true(percent > 39 && percent < 41);
}

static struct graph_copy *start_copy(struct setup *s, struct got *g)
{
	struct graph_copy_spec spec = { .drive_id = "D",
					.id = "I",
					.to_drive_id = "E",
					.to_parent_id = "Q",
					.to_name = "new n",
					.priority = HTTP_PERSON,
					.on_progress = on_percent,
					.fn = on_item,
					.arg = g };
	struct graph_copy *copy;

	assert_int_equal(graph_copy_start(s->graph, &spec, &copy), 0);
	return copy;
}

static void test_copies(void **state)
{
	for (size_t i = 0; i < array_n(copies); i++) {
		const struct copy_row *row = &copies[i];
		struct got g = { 0 };
		struct setup s;
		char text[2048];

		setup_init(&s, row->replies);
		(void)start_copy(&s, &g);
		service_run_until(&s.sv, &g.ends_n, 1);
		script_copy(text, sizeof(text), seen);
		if (g.result.error != row->want || g.result.reason != row->reason ||
		    g.result.is_unclear != row->is_unclear || g.has_item != row->has_item ||
		    strncmp(text, row->last, strlen(row->last)) != 0)
			fail_msg("%s: %d, reason %d, unclear %d, item %d, %s; %s", row->name,
				 g.result.error, g.result.reason, g.result.is_unclear, g.has_item,
				 g.result.text, text);
		setup_fini(&s);
	}
}

static void test_copies_can_be_cancelled(void **state)
{
	static const char *const with[] = { "202 MONITOR|", RUNS, NULL };

	for (unsigned stage = 0; stage < 4; stage++) {
		struct got g = { 0 };
		struct graph_copy *copy;
		struct setup s;

		setup_init(&s, with);
		copy = start_copy(&s, &g);
		while (script_requests_n(s.sv.script) < stage)
			bench_turn(&s.sv.bench);
		graph_copy_cancel(copy);
		for (int i = 0; i < 10; i++)
			bench_turn(&s.sv.bench);
		assert_int_equal(g.ends_n, 0);
		setup_fini(&s);
	}
	graph_copy_cancel(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_asked),
		cmocka_unit_test(test_what_cannot_be_asked),
		cmocka_unit_test(test_put),
		cmocka_unit_test(test_endings),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_emptiness),
		cmocka_unit_test(test_batches),
		cmocka_unit_test(test_a_refusal_within),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_copies_can_be_cancelled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "graph.h"
#include "service.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct got {
	struct bench *bench;
	struct graph_call *call; /* NULL: has ended */
	int error;
	unsigned heads_n;
	uint64_t total;
	char etag[64];
	struct buf data;
	int head_answer, data_answer;
};

static int on_head(void *arg, uint64_t total_bytes, const char *etag)
{
	struct got *g = arg;

	assert_int_equal(g->data.len, 0);
	g->heads_n++;
	g->total = total_bytes;
	snprintf(g->etag, sizeof(g->etag), "%s", etag ? etag : "");
	return g->head_answer;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct got *g = arg;

	assert_int_equal(g->heads_n, 1);
	assert_int_equal(buf_append(&g->data, data, len), 0);
	return g->data_answer;
}

static void on_done(void *arg, int error)
{
	struct got *g = arg;

	g->call = NULL;
	g->error = error;
	g->bench->open_n = 0;
	loop_stop(g->bench->loop);
}

/* "0123456789" is the content; four bytes from the third on are asked for. */
static const struct row {
	const char *name, *reply;
	int want;
	const char *data;
	uint64_t total;
} rows[] = {
	{ "range",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\nETag: "
	  "\"e\"\r\n\r\n2345",
	  0, "2345", 10 },
	{ "range, no length",
	  "HTTP/1.1 206 P\r\nContent-Range: bytes 2-5/10\r\nConnection: close\r\n\r\n2345", 0,
	  "2345", 10 },
	{ "shorter at the end of the content",
	  "HTTP/1.1 206 P\r\nContent-Length: 2\r\nContent-Range: bytes 2-3/4\r\n\r\n23", 0, "23",
	  4 },
	{ "all of it", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", 0, "2345", 10 },
	{ "all of it, but too short", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n0123", 0, "23",
	  4 },
	{ "all of it, ends before the range", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0",
	  -ERANGE, "", 0 },
	{ "all of it, of unknown length", "HTTP/1.1 200 OK\r\n\r\n0123456789", -EBADMSG, "", 0 },
	{ "an error page as 206", "HTTP/1.1 206 P\r\nContent-Length: 9\r\n\r\n<Error/>\n", -EBADMSG,
	  "", 0 },
	{ "another range",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 3-6/10\r\n\r\n3456",
	  -EBADMSG, "", 0 },
	{ "a longer range",
	  "HTTP/1.1 206 P\r\nContent-Length: 5\r\nContent-Range: bytes 2-6/10\r\n\r\n23456",
	  -EBADMSG, "", 0 },
	{ "a shorter range in the middle",
	  "HTTP/1.1 206 P\r\nContent-Length: 2\r\nContent-Range: bytes 2-3/10\r\n\r\n23", -EBADMSG,
	  "", 0 },
	{ "length and range disagree",
	  "HTTP/1.1 206 P\r\nContent-Length: 9\r\nContent-Range: bytes 2-5/10\r\n\r\n234567890",
	  -EBADMSG, "", 0 },
	{ "unknown total",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/*\r\n\r\n2345", -EBADMSG,
	  "", 0 },
	{ "range beyond its total",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/4\r\n\r\n2345", -EBADMSG,
	  "", 0 },
	{ "range backwards",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 5-2/10\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "negative range",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes -2-5/10\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "overflowing range",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes "
	  "2-5/99999999999999999999999\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "range with a tail",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10x\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "other unit",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: items 2-5/10\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "several ranges",
	  "HTTP/1.1 206 P\r\nContent-Type: multipart/byteranges; boundary=x\r\nContent-Length: "
	  "4\r\n\r\n--x\n",
	  -EBADMSG, "", 0 },
	{ "truncated range",
	  "HTTP/1.1 206 P\r\nContent-Length: 4\r\nContent-Range: bytes 2-5/10\r\n\r\n23", -EBADMSG,
	  "23", 10 },
	{ "truncated range, no length", "HTTP/1.1 206 P\r\nContent-Range: bytes 2-5/10\r\n\r\n23",
	  -EBADMSG, "23", 10 },
	{ "truncated whole", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123", -EBADMSG, "23",
	  10 },
	{ "expired 401", "HTTP/1.1 401 U\r\nContent-Length: 5\r\n\r\nnope\n", -ESTALE, "", 0 },
	{ "expired 403", "HTTP/1.1 403 F\r\nContent-Length: 5\r\n\r\nnope\n", -ESTALE, "", 0 },
	{ "expired 404", "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n", -ESTALE, "", 0 },
	{ "expired 410", "HTTP/1.1 410 G\r\nContent-Length: 0\r\n\r\n", -ESTALE, "", 0 },
	{ "beyond the end",
	  "HTTP/1.1 416 R\r\nContent-Range: bytes */1\r\nContent-Length: 0\r\n\r\n", -ERANGE, "",
	  0 },
	{ "busy", "HTTP/1.1 503 S\r\nContent-Length: 6\r\n\r\n<html>", -EAGAIN, "", 0 },
	{ "throttled", "HTTP/1.1 429 T\r\nContent-Length: 0\r\n\r\n", -EAGAIN, "", 0 },
	{ "redirected",
	  "HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 4\r\n\r\n2345",
	  -EBADMSG, "", 0 },
	{ "nothing", "HTTP/1.1 204 N\r\n\r\n", -EBADMSG, "", 0 },
	{ "no reply", "", -ENETDOWN, "", 0 },
};

static char seen_range[64];
static atomic_bool has_bearer;

static void answer(struct script_conn *conn, const struct script_request *req, void *arg)
{
	const struct row *row = arg;
	char value[64], range[64] = "";

	(void)script_header(req, "Range", range, sizeof(range));
	script_copy(seen_range, sizeof(seen_range), range);
	has_bearer = script_header(req, "Authorization", value, sizeof(value)) ||
		     script_header(req, "Accept-Encoding", value, sizeof(value));
	script_send(conn, row->reply, strlen(row->reply));
	script_close(conn);
}

static int get(struct graph *graph, struct service *sv, uint64_t off, uint64_t len, struct got *g)
{
	struct graph_content spec = { .url = script_url(sv->script, "/cdn?tempauth=%2F"),
				      .off = off,
				      .len = len,
				      .priority = HTTP_PERSON,
				      .stall_ms = 5000,
				      .on_head = on_head,
				      .on_data = on_data,
				      .on_done = on_done,
				      .arg = g };
	int r = graph_get_content(graph, &spec, &g->call);

	g->bench = &sv->bench;
	buf_init(&g->data, 1000);
	sv->bench.open_n = r == 0;
	bench_run(&sv->bench);
	return r;
}

static struct graph *make_graph(struct service *sv)
{
	struct graph *graph = NULL;

	assert_int_equal(graph_new(sv->bench.loop, sv->bench.http, sv->auth, sv->url, &graph), 0);
	return graph;
}

static void test_replies(void **state)
{
	for (size_t i = 0; i < array_n(rows); i++) {
		struct service sv;
		struct graph *graph;
		struct got g = { 0 };
		char range[64];

		service_init(&sv, answer, (void *)&rows[i], 3600);
		graph = make_graph(&sv);
		assert_int_equal(get(graph, &sv, 2, 4, &g), 0);
		if (g.error != rows[i].want || g.total != rows[i].total ||
		    strcmp(g.data.data ? g.data.data : "", rows[i].data) != 0)
			fail_msg("%s: %d, \"%s\" of %llu", rows[i].name, g.error, g.data.data,
				 (unsigned long long)g.total);
		script_copy(range, sizeof(range), seen_range);
		assert_string_equal(range, "bytes=2-5");
		assert_false(has_bearer);
		if (i == 0)
			assert_string_equal(g.etag, "\"e\"");
		buf_fini(&g.data);
		graph_free(graph);
		service_fini(&sv);
	}
}

static void test_the_caller_can_refuse(void **state)
{
	struct service sv;
	struct graph *graph;
	struct got at_head = { .head_answer = -EUCLEAN }, at_data = { .data_answer = -ENOSPC };

	service_init(&sv, answer, (void *)&rows[0], 3600);
	graph = make_graph(&sv);
	assert_int_equal(get(graph, &sv, 2, 4, &at_head), 0);
	assert_int_equal(at_head.error, -EUCLEAN);
	assert_int_equal(at_head.data.len, 0);
	assert_int_equal(get(graph, &sv, 2, 4, &at_data), 0);
	assert_int_equal(at_data.error, -ENOSPC);
	buf_fini(&at_head.data);
	buf_fini(&at_data.data);
	graph_free(graph);
	service_fini(&sv);
}

static void test_ranges_and_urls_that_are_refused(void **state)
{
	static const char *const urls[] = { "http://cdn.example/x", "https://a@cdn.example/x",
					    "file:///etc/passwd", "" };
	struct service sv;
	struct graph *graph;
	struct got g = { 0 };

	service_init(&sv, answer, (void *)&rows[0], 3600);
	graph = make_graph(&sv);
	assert_int_equal(get(graph, &sv, 2, 0, &g), -EINVAL);
	assert_int_equal(get(graph, &sv, UINT64_MAX, 1, &g), -EINVAL);
	assert_int_equal(get(graph, &sv, 2, UINT64_MAX, &g), -EINVAL);
	for (size_t i = 0; i < array_n(urls); i++) {
		struct graph_content spec = { .url = urls[i],
					      .len = 1,
					      .stall_ms = 1000,
					      .on_head = on_head,
					      .on_data = on_data,
					      .on_done = on_done,
					      .arg = &g };

		assert_int_equal(graph_get_content(graph, &spec, &g.call), -EPERM);
	}
	assert_int_equal(script_connections_n(sv.script), 0);
	graph_free(graph);
	service_fini(&sv);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_the_caller_can_refuse),
		cmocka_unit_test(test_ranges_and_urls_that_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

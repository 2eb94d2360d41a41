#include "fetch.h"
#include "script.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* --- one request at a time, whose raw reply is a row --- */

enum how { KEEP, FIN, RST };

struct raw {
	const char *name, *reply;
	size_t len;
	enum how how;
	int want;
	long want_status; /* 0: no head */
};

#define RAW(s) s, sizeof(s) - 1

static const struct raw raws[] = {
	{ "whole", RAW("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), KEEP, 0, 200 },
	{ "chunked",
	  RAW("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), KEEP, 0,
	  200 },
	{ "with trailers",
	  RAW("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: "
	      "1\r\n\r\n"),
	  KEEP, 0, 200 },
	{ "the same length twice",
	  RAW("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"), KEEP, 0,
	  200 },
	{ "until the end", RAW("HTTP/1.1 200 OK\r\n\r\nok"), FIN, 0, 200 },
	{ "after 100",
	  RAW("HTTP/1.1 100 Continue\r\nETag: \"no\"\r\n\r\n"
	      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
	  KEEP, 0, 200 },
	{ "no reply", RAW(""), FIN, -ENETDOWN, 0 },
	{ "no reply, reset", RAW(""), RST, -ENETDOWN, 0 },
	{ "half a status line", RAW("HTTP/1.1 20"), FIN, -1, 0 },
	{ "half a head", RAW("HTTP/1.1 200 OK\r\nContent-Le"), FIN, -EBADMSG, 200 },
	{ "no HTTP", RAW("SSH-2.0-OpenSSH_9.2\r\n"), FIN, -EBADMSG, 0 },
	{ "HTTP/0.9", RAW("ok"), FIN, -EBADMSG, 0 },
	{ "truncated", RAW("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"), FIN, -EBADMSG, 200 },
	{ "truncated, reset", RAW("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok"), RST, -1,
	  200 },
	{ "truncated chunks", RAW("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nok"),
	  FIN, -EBADMSG, 200 },
	{ "no last chunk", RAW("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n"),
	  FIN, -EBADMSG, 200 },
	{ "bad chunk size",
	  RAW("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nok\r\n"), FIN, -EBADMSG,
	  200 },
	{ "negative length", RAW("HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"), FIN, -EBADMSG,
	  200 },
	{ "length is a word", RAW("HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"), FIN,
	  -EBADMSG, 200 },
	{ "length over 2^63",
	  RAW("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"), FIN, -EBADMSG,
	  200 },
	{ "two lengths",
	  RAW("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\nokxyz"), FIN,
	  -EBADMSG, 200 },
	{ "unknown encoding",
	  RAW("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Encoding: zstd9\r\n\r\nok"), FIN,
	  -EBADMSG, 200 },
	{ "NUL in a header",
	  RAW("HTTP/1.1 200 OK\r\nETag: \"a\0b\"\r\nContent-Length: 2\r\n\r\nok"), FIN, -EBADMSG,
	  200 },
	{ "status 42", RAW("HTTP/1.1 42 Odd\r\nContent-Length: 0\r\n\r\n"), FIN, -EBADMSG, 0 },
};

static void send_raw(struct script_conn *conn, const struct script_request *req, void *arg)
{
	const struct raw *row = arg;

	script_send(conn, row->reply, row->len);
	if (row->how == FIN)
		script_close(conn);
	if (row->how == RST)
		script_reset(conn);
}

static void test_replies(void **state)
{
	for (size_t i = 0; i < array_n(raws); i++) {
		const struct raw *row = &raws[i];
		struct script *s = script_start(send_raw, (void *)row);
		struct bench b;
		struct fetch f;

		bench_init(&b, NULL);
		assert_int_equal(fetch_start(&f, &b,
					     (struct http_spec){ .url = script_url(s, "/"),
								 .accept_compressed = true }),
				 0);
		bench_run(&b);
		if (row->want == -1 ? f.error >= 0 : f.error != row->want)
			fail_msg("%s: %d", row->name, f.error);
		if (f.error == 0) {
			assert_string_equal(f.body.data, "ok");
			assert_int_equal(f.status, row->want_status);
			assert_string_equal(f.etag, "");
		}
		assert_int_equal(f.ends_n, 1);
		fetch_fini(&f);
		bench_fini(&b);
		script_stop(s);
	}
}

/* --- what is sent, what is kept --- */

/* arg: where to note the request; NULL when several may come at a time. */
static void echo(struct script_conn *conn, const struct script_request *req, void *arg)
{
	struct script_request *seen = arg;

	if (seen) {
		*seen = *req;
		seen->body = strdup(req->body); /* the test frees it */
	}
	script_reply(conn, 206,
		     "eTaG:   \"{A},1\" \r\nContent-Range: bytes 0-1/9\r\nRetry-After: 7\r\n"
		     "Location: http://127.0.0.1:1/x\r\nX-Other: y\r\n",
		     "ok");
}

static void test_what_is_sent(void **state)
{
	static const char *const headers[] = { "Range: bytes=0-1", NULL };
	static struct script_request seen;
	struct script *s = script_start(echo, &seen);
	char value[256];
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	assert_int_equal(fetch_start(&f, &b,
				     (struct http_spec){ .method = "POST",
							 .url = script_url(s, "/a/../b%2Fc?q=%20"),
							 .bearer = "tok",
							 .headers = headers,
							 .body = "x=1",
							 .body_len = 3 }),
			 0);
	bench_run(&b);
	bench_fini(&b);
	script_stop(s);
	assert_int_equal(f.error, 0);
	assert_string_equal(seen.method, "POST");
	assert_string_equal(seen.target, "/a/../b%2Fc?q=%20");
	assert_string_equal(seen.body, "x=1");
	free(seen.body);
	assert_true(script_header(&seen, "Authorization", value, sizeof(value)));
	assert_string_equal(value, "Bearer tok");
	assert_true(script_header(&seen, "User-Agent", value, sizeof(value)));
	assert_string_equal(value, "test/1");
	assert_true(script_header(&seen, "Range", value, sizeof(value)));
	assert_false(script_header(&seen, "Expect", value, sizeof(value)));
	assert_false(script_header(&seen, "Cookie", value, sizeof(value)));
	assert_false(script_header(&seen, "Accept-Encoding", value, sizeof(value)));
	assert_int_equal(f.status, 206);
	assert_int_equal(f.content_length, 2);
	assert_string_equal(f.etag, "\"{A},1\"");
	assert_string_equal(f.content_range, "bytes 0-1/9");
	assert_string_equal(f.retry_after, "7");
	assert_int_equal(f.heads_n, 1);
	fetch_fini(&f);
}

static void redirect(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char header[300];

	snprintf(header, sizeof(header), "Location: %s\r\n", (const char *)arg);
	script_reply(conn, 302, header, "");
}

static void test_redirects_are_not_followed(void **state)
{
	struct script *other = script_start(echo, NULL);
	struct script *s = script_start(redirect, (void *)script_url(other, "/away"));
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	assert_int_equal(
		fetch_start(&f, &b,
			    (struct http_spec){ .url = script_url(s, "/"), .bearer = "tok" }),
		0);
	bench_run(&b);
	assert_int_equal(f.status, 302);
	assert_non_null(strstr(f.location, "/away"));
	assert_int_equal(f.heads_n, 1); /* told although the body is empty */
	assert_int_equal(script_connections_n(other), 0);
	fetch_fini(&f);
	bench_fini(&b);
	script_stop(s);
	script_stop(other);
}

static void test_connections_are_used_again(void **state)
{
	struct script *s = script_start(echo, NULL);
	struct bench b;

	bench_init(&b, NULL);
	for (int i = 0; i < 20; i++) {
		struct fetch f;

		assert_int_equal(fetch_start(&f, &b,
					     (struct http_spec){ .url = script_url(s, "/"),
								 .host_class = HTTP_CONTENT }),
				 0);
		bench_run(&b);
		assert_int_equal(f.error, 0);
		fetch_fini(&f);
	}
	assert_int_equal(script_requests_n(s), 20);
	assert_int_equal(script_connections_n(s), 1);
	assert_int_equal(http_started_n(b.http, HTTP_CONTENT), 20);
	bench_fini(&b);
	script_stop(s);
}

/* --- what is refused before anything is sent --- */

static void test_urls_that_are_refused(void **state)
{
	static const char *const refused[] = {
		"http://graph.microsoft.com/v1.0",
		"http://127.0.0.1.evil.example/",
		"http://localhost.evil.example/",
		"http://10.0.0.1/",
		"http://169.254.169.254/latest/meta-data",
		"file:///etc/passwd",
		"ftp://graph.microsoft.com/",
		"gopher://127.0.0.1/",
		"javascript:alert(1)",
		"https://user@graph.microsoft.com/",
		"https://user:password@graph.microsoft.com/",
		"https://graph.microsoft.com@evil.example/",
		"https://graph.microsoft.com/a b",
		"https://graph.microsoft.com/\r\nX: y",
		"https://graph.microsoft.com/\x7f",
		"https://",
		"//graph.microsoft.com/",
		"graph.microsoft.com/v1.0",
		"/v1.0/me",
		"",
	};

	for (size_t i = 0; i < array_n(refused); i++) {
		struct bench b;
		struct fetch f;

		bench_init(&b, NULL);
		if (fetch_start(&f, &b, (struct http_spec){ .url = refused[i] }) != -EPERM)
			fail_msg("%s was not refused", refused[i]);
		bench_fini(&b);
	}
	assert_true(http_is_url_allowed("https://graph.microsoft.com/v1.0"));
	assert_true(http_is_url_allowed("http://localhost:8080/v1.0"));
	assert_true(http_is_url_allowed("http://[::1]:8080/v1.0"));
}

static void test_same_origin(void **state)
{
	static const char base[] = "https://graph.microsoft.com/v1.0";
	static const char *const others[] = {
		"https://graph.microsoft.com.evil.example/v1.0",
		"https://graph.microsoft.com@evil.example/v1.0",
		"https://evil.example/graph.microsoft.com/",
		"https://evil.example#graph.microsoft.com",
		"https://evil.example?graph.microsoft.com",
		"https://graph.microsoft.com:444/v1.0",
		"https://graph.microsoft.com./v1.0",
		"http://graph.microsoft.com/v1.0",
		"http://graph.microsoft.com:443/v1.0",
		"https://\\evil.example/",
		"https:graph.microsoft.com",
		"https://xn--grph-zoa.microsoft.com/",
		"https://40.126.1.1/v1.0",
		"file://graph.microsoft.com/v1.0",
		"",
	};

	for (size_t i = 0; i < array_n(others); i++)
		if (http_is_same_origin(others[i], base) && http_is_url_allowed(others[i]))
			fail_msg("%s was taken for %s", others[i], base);
	assert_true(http_is_same_origin("https://graph.microsoft.com/v1.0/x?token=a%2Fb", base));
	assert_true(http_is_same_origin("https://GRAPH.microsoft.com:443/beta", base));
}

static void test_headers_cannot_be_smuggled(void **state)
{
	static const char *const smuggled[] = { "If-Match: \"x\"\r\nX-Evil: 1", NULL };
	struct script *s = script_start(echo, NULL);
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	assert_int_equal(
		fetch_start(&f, &b,
			    (struct http_spec){ .url = script_url(s, "/"), .headers = smuggled }),
		-EPERM);
	assert_int_equal(fetch_start(&f, &b,
				     (struct http_spec){ .url = script_url(s, "/"),
							 .bearer = "a\r\nX-Evil: 1" }),
			 -EPERM);
	assert_int_equal(script_connections_n(s), 0);
	bench_fini(&b);
	script_stop(s);
}

static void test_nobody_there(void **state)
{
	struct script *s = script_start(echo, NULL);
	char plain[64], tls[80];
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	snprintf(plain, sizeof(plain), "%s", script_url(s, "/"));
	snprintf(tls, sizeof(tls), "https%s", plain + 4);
	assert_int_equal(fetch_start(&f, &b, (struct http_spec){ .url = tls }), 0);
	/* The server waits for a request that never comes in clear. */
	script_release(s);
	script_stop(s);
	bench_run(&b);
	assert_true(f.error == -EPROTO || f.error == -ENETDOWN);
	fetch_fini(&f);
	assert_int_equal(fetch_start(&f, &b, (struct http_spec){ .url = plain }), 0);
	bench_run(&b);
	assert_int_equal(f.error, -ENETDOWN);
	fetch_fini(&f);
	bench_fini(&b);
}

/* --- bounds --- */

static void flood_headers(struct script_conn *conn, const struct script_request *req, void *arg)
{
	static const char line[] = "X-Flood: 0123456789012345678901234567890123456789\r\n";

	script_printf(conn, "HTTP/1.1 200 OK\r\n");
	for (int i = 0; i < 10000; i++)
		script_send(conn, line, sizeof(line) - 1);
	script_printf(conn, "Content-Length: 0\r\n\r\n");
}

static void one_huge_header(struct script_conn *conn, const struct script_request *req, void *arg)
{
	static char huge[10 * 1024 * 1024];

	memset(huge, 'x', sizeof(huge));
	script_printf(conn, "HTTP/1.1 200 OK\r\nETag: ");
	script_send(conn, huge, sizeof(huge));
	script_printf(conn, "\r\nContent-Length: 0\r\n\r\n");
}

static void flood_body(struct script_conn *conn, const struct script_request *req, void *arg)
{
	static const char piece[65536];

	script_printf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 64; i++) {
		script_printf(conn, "10000\r\n");
		script_send(conn, piece, sizeof(piece));
		script_printf(conn, "\r\n");
	}
	script_printf(conn, "0\r\n\r\n");
}

/* 200,000 times "a" in 230 bytes. */
static void bomb(struct script_conn *conn, const struct script_request *req, void *arg)
{
	static const char front[] =
		"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x31\x01\x00\x00"
		"\x00\xc2\xa0\xac\xeb\x5f\xc2\x0c\xfe\x40\x01";
	static const char back[] = "\xaf\x01\x9b\x53\x69\xe0\x40\x0d\x03\x00";
	char gzip[230] = { 0 };

	memcpy(gzip, front, sizeof(front) - 1);
	memcpy(gzip + sizeof(gzip) - (sizeof(back) - 1), back, sizeof(back) - 1);
	script_printf(conn,
		      "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 230\r\n\r\n");
	script_send(conn, gzip, sizeof(gzip));
}

static void test_bounds(void **state)
{
	static const struct {
		script_fn fn;
		size_t max_body;
		int want;
	} rows[] = {
		{ flood_headers, 1000, -EFBIG },
		{ one_huge_header, 1000, -1 },
		{ flood_body, 100000, -EFBIG },
		{ bomb, 100000, -EFBIG },
		{ bomb, 200000, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct script *s = script_start(rows[i].fn, NULL);
		struct bench b;
		struct fetch f;

		bench_init(&b, NULL);
		assert_int_equal(fetch_start(&f, &b,
					     (struct http_spec){ .url = script_url(s, "/"),
								 .max_body = rows[i].max_body,
								 .accept_compressed = true }),
				 0);
		bench_run(&b);
		if (rows[i].want == -1 ? f.error >= 0 : f.error != rows[i].want)
			fail_msg("row %zu: %d", i, f.error);
		if (f.error == 0)
			assert_int_equal(f.body.len, 200000);
		fetch_fini(&f);
		bench_fini(&b);
		script_stop(s);
	}
}

static void answer_nothing(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (strcmp(req->target, "/body") == 0)
		script_printf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n99 are missing");
	script_hold(conn);
}

static void test_deadlines(void **state)
{
	struct script *s = script_start(answer_nothing, NULL);
	struct fetch stalled, half, total;
	struct bench b;

	bench_init(&b, NULL);
	assert_int_equal(
		fetch_start(&stalled, &b,
			    (struct http_spec){ .url = script_url(s, "/head"), .stall_ms = 50 }),
		0);
	assert_int_equal(
		fetch_start(&half, &b,
			    (struct http_spec){ .url = script_url(s, "/body"), .stall_ms = 200 }),
		0);
	assert_int_equal(
		fetch_start(&total, &b,
			    (struct http_spec){ .url = script_url(s, "/head"), .total_ms = 100 }),
		0);
	bench_run(&b);
	assert_int_equal(stalled.error, -ETIMEDOUT);
	assert_int_equal(half.error, -ETIMEDOUT);
	assert_int_equal(half.status, 200);
	assert_int_equal(total.error, -ETIMEDOUT);
	fetch_fini(&stalled);
	fetch_fini(&half);
	fetch_fini(&total);
	bench_fini(&b);
	script_stop(s);
}

/* --- cancelling --- */

static void test_cancel_running_and_queued(void **state)
{
	struct http_options options = { .user_agent = "t", .slots = { 1, 1 } };
	struct script *s = script_start(answer_nothing, NULL);
	struct fetch running, queued, late;
	struct bench b;

	bench_init(&b, &options);
	assert_int_equal(
		fetch_start(&running, &b, (struct http_spec){ .url = script_url(s, "/1") }), 0);
	assert_int_equal(fetch_start(&queued, &b, (struct http_spec){ .url = script_url(s, "/2") }),
			 0);
	/* Keeps the loop going for a while after the others are gone. */
	assert_int_equal(
		fetch_start(&late, &b,
			    (struct http_spec){ .url = script_url(s, "/3"), .total_ms = 200 }),
		0);
	while (script_requests_n(s) == 0)
		bench_turn(&b);
	http_cancel(queued.request);
	http_cancel(running.request);
	b.open_n -= 2;
	bench_run(&b);
	assert_int_equal(running.ends_n, 0);
	assert_int_equal(queued.ends_n, 0);
	assert_int_equal(late.error, -ETIMEDOUT);
	/* The slot was given on: the third was sent. */
	assert_int_equal(http_started_n(b.http, HTTP_API), 2);
	fetch_fini(&running);
	fetch_fini(&queued);
	fetch_fini(&late);
	bench_fini(&b);
	script_stop(s);
}

static struct fetch inner, victim;

static void body_or_nothing(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (strcmp(req->target, "/victim") == 0)
		script_hold(conn);
	else
		script_reply(conn, 200, "", "data");
}

/* From inside libcurl: starts one request, cancels another and itself. */
static int meddle(void *arg, const void *data, size_t len)
{
	struct fetch *self = arg;
	struct bench *b = self->bench;

	assert_int_equal(fetch_start(&inner, b, (struct http_spec){ .url = victim.body.data }), 0);
	http_cancel(victim.request);
	http_cancel(self->request);
	self->request = victim.request = NULL;
	b->open_n -= 2;
	return 0;
}

static int meddle_head(void *arg, const struct http_head *head)
{
	return meddle(arg, NULL, 0);
}

static void test_cancel_and_start_from_callbacks(void **state)
{
	for (int at_head = 0; at_head < 2; at_head++) {
		struct script *s = script_start(body_or_nothing, NULL);
		struct fetch self;
		struct bench b;

		bench_init(&b, NULL);
		assert_int_equal(fetch_start(&victim, &b,
					     (struct http_spec){ .url = script_url(s, "/victim") }),
				 0);
		assert_int_equal(buf_append_str(&victim.body, script_url(s, "/inner")), 0);
		while (script_requests_n(s) == 0)
			bench_turn(&b);
		assert_int_equal(
			fetch_start(&self, &b,
				    (struct http_spec){ .url = script_url(s, "/self"),
							.on_head = at_head ? meddle_head : NULL,
							.on_data = at_head ? NULL : meddle }),
			0);
		bench_run(&b);
		assert_int_equal(self.ends_n, 0);
		assert_int_equal(victim.ends_n, 0);
		assert_int_equal(inner.ends_n, 1);
		assert_int_equal(inner.error, 0);
		fetch_fini(&self);
		fetch_fini(&inner);
		fetch_fini(&victim);
		bench_fini(&b);
		script_stop(s);
	}
}

static int refuse_head(void *arg, const struct http_head *head)
{
	return -ESTALE;
}

static int refuse_data(void *arg, const void *data, size_t len)
{
	return -ENOSPC;
}

static void test_callbacks_can_refuse(void **state)
{
	struct script *s = script_start(echo, NULL);
	struct fetch head, data;
	struct bench b;

	bench_init(&b, NULL);
	assert_int_equal(fetch_start(&head, &b,
				     (struct http_spec){ .url = script_url(s, "/"),
							 .on_head = refuse_head,
							 .on_data = refuse_data }),
			 0);
	assert_int_equal(fetch_start(&data, &b,
				     (struct http_spec){ .url = script_url(s, "/"),
							 .on_data = refuse_data }),
			 0);
	bench_run(&b);
	assert_int_equal(head.error, -ESTALE);
	assert_int_equal(data.error, -ENOSPC);
	fetch_fini(&head);
	fetch_fini(&data);
	bench_fini(&b);
	script_stop(s);
}

/* --- bodies --- */

enum { BIG = 3 * 1024 * 1024 + 17 };

static atomic_size_t taken_n;
static atomic_uint held_body_n;

static void tell_length(struct script_conn *conn, const struct script_request *req, void *arg)
{
	char text[128], type[64] = "", length[32] = "none";

	for (size_t i = 0; i < req->body_len; i++)
		taken_n += req->body[i] == (char)(i % 251);
	(void)script_header(req, "Content-Type", type, sizeof(type));
	(void)script_header(req, "Content-Length", length, sizeof(length));
	snprintf(text, sizeof(text), "%s %s %s", req->method, length, type);
	script_reply(conn, 200, "", text);
}

static void test_methods_and_bodies(void **state)
{
	static const char *const headers[] = { "Content-Type: a/b", NULL };
	static const struct {
		const char *method;
		size_t len;
		bool has_body, is_borrowed;
		const char *want;
	} rows[] = {
		{ "PUT", BIG, true, true, "PUT 3145745 a/b" },
		{ "PUT", 0, true, false, "PUT 0 a/b" },
		{ "POST", 0, true, true, "POST 0 a/b" },
		{ "PATCH", 5, true, false, "PATCH 5 a/b" },
		{ "DELETE", 0, false, false, "DELETE none a/b" },
		{ "GET", 0, false, false, "GET none a/b" },
	};
	struct script *s = script_start(tell_length, NULL);
	char *big = malloc(BIG);
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	for (size_t i = 0; i < BIG; i++)
		big[i] = (char)(i % 251);
	for (size_t i = 0; i < array_n(rows); i++) {
		taken_n = 0;
		assert_int_equal(
			fetch_start(&f, &b,
				    (struct http_spec){ .method = rows[i].method,
							.url = script_url(s, "/"),
							.headers = headers,
							.host_class = HTTP_CONTENT,
							.body = rows[i].has_body ? big : NULL,
							.body_len = rows[i].len,
							.is_body_borrowed = rows[i].is_borrowed }),
			0);
		bench_run(&b);
		assert_int_equal(f.error, 0);
		assert_string_equal(f.body.data, rows[i].want);
		assert_int_equal(taken_n, rows[i].len);
		fetch_fini(&f);
	}
	assert_int_equal(
		fetch_start(&f, &b,
			    (struct http_spec){ .method = "TRACE", .url = script_url(s, "/") }),
		-EINVAL);
	bench_fini(&b);
	script_stop(s);
	free(big);
}

static void drop_second(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (req->number == 1)
		script_close(conn);
	else
		script_reply(conn, 200, "", "ok");
}

/* A kept connection that dies under a request: libcurl would send it again, unasked. */
static void test_what_is_sent_once(void **state)
{
	for (int once = 0; once < 2; once++) {
		struct script *s = script_start(drop_second, NULL);
		struct http_spec spec = { .method = "POST", .body = "x", .body_len = 1 };
		struct bench b;
		struct fetch f;

		bench_init(&b, NULL);
		for (int i = 0; i < 2; i++) {
			spec.url = script_url(s, "/");
			spec.is_once = once;
			assert_int_equal(fetch_start(&f, &b, spec), 0);
			bench_run(&b);
			fetch_fini(&f);
		}
		assert_int_equal(f.error, once ? -ENETDOWN : 0);
		assert_int_equal(script_requests_n(s), once ? 2 : 3);
		bench_fini(&b);
		script_stop(s);
	}
}

/* A line that is slow, or has to be, is not one that stalls. */
static void test_slow_bodies_are_no_stall(void **state)
{
	struct script *s = script_start(tell_length, NULL);
	char *body = calloc(1, BIG / 8);
	struct bench b;
	struct fetch f;

	bench_init(&b, NULL);
	assert_int_equal(fetch_start(&f, &b,
				     (struct http_spec){ .method = "PUT",
							 .url = script_url(s, "/"),
							 .host_class = HTTP_CONTENT,
							 .body = body,
							 .body_len = BIG / 8,
							 .send_bytes_s = BIG / 16,
							 .stall_ms = 700 }),
			 0);
	bench_run(&b);
	assert_int_equal(f.error, 0);
	fetch_fini(&f);
	bench_fini(&b);
	script_stop(s);
	free(body);
}

static size_t take_half(const struct script_request *req, size_t len, void *arg)
{
	return len / 2;
}

static void hold_it(struct script_conn *conn, const struct script_request *req, void *arg)
{
	held_body_n++;
	script_hold(conn);
	script_reset(conn);
}

/* What was borrowed for a body is the caller's again after a cancel. */
static void test_cancel_amid_a_body(void **state)
{
	struct script *s = script_start(hold_it, NULL);
	char *big = calloc(1, 16 * BIG);
	struct bench b;
	struct fetch f;

	script_set_take(s, take_half);
	held_body_n = 0;
	bench_init(&b, NULL);
	assert_int_equal(fetch_start(&f, &b,
				     (struct http_spec){ .method = "PUT",
							 .url = script_url(s, "/"),
							 .body = big,
							 .body_len = 16 * BIG,
							 .is_body_borrowed = true }),
			 0);
	while (held_body_n == 0)
		bench_turn(&b);
	http_cancel(f.request);
	free(big);
	for (int i = 0; i < 20; i++)
		bench_turn(&b);
	assert_int_equal(f.ends_n, 0);
	fetch_fini(&f);
	bench_fini(&b);
	script_stop(s);
}

/* --- who goes first --- */

enum { CROWD = 12 };

static atomic_uint held_n;
static char order[CROWD + 1];
static atomic_uint order_n;

static void hold_or_note(struct script_conn *conn, const struct script_request *req, void *arg)
{
	if (req->target[1] == 'h') {
		held_n++;
		script_hold(conn);
	} else {
		order[order_n++] = req->target[1];
	}
	script_reply(conn, 200, "", "ok");
}

/* Background work may not take the slots that are kept for a person. */
static void test_slots_are_kept_for_persons(void **state)
{
	struct http_options options = { .user_agent = "t", .slots = { 4, 4 } };
	struct script *s = script_start(hold_or_note, NULL);
	struct fetch crowd[CROWD], person;
	struct bench b;

	held_n = order_n = 0;
	bench_init(&b, &options);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(fetch_start(&crowd[i], &b,
					     (struct http_spec){ .url = script_url(s, "/hold"),
								 .priority = HTTP_BACKGROUND }),
				 0);
	assert_int_equal(http_started_n(b.http, HTTP_API), 2);
	while (held_n < 2)
		bench_turn(&b);
	assert_int_equal(fetch_start(&person, &b,
				     (struct http_spec){ .url = script_url(s, "/person"),
							 .priority = HTTP_PERSON }),
			 0);
	while (person.ends_n == 0)
		bench_turn(&b);
	assert_int_equal(person.error, 0);
	assert_int_equal(held_n, 2);
	script_release(s);
	bench_run(&b);
	for (size_t i = 0; i < CROWD; i++) {
		assert_int_equal(crowd[i].error, 0);
		fetch_fini(&crowd[i]);
	}
	fetch_fini(&person);
	bench_fini(&b);
	script_stop(s);
}

static void test_persons_go_first(void **state)
{
	static const struct {
		const char *path;
		enum http_priority priority;
	} asked[] = {
		{ "/hold", HTTP_PERSON },   { "/b1", HTTP_BACKGROUND }, { "/f1", HTTP_PREFETCH },
		{ "/b2", HTTP_BACKGROUND }, { "/p1", HTTP_PERSON },     { "/f2", HTTP_PREFETCH },
		{ "/p2", HTTP_PERSON },
	};
	struct http_options options = { .user_agent = "t", .slots = { 1, 1 } };
	struct script *s = script_start(hold_or_note, NULL);
	struct fetch fetches[array_n(asked)];
	struct bench b;

	held_n = order_n = 0;
	memset(order, 0, sizeof(order));
	bench_init(&b, &options);
	for (size_t i = 0; i < array_n(asked); i++)
		assert_int_equal(
			fetch_start(&fetches[i], &b,
				    (struct http_spec){ .url = script_url(s, asked[i].path),
							.priority = asked[i].priority }),
			0);
	script_release(s);
	bench_run(&b);
	assert_string_equal(order, "ppffbb");
	for (size_t i = 0; i < array_n(asked); i++)
		fetch_fini(&fetches[i]);
	bench_fini(&b);
	script_stop(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_what_is_sent),
		cmocka_unit_test(test_redirects_are_not_followed),
		cmocka_unit_test(test_connections_are_used_again),
		cmocka_unit_test(test_urls_that_are_refused),
		cmocka_unit_test(test_same_origin),
		cmocka_unit_test(test_headers_cannot_be_smuggled),
		cmocka_unit_test(test_nobody_there),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_cancel_running_and_queued),
		cmocka_unit_test(test_cancel_and_start_from_callbacks),
		cmocka_unit_test(test_callbacks_can_refuse),
		cmocka_unit_test(test_methods_and_bodies),
		cmocka_unit_test(test_what_is_sent_once),
		cmocka_unit_test(test_slow_bodies_are_no_stall),
		cmocka_unit_test(test_cancel_amid_a_body),
		cmocka_unit_test(test_slots_are_kept_for_persons),
		cmocka_unit_test(test_persons_go_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "fetch.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PATIENCE_MS = 10000 };

static void on_patience(void *arg)
{
	struct bench *b = arg;

	b->is_late = true;
	loop_stop(b->loop);
}

void bench_init(struct bench *b, const struct http_options *options)
{
	struct http_options defaults = { .user_agent = "test/1" };

	*b = (struct bench){ 0 };
	assert_int_equal(loop_new(&b->loop), 0);
	assert_int_equal(http_new(b->loop, options ? options : &defaults, &b->http), 0);
	assert_int_equal(loop_timer_init(&b->patience, b->loop, on_patience, b), 0);
}

void bench_fini(struct bench *b)
{
	http_free(b->http);
	loop_timer_fini(&b->patience);
	loop_free(b->loop);
}

void bench_turn(struct bench *b)
{
	loop_run_once(b->loop);
	(void)poll(NULL, 0, 1); /* leave the processor to the servers' threads */
}

void bench_run(struct bench *b)
{
	if (b->open_n == 0)
		return;
	loop_timer_arm(&b->patience, PATIENCE_MS);
	assert_int_equal(loop_run(b->loop), 0);
	loop_timer_disarm(&b->patience);
	assert_false(b->is_late);
}

static void keep(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
}

static int on_head(void *arg, const struct http_head *head)
{
	struct fetch *f = arg;

	f->heads_n++;
	return 0;
}

static void on_done(void *arg, int error, const struct http_head *head, const char *body,
		    size_t len)
{
	struct fetch *f = arg;

	f->request = NULL;
	f->ends_n++;
	f->error = error;
	f->ended_ms = loop_now_ms(f->bench->loop);
	f->status = head ? head->status : 0;
	if (head) {
		f->content_length = head->content_length;
		keep(f->location, sizeof(f->location), head->location);
		keep(f->etag, sizeof(f->etag), head->etag);
		keep(f->content_range, sizeof(f->content_range), head->content_range);
		keep(f->retry_after, sizeof(f->retry_after), head->retry_after);
	}
	assert_int_equal(buf_append(&f->body, body, len), 0);
	if (--f->bench->open_n == 0)
		loop_stop(f->bench->loop);
}

int fetch_start(struct fetch *f, struct bench *b, struct http_spec spec)
{
	int r;

	*f = (struct fetch){ .bench = b };
	buf_init(&f->body, 64 * 1024 * 1024);
	spec.method = spec.method ? spec.method : "GET";
	spec.total_ms = spec.total_ms ? spec.total_ms : 8000;
	spec.stall_ms = spec.stall_ms ? spec.stall_ms : 8000;
	spec.max_body = spec.max_body ? spec.max_body : 1024 * 1024;
	spec.on_head = spec.on_head ? spec.on_head : on_head;
	spec.on_done = spec.on_done ? spec.on_done : on_done;
	spec.arg = f;
	r = http_start(b->http, &spec, &f->request);
	b->open_n += r == 0;
	return r;
}

void fetch_fini(struct fetch *f)
{
	buf_fini(&f->body);
}

/*
 * HTTP on the loop: one libcurl multi handle. Loop thread only.
 *
 * What a person waits for goes first: requests wait in one queue for each priority, and a part of
 * the slots of each host class is kept for PERSON. The API host uses one HTTP/2 connection where
 * it is offered; content hosts use HTTP/1.1 connections side by side.
 *
 * Nothing is ever followed, retried or authorized here on its own: the layer above decides. Plain
 * http only to loopback addresses; TLS 1.2 at least, peer and host always verified. No cookies, no
 * netrc. URLs reach the log only without their query.
 */
#pragma once

#include "loop.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;
struct http_request; /* one in flight or queued */

enum http_priority { HTTP_PERSON, HTTP_PREFETCH, HTTP_BACKGROUND, HTTP_PRIORITIES };

/* Which limits count: requests with the bearer, or pre-authenticated content. */
enum http_class { HTTP_API, HTTP_CONTENT, HTTP_CLASSES };

struct http_options {
	const char *ca_file; /* NULL: the system's */
	const char *user_agent;
	unsigned slots[HTTP_CLASSES]; /* 0: the defaults, 8 and 10 */
	bool http1_only;
};

must_check int http_new(struct loop *loop, const struct http_options *options, struct http **ret);
/* All requests must be done or cancelled. NULL-safe. */
void http_free(struct http *http);

/* The head of a reply. Strings are borrowed, valid during the call; NULL when absent. */
struct http_head {
	long status;
	int64_t content_length; /* -1 absent */
	const char *content_type;
	const char *content_range;
	const char *etag;
	const char *location;
	const char *retry_after;
	const char *ratelimit_limit, *ratelimit_remaining, *ratelimit_reset;
	const char *request_id;
	const char *www_authenticate;
};

struct http_spec {
	const char *method; /* "GET", "POST", "PUT", "PATCH", "DELETE" */
	const char *url;
	const char *bearer;         /* NULL: no Authorization header */
	const char *const *headers; /* "Name: value", NULL-terminated; may be NULL */
	const void *body;           /* copied unless borrowed; NULL for none */
	size_t body_len;
	bool is_body_borrowed; /* it lives until on_done returns, or http_cancel() */
	/* Never sent a second time: without it, a request whose connection died before any answer
	 * is sent again over a new one, which is libcurl's way. Needs a body. */
	bool is_once;
	uint64_t send_bytes_s; /* the body goes no faster; 0: no limit */
	enum http_priority priority;
	enum http_class host_class;
	bool accept_compressed;
	uint64_t total_ms; /* deadline from the call on, time in the queue included; 0: none */
	uint64_t stall_ms; /* no byte either way for so long, once sent, is the end; never 0 */
	size_t max_body;   /* a longer body is -EFBIG; counted after decoding */

	/* on_head: once, before data; a negative return ends the request with it. May be NULL.
	 * on_data: pieces of the body; a negative return ends the request with it. NULL: the body
	 * is collected and handed to on_done.
	 * on_done: exactly once, unless cancelled. error: 0 when a whole reply came, whatever its
	 * status, else -errno: -ENETDOWN no route, name or connection | -ETIMEDOUT | -EPROTO
	 * TLS | -EBADMSG truncated or malformed | -EFBIG | -EPERM the URL is not allowed | what a
	 * callback returned. head is NULL when none came. */
	int (*on_head)(void *arg, const struct http_head *head);
	int (*on_data)(void *arg, const void *data, size_t len);
	void (*on_done)(void *arg, int error, const struct http_head *head, const char *body,
			size_t body_len);
	void *arg;
};

/* Queues a request; all strings are copied. Never calls back from inside. 0; -EPERM scheme, host
 * or header not allowed; -ENOMEM. ret is valid until on_done returns or http_cancel(). */
must_check int http_start(struct http *http, const struct http_spec *spec,
			  struct http_request **ret);
/* No callback after this. From anywhere but the request's own on_done. */
void http_cancel(struct http_request *request);
/* Has the service perhaps got any of it? From inside on_done. */
bool http_was_sent(const struct http_request *request);

/* May this URL be requested at all? https, or http to a loopback address; no userinfo. */
bool http_is_url_allowed(const char *url);
/* Do both URLs have the same scheme, host and port? */
bool http_is_same_origin(const char *url, const char *other);

/* Requests started, by class, for tests and status. */
uint64_t http_started_n(const struct http *http, enum http_class host_class);

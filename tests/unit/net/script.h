/*
 * A scripted HTTP/1.1 server on loopback for the tests of net: one thread accepts, one thread for
 * each connection reads requests and hands them to the script, which writes whatever bytes it
 * likes. Asserts are not called from its threads: the test reads the counters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct script;
struct script_conn;

struct script_request {
	char method[16];
	char target[1024];
	char head[8192]; /* all lines, request line included */
	char *body;      /* followed by a NUL */
	size_t body_len; /* what was read of it */
	unsigned number; /* of this server, from 0 */
};

/* Answers one request; on one of the connections' threads, several at a time. */
typedef void (*script_fn)(struct script_conn *conn, const struct script_request *req, void *arg);

struct script *script_start(script_fn fn, void *arg);
/* Says how much of a body of len bytes is read before the script answers; the rest is left, and the
 * connection ends with the answer. Before the first request; the default is all of it. */
typedef size_t (*script_take_fn)(const struct script_request *req, size_t len, void *arg);
void script_set_take(struct script *s, script_take_fn take);
/* Ends held and open connections. */
void script_stop(struct script *s);

/* "http://127.0.0.1:PORT" + path, in one of a few static buffers. */
const char *script_url(const struct script *s, const char *path);
unsigned script_requests_n(const struct script *s);
unsigned script_connections_n(const struct script *s);

void script_send(struct script_conn *conn, const void *data, size_t len);
void script_printf(struct script_conn *conn, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A whole reply with Content-Length. headers: "Name: value\r\n..." or "". */
void script_reply(struct script_conn *conn, int status, const char *headers, const char *body);
/* Ends the connection after the script returns: by FIN, or by RST. */
void script_close(struct script_conn *conn);
void script_reset(struct script_conn *conn);
/* Blocks until script_release() or script_stop(); after that, returns at once. */
void script_hold(struct script_conn *conn);
void script_release(struct script *s);

/* Copies a text under one lock: a script notes what it saw, and the test reads it, with this. */
void script_copy(char *to, size_t size, const char *from);

/* The value of a header of the request, copied to ret; false when it is not there. */
bool script_header(const struct script_request *req, const char *name, char *ret, size_t size);

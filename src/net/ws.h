/*
 * A WebSocket client connection on the loop: libwebsockets as a guest of the same libuv loop.
 * Whole messages in and out. Loop thread only; callbacks are never made from inside a call.
 *
 * HTTP/1.1 only (ALPN says so: the notification service refuses an upgrade over HTTP/2), no
 * extensions, no sub-protocol, no Authorization header, no redirects. A message over
 * WS_MESSAGE_MAX or of text that is not UTF-8 ends the connection. The certificate is verified
 * against the system's CAs, or ca_file.
 */
#pragma once

#include "loop.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ws; /* the library's context; one for each loop */
struct ws_connection;

enum { WS_MESSAGE_MAX = 1024 * 1024, WS_QUEUE_MAX = 256 };
enum { WS_NO_CODE = 1005, WS_NO_FRAME = 1006 };

must_check int ws_new(struct loop *loop, const char *ca_file, struct ws **ret);
/* Connections must be closed. Turns the loop until the library is gone. NULL-safe. */
void ws_free(struct ws *ws);

struct ws_events {
	void *arg;
	void (*on_open)(void *arg);
	/* data is valid during the call. */
	void (*on_message)(void *arg, bool is_text, const char *data, size_t len);
	/* Once, unless ws_close() came first; the connection is gone afterwards. code: the HTTP
	 * status that refused the upgrade; of an open connection the code in the other side's
	 * close frame, WS_NO_CODE for a frame without, WS_NO_FRAME when it just ended or what came
	 * was no WebSocket; 0 when nothing answered. reason: for the log, no secret. */
	void (*on_closed)(void *arg, unsigned code, const char *reason);
};

/* path with its query is a secret and is copied. The attempt has the library's and, through
 * ws_close(), the caller's deadline. A host with several addresses is dialled at one of them, and
 * at the next one when nothing answered there. */
must_check int ws_connect(struct ws *ws, const char *host, uint16_t port, bool tls,
			  const char *path, const struct ws_events *events,
			  struct ws_connection **ret);
/* A text message; copied and sent in order. -EAGAIN: WS_QUEUE_MAX messages wait already. */
must_check int ws_send(struct ws_connection *c, const char *text, size_t len);
/* No callback afterwards. polite: what is queued is sent first, if the other side takes it within
 * some seconds. */
void ws_close(struct ws_connection *c, bool polite);

/*
 * Listening sockets and connections on libwebsockets' event loop. libwebsockets gives sockets, TLS
 * and timers; HTTP and WebSocket are read and written here byte by byte, because a test needs
 * replies that no proper server would send. One thread; a connection lives until its on_close.
 */
#pragma once

#include "list.h"
#include "simhttp.h"

#include <libwebsockets.h>

enum { SIMSERVE_CHUNK_BYTES = 256 << 10 }; /* read or sent at a time */

enum simserve_outage { SIMSERVE_UP, SIMSERVE_REFUSE, SIMSERVE_BLACKHOLE };

/* Who has the bytes of a connection after an upgrade. */
struct simhttp_taker {
	/* The reply was sent. */
	void (*on_start)(void *arg, struct simconn *conn);
	void (*on_bytes)(void *arg, const char *data, size_t len);
	/* The connection is gone; the last call. */
	void (*on_close)(void *arg);
};

struct simserve {
	struct lws_context *context;
	struct lws_vhost *plain, *tls; /* tls: NULL without --tls */
	struct {
		int port;
		struct lws *wsi; /* NULL while refused */
	} listeners[SIMPORT_N];
	struct list conns;
	unsigned conn_n;
	uint64_t bytes_n, stalled_n;
	enum simserve_outage outage;
	/* Shaping, for everything but the admin interface, in each direction. 0: none. */
	uint64_t latency_ms, bytes_per_s;
	struct simspool *spool; /* where the bodies of PUT requests go */
	/* The head of a request with a body is there. */
	struct simcut (*on_head)(void *arg, struct simreq *req);
	void (*on_request)(void *arg, struct simreq *req, struct simreply *reply);
	void *on_request_arg;
};

struct simserve_options {
	int first_port;                   /* 0: any; else four ports from this one */
	const char *cert_path, *key_path; /* NULL: no TLS */
};

/* Negative errno, and says on stderr what failed. */
must_check int simserve_init(struct simserve *s, const struct simserve_options *options);
void simserve_fini(struct simserve *s);
/* Runs what is due; blocks until something is. */
void simserve_step(struct simserve *s);
/* The admin interface stays. Leaving BLACKHOLE resets the connections that lost bytes. */
void simserve_set_outage(struct simserve *s, enum simserve_outage outage);

/* --- one connection, for a taker --- */
void simserve_send(struct simconn *c, const void *data, size_t len);
/* CLOSE: after what is queued was sent. RESET: at once, with a TCP reset. */
void simserve_end(struct simconn *c, enum simend how);

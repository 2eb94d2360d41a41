/*
 * One Socket.IO session over one WebSocket: from the dial to its end. Loop thread only.
 *
 * Any breach of the protocol, "44" and "41" for its namespace, Engine.IO's close, and a heartbeat
 * that is overdue end it; the owner takes a new one.
 */
#pragma once

#include "live.h"
#include "notifyurl.h"
#include "ws.h"

struct session;

struct session_events {
	void (*on_up)(void *arg, struct session *session); /* the namespace is joined */
	void (*on_notified)(void *arg, struct session *session);
	void (*on_ping)(void *arg, struct session *session);
	void (*on_late)(void *arg, struct session *session);
	/* The session is over: free it. */
	void (*on_ended)(void *arg, struct session *session, const char *reason);
};

/* where is moved in. events and options must outlive it. */
must_check int session_new(struct loop *loop, struct ws *ws, struct notifyurl *where,
			   const struct live_options *options, const struct session_events *events,
			   void *arg, struct session **ret);
/* Says goodbye first if polite. NULL-safe; may be called from inside its callbacks. */
void session_free(struct session *session, bool polite);
const char *session_host(const struct session *session);
uint64_t session_ping_ms(const struct session *session);

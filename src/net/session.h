/*
 * One Socket.IO session over one WebSocket: from the dial to its end. Loop thread only.
 *
 * Any breach of the protocol, "44" and "41" for its namespace, Engine.IO's close, and a heartbeat
 * that is overdue end it; the owner takes a new one. It speaks the Engine.IO that its address
 * asks for: with 4 the server pings; with 3 the client does, and is in "/" unasked.
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
/* Of an ended one: did the server show that it wants the other version of Engine.IO? It answered
 * the upgrade with 400, or with 101 and then ended without a packet or a close frame, as it looks
 * when it sends an HTTP answer there; or it joined us without a session id. */
bool session_eio_refused(const struct session *session);
const char *session_host(const struct session *session);
uint64_t session_ping_ms(const struct session *session);

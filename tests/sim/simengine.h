/*
 * One socket: WebSocket messages, Engine.IO 3 or 4 packets in them, Socket.IO packets in those. As
 * strict as the reference server: a breach is noted and ends the session. One thread.
 */
#pragma once

#include "simsock.h"

struct simengine;

extern const struct simhttp_taker simengine_taker;

/* For a reply that upgrades; lives until the connection is gone. */
struct simengine *simengine_new(struct simsock *k, const struct simsock_subscription *subscription,
				int version);
/* Sends the event if the session has joined and its subscription is of this drive. */
void simengine_notify(struct simengine *e, unsigned drive);
unsigned simengine_number(const struct simengine *e);
struct simengine *simengine_of(struct list *link);
void simengine_send_text(struct simengine *e, const char *text, size_t len);
void simengine_send_binary(struct simengine *e, const void *data, size_t len);
void simengine_send_raw(struct simengine *e, const void *data, size_t len);
/* A close frame with this code (0: without one), then the end of the connection. */
void simengine_close(struct simengine *e, unsigned code);
void simengine_end(struct simengine *e, enum simend how);
/* No pings, pongs or events from now on: a half-open connection. */
void simengine_silence(struct simengine *e);
bool simengine_is_silent(const struct simengine *e);
void simengine_write(struct simengine *e, struct simjson *out);

/*
 * The notification channel of a drive: one subscription after the other, and the Socket.IO
 * session in it, for as long as the owner wants it. Loop thread only; callbacks run on it.
 *
 *   endpoint -> dial -> Engine.IO open -> join the namespace -> up -> renew before the end
 *
 * A renewal has the new socket up before the old one goes, so nothing is missed; one that fails
 * leaves the old socket as it is. Any failure (refused, kicked, silent for pingInterval +
 * pingTimeout, garbage) takes a fresh endpoint, after 1 to 60 s, doubling, with jitter; only a
 * socket that stayed up for stable_ms or brought a ping resets that. An endpoint that the service
 * refused is asked for again after a minute, and slower and slower when it has none for the drive.
 * Each LIVE_UP means that what happened before it was not notified.
 *
 * Engine.IO 4 is spoken, and 3 with a server that shows that it does not know 4 (see
 * session_eio_refused()): a refused version gives way to the other in the next attempt, and no
 * other failure does. After eio4_again_ms of 3 the next attempt is one with 4; while a server has
 * only 3, that costs one attempt each time.
 *
 * Sources: Engine.IO 4 and Socket.IO 5 protocols; Graph "subscriptions: socketIo".
 */
#pragma once

#include "loop.h"
#include "mem.h"
#include "ws.h"

#include <stdbool.h>
#include <stdint.h>

struct live;

enum live_event {
	LIVE_CONNECTING,
	LIVE_UP,
	LIVE_NOTIFICATION,
	LIVE_SUSPECT,     /* a heartbeat is overdue by half of its grace */
	LIVE_DOWN,        /* tries again by itself */
	LIVE_UNSUPPORTED, /* the service has no channel for this drive; asked again slowly */
};

/* 0 in a field: the default in brackets. */
struct live_options {
	uint64_t dial_ms;                 /* until the open packet [15 s] */
	uint64_t join_ms;                 /* until the namespace is joined [15 s] */
	uint64_t backoff_min_ms;          /* [1 s] */
	uint64_t backoff_max_ms;          /* [60 s] */
	uint64_t stable_ms;               /* [30 s] */
	uint64_t renew_before_ms;         /* before the subscription's end [2 min] */
	uint64_t renew_min_ms;            /* never sooner than this after the last [60 s] */
	uint64_t lifetime_ms;             /* of a subscription that does not say [30 min] */
	uint64_t refused_ms;              /* after a refused endpoint, when unsupported
					     doubling up to an hour [60 s] */
	uint64_t eio4_again_ms;           /* [6 h] */
	unsigned eio;                     /* 3 or 4: Engine.IO of this version only [0: both] */
	const char *const *host_suffixes; /* NULL: any host */
};

struct live_events {
	void *arg;
	/* Wants the subscription's URL: answer with live_set_endpoint(), later or at once. */
	void (*get_endpoint)(void *arg);
	/* reason: for LIVE_SUSPECT, LIVE_DOWN and LIVE_UNSUPPORTED; no secret. */
	void (*on_event)(void *arg, enum live_event event, const char *reason);
};

must_check int live_new(struct loop *loop, struct ws *ws, const struct live_options *options,
			const struct live_events *events, struct live **ret);
void live_free(struct live *live);
void live_start(struct live *live);

/* The answer to get_endpoint. error 0: url (a secret, copied) and its end on the wall clock in
 * nanoseconds (INT64_MIN: unknown). unsupported: the service said that there is no channel. */
void live_set_endpoint(struct live *live, int error, bool unsupported, const char *reason,
		       const char *url, int64_t expires_ns);
/* The machine slept or the network changed: a socket that looks alive may not be, and is
 * replaced at once. */
void live_kick(struct live *live);

/* For status; wall clock in seconds, 0: never. */
bool live_is_up(const struct live *live);
const char *live_host(const struct live *live); /* "" when never connected */
int64_t live_connected_since_s(const struct live *live);
int64_t live_last_notification_s(const struct live *live);

/*
 * What the service says about how often it wants to be asked: when the next request may be sent.
 * Pure state machine: heads of replies and the time go in. One thread.
 *
 * Retry-After (seconds, or an HTTP date) on any refusal stops every request; without one, a reply
 * that says "too many" stops them for a time that doubles while it is repeated. RateLimit-Remaining
 * is advice: when little is left, background work waits for RateLimit-Reset, people do not.
 *
 * Source: learn.microsoft.com "Avoid getting throttled or blocked in SharePoint Online"; RFC 9110
 * 10.2.3; draft-ietf-httpapi-ratelimit-headers-03.
 */
#pragma once

#include "http.h"

#include <stdint.h>

/* Zeroed storage is ready. Times: milliseconds of the caller's monotonic clock. */
struct throttle {
	uint64_t gate_ms;   /* nothing is sent before */
	uint64_t advice_ms; /* no background work is sent before */
	unsigned vague_n;   /* refusals in a row that did not say how long */
};

/* A reply came. real_s: the wall clock, for dates. Gives how long the service wants to be left
 * alone, in ms; 0: it did not say. */
uint64_t throttle_note(struct throttle *t, const struct http_head *head, uint64_t now_ms,
		       int64_t real_s);
/* When a request of this priority may be sent; in the past: at once. */
uint64_t throttle_until_ms(const struct throttle *t, enum http_priority priority);

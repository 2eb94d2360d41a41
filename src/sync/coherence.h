/*
 * How far what the kernel caches may be believed. Pure state machine: events and the time go in,
 * the state and what to do come out; no I/O and no timers of its own (the owner runs delta when
 * coherence_poll_at_ms() says so). Loop thread; coherence_lease_ms() any thread.
 *
 *   LIVE     a delta that began after the channel's (re)connection is applied: long leases
 *   SUSPECT  the channel is late, delta fails, or the clock jumped: short leases, delta at once;
 *            with the channel up, a delta that began since then brings LIVE back
 *   GAP      the channel is gone, or delta keeps failing: what was handed out with long leases is
 *            revoked once (epoch or a walk), delta is polled adaptively, leases are short
 *   OFFLINE  the service cannot be reached: the cache is served with long leases; on return
 *            through GAP
 *
 * A drive without a channel lives in GAP's polling with leases of the poll interval and is
 * reported as "polling".
 *
 * Model: AFS callbacks (fs/afs/validation.c): a notification is a promise with a lease, and
 * correctness comes from delta after any gap.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum coherence_state { COHERENCE_GAP, COHERENCE_LIVE, COHERENCE_SUSPECT, COHERENCE_OFFLINE };

/* What the channel is doing. */
enum coherence_channel {
	COHERENCE_NO_CHANNEL, /* never was, or cannot be had for this drive */
	COHERENCE_UP,
	COHERENCE_LATE, /* a heartbeat is overdue */
	COHERENCE_DOWN,
};

/* All times in milliseconds of the caller's monotonic clock. */
struct coherence_options {
	uint64_t lease_ms; /* LIVE and OFFLINE */
	uint64_t lease_suspect_ms;
	uint64_t poll_min_ms, poll_max_ms; /* without a channel */
	uint64_t safety_ms;                /* while LIVE */
	uint64_t retry_ms;                 /* after a failed delta, doubling to poll_max_ms */
	uint64_t probe_max_ms;             /* the same while OFFLINE: a probe is cheap */
};
extern const struct coherence_options coherence_defaults;

struct coherence {
	struct coherence_options options;
	enum coherence_state state;
	enum coherence_channel channel;
	uint64_t trusted_ms; /* a delta that began after this one must be applied to be LIVE */
	uint64_t poll_at_ms, poll_ms, retry_ms;
	unsigned failures_n; /* of delta in a row */
	bool wants_revoke;
	bool was_believed; /* long leases were handed out since the last revocation */
	_Atomic uint64_t lease_now_ms;
	char channel_reason[200]; /* why the channel cannot be relied on */
	char delta_reason[200];   /* why the last delta failed; "" when it did not */
};

void coherence_init(struct coherence *c, const struct coherence_options *options, uint64_t now_ms);

/* Events. After each: coherence_take_revoke(), and a delta is due when now >= poll_at_ms. */
void coherence_on_channel(struct coherence *c, enum coherence_channel channel, const char *reason,
			  uint64_t now_ms);
/* A delta that began at began_ms is applied; changed: it brought something. */
void coherence_on_delta(struct coherence *c, uint64_t began_ms, bool changed, uint64_t now_ms);
void coherence_on_delta_failed(struct coherence *c, bool offline, const char *reason,
			       uint64_t now_ms);
/* The machine slept, or the clock jumped. */
void coherence_on_jump(struct coherence *c, uint64_t now_ms);

/* Everything that was handed out with a long lease may be stale: true once for each gap. */
bool coherence_take_revoke(struct coherence *c);
/* When the next delta is due by the clock alone. */
uint64_t coherence_poll_at_ms(const struct coherence *c);
/* What replies to the kernel carry; any thread. */
uint64_t coherence_lease_ms(const struct coherence *c);
/* "live", "polling" or "offline", as graphfs status has it. */
const char *coherence_word(const struct coherence *c);
/* Why it is not LIVE, "" when it is. Borrowed, valid until the next event. */
const char *coherence_reason(const struct coherence *c);

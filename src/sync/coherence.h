/*
 * How far what the kernel caches may be believed. Pure state machine: events and the time go in,
 * the state and what to do come out; no I/O, no timers of its own (the owner calls
 * coherence_tick() when coherence_next_ms() says so). Loop thread; coherence_lease_ms() any thread.
 *
 *   LIVE     a delta that began after the channel's (re)connection is applied: long leases
 *   SUSPECT  the channel is late, delta fails, or the clock jumped: short leases, delta at once;
 *            an empty delta says that nothing was missed, and LIVE is back
 *   GAP      the channel is gone: what was handed out with long leases is revoked once (epoch or
 *            a walk), delta is polled adaptively, leases are short
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

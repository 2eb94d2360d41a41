/*
 * How fast a host's connections are, from the requests themselves, and from that how much to ask
 * for at once and how far ahead: a request should take so much longer than the wait for its first
 * byte that the wait hardly counts, but not so long that a connection is never free. Plain data,
 * loop thread; the results may be read by any.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

enum {
	PACE_CONNECTIONS = 8, /* used side by side for what is read ahead */
	PACE_SEGMENT_MIN = 1 << 20,
	PACE_SEGMENT_MAX = 16 << 20,
};

struct pace {
	uint64_t first_us;            /* to the first byte, smoothed; 0: unknown */
	uint64_t bytes_s;             /* of one connection, smoothed; 0: unknown */
	atomic_uint_fast64_t segment; /* bytes for one request */
};

void pace_init(struct pace *pace);
/* The first byte of a reply came so long after the request. */
void pace_note_first(struct pace *pace, uint64_t us);
/* So many bytes came in the time from the first to the last. Few bytes say nothing. */
void pace_note_bytes(struct pace *pace, uint64_t bytes, uint64_t us);
/* Any thread. */
uint64_t pace_segment(const struct pace *pace);
uint64_t pace_window(const struct pace *pace);

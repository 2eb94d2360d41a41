/*
 * A rate in bytes that several transfers share: each asks before it begins when it may. Pure state
 * machine, the time goes in. One thread. Zeroed storage has no limit.
 */
#pragma once

#include <stdint.h>

struct limit {
	uint64_t bytes_s; /* 0: none; may be changed at any time */
	uint64_t free_ms; /* until then the line is spoken for */
};

/* How long to wait before len bytes are sent; they are counted from then on. What was not used in
 * the past is not made up for. */
uint64_t limit_take(struct limit *limit, uint64_t len, uint64_t now_ms);

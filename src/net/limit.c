#include "limit.h"

uint64_t limit_take(struct limit *limit, uint64_t len, uint64_t now_ms)
{
	uint64_t begin_ms = limit->free_ms > now_ms ? limit->free_ms : now_ms;

	if (limit->bytes_s == 0) {
		limit->free_ms = 0;
		return 0;
	}
	limit->free_ms = begin_ms + len * 1000 / limit->bytes_s;
	return begin_ms - now_ms;
}

/*
 * How a reader goes through a file, from the offsets of its reads alone: in sequence (up to four
 * places at once, as players and parallel copies in one handle do), in equal strides, or anywhere.
 * From this follows what it will want next. Plain data without a lock: the owner guards it.
 *
 *  - The window is a multiple of what was read in a row, so what is fetched in vain stays in
 *    proportion to what was used.
 *  - The kernel's own read-ahead arrives out of order, up to 256 KiB back and 512 KiB forward: no
 *    seek. A reader with a window may also jump within it.
 *  - A read elsewhere is a seek: what was to be fetched for the other places is wanted no more
 *    until they are read again.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
	PATTERN_TRAILS = 4,
	PATTERN_STEPS = 8, /* strides that are looked ahead, at most */
	PATTERN_WINDOW_MIN = 1 << 20,
	PATTERN_GROWTH = 4, /* window: so many times what was read in a row */
};

struct pattern_trail {
	uint64_t end;   /* of its furthest read */
	uint64_t run;   /* bytes read in a row */
	uint64_t ahead; /* what is wanted ends there; not above end: nothing */
	uint64_t told;  /* ahead at the last news */
	uint64_t used;  /* turn of its last read */
	bool is_used;
};

struct pattern {
	struct pattern_trail trails[PATTERN_TRAILS];
	uint64_t turn;
	uint64_t off, len; /* of the last read */
	int64_t stride;
	unsigned strides_n; /* how often it was the same again */
};

/*
 * A read from off to end, above off. window_max bounds what is looked ahead, in bytes; 0: nothing.
 * ret_ahead: how far beyond end this reader will want bytes; end when nowhere. True: what is
 * wanted has grown by so much since the last true that it is worth a look.
 */
bool pattern_note(struct pattern *p, uint64_t off, uint64_t end, uint64_t window_max,
		  uint64_t *ret_ahead);
/* The range number i that a reader in strides will read; false: none, or beyond size. */
bool pattern_get_stride(const struct pattern *p, unsigned i, uint64_t size, uint64_t *ret_off,
			uint64_t *ret_end);
/* Will anything from off to end be wanted? What the reader has just passed counts too: its
 * requests may come out of order. */
bool pattern_wants(const struct pattern *p, uint64_t off, uint64_t end);
/* Forgets what is wanted, not what was seen. */
void pattern_stop(struct pattern *p);

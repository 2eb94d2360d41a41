/*
 * A set of byte ranges: sorted, apart from each other, merged where they touch. No locks: guarded
 * by its owner.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draft_range {
	uint64_t off, end;
};

struct draft_ranges {
	struct draft_range *v;
	size_t n, cap;
};

void draft_ranges_fini(struct draft_ranges *r);
/* Makes room for one more, so that the next draft_ranges_add() of this range cannot fail.
 * -ENOBUFS: it would be more than max_n; -ENOMEM. */
must_check int draft_ranges_reserve(struct draft_ranges *r, uint64_t off, uint64_t end,
				    size_t max_n);
/* Room must have been made. An empty range is nothing. */
void draft_ranges_add(struct draft_ranges *r, uint64_t off, uint64_t end);
/* Nothing at or after end remains. */
void draft_ranges_cut(struct draft_ranges *r, uint64_t end);
/* Index of the first range that ends after off; n when there is none. */
size_t draft_ranges_find(const struct draft_ranges *r, uint64_t off);
/* The first gap between from and end; false: there is none. */
bool draft_ranges_gap(const struct draft_ranges *r, uint64_t from, uint64_t end,
		      struct draft_range *ret);

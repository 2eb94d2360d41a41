/*
 * A look at whether the tree still is what the service has: a complete enumeration, page by page,
 * against the rows. What no page brought is suspected to be gone, and what was missed otherwise is
 * brought in, as by a listing. Nothing is deleted before the caller made sure, because an
 * enumeration can be wrong. Store lane only.
 *
 * Rows that changed since the beginning are left alone: what is known about them is younger.
 * Of an id that a page brought only a hash is kept, 8 bytes; two ids with one hash would hide a
 * suspect from this look, not delete anything.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct change_set; /* change.h */
struct check;
struct item_page; /* wire/item.h */
struct tree;

enum { CHECK_SUSPECTS_MAX = 256 };

must_check int check_new(struct tree *tree, struct check **ret);
/* NULL-safe. */
void check_free(struct check *check);

/* A page of the enumeration; changes as in tree.h. -E2BIG: more items than can be looked at. */
must_check int check_page(struct check *check, const struct item_page *page,
			  struct change_set **ret_changes);
/* After the last page: looks at some of the rows, going on where it ended. 1: there are more | 0:
 * all were seen, or there are CHECK_SUSPECTS_MAX suspects, and the rest comes after check_delete().
 */
must_check int check_scan(struct check *check);
/* The suspects: of what is missing, the items whose folder is not. Borrowed. */
char *const *check_suspects(const struct check *check, size_t *ret_n);
/* The service was asked for this suspect, and has it. */
void check_acquit(struct check *check, size_t i);
/* Deletes the suspects that are left, with all that is below them, and has none afterwards. ret_n:
 * how many were deleted. */
must_check int check_delete(struct check *check, size_t *ret_n, struct change_set **ret_changes);

/*
 * Rows of the tree, in memory: of files that were opened not long ago, so that opening them again
 * needs no look at the database. None of them is ever behind the tree: a row counts only while
 * nothing was committed since it was read (tree_commits_n()). Bounded in bytes, the one that was
 * not asked for longest goes first. Any thread.
 */
#pragma once

#include "mem.h"
#include "tree.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct rows;

enum { ROWS_BYTES_MAX = 8 << 20 };

/* Counted; constant but for used. */
struct row {
	struct tree_meta meta;     /* without name and web_url */
	atomic_uint_fast64_t used; /* of cache_pin() */
};

must_check int rows_new(struct tree *tree, struct rows **ret);
/* Rows that are still referred to stay. NULL-safe. */
void rows_free(struct rows *rows);

/* What the tree has at a moment during the call. -ENOENT and others as tree_get_meta(). */
must_check int rows_get(struct rows *rows, uint64_t ino, struct row **ret);
/* The caller has found that the tree shows this row (it waits for no folder): it may be kept. */
void rows_keep(struct rows *rows, struct row *row);
/* True: it is kept, and the tree has committed nothing since it was read. */
bool rows_is_current(const struct rows *rows, const struct row *row);
void rows_unref(struct row *row);

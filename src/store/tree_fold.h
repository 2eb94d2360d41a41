/*
 * Names that differ in case only, which the service takes for one: private to src/store/tree*.c.
 * Store lane only.
 *
 * The database compares bytes, as look-up does. So the folded names of the few directories in which
 * names were asked for last are kept in memory, as hashes: what is found there is looked for in the
 * rows, what is not is in no row. A directory of 100,000 entries takes 2 MiB, and is read once.
 */
#pragma once

#include "tree_row.h"

struct tree_fold;

/* 1: a row in dir other than but_ino has this name or one that differs in case. */
must_check int tree_fold_is_taken(struct tree *tree, uint64_t dir, const char *name,
				  uint64_t but_ino);
/* A row of dir has this name from now on. */
void tree_fold_note(struct tree *tree, int64_t dir, const char *name);
void tree_fold_free(struct tree *tree);

/*
 * What a kernel sees of a tree, as a list of entries, and what becomes of it when the changes of a
 * commit are told one after the other: each must be possible at its moment. One thread; a breach
 * fails the test that runs.
 */
#pragma once

#include "change.h"
#include "tree.h"

enum { VIEW_MAX = 256 };

struct entry {
	struct tree_attr attr;
	char name[256];
};

struct view {
	size_t n;
	struct entry v[VIEW_MAX];
};

/* All that can be reached from the root, which comes first. */
void view_take(struct tree *tree, struct view *ret);
struct entry *view_find(struct view *view, uint64_t ino);
/* set may be NULL: no change. */
void view_replay(struct view *view, const struct change_set *set);
/* After the replay the old view is the new one. may_discover: entries that nobody told of may be
 * there too. */
void view_check(struct view *replayed, struct view *now, bool may_discover);
void view_print(const struct view *view);

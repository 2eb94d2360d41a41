/*
 * What delta tells of a world, in any way that the service may choose, and a tree that takes it.
 * One thread; a breach fails the test that runs.
 */
#pragma once

#include "change.h"
#include "tree.h"
#include "view.h"
#include "world.h"

struct feed {
	struct tree *tree;
	struct world *w;
	struct view before, now;
	/* NULL, or called between the pages of a run. */
	void (*between)(void *arg);
	void *arg;
};

/* The view before is to be the tree, once these changes have been replayed into it. */
void feed_tell(struct feed *f, struct change_set *set, bool may_discover);
/* A run from the world's tick token on is gathered and applied. Gives the tick it went up to. */
uint64_t feed_apply(struct feed *f, uint64_t token, bool full);
/* What the tree has is what the world has. */
void feed_check_equal(struct feed *f);

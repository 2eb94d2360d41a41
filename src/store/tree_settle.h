/*
 * What the service says of an item, where something of it is pending (tree_local.h): private to
 * src/store/tree*.c. Store lane only, inside a transaction.
 */
#pragma once

#include "tree_row.h"

struct tree_settled {
	bool is_done; /* nothing is left to be done with the item */
	bool is_new;  /* the row is not the item's any more: insert one */
	bool is_news; /* the kernel does not know that the item is there */
	bool keeps_place, keeps_content, keeps_time; /* these are ours */
};

/*
 * Before an item is placed at parent under the shown name wanted. row: of its id, NULL for none.
 * May make the row a new item of ours under another name, because both sides changed its content;
 * may give the item's id to a row of ours that is the same thing; may rename a row of ours that has
 * the name.
 */
must_check int tree_settle_item(struct tree *tree, struct tree_row *row, const struct item *item,
				int64_t parent, const char *wanted, struct tree_settled *ret);
/* 1: the row of this id is where it is by our will: it does not go where the service says, and
 * gives its name up if another must have it (tree_settle_item()). */
must_check int tree_settle_has_place(struct tree *tree, const char *id);
/* A name for the one of two files that has to give its own up, from the row's name. -EEXIST when
 * all are taken. */
must_check int tree_settle_conflict_name(struct tree *tree, int64_t parent,
					 const struct tree_row *row, char ret[NAMES_MAX_BYTES + 1]);
/*
 * Before a row is deleted with what is below it: what has unsent content becomes new, with the
 * folders that it is in; so do the folders of what is below it here, but not at the service
 * (tree_settle_is_elsewhere(); that itself is not deleted). 1: there is such, 0: nothing.
 */
must_check int tree_settle_rescue(struct tree *tree, const struct tree_row *top);
must_check int tree_settle_is_elsewhere(struct tree *tree, uint64_t ino);
/* The row is to be deleted, but somebody wants its name before: it gets another, which it can keep
 * should it be rescued. */
must_check int tree_settle_aside(struct tree *tree, struct tree_row *row);
/* The folder that this row waited for is gone. Has the row become new, it comes into the root. */
must_check int tree_settle_orphan(struct tree *tree, uint64_t ino);
/* The folder row is to go into dir, which is below it. 0: not any more, because what was there by
 * our will gave way; 1: it still is. */
must_check int tree_settle_ring(struct tree *tree, struct tree_row *row, int64_t dir);
/* ino could not be sent, because this item has its name: it is the item, or gives up its name. */
must_check int tree_settle_taken(struct tree *tree, uint64_t ino, const struct item *item);
/* The service says that an id is gone that has no row. */
must_check int tree_settle_gone(struct tree *tree, const char *id);

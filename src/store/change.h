/*
 * What one commit to the tree changed, for those who must tell the kernel.
 *
 * A change set is a sequence: applied one after the other to the tree as it was before the
 * commit, the changes give the tree as it is after it, and every step in between is a valid tree
 * (no name is taken twice, no parent is missing; a cycle of names goes through a temporary name).
 * Paths are those of that moment in the sequence, which is what the kernel's dentries say when
 * the earlier changes have been replayed into it.
 *
 * Discoveries (items that a listing or the crawl made known, but that were there before) are not
 * changes: the kernel cannot hold anything about them that is wrong. A change may lead into a
 * folder that the same commit discovered.
 */
#pragma once

#include "tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum change_kind {
	CHANGE_CREATE,  /* a new entry: parent, name */
	CHANGE_DELETE,  /* an entry is gone: parent, name; a folder's known children come first */
	CHANGE_MOVE,    /* parent, name -> to_parent, to_name; same inode */
	CHANGE_CONTENT, /* a file has a new content id */
	CHANGE_ATTR,    /* times or flags, not content */
};

struct change {
	enum change_kind kind;
	uint64_t parent;       /* directory of the entry */
	char *name;            /* its name there */
	char *dir_path;        /* path of parent from the mount's root, "" for the root, no slash at
				* either end; NULL when nothing is to be replayed: the kernel holds
				* none of the directories concerned, or no event is due */
	uint64_t to_parent;    /* MOVE only */
	char *to_name;         /* MOVE only */
	char *to_dir_path;     /* MOVE only; NULL as dir_path */
	uint64_t old_ino;      /* CONTENT: the inode that open files go on using, else equal to
				* attr.ino */
	struct tree_attr attr; /* after the change; for DELETE as it was before */
};

struct change_set {
	uint64_t seq; /* the tree's counter after this commit */
	bool bulk;    /* too many to tell one by one (CHANGE_SET_MAX): v is empty, everything the
		       * kernel holds may be stale */
	size_t n;
	struct change *v;
};

/* Beyond this a commit is told as bulk: one invalidation of all is then cheaper than telling. */
enum { CHANGE_SET_MAX = 4096 };

/* Moves all changes of more (which may be NULL) to the end of *set (NULL: empty). On failure the
 * set says "bulk", which is always true. Any thread. */
void change_set_append(struct change_set **set, struct change_set *more);
/* Frees the set and its strings; NULL-safe. Any thread. */
void change_set_free(struct change_set *set);

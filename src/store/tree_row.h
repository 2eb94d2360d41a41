/*
 * Rows and the writer's statements: private to src/store/tree*.c. Store lane only, inside a
 * transaction, unless said otherwise.
 */
#pragma once

#include "change.h"
#include "db.h"
#include "dbpool.h"
#include "item.h"
#include "names.h"
#include "tree.h"

#include <stdatomic.h>

/* Parent of a row whose parent the tree does not know (yet); such a row is in no directory. */
enum { TREE_ORPHAN = -1 };

/* Why an inode is left alone by merges: what is younger than the note stays. */
struct tree_row {
	struct tree_attr attr;
	int64_t parent; /* TREE_ORPHAN, or attr.parent */
	int64_t service_mtime_ns;
	char *id, *pid, *name, *etag, *ctag, *web_url;
	uint8_t hash[20];
	bool has_hash, malware, package;
};
void tree_row_fini(struct tree_row *row);

enum {
	W_GET,
	W_NEXT,
	W_PLACE,
	W_BY_ID,
	W_DIR_BY_ID,
	W_ID_BY_NAME,
	W_BY_NAME,
	W_INSERT,
	W_UPDATE,
	W_UPDATE_FACTS,
	W_DELETE,
	W_BUMP_DIR,
	W_NEXT_CHILD,
	W_ORPHANS,
	W_KV_SET,
	W_KV_DELETE,
	W_TOMB_SET,
	W_TOMB_GET,
	W_TOMB_ANY,
	W_TOMB_DELETE,
	W_TOMB_PRUNE,
	W_SET_COMPLETE,
	W_ALL_COMPLETE,
	W_STAGE_PUT,
	W_STAGE_NEXT,
	W_STAGE_AGAIN,
	W_STAGE_GET,
	W_STAGE_STATE,
	W_STAGE_GET_STATE,
	W_STAGE_DEAD,
	W_STAGE_UNSEEN,
	W_STAGE_YOUNG,
	W_FORGET_COMPLETE,
	W_FORGET_ALL,
	W_TOUCH_DIR,
	W_NAMES,
	W_PENDING_GET,
	W_PENDING_BY_ID,
	W_PENDING_NEXT,
	W_PENDING_IS,
	W_PENDING_PUT,
	W_PENDING_DROP,
	W_PENDING_PLACE,
	W_PENDING_CHILD,
	W_PENDING_RENUMBER,
	W_FRESH_PUT,
	W_FRESH_IS,
	W_FRESH_ASK,
	W_FRESH_DONE,
	W_ASKED_PUT,
	W_ASKED_DROP,
	W_ASKED_NEXT,
	W_ASKED_AFTER,
	W_N,
};

/* FNV-1a of an item id, the key of its index. */
static inline int64_t tree_id_hash(const char *id)
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *id; id++)
		h = (h ^ (unsigned char)*id) * UINT64_C(1099511628211);
	return (int64_t)h;
}

struct tree {
	int dir_fd;
	char *path; /* below dir_fd, by way of /proc */
	bool is_open;
	bool is_marked; /* KV_IN_USE is there; store lane */
	sqlite3 *db;    /* the writer's; store lane */
	sqlite3_stmt *w[W_N];
	struct tree_guard guard; /* const after tree_set_guard() */
	uint64_t next_cid;       /* store lane */
	uint64_t next_ino;       /* store lane */
	bool has_tombs;          /* false: certainly none; store lane */
	atomic_uint_fast64_t seq;
	atomic_uint_fast64_t commits_n; /* begun and ended; odd while one is under way */
	atomic_uint_fast64_t items_n;   /* as committed, the root included */
	uint64_t items_now;             /* in the transaction that runs; store lane */
	atomic_uint_fast64_t pending_n; /* as committed */
	uint64_t pending_now;           /* in the transaction that runs; store lane */
	atomic_bool gives_up;
	struct change_set *changes; /* of the transaction that runs; store lane */
	bool changed;               /* this transaction moved the counter */
	bool is_staging;            /* since tree_stage_begin(); store lane */
	bool has_fresh;             /* tree_stage_note_fresh() since then; store lane */
	uint64_t stage_seq;         /* counter at tree_stage_begin() */
	uint64_t unseen_after;      /* inode up to which tree_stage_unseen() has looked */
	uint64_t unseen_n;          /* and what it found; store lane */
	uint64_t full_seq;          /* counter after the last complete enumeration; store lane */

	bool is_synced_odd;     /* store lane */
	struct tree_fold *fold; /* store lane; NULL: nobody asked yet */

	struct dbpool readers;
	bool has_readers; /* constant once it is open */
};

/* Before the first write: notes that a process uses the tree. Outside of a transaction. */
must_check int tree_mark(struct tree *tree);

/* --- tree_row.c --- */

/* 1 found, 0 not, < 0 error. The caller finishes the row. */
must_check int tree_row_get(struct tree *tree, uint64_t ino, struct tree_row *ret);
/* The row with the next inode number above after. */
must_check int tree_row_next(struct tree *tree, uint64_t after, struct tree_row *ret);
must_check int tree_row_by_id(struct tree *tree, const char *id, struct tree_row *ret);
must_check int tree_row_by_name(struct tree *tree, int64_t parent, const char *name,
				struct tree_row *ret);
/* What is needed of an item's folder. */
struct tree_dir {
	int64_t ino;
	bool is_dir, complete;
};
must_check int tree_row_find_dir(struct tree *tree, const char *id, struct tree_dir *ret);
/* 1: a row other than that of this id has the name in parent. */
must_check int tree_row_is_taken(struct tree *tree, int64_t parent, const char *id,
				 const char *name);
/* Inserts (attr.ino is set) or updates all columns. */
must_check int tree_row_insert(struct tree *tree, struct tree_row *row);
/* The same under attr.ino, which was a row's once and is none's now. */
must_check int tree_row_restore(struct tree *tree, struct tree_row *row);
must_check int tree_row_update(struct tree *tree, const struct tree_row *row);
/* The same, but for its id, parent and name, which are as they were. */
must_check int tree_row_update_facts(struct tree *tree, const struct tree_row *row);
/* The same for what was changed here: the row does not count as one that the service told of since.
 */
must_check int tree_row_update_here(struct tree *tree, const struct tree_row *row);
must_check int tree_row_update_facts_here(struct tree *tree, const struct tree_row *row);
must_check int tree_row_delete(struct tree *tree, uint64_t ino);
/* Gives the row a new inode number; row->attr.ino is the new one afterwards. */
must_check int tree_row_renumber(struct tree *tree, struct tree_row *row);
/* A directory's content changed: its mtime rises. */
must_check int tree_row_bump(struct tree *tree, int64_t dir);
/* A row from an item; everything but ino, parent and name. */
must_check int tree_row_from_item(struct tree *tree, const struct item *item, struct tree_row *ret);

must_check int tree_begin(struct tree *tree);
/* Commits, or rolls back when r < 0; gives what is to be told. */
must_check int tree_end(struct tree *tree, int r, struct change_set **ret_changes);

/* Adds a change, if the kernel may hold something about it. Names and paths are copied. */
must_check int tree_note_change(struct tree *tree, const struct change *change);
/* Where a row is: 1 found, 0 not. */
must_check int tree_row_parent(struct tree *tree, uint64_t ino, int64_t *ret);
/* The child of dir with the next inode number above after, 0 for none. */
must_check int tree_row_next_child(struct tree *tree, uint64_t dir, uint64_t after, uint64_t *ret);
/* 1: dir is the root or below it; 0: it, or a folder above it, waits for its parent. */
must_check int tree_row_in_sight(struct tree *tree, int64_t dir);
/* The path of a directory as of now inside the transaction; NULL when it is out of sight or longer
 * than a path may be. */
must_check int tree_row_path(struct tree *tree, int64_t dir, char **ret);
bool tree_dir_known(struct tree *tree, int64_t dir);

/* --- tree_stage.c --- */

enum { STAGE_F_DELETED = 1, STAGE_F_ROOT = 2, STAGE_F_MALWARE = 4, STAGE_F_UNSEEN = 8 };
_Static_assert((STAGE_F_DELETED | STAGE_F_UNSEEN) == 9, "the statements of tree.c say 9");
enum stage_state { STAGE_TODO, STAGE_DOING, STAGE_DONE, STAGE_PUT_OFF, STAGE_NOT_STAGED };

must_check int tree_stage_set_state(struct tree *tree, const char *id, enum stage_state state);
/* The service told of this item otherwise: what a run has of it, which is being gathered, may be
 * older. */
must_check int tree_stage_note_fresh(struct tree *tree, const char *id);
/* Such items are asked for instead; of a complete enumeration those that it did not bring, too. */
must_check int tree_stage_skip_fresh(struct tree *tree, bool full);
/* What a complete enumeration did not bring is staged as deleted. */
must_check int tree_stage_end_full(struct tree *tree);

/* --- tree_apply.c --- */

/* The service does not have this id any more, whether it has a row or not. */
must_check int tree_apply_deletion(struct tree *tree, const char *id);

/* --- tree_merge.c --- */

/* Items of a page that was asked for after note, but for those it is behind of. dir_id: the folder
 * of those that do not say theirs; may be NULL. */
must_check int tree_merge_items(struct tree *tree, const struct item *items, size_t n,
				uint64_t note, char *dir_id);

/* --- tree_place.c --- */

/* Brings an item's latest state into the tree: insert, move, update. is_news: the kernel must hear
 * of it (delta); otherwise an insert is a discovery. Needs its parent to be there already, else
 * the row becomes an orphan. */
must_check int tree_place_item(struct tree *tree, const struct item *item, bool is_news);
/* The same for the row of the item's id; NULL when it has none. */
must_check int tree_place_row(struct tree *tree, struct tree_row *row, const struct item *item,
			      bool is_news);
/* The same, told as news, if that moves nothing, removes nothing, takes no name that another has,
 * and changes a folder below the root at most by an insert, if that is allowed. 1: done, 0: not. */
must_check int tree_place_easily(struct tree *tree, const struct item *item, bool may_insert);
/* Removes a row with all that is below it, children first, but for what has changes of here that
 * the service does not have: that is new then, with the folders it is in. */
must_check int tree_place_delete(struct tree *tree, const struct tree_row *row);
/* The deletion of an id that has no row: what waited for it goes, and it is remembered, because a
 * page on its way may still bring it. */
must_check int tree_place_bury(struct tree *tree, const char *id);
/* It lives again. */
must_check int tree_place_unbury(struct tree *tree, const char *id);
/* 1: it was deleted, and not heard of since. ret_seq: the tree's counter then. */
must_check int tree_place_is_buried(struct tree *tree, const char *id, uint64_t *ret_seq);
/* Gives a row another place, where nobody has the name; out of sight in TREE_ORPHAN, where it waits
 * for the folder pid. */
must_check int tree_place_move(struct tree *tree, struct tree_row *row, int64_t parent,
			       const char *pid, const char *name);
must_check int tree_place_rename(struct tree *tree, struct tree_row *row, const char *name);
/* What waited for this folder comes into it. */
must_check int tree_place_adopt(struct tree *tree, const struct tree_row *dir);
/* Moves a row to a name nobody has, to free its own. */
must_check int tree_place_aside(struct tree *tree, struct tree_row *row);
/* 1: dir is the row ino, or below it. */
must_check int tree_place_is_below(struct tree *tree, int64_t dir, uint64_t ino);
/* Root's facts. */
must_check int tree_place_root(struct tree *tree, const struct item *item);

/*
 * The table of what the service does not have yet (tree_local.h), row by row: private to
 * src/store/tree*.c. Store lane only, inside a transaction.
 */
#pragma once

#include "tree_local.h"
#include "tree_row.h"

/* A row of it. "Base" is what the service had when the two last agreed; of an item that has a row
 * of its own, tags, hash and time of the base stand there. */
struct tree_pending {
	uint64_t ino;  /* of the item, or the one that it had */
	unsigned what; /* enum tree_local_what */
	char *id;      /* LOCAL_DELETE: the service's; else NULL */
	/* LOCAL_PLACE, LOCAL_DELETE: where the service has it; the name as shown */
	char *base_pid, *base_name;
	/* LOCAL_CONTENT: what the content was written over; LOCAL_DELETE: what is deleted, of which
	 * a folder has no content id */
	uint64_t base_cid, base_size;
	char *etag, *ctag; /* LOCAL_DELETE */
	uint8_t hash[20];  /* LOCAL_DELETE: of the base; else of what was sent last */
	bool has_hash;
	bool is_written; /* written to since that was sent */
	int error;       /* -errno why it is not sent, 0 */
	char *reason;    /* in words; NULL */
	char *session;   /* URL of an upload under way, a secret; NULL */
	uint64_t session_cid;
};

void tree_pending_fini(struct tree_pending *p);

/* 1 found, 0 not, < 0 error. The caller finishes it. */
must_check int tree_pending_get(struct tree *tree, uint64_t ino, struct tree_pending *ret);
/* A deletion by the item's id. */
must_check int tree_pending_find(struct tree *tree, const char *id, struct tree_pending *ret);
/* The row with the next inode number above after. */
must_check int tree_pending_next(struct tree *tree, uint64_t after, struct tree_pending *ret);
/* Adds or replaces; a row that is for nothing is removed. */
must_check int tree_pending_put(struct tree *tree, const struct tree_pending *p);
must_check int tree_pending_drop(struct tree *tree, uint64_t ino);
/* 1: there is such a row; such a deletion of the item of this id. */
must_check int tree_pending_is(struct tree *tree, uint64_t ino);
must_check int tree_pending_is_deletion(struct tree *tree, const char *id);
/* 1: another row still has this place at the service. */
must_check int tree_pending_has_place(struct tree *tree, uint64_t but_ino, const char *pid,
				      const char *name);
/* 1: something at the service is still in the folder of this id, but not here. */
must_check int tree_pending_has_children(struct tree *tree, const char *id);

/* 1: at the service, as far as the tree knows, the item id is top or below it. */
must_check int tree_pending_is_below(struct tree *tree, const char *id, const char *top);

/* The service spoke of this item while what has this inode and id is being sent: it is to be asked
 * for afterwards. */
must_check int tree_pending_ask(struct tree *tree, uint64_t by_ino, const char *by_id,
				const char *id);
/* The item could not have its name, because that has it which is there. Is that to be asked for,
 * this is, too, and afterwards. */
must_check int tree_pending_ask_after(struct tree *tree, int64_t parent, const char *name,
				      const char *id);
must_check int tree_pending_answered(struct tree *tree, const char *id);

/* What the service is to call the row; the caller frees it. */
must_check int tree_pending_name(const struct tree_row *row, char **ret, size_t *ret_len);

/* --- rows that are new for the service --- */

/* Gives the row an id of our own; it is not written. */
must_check int tree_local_make_id(struct tree_row *row);
/* The row becomes a new item; p: what was pending of it. */
must_check int tree_local_make_new(struct tree *tree, struct tree_row *row, struct tree_pending *p);

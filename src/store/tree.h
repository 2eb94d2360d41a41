/*
 * The drive as rows of SQLite: the only tree there is. The inode number is the row id, never
 * reused, so that it survives a remount; the root is inode 1.
 *
 * Reads may be made from any thread (one connection for each reading thread, WAL snapshots).
 * Writes are made on the store lane only (one at a time); each is one transaction, synchronous
 * NORMAL: what is lost at a power cut is asked from the service again.
 *
 * Ordering with the kernel: a write commits first, the caller tells the kernel afterwards. Every
 * change of a directory's content moves its mtime to max(service's time, old + 1 ns), which is
 * what makes the kernel drop a listing that was in flight.
 *
 * Ordering with the service: tree_note() before a request is sent; a page that is merged with
 * this number does not overwrite rows that changed since, nor bring back items that were deleted
 * since (recent tombstones are remembered).
 *
 * Names: rows hold the name as shown (names.h: what a directory cannot hold is escaped,
 * reversibly). Look-up is exact. Two siblings with one shown name both stay reachable: the later
 * one gets a suffix that depends on its item id only.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tree;
struct item;       /* wire/item.h */
struct change_set; /* store/change.h */

enum { TREE_ROOT_INO = 1 };
enum tree_kind { TREE_FILE, TREE_DIR };
/* In a mode: somebody chose these bits; else they are what every file, or folder, has. */
enum { TREE_MODE_SET = 0x10000 };

/* What stat(2) needs; fixed size, no pointers. */
struct tree_attr {
	uint64_t ino;
	uint64_t parent; /* 0 for the root */
	uint64_t cid;    /* content id of a file: a new number for each new content, never reused */
	uint64_t seq;    /* tree counter at the last change of this row */
	uint64_t size;   /* bytes; 0 for directories */
	int64_t mtime_ns, btime_ns;
	uint32_t mode; /* permission bits; local, not from the service; TREE_MODE_SET */
	enum tree_kind kind;
	bool complete; /* directory: every child that the service has is a row */
};

/* All of a row; strings owned by the struct. */
struct tree_meta {
	struct tree_attr attr;
	char *id;       /* the service's item id, verbatim */
	char *drive_id; /* NULL: the mounted drive (a shortcut into another drive otherwise) */
	char *name;     /* as shown */
	char *etag, *ctag, *web_url; /* NULL when unknown */
	uint8_t hash[20];            /* quickXorHash */
	bool has_hash;
	bool malware; /* the service refuses the content */
	bool package; /* OneNote and its like: no content */
};

void tree_meta_fini(struct tree_meta *m);

/*
 * Opens or creates the database (0600) in dir_fd. drive_id: the mounted drive; a database of
 * another drive is refused with -EXDEV. A damaged database or one of another version is
 * -EUCLEAN / -EPROTO with a log line: all of it can be had from the service again, so the caller
 * may tree_discard() it and open a new one. One that was not closed by tree_free() is read once
 * from end to end to see whether it is sound. dir_fd may be closed afterwards.
 */
must_check int tree_open(int dir_fd, const char *name, const char *drive_id, struct tree **ret);
/* Store lane, or after it; after all readers are done. NULL-safe. */
void tree_free(struct tree *tree);
/* Removes a closed database; 0 also when there is none. */
must_check int tree_discard(int dir_fd, const char *name);

/* Reads; any thread. -ENOENT when there is no such row; other errors are -EIO. */
must_check int tree_get(struct tree *tree, uint64_t ino, struct tree_attr *ret);
must_check int tree_lookup(struct tree *tree, uint64_t parent, const char *name,
			   struct tree_attr *ret);
must_check int tree_get_meta(struct tree *tree, uint64_t ino, struct tree_meta *ret);
must_check int tree_find_id(struct tree *tree, const char *id, uint64_t *ret_ino);
/* Path from the root without a leading slash; "" for the root. Caller frees. -ENAMETOOLONG beyond
 * PATH_MAX, -ENOENT also for what waits for its folder to become known. */
must_check int tree_path(struct tree *tree, uint64_t ino, char **ret);

/* Calls fn for the children of dir with an inode number above after, in rising order, until it
 * returns nonzero (which is not an error). One snapshot. name is valid during the call. */
typedef int (*tree_list_fn)(void *arg, const struct tree_attr *attr, const char *name);
must_check int tree_list(struct tree *tree, uint64_t dir, uint64_t after, tree_list_fn fn,
			 void *arg);

/* Is something of this item not at the service yet? 0, -ENOENT: no. ret_error, ret_reason (NULL;
 * the caller frees it): why the service refused it for good; 0: it was not. */
must_check int tree_get_unsent(struct tree *tree, uint64_t ino, int *ret_error, char **ret_reason);

/* Rows, the root included. Any thread, no I/O. */
uint64_t tree_items_n(const struct tree *tree);

/* The tree's counter now; rises with every commit that changed something. Any thread, no I/O. */
uint64_t tree_note(struct tree *tree);
/* Rises before and after each commit of rows; odd: one is under way. A row that was read when it
 * was even is what the tree has for as long as it stays the same. Any thread, no I/O. */
uint64_t tree_commits_n(const struct tree *tree);

/* Small persistent strings (delta link, crawl link, ...). get: any thread, caller frees, -ENOENT;
 * -EUCLEAN when the database turns out to be damaged.
 * set: store lane; value NULL deletes. */
must_check int tree_kv_get(struct tree *tree, const char *key, char **ret);
must_check int tree_kv_set(struct tree *tree, const char *key, const char *value);
#define TREE_KV_DELTA_LINK "delta_link" /* where the next incremental run begins */
#define TREE_KV_CRAWL_LINK "crawl_link" /* next page of an unfinished crawl */
#define TREE_CRAWL_DONE    "done"       /* in its place: the crawl was finished once */
#define TREE_KV_VERIFIED   "verified"   /* wall clock, s: when everything was last compared */
#define TREE_KV_EPOCH      "epoch"      /* random; cache files of another epoch are worthless */

/*
 * What the tree asks its owner while it writes (store lane, inside the transaction; must not
 * block). Both may be NULL: no.
 */
struct tree_guard {
	void *arg;
	bool (*dir_known)(void *arg, uint64_t ino); /* does the kernel hold this directory? */
	bool (*file_open)(void *arg, uint64_t ino); /* is this file open? then a new content gives
						     * the item a new inode, and the old inode
						     * number goes on without a row */
	/* Is the service being told of what had this inode number or this id (which may be
	 * another row's by now)? Then what is said of it now waits: the owner asks for it
	 * afterwards (tree_local_asks()). */
	bool (*is_sending)(void *arg, uint64_t ino, const char *id);
};
void tree_set_guard(struct tree *tree, const struct tree_guard *guard);

/* What was committed survives a power cut. Store lane. */
must_check int tree_sync(struct tree *tree);

/* The owner is about to end: what takes long on the store lane is given up, with -ECANCELED and
 * without effect; the service tells it again. Any thread. */
void tree_give_up(struct tree *tree);

/*
 * Writes; store lane only. Each gives the changes that the kernel must hear of, or NULL when
 * there are none; the caller owns them.
 */

/* The root item (from GET root); creates or updates inode 1. */
must_check int tree_set_root(struct tree *tree, const struct item *root,
			     struct change_set **ret_changes);

/* A page of the children of dir, asked for after note. last: sets the directory's complete flag
 * (unless it was deleted meanwhile: -ENOENT). Rows that the listing lacks are left alone: only
 * delta deletes. */
must_check int tree_merge_children(struct tree *tree, uint64_t dir, const struct item *items,
				   size_t n, uint64_t note, bool last,
				   struct change_set **ret_changes);

/* A page of the crawl (a full delta), asked for after note, with the link of the next page; both
 * land in one transaction. next_link NULL: the crawl is done, every directory is complete. */
must_check int tree_merge_crawl(struct tree *tree, const struct item *items, size_t n,
				uint64_t note, const char *next_link,
				struct change_set **ret_changes);

/*
 * A run of delta: begin, pages (on disk, so memory does not grow with the run; the last
 * occurrence of an id wins), then apply in one transaction with the new delta link.
 * full: the run was a complete enumeration after 410; items that it did not bring and that were
 * known before stage_begin are deleted.
 * Folders' deletions come last and only if the folder is empty by then, else their known children
 * are deleted with them only if the service deleted them too or they are unreachable there.
 * link NULL keeps the old one. Applying what is already so changes nothing.
 */
must_check int tree_stage_begin(struct tree *tree);
must_check int tree_stage_page(struct tree *tree, const struct item *items, size_t n);
/* The run brought this item, but nothing that can be believed about it: its row, if there is one,
 * stays as it is. */
must_check int tree_stage_keep(struct tree *tree, const char *id);
/* A page of a complete enumeration: what needs no order among the items goes into the tree at once,
 * so that applying the rest takes little time. */
must_check int tree_stage_full_page(struct tree *tree, const struct item *items, size_t n,
				    struct change_set **ret_changes);
/* After its last page, before it is applied: looks at some rows for what it did not bring. 1: there
 * are more. May be left to tree_stage_apply(), which then takes longer. */
must_check int tree_stage_unseen(struct tree *tree);
must_check int tree_stage_apply(struct tree *tree, const char *link, bool full,
				struct change_set **ret_changes);

/* An open file's inode keeps its old content: moves the row to a new inode number (used when a
 * file was opened while its new content was being committed). 0 also when already done. */
must_check int tree_detach(struct tree *tree, uint64_t ino, struct change_set **ret_changes);

/* A directory is no longer believed complete (a listing must be asked again). ino 0: all. */
must_check int tree_forget_complete(struct tree *tree, uint64_t ino);

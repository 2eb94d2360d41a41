/*
 * What was changed here and the service does not have yet.
 *
 * Three states of an item: what the mount shows (its row in the tree), what the service had when
 * the two last agreed (its base), and what delta says. While row and base differ the item is
 * pending: what differs stands in a table, written in the transaction that changes the row. So
 * changes of one item are merged as they are made, and nothing has to be replayed after a crash.
 *
 *   a new item          CREATE, and nothing else: where it is, its times and content are the row's
 *   an item it has      any of CONTENT, PLACE, TIMES
 *   an item without row DELETE
 *
 * A new item has an id of our own (TREE_LOCAL_ID) and its inode number for ever: when the service
 * has it, only its id changes.
 *
 * Where both sides changed the same, nothing is lost: a content that was changed on both sides
 * becomes two files, of which the service's keeps the name; deleted there and changed here, it is
 * new again, with the folders it is in; changed there and deleted here, theirs comes back. A place
 * or a time that both changed becomes ours, but for
 * - a folder that goes into one that somebody moved into it: it goes back to where it was;
 * - the time of a file that gets another content;
 * - what was only moved or dated here, and deleted there: it is deleted, its content is as it was.
 * A name that both gave is the service's, and ours gets another; two new folders of one name are
 * one.
 *
 * Renaming a new file over one that the service has makes it new content of that item, which keeps
 * its id, its history and its shares. So does giving a new file the name that an item had which
 * was renamed and then deleted.
 *
 * Store lane only. A failed call has changed nothing.
 */
#pragma once

#include "tree.h"

#define TREE_LOCAL_ID "local:" /* and the inode number; an id of the service has no colon */

bool tree_local_is_id(const char *id);

enum tree_local_what {
	LOCAL_CREATE = 1,
	LOCAL_CONTENT = 2,
	LOCAL_PLACE = 4,
	LOCAL_TIMES = 8,
	LOCAL_DELETE = 16,
};

/* --- what the filesystem does ---
 *
 * None of these is told to the kernel: it is where they come from. now_ns: wall clock. Names are
 * as shown; whether the service can hold one is the caller's to ask.
 * -ENOENT: no such entry, or the folder is gone; -ENOTDIR, -EISDIR, -EEXIST, -ENOTEMPTY as in the
 * calls of the same name; -EAGAIN: a folder is not fully known, list it first.
 */

struct tree_local_new {
	uint64_t parent;
	const char *name;
	enum tree_kind kind;
	uint32_t mode;
	int64_t now_ns;
};
/* A new empty file has a content id of its own. */
must_check int tree_local_create(struct tree *tree, const struct tree_local_new *what,
				 struct tree_attr *ret);

/* ret: as it was. Whoever has it open goes on without a row. */
must_check int tree_local_remove(struct tree *tree, uint64_t parent, const char *name,
				 enum tree_kind kind, int64_t now_ns, struct tree_attr *ret);

struct tree_local_move {
	uint64_t parent, to_parent;
	const char *name, *to_name;
	bool keeps; /* -EEXIST instead of replacing */
	int64_t now_ns;
};
/* -EINVAL: below itself. ret_replaced: what was there, as it was; ino 0: nothing. */
must_check int tree_local_rename(struct tree *tree, const struct tree_local_move *move,
				 struct tree_attr *ret_replaced);

/* The file's content is about to be written here. A pending content keeps its id; else the row
 * gets a new one, or keeps it too if is_whole: all of what it was is at hand where it is written.
 * ret_base: id and size of what shows through where nothing is written; 0: nothing. */
struct tree_local_base {
	uint64_t cid, size;
};
must_check int tree_local_edit(struct tree *tree, uint64_t ino, bool is_whole,
			       struct tree_attr *ret, struct tree_local_base *ret_base);

/*
 * The same for an open file that has no row any more, because it was changed or deleted elsewhere:
 * what is written to it becomes a new item, under its name or, if that is taken, another. was: what
 * it is; name: what it was called when it was opened. The kernel hears of it.
 */
must_check int tree_local_branch(struct tree *tree, const struct tree_attr *was, const char *name,
				 bool is_whole, struct tree_attr *ret,
				 struct tree_local_base *ret_base, struct change_set **ret_changes);

/* What of a row is set; size only of a content that is pending. */
struct tree_local_stat {
	bool has_size, has_mtime, has_mode;
	uint64_t size;
	int64_t mtime_ns;
	uint32_t mode;
};
must_check int tree_local_set(struct tree *tree, uint64_t ino, const struct tree_local_stat *stat,
			      struct tree_attr *ret);

/* --- what is sent --- */

/* Where nothing is ready, some wait for each other in a ring: one that waits for its name is to be
 * sent under a name that nobody has, and the next one if that was not in the ring. */
enum tree_local_wait {
	LOCAL_READY,
	LOCAL_WAITS_PARENT,   /* its folder is new, too */
	LOCAL_WAITS_NAME,     /* another item has its name there, and goes */
	LOCAL_WAITS_CHILDREN, /* a deleted folder out of which something goes first */
};

/* Strings owned by the struct. */
struct tree_local_item {
	struct tree_attr attr; /* DELETE: only the inode number that it had */
	unsigned what;
	enum tree_local_wait wait;
	char *id;        /* the service's; NULL: a new item */
	char *parent_id; /* where it is here; NULL: a new folder, or DELETE */
	char *name;      /* as the service is to have it; NULL: DELETE */
	size_t name_len;
	char *etag, *ctag;     /* of the base; NULL when unknown */
	uint8_t base_hash[20]; /* quickXorHash of the base */
	bool has_base_hash;
	struct tree_local_base base; /* CONTENT, CREATE */
	uint64_t base_size;          /* DELETE */
	int error;                   /* it failed for good: -errno, 0 */
	char *reason;
	char *session; /* upload session of the content session_cid; a secret */
	uint64_t session_cid;
};
void tree_local_item_fini(struct tree_local_item *item);

/* Around many of the next two: the database is locked once for all of them. */
must_check int tree_local_begin_look(struct tree *tree);
void tree_local_end_look(struct tree *tree);
/* The pending item with the next inode number above after: 1, 0 none. */
must_check int tree_local_next(struct tree *tree, uint64_t after, struct tree_local_item *ret);
must_check int tree_local_get(struct tree *tree, uint64_t ino, struct tree_local_item *ret);
/* How many are pending. Any thread, no I/O. */
uint64_t tree_local_n(const struct tree *tree);

/* Before a content is sent: by its hash it is known again, should the answer be lost. */
must_check int tree_local_sending(struct tree *tree, uint64_t ino, const uint8_t hash[20]);
/* url NULL: none any more. */
must_check int tree_local_set_session(struct tree *tree, uint64_t ino, uint64_t cid,
				      const char *url);
/* Failed for good; error 0: to be tried again. */
must_check int tree_local_fail(struct tree *tree, uint64_t ino, int error, const char *reason);

/* What the service took, and its answer. What changed since stays pending. The guard's is_sending()
 * says no by then. */
struct tree_local_sent {
	uint64_t ino;
	unsigned what;
	const char *id;               /* of the item that it was sent to; NULL: CREATE */
	const char *parent_id, *name; /* CREATE, PLACE: as sent */
	size_t name_len;
	uint64_t cid;            /* CREATE of a file, CONTENT */
	bool is_content_old;     /* written again since it was read */
	int64_t mtime_ns;        /* TIMES: as sent */
	uint64_t note;           /* tree_note() before it was sent; 0: unknown, costs a question */
	const struct item *item; /* NULL: DELETE */
};
must_check int tree_local_done(struct tree *tree, const struct tree_local_sent *sent,
			       struct change_set **ret_changes);

/*
 * What the service says of an item when it is asked for it, which counts as if delta brought it.
 * That is done when
 * - delta spoke of it while something was being sent (tree_local_asks());
 * - what was sent was refused, because the service has something else than our base;
 * - it has the name that something was to get. What has the name here gives it up, or is the item
 *   when it is the same thing (is_in_the_way);
 * - it is not to be deleted after all (is_kept): before a deletion is sent the item is compared
 * with our base, and a folder is to be empty, because the service deletes all that is in it. Should
 * the tree have heard of the item since note, it is only put down as one to be asked for.
 */
struct tree_local_answer {
	uint64_t ino;  /* what was to be sent; 0: nothing */
	uint64_t note; /* tree_note() before the item was asked for */
	const struct item *item;
	bool is_kept, is_in_the_way;
};
must_check int tree_local_learn(struct tree *tree, const struct tree_local_answer *answer,
				struct change_set **ret_changes);
/* The service does not have this id (any more): of what was to be sent, or the folder it goes to.
 */
must_check int tree_local_gone(struct tree *tree, const char *id, struct change_set **ret_changes);
/* An item to be asked for, about which tree_local_learn() or tree_local_gone() is to be told: 1,
 * the caller frees ret_id; 0: none, or only such as wait for what is being sent. */
must_check int tree_local_asks(struct tree *tree, char **ret_id);

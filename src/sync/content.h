/*
 * File content for the filesystem: open versions, reads that are answered from the cache file or
 * parked until their bytes arrive. An open file keeps the version it was opened with: bytes of
 * two versions are never mixed.
 *
 * content_* may be called from FUSE threads: none of it waits for the network. Cache files are
 * read with pread on the calling thread.
 */
#pragma once

#include "mem.h"
#include "tree.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct content;
struct cache;      /* store/cache.h */
struct change_set; /* store/change.h */
struct draft;      /* store/draft.h */
struct draft_dir;
struct fetch_source; /* sync/fetch.h */
struct inodes;
struct lane;
struct loop;
struct content_handle; /* one open(); counted version behind it */

enum {
	CONTENT_WAIT = 1, /* open: a new content of this inode is being committed right now */
	CONTENT_PARKED,   /* read: done will be called */
};
enum { CONTENT_HEAD_BYTES = 256 * 1024 }; /* what is fetched of a file at least: a block */

struct content_options {
	struct loop *loop;
	struct lane *store_lane; /* of the tree's writer; one thread */
	struct tree *tree;
	struct inodes *inodes;
	struct cache *cache;               /* NULL: nothing is kept between reads */
	struct draft_dir *drafts;          /* NULL: nothing can be written */
	const char *drive_id;              /* of the mounted drive; copied */
	const struct fetch_source *source; /* where bytes come from; copied */
	/* The service says that the content behind ino is no longer the tree's: run delta. Loop
	 * thread; may be NULL. */
	void (*on_version_changed)(void *arg, uint64_t ino);
	void *arg;
};

/* Before the loop runs or on its thread. All but the strings must outlive the content. */
must_check int content_new(const struct content_options *options, struct content **ret);
/* When no other thread calls any more; after loop_run() returned, on its thread (turns the loop
 * until what is on its way has ended). Before the source and the cache go. Handles that are still
 * open (an aborted connection releases nothing) are closed. NULL-safe. */
void content_free(struct content *content);

/* The service can be reached, or not (then what is not cached fails at once). Any thread. */
void content_set_reachable(struct content *content, bool reachable);

/* For struct tree_guard's file_open, arg is the content: is the inode open? If it is not, the
 * new content that is about to be committed stays under it. Store lane. */
bool content_is_open(void *content, uint64_t ino);

/*
 * To be called on the store lane after a commit, in the same lane job, before its changes go to
 * anyone. Moves items on to a new inode whose file was opened while its new content was being
 * committed; *ret_more are the changes that this made (NULL when none), to be pushed after those
 * of the commit.
 */
must_check int content_after_commit(struct content *content, struct change_set **ret_more);

struct content_stats {
	uint64_t cached_bytes, cached_files;
	uint64_t open_n;      /* versions that are open */
	uint64_t in_flight_n; /* ranged requests on their way */
	uint64_t parked_n;    /* reads that wait */
	uint64_t fetched_bytes;
	bool is_caching; /* false: the cache directory cannot be used */
};
void content_get_stats(struct content *content, struct content_stats *ret);

/*
 * Opens the current version of ino. ret_keep_cache: the kernel's pages are of this version.
 *   0 | CONTENT_WAIT: call again after content_on_settled() ran |
 *   -ESTALE no row: the inode's version is history (the kernel then looks the name up again, which
 *   tells a file that moved on from one that is gone) | -EISDIR | -EPERM malware or package |
 *   -ENOMEM | -EIO
 */
must_check int content_open(struct content *content, uint64_t ino, struct content_handle **ret,
			    bool *ret_keep_cache);
/* Calls fn on the store lane once whatever is being committed now has been. Any thread. */
must_check int content_on_settled(struct content *content, void (*fn)(void *arg), void *arg);
/* Cancels the handle's read-ahead; reads and writes of this handle are over by then. The row of a
 * file that was written gets its size and time afterwards, on the store lane. */
void content_close(struct content_handle *h);

uint64_t content_ino(const struct content_handle *h);
/* Attributes of the version that h has open, as of now. */
void content_get_attr(const struct content_handle *h, struct tree_attr *ret);
/* Attributes of an open inode that has no row any more (its item moved on to a new inode, or is
 * deleted). -ENOENT when it is not open. */
must_check int content_find_attr(struct content *content, uint64_t ino, struct tree_attr *ret);

/* The row's attributes become those of a file that is being written, if it is: its row does not
 * have them yet. Any thread; costs next to nothing while nothing is written. */
void content_update_attr(struct content *content, struct tree_attr *attr);

/* Bytes of this content that are on the local disk. Any thread; a look into memory for what is not
 * cached, else a row of the local index, so that it can be asked for each entry of a listing. */
uint64_t content_cached_bytes(const struct content *content, uint64_t cid);

/* Bytes (>= 0, less than len at the end of the file only) when they are at hand, else -EAGAIN, or
 * -errno when the disk fails. */
must_check ssize_t content_read_now(struct content_handle *h, uint64_t off, char *buf, size_t len);

/*
 * Tells of the first read of each handle, so that others may be fetched ahead of the reader
 * (ahead.h). Any thread; must not block. Before the first open. is_cached: nothing had to wait.
 */
typedef void (*content_reader_fn)(void *arg, const struct tree_attr *attr, bool is_cached);
void content_set_reader(struct content *content, content_reader_fn fn, void *arg);
/* Before its first read: this is no person who goes through a folder. */
void content_set_quiet(struct content_handle *h);
/* Before its first read: quiet, and its reads go after all others; nothing but the first
 * fetch_max_bytes of the file is fetched for it (UINT64_MAX: everything). Reads of more than that,
 * where it is not cached, fail at once with -ENODATA. */
void content_set_background(struct content_handle *h, uint64_t fetch_max_bytes);
/* A word for whoever opened it, 0 at first. */
atomic_uint *content_mark(struct content_handle *h);

/* Opens for a reader who is yet to come: reads go after all that somebody waits for, start nothing
 * ahead of themselves, and tell nothing of the kernel's pages. As content_open(), and -ENODEV when
 * nothing can be kept. */
must_check int content_open_early(struct content *content, uint64_t ino,
				  struct content_handle **ret);

/* A read that may wait; the storage is the caller's until done ran, or cancel returned true. */
struct content_read {
	struct content_handle *h;
	uint64_t off;
	size_t len;
	char *buf; /* len bytes, the caller's */
	/* On the loop thread or a lane, never from inside content_read_start(). got: bytes (less
	 * than len at the end of the file only), or -errno: -EIO damaged, -ESTALE the version is
	 * gone from the service, -ENETDOWN offline, -ETIMEDOUT, -EACCES, -EPERM ... */
	void (*done)(struct content_read *read, ssize_t got);
	void *arg;
	void *state; /* private */
};

/* Bytes (>= 0) when they were at hand, CONTENT_PARKED via *ret_parked, or -errno. */
must_check ssize_t content_read_start(struct content_read *read, bool *ret_parked);
/* Any thread: true when done will not be called (any more); false when it ran or is running. */
bool content_read_cancel(struct content_read *read);

/*
 * Writing. What is written is in a draft (draft.h) at once, which outlives the process; the row
 * says that it is to be sent from the first write on, and what its size and time are when it is
 * closed. Reads of all handles see it.
 */

/* At the start, before anything is opened: rows get the size of what was written by a process that
 * was killed; drafts that no row has are removed. On the thread that owns the tree. */
must_check int content_recover(struct content *content);
/* Bytes (> 0), -EAGAIN: content_edit() first, or what draft_write() gives. Any thread. */
must_check ssize_t content_write_now(struct content_handle *h, uint64_t off, const char *buf,
				     size_t len);
/* After the open of a file that may be written to: should it be changed elsewhere, its name is
 * needed. */
void content_set_writer(struct content_handle *h);
/* The file is to be written to. Store lane. -EROFS, and what tree_local_edit() and draft_create()
 * give. ret_changes: as of a commit; NULL for none. */
must_check int content_edit(struct content_handle *h, struct change_set **ret_changes);
/* The same, and sets its size; whether it is open or not. Store lane. */
must_check int content_truncate(struct content *content, uint64_t ino, uint64_t size,
				int64_t now_ns, struct tree_attr *ret,
				struct change_set **ret_changes);
/* A time that was set, rather than that of a write. Store lane. */
void content_set_mtime(struct content *content, uint64_t ino, int64_t mtime_ns);
/* What was written survives a power cut, if the tree is synced afterwards. A disk lane. */
must_check int content_sync(struct content_handle *h);
/* Size and time of what was written go into its row. Store lane. */
must_check int content_settle(struct content *content, uint64_t ino);
/* The row of this file is gone, attr as it was: nobody wants a draft of it. Store lane. */
void content_drop(struct content *content, const struct tree_attr *attr);

/* Tells that a file that was written was closed, and its row says so. Store lane. */
typedef void (*content_written_fn)(void *arg, uint64_t ino);
void content_set_written(struct content *content, content_written_fn fn, void *arg);
/* Has somebody opened it who may write, and not closed it yet? Any thread. */
bool content_is_written(struct content *content, uint64_t ino);
/*
 * The draft of this inode was sent as it was at version. Before the tree is told, on the store
 * lane: true if it was written to since, and is to be sent again.
 */
must_check bool content_note_sent(struct content *content, uint64_t ino, struct draft *draft,
				  uint64_t version);
/* The same of a content that was empty when it was sent, because nobody had written to it: was it
 * written to since? Store lane. */
bool content_has_draft(struct content *content, uint64_t cid);

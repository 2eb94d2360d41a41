/* What content.c and content_edit.c share: private to them. */
#pragma once

#include "content.h"

#include "draft.h"
#include "fetch.h"
#include "list.h"
#include "mutex.h"

enum { CONTENT_BUCKETS_N = 1024, CONTENT_KEPT_MAX = 4096 };

/*
 * What an open inode shows, for as long as it is open.
 *
 * It begins as a content of the service (file), and becomes a draft over that when it is written to
 * here. A new file has neither until its first byte. Both are set once, before anybody can see them
 * or on the store lane, and stay until the version is closed.
 */
struct content_version {
	struct list node;      /* content->lock */
	struct tree_attr attr; /* content->lock: cid; else constant */
	struct fetch_file *file;
	_Atomic(struct draft *) draft;
	atomic_bool is_pending;   /* the tree says that the draft is to be sent */
	atomic_bool is_unsettled; /* its row does not have its size and time yet */
	atomic_bool is_removed;   /* here, so that what is written goes nowhere */
	char *name;               /* content->lock; of a file that is open for writing */
	_Atomic int64_t mtime_ns; /* once it has a draft */
	unsigned opens_n;         /* content->lock */
	struct list handles;      /* content->lock */
};

struct content_handle {
	struct list node; /* of the version; content->lock */
	struct content *content;
	struct content_version *version;
	struct fetch_stream *stream; /* NULL: the version has no file */
	atomic_bool was_read, was_written, is_writer;
	bool is_quiet; /* constant once it reads */
	atomic_uint mark;
	struct lane_job *closing; /* of a handle that wrote */
};

struct content {
	struct lane *store_lane;
	struct tree *tree;
	struct inodes *inodes;
	struct cache *cache;
	struct rows *rows;
	struct draft_dir *drafts; /* NULL: nothing can be written */
	struct fetch *fetch;
	char *drive_id;
	content_reader_fn on_reader;
	void *reader_arg;
	content_written_fn on_written;
	void *written_arg;
	atomic_uint drafts_open_n; /* versions with a draft */

	/* Store lane: inodes that the running transaction leaves to a new content. */
	uint64_t kept[CONTENT_KEPT_MAX];
	size_t kept_n;
	bool is_kept_full;

	struct mutex lock; /* MUTEX_RANK_CONTENT; guards what follows */
	struct list versions[CONTENT_BUCKETS_N];
	uint64_t versions_n;
};

/* The version that is open for the inode, pinned; NULL. */
struct content_version *content_pin_version(struct content *content, uint64_t ino);
void content_unpin_version(struct content *content, struct content_version *v);
/* The handle's end, at once. */
void content_close_now(struct content_handle *h);
/* Size and time of a version that is a draft. */
void content_fill_attr(const struct content_version *v, struct tree_attr *attr);
/* A read of a draft. -EAGAIN: the base shows in it and is not at hand. */
must_check ssize_t content_read_draft(struct content_handle *h, struct draft *draft, uint64_t off,
				      char *buf, size_t len);
/* buf has got bytes of the base from off on: puts over them what was written. Gives how many bytes
 * of len there are. */
must_check ssize_t content_overlay_draft(struct draft *draft, uint64_t off, char *buf, size_t len,
					 size_t got);

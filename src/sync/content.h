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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct content;
struct content_handle; /* one open(); counted version behind it */

enum {
	CONTENT_WAIT = 1, /* open: a new content of this inode is being committed right now */
	CONTENT_PARKED,   /* read: done will be called */
};

/*
 * Opens the current version of ino. ret_keep_cache: the kernel's pages are of this version.
 *   0 | CONTENT_WAIT: call again after content_on_settled() ran |
 *   -ENOENT no row | -ESTALE the inode's version is history (the kernel then looks the name up
 *   again) | -EISDIR | -EACCES locked (vault) | -EPERM malware or package
 */
must_check int content_open(struct content *content, uint64_t ino, struct content_handle **ret,
			    bool *ret_keep_cache);
/* Calls fn on the store lane once whatever is being committed now has been. Any thread. */
must_check int content_on_settled(struct content *content, void (*fn)(void *arg), void *arg);
/* Cancels the handle's read-ahead; reads of this handle are over by then. */
void content_close(struct content_handle *h);

/* Attributes of the version that h has open. */
const struct tree_attr *content_attr(const struct content_handle *h);
/* Attributes of an open inode that has no row any more (its item moved on to a new inode, or is
 * deleted). -ENOENT when it is not open. */
must_check int content_find_attr(struct content *content, uint64_t ino, struct tree_attr *ret);

/* A read; the storage is the caller's until done ran, or cancel returned true. */
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

/*
 * Contents that the service does not have yet. A draft may be the only copy of what a user wrote,
 * so it is never evicted, and nothing that cannot be understood is deleted.
 *
 *   DIR/00..01c4       the bytes written here, sparse
 *   DIR/00..01c4.log   what the draft is of (so that it can be found again without the database),
 *                      and one record for each change, see draft_log.h
 *   DIR/00..01c4.new   a shorter log in the making
 *   DIR/00..01c4.gone  the log of a draft that is being removed
 *   DIR/damaged/       what could not be understood
 *
 * Where nothing was written, the base shows through: the content the file had before, which the
 * caller reads from elsewhere. It does so up to base_end, the least of the base's size and all
 * later truncations. Beyond that, what was never written is zeros. So ranges are kept for what is
 * below base_end only; a new file has none.
 *
 * A killed process: a change is data first and then its record, a shorter size is the record first
 * and then the data. So no range is marked that is not there, and what was acknowledged is there.
 *
 * A power cut keeps no order between the two files. draft_sync() therefore leaves a mark in the log
 * after the data is on disk and before the log is: what is before the mark is believed. A record
 * behind the last mark, when the machine was started anew since, is believed if the data has the
 * checksum that the record tells; the first one that fails, and all after it, are as if they had
 * not been made. (So is a write that a later one overlapped, and neither was synced.) Data that was
 * synced is cut off from its file only after the log on disk says that it is no more.
 *
 * Any thread, unless a function says more. Calls touch the local disk. Changes of one draft wait
 * for each other; reading waits for nothing but memory; syncing lets changes go on. No lock is
 * held across disk access.
 */
#pragma once

#include "mem.h"
#include "quickxor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct draft_dir;
struct draft; /* one for each content id that is open; counted */

/* Source: Microsoft, "Restrictions and limitations in OneDrive and SharePoint". */
#define DRAFT_SIZE_MAX (UINT64_C(250) << 30)
enum {
	/* Separate ranges written over a base: 1 MiB of memory for a draft. */
	DRAFT_RANGES_MAX = 65536,
	/* Longest strings of a header, in bytes. */
	DRAFT_PATH_MAX = 4096,
	DRAFT_TEXT_MAX = 1024,
};

/* Strings may be NULL: none. */
struct draft_header {
	uint64_t ino;
	char *dir_path; /* of its folder from the mount's root, without slashes at the ends */
	char *name;
	char *item_id;  /* NULL: the service has no such item yet */
	char *drive_id; /* NULL: the mounted drive */
	/* The content before; base_cid 0: none. */
	uint64_t base_cid, base_size;
	char *base_etag;
};
void draft_header_fini(struct draft_header *h);
must_check int draft_header_copy(const struct draft_header *h, struct draft_header *ret);

/*
 * dir_fd: a directory of ours (0700), borrowed until draft_dir_free(). Ends removals that were
 * begun, and moves data whose log is missing to damaged/. -EBUSY: another process uses it.
 */
must_check int draft_dir_new(int dir_fd, struct draft_dir **ret);
/* Syncs. All drafts must be closed. NULL-safe. */
void draft_dir_free(struct draft_dir *dir);

struct draft_found {
	uint64_t cid;
	/* The newest that could be read; NULL (damaged drafts only): none could. */
	const struct draft_header *header;
	uint64_t size;
	bool is_damaged; /* it was just moved to damaged/, as "name" */
	bool is_cut;     /* a power cut took writes that were not synced */
	bool is_whole;
	bool has_hash; /* of all of it, as it is now */
	uint8_t hash[QUICKXOR_BYTES];
	const char *name;
};
/*
 * Calls fn for every draft, in no order, until it returns nonzero (which is no error); without
 * locks, so fn may open drafts. A draft that is damaged is moved to damaged/, with a line in the
 * log; one that cannot be read (-EIO ...) stays, and ends the list with that error.
 */
typedef int (*draft_list_fn)(void *arg, const struct draft_found *found);
must_check int draft_dir_list(struct draft_dir *dir, draft_list_fn fn, void *arg);

struct draft_stats {
	uint64_t drafts_n;
	uint64_t bytes;     /* lengths of their data files, holes included */
	uint64_t damaged_n; /* moved to damaged/ in this life or an earlier one */
};
void draft_dir_get_stats(struct draft_dir *dir, struct draft_stats *ret);

/* A new draft, empty over its base: its size is base_size. The header is copied. -EEXIST;
 * -ENAMETOOLONG: a string is too long; -EFBIG: base_size is; -ENOSPC, -EIO, -EMFILE ... */
must_check int draft_create(struct draft_dir *dir, uint64_t cid, const struct draft_header *header,
			    struct draft **ret);
/* -ENOENT; -EUCLEAN: it is damaged, draft_dir_list() tells more; -EIO ... */
must_check int draft_open(struct draft_dir *dir, uint64_t cid, struct draft **ret);
void draft_close(struct draft *d);
/* Another handle of the same. */
struct draft *draft_ref(struct draft *d);
/*
 * Removes the draft for good: the service has its content, or nobody wants it. Handles stay usable
 * until they are closed. -errno: some of it is still there; draft_dir_new() ends a removal that
 * was begun.
 */
must_check int draft_remove(struct draft *d);

/* A copy, for draft_header_fini(). */
must_check int draft_get_header(struct draft *d, struct draft_header *ret);
/* Renamed, moved, given an id or an etag. base_cid and base_size must be those it was made with:
 * -EINVAL. */
must_check int draft_set_header(struct draft *d, const struct draft_header *header);

uint64_t draft_cid(const struct draft *d);
uint64_t draft_size(struct draft *d);
/*
 * Rises with every write and truncation, also over restarts, and not by filling. Waits for a
 * change that is being made: what was read between two calls that gave the same number is of one
 * state.
 */
uint64_t draft_version(struct draft *d);

/*
 * Gives how much was written: less than len only when the disk became full or failed on the way,
 * as write(2). -ENOSPC, -EDQUOT, -EIO ...: size and ranges are as before, and so are the bytes
 * unless an earlier write of the same place was being overwritten when the disk failed.
 * -EFBIG: beyond DRAFT_SIZE_MAX. -ENOBUFS: too many separate ranges; filling a gap helps.
 */
must_check ssize_t draft_write(struct draft *d, uint64_t off, const void *buf, size_t len);
must_check int draft_truncate(struct draft *d, uint64_t size);
/*
 * Bytes of the base: put where the base shows, and nowhere else; what is beyond base_end is
 * ignored. It is the caller's to bring the right base. Errors as draft_write(); some of it may be
 * filled then.
 */
must_check int draft_fill(struct draft *d, uint64_t off, const void *buf, size_t len);

enum draft_kind { DRAFT_WRITTEN, DRAFT_BASE, DRAFT_ZERO };
struct draft_piece {
	enum draft_kind kind;
	uint64_t off, len;
};
/* What is where in a part of the draft, up to its size: pieces in order, without gaps, at most
 * max_n. Gives how many; 0 at and beyond the end. WRITTEN may be zeros (a hole) above base_end. */
size_t draft_get_pieces(struct draft *d, uint64_t off, uint64_t len, struct draft_piece *pieces,
			size_t max_n);
/* Gives how much was read, less than len only at the end. -ENODATA: the base shows in it. */
must_check ssize_t draft_read(struct draft *d, uint64_t off, void *buf, size_t len);
/* Nothing of the base shows. */
bool draft_is_whole(struct draft *d);
/* The first place at or after from where the base shows; false: none. */
bool draft_next_missing(struct draft *d, uint64_t from, uint64_t *ret_off, uint64_t *ret_len);

/*
 * What was done before survives a power cut. Not for FUSE threads or the loop: it waits for the
 * disk, and makes a long log short. An error stays for the life of the object, as the kernel tells
 * it once and forgets what it could not write.
 */
must_check int draft_sync(struct draft *d);
/* The same for all drafts that need it, closed ones included. Many are synced together, by syncing
 * their file system twice. Gives the first error. */
must_check int draft_dir_sync(struct draft_dir *dir);

/*
 * The hash of the whole draft, by reading all of it unless that was done before; it is noted in
 * the log. For lanes. -ENODATA: the base shows; -EAGAIN: it was changed meanwhile.
 */
must_check int draft_hash(struct draft *d, uint8_t ret[QUICKXOR_BYTES]);
/*
 * Hands the content over to whoever keeps contents, once the service has confirmed it: a file
 * "name" of exactly the draft's size appears in to_fd (a link, or a synced copy when that is
 * another file system), and then the draft is removed. A kill on the way leaves the draft, or the
 * file, or both; then the caller removes the draft. What "name" was before is replaced.
 * The caller closes its handle, the only one: -EBUSY. -EAGAIN: the version is another; -ENODATA:
 * the base shows; -ENOSPC ...: the draft is as it was. For lanes.
 */
must_check int draft_take(struct draft *d, uint64_t version, int to_fd, const char *name);

/*
 * What the kernel holds: inodes (by its lookup count) and open files. 16 bytes in a table for each,
 * where the kernel itself spends more than a kilobyte. Any thread.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inodes;

must_check int inodes_new(struct inodes **ret);
void inodes_free(struct inodes *inodes);

/* The kernel's lookup count. The root counts as known for ever. ref before the reply that hands
 * the inode out, forget for FORGET or when the reply failed. -ENOMEM. */
must_check int inodes_ref_dir(struct inodes *inodes, uint64_t ino);
must_check int inodes_ref_file(struct inodes *inodes, uint64_t ino);
void inodes_forget(struct inodes *inodes, uint64_t ino, uint64_t n);
bool inodes_is_dir_known(struct inodes *inodes, uint64_t ino);
size_t inodes_dirs_n(struct inodes *inodes);
/* Directories and files; the root only if it was looked up. */
size_t inodes_known_n(struct inodes *inodes);

/*
 * A budget of known inodes: an inode costs the kernel 1.17 KiB (measured, Linux 6.18), and listings
 * hand them out by the hundred thousand. While inodes_has_room() is false a listing is answered
 * without its inodes ("bare"), and the kernel asks for those that somebody really uses. It keeps
 * such a listing in its cache, so that it would go on asking for each: inodes_note_bare() remembers
 * the directory, and inodes_take_bare() gives up to max of them back when the kernel has forgotten
 * an eighth of the budget; their cached listings are then to be dropped. Of more than a few
 * thousand bare directories the rest is not remembered: that costs requests, nothing else.
 */
enum { INODES_BUDGET = 500000 };
/* Before anybody uses it; 0: no inode comes with a listing. */
void inodes_set_budget(struct inodes *inodes, size_t budget);
bool inodes_has_room(struct inodes *inodes);
void inodes_note_bare(struct inodes *inodes, uint64_t dir);
size_t inodes_take_bare(struct inodes *inodes, uint64_t *v, size_t max);

/* Open files: count of handles. */
must_check int inodes_ref_open(struct inodes *inodes, uint64_t ino);
void inodes_unref_open(struct inodes *inodes, uint64_t ino);
bool inodes_is_open(struct inodes *inodes, uint64_t ino);

/* Copies the root, the known directories and the open files at this moment, with_files: the known
 * files too (an open one may come twice). Caller frees *ret_v. */
must_check int inodes_snapshot(struct inodes *inodes, bool with_files, uint64_t **ret_v,
			       size_t *ret_n);

/*
 * Files whose pages in the kernel may be of an older content than the row's. inodes_expect_stale()
 * says that a new content is about to be committed under this inode: until inodes_settle_stale()
 * every open counts as stale, whichever side of the commit it is on; after it exactly the next
 * one does (inodes_take_stale() is true once), which then refuses keep_cache. inodes_set_stale()
 * is both at once. The set is bounded; when it is full every open counts as stale until
 * inodes_clear_stale(), for which the kernel must have been told to drop all pages.
 */
void inodes_expect_stale(struct inodes *inodes, uint64_t ino);
void inodes_settle_stale(struct inodes *inodes);
void inodes_set_stale(struct inodes *inodes, uint64_t ino);
bool inodes_take_stale(struct inodes *inodes, uint64_t ino);
void inodes_clear_stale(struct inodes *inodes);

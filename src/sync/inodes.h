/*
 * What the kernel holds: directories (by its lookup count) and open files. Small: directories
 * that the kernel knows and files that are open, nothing else. Any thread.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inodes;

must_check int inodes_new(struct inodes **ret);
void inodes_free(struct inodes *inodes);

/* Directories: the kernel's lookup count. The root counts as known for ever. ref before the reply
 * that hands the inode out, forget for FORGET or when the reply failed. -ENOMEM. */
must_check int inodes_ref_dir(struct inodes *inodes, uint64_t ino);
void inodes_forget(struct inodes *inodes, uint64_t ino, uint64_t n); /* files: no effect */
bool inodes_is_dir_known(struct inodes *inodes, uint64_t ino);
size_t inodes_dirs_n(struct inodes *inodes);

/* Open files: count of handles. */
must_check int inodes_ref_open(struct inodes *inodes, uint64_t ino);
void inodes_unref_open(struct inodes *inodes, uint64_t ino);
bool inodes_is_open(struct inodes *inodes, uint64_t ino);

/* Copies the known directories and open files at this moment; caller frees *ret_v. */
must_check int inodes_snapshot(struct inodes *inodes, uint64_t **ret_v, size_t *ret_n);

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

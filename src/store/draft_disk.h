/*
 * Files of drafts: private to src/store/draft*.c. No state, no locks; any thread. Nothing here
 * follows a link or leaves the drafts' directory.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { DRAFT_NAME_BYTES = 32 };
/* "": data; ".log", ".new", ".gone". */
void draft_disk_name(uint64_t cid, const char *suffix, char ret[DRAFT_NAME_BYTES]);
/* The other way; *ret_suffix points into name. False: it is no such name. */
bool draft_disk_parse(const char *name, uint64_t *ret_cid, const char **ret_suffix);

/* Descriptor or -errno. */
must_check int draft_disk_open(int dir_fd, uint64_t cid, const char *suffix, int flags);
/* Of a file that is there; only for reading where a disk became read-only. */
must_check int draft_disk_open_old(int dir_fd, uint64_t cid, const char *suffix);
/* Which boot of the kernel this is; 0: it does not tell. */
uint64_t draft_disk_boot(void);

/* All of it, or an error; -ENODATA: the file ends before. */
must_check int draft_disk_pread(int fd, void *buf, size_t len, uint64_t off);
/* As much as can be written; an error only if that is nothing. */
must_check ssize_t draft_disk_pwrite(int fd, const void *buf, size_t len, uint64_t off);
/* All, or an error: then some of it may be there. */
must_check int draft_disk_pwrite_all(int fd, const void *buf, size_t len, uint64_t off);

/* Removes both files in two steps: the log is renamed first, so that whoever comes after a kill
 * knows what to end. */
must_check int draft_disk_begin_removal(int dir_fd, uint64_t cid);
must_check int draft_disk_end_removal(int dir_fd, uint64_t cid);
/* Moves what there is of a draft to damaged/, and tells the name that its data and, with ".log",
 * its log have there. */
must_check int draft_disk_set_aside(int dir_fd, uint64_t cid, char ret[DRAFT_NAME_BYTES]);
uint64_t draft_disk_count_damaged(int dir_fd);
/* A file "name" in to_fd with the content of the draft's data: a link, or a synced copy. */
must_check int draft_disk_give(int dir_fd, uint64_t cid, int data_fd, int to_fd, const char *name);

/*
 * The drives' items: a compact table (about 100 bytes and the name for an item, so that a million
 * fit in little memory), unique names per folder without regard to case, and the change log that
 * delta reads. An item is its number; numbers are never used again. Content is no part of it
 * (simbytes.h). One thread.
 *
 * The log is one list per drive in the order of each item's latest change; a change moves its item
 * to the end. The sequence number of a change is its CLOCK_MONOTONIC time in ns, made unique.
 */
#pragma once

#include "simid.h"

#include "mem.h"

#include <stddef.h>

enum { SIMTREE_NONE = 0, SIMTREE_DRIVES = 2 };

enum simtree_flag {
	SIMTREE_FOLDER = 1 << 0,
	SIMTREE_DELETED = 1 << 1,
	SIMTREE_ODD = 1 << 2, /* has planted JSON, see simodd.h */
	SIMTREE_ROOT = 1 << 3,
	SIMTREE_LOST = 1 << 4,     /* its tombstone is never delivered */
	SIMTREE_LOCKED = 1 << 5,   /* somebody has it open or checked out */
	SIMTREE_READONLY = 1 << 6, /* the caller may not change it, nor anything below */
};

struct simtree_item {
	uint32_t parent;
	uint32_t first_child, last_child, next_sibling, prev_sibling;
	uint32_t bucket_next;
	uint32_t name_at;
	uint16_t name_len;
	uint8_t drive, flags;
	uint64_t size; /* bytes; a folder's is computed by nobody and stays 0 */
	uint64_t seq;
	uint32_t log_prev, log_next;
	/* Numbers in cTag and eTag; a folder's content is all that is below it. */
	uint32_t content_n, change_n;
	uint32_t child_n;
	uint32_t kind;                             /* enum simbytes_kind of the current content */
	int64_t mtime_ms, created_ms, modified_ms; /* wall clock; mtime is the client's view */
};

struct simtree {
	struct simtree_item *items; /* item 0 is never used */
	uint32_t item_n;
	char *names;
	uint32_t name_bytes;
	uint32_t *buckets;
	uint32_t bucket_n;
	uint32_t root[SIMTREE_DRIVES], log_first[SIMTREE_DRIVES], log_last[SIMTREE_DRIVES];
	uint64_t used_bytes[SIMTREE_DRIVES]; /* of all living files */
	uint32_t file_n[SIMTREE_DRIVES];
	uint64_t last_seq;
	/* Called after each change, when set. */
	void (*on_change)(void *arg, unsigned drive);
	void *on_change_arg;
};

uint64_t simtree_now_ns(void); /* CLOCK_MONOTONIC */
int64_t simtree_now_ms(void);  /* wall clock */

void simtree_init(struct simtree *t);
void simtree_fini(struct simtree *t);

static inline struct simtree_item *simtree_get(struct simtree *t, uint32_t n)
{
	return &t->items[n];
}

const char *simtree_name(const struct simtree *t, uint32_t n, size_t *ret_len);

/* The same with a NUL; the caller frees. */
char *simtree_dup_name(const struct simtree *t, uint32_t n);
/* SIMTREE_NONE: no such child. Compares without regard to case. */
uint32_t simtree_child(struct simtree *t, uint32_t folder, const char *name, size_t len);
/* path: decoded, names parted by '/', surplus slashes ignored. SIMTREE_NONE: not there. */
uint32_t simtree_find(struct simtree *t, uint32_t from, const char *path);
/* Living item by number: false for unknown and deleted ones. */
bool simtree_is_alive(const struct simtree *t, uint32_t n);
/* True when n is folder or below it. */
bool simtree_is_below(struct simtree *t, uint32_t n, uint32_t folder);
/* "Documents/a.txt" (the root's is ""); the caller frees. */
char *simtree_path(struct simtree *t, uint32_t n);

/* All below but simtree_set_size() log the change and call on_change. -EEXIST: the name is taken;
 * -EINVAL: empty or too long, or a folder moved into itself; -ENOSPC: the table is full. */
must_check int simtree_add(struct simtree *t, uint32_t folder, const char *name, size_t len,
			   unsigned flags, uint32_t *ret_item);
must_check int simtree_move(struct simtree *t, uint32_t n, uint32_t folder, const char *name,
			    size_t len);
/* Everything below goes too, children first. */
void simtree_delete(struct simtree *t, uint32_t n);
/* Of a file; no change that is logged. */
void simtree_set_size(struct simtree *t, uint32_t n, uint64_t size);
/* Any other change; is_content also gives a new content number. */
void simtree_touch(struct simtree *t, uint32_t n, bool is_content);

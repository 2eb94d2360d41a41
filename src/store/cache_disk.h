/*
 * What the cache of contents (cache.h) looks like on disk: private to src/store/cache*.c. No
 * state but struct cache_disk_use, no locks; any thread. Nothing here follows a link or leaves the
 * cache's directory.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

/* At the head of a map; of this machine's byte order: a cache does not travel. */
struct cache_disk_header {
	char magic[8];
	uint64_t cid;
	uint64_t row_size; /* the tree's size of this content */
	uint64_t size;     /* the content's own */
};
#define CACHE_DISK_MAGIC "gfsmap1"

/* Contents whose names are remembered for the end; of more, everything is synced. */
enum { CACHE_DISK_LISTED_MAX = 4096 };

/* One process' use of the directory. */
struct cache_disk_use {
	int dir_fd;
	bool is_marked;   /* "running" is there; whoever may write (cache_db.h) */
	bool is_unlisted; /* what is listed is not all that was written; the cache's lock */
	unsigned listed_n;
	uint64_t listed[CACHE_DISK_LISTED_MAX];
	int (*sync)(int fd); /* fdatasync(2), unless a test puts another here */
};

/*
 * Makes the directory ready: throws everything away unless it is of this epoch and was stopped
 * cleanly, or was only killed since the kernel booted. -EBUSY when another process uses it. Waits
 * for the disk only if something was thrown away.
 */
must_check int cache_disk_begin(int dir_fd, const char *epoch, struct cache_disk_use *ret);
/* Before anything is written: notes on disk that the directory is in use. */
must_check int cache_disk_mark(struct cache_disk_use *use);
/* The content's files were written. */
void cache_disk_note(struct cache_disk_use *use, uint64_t cid);
/*
 * What was written is on disk before the directory counts as cleanly stopped. Waits for that no
 * longer than wait_ms: then it stays marked, as after a kill, and a thread is left behind that
 * waits for the disk and changes nothing any more. The database is closed already.
 */
void cache_disk_end(struct cache_disk_use *use, unsigned wait_ms);
/* Throws everything away, the database too. The time it takes does not grow with the cache: the
 * files are moved aside for cache_disk_sweep(). */
must_check int cache_disk_discard(int dir_fd);
/* Whoever begins next will throw everything away. */
void cache_disk_distrust(int dir_fd);
/* Removes some of what was thrown away, a few hundred files. True: call again. */
bool cache_disk_sweep(int dir_fd);

/* Both files of a content; -ENOENT when it has none. */
must_check int cache_disk_open(int dir_fd, uint64_t cid, int *ret_fd, int *ret_map_fd);
/* New files with an empty map of blocks_n blocks; what was there is removed. */
must_check int cache_disk_create(int dir_fd, const struct cache_disk_header *header,
				 uint64_t blocks_n, int *ret_fd, int *ret_map_fd);
/* Bytes of the blocks that a content's map has; 0 when the map cannot be read. */
uint64_t cache_disk_count(int dir_fd, uint64_t cid);
void cache_disk_remove(int dir_fd, uint64_t cid);

/* All of it, or an error. */
must_check int cache_disk_pread(int fd, void *buf, size_t len, uint64_t off);
must_check int cache_disk_pwrite(int fd, const void *buf, size_t len, uint64_t off);

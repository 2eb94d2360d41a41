/*
 * What the cache of contents (cache.h) looks like on disk: private to src/store/cache*.c. No
 * state, no locks; any thread. Nothing here follows a link or leaves the cache's directory.
 */
#pragma once

#include "mem.h"

#include <stdint.h>

/* At the head of a map; of this machine's byte order: a cache does not travel. */
struct cache_disk_header {
	char magic[8];
	uint64_t cid;
	uint64_t row_size; /* the tree's size of this content */
	uint64_t size;     /* the content's own */
};
#define CACHE_DISK_MAGIC "gfsmap1"

/*
 * Makes the directory ready: removes everything unless it is of this epoch and was stopped
 * cleanly, or was only killed since the kernel booted. Then notes that it is in use. -EBUSY when
 * another process uses it.
 */
must_check int cache_disk_begin(int dir_fd, const char *epoch);
/* Everything is on disk before the directory counts as cleanly stopped. */
void cache_disk_end(int dir_fd);

/* Calls fn for every content; bytes are what it occupies. Removes halves of pairs. */
typedef int (*cache_disk_fn)(void *arg, uint64_t cid, uint64_t bytes, int64_t used_ns);
must_check int cache_disk_scan(int dir_fd, cache_disk_fn fn, void *arg);

/* Both files of a content; -ENOENT when it has none. */
must_check int cache_disk_open(int dir_fd, uint64_t cid, int *ret_fd, int *ret_map_fd);
/* New files with an empty map of blocks_n blocks; what was there is removed. */
must_check int cache_disk_create(int dir_fd, const struct cache_disk_header *header,
				 uint64_t blocks_n, int *ret_fd, int *ret_map_fd);
void cache_disk_remove(int dir_fd, uint64_t cid);

/* All of it, or an error. */
must_check int cache_disk_pread(int fd, void *buf, size_t len, uint64_t off);
must_check int cache_disk_pwrite(int fd, const void *buf, size_t len, uint64_t off);

/*
 * Contents in memory: private to src/store/cache*.c.
 */
#pragma once

#include "cache.h"
#include "list.h"
#include "mutex.h"
#include "quickxor.h"

#include <pthread.h>
#include <stdatomic.h>

/* An entry takes 80 bytes: this bounds the index to 10 MiB. */
enum { CACHE_FILES_MAX = 131072, CACHE_BUCKETS_N = 8192 };

/* Bits of have[]. */
enum { HAVE = 1, WRITING = 2, HASHED = 4 };

struct cache_entry {
	struct list node, lru;
	uint64_t cid;
	uint64_t bytes;
	struct cache_file *file; /* while it is open */
	unsigned refs_n;
	bool busy;
};

struct cache {
	int dir_fd; /* borrowed */
	uint64_t budget_bytes;

	struct mutex lock; /* MUTEX_RANK_CACHE; guards all that follows, entries included */
	pthread_cond_t settled;
	struct list buckets[CACHE_BUCKETS_N];
	struct list lru; /* closed entries, the longest unused first */
	uint64_t bytes, files_n, evicted_n;
};

/* The blocks of a content of one length. */
struct cache_blocks {
	struct cache_blocks *old; /* of the length believed before; readers may still look at it */
	uint64_t size, n;
	_Atomic(uint8_t) have[];
};

struct cache_file {
	struct cache *cache;
	struct cache_entry *entry;
	uint64_t cid, row_size;
	uint8_t hash[QUICKXOR_BYTES];
	bool has_hash;
	_Atomic(struct cache_blocks *) blocks;
	/* Odd while the content is being dropped: nothing that was read then counts. */
	atomic_uint dropped;
	atomic_int fd, map_fd; /* -1 until the first block is written */

	/* The cache's lock. */
	struct quickxor sum; /* of blocks that are HASHED */
	uint64_t unwritten_n;
	unsigned publishing_n; /* threads between data and have[] */
	bool creating;
};

static inline uint64_t cache_block_len(const struct cache_blocks *b, uint64_t block)
{
	uint64_t off = block * CACHE_BLOCK_BYTES;

	return b->size - off < CACHE_BLOCK_BYTES ? b->size - off : CACHE_BLOCK_BYTES;
}

/* Counts what the entry occupies; with the lock held. */
void cache_set_bytes(struct cache *cache, struct cache_entry *e, uint64_t bytes)
	REQUIRES(&cache->lock);
/* Removes the content that was unused longest; false when everything is open. */
bool cache_evict_one(struct cache *cache);
/* Evicts until that many bytes more fit; -EDQUOT. */
int cache_make_room(struct cache *cache, uint64_t more);

/*
 * Contents in memory: private to src/store/cache*.c.
 *
 *   cache.c        begin and end, opening and closing
 *   cache_block.c  reading and writing blocks
 *   cache_keep.c   the cache's own thread, eviction
 *   cache_db.c     the index in SQLite, which also holds small contents
 *   cache_disk.c   files
 *
 * In memory are contents that are open or just being closed or evicted; all others are rows of
 * the index only, so memory does not grow with the cache.
 */
#pragma once

#include "cache.h"
#include "cache_disk.h"
#include "list.h"
#include "mutex.h"
#include "quickxor.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
	CACHE_BUCKETS_N = 1024,
	/* Bytes of small contents that are kept in memory while they are open or not yet in the
	 * index. Those beyond are written at once, and read from the index. */
	CACHE_HELD_MAX = 8 << 20,
	CACHE_TOUCHED_MAX = 256,
	/* Written contents that wait to be closed; they hold descriptors. */
	CACHE_CLOSING_MAX = 256,
	CACHE_RETRY_MS = 30000,
	/* For the disk, at the end: the next mount waits for it. */
	CACHE_END_MS = 5000,
};

/* Bits of have[]. */
enum { HAVE = 1, WRITING = 2, HASHED = 4 };

struct cache_db;

struct cache_entry {
	struct list node;
	uint64_t cid;
	uint64_t bytes;     /* that are there */
	uint64_t row_bytes; /* of them that its row tells */
	struct cache_file *file;
	unsigned refs_n;
	bool has_row;
	bool busy; /* being loaded, closed or removed: whoever wants it waits */
};

/* The date of use in a row: in one age, what is used again stays longer than what only came. */
#define CACHE_USED_NEW(age)   (2 * (age))
#define CACHE_USED_AGAIN(age) (2 * (age) + 1)

struct cache_touch {
	uint64_t cid, used;
};

struct cache {
	int dir_fd; /* borrowed */
	struct cache_disk_use use;
	char *epoch;
	uint64_t budget_bytes;
	/* NULL: the directory could not be used so far, or its index is damaged. */
	_Atomic(struct cache_db *) db;
	atomic_bool is_damaged;
	atomic_uint_fast64_t keep_free_bytes; /* UINT64_MAX: the default */
	atomic_uint_fast64_t pause_ms;        /* no eviction before: it failed */
	pthread_t keeper;
	/* Set before anybody else uses the cache. */
	bool (*is_pinned)(void *arg, uint64_t cid);
	void *pinned_arg;

	struct mutex lock; /* MUTEX_RANK_CACHE; guards all that follows, entries included */
	pthread_cond_t settled, work;
	bool is_ending, is_beginning, is_checking, is_learning, has_trash;
	uint64_t retry_at_ms;
	struct list buckets[CACHE_BUCKETS_N];
	struct list pins[CACHE_BUCKETS_N]; /* by content, as buckets */
	struct list closing;               /* files for the keeper, the first closed first */
	unsigned closing_n;                /* those that the keeper has in hand included */
	uint64_t bytes, files_n, evicted_n, held_bytes;
	/* Use is dated by ages: one for each part of the budget that was written. */
	uint64_t age, age_bytes;
	struct cache_touch touched[CACHE_TOUCHED_MAX];
	unsigned touched_n;
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
	/* The bytes of a small content; its only block is marked after it was set. NULL: they are
	 * in the index. */
	_Atomic(void *) data;

	/* The cache's lock. */
	struct list closing;
	struct quickxor sum; /* of blocks that are HASHED */
	uint64_t unwritten_n;
	unsigned publishing_n; /* threads between data and have[] */
	bool is_finishing;     /* one has the last block, and the hash to check */
	bool is_preparing;     /* a thread makes it ready for writing */
	bool is_reused;        /* it was opened before */
	bool is_dirty;         /* its row is to be written when it is closed */
};

static inline uint64_t cache_block_len(const struct cache_blocks *b, uint64_t block)
{
	uint64_t off = block * CACHE_BLOCK_BYTES;

	return b->size - off < CACHE_BLOCK_BYTES ? b->size - off : CACHE_BLOCK_BYTES;
}

/* Small contents are rows of the index, others are files. */
static inline bool cache_is_small(const struct cache_file *file)
{
	return atomic_load(&file->blocks)->size <= CACHE_SMALL_BYTES;
}

/* --- cache.c --- */

/* Counts what the entry occupies. */
void cache_set_bytes(struct cache *cache, struct cache_entry *e, uint64_t bytes)
	REQUIRES(&cache->lock);
/* Claims a content that is neither in memory nor pinned; NULL when it is, or when memory is short.
 */
struct cache_entry *cache_claim_closed(struct cache *cache, uint64_t cid, uint64_t bytes)
	REQUIRES(&cache->lock);
/* Ends a claim; the content is in the index only, or gone. */
void cache_forget(struct cache *cache, struct cache_entry *e) REQUIRES(&cache->lock);
/* Frees what a file holds. Not with the lock. */
void cache_free_file(struct cache_file *file);
/* Bytes of a small content may be kept in memory: they are counted. */
bool cache_hold(struct cache *cache, uint64_t bytes);
/* The row that the content should have. */
struct cache_row cache_row_of(struct cache_file *file, bool is_dirty);
/* The index, for writing: tries to begin if that failed before. 0, or why not. On a lane or the
 * keeper. */
must_check int cache_get_db(struct cache *cache, struct cache_db **ret);
/* Passes r on; a damaged index is not used any more. */
int cache_note(struct cache *cache, int r);

/* --- cache_keep.c --- */

must_check int cache_keep_start(struct cache *cache);
/* Ends the thread when all is closed. */
void cache_keep_stop(struct cache *cache);
/* Makes the keeper look whether it has work. */
void cache_keep_wake(struct cache *cache) REQUIRES(&cache->lock);
/*
 * Evicts until that many bytes more fit into the budget and the disk keeps free what it should.
 * -EDQUOT, -ENOSPC: they do not fit; part of it may have been evicted, and the next call goes on.
 */
must_check int cache_make_room(struct cache *cache, uint64_t more);
/* Evicts that many bytes, if there are so many that may go. */
must_check int cache_evict(struct cache *cache, uint64_t need);

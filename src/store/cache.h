/*
 * Contents of files on disk: for each content id (tree.h: cid) one sparse file and beside it a map
 * of which blocks are there, or a row of a database when it is small. A content is complete only
 * if its hash is right.
 *
 *   DIR/epoch            which tree these contents belong to
 *   DIR/running          kernel boot in which they are being written; absent after a clean stop
 *   DIR/index            SQLite: a row for each content; a small content's bytes are in its row
 *   DIR/c4/00..01c4      a larger content's bytes, sparse; the folder is the id's last two digits
 *   DIR/c4/00..01c4.map  a header and one byte for each block: 0 not there, 1 there
 *   DIR/old.*            thrown away, being removed
 *
 * A block's byte in the map is written after its data was, so a killed process leaves no block
 * marked that is not there: the kernel keeps what was written, in order. A crash of the kernel or
 * a power cut keeps no order; then "running" names another boot, and the whole cache is thrown
 * away: it can be fetched again. (The tree's newest commits may be lost with it, so that its
 * content ids are given a second time: one more reason.) One byte for each block, not one bit:
 * two threads that mark neighbours never write the same byte.
 *
 * Opening reads a row and a map, no content: a file's hash was checked when it became complete and
 * is not looked at again. (A small content's is: its bytes are read anyway.) Of a file that an
 * earlier process fetched a part of, that part is read once more when the rest has come, for the
 * hash: half a second for each GiB or so.
 *
 * Neither memory nor the time to begin grow with the number of contents.
 *
 * Any thread. Calls touch the local disk only. Locks are never held across disk access. What takes
 * time (ends of written contents, making room after a close) is done by the cache's own thread.
 */
#pragma once

#include "list.h"
#include "mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cache;
struct cache_file; /* a content that is open here; counted */

enum {
	CACHE_BLOCK_BYTES = 256 * 1024,
	/* Contents up to this live in the index. Measured (bench_cache): writing one there takes a
	 * tenth of what a file and its map take; reading takes half at 4 KiB, as much at this size,
	 * and more beyond it. */
	CACHE_SMALL_BYTES = 16 * 1024,
};
/* Of its file system the cache leaves this much free: a part, but no more than that. */
enum { CACHE_FREE_PART = 20, CACHE_FREE_MAX = 1 << 30 };
/* Larger contents are not cached: the map would be too large to hold in memory. */
#define CACHE_SIZE_MAX (UINT64_C(1) << 40)

/*
 * dir_fd: a directory of ours (0700), borrowed until cache_free(). epoch: TREE_KV_EPOCH; contents
 * of another epoch are removed. budget_bytes: what is over it is evicted, least recently opened
 * first (roughly: uses are dated by how much was written since), never what is open or pinned.
 * A disk that is full or read-only is no error: nothing is cached then, and writes begin to work
 * within CACHE_RETRY_MS after the disk does. -EBUSY another process uses the directory.
 */
must_check int cache_new(int dir_fd, const char *epoch, uint64_t budget_bytes, struct cache **ret);
/* Bytes of the file system to leave free; UINT64_MAX: the default. */
void cache_set_keep_free(struct cache *cache, uint64_t bytes);
/* is_pinned says which contents are never evicted. From the cache's thread and from lanes, without
 * locks. To be set before anything is opened. */
void cache_set_pinned(struct cache *cache, bool (*is_pinned)(void *arg, uint64_t cid), void *arg);
/* All files must be closed. Makes what is there survive a power cut. NULL-safe. */
void cache_free(struct cache *cache);

/*
 * row_size, hash: as the tree has them; hash NULL when it is unknown. A file on disk that was made
 * for another row_size or is damaged is removed. Nothing is created before the first block is
 * written. The same content opened twice is one file. -EFBIG, -EMFILE, -EIO ...
 */
must_check int cache_open(struct cache *cache, uint64_t cid, uint64_t row_size, const uint8_t *hash,
			  struct cache_file **ret);
void cache_close(struct cache_file *file);

/*
 * Keeps what there is of a content from eviction, and counts as a use of it, without a look at the
 * disk: for whoever may come to read it, or never does because the kernel has its pages. Storage is
 * the caller's until cache_unpin(). used: 0 at first, then what an earlier call for the same
 * content left there, so that not every use has to be written down; NULL: there is no such place.
 */
struct cache_pin {
	struct list node; /* private */
	uint64_t cid;
};
void cache_pin(struct cache *cache, uint64_t cid, atomic_uint_fast64_t *used,
	       struct cache_pin *pin);
void cache_unpin(struct cache *cache, struct cache_pin *pin);

/* The content's real length: row_size unless cache_set_size() said otherwise, once before this
 * or in an earlier life. */
uint64_t cache_size(const struct cache_file *file);
/* The service delivers another length than its metadata say (it rewrites some documents): blocks
 * are counted anew, and the hash is not believed either. Drops what is there. */
must_check int cache_set_size(struct cache_file *file, uint64_t size);

bool cache_has_block(const struct cache_file *file, uint64_t block);
/* Every block is there, or just being marked. */
bool cache_is_whole(struct cache_file *file);
/* Exactly len bytes at off, within the size and within one block; -ENODATA when the block is not
 * there. */
must_check int cache_read(struct cache_file *file, uint64_t off, void *buf, size_t len);
/*
 * Writes a block (all of it; the last one is shorter) and then marks it. The block that makes the
 * content complete is marked only if the hash is right; -EBADMSG if it is not: all blocks are
 * dropped then. -ENOSPC, -EDQUOT, -EFBIG, -EIO ...: the block is not there, all else is as before.
 * May evict: for lanes, not for FUSE threads or the loop.
 */
must_check int cache_write(struct cache_file *file, uint64_t block, const void *data, size_t len);

/* Bytes of the blocks of a content that are there. For those that are not open a row is read; for
 * most that are not cached at all, nothing. */
uint64_t cache_bytes(struct cache *cache, uint64_t cid);

struct cache_stats {
	uint64_t bytes; /* blocks that are there */
	uint64_t files;
	uint64_t evicted_files;
};
void cache_get_stats(struct cache *cache, struct cache_stats *ret);

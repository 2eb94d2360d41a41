/*
 * Contents of files on disk: for each content id (tree.h: cid) one sparse file and beside it a map
 * of which blocks are there. A content is complete only if its hash is right.
 *
 *   DIR/epoch            which tree these contents belong to
 *   DIR/running          kernel boot in which they are being written; absent after a clean stop
 *   DIR/c4/00..01c4      the content's bytes, sparse; the folder is the id's last two digits
 *   DIR/c4/00..01c4.map  a header and one byte for each block: 0 not there, 1 there
 *
 * A block's byte in the map is written after its data was, so a killed process leaves no block
 * marked that is not there: the kernel keeps what was written, in order. A crash of the kernel or
 * a power cut keeps no order; then "running" names another boot, and the whole cache is thrown
 * away: it can be fetched again. (The tree's newest commits may be lost with it, so that its
 * content ids are given a second time: one more reason.) One byte for each block, not one bit:
 * two threads that mark neighbours never write the same byte.
 *
 * Any thread. Calls touch the local disk only. Locks are never held across disk access.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cache;
struct cache_file; /* a content that is open here; counted */

enum { CACHE_BLOCK_BYTES = 256 * 1024 };
/* Larger contents are not cached: the map would be too large to hold in memory. */
#define CACHE_SIZE_MAX (UINT64_C(1) << 40)

/*
 * dir_fd: a directory of ours (0700), borrowed until cache_free(). epoch: TREE_KV_EPOCH; contents
 * of another epoch are removed. budget_bytes: what is over it is evicted, least recently opened
 * first, never what is open. -EBUSY another process uses the directory.
 */
must_check int cache_new(int dir_fd, const char *epoch, uint64_t budget_bytes, struct cache **ret);
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

/* The content's real length: row_size unless cache_set_size() said otherwise, once before this
 * or in an earlier life. */
uint64_t cache_size(const struct cache_file *file);
/* The service delivers another length than its metadata say (it rewrites some documents): blocks
 * are counted anew, and the hash is not believed either. Drops what is there. */
must_check int cache_set_size(struct cache_file *file, uint64_t size);

bool cache_has_block(const struct cache_file *file, uint64_t block);
/* Exactly len bytes at off, within the size and within one block; -ENODATA when the block is not
 * there. */
must_check int cache_read(struct cache_file *file, uint64_t off, void *buf, size_t len);
/*
 * Writes a block (all of it; the last one is shorter) and then marks it. The block that makes the
 * content complete is marked only if the hash is right; -EBADMSG if it is not: all blocks are
 * dropped then. -ENOSPC, -EDQUOT, -EFBIG, -EIO ...: the block is not there, all else is as before.
 */
must_check int cache_write(struct cache_file *file, uint64_t block, const void *data, size_t len);

/* Bytes of the blocks of a content that are there. Memory only. */
uint64_t cache_bytes(struct cache *cache, uint64_t cid);

struct cache_stats {
	uint64_t bytes; /* blocks that are there */
	uint64_t files;
	uint64_t evicted_files;
};
void cache_get_stats(struct cache *cache, struct cache_stats *ret);

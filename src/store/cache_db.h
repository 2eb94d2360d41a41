/*
 * The database of the cache of contents (cache.h), DIR/index: a row for each content, with the
 * bytes themselves when they are few. Private to src/store/cache*.c.
 *
 * It is never synced while it runs: what a killed process committed is there, and after a power
 * cut the whole cache is thrown away anyway.
 *
 * Any thread: reads take one of a few connections, a transaction waits for the one before it.
 * -EUCLEAN from any of them: the database is damaged.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cache_db;

struct cache_row {
	uint64_t cid;
	uint64_t row_size; /* the tree's size of this content */
	uint64_t size;     /* the content's own */
	uint64_t bytes;    /* of it that are there */
	uint64_t used;     /* rises; order of eviction */
	bool is_file;      /* its bytes are in files (cache_disk.h), not here */
	bool is_dirty;     /* files that may have more than bytes says: they are being written */
};

/* before_write: called before the first transaction, and again until it is 0. */
must_check int cache_db_open(int dir_fd, int (*before_write)(void *arg), void *arg,
			     struct cache_db **ret);
/* No call may be on its way. NULL-safe. */
void cache_db_close(struct cache_db *db);
bool cache_db_exists(int dir_fd);
/* Syncs the files of a closed one. */
must_check int cache_db_sync(int dir_fd, int (*sync)(int fd));
/* Removes the database that a directory has. */
must_check int cache_db_discard(int dir_fd);

/* ret_data: the bytes of a content that is here, the caller's; NULL when it is in files. -ENOENT.
 */
must_check int cache_db_find(struct cache_db *db, uint64_t cid, struct cache_row *ret,
			     void **ret_data);

/*
 * Bytes that are there of a content, as its row says; 0 without a row. For many contents at a time:
 * most of those that have no row are known from memory once cache_db_learn() is through.
 */
uint64_t cache_db_get_bytes(struct cache_db *db, uint64_t cid);
/* False: it certainly has no row. No I/O. */
bool cache_db_may_have(struct cache_db *db, uint64_t cid);
/* Looks at some more of the rows there are. True: call again. One thread. */
bool cache_db_learn(struct cache_db *db);

/* Sums over all rows, and the largest used. */
struct cache_db_total {
	uint64_t bytes, files_n, used;
};
must_check int cache_db_get_total(struct cache_db *db, struct cache_db_total *ret);

/* A transaction: only if cache_db_begin() was 0, the calls below by the same thread, and then
 * cache_db_end(). */
must_check int cache_db_begin(struct cache_db *db);
/* result < 0: nothing of it happened. Gives result, or what went wrong with the commit. */
must_check int cache_db_end(struct cache_db *db, int result);

/* Adds or replaces. data: row->size bytes, NULL when it is in files. */
must_check int cache_db_put(struct cache_db *db, const struct cache_row *row, const void *data);
must_check int cache_db_touch(struct cache_db *db, uint64_t cid, uint64_t used);
must_check int cache_db_remove(struct cache_db *db, uint64_t cid);
/* Up to max rows that were unused longest, none with a later use than used_max. */
must_check int cache_db_list_oldest(struct cache_db *db, uint64_t used_max, struct cache_row *ret,
				    size_t max, size_t *ret_n);
/* Up to max dirty rows. */
must_check int cache_db_list_dirty(struct cache_db *db, struct cache_row *ret, size_t max,
				   size_t *ret_n);

/* Gives pages that removed rows left behind back to the file system, a bounded number of them, if
 * they are many. True: call again. Not within a transaction. */
bool cache_db_shrink(struct cache_db *db);

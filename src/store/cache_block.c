/*
 * Writing a block: data; its byte in the map; then have[] says so to readers. Each block is
 * written by one thread (the one that moved have[] from NONE to WRITING). The one that finds no
 * other block missing waits until its neighbours' bytes are in the map, compares the hash, and
 * only then marks its own: "complete" therefore always means "the hash was right".
 */
#define LOG_MODULE "cache"
#include "cache_file.h"

#include "cache_db.h"
#include "cache_disk.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

bool cache_has_block(const struct cache_file *file, uint64_t block)
{
	const struct cache_blocks *b = atomic_load(&file->blocks);

	return block < b->n && (atomic_load(&b->have[block]) & HAVE) &&
	       (atomic_load(&file->dropped) & 1) == 0;
}

bool cache_is_whole(struct cache_file *file)
{
	bool is_whole;

	mutex_lock(&file->cache->lock);
	is_whole = file->unwritten_n == 0;
	mutex_unlock(&file->cache->lock);
	return is_whole;
}

static int read_small(struct cache_file *file, uint64_t off, void *buf, size_t len)
{
	const char *held = atomic_load(&file->data);
	auto_free void *found = NULL;
	struct cache_row row;
	int r = 0;

	if (off + len > cache_size(file))
		return -EINVAL;
	if (!held) {
		r = cache_db_find(file->cache->db, file->cid, &row, &found);
		if (r == -ENOMEM)
			return r;
		if (r < 0 || !found || row.size != cache_size(file)) {
			if (r < 0 && r != -ENOENT)
				(void)cache_note(file->cache, r);
			/* The index has failed: it can be fetched again. */
			atomic_store(&atomic_load(&file->blocks)->have[0], 0);
			return -ENODATA;
		}
	}
	memcpy(buf, (held ? held : (const char *)found) + off, len);
	return 0;
}

int cache_read(struct cache_file *file, uint64_t off, void *buf, size_t len)
{
	unsigned before = atomic_load(&file->dropped);
	int r;

	if (!cache_has_block(file, off / CACHE_BLOCK_BYTES))
		return -ENODATA;
	if (cache_is_small(file))
		return read_small(file, off, buf, len);
	r = cache_disk_pread(atomic_load(&file->fd), buf, len, off);
	/* Dropped meanwhile: these may be holes. */
	if (r == 0 && ((before & 1) || atomic_load(&file->dropped) != before))
		return -ENODATA;
	return r;
}

/* --- making ready --- */

static int create(struct cache_file *file)
{
	struct cache_disk_header header = {
		.magic = CACHE_DISK_MAGIC,
		.cid = file->cid,
		.row_size = file->row_size,
		.size = cache_size(file),
	};
	int fd, map_fd;
	int r = cache_disk_create(file->cache->dir_fd, &header, atomic_load(&file->blocks)->n, &fd,
				  &map_fd);

	if (r == 0) {
		file->map_fd = map_fd;
		file->fd = fd;
	}
	return r;
}

static int put_row(struct cache_file *file, const struct cache_row *row, const void *data)
{
	struct cache *cache = file->cache;
	struct cache_db *db;
	int r = cache_get_db(cache, &db);

	if (r == 0)
		r = cache_db_begin(db);
	if (r == 0)
		r = cache_db_end(db, cache_db_put(db, row, data));
	if (r < 0)
		return cache_note(cache, r);
	mutex_lock(&cache->lock);
	if (!file->entry->has_row)
		cache->files_n++;
	file->entry->has_row = true;
	file->entry->row_bytes = row->bytes;
	file->is_dirty = row->is_dirty;
	mutex_unlock(&cache->lock);
	return 0;
}

/*
 * Before the first block is written: the row says that the file is being written, so that what a
 * killed process leaves is counted; then the files are made. By one of those who write. The
 * keeper may be behind with contents that were closed.
 */
static int prepare(struct cache_file *file)
{
	struct cache *cache = file->cache;
	struct cache_row row;
	bool is_ready;
	int r = 0;

	mutex_lock(&cache->lock);
	while (file->is_preparing || (!file->is_dirty && cache->closing_n >= CACHE_CLOSING_MAX))
		mutex_wait(&cache->lock, &cache->settled);
	is_ready = file->is_dirty && file->fd >= 0;
	file->is_preparing = !is_ready;
	mutex_unlock(&cache->lock);
	if (is_ready)
		return 0;
	row = cache_row_of(file, true);
	r = put_row(file, &row, NULL);
	if (r == 0 && file->fd < 0)
		r = create(file);
	mutex_lock(&cache->lock);
	file->is_preparing = false;
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	return r;
}

/* --- the hash --- */

/* Adds blocks to the sum that an earlier process wrote. */
static int hash_rest(struct cache_file *file, struct cache_blocks *b, struct quickxor *sum)
{
	char *buf = malloc(CACHE_BLOCK_BYTES);
	int r = 0;

	if (!buf)
		return -ENOMEM;
	for (uint64_t i = 0; r == 0 && i < b->n; i++) {
		uint64_t off = i * CACHE_BLOCK_BYTES, len = cache_block_len(b, i);

		if (b->have[i] & HASHED)
			continue;
		r = cache_disk_pread(file->fd, buf, len, off);
		if (r == 0)
			quickxor_add(sum, off, buf, len);
	}
	free(buf);
	return r == -ENODATA ? -EIO : r;
}

static int check_hash(struct cache_file *file, struct cache_blocks *b)
{
	uint8_t hash[QUICKXOR_BYTES];
	struct quickxor sum;
	int r;

	if (!file->has_hash)
		return 0;
	mutex_lock(&file->cache->lock);
	sum = file->sum;
	mutex_unlock(&file->cache->lock);
	r = hash_rest(file, b, &sum);
	if (r < 0)
		return r;
	quickxor_finish(&sum, b->size, hash);
	return memcmp(hash, file->hash, sizeof(hash)) == 0 ? 0 : -EBADMSG;
}

/* All blocks are written and nobody else writes: takes everything back. */
static void drop(struct cache_file *file, struct cache_blocks *b)
{
	static const uint8_t zeros[4096];
	struct cache *cache = file->cache;
	int r = 0;

	atomic_fetch_add(&file->dropped, 1);
	for (uint64_t i = 0; r == 0 && i < b->n; i += sizeof(zeros)) {
		size_t n = b->n - i < sizeof(zeros) ? (size_t)(b->n - i) : sizeof(zeros);

		r = cache_disk_pwrite(file->map_fd, zeros, n, sizeof(struct cache_disk_header) + i);
	}
	if (r == 0 && (ftruncate(file->fd, 0) < 0 || ftruncate(file->fd, (off_t)b->size) < 0))
		r = -errno;
	if (r < 0) {
		/* What is on disk then must not be found again; this process knows better. */
		log_error("cached content %" PRIu64 " cannot be dropped: %s", file->cid,
			  strerror(-r));
		cache_disk_remove(cache->dir_fd, file->cid);
	}
	mutex_lock(&cache->lock);
	quickxor_init(&file->sum);
	file->unwritten_n = b->n;
	file->is_finishing = false;
	cache_set_bytes(cache, file->entry, 0);
	mutex_unlock(&cache->lock);
	for (uint64_t i = 0; i < b->n; i++)
		atomic_store(&b->have[i], 0);
	atomic_fetch_add(&file->dropped, 1);
}

/* Data is written. True: this was the last block, and all others are published. */
static bool count_written(struct cache_file *file, struct cache_blocks *b, uint64_t block,
			  const struct quickxor *sum)
{
	struct cache *cache = file->cache;
	bool is_last;

	mutex_lock(&cache->lock);
	quickxor_combine(&file->sum, sum);
	atomic_fetch_or(&b->have[block], HASHED);
	/* One finishes; who comes meanwhile with a block that was to be written again does not. */
	is_last = --file->unwritten_n == 0 && !file->is_finishing;
	if (is_last)
		file->is_finishing = true;
	else
		file->publishing_n++;
	while (is_last && file->publishing_n > 0)
		mutex_wait(&cache->lock, &cache->settled);
	/* One that failed after it was counted is to be written again: then this is not last. */
	if (is_last && file->unwritten_n > 0) {
		is_last = file->is_finishing = false;
		file->publishing_n++;
	}
	mutex_unlock(&cache->lock);
	return is_last;
}

/* Marks a written block, on disk and then for readers; or takes it back. */
static int publish(struct cache_file *file, struct cache_blocks *b, uint64_t block, bool is_last,
		   const struct quickxor *sum)
{
	const uint8_t mark = HAVE;
	struct cache *cache = file->cache;
	int r = cache_disk_pwrite(file->map_fd, &mark, 1, sizeof(struct cache_disk_header) + block);

	if (r == 0)
		atomic_store(&b->have[block], HAVE | HASHED);
	mutex_lock(&cache->lock);
	if (r < 0) {
		/* XOR: adding it again removes it. */
		quickxor_combine(&file->sum, sum);
		file->unwritten_n++;
		atomic_store(&b->have[block], 0);
	} else {
		cache_set_bytes(cache, file->entry, file->entry->bytes + cache_block_len(b, block));
	}
	if (is_last)
		file->is_finishing = false;
	else
		file->publishing_n--;
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	return r;
}

static int write_data(struct cache_file *file, uint64_t block, const void *data, size_t len)
{
	uint64_t off = block * CACHE_BLOCK_BYTES;
	int r = cache_make_room(file->cache, len);

	if (r == 0)
		r = prepare(file);
	if (r == 0)
		r = cache_disk_pwrite(file->fd, data, len, off);
	/* The disk is fuller than the budget knows: old contents may help once. */
	if (r == -ENOSPC && cache_evict(file->cache, len) == 0) {
		r = prepare(file);
		if (r == 0)
			r = cache_disk_pwrite(file->fd, data, len, off);
	}
	return r;
}

/* --- small contents --- */

/* Keeps a copy until the content is closed, when the keeper writes it with others. False: there
 * are enough of them. */
static bool hold_copy(struct cache_file *file, const void *data, size_t len)
{
	struct cache *cache = file->cache;
	void *copy = malloc(len);

	if (!copy || !cache_hold(cache, len)) {
		free(copy);
		return false;
	}
	memcpy(copy, data, len);
	atomic_store(&file->data, copy);
	mutex_lock(&cache->lock);
	file->is_dirty = true;
	mutex_unlock(&cache->lock);
	return true;
}

static int store_small(struct cache_file *file, const void *data, size_t len)
{
	struct cache_row row = cache_row_of(file, false);
	struct cache_db *db;
	int r = cache_get_db(file->cache, &db);

	if (r == 0)
		r = cache_make_room(file->cache, len);
	row.bytes = len;
	if (r == 0 && !hold_copy(file, data, len))
		r = put_row(file, &row, data);
	return r;
}

static int write_small(struct cache_file *file, struct cache_blocks *b, const void *data,
		       size_t len)
{
	struct cache *cache = file->cache;
	uint8_t hash[QUICKXOR_BYTES];
	struct quickxor sum;
	int r;

	quickxor_init(&sum);
	quickxor_add(&sum, 0, data, len);
	quickxor_finish(&sum, len, hash);
	if (file->has_hash && memcmp(hash, file->hash, sizeof(hash)) != 0)
		r = -EBADMSG;
	else
		r = store_small(file, data, len);
	if (r < 0) {
		atomic_store(&b->have[0], 0);
		return r;
	}
	mutex_lock(&cache->lock);
	file->unwritten_n = 0;
	cache_set_bytes(cache, file->entry, len);
	mutex_unlock(&cache->lock);
	atomic_store(&b->have[0], HAVE | HASHED);
	return 0;
}

/* --- writing --- */

int cache_write(struct cache_file *file, uint64_t block, const void *data, size_t len)
{
	struct cache_blocks *b = file->blocks;
	struct quickxor sum;
	uint8_t none = 0;
	bool is_last;
	int r;

	if (block >= b->n || len != cache_block_len(b, block))
		return -EINVAL;
	if (!atomic_compare_exchange_strong(&b->have[block], &none, WRITING))
		return 0; /* there, or another thread is at it */
	if (cache_is_small(file))
		return write_small(file, b, data, len);
	r = write_data(file, block, data, len);
	if (r < 0) {
		atomic_store(&b->have[block], 0);
		return r;
	}
	quickxor_init(&sum);
	quickxor_add(&sum, block * CACHE_BLOCK_BYTES, data, len);
	is_last = count_written(file, b, block, &sum);
	if (is_last) {
		r = check_hash(file, b);
		if (r < 0) {
			drop(file, b);
			return r;
		}
	}
	return publish(file, b, block, is_last, &sum);
}

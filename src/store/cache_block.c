/*
 * Writing a block: data; its byte in the map; then have[] says so to readers. Each block is
 * written by one thread (the one that moved have[] from NONE to WRITING). The one that finds no
 * other block missing waits until its neighbours' bytes are in the map, compares the hash, and
 * only then marks its own: "complete" therefore always means "the hash was right".
 */
#define LOG_MODULE "cache"
#include "cache_file.h"

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

int cache_read(struct cache_file *file, uint64_t off, void *buf, size_t len)
{
	unsigned before = atomic_load(&file->dropped);
	int r;

	if (!cache_has_block(file, off / CACHE_BLOCK_BYTES))
		return -ENODATA;
	r = cache_disk_pread(atomic_load(&file->fd), buf, len, off);
	/* Dropped meanwhile: these may be holes. */
	if (r == 0 && ((before & 1) || atomic_load(&file->dropped) != before))
		return -ENODATA;
	return r;
}

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

/* Files are made when the first block is written, by one of those who write. */
static int ensure_created(struct cache_file *file)
{
	struct cache *cache = file->cache;
	bool mine;
	int r = 0;

	mutex_lock(&cache->lock);
	while (file->creating)
		mutex_wait(&cache->lock, &cache->settled);
	mine = file->fd < 0;
	file->creating = mine;
	mutex_unlock(&cache->lock);
	if (!mine)
		return 0;
	r = create(file);
	mutex_lock(&cache->lock);
	file->creating = false;
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	return r;
}

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
	is_last = --file->unwritten_n == 0;
	if (!is_last)
		file->publishing_n++;
	while (is_last && file->publishing_n > 0)
		mutex_wait(&cache->lock, &cache->settled);
	/* One that failed after it was counted is to be written again: then this is not last. */
	if (is_last && file->unwritten_n > 0) {
		is_last = false;
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
	if (!is_last)
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
		r = ensure_created(file);
	if (r == 0)
		r = cache_disk_pwrite(file->fd, data, len, off);
	/* The disk is fuller than the budget knows: old contents may help once. */
	if (r == -ENOSPC && cache_evict_one(file->cache)) {
		r = ensure_created(file);
		if (r == 0)
			r = cache_disk_pwrite(file->fd, data, len, off);
	}
	return r;
}

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

/*
 * The index of contents, their life in memory, and eviction. An entry stands for a content whether
 * it is open or not; while it is loaded from disk or removed from it, it is busy, and whoever
 * wants it waits for that (local disk, a few system calls).
 */
#define LOG_MODULE "cache"
#include "cache_file.h"

#include "cache_disk.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static struct cache_blocks *new_blocks(uint64_t size)
{
	uint64_t n = (size + CACHE_BLOCK_BYTES - 1) / CACHE_BLOCK_BYTES;
	struct cache_blocks *b = calloc(1, sizeof(*b) + n);

	if (b) {
		b->size = size;
		b->n = n;
	}
	return b;
}

/* --- index --- */

static struct list *bucket_of(struct cache *cache, uint64_t cid)
{
	return &cache->buckets[(cid * UINT64_C(0x9e3779b97f4a7c15)) >> 51];
}

static struct cache_entry *find(struct cache *cache, uint64_t cid) REQUIRES(&cache->lock)
{
	list_for_each (bucket_of(cache, cid), pos) {
		struct cache_entry *e = container_of(pos, struct cache_entry, node);

		if (e->cid == cid)
			return e;
	}
	return NULL;
}

static struct cache_entry *add(struct cache *cache, uint64_t cid) REQUIRES(&cache->lock)
{
	struct cache_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->cid = cid;
	list_init(&e->lru);
	list_add_tail(bucket_of(cache, cid), &e->node);
	cache->files_n++;
	return e;
}

void cache_set_bytes(struct cache *cache, struct cache_entry *e, uint64_t bytes)
{
	cache->bytes += bytes - e->bytes;
	e->bytes = bytes;
}

static void forget(struct cache *cache, struct cache_entry *e) REQUIRES(&cache->lock)
{
	cache_set_bytes(cache, e, 0);
	list_del(&e->node);
	list_del(&e->lru);
	cache->files_n--;
	pthread_cond_broadcast(&cache->settled);
	free(e);
}

bool cache_evict_one(struct cache *cache)
{
	struct cache_entry *e = NULL;

	mutex_lock(&cache->lock);
	if (!list_empty(&cache->lru)) {
		e = container_of(cache->lru.next, struct cache_entry, lru);
		list_del(&e->lru);
		e->busy = true;
		cache->evicted_n++;
		cache_set_bytes(cache, e, 0);
	}
	mutex_unlock(&cache->lock);
	if (!e)
		return false;
	cache_disk_remove(cache->dir_fd, e->cid);
	mutex_lock(&cache->lock);
	forget(cache, e);
	mutex_unlock(&cache->lock);
	return true;
}

static bool is_over(struct cache *cache, uint64_t more)
{
	bool over;

	mutex_lock(&cache->lock);
	over = cache->bytes + more > cache->budget_bytes || cache->files_n > CACHE_FILES_MAX;
	mutex_unlock(&cache->lock);
	return over;
}

int cache_make_room(struct cache *cache, uint64_t more)
{
	while (is_over(cache, more)) {
		if (!cache_evict_one(cache))
			return -EDQUOT;
	}
	return 0;
}

/* --- begin and end --- */

struct found {
	uint64_t cid, bytes;
	int64_t used_ns;
};

struct found_list {
	struct found *v;
	size_t n, cap;
};

static int note_found(void *arg, uint64_t cid, uint64_t bytes, int64_t used_ns)
{
	struct found_list *list = arg;

	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 256;
		struct found *v = realloc(list->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		list->v = v;
		list->cap = cap;
	}
	list->v[list->n++] = (struct found){ cid, bytes, used_ns };
	return 0;
}

static int by_use(const void *a, const void *b)
{
	const struct found *x = a, *y = b;

	return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

static int load_index(struct cache *cache)
{
	struct found_list list = { 0 };
	int r = cache_disk_scan(cache->dir_fd, note_found, &list);

	if (list.n > 0)
		qsort(list.v, list.n, sizeof(*list.v), by_use);
	mutex_lock(&cache->lock);
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		struct cache_entry *e = add(cache, list.v[i].cid);

		if (!e) {
			r = -ENOMEM;
			break;
		}
		cache_set_bytes(cache, e, list.v[i].bytes);
		list_add_tail(&cache->lru, &e->lru);
	}
	mutex_unlock(&cache->lock);
	free(list.v);
	return r;
}

int cache_new(int dir_fd, const char *epoch, uint64_t budget_bytes, struct cache **ret)
{
	struct cache *cache;
	int r = cache_disk_begin(dir_fd, epoch);

	if (r < 0)
		return r;
	cache = calloc(1, sizeof(*cache));
	if (!cache) {
		cache_disk_end(dir_fd);
		return -ENOMEM;
	}
	cache->dir_fd = dir_fd;
	cache->budget_bytes = budget_bytes;
	mutex_init(&cache->lock, MUTEX_RANK_CACHE);
	mutex_cond_init(&cache->settled);
	list_init(&cache->lru);
	for (size_t i = 0; i < CACHE_BUCKETS_N; i++)
		list_init(&cache->buckets[i]);
	r = load_index(cache);
	if (r < 0) {
		cache_free(cache);
		return r;
	}
	(void)cache_make_room(cache, 0);
	*ret = cache;
	return 0;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	cache_disk_end(cache->dir_fd);
	for (size_t i = 0; i < CACHE_BUCKETS_N; i++) {
		list_for_each_safe (&cache->buckets[i], pos)
			free(container_of(pos, struct cache_entry, node));
	}
	pthread_cond_destroy(&cache->settled);
	mutex_fini(&cache->lock);
	free(cache);
}

/* --- opening --- */

static void free_file(struct cache_file *file)
{
	struct cache_blocks *b = file->blocks;

	if (file->fd >= 0)
		close(file->fd);
	if (file->map_fd >= 0)
		close(file->map_fd);
	while (b) {
		struct cache_blocks *old = b->old;

		free(b);
		b = old;
	}
	free(file);
}

/* Reads the map of a content that is on disk. -EBADMSG: it is not what it should be. */
static int load_map(struct cache_file *file, int fd, int map_fd)
{
	struct cache_disk_header header;
	struct stat data, map;
	struct cache_blocks *b;
	int r = cache_disk_pread(map_fd, &header, sizeof(header), 0);

	if (r < 0)
		return r == -ENODATA ? -EBADMSG : r;
	if (fstat(fd, &data) < 0 || fstat(map_fd, &map) < 0)
		return -errno;
	if (memcmp(header.magic, CACHE_DISK_MAGIC, sizeof(header.magic)) != 0 ||
	    header.cid != file->cid || header.row_size != file->row_size ||
	    header.size > CACHE_SIZE_MAX || (uint64_t)data.st_size != header.size)
		return -EBADMSG;
	b = new_blocks(header.size);
	if (!b)
		return -ENOMEM;
	if ((uint64_t)map.st_size != sizeof(header) + b->n)
		r = -EBADMSG;
	else
		r = cache_disk_pread(map_fd, b->have, b->n, sizeof(header));
	for (uint64_t i = 0; r == 0 && i < b->n; i++) {
		if (b->have[i] > HAVE)
			r = -EBADMSG;
	}
	if (r < 0) {
		free(b);
		return r;
	}
	free(file->blocks);
	file->blocks = b;
	return 0;
}

static int load(struct cache_file *file)
{
	auto_close int fd = -1, map_fd = -1;
	int dir_fd = file->cache->dir_fd;
	int r = cache_disk_open(dir_fd, file->cid, &fd, &map_fd);

	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = load_map(file, fd, map_fd);
	if (r == -EBADMSG || r == -ELOOP || r == -EISDIR) {
		log_warn("cached content %" PRIu64 " is not what its map says: removed", file->cid);
		cache_disk_remove(dir_fd, file->cid);
		return 0;
	}
	if (r < 0)
		return r;
	(void)futimens(map_fd, NULL); /* the order of eviction outlives a restart */
	file->fd = take_fd(&fd);
	file->map_fd = take_fd(&map_fd);
	return 0;
}

static struct cache_file *new_file(struct cache *cache, uint64_t cid, uint64_t row_size,
				   const uint8_t *hash)
{
	struct cache_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->cache = cache;
	file->cid = cid;
	file->row_size = row_size;
	file->has_hash = hash != NULL;
	if (hash)
		memcpy(file->hash, hash, sizeof(file->hash));
	file->fd = file->map_fd = -1;
	file->blocks = new_blocks(row_size);
	quickxor_init(&file->sum);
	if (!file->blocks) {
		free(file);
		return NULL;
	}
	return file;
}

/* The entry of cid, not busy: with its file when it is open, else claimed (busy) for the caller
 * to load. NULL: no memory. */
static struct cache_entry *claim(struct cache *cache, uint64_t cid)
{
	struct cache_entry *e;

	mutex_lock(&cache->lock);
	while ((e = find(cache, cid)) && e->busy)
		mutex_wait(&cache->lock, &cache->settled);
	if (!e)
		e = add(cache, cid);
	if (e && e->file) {
		e->refs_n++;
	} else if (e) {
		list_del(&e->lru);
		e->busy = true;
	}
	mutex_unlock(&cache->lock);
	return e;
}

static void count_loaded(struct cache_file *file, uint64_t *ret_bytes)
{
	struct cache_blocks *b = file->blocks;

	*ret_bytes = 0;
	file->unwritten_n = b->n;
	for (uint64_t i = 0; i < b->n; i++) {
		if (b->have[i] & HAVE) {
			*ret_bytes += cache_block_len(b, i);
			file->unwritten_n--;
		}
	}
}

int cache_open(struct cache *cache, uint64_t cid, uint64_t row_size, const uint8_t *hash,
	       struct cache_file **ret)
{
	struct cache_file *file;
	struct cache_entry *e;
	uint64_t bytes;
	int r;

	if (row_size > CACHE_SIZE_MAX)
		return -EFBIG;
	e = claim(cache, cid);
	if (!e)
		return -ENOMEM;
	if (!e->busy) {
		*ret = e->file;
		return 0;
	}
	file = new_file(cache, cid, row_size, hash);
	r = file ? load(file) : -ENOMEM;
	mutex_lock(&cache->lock);
	e->busy = false;
	if (r == 0) {
		count_loaded(file, &bytes);
		cache_set_bytes(cache, e, bytes);
		file->entry = e;
		e->file = file;
		e->refs_n = 1;
		*ret = file;
	} else if (e->bytes > 0) {
		list_add_tail(&cache->lru, &e->lru);
	} else {
		forget(cache, e);
	}
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	if (r < 0 && file)
		free_file(file);
	return r;
}

void cache_close(struct cache_file *file)
{
	struct cache *cache = file->cache;
	struct cache_entry *e = file->entry;
	bool is_last, is_empty;

	mutex_lock(&cache->lock);
	is_last = --e->refs_n == 0;
	is_empty = e->bytes == 0;
	if (is_last) {
		e->file = NULL;
		e->busy = true;
	}
	mutex_unlock(&cache->lock);
	if (!is_last)
		return;
	if (is_empty && file->fd >= 0)
		cache_disk_remove(cache->dir_fd, e->cid);
	free_file(file);
	mutex_lock(&cache->lock);
	e->busy = false;
	if (is_empty)
		forget(cache, e);
	else
		list_add_tail(&cache->lru, &e->lru);
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	(void)cache_make_room(cache, 0);
}

uint64_t cache_size(const struct cache_file *file)
{
	return atomic_load(&file->blocks)->size;
}

int cache_set_size(struct cache_file *file, uint64_t size)
{
	struct cache_blocks *b, *old = file->blocks;
	int r = 0;

	if (size == old->size)
		return 0;
	if (size > CACHE_SIZE_MAX)
		return -EFBIG;
	b = new_blocks(size);
	if (!b)
		return -ENOMEM;
	b->old = old;
	mutex_lock(&file->cache->lock);
	if (file->unwritten_n < old->n || file->fd >= 0 || file->creating || old->old) {
		r = -EBUSY;
	} else {
		file->unwritten_n = b->n;
		file->has_hash = false;
		file->blocks = b;
	}
	mutex_unlock(&file->cache->lock);
	if (r < 0)
		free(b);
	return r;
}

uint64_t cache_bytes(struct cache *cache, uint64_t cid)
{
	const struct cache_entry *e;
	uint64_t bytes;

	mutex_lock(&cache->lock);
	e = find(cache, cid);
	bytes = e ? e->bytes : 0;
	mutex_unlock(&cache->lock);
	return bytes;
}

void cache_get_stats(struct cache *cache, struct cache_stats *ret)
{
	mutex_lock(&cache->lock);
	*ret = (struct cache_stats){
		.bytes = cache->bytes,
		.files = cache->files_n,
		.evicted_files = cache->evicted_n,
	};
	mutex_unlock(&cache->lock);
}

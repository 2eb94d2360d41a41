/*
 * Contents in memory and their life: an entry stands for a content that is open, or that is being
 * loaded, closed or removed. Then it is busy, and whoever wants it waits for that (local disk, a
 * few system calls).
 */
#define LOG_MODULE "cache"
#include "cache_file.h"

#include "cache_db.h"
#include "cache_disk.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

/* An age of use ends when such a part of the budget was written. */
enum { AGE_PART = 32, RECOUNT_ROWS = 64 };

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

/* --- entries --- */

static size_t bucket_of(uint64_t cid)
{
	return (cid * UINT64_C(0x9e3779b97f4a7c15)) >> 54;
}
_Static_assert(CACHE_BUCKETS_N == 1 << (64 - 54), "bucket_of() knows it");

static struct cache_entry *find(struct cache *cache, uint64_t cid) REQUIRES(&cache->lock)
{
	list_for_each (&cache->buckets[bucket_of(cid)], pos) {
		struct cache_entry *e = container_of(pos, struct cache_entry, node);

		if (e->cid == cid)
			return e;
	}
	return NULL;
}

/* A new one is busy. */
static struct cache_entry *add(struct cache *cache, uint64_t cid) REQUIRES(&cache->lock)
{
	struct cache_entry *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->cid = cid;
	e->busy = true;
	list_add_tail(&cache->buckets[bucket_of(cid)], &e->node);
	return e;
}

static bool is_held(struct cache *cache, uint64_t cid) REQUIRES(&cache->lock)
{
	list_for_each (&cache->pins[bucket_of(cid)], pos) {
		if (container_of(pos, struct cache_pin, node)->cid == cid)
			return true;
	}
	return false;
}

struct cache_entry *cache_claim_closed(struct cache *cache, uint64_t cid, uint64_t bytes)
{
	struct cache_entry *e = NULL;

	if (!find(cache, cid) && !is_held(cache, cid))
		e = add(cache, cid);
	if (e) {
		e->bytes = e->row_bytes = bytes;
		e->has_row = true;
	}
	return e;
}

void cache_set_bytes(struct cache *cache, struct cache_entry *e, uint64_t bytes)
{
	if (bytes > e->bytes) {
		cache->age_bytes += bytes - e->bytes;
		if (cache->age_bytes > cache->budget_bytes / AGE_PART) {
			cache->age++;
			cache->age_bytes = 0;
		}
	}
	cache->bytes += bytes - e->bytes;
	e->bytes = bytes;
}

void cache_forget(struct cache *cache, struct cache_entry *e)
{
	list_del(&e->node);
	pthread_cond_broadcast(&cache->settled);
	free(e);
}

bool cache_hold(struct cache *cache, uint64_t bytes)
{
	bool may;

	mutex_lock(&cache->lock);
	may = cache->held_bytes + bytes <= CACHE_HELD_MAX;
	if (may)
		cache->held_bytes += bytes;
	mutex_unlock(&cache->lock);
	return may;
}

/* --- begin and end --- */

int cache_note(struct cache *cache, int r)
{
	if (r == -EUCLEAN && !atomic_exchange(&cache->is_damaged, true)) {
		log_error("the index of cached contents is damaged: nothing is cached, and the "
			  "next start throws the cache away");
		cache_disk_distrust(cache->dir_fd);
	}
	return r;
}

/* What a killed process was writing: its map says how much is there. */
static int recount(struct cache *cache, struct cache_db *db)
{
	struct cache_row rows[RECOUNT_ROWS];
	size_t n;
	int r;

	do {
		n = 0;
		/* Nobody else writes yet. */
		r = cache_db_list_dirty(db, rows, RECOUNT_ROWS, &n);
		if (r == 0 && n > 0)
			r = cache_db_begin(db);
		if (r < 0 || n == 0)
			return r;
		for (size_t i = 0; r == 0 && i < n; i++) {
			rows[i].is_dirty = false;
			rows[i].bytes = cache_disk_count(cache->dir_fd, rows[i].cid);
			if (rows[i].bytes > 0) {
				r = cache_db_put(db, &rows[i], NULL);
				continue;
			}
			cache_disk_remove(cache->dir_fd, rows[i].cid);
			r = cache_db_remove(db, rows[i].cid);
		}
		r = cache_db_end(db, r);
	} while (r == 0);
	return r;
}

static int before_write(void *arg)
{
	return cache_disk_mark(arg);
}

static int open_db(struct cache *cache, struct cache_db **ret)
{
	struct cache_db *db = NULL;
	int r = cache_db_open(cache->dir_fd, before_write, &cache->use, &db);

	if (r == -EUCLEAN || r == -EPROTO || r == -ELOOP) {
		log_warn("the index of cached contents cannot be used: all are thrown away");
		r = cache_disk_discard(cache->dir_fd);
		if (r == 0)
			r = cache_disk_mark(&cache->use);
		if (r == 0)
			r = cache_db_open(cache->dir_fd, before_write, &cache->use, &db);
	}
	if (r == 0)
		r = recount(cache, db);
	if (r < 0) {
		cache_db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

static int begin(struct cache *cache)
{
	struct cache_db_total total = { 0 };
	struct cache_db *db = NULL;
	int r = cache_disk_begin(cache->dir_fd, cache->epoch, &cache->use);

	if (r < 0)
		return r;
	r = open_db(cache, &db);
	if (r == 0)
		r = cache_db_get_total(db, &total);
	if (r < 0) {
		if (r == -EUCLEAN)
			cache_disk_distrust(cache->dir_fd);
		cache_db_close(db);
		cache_disk_end(&cache->use, CACHE_END_MS);
		return r;
	}
	atomic_store(&cache->db, db);
	mutex_lock(&cache->lock);
	cache->bytes += total.bytes;
	cache->files_n += total.files_n;
	cache->age = total.used / 2 + 1;
	cache->has_trash = cache->is_checking = cache->is_learning = true;
	cache_keep_wake(cache);
	mutex_unlock(&cache->lock);
	return 0;
}

static int try_again(struct cache *cache)
{
	bool mine;
	int r = -ENODEV;

	mutex_lock(&cache->lock);
	while (cache->is_beginning)
		mutex_wait(&cache->lock, &cache->settled);
	mine = !atomic_load(&cache->db) && clock_mono_ms() >= cache->retry_at_ms;
	cache->is_beginning = mine;
	mutex_unlock(&cache->lock);
	if (!mine)
		return atomic_load(&cache->db) ? 0 : r;
	r = begin(cache);
	mutex_lock(&cache->lock);
	cache->is_beginning = false;
	cache->retry_at_ms = clock_mono_ms() + CACHE_RETRY_MS;
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
	return r;
}

int cache_get_db(struct cache *cache, struct cache_db **ret)
{
	int r = 0;

	if (atomic_load(&cache->is_damaged))
		return -EUCLEAN;
	if (!atomic_load(&cache->db))
		r = try_again(cache);
	if (r < 0)
		return r;
	*ret = atomic_load(&cache->db);
	return 0;
}

static void free_cache(struct cache *cache)
{
	pthread_cond_destroy(&cache->settled);
	pthread_cond_destroy(&cache->work);
	mutex_fini(&cache->lock);
	free(cache->epoch);
	free(cache);
}

int cache_new(int dir_fd, const char *epoch, uint64_t budget_bytes, struct cache **ret)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	int r;

	if (!cache)
		return -ENOMEM;
	cache->dir_fd = dir_fd;
	cache->budget_bytes = budget_bytes;
	cache->keep_free_bytes = UINT64_MAX;
	mutex_init(&cache->lock, MUTEX_RANK_CACHE);
	mutex_cond_init(&cache->settled);
	mutex_cond_init(&cache->work);
	list_init(&cache->closing);
	for (size_t i = 0; i < CACHE_BUCKETS_N; i++) {
		list_init(&cache->buckets[i]);
		list_init(&cache->pins[i]);
	}
	cache->epoch = strdup(epoch);
	r = cache->epoch ? try_again(cache) : -ENOMEM;
	if (r < 0 && r != -EBUSY && r != -ENOMEM) {
		log_warn("nothing is cached for now: %s", strerror(-r));
		r = 0;
	}
	if (r == 0)
		r = cache_keep_start(cache);
	if (r < 0) {
		cache_db_close(cache->db);
		if (cache->db)
			cache_disk_end(&cache->use, CACHE_END_MS);
		free_cache(cache);
		return r;
	}
	*ret = cache;
	return 0;
}

void cache_set_keep_free(struct cache *cache, uint64_t bytes)
{
	atomic_store(&cache->keep_free_bytes, bytes);
}

void cache_set_pinned(struct cache *cache, bool (*is_pinned)(void *arg, uint64_t cid), void *arg)
{
	cache->is_pinned = is_pinned;
	cache->pinned_arg = arg;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	cache_keep_stop(cache);
	if (atomic_load(&cache->db)) {
		cache_db_close(cache->db);
		cache_disk_end(&cache->use, CACHE_END_MS);
	}
	free_cache(cache);
}

/* --- opening --- */

void cache_free_file(struct cache_file *file)
{
	struct cache_blocks *b = file->blocks;
	void *data = file->data;

	if (data) {
		mutex_lock(&file->cache->lock);
		file->cache->held_bytes -= b->size;
		mutex_unlock(&file->cache->lock);
		free(data);
	}
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

struct cache_row cache_row_of(struct cache_file *file, bool is_dirty)
{
	struct cache *cache = file->cache;
	struct cache_row row = {
		.cid = file->cid,
		.row_size = file->row_size,
		.size = cache_size(file),
		.is_file = !cache_is_small(file),
		.is_dirty = is_dirty,
	};

	mutex_lock(&cache->lock);
	row.bytes = file->entry->bytes;
	row.used = file->is_reused ? CACHE_USED_AGAIN(cache->age) : CACHE_USED_NEW(cache->age);
	mutex_unlock(&cache->lock);
	return row;
}

/* Takes a small content out of its row. */
static int load_small(struct cache_file *file, const struct cache_row *row, void **data)
{
	uint8_t hash[QUICKXOR_BYTES];
	struct cache_blocks *b;
	struct quickxor sum;

	if (row->size == 0 || row->size > CACHE_SMALL_BYTES)
		return -EBADMSG;
	/* It costs next to nothing here. */
	if (file->has_hash && row->size == file->row_size) {
		quickxor_init(&sum);
		quickxor_add(&sum, 0, *data, row->size);
		quickxor_finish(&sum, row->size, hash);
		if (memcmp(hash, file->hash, sizeof(hash)) != 0)
			return -EBADMSG;
	}
	b = new_blocks(row->size);
	if (!b)
		return -ENOMEM;
	free(file->blocks);
	file->blocks = b;
	b->have[0] = HAVE | HASHED;
	if (cache_hold(file->cache, row->size))
		file->data = take_ptr(data);
	return 0;
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
	    header.size > CACHE_SIZE_MAX || header.size <= CACHE_SMALL_BYTES ||
	    (uint64_t)data.st_size != header.size)
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

static int load_file(struct cache_file *file)
{
	auto_close int fd = -1, map_fd = -1;
	int r = cache_disk_open(file->cache->dir_fd, file->cid, &fd, &map_fd);

	if (r == 0)
		r = load_map(file, fd, map_fd);
	if (r < 0)
		return r == -ELOOP || r == -EISDIR ? -EBADMSG : r;
	file->fd = take_fd(&fd);
	file->map_fd = take_fd(&map_fd);
	return 0;
}

/* The row is worth nothing, nor is what it stands for. */
static int remove_row(struct cache_file *file, struct cache_db *db)
{
	int r = cache_db_begin(db);

	if (r < 0)
		return r;
	cache_disk_remove(file->cache->dir_fd, file->cid);
	return cache_db_end(db, cache_db_remove(db, file->cid));
}

/* What the index and the disk have of the content. ret_bytes: as the row has it. -ENOENT none. */
static int load(struct cache_file *file, struct cache_row *ret)
{
	struct cache_db *db = atomic_load(&file->cache->db);
	auto_free void *data = NULL;
	int r;

	if (!db || atomic_load(&file->cache->is_damaged))
		return -ENOENT;
	r = cache_note(file->cache, cache_db_find(db, file->cid, ret, &data));
	if (r < 0)
		return r == -EUCLEAN ? -ENOENT : r;
	if (ret->row_size != file->row_size)
		r = -EBADMSG;
	else
		r = ret->is_file ? load_file(file) : load_small(file, ret, &data);
	if (r != -EBADMSG && r != -ENOENT)
		return r;
	if (r == -EBADMSG)
		log_warn("cached content %" PRIu64 " is not what the index says: removed",
			 file->cid);
	r = cache_note(file->cache, remove_row(file, db));
	return r < 0 ? r : -EBADMSG;
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
	list_init(&file->closing);
	file->blocks = new_blocks(row_size);
	quickxor_init(&file->sum);
	if (!file->blocks) {
		free(file);
		return NULL;
	}
	return file;
}

/* The entry of cid: with its file, or new and the caller's to load. NULL: no memory. */
static struct cache_entry *claim(struct cache *cache, uint64_t cid, uint64_t row_size,
				 bool *ret_is_new)
{
	struct cache_entry *e;

	mutex_lock(&cache->lock);
	while ((e = find(cache, cid)) && e->busy) {
		/* Closed, but the keeper has not taken it yet: it is open again. */
		if (e->file && e->file->row_size == row_size) {
			list_del(&e->file->closing);
			cache->closing_n--;
			e->busy = false;
			pthread_cond_broadcast(&cache->settled);
			break;
		}
		mutex_wait(&cache->lock, &cache->settled);
	}
	*ret_is_new = !e;
	if (e) {
		e->refs_n++;
		e->file->is_reused = true;
	} else {
		e = add(cache, cid);
	}
	mutex_unlock(&cache->lock);
	return e;
}

static uint64_t count_loaded(struct cache_file *file)
{
	struct cache_blocks *b = file->blocks;
	uint64_t bytes = 0;

	file->unwritten_n = b->n;
	for (uint64_t i = 0; i < b->n; i++) {
		if (b->have[i] & HAVE) {
			bytes += cache_block_len(b, i);
			file->unwritten_n--;
		}
	}
	return bytes;
}

/* The order of eviction outlives a restart, but a use is written once in an age at most. Gives the
 * date that is known of the content then. */
static uint64_t touch(struct cache *cache, uint64_t cid, uint64_t known) REQUIRES(&cache->lock)
{
	uint64_t used = CACHE_USED_AGAIN(cache->age);

	if (known >= used || cache->touched_n == CACHE_TOUCHED_MAX)
		return known;
	cache->touched[cache->touched_n++] = (struct cache_touch){ cid, used };
	if (cache->touched_n >= CACHE_TOUCHED_MAX / 2)
		cache_keep_wake(cache);
	return used;
}

/* loaded: 0, the row describes the file; -ENOENT, there is no row; -EBADMSG, the row is removed. */
static void enter(struct cache_entry *e, struct cache_file *file, const struct cache_row *row,
		  int loaded)
{
	struct cache *cache = file->cache;

	mutex_lock(&cache->lock);
	if (loaded == 0) {
		e->bytes = e->row_bytes = row->bytes;
		e->has_row = true;
		file->is_reused = true;
		(void)touch(cache, row->cid, row->used);
	} else if (loaded == -EBADMSG) {
		cache->bytes -= row->bytes;
		cache->files_n--;
	}
	cache_set_bytes(cache, e, count_loaded(file));
	file->entry = e;
	e->file = file;
	e->refs_n = 1;
	e->busy = false;
	pthread_cond_broadcast(&cache->settled);
	mutex_unlock(&cache->lock);
}

int cache_open(struct cache *cache, uint64_t cid, uint64_t row_size, const uint8_t *hash,
	       struct cache_file **ret)
{
	struct cache_row row = { 0 };
	struct cache_file *file;
	struct cache_entry *e;
	bool is_new;
	int r;

	if (row_size > CACHE_SIZE_MAX)
		return -EFBIG;
	e = claim(cache, cid, row_size, &is_new);
	if (!e)
		return -ENOMEM;
	if (!is_new) {
		*ret = e->file;
		return 0;
	}
	file = new_file(cache, cid, row_size, hash);
	r = file ? load(file, &row) : -ENOMEM;
	if (r < 0 && r != -ENOENT && r != -EBADMSG) {
		mutex_lock(&cache->lock);
		cache_forget(cache, e);
		mutex_unlock(&cache->lock);
		if (file)
			cache_free_file(file);
		return r;
	}
	enter(e, file, &row, r);
	*ret = file;
	return 0;
}

void cache_close(struct cache_file *file)
{
	struct cache *cache = file->cache;
	struct cache_entry *e = file->entry;
	bool is_last, is_clean;

	mutex_lock(&cache->lock);
	is_last = --e->refs_n == 0;
	is_clean = is_last && !file->is_dirty;
	if (is_clean) {
		e->file = NULL;
		cache_forget(cache, e);
	} else if (is_last) {
		e->busy = true;
		list_add_tail(&cache->closing, &file->closing);
		cache->closing_n++;
	}
	if (is_last && cache->bytes > cache->budget_bytes)
		cache->is_checking = true;
	if (is_last && (!is_clean || cache->is_checking))
		cache_keep_wake(cache);
	mutex_unlock(&cache->lock);
	if (is_clean)
		cache_free_file(file);
}

void cache_pin(struct cache *cache, uint64_t cid, atomic_uint_fast64_t *used, struct cache_pin *pin)
{
	struct cache_db *db = atomic_load(&cache->db);
	bool may_be_there = db && cache_db_may_have(db, cid);

	pin->cid = cid;
	mutex_lock(&cache->lock);
	list_add_tail(&cache->pins[bucket_of(cid)], &pin->node);
	if (used && may_be_there)
		*used = touch(cache, cid, *used);
	else if (may_be_there)
		(void)touch(cache, cid, 0);
	mutex_unlock(&cache->lock);
}

void cache_unpin(struct cache *cache, struct cache_pin *pin)
{
	mutex_lock(&cache->lock);
	list_del(&pin->node);
	mutex_unlock(&cache->lock);
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
	if (file->unwritten_n < old->n || file->is_dirty || file->is_preparing || file->fd >= 0 ||
	    old->old) {
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
	struct cache_db *db = atomic_load(&cache->db);
	const struct cache_entry *e;
	uint64_t bytes = 0;
	bool is_open;

	mutex_lock(&cache->lock);
	e = find(cache, cid);
	is_open = e && (e->file || e->bytes > 0);
	if (is_open)
		bytes = e->bytes;
	mutex_unlock(&cache->lock);
	if (is_open || !db || atomic_load(&cache->is_damaged))
		return bytes;
	return cache_db_get_bytes(db, cid);
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

/*
 * The cache's own thread: ends what was closed after it was written, many in one transaction; makes
 * room after the budget shrank; removes what was thrown away. And eviction, which runs on this
 * thread or on the lane that writes, a bounded number of contents in one step.
 *
 * A content is removed in this order: its map, its data, its row. A row without files is nothing;
 * files without a row do not occur, because the row is committed before the files are made.
 */
#define LOG_MODULE "cache"
#include "cache_file.h"

#include "cache_db.h"
#include "cache_disk.h"
#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>
#include <sys/statvfs.h>

enum {
	STEP_ROWS = 32, /* evicted in one transaction */
	BATCH_FILES = 64,
	/* Beyond what is needed, so that not every write has to evict: a part of the budget, but no
	 * more than that. */
	SLACK_PART = 64,
	SLACK_MAX = 8 << 20,
	/* Evicted by one call at most: the disk may be full because of others. */
	CALL_BYTES_MAX = 64 << 20,
	/* So much is always left, for the index to be written. */
	KEEP_MIN = 1 << 20,
	/* Between attempts that fail. */
	PAUSE_MS = 1000,
};

/* --- eviction --- */

static int flush_touched(struct cache *cache, struct cache_db *db)
{
	struct cache_touch touched[CACHE_TOUCHED_MAX];
	unsigned n;
	int r = 0;

	mutex_lock(&cache->lock);
	n = cache->touched_n;
	memcpy(touched, cache->touched, n * sizeof(*touched));
	cache->touched_n = 0;
	mutex_unlock(&cache->lock);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = cache_db_touch(db, touched[i].cid, touched[i].used);
	return r;
}

struct victims {
	struct cache_entry *v[STEP_ROWS];
	size_t n;
	uint64_t bytes, file_bytes;
};

/* Evicts one row, or passes over what is open or pinned: that counts as used just now. */
static int evict_row(struct cache *cache, struct cache_db *db, const struct cache_row *row,
		     uint64_t used_max, struct victims *victims)
{
	struct cache_entry *e = NULL;
	uint64_t used;
	bool is_pinned = cache->is_pinned && cache->is_pinned(cache->pinned_arg, row->cid);

	mutex_lock(&cache->lock);
	if (!is_pinned)
		e = cache_claim_closed(cache, row->cid, row->bytes);
	if (!e && CACHE_USED_AGAIN(cache->age) <= used_max)
		cache->age++;
	used = CACHE_USED_NEW(cache->age);
	mutex_unlock(&cache->lock);
	if (!e)
		return cache_db_touch(db, row->cid, used);
	victims->v[victims->n++] = e;
	victims->bytes += row->bytes;
	if (row->is_file) {
		cache_disk_remove(cache->dir_fd, row->cid);
		victims->file_bytes += row->bytes;
	}
	return cache_db_remove(db, row->cid);
}

static void end_victims(struct cache *cache, struct victims *victims, bool are_gone)
{
	mutex_lock(&cache->lock);
	for (size_t i = 0; i < victims->n; i++) {
		struct cache_entry *e = victims->v[i];

		if (are_gone) {
			cache_set_bytes(cache, e, 0);
			e->has_row = false;
			cache->files_n--;
			cache->evicted_n++;
		}
		cache_forget(cache, e);
	}
	mutex_unlock(&cache->lock);
}

/* 0 when nothing is left that may go, else 1. ret_bytes, also on failure: that are gone. */
static int evict_step(struct cache *cache, struct cache_db *db, uint64_t used_max, uint64_t need,
		      uint64_t *ret_bytes)
{
	struct cache_row rows[STEP_ROWS];
	struct victims victims = { .n = 0 };
	size_t n = 0;
	int r = cache_db_begin(db);

	if (r < 0)
		return r;
	r = flush_touched(cache, db);
	if (r == 0)
		r = cache_db_list_oldest(db, used_max, rows, STEP_ROWS, &n);
	for (size_t i = 0; r == 0 && i < n && victims.bytes < need; i++)
		r = evict_row(cache, db, &rows[i], used_max, &victims);
	r = cache_db_end(db, r);
	end_victims(cache, &victims, r == 0);
	*ret_bytes = r == 0 ? victims.bytes : victims.file_bytes;
	return r < 0 ? r : n > 0;
}

/* Each step removes files or rows or moves them past used_max, so it ends. */
int cache_evict(struct cache *cache, uint64_t need)
{
	struct cache_db *db = atomic_load(&cache->db);
	uint64_t used_max, bytes = 0;
	bool is_keeper = pthread_equal(pthread_self(), cache->keeper);
	int r = db ? 1 : -ENOSPC;

	mutex_lock(&cache->lock);
	/* What was just closed may be all that can go. */
	while (cache->closing_n > 0 && !is_keeper)
		mutex_wait(&cache->lock, &cache->settled);
	used_max = CACHE_USED_AGAIN(cache->age);
	mutex_unlock(&cache->lock);
	while (r > 0 && need > 0) {
		bytes = 0;
		r = evict_step(cache, db, used_max, need, &bytes);
		need -= bytes < need ? bytes : need;
		/* On a full disk the index cannot be written, but files were removed: now it can.
		 */
		if (r == -ENOSPC && bytes > 0)
			r = 1;
	}
	/* The index may have become much larger than it needs to be. */
	if (!is_keeper) {
		mutex_lock(&cache->lock);
		cache->is_checking = true;
		cache_keep_wake(cache);
		mutex_unlock(&cache->lock);
	}
	return r < 0 ? cache_note(cache, r) : 0;
}

/* Bytes by which the budget would be exceeded. */
static uint64_t over_budget(struct cache *cache, uint64_t more)
{
	uint64_t over;

	mutex_lock(&cache->lock);
	over = cache->bytes + more > cache->budget_bytes ? cache->bytes + more - cache->budget_bytes
							 : 0;
	mutex_unlock(&cache->lock);
	return over;
}

/* Bytes that the disk lacks; a disk that cannot be asked lacks none. */
static uint64_t over_disk(struct cache *cache, uint64_t more)
{
	uint64_t free_bytes, keep = atomic_load(&cache->keep_free_bytes);
	struct statvfs fs;

	if (fstatvfs(cache->dir_fd, &fs) < 0)
		return 0;
	free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (keep == UINT64_MAX) {
		keep = (uint64_t)fs.f_blocks * fs.f_frsize / CACHE_FREE_PART;
		if (keep > CACHE_FREE_MAX)
			keep = CACHE_FREE_MAX;
	}
	if (keep < KEEP_MIN)
		keep = KEEP_MIN;
	return keep + more > free_bytes ? keep + more - free_bytes : 0;
}

/* Evicts, unless that has just failed. */
static int try_evict(struct cache *cache, uint64_t need)
{
	uint64_t now = clock_mono_ms();
	int r;

	if (now < atomic_load(&cache->pause_ms))
		return -ENOSPC;
	r = cache_evict(cache, need < CALL_BYTES_MAX ? need : CALL_BYTES_MAX);
	if (r < 0)
		atomic_store(&cache->pause_ms, now + PAUSE_MS);
	return r;
}

int cache_make_room(struct cache *cache, uint64_t more)
{
	uint64_t budget = over_budget(cache, more), disk = over_disk(cache, more);
	uint64_t need = budget > disk ? budget : disk;
	uint64_t slack = cache->budget_bytes / SLACK_PART;
	int r;

	if (need == 0)
		return 0;
	r = try_evict(cache, need + (slack < SLACK_MAX ? slack : SLACK_MAX));
	if (r < 0)
		return r;
	if (over_budget(cache, more) > 0)
		return -EDQUOT;
	return disk > 0 && over_disk(cache, more) > 0 ? -ENOSPC : 0;
}

/* --- what was closed --- */

/* Its row says what is there; a content of which nothing came has none. */
static int settle_file(struct cache *cache, struct cache_db *db, struct cache_file *file)
{
	struct cache_row row = cache_row_of(file, false);

	if (row.bytes > 0)
		return cache_db_put(db, &row, row.is_file ? NULL : file->data);
	if (!row.is_file)
		return 0;
	cache_disk_remove(cache->dir_fd, file->cid);
	return cache_db_remove(db, file->cid);
}

static void end_file(struct cache *cache, struct cache_file *file, bool is_settled)
{
	struct cache_entry *e = file->entry;
	bool had_row = e->has_row, is_file = !cache_is_small(file);
	uint64_t cid = file->cid;

	cache_free_file(file);
	mutex_lock(&cache->lock);
	if (is_file)
		cache_disk_note(&cache->use, cid);
	if (is_settled) {
		e->row_bytes = e->bytes;
		e->has_row = e->bytes > 0;
		cache->files_n += (uint64_t)e->has_row - (uint64_t)had_row;
	}
	/* Without its row it counts as what an earlier row said, as at the next start. */
	cache_set_bytes(cache, e, e->row_bytes);
	cache->closing_n--;
	cache_forget(cache, e);
	mutex_unlock(&cache->lock);
}

static void settle_batch(struct cache *cache, struct cache_file **files, size_t n)
{
	struct cache_db *db = atomic_load(&cache->db);
	int r = db ? cache_db_begin(db) : -ENODEV;

	if (r == 0) {
		for (size_t i = 0; r == 0 && i < n; i++)
			r = settle_file(cache, db, files[i]);
		r = cache_note(cache, cache_db_end(db, r));
	}
	if (r < 0 && r != -ENODEV)
		log_warn("%zu contents are forgotten by the cache: %s", n, strerror(-r));
	for (size_t i = 0; i < n; i++)
		end_file(cache, files[i], r == 0);
}

static size_t take_closing(struct cache *cache, struct cache_file **files) REQUIRES(&cache->lock)
{
	size_t n = 0;

	while (n < BATCH_FILES && !list_empty(&cache->closing)) {
		files[n] = container_of(cache->closing.next, struct cache_file, closing);
		list_del(&files[n]->closing);
		files[n++]->entry->file = NULL;
	}
	return n;
}

/* --- the thread --- */

static void write_touched(struct cache *cache)
{
	struct cache_db *db = atomic_load(&cache->db);
	int r = db ? cache_db_begin(db) : -ENODEV;

	if (r == 0)
		r = cache_db_end(db, flush_touched(cache, db));
	/* What cannot be written is only the order of eviction. */
	(void)cache_note(cache, r);
	mutex_lock(&cache->lock);
	if (r < 0)
		cache->touched_n = 0;
	mutex_unlock(&cache->lock);
}

/* Makes room, and the index smaller, as long as that has an effect. */
static void check_room(struct cache *cache)
{
	struct cache_db *db = atomic_load(&cache->db);
	struct cache_stats before, after;
	int r;

	cache_get_stats(cache, &before);
	r = cache_make_room(cache, 0);
	cache_get_stats(cache, &after);
	if ((db && cache_db_shrink(db)) || (r < 0 && after.evicted_files > before.evicted_files)) {
		mutex_lock(&cache->lock);
		cache->is_checking = true;
		mutex_unlock(&cache->lock);
	}
}

enum work { NOTHING, SETTLE, TOUCH, LEARN, CHECK, SWEEP };

/* The most pressing first. */
static enum work find_work(const struct cache *cache)
{
	if (!list_empty(&cache->closing))
		return SETTLE;
	if (cache->touched_n >= (cache->is_ending ? 1 : CACHE_TOUCHED_MAX / 2))
		return TOUCH;
	if (cache->is_ending)
		return NOTHING;
	if (cache->is_learning)
		return LEARN;
	return cache->is_checking ? CHECK : cache->has_trash ? SWEEP : NOTHING;
}

/* One piece of work, the lock released meanwhile. */
static void do_work(struct cache *cache, enum work work) REQUIRES(&cache->lock)
{
	struct cache_file *files[BATCH_FILES];
	size_t n = work == SETTLE ? take_closing(cache, files) : 0;
	bool has_more = false;

	if (work == LEARN)
		cache->is_learning = false;
	else if (work == CHECK)
		cache->is_checking = false;
	else if (work == SWEEP)
		cache->has_trash = false;
	mutex_unlock(&cache->lock);
	if (work == SETTLE)
		settle_batch(cache, files, n);
	else if (work == TOUCH)
		write_touched(cache);
	else if (work == LEARN)
		has_more = cache_db_learn(cache->db);
	else if (work == CHECK)
		check_room(cache);
	else
		has_more = cache_disk_sweep(cache->dir_fd);
	mutex_lock(&cache->lock);
	if (work == LEARN)
		cache->is_learning |= has_more;
	else
		cache->has_trash |= has_more;
}

static void *keep(void *arg)
{
	struct cache *cache = arg;

	pthread_setname_np(pthread_self(), "gfs-cache");
	mutex_lock(&cache->lock);
	for (;;) {
		enum work work = find_work(cache);

		if (work != NOTHING)
			do_work(cache, work);
		else if (cache->is_ending)
			break;
		else
			mutex_wait(&cache->lock, &cache->work);
	}
	mutex_unlock(&cache->lock);
	return NULL;
}

int cache_keep_start(struct cache *cache)
{
	return -pthread_create(&cache->keeper, NULL, keep, cache);
}

void cache_keep_stop(struct cache *cache)
{
	mutex_lock(&cache->lock);
	cache->is_ending = true;
	cache_keep_wake(cache);
	mutex_unlock(&cache->lock);
	pthread_join(cache->keeper, NULL);
}

void cache_keep_wake(struct cache *cache)
{
	pthread_cond_signal(&cache->work);
}

/*
 * The cache where things go wrong: full and read-only disks, damage, kills. Disks of a few MiB need
 * root and a mount namespace; without, those tests are skipped and say so.
 */
#include "cache_file.h"
#include "cachebox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { SMALL = 4096, DISK_MIB = 8 };

static void wait_until(bool (*fn)(void *arg), void *arg)
{
	for (int i = 0; !fn(arg); i++) {
		assert_true(i < 6000);
		usleep(5000);
	}
}

/* --- small contents --- */

static bool exists(struct cachebox *p, const char *name)
{
	return faccessat(p->fd, name, F_OK, 0) == 0;
}

static void test_small_contents_have_no_files(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB);
	struct cache_stats stats;

	for (uint64_t cid = 1; cid <= 300; cid++)
		cachebox_put(cache, cid, 1 + cid * 50);
	cache_free(cache);
	for (int i = 0; i < 256; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%02x", i);
		assert_false(exists(p, name));
	}
	cache = cachebox_open(p, "e", GIB);
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.files, 300);
	assert_int_equal(stats.bytes, 300 + 50 * 300 * 301 / 2);
	for (uint64_t cid = 1; cid <= 300; cid++) {
		struct cache_file *f;

		assert_int_equal(cache_open(cache, cid, 1 + cid * 50, NULL, &f), 0);
		assert_true(cachebox_is_right(f, cid, 0));
		cache_close(f);
	}
	cache_free(cache);
}

static bool is_learnt(void *arg)
{
	struct cache *cache = arg;
	bool is;

	mutex_lock(&cache->lock);
	is = !cache->is_learning;
	mutex_unlock(&cache->lock);
	return is;
}

static void test_how_much_is_there_of_what(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);

	for (uint64_t cid = 1; cid <= 5000; cid += 2)
		cachebox_put(cache, cid, cid % 100 == 1 ? 3 * BLOCK : cid);
	for (int life = 0; life < 2; life++) {
		for (uint64_t cid = 1; cid <= 5000; cid++) {
			uint64_t bytes = cid % 2 == 0 ? 0 : cid % 100 == 1 ? BLOCK : cid;

			assert_int_equal(cache_bytes(cache, cid), bytes);
		}
		wait_until(is_learnt, cache);
		cache_free(cache);
		cache = cachebox_open(*state, "e", GIB);
	}
	wait_until(is_learnt, cache);
	assert_int_equal(cache_bytes(cache, 4999), 4999);
	assert_int_equal(cache_bytes(cache, 4998), 0);
	cache_free(cache);
}

static void test_more_open_than_memory_may_hold(void **state)
{
	enum { N = 2 * CACHE_HELD_MAX / CACHE_SMALL_BYTES };
	static struct cache_file *files[N];
	struct cache *cache = cachebox_open(*state, "e", GIB);

	for (uint64_t i = 0; i < N; i++) {
		assert_int_equal(cache_open(cache, i + 1, CACHE_SMALL_BYTES, NULL, &files[i]), 0);
		assert_int_equal(cachebox_write(files[i], i + 1, 0), 0);
	}
	assert_true(cache->held_bytes <= CACHE_HELD_MAX);
	for (uint64_t i = 0; i < N; i++)
		assert_true(cachebox_is_right(files[i], i + 1, 0));
	for (uint64_t i = 0; i < N; i++)
		cache_close(files[i]);
	for (uint64_t i = 0; i < N; i++)
		assert_true(cachebox_has(cache, i + 1, CACHE_SMALL_BYTES));
	cache_free(cache);
}

static void sql(struct cachebox *p, const char *text)
{
	char path[96];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/index", p->path);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void test_small_content_only_with_the_right_hash(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);
	char bad[SMALL] = "not it";
	uint8_t hash[QUICKXOR_BYTES];
	struct cache_file *f;

	cachebox_hash(7, SMALL, hash);
	assert_int_equal(cache_open(cache, 7, SMALL, hash, &f), 0);
	assert_int_equal(cache_write(f, 0, bad, sizeof(bad)), -EBADMSG);
	assert_false(cache_has_block(f, 0));
	assert_int_equal(cachebox_write(f, 7, 0), 0);
	assert_true(cachebox_is_right(f, 7, 0));
	cache_close(f);
	cache_free(cache);

	/* One bit of it goes bad on the disk. */
	sql(*state, "UPDATE small SET data = CAST(x'00' || substr(data, 2) AS BLOB)");
	cache = cachebox_open(*state, "e", GIB);
	assert_int_equal(cache_open(cache, 7, SMALL, hash, &f), 0);
	assert_false(cache_has_block(f, 0));
	assert_int_equal(cachebox_write(f, 7, 0), 0);
	assert_true(cachebox_is_right(f, 7, 0));
	cache_close(f);
	cache_free(cache);
}

/* --- room --- */

static bool is_third(void *arg, uint64_t cid)
{
	return cid % 3 == 0;
}

static void test_pinned_contents_stay(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", 16 * BLOCK);
	struct cache_stats stats;

	cache_set_pinned(cache, is_third, NULL);
	for (uint64_t cid = 1; cid <= 30; cid++)
		cachebox_put(cache, cid, cid % 2 ? SMALL : BLOCK);
	cachebox_put(cache, 31, 5 * BLOCK);
	for (uint64_t cid = 32; cid <= 50; cid += cid % 3 == 1 ? 2 : 1)
		if (cid % 3 != 0)
			cachebox_put(cache, cid, BLOCK);
	cache_get_stats(cache, &stats);
	assert_true(stats.bytes <= 16 * BLOCK && stats.evicted_files > 0);
	for (uint64_t cid = 3; cid <= 30; cid += 3)
		assert_true(cachebox_has(cache, cid, cid % 2 ? SMALL : BLOCK));
	cache_free(cache);
}

static void test_the_order_of_use_outlives_a_restart(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", 8 * BLOCK);

	for (uint64_t cid = 1; cid <= 8; cid++)
		cachebox_put(cache, cid, BLOCK);
	assert_true(cachebox_has(cache, 2, BLOCK));
	cache_free(cache);
	cache = cachebox_open(*state, "e", 8 * BLOCK);
	for (uint64_t cid = 9; cid <= 11; cid++)
		cachebox_put(cache, cid, BLOCK);
	assert_false(cachebox_has(cache, 1, BLOCK));
	assert_false(cachebox_has(cache, 3, BLOCK));
	assert_true(cachebox_has(cache, 2, BLOCK));
	assert_true(cachebox_has(cache, 11, BLOCK));
	cache_free(cache);
}

static bool is_within(void *arg)
{
	struct cache *cache = arg;
	struct cache_stats stats;

	cache_get_stats(cache, &stats);
	return stats.bytes <= cache->budget_bytes;
}

/* Each is held without being opened, then fifteen blocks come to eight that fit. */
static void test_pins_keep_contents_and_count_as_uses(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", 8 * BLOCK);
	struct cache_pin held, used;
	atomic_uint_fast64_t date = 0;

	for (uint64_t cid = 1; cid <= 8; cid++)
		cachebox_put(cache, cid, BLOCK);
	cache_pin(cache, 2, NULL, &used);
	cache_unpin(cache, &used);
	cache_free(cache);
	cache = cachebox_open(*state, "e", 8 * BLOCK);
	cache_pin(cache, 1, &date, &held);
	assert_true(date > 0);
	for (uint64_t cid = 9; cid <= 11; cid++)
		cachebox_put(cache, cid, BLOCK);
	assert_true(cachebox_has(cache, 2, BLOCK));
	for (uint64_t cid = 12; cid <= 23; cid++)
		cachebox_put(cache, cid, BLOCK);
	assert_true(cachebox_has(cache, 1, BLOCK));
	assert_false(cachebox_has(cache, 3, BLOCK));
	cache_unpin(cache, &held);
	for (uint64_t cid = 24; cid <= 40; cid++)
		cachebox_put(cache, cid, BLOCK);
	assert_false(cachebox_has(cache, 1, BLOCK));
	cache_free(cache);
}

static void test_a_smaller_budget_is_kept_in_the_background(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);

	for (uint64_t cid = 1; cid <= 500; cid++)
		cachebox_put(cache, cid, cid % 5 ? SMALL : BLOCK);
	cache_free(cache);
	cache = cachebox_open(*state, "e", 10 * BLOCK);
	wait_until(is_within, cache);
	cache_free(cache);
}

/* In pages of the database: the file follows at a checkpoint, for which a long log waits. */
static bool is_index_small(void *arg)
{
	struct cachebox *p = arg;
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	char path[80];
	int pages_n;

	snprintf(path, sizeof(path), "%s/index", p->path);
	assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "PRAGMA page_count", -1, &stmt, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	pages_n = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return pages_n < (28 << 20) / 4096;
}

static void test_the_index_shrinks_with_its_contents(void **state)
{
	struct cache *cache;

	/* No more at a time than may be held until it is written: beyond that they become files. */
	for (uint64_t cid = 1; cid <= 3000;) {
		cache = cachebox_open(*state, "e", GIB);
		for (int i = 0; i < 300 && cid <= 3000; i++)
			cachebox_put(cache, cid++, CACHE_SMALL_BYTES);
		cache_free(cache);
	}
	assert_false(is_index_small(*state));
	cache = cachebox_open(*state, "e", BLOCK);
	wait_until(is_within, cache);
	cache_free(cache);
	/* In steps, of which a slow machine has time for few before the cache is closed. */
	for (int i = 0; i < 200 && !is_index_small(*state); i++) {
		cache = cachebox_open(*state, "e", BLOCK);
		usleep(20000 + (useconds_t)i * 5000);
		cache_free(cache);
	}
	assert_true(is_index_small(*state));
}

/* --- full and read-only disks --- */

/* Mounts a tmpfs over the box in a mount namespace of this process. */
static void mount_disk(struct cachebox *p)
{
	char options[32];

	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("a mount namespace is not allowed here: not tested\n");
		skip();
	}
	snprintf(options, sizeof(options), "size=%dm,mode=0700", DISK_MIB);
	assert_int_equal(mount("none", p->path, "tmpfs", 0, options), 0);
	close(p->fd);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	assert_true(p->fd >= 0);
}

static void umount_disk(struct cachebox *p)
{
	close(p->fd);
	assert_int_equal(umount(p->path), 0);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
}

/* Somebody else fills the disk to the last byte. */
static void fill_disk(struct cachebox *p)
{
	static const char buf[4096] = "x";
	int fd = openat(p->fd, "filler", O_WRONLY | O_CREAT, 0600);

	assert_true(fd >= 0);
	while (write(fd, buf, sizeof(buf)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_a_full_disk_costs_nothing_but_caching(void **state)
{
	const uint64_t sizes[] = { SMALL, 4 * BLOCK };
	struct cachebox *p = *state;

	for (size_t i = 0; i < 2; i++) {
		struct cache_file *old, *f;
		struct cache *cache;

		mount_disk(p);
		cache = cachebox_open(p, "e", GIB);
		cache_set_keep_free(cache, 0);
		assert_int_equal(cache_open(cache, 10 + i, 2 * BLOCK, NULL, &old), 0);
		assert_int_equal(cachebox_write(old, 10 + i, 0), 0);
		fill_disk(p);
		assert_int_equal(cache_open(cache, 20 + i, sizes[i], NULL, &f), 0);
		assert_int_equal(cachebox_write(f, 20 + i, 0), -ENOSPC);
		assert_false(cache_has_block(f, 0));
		assert_int_equal(cachebox_write(old, 10 + i, 1), -ENOSPC);
		assert_true(cachebox_is_right(old, 10 + i, 0));
		assert_int_equal(unlinkat(p->fd, "filler", 0), 0);
		assert_int_equal(cachebox_write(f, 20 + i, 0), 0);
		assert_int_equal(cachebox_write(old, 10 + i, 1), 0);
		assert_true(cachebox_is_right(f, 20 + i, 0));
		assert_true(cachebox_is_right(old, 10 + i, 1));
		cache_close(f);
		cache_close(old);
		cache_free(cache);
		umount_disk(p);
	}
}

static uint64_t free_bytes(struct cachebox *p)
{
	struct statvfs fs;

	assert_int_equal(fstatvfs(p->fd, &fs), 0);
	return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void test_the_disk_is_never_filled(void **state)
{
	enum { KEEP = 2 << 20 };
	struct cachebox *p = *state;
	struct cache_stats stats;
	struct cache *cache;

	mount_disk(p);
	cache = cachebox_open(p, "e", GIB);
	cache_set_keep_free(cache, KEEP);
	for (uint64_t cid = 1; cid <= 100; cid++) {
		cachebox_put(cache, cid, BLOCK);
		/* Maps and the index are not counted before they are written. */
		assert_true(free_bytes(p) >= KEEP - KEEP / 4);
	}
	cache_get_stats(cache, &stats);
	assert_true(stats.evicted_files >= 70);
	assert_true(cachebox_has(cache, 100, BLOCK));
	cache_free(cache);
	umount_disk(p);
}

static void test_a_read_only_disk_is_used_once_it_is_not(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache;
	struct cache_file *f;

	mount_disk(p);
	assert_int_equal(mount(NULL, p->path, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	cache = cachebox_open(p, "e", GIB);
	assert_int_equal(cache_open(cache, 1, BLOCK, NULL, &f), 0);
	assert_true(cachebox_write(f, 1, 0) < 0);
	assert_false(cache_has_block(f, 0));
	assert_int_equal(mount(NULL, p->path, NULL, MS_REMOUNT, NULL), 0);
	/* Not before its time. */
	assert_true(cachebox_write(f, 1, 0) < 0);
	cache->retry_at_ms = 0;
	assert_int_equal(cachebox_write(f, 1, 0), 0);
	assert_true(cachebox_is_right(f, 1, 0));
	cache_close(f);
	assert_true(cachebox_has(cache, 1, BLOCK));
	cache_free(cache);
	umount_disk(p);
}

/* --- the end --- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool is_stuck, fails;
	unsigned waiting_n;
	ino_t synced[64];
	size_t synced_n;
} disk = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* In place of fdatasync(2). */
static int slow_sync(int fd)
{
	struct stat st;
	int r;

	assert_int_equal(fstat(fd, &st), 0);
	pthread_mutex_lock(&disk.lock);
	disk.waiting_n++;
	while (disk.is_stuck)
		pthread_cond_wait(&disk.changed, &disk.lock);
	disk.waiting_n--;
	if (disk.synced_n < array_n(disk.synced))
		disk.synced[disk.synced_n++] = st.st_ino;
	r = disk.fails ? -1 : 0;
	pthread_mutex_unlock(&disk.lock);
	errno = EIO;
	return r;
}

static void set_disk(bool is_stuck, bool fails)
{
	pthread_mutex_lock(&disk.lock);
	disk.is_stuck = is_stuck;
	disk.fails = fails;
	disk.synced_n = 0;
	pthread_cond_broadcast(&disk.changed);
	pthread_mutex_unlock(&disk.lock);
}

static bool was_synced(struct cachebox *p, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(p->fd, name, &st, 0), 0);
	for (size_t i = 0; i < disk.synced_n; i++)
		if (disk.synced[i] == st.st_ino)
			return true;
	return false;
}

static nlink_t threads_n(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/task", &st), 0);
	return st.st_nlink;
}

static bool are_gone(void *arg)
{
	return threads_n() == *(nlink_t *)arg;
}

static bool is_running(void *arg)
{
	return exists(arg, "running");
}

static void test_only_what_is_written_marks_the_directory(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB);

	cachebox_put(cache, 1, BLOCK);
	cachebox_put(cache, 2, SMALL);
	cache_free(cache);
	assert_false(exists(p, "running"));
	cache = cachebox_open(p, "e", GIB);
	assert_true(cachebox_has(cache, 1, BLOCK));
	assert_true(cachebox_has(cache, 2, SMALL));
	assert_false(exists(p, "running"));
	cachebox_put(cache, 3, SMALL);
	wait_until(is_running, p); /* the keeper writes its row */
	cache_free(cache);
	assert_false(exists(p, "running"));
}

static void test_what_was_written_is_synced_at_the_end(void **state)
{
	static const char *const names[] = { "01/0000000000000001", "01/0000000000000001.map", "01",
					     "index", "." };
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB);

	cachebox_put(cache, 2, BLOCK);
	cache_free(cache);
	for (int fails = 1; fails >= 0; fails--) {
		set_disk(false, fails);
		cache = cachebox_open(p, "e", GIB);
		cachebox_put(cache, fails ? 3 : 1, BLOCK);
		cache->use.sync = slow_sync;
		cache->use.is_unlisted = false; /* of the round that failed */
		cache_free(cache);
		assert_int_equal(exists(p, "running"), fails);
	}
	for (size_t i = 0; i < array_n(names); i++)
		assert_true(was_synced(p, names[i]));
	assert_false(was_synced(p, "02/0000000000000002"));
}

static void test_the_end_does_not_wait_for_a_slow_disk(void **state)
{
	struct cachebox *p = *state;
	struct cache *cache = cachebox_open(p, "e", GIB);
	struct cache_disk_use use, next;
	nlink_t before;

	cache_free(cache);
	before = threads_n();
	set_disk(true, false);
	assert_int_equal(cache_disk_begin(p->fd, "e", &use), 0);
	assert_int_equal(cache_disk_mark(&use), 0);
	use.sync = slow_sync;
	cache_disk_end(&use, 10);
	assert_true(exists(p, "running"));
	/* The next use begins as after a kill, and keeps its mark when the disk comes round. */
	assert_int_equal(cache_disk_begin(p->fd, "e", &next), 0);
	assert_true(next.is_unlisted);
	set_disk(false, false);
	wait_until(are_gone, &before);
	assert_true(exists(p, "running"));
	cache_disk_end(&next, 60000);
	assert_false(exists(p, "running"));
}

static void test_more_is_written_than_is_listed(void **state)
{
	struct cachebox *p = *state;
	struct cache_disk_use use;

	assert_int_equal(cache_disk_begin(p->fd, "e", &use), 0);
	for (uint64_t cid = 1; cid <= CACHE_DISK_LISTED_MAX; cid++)
		cache_disk_note(&use, cid);
	assert_false(use.is_unlisted);
	cache_disk_note(&use, CACHE_DISK_LISTED_MAX + 1);
	assert_true(use.is_unlisted);
	cache_disk_end(&use, 60000);
	assert_false(exists(p, "running"));
}

/* --- damage --- */

/* Overwrites some of the index. */
static void damage(struct cachebox *p, off_t off, size_t len)
{
	int fd = openat(p->fd, "index", O_WRONLY);
	char junk[4096];

	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0);
	for (size_t at = 0; at < len; at += sizeof(junk))
		assert_true(pwrite(fd, junk, sizeof(junk), off + (off_t)at) > 0);
	close(fd);
}

static void check_contents(struct cache *cache, uint64_t n)
{
	for (uint64_t cid = 1; cid <= n; cid++) {
		uint64_t size = cid % 2 ? SMALL : BLOCK;
		uint8_t hash[QUICKXOR_BYTES];
		struct cache_file *f;

		cachebox_hash(cid, size, hash);
		assert_int_equal(cache_open(cache, cid, size, hash, &f), 0);
		if (cache_has_block(f, 0))
			assert_true(cachebox_is_right(f, cid, 0));
		cache_close(f);
	}
}

static void test_a_damaged_index_is_replaced(void **state)
{
	const struct {
		off_t off;
		size_t len;
	} places[] = { { 0, 4096 }, { 4096, 4096 }, { 8192, 1 << 16 }, { 4096, 1 << 20 } };
	struct cachebox *p = *state;

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct cache *cache = cachebox_open(p, "e", GIB);
		struct cache_file *f;

		for (uint64_t cid = 1; cid <= 40; cid++)
			cachebox_put(cache, cid, cid % 2 ? SMALL : BLOCK);
		cache_free(cache);
		damage(p, places[i].off, places[i].len);
		cache = cachebox_open(p, "e", GIB);
		check_contents(cache, 40);
		/* Caching may be off for this life, but not for the next. */
		assert_int_equal(cache_open(cache, 99, BLOCK, NULL, &f), 0);
		(void)cachebox_write(f, 99, 0);
		cache_close(f);
		cache_free(cache);
		cache = cachebox_open(p, "e", GIB);
		check_contents(cache, 40);
		cachebox_put(cache, 100, BLOCK);
		cachebox_put(cache, 101, SMALL);
		cache_free(cache);
	}
}

static bool has_no_old(void *arg)
{
	struct cachebox *p = arg;
	DIR *dir = opendir(p->path);
	struct dirent *d;
	bool found = false;

	while ((d = readdir(dir)))
		found |= strncmp(d->d_name, "old.", 4) == 0;
	closedir(dir);
	return !found;
}

static void test_what_is_thrown_away_goes(void **state)
{
	struct cache *cache = cachebox_open(*state, "e", GIB);

	for (uint64_t cid = 1; cid <= 700; cid++)
		cachebox_put(cache, cid, CACHE_SMALL_BYTES + 1);
	cache_free(cache);
	cache = cachebox_open(*state, "another", GIB);
	wait_until(has_no_old, *state);
	cache_free(cache);
}

/* --- kills --- */

enum { KILLS = 40, CONTENTS = 60, BUDGET = 40 * BLOCK };

static uint64_t size_of(uint64_t cid)
{
	return cid % 3 == 0 ? SMALL + cid : cid % 3 == 1 ? BLOCK - cid : 4 * BLOCK + cid;
}

static void churn_for_ever(struct cachebox *p, int ready_fd)
{
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);
	unsigned seed = (unsigned)getpid();
	struct cache *cache;

	if (fd < 0 || cache_new(fd, "e", BUDGET, &cache) < 0)
		_exit(1);
	close(ready_fd);
	for (;;) {
		uint64_t cid = 1 + (uint64_t)rand_r(&seed) % CONTENTS;
		struct cache_file *f;

		if (cache_open(cache, cid, size_of(cid), NULL, &f) < 0)
			_exit(1);
		(void)cachebox_write(f, cid, (uint64_t)rand_r(&seed) % (size_of(cid) / BLOCK + 1));
		cache_close(f);
	}
}

/* Every block that is said to be there is right, and the sums are those of the blocks. */
static uint64_t check_after_kill(struct cachebox *p)
{
	struct cache *cache = cachebox_open(p, "e", 2 * (uint64_t)BUDGET);
	struct cache_stats stats;
	uint64_t bytes = 0, n = 0;

	for (uint64_t cid = 1; cid <= CONTENTS; cid++) {
		uint64_t size = size_of(cid), had = bytes;
		struct cache_file *f;

		assert_int_equal(cache_open(cache, cid, size, NULL, &f), 0);
		for (uint64_t i = 0; i * BLOCK < size; i++) {
			if (!cache_has_block(f, i))
				continue;
			assert_true(cachebox_is_right(f, cid, i));
			bytes += size - i * BLOCK < BLOCK ? size - i * BLOCK : BLOCK;
		}
		cache_close(f);
		n += bytes > had;
	}
	cache_get_stats(cache, &stats);
	assert_int_equal(stats.bytes, bytes);
	assert_int_equal(stats.files, n);
	cache_free(cache);
	return n;
}

static void test_kills_in_writing_and_eviction(void **state)
{
	struct cachebox *p = *state;
	uint64_t n = 0;

	for (int i = 0; i < KILLS; i++) {
		int ready[2];
		char byte;
		pid_t pid;

		assert_int_equal(pipe(ready), 0);
		pid = fork();
		if (pid == 0)
			churn_for_ever(p, ready[1]);
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 0);
		close(ready[0]);
		usleep((useconds_t)(i * 1000)); /* when it dies is left to chance */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		n = check_after_kill(p);
	}
	assert_true(n > 0);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, cachebox_setup, cachebox_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_small_contents_have_no_files),
		T(test_how_much_is_there_of_what),
		T(test_more_open_than_memory_may_hold),
		T(test_small_content_only_with_the_right_hash),
		T(test_pinned_contents_stay),
		T(test_the_order_of_use_outlives_a_restart),
		T(test_pins_keep_contents_and_count_as_uses),
		T(test_a_smaller_budget_is_kept_in_the_background),
		T(test_the_index_shrinks_with_its_contents),
		T(test_a_full_disk_costs_nothing_but_caching),
		T(test_the_disk_is_never_filled),
		T(test_a_read_only_disk_is_used_once_it_is_not),
		T(test_only_what_is_written_marks_the_directory),
		T(test_what_was_written_is_synced_at_the_end),
		T(test_the_end_does_not_wait_for_a_slow_disk),
		T(test_more_is_written_than_is_listed),
		T(test_a_damaged_index_is_replaced),
		T(test_what_is_thrown_away_goes),
		T(test_kills_in_writing_and_eviction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

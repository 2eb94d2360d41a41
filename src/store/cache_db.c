#define LOG_MODULE "cache"
#include "cache_db.h"

#include "db.h"
#include "dbpool.h"
#include "log.h"
#include "mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { VERSION = 1, WRITER_CACHE_KIB = 2048, READER_CACHE_KIB = 512, READERS_MAX = 4 };
/* Pages of 4 KiB: so many may lie idle, so many are given back at a time. */
enum { IDLE_PAGES_MAX = 4096, SHRINK_PAGES = 1024 };

/* Bits that tell which contents may have a row: 256 KiB, good for a million of them and more. */
enum { SEEN_BITS = 1 << 21, LEARN_ROWS = 4096 };

static const char index_file[] = "index", wal_file[] = "index-wal";

/* Triggers keep the sums: whatever changes rows cannot forget them. The bytes stand apart from what
 * is known of them, which would otherwise be as slow to change as they are long. */
static const char schema[] =
	"CREATE TABLE content(cid INTEGER PRIMARY KEY, row_size INTEGER NOT NULL,"
	" size INTEGER NOT NULL, bytes INTEGER NOT NULL, used INTEGER NOT NULL,"
	" file INTEGER NOT NULL, dirty INTEGER NOT NULL);"
	"CREATE INDEX content_used ON content(used);"
	"CREATE INDEX content_dirty ON content(cid) WHERE dirty;"
	"CREATE TABLE small(cid INTEGER PRIMARY KEY, data BLOB NOT NULL);"
	"CREATE TABLE total(bytes INTEGER NOT NULL, files INTEGER NOT NULL);"
	"INSERT INTO total VALUES(0, 0);"
	"CREATE TRIGGER content_add AFTER INSERT ON content BEGIN"
	" UPDATE total SET bytes = bytes + new.bytes, files = files + 1; END;"
	"CREATE TRIGGER content_change AFTER UPDATE OF bytes ON content"
	" WHEN new.bytes <> old.bytes BEGIN"
	" UPDATE total SET bytes = bytes + new.bytes - old.bytes; END;"
	"CREATE TRIGGER content_remove AFTER DELETE ON content BEGIN"
	" DELETE FROM small WHERE cid = old.cid;"
	" UPDATE total SET bytes = bytes - old.bytes, files = files - 1; END";

#define COLUMNS "cid, row_size, size, bytes, used, file, dirty"

enum {
	W_BEGIN,
	W_COMMIT,
	W_PUT,
	W_PUT_DATA,
	W_TOUCH,
	W_REMOVE,
	W_OLDEST,
	W_DIRTY,
	W_IDLE,
	W_SHRINK,
	W_N
};
static const char *const writer_sql[W_N] = {
	[W_BEGIN] = "BEGIN IMMEDIATE",
	[W_COMMIT] = "COMMIT",
	[W_PUT] = "INSERT INTO content(" COLUMNS ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
		  " ON CONFLICT(cid) DO UPDATE SET row_size = ?2, size = ?3, bytes = ?4, used = ?5,"
		  " file = ?6, dirty = ?7",
	[W_PUT_DATA] = "INSERT OR REPLACE INTO small VALUES(?1, ?2)",
	[W_TOUCH] = "UPDATE content SET used = ?2 WHERE cid = ?1 AND used < ?2",
	[W_REMOVE] = "DELETE FROM content WHERE cid = ?1",
	[W_OLDEST] = "SELECT " COLUMNS " FROM content WHERE used <= ?1 ORDER BY used LIMIT ?2",
	[W_DIRTY] = "SELECT " COLUMNS " FROM content WHERE dirty LIMIT ?1",
	[W_IDLE] = "PRAGMA freelist_count",
	[W_SHRINK] = "PRAGMA incremental_vacuum(1024)",
};
_Static_assert(SHRINK_PAGES == 1024, "W_SHRINK says it again");

enum { R_FIND, R_BYTES, R_NEXT, R_N };
static const char *const reader_sql[R_N] = {
	[R_BYTES] = "SELECT bytes FROM content WHERE cid = ?1",
	[R_NEXT] = "SELECT cid FROM content WHERE cid > ?1 ORDER BY cid LIMIT ?2",
	[R_FIND] = "SELECT " COLUMNS ", data FROM content LEFT JOIN small USING(cid)"
		   " WHERE content.cid = ?1",
};

struct cache_db {
	char *path;
	/* A content has its bit if it has, or had, a row; once is_learnt, for all rows. */
	_Atomic(uint64_t) seen[SEEN_BITS / 64];
	atomic_bool is_learnt;
	uint64_t learnt_cid; /* of the thread that learns */

	/* Whoever made is_writing true. */
	sqlite3 *db;
	sqlite3_stmt *w[W_N];
	int (*before_write)(void *arg); /* NULL once it was 0 */
	void *before_arg;

	struct mutex lock; /* MUTEX_RANK_CACHE_DB; guards what follows */
	pthread_cond_t is_free;
	bool is_writing;

	struct dbpool readers;
	bool has_readers; /* constant once it is open */
};

/* --- open --- */

/* Space can be given back only by a database that was begun so. */
static int set_auto_vacuum(sqlite3 *db)
{
	sqlite3_stmt *stmt;
	int mode = 0;
	int code = sqlite3_prepare_v2(db, "PRAGMA auto_vacuum", -1, &stmt, NULL);
	int r;

	if (code != SQLITE_OK)
		return db_error(db, code);
	r = db_step(stmt);
	if (r > 0)
		mode = sqlite3_column_int(stmt, 0);
	(void)sqlite3_finalize(stmt);
	if (r < 0 || mode != 0)
		return r < 0 ? r : 0;
	return db_exec(db, "PRAGMA auto_vacuum = INCREMENTAL; VACUUM");
}

int cache_db_open(int dir_fd, int (*before_write)(void *arg), void *arg, struct cache_db **ret)
{
	struct cache_db *db = calloc(1, sizeof(*db));
	int r = 0;

	if (!db)
		return -ENOMEM;
	mutex_init(&db->lock, MUTEX_RANK_CACHE_DB);
	mutex_cond_init(&db->is_free);
	db->before_write = before_write;
	db->before_arg = arg;
	if (asprintf(&db->path, "/proc/self/fd/%d/%s", dir_fd, index_file) < 0) {
		db->path = NULL;
		r = -ENOMEM;
	}
	if (r == 0)
		r = db_open(db->path, schema, VERSION, WRITER_CACHE_KIB, &db->db);
	if (r == 0)
		r = set_auto_vacuum(db->db);
	if (r == 0)
		r = db_exec(db->db,
			    "PRAGMA synchronous = OFF; PRAGMA journal_size_limit = 16777216");
	if (r == 0)
		r = db_prepare(db->db, writer_sql, W_N, db->w);
	if (r < 0) {
		cache_db_close(db);
		return r;
	}
	dbpool_init(&db->readers, &(struct dbpool_options){ .path = db->path,
							    .sql = reader_sql,
							    .sql_n = R_N,
							    .cache_kib = READER_CACHE_KIB,
							    .readers = READERS_MAX });
	db->has_readers = true;
	*ret = db;
	return 0;
}

void cache_db_close(struct cache_db *db)
{
	if (!db)
		return;
	if (db->has_readers)
		dbpool_fini(&db->readers);
	db_finalize(db->w, W_N);
	db_close(db->db);
	pthread_cond_destroy(&db->is_free);
	mutex_fini(&db->lock);
	free(db->path);
	free(db);
}

bool cache_db_exists(int dir_fd)
{
	return faccessat(dir_fd, index_file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int cache_db_sync(int dir_fd, int (*sync)(int fd))
{
	static const char *const names[] = { index_file, wal_file };

	for (size_t i = 0; i < array_n(names); i++) {
		auto_close int fd = openat(dir_fd, names[i], O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 ? errno != ENOENT : sync(fd) < 0)
			return -errno;
	}
	return 0;
}

int cache_db_discard(int dir_fd)
{
	static const char *const names[] = { wal_file, "index-shm", index_file };

	for (size_t i = 0; i < array_n(names); i++)
		if (unlinkat(dir_fd, names[i], 0) < 0 && errno != ENOENT)
			return -errno;
	return 0;
}

/* --- reading --- */

static struct cache_row read_row(sqlite3_stmt *s)
{
	return (struct cache_row){
		.cid = (uint64_t)sqlite3_column_int64(s, 0),
		.row_size = (uint64_t)sqlite3_column_int64(s, 1),
		.size = (uint64_t)sqlite3_column_int64(s, 2),
		.bytes = (uint64_t)sqlite3_column_int64(s, 3),
		.used = (uint64_t)sqlite3_column_int64(s, 4),
		.is_file = sqlite3_column_int(s, 5) != 0,
		.is_dirty = sqlite3_column_int(s, 6) != 0,
	};
}

/* The row's bytes. -EUCLEAN: they are not as many as it says. */
static int take_data(sqlite3_stmt *s, const struct cache_row *row, void **ret)
{
	const void *data = sqlite3_column_blob(s, 7);
	void *copy;

	if (!data || (uint64_t)sqlite3_column_bytes(s, 7) != row->size)
		return -EUCLEAN;
	copy = malloc(row->size);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, data, row->size);
	*ret = copy;
	return 0;
}

int cache_db_find(struct cache_db *db, uint64_t cid, struct cache_row *ret, void **ret_data)
{
	struct dbpool_reader *reader = dbpool_get(&db->readers);
	struct cache_row row;
	void *data = NULL;
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_FIND];
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)cid);
	r = db_step(s);
	if (r > 0) {
		row = read_row(s);
		r = row.is_file ? 0 : take_data(s, &row, &data);
		(void)sqlite3_reset(s);
	} else if (r == 0) {
		r = -ENOENT;
	}
	dbpool_put(&db->readers, reader);
	if (r < 0)
		return r;
	*ret = row;
	*ret_data = data;
	return 0;
}

/* --- what is there of many --- */

static uint64_t seen_bit(uint64_t cid)
{
	return cid % SEEN_BITS; /* they are counted up, so this spreads them evenly */
}

static void set_seen(struct cache_db *db, uint64_t cid)
{
	uint64_t bit = seen_bit(cid);

	atomic_fetch_or(&db->seen[bit / 64], UINT64_C(1) << bit % 64);
}

bool cache_db_may_have(struct cache_db *db, uint64_t cid)
{
	uint64_t bit = seen_bit(cid);

	return !atomic_load(&db->is_learnt) ||
	       (atomic_load(&db->seen[bit / 64]) >> bit % 64 & 1) != 0;
}

uint64_t cache_db_get_bytes(struct cache_db *db, uint64_t cid)
{
	struct dbpool_reader *reader = cache_db_may_have(db, cid) ? dbpool_get(&db->readers) : NULL;
	uint64_t bytes = 0;
	sqlite3_stmt *s;

	if (!reader)
		return 0;
	s = reader->s[R_BYTES];
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)cid);
	if (db_step(s) > 0) {
		bytes = (uint64_t)sqlite3_column_int64(s, 0);
		(void)sqlite3_reset(s);
	}
	dbpool_put(&db->readers, reader);
	return bytes;
}

bool cache_db_learn(struct cache_db *db)
{
	struct dbpool_reader *reader = dbpool_get(&db->readers);
	unsigned n = 0;
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return false;
	s = reader->s[R_NEXT];
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)db->learnt_cid);
	(void)sqlite3_bind_int(s, 2, LEARN_ROWS);
	while ((r = db_step(s)) > 0) {
		db->learnt_cid = (uint64_t)sqlite3_column_int64(s, 0);
		set_seen(db, db->learnt_cid);
		n++;
	}
	dbpool_put(&db->readers, reader);
	if (r == 0 && n < LEARN_ROWS)
		atomic_store(&db->is_learnt, true);
	return r == 0 && n == LEARN_ROWS;
}

/* --- transactions --- */

static void take_writer(struct cache_db *db)
{
	mutex_lock(&db->lock);
	while (db->is_writing)
		mutex_wait(&db->lock, &db->is_free);
	db->is_writing = true;
	mutex_unlock(&db->lock);
}

static void give_writer(struct cache_db *db)
{
	mutex_lock(&db->lock);
	db->is_writing = false;
	pthread_cond_broadcast(&db->is_free);
	mutex_unlock(&db->lock);
}

/* The writer's. */
static int get_ready(struct cache_db *db)
{
	int r = db->before_write ? db->before_write(db->before_arg) : 0;

	if (r == 0)
		db->before_write = NULL;
	return r;
}

int cache_db_begin(struct cache_db *db)
{
	int r;

	take_writer(db);
	r = get_ready(db);
	if (r == 0)
		r = db_run(db->w[W_BEGIN]);
	if (r < 0)
		give_writer(db);
	return r;
}

int cache_db_end(struct cache_db *db, int result)
{
	int r = result;

	if (r == 0)
		r = db_run(db->w[W_COMMIT]);
	if (r < 0)
		db_rollback(db->db);
	give_writer(db);
	return r;
}

static int put_data(struct cache_db *db, const struct cache_row *row, const void *data)
{
	sqlite3_stmt *s = db->w[W_PUT_DATA];
	int r;

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)row->cid);
	(void)sqlite3_bind_blob64(s, 2, data, row->size, SQLITE_STATIC);
	r = db_run(s);
	(void)sqlite3_bind_null(s, 2);
	return r;
}

int cache_db_put(struct cache_db *db, const struct cache_row *row, const void *data)
{
	sqlite3_stmt *s = db->w[W_PUT];
	int r;

	set_seen(db, row->cid);
	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)row->cid);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)row->row_size);
	(void)sqlite3_bind_int64(s, 3, (sqlite3_int64)row->size);
	(void)sqlite3_bind_int64(s, 4, (sqlite3_int64)row->bytes);
	(void)sqlite3_bind_int64(s, 5, (sqlite3_int64)row->used);
	(void)sqlite3_bind_int(s, 6, row->is_file);
	(void)sqlite3_bind_int(s, 7, row->is_dirty);
	r = db_run(s);
	return r == 0 && data ? put_data(db, row, data) : r;
}

int cache_db_touch(struct cache_db *db, uint64_t cid, uint64_t used)
{
	sqlite3_stmt *s = db->w[W_TOUCH];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)cid);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)used);
	return db_run(s);
}

int cache_db_remove(struct cache_db *db, uint64_t cid)
{
	sqlite3_stmt *s = db->w[W_REMOVE];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)cid);
	return db_run(s);
}

static int list_rows(sqlite3_stmt *s, struct cache_row *ret, size_t max, size_t *ret_n)
{
	size_t n = 0;
	int r;

	while ((r = db_step(s)) > 0 && n < max)
		ret[n++] = read_row(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	if (r < 0)
		return r;
	*ret_n = n;
	return 0;
}

int cache_db_list_oldest(struct cache_db *db, uint64_t used_max, struct cache_row *ret, size_t max,
			 size_t *ret_n)
{
	sqlite3_stmt *s = db->w[W_OLDEST];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)used_max);
	(void)sqlite3_bind_int64(s, 2, (sqlite3_int64)max);
	return list_rows(s, ret, max, ret_n);
}

int cache_db_list_dirty(struct cache_db *db, struct cache_row *ret, size_t max, size_t *ret_n)
{
	sqlite3_stmt *s = db->w[W_DIRTY];

	(void)sqlite3_bind_int64(s, 1, (sqlite3_int64)max);
	return list_rows(s, ret, max, ret_n);
}

int cache_db_get_total(struct cache_db *db, struct cache_db_total *ret)
{
	sqlite3_stmt *stmt;
	int code, r;

	take_writer(db);
	code = sqlite3_prepare_v2(db->db,
				  "SELECT bytes, files, (SELECT max(used) FROM content) FROM total",
				  -1, &stmt, NULL);
	if (code == SQLITE_OK) {
		r = db_step(stmt);
		if (r > 0)
			*ret = (struct cache_db_total){
				.bytes = (uint64_t)sqlite3_column_int64(stmt, 0),
				.files_n = (uint64_t)sqlite3_column_int64(stmt, 1),
				.used = (uint64_t)sqlite3_column_int64(stmt, 2),
			};
		else if (r == 0)
			r = -EUCLEAN;
		(void)sqlite3_finalize(stmt);
	} else {
		r = db_error(db->db, code);
	}
	give_writer(db);
	return r < 0 ? r : 0;
}

bool cache_db_shrink(struct cache_db *db)
{
	sqlite3_int64 idle_n = 0;
	int r;

	take_writer(db);
	r = db_step(db->w[W_IDLE]);
	if (r > 0) {
		idle_n = sqlite3_column_int64(db->w[W_IDLE], 0);
		(void)sqlite3_reset(db->w[W_IDLE]);
	}
	if (r > 0 && idle_n > IDLE_PAGES_MAX && get_ready(db) < 0)
		r = -EIO;
	/* It gives a row for each page. */
	while (r > 0 && idle_n > IDLE_PAGES_MAX)
		if ((r = db_step(db->w[W_SHRINK])) == 0)
			break;
	give_writer(db);
	return r == 0 && idle_n > IDLE_PAGES_MAX;
}

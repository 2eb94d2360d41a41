#define LOG_MODULE "db"
#include "db.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { BUSY_MS = 10000, STATEMENT_ERROR_MAX = 200, CLOSE_WAL_MAX = 5 * 1024 * 1024 };

int db_error(sqlite3 *db, int code)
{
	log_error("SQLite: %s (%d)", sqlite3_errmsg(db), code);
	switch (code & 0xff) {
	case SQLITE_OK:
	case SQLITE_DONE:
	case SQLITE_ROW:
		return 0;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_INTERRUPT:
		return -ECANCELED;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_READONLY:
	case SQLITE_PERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

int db_exec(sqlite3 *db, const char *sql)
{
	int code = sqlite3_exec(db, sql, NULL, NULL, NULL);

	return code == SQLITE_OK ? 0 : db_error(db, code);
}

void db_rollback(sqlite3 *db)
{
	if (!sqlite3_get_autocommit(db) &&
	    sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
		log_error("SQLite: a transaction cannot be rolled back: %s", sqlite3_errmsg(db));
}

static int open_with(const char *path, int flags, int cache_kib, sqlite3 **ret)
{
	sqlite3 *db = NULL;
	char pragma[64];
	int code = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
				   NULL);
	int r;

	if (code != SQLITE_OK) {
		r = db ? db_error(db, code) : -ENOMEM;
		(void)sqlite3_close(db);
		return r;
	}
	sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
	sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
	sqlite3_busy_timeout(db, BUSY_MS);
	/* No mmap: measured on a million rows it made nothing faster, every connection's mapping
	 * counts as memory of this process, and a disk error under it would be a SIGBUS. */
	snprintf(pragma, sizeof(pragma), "PRAGMA cache_size = -%d", cache_kib);
	if ((r = db_exec(db, pragma)) < 0 ||
	    (r = db_exec(db, "PRAGMA cell_size_check = ON; PRAGMA temp_store = FILE;"
			     "PRAGMA foreign_keys = OFF; PRAGMA mmap_size = 0")) < 0) {
		(void)sqlite3_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

static int get_version(sqlite3 *db, int *ret)
{
	sqlite3_stmt *stmt;
	int code = sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &stmt, NULL);
	int r;

	if (code != SQLITE_OK)
		return db_error(db, code);
	r = db_step(stmt);
	if (r > 0)
		*ret = sqlite3_column_int(stmt, 0);
	(void)sqlite3_finalize(stmt);
	return r < 0 ? r : 0;
}

static int set_up(sqlite3 *db, const char *path, const char *schema, int version)
{
	auto_free char *sql = NULL;
	int found = 0, r;

	/* A page that many commits change is written to the file once for each checkpoint: at a
	 * million rows twice as many pages between them saved a fifth of the time of a crawl. The
	 * file shrinks again, because opening reads it. */
	r = db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
			"PRAGMA wal_autocheckpoint = 10000; PRAGMA journal_size_limit = 4194304");
	if (r == 0)
		r = get_version(db, &found);
	if (r < 0 || found == version)
		return r;
	if (found != 0) {
		log_error("%s is of version %d, this program knows %d", path, found, version);
		return -EPROTO;
	}
	if (asprintf(&sql, "BEGIN IMMEDIATE; %s; PRAGMA user_version = %d; COMMIT", schema,
		     version) < 0)
		return -ENOMEM;
	return db_exec(db, sql);
}

/* SQLite gives its other files the mode of the first. */
static int make_private(const char *path)
{
	auto_close int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 || fchmod(fd, 0600) < 0 ? -errno : 0;
}

/* Its count of the memory in use costs a lock for each allocation, and nobody reads it. */
static void configure(void)
{
	(void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

int db_open(const char *path, const char *schema, int version, int cache_kib, sqlite3 **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	sqlite3 *db = NULL;
	int r = make_private(path);

	pthread_once(&once, configure);
	if (r == 0)
		r = open_with(path, SQLITE_OPEN_READWRITE, cache_kib, &db);
	if (r < 0)
		return r;
	r = set_up(db, path, schema, version);
	if (r < 0) {
		db_close(db);
		return r;
	}
	*ret = db;
	return 0;
}

int db_open_reader(const char *path, int cache_kib, sqlite3 **ret)
{
	return open_with(path, SQLITE_OPEN_READWRITE, cache_kib, ret);
}

/* The last to close moves what is in the WAL file to its place, and waits for the disk. When it is
 * much, the next open reads it instead, and the file need only be on disk as it is: the end of the
 * program is not the time for more. */
static void skip_long_checkpoint(sqlite3 *db)
{
	const char *path = sqlite3_db_filename(db, "main");
	auto_close int fd =
		path ? open(sqlite3_filename_wal(path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= CLOSE_WAL_MAX)
		return;
	sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	if (fdatasync(fd) < 0)
		log_warn("%s: the newest commits may not outlive a power cut: %s", path,
			 strerror(errno));
}

void db_close(sqlite3 *db)
{
	if (db)
		skip_long_checkpoint(db);
	if (db && sqlite3_close(db) != SQLITE_OK)
		log_error("a database was closed with statements still open");
}

int db_check(sqlite3 *db)
{
	auto_free char *found = NULL;
	sqlite3_stmt *stmt;
	int code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &stmt, NULL);
	int r;

	if (code != SQLITE_OK)
		return db_error(db, code);
	r = db_step(stmt);
	if (r > 0)
		found = db_take_text(stmt, 0);
	(void)sqlite3_finalize(stmt);
	if (r < 0)
		return r;
	if (found && strcmp(found, "ok") == 0)
		return 0;
	log_error("a database contradicts itself: %s", found ? found : "no answer");
	return -EUCLEAN;
}

int db_prepare(sqlite3 *db, const char *const *sql, size_t n, sqlite3_stmt **ret)
{
	for (size_t i = 0; i < n; i++)
		ret[i] = NULL;
	for (size_t i = 0; i < n; i++) {
		int code = sqlite3_prepare_v3(db, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &ret[i],
					      NULL);

		if (code != SQLITE_OK) {
			int r = db_error(db, code);

			log_error("in: %.*s", STATEMENT_ERROR_MAX, sql[i]);
			db_finalize(ret, n);
			return r < 0 ? r : -EIO;
		}
	}
	return 0;
}

void db_finalize(sqlite3_stmt **stmts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		(void)sqlite3_finalize(stmts[i]);
		stmts[i] = NULL;
	}
}

int db_step(sqlite3_stmt *stmt)
{
	int code = sqlite3_step(stmt), r;

	if (code == SQLITE_ROW)
		return 1;
	r = code == SQLITE_DONE ? 0 : db_error(sqlite3_db_handle(stmt), code);
	(void)sqlite3_reset(stmt);
	return r;
}

int db_run(sqlite3_stmt *stmt)
{
	int r = db_step(stmt);

	if (r > 0)
		(void)sqlite3_reset(stmt);
	return r < 0 ? r : 0;
}

void db_text(sqlite3_stmt *stmt, int at, const char *text)
{
	(void)sqlite3_bind_text(stmt, at, text, -1, SQLITE_STATIC);
}

char *db_take_text(sqlite3_stmt *stmt, int column)
{
	const char *text = (const char *)sqlite3_column_text(stmt, column);

	return text ? strdup(text) : NULL;
}

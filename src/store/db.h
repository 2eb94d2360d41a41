/*
 * SQLite as this project uses it: WAL, synchronous NORMAL, statements prepared once for each
 * connection. A connection belongs to one thread at a time.
 */
#pragma once

#include "mem.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

/* path: in a directory of ours; its last part is not followed if it is a link (-ELOOP). The file is
 * 0600. schema is run when the database is new; its version goes into user_version. -EUCLEAN
 * damaged or no database, -EPROTO another version. */
must_check int db_open(const char *path, const char *schema, int version, int cache_kib,
		       sqlite3 **ret);
/* A second connection, for reading only. */
must_check int db_open_reader(const char *path, int cache_kib, sqlite3 **ret);
void db_close(sqlite3 *db);
/* Reads all of the database: -EUCLEAN when it contradicts itself, with a log line. */
must_check int db_check(sqlite3 *db);

/* Prepares all statements of a table; finalizes all on failure. -EIO. */
must_check int db_prepare(sqlite3 *db, const char *const *sql, size_t n, sqlite3_stmt **ret);
void db_finalize(sqlite3_stmt **stmts, size_t n);

must_check int db_exec(sqlite3 *db, const char *sql);
/* Ends a transaction without effect; SQLite may have done so already. */
void db_rollback(sqlite3 *db);
/* Steps a statement that gives no row, and resets it. -EIO, -ENOSPC, -EUCLEAN. */
must_check int db_run(sqlite3_stmt *stmt);
/* 1: a row is there (reset later), 0: none (already reset), < 0 an error (already reset). */
must_check int db_step(sqlite3_stmt *stmt);
/* The errno for SQLite's result, logged. */
int db_error(sqlite3 *db, int code);

/* Binds; NULL binds NULL. Text is not copied: it must live until the statement is reset. */
void db_text(sqlite3_stmt *stmt, int at, const char *text);
/* A column as a string the caller owns, NULL for NULL. */
char *db_take_text(sqlite3_stmt *stmt, int column);

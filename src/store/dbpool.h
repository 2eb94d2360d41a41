/*
 * Connections that read a database: one for each thread that reads at the same moment, made when
 * first needed and kept. Any thread.
 */
#pragma once

#include "mem.h"
#include "mutex.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>

struct dbpool_reader {
	struct dbpool_reader *next; /* private */
	sqlite3 *db;
	sqlite3_stmt *s[]; /* in the order of sql */
};

/* Constant once dbpool_init() has it; borrowed strings must outlive the pool. */
struct dbpool_options {
	const char *path;
	const char *const *sql; /* the statements of each reader */
	size_t sql_n;
	int cache_kib;    /* of each */
	unsigned readers; /* at most */
};

struct dbpool {
	struct dbpool_options options;

	struct mutex lock; /* MUTEX_RANK_DBPOOL; guards what follows */
	pthread_cond_t is_free;
	struct dbpool_reader *idle;
	unsigned readers_n;
};

void dbpool_init(struct dbpool *pool, const struct dbpool_options *options);
/* Every reader was given back. */
void dbpool_fini(struct dbpool *pool);
/* A reader for this thread until dbpool_put(); waits while all are in use. NULL: none can be made.
 */
struct dbpool_reader *dbpool_get(struct dbpool *pool);
/* Its statements are reset. */
void dbpool_put(struct dbpool *pool, struct dbpool_reader *reader);

#include "dbpool.h"

#include "db.h"

void dbpool_init(struct dbpool *pool, const struct dbpool_options *options)
{
	*pool = (struct dbpool){ .options = *options };
	mutex_init(&pool->lock, MUTEX_RANK_DBPOOL);
	mutex_cond_init(&pool->is_free);
}

void dbpool_fini(struct dbpool *pool)
{
	while (pool->idle) {
		struct dbpool_reader *reader = pool->idle;

		pool->idle = reader->next;
		db_finalize(reader->s, pool->options.sql_n);
		db_close(reader->db);
		free(reader);
	}
	pthread_cond_destroy(&pool->is_free);
	mutex_fini(&pool->lock);
}

static struct dbpool_reader *new_reader(const struct dbpool_options *o)
{
	struct dbpool_reader *reader =
		calloc(1, sizeof(*reader) + o->sql_n * sizeof(sqlite3_stmt *));

	if (!reader)
		return NULL;
	if (db_open_reader(o->path, o->cache_kib, &reader->db) < 0) {
		free(reader);
		return NULL;
	}
	if (db_prepare(reader->db, o->sql, o->sql_n, reader->s) < 0) {
		db_close(reader->db);
		free(reader);
		return NULL;
	}
	return reader;
}

struct dbpool_reader *dbpool_get(struct dbpool *pool)
{
	struct dbpool_reader *reader;

	mutex_lock(&pool->lock);
	while (!pool->idle && pool->readers_n == pool->options.readers)
		mutex_wait(&pool->lock, &pool->is_free);
	reader = pool->idle;
	if (reader)
		pool->idle = reader->next;
	else
		pool->readers_n++;
	mutex_unlock(&pool->lock);
	if (reader)
		return reader;
	reader = new_reader(&pool->options);
	if (!reader) {
		mutex_lock(&pool->lock);
		pool->readers_n--;
		pthread_cond_signal(&pool->is_free);
		mutex_unlock(&pool->lock);
	}
	return reader;
}

void dbpool_put(struct dbpool *pool, struct dbpool_reader *reader)
{
	mutex_lock(&pool->lock);
	reader->next = pool->idle;
	pool->idle = reader;
	pthread_cond_signal(&pool->is_free);
	mutex_unlock(&pool->lock);
}

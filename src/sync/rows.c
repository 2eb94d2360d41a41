#include "rows.h"

#include "list.h"
#include "mutex.h"

#include <errno.h>
#include <string.h>

/* What malloc() adds to each piece. */
enum { BUCKETS_N = 4096, MALLOC_BYTES = 16 };

struct kept {
	struct row row;
	uint64_t commits_n; /* before it was read */
	atomic_uint refs_n;
	atomic_bool is_kept;

	/* rows->lock */
	struct list node, lru;
	size_t bytes;
};

struct rows {
	struct tree *tree;
	struct mutex lock; /* MUTEX_RANK_ROWS; guards what follows */
	struct list buckets[BUCKETS_N];
	struct list lru; /* newest first */
	size_t bytes;
};

static struct kept *kept_of(const struct row *row)
{
	return container_of((struct row *)row, struct kept, row);
}

int rows_new(struct tree *tree, struct rows **ret)
{
	struct rows *rows = calloc(1, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	rows->tree = tree;
	mutex_init(&rows->lock, MUTEX_RANK_ROWS);
	list_init(&rows->lru);
	for (size_t i = 0; i < BUCKETS_N; i++)
		list_init(&rows->buckets[i]);
	*ret = rows;
	return 0;
}

void rows_unref(struct row *row)
{
	struct kept *k = kept_of(row);

	if (atomic_fetch_sub(&k->refs_n, 1) > 1)
		return;
	tree_meta_fini(&row->meta);
	free(k);
}

static void drop(struct rows *rows, struct kept *k) REQUIRES(&rows->lock)
{
	list_del(&k->node);
	list_del(&k->lru);
	rows->bytes -= k->bytes;
	rows_unref(&k->row);
}

void rows_free(struct rows *rows)
{
	if (!rows)
		return;
	mutex_lock(&rows->lock);
	list_for_each_safe (&rows->lru, pos)
		drop(rows, container_of(pos, struct kept, lru));
	mutex_unlock(&rows->lock);
	mutex_fini(&rows->lock);
	free(rows);
}

static struct kept *find(struct rows *rows, uint64_t ino) REQUIRES(&rows->lock)
{
	list_for_each (&rows->buckets[ino % BUCKETS_N], pos) {
		struct kept *k = container_of(pos, struct kept, node);

		if (k->row.meta.attr.ino == ino)
			return k;
	}
	return NULL;
}

static int read_row(struct rows *rows, uint64_t ino, uint64_t commits_n, struct row **ret)
{
	struct kept *k = calloc(1, sizeof(*k));
	struct tree_meta *meta;
	int r;

	if (!k)
		return -ENOMEM;
	meta = &k->row.meta;
	r = tree_get_meta(rows->tree, ino, meta);
	if (r < 0) {
		free(k);
		return r;
	}
	free(meta->name);
	free(meta->web_url);
	meta->name = meta->web_url = NULL;
	k->commits_n = commits_n;
	k->refs_n = 1;
	list_init(&k->node);
	list_init(&k->lru);
	*ret = &k->row;
	return 0;
}

int rows_get(struct rows *rows, uint64_t ino, struct row **ret)
{
	uint64_t commits_n = tree_commits_n(rows->tree);
	struct kept *k;

	mutex_lock(&rows->lock);
	k = find(rows, ino);
	if (k && k->commits_n == commits_n) {
		k->refs_n++;
		list_del(&k->lru);
		list_add_head(&rows->lru, &k->lru);
	} else {
		k = NULL;
	}
	mutex_unlock(&rows->lock);
	if (!k)
		return read_row(rows, ino, commits_n, ret);
	*ret = &k->row;
	return 0;
}

static size_t bytes_of(const struct tree_meta *meta)
{
	const char *const strings[] = { meta->id, meta->drive_id, meta->etag, meta->ctag };
	size_t bytes = sizeof(struct kept) + MALLOC_BYTES;

	for (size_t i = 0; i < array_n(strings); i++)
		bytes += strings[i] ? strlen(strings[i]) + MALLOC_BYTES : 0;
	return bytes;
}

void rows_keep(struct rows *rows, struct row *row)
{
	struct kept *k = kept_of(row), *old;

	/* It may be of before the commit, or of after it. */
	if (k->commits_n % 2 != 0)
		return;
	mutex_lock(&rows->lock);
	old = find(rows, row->meta.attr.ino);
	if (old != k) {
		if (old && old->row.meta.attr.cid == row->meta.attr.cid)
			row->used = (uint64_t)old->row.used;
		if (old)
			drop(rows, old);
		k->refs_n++;
		k->bytes = bytes_of(&row->meta);
		k->is_kept = true;
		rows->bytes += k->bytes;
		list_add_tail(&rows->buckets[row->meta.attr.ino % BUCKETS_N], &k->node);
		list_add_head(&rows->lru, &k->lru);
	}
	while (rows->bytes > ROWS_BYTES_MAX)
		drop(rows, container_of(rows->lru.prev, struct kept, lru));
	mutex_unlock(&rows->lock);
}

bool rows_is_current(const struct rows *rows, const struct row *row)
{
	const struct kept *k = kept_of(row);

	return k->is_kept && k->commits_n == tree_commits_n(rows->tree);
}

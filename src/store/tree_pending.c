#define LOG_MODULE "tree"
#include "tree_pending.h"

#include <errno.h>
#include <string.h>

/* A chain of folders longer than this is taken for a ring. */
enum { DEPTH_MAX = 20000 };

void tree_pending_fini(struct tree_pending *p)
{
	free(p->id);
	free(p->base_pid);
	free(p->base_name);
	free(p->etag);
	free(p->ctag);
	free(p->reason);
	free(p->session);
	*p = (struct tree_pending){ 0 };
}

/* Columns as in PENDING of tree.c. */
static int take(sqlite3_stmt *s, struct tree_pending *ret)
{
	struct tree_pending p = {
		.ino = (uint64_t)sqlite3_column_int64(s, 0),
		.what = (unsigned)sqlite3_column_int(s, 1),
		.id = db_take_text(s, 2),
		.base_pid = db_take_text(s, 3),
		.base_name = db_take_text(s, 4),
		.base_cid = (uint64_t)sqlite3_column_int64(s, 5),
		.base_size = (uint64_t)sqlite3_column_int64(s, 6),
		.etag = db_take_text(s, 7),
		.ctag = db_take_text(s, 8),
		.has_hash = sqlite3_column_bytes(s, 9) == (int)sizeof(p.hash),
		.error = sqlite3_column_int(s, 10),
		.reason = db_take_text(s, 11),
		.session = db_take_text(s, 12),
		.session_cid = (uint64_t)sqlite3_column_int64(s, 13),
		.is_written = sqlite3_column_int(s, 14),
	};

	if (p.has_hash)
		memcpy(p.hash, sqlite3_column_blob(s, 9), sizeof(p.hash));
	(void)sqlite3_reset(s);
	*ret = p;
	return 1;
}

static int find(sqlite3_stmt *s, struct tree_pending *ret)
{
	int r = db_step(s);

	return r > 0 ? take(s, ret) : r;
}

int tree_pending_get(struct tree *tree, uint64_t ino, struct tree_pending *ret)
{
	if (tree->pending_now == 0)
		return 0;
	sqlite3_bind_int64(tree->w[W_PENDING_GET], 1, (int64_t)ino);
	return find(tree->w[W_PENDING_GET], ret);
}

int tree_pending_find(struct tree *tree, const char *id, struct tree_pending *ret)
{
	if (tree->pending_now == 0)
		return 0;
	sqlite3_bind_int64(tree->w[W_PENDING_BY_ID], 1, tree_id_hash(id));
	db_text(tree->w[W_PENDING_BY_ID], 2, id);
	return find(tree->w[W_PENDING_BY_ID], ret);
}

int tree_pending_next(struct tree *tree, uint64_t after, struct tree_pending *ret)
{
	if (tree->pending_now == 0)
		return 0;
	sqlite3_bind_int64(tree->w[W_PENDING_NEXT], 1, (int64_t)after);
	return find(tree->w[W_PENDING_NEXT], ret);
}

int tree_pending_is(struct tree *tree, uint64_t ino)
{
	sqlite3_stmt *s = tree->w[W_PENDING_IS];
	int r;

	if (tree->pending_now == 0)
		return 0;
	sqlite3_bind_int64(s, 1, (int64_t)ino);
	r = db_step(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	return r;
}

int tree_pending_is_deletion(struct tree *tree, const char *id)
{
	struct tree_pending p = { 0 };
	int r = tree_pending_find(tree, id, &p);

	tree_pending_fini(&p);
	return r;
}

int tree_pending_put(struct tree *tree, const struct tree_pending *p)
{
	sqlite3_stmt *s = tree->w[W_PENDING_PUT];
	int r;

	if (p->what == 0)
		return tree_pending_drop(tree, p->ino);
	r = tree_pending_is(tree, p->ino);
	if (r < 0)
		return r;
	if (r == 0)
		tree->pending_now++;
	sqlite3_bind_int64(s, 1, (int64_t)p->ino);
	sqlite3_bind_int(s, 2, (int)p->what);
	db_text(s, 3, p->id);
	db_text(s, 4, p->base_pid);
	db_text(s, 5, p->base_name);
	sqlite3_bind_int64(s, 6, (int64_t)p->base_cid);
	sqlite3_bind_int64(s, 7, (int64_t)p->base_size);
	db_text(s, 8, p->etag);
	db_text(s, 9, p->ctag);
	if (p->has_hash)
		(void)sqlite3_bind_blob(s, 10, p->hash, sizeof(p->hash), SQLITE_STATIC);
	else
		sqlite3_bind_null(s, 10);
	sqlite3_bind_int(s, 11, p->error);
	db_text(s, 12, p->reason);
	db_text(s, 13, p->session);
	sqlite3_bind_int64(s, 14, (int64_t)p->session_cid);
	sqlite3_bind_int(s, 15, p->is_written);
	if (p->id)
		sqlite3_bind_int64(s, 16, tree_id_hash(p->id));
	else
		sqlite3_bind_null(s, 16);
	tree->changed = true;
	return db_run(s);
}

int tree_pending_drop(struct tree *tree, uint64_t ino)
{
	int r = tree_pending_is(tree, ino);

	if (r <= 0)
		return r;
	tree->pending_now--;
	tree->changed = true;
	sqlite3_bind_int64(tree->w[W_PENDING_DROP], 1, (int64_t)ino);
	return db_run(tree->w[W_PENDING_DROP]);
}

int tree_pending_has_place(struct tree *tree, uint64_t but_ino, const char *pid, const char *name)
{
	sqlite3_stmt *s = tree->w[W_PENDING_PLACE];
	int r;

	if (tree->pending_now == 0)
		return 0;
	db_text(s, 1, pid);
	db_text(s, 2, name);
	sqlite3_bind_int64(s, 3, (int64_t)but_ino);
	r = db_step(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	return r;
}

int tree_pending_has_children(struct tree *tree, const char *id)
{
	sqlite3_stmt *s = tree->w[W_PENDING_CHILD];
	int r;

	if (tree->pending_now == 0)
		return 0;
	db_text(s, 1, id);
	r = db_step(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	return r;
}

/* The folder that the service has the item in: 1; 0: it is the root, or nobody knows. */
static int find_base_parent(struct tree *tree, const char *id, char **ret)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 }, dir = { 0 };
	auto_call(tree_pending_fini) struct tree_pending p = { 0 };
	const char *found;
	int r = tree_row_by_id(tree, id, &row);

	if (r > 0)
		r = tree_pending_get(tree, row.attr.ino, &p);
	else if (r == 0)
		r = tree_pending_find(tree, id, &p);
	if (r >= 0 && row.parent > 0 && !p.base_pid)
		r = tree_row_get(tree, (uint64_t)row.parent, &dir);
	if (r < 0)
		return r;
	found = p.base_pid ? p.base_pid : dir.id ? dir.id : row.pid;
	*ret = found ? strdup(found) : NULL;
	return found && !*ret ? -ENOMEM : found != NULL;
}

int tree_pending_is_below(struct tree *tree, const char *id, const char *top)
{
	auto_free char *at = strdup(id);

	if (!at)
		return -ENOMEM;
	for (int depth = 0; depth < DEPTH_MAX; depth++) {
		char *up;
		int r;

		if (strcmp(at, top) == 0)
			return 1;
		r = find_base_parent(tree, at, &up);
		if (r <= 0)
			return r;
		free(at);
		at = up;
	}
	return 1;
}

int tree_pending_ask(struct tree *tree, uint64_t by_ino, const char *by_id, const char *id)
{
	sqlite3_stmt *s = tree->w[W_ASKED_PUT];

	db_text(s, 1, id);
	sqlite3_bind_int64(s, 2, (int64_t)by_ino);
	db_text(s, 3, by_id);
	tree->changed = true;
	return db_run(s);
}

int tree_pending_ask_after(struct tree *tree, int64_t parent, const char *name, const char *id)
{
	sqlite3_stmt *s = tree->w[W_ASKED_AFTER];

	sqlite3_bind_int64(s, 1, parent);
	db_text(s, 2, name);
	db_text(s, 3, id);
	return db_run(s);
}

int tree_pending_answered(struct tree *tree, const char *id)
{
	db_text(tree->w[W_ASKED_DROP], 1, id);
	return db_run(tree->w[W_ASKED_DROP]);
}

int tree_pending_name(const struct tree_row *row, char **ret, size_t *ret_len)
{
	if (names_unshow(row->name, ret, ret_len) == 0)
		return 0;
	/* No name of the service is shown so: it is the name. */
	*ret = strdup(row->name);
	*ret_len = strlen(row->name);
	return *ret ? 0 : -ENOMEM;
}

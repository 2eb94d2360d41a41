#define LOG_MODULE "tree"
#include "tree_row.h"

#include "log.h"
#include "tree_fold.h"
#include "tree_local.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

enum { FLAG_COMPLETE = 1, FLAG_MALWARE = 2, FLAG_PACKAGE = 4, FLAG_LOCAL = 8 };

void tree_row_fini(struct tree_row *row)
{
	free(row->id);
	free(row->pid);
	free(row->name);
	free(row->etag);
	free(row->ctag);
	free(row->web_url);
	*row = (struct tree_row){ 0 };
}

/* Columns as in the statements of tree.c: ino, id, parent, pid, name, kind, size, smtime, mtime,
 * btime, mode, cid, seq, flags, etag, ctag, hash, web_url. */
static int take_row(sqlite3_stmt *s, struct tree_row *ret)
{
	struct tree_row row = { 0 };
	int flags = sqlite3_column_int(s, 13);

	row.attr.ino = (uint64_t)sqlite3_column_int64(s, 0);
	row.id = db_take_text(s, 1);
	row.parent = sqlite3_column_int64(s, 2);
	row.attr.parent = row.parent > 0 ? (uint64_t)row.parent : 0;
	row.pid = db_take_text(s, 3);
	row.name = db_take_text(s, 4);
	row.attr.kind = (enum tree_kind)sqlite3_column_int(s, 5);
	row.attr.size = (uint64_t)sqlite3_column_int64(s, 6);
	row.service_mtime_ns = sqlite3_column_int64(s, 7);
	row.attr.mtime_ns = sqlite3_column_int64(s, 8);
	row.attr.btime_ns = sqlite3_column_int64(s, 9);
	row.attr.mode = (uint32_t)sqlite3_column_int(s, 10);
	row.attr.cid = (uint64_t)sqlite3_column_int64(s, 11);
	row.attr.seq = (uint64_t)sqlite3_column_int64(s, 12);
	row.attr.complete = flags & FLAG_COMPLETE;
	row.malware = flags & FLAG_MALWARE;
	row.package = flags & FLAG_PACKAGE;
	row.etag = db_take_text(s, 14);
	row.ctag = db_take_text(s, 15);
	row.has_hash = sqlite3_column_bytes(s, 16) == (int)sizeof(row.hash);
	if (row.has_hash)
		memcpy(row.hash, sqlite3_column_blob(s, 16), sizeof(row.hash));
	row.web_url = db_take_text(s, 17);
	(void)sqlite3_reset(s);
	if (!row.id || !row.name) {
		tree_row_fini(&row);
		return -ENOMEM;
	}
	*ret = row;
	return 1;
}

static int find(sqlite3_stmt *s, struct tree_row *ret)
{
	int r = db_step(s);

	return r > 0 ? take_row(s, ret) : r;
}

int tree_row_get(struct tree *tree, uint64_t ino, struct tree_row *ret)
{
	sqlite3_bind_int64(tree->w[W_GET], 1, (int64_t)ino);
	return find(tree->w[W_GET], ret);
}

int tree_row_next(struct tree *tree, uint64_t after, struct tree_row *ret)
{
	sqlite3_bind_int64(tree->w[W_NEXT], 1, (int64_t)after);
	return find(tree->w[W_NEXT], ret);
}

int tree_row_by_id(struct tree *tree, const char *id, struct tree_row *ret)
{
	sqlite3_bind_int64(tree->w[W_BY_ID], 1, tree_id_hash(id));
	db_text(tree->w[W_BY_ID], 2, id);
	return find(tree->w[W_BY_ID], ret);
}

int tree_row_by_name(struct tree *tree, int64_t parent, const char *name, struct tree_row *ret)
{
	sqlite3_bind_int64(tree->w[W_BY_NAME], 1, parent);
	db_text(tree->w[W_BY_NAME], 2, name);
	return find(tree->w[W_BY_NAME], ret);
}

static void bind_row(sqlite3_stmt *s, const struct tree_row *row)
{
	int flags =
		(row->attr.complete ? FLAG_COMPLETE : 0) | (row->malware ? FLAG_MALWARE : 0) |
		(row->package ? FLAG_PACKAGE : 0) |
		(strncmp(row->id, TREE_LOCAL_ID, sizeof(TREE_LOCAL_ID) - 1) == 0 ? FLAG_LOCAL : 0);

	sqlite3_bind_int64(s, 1, (int64_t)row->attr.ino);
	db_text(s, 2, row->id);
	sqlite3_bind_int64(s, 3, row->parent);
	db_text(s, 4, row->pid);
	db_text(s, 5, row->name);
	sqlite3_bind_int(s, 6, (int)row->attr.kind);
	sqlite3_bind_int64(s, 7, (int64_t)row->attr.size);
	sqlite3_bind_int64(s, 8, row->service_mtime_ns);
	sqlite3_bind_int64(s, 9, row->attr.mtime_ns);
	sqlite3_bind_int64(s, 10, row->attr.btime_ns);
	sqlite3_bind_int(s, 11, (int)row->attr.mode);
	sqlite3_bind_int64(s, 12, (int64_t)row->attr.cid);
	sqlite3_bind_int64(s, 13, (int64_t)row->attr.seq);
	sqlite3_bind_int(s, 14, flags);
	db_text(s, 15, row->etag);
	db_text(s, 16, row->ctag);
	if (row->has_hash)
		sqlite3_bind_blob(s, 17, row->hash, sizeof(row->hash), SQLITE_STATIC);
	else
		sqlite3_bind_null(s, 17);
	db_text(s, 18, row->web_url);
}

int tree_row_find_dir(struct tree *tree, const char *id, struct tree_dir *ret)
{
	sqlite3_stmt *s = tree->w[W_DIR_BY_ID];
	int r;

	sqlite3_bind_int64(s, 1, tree_id_hash(id));
	db_text(s, 2, id);
	r = db_step(s);
	if (r > 0) {
		*ret = (struct tree_dir){
			.ino = sqlite3_column_int64(s, 0),
			.is_dir = sqlite3_column_int(s, 1) == TREE_DIR,
			.complete = sqlite3_column_int(s, 2),
		};
		(void)sqlite3_reset(s);
	}
	return r;
}

int tree_row_is_taken(struct tree *tree, int64_t parent, const char *id, const char *name)
{
	sqlite3_stmt *s = tree->w[W_ID_BY_NAME];
	int r;

	if (parent <= 0)
		return 0;
	sqlite3_bind_int64(s, 1, parent);
	db_text(s, 2, name);
	r = db_step(s);
	if (r > 0) {
		r = strcmp((const char *)sqlite3_column_text(s, 0), id) != 0;
		(void)sqlite3_reset(s);
	}
	return r;
}

int tree_row_insert(struct tree *tree, struct tree_row *row)
{
	row->attr.ino = tree->next_ino++;
	return tree_row_restore(tree, row);
}

int tree_row_restore(struct tree *tree, struct tree_row *row)
{
	row->attr.seq = tree->seq + 1;
	row->attr.parent = row->parent > 0 ? (uint64_t)row->parent : 0;
	bind_row(tree->w[W_INSERT], row);
	sqlite3_bind_int64(tree->w[W_INSERT], 19, tree_id_hash(row->id));
	tree->changed = true;
	tree->items_now++;
	tree_fold_note(tree, row->parent, row->name);
	return db_run(tree->w[W_INSERT]);
}

int tree_row_update(struct tree *tree, const struct tree_row *row)
{
	struct tree_row now = *row;

	now.attr.seq = tree->seq + 1;
	return tree_row_update_here(tree, &now);
}

int tree_row_update_here(struct tree *tree, const struct tree_row *row)
{
	bind_row(tree->w[W_UPDATE], row);
	sqlite3_bind_int64(tree->w[W_UPDATE], 19, tree_id_hash(row->id));
	tree->changed = true;
	tree_fold_note(tree, row->parent, row->name);
	return db_run(tree->w[W_UPDATE]);
}

int tree_row_update_facts(struct tree *tree, const struct tree_row *row)
{
	struct tree_row now = *row;

	now.attr.seq = tree->seq + 1;
	return tree_row_update_facts_here(tree, &now);
}

int tree_row_update_facts_here(struct tree *tree, const struct tree_row *row)
{
	bind_row(tree->w[W_UPDATE_FACTS], row);
	tree->changed = true;
	return db_run(tree->w[W_UPDATE_FACTS]);
}

int tree_row_delete(struct tree *tree, uint64_t ino)
{
	sqlite3_bind_int64(tree->w[W_DELETE], 1, (int64_t)ino);
	tree->changed = true;
	tree->items_now--;
	return db_run(tree->w[W_DELETE]);
}

int tree_row_renumber(struct tree *tree, struct tree_row *row)
{
	uint64_t was = row->attr.ino;
	int r = tree_row_delete(tree, was);

	if (r == 0)
		r = tree_row_insert(tree, row);
	if (r < 0 || tree->pending_now == 0)
		return r;
	sqlite3_bind_int64(tree->w[W_PENDING_RENUMBER], 1, (int64_t)was);
	sqlite3_bind_int64(tree->w[W_PENDING_RENUMBER], 2, (int64_t)row->attr.ino);
	return db_run(tree->w[W_PENDING_RENUMBER]);
}

int tree_row_bump(struct tree *tree, int64_t dir)
{
	if (dir <= 0)
		return 0;
	sqlite3_bind_int64(tree->w[W_BUMP_DIR], 1, dir);
	return db_run(tree->w[W_BUMP_DIR]);
}

static char *copy(const char *s)
{
	return s ? strdup(s) : NULL;
}

int tree_row_from_item(struct tree *tree, const struct item *item, struct tree_row *ret)
{
	bool is_file = item->kind == ITEM_FILE || item->kind == ITEM_UNKNOWN;
	int64_t mtime = item->mtime_ns == ITEM_TIME_UNKNOWN ? 0 : item->mtime_ns;
	struct tree_row row = {
		.attr = {
			.kind = is_file ? TREE_FILE : TREE_DIR,
			.size = is_file && item->size > 0 ? (uint64_t)item->size : 0,
			.mtime_ns = mtime,
			.btime_ns = item->btime_ns == ITEM_TIME_UNKNOWN ? mtime : item->btime_ns,
			.mode = is_file ? 0644 : 0755,
			/* Packages and shortcuts are shown as folders with nothing in them. */
			.complete = item->kind == ITEM_PACKAGE || item->kind == ITEM_REMOTE,
		},
		.service_mtime_ns = mtime,
		.id = copy(item->id),
		.etag = copy(item->etag),
		.ctag = copy(item->ctag),
		.web_url = copy(item->web_url),
		.has_hash = item->has_hash,
		.malware = item->malware,
		.package = item->kind == ITEM_PACKAGE,
	};

	memcpy(row.hash, item->hash, sizeof(row.hash));
	if (is_file)
		row.attr.cid = tree->next_cid++;
	if (!row.id || (item->etag && !row.etag) || (item->ctag && !row.ctag)) {
		tree_row_fini(&row);
		return -ENOMEM;
	}
	*ret = row;
	return 0;
}

/* --- transactions and what they tell --- */

int tree_begin(struct tree *tree)
{
	int r = tree_mark(tree);

	if (r < 0)
		return r;
	tree->changed = false;
	tree->items_now = tree->items_n;
	tree->pending_now = tree->pending_n;
	tree->changes = calloc(1, sizeof(*tree->changes));
	if (!tree->changes)
		return -ENOMEM;
	return db_exec(tree->db, "BEGIN IMMEDIATE");
}

static int save_counters(struct tree *tree)
{
	char text[32];
	int r;

	snprintf(text, sizeof(text), "%" PRIu64, tree->seq + 1);
	r = tree_kv_set(tree, "seq", text);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%" PRIu64, tree->next_cid);
	r = tree_kv_set(tree, "next_cid", text);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%" PRIu64, tree->next_ino);
	r = tree_kv_set(tree, "next_ino", text);
	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%" PRIu64, tree->items_now);
	return tree_kv_set(tree, "items", text);
}

int tree_end(struct tree *tree, int r, struct change_set **ret_changes)
{
	struct change_set *changes = take_ptr(&tree->changes);

	if (r == 0 && tree->changed)
		r = save_counters(tree);
	/* From the first moment at which a reader may see it until no reader can miss it. */
	tree->commits_n++;
	if (r == 0)
		r = db_exec(tree->db, "COMMIT");
	if (r < 0)
		db_rollback(tree->db);
	tree->commits_n++;
	if (r < 0) {
		change_set_free(changes);
		return r;
	}
	tree->items_n = tree->items_now;
	tree->pending_n = tree->pending_now;
	if (tree->changed)
		tree->seq++;
	if (changes->n == 0 && !changes->bulk) {
		change_set_free(changes);
		changes = NULL;
	} else {
		changes->seq = tree->seq;
	}
	if (ret_changes)
		*ret_changes = changes;
	else
		change_set_free(changes);
	return 0;
}

bool tree_dir_known(struct tree *tree, int64_t dir)
{
	if (dir <= 0)
		return false;
	return dir == TREE_ROOT_INO || !tree->guard.dir_known ||
	       tree->guard.dir_known(tree->guard.arg, (uint64_t)dir);
}

/* 1: a row is there; reset the statement after use. */
static int find_place(struct tree *tree, int64_t ino)
{
	sqlite3_stmt *s = tree->w[W_PLACE];

	sqlite3_bind_int64(s, 1, ino);
	return db_step(s);
}

int tree_row_parent(struct tree *tree, uint64_t ino, int64_t *ret)
{
	sqlite3_stmt *s = tree->w[W_PLACE];
	int r = find_place(tree, (int64_t)ino);

	if (r <= 0)
		return r;
	*ret = sqlite3_column_int64(s, 0);
	(void)sqlite3_reset(s);
	return 1;
}

int tree_row_next_child(struct tree *tree, uint64_t dir, uint64_t after, uint64_t *ret)
{
	sqlite3_stmt *s = tree->w[W_NEXT_CHILD];
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)dir);
	sqlite3_bind_int64(s, 2, (int64_t)after);
	r = db_step(s);
	*ret = r > 0 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
	if (r > 0)
		(void)sqlite3_reset(s);
	return r < 0 ? r : 0;
}

int tree_row_in_sight(struct tree *tree, int64_t dir)
{
	while (dir > TREE_ROOT_INO) {
		int r = tree_row_parent(tree, (uint64_t)dir, &dir);

		if (r <= 0)
			return r;
	}
	return dir == TREE_ROOT_INO;
}

int tree_row_path(struct tree *tree, int64_t dir, char **ret)
{
	/* From the end to the beginning. */
	char path[PATH_MAX], *at = path + sizeof(path) - 1;
	sqlite3_stmt *s = tree->w[W_PLACE];

	*ret = NULL;
	*at = '\0';
	while (dir != TREE_ROOT_INO) {
		int r = dir > 0 ? find_place(tree, dir) : 0;
		size_t len = r > 0 ? (size_t)sqlite3_column_bytes(s, 1) : 0;
		bool fits = len > 0 && len + 1 <= (size_t)(at - path);

		if (r < 0)
			return r;
		if (fits) {
			if (*at)
				*--at = '/';
			at -= len;
			memcpy(at, sqlite3_column_text(s, 1), len);
			dir = sqlite3_column_int64(s, 0);
		}
		(void)sqlite3_reset(s);
		if (!fits)
			return 0;
	}
	*ret = strdup(at);
	return *ret ? 0 : -ENOMEM;
}

/* Drops the list: too long to be told one by one. */
static void make_bulk(struct tree *tree)
{
	struct change_set *set = tree->changes;

	tree->changes = calloc(1, sizeof(*tree->changes));
	if (!tree->changes) {
		/* Keep the storage; only its content goes. */
		tree->changes = set;
		set->n = 0;
		set->bulk = true;
		return;
	}
	tree->changes->bulk = true;
	change_set_free(set);
}

/* Copies what belongs to a change; on failure nothing is kept. 1: out of sight, so that there is
 * nothing to tell. */
static int fill_change(struct tree *tree, const struct change *from, bool is_known,
		       struct change *ret)
{
	struct change c = *from;
	int r = tree_row_in_sight(tree, (int64_t)from->parent);

	if (r <= 0)
		return r < 0 ? r : 1;
	r = 0;
	c.name = copy(from->name);
	c.to_name = copy(from->to_name);
	c.dir_path = c.to_dir_path = NULL;
	if (is_known)
		r = tree_row_path(tree, (int64_t)from->parent, &c.dir_path);
	if (r == 0 && is_known && from->kind == CHANGE_MOVE)
		r = tree_row_path(tree, (int64_t)from->to_parent, &c.to_dir_path);
	if (r == 0 && (!c.name || (from->to_name && !c.to_name)))
		r = -ENOMEM;
	if (r < 0) {
		free(c.name);
		free(c.to_name);
		free(c.dir_path);
		free(c.to_dir_path);
		return r;
	}
	*ret = c;
	return 0;
}

int tree_note_change(struct tree *tree, const struct change *change)
{
	struct change_set *set = tree->changes;
	bool is_known =
		tree_dir_known(tree, (int64_t)change->parent) ||
		(change->kind == CHANGE_MOVE && tree_dir_known(tree, (int64_t)change->to_parent));
	struct change *v;
	int r;

	if (set->bulk || (!is_known && change->old_ino == change->attr.ino))
		return 0;
	if (set->n == CHANGE_SET_MAX) {
		make_bulk(tree);
		return 0;
	}
	v = realloc(set->v, (set->n + 1) * sizeof(*v));
	if (!v)
		return -ENOMEM;
	set->v = v;
	r = fill_change(tree, change, is_known, &v[set->n]);
	if (r == 0)
		set->n++;
	return r < 0 ? r : 0;
}

/*
 * Gathering a run of delta on disk, before tree_apply.c applies it. Of a complete enumeration most
 * is as it was, or new where nothing is in its way: that needs no order, goes into the tree page by
 * page, and is only remembered as seen. So what is left for the one commit at the end is what
 * moves and what is gone, and nobody waits long for it.
 */
#define LOG_MODULE "tree"
#include "tree_row.h"

#include "log.h"

#include <string.h>

enum { UNSEEN_ROWS = 20000 };

int tree_stage_begin(struct tree *tree)
{
	int r = tree_mark(tree);

	tree->stage_seq = tree->seq;
	tree->unseen_after = TREE_ROOT_INO;
	tree->unseen_n = 0;
	tree->is_staging = r == 0;
	tree->has_fresh = false;
	return r < 0 ? r : db_exec(tree->db, "DELETE FROM stage; DELETE FROM fresh");
}

static int flags_of(const struct item *item)
{
	return (item->deleted ? STAGE_F_DELETED : 0) | (item->is_root ? STAGE_F_ROOT : 0) |
	       (item->malware ? STAGE_F_MALWARE : 0);
}

static int stage_item(struct tree *tree, const struct item *item, enum stage_state state)
{
	sqlite3_stmt *s = tree->w[W_STAGE_PUT];

	db_text(s, 1, item->id);
	db_text(s, 2, item->parent_id);
	(void)sqlite3_bind_blob(s, 3, item->name, (int)item->name_len, SQLITE_STATIC);
	sqlite3_bind_int(s, 4, (int)item->kind);
	sqlite3_bind_int64(s, 5, item->size);
	sqlite3_bind_int64(s, 6, item->mtime_ns);
	sqlite3_bind_int64(s, 7, item->btime_ns);
	sqlite3_bind_int(s, 8, flags_of(item));
	db_text(s, 9, item->etag);
	db_text(s, 10, item->ctag);
	if (item->has_hash)
		(void)sqlite3_bind_blob(s, 11, item->hash, sizeof(item->hash), SQLITE_STATIC);
	else
		sqlite3_bind_null(s, 11);
	db_text(s, 12, item->web_url);
	sqlite3_bind_int(s, 13, (int)state);
	return db_run(s);
}

int tree_stage_set_state(struct tree *tree, const char *id, enum stage_state state)
{
	sqlite3_stmt *s = tree->w[W_STAGE_STATE];

	db_text(s, 1, id);
	sqlite3_bind_int(s, 2, (int)state);
	return db_run(s);
}

int tree_stage_page(struct tree *tree, const struct item *items, size_t n)
{
	int r = tree_mark(tree);

	if (r == 0)
		r = db_exec(tree->db, "BEGIN IMMEDIATE");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = stage_item(tree, &items[i], STAGE_TODO);
	if (r == 0)
		return db_exec(tree->db, "COMMIT");
	db_rollback(tree->db);
	return r;
}

int tree_stage_keep(struct tree *tree, const char *id)
{
	const struct item item = { .id = (char *)id };

	return stage_item(tree, &item, STAGE_DONE);
}

int tree_stage_note_fresh(struct tree *tree, const char *id)
{
	if (!tree->is_staging)
		return 0;
	tree->has_fresh = true;
	db_text(tree->w[W_FRESH_PUT], 1, id);
	return db_run(tree->w[W_FRESH_PUT]);
}

int tree_stage_skip_fresh(struct tree *tree, bool full)
{
	int r;

	if (!tree->has_fresh)
		return 0;
	sqlite3_bind_int(tree->w[W_FRESH_ASK], 1, full);
	r = db_run(tree->w[W_FRESH_ASK]);
	return r < 0 ? r : db_run(tree->w[W_FRESH_DONE]);
}

/* --- a complete enumeration --- */

/* 1: the page may be behind what is known of the item. */
static int is_fresh(struct tree *tree, const char *id)
{
	sqlite3_stmt *s = tree->w[W_FRESH_IS];
	int r;

	if (!tree->has_fresh)
		return 0;
	db_text(s, 1, id);
	r = db_step(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	return r;
}

static int is_staged(struct tree *tree, const char *id)
{
	sqlite3_stmt *s = tree->w[W_STAGE_GET_STATE];
	int r;

	db_text(s, 1, id);
	r = db_step(s);
	if (r > 0)
		(void)sqlite3_reset(s);
	return r;
}

static int stage_full_item(struct tree *tree, const struct item *item)
{
	/* An insert makes its folder younger. One that was not seen yet might be gone, and would
	 * not be found then. */
	int r = is_fresh(tree, item->id);

	if (r != 0)
		return r < 0 ? r : stage_item(tree, item, STAGE_TODO);
	r = item->parent_id ? is_staged(tree, item->parent_id) : 0;
	if (r >= 0 && !item->deleted && !item->is_root)
		r = tree_place_easily(tree, item, r > 0);
	else
		r = r < 0 ? r : 0;
	if (r < 0)
		return r;
	return r > 0 ? tree_stage_keep(tree, item->id) : stage_item(tree, item, STAGE_TODO);
}

int tree_stage_full_page(struct tree *tree, const struct item *items, size_t n,
			 struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = stage_full_item(tree, &items[i]);
	return tree_end(tree, r, ret_changes);
}

int tree_stage_unseen(struct tree *tree)
{
	sqlite3_stmt *s = tree->w[W_STAGE_UNSEEN];
	uint64_t to = tree->unseen_after + UNSEEN_ROWS;
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)tree->stage_seq);
	sqlite3_bind_int64(s, 2, (int64_t)tree->unseen_after);
	sqlite3_bind_int64(s, 3, (int64_t)to);
	r = db_run(s);
	if (r < 0)
		return r;
	tree->unseen_n += (uint64_t)sqlite3_changes(tree->db);
	tree->unseen_after = to;
	return to + 1 < tree->next_ino;
}

int tree_stage_end_full(struct tree *tree)
{
	int r;

	do
		r = tree_stage_unseen(tree);
	while (r > 0);
	if (r < 0 || tree->unseen_n == 0)
		return r;
	log_info("a complete enumeration did not bring %llu known items",
		 (unsigned long long)tree->unseen_n);
	sqlite3_bind_int64(tree->w[W_STAGE_YOUNG], 1, (int64_t)tree->stage_seq);
	return db_run(tree->w[W_STAGE_YOUNG]);
}

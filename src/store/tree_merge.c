/*
 * Pages of listings and of the crawl. They tell what was true when they were made, which may be
 * before what delta has told since: rows that changed after the note are left alone, and what was
 * deleted after it does not come back.
 */
#define LOG_MODULE "tree"
#include "tree_row.h"

#include "clock.h"
#include "log.h"

#include <errno.h>

/* For so long a reply may still come from a replica that has not heard of a deletion. */
enum { GHOST_S = 30 };

/* 1: the item has no row because it is gone, which the page may not know. */
static int is_gone(struct tree *tree, const struct item *item, uint64_t note)
{
	sqlite3_stmt *s = tree->w[W_TOMB_GET];
	int r = 0;

	if (tree->has_tombs) {
		db_text(s, 1, item->id);
		r = db_step(s);
	}
	if (r > 0) {
		r = (uint64_t)sqlite3_column_int64(s, 0) > note ||
		    clock_real_s() - sqlite3_column_int64(s, 1) < GHOST_S;
		(void)sqlite3_reset(s);
		return r;
	}
	/* A complete enumeration names nothing that is gone: what an older page has and it had
	 * not, is. */
	return r < 0 ? r : note < tree->full_seq;
}

static int merge_item(struct tree *tree, const struct item *item, uint64_t note)
{
	struct tree_row row = { 0 };
	int r;

	if (item->deleted)
		return 0;
	if (item->is_root)
		return tree_place_root(tree, item);
	r = tree_row_by_id(tree, item->id, &row);
	if (r > 0) {
		r = row.attr.seq > note ? 0 : tree_place_row(tree, &row, item, false);
	} else if (r == 0) {
		r = is_gone(tree, item, note);
		r = r != 0 ? (r < 0 ? r : 0) : tree_place_row(tree, NULL, item, false);
	}
	tree_row_fini(&row);
	return r;
}

int tree_merge_items(struct tree *tree, const struct item *items, size_t n, uint64_t note,
		     char *dir_id)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++) {
		struct item borrowed = items[i];

		if (!borrowed.parent_id)
			borrowed.parent_id = dir_id;
		r = merge_item(tree, &borrowed, note);
	}
	return r;
}

static int set_complete(struct tree *tree, uint64_t dir)
{
	sqlite3_bind_int64(tree->w[W_SET_COMPLETE], 1, (int64_t)dir);
	return db_run(tree->w[W_SET_COMPLETE]);
}

int tree_merge_children(struct tree *tree, uint64_t dir, const struct item *items, size_t n,
			uint64_t note, bool last, struct change_set **ret_changes)
{
	struct tree_row row;
	int r = tree_begin(tree);

	if (r == 0) {
		r = tree_row_get(tree, dir, &row);
		if (r == 0)
			r = -ENOENT;
		if (r > 0) {
			r = row.attr.kind == TREE_DIR
				    ? tree_merge_items(tree, items, n, note, row.id)
				    : -ENOTDIR;
			tree_row_fini(&row);
		}
	}
	if (r == 0 && last)
		r = set_complete(tree, dir);
	return tree_end(tree, r, ret_changes);
}

int tree_merge_crawl(struct tree *tree, const struct item *items, size_t n, uint64_t note,
		     const char *next_link, struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	if (r == 0)
		r = tree_merge_items(tree, items, n, note, NULL);
	if (r == 0)
		r = tree_kv_set(tree, TREE_KV_CRAWL_LINK, next_link);
	if (r == 0 && !next_link)
		r = db_run(tree->w[W_ALL_COMPLETE]);
	return tree_end(tree, r, ret_changes);
}

int tree_set_root(struct tree *tree, const struct item *root, struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	if (r == 0)
		r = tree_place_root(tree, root);
	return tree_end(tree, r, ret_changes);
}

int tree_detach(struct tree *tree, uint64_t ino, struct change_set **ret_changes)
{
	struct tree_row row = { 0 };
	int r = tree_begin(tree);

	if (r == 0)
		r = tree_row_get(tree, ino, &row);
	if (r > 0 && row.attr.kind == TREE_FILE) {
		r = tree_row_renumber(tree, &row);
		if (r == 0)
			r = tree_row_bump(tree, row.parent);
		if (r == 0)
			r = tree_note_change(tree, &(struct change){
							   .kind = CHANGE_CONTENT,
							   .parent = row.attr.parent,
							   .name = row.name,
							   .old_ino = ino,
							   .attr = row.attr,
						   });
	}
	tree_row_fini(&row);
	return tree_end(tree, r > 0 ? 0 : r, ret_changes);
}

int tree_forget_complete(struct tree *tree, uint64_t ino)
{
	sqlite3_stmt *s = tree->w[ino ? W_FORGET_COMPLETE : W_FORGET_ALL];

	if (ino)
		sqlite3_bind_int64(s, 1, (int64_t)ino);
	return db_run(s);
}

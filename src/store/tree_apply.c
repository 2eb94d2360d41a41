/*
 * Applying a run of delta. The run is a set of last states without an order; the tree, and the
 * kernel that is told, need a sequence of valid steps. So every staged item waits for two things:
 * its parent, if that is staged too, and the name it wants, if another row has it. Both are
 * settled first, depth first with a stack of its own; a ring of names is broken by moving one row
 * aside, a ring of folders by leaving the row where it is. Deletions come at the end, children
 * first, unless somebody wants the name.
 */
#define LOG_MODULE "tree"
#include "tree_row.h"

#include "clock.h"
#include "config-build.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum { F_DELETED = 1, F_ROOT = 2, F_MALWARE = 4, F_PACKAGE = 8, F_REMOTE = 16 };
enum { TODO, DOING, DONE };
enum { TOMB_KEPT_S = 600, STACK_MAX = 100000 };

struct staged {
	struct item item;
	int64_t n;
	int state;
};

struct stack {
	char **ids;
	size_t n, cap;
};

static int push(struct stack *stack, const char *id)
{
	if (stack->n == STACK_MAX)
		return -E2BIG;
	if (stack->n == stack->cap) {
		size_t cap = stack->cap ? stack->cap * 2 : 64;
		char **ids = realloc(stack->ids, cap * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		stack->ids = ids;
		stack->cap = cap;
	}
	stack->ids[stack->n] = strdup(id);
	return stack->ids[stack->n++] ? 0 : -ENOMEM;
}

static void pop(struct stack *stack)
{
	free(stack->ids[--stack->n]);
}

static void stack_fini(struct stack *stack)
{
	while (stack->n > 0)
		pop(stack);
	free(stack->ids);
}

int tree_stage_begin(struct tree *tree)
{
	tree->stage_seq = tree->seq;
	return db_exec(tree->db, "DELETE FROM stage");
}

static int flags_of(const struct item *item)
{
	return (item->deleted ? F_DELETED : 0) | (item->is_root ? F_ROOT : 0) |
	       (item->malware ? F_MALWARE : 0);
}

static int stage_item(struct tree *tree, const struct item *item)
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
	return db_run(s);
}

int tree_stage_page(struct tree *tree, const struct item *items, size_t n)
{
	int r = db_exec(tree->db, "BEGIN IMMEDIATE");

	for (size_t i = 0; r == 0 && i < n; i++)
		r = stage_item(tree, &items[i]);
	if (r == 0)
		return db_exec(tree->db, "COMMIT");
	db_rollback(tree->db);
	return r;
}

static int take_staged(sqlite3_stmt *s, bool with_state, struct staged *ret)
{
	struct item item = { 0 };
	int flags = sqlite3_column_int(s, 8);

	ret->n = sqlite3_column_int64(s, 0);
	ret->state = with_state ? sqlite3_column_int(s, 13) : TODO;
	item.id = db_take_text(s, 1);
	item.parent_id = db_take_text(s, 2);
	if (sqlite3_column_type(s, 3) != SQLITE_NULL) {
		item.name_len = (size_t)sqlite3_column_bytes(s, 3);
		item.name = calloc(1, item.name_len + 1);
		if (item.name && item.name_len > 0)
			memcpy(item.name, sqlite3_column_blob(s, 3), item.name_len);
	}
	item.kind = (enum item_kind)sqlite3_column_int(s, 4);
	item.size = sqlite3_column_int64(s, 5);
	item.mtime_ns = sqlite3_column_int64(s, 6);
	item.btime_ns = sqlite3_column_int64(s, 7);
	item.deleted = flags & F_DELETED;
	item.is_root = flags & F_ROOT;
	item.malware = flags & F_MALWARE;
	item.etag = db_take_text(s, 9);
	item.ctag = db_take_text(s, 10);
	item.has_hash = sqlite3_column_bytes(s, 11) == (int)sizeof(item.hash);
	if (item.has_hash)
		memcpy(item.hash, sqlite3_column_blob(s, 11), sizeof(item.hash));
	item.web_url = db_take_text(s, 12);
	(void)sqlite3_reset(s);
	if (!item.id) {
		item_fini(&item);
		return -ENOMEM;
	}
	ret->item = item;
	return 1;
}

static int get_staged(struct tree *tree, const char *id, struct staged *ret)
{
	sqlite3_stmt *s = tree->w[W_STAGE_GET];
	int r;

	db_text(s, 1, id);
	r = db_step(s);
	return r > 0 ? take_staged(s, true, ret) : r;
}

static int set_state(struct tree *tree, const char *id, int state)
{
	sqlite3_stmt *s = tree->w[W_STAGE_STATE];

	db_text(s, 1, id);
	sqlite3_bind_int(s, 2, state);
	return db_run(s);
}

/* 1: the parent was pushed and goes first. */
static int parent_first(struct tree *tree, struct stack *stack, const struct item *item)
{
	struct staged parent;
	int r = item->parent_id ? get_staged(tree, item->parent_id, &parent) : 0;

	if (r <= 0)
		return r;
	r = 0;
	if (parent.state == TODO && !parent.item.deleted) {
		r = push(stack, parent.item.id);
		r = r < 0 ? r : 1;
	}
	item_fini(&parent.item);
	return r;
}

/* Another row has the wanted name. 1: it was pushed and goes first. */
static int settle_occupant(struct tree *tree, struct stack *stack, struct tree_row *other,
			   bool full)
{
	struct staged staged = { 0 };
	int r = get_staged(tree, other->id, &staged);
	bool dies;

	if (r < 0)
		return r;
	dies = r > 0 ? staged.item.deleted : full && other->attr.seq <= tree->stage_seq;
	if (dies && other->attr.kind == TREE_FILE)
		r = tree_place_delete(tree, other);
	else if (dies || (r > 0 && staged.state == DOING))
		r = tree_place_aside(tree, other);
	else if (r > 0 && staged.state == TODO) {
		r = push(stack, other->id);
		r = r < 0 ? r : 1;
	} else
		r = 0; /* it stays: two of one name */
	item_fini(&staged.item);
	return r;
}

static int name_first(struct tree *tree, struct stack *stack, const struct item *item, bool full)
{
	char wanted[NAMES_MAX_BYTES + 1];
	struct tree_row parent, other;
	int64_t dir;
	int r;

	if (!item->parent_id || !item->name)
		return 0;
	r = tree_row_by_id(tree, item->parent_id, &parent);
	if (r <= 0)
		return r;
	dir = (int64_t)parent.attr.ino;
	tree_row_fini(&parent);
	names_show(item->name, item->name_len, wanted);
	r = tree_row_by_name(tree, dir, wanted, &other);
	if (r <= 0)
		return r;
	r = strcmp(other.id, item->id) == 0 ? 0 : settle_occupant(tree, stack, &other, full);
	tree_row_fini(&other);
	return r;
}

static int place_live(struct tree *tree, const struct item *item)
{
	sqlite3_stmt *s = tree->w[W_TOMB_DELETE];
	int r;

	db_text(s, 1, item->id);
	r = db_run(s);
	if (r < 0)
		return r;
	return item->is_root ? tree_place_root(tree, item) : tree_place_item(tree, item, true);
}

/* One step for the item on top of the stack. */
static int step(struct tree *tree, struct stack *stack, bool full)
{
	struct staged top;
	int r = get_staged(tree, stack->ids[stack->n - 1], &top);

	if (r < 0)
		return r;
	if (r == 0 || top.state == DONE || top.item.deleted) {
		if (r > 0)
			item_fini(&top.item);
		pop(stack);
		return 0;
	}
	r = set_state(tree, top.item.id, DOING);
	if (r == 0)
		r = parent_first(tree, stack, &top.item);
	if (r == 0)
		r = name_first(tree, stack, &top.item, full);
	if (r == 0) {
		r = place_live(tree, &top.item);
		if (r == 0)
			r = set_state(tree, top.item.id, DONE);
		pop(stack);
	}
	item_fini(&top.item);
	return r > 0 ? 0 : r;
}

static int apply_live(struct tree *tree, bool full)
{
	auto_call(stack_fini) struct stack stack = { 0 };
	int64_t n = 0;
	int r;

	for (;;) {
		struct staged next;

		sqlite3_bind_int64(tree->w[W_STAGE_NEXT], 1, n);
		r = db_step(tree->w[W_STAGE_NEXT]);
		if (r <= 0)
			return r;
		r = take_staged(tree->w[W_STAGE_NEXT], false, &next);
		if (r < 0)
			return r;
		n = next.n;
		r = next.item.deleted ? 0 : push(&stack, next.item.id);
		item_fini(&next.item);
		while (r == 0 && stack.n > 0)
			r = step(tree, &stack, full);
		if (r < 0)
			return r;
	}
}

static int delete_ino(struct tree *tree, uint64_t ino)
{
	struct tree_row row;
	int r = tree_row_get(tree, ino, &row);

	if (r <= 0)
		return r;
	r = tree_place_delete(tree, &row);
	tree_row_fini(&row);
	return r;
}

static int delete_id(struct tree *tree, const char *id)
{
	struct tree_row row;
	int r = tree_row_by_id(tree, id, &row);

	if (r <= 0)
		return r;
	if (row.attr.ino == TREE_ROOT_INO) {
		log_error("the service says that the drive's root is deleted: not believed");
		r = 0;
	} else {
		r = tree_place_delete(tree, &row);
	}
	tree_row_fini(&row);
	return r;
}

static int apply_deletions(struct tree *tree)
{
	sqlite3_stmt *s = tree->w[W_STAGE_DEAD];
	int64_t n = 0;

	for (;;) {
		auto_free char *id = NULL;
		int r;

		sqlite3_bind_int64(s, 1, n);
		r = db_step(s);
		if (r <= 0)
			return r;
		n = sqlite3_column_int64(s, 0);
		id = db_take_text(s, 1);
		(void)sqlite3_reset(s);
		r = id ? delete_id(tree, id) : -ENOMEM;
		if (r < 0)
			return r;
	}
}

/* After a complete enumeration: what it did not bring is gone. */
static int delete_unseen(struct tree *tree)
{
	sqlite3_stmt *s = tree->w[W_UNSEEN];
	uint64_t ino = 0, n = 0;

	for (;;) {
		int r;

		sqlite3_bind_int64(s, 1, (int64_t)ino);
		sqlite3_bind_int64(s, 2, (int64_t)tree->stage_seq);
		r = db_step(s);
		if (r <= 0) {
			if (n > 0)
				log_info("a complete enumeration did not bring %llu known items",
					 (unsigned long long)n);
			return r;
		}
		ino = (uint64_t)sqlite3_column_int64(s, 0);
		(void)sqlite3_reset(s);
		r = delete_ino(tree, ino);
		if (r < 0)
			return r;
		n++;
	}
}

static int apply_all(struct tree *tree, const char *link, bool full)
{
	sqlite3_stmt *prune = tree->w[W_TOMB_PRUNE];
	int r = apply_live(tree, full);

	if (r == 0)
		r = apply_deletions(tree);
	if (r == 0 && full)
		r = delete_unseen(tree);
	if (r == 0 && full)
		r = db_run(tree->w[W_ALL_COMPLETE]);
	if (r == 0 && link)
		r = tree_kv_set(tree, TREE_KV_DELTA_LINK, link);
	sqlite3_bind_int64(prune, 1, clock_real_s() - TOMB_KEPT_S);
	return r < 0 ? r : db_run(prune);
}

int tree_stage_apply(struct tree *tree, const char *link, bool full,
		     struct change_set **ret_changes)
{
	int r;

	if (PLANT_EARLY_TOKEN && link) {
		r = tree_kv_set(tree, TREE_KV_DELTA_LINK, link);
		if (r < 0)
			return r;
	}
	r = tree_begin(tree);
	if (r == 0)
		r = apply_all(tree, link, full);
	if (r == 0)
		r = db_exec(tree->db, "DELETE FROM stage");
	return tree_end(tree, r, ret_changes);
}

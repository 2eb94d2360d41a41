/*
 * Applying a run of delta. The run is a set of last states without an order; the tree, and the
 * kernel that is told, need a sequence of valid steps. So every staged item waits for two things:
 * the folders above the place it goes to, if they are staged too, and the name it wants, if
 * another row has it. Both are settled first, depth first with a stack of its own. A ring of names
 * is broken by moving one row aside. A folder that would go below itself, because what must move
 * first waits for it, is put off to another pass; one that still would when a pass settles nothing
 * is a ring that the service made up, and stays where it is. Deletions come at the end, children
 * first, unless somebody wants the name.
 */
#define LOG_MODULE "tree"
#include "tree_row.h"

#include "clock.h"
#include "config-build.h"
#include "log.h"
#include "tree_settle.h"

#include <errno.h>
#include <string.h>

enum { TOMB_KEPT_S = 600, TOMB_KEPT_N = 100000, DEPTH_MAX = 20000 };
/* Beyond this an item is placed before what it waits for; orphans and marked names sort that out
 * when the other comes. */
enum { STACK_MAX = 100000, PASSES_MAX = 64 };

struct staged {
	struct item item;
	int state;
};

struct stack {
	char **ids;
	size_t n, cap;
};

/* 1: goes first; 0: no room. */
static int push(struct stack *stack, const char *id)
{
	if (stack->n == STACK_MAX)
		return 0;
	if (stack->n == stack->cap) {
		size_t cap = stack->cap ? stack->cap * 2 : 64;
		char **ids = realloc(stack->ids, cap * sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		stack->ids = ids;
		stack->cap = cap;
	}
	stack->ids[stack->n] = strdup(id);
	return stack->ids[stack->n++] ? 1 : -ENOMEM;
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

static int take_staged(sqlite3_stmt *s, struct staged *ret)
{
	struct item item = { 0 };
	int flags = sqlite3_column_int(s, 8);

	ret->state = sqlite3_column_int(s, 13);
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
	item.deleted = flags & STAGE_F_DELETED;
	item.is_root = flags & STAGE_F_ROOT;
	item.malware = flags & STAGE_F_MALWARE;
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
	return r > 0 ? take_staged(s, ret) : r;
}

/* STAGE_TODO .. STAGE_PUT_OFF, or STAGE_NOT_STAGED. */
static int get_state(struct tree *tree, const char *id, bool *ret_dies)
{
	sqlite3_stmt *s = tree->w[W_STAGE_GET_STATE];
	int r;

	*ret_dies = false;
	db_text(s, 1, id);
	r = db_step(s);
	if (r <= 0)
		return r < 0 ? r : STAGE_NOT_STAGED;
	r = sqlite3_column_int(s, 0);
	*ret_dies = sqlite3_column_int(s, 1);
	(void)sqlite3_reset(s);
	return r;
}

/* 1: the item is staged, not settled yet, and goes first. */
static int wait_for(struct tree *tree, struct stack *stack, const char *id)
{
	bool dies;
	int state = get_state(tree, id, &dies);

	if (state < 0)
		return state;
	return state == STAGE_TODO && !dies ? push(stack, id) : 0;
}

/* A folder that moves below one that has to move first: that one may be far above the place it
 * goes to. */
static int ancestors_first(struct tree *tree, struct stack *stack, int64_t dir, uint64_t self)
{
	for (int depth = 0; dir > TREE_ROOT_INO && depth < DEPTH_MAX; depth++) {
		struct tree_row row;
		int r;

		if ((uint64_t)dir == self)
			return 0;
		r = tree_row_get(tree, (uint64_t)dir, &row);
		if (r <= 0)
			return r;
		dir = row.parent;
		r = wait_for(tree, stack, row.id);
		tree_row_fini(&row);
		if (r != 0)
			return r;
	}
	return 0;
}

/* 1: a folder above was pushed and goes first. */
static int parent_first(struct tree *tree, struct stack *stack, const struct item *item)
{
	struct tree_row row, parent;
	int r;

	if (!item->parent_id || strcmp(item->parent_id, item->id) == 0)
		return 0;
	r = wait_for(tree, stack, item->parent_id);
	if (r != 0 || item->kind == ITEM_FILE)
		return r;
	r = tree_row_by_id(tree, item->id, &row);
	if (r <= 0)
		return r;
	r = tree_row_by_id(tree, item->parent_id, &parent);
	if (r > 0) {
		bool moves = row.parent != (int64_t)parent.attr.ino;

		r = moves ? ancestors_first(tree, stack, parent.parent, row.attr.ino) : 0;
		tree_row_fini(&parent);
	}
	tree_row_fini(&row);
	return r;
}

static int wait_for_ino(struct tree *tree, struct stack *stack, uint64_t ino)
{
	struct tree_row row;
	int r = tree_row_get(tree, ino, &row);

	if (r <= 0)
		return r;
	r = wait_for(tree, stack, row.id);
	tree_row_fini(&row);
	return r;
}

/* A folder becomes a file: what was in it and lives on elsewhere leaves first. */
static int leavers_first(struct tree *tree, struct stack *stack, const struct item *item)
{
	uint64_t at, after = 0, child, top;
	struct tree_row row;
	int64_t parent;
	int r = item->kind == ITEM_FILE ? tree_row_by_id(tree, item->id, &row) : 0;

	if (r <= 0)
		return r;
	at = top = row.attr.ino;
	tree_row_fini(&row);
	for (;;) {
		r = tree_row_next_child(tree, at, after, &child);
		if (r == 0 && child) {
			at = child;
			after = 0;
			r = wait_for_ino(tree, stack, at);
			if (r != 0)
				return r;
			continue;
		}
		if (r < 0 || at == top)
			return r;
		after = at;
		r = tree_row_parent(tree, at, &parent);
		if (r <= 0)
			return r;
		at = (uint64_t)parent;
	}
}

/* Another row has the wanted name. 1: it was pushed and goes first. */
static int settle_occupant(struct tree *tree, struct stack *stack, struct tree_row *other)
{
	bool dies;
	int state = get_state(tree, other->id, &dies);

	if (state < 0)
		return state;
	if (dies && other->attr.kind == TREE_FILE)
		return tree_place_delete(tree, other);
	if (dies)
		return tree_settle_aside(tree, other);
	if (state == STAGE_DOING || state == STAGE_PUT_OFF)
		return tree_place_aside(tree, other);
	/* Settled or not staged, it stays: two of one name. */
	return state == STAGE_TODO ? push(stack, other->id) : 0;
}

static int name_first(struct tree *tree, struct stack *stack, const struct item *item)
{
	char wanted[NAMES_MAX_BYTES + 1];
	struct tree_row parent, other;
	int64_t dir;
	int r;

	if (!item->parent_id || !item->name)
		return 0;
	/* Of a file that changed on both sides, theirs goes where the service says. */
	r = item->kind == ITEM_FILE ? 0 : tree_settle_has_place(tree, item->id);
	if (r != 0)
		return r < 0 ? r : 0;
	r = tree_row_by_id(tree, item->parent_id, &parent);
	if (r <= 0)
		return r;
	dir = (int64_t)parent.attr.ino;
	tree_row_fini(&parent);
	names_show(item->name, item->name_len, wanted);
	r = tree_row_by_name(tree, dir, wanted, &other);
	if (r <= 0)
		return r;
	r = strcmp(other.id, item->id) == 0 ? 0 : tree_settle_has_place(tree, other.id);
	if (r == 0 && strcmp(other.id, item->id) != 0)
		r = settle_occupant(tree, stack, &other);
	else if (r > 0)
		r = 0;
	tree_row_fini(&other);
	return r;
}

static int place_live(struct tree *tree, const struct item *item)
{
	int r = tree_place_unbury(tree, item->id);

	if (r < 0)
		return r;
	return item->is_root ? tree_place_root(tree, item) : tree_place_item(tree, item, true);
}

/* 1: the folder would go below itself as things are. Its name is given up for whoever waits. */
static int put_off(struct tree *tree, const struct item *item, bool is_awaited)
{
	struct tree_row row, parent;
	int r;

	if (item->kind == ITEM_FILE || item->is_root || !item->parent_id)
		return 0;
	r = tree_settle_has_place(tree, item->id);
	if (r != 0)
		return r < 0 ? r : 0;
	r = tree_row_by_id(tree, item->id, &row);
	if (r <= 0)
		return r;
	r = tree_row_by_id(tree, item->parent_id, &parent);
	if (r > 0) {
		r = tree_place_is_below(tree, (int64_t)parent.attr.ino, row.attr.ino);
		tree_row_fini(&parent);
	}
	if (r > 0 && is_awaited && row.parent > 0) {
		r = tree_place_aside(tree, &row);
		r = r < 0 ? r : 1;
	}
	tree_row_fini(&row);
	return r;
}

/* What is done with a folder that would go below itself. */
struct pass {
	bool is_last;
	uint64_t settled_n, put_off_n;
};

static int settle(struct tree *tree, struct stack *stack, const struct item *item,
		  struct pass *pass)
{
	int r = pass->is_last ? 0 : put_off(tree, item, stack->n > 1);

	if (r < 0)
		return r;
	if (r > 0) {
		pass->put_off_n++;
		r = tree_stage_set_state(tree, item->id, STAGE_PUT_OFF);
	} else {
		pass->settled_n++;
		r = place_live(tree, item);
		if (r == 0)
			r = tree_stage_set_state(tree, item->id, STAGE_DONE);
	}
	pop(stack);
	return r;
}

/* One step for the item on top of the stack. */
static int step(struct tree *tree, struct stack *stack, struct pass *pass)
{
	struct staged top;
	int r;

	if (tree->gives_up)
		return -ECANCELED;
	r = get_staged(tree, stack->ids[stack->n - 1], &top);

	if (r < 0)
		return r;
	if (r == 0 || top.state == STAGE_DONE || top.state == STAGE_PUT_OFF || top.item.deleted) {
		if (r > 0)
			item_fini(&top.item);
		pop(stack);
		return 0;
	}
	r = parent_first(tree, stack, &top.item);
	if (r == 0)
		r = name_first(tree, stack, &top.item);
	if (r == 0)
		r = leavers_first(tree, stack, &top.item);
	if (r > 0)
		r = top.state == STAGE_TODO ? tree_stage_set_state(tree, top.item.id, STAGE_DOING)
					    : 0;
	else if (r == 0)
		r = settle(tree, stack, &top.item, pass);
	item_fini(&top.item);
	return r;
}

static int run_pass(struct tree *tree, struct pass *pass)
{
	auto_call(stack_fini) struct stack stack = { 0 };
	int64_t n = 0;

	for (;;) {
		sqlite3_stmt *s = tree->w[W_STAGE_NEXT];
		auto_free char *id = NULL;
		int r;

		sqlite3_bind_int64(s, 1, n);
		r = db_step(s);
		if (r <= 0)
			return r;
		n = sqlite3_column_int64(s, 0);
		id = db_take_text(s, 1);
		(void)sqlite3_reset(s);
		r = id ? push(&stack, id) : -ENOMEM;
		while (r >= 0 && stack.n > 0)
			r = step(tree, &stack, pass);
		if (r < 0)
			return r;
	}
}

static int apply_live(struct tree *tree)
{
	struct pass pass = { 0 };

	for (int n = 1;; n++) {
		bool was_last = pass.is_last;
		int r = run_pass(tree, &pass);

		if (r < 0 || was_last || pass.put_off_n == 0)
			return r;
		r = db_run(tree->w[W_STAGE_AGAIN]);
		if (r < 0)
			return r;
		pass = (struct pass){ .is_last = pass.settled_n == 0 || n == PASSES_MAX };
	}
}

int tree_apply_deletion(struct tree *tree, const char *id)
{
	struct tree_row row;
	int r = tree_row_by_id(tree, id, &row);

	if (r <= 0)
		return r < 0 ? r : tree_place_bury(tree, id);
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
		r = id ? tree_apply_deletion(tree, id) : -ENOMEM;
		if (r < 0)
			return r;
	}
}

static int prune_tombs(struct tree *tree)
{
	sqlite3_stmt *s = tree->w[W_TOMB_PRUNE];
	int64_t now = clock_real_s();

	sqlite3_bind_int64(s, 1, now - TOMB_KEPT_S);
	sqlite3_bind_int64(s, 2, now + TOMB_KEPT_S); /* the clock went back */
	sqlite3_bind_int64(s, 3, TOMB_KEPT_N);
	return db_run(s);
}

static int apply_all(struct tree *tree, const char *link, bool full)
{
	int r = full ? tree_stage_end_full(tree) : 0;

	if (r == 0)
		r = tree_stage_skip_fresh(tree, full);
	if (r == 0)
		r = apply_live(tree);
	if (r == 0)
		r = apply_deletions(tree);
	if (r == 0 && full)
		r = db_run(tree->w[W_ALL_COMPLETE]);
	if (r == 0 && link)
		r = tree_kv_set(tree, TREE_KV_DELTA_LINK, link);
	return r < 0 ? r : prune_tombs(tree);
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
	/* A page that was asked for before is behind, even if nothing changed. */
	if (full)
		tree->changed = true;
	r = tree_end(tree, r, ret_changes);
	if (r == 0)
		tree->is_staging = false;
	if (r == 0 && full)
		tree->full_seq = tree->seq;
	return r;
}

#include "feed.h"

#include "names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { PAGE_MAX = WORLD_THINGS * 3 };

void feed_tell(struct feed *f, struct change_set *set, bool may_discover)
{
	view_replay(&f->before, set);
	view_take(f->tree, &f->now);
	view_check(&f->before, &f->now, may_discover);
	if (set)
		assert_int_equal(set->seq, tree_note(f->tree));
	change_set_free(set);
}

/* --- delta --- */

struct run {
	struct item items[PAGE_MAX];
	size_t n;
};

/* The service may leave out what went with its folder. */
static bool may_omit(struct feed *f, int at, uint64_t token)
{
	const struct thing *t = &f->w->t[at], *up = &f->w->t[t->parent > 0 ? t->parent : 0];

	uint64_t ino;

	if (t->live || t->moved > token || up->live || up->changed <= token)
		return false;
	/* Nobody can know what went with a folder that he never heard of. */
	if (!f->w->t[up->parent > 0 ? up->parent : 0].live &&
	    tree_find_id(f->tree, up->id, &ino) != 0)
		return false;
	return world_random(f->w, 2);
}

static void add_stale(struct feed *f, struct run *run, int at)
{
	struct world old = *f->w;
	struct thing *t = &old.t[at];

	t->live = world_random(f->w, 3) > 0;
	t->rev += 1000;
	t->name = (int)world_random(f->w, 5);
	t->parent = (int)world_random(f->w, WORLD_THINGS);
	if (!old.t[t->parent].id[0])
		t->parent = WORLD_ROOT;
	world_item(&old, at, true, &run->items[run->n++]);
}

static void shuffle(struct feed *f, struct run *run)
{
	for (size_t i = run->n; i > 1; i--) {
		size_t j = world_random(f->w, (unsigned)i);
		struct item item = run->items[i - 1];

		run->items[i - 1] = run->items[j];
		run->items[j] = item;
	}
}

static void collect(struct feed *f, uint64_t token, bool full, struct run *run)
{
	bool omitted[WORLD_THINGS];
	size_t stale;

	run->n = 0;
	for (int at = 0; at < WORLD_THINGS; at++)
		omitted[at] = full ? !f->w->t[at].live : may_omit(f, at, token);
	for (int at = 1; at < WORLD_THINGS; at++)
		if (f->w->t[at].changed > token && !omitted[at] && world_random(f->w, 4) == 0)
			add_stale(f, run, at);
	shuffle(f, run);
	stale = run->n;
	for (int at = 0; at < WORLD_THINGS; at++) {
		const struct thing *t = &f->w->t[at];
		bool is_news = t->changed > token || (full && t->live);
		bool is_extra = t->live && world_random(f->w, 5) == 0;

		if (!t->id[0] || !(is_news || is_extra) || omitted[at])
			continue;
		world_item(f->w, at, true, &run->items[run->n++]);
	}
	/* Stale ones stay before the last one of their id; these come in any order. */
	struct run last = { .n = run->n - stale };
	memcpy(last.items, run->items + stale, last.n * sizeof(last.items[0]));
	shuffle(f, &last);
	memcpy(run->items + stale, last.items, last.n * sizeof(last.items[0]));
}

static void stage_some(struct feed *f, const struct item *items, size_t n, bool full)
{
	struct change_set *set;

	if (!full) {
		assert_int_equal(tree_stage_page(f->tree, items, n), 0);
		return;
	}
	view_take(f->tree, &f->before);
	assert_int_equal(tree_stage_full_page(f->tree, items, n, &set), 0);
	feed_tell(f, set, false);
}

static void stage(struct feed *f, const struct run *run, bool full)
{
	assert_int_equal(tree_stage_begin(f->tree), 0);
	for (size_t at = 0; at < run->n;) {
		size_t n = 1 + world_random(f->w, 8);

		n = at + n > run->n ? run->n - at : n;
		stage_some(f, run->items + at, n, full);
		at += n;
		if (f->between)
			f->between(f->arg);
	}
	if (full && world_random(f->w, 2))
		assert_int_equal(tree_stage_unseen(f->tree), 0);
}

uint64_t feed_apply(struct feed *f, uint64_t token, bool full)
{
	static struct run run;
	uint64_t tick = f->w->tick;
	struct change_set *set;
	char link[32];
	auto_free char *kept = NULL;

	collect(f, token, full, &run);
	stage(f, &run, full);
	view_take(f->tree, &f->before);
	snprintf(link, sizeof(link), "link-%llu", (unsigned long long)tick);
	assert_int_equal(tree_stage_apply(f->tree, link, full, &set), 0);
	feed_tell(f, set, false);
	assert_int_equal(tree_kv_get(f->tree, TREE_KV_DELTA_LINK, &kept), 0);
	assert_string_equal(kept, link);
	/* The same again, if nothing happened since. */
	if (!f->between && world_random(f->w, 4) == 0) {
		stage(f, &run, full);
		assert_int_equal(tree_stage_apply(f->tree, NULL, full, &set), 0);
		assert_null(set);
	}
	for (size_t i = 0; i < run.n; i++)
		item_fini(&run.items[i]);
	return tick;
}

/* --- what must be so after delta --- */

static int thing_of(struct feed *f, const char *id)
{
	for (int at = 0; at < WORLD_THINGS; at++)
		if (strcmp(f->w->t[at].id, id) == 0)
			return at;
	fail_msg("%s is not in the drive", id);
	return -1;
}

static size_t check_entry(struct feed *f, const struct entry *e)
{
	char shown[NAMES_MAX_BYTES + 1], etag[16];
	const struct thing *t;
	struct tree_meta meta;
	size_t children = 0;
	int at;

	assert_int_equal(tree_get_meta(f->tree, e->attr.ino, &meta), 0);
	at = thing_of(f, meta.id);
	t = &f->w->t[at];
	assert_true(t->live);
	assert_int_equal(e->attr.kind, t->dir ? TREE_DIR : TREE_FILE);
	snprintf(etag, sizeof(etag), "e%u", t->rev);
	if (strcmp(meta.etag, etag) != 0)
		print_message("%s\n", meta.id);
	assert_string_equal(meta.etag, etag);
	if (at != WORLD_ROOT) {
		uint64_t parent;

		names_show(world_name(f->w, t), strlen(world_name(f->w, t)), shown);
		assert_string_equal(e->name, shown);
		assert_int_equal(tree_find_id(f->tree, f->w->t[t->parent].id, &parent), 0);
		assert_int_equal(e->attr.parent, parent);
	}
	if (!t->dir) {
		assert_int_equal(e->attr.size, 100 + t->content % 3);
		assert_memory_equal(meta.hash, &t->content, sizeof(t->content));
	}
	for (int i = 1; i < WORLD_THINGS; i++)
		children += f->w->t[i].live && f->w->t[i].parent == at;
	tree_meta_fini(&meta);
	return children;
}

void feed_check_equal(struct feed *f)
{
	view_take(f->tree, &f->now);
	for (size_t i = 0; i < f->now.n; i++) {
		const struct entry *e = &f->now.v[i];
		size_t want = check_entry(f, e), have = 0;

		for (size_t j = 1; j < f->now.n; j++)
			have += f->now.v[j].attr.parent == e->attr.ino;
		if (e->attr.complete)
			assert_int_equal(have, want);
		assert_true(have <= want);
	}
}

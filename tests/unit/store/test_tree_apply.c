/*
 * A drive that changes at random, told in any way that the service may choose, against a tree that
 * must become equal to it, and against the changes that the tree tells.
 * GRAPHFS_CASES: how many (20,000); GRAPHFS_SEED: the first one.
 */
#include "names.h"
#include "view.h"
#include "world.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 40, STEPS_MAX = 24, PAGE_MAX = WORLD_THINGS * 3, HELD_MAX = 3 };

/* An answer of the service on its way. */
struct held {
	bool used;
	char dir_id[16];
	struct item items[WORLD_THINGS];
	size_t n;
	uint64_t note;
};

struct client {
	char path[64];
	int fd;
	struct tree *tree;
	struct world w;
	uint64_t token, old_token;
	struct held held[HELD_MAX];
	struct view before, now;
	uint64_t ino_of[WORLD_THINGS]; /* before the round */
	bool dir_of[WORLD_THINGS];
	char id_of[WORLD_THINGS][16];
	bool guarded;
};

static uint64_t seed_now;

static bool is_open(void *arg, uint64_t ino)
{
	struct client *c = arg;

	return world_random(&c->w, 2);
}

static void begin(struct client *c, uint64_t seed)
{
	const struct tree_guard guard = { .arg = c, .file_open = is_open };
	struct change_set *set;
	struct item root;

	seed_now = seed;
	world_init(&c->w, seed);
	assert_int_equal(tree_open(c->fd, "tree", "drive", &c->tree), 0);
	c->guarded = world_random(&c->w, 3) == 0;
	if (c->guarded)
		tree_set_guard(c->tree, &guard);
	for (unsigned n = world_random(&c->w, 3) * 15; n > 0; n--)
		world_step(&c->w);
	c->token = c->old_token = c->w.told = c->w.tick;
	world_item(&c->w, WORLD_ROOT, false, &root);
	assert_int_equal(tree_set_root(c->tree, &root, &set), 0);
	change_set_free(set);
	item_fini(&root);
}

static void drop_held(struct held *held)
{
	for (size_t i = 0; i < held->n; i++)
		item_fini(&held->items[i]);
	held->n = 0;
	held->used = false;
}

static void end(struct client *c)
{
	for (int i = 0; i < HELD_MAX; i++)
		drop_held(&c->held[i]);
	tree_free(c->tree);
	c->tree = NULL;
	unlinkat(c->fd, "tree", 0);
	unlinkat(c->fd, "tree-wal", 0);
	unlinkat(c->fd, "tree-shm", 0);
}

static void tell(struct client *c, struct change_set *set, bool may_discover)
{
	view_replay(&c->before, set);
	view_take(c->tree, &c->now);
	view_check(&c->before, &c->now, may_discover);
	if (set)
		assert_int_equal(set->seq, tree_note(c->tree));
	change_set_free(set);
}

/* --- listings --- */

static void ask(struct client *c)
{
	struct held *held = &c->held[world_random(&c->w, HELD_MAX)];
	struct tree_meta meta;
	uint64_t ino;

	if (held->used)
		return;
	view_take(c->tree, &c->now);
	ino = c->now.v[world_random(&c->w, (unsigned)c->now.n)].attr.ino;
	assert_int_equal(tree_get_meta(c->tree, ino, &meta), 0);
	held->note = tree_note(c->tree);
	for (int at = 0; at < WORLD_THINGS; at++) {
		const struct thing *t = &c->w.t[at];

		if (!t->live || !t->dir || strcmp(t->id, meta.id) != 0)
			continue;
		held->used = true;
		snprintf(held->dir_id, sizeof(held->dir_id), "%s", t->id);
		for (int i = 1; i < WORLD_THINGS; i++)
			if (c->w.t[i].live && c->w.t[i].parent == at)
				world_item(&c->w, i, false, &held->items[held->n++]);
	}
	tree_meta_fini(&meta);
}

static void answer(struct client *c, struct held *held)
{
	size_t half = held->n > 1 ? world_random(&c->w, (unsigned)held->n) : 0;
	struct change_set *set;
	uint64_t ino;
	int r = tree_find_id(c->tree, held->dir_id, &ino);

	if (r == 0) {
		view_take(c->tree, &c->before);
		r = tree_merge_children(c->tree, ino, held->items, half, held->note, false, &set);
		if (r == -ENOTDIR) {
			drop_held(held);
			return;
		}
		assert_int_equal(r, 0);
		tell(c, set, true);
		view_take(c->tree, &c->before);
		assert_int_equal(tree_merge_children(c->tree, ino, held->items + half,
						     held->n - half, held->note, true, &set),
				 0);
		tell(c, set, true);
	} else {
		assert_int_equal(r, -ENOENT);
	}
	drop_held(held);
}

static void answer_some(struct client *c)
{
	for (int i = 0; i < HELD_MAX; i++)
		if (c->held[i].used && world_random(&c->w, 3) == 0)
			answer(c, &c->held[i]);
}

/* --- delta --- */

struct run {
	struct item items[PAGE_MAX];
	size_t n;
};

/* The service may leave out what went with its folder. */
static bool may_omit(struct client *c, int at, uint64_t token)
{
	const struct thing *t = &c->w.t[at], *up = &c->w.t[t->parent > 0 ? t->parent : 0];

	uint64_t ino;

	if (t->live || t->moved > token || up->live || up->changed <= token)
		return false;
	/* Nobody can know what went with a folder that he never heard of. */
	if (!c->w.t[up->parent > 0 ? up->parent : 0].live &&
	    tree_find_id(c->tree, up->id, &ino) != 0)
		return false;
	return world_random(&c->w, 2);
}

static void add_stale(struct client *c, struct run *run, int at)
{
	struct world old = c->w;
	struct thing *t = &old.t[at];

	t->live = world_random(&c->w, 3) > 0;
	t->rev += 1000;
	t->name = (int)world_random(&c->w, 5);
	t->parent = (int)world_random(&c->w, WORLD_THINGS);
	if (!old.t[t->parent].id[0])
		t->parent = WORLD_ROOT;
	world_item(&old, at, true, &run->items[run->n++]);
}

static void shuffle(struct client *c, struct run *run)
{
	for (size_t i = run->n; i > 1; i--) {
		size_t j = world_random(&c->w, (unsigned)i);
		struct item item = run->items[i - 1];

		run->items[i - 1] = run->items[j];
		run->items[j] = item;
	}
}

static void collect(struct client *c, uint64_t token, bool full, struct run *run)
{
	bool omitted[WORLD_THINGS];
	size_t stale;

	run->n = 0;
	for (int at = 0; at < WORLD_THINGS; at++)
		omitted[at] = full ? !c->w.t[at].live : may_omit(c, at, token);
	for (int at = 1; at < WORLD_THINGS; at++)
		if (c->w.t[at].changed > token && !omitted[at] && world_random(&c->w, 4) == 0)
			add_stale(c, run, at);
	shuffle(c, run);
	stale = run->n;
	for (int at = 0; at < WORLD_THINGS; at++) {
		const struct thing *t = &c->w.t[at];
		bool is_news = t->changed > token || (full && t->live);
		bool is_extra = t->live && world_random(&c->w, 5) == 0;

		if (!t->id[0] || !(is_news || is_extra) || omitted[at])
			continue;
		world_item(&c->w, at, true, &run->items[run->n++]);
	}
	/* Stale ones stay before the last one of their id; these come in any order. */
	struct run last = { .n = run->n - stale };
	memcpy(last.items, run->items + stale, last.n * sizeof(last.items[0]));
	shuffle(c, &last);
	memcpy(run->items + stale, last.items, last.n * sizeof(last.items[0]));
}

static void stage_some(struct client *c, const struct item *items, size_t n, bool full)
{
	struct change_set *set;

	if (!full) {
		assert_int_equal(tree_stage_page(c->tree, items, n), 0);
		return;
	}
	view_take(c->tree, &c->before);
	assert_int_equal(tree_stage_full_page(c->tree, items, n, &set), 0);
	tell(c, set, false);
}

static void stage(struct client *c, const struct run *run, bool full)
{
	assert_int_equal(tree_stage_begin(c->tree), 0);
	for (size_t at = 0; at < run->n;) {
		size_t n = 1 + world_random(&c->w, 8);

		n = at + n > run->n ? run->n - at : n;
		stage_some(c, run->items + at, n, full);
		at += n;
	}
	if (full && world_random(&c->w, 2))
		assert_int_equal(tree_stage_unseen(c->tree), 0);
}

static void note_identities(struct client *c)
{
	for (int at = 0; at < WORLD_THINGS; at++) {
		struct tree_attr attr;
		uint64_t ino = 0;

		memcpy(c->id_of[at], c->w.t[at].id, sizeof(c->id_of[at]));
		if (!c->id_of[at][0] || tree_find_id(c->tree, c->id_of[at], &ino) != 0)
			ino = 0;
		c->ino_of[at] = ino;
		c->dir_of[at] = ino && tree_get(c->tree, ino, &attr) == 0 && attr.kind == TREE_DIR;
	}
}

static void apply(struct client *c, uint64_t token, bool full)
{
	static struct run run;
	struct change_set *set;
	char link[32];
	auto_free char *kept = NULL;

	collect(c, token, full, &run);
	stage(c, &run, full);
	view_take(c->tree, &c->before);
	snprintf(link, sizeof(link), "link-%llu", (unsigned long long)c->w.tick);
	assert_int_equal(tree_stage_apply(c->tree, link, full, &set), 0);
	tell(c, set, false);
	assert_int_equal(tree_kv_get(c->tree, TREE_KV_DELTA_LINK, &kept), 0);
	assert_string_equal(kept, link);
	if (world_random(&c->w, 4) == 0) { /* the same again */
		stage(c, &run, full);
		assert_int_equal(tree_stage_apply(c->tree, NULL, full, &set), 0);
		assert_null(set);
	}
	for (size_t i = 0; i < run.n; i++)
		item_fini(&run.items[i]);
}

/* --- what must be so after delta --- */

static int thing_of(struct client *c, const char *id)
{
	for (int at = 0; at < WORLD_THINGS; at++)
		if (strcmp(c->w.t[at].id, id) == 0)
			return at;
	fail_msg("%s is not in the drive", id);
	return -1;
}

static size_t check_entry(struct client *c, const struct entry *e)
{
	char shown[NAMES_MAX_BYTES + 1], etag[16];
	const struct thing *t;
	struct tree_meta meta;
	size_t children = 0;
	int at;

	assert_int_equal(tree_get_meta(c->tree, e->attr.ino, &meta), 0);
	at = thing_of(c, meta.id);
	t = &c->w.t[at];
	assert_true(t->live);
	assert_int_equal(e->attr.kind, t->dir ? TREE_DIR : TREE_FILE);
	snprintf(etag, sizeof(etag), "e%u", t->rev);
	assert_string_equal(meta.etag, etag);
	if (at != WORLD_ROOT) {
		uint64_t parent;

		names_show(world_name(t), strlen(world_name(t)), shown);
		assert_string_equal(e->name, shown);
		assert_int_equal(tree_find_id(c->tree, c->w.t[t->parent].id, &parent), 0);
		assert_int_equal(e->attr.parent, parent);
	}
	if (!t->dir) {
		assert_int_equal(e->attr.size, 100 + t->content % 3);
		assert_memory_equal(meta.hash, &t->content, sizeof(t->content));
	}
	for (int i = 1; i < WORLD_THINGS; i++)
		children += c->w.t[i].live && c->w.t[i].parent == at;
	tree_meta_fini(&meta);
	return children;
}

static void check_equal(struct client *c)
{
	view_take(c->tree, &c->now);
	for (size_t i = 0; i < c->now.n; i++) {
		const struct entry *e = &c->now.v[i];
		size_t want = check_entry(c, e), have = 0;

		for (size_t j = 1; j < c->now.n; j++)
			have += c->now.v[j].attr.parent == e->attr.ino;
		if (e->attr.complete)
			assert_int_equal(have, want);
		assert_true(have <= want);
	}
}

static void check_identities(struct client *c, uint64_t token)
{
	for (int at = 0; at < WORLD_THINGS; at++) {
		const struct thing *t = &c->w.t[at];
		uint64_t ino = 0;

		if (!c->ino_of[at] || !t->live || strcmp(t->id, c->id_of[at]) != 0 ||
		    c->w.flipped > token || t->dir != c->dir_of[at])
			continue;
		assert_int_equal(tree_find_id(c->tree, t->id, &ino), 0);
		if (t->dir || !c->guarded)
			assert_int_equal(ino, c->ino_of[at]);
	}
}

static void run_round(struct client *c)
{
	unsigned kind = world_random(&c->w, 10);
	bool full = kind == 0;
	uint64_t token = kind == 1 ? c->old_token : c->token;

	note_identities(c);
	for (unsigned n = world_random(&c->w, STEPS_MAX); n > 0; n--) {
		world_step(&c->w);
		if (world_random(&c->w, 6) == 0)
			ask(c);
		if (world_random(&c->w, 6) == 0)
			answer_some(c);
	}
	apply(c, token, full);
	check_equal(c);
	check_identities(c, token);
	answer_some(c);
	check_equal(c);
	c->w.told = c->old_token = c->token;
	c->token = c->w.tick;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_any_history_ends_equal(void **state)
{
	struct client *c = *state;
	uint64_t cases = number_of("GRAPHFS_CASES", 20000), seed = number_of("GRAPHFS_SEED", 1);

	for (uint64_t n = 0; n < cases; n += ROUNDS) {
		begin(c, seed++);
		for (int i = 0; i < ROUNDS; i++)
			run_round(c);
		end(c);
	}
}

static int setup(void **state)
{
	struct client *c = calloc(1, sizeof(*c));

	strcpy(c->path, "/tmp/gfs-test-apply-XXXXXX");
	if (!mkdtemp(c->path))
		return -1;
	c->fd = open(c->path, O_RDONLY | O_DIRECTORY);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct client *c = *state;

	print_message("last seed: %llu\n", (unsigned long long)seed_now);
	end(c);
	close(c->fd);
	rmdir(c->path);
	free(c);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_any_history_ends_equal, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

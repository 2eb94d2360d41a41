/*
 * A drive that changes at random, told in any way that the service may choose, against a tree that
 * must become equal to it, and against the changes that the tree tells.
 * GRAPHFS_CASES: how many (20,000); GRAPHFS_SEED: the first one.
 */
#include "feed.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 40, STEPS_MAX = 24, HELD_MAX = 3 };

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
	struct world w;
	uint64_t token, old_token;
	struct feed f;
	struct held held[HELD_MAX];
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
	c->f.w = &c->w;
	assert_int_equal(tree_open(c->fd, "tree", "drive", &c->f.tree), 0);
	c->guarded = world_random(&c->w, 3) == 0;
	if (c->guarded)
		tree_set_guard(c->f.tree, &guard);
	for (unsigned n = world_random(&c->w, 3) * 15; n > 0; n--)
		world_step(&c->w);
	c->token = c->old_token = c->w.told = c->w.tick;
	world_item(&c->w, WORLD_ROOT, false, &root);
	assert_int_equal(tree_set_root(c->f.tree, &root, &set), 0);
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
	tree_free(c->f.tree);
	c->f.tree = NULL;
	unlinkat(c->fd, "tree", 0);
	unlinkat(c->fd, "tree-wal", 0);
	unlinkat(c->fd, "tree-shm", 0);
}

/* --- listings --- */

static void ask(struct client *c)
{
	struct held *held = &c->held[world_random(&c->w, HELD_MAX)];
	struct tree_meta meta;
	uint64_t ino;

	if (held->used)
		return;
	view_take(c->f.tree, &c->f.now);
	ino = c->f.now.v[world_random(&c->w, (unsigned)c->f.now.n)].attr.ino;
	assert_int_equal(tree_get_meta(c->f.tree, ino, &meta), 0);
	held->note = tree_note(c->f.tree);
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
	int r = tree_find_id(c->f.tree, held->dir_id, &ino);

	if (r == 0) {
		view_take(c->f.tree, &c->f.before);
		r = tree_merge_children(c->f.tree, ino, held->items, half, held->note, false, &set);
		if (r == -ENOTDIR) {
			drop_held(held);
			return;
		}
		assert_int_equal(r, 0);
		feed_tell(&c->f, set, true);
		view_take(c->f.tree, &c->f.before);
		assert_int_equal(tree_merge_children(c->f.tree, ino, held->items + half,
						     held->n - half, held->note, true, &set),
				 0);
		feed_tell(&c->f, set, true);
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

static void note_identities(struct client *c)
{
	for (int at = 0; at < WORLD_THINGS; at++) {
		struct tree_attr attr;
		uint64_t ino = 0;

		memcpy(c->id_of[at], c->w.t[at].id, sizeof(c->id_of[at]));
		if (!c->id_of[at][0] || tree_find_id(c->f.tree, c->id_of[at], &ino) != 0)
			ino = 0;
		c->ino_of[at] = ino;
		c->dir_of[at] =
			ino && tree_get(c->f.tree, ino, &attr) == 0 && attr.kind == TREE_DIR;
	}
}

/* --- what must be so after delta --- */

static void check_identities(struct client *c, uint64_t token)
{
	for (int at = 0; at < WORLD_THINGS; at++) {
		const struct thing *t = &c->w.t[at];
		uint64_t ino = 0;

		if (!c->ino_of[at] || !t->live || strcmp(t->id, c->id_of[at]) != 0 ||
		    c->w.flipped > token || t->dir != c->dir_of[at])
			continue;
		assert_int_equal(tree_find_id(c->f.tree, t->id, &ino), 0);
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
	(void)feed_apply(&c->f, token, full);
	feed_check_equal(&c->f);
	check_identities(c, token);
	answer_some(c);
	feed_check_equal(&c->f);
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

#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Few, so that they meet; two differ by case only, some cannot be shown as they are. */
static const char *const names[] = { "a", "A", "b", "c.txt", "x/y", "..", "d\ne", "%41" };
enum { NAMES_N = array_n(names) };

unsigned world_random(struct world *w, unsigned below)
{
	/* xorshift64*: any seed but 0. */
	w->random ^= w->random >> 12;
	w->random ^= w->random << 25;
	w->random ^= w->random >> 27;
	return (unsigned)((w->random * 0x2545f4914f6cdd1du) >> 33) % below;
}

void world_init(struct world *w, uint64_t seed)
{
	*w = (struct world){ .random = seed * 0x9e3779b97f4a7c15u + 1, .ids_n = 1 };
	w->t[WORLD_ROOT] = (struct thing){ .id = "root", .live = true, .dir = true, .parent = -1 };
	w->no_ctag = world_random(w, 2);
}

static const char *name_of(const struct world *w, int name)
{
	return name < NAMES_N ? names[name] : w->given[name - NAMES_N];
}

const char *world_name(const struct world *w, const struct thing *t)
{
	return name_of(w, t->name);
}

const char *world_any_name(struct world *w)
{
	return names[world_random(w, NAMES_N)];
}

static bool is_same_name(const struct world *w, int a, int b)
{
	if (a == b || !w->folds)
		return a == b;
	return strcasecmp(name_of(w, a), name_of(w, b)) == 0;
}

static bool is_free(const struct world *w, int parent, int name, int but)
{
	for (int i = 1; i < WORLD_THINGS; i++)
		if (i != but && w->t[i].live && w->t[i].parent == parent &&
		    is_same_name(w, w->t[i].name, name))
			return false;
	return true;
}

bool world_is_below(const struct world *w, int at, int top)
{
	for (; at >= 0; at = w->t[at].parent)
		if (at == top)
			return true;
	return false;
}

static int any_live(struct world *w)
{
	int at = 1 + (int)world_random(w, w->folds ? WORLD_THINGS - 1 : WORLD_OTHERS - 1);

	return w->t[at].live ? at : -1;
}

static int any_dir(struct world *w)
{
	int at = any_live(w);

	return at > 0 && w->t[at].dir ? at : WORLD_ROOT;
}

static void touch(struct world *w, int at)
{
	w->t[at].changed = ++w->tick;
	w->t[at].rev++;
}

static void make(struct world *w, bool again)
{
	int at = 1 + (int)world_random(w, WORLD_OTHERS - 1), parent = any_dir(w);
	int name = (int)world_random(w, NAMES_N);
	struct thing *t = &w->t[at];

	if (t->live || !is_free(w, parent, name, 0) || (again && !t->id[0]) ||
	    (!again && t->changed > w->told))
		return;
	if (!again) {
		*t = (struct thing){ .rev = t->rev, .content = ++w->contents_n };
		snprintf(t->id, sizeof(t->id), "id-%u", w->ids_n++);
		t->dir = world_random(w, 2);
	}
	t->live = true;
	t->parent = parent;
	t->name = name;
	t->mtime_s = 1000 + (int64_t)world_random(w, 1000000);
	touch(w, at);
	t->moved = w->tick;
}

static void move(struct world *w)
{
	int at = any_live(w), parent = any_dir(w), name = (int)world_random(w, NAMES_N);

	if (at < 0)
		return;
	if (world_random(w, 2))
		parent = w->t[at].parent;
	if (world_is_below(w, parent, at) || !is_free(w, parent, name, at))
		return;
	w->t[at].parent = parent;
	w->t[at].name = name;
	touch(w, at);
	w->t[at].moved = w->tick;
}

/* Two things take each other's place, in one set of changes. */
static void swap(struct world *w)
{
	int a = any_live(w), b = any_live(w), parent, name;

	if (a < 0 || b < 0 || a == b || world_is_below(w, a, b) || world_is_below(w, b, a))
		return;
	parent = w->t[a].parent;
	name = w->t[a].name;
	w->t[a].parent = w->t[b].parent;
	w->t[a].name = w->t[b].name;
	w->t[b].parent = parent;
	w->t[b].name = name;
	touch(w, a);
	w->t[a].moved = w->tick;
	touch(w, b);
	w->t[b].moved = w->tick;
}

/* A folder and one in it change sides: what was below is above. */
static void turn_over(struct world *w)
{
	int low = any_live(w), name = (int)world_random(w, NAMES_N), high;

	if (low < 0 || !w->t[low].dir)
		return;
	high = w->t[low].parent;
	while (high > 0 && w->t[high].parent > 0 && world_random(w, 2))
		high = w->t[high].parent;
	if (high <= 0 || !is_free(w, low, name, 0) ||
	    !is_free(w, w->t[high].parent, w->t[low].name, high))
		return;
	w->t[low].parent = w->t[high].parent;
	touch(w, low);
	w->t[low].moved = w->tick;
	w->t[high].parent = low;
	w->t[high].name = name;
	touch(w, high);
	w->t[high].moved = w->tick;
}

static void erase(struct world *w, int at)
{
	bool gone[WORLD_THINGS] = { false };

	for (int i = 1; i < WORLD_THINGS; i++)
		gone[i] = w->t[i].live && world_is_below(w, i, at);
	for (int i = 1; i < WORLD_THINGS; i++) {
		if (!gone[i])
			continue;
		w->t[i].live = false;
		touch(w, i);
	}
}

static void flip(struct world *w, int at)
{
	for (int i = 1; i < WORLD_THINGS; i++)
		if (w->t[i].live && w->t[i].parent == at)
			return;
	w->t[at].dir = !w->t[at].dir;
	w->t[at].content = ++w->contents_n;
	touch(w, at);
	w->t[at].moved = w->flipped = w->tick;
}

static void edit(struct world *w, int at)
{
	if (!w->t[at].dir)
		w->t[at].content = ++w->contents_n;
	w->t[at].mtime_s += (int64_t)world_random(w, 3) - 1;
	touch(w, at);
}

void world_step(struct world *w)
{
	unsigned what = world_random(w, 100);
	int at = any_live(w);

	if (what < 30)
		make(w, false);
	else if (what < 35)
		make(w, true);
	else if (what < 60)
		move(w);
	else if (what < 70)
		swap(w);
	else if (what < 77)
		turn_over(w);
	else if (at > 0 && what < 87)
		edit(w, at);
	else if (at > 0 && what < 98)
		erase(w, at);
	else if (at > 0)
		flip(w, at);
}

static char *format(const char *prefix, unsigned n)
{
	char text[32];

	snprintf(text, sizeof(text), "%s%u", prefix, n);
	return strdup(text);
}

void world_item(struct world *w, int at, bool by_delta, struct item *ret)
{
	const struct thing *t = &w->t[at];
	bool bare = !t->live && world_random(w, 2);

	*ret = (struct item){ .id = strdup(t->id), .size = -1 };
	ret->mtime_ns = ret->btime_ns = ITEM_TIME_UNKNOWN;
	ret->child_count = -1;
	ret->deleted = !t->live;
	ret->is_root = at == WORLD_ROOT;
	if (bare)
		return;
	ret->name = strdup(at == WORLD_ROOT ? "root" : world_name(w, t));
	ret->name_len = strlen(ret->name);
	if (at != WORLD_ROOT)
		ret->parent_id = strdup(w->t[t->parent].id);
	ret->kind = t->dir ? ITEM_FOLDER : ITEM_FILE;
	ret->etag = format("e", t->rev);
	ret->mtime_ns = ret->btime_ns = t->mtime_s * 1000000000;
	if (t->dir)
		return;
	ret->size = 100 + t->content % 3;
	if (!by_delta || !w->no_ctag)
		ret->ctag = format("c", t->content);
	ret->has_hash = true;
	memcpy(ret->hash, &t->content, sizeof(t->content));
}

/* --- a client --- */

/* The number of a name, which may be new; those that nothing has are forgotten. */
static int number_of(struct world *w, const char *name)
{
	int free_one = -1;

	for (int i = 0; i < NAMES_N; i++)
		if (strcmp(names[i], name) == 0)
			return i;
	for (int i = 0; i < WORLD_NAMES; i++) {
		bool is_used = false;

		if (strcmp(w->given[i], name) == 0)
			return NAMES_N + i;
		for (int at = 1; at < WORLD_THINGS; at++)
			is_used = is_used || w->t[at].name == NAMES_N + i;
		if (!is_used)
			free_one = i;
	}
	snprintf(w->given[free_one], sizeof(w->given[0]), "%s", name);
	return NAMES_N + free_one;
}

int world_find(const struct world *w, const char *id)
{
	for (int i = 0; i < WORLD_THINGS; i++)
		if (w->t[i].live && strcmp(w->t[i].id, id) == 0)
			return i;
	return -ENOENT;
}

static int find_dir(const struct world *w, const char *id)
{
	int at = world_find(w, id);

	return at >= 0 && w->t[at].dir ? at : -ENOTDIR;
}

static int find_name(const struct world *w, int parent, int name, int but, int *ret)
{
	for (int i = 1; i < WORLD_THINGS; i++) {
		if (i == but || !w->t[i].live || w->t[i].parent != parent ||
		    !is_same_name(w, w->t[i].name, name))
			continue;
		*ret = i;
		return -EEXIST;
	}
	return 0;
}

int world_create(struct world *w, const char *parent_id, const char *name, unsigned content,
		 int64_t mtime_s, int *ret)
{
	int parent = find_dir(w, parent_id), number = number_of(w, name), at, r;

	if (parent < 0)
		return parent;
	r = find_name(w, parent, number, 0, ret);
	if (r < 0)
		return r;
	for (at = 1; at < WORLD_THINGS; at++)
		if (!w->t[at].live && w->t[at].changed <= w->told)
			break;
	if (at == WORLD_THINGS)
		return -ENOSPC;
	w->t[at] = (struct thing){
		.live = true,
		.dir = content == 0,
		.parent = parent,
		.name = number,
		.rev = w->t[at].rev,
		.content = content,
		.mtime_s = mtime_s,
	};
	snprintf(w->t[at].id, sizeof(w->t[at].id), "id-%u", w->ids_n++);
	touch(w, at);
	w->t[at].moved = w->tick;
	*ret = at;
	return 0;
}

int world_put(struct world *w, const char *id, unsigned rev, unsigned content, int *ret)
{
	int at = world_find(w, id);

	if (at < 0)
		return at;
	*ret = at;
	if (w->t[at].dir || (rev && rev != w->t[at].rev))
		return -ESTALE;
	w->t[at].content = content;
	touch(w, at);
	return 0;
}

int world_move(struct world *w, const char *id, const char *parent_id, const char *name, int *ret)
{
	int at = world_find(w, id), parent = find_dir(w, parent_id), number = number_of(w, name);
	int r;

	if (at < 0 || parent < 0)
		return at < 0 ? at : parent;
	if (world_is_below(w, parent, at))
		return -ELOOP;
	r = find_name(w, parent, number, at, ret);
	if (r < 0)
		return r;
	w->t[at].parent = parent;
	w->t[at].name = number;
	touch(w, at);
	w->t[at].moved = w->tick;
	*ret = at;
	return 0;
}

int world_set_time(struct world *w, const char *id, int64_t mtime_s, int *ret)
{
	int at = world_find(w, id);

	if (at < 0)
		return at;
	w->t[at].mtime_s = mtime_s;
	touch(w, at);
	*ret = at;
	return 0;
}

int world_delete(struct world *w, const char *id)
{
	int at = world_find(w, id);

	if (at < 0)
		return at;
	erase(w, at);
	return 0;
}

#define LOG_MODULE "tree"
#include "tree_fold.h"

#include "itemname.h"

#include <errno.h>
#include <string.h>

enum { DIRS_N = 4, SLOTS_MIN = 64 };

struct fold_dir {
	uint64_t ino; /* 0: unused */
	uint64_t used;
	uint64_t *slots; /* hashes, 0: free; at most half are taken */
	size_t slots_n, names_n;
};

struct tree_fold {
	struct fold_dir dirs[DIRS_N];
	uint64_t clock;
};

static void drop(struct fold_dir *d)
{
	free(d->slots);
	*d = (struct fold_dir){ 0 };
}

/* Never 0. Without memory all names are alike: then they are compared one by one. */
static uint64_t hash_of(const char *name)
{
	size_t len;
	auto_free char *folded = itemname_fold(name, strlen(name), &len);
	uint64_t h = UINT64_C(14695981039346656037);

	for (size_t i = 0; folded && i < len; i++)
		h = (h ^ (unsigned char)folded[i]) * UINT64_C(1099511628211);
	return h ? h : 1;
}

static bool has(const struct fold_dir *d, uint64_t hash)
{
	for (size_t i = hash % d->slots_n; d->slots[i]; i = (i + 1) % d->slots_n)
		if (d->slots[i] == hash)
			return true;
	return false;
}

static void put(struct fold_dir *d, uint64_t hash)
{
	size_t i = hash % d->slots_n;

	while (d->slots[i] && d->slots[i] != hash)
		i = (i + 1) % d->slots_n;
	d->names_n += d->slots[i] == 0;
	d->slots[i] = hash;
}

static int add(struct fold_dir *d, uint64_t hash)
{
	if ((d->names_n + 1) * 2 > d->slots_n) {
		struct fold_dir larger = *d;

		larger.slots_n = d->slots_n ? d->slots_n * 2 : SLOTS_MIN;
		larger.slots = calloc(larger.slots_n, sizeof(*larger.slots));
		larger.names_n = 0;
		if (!larger.slots)
			return -ENOMEM;
		for (size_t i = 0; i < d->slots_n; i++)
			if (d->slots[i])
				put(&larger, d->slots[i]);
		free(d->slots);
		*d = larger;
	}
	put(d, hash);
	return 0;
}

static struct fold_dir *find(struct tree_fold *fold, uint64_t ino)
{
	for (size_t i = 0; i < DIRS_N; i++)
		if (fold->dirs[i].ino == ino)
			return &fold->dirs[i];
	return NULL;
}

static struct fold_dir *oldest(struct tree_fold *fold)
{
	struct fold_dir *found = &fold->dirs[0];

	for (size_t i = 1; i < DIRS_N; i++)
		if (fold->dirs[i].used < found->used)
			found = &fold->dirs[i];
	return found;
}

/* Calls fn for each name until it returns nonzero, which is given. */
static int each_name(struct tree *tree, uint64_t dir,
		     int (*fn)(void *arg, uint64_t ino, const char *name), void *arg)
{
	sqlite3_stmt *s = tree->w[W_NAMES];
	int r;

	sqlite3_bind_int64(s, 1, (int64_t)dir);
	while ((r = db_step(s)) > 0) {
		r = fn(arg, (uint64_t)sqlite3_column_int64(s, 0),
		       (const char *)sqlite3_column_text(s, 1));
		if (r != 0) {
			(void)sqlite3_reset(s);
			return r;
		}
	}
	return r;
}

static int add_name(void *arg, uint64_t ino, const char *name)
{
	return add(arg, hash_of(name));
}

static int load(struct tree *tree, uint64_t dir, struct fold_dir **ret)
{
	struct fold_dir *d;
	int r;

	if (!tree->fold)
		tree->fold = calloc(1, sizeof(*tree->fold));
	if (!tree->fold)
		return -ENOMEM;
	d = find(tree->fold, dir);
	if (!d) {
		d = oldest(tree->fold);
		drop(d);
		r = each_name(tree, dir, add_name, d);
		if (r < 0) {
			drop(d);
			return r;
		}
		d->ino = dir;
	}
	d->used = ++tree->fold->clock;
	*ret = d;
	return 0;
}

struct wanted {
	const char *name;
	size_t len;
	uint64_t but_ino;
};

static int is_same(void *arg, uint64_t ino, const char *name)
{
	const struct wanted *w = arg;

	return ino != w->but_ino && itemname_is_same(w->name, w->len, name, strlen(name));
}

int tree_fold_is_taken(struct tree *tree, uint64_t dir, const char *name, uint64_t but_ino)
{
	struct wanted wanted = { .name = name, .len = strlen(name), .but_ino = but_ino };
	struct fold_dir *d;
	int r = load(tree, dir, &d);

	if (r < 0 || d->names_n == 0 || !has(d, hash_of(name)))
		return r;
	return each_name(tree, dir, is_same, &wanted);
}

void tree_fold_note(struct tree *tree, int64_t dir, const char *name)
{
	struct fold_dir *d = tree->fold && dir > 0 ? find(tree->fold, (uint64_t)dir) : NULL;

	if (d && add(d, hash_of(name)) < 0)
		drop(d);
}

void tree_fold_free(struct tree *tree)
{
	for (size_t i = 0; tree->fold && i < DIRS_N; i++)
		drop(&tree->fold->dirs[i]);
	free(tree->fold);
	tree->fold = NULL;
}

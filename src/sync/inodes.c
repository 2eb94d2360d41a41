#include "inodes.h"

#include "mutex.h"
#include "tree.h"

#include <errno.h>
#include <string.h>

enum { TABLE_MIN = 64, STALE_MAX = 4096, BARE_MAX = 4096 };

/* Open addressing with linear probing; a slot with ino 0 is free. Grows at 3/4. */
struct slot {
	uint64_t ino, n;
};

struct table {
	struct slot *v;
	size_t cap, used; /* cap is a power of two, or 0 */
};

/* Values of the stale table. */
enum { STALE_ONCE = 1, STALE_EXPECTED };

struct inodes {
	size_t budget; /* const once in use */

	struct mutex lock; /* MUTEX_RANK_INODES; guards what follows */
	struct table dirs, files, open, stale, bare;
	bool all_stale; /* the stale table was full */
};

/* Numbers are consecutive: a multiplication spreads them (the golden ratio's bits). */
static size_t home_of(const struct table *t, uint64_t ino)
{
	return (size_t)((ino * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (t->cap - 1);
}

static struct slot *find(const struct table *t, uint64_t ino)
{
	if (t->cap == 0 || ino == 0)
		return NULL;
	for (size_t i = home_of(t, ino);; i = (i + 1) & (t->cap - 1)) {
		if (t->v[i].ino == ino)
			return &t->v[i];
		if (t->v[i].ino == 0)
			return NULL;
	}
}

static struct slot *place(struct table *t, uint64_t ino)
{
	size_t i = home_of(t, ino);

	while (t->v[i].ino != 0)
		i = (i + 1) & (t->cap - 1);
	t->v[i].ino = ino;
	t->used++;
	return &t->v[i];
}

static int resize(struct table *t, size_t cap)
{
	struct table bigger = { calloc(cap, sizeof(struct slot)), cap, 0 };

	if (!bigger.v)
		return -ENOMEM;
	for (size_t i = 0; i < t->cap; i++) {
		if (t->v[i].ino != 0)
			place(&bigger, t->v[i].ino)->n = t->v[i].n;
	}
	free(t->v);
	*t = bigger;
	return 0;
}

/* Finds or adds; NULL when there is no memory. */
static struct slot *ensure(struct table *t, uint64_t ino)
{
	struct slot *s = find(t, ino);

	if (s)
		return s;
	if ((t->used + 1) * 4 > t->cap * 3 && resize(t, t->cap ? t->cap * 2 : TABLE_MIN) < 0)
		return NULL;
	s = place(t, ino);
	s->n = 0;
	return s;
}

/* Closes the gap, so that no probe ends too early. */
static void erase(struct table *t, struct slot *s)
{
	size_t mask = t->cap - 1, gap = (size_t)(s - t->v);

	for (size_t i = (gap + 1) & mask; t->v[i].ino != 0; i = (i + 1) & mask) {
		size_t home = home_of(t, t->v[i].ino);

		if (((i - home) & mask) >= ((i - gap) & mask)) {
			t->v[gap] = t->v[i];
			gap = i;
		}
	}
	t->v[gap] = (struct slot){ 0 };
	t->used--;
	if (t->cap > TABLE_MIN && t->used * 8 < t->cap)
		(void)resize(t, t->cap / 2); /* stays large without memory */
}

static bool drop(struct table *t, uint64_t ino, uint64_t n)
{
	struct slot *s = find(t, ino);

	if (!s)
		return false;
	s->n = s->n > n ? s->n - n : 0;
	if (s->n == 0)
		erase(t, s);
	return true;
}

int inodes_new(struct inodes **ret)
{
	struct inodes *inodes = calloc(1, sizeof(*inodes));

	if (!inodes)
		return -ENOMEM;
	inodes->budget = INODES_BUDGET;
	mutex_init(&inodes->lock, MUTEX_RANK_INODES);
	*ret = inodes;
	return 0;
}

void inodes_free(struct inodes *inodes)
{
	if (!inodes)
		return;
	mutex_fini(&inodes->lock);
	free(inodes->dirs.v);
	free(inodes->files.v);
	free(inodes->open.v);
	free(inodes->stale.v);
	free(inodes->bare.v);
	free(inodes);
}

static int ref(struct inodes *inodes, struct table *t, uint64_t ino)
{
	struct slot *s;

	mutex_lock(&inodes->lock);
	s = ensure(t, ino);
	if (s)
		s->n++;
	mutex_unlock(&inodes->lock);
	return s ? 0 : -ENOMEM;
}

static bool has(struct inodes *inodes, const struct table *t, uint64_t ino)
{
	bool found;

	mutex_lock(&inodes->lock);
	found = find(t, ino) != NULL;
	mutex_unlock(&inodes->lock);
	return found;
}

int inodes_ref_dir(struct inodes *inodes, uint64_t ino)
{
	return ref(inodes, &inodes->dirs, ino);
}

int inodes_ref_file(struct inodes *inodes, uint64_t ino)
{
	return ref(inodes, &inodes->files, ino);
}

void inodes_forget(struct inodes *inodes, uint64_t ino, uint64_t n)
{
	mutex_lock(&inodes->lock);
	/* Row numbers are not used again, so an inode is of one kind for ever. */
	if (!drop(&inodes->files, ino, n))
		drop(&inodes->dirs, ino, n);
	mutex_unlock(&inodes->lock);
}

bool inodes_is_dir_known(struct inodes *inodes, uint64_t ino)
{
	return ino == TREE_ROOT_INO || has(inodes, &inodes->dirs, ino);
}

size_t inodes_dirs_n(struct inodes *inodes)
{
	size_t n;

	mutex_lock(&inodes->lock);
	n = inodes->dirs.used + (find(&inodes->dirs, TREE_ROOT_INO) ? 0 : 1);
	mutex_unlock(&inodes->lock);
	return n;
}

static size_t known_n(const struct inodes *inodes)
{
	return inodes->dirs.used + inodes->files.used;
}

size_t inodes_known_n(struct inodes *inodes)
{
	size_t n;

	mutex_lock(&inodes->lock);
	n = known_n(inodes);
	mutex_unlock(&inodes->lock);
	return n;
}

void inodes_set_budget(struct inodes *inodes, size_t budget)
{
	inodes->budget = budget;
}

bool inodes_has_room(struct inodes *inodes)
{
	return inodes_known_n(inodes) < inodes->budget;
}

void inodes_note_bare(struct inodes *inodes, uint64_t dir)
{
	mutex_lock(&inodes->lock);
	if (inodes->bare.used < BARE_MAX)
		(void)ensure(&inodes->bare, dir); /* without memory: as when there are too many */
	mutex_unlock(&inodes->lock);
}

size_t inodes_take_bare(struct inodes *inodes, uint64_t *v, size_t max)
{
	size_t n = 0;

	mutex_lock(&inodes->lock);
	if (inodes->bare.used > 0 && known_n(inodes) < inodes->budget - inodes->budget / 8) {
		for (size_t i = 0; i < inodes->bare.cap && n < max; i++)
			if (inodes->bare.v[i].ino != 0)
				v[n++] = inodes->bare.v[i].ino;
		for (size_t i = 0; i < n; i++)
			erase(&inodes->bare, find(&inodes->bare, v[i]));
	}
	mutex_unlock(&inodes->lock);
	return n;
}

int inodes_ref_open(struct inodes *inodes, uint64_t ino)
{
	return ref(inodes, &inodes->open, ino);
}

void inodes_unref_open(struct inodes *inodes, uint64_t ino)
{
	mutex_lock(&inodes->lock);
	drop(&inodes->open, ino, 1);
	mutex_unlock(&inodes->lock);
}

bool inodes_is_open(struct inodes *inodes, uint64_t ino)
{
	return has(inodes, &inodes->open, ino);
}

static size_t copy(const struct table *t, uint64_t *v)
{
	size_t n = 0;

	for (size_t i = 0; i < t->cap; i++) {
		if (t->v[i].ino != 0)
			v[n++] = t->v[i].ino;
	}
	return n;
}

int inodes_snapshot(struct inodes *inodes, bool with_files, uint64_t **ret_v, size_t *ret_n)
{
	uint64_t *v;
	size_t n = 0;

	mutex_lock(&inodes->lock);
	v = malloc((known_n(inodes) + inodes->open.used + 1) * sizeof(*v));
	if (v) {
		if (!find(&inodes->dirs, TREE_ROOT_INO))
			v[n++] = TREE_ROOT_INO;
		n += copy(&inodes->dirs, v + n);
		n += copy(&inodes->open, v + n);
		if (with_files)
			n += copy(&inodes->files, v + n);
	}
	mutex_unlock(&inodes->lock);
	if (!v)
		return -ENOMEM;
	*ret_v = v;
	*ret_n = n;
	return 0;
}

static void mark_stale(struct inodes *inodes, uint64_t ino, uint64_t how)
{
	struct slot *s = NULL;

	mutex_lock(&inodes->lock);
	if (find(&inodes->stale, ino) || inodes->stale.used < STALE_MAX)
		s = ensure(&inodes->stale, ino);
	if (s)
		s->n = how;
	else
		inodes->all_stale = true;
	mutex_unlock(&inodes->lock);
}

void inodes_expect_stale(struct inodes *inodes, uint64_t ino)
{
	mark_stale(inodes, ino, STALE_EXPECTED);
}

void inodes_set_stale(struct inodes *inodes, uint64_t ino)
{
	mark_stale(inodes, ino, STALE_ONCE);
}

void inodes_settle_stale(struct inodes *inodes)
{
	mutex_lock(&inodes->lock);
	for (size_t i = 0; i < inodes->stale.cap; i++) {
		if (inodes->stale.v[i].ino != 0)
			inodes->stale.v[i].n = STALE_ONCE;
	}
	mutex_unlock(&inodes->lock);
}

bool inodes_take_stale(struct inodes *inodes, uint64_t ino)
{
	struct slot *s;
	bool stale;

	mutex_lock(&inodes->lock);
	s = find(&inodes->stale, ino);
	stale = s || inodes->all_stale;
	if (s && s->n == STALE_ONCE)
		erase(&inodes->stale, s);
	mutex_unlock(&inodes->lock);
	return stale;
}

void inodes_clear_stale(struct inodes *inodes)
{
	mutex_lock(&inodes->lock);
	free(inodes->stale.v);
	inodes->stale = (struct table){ 0 };
	inodes->all_stale = false;
	mutex_unlock(&inodes->lock);
}

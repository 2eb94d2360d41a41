#define LOG_MODULE "check"
#include "check.h"

#include "log.h"
#include "tree_pending.h"
#include "tree_row.h"

#include <errno.h>
#include <string.h>

enum { SEEN_MAX = 16 * 1024 * 1024, SEEN_FIRST = 1024, SCAN_ROWS = 20000 };

struct check {
	struct tree *tree;
	uint64_t note; /* the tree's counter at the beginning */
	uint64_t *seen;
	size_t seen_n, seen_cap;
	bool is_sorted;
	uint64_t after;                     /* inode number of the last row that was looked at */
	char *suspects[CHECK_SUSPECTS_MAX]; /* NULL: acquitted */
	size_t suspects_n;
};

int check_new(struct tree *tree, struct check **ret)
{
	struct check *check = calloc(1, sizeof(*check));

	if (!check)
		return -ENOMEM;
	check->tree = tree;
	check->note = tree_note(tree);
	check->after = TREE_ROOT_INO;
	*ret = check;
	return 0;
}

void check_free(struct check *check)
{
	if (!check)
		return;
	for (size_t i = 0; i < check->suspects_n; i++)
		free(check->suspects[i]);
	free(check->seen);
	free(check);
}

static int note_seen(struct check *check, const char *id)
{
	if (check->seen_n == check->seen_cap) {
		size_t cap = check->seen_cap ? check->seen_cap * 2 : SEEN_FIRST;
		uint64_t *seen;

		if (cap > SEEN_MAX)
			return -E2BIG;
		seen = realloc(check->seen, cap * sizeof(*seen));
		if (!seen)
			return -ENOMEM;
		check->seen = seen;
		check->seen_cap = cap;
	}
	check->seen[check->seen_n++] = (uint64_t)tree_id_hash(id);
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_seen(const struct check *check, const char *id)
{
	uint64_t h = (uint64_t)tree_id_hash(id);

	return bsearch(&h, check->seen, check->seen_n, sizeof(h), compare) != NULL;
}

int check_page(struct check *check, const struct item_page *page, struct change_set **ret_changes)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < page->n; i++)
		if (!page->items[i].deleted)
			r = note_seen(check, page->items[i].id);
	/* Of these nothing is known but that they are there. */
	for (size_t i = 0; r == 0 && i < page->bad_n; i++)
		r = note_seen(check, page->bad[i].id);
	if (r < 0)
		return r;
	r = tree_begin(check->tree);
	if (r == 0)
		r = tree_merge_items(check->tree, page->items, page->n, check->note, NULL);
	return tree_end(check->tree, r, ret_changes);
}

/* 1: its folder is there, as far as the enumeration knows. */
static int is_topmost(struct check *check, const struct tree_row *row)
{
	struct tree_row parent;
	int r;

	if (row->parent == TREE_ROOT_INO || row->parent == TREE_ORPHAN)
		return row->parent == TREE_ROOT_INO;
	r = tree_row_get(check->tree, (uint64_t)row->parent, &parent);
	if (r <= 0)
		return r;
	r = is_seen(check, parent.id);
	tree_row_fini(&parent);
	return r;
}

static int look_at(struct check *check, const struct tree_row *row)
{
	int r;

	if (row->attr.seq > check->note || tree_local_is_id(row->id) || is_seen(check, row->id))
		return 0;
	r = is_topmost(check, row);
	if (r <= 0)
		return r;
	check->suspects[check->suspects_n] = strdup(row->id);
	return check->suspects[check->suspects_n++] ? 0 : -ENOMEM;
}

int check_scan(struct check *check)
{
	if (!check->is_sorted) {
		qsort(check->seen, check->seen_n, sizeof(check->seen[0]), compare);
		check->is_sorted = true;
	}
	for (int n = 0; n < SCAN_ROWS; n++) {
		struct tree_row row;
		int r;

		if (check->suspects_n == CHECK_SUSPECTS_MAX)
			return 0;
		r = tree_row_next(check->tree, check->after, &row);
		if (r <= 0)
			return r;
		check->after = row.attr.ino;
		r = look_at(check, &row);
		tree_row_fini(&row);
		if (r < 0)
			return r;
	}
	return 1;
}

char *const *check_suspects(const struct check *check, size_t *ret_n)
{
	*ret_n = check->suspects_n;
	return check->suspects;
}

void check_acquit(struct check *check, size_t i)
{
	free(take_ptr(&check->suspects[i]));
}

/* 1: deleted; 0: delta was quicker. */
static int delete_suspect(struct check *check, const char *id)
{
	struct tree_row row;
	int r = tree_row_by_id(check->tree, id, &row);

	if (r <= 0)
		return r;
	if (row.attr.seq > check->note) {
		r = 0;
	} else {
		log_info("item %s is gone, which delta did not tell", id);
		r = tree_place_delete(check->tree, &row);
		r = r < 0 ? r : 1;
	}
	tree_row_fini(&row);
	return r;
}

int check_delete(struct check *check, size_t *ret_n, struct change_set **ret_changes)
{
	int r = tree_begin(check->tree);
	size_t n = 0;

	for (size_t i = 0; r >= 0 && i < check->suspects_n; i++) {
		r = check->suspects[i] ? delete_suspect(check, check->suspects[i]) : 0;
		n += r > 0;
	}
	r = tree_end(check->tree, r > 0 ? 0 : r, ret_changes);
	if (r < 0)
		return r;
	for (size_t i = 0; i < check->suspects_n; i++)
		free(check->suspects[i]);
	check->suspects_n = 0;
	*ret_n = n;
	return 0;
}

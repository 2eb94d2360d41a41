#include "view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int take_entry(void *arg, const struct tree_attr *attr, const char *name)
{
	struct view *view = arg;

	assert_true(view->n < VIEW_MAX);
	view->v[view->n].attr = *attr;
	snprintf(view->v[view->n++].name, sizeof(view->v[0].name), "%s", name);
	return 0;
}

void view_take(struct tree *tree, struct view *ret)
{
	ret->n = 1;
	ret->v[0] = (struct entry){ .name = "" };
	assert_int_equal(tree_get(tree, TREE_ROOT_INO, &ret->v[0].attr), 0);
	for (size_t i = 0; i < ret->n; i++)
		if (ret->v[i].attr.kind == TREE_DIR)
			assert_int_equal(tree_list(tree, ret->v[i].attr.ino, 0, take_entry, ret),
					 0);
}

struct entry *view_find(struct view *view, uint64_t ino)
{
	for (size_t i = 0; i < view->n; i++)
		if (view->v[i].attr.ino == ino)
			return &view->v[i];
	return NULL;
}

static struct entry *find_name(struct view *view, uint64_t parent, const char *name)
{
	for (size_t i = 1; i < view->n; i++)
		if (view->v[i].attr.parent == parent && strcmp(view->v[i].name, name) == 0)
			return &view->v[i];
	return NULL;
}

static void path_of(struct view *view, uint64_t ino, char *ret, size_t size)
{
	struct entry *e = view_find(view, ino);

	assert_non_null(e);
	if (ino == TREE_ROOT_INO) {
		ret[0] = '\0';
		return;
	}
	path_of(view, e->attr.parent, ret, size);
	snprintf(ret + strlen(ret), size - strlen(ret), "%s%s", ret[0] ? "/" : "", e->name);
}

static struct entry *check_dir(struct view *view, uint64_t ino, const char *path)
{
	char want[4096];
	struct entry *dir = view_find(view, ino);

	assert_non_null(dir);
	assert_int_equal(dir->attr.kind, TREE_DIR);
	path_of(view, ino, want, sizeof(want));
	assert_non_null(path);
	assert_string_equal(path, want);
	return dir;
}

static void create(struct view *view, const struct change *c)
{
	assert_null(find_name(view, c->parent, c->name));
	assert_null(view_find(view, c->attr.ino));
	assert_true(view->n < VIEW_MAX);
	assert_int_equal(c->attr.parent, c->parent);
	view->v[view->n] = (struct entry){ .attr = c->attr };
	snprintf(view->v[view->n++].name, sizeof(view->v[0].name), "%s", c->name);
}

static void erase(struct view *view, struct entry *e)
{
	for (size_t i = 1; i < view->n; i++)
		assert_int_not_equal(view->v[i].attr.parent, e->attr.ino);
	*e = view->v[--view->n];
}

static void move(struct view *view, struct entry *e, const struct change *c)
{
	struct entry *up = check_dir(view, c->to_parent, c->to_dir_path);

	assert_null(find_name(view, c->to_parent, c->to_name));
	for (; up->attr.ino != TREE_ROOT_INO; up = view_find(view, up->attr.parent))
		assert_int_not_equal(up->attr.ino, e->attr.ino);
	e->attr.parent = c->to_parent;
	snprintf(e->name, sizeof(e->name), "%s", c->to_name);
}

static void replay_one(struct view *view, const struct change *c)
{
	struct entry *e;

	if (c->parent == 0) { /* the root's own times */
		assert_int_equal(c->kind, CHANGE_ATTR);
		return;
	}
	check_dir(view, c->parent, c->dir_path);
	if (c->kind == CHANGE_CREATE) {
		create(view, c);
		return;
	}
	e = find_name(view, c->parent, c->name);
	assert_non_null(e);
	assert_int_equal(e->attr.ino, c->kind == CHANGE_CONTENT ? c->old_ino : c->attr.ino);
	if (c->kind == CHANGE_DELETE)
		erase(view, e);
	else if (c->kind == CHANGE_MOVE)
		move(view, e, c);
	else
		e->attr = c->attr;
}

void view_replay(struct view *view, const struct change_set *set)
{
	if (!set)
		return;
	assert_false(set->bulk);
	assert_true(set->n > 0);
	for (size_t i = 0; i < set->n; i++)
		replay_one(view, &set->v[i]);
}

void view_check(struct view *replayed, struct view *now, bool may_discover)
{
	for (size_t i = 0; i < replayed->n; i++) {
		struct entry *was = &replayed->v[i];
		struct entry *is = view_find(now, was->attr.ino);

		assert_non_null(is);
		assert_string_equal(is->name, was->name);
		assert_int_equal(is->attr.parent, was->attr.parent);
		assert_int_equal(is->attr.kind, was->attr.kind);
		assert_int_equal(is->attr.cid, was->attr.cid);
		assert_int_equal(is->attr.size, was->attr.size);
		if (is->attr.kind == TREE_FILE)
			assert_int_equal(is->attr.mtime_ns, was->attr.mtime_ns);
	}
	if (!may_discover)
		assert_int_equal(now->n, replayed->n);
}

void view_print(const struct view *view)
{
	for (size_t i = 0; i < view->n; i++)
		print_message("  %3llu in %3llu %s%s\n", (unsigned long long)view->v[i].attr.ino,
			      (unsigned long long)view->v[i].attr.parent, view->v[i].name,
			      view->v[i].attr.kind == TREE_DIR ? "/" : "");
}

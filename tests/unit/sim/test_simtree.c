#include "simtree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int make(void **state)
{
	struct simtree *t = malloc(sizeof(*t));

	simtree_init(t);
	*state = t;
	return 0;
}

static int unmake(void **state)
{
	simtree_fini(*state);
	free(*state);
	return 0;
}

static uint32_t add(struct simtree *t, uint32_t folder, const char *name, unsigned flags)
{
	uint32_t n = SIMTREE_NONE;

	assert_int_equal(simtree_add(t, folder, name, strlen(name), flags, &n), 0);
	return n;
}

static void test_names(void **state)
{
	struct simtree *t = *state;
	uint32_t root = t->root[0], n, other;

	n = add(t, root, "Straße", 0);
	assert_int_equal(simtree_child(t, root, "STRASSE", 7), n);
	assert_int_equal(simtree_add(t, root, "strasse", 7, 0, &other), -EEXIST);
	/* Composed and decomposed are two names for this service. */
	add(t, root, "\xc3\xa9", 0);
	add(t, root, "e\xcc\x81", 0);
	/* Planted bytes that are no UTF-8 equal themselves only. */
	n = add(t, root, "\xff\xfe", 0);
	assert_int_equal(simtree_child(t, root, "\xff\xfe", 2), n);
	assert_int_equal(simtree_child(t, root, "\xff", 1), SIMTREE_NONE);
	assert_int_equal(simtree_add(t, root, "", 0, 0, &other), -EINVAL);
	/* A case-only rename is a change, not a collision with itself. */
	n = add(t, root, "readme", 0);
	assert_int_equal(simtree_move(t, n, root, "README", 6), 0);
}

static void test_paths(void **state)
{
	struct simtree *t = *state;
	uint32_t a = add(t, t->root[0], "a", SIMTREE_FOLDER), b = add(t, a, "b", SIMTREE_FOLDER);
	uint32_t c = add(t, b, "c.txt", 0);
	char *path = simtree_path(t, c);

	assert_string_equal(path, "a/b/c.txt");
	free(path);
	assert_int_equal(simtree_find(t, t->root[0], "/a//B/C.TXT"), c);
	assert_int_equal(simtree_find(t, t->root[1], "a"), SIMTREE_NONE);
	assert_int_equal(simtree_move(t, a, b, "a", 1), -EINVAL);
	assert_int_equal(simtree_move(t, c, t->root[0], "c.txt", 5), 0);
	assert_int_equal(simtree_get(t, b)->child_n, 0);
	assert_int_equal(simtree_find(t, t->root[0], "c.txt"), c);
}

/* The log is in the order of the latest change of each item, both ways. */
static unsigned check_log(struct simtree *t, unsigned drive)
{
	uint64_t before = 0;
	uint32_t prev = SIMTREE_NONE;
	unsigned n = 0;

	for (uint32_t at = t->log_first[drive]; at; at = simtree_get(t, at)->log_next, n++) {
		assert_int_equal(simtree_get(t, at)->log_prev, prev);
		assert_true(simtree_get(t, at)->seq > before);
		before = simtree_get(t, at)->seq;
		prev = at;
	}
	assert_int_equal(t->log_last[drive], prev);
	return n;
}

static void test_log(void **state)
{
	struct simtree *t = *state;
	uint32_t items[50];

	for (unsigned i = 0; i < 50; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", i);
		items[i] = add(t, t->root[0], name, 0);
	}
	for (unsigned i = 0; i < 200; i++)
		simtree_touch(t, items[i * 7 % 50], i % 2);
	assert_int_equal(check_log(t, 0), 51);
	assert_int_equal(t->log_last[0], items[199 * 7 % 50]);
	assert_int_equal(check_log(t, 1), 1);
}

static void test_delete(void **state)
{
	struct simtree *t = *state;
	uint32_t top = add(t, t->root[0], "top", SIMTREE_FOLDER), at = top;

	/* Deep: nothing may recurse. */
	for (unsigned i = 0; i < 20000; i++) {
		add(t, at, "file", 0);
		at = add(t, at, "d", SIMTREE_FOLDER);
	}
	simtree_delete(t, top);
	assert_false(simtree_is_alive(t, at));
	assert_false(simtree_is_alive(t, top));
	assert_int_equal(simtree_get(t, t->root[0])->child_n, 0);
	assert_int_equal(t->log_last[0], top);
	/* The name is free again, the number is not used again. */
	assert_true(add(t, t->root[0], "top", 0) > at);
	check_log(t, 0);
}

static void test_many(void **state)
{
	struct simtree *t = *state;

	for (unsigned i = 0; i < 20000; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%u", i);
		add(t, t->root[0], name, 0);
	}
	for (unsigned i = 0; i < 20000; i += 97) {
		char name[16];
		int n = snprintf(name, sizeof(name), "N%u", i);

		assert_int_not_equal(simtree_child(t, t->root[0], name, (size_t)n), SIMTREE_NONE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_names, make, unmake),
		cmocka_unit_test_setup_teardown(test_paths, make, unmake),
		cmocka_unit_test_setup_teardown(test_log, make, unmake),
		cmocka_unit_test_setup_teardown(test_delete, make, unmake),
		cmocka_unit_test_setup_teardown(test_many, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

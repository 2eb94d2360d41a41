#include "inodes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static int setup(void **state)
{
	struct inodes *inodes;

	if (inodes_new(&inodes) < 0)
		return -1;
	*state = inodes;
	return 0;
}

static int teardown(void **state)
{
	inodes_free(*state);
	return 0;
}

static void test_root_is_known_for_ever(void **state)
{
	assert_true(inodes_is_dir_known(*state, 1));
	assert_int_equal(inodes_dirs_n(*state), 1);
	assert_int_equal(inodes_ref_dir(*state, 1), 0);
	assert_int_equal(inodes_dirs_n(*state), 1);
	inodes_forget(*state, 1, 100);
	assert_true(inodes_is_dir_known(*state, 1));
}

static void test_lookups_are_counted(void **state)
{
	assert_int_equal(inodes_ref_dir(*state, 7), 0);
	assert_int_equal(inodes_ref_dir(*state, 7), 0);
	inodes_forget(*state, 7, 1);
	assert_true(inodes_is_dir_known(*state, 7));
	inodes_forget(*state, 7, 1);
	assert_false(inodes_is_dir_known(*state, 7));
	inodes_forget(*state, 7, 1);  /* one too many */
	inodes_forget(*state, 99, 5); /* a file */
	assert_int_equal(inodes_dirs_n(*state), 1);
}

static void test_open_files_are_counted(void **state)
{
	assert_int_equal(inodes_ref_open(*state, 5), 0);
	assert_int_equal(inodes_ref_open(*state, 5), 0);
	inodes_unref_open(*state, 5);
	assert_true(inodes_is_open(*state, 5));
	inodes_unref_open(*state, 5);
	assert_false(inodes_is_open(*state, 5));
}

/* Against an array, with numbers that collide and gaps that close. */
static void test_many(void **state)
{
	enum { N = 5000 };
	static uint8_t model[N];
	unsigned seed = 42;
	size_t known = 0;

	for (int i = 0; i < 200000; i++) {
		uint64_t ino = 2 + (uint64_t)rand_r(&seed) % (N - 2);

		if (rand_r(&seed) % 2 && model[ino] < 200) {
			assert_int_equal(inodes_ref_dir(*state, ino * 4096), 0);
			model[ino]++;
		} else if (model[ino] > 0) {
			inodes_forget(*state, ino * 4096, 1);
			model[ino]--;
		}
	}
	for (uint64_t ino = 2; ino < N; ino++) {
		assert_int_equal(inodes_is_dir_known(*state, ino * 4096), model[ino] > 0);
		known += model[ino] > 0;
		inodes_forget(*state, ino * 4096, model[ino]);
	}
	assert_true(known > 100);
	assert_int_equal(inodes_dirs_n(*state), 1);
}

static void test_snapshot(void **state)
{
	uint64_t *v, sum = 0;
	size_t n;

	assert_int_equal(inodes_ref_dir(*state, 10), 0);
	assert_int_equal(inodes_ref_open(*state, 100), 0);
	assert_int_equal(inodes_snapshot(*state, false, &v, &n), 0);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++)
		sum += v[i];
	assert_int_equal(sum, 111);
	free(v);
	assert_int_equal(inodes_ref_file(*state, 1000), 0);
	assert_int_equal(inodes_snapshot(*state, true, &v, &n), 0);
	assert_int_equal(n, 4);
	free(v);
}

static void test_budget(void **state)
{
	uint64_t dirs[4];

	inodes_set_budget(*state, 16);
	for (uint64_t ino = 10; ino < 26; ino++) {
		assert_true(inodes_has_room(*state));
		assert_int_equal(
			ino % 2 ? inodes_ref_dir(*state, ino) : inodes_ref_file(*state, ino), 0);
		/* Known already: no more room is taken. */
		assert_int_equal(
			ino % 2 ? inodes_ref_dir(*state, ino) : inodes_ref_file(*state, ino), 0);
	}
	assert_false(inodes_has_room(*state));
	assert_int_equal(inodes_known_n(*state), 16);
	for (uint64_t dir = 1; dir <= 3; dir++)
		inodes_note_bare(*state, dir);
	inodes_note_bare(*state, 3);
	inodes_forget(*state, 10, 2);
	inodes_forget(*state, 11, 2);
	assert_true(inodes_has_room(*state));
	assert_int_equal(inodes_take_bare(*state, dirs, 4), 0); /* not an eighth yet */
	inodes_forget(*state, 12, 1);
	assert_int_equal(inodes_take_bare(*state, dirs, 4), 0);
	inodes_forget(*state, 12, 1);
	assert_int_equal(inodes_take_bare(*state, dirs, 2), 2);
	assert_int_equal(inodes_take_bare(*state, dirs + 2, 2), 1);
	assert_int_equal(dirs[0] + dirs[1] + dirs[2], 6);
	assert_int_equal(inodes_take_bare(*state, dirs, 4), 0);
	for (uint64_t ino = 13; ino < 26; ino++)
		inodes_forget(*state, ino, 2);
	assert_int_equal(inodes_known_n(*state), 0);
}

static void test_stale_is_taken_once(void **state)
{
	assert_false(inodes_take_stale(*state, 3));
	inodes_set_stale(*state, 3);
	assert_true(inodes_take_stale(*state, 3));
	assert_false(inodes_take_stale(*state, 3));
}

/* However the opens lie around the commit, one after it refuses the old pages. */
static void test_expected_stale_outlives_opens_before_the_commit(void **state)
{
	inodes_expect_stale(*state, 3);
	assert_true(inodes_take_stale(*state, 3));
	assert_true(inodes_take_stale(*state, 3));
	inodes_settle_stale(*state);
	assert_true(inodes_take_stale(*state, 3));
	assert_false(inodes_take_stale(*state, 3));
}

static void test_full_stale_set_distrusts_everything(void **state)
{
	for (uint64_t ino = 2; ino < 6000; ino++)
		inodes_set_stale(*state, ino);
	assert_true(inodes_take_stale(*state, 1000000));
	assert_true(inodes_take_stale(*state, 1000000));
	inodes_clear_stale(*state);
	assert_false(inodes_take_stale(*state, 1000000));
	assert_false(inodes_take_stale(*state, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_root_is_known_for_ever, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lookups_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open_files_are_counted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_snapshot, setup, teardown),
		cmocka_unit_test_setup_teardown(test_budget, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stale_is_taken_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_expected_stale_outlives_opens_before_the_commit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full_stale_set_distrusts_everything, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Rows in memory over a real tree: never behind it, whoever commits meanwhile, and not too many. */
#include "rig.h"

#include "rows.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { READERS_N = 2, COMMITS_N = 300 };

struct env {
	struct rig rig;
	struct rows *rows;
	uint64_t ino;
	atomic_bool is_over;
	atomic_uint behind_n, from_memory_n;
};

static void commit(struct env *env, unsigned version)
{
	char body[512];

	snprintf(body, sizeof(body), RIG_LISTED(RIG_ROOT "," RIG_FILE("F", "f.txt", "R", "c%u")),
		 version);
	rig_seed(&env->rig, body, RIG_LINK("1"));
}

/* As the database has it; 0 when it cannot be read. Any thread. */
static uint64_t cid_now(struct env *env)
{
	struct tree_attr attr;

	return tree_get(env->rig.tree, env->ino, &attr) == 0 ? attr.cid : 0;
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	assert_non_null(env);
	rig_init(&env->rig);
	assert_int_equal(rows_new(env->rig.tree, &env->rows), 0);
	commit(env, 0);
	env->ino = rig_ino(&env->rig, "F");
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	rows_free(env->rows);
	rig_fini(&env->rig);
	free(env);
	return 0;
}

static struct row *get(struct env *env, uint64_t ino)
{
	struct row *row;

	assert_int_equal(rows_get(env->rows, ino, &row), 0);
	return row;
}

static void test_a_row_counts_until_the_next_commit(void **state)
{
	struct env *env = *state;
	struct row *first = get(env, env->ino), *second, *third;
	uint64_t cid = first->meta.attr.cid;

	assert_string_equal(first->meta.id, "F");
	assert_string_equal(first->meta.ctag, "c0");
	assert_false(rows_is_current(env->rows, first));
	rows_keep(env->rows, first);
	assert_true(rows_is_current(env->rows, first));
	second = get(env, env->ino);
	assert_ptr_equal(second, first);
	rows_unref(second);
	commit(env, 1);
	assert_false(rows_is_current(env->rows, first));
	second = get(env, env->ino);
	assert_string_equal(second->meta.ctag, "c1");
	assert_true(second->meta.attr.cid > cid);
	rows_keep(env->rows, second);
	third = get(env, env->ino);
	assert_ptr_equal(third, second);
	assert_string_equal(first->meta.ctag, "c0");
	rows_unref(first);
	rows_unref(second);
	rows_unref(third);
	rig_seed(&env->rig, RIG_LISTED(RIG_GONE("F")), RIG_LINK("1"));
	assert_int_equal(rows_get(env->rows, env->ino, &first), -ENOENT);
}

static void test_the_date_of_use_stays_with_the_content(void **state)
{
	struct env *env = *state;
	struct row *row = get(env, env->ino);

	row->used = 7;
	rows_keep(env->rows, row);
	rows_unref(row);
	/* Another file: the content is the same. */
	rig_seed(&env->rig, RIG_LISTED(RIG_FILE("G", "g.txt", "R", "x")), RIG_LINK("1"));
	row = get(env, env->ino);
	assert_int_equal(row->used, 0);
	rows_keep(env->rows, row);
	assert_int_equal(row->used, 7);
	rows_unref(row);
	commit(env, 1);
	row = get(env, env->ino);
	rows_keep(env->rows, row);
	assert_int_equal(row->used, 0);
	rows_unref(row);
}

static void *read_on(void *arg)
{
	struct env *env = arg;

	while (!env->is_over) {
		uint64_t seen = cid_now(env);
		struct row *row;

		if (rows_get(env->rows, env->ino, &row) < 0)
			continue;
		env->behind_n += row->meta.attr.cid < seen;
		seen = cid_now(env);
		if (rows_is_current(env->rows, row)) {
			env->behind_n += row->meta.attr.cid < seen;
			env->from_memory_n++;
		}
		rows_keep(env->rows, row);
		rows_unref(row);
	}
	return NULL;
}

/* Not even behind what the database has already shown while its commit was on the way. */
static void test_no_reader_is_behind_a_commit(void **state)
{
	struct env *env = *state;
	pthread_t readers[READERS_N];

	for (size_t i = 0; i < READERS_N; i++)
		assert_int_equal(pthread_create(&readers[i], NULL, read_on, env), 0);
	for (unsigned i = 1; i <= COMMITS_N; i++) {
		unsigned before = env->from_memory_n;

		commit(env, i);
		/* So that each commit meets rows in memory. */
		while (env->from_memory_n == before)
			sched_yield();
	}
	env->is_over = true;
	for (size_t i = 0; i < READERS_N; i++)
		pthread_join(readers[i], NULL);
	assert_int_equal(env->behind_n, 0);
}

enum { TAG_BYTES = 1000, PAGE_ITEMS = 500, FILES_N = ROWS_BYTES_MAX / TAG_BYTES + PAGE_ITEMS };

static void add_files(struct env *env, const char *tag)
{
	size_t size = PAGE_ITEMS * (TAG_BYTES + 200), len;
	char *body = malloc(size);

	assert_non_null(body);
	for (int i = 0; i < FILES_N;) {
		len = (size_t)sprintf(body, "{\"value\":[" RIG_ROOT);
		for (int k = 0; k < PAGE_ITEMS && i < FILES_N; k++, i++)
			len += (size_t)snprintf(body + len, size - len,
						"," RIG_FILE("N%d", "n%d", "R", "%s"), i, i, tag);
		snprintf(body + len, size - len, "]}");
		rig_seed(&env->rig, body, RIG_LINK("1"));
	}
	free(body);
}

/* More than there is room for: the one asked for now and then stays, the first of the others goes.
 */
static void test_memory_is_bounded(void **state)
{
	struct env *env = *state;
	struct row *first = NULL, *again, *stays;
	char tag[TAG_BYTES + 1] = "";

	memset(tag, 't', TAG_BYTES);
	add_files(env, tag);
	stays = get(env, env->ino);
	rows_keep(env->rows, stays);
	for (int i = 0; i < FILES_N; i++) {
		char id[16];
		struct row *row;

		snprintf(id, sizeof(id), "N%d", i);
		row = get(env, rig_ino(&env->rig, id));
		assert_string_equal(row->meta.ctag, tag);
		rows_keep(env->rows, row);
		if (i == 0)
			first = row;
		else
			rows_unref(row);
		again = get(env, env->ino);
		assert_ptr_equal(again, stays);
		rows_unref(again);
	}
	again = get(env, first->meta.attr.ino);
	assert_ptr_not_equal(again, first);
	rows_unref(again);
	rows_unref(first);
	rows_unref(stays);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_a_row_counts_until_the_next_commit),
		T(test_the_date_of_use_stays_with_the_content),
		T(test_no_reader_is_behind_a_commit),
		T(test_memory_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

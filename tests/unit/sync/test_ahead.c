#include "ahead.h"
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { FILES_N = 100, STARTED_MAX = 400, MIB = 1 << 20 };

/* One fetch, as the source sees it. */
struct fetching {
	uint64_t ino;
	void (*done)(void *arg);
	void *arg;
	bool is_over;
};

struct env {
	struct rig rig;
	struct ahead *ahead;
	uint64_t dir, other;
	uint64_t looked_n;
	atomic_bool is_done_at_once, is_here, is_unstoppable;

	pthread_mutex_t lock; /* what follows */
	struct fetching started[STARTED_MAX];
	unsigned n, stopped_n, freed_n;
};

/* --- the source --- */

static int start_one(void *arg, uint64_t ino, void (*done)(void *done_arg), void *done_arg,
		     void **ret)
{
	struct env *env = arg;
	struct fetching *f;

	if (env->is_here)
		return 1;
	pthread_mutex_lock(&env->lock);
	f = &env->started[env->n++];
	*f = (struct fetching){ .ino = ino, .done = done, .arg = done_arg };
	f->is_over = env->is_done_at_once;
	pthread_mutex_unlock(&env->lock);
	*ret = f;
	if (f->is_over)
		done(done_arg);
	return 0;
}

static struct env *the_env; /* stop and free are not told whose job it is */

static bool stop_one(void *job)
{
	struct fetching *f = job;
	bool stops;

	pthread_mutex_lock(&the_env->lock);
	stops = !f->is_over && !the_env->is_unstoppable;
	f->is_over = f->is_over || stops;
	the_env->stopped_n += stops;
	pthread_mutex_unlock(&the_env->lock);
	return stops;
}

static void free_one(void *job)
{
	pthread_mutex_lock(&the_env->lock);
	the_env->freed_n++;
	pthread_mutex_unlock(&the_env->lock);
}

/* Ends everything that is on its way. */
static void finish_all(struct env *env)
{
	for (unsigned i = 0; i < env->n; i++) {
		struct fetching *f = &env->started[i];
		bool is_mine;

		pthread_mutex_lock(&env->lock);
		is_mine = !f->is_over;
		f->is_over = true;
		pthread_mutex_unlock(&env->lock);
		if (is_mine)
			f->done(f->arg);
	}
}

/* --- set up --- */

/* Files of one folder; listed as numbered, named in another order: 0, 37, 74, 11 ... */
static void seed(struct env *env, const char *dir, unsigned n, unsigned size)
{
	char *body = NULL;
	size_t len;
	FILE *f = open_memstream(&body, &len);

	assert_non_null(f);
	(void)fprintf(f,
		      "{\"value\":[{\"id\":\"%s\",\"name\":\"%s\",\"folder\":{},"
		      "\"parentReference\":{\"driveId\":\"D\",\"id\":\"R\"}}",
		      dir, dir);
	for (unsigned i = 0; i < n; i++)
		(void)fprintf(f,
			      ",{\"id\":\"%s%u\",\"name\":\"f%05u\",\"size\":%u,\"cTag\":\"c\","
			      "\"file\":{},\"parentReference\":{\"driveId\":\"D\",\"id\":\"%s\"}}",
			      dir, i, i * 37 % n, size, dir);
	(void)fprintf(f, "],\"@odata.deltaLink\":\"%s\"}", RIG_LINK("1"));
	(void)fclose(f);
	rig_seed(&env->rig, body, RIG_LINK("1"));
	free(body);
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	rig_init(&env->rig);
	pthread_mutex_init(&env->lock, NULL);
	the_env = env;
	seed(env, "A", FILES_N, 8192);
	seed(env, "B", FILES_N, 8192);
	env->dir = rig_ino(&env->rig, "A");
	env->other = rig_ino(&env->rig, "B");
	*state = env;
	return ahead_new(env->rig.loop, env->rig.tree,
			 &(struct ahead_source){
				 .arg = env,
				 .start = start_one,
				 .stop = stop_one,
				 .free = free_one,
			 },
			 &env->ahead);
}

static int teardown(void **state)
{
	struct env *env = *state;

	ahead_free(env->ahead);
	assert_int_equal(env->freed_n, env->n); /* each given back once */
	rig_fini(&env->rig);
	free(env);
	return 0;
}

/* --- reading --- */

static uint64_t ino_of(struct env *env, const char *dir, unsigned i)
{
	char id[32];

	snprintf(id, sizeof(id), "%s%u", dir, i);
	return rig_ino(&env->rig, id);
}

static struct ahead_stats stats(struct env *env)
{
	struct ahead_stats s;

	ahead_get_stats(env->ahead, &s);
	return s;
}

/* The file is read for the first time; returns when that was looked at. */
static void read_cached(struct env *env, const char *dir, unsigned i, bool is_cached)
{
	const struct tree_attr attr = {
		.ino = ino_of(env, dir, i),
		.parent = dir[0] == 'A' ? env->dir : env->other,
	};

	ahead_note(env->ahead, &attr, is_cached);
	env->looked_n++;
	while (stats(env).looked_n < env->looked_n)
		usleep(100);
}

static void read_one(struct env *env, const char *dir, unsigned i)
{
	read_cached(env, dir, i, false);
}

static bool was_started(struct env *env, const char *dir, unsigned i)
{
	uint64_t ino = ino_of(env, dir, i);

	for (unsigned k = 0; k < env->n; k++) {
		if (env->started[k].ino == ino)
			return true;
	}
	return false;
}

/* The file that comes after so many others in the order of names. */
static unsigned named(unsigned rank)
{
	for (unsigned i = 0;; i++) {
		if (i * 37 % FILES_N == rank)
			return i;
	}
}

/* --- tests --- */

static void test_third_in_a_row_starts_it(void **state)
{
	struct env *env = *state;

	read_one(env, "A", 10);
	read_one(env, "A", 11);
	assert_int_equal(env->n, 0);
	read_one(env, "A", 12);
	assert_int_equal(env->n, 4);
	for (unsigned i = 13; i < 17; i++)
		assert_true(was_started(env, "A", i));
}

static void test_order_of_names(void **state)
{
	struct env *env = *state;

	for (unsigned i = 20; i < 22; i++)
		read_one(env, "A", named(i));
	assert_int_equal(env->n, 0);
	read_one(env, "A", named(22));
	assert_int_equal(env->n, 4);
	for (unsigned i = 23; i < 27; i++)
		assert_true(was_started(env, "A", named(i)));
}

static void test_it_goes_farther_with_each_file(void **state)
{
	static const unsigned reach[] = { 0, 0, 4, 8, 16, 32, 32, 32 };
	struct env *env = *state;

	env->is_done_at_once = true;
	for (unsigned i = 0; i < 8; i++) {
		read_one(env, "A", i);
		assert_int_equal(env->n, reach[i] ? i + reach[i] - 2 : 0);
	}
}

static void test_each_file_once_to_the_end(void **state)
{
	struct env *env = *state;

	env->is_done_at_once = true;
	for (unsigned i = 0; i < FILES_N; i++)
		read_cached(env, "A", i, i > 4);
	assert_int_equal(env->n, FILES_N - 3);
	for (unsigned i = 3; i < FILES_N; i++)
		assert_int_equal(env->started[i - 3].ino, ino_of(env, "A", i));
}

/* A folder with more files than are looked at in one go. */
static void test_large_folder(void **state)
{
	enum { N = 300 };
	struct env *env = *state;

	seed(env, "AA", N, 100);
	env->dir = rig_ino(&env->rig, "AA");
	env->is_done_at_once = true;
	for (unsigned i = 0; i < N; i++)
		read_one(env, "AA", i);
	assert_int_equal(env->n, N - 3);
	for (unsigned i = 3; i < N; i++)
		assert_int_equal(env->started[i - 3].ino, ino_of(env, "AA", i));
}

static void test_files_on_their_way_are_bounded(void **state)
{
	struct env *env = *state;

	for (unsigned i = 0; i < 30; i++)
		read_one(env, "A", i);
	assert_int_equal(stats(env).running_n, AHEAD_FILES_MAX);
	finish_all(env);
	while (stats(env).running_n > 0)
		usleep(100);
	read_one(env, "A", 30);
	assert_true(stats(env).running_n > 0);
}

static void test_bytes_on_their_way_are_bounded(void **state)
{
	struct env *env = *state;

	seed(env, "A2", 60, AHEAD_SMALL_BYTES);
	env->dir = rig_ino(&env->rig, "A2");
	for (unsigned i = 0; i < 20; i++)
		read_one(env, "A2", i);
	assert_int_equal(stats(env).running_n, AHEAD_BYTES_MAX / AHEAD_SMALL_BYTES);
}

static void test_large_files_are_left_alone(void **state)
{
	struct env *env = *state;

	seed(env, "A3", 20, AHEAD_SMALL_BYTES + 1);
	seed(env, "A4", 20, 0);
	env->dir = rig_ino(&env->rig, "A3");
	for (unsigned i = 0; i < 10; i++)
		read_one(env, "A3", i);
	env->dir = rig_ino(&env->rig, "A4");
	for (unsigned i = 0; i < 10; i++)
		read_one(env, "A4", i);
	assert_int_equal(env->n, 0);
}

static void test_no_order_starts_nothing(void **state)
{
	static const unsigned order[] = { 5, 90, 40, 62, 15, 77, 28, 52, 3, 97 };
	struct env *env = *state;

	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		read_one(env, "A", order[i]);
	assert_int_equal(env->n, 0);
}

static void test_leaving_the_order_cancels(void **state)
{
	struct env *env = *state;

	for (unsigned i = 0; i < 4; i++)
		read_one(env, "A", i);
	assert_int_equal(stats(env).running_n, 9);
	read_one(env, "A", 80);
	assert_int_equal(stats(env).running_n, 0);
	assert_int_equal(env->stopped_n, 9);
	read_one(env, "A", 81);
	read_one(env, "A", 82);
	assert_true(was_started(env, "A", 83));
}

/* Several readers share one order, and leave some out: *.c of a folder, xargs -P. */
static void test_late_and_left_out(void **state)
{
	static const unsigned order[] = { 1, 3, 2, 4, 7, 6, 9, 12 };
	struct env *env = *state;

	env->is_done_at_once = true;
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		read_one(env, "A", order[i]);
	assert_true(was_started(env, "A", 13));
	assert_true(was_started(env, "A", 30));
	assert_int_equal(env->stopped_n, 0);
}

static void test_next_folder_starts_with_its_first_file(void **state)
{
	struct env *env = *state;

	env->is_done_at_once = true;
	for (unsigned i = 0; i < 6; i++)
		read_one(env, "A", named(i));
	env->n = env->freed_n = 0;
	read_one(env, "B", named(0));
	assert_int_equal(env->n, 4);
	assert_true(was_started(env, "B", named(1)));
}

static void test_cached_files_are_not_looked_at(void **state)
{
	struct env *env = *state;
	const struct tree_attr attr = { .ino = ino_of(env, "A", 0), .parent = env->dir };

	for (unsigned i = 0; i < 100; i++)
		ahead_note(env->ahead, &attr, true);
	read_one(env, "A", 0);
	assert_int_equal(stats(env).looked_n, 1);
}

static void test_what_is_here_counts_for_nothing(void **state)
{
	struct env *env = *state;

	env->is_here = true;
	for (unsigned i = 0; i < 50; i++)
		read_one(env, "A", i);
	assert_int_equal(stats(env).running_n, 0);
	assert_int_equal(stats(env).started_n, 0);
}

static void test_silence_cancels(void **state)
{
	struct env *env = *state;

	for (unsigned i = 0; i < 4; i++)
		read_one(env, "A", i);
	assert_int_equal(stats(env).running_n, 9);
	for (int i = 0; i < 300 && stats(env).running_n > 0; i++)
		rig_turn_ms(&env->rig, 100);
	assert_int_equal(stats(env).running_n, 0);
	assert_int_equal(env->stopped_n, 9);
}

static void *finish_later(void *arg)
{
	usleep(20000); /* only to let the end begin, most often */
	finish_all(arg);
	return NULL;
}

/* What can no longer be stopped ends by itself, and is waited for. */
static void test_the_end_waits_for_what_is_being_told(void **state)
{
	struct env *env = *state;
	pthread_t thread;

	for (unsigned i = 0; i < 6; i++)
		read_one(env, "A", i);
	env->is_unstoppable = true;
	pthread_create(&thread, NULL, finish_later, env);
	ahead_free(env->ahead);
	env->ahead = NULL;
	pthread_join(thread, NULL);
	assert_int_equal(env->freed_n, env->n);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_third_in_a_row_starts_it),
		T(test_order_of_names),
		T(test_it_goes_farther_with_each_file),
		T(test_each_file_once_to_the_end),
		T(test_large_folder),
		T(test_files_on_their_way_are_bounded),
		T(test_bytes_on_their_way_are_bounded),
		T(test_large_files_are_left_alone),
		T(test_no_order_starts_nothing),
		T(test_leaving_the_order_cancels),
		T(test_late_and_left_out),
		T(test_next_folder_starts_with_its_first_file),
		T(test_cached_files_are_not_looked_at),
		T(test_what_is_here_counts_for_nothing),
		T(test_silence_cancels),
		T(test_the_end_waits_for_what_is_being_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

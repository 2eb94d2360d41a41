/*
 * The notifier's queue: who waits for whom. The kernel's part (tell.h) is this file's own: each
 * call waits until the test lets it go, so every order is decided here.
 */
#include "notify.h"

#include "inodes.h"
#include "mutex.h"
#include "tell.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROOT = 1, A = 10, B = 20, CALLS_MAX = 8192, PATIENCE_MS = 20000 };

/* --- in place of the kernel --- */

static struct mutex lock;
static pthread_cond_t changed;
static const char *running[16]; /* names of the changes being told */
static size_t running_n;
static char told[CALLS_MAX][8]; /* in the order in which they began */
static size_t told_n;
static bool is_open_gate; /* calls return at once */
static const char *let_go;
static bool fails;
static unsigned all_n, pages_n;
static bool holds_all, holds_pages;
static struct tell *const the_tell = (struct tell *)&lock;

int tell_new(struct fuse_session *session, dev_t dev, const struct notify_options *options,
	     struct tell **ret)
{
	*ret = the_tell;
	return 0;
}

void tell_free(struct tell *tell)
{
}

void tell_enter(struct tell *tell)
{
}

static void remove_running(const char *name) REQUIRES(lock)
{
	for (size_t i = 0; i < running_n; i++) {
		if (running[i] == name) {
			running[i] = running[--running_n];
			return;
		}
	}
}

bool tell_change(struct tell *tell, const struct change *c)
{
	bool ok;

	mutex_lock(&lock);
	snprintf(told[told_n++ % CALLS_MAX], sizeof(told[0]), "%s", c->name);
	running[running_n++] = c->name;
	pthread_cond_broadcast(&changed);
	while (!is_open_gate && !(let_go && strcmp(let_go, c->name) == 0))
		mutex_wait(&lock, &changed);
	if (!is_open_gate)
		let_go = NULL;
	remove_running(c->name);
	ok = !fails;
	pthread_cond_broadcast(&changed);
	mutex_unlock(&lock);
	return ok;
}

void tell_all(struct tell *tell)
{
	mutex_lock(&lock);
	all_n++;
	pthread_cond_broadcast(&changed);
	while (holds_all)
		mutex_wait(&lock, &changed);
	mutex_unlock(&lock);
}

void tell_drop_pages(struct tell *tell, uint64_t ino)
{
	mutex_lock(&lock);
	pages_n++;
	pthread_cond_broadcast(&changed);
	while (holds_pages)
		mutex_wait(&lock, &changed);
	mutex_unlock(&lock);
}

/* --- watching --- */

#define await(cond)                                                       \
	do {                                                              \
		mutex_lock(&lock);                                        \
		while (!(cond))                                           \
			if (!mutex_wait_ms(&lock, &changed, PATIENCE_MS)) \
				fail_msg("never became true: %s", #cond); \
		mutex_unlock(&lock);                                      \
	} while (0)

static bool is_running(const char *name)
{
	for (size_t i = 0; i < running_n; i++)
		if (strcmp(running[i], name) == 0)
			return true;
	return false;
}

static void let(const char *name)
{
	mutex_lock(&lock);
	let_go = name;
	pthread_cond_broadcast(&changed);
	while (let_go)
		mutex_wait(&lock, &changed);
	mutex_unlock(&lock);
}

static void set(bool *what, bool value)
{
	mutex_lock(&lock);
	*what = value;
	pthread_cond_broadcast(&changed);
	mutex_unlock(&lock);
}

static size_t told_count(void)
{
	size_t n;

	mutex_lock(&lock);
	n = told_n;
	mutex_unlock(&lock);
	return n;
}

/* --- making --- */

struct env {
	struct inodes *inodes;
	struct notify *notify;
};

static int set_up(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	running_n = told_n = 0;
	let_go = NULL;
	is_open_gate = fails = holds_all = holds_pages = false;
	all_n = pages_n = 0;
	assert_int_equal(inodes_new(&env->inodes), 0);
	assert_int_equal(
		notify_new(&(struct notify_options){ .inodes = env->inodes }, &env->notify), 0);
	assert_int_equal(notify_start(env->notify, NULL, 0), 0);
	*state = env;
	return 0;
}

static int tear_down(void **state)
{
	struct env *env = *state;

	set(&holds_all, false);
	set(&holds_pages, false);
	set(&is_open_gate, true);
	notify_stop(env->notify);
	notify_free(env->notify);
	inodes_free(env->inodes);
	free(env);
	return 0;
}

static struct change_set *new_set(void)
{
	return calloc(1, sizeof(struct change_set));
}

static struct change *add(struct change_set *set, enum change_kind kind, uint64_t parent,
			  const char *name)
{
	struct change *c;

	set->v = realloc(set->v, (set->n + 1) * sizeof(*set->v));
	c = &set->v[set->n++];
	*c = (struct change){ .kind = kind, .parent = parent, .name = strdup(name) };
	c->dir_path = strdup("d");
	return c;
}

static void push(struct env *env, enum change_kind kind, uint64_t parent, const char *name)
{
	struct change_set *set = new_set();

	add(set, kind, parent, name);
	notify_push(env->notify, set);
}

static void push_dir(struct env *env, enum change_kind kind, uint64_t parent, const char *name,
		     uint64_t ino, uint64_t to)
{
	struct change_set *set = new_set();
	struct change *c = add(set, kind, parent, name);

	c->attr.kind = TREE_DIR;
	c->attr.ino = ino;
	c->to_parent = to;
	notify_push(env->notify, set);
}

static struct notify_stats stats_of(struct env *env)
{
	struct notify_stats stats;

	notify_get_stats(env->notify, &stats);
	return stats;
}

/* --- order --- */

static void test_order_within_a_directory(void **state)
{
	struct env *env = *state;

	push(env, CHANGE_CREATE, A, "a1");
	push(env, CHANGE_ATTR, A, "a2");
	push(env, CHANGE_DELETE, A, "a3");
	push(env, CHANGE_CREATE, B, "b1"); /* another directory does not wait */
	await(is_running("a1") && is_running("b1"));
	assert_int_equal(told_count(), 2);
	let("a1");
	await(is_running("a2"));
	let("b1");
	assert_int_equal(told_count(), 3);
	let("a2");
	await(is_running("a3"));
	let("a3");
	notify_settle(env->notify);
	assert_int_equal(stats_of(env).replays_n, 4);
	assert_int_equal(stats_of(env).waiting_n, 0);
}

static void test_a_move_belongs_to_both(void **state)
{
	struct env *env = *state;
	struct change_set *set = new_set();
	struct change *c = add(set, CHANGE_MOVE, A, "m");

	c->to_parent = B;
	push(env, CHANGE_CREATE, B, "b1");
	await(is_running("b1"));
	notify_push(env->notify, set);
	push(env, CHANGE_CREATE, A, "a1");
	push(env, CHANGE_CREATE, 30, "c1");
	await(is_running("c1"));
	assert_int_equal(told_count(), 2); /* neither m nor what comes behind it in A */
	let("b1");
	await(is_running("m"));
	assert_int_equal(told_count(), 3);
	let("m");
	await(is_running("a1"));
}

static void test_a_new_folder_before_what_is_in_it(void **state)
{
	struct env *env = *state;

	push_dir(env, CHANGE_CREATE, ROOT, "dir", A, 0);
	push(env, CHANGE_CREATE, A, "in");
	push(env, CHANGE_CREATE, B, "else");
	await(is_running("dir") && is_running("else"));
	assert_int_equal(told_count(), 2);
	let("dir");
	await(is_running("in"));
}

static void test_a_folder_goes_after_what_was_in_it(void **state)
{
	struct env *env = *state;

	push(env, CHANGE_DELETE, A, "in");
	push_dir(env, CHANGE_DELETE, ROOT, "dir", A, 0);
	push(env, CHANGE_CREATE, B, "else");
	await(is_running("in") && is_running("else"));
	assert_int_equal(told_count(), 2);
	let("in");
	await(is_running("dir"));
}

/* Paths of everything below change with a folder's place, known here or not. */
static void test_a_moved_folder_orders_all(void **state)
{
	struct env *env = *state;

	push(env, CHANGE_CREATE, 77, "before");
	push_dir(env, CHANGE_MOVE, ROOT, "move", A, B);
	push(env, CHANGE_CREATE, 78, "after");
	push(env, CHANGE_CREATE, 79, "too");
	await(is_running("before"));
	assert_int_equal(told_count(), 1);
	let("before");
	await(is_running("move"));
	assert_int_equal(told_count(), 2);
	let("move");
	await(is_running("after") && is_running("too"));
}

/* --- parked requests --- */

static void test_gate(void **state)
{
	struct env *env = *state;

	notify_park_begin(env->notify, A);
	notify_park_begin(env->notify, A);
	for (int i = 0; i < 500; i++)
		push(env, CHANGE_CREATE, A, "a");
	push(env, CHANGE_CREATE, B, "b");
	await(is_running("b"));
	assert_int_equal(told_count(), 1);
	notify_park_end(env->notify, A);
	push(env, CHANGE_CREATE, 30, "c");
	await(is_running("c"));
	assert_int_equal(told_count(), 2); /* one still waits */
	notify_park_end(env->notify, A);
	await(is_running("a"));
	set(&is_open_gate, true);
	notify_settle(env->notify);
	assert_int_equal(stats_of(env).replays_n, 502);
}

static void test_many_gates(void **state)
{
	struct env *env = *state;

	/* More than there is room for: those beyond do not wait, and the count stays right. */
	for (uint64_t dir = 100; dir < 500; dir++)
		notify_park_begin(env->notify, dir);
	set(&is_open_gate, true);
	push(env, CHANGE_CREATE, 100, "held");
	push(env, CHANGE_CREATE, 499, "beyond");
	await(told_n == 1);
	assert_string_equal(told[0], "beyond");
	for (uint64_t dir = 100; dir < 500; dir++)
		notify_park_end(env->notify, dir);
	notify_settle(env->notify);
	assert_int_equal(told_count(), 2);
	notify_park_begin(env->notify, 7);
	push(env, CHANGE_CREATE, 7, "again");
	push(env, CHANGE_CREATE, 8, "other");
	await(told_n == 3);
	assert_string_equal(told[2], "other");
	notify_park_end(env->notify, 7);
	notify_settle(env->notify);
}

/* --- too much --- */

static void test_bound(void **state)
{
	struct env *env = *state;

	push(env, CHANGE_CREATE, A, "run");
	await(is_running("run"));
	for (int i = 1; i < NOTIFY_JOBS_MAX; i++)
		push(env, CHANGE_CREATE, A, "a");
	assert_int_equal(stats_of(env).waiting_n, NOTIFY_JOBS_MAX);
	assert_int_equal(stats_of(env).bulks_n, 0);
	push(env, CHANGE_CREATE, B, "straw");
	await(all_n == 1);
	/* What runs, runs; all else is told by the one call, which counts until it has returned. */
	while (stats_of(env).waiting_n != 1)
		sched_yield();
	let("run");
	notify_settle(env->notify);
	assert_int_equal(told_count(), 1);
	assert_int_equal(stats_of(env).bulks_n, 1);
	push(env, CHANGE_CREATE, A, "next");
	await(is_running("next"));
}

static void test_bulk_set(void **state)
{
	struct env *env = *state;
	struct change_set *bulk = new_set();

	bulk->bulk = true;
	set(&holds_all, true);
	notify_push(env->notify, bulk);
	await(all_n == 1);
	/* Asked for again while it runs: once more, not in parallel and not twice. */
	notify_push_all(env->notify);
	notify_push_all(env->notify);
	push(env, CHANGE_CREATE, A, "a");
	await(is_running("a"));
	mutex_lock(&lock);
	assert_int_equal(all_n, 1);
	mutex_unlock(&lock);
	let("a");
	set(&holds_all, false);
	notify_settle(env->notify);
	assert_int_equal(stats_of(env).bulks_n, 2);
}

/* --- pages --- */

static void test_pages_have_a_lane_of_their_own(void **state)
{
	struct env *env = *state;
	const uint64_t inodes[] = { 5, 6 };

	set(&holds_pages, true);
	notify_drop_pages(env->notify, inodes, 2);
	await(pages_n == 1);
	push(env, CHANGE_CREATE, A, "a");
	await(is_running("a"));
	let("a");
	set(&holds_pages, false);
	notify_settle(env->notify);
	assert_int_equal(pages_n, 2);
}

static void test_pages_of_open_files_stay(void **state)
{
	struct env *env = *state;
	struct change_set *set_ = new_set();

	add(set_, CHANGE_CONTENT, A, "open")->old_ino = 5;
	add(set_, CHANGE_CONTENT, A, "shut")->old_ino = 6;
	assert_int_equal(inodes_ref_open(env->inodes, 5), 0);
	set(&is_open_gate, true);
	notify_push(env->notify, set_);
	notify_settle(env->notify);
	assert_int_equal(pages_n, 1);
	inodes_unref_open(env->inodes, 5);
}

/* --- the end --- */

static void test_failed_replays_are_counted(void **state)
{
	struct env *env = *state;

	set(&fails, true);
	set(&is_open_gate, true);
	push(env, CHANGE_CREATE, A, "a");
	notify_settle(env->notify);
	assert_int_equal(stats_of(env).fallbacks_n, 1);
	assert_int_equal(stats_of(env).replays_n, 0);
}

static void *settle(void *arg)
{
	struct env *env = arg;

	notify_settle(env->notify);
	return NULL;
}

static void test_stop_with_work_left(void **state)
{
	struct env *env = *state;
	pthread_t thread;

	notify_park_begin(env->notify, A);
	for (int i = 0; i < 100; i++)
		push(env, CHANGE_CREATE, A, "a");
	assert_int_equal(pthread_create(&thread, NULL, settle, env), 0);
	notify_stop(env->notify);
	pthread_join(thread, NULL);
	assert_int_equal(told_count(), 0);
	push(env, CHANGE_CREATE, B, "late");
	notify_park_end(env->notify, A);
	notify_stop(env->notify);
	assert_int_equal(told_count(), 0);
}

#define one(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		one(test_order_within_a_directory),
		one(test_a_move_belongs_to_both),
		one(test_a_new_folder_before_what_is_in_it),
		one(test_a_folder_goes_after_what_was_in_it),
		one(test_a_moved_folder_orders_all),
		one(test_gate),
		one(test_many_gates),
		one(test_bound),
		one(test_bulk_set),
		one(test_pages_have_a_lane_of_their_own),
		one(test_pages_of_open_files_stay),
		one(test_failed_replays_are_counted),
		one(test_stop_with_work_left),
	};

	mutex_init(&lock, MUTEX_RANK_LOG);
	mutex_cond_init(&changed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}

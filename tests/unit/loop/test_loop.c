#include "loop.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { POSTS_N = 10000 };

struct order {
	struct loop *loop;
	int next, wrong;
	struct {
		struct loop_call call;
		struct order *order;
		int number;
	} posts[POSTS_N];
};

static void on_post(void *arg)
{
	int *number = arg;
	struct order *o = *(struct order **)(void *)((char *)number - sizeof(void *));

	o->wrong += *number != o->next++ || !loop_is_current(o->loop);
	if (o->next == POSTS_N)
		loop_stop(o->loop);
}

static void *post_all(void *arg)
{
	struct order *o = arg;

	for (int i = 0; i < POSTS_N; i++) {
		o->posts[i].order = o;
		o->posts[i].number = i;
		loop_post(o->loop, &o->posts[i].call, on_post, &o->posts[i].number);
	}
	return NULL;
}

static void test_posts_run_in_order(void **state)
{
	static struct order o;
	pthread_t thread;

	assert_int_equal(loop_new(&o.loop), 0);
	pthread_create(&thread, NULL, post_all, &o);
	assert_int_equal(loop_run(o.loop), 0);
	pthread_join(thread, NULL);
	assert_int_equal(o.next, POSTS_N);
	assert_int_equal(o.wrong, 0);
	loop_free(o.loop);
}

struct timers {
	struct loop *loop;
	struct loop_timer first, second, never;
	char order[8];
	int n;
};

static void on_first(void *arg)
{
	struct timers *t = arg;

	t->order[t->n++] = '1';
	loop_timer_disarm(&t->never);
}

static void on_second(void *arg)
{
	struct timers *t = arg;

	t->order[t->n++] = '2';
	loop_stop(t->loop);
}

static void on_never(void *arg)
{
	struct timers *t = arg;

	t->order[t->n++] = 'x';
}

static void test_timers(void **state)
{
	struct timers t = { 0 };

	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(loop_timer_init(&t.first, t.loop, on_first, &t), 0);
	assert_int_equal(loop_timer_init(&t.second, t.loop, on_second, &t), 0);
	assert_int_equal(loop_timer_init(&t.never, t.loop, on_never, &t), 0);
	loop_timer_arm(&t.second, 30);
	loop_timer_arm(&t.never, 20);
	loop_timer_arm(&t.first, 5);
	assert_true(loop_timer_is_armed(&t.first));
	assert_int_equal(loop_run(t.loop), 0);
	assert_string_equal(t.order, "12");
	loop_timer_fini(&t.first);
	loop_timer_fini(&t.first);
	loop_timer_fini(&t.second);
	loop_timer_fini(&t.never);
	loop_free(t.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_posts_run_in_order),
		cmocka_unit_test(test_timers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

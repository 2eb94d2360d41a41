#include "lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { JOBS_N = 1000 };

struct run {
	struct loop *loop;
	struct lane *lane;
	struct lane_job jobs[JOBS_N];
	int worked, done;
	bool wrong_lane, wrong_loop; /* each written by one thread */
};

static void on_work(void *arg)
{
	struct run *run = arg;

	run->worked++; /* one thread: no two jobs at a time */
	run->wrong_lane |= !lane_is_current(run->lane);
}

static void on_done(void *arg)
{
	struct run *run = arg;

	run->wrong_loop |= !loop_is_current(run->loop);
	if (++run->done == JOBS_N)
		loop_stop(run->loop);
}

static void test_jobs_run_and_report(void **state)
{
	static struct run run;

	assert_int_equal(loop_new(&run.loop), 0);
	assert_int_equal(lane_new(run.loop, "test", 1, &run.lane), 0);
	for (int i = 0; i < JOBS_N; i++)
		lane_push(run.lane, &run.jobs[i], on_work, on_done, &run);
	assert_int_equal(loop_run(run.loop), 0);
	lane_free(run.lane);
	assert_int_equal(run.worked, JOBS_N);
	assert_int_equal(run.done, JOBS_N);
	assert_false(run.wrong_lane || run.wrong_loop);
	loop_free(run.loop);
}

static void test_free_finishes_what_was_pushed(void **state)
{
	static struct run run;

	assert_int_equal(lane_new(NULL, "test", 1, &run.lane), 0);
	for (int i = 0; i < JOBS_N; i++)
		lane_push(run.lane, &run.jobs[i], on_work, NULL, &run);
	lane_free(run.lane);
	assert_int_equal(run.worked, JOBS_N);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jobs_run_and_report),
		cmocka_unit_test(test_free_finishes_what_was_pushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

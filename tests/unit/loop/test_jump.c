#include "jump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct run {
	struct loop *loop;
	int jumps_n;
};

/* To what it is: no other program is disturbed, but the kernel calls it a jump. */
static void set_clock(void *arg)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (clock_settime(CLOCK_REALTIME, &now) < 0)
		loop_stop(((struct run *)arg)->loop);
}

static void on_jump(void *arg)
{
	struct run *run = arg;

	if (++run->jumps_n == 2)
		loop_stop(run->loop);
	else
		set_clock(run);
}

static void test_each_jump_is_told(void **state)
{
	struct run run = { 0 };
	struct loop_call call;
	struct jump *jump;

	if (geteuid() != 0)
		skip();
	assert_int_equal(loop_new(&run.loop), 0);
	assert_int_equal(jump_new(run.loop, on_jump, &run, &jump), 0);
	loop_post(run.loop, &call, set_clock, &run);
	assert_int_equal(loop_run(run.loop), 0);
	assert_int_equal(run.jumps_n, 2);
	jump_free(jump);
	jump_free(NULL);
	loop_free(run.loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_each_jump_is_told) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}

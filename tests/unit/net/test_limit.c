#include "limit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_takers_wait_for_one_another(void **state)
{
	struct limit l = { .bytes_s = 1000 };

	assert_int_equal(limit_take(&l, 500, 10000), 0);
	assert_int_equal(limit_take(&l, 2000, 10000), 500);
	assert_int_equal(limit_take(&l, 1, 10100), 2400);
	/* What was not used is lost. */
	assert_int_equal(limit_take(&l, 1000, 60000), 0);
	assert_int_equal(limit_take(&l, 1000, 60000), 1000);
}

static void test_no_limit(void **state)
{
	struct limit l = { 0 };

	assert_int_equal(limit_take(&l, UINT64_MAX, 1), 0);
	assert_int_equal(limit_take(&l, UINT64_MAX, 1), 0);
	/* A limit that is lifted is over at once. */
	l = (struct limit){ .bytes_s = 1 };
	assert_int_equal(limit_take(&l, 100, 0), 0);
	l.bytes_s = 0;
	assert_int_equal(limit_take(&l, 100, 0), 0);
	l.bytes_s = 1;
	assert_int_equal(limit_take(&l, 100, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_takers_wait_for_one_another),
		cmocka_unit_test(test_no_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

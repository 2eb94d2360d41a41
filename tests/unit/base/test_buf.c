#include "buf.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void test_grows_up_to_its_maximum(void **state)
{
	struct buf b;

	buf_init(&b, 600);
	for (int i = 0; i < 6; i++) {
		char block[100];

		memset(block, 'a' + i, sizeof(block));
		assert_int_equal(buf_append(&b, block, sizeof(block)), 0);
	}
	assert_int_equal(buf_append(&b, "x", 1), -EFBIG);
	assert_int_equal(buf_append(&b, "x", SIZE_MAX), -EFBIG);
	assert_int_equal(b.len, 600);
	assert_int_equal(b.data[599], 'f');
	assert_int_equal(b.data[600], '\0');
	buf_fini(&b);
	buf_fini(&b);
}

static void test_consume_and_take(void **state)
{
	struct buf b;
	char *s;

	buf_init(&b, 100);
	assert_int_equal(buf_printf(&b, "%d:%s", 42, "rest"), 0);
	buf_consume(&b, 3);
	assert_string_equal(b.data, "rest");
	s = buf_take_str(&b);
	assert_string_equal(s, "rest");
	free(s);
	s = buf_take_str(&b);
	assert_string_equal(s, "");
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_up_to_its_maximum),
		cmocka_unit_test(test_consume_and_take),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "pace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

/* What one request should bring, for a line of this kind. */
static const struct {
	uint64_t first_us, bytes_s, segment_min, segment_max;
} lines[] = {
	{ 50000, 2000000, 1900000, 2200000 },     /* a second's worth */
	{ 20000, 10000000, 3900000, 4200000 },    /* twenty times the wait */
	{ 100, 100000000, MIB, MIB },             /* near: waiting costs nothing */
	{ 50000, 500000000, 16 * MIB, 16 * MIB }, /* fast and far: as much as may be */
	{ 3000000, 100000, MIB, MIB },            /* slow: never less */
	{ UINT64_MAX, 1 << 30, 16 * MIB, 16 * MIB },
};

static void test_segments_follow_the_line(void **state)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		struct pace pace;

		pace_init(&pace);
		assert_int_equal(pace_segment(&pace), PACE_SEGMENT_MIN);
		for (int k = 0; k < 30; k++) {
			pace_note_first(&pace, lines[i].first_us);
			pace_note_bytes(&pace, MIB, MIB * UINT64_C(1000000) / lines[i].bytes_s);
		}
		assert_in_range(pace_segment(&pace), lines[i].segment_min, lines[i].segment_max);
		assert_in_range(pace_window(&pace), pace_segment(&pace) * PACE_CONNECTIONS,
				pace_segment(&pace) * 2 * PACE_CONNECTIONS);
	}
}

static void test_few_bytes_say_nothing(void **state)
{
	struct pace pace;

	pace_init(&pace);
	pace_note_first(&pace, 50000);
	pace_note_bytes(&pace, 4096, 1);
	assert_int_equal(pace.bytes_s, 0);
	assert_int_equal(pace_segment(&pace), PACE_SEGMENT_MIN);
}

static void test_one_outlier_does_not_decide(void **state)
{
	struct pace pace;
	uint64_t before;

	pace_init(&pace);
	for (int k = 0; k < 10; k++) {
		pace_note_first(&pace, 20000);
		pace_note_bytes(&pace, 10000000, 1000000);
	}
	before = pace_segment(&pace);
	pace_note_bytes(&pace, 10000000, 10000000);
	assert_true(pace_segment(&pace) > before / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_follow_the_line),
		cmocka_unit_test(test_few_bytes_say_nothing),
		cmocka_unit_test(test_one_outlier_does_not_decide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define KIB       UINT64_C(1024)
#define MIB       (KIB * 1024)
#define MAX       (64 * MIB)
#define READS_MAX 8

static uint64_t read_at(struct pattern *p, uint64_t off, uint64_t len)
{
	uint64_t ahead;

	(void)pattern_note(p, off, off + len, MAX, &ahead);
	return ahead - (off + len);
}

/* How far beyond the last of some reads the reader is expected. */
static const struct {
	const char *what;
	uint64_t reads[READS_MAX][2]; /* offset, length; ends with a length of 0 */
	uint64_t ahead;
} rows[] = {
	{ "the beginning", { { 0, 128 * KIB } }, MIB },
	{ "anywhere", { { 100 * MIB, 4 * KIB } }, 0 },
	{ "anywhere twice", { { 100 * MIB, 4 * KIB }, { 10 * MIB, 4 * KIB } }, 0 },
	{ "a neighbour", { { 100 * MIB, 4 * KIB }, { 100 * MIB + 8 * KIB, 4 * KIB } }, MIB },
	{ "one farther off", { { 100 * MIB, 4 * KIB }, { 101 * MIB, 4 * KIB } }, 0 },
	{ "the same again", { { 100 * MIB, 4 * KIB }, { 100 * MIB, 4 * KIB } }, 0 },
	{ "in a row", { { 0, MIB }, { MIB, MIB }, { 2 * MIB, MIB } }, 12 * MIB },
	{ "in a row, with a limit",
	  { { 0, 8 * MIB }, { 8 * MIB, 8 * MIB }, { 16 * MIB, MIB } },
	  MAX },
	{ "the kernel's order",
	  { { 0, 128 * KIB }, { 256 * KIB, 128 * KIB }, { 128 * KIB, 128 * KIB } },
	  MIB + 128 * KIB },
	{ "a jump within the window", { { 0, MIB }, { MIB, MIB }, { 6 * MIB, MIB } }, 12 * MIB },
	{ "a seek", { { 0, MIB }, { MIB, MIB }, { 600 * MIB, MIB } }, 0 },
	{ "and back",
	  { { 0, MIB }, { MIB, MIB }, { 600 * MIB, MIB }, { 2 * MIB, MIB } },
	  12 * MIB },
};

static void test_what_is_expected(void **state)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct pattern p = { 0 };
		uint64_t ahead = 0;

		for (size_t j = 0; j < READS_MAX && rows[i].reads[j][1]; j++)
			ahead = read_at(&p, rows[i].reads[j][0], rows[i].reads[j][1]);
		if (ahead != rows[i].ahead)
			fail_msg("%s: %llu KiB", rows[i].what, (unsigned long long)(ahead / KIB));
	}
}

static void test_no_window_no_ahead(void **state)
{
	struct pattern p = { 0 };
	uint64_t ahead;

	for (uint64_t off = 0; off < 10 * MIB; off += MIB) {
		assert_false(pattern_note(&p, off, off + MIB, 0, &ahead));
		assert_int_equal(ahead, off + MIB);
	}
}

/* Four readers in one handle, in turn; the fifth is one too many for the one that waited longest.
 */
static void test_four_at_once(void **state)
{
	struct pattern p = { 0 };

	for (uint64_t i = 0; i < 20; i++) {
		for (uint64_t k = 0; k < 4; k++) {
			uint64_t ahead = read_at(&p, k * 200 * MIB + i * MIB, MIB);

			assert_true(ahead >= (k == 0 || i > 0 ? MIB : 0));
		}
	}
	for (uint64_t k = 0; k < 4; k++)
		assert_true(pattern_wants(&p, (k * 200 + 25) * MIB, (k * 200 + 26) * MIB));
}

static void test_a_seek_stops_the_others(void **state)
{
	struct pattern p = { 0 };

	(void)read_at(&p, 0, 4 * MIB);
	assert_true(pattern_wants(&p, 5 * MIB, 6 * MIB));
	assert_true(pattern_wants(&p, 3 * MIB, 4 * MIB)); /* just passed */
	assert_false(pattern_wants(&p, 0, 2 * MIB));
	assert_false(pattern_wants(&p, 21 * MIB, 22 * MIB));
	(void)read_at(&p, 500 * MIB, 4096);
	assert_false(pattern_wants(&p, 5 * MIB, 6 * MIB));
	(void)read_at(&p, 4 * MIB, 4096);
	assert_true(pattern_wants(&p, 5 * MIB, 6 * MIB));
	pattern_stop(&p);
	assert_false(pattern_wants(&p, 5 * MIB, 6 * MIB));
}

static void test_strides(void **state)
{
	static const int64_t strides[] = { 10 * (int64_t)MIB, -7 * (int64_t)MIB };

	for (size_t k = 0; k < 2; k++) {
		struct pattern p = { 0 };
		const uint64_t size = 200 * MIB;
		uint64_t at = 100 * MIB, off, end;

		for (unsigned i = 0; i < 3; i++) {
			assert_false(pattern_get_stride(&p, 0, size, &off, &end));
			(void)read_at(&p, at, 64 * KIB);
			at += (uint64_t)strides[k];
		}
		(void)read_at(&p, at, 64 * KIB);
		for (unsigned i = 0; i < 2; i++) {
			assert_true(pattern_get_stride(&p, i, size, &off, &end));
			assert_int_equal(off, at + (uint64_t)strides[k] * (i + 1));
			assert_int_equal(end, off + 64 * KIB);
			assert_true(pattern_wants(&p, off, end));
		}
		assert_false(pattern_get_stride(&p, 2, size, &off, &end)); /* seen twice only */
		assert_false(pattern_get_stride(&p, 0, at, &off, &end) && strides[k] > 0);
		(void)read_at(&p, 3 * MIB, 4096);
		assert_false(pattern_get_stride(&p, 0, size, &off, &end));
	}
}

static void test_strides_end_with_the_file(void **state)
{
	struct pattern p = { 0 };
	uint64_t off, end;

	for (unsigned i = 0; i < 4; i++)
		(void)read_at(&p, 100 * MIB - i * 30 * MIB, MIB);
	assert_int_equal(p.off, 10 * MIB);
	assert_false(pattern_get_stride(&p, 0, 200 * MIB, &off, &end)); /* below 0 */
	p = (struct pattern){ 0 };
	for (unsigned i = 0; i < 4; i++)
		(void)read_at(&p, 5 * MIB + i * 10 * MIB, MIB);
	assert_true(pattern_get_stride(&p, 0, 45 * MIB + 100, &off, &end));
	assert_int_equal(end, 45 * MIB + 100);
}

/* Whoever is far ahead already is not looked at for each read. */
static void test_news_are_rare(void **state)
{
	struct pattern p = { 0 };
	unsigned news_n = 0;
	uint64_t ahead;

	for (uint64_t off = 0; off < 512 * MIB; off += 128 * KIB)
		news_n += pattern_note(&p, off, off + 128 * KIB, MAX, &ahead);
	assert_in_range(news_n, 100, 300); /* of 4096 reads */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_expected),
		cmocka_unit_test(test_no_window_no_ahead),
		cmocka_unit_test(test_four_at_once),
		cmocka_unit_test(test_a_seek_stops_the_others),
		cmocka_unit_test(test_strides),
		cmocka_unit_test(test_strides_end_with_the_file),
		cmocka_unit_test(test_news_are_rare),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

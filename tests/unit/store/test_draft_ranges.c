#include "draft_ranges.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 300, ROUNDS = 20000 };

static void check(const struct draft_ranges *r, const bool *in)
{
	size_t k = 0;

	for (uint64_t at = 0; at < N;) {
		uint64_t end = at;
		struct draft_range gap;

		while (end < N && in[end])
			end++;
		if (end > at) {
			assert_true(k < r->n);
			assert_int_equal(r->v[k].off, at);
			assert_int_equal(r->v[k++].end, end);
		}
		for (at = end; end < N && !in[end]; end++)
			;
		assert_int_equal(draft_ranges_gap(r, at, N, &gap), at < N);
		if (at < N) {
			assert_int_equal(gap.off, at);
			assert_int_equal(gap.end, end);
		}
		at = end;
	}
	assert_int_equal(k, r->n);
}

static void test_as_a_plain_array(void **state)
{
	struct draft_ranges r = { 0 };
	bool in[N] = { false };
	unsigned seed = 4;

	for (int i = 0; i < ROUNDS; i++) {
		uint64_t off = (uint64_t)rand_r(&seed) % N, end = off + (uint64_t)rand_r(&seed) % 9;

		end = end > N ? N : end;
		if (i % 20 == 0) {
			draft_ranges_cut(&r, off);
			memset(in + off, 0, N - off);
		} else {
			assert_int_equal(draft_ranges_reserve(&r, off, end, N), 0);
			draft_ranges_add(&r, off, end);
			memset(in + off, 1, end - off);
		}
		check(&r, in);
	}
	draft_ranges_fini(&r);
}

static void test_no_more_than_allowed(void **state)
{
	struct draft_ranges r = { 0 };

	for (uint64_t i = 0; i < 10; i++) {
		assert_int_equal(draft_ranges_reserve(&r, 10 * i, 10 * i + 5, 10), 0);
		draft_ranges_add(&r, 10 * i, 10 * i + 5);
	}
	assert_int_equal(draft_ranges_reserve(&r, 1000, 1001, 10), -ENOBUFS);
	assert_int_equal(draft_ranges_reserve(&r, 1000, 1000, 10), 0);
	/* What touches another needs no room of its own. */
	assert_int_equal(draft_ranges_reserve(&r, 95, 200, 10), 0);
	assert_int_equal(draft_ranges_reserve(&r, 6, 10, 10), 0);
	assert_int_equal(r.n, 10);
	draft_ranges_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_a_plain_array),
		cmocka_unit_test(test_no_more_than_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

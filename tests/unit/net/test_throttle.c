#include "throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Tue, 15 Nov 1994 08:12:31 GMT, the date of RFC 9110's examples. */
enum { NOW_MS = 5000000 };
#define REAL_S INT64_C(784887151)

struct reply {
	const char *name;
	struct http_head head;
	uint64_t wait_ms, person_ms, background_ms; /* from now on */
};

static const struct reply rows[] = {
	{ "fine", { .status = 200 }, 0, 0, 0 },
	{ "fine, with a number", { .status = 200, .retry_after = "7" }, 0, 0, 0 },
	{ "seconds", { .status = 429, .retry_after = "7" }, 7000, 7000, 7000 },
	{ "none at all", { .status = 429 }, 10000, 10000, 10000 },
	{ "none at all, bandwidth", { .status = 509 }, 10000, 10000, 10000 },
	{ "a failure", { .status = 500 }, 0, 0, 0 },
	{ "a failure that asks", { .status = 500, .retry_after = "3" }, 3000, 3000, 3000 },
	{ "not now", { .status = 503 }, 0, 0, 0 },
	{ "no such thing, later", { .status = 404, .retry_after = "1" }, 1000, 1000, 1000 },
	{ "zero", { .status = 429, .retry_after = "0" }, 0, 0, 0 },
	{ "below zero", { .status = 429, .retry_after = "-5" }, 10000, 10000, 10000 },
	{ "a word", { .status = 503, .retry_after = "soon" }, 10000, 10000, 10000 },
	{ "a fraction", { .status = 503, .retry_after = "1.5" }, 10000, 10000, 10000 },
	{ "empty", { .status = 503, .retry_after = "" }, 10000, 10000, 10000 },
	{ "a day", { .status = 429, .retry_after = "86400" }, 21600000, 21600000, 21600000 },
	{ "too large for a number",
	  { .status = 429, .retry_after = "99999999999999999999" },
	  10000,
	  10000,
	  10000 },
	{ "a date",
	  { .status = 503, .retry_after = "Tue, 15 Nov 1994 08:13:01 GMT" },
	  30000,
	  30000,
	  30000 },
	{ "a date of the old form",
	  { .status = 503, .retry_after = "Tuesday, 15-Nov-94 08:12:41 GMT" },
	  10000,
	  10000,
	  10000 },
	{ "a date of C",
	  { .status = 429, .retry_after = "Tue Nov 15 08:12:36 1994" },
	  5000,
	  5000,
	  5000 },
	{ "a date that is over",
	  { .status = 429, .retry_after = "Tue, 15 Nov 1994 08:12:30 GMT" },
	  0,
	  0,
	  0 },
	{ "a date in years",
	  { .status = 429, .retry_after = "Thu, 15 Nov 2094 08:12:30 GMT" },
	  21600000,
	  21600000,
	  21600000 },
	{ "reset is later than Retry-After",
	  { .status = 429, .retry_after = "2", .ratelimit_reset = "9" },
	  9000,
	  9000,
	  9000 },
	{ "Retry-After is later than reset",
	  { .status = 429, .retry_after = "9", .ratelimit_reset = "2" },
	  9000,
	  9000,
	  9000 },
	{ "reset alone", { .status = 429, .ratelimit_reset = "4" }, 4000, 4000, 4000 },
	{ "much is left",
	  { .status = 200,
	    .ratelimit_limit = "1200",
	    .ratelimit_remaining = "120",
	    .ratelimit_reset = "40" },
	  0,
	  0,
	  0 },
	{ "little is left",
	  { .status = 200,
	    .ratelimit_limit = "1200",
	    .ratelimit_remaining = "119",
	    .ratelimit_reset = "40" },
	  0,
	  0,
	  40000 },
	{ "little is left of a window",
	  { .status = 200,
	    .ratelimit_limit = "1200, 1200;w=60",
	    .ratelimit_remaining = "0",
	    .ratelimit_reset = "5" },
	  0,
	  0,
	  5000 },
	{ "advice for too long",
	  { .status = 302,
	    .ratelimit_limit = "10",
	    .ratelimit_remaining = "0",
	    .ratelimit_reset = "999999" },
	  0,
	  0,
	  300000 },
	{ "advice that is none",
	  { .status = 200,
	    .ratelimit_limit = "many",
	    .ratelimit_remaining = "-1",
	    .ratelimit_reset = "9999999999999999999" },
	  0,
	  0,
	  0 },
};

static uint64_t left_ms(const struct throttle *t, enum http_priority priority)
{
	uint64_t at = throttle_until_ms(t, priority);

	return at > NOW_MS ? at - NOW_MS : 0;
}

static void test_table(void **state)
{
	for (size_t i = 0; i < array_n(rows); i++) {
		struct throttle t = { 0 };
		uint64_t wait_ms = throttle_note(&t, &rows[i].head, NOW_MS, REAL_S);

		if (wait_ms != rows[i].wait_ms || left_ms(&t, HTTP_PERSON) != rows[i].person_ms ||
		    left_ms(&t, HTTP_PREFETCH) != rows[i].person_ms ||
		    left_ms(&t, HTTP_BACKGROUND) != rows[i].background_ms)
			fail_msg("%s: %ju ms, person %ju, background %ju", rows[i].name,
				 (uintmax_t)wait_ms, (uintmax_t)left_ms(&t, HTTP_PERSON),
				 (uintmax_t)left_ms(&t, HTTP_BACKGROUND));
	}
}

/* The gate is never opened earlier by somebody else's reply. */
static void test_the_longest_counts(void **state)
{
	struct throttle t = { 0 };

	(void)throttle_note(&t, &(struct http_head){ .status = 429, .retry_after = "60" }, NOW_MS,
			    0);
	(void)throttle_note(&t, &(struct http_head){ .status = 429, .retry_after = "5" }, NOW_MS,
			    0);
	(void)throttle_note(&t, &(struct http_head){ .status = 200 }, NOW_MS, 0);
	assert_int_equal(left_ms(&t, HTTP_PERSON), 60000);
}

static void test_vague_refusals_double(void **state)
{
	static const unsigned waits_s[] = { 10, 20, 40, 80, 120, 120 };
	const struct http_head refused = { .status = 429 }, fine = { .status = 200 };
	struct throttle t = { 0 };
	uint64_t now_ms = NOW_MS;

	for (size_t i = 0; i < array_n(waits_s); i++) {
		assert_int_equal(throttle_note(&t, &refused, now_ms, 0), waits_s[i] * 1000);
		/* Those that were sent at the same time are no further refusals. */
		for (int n = 0; n < 8; n++)
			assert_int_equal(throttle_note(&t, &refused, now_ms + 1000, 0),
					 waits_s[i] * 1000 - 1000);
		now_ms += waits_s[i] * 1000;
	}
	(void)throttle_note(&t, &fine, now_ms, 0);
	assert_int_equal(throttle_note(&t, &refused, now_ms, 0), 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_the_longest_counts),
		cmocka_unit_test(test_vague_refusals_double),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

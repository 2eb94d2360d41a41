#include "urls.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void put(struct urls *urls, uint64_t cid, const char *url, uint64_t since_ms)
{
	struct urls_known known = { .url = strdup(url), .since_ms = since_ms };

	known.tags[1] = strdup("tag");
	urls_put(urls, cid, &known);
	assert_null(known.url);
	assert_null(known.tags[1]);
}

static void test_put_and_take(void **state)
{
	struct urls_known known;
	struct urls *urls;

	assert_int_equal(urls_new(&urls), 0);
	put(urls, 7, "https://host/a", 1000);
	put(urls, 7 + 256, "https://host/b", 1000); /* the same bucket */
	put(urls, 7, "https://host/c", 1000);       /* a newer one */
	assert_int_equal(urls_n(urls), 2);
	assert_int_equal(urls_take(urls, 8, 1000, &known), -ENOENT);
	assert_int_equal(urls_take(urls, 7, 1000, &known), 0);
	assert_string_equal(known.url, "https://host/c");
	assert_string_equal(known.tags[1], "tag");
	urls_known_fini(&known);
	assert_int_equal(urls_take(urls, 7, 1000, &known), -ENOENT);
	assert_int_equal(urls_take(urls, 7 + 256, 1000, &known), 0);
	urls_known_fini(&known);
	urls_free(urls);
}

static void test_old_ones_are_worth_nothing(void **state)
{
	struct urls_known known;
	struct urls *urls;

	assert_int_equal(urls_new(&urls), 0);
	put(urls, 1, "https://host/a", 1000);
	put(urls, 2, "https://host/a", 1000);
	assert_int_equal(urls_take(urls, 1, 999 + URLS_LIFE_MS, &known), 0);
	urls_known_fini(&known);
	assert_int_equal(urls_take(urls, 2, 1000 + URLS_LIFE_MS, &known), -ENOENT);
	assert_int_equal(urls_n(urls), 0);
	urls_free(urls);
}

static void test_number_is_bounded(void **state)
{
	struct urls_known known;
	struct urls *urls;

	assert_int_equal(urls_new(&urls), 0);
	for (uint64_t cid = 1; cid <= URLS_MAX + 100; cid++)
		put(urls, cid, "https://host/a", 0);
	assert_int_equal(urls_n(urls), URLS_MAX);
	assert_int_equal(urls_take(urls, 100, 0, &known), -ENOENT);
	assert_int_equal(urls_take(urls, 101, 0, &known), 0);
	urls_known_fini(&known);
	urls_free(urls);
}

static void test_bytes_are_bounded(void **state)
{
	static char url[20000];
	struct urls *urls;

	memset(url, 'u', sizeof(url) - 1);
	assert_int_equal(urls_new(&urls), 0);
	for (uint64_t cid = 1; cid <= 500; cid++)
		put(urls, cid, url, 0);
	assert_in_range(urls_n(urls), 90, URLS_BYTES_MAX / sizeof(url));
	urls_free(urls);
}

static void test_nothing_is_not_kept(void **state)
{
	struct urls_known known = { 0 };
	struct urls *urls;

	assert_int_equal(urls_new(&urls), 0);
	urls_put(urls, 1, &known);
	assert_int_equal(urls_n(urls), 0);
	urls_free(urls);
	urls_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_take),
		cmocka_unit_test(test_old_ones_are_worth_nothing),
		cmocka_unit_test(test_number_is_bounded),
		cmocka_unit_test(test_bytes_are_bounded),
		cmocka_unit_test(test_nothing_is_not_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "paging.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Pages 0, 1, 2 ... whose links go back to page back_to after page last; how many are followed
 * before somebody notices. 0: nobody does within max. */
static unsigned follow(unsigned last, unsigned back_to, size_t items_n, unsigned max)
{
	struct paging paging = { 0 };
	struct item items[1] = { 0 };
	unsigned at = 0, found = 0;

	for (unsigned n = 1; n <= max && !found; n++) {
		char link[32];
		struct item_page page = { .items = items, .n = items_n, .next_link = link };
		const char *why = "";

		at = at == last ? back_to : at + 1;
		snprintf(link, sizeof(link), "page %u", at);
		if (paging_note(&paging, &page, &why) == 0)
			continue;
		assert_string_not_equal(why, "");
		found = n;
	}
	paging_reset(&paging);
	return found;
}

static void test_circles_are_found(void **state)
{
	static const struct {
		unsigned last, back_to;
	} rows[] = { { 0, 0 }, { 1, 1 }, { 1, 0 }, { 7, 0 }, { 9, 9 }, { 100, 3 }, { 1000, 999 } };

	for (size_t i = 0; i < array_n(rows); i++) {
		unsigned pages = rows[i].last + 1;
		unsigned found = follow(rows[i].last, rows[i].back_to, 1, 10 * pages + 10);

		assert_true(found > rows[i].last);
		assert_true(found <= 4 * pages + 4);
	}
}

static void test_long_runs_are_not_circles(void **state)
{
	assert_int_equal(follow(UINT32_MAX, 0, 1, 20000), 0);
}

static void test_empty_pages_end(void **state)
{
	assert_int_equal(follow(UINT32_MAX, 0, 0, 20000), 1000);
}

static void test_last_page_is_fine(void **state)
{
	struct paging paging = { 0 };
	struct item_page page = { 0 };
	const char *why;

	assert_int_equal(paging_note(&paging, &page, &why), 0);
	paging_reset(&paging);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_circles_are_found),
		cmocka_unit_test(test_long_runs_are_not_circles),
		cmocka_unit_test(test_empty_pages_end),
		cmocka_unit_test(test_last_page_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

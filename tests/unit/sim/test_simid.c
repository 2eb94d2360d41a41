#include "simid.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const uint32_t numbers[] = { 1, 2, 77, 1000, 65535, 1u << 20, UINT32_MAX };

static void test_there_and_back(void **state)
{
	for (unsigned flavour = SIMID_BUSINESS; flavour <= SIMID_CLASSIC; flavour++) {
		for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
			char id[SIMID_MAX];
			uint32_t n = 0;
			bool is_root = true;

			if (flavour == SIMID_CLASSIC && numbers[i] == UINT32_MAX)
				continue; /* there the number is written out, from 1000 on */
			simid_item((enum simid_flavour)flavour, 0, numbers[i], false, id);
			assert_true(simid_find((enum simid_flavour)flavour, 0, id, &n, &is_root));
			assert_false(is_root);
			assert_int_equal(n, numbers[i]);
			/* An id of one drive is none of the other. */
			assert_false(simid_find((enum simid_flavour)flavour, 1, id, &n, &is_root));
		}
	}
}

static void test_shapes(void **state)
{
	char id[SIMID_MAX], drive[SIMID_MAX * 2];

	simid_item(SIMID_BUSINESS, 0, 5, false, id);
	assert_int_equal(strlen(id), 34);
	assert_int_equal(strncmp(id, "01", 2), 0);
	assert_int_equal(strspn(id + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), 32);
	simid_item(SIMID_BUSINESS, 0, 1, true, id);
	assert_string_equal(id + 8, "56Y2GOVW7725BZO354PWSELRRZ");
	simid_item(SIMID_PERSONAL, 0, 5, false, id);
	assert_int_equal(strlen(id), 16 + 2 + 32);
	simid_drive(SIMID_BUSINESS, 0, drive);
	assert_int_equal(strncmp(drive, "b!", 2), 0);
	simid_drive(SIMID_PERSONAL, 0, drive);
	assert_int_equal(strlen(drive), 16);
	for (unsigned i = 0; i < 16; i++)
		assert_true(isxdigit((unsigned char)drive[i]));
}

static void test_case(void **state)
{
	char id[SIMID_MAX];
	uint32_t n;
	bool is_root;

	/* Business ids differ in case, personal ones do not. */
	simid_item(SIMID_BUSINESS, 0, 5, false, id);
	for (char *at = id; *at; at++)
		*at = (char)tolower(*at);
	assert_false(simid_find(SIMID_BUSINESS, 0, id, &n, &is_root));
	simid_item(SIMID_PERSONAL, 0, 5, false, id);
	for (char *at = id; *at; at++)
		*at = (char)tolower(*at);
	assert_true(simid_find(SIMID_PERSONAL, 0, id, &n, &is_root));
	assert_int_equal(n, 5);
}

static void test_nonsense(void **state)
{
	static const char *const ids[] = { "",
					   "01",
					   "!",
					   "01AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
					   "0123456789ABCDEF!s0",
					   "../../etc",
					   "-1",
					   "!999999999999" };

	for (unsigned flavour = SIMID_BUSINESS; flavour <= SIMID_CLASSIC; flavour++) {
		for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
			uint32_t n;
			bool is_root;

			assert_false(
				simid_find((enum simid_flavour)flavour, 0, ids[i], &n, &is_root));
		}
	}
}

static void test_mix(void **state)
{
	for (uint64_t x = 0; x < 100000; x += 7)
		assert_true(simid_unmix(simid_mix(x)) == x);
	assert_true(simid_unmix(simid_mix(UINT64_MAX)) == UINT64_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_case),
		cmocka_unit_test(test_nonsense),
		cmocka_unit_test(test_mix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

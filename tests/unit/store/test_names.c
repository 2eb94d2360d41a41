#include "names.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistr.h>

#include <cmocka.h>

#define NAME(text) text, sizeof(text) - 1

static void test_what_is_shown(void **state)
{
	static const struct {
		const char *name;
		size_t len;
		const char *shown;
	} rows[] = {
		{ NAME("report.docx"), "report.docx" },
		{ NAME(" two  spaces "), " two  spaces " },
		{ NAME("caf\xc3\xa9 \xf0\x9f\x8e\x89"), "caf\xc3\xa9 \xf0\x9f\x8e\x89" },
		{ NAME("CON"), "CON" },
		{ NAME("~$x"), "~$x" },
		{ NAME(".hidden"), ".hidden" },
		{ NAME("..."), "..." },
		{ NAME(""), "%" },
		{ NAME("%"), "%25" },
		{ NAME("."), "%2E" },
		{ NAME(".."), "%2E%2E" },
		{ NAME("a/b"), "a%2Fb" },
		{ NAME("../../etc/passwd"), "..%2F..%2Fetc%2Fpasswd" },
		{ NAME("nul\0in it"), "nul%00in it" },
		{ NAME("new\nline"), "new%0Aline" },
		{ NAME("\x1b[31mred"), "%1B[31mred" },
		{ NAME("del\x7f"), "del%7F" },
		{ NAME("c1 \xc2\x85"), "c1 %C2%85" },
		{ NAME("\xff\xfe"), "%FF%FE" },
		{ NAME("cut \xc3"), "cut %C3" },
		{ NAME("surrogate \xed\xa0\x80"), "surrogate %ED%A0%80" },
		{ NAME("overlong \xc0\xaf"), "overlong %C0%AF" },
		{ NAME("100%"), "100%" },
		{ NAME("50%off"), "50%off" },
		{ NAME("%41"), "%41" },
		{ NAME("My%20File"), "My%20File" },
		{ NAME("%2F"), "%252F" },
		{ NAME("%2E%7F"), "%252E%257F" },
		{ NAME("%2525"), "%252525" },
		{ NAME("%2f"), "%2f" },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char shown[NAMES_MAX_BYTES + 1];
		auto_free char *back = NULL;
		size_t len;

		names_show(rows[i].name, rows[i].len, shown);
		assert_string_equal(shown, rows[i].shown);
		assert_int_equal(names_unshow(shown, &back, &len), 0);
		assert_int_equal(len, rows[i].len);
		assert_memory_equal(back, rows[i].name, len);
	}
}

static void test_what_is_never_shown(void **state)
{
	static const char *const rows[] = {
		"", ".", "..", "a/b", "\n", "\xff", "a%25",
	};
	char *back;
	size_t len;

	for (size_t i = 0; i < array_n(rows); i++)
		assert_int_equal(names_unshow(rows[i], &back, &len), -EINVAL);
}

static bool is_harmless(const char *shown)
{
	size_t len = strlen(shown);

	for (size_t i = 0; i < len; i++)
		if (shown[i] == '/' || (unsigned char)shown[i] < 0x20 || shown[i] == 0x7f)
			return false;
	return len > 0 && len <= NAMES_MAX_BYTES && strcmp(shown, ".") != 0 &&
	       strcmp(shown, "..") != 0 && !u8_check((const uint8_t *)shown, len);
}

/* Names made of what is odd, so that odd things meet. */
static size_t odd_name(uint64_t *random, char *ret, size_t max)
{
	static const char odd[] = "%%%%220FFaA./\n\x80\xc3\xa9\xe2\x82\xac ~\0";
	size_t len;

	*random = *random * 6364136223846793005u + 1442695040888963407u;
	len = (*random >> 33) % (max + 1);
	for (size_t i = 0; i < len; i++) {
		*random = *random * 6364136223846793005u + 1442695040888963407u;
		ret[i] = odd[(*random >> 33) % sizeof(odd)];
	}
	return len;
}

static void test_any_name_comes_back(void **state)
{
	uint64_t random = 7;

	for (int i = 0; i < 100000; i++) {
		char name[85], shown[NAMES_MAX_BYTES + 1];
		auto_free char *back = NULL;
		size_t len = odd_name(&random, name, i % 2 ? 8 : 85), back_len;

		names_show(name, len, shown);
		assert_true(is_harmless(shown));
		assert_int_equal(names_unshow(shown, &back, &back_len), 0);
		assert_int_equal(back_len, len);
		assert_memory_equal(back, name, len);
	}
}

static void test_long_names_are_cut(void **state)
{
	char a[900], b[900], shown_a[NAMES_MAX_BYTES + 1], shown_b[NAMES_MAX_BYTES + 1];
	uint64_t random = 11;

	memset(a, 'x', 255);
	names_show(a, 255, shown_a);
	assert_int_equal(strlen(shown_a), 255);
	assert_memory_equal(shown_a, a, 255);
	for (size_t i = 0; i + 3 <= sizeof(a); i += 3)
		memcpy(a + i, "\xe2\x82\xac", 3);
	memcpy(b, a, sizeof(a));
	b[sizeof(b) - 1] = '\xad';
	names_show(a, sizeof(a), shown_a);
	names_show(b, sizeof(b), shown_b);
	assert_true(is_harmless(shown_a) && is_harmless(shown_b));
	assert_string_not_equal(shown_a, shown_b);
	names_show(a, sizeof(a), shown_b);
	assert_string_equal(shown_a, shown_b);
	for (int i = 0; i < 2000; i++) {
		size_t len = odd_name(&random, a, sizeof(a));

		names_show(a, len, shown_a);
		assert_true(is_harmless(shown_a));
	}
}

static void test_two_of_one_name(void **state)
{
	char one[NAMES_MAX_BYTES + 1], two[NAMES_MAX_BYTES + 1], name[NAMES_MAX_BYTES + 1];

	names_distinguish("a b.txt", "id-1", 0, one);
	names_distinguish("a b.txt", "id-2", 0, two);
	assert_string_not_equal(one, two);
	assert_memory_equal(one, "a b (", 5);
	assert_string_equal(one + strlen(one) - 5, ").txt");
	names_distinguish("a b.txt", "id-1", 0, two);
	assert_string_equal(one, two);
	names_distinguish("a b.txt", "id-1", 1, two);
	assert_string_not_equal(one, two);
	for (size_t len = 1; len <= 255; len++) {
		for (size_t i = 0; i < len; i++)
			name[i] = len - i >= 3 || i % 3 ? "\xe2\x82\xac"[i % 3] : 'z';
		name[len] = '\0';
		if (u8_check((uint8_t *)name, len))
			continue;
		names_distinguish(name, "id", 0, one);
		assert_true(is_harmless(one));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_shown),
		cmocka_unit_test(test_what_is_never_shown),
		cmocka_unit_test(test_any_name_comes_back),
		cmocka_unit_test(test_long_names_are_cut),
		cmocka_unit_test(test_two_of_one_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "itemname.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { ANYWHERE = 0, FOLDER = 1, ROOT = 2, PERSONAL = 4 };

static const struct {
	const char *name;
	unsigned place;
	int want;
	const char *why; /* a part of the text */
} names[] = {
	{ "a", ANYWHERE, 0, NULL },
	{ "report 2024.txt", ANYWHERE, 0, NULL },
	{ ".hidden", ANYWHERE, 0, NULL },
	{ "..a", ANYWHERE, 0, NULL },
	{ "a#b%c", ANYWHERE, 0, NULL },
	{ "100% !'()+,;=@&$[]{}`^", ANYWHERE, 0, NULL },
	{ "&#65;", ANYWHERE, 0, NULL },
	{ "\xe6\x97\xa5\xe6\x9c\xac", ANYWHERE, 0, NULL },
	{ "\xf0\x9f\x98\x80", ANYWHERE, 0, NULL },
	{ "\xc2\xa0x", ANYWHERE, 0, NULL }, /* a no-break space is no space */
	{ "", ANYWHERE, -EINVAL, "empty" },
	{ ".", ANYWHERE, -EINVAL, "dot" },
	{ "..", ANYWHERE, -EINVAL, "dot" },
	{ "a.", ANYWHERE, -EINVAL, "dot" },
	{ "a.", FOLDER, -EINVAL, "dot" },
	{ "a ", ANYWHERE, -EINVAL, "end with a space" },
	{ " a", ANYWHERE, -EINVAL, "begin with a space" },
	{ " ", ANYWHERE, -EINVAL, "space" },
	{ "a\"b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a*b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a:b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a<b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a>b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a?b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a/b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a\\b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a|b", ANYWHERE, -EINVAL, "not allowed" },
	{ "a\nb", ANYWHERE, -EINVAL, "control" },
	{ "\x01", ANYWHERE, -EINVAL, "control" },
	{ "a\x7f", ANYWHERE, -EINVAL, "control" },
	{ "CON", ANYWHERE, -EINVAL, "device" },
	{ "con.txt", ANYWHERE, -EINVAL, "device" },
	{ "Nul.tar.gz", ANYWHERE, -EINVAL, "device" },
	{ "prn", FOLDER, -EINVAL, "device" },
	{ "AUX", ANYWHERE, -EINVAL, "device" },
	{ "com0", ANYWHERE, -EINVAL, "device" },
	{ "COM9.log", ANYWHERE, -EINVAL, "device" },
	{ "LPT1", ANYWHERE, -EINVAL, "device" },
	{ "com", ANYWHERE, 0, NULL },
	{ "com10", ANYWHERE, 0, NULL },
	{ "comx", ANYWHERE, 0, NULL },
	{ "console", ANYWHERE, 0, NULL },
	{ "a.con", ANYWHERE, 0, NULL },
	{ ".lock", ANYWHERE, -EINVAL, "reserved" },
	{ ".LOCK", FOLDER, -EINVAL, "reserved" },
	{ "a.lock", ANYWHERE, 0, NULL },
	{ "Desktop.ini", ANYWHERE, -EINVAL, "reserved" },
	{ "_vti_", ANYWHERE, -EINVAL, "_vti_" },
	{ "a_VTI_b", ANYWHERE, -EINVAL, "_vti_" },
	{ "_vti", ANYWHERE, 0, NULL },
	{ "~$doc.docx", ANYWHERE, -EINVAL, "~$" },
	{ "~a", ANYWHERE, 0, NULL },
	{ "~a", FOLDER, -EINVAL, "folders" },
	{ "a~", FOLDER, 0, NULL },
	{ "forms", ROOT, -EINVAL, "library" },
	{ "Forms", ROOT | FOLDER, -EINVAL, "library" },
	{ "forms", ANYWHERE, 0, NULL },
	{ "forms", ROOT | PERSONAL, 0, NULL },
	{ "forms.txt", ROOT, 0, NULL },
	{ "\xff", ANYWHERE, -EILSEQ, "UTF-8" },
	{ "a\xc3", ANYWHERE, -EILSEQ, "UTF-8" },
	{ "\xc0\xaf", ANYWHERE, -EILSEQ, "UTF-8" },
	{ "\xed\xa0\x80", ANYWHERE, -EILSEQ, "UTF-8" },     /* a lone surrogate */
	{ "\xf4\x90\x80\x80", ANYWHERE, -EILSEQ, "UTF-8" }, /* beyond Unicode */
};

static int check(const char *name, size_t len, unsigned place, const char **ret_why)
{
	struct itemname_place p = { .is_folder = place & FOLDER,
				    .is_in_root = place & ROOT,
				    .is_personal = place & PERSONAL };

	return itemname_check(name, len, &p, ret_why);
}

static void test_names(void **state)
{
	for (size_t i = 0; i < array_n(names); i++) {
		const char *why = NULL;
		int r = check(names[i].name, strlen(names[i].name), names[i].place, &why);

		if (r != names[i].want || !why != !names[i].why ||
		    (why && !strstr(why, names[i].why)))
			fail_msg("\"%s\" (%u): %d %s", names[i].name, names[i].place, r, why);
		assert_int_equal(check(names[i].name, strlen(names[i].name), names[i].place, NULL),
				 r);
	}
	assert_int_equal(check("a\0b", 3, ANYWHERE, NULL), -EINVAL);
}

static void test_lengths(void **state)
{
	static const struct {
		const char *unit;
		size_t units; /* of UTF-16 */
	} rows[] = {
		{ "a", 1 },
		{ "\xc3\xa4", 1 },
		{ "\xe6\x97\xa5", 1 },
		{ "\xf0\x9f\x98\x80", 2 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		size_t len = strlen(rows[i].unit), fit = ITEMNAME_UNITS_MAX / rows[i].units;
		char name[2048];

		for (size_t n = 0; n <= fit; n++)
			memcpy(name + n * len, rows[i].unit, len);
		assert_int_equal(itemname_units(name, fit * len), fit * rows[i].units);
		assert_int_equal(check(name, fit * len, ANYWHERE, NULL), 0);
		assert_int_equal(check(name, (fit + 1) * len, ANYWHERE, NULL), -ENAMETOOLONG);
	}
	assert_int_equal(itemname_units("", 0), 0);
	assert_int_equal(itemname_units("a\xff\xc3", 3), 3);
}

static const struct {
	const char *a, *b;
	bool same;
} pairs[] = {
	{ "", "", true },
	{ "a", "", false },
	{ "a", "A", true },
	{ "Read Me.TXT", "read me.txt", true },
	{ "a", "b", false },
	{ "a", "aa", false },
	{ "[", "{", false },                              /* 32 apart, but no letters */
	{ "\xc3\x84", "\xc3\xa4", true },                 /* A umlaut */
	{ "\xce\xa3", "\xcf\x83", true },                 /* sigma */
	{ "\xcf\x82", "\xcf\x83", true },                 /* final sigma */
	{ "\xd0\x96", "\xd0\xb6", true },                 /* cyrillic zhe */
	{ "\xc8\xba", "\xe2\xb1\xa5", true },             /* two bytes, and three */
	{ "\xf0\x90\x90\x80", "\xf0\x90\x90\xa8", true }, /* deseret */
	{ "stra\xc3\x9f"
	  "e",
	  "strasse", false },
	{ "\xef\xac\x81", "fi", false },    /* ligature */
	{ "\xc3\xa4", "a\xcc\x88", false }, /* composed or not are two names */
	{ "\xc4\xb1", "i", false },         /* dotless i */
	{ "\xc4\xb0", "i", false },         /* dotted I */
	{ "\xff", "\xff", true },
	{ "\xff", "\xfe", false },
	{ "\xff", "\xc3\xbf", false },
};

static void test_case(void **state)
{
	for (size_t i = 0; i < array_n(pairs); i++) {
		size_t a_len = strlen(pairs[i].a), b_len = strlen(pairs[i].b), x_len, y_len;
		auto_free char *x = itemname_fold(pairs[i].a, a_len, &x_len);
		auto_free char *y = itemname_fold(pairs[i].b, b_len, &y_len);
		bool same = x_len == y_len && memcmp(x, y, x_len) == 0;

		if (itemname_is_same(pairs[i].a, a_len, pairs[i].b, b_len) != pairs[i].same ||
		    itemname_is_same(pairs[i].b, b_len, pairs[i].a, a_len) != pairs[i].same ||
		    same != pairs[i].same)
			fail_msg("row %zu: %s %s", i, pairs[i].a, pairs[i].b);
		assert_int_equal(x[x_len], '\0');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "jnode.h"

#include "jget.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The document {"v": TEXT}. */
static struct jnode_doc member(const char *text)
{
	struct jnode_doc doc = { 0 };
	char json[512];
	int n = snprintf(json, sizeof(json), "{\"v\":%s}", text);

	assert_true(n > 0 && (size_t)n < sizeof(json));
	assert_int_equal(jnode_parse(json, (size_t)n, &doc), 0);
	return doc;
}

static void test_documents(void **state)
{
#define DOC(text) text, sizeof(text) - 1
	static const struct {
		const char *text;
		size_t len;
		int want;
	} rows[] = {
		{ DOC("{}"), 0 },
		{ DOC("\xef\xbb\xbf{}"), 0 },
		{ DOC(" {\"a\": [1, 2]} \r\n"), 0 },
		{ DOC(""), -EBADMSG },
		{ DOC("\xef\xbb\xbf"), -EBADMSG },
		{ DOC("   "), -EBADMSG },
		{ DOC("{"), -EBADMSG },
		{ DOC("{\"a\":1"), -EBADMSG },
		{ DOC("{\"a\":1}}"), -EBADMSG },
		{ DOC("{}{}"), -EBADMSG },
		{ DOC("{}\0"), -EBADMSG },
		{ DOC("{}\0{}"), -EBADMSG },
		{ DOC("{\"a\":1,}"), -EBADMSG },
		{ DOC("[1,]"), -EBADMSG },
		{ DOC("{\"a\":01}"), -EBADMSG },
		{ DOC("{\"a\":tru}"), -EBADMSG },
		{ DOC("{\"a\" 1}"), -EBADMSG },
		{ DOC("/* c */{}"), -EBADMSG },
		{ DOC("{\"a\":\"\\x\"}"), -EBADMSG },
		{ DOC("<html></html>"), -EBADMSG },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_call(jnode_fini) struct jnode_doc doc = { 0 };

		if (jnode_parse(rows[i].text, rows[i].len, &doc) != rows[i].want)
			fail_msg("row %zu: %s", i, rows[i].text);
	}
}

static void test_depth_is_bounded(void **state)
{
	char deep[2 * 10000 + 1];

	for (size_t depth = 1; depth <= 10000; depth *= 10) {
		auto_call(jnode_fini) struct jnode_doc doc = { 0 };
		int r;

		memset(deep, '[', depth);
		memset(deep + depth, ']', depth);
		r = jnode_parse(deep, 2 * depth, &doc);
		assert_int_equal(r, depth > JGET_DEPTH_MAX ? -EBADMSG : 0);
	}
}

static void test_strings(void **state)
{
	static const struct {
		const char *json;
		int want;
	} rows[] = {
		{ "\"abcd\"", 0 },
		{ "\"\"", 0 },
		{ "\"\xc3\xa4\"", 0 },
		{ "null", JGET_ABSENT },
		{ "\"abcde\"", -EBADMSG },
		{ "12", -EBADMSG },
		{ "true", -EBADMSG },
		{ "{}", -EBADMSG },
		{ "\"a\\u0000b\"", -EBADMSG },
		{ "\"\xff\"", -EBADMSG },
		{ "\"\xc3\"", -EBADMSG },
		{ "\"\xed\xa0\x80\"", -EBADMSG },
		{ "\"\xc0\xaf\"", -EBADMSG },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_call(jnode_fini) struct jnode_doc doc = member(rows[i].json);
		const char *s = "untouched";
		int r = jnode_str(doc.nodes, "v", 4, &s);

		if (r != rows[i].want || (r != 0) != (strcmp(s, "untouched") == 0))
			fail_msg("%s gave %d", rows[i].json, r);
	}
}

static void test_names_keep_every_byte(void **state)
{
	auto_call(jnode_fini) struct jnode_doc doc = member("\"safe\\u0000/../x\xff\"");
	const char *s;
	size_t len;

	assert_int_equal(jnode_bytes(doc.nodes, "v", 64, &s, &len), 0);
	assert_int_equal(len, 11);
	assert_memory_equal(s, "safe\0/../x\xff", 11);
	assert_int_equal(jnode_bytes(doc.nodes, "v", 10, &s, &len), -EBADMSG);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *json;
		int want;
		int64_t value;
	} rows[] = {
		{ "0", 0, 0 },
		{ "9223372036854775806", 0, INT64_MAX - 1 },
		{ "-1", 0, -1 },
		{ "null", JGET_ABSENT, 0 },
		{ "9223372036854775807", -EBADMSG, 0 },
		{ "9223372036854775808", -EBADMSG, 0 },
		{ "99999999999999999999", -EBADMSG, 0 },
		{ "-9223372036854775808", -EBADMSG, 0 },
		{ "-99999999999999999999", -EBADMSG, 0 },
		{ "1e30", -EBADMSG, 0 },
		{ "1.0", -EBADMSG, 0 },
		{ "\"12\"", -EBADMSG, 0 },
		{ "true", -EBADMSG, 0 },
		{ "[]", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_call(jnode_fini) struct jnode_doc doc = member(rows[i].json);
		int64_t v = 77;

		if (jnode_i64(doc.nodes, "v", &v) != rows[i].want ||
		    v != (rows[i].want ? 77 : rows[i].value))
			fail_msg("%s gave %lld", rows[i].json, (long long)v);
	}
}

static void test_members(void **state)
{
	static const char json[] =
		"{\"o\":{\"v\":{\"v\":9}},\"a\":[7,[8,8],\"x\",{}],\"n\":null,"
		"\"v\":1,\"v\":2,\"vv\":3,\"t\":\"2024-04-01T10:00:00Z\",\"e\":\"\"}";
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	const struct jnode *got = NULL;
	int64_t v = 0;

	assert_int_equal(jnode_parse(json, sizeof(json) - 1, &doc), 0);
	/* The last of one name, and only at its own level. */
	assert_int_equal(jnode_i64(doc.nodes, "v", &v), 0);
	assert_int_equal(v, 2);
	assert_int_equal(jnode_obj(doc.nodes, "n", &got), JGET_ABSENT);
	assert_int_equal(jnode_obj(doc.nodes, "none", &got), JGET_ABSENT);
	assert_int_equal(jnode_obj(doc.nodes, "a", &got), -EBADMSG);
	assert_int_equal(jnode_arr(doc.nodes, "o", &got), -EBADMSG);
	assert_int_equal(jnode_time(doc.nodes, "t", &v), 0);
	assert_int_equal(v, INT64_C(1711965600000000000));
	assert_int_equal(jnode_time(doc.nodes, "e", &v), JGET_ABSENT);
	assert_int_equal(jnode_obj(doc.nodes, "o", &got), 0);
	assert_int_equal(jnode_obj(got, "v", &got), 0);
	assert_int_equal(jnode_i64(got, "v", &v), 0);
	assert_int_equal(v, 9);
	assert_int_equal(jnode_arr(doc.nodes, "a", &got), 0);
	assert_int_equal(got->len, 4);
	/* A member of what is no object. */
	assert_int_equal(jnode_obj(got, "x", &got), -EBADMSG);
	got = jnode_next(jnode_next(got + 1));
	assert_int_equal(got->type, JNODE_STRING);
	assert_string_equal(got->text, "x");
	assert_int_equal(jnode_next(got)->type, JNODE_OBJECT);
}

static void test_escapes(void **state)
{
	static const struct {
		const char *json, *want;
	} rows[] = {
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
		{ "\"\\u0041\\u00e4\\u20AC\"", "A\xc3\xa4\xe2\x82\xac" },
		{ "\"\\ud83d\\ude00!\"", "\xf0\x9f\x98\x80!" },
		/* Halves of pairs. */
		{ "\"\\ud83dx\"", "\xef\xbf\xbdx" },
		{ "\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
					"A" },
		{ "\"\\ude00\\ud83d\"", "\xef\xbf\xbd\xef\xbf\xbd" },
	};
	static const char *const bad[] = { "\"\\", "\"\\u", "\"\\u12", "\"\\u12g4\"",
					   "\"\\ud83d\\u" };

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_call(jnode_fini) struct jnode_doc doc = member(rows[i].json);
		const char *s = "";

		if (jnode_str(doc.nodes, "v", 64, &s) != 0 || strcmp(s, rows[i].want) != 0)
			fail_msg("%s gave %s", rows[i].json, s);
	}
	for (size_t i = 0; i < array_n(bad); i++) {
		auto_call(jnode_fini) struct jnode_doc doc = { 0 };

		assert_int_equal(jnode_parse(bad[i], strlen(bad[i]), &doc), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents), cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_strings),   cmocka_unit_test(test_names_keep_every_byte),
		cmocka_unit_test(test_numbers),   cmocka_unit_test(test_members),
		cmocka_unit_test(test_escapes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

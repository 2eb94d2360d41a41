#include "jget.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

/* The document {"v": TEXT}. */
static struct json_object *member(const char *text)
{
	struct json_object *obj = NULL;
	char doc[512];
	int n = snprintf(doc, sizeof(doc), "{\"v\":%s}", text);

	assert_true(n > 0 && (size_t)n < sizeof(doc));
	assert_int_equal(jget_parse(doc, (size_t)n, &obj), 0);
	return obj;
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
		auto_call(put_object) struct json_object *obj = NULL;

		if (jget_parse(rows[i].text, rows[i].len, &obj) != rows[i].want)
			fail_msg("row %zu: %s", i, rows[i].text);
	}
}

static void test_depth_is_bounded(void **state)
{
	char deep[2 * 10000 + 1];

	for (size_t depth = 1; depth <= 10000; depth *= 10) {
		auto_call(put_object) struct json_object *obj = NULL;
		int r;

		memset(deep, '[', depth);
		memset(deep + depth, ']', depth);
		r = jget_parse(deep, 2 * depth, &obj);
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
		auto_call(put_object) struct json_object *obj = member(rows[i].json);
		const char *s = "untouched";
		int r = jget_str(obj, "v", 4, &s);

		if (r != rows[i].want || (r != 0) != (strcmp(s, "untouched") == 0))
			fail_msg("%s gave %d", rows[i].json, r);
	}
}

static void test_names_keep_every_byte(void **state)
{
	auto_call(put_object) struct json_object *obj = member("\"safe\\u0000/../x\xff\"");
	const char *s;
	size_t len;

	assert_int_equal(jget_bytes(obj, "v", 64, &s, &len), 0);
	assert_int_equal(len, 11);
	assert_memory_equal(s, "safe\0/../x\xff", 11);
	assert_int_equal(jget_bytes(obj, "v", 10, &s, &len), -EBADMSG);
}

static void test_numbers(void **state)
{
	static const struct {
		const char *json;
		int want_i64, want_u64;
		int64_t value;
	} rows[] = {
		{ "0", 0, 0, 0 },
		{ "9223372036854775806", 0, 0, INT64_MAX - 1 },
		{ "-1", 0, -EBADMSG, -1 },
		{ "null", JGET_ABSENT, JGET_ABSENT, 0 },
		{ "9223372036854775807", -EBADMSG, -EBADMSG, 0 },
		{ "9223372036854775808", -EBADMSG, -EBADMSG, 0 },
		{ "99999999999999999999", -EBADMSG, -EBADMSG, 0 },
		{ "-9223372036854775808", -EBADMSG, -EBADMSG, 0 },
		{ "-99999999999999999999", -EBADMSG, -EBADMSG, 0 },
		{ "1e30", -EBADMSG, -EBADMSG, 0 },
		{ "1.0", -EBADMSG, -EBADMSG, 0 },
		{ "\"12\"", -EBADMSG, -EBADMSG, 0 },
		{ "true", -EBADMSG, -EBADMSG, 0 },
		{ "[]", -EBADMSG, -EBADMSG, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		auto_call(put_object) struct json_object *obj = member(rows[i].json);
		int64_t v = 77;
		uint64_t u = 77;

		if (jget_i64(obj, "v", &v) != rows[i].want_i64 ||
		    v != (rows[i].want_i64 ? 77 : rows[i].value))
			fail_msg("%s as a signed number", rows[i].json);
		if (jget_u64(obj, "v", &u) != rows[i].want_u64 ||
		    u != (rows[i].want_u64 ? 77 : (uint64_t)rows[i].value))
			fail_msg("%s as an unsigned number", rows[i].json);
	}
}

static void test_other_types(void **state)
{
	auto_call(put_object) struct json_object *obj = NULL;
	const char doc[] = "{\"b\":true,\"o\":{},\"a\":[],\"n\":null,\"i\":1}";
	struct json_object *got = NULL;
	bool b = false;

	assert_int_equal(jget_parse(doc, sizeof(doc) - 1, &obj), 0);
	assert_int_equal(jget_bool(obj, "b", &b), 0);
	assert_true(b);
	assert_int_equal(jget_bool(obj, "i", &b), -EBADMSG);
	assert_int_equal(jget_bool(obj, "none", &b), JGET_ABSENT);
	assert_int_equal(jget_obj(obj, "o", &got), 0);
	assert_int_equal(jget_obj(obj, "n", &got), JGET_ABSENT);
	assert_int_equal(jget_obj(obj, "a", &got), -EBADMSG);
	assert_int_equal(jget_arr(obj, "a", &got), 0);
	assert_int_equal(jget_arr(obj, "o", &got), -EBADMSG);
	/* A member of what is no object. */
	assert_int_equal(jget_obj(got, "x", &got), -EBADMSG);
}

static void test_times(void **state)
{
	static const struct {
		const char *text;
		int want;
		int64_t ns;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "2024-04-01T10:00:00.123Z", 0, 1711965600123000000 },
		{ "2024-02-29T23:59:59.1234567Z", 0, 1709251199123456700 },
		{ "2000-02-29T00:00:00.123456789Z", 0, 951782400123456789 },
		{ "2016-12-31T23:59:60Z", 0, 1483228800000000000 },
		{ "2024-04-01t10:00:00z", 0, 1711965600000000000 },
		{ "0001-01-01T00:00:00Z", JGET_ABSENT, 0 },
		{ "1601-01-01T00:00:00Z", JGET_ABSENT, 0 },
		{ "9999-12-31T23:59:59Z", JGET_ABSENT, 0 },
		{ "2024-13-01T00:00:00Z", -EBADMSG, 0 },
		{ "2024-00-01T00:00:00Z", -EBADMSG, 0 },
		{ "2024-01-32T00:00:00Z", -EBADMSG, 0 },
		{ "2024-01-01T24:00:00Z", -EBADMSG, 0 },
		{ "2024-01-01T00:60:00Z", -EBADMSG, 0 },
		{ "2024-01-01T00:00:61Z", -EBADMSG, 0 },
		{ "2024-01-01T00:00:00", -EBADMSG, 0 },
		{ "2024-01-01T00:00:00.Z", -EBADMSG, 0 },
		{ "2024-01-01T00:00:00+01:00", -EBADMSG, 0 },
		{ "2024-01-01T00:00:00Zx", -EBADMSG, 0 },
		{ "2024-01-01 00:00:00Z", -EBADMSG, 0 },
		{ "2024-1-1T00:00:00Z", -EBADMSG, 0 },
		{ "-024-01-01T00:00:00Z", -EBADMSG, 0 },
		{ "tomorrow", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		int64_t ns = 77;

		if (jget_parse_time(rows[i].text, &ns) != rows[i].want ||
		    ns != (rows[i].want ? 77 : rows[i].ns))
			fail_msg("%s gave %lld", rows[i].text, (long long)ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_documents), cmocka_unit_test(test_depth_is_bounded),
		cmocka_unit_test(test_strings),   cmocka_unit_test(test_names_keep_every_byte),
		cmocka_unit_test(test_numbers),   cmocka_unit_test(test_other_types),
		cmocka_unit_test(test_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

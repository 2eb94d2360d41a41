#include "item.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct item parse(const char *body)
{
	struct item_problem problem = { "" };
	struct item item = { 0 };

	if (item_parse_body(body, strlen(body), &item, &problem) != 0)
		fail_msg("%s: %s", problem.text, body);
	return item;
}

static void test_file_of_a_personal_drive(void **state)
{
	static const uint8_t hash[20] = {
		0x68, 0x28, 0x03, 0x1b, 0xd8, 0xf0, 0x06, 0, 0, 0, 0, 0, 5
	};
	struct item item =
		parse("{\"id\":\"0123456789ABCDEF!1373\",\"name\":\"a b.txt\",\"size\":5,"
		      "\"eTag\":\"aMDEyMw\",\"cTag\":\"aYzowMTIz\","
		      "\"createdDateTime\":\"2024-04-01T10:00:00Z\","
		      "\"lastModifiedDateTime\":\"2024-04-01T10:00:09Z\","
		      "\"parentReference\":{\"driveId\":\"0123456789ABCDEF\",\"id\":"
		      "\"0123456789ABCDEF!1372\"},"
		      "\"fileSystemInfo\":{\"lastModifiedDateTime\":\"2024-04-01T10:00:00.123Z\"},"
		      "\"file\":{\"mimeType\":\"text/plain\",\"hashes\":"
		      "{\"quickXorHash\":\"aCgDG9jwBgAAAAAABQAAAAAAAAA=\",\"sha1Hash\":\"AA\"}},"
		      "\"webUrl\":\"https://onedrive.live.com/x\",\"unknownFacet\":{\"x\":[1]},"
		      "\"@microsoft.graph.downloadUrl\":\"https://public.sn.files.1drv.com/y\"}");

	assert_string_equal(item.id, "0123456789ABCDEF!1373");
	assert_int_equal(item.name_len, 7);
	assert_string_equal(item.name, "a b.txt");
	assert_string_equal(item.parent_id, "0123456789ABCDEF!1372");
	assert_string_equal(item.parent_drive_id, "0123456789ABCDEF");
	assert_string_equal(item.etag, "aMDEyMw");
	assert_string_equal(item.ctag, "aYzowMTIz");
	assert_string_equal(item.web_url, "https://onedrive.live.com/x");
	assert_string_equal(item.download_url, "https://public.sn.files.1drv.com/y");
	assert_int_equal(item.kind, ITEM_FILE);
	assert_int_equal(item.size, 5);
	assert_int_equal(item.mtime_ns, 1711965600123000000);
	assert_int_equal(item.btime_ns, 1711965600000000000);
	assert_int_equal(item.child_count, -1);
	assert_true(item.has_hash);
	assert_memory_equal(item.hash, hash, sizeof(hash));
	assert_false(item.is_root || item.deleted || item.malware || item.vault);
	item_fini(&item);
}

static void test_tags_of_a_business_drive_keep_their_quotes(void **state)
{
	struct item item =
		parse("{\"id\":\"01A\",\"name\":\"n\",\"file\":{},\"eTag\":\"\\\"{6F2A},3\\\"\","
		      "\"cTag\":\"\\\"c:{6F2A},2\\\"\"}");

	assert_string_equal(item.etag, "\"{6F2A},3\"");
	assert_string_equal(item.ctag, "\"c:{6F2A},2\"");
	item_fini(&item);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *facets;
		enum item_kind want;
	} rows[] = {
		{ "\"file\":{}", ITEM_FILE },
		{ "\"folder\":{}", ITEM_FOLDER },
		{ "\"folder\":{\"childCount\":4},\"file\":null", ITEM_FOLDER },
		{ "\"root\":{},\"folder\":{}", ITEM_FOLDER },
		{ "\"root\":{}", ITEM_FOLDER },
		{ "\"package\":{\"type\":\"oneNote\"}", ITEM_PACKAGE },
		{ "\"package\":{\"type\":\"oneNote\"},\"folder\":{}", ITEM_PACKAGE },
		{ "\"remoteItem\":{\"id\":\"R\",\"folder\":{}}", ITEM_REMOTE },
		{ "\"deleted\":{}", ITEM_UNKNOWN },
		{ "\"size\":1", ITEM_UNKNOWN },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char body[256];
		struct item item;

		snprintf(body, sizeof(body), "{\"id\":\"I\",\"name\":\"n\",%s}", rows[i].facets);
		item = parse(body);
		if (item.kind != rows[i].want)
			fail_msg("%s is of kind %d", rows[i].facets, item.kind);
		item_fini(&item);
	}
}

static void test_shortcut(void **state)
{
	struct item item =
		parse("{\"id\":\"L\",\"name\":\"Team stuff\",\"remoteItem\":"
		      "{\"id\":\"FED!106\",\"name\":\"Other\",\"folder\":{\"childCount\":4},"
		      "\"parentReference\":{\"driveId\":\"fed\",\"id\":\"p\"}}}");

	assert_string_equal(item.name, "Team stuff");
	assert_string_equal(item.remote_id, "FED!106");
	assert_string_equal(item.remote_drive_id, "fed");
	item_fini(&item);
}

static void test_tombstones(void **state)
{
	struct item item = parse("{\"id\":\"01ABC\",\"deleted\":{\"state\":\"deleted\"}}");

	assert_true(item.deleted);
	assert_null(item.name);
	assert_null(item.parent_id);
	assert_int_equal(item.size, -1);
	item_fini(&item);
	item = parse("{\"id\":\"01ABC\",\"deleted\":{},\"size\":-3,\"fileSystemInfo\":"
		     "{\"lastModifiedDateTime\":\"0001-01-01T00:00:00Z\"},\"file\":{}}");
	assert_true(item.deleted);
	assert_int_equal(item.mtime_ns, ITEM_TIME_UNKNOWN);
	item_fini(&item);
}

static void test_what_is_absent_is_unknown(void **state)
{
	struct item item = parse("{\"id\":\"I\",\"name\":\"n\",\"folder\":{},\"size\":-20,"
				 "\"fileSystemInfo\":null,\"parentReference\":null,\"eTag\":null,"
				 "\"createdDateTime\":\"\"}");

	assert_int_equal(item.size, -1); /* folders below zero are known to happen */
	assert_int_equal(item.mtime_ns, ITEM_TIME_UNKNOWN);
	assert_int_equal(item.btime_ns, ITEM_TIME_UNKNOWN);
	assert_int_equal(item.child_count, -1);
	assert_null(item.etag);
	assert_null(item.parent_id);
	assert_false(item.has_hash);
	item_fini(&item);
}

/* Hostile names come through byte by byte; where they are shown they are escaped. */
static void test_names_are_kept_as_they_are(void **state)
{
	static const struct {
		const char *json, *bytes;
		size_t len;
	} rows[] = {
		{ "..", "..", 2 },
		{ "a/b", "a/b", 3 },
		{ "", "", 0 },
		{ "safe\\u0000/../x", "safe\0/../x", 10 },
		{ "a\\nb\\u001b[2J", "a\nb\x1b[2J", 7 },
		{ "\xff\xfe", "\xff\xfe", 2 },
		{ "\\u00e4\\ud83d\\ude00", "\xc3\xa4\xf0\x9f\x98\x80", 6 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char body[256];
		struct item item;

		snprintf(body, sizeof(body), "{\"id\":\"I\",\"file\":{},\"name\":\"%s\"}",
			 rows[i].json);
		item = parse(body);
		assert_int_equal(item.name_len, rows[i].len);
		assert_memory_equal(item.name, rows[i].bytes, rows[i].len);
		item_fini(&item);
	}
}

static void test_malware_and_vault(void **state)
{
	struct item item = parse("{\"id\":\"I\",\"name\":\"n\",\"file\":{},\"malware\":{}}");

	assert_true(item.malware);
	item_fini(&item);
	item = parse("{\"id\":\"I\",\"name\":\"n\",\"folder\":{},\"specialFolder\":{\"name\":"
		     "\"vault\"}}");
	assert_true(item.vault);
	item_fini(&item);
}

static void test_page(void **state)
{
	static const char body[] =
		"\xef\xbb\xbf{\"@odata.context\":\"c\",\"value\":["
		"{\"id\":\"R\",\"name\":\"root\",\"root\":{},\"folder\":{\"childCount\":1}},"
		"{\"id\":\"A\",\"name\":\"a\",\"file\":{}},{\"id\":\"A\",\"deleted\":{}}],"
		"\"@odata.nextLink\":\"https://h/next?$skiptoken=a%2Bb\"}";
	struct item_problem problem = { "" };
	struct item_page page = { 0 };

	assert_int_equal(item_parse_page(body, sizeof(body) - 1, &page, &problem), 0);
	assert_int_equal(page.n, 3);
	assert_true(page.items[0].is_root);
	assert_int_equal(page.items[0].child_count, 1);
	assert_true(page.items[2].deleted);
	assert_string_equal(page.next_link, "https://h/next?$skiptoken=a%2Bb");
	assert_null(page.delta_link);
	item_page_fini(&page);
	assert_int_equal(item_parse_page("{\"value\":[]}", 12, &page, &problem), 0);
	assert_int_equal(page.n, 0);
	item_page_fini(&page);
	item_page_fini(&page);
}

static void test_quota_is_a_number_or_unknown(void **state)
{
	static const struct {
		const char *quota;
		bool has;
		uint64_t total, used, remaining;
	} rows[] = {
		{ "{\"total\":100,\"used\":30,\"remaining\":70}", true, 100, 30, 70 },
		{ "{\"total\":\"100\",\"used\":\"30\",\"remaining\":\"70\"}", true, 100, 30, 70 },
		{ "{\"total\":100,\"used\":130,\"remaining\":-30}", true, 100, 130, 0 },
		{ "{\"total\":100}", true, 100, 0, 100 },
		{ "{\"total\":100,\"used\":40}", true, 100, 40, 60 },
		{ "{\"total\":100,\"remaining\":500}", true, 100, 0, 100 },
		{ "{\"total\":0,\"used\":0,\"remaining\":0}", false, 0, 0, 0 },
		{ "{\"total\":\"lots\"}", false, 0, 0, 0 },
		{ "{\"total\":1.5}", false, 0, 0, 0 },
		{ "{\"total\":99999999999999999999}", false, 0, 0, 0 },
		{ "{}", false, 0, 0, 0 },
		{ "[]", false, 0, 0, 0 },
		{ "null", false, 0, 0, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct item_problem problem = { "" };
		struct item_drive drive = { 0 };
		char body[256];

		snprintf(body, sizeof(body),
			 "{\"id\":\"D\",\"driveType\":\"personal\",\"quota\":%s}", rows[i].quota);
		assert_int_equal(item_parse_drive(body, strlen(body), &drive, &problem), 0);
		if (drive.has_quota != rows[i].has ||
		    (rows[i].has && (drive.total != rows[i].total || drive.used != rows[i].used ||
				     drive.remaining != rows[i].remaining)))
			fail_msg("%s", rows[i].quota);
		item_drive_fini(&drive);
	}
}

static void test_subscription(void **state)
{
	static const char body[] = "{\"id\":\"s\",\"notificationUrl\":\"https://h/callback?a=1\","
				   "\"expirationDateTime\":\"2024-04-01T10:00:00Z\"}";
	static const char bare[] = "{\"notificationUrl\":\"https://h/notifications?token=t\"}";
	struct item_problem problem = { "" };
	struct item_subscription sub;

	assert_int_equal(item_parse_subscription(body, sizeof(body) - 1, &sub, &problem), 0);
	assert_string_equal(sub.notification_url, "https://h/callback?a=1");
	assert_int_equal(sub.expires_ns, 1711965600000000000);
	item_subscription_fini(&sub);
	assert_int_equal(item_parse_subscription(bare, sizeof(bare) - 1, &sub, &problem), 0);
	assert_null(sub.id);
	assert_int_equal(sub.expires_ns, ITEM_TIME_UNKNOWN);
	item_subscription_fini(&sub);
}

static void test_errors(void **state)
{
	static const struct {
		const char *body, *codes, *request_id;
	} rows[] = {
		{ "{\"error\":{\"code\":\"itemNotFound\",\"message\":\"m\"}}", "itemNotFound", "" },
		{ "{\"error\":{\"code\":\"itemNotFound\",\"innerError\":"
		  "{\"code\":\"itemDoesNotExist\",\"request-id\":\"r\"}}}",
		  "itemNotFound itemDoesNotExist", "r" },
		{ "{\"error\":{\"code\":\"a\",\"innererror\":{\"code\":\"b\",\"innerError\":"
		  "{\"code\":\"c\"}}}}",
		  "a b c", "" },
		{ "{\"error\":{\"code\":\"\",\"innerError\":{\"code\":\"b\",\"innerError\":{}}}}",
		  "b", "" },
		{ "{\"error\":{\"innerError\":{\"innerError\":{\"code\":\"c\"}}}}", "c", "" },
		{ "{\"error\":{\"code\":\"1\",\"innerError\":{\"code\":\"2\",\"innerError\":"
		  "{\"code\":\"3\",\"innerError\":{\"code\":\"4\",\"innerError\":"
		  "{\"code\":\"5\"}}}}}}",
		  "1 2 3 4", "" },
		{ "{\"error\":{\"code\":7,\"innerError\":[]}}", "", "" },
		{ "{\"error\":{\"code\":\"a\\u0000b\"}}", "", "" },
		{ "{\"error\":{}}", "", "" },
		{ "{\"error\":\"invalid_grant\"}", "", "" },
		{ "{\"error\":null}", "", "" },
		{ "{}", "", "" },
		{ "[]", "", "" },
		{ "null", "", "" },
		{ "", "", "" },
		{ "<html>502 Bad Gateway</html>", "", "" },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char codes[sizeof(struct item_error)] = "";
		struct item_error error;

		item_parse_error(rows[i].body, strlen(rows[i].body), &error);
		for (unsigned k = 0; k < error.codes_n; k++)
			snprintf(codes + strlen(codes), sizeof(codes) - strlen(codes), "%s%s",
				 k > 0 ? " " : "", error.codes[k]);
		assert_string_equal(codes, rows[i].codes);
		assert_string_equal(error.request_id, rows[i].request_id);
	}
}

static void test_long_error_texts_are_cut(void **state)
{
	char body[3000] = "{\"error\":{\"code\":\"";
	struct item_error error;
	size_t at = strlen(body);

	memset(body + at, 'x', 1000);
	strcpy(body + at + 1000, "\"}}");
	item_parse_error(body, strlen(body), &error);
	assert_int_equal(strlen(error.codes[0]), sizeof(error.codes[0]) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_of_a_personal_drive),
		cmocka_unit_test(test_tags_of_a_business_drive_keep_their_quotes),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_shortcut),
		cmocka_unit_test(test_tombstones),
		cmocka_unit_test(test_what_is_absent_is_unknown),
		cmocka_unit_test(test_names_are_kept_as_they_are),
		cmocka_unit_test(test_malware_and_vault),
		cmocka_unit_test(test_page),
		cmocka_unit_test(test_quota_is_a_number_or_unknown),
		cmocka_unit_test(test_subscription),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_long_error_texts_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

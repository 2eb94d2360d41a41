/* Replies that must be refused, each with an error that names what is wrong. */
#include "item.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* PAGE_ITEM: the page is good, its second item is not. */
enum reply { ITEM, PAGE, PAGE_ITEM, DRIVE, SUBSCRIPTION };

struct broken {
	enum reply reply;
	const char *body;
	size_t len;
	const char *names; /* what the error has to name */
};

#define TEXT(s) s, sizeof(s) - 1
/* An item that is whole but for what is added. */
#define ITEM_AND(s) TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{}," s "}")
/* The same as the second item of a page. */
#define PAGE_AND(s)                                                     \
	TEXT("{\"value\":[{\"id\":\"A\",\"name\":\"a\",\"folder\":{}}," \
	     "{\"id\":\"I\",\"name\":\"n\",\"file\":{}," s "}]}")

static const struct broken rows[] = {
	/* no JSON at all */
	{ ITEM, TEXT(""), "0 bytes is not JSON" },
	{ ITEM, TEXT(" \r\n"), "not JSON" },
	{ ITEM, TEXT("\0"), "not JSON" },
	{ ITEM, TEXT("<html><body>Sign in to the hotel network</body></html>"), "not JSON" },
	{ PAGE, TEXT("<?xml version=\"1.0\"?><Error><Code>500</Code></Error>"), "not JSON" },
	{ DRIVE, TEXT("HTTP/1.1 200 OK\r\n\r\n{}"), "not JSON" },
	{ SUBSCRIPTION, TEXT("<!DOCTYPE html>"), "not JSON" },
	{ ITEM, TEXT("\x1f\x8b\x08\0\0\0\0\0"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{}"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\\u00"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\\q\"}"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\"}{\"id\":\"J\"}"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\"}\0\0\0"), "not JSON" },
	{ ITEM, TEXT("{id:\"I\"}"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\",}"), "not JSON" },
	{ ITEM, TEXT("{\"id\":\"I\" \"name\":\"n\"}"), "not JSON" },
	{ ITEM, ITEM_AND("\"size\":NaN"), "size" },
	{ ITEM, ITEM_AND("\"size\":-Infinity"), "size" },
	{ ITEM, TEXT("{\"size\":0x10}"), "not JSON" },
	{ ITEM, TEXT("{\"size\":+1}"), "not JSON" },
	{ PAGE, TEXT("{\"value\":["), "not JSON" },
	{ PAGE, TEXT("{\"value\":[{\"id\":\"A\"},"), "not JSON" },
	{ PAGE, TEXT("{\"value\":[]}garbage"), "not JSON" },
	{ DRIVE, TEXT("{\"id\":\"D\",\"quota\":{\"total\":"), "not JSON" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":\"https://h/"), "not JSON" },
	{ ITEM, TEXT("\xff\xfe{\0}\0"), "not JSON" },

	/* JSON of another shape */
	{ ITEM, TEXT("[]"), "not a JSON object" },
	{ ITEM, TEXT("null"), "JSON" },
	{ ITEM, TEXT("\"item\""), "not a JSON object" },
	{ ITEM, TEXT("42"), "JSON" },
	{ PAGE, TEXT("[{\"id\":\"A\",\"name\":\"a\"}]"), "not a JSON object" },
	{ PAGE, TEXT("true"), "JSON" },
	{ DRIVE, TEXT("[]"), "not a JSON object" },
	{ SUBSCRIPTION, TEXT("null"), "JSON" },
	{ ITEM, TEXT("{}"), "id" },
	{ ITEM, TEXT("{\"error\":{\"code\":\"generalException\"}}"), "id" },
	{ PAGE, TEXT("{}"), "value" },
	{ PAGE, TEXT("{\"error\":{\"code\":\"itemNotFound\"}}"), "value" },
	{ DRIVE, TEXT("{\"error\":{\"code\":\"accessDenied\"}}"), "id" },
	{ SUBSCRIPTION, TEXT("{\"error\":{\"code\":\"notSupported\"}}"), "notificationUrl" },

	/* id and name */
	{ ITEM, TEXT("{\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":null,\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":\"\",\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":7,\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":{},\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":\"a\\u0000b\",\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":\"a\xff\",\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":\"\xed\xa0\x80\",\"name\":\"n\",\"file\":{}}"), "id" },
	{ ITEM, TEXT("{\"id\":\"I\",\"file\":{}}"), "name" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":null,\"file\":{}}"), "name" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":17,\"file\":{}}"), "name" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":[\"n\"],\"file\":{}}"), "name" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":true,\"file\":{}}"), "name" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":{\"x\":1},\"deleted\":{}}"), "name" },

	/* sizes and counts */
	{ ITEM, ITEM_AND("\"size\":-1"), "size" },
	{ ITEM, ITEM_AND("\"size\":\"12\""), "size" },
	{ ITEM, ITEM_AND("\"size\":1.5"), "size" },
	{ ITEM, ITEM_AND("\"size\":1e30"), "size" },
	{ ITEM, ITEM_AND("\"size\":99999999999999999999"), "size" },
	{ ITEM, ITEM_AND("\"size\":-99999999999999999999"), "size" },
	{ ITEM, ITEM_AND("\"size\":9223372036854775807"), "size" },
	{ ITEM, ITEM_AND("\"size\":9223372036854775808"), "size" },
	{ ITEM, ITEM_AND("\"size\":18446744073709551615"), "size" },
	{ ITEM, ITEM_AND("\"size\":{}"), "size" },
	{ ITEM, ITEM_AND("\"size\":false"), "size" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"folder\":{\"childCount\":\"3\"}}"),
	  "childCount" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"folder\":{\"childCount\":2.5}}"),
	  "childCount" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"folder\":{\"childCount\":[]}}"),
	  "childCount" },

	/* facets */
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":true}"), "file" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":[]}"), "file" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":\"text/plain\"}"), "file" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"folder\":1}"), "folder" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"folder\":[]}"), "folder" },
	{ ITEM, ITEM_AND("\"root\":1"), "root" },
	{ ITEM, ITEM_AND("\"root\":\"yes\""), "root" },
	{ ITEM, ITEM_AND("\"deleted\":true"), "deleted" },
	{ ITEM, ITEM_AND("\"deleted\":\"deleted\""), "deleted" },
	{ ITEM, ITEM_AND("\"deleted\":[]"), "deleted" },
	{ ITEM, ITEM_AND("\"malware\":0"), "malware" },
	{ ITEM, ITEM_AND("\"package\":\"oneNote\""), "package" },
	{ ITEM, ITEM_AND("\"specialFolder\":\"vault\""), "specialFolder" },
	{ ITEM, ITEM_AND("\"remoteItem\":\"x\""), "remoteItem" },
	{ ITEM, ITEM_AND("\"remoteItem\":{\"id\":3}"), "id" },
	{ ITEM, ITEM_AND("\"remoteItem\":{\"id\":\"R\",\"parentReference\":[]}"),
	  "remoteItem.parentReference" },
	{ ITEM, ITEM_AND("\"remoteItem\":{\"id\":\"R\",\"parentReference\":{\"driveId\":1}}"),
	  "driveId" },

	/* hashes */
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{\"hashes\":[]}}"), "hashes" },
	{ ITEM, TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{\"hashes\":{\"quickXorHash\":1}}}"),
	  "quickXorHash" },
	{ ITEM,
	  TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{\"hashes\":{\"quickXorHash\":\"abc\"}}}"),
	  "quickXorHash" },
	{ ITEM,
	  TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{\"hashes\":{\"quickXorHash\":"
	       "\"****************************\"}}}"),
	  "quickXorHash" },
	{ ITEM,
	  TEXT("{\"id\":\"I\",\"name\":\"n\",\"file\":{\"hashes\":{\"quickXorHash\":"
	       "\"AAAAAAAAAAAAAAAAAAAAAAAAAAA\\u0000\"}}}"),
	  "quickXorHash" },

	/* parents, tags, URLs */
	{ ITEM, ITEM_AND("\"parentReference\":\"/drive/root:\""), "parentReference" },
	{ ITEM, ITEM_AND("\"parentReference\":[]"), "parentReference" },
	{ ITEM, ITEM_AND("\"parentReference\":{\"id\":5}"), "id" },
	{ ITEM, ITEM_AND("\"parentReference\":{\"id\":\"a\\u0000\"}"), "id" },
	{ ITEM, ITEM_AND("\"parentReference\":{\"id\":\"P\",\"driveId\":false}"), "driveId" },
	{ ITEM, ITEM_AND("\"eTag\":1"), "eTag" },
	{ ITEM, ITEM_AND("\"eTag\":\"a\\u0000b\""), "eTag" },
	{ ITEM, ITEM_AND("\"cTag\":[]"), "cTag" },
	{ ITEM, ITEM_AND("\"cTag\":\"\xc3\""), "cTag" },
	{ ITEM, ITEM_AND("\"webUrl\":{}"), "webUrl" },
	{ ITEM, ITEM_AND("\"@microsoft.graph.downloadUrl\":17"), "downloadUrl" },
	{ ITEM, ITEM_AND("\"@microsoft.graph.downloadUrl\":\"https://h/\\u0000x\""),
	  "downloadUrl" },

	/* times */
	{ ITEM, ITEM_AND("\"lastModifiedDateTime\":1711965600"), "lastModifiedDateTime" },
	{ ITEM, ITEM_AND("\"lastModifiedDateTime\":\"yesterday\""), "lastModifiedDateTime" },
	{ ITEM, ITEM_AND("\"lastModifiedDateTime\":\"2024-13-01T00:00:00Z\""),
	  "lastModifiedDateTime" },
	{ ITEM, ITEM_AND("\"createdDateTime\":\"2024-01-01\""), "createdDateTime" },
	{ ITEM, ITEM_AND("\"fileSystemInfo\":\"2024-01-01T00:00:00Z\""), "fileSystemInfo" },
	{ ITEM, ITEM_AND("\"fileSystemInfo\":{\"lastModifiedDateTime\":{}}"),
	  "lastModifiedDateTime" },
	{ ITEM, ITEM_AND("\"fileSystemInfo\":{\"createdDateTime\":\"2024-01-01T25:00:00Z\"}"),
	  "createdDateTime" },

	/* pages: an item that does not say which it is makes the page bad; they count from zero */
	{ PAGE, TEXT("{\"value\":null}"), "value" },
	{ PAGE, TEXT("{\"value\":{}}"), "value" },
	{ PAGE, TEXT("{\"value\":\"\"}"), "value" },
	{ PAGE, TEXT("{\"value\":[null]}"), "value[0]" },
	{ PAGE, TEXT("{\"value\":[[]]}"), "value[0]" },
	{ PAGE, TEXT("{\"value\":[\"I\"]}"), "value[0]" },
	{ PAGE, TEXT("{\"value\":[{}]}"), "value[0]: id" },
	{ PAGE_ITEM, PAGE_AND("\"size\":\"1\""), "value[1]: size" },
	{ PAGE_ITEM, PAGE_AND("\"size\":-5"), "value[1]: size" },
	{ PAGE_ITEM, PAGE_AND("\"deleted\":1"), "value[1]: deleted" },
	{ PAGE_ITEM, PAGE_AND("\"parentReference\":1"), "value[1]: parentReference" },
	{ PAGE, PAGE_AND("\"id\":\"\""), "value[1]: id" },
	{ PAGE_ITEM, PAGE_AND("\"eTag\":\"\xff\""), "value[1]: eTag" },
	{ PAGE_ITEM, PAGE_AND("\"name\":null"), "value[1]: name" },
	{ PAGE_ITEM, PAGE_AND("\"size\":99999999999999999999"), "value[1]: size" },
	{ PAGE, TEXT("{\"value\":[],\"@odata.nextLink\":1}"), "nextLink" },
	{ PAGE, TEXT("{\"value\":[],\"@odata.nextLink\":{}}"), "nextLink" },
	{ PAGE, TEXT("{\"value\":[],\"@odata.nextLink\":\"https://h/\\u0000\"}"), "nextLink" },
	{ PAGE, TEXT("{\"value\":[],\"@odata.deltaLink\":[]}"), "deltaLink" },
	{ PAGE, TEXT("{\"value\":[],\"@odata.deltaLink\":\"https://h/\xff\"}"), "deltaLink" },

	/* drives */
	{ DRIVE, TEXT("{}"), "id" },
	{ DRIVE, TEXT("{\"id\":\"\"}"), "id" },
	{ DRIVE, TEXT("{\"id\":1}"), "id" },
	{ DRIVE, TEXT("{\"id\":\"D\\u0000\"}"), "id" },
	{ DRIVE, TEXT("{\"id\":\"D\",\"driveType\":1}"), "driveType" },
	{ DRIVE, TEXT("{\"id\":\"D\",\"name\":[]}"), "name" },
	{ DRIVE, TEXT("{\"id\":\"D\",\"webUrl\":0}"), "webUrl" },

	/* subscriptions */
	{ SUBSCRIPTION, TEXT("{}"), "notificationUrl" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":null}"), "notificationUrl" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":\"\"}"), "notificationUrl" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":7}"), "notificationUrl" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":\"https://h/\\u0000\"}"), "notificationUrl" },
	{ SUBSCRIPTION, TEXT("{\"id\":1,\"notificationUrl\":\"https://h/\"}"), "id" },
	{ SUBSCRIPTION,
	  TEXT("{\"notificationUrl\":\"https://h/\",\"expirationDateTime\":\"never\"}"),
	  "expirationDateTime" },
	{ SUBSCRIPTION, TEXT("{\"notificationUrl\":\"https://h/\",\"expirationDateTime\":3600}"),
	  "expirationDateTime" },
};

/* Parses as that reply; the output must be left alone on failure. */
static int parse(enum reply reply, const char *body, size_t len, struct item_problem *problem)
{
	char untouched[sizeof(struct item)];
	union {
		char bytes[sizeof(struct item)];
		struct item item;
		struct item_page page;
		struct item_drive drive;
		struct item_subscription sub;
	} out;
	int r = -ENOSYS;

	memset(&out, 0x5a, sizeof(out));
	memset(untouched, 0x5a, sizeof(untouched));
	switch (reply) {
	case ITEM:
		r = item_parse_body(body, len, &out.item, problem);
		break;
	case PAGE:
	case PAGE_ITEM:
		r = item_parse_page(body, len, &out.page, problem);
		break;
	case DRIVE:
		r = item_parse_drive(body, len, &out.drive, problem);
		break;
	case SUBSCRIPTION:
		r = item_parse_subscription(body, len, &out.sub, problem);
		break;
	}
	if (r < 0)
		assert_memory_equal(out.bytes, untouched, sizeof(untouched));
	return r;
}

static void expect_broken(size_t row, enum reply reply, const char *body, size_t len,
			  const char *names)
{
	struct item_problem problem = { "" };
	/* An exact copy, so that a read beyond the end is seen by the sanitizers. */
	char *copy = malloc(len ? len : 1);

	assert_non_null(copy);
	memcpy(copy, body, len);
	if (parse(reply, copy, len, &problem) != -EBADMSG)
		fail_msg("row %zu was accepted: %.80s", row, body);
	if (!strstr(problem.text, names))
		fail_msg("row %zu: \"%s\" does not name %s", row, problem.text, names);
	free(copy);
}

/* The item that cannot be believed is named, and the other is given out. */
static void expect_bad_item(size_t row, const char *body, size_t len, const char *names)
{
	struct item_problem problem = { "" };
	struct item_page page = { 0 };

	if (item_parse_page(body, len, &page, &problem) != 0)
		fail_msg("row %zu was refused: %s", row, problem.text);
	assert_int_equal(page.n, 1);
	assert_string_equal(page.items[0].id, "A");
	assert_int_equal(page.bad_n, 1);
	assert_string_equal(page.bad[0].id, "I");
	if (!strstr(page.bad[0].problem.text, names))
		fail_msg("row %zu: \"%s\" does not name %s", row, page.bad[0].problem.text, names);
	item_page_fini(&page);
}

static void test_table(void **state)
{
	assert_true(array_n(rows) >= 100);
	for (size_t i = 0; i < array_n(rows); i++) {
		if (rows[i].reply == PAGE_ITEM)
			expect_bad_item(i, rows[i].body, rows[i].len, rows[i].names);
		else
			expect_broken(i, rows[i].reply, rows[i].body, rows[i].len, rows[i].names);
	}
}

/* So many items cannot be wrong each for itself. */
static void test_too_many_bad_items(void **state)
{
	char body[8192] = "{\"value\":[";
	size_t len = strlen(body);

	for (int n = 1; n <= ITEM_BAD_MAX + 1; n++) {
		struct item_problem problem = { "" };
		struct item_page page = { 0 };
		int r;

		len += (size_t)snprintf(body + len, sizeof(body) - len,
					"%s{\"id\":\"I%d\",\"name\":7}", n > 1 ? "," : "", n);
		memcpy(body + len, "]}", 3);
		r = item_parse_page(body, len + 2, &page, &problem);
		assert_int_equal(r, n <= ITEM_BAD_MAX ? 0 : -EBADMSG);
		if (r < 0)
			assert_non_null(strstr(problem.text, "malformed, the last: name"));
		else
			assert_int_equal(page.bad_n, n);
		item_page_fini(&page);
	}
}

/* A whole page, cut at every byte, is never taken for a page. */
static void test_truncation_at_every_byte(void **state)
{
	static const char page[] =
		"{\"value\":[{\"id\":\"A\",\"name\":\"\\u00e4\\ud83d\\ude00\",\"size\":12,"
		"\"file\":{\"hashes\":{\"quickXorHash\":\"aCgDG9jwBgAAAAAABQAAAAAAAAA=\"}},"
		"\"parentReference\":{\"id\":\"P\",\"driveId\":\"D\"},\"fileSystemInfo\":"
		"{\"lastModifiedDateTime\":\"2024-04-01T10:00:00.123Z\"}}],"
		"\"@odata.deltaLink\":\"https://graph.microsoft.com/v1.0/x?token=1\"}";
	struct item_page whole = { 0 };
	struct item_problem problem = { "" };

	for (size_t len = 0; len < sizeof(page) - 1; len++)
		expect_broken(len, PAGE, page, len, "not JSON");
	assert_int_equal(item_parse_page(page, sizeof(page) - 1, &whole, &problem), 0);
	item_page_fini(&whole);
}

/* Every single byte replaced by every kind of nonsense: accepted or refused, never a crash. */
static void test_damage_at_every_byte(void **state)
{
	static const char nonsense[] = { '\0', '"', '{', '}', '[', '9', '-', '\\', '\x7f', '\xff' };
	static const char item[] =
		"{\"id\":\"A\",\"name\":\"n\",\"size\":12,\"root\":{},\"remoteItem\":{\"id\":\"R\"}"
		","
		"\"lastModifiedDateTime\":\"2024-04-01T10:00:00Z\",\"eTag\":\"e\"}";
	char damaged[sizeof(item)];
	unsigned refused_n = 0;

	for (size_t at = 0; at < sizeof(item) - 1; at++) {
		for (size_t k = 0; k < sizeof(nonsense); k++) {
			struct item_problem problem = { "" };
			struct item got;
			int r;

			memcpy(damaged, item, sizeof(item));
			damaged[at] = nonsense[k];
			r = item_parse_body(damaged, sizeof(item) - 1, &got, &problem);
			if (r == 0)
				item_fini(&got);
			else
				assert_true(r == -EBADMSG && problem.text[0]);
			refused_n += r != 0;
		}
	}
	assert_true(refused_n > 0);
}

static void expect_long(const char *before, size_t n, const char *after, const char *names)
{
	size_t a = strlen(before), b = strlen(after);
	char *body = malloc(a + n + b);

	assert_non_null(body);
	memcpy(body, before, a);
	memset(body + a, 'x', n);
	memcpy(body + a + n, after, b);
	expect_broken(n, ITEM, body, a + n + b, names);
	free(body);
}

static void test_lengths_are_bounded(void **state)
{
	expect_long("{\"name\":\"n\",\"file\":{},\"id\":\"", ITEM_ID_MAX + 1, "\"}", "id");
	expect_long("{\"id\":\"I\",\"file\":{},\"name\":\"", ITEM_NAME_MAX + 1, "\"}", "name");
	expect_long("{\"id\":\"I\",\"name\":\"n\",\"eTag\":\"", ITEM_TAG_MAX + 1, "\"}", "eTag");
	expect_long("{\"id\":\"I\",\"name\":\"n\",\"cTag\":\"", ITEM_TAG_MAX + 1, "\"}", "cTag");
	expect_long("{\"id\":\"I\",\"name\":\"n\",\"webUrl\":\"", ITEM_URL_MAX + 1, "\"}",
		    "webUrl");
	expect_long("{\"id\":\"I\",\"name\":\"n\",\"createdDateTime\":\"", 65, "\"}",
		    "createdDateTime");
}

static void test_counts_and_depth_are_bounded(void **state)
{
	enum { EACH = 3, N = ITEM_PAGE_MAX + 1 };
	size_t len = 0, cap = 16 + (size_t)N * EACH;
	char *body = malloc(cap);

	assert_non_null(body);
	len = (size_t)snprintf(body, cap, "{\"value\":[");
	for (size_t i = 0; i < N; i++, len += EACH)
		memcpy(body + len, i + 1 < N ? "{}," : "{}]", EACH);
	body[len++] = '}';
	expect_broken(0, PAGE, body, len, "more than");
	memset(body, '[', cap);
	expect_broken(1, PAGE, body, cap, "not JSON");
	for (size_t i = 0; i + 5 <= 60000; i += 5)
		memcpy(body + i, "{\"a\":", 5);
	expect_broken(2, ITEM, body, 60000, "not JSON");
	free(body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_too_many_bad_items),
		cmocka_unit_test(test_truncation_at_every_byte),
		cmocka_unit_test(test_damage_at_every_byte),
		cmocka_unit_test(test_lengths_are_bounded),
		cmocka_unit_test(test_counts_and_depth_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

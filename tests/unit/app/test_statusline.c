#include "statusline.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *shown(const char *json, time_t now)
{
	struct json_object *status = json_tokener_parse(json);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(status);
	statusline_print(out, status, now);
	(void)fclose(out);
	json_object_put(status);
	return text;
}

/* 2026-01-02 03:04:05 UTC */
static const time_t now = 1767323045;

static void test_live(void **state)
{
	auto_free char *text =
		shown("{\"mountpoint\":\"/m\",\"state\":\"live\",\"reason\":\"\",\"channel\":{"
		      "\"url_host\":\"h.svc.ms\",\"connected_since\":\"2026-01-02T01:04:05Z\","
		      "\"last_notification\":\"2026-01-02T03:03:55Z\"},"
		      "\"last_delta\":\"2026-01-01T03:04:05Z\",\"items\":12,\"crawling\":true,"
		      "\"cache\":{\"bytes\":3145728,\"files\":2},\"unsent\":1,\"refused\":0,"
		      "\"log\":\"journal\"}",
		      now);

	assert_string_equal(text, "/m: live, changes appear at once\n"
				  "  channel  h.svc.ms, up since 01:04:05 (2 h ago)\n"
				  "  notified 03:03:55 (10 s ago)\n"
				  "  checked  2026-01-01 03:04:05 (24 h ago)\n"
				  "  known    12 items, still reading the tree\n"
				  "  cached   3.0 MiB in 2 files\n"
				  "  unsent   1 change to send\n"
				  "  log      journalctl -t graphfs\n");
}

static void test_offline_and_why(void **state)
{
	auto_free char *text =
		shown("{\"mountpoint\":\"/m\",\"state\":\"offline\",\"reason\":\"no \\u001broute\","
		      "\"channel\":{\"url_host\":null,\"connected_since\":null,"
		      "\"last_notification\":null},\"last_delta\":null,\"items\":0,"
		      "\"crawling\":false,\"cache\":{\"bytes\":7,\"files\":1},\"skipped\":3,"
		      "\"readers\":{\"person\":{\"refused_files\":0},\"indexer\":{"
		      "\"refused_files\":340,\"refused_bytes\":1288490188}},"
		      "\"unsent\":3,\"refused\":1}",
		      now);

	assert_string_equal(text,
			    "/m: offline, what is cached can be read\n"
			    "  because  no \\x1broute\n"
			    "  channel  not connected\n"
			    "  notified never\n"
			    "  checked  never\n"
			    "  known    0 items\n"
			    "  cached   7 B in 1 files\n"
			    "  unsent   3 changes to send, 1 refused: see user.graphfs.state\n"
			    "  spared   indexers would have downloaded 1.2 GiB in 340 files\n"
			    "  skipped  3 items that the service describes wrongly, see the log\n");
}

/* A daemon of another version. */
static void test_what_is_missing_or_odd(void **state)
{
	static const char *const odd[] = {
		"{}",
		"{\"state\":7,\"channel\":\"x\",\"cache\":[],\"items\":\"many\"}",
		"{\"state\":\"new\",\"channel\":{\"connected_since\":\"yesterday\"}}",
		"{\"readers\":[1]}",
		"{\"readers\":{\"a\":7,\"b\":null,\"c\":{\"refused_files\":\"x\"}}}",
		"{\"last_delta\":\"2099-01-01T00:00:00Z\"}",
	};

	for (size_t i = 0; i < array_n(odd); i++)
		free(shown(odd[i], now));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live),
		cmocka_unit_test(test_offline_and_why),
		cmocka_unit_test(test_what_is_missing_or_odd),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

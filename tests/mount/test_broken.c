/*
 * Replies and frames that no proper service would send. Each must end in an error or in the right
 * result, never in a crash, a changed tree or wrong bytes; afterwards the drive works as before.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define ARRAY_N(a) (sizeof(a) / sizeof((a)[0]))

enum { SAMPLES_MIN = 100, FILE_BYTES = 100000, RECOVER_MS = 60000 };

/* A broken page costs one poll. */
static const char config[] = "[channel]\nbackoff_min = 20ms\nbackoff_max = 50ms\n"
			     "[sync]\ncrawl = off\npoll_min = 20ms\npoll_max = 50ms\n";

/* Bodies of delta; {next} and {delta} are links that work. Each is to be refused as a whole or to
 * change nothing. */
static const char *const delta_bodies[] = {
	"",
	" ",
	"{",
	"[]",
	"null",
	"\"text\"",
	"17",
	"{}",
	"{\"value\":[]}",
	"{\"value\":null,\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":{},\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":7,\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[null],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[7],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[[]],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[\"x\"],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[],\"@odata.deltaLink\":null}",
	"{\"value\":[],\"@odata.deltaLink\":7}",
	"{\"value\":[],\"@odata.deltaLink\":\"\"}",
	"{\"value\":[],\"@odata.deltaLink\":\"http://example.com/v1.0/delta\"}",
	"{\"value\":[],\"@odata.deltaLink\":\"file:///etc/passwd\"}",
	"{\"value\":[],\"@odata.nextLink\":\"http://169.254.169.254/latest\"}",
	"{\"value\":[],\"@odata.nextLink\":\"http://127.0.0.1:1/v1.0/me/drive/root/delta\"}",
	"{\"value\":[],\"@odata.nextLink\":\"relative\"}",
	"{\"value\":[],\"@odata.nextLink\":{}}",
	"{\"value\":[],\"@odata.deltaLink\":\"{delta}\"",
	"{\"value\":[{\"id\":7}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{\"id\":\"\"}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{\"id\":null,\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{\"id\":{},\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{\"id\":\"a\\u0000b\",\"name\":\"x\"}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"value\":[{\"name\":\"no id\",\"file\":{}}],\"@odata.deltaLink\":\"{delta}\"}",
	"{\"error\":{\"code\":\"generalException\"}}",
	"{\"error\":\"text\"}",
	"<html><body>Please sign in to the network</body></html>",
	"\xef\xbb\xbf",
	"{\"value\":[],,\"@odata.deltaLink\":\"{delta}\"}",
	"{'value':[],'@odata.deltaLink':'{delta}'}",
	"{\"value\":[],\"@odata.deltaLink\":\"{delta}\"}}",
	"{\"value\":[],\"@odata.deltaLink\":\"{delta}\"}trailing",
	"{\"value\":[{\"id\":\"A\",\"size\":1e999}],\"@odata.deltaLink\":NaN}",
};

/* Faults of a listing; the directory is listed once under each. */
static const char *const listing_faults[] = {
	"{\"body\":\"\"}",
	"{\"body\":\"{\"}",
	"{\"body\":\"[]\"}",
	"{\"body\":\"{\\\"value\\\":7}\"}",
	"{\"body\":\"{\\\"value\\\":[null]}\"}",
	"{\"body\":\"{\\\"value\\\":[{\\\"id\\\":7}]}\"}",
	"{\"body\":\"{\\\"error\\\":{}}\"}",
	"{\"body\":\"<html>sign in</html>\",\"content_type\":\"text/html\"}",
	"{\"body\":\"{\\\"value\\\":[],\\\"@odata.nextLink\\\":\\\"http://example.com/\\\"}\"}",
	"{\"body\":\"{\\\"value\\\":[],\\\"@odata.nextLink\\\":17}\"}",
	"{\"truncate\":100}",
	"{\"reset_at\":100}",
	"{\"overlong\":100}",
	"{\"content_length\":\"-1\"}",
	"{\"content_length\":\"99999999999999999999\"}",
	"{\"drop\":true}",
	"{\"reset\":true}",
	"{\"raw\":\"HTTP/1.1 200 OK\\r\\n\"}",
	"{\"raw\":\"nonsense\\r\\n\\r\\n\"}",
	"{\"raw\":\"HTTP/1.1 999 ?\\r\\n\\r\\n\"}",
	"{\"status\":301,\"location\":\"http://169.254.169.254/\"}",
	"{\"status\":302,\"location\":\"file:///etc/passwd\"}",
	"{\"status\":302,\"location\":\"\"}",
	"{\"status\":418}",
	"{\"status\":500,\"body\":\"\"}",
	"{\"status\":503,\"retry_after\":\"abc\"}",
	"{\"status\":503,\"retry_after\":\"-7\"}",
};

/* Faults of a download; the file is read once under each. */
static const char *const content_faults[] = {
	"{\"truncate\":50000}",
	"{\"reset_at\":50000}",
	"{\"overlong\":1000}",
	"{\"flip\":1234}",
	"{\"content_range\":\"bytes 5-99999/100000\"}",
	"{\"content_range\":\"bytes 0-99998/99999\"}",
	"{\"content_range\":\"rubbish\"}",
	"{\"content_range\":\"bytes 0-9223372036854775807/9223372036854775807\"}",
	"{\"ignore_range\":true}",
	"{\"body\":\"<html>sign in</html>\",\"content_type\":\"text/html\"}",
	"{\"body\":\"\"}",
	"{\"content_length\":\"-1\"}",
	"{\"headers\":{\"Content-Encoding\":\"gzip\"}}",
	"{\"status\":206,\"body\":\"short\"}",
	"{\"status\":204}",
	"{\"status\":404}",
	"{\"status\":302,\"location\":\"http://example.com/\"}",
	"{\"drop\":true}",
};

/* Members of POST /socket/send. */
static const char *const frames[] = {
	"\"text\":\"\"",
	"\"text\":\"9\"",
	"\"text\":\"x\"",
	"\"text\":\"4\"",
	"\"text\":\"4abc\"",
	"\"text\":\"42\"",
	"\"text\":\"42{}\"",
	"\"text\":\"42[\"",
	"\"text\":\"42[]\"",
	"\"text\":\"42abc[\\\"x\\\"]\"",
	"\"text\":\"42/notifications,[17]\"",
	"\"text\":\"42/notifications,[\\\"unknown\\\"]\"",
	"\"text\":\"42/notifications\"",
	"\"text\":\"42/elsewhere,[\\\"notification\\\"]\"",
	"\"text\":\"42/notifications,99999999999999999999[\\\"notification\\\"]\"",
	"\"text\":\"45-[\\\"x\\\"]\"",
	"\"text\":\"4599-[\\\"x\\\"]\"",
	"\"text\":\"450-/notifications,[\\\"notification\\\"]\"",
	"\"text\":\"451-/"
	"notifications,[\\\"notification\\\",{\\\"_placeholder\\\":true,\\\"num\\\":0}]\","
	"\"binary_b64\":\"AQID\"",
	"\"text\":\"40\"",
	"\"text\":\"40/notifications,{}\"",
	"\"text\":\"41/notifications,\"",
	"\"text\":\"41\"",
	"\"text\":\"44/notifications,{\\\"message\\\":\\\"no\\\"}\"",
	"\"text\":\"44/notifications,\\\"no\\\"\"",
	"\"text\":\"1\"",
	"\"text\":\"6\"",
	"\"text\":\"5\"",
	"\"text\":\"0{\\\"sid\\\":\\\"again\\\"}\"",
	"\"text\":\"b4abcd\"",
	"\"text\":\"2abc\"",
	"\"text\":\"3\"",
	"\"text_b64\":\"//8=\"",
	"\"binary_b64\":\"AQID\"",
	"\"raw_b64\":\"gYEAAAAANA==\"",
	"\"raw_b64\":\"wQE0\"",
	"\"raw_b64\":\"gwA=\"",
	"\"raw_b64\":\"CQA=\"",
	"\"raw_b64\":\"gAA=\"",
	"\"raw_b64\":\"iQA=\"",
	"\"raw_b64\":\"gX9//////////w==\"",
	"\"raw_b64\":\"iAE=\"",
	"\"raw_b64\":\"iAED\"",
	"\"raw_b64\":\"SFRUUC8xLjEgNDAwIEJhZA0KDQo=\"",
	"\"size\":2097152",
	"\"close\":1000",
	"\"close\":1009",
	"\"close\":4999",
	"\"close\":0",
	"\"reset\":true",
	"\"fin\":true",
};

static struct harness h;

static int set_up(void **state)
{
	char path[64];

	harness_start(&h, NULL);
	harness_config(&h, config);
	for (size_t i = 0; i < ARRAY_N(listing_faults); i++) {
		snprintf(path, sizeof(path), "list%zu/inside.txt", i);
		harness_create_text(&h, path, "inside\n");
	}
	for (size_t i = 0; i < ARRAY_N(content_faults); i++) {
		snprintf(path, sizeof(path), "read/file%zu", i);
		harness_create(&h, path, FILE_BYTES);
	}
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void expect_alive(const char *after)
{
	if (kill(h.mount_pid, 0) != 0)
		fail_msg("the program is gone after %s", after);
}

static void test_delta(void **state)
{
	struct json_object *pages = json_object_new_array(), *args = json_object_new_object();

	harness_wait_equal(&h, RECOVER_MS);
	for (size_t i = 0; i < ARRAY_N(delta_bodies); i++)
		json_object_array_add(pages, json_object_new_string(delta_bodies[i]));
	json_object_object_add(args, "pages", pages);
	harness_do(&h, "/delta", NULL, "%s", json_object_to_json_string(args));
	json_object_put(args);
	harness_create_text(&h, "after-delta.txt", "x");
	while (harness_counter(&h, "delta_pages_left") > 0) {
		harness_nap();
		expect_alive("a broken page of delta");
	}
	harness_do(&h, "/delta", NULL, "{\"pages\":null}");
	harness_wait_equal(&h, RECOVER_MS);
}

static void test_listings(void **state)
{
	for (size_t i = 0; i < ARRAY_N(listing_faults); i++) {
		harness_fault(&h, "{\"class\":\"children\",\"first\":1,\"action\":%s}",
			      listing_faults[i]);
		/* An error or the right listing; never an empty or a wrong one. */
		assert_int_equal(harness_sh(&h,
					    "out=$(ls $MNT/list%zu 2>/dev/null) || exit 0; "
					    "test \"$out\" = inside.txt",
					    i),
				 0);
		expect_alive(listing_faults[i]);
		harness_no_faults(&h);
		harness_wait_until(
			harness_sh(&h, "test \"$(ls $MNT/list%zu 2>/dev/null)\" = inside.txt", i) ==
			0);
	}
}

/* 0: the right bytes; 1: wrong ones; else an error of reading. */
static int compare_file(size_t i)
{
	return harness_sh(&h,
			  "cat $MNT/read/file%zu >$DIR/got 2>/dev/null || exit 2; "
			  "curl -sfG --noproxy '*' '%s/content' --data-urlencode path=read/file%zu "
			  "-o $DIR/right || exit 3; cmp -s $DIR/got $DIR/right",
			  i, h.admin, i);
}

static void test_contents(void **state)
{
	for (size_t i = 0; i < ARRAY_N(content_faults); i++) {
		harness_fault(&h, "{\"class\":\"content\",\"first\":1,\"action\":%s}",
			      content_faults[i]);
		if (compare_file(i) == 1)
			fail_msg("wrong bytes were read after %s", content_faults[i]);
		expect_alive(content_faults[i]);
		harness_no_faults(&h);
		harness_wait_until(compare_file(i) == 0);
	}
}

static bool is_joined(void)
{
	struct json_object *reply = harness_admin(&h, "GET", "/socket", NULL), *sockets;
	bool is = false;

	assert_true(json_object_object_get_ex(reply, "sockets", &sockets));
	for (size_t i = 0; i < json_object_array_length(sockets); i++) {
		struct json_object *joined;

		is |= json_object_object_get_ex(json_object_array_get_idx(sockets, i), "joined",
						&joined) &&
		      json_object_get_boolean(joined);
	}
	json_object_put(reply);
	return is;
}

static void test_frames(void **state)
{
	for (size_t i = 0; i < ARRAY_N(frames); i++) {
		harness_wait_until(is_joined());
		harness_do(&h, "/socket/send", NULL, "{%s}", frames[i]);
		expect_alive(frames[i]);
	}
	harness_wait_state(&h, "live");
	harness_create_text(&h, "after-frames.txt", "x");
	harness_wait_until(access(harness_path(&h, "after-frames.txt"), F_OK) == 0);
	/* What a client says in answer to nonsense is no fault of its own. */
	json_object_put(harness_admin(&h, "DELETE", "/violations", NULL));
}

static void test_nothing_was_changed(void **state)
{
	assert_true(ARRAY_N(delta_bodies) + ARRAY_N(listing_faults) + ARRAY_N(content_faults) +
			    ARRAY_N(frames) >=
		    SAMPLES_MIN);
	harness_wait_equal(&h, RECOVER_MS);
	harness_wait_state(&h, "live");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_delta),
		cmocka_unit_test(test_listings),
		cmocka_unit_test(test_contents),
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_nothing_was_changed),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

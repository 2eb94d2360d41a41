#include "progress.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *body;
	int want;
	const char *url;
	bool has_next;
	uint64_t next;
} sessions[] = {
	{ "{\"uploadUrl\":\"https://h/u?t=1\",\"nextExpectedRanges\":[\"0-\"]}", 0,
	  "https://h/u?t=1", true, 0 },
	{ "{\"nextExpectedRanges\":[\"26-\"]}", 0, NULL, true, 26 },
	{ "{\"nextExpectedRanges\":[\"12345-55232\",\"77829-99375\"]}", 0, NULL, true, 12345 },
	{ "{\"nextExpectedRanges\":[\"77829-99375\",\"5-5\",\"3-9\"]}", 0, NULL, true, 3 },
	{ "{\"nextExpectedRanges\":[]}", 0, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":null}", 0, NULL, false, 0 },
	{ "{}", 0, NULL, false, 0 },
	{ "{\"expirationDateTime\":\"never\"}", 0, NULL, false, 0 },
	{ "{\"expirationDateTime\":7,\"nextExpectedRanges\":[\"1-\"]}", 0, NULL, true, 1 },
	{ "", -EBADMSG, NULL, false, 0 },
	{ "[]", -EBADMSG, NULL, false, 0 },
	{ "<html>", -EBADMSG, NULL, false, 0 },
	{ "{\"uploadUrl\":7}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":\"0-\"}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[0]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[null]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"-5\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"5\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"9-5\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"5-x\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\" 5-\"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"5-9 \"]}", -EBADMSG, NULL, false, 0 },
	{ "{\"nextExpectedRanges\":[\"5-\\u0000\"]}", 0, NULL, true, 5 },
	{ "{\"nextExpectedRanges\":[\"99999999999999999999-\"]}", -EBADMSG, NULL, false, 0 },
};

static void test_sessions(void **state)
{
	for (size_t i = 0; i < array_n(sessions); i++) {
		struct progress_session got = { .next = 7 };
		struct item_problem problem = { "" };
		int r = progress_parse_session(sessions[i].body, strlen(sessions[i].body), &got,
					       &problem);

		if (r != sessions[i].want)
			fail_msg("%s: %d %s", sessions[i].body, r, problem.text);
		if (r < 0) {
			assert_int_equal(got.next, 7); /* no output on failure */
			assert_true(problem.text[0]);
			continue;
		}
		if (got.has_next != sessions[i].has_next || got.next != sessions[i].next ||
		    (got.url ? !sessions[i].url || strcmp(got.url, sessions[i].url) != 0
			     : sessions[i].url != NULL))
			fail_msg("%s: %d %llu %s", sessions[i].body, got.has_next,
				 (unsigned long long)got.next, got.url);
		progress_session_fini(&got);
	}
}

static const struct {
	const char *body;
	int want;
	enum progress_state state;
	int percent;
	const char *item_id, *code;
} copies[] = {
	{ "{\"status\":\"inProgress\",\"percentageComplete\":27.8,\"resourceId\":\"\"}", 0,
	  PROGRESS_RUNS, 27, NULL, NULL },
	{ "{\"status\":\"notStarted\"}", 0, PROGRESS_RUNS, 0, NULL, NULL },
	{ "{\"status\":\"waiting\",\"percentageComplete\":\"12\"}", 0, PROGRESS_RUNS, 12, NULL,
	  NULL },
	{ "{\"status\":\"completed\",\"percentageComplete\":100,\"resourceId\":\"01NEW\"}", 0,
	  PROGRESS_DONE, 100, "01NEW", NULL },
	{ "{\"status\":\"completed\"}", 0, PROGRESS_DONE, 0, NULL, NULL },
	{ "{\"status\":\"failed\",\"error\":{\"code\":\"nameAlreadyExists\"}}", 0, PROGRESS_FAILED,
	  0, NULL, "nameAlreadyExists" },
	{ "{\"status\":\"failed\",\"errorCode\":\"AccessDenied_x\"}", 0, PROGRESS_FAILED, 0, NULL,
	  "AccessDenied_x" },
	{ "{\"status\":\"cancelled\",\"percentageComplete\":-1e400}", 0, PROGRESS_FAILED, 0, NULL,
	  NULL },
	{ "{\"status\":\"dancing\"}", -EBADMSG, 0, 0, NULL, NULL },
	{ "{}", -EBADMSG, 0, 0, NULL, NULL },
	{ "{\"status\":3}", -EBADMSG, 0, 0, NULL, NULL },
	{ "", -EBADMSG, 0, 0, NULL, NULL },
	{ "\"completed\"", -EBADMSG, 0, 0, NULL, NULL },
};

static bool is_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : !a && !b;
}

static void test_copies(void **state)
{
	for (size_t i = 0; i < array_n(copies); i++) {
		struct progress_copy got = { 0 };
		struct item_problem problem = { "" };
		int r = progress_parse_copy(copies[i].body, strlen(copies[i].body), &got, &problem);

		if (r != copies[i].want)
			fail_msg("%s: %d %s", copies[i].body, r, problem.text);
		if (r == 0 &&
		    (got.state != copies[i].state || (int)got.percent != copies[i].percent ||
		     !is_text(got.item_id, copies[i].item_id) ||
		     !is_text(got.code, copies[i].code)))
			fail_msg("%s: %d %f %s %s", copies[i].body, got.state, got.percent,
				 got.item_id, got.code);
		progress_copy_fini(&got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sessions),
		cmocka_unit_test(test_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

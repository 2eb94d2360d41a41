#include "simhttp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_request(void **state)
{
	static const char text[] =
		"POST /a%20b?x=1&y=%2B+z HTTP/1.1\r\nHost: h\r\ncontent-length: 3\r\n"
		"Empty:\r\n\r\nabcGET ";
	struct simreq req = { 0 };
	size_t used = 0;
	char *y;

	/* Every shorter beginning is not yet a head. */
	for (size_t n = 0; n < sizeof(text) - 8; n++) {
		assert_int_equal(simhttp_parse_head(text, n, &req, &used), 0);
		assert_int_equal(used, 0);
	}
	assert_int_equal(simhttp_parse_head(text, sizeof(text) - 1, &req, &used), 0);
	assert_int_equal(used, sizeof(text) - 8);
	assert_string_equal(req.method, "POST");
	assert_string_equal(req.path, "/a%20b");
	assert_string_equal(req.target, "/a%20b?x=1&y=%2B+z");
	assert_string_equal(simhttp_head(&req, "HOST"), "h");
	assert_string_equal(simhttp_head(&req, "empty"), "");
	assert_null(simhttp_head(&req, "Hos"));
	assert_int_equal(req.body_len, 3);
	assert_true(req.keep_alive);
	y = simhttp_param(&req, "y");
	assert_string_equal(y, "+ z");
	free(y);
	assert_null(simhttp_param(&req, "z"));
	simhttp_free_req(&req);
}

static void test_malformed(void **state)
{
	static const char *const texts[] = {
		"GET / HTTP/2.0\r\n\r\n",
		"GET\r\n\r\n",
		"\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct simreq req = { 0 };
		size_t used;

		assert_true(simhttp_parse_head(texts[i], strlen(texts[i]), &req, &used) < 0);
		assert_null(req.memory);
	}
}

static void test_coding(void **state)
{
	char text[] = "a%2Fb%zz%4%25%c3%9c";
	struct simjson out = { 0 };
	size_t len;
	char *data;

	simhttp_decode(text);
	assert_string_equal(text, "a/b%zz%4%\xc3\x9c");
	simhttp_encode(&out, "a b/\xc3\x9c~", 7);
	assert_string_equal(out.data, "a%20b%2F%C3%9C~");
	simjson_fini(&out);
	data = simhttp_base64("AP9hYg==", &len);
	assert_int_equal(len, 4);
	assert_memory_equal(data,
			    "\0\xff"
			    "ab",
			    4);
	free(data);
	assert_null(simhttp_base64("a*b", &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_coding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

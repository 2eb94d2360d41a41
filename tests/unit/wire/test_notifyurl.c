#include "notifyurl.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define DIAL "/socket.io/?EIO=4&transport=websocket"

static const char *const hosts[] = { ".svc.ms", ".svc.example", NULL };

static const struct url_row {
	const char *url, *host;
	unsigned port;
	bool tls;
	const char *path, *ns;
} url_rows[] = {
	/* what the service sends */
	{ "https://southcentralus1-7.pushnp.svc.ms/notifications?token=abc&applicationId=1-2",
	  "southcentralus1-7.pushnp.svc.ms", 443, true, DIAL "&token=abc&applicationId=1-2",
	  "/notifications" },
	/* what the documentation shows */
	{ "https://f3hb0mpua.svc.ms/zbaehwg/callback?snthgk=1ff3-2345672zz831837523",
	  "f3hb0mpua.svc.ms", 443, true, DIAL "&snthgk=1ff3-2345672zz831837523", "/zbaehwg" },
	{ "https://h.svc.ms/callback?a=b", "h.svc.ms", 443, true, DIAL "&a=b", "/" },
	{ "https://h.svc.ms/a/b/callback?a", "h.svc.ms", 443, true, DIAL "&a", "/a/b" },
	{ "https://h.svc.ms/callbacks?a", "h.svc.ms", 443, true, DIAL "&a", "/callbacks" },
	{ "https://h.svc.ms/a/Callback?a", "h.svc.ms", 443, true, DIAL "&a", "/a/Callback" },
	{ "https://h.svc.ms/n?next=/callback?x", "h.svc.ms", 443, true, DIAL "&next=/callback?x",
	  "/n" },

	/* the query, byte for byte */
	{ "https://h.svc.ms/n?token=a%2Fb%2fc+d==&&x=%zz&\xc3\xa9\xff~!'()*;:@[]{}|\\^\"<>`,",
	  "h.svc.ms", 443, true,
	  DIAL "&token=a%2Fb%2fc+d==&&x=%zz&\xc3\xa9\xff~!'()*;:@[]{}|\\^\"<>`,", "/n" },
	{ "https://h.svc.ms/n?a=1#fragment?b", "h.svc.ms", 443, true, DIAL "&a=1", "/n" },
	{ "https://h.svc.ms/n?a#b", "h.svc.ms", 443, true, DIAL "&a", "/n" },
	{ "https://h.svc.ms/n??a", "h.svc.ms", 443, true, DIAL "&?a", "/n" },
	{ "https://h.svc.ms/n?", "h.svc.ms", 443, true, DIAL, "/n" },
	{ "https://h.svc.ms/n", "h.svc.ms", 443, true, DIAL, "/n" },
	{ "https://h.svc.ms/n#x", "h.svc.ms", 443, true, DIAL, "/n" },
	{ "https://h.svc.ms/n?#", "h.svc.ms", 443, true, DIAL, "/n" },

	/* paths */
	{ "https://h.svc.ms", "h.svc.ms", 443, true, DIAL, "/" },
	{ "https://h.svc.ms?a=b", "h.svc.ms", 443, true, DIAL "&a=b", "/" },
	{ "https://h.svc.ms/?a=b", "h.svc.ms", 443, true, DIAL "&a=b", "/" },
	{ "https://h.svc.ms/n/?a=b", "h.svc.ms", 443, true, DIAL "&a=b", "/n" },
	{ "https://h.svc.ms/n//?a=b", "h.svc.ms", 443, true, DIAL "&a=b", "/n" },
	{ "https://h.svc.ms/%2e%2e/n?a", "h.svc.ms", 443, true, DIAL "&a", "/%2e%2e/n" },
	{ "https://h.svc.ms/n?a=user@host", "h.svc.ms", 443, true, DIAL "&a=user@host", "/n" },
	{ "https://h.svc.ms/user@host?a", "h.svc.ms", 443, true, DIAL "&a", "/user@host" },

	/* hosts and ports */
	{ "HTTPS://H.SVC.MS:8443/n?a", "H.SVC.MS", 8443, true, DIAL "&a", "/n" },
	{ "https://h.svc.ms:1/n", "h.svc.ms", 1, true, DIAL, "/n" },
	{ "https://h.svc.ms:65535/n", "h.svc.ms", 65535, true, DIAL, "/n" },
	{ "https://h.svc.ms:00443/n", "h.svc.ms", 443, true, DIAL, "/n" },
	{ "https://h.svc.example?a", "h.svc.example", 443, true, DIAL "&a", "/" },
	{ "http://127.0.0.1:8080/n?a", "127.0.0.1", 8080, false, DIAL "&a", "/n" },
	{ "http://localhost/n?a", "localhost", 80, false, DIAL "&a", "/n" },
	{ "https://LocalHost/n?a", "LocalHost", 443, true, DIAL "&a", "/n" },
	{ "http://[::1]:8080/n?a", "::1", 8080, false, DIAL "&a", "/n" },
	{ "http://[::1]/n?a", "::1", 80, false, DIAL "&a", "/n" },
	{ "https://[::1]", "::1", 443, true, DIAL, "/" },
};

static void test_urls(void **state)
{
	for (size_t i = 0; i < array_n(url_rows); i++) {
		const struct url_row *row = &url_rows[i];
		struct notifyurl got;

		print_message("row %zu\n", i);
		assert_int_equal(notifyurl_parse(row->url, 4, hosts, &got), 0);
		assert_string_equal(got.host, row->host);
		assert_int_equal(got.port, row->port);
		assert_int_equal(got.tls, row->tls);
		assert_string_equal(got.path, row->path);
		assert_string_equal(got.ns, row->ns);
		notifyurl_fini(&got);
	}
}

static const struct hostile_row {
	const char *url;
	int want;
} hostile_rows[] = {
	/* not this scheme */
	{ "", -EPERM },
	{ "h.svc.ms/n?a", -EPERM },
	{ "//h.svc.ms/n?a", -EPERM },
	{ "/notifications?a", -EPERM },
	{ "https:/h.svc.ms/n", -EPERM },
	{ "https:h.svc.ms/n", -EPERM },
	{ "https//h.svc.ms/n", -EPERM },
	{ "wss://h.svc.ms/n?a", -EPERM },
	{ "ftp://h.svc.ms/n?a", -EPERM },
	{ "file:///etc/passwd", -EPERM },
	{ "javascript:alert(1)//.svc.ms", -EPERM },
	{ "httpss://h.svc.ms/n", -EPERM },
	{ "http://h.svc.ms/n?a", -EPERM },
	{ "http://127.0.0.1.svc.ms/n", -EPERM },

	/* not these hosts */
	{ "https://example.com/n?a", -EPERM },
	{ "https://svc.ms/n?a", -EPERM },
	{ "https://evilsvc.ms/n?a", -EPERM },
	{ "https://h.svc.ms.example.com/n?a", -EPERM },
	{ "https://h.svc.ms./n?a", -EPERM },
	{ "https://example.com/.svc.ms?a", -EPERM },
	{ "https://example.com?.svc.ms", -EPERM },
	{ "https://example.com#.svc.ms", -EPERM },
	{ "https://10.0.0.1/n?a", -EPERM },
	{ "https://[fe80::1]/n?a", -EPERM },
	{ "https://127.0.0.1.example.com/n", -EPERM },
	{ "http://127.0.0.2/n", -EPERM },
	{ "http://2130706433/n", -EPERM },
	{ "http://localhost.example.com/n", -EPERM },

	/* userinfo */
	{ "https://user@h.svc.ms/n?a", -EPERM },
	{ "https://user:pass@h.svc.ms/n?a", -EPERM },
	{ "https://h.svc.ms@example.com/n?a", -EPERM },
	{ "https://h.svc.ms:443@example.com/n?a", -EPERM },
	{ "https://@h.svc.ms/n?a", -EPERM },
	{ "https://example.com\\@h.svc.ms/n", -EPERM },

	/* no host at all, or one that can be read in two ways */
	{ "https://", -EBADMSG },
	{ "https:///n?a", -EBADMSG },
	{ "https://?a", -EBADMSG },
	{ "https://:443/n", -EBADMSG },
	{ "https://.svc.ms/n", -EBADMSG },
	{ "https://example.com\\.svc.ms/n", -EBADMSG },
	{ "https://example.com%2f.svc.ms/n", -EBADMSG },
	{ "https://example.com%00.svc.ms/n", -EBADMSG },
	{ "https://ex\xc3\xa4mple.svc.ms/n", -EBADMSG },
	{ "https://a,b.svc.ms/n", -EBADMSG },
	{ "https://a;b.svc.ms/n", -EBADMSG },
	{ "https://[]/n", -EBADMSG },
	{ "https://[::1/n", -EBADMSG },
	{ "https://::1]/n", -EBADMSG },
	{ "https://[::1]x/n", -EBADMSG },
	{ "https://[::1].svc.ms/n", -EBADMSG },
	{ "https://[::1%25lo]/n", -EBADMSG },
	{ "https://[localhost]/n", -EBADMSG },

	/* ports */
	{ "https://h.svc.ms:/n", -EBADMSG },
	{ "https://h.svc.ms:0/n", -EBADMSG },
	{ "https://h.svc.ms:65536/n", -EBADMSG },
	{ "https://h.svc.ms:99999/n", -EBADMSG },
	{ "https://h.svc.ms:000443/n", -EBADMSG },
	{ "https://h.svc.ms:-1/n", -EBADMSG },
	{ "https://h.svc.ms:+443/n", -EBADMSG },
	{ "https://h.svc.ms:443a/n", -EBADMSG },
	{ "https://h.svc.ms:44:3/n", -EBADMSG },
	{ "http://[::1]:/n", -EBADMSG },
	{ "http://[::1]:0/n", -EBADMSG },

	/* what would end the request line, or the namespace */
	{ "https://h.svc.ms/n?a b", -EBADMSG },
	{ "https://h.svc.ms/n?a\tb", -EBADMSG },
	{ "https://h.svc.ms/n?a\r\nAuthorization: x", -EBADMSG },
	{ "https://h.svc.ms/n?a\n", -EBADMSG },
	{ "https://h.svc.ms/n?\x7f", -EBADMSG },
	{ "https://h.svc.ms/n\x1b[2J?a", -EBADMSG },
	{ " https://h.svc.ms/n", -EBADMSG },
	{ "https://h.svc.ms/n,1[\"x\"]?a", -EBADMSG },
};

static void test_hostile(void **state)
{
	for (size_t i = 0; i < array_n(hostile_rows); i++) {
		struct notifyurl got = { .port = 7 };

		print_message("row %zu\n", i);
		assert_int_equal(notifyurl_parse(hostile_rows[i].url, 4, hosts, &got),
				 hostile_rows[i].want);
		assert_true(got.port == 7 && !got.host && !got.path && !got.ns);
	}
}

static void test_versions(void **state)
{
	struct notifyurl got;

	assert_int_equal(notifyurl_parse("https://h.svc.ms/n?a=b", 3, hosts, &got), 0);
	assert_string_equal(got.path, "/socket.io/?EIO=3&transport=websocket&a=b");
	assert_int_equal(got.eio, 3);
	notifyurl_fini(&got);
	assert_null(got.path);
	notifyurl_fini(&got);
}

static void test_any_host(void **state)
{
	struct notifyurl got;

	assert_int_equal(notifyurl_parse("https://push.example.de/n", 4, NULL, &got), 0);
	assert_string_equal(got.host, "push.example.de");
	notifyurl_fini(&got);
	assert_int_equal(notifyurl_parse("https://[fe80::1]:9/n", 4, NULL, &got), 0);
	assert_string_equal(got.host, "fe80::1");
	notifyurl_fini(&got);
	assert_int_equal(notifyurl_parse("http://push.example.de/n", 4, NULL, &got), -EPERM);
}

/* n bytes of query or host. */
static int parse_long(const char *head, size_t n, const char *tail, struct notifyurl *ret)
{
	char *url = calloc(1, strlen(head) + n + strlen(tail) + 1);
	int r;

	assert_non_null(url);
	strcpy(url, head);
	memset(url + strlen(head), 'x', n);
	strcpy(url + strlen(head) + n, tail);
	r = notifyurl_parse(url, 4, hosts, ret);
	free(url);
	return r;
}

static void test_long(void **state)
{
	static const char token[] = "https://h.svc.ms/n?token=";
	struct notifyurl got = { 0 };

	assert_int_equal(parse_long(token, 8192, "", &got), 0);
	assert_int_equal(strlen(got.path), strlen(DIAL "&token=") + 8192);
	notifyurl_fini(&got);
	assert_int_equal(parse_long(token, 16384 - strlen(token), "", &got), 0);
	notifyurl_fini(&got);
	assert_int_equal(parse_long(token, 16385 - strlen(token), "", &got), -EBADMSG);
	assert_int_equal(parse_long(token, 1 << 20, "", &got), -EBADMSG);
	assert_int_equal(parse_long("https://", 255 - 7, ".svc.ms/n", &got), 0);
	notifyurl_fini(&got);
	assert_int_equal(parse_long("https://", 256 - 7, ".svc.ms/n", &got), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls),     cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_versions), cmocka_unit_test(test_any_host),
		cmocka_unit_test(test_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

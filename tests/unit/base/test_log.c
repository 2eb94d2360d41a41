#define LOG_MODULE "test"
#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static const struct {
	const char *url, *shown;
} urls[] = {
	{ "https://h.example/p?token=SECRET", "https://h.example/p" },
	{ "https://user:SECRET@h.example:8443/p#SECRET", "https://h.example:8443/p" },
	{ "https://h.example?token=a/SECRET@x", "https://h.example" },
	{ "SECRET", "(not a URL)" },
	{ NULL, "(none)" },
};

static void test_urls_show_no_secret(void **state)
{
	for (size_t i = 0; i < array_n(urls); i++)
		assert_string_equal(log_url(urls[i].url), urls[i].shown);
}

static void test_bytes_of_the_service_are_escaped(void **state)
{
	auto_close int fd = memfd_create("log", MFD_CLOEXEC);
	char line[256];
	ssize_t n;

	log_set_fd(fd);
	log_error("name %s", "a\x1b]0;x\n\xff\xc2\x9b Gr\xc3\xb6\xc3\x9f");
	log_debug("not shown at this level");
	log_set_fd(-1);
	n = pread(fd, line, sizeof(line) - 1, 0);
	assert_true(n > 0);
	line[n] = '\0';
	assert_non_null(strstr(line, "error test: name a\\x1b]0;x\\x0a\\xff\\xc2\\x9b "
				     "Gr\xc3\xb6\xc3\x9f\n"));
	assert_null(strstr(line, "not shown"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls_show_no_secret),
		cmocka_unit_test(test_bytes_of_the_service_are_escaped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

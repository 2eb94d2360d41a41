#define LOG_MODULE "test"
#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
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

static void test_a_text_for_a_terminal(void **state)
{
	char longer[3 * LOG_TEXT_MAX];

	assert_string_equal(log_text(""), "");
	assert_string_equal(log_text("Gr\xc3\xb6\xc3\x9f \x1b[31m\n"),
			    "Gr\xc3\xb6\xc3\x9f \\x1b[31m\\x0a");
	memset(longer, '\x1b', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_true(strlen(log_text(longer)) < LOG_TEXT_MAX);
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

/* What stands in the file behind fd. */
static void read_back(int fd, char *line, size_t size)
{
	ssize_t n = pread(fd, line, size - 1, 0);

	assert_true(n >= 0);
	line[n] = '\0';
}

static void test_a_person_is_told_of_trouble_only(void **state)
{
	auto_close int fd = memfd_create("log", MFD_CLOEXEC);
	char line[256];

	assert_int_equal(unsetenv("GRAPHFS_LOG"), 0);
	log_set_fd(fd);
	log_set_plain(true);
	log_info("all is well");
	log_warn("it is late");
	log_set_plain(false);
	log_info("as ever");
	log_set_fd(-1);
	read_back(fd, line, sizeof(line));
	assert_ptr_equal(strstr(line, "graphfs: it is late\n"), line);
	assert_non_null(strstr(line, " info test: as ever\n"));
	assert_null(strstr(line, "all is well"));
}

static char sink_line[256];

static void on_line(enum log_level level, const char *line, size_t len)
{
	snprintf(sink_line, sizeof(sink_line), "%d %.*s", (int)level, (int)len, line);
}

static void test_a_sink_gets_whole_lines(void **state)
{
	log_set_sink(on_line, false);
	log_error("a\nb");
	assert_string_equal(sink_line, "0 test: a\\x0ab\n");
	log_set_sink(on_line, true);
	log_error("c");
	log_set_sink(NULL, false);
	assert_non_null(strstr(sink_line, " error test: c\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_urls_show_no_secret),
		cmocka_unit_test(test_bytes_of_the_service_are_escaped),
		cmocka_unit_test(test_a_text_for_a_terminal),
		cmocka_unit_test(test_a_person_is_told_of_trouble_only),
		cmocka_unit_test(test_a_sink_gets_whole_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

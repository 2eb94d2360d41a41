#define LOG_MODULE "test"
#include "logsink.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

enum { THREADS = 4, LINES = 200 };

static char dir[] = "/tmp/test_logsink.XXXXXX";
static int dir_fd;

static int setup(void **state)
{
	assert_non_null(mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dir_fd < 0;
}

static int teardown(void **state)
{
	static const char *const names[] = { "log", "log.1", "sock" };

	for (size_t i = 0; i < array_n(names); i++)
		(void)unlinkat(dir_fd, names[i], 0);
	close(dir_fd);
	return rmdir(dir);
}

static int back_to_stderr(void **state)
{
	log_set_sink(NULL, false);
	return 0;
}

static void test_the_journal_gets_level_and_text(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char got[500];
	ssize_t n;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", dir);
	assert_int_equal(logsink_journal(address.sun_path), -ENOENT);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(logsink_journal(address.sun_path), 0);
	/* A newline would begin another field. */
	log_warn("no room\nPRIORITY=0");
	n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=4\n"
				 "MESSAGE=test: no room\\x0aPRIORITY=0\n");
	/* A restarted journald is another socket of the same name. */
	close(fd);
	assert_int_equal(unlink(address.sun_path), 0);
	log_error("lost");
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	log_error("heard");
	n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=3\nMESSAGE=test: heard\n");
}

static void test_a_journal_that_does_not_read_is_not_waited_for(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", dir);
	(void)unlink(address.sun_path);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(logsink_journal(address.sun_path), 0);
	for (int i = 0; i < 10000; i++)
		log_error("line %d", i);
}

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_info("thread %s line %d", (const char *)arg, i);
	return NULL;
}

static size_t check_lines(const char *name, size_t max_bytes)
{
	auto_close int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char line[200];
	size_t n = 0;
	FILE *in;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_in_range(st.st_size, 0, max_bytes);
	in = fdopen(dup(fd), "r");
	for (; fgets(line, sizeof(line), in); n++) {
		assert_non_null(strstr(line, " info test: thread "));
		assert_int_equal(line[strlen(line) - 1], '\n');
	}
	(void)fclose(in);
	return n;
}

static void test_a_file_stays_small_and_lines_whole(void **state)
{
	enum { MAX_BYTES = 8192 };
	static char names[THREADS][2] = { "a", "b", "c", "d" };
	pthread_t threads[THREADS];

	assert_int_equal(logsink_file(dir_fd, "log", MAX_BYTES), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_true(check_lines("log", MAX_BYTES) > 0);
	assert_true(check_lines("log.1", MAX_BYTES) > 0);
}

static void test_a_file_that_is_full_already(void **state)
{
	auto_close int fd = openat(dir_fd, "log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	char text[100] = "";

	memset(text, 'x', sizeof(text) - 1);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	assert_int_equal(logsink_file(dir_fd, "log", sizeof(text)), 0);
	log_info("thread a line 0");
	assert_int_equal(check_lines("log", 100), 1);
}

static void test_a_file_that_cannot_be(void **state)
{
	(void)unlinkat(dir_fd, "log", 0);
	assert_int_equal(symlinkat("elsewhere", dir_fd, "log"), 0);
	assert_int_equal(logsink_file(dir_fd, "log", 1000), -ELOOP);
	assert_int_equal(logsink_file(-1, "log", 1000), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_the_journal_gets_level_and_text, back_to_stderr),
		cmocka_unit_test_teardown(test_a_journal_that_does_not_read_is_not_waited_for,
					  back_to_stderr),
		cmocka_unit_test_teardown(test_a_file_stays_small_and_lines_whole, back_to_stderr),
		cmocka_unit_test_teardown(test_a_file_that_is_full_already, back_to_stderr),
		cmocka_unit_test_teardown(test_a_file_that_cannot_be, back_to_stderr),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

#include "scratch.h"

#include "log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

void scratch_open(struct scratch *s)
{
	strcpy(s->path, "/tmp/test_app.XXXXXX");
	assert_non_null(mkdtemp(s->path));
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->fd >= 0);
}

void scratch_close(struct scratch *s)
{
	char command[160];

	close(s->fd);
	snprintf(command, sizeof(command), "chmod -R u+rwX %s && rm -r %s", s->path, s->path);
	assert_int_equal(system(command), 0);
}

void scratch_write(struct scratch *s, const char *name, const char *text)
{
	auto_close int fd = openat(s->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

char *scratch_log_of(void (*fn)(void *arg), void *arg)
{
	auto_close int fd = memfd_create("log", MFD_CLOEXEC);
	char text[8192];
	ssize_t n;

	log_set_fd(fd);
	fn(arg);
	log_set_fd(-1);
	n = pread(fd, text, sizeof(text) - 1, 0);
	assert_true(n >= 0);
	text[n] = '\0';
	return strdup(text);
}

#include "sdnotify.h"

#include "mem.h"
#include "scratch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cmocka.h>

static void check(struct sockaddr_un *address, socklen_t len, const char *variable)
{
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char got[64];
	ssize_t n;

	assert_int_equal(bind(fd, (struct sockaddr *)address, len), 0);
	setenv("NOTIFY_SOCKET", variable, 1);
	sdnotify_send("READY=1");
	n = recv(fd, got, sizeof(got) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	got[n] = '\0';
	assert_string_equal(got, "READY=1");
}

static void test_both_kinds_of_sockets(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char name[60];
	struct scratch s;

	scratch_open(&s);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", s.path);
	check(&address, sizeof(address), address.sun_path);
	/* Abstract: a NUL where the variable has an "at". */
	snprintf(name, sizeof(name), "@%s/sock", s.path);
	address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(address.sun_path + 1, name + 1, strlen(name) - 1);
	check(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name)), name);
	scratch_close(&s);
}

static void test_nobody_listens(void **state)
{
	static const char *const values[] = { "", "/", "/no/such/socket", "relative", "@" };
	char text[200];

	for (size_t i = 0; i < array_n(values); i++) {
		setenv("NOTIFY_SOCKET", values[i], 1);
		sdnotify_send("READY=1");
	}
	memset(text, '/', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	setenv("NOTIFY_SOCKET", text, 1);
	sdnotify_send("READY=1");
	unsetenv("NOTIFY_SOCKET");
	sdnotify_send("READY=1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_kinds_of_sockets),
		cmocka_unit_test(test_nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* The control socket: the daemon's loop in a thread, clients as bare sockets. */
#include "control.h"

#include "scratch.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cmocka.h>

enum { CLIENTS = 16, PATIENCE_S = 20 };

static const char name[] = "x.sock";

struct rig {
	struct scratch s;
	struct loop *loop;
	struct control *control;
	pthread_t thread;
};

static struct json_object *on_command(void *arg, const char *command)
{
	struct json_object *reply;

	if (strcmp(command, "status") != 0)
		return NULL;
	reply = json_object_new_object();
	json_object_object_add(reply, "state", json_object_new_string("live"));
	return reply;
}

static void *run(void *arg)
{
	struct rig *rig = arg;

	assert_int_equal(loop_run(rig->loop), 0);
	return NULL;
}

static void start(struct rig *rig)
{
	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(control_new(rig->loop, rig->s.fd, name, on_command, rig, &rig->control),
			 0);
	assert_int_equal(pthread_create(&rig->thread, NULL, run, rig), 0);
}

static void stop(struct rig *rig)
{
	loop_stop(rig->loop);
	pthread_join(rig->thread, NULL);
	control_free(rig->control);
	loop_free(rig->loop);
}

static int dial(struct rig *rig)
{
	const struct timeval limit = { .tv_sec = PATIENCE_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", rig->s.path, name);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Reads until the other end hangs up; a deadline that passes fails. */
static void read_all(int fd, char *ret, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while ((n = recv(fd, ret + len, size - 1 - len, 0)) > 0)
		len += (size_t)n;
	if (n < 0 && errno != ECONNRESET)
		fail_msg("no answer: %s", strerror(errno));
	ret[len] = '\0';
}

static void check_answered(struct rig *rig)
{
	struct json_object *reply, *state;

	assert_int_equal(control_ask(rig->s.fd, name, "status", &reply), 0);
	assert_true(json_object_object_get_ex(reply, "state", &state));
	assert_string_equal(json_object_get_string(state), "live");
	json_object_put(reply);
}

static void test_a_question_is_answered(void **state)
{
	struct json_object *reply = NULL;
	struct rig rig;
	struct stat st;

	scratch_open(&rig.s);
	assert_int_equal(control_ask(rig.s.fd, name, "status", &reply), -ENOENT);
	start(&rig);
	assert_int_equal(fstatat(rig.s.fd, name, &st, 0), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	check_answered(&rig);
	assert_int_equal(control_ask(rig.s.fd, name, "reboot", &reply), 0);
	assert_true(json_object_object_get_ex(reply, "error", NULL));
	json_object_put(reply);
	stop(&rig);
	assert_int_equal(fstatat(rig.s.fd, name, &st, 0), -1);
	assert_int_equal(errno, ENOENT);
	scratch_close(&rig.s);
}

static const struct {
	const char *line;
	bool is_answered; /* with an error; else hung up on */
} odd[] = {
	{ "garbage\n", true },
	{ "\n", true },
	{ "{}\n", true },
	{ "[]\n", true },
	{ "\"status\"\n", true },
	{ "{\"command\":7}\n", true },
	{ "{\"command\":null}\n", true },
	{ "{\"command\":\"\"}\n", true },
	{ "{\"command\":\"status\"} {}\n", true },
	{ "{\"command\":\"status\n", true },
	{ "\xff\xfe\x01\n", true },
	{ "{\"command\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n",
	  true },
	{ "{\"command\":\"status\"}", false }, /* and no newline */
	{ "", false },
};

static void test_odd_lines(void **state)
{
	struct rig rig;

	scratch_open(&rig.s);
	start(&rig);
	for (size_t i = 0; i < array_n(odd); i++) {
		auto_close int fd = dial(&rig);
		char got[300];

		assert_int_equal(send(fd, odd[i].line, strlen(odd[i].line), MSG_NOSIGNAL),
				 strlen(odd[i].line));
		assert_int_equal(shutdown(fd, SHUT_WR), 0);
		read_all(fd, got, sizeof(got));
		if (odd[i].is_answered != (strstr(got, "\"error\"") != NULL))
			fail_msg("%s: %s", odd[i].line, got);
	}
	check_answered(&rig);
	stop(&rig);
	scratch_close(&rig.s);
}

static void test_an_endless_line(void **state)
{
	char text[1024], got[300];
	struct rig rig;
	ssize_t n = 1;

	scratch_open(&rig.s);
	start(&rig);
	{
		auto_close int fd = dial(&rig);

		memset(text, 'x', sizeof(text));
		/* The daemon stops reading and hangs up: the sender notices at the latest when the
		 * socket's buffer is full. */
		for (int i = 0; i < 10000 && n > 0; i++)
			n = send(fd, text, sizeof(text), MSG_NOSIGNAL);
		assert_int_equal(n, -1);
		read_all(fd, got, sizeof(got));
		assert_string_equal(got, "");
	}
	check_answered(&rig);
	stop(&rig);
	scratch_close(&rig.s);
}

static void test_a_slow_client_delays_nobody(void **state)
{
	static const char line[] = "{\"command\":\"status\"}\n";
	struct rig rig;
	char got[300];

	scratch_open(&rig.s);
	start(&rig);
	{
		auto_close int fd = dial(&rig);

		for (size_t i = 0; i + 1 < sizeof(line); i++) {
			assert_int_equal(send(fd, line + i, 1, MSG_NOSIGNAL), 1);
			check_answered(&rig);
		}
		read_all(fd, got, sizeof(got));
		assert_non_null(strstr(got, "live"));
	}
	stop(&rig);
	scratch_close(&rig.s);
}

/* Silent clients take all the places; each is hung up on in the end. */
static void test_many_silent_clients(void **state)
{
	struct json_object *reply = NULL;
	int fds[CLIENTS];
	struct rig rig;
	char got[300];

	scratch_open(&rig.s);
	start(&rig);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = dial(&rig);
	assert_int_equal(control_ask(rig.s.fd, name, "status", &reply), -EBUSY);
	for (int i = 0; i < CLIENTS; i++) {
		read_all(fds[i], got, sizeof(got));
		assert_string_equal(got, "");
		close(fds[i]);
	}
	check_answered(&rig);
	stop(&rig);
	scratch_close(&rig.s);
}

static void test_freed_with_clients(void **state)
{
	struct rig rig;

	scratch_open(&rig.s);
	start(&rig);
	{
		auto_close int one = dial(&rig);
		auto_close int two = dial(&rig);
		char got[10];

		assert_int_equal(send(two, "{", 1, MSG_NOSIGNAL), 1);
		check_answered(&rig); /* by now both are known to the daemon */
		stop(&rig);
		read_all(one, got, sizeof(got));
		read_all(two, got, sizeof(got));
	}
	scratch_close(&rig.s);
}

static void test_the_socket_of_a_killed_daemon(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct json_object *reply = NULL;
	struct rig rig;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	scratch_open(&rig.s);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", rig.s.path, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	close(fd);
	assert_int_equal(control_ask(rig.s.fd, name, "status", &reply), -ENOENT);
	start(&rig);
	check_answered(&rig);
	stop(&rig);
	scratch_close(&rig.s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_question_is_answered),
		cmocka_unit_test(test_odd_lines),
		cmocka_unit_test(test_an_endless_line),
		cmocka_unit_test(test_a_slow_client_delays_nobody),
		cmocka_unit_test(test_many_silent_clients),
		cmocka_unit_test(test_freed_with_clients),
		cmocka_unit_test(test_the_socket_of_a_killed_daemon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

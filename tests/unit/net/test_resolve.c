#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <arpa/inet.h>

#include <cmocka.h>

/* A resolver of our own, found before the C library's: names take as long as the test wants. */
static sem_t asked, go_on, answered;
static int name_status;

static struct addrinfo *address_of(const char *text, struct addrinfo *next)
{
	struct addrinfo *a = calloc(1, sizeof(*a));
	struct sockaddr_in *in = calloc(1, sizeof(*in));

	in->sin_family = AF_INET;
	inet_pton(AF_INET, text, &in->sin_addr);
	a->ai_family = AF_INET;
	a->ai_addr = (struct sockaddr *)in;
	a->ai_addrlen = sizeof(*in);
	a->ai_next = next;
	return a;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **res)
{
	struct in_addr in;
	int status;

	if (hints->ai_flags & AI_NUMERICHOST) {
		if (inet_pton(AF_INET, node, &in) != 1)
			return EAI_NONAME;
		*res = address_of(node, NULL);
		return 0;
	}
	sem_post(&asked);
	sem_wait(&go_on);
	status = name_status;
	if (status == 0)
		*res = address_of("192.0.2.1", address_of("192.0.2.2", NULL));
	sem_post(&answered);
	return status;
}

void freeaddrinfo(struct addrinfo *a)
{
	while (a) {
		struct addrinfo *next = a->ai_next;

		free(a->ai_addr);
		free(a);
		a = next;
	}
}

struct answer {
	struct loop *loop;
	int error, calls_n;
	size_t n;
	char first[RESOLVE_TEXT], second[RESOLVE_TEXT];
};

static void on_answer(void *arg, int error, const char (*addresses)[RESOLVE_TEXT], size_t n)
{
	struct answer *a = arg;

	a->calls_n++;
	a->error = error;
	a->n = n;
	if (n > 0)
		memcpy(a->first, addresses[0], RESOLVE_TEXT);
	if (n > 1)
		memcpy(a->second, addresses[1], RESOLVE_TEXT);
	loop_stop(a->loop);
}

static int set_up(void **state)
{
	static struct answer a;

	a = (struct answer){ .error = 1 };
	sem_init(&asked, 0, 0);
	sem_init(&go_on, 0, 0);
	sem_init(&answered, 0, 0);
	name_status = 0;
	*state = &a;
	return loop_new(&a.loop);
}

static struct resolve *start(struct answer *a, const char *host)
{
	struct resolve *r;

	assert_int_equal(resolve_start(a->loop, host, on_answer, a, &r), 0);
	assert_int_equal(a->calls_n, 0);
	return r;
}

static void run(struct answer *a)
{
	assert_int_equal(loop_run(a->loop), 0);
	assert_int_equal(a->calls_n, 1);
	loop_free(a->loop);
}

static void test_address(void **state)
{
	struct answer *a = *state;

	start(a, "127.0.0.1");
	run(a);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->n, 1);
	assert_string_equal(a->first, "127.0.0.1");
}

static void test_name(void **state)
{
	struct answer *a = *state;

	sem_post(&go_on);
	start(a, "host.example");
	run(a);
	assert_int_equal(a->error, 0);
	assert_int_equal(a->n, 2);
	assert_string_equal(a->first, "192.0.2.1");
	assert_string_equal(a->second, "192.0.2.2");
}

static void test_failures(void **state)
{
	static const struct {
		int status, want;
	} rows[] = {
		{ EAI_NONAME, -ENOENT }, { EAI_NODATA, -ENOENT }, { EAI_AGAIN, -ENETDOWN },
		{ EAI_FAIL, -ENETDOWN }, { EAI_MEMORY, -ENOMEM },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct answer *a = *state;

		if (i > 0)
			assert_int_equal(set_up(state), 0);
		name_status = rows[i].status;
		sem_post(&go_on);
		start(a, "host.example");
		run(a);
		assert_int_equal(a->error, rows[i].want);
		assert_int_equal(a->n, 0);
	}
}

/* The loop goes while the resolver still thinks. */
static void test_cancel_a_running_one(void **state)
{
	struct answer *a = *state;
	struct resolve *r = start(a, "host.example");

	sem_wait(&asked);
	resolve_cancel(r);
	loop_free(a->loop);
	sem_post(&go_on);
	sem_wait(&answered);
	assert_int_equal(a->calls_n, 0);
}

static void cancel_and_stop(void *arg)
{
	void **args = arg;
	struct answer *a = args[0];

	resolve_cancel(args[1]);
	loop_stop(a->loop);
}

/* Whatever the thread has done by then, the callback does not come. */
static void test_cancel_in_any_state(void **state)
{
	struct answer *a = *state;

	for (int i = 0; i < 200; i++) {
		struct loop_call call;
		void *args[] = { a, NULL };

		args[1] = start(a, "host.example");
		loop_post(a->loop, &call, cancel_and_stop, args);
		/* From here on the answer may be posted, behind the call that cancels it. */
		sem_post(&go_on);
		if (i % 2 == 0)
			sem_wait(&answered);
		assert_int_equal(loop_run(a->loop), 0);
		assert_int_equal(a->calls_n, 0);
		if (i % 2 != 0)
			sem_wait(&answered);
	}
	loop_free(a->loop);
	resolve_cancel(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_address, set_up),
		cmocka_unit_test_setup(test_name, set_up),
		cmocka_unit_test_setup(test_failures, set_up),
		cmocka_unit_test_setup(test_cancel_a_running_one, set_up),
		cmocka_unit_test_setup(test_cancel_in_any_state, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

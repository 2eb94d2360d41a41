/* What a mount says of what is unsent, and the wait for its end, with a daemon that answers from a
 * list. */
#include "drain.h"

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

#include <cmocka.h>

static const char name[] = "x.sock";

static const struct {
	const char *status, *text;
	struct drain_state state;
} states[] = {
	{ "{}", "0 to send", { 0 } },
	{ "{\"unsent\":3,\"refused\":0,\"stuck\":false,\"state\":\"live\"}", "3 to send", { 3 } },
	{ "{\"unsent\":3,\"refused\":1,\"stuck\":true}", "2 to send, 1 refused", { 3, 1, true } },
	{ "{\"unsent\":5,\"refused\":2,\"state\":\"offline\"}",
	  "3 to send, the service cannot be reached, 2 refused",
	  { 5, 2, false, true } },
	/* Counted one after the other, while they change; and a daemon of another version. */
	{ "{\"unsent\":1,\"refused\":2}", "0 to send, 2 refused", { 1, 2 } },
	{ "{\"unsent\":-1,\"refused\":\"x\",\"stuck\":null,\"state\":7}", "0 to send", { 0 } },
};

static void test_states(void **state)
{
	for (size_t i = 0; i < array_n(states); i++) {
		struct json_object *status = json_tokener_parse(states[i].status);
		struct drain_state got = drain_state_of(status), want = states[i].state;
		char *text;
		size_t len;
		FILE *out = open_memstream(&text, &len);

		drain_print(out, &got);
		(void)fclose(out);
		if (strcmp(text, states[i].text) != 0 || got.unsent_n != want.unsent_n ||
		    got.refused_n != want.refused_n || got.is_stuck != want.is_stuck ||
		    got.is_offline != want.is_offline)
			fail_msg("%s: %s", states[i].status, text);
		free(text);
		json_object_put(status);
	}
}

struct rig {
	struct scratch s;
	struct loop *loop;
	struct control *control;
	pthread_t thread;
	const char *const *answers; /* the last one again and again; loop thread */
	unsigned asked_n;
};

static struct json_object *on_command(void *arg, const char *command)
{
	struct rig *rig = arg;

	rig->asked_n++;
	return json_tokener_parse(rig->answers[1] ? *rig->answers++ : *rig->answers);
}

static void *run(void *arg)
{
	struct rig *rig = arg;

	assert_int_equal(loop_run(rig->loop), 0);
	return NULL;
}

static const struct {
	const char *answers[4];
	int result;
	unsigned asked_n;
} waits[] = {
	{ { "{\"unsent\":0}" }, 0, 1 },
	{ { "{\"unsent\":2}", "{\"unsent\":1,\"refused\":1}", "{\"unsent\":0}" }, 0, 3 },
	{ { "{\"unsent\":2}", "{\"unsent\":2,\"refused\":1,\"stuck\":true}" }, 1, 2 },
	{ { "{\"unsent\":1,\"state\":\"offline\"}", "{\"unsent\":0}" }, 0, 2 },
};

static void test_waits(void **state)
{
	for (size_t i = 0; i < array_n(waits); i++) {
		struct rig rig = { .answers = waits[i].answers };

		scratch_open(&rig.s);
		assert_int_equal(drain_wait(rig.s.fd, name), -ENOENT);
		assert_int_equal(loop_new(&rig.loop), 0);
		assert_int_equal(
			control_new(rig.loop, rig.s.fd, name, on_command, &rig, &rig.control), 0);
		assert_int_equal(pthread_create(&rig.thread, NULL, run, &rig), 0);
		assert_int_equal(drain_wait(rig.s.fd, name), waits[i].result);
		loop_stop(rig.loop);
		pthread_join(rig.thread, NULL);
		assert_int_equal(rig.asked_n, waits[i].asked_n);
		control_free(rig.control);
		loop_free(rig.loop);
		scratch_close(&rig.s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

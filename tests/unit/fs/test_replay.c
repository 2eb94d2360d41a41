/* What a replaying thread is told differs from what everybody else is told, and only then. */
#include "replay.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { FROM = 10, TO = 20, INO = 30 };

static const struct lookup_case {
	enum change_kind kind;
	uint64_t parent;
	const char *name;
	enum replay_answer want;
} cases[] = {
	{ CHANGE_CREATE, FROM, "a", REPLAY_HIDDEN }, { CHANGE_CREATE, FROM, "b", REPLAY_NORMAL },
	{ CHANGE_CREATE, TO, "a", REPLAY_NORMAL },   { CHANGE_DELETE, FROM, "a", REPLAY_OLD },
	{ CHANGE_DELETE, TO, "a", REPLAY_NORMAL },   { CHANGE_MOVE, FROM, "a", REPLAY_OLD },
	{ CHANGE_MOVE, TO, "b", REPLAY_HIDDEN },     { CHANGE_MOVE, FROM, "b", REPLAY_NORMAL },
	{ CHANGE_MOVE, TO, "a", REPLAY_NORMAL },     { CHANGE_CONTENT, FROM, "a", REPLAY_OLD },
	{ CHANGE_ATTR, FROM, "a", REPLAY_OLD },      { CHANGE_ATTR, FROM, "b", REPLAY_NORMAL },
};

static struct change change_of(enum change_kind kind)
{
	return (struct change){
		.kind = kind,
		.parent = FROM,
		.name = "a",
		.to_parent = kind == CHANGE_MOVE ? TO : 0,
		.to_name = kind == CHANGE_MOVE ? "b" : NULL,
		.attr = { .ino = INO },
	};
}

static void test_lookups(void **state)
{
	struct replay *replay;

	assert_int_equal(replay_new(&replay), 0);
	for (size_t i = 0; i < array_n(cases); i++) {
		const struct lookup_case *c = &cases[i];
		struct change change = change_of(c->kind);
		struct tree_attr attr = { 0 };

		replay_begin(replay, &change);
		assert_int_equal(replay_lookup(replay, gettid(), c->parent, c->name, &attr),
				 c->want);
		assert_int_equal(attr.ino, c->want == REPLAY_OLD ? INO : 0);
		replay_end(replay);
		assert_int_equal(replay_lookup(replay, gettid(), c->parent, c->name, &attr),
				 REPLAY_NORMAL);
	}
	replay_free(replay);
}

static void *look(void *arg)
{
	struct replay *replay = arg;
	struct tree_attr attr;

	assert_false(replay_is_ours(replay, gettid()));
	assert_int_equal(replay_lookup(replay, gettid(), FROM, "a", &attr), REPLAY_NORMAL);
	assert_false(replay_get_attr(replay, gettid(), &attr));
	return NULL;
}

/* The name is hidden from the thread that makes it, from nobody else. */
static void test_others(void **state)
{
	struct change change = change_of(CHANGE_CREATE);
	struct replay *replay;
	pthread_t thread;

	assert_int_equal(replay_new(&replay), 0);
	assert_false(replay_is_ours(replay, gettid()));
	replay_begin(replay, &change);
	assert_true(replay_is_ours(replay, gettid()));
	assert_int_equal(pthread_create(&thread, NULL, look, replay), 0);
	pthread_join(thread, NULL);
	replay_end(replay);
	assert_true(replay_is_ours(replay, gettid())); /* still one of ours */
	replay_free(replay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

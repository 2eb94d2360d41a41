#include "check.h"
#include "rig.h"
#include "verify.h"

#include <errno.h>

enum { EVERY_MS = 1000, CONFIRM_MS = EVERY_MS / 10 };

struct test {
	struct rig rig;
	struct verify *verify;
};

static void set_keys(void *arg)
{
	struct test *t = arg;

	assert_int_equal(tree_kv_set(t->rig.tree, TREE_KV_CRAWL_LINK, TREE_CRAWL_DONE), 0);
	assert_int_equal(tree_kv_set(t->rig.tree, TREE_KV_VERIFIED, "1"), 0);
}

/* A folder with a file and a folder with a file in it, crawled and verified in 1970. */
static int setup(void **state)
{
	static struct test test;

	test = (struct test){ 0 };
	rig_init(&test.rig);
	rig_seed(&test.rig,
		 RIG_LISTED(RIG_ROOT
			    "," RIG_DIR("A", "a", "R") "," RIG_FILE("F", "f", "A", "1") "," RIG_DIR(
				    "B", "b", "A") "," RIG_FILE("G", "g", "B", "1")),
		 RIG_LINK("0"));
	rig_on_lane(&test.rig, set_keys, &test);
	assert_int_equal(verify_new(test.rig.loop, test.rig.lane, test.rig.tree, &test.rig.source,
				    EVERY_MS, rig_on_changes, &test.rig, &test.verify),
			 0);
	*state = &test;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	verify_free(t->verify);
	rig_fini(&t->rig);
	return 0;
}

static struct rig_call *asked_for(struct test *t, const char *id)
{
	struct rig_call *call = rig_take(&t->rig, RIG_GET_ITEM);

	assert_int_equal(call->priority, HTTP_BACKGROUND);
	assert_string_equal(call->id, id);
	return call;
}

static struct rig_call *enumerated(struct test *t)
{
	struct rig_call *call = rig_take(&t->rig, RIG_GET_DELTA);

	assert_int_equal(call->priority, HTTP_BACKGROUND);
	return call;
}

static void assert_done(struct test *t, unsigned deleted_n)
{
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_false(verify_is_running(t->verify));
	assert_int_equal(t->rig.changes_n[CHANGE_DELETE], deleted_n);
	assert_string_equal(rig_kv(&t->rig, TREE_KV_DELTA_LINK), RIG_LINK("0"));
}

#define ALL_BUT_F RIG_ROOT "," RIG_DIR("A", "a", "R") "," RIG_DIR("B", "b", "A")
#define ALL_BUT_B RIG_ROOT "," RIG_DIR("A", "a", "R") "," RIG_FILE("F", "f", "A", "1")
#define ALL       ALL_BUT_B "," RIG_DIR("B", "b", "A") "," RIG_FILE("G", "g", "B", "1")

static void test_nothing_is_missing(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL, RIG_LINK("x")));
	assert_done(t, 0);
	assert_string_not_equal(rig_kv(&t->rig, TREE_KV_VERIFIED), "1");
	assert_int_equal(t->rig.sets_n, 0);
	/* Not again before its time. */
	verify_look(t->verify);
	assert_done(t, 0);
}

/* Missing with what is below it: asked for once, twice, and then it goes with all of it. */
static void test_lost_deletion_of_a_folder(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_NEXT(ALL_BUT_B, RIG_LINK("p")));
	rig_answer(enumerated(t), RIG_LAST("", RIG_LINK("x")));
	rig_refuse(asked_for(t, "B"), 404, -ENOENT);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_true(verify_is_running(t->verify));
	assert_true(rig_has(&t->rig, "B"));
	rig_refuse(asked_for(t, "B"), 404, -ENOENT);
	assert_done(t, 2);
	assert_false(rig_has(&t->rig, "B"));
	assert_false(rig_has(&t->rig, "G"));
	assert_true(rig_has(&t->rig, "F"));
}

static void test_enumeration_was_wrong(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(RIG_ROOT, RIG_LINK("x")));
	rig_answer_item(asked_for(t, "A"), RIG_DIR("A", "a", "R"));
	assert_done(t, 0);
	assert_true(rig_has(&t->rig, "F"));
}

/* More are missing than are remembered, and those that come first are there after all. */
static void test_many_suspects(void **state)
{
	enum { MANY = CHECK_SUSPECTS_MAX + 20 };
	struct test *t = *state;
	char *body = NULL, id[16];
	size_t len;
	FILE *f = open_memstream(&body, &len);

	fprintf(f, "{\"value\":[" RIG_DIR("A", "a", "R"));
	for (int i = 0; i < MANY; i++)
		fprintf(f, "," RIG_FILE("X%d", "x%d", "A", "1"), i, i);
	fprintf(f, "]}");
	(void)fclose(f);
	rig_seed(&t->rig, body, RIG_LINK("0"));
	free(body);
	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL, RIG_LINK("x")));
	for (int i = 0; i < CHECK_SUSPECTS_MAX; i++) {
		snprintf(id, sizeof(id), "X%d", i);
		rig_answer_item(asked_for(t, id), RIG_FILE("X", "x", "A", "1"));
	}
	for (int times = 0; times < 2; times++)
		for (int i = CHECK_SUSPECTS_MAX; i < MANY; i++) {
			snprintf(id, sizeof(id), "X%d", i);
			rig_refuse(asked_for(t, id), 404, -ENOENT);
		}
	assert_done(t, MANY - CHECK_SUSPECTS_MAX);
	assert_true(rig_has(&t->rig, "X0"));
	assert_false(rig_has(&t->rig, id));
}

/* A proxy's 404 is no deletion. */
static void test_missing_by_a_proxy(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL_BUT_B, RIG_LINK("x")));
	rig_refuse_elsewhere(asked_for(t, "B"), 404, -ENOENT);
	assert_false(verify_is_running(t->verify));
	assert_true(rig_has(&t->rig, "B"));
}

/* The service's reads lag: once is no proof. */
static void test_missing_once_only(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL_BUT_B, RIG_LINK("x")));
	rig_refuse(asked_for(t, "B"), 404, -ENOENT);
	rig_answer_item(asked_for(t, "B"), RIG_DIR("B", "b", "A"));
	assert_done(t, 0);
	assert_true(rig_has(&t->rig, "B"));
}

static void test_told_as_deleted(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t),
		   RIG_LAST(ALL_BUT_F "," RIG_FILE("G", "g", "B", "1"), RIG_LINK("x")));
	rig_answer_item(asked_for(t, "F"), RIG_GONE("F"));
	rig_answer_item(asked_for(t, "F"), RIG_GONE("F"));
	assert_done(t, 1);
	assert_false(rig_has(&t->rig, "F"));
}

static void change_f(void *arg)
{
	struct test *t = arg;
	struct item item = { .id = "F",
			     .name = "f2",
			     .name_len = 2,
			     .parent_id = "A",
			     .size = 5,
			     .kind = ITEM_FILE };

	assert_int_equal(tree_stage_begin(t->rig.tree), 0);
	assert_int_equal(tree_stage_page(t->rig.tree, &item, 1), 0);
	assert_int_equal(tree_stage_apply(t->rig.tree, NULL, false, NULL), 0);
}

/* What delta brought meanwhile is younger than the enumeration, and than its doubts. */
static void test_delta_was_quicker(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t),
		   RIG_NEXT(ALL_BUT_F "," RIG_FILE("G", "g", "B", "1"), RIG_LINK("p")));
	rig_on_lane(&t->rig, change_f, t);
	rig_answer(enumerated(t), RIG_LAST(RIG_FILE("F", "f", "A", "1"), RIG_LINK("x")));
	assert_done(t, 0);
	assert_int_equal(t->rig.sets_n, 0);
}

static void test_change_while_waiting(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t),
		   RIG_LAST(ALL_BUT_F "," RIG_FILE("G", "g", "B", "1"), RIG_LINK("x")));
	rig_refuse(asked_for(t, "F"), 404, -ENOENT);
	(void)asked_for(t, "F");
	rig_on_lane(&t->rig, change_f, t);
	rig_refuse(asked_for(t, "F"), 404, -ENOENT);
	assert_done(t, 0);
	assert_true(rig_has(&t->rig, "F"));
}

static void test_missed_creation(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL "," RIG_FILE("N", "n", "A", "1"), RIG_LINK("x")));
	assert_done(t, 0);
	assert_true(rig_has(&t->rig, "N"));
}

/* It is there, whatever it is. */
static void test_bad_item_is_not_missing(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t),
		   RIG_LAST(ALL_BUT_F "," RIG_FILE("G", "g", "B", "1") ",{\"id\":\"F\","
								       "\"name\":7}",
			    RIG_LINK("x")));
	assert_done(t, 0);
}

static void test_failures_end_it(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct test *t;

		if (i > 0)
			setup(state);
		t = *state;
		verify_look(t->verify);
		if (i == 0)
			rig_refuse_offline(enumerated(t));
		else if (i == 1)
			rig_answer(enumerated(t), RIG_LISTED(RIG_ROOT));
		else if (i == 2)
			rig_refuse_resync(enumerated(t), NULL);
		else {
			rig_answer(enumerated(t), RIG_LAST(RIG_ROOT, RIG_LINK("x")));
			rig_refuse(asked_for(t, "A"), 403, -EACCES);
		}
		assert_done(t, 0);
		assert_string_equal(rig_kv(&t->rig, TREE_KV_VERIFIED), "1");
		verify_look(t->verify);
		assert_done(t, 0);
		rig_turn_ms(&t->rig, CONFIRM_MS);
		verify_look(t->verify);
		rig_answer(enumerated(t), RIG_LAST(ALL, RIG_LINK("x")));
		assert_done(t, 0);
		if (i < 3)
			teardown(state);
	}
}

static void forget_crawl(void *arg)
{
	struct test *t = arg;

	assert_int_equal(tree_kv_set(t->rig.tree, TREE_KV_CRAWL_LINK, RIG_LINK("c")), 0);
}

static void test_only_what_was_crawled(void **state)
{
	struct test *t = *state;

	rig_on_lane(&t->rig, forget_crawl, t);
	verify_look(t->verify);
	assert_done(t, 0);
}

static void test_free_at_any_time(void **state)
{
	struct test *t = *state;

	verify_look(t->verify);
	rig_answer(enumerated(t), RIG_LAST(ALL_BUT_B, RIG_LINK("x")));
	(void)asked_for(t, "B");
	verify_free(take_ptr(&t->verify));
	assert_int_equal(t->rig.cancelled_n, 1);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing_is_missing),      TEST(test_lost_deletion_of_a_folder),
		TEST(test_enumeration_was_wrong),   TEST(test_missing_once_only),
		TEST(test_missing_by_a_proxy),      TEST(test_many_suspects),
		TEST(test_told_as_deleted),         TEST(test_delta_was_quicker),
		TEST(test_change_while_waiting),    TEST(test_missed_creation),
		TEST(test_bad_item_is_not_missing), TEST(test_failures_end_it),
		TEST(test_only_what_was_crawled),   TEST(test_free_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

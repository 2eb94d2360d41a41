#include "crawl.h"
#include "rig.h"

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>

enum { MANY = 4000 };

struct test {
	struct rig rig;
	struct crawl *crawl;
	unsigned begun_n, ended_n;
	bool was_complete; /* when it ended */
};

static void on_running(void *arg, bool is_running)
{
	struct test *t = arg;

	t->begun_n += is_running;
	t->ended_n += !is_running;
	t->was_complete = rig_is_complete(&t->rig, TREE_ROOT_INO);
}

static void make(struct test *t)
{
	assert_int_equal(crawl_new(t->rig.loop, t->rig.lane, t->rig.tree, &t->rig.source,
				   rig_on_changes, &t->rig, &t->crawl),
			 0);
	t->begun_n = t->ended_n = 0;
	crawl_on_running(t->crawl, on_running, t);
}

static int setup(void **state)
{
	static struct test test;

	test = (struct test){ 0 };
	rig_init(&test.rig);
	rig_seed(&test.rig, RIG_LISTED(RIG_ROOT), RIG_LINK("delta"));
	make(&test);
	crawl_start(test.crawl);
	*state = &test;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	crawl_free(t->crawl);
	rig_fini(&t->rig);
	return 0;
}

static struct rig_call *asked(struct test *t, const char *link)
{
	struct rig_call *call = rig_take(&t->rig, RIG_GET_DELTA);

	assert_int_equal(call->priority, HTTP_BACKGROUND);
	if (link)
		assert_string_equal(call->link, link);
	else
		assert_null(call->link);
	return call;
}

static void finish(struct test *t, const char *link)
{
	rig_answer(asked(t, link), RIG_LAST(RIG_FILE("Z", "z", "R", "1"), RIG_LINK("end")));
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_false(crawl_is_running(t->crawl));
	assert_int_equal(t->ended_n, t->begun_n);
	assert_true(t->was_complete);
	assert_true(rig_is_complete(&t->rig, TREE_ROOT_INO));
	assert_true(rig_has(&t->rig, "Z"));
	/* The link at the end is not delta's: that one is older and may know more. */
	assert_string_equal(rig_kv(&t->rig, TREE_KV_DELTA_LINK), RIG_LINK("delta"));
}

/* Paused: neither asks, nor begins again because somebody says that the service is there. */
static void assert_pauses(struct test *t)
{
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_false(crawl_is_running(t->crawl));
	assert_int_equal(t->ended_n, t->begun_n);
	crawl_start(t->crawl);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_false(rig_is_complete(&t->rig, TREE_ROOT_INO));
}

static void test_pages_are_merged_as_they_come(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL),
		   RIG_NEXT(RIG_ROOT "," RIG_FILE("F", "f", "R", "1"), RIG_LINK("2")));
	assert_int_equal(rig_waiting_n(&t->rig), 1);
	assert_true(rig_has(&t->rig, "F"));
	assert_false(rig_is_complete(&t->rig, TREE_ROOT_INO));
	rig_answer(asked(t, RIG_LINK("2")), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("3")));
	finish(t, RIG_LINK("3"));
	assert_true(rig_is_complete(&t->rig, rig_ino(&t->rig, "A")));
	assert_int_equal(crawl_items_n(t->crawl), 4);
	/* What was there before is no news for the kernel. */
	assert_int_equal(t->rig.changes_n[CHANGE_CREATE], 0);
	crawl_start(t->crawl);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
}

static void hold_lane(void *arg)
{
	(void)sem_wait(arg);
}

static void answer_many(struct rig_call *call, unsigned n, const char *link)
{
	char *body = NULL;
	size_t size;
	FILE *f = open_memstream(&body, &size);

	assert_non_null(f);
	fprintf(f, "{\"value\":[");
	for (unsigned i = 0; i < n; i++)
		fprintf(f,
			"%s{\"id\":\"m%u\",\"name\":\"m%u\",\"file\":{},\"size\":1,"
			"\"parentReference\":{\"driveId\":\"D\",\"id\":\"A\"}}",
			i ? "," : "", i, i);
	fprintf(f, "],\"@odata.nextLink\":\"%s\"}", link);
	assert_int_equal(fclose(f), 0);
	rig_answer(call, body);
	free(body);
}

static void test_asks_while_it_stores(void **state)
{
	struct test *t = *state;
	struct lane_job job;
	sem_t gate;

	(void)sem_init(&gate, 0, 0);
	lane_push(t->rig.lane, &job, hold_lane, NULL, &gate);
	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	rig_answer(asked(t, RIG_LINK("2")), RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("3")));
	answer_many(asked(t, RIG_LINK("3")), MANY, RIG_LINK("4"));
	/* So many that the store is waited for. */
	rig_turn_ms(&t->rig, 20);
	assert_true(list_empty(&t->rig.calls));
	assert_false(rig_has(&t->rig, "A"));
	(void)sem_post(&gate);
	finish(t, RIG_LINK("4"));
	assert_true(rig_has(&t->rig, "A"));
	assert_true(rig_has(&t->rig, "F"));
	assert_true(rig_has(&t->rig, "m0"));
	assert_int_equal(crawl_items_n(t->crawl), MANY + 3);
	(void)sem_destroy(&gate);
}

/* The network goes and comes back while a page is stored: the crawl goes on after that page. */
static void test_loses_the_network_while_it_stores(void **state)
{
	struct test *t = *state;
	struct lane_job job;
	sem_t gate;

	(void)sem_init(&gate, 0, 0);
	lane_push(t->rig.lane, &job, hold_lane, NULL, &gate);
	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	rig_refuse_offline(asked(t, RIG_LINK("2")));
	crawl_start(t->crawl);
	assert_true(list_empty(&t->rig.calls));
	(void)sem_post(&gate);
	finish(t, RIG_LINK("2"));
	assert_true(rig_has(&t->rig, "A"));
	(void)sem_destroy(&gate);
}

static void test_goes_on_after_a_restart(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	(void)asked(t, RIG_LINK("2"));
	crawl_free(t->crawl);
	make(t);
	crawl_start(t->crawl);
	finish(t, RIG_LINK("2"));
	crawl_free(t->crawl);
	make(t);
	crawl_start(t->crawl);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
}

static void test_free_while_storing(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	crawl_free(t->crawl);
	make(t);
	crawl_start(t->crawl);
	finish(t, RIG_LINK("2"));
}

static void test_begins_again(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	rig_refuse_resync(asked(t, RIG_LINK("2")), RIG_LINK("fresh"));
	finish(t, RIG_LINK("fresh"));
	assert_true(rig_has(&t->rig, "A"));
}

static void test_begins_again_not_for_ever(void **state)
{
	struct test *t = *state;

	for (int i = 0; i < 4; i++)
		rig_refuse_resync(asked(t, NULL), NULL);
	assert_pauses(t);
}

static void test_broken_answers_pause(void **state)
{
	static const char *const bodies[] = {
		RIG_LISTED(RIG_DIR("A", "a", "R")), /* no link at all */
		RIG_NEXT("", RIG_LINK("2")),        /* to itself */
		RIG_LAST("{\"name\":\"no id\"}", RIG_LINK("end")),
		"",
	};
	struct test *t = *state;

	for (size_t i = 0; i < array_n(bodies); i++) {
		rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
		rig_answer(asked(t, RIG_LINK("2")), bodies[i]);
		assert_pauses(t);
		rig_on_lane(&t->rig, NULL, NULL);
		teardown(state);
		setup(state);
	}
}

static void test_waits_for_the_network(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL), RIG_NEXT(RIG_DIR("A", "a", "R"), RIG_LINK("2")));
	rig_refuse_offline(asked(t, RIG_LINK("2")));
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	crawl_start(t->crawl);
	finish(t, RIG_LINK("2"));
}

static void test_link_of_another_service(void **state)
{
	struct test *t = *state;

	rig_answer(asked(t, NULL),
		   RIG_NEXT(RIG_DIR("A", "a", "R"), "https://elsewhere.test/v1.0/delta"));
	finish(t, NULL);
}

/* Delta deletes while a page that still has the item is on its way. */
static void test_deleted_meanwhile(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "f", "R", "1") "," RIG_FILE("G", "g", "R", "1")),
		 RIG_LINK("delta"));
	call = asked(t, NULL);
	rig_seed(&t->rig, RIG_LISTED(RIG_GONE("F") "," RIG_FILE("G", "g2", "R", "2")),
		 RIG_LINK("delta"));
	rig_answer(call, RIG_NEXT(RIG_FILE("F", "f", "R", "1") "," RIG_FILE("G", "g", "R", "1"),
				  RIG_LINK("2")));
	finish(t, RIG_LINK("2"));
	assert_false(rig_has(&t->rig, "F"));
	assert_int_equal(t->rig.sets_n, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_pages_are_merged_as_they_come),
		TEST(test_asks_while_it_stores),
		TEST(test_loses_the_network_while_it_stores),
		TEST(test_goes_on_after_a_restart),
		TEST(test_free_while_storing),
		TEST(test_begins_again),
		TEST(test_begins_again_not_for_ever),
		TEST(test_broken_answers_pause),
		TEST(test_waits_for_the_network),
		TEST(test_link_of_another_service),
		TEST(test_deleted_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "delta.h"
#include "rig.h"

#include <errno.h>
#include <stdio.h>

enum { RECHECK_FIRST_MS = 150, RECHECK_LAST_MS = 300 };

struct test {
	struct rig rig;
	struct delta *delta;
	unsigned ends_n, pages_n;
	int error;
	bool offline, changed;
	char text[200];
};

static void on_end(void *arg, int error, bool offline, bool changed, uint64_t began_ms,
		   const char *text)
{
	struct test *t = arg;

	t->ends_n++;
	t->error = error;
	t->offline = offline;
	t->changed = changed;
	snprintf(t->text, sizeof(t->text), "%s", text);
}

static void on_page(void *arg, const struct item_page *page)
{
	struct test *t = arg;

	t->pages_n++;
}

static int setup(void **state)
{
	static struct test test;
	const struct delta_options options = { { RECHECK_FIRST_MS, RECHECK_LAST_MS } };

	test = (struct test){ 0 };
	rig_init(&test.rig);
	assert_int_equal(delta_new(test.rig.loop, test.rig.lane, test.rig.tree, &test.rig.source,
				   &options,
				   &(struct delta_events){
					   .arg = &test,
					   .on_changes = rig_on_changes,
					   .changes_arg = &test.rig,
					   .on_page = on_page,
					   .on_end = on_end,
				   },
				   &test.delta),
			 0);
	*state = &test;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	delta_free(t->delta);
	rig_fini(&t->rig);
	return 0;
}

/* A drive with a folder and a file, in step at link "0". */
static int setup_known(void **state)
{
	struct test *t;

	setup(state);
	t = *state;
	rig_seed(&t->rig,
		 RIG_LISTED(RIG_ROOT "," RIG_DIR("A", "a", "R") "," RIG_FILE("F", "f", "A", "1")),
		 RIG_LINK("0"));
	return 0;
}

static void assert_link(struct test *t, const char *link)
{
	assert_string_equal(rig_kv(&t->rig, TREE_KV_DELTA_LINK), link);
}

/* The run has ended, with this outcome, and nothing is asked any more. */
static void assert_ended(struct test *t, unsigned ends_n, int error, bool changed)
{
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_int_equal(t->ends_n, ends_n);
	assert_int_equal(t->error, error);
	assert_int_equal(t->changed, changed);
	assert_false(delta_is_running(t->delta));
}

static struct rig_call *asked(struct test *t, const char *link)
{
	struct rig_call *call = rig_take(&t->rig, RIG_GET_DELTA);

	if (link)
		assert_string_equal(call->link, link);
	else
		assert_null(call->link);
	return call;
}

static void test_first_start_needs_two_requests(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	delta_look(t->delta, false);
	call = rig_take(&t->rig, RIG_GET_ROOT);
	assert_int_equal(call->priority, HTTP_PERSON);
	rig_answer_root(call);
	rig_answer(asked(t, GRAPH_DELTA_LATEST), RIG_LAST("", RIG_LINK("1")));
	assert_ended(t, 1, 0, false);
	assert_link(t, RIG_LINK("1"));
	assert_int_equal(rig_ino(&t->rig, "R"), TREE_ROOT_INO);
}

/* Somebody waits for the first try only; those after it must find out that the service is back. */
static void test_first_start_is_tried_again(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	rig_refuse_offline(rig_take(&t->rig, RIG_GET_ROOT));
	assert_ended(t, 1, -ENETDOWN, false);
	assert_true(t->offline);
	delta_look(t->delta, false);
	assert_int_equal(rig_take(&t->rig, RIG_GET_ROOT)->priority, HTTP_PREFETCH);
	rig_refuse(rig_take(&t->rig, RIG_GET_ROOT), 403, -EACCES);
	assert_ended(t, 2, -EACCES, false);
	assert_link(t, "");
}

static void test_pages_are_applied_together(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_NEXT(RIG_FILE("N", "n", "B", "1"), RIG_LINK("p2")));
	assert_int_equal(rig_waiting_n(&t->rig), 1);
	assert_false(rig_has(&t->rig, "N"));
	assert_link(t, RIG_LINK("0"));
	rig_answer(asked(t, RIG_LINK("p2")),
		   RIG_LAST(RIG_DIR("B", "b", "R") "," RIG_GONE("F"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_true(rig_has(&t->rig, "N"));
	assert_false(rig_has(&t->rig, "F"));
	assert_link(t, RIG_LINK("1"));
	assert_int_equal(t->rig.sets_n, 1);
	assert_int_equal(t->rig.changes_n[CHANGE_DELETE], 1);
	assert_int_equal(t->rig.changes_n[CHANGE_CREATE], 2);
	assert_int_equal(t->pages_n, 2);
}

static void test_notifications_of_a_run_make_one_more(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	delta_look(t->delta, true);
	call = asked(t, RIG_LINK("0"));
	for (int i = 0; i < 100; i++)
		delta_look(t->delta, true);
	rig_answer(call, RIG_LAST(RIG_FILE("N", "n", "A", "1"), RIG_LINK("1")));
	rig_answer(asked(t, RIG_LINK("1")), RIG_LAST(RIG_FILE("N", "n", "A", "2"), RIG_LINK("2")));
	assert_ended(t, 2, 0, true);
	rig_turn_ms(&t->rig, RECHECK_FIRST_MS + RECHECK_LAST_MS);
	assert_ended(t, 2, 0, true);
}

static void test_empty_after_notification_is_asked_again(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST(RIG_ROOT, RIG_LINK("1")));
	assert_ended(t, 1, 0, false);
	assert_link(t, RIG_LINK("0"));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("2")));
	assert_ended(t, 2, 0, false);
	assert_link(t, RIG_LINK("0"));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("3")));
	assert_ended(t, 3, 0, false);
	assert_link(t, RIG_LINK("3"));
	rig_turn_ms(&t->rig, RECHECK_FIRST_MS + RECHECK_LAST_MS);
	assert_ended(t, 3, 0, false);
}

static void test_late_change_ends_the_asking(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("1")));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST(RIG_GONE("F"), RIG_LINK("2")));
	assert_ended(t, 2, 0, true);
	assert_link(t, RIG_LINK("2"));
	rig_turn_ms(&t->rig, RECHECK_FIRST_MS + RECHECK_LAST_MS);
	assert_ended(t, 2, 0, true);
}

/* Asked by the clock: nothing is missing, nothing is asked again. */
static void test_empty_poll_moves_on(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("1")));
	assert_ended(t, 1, 0, false);
	assert_link(t, RIG_LINK("1"));
	rig_turn_ms(&t->rig, RECHECK_FIRST_MS + RECHECK_LAST_MS);
	assert_ended(t, 1, 0, false);
}

/* A poll's empty answer must not move the link while a notification is unanswered: the change it
 * announced could fall between the two. */
static void test_poll_does_not_overtake_a_notification(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	delta_look(t->delta, false);
	call = asked(t, RIG_LINK("0"));
	delta_look(t->delta, true);
	rig_answer(call, RIG_LAST("", RIG_LINK("1")));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("2")));
	assert_ended(t, 2, 0, false);
	delta_look(t->delta, false);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("3")));
	assert_ended(t, 3, 0, false);
	assert_link(t, RIG_LINK("0"));
	/* Both rechecks are still to come. */
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("4")));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("5")));
	assert_ended(t, 5, 0, false);
	assert_link(t, RIG_LINK("5"));
}

/* What is replayed unchanged is not the change that was announced. */
static void test_replayed_items_are_no_change(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST(RIG_FILE("F", "f", "A", "1"), RIG_LINK("1")));
	assert_ended(t, 1, 0, false);
	assert_int_equal(t->rig.sets_n, 0);
	rig_answer(asked(t, RIG_LINK("1")), RIG_LAST(RIG_FILE("F", "f", "A", "2"), RIG_LINK("2")));
	assert_ended(t, 2, 0, true);
	assert_int_equal(t->rig.changes_n[CHANGE_CONTENT], 1);
}

static void test_failure_does_not_forget_the_notification(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	delta_look(t->delta, false);
	call = asked(t, RIG_LINK("0"));
	delta_look(t->delta, true);
	rig_refuse(call, 500, -EIO);
	assert_ended(t, 1, -EIO, false);
	delta_look(t->delta, false);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST("", RIG_LINK("1")));
	assert_ended(t, 2, 0, false);
	assert_link(t, RIG_LINK("0"));
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST(RIG_GONE("F"), RIG_LINK("2")));
	assert_ended(t, 3, 0, true);
}

/* --- answers that cannot be believed --- */

static void assert_refused(struct test *t, int error)
{
	assert_ended(t, t->ends_n, error, false);
	assert_string_not_equal(t->text, "");
	assert_link(t, RIG_LINK("0"));
	assert_true(rig_has(&t->rig, "F"));
	assert_false(rig_has(&t->rig, "N"));
	assert_int_equal(t->rig.sets_n, 0);
	/* And the next run finds things as they were. */
	delta_look(t->delta, false);
	rig_answer(asked(t, RIG_LINK("0")), RIG_LAST(RIG_GONE("F"), RIG_LINK("9")));
	rig_settle(&t->rig);
	assert_ended(t, t->ends_n, 0, true);
	assert_false(rig_has(&t->rig, "F"));
	assert_false(rig_has(&t->rig, "N"));
}

static void test_broken_last_pages(void **state)
{
	static const char *const bodies[] = {
		RIG_LISTED(RIG_GONE("F")), /* no deltaLink */
		RIG_LAST(RIG_GONE("F") ",{\"name\":\"no id\"}", RIG_LINK("1")),
		RIG_NEXT(RIG_GONE("F"), "https://elsewhere.test/v1.0/delta?token=2"),
		RIG_NEXT(RIG_GONE("F"), "http://graph.test/v1.0/delta?token=2"),
		"{\"value\":[" RIG_GONE("F"),
		"<html>sign in to the hotel's network</html>",
		"",
	};
	struct test *t = *state;

	for (size_t i = 0; i < array_n(bodies); i++) {
		print_message("body %zu\n", i);
		delta_look(t->delta, false);
		rig_answer(asked(t, RIG_LINK("0")),
			   RIG_NEXT(RIG_FILE("N", "n", "A", "1"), RIG_LINK("p")));
		rig_answer(asked(t, RIG_LINK("p")), bodies[i]);
		rig_settle(&t->rig);
		assert_refused(t, i == 2 || i == 3 ? -EPERM : -EBADMSG);
		rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "f", "A", "1")), RIG_LINK("0"));
		t->rig.sets_n = 0;
	}
}

static void test_circle_of_pages(void **state)
{
	struct test *t = *state;
	unsigned pages_n = 0;

	delta_look(t->delta, false);
	while (rig_waiting_n(&t->rig) > 0 && ++pages_n < 100)
		rig_answer(rig_take(&t->rig, RIG_GET_DELTA),
			   pages_n % 2 ? RIG_NEXT(RIG_FILE("N", "n", "A", "1"), RIG_LINK("a"))
				       : RIG_NEXT(RIG_FILE("N", "n", "A", "2"), RIG_LINK("b")));
	assert_true(pages_n < 10);
	assert_refused(t, -EBADMSG);
}

static void test_empty_pages_without_end(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	for (int i = 0; delta_is_running(t->delta) && i < 10000; i++) {
		char body[200];

		snprintf(body, sizeof(body), RIG_NEXT("", RIG_LINK("%d")), i);
		rig_answer(rig_take(&t->rig, RIG_GET_DELTA), body);
		rig_on_lane(&t->rig, NULL, NULL);
	}
	assert_int_equal(t->pages_n, 999);
	assert_refused(t, -EBADMSG);
}

/* --- beginning again --- */

static void test_resync_deletes_what_is_not_told(void **state)
{
	struct test *t = *state;
	struct rig_call *call;

	delta_look(t->delta, false);
	rig_refuse_resync(asked(t, RIG_LINK("0")), RIG_LINK("fresh"));
	call = asked(t, RIG_LINK("fresh"));
	assert_int_equal(call->priority, HTTP_BACKGROUND);
	rig_answer(call, RIG_NEXT(RIG_ROOT "," RIG_FILE("N", "n", "A", "1"), RIG_LINK("p2")));
	assert_int_equal(rig_waiting_n(&t->rig), 1);
	assert_true(rig_has(&t->rig, "F"));
	rig_answer(asked(t, RIG_LINK("p2")), RIG_LAST(RIG_DIR("A", "a", "R"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_link(t, RIG_LINK("1"));
	assert_true(rig_has(&t->rig, "N"));
	assert_false(rig_has(&t->rig, "F"));
	assert_int_equal(t->rig.changes_n[CHANGE_DELETE], 1);
	assert_true(rig_is_complete(&t->rig, TREE_ROOT_INO));
}

static void test_resync_without_location(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_refuse_resync(asked(t, RIG_LINK("0")), NULL);
	rig_answer(asked(t, NULL),
		   RIG_LAST(RIG_ROOT "," RIG_DIR("A", "a", "R") "," RIG_FILE("F", "f", "A", "1"),
			    RIG_LINK("1")));
	rig_settle(&t->rig);
	assert_link(t, RIG_LINK("1"));
	assert_true(rig_has(&t->rig, "F"));
	assert_int_equal(t->rig.changes_n[CHANGE_DELETE], 0);
}

/* In the middle of it, what came so far counts for nothing; for ever, the run fails. */
static void test_resync_again_and_again(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	rig_refuse_resync(asked(t, RIG_LINK("0")), RIG_LINK("l1"));
	rig_answer(asked(t, RIG_LINK("l1")), RIG_NEXT(RIG_FILE("N", "n", "A", "1"), RIG_LINK("p")));
	rig_refuse_resync(asked(t, RIG_LINK("p")), NULL);
	rig_refuse_resync(asked(t, NULL), RIG_LINK("l2"));
	rig_refuse_resync(asked(t, RIG_LINK("l2")), RIG_LINK("l3"));
	rig_settle(&t->rig);
	assert_refused(t, -EIO);
}

static void test_resync_forgets_the_pages_before(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	rig_refuse_resync(asked(t, RIG_LINK("0")), NULL);
	rig_answer(asked(t, NULL), RIG_NEXT(RIG_FILE("N", "n", "R", "1"), RIG_LINK("p")));
	rig_refuse_resync(asked(t, RIG_LINK("p")), NULL);
	rig_answer(asked(t, NULL), RIG_LAST(RIG_ROOT "," RIG_DIR("A", "a", "R"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_false(rig_has(&t->rig, "N"));
	assert_true(rig_has(&t->rig, "A"));
}

struct merge {
	struct tree *tree;
	struct item_page page;
	uint64_t dir;
};

static void merge_work(void *arg)
{
	struct merge *merge = arg;
	struct change_set *set = NULL;

	assert_int_equal(tree_merge_children(merge->tree, merge->dir, merge->page.items,
					     merge->page.n, tree_note(merge->tree), false, &set),
			 0);
	change_set_free(set);
}

/* An item that a listing brings while the enumeration is under way may be younger than it. */
static void test_resync_spares_what_is_younger(void **state)
{
	static const char body[] = RIG_LISTED(RIG_FILE("Y", "y", "A", "1"));
	struct test *t = *state;
	struct merge merge = { .tree = t->rig.tree, .dir = rig_ino(&t->rig, "A") };
	struct item_problem problem;
	struct rig_call *call;

	delta_look(t->delta, false);
	rig_refuse_resync(asked(t, RIG_LINK("0")), NULL);
	call = asked(t, NULL);
	assert_int_equal(item_parse_page(body, strlen(body), &merge.page, &problem), 0);
	rig_on_lane(&t->rig, merge_work, &merge);
	item_page_fini(&merge.page);
	rig_answer(call, RIG_LAST(RIG_ROOT "," RIG_DIR("A", "a", "R"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_true(rig_has(&t->rig, "Y"));
	assert_false(rig_has(&t->rig, "F"));
}

static void test_notification_during_resync(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, false);
	rig_refuse_resync(asked(t, RIG_LINK("0")), NULL);
	(void)asked(t, NULL);
	delta_look(t->delta, true);
	delta_look(t->delta, true);
	rig_answer(asked(t, NULL), RIG_LAST(RIG_ROOT "," RIG_DIR("A", "a", "R"), RIG_LINK("1")));
	rig_answer(asked(t, RIG_LINK("1")), RIG_LAST(RIG_FILE("N", "n", "A", "1"), RIG_LINK("2")));
	assert_ended(t, 2, 0, true);
	assert_true(rig_has(&t->rig, "N"));
	assert_link(t, RIG_LINK("2"));
}

/* The service's address was changed: its bearer must not go to the old one. */
static void test_stored_link_of_another_service(void **state)
{
	struct test *t = *state;

	rig_seed(&t->rig, RIG_LISTED(""), "https://elsewhere.test/v1.0/delta?token=1");
	delta_look(t->delta, false);
	rig_answer(asked(t, NULL), RIG_LAST(RIG_ROOT "," RIG_DIR("A", "a", "R"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_link(t, RIG_LINK("1"));
	assert_false(rig_has(&t->rig, "F"));
}

/* --- items that cannot be believed --- */

#define BAD(id) "{\"id\":\"" id "\",\"name\":7,\"file\":{}}"

static void test_bad_item_stops_nothing_else(void **state)
{
	struct test *t = *state;
	uint64_t ino = rig_ino(&t->rig, "F");

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")),
		   RIG_LAST(BAD("F") "," RIG_FILE("N", "n", "A", "1") "," BAD("X"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_link(t, RIG_LINK("1"));
	assert_int_equal(rig_ino(&t->rig, "F"), ino);
	assert_true(rig_has(&t->rig, "N"));
	assert_false(rig_has(&t->rig, "X"));
	assert_int_equal(t->rig.changes_n[CHANGE_CREATE], 1);
	assert_int_equal(t->rig.changes_n[CHANGE_DELETE] + t->rig.changes_n[CHANGE_CONTENT], 0);
}

/* The last occurrence counts, whichever of the two it is. */
static void test_bad_item_twice(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_NEXT(BAD("F") "," RIG_GONE("A"), RIG_LINK("p")));
	rig_answer(asked(t, RIG_LINK("p")), RIG_LAST(RIG_GONE("F") "," BAD("A"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_false(rig_has(&t->rig, "F"));
	assert_true(rig_has(&t->rig, "A"));
}

/* It is not deleted because nobody could read what was told of it. */
static void test_resync_keeps_bad_items(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_refuse_resync(asked(t, RIG_LINK("0")), NULL);
	rig_answer(asked(t, NULL), RIG_LAST(RIG_ROOT "," BAD("A"), RIG_LINK("1")));
	assert_ended(t, 1, 0, true);
	assert_link(t, RIG_LINK("1"));
	assert_true(rig_has(&t->rig, "A"));
	assert_false(rig_has(&t->rig, "F"));
}

static void test_item_without_id_fails_the_run(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")),
		   RIG_LAST(RIG_GONE("F") ",{\"name\":\"x\"}", RIG_LINK("1")));
	assert_ended(t, 1, -EBADMSG, false);
	assert_non_null(strstr(t->text, "value[1]: id"));
	assert_link(t, RIG_LINK("0"));
	assert_true(rig_has(&t->rig, "F"));
}

/* --- the end --- */

static void test_free_while_asking(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	(void)asked(t, RIG_LINK("0"));
	delta_free(take_ptr(&t->delta));
	assert_int_equal(t->rig.cancelled_n, 1);
	assert_int_equal(t->ends_n, 0);
}

static void test_free_while_storing(void **state)
{
	struct test *t = *state;

	delta_look(t->delta, true);
	rig_answer(asked(t, RIG_LINK("0")), RIG_NEXT(RIG_GONE("F"), RIG_LINK("p")));
	delta_free(take_ptr(&t->delta));
	assert_int_equal(t->rig.cancelled_n, 0);
	assert_int_equal(t->ends_n, 0);
}

#define KNOWN(fn) cmocka_unit_test_setup_teardown(fn, setup_known, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_first_start_needs_two_requests, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_first_start_is_tried_again, setup, teardown),
		KNOWN(test_pages_are_applied_together),
		KNOWN(test_notifications_of_a_run_make_one_more),
		KNOWN(test_empty_after_notification_is_asked_again),
		KNOWN(test_late_change_ends_the_asking),
		KNOWN(test_empty_poll_moves_on),
		KNOWN(test_poll_does_not_overtake_a_notification),
		KNOWN(test_replayed_items_are_no_change),
		KNOWN(test_failure_does_not_forget_the_notification),
		KNOWN(test_broken_last_pages),
		KNOWN(test_circle_of_pages),
		KNOWN(test_empty_pages_without_end),
		KNOWN(test_resync_deletes_what_is_not_told),
		KNOWN(test_resync_without_location),
		KNOWN(test_resync_again_and_again),
		KNOWN(test_resync_forgets_the_pages_before),
		KNOWN(test_resync_spares_what_is_younger),
		KNOWN(test_notification_during_resync),
		KNOWN(test_stored_link_of_another_service),
		KNOWN(test_bad_item_stops_nothing_else),
		KNOWN(test_bad_item_twice),
		KNOWN(test_resync_keeps_bad_items),
		KNOWN(test_item_without_id_fails_the_run),
		KNOWN(test_free_while_asking),
		KNOWN(test_free_while_storing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

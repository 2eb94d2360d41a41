#include "listing.h"
#include "rig.h"

#include "change.h"
#include "clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

enum { PROGRESS_MS = 1500, THREADS_N = 4, ROUNDS_N = 300, WAITING = 12345, LONG_MS = 60000 };

struct test {
	struct rig rig;
	struct listing *listing;
	uint64_t dir;
};

struct waiter {
	struct listing_waiter w;
	int status;
	unsigned called_n;
};

static void make(struct test *t, uint64_t hold_ms, uint64_t gap_ms)
{
	listing_free(t->listing);
	assert_int_equal(listing_new(t->rig.loop, t->rig.lane, t->rig.tree, &t->rig.source,
				     &(struct listing_options){ .on_changes = rig_on_changes,
								.arg = &t->rig,
								.progress_ms = PROGRESS_MS,
								.hold_ms = hold_ms,
								.gap_ms = gap_ms },
				     &t->listing),
			 0);
}

static int setup(void **state)
{
	static struct test test;

	test = (struct test){ 0 };
	rig_init(&test.rig);
	rig_seed(&test.rig,
		 RIG_LISTED(RIG_ROOT "," RIG_DIR("A", "a", "R") "," RIG_DIR("B", "b", "R")),
		 RIG_LINK("0"));
	test.dir = rig_ino(&test.rig, "A");
	make(&test, LONG_MS, LONG_MS);
	*state = &test;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	listing_free(t->listing);
	rig_fini(&t->rig);
	return 0;
}

static void on_more(struct listing_waiter *w, int status)
{
	struct waiter *waiter = w->arg;

	waiter->status = status;
	waiter->called_n++;
}

static void want(struct test *t, struct waiter *waiter, uint64_t dir)
{
	*waiter = (struct waiter){ .w = { .dir = dir, .fn = on_more }, .status = WAITING };
	waiter->w.arg = waiter;
	listing_want(t->listing, &waiter->w);
}

static struct rig_call *asked(struct test *t, const char *id, const char *link)
{
	struct rig_call *call = rig_take(&t->rig, RIG_GET_CHILDREN);

	assert_int_equal(call->priority, HTTP_PERSON);
	assert_string_equal(call->id, id);
	if (link)
		assert_string_equal(call->link, link);
	else
		assert_null(call->link);
	return call;
}

/* Called once with this. */
static void assert_told(struct test *t, const struct waiter *waiter, int status)
{
	rig_settle(&t->rig);
	assert_int_equal(waiter->called_n, 1);
	assert_int_equal(waiter->status, status);
}

static void test_entries_appear_page_by_page(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	want(t, &waiter, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("p2")));
	assert_told(t, &waiter, LISTING_MORE);
	assert_true(rig_has(&t->rig, "F"));
	assert_false(rig_is_complete(&t->rig, t->dir));
	want(t, &waiter, t->dir);
	rig_answer(asked(t, "A", RIG_LINK("p2")), RIG_LISTED(RIG_FILE("G", "g", "A", "1")));
	assert_told(t, &waiter, 0);
	assert_true(rig_has(&t->rig, "G"));
	assert_true(rig_is_complete(&t->rig, t->dir));
	want(t, &waiter, t->dir);
	assert_told(t, &waiter, 0);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_int_equal(listing_running_n(t->listing), 0);
	assert_int_equal(t->rig.sets_n, 0);
}

static void test_empty_folder(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	want(t, &waiter, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &waiter, 0);
	assert_true(rig_is_complete(&t->rig, t->dir));
}

static void test_many_wait_for_one_request(void **state)
{
	struct test *t = *state;
	struct waiter waiters[50], other;

	for (size_t i = 0; i < array_n(waiters); i++)
		want(t, &waiters[i], t->dir);
	want(t, &other, rig_ino(&t->rig, "B"));
	assert_int_equal(rig_waiting_n(&t->rig), 2);
	assert_int_equal(listing_running_n(t->listing), 2);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(RIG_FILE("F", "f", "A", "1")));
	for (size_t i = 0; i < array_n(waiters); i++)
		assert_told(t, &waiters[i], 0);
	assert_int_equal(other.called_n, 0);
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &other, 0);
}

/* Wants again from inside, as a listing that streams does. */
struct eager {
	struct listing_waiter w;
	struct listing *listing;
	unsigned more_n;
	int last;
};

static void on_eager(struct listing_waiter *w, int status)
{
	struct eager *eager = w->arg;

	eager->last = status;
	if (status != LISTING_MORE)
		return;
	eager->more_n++;
	listing_want(eager->listing, w);
}

static void test_wants_again_from_inside(void **state)
{
	struct test *t = *state;
	struct eager eager = { .w = { .dir = t->dir, .fn = on_eager }, .listing = t->listing };

	eager.w.arg = &eager;
	eager.last = WAITING;
	listing_want(t->listing, &eager.w);
	rig_answer(asked(t, "A", NULL), RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("2")));
	rig_settle(&t->rig);
	rig_answer(asked(t, "A", RIG_LINK("2")), RIG_NEXT("", RIG_LINK("3")));
	rig_settle(&t->rig);
	rig_answer(asked(t, "A", RIG_LINK("3")), RIG_LISTED(RIG_FILE("G", "g", "A", "1")));
	rig_settle(&t->rig);
	assert_int_equal(eager.more_n, 2);
	assert_int_equal(eager.last, 0);
}

static void test_what_cannot_be_listed(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "f", "A", "1")), RIG_LINK("0"));
	want(t, &waiter, rig_ino(&t->rig, "F"));
	assert_told(t, &waiter, -ENOTDIR);
	want(t, &waiter, 987654);
	assert_told(t, &waiter, -ENOENT);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
}

static void test_offline_is_said_at_once(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	listing_set_offline(t->listing, true);
	want(t, &waiter, t->dir);
	assert_told(t, &waiter, -ENETDOWN);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	listing_set_offline(t->listing, false);
	want(t, &waiter, t->dir);
	rig_refuse_offline(asked(t, "A", NULL));
	assert_told(t, &waiter, -ENETDOWN);
}

static void test_failure_is_remembered_for_a_while(void **state)
{
	struct test *t = *state;
	struct waiter waiter;
	uint64_t began_ms = clock_mono_ms();

	want(t, &waiter, t->dir);
	rig_refuse(asked(t, "A", NULL), 403, -EACCES);
	assert_told(t, &waiter, -EACCES);
	want(t, &waiter, t->dir);
	assert_told(t, &waiter, -EACCES);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	while (waiter.status == -EACCES && clock_mono_ms() < began_ms + 10000) {
		want(t, &waiter, t->dir);
		rig_turn_ms(&t->rig, 20);
	}
	assert_true(clock_mono_ms() >= began_ms + 1000);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &waiter, 0);
}

static void test_not_found_is_asked_twice(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	want(t, &waiter, t->dir);
	rig_refuse(asked(t, "A", NULL), 404, -ENOENT);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(RIG_FILE("F", "f", "A", "1")));
	assert_told(t, &waiter, 0);
	want(t, &waiter, rig_ino(&t->rig, "B"));
	rig_refuse(asked(t, "B", NULL), 404, -ENOENT);
	rig_refuse(asked(t, "B", NULL), 404, -ENOENT);
	assert_told(t, &waiter, -ENOENT);
	/* That is no deletion. */
	assert_true(rig_has(&t->rig, "B"));
}

static void test_stale_page_link_begins_again(void **state)
{
	struct test *t = *state;
	struct waiter waiter;

	want(t, &waiter, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("2")));
	assert_told(t, &waiter, LISTING_MORE);
	want(t, &waiter, t->dir);
	rig_refuse(asked(t, "A", RIG_LINK("2")), 400, -EINVAL);
	rig_answer(asked(t, "A", NULL), RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("2")));
	assert_told(t, &waiter, LISTING_MORE);
	want(t, &waiter, t->dir);
	rig_refuse(asked(t, "A", RIG_LINK("2")), 400, -EINVAL);
	assert_told(t, &waiter, -EINVAL);
}

static void test_broken_pages(void **state)
{
	static const struct {
		const char *body;
		int error;
	} rows[] = {
		{ RIG_NEXT("", "https://elsewhere.test/v1.0/children?$skiptoken=1"), -EIO },
		{ RIG_NEXT("", RIG_LINK("2")), -EIO }, /* to itself */
		{ RIG_LISTED("{\"id\":5}"), -EBADMSG },
		{ "{}", -EBADMSG },
		{ "", -EBADMSG },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct test *t = *state;
		struct waiter waiter;

		want(t, &waiter, t->dir);
		rig_answer(asked(t, "A", NULL),
			   RIG_NEXT(RIG_FILE("F", "f", "A", "1"), RIG_LINK("2")));
		assert_told(t, &waiter, LISTING_MORE);
		want(t, &waiter, t->dir);
		rig_answer(asked(t, "A", RIG_LINK("2")), rows[i].body);
		assert_told(t, &waiter, rows[i].error);
		assert_int_equal(listing_running_n(t->listing), 0);
		assert_false(rig_is_complete(&t->rig, t->dir));
		teardown(state);
		setup(state);
	}
}

static void test_no_page_in_time(void **state)
{
	struct test *t = *state;
	uint64_t began_ms = clock_mono_ms();
	struct waiter waiter;

	want(t, &waiter, t->dir);
	(void)asked(t, "A", NULL);
	while (waiter.called_n == 0 && clock_mono_ms() < began_ms + 10000)
		rig_turn_ms(&t->rig, 5);
	assert_told(t, &waiter, -ETIMEDOUT);
	assert_true(clock_mono_ms() >= began_ms + PROGRESS_MS);
	assert_int_equal(t->rig.cancelled_n, 1);
}

/* Deleted by delta while a page that still has it is on its way. */
static void test_deleted_meanwhile(void **state)
{
	struct test *t = *state;
	struct rig_call *call;
	struct waiter waiter;

	rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "f", "A", "1")), RIG_LINK("0"));
	want(t, &waiter, t->dir);
	call = asked(t, "A", NULL);
	rig_seed(&t->rig, RIG_LISTED(RIG_GONE("F")), RIG_LINK("1"));
	rig_answer(call, RIG_LISTED(RIG_FILE("F", "f", "A", "1") "," RIG_FILE("G", "g", "A", "1")));
	assert_told(t, &waiter, 0);
	assert_false(rig_has(&t->rig, "F"));
	assert_true(rig_has(&t->rig, "G"));
}

/* Renamed by delta meanwhile: the page that was asked for before does not undo it. */
static void test_renamed_meanwhile(void **state)
{
	struct test *t = *state;
	struct rig_call *call;
	struct waiter waiter;
	struct tree_attr attr;

	rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "old", "A", "1")), RIG_LINK("0"));
	want(t, &waiter, t->dir);
	call = asked(t, "A", NULL);
	rig_seed(&t->rig, RIG_LISTED(RIG_FILE("F", "new", "A", "2")), RIG_LINK("1"));
	rig_answer(call, RIG_LISTED(RIG_FILE("F", "old", "A", "1")));
	assert_told(t, &waiter, 0);
	assert_int_equal(tree_lookup(t->rig.tree, t->dir, "new", &attr), 0);
	assert_int_equal(t->rig.sets_n, 0);
}

static void test_folder_deleted_meanwhile(void **state)
{
	struct test *t = *state;
	struct rig_call *call;
	struct waiter waiter;

	want(t, &waiter, t->dir);
	call = asked(t, "A", NULL);
	rig_seed(&t->rig, RIG_LISTED(RIG_GONE("A")), RIG_LINK("1"));
	rig_answer(call, RIG_LISTED(RIG_FILE("F", "f", "A", "1")));
	assert_told(t, &waiter, -ENOENT);
	assert_false(rig_has(&t->rig, "F"));
}

static void test_unwant(void **state)
{
	struct test *t = *state;
	struct waiter early, late, stays;

	want(t, &early, t->dir);
	assert_true(listing_unwant(t->listing, &early.w));
	assert_false(listing_unwant(t->listing, &early.w));
	want(t, &late, t->dir);
	want(t, &stays, t->dir);
	(void)asked(t, "A", NULL);
	rig_settle(&t->rig);
	assert_true(listing_unwant(t->listing, &late.w));
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &stays, 0);
	assert_false(listing_unwant(t->listing, &stays.w));
	assert_int_equal(early.called_n + late.called_n, 0);
}

struct racer {
	struct test *t;
	struct listing_waiter w;
	atomic_uint called_n, unwanted_n, wanted_n;
	atomic_bool called, done;
	pthread_t thread;
};

static void on_race(struct listing_waiter *w, int status)
{
	struct racer *racer = w->arg;

	racer->called_n++;
	racer->called = true;
}

static void *race(void *arg)
{
	struct racer *racer = arg;

	for (unsigned i = 0; i < ROUNDS_N; i++) {
		racer->called = false;
		racer->wanted_n++;
		racer->w = (struct listing_waiter){ .dir = racer->t->dir,
						    .fn = on_race,
						    .arg = racer };
		listing_want(racer->t->listing, &racer->w);
		for (unsigned spin = i * 7919 % 500; spin > 0 && !racer->called; spin--)
			sched_yield();
		if (listing_unwant(racer->t->listing, &racer->w))
			racer->unwanted_n++;
		else
			/* It runs, or ran: the storage may be used again when it has. */
			while (!racer->called)
				sched_yield();
	}
	racer->done = true;
	return NULL;
}

/* Every wish ends exactly once: called, or taken back. */
static void test_unwant_races(void **state)
{
	struct racer racers[THREADS_N] = { 0 };
	struct test *t = *state;
	uint64_t until = clock_mono_ms() + 30000;
	bool done = false;

	for (size_t i = 0; i < THREADS_N; i++) {
		racers[i].t = t;
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	while (!done && clock_mono_ms() < until) {
		loop_run_once(t->rig.loop);
		/* Always one more page, so that there is always somebody to wake. */
		if (!list_empty(&t->rig.calls)) {
			static unsigned page;
			char body[200];

			snprintf(body, sizeof(body), RIG_NEXT("", RIG_LINK("%u")), page++);
			rig_answer(rig_take(&t->rig, RIG_GET_CHILDREN), body);
		}
		done = true;
		for (size_t i = 0; i < THREADS_N; i++)
			done &= racers[i].done;
	}
	assert_true(done);
	for (size_t i = 0; i < THREADS_N; i++) {
		pthread_join(racers[i].thread, NULL);
		assert_int_equal(racers[i].wanted_n, ROUNDS_N);
		assert_int_equal(racers[i].called_n + racers[i].unwanted_n, ROUNDS_N);
	}
}

static void test_free_tells_who_waits(void **state)
{
	struct test *t = *state;
	struct waiter asking, storing, posted;

	want(t, &asking, t->dir);
	want(t, &storing, rig_ino(&t->rig, "B"));
	(void)asked(t, "A", NULL);
	rig_settle(&t->rig);
	rig_answer(container_of(t->rig.calls.prev, struct rig_call, node),
		   RIG_NEXT("", RIG_LINK("2")));
	want(t, &posted, TREE_ROOT_INO);
	listing_free(take_ptr(&t->listing));
	assert_told(t, &asking, -ENODEV);
	assert_told(t, &storing, -ENODEV);
	assert_told(t, &posted, -ENODEV);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
}

/* --- waiting for the crawl --- */

static void walk(struct test *t, struct waiter *waiter, uint64_t dir)
{
	*waiter = (struct waiter){ .w = { .dir = dir, .fn = on_more, .is_walk = true },
				   .status = WAITING };
	waiter->w.arg = waiter;
	listing_want(t->listing, &waiter->w);
}

/* A crawl is under way, a walk got A, and wants B. */
static void walk_to_b(struct test *t, struct waiter *b)
{
	struct waiter a;

	listing_set_crawling(t->listing, true);
	walk(t, &a, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &a, 0);
	walk(t, b, rig_ino(&t->rig, "B"));
}

static void assert_held(struct test *t, const struct waiter *waiter)
{
	assert_int_equal(rig_waiting_n(&t->rig), 0);
	assert_int_equal(listing_running_n(t->listing), 0);
	assert_int_equal(waiter->called_n, 0);
}

static void end_crawl(void *arg)
{
	struct rig *rig = arg;
	struct change_set *set = NULL;

	assert_int_equal(tree_merge_crawl(rig->tree, NULL, 0, tree_note(rig->tree), NULL, &set), 0);
	change_set_free(set);
}

static void test_walk_waits_for_the_crawl(void **state)
{
	struct test *t = *state;
	struct waiter b;

	walk_to_b(t, &b);
	assert_held(t, &b);
	rig_on_lane(&t->rig, end_crawl, &t->rig);
	listing_set_crawling(t->listing, false);
	assert_told(t, &b, 0);
	assert_int_equal(rig_waiting_n(&t->rig), 0);
}

static void test_walk_goes_on_when_the_crawl_pauses(void **state)
{
	struct test *t = *state;
	struct waiter b;

	walk_to_b(t, &b);
	assert_held(t, &b);
	listing_set_crawling(t->listing, false);
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &b, 0);
}

/* One folder alone, as a person lists it, and whatever stands in for the crawl. */
static void test_who_does_not_wait(void **state)
{
	struct test *t = *state;
	struct waiter a, b, root;

	listing_set_crawling(t->listing, true);
	walk(t, &a, t->dir);
	walk(t, &b, rig_ino(&t->rig, "B"));
	assert_int_equal(rig_waiting_n(&t->rig), 2);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	want(t, &root, TREE_ROOT_INO);
	rig_answer(asked(t, "R", NULL), RIG_LISTED(""));
	assert_told(t, &root, 0);
}

static void test_names_do_not_make_a_walk(void **state)
{
	struct test *t = *state;
	struct waiter a, b;

	listing_set_crawling(t->listing, true);
	want(t, &a, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &a, 0);
	walk(t, &b, rig_ino(&t->rig, "B"));
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &b, 0);
}

static void test_slow_walk_does_not_wait(void **state)
{
	struct test *t = *state;
	struct waiter a, b;

	make(t, LONG_MS, 1);
	listing_set_crawling(t->listing, true);
	walk(t, &a, t->dir);
	rig_answer(asked(t, "A", NULL), RIG_LISTED(""));
	assert_told(t, &a, 0);
	rig_turn_ms(&t->rig, 20);
	walk(t, &b, rig_ino(&t->rig, "B"));
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &b, 0);
}

static void test_waiting_for_the_crawl_is_bounded(void **state)
{
	struct test *t = *state;
	struct waiter b, root;

	make(t, 30, LONG_MS);
	walk_to_b(t, &b);
	assert_held(t, &b);
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &b, 0);
	/* In all, and it is used up. */
	walk(t, &root, TREE_ROOT_INO);
	rig_answer(asked(t, "R", NULL), RIG_LISTED(""));
	assert_told(t, &root, 0);
}

static void test_held_folder_that_is_wanted_at_once(void **state)
{
	struct test *t = *state;
	struct waiter held, other, name;

	walk_to_b(t, &held);
	walk(t, &other, TREE_ROOT_INO);
	assert_held(t, &held);
	want(t, &name, held.w.dir);
	rig_answer(asked(t, "B", NULL), RIG_LISTED(""));
	assert_told(t, &name, 0);
	assert_told(t, &held, 0);
	assert_held(t, &other);
	listing_set_crawling(t->listing, false);
	rig_answer(asked(t, "R", NULL), RIG_LISTED(""));
	assert_told(t, &other, 0);
}

static void test_held_ones_end(void **state)
{
	struct test *t = *state;
	struct waiter b, other;

	walk_to_b(t, &b);
	walk(t, &other, b.w.dir);
	assert_held(t, &b);
	assert_true(listing_unwant(t->listing, &other.w));
	listing_set_offline(t->listing, true);
	assert_told(t, &b, -ENETDOWN);
	listing_set_offline(t->listing, false);
	walk(t, &b, b.w.dir);
	assert_held(t, &b);
	listing_free(take_ptr(&t->listing));
	assert_told(t, &b, -ENODEV);
	assert_int_equal(other.called_n, 0);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_entries_appear_page_by_page),
		TEST(test_empty_folder),
		TEST(test_many_wait_for_one_request),
		TEST(test_wants_again_from_inside),
		TEST(test_what_cannot_be_listed),
		TEST(test_offline_is_said_at_once),
		TEST(test_failure_is_remembered_for_a_while),
		TEST(test_not_found_is_asked_twice),
		TEST(test_stale_page_link_begins_again),
		TEST(test_broken_pages),
		TEST(test_no_page_in_time),
		TEST(test_deleted_meanwhile),
		TEST(test_renamed_meanwhile),
		TEST(test_folder_deleted_meanwhile),
		TEST(test_unwant),
		TEST(test_unwant_races),
		TEST(test_free_tells_who_waits),
		TEST(test_walk_waits_for_the_crawl),
		TEST(test_walk_goes_on_when_the_crawl_pauses),
		TEST(test_who_does_not_wait),
		TEST(test_names_do_not_make_a_walk),
		TEST(test_slow_walk_does_not_wait),
		TEST(test_waiting_for_the_crawl_is_bounded),
		TEST(test_held_folder_that_is_wanted_at_once),
		TEST(test_held_ones_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * A parked request is answered exactly once and freed exactly once, whatever comes first: what it
 * waits for, an interrupt, or the end. libfuse and the notifier are this file's own.
 */
#include "park.h"

#include "notify.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DIR = 7, ROUNDS = 2000, DONE = 0 };

/* A request with the work behind it: some thread will finish it, unless it is cancelled. */
struct request {
	struct parked parked;
	/* What outlives the storage. */
	struct outcome *outcome;
};

struct outcome {
	atomic_int replies_n, error, frees_n;
	atomic_bool is_taken; /* the work ran, or was cancelled */
	bool cannot_cancel;
	uint64_t number; /* as libfuse was given it */
	bool is_interrupted_early;
	struct park *park;
};

static atomic_int gate_n;

/* --- in place of libfuse and the notifier --- */

static struct outcome *outcome_of(fuse_req_t req)
{
	return (struct outcome *)req;
}

int fuse_reply_err(fuse_req_t req, int error)
{
	outcome_of(req)->replies_n++;
	outcome_of(req)->error = error;
	return 0;
}

void fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	outcome_of(req)->number = (uint64_t)(uintptr_t)data;
	if (outcome_of(req)->is_interrupted_early)
		func(req, data);
}

void notify_park_begin(struct notify *notify, uint64_t dir)
{
	assert_int_equal(dir, DIR);
	gate_n++;
}

void notify_park_end(struct notify *notify, uint64_t dir)
{
	assert_int_equal(dir, DIR);
	gate_n--;
}

static void on_interrupt(fuse_req_t req, void *data)
{
	park_interrupt(outcome_of(req)->park, (uint64_t)(uintptr_t)data);
}

/* --- the work --- */

static bool cancel(struct parked *p)
{
	struct outcome *o = container_of(p, struct request, parked)->outcome;

	return !o->cannot_cancel && !atomic_exchange(&o->is_taken, true);
}

static void free_request(struct parked *p)
{
	struct request *request = container_of(p, struct request, parked);

	request->outcome->frees_n++;
	free(request);
}

static void finish(struct request *request, struct outcome *o)
{
	if (atomic_exchange(&o->is_taken, true))
		return;
	if (park_claim(&request->parked))
		fuse_reply_err(request->parked.req, DONE);
	park_unref(&request->parked);
}

static struct request *begin(struct park *park, struct outcome *o)
{
	struct request *request = calloc(1, sizeof(*request));

	o->park = park;
	o->error = -1;
	request->outcome = o;
	request->parked = (struct parked){
		.req = (fuse_req_t)o, .dir = DIR, .cancel = cancel, .free = free_request
	};
	return park_begin(park, &request->parked) ? request : NULL;
}

static void check(struct park *park, const struct outcome *o)
{
	assert_int_equal(o->replies_n, 1);
	assert_int_equal(o->frees_n, 1);
	assert_int_equal(park_n(park), 0);
	assert_int_equal(gate_n, 0);
}

static struct park *new_park(void)
{
	struct park *park;

	assert_int_equal(park_new(NULL, on_interrupt, &park), 0);
	return park;
}

/* --- every order --- */

enum step { ARM, INTERRUPT, FINISH, DRAIN, STEPS_N };

/* Who answers: the first of those that can. Before it is armed an interrupt or the end only wait
 * for that. */
static int expected_error(const int *order)
{
	bool armed = false, interrupted = false, drained = false;

	for (int i = 0; i < STEPS_N; i++) {
		switch ((enum step)order[i]) {
		case ARM:
			armed = true;
			break;
		case INTERRUPT:
			interrupted = true;
			break;
		case DRAIN:
			drained = true;
			break;
		default:
			return DONE;
		}
		if (armed && (interrupted || drained))
			return interrupted ? EINTR : ENODEV;
	}
	return -1;
}

static void run(const int *order, bool cannot_cancel)
{
	struct park *park = new_park();
	struct outcome o = { .cannot_cancel = cannot_cancel };
	struct request *request = begin(park, &o);

	assert_non_null(request);
	assert_int_equal(gate_n, 1);
	for (int i = 0; i < STEPS_N; i++) {
		switch ((enum step)order[i]) {
		case ARM:
			/* The work may be over before whoever started it comes to this. */
			assert_int_equal(o.frees_n, 0);
			park_arm(&request->parked);
			break;
		case INTERRUPT:
			park_interrupt(park, o.number);
			break;
		case FINISH:
			finish(request, &o);
			break;
		default:
			park_drain(park);
			break;
		}
		assert_true(o.replies_n <= 1);
	}
	finish(request, &o);
	check(park, &o);
	assert_int_equal(o.error, expected_error(order));
	park_interrupt(park, o.number); /* long gone */
	park_free(park);
}

static void permute(int *order, int n, unsigned *ret_n)
{
	if (n == STEPS_N) {
		run(order, false);
		run(order, true);
		(*ret_n)++;
		return;
	}
	for (int i = n; i < STEPS_N; i++) {
		int swap = order[n];

		order[n] = order[i];
		order[i] = swap;
		permute(order, n + 1, ret_n);
		order[i] = order[n];
		order[n] = swap;
	}
}

static void test_every_order(void **state)
{
	int order[STEPS_N] = { ARM, INTERRUPT, FINISH, DRAIN };
	unsigned n = 0;

	permute(order, 0, &n);
	assert_int_equal(n, 24);
}

static void test_interrupted_before_it_was_parked(void **state)
{
	struct park *park = new_park();
	struct outcome o = { .is_interrupted_early = true };
	struct request *request = begin(park, &o);

	assert_non_null(request);
	assert_int_equal(o.replies_n, 0); /* libfuse holds the lock that a reply takes */
	park_arm(&request->parked);
	check(park, &o);
	assert_int_equal(o.error, EINTR);
	park_free(park);
}

static void test_after_the_end(void **state)
{
	struct park *park = new_park();
	struct outcome o = { 0 };

	park_drain(park);
	assert_null(begin(park, &o));
	check(park, &o);
	assert_int_equal(o.error, ENODEV);
	park_free(park);
}

static void test_drain_takes_all(void **state)
{
	struct park *park = new_park();
	struct outcome o[20] = { 0 };

	for (size_t i = 0; i < array_n(o); i++) {
		struct request *request = begin(park, &o[i]);

		assert_non_null(request);
		park_arm(&request->parked);
	}
	assert_int_equal(park_n(park), array_n(o));
	park_drain(park);
	for (size_t i = 0; i < array_n(o); i++) {
		check(park, &o[i]);
		assert_int_equal(o[i].error, ENODEV);
	}
	park_free(park);
}

/* --- all at once --- */

struct round {
	pthread_barrier_t start, end;
	struct park *park;
	struct request *request;
	struct outcome outcome;
	bool over;
};

static struct round the_round;

static bool next(void)
{
	pthread_barrier_wait(&the_round.start);
	return !the_round.over;
}

static void *interrupter(void *arg)
{
	while (next()) {
		park_interrupt(the_round.park, the_round.outcome.number);
		pthread_barrier_wait(&the_round.end);
	}
	return NULL;
}

static void *worker(void *arg)
{
	while (next()) {
		finish(the_round.request, &the_round.outcome);
		pthread_barrier_wait(&the_round.end);
	}
	return NULL;
}

static void *drainer(void *arg)
{
	while (next()) {
		park_drain(the_round.park);
		pthread_barrier_wait(&the_round.end);
	}
	return NULL;
}

static void test_all_at_once(void **state)
{
	void *(*const fns[])(void *arg) = { interrupter, interrupter, worker, drainer };
	pthread_t threads[array_n(fns)];
	unsigned answered[3] = { 0 };

	pthread_barrier_init(&the_round.start, NULL, array_n(fns) + 1);
	pthread_barrier_init(&the_round.end, NULL, array_n(fns) + 1);
	for (size_t i = 0; i < array_n(fns); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fns[i], NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		the_round.outcome = (struct outcome){ .cannot_cancel = i % 2 };
		the_round.park = new_park();
		the_round.request = begin(the_round.park, &the_round.outcome);
		assert_non_null(the_round.request);
		park_arm(&the_round.request->parked);
		pthread_barrier_wait(&the_round.start);
		pthread_barrier_wait(&the_round.end);
		check(the_round.park, &the_round.outcome);
		answered[the_round.outcome.error == DONE    ? 0
			 : the_round.outcome.error == EINTR ? 1
							    : 2]++;
		park_free(the_round.park);
	}
	the_round.over = true;
	pthread_barrier_wait(&the_round.start);
	for (size_t i = 0; i < array_n(fns); i++)
		pthread_join(threads[i], NULL);
	print_message("work %u, interrupt %u, end %u\n", answered[0], answered[1], answered[2]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_order),
		cmocka_unit_test(test_interrupted_before_it_was_parked),
		cmocka_unit_test(test_after_the_end),
		cmocka_unit_test(test_drain_takes_all),
		cmocka_unit_test(test_all_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

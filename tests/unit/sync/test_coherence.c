#include "coherence.h"

#include "mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct coherence_options options = {
	.lease_ms = 1000000,
	.lease_suspect_ms = 500,
	.poll_min_ms = 100,
	.poll_max_ms = 800,
	.safety_ms = 50000,
	.retry_ms = 20,
	.probe_max_ms = 60,
};

enum event { END, UP, LATE, DOWN, NONE, DELTA, NEWS, OLD, FAILED, UNREACHABLE, JUMP };

struct step {
	enum event event;
	uint64_t at_ms;
	enum coherence_state state;
	uint64_t lease_ms, poll_at_ms;
	bool revoke;
	const char *word, *reason;
};

/* DELTA, NEWS: began now; OLD: began before the channel came up, at 0. */
static void feed(struct coherence *c, const struct step *step)
{
	uint64_t now = step->at_ms;

	switch (step->event) {
	case UP:
		coherence_on_channel(c, COHERENCE_UP, "", now);
		break;
	case LATE:
		coherence_on_channel(c, COHERENCE_LATE, "late", now);
		break;
	case DOWN:
		coherence_on_channel(c, COHERENCE_DOWN, "down", now);
		break;
	case NONE:
		coherence_on_channel(c, COHERENCE_NO_CHANNEL, "none", now);
		break;
	case DELTA:
		coherence_on_delta(c, now, false, now);
		break;
	case NEWS:
		coherence_on_delta(c, now, true, now);
		break;
	case OLD:
		coherence_on_delta(c, 0, true, now);
		break;
	case FAILED:
		coherence_on_delta_failed(c, false, "failed", now);
		break;
	case UNREACHABLE:
		coherence_on_delta_failed(c, true, "unreachable", now);
		break;
	case JUMP:
		coherence_on_jump(c, now);
		break;
	case END:
		break;
	}
}

#define G  COHERENCE_GAP
#define L  COHERENCE_LIVE
#define S  COHERENCE_SUSPECT
#define O  COHERENCE_OFFLINE
#define CU "catching up with what the channel missed"

#define LONG  1000000
#define SHORT 500

static const struct step stories[][12] = {
	/* Delta before the channel is not enough; one begun before it came up neither. */
	{ { DELTA, 10, G, 100, 110, false, "polling", "the channel is not up yet" },
	  { UP, 20, G, 100, 20, false, "polling", CU },
	  { OLD, 30, G, 100, 30, false, "polling", CU },
	  { DELTA, 31, L, LONG, 50031, false, "live", "" } },
	/* Without a channel: slower and slower while nothing happens, leases likewise. */
	{ { NONE, 0, G, 100, 0, false, "polling", "none" },
	  { DELTA, 10, G, 100, 110, false, "polling", "none" },
	  { DELTA, 110, G, 200, 310, false, "polling", "none" },
	  { DELTA, 310, G, 400, 710, false, "polling", "none" },
	  { DELTA, 710, G, 800, 1510, false, "polling", "none" },
	  { DELTA, 1510, G, 800, 2310, false, "polling", "none" },
	  { NONE, 1600, G, 800, 2310, false, "polling", "none" },
	  { NEWS, 2310, G, 100, 2410, false, "polling", "none" },
	  { DELTA, 2410, G, 200, 2610, false, "polling", "none" } },
	/* The channel goes: once revoked, delta at once; vain tries to reconnect change nothing. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { DOWN, 100, G, 100, 100, true, "polling", "down" },
	  { DOWN, 110, G, 100, 100, false, "polling", "down" },
	  { DELTA, 120, G, 100, 220, false, "polling", "down" },
	  { DOWN, 130, G, 100, 220, false, "polling", "down" },
	  { UP, 140, G, 100, 140, false, "polling", CU },
	  { DELTA, 141, L, LONG, 50141, false, "live", "" } },
	/* A late heartbeat: short leases, nothing revoked, and back. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { LATE, 100, S, SHORT, 100, false, "live", "late" },
	  { DELTA, 101, S, SHORT, 201, false, "live", "late" },
	  { UP, 110, S, SHORT, 110, false, "live", CU },
	  { DELTA, 111, L, LONG, 50111, false, "live", "" } },
	/* The same, but the channel is dead: what was long is revoked although it was suspect. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { LATE, 100, S, SHORT, 100, false, "live", "late" },
	  { DOWN, 200, G, 100, 200, true, "polling", "down" } },
	/* Delta fails: suspect, slower and slower, then a gap; one that works brings all back. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { FAILED, 100, S, SHORT, 120, false, "live", "failed" },
	  { FAILED, 120, S, SHORT, 160, false, "live", "failed" },
	  { FAILED, 160, G, 100, 240, true, "polling", "failed" },
	  { FAILED, 240, G, 100, 400, false, "polling", "failed" },
	  { FAILED, 400, G, 100, 720, false, "polling", "failed" },
	  { FAILED, 720, G, 100, 1360, false, "polling", "failed" },
	  { FAILED, 1360, G, 100, 2160, false, "polling", "failed" },
	  { DELTA, 2160, L, LONG, 52160, false, "live", "" },
	  { FAILED, 2200, S, SHORT, 2220, false, "live", "failed" } },
	/* A delta that began before one that failed proves nothing. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { FAILED, 100, G, 100, 120, false, "polling", "failed" },
	  { OLD, 110, G, 100, 110, false, "polling", CU } },
	/* The service is gone: the cache counts, probes stay frequent; back through a gap. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { UNREACHABLE, 100, O, LONG, 120, false, "offline", "unreachable" },
	  { DOWN, 105, O, LONG, 105, false, "offline", "unreachable" },
	  { UNREACHABLE, 120, O, LONG, 160, false, "offline", "unreachable" },
	  { UNREACHABLE, 160, O, LONG, 220, false, "offline", "unreachable" },
	  { UNREACHABLE, 220, O, LONG, 280, false, "offline", "unreachable" },
	  { UP, 230, O, LONG, 230, false, "offline", "unreachable" },
	  { DELTA, 231, L, LONG, 50231, true, "live", "" } },
	/* Gone from the start, back without a channel. */
	{ { UNREACHABLE, 0, O, LONG, 20, false, "offline", "unreachable" },
	  { NONE, 5, O, LONG, 20, false, "offline", "unreachable" },
	  { DELTA, 20, G, 100, 120, true, "polling", "none" },
	  { DELTA, 120, G, 200, 320, false, "polling", "none" } },
	/* It can be reached again, but refuses. */
	{ { UNREACHABLE, 0, O, LONG, 20, false, "offline", "unreachable" },
	  { FAILED, 20, G, 100, 60, true, "polling", "failed" } },
	/* Sleep: believed again only after a delta that began later. */
	{ { UP, 0, G, 100, 0, false, "polling", CU },
	  { DELTA, 1, L, LONG, 50001, false, "live", "" },
	  { JUMP, 9000, S, SHORT, 9000, false, "live", "the clock jumped" },
	  { OLD, 9001, S, SHORT, 9001, false, "live", "the clock jumped" },
	  { DELTA, 9002, L, LONG, 59002, false, "live", "" } },
	/* Sleep of a drive that polls, and of one that is offline. */
	{ { NONE, 0, G, 100, 0, false, "polling", "none" },
	  { DELTA, 0, G, 100, 100, false, "polling", "none" },
	  { JUMP, 9000, G, 100, 9000, false, "polling", "none" },
	  { UNREACHABLE, 9001, O, LONG, 9021, false, "offline", "unreachable" },
	  { JUMP, 19000, O, LONG, 19000, false, "offline", "unreachable" } },
};

static void test_stories(void **state)
{
	for (size_t i = 0; i < array_n(stories); i++) {
		struct coherence c;

		coherence_init(&c, &options, 0);
		assert_int_equal(c.state, COHERENCE_GAP);
		assert_int_equal(coherence_poll_at_ms(&c), 0);
		for (const struct step *step = stories[i]; step->event != END; step++) {
			feed(&c, step);
			print_message("story %zu at %u\n", i, (unsigned)step->at_ms);
			assert_int_equal(c.state, step->state);
			assert_int_equal(coherence_lease_ms(&c), step->lease_ms);
			assert_int_equal(coherence_poll_at_ms(&c), step->poll_at_ms);
			assert_int_equal(coherence_take_revoke(&c), step->revoke);
			assert_false(coherence_take_revoke(&c));
			assert_string_equal(coherence_word(&c), step->word);
			assert_string_equal(coherence_reason(&c), step->reason);
		}
	}
}

static void test_defaults_are_ordered(void **state)
{
	const struct coherence_options *d = &coherence_defaults;

	assert_true(d->retry_ms > 0 && d->retry_ms <= d->probe_max_ms);
	assert_true(d->poll_min_ms <= d->poll_max_ms && d->poll_max_ms < d->safety_ms);
	assert_true(d->lease_suspect_ms < d->lease_ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stories),
		cmocka_unit_test(test_defaults_are_ordered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

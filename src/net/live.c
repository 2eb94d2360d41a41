#define LOG_MODULE "live"
#include "live.h"

#include "clock.h"
#include "config-build.h"
#include "log.h"
#include "notifyurl.h"
#include "session.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { HOUR_MS = 3600 * 1000, DAY_MS = 24 * HOUR_MS };

struct live {
	struct loop *loop;
	struct ws *ws;
	struct live_options options;
	struct live_events events;
	struct session *session; /* the one that is up, or NULL */
	struct session *next;    /* being brought up; replaces session */
	bool asked;              /* an endpoint is asked for and not answered */
	bool is_up, is_late;
	bool is_eio3; /* the next attempt, if options.eio leaves the choice */
	struct loop_timer retry, renew, stable;
	uint64_t backoff_ms, refused_ms, eio4_again_at_ms;
	unsigned seed;
	int64_t expires_ns;
	char host[256];
	int64_t connected_s, notified_s;
	unsigned notified_n;
};

static void ask(struct live *live);

static uint64_t or_default(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

static void fill_options(struct live_options *o)
{
	o->dial_ms = or_default(o->dial_ms, 15000);
	o->join_ms = or_default(o->join_ms, 15000);
	o->backoff_min_ms = or_default(o->backoff_min_ms, 1000);
	o->backoff_max_ms = or_default(o->backoff_max_ms, 60000);
	o->stable_ms = or_default(o->stable_ms, 30000);
	o->renew_before_ms = or_default(o->renew_before_ms, 120000);
	o->renew_min_ms = or_default(o->renew_min_ms, 60000);
	o->lifetime_ms = or_default(o->lifetime_ms, 30 * 60 * 1000);
	o->refused_ms = or_default(o->refused_ms, 60000);
	o->eio4_again_ms = or_default(o->eio4_again_ms, 6ULL * HOUR_MS);
}

static void tell(struct live *live, enum live_event event, const char *reason)
{
	live->events.on_event(live->events.arg, event, reason);
}

/* 0 to most_ms, so that many clients do not come back in step. */
static uint64_t some_of(struct live *live, uint64_t most_ms)
{
	return (uint64_t)rand_r(&live->seed) % (most_ms + 1);
}

/* +-20 %. */
static uint64_t jitter(struct live *live, uint64_t ms)
{
	return ms - ms / 5 + some_of(live, ms * 2 / 5);
}

static void on_retry(void *arg)
{
	ask(arg);
}

static void on_stable(void *arg)
{
	struct live *live = arg;

	live->backoff_ms = live->options.backoff_min_ms;
}

static void retry_later(struct live *live)
{
	loop_timer_arm(&live->retry, jitter(live, live->backoff_ms));
	live->backoff_ms = live->backoff_ms * 2 < live->options.backoff_max_ms
				   ? live->backoff_ms * 2
				   : live->options.backoff_max_ms;
}

int live_new(struct loop *loop, struct ws *ws, const struct live_options *options,
	     const struct live_events *events, struct live **ret)
{
	struct live *live = calloc(1, sizeof(*live));

	if (!live)
		return -ENOMEM;
	live->loop = loop;
	live->ws = ws;
	live->options = *options;
	live->events = *events;
	fill_options(&live->options);
	live->backoff_ms = live->options.backoff_min_ms;
	live->refused_ms = live->options.refused_ms;
	live->seed = (unsigned)clock_real_ns();
	if (loop_timer_init(&live->retry, loop, on_retry, live) < 0 ||
	    loop_timer_init(&live->renew, loop, on_retry, live) < 0 ||
	    loop_timer_init(&live->stable, loop, on_stable, live) < 0) {
		live_free(live);
		return -ENOMEM;
	}
	*ret = live;
	return 0;
}

void live_free(struct live *live)
{
	if (!live)
		return;
	session_free(live->session, true);
	session_free(live->next, true);
	loop_timer_fini(&live->retry);
	loop_timer_fini(&live->renew);
	loop_timer_fini(&live->stable);
	free(live);
}

static void ask(struct live *live)
{
	if (live->asked || live->next)
		return;
	live->asked = true;
	loop_timer_disarm(&live->retry);
	if (!live->is_up)
		tell(live, LIVE_CONNECTING, "");
	live->events.get_endpoint(live->events.arg);
}

void live_start(struct live *live)
{
	ask(live);
}

static void arm_renewal(struct live *live)
{
	int64_t left_ms = (int64_t)live->options.lifetime_ms;
	int64_t in_ms;

	if (live->expires_ns != INT64_MIN)
		left_ms = (live->expires_ns - clock_real_ns()) / 1000000;
	in_ms = left_ms - (int64_t)live->options.renew_before_ms;
	in_ms -= (int64_t)some_of(live, live->options.renew_before_ms / 5);
	if (in_ms > DAY_MS)
		in_ms = DAY_MS;
	if (in_ms < (int64_t)live->options.renew_min_ms)
		in_ms = (int64_t)live->options.renew_min_ms;
	loop_timer_arm(&live->renew, (uint64_t)in_ms);
}

static void renew_later(struct live *live)
{
	uint64_t ms = live->options.renew_min_ms;

	loop_timer_arm(&live->renew, ms + some_of(live, ms / 5));
}

/* --- what the sessions report --- */

static void on_session_up(void *arg, struct session *session)
{
	struct live *live = arg;

	session_free(live->session, true);
	live->session = session;
	live->next = NULL;
	live->is_up = true;
	live->is_late = false;
	live->connected_s = clock_real_s();
	live->refused_ms = live->options.refused_ms;
	snprintf(live->host, sizeof(live->host), "%s", session_host(session));
	arm_renewal(live);
	loop_timer_arm(&live->stable, live->options.stable_ms);
	log_info("channel up at %s, heartbeat every %llu ms", live->host,
		 (unsigned long long)session_ping_ms(session));
	tell(live, LIVE_UP, "");
}

static void on_session_notified(void *arg, struct session *session)
{
	struct live *live = arg;

	if (PLANT_DROP_NOTIFICATION && ++live->notified_n % 10 == 0)
		return;
	live->notified_s = clock_real_s();
	tell(live, LIVE_NOTIFICATION, "");
}

static void on_session_ping(void *arg, struct session *session)
{
	struct live *live = arg;

	if (session != live->session)
		return;
	live->backoff_ms = live->options.backoff_min_ms;
	if (!live->is_late)
		return;
	/* What was said while the line was silent may be lost. */
	live->is_late = false;
	tell(live, LIVE_UP, "");
}

static void on_session_late(void *arg, struct session *session)
{
	struct live *live = arg;

	if (session != live->session)
		return;
	live->is_late = true;
	tell(live, LIVE_SUSPECT, "the channel's heartbeat is late");
}

static int eio(struct live *live)
{
	if (live->options.eio)
		return (int)live->options.eio;
	if (live->is_eio3 && loop_now_ms(live->loop) >= live->eio4_again_at_ms)
		live->is_eio3 = false;
	return live->is_eio3 ? 3 : 4;
}

static void change_eio(struct live *live)
{
	live->is_eio3 = !live->is_eio3;
	live->eio4_again_at_ms = loop_now_ms(live->loop) + live->options.eio4_again_ms;
	log_info("the service refuses this Engine.IO; the next attempt is with %d", eio(live));
}

static void on_next_ended(struct live *live, const char *reason)
{
	log_info("channel cannot be opened: %s", reason);
	if (!live->options.eio && session_eio_refused(live->next))
		change_eio(live);
	live->next = NULL;
	if (live->is_up) {
		renew_later(live);
		return;
	}
	tell(live, LIVE_DOWN, reason);
	retry_later(live);
}

static void forget_session(struct live *live)
{
	live->session = NULL;
	live->is_up = live->is_late = false;
	loop_timer_disarm(&live->renew);
	loop_timer_disarm(&live->stable);
}

static void on_session_ended(void *arg, struct session *session, const char *reason)
{
	struct live *live = arg;

	if (session == live->next) {
		on_next_ended(live, reason);
	} else {
		forget_session(live);
		log_info("channel down: %s", reason);
		tell(live, LIVE_DOWN, reason);
		if (!live->next && !live->asked)
			retry_later(live);
	}
	/* The reason is the session's: that goes last. */
	session_free(session, false);
}

static const struct session_events session_events = {
	.on_up = on_session_up,
	.on_notified = on_session_notified,
	.on_ping = on_session_ping,
	.on_late = on_session_late,
	.on_ended = on_session_ended,
};

/* --- endpoints --- */

static void keep(struct live *live, const char *reason)
{
	log_info("the channel is not renewed: %s", reason);
	renew_later(live);
}

static void on_refused(struct live *live, bool unsupported, const char *reason)
{
	if (live->is_up) {
		keep(live, reason);
		return;
	}
	loop_timer_arm(&live->retry, jitter(live, live->refused_ms));
	if (unsupported)
		live->refused_ms = live->refused_ms * 2 < HOUR_MS ? live->refused_ms * 2 : HOUR_MS;
	tell(live, unsupported ? LIVE_UNSUPPORTED : LIVE_DOWN, reason);
}

/* Nobody refused anything: the network is down or slow, and the service needs no mercy. */
static void on_unanswered(struct live *live, const char *reason)
{
	if (live->is_up) {
		keep(live, reason);
		return;
	}
	retry_later(live);
	tell(live, LIVE_DOWN, reason);
}

void live_set_endpoint(struct live *live, int error, bool unsupported, const char *reason,
		       const char *url, int64_t expires_ns)
{
	struct notifyurl where;
	int r;

	live->asked = false;
	if (error == -ENETDOWN || error == -ETIMEDOUT) {
		on_unanswered(live, reason);
		return;
	}
	if (error < 0) {
		on_refused(live, unsupported, reason);
		return;
	}
	r = notifyurl_parse(url, eio(live), live->options.host_suffixes, &where);
	if (r < 0) {
		on_refused(live, false, "the notification URL is not one to connect to");
		return;
	}
	live->expires_ns = expires_ns;
	r = session_new(live->loop, live->ws, &where, &live->options, &session_events, live,
			&live->next);
	notifyurl_fini(&where);
	if (r < 0)
		on_refused(live, false, strerror(-r));
}

void live_kick(struct live *live)
{
	bool was_up = live->is_up;

	session_free(take_ptr(&live->next), false);
	session_free(live->session, false);
	forget_session(live);
	live->backoff_ms = live->options.backoff_min_ms;
	live->refused_ms = live->options.refused_ms;
	if (was_up)
		tell(live, LIVE_DOWN, "the machine slept");
	ask(live);
}

bool live_is_up(const struct live *live)
{
	return live->is_up;
}

const char *live_host(const struct live *live)
{
	return live->host;
}

int64_t live_connected_since_s(const struct live *live)
{
	return live->is_up ? live->connected_s : 0;
}

int64_t live_last_notification_s(const struct live *live)
{
	return live->notified_s;
}

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

enum { UNSUPPORTED_MAX_MS = 3600 * 1000, EVERY_DAY_MS = 24 * 3600 * 1000 };

struct live {
	struct loop *loop;
	struct ws *ws;
	struct live_options options;
	struct live_events events;
	struct session *session; /* the one that is up, or NULL */
	struct session *next;    /* being brought up; replaces session */
	bool asked;              /* an endpoint is asked for and not answered */
	bool is_up, is_late, is_freed;
	struct loop_timer retry, renew, stable;
	uint64_t backoff_ms, unsupported_ms, stable_until_ms;
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
	o->unsupported_ms = or_default(o->unsupported_ms, 60000);
}

static void tell(struct live *live, enum live_event event, const char *reason)
{
	live->events.on_event(live->events.arg, event, reason);
}

/* +-20 %, so that many clients do not come back in step. */
static uint64_t jitter(struct live *live, uint64_t ms)
{
	return ms - ms / 5 + (uint64_t)rand_r(&live->seed) % (ms * 2 / 5 + 1);
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
	live->unsupported_ms = live->options.unsupported_ms;
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
	if (in_ms > EVERY_DAY_MS)
		in_ms = EVERY_DAY_MS;
	if (in_ms < (int64_t)live->options.renew_min_ms)
		in_ms = (int64_t)live->options.renew_min_ms;
	loop_timer_arm(&live->renew, jitter(live, (uint64_t)in_ms));
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
	live->unsupported_ms = live->options.unsupported_ms;
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

	live->backoff_ms = live->options.backoff_min_ms;
	if (session != live->session || !live->is_late)
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

static void on_session_ended(void *arg, struct session *session, const char *reason)
{
	struct live *live = arg;

	/* The reason is the session's: that goes last. */
	if (session == live->next) {
		live->next = NULL;
		log_info("channel cannot be opened: %s", reason);
		if (!live->is_up)
			tell(live, LIVE_DOWN, reason);
		retry_later(live);
		session_free(session, false);
		return;
	}
	live->session = NULL;
	live->is_up = live->is_late = false;
	loop_timer_disarm(&live->renew);
	loop_timer_disarm(&live->stable);
	log_info("channel down: %s", reason);
	tell(live, LIVE_DOWN, reason);
	if (!live->next && !live->asked)
		retry_later(live);
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

static void on_refused(struct live *live, bool unsupported, const char *reason)
{
	/* A renewal that fails leaves the old socket as it is. */
	if (live->is_up) {
		loop_timer_arm(&live->renew, jitter(live, live->options.renew_min_ms));
		return;
	}
	tell(live, unsupported ? LIVE_UNSUPPORTED : LIVE_DOWN, reason);
	if (!unsupported) {
		retry_later(live);
		return;
	}
	loop_timer_arm(&live->retry, jitter(live, live->unsupported_ms));
	live->unsupported_ms *= 2;
	if (live->unsupported_ms > UNSUPPORTED_MAX_MS)
		live->unsupported_ms = UNSUPPORTED_MAX_MS;
}

void live_set_endpoint(struct live *live, int error, bool unsupported, const char *reason,
		       const char *url, int64_t expires_ns)
{
	struct notifyurl where;
	int r;

	live->asked = false;
	if (error < 0) {
		on_refused(live, unsupported, reason);
		return;
	}
	r = notifyurl_parse(url, live->options.eio3 ? 3 : 4, live->options.host_suffixes, &where);
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
	if (live->asked)
		return;
	/* A socket that slept through its heartbeats is replaced, not asked. */
	session_free(live->next, false);
	live->next = NULL;
	if (live->session) {
		session_free(live->session, false);
		live->session = NULL;
		live->is_up = false;
		tell(live, LIVE_DOWN, "the machine slept");
	}
	live->backoff_ms = live->options.backoff_min_ms;
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

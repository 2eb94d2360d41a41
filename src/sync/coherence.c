#include "coherence.h"

#include <stdio.h>

const struct coherence_options coherence_defaults = {
	.lease_ms = 3600 * 1000,
	.lease_suspect_ms = 5000,
	.poll_min_ms = 5000,
	.poll_max_ms = 60 * 1000,
	.safety_ms = 10 * 60 * 1000,
};

/* Asking at once is 0 ms from now; a second failure in a row must not be a busy loop. */
enum { RETRY_MS = 2000 };

static void set_reason(struct coherence *c, const char *reason)
{
	snprintf(c->reason, sizeof(c->reason), "%s", reason ? reason : "");
}

static void enter(struct coherence *c, enum coherence_state state)
{
	bool believed = state == COHERENCE_LIVE || state == COHERENCE_OFFLINE;

	if (state == COHERENCE_GAP && c->was_believed) {
		c->wants_revoke = true;
		c->was_believed = false;
	}
	if (believed)
		c->was_believed = true;
	c->state = state;
	c->lease_now_ms = believed                     ? c->options.lease_ms
			  : state == COHERENCE_SUSPECT ? c->options.lease_suspect_ms
						       : c->poll_ms;
}

void coherence_init(struct coherence *c, const struct coherence_options *options, uint64_t now_ms)
{
	*c = (struct coherence){
		.options = *options,
		.poll_ms = options->poll_min_ms,
		.poll_at_ms = now_ms,
		.trusted_ms = now_ms,
	};
	set_reason(c, "starting");
	enter(c, COHERENCE_GAP);
}

/* Asks again soon, at growing distances. */
static void poll_slower(struct coherence *c, uint64_t now_ms)
{
	c->poll_at_ms = now_ms + c->poll_ms;
	c->poll_ms =
		c->poll_ms * 2 < c->options.poll_max_ms ? c->poll_ms * 2 : c->options.poll_max_ms;
}

void coherence_on_channel(struct coherence *c, enum coherence_channel channel, const char *reason,
			  uint64_t now_ms)
{
	bool was_up = c->channel == COHERENCE_UP || c->channel == COHERENCE_LATE;

	c->channel = channel;
	switch (channel) {
	case COHERENCE_UP:
		/* What happened while nobody listened was not notified. */
		c->up_ms = c->trusted_ms = now_ms;
		c->poll_at_ms = now_ms;
		break;
	case COHERENCE_LATE:
		set_reason(c, reason);
		if (c->state == COHERENCE_LIVE) {
			enter(c, COHERENCE_SUSPECT);
			c->poll_at_ms = now_ms;
		}
		break;
	case COHERENCE_DOWN:
	case COHERENCE_NO_CHANNEL:
		set_reason(c, reason);
		if (c->state != COHERENCE_OFFLINE) {
			c->poll_ms = c->options.poll_min_ms;
			enter(c, COHERENCE_GAP);
		}
		if (was_up)
			c->poll_at_ms = now_ms;
		break;
	}
}

void coherence_on_delta(struct coherence *c, uint64_t began_ms, bool changed, uint64_t now_ms)
{
	bool is_new_enough = began_ms >= c->trusted_ms;

	if (c->state == COHERENCE_OFFLINE) {
		c->poll_ms = c->options.poll_min_ms;
		enter(c, COHERENCE_GAP);
	}
	if (changed)
		c->poll_ms = c->options.poll_min_ms;
	if (c->channel == COHERENCE_UP && is_new_enough) {
		set_reason(c, "");
		c->poll_ms = c->options.poll_min_ms;
		enter(c, COHERENCE_LIVE);
		c->poll_at_ms = now_ms + c->options.safety_ms;
	} else if (c->channel == COHERENCE_UP) {
		c->poll_at_ms = now_ms;
	} else {
		poll_slower(c, now_ms);
		enter(c, c->state);
	}
}

void coherence_on_delta_failed(struct coherence *c, bool offline, const char *reason,
			       uint64_t now_ms)
{
	set_reason(c, reason);
	if (offline && c->state != COHERENCE_OFFLINE) {
		c->poll_ms = c->options.poll_min_ms;
		enter(c, COHERENCE_OFFLINE);
	} else if (!offline && c->state == COHERENCE_LIVE) {
		enter(c, COHERENCE_SUSPECT);
	} else if (!offline && c->state == COHERENCE_OFFLINE) {
		enter(c, COHERENCE_GAP);
	}
	/* What could not be asked must be asked: LIVE needs a delta that begins after now. */
	c->trusted_ms = now_ms;
	poll_slower(c, now_ms);
	if (c->poll_at_ms > now_ms + RETRY_MS && c->state == COHERENCE_SUSPECT)
		c->poll_at_ms = now_ms + RETRY_MS;
}

void coherence_on_jump(struct coherence *c, uint64_t now_ms)
{
	c->trusted_ms = now_ms;
	c->poll_at_ms = now_ms;
	set_reason(c, "the clock jumped");
	if (c->state == COHERENCE_LIVE)
		enter(c, COHERENCE_SUSPECT);
}

bool coherence_take_revoke(struct coherence *c)
{
	bool wants = c->wants_revoke;

	c->wants_revoke = false;
	return wants;
}

uint64_t coherence_poll_at_ms(const struct coherence *c)
{
	return c->poll_at_ms;
}

uint64_t coherence_lease_ms(const struct coherence *c)
{
	return c->lease_now_ms;
}

const char *coherence_word(const struct coherence *c)
{
	switch (c->state) {
	case COHERENCE_LIVE:
	case COHERENCE_SUSPECT:
		return "live";
	case COHERENCE_OFFLINE:
		return "offline";
	case COHERENCE_GAP:
	default:
		return "polling";
	}
}

#include "coherence.h"

#include <stdio.h>

/* Failures in a row after which a channel that is up does not count: what it announces cannot be
 * asked for. */
enum { FAILURES_MAX = 3 };

const struct coherence_options coherence_defaults = {
	.lease_ms = 3600 * 1000,
	.lease_suspect_ms = 5000,
	.poll_min_ms = 5000,
	.poll_max_ms = 60 * 1000,
	.safety_ms = 10 * 60 * 1000,
	.retry_ms = 2000,
	.probe_max_ms = 15 * 1000,
};

static uint64_t twice(uint64_t ms, uint64_t max_ms)
{
	return ms * 2 < max_ms ? ms * 2 : max_ms;
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

static void enter_gap(struct coherence *c)
{
	c->poll_ms = c->options.poll_min_ms;
	enter(c, COHERENCE_GAP);
}

void coherence_init(struct coherence *c, const struct coherence_options *options, uint64_t now_ms)
{
	*c = (struct coherence){
		.options = *options,
		.retry_ms = options->retry_ms,
		.poll_at_ms = now_ms,
		.trusted_ms = now_ms,
		.channel_reason = "the channel is not up yet",
	};
	enter_gap(c);
}

void coherence_on_channel(struct coherence *c, enum coherence_channel channel, const char *reason,
			  uint64_t now_ms)
{
	bool was_up = c->channel == COHERENCE_UP || c->channel == COHERENCE_LATE;

	c->channel = channel;
	if (channel == COHERENCE_UP)
		reason = "catching up with what the channel missed";
	snprintf(c->channel_reason, sizeof(c->channel_reason), "%s", reason);
	switch (channel) {
	case COHERENCE_UP:
		/* What happened while nobody listened was not notified. */
		c->trusted_ms = now_ms;
		c->poll_at_ms = now_ms;
		break;
	case COHERENCE_LATE:
		if (c->state == COHERENCE_LIVE) {
			enter(c, COHERENCE_SUSPECT);
			c->poll_at_ms = now_ms;
		}
		break;
	case COHERENCE_DOWN:
	case COHERENCE_NO_CHANNEL:
		/* Told again at each vain try to reconnect: only the first changes anything. */
		if (c->state == COHERENCE_LIVE || c->state == COHERENCE_SUSPECT)
			enter_gap(c);
		if (was_up)
			c->poll_at_ms = now_ms;
		break;
	}
}

void coherence_on_delta(struct coherence *c, uint64_t began_ms, bool changed, uint64_t now_ms)
{
	c->failures_n = 0;
	c->delta_reason[0] = '\0';
	c->retry_ms = c->options.retry_ms;
	if (c->state == COHERENCE_OFFLINE)
		enter_gap(c);
	if (c->channel == COHERENCE_UP && began_ms >= c->trusted_ms) {
		c->poll_at_ms = now_ms + c->options.safety_ms;
		enter(c, COHERENCE_LIVE);
		return;
	}
	if (c->channel == COHERENCE_UP) {
		c->poll_at_ms = now_ms;
		return;
	}
	/* A drive that moves is asked often, one that rests less and less. */
	c->poll_ms = changed ? c->options.poll_min_ms : c->poll_ms;
	c->poll_at_ms = now_ms + c->poll_ms;
	enter(c, c->state);
	c->poll_ms = twice(c->poll_ms, c->options.poll_max_ms);
}

void coherence_on_delta_failed(struct coherence *c, bool offline, const char *reason,
			       uint64_t now_ms)
{
	uint64_t max_ms = offline ? c->options.probe_max_ms : c->options.poll_max_ms;

	c->failures_n++;
	snprintf(c->delta_reason, sizeof(c->delta_reason), "%s", reason);
	if (offline) {
		if (c->state != COHERENCE_OFFLINE)
			c->retry_ms = c->options.retry_ms;
		enter(c, COHERENCE_OFFLINE);
	} else if (c->state == COHERENCE_OFFLINE ||
		   (c->state == COHERENCE_SUSPECT && c->failures_n >= FAILURES_MAX)) {
		enter_gap(c);
	} else if (c->state == COHERENCE_LIVE) {
		enter(c, COHERENCE_SUSPECT);
	}
	/* What could not be asked must be asked: LIVE needs a delta that begins after now. */
	c->trusted_ms = now_ms;
	c->poll_at_ms = now_ms + (c->retry_ms < max_ms ? c->retry_ms : max_ms);
	c->retry_ms = twice(c->retry_ms, max_ms);
}

void coherence_on_jump(struct coherence *c, uint64_t now_ms)
{
	c->trusted_ms = now_ms;
	c->poll_at_ms = now_ms;
	if (c->state != COHERENCE_LIVE)
		return;
	snprintf(c->channel_reason, sizeof(c->channel_reason), "the clock jumped");
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

const char *coherence_reason(const struct coherence *c)
{
	if (c->state == COHERENCE_LIVE)
		return "";
	return c->delta_reason[0] ? c->delta_reason : c->channel_reason;
}

#define LOG_MODULE "drive"
#include "drive.h"

#include "clock.h"
#include "crawl.h"
#include "jump.h"
#include "log.h"
#include "mutex.h"
#include "verify.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { QUOTA_MS = 60 * 1000 };

struct drive {
	struct loop *loop;
	struct graph *graph;
	struct tree *tree;
	char *id;
	struct drive_options options;
	struct drive_events events;
	struct coherence coherence;
	struct delta *delta;
	struct listing *listing;
	struct crawl *crawl;
	struct verify *verify;
	struct live *live;
	struct graph_call *endpoint, *quota_call;
	struct loop_timer poll;
	struct jump *jump;
	int64_t last_delta_s;
	bool is_ready, is_started, was_offline;

	struct mutex lock; /* MUTEX_RANK_DRIVE; guards what follows */
	struct drive_quota quota;
	uint64_t quota_asked_ms; /* monotonic */
	bool quota_posted;
	struct loop_call quota_post;
};

/* --- graph as a source --- */

static int source_root(void *arg, enum http_priority priority, graph_item_fn fn, void *fn_arg,
		       struct graph_call **ret)
{
	struct drive *drive = arg;

	return graph_get_root(drive->graph, drive->id, priority, fn, fn_arg, ret);
}

static int source_item(void *arg, const char *id, enum http_priority priority, graph_item_fn fn,
		       void *fn_arg, struct graph_call **ret)
{
	struct drive *drive = arg;

	return graph_get_content_info(drive->graph, drive->id, id, priority, fn, fn_arg, ret);
}

static int source_children(void *arg, const char *id, const char *link, enum http_priority priority,
			   graph_page_fn fn, void *fn_arg, struct graph_call **ret)
{
	struct drive *drive = arg;

	return graph_get_children(drive->graph, drive->id, id, link, priority, fn, fn_arg, ret);
}

static int source_delta(void *arg, const char *link, enum http_priority priority, graph_page_fn fn,
			void *fn_arg, struct graph_call **ret)
{
	struct drive *drive = arg;

	return graph_get_delta(drive->graph, drive->id, link, priority, fn, fn_arg, ret);
}

/* --- coherence --- */

/* After each event: do what the state machine wants. */
static void follow(struct drive *drive)
{
	struct coherence *c = &drive->coherence;
	uint64_t now = loop_now_ms(drive->loop), at = coherence_poll_at_ms(c);
	bool is_offline = c->state == COHERENCE_OFFLINE;

	if (coherence_take_revoke(c))
		drive->events.on_revoke(drive->events.arg);
	if (is_offline != drive->was_offline) {
		drive->was_offline = is_offline;
		listing_set_offline(drive->listing, is_offline);
		if (drive->events.on_offline)
			drive->events.on_offline(drive->events.arg, is_offline);
	}
	if (!delta_is_running(drive->delta))
		loop_timer_arm(&drive->poll, at > now ? at - now : 0);
}

static void on_poll(void *arg)
{
	struct drive *drive = arg;

	if (!delta_is_running(drive->delta))
		delta_look(drive->delta, false);
}

static void ready(struct drive *drive, int error, const char *text)
{
	if (drive->is_ready)
		return;
	drive->is_ready = true;
	drive->events.on_ready(drive->events.arg, error, text);
}

static void on_delta_end(void *arg, int error, bool offline, bool changed, uint64_t began_ms,
			 const char *text)
{
	struct drive *drive = arg;
	uint64_t now = loop_now_ms(drive->loop);

	if (error == 0) {
		drive->last_delta_s = clock_real_s();
		coherence_on_delta(&drive->coherence, began_ms, changed, now);
	} else {
		coherence_on_delta_failed(&drive->coherence, offline, text, now);
	}
	follow(drive);
	ready(drive, error, text);
	if (error == 0 && drive->options.crawl)
		crawl_start(drive->crawl);
	if (error == 0)
		verify_look(drive->verify);
}

static void on_crawling(void *arg, bool is_running)
{
	struct drive *drive = arg;

	listing_set_crawling(drive->listing, is_running);
}

static void on_reachable(void *arg, bool reachable)
{
	struct drive *drive = arg;
	uint64_t now = loop_now_ms(drive->loop);

	if (!drive->is_started || reachable != drive_is_offline(drive))
		return;
	if (reachable) {
		/* OFFLINE ends when delta was asked, not before. */
		loop_timer_arm(&drive->poll, 0);
		return;
	}
	coherence_on_delta_failed(&drive->coherence, true, "the service cannot be reached", now);
	follow(drive);
}

/* --- the channel --- */

static void on_endpoint(void *arg, const struct graph_result *result,
			const struct item_subscription *sub)
{
	struct drive *drive = arg;
	bool unsupported = graph_is_channel_unsupported(result);
	char reason[240];

	drive->endpoint = NULL;
	snprintf(reason, sizeof(reason), "no notification channel: %s", result->text);
	live_set_endpoint(drive->live, result->error, unsupported, reason,
			  sub ? sub->notification_url : NULL, sub ? sub->expires_ns : INT64_MIN);
}

static void get_endpoint(void *arg)
{
	struct drive *drive = arg;
	int r;

	graph_cancel(take_ptr(&drive->endpoint));
	r = graph_get_subscription(drive->graph, drive->id, on_endpoint, drive, &drive->endpoint);
	if (r < 0)
		live_set_endpoint(drive->live, r, false, strerror(-r), NULL, INT64_MIN);
}

static void on_live(void *arg, enum live_event event, const char *reason)
{
	struct drive *drive = arg;
	struct coherence *c = &drive->coherence;
	uint64_t now = loop_now_ms(drive->loop);

	switch (event) {
	case LIVE_UP:
		coherence_on_channel(c, COHERENCE_UP, "", now);
		/* Also while a run is under way: that one began before the channel was up. */
		delta_look(drive->delta, false);
		break;
	case LIVE_NOTIFICATION:
		log_debug("a notification came");
		delta_look(drive->delta, true);
		break;
	case LIVE_SUSPECT:
		coherence_on_channel(c, COHERENCE_LATE, reason, now);
		break;
	case LIVE_DOWN:
		coherence_on_channel(c, COHERENCE_DOWN, reason, now);
		break;
	case LIVE_UNSUPPORTED:
		coherence_on_channel(c, COHERENCE_NO_CHANNEL, reason, now);
		break;
	case LIVE_CONNECTING:
		break;
	}
	follow(drive);
	if (drive->events.on_live)
		drive->events.on_live(drive->events.arg, event, reason);
}

/* --- quota, and time --- */

static void on_quota(void *arg, const struct graph_result *result, const struct item_drive *found)
{
	struct drive *drive = arg;

	drive->quota_call = NULL;
	if (result->error)
		return;
	mutex_lock(&drive->lock);
	drive->quota = (struct drive_quota){
		.total = found->total,
		.used = found->used,
		.remaining = found->remaining,
		.has_quota = found->has_quota,
	};
	mutex_unlock(&drive->lock);
}

static void ask_quota(void *arg)
{
	struct drive *drive = arg;
	auto_free char *path = NULL;

	mutex_lock(&drive->lock);
	drive->quota_posted = false;
	drive->quota_asked_ms = clock_mono_ms();
	mutex_unlock(&drive->lock);
	if (drive->quota_call)
		return;
	if (asprintf(&path, "/drives/%s", drive->id) < 0) {
		path = NULL;
		return;
	}
	if (graph_get_drive(drive->graph, path, HTTP_BACKGROUND, on_quota, drive,
			    &drive->quota_call) < 0)
		log_warn("the quota cannot be asked for");
}

void drive_get_quota(struct drive *drive, struct drive_quota *ret)
{
	bool is_old;

	mutex_lock(&drive->lock);
	*ret = drive->quota;
	is_old = clock_mono_ms() - drive->quota_asked_ms > QUOTA_MS;
	if (is_old && !drive->quota_posted) {
		drive->quota_posted = true;
		loop_post(drive->loop, &drive->quota_post, ask_quota, drive);
	}
	mutex_unlock(&drive->lock);
}

/* What was missed is asked for, and the channel is not trusted to be alive. */
static void on_jump(void *arg)
{
	struct drive *drive = arg;

	if (!drive->is_started)
		return;
	log_info("the machine slept, or its clock was set");
	coherence_on_jump(&drive->coherence, loop_now_ms(drive->loop));
	live_kick(drive->live);
	follow(drive);
}

static void on_page(void *arg, const struct item_page *page)
{
	struct drive *drive = arg;

	drive->events.on_page(drive->events.arg, page);
}

/* --- life --- */

static int make_engines(struct drive *drive, struct lane *store, struct ws *ws)
{
	const struct source source = {
		.arg = drive,
		.get_root = source_root,
		.get_item = source_item,
		.get_children = source_children,
		.get_delta = source_delta,
		.cancel = graph_cancel,
	};
	const struct drive_events *e = &drive->events;
	int r;

	if ((r = loop_timer_init(&drive->poll, drive->loop, on_poll, drive)) < 0 ||
	    (r = jump_new(drive->loop, on_jump, drive, &drive->jump)) < 0)
		return r;
	r = delta_new(drive->loop, store, drive->tree, &source, &drive->options.delta,
		      &(struct delta_events){
			      .arg = drive,
			      .on_changes = e->on_changes,
			      .changes_arg = e->arg,
			      .on_page = e->on_page ? on_page : NULL,
			      .on_end = on_delta_end,
		      },
		      &drive->delta);
	if (r == 0)
		r = listing_new(
			drive->loop, store, drive->tree, &source,
			&(struct listing_options){ .on_changes = e->on_changes, .arg = e->arg },
			&drive->listing);
	if (r == 0)
		r = crawl_new(drive->loop, store, drive->tree, &source, e->on_changes, e->arg,
			      &drive->crawl);
	if (r == 0)
		crawl_on_running(drive->crawl, on_crawling, drive);
	if (r == 0)
		r = verify_new(drive->loop, store, drive->tree, &source, drive->options.verify_ms,
			       e->on_changes, e->arg, &drive->verify);
	if (r == 0)
		r = live_new(drive->loop, ws, &drive->options.live,
			     &(struct live_events){
				     .arg = drive,
				     .get_endpoint = get_endpoint,
				     .on_event = on_live,
			     },
			     &drive->live);
	return r;
}

int drive_new(struct loop *loop, struct lane *store, struct graph *graph, struct ws *ws,
	      struct tree *tree, const char *drive_id, const struct drive_options *options,
	      const struct drive_events *events, struct drive **ret)
{
	struct drive *drive = calloc(1, sizeof(*drive));
	int r;

	if (!drive)
		return -ENOMEM;
	mutex_init(&drive->lock, MUTEX_RANK_DRIVE);
	drive->loop = loop;
	drive->graph = graph;
	drive->tree = tree;
	drive->options = *options;
	drive->events = *events;
	coherence_init(&drive->coherence, &options->coherence, loop_now_ms(loop));
	drive->id = strdup(drive_id);
	r = drive->id ? make_engines(drive, store, ws) : -ENOMEM;
	if (r < 0) {
		drive_free(drive);
		return r;
	}
	graph_on_reachable(graph, on_reachable, drive);
	*ret = drive;
	return 0;
}

void drive_free(struct drive *drive)
{
	if (!drive)
		return;
	graph_on_reachable(drive->graph, NULL, NULL);
	graph_cancel(drive->endpoint);
	while (drive->quota_posted)
		loop_run_once(drive->loop);
	graph_cancel(drive->quota_call);
	loop_timer_fini(&drive->poll);
	jump_free(drive->jump);
	live_free(drive->live);
	verify_free(drive->verify);
	crawl_free(drive->crawl);
	listing_free(drive->listing);
	delta_free(drive->delta);
	mutex_fini(&drive->lock);
	free(drive->id);
	free(drive);
}

void drive_start(struct drive *drive)
{
	auto_free char *link = NULL;

	drive->is_started = true;
	/* A tree that was in step once can be shown at once, also without the service. */
	if (tree_kv_get(drive->tree, TREE_KV_DELTA_LINK, &link) == 0)
		ready(drive, 0, "");
	delta_look(drive->delta, false);
	live_start(drive->live);
	ask_quota(drive);
}

void drive_look(struct drive *drive)
{
	delta_look(drive->delta, true);
}

struct listing *drive_listing(struct drive *drive)
{
	return drive->listing;
}

bool drive_is_offline(const struct drive *drive)
{
	return drive->coherence.state == COHERENCE_OFFLINE;
}

uint64_t drive_lease_ms(const struct drive *drive)
{
	return coherence_lease_ms(&drive->coherence);
}

void drive_get_status(struct drive *drive, struct drive_status *ret)
{
	*ret = (struct drive_status){
		.state = coherence_word(&drive->coherence),
		.reason = coherence_reason(&drive->coherence),
		.url_host = live_host(drive->live),
		.connected_since_s = live_connected_since_s(drive->live),
		.last_notification_s = live_last_notification_s(drive->live),
		.last_delta_s = drive->last_delta_s,
		.is_crawling = crawl_is_running(drive->crawl),
		.crawl_items_n = crawl_items_n(drive->crawl),
		.skipped_n = graph_skipped_n(drive->graph),
	};
}

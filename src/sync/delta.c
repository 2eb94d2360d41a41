#define LOG_MODULE "delta"
#include "delta.h"

#include "change.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	PAGES_MAX = 200000,     /* of one run: 30 million items in pages of 150 */
	EMPTY_PAGES_MAX = 1000, /* in a row */
	RESTARTS_MAX = 3,       /* 410 again while enumerating */
	RECHECKS = 2,
};

struct delta {
	struct loop *loop;
	struct lane *store;
	struct tree *tree;
	struct source source;
	struct delta_events events;
	uint64_t recheck_ms[RECHECKS];
	struct loop_timer recheck;
	unsigned rechecks_left;

	/* The run. */
	bool is_running, again, again_notified, was_notified, is_first, is_full, is_closing;
	uint64_t began_ms;
	unsigned pages_n, empty_n, restarts_n;
	bool saw_items;
	struct graph_call *call;

	/* A job on the store lane; these fields are its own while it is there. */
	struct lane_job job;
	bool job_pending;
	struct item_page page;
	struct item root;
	bool job_begins;
	bool job_keeps_link;
	int job_error;
	bool job_changed;
};

static void begin(struct delta *delta);
static void fetch(struct delta *delta, const char *link);

static void on_recheck(void *arg)
{
	struct delta *delta = arg;

	delta_look(delta, false);
}

int delta_new(struct loop *loop, struct lane *store, struct tree *tree, const struct source *source,
	      const struct delta_options *options, const struct delta_events *events,
	      struct delta **ret)
{
	struct delta *delta = calloc(1, sizeof(*delta));
	int r;

	if (!delta)
		return -ENOMEM;
	delta->loop = loop;
	delta->store = store;
	delta->tree = tree;
	delta->source = *source;
	delta->events = *events;
	delta->recheck_ms[0] = options && options->recheck_ms[0] ? options->recheck_ms[0] : 5000;
	delta->recheck_ms[1] = options && options->recheck_ms[1] ? options->recheck_ms[1] : 25000;
	r = loop_timer_init(&delta->recheck, loop, on_recheck, delta);
	if (r < 0) {
		free(delta);
		return r;
	}
	*ret = delta;
	return 0;
}

void delta_free(struct delta *delta)
{
	if (!delta)
		return;
	delta->is_closing = true;
	if (delta->call)
		delta->source.cancel(take_ptr(&delta->call));
	while (delta->job_pending)
		loop_run_once(delta->loop);
	item_page_fini(&delta->page);
	item_fini(&delta->root);
	loop_timer_fini(&delta->recheck);
	free(delta);
}

bool delta_is_running(const struct delta *delta)
{
	return delta->is_running;
}

void delta_look(struct delta *delta, bool notified)
{
	if (notified)
		delta->rechecks_left = RECHECKS;
	if (delta->is_running) {
		delta->again = true;
		delta->again_notified |= notified;
		return;
	}
	delta->was_notified = notified;
	begin(delta);
}

/* --- the end of a run --- */

static void schedule_recheck(struct delta *delta, bool changed)
{
	if (changed) {
		delta->rechecks_left = 0;
		loop_timer_disarm(&delta->recheck);
	} else if (delta->rechecks_left > 0) {
		delta->rechecks_left--;
		loop_timer_arm(&delta->recheck,
			       delta->recheck_ms[RECHECKS - 1 - delta->rechecks_left]);
	}
}

static void end(struct delta *delta, int error, bool offline, bool changed, const char *text)
{
	uint64_t began_ms = delta->began_ms;

	delta->is_running = false;
	if (error == 0)
		schedule_recheck(delta, changed);
	delta->events.on_end(delta->events.arg, error, offline, changed, began_ms, text);
	if (delta->again && !delta->is_running && !delta->is_closing) {
		bool notified = delta->again_notified;

		delta->again = delta->again_notified = false;
		/* After a failure the owner decides when to ask again. */
		if (error == 0)
			delta_look(delta, notified);
	}
}

static void fail(struct delta *delta, int error, const char *text)
{
	log_warn("delta: %s", text);
	end(delta, error, false, false, text);
}

/* --- jobs of the store lane --- */

static void push_job(struct delta *delta, loop_fn work, loop_fn done)
{
	delta->job_pending = true;
	lane_push(delta->store, &delta->job, work, done, delta);
}

static void tell_changes(struct delta *delta, struct change_set *set)
{
	if (!set)
		return;
	delta->job_changed = true;
	delta->events.on_changes(delta->events.changes_arg, set);
}

static void stage_work(void *arg)
{
	struct delta *delta = arg;
	struct change_set *set = NULL;
	const char *link = delta->job_keeps_link ? NULL : delta->page.delta_link;
	int r = delta->job_begins ? tree_stage_begin(delta->tree) : 0;

	if (r == 0)
		r = tree_stage_page(delta->tree, delta->page.items, delta->page.n);
	if (r == 0 && !delta->page.next_link)
		r = tree_stage_apply(delta->tree, link, delta->is_full, &set);
	tell_changes(delta, set);
	delta->job_error = r;
}

static void stage_done(void *arg)
{
	struct delta *delta = arg;
	auto_free char *next = take_ptr(&delta->page.next_link);

	delta->job_pending = false;
	item_page_fini(&delta->page);
	if (delta->is_closing)
		return;
	if (delta->job_error < 0)
		fail(delta, delta->job_error, "the changes cannot be stored");
	else if (next)
		fetch(delta, next);
	else
		end(delta, 0, false, delta->job_changed || delta->saw_items, "");
}

static void root_work(void *arg)
{
	struct delta *delta = arg;
	struct change_set *set = NULL;

	delta->job_error = tree_set_root(delta->tree, &delta->root, &set);
	tell_changes(delta, set);
}

static void root_done(void *arg)
{
	struct delta *delta = arg;

	delta->job_pending = false;
	item_fini(&delta->root);
	if (delta->is_closing)
		return;
	if (delta->job_error < 0)
		fail(delta, delta->job_error, "the root cannot be stored");
	else
		fetch(delta, GRAPH_DELTA_LATEST);
}

/* --- pages --- */

static void restart_full(struct delta *delta, const char *location)
{
	if (++delta->restarts_n > RESTARTS_MAX) {
		fail(delta, -EIO, "the service keeps asking to begin again");
		return;
	}
	log_info("delta: the service no longer knows our place: enumerating everything");
	delta->is_full = true;
	delta->pages_n = delta->empty_n = 0;
	fetch(delta, location);
}

static void count_page(struct delta *delta, const struct item_page *page)
{
	bool has_items = false;

	for (size_t i = 0; i < page->n; i++)
		has_items |= !page->items[i].is_root;
	delta->saw_items |= has_items;
	delta->empty_n = page->n > 0 ? 0 : delta->empty_n + 1;
	delta->pages_n++;
}

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct delta *delta = arg;

	delta->call = NULL;
	if (result->is_resync) {
		restart_full(delta, result->location);
		return;
	}
	if (result->error) {
		if (!result->is_offline)
			log_warn("delta failed: %s", result->text);
		end(delta, result->error, result->is_offline, false, result->text);
		return;
	}
	count_page(delta, page);
	if (!page->next_link && !page->delta_link) {
		fail(delta, -EBADMSG, "the last page has no @odata.deltaLink");
		return;
	}
	if (delta->pages_n > PAGES_MAX || delta->empty_n > EMPTY_PAGES_MAX) {
		fail(delta, -EBADMSG, "@odata.nextLink leads on without an end");
		return;
	}
	if (delta->events.on_page)
		delta->events.on_page(delta->events.arg, page);
	delta->page = *page;
	*page = (struct item_page){ 0 };
	delta->job_begins = delta->pages_n == 1;
	/* An empty answer to a notification may be one that lags: the old link asks again. */
	delta->job_keeps_link = !delta->saw_items && delta->rechecks_left > 0 && !delta->is_first &&
				!delta->is_full;
	push_job(delta, stage_work, stage_done);
}

static void fetch(struct delta *delta, const char *link)
{
	int r = delta->source.get_delta(delta->source.arg, link,
					delta->is_full ? HTTP_BACKGROUND : HTTP_PREFETCH, on_page,
					delta, &delta->call);

	if (r < 0)
		fail(delta, r, "delta cannot be asked");
}

static void on_root(void *arg, const struct graph_result *result, const struct item *root)
{
	struct delta *delta = arg;

	delta->call = NULL;
	if (result->error) {
		end(delta, result->error, result->is_offline, false, result->text);
		return;
	}
	/* Borrowed during the call only, and small: the fields that the root needs. */
	delta->root = (struct item){
		.id = strdup(root->id),
		.etag = root->etag ? strdup(root->etag) : NULL,
		.web_url = root->web_url ? strdup(root->web_url) : NULL,
		.size = -1,
		.mtime_ns = root->mtime_ns,
		.btime_ns = root->btime_ns,
		.kind = ITEM_FOLDER,
		.is_root = true,
	};
	if (delta->root.id)
		push_job(delta, root_work, root_done);
	else
		fail(delta, -ENOMEM, "no memory");
}

static void begin(struct delta *delta)
{
	auto_free char *link = NULL;
	int r = tree_kv_get(delta->tree, TREE_KV_DELTA_LINK, &link);

	delta->is_running = true;
	delta->is_full = delta->saw_items = delta->job_changed = false;
	delta->pages_n = delta->empty_n = delta->restarts_n = 0;
	delta->began_ms = loop_now_ms(delta->loop);
	delta->is_first = r == -ENOENT;
	if (delta->is_first)
		r = delta->source.get_root(delta->source.arg, HTTP_PERSON, on_root, delta,
					   &delta->call);
	else if (r == 0)
		fetch(delta, link);
	if (r < 0)
		fail(delta, r, "delta cannot begin");
}

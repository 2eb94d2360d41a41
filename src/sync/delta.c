#define LOG_MODULE "delta"
#include "delta.h"

#include "change.h"
#include "log.h"
#include "paging.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	RESTARTS_MAX = 3, /* 410 again while enumerating */
	RECHECKS = 2,
};

/* Why a run is made; of several reasons the last in this order counts. */
enum why { WHY_ASKED, WHY_RECHECK, WHY_NOTIFIED };

struct delta {
	struct loop *loop;
	struct lane *store;
	struct tree *tree;
	struct source source;
	struct delta_events events;
	uint64_t recheck_ms[RECHECKS];
	struct loop_timer recheck;
	unsigned rechecks_left; /* of the last notification that brought nothing yet */
	bool is_closing, was_begun;
	bool again; /* asked for while running */
	enum why again_why;

	/* The run. */
	bool is_running, is_first, is_full;
	enum why why;
	uint64_t began_ms;
	struct paging paging;
	unsigned restarts_n;
	bool saw_items;
	char *full_link; /* where the full enumeration begins; NULL: at its usual place */
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

static void look(struct delta *delta, enum why why)
{
	if (delta->is_running) {
		delta->again = true;
		delta->again_why = why > delta->again_why ? why : delta->again_why;
		return;
	}
	delta->why = why;
	if (why == WHY_NOTIFIED)
		delta->rechecks_left = RECHECKS;
	begin(delta);
}

void delta_look(struct delta *delta, bool notified)
{
	look(delta, notified ? WHY_NOTIFIED : WHY_ASKED);
}

static void on_recheck(void *arg)
{
	look(arg, WHY_RECHECK);
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
	paging_reset(&delta->paging);
	free(delta->full_link);
	loop_timer_fini(&delta->recheck);
	free(delta);
}

bool delta_is_running(const struct delta *delta)
{
	return delta->is_running;
}

/* --- the end of a run --- */

/* Empty after a notification: the service's delta may lag behind it. */
static void schedule_recheck(struct delta *delta, bool changed)
{
	if (changed) {
		delta->rechecks_left = 0;
		loop_timer_disarm(&delta->recheck);
	} else if (delta->rechecks_left > 0 &&
		   (delta->why == WHY_NOTIFIED || !loop_timer_is_armed(&delta->recheck))) {
		loop_timer_arm(&delta->recheck, delta->recheck_ms[RECHECKS - delta->rechecks_left]);
		delta->rechecks_left--;
	}
}

static void end(struct delta *delta, int error, bool offline, bool changed, const char *text)
{
	uint64_t began_ms = delta->began_ms;
	enum why why = delta->again_why;
	bool again = delta->again;

	delta->is_running = delta->again = false;
	delta->again_why = WHY_ASKED;
	paging_reset(&delta->paging);
	if (error == 0 && !again)
		schedule_recheck(delta, changed);
	delta->events.on_end(delta->events.arg, error, offline, changed, began_ms, text);
	if (!again || delta->is_closing)
		return;
	if (error == 0)
		look(delta, why);
	else if (why == WHY_NOTIFIED)
		/* The owner decides when to ask again; the notification is not forgotten. */
		delta->rechecks_left = RECHECKS;
}

static void fail(struct delta *delta, int error, const char *text)
{
	log_warn("%s", text);
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
	log_debug("the tree has the changes: %zu to tell", set->n);
	delta->events.on_changes(delta->events.changes_arg, set);
}

static void begin_work(void *arg)
{
	struct delta *delta = arg;

	delta->job_error = tree_stage_begin(delta->tree);
}

static void begin_done(void *arg)
{
	struct delta *delta = arg;

	delta->job_pending = false;
	if (delta->is_closing)
		return;
	if (delta->job_error < 0)
		fail(delta, delta->job_error, "an enumeration cannot be stored");
	else
		fetch(delta, delta->full_link);
}

static int stage_page(struct delta *delta)
{
	const struct item_page *page = &delta->page;
	struct change_set *set = NULL;
	int r = delta->is_full ? tree_stage_full_page(delta->tree, page->items, page->n, &set)
			       : tree_stage_page(delta->tree, page->items, page->n);

	tell_changes(delta, set);
	for (size_t i = 0; r == 0 && i < page->bad_n; i++)
		r = tree_stage_keep(delta->tree, page->bad[i].id);
	return r;
}

/* A step towards the tree after the last page; 1: there are more. Others get a turn on the lane
 * between the steps. */
static int apply(struct delta *delta)
{
	const char *link = delta->job_keeps_link ? NULL : delta->page.delta_link;
	struct change_set *set = NULL;
	int r = delta->is_full ? tree_stage_unseen(delta->tree) : 0;

	if (r == 0)
		r = tree_stage_apply(delta->tree, link, delta->is_full, &set);
	tell_changes(delta, set);
	return r;
}

static void stage_work(void *arg)
{
	struct delta *delta = arg;
	uint64_t before = tree_note(delta->tree);
	int r = delta->job_begins ? tree_stage_begin(delta->tree) : 0;

	if (r == 0)
		r = stage_page(delta);
	if (r == 0 && !delta->page.next_link)
		r = apply(delta);
	delta->job_changed |= tree_note(delta->tree) != before;
	delta->job_error = r;
}

static void apply_work(void *arg)
{
	struct delta *delta = arg;
	uint64_t before = tree_note(delta->tree);

	delta->job_error = apply(delta);
	delta->job_changed |= tree_note(delta->tree) != before;
}

static void stage_done(void *arg)
{
	struct delta *delta = arg;
	auto_free char *next = NULL;

	delta->job_pending = false;
	if (delta->job_error > 0 && !delta->is_closing) {
		push_job(delta, apply_work, stage_done);
		return;
	}
	next = take_ptr(&delta->page.next_link);
	item_page_fini(&delta->page);
	if (delta->is_closing)
		return;
	if (delta->job_error < 0)
		fail(delta, delta->job_error, "the changes cannot be stored");
	else if (next)
		fetch(delta, next);
	else
		end(delta, 0, false, delta->job_changed, "");
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
	free(delta->full_link);
	delta->full_link = location ? strdup(location) : NULL;
	if (++delta->restarts_n > RESTARTS_MAX) {
		fail(delta, -EIO, "the service keeps asking to begin again");
		return;
	}
	log_info("the service no longer knows our place: enumerating everything");
	delta->is_full = true;
	delta->saw_items = false;
	paging_reset(&delta->paging);
	/* Before the request: what a listing adds from now on may be missing in the answer. */
	push_job(delta, begin_work, begin_done);
}

/* An empty answer to a notification may be one that lags: the old link asks again. */
static bool keeps_link(const struct delta *delta)
{
	bool is_awaited = delta->rechecks_left > 0 || loop_timer_is_armed(&delta->recheck) ||
			  (delta->again && delta->again_why == WHY_NOTIFIED);

	return is_awaited && !delta->saw_items && !delta->is_first && !delta->is_full;
}

static void take_page(struct delta *delta, struct item_page *page)
{
	delta->saw_items |= page->bad_n > 0;
	/* A business drive sends its root with every answer. */
	for (size_t i = 0; i < page->n; i++)
		delta->saw_items |= !page->items[i].is_root;
	if (delta->events.on_page)
		delta->events.on_page(delta->events.arg, page);
	delta->page = *page;
	*page = (struct item_page){ 0 };
	delta->job_begins = delta->paging.pages_n == 1 && !delta->is_full;
	delta->job_keeps_link = keeps_link(delta);
	push_job(delta, stage_work, stage_done);
}

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct delta *delta = arg;
	const char *why = "";
	int r;

	delta->call = NULL;
	if (result->is_resync) {
		restart_full(delta, result->location);
		return;
	}
	if (result->error) {
		if (!result->is_offline)
			log_warn("%s", result->text);
		end(delta, result->error, result->is_offline, false, result->text);
		return;
	}
	log_debug("a page of %zu items came", page->n);
	r = paging_note(&delta->paging, page, &why);
	if (r < 0)
		fail(delta, r, why);
	else if (!page->next_link && !page->delta_link)
		fail(delta, -EBADMSG, "the last page has no @odata.deltaLink");
	else
		take_page(delta, page);
}

static int start_fetch(struct delta *delta, const char *link)
{
	log_debug("asks what changed");
	return delta->source.get_delta(delta->source.arg, link,
				       delta->is_full ? HTTP_BACKGROUND : HTTP_PREFETCH, on_page,
				       delta, &delta->call);
}

static void fetch(struct delta *delta, const char *link)
{
	int r = start_fetch(delta, link);

	if (r < 0)
		fail(delta, r,
		     r == -EPERM ? "a link of the service leads away from it"
				 : "delta cannot be asked");
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
	/* Somebody waits for the first answer; later ones also find out that the service is back,
	 * which a person's request does not wait for. */
	enum http_priority priority = delta->was_begun ? HTTP_PREFETCH : HTTP_PERSON;

	delta->was_begun = true;
	delta->is_running = true;
	delta->is_full = delta->saw_items = delta->job_changed = false;
	delta->restarts_n = 0;
	delta->began_ms = loop_now_ms(delta->loop);
	delta->is_first = r == -ENOENT;
	if (delta->is_first)
		r = delta->source.get_root(delta->source.arg, priority, on_root, delta,
					   &delta->call);
	else if (r == 0)
		r = start_fetch(delta, link);
	/* The stored link is of another service: its address was changed. */
	if (r == -EPERM && !delta->is_first)
		restart_full(delta, NULL);
	else if (r < 0)
		fail(delta, r, "delta cannot begin");
}

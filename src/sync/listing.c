#define LOG_MODULE "listing"
#include "listing.h"

#include "change.h"
#include "lane.h"
#include "log.h"
#include "loop.h"
#include "mutex.h"
#include "paging.h"
#include "source.h"
#include "tree.h"

#include <errno.h>
#include <string.h>

enum {
	FAILED_MAX = 64, /* folders whose failure is remembered */
	FAILED_FOR_MS = 1000,
	RESTARTS_MAX = 1,
	/* A folder just seen may be unknown to the replica that is asked. */
	NOT_FOUND_AGAIN_MS = 300,
	PROGRESS_MS = 10000,
	/* Half of what anybody waits for the service in silence. */
	HOLD_MS = 5000,
	/* Between two folders: programs take less, people more. */
	GAP_MS = 100,
};

enum { IDLE, WAITING };

/* One directory being listed. Loop thread. */
struct run {
	struct list node;
	struct listing *listing;
	uint64_t dir;
	char *id;
	struct list waiters; /* guarded by listing->lock */
	struct graph_call *call;
	uint64_t note;
	struct paging paging;
	unsigned restarts_n;
	bool is_walk; /* somebody wants all of it */
	struct loop_timer deadline, retry;
	struct lane_job job;
	bool job_pending;
	struct item_page page; /* the job's while it is pending */
	int job_error;
};

struct failure {
	uint64_t dir, until_ms;
	int error;
};

struct listing {
	struct loop *loop;
	struct lane *store;
	struct tree *tree;
	struct source source;
	struct listing_options options;
	struct list runs;
	unsigned runs_n;
	bool is_offline, is_closing;
	struct failure failed[FAILED_MAX];
	unsigned failed_next;

	/* Waiting for the crawl. */
	bool is_crawling, is_holding;
	uint64_t hold_left_ms, held_since_ms;
	uint64_t walked_ms; /* when a walk got its last folder; 0: never */
	struct loop_timer hold_end;

	/* MUTEX_RANK_LISTING; guards what follows, the runs' waiters, and every waiter's state. */
	struct mutex lock;
	struct list incoming, held;
	struct loop_call call;
	bool posted;
};

static int fetch(struct run *run, const char *link);
static void on_hold_end(void *arg);
static void on_incoming(void *arg);
static void release_held(struct listing *listing);

static void arm_deadline(struct run *run)
{
	loop_timer_arm(&run->deadline, run->listing->options.progress_ms);
}

int listing_new(struct loop *loop, struct lane *store, struct tree *tree,
		const struct source *source, const struct listing_options *options,
		struct listing **ret)
{
	struct listing *listing = calloc(1, sizeof(*listing));
	int r;

	if (!listing)
		return -ENOMEM;
	r = loop_timer_init(&listing->hold_end, loop, on_hold_end, listing);
	if (r < 0) {
		free(listing);
		return r;
	}
	listing->loop = loop;
	listing->store = store;
	listing->tree = tree;
	listing->source = *source;
	listing->options = *options;
	if (listing->options.progress_ms == 0)
		listing->options.progress_ms = PROGRESS_MS;
	if (listing->options.gap_ms == 0)
		listing->options.gap_ms = GAP_MS;
	listing->hold_left_ms = options->hold_ms ? options->hold_ms : HOLD_MS;
	list_init(&listing->runs);
	list_init(&listing->incoming);
	list_init(&listing->held);
	mutex_init(&listing->lock, MUTEX_RANK_LISTING);
	*ret = listing;
	return 0;
}

/* Takes a waiter off its list and calls it; the list is guarded by the lock, the call is not. */
static void wake(struct listing *listing, struct list *waiters, int status)
{
	struct list now;

	list_init(&now);
	mutex_lock(&listing->lock);
	list_splice_tail(&now, waiters);
	while (!list_empty(&now)) {
		struct listing_waiter *w = container_of(now.next, struct listing_waiter, node);

		list_del(&w->node);
		w->state = IDLE;
		mutex_unlock(&listing->lock);
		w->fn(w, status);
		mutex_lock(&listing->lock);
	}
	mutex_unlock(&listing->lock);
}

static void run_free(struct run *run)
{
	list_del(&run->node);
	run->listing->runs_n--;
	loop_timer_fini(&run->deadline);
	loop_timer_fini(&run->retry);
	paging_reset(&run->paging);
	item_page_fini(&run->page);
	free(run->id);
	free(run);
}

void listing_free(struct listing *listing)
{
	if (!listing)
		return;
	listing->is_closing = true;
	while (!list_empty(&listing->runs)) {
		struct run *run = container_of(listing->runs.next, struct run, node);

		if (run->call)
			listing->source.cancel(take_ptr(&run->call));
		while (run->job_pending)
			loop_run_once(listing->loop);
		wake(listing, &run->waiters, -ENODEV);
		run_free(run);
	}
	while (listing->posted)
		loop_run_once(listing->loop);
	wake(listing, &listing->incoming, -ENODEV);
	wake(listing, &listing->held, -ENODEV);
	loop_timer_fini(&listing->hold_end);
	mutex_fini(&listing->lock);
	free(listing);
}

void listing_set_offline(struct listing *listing, bool offline)
{
	listing->is_offline = offline;
	if (offline)
		release_held(listing);
}

void listing_set_crawling(struct listing *listing, bool crawling)
{
	listing->is_crawling = crawling;
	if (!crawling)
		release_held(listing);
}

unsigned listing_running_n(const struct listing *listing)
{
	return listing->runs_n;
}

static void end_run(struct run *run, int error)
{
	struct listing *listing = run->listing;

	if (error < 0) {
		listing->failed[listing->failed_next++ % FAILED_MAX] = (struct failure){
			.dir = run->dir,
			.until_ms = loop_now_ms(listing->loop) + FAILED_FOR_MS,
			.error = error,
		};
		log_info("folder %s cannot be listed: %s", run->id, strerror(-error));
	} else if (run->is_walk) {
		listing->walked_ms = loop_now_ms(listing->loop);
	}
	wake(listing, &run->waiters, error);
	run_free(run);
}

static void merge_work(void *arg)
{
	struct run *run = arg;
	struct listing *listing = run->listing;
	struct change_set *set = NULL;

	run->job_error = tree_merge_children(listing->tree, run->dir, run->page.items, run->page.n,
					     run->note, !run->page.next_link, &set);
	if (set)
		listing->options.on_changes(listing->options.arg, set);
}

static void merge_done(void *arg)
{
	struct run *run = arg;
	auto_free char *next = take_ptr(&run->page.next_link);
	int r;

	run->job_pending = false;
	item_page_fini(&run->page);
	if (run->listing->is_closing)
		return;
	if (run->job_error < 0 || !next) {
		end_run(run, run->job_error);
		return;
	}
	arm_deadline(run);
	r = fetch(run, next);
	if (r < 0)
		end_run(run, r);
	else
		wake(run->listing, &run->waiters, LISTING_MORE);
}

static void restart(void *arg)
{
	struct run *run = arg;
	int r;

	paging_reset(&run->paging);
	r = fetch(run, NULL);
	if (r < 0)
		end_run(run, r);
}

static void on_deadline(void *arg)
{
	struct run *run = arg;

	if (run->job_pending) {
		arm_deadline(run);
		return;
	}
	run->listing->source.cancel(take_ptr(&run->call));
	end_run(run, -ETIMEDOUT);
}

/* A stale paging token is told as 400. */
static void on_error(struct run *run, const struct graph_result *result)
{
	bool is_stale = result->status == 400 && run->paging.pages_n > 0;

	if ((is_stale || result->status == 404) && run->restarts_n++ < RESTARTS_MAX)
		loop_timer_arm(&run->retry, is_stale ? 0 : NOT_FOUND_AGAIN_MS);
	else
		end_run(run, result->is_offline ? -ENETDOWN : result->error);
}

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct run *run = arg;
	const char *why = "";

	run->call = NULL;
	if (result->error) {
		on_error(run, result);
		return;
	}
	if (paging_note(&run->paging, page, &why) < 0) {
		log_warn("folder %s cannot be listed: %s", run->id, why);
		end_run(run, -EIO);
		return;
	}
	run->page = *page;
	*page = (struct item_page){ 0 };
	run->job_pending = true;
	lane_push(run->listing->store, &run->job, merge_work, merge_done, run);
}

/* link NULL: the first page. -EIO: the link is none that may be followed. */
static int fetch(struct run *run, const char *link)
{
	struct listing *listing = run->listing;
	int r;

	run->note = tree_note(listing->tree);
	r = listing->source.get_children(listing->source.arg, run->id, link, HTTP_PERSON, on_page,
					 run, &run->call);
	return r == -EPERM ? -EIO : r;
}

/* --- waiting for the crawl --- */

static bool may_hold(const struct listing *listing, bool is_walk)
{
	return listing->is_crawling && is_walk && listing->hold_left_ms > 0 &&
	       listing->walked_ms != 0 &&
	       loop_now_ms(listing->loop) - listing->walked_ms <= listing->options.gap_ms;
}

static void hold(struct listing *listing, struct list *waiter)
{
	mutex_lock(&listing->lock);
	list_splice_tail(&listing->held, waiter);
	mutex_unlock(&listing->lock);
	if (listing->is_holding)
		return;
	listing->is_holding = true;
	listing->held_since_ms = loop_now_ms(listing->loop);
	loop_timer_arm(&listing->hold_end, listing->hold_left_ms);
}

/* With the lock. */
static void post_incoming(struct listing *listing)
{
	if (!listing->posted)
		loop_post(listing->loop, &listing->call, on_incoming, listing);
	listing->posted = true;
}

/* They come in anew. */
static void release_held(struct listing *listing)
{
	uint64_t held_ms = loop_now_ms(listing->loop) - listing->held_since_ms;

	if (!listing->is_holding)
		return;
	listing->is_holding = false;
	listing->hold_left_ms -= held_ms < listing->hold_left_ms ? held_ms : listing->hold_left_ms;
	loop_timer_disarm(&listing->hold_end);
	mutex_lock(&listing->lock);
	list_splice_tail(&listing->incoming, &listing->held);
	post_incoming(listing);
	mutex_unlock(&listing->lock);
}

static void on_hold_end(void *arg)
{
	struct listing *listing = arg;

	log_debug("the crawl takes longer than a walk may wait");
	listing->hold_left_ms = 0;
	release_held(listing);
}

/* The folder is listed after all: with the lock. */
static void join_held(struct listing *listing, struct run *run)
{
	list_for_each_safe (&listing->held, pos) {
		struct listing_waiter *w = container_of(pos, struct listing_waiter, node);

		if (w->dir != run->dir)
			continue;
		list_del(&w->node);
		list_add_tail(&run->waiters, &w->node);
	}
}

/* --- those who ask --- */

static struct run *find_run(struct listing *listing, uint64_t dir)
{
	list_for_each (&listing->runs, node) {
		struct run *run = container_of(node, struct run, node);

		if (run->dir == dir)
			return run;
	}
	return NULL;
}

static int recent_failure(struct listing *listing, uint64_t dir)
{
	uint64_t now = loop_now_ms(listing->loop);

	for (unsigned i = 0; i < FAILED_MAX; i++)
		if (listing->failed[i].dir == dir && now < listing->failed[i].until_ms)
			return listing->failed[i].error;
	return 0;
}

static struct run *run_new(struct listing *listing, uint64_t dir, char *id)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		return NULL;
	run->listing = listing;
	run->dir = dir;
	list_init(&run->waiters);
	list_add_tail(&listing->runs, &run->node);
	listing->runs_n++;
	if (loop_timer_init(&run->deadline, listing->loop, on_deadline, run) < 0 ||
	    loop_timer_init(&run->retry, listing->loop, restart, run) < 0) {
		run_free(run);
		return NULL;
	}
	run->id = id;
	return run;
}

static int start_run(struct listing *listing, uint64_t dir, struct run **ret)
{
	struct tree_meta meta;
	struct run *run;
	int r = tree_get_meta(listing->tree, dir, &meta);

	if (r < 0)
		return r;
	run = run_new(listing, dir, meta.id);
	if (run)
		meta.id = NULL;
	tree_meta_fini(&meta);
	if (!run)
		return -ENOMEM;
	r = fetch(run, NULL);
	if (r < 0) {
		run_free(run);
		return r;
	}
	arm_deadline(run);
	*ret = run;
	return 0;
}

/* Must dir be asked for, and can it be? 1: yes | 0: it is complete | -errno */
static int may_start(struct listing *listing, uint64_t dir)
{
	struct tree_attr attr;
	int r = tree_get(listing->tree, dir, &attr);

	if (r < 0)
		return r;
	if (attr.kind != TREE_DIR)
		return -ENOTDIR;
	if (attr.complete)
		return 0;
	if (listing->is_offline)
		return -ENETDOWN;
	r = recent_failure(listing, dir);
	return r < 0 ? r : 1;
}

/* 1: the waiter was added to a run, or to those who wait for the crawl. */
static int admit(struct listing *listing, uint64_t dir, bool is_walk, struct list *waiter)
{
	struct run *run = find_run(listing, dir);
	int r = run ? 1 : may_start(listing, dir);

	if (r > 0 && !run && may_hold(listing, is_walk)) {
		hold(listing, waiter);
		return 1;
	}
	if (r > 0 && !run) {
		r = start_run(listing, dir, &run);
		r = r < 0 ? r : 1;
	}
	if (r <= 0)
		return r;
	run->is_walk = run->is_walk || is_walk;
	mutex_lock(&listing->lock);
	list_splice_tail(&run->waiters, waiter);
	join_held(listing, run);
	mutex_unlock(&listing->lock);
	return 1;
}

/* Takes the first of those who came in onto a list of its own, so that it can still be taken
 * away by listing_unwant() while it is looked at. */
static bool next_incoming(struct listing *listing, struct list *ret, uint64_t *ret_dir,
			  bool *ret_is_walk)
{
	struct listing_waiter *w;

	mutex_lock(&listing->lock);
	if (list_empty(&listing->incoming)) {
		listing->posted = false;
		mutex_unlock(&listing->lock);
		return false;
	}
	w = container_of(listing->incoming.next, struct listing_waiter, node);
	list_del(&w->node);
	list_add_tail(ret, &w->node);
	*ret_dir = w->dir;
	*ret_is_walk = w->is_walk;
	mutex_unlock(&listing->lock);
	return true;
}

static void on_incoming(void *arg)
{
	struct listing *listing = arg;
	struct list one;
	uint64_t dir;
	bool is_walk;

	list_init(&one);
	while (next_incoming(listing, &one, &dir, &is_walk)) {
		int r = listing->is_closing ? -ENODEV : admit(listing, dir, is_walk, &one);

		if (r <= 0)
			wake(listing, &one, r);
	}
}

void listing_want(struct listing *listing, struct listing_waiter *w)
{
	mutex_lock(&listing->lock);
	w->state = WAITING;
	list_add_tail(&listing->incoming, &w->node);
	post_incoming(listing);
	mutex_unlock(&listing->lock);
}

bool listing_unwant(struct listing *listing, struct listing_waiter *w)
{
	bool was_waiting;

	mutex_lock(&listing->lock);
	was_waiting = w->state == WAITING;
	if (was_waiting) {
		list_del(&w->node);
		w->state = IDLE;
	}
	mutex_unlock(&listing->lock);
	return was_waiting;
}

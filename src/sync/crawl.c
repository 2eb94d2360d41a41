#define LOG_MODULE "crawl"
#include "crawl.h"

#include "change.h"
#include "log.h"
#include "paging.h"

#include <errno.h>
#include <string.h>

enum { RESTARTS_MAX = 3, RETRY_FIRST_MS = 5000, RETRY_MAX_MS = 300000 };
/* More items than that wait for the store, and the crawl waits, too. */
enum { AHEAD_MAX = 4000 };

/* Some pages, as one, and the tree's counter before the first was asked for. */
struct crawled {
	struct item_page page;
	uint64_t note;
};

struct crawl {
	struct loop *loop;
	struct lane *store;
	struct tree *tree;
	struct source source;
	source_changes_fn on_changes;
	void *arg;
	void (*on_running)(void *arg, bool is_running); /* NULL: nobody asks */
	void *running_arg;
	struct loop_timer retry;
	uint64_t retry_ms;
	bool is_running, is_done, is_closing;
	bool lost_network; /* pauses until the service is back, not for a time */
	struct paging paging;
	unsigned restarts_n; /* of this run */
	uint64_t items_n;
	bool begins_later; /* when the job that is under way is done */
	/* While pages are stored, others come and wait to be stored in one commit. */
	struct graph_call *call;
	uint64_t note;
	struct crawled ahead;
	bool has_ahead;

	/* A job on the store lane; these are its own while it is there. */
	struct lane_job job;
	bool job_pending;
	struct crawled now;
	int job_error;
};

static void fetch(struct crawl *crawl, const char *link);

static void begin(struct crawl *crawl);
static void merge_done(void *arg);

static void on_retry(void *arg)
{
	begin(arg);
}

int crawl_new(struct loop *loop, struct lane *store, struct tree *tree, const struct source *source,
	      source_changes_fn on_changes, void *arg, struct crawl **ret)
{
	struct crawl *crawl = calloc(1, sizeof(*crawl));
	int r;

	if (!crawl)
		return -ENOMEM;
	crawl->loop = loop;
	crawl->store = store;
	crawl->tree = tree;
	crawl->source = *source;
	crawl->on_changes = on_changes;
	crawl->arg = arg;
	crawl->retry_ms = RETRY_FIRST_MS;
	r = loop_timer_init(&crawl->retry, loop, on_retry, crawl);
	if (r < 0) {
		free(crawl);
		return r;
	}
	*ret = crawl;
	return 0;
}

void crawl_free(struct crawl *crawl)
{
	if (!crawl)
		return;
	crawl->is_closing = true;
	if (crawl->call)
		crawl->source.cancel(take_ptr(&crawl->call));
	while (crawl->job_pending)
		loop_run_once(crawl->loop);
	item_page_fini(&crawl->now.page);
	item_page_fini(&crawl->ahead.page);
	paging_reset(&crawl->paging);
	loop_timer_fini(&crawl->retry);
	free(crawl);
}

bool crawl_is_running(const struct crawl *crawl)
{
	return crawl->is_running;
}

void crawl_on_running(struct crawl *crawl, void (*fn)(void *arg, bool is_running), void *arg)
{
	crawl->on_running = fn;
	crawl->running_arg = arg;
}

static void set_running(struct crawl *crawl, bool is_running)
{
	crawl->is_running = is_running;
	if (crawl->on_running)
		crawl->on_running(crawl->running_arg, is_running);
}

uint64_t crawl_items_n(const struct crawl *crawl)
{
	return crawl->items_n;
}

static void pause_crawl(struct crawl *crawl, bool lost_network, const char *why)
{
	crawl->lost_network = lost_network;
	paging_reset(&crawl->paging);
	log_info("pausing for %llu s: %s", (unsigned long long)(crawl->retry_ms / 1000), why);
	loop_timer_arm(&crawl->retry, crawl->retry_ms);
	crawl->retry_ms = crawl->retry_ms * 2 < RETRY_MAX_MS ? crawl->retry_ms * 2 : RETRY_MAX_MS;
	set_running(crawl, false);
}

static void drop_ahead(struct crawl *crawl)
{
	if (crawl->call)
		crawl->source.cancel(take_ptr(&crawl->call));
	item_page_fini(&crawl->ahead.page);
	crawl->has_ahead = false;
}

static char *copy_link(const struct item_page *page)
{
	return page->next_link ? strdup(page->next_link) : NULL;
}

static void merge_work(void *arg)
{
	struct crawl *crawl = arg;
	struct change_set *set = NULL;

	crawl->job_error = tree_merge_crawl(crawl->tree, crawl->now.page.items, crawl->now.page.n,
					    crawl->now.note, crawl->now.page.next_link, &set);
	if (crawl->job_error == 0 && !crawl->now.page.next_link)
		crawl->job_error = tree_kv_set(crawl->tree, TREE_KV_CRAWL_LINK, TREE_CRAWL_DONE);
	if (set)
		crawl->on_changes(crawl->arg, set);
}

/* Stores what came. The notes of the pages after it are older than what it changes, so of an item
 * that comes twice the first state stays; what became of it since the crawl began is told by
 * delta. */
static void store(struct crawl *crawl)
{
	crawl->now = crawl->ahead;
	crawl->ahead = (struct crawled){ 0 };
	crawl->has_ahead = false;
	crawl->job_pending = true;
	lane_push(crawl->store, &crawl->job, merge_work, merge_done, crawl);
}

/* Asks for the page after this one, if there is one and the store is not too far behind. link: a
 * copy of the page's, that could not be made if it is NULL. */
static void go_on(struct crawl *crawl, const char *link, bool is_last)
{
	if (is_last || !crawl->is_running || crawl->call || crawl->ahead.page.n >= AHEAD_MAX)
		return;
	if (link)
		fetch(crawl, link);
	else
		pause_crawl(crawl, false, "no memory");
}

static void merge_done(void *arg)
{
	struct crawl *crawl = arg;
	bool is_last = !crawl->now.page.next_link;

	crawl->job_pending = false;
	crawl->items_n += crawl->now.page.n;
	item_page_fini(&crawl->now.page);
	if (crawl->is_closing)
		return;
	if (crawl->job_error < 0) {
		drop_ahead(crawl);
		if (crawl->is_running)
			pause_crawl(crawl, false, strerror(-crawl->job_error));
	} else if (is_last) {
		crawl->is_done = true;
		paging_reset(&crawl->paging);
		log_info("done: %llu items", (unsigned long long)crawl->items_n);
		set_running(crawl, false);
	} else {
		crawl->retry_ms = RETRY_FIRST_MS;
		if (crawl->has_ahead) {
			auto_free char *next = copy_link(&crawl->ahead.page);

			store(crawl);
			go_on(crawl, next, !crawl->now.page.next_link);
		}
	}
	if (crawl->begins_later)
		begin(crawl);
}

/* What is known stays known: a crawl that begins again only repeats itself. */
static void restart(struct crawl *crawl, const char *location)
{
	paging_reset(&crawl->paging);
	if (++crawl->restarts_n > RESTARTS_MAX)
		pause_crawl(crawl, false, "the service keeps asking to begin again");
	else
		fetch(crawl, location);
}

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct crawl *crawl = arg;
	const char *why = "the last page has no @odata.deltaLink";
	auto_free char *next = NULL;
	int r;

	crawl->call = NULL;
	if (result->is_resync) {
		restart(crawl, result->location);
		return;
	}
	if (result->error) {
		pause_crawl(crawl, result->is_offline, result->text);
		return;
	}
	r = paging_note(&crawl->paging, page, &why);
	if (r < 0 || (!page->next_link && !page->delta_link)) {
		pause_crawl(crawl, false, why);
		return;
	}
	next = copy_link(page);
	if ((page->next_link && !next) || item_page_append(&crawl->ahead.page, page) < 0) {
		pause_crawl(crawl, false, "no memory");
		return;
	}
	if (!crawl->has_ahead)
		crawl->ahead.note = crawl->note;
	crawl->has_ahead = true;
	if (!crawl->job_pending)
		store(crawl);
	go_on(crawl, next, !next);
}

static void fetch(struct crawl *crawl, const char *link)
{
	int r;

	crawl->note = tree_note(crawl->tree);
	r = crawl->source.get_delta(crawl->source.arg, link, HTTP_BACKGROUND, on_page, crawl,
				    &crawl->call);
	/* The stored link is of another service: its address was changed. */
	if (r == -EPERM && link)
		restart(crawl, NULL);
	else if (r < 0)
		pause_crawl(crawl, false, strerror(-r));
}

static void begin(struct crawl *crawl)
{
	auto_free char *link = NULL;
	int r;

	/* The stored link is about to change. */
	crawl->begins_later = crawl->job_pending;
	if (crawl->job_pending)
		return;
	r = tree_kv_get(crawl->tree, TREE_KV_CRAWL_LINK, &link);
	if (r < 0 && r != -ENOENT)
		return;
	crawl->is_done = link && strcmp(link, TREE_CRAWL_DONE) == 0;
	if (crawl->is_done)
		return;
	loop_timer_disarm(&crawl->retry);
	crawl->lost_network = false;
	crawl->restarts_n = 0;
	set_running(crawl, true);
	fetch(crawl, link);
}

void crawl_start(struct crawl *crawl)
{
	bool is_pausing = loop_timer_is_armed(&crawl->retry) && !crawl->lost_network;

	if (!crawl->is_running && !crawl->is_done && !is_pausing)
		begin(crawl);
}

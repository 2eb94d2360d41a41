#define LOG_MODULE "verify"
#include "verify.h"

#include "change.h"
#include "check.h"
#include "clock.h"
#include "log.h"
#include "paging.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	/* Between the two questions, and after a failure; less when verifying more often. */
	CONFIRM_MS = 60 * 1000,
	AGAIN_MS = 3600 * 1000,
	SHORT_PARTS = 10,
};

struct verify {
	struct loop *loop;
	struct lane *store;
	struct tree *tree;
	struct source source;
	uint64_t every_ms;
	source_changes_fn on_changes;
	void *arg;
	uint64_t not_before_ms;
	bool is_running, is_closing;
	struct graph_call *call;
	struct paging paging;
	size_t asked;   /* the suspect that is asked for */
	bool has_more;  /* there was no room for all suspects */
	bool is_second; /* time that they are asked for */
	struct loop_timer timer;

	/* A job on the store lane; these are its own while it is there. */
	struct lane_job job;
	bool job_pending;
	struct check *check;
	struct item_page page;
	int job_error;
	size_t deleted_n, all_deleted_n;
};

static void fetch(struct verify *verify, const char *link);
static void scan(struct verify *verify);
static void ask_next(struct verify *verify);

static void on_timer(void *arg)
{
	struct verify *verify = arg;

	verify->is_second = true;
	verify->asked = 0;
	ask_next(verify);
}

int verify_new(struct loop *loop, struct lane *store, struct tree *tree,
	       const struct source *source, uint64_t every_ms, source_changes_fn on_changes,
	       void *arg, struct verify **ret)
{
	struct verify *verify = calloc(1, sizeof(*verify));
	int r;

	if (!verify)
		return -ENOMEM;
	verify->loop = loop;
	verify->store = store;
	verify->tree = tree;
	verify->source = *source;
	verify->every_ms = every_ms;
	verify->on_changes = on_changes;
	verify->arg = arg;
	r = loop_timer_init(&verify->timer, loop, on_timer, verify);
	if (r < 0) {
		free(verify);
		return r;
	}
	*ret = verify;
	return 0;
}

void verify_free(struct verify *verify)
{
	if (!verify)
		return;
	verify->is_closing = true;
	if (verify->call)
		verify->source.cancel(take_ptr(&verify->call));
	while (verify->job_pending)
		loop_run_once(verify->loop);
	item_page_fini(&verify->page);
	check_free(verify->check);
	paging_reset(&verify->paging);
	loop_timer_fini(&verify->timer);
	free(verify);
}

bool verify_is_running(const struct verify *verify)
{
	return verify->is_running;
}

/* A minute or an hour, but little beside the time between two verifications. */
static uint64_t at_most(const struct verify *verify, uint64_t ms)
{
	uint64_t part_ms = verify->every_ms / SHORT_PARTS;

	return ms < part_ms ? ms : part_ms;
}

static void end(struct verify *verify)
{
	verify->is_running = false;
	paging_reset(&verify->paging);
	check_free(take_ptr(&verify->check));
}

static void fail(struct verify *verify, const char *why)
{
	log_info("not finished: %s", why);
	verify->not_before_ms = loop_now_ms(verify->loop) + at_most(verify, AGAIN_MS);
	end(verify);
}

static void push_job(struct verify *verify, loop_fn work, loop_fn done)
{
	verify->job_pending = true;
	lane_push(verify->store, &verify->job, work, done, verify);
}

/* After a job: false when it does not go on. */
static bool goes_on(struct verify *verify)
{
	verify->job_pending = false;
	if (verify->is_closing)
		return false;
	if (verify->job_error >= 0)
		return true;
	fail(verify, strerror(-verify->job_error));
	return false;
}

static int save_time(struct verify *verify)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRId64, clock_real_s());
	return tree_kv_set(verify->tree, TREE_KV_VERIFIED, text);
}

/* --- what is gone --- */

static void delete_work(void *arg)
{
	struct verify *verify = arg;
	struct change_set *set = NULL;

	verify->deleted_n = 0;
	verify->job_error = check_delete(verify->check, &verify->deleted_n, &set);
	if (verify->job_error == 0 && !verify->has_more)
		verify->job_error = save_time(verify);
	if (set)
		verify->on_changes(verify->arg, set);
}

static void delete_done(void *arg)
{
	struct verify *verify = arg;

	if (!goes_on(verify))
		return;
	verify->all_deleted_n += verify->deleted_n;
	if (verify->has_more) {
		scan(verify);
		return;
	}
	log_info("done: %zu items were gone", verify->all_deleted_n);
	end(verify);
}

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	struct verify *verify = arg;
	/* A 404 of the service itself, not of something on the way to it. */
	bool is_gone = (result->status == 404 && result->error == -ENOENT && result->code[0]) ||
		       (item && item->deleted);

	verify->call = NULL;
	if (result->error && !is_gone) {
		fail(verify, result->text);
		return;
	}
	if (!is_gone)
		check_acquit(verify->check, verify->asked);
	verify->asked++;
	ask_next(verify);
}

static void ask_next(struct verify *verify)
{
	char *const *suspects;
	size_t n, left_n = 0;
	int r;

	suspects = check_suspects(verify->check, &n);
	while (verify->asked < n && !suspects[verify->asked])
		verify->asked++;
	if (verify->asked < n) {
		r = verify->source.get_item(verify->source.arg, suspects[verify->asked],
					    HTTP_BACKGROUND, on_item, verify, &verify->call);
		if (r < 0)
			fail(verify, strerror(-r));
		return;
	}
	for (size_t i = 0; i < n; i++)
		left_n += suspects[i] != NULL;
	if (left_n > 0 && !verify->is_second)
		loop_timer_arm(&verify->timer, at_most(verify, CONFIRM_MS));
	else
		push_job(verify, delete_work, delete_done);
}

/* --- what is there --- */

static void scan_work(void *arg)
{
	struct verify *verify = arg;

	verify->job_error = check_scan(verify->check);
}

static void scan_done(void *arg)
{
	struct verify *verify = arg;
	size_t n;

	if (!goes_on(verify))
		return;
	if (verify->job_error > 0) {
		scan(verify);
		return;
	}
	(void)check_suspects(verify->check, &n);
	if (n > 0)
		log_info("%zu known items were not enumerated: asking for each", n);
	verify->has_more = n == CHECK_SUSPECTS_MAX;
	verify->asked = 0;
	verify->is_second = false;
	ask_next(verify);
}

static void scan(struct verify *verify)
{
	push_job(verify, scan_work, scan_done);
}

static void page_work(void *arg)
{
	struct verify *verify = arg;
	struct change_set *set = NULL;

	verify->job_error = check_page(verify->check, &verify->page, &set);
	if (set)
		verify->on_changes(verify->arg, set);
}

static void page_done(void *arg)
{
	struct verify *verify = arg;
	auto_free char *next = take_ptr(&verify->page.next_link);

	item_page_fini(&verify->page);
	if (!goes_on(verify))
		return;
	if (next)
		fetch(verify, next);
	else
		scan(verify);
}

static void on_page(void *arg, const struct graph_result *result, struct item_page *page)
{
	struct verify *verify = arg;
	const char *why = "the last page has no @odata.deltaLink";

	verify->call = NULL;
	if (result->error) {
		fail(verify, result->text);
		return;
	}
	if (paging_note(&verify->paging, page, &why) < 0 ||
	    (!page->next_link && !page->delta_link)) {
		fail(verify, why);
		return;
	}
	verify->page = *page;
	*page = (struct item_page){ 0 };
	push_job(verify, page_work, page_done);
}

static void fetch(struct verify *verify, const char *link)
{
	int r = verify->source.get_delta(verify->source.arg, link, HTTP_BACKGROUND, on_page, verify,
					 &verify->call);

	if (r < 0)
		fail(verify, strerror(-r));
}

/* --- the beginning --- */

static void begin_work(void *arg)
{
	struct verify *verify = arg;

	verify->job_error = check_new(verify->tree, &verify->check);
}

static void begin_done(void *arg)
{
	struct verify *verify = arg;

	if (goes_on(verify))
		fetch(verify, NULL);
}

static void first_work(void *arg)
{
	struct verify *verify = arg;

	verify->job_error = save_time(verify);
}

static void first_done(void *arg)
{
	struct verify *verify = arg;

	if (goes_on(verify))
		end(verify);
}

static bool is_crawled(struct verify *verify)
{
	auto_free char *link = NULL;

	return tree_kv_get(verify->tree, TREE_KV_CRAWL_LINK, &link) == 0 &&
	       strcmp(link, TREE_CRAWL_DONE) == 0;
}

void verify_look(struct verify *verify)
{
	auto_free char *last = NULL;
	int64_t age_s;
	int r;

	if (verify->every_ms == 0 || verify->is_running ||
	    loop_now_ms(verify->loop) < verify->not_before_ms || !is_crawled(verify))
		return;
	r = tree_kv_get(verify->tree, TREE_KV_VERIFIED, &last);
	if (r < 0 && r != -ENOENT)
		return;
	age_s = last ? clock_real_s() - strtoll(last, NULL, 10) : 0;
	/* Below zero: the clock was wrong then, or is now. */
	if (last && age_s >= 0 && (uint64_t)age_s < verify->every_ms / 1000)
		return;
	verify->is_running = true;
	verify->all_deleted_n = 0;
	if (last) {
		log_info("beginning");
		push_job(verify, begin_work, begin_done);
	} else {
		/* The crawl just saw everything. */
		push_job(verify, first_work, first_done);
	}
}

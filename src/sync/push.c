#define LOG_MODULE "push"
#include "push_task.h"

#include "change.h"
#include "clock.h"
#include "log.h"
#include "tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	PAUSE_MIN_MS = 1000,
	PAUSE_MAX_MS = 5 * 60 * 1000,
	LATER_MIN_MS = 500,
	SYNC_MS = 700,
	LOOK_MS = 500,
	AT_ONCE_TRIES = 3
};
/* Among the items that wait: what is asked for; the root is never sent. */
enum { ASK_INO = 1 };

static void look_again(struct push *push);
static void scan(struct push *push);

/* --- tasks --- */

static void free_task(struct push_task *task)
{
	tree_local_item_fini(&task->item);
	if (task->draft)
		draft_close(task->draft);
	if (task->base)
		content_close(task->base);
	free(task->ask_id);
	free(task->temp_name);
	free(task->gone_id);
	free(task->body);
	item_fini(&task->answer);
	free(task);
}

int push_take_answer(struct push_task *task, const struct item *item)
{
	item_fini(&task->answer);
	task->has_answer = false;
	if (!item)
		return 0;
	if (item_copy(item, &task->answer) < 0)
		return -ENOMEM;
	task->has_answer = true;
	return 0;
}

/* --- waiting --- */

static uint64_t grow(uint64_t min_ms, unsigned tries, uint64_t max_ms)
{
	uint64_t ms = min_ms << (tries < 16 ? tries : 16);

	if (ms > max_ms)
		ms = max_ms;
	/* Half of it at random, so that many who were refused together do not come back so. */
	return ms / 2 + (uint64_t)random() % (ms / 2 + 1);
}

static struct push_backoff *find_backoff(struct push *push, uint64_t ino)
{
	for (size_t i = 0; i < PUSH_BACKOFFS; i++)
		if (push->backoffs[i].ino == ino)
			return &push->backoffs[i];
	return NULL;
}

/* A place for one more; NULL: all are taken by what is to wait. What is due for long is not pending
 * any more, or its turn comes anyway. */
static struct push_backoff *find_room(struct push *push, uint64_t now)
{
	struct push_backoff *free = find_backoff(push, 0);

	for (size_t i = 0; !free && i < PUSH_BACKOFFS; i++) {
		struct push_backoff *b = &push->backoffs[i];

		if (b->due_ms <= now && (b->tries <= 1 || b->due_ms + PAUSE_MAX_MS <= now))
			free = b;
	}
	if (free)
		*free = (struct push_backoff){ 0 };
	return free;
}

/* at_once: of the first few times it waits for nothing. */
static void note_failure(struct push_task *task, bool at_once)
{
	struct push *push = task->push;
	uint64_t ino = task->item.attr.ino ? task->item.attr.ino : ASK_INO, now = clock_mono_ms();
	struct push_backoff *b = find_backoff(push, ino);

	if (!b)
		b = find_room(push, now);
	if (!b) {
		task->is_crowded = true;
		return;
	}
	b->ino = ino;
	b->due_ms = now;
	if (!at_once || b->tries >= AT_ONCE_TRIES)
		b->due_ms += grow(LATER_MIN_MS, b->tries, PAUSE_MAX_MS);
	b->tries++;
}

static void forget_failure(struct push *push, uint64_t ino)
{
	struct push_backoff *b = find_backoff(push, ino);

	if (b)
		*b = (struct push_backoff){ 0 };
}

/* --- ends --- */

static void tell(struct push *push, struct change_set *set)
{
	if (set)
		push->options.on_changes(push->options.arg, set);
}

static bool is_pending_content(struct push *push, uint64_t ino, uint64_t cid)
{
	struct tree_local_item item;
	bool is;

	if (tree_local_get(push->options.tree, ino, &item) < 0)
		return false;
	is = item.attr.cid == cid && (item.what & (LOCAL_CREATE | LOCAL_CONTENT));
	tree_local_item_fini(&item);
	return is;
}

static int end_done(struct push_task *task, struct change_set **set)
{
	struct push *push = task->push;
	const struct tree_local_item *item = &task->item;
	const char *name = task->temp_name ? task->temp_name : item->name;
	bool is_content =
		item->attr.kind == TREE_FILE && (task->what & (LOCAL_CREATE | LOCAL_CONTENT));
	int r;

	if (is_content && task->draft)
		task->is_content_old = content_note_sent(push->options.content, item->attr.ino,
							 task->draft, task->version);
	else if (is_content)
		task->is_content_old = content_has_draft(push->options.content, item->attr.cid);
	r = tree_local_done(push->options.tree,
			    &(struct tree_local_sent){
				    .ino = item->attr.ino,
				    .what = task->what,
				    .id = item->id,
				    .parent_id = item->parent_id,
				    .name = name,
				    .name_len = task->temp_name ? strlen(name) : item->name_len,
				    .cid = item->attr.cid,
				    .is_content_old = task->is_content_old,
				    .mtime_ns = item->attr.mtime_ns,
				    .note = task->note,
				    .item = task->has_answer ? &task->answer : NULL,
			    },
			    set);
	/* Renamed over another file meanwhile, it is to be sent as that one's. */
	if (r == 0 && is_content)
		task->is_content_old |= is_pending_content(push, item->attr.ino, item->attr.cid);
	return r;
}

static bool is_text_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Of what was changed meanwhile it says nothing that it could not be sent as it was. */
static int note_refusal(struct push_task *task)
{
	struct push *push = task->push;
	struct tree_local_item item;
	uint64_t ino = task->item.attr.ino;
	int r = tree_local_get(push->options.tree, ino, &item);
	bool is_same;

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	is_same = item.what == task->item.what && item.attr.cid == task->item.attr.cid &&
		  is_text_same(item.id, task->item.id) &&
		  is_text_same(item.name, task->item.name) &&
		  is_text_same(item.parent_id, task->item.parent_id);
	tree_local_item_fini(&item);
	if (is_same)
		return tree_local_fail(push->options.tree, ino, task->error, task->text);
	note_failure(task, true);
	return 0;
}

/* What was only asked for is answered; what was to be sent goes again, and not for ever at once. */
static void note_end_of_look(struct push_task *task)
{
	if (task->ask_id)
		forget_failure(task->push, ASK_INO);
	else
		note_failure(task, true);
}

static int note_end(struct push_task *task, struct change_set **set)
{
	struct push *push = task->push;
	struct tree *tree = push->options.tree;
	uint64_t ino = task->item.attr.ino;

	switch (task->end) {
	case PUSH_DONE:
		/* Under a name of its own it still waits for the right one, which is another's as
		 * long as that one cannot go. */
		if (task->temp_name)
			note_failure(task, false);
		else
			forget_failure(push, ino);
		return end_done(task, set);
	case PUSH_LEARN:
		note_end_of_look(task);
		return tree_local_learn(tree,
					&(struct tree_local_answer){
						.ino = ino,
						.note = task->note,
						.item = &task->answer,
						.is_kept = task->is_kept,
						.is_in_the_way = task->is_in_the_way,
					},
					set);
	case PUSH_GONE:
		note_end_of_look(task);
		return tree_local_gone(tree, task->gone_id, set);
	case PUSH_FAILED:
		return note_refusal(task);
	case PUSH_LATER:
		note_failure(task, false);
		return 0;
	case PUSH_PAUSE:
	case PUSH_DROPPED:
	default:
		return 0;
	}
}

static void end_on_lane(void *arg)
{
	struct push_task *task = arg;
	struct push *push = task->push;
	struct change_set *set = NULL;
	int r;

	/* From here on what is said of the item counts. */
	list_del(&task->node);
	push->sending_n--;
	r = note_end(task, &set);
	if (r < 0) {
		log_error("an answer of the service cannot be stored: %s", strerror(-r));
		note_failure(task, false);
	}
	tell(push, set);
}

/* Several that were on their way fail for one reason: that counts once. */
static void pause_all(struct push *push)
{
	uint64_t now = clock_mono_ms();

	if (push->pause_until_ms > now)
		return;
	push->pause_until_ms = now + grow(PAUSE_MIN_MS, push->pauses++, PAUSE_MAX_MS);
}

static void free_ended(void *arg)
{
	struct push_task *task = arg;
	struct push *push = task->push;

	for (size_t i = 0; i < PUSH_PARALLEL; i++)
		if (push->running[i] == task)
			push->running[i] = NULL;
	push->tasks_n--;
	if (task->is_crowded)
		pause_all(push);
	free_task(task);
	/* What waited for this one may go. */
	look_again(push);
}

static void keep(void *arg)
{
	push_content_keep(arg);
}

static void ended(void *arg)
{
	struct push_task *task = arg;

	if (task->end == PUSH_DONE && task->draft && !task->is_content_old)
		lane_push(task->push->lane, &task->job, keep, free_ended, task);
	else
		free_ended(task);
}

void push_end(struct push_task *task, enum push_end end)
{
	struct push *push = task->push;

	/* What is only asked for has no row that could hold a reason. */
	if (end == PUSH_FAILED && task->ask_id)
		end = PUSH_LATER;
	task->end = end;
	if (end == PUSH_PAUSE)
		pause_all(push);
	else if (end == PUSH_DONE)
		push->pauses = 0;
	if (end == PUSH_FAILED && task->item.name)
		log_warn("\"%s\" cannot be sent: %s", log_text(task->item.name), task->text);
	else if (end == PUSH_FAILED)
		log_warn("a deletion cannot be sent: %s", task->text);
	lane_push(push->options.store_lane, &task->job, end_on_lane, ended, task);
}

void push_end_result(struct push_task *task, const struct graph_result *result)
{
	task->error = result->error;
	snprintf(task->text, sizeof(task->text), "%s", result->text);
	/* It went well, and brought nothing. */
	if (result->error == 0) {
		push_end(task, PUSH_LATER);
		return;
	}
	switch (result->reason) {
	case GRAPH_NO_REPLY:
	case GRAPH_THROTTLED:
	case GRAPH_SIGN_IN:
		push_end(task, PUSH_PAUSE);
		break;
	case GRAPH_FAULT:
	case GRAPH_LOCKED:
	case GRAPH_MISSING:
		push_end(task, PUSH_LATER);
		break;
	default:
		push_end(task, PUSH_FAILED);
		break;
	}
}

/* --- finding what may go --- */

bool push_is_sending(void *arg, uint64_t ino, const char *id)
{
	struct push *push = arg;

	list_for_each (&push->sending, pos) {
		const struct tree_local_item *item =
			&container_of(pos, struct push_task, node)->item;

		if (item->attr.ino == ino || (id && item->id && strcmp(item->id, id) == 0))
			return true;
	}
	return false;
}

/* When the content was changed last; what was dated into the future does not wait for it. */
static uint64_t quiet_left_ms(struct push *push, const struct tree_local_item *item)
{
	int64_t age_ms = (clock_real_ns() - item->attr.mtime_ns) / 1000000;

	if (age_ms < 0 || (uint64_t)age_ms >= push->options.quiet_ms)
		return 0;
	return push->options.quiet_ms - (uint64_t)age_ms;
}

/* A program that saves by way of another file moves or deletes the one that the service has, before
 * the new one has its name: what comes of it is known a little later. */
static uint64_t settling_left_ms(struct push *push, const struct tree_local_item *item)
{
	struct push_first *first = &push->firsts[item->attr.ino % PUSH_FIRSTS];
	uint64_t quiet_ms = push->options.quiet_ms, now = push->now_ms;

	if (first->ino != item->attr.ino) {
		/* Another one waits there: this one does not. */
		if (quiet_ms == 0 || (first->ino && now < first->at_ms + quiet_ms))
			return 0;
		*first = (struct push_first){ .ino = item->attr.ino, .at_ms = now };
	}
	return now < first->at_ms + quiet_ms ? first->at_ms + quiet_ms - now : 0;
}

/* What is to be sent was changed so recently that it waits so long. */
static uint64_t left_ms(struct push *push, const struct tree_local_item *item)
{
	if (item->attr.kind != TREE_FILE)
		return 0;
	if (item->what & (LOCAL_CREATE | LOCAL_CONTENT))
		return quiet_left_ms(push, item);
	return item->what & (LOCAL_PLACE | LOCAL_DELETE) ? settling_left_ms(push, item) : 0;
}

static void wait_until(struct push *push, uint64_t due_ms)
{
	if (due_ms < push->next_due_ms)
		push->next_due_ms = due_ms;
}

static bool may_go(struct push *push, const struct tree_local_item *item)
{
	const struct push_backoff *b = find_backoff(push, item->attr.ino);
	uint64_t left;

	if (push_is_sending(push, item->attr.ino, item->id))
		return false;
	push->pass_failed_n += item->error != 0;
	if (item->error && !push->retries_failed)
		return false;
	if (b && b->due_ms > push->now_ms) {
		wait_until(push, b->due_ms);
		return false;
	}
	/* Closing it wakes us. */
	if (item->attr.kind == TREE_FILE && (item->what & (LOCAL_CREATE | LOCAL_CONTENT)) &&
	    content_is_written(push->options.content, item->attr.ino))
		return false;
	left = left_ms(push, item);
	if (left > 0)
		wait_until(push, push->now_ms + left);
	return left == 0;
}

static struct push_task *new_task(struct push *push)
{
	struct push_task *task = calloc(1, sizeof(*task));

	if (!task)
		return NULL;
	task->push = push;
	task->note = tree_note(push->options.tree);
	list_init(&task->node);
	return task;
}

static void take(struct push *push, struct push_task *task)
{
	struct push_first *first = &push->firsts[task->item.attr.ino % PUSH_FIRSTS];

	if (first->ino == task->item.attr.ino)
		*first = (struct push_first){ 0 };
	list_add_tail(&push->sending, &task->node);
	push->sending_n++;
	push->room--;
	push->pass_taken_n++;
	push->taken[push->taken_n++] = task;
}

static bool is_asked(struct push *push, const char *id)
{
	list_for_each (&push->sending, pos) {
		const struct push_task *task = container_of(pos, struct push_task, node);

		if (task->ask_id && strcmp(task->ask_id, id) == 0)
			return true;
	}
	return false;
}

/* What delta spoke of while it was being sent. One at a time: there are few. */
static void take_ask(struct push *push)
{
	const struct push_backoff *b = find_backoff(push, ASK_INO);
	struct push_task *task;
	char *id;

	if (b && b->due_ms > push->now_ms) {
		wait_until(push, b->due_ms);
		return;
	}
	if (tree_local_asks(push->options.tree, &id) <= 0)
		return;
	task = is_asked(push, id) ? NULL : new_task(push);
	if (!task) {
		free(id);
		return;
	}
	task->ask_id = id;
	take(push, task);
}

/* Names in a ring: one of them goes by way of a name of its own. */
static void break_ring(struct push *push)
{
	struct push_task *task = new_task(push);

	if (!task)
		return;
	if (tree_local_get(push->options.tree, push->ring, &task->item) < 0 ||
	    asprintf(&task->temp_name, ".graphfs-%016" PRIx64, push->ring) < 0) {
		task->temp_name = NULL;
		free_task(task);
		return;
	}
	take(push, task);
}

/* One row; false: there is none. */
static bool look_at_next(struct push *push)
{
	struct push_task *task = new_task(push);
	bool goes;

	if (!task || tree_local_next(push->options.tree, push->cursor, &task->item) <= 0) {
		free(task);
		return false;
	}
	push->cursor = task->item.attr.ino;
	goes = may_go(push, &task->item);
	if (goes && task->item.wait == LOCAL_WAITS_NAME && (task->item.what & LOCAL_PLACE))
		push->ring = push->cursor;
	if (goes && task->item.wait == LOCAL_READY)
		take(push, task);
	else
		free_task(task);
	return true;
}

static void look_at_some(struct push *push)
{
	if (push->forgets_now)
		memset(push->backoffs, 0, sizeof(push->backoffs));
	if (push->cursor == 0)
		take_ask(push);
	for (int n = 0; n < PUSH_SCAN_ROWS && push->room > 0; n++) {
		if (look_at_next(push))
			continue;
		push->is_pass_over = true;
		if (push->ring && push->pass_taken_n == 0 && push->sending_n == 0)
			break_ring(push);
		return;
	}
}

static void look(void *arg)
{
	struct push *push = arg;

	if (tree_local_begin_look(push->options.tree) < 0) {
		push->is_pass_over = true;
		wait_until(push, push->now_ms + PAUSE_MIN_MS);
		return;
	}
	look_at_some(push);
	tree_local_end_look(push->options.tree);
}

/* --- the loop's side --- */

static void start(struct push_task *task)
{
	const struct tree_local_item *item = &task->item;
	bool is_content = item->attr.kind == TREE_FILE && !task->ask_id && !task->temp_name &&
			  (item->what & (LOCAL_CREATE | LOCAL_CONTENT));

	struct push *push = task->push;

	push->tasks_n++;
	for (size_t i = 0; i < PUSH_PARALLEL; i++) {
		if (!push->running[i]) {
			push->running[i] = task;
			break;
		}
	}
	log_debug("sending %u of inode %" PRIu64, item->what, item->attr.ino);
	if (push->is_closing)
		push_end(task, PUSH_DROPPED);
	else if (is_content)
		push_content_start(task);
	else
		push_send_start(task);
}

static void arm(struct push *push)
{
	uint64_t now = clock_mono_ms(), due = push->next_due_ms;

	if (push->pass_failed_n > 0 && push->retry_at_ms < due)
		due = push->retry_at_ms;
	if (push->pause_until_ms > now && push->pause_until_ms > due)
		due = push->pause_until_ms;
	if (due != UINT64_MAX)
		loop_timer_arm(&push->timer, due > now ? due - now : 0);
}

static void end_pass(struct push *push)
{
	uint64_t now = clock_mono_ms();

	/* What is being tried again has not failed yet. */
	if (!push->forgets && (!push->retries_failed || push->pass_taken_n == 0))
		push->failed_n = push->pass_failed_n;
	if (push->retries_failed)
		push->retry_at_ms = now + PUSH_RETRY_MS;
	push->is_idle = push->pass_taken_n == 0 && !push->has_news;
	push->cursor = 0;
	push->is_stuck = push->is_idle && push->tasks_n == 0 && push->failed_n > 0 &&
			 push->next_due_ms == UINT64_MAX;
	if (push->is_idle)
		arm(push);
}

static void begin_pass(struct push *push)
{
	uint64_t now = clock_mono_ms();

	push->next_due_ms = UINT64_MAX;
	push->ring = 0;
	push->pass_taken_n = push->pass_failed_n = 0;
	push->is_pass_over = push->has_news = false;
	push->retries_failed = push->forgets_now || now >= push->retry_at_ms;
}

static void looked(void *arg)
{
	struct push *push = arg;
	unsigned n = push->taken_n;

	push->is_scanning = false;
	push->looked_ms = clock_mono_ms();
	push->taken_n = 0;
	if (push->is_pass_over)
		end_pass(push);
	for (unsigned i = 0; i < n; i++)
		start(push->taken[i]);
	scan(push);
}

/* Looks on, if anything could come of it. */
static void scan(struct push *push)
{
	uint64_t now = clock_mono_ms();

	if (push->is_scanning || push->is_idle || push->is_closing || !push->is_reachable ||
	    push->tasks_n >= PUSH_PARALLEL)
		return;
	if (push->pause_until_ms > now) {
		loop_timer_arm(&push->timer, push->pause_until_ms - now);
		return;
	}
	/* Some was passed by already. */
	push->forgets_now = push->forgets;
	push->forgets = false;
	if (push->forgets_now)
		push->cursor = 0;
	if (push->cursor == 0)
		begin_pass(push);
	push->is_scanning = true;
	push->now_ms = clock_mono_ms();
	push->room = PUSH_PARALLEL - push->tasks_n;
	lane_push(push->options.store_lane, &push->scan_job, look, looked, push);
}

static void look_again(struct push *push)
{
	push->is_idle = false;
	push->is_stuck = false;
	push->has_news = true;
	scan(push);
}

void push_retry(struct push *push)
{
	push->retry_at_ms = 0;
	push->failed_n = 0;
	push->pause_until_ms = 0;
	push->pauses = 0;
	push->forgets = true;
	look_again(push);
}

static void on_timer(void *arg)
{
	look_again(arg);
}

/* --- the disk --- */

static void sync_drafts(void *arg)
{
	struct push *push = arg;
	int r = draft_dir_sync(push->options.drafts);

	if (r < 0)
		log_error("what was written cannot be synced: %s", strerror(-r));
}

static void sync_rows(void *arg)
{
	struct push *push = arg;
	int r = tree_sync(push->options.tree);

	if (r < 0)
		log_error("what is to be sent cannot be synced: %s", strerror(-r));
}

static void rows_synced(void *arg)
{
	struct push *push = arg;

	push->is_syncing = false;
}

/* In this order, so that no row survives a power cut without its content. */
static void drafts_synced(void *arg)
{
	struct push *push = arg;

	lane_push(push->options.store_lane, &push->sync_job, sync_rows, rows_synced, push);
}

static void on_sync(void *arg)
{
	struct push *push = arg;

	if (push->is_syncing) {
		loop_timer_arm(&push->sync_timer, SYNC_MS);
		return;
	}
	push->is_syncing = true;
	lane_push(push->lane, &push->sync_job, sync_drafts, drafts_synced, push);
}

static void on_wake(void *arg)
{
	struct push *push = arg;

	push->is_woken = false;
	if (!loop_timer_is_armed(&push->sync_timer) && !push->is_closing)
		loop_timer_arm(&push->sync_timer, SYNC_MS);
	/* Changes come in crowds, and the first of one has to be quiet for a while anyway. */
	if (push->is_idle && clock_mono_ms() < push->looked_ms + LOOK_MS)
		loop_timer_arm(&push->timer, LOOK_MS);
	else
		look_again(push);
}

void push_wake(struct push *push)
{
	if (!atomic_exchange(&push->is_woken, true))
		loop_post(push->options.loop, &push->wake_call, on_wake, push);
}

void push_set_reachable(struct push *push, bool is_reachable)
{
	if (is_reachable == push->is_reachable)
		return;
	push->is_reachable = is_reachable;
	push->pause_until_ms = 0;
	push->pauses = 0;
	if (is_reachable)
		look_again(push);
}

void push_get_stats(struct push *push, struct push_stats *ret)
{
	*ret = (struct push_stats){
		.pending_n = tree_local_n(push->options.tree),
		.sending_n = push->sending_n,
		.failed_n = push->failed_n,
		.is_stuck = push->is_stuck,
	};
}

/* --- beginning and end --- */

int push_new(const struct push_options *options, struct push **ret)
{
	struct push *push = calloc(1, sizeof(*push));
	int r;

	if (!push)
		return -ENOMEM;
	push->options = *options;
	push->is_reachable = true;
	list_init(&push->sending);
	push->drive_id = strdup(options->drive_id);
	r = push->drive_id ? loop_timer_init(&push->timer, options->loop, on_timer, push) : -ENOMEM;
	if (r == 0)
		r = loop_timer_init(&push->sync_timer, options->loop, on_sync, push);
	if (r == 0)
		r = lane_new(options->loop, "push", 2, &push->lane);
	if (r == 0)
		r = upload_pool_new(options->graph, &(struct upload_options){ 0 }, &push->uploads);
	if (r < 0) {
		push_free(push);
		return r;
	}
	/* What is pending from before. */
	push_wake(push);
	*ret = push;
	return 0;
}

void push_free(struct push *push)
{
	if (!push)
		return;
	push->is_closing = true;
	for (size_t i = 0; i < PUSH_PARALLEL; i++)
		if (push->running[i])
			push_send_cancel(push->running[i]);
	loop_timer_disarm(&push->sync_timer);
	while (push->tasks_n > 0 || push->is_scanning || push->is_woken || push->is_syncing)
		loop_run_once(push->options.loop);
	lane_free(push->lane);
	upload_pool_free(push->uploads);
	loop_timer_fini(&push->timer);
	loop_timer_fini(&push->sync_timer);
	free(push->drive_id);
	free(push);
}

/*
 * Folders, places, times and deletions; and looking at what the service has when it refused
 * something, or when an answer was lost.
 */
#define LOG_MODULE "push"
#include "push_task.h"

#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *name_of(const struct push_task *task)
{
	return task->temp_name ? task->temp_name : task->item.name;
}

static void end_errno(struct push_task *task, int r)
{
	task->error = r;
	snprintf(task->text, sizeof(task->text), "%s", strerror(-r));
	push_end(task, r == -ENOMEM ? PUSH_LATER : PUSH_FAILED);
}

static void end_gone(struct push_task *task, const char *id)
{
	task->gone_id = id ? strdup(id) : NULL;
	push_end(task, task->gone_id ? PUSH_GONE : PUSH_LATER);
}

/* The service answers with what it has, for the tree to make up its mind. */
static void end_learn(struct push_task *task, const struct item *item)
{
	if (push_take_answer(task, item) < 0)
		push_end(task, PUSH_LATER);
	else
		push_end(task, PUSH_LEARN);
}

/* --- looking --- */

static void on_name(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;

	task->call = NULL;
	task->is_in_the_way = true;
	if (result->error == 0 && item)
		end_learn(task, item);
	/* The service is behind its own writes, or it was a name in another folder's way. */
	else if (result->reason == GRAPH_MISSING)
		push_end(task, PUSH_LATER);
	else
		push_end_result(task, result);
}

void push_send_look_by_name(struct push_task *task)
{
	int r = graph_get_child(task->push->options.graph, task->push->drive_id,
				task->item.parent_id, name_of(task), HTTP_PREFETCH, on_name, task,
				&task->call);

	if (r < 0)
		end_errno(task, r);
}

/* Is what the service has what we changed? */
static bool is_base(const struct push_task *task, const struct item *item)
{
	const struct tree_local_item *l = &task->item;

	if (item->has_hash && l->has_base_hash)
		return memcmp(item->hash, l->base_hash, sizeof(l->base_hash)) == 0;
	if (item->ctag && l->ctag)
		return strcmp(item->ctag, l->ctag) == 0;
	return item->etag && l->etag && strcmp(item->etag, l->etag) == 0;
}

static void delete (struct push_task *task);

static void on_look(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;
	const struct tree_local_item *l = &task->item;

	task->call = NULL;
	if (result->reason == GRAPH_MISSING && l->what & LOCAL_DELETE) {
		push_end(task, PUSH_DONE);
	} else if (result->reason == GRAPH_MISSING) {
		end_gone(task, task->ask_id ? task->ask_id : l->id);
	} else if (result->error < 0 || !item) {
		push_end_result(task, result);
	} else if (task->ask_id || !is_base(task, item)) {
		task->is_kept = l->what & LOCAL_DELETE;
		end_learn(task, item);
	} else if (l->what & LOCAL_DELETE) {
		task->was_compared = true;
		delete (task);
	} else if (task->what & LOCAL_CONTENT && !task->was_compared) {
		task->was_compared = true;
		push_content_go_on(task);
	} else {
		push_end(task, PUSH_LATER);
	}
}

void push_send_look(struct push_task *task)
{
	int r = graph_get_content_info(task->push->options.graph, task->push->drive_id,
				       task->ask_id ? task->ask_id : task->item.id, HTTP_PREFETCH,
				       on_look, task, &task->call);

	if (r < 0)
		end_errno(task, r);
}

/* --- deletions --- */

static void on_deleted(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;

	task->call = NULL;
	if (result->error == 0 || result->reason == GRAPH_MISSING)
		push_end(task, PUSH_DONE);
	else
		push_end_result(task, result);
}

static void delete (struct push_task *task)
{
	int r = graph_write(task->push->options.graph, task->push->drive_id,
			    &(struct graph_op){ .kind = GRAPH_OP_DELETE,
						.id = task->item.id,
						.mtime_ns = ITEM_TIME_UNKNOWN,
						.btime_ns = ITEM_TIME_UNKNOWN },
			    HTTP_PREFETCH, on_deleted, task, &task->call);

	if (r < 0)
		end_errno(task, r);
}

static void on_full_folder(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;

	task->call = NULL;
	task->is_kept = true;
	if (result->error == 0 && item)
		end_learn(task, item);
	else if (result->reason == GRAPH_MISSING)
		push_end(task, PUSH_DONE);
	else
		push_end_result(task, result);
}

/* Deleting a folder deletes all that is in it, and somebody may have put something there. */
static void on_emptiness(void *arg, const struct graph_result *result, bool is_empty)
{
	struct push_task *task = arg;
	int r;

	task->call = NULL;
	if (result->reason == GRAPH_MISSING) {
		push_end(task, PUSH_DONE);
		return;
	}
	if (result->error < 0) {
		push_end_result(task, result);
		return;
	}
	if (is_empty) {
		delete (task);
		return;
	}
	log_warn("a folder that was deleted here is not empty at the service: it is back");
	r = graph_get_content_info(task->push->options.graph, task->push->drive_id, task->item.id,
				   HTTP_PREFETCH, on_full_folder, task, &task->call);
	if (r < 0)
		end_errno(task, r);
}

static void start_deletion(struct push_task *task)
{
	int r;

	task->what = LOCAL_DELETE;
	if (task->item.attr.kind == TREE_FILE) {
		push_send_look(task);
		return;
	}
	r = graph_get_emptiness(task->push->options.graph, task->push->drive_id, task->item.id,
				HTTP_PREFETCH, on_emptiness, task, &task->call);
	if (r < 0)
		end_errno(task, r);
}

/* --- folders, places, times --- */

static void on_folder(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;

	task->call = NULL;
	if (result->reason == GRAPH_MISSING)
		end_gone(task, task->item.parent_id);
	else
		push_end_result(task, result);
}

static void on_moved(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;
	int r;

	task->call = NULL;
	if (result->reason == GRAPH_MISSING) {
		end_gone(task, task->item.id);
		return;
	}
	if (result->error < 0) {
		push_end_result(task, result);
		return;
	}
	r = graph_get_content_info(task->push->options.graph, task->push->drive_id,
				   task->item.parent_id, HTTP_PREFETCH, on_folder, task,
				   &task->call);
	if (r < 0)
		end_errno(task, r);
}

/* The item, or the folder that it was to go to? The service does not say. */
static void find_missing(struct push_task *task)
{
	int r = graph_get_content_info(task->push->options.graph, task->push->drive_id,
				       task->item.id, HTTP_PREFETCH, on_moved, task, &task->call);

	if (r < 0)
		end_errno(task, r);
}

static void on_written(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;
	bool is_new = task->what & LOCAL_CREATE;

	task->call = NULL;
	if (result->error == 0 && !item) {
		if (is_new)
			push_send_look_by_name(task);
		else
			push_send_look(task);
	} else if (result->error == 0) {
		push_end(task, push_take_answer(task, item) < 0 ? PUSH_LATER : PUSH_DONE);
	} else if (result->reason == GRAPH_NAME_TAKEN || (is_new && result->is_unclear)) {
		push_send_look_by_name(task);
	} else if (result->reason == GRAPH_MISSING && (task->what & LOCAL_PLACE)) {
		find_missing(task);
	} else if (result->reason == GRAPH_MISSING) {
		end_gone(task, is_new ? task->item.parent_id : task->item.id);
	} else {
		push_end_result(task, result);
	}
}

static void start_write(struct push_task *task)
{
	const struct tree_local_item *l = &task->item;
	bool is_new = l->what & LOCAL_CREATE;
	struct graph_op op = {
		.kind = is_new ? GRAPH_OP_FOLDER : GRAPH_OP_PATCH,
		.id = l->id,
		.mtime_ns = ITEM_TIME_UNKNOWN,
		.btime_ns = ITEM_TIME_UNKNOWN,
	};
	int r;

	task->what = is_new ? LOCAL_CREATE : l->what & (LOCAL_PLACE | LOCAL_TIMES);
	if (task->what & (LOCAL_CREATE | LOCAL_PLACE)) {
		op.name = name_of(task);
		op.parent_id = l->parent_id;
	}
	if (task->what & LOCAL_TIMES)
		op.mtime_ns = l->attr.mtime_ns;
	r = graph_write(task->push->options.graph, task->push->drive_id, &op, HTTP_PREFETCH,
			on_written, task, &task->call);
	if (r < 0)
		end_errno(task, r);
}

void push_send_start(struct push_task *task)
{
	if (task->ask_id)
		push_send_look(task);
	else if (task->item.what & LOCAL_DELETE)
		start_deletion(task);
	else
		start_write(task);
}

void push_send_cancel(struct push_task *task)
{
	/* A task in the hands of a lane ends when it comes back. */
	if (task->call) {
		graph_cancel(take_ptr(&task->call));
		push_end(task, PUSH_DROPPED);
	} else if (task->upload && task->read_buf) {
		upload_cancel(task->upload, true);
		task->is_cancelled = true;
	} else if (task->upload) {
		upload_cancel(take_ptr(&task->upload), true);
		push_end(task, PUSH_DROPPED);
	} else if (task->is_reading && content_read_cancel(&task->read)) {
		task->is_reading = false;
		push_end(task, PUSH_DROPPED);
	}
}

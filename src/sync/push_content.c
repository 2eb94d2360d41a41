/*
 * Contents. Prepared on a lane: what of the base is missing is put in, the hash is taken, which the
 * tree remembers, so that our own content is known again should the answer be lost. Then it goes,
 * as one request or as an upload session that a restart takes up again. If somebody writes
 * meanwhile, what is read is of two states: it is given up before its last byte.
 */
#define LOG_MODULE "push"
#include "push_task.h"

#include "cache.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILL_BYTES = 1024 * 1024 };

static void prepare(struct push_task *task);

static void fail(struct push_task *task, int r)
{
	task->error = r;
	snprintf(task->text, sizeof(task->text), "%s", strerror(-r));
	/* Written to again, or the disk is in trouble: later. */
	push_end(task, r == -ESTALE || r == -EUCLEAN ? PUSH_FAILED : PUSH_LATER);
}

static bool is_ending(struct push_task *task)
{
	if (!task->push->is_closing)
		return false;
	push_end(task, PUSH_DROPPED);
	return true;
}

/* --- the answer --- */

static void on_sent(void *arg, const struct graph_result *result, const struct item *item)
{
	struct push_task *task = arg;
	bool is_new = task->what & LOCAL_CREATE;

	task->call = NULL;
	task->upload = NULL;
	free(take_ptr(&task->body));
	if (task->job_error == -ECANCELED) {
		push_end(task, PUSH_DROPPED);
	} else if (task->job_error < 0) {
		fail(task, task->job_error);
	} else if (result->error == 0 && item) {
		push_end(task, push_take_answer(task, item) < 0 ? PUSH_LATER : PUSH_DONE);
	} else if (is_new && (result->error == 0 || result->is_unclear ||
			      result->reason == GRAPH_NAME_TAKEN)) {
		push_send_look_by_name(task);
	} else if (result->error == 0 || result->is_unclear || result->reason == GRAPH_CHANGED) {
		/* Once more only if it was not this that made us look. */
		if (task->was_compared && result->reason == GRAPH_CHANGED)
			push_end(task, PUSH_LATER);
		else
			push_send_look(task);
	} else if (result->reason == GRAPH_MISSING) {
		task->gone_id = strdup(is_new ? task->item.parent_id : task->item.id);
		push_end(task, task->gone_id ? PUSH_GONE : PUSH_LATER);
	} else {
		push_end_result(task, result);
	}
}

/* --- sending --- */

static void put(struct push_task *task)
{
	const struct tree_local_item *l = &task->item;
	bool is_new = task->what & LOCAL_CREATE;
	int r = graph_put_content(
		task->push->options.graph,
		&(struct graph_put){
			.drive_id = task->push->drive_id,
			.id = is_new ? l->parent_id : l->id,
			.name = is_new ? l->name : NULL,
			.conflict = is_new ? GRAPH_CONFLICT_FAIL : GRAPH_CONFLICT_REPLACE,
			.if_match = is_new || task->was_compared ? NULL
				    : l->ctag                    ? l->ctag
								 : l->etag,
			.body = task->body,
			.body_len = (size_t)task->size,
		},
		HTTP_PREFETCH, on_sent, task, &task->call);

	if (r < 0)
		fail(task, r);
}

static void read_chunk(void *arg)
{
	struct push_task *task = arg;
	ssize_t got = draft_read(task->draft, task->read_off, task->read_buf, task->read_len);

	/* In this order: what was read before the same number was of that state. */
	if (got >= 0 && (size_t)got < task->read_len)
		task->job_error = -EIO;
	else
		task->job_error = got < 0 ? (int)got : 0;
	if (draft_version(task->draft) != task->version)
		task->job_error = -ECANCELED;
}

static void chunk_read(void *arg)
{
	struct push_task *task = arg;

	task->read_buf = NULL;
	if (task->is_cancelled) {
		upload_answer(take_ptr(&task->upload), -ECANCELED);
		push_end(task, PUSH_DROPPED);
		return;
	}
	upload_answer(task->upload, task->job_error);
}

static void on_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct push_task *task = arg;

	task->read_off = off;
	task->read_buf = buf;
	task->read_len = len;
	lane_push(task->push->lane, &task->job, read_chunk, chunk_read, task);
}

struct progress {
	struct lane_job job;
	struct tree *tree;
	uint64_t ino, cid;
	char *url;
};

static void save_progress(void *arg)
{
	struct progress *p = arg;

	if (tree_local_set_session(p->tree, p->ino, p->cid, p->url) < 0)
		log_warn("an upload cannot be taken up again after a restart");
	free(p->url);
	free(p);
}

/* Is url what the tree has for this content? */
static bool is_session_of(const struct tree_local_item *item, const char *url)
{
	if (!url || !item->session)
		return !url && !item->session;
	return item->session_cid == item->attr.cid && strcmp(url, item->session) == 0;
}

static void on_progress(void *arg, const char *url, uint64_t sent_bytes)
{
	struct push_task *task = arg;
	struct progress *p;

	/* How far it is the service says. */
	if (is_session_of(&task->item, url))
		return;
	p = calloc(1, sizeof(*p));
	free(task->item.session);
	task->item.session = url ? strdup(url) : NULL;
	task->item.session_cid = task->item.attr.cid;
	if (!p)
		return;
	p->tree = task->push->options.tree;
	p->ino = task->item.attr.ino;
	p->cid = task->item.attr.cid;
	p->url = url ? strdup(url) : NULL;
	lane_push(task->push->options.store_lane, &p->job, save_progress, NULL, p);
}

static void upload(struct push_task *task)
{
	const struct tree_local_item *l = &task->item;
	bool is_new = task->what & LOCAL_CREATE;
	int r;

	task->what |= LOCAL_TIMES;
	r = upload_start(
		task->push->uploads,
		&(struct upload_spec){
			.drive_id = task->push->drive_id,
			.id = is_new ? l->parent_id : l->id,
			.name = is_new ? l->name : NULL,
			.conflict = is_new ? GRAPH_CONFLICT_FAIL : GRAPH_CONFLICT_REPLACE,
			.if_match = is_new || task->was_compared ? NULL
				    : l->ctag                    ? l->ctag
								 : l->etag,
			.mtime_ns = l->attr.mtime_ns,
			.btime_ns = ITEM_TIME_UNKNOWN,
			.size = task->size,
			.url = l->session && l->session_cid == l->attr.cid ? l->session : NULL,
			.priority = HTTP_PREFETCH,
			.read = on_read,
			.on_progress = on_progress,
			.on_done = on_sent,
			.arg = task,
		},
		&task->upload);
	if (r < 0)
		fail(task, r);
}

void push_content_go_on(struct push_task *task)
{
	prepare(task);
}

/* --- preparing --- */

static void hash_known(void *arg)
{
	struct push_task *task = arg;

	if (is_ending(task))
		return;
	if (task->job_error < 0)
		fail(task, task->job_error);
	else if (task->size <= GRAPH_PUT_MAX)
		put(task);
	else
		upload(task);
}

/* Store lane. */
static void save_hash(void *arg)
{
	struct push_task *task = arg;

	task->job_error =
		tree_local_sending(task->push->options.tree, task->item.attr.ino, task->hash);
}

static int read_small(struct push_task *task)
{
	ssize_t got = 0;

	task->body = malloc(task->size > 0 ? (size_t)task->size : 1);
	if (!task->body)
		return -ENOMEM;
	if (task->draft)
		got = draft_read(task->draft, 0, task->body, (size_t)task->size);
	return got < 0 ? (int)got : (uint64_t)got == task->size ? 0 : -EAGAIN;
}

static int hash_draft(struct push_task *task)
{
	struct quickxor x;

	if (task->draft)
		return draft_hash(task->draft, task->hash);
	quickxor_init(&x);
	quickxor_finish(&x, 0, task->hash);
	return 0;
}

static int prepare_empty(struct push_task *task)
{
	int r = hash_draft(task);

	return r < 0 ? r : read_small(task);
}

/* Push lane. -ENODATA: something of the base is missing. */
static int prepare_draft(struct push_task *task)
{
	struct push *push = task->push;
	int r;

	if (!task->draft) {
		r = draft_open(push->options.drafts, task->item.attr.cid, &task->draft);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	/* A new file that nobody wrote to. */
	if (!task->draft)
		return task->item.attr.size > 0 ? -EUCLEAN : prepare_empty(task);
	task->version = draft_version(task->draft);
	task->size = draft_size(task->draft);
	if (draft_next_missing(task->draft, 0, &task->fill_off, &task->fill_len))
		return -ENODATA;
	r = hash_draft(task);
	if (r == 0 && task->size <= GRAPH_PUT_MAX)
		r = read_small(task);
	return r == 0 && draft_version(task->draft) != task->version ? -EAGAIN : r;
}

static void prepare_on_lane(void *arg)
{
	struct push_task *task = arg;

	task->job_error = prepare_draft(task);
}

static void fill(struct push_task *task);

static void prepared(void *arg)
{
	struct push_task *task = arg;

	if (is_ending(task))
		return;
	if (task->job_error == -ENODATA)
		fill(task);
	else if (task->job_error < 0)
		fail(task, task->job_error);
	else
		lane_push(task->push->options.store_lane, &task->job, save_hash, hash_known, task);
}

static void prepare(struct push_task *task)
{
	lane_push(task->push->lane, &task->job, prepare_on_lane, prepared, task);
}

/* --- what of the base is missing --- */

static void fill_on_lane(void *arg)
{
	struct push_task *task = arg;

	task->job_error =
		draft_fill(task->draft, task->fill_off, task->body, (size_t)task->fill_len);
	free(take_ptr(&task->body));
	if (task->job_error == 0)
		task->job_error = prepare_draft(task);
}

static void got_base(void *arg)
{
	struct push_task *task = arg;

	task->is_reading = false;
	if (is_ending(task))
		return;
	if (task->job_error < 0) {
		free(take_ptr(&task->body));
		fail(task, task->job_error);
		return;
	}
	lane_push(task->push->lane, &task->job, fill_on_lane, prepared, task);
}

static void on_base_read(struct content_read *read, ssize_t got)
{
	struct push_task *task = container_of(read, struct push_task, read);

	/* The base is shorter than the draft believes: asking again would bring no more. */
	task->job_error = got < 0 ? (int)got : got == 0 ? -EIO : 0;
	if (got > 0)
		task->fill_len = (uint64_t)got;
	if (loop_post_new(task->push->options.loop, got_base, task) < 0)
		abort();
}

static void fill(struct push_task *task)
{
	bool is_parked, keep_cache;
	ssize_t got;
	int r = 0;

	if (!task->base)
		r = content_open(task->push->options.content, task->item.attr.ino, &task->base,
				 &keep_cache);
	if (r != 0) {
		fail(task, r < 0 ? r : -EAGAIN);
		return;
	}
	/* Nothing ahead: what comes next may be written already. */
	content_set_background(task->base, UINT64_MAX);
	if (task->fill_len > FILL_BYTES)
		task->fill_len = FILL_BYTES;
	task->body = malloc((size_t)task->fill_len);
	if (!task->body) {
		fail(task, -ENOMEM);
		return;
	}
	task->read = (struct content_read){
		.h = task->base,
		.off = task->fill_off,
		.len = (size_t)task->fill_len,
		.buf = task->body,
		.done = on_base_read,
	};
	task->is_reading = true;
	got = content_read_start(&task->read, &is_parked);
	if (!is_parked) {
		task->is_reading = false;
		on_base_read(&task->read, got);
	}
}

void push_content_start(struct push_task *task)
{
	task->what = task->item.what & (LOCAL_CREATE | LOCAL_CONTENT);
	prepare(task);
}

/* --- into the cache --- */

static int copy_blocks(int fd, struct cache_file *f, uint64_t size)
{
	auto_free char *block = malloc(CACHE_BLOCK_BYTES);
	int r = block ? 0 : -ENOMEM;

	for (uint64_t at = 0; r == 0 && at < size; at += CACHE_BLOCK_BYTES) {
		size_t len =
			size - at < CACHE_BLOCK_BYTES ? (size_t)(size - at) : CACHE_BLOCK_BYTES;

		if (pread(fd, block, len, (off_t)at) != (ssize_t)len)
			r = -EIO;
		else if (!cache_has_block(f, at / CACHE_BLOCK_BYTES))
			r = cache_write(f, at / CACHE_BLOCK_BYTES, block, len);
	}
	return r;
}

static int copy_to_cache(struct push_task *task, const char *name)
{
	const struct push_options *o = &task->push->options;
	auto_close int fd = openat(o->sent_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct cache_file *f;
	int r;

	if (fd < 0)
		return -errno;
	r = cache_open(o->cache, task->item.attr.cid, task->size, task->hash, &f);
	if (r < 0)
		return r;
	r = copy_blocks(fd, f, task->size);
	cache_close(f);
	return r;
}

void push_content_keep(struct push_task *task)
{
	const struct push_options *o = &task->push->options;
	char name[17];
	int r;

	if (task->base)
		content_close(take_ptr(&task->base));
	snprintf(name, sizeof(name), "%016" PRIx64, task->item.attr.cid);
	r = draft_take(task->draft, task->version, o->sent_fd, name);
	/* Somebody has it open: it is removed at the next start. */
	if (r < 0) {
		log_debug("a content that was sent stays where it is: %s", strerror(-r));
		return;
	}
	r = o->cache && task->size > 0 ? copy_to_cache(task, name) : 0;
	if (r < 0)
		log_info("a content that was sent is not cached: %s", strerror(-r));
	(void)unlinkat(o->sent_fd, name, 0);
}

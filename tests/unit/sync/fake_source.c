#include "fake_source.h"

#include "quickxor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* This file's own: the source decides what a call is. */
struct graph_call {
	struct list node;
	struct loop_call turn;
	struct fake_source *fake;
	bool is_cancelled;
	graph_item_fn fn; /* NULL: content */
	void *arg;
	bool is_url;
	struct graph_content spec;
	uint64_t at;
	bool had_head, is_cut, is_damaged;
	int version;
};

char fake_byte(int version, uint64_t off)
{
	return (char)((unsigned)version * 37 + off % 253 + off / 4096);
}

bool fake_is_right(int version, uint64_t off, const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (buf[i] != fake_byte(version, off + i))
			return false;
	}
	return true;
}

void fake_hash(int version, uint64_t size, uint8_t ret[20])
{
	char buf[4096];
	struct quickxor x;

	quickxor_init(&x);
	for (uint64_t off = 0; off < size; off += sizeof(buf)) {
		size_t n = size - off < sizeof(buf) ? (size_t)(size - off) : sizeof(buf);

		for (size_t i = 0; i < n; i++)
			buf[i] = fake_byte(version, off + i);
		quickxor_add(&x, off, buf, n);
	}
	quickxor_finish(&x, size, ret);
}

static void answer_item(void *arg)
{
	struct graph_call *call = arg;
	struct fake_source *fake = call->fake;
	struct graph_result result = { .status = 200 };
	struct item item = {
		.id = "ID",
		.etag = fake->etag,
		.ctag = fake->ctag[0] ? fake->ctag : NULL,
		.size = (int64_t)fake->size,
		.mtime_ns = fake->mtime_ns,
		.kind = ITEM_FILE,
		.download_url = call->is_url || !fake->has_no_url ? "https://host/secret" : NULL,
	};

	if (!call->is_cancelled && fake->info_errors_n > 0) {
		fake->info_errors_n--;
		result.error = fake->info_error;
		result.is_offline = fake->info_error == -ENETDOWN;
		call->fn(call->arg, &result, NULL);
	} else if (!call->is_cancelled) {
		call->fn(call->arg, &result, &item);
	}
	free(call);
}

static int answer_head(struct graph_call *call)
{
	struct fake_source *fake = call->fake;
	const char *etag = fake->content_etag[0] ? fake->content_etag : fake->etag;

	call->had_head = true;
	call->version = fake->version;
	if (fake->content_errors_n > 0) {
		fake->content_errors_n--;
		return fake->content_error;
	}
	if (fake->truncate_n > 0) {
		fake->truncate_n--;
		call->is_cut = true;
	}
	if (fake->damage_n > 0) {
		fake->damage_n--;
		call->is_damaged = true;
	}
	return call->spec.on_head(call->spec.arg,
				  fake->content_total ? fake->content_total : fake->size,
				  strcmp(etag, "-") == 0 ? NULL : etag);
}

/* Some bytes; 1: it is over, -errno. */
static int answer_piece(struct graph_call *call)
{
	static char piece[100000];
	uint64_t left = call->spec.len - call->at;
	size_t n = left < sizeof(piece) ? (size_t)left : sizeof(piece);
	int r;

	if (call->is_cut && call->at + n > call->fake->truncate_at)
		return -EBADMSG;
	for (size_t i = 0; i < n; i++)
		piece[i] = fake_byte(call->version, call->spec.off + call->at + i);
	if (call->is_damaged && call->at == 0)
		piece[n / 2] ^= 1;
	r = call->spec.on_data(call->spec.arg, piece, n);
	call->at += n;
	if (r < 0)
		return r;
	return call->at == call->spec.len;
}

static void answer_content(void *arg)
{
	struct graph_call *call = arg;
	int r = 0;

	if (call->is_cancelled) {
		free(call);
		return;
	}
	if (!call->had_head)
		r = answer_head(call);
	if (r == 0)
		r = answer_piece(call);
	if (r == 0) {
		loop_post(call->fake->loop, &call->turn, answer_content, call);
		return;
	}
	call->spec.on_done(call->spec.arg, r < 0 ? r : 0);
	free(call);
}

static struct graph_call *new_call(struct fake_source *fake)
{
	struct graph_call *call = calloc(1, sizeof(*call));

	list_init(&call->node);
	call->fake = fake;
	return call;
}

static int get_item(struct fake_source *fake, bool is_url, enum http_priority priority,
		    graph_item_fn fn, void *arg, struct graph_call **ret)
{
	struct graph_call *call = new_call(fake);

	fake->later_n += priority != HTTP_PERSON;
	call->fn = fn;
	call->arg = arg;
	call->is_url = is_url;
	if (fake->is_holding_items)
		list_add_tail(&fake->held_items, &call->node);
	else
		loop_post(fake->loop, &call->turn, answer_item, call);
	*ret = call;
	return 0;
}

static int get_info(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		    graph_item_fn fn, void *fn_arg, struct graph_call **ret)
{
	struct fake_source *fake = arg;

	fake->infos_n++;
	return get_item(fake, false, priority, fn, fn_arg, ret);
}

static int get_url(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		   graph_item_fn fn, void *fn_arg, struct graph_call **ret)
{
	struct fake_source *fake = arg;

	fake->urls_n++;
	return get_item(fake, true, priority, fn, fn_arg, ret);
}

static int get_content(void *arg, const struct graph_content *spec, struct graph_call **ret)
{
	struct fake_source *fake = arg;
	struct graph_call *call = new_call(fake);

	fake->contents_n++;
	fake->later_n += spec->priority != HTTP_PERSON;
	call->spec = *spec;
	if (fake->is_holding)
		list_add_tail(&fake->held, &call->node);
	else
		loop_post(fake->loop, &call->turn, answer_content, call);
	*ret = call;
	return 0;
}

static void cancel(void *arg, struct graph_call *call)
{
	struct fake_source *fake = arg;

	fake->cancelled_n++;
	call->is_cancelled = true;
	if (!list_empty(&call->node)) {
		list_del(&call->node);
		free(call);
	}
}

struct fetch_source fake_ops(struct fake_source *fake)
{
	return (struct fetch_source){
		.arg = fake,
		.get_info = get_info,
		.get_url = get_url,
		.get_content = get_content,
		.cancel = cancel,
	};
}

void fake_release(struct fake_source *fake)
{
	fake->is_holding = false;
	list_for_each_safe (&fake->held, pos) {
		struct graph_call *call = container_of(pos, struct graph_call, node);

		list_del(pos);
		loop_post(fake->loop, &call->turn, answer_content, call);
	}
}

void fake_release_items(struct fake_source *fake)
{
	fake->is_holding_items = false;
	list_for_each_safe (&fake->held_items, pos) {
		struct graph_call *call = container_of(pos, struct graph_call, node);

		list_del(pos);
		loop_post(fake->loop, &call->turn, answer_item, call);
	}
}

void fake_change(struct fake_source *fake)
{
	fake->version++;
	fake->mtime_ns++;
	snprintf(fake->etag, sizeof(fake->etag), "\"e%d\"", fake->version);
	snprintf(fake->ctag, sizeof(fake->ctag), "\"c%d\"", fake->version);
}

struct request {
	struct fake_source *fake;
	void (*fn)(struct fake_source *fake);
	sem_t done;
	struct loop_call call;
};

static void on_request(void *arg)
{
	struct request *request = arg;

	request->fn(request->fake);
	sem_post(&request->done);
}

void fake_do(struct fake_source *fake, void (*fn)(struct fake_source *fake))
{
	struct request request = { .fake = fake, .fn = fn };

	sem_init(&request.done, 0, 0);
	loop_post(fake->loop, &request.call, on_request, &request);
	while (sem_wait(&request.done) < 0 && errno == EINTR)
		;
	sem_destroy(&request.done);
}

static void *run_loop(void *arg)
{
	struct fake_source *fake = arg;

	return (void *)(intptr_t)loop_run(fake->loop);
}

void fake_init(struct fake_source *fake, uint64_t size)
{
	*fake = (struct fake_source){ .size = size };
	list_init(&fake->held);
	list_init(&fake->held_items);
	fake_change(fake);
	if (loop_new(&fake->loop) < 0)
		abort();
}

void fake_start(struct fake_source *fake)
{
	if (pthread_create(&fake->thread, NULL, run_loop, fake) != 0)
		abort();
}

void fake_stop(struct fake_source *fake)
{
	loop_stop(fake->loop);
	pthread_join(fake->thread, NULL);
}

void fake_fini(struct fake_source *fake)
{
	loop_free(fake->loop);
}

/* The service of an inner mount: a table, asked on the loop thread. */
#include "inner_parts.h"

#include "item.h"
#include "loop.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* This file's own: the source decides what a call is. */
struct graph_call {
	struct inner *in;
	bool is_cancelled;
	graph_item_fn fn;
	void *arg;
	int item;
	struct graph_content spec;
	int version;
};

char inner_letter_of(int version)
{
	return (char)('a' + version % 26);
}

static struct inner_item get_item(struct inner *in, int at)
{
	struct inner_item item;

	pthread_mutex_lock(&in->lock);
	item = in->items[at];
	pthread_mutex_unlock(&in->lock);
	return item;
}

static void answer_info(void *arg)
{
	struct graph_call *call = arg;
	const struct graph_result result = { .status = 200 };
	const struct inner_item now = get_item(call->in, call->item);
	char id[16], tag[32], url[64];
	struct item item = {
		.id = id,
		.etag = tag,
		.ctag = tag,
		.size = (int64_t)now.size,
		.mtime_ns = now.mtime_s * 1000000000,
		.kind = ITEM_FILE,
		.download_url = url,
	};

	snprintf(id, sizeof(id), "I%d", call->item);
	snprintf(tag, sizeof(tag), "\"%d-%d\"", call->item, now.version);
	snprintf(url, sizeof(url), "https://content.test/%d", call->item);
	if (!call->is_cancelled)
		call->fn(call->arg, &result, &item);
	free(call);
}

static void answer_content(void *arg)
{
	struct graph_call *call = arg;
	const struct graph_content *spec = &call->spec;
	const struct inner_item now = get_item(call->in, call->item);
	char *data = malloc(spec->len + 1), tag[32];
	int r;

	assert_non_null(data);
	snprintf(tag, sizeof(tag), "\"%d-%d\"", call->item, now.version);
	memset(data, inner_letter_of(now.version), spec->len);
	if (!call->is_cancelled) {
		r = spec->on_head(spec->arg, now.size, tag);
		if (r == 0)
			r = spec->on_data(spec->arg, data, spec->len);
		spec->on_done(spec->arg, r < 0 ? r : 0);
	}
	free(data);
	free(call);
}

static struct graph_call *new_call(struct inner *in, const char *id)
{
	struct graph_call *call = calloc(1, sizeof(*call));

	assert_non_null(call);
	call->in = in;
	call->item = atoi(id);
	return call;
}

static int get_info(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		    graph_item_fn fn, void *fn_arg, struct graph_call **ret)
{
	struct inner *in = arg;
	struct graph_call *call = new_call(in, id + 1);

	call->fn = fn;
	call->arg = fn_arg;
	*ret = call;
	return loop_post_new(in->loop, answer_info, call);
}

static int get_content(void *arg, const struct graph_content *spec, struct graph_call **ret)
{
	struct inner *in = arg;
	struct graph_call *call = new_call(in, strrchr(spec->url, '/') + 1);

	call->spec = *spec;
	*ret = call;
	return loop_post_new(in->loop, answer_content, call);
}

static void cancel(void *arg, struct graph_call *call)
{
	call->is_cancelled = true;
}

static int get_children(void *arg, const char *id, const char *link, enum http_priority priority,
			graph_page_fn fn, void *fn_arg, struct graph_call **ret)
{
	struct inner *in = arg;

	pthread_mutex_lock(&in->lock);
	in->listing_fn = fn;
	in->listing_arg = fn_arg;
	pthread_mutex_unlock(&in->lock);
	*ret = (struct graph_call *)in;
	return 0;
}

static void cancel_children(struct graph_call *call)
{
	struct inner *in = (struct inner *)call;

	pthread_mutex_lock(&in->lock);
	in->listing_fn = NULL;
	pthread_mutex_unlock(&in->lock);
}

static void fail_listing(void *arg)
{
	struct inner *in = arg;
	const struct graph_result result = { .error = -EIO, .text = "refused" };
	graph_page_fn fn;

	pthread_mutex_lock(&in->lock);
	fn = in->listing_fn;
	in->listing_fn = NULL;
	pthread_mutex_unlock(&in->lock);
	if (fn)
		fn(in->listing_arg, &result, NULL);
}

void inner_list(struct inner *in)
{
	assert_int_equal(loop_post_new(in->loop, fail_listing, in), 0);
}

struct fetch_source inner_fetch_source(struct inner *in)
{
	return (struct fetch_source){
		.arg = in,
		.get_info = get_info,
		.get_url = get_info,
		.get_content = get_content,
		.cancel = cancel,
	};
}

struct source inner_source(struct inner *in)
{
	return (struct source){
		.arg = in,
		.get_children = get_children,
		.cancel = cancel_children,
	};
}

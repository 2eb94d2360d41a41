#define LOG_MODULE "content"
#include "graph_call.h"

#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* RFC 9110, 14.4: "bytes a-b/total". */
static int parse_content_range(const char *text, uint64_t *ret_first, uint64_t *ret_last,
			       uint64_t *ret_total)
{
	int end = 0;

	if (!text || sscanf(text, "bytes %" SCNu64 "-%" SCNu64 "/%" SCNu64 "%n", ret_first,
			    ret_last, ret_total, &end) != 3)
		return -EBADMSG;
	if (text[end] != '\0' || strchr(text, '+') || strstr(text, "--") ||
	    *ret_last < *ret_first || *ret_last >= *ret_total || *ret_total > INT64_MAX)
		return -EBADMSG;
	return 0;
}

static int refuse(struct graph_call *call, const char *why)
{
	log_warn("%s: malformed reply: %s", log_url(call->url), why);
	return -EBADMSG;
}

static int on_range_head(struct graph_call *call, const struct http_head *head)
{
	const struct graph_content *c = &call->content;
	uint64_t first, last;

	if (parse_content_range(head->content_range, &first, &last, &call->total) < 0)
		return refuse(call, "Content-Range is missing or malformed");
	if (first != c->off || last - first + 1 > c->len)
		return refuse(call, "Content-Range is not what was asked for");
	/* Fewer bytes than asked for are in order only at the end of the content. */
	if (last - first + 1 < c->len && last + 1 != call->total)
		return refuse(call, "Content-Range ends before its time");
	call->left = last - first + 1;
	/* A body of another length than its range says belongs to something else. */
	if (head->content_length >= 0 && (uint64_t)head->content_length != call->left)
		return refuse(call, "Content-Length contradicts Content-Range");
	return 0;
}

/* The host ignored the range and sends everything: allowed, so the front is skipped. */
static int on_whole_head(struct graph_call *call, const struct http_head *head)
{
	const struct graph_content *c = &call->content;

	if (head->content_length < 0)
		return refuse(call, "all of the content without a Content-Length");
	call->total = (uint64_t)head->content_length;
	if (c->off > call->total)
		return -ERANGE;
	call->skip = c->off;
	call->left = c->len < call->total - c->off ? c->len : call->total - c->off;
	return 0;
}

static int on_head(void *arg, const struct http_head *head)
{
	struct graph_call *call = arg;
	int r;

	switch (head->status) {
	case 206:
		r = on_range_head(call, head);
		break;
	case 200:
		r = on_whole_head(call, head);
		break;
	case 401:
	case 403:
	case 404:
	case 410:
		return -ESTALE;
	case 416:
		return -ERANGE;
	default:
		(void)graph_call_note_throttle(call->graph, head);
		if (head->status >= 500 || head->status == 429)
			return -EAGAIN;
		return refuse(call, "neither content nor an error of it");
	}
	return r < 0 ? r : call->content.on_head(call->content.arg, call->total, head->etag);
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct graph_call *call = arg;
	size_t skip = call->skip < len ? (size_t)call->skip : len, n;

	call->skip -= skip;
	data = (const char *)data + skip;
	len -= skip;
	n = call->left < len ? (size_t)call->left : len;
	call->left -= n;
	/* ECANCELED: all that was asked for is here, the rest of a 200 is not wanted. */
	if (n > 0) {
		int r = call->content.on_data(call->content.arg, data, n);

		if (r < 0)
			return r;
	}
	return len > n ? -ECANCELED : 0;
}

static void on_done(void *arg, int error, const struct http_head *head, const char *body,
		    size_t len)
{
	struct graph_call *call = arg;

	call->request = NULL;
	if (head && call->graph->is_reachable == false)
		graph_call_note_reachable(call->graph, true);
	if (error == -ECANCELED && call->left == 0)
		error = 0;
	if (error == 0 && call->left > 0)
		error = refuse(call, "content is shorter than its length");
	else if (error < 0)
		log_debug("%s: %s", log_url(call->url), strerror(-error));
	call->content.on_done(call->content.arg, error);
	graph_call_free(call);
}

static bool unused_finish(struct graph_call *call, struct graph_result *result, const char *body,
			  size_t len)
{
	call->content.on_done(call->content.arg, result->error);
	return true;
}

int graph_get_content(struct graph *graph, const struct graph_content *spec,
		      struct graph_call **ret)
{
	char range[80];
	const char *const headers[] = { range, NULL };
	struct graph_call *call;
	char *url;
	int r;

	if (spec->len == 0 || spec->off > INT64_MAX || spec->len > INT64_MAX - spec->off)
		return -EINVAL;
	url = strdup(spec->url);
	call = url ? graph_call_new(graph, url, spec->priority) : NULL;
	if (!call)
		return -ENOMEM;
	call->content = *spec;
	call->content.url = NULL;
	call->finish = unused_finish;
	snprintf(range, sizeof(range), "Range: bytes=%" PRIu64 "-%" PRIu64, spec->off,
		 spec->off + spec->len - 1);
	r = http_start(graph->http,
		       &(struct http_spec){
			       .method = "GET",
			       .url = call->url,
			       .headers = headers,
			       .priority = spec->priority,
			       .host_class = HTTP_CONTENT,
			       .stall_ms = spec->stall_ms,
			       /* A 200 may bring all of a large file; it is cut by on_data. */
			       .max_body = SIZE_MAX,
			       .on_head = on_head,
			       .on_data = on_data,
			       .on_done = on_done,
			       .arg = call,
		       },
		       &call->request);
	if (r < 0) {
		graph_call_free(call);
		return r;
	}
	*ret = call;
	return 0;
}

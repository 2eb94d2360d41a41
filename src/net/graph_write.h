/*
 * Microsoft Graph: the requests that change something. As those of graph.h: loop thread only,
 * every callback runs on it, once, never from inside the call that started it, and not after
 * graph_cancel(). Contents that are too large for one request: upload.h.
 *
 * What is sent again, and by whom. These requests are sent again here when the service has done
 * nothing for certain: it could not be reached at all, it refused the token (once), or it asked to
 * wait (Retry-After, which all requests obey). A DELETE, which comes to the same when it is sent
 * twice, is also sent again after a lost answer or a fault of the service. Everything else is not:
 * then result->is_unclear says that the request may have taken effect, and the caller has to look
 * (graph_get_child(), graph_get_content_info()) before he decides to send it again. What was sent
 * but cancelled is unclear, too.
 *
 * When it took effect but the service did not say how the item is now, error is 0 and item NULL.
 *
 * The service is behind its own writes: a folder or item that was just made can be answered by
 * -ENOENT for seconds, sometimes minutes. Nobody waits for that here.
 *
 * Tags go into If-Match as the service gave them (an eTag, or a cTag: then only content counts);
 * one that could not be a header is -EINVAL at the start. Names are checked here only for staying
 * names in a URL; itemname.h knows the service's rules.
 *
 * Source: learn.microsoft.com/graph driveitem-post-children, -put-content, -update, -move, -delete,
 * -copy, json-batching.
 */
#pragma once

#include "graph.h"

/* What happens when another item has the name. */
enum graph_conflict { GRAPH_CONFLICT_FAIL, GRAPH_CONFLICT_REPLACE };

enum graph_op_kind {
	GRAPH_OP_FOLDER, /* make a folder: parent_id, name; REPLACE gives one that is there */
	GRAPH_OP_PATCH,  /* change an item: id, and what of name, parent_id and times is given */
	GRAPH_OP_DELETE, /* id: into the recycle bin, with all that is in it */
};

struct graph_op {
	enum graph_op_kind kind;
	const char *id;
	const char *name;
	const char *parent_id;      /* the root by its real id, not "root" */
	int64_t mtime_ns, btime_ns; /* whole seconds are kept; ITEM_TIME_UNKNOWN: as it is */
	const char *if_match;       /* NULL: whatever it is. Of a DELETE, business drives answer 412
				     * even when it is right */
	/* FOLDER, PATCH. With REPLACE a file takes the place of a file; folders are -EEXIST. */
	enum graph_conflict conflict;
};

/* One change. A DELETE of what is not there is done: error 0 with status 404 (which may be the
 * service's lag when the item is new). Strings are copied. */
must_check int graph_write(struct graph *graph, const char *drive_id, const struct graph_op *op,
			   enum http_priority priority, graph_item_fn fn, void *arg,
			   struct graph_call **ret);

/*
 * Up to GRAPH_BATCH_MAX changes in one request. They are independent: done in any order, each with
 * an answer of its own; n is that of the ops, in their order. When the request failed as a whole
 * every answer says so. An answer that is missing is unclear. Nothing is sent again for a part of
 * them: a refusal to one stops all requests for as long as it asks, and is the caller's to repeat.
 */
enum { GRAPH_BATCH_MAX = 20 };
struct graph_answer {
	struct graph_result result;
	struct item *item; /* NULL: failed, a DELETE, or not told; the caller may move it out */
};
typedef void (*graph_batch_fn)(void *arg, struct graph_answer *answers, size_t n);
must_check int graph_write_batch(struct graph *graph, const char *drive_id,
				 const struct graph_op *ops, size_t n, enum http_priority priority,
				 graph_batch_fn fn, void *arg, struct graph_call **ret);

/* All of the content of a file, at most GRAPH_PUT_MAX bytes; also the only way for an empty one.
 * Times cannot be sent along; a GRAPH_OP_PATCH after it makes a second version on business drives.
 */
enum { GRAPH_PUT_MAX = 4 * 1024 * 1024 };
struct graph_put {
	const char *drive_id;
	const char *id;   /* the file; with a name: the folder that it is in, or shall be */
	const char *name; /* NULL: id is the file */
	enum graph_conflict conflict;
	const char *if_match;
	const void *body;      /* the caller keeps it until fn has run, or graph_cancel() */
	size_t body_len;       /* more than GRAPH_PUT_MAX is -EFBIG */
	uint64_t send_bytes_s; /* no faster; 0: as fast as it goes */
};
must_check int graph_put_content(struct graph *graph, const struct graph_put *put,
				 enum http_priority priority, graph_item_fn fn, void *arg,
				 struct graph_call **ret);

/*
 * A copy made by the service, of a file or a folder, within a drive or across. Asks how far it is
 * until it has ended, for GRAPH_COPY_MS at most; then fetches the new item. The copy has the time
 * at which it was made. Unclear: the service took the order, and then nothing could be learnt.
 */
enum { GRAPH_COPY_MS = 30 * 60 * 1000 };
struct graph_copy;
struct graph_copy_spec {
	const char *drive_id, *id;
	const char *to_drive_id, *to_parent_id, *to_name;
	enum http_priority priority;
	void (*on_progress)(void *arg, double percent); /* may be NULL */
	graph_item_fn fn;
	void *arg;
};
must_check int graph_copy_start(struct graph *graph, const struct graph_copy_spec *spec,
				struct graph_copy **ret);
/* The service goes on with what it was told. Not from inside on_progress. NULL-safe. */
void graph_copy_cancel(struct graph_copy *copy);

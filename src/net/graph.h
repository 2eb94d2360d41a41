/*
 * Microsoft Graph: the requests that graphfs makes, with what every one of them needs: the bearer,
 * one renewal after a 401, the service's Retry-After for the whole client, bounded and jittered
 * retries of what is idempotent, deadlines, and one table from Graph's errors to errno.
 * What changes something is in graph_write.h.
 * Loop thread only; every callback runs on it, never from inside the call that started it.
 *
 * Links from the service (next link, delta link, 410's Location) are asked only at the origin of
 * the configured base, because the bearer goes with them. Pre-authenticated URLs never get it.
 *
 * Deadlines: a person's request ends within GRAPH_PERSON_MS, retries and waiting included.
 *
 * A reply that cannot be believed is asked for once more. A page with items that cannot is asked
 * for up to three times more; items that stay so are left to the caller in page->bad, with a
 * warning that names each once. An item that was left out before is not waited for again.
 */
#pragma once

#include "auth.h"
#include "http.h"
#include "item.h"
#include "loop.h"

#include <stdbool.h>
#include <stdint.h>

struct graph;
struct graph_call; /* one request with its retries */

enum { GRAPH_PERSON_MS = 9000, GRAPH_BACKGROUND_MS = 90000 };

must_check int graph_new(struct loop *loop, struct http *http, struct auth *auth,
			 const char *base_url, struct graph **ret);
/* Calls must be done or cancelled. NULL-safe. */
void graph_free(struct graph *graph);

/* Why a request failed, where errno is too coarse to tell what to do about it. */
enum graph_reason {
	GRAPH_FINE,
	GRAPH_NO_REPLY,   /* none came, or none that can be believed */
	GRAPH_SIGN_IN,    /* 401: not before the user has signed in again */
	GRAPH_FORBIDDEN,  /* 403: not for this user, or not on this drive */
	GRAPH_MISSING,    /* 404 */
	GRAPH_NAME_TAKEN, /* 409: another item has the name */
	GRAPH_CHANGED,    /* 412: If-Match is not what the item is */
	GRAPH_LOCKED,     /* 423: somebody has it open, or checked out */
	GRAPH_FULL,       /* 507: quota, or as many items as there may be */
	GRAPH_TOO_LARGE,  /* 413 */
	GRAPH_BAD_NAME,   /* a name or path that the service does not take */
	GRAPH_THROTTLED,  /* 429: see retry_after_ms */
	GRAPH_FAULT,      /* the service's own trouble, perhaps over later */
	GRAPH_REFUSED,    /* anything else: the same request would be refused again */
};

/* How a request ended, apart from its errno. */
struct graph_result {
	int error; /* 0 or -errno, see graph_errno() */
	enum graph_reason reason;
	long status;     /* HTTP; 0: no reply came */
	bool is_offline; /* the service could not be reached at all */
	bool is_unclear; /* a request that writes failed, but may have taken effect: look first */
	bool is_resync;  /* 410 or its spellings: the delta token is worth nothing any more */
	uint64_t retry_after_ms; /* how long the service asked to be left alone; 0: it did not */
	char code[64];           /* the most specific code of Graph, "" if none */
	char text[200];          /* for the log and the user: what went wrong; no secret */
	char request_id[64];
	char *location; /* 410: where to begin again, checked; NULL. Borrowed */
};

/* Graph's error and the HTTP status to -errno, 0 for a 2xx; the one place. The most specific code
 * that is known decides, else the status; ret_code is the code that goes into the result. What
 * says that the request itself was wrong (400, 422) is -EIO: it is our mistake, not the caller's.
 */
int graph_errno(long status, const struct item_error *error, const char **ret_code);
enum graph_reason graph_reason(long status, const struct item_error *error);

/* Items that are left as they were because the service describes them in a way that cannot be
 * believed. */
unsigned graph_skipped_n(const struct graph *graph);

/* Ends a call; its callback does not run. NULL-safe. */
void graph_cancel(struct graph_call *call);

/* Reachability: called when it changes and at every failure for want of a network. */
void graph_on_reachable(struct graph *graph, void (*fn)(void *arg, bool reachable), void *arg);

/* "me", "drives/ID", "groups/ID", "sites/ID", "sites/SID/lists/LID", "users/ID" -> the path of
 * the drive below the base, "/drives/ID" or the like; -EINVAL. Caller frees. */
must_check int graph_drive_path(const char *drive, char **ret);

typedef void (*graph_drive_fn)(void *arg, const struct graph_result *result,
			       const struct item_drive *drive);
typedef void (*graph_item_fn)(void *arg, const struct graph_result *result,
			      const struct item *item);
/* page is the callee's: it takes the items out if it wants to keep them (item_page_fini). */
typedef void (*graph_page_fn)(void *arg, const struct graph_result *result, struct item_page *page);
typedef void (*graph_emptiness_fn)(void *arg, const struct graph_result *result, bool is_empty);
typedef void (*graph_subscription_fn)(void *arg, const struct graph_result *result,
				      const struct item_subscription *sub);

must_check int graph_get_drive(struct graph *graph, const char *drive_path,
			       enum http_priority priority, graph_drive_fn fn, void *arg,
			       struct graph_call **ret);
must_check int graph_get_root(struct graph *graph, const char *drive_id,
			      enum http_priority priority, graph_item_fn fn, void *arg,
			      struct graph_call **ret);
/* Size, tags, hash and a fresh pre-authenticated URL (a secret, may be absent). */
must_check int graph_get_content_info(struct graph *graph, const char *drive_id, const char *id,
				      enum http_priority priority, graph_item_fn fn, void *arg,
				      struct graph_call **ret);
/* The URL that GET content redirects to: in item->download_url, everything else is unset. */
must_check int graph_get_content_url(struct graph *graph, const char *drive_id, const char *id,
				     enum http_priority priority, graph_item_fn fn, void *arg,
				     struct graph_call **ret);
/* The item of this name in a folder; -ENOENT. The service may be behind its own writes for up to
 * minutes (404), and finds names that differ in case. -EINVAL for what is no name. */
must_check int graph_get_child(struct graph *graph, const char *drive_id, const char *folder_id,
			       const char *name, enum http_priority priority, graph_item_fn fn,
			       void *arg, struct graph_call **ret);
/* Has the folder no children? What is in it but malformed counts. */
must_check int graph_get_emptiness(struct graph *graph, const char *drive_id, const char *id,
				   enum http_priority priority, graph_emptiness_fn fn, void *arg,
				   struct graph_call **ret);
/* A page of children. link NULL: the first. */
must_check int graph_get_children(struct graph *graph, const char *drive_id, const char *id,
				  const char *link, enum http_priority priority, graph_page_fn fn,
				  void *arg, struct graph_call **ret);
/* A page of delta. link NULL: from the beginning (everything); GRAPH_DELTA_LATEST: from now on. */
#define GRAPH_DELTA_LATEST "latest"
must_check int graph_get_delta(struct graph *graph, const char *drive_id, const char *link,
			       enum http_priority priority, graph_page_fn fn, void *arg,
			       struct graph_call **ret);
must_check int graph_get_subscription(struct graph *graph, const char *drive_id,
				      graph_subscription_fn fn, void *arg, struct graph_call **ret);
/* The same for a drive as graph_drive_path() names it. */
must_check int graph_get_subscription_at(struct graph *graph, const char *drive_path,
					 graph_subscription_fn fn, void *arg,
					 struct graph_call **ret);
/* Does the result say that the drive has no notification channel at all? */
bool graph_is_channel_unsupported(const struct graph_result *result);

/*
 * A range of content from a pre-authenticated URL. on_head tells what the service says the content
 * is, before any byte; a negative return refuses it. Bytes come in order from range_off on: a
 * reply of 200 to a request for a range is cut here. A reply that is not content (an error page,
 * a wrong Content-Range) gives no byte.
 *   returns -EINVAL for a range that is empty or beyond 2^63, -EPERM for a URL that is not allowed
 *   done: 0 all bytes came | -ESTALE the URL is not accepted (401, 403, 404, 410) | -ERANGE 416 |
 *   -EBADMSG not what was asked for | network errors | what a callback returned
 */
struct graph_content {
	const char *url; /* copied */
	uint64_t off, len;
	enum http_priority priority;
	uint64_t stall_ms;
	int (*on_head)(void *arg, uint64_t total_bytes, const char *etag);
	int (*on_data)(void *arg, const void *data, size_t len);
	void (*on_done)(void *arg, int error);
	void *arg;
};
must_check int graph_get_content(struct graph *graph, const struct graph_content *spec,
				 struct graph_call **ret);

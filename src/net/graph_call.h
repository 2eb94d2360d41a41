/* The machinery below graph.h: private to src/net/graph*.c. Loop thread only. */
#pragma once

#include "graph_write.h"

#include "list.h"
#include "skips.h"
#include "throttle.h"

#include <stdint.h>

struct graph {
	struct loop *loop;
	struct http *http;
	struct auth *auth;
	char *base_url;
	struct throttle throttle;
	struct skips skips;
	uint64_t last_reply_ms;
	bool is_reachable;
	void (*on_reachable)(void *arg, bool reachable);
	void *reachable_arg;
	unsigned jitter_seed;
};

struct graph_call {
	struct graph *graph;
	const char *method; /* constant */
	char *url;
	const void *body; /* NULL: none */
	size_t body_len;
	char *own_body;           /* body, if it is this call's to free */
	const char *content_type; /* a header line, constant; NULL */
	char *if_match;           /* a header line; NULL */
	uint64_t send_bytes_s;
	/* Not sent again once the service may have acted on it. */
	bool is_once;
	enum http_priority priority;
	const char *prefer; /* a header line, constant; NULL */
	uint64_t began_ms, ends_ms;
	unsigned tries_n;
	unsigned malformed_n; /* of them brought something that cannot be believed */
	bool was_rejected;    /* one 401 was already answered by a renewal */
	bool wants_redirect;
	bool wants_location;   /* finish gets the Location of a success in place of its body */
	bool takes_dead_token; /* delta: 400 and 404 may mean that the token is worth nothing */
	struct auth_waiter waiter;
	struct http_request *request;
	struct loop_timer timer; /* gate and back-off */
	char *token;             /* the one in use; a secret */

	/* Parses a 200's body and calls the user's fn; with result->error set it only calls fn.
	 * False: it did not, and the call goes on. */
	bool (*finish)(struct graph_call *call, struct graph_result *result, const char *body,
		       size_t len);
	union {
		graph_drive_fn drive;
		graph_item_fn item;
		graph_page_fn page;
		graph_subscription_fn subscription;
		graph_emptiness_fn emptiness;
		graph_batch_fn batch;
	} fn;
	void *arg;
	size_t batch_n;               /* graph_batch.c: how many answers there are to be */
	unsigned pages_n;             /* graph_requests.c: of a folder that may be empty */
	struct graph_content content; /* graph_content.c only */
	uint64_t skip, left, total;
};

/* Makes a call for url (moved in); nothing is sent before graph_call_start(). */
struct graph_call *graph_call_new(struct graph *graph, char *url, enum http_priority priority);
/* Sends it; on failure the call is freed. */
int graph_call_start(struct graph_call *call, struct graph_call **ret);
/* The same with what every call needs; url NULL: -ENOMEM. */
must_check int
graph_call_make(struct graph *graph, char *url, enum http_priority priority, void *arg,
		bool (*finish)(struct graph_call *, struct graph_result *, const char *, size_t),
		struct graph_call **ret);
void graph_call_free(struct graph_call *call);
/* Sends it again after wait_ms, or later; false: it has no time or tries left. */
bool graph_call_again(struct graph_call *call, uint64_t wait_ms);
/* Notes for everyone what a reply says about waiting; gives the wait in ms, 0 for none. */
uint64_t graph_call_note_throttle(struct graph *graph, const struct http_head *head);
void graph_call_note_reachable(struct graph *graph, bool reachable);
/* Fills in what an error reply says. */
void graph_call_describe(long status, const char *body, size_t len, struct graph_result *result);

/* A segment of a path, percent-encoded; NULL: no memory. */
char *graph_url_escape(const char *text);
/* Is it a name that stays one segment of a URL? */
bool graph_url_is_name(const char *name);
/* "/drives/DRIVE/items/ID" (ID NULL: root; with a name: ":/NAME" and, before a tail, ":") with the
 * tail behind it; relative to the base. NULL: no memory. */
char *graph_url_path(const char *drive_id, const char *id, const char *name, const char *tail);
/* The same behind the base. */
char *graph_url_item(struct graph *graph, const char *drive_id, const char *id, const char *name,
		     const char *tail);

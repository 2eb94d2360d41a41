/* The machinery below graph.h: private to src/net/graph*.c. Loop thread only. */
#pragma once

#include "graph.h"

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
	char *url;
	enum http_priority priority;
	const char *prefer; /* a header line, constant; NULL */
	uint64_t began_ms, ends_ms;
	unsigned tries_n;
	unsigned malformed_n; /* of them brought something that cannot be believed */
	bool was_rejected;    /* one 401 was already answered by a renewal */
	bool wants_redirect;
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
	} fn;
	void *arg;
	struct graph_content content; /* graph_content.c only */
	uint64_t skip, left, total;
};

/* Makes a call for url (moved in); nothing is sent before graph_call_start(). */
struct graph_call *graph_call_new(struct graph *graph, char *url, enum http_priority priority);
/* Sends it; on failure the call is freed. */
int graph_call_start(struct graph_call *call, struct graph_call **ret);
void graph_call_free(struct graph_call *call);
/* Sends it again after wait_ms, or later; false: it has no time or tries left. */
bool graph_call_again(struct graph_call *call, uint64_t wait_ms);
/* Notes for everyone what a reply says about waiting; gives the wait in ms, 0 for none. */
uint64_t graph_call_note_throttle(struct graph *graph, const struct http_head *head);
void graph_call_note_reachable(struct graph *graph, bool reachable);

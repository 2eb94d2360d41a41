/*
 * Where listings and delta come from, as the engines of this layer see it: graph.h in the program,
 * a script in tests. Loop thread; callbacks as in graph.h.
 */
#pragma once

#include "graph.h"

struct change_set; /* store/change.h */

struct source {
	void *arg;
	int (*get_root)(void *arg, enum http_priority priority, graph_item_fn fn, void *fn_arg,
			struct graph_call **ret);
	/* One item by its id. */
	int (*get_item)(void *arg, const char *id, enum http_priority priority, graph_item_fn fn,
			void *fn_arg, struct graph_call **ret);
	int (*get_children)(void *arg, const char *id, const char *link,
			    enum http_priority priority, graph_page_fn fn, void *fn_arg,
			    struct graph_call **ret);
	int (*get_delta)(void *arg, const char *link, enum http_priority priority, graph_page_fn fn,
			 void *fn_arg, struct graph_call **ret);
	void (*cancel)(struct graph_call *call);
};

/* What is told after a commit, on the store lane: the set is the callee's. Must not block. */
typedef void (*source_changes_fn)(void *arg, struct change_set *set);

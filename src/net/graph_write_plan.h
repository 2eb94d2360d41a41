/* What the writing requests share: private to src/net/graph*.c and upload.c. Loop thread only. */
#pragma once

#include "graph_call.h"

/* A request before it is one. */
struct graph_plan {
	const char *method; /* constant */
	char *path;         /* below the base */
	struct json_object *body;
};

/* -EINVAL: the op makes no request. */
must_check int graph_write_plan(const char *drive_id, const struct graph_op *op,
				struct graph_plan *ret);
void graph_write_plan_fini(struct graph_plan *plan);

/* The call for a plan, not started. */
must_check int graph_write_start(struct graph *graph, struct graph_plan *plan, const char *if_match,
				 enum http_priority priority, void *arg,
				 bool (*finish)(struct graph_call *, struct graph_result *,
						const char *, size_t),
				 struct graph_call **ret);

/* Can the tag be sent as If-Match? */
bool graph_write_is_tag(const char *tag);
const char *graph_write_conflict(enum graph_conflict conflict);
/* Moves value in; NULL: -ENOMEM. */
must_check int graph_write_add(struct json_object *obj, const char *key, struct json_object *value);
must_check int graph_write_add_times(struct json_object *obj, int64_t mtime_ns, int64_t btime_ns);
must_check int graph_write_add_conflict(struct json_object *obj, enum graph_conflict conflict);
must_check int graph_write_set_body(struct graph_call *call, struct json_object *body);

/* The body of a success: 0, -ENODATA nothing was told, or what is in result then, which says that
 * it is unclear. */
must_check int graph_write_parse(const char *body, size_t len, struct graph_result *result,
				 struct item *item);
/* What is gone already is deleted. */
void graph_write_settle_delete(struct graph_result *result);

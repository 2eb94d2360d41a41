#define LOG_MODULE "graph"
#include "graph_write_plan.h"

#include "graph_call.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A line that must still come through is given this pace at least. */
enum { SLOWEST_BYTES_S = 16 * 1024 };

static const char *const conflict_names[] = {
	[GRAPH_CONFLICT_FAIL] = "fail",
	[GRAPH_CONFLICT_REPLACE] = "replace",
};

const char *graph_write_conflict(enum graph_conflict conflict)
{
	return conflict_names[conflict];
}

bool graph_write_is_tag(const char *tag)
{
	if (!tag[0])
		return false;
	for (; *tag; tag++)
		if ((unsigned char)*tag < ' ' || *tag == 0x7f)
			return false;
	return true;
}

int graph_write_add(struct json_object *obj, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(obj, key, value) == 0)
		return 0;
	json_object_put(value);
	return -ENOMEM;
}

static int add_str(struct json_object *obj, const char *key, const char *value)
{
	return graph_write_add(obj, key, json_object_new_string(value));
}

static int add_time(struct json_object *obj, const char *key, int64_t ns)
{
	/* Downwards: a time before 1970 is not to become a later one. */
	time_t s = ns / 1000000000 - (ns % 1000000000 < 0);
	char text[32];
	struct tm tm;

	if (ns == ITEM_TIME_UNKNOWN)
		return 0;
	if (!gmtime_r(&s, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		return -EINVAL;
	return add_str(obj, key, text);
}

int graph_write_add_times(struct json_object *obj, int64_t mtime_ns, int64_t btime_ns)
{
	struct json_object *info;
	int r;

	if (mtime_ns == ITEM_TIME_UNKNOWN && btime_ns == ITEM_TIME_UNKNOWN)
		return 0;
	info = json_object_new_object();
	r = graph_write_add(obj, "fileSystemInfo", info);
	if (r == 0)
		r = add_time(info, "lastModifiedDateTime", mtime_ns);
	return r < 0 ? r : add_time(info, "createdDateTime", btime_ns);
}

int graph_write_add_conflict(struct json_object *obj, enum graph_conflict conflict)
{
	return add_str(obj, "@microsoft.graph.conflictBehavior", conflict_names[conflict]);
}

static int fill_folder(const struct graph_op *op, struct json_object *body)
{
	int r = add_str(body, "name", op->name);

	if (r == 0)
		r = graph_write_add(body, "folder", json_object_new_object());
	return r < 0 ? r : graph_write_add_conflict(body, op->conflict);
}

static int fill_patch(const struct graph_op *op, struct json_object *body)
{
	struct json_object *parent;
	int r = op->name ? add_str(body, "name", op->name) : 0;

	if (r == 0 && op->parent_id) {
		parent = json_object_new_object();
		r = graph_write_add(body, "parentReference", parent);
		if (r == 0)
			r = add_str(parent, "id", op->parent_id);
	}
	if (r == 0)
		r = graph_write_add_times(body, op->mtime_ns, op->btime_ns);
	return r < 0 || (!op->name && !op->parent_id)
		       ? r
		       : graph_write_add_conflict(body, op->conflict);
}

static bool is_op(const struct graph_op *op)
{
	if ((op->if_match && !graph_write_is_tag(op->if_match)) ||
	    (op->name && !graph_url_is_name(op->name)))
		return false;
	return op->kind == GRAPH_OP_FOLDER ? op->parent_id && op->name : op->id && op->id[0];
}

int graph_write_plan(const char *drive_id, const struct graph_op *op, struct graph_plan *ret)
{
	struct graph_plan plan = { 0 };
	char tail[64];
	int r = 0;

	if (!is_op(op))
		return -EINVAL;
	/* The service's pages say both that it belongs into the URL and that into the body. */
	snprintf(tail, sizeof(tail), "?@microsoft.graph.conflictBehavior=%s",
		 conflict_names[op->conflict]);
	switch (op->kind) {
	case GRAPH_OP_FOLDER:
		plan.method = "POST";
		plan.path = graph_url_path(drive_id, op->parent_id, NULL, "/children");
		break;
	case GRAPH_OP_PATCH:
		plan.method = "PATCH";
		plan.path = graph_url_path(drive_id, op->id, NULL,
					   op->name || op->parent_id ? tail : "");
		break;
	case GRAPH_OP_DELETE:
		plan.method = "DELETE";
		plan.path = graph_url_path(drive_id, op->id, NULL, "");
		break;
	}
	if (op->kind != GRAPH_OP_DELETE) {
		plan.body = json_object_new_object();
		r = !plan.body                    ? -ENOMEM
		    : op->kind == GRAPH_OP_FOLDER ? fill_folder(op, plan.body)
						  : fill_patch(op, plan.body);
	}
	if (r < 0 || !plan.path) {
		graph_write_plan_fini(&plan);
		return r < 0 ? r : -ENOMEM;
	}
	*ret = plan;
	return 0;
}

void graph_write_plan_fini(struct graph_plan *plan)
{
	free(plan->path);
	json_object_put(plan->body);
	*plan = (struct graph_plan){ 0 };
}

int graph_write_parse(const char *body, size_t len, struct graph_result *result, struct item *item)
{
	struct item_problem problem = { "" };
	int r;

	if (len == 0)
		return -ENODATA;
	r = item_parse_body(body, len, item, &problem);
	if (r == 0)
		return 0;
	/* Something that is no item was said with "done": no telling who said it. */
	result->error = r;
	result->reason = GRAPH_NO_REPLY;
	result->is_unclear = true;
	snprintf(result->text, sizeof(result->text), "malformed reply: %s",
		 problem.text[0] ? problem.text : strerror(-r));
	return r;
}

static bool finish_write(struct graph_call *call, struct graph_result *result, const char *body,
			 size_t len)
{
	struct item item = { 0 };
	bool has_item = result->error == 0 && graph_write_parse(body, len, result, &item) == 0;

	if (result->is_unclear)
		log_debug("%s: may have taken effect: %s", log_url(call->url), result->text);
	call->fn.item(call->arg, result, has_item ? &item : NULL);
	item_fini(&item);
	return true;
}

static bool finish_delete(struct graph_call *call, struct graph_result *result, const char *body,
			  size_t len)
{
	graph_write_settle_delete(result);
	call->fn.item(call->arg, result, NULL);
	return true;
}

void graph_write_settle_delete(struct graph_result *result)
{
	if (result->error == -ENOENT && result->status == 404) {
		result->error = 0;
		result->reason = GRAPH_FINE;
	}
}

int graph_write_set_body(struct graph_call *call, struct json_object *body)
{
	call->own_body = strdup(json_object_to_json_string_ext(
		body, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	if (!call->own_body)
		return -ENOMEM;
	call->body = call->own_body;
	call->body_len = strlen(call->own_body);
	call->content_type = "Content-Type: application/json";
	return 0;
}

static int set_if_match(struct graph_call *call, const char *tag)
{
	return tag && asprintf(&call->if_match, "If-Match: %s", tag) < 0 ? -ENOMEM : 0;
}

int graph_write_start(struct graph *graph, struct graph_plan *plan, const char *if_match,
		      enum http_priority priority, void *arg,
		      bool (*finish)(struct graph_call *, struct graph_result *, const char *,
				     size_t),
		      struct graph_call **ret)
{
	struct graph_call *call;
	char *url = NULL;
	int r;

	if (if_match && !graph_write_is_tag(if_match))
		return -EINVAL;
	if (asprintf(&url, "%s%s", graph->base_url, plan->path) < 0)
		return -ENOMEM;
	r = graph_call_make(graph, url, priority, arg, finish, &call);
	if (r < 0)
		return r;
	call->method = plan->method;
	call->is_once = strcmp(plan->method, "DELETE") != 0;
	r = plan->body ? graph_write_set_body(call, plan->body) : 0;
	if (r == 0)
		r = set_if_match(call, if_match);
	if (r < 0) {
		graph_call_free(call);
		return r;
	}
	*ret = call;
	return 0;
}

int graph_write(struct graph *graph, const char *drive_id, const struct graph_op *op,
		enum http_priority priority, graph_item_fn fn, void *arg, struct graph_call **ret)
{
	struct graph_plan plan;
	struct graph_call *call;
	int r = graph_write_plan(drive_id, op, &plan);

	if (r < 0)
		return r;
	r = graph_write_start(graph, &plan, op->if_match, priority, arg,
			      op->kind == GRAPH_OP_DELETE ? finish_delete : finish_write, &call);
	graph_write_plan_fini(&plan);
	if (r < 0)
		return r;
	call->fn.item = fn;
	return graph_call_start(call, ret);
}

int graph_put_content(struct graph *graph, const struct graph_put *put, enum http_priority priority,
		      graph_item_fn fn, void *arg, struct graph_call **ret)
{
	struct graph_plan plan = { .method = "PUT" };
	uint64_t pace = put->send_bytes_s > 0 && put->send_bytes_s < SLOWEST_BYTES_S
				? put->send_bytes_s
				: SLOWEST_BYTES_S;
	struct graph_call *call;
	char tail[80];
	int r;

	if (put->body_len > GRAPH_PUT_MAX)
		return -EFBIG;
	if (put->name && !graph_url_is_name(put->name))
		return -EINVAL;
	snprintf(tail, sizeof(tail), "/content?@microsoft.graph.conflictBehavior=%s",
		 conflict_names[put->conflict]);
	plan.path = graph_url_path(put->drive_id, put->id, put->name, tail);
	r = plan.path ? graph_write_start(graph, &plan, put->if_match, priority, arg, finish_write,
					  &call)
		      : -ENOMEM;
	graph_write_plan_fini(&plan);
	if (r < 0)
		return r;
	call->fn.item = fn;
	call->body = put->body ? put->body : "";
	call->body_len = put->body_len;
	call->content_type = "Content-Type: application/octet-stream";
	call->send_bytes_s = put->send_bytes_s;
	call->ends_ms += put->body_len * 1000 / pace;
	return graph_call_start(call, ret);
}

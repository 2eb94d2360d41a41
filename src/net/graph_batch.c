#define LOG_MODULE "graph"
#include "graph_write_plan.h"

#include "jget.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The id of a request says which op it is, and what a reply to it may be. */
static int add_id(struct json_object *request, size_t at, enum graph_op_kind kind)
{
	char id[16];

	snprintf(id, sizeof(id), "%zu%s", at, kind == GRAPH_OP_DELETE ? "d" : "");
	return graph_write_add(request, "id", json_object_new_string(id));
}

static int add_headers(struct json_object *request, const struct graph_op *op)
{
	struct json_object *headers = json_object_new_object();
	int r = graph_write_add(request, "headers", headers);

	if (r == 0 && op->kind != GRAPH_OP_DELETE)
		r = graph_write_add(headers, "Content-Type",
				    json_object_new_string("application/json"));
	if (r == 0 && op->if_match)
		r = graph_write_add(headers, "If-Match", json_object_new_string(op->if_match));
	return r;
}

static int add_request(struct json_object *requests, const char *drive_id,
		       const struct graph_op *op, size_t at)
{
	struct json_object *request = json_object_new_object();
	struct graph_plan plan;
	int r = request ? graph_write_plan(drive_id, op, &plan) : -ENOMEM;

	if (r < 0) {
		json_object_put(request);
		return r;
	}
	r = add_id(request, at, op->kind);
	if (r == 0)
		r = graph_write_add(request, "method", json_object_new_string(plan.method));
	if (r == 0)
		r = graph_write_add(request, "url", json_object_new_string(plan.path));
	if (r == 0)
		r = add_headers(request, op);
	if (r == 0 && plan.body)
		r = graph_write_add(request, "body", take_ptr(&plan.body));
	if (r == 0 && json_object_array_add(requests, request) < 0)
		r = -ENOMEM;
	if (r < 0)
		json_object_put(request);
	graph_write_plan_fini(&plan);
	return r;
}

/* --- answers --- */

/* A refusal within is one all the same: what it asks for holds for everyone. */
static uint64_t note_throttle(struct graph_call *call, struct json_object *response, long status)
{
	struct http_head head = { .status = status, .content_length = -1 };
	struct json_object *headers;

	if (jget_obj(response, "headers", &headers) == 0) {
		json_object_object_foreach(headers, key, value)
		{
			if (strcasecmp(key, "Retry-After") == 0)
				head.retry_after = json_object_get_string(value);
			else if (strcasecmp(key, "RateLimit-Reset") == 0)
				head.ratelimit_reset = json_object_get_string(value);
		}
	}
	return status >= 400 ? graph_call_note_throttle(call->graph, &head) : 0;
}

static void keep_item(struct json_object *body, struct graph_answer *answer, struct item *item)
{
	const char *text = body ? json_object_to_json_string(body) : "";

	if (graph_write_parse(text, strlen(text), &answer->result, item) == 0)
		answer->item = item;
}

static void take_response(struct graph_call *call, struct json_object *response,
			  struct graph_answer *answers, struct item *items)
{
	struct json_object *body = NULL;
	struct graph_answer *answer;
	unsigned long at;
	int64_t status;
	const char *id;
	char *end;

	if (jget_str(response, "id", 15, &id) != 0 || jget_i64(response, "status", &status) != 0 ||
	    status < 100 || status > 999)
		return;
	at = strtoul(id, &end, 10);
	if (end == id || at >= call->batch_n || answers[at].result.status != 0)
		return;
	answer = &answers[at];
	answer->result = (struct graph_result){ .status = (long)status };
	(void)json_object_object_get_ex(response, "body", &body);
	if (status >= 200 && status < 300) {
		if (*end != 'd')
			keep_item(body, answer, &items[at]);
		return;
	}
	if (body) {
		const char *text = json_object_to_json_string(body);

		graph_call_describe((long)status, text, strlen(text), &answer->result);
	} else {
		graph_call_describe((long)status, "", 0, &answer->result);
	}
	answer->result.retry_after_ms = note_throttle(call, response, (long)status);
	answer->result.is_unclear = *end != 'd' && answer->result.reason == GRAPH_FAULT &&
				    answer->result.retry_after_ms == 0;
	if (*end == 'd')
		graph_write_settle_delete(&answer->result);
}

/* -EBADMSG: it is no batch's answer, and nothing was taken from it. */
static int take_responses(struct graph_call *call, const char *body, size_t len,
			  struct graph_answer *answers, struct item *items)
{
	struct json_object *root, *responses;
	int r = jget_parse(body, len, &root);

	if (r < 0)
		return r;
	r = json_object_is_type(root, json_type_object) ? jget_arr(root, "responses", &responses)
							: -EBADMSG;
	if (r == 0 && json_object_array_length(responses) <= (size_t)2 * GRAPH_BATCH_MAX)
		for (size_t i = 0; i < json_object_array_length(responses); i++) {
			struct json_object *response = json_object_array_get_idx(responses, i);

			if (json_object_is_type(response, json_type_object))
				take_response(call, response, answers, items);
		}
	json_object_put(root);
	return r == 0 ? 0 : -EBADMSG;
}

/* The bearer of the whole is that of every part. */
static void note_rejected(struct graph_call *call, const struct graph_answer *answers)
{
	for (size_t i = 0; i < call->batch_n; i++)
		if (answers[i].result.status == 401) {
			auth_reject(call->graph->auth, call->token);
			return;
		}
}

static bool finish_batch(struct graph_call *call, struct graph_result *result, const char *body,
			 size_t len)
{
	struct graph_answer answers[GRAPH_BATCH_MAX] = { 0 };
	struct item items[GRAPH_BATCH_MAX] = { 0 };
	size_t n = call->batch_n;

	if (result->error == 0) {
		int r = take_responses(call, body, len, answers, items);

		snprintf(result->text, sizeof(result->text), "malformed reply: %s",
			 r < 0 ? "no responses" : "a response is missing");
		result->error = -EBADMSG;
		result->reason = GRAPH_NO_REPLY;
		result->is_unclear = true;
	}
	for (size_t i = 0; i < n; i++)
		if (answers[i].result.status == 0)
			answers[i].result = *result;
	note_rejected(call, answers);
	call->fn.batch(call->arg, answers, n);
	for (size_t i = 0; i < n; i++)
		item_fini(&items[i]);
	return true;
}

int graph_write_batch(struct graph *graph, const char *drive_id, const struct graph_op *ops,
		      size_t n, enum http_priority priority, graph_batch_fn fn, void *arg,
		      struct graph_call **ret)
{
	char path[] = "/$batch";
	struct graph_plan plan = { .method = "POST", .path = path };
	struct json_object *requests = json_object_new_array();
	struct graph_call *call;
	int r;

	plan.body = json_object_new_object();
	r = n == 0 || n > GRAPH_BATCH_MAX ? -EINVAL : plan.body ? 0 : -ENOMEM;
	if (r == 0)
		r = graph_write_add(plan.body, "requests", json_object_get(requests));
	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_request(requests, drive_id, &ops[i], i);
	if (r == 0)
		r = graph_write_start(graph, &plan, NULL, priority, arg, finish_batch, &call);
	json_object_put(requests);
	json_object_put(plan.body);
	if (r != 0)
		return r;
	call->fn.batch = fn;
	call->batch_n = n;
	return graph_call_start(call, ret);
}

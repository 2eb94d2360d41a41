#define LOG_MODULE "graph"
#include "graph_write_plan.h"

#include "log.h"
#include "progress.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	POLL_FIRST_MS = 1000,
	POLL_MAX_MS = 10000,
	POLL_STALL_MS = 15000,
	POLL_BODY_MAX = 256 * 1024,
	POLL_BAD_MAX = 8, /* in a row: replies that tell nothing */
};

struct graph_copy {
	struct graph *graph;
	struct graph_copy_spec spec; /* strings owned */
	struct graph_call *call;     /* the order, or the new item; NULL */
	struct http_request *poll;   /* NULL: none under way */
	struct loop_timer timer;
	char *monitor; /* a secret */
	uint64_t ends_ms, wait_ms;
	unsigned bad_n;
};

static void copy_free(struct graph_copy *copy)
{
	loop_timer_fini(&copy->timer);
	free((char *)copy->spec.drive_id);
	free((char *)copy->spec.id);
	free((char *)copy->spec.to_drive_id);
	free((char *)copy->spec.to_parent_id);
	free((char *)copy->spec.to_name);
	if (copy->monitor)
		explicit_bzero(copy->monitor, strlen(copy->monitor));
	free(copy->monitor);
	free(copy);
}

void graph_copy_cancel(struct graph_copy *copy)
{
	if (!copy)
		return;
	graph_cancel(copy->call);
	if (copy->poll)
		http_cancel(copy->poll);
	copy_free(copy);
}

static void end(struct graph_copy *copy, const struct graph_result *result, const struct item *item)
{
	copy->spec.fn(copy->spec.arg, result, item);
	copy_free(copy);
}

static void end_unclear(struct graph_copy *copy, int error, const char *text)
{
	struct graph_result result = { .error = error,
				       .reason = GRAPH_NO_REPLY,
				       .is_unclear = true };

	snprintf(result.text, sizeof(result.text), "%s", text);
	end(copy, &result, NULL);
}

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	struct graph_copy *copy = arg;
	struct graph_result done = { .status = result->status };

	copy->call = NULL;
	/* The copy is there, whatever became of the question how it looks. */
	if (result->error < 0)
		log_debug("the new item of a copy could not be fetched: %s", result->text);
	end(copy, &done, result->error == 0 ? item : NULL);
}

static void fetch_item(struct graph_copy *copy, const char *id)
{
	const struct graph_copy_spec *s = &copy->spec;
	struct graph_result done = { .status = 200 };
	int r = id ? graph_get_content_info(copy->graph, s->to_drive_id, id, s->priority, on_item,
					    copy, &copy->call)
		   : graph_get_child(copy->graph, s->to_drive_id, s->to_parent_id, s->to_name,
				     s->priority, on_item, copy, &copy->call);

	if (r < 0)
		end(copy, &done, NULL);
}

static void fail(struct graph_copy *copy, const char *code)
{
	struct graph_result result = { 0 };
	auto_free char *body = NULL;

	/* The code is all there is: as if a reply had brought it. */
	if (asprintf(&body, "{\"error\":{\"code\":\"%s\"}}", code) < 0)
		body = NULL;
	graph_call_describe(500, body ? body : "", body ? strlen(body) : 0, &result);
	snprintf(result.text, sizeof(result.text), "the copy failed: %s",
		 code[0] ? code : "without a reason");
	end(copy, &result, NULL);
}

static void ask_again(struct graph_copy *copy, uint64_t wait_ms)
{
	uint64_t now = loop_now_ms(copy->graph->loop);

	copy->wait_ms = copy->wait_ms * 3 / 2 < POLL_MAX_MS ? copy->wait_ms * 3 / 2 : POLL_MAX_MS;
	if (wait_ms < copy->wait_ms)
		wait_ms = copy->wait_ms;
	if (now + wait_ms >= copy->ends_ms || copy->bad_n > POLL_BAD_MAX)
		end_unclear(copy, -ETIMEDOUT, "the copy was begun and did not end");
	else
		loop_timer_arm(&copy->timer, wait_ms);
}

static void take_progress(struct graph_copy *copy, struct progress_copy *progress)
{
	copy->bad_n = 0;
	switch (progress->state) {
	case PROGRESS_RUNS:
		if (copy->spec.on_progress)
			copy->spec.on_progress(copy->spec.arg, progress->percent);
		ask_again(copy, 0);
		break;
	case PROGRESS_DONE:
		fetch_item(copy, progress->item_id);
		break;
	case PROGRESS_FAILED:
		fail(copy, progress->code ? progress->code : "");
		break;
	}
	progress_copy_fini(progress);
}

static void on_poll(void *arg, int error, const struct http_head *head, const char *body,
		    size_t len)
{
	struct graph_copy *copy = arg;
	struct progress_copy progress;
	struct item_problem problem = { "" };
	uint64_t wait_ms = 0;

	copy->poll = NULL;
	if (head && error == 0) {
		wait_ms = graph_call_note_throttle(copy->graph, head);
		if (head->status < 400 &&
		    progress_parse_copy(body, len, &progress, &problem) == 0) {
			take_progress(copy, &progress);
			return;
		}
		if (head->status == 303) {
			fetch_item(copy, NULL);
			return;
		}
		if (head->status >= 400 && head->status < 500 && wait_ms == 0) {
			end_unclear(copy, -EIO, "the copy was begun; its monitor is not there");
			return;
		}
	}
	/* A malformed answer of a success is asked for again, as everything that failed. */
	copy->bad_n++;
	ask_again(copy, wait_ms);
}

static void on_timer(void *arg)
{
	struct graph_copy *copy = arg;
	int r = http_start(copy->graph->http,
			   &(struct http_spec){
				   .method = "GET",
				   .url = copy->monitor,
				   .priority = copy->spec.priority,
				   .host_class = HTTP_API,
				   .total_ms = 2 * POLL_STALL_MS,
				   .stall_ms = POLL_STALL_MS,
				   .max_body = POLL_BODY_MAX,
				   .on_done = on_poll,
				   .arg = copy,
			   },
			   &copy->poll);

	if (r < 0)
		end_unclear(copy, r, "the copy was begun; its monitor cannot be asked");
}

/* The order was taken, or not; the monitor's URL is where a body would be. */
static bool finish_order(struct graph_call *call, struct graph_result *result, const char *body,
			 size_t len)
{
	struct graph_copy *copy = call->arg;

	copy->call = NULL;
	if (result->error < 0) {
		end(copy, result, NULL);
		return true;
	}
	copy->monitor = len > 0 ? strndup(body, len) : NULL;
	copy->ends_ms = loop_now_ms(copy->graph->loop) + GRAPH_COPY_MS;
	copy->wait_ms = POLL_FIRST_MS;
	if (!copy->monitor || !http_is_url_allowed(copy->monitor))
		end_unclear(copy, -EBADMSG, "the copy was begun; its monitor is no https URL");
	else
		loop_timer_arm(&copy->timer, POLL_FIRST_MS);
	return true;
}

static int fill_order(const struct graph_copy_spec *spec, struct json_object *body)
{
	struct json_object *parent = json_object_new_object();
	int r = graph_write_add(body, "parentReference", parent);

	if (r == 0)
		r = graph_write_add(parent, "driveId", json_object_new_string(spec->to_drive_id));
	if (r == 0)
		r = graph_write_add(parent, "id", json_object_new_string(spec->to_parent_id));
	return r < 0 ? r : graph_write_add(body, "name", json_object_new_string(spec->to_name));
}

static int start_order(struct graph_copy *copy)
{
	struct graph_plan plan = { .method = "POST", .body = json_object_new_object() };
	int r = plan.body ? fill_order(&copy->spec, plan.body) : -ENOMEM;

	plan.path = graph_url_path(copy->spec.drive_id, copy->spec.id, NULL,
				   "/copy?@microsoft.graph.conflictBehavior=fail");
	if (r == 0 && !plan.path)
		r = -ENOMEM;
	if (r == 0)
		r = graph_write_start(copy->graph, &plan, NULL, copy->spec.priority, copy,
				      finish_order, &copy->call);
	graph_write_plan_fini(&plan);
	if (r < 0)
		return r;
	copy->call->wants_location = true;
	r = graph_call_start(copy->call, &copy->call);
	if (r < 0)
		copy->call = NULL;
	return r;
}

int graph_copy_start(struct graph *graph, const struct graph_copy_spec *spec,
		     struct graph_copy **ret)
{
	struct graph_copy *copy;
	int r;

	if (!graph_url_is_name(spec->to_name))
		return -EINVAL;
	copy = calloc(1, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	copy->graph = graph;
	copy->spec = *spec;
	copy->spec.drive_id = strdup(spec->drive_id);
	copy->spec.id = strdup(spec->id);
	copy->spec.to_drive_id = strdup(spec->to_drive_id);
	copy->spec.to_parent_id = strdup(spec->to_parent_id);
	copy->spec.to_name = strdup(spec->to_name);
	r = loop_timer_init(&copy->timer, graph->loop, on_timer, copy);
	if (r == 0 && (!copy->spec.drive_id || !copy->spec.id || !copy->spec.to_drive_id ||
		       !copy->spec.to_parent_id || !copy->spec.to_name))
		r = -ENOMEM;
	if (r == 0)
		r = start_order(copy);
	if (r < 0) {
		copy_free(copy);
		return r;
	}
	*ret = copy;
	return 0;
}

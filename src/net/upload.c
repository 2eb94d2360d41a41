#define LOG_MODULE "upload"
#include "upload_state.h"

#include "log.h"
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	TRIES_MAX = 6,    /* in a row that bring no byte further */
	RESTARTS_MAX = 2, /* sessions after the first */
	FRESH_MS = 5000,  /* a new session may be unknown for so long */
	BACKOFF_FIRST_MS = 250,
	BACKOFF_MAX_MS = 20000,
};

void upload_go(struct upload *u, enum upload_step step, uint64_t wait_ms)
{
	u->step = step;
	loop_timer_arm(&u->timer, wait_ms);
}

/* --- the ends --- */

static void forget_url(struct upload *u)
{
	if (!u->url)
		return;
	explicit_bzero(u->url, strlen(u->url));
	free(u->url);
	u->url = NULL;
}

void upload_free(struct upload *u)
{
	loop_timer_fini(&u->timer);
	list_del(&u->node);
	upload_pool_give_back(u);
	forget_url(u);
	free((char *)u->spec.drive_id);
	free((char *)u->spec.id);
	free((char *)u->spec.name);
	free((char *)u->spec.if_match);
	free(u);
}

void upload_tell_progress(const struct upload *u)
{
	if (u->spec.on_progress)
		u->spec.on_progress(u->spec.arg, u->url, u->off);
}

/* The session is over, by the service's will or by ours. */
static void end_session(struct upload *u, bool tells_service)
{
	if (!u->url)
		return;
	if (tells_service)
		upload_pool_drop(u->pool, u->url);
	forget_url(u);
	u->off = 0;
	upload_tell_progress(u);
}

static void end(struct upload *u, const struct graph_result *result, const struct item *item)
{
	if (result->error < 0)
		log_debug("an upload of %" PRIu64 " bytes ended at %" PRIu64 ": %s", u->spec.size,
			  u->off, result->text);
	u->spec.on_done(u->spec.arg, result, item);
	upload_free(u);
}

void upload_stop(struct upload *u, struct graph_result *result)
{
	result->is_unclear = u->may_be_done;
	end(u, result, NULL);
}

void upload_fail(struct upload *u, const struct graph_result *result)
{
	end_session(u, true);
	end(u, result, NULL);
}

struct graph_result upload_no_reply(int error, const char *text)
{
	struct graph_result result = { .error = error,
				       .reason = GRAPH_NO_REPLY,
				       .is_offline = error == -ENETDOWN };

	snprintf(result.text, sizeof(result.text), "%s", text);
	return result;
}

uint64_t upload_backoff_ms(const struct upload *u, unsigned tries_n)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	for (; tries_n > 1 && ms < BACKOFF_MAX_MS; tries_n--)
		ms *= 2;
	return ms / 2 + (uint64_t)rand_r(&u->pool->graph->jitter_seed) % (ms / 2 + 1);
}

void upload_try_again(struct upload *u, enum upload_step step, struct graph_result *result)
{
	if (++u->tries_n >= TRIES_MAX)
		upload_stop(u, result);
	else
		upload_go(u, step, upload_backoff_ms(u, u->tries_n));
}

void upload_restart(struct upload *u, bool still_lives, const struct graph_result *result)
{
	if (++u->restarts_n > RESTARTS_MAX) {
		upload_fail(u, result);
		return;
	}
	log_debug("an upload of %" PRIu64 " bytes begins again at %" PRIu64 ": %s", u->spec.size,
		  u->off, result->text);
	/* The service may take one session for a file only. */
	end_session(u, still_lives);
	upload_go(u, UPLOAD_STEP_CREATE, upload_backoff_ms(u, u->restarts_n));
}

void upload_lose_session(struct upload *u, struct graph_result *result)
{
	if (u->may_be_done || u->is_resumed) {
		struct graph_result gone = upload_no_reply(-ESTALE, "the session is gone");

		/* Used up, or expired: from here both look the same. */
		gone.status = result->status;
		gone.is_unclear = true;
		end_session(u, false);
		end(u, &gone, NULL);
		return;
	}
	if (u->is_fresh && result->status == 404 && !u->was_unknown) {
		u->was_unknown = true;
		upload_go(u, UPLOAD_STEP_ASK, FRESH_MS);
		return;
	}
	if (u->is_fresh && result->status == 403)
		upload_fail(u, result);
	else
		upload_restart(u, false, result);
}

/* --- the end that was wanted --- */

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	struct upload *u = arg;
	struct graph_result done = { .status = result->status };

	u->call = NULL;
	end(u, &done, result->error == 0 ? item : NULL);
}

/* The service has all, and did not say what it is now. */
static void fetch_item(struct upload *u)
{
	const struct upload_spec *s = &u->spec;
	struct graph_result done = { .status = 200 };
	int r = s->name ? graph_get_child(u->pool->graph, s->drive_id, s->id, s->name, s->priority,
					  on_item, u, &u->call)
			: graph_get_content_info(u->pool->graph, s->drive_id, s->id, s->priority,
						 on_item, u, &u->call);

	if (r < 0)
		end(u, &done, NULL);
}

bool upload_finish(struct upload *u, long status, const char *body, size_t len)
{
	struct graph_result done = { .status = status };
	struct item_problem problem = { "" };
	struct item item;

	if (len > 0 && item_parse_body(body, len, &item, &problem) < 0)
		return false;
	upload_pool_give_back(u);
	forget_url(u);
	upload_tell_progress(u);
	if (len > 0) {
		end(u, &done, &item);
		item_fini(&item);
	} else {
		fetch_item(u);
	}
	return true;
}

/* --- beginning a session --- */

static bool finish_create(struct graph_call *call, struct graph_result *result, const char *body,
			  size_t len)
{
	struct upload *u = call->arg;
	struct item_problem problem = { "" };
	struct progress_session session = { 0 };
	int r = result->error;

	u->call = NULL;
	if (r < 0) {
		end(u, result, NULL);
		return true;
	}
	r = progress_parse_session(body, len, &session, &problem);
	if (r == 0 && !session.url)
		r = -EBADMSG;
	if (r == 0 && !http_is_url_allowed(session.url))
		r = -EPERM;
	if (r < 0) {
		struct graph_result bad =
			upload_no_reply(r, r == -EPERM       ? "the upload URL is not https"
					   : problem.text[0] ? problem.text
							     : "uploadUrl is missing");

		if (r == -EBADMSG)
			upload_restart(u, false, &bad);
		else
			end(u, &bad, NULL);
	} else {
		u->url = take_ptr(&session.url);
		u->off = u->best_off = u->reach = 0;
		u->is_fresh = true;
		u->may_be_done = u->was_unknown = false;
		u->tries_n = u->joins_n = 0;
		upload_tell_progress(u);
		upload_go(u, UPLOAD_STEP_SEND, 0);
	}
	progress_session_fini(&session);
	return true;
}

static int fill_create(const struct upload_spec *spec, struct json_object *body)
{
	struct json_object *item = json_object_new_object();
	int r = graph_write_add(body, "item", item);

	if (r == 0)
		r = graph_write_add_conflict(item, spec->conflict);
	return r < 0 ? r : graph_write_add_times(item, spec->mtime_ns, spec->btime_ns);
}

static int create(struct upload *u)
{
	const struct upload_spec *s = &u->spec;
	struct graph_plan plan = { .method = "POST", .body = json_object_new_object() };
	int r = plan.body ? fill_create(s, plan.body) : -ENOMEM;

	plan.path = graph_url_path(s->drive_id, s->id, s->name, "/createUploadSession");
	if (r == 0 && !plan.path)
		r = -ENOMEM;
	if (r == 0)
		r = graph_write_start(u->pool->graph, &plan, s->if_match, s->priority, u,
				      finish_create, &u->call);
	graph_write_plan_fini(&plan);
	if (r < 0)
		return r;
	/* A session that nobody knows of does no harm. */
	u->call->is_once = false;
	r = graph_call_start(u->call, &u->call);
	if (r < 0)
		u->call = NULL;
	return r;
}

/* --- the life of an upload --- */

static void on_timer(void *arg)
{
	struct upload *u = arg;
	struct graph *graph = u->pool->graph;
	uint64_t now = loop_now_ms(graph->loop);
	uint64_t gate_ms = throttle_until_ms(&graph->throttle, u->spec.priority);
	int r = 0;

	/* A session's host is another one, but the account that it counts for is the same. */
	if ((u->step == UPLOAD_STEP_ASK || u->step == UPLOAD_STEP_PUT) && now < gate_ms) {
		loop_timer_arm(&u->timer, gate_ms - now);
		return;
	}
	switch (u->step) {
	case UPLOAD_STEP_CREATE:
		r = create(u);
		break;
	case UPLOAD_STEP_ASK:
		r = upload_ask(u);
		break;
	case UPLOAD_STEP_SEND:
		upload_begin_chunk(u);
		return;
	case UPLOAD_STEP_PUT:
		r = upload_put(u);
		break;
	}
	if (r < 0) {
		struct graph_result result = upload_no_reply(r, strerror(-r));

		upload_stop(u, &result);
	}
}

static bool has_strings(const struct upload *u, const struct upload_spec *spec)
{
	return u->spec.drive_id && u->spec.id && (!spec->name || u->spec.name) &&
	       (!spec->if_match || u->spec.if_match) && (!spec->url || u->url);
}

int upload_start(struct upload_pool *pool, const struct upload_spec *spec, struct upload **ret)
{
	struct upload *u;
	int r;

	if (spec->size == 0 || spec->size > INT64_MAX ||
	    (spec->name && !graph_url_is_name(spec->name)) ||
	    (spec->if_match && !graph_write_is_tag(spec->if_match)))
		return -EINVAL;
	if (spec->url && !http_is_url_allowed(spec->url))
		return -EPERM;
	u = calloc(1, sizeof(*u));
	if (!u)
		return -ENOMEM;
	list_init(&u->node);
	u->pool = pool;
	u->spec = *spec;
	u->spec.url = NULL;
	u->spec.drive_id = strdup(spec->drive_id);
	u->spec.id = strdup(spec->id);
	u->spec.name = spec->name ? strdup(spec->name) : NULL;
	u->spec.if_match = spec->if_match ? strdup(spec->if_match) : NULL;
	u->url = spec->url ? strdup(spec->url) : NULL;
	u->chunk_max = pool->chunk_bytes;
	u->is_resumed = spec->url != NULL;
	u->reach = u->is_resumed ? spec->size : 0;
	r = loop_timer_init(&u->timer, pool->graph->loop, on_timer, u);
	if (r < 0 || !has_strings(u, spec)) {
		upload_free(u);
		return -ENOMEM;
	}
	upload_go(u, u->is_resumed ? UPLOAD_STEP_ASK : UPLOAD_STEP_CREATE, 0);
	*ret = u;
	return 0;
}

void upload_cancel(struct upload *u, bool keeps_session)
{
	if (!u)
		return;
	graph_cancel(u->call);
	if (u->request)
		http_cancel(u->request);
	u->call = NULL;
	u->request = NULL;
	loop_timer_disarm(&u->timer);
	if (u->url && !keeps_session)
		upload_pool_drop(u->pool, u->url);
	if (u->is_reading)
		u->is_cancelled = true;
	else
		upload_free(u);
}

#include "upload_state.h"

#include "progress.h"
#include "upload_reply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
	CHUNK_BASE_MS = 60000,
	SLOWEST_BYTES_S = 8 * 1024,
	STALL_MS = 60000, /* what the kernel holds is on its way yet when all was written */
	STATUS_MS = 30000,
	REPLY_MAX = 1024 * 1024,
	JOINS_MAX = 12, /* questions whether the service has put the bytes together */
};

/* --- where the service is --- */

/* The service wants to go on at off: so says the answer to a chunk, or that to a question, which
 * only came up because a chunk had failed. */
static void go_on(struct upload *u, uint64_t off, bool is_answer_to_chunk)
{
	struct graph_result stuck =
		upload_no_reply(-EBADMSG, "malformed reply: nextExpectedRanges does not go on");

	/* Bytes that were not sent by us: whose content would that become? */
	if (off > u->reach) {
		upload_restart(u, true, &stuck);
		return;
	}
	u->off = off;
	u->may_be_done = false;
	if (off > u->best_off) {
		u->best_off = off;
		u->tries_n = u->joins_n = 0;
		u->is_fresh = false;
		upload_tell_progress(u);
		upload_go(u, UPLOAD_STEP_SEND, 0);
	} else if (is_answer_to_chunk) {
		upload_try_again(u, UPLOAD_STEP_SEND, &stuck);
	} else {
		upload_go(u, UPLOAD_STEP_SEND, 0);
	}
}

/* It has all bytes, and is not ready. */
static void join(struct upload *u)
{
	struct graph_result late =
		upload_no_reply(-ETIMEDOUT, "the service has all and does not finish");

	u->may_be_done = true;
	if (++u->joins_n >= JOINS_MAX)
		upload_stop(u, &late);
	else
		upload_go(u, UPLOAD_STEP_ASK, upload_backoff_ms(u, u->joins_n));
}

static void take_status(struct upload *u, const char *body, size_t len)
{
	struct graph_result bad;
	struct item_problem problem = { "" };
	struct progress_session session = { 0 };

	if (len > 0 && u->reach == u->spec.size && upload_finish(u, 200, body, len))
		return;
	if (progress_parse_session(body, len, &session, &problem) < 0 ||
	    (session.has_next && session.next > u->spec.size)) {
		bad = upload_no_reply(-EBADMSG,
				      problem.text[0] ? problem.text : "a range beyond the end");
		progress_session_fini(&session);
		upload_try_again(u, UPLOAD_STEP_ASK, &bad);
		return;
	}
	if (u->is_resumed) {
		u->is_resumed = false;
		u->reach = session.has_next ? session.next : u->spec.size;
		u->off = u->best_off = u->reach;
		u->tries_n = 0;
		upload_tell_progress(u);
	}
	if (!session.has_next || session.next == u->spec.size)
		join(u);
	else
		go_on(u, session.next, false);
	progress_session_fini(&session);
}

static void note_reply(struct upload *u, const struct http_head *head, struct graph_result *result)
{
	result->retry_after_ms = graph_call_note_throttle(u->pool->graph, head);
	if (!u->pool->graph->is_reachable)
		graph_call_note_reachable(u->pool->graph, true);
}

static void on_status(void *arg, int error, const struct http_head *head, const char *body,
		      size_t len)
{
	struct upload *u = arg;
	struct graph_result result = { 0 };

	u->request = NULL;
	if (!head || error < 0) {
		result = upload_no_reply(error, strerror(-error));
		upload_try_again(u, UPLOAD_STEP_ASK, &result);
		return;
	}
	note_reply(u, head, &result);
	switch (upload_reply_judge(head->status, body, len, &result)) {
	case UPLOAD_TAKEN:
	case UPLOAD_FINISHED:
		take_status(u, body, len);
		break;
	case UPLOAD_ASK:
	case UPLOAD_WAIT:
	case UPLOAD_LATER:
		upload_try_again(u, UPLOAD_STEP_ASK, &result);
		break;
	default:
		upload_lose_session(u, &result);
	}
}

int upload_ask(struct upload *u)
{
	return http_start(u->pool->graph->http,
			  &(struct http_spec){
				  .method = "GET",
				  .url = u->url,
				  .priority = u->spec.priority,
				  .host_class = HTTP_CONTENT,
				  .total_ms = STATUS_MS,
				  .stall_ms = STATUS_MS,
				  .max_body = REPLY_MAX,
				  .on_done = on_status,
				  .arg = u,
			  },
			  &u->request);
}

/* --- chunks --- */

/* So much of what is in memory can be sent now; 0: none. */
static size_t ready_len(const struct upload *u)
{
	size_t len = upload_pool_chunk_len(u), left;

	if (!u->data || u->off < u->data_off || u->off >= u->data_off + u->held_bytes)
		return 0;
	left = u->held_bytes - (size_t)(u->off - u->data_off);
	if (left <= len && u->data_off + u->held_bytes == u->spec.size)
		return left;
	len = len < left ? len : left;
	return len - len % UPLOAD_UNIT;
}

static void begin_read(struct upload *u)
{
	if (u->data)
		upload_pool_give_back(u);
	if (!upload_pool_want(u))
		return;
	u->data = malloc(u->held_bytes);
	if (!u->data) {
		struct graph_result result = upload_no_reply(-ENOMEM, strerror(ENOMEM));

		upload_stop(u, &result);
		return;
	}
	u->data_off = u->off;
	u->is_reading = true;
	u->spec.read(u->spec.arg, u->off, u->data, u->held_bytes);
}

void upload_answer(struct upload *u, int error)
{
	u->is_reading = false;
	u->read_error = error;
	if (u->is_cancelled)
		upload_free(u);
	else
		upload_go(u, UPLOAD_STEP_SEND, 0);
}

static void note_pace(struct upload *u)
{
	struct upload_pool *pool = u->pool;
	uint64_t ms = loop_now_ms(pool->graph->loop) - u->put_ms;
	uint64_t pace = u->put_len * 1000 / (ms > 0 ? ms : 1);

	/* What was sent at once tells nothing about a line. */
	if (u->put_len >= UPLOAD_UNIT)
		pool->pace_bytes_s =
			pool->pace_bytes_s ? (pool->pace_bytes_s * 3 + pace) / 4 : pace;
	if (u->chunk_max < pool->chunk_bytes)
		u->chunk_max =
			2 * u->chunk_max < pool->chunk_bytes ? 2 * u->chunk_max : pool->chunk_bytes;
}

/* The next chunks are to be smaller than the one that failed. */
static void shrink(struct upload *u)
{
	size_t half = u->put_len / 2 - u->put_len / 2 % UPLOAD_UNIT;

	u->chunk_max = half > UPLOAD_UNIT ? half : UPLOAD_UNIT;
}

static bool is_last(const struct upload *u)
{
	return u->off + u->put_len == u->spec.size;
}

/* A chunk was sent, and what became of it is not known. */
static void ask_what_it_has(struct upload *u, struct graph_result *result)
{
	u->may_be_done |= is_last(u);
	upload_try_again(u, UPLOAD_STEP_ASK, result);
}

static void take_202(struct upload *u, const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct progress_session session;
	struct graph_result bad;

	if (progress_parse_session(body, len, &session, &problem) < 0) {
		bad = upload_no_reply(-EBADMSG, problem.text);
		ask_what_it_has(u, &bad);
		return;
	}
	note_pace(u);
	if (session.has_next && session.next < u->spec.size) {
		go_on(u, session.next, true);
	} else if (is_last(u)) {
		join(u);
	} else {
		bad = upload_no_reply(-EBADMSG, "malformed reply: no nextExpectedRanges");
		ask_what_it_has(u, &bad);
	}
	progress_session_fini(&session);
}

static void take_200(struct upload *u, long status, const char *body, size_t len)
{
	struct graph_result bad = upload_no_reply(-EBADMSG, "malformed reply: done, and no item");

	if (!is_last(u) || !upload_finish(u, status, body, len))
		ask_what_it_has(u, &bad);
}

static void on_put(void *arg, int error, const struct http_head *head, const char *body, size_t len)
{
	struct upload *u = arg;
	struct graph_result result = { 0 };

	u->request = NULL;
	if (!head || error < 0) {
		result = upload_no_reply(error, strerror(-error));
		shrink(u);
		ask_what_it_has(u, &result);
		return;
	}
	note_reply(u, head, &result);
	switch (upload_reply_judge(head->status, body, len, &result)) {
	case UPLOAD_TAKEN:
		take_202(u, body, len);
		break;
	case UPLOAD_FINISHED:
		take_200(u, head->status, body, len);
		break;
	case UPLOAD_ASK:
		if (result.error == 0)
			result = upload_no_reply(-EBADMSG, "malformed reply: no status of a chunk");
		ask_what_it_has(u, &result);
		break;
	case UPLOAD_WAIT:
		upload_try_again(u, UPLOAD_STEP_SEND, &result);
		break;
	case UPLOAD_SMALLER:
		if (u->put_len <= UPLOAD_UNIT) {
			upload_fail(u, &result);
			break;
		}
		shrink(u);
		upload_try_again(u, UPLOAD_STEP_ASK, &result);
		break;
	case UPLOAD_RENEW:
		upload_lose_session(u, &result);
		break;
	case UPLOAD_RESHAPE:
		shrink(u);
		upload_restart(u, true, &result);
		break;
	case UPLOAD_LATER:
		upload_stop(u, &result);
		break;
	case UPLOAD_FAIL:
		upload_fail(u, &result);
		break;
	}
}

int upload_put(struct upload *u)
{
	struct upload_pool *pool = u->pool;
	uint64_t rate = pool->limit.bytes_s;
	uint64_t pace = rate > 0 && rate / 2 < SLOWEST_BYTES_S ? rate / 2 + 1 : SLOWEST_BYTES_S;
	char range[96];
	const char *const headers[] = { range, "Content-Type: application/octet-stream", NULL };

	snprintf(range, sizeof(range), "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64,
		 u->off, u->off + u->put_len - 1, u->spec.size);
	u->put_ms = loop_now_ms(pool->graph->loop);
	if (u->off + u->put_len > u->reach)
		u->reach = u->off + u->put_len;
	return http_start(pool->graph->http,
			  &(struct http_spec){
				  .method = "PUT",
				  .url = u->url,
				  .headers = headers,
				  .body = u->data + (u->off - u->data_off),
				  .body_len = u->put_len,
				  .is_body_borrowed = true,
				  .is_once = true,
				  .send_bytes_s = rate,
				  .priority = u->spec.priority,
				  .host_class = HTTP_CONTENT,
				  .total_ms = CHUNK_BASE_MS + u->put_len * 1000 / pace,
				  .stall_ms = STALL_MS,
				  .max_body = REPLY_MAX,
				  .on_done = on_put,
				  .arg = u,
			  },
			  &u->request);
}

void upload_begin_chunk(struct upload *u)
{
	struct graph_result result;

	if (u->read_error < 0) {
		result = upload_no_reply(u->read_error, "the content cannot be read");
		upload_fail(u, &result);
		return;
	}
	u->put_len = ready_len(u);
	if (u->put_len == 0)
		begin_read(u);
	else
		upload_go(
			u, UPLOAD_STEP_PUT,
			limit_take(&u->pool->limit, u->put_len, loop_now_ms(u->pool->graph->loop)));
}

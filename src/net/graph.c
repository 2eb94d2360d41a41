#define LOG_MODULE "graph"
#include "graph_call.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	TRIES_PERSON = 4,
	TRIES_BACKGROUND = 6,
	BACKOFF_FIRST_MS = 250,
	BACKOFF_MAX_MS = 20000,
	STALL_PERSON_MS = 8000,
	STALL_BACKGROUND_MS = 30000,
	BODY_MAX = 64 * 1024 * 1024,
};

static void send_call(struct graph_call *call);

static void on_send_timer(void *arg)
{
	send_call(arg);
}

int graph_new(struct loop *loop, struct http *http, struct auth *auth, const char *base_url,
	      struct graph **ret)
{
	struct graph *graph;

	if (!http_is_url_allowed(base_url)) {
		log_error("%s is not a usable base for Graph: https, or http to loopback only",
			  log_url(base_url));
		return -EINVAL;
	}
	graph = calloc(1, sizeof(*graph));
	if (!graph)
		return -ENOMEM;
	graph->loop = loop;
	graph->http = http;
	graph->auth = auth;
	graph->is_reachable = true;
	graph->jitter_seed = (unsigned)clock_real_ns();
	graph->base_url = strdup(base_url);
	if (!graph->base_url) {
		free(graph);
		return -ENOMEM;
	}
	*ret = graph;
	return 0;
}

void graph_free(struct graph *graph)
{
	if (!graph)
		return;
	skips_fini(&graph->skips);
	free(graph->base_url);
	free(graph);
}

unsigned graph_skipped_n(const struct graph *graph)
{
	return graph->skips.n;
}

void graph_on_reachable(struct graph *graph, void (*fn)(void *arg, bool reachable), void *arg)
{
	graph->on_reachable = fn;
	graph->reachable_arg = arg;
}

void graph_call_note_reachable(struct graph *graph, bool reachable)
{
	bool tell = !reachable || !graph->is_reachable;

	graph->is_reachable = reachable;
	if (reachable)
		graph->last_reply_ms = loop_now_ms(graph->loop);
	if (tell && graph->on_reachable)
		graph->on_reachable(graph->reachable_arg, reachable);
}

struct graph_call *graph_call_new(struct graph *graph, char *url, enum http_priority priority)
{
	struct graph_call *call = calloc(1, sizeof(*call));

	if (!call || loop_timer_init(&call->timer, graph->loop, on_send_timer, call) < 0) {
		free(call);
		free(url);
		return NULL;
	}
	call->graph = graph;
	call->method = "GET";
	call->url = url;
	call->priority = priority;
	call->began_ms = loop_now_ms(graph->loop);
	call->ends_ms =
		call->began_ms + (priority == HTTP_PERSON ? GRAPH_PERSON_MS : GRAPH_BACKGROUND_MS);
	list_init(&call->waiter.node);
	return call;
}

int graph_call_make(struct graph *graph, char *url, enum http_priority priority, void *arg,
		    bool (*finish)(struct graph_call *, struct graph_result *, const char *,
				   size_t),
		    struct graph_call **ret)
{
	struct graph_call *call = url ? graph_call_new(graph, url, priority) : NULL;

	if (!call)
		return -ENOMEM;
	call->finish = finish;
	call->arg = arg;
	*ret = call;
	return 0;
}

void graph_call_free(struct graph_call *call)
{
	loop_timer_fini(&call->timer);
	free(call->url);
	free(call->own_body);
	free(call->if_match);
	if (call->token)
		explicit_bzero(call->token, strlen(call->token));
	free(call->token);
	free((char *)call->content.url);
	free(call);
}

void graph_cancel(struct graph_call *call)
{
	if (!call)
		return;
	auth_unwant(&call->waiter);
	if (call->request)
		http_cancel(call->request);
	graph_call_free(call);
}

int graph_call_start(struct graph_call *call, struct graph_call **ret)
{
	if (!http_is_same_origin(call->url, call->graph->base_url)) {
		log_error("a link of the service leads away from it, to %s: refused",
			  log_url(call->url));
		graph_call_free(call);
		return -EPERM;
	}
	/* In the next turn, so that nobody is called back from inside his own call. */
	loop_timer_arm(&call->timer, 0);
	*ret = call;
	return 0;
}

static void end(struct graph_call *call, struct graph_result *result, const char *body, size_t len)
{
	if (result->error != 0 && result->status != 0)
		log_debug("%s: %ld %s (%s)", log_url(call->url), result->status, result->code,
			  result->request_id);
	if (call->finish(call, result, body, len))
		graph_call_free(call);
}

static void end_early(struct graph_call *call, int error, bool is_unclear, const char *text)
{
	struct graph_result result = { .error = error,
				       .reason = error == -EACCES   ? GRAPH_SIGN_IN
						 : error == -EAGAIN ? GRAPH_THROTTLED
								    : GRAPH_NO_REPLY,
				       .is_offline = error == -ENETDOWN && !is_unclear,
				       .is_unclear = is_unclear };

	snprintf(result.text, sizeof(result.text), "%s", text);
	end(call, &result, "", 0);
}

uint64_t graph_call_note_throttle(struct graph *graph, const struct http_head *head)
{
	return throttle_note(&graph->throttle, head, loop_now_ms(graph->loop), clock_real_s());
}

static uint64_t backoff_ms(struct graph_call *call)
{
	uint64_t ms = BACKOFF_FIRST_MS;

	for (unsigned i = 1; i < call->tries_n && ms < BACKOFF_MAX_MS; i++)
		ms *= 2;
	/* Full jitter on the upper half keeps clients from returning in step. */
	return ms / 2 + (uint64_t)rand_r(&call->graph->jitter_seed) % (ms / 2 + 1);
}

bool graph_call_again(struct graph_call *call, uint64_t wait_ms)
{
	unsigned tries = call->priority == HTTP_PERSON ? TRIES_PERSON : TRIES_BACKGROUND;
	uint64_t backoff = backoff_ms(call), now = loop_now_ms(call->graph->loop);

	if (wait_ms < backoff)
		wait_ms = backoff;
	if (call->tries_n >= tries || now + wait_ms >= call->ends_ms)
		return false;
	loop_timer_arm(&call->timer, wait_ms);
	return true;
}

static bool is_transient(long status)
{
	return status == 408 || status == 429 || status == 500 ||
	       (status >= 502 && status <= 504) || status == 509;
}

static bool has_resync_code(const struct item_error *error)
{
	for (unsigned i = 0; i < error->codes_n; i++)
		if (strncasecmp(error->codes[i], "resync", 6) == 0 ||
		    strcasecmp(error->codes[i], "syncStateNotFound") == 0)
			return true;
	return false;
}

void graph_call_describe(long status, const char *body, size_t len, struct graph_result *result)
{
	struct item_error error;
	const char *code;

	item_parse_error(body, len, &error);
	result->status = status;
	result->error = graph_errno(status, &error, &code);
	result->reason = graph_reason(status, &error);
	result->is_resync = status == 410 || has_resync_code(&error);
	snprintf(result->code, sizeof(result->code), "%s", code);
	snprintf(result->text, sizeof(result->text), "%ld %s", status,
		 code[0] ? code : "without a reason");
	snprintf(result->request_id, sizeof(result->request_id), "%s", error.request_id);
}

static void describe(struct graph_call *call, const struct http_head *head, const char *body,
		     size_t len, struct graph_result *result)
{
	graph_call_describe(head->status, body, len, result);
	if (!result->request_id[0] && head->request_id)
		snprintf(result->request_id, sizeof(result->request_id), "%s", head->request_id);
	result->is_unclear = call->is_once && result->reason == GRAPH_FAULT;
	result->is_resync |= call->takes_dead_token && call->tries_n > 1 &&
			     (head->status == 400 || head->status == 404);
	if (result->is_resync && head->location &&
	    http_is_same_origin(head->location, call->graph->base_url))
		result->location = (char *)head->location;
}

static void on_no_reply(struct graph_call *call, int error, bool was_sent)
{
	struct graph *graph = call->graph;
	bool is_unclear = call->is_once && was_sent;
	/* One connection that broke makes nobody offline; what can be sent again shows more. */
	bool is_network = (error == -ENETDOWN && !is_unclear) ||
			  (error == -ETIMEDOUT && graph->last_reply_ms < call->began_ms);

	if (error == -ENETDOWN && !is_unclear && graph->is_reachable && graph_call_again(call, 0))
		return;
	if (error == -EBADMSG && !is_unclear && graph_call_again(call, 0))
		return;
	if (is_network)
		graph_call_note_reachable(graph, false);
	log_debug("%s: no reply that can be used: %s", log_url(call->url), strerror(-error));
	end_early(call, error, is_unclear, strerror(-error));
}

static bool is_written(const struct graph_call *call, long status)
{
	return call->method[0] != 'G' && status >= 200 && status < 300;
}

static void on_done(void *arg, int error, const struct http_head *head, const char *body,
		    size_t len)
{
	struct graph_call *call = arg;
	struct graph *graph = call->graph;
	struct graph_result result = { 0 };
	bool was_sent = http_was_sent(call->request);
	uint64_t wait_ms;

	call->request = NULL;
	if (!head || error != 0) {
		on_no_reply(call, error, was_sent);
		return;
	}
	graph_call_note_reachable(graph, true);
	result.status = head->status;
	wait_ms = graph_call_note_throttle(graph, head);
	result.retry_after_ms = wait_ms;
	if (head->status == 302 && call->wants_redirect && head->location) {
		end(call, &result, head->location, strlen(head->location));
		return;
	}
	if (call->wants_location && is_written(call, head->status)) {
		end(call, &result, head->location ? head->location : "",
		    head->location ? strlen(head->location) : 0);
		return;
	}
	if (head->status == 200 || is_written(call, head->status)) {
		end(call, &result, body, len);
		return;
	}
	if (head->status == 401 && !call->was_rejected) {
		call->was_rejected = true;
		auth_reject(graph->auth, call->token);
		loop_timer_arm(&call->timer, 0);
		return;
	}
	/* A service that asks to wait has done nothing; one that failed may have. */
	if (is_transient(head->status) && (!call->is_once || wait_ms > 0) &&
	    graph_call_again(call, wait_ms))
		return;
	if (call->takes_dead_token && call->tries_n == 1 &&
	    (head->status == 400 || head->status == 404) && graph_call_again(call, 0))
		return;
	describe(call, head, body, len, &result);
	end(call, &result, body, len);
}

static int send_with(struct graph_call *call, const char *token)
{
	const char *headers[5] = { "Accept: application/json" };
	uint64_t now = loop_now_ms(call->graph->loop);
	size_t n = 1;

	if (call->prefer)
		headers[n++] = call->prefer;
	if (call->content_type)
		headers[n++] = call->content_type;
	if (call->if_match)
		headers[n++] = call->if_match;
	return http_start(call->graph->http,
			  &(struct http_spec){
				  .method = call->method,
				  .url = call->url,
				  .bearer = token,
				  .headers = headers,
				  .body = call->body,
				  .body_len = call->body_len,
				  .is_body_borrowed = true,
				  .is_once = call->is_once,
				  .send_bytes_s = call->send_bytes_s,
				  .priority = call->priority,
				  .host_class = HTTP_API,
				  .accept_compressed = true,
				  .total_ms = call->ends_ms > now ? call->ends_ms - now : 1,
				  .stall_ms = call->priority == HTTP_PERSON ? STALL_PERSON_MS
									    : STALL_BACKGROUND_MS,
				  .max_body = BODY_MAX,
				  .on_done = on_done,
				  .arg = call,
			  },
			  &call->request);
}

static void on_token(struct auth_waiter *w, int error, const char *token)
{
	struct graph_call *call = container_of(w, struct graph_call, waiter);
	int r;

	if (error < 0) {
		if (error == -ENETDOWN || error == -ETIMEDOUT)
			graph_call_note_reachable(call->graph, false);
		end_early(call, error, false,
			  error == -EACCES ? "sign in again" : strerror(-error));
		return;
	}
	if (call->token)
		explicit_bzero(call->token, strlen(call->token));
	free(call->token);
	call->token = strdup(token);
	call->tries_n++;
	r = call->token ? send_with(call, token) : -ENOMEM;
	if (r < 0)
		end_early(call, r, false, strerror(-r));
}

/* Waits for the gate, then for a token, then sends. */
static void send_call(struct graph_call *call)
{
	struct graph *graph = call->graph;
	uint64_t now = loop_now_ms(graph->loop);
	uint64_t gate_ms = throttle_until_ms(&graph->throttle, call->priority);

	if (!graph->is_reachable && call->priority == HTTP_PERSON) {
		/* Background work goes on asking and finds out when the service is back. */
		end_early(call, -ENETDOWN, false, "offline");
		return;
	}
	if (now < gate_ms) {
		if (gate_ms >= call->ends_ms && call->priority == HTTP_PERSON) {
			end_early(call, -EAGAIN, false, "the service asks to wait");
			return;
		}
		if (gate_ms >= call->ends_ms)
			call->ends_ms = gate_ms + GRAPH_BACKGROUND_MS;
		loop_timer_arm(&call->timer, gate_ms - now);
		return;
	}
	call->waiter.fn = on_token;
	auth_want(graph->auth, &call->waiter);
}

#define LOG_MODULE "graphlive"
#include <graphlive/graphlive.h>

#include "auth.h"
#include "config-build.h"
#include "graph.h"
#include "http.h"
#include "live.h"
#include "log.h"
#include "loop.h"
#include "loopfd.h"
#include "ws.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	HOSTS_MAX = 32,
	/* A token is used for the request it was asked for and for that request's repetition. */
	TOKEN_S = 120,
};

/* The size of the first version's options: no program can have less. */
#define OPTIONS_SIZE_0 (offsetof(struct graphlive_options, refused_ms) + sizeof(uint64_t))

/* A question to the owner. His answer is taken when the loop turns, so that every callback is made
 * from inside graphlive_dispatch(). */
struct question {
	struct loop_call call;
	bool is_asked, is_answered;
	int error;
	char *secret; /* URL or token; NULL on failure */
	int64_t expires_s;
	char reason[200];
};

struct graphlive {
	struct graphlive_options options; /* strings in it are not kept, but for: */
	char *hosts[HOSTS_MAX + 1];
	char *drive_path;

	struct loop *loop;
	struct loopfd fd;
	struct ws *ws;
	struct live *live;
	/* With get_token only. */
	struct http *http;
	struct auth *auth;
	struct graph *graph;
	struct graph_call *subscription;

	struct question endpoint, token;
	struct loop_call start, kick;
	bool is_started, is_kicked, in_dispatch, is_freed;
};

/* --- questions --- */

static void question_clear(struct question *q)
{
	if (q->secret)
		explicit_bzero(q->secret, strlen(q->secret));
	free(q->secret);
	*q = (struct question){ 0 };
}

/* error 0 and a secret, or an error and none. fn takes it in the loop's next turn. */
static int question_answer(struct graphlive *live, struct question *q, int error,
			   const char *secret, loop_fn fn)
{
	if (!q->is_asked || q->is_answered || error > 0 || (error == 0) != (secret != NULL))
		return -EINVAL;
	q->secret = secret ? strdup(secret) : NULL;
	if (secret && !q->secret)
		return -ENOMEM;
	q->error = error;
	q->is_answered = true;
	loop_post(live->loop, &q->call, fn, live);
	loopfd_arm(&live->fd);
	return 0;
}

/* --- endpoints that the owner fetches --- */

static void on_endpoint_answer(void *arg)
{
	struct graphlive *live = arg;
	struct question q = live->endpoint;

	live->endpoint = (struct question){ 0 };
	if (live->live)
		live_set_endpoint(live->live, q.error, q.error == -EOPNOTSUPP, q.reason, q.secret,
				  q.expires_s ? q.expires_s * 1000000000 : INT64_MIN);
	question_clear(&q);
}

int graphlive_set_endpoint(struct graphlive *live, const char *url, int64_t expires_s)
{
	int r = expires_s < 0 || expires_s > INT64_MAX / 1000000000
			? -EINVAL
			: question_answer(live, &live->endpoint, 0, url, on_endpoint_answer);

	if (r == 0)
		live->endpoint.expires_s = expires_s;
	return r;
}

int graphlive_fail_endpoint(struct graphlive *live, int error, const char *reason)
{
	int r = question_answer(live, &live->endpoint, error, NULL, on_endpoint_answer);

	if (r == 0)
		snprintf(live->endpoint.reason, sizeof(live->endpoint.reason), "%s",
			 reason ? reason : strerror(-error));
	return r;
}

/* --- endpoints that Graph gives --- */

static void on_token_answer(void *arg)
{
	struct graphlive *live = arg;
	struct question q = live->token;

	live->token = (struct question){ 0 };
	if (live->auth)
		auth_answer(live->auth, q.error, q.secret, TOKEN_S);
	question_clear(&q);
}

int graphlive_set_token(struct graphlive *live, const char *token)
{
	return question_answer(live, &live->token, 0, token, on_token_answer);
}

int graphlive_fail_token(struct graphlive *live, int error)
{
	return question_answer(live, &live->token, error, NULL, on_token_answer);
}

static void on_token_wanted(void *arg, bool was_rejected)
{
	struct graphlive *live = arg;

	live->token = (struct question){ .is_asked = true };
	if (!live->is_freed)
		live->options.get_token(live->options.arg, live, was_rejected);
}

static void on_subscription(void *arg, const struct graph_result *result,
			    const struct item_subscription *sub)
{
	struct graphlive *live = arg;

	live->subscription = NULL;
	live_set_endpoint(live->live, result->error, graph_is_channel_unsupported(result),
			  result->text, sub ? sub->notification_url : NULL,
			  sub ? sub->expires_ns : INT64_MIN);
}

/* --- what the channel says --- */

static void on_endpoint_wanted(void *arg)
{
	struct graphlive *live = arg;
	int r;

	if (live->is_freed)
		return;
	if (live->options.get_endpoint) {
		live->endpoint = (struct question){ .is_asked = true };
		live->options.get_endpoint(live->options.arg, live);
		return;
	}
	r = graph_get_subscription_at(live->graph, live->drive_path, on_subscription, live,
				      &live->subscription);
	if (r < 0)
		live_set_endpoint(live->live, r, false, strerror(-r), NULL, INT64_MIN);
}

static void on_live(void *arg, enum live_event event, const char *reason)
{
	static const enum graphlive_event events[] = {
		[LIVE_CONNECTING] = GRAPHLIVE_CONNECTING,
		[LIVE_UP] = GRAPHLIVE_UP,
		[LIVE_NOTIFICATION] = GRAPHLIVE_NOTIFICATION,
		[LIVE_SUSPECT] = GRAPHLIVE_SUSPECT,
		[LIVE_DOWN] = GRAPHLIVE_DOWN,
		[LIVE_UNSUPPORTED] = GRAPHLIVE_UNSUPPORTED,
	};
	struct graphlive *live = arg;

	if (!live->is_freed)
		live->options.on_event(live->options.arg, live, events[event], reason);
}

/* --- a handle's life --- */

/* Older programs know fewer options, newer ones more: these must be unset. */
static int take_options(const struct graphlive_options *given, struct graphlive_options *ret)
{
	const unsigned char *bytes = (const unsigned char *)given;
	size_t known = given->size < sizeof(*ret) ? given->size : sizeof(*ret);

	if (given->size < OPTIONS_SIZE_0)
		return -EINVAL;
	for (size_t i = known; i < given->size; i++)
		if (bytes[i] != 0)
			return -E2BIG;
	*ret = (struct graphlive_options){ 0 };
	memcpy(ret, given, known);
	if (!ret->on_event || !ret->get_endpoint == !ret->get_token)
		return -EINVAL;
	if (ret->get_token &&
	    (!ret->graph_url || !ret->drive || !http_is_url_allowed(ret->graph_url)))
		return -EINVAL;
	return 0;
}

static int copy_hosts(struct graphlive *live, const char *const *hosts)
{
	for (size_t i = 0; hosts && hosts[i]; i++) {
		if (i == HOSTS_MAX)
			return -EINVAL;
		live->hosts[i] = strdup(hosts[i]);
		if (!live->hosts[i])
			return -ENOMEM;
	}
	return 0;
}

static int make_graph(struct graphlive *live)
{
	const struct graphlive_options *o = &live->options;
	auto_free char *base = strdup(o->graph_url);
	size_t len = base ? strlen(base) : 0;
	int r = base ? graph_drive_path(o->drive, &live->drive_path) : -ENOMEM;

	while (len > 0 && base[len - 1] == '/')
		base[--len] = '\0';
	if (r == 0)
		r = http_new(live->loop,
			     &(struct http_options){
				     .ca_file = o->ca_file,
				     .user_agent = o->user_agent ? o->user_agent
								 : "graphlive/" GRAPHFS_VERSION,
			     },
			     &live->http);
	if (r == 0)
		r = auth_new_asking(live->loop, on_token_wanted, live, &live->auth);
	return r < 0 ? r : graph_new(live->loop, live->http, live->auth, base, &live->graph);
}

static int make_live(struct graphlive *live)
{
	const struct graphlive_options *o = &live->options;
	const struct live_options options = {
		.dial_ms = o->dial_ms,
		.join_ms = o->join_ms,
		.backoff_min_ms = o->backoff_min_ms,
		.backoff_max_ms = o->backoff_max_ms,
		.stable_ms = o->stable_ms,
		.renew_before_ms = o->renew_before_ms,
		.renew_min_ms = o->renew_min_ms,
		.lifetime_ms = o->lifetime_ms,
		.refused_ms = o->refused_ms,
		.host_suffixes = live->hosts[0] ? (const char *const *)live->hosts : NULL,
	};

	return live_new(live->loop, live->ws, &options,
			&(struct live_events){
				.arg = live,
				.get_endpoint = on_endpoint_wanted,
				.on_event = on_live,
			},
			&live->live);
}

int graphlive_new(const struct graphlive_options *options, struct graphlive **ret)
{
	struct graphlive *live = calloc(1, sizeof(*live));
	int r = live ? take_options(options, &live->options) : -ENOMEM;

	if (r == 0)
		r = copy_hosts(live, live->options.host_suffixes);
	if (r == 0)
		r = loop_new(&live->loop);
	if (r == 0)
		r = loopfd_init(&live->fd, live->loop);
	if (r == 0)
		r = ws_new(live->loop, live->options.ca_file, &live->ws);
	if (r == 0 && live->options.get_token)
		r = make_graph(live);
	if (r == 0)
		r = make_live(live);
	if (r < 0) {
		graphlive_free(live);
		return r;
	}
	loopfd_arm(&live->fd);
	*ret = live;
	return 0;
}

static void free_now(struct graphlive *live)
{
	live_free(take_ptr(&live->live));
	graph_cancel(live->subscription);
	graph_free(live->graph);
	auth_free(take_ptr(&live->auth));
	http_free(live->http);
	ws_free(live->ws);
	loopfd_fini(&live->fd);
	/* Runs what is posted: it finds no channel any more. */
	loop_free(live->loop);
	question_clear(&live->endpoint);
	question_clear(&live->token);
	for (size_t i = 0; live->hosts[i]; i++)
		free(live->hosts[i]);
	free(live->drive_path);
	free(live);
}

void graphlive_free(struct graphlive *live)
{
	if (!live)
		return;
	live->is_freed = true;
	/* From inside a callback: the loop is on the stack, and the dispatch frees at its end. */
	if (!live->in_dispatch)
		free_now(live);
}

static void on_start(void *arg)
{
	struct graphlive *live = arg;

	if (live->live)
		live_start(live->live);
}

int graphlive_start(struct graphlive *live)
{
	if (live->is_started)
		return -EALREADY;
	live->is_started = true;
	loop_post(live->loop, &live->start, on_start, live);
	loopfd_arm(&live->fd);
	return 0;
}

static void on_kick(void *arg)
{
	struct graphlive *live = arg;

	live->is_kicked = false;
	if (live->live)
		live_kick(live->live);
}

int graphlive_kick(struct graphlive *live)
{
	if (!live->is_started)
		return -EINVAL;
	if (!live->is_kicked) {
		live->is_kicked = true;
		loop_post(live->loop, &live->kick, on_kick, live);
		loopfd_arm(&live->fd);
	}
	return 0;
}

int graphlive_fd(const struct graphlive *live)
{
	return live->fd.fd;
}

int graphlive_dispatch(struct graphlive *live)
{
	if (live->in_dispatch)
		return -EBUSY;
	live->in_dispatch = true;
	loopfd_turn(&live->fd);
	live->in_dispatch = false;
	if (live->is_freed)
		free_now(live);
	else
		loopfd_arm(&live->fd);
	return 0;
}

/* --- for status displays and debugging --- */

int graphlive_is_up(const struct graphlive *live)
{
	return live_is_up(live->live);
}

const char *graphlive_host(const struct graphlive *live)
{
	return live_host(live->live);
}

int64_t graphlive_connected_since(const struct graphlive *live)
{
	return live_connected_since_s(live->live);
}

int64_t graphlive_last_notification(const struct graphlive *live)
{
	return live_last_notification_s(live->live);
}

const char *graphlive_version(void)
{
	return GRAPHFS_VERSION;
}

static void (*log_fn)(int level, const char *line);

static void on_log(enum log_level level, const char *line, size_t len)
{
	static const int levels[] = { [LOG_LEVEL_ERROR] = 3,
				      [LOG_LEVEL_WARN] = 4,
				      [LOG_LEVEL_INFO] = 6,
				      [LOG_LEVEL_DEBUG] = 7 };
	auto_free char *copy = strndup(line, len - 1);

	if (log_fn && copy)
		log_fn(levels[level], copy);
}

void graphlive_set_log(void (*fn)(int level, const char *line), int max_level)
{
	log_fn = fn;
	log_set_level(max_level >= 7   ? LOG_LEVEL_DEBUG
		      : max_level >= 5 ? LOG_LEVEL_INFO
		      : max_level >= 4 ? LOG_LEVEL_WARN
				       : LOG_LEVEL_ERROR);
	log_set_sink(on_log, false);
}

/* A library does not write to a program's standard error. */
__attribute__((constructor)) static void be_quiet(void)
{
	log_set_sink(on_log, false);
}

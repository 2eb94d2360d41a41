#include "simsock.h"
#include "simengine.h"
#include "simws.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct simsock_knobs normal = {
	.refuse_status = 400,
	.ping_interval_ms = 25000,
	.ping_timeout_ms = 20000,
	.connect_timeout_ms = 45000,
	.lifetime_s = 3600,
};

struct simsock *simsock_new(struct sim *s)
{
	struct simsock *k = simjson_alloc(sizeof(*k));

	k->sim = s;
	k->knobs = normal;
	k->next_session = 1;
	k->random = simtree_now_ns();
	list_init(&k->sessions);
	return k;
}

static void free_knobs(struct simsock_knobs *knobs)
{
	free(knobs->open_text);
	free(knobs->after_101);
	free(knobs->event);
	free(knobs->url_base);
}

void simsock_free(struct simsock *k)
{
	free_knobs(&k->knobs);
	free(k);
}

/* --- subscriptions --- */

static struct simsock_subscription *new_subscription(struct simsock *k, unsigned drive)
{
	struct simsock_subscription *sub =
		&k->subscriptions[k->subscription_n++ % SIMSOCK_SUBSCRIPTIONS_MAX];
	bool is_callback = k->knobs.is_callback_shape;
	int64_t lifetime_ms = k->knobs.lifetime_s * 1000;
	unsigned long long secret;

	k->random = simid_mix(k->random + 0x9e3779b97f4a7c15u);
	secret = k->random;
	*sub = (struct simsock_subscription){ .drive = drive };
	simid_guid(k->random, sub->id);
	/* Characters that a URL library likes to change. */
	snprintf(sub->token, sizeof(sub->token), "sim-nt.%016llx+~'/%%", secret);
	snprintf(sub->query, sizeof(sub->query),
		 "%s=sim-nt.%016llx%%2b%%7E'%%2F%%25&applicationId=11111111-2222-3333-4444-"
		 "555555555555",
		 is_callback ? "snthgk" : "token", secret);
	snprintf(sub->space, sizeof(sub->space), is_callback ? "/zbaehwg" : "/notifications");
	if (is_callback)
		snprintf(sub->other_space, sizeof(sub->other_space), "/zbaehwg/callback");
	sub->until_ms = simtree_now_ns() / 1000000 + (uint64_t)lifetime_ms;
	sub->until_wall_ms = simtree_now_ms() + lifetime_ms;
	return sub;
}

void simsock_subscribe(struct sim *s, struct simreq *req, struct simreply *reply,
		       const struct simroute *route)
{
	struct simsock *k = s->sock;
	struct simsock_subscription *sub;
	struct simjson *w = &reply->body;

	if (!route->is_root_form || route->item != s->tree.root[route->drive]) {
		sim_error(reply, req, 400, "notSupported", NULL, "Only a drive's root has one.");
		return;
	}
	sub = new_subscription(k, route->drive);
	simjson_open(w, NULL, '{');
	simjson_str(w, "@odata.context",
		    "https://graph.microsoft.com/v1.0/$metadata#subscriptions/$entity");
	simjson_str(w, "clientState", "system-managed:8082D436-D8DA-458D-96AD-34C902B73F37");
	if (!k->knobs.has_no_expiry)
		simjson_time(w, "expirationDateTime",
			     k->knobs.is_past ? simtree_now_ms() - 60000 : sub->until_wall_ms, 7);
	simjson_str(w, "id", sub->id);
	simjson_format(w, ",\"notificationUrl\":\"%s%s?%s\"}",
		       k->knobs.url_base ? k->knobs.url_base : s->base[SIMPORT_NOTIFY],
		       k->knobs.is_callback_shape ? "/zbaehwg/callback" : "/notifications",
		       sub->query);
}

static const struct simsock_subscription *find_subscription(struct simsock *k,
							    const struct simreq *req)
{
	auto_free char *token = simhttp_param(req, "token");
	auto_free char *other = simhttp_param(req, "snthgk");

	for (unsigned i = 0; i < SIMSOCK_SUBSCRIPTIONS_MAX && i < k->subscription_n; i++) {
		const struct simsock_subscription *sub = &k->subscriptions[i];
		const char *given = token ? token : other;

		if (strstr(req->query, sub->query))
			return sub;
		if (given && strcmp(given, sub->token) == 0) {
			if (!k->sim->is_strict)
				return sub;
			sim_violation(k->sim, "notification URL was changed on its way");
			return NULL;
		}
	}
	return NULL;
}

/* --- upgrades --- */

static void refuse(struct simreply *reply, int status, int code, const char *message)
{
	reply->status = status;
	reply->content_type = "application/json";
	reply->end = SIMEND_CLOSE;
	simjson_format(&reply->body, "{\"code\":%d,\"message\":\"%s\"}", code, message);
}

/* True when the request may become a WebSocket; else the reply says why not. */
static bool check_upgrade(struct simsock *k, const struct simreq *req, struct simreply *reply)
{
	const char *upgrade = simhttp_head(req, "Upgrade");
	const char *connection = simhttp_head(req, "Connection");
	const char *version = simhttp_head(req, "Sec-WebSocket-Version");
	auto_free char *transport = simhttp_param(req, "transport");
	auto_free char *sid = simhttp_param(req, "sid");

	if (strcmp(req->path, "/socket.io/") != 0) {
		/* A stock server leaves such a request unanswered and closes. */
		sim_violation(k->sim, "path on the notification host is not /socket.io/");
		reply->no_answer = true;
		reply->end = SIMEND_CLOSE;
		reply->delay_ms = 1000;
		return false;
	}
	if (k->sim->is_strict && simhttp_head(req, "Authorization")) {
		sim_violation(k->sim, "Authorization header on the notification host");
		refuse(reply, 400, 3, "Bad request");
		return false;
	}
	if (!transport || strcmp(transport, "websocket") != 0) {
		refuse(reply, 400, 0, "Transport unknown");
		return false;
	}
	if (sid) {
		refuse(reply, 400, 1, "Session ID unknown");
		return false;
	}
	if (strcmp(req->method, "GET") != 0 || !upgrade || strcasecmp(upgrade, "websocket") != 0 ||
	    !connection || !strcasestr(connection, "upgrade") || !version ||
	    strcmp(version, "13") != 0 || !simhttp_head(req, "Sec-WebSocket-Key")) {
		refuse(reply, 400, 3, "Bad request");
		return false;
	}
	return true;
}

static void upgrade(struct simsock *k, struct simreq *req, struct simreply *reply)
{
	auto_free char *eio = simhttp_param(req, "EIO");
	const struct simsock_subscription *sub;
	char accept[64];

	if (!check_upgrade(k, req, reply))
		return;
	if (!eio || (strcmp(eio, "4") != 0 && strcmp(eio, "3") != 0)) {
		refuse(reply, 400, 5, "Unsupported protocol version");
		return;
	}
	sub = find_subscription(k, req);
	if (!sub || k->knobs.is_refused ||
	    (sub->until_ms && simtree_now_ns() / 1000000 >= sub->until_ms)) {
		refuse(reply, sub ? k->knobs.refuse_status : 403, 4, "Forbidden");
		return;
	}
	simws_accept(k->knobs.has_bad_accept ? "wrong" : simhttp_head(req, "Sec-WebSocket-Key"),
		     accept);
	reply->status = 101;
	reply->content_type = NULL;
	simhttp_header(reply, "Upgrade", "websocket");
	simhttp_header(reply, "Connection", "Upgrade");
	simhttp_header(reply, "Sec-WebSocket-Accept", "%s", accept);
	reply->taker = &simengine_taker;
	reply->taker_arg = simengine_new(k, sub, eio[0] - '0');
}

void simsock_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	struct simfault_rule *rule = simfault_match(&s->faults, SIMCLASS_WEBSOCKET, "", "");

	s->class_n[SIMCLASS_WEBSOCKET]++;
	/* A fault replaces the upgrade: there is nothing to damage after it. */
	if (rule && simfault_phase(rule) == SIMFAULT_AFTER)
		reply->status = 400;
	else if (!rule)
		upgrade(s->sock, req, reply);
	if (rule)
		simfault_apply(rule, reply);
}

/* --- events --- */

static void notify_now(struct simsock *k, unsigned drive)
{
	list_for_each_safe (&k->sessions, pos)
		simengine_notify(simengine_of(pos), drive);
}

static void on_delay(lws_sorted_usec_list_t *timer)
{
	struct simsock *k = container_of(timer, struct simsock, delay);

	for (unsigned d = 0; d < SIMTREE_DRIVES; d++) {
		if (k->is_due[d])
			notify_now(k, d);
		k->is_due[d] = false;
	}
}

void simsock_changed(void *arg, unsigned drive)
{
	struct simsock *k = ((struct sim *)arg)->sock;

	if (k->knobs.is_notify_off)
		return;
	if (k->knobs.notify_delay_ms == 0) {
		notify_now(k, drive);
		return;
	}
	k->is_due[drive] = true;
	if (k->delay.list.owner == NULL)
		lws_sul_schedule(k->sim->serve.context, 0, &k->delay, on_delay,
				 (lws_usec_t)k->knobs.notify_delay_ms * 1000);
}

/* --- admin --- */

static bool text_knob(struct json_object *obj, const char *key, char **value)
{
	struct json_object *member;

	if (!json_object_object_get_ex(obj, key, &member))
		return false;
	free(*value);
	*value = member ? simjson_dup(json_object_get_string(member)) : NULL;
	return true;
}

static void bool_knob(struct json_object *obj, const char *key, bool *value)
{
	struct json_object *member;

	if (json_object_object_get_ex(obj, key, &member))
		*value = json_object_get_boolean(member);
}

static void number_knob(struct json_object *obj, const char *key, unsigned *value)
{
	struct json_object *member;

	if (json_object_object_get_ex(obj, key, &member))
		*value = (unsigned)json_object_get_int64(member);
}

/* Index of the word, -1: absent, -2: none of these. */
static int word_knob(struct json_object *obj, const char *key, const char *const *words, int n)
{
	struct json_object *member;

	if (!json_object_object_get_ex(obj, key, &member))
		return -1;
	for (int i = 0; i < n; i++)
		if (member && strcmp(words[i], json_object_get_string(member)) == 0)
			return i;
	return -2;
}

static const char *word_knobs(struct simsock_knobs *knobs, struct json_object *obj)
{
	static const char *const connects[] = { "accept", "error",       "error_string",
						"ignore", "space_first", "no_sid" };
	static const char *const payloads[] = { "value", "flat", "object", "null", "none" };
	static const char *const shapes[] = { "notifications", "callback" };
	static const char *const expiries[] = { "normal", "none", "past" };
	int connect = word_knob(obj, "connect", connects, 6);
	int payload = word_knob(obj, "payload", payloads, 5);
	int shape = word_knob(obj, "shape", shapes, 2);
	int expiry = word_knob(obj, "expiry", expiries, 3);

	if (connect == -2 || payload == -2 || shape == -2 || expiry == -2)
		return "connect, payload, shape or expiry is none of its words";
	if (connect >= 0)
		knobs->connect = (enum simsock_connect)connect;
	if (payload >= 0)
		knobs->payload = (enum simsock_payload)payload;
	if (shape >= 0)
		knobs->is_callback_shape = shape == 1;
	if (expiry >= 0) {
		knobs->has_no_expiry = expiry == 1;
		knobs->is_past = expiry == 2;
	}
	return NULL;
}

static void plain_knobs(struct simsock_knobs *knobs, struct json_object *obj)
{
	struct json_object *member;
	unsigned fragment = (unsigned)knobs->fragment;
	bool notify = !knobs->is_notify_off, comma = !knobs->has_no_comma;

	number_knob(obj, "open_delay_ms", &knobs->open_delay_ms);
	number_knob(obj, "ping_interval_ms", &knobs->ping_interval_ms);
	number_knob(obj, "ping_timeout_ms", &knobs->ping_timeout_ms);
	number_knob(obj, "connect_timeout_ms", &knobs->connect_timeout_ms);
	number_knob(obj, "notify_delay_ms", &knobs->notify_delay_ms);
	number_knob(obj, "duplicates", &knobs->duplicates);
	number_knob(obj, "fragment", &fragment);
	knobs->fragment = fragment;
	bool_knob(obj, "notify", &notify);
	knobs->is_notify_off = !notify;
	bool_knob(obj, "comma", &comma);
	knobs->has_no_comma = !comma;
	bool_knob(obj, "ws_pings", &knobs->has_ws_pings);
	bool_knob(obj, "silent", &knobs->is_silent);
	bool_knob(obj, "bad_accept", &knobs->has_bad_accept);
	bool_knob(obj, "drop_after_connect", &knobs->drops_after_connect);
	bool_knob(obj, "drop_at_expiry", &knobs->drops_at_expiry);
	bool_knob(obj, "event_in_root", &knobs->is_in_root);
	bool_knob(obj, "ack", &knobs->has_ack);
	bool_knob(obj, "escaped", &knobs->is_escaped);
	bool_knob(obj, "binary", &knobs->is_binary);
	text_knob(obj, "event", &knobs->event);
	text_knob(obj, "open", &knobs->open_text);
	text_knob(obj, "after_101", &knobs->after_101);
	text_knob(obj, "url_base", &knobs->url_base);
	if (json_object_object_get_ex(obj, "refuse", &member)) {
		knobs->is_refused = json_object_get_int(member) > 0;
		knobs->refuse_status = json_object_get_int(member);
	}
	if (json_object_object_get_ex(obj, "lifetime_s", &member))
		knobs->lifetime_s = json_object_get_int64(member);
}

static void end_all(struct simsock *k, enum simend how, bool only_silent)
{
	list_for_each_safe (&k->sessions, pos) {
		struct simengine *e = simengine_of(pos);

		if (!only_silent || simengine_is_silent(e))
			simengine_end(e, how);
	}
}

static const char *act(struct simsock *k, const char *action)
{
	if (strcmp(action, "normal") == 0) {
		struct simsock_knobs before = k->knobs;

		free_knobs(&k->knobs);
		k->knobs = normal;
		k->knobs.ping_interval_ms = before.ping_interval_ms;
		k->knobs.ping_timeout_ms = before.ping_timeout_ms;
		/* What was silent stays dead: its peer lost what it would have heard. */
		end_all(k, SIMEND_RESET, true);
	} else if (strcmp(action, "refuse") == 0) {
		k->knobs.is_refused = true;
	} else if (strcmp(action, "drop") == 0) {
		end_all(k, SIMEND_CLOSE, false);
	} else if (strcmp(action, "reset") == 0) {
		end_all(k, SIMEND_RESET, false);
	} else if (strcmp(action, "silence") == 0) {
		list_for_each (&k->sessions, pos)
			simengine_silence(simengine_of(pos));
	} else {
		return "action is normal, refuse, drop, reset or silence";
	}
	return NULL;
}

const char *simsock_configure(struct simsock *k, struct json_object *knobs)
{
	struct json_object *action;
	const char *wrong = NULL;

	if (json_object_object_get_ex(knobs, "action", &action))
		wrong = act(k, action ? json_object_get_string(action) : "");
	if (!wrong)
		wrong = word_knobs(&k->knobs, knobs);
	if (!wrong)
		plain_knobs(&k->knobs, knobs);
	return wrong;
}

static void send_to(struct simengine *e, struct json_object *what)
{
	struct json_object *member;
	size_t len = 0;

	if (json_object_object_get_ex(what, "text", &member))
		simengine_send_text(e, json_object_get_string(member),
				    (size_t)json_object_get_string_len(member));
	if (json_object_object_get_ex(what, "text_b64", &member)) {
		auto_free char *data = simhttp_base64(json_object_get_string(member), &len);

		if (data)
			simengine_send_text(e, data, len);
	}
	if (json_object_object_get_ex(what, "binary_b64", &member)) {
		auto_free char *data = simhttp_base64(json_object_get_string(member), &len);

		if (data)
			simengine_send_binary(e, data, len);
	}
	if (json_object_object_get_ex(what, "raw_b64", &member)) {
		auto_free char *data = simhttp_base64(json_object_get_string(member), &len);

		if (data)
			simengine_send_raw(e, data, len);
	}
	if (json_object_object_get_ex(what, "size", &member)) {
		size_t n = (size_t)json_object_get_int64(member);
		auto_free char *data = simjson_alloc(n + 1);

		memset(data, '4', n);
		simengine_send_text(e, data, n);
	}
}

static void end_one(struct simengine *e, struct json_object *what)
{
	struct json_object *member;

	if (json_object_object_get_ex(what, "silence", &member))
		simengine_silence(e);
	if (json_object_object_get_ex(what, "close", &member))
		simengine_close(e, (unsigned)json_object_get_int(member));
	if (json_object_object_get_ex(what, "fin", &member))
		simengine_end(e, SIMEND_CLOSE);
	if (json_object_object_get_ex(what, "reset", &member))
		simengine_end(e, SIMEND_RESET);
}

const char *simsock_send(struct simsock *k, struct json_object *what)
{
	struct json_object *member;
	int64_t repeat = 1, only = -1, size = 0;
	unsigned n = 0;

	if (json_object_object_get_ex(what, "repeat", &member))
		repeat = json_object_get_int64(member);
	if (json_object_object_get_ex(what, "socket", &member))
		only = json_object_get_int64(member);
	if (json_object_object_get_ex(what, "size", &member))
		size = json_object_get_int64(member);
	if (repeat < 1 || repeat > 1000000 || size < 0 || size > 256 << 20)
		return "repeat is 1 to 1000000, size up to 256 MiB";
	list_for_each_safe (&k->sessions, pos) {
		struct simengine *e = simengine_of(pos);

		if (only >= 0 && simengine_number(e) != only)
			continue;
		for (int64_t i = 0; i < repeat; i++)
			send_to(e, what);
		end_one(e, what);
		n++;
	}
	return n > 0 ? NULL : "there is no such socket";
}

void simsock_list(struct simsock *k, struct simjson *out)
{
	simjson_open(out, "sockets", '[');
	list_for_each (&k->sessions, pos)
		simengine_write(simengine_of(pos), out);
	simjson_close(out, ']');
	simjson_int(out, "subscriptions", k->subscription_n);
}

#include "simengine.h"
#include "simevent.h"
#include "simws.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_MAX_BYTES = 1000000, ATTACHMENTS_MAX = 10 };

struct simengine {
	struct list link;
	struct simsock *k;
	struct simconn *conn;
	unsigned number;
	int version;
	struct simsock_subscription subscription;
	struct simjson in, message;
	enum simws_op message_op; /* SIMWS_MORE: none begun */
	bool is_open, is_ended, is_silent, waits_for_pong, has_connected;
	bool has_root, has_space;
	char space[64];
	unsigned attachment_n; /* binary messages still due */
	uint64_t opened_ms, event_n, pong_n, ack_n;
	lws_sorted_usec_list_t heartbeat, connect_limit, expiry;
};

struct simengine *simengine_of(struct list *link)
{
	return container_of(link, struct simengine, link);
}

unsigned simengine_number(const struct simengine *e)
{
	return e->number;
}

static void arm(struct simengine *e, lws_sorted_usec_list_t *timer, sul_cb_t cb, uint64_t ms)
{
	lws_sul_schedule(e->k->sim->serve.context, 0, timer, cb, (lws_usec_t)(ms * 1000));
}

/* --- sending --- */

static void send_message(struct simengine *e, enum simws_op op, const void *data, size_t len)
{
	struct simjson out = { 0 };

	if (e->is_ended || e->is_silent)
		return;
	simws_write_message(&out, op, data, len, e->k->knobs.fragment, e->k->knobs.has_ws_pings);
	simserve_send(e->conn, out.data, out.len);
	simjson_fini(&out);
}

void simengine_send_text(struct simengine *e, const char *text, size_t len)
{
	send_message(e, SIMWS_TEXT, text, len);
}

void simengine_send_binary(struct simengine *e, const void *data, size_t len)
{
	send_message(e, SIMWS_BINARY, data, len);
}

void simengine_send_raw(struct simengine *e, const void *data, size_t len)
{
	if (!e->is_ended)
		simserve_send(e->conn, data, len);
}

static void say(struct simengine *e, const char *text)
{
	simengine_send_text(e, text, strlen(text));
}

void simengine_end(struct simengine *e, enum simend how)
{
	if (e->is_ended)
		return;
	e->is_ended = true;
	simserve_end(e->conn, how);
}

void simengine_close(struct simengine *e, unsigned code)
{
	struct simjson out = { 0 };
	uint8_t bytes[2] = { (uint8_t)(code >> 8), (uint8_t)code };

	if (e->is_ended)
		return;
	simws_write(&out, SIMWS_CLOSE, true, bytes, code ? 2 : 0);
	simserve_send(e->conn, out.data, out.len);
	simjson_fini(&out);
	simengine_end(e, SIMEND_CLOSE);
}

void simengine_silence(struct simengine *e)
{
	e->is_silent = true;
	lws_sul_cancel(&e->heartbeat);
}

bool simengine_is_silent(const struct simengine *e)
{
	return e->is_silent;
}

static void breach(struct simengine *e, const char *what)
{
	sim_violation(e->k->sim, "socket %u: %s", e->number, what);
	/* A stock server closes without a status code, whatever the reason. */
	simengine_close(e, 0);
}

/* --- time --- */

static void on_heartbeat(lws_sorted_usec_list_t *timer)
{
	struct simengine *e = container_of(timer, struct simengine, heartbeat);

	if (e->version == 3) {
		breach(e, "no ping came within pingInterval + pingTimeout");
	} else if (e->waits_for_pong) {
		breach(e, "no pong came within pingTimeout");
	} else {
		say(e, "2");
		e->waits_for_pong = true;
		arm(e, &e->heartbeat, on_heartbeat, e->k->knobs.ping_timeout_ms);
	}
}

static void expect_heartbeat(struct simengine *e)
{
	const struct simsock_knobs *knobs = &e->k->knobs;

	e->waits_for_pong = false;
	if (!e->is_silent)
		arm(e, &e->heartbeat, on_heartbeat,
		    knobs->ping_interval_ms + (e->version == 3 ? knobs->ping_timeout_ms : 0u));
}

static void on_connect_limit(lws_sorted_usec_list_t *timer)
{
	struct simengine *e = container_of(timer, struct simengine, connect_limit);

	if (!e->is_open) {
		struct simjson text = { 0 };

		e->is_open = true;
		if (e->k->knobs.open_text)
			simjson_text(&text, e->k->knobs.open_text);
		else
			simjson_format(
				&text,
				"0{\"sid\":\"sim%u_%llx\",\"upgrades\":[],\"pingInterval\":%u,"
				"\"pingTimeout\":%u,\"maxPayload\":1000000}",
				e->number, (unsigned long long)simid_mix(e->number),
				e->k->knobs.ping_interval_ms, e->k->knobs.ping_timeout_ms);
		if (text.len > 0)
			simengine_send_text(e, text.data, text.len);
		simjson_fini(&text);
		if (e->version == 3) {
			e->has_root = true;
			say(e, "40");
		}
		expect_heartbeat(e);
		arm(e, &e->connect_limit, on_connect_limit, e->k->knobs.connect_timeout_ms);
	} else if (!e->has_connected && e->version == 4) {
		breach(e, "no CONNECT within connectTimeout");
	}
}

static void on_expiry(lws_sorted_usec_list_t *timer)
{
	simengine_close(container_of(timer, struct simengine, expiry), 0);
}

/* --- Socket.IO --- */

/* Length of the namespace at the start of text, with and without the comma after it. */
static size_t space_length(const char *text, size_t len, size_t *ret_used)
{
	const char *comma = len > 0 && text[0] == '/' ? memchr(text, ',', len) : NULL;
	size_t n = len > 0 && text[0] == '/' ? comma ? (size_t)(comma - text) : len : 0;

	*ret_used = n + (comma ? 1 : 0);
	return n;
}

static bool may_join(const struct simengine *e, const char *space, size_t n)
{
	const struct simsock_subscription *sub = &e->subscription;

	return (strlen(sub->space) == n && memcmp(sub->space, space, n) == 0) ||
	       (sub->other_space[0] && strlen(sub->other_space) == n &&
		memcmp(sub->other_space, space, n) == 0);
}

static void accept_join(struct simengine *e, const char *space, size_t n)
{
	char text[160];
	const char *comma = n > 0 && !e->k->knobs.has_no_comma ? "," : "";

	if (e->version == 3 || e->k->knobs.connect == SIMSOCK_NO_SID)
		snprintf(text, sizeof(text), "40%.*s%s", (int)n, space, comma);
	else
		snprintf(text, sizeof(text), "40%.*s%s{\"sid\":\"s%u-%zu\"}", (int)n, space, comma,
			 e->number, n);
	say(e, text);
}

static void refuse_join(struct simengine *e, const char *space, size_t n, bool is_string)
{
	char text[400];

	snprintf(text, sizeof(text),
		 is_string ? "44%.*s,\"Invalid namespace\""
			   : "44%.*s,{\"message\":\"Invalid namespace\"}",
		 (int)(n > 200 ? 200 : n), space);
	say(e, text);
}

static void join_space(struct simengine *e, const char *space, size_t n)
{
	enum simsock_connect how = e->k->knobs.connect;

	if (how == SIMSOCK_IGNORE)
		return;
	if (how == SIMSOCK_ERROR || how == SIMSOCK_ERROR_STRING || !may_join(e, space, n)) {
		if (memchr(space, '?', n))
			sim_violation(e->k->sim, "socket %u: namespace with a query", e->number);
		refuse_join(e, space, n, how == SIMSOCK_ERROR_STRING);
		return;
	}
	if (e->has_space) {
		breach(e, "second CONNECT to a joined namespace");
		return;
	}
	e->has_space = true;
	snprintf(e->space, sizeof(e->space), "%.*s", (int)n, space);
	accept_join(e, space, n);
	if (how == SIMSOCK_SPACE_FIRST && e->has_root)
		accept_join(e, "", 0);
	if (e->k->knobs.drops_after_connect)
		simengine_end(e, SIMEND_CLOSE);
}

static void on_connect(struct simengine *e, const char *text, size_t len)
{
	size_t used, n = space_length(text, len, &used);

	e->has_connected = true;
	if (e->version == 3 && n > 0 && memchr(text, '?', n))
		n = (size_t)((const char *)memchr(text, '?', n) - text);
	if (n > 1) {
		join_space(e, text, n);
		return;
	}
	if (e->has_root) {
		breach(e, "second CONNECT to the default namespace");
		return;
	}
	e->has_root = true;
	if (e->k->knobs.connect != SIMSOCK_IGNORE && e->k->knobs.connect != SIMSOCK_SPACE_FIRST)
		accept_join(e, "", 0);
}

static bool has_joined(const struct simengine *e, const char *space, size_t n)
{
	if (n <= 1)
		return e->has_root;
	return e->has_space && strlen(e->space) == n && memcmp(e->space, space, n) == 0;
}

/* NULL, or what makes the packet malformed. */
static const char *check_payload(char type, const char *text, size_t len)
{
	auto_free char *copy = simjson_alloc(len + 1);
	struct json_object *value;
	bool is_array;

	if (type == '1' && len > 0)
		return "DISCONNECT with a payload";
	if (len == 0)
		return NULL;
	memcpy(copy, text, len);
	value = json_tokener_parse(copy);
	is_array = json_object_is_type(value, json_type_array);
	json_object_put(value);
	if (!value)
		return "payload is not JSON";
	return type != '0' && !is_array ? "payload is not an array" : NULL;
}

static void on_packet(struct simengine *e, const char *text, size_t len)
{
	char type = len > 0 ? text[0] : 'x';
	size_t n, used;
	const char *wrong;

	if (type < '0' || type > '6') {
		breach(e, "no such Socket.IO packet type");
		return;
	}
	text++;
	len--;
	if (type == '5' || type == '6') {
		char *end;
		unsigned long due = strtoul(text, &end, 10);

		if (end == text || *end != '-' || due > ATTACHMENTS_MAX) {
			breach(e, "malformed count of attachments");
			return;
		}
		e->attachment_n = (unsigned)due;
		len -= (size_t)(end - text) + 1;
		text = end + 1;
	}
	if (type == '0') {
		on_connect(e, text, len);
		return;
	}
	n = space_length(text, len, &used);
	if (!has_joined(e, text, n)) {
		breach(e, "packet for a namespace that was not joined");
		return;
	}
	text += used;
	len -= used;
	while (len > 0 && isdigit((unsigned char)*text)) {
		text++;
		len--;
	}
	wrong = check_payload(type, text, len);
	if (wrong)
		breach(e, wrong);
	else if (type == '1' && n > 1)
		e->has_space = false;
	else if (type == '1')
		e->has_root = false;
	else if (type == '3')
		e->ack_n++;
}

/* --- Engine.IO --- */

static void on_ping(struct simengine *e, const char *text, size_t len)
{
	auto_free char *pong = simjson_alloc(len + 1);

	if (e->version == 4) {
		breach(e, "ping from an EIO=4 client");
		return;
	}
	memcpy(pong, text, len);
	pong[0] = '3';
	simengine_send_text(e, pong, len);
	expect_heartbeat(e);
}

static void on_text(struct simengine *e, const char *text, size_t len)
{
	if (!e->is_open) {
		breach(e, "packet before the open packet was sent");
		return;
	}
	if (!simws_is_utf8(text, len) || len == 0 || text[0] < '0' || text[0] > '6') {
		breach(e, "no Engine.IO packet");
		return;
	}
	switch (text[0]) {
	case '2':
		on_ping(e, text, len);
		break;
	case '3':
		e->pong_n++;
		if (e->version == 3)
			breach(e, "pong from an EIO=3 client");
		else
			expect_heartbeat(e);
		break;
	case '4':
		if (e->attachment_n > 0)
			breach(e, "text while attachments are due");
		else
			on_packet(e, text + 1, len - 1);
		break;
	default: /* open, close, upgrade and noop do nothing here */
		break;
	}
}

/* --- WebSocket --- */

static void on_message(struct simengine *e)
{
	if (e->message_op == SIMWS_TEXT)
		on_text(e, e->message.data ? e->message.data : "", e->message.len);
	else if (e->attachment_n > 0)
		e->attachment_n--;
	else
		breach(e, "binary message that nothing announced");
}

static void on_frame(struct simengine *e, const struct simws_frame *f, const char *payload)
{
	struct simjson out = { 0 };

	switch (f->op) {
	case SIMWS_PING:
		simws_write(&out, SIMWS_PONG, true, payload, f->len);
		if (!e->is_silent)
			simserve_send(e->conn, out.data, out.len);
		simjson_fini(&out);
		return;
	case SIMWS_PONG:
		return;
	case SIMWS_CLOSE:
		simengine_close(e, 0);
		return;
	case SIMWS_TEXT:
	case SIMWS_BINARY:
		if (e->message_op != SIMWS_MORE) {
			breach(e, "message within a message");
			return;
		}
		e->message_op = f->op;
		break;
	case SIMWS_MORE:
		if (e->message_op == SIMWS_MORE) {
			breach(e, "continuation of nothing");
			return;
		}
		break;
	default:
		breach(e, "reserved opcode");
		return;
	}
	simjson_raw(&e->message, payload, f->len);
	if (e->message.len > MESSAGE_MAX_BYTES) {
		sim_violation(e->k->sim, "socket %u: message too long", e->number);
		simengine_close(e, 1009);
	} else if (f->is_final) {
		on_message(e);
		simjson_clear(&e->message);
		e->message_op = SIMWS_MORE;
	}
}

static void on_bytes(void *arg, const char *data, size_t len)
{
	struct simengine *e = arg;
	struct simws_frame f;
	size_t at = 0;

	simjson_raw(&e->in, data, len);
	while (!e->is_ended && simws_parse(e->in.data + at, e->in.len - at, &f)) {
		if (!f.is_masked || f.reserved || f.len > MESSAGE_MAX_BYTES ||
		    (f.op >= SIMWS_CLOSE && (f.len > 125 || !f.is_final))) {
			breach(e, !f.is_masked ? "frame without a mask" : "malformed frame");
			break;
		}
		if (e->in.len - at < f.head_len + f.len)
			break;
		simws_unmask(&f, e->in.data + at + f.head_len);
		on_frame(e, &f, e->in.data + at + f.head_len);
		at += f.head_len + f.len;
	}
	memmove(e->in.data, e->in.data + at, e->in.len - at);
	e->in.len -= at;
}

static void on_start(void *arg, struct simconn *conn)
{
	struct simengine *e = arg;
	const struct simsock_knobs *knobs = &e->k->knobs;
	uint64_t now = simtree_now_ns() / 1000000;

	e->conn = conn;
	e->opened_ms = now;
	list_add_tail(&e->k->sessions, &e->link);
	e->k->session_n++;
	if (knobs->after_101) {
		simserve_send(conn, knobs->after_101, strlen(knobs->after_101));
		simengine_end(e, SIMEND_CLOSE);
		return;
	}
	e->is_silent = knobs->is_silent;
	arm(e, &e->connect_limit, on_connect_limit, knobs->open_delay_ms);
	if (knobs->drops_at_expiry && e->subscription.until_ms > now)
		arm(e, &e->expiry, on_expiry, e->subscription.until_ms - now);
}

static void on_close(void *arg)
{
	struct simengine *e = arg;

	lws_sul_cancel(&e->heartbeat);
	lws_sul_cancel(&e->connect_limit);
	lws_sul_cancel(&e->expiry);
	if (e->conn) {
		list_del(&e->link);
		e->k->session_n--;
	}
	simjson_fini(&e->in);
	simjson_fini(&e->message);
	free(e);
}

const struct simhttp_taker simengine_taker = { on_start, on_bytes, on_close };

struct simengine *simengine_new(struct simsock *k, const struct simsock_subscription *subscription,
				int version)
{
	struct simengine *e = simjson_alloc(sizeof(*e));

	e->k = k;
	e->number = k->next_session++;
	e->version = version;
	e->subscription = *subscription;
	return e;
}

/* --- events --- */

void simengine_notify(struct simengine *e, unsigned drive)
{
	const struct simsock_subscription *sub = &e->subscription;
	bool has_joined_it = e->k->knobs.is_in_root ? e->has_root : e->has_space;
	struct simjson text = { 0 };

	if (sub->drive != drive || !has_joined_it || e->is_silent ||
	    (sub->until_ms && simtree_now_ns() / 1000000 >= sub->until_ms))
		return;
	simevent_write(&e->k->knobs, sub, e->space, &text);
	for (unsigned i = 0; i <= e->k->knobs.duplicates; i++) {
		simengine_send_text(e, text.data, text.len);
		if (e->k->knobs.is_binary)
			simengine_send_binary(e, e->version == 3 ? "\x04\x01\x02" : "\x01\x02",
					      e->version == 3 ? 3 : 2);
		e->event_n++;
		e->k->sim->notifications_n++;
	}
	simjson_fini(&text);
}

void simengine_write(struct simengine *e, struct simjson *out)
{
	simjson_open(out, NULL, '{');
	simjson_int(out, "socket", e->number);
	simjson_int(out, "eio", e->version);
	simjson_int(out, "drive", e->subscription.drive);
	simjson_str(out, "subscription", e->subscription.id);
	simjson_bool(out, "joined", e->has_space);
	simjson_bool(out, "joined_root", e->has_root);
	simjson_bool(out, "silent", e->is_silent);
	simjson_int(out, "events", (int64_t)e->event_n);
	simjson_int(out, "pongs", (int64_t)e->pong_n);
	simjson_int(out, "acks", (int64_t)e->ack_n);
	simjson_close(out, '}');
}

#include "socketio.h"

#include "jget.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { ACK_DIGITS_MAX = 18, SID_MAX = 256 };

struct cursor {
	const char *at, *end;
};

static bool is_digit(const struct cursor *c)
{
	return c->at < c->end && *c->at >= '0' && *c->at <= '9';
}

static int read_number(struct cursor *c, uint64_t *ret)
{
	uint64_t v = 0;

	for (int n = 0; is_digit(c); n++, c->at++) {
		if (n == ACK_DIGITS_MAX)
			return -EBADMSG;
		v = v * 10 + (uint64_t)(*c->at - '0');
	}
	*ret = v;
	return 0;
}

static int read_attachments(struct cursor *c, struct socketio_packet *p)
{
	uint64_t n;

	if (p->type != SOCKETIO_BINARY_EVENT && p->type != SOCKETIO_BINARY_ACK)
		return 0;
	if (!is_digit(c) || read_number(c, &n) < 0 || n > SOCKETIO_ATTACHMENTS_MAX ||
	    c->at == c->end || *c->at != '-')
		return -EBADMSG;
	c->at++;
	p->attachments_n = (unsigned)n;
	return 0;
}

static void read_ns(struct cursor *c, struct socketio_packet *p)
{
	const char *comma, *end, *query;

	p->ns = "/";
	p->ns_len = 1;
	if (c->at == c->end || *c->at != '/')
		return;
	comma = memchr(c->at, ',', (size_t)(c->end - c->at));
	end = comma ? comma : c->end;
	query = memchr(c->at, '?', (size_t)(end - c->at));
	p->ns = c->at;
	p->ns_len = (size_t)((query ? query : end) - c->at);
	c->at = comma ? comma + 1 : c->end;
}

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

/* Rules on the payload, by type. */
static int check_json(const struct socketio_packet *p)
{
	auto_call(put_object) struct json_object *json = NULL;
	struct json_object *name;
	int r;

	if (!p->json)
		return p->type == SOCKETIO_ACK || p->type == SOCKETIO_BINARY_ACK ||
				       p->type == SOCKETIO_BINARY_EVENT
			       ? -EBADMSG
			       : 0;
	if (p->type == SOCKETIO_DISCONNECT)
		return -EBADMSG;
	r = jget_parse(p->json, p->json_len, &json);
	if (r < 0 || p->type == SOCKETIO_CONNECT || p->type == SOCKETIO_ERROR)
		return r;
	if (!json_object_is_type(json, json_type_array))
		return -EBADMSG;
	if (p->type == SOCKETIO_ACK || p->type == SOCKETIO_BINARY_ACK)
		return 0;
	name = json_object_array_get_idx(json, 0);
	return json_object_is_type(name, json_type_string) ||
			       json_object_is_type(name, json_type_int)
		       ? 0
		       : -EBADMSG;
}

int socketio_decode(const char *data, size_t len, struct socketio_packet *ret)
{
	struct cursor c = { data, data + len };
	struct socketio_packet p = { 0 };
	int r;

	if (len == 0 || data[0] < '0' || data[0] > '6')
		return -EBADMSG;
	p.type = (enum socketio_type)(data[0] - '0');
	c.at++;
	r = read_attachments(&c, &p);
	if (r < 0)
		return r;
	read_ns(&c, &p);
	p.has_ack = is_digit(&c);
	if (p.has_ack && read_number(&c, &p.ack) < 0)
		return -EBADMSG;
	if ((p.type == SOCKETIO_ACK || p.type == SOCKETIO_BINARY_ACK) && !p.has_ack)
		return -EBADMSG;
	if (c.at < c.end) {
		p.json = c.at;
		p.json_len = (size_t)(c.end - c.at);
	}
	r = check_json(&p);
	if (r < 0)
		return r;
	*ret = p;
	return 0;
}

bool socketio_is_event(const struct socketio_packet *p, const char *name)
{
	auto_call(put_object) struct json_object *json = NULL;
	struct json_object *first;

	if ((p->type != SOCKETIO_EVENT && p->type != SOCKETIO_BINARY_EVENT) || !p->json ||
	    jget_parse(p->json, p->json_len, &json) < 0)
		return false;
	first = json_object_array_get_idx(json, 0);
	return json_object_is_type(first, json_type_string) &&
	       (size_t)json_object_get_string_len(first) == strlen(name) &&
	       strcmp(json_object_get_string(first), name) == 0;
}

bool socketio_is_ns(const struct socketio_packet *p, const char *ns)
{
	return p->ns_len == strlen(ns) && memcmp(p->ns, ns, p->ns_len) == 0;
}

bool socketio_has_sid(const struct socketio_packet *p)
{
	auto_call(put_object) struct json_object *json = NULL;
	const char *sid;

	return p->type == SOCKETIO_CONNECT && p->json &&
	       jget_parse(p->json, p->json_len, &json) == 0 &&
	       jget_str(json, "sid", SID_MAX, &sid) == 0;
}

void socketio_error_text(const struct socketio_packet *p, char *ret, size_t size)
{
	auto_call(put_object) struct json_object *json = NULL;
	const char *text = "no reason given";

	if (p->json && jget_parse(p->json, p->json_len, &json) == 0) {
		if (json_object_is_type(json, json_type_string))
			text = json_object_get_string(json);
		else if (jget_str(json, "message", 1024, &text) != 0)
			text = "no reason given";
	}
	snprintf(ret, size, "%s", text);
}

static int encode(struct buf *frame, char type, const char *ns, size_t ns_len, const char *tail)
{
	bool is_default = ns_len == 1 && ns[0] == '/';
	int r = buf_printf(frame, "4%c", type);

	if (r == 0 && !is_default)
		r = buf_append(frame, ns, ns_len);
	if (r == 0 && !is_default)
		r = buf_append_str(frame, ",");
	return r < 0 ? r : buf_append_str(frame, tail);
}

int socketio_encode_connect(struct buf *frame, const char *ns)
{
	return encode(frame, '0', ns, strlen(ns), "");
}

int socketio_encode_disconnect(struct buf *frame, const char *ns)
{
	return encode(frame, '1', ns, strlen(ns), "");
}

int socketio_encode_ack(struct buf *frame, const struct socketio_packet *p)
{
	char tail[32];

	snprintf(tail, sizeof(tail), "%" PRIu64 "[]", p->ack);
	return encode(frame, '3', p->ns, p->ns_len, tail);
}

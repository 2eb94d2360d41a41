#include "simbatch.h"
#include "simapi.h"
#include "simwrite.h"

#include <stdio.h>
#include <string.h>

enum { PARTS_MAX = 20 };

struct part {
	struct json_object *json;
	const char *id;
	bool is_done;
	int status;
	struct simreply reply; /* when done */
};

struct batch {
	struct sim *s;
	struct simreq *outer;
	struct part parts[PARTS_MAX];
	size_t n;
};

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *value = json_object_object_get(obj, key);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : NULL;
}

static struct part *find(struct batch *b, const char *id)
{
	for (size_t i = 0; id && i < b->n; i++)
		if (strcmp(b->parts[i].id, id) == 0)
			return &b->parts[i];
	return NULL;
}

/* What is wrong with the batch as a whole, or NULL. */
static const char *read_parts(struct batch *b, struct json_object *body)
{
	struct json_object *list = json_object_object_get(body, "requests");

	if (!json_object_is_type(list, json_type_array) || json_object_array_length(list) == 0)
		return "requests is missing.";
	if (json_object_array_length(list) > PARTS_MAX)
		return "Number of batch request steps exceeds the maximum value of 20.";
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		struct json_object *json = json_object_array_get_idx(list, i);
		const char *id = text_of(json, "id"), *url = text_of(json, "url");

		if (!id || !url || !text_of(json, "method") || url[0] != '/')
			return "A request needs id, method and a relative url.";
		if (find(b, id))
			return "The ids of the requests are not unique.";
		if (strncmp(url, "/$batch", 7) == 0)
			return "A batch in a batch is not possible.";
		b->parts[b->n++] = (struct part){ .json = json, .id = id };
	}
	return NULL;
}

/* 1: may run; 0: waits for another; -1: another failed; -2: there is no such other. */
static int readiness(struct batch *b, const struct part *p)
{
	struct json_object *on = json_object_object_get(p->json, "dependsOn");
	size_t n = json_object_is_type(on, json_type_array) ? json_object_array_length(on) : 0;

	for (size_t i = 0; i < n; i++) {
		const struct part *other =
			find(b, json_object_get_string(json_object_array_get_idx(on, i)));

		if (!other || other == p)
			return -2;
		if (!other->is_done)
			return 0;
		if (other->status >= 400)
			return -1;
	}
	return 1;
}

/* --- one part --- */

/* The part as bytes of HTTP; false: a header is none. */
static bool write_head(const struct part *p, size_t body_len, struct simjson *out)
{
	struct json_object *headers = json_object_object_get(p->json, "headers");

	simjson_format(out, "%s /v1.0%s HTTP/1.1\r\n", text_of(p->json, "method"),
		       text_of(p->json, "url"));
	if (json_object_is_type(headers, json_type_object)) {
		json_object_object_foreach(headers, name, value)
		{
			const char *text = json_object_get_string(value);

			if (!text || strpbrk(text, "\r\n") ||
			    strcasecmp(name, "Content-Length") == 0)
				return false;
			simjson_format(out, "%s: %s\r\n", name, text);
		}
	}
	simjson_format(out, "Content-Length: %zu\r\n\r\n", body_len);
	return true;
}

/* JSON as it is, anything else as base64. The caller frees. */
static char *body_of(const struct part *p, size_t *ret_len)
{
	struct json_object *body = json_object_object_get(p->json, "body");
	char *data;

	*ret_len = 0;
	if (!body)
		return NULL;
	if (json_object_is_type(body, json_type_string))
		return simhttp_base64(json_object_get_string(body), ret_len);
	data = simjson_dup(json_object_to_json_string_ext(body, JSON_C_TO_STRING_PLAIN));
	*ret_len = strlen(data);
	return data;
}

static void run(struct batch *b, struct part *p)
{
	struct simjson head = { 0 };
	struct simreq req = { 0 };
	size_t used = 0, len;
	auto_free char *body = body_of(p, &len);

	simhttp_init_reply(&p->reply);
	if (!write_head(p, len, &head) ||
	    simhttp_parse_head(head.data, head.len, &req, &used) < 0 || used == 0) {
		sim_error(&p->reply, b->outer, 400, "invalidRequest", NULL, "A part is malformed.");
	} else {
		req.port = SIMPORT_API;
		req.conn = b->outer->conn;
		req.body = body;
		if (strcmp(req.method, "PUT") == 0 && len > 0) {
			req.is_spooled = true;
			req.body_at = simspool_reserve(&b->s->spool, len);
			simspool_write(&b->s->spool, req.body_at, body, len);
		}
		simapi_answer_part(b->s, &req, &p->reply);
		b->s->requests_n++;
		if (req.is_spooled && !req.is_kept)
			simspool_drop(&b->s->spool, req.body_at, len);
		simhttp_free_req(&req);
	}
	simjson_fini(&head);
	p->status = p->reply.status;
	p->is_done = true;
}

static void refuse_part(struct batch *b, struct part *p)
{
	simhttp_init_reply(&p->reply);
	sim_error(&p->reply, b->outer, 424, "failedDependency", NULL,
		  "A request that this one depends on failed.");
	p->status = 424;
	p->is_done = true;
}

/* Runs all parts, each after those it depends on. False: they depend on each other in a circle, or
 * on none. */
static bool run_all(struct batch *b)
{
	size_t done = 0;

	while (done < b->n) {
		size_t before = done;

		for (size_t i = 0; i < b->n; i++) {
			struct part *p = &b->parts[i];
			int r = p->is_done ? 0 : readiness(b, p);

			if (r == -2)
				return false;
			if (r > 0)
				run(b, p);
			else if (r < 0)
				refuse_part(b, p);
			done += r != 0;
		}
		if (done == before)
			return false;
	}
	return true;
}

/* --- the reply --- */

static void write_headers(const struct simreply *reply, struct simjson *w)
{
	const char *at = reply->heads.data;

	simjson_open(w, "headers", '{');
	while (at && *at) {
		const char *colon = strchr(at, ':'), *end = strstr(at, "\r\n");
		char name[64];

		if (!colon || !end)
			break;
		snprintf(name, sizeof(name), "%.*s", (int)(colon - at), at);
		simjson_strn(w, name, colon + 2, (size_t)(end - colon) - 2);
		at = end + 2;
	}
	if (reply->body.len > 0)
		simjson_str(w, "Content-Type", "application/json");
	simjson_close(w, '}');
}

static void write_part(const struct part *p, struct simjson *w)
{
	simjson_open(w, NULL, '{');
	simjson_str(w, "id", p->id);
	simjson_int(w, "status", p->status);
	write_headers(&p->reply, w);
	if (p->reply.body.len > 0 && p->reply.body.data[0] == '{')
		simjson_value(w, "body", p->reply.body.data);
	else if (p->reply.body.len > 0)
		simjson_strn(w, "body", p->reply.body.data, p->reply.body.len);
	simjson_close(w, '}');
}

/* The last first: a client must not count on an order. A fault that strikes a part's transfer
 * strikes the whole. */
static void write_reply(struct batch *b, struct simreply *reply)
{
	simjson_open(&reply->body, NULL, '{');
	simjson_open(&reply->body, "responses", '[');
	for (size_t i = b->n; i-- > 0;) {
		const struct simreply *part = &b->parts[i].reply;

		write_part(&b->parts[i], &reply->body);
		if (part->no_answer || part->stall_at_start) {
			reply->no_answer = part->no_answer;
			reply->stall_at_start = part->stall_at_start;
			reply->end = part->end;
		}
		if (part->delay_ms > reply->delay_ms)
			reply->delay_ms = part->delay_ms;
	}
	simjson_text(&reply->body, "]}");
}

void simbatch_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	struct batch *b = simjson_alloc(sizeof(*b));
	struct json_object *body;
	const char *wrong;

	b->s = s;
	b->outer = req;
	if (!simwrite_body(req, reply, &body)) {
		free(b);
		return;
	}
	wrong = read_parts(b, body);
	if (!wrong && !run_all(b))
		wrong = "dependsOn names no other request, or goes in a circle.";
	if (wrong)
		sim_error(reply, req, 400, "BadRequest", NULL, wrong);
	else
		write_reply(b, reply);
	for (size_t i = 0; i < b->n; i++)
		if (b->parts[i].is_done)
			simhttp_free_reply(&b->parts[i].reply);
	json_object_put(body);
	free(b);
}

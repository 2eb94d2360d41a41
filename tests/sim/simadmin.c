#include "simadmin.h"
#include "simchange.h"
#include "simitem.h"
#include "simlogin.h"
#include "simseed.h"
#include "simsock.h"
#include "simupload.h"

#include <stdio.h>
#include <string.h>

enum { BATCH_MAX = 1000000 };

struct call {
	struct sim *s;
	struct simreq *req;
	struct simreply *reply;
	struct json_object *args; /* an object, empty when there was no body */
	const char *op;           /* last word of the path */
};

static struct json_object *arg(const struct call *c, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(c->args, key, &value);
	return value;
}

static void refuse(struct call *c, int status, const char *why)
{
	simjson_clear(&c->reply->body);
	c->reply->status = status;
	simjson_open(&c->reply->body, NULL, '{');
	simjson_str(&c->reply->body, "error", why);
	simjson_close(&c->reply->body, '}');
}

static void finish(struct call *c, const char *wrong)
{
	if (wrong)
		refuse(c, 400, wrong);
	else
		simjson_format(&c->reply->body, "{\"at_ns\":%llu}",
			       (unsigned long long)simtree_now_ns());
}

/* --- changes --- */

static void change(struct call *c)
{
	int status = 400;
	const char *wrong = simchange_run(c->s, c->op, c->args, &c->reply->body, &status);

	if (wrong)
		refuse(c, status, wrong);
}

static void batch(struct call *c)
{
	struct json_object *ops = arg(c, "ops");
	struct simjson *out = &c->reply->body;

	if (!json_object_is_type(ops, json_type_array) ||
	    json_object_array_length(ops) > BATCH_MAX) {
		refuse(c, 400, "ops is an array");
		return;
	}
	simjson_open(out, NULL, '{');
	simjson_open(out, "results", '[');
	for (size_t i = 0; i < json_object_array_length(ops); i++) {
		struct json_object *one = json_object_array_get_idx(ops, i), *op = NULL;
		const char *wrong = "op is missing";
		int status = 400;

		if (json_object_object_get_ex(one, "op", &op))
			wrong = simchange_run(c->s, json_object_get_string(op), one, out, &status);
		if (wrong) {
			simjson_open(out, NULL, '{');
			simjson_str(out, "error", wrong);
			simjson_close(out, '}');
		}
	}
	simjson_close(out, ']');
	simjson_int(out, "at_ns", (int64_t)c->s->tree.last_seq);
	simjson_close(out, '}');
}

static void seed(struct call *c)
{
	simseed_tree(c->s, (uint64_t)json_object_get_int64(arg(c, "dirs")),
		     (uint64_t)json_object_get_int64(arg(c, "files")),
		     (uint64_t)json_object_get_int64(arg(c, "size")));
	finish(c, NULL);
}

/* --- looking --- */

static unsigned drive_param(struct call *c)
{
	auto_free char *text = simhttp_param(c->req, "drive");

	return text && text[0] == '1' ? 1 : 0;
}

static void tree_item(struct call *c, uint32_t n, bool has_hash)
{
	struct sim *s = c->s;
	struct simjson *out = &c->reply->body;
	struct simtree_item *it = simtree_get(&s->tree, n);
	auto_free char *path = simtree_path(&s->tree, n);
	bool is_folder = it->flags & SIMTREE_FOLDER;
	char text[80];

	simjson_open(out, NULL, '{');
	simjson_str(out, "path", path);
	simjson_str(out, "type", is_folder ? "folder" : "file");
	simjson_int(out, "size", (int64_t)it->size);
	simjson_int(out, "mtime", it->mtime_ms / 1000);
	simjson_int(out, "mtime_ms", it->mtime_ms);
	sim_item_id(s, n, text);
	simjson_str(out, "id", text);
	simitem_etag(s, n, text);
	simjson_str(out, "etag", text);
	simjson_int(out, "version", it->content_n);
	if (has_hash && !is_folder && simbytes_hash(&s->bytes, n, text))
		simjson_str(out, "hash", text);
	if (it->flags & SIMTREE_ODD)
		simjson_bool(out, "planted", true);
	simjson_close(out, '}');
}

static void tree(struct call *c)
{
	auto_free char *hash = simhttp_param(c->req, "hash");
	unsigned drive = drive_param(c);
	struct simjson *out = &c->reply->body;

	simjson_open(out, NULL, '{');
	simjson_open(out, "items", '[');
	for (uint32_t n = 1; n < c->s->tree.item_n; n++) {
		const struct simtree_item *it = simtree_get(&c->s->tree, n);

		if (it->drive == drive && it->parent && !(it->flags & SIMTREE_DELETED))
			tree_item(c, n, !hash || hash[0] != '0');
	}
	simjson_close(out, ']');
	simjson_int(out, "at_ns", (int64_t)c->s->tree.last_seq);
	simjson_close(out, '}');
}

static void history_item(struct call *c, uint32_t n)
{
	struct sim *s = c->s;
	struct simjson *out = &c->reply->body;
	struct simtree_item *it = simtree_get(&s->tree, n);
	auto_free char *path = simtree_path(&s->tree, n);
	struct simbytes_ref ref;
	char text[80];

	for (uint32_t v = 1; v <= it->content_n; v++) {
		if (!simbytes_find(&s->bytes, n, v, &ref))
			continue;
		simjson_open(out, NULL, '{');
		sim_item_id(s, n, text);
		simjson_str(out, "id", text);
		simjson_str(out, "path", path);
		simjson_int(out, "version", v);
		simjson_bool(out, "current", v == it->content_n);
		simjson_bool(out, "deleted", it->flags & SIMTREE_DELETED);
		simjson_int(out, "size", (int64_t)ref.size);
		simbytes_hash_ref(&ref, text);
		simjson_str(out, "hash", text);
		simjson_close(out, '}');
	}
}

/* Every content there ever was: nothing may be lost. */
static void history(struct call *c)
{
	unsigned drive = drive_param(c);
	struct simjson *out = &c->reply->body;

	simjson_open(out, NULL, '{');
	simjson_open(out, "contents", '[');
	for (uint32_t n = 1; n < c->s->tree.item_n; n++) {
		const struct simtree_item *it = simtree_get(&c->s->tree, n);

		if (it->drive == drive && !(it->flags & SIMTREE_FOLDER))
			history_item(c, n);
	}
	simjson_text(out, "]}");
}

/* Of "path", or of "id", which may be deleted. */
static uint32_t file_param(struct call *c)
{
	auto_free char *path = simhttp_param(c->req, "path");
	auto_free char *id = simhttp_param(c->req, "id");
	unsigned drive = drive_param(c);
	struct sim *s = c->s;
	uint32_t item;
	bool is_root;

	if (!id)
		return simtree_find(&s->tree, s->tree.root[drive], path ? path : "");
	if (!simid_find(sim_flavour(s, drive), drive, id, &item, &is_root) || is_root ||
	    item >= s->tree.item_n)
		return SIMTREE_NONE;
	return item;
}

/* The bytes themselves, to compare with what the client read. */
static void content(struct call *c)
{
	auto_free char *version = simhttp_param(c->req, "version");
	uint32_t item = file_param(c);
	uint32_t n = item ? simtree_get(&c->s->tree, item)->content_n : 0;

	if (version)
		n = (uint32_t)strtoul(version, NULL, 10);
	if (!item || (simtree_get(&c->s->tree, item)->flags & SIMTREE_FOLDER) ||
	    !simbytes_find(&c->s->bytes, item, n, &c->reply->ref)) {
		refuse(c, 404, "there is no such file or version");
		return;
	}
	c->reply->has_ref = true;
	c->reply->ref_len = c->reply->ref.size;
	c->reply->content_type = "application/octet-stream";
}

static void counters(struct call *c)
{
	struct sim *s = c->s;
	struct simjson *out = &c->reply->body;
	char name[16];

	simjson_open(out, NULL, '{');
	simjson_int(out, "requests", (int64_t)s->requests_n);
	for (unsigned i = 0; i < SIMCLASS_N; i++)
		simjson_int(out, simfault_class_name((enum simclass)i), (int64_t)s->class_n[i]);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "status_%u", i);
		if (s->status_n[i])
			simjson_int(out, name, (int64_t)s->status_n[i]);
	}
	simjson_int(out, "bytes", (int64_t)s->serve.bytes_n);
	simjson_int(out, "content_bytes", (int64_t)s->content_bytes_n);
	simjson_int(out, "upload_bytes", (int64_t)s->upload_bytes_n);
	simjson_int(out, "connections", s->serve.conn_n);
	simjson_int(out, "content_stalled", (int64_t)s->serve.stalled_n);
	simjson_int(out, "sockets", s->sock->session_n);
	simjson_int(out, "notifications", (int64_t)s->notifications_n);
	simjson_int(out, "violations", s->violation_n);
	if (s->delta.pages)
		simjson_int(out, "delta_pages_left",
			    (int64_t)(json_object_array_length(s->delta.pages) - s->delta.page_at));
	simjson_int(out, "items", s->tree.item_n - 1);
	simjson_close(out, '}');
}

static void reset_counters(struct call *c)
{
	struct sim *s = c->s;

	s->requests_n = s->notifications_n = s->content_bytes_n = s->serve.bytes_n = 0;
	s->upload_bytes_n = 0;
	memset(s->class_n, 0, sizeof(s->class_n));
	memset(s->status_n, 0, sizeof(s->status_n));
	finish(c, NULL);
}

static void violations(struct call *c)
{
	struct simjson *out = &c->reply->body;

	simjson_open(out, NULL, '{');
	simjson_int(out, "count", c->s->violation_n);
	simjson_open(out, "violations", '[');
	for (unsigned i = 0; i < c->s->violation_n && i < SIM_VIOLATIONS_MAX; i++)
		simjson_str(out, NULL, c->s->violations[i]);
	simjson_text(out, "]}");
}

static void forget_violations(struct call *c)
{
	for (unsigned i = 0; i < c->s->violation_n && i < SIM_VIOLATIONS_MAX; i++)
		free(c->s->violations[i]);
	c->s->violation_n = 0;
	finish(c, NULL);
}

/* --- behaviour --- */

static void add_fault(struct call *c)
{
	unsigned id = 0;
	const char *wrong = simfault_add(&c->s->faults, c->args, &id);

	if (wrong)
		refuse(c, 400, wrong);
	else
		simjson_format(&c->reply->body, "{\"id\":%u}", id);
}

static void list_faults(struct call *c)
{
	simjson_open(&c->reply->body, NULL, '{');
	simfault_list(&c->s->faults, &c->reply->body);
	simjson_close(&c->reply->body, '}');
}

static void clear_faults(struct call *c)
{
	simfault_clear(&c->s->faults);
	finish(c, NULL);
}

static void number_knob(const struct call *c, const char *key, uint64_t *value)
{
	if (arg(c, key))
		*value = (uint64_t)json_object_get_int64(arg(c, key));
}

static void unsigned_knob(const struct call *c, const char *key, unsigned *value)
{
	if (arg(c, key))
		*value = (unsigned)json_object_get_int64(arg(c, key));
}

static void bool_knob(const struct call *c, const char *key, bool *value)
{
	if (arg(c, key))
		*value = json_object_get_boolean(arg(c, key));
}

static void shape(struct call *c)
{
	number_knob(c, "latency_ms", &c->s->serve.latency_ms);
	number_knob(c, "bandwidth_bytes_per_s", &c->s->serve.bytes_per_s);
	finish(c, NULL);
}

static void delta(struct call *c)
{
	struct sim_delta_knobs *d = &c->s->delta;

	number_knob(c, "lag_ms", &d->lag_ms);
	bool_knob(c, "reverse", &d->reverse);
	bool_knob(c, "duplicates", &d->duplicates);
	bool_knob(c, "replay_unchanged", &d->replay_unchanged);
	bool_knob(c, "no_parents", &d->no_parents);
	unsigned_knob(c, "empty_pages", &d->empty_pages);
	unsigned_knob(c, "page_size", &d->page_size);
	unsigned_knob(c, "drop_tombstones", &d->drop_tombstones);
	unsigned_knob(c, "gone", &d->gone_n);
	bool_knob(c, "gone_without_location", &d->gone_without_location);
	if (json_object_get_boolean(arg(c, "resync_now")))
		c->s->epoch++;
	if (arg(c, "gone_code")) {
		free(d->gone_code);
		d->gone_code = simjson_dup(json_object_get_string(arg(c, "gone_code")));
	}
	if (json_object_object_get_ex(c->args, "pages", NULL)) {
		json_object_put(d->pages);
		d->page_at = 0;
		d->pages = json_object_is_type(arg(c, "pages"), json_type_array)
				   ? json_object_get(arg(c, "pages"))
				   : NULL;
	}
	finish(c, NULL);
}

static void knobs(struct call *c)
{
	struct sim *s = c->s;
	unsigned status = (unsigned)s->url_refused_status;

	number_knob(c, "url_lifetime_ms", &s->url_lifetime_ms);
	number_knob(c, "hash_max_bytes", &s->bytes.hash_max_bytes);
	unsigned_knob(c, "children_page", &s->children_page);
	unsigned_knob(c, "url_refused_status", &status);
	s->url_refused_status = (int)status;
	bool_knob(c, "strict", &s->is_strict);
	if (json_object_object_get_ex(c->args, "quota", NULL)) {
		json_object_put(s->quota);
		s->quota = json_object_get(arg(c, "quota"));
		/* The word "right" takes the override away; null leaves the member out. */
		s->has_quota_override = !json_object_is_type(s->quota, json_type_string);
	}
	finish(c, NULL);
}

static void writing(struct call *c)
{
	struct sim_write_knobs *w = &c->s->write;

	number_knob(c, "lag_id_ms", &w->lag_id_ms);
	number_knob(c, "lag_path_ms", &w->lag_path_ms);
	number_knob(c, "lag_content_ms", &w->lag_content_ms);
	number_knob(c, "etag_bump_ms", &w->etag_bump_ms);
	number_knob(c, "copy_ms", &w->copy_ms);
	number_knob(c, "session_lifetime_ms", &w->session_lifetime_ms);
	number_knob(c, "quota_bytes", &w->quota_bytes);
	bool_knob(c, "rewrite_office", &w->rewrite_office);
	bool_knob(c, "move_resets_mtime", &w->move_resets_mtime);
	bool_knob(c, "session_bumps_etag", &w->session_bumps_etag);
	bool_knob(c, "session_conflict_early", &w->session_conflict_early);
	bool_knob(c, "one_session", &w->one_session);
	bool_knob(c, "delete_if_match", &w->delete_if_match);
	unsigned_knob(c, "monitor_status", &w->monitor_status);
	finish(c, NULL);
}

static void list_sessions(struct call *c)
{
	simjson_open(&c->reply->body, NULL, '{');
	simupload_list(c->s, &c->reply->body);
	simjson_close(&c->reply->body, '}');
}

static void expire_sessions(struct call *c)
{
	simupload_expire_all(c->s);
	finish(c, NULL);
}

static void outage(struct call *c)
{
	static const char *const modes[] = {
		[SIMSERVE_UP] = "none",
		[SIMSERVE_REFUSE] = "refuse",
		[SIMSERVE_BLACKHOLE] = "blackhole",
	};
	struct json_object *mode = arg(c, "mode");

	for (unsigned i = 0; mode && i < array_n(modes); i++) {
		if (strcmp(modes[i], json_object_get_string(mode)) == 0) {
			simserve_set_outage(&c->s->serve, (enum simserve_outage)i);
			finish(c, NULL);
			return;
		}
	}
	finish(c, "mode is none, refuse or blackhole");
}

static void configure_socket(struct call *c)
{
	finish(c, simsock_configure(c->s->sock, c->args));
}

static void list_sockets(struct call *c)
{
	simjson_open(&c->reply->body, NULL, '{');
	simsock_list(c->s->sock, &c->reply->body);
	simjson_close(&c->reply->body, '}');
}

static void send_socket(struct call *c)
{
	finish(c, simsock_send(c->s->sock, c->args));
}

static void configure_oauth(struct call *c)
{
	finish(c, simlogin_configure(c->s->login, c->args));
}

static void expire_tokens(struct call *c)
{
	simlogin_expire_tokens(c->s->login);
	finish(c, NULL);
}

static void decide(struct call *c)
{
	simlogin_decide(c->s->login, strcmp(c->op, "approve") == 0);
	finish(c, NULL);
}

static const struct {
	const char *method, *path;
	void (*run)(struct call *c);
} routes[] = {
	{ "POST", "/create", change },
	{ "POST", "/mkdir", change },
	{ "POST", "/write", change },
	{ "POST", "/move", change },
	{ "POST", "/rename", change },
	{ "POST", "/delete", change },
	{ "POST", "/touch", change },
	{ "POST", "/raw_item", change },
	{ "POST", "/protect", change },
	{ "POST", "/batch", batch },
	{ "POST", "/seed", seed },
	{ "GET", "/tree", tree },
	{ "GET", "/content", content },
	{ "GET", "/history", history },
	{ "GET", "/counters", counters },
	{ "POST", "/counters/reset", reset_counters },
	{ "GET", "/violations", violations },
	{ "DELETE", "/violations", forget_violations },
	{ "POST", "/faults", add_fault },
	{ "GET", "/faults", list_faults },
	{ "DELETE", "/faults", clear_faults },
	{ "POST", "/shape", shape },
	{ "POST", "/delta", delta },
	{ "POST", "/knobs", knobs },
	{ "POST", "/writing", writing },
	{ "GET", "/sessions", list_sessions },
	{ "DELETE", "/sessions", expire_sessions },
	{ "POST", "/outage", outage },
	{ "POST", "/socket", configure_socket },
	{ "GET", "/socket", list_sockets },
	{ "POST", "/socket/send", send_socket },
	{ "POST", "/oauth", configure_oauth },
	{ "POST", "/approve", decide },
	{ "POST", "/decline", decide },
	{ "POST", "/expire_tokens", expire_tokens },
};

static struct json_object *parse_args(const struct simreq *req)
{
	struct json_tokener *parser = json_tokener_new_ex(64);
	struct json_object *args =
		req->body_len > 0 ? json_tokener_parse_ex(parser, req->body, (int)req->body_len)
				  : json_object_new_object();

	json_tokener_free(parser);
	if (args && !json_object_is_type(args, json_type_object)) {
		json_object_put(args);
		return NULL;
	}
	return args;
}

void simadmin_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	struct call c = { .s = s, .req = req, .reply = reply, .args = parse_args(req) };
	const char *path = strncmp(req->path, "/admin", 6) == 0 ? req->path + 6 : "";

	reply->content_type = "application/json";
	if (!c.args) {
		refuse(&c, 400, "the body is no JSON object");
		return;
	}
	c.op = path + (path[0] == '/');
	for (size_t i = 0; i < array_n(routes); i++) {
		if (strcmp(routes[i].method, req->method) == 0 &&
		    strcmp(routes[i].path, path) == 0) {
			routes[i].run(&c);
			json_object_put(c.args);
			return;
		}
	}
	refuse(&c, 404, "there is no such call");
	json_object_put(c.args);
}

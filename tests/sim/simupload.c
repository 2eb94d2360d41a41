#include "simupload.h"
#include "simstore.h"
#include "simwrite.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { ALIGN_BYTES = 327680, FRAGMENT_MAX_BYTES = 60 << 20, SESSIONS_MAX = 20000 };

struct session {
	struct list link;
	uint32_t id;
	unsigned drive;
	uint32_t folder; /* SIMTREE_NONE: the item is replaced, whatever its name is by then */
	uint32_t item;
	char *name;
	enum simguard_conflict conflict;
	struct simchange_times times;
	char *if_match; /* or NULL */
	bool is_deferred;
	bool has_total;
	uint64_t total, got; /* bytes; fragments come in order */
	uint64_t at;         /* region of the spool, once there is a total */
	struct simhash hash; /* of what was got */
	uint64_t until_ms;   /* CLOCK_MONOTONIC */
};

struct simupload {
	struct list sessions;
	unsigned session_n;
	uint32_t next_id;
};

static uint64_t now_ms(void)
{
	return simtree_now_ns() / 1000000;
}

struct simupload *simupload_new(void)
{
	struct simupload *u = simjson_alloc(sizeof(*u));

	list_init(&u->sessions);
	u->next_id = 1;
	return u;
}

/* The content's region stays: it is the file's, or it is given back before. */
static void forget(struct simupload *u, struct session *x)
{
	list_del(&x->link);
	u->session_n--;
	free(x->name);
	free(x->if_match);
	free(x);
}

void simupload_free(struct simupload *u)
{
	list_for_each_safe (&u->sessions, pos)
		forget(u, container_of(pos, struct session, link));
	free(u);
}

static void abandon(struct sim *s, struct session *x)
{
	if (x->has_total)
		simspool_drop(&s->spool, x->at, x->total);
	forget(s->uploads, x);
}

void simupload_expire_all(struct sim *s)
{
	list_for_each_safe (&s->uploads->sessions, pos)
		abandon(s, container_of(pos, struct session, link));
}

/* --- URLs --- */

static const char url_start[] = "/_api/v2.0/uploadSession?guid='";

static void write_target(const struct sim *s, uint32_t id, struct simjson *out)
{
	/* Characters that a URL library likes to change: they must come back as they are. */
	simjson_format(out, "%s%u'&note=a%%2fb%%2Bc+d%%7e&overwrite=True&dc=0&tempauth=v1.%016llx",
		       url_start, id,
		       (unsigned long long)simid_mix(s->secret ^ simid_mix(id << 8)));
}

bool simupload_is_route(const struct simreq *req)
{
	return strncmp(req->path, "/_api/v2.0/uploadSession", 24) == 0;
}

/* NULL: not there (any more). target: from the path on. */
static struct session *find(struct sim *s, const char *target)
{
	unsigned id;

	if (strncmp(target, url_start, strlen(url_start)) != 0 ||
	    sscanf(target + strlen(url_start), "%u'", &id) != 1)
		return NULL;
	list_for_each (&s->uploads->sessions, pos) {
		struct session *x = container_of(pos, struct session, link);

		if (x->id != id)
			continue;
		if (now_ms() < x->until_ms)
			return x;
		abandon(s, x);
		return NULL;
	}
	return NULL;
}

/* True when the URL is byte for byte one that was given out. */
static bool is_own_url(struct sim *s, const char *target)
{
	struct simjson right = { 0 };
	unsigned id = 0;
	bool is_own;

	if (strncmp(target, url_start, strlen(url_start)) == 0)
		(void)sscanf(target + strlen(url_start), "%u'", &id);
	write_target(s, id, &right);
	is_own = strcmp(right.data, target) == 0;
	simjson_fini(&right);
	return is_own;
}

/* --- replies --- */

static void no_session(const struct simreq *req, struct simreply *reply)
{
	sim_error(reply, req, 404, "itemNotFound", "uploadSessionNotFound",
		  "The upload session was not found");
}

static void tell_state(struct simreply *reply, const struct session *x, int status, const char *url)
{
	struct simjson *w = &reply->body;
	char range[32];

	reply->status = status;
	simjson_open(w, NULL, '{');
	if (url) {
		simjson_str(w, "@odata.context",
			    "https://graph.microsoft.com/v1.0/$metadata#microsoft.graph."
			    "uploadSession");
		simjson_str(w, "uploadUrl", url);
	}
	simjson_time(w, "expirationDateTime", simtree_now_ms() + (int64_t)(x->until_ms - now_ms()),
		     3);
	simjson_open(w, "nextExpectedRanges", '[');
	snprintf(range, sizeof(range), "%llu-", (unsigned long long)x->got);
	if (!x->has_total || x->got < x->total)
		simjson_str(w, NULL, range);
	simjson_text(w, "]}");
}

/* True: the file is there, and the session is over. */
static bool commit(struct sim *s, const struct simreq *req, struct simreply *reply,
		   struct session *x)
{
	struct simstore what = { .drive = x->drive,
				 .folder = x->folder,
				 .name = x->name,
				 .item = x->item,
				 .conflict = x->conflict,
				 .times = x->times,
				 .if_match = x->if_match,
				 .at = x->at,
				 .size = x->total,
				 .hash = &x->hash };

	if (!simstore_put(s, req, reply, &what))
		return false;
	forget(s->uploads, x);
	return true;
}

/* --- fragments --- */

struct fragment {
	uint64_t first, last, total;
};

static bool parse_fragment(const struct simreq *req, struct fragment *ret)
{
	const char *text = simhttp_head(req, "Content-Range");
	unsigned long long first, last, total;
	int used = 0;

	if (!text || sscanf(text, "bytes %llu-%llu/%llu%n", &first, &last, &total, &used) != 3 ||
	    text[used] || strchr(text, '+') || strchr(text + 6, ' '))
		return false;
	*ret = (struct fragment){ .first = first, .last = last, .total = total };
	return first <= last && last < total && last - first + 1 == req->body_len;
}

static bool is_aligned(struct sim *s, const struct simreq *req, struct simreply *reply,
		       const struct fragment *f)
{
	if (f->last + 1 == f->total || req->body_len % ALIGN_BYTES == 0)
		return true;
	if (s->is_strict)
		sim_violation(s, "a fragment of %zu bytes is no multiple of 320 KiB",
			      req->body_len);
	sim_error(reply, req, 400, "invalidRequest", NULL,
		  "The fragment is not a multiple of 320 KiB.");
	return false;
}

static bool is_short_enough(struct sim *s, const struct simreq *req, struct simreply *reply)
{
	if (req->body_len < FRAGMENT_MAX_BYTES || !s->is_strict)
		return true;
	sim_violation(s, "a fragment of %zu bytes is not below 60 MiB", req->body_len);
	sim_error(reply, req, 413, "invalidRequest", "maxFragmentLengthExceeded",
		  "The fragment is too long.");
	return false;
}

static bool is_expected(const struct simreq *req, struct simreply *reply, const struct session *x,
			const struct fragment *f)
{
	if (x->has_total && f->total != x->total) {
		sim_error(reply, req, 400, "invalidRequest", "fragmentLengthMismatch",
			  "The total length differs from the session's.");
		return false;
	}
	if (f->first == x->got)
		return true;
	sim_error(reply, req, 416, "invalidRange",
		  f->first < x->got ? "fragmentOverlap" : "fragmentOutOfOrder",
		  "The uploaded fragment does not begin where the last one ended.");
	return false;
}

/* The fragment's bytes become the session's. */
static void take(struct sim *s, struct simreq *req, struct session *x, const struct fragment *f)
{
	static char chunk[64 << 10];

	if (!x->has_total && req->body_len == f->total) {
		x->at = req->body_at;
		req->is_kept = true;
	} else if (!x->has_total) {
		x->at = simspool_reserve(&s->spool, f->total);
	}
	x->has_total = true;
	x->total = f->total;
	for (uint64_t done = 0; done < req->body_len;) {
		size_t n = req->body_len - done < sizeof(chunk) ? (size_t)(req->body_len - done)
								: sizeof(chunk);

		simspool_read(&s->spool, req->body_at + done, chunk, n);
		simhash_update(&x->hash, chunk, n);
		if (!req->is_kept)
			simspool_write(&s->spool, x->at + x->got + done, chunk, n);
		done += n;
	}
	x->got += req->body_len;
	s->upload_bytes_n += req->body_len;
}

static void answer_fragment(struct sim *s, struct simreq *req, struct simreply *reply,
			    struct session *x)
{
	struct simhash before = x->hash;
	struct fragment f;

	if (!parse_fragment(req, &f)) {
		sim_error(reply, req, 400, "invalidRequest", NULL,
			  "The Content-Range header is missing or malformed.");
		return;
	}
	if (!is_short_enough(s, req, reply) || !is_expected(req, reply, x, &f) ||
	    !is_aligned(s, req, reply, &f) ||
	    (!x->has_total && !simguard_has_room(s, req, reply, x->drive,
						 x->folder ? simtree_child(&s->tree, x->folder,
									   x->name, strlen(x->name))
							   : x->item,
						 f.total)))
		return;
	take(s, req, x, &f);
	x->until_ms = now_ms() + s->write.session_lifetime_ms;
	if (x->got < x->total || x->is_deferred) {
		tell_state(reply, x, 202, NULL);
		return;
	}
	/* After a taken name the bytes are kept for a commit under another; else the fragment
	 * counts as not received. */
	if (!commit(s, req, reply, x) && reply->status != 409) {
		x->got -= req->body_len;
		x->hash = before;
	}
}

static void answer_commit(struct sim *s, struct simreq *req, struct simreply *reply,
			  struct session *x)
{
	if (simid_is_personal(sim_flavour(s, x->drive)))
		sim_error(reply, req, 400, "notSupported", NULL, "Not on personal drives.");
	else if (!x->has_total || x->got < x->total)
		sim_error(reply, req, 400, "invalidRequest", "uploadSessionIncomplete",
			  "Not all bytes are there.");
	else
		(void)commit(s, req, reply, x);
}

static enum simclass class_of(const struct simreq *req)
{
	static const struct {
		const char *method;
		enum simclass class;
	} methods[] = {
		{ "PUT", SIMCLASS_FRAGMENT },
		{ "GET", SIMCLASS_UPLOAD_STATUS },
		{ "DELETE", SIMCLASS_UPLOAD_CANCEL },
		{ "POST", SIMCLASS_COMMIT },
	};

	for (size_t i = 0; i < array_n(methods); i++)
		if (strcmp(methods[i].method, req->method) == 0)
			return methods[i].class;
	return SIMCLASS_OTHER;
}

static void process(struct sim *s, struct simreq *req, struct simreply *reply, enum simclass class)
{
	struct session *x = find(s, req->target);

	if (!x) {
		no_session(req, reply);
		return;
	}
	switch (class) {
	case SIMCLASS_FRAGMENT:
		answer_fragment(s, req, reply, x);
		break;
	case SIMCLASS_UPLOAD_STATUS:
		tell_state(reply, x, 200, NULL);
		break;
	case SIMCLASS_UPLOAD_CANCEL:
		abandon(s, x);
		reply->status = 204;
		reply->content_type = NULL;
		break;
	case SIMCLASS_COMMIT:
		answer_commit(s, req, reply, x);
		break;
	default:
		sim_error(reply, req, 405, "notAllowed", NULL, "Not on an upload URL.");
		break;
	}
}

/* The path that the file of a session has or will have, for faults to match; the caller frees. */
static char *path_of(struct sim *s, const struct session *x)
{
	struct simroute place = { 0 };

	if (x) {
		place.item = x->folder ? SIMTREE_NONE : x->item;
		place.parent = x->folder;
		place.name = x->name;
	}
	return simroute_path(s, &place);
}

struct simcut simupload_cut(struct sim *s, struct simreq *req)
{
	struct simcut none = { .at = UINT64_MAX };
	auto_free char *path = NULL;

	if (!simupload_is_route(req))
		return none;
	path = path_of(s, find(s, req->target));
	none = simfault_match_early(&s->faults, class_of(req), path, "");
	if (none.end != SIMEND_NORMAL)
		s->class_n[class_of(req)]++;
	return none;
}

void simupload_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	enum simclass class = class_of(req);
	auto_free char *path = path_of(s, find(s, req->target));
	struct simfault_rule *rule;

	s->class_n[class]++;
	if (s->is_strict && simhttp_head(req, "Authorization")) {
		sim_violation(s, "Authorization header on an upload URL");
		sim_error(reply, req, 401, "unauthenticated", NULL,
			  "No Authorization header may be sent here.");
		return;
	}
	if (s->is_strict && !is_own_url(s, req->target)) {
		sim_violation(s, "upload URL was changed on its way");
		sim_error(reply, req, 403, "accessDenied", NULL, "The signature does not match.");
		return;
	}
	rule = simfault_match(&s->faults, class, path, "");
	if (rule && simfault_vanishes(rule) && find(s, req->target))
		abandon(s, find(s, req->target));
	if (!rule || simfault_phase(rule) != SIMFAULT_BEFORE)
		process(s, req, reply, class);
	if (rule)
		simfault_apply(rule, reply);
}

/* --- new sessions --- */

static bool has_rival(struct sim *s, const struct session *x)
{
	list_for_each (&s->uploads->sessions, pos) {
		const struct session *other = container_of(pos, struct session, link);

		if (other != x && other->until_ms > now_ms() && other->folder == x->folder &&
		    other->item == x->item && strcasecmp(other->name, x->name) == 0)
			return true;
	}
	return false;
}

static bool check_place(struct sim *s, struct simreq *req, struct simreply *reply,
			const struct simroute *r)
{
	uint32_t up = r->name ? r->parent : r->item;

	if (!up || (r->name && !(simtree_get(&s->tree, up)->flags & SIMTREE_FOLDER))) {
		sim_not_found(reply, req);
		return false;
	}
	if (!simguard_may_write(s, req, reply, r->item ? r->item : up) ||
	    !simguard_is_free(s, req, reply, r->item) ||
	    (r->name && !simguard_name(s, req, reply, up, r->name, false)))
		return false;
	if (r->item && (simtree_get(&s->tree, r->item)->flags & SIMTREE_FOLDER)) {
		simguard_taken(req, reply);
		return false;
	}
	return simguard_matches(s, req, reply, r->item);
}

static bool read_item(struct sim *s, struct simreq *req, struct simreply *reply, struct session *x,
		      struct json_object *body, const struct simroute *r)
{
	struct json_object *item = json_object_object_get(body, "item"), *value = NULL;
	uint64_t size = 0;

	/* Some clients put the members outside of item. */
	if (!json_object_is_type(item, json_type_object))
		item = NULL;
	if (!simguard_conflict(req, reply, item, body, &x->conflict) ||
	    !simstore_times(s, req, reply, r->drive, body, &x->times) ||
	    !simstore_times(s, req, reply, r->drive, item, &x->times))
		return false;
	x->is_deferred = json_object_get_boolean(json_object_object_get(body, "deferCommit"));
	if (item && json_object_object_get_ex(item, "name", &value) &&
	    strcmp(json_object_get_string(value), x->name) != 0) {
		sim_error(reply, req, 400, "invalidRequest", NULL,
			  "The name differs from the one in the URL.");
		return false;
	}
	if (item && json_object_object_get_ex(item, "fileSize", &value))
		size = (uint64_t)json_object_get_int64(value);
	return !simid_is_personal(sim_flavour(s, r->drive)) ||
	       simguard_has_room(s, req, reply, r->drive, r->item, size);
}

static void open_session(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *r, struct json_object *body)
{
	struct session *x = simjson_alloc(sizeof(*x));
	const char *if_match = simhttp_head(req, "If-Match");
	struct simjson url = { 0 };

	x->id = s->uploads->next_id++;
	x->drive = r->drive;
	x->folder = r->name ? r->parent : SIMTREE_NONE;
	x->item = r->name ? SIMTREE_NONE : r->item;
	x->name = r->name ? simjson_dup(r->name) : simtree_dup_name(&s->tree, r->item);
	x->conflict = SIMGUARD_REPLACE;
	x->if_match = if_match ? simjson_dup(if_match) : NULL;
	x->until_ms = now_ms() + s->write.session_lifetime_ms;
	list_add_tail(&s->uploads->sessions, &x->link);
	s->uploads->session_n++;
	if (!read_item(s, req, reply, x, body, r)) {
		abandon(s, x);
		return;
	}
	if ((s->write.one_session && has_rival(s, x)) ||
	    (s->write.session_conflict_early && r->name && r->item &&
	     x->conflict == SIMGUARD_FAIL)) {
		simguard_taken(req, reply);
		abandon(s, x);
		return;
	}
	if (r->item && s->write.session_bumps_etag)
		simtree_touch(&s->tree, r->item, false);
	simjson_text(&url, s->base[SIMPORT_CONTENT]);
	write_target(s, x->id, &url);
	tell_state(reply, x, 200, url.data);
	simjson_fini(&url);
}

void simupload_create(struct sim *s, struct simreq *req, struct simreply *reply,
		      const struct simroute *route)
{
	struct json_object *body;

	if (!check_place(s, req, reply, route))
		return;
	if (s->uploads->session_n >= SESSIONS_MAX) {
		sim_error(reply, req, 503, "serviceNotAvailable", NULL, "Too many sessions.");
		return;
	}
	if (!simwrite_body(req, reply, &body))
		return;
	open_session(s, req, reply, route, body);
	json_object_put(body);
}

/* The complete session that a sourceUrl names; NULL: refused. */
static struct session *find_source(struct sim *s, const struct simreq *req, struct simreply *reply,
				   const char *url)
{
	const char *base = s->base[SIMPORT_CONTENT];
	struct session *x =
		url && strncmp(url, base, strlen(base)) == 0 ? find(s, url + strlen(base)) : NULL;

	if (!url) {
		sim_error(reply, req, 400, "invalidRequest", NULL, "The sourceUrl is missing.");
	} else if (!x) {
		no_session(req, reply);
	} else if (!x->has_total || x->got < x->total) {
		sim_error(reply, req, 400, "invalidRequest", "uploadSessionIncomplete",
			  "Not all bytes are there.");
		x = NULL;
	}
	return x;
}

static void recommit(struct sim *s, struct simreq *req, struct simreply *reply,
		     const struct simroute *route, struct json_object *body)
{
	struct json_object *url = json_object_object_get(body, "@microsoft.graph.sourceUrl");
	struct json_object *other = json_object_object_get(body, "name");
	const char *name = other ? json_object_get_string(other) : route->name;
	struct session *x = find_source(s, req, reply, json_object_get_string(url));

	if (!x || !simguard_conflict(req, reply, body, NULL, &x->conflict) ||
	    !simguard_name(s, req, reply, route->parent, name, false))
		return;
	x->folder = route->parent;
	free(x->name);
	x->name = simjson_dup(name);
	(void)commit(s, req, reply, x);
}

void simupload_recommit(struct sim *s, struct simreq *req, struct simreply *reply,
			const struct simroute *route)
{
	auto_free char *text = simjson_alloc(req->body_len + 1);
	struct json_object *body = NULL;

	if (!simid_is_personal(sim_flavour(s, route->drive))) {
		sim_error(reply, req, 400, "notSupported", NULL, "Only on personal drives.");
		return;
	}
	if (!route->parent) {
		sim_not_found(reply, req);
		return;
	}
	if (req->is_spooled)
		simspool_read(&s->spool, req->body_at, text, req->body_len);
	body = json_tokener_parse(text);
	recommit(s, req, reply, route, body);
	json_object_put(body);
}

void simupload_list(struct sim *s, struct simjson *out)
{
	simjson_open(out, "sessions", '[');
	list_for_each (&s->uploads->sessions, pos) {
		const struct session *x = container_of(pos, struct session, link);
		auto_free char *path = path_of(s, x);

		simjson_open(out, NULL, '{');
		simjson_str(out, "path", path);
		simjson_int(out, "got", (int64_t)x->got);
		simjson_int(out, "total", x->has_total ? (int64_t)x->total : -1);
		simjson_close(out, '}');
	}
	simjson_close(out, ']');
}

#include "simapi.h"
#include "simbatch.h"
#include "simcopy.h"
#include "simdelta.h"
#include "simget.h"
#include "simitem.h"
#include "simlag.h"
#include "simlogin.h"
#include "simsock.h"
#include "simupload.h"
#include "simwrite.h"

#include <stdio.h>
#include <string.h>

enum { CHILDREN_TOP_MAX = 1000 };

/* --- links --- */

static uint64_t text_mix(const struct sim *s, const char *text, size_t len)
{
	uint64_t h = s->secret;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return simid_mix(h);
}

static bool is_own_parameter(const char *at, size_t n, const char *parameter)
{
	size_t len = strlen(parameter);

	return (n > len && memcmp(at, parameter, len) == 0 && at[len] == '=') ||
	       (n > 4 && memcmp(at, "sig=", 4) == 0);
}

void simapi_link(struct sim *s, struct simjson *out, const char *path, const char *query,
		 const char *parameter, const char *token)
{
	size_t start;

	simjson_text(out, s->base[SIMPORT_API]);
	start = out->len;
	simjson_format(out, "%s?", path);
	for (const char *at = query; *at;) {
		size_t n = strcspn(at, "&");

		if (!is_own_parameter(at, n, parameter)) {
			simjson_raw(out, at, n);
			simjson_text(out, "&");
		}
		at += n + (at[n] == '&');
	}
	simjson_format(out, "%s=%s%%3d%%2B", parameter, token);
	simjson_format(out, "&sig=%016llx",
		       (unsigned long long)text_mix(s, out->data + start, out->len - start));
}

bool simapi_check_link(struct sim *s, const struct simreq *req)
{
	const char *sig = strstr(req->target, "&sig=");
	unsigned long long given;

	if (!s->is_strict)
		return true;
	if (sig && sscanf(sig, "&sig=%16llx", &given) == 1 && strlen(sig) == 21 &&
	    given == text_mix(s, req->target, (size_t)(sig - req->target)))
		return true;
	sim_violation(s, "a link of the service was changed on its way: %s", req->path);
	return false;
}

/* --- answers --- */

static void answer_me(struct simreply *reply)
{
	simjson_text(
		&reply->body,
		"{\"@odata.context\":\"https://graph.microsoft.com/v1.0/$metadata#users/$entity\","
		"\"id\":\"8b2f6a0e-0d6a-4b7e-9a52-0a5d1c3e7f10\",\"displayName\":\"Sam "
		"Somebody\",\"userPrincipalName\":\"sam@example.com\",\"mail\":\"sam@example."
		"com\"}");
}

static void write_quota(struct sim *s, struct simjson *w, unsigned drive)
{
	const int64_t total = (int64_t)s->write.quota_bytes;
	int64_t left = total - (int64_t)s->tree.used_bytes[drive];

	if (s->has_quota_override) {
		if (s->quota)
			simjson_value(
				w, "quota",
				json_object_to_json_string_ext(s->quota, JSON_C_TO_STRING_PLAIN));
		return;
	}
	simjson_open(w, "quota", '{');
	simjson_int(w, "total", total);
	simjson_int(w, "used", total - left);
	simjson_int(w, "remaining", left);
	simjson_int(w, "deleted", 0);
	simjson_str(w, "state",
		    left <= 0            ? "exceeded"
		    : left < total / 100 ? "critical"
		    : left < total / 10  ? "nearing"
					 : "normal");
	if (!simid_is_personal(sim_flavour(s, drive)))
		simjson_int(w, "fileCount", s->tree.file_n[drive]);
	simjson_close(w, '}');
}

static void answer_drive(struct sim *s, struct simreply *reply, unsigned drive)
{
	struct simjson *w = &reply->body;
	char id[SIMID_MAX * 2];

	sim_drive_id(s, drive, id);
	simjson_open(w, NULL, '{');
	simjson_str(w, "@odata.context",
		    "https://graph.microsoft.com/v1.0/$metadata#drives/$entity");
	simjson_str(w, "id", id);
	simjson_str(w, "driveType", simid_drive_type(sim_flavour(s, drive)));
	simjson_str(w, "name", drive == 0 ? "OneDrive" : "Documents");
	simjson_str(w, "webUrl", "https://contoso-my.sharepoint.com/personal/sam/Documents");
	simjson_value(w, "owner",
		      "{\"user\":{\"id\":\"8b2f6a0e-0d6a-4b7e-9a52-0a5d1c3e7f10\","
		      "\"displayName\":\"Sam Somebody\",\"email\":\"sam@example.com\"}}");
	write_quota(s, w, drive);
	simjson_close(w, '}');
}

static void answer_item(struct sim *s, struct simreq *req, struct simreply *reply, uint32_t item)
{
	const char *known = simhttp_head(req, "If-None-Match"), *old = simlag_old(s, item);
	char etag[80];

	if (old) {
		simjson_text(&reply->body, old);
		return;
	}

	simitem_etag(s, item, etag);
	if (known && strcmp(known, etag) == 0) {
		reply->status = 304;
		return;
	}
	simitem_write(s, &reply->body, NULL, item, SIMITEM_SINGLE, simitem_fields(req));
}

static unsigned page_size(struct sim *s, const struct simreq *req)
{
	auto_free char *top = simhttp_param(req, "$top");
	unsigned long n = top ? strtoul(top, NULL, 10) : s->children_page;

	if (n == 0 || n > CHILDREN_TOP_MAX)
		n = CHILDREN_TOP_MAX;
	return (unsigned)n;
}

/* The child that a page starts with; false: the link is stale. */
static bool first_child(struct sim *s, struct simreq *req, uint32_t folder, uint32_t *ret)
{
	auto_free char *token = simhttp_param(req, "$skiptoken");
	uint32_t n;

	*ret = simtree_get(&s->tree, folder)->first_child;
	if (!token)
		return true;
	if (!simapi_check_link(s, req) || sscanf(token, "UGFnZWQ9%u", &n) != 1 ||
	    !simtree_is_alive(&s->tree, n) || simtree_get(&s->tree, n)->parent != folder)
		return false;
	*ret = n;
	return true;
}

static void answer_children(struct sim *s, struct simreq *req, struct simreply *reply,
			    uint32_t folder)
{
	struct simjson *w = &reply->body;
	unsigned left = page_size(s, req), fields = simitem_fields(req);
	uint32_t at;

	if (!first_child(s, req, folder, &at)) {
		sim_error(reply, req, 400, "invalidRequest", NULL, "Invalid paging token");
		return;
	}
	simjson_open(w, NULL, '{');
	simjson_str(w, "@odata.context",
		    "https://graph.microsoft.com/v1.0/$metadata#Collection(driveItem)");
	simjson_int(w, "@odata.count", simtree_get(&s->tree, folder)->child_n);
	simjson_open(w, "value", '[');
	for (; at && left > 0; at = simtree_get(&s->tree, at)->next_sibling) {
		if (simlag_hides(s, at, true))
			continue;
		simitem_write(s, w, NULL, at, SIMITEM_CHILD, fields);
		left--;
	}
	simjson_close(w, ']');
	if (at) {
		struct simjson link = { 0 };
		char token[32];

		snprintf(token, sizeof(token), "UGFnZWQ9%u", at);
		simapi_link(s, &link, req->path, req->query, "$skiptoken", token);
		simjson_str(w, "@odata.nextLink", link.data);
		simjson_fini(&link);
	}
	simjson_close(w, '}');
}

static void answer_content(struct sim *s, struct simreq *req, struct simreply *reply, uint32_t item,
			   uint32_t version)
{
	const char *known = simhttp_head(req, "If-None-Match");
	struct simjson url = { 0 };
	char tag[80];

	if (simtree_get(&s->tree, item)->flags & SIMTREE_FOLDER) {
		sim_error(reply, req, 400, "invalidRequest", NULL, "A folder has no content.");
		return;
	}
	simitem_ctag(s, item, simtree_get(&s->tree, item)->content_n, tag);
	if (known && strcmp(known, tag) == 0) {
		reply->status = 304;
		return;
	}
	simget_url(s, item, version, &url);
	reply->status = 302;
	reply->content_type = NULL;
	simhttp_header(reply, "Location", "%s", url.data);
	simjson_fini(&url);
}

static void write_version(struct sim *s, struct simjson *w, const struct simbytes_ref *ref)
{
	char id[16];

	(void)s;
	snprintf(id, sizeof(id), "%u.0", ref->version);
	simjson_open(w, NULL, '{');
	simjson_str(w, "id", id);
	simjson_time(w, "lastModifiedDateTime", ref->mtime_ms, 0);
	simjson_int(w, "size", (int64_t)ref->size);
	simjson_close(w, '}');
}

/* versions: newest first; versions/N.0/content: 302 as for the content itself. */
static void answer_versions(struct sim *s, struct simreq *req, struct simreply *reply,
			    const struct simroute *r)
{
	uint32_t now = simtree_get(&s->tree, r->item)->content_n;
	struct simbytes_ref ref;
	unsigned version;
	int used = 0;

	if (sscanf(r->sub, "versions/%u.0/content%n", &version, &used) == 1 && used > 0) {
		if (simbytes_find(&s->bytes, r->item, version, &ref))
			answer_content(s, req, reply, r->item, version);
		else
			sim_not_found(reply, req);
		return;
	}
	if (strcmp(r->sub, "versions") != 0) {
		sim_not_found(reply, req);
		return;
	}
	simjson_open(&reply->body, NULL, '{');
	simjson_open(&reply->body, "value", '[');
	for (uint32_t v = now; v > 0; v--)
		if (simbytes_find(&s->bytes, r->item, v, &ref))
			write_version(s, &reply->body, &ref);
	simjson_text(&reply->body, "]}");
}

/* children/{name} and children('{name}') */
static void answer_child(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *r)
{
	const char *name = r->sub + 8;
	size_t n = strlen(name);
	uint32_t child;

	if (n > 4 && strncmp(name, "('", 2) == 0) {
		name += 2;
		n -= 4;
	} else if (*name == '/') {
		name++;
		n--;
	}
	child = simtree_child(&s->tree, r->item, name, n);
	if (child)
		answer_item(s, req, reply, child);
	else
		sim_not_found(reply, req);
}

static void answer_route(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *r)
{
	bool needs_item = r->class >= SIMCLASS_ITEM && r->class <= SIMCLASS_SOCKETIO;

	if (needs_item && !r->item) {
		sim_not_found(reply, req);
		return;
	}
	switch (r->class) {
	case SIMCLASS_ME:
		answer_me(reply);
		break;
	case SIMCLASS_DRIVE:
		answer_drive(s, reply, r->drive);
		break;
	case SIMCLASS_ITEM:
		answer_item(s, req, reply, r->item);
		break;
	case SIMCLASS_CHILDREN:
		if (r->sub[8])
			answer_child(s, req, reply, r);
		else
			answer_children(s, req, reply, r->item);
		break;
	case SIMCLASS_DELTA:
		simdelta_answer(s, req, reply, r);
		break;
	case SIMCLASS_VERSIONS:
		answer_versions(s, req, reply, r);
		break;
	case SIMCLASS_CONTENT_URL:
		answer_content(s, req, reply, r->item, SIMGET_CURRENT);
		break;
	case SIMCLASS_SOCKETIO:
		simsock_subscribe(s, req, reply, r);
		break;
	case SIMCLASS_MKDIR:
	case SIMCLASS_PUT:
	case SIMCLASS_PATCH:
	case SIMCLASS_DELETE:
	case SIMCLASS_PERMANENT_DELETE:
		simwrite_answer(s, req, reply, r);
		break;
	case SIMCLASS_SESSION:
		simupload_create(s, req, reply, r);
		break;
	case SIMCLASS_COMMIT:
		simupload_recommit(s, req, reply, r);
		break;
	case SIMCLASS_COPY:
		simcopy_answer(s, req, reply, r);
		break;
	case SIMCLASS_BATCH:
		simbatch_answer(s, req, reply);
		break;
	default:
		if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
			sim_not_found(reply, req);
		else
			sim_error(reply, req, 405, "notAllowed", NULL, "There is no such call.");
		break;
	}
}

static void add_usual_headers(const struct simreq *req, struct simreply *reply)
{
	const char *client_id = simhttp_head(req, "client-request-id");
	static uint64_t next = 1;
	char guid[37];

	simid_guid(next++ << 16, guid);
	simhttp_header(reply, "OData-Version", "4.0");
	simhttp_header(reply, "Cache-Control", "no-store");
	/* An error has its own already, the same as in its body. */
	if (!strstr(reply->heads.data, "request-id:"))
		simhttp_header(reply, "request-id", "%s", guid);
	simhttp_header(reply, "client-request-id", "%s", client_id ? client_id : guid);
}

static void process(struct sim *s, struct simreq *req, struct simreply *reply,
		    const struct simroute *r, bool is_part)
{
	if (simlogin_is_route(r->class)) {
		simlogin_answer(s, req, reply, r->class);
		return;
	}
	if (strncmp(req->path, "/v1.0/", 6) != 0)
		sim_error(reply, req, 404, "BadRequest", NULL, "No such version of the API.");
	else if (is_part || simlogin_check(s, req, reply))
		answer_route(s, req, reply, r);
	add_usual_headers(req, reply);
}

/* What faults are matched with; the caller frees path. */
static char *find_route(struct sim *s, const struct simreq *req, struct simroute *route,
			char id[SIMID_MAX])
{
	enum simclass login = simlogin_class(req->path);

	id[0] = '\0';
	*route = (struct simroute){ .class = login };
	if (login == SIMCLASS_OTHER)
		simroute_find(s, req, route);
	if (route->item)
		sim_item_id(s, route->item, id);
	return simroute_path(s, route);
}

struct simcut simapi_cut(struct sim *s, struct simreq *req)
{
	struct simroute route;
	char id[SIMID_MAX];
	auto_free char *path = find_route(s, req, &route, id);
	struct simcut cut = simfault_match_early(&s->faults, route.class, path, id);

	if (cut.end != SIMEND_NORMAL)
		s->class_n[route.class]++;
	simroute_fini(&route);
	return cut;
}

static void answer(struct sim *s, struct simreq *req, struct simreply *reply, bool is_part)
{
	struct simroute route;
	char id[SIMID_MAX];
	auto_free char *path = find_route(s, req, &route, id);
	struct simfault_rule *rule;

	s->class_n[route.class]++;
	rule = simfault_match(&s->faults, route.class, path, id);
	if (!rule || simfault_phase(rule) != SIMFAULT_BEFORE)
		process(s, req, reply, &route, is_part);
	if (rule)
		simfault_apply(rule, reply);
	simroute_fini(&route);
}

void simapi_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	answer(s, req, reply, false);
}

void simapi_answer_part(struct sim *s, struct simreq *req, struct simreply *reply)
{
	answer(s, req, reply, true);
}

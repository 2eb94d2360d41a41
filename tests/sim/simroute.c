#include "simroute.h"
#include "simlag.h"

#include <string.h>
#include <strings.h>

static char *part(const char *from, size_t len)
{
	char *copy = simjson_alloc(len + 1);

	memcpy(copy, from, len);
	return copy;
}

/* Length of the drive's part at the start of path (after /v1.0), 0 when it names none. */
static size_t drive_prefix(struct sim *s, const char *path, unsigned *ret_drive)
{
	/* %: one segment. Everything but the user's own drive is the library. */
	static const struct {
		const char *pattern;
		unsigned drive;
	} forms[] = {
		{ "/me/drive", 0 },       { "/users/%/drive", 0 },
		{ "/groups/%/drive", 1 }, { "/sites/%/lists/%/drive", 1 },
		{ "/sites/%/drive", 1 },  { "/drives/%", 2 },
	};

	for (size_t i = 0; i < array_n(forms); i++) {
		const char *at = path, *want = forms[i].pattern;
		char id[SIMID_MAX * 2];

		while (*want && (*want == '%' ? *at && *at != '/' : *at == *want)) {
			at += *want == '%' ? strcspn(at, "/") : 1;
			want++;
		}
		if (*want || (*at && *at != '/') || memmem(path, (size_t)(at - path), "missing", 7))
			continue;
		*ret_drive = forms[i].drive;
		for (unsigned d = 0; forms[i].drive == 2 && d < SIMTREE_DRIVES; d++) {
			size_t n = (size_t)(at - path) - 8;

			sim_drive_id(s, d, id);
			if (strlen(id) == n &&
			    (simid_is_personal(sim_flavour(s, d)) ? strncasecmp(path + 8, id, n)
								  : strncmp(path + 8, id, n)) == 0)
				*ret_drive = d;
		}
		return *ret_drive < SIMTREE_DRIVES ? (size_t)(at - path) : 0;
	}
	return 0;
}

/* POST may stand for another method. */
static const char *method_of(const struct simreq *req)
{
	const char *other = simhttp_head(req, "X-HTTP-Method-Override");

	return other && strcmp(req->method, "POST") == 0 ? other : req->method;
}

static enum simclass class_of(const char *method, const char *sub)
{
	static const struct {
		const char *method, *sub;
		enum simclass class;
	} writes[] = {
		{ "POST", "children", SIMCLASS_MKDIR },
		{ "PUT", "content", SIMCLASS_PUT },
		{ "PUT", "", SIMCLASS_COMMIT },
		{ "POST", "createUploadSession", SIMCLASS_SESSION },
		{ "PATCH", "", SIMCLASS_PATCH },
		{ "DELETE", "", SIMCLASS_DELETE },
		{ "POST", "permanentDelete", SIMCLASS_PERMANENT_DELETE },
		{ "POST", "copy", SIMCLASS_COPY },
	};

	for (size_t i = 0; i < array_n(writes); i++)
		if (strcmp(method, writes[i].method) == 0 && strcasecmp(sub, writes[i].sub) == 0)
			return writes[i].class;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return SIMCLASS_OTHER;
	if (sub[0] == '\0')
		return SIMCLASS_ITEM;
	if (strncmp(sub, "children", 8) == 0)
		return SIMCLASS_CHILDREN;
	if (strncmp(sub, "delta", 5) == 0)
		return SIMCLASS_DELTA;
	if (strcmp(sub, "content") == 0)
		return SIMCLASS_CONTENT_URL;
	if (strncmp(sub, "versions", 8) == 0)
		return SIMCLASS_VERSIONS;
	if (strcasecmp(sub, "subscriptions/socketIo") == 0)
		return SIMCLASS_SOCKETIO;
	return SIMCLASS_OTHER;
}

/* path: from the folder r->item on. Finds the item, and the folder its last name is in. */
static void route_path(struct sim *s, struct simroute *r, const char *path)
{
	size_t len = strlen(path), at;

	while (len > 0 && path[len - 1] == '/')
		len--;
	for (at = len; at > 0 && path[at - 1] != '/'; at--)
		;
	if (at < len) {
		auto_free char *above = part(path, at);

		r->name = part(path + at, len - at);
		r->parent = simtree_find(&s->tree, r->item, above);
		if (simlag_hides(s, r->parent, true))
			r->parent = SIMTREE_NONE;
		r->item = r->parent ? simtree_child(&s->tree, r->parent, r->name, len - at)
				    : SIMTREE_NONE;
	}
}

/* What was written a moment ago is not there yet for who reads it. */
static void hide_fresh(struct sim *s, struct simroute *r)
{
	bool may_create = r->class == SIMCLASS_PUT || r->class == SIMCLASS_SESSION;

	if (!(r->name && may_create) && simlag_hides(s, r->item, r->name != NULL))
		r->item = SIMTREE_NONE;
}

/* rest: decoded text after the drive: "/root:/a/b:/children" and the like. */
static void route_item(struct sim *s, const char *method, struct simroute *r, char *rest)
{
	uint32_t root = s->tree.root[r->drive];

	if (strncmp(rest, "/root", 5) == 0 && (rest[5] == '\0' || strchr("/:", rest[5]))) {
		r->item = root;
		r->is_root_form = rest[5] != ':';
		rest += 5;
	} else if (strncmp(rest, "/items/", 7) == 0) {
		size_t n = strcspn(rest + 7, "/:");
		auto_free char *id = part(rest + 7, n);

		r->item = sim_find_id(s, r->drive, id);
		r->is_root_form = r->item == root;
		rest += 7 + n;
	} else if (strcasecmp(rest, "/list/subscriptions/socketIo") == 0) {
		r->item = root;
		r->is_root_form = true;
		rest += 5;
	} else {
		return;
	}
	if (*rest == ':') {
		size_t n = strcspn(rest + 1, ":");
		auto_free char *path = part(rest + 1, n);

		route_path(s, r, path);
		rest += 1 + n;
		rest += *rest == ':';
	}
	free(r->sub);
	r->sub = simjson_dup(*rest == '/' ? rest + 1 : rest);
	r->class = class_of(method, r->sub);
	hide_fresh(s, r);
}

/* A list is a library's drive under another name for the notification channel. */
static bool is_list_subscription(const char *path)
{
	return strncmp(path, "/sites/", 7) == 0 && strstr(path, "/lists/") &&
	       strcasestr(path, "/subscriptions/socketIo");
}

/* As many segments of the raw path as the decoded prefix has: links start with what was sent. */
static char *raw_prefix(const char *raw, const char *decoded, size_t decoded_len)
{
	const char *end = raw + strlen("/v1.0");

	for (size_t i = 0; i < decoded_len; i++)
		if (decoded[i] == '/')
			end += 1 + strcspn(end + 1, "/");
	return part(raw, (size_t)(end - raw));
}

void simroute_find(struct sim *s, const struct simreq *req, struct simroute *r)
{
	auto_free char *decoded = simjson_dup(req->path);
	char *path;
	size_t n;

	*r = (struct simroute){ .sub = simjson_dup("") };
	if (strncmp(decoded, "/v1.0/", 6) != 0)
		return;
	path = decoded + strlen("/v1.0");
	simhttp_decode(path);
	n = drive_prefix(s, path, &r->drive);
	if (n > 0) {
		r->has_drive = true;
		r->prefix = raw_prefix(req->path, path, n);
		if (path[n] == '\0')
			r->class =
				strcmp(req->method, "GET") == 0 ? SIMCLASS_DRIVE : SIMCLASS_OTHER;
		else
			route_item(s, method_of(req), r, path + n);
	} else if (strcmp(path, "/$batch") == 0) {
		r->class = SIMCLASS_BATCH;
	} else if (strcmp(path, "/me") == 0) {
		r->class = SIMCLASS_ME;
	} else if (is_list_subscription(path)) {
		r->class = SIMCLASS_SOCKETIO;
		r->drive = 1;
		r->has_drive = r->is_root_form = true;
		r->item = s->tree.root[1];
	}
}

char *simroute_path(struct sim *s, const struct simroute *r)
{
	struct simjson text = { 0 };
	auto_free char *above = NULL;

	if (r->item)
		return simtree_path(&s->tree, r->item);
	if (!r->parent)
		return simjson_dup("");
	above = simtree_path(&s->tree, r->parent);
	simjson_format(&text, "%s%s%s", above, above[0] ? "/" : "", r->name);
	return text.data;
}

void simroute_fini(struct simroute *r)
{
	free(r->prefix);
	free(r->sub);
	free(r->name);
}

#include "simguard.h"
#include "simitem.h"
#include "simname.h"

#include <string.h>

bool simguard_may_write(struct sim *s, const struct simreq *req, struct simreply *reply,
			uint32_t item)
{
	for (uint32_t n = item; n; n = simtree_get(&s->tree, n)->parent) {
		if (simtree_get(&s->tree, n)->flags & SIMTREE_READONLY) {
			sim_error(reply, req, 403, "accessDenied", NULL, "Access denied.");
			return false;
		}
	}
	return true;
}

static bool is_locked(struct sim *s, uint32_t item)
{
	if (simtree_get(&s->tree, item)->flags & SIMTREE_LOCKED)
		return true;
	for (uint32_t n = simtree_get(&s->tree, item)->first_child; n;
	     n = simtree_get(&s->tree, n)->next_sibling)
		if (is_locked(s, n))
			return true;
	return false;
}

bool simguard_is_free(struct sim *s, const struct simreq *req, struct simreply *reply,
		      uint32_t item)
{
	if (!item || !is_locked(s, item))
		return true;
	sim_error(reply, req, 423, "notAllowed", "resourceLocked",
		  "The resource you are attempting to access is locked.");
	return false;
}

/* Quotes and the mark of a weak tag do not count. */
static bool is_same_tag(const char *a, size_t a_len, const char *b)
{
	size_t b_len = strlen(b);

	if (a_len > 2 && strncmp(a, "W/", 2) == 0) {
		a += 2;
		a_len -= 2;
	}
	if (a_len >= 2 && a[0] == '"' && a[a_len - 1] == '"') {
		a++;
		a_len -= 2;
	}
	if (b_len >= 2 && b[0] == '"') {
		b++;
		b_len -= 2;
	}
	return a_len == b_len && memcmp(a, b, a_len) == 0;
}

/* tags: "*", or tags parted by commas, each an eTag or a cTag. */
static bool is_any_of(struct sim *s, uint32_t item, const char *tags)
{
	char etag[80], ctag[80];

	if (!item || strcmp(tags, "*") == 0)
		return item != SIMTREE_NONE;
	simitem_etag(s, item, etag);
	simitem_ctag(s, item, simtree_get(&s->tree, item)->content_n, ctag);
	/* The tag itself holds a comma inside its quotes. */
	if (is_same_tag(tags, strlen(tags), etag) || is_same_tag(tags, strlen(tags), ctag))
		return true;
	for (const char *at = tags; *at;) {
		const char *end = strstr(at, "\",");
		size_t n = end ? (size_t)(end - at) + 1 : strlen(at);

		if (is_same_tag(at, n, etag) || is_same_tag(at, n, ctag))
			return true;
		at += n;
		at += strspn(at, ", ");
	}
	return false;
}

static bool refuse_match(const struct simreq *req, struct simreply *reply)
{
	bool is_change = strcmp(req->method, "PATCH") == 0 || strcmp(req->method, "DELETE") == 0;

	sim_error(reply, req, 412, is_change ? "notAllowed" : "resourceModified",
		  "preconditionFailed", "ETag does not match current item's value.");
	return false;
}

bool simguard_still_matches(struct sim *s, const struct simreq *req, struct simreply *reply,
			    const char *wanted, uint32_t item)
{
	return !wanted || is_any_of(s, item, wanted) || refuse_match(req, reply);
}

bool simguard_matches(struct sim *s, const struct simreq *req, struct simreply *reply,
		      uint32_t item)
{
	const char *unwanted = simhttp_head(req, "If-None-Match");

	if (unwanted && is_any_of(s, item, unwanted))
		return refuse_match(req, reply);
	return simguard_still_matches(s, req, reply, simhttp_head(req, "If-Match"), item);
}

bool simguard_has_room(struct sim *s, const struct simreq *req, struct simreply *reply,
		       unsigned drive, uint32_t item, uint64_t size)
{
	uint64_t used = s->tree.used_bytes[drive];

	if (item)
		used -= simtree_get(&s->tree, item)->size;
	if (size == 0 || used + size <= s->write.quota_bytes)
		return true;
	sim_error(reply, req, 507, "quotaLimitReached", NULL, "Insufficient space available.");
	return false;
}

bool simguard_name(struct sim *s, const struct simreq *req, struct simreply *reply, uint32_t folder,
		   const char *name, bool is_folder)
{
	const char *inner = simname_check(s, folder, name, strlen(name), is_folder);

	if (inner)
		sim_error(reply, req, 400, "invalidRequest", inner,
			  strcmp(inner, "invalidPath") == 0
				  ? "The provided name cannot contain any of these characters."
				  : "The path is too long.");
	return !inner;
}

static struct json_object *behaviour_of(struct json_object *obj)
{
	struct json_object *value = NULL;

	if (!json_object_is_type(obj, json_type_object))
		return NULL;
	if (!json_object_object_get_ex(obj, "@microsoft.graph.conflictBehavior", &value))
		json_object_object_get_ex(obj, "@name.conflictBehavior", &value);
	return value;
}

bool simguard_conflict(const struct simreq *req, struct simreply *reply, struct json_object *a,
		       struct json_object *b, enum simguard_conflict *ret)
{
	static const char *const words[] = { "fail", "replace", "rename" };
	auto_free char *plain = simhttp_param(req, "@microsoft.graph.conflictBehavior");
	auto_free char *coded = simhttp_param(req, "%40microsoft.graph.conflictBehavior");
	struct json_object *value = behaviour_of(a) ? behaviour_of(a) : behaviour_of(b);
	const char *word = plain ? plain : coded ? coded : json_object_get_string(value);

	if (!word)
		return true;
	for (unsigned i = 0; i < array_n(words); i++) {
		if (strcmp(words[i], word) == 0) {
			*ret = (enum simguard_conflict)i;
			return true;
		}
	}
	sim_error(reply, req, 400, "invalidRequest", NULL, "conflictBehavior is not valid.");
	return false;
}

void simguard_taken(const struct simreq *req, struct simreply *reply)
{
	sim_error(reply, req, 409, "nameAlreadyExists", NULL,
		  "An item with the same name already exists under the parent.");
}

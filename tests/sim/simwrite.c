#include "simwrite.h"
#include "simlag.h"
#include "simname.h"
#include "simstore.h"

#include <string.h>
#include <strings.h>

static const uint64_t PUT_MAX_BYTES = 250000000;

static void refuse(const struct simreq *req, struct simreply *reply, const char *why)
{
	sim_error(reply, req, 400, "invalidRequest", NULL, why);
}

static bool is_folder(struct sim *s, uint32_t item)
{
	return simtree_get(&s->tree, item)->flags & SIMTREE_FOLDER;
}

bool simwrite_body(const struct simreq *req, struct simreply *reply, struct json_object **ret)
{
	struct json_tokener *parser = json_tokener_new_ex(32);
	struct json_object *body =
		req->body && req->body_len > 0
			? json_tokener_parse_ex(parser, req->body, (int)req->body_len)
			: json_object_new_object();

	json_tokener_free(parser);
	if (!json_object_is_type(body, json_type_object)) {
		json_object_put(body);
		refuse(req, reply, "The body is not a JSON object.");
		return false;
	}
	*ret = body;
	return true;
}

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(obj, key, &value) ||
	    !json_object_is_type(value, json_type_string))
		return NULL;
	return json_object_get_string(value);
}

/* --- folders --- */

static bool checks_for_mkdir(struct sim *s, struct simreq *req, struct simreply *reply,
			     uint32_t folder, struct json_object *body)
{
	const char *name = text_of(body, "name");

	if (!is_folder(s, folder)) {
		refuse(req, reply, "Only a folder has children.");
		return false;
	}
	if (!name ||
	    !json_object_is_type(json_object_object_get(body, "folder"), json_type_object)) {
		refuse(req, reply, "name and folder are needed.");
		return false;
	}
	return simguard_may_write(s, req, reply, folder) &&
	       simguard_name(s, req, reply, folder, name, true);
}

static void make_folder(struct sim *s, struct simreq *req, struct simreply *reply, uint32_t folder,
			struct json_object *body)
{
	enum simguard_conflict conflict = SIMGUARD_FAIL;
	const char *name = text_of(body, "name");
	auto_free char *other = NULL;
	uint32_t item;
	int r;

	if (!checks_for_mkdir(s, req, reply, folder, body) ||
	    !simguard_conflict(req, reply, body, NULL, &conflict))
		return;
	item = simtree_child(&s->tree, folder, name, strlen(name));
	if (item && conflict == SIMGUARD_RENAME) {
		other = simname_free(s, folder, name, true);
		name = other;
	} else if (item && conflict == SIMGUARD_REPLACE && is_folder(s, item)) {
		simstore_tell(s, req, reply, 200, item);
		return;
	} else if (item) {
		simguard_taken(req, reply);
		return;
	}
	r = simtree_add(&s->tree, folder, name, strlen(name), SIMTREE_FOLDER, &item);
	if (r < 0) {
		sim_error(reply, req, 507, "quotaLimitReached", "maxItemCountExceeded",
			  "The drive holds too many items.");
		return;
	}
	simlag_note(s, item, true);
	simstore_tell(s, req, reply, 201, item);
}

static void answer_mkdir(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *r)
{
	struct json_object *body;

	if (!r->item) {
		sim_not_found(reply, req);
	} else if (simwrite_body(req, reply, &body)) {
		make_folder(s, req, reply, r->item, body);
		json_object_put(body);
	}
}

/* --- small files --- */

static void hash_body(struct sim *s, const struct simreq *req, struct simhash *ret)
{
	static char chunk[64 << 10];

	for (uint64_t at = 0; at < req->body_len;) {
		size_t n = req->body_len - at < sizeof(chunk) ? (size_t)(req->body_len - at)
							      : sizeof(chunk);

		simspool_read(&s->spool, req->body_at + at, chunk, n);
		simhash_update(ret, chunk, n);
		at += n;
	}
}

static bool may_put(struct sim *s, struct simreq *req, struct simreply *reply,
		    const struct simroute *r)
{
	uint32_t up = r->name ? r->parent : r->item;

	if (!up) {
		sim_not_found(reply, req);
		return false;
	}
	if (req->body_len > PUT_MAX_BYTES) {
		sim_error(reply, req, 413, "invalidRequest", "maxFileSizeExceeded",
			  "The file is too long for one request.");
		return false;
	}
	if (r->name && !is_folder(s, r->parent)) {
		sim_not_found(reply, req);
		return false;
	}
	if (!r->name && is_folder(s, r->item)) {
		refuse(req, reply, "A folder has no content.");
		return false;
	}
	if (!simguard_may_write(s, req, reply, r->item ? r->item : up)) {
		/* What the service says of a folder that one may only read. */
		if (!r->item)
			sim_not_found(reply, req);
		return false;
	}
	return (!r->name || simguard_name(s, req, reply, up, r->name, false)) &&
	       simguard_matches(s, req, reply, r->item);
}

static void answer_put(struct sim *s, struct simreq *req, struct simreply *reply,
		       const struct simroute *r)
{
	struct simstore what = { .drive = r->drive,
				 .folder = r->name ? r->parent : SIMTREE_NONE,
				 .name = r->name,
				 .item = r->item,
				 .conflict = SIMGUARD_REPLACE,
				 .at = req->body_at,
				 .size = req->body_len };
	struct simhash hash = { 0 };
	auto_free char *own = NULL;

	if (!may_put(s, req, reply, r) ||
	    !simguard_conflict(req, reply, NULL, NULL, &what.conflict))
		return;
	s->upload_bytes_n += req->body_len;
	hash_body(s, req, &hash);
	what.hash = &hash;
	if (!r->name) {
		own = simtree_dup_name(&s->tree, r->item);
		what.name = own;
	}
	/* An empty body has no region of its own. */
	if (!req->is_spooled)
		what.at = simspool_reserve(&s->spool, 0);
	if (simstore_put(s, req, reply, &what))
		req->is_kept = true;
}

/* --- changes --- */

/* "/drive/root:/a/b" or "/drives/ID/root:/a/b", percent-encoded. */
static uint32_t find_by_reference(struct sim *s, unsigned drive, const char *path)
{
	const char *at = strstr(path, "root:");
	auto_free char *decoded = simjson_dup(at ? at + 5 : path);

	simhttp_decode(decoded);
	return simtree_find(&s->tree, s->tree.root[drive], decoded);
}

/* SIMTREE_DRIVES: no drive has this id. */
static unsigned find_drive(struct sim *s, const char *id)
{
	char own[SIMID_MAX * 2];
	unsigned d = 0;

	for (; d < SIMTREE_DRIVES; d++) {
		sim_drive_id(s, d, own);
		if (strcasecmp(own, id) == 0)
			break;
	}
	return d;
}

bool simwrite_parent(struct sim *s, const struct simreq *req, struct simreply *reply,
		     const struct simroute *route, struct json_object *body, bool is_any_drive,
		     uint32_t *ret)
{
	struct json_object *ref = json_object_object_get(body, "parentReference");
	const char *id = text_of(ref, "id"), *path = text_of(ref, "path");
	const char *drive_id = text_of(ref, "driveId");
	unsigned drive = drive_id ? find_drive(s, drive_id) : route->drive;
	uint32_t folder;

	if (!id && !path)
		return true;
	if (drive != route->drive && !is_any_drive) {
		sim_error(reply, req, 400, "notSupported", NULL,
			  "An item cannot be moved to another drive.");
		return false;
	}
	if (drive == SIMTREE_DRIVES || (id && strcmp(id, "root") == 0)) {
		refuse(req, reply, "The parentReference is not valid.");
		return false;
	}
	folder = id ? sim_find_id(s, drive, id) : find_by_reference(s, drive, path);
	if (!folder || simlag_hides(s, folder, !id)) {
		sim_not_found(reply, req);
		return false;
	}
	if (!is_folder(s, folder)) {
		refuse(req, reply, "The parentReference is not a folder.");
		return false;
	}
	*ret = folder;
	return simguard_may_write(s, req, reply, folder);
}

struct move {
	uint32_t folder;
	const char *name;
	size_t len;
	char *memory;
	enum simguard_conflict conflict;
	struct simchange_times times;
	bool is_any; /* name or folder are others than before */
};

/* Makes the name free for the item, or finds it another one. False: 409. */
static bool clear_name(struct sim *s, const struct simreq *req, struct simreply *reply,
		       uint32_t item, struct move *m)
{
	uint32_t taken = simtree_child(&s->tree, m->folder, m->name, m->len);

	if (!taken || taken == item)
		return true;
	if (m->conflict == SIMGUARD_RENAME) {
		char *other = simname_free(s, m->folder, m->name, is_folder(s, item));

		free(m->memory);
		m->memory = other;
		m->name = other;
		m->len = strlen(other);
		return true;
	}
	if (m->conflict == SIMGUARD_FAIL || is_folder(s, taken) || is_folder(s, item)) {
		simguard_taken(req, reply);
		return false;
	}
	if (!simguard_is_free(s, req, reply, taken))
		return false;
	simtree_delete(&s->tree, taken);
	return true;
}

static bool read_move(struct sim *s, const struct simreq *req, struct simreply *reply,
		      const struct simroute *r, struct json_object *body, struct move *m)
{
	struct simtree_item *it = simtree_get(&s->tree, r->item);
	auto_free char *now = simtree_dup_name(&s->tree, r->item);
	const char *name = text_of(body, "name");

	m->folder = it->parent;
	m->memory = simjson_dup(name ? name : now);
	m->is_any = strcmp(m->memory, now) != 0;
	m->name = m->memory;
	m->len = strlen(m->memory);
	if (!simwrite_parent(s, req, reply, r, body, false, &m->folder) ||
	    !simguard_conflict(req, reply, body, NULL, &m->conflict) ||
	    !simstore_times(s, req, reply, r->drive, body, &m->times))
		return false;
	m->is_any = m->is_any || m->folder != it->parent;
	if (simtree_is_below(&s->tree, m->folder, r->item)) {
		refuse(req, reply, "A folder cannot be moved into itself.");
		return false;
	}
	return !m->is_any ||
	       simguard_name(s, req, reply, m->folder, m->name, is_folder(s, r->item));
}

static void change(struct sim *s, struct simreq *req, struct simreply *reply,
		   const struct simroute *r, struct json_object *body)
{
	struct move m = { .conflict = SIMGUARD_FAIL };

	if (!read_move(s, req, reply, r, body, &m) ||
	    (m.is_any && !clear_name(s, req, reply, r->item, &m))) {
		free(m.memory);
		return;
	}
	if (m.is_any && s->write.move_resets_mtime)
		simtree_get(&s->tree, r->item)->mtime_ms = simtree_now_ms();
	simchange_set_times(s, r->item, &m.times);
	if (!m.is_any)
		simtree_touch(&s->tree, r->item, false);
	else if (simtree_move(&s->tree, r->item, m.folder, m.name, m.len) == 0)
		simlag_note(s, r->item, false);
	else
		refuse(req, reply, "The item cannot be moved there.");
	free(m.memory);
	if (reply->status == 200)
		simstore_tell(s, req, reply, 200, r->item);
}

static void answer_patch(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *r)
{
	struct json_object *body;

	if (simtree_get(&s->tree, r->item)->flags & SIMTREE_ROOT) {
		refuse(req, reply, "The root cannot be changed.");
		return;
	}
	if (!simguard_may_write(s, req, reply, r->item) ||
	    ((!is_folder(s, r->item)) && !simguard_is_free(s, req, reply, r->item)) ||
	    !simguard_matches(s, req, reply, r->item) || !simwrite_body(req, reply, &body))
		return;
	change(s, req, reply, r, body);
	json_object_put(body);
}

static void answer_delete(struct sim *s, struct simreq *req, struct simreply *reply,
			  const struct simroute *r)
{
	const char *wanted = simhttp_head(req, "If-Match");

	if (simtree_get(&s->tree, r->item)->flags & SIMTREE_ROOT) {
		refuse(req, reply, "The root cannot be deleted.");
		return;
	}
	if (r->class == SIMCLASS_PERMANENT_DELETE && simid_is_personal(sim_flavour(s, r->drive))) {
		sim_error(reply, req, 400, "notSupported", NULL, "Not on personal drives.");
		return;
	}
	if (!simguard_may_write(s, req, reply, r->item) ||
	    !simguard_is_free(s, req, reply, r->item) || !simguard_matches(s, req, reply, r->item))
		return;
	/* Seen of the real service: 412 even when the tag is right. */
	if (wanted && strcmp(wanted, "*") != 0 && !s->write.delete_if_match) {
		sim_error(reply, req, 412, "notAllowed", "preconditionFailed",
			  "ETag does not match current item's value.");
		return;
	}
	simtree_delete(&s->tree, r->item);
	reply->status = 204;
	reply->content_type = NULL;
}

void simwrite_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		     const struct simroute *route)
{
	if (route->class == SIMCLASS_MKDIR)
		answer_mkdir(s, req, reply, route);
	else if (route->class == SIMCLASS_PUT)
		answer_put(s, req, reply, route);
	else if (!route->item)
		sim_not_found(reply, req);
	else if (route->class == SIMCLASS_PATCH)
		answer_patch(s, req, reply, route);
	else
		answer_delete(s, req, reply, route);
}

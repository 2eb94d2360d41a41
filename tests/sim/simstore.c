#include "simstore.h"
#include "simitem.h"
#include "simlag.h"
#include "simlater.h"
#include "simname.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* --- times --- */

static bool parse_time(const char *text, int64_t *ret_ms)
{
	struct tm tm = { 0 };
	const char *at = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int64_t ms = 0, digit = 100;

	if (!at)
		return false;
	if (*at == '.')
		for (at++; *at >= '0' && *at <= '9'; at++, digit /= 10)
			ms += (*at - '0') * digit;
	if (strcmp(at, "Z") != 0)
		return false;
	*ret_ms = (int64_t)timegm(&tm) * 1000 + ms;
	return true;
}

bool simstore_times(struct sim *s, const struct simreq *req, struct simreply *reply, unsigned drive,
		    struct json_object *body, struct simchange_times *ret)
{
	const struct {
		const char *name;
		int64_t *ms;
	} members[] = {
		{ "lastModifiedDateTime", &ret->mtime_ms },
		{ "createdDateTime", &ret->created_ms },
	};
	struct json_object *info = NULL, *value;

	if (!body || !json_object_object_get_ex(body, "fileSystemInfo", &info))
		return true;
	for (size_t i = 0; i < array_n(members); i++) {
		if (!json_object_object_get_ex(info, members[i].name, &value))
			continue;
		if (!parse_time(json_object_get_string(value), members[i].ms)) {
			sim_error(reply, req, 400, "invalidRequest", "invalidParameterFormat",
				  "A time of fileSystemInfo is not valid.");
			return false;
		}
		if (sim_flavour(s, drive) != SIMID_CLASSIC)
			*members[i].ms -= *members[i].ms % 1000;
	}
	return true;
}

/* --- contents --- */

/* SharePoint puts properties of its own into some kinds of files as they come in. */
static bool is_rewritten(struct sim *s, unsigned drive, const char *name)
{
	static const char *const ends[] = { ".docx", ".xlsx", ".pptx", ".html" };
	size_t len = strlen(name);

	if (!s->write.rewrite_office || simid_is_personal(sim_flavour(s, drive)))
		return false;
	for (size_t i = 0; i < array_n(ends); i++)
		if (len > 5 && strcasecmp(name + len - 5, ends[i]) == 0)
			return true;
	return false;
}

static uint64_t rewrite(struct sim *s, const struct simstore *what, struct simhash *hash)
{
	static unsigned n;
	char text[SIMSPOOL_SLACK_BYTES];
	int len = snprintf(text, sizeof(text), "<!-- promoted properties %u -->", ++n);

	simspool_write(&s->spool, what->at + what->size, text, (size_t)len);
	simhash_update(hash, text, (size_t)len);
	return what->size + (uint64_t)len;
}

static void bump(struct sim *s, void *arg)
{
	const uint32_t *item = arg;

	if (simtree_is_alive(&s->tree, *item))
		simtree_touch(&s->tree, *item, false);
}

static void after_upload(struct sim *s, uint32_t item)
{
	uint32_t *arg;

	if (s->write.etag_bump_ms == 0)
		return;
	arg = simjson_alloc(sizeof(*arg));
	*arg = item;
	simlater_add(s, s->write.etag_bump_ms, bump, arg);
}

void simstore_tell(struct sim *s, const struct simreq *req, struct simreply *reply, int status,
		   uint32_t item)
{
	char drive[SIMID_MAX * 2], id[SIMID_MAX];

	sim_drive_id(s, simtree_get(&s->tree, item)->drive, drive);
	sim_item_id(s, item, id);
	reply->status = status;
	if (status == 201)
		simhttp_header(reply, "Location", "%s/v1.0/drives/%s/items/%s",
			       s->base[SIMPORT_API], drive, id);
	simitem_write(s, &reply->body, NULL, item, SIMITEM_SINGLE, simitem_fields(req));
}

/* The file to write into, SIMTREE_NONE in *ret: a new one. False: refused. */
static bool find_target(struct sim *s, const struct simreq *req, struct simreply *reply,
			const struct simstore *what, uint32_t *ret)
{
	uint32_t item =
		what->folder ? simtree_child(&s->tree, what->folder, what->name, strlen(what->name))
			     : what->item;

	if (what->folder ? !simtree_is_alive(&s->tree, what->folder)
			 : !simtree_is_alive(&s->tree, item)) {
		sim_not_found(reply, req);
		return false;
	}
	*ret = item;
	if (!simguard_still_matches(s, req, reply, what->if_match, item))
		return false;
	if (!item)
		return true;
	if (what->folder && what->conflict == SIMGUARD_RENAME) {
		*ret = SIMTREE_NONE;
		return true;
	}
	if ((what->folder && what->conflict == SIMGUARD_FAIL) ||
	    (simtree_get(&s->tree, item)->flags & SIMTREE_FOLDER)) {
		simguard_taken(req, reply);
		return false;
	}
	return simguard_is_free(s, req, reply, item);
}

/* SIMTREE_NONE: refused. */
static uint32_t add(struct sim *s, const struct simreq *req, struct simreply *reply,
		    const struct simstore *what, const struct simbytes_ref *content)
{
	bool is_taken = simtree_child(&s->tree, what->folder, what->name, strlen(what->name));
	auto_free char *other = is_taken ? simname_free(s, what->folder, what->name, false) : NULL;
	const char *name = other ? other : what->name;
	uint32_t item;

	if (simchange_add_file(s, what->folder, name, strlen(name), content, &what->times, &item) <
	    0) {
		sim_error(reply, req, 507, "quotaLimitReached", "maxItemCountExceeded",
			  "The drive holds too many items.");
		return SIMTREE_NONE;
	}
	simlag_note(s, item, true);
	return item;
}

bool simstore_put(struct sim *s, const struct simreq *req, struct simreply *reply,
		  const struct simstore *what)
{
	struct simbytes_ref content = { .kind = SIMBYTES_STORED,
					.size = what->size,
					.at = what->at };
	struct simhash hash = { 0 };
	bool is_new;
	uint8_t raw[20];
	uint32_t item;
	char text[29];

	if (!find_target(s, req, reply, what, &item) ||
	    !simguard_has_room(s, req, reply, what->drive, item, what->size))
		return false;
	if (what->hash)
		hash = *what->hash;
	if (what->hash && is_rewritten(s, what->drive, what->name))
		content.size = rewrite(s, what, &hash);
	is_new = item == SIMTREE_NONE;
	if (is_new) {
		item = add(s, req, reply, what, &content);
	} else {
		simlag_note_content(s, item);
		simchange_write_file(s, item, &content, &what->times);
	}
	if (!item)
		return false;
	if (what->hash && content.size <= s->bytes.hash_max_bytes) {
		simhash_final(&hash, raw);
		simhash_text(raw, text);
		simbytes_know_hash(&s->bytes, item, text);
	}
	after_upload(s, item);
	simstore_tell(s, req, reply, is_new ? 201 : 200, item);
	return true;
}

#include "simitem.h"
#include "simget.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *name;
	enum simitem_field field;
} field_names[] = {
	{ "id", SIMITEM_ID },
	{ "name", SIMITEM_NAME },
	{ "size", SIMITEM_SIZE },
	{ "eTag", SIMITEM_ETAG },
	{ "cTag", SIMITEM_CTAG },
	{ "createdDateTime", SIMITEM_CREATED },
	{ "lastModifiedDateTime", SIMITEM_MODIFIED },
	{ "fileSystemInfo", SIMITEM_FSINFO },
	{ "parentReference", SIMITEM_PARENT },
	{ "file", SIMITEM_FILE },
	{ "folder", SIMITEM_FOLDER },
	{ "root", SIMITEM_ROOT },
	{ "deleted", SIMITEM_DELETED },
	{ "webUrl", SIMITEM_WEBURL },
	{ "createdBy", SIMITEM_BY },
	{ "lastModifiedBy", SIMITEM_BY },
	{ "content.downloadUrl", SIMITEM_DOWNLOAD },
};

static unsigned field_of(const char *word, size_t len, bool has_dollar)
{
	/* The annotation cannot be selected in the form with the dollar sign. */
	if (len == 28 && memcmp(word, "@microsoft.graph.downloadUrl", 28) == 0)
		return has_dollar ? 0 : SIMITEM_DOWNLOAD;
	for (size_t i = 0; i < array_n(field_names); i++)
		if (strlen(field_names[i].name) == len &&
		    memcmp(field_names[i].name, word, len) == 0)
			return field_names[i].field;
	return 0; /* facets that no simulated item has */
}

unsigned simitem_fields(const struct simreq *req)
{
	char *dollar = simhttp_param(req, "$select"), *plain = NULL;
	unsigned fields = 0;
	const char *at;

	if (!dollar)
		dollar = simhttp_param(req, "%24select");
	if (!dollar)
		plain = simhttp_param(req, "select");
	at = dollar ? dollar : plain;
	if (!at)
		return SIMITEM_ALL;
	while (*at) {
		size_t n = strcspn(at, ", ");

		fields |= field_of(at, n, dollar != NULL);
		at += n + strspn(at + n, ", ");
	}
	free(dollar);
	free(plain);
	return fields;
}

static void guid_of(struct sim *s, uint32_t item, char ret[37])
{
	simid_guid((uint64_t)(simtree_get(&s->tree, item)->drive + 1) << 40 | item, ret);
}

static void tag(struct sim *s, uint32_t item, const char *prefix, uint32_t n, char ret[80])
{
	char guid[37];

	guid_of(s, item, guid);
	if (sim_flavour(s, simtree_get(&s->tree, item)->drive) == SIMID_CLASSIC)
		snprintf(ret, 80, "a%.1s%.8s%.4s%.4s.%u", prefix, guid, guid + 9, guid + 14, n);
	else
		snprintf(ret, 80, "\"%s{%s},%u\"", prefix, guid, n);
}

void simitem_etag(struct sim *s, uint32_t item, char ret[80])
{
	tag(s, item, "", simtree_get(&s->tree, item)->change_n, ret);
}

void simitem_ctag(struct sim *s, uint32_t item, uint32_t version, char ret[80])
{
	tag(s, item, "c:", version, ret);
}

static const char *mime_type(const char *name, size_t len)
{
	static const struct {
		const char *end, *type;
	} types[] = {
		{ ".txt", "text/plain" },        { ".md", "text/markdown" },
		{ ".jpg", "image/jpeg" },        { ".png", "image/png" },
		{ ".mp4", "video/mp4" },         { ".pdf", "application/pdf" },
		{ ".csv", "text/csv" },          { ".mp3", "audio/mpeg" },
		{ ".json", "application/json" }, { ".html", "text/html" },
	};

	for (size_t i = 0; i < array_n(types); i++) {
		size_t n = strlen(types[i].end);

		if (len > n && memcmp(name + len - n, types[i].end, n) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

static void write_path(struct sim *s, struct simjson *w, uint32_t folder)
{
	struct simjson text = { 0 };
	unsigned drive = simtree_get(&s->tree, folder)->drive;
	auto_free char *path = simtree_path(&s->tree, folder);
	char id[SIMID_MAX * 2];

	sim_drive_id(s, drive, id);
	if (simid_is_personal(sim_flavour(s, drive)))
		simjson_text(&text, "/drive/root:");
	else
		simjson_format(&text, "/drives/%s/root:", id);
	for (const char *at = path; *at;) {
		size_t n = strcspn(at, "/");

		simjson_text(&text, "/");
		simhttp_encode(&text, at, n);
		at += n + (at[n] == '/');
	}
	simjson_str(w, "path", text.data);
	simjson_fini(&text);
}

static void write_parent(struct sim *s, struct simjson *w, uint32_t item, enum simitem_view view)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	enum simid_flavour flavour = sim_flavour(s, it->drive);
	char id[SIMID_MAX * 2];

	simjson_open(w, "parentReference", '{');
	sim_drive_id(s, it->drive, id);
	simjson_str(w, "driveId", id);
	simjson_str(w, "driveType", simid_drive_type(flavour));
	if (it->parent) {
		sim_item_id(s, it->parent, id);
		simjson_str(w, "id", id);
		if (!(it->flags & SIMTREE_DELETED)) {
			size_t len;
			const char *name = simtree_name(&s->tree, it->parent, &len);

			simjson_strn(w, "name", name, len);
			if (view != SIMITEM_DELTA || simid_is_personal(flavour))
				write_path(s, w, it->parent);
		}
	}
	simjson_close(w, '}');
}

static void write_file(struct sim *s, struct simjson *w, uint32_t item, const char *name,
		       size_t len)
{
	char hash[29];

	simjson_open(w, "file", '{');
	simjson_str(w, "mimeType", mime_type(name, len));
	simjson_open(w, "hashes", '{');
	if (simbytes_hash(&s->bytes, item, hash))
		simjson_str(w, "quickXorHash", hash);
	simjson_text(w, "}}");
}

static void write_times(struct sim *s, struct simjson *w, uint32_t item, unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	enum simid_flavour flavour = sim_flavour(s, it->drive);
	int digits = flavour == SIMID_CLASSIC ? 3 : 0;

	if (fields & SIMITEM_CREATED)
		simjson_time(w, "createdDateTime", it->created_ms, digits);
	if (fields & SIMITEM_MODIFIED)
		simjson_time(w, "lastModifiedDateTime",
			     simid_is_personal(flavour) ? it->modified_ms : it->mtime_ms, digits);
	if (fields & SIMITEM_FSINFO) {
		simjson_open(w, "fileSystemInfo", '{');
		simjson_time(w, "createdDateTime", it->created_ms, digits);
		simjson_time(w, "lastModifiedDateTime", it->mtime_ms, digits);
		simjson_close(w, '}');
	}
}

static void write_by(struct simjson *w, const char *key)
{
	simjson_value(w, key,
		      "{\"user\":{\"id\":\"8b2f6a0e-0d6a-4b7e-9a52-0a5d1c3e7f10\","
		      "\"displayName\":\"Sam Somebody\",\"email\":\"sam@example.com\"}}");
}

static void write_facets(struct sim *s, struct simjson *w, uint32_t item, enum simitem_view view,
			 unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	size_t len;
	const char *name = simtree_name(&s->tree, item, &len);

	if (it->flags & SIMTREE_FOLDER) {
		bool is_zero =
			view == SIMITEM_DELTA && simid_is_personal(sim_flavour(s, it->drive));

		if (fields & SIMITEM_FOLDER) {
			simjson_open(w, "folder", '{');
			simjson_int(w, "childCount", is_zero ? 0 : it->child_n);
			simjson_close(w, '}');
		}
	} else if (fields & SIMITEM_FILE) {
		write_file(s, w, item, name, len);
	}
	if ((it->flags & SIMTREE_ROOT) && (fields & SIMITEM_ROOT))
		simjson_value(w, "root", "{}");
	if (!(it->flags & SIMTREE_FOLDER) && (fields & SIMITEM_DOWNLOAD)) {
		struct simjson url = { 0 };

		simget_url(s, item, SIMGET_CURRENT, &url);
		simjson_str(w, "@microsoft.graph.downloadUrl", url.data);
		simjson_fini(&url);
	}
}

static void write_tags(struct sim *s, struct simjson *w, uint32_t item, enum simitem_view view,
		       unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	bool is_personal = simid_is_personal(sim_flavour(s, it->drive));
	char text[80];

	simitem_etag(s, item, text);
	if (fields & SIMITEM_ETAG)
		simjson_str(w, "eTag", text);
	simitem_ctag(s, item, it->content_n, text);
	if ((fields & SIMITEM_CTAG) &&
	    (is_personal || (view != SIMITEM_DELTA && !(it->flags & SIMTREE_FOLDER))))
		simjson_str(w, "cTag", text);
}

static void write_alive(struct sim *s, struct simjson *w, uint32_t item, enum simitem_view view,
			unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	size_t len;
	const char *name = simtree_name(&s->tree, item, &len);
	char id[SIMID_MAX];

	sim_item_id(s, item, id);
	simjson_str(w, "id", id);
	if (fields & SIMITEM_NAME)
		simjson_strn(w, "name", name, len);
	if (fields & SIMITEM_SIZE)
		simjson_int(w, "size", (int64_t)it->size);
	write_tags(s, w, item, view, fields);
	write_times(s, w, item, fields);
	if ((fields & SIMITEM_BY) &&
	    (view != SIMITEM_DELTA || simid_is_personal(sim_flavour(s, it->drive)))) {
		write_by(w, "createdBy");
		write_by(w, "lastModifiedBy");
	}
	if (fields & SIMITEM_PARENT)
		write_parent(s, w, item, view);
	write_facets(s, w, item, view, fields);
	if (fields & SIMITEM_WEBURL) {
		struct simjson url = { 0 };

		simjson_format(&url, "https://contoso-my.sharepoint.com/personal/sam/Documents/%s",
			       id);
		simjson_str(w, "webUrl", url.data);
		simjson_fini(&url);
	}
}

static void write_tombstone(struct sim *s, struct simjson *w, uint32_t item, unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	bool is_personal = simid_is_personal(sim_flavour(s, it->drive));
	char id[SIMID_MAX];
	size_t len;
	const char *name = simtree_name(&s->tree, item, &len);

	sim_item_id(s, item, id);
	simjson_str(w, "id", id);
	if (is_personal && (fields & SIMITEM_NAME))
		simjson_strn(w, "name", name, len);
	if (fields & SIMITEM_PARENT)
		write_parent(s, w, item, SIMITEM_DELTA);
	if (!is_personal && !(it->flags & SIMTREE_FOLDER) && (fields & SIMITEM_FILE))
		simjson_value(w, "file",
			      "{\"hashes\":{\"quickXorHash\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}}");
	if ((it->flags & SIMTREE_FOLDER) && (fields & SIMITEM_FOLDER))
		simjson_value(w, "folder", "{}");
	if (fields & SIMITEM_DELETED)
		simjson_value(w, "deleted", "{\"state\":\"deleted\"}");
}

/* Puts planted members over the item's own; false: there is nothing planted as whole text. */
static void write_odd(struct sim *s, struct simjson *w, uint32_t item, const char *plain)
{
	struct json_object *odd, *part, *obj;
	char key[16];

	snprintf(key, sizeof(key), "%u", item);
	if (!json_object_object_get_ex(s->odd, key, &odd)) {
		simjson_text(w, plain);
		return;
	}
	if (json_object_object_get_ex(odd, "raw", &part)) {
		simjson_raw(w, json_object_get_string(part),
			    (size_t)json_object_get_string_len(part));
		return;
	}
	obj = json_tokener_parse(plain);
	if (json_object_object_get_ex(odd, "remove", &part))
		for (size_t i = 0; i < json_object_array_length(part); i++)
			json_object_object_del(
				obj, json_object_get_string(json_object_array_get_idx(part, i)));
	if (json_object_object_get_ex(odd, "set", &part)) {
		json_object_object_foreach(part, name, value)
			json_object_object_add(obj, name, json_object_get(value));
	}
	simjson_text(w, json_object_to_json_string_ext(
				obj, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(obj);
}

void simitem_write(struct sim *s, struct simjson *w, const char *key, uint32_t item,
		   enum simitem_view view, unsigned fields)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	struct simjson apart = { 0 };
	struct simjson *to = it->flags & SIMTREE_ODD ? &apart : w;

	simjson_open(to, to == w ? key : NULL, '{');
	if (view == SIMITEM_SINGLE)
		simjson_str(to, "@odata.context",
			    "https://graph.microsoft.com/v1.0/$metadata#items");
	if (it->flags & SIMTREE_DELETED)
		write_tombstone(s, to, item, fields);
	else
		write_alive(s, to, item, view, fields);
	simjson_close(to, '}');
	if (to == &apart) {
		simjson_value(w, key, "");
		write_odd(s, w, item, apart.data);
		simjson_fini(&apart);
	}
}

#include "item.h"

#include "jget.h"
#include "quickxor.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int bad(struct item_problem *problem, const char *fmt, ...) printf_like(2, 3);

static int bad(struct item_problem *problem, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(problem->text, sizeof(problem->text), fmt, ap);
	va_end(ap);
	return -EBADMSG;
}

/* Says in which member of the item the problem is. */
static int within(struct item_problem *problem, const char *member, int r)
{
	struct item_problem inner = *problem;

	return r == -EBADMSG ? bad(problem, "%s.%.100s", member, inner.text) : r;
}

static int copy(const char *s, size_t len, char **ret)
{
	char *dup = malloc(len + 1);

	if (!dup)
		return -ENOMEM;
	memcpy(dup, s, len);
	dup[len] = '\0';
	*ret = dup;
	return 0;
}

/* An optional string member; absent leaves *ret alone. */
static int take_str(struct json_object *obj, const char *key, size_t max, char **ret,
		    struct item_problem *problem)
{
	const char *s;
	int r = jget_str(obj, key, max, &s);

	if (r == JGET_ABSENT)
		return 0;
	if (r < 0)
		return bad(problem, "%s is not a string of at most %zu bytes", key, max);
	return copy(s, strlen(s), ret);
}

static int take_name(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	const char *s;
	size_t len;
	int r = jget_bytes(obj, "name", ITEM_NAME_MAX, &s, &len);

	if (r == JGET_ABSENT)
		return 0;
	if (r < 0)
		return bad(problem, "name is not a string of at most %d bytes", ITEM_NAME_MAX);
	item->name_len = len;
	return copy(s, len, &item->name);
}

static int take_size(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	int64_t size;
	int r = jget_i64(obj, "size", &size);

	item->size = -1;
	if (r < 0)
		return bad(problem, "size is not a number in range");
	/* Folders of business drives are sometimes below zero; of a file that is nonsense. */
	if (r == 0 && size < 0 && item->kind == ITEM_FILE && !item->deleted)
		return bad(problem, "size of a file is negative");
	if (r == 0 && size >= 0)
		item->size = size;
	return 0;
}

/* fileSystemInfo is what the client that made the file says, and writable: it goes first. */
static int take_time(struct json_object *obj, const char *key, int64_t *ret,
		     struct item_problem *problem)
{
	struct json_object *info;
	int r = jget_obj(obj, "fileSystemInfo", &info);

	*ret = ITEM_TIME_UNKNOWN;
	if (r < 0)
		return bad(problem, "fileSystemInfo is not an object");
	if (r == 0)
		r = jget_time(info, key, ret);
	if (r == JGET_ABSENT)
		r = jget_time(obj, key, ret);
	return r < 0 ? bad(problem, "%s is not a time", key) : 0;
}

static int take_hash(struct json_object *file, struct item *item, struct item_problem *problem)
{
	struct json_object *hashes;
	const char *text;
	int r = jget_obj(file, "hashes", &hashes);

	if (r == 0)
		r = jget_str(hashes, "quickXorHash", 64, &text);
	if (r == 0 && text[0] == '\0')
		return 0;
	if (r == 0)
		r = quickxor_parse(text, item->hash);
	if (r < 0)
		return bad(problem, "file.hashes.quickXorHash is not a hash");
	item->has_hash = r == 0;
	return 0;
}

static int take_parent(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	struct json_object *ref;
	int r = jget_obj(obj, "parentReference", &ref);

	if (r < 0)
		return bad(problem, "parentReference is not an object");
	if (r == JGET_ABSENT)
		return 0;
	r = take_str(ref, "id", ITEM_ID_MAX, &item->parent_id, problem);
	if (r == 0)
		r = take_str(ref, "driveId", ITEM_ID_MAX, &item->parent_drive_id, problem);
	return within(problem, "parentReference", r);
}

static int take_remote(struct json_object *remote, struct item *item, struct item_problem *problem)
{
	struct json_object *ref;
	int r = take_str(remote, "id", ITEM_ID_MAX, &item->remote_id, problem);

	if (r < 0)
		return within(problem, "remoteItem", r);
	r = jget_obj(remote, "parentReference", &ref);
	if (r < 0)
		return bad(problem, "remoteItem.parentReference is not an object");
	if (r == 0)
		r = take_str(ref, "driveId", ITEM_ID_MAX, &item->remote_drive_id, problem);
	return r == JGET_ABSENT ? 0 : within(problem, "remoteItem.parentReference", r);
}

/* Is the facet there? Its content does not matter, but it must be an object. */
static int take_facet(struct json_object *obj, const char *key, bool *ret,
		      struct item_problem *problem)
{
	struct json_object *facet;
	int r = jget_obj(obj, key, &facet);

	if (r < 0)
		return bad(problem, "%s is not an object", key);
	*ret = r == 0;
	return 0;
}

static int take_kind(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	struct json_object *facet;
	bool package = false;
	int r = take_facet(obj, "package", &package, problem);

	item->child_count = -1;
	if (r < 0)
		return r;
	if ((r = jget_obj(obj, "remoteItem", &facet)) < 0)
		return bad(problem, "remoteItem is not an object");
	if (r == 0) {
		item->kind = ITEM_REMOTE;
		return take_remote(facet, item, problem);
	}
	if ((r = jget_obj(obj, "folder", &facet)) < 0)
		return bad(problem, "folder is not an object");
	if (r == 0) {
		item->kind = package ? ITEM_PACKAGE : ITEM_FOLDER;
		if (jget_i64(facet, "childCount", &item->child_count) < 0)
			return bad(problem, "folder.childCount is not a number in range");
		return 0;
	}
	if ((r = jget_obj(obj, "file", &facet)) < 0)
		return bad(problem, "file is not an object");
	if (r == 0) {
		item->kind = package ? ITEM_PACKAGE : ITEM_FILE;
		return take_hash(facet, item, problem);
	}
	item->kind = package ? ITEM_PACKAGE : item->is_root ? ITEM_FOLDER : ITEM_UNKNOWN;
	return 0;
}

static int take_special(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	struct json_object *facet;
	const char *name;
	int r = jget_obj(obj, "specialFolder", &facet);

	if (r < 0)
		return bad(problem, "specialFolder is not an object");
	if (r == 0 && jget_str(facet, "name", 256, &name) == 0)
		item->vault = strcmp(name, "vault") == 0;
	return 0;
}

static int fill(struct json_object *obj, struct item *item, struct item_problem *problem)
{
	int r;

	if ((r = take_str(obj, "id", ITEM_ID_MAX, &item->id, problem)) < 0 ||
	    (r = take_facet(obj, "root", &item->is_root, problem)) < 0 ||
	    (r = take_facet(obj, "deleted", &item->deleted, problem)) < 0 ||
	    (r = take_facet(obj, "malware", &item->malware, problem)) < 0 ||
	    (r = take_kind(obj, item, problem)) < 0 || (r = take_name(obj, item, problem)) < 0 ||
	    (r = take_parent(obj, item, problem)) < 0 ||
	    (r = take_str(obj, "eTag", ITEM_TAG_MAX, &item->etag, problem)) < 0 ||
	    (r = take_str(obj, "cTag", ITEM_TAG_MAX, &item->ctag, problem)) < 0 ||
	    (r = take_str(obj, "webUrl", ITEM_URL_MAX, &item->web_url, problem)) < 0 ||
	    (r = take_str(obj, "@microsoft.graph.downloadUrl", ITEM_URL_MAX, &item->download_url,
			  problem)) < 0 ||
	    (r = take_size(obj, item, problem)) < 0 ||
	    (r = take_time(obj, "lastModifiedDateTime", &item->mtime_ns, problem)) < 0 ||
	    (r = take_time(obj, "createdDateTime", &item->btime_ns, problem)) < 0 ||
	    (r = take_special(obj, item, problem)) < 0)
		return r;
	if (!item->id || !item->id[0])
		return bad(problem, "id is missing");
	if (!item->deleted && !item->is_root && !item->name)
		return bad(problem, "name is missing");
	return 0;
}

int item_parse(struct json_object *obj, struct item *ret, struct item_problem *problem)
{
	struct item item = { 0 };
	int r = json_object_is_type(obj, json_type_object) ? fill(obj, &item, problem)
							   : bad(problem, "item is not an object");

	if (r < 0) {
		item_fini(&item);
		return r;
	}
	*ret = item;
	return 0;
}

void item_fini(struct item *item)
{
	free(item->id);
	free(item->name);
	free(item->parent_id);
	free(item->parent_drive_id);
	free(item->etag);
	free(item->ctag);
	free(item->web_url);
	free(item->download_url);
	free(item->remote_drive_id);
	free(item->remote_id);
	*item = (struct item){ 0 };
}

int item_copy(const struct item *item, struct item *ret)
{
	struct item copy = *item;
	const struct {
		char **to;
		const char *from;
	} texts[] = {
		{ &copy.id, item->id },
		{ &copy.parent_id, item->parent_id },
		{ &copy.parent_drive_id, item->parent_drive_id },
		{ &copy.etag, item->etag },
		{ &copy.ctag, item->ctag },
		{ &copy.web_url, item->web_url },
		{ &copy.download_url, item->download_url },
		{ &copy.remote_drive_id, item->remote_drive_id },
		{ &copy.remote_id, item->remote_id },
	};
	bool is_whole = true;

	copy.name = item->name ? malloc(item->name_len + 1) : NULL;
	if (copy.name)
		memcpy(copy.name, item->name, item->name_len + 1);
	is_whole = copy.name || !item->name;
	for (size_t i = 0; i < array_n(texts); i++) {
		*texts[i].to = texts[i].from ? strdup(texts[i].from) : NULL;
		is_whole &= *texts[i].to || !texts[i].from;
	}
	if (!is_whole) {
		item_fini(&copy);
		return -ENOMEM;
	}
	*ret = copy;
	return 0;
}

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

static int parse_object(const char *body, size_t len, struct json_object **ret,
			struct item_problem *problem)
{
	int r = jget_parse(body, len, ret);

	if (r == -EBADMSG)
		return bad(problem, "body of %zu bytes is not JSON", len);
	if (r == 0 && !json_object_is_type(*ret, json_type_object)) {
		json_object_put(*ret);
		*ret = NULL;
		return bad(problem, "body is not a JSON object");
	}
	return r;
}

/* Notes an item that cannot be believed, if it says which one it is. */
static int add_bad(struct json_object *obj, const struct item_problem *inner, size_t at,
		   struct item_page *page, struct item_problem *problem)
{
	const char *id;
	int r;

	bad(problem, "value[%zu]: %.100s", at, inner->text);
	if (jget_str(obj, "id", ITEM_ID_MAX, &id) != 0 || !id[0])
		return -EBADMSG;
	if (page->bad_n == ITEM_BAD_MAX)
		return bad(problem, "more than %d items are malformed, the last: %.90s",
			   ITEM_BAD_MAX, inner->text);
	if (!page->bad)
		page->bad = calloc(ITEM_BAD_MAX, sizeof(*page->bad));
	if (!page->bad)
		return -ENOMEM;
	r = copy(id, strlen(id), &page->bad[page->bad_n].id);
	if (r < 0)
		return r;
	page->bad[page->bad_n++].problem = *problem;
	return 0;
}

static int fill_items(struct json_object *value, struct item_page *page,
		      struct item_problem *problem)
{
	size_t n = json_object_array_length(value);
	int r = 0;

	if (n > ITEM_PAGE_MAX)
		return bad(problem, "value has more than %d items", ITEM_PAGE_MAX);
	page->items = calloc(n ? n : 1, sizeof(*page->items));
	if (!page->items)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct json_object *obj = json_object_array_get_idx(value, i);
		struct item_problem inner = { "" };

		r = item_parse(obj, &page->items[page->n], &inner);
		if (r == 0)
			page->n++;
		else if (r == -EBADMSG)
			r = add_bad(obj, &inner, i, page, problem);
	}
	return r;
}

static int fill_page(struct json_object *obj, struct item_page *page, struct item_problem *problem)
{
	struct json_object *value;
	int r;

	if (jget_arr(obj, "value", &value) != 0)
		return bad(problem, "value is not an array");
	r = fill_items(value, page, problem);
	if (r < 0)
		return r;
	r = take_str(obj, "@odata.nextLink", ITEM_URL_MAX, &page->next_link, problem);
	if (r < 0)
		return r;
	return take_str(obj, "@odata.deltaLink", ITEM_URL_MAX, &page->delta_link, problem);
}

int item_parse_page(const char *body, size_t len, struct item_page *ret,
		    struct item_problem *problem)
{
	auto_call(put_object) struct json_object *obj = NULL;
	struct item_page page = { 0 };
	int r = parse_object(body, len, &obj, problem);

	if (r < 0)
		return r;
	r = fill_page(obj, &page, problem);
	if (r < 0) {
		item_page_fini(&page);
		return r;
	}
	*ret = page;
	return 0;
}

void item_page_fini(struct item_page *page)
{
	for (size_t i = 0; i < page->n; i++)
		item_fini(&page->items[i]);
	free(page->items);
	for (size_t i = 0; i < page->bad_n; i++)
		free(page->bad[i].id);
	free(page->bad);
	free(page->next_link);
	free(page->delta_link);
	*page = (struct item_page){ 0 };
}

int item_page_append(struct item_page *to, struct item_page *from)
{
	struct item *items = realloc(to->items, (to->n + from->n + 1) * sizeof(*items));

	if (!items)
		return -ENOMEM;
	to->items = items;
	if (from->n > 0)
		memcpy(items + to->n, from->items, from->n * sizeof(*items));
	to->n += from->n;
	from->n = 0;
	free(to->next_link);
	free(to->delta_link);
	to->next_link = take_ptr(&from->next_link);
	to->delta_link = take_ptr(&from->delta_link);
	item_page_fini(from);
	return 0;
}

int item_parse_body(const char *body, size_t len, struct item *ret, struct item_problem *problem)
{
	auto_call(put_object) struct json_object *obj = NULL;
	int r = parse_object(body, len, &obj, problem);

	return r < 0 ? r : item_parse(obj, ret, problem);
}

/* Quota numbers have been seen as strings, negative and absent; whatever is not a number of bytes
 * is unknown. */
static bool lenient_bytes(struct json_object *quota, const char *key, uint64_t *ret)
{
	struct json_object *member;
	const char *text;
	char *end;
	long long v;

	if (!json_object_object_get_ex(quota, key, &member) ||
	    !(json_object_is_type(member, json_type_int) ||
	      json_object_is_type(member, json_type_string)))
		return false;
	text = json_object_get_string(member);
	errno = 0;
	v = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		return false;
	*ret = v < 0 ? 0 : (uint64_t)v;
	return true;
}

static void take_quota(struct json_object *obj, struct item_drive *drive)
{
	struct json_object *quota;

	if (jget_obj(obj, "quota", &quota) != 0 || !lenient_bytes(quota, "total", &drive->total) ||
	    drive->total == 0)
		return;
	if (!lenient_bytes(quota, "used", &drive->used))
		drive->used = 0;
	if (!lenient_bytes(quota, "remaining", &drive->remaining))
		drive->remaining = drive->used < drive->total ? drive->total - drive->used : 0;
	if (drive->remaining > drive->total)
		drive->remaining = drive->total;
	drive->has_quota = true;
}

static int fill_drive(struct json_object *obj, struct item_drive *drive,
		      struct item_problem *problem)
{
	int r;

	if ((r = take_str(obj, "id", ITEM_ID_MAX, &drive->id, problem)) < 0 ||
	    (r = take_str(obj, "driveType", 64, &drive->type, problem)) < 0 ||
	    (r = take_str(obj, "name", ITEM_NAME_MAX, &drive->name, problem)) < 0 ||
	    (r = take_str(obj, "webUrl", ITEM_URL_MAX, &drive->web_url, problem)) < 0)
		return r;
	if (!drive->id || !drive->id[0])
		return bad(problem, "id is missing");
	take_quota(obj, drive);
	return 0;
}

int item_parse_drive(const char *body, size_t len, struct item_drive *ret,
		     struct item_problem *problem)
{
	auto_call(put_object) struct json_object *obj = NULL;
	struct item_drive drive = { 0 };
	int r = parse_object(body, len, &obj, problem);

	if (r == 0)
		r = fill_drive(obj, &drive, problem);
	if (r < 0) {
		item_drive_fini(&drive);
		return r;
	}
	*ret = drive;
	return 0;
}

void item_drive_fini(struct item_drive *drive)
{
	free(drive->id);
	free(drive->type);
	free(drive->name);
	free(drive->web_url);
	*drive = (struct item_drive){ 0 };
}

int item_parse_subscription(const char *body, size_t len, struct item_subscription *ret,
			    struct item_problem *problem)
{
	auto_call(put_object) struct json_object *obj = NULL;
	struct item_subscription sub = { .expires_ns = ITEM_TIME_UNKNOWN };
	int r = parse_object(body, len, &obj, problem);

	if (r == 0)
		r = take_str(obj, "id", ITEM_ID_MAX, &sub.id, problem);
	if (r == 0)
		r = take_str(obj, "notificationUrl", ITEM_URL_MAX, &sub.notification_url, problem);
	if (r == 0 && (!sub.notification_url || !sub.notification_url[0]))
		r = bad(problem, "notificationUrl is missing");
	if (r == 0 && jget_time(obj, "expirationDateTime", &sub.expires_ns) < 0)
		r = bad(problem, "expirationDateTime is not a time");
	if (r < 0) {
		item_subscription_fini(&sub);
		return r;
	}
	*ret = sub;
	return 0;
}

void item_subscription_fini(struct item_subscription *sub)
{
	free(sub->id);
	free(sub->notification_url);
	*sub = (struct item_subscription){ .expires_ns = ITEM_TIME_UNKNOWN };
}

static void cut(struct json_object *obj, const char *key, char *ret, size_t size)
{
	const char *s;

	if (jget_str(obj, key, 4096, &s) == 0)
		snprintf(ret, size, "%s", s);
}

static void add_code(struct json_object *level, struct item_error *ret)
{
	char *code = ret->codes[ret->codes_n];

	cut(level, "code", code, sizeof(ret->codes[0]));
	if (code[0])
		ret->codes_n++;
}

void item_parse_error(const char *body, size_t len, struct item_error *ret)
{
	auto_call(put_object) struct json_object *obj = NULL;
	struct json_object *level;

	*ret = (struct item_error){ 0 };
	if (jget_parse(body, len, &obj) < 0 || jget_obj(obj, "error", &level) != 0)
		return;
	cut(level, "message", ret->message, sizeof(ret->message));
	/* Both spellings are sent, and they nest. */
	do {
		add_code(level, ret);
		cut(level, "request-id", ret->request_id, sizeof(ret->request_id));
	} while (ret->codes_n < ITEM_ERROR_CODES && (jget_obj(level, "innerError", &level) == 0 ||
						     jget_obj(level, "innererror", &level) == 0));
}

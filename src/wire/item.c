#include "item.h"

#include "jget.h"
#include "jnode.h"
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
static int take_str(const struct jnode *obj, const char *key, size_t max, char **ret,
		    struct item_problem *problem)
{
	const char *s;
	int r = jnode_str(obj, key, max, &s);

	if (r == JGET_ABSENT)
		return 0;
	if (r < 0)
		return bad(problem, "%s is not a string of at most %zu bytes", key, max);
	return copy(s, strlen(s), ret);
}

static int take_name(const struct jnode *obj, struct item *item, struct item_problem *problem)
{
	const char *s;
	size_t len;
	int r = jnode_bytes(obj, "name", ITEM_NAME_MAX, &s, &len);

	if (r == JGET_ABSENT)
		return 0;
	if (r < 0)
		return bad(problem, "name is not a string of at most %d bytes", ITEM_NAME_MAX);
	item->name_len = len;
	return copy(s, len, &item->name);
}

static int take_size(const struct jnode *obj, struct item *item, struct item_problem *problem)
{
	int64_t size;
	int r = jnode_i64(obj, "size", &size);

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
static int take_time(const struct jnode *obj, const char *key, int64_t *ret,
		     struct item_problem *problem)
{
	const struct jnode *info;
	int r = jnode_obj(obj, "fileSystemInfo", &info);

	*ret = ITEM_TIME_UNKNOWN;
	if (r < 0)
		return bad(problem, "fileSystemInfo is not an object");
	if (r == 0)
		r = jnode_time(info, key, ret);
	if (r == JGET_ABSENT)
		r = jnode_time(obj, key, ret);
	return r < 0 ? bad(problem, "%s is not a time", key) : 0;
}

static int take_hash(const struct jnode *file, struct item *item, struct item_problem *problem)
{
	const struct jnode *hashes;
	const char *text;
	int r = jnode_obj(file, "hashes", &hashes);

	if (r == 0)
		r = jnode_str(hashes, "quickXorHash", 64, &text);
	if (r == 0 && text[0] == '\0')
		return 0;
	if (r == 0)
		r = quickxor_parse(text, item->hash);
	if (r < 0)
		return bad(problem, "file.hashes.quickXorHash is not a hash");
	item->has_hash = r == 0;
	return 0;
}

static int take_parent(const struct jnode *obj, struct item *item, struct item_problem *problem)
{
	const struct jnode *ref;
	int r = jnode_obj(obj, "parentReference", &ref);

	if (r < 0)
		return bad(problem, "parentReference is not an object");
	if (r == JGET_ABSENT)
		return 0;
	r = take_str(ref, "id", ITEM_ID_MAX, &item->parent_id, problem);
	if (r == 0)
		r = take_str(ref, "driveId", ITEM_ID_MAX, &item->parent_drive_id, problem);
	return within(problem, "parentReference", r);
}

static int take_remote(const struct jnode *remote, struct item *item, struct item_problem *problem)
{
	const struct jnode *ref;
	int r = take_str(remote, "id", ITEM_ID_MAX, &item->remote_id, problem);

	if (r < 0)
		return within(problem, "remoteItem", r);
	r = jnode_obj(remote, "parentReference", &ref);
	if (r < 0)
		return bad(problem, "remoteItem.parentReference is not an object");
	if (r == 0)
		r = take_str(ref, "driveId", ITEM_ID_MAX, &item->remote_drive_id, problem);
	return r == JGET_ABSENT ? 0 : within(problem, "remoteItem.parentReference", r);
}

/* Is the facet there? Its content does not matter, but it must be an object. */
static int take_facet(const struct jnode *obj, const char *key, bool *ret,
		      struct item_problem *problem)
{
	const struct jnode *facet;
	int r = jnode_obj(obj, key, &facet);

	if (r < 0)
		return bad(problem, "%s is not an object", key);
	*ret = r == 0;
	return 0;
}

static int take_kind(const struct jnode *obj, struct item *item, struct item_problem *problem)
{
	const struct jnode *facet;
	bool package = false;
	int r = take_facet(obj, "package", &package, problem);

	item->child_count = -1;
	if (r < 0)
		return r;
	if ((r = jnode_obj(obj, "remoteItem", &facet)) < 0)
		return bad(problem, "remoteItem is not an object");
	if (r == 0) {
		item->kind = ITEM_REMOTE;
		return take_remote(facet, item, problem);
	}
	if ((r = jnode_obj(obj, "folder", &facet)) < 0)
		return bad(problem, "folder is not an object");
	if (r == 0) {
		item->kind = package ? ITEM_PACKAGE : ITEM_FOLDER;
		if (jnode_i64(facet, "childCount", &item->child_count) < 0)
			return bad(problem, "folder.childCount is not a number in range");
		return 0;
	}
	if ((r = jnode_obj(obj, "file", &facet)) < 0)
		return bad(problem, "file is not an object");
	if (r == 0) {
		item->kind = package ? ITEM_PACKAGE : ITEM_FILE;
		return take_hash(facet, item, problem);
	}
	item->kind = package ? ITEM_PACKAGE : item->is_root ? ITEM_FOLDER : ITEM_UNKNOWN;
	return 0;
}

static int take_special(const struct jnode *obj, struct item *item, struct item_problem *problem)
{
	const struct jnode *facet;
	const char *name;
	int r = jnode_obj(obj, "specialFolder", &facet);

	if (r < 0)
		return bad(problem, "specialFolder is not an object");
	if (r == 0 && jnode_str(facet, "name", 256, &name) == 0)
		item->vault = strcmp(name, "vault") == 0;
	return 0;
}

static int fill(const struct jnode *obj, struct item *item, struct item_problem *problem)
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

static int parse_item(const struct jnode *obj, struct item *ret, struct item_problem *problem)
{
	struct item item = { 0 };
	int r = obj->type == JNODE_OBJECT ? fill(obj, &item, problem)
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

static int parse_object(const char *body, size_t len, struct jnode_doc *ret,
			struct item_problem *problem)
{
	int r = jnode_parse(body, len, ret);

	if (r == -EBADMSG)
		return bad(problem, "body of %zu bytes is not JSON", len);
	if (r == 0 && ret->nodes->type != JNODE_OBJECT) {
		jnode_fini(ret);
		return bad(problem, "body is not a JSON object");
	}
	return r;
}

/* Notes an item that cannot be believed, if it says which one it is. */
static int add_bad(const struct jnode *obj, const struct item_problem *inner, size_t at,
		   struct item_page *page, struct item_problem *problem)
{
	const char *id;
	int r;

	bad(problem, "value[%zu]: %.100s", at, inner->text);
	if (jnode_str(obj, "id", ITEM_ID_MAX, &id) != 0 || !id[0])
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

static int fill_items(const struct jnode *value, struct item_page *page,
		      struct item_problem *problem)
{
	const struct jnode *obj = value + 1;
	size_t n = value->len;
	int r = 0;

	if (n > ITEM_PAGE_MAX)
		return bad(problem, "value has more than %d items", ITEM_PAGE_MAX);
	page->items = calloc(n ? n : 1, sizeof(*page->items));
	if (!page->items)
		return -ENOMEM;
	for (size_t i = 0; r == 0 && i < n; i++, obj = jnode_next(obj)) {
		struct item_problem inner = { "" };

		r = parse_item(obj, &page->items[page->n], &inner);
		if (r == 0)
			page->n++;
		else if (r == -EBADMSG)
			r = add_bad(obj, &inner, i, page, problem);
	}
	return r;
}

static int fill_page(const struct jnode *obj, struct item_page *page, struct item_problem *problem)
{
	const struct jnode *value;
	int r;

	if (jnode_arr(obj, "value", &value) != 0)
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
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	struct item_page page = { 0 };
	int r = parse_object(body, len, &doc, problem);

	if (r < 0)
		return r;
	r = fill_page(doc.nodes, &page, problem);
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
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	int r = parse_object(body, len, &doc, problem);

	return r < 0 ? r : parse_item(doc.nodes, ret, problem);
}

/* Quota numbers have been seen as strings, negative and absent; whatever is not a number of bytes
 * is unknown. */
static bool lenient_bytes(const struct jnode *quota, const char *key, uint64_t *ret)
{
	const struct jnode *member;
	int64_t v;
	char *end;

	if (jnode_member(quota, key, &member) != 0)
		return false;
	if (member->type == JNODE_INT) {
		if (jnode_i64(quota, key, &v) != 0)
			return false;
	} else if (member->type == JNODE_STRING) {
		errno = 0;
		v = strtoll(member->text, &end, 10);
		if (errno != 0 || end == member->text || *end != '\0')
			return false;
	} else {
		return false;
	}
	*ret = v < 0 ? 0 : (uint64_t)v;
	return true;
}

static void take_quota(const struct jnode *obj, struct item_drive *drive)
{
	const struct jnode *quota;

	if (jnode_obj(obj, "quota", &quota) != 0 || !lenient_bytes(quota, "total", &drive->total) ||
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

static int fill_drive(const struct jnode *obj, struct item_drive *drive,
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
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	struct item_drive drive = { 0 };
	int r = parse_object(body, len, &doc, problem);

	if (r == 0)
		r = fill_drive(doc.nodes, &drive, problem);
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
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	struct item_subscription sub = { .expires_ns = ITEM_TIME_UNKNOWN };
	int r = parse_object(body, len, &doc, problem);

	if (r == 0)
		r = take_str(doc.nodes, "id", ITEM_ID_MAX, &sub.id, problem);
	if (r == 0)
		r = take_str(doc.nodes, "notificationUrl", ITEM_URL_MAX, &sub.notification_url,
			     problem);
	if (r == 0 && (!sub.notification_url || !sub.notification_url[0]))
		r = bad(problem, "notificationUrl is missing");
	if (r == 0 && jnode_time(doc.nodes, "expirationDateTime", &sub.expires_ns) < 0)
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

static void cut(const struct jnode *obj, const char *key, char *ret, size_t size)
{
	const char *s;

	if (jnode_str(obj, key, 4096, &s) == 0)
		snprintf(ret, size, "%s", s);
}

static void add_code(const struct jnode *level, struct item_error *ret)
{
	char *code = ret->codes[ret->codes_n];

	cut(level, "code", code, sizeof(ret->codes[0]));
	if (code[0])
		ret->codes_n++;
}

void item_parse_error(const char *body, size_t len, struct item_error *ret)
{
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	const struct jnode *level;

	*ret = (struct item_error){ 0 };
	if (jnode_parse(body, len, &doc) < 0 || jnode_obj(doc.nodes, "error", &level) != 0)
		return;
	cut(level, "message", ret->message, sizeof(ret->message));
	/* Both spellings are sent, and they nest. */
	do {
		add_code(level, ret);
		cut(level, "request-id", ret->request_id, sizeof(ret->request_id));
	} while (ret->codes_n < ITEM_ERROR_CODES && (jnode_obj(level, "innerError", &level) == 0 ||
						     jnode_obj(level, "innererror", &level) == 0));
}

#include "simchange.h"
#include "simitem.h"
#include "simsock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void simchange_set_times(struct sim *s, uint32_t item, const struct simchange_times *times)
{
	struct simtree_item *it = simtree_get(&s->tree, item);

	if (times->mtime_ms)
		it->mtime_ms = times->mtime_ms;
	if (times->created_ms)
		it->created_ms = times->created_ms;
}

int simchange_add_file(struct sim *s, uint32_t folder, const char *name, size_t len,
		       const struct simbytes_ref *content, const struct simchange_times *times,
		       uint32_t *ret_item)
{
	void (*on_change)(void *arg, unsigned drive) = s->tree.on_change;
	int r;

	/* The content is there before anybody hears of the file. */
	s->tree.on_change = NULL;
	r = simtree_add(&s->tree, folder, name, len, 0, ret_item);
	s->tree.on_change = on_change;
	if (r < 0)
		return r;
	simbytes_set(&s->bytes, *ret_item, content);
	simchange_set_times(s, *ret_item, times);
	if (on_change)
		on_change(s, simtree_get(&s->tree, *ret_item)->drive);
	return 0;
}

void simchange_write_file(struct sim *s, uint32_t item, const struct simbytes_ref *content,
			  const struct simchange_times *times)
{
	simbytes_replace(&s->bytes, item, content);
	simchange_set_times(s, item, times);
}

/* Arguments of one operation while it runs. */
struct change {
	struct sim *s;
	struct json_object *args;
	unsigned drive;
	int status;
	const char *wrong;
};

static struct json_object *arg(const struct change *c, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(c->args, key, &value);
	return value;
}

static const char *text_arg(const struct change *c, const char *key)
{
	struct json_object *value = arg(c, key);

	return value ? json_object_get_string(value) : NULL;
}

static uint32_t fail(struct change *c, int status, const char *wrong)
{
	c->status = status;
	c->wrong = wrong;
	return SIMTREE_NONE;
}

static uint32_t fail_errno(struct change *c, int r)
{
	return r == -EEXIST   ? fail(c, 409, "the name is taken")
	       : r == -ENOSPC ? fail(c, 507, "the table of items is full")
			      : fail(c, 400, "the name or the place is not possible");
}

static uint32_t target(struct change *c)
{
	const char *path = text_arg(c, "path"), *id = text_arg(c, "id");
	uint32_t item = id     ? sim_find_id(c->s, c->drive, id)
			: path ? simtree_find(&c->s->tree, c->s->tree.root[c->drive], path)
			       : SIMTREE_NONE;

	return item ? item : fail(c, 404, "there is no such item (\"path\" or \"id\")");
}

/* The folder that path's last name is to be in, made if it is not there. */
static uint32_t make_parents(struct sim *s, unsigned drive, const char *path, const char **ret_name,
			     int *ret_error)
{
	uint32_t folder = s->tree.root[drive];

	*ret_error = 0;
	for (;;) {
		size_t n;
		uint32_t next;

		path += strspn(path, "/");
		n = strcspn(path, "/");
		if (path[n] == '\0')
			break;
		next = simtree_child(&s->tree, folder, path, n);
		if (!next)
			*ret_error = simtree_add(&s->tree, folder, path, n, SIMTREE_FOLDER, &next);
		else if (!(simtree_get(&s->tree, next)->flags & SIMTREE_FOLDER))
			*ret_error = -EINVAL;
		if (*ret_error < 0)
			return SIMTREE_NONE;
		folder = next;
		path += n;
	}
	*ret_name = path;
	return folder;
}

static uint32_t add_at(struct sim *s, unsigned drive, const char *path, unsigned flags,
		       int *ret_error)
{
	const char *name;
	uint32_t folder = make_parents(s, drive, path, &name, ret_error), item = SIMTREE_NONE;

	if (folder)
		*ret_error = simtree_add(&s->tree, folder, name, strlen(name), flags, &item);
	return item;
}

/* What "text", "size" and "kind" ask for. */
static struct simbytes_ref content_arg(struct change *c)
{
	struct json_object *size = arg(c, "size"), *text = arg(c, "text");
	const char *name = text_arg(c, "kind");
	struct simbytes_ref content = { .kind = SIMBYTES_RANDOM };

	content.size = size ? (uint64_t)json_object_get_int64(size) : 0;
	if (text) {
		content.kind = SIMBYTES_LITERAL;
		content.literal = json_object_get_string(text);
		content.size = (uint64_t)json_object_get_string_len(text);
	} else if (name && !simbytes_parse_kind(name, &content.kind)) {
		fail(c, 400, "kind is random, text or zero");
	}
	return content;
}

static struct simchange_times times_arg(const struct change *c)
{
	struct json_object *mtime = arg(c, "mtime");

	return (struct simchange_times){
		.mtime_ms = mtime ? (int64_t)(json_object_get_double(mtime) * 1000) : 0
	};
}

static uint32_t op_create(struct change *c)
{
	const char *path = text_arg(c, "path"), *name;
	struct simbytes_ref content = content_arg(c);
	struct simchange_times times = times_arg(c);
	uint32_t item, folder;
	int r;

	if (c->wrong || !path)
		return c->wrong ? SIMTREE_NONE : fail(c, 400, "path is missing");
	folder = make_parents(c->s, c->drive, path, &name, &r);
	if (folder)
		r = simchange_add_file(c->s, folder, name, strlen(name), &content, &times, &item);
	return folder && r == 0 ? item : fail_errno(c, r);
}

static uint32_t op_mkdir(struct change *c)
{
	const char *path = text_arg(c, "path");
	uint32_t item;
	int r;

	if (!path)
		return fail(c, 400, "path is missing");
	item = add_at(c->s, c->drive, path, SIMTREE_FOLDER, &r);
	return item ? item : fail_errno(c, r);
}

static uint32_t op_write(struct change *c)
{
	uint32_t item = target(c);
	struct simbytes_ref content = content_arg(c);
	struct simchange_times times = times_arg(c);

	if (!item || c->wrong)
		return SIMTREE_NONE;
	if (simtree_get(&c->s->tree, item)->flags & SIMTREE_FOLDER)
		return fail(c, 400, "a folder has no content");
	simchange_write_file(c->s, item, &content, &times);
	return item;
}

static uint32_t op_move(struct change *c)
{
	uint32_t item = target(c), folder, taken;
	const char *to = text_arg(c, "to"), *name;
	int r;

	if (!item || !to)
		return item ? fail(c, 400, "to is missing") : SIMTREE_NONE;
	if (simtree_get(&c->s->tree, item)->flags & SIMTREE_ROOT)
		return fail(c, 400, "the root cannot be moved");
	folder = make_parents(c->s, c->drive, to, &name, &r);
	if (!folder)
		return fail_errno(c, r);
	taken = simtree_child(&c->s->tree, folder, name, strlen(name));
	if (taken && taken != item && json_object_get_boolean(arg(c, "replace")))
		simtree_delete(&c->s->tree, taken);
	r = simtree_move(&c->s->tree, item, folder, name, strlen(name));
	return r < 0 ? fail_errno(c, r) : item;
}

static uint32_t op_delete(struct change *c)
{
	uint32_t item = target(c);

	if (item && (simtree_get(&c->s->tree, item)->flags & SIMTREE_ROOT))
		return fail(c, 400, "the root cannot be deleted");
	if (item)
		simtree_delete(&c->s->tree, item);
	return item;
}

static uint32_t op_touch(struct change *c)
{
	uint32_t item = target(c);
	struct simchange_times times;

	if (!item)
		return SIMTREE_NONE;
	simtree_get(&c->s->tree, item)->mtime_ms = simtree_now_ms();
	times = times_arg(c);
	simchange_set_times(c->s, item, &times);
	simtree_touch(&c->s->tree, item, false);
	return item;
}

static void set_flag(struct change *c, uint32_t item, const char *key, enum simtree_flag flag)
{
	struct simtree_item *it = simtree_get(&c->s->tree, item);

	if (arg(c, key))
		it->flags = (uint8_t)(json_object_get_boolean(arg(c, key)) ? it->flags | flag
									   : it->flags & ~flag);
}

/* What the API's callers may do to the item; nothing that delta would tell. */
static uint32_t op_protect(struct change *c)
{
	uint32_t item = target(c);

	if (item) {
		set_flag(c, item, "locked", SIMTREE_LOCKED);
		set_flag(c, item, "read_only", SIMTREE_READONLY);
	}
	return item;
}

static void plant(struct change *c, uint32_t item)
{
	struct json_object *odd = json_object_new_object(), *raw = arg(c, "raw_b64");
	char key[16];

	if (arg(c, "set"))
		json_object_object_add(odd, "set", json_object_get(arg(c, "set")));
	if (arg(c, "remove"))
		json_object_object_add(odd, "remove", json_object_get(arg(c, "remove")));
	if (raw) {
		size_t len = 0;
		auto_free char *data = simhttp_base64(json_object_get_string(raw), &len);

		if (data)
			json_object_object_add(odd, "raw",
					       json_object_new_string_len(data, (int)len));
	}
	snprintf(key, sizeof(key), "%u", item);
	json_object_object_add(c->s->odd, key, odd);
	simtree_get(&c->s->tree, item)->flags |= SIMTREE_ODD;
}

/* An item as no service would have it: any bytes as name, members changed or left out. */
static uint32_t op_raw_item(struct change *c)
{
	const char *parent = text_arg(c, "parent"), *coded = text_arg(c, "name_b64");
	struct json_object *plain = arg(c, "name");
	uint32_t folder =
		simtree_find(&c->s->tree, c->s->tree.root[c->drive], parent ? parent : "");
	bool is_folder = json_object_get_boolean(arg(c, "folder"));
	size_t len = plain ? (size_t)json_object_get_string_len(plain) : 0;
	auto_free char *name = coded ? simhttp_base64(coded, &len) : NULL;
	struct simbytes_ref content = content_arg(c);
	uint32_t item;
	int r;

	if (c->wrong)
		return SIMTREE_NONE;
	if (!folder || (!plain && !name))
		return fail(c, 400, "parent is not there, or neither name nor name_b64");
	c->s->tree.on_change = NULL;
	r = simtree_add(&c->s->tree, folder, name ? name : json_object_get_string(plain), len,
			is_folder ? SIMTREE_FOLDER : 0, &item);
	c->s->tree.on_change = simsock_changed;
	if (r < 0)
		return fail_errno(c, r);
	if (!is_folder)
		simbytes_set(&c->s->bytes, item, &content);
	if (arg(c, "set") || arg(c, "remove") || arg(c, "raw_b64"))
		plant(c, item);
	simsock_changed(c->s, c->drive);
	return item;
}

static void describe(struct sim *s, uint32_t item, struct simjson *out)
{
	struct simtree_item *it = simtree_get(&s->tree, item);
	auto_free char *path = simtree_path(&s->tree, item);
	char text[80];

	simjson_open(out, NULL, '{');
	sim_item_id(s, item, text);
	simjson_str(out, "id", text);
	simjson_str(out, "path", path);
	simitem_etag(s, item, text);
	simjson_str(out, "etag", text);
	simjson_int(out, "version", it->content_n);
	simjson_int(out, "at_ns", (int64_t)it->seq);
	simjson_close(out, '}');
}

const char *simchange_run(struct sim *s, const char *op, struct json_object *args,
			  struct simjson *out, int *ret_status)
{
	static const struct {
		const char *name;
		uint32_t (*run)(struct change *c);
	} ops[] = {
		{ "create", op_create }, { "mkdir", op_mkdir },       { "write", op_write },
		{ "move", op_move },     { "rename", op_move },       { "delete", op_delete },
		{ "touch", op_touch },   { "raw_item", op_raw_item }, { "protect", op_protect },
	};
	struct change c = { .s = s, .args = args };
	struct json_object *drive = arg(&c, "drive");
	uint32_t item;
	size_t i = 0;

	while (i < array_n(ops) && strcmp(ops[i].name, op) != 0)
		i++;
	if (drive)
		c.drive = (unsigned)json_object_get_int(drive);
	if (i == array_n(ops) || c.drive >= SIMTREE_DRIVES) {
		*ret_status = 404;
		return "there is no such operation or drive";
	}
	item = ops[i].run(&c);
	if (!item) {
		*ret_status = c.status;
		return c.wrong;
	}
	describe(s, item, out);
	return NULL;
}

static uint32_t or_end(uint32_t item, const char *path)
{
	if (!item) {
		fprintf(stderr, "graphsim: cannot make %s\n", path);
		exit(EXIT_FAILURE);
	}
	return item;
}

uint32_t simchange_make_folder(struct sim *s, unsigned drive, const char *path)
{
	uint32_t item = simtree_find(&s->tree, s->tree.root[drive], path);
	int r;

	return item ? item : or_end(add_at(s, drive, path, SIMTREE_FOLDER, &r), path);
}

uint32_t simchange_make_file(struct sim *s, unsigned drive, const char *path,
			     enum simbytes_kind kind, uint64_t size, const char *text,
			     int64_t mtime_ms)
{
	int r;
	uint32_t item = or_end(add_at(s, drive, path, 0, &r), path);
	struct simbytes_ref content = { .kind = text ? SIMBYTES_LITERAL : kind,
					.size = text ? strlen(text) : size,
					.literal = text };

	simbytes_set(&s->bytes, item, &content);
	simtree_get(&s->tree, item)->mtime_ms = mtime_ms;
	return item;
}

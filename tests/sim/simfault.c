#include "simfault.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

enum { RULES_MAX = 1000 };
/* Instead of a class: every request; every one that changes something. */
enum { CLASS_ANY = -1, CLASS_WRITE = -2, CLASS_UNKNOWN = -3 };

struct simfault_rule {
	struct list link;
	unsigned id;
	int class; /* or one of the two below */
	char *match;
	uint64_t first, every, nth; /* 0: not asked for */
	double probability;         /* 1: always */
	uint64_t seen_n, struck_n;
	enum simfault_phase phase;
	struct json_object *action; /* an object */
};

static const char *const class_names[SIMCLASS_N] = {
	[SIMCLASS_OTHER] = "other",
	[SIMCLASS_DEVICECODE] = "devicecode",
	[SIMCLASS_TOKEN] = "token",
	[SIMCLASS_ME] = "me",
	[SIMCLASS_DRIVE] = "drive",
	[SIMCLASS_ITEM] = "item",
	[SIMCLASS_CHILDREN] = "children",
	[SIMCLASS_DELTA] = "delta",
	[SIMCLASS_VERSIONS] = "versions",
	[SIMCLASS_CONTENT_URL] = "content_url",
	[SIMCLASS_SOCKETIO] = "socketio",
	[SIMCLASS_CONTENT] = "content",
	[SIMCLASS_WEBSOCKET] = "websocket",
	[SIMCLASS_MKDIR] = "mkdir",
	[SIMCLASS_PUT] = "put",
	[SIMCLASS_SESSION] = "session",
	[SIMCLASS_PATCH] = "patch",
	[SIMCLASS_DELETE] = "delete",
	[SIMCLASS_PERMANENT_DELETE] = "permanent_delete",
	[SIMCLASS_COPY] = "copy",
	[SIMCLASS_BATCH] = "batch",
	[SIMCLASS_FRAGMENT] = "fragment",
	[SIMCLASS_UPLOAD_STATUS] = "upload_status",
	[SIMCLASS_UPLOAD_CANCEL] = "upload_cancel",
	[SIMCLASS_COMMIT] = "commit",
	[SIMCLASS_MONITOR] = "monitor",
};

/* What ends a connection amid a request's body. */
static const struct {
	const char *name;
	enum simend end;
} early_actions[] = {
	{ "reset_in", SIMEND_RESET },
	{ "drop_in", SIMEND_CLOSE },
	{ "stall_in", SIMEND_STALL },
};

const char *simfault_class_name(enum simclass class)
{
	return class_names[class];
}

void simfault_init(struct simfault *f)
{
	*f = (struct simfault){ .next_id = 1, .random = 1 };
	list_init(&f->rules);
}

void simfault_clear(struct simfault *f)
{
	list_for_each_safe (&f->rules, pos) {
		struct simfault_rule *rule = container_of(pos, struct simfault_rule, link);

		list_del(&rule->link);
		json_object_put(rule->action);
		free(rule->match);
		free(rule);
	}
	f->rule_n = 0;
}

static struct json_object *member(struct json_object *obj, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(obj, key, &value);
	return value;
}

static uint64_t number(struct json_object *obj, const char *key, uint64_t otherwise)
{
	struct json_object *value = member(obj, key);

	return value ? (uint64_t)json_object_get_int64(value) : otherwise;
}

static const char *text(struct json_object *obj, const char *key)
{
	struct json_object *value = member(obj, key);

	return value ? json_object_get_string(value) : NULL;
}

static int parse_class(const char *name)
{
	if (!name || strcmp(name, "any") == 0)
		return CLASS_ANY;
	if (strcmp(name, "write") == 0)
		return CLASS_WRITE;
	for (int i = 0; i < SIMCLASS_N; i++)
		if (strcmp(name, class_names[i]) == 0)
			return i;
	return CLASS_UNKNOWN;
}

static bool is_write(enum simclass class)
{
	return class >= SIMCLASS_MKDIR && class <= SIMCLASS_COMMIT &&
	       class != SIMCLASS_UPLOAD_STATUS;
}

/* "stall" is short for {"stall":true}; without "action" the rule itself is the action. */
static struct json_object *parse_action(struct json_object *rule)
{
	struct json_object *action = member(rule, "action");

	if (!action)
		return json_object_get(rule);
	if (json_object_is_type(action, json_type_object))
		return json_object_get(action);
	if (json_object_is_type(action, json_type_string)) {
		struct json_object *obj = json_object_new_object();

		json_object_object_add(obj, json_object_get_string(action),
				       json_object_new_boolean(true));
		return obj;
	}
	return NULL;
}

static const char *unknown_action(struct json_object *action)
{
	static const char *const known[] = {
		"status",         "code",     "retry_after",   "body",         "body_b64",
		"content_type",   "headers",  "delay_ms",      "reset",        "drop",
		"stall",          "truncate", "reset_at",      "stall_at",     "overlong",
		"content_length", "flip",     "content_range", "ignore_range", "location",
		"raw_b64",        "raw",      "bytes_per_s",   "class",        "match",
		"first",          "every",    "nth",           "probability",  "phase",
		"always",         "seed",     "reset_in",      "drop_in",      "stall_in",
		"wrong_hash",     "no_hash",  "vanish",        "as_status",
	};

	json_object_object_foreach(action, key, value)
	{
		size_t i = 0;

		(void)value;
		while (i < array_n(known) && strcmp(key, known[i]) != 0)
			i++;
		if (i == array_n(known))
			return "unknown member or action";
	}
	return NULL;
}

const char *simfault_add(struct simfault *f, struct json_object *json, unsigned *ret_id)
{
	const char *class = text(json, "class"), *match = text(json, "match");
	const char *phase = text(json, "phase"), *wrong;
	struct json_object *action = parse_action(json), *p = member(json, "probability");
	struct simfault_rule *rule;

	wrong = !action ? "action is neither a name nor an object" : unknown_action(action);
	if (!wrong && parse_class(class) == CLASS_UNKNOWN)
		wrong = "unknown class";
	if (!wrong && phase && strcmp(phase, "before") != 0 && strcmp(phase, "after") != 0 &&
	    strcmp(phase, "body") != 0)
		wrong = "phase is before, after or body";
	if (!wrong && f->rule_n == RULES_MAX)
		wrong = "too many rules";
	if (wrong) {
		json_object_put(action);
		return wrong;
	}
	rule = simjson_alloc(sizeof(*rule));
	rule->id = *ret_id = f->next_id++;
	rule->class = parse_class(class);
	rule->match = match ? simjson_dup(match[0] == '/' ? match + 1 : match) : NULL;
	rule->first = number(json, "first", 0);
	rule->every = number(json, "every", 0);
	rule->nth = number(json, "nth", 0);
	rule->probability = p ? json_object_get_double(p) : 1;
	rule->phase = phase && strcmp(phase, "before") == 0 ? SIMFAULT_BEFORE : SIMFAULT_AFTER;
	rule->action = action;
	if (member(json, "seed"))
		f->random = number(json, "seed", 1);
	list_add_tail(&f->rules, &rule->link);
	f->rule_n++;
	return NULL;
}

static bool concerns(const struct simfault_rule *rule, enum simclass class, const char *path,
		     const char *id)
{
	const char *name = strrchr(path, '/');

	if ((rule->class >= 0 && rule->class != (int)class) ||
	    (rule->class == CLASS_WRITE && !is_write(class)))
		return false;
	return !rule->match || fnmatch(rule->match, path, 0) == 0 || strcmp(rule->match, id) == 0 ||
	       fnmatch(rule->match, name ? name + 1 : path, 0) == 0;
}

static bool strikes(struct simfault *f, struct simfault_rule *rule)
{
	uint64_t n = ++rule->seen_n;

	if ((rule->first && n > rule->first) || (rule->every && n % rule->every != 0) ||
	    (rule->nth && n != rule->nth))
		return false;
	if (rule->probability >= 1)
		return true;
	f->random = simid_mix(f->random + 0x9e3779b97f4a7c15u);
	return (double)(f->random >> 11) / (double)(1ull << 53) < rule->probability;
}

/* Index in early_actions, or -1. */
static int early_action(const struct simfault_rule *rule)
{
	for (size_t i = 0; i < array_n(early_actions); i++)
		if (member(rule->action, early_actions[i].name))
			return (int)i;
	return -1;
}

static struct simfault_rule *find_rule(struct simfault *f, bool is_early, enum simclass class,
				       const char *path, const char *id)
{
	list_for_each (&f->rules, pos) {
		struct simfault_rule *rule = container_of(pos, struct simfault_rule, link);

		if ((early_action(rule) >= 0) == is_early && concerns(rule, class, path, id) &&
		    strikes(f, rule)) {
			rule->struck_n++;
			return rule;
		}
	}
	return NULL;
}

struct simcut simfault_match_early(struct simfault *f, enum simclass class, const char *path,
				   const char *id)
{
	struct simfault_rule *rule = find_rule(f, true, class, path, id);
	int i = rule ? early_action(rule) : -1;

	return (struct simcut){
		.at = i < 0 ? UINT64_MAX : number(rule->action, early_actions[i].name, 0),
		.end = i < 0 ? SIMEND_NORMAL : early_actions[i].end,
	};
}

struct simfault_rule *simfault_match(struct simfault *f, enum simclass class, const char *path,
				     const char *id)
{
	return find_rule(f, false, class, path, id);
}

enum simfault_phase simfault_phase(const struct simfault_rule *rule)
{
	return rule->phase;
}

bool simfault_ignores_range(const struct simfault_rule *rule)
{
	return json_object_get_boolean(member(rule->action, "ignore_range"));
}

bool simfault_vanishes(const struct simfault_rule *rule)
{
	return json_object_get_boolean(member(rule->action, "vanish"));
}

static void error_body(struct json_object *action, struct simreply *reply)
{
	const char *code = text(action, "code");

	simjson_clear(&reply->body);
	simjson_open(&reply->body, NULL, '{');
	simjson_open(&reply->body, "error", '{');
	simjson_str(&reply->body, "code",
		    code                   ? code
		    : reply->status == 429 ? "activityLimitReached"
		    : reply->status == 404 ? "itemNotFound"
		    : reply->status == 403 ? "accessDenied"
		    : reply->status == 401 ? "InvalidAuthenticationToken"
		    : reply->status == 410 ? "resyncRequired"
					   : "generalException");
	simjson_str(&reply->body, "message", "A fault that was asked for.");
	simjson_open(&reply->body, "innerError", '{');
	if (code)
		simjson_str(&reply->body, "code", code);
	simjson_str(&reply->body, "request-id", "00000000-0000-4000-8000-0000000000000fa");
	simjson_text(&reply->body, "}}}");
	reply->has_ref = false;
}

static void replace_body(struct json_object *action, struct simreply *reply)
{
	const char *plain = text(action, "body"), *coded = text(action, "body_b64");

	if (member(action, "status")) {
		reply->status = (int)number(action, "status", 500);
		simjson_clear(&reply->heads);
		reply->taker = NULL;
		reply->content_type = "application/json";
		error_body(action, reply);
		if (reply->status == 204 || reply->status == 304)
			simjson_clear(&reply->body);
	}
	reply->status = (int)number(action, "as_status", (uint64_t)reply->status);
	if (plain) {
		simjson_clear(&reply->body);
		simjson_text(&reply->body, plain);
		reply->has_ref = false;
	}
	if (coded) {
		size_t len = 0;
		auto_free char *data = simhttp_base64(coded, &len);

		simjson_clear(&reply->body);
		if (data)
			simjson_raw(&reply->body, data, len);
		reply->has_ref = false;
	}
}

/* Without the header of this name; NULL when memory of the old one is kept as it is. */
static void remove_header(struct simreply *reply, const char *name)
{
	struct simjson kept = { 0 };
	const char *at = reply->heads.data;
	size_t n = strlen(name);

	while (at && *at) {
		const char *end = strstr(at, "\r\n");
		size_t len = end ? (size_t)(end - at) + 2 : strlen(at);

		if (strncasecmp(at, name, n) != 0 || at[n] != ':')
			simjson_raw(&kept, at, len);
		at += len;
	}
	simjson_fini(&reply->heads);
	reply->heads = kept;
}

static void replace_header(struct simreply *reply, const char *name, const char *value)
{
	if (!value)
		return;
	remove_header(reply, name);
	simjson_format(&reply->heads, "%s: %s\r\n", name, value);
}

/* The hash of the item in the reply: another one, or left out. */
static void spoil_hash(struct json_object *action, struct simreply *reply)
{
	static const char member_start[] = "\"quickXorHash\":\"";
	bool is_wrong = json_object_get_boolean(member(action, "wrong_hash"));
	char *at = reply->body.data ? strstr(reply->body.data, member_start) : NULL;
	size_t len = strlen(member_start);

	if (at && is_wrong) {
		at[len] = at[len] == 'A' ? 'B' : 'A';
	} else if (at && json_object_get_boolean(member(action, "no_hash"))) {
		len += strcspn(at + len, "\"") + 1;
		memmove(at, at + len, strlen(at + len) + 1);
		reply->body.len -= len;
	}
}

static void change_headers(struct json_object *action, struct simreply *reply)
{
	struct json_object *headers = member(action, "headers");

	replace_header(reply, "Location", text(action, "location"));
	replace_header(reply, "Retry-After", text(action, "retry_after"));
	replace_header(reply, "Content-Range", text(action, "content_range"));
	if (headers && json_object_is_type(headers, json_type_object)) {
		json_object_object_foreach(headers, name, value)
			replace_header(reply, name, json_object_get_string(value));
	}
	if (member(action, "content_type")) {
		/* A constant for the reply's life: the rule outlives it only when not cleared. */
		remove_header(reply, "Content-Type");
		simjson_format(&reply->heads, "Content-Type: %s\r\n", text(action, "content_type"));
		reply->content_type = NULL;
	}
	if (member(action, "content_length")) {
		free(reply->length_text);
		reply->length_text = simjson_dup(text(action, "content_length"));
		/* Without a length the end of the connection is the end of the body. */
		if (reply->length_text[0] == '\0')
			reply->end = SIMEND_CLOSE;
	}
}

static void change_transfer(struct json_object *action, struct simreply *reply)
{
	static const struct {
		const char *name;
		enum simend end;
	} cuts[] = {
		{ "truncate", SIMEND_CLOSE },
		{ "reset_at", SIMEND_RESET },
		{ "stall_at", SIMEND_STALL },
	};

	for (size_t i = 0; i < array_n(cuts); i++) {
		if (member(action, cuts[i].name)) {
			reply->cut_at = number(action, cuts[i].name, 0);
			reply->end = cuts[i].end;
		}
	}
	reply->delay_ms = number(action, "delay_ms", reply->delay_ms);
	reply->flip_at = number(action, "flip", reply->flip_at);
	reply->extra_n = number(action, "overlong", reply->extra_n);
	reply->bytes_per_s = number(action, "bytes_per_s", reply->bytes_per_s);
	if (json_object_get_boolean(member(action, "stall")))
		reply->stall_at_start = true;
	if (json_object_get_boolean(member(action, "reset")) ||
	    json_object_get_boolean(member(action, "drop"))) {
		reply->no_answer = true;
		reply->taker = NULL;
		reply->end = member(action, "reset") ? SIMEND_RESET : SIMEND_CLOSE;
	}
}

void simfault_apply(const struct simfault_rule *rule, struct simreply *reply)
{
	const char *coded = text(rule->action, "raw_b64"), *raw = text(rule->action, "raw");

	replace_body(rule->action, reply);
	spoil_hash(rule->action, reply);
	change_headers(rule->action, reply);
	change_transfer(rule->action, reply);
	if (coded || raw) {
		free(reply->raw);
		reply->raw = coded ? simhttp_base64(coded, &reply->raw_len) : simjson_dup(raw);
		if (raw && !coded)
			reply->raw_len = strlen(raw);
		reply->taker = NULL;
		if (reply->end == SIMEND_NORMAL)
			reply->end = SIMEND_CLOSE;
	}
}

void simfault_list(const struct simfault *f, struct simjson *out)
{
	simjson_open(out, "rules", '[');
	list_for_each (&f->rules, pos) {
		const struct simfault_rule *rule = container_of(pos, struct simfault_rule, link);

		simjson_open(out, NULL, '{');
		simjson_int(out, "id", rule->id);
		simjson_str(out, "class",
			    rule->class == CLASS_WRITE ? "write"
			    : rule->class < 0          ? "any"
						       : class_names[rule->class]);
		simjson_str(out, "match", rule->match);
		simjson_int(out, "seen", (int64_t)rule->seen_n);
		simjson_int(out, "struck", (int64_t)rule->struck_n);
		simjson_close(out, '}');
	}
	simjson_close(out, ']');
}

#include "simlogin.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TOKENS_MAX = 256, CODES_MAX = 64, TEXT_MAX = 48 };

enum outcome { OUTCOME_APPROVE, OUTCOME_WAIT, OUTCOME_DECLINE, OUTCOME_EXPIRE };

struct code {
	char text[TEXT_MAX];
	unsigned poll_n;
	uint64_t until_ms, last_poll_ms;
	bool is_used;
};

struct simlogin {
	struct {
		char text[TEXT_MAX];
		uint64_t until_ms;
	} access[TOKENS_MAX];
	char refresh[TOKENS_MAX][TEXT_MAX]; /* older ones stay good, as at the service */
	struct code codes[CODES_MAX];
	unsigned access_n, refresh_n, code_n; /* ever made: the arrays are rings */
	uint64_t random;

	enum outcome outcome;
	unsigned pending_n, slow_n, interval_s, code_lifetime_s;
	int64_t token_lifetime_s;
	bool has_no_rotation, refuses_refresh, is_strict_interval;
};

static uint64_t now_ms(void)
{
	return simtree_now_ns() / 1000000;
}

struct simlogin *simlogin_new(void)
{
	struct simlogin *l = simjson_alloc(sizeof(*l));

	l->interval_s = 1;
	l->code_lifetime_s = 900;
	l->token_lifetime_s = 3599;
	l->random = simtree_now_ns();
	return l;
}

void simlogin_free(struct simlogin *l)
{
	free(l);
}

static void make_text(struct simlogin *l, const char *prefix, char ret[TEXT_MAX])
{
	l->random = simid_mix(l->random + 0x9e3779b97f4a7c15u);
	snprintf(ret, TEXT_MAX, "%s.%016llx~Zz_-/+", prefix, (unsigned long long)l->random);
}

enum simclass simlogin_class(const char *path)
{
	const char *end = strstr(path, "/oauth2/v2.0/");

	if (!end || end == path)
		return SIMCLASS_OTHER;
	return strcmp(end + 13, "token") == 0        ? SIMCLASS_TOKEN
	       : strcmp(end + 13, "devicecode") == 0 ? SIMCLASS_DEVICECODE
						     : SIMCLASS_OTHER;
}

bool simlogin_is_route(enum simclass class)
{
	return class == SIMCLASS_TOKEN || class == SIMCLASS_DEVICECODE;
}

static void refuse(struct simreply *reply, const char *error, unsigned code, const char *why)
{
	struct simjson *w = &reply->body;
	char guid[37];

	simid_guid(code, guid);
	reply->status = 400;
	simjson_open(w, NULL, '{');
	simjson_str(w, "error", error);
	simjson_format(w, ",\"error_description\":\"AADSTS%u: %s\",\"error_codes\":[%u]", code, why,
		       code);
	simjson_str(w, "timestamp", "2024-01-01 00:00:00Z");
	simjson_str(w, "trace_id", guid);
	simjson_str(w, "correlation_id", guid);
	simjson_close(w, '}');
}

static void answer_devicecode(struct simlogin *l, struct sim *s, struct simreply *reply)
{
	struct code *code = &l->codes[l->code_n++ % CODES_MAX];
	struct simjson *w = &reply->body;
	char user[16];

	*code = (struct code){ .until_ms = now_ms() + l->code_lifetime_s * 1000ull };
	make_text(l, "sim-dc", code->text);
	snprintf(user, sizeof(user), "S1M%06u", l->code_n % 1000000);
	simjson_open(w, NULL, '{');
	simjson_str(w, "user_code", user);
	simjson_str(w, "device_code", code->text);
	simjson_format(w, ",\"verification_uri\":\"%s/devicelogin\"", s->base[SIMPORT_API]);
	simjson_int(w, "expires_in", l->code_lifetime_s);
	simjson_int(w, "interval", l->interval_s);
	simjson_format(w,
		       ",\"message\":\"To sign in, open %s/devicelogin and enter the code %s.\"}",
		       s->base[SIMPORT_API], user);
}

static void grant(struct simlogin *l, struct simreply *reply, const char *scope)
{
	struct simjson *w = &reply->body;
	unsigned a = l->access_n++ % TOKENS_MAX, r = l->refresh_n % TOKENS_MAX;

	make_text(l, "sim-at", l->access[a].text);
	l->access[a].until_ms = now_ms() + (uint64_t)l->token_lifetime_s * 1000;
	simjson_open(w, NULL, '{');
	simjson_str(w, "token_type", "Bearer");
	simjson_str(w, "scope", scope ? scope : "Files.Read.All User.Read");
	simjson_int(w, "expires_in", l->token_lifetime_s);
	simjson_int(w, "ext_expires_in", l->token_lifetime_s);
	simjson_str(w, "access_token", l->access[a].text);
	if (!l->has_no_rotation || l->refresh_n == 0) {
		make_text(l, "sim-rt", l->refresh[r]);
		l->refresh_n++;
		simjson_str(w, "refresh_token", l->refresh[r]);
	}
	simjson_close(w, '}');
}

static struct code *find_code(struct simlogin *l, const char *text)
{
	for (unsigned i = 0; i < CODES_MAX; i++)
		if (text && l->codes[i].text[0] && strcmp(l->codes[i].text, text) == 0)
			return &l->codes[i];
	return NULL;
}

static void poll_code(struct simlogin *l, struct sim *s, struct simreply *reply, struct code *code,
		      const char *scope)
{
	uint64_t now = now_ms(), before = code->last_poll_ms;

	code->last_poll_ms = now;
	if (now > code->until_ms || l->outcome == OUTCOME_EXPIRE) {
		refuse(reply, "expired_token", 70019, "The code has expired.");
	} else if (l->outcome == OUTCOME_DECLINE) {
		refuse(reply, "authorization_declined", 70017, "The person has declined.");
	} else if (before && l->is_strict_interval &&
		   now - before + 100 < l->interval_s * 1000ull) {
		sim_violation(s, "device code polled before its interval was over");
		refuse(reply, "slow_down", 50196, "Polled too often.");
	} else if (code->poll_n < l->slow_n) {
		code->poll_n++;
		refuse(reply, "slow_down", 50196, "Polled too often.");
	} else if (code->poll_n < l->slow_n + l->pending_n || l->outcome == OUTCOME_WAIT) {
		code->poll_n++;
		refuse(reply, "authorization_pending", 70016, "The person has not yet signed in.");
	} else {
		code->is_used = true;
		grant(l, reply, scope);
	}
}

static bool knows_refresh(const struct simlogin *l, const char *text)
{
	for (unsigned i = 0; i < TOKENS_MAX; i++)
		if (text && l->refresh[i][0] && strcmp(l->refresh[i], text) == 0)
			return true;
	return false;
}

static void answer_token(struct simlogin *l, struct sim *s, struct simreq *req,
			 struct simreply *reply)
{
	auto_free char *type = simhttp_form(req->body, req->body_len, "grant_type");
	auto_free char *client = simhttp_form(req->body, req->body_len, "client_id");
	auto_free char *device = simhttp_form(req->body, req->body_len, "device_code");
	auto_free char *refresh = simhttp_form(req->body, req->body_len, "refresh_token");
	auto_free char *scope = simhttp_form(req->body, req->body_len, "scope");
	struct code *code = find_code(l, device);

	if (!client) {
		refuse(reply, "invalid_request", 900144, "client_id is missing.");
	} else if (type && strcmp(type, "urn:ietf:params:oauth:grant-type:device_code") == 0) {
		if (!code || code->is_used)
			refuse(reply, "bad_verification_code", 70018, "No such device code.");
		else
			poll_code(l, s, reply, code, scope);
	} else if (type && strcmp(type, "refresh_token") == 0) {
		if (l->refuses_refresh || !knows_refresh(l, refresh))
			refuse(reply, "invalid_grant", 70000, "The grant is not valid.");
		else
			grant(l, reply, scope);
	} else {
		refuse(reply, "unsupported_grant_type", 70003, "No such grant here.");
	}
}

void simlogin_answer(struct sim *s, struct simreq *req, struct simreply *reply, enum simclass class)
{
	const char *type = simhttp_head(req, "Content-Type");

	reply->content_type = "application/json; charset=utf-8";
	if (strcmp(req->method, "POST") != 0) {
		reply->status = 405;
		return;
	}
	if (s->is_strict &&
	    (!type || strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0)) {
		sim_violation(s, "token request is not application/x-www-form-urlencoded");
		refuse(reply, "invalid_request", 900144, "The body is no form.");
		return;
	}
	if (class == SIMCLASS_DEVICECODE)
		answer_devicecode(s->login, s, reply);
	else
		answer_token(s->login, s, req, reply);
}

bool simlogin_check(struct sim *s, const struct simreq *req, struct simreply *reply)
{
	const struct simlogin *l = s->login;
	const char *given = simhttp_head(req, "Authorization");

	for (unsigned i = 0; given && strncasecmp(given, "Bearer ", 7) == 0 && i < TOKENS_MAX; i++)
		if (l->access[i].text[0] && strcmp(l->access[i].text, given + 7) == 0 &&
		    now_ms() < l->access[i].until_ms)
			return true;
	sim_error(reply, req, 401, "InvalidAuthenticationToken", NULL,
		  given ? "Access token has expired or is not yet valid."
			: "Access token is empty.");
	simhttp_header(reply, "WWW-Authenticate",
		       "Bearer realm=\"\", authorization_uri=\"%s/common/oauth2/authorize\"",
		       s->base[SIMPORT_API]);
	return false;
}

void simlogin_expire_tokens(struct simlogin *l)
{
	memset(l->access, 0, sizeof(l->access));
}

void simlogin_decide(struct simlogin *l, bool is_approved)
{
	l->outcome = is_approved ? OUTCOME_APPROVE : OUTCOME_DECLINE;
	l->pending_n = 0;
}

static bool read_unsigned(struct json_object *knobs, const char *key, unsigned *value)
{
	struct json_object *member;

	if (!json_object_object_get_ex(knobs, key, &member))
		return false;
	*value = (unsigned)json_object_get_int64(member);
	return true;
}

const char *simlogin_configure(struct simlogin *l, struct json_object *knobs)
{
	static const char *const outcomes[] = { "approve", "wait", "decline", "expire" };
	struct json_object *member;

	if (json_object_object_get_ex(knobs, "outcome", &member)) {
		unsigned i = 0;

		while (i < array_n(outcomes) &&
		       strcmp(outcomes[i], json_object_get_string(member)) != 0)
			i++;
		if (i == array_n(outcomes))
			return "outcome is approve, wait, decline or expire";
		l->outcome = (enum outcome)i;
	}
	read_unsigned(knobs, "pending", &l->pending_n);
	read_unsigned(knobs, "slow_down", &l->slow_n);
	read_unsigned(knobs, "interval", &l->interval_s);
	read_unsigned(knobs, "expires_in", &l->code_lifetime_s);
	if (json_object_object_get_ex(knobs, "token_lifetime_s", &member))
		l->token_lifetime_s = json_object_get_int64(member);
	if (json_object_object_get_ex(knobs, "rotate", &member))
		l->has_no_rotation = !json_object_get_boolean(member);
	if (json_object_object_get_ex(knobs, "refuse_refresh", &member))
		l->refuses_refresh = json_object_get_boolean(member);
	if (json_object_object_get_ex(knobs, "strict_interval", &member))
		l->is_strict_interval = json_object_get_boolean(member);
	return NULL;
}

/* The device code flow: RFC 8628. */
#define LOG_MODULE "login"
#include "auth.h"

#include "clock.h"
#include "jget.h"
#include "log.h"
#include "oauth.h"

#include <errno.h>
#include <string.h>

enum {
	FORM_MAX = 64 * 1024,
	INTERVAL_DEFAULT_S = 5,
	INTERVAL_MIN_S = 1,
	INTERVAL_MAX_S = 60,
	SLOW_DOWN_S = 5,
	LIFETIME_DEFAULT_S = 900,
	LIFETIME_MAX_S = 3600,
};

struct auth_login {
	struct loop *loop;
	struct http *http;
	struct account account;
	struct auth_login_events events;
	struct http_request *request;
	struct loop_timer timer;
	char *device_code; /* a secret */
	int64_t interval_s;
	uint64_t ends_ms;
};

static int copy_account(const struct account *from, struct account *to)
{
	to->client_id = strdup(from->client_id);
	to->tenant = strdup(from->tenant);
	to->login_url = strdup(from->login_url);
	to->graph_url = strdup(from->graph_url);
	to->ca_file = from->ca_file ? strdup(from->ca_file) : NULL;
	to->scope = strdup(from->scope);
	return to->client_id && to->tenant && to->login_url && to->graph_url && to->scope &&
			       (to->ca_file || !from->ca_file)
		       ? 0
		       : -ENOMEM;
}

static void done(struct auth_login *login, int error, const char *text)
{
	loop_timer_disarm(&login->timer);
	login->events.on_done(login->events.arg, error, text, error == 0 ? &login->account : NULL);
}

static void poll_later(struct auth_login *login)
{
	loop_timer_arm(&login->timer, (uint64_t)login->interval_s * 1000);
}

static const char *text_of(int error)
{
	return error == -EBADMSG ? "the login service's reply is malformed" : strerror(-error);
}

/* 1: poll again. */
static int judge(struct auth_login *login, const struct http_head *head, const char *body,
		 size_t len, struct oauth_error *error)
{
	if (head->status == 200)
		return oauth_take_tokens(body, len, &login->account);
	oauth_parse_error(body, len, error);
	if (strcmp(error->code, "authorization_pending") == 0)
		return 1;
	if (strcmp(error->code, "slow_down") == 0) {
		login->interval_s += SLOW_DOWN_S;
		return 1;
	}
	if (head->status == 429 || head->status >= 500)
		return 1;
	if (strcmp(error->code, "authorization_declined") == 0 ||
	    strcmp(error->code, "access_denied") == 0)
		return -EACCES;
	return strcmp(error->code, "expired_token") == 0 ? -ETIMEDOUT : -EINVAL;
}

static void on_polled(void *arg, int error, const struct http_head *head, const char *body,
		      size_t len)
{
	struct auth_login *login = arg;
	struct oauth_error why = { "" };

	login->request = NULL;
	/* A network that is away for a moment must not cost the user a new code. */
	error = error == 0 ? judge(login, head, body, len, &why) : 1;
	if (error == 1 && loop_now_ms(login->loop) < login->ends_ms)
		poll_later(login);
	else
		done(login, error == 1 ? -ETIMEDOUT : error,
		     why.text[0]   ? why.text
		     : why.code[0] ? why.code
				   : text_of(error));
}

static void on_timer(void *arg)
{
	struct auth_login *login = arg;
	auto_call(buf_fini) struct buf form = { .max_bytes = FORM_MAX };
	int r;

	if ((r = oauth_add(&form, "grant_type", "urn:ietf:params:oauth:grant-type:device_code")) <
		    0 ||
	    (r = oauth_add(&form, "client_id", login->account.client_id)) < 0 ||
	    (r = oauth_add(&form, "device_code", login->device_code)) < 0 ||
	    (r = oauth_post(login->http, &login->account, "token", &form, on_polled, login,
			    &login->request)) < 0)
		done(login, r, strerror(-r));
}

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

static int take_code(struct auth_login *login, const char *body, size_t len)
{
	auto_call(put_object) struct json_object *obj = NULL;
	const char *device, *user, *url;
	int64_t lifetime_s = LIFETIME_DEFAULT_S;
	int r = jget_parse(body, len, &obj);

	if (r < 0)
		return r;
	/* Older replies spell it verification_url. */
	if (jget_str(obj, "device_code", 16384, &device) != 0 ||
	    jget_str(obj, "user_code", 64, &user) != 0 ||
	    (jget_str(obj, "verification_uri", 1024, &url) != 0 &&
	     jget_str(obj, "verification_url", 1024, &url) != 0) ||
	    jget_i64(obj, "interval", &login->interval_s) < 0 ||
	    jget_i64(obj, "expires_in", &lifetime_s) < 0)
		return -EBADMSG;
	if (login->interval_s < 0 || login->interval_s > INTERVAL_MAX_S)
		login->interval_s = INTERVAL_DEFAULT_S;
	if (login->interval_s < INTERVAL_MIN_S)
		login->interval_s = INTERVAL_MIN_S;
	if (lifetime_s < 1 || lifetime_s > LIFETIME_MAX_S)
		lifetime_s = LIFETIME_DEFAULT_S;
	login->ends_ms = loop_now_ms(login->loop) + (uint64_t)lifetime_s * 1000;
	login->device_code = strdup(device);
	if (!login->device_code)
		return -ENOMEM;
	login->events.on_code(login->events.arg, url, user);
	return 0;
}

static void on_code(void *arg, int error, const struct http_head *head, const char *body,
		    size_t len)
{
	struct auth_login *login = arg;
	struct oauth_error why = { "" };

	login->request = NULL;
	if (error == 0 && head->status != 200) {
		oauth_parse_error(body, len, &why);
		error = -EINVAL;
	}
	if (error == 0)
		error = take_code(login, body, len);
	if (error == 0)
		poll_later(login);
	else
		done(login, error, why.text[0] ? why.text : text_of(error));
}

int auth_login_start(struct loop *loop, struct http *http, const struct account *account,
		     const struct auth_login_events *events, struct auth_login **ret)
{
	auto_call(buf_fini) struct buf form = { .max_bytes = FORM_MAX };
	struct auth_login *login = calloc(1, sizeof(*login));
	int r;

	if (!login)
		return -ENOMEM;
	login->loop = loop;
	login->http = http;
	login->events = *events;
	login->interval_s = INTERVAL_DEFAULT_S;
	if ((r = copy_account(account, &login->account)) < 0 ||
	    (r = loop_timer_init(&login->timer, loop, on_timer, login)) < 0 ||
	    (r = oauth_add(&form, "client_id", account->client_id)) < 0 ||
	    (r = oauth_add(&form, "scope", account->scope)) < 0 ||
	    (r = oauth_post(http, account, "devicecode", &form, on_code, login, &login->request)) <
		    0) {
		auth_login_free(login);
		return r;
	}
	*ret = login;
	return 0;
}

void auth_login_free(struct auth_login *login)
{
	if (!login)
		return;
	if (login->request)
		http_cancel(login->request);
	loop_timer_fini(&login->timer);
	account_fini(&login->account);
	if (login->device_code)
		explicit_bzero(login->device_code, strlen(login->device_code));
	free(login->device_code);
	free(login);
}

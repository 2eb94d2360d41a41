#include "oauth.h"

#include "clock.h"
#include "jget.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
	TOTAL_MS = 30000,
	STALL_MS = 15000,
	BODY_MAX = 256 * 1024,
	TOKEN_MAX = 64 * 1024,
	EXPIRES_MIN_S = 1,
	EXPIRES_MAX_S = 7 * 24 * 3600,
	EXPIRES_DEFAULT_S = 3600,
};

int oauth_add(struct buf *form, const char *key, const char *value)
{
	int r = buf_printf(form, "%s%s=", form->len > 0 ? "&" : "", key);

	for (const unsigned char *c = (const unsigned char *)value; r == 0 && *c; c++) {
		bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			     (*c >= '0' && *c <= '9') || strchr("-._~", *c);

		r = plain ? buf_append(form, c, 1) : buf_printf(form, "%%%02X", *c);
	}
	return r;
}

int oauth_post(struct http *http, const struct account *account, const char *leaf,
	       const struct buf *form,
	       void (*on_done)(void *arg, int error, const struct http_head *head, const char *body,
			       size_t body_len),
	       void *arg, struct http_request **ret)
{
	static const char *const headers[] = { "Content-Type: application/x-www-form-urlencoded",
					       "Accept: application/json", NULL };
	auto_free char *url = NULL;

	if (asprintf(&url, "%s/%s/oauth2/v2.0/%s", account->login_url, account->tenant, leaf) < 0)
		return -ENOMEM;
	return http_start(http,
			  &(struct http_spec){
				  .method = "POST",
				  .url = url,
				  .headers = headers,
				  .body = form->data,
				  .body_len = form->len,
				  .priority = HTTP_PERSON,
				  .host_class = HTTP_API,
				  .total_ms = TOTAL_MS,
				  .stall_ms = STALL_MS,
				  .max_body = BODY_MAX,
				  .on_done = on_done,
				  .arg = arg,
			  },
			  ret);
}

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

static int replace(char **secret, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = copy;
	return 0;
}

int oauth_take_tokens(const char *body, size_t len, struct account *account)
{
	auto_call(put_object) struct json_object *obj = NULL;
	const char *access, *refresh = NULL;
	int64_t lifetime_s = EXPIRES_DEFAULT_S;
	int r = jget_parse(body, len, &obj);

	if (r < 0)
		return r;
	if (jget_str(obj, "access_token", TOKEN_MAX, &access) != 0 || !access[0] ||
	    jget_str(obj, "refresh_token", TOKEN_MAX, &refresh) < 0 ||
	    jget_i64(obj, "expires_in", &lifetime_s) < 0)
		return -EBADMSG;
	if (lifetime_s < EXPIRES_MIN_S)
		lifetime_s = EXPIRES_MIN_S;
	if (lifetime_s > EXPIRES_MAX_S)
		lifetime_s = EXPIRES_MAX_S;
	r = replace(&account->access_token, access);
	if (r == 0 && refresh && refresh[0])
		r = replace(&account->refresh_token, refresh);
	if (r == 0)
		account->expires_s = clock_real_s() + lifetime_s;
	return r;
}

void oauth_parse_error(const char *body, size_t len, struct oauth_error *ret)
{
	auto_call(put_object) struct json_object *obj = NULL;
	const char *s;

	*ret = (struct oauth_error){ "" };
	if (jget_parse(body, len, &obj) < 0)
		return;
	if (jget_str(obj, "error", 1024, &s) == 0)
		snprintf(ret->code, sizeof(ret->code), "%s", s);
	if (jget_str(obj, "error_description", 16384, &s) == 0)
		snprintf(ret->text, sizeof(ret->text), "%.*s", (int)strcspn(s, "\r\n"), s);
}

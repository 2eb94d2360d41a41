/*
 * The token endpoint of the Microsoft identity platform: form bodies and replies. Loop thread.
 */
#pragma once

#include "account.h"
#include "buf.h"
#include "http.h"

/* Appends "&key=value" with the value percent-encoded ("" key: nothing in front). */
must_check int oauth_add(struct buf *form, const char *key, const char *value);

/* POSTs a form to {login_url}/{tenant}/oauth2/v2.0/{leaf}; on_done gets the collected body. */
must_check int oauth_post(struct http *http, const struct account *account, const char *leaf,
			  const struct buf *form,
			  void (*on_done)(void *arg, int error, const struct http_head *head,
					  const char *body, size_t body_len),
			  void *arg, struct http_request **ret);

/* A token reply into the account (access token, expiry, a new refresh token if there is one).
 * -EBADMSG. */
must_check int oauth_take_tokens(const char *body, size_t len, struct account *account);

struct oauth_error {
	char code[64];
	char text[300]; /* error_description up to its first line; holds no secret */
};
/* Never fails; code "" when the body is no error document. */
void oauth_parse_error(const char *body, size_t len, struct oauth_error *ret);

/*
 * Access tokens: one refresh at a time for all who wait, and the OAuth 2.0 device code flow.
 * Loop thread only.
 *
 * A token is renewed five minutes before its end, and once when the service refuses it. A new
 * refresh token is on disk before it is used. Nothing that the network does makes graphfs forget
 * a token; only the login service's "invalid_grant" means that the user has to sign in again.
 *
 * Sources: RFC 8628, RFC 6749, Microsoft identity platform (device code, refresh tokens).
 */
#pragma once

#include "account.h"
#include "http.h"
#include "list.h"
#include "loop.h"

#include <stdbool.h>

struct auth;

/* Keeps the account (moved in: *account is emptied) and saves it under name in dir_fd, which is
 * duplicated. */
must_check int auth_new(struct loop *loop, struct http *http, int dir_fd, const char *name,
			struct account *account, struct auth **ret);
/*
 * Access tokens of somebody else: ask is called on the loop when one is wanted (was_rejected: the
 * service refused the last one), and answered with auth_answer(), never from inside ask. Within a
 * minute, or the calls that wait for it fail with -ETIMEDOUT, and the next one asks again.
 */
must_check int auth_new_asking(struct loop *loop, void (*ask)(void *arg, bool was_rejected),
			       void *arg, struct auth **ret);
/* error 0: token (a secret, copied) is good for lifetime_s seconds; else for all who wait. Nothing
 * happens when nobody asked. */
void auth_answer(struct auth *auth, int error, const char *token, int64_t lifetime_s);
void auth_free(struct auth *auth);

/* Storage is the caller's until fn ran or auth_unwant(). */
struct auth_waiter {
	struct list node; /* private */
	/* error 0: token is valid during the call | -EACCES: sign in again | -ENETDOWN,
	 * -ETIMEDOUT: the login service cannot be reached | -EIO: it refuses the application */
	void (*fn)(struct auth_waiter *w, int error, const char *token);
};

/* Never calls back from inside. */
void auth_want(struct auth *auth, struct auth_waiter *w);
void auth_unwant(struct auth_waiter *w);
/* The service answered 401 to this token: the next auth_want() renews it, if it is still the
 * current one. */
void auth_reject(struct auth *auth, const char *token);
/* The last renewal said that the user has to sign in again. */
bool auth_needs_login(const struct auth *auth);

/* --- signing in --- */

struct auth_login;

struct auth_login_events {
	void *arg;
	/* Show these to the user; borrowed. */
	void (*on_code)(void *arg, const char *verification_url, const char *user_code);
	/* The end: 0, the account has its tokens (borrowed: save it) | -EACCES declined |
	 * -ETIMEDOUT the code expired | -EINVAL configuration (text says what) | network errors */
	void (*on_done)(void *arg, int error, const char *text, const struct account *account);
};

/* account needs client_id, tenant, login_url, scope; it is copied. */
must_check int auth_login_start(struct loop *loop, struct http *http, const struct account *account,
				const struct auth_login_events *events, struct auth_login **ret);
/* Also cancels. NULL-safe. */
void auth_login_free(struct auth_login *login);

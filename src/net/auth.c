#define LOG_MODULE "auth"
#include "auth.h"

#include "clock.h"
#include "log.h"
#include "oauth.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum {
	RENEW_BEFORE_S = 300,
	FORM_MAX = 256 * 1024,
	/* After a refusal the login service is not asked again for this long. */
	REFUSED_PAUSE_MS = 60000,
	FAILED_PAUSE_MS = 2000,
	ASKED_MS = 60000, /* for somebody else's token */
};

struct auth {
	struct loop *loop;
	struct http *http;
	struct account account;
	int dir_fd;
	char *name;
	struct list waiters;
	struct http_request *renewal;
	struct loop_call answer; /* answers the waiters in the next turn */
	bool answer_posted;
	int last_error;       /* of the last renewal */
	uint64_t retry_at_ms; /* no renewal before this, while last_error is set */
	bool rejected;        /* the service refused the current token */
	int64_t margin_s;     /* renewed so long before its end */

	/* Tokens of somebody else (auth_new_asking()); NULL: renewed here. */
	void (*ask)(void *arg, bool was_rejected);
	void *ask_arg;
	bool is_asking;
	struct loop_timer ask_timer;
};

static int renew(struct auth *auth);

int auth_new(struct loop *loop, struct http *http, int dir_fd, const char *name,
	     struct account *account, struct auth **ret)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return -ENOMEM;
	auth->loop = loop;
	auth->http = http;
	list_init(&auth->waiters);
	auth->margin_s = RENEW_BEFORE_S;
	auth->name = strdup(name);
	auth->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (!auth->name || auth->dir_fd < 0) {
		auth_free(auth);
		return -ENOMEM;
	}
	auth->account = *account;
	*account = (struct account){ 0 };
	*ret = auth;
	return 0;
}

/* What comes after that is nobody's answer; who still wants a token asks again. */
static void on_unanswered(void *arg)
{
	auth_answer(arg, -ETIMEDOUT, NULL, 0);
}

int auth_new_asking(struct loop *loop, void (*ask)(void *arg, bool was_rejected), void *arg,
		    struct auth **ret)
{
	struct auth *auth = calloc(1, sizeof(*auth));
	int r;

	if (!auth)
		return -ENOMEM;
	auth->loop = loop;
	list_init(&auth->waiters);
	auth->dir_fd = -1;
	auth->ask = ask;
	auth->ask_arg = arg;
	r = loop_timer_init(&auth->ask_timer, loop, on_unanswered, auth);
	if (r < 0) {
		auth_free(auth);
		return r;
	}
	*ret = auth;
	return 0;
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	if (auth->renewal)
		http_cancel(auth->renewal);
	loop_timer_fini(&auth->ask_timer);
	/* A posted answer still points here. */
	while (auth->answer_posted)
		loop_run_once(auth->loop);
	account_fini(&auth->account);
	if (auth->dir_fd >= 0)
		close(auth->dir_fd);
	free(auth->name);
	free(auth);
}

static bool is_renewing(const struct auth *auth)
{
	return auth->renewal || auth->is_asking;
}

static bool is_fresh(const struct auth *auth)
{
	return auth->account.access_token && !auth->rejected &&
	       clock_real_s() < auth->account.expires_s - auth->margin_s;
}

/* Near its end a token is still good while the login service cannot be asked. */
static bool is_usable(const struct auth *auth)
{
	return auth->account.access_token && !auth->rejected &&
	       clock_real_s() < auth->account.expires_s;
}

static void answer_waiters(struct auth *auth, int error)
{
	struct list now;

	list_init(&now);
	list_splice_tail(&now, &auth->waiters);
	while (!list_empty(&now)) {
		struct auth_waiter *w = container_of(now.next, struct auth_waiter, node);

		list_del(&w->node);
		w->fn(w, error, error == 0 ? auth->account.access_token : NULL);
	}
}

static void on_answer(void *arg)
{
	struct auth *auth = arg;
	int r = 0;

	auth->answer_posted = false;
	if (list_empty(&auth->waiters) || is_renewing(auth))
		return;
	if (!is_fresh(auth)) {
		if (auth->last_error == 0 || loop_now_ms(auth->loop) >= auth->retry_at_ms)
			r = renew(auth);
		else
			r = auth->last_error;
		if (r == 0)
			return; /* the renewal answers them */
	}
	answer_waiters(auth, is_usable(auth) ? 0 : r);
}

static void post_answer(struct auth *auth)
{
	if (auth->answer_posted)
		return;
	auth->answer_posted = true;
	loop_post(auth->loop, &auth->answer, on_answer, auth);
}

void auth_want(struct auth *auth, struct auth_waiter *w)
{
	list_add_tail(&auth->waiters, &w->node);
	if (!is_renewing(auth))
		post_answer(auth);
}

void auth_unwant(struct auth_waiter *w)
{
	list_del(&w->node);
}

void auth_reject(struct auth *auth, const char *token)
{
	if (auth->account.access_token && strcmp(token, auth->account.access_token) == 0)
		auth->rejected = true;
}

bool auth_needs_login(const struct auth *auth)
{
	return auth->last_error == -EACCES;
}

static int error_of(long status, const struct oauth_error *error)
{
	static const char *const sign_in[] = { "invalid_grant", "interaction_required",
					       "consent_required", "login_required" };

	for (size_t i = 0; i < array_n(sign_in); i++)
		if (strcmp(error->code, sign_in[i]) == 0)
			return -EACCES;
	if (status == 429 || status >= 500 || strcmp(error->code, "temporarily_unavailable") == 0 ||
	    strcmp(error->code, "server_error") == 0)
		return -ETIMEDOUT;
	return -EIO;
}

/* A token that lives for minutes only would else be renewed for every request. */
static void set_margin(struct auth *auth)
{
	int64_t half_s = (auth->account.expires_s - clock_real_s()) / 2;

	auth->margin_s = half_s < RENEW_BEFORE_S ? half_s : RENEW_BEFORE_S;
}

static int take_renewal(struct auth *auth, const struct http_head *head, const char *body,
			size_t len)
{
	struct oauth_error error;
	int r;

	if (head->status == 200) {
		r = oauth_take_tokens(body, len, &auth->account);
		if (r < 0) {
			log_error("the login service's token reply is malformed");
			return -EIO;
		}
		auth->rejected = false;
		set_margin(auth);
		r = account_save(auth->dir_fd, auth->name, &auth->account);
		if (r < 0)
			log_error("account %s cannot be saved: %s", auth->name, strerror(-r));
		return 0;
	}
	oauth_parse_error(body, len, &error);
	r = error_of(head->status, &error);
	log_error("the login service refused to renew the sign-in: %ld %s %s", head->status,
		  error.code, error.text);
	return r;
}

static void on_renewed(void *arg, int error, const struct http_head *head, const char *body,
		       size_t len)
{
	struct auth *auth = arg;

	auth->renewal = NULL;
	if (error == 0)
		error = take_renewal(auth, head, body, len);
	auth->last_error = error;
	auth->retry_at_ms =
		loop_now_ms(auth->loop) +
		(error == -EACCES || error == -EIO ? REFUSED_PAUSE_MS : FAILED_PAUSE_MS);
	answer_waiters(auth, error != 0 && is_usable(auth) ? 0 : error);
}

void auth_answer(struct auth *auth, int error, const char *token, int64_t lifetime_s)
{
	if (!auth->is_asking)
		return;
	auth->is_asking = false;
	loop_timer_disarm(&auth->ask_timer);
	if (error == 0) {
		account_fini(&auth->account);
		auth->account.access_token = strdup(token);
		auth->account.expires_s = clock_real_s() + lifetime_s;
		auth->rejected = false;
		set_margin(auth);
		error = auth->account.access_token ? 0 : -ENOMEM;
	}
	auth->last_error = error;
	auth->retry_at_ms = loop_now_ms(auth->loop) + FAILED_PAUSE_MS;
	answer_waiters(auth, error);
}

static int renew(struct auth *auth)
{
	auto_call(buf_fini) struct buf form = { .max_bytes = FORM_MAX };
	int r;

	if (auth->ask) {
		auth->is_asking = true;
		loop_timer_arm(&auth->ask_timer, ASKED_MS);
		auth->ask(auth->ask_arg, auth->rejected);
		return 0;
	}
	if (!auth->account.refresh_token)
		return auth->last_error = -EACCES;
	if ((r = oauth_add(&form, "grant_type", "refresh_token")) < 0 ||
	    (r = oauth_add(&form, "client_id", auth->account.client_id)) < 0 ||
	    (r = oauth_add(&form, "refresh_token", auth->account.refresh_token)) < 0 ||
	    (r = oauth_add(&form, "scope", auth->account.scope)) < 0)
		return r;
	r = oauth_post(auth->http, &auth->account, "token", &form, on_renewed, auth,
		       &auth->renewal);
	explicit_bzero(form.data, form.len);
	return r;
}

#include "service.h"

#include "clock.h"
#include "oauth.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { WAITERS_N = 32 };

static void no_graph(struct script_conn *conn, const struct script_request *req, void *arg)
{
	script_reply(conn, 404, "", "");
}

struct want {
	struct auth_waiter waiter;
	int error;
	char token[64];
};

static unsigned answered_n;

static void on_token(struct auth_waiter *w, int error, const char *token)
{
	struct want *want = container_of(w, struct want, waiter);

	want->error = error;
	snprintf(want->token, sizeof(want->token), "%s", token ? token : "");
	answered_n++;
}

static void want_token(struct service *sv, struct want *want)
{
	*want = (struct want){ .waiter.fn = on_token };
	auth_want(sv->auth, &want->waiter);
}

/* Asks once and waits for the answer. */
static int ask(struct service *sv, const char *token)
{
	struct want want;

	answered_n = 0;
	want_token(sv, &want);
	assert_int_equal(answered_n, 0); /* never from inside */
	service_run_until(sv, &answered_n, 1);
	assert_string_equal(want.token, token);
	return want.error;
}

static void expect_saved(struct service *sv, const char *access, const char *refresh)
{
	struct account saved = { 0 };

	assert_int_equal(account_load(sv->dir_fd, "default", &saved), 0);
	assert_string_equal(saved.access_token, access);
	assert_string_equal(saved.refresh_token, refresh);
	account_fini(&saved);
}

static void test_a_fresh_token_needs_no_network(void **state)
{
	struct service sv;

	service_init(&sv, no_graph, NULL, 3600);
	assert_int_equal(ask(&sv, "access-0"), 0);
	assert_int_equal(script_connections_n(sv.script), 0);
	service_fini(&sv);
}

static void test_renewal_before_the_end(void **state)
{
	struct service sv;
	char form[4096];

	service_init(&sv, no_graph, NULL, 200); /* still valid, but for less than five minutes */
	assert_int_equal(ask(&sv, "access-1"), 0);
	expect_saved(&sv, "access-1", "refresh-1");
	script_copy(form, sizeof(form), sv.token_form);
	assert_string_equal(form,
			    "grant_type=refresh_token&client_id=client&refresh_token=refresh-0&"
			    "scope=Files.Read.All%20offline_access");
	assert_int_equal(ask(&sv, "access-1"), 0);
	assert_int_equal(sv.token_asked_n, 1);
	service_fini(&sv);
}

/* What lives for a minute is not renewed at each request. */
static void test_short_lived_tokens(void **state)
{
	struct service sv;

	service_init(&sv, no_graph, NULL, -1);
	sv.token_expires_s = 60;
	for (int i = 0; i < 10; i++)
		assert_int_equal(ask(&sv, "access-1"), 0);
	assert_int_equal(sv.token_asked_n, 1);
	service_fini(&sv);
}

static void test_one_renewal_for_all(void **state)
{
	static struct want wants[WAITERS_N];
	struct service sv;

	service_init(&sv, no_graph, NULL, -1);
	answered_n = 0;
	for (int i = 0; i < WAITERS_N / 2; i++)
		want_token(&sv, &wants[i]);
	while (sv.token_asked_n == 0)
		bench_turn(&sv.bench);
	for (int i = WAITERS_N / 2; i < WAITERS_N; i++)
		want_token(&sv, &wants[i]);
	service_run_until(&sv, &answered_n, WAITERS_N);
	for (int i = 0; i < WAITERS_N; i++) {
		assert_int_equal(wants[i].error, 0);
		assert_string_equal(wants[i].token, "access-1");
	}
	assert_int_equal(sv.token_asked_n, 1);
	service_fini(&sv);
}

static void test_unwanted_answers_do_not_come(void **state)
{
	struct want leaves, stays;
	struct service sv;

	service_init(&sv, no_graph, NULL, -1);
	answered_n = 0;
	want_token(&sv, &leaves);
	want_token(&sv, &stays);
	auth_unwant(&leaves.waiter);
	auth_unwant(&leaves.waiter);
	service_run_until(&sv, &answered_n, 1);
	assert_string_equal(stays.token, "access-1");
	assert_string_equal(leaves.token, "");
	service_fini(&sv);
}

static void test_rejected_tokens_are_renewed_once(void **state)
{
	struct service sv;

	service_init(&sv, no_graph, NULL, 3600);
	auth_reject(sv.auth, "access-0");
	assert_int_equal(ask(&sv, "access-1"), 0);
	/* A late 401 to the old token says nothing about the new one. */
	auth_reject(sv.auth, "access-0");
	assert_int_equal(ask(&sv, "access-1"), 0);
	assert_int_equal(sv.token_asked_n, 1);
	service_fini(&sv);
}

static void test_refusals(void **state)
{
	static const struct {
		int status;
		const char *body;
		int want;
		bool needs_login;
	} rows[] = {
		{ 400, "{\"error\":\"invalid_grant\",\"error_description\":\"AADSTS70000: x\"}",
		  -EACCES, true },
		{ 400, "{\"error\":\"interaction_required\"}", -EACCES, true },
		{ 400, "{\"error\":\"consent_required\"}", -EACCES, true },
		{ 400, "{\"error\":\"login_required\"}", -EACCES, true },
		{ 401, "{\"error\":\"invalid_client\"}", -EIO, false },
		{ 400, "{\"error\":\"invalid_scope\"}", -EIO, false },
		{ 400, "{\"error\":\"temporarily_unavailable\"}", -ETIMEDOUT, false },
		{ 429, "", -ETIMEDOUT, false },
		{ 500, "{\"error\":\"server_error\"}", -ETIMEDOUT, false },
		{ 503, "<html>", -ETIMEDOUT, false },
		{ 400, "{\"error\":7}", -EIO, false },
		{ 302, "", -EIO, false },
		{ 200, "<html>Sign in to the hotel network</html>", -EIO, false },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct service sv;

		service_init(&sv, no_graph, NULL, -1);
		sv.token_status = rows[i].status;
		sv.token_body = rows[i].body;
		if (ask(&sv, "") != rows[i].want ||
		    auth_needs_login(sv.auth) != rows[i].needs_login)
			fail_msg("%d %s", rows[i].status, rows[i].body);
		/* Whatever is answered, what was signed in stays. */
		expect_saved(&sv, "access-0", "refresh-0");
		/* And the service is not asked again at once. */
		assert_int_equal(ask(&sv, ""), rows[i].want);
		assert_int_equal(sv.token_asked_n, 1);
		service_fini(&sv);
	}
}

static void test_a_valid_token_outlives_a_dead_network(void **state)
{
	struct service sv;

	service_init(&sv, no_graph, NULL, 200);
	sv.token_drop = true;
	assert_int_equal(ask(&sv, "access-0"), 0);
	assert_false(auth_needs_login(sv.auth));
	expect_saved(&sv, "access-0", "refresh-0");
	service_fini(&sv);
	service_init(&sv, no_graph, NULL, -1);
	sv.token_drop = true;
	assert_int_equal(ask(&sv, ""), -ENETDOWN);
	expect_saved(&sv, "access-0", "refresh-0");
	service_fini(&sv);
}

static void test_an_old_refresh_token_is_kept(void **state)
{
	struct service sv;

	service_init(&sv, no_graph, NULL, -1);
	sv.token_body = "{\"access_token\":\"only\",\"expires_in\":3600}";
	assert_int_equal(ask(&sv, "only"), 0);
	expect_saved(&sv, "only", "refresh-0");
	service_fini(&sv);
}

static void test_freed_while_renewing(void **state)
{
	struct want want;
	struct service sv;

	service_init(&sv, no_graph, NULL, -1);
	sv.token_hold = true;
	answered_n = 0;
	want_token(&sv, &want);
	while (sv.token_asked_n == 0)
		bench_turn(&sv.bench);
	auth_unwant(&want.waiter);
	service_fini(&sv);
	assert_int_equal(answered_n, 0);
}

static void test_token_replies(void **state)
{
	static const struct {
		const char *body;
		int want;
		int lifetime_s;
	} rows[] = {
		{ "{\"access_token\":\"a\",\"expires_in\":3599}", 0, 3599 },
		{ "{\"access_token\":\"a\"}", 0, 3600 },
		{ "{\"access_token\":\"a\",\"expires_in\":null}", 0, 3600 },
		{ "{\"access_token\":\"a\",\"expires_in\":0}", 0, 1 },
		{ "{\"access_token\":\"a\",\"expires_in\":-1}", 0, 1 },
		{ "{\"access_token\":\"a\",\"expires_in\":999999999999}", 0, 604800 },
		{ "", -EBADMSG, 0 },
		{ "null", -EBADMSG, 0 },
		{ "[]", -EBADMSG, 0 },
		{ "{}", -EBADMSG, 0 },
		{ "\"access\"", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\"", -EBADMSG, 0 },
		{ "{\"access_token\":null}", -EBADMSG, 0 },
		{ "{\"access_token\":\"\"}", -EBADMSG, 0 },
		{ "{\"access_token\":7}", -EBADMSG, 0 },
		{ "{\"access_token\":[\"a\"]}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\\u0000b\"}", -EBADMSG, 0 },
		{ "{\"access_token\":\"\xff\"}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"expires_in\":\"3599\"}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"expires_in\":1e9}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"expires_in\":99999999999999999999}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"refresh_token\":7}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"refresh_token\":{}}", -EBADMSG, 0 },
		{ "{\"access_token\":\"a\",\"refresh_token\":\"r\\u0000\"}", -EBADMSG, 0 },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		struct account account = { .refresh_token = strdup("old") };
		int64_t now_s = clock_real_s();
		int r = oauth_take_tokens(rows[i].body, strlen(rows[i].body), &account);

		if (r != rows[i].want)
			fail_msg("%s gave %d", rows[i].body, r);
		assert_string_equal(account.refresh_token, "old");
		if (r == 0)
			assert_in_range(account.expires_s - now_s, rows[i].lifetime_s,
					rows[i].lifetime_s + 5);
		else
			assert_null(account.access_token);
		account_fini(&account);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_fresh_token_needs_no_network),
		cmocka_unit_test(test_renewal_before_the_end),
		cmocka_unit_test(test_short_lived_tokens),
		cmocka_unit_test(test_one_renewal_for_all),
		cmocka_unit_test(test_unwanted_answers_do_not_come),
		cmocka_unit_test(test_rejected_tokens_are_renewed_once),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_a_valid_token_outlives_a_dead_network),
		cmocka_unit_test(test_an_old_refresh_token_is_kept),
		cmocka_unit_test(test_freed_while_renewing),
		cmocka_unit_test(test_token_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "service.h"

#include "clock.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void answer_token(struct service *sv, struct script_conn *conn,
			 const struct script_request *req)
{
	unsigned number = ++sv->token_asked_n;
	const char *body = sv->token_body;
	char tokens[256];

	script_copy(sv->token_form, sizeof(sv->token_form), req->body);
	if (sv->token_hold)
		script_hold(conn);
	if (sv->token_drop) {
		script_reset(conn);
		return;
	}
	snprintf(tokens, sizeof(tokens),
		 "{\"token_type\":\"Bearer\",\"access_token\":\"access-%u\",\"expires_in\":%d,"
		 "\"refresh_token\":\"refresh-%u\"}",
		 number, sv->token_expires_s, number);
	script_reply(conn, sv->token_status, "Content-Type: application/json\r\n",
		     body ? body : tokens);
}

static void answer(struct script_conn *conn, const struct script_request *req, void *arg)
{
	struct service *sv = arg;

	if (strstr(req->target, "/oauth2/v2.0/token"))
		answer_token(sv, conn, req);
	else
		sv->on_graph(conn, req, sv->arg);
}

void service_init(struct service *sv, script_fn on_graph, void *arg, int expires_in_s)
{
	struct account account = { 0 };

	*sv = (struct service){ .on_graph = on_graph, .arg = arg, .token_status = 200 };
	sv->token_expires_s = 3600;
	sv->script = script_start(answer, sv);
	snprintf(sv->url, sizeof(sv->url), "%s", script_url(sv->script, ""));
	bench_init(&sv->bench, NULL);
	strcpy(sv->dir, "/tmp/test_service.XXXXXX");
	assert_non_null(mkdtemp(sv->dir));
	sv->dir_fd = open(sv->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(sv->dir_fd >= 0);
	account.client_id = strdup("client");
	account.tenant = strdup("common");
	account.login_url = strdup(sv->url);
	account.graph_url = strdup(sv->url);
	account.scope = strdup("Files.Read.All offline_access");
	account.access_token = strdup("access-0");
	account.refresh_token = strdup("refresh-0");
	account.expires_s = clock_real_s() + expires_in_s;
	assert_int_equal(account_save(sv->dir_fd, "default", &account), 0);
	assert_int_equal(auth_new(sv->bench.loop, sv->bench.http, sv->dir_fd, "default", &account,
				  &sv->auth),
			 0);
}

void service_fini(struct service *sv)
{
	auth_free(sv->auth);
	bench_fini(&sv->bench);
	script_stop(sv->script);
	(void)unlinkat(sv->dir_fd, "default.json", 0);
	close(sv->dir_fd);
	assert_int_equal(rmdir(sv->dir), 0);
}

void service_run_until(struct service *sv, const unsigned *n, unsigned want)
{
	uint64_t end_ms = clock_mono_ms() + 10000;

	while (*n < want) {
		bench_turn(&sv->bench);
		assert_true(clock_mono_ms() < end_ms);
	}
}

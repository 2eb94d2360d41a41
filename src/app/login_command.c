#define LOG_MODULE "login"
#include "commands.h"

#include "auth.h"
#include "config-build.h"
#include "config.h"
#include "graph.h"
#include "http.h"
#include "log.h"
#include "paths.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What the options allow, options.c has judged. */
static const char default_graph[] = "https://graph.microsoft.com/v1.0";
static const char default_login[] = "https://login.microsoftonline.com";
/* Enough to mount any drive the user can read; nothing can be changed with it. */
static const char scope[] = "Files.Read.All User.Read offline_access";

struct login {
	struct loop *loop;
	int dir;
	const char *name;
	int error;
};

static void on_code(void *arg, const char *url, const char *code)
{
	printf("To sign in, open %s and enter the code %s\n", log_text(url), log_text(code));
	printf("Do this only if you started the sign-in yourself. Waiting ...\n");
	(void)fflush(stdout);
}

static void on_done(void *arg, int error, const char *text, const struct account *account)
{
	struct login *login = arg;

	login->error = error;
	if (error == 0)
		login->error = account_save(login->dir, login->name, account);
	if (login->error == -EACCES)
		fprintf(stderr, "graphfs: the sign-in was declined\n");
	else if (login->error == -ETIMEDOUT)
		fprintf(stderr, "graphfs: the code expired; start again\n");
	else if (login->error < 0)
		fprintf(stderr, "graphfs: cannot sign in: %s\n",
			text && text[0] ? log_text(text) : strerror(-login->error));
	else
		printf("Signed in as account \"%s\".\n", login->name);
	loop_stop(login->loop);
}

static char *without_slash(const char *url)
{
	char *copy = strdup(url);
	size_t len = copy ? strlen(copy) : 0;

	while (len > 0 && copy[len - 1] == '/')
		copy[--len] = '\0';
	return copy;
}

static int fill_account(const struct commands_options *o, const struct config *config,
			struct account *a)
{
	const char *client = o->client_id ? o->client_id : config->client_id;
	const char *tenant = o->tenant ? o->tenant : config->tenant;

	if (!client) {
		fprintf(stderr, "graphfs: which application? Give --client-id ID, or client_id in "
				"section [account] of the configuration; README.md says how to "
				"register one.\n");
		return -EINVAL;
	}
	a->client_id = strdup(client);
	a->tenant = strdup(tenant ? tenant : "common");
	a->graph_url = without_slash(o->graph_url ? o->graph_url : default_graph);
	a->login_url = without_slash(o->login_url ? o->login_url : default_login);
	a->scope = strdup(scope);
	if (o->ca_file && paths_absolute(o->ca_file, &a->ca_file) < 0) {
		fprintf(stderr, "graphfs: %s: %s\n", o->ca_file, strerror(errno));
		return -EINVAL;
	}
	return 0;
}

static int run(struct login *login, const struct account *account)
{
	const struct auth_login_events events = {
		.arg = login,
		.on_code = on_code,
		.on_done = on_done,
	};
	struct auth_login *flow = NULL;
	struct http *http = NULL;
	int r = loop_new(&login->loop);

	if (r == 0)
		r = http_new(login->loop,
			     &(struct http_options){
				     .ca_file = account->ca_file,
				     .user_agent = "NONISV|graphfs|graphfs/" GRAPHFS_VERSION,
			     },
			     &http);
	if (r == 0)
		r = auth_login_start(login->loop, http, account, &events, &flow);
	if (r == 0)
		r = loop_run(login->loop);
	auth_login_free(flow);
	http_free(http);
	loop_free(login->loop);
	return r < 0 ? r : login->error;
}

int login_command(const struct commands_options *o)
{
	auto_close int config_dir = -1;
	auto_close int dir = -1;
	struct account account = { 0 };
	struct config config = { 0 };
	struct login login = { .name = o->account };
	int r;

	if (paths_open(PATHS_CONFIG, NULL, NULL, &config_dir) < 0 ||
	    config_load(config_dir, &config) < 0 ||
	    paths_open(PATHS_CONFIG, NULL, "accounts", &dir) < 0)
		return 1;
	login.dir = dir;
	r = fill_account(o, &config, &account);
	if (r == 0)
		r = run(&login, &account);
	account_fini(&account);
	config_fini(&config);
	return r == 0 ? 0 : 1;
}

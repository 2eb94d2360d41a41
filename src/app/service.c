#define LOG_MODULE "graphfs"
#include "service.h"

#include "config-build.h"
#include "log.h"
#include "paths.h"

#include <errno.h>
#include <string.h>

int service_open(const char *name, struct service *ret)
{
	auto_close int dir = -1;
	struct account account = { 0 };
	struct service s = { 0 };
	auto_free char *base = NULL;
	int r = paths_open(PATHS_CONFIG, NULL, "accounts", &dir);

	if (r == 0)
		r = account_load(dir, name, &account);
	if (r) {
		if (r == -ENOENT || r == -EINVAL)
			log_error("account \"%s\" is not signed in; run: graphfs login "
				  "--account %s",
				  name, name);
		return r;
	}
	base = strdup(account.graph_url);
	r = loop_new(&s.loop);
	if (r == 0)
		r = http_new(s.loop,
			     &(struct http_options){
				     .ca_file = account.ca_file,
				     .user_agent = "NONISV|graphfs|graphfs/" GRAPHFS_VERSION,
			     },
			     &s.http);
	if (r == 0)
		r = ws_new(s.loop, account.ca_file, &s.ws);
	if (r == 0)
		r = auth_new(s.loop, s.http, dir, name, &account, &s.auth);
	if (r == 0)
		r = base ? graph_new(s.loop, s.http, s.auth, base, &s.graph) : -ENOMEM;
	account_fini(&account);
	if (r < 0) {
		service_close(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void service_close(struct service *s)
{
	graph_free(s->graph);
	auth_free(s->auth);
	ws_free(s->ws);
	http_free(s->http);
	loop_free(s->loop);
	*s = (struct service){ 0 };
}

struct question {
	struct loop *loop;
	char *id;
	int error;
};

static void on_drive(void *arg, const struct graph_result *result, const struct item_drive *drive)
{
	struct question *q = arg;

	q->error = result->error;
	if (drive)
		q->id = strdup(drive->id);
	else if (result->error == -EACCES && result->status == 0)
		log_error("the sign-in is not accepted any more; run: graphfs login");
	else if (result->is_offline)
		log_error("the service cannot be reached, and this drive was never mounted here");
	else
		log_error("the drive cannot be found: %s", result->text);
	loop_stop(q->loop);
}

int service_find_drive(struct service *s, const char *drive, char **ret_id)
{
	struct question q = { .loop = s->loop };
	auto_free char *path = NULL;
	struct graph_call *call;
	int r = graph_drive_path(drive, &path);

	if (r < 0) {
		log_error("--drive %s: not one of me, drives/ID, groups/ID, sites/ID, "
			  "sites/SID/lists/LID, users/ID",
			  drive);
		return r;
	}
	r = graph_get_drive(s->graph, path, HTTP_PERSON, on_drive, &q, &call);
	if (r == 0)
		r = loop_run(s->loop);
	if (r == 0)
		r = q.error;
	if (r == 0 && !q.id)
		r = -ENOMEM;
	if (r == 0)
		*ret_id = q.id;
	return r;
}

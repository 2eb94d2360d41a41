#include "commands.h"

#include "drain.h"
#include "mountof.h"
#include "paths.h"

#include <stdio.h>
#include <string.h>

struct all {
	int dir, result;
};

static void sync_one(void *arg, const char *name, struct json_object *status)
{
	struct all *all = arg;
	int r = drain_wait(all->dir, name);

	if (r < 0)
		fprintf(stderr, "graphfs: a mount ended before all was sent: %s\n", strerror(-r));
	if (r != 0)
		all->result = 1;
}

int sync_command(const struct commands_options *o)
{
	auto_close int dir = -1;
	auto_free char *path = NULL;
	char name[MOUNTOF_NAME_MAX];
	struct json_object *status = NULL;
	struct all all = { 0 };
	int r = paths_open(PATHS_RUNTIME, NULL, NULL, &dir);

	if (r < 0)
		return 1;
	all.dir = dir;
	if (!o->operand) {
		if (mountof_ask_all(dir, "sync", sync_one, &all) > 0)
			return all.result;
		fprintf(stderr, "graphfs: nothing is mounted\n");
		return 1;
	}
	r = paths_absolute(o->operand, &path);
	if (r == 0)
		r = mountof_ask(dir, path, "sync", &status, name);
	if (r < 0) {
		mountof_complain(o->operand, path, r);
		return 1;
	}
	sync_one(&all, name, status);
	json_object_put(status);
	return all.result;
}

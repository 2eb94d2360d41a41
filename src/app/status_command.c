#include "commands.h"

#include "mountof.h"
#include "paths.h"
#include "statusline.h"

#include <stdio.h>
#include <time.h>

static void show(void *arg, const char *name, struct json_object *status)
{
	const struct commands_options *o = arg;

	if (o->json)
		printf("%s\n",
		       json_object_to_json_string_ext(
			       status, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		statusline_print(stdout, status, time(NULL));
}

int status_command(const struct commands_options *o)
{
	auto_close int dir = -1;
	auto_free char *path = NULL;
	struct json_object *status = NULL;
	char name[MOUNTOF_NAME_MAX];
	int r = paths_open(PATHS_RUNTIME, NULL, NULL, &dir);

	if (r < 0)
		return 1;
	if (!o->operand) {
		if (mountof_ask_all(dir, "status", show, (void *)o) > 0)
			return 0;
		fprintf(stderr, "graphfs: nothing is mounted\n");
		return 1;
	}
	r = paths_absolute(o->operand, &path);
	if (r == 0)
		r = mountof_ask(dir, path, "status", &status, name);
	if (r < 0) {
		mountof_complain(o->operand, path, r);
		return 1;
	}
	show((void *)o, name, status);
	json_object_put(status);
	return 0;
}

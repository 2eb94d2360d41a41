#include "commands.h"

#include "control.h"
#include "fs.h"
#include "paths.h"
#include "statusline.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static int show(int dir, const char *name, int json)
{
	struct json_object *status;
	int r = control_ask(dir, name, "status", &status);

	if (r < 0)
		return r;
	if (json)
		printf("%s\n",
		       json_object_to_json_string_ext(
			       status, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		statusline_print(stdout, status, time(NULL));
	json_object_put(status);
	return 0;
}

static int show_all(int dir, int json)
{
	int copy = dup(dir), shown = 0;
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len > 5 && strcmp(e->d_name + len - 5, ".sock") == 0 &&
		    show(dir, e->d_name, json) == 0)
			shown++;
	}
	if (d)
		closedir(d);
	if (shown == 0)
		fprintf(stderr, "graphfs: nothing is mounted\n");
	return shown > 0 ? 0 : 1;
}

/* The mount that holds an absolute path: the path itself, or the nearest folder above it. */
static int show_mount_of(int dir, char *path, int json)
{
	char hash[17], name[32];
	int r;

	do {
		paths_hash(path, hash);
		snprintf(name, sizeof(name), "%s.sock", hash);
		r = show(dir, name, json);
		if (r != -ENOENT || fs_is_mounted(path))
			return r;
		*strrchr(path, '/') = '\0';
	} while (path[0]);
	return r;
}

int status_command(const struct commands_options *o)
{
	auto_close int dir = -1;
	auto_free char *path = NULL;
	int r = paths_open(PATHS_RUNTIME, NULL, NULL, &dir);

	if (r < 0)
		return 1;
	if (!o->operand)
		return show_all(dir, o->json);
	r = paths_absolute(o->operand, &path);
	if (r == 0)
		r = show_mount_of(dir, path, o->json);
	if (r == -ENOENT && path && path[0] && fs_is_mounted(path))
		fprintf(stderr,
			"graphfs: %s: mounted, but its daemon does not answer (it is dead, "
			"somebody "
			"else's, or was started with another XDG_RUNTIME_DIR)\n",
			o->operand);
	else if (r < 0)
		fprintf(stderr, "graphfs: %s: %s\n", o->operand,
			r == -ENOENT ? "not mounted by graphfs" : strerror(-r));
	return r == 0 ? 0 : 1;
}

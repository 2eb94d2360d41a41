#include "mountof.h"

#include "control.h"
#include "fs.h"
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char suffix[] = ".sock";

int mountof_ask(int dir, char *path, const char *command, struct json_object **ret,
		char ret_name[MOUNTOF_NAME_MAX])
{
	char hash[17];
	int r;

	do {
		paths_hash(path, hash);
		snprintf(ret_name, MOUNTOF_NAME_MAX, "%s%s", hash, suffix);
		r = control_ask(dir, ret_name, command, ret);
		if (r != -ENOENT || fs_is_mounted(path))
			return r;
		*strrchr(path, '/') = '\0';
	} while (path[0]);
	return r;
}

unsigned mountof_ask_all(int dir, const char *command,
			 void (*fn)(void *arg, const char *name, struct json_object *status),
			 void *arg)
{
	int copy = dup(dir);
	DIR *d = copy >= 0 ? fdopendir(copy) : NULL;
	struct json_object *status;
	struct dirent *e;
	unsigned n = 0;

	while (d && (e = readdir(d))) {
		size_t len = strlen(e->d_name);

		if (len < sizeof(suffix) || strcmp(e->d_name + len - strlen(suffix), suffix) != 0 ||
		    control_ask(dir, e->d_name, command, &status) < 0)
			continue;
		n++;
		fn(arg, e->d_name, status);
		json_object_put(status);
	}
	if (d)
		closedir(d);
	return n;
}

void mountof_complain(const char *word, const char *path, int error)
{
	if (error == -ENOENT && path && path[0] && fs_is_mounted(path))
		fprintf(stderr,
			"graphfs: %s: mounted, but its daemon does not answer (it is dead, "
			"somebody else's, or was started with another XDG_RUNTIME_DIR)\n",
			word);
	else
		fprintf(stderr, "graphfs: %s: %s\n", word,
			error == -ENOENT ? "not mounted by graphfs" : strerror(-error));
}

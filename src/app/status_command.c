#include "commands.h"

#include "control.h"
#include "paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, key, &member) && member
		       ? json_object_get_string(member)
		       : "";
}

static const char *time_of(struct json_object *obj, const char *key)
{
	const char *text = text_of(obj, key);

	return text[0] ? text : "never";
}

static void print_text(struct json_object *status)
{
	struct json_object *channel = NULL, *cache = NULL, *bytes = NULL;

	json_object_object_get_ex(status, "channel", &channel);
	json_object_object_get_ex(status, "cache", &cache);
	json_object_object_get_ex(cache, "bytes", &bytes);
	printf("%s: %s", text_of(status, "mountpoint"), text_of(status, "state"));
	if (text_of(status, "reason")[0])
		printf(" (%s)", text_of(status, "reason"));
	printf("\n  channel            %s\n",
	       text_of(channel, "url_host")[0] ? text_of(channel, "url_host") : "none yet");
	printf("  connected since    %s\n", time_of(channel, "connected_since"));
	printf("  last notification  %s\n", time_of(channel, "last_notification"));
	printf("  last delta         %s\n", time_of(status, "last_delta"));
	printf("  known              %s items\n", text_of(status, "items"));
	printf("  cached             %.1f MiB\n", json_object_get_double(bytes) / (1 << 20));
	if (strcmp(text_of(status, "skipped"), "0") != 0)
		printf("  left as they were  %s items that the service describes wrongly, see the "
		       "log\n",
		       text_of(status, "skipped"));
}

static int show(int dir, const char *name, int json)
{
	struct json_object *status;
	int r = control_ask(dir, name, "status", &status);

	if (r < 0)
		return r;
	if (json)
		printf("%s\n", json_object_to_json_string_ext(status, JSON_C_TO_STRING_PLAIN));
	else
		print_text(status);
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

int status_command(const struct commands_options *o)
{
	auto_close int dir = -1;
	auto_free char *path = NULL;
	char hash[17], name[32];
	int r = paths_open(PATHS_RUNTIME, NULL, NULL, &dir);

	if (r < 0)
		return 1;
	if (!o->operand)
		return show_all(dir, o->json);
	r = paths_absolute(o->operand, &path);
	if (r == 0) {
		paths_hash(path, hash);
		snprintf(name, sizeof(name), "%s.sock", hash);
		r = show(dir, name, o->json);
	}
	if (r < 0)
		fprintf(stderr, "graphfs: %s: %s\n", o->operand,
			r == -ENOENT ? "not mounted by graphfs" : strerror(-r));
	return r == 0 ? 0 : 1;
}

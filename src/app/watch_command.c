#define LOG_MODULE "watch"
#include "commands.h"

#include "log.h"
#include "mounted.h"
#include "names.h"
#include "paths.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct watch {
	struct mounted m;
	int json;
};

static void put_line(const struct watch *w, const char *event, const char *key, const char *value,
		     const char *id)
{
	struct json_object *line;

	if (!w->json) {
		printf("%s%s%s\n", event, value[0] ? " " : "", log_text(value));
		(void)fflush(stdout);
		return;
	}
	line = json_object_new_object();
	json_object_object_add(line, "event", json_object_new_string(event));
	if (value[0])
		json_object_object_add(line, key, json_object_new_string(value));
	if (id)
		json_object_object_add(line, "id", json_object_new_string(id));
	printf("%s\n", json_object_to_json_string_ext(
			       line, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	(void)fflush(stdout);
	json_object_put(line);
}

static void on_live(void *arg, enum live_event event, const char *reason)
{
	static const char *const words[] = {
		[LIVE_CONNECTING] = "connecting",     [LIVE_UP] = "connected",
		[LIVE_NOTIFICATION] = "notification", [LIVE_SUSPECT] = "late",
		[LIVE_DOWN] = "disconnected",         [LIVE_UNSUPPORTED] = "unsupported",
	};

	put_line(arg, words[event], "reason", reason, NULL);
}

static void on_page(void *arg, const struct item_page *page)
{
	for (size_t i = 0; i < page->n; i++) {
		const struct item *item = &page->items[i];
		char name[NAMES_MAX_BYTES + 1] = "";

		if (item->is_root)
			continue;
		if (item->name)
			names_show(item->name, item->name_len, name);
		put_line(arg, item->deleted ? "deleted" : "changed", "name",
			 name[0] ? name : item->id, item->id);
	}
}

static int open_temporary(char *path, int *ret)
{
	if (!mkdtemp(path))
		return -errno;
	*ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret < 0 ? -errno : 0;
}

static void remove_temporary(const char *path, int dir)
{
	static const char *const files[] = { "drive_id", "tree.db", "tree.db-wal", "tree.db-shm" };

	for (size_t i = 0; i < array_n(files); i++)
		(void)unlinkat(dir, files[i], 0);
	(void)rmdir(path);
}

int watch_command(const struct commands_options *o)
{
	struct watch w = { .json = o->json };
	char path[] = "/tmp/graphfs-watch.XXXXXX";
	auto_close int config_dir = -1;
	auto_close int dir = -1;
	int r;

	if (paths_open(PATHS_CONFIG, NULL, NULL, &config_dir) < 0 ||
	    config_load(config_dir, &w.m.config) < 0)
		return 1;
	w.m.watch_arg = &w;
	w.m.on_live = on_live;
	w.m.on_page = on_page;
	r = open_temporary(path, &dir);
	if (r == 0)
		r = mounted_open(&w.m, o->account, o->drive, dir, -1);
	if (r == 0)
		r = mounted_start(&w.m);
	/* The tree is only scratch: it must not stay behind however the program ends. */
	if (dir >= 0)
		remove_temporary(path, dir);
	if (r == 0)
		r = loop_run(w.m.service.loop);
	else if (log_errors_n() == 0)
		fprintf(stderr, "graphfs: cannot watch: %s\n", strerror(-r));
	mounted_close(&w.m);
	return r == 0 ? 0 : 1;
}

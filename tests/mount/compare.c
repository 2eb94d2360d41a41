/*
 * The mount's tree against the service's own list of it (GET /admin/tree): every path, type, size
 * and time, both ways.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <search.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct found {
	char **lines;
	size_t n, cap;
};

static void add(struct found *f, char *line)
{
	if (f->n == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 1024;
		f->lines = realloc(f->lines, f->cap * sizeof(*f->lines));
		assert_non_null(f->lines);
	}
	f->lines[f->n++] = line;
}

static void add_entry(struct found *f, const char *path, bool is_dir, uint64_t size,
		      int64_t mtime_s)
{
	char *line = NULL;

	/* A folder's time is moved by every change of its content, so only files have one here. */
	assert_true(is_dir ? asprintf(&line, "%s/", path) >= 0
			   : asprintf(&line, "%s %llu %lld", path, (unsigned long long)size,
				      (long long)mtime_s) >= 0);
	add(f, line);
}

static void walk(struct found *f, const char *dir, size_t skip)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	if (!d)
		return; /* gone meanwhile: the comparison will say so */
	while ((e = readdir(d))) {
		char path[8192];
		struct stat st;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (lstat(path, &st) < 0)
			continue;
		add_entry(f, path + skip, S_ISDIR(st.st_mode), (uint64_t)st.st_size,
			  (int64_t)st.st_mtim.tv_sec);
		if (S_ISDIR(st.st_mode))
			walk(f, path, skip);
	}
	closedir(d);
}

static int64_t get_int(struct json_object *obj, const char *key)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, key, &member) ? json_object_get_int64(member) : 0;
}

static void from_service(struct harness *h, struct found *f)
{
	struct json_object *tree = harness_admin(h, "GET", "/tree", NULL), *items;

	assert_true(json_object_object_get_ex(tree, "items", &items));
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i), *path, *type;

		assert_true(json_object_object_get_ex(item, "path", &path));
		assert_true(json_object_object_get_ex(item, "type", &type));
		add_entry(f, json_object_get_string(path),
			  strcmp(json_object_get_string(type), "folder") == 0,
			  (uint64_t)get_int(item, "size"), get_int(item, "mtime"));
	}
	json_object_put(tree);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void found_fini(struct found *f)
{
	for (size_t i = 0; i < f->n; i++)
		free(f->lines[i]);
	free(f->lines);
}

/* Prints up to ten lines that one side has and the other has not; gives how many there are. */
static size_t differences(const struct found *mount, const struct found *service, bool loud)
{
	size_t m = 0, s = 0, n = 0;

	while (m < mount->n || s < service->n) {
		int order = m == mount->n     ? 1
			    : s == service->n ? -1
					      : strcmp(mount->lines[m], service->lines[s]);

		if (order == 0) {
			m++, s++;
			continue;
		}
		if (loud && n < 10)
			printf("only %s: %s\n", order < 0 ? "in the mount" : "on the service",
			       order < 0 ? mount->lines[m] : service->lines[s]);
		n++;
		order < 0 ? m++ : s++;
	}
	return n;
}

bool harness_trees_equal(struct harness *h, bool loud)
{
	struct found mount = { 0 }, service = { 0 };
	size_t n;

	from_service(h, &service);
	walk(&mount, h->mnt, strlen(h->mnt) + 1);
	if (mount.n > 0)
		qsort(mount.lines, mount.n, sizeof(char *), by_text);
	if (service.n > 0)
		qsort(service.lines, service.n, sizeof(char *), by_text);
	n = differences(&mount, &service, loud);
	found_fini(&mount);
	found_fini(&service);
	return n == 0;
}

uint64_t harness_wait_equal(struct harness *h, unsigned timeout_ms)
{
	uint64_t start = harness_now_ms();

	while (!harness_trees_equal(h, false)) {
		if (harness_now_ms() - start > timeout_ms) {
			harness_trees_equal(h, true);
			fail_msg("the mount did not become equal to the service in %u ms",
				 timeout_ms);
		}
		harness_nap();
	}
	return harness_now_ms() - start;
}

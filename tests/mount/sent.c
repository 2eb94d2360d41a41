#include "sent.h"
#include "admin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cmocka.h>

enum { SENT_MS = 60000 };

void sent_start(struct harness *h, const char *quiet)
{
	char ini[64];

	harness_start(h, NULL);
	snprintf(ini, sizeof(ini), "[mount]\nwrite = on\nquiet = %s\n", quiet);
	harness_config(h, ini);
	harness_mount(h, NULL);
	harness_wait_state(h, "live");
}

void sent_kill_and_mount(struct harness *h)
{
	harness_kill(h);
	assert_int_equal(umount2(h->mnt, MNT_DETACH), 0);
	harness_mount(h, NULL);
}

void sent_mount_fresh(struct harness *h)
{
	harness_umount(h);
	assert_int_equal(harness_sh(h, "rm -rf --one-file-system $DIR/state/graphfs/drives "
				       "$DIR/cache/graphfs"),
			 0);
	harness_config(h, "");
	harness_mount(h, NULL);
	harness_wait_state(h, "live");
}

static int64_t number(struct json_object *obj, const char *key)
{
	struct json_object *member;

	return json_object_object_get_ex(obj, key, &member) ? json_object_get_int64(member) : 0;
}

void sent_wait(struct harness *h)
{
	uint64_t until = harness_now_ms() + SENT_MS;

	for (;;) {
		struct json_object *status = harness_status(h);
		bool is_sent = status && number(status, "unsent") == 0;

		assert_non_null(status);
		if (number(status, "refused") > 0 || harness_now_ms() > until) {
			harness_sh(h, "grep -v DEBUG $DIR/mount.log | tail -n 20");
			fail_msg("not sent: %s", json_object_to_json_string(status));
		}
		json_object_put(status);
		if (is_sent)
			return;
		harness_nap();
	}
}

/* One change after all others: delta tells them in their order. */
void sent_heard(struct harness *h)
{
	static unsigned n;
	char name[32];

	snprintf(name, sizeof(name), "heard-%u", ++n);
	harness_mkdir(h, name);
	harness_wait_until(access(harness_path(h, "%s", name), F_OK) == 0);
}

void sent_hold(struct harness *h)
{
	harness_fault(h, "{\"class\":\"write\",\"phase\":\"before\",\"action\":{\"status\":503}}");
}

void sent_let(struct harness *h)
{
	harness_no_faults(h);
}

bool sent_is(struct harness *h, const char *path, const void *data, size_t len)
{
	char file[128];
	FILE *f;

	snprintf(file, sizeof(file), "%s/want", h->dir);
	f = fopen(file, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	(void)fclose(f);
	return harness_sh(h,
			  "curl -sfG --noproxy '*' '%s/content' --data-urlencode 'path=%s' | "
			  "cmp - $DIR/want",
			  h->admin, path) == 0;
}

bool sent_is_text(struct harness *h, const char *path, const char *text)
{
	return sent_is(h, path, text, strlen(text));
}

static unsigned count_contents(struct harness *h, const char *id)
{
	struct json_object *history = harness_admin(h, "GET", "/history", NULL), *all;
	unsigned n = 0;

	assert_true(json_object_object_get_ex(history, "contents", &all));
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		char one[64];

		admin_copy(json_object_array_get_idx(all, i), "id", one, sizeof(one));
		n += strcmp(one, id) == 0;
	}
	json_object_put(history);
	return n;
}

static bool find(struct harness *h, const char *path, struct sent_item *ret)
{
	struct json_object *tree = harness_admin(h, "GET", "/tree?hash=0", NULL), *items;
	bool found = false;

	assert_true(json_object_object_get_ex(tree, "items", &items));
	for (size_t i = 0; i < json_object_array_length(items) && !found; i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		char one[4096];

		admin_copy(item, "path", one, sizeof(one));
		found = strcmp(one, path) == 0;
		if (!found)
			continue;
		admin_copy(item, "id", ret->id, sizeof(ret->id));
		ret->size = number(item, "size");
		ret->mtime_s = number(item, "mtime");
	}
	json_object_put(tree);
	return found;
}

bool sent_exists(struct harness *h, const char *path)
{
	struct sent_item item;

	return find(h, path, &item);
}

struct sent_item sent_get(struct harness *h, const char *path)
{
	struct sent_item item;

	if (!find(h, path, &item))
		fail_msg("the service has no %s", path);
	item.contents_n = count_contents(h, item.id);
	return item;
}

unsigned sent_count(struct harness *h, const char *dir, const char *begin)
{
	struct json_object *tree = harness_admin(h, "GET", "/tree?hash=0", NULL), *items;
	char prefix[4096];
	unsigned n = 0;

	snprintf(prefix, sizeof(prefix), "%s%s%s", dir, dir[0] ? "/" : "", begin);
	assert_true(json_object_object_get_ex(tree, "items", &items));
	for (size_t i = 0; i < json_object_array_length(items); i++) {
		char one[4096];

		admin_copy(json_object_array_get_idx(items, i), "path", one, sizeof(one));
		n += strncmp(one, prefix, strlen(prefix)) == 0 &&
		     !strchr(one + strlen(prefix), '/');
	}
	json_object_put(tree);
	return n;
}

/*
 * A writable mount against a simple model: random changes here, by somebody else, faults of the
 * service, kills and remounts. Then everything is to come to rest, and the service, the mount and
 * the model are to agree.
 *
 * While nobody else changes anything the model is a folder of the local disk that gets the same
 * changes. With others it is a list of contents: of each that close() or fsync() returned for, and
 * of each that somebody else made, until the one who has seen it here writes over it or removes it.
 *
 * GRAPHFS_MODEL_CASES says how many cases of each kind, GRAPHFS_SEED with which seed the first is
 * played: each prints its own. GRAPHFS_TEST=PATTERN plays the kinds whose names match, "*" all;
 * without it those that hold are played: test_local.
 */
#include "harness.h"
#include "model.h"
#include "quickxor.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CASES_N = 8, STEPS_N = 80, SETTLE_MS = 60000, CONTENTS_MAX = 4096 };

/* What happens beside the local changes. */
enum {
	WITH_KILLS = 1,
	WITH_OFFLINE = 2,
	WITH_FAULTS = 4,
	WITH_LAG = 8,
	WITH_OTHERS = 16,
};

struct content {
	char hash[QUICKXOR_TEXT + 1];
	char path[MODEL_PATH_MAX];
	bool is_required, is_theirs;
	bool is_old; /* somebody else wrote over it or deleted it: it is history */
};

static struct harness h;
static struct model_side mount_side, shadow_side;
static char shadow[100];
static uint64_t seed;
static unsigned with;
static bool is_offline;
static struct content contents[CONTENTS_MAX];
static size_t contents_n;
static unsigned theirs_n;

static uint64_t pick(uint64_t n)
{
	return model_random(&seed, n);
}

/* --- the list of contents --- */

static void hash_text(const uint8_t *bytes, size_t len, char ret[QUICKXOR_TEXT + 1])
{
	struct quickxor x;
	uint8_t hash[QUICKXOR_BYTES];

	quickxor_init(&x);
	quickxor_add(&x, 0, bytes, len);
	quickxor_finish(&x, len, hash);
	quickxor_format(hash, ret);
}

static struct content *find_content(const char *hash)
{
	for (size_t i = 0; i < contents_n; i++)
		if (strcmp(contents[i].hash, hash) == 0)
			return &contents[i];
	return NULL;
}

static void require(const char *hash, const char *path, bool is_theirs)
{
	struct content *c = find_content(hash);

	if (!c) {
		assert_true(contents_n < CONTENTS_MAX);
		c = &contents[contents_n++];
		snprintf(c->hash, sizeof(c->hash), "%s", hash);
	}
	c->is_required = true;
	c->is_theirs = is_theirs;
	c->is_old = false;
	snprintf(c->path, sizeof(c->path), "%s", path);
}

/* False: no such file, or it is empty, or it cannot be read now. */
static bool hash_here(const char *path, char ret[QUICKXOR_TEXT + 1])
{
	const uint8_t *bytes;
	ssize_t n = model_read(h.mnt, path, &bytes);

	if (n <= 0)
		return false;
	hash_text(bytes, (size_t)n, ret);
	return true;
}

/* Whoever has seen it here is about to do away with it. */
static void release(const char *path)
{
	char hash[QUICKXOR_TEXT + 1];
	struct content *c;

	if (!hash_here(path, hash))
		return;
	c = find_content(hash);
	if (c)
		c->is_required = false;
}

static void acknowledge(const char *path)
{
	char hash[QUICKXOR_TEXT + 1];

	if (hash_here(path, hash))
		require(hash, path, false);
}

/* --- the service --- */

static const char *text_of(struct json_object *obj, const char *key)
{
	struct json_object *member = NULL;

	json_object_object_get_ex(obj, key, &member);
	return member ? json_object_get_string(member) : "";
}

static int64_t number_of(struct json_object *obj, const char *key)
{
	struct json_object *member = NULL;

	json_object_object_get_ex(obj, key, &member);
	return json_object_get_int64(member);
}

static struct json_object *list_of(struct json_object *obj, const char *key)
{
	struct json_object *member = NULL;

	assert_true(json_object_object_get_ex(obj, key, &member));
	return member;
}

/* --- somebody else --- */

/* Of all at or below path. */
static void note_others_change(struct json_object *items, const char *path)
{
	size_t len = strlen(path);

	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		const char *at = text_of(item, "path");
		struct content *c = find_content(text_of(item, "hash"));

		if (strncmp(at, path, len) != 0 || (at[len] != '\0' && at[len] != '/') || !c)
			continue;
		if (c->is_theirs)
			c->is_required = false;
		else
			c->is_old = true;
	}
}

static void make_theirs(const char *call, const char *path)
{
	char text[100], hash[QUICKXOR_TEXT + 1];

	snprintf(text, sizeof(text), "somebody else's number %u of %llx", ++theirs_n,
		 (unsigned long long)seed);
	hash_text((const uint8_t *)text, strlen(text), hash);
	if (harness_try(&h, call, "{\"path\":\"%s\",\"text\":\"%s\"}", path, text))
		require(hash, path, true);
}

static void others_change(void)
{
	struct json_object *tree = harness_admin(&h, "GET", "/tree", NULL);
	struct json_object *items = list_of(tree, "items"), *item;
	struct model_op op;
	size_t n = json_object_array_length(items);
	uint64_t what = pick(10);
	const char *path;

	model_choose(&seed, false, &op);
	if (n == 0 || what < 2) {
		make_theirs("/create", op.path);
	} else {
		item = json_object_array_get_idx(items, pick(n));
		path = text_of(item, "path");
		if (what < 6 && strcmp(text_of(item, "type"), "file") == 0) {
			note_others_change(items, path);
			make_theirs("/write", path);
		} else if (what < 8) {
			harness_try(&h, "/move", "{\"path\":\"%s\",\"to\":\"%s\"}", path, op.to);
		} else if (what == 8) {
			note_others_change(items, path);
			harness_try(&h, "/delete", "{\"path\":\"%s\"}", path);
		} else {
			harness_try(&h, "/mkdir", "{\"path\":\"%s\"}", op.to);
		}
	}
	json_object_put(tree);
}

/* --- what goes wrong --- */

static void make_fault(void)
{
	static const char *const actions[] = {
		"\"phase\":\"before\",\"action\":{\"status\":409,\"code\":\"nameAlreadyExists\"}",
		"\"phase\":\"before\",\"action\":{\"status\":412,\"code\":\"resourceModified\"}",
		"\"phase\":\"before\",\"action\":{\"status\":423,\"code\":\"resourceLocked\"}",
		"\"phase\":\"before\",\"action\":{\"status\":429,\"retry_after\":\"1\"}",
		"\"phase\":\"before\",\"action\":{\"status\":503}",
		"\"phase\":\"before\",\"action\":{\"status\":507,\"code\":\"quotaLimitReached\"}",
		"\"phase\":\"after\",\"action\":\"reset\"",
		"\"phase\":\"after\",\"action\":\"drop\"",
		"\"phase\":\"after\",\"action\":{\"status\":503}",
		"\"action\":{\"reset_in\":1}",
	};

	harness_fault(&h, "{\"class\":\"write\",\"nth\":%d,%s}", 1 + (int)pick(4),
		      actions[pick(sizeof(actions) / sizeof(actions[0]))]);
}

static void mount_it(void)
{
	harness_mount(&h, NULL);
}

static void remount(bool kills)
{
	model_close(&mount_side);
	model_close(&shadow_side);
	if (kills) {
		harness_kill(&h);
		umount2(h.mnt, MNT_DETACH);
	} else {
		harness_umount(&h);
	}
	mount_it();
}

static void set_offline(bool offline)
{
	is_offline = offline;
	harness_do(&h, "/outage", NULL, "{\"mode\":\"%s\"}", offline ? "refuse" : "none");
}

static void disturb(void)
{
	switch (pick(40)) {
	case 0:
	case 1:
		if (with & WITH_KILLS && !is_offline)
			remount(pick(3) > 0);
		break;
	case 2:
		if (with & WITH_OFFLINE)
			set_offline(!is_offline);
		break;
	case 3:
	case 4:
	case 5:
		if (with & WITH_FAULTS)
			make_fault();
		break;
	case 6:
	case 7:
		usleep((useconds_t)pick(300000));
		break;
	default:
		if (with & WITH_OTHERS && pick(4) == 0)
			others_change();
		break;
	}
}

/* --- local changes --- */

static void same_file(const char *path)
{
	static uint8_t expected[4 * MODEL_FILE_MAX];
	const uint8_t *bytes;
	ssize_t want = model_read(shadow, path, &bytes), got;

	if (want > 0)
		memcpy(expected, bytes, (size_t)want);
	got = model_read(h.mnt, path, &bytes);
	if (got != want)
		fail_msg("%s: %zd bytes instead of %zd", path, got, want);
	for (ssize_t i = 0; i < got; i++)
		if (bytes[i] != expected[i])
			fail_msg("%s: byte %zd of %zd is %#x instead of %#x", path, i, got,
				 bytes[i], expected[i]);
}

static bool is_verbose(void)
{
	return getenv("GRAPHFS_VERBOSE") != NULL;
}

static void change_both(void)
{
	struct model_op op;
	int want, got;

	model_choose(&seed, true, &op);
	want = model_do(&shadow_side, &op);
	got = model_do(&mount_side, &op);
	if (is_verbose() || want != got)
		model_print(&op, got);
	if (want != got)
		fail_msg("that gave %s, and the model says %s", strerror(-got), strerror(-want));
	if (pick(4) == 0 || is_verbose())
		same_file(op.path);
}

static void change_here(void)
{
	struct model_op op;
	struct stat st;
	int r;

	model_choose(&seed, false, &op);
	if (op.kind == MODEL_RENAME && strcmp(op.path, op.to) != 0 &&
	    stat(harness_path(&h, "%s", op.path), &st) == 0)
		release(op.to);
	else if (op.kind != MODEL_RENAME)
		release(op.path);
	r = model_do(&mount_side, &op);
	if (is_verbose())
		model_print(&op, r);
	if (op.kind != MODEL_RENAME)
		acknowledge(op.path);
	/* It failed: what was there is there. */
	else if (r < 0)
		acknowledge(op.to);
}

/* --- the end --- */

static int64_t unsent(void)
{
	struct json_object *status = harness_status(&h);
	int64_t n = status ? number_of(status, "unsent") : -1;

	json_object_put(status);
	return n;
}

static void wait_sent(void)
{
	uint64_t until = harness_now_ms() + SETTLE_MS;

	while (unsent() != 0) {
		if (harness_now_ms() > until) {
			harness_sh(&h, "$GRAPHFS status --json $MNT; tail -50 $DIR/mount.log");
			fail_msg("not everything was sent in %d ms", SETTLE_MS);
		}
		usleep(50000);
	}
}

static void check_service_content(void)
{
	struct json_object *tree = harness_admin(&h, "GET", "/tree", NULL);
	struct json_object *items = list_of(tree, "items");

	for (size_t i = 0; i < json_object_array_length(items); i++) {
		struct json_object *item = json_object_array_get_idx(items, i);
		char hash[QUICKXOR_TEXT + 1];
		const uint8_t *bytes;
		ssize_t n;

		if (strcmp(text_of(item, "type"), "file") != 0)
			continue;
		n = model_read(h.mnt, text_of(item, "path"), &bytes);
		if (n < 0)
			fail_msg("%s cannot be read: %s", text_of(item, "path"), strerror((int)-n));
		hash_text(bytes, (size_t)n, hash);
		if (strcmp(hash, text_of(item, "hash")) != 0)
			fail_msg("%s: other bytes on the service than here", text_of(item, "path"));
	}
	json_object_put(tree);
}

/* The service still has it, where it is to be. */
static bool is_kept(struct json_object *history, const struct content *c)
{
	for (size_t i = 0; i < json_object_array_length(history); i++) {
		struct json_object *it = json_object_array_get_idx(history, i);

		if (strcmp(text_of(it, "hash"), c->hash) != 0)
			continue;
		if (c->is_old || (number_of(it, "current") && !number_of(it, "deleted")))
			return true;
		/* Ours, below what somebody else wrote. */
		for (size_t j = 0; !c->is_theirs && j < json_object_array_length(history); j++) {
			struct json_object *next = json_object_array_get_idx(history, j);
			struct content *n = find_content(text_of(next, "hash"));

			if (strcmp(text_of(next, "id"), text_of(it, "id")) == 0 &&
			    number_of(next, "version") == number_of(it, "version") + 1 && n &&
			    n->is_theirs)
				return true;
		}
	}
	return false;
}

static void check_contents(void)
{
	struct json_object *reply = harness_admin(&h, "GET", "/history", NULL);
	struct json_object *history = list_of(reply, "contents");
	size_t lost_n = 0;

	for (size_t i = 0; i < contents_n; i++) {
		const struct content *c = &contents[i];

		if (!c->is_required || is_kept(history, c))
			continue;
		printf("lost: %s content %s of %s\n", c->is_theirs ? "somebody else's" : "our",
		       c->hash, c->path);
		lost_n++;
	}
	if (lost_n > 0)
		printf("%s\n", json_object_to_json_string_ext(history, JSON_C_TO_STRING_PRETTY));
	json_object_put(reply);
	assert_int_equal(lost_n, 0);
}

static void check_drafts(void)
{
	if (harness_sh(&h, "find $DIR/state -path '*/drafts/*' -o -path '*/sent/*' | "
			   "grep -v -E '/(lock|damaged|epoch|[.]lock)$' | (! grep .)") != 0)
		fail_msg("drafts are left over");
}

static void check_model(void)
{
	if (!(with & WITH_OTHERS) && harness_sh(&h, "diff -r $DIR/shadow $MNT >&2") != 0)
		fail_msg("the mount differs from the model");
}

static void settle(void)
{
	model_close(&mount_side);
	model_close(&shadow_side);
	if (is_offline)
		set_offline(false);
	harness_no_faults(&h);
	/* What was refused is tried again at a start. */
	if (with & WITH_FAULTS || pick(2))
		remount(with & WITH_KILLS && pick(2));
	wait_sent();
	harness_wait_equal(&h, SETTLE_MS);
	wait_sent();
	check_model();
	check_service_content();
	if (with & WITH_OTHERS)
		check_contents();
	remount(false);
	wait_sent();
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	check_model();
	check_service_content();
	harness_umount(&h);
	check_drafts();
}

/* --- cases --- */

static void start(void)
{
	harness_start(&h, NULL);
	snprintf(shadow, sizeof(shadow), "%s/shadow", h.dir);
	assert_int_equal(mkdir(shadow, 0755), 0);
	harness_config(&h, pick(2) ? "[mount]\nwrite = on\nquiet = 0s\n"
				   : "[mount]\nwrite = on\nquiet = 300ms\n");
	mount_side = (struct model_side){ h.mnt, { -1, -1, -1 } };
	shadow_side = (struct model_side){ shadow, { -1, -1, -1 } };
	is_offline = false;
	contents_n = 0;
	mount_it();
}

static void play(uint64_t first)
{
	seed = first;
	start();
	if (with & WITH_LAG)
		harness_do(&h, "/writing", NULL,
			   "{\"lag_id_ms\":%d,\"lag_path_ms\":%d,\"lag_content_ms\":%d,"
			   "\"etag_bump_ms\":%d}",
			   (int)pick(2) * 200, (int)pick(2) * 200, (int)pick(2) * 200,
			   (int)pick(2) * 150);
	for (int i = 0; i < STEPS_N; i++) {
		disturb();
		if (with & WITH_OTHERS)
			change_here();
		else
			change_both();
	}
	settle();
	harness_stop(&h);
}

static void play_cases(unsigned what)
{
	const char *wanted = getenv("GRAPHFS_MODEL_CASES"), *given = getenv("GRAPHFS_SEED");
	int cases_n = wanted ? atoi(wanted) : CASES_N;
	uint64_t next = given ? strtoull(given, NULL, 0) : 1;

	with = what;
	for (int i = 0; i < cases_n; i++) {
		print_message("seed %llu\n", (unsigned long long)next);
		play(next++);
	}
}

static void test_local(void **state)
{
	play_cases(0);
}

static void test_kills(void **state)
{
	play_cases(WITH_KILLS);
}

static void test_offline(void **state)
{
	play_cases(WITH_KILLS | WITH_OFFLINE);
}

static void test_faults(void **state)
{
	play_cases(WITH_KILLS | WITH_FAULTS);
}

static void test_lag(void **state)
{
	play_cases(WITH_KILLS | WITH_LAG);
}

static void test_others(void **state)
{
	play_cases(WITH_OTHERS);
}

static void test_everything(void **state)
{
	play_cases(WITH_KILLS | WITH_OFFLINE | WITH_FAULTS | WITH_LAG | WITH_OTHERS);
}

/* What a failed case left. */
static int tear_down(void **state)
{
	if (!h.is_mounted)
		return 0;
	model_close(&mount_side);
	model_close(&shadow_side);
	harness_kill(&h);
	kill(h.sim_pid, SIGTERM);
	umount2(h.mnt, MNT_DETACH);
	h.is_mounted = false;
	print_message("left in %s\n", h.dir);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_local, tear_down),
		cmocka_unit_test_teardown(test_kills, tear_down),
		cmocka_unit_test_teardown(test_faults, tear_down),
		cmocka_unit_test_teardown(test_lag, tear_down),
		cmocka_unit_test_teardown(test_offline, tear_down),
		cmocka_unit_test_teardown(test_others, tear_down),
		cmocka_unit_test_teardown(test_everything, tear_down),
	};

	harness_require_fuse();
	cmocka_set_test_filter(getenv("GRAPHFS_TEST") ? getenv("GRAPHFS_TEST") : "test_local");
	return cmocka_run_group_tests(tests, NULL, NULL);
}

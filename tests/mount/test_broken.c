/*
 * Replies and frames that no proper service would send (samples.h). Each reaches the program, which
 * the log shows by naming what is wrong; none ends it, changes the tree or gives wrong bytes; and
 * when the service speaks sense again, the drive goes on by itself.
 */
#include "harness.h"
#include "samples.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLES_MIN = 100, FILE_BYTES = 100000, RECOVER_MS = 60000, PAGES_N = 64 };

/* A failure costs little time here. */
static const char config[] = "[channel]\nbackoff_min = 20ms\nbackoff_max = 50ms\nrefused = 20ms\n"
			     "[sync]\ncrawl = off\npoll_min = 20ms\npoll_max = 50ms\n"
			     "retry_min = 20ms\n";

static struct harness h;

/* --- the log --- */

static size_t log_size(void)
{
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/mount.log", h.dir);
	assert_int_equal(stat(path, &st), 0);
	return (size_t)st.st_size;
}

/* Is there a line behind this place with both texts? */
static bool is_logged(size_t after, const char *text, const char *too)
{
	char path[128], line[4096];
	bool is = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/mount.log", h.dir);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_int_equal(fseek(f, (long)after, SEEK_SET), 0);
	while (!is && fgets(line, sizeof(line), f))
		is = strstr(line, text) && strstr(line, too);
	(void)fclose(f);
	return is;
}

static void show_log_after(size_t after)
{
	harness_sh(&h, "tail -c +%zu $DIR/mount.log | head -c 3000", after + 1);
}

static void expect_logged(size_t after, const struct sample *sample, const char *too)
{
	uint64_t until = harness_now_ms() + HARNESS_WAIT_MS;

	while (!is_logged(after, sample->names, too)) {
		if (kill(h.mount_pid, 0) != 0)
			fail_msg("the program is gone after %s", sample->what);
		if (harness_now_ms() > until) {
			show_log_after(after);
			fail_msg("\"%s\" was not logged after %s", sample->names, sample->what);
		}
		harness_nap();
	}
}

/* --- set-up --- */

/* Something for each of the samples, whose ids are kept; a folder for each kind, so that reading
 * one kind fetches none of another ahead. */
static char ids[4][64][96];
enum { LISTING, INFO, REDIRECT, CONTENT };

static void make(int kind, const struct samples *samples, const char *name, const char *more)
{
	if (kind != LISTING)
		harness_mkdir(&h, name);
	for (size_t i = 0; i < samples->n; i++) {
		char path[64];
		struct json_object *reply, *id;

		snprintf(path, sizeof(path), "%s%zu", name, i);
		reply = kind == LISTING
				? harness_admin(&h, "POST", "/mkdir", "{\"path\":\"%s\"}", path)
				: harness_admin(&h, "POST", "/raw_item",
						"{\"parent\":\"%s\",\"name\":\"%s\",\"size\":%d%s}",
						name, path, FILE_BYTES, more);
		assert_true(json_object_object_get_ex(reply, "id", &id));
		snprintf(ids[kind][i], sizeof(ids[kind][i]), "%s", json_object_get_string(id));
		json_object_put(reply);
		if (kind != LISTING)
			continue;
		snprintf(path, sizeof(path), "%s%zu/inside.txt", name, i);
		harness_create_text(&h, path, "inside\n");
	}
}

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_config(&h, config);
	make(LISTING, &samples_listing, "list", "");
	make(INFO, &samples_info, "info", "");
	make(REDIRECT, &samples_redirect, "redirect",
	     ",\"remove\":[\"@microsoft.graph.downloadUrl\"]");
	make(CONTENT, &samples_content, "content", "");
	harness_create_text(&h, "dir/sub/kept.txt", "kept\n");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

/* --- delta --- */

/* The pages are given again and again, until sense is spoken. */
static void give_page(const char *page)
{
	struct json_object *pages = json_object_new_array(), *args = json_object_new_object();

	for (size_t i = 0; i < PAGES_N; i++)
		json_object_array_add(pages, json_object_new_string(page));
	json_object_object_add(args, "pages", pages);
	harness_do(&h, "/delta", NULL, "%s",
		   json_object_to_json_string_ext(args, JSON_C_TO_STRING_PLAIN |
								JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(args);
}

static void speak_sense(void)
{
	harness_do(&h, "/delta", NULL, "{\"pages\":null}");
}

static void test_pages(void **state)
{
	for (size_t i = 0; i < samples_page.n; i++) {
		const struct sample *sample = &samples_page.v[i];
		size_t before = log_size();
		char name[48];

		snprintf(name, sizeof(name), "after-page-%zu.txt", i);
		give_page(sample->what);
		harness_create_text(&h, name, "x");
		expect_logged(before, sample, "");
		if (access(harness_path(&h, "%s", name), F_OK) == 0 || errno != ENOENT)
			fail_msg("the tree was changed by %s", sample->what);
		speak_sense();
		harness_wait_until(access(harness_path(&h, "%s", name), F_OK) == 0);
	}
	harness_wait_equal(&h, RECOVER_MS);
}

static void get_id(const char *path, char *ret, size_t size)
{
	ssize_t n = getxattr(harness_path(&h, "%s", path), "user.graphfs.id", ret, size - 1);

	assert_true(n > 0);
	ret[n] = '\0';
}

/* Puts an id in place of each word. */
static char *replaced(const char *text, const char *word, const char *id)
{
	char *out = malloc(strlen(text) * 100 + 1), *at = out;

	assert_non_null(out);
	while (*text) {
		bool is_word = strncmp(text, word, strlen(word)) == 0;

		at += sprintf(at, "%.*s", is_word ? 96 : 1, is_word ? id : text);
		text += is_word ? strlen(word) : 1;
	}
	*at = '\0';
	return out;
}

static bool is_joined(void)
{
	struct json_object *reply = harness_admin(&h, "GET", "/socket", NULL), *sockets;
	bool is = false;

	assert_true(json_object_object_get_ex(reply, "sockets", &sockets));
	for (size_t i = 0; i < json_object_array_length(sockets); i++) {
		struct json_object *joined;

		is |= json_object_object_get_ex(json_object_array_get_idx(sockets, i), "joined",
						&joined) &&
		      json_object_get_boolean(joined);
	}
	json_object_put(reply);
	return is;
}

/* The next run of delta gets this page, and ends. */
static void run_delta(const char *page)
{
	int64_t left;

	give_page(page);
	harness_do(&h, "/socket/send", NULL,
		   "{\"text\":\"42/notifications,[\\\"notification\\\",\\\"{}\\\"]\"}");
	left = harness_counter(&h, "delta_pages_left");
	assert_true(left > 0);
	harness_wait_until(harness_counter(&h, "delta_pages_left") < PAGES_N);
}

static void test_odd_pages(void **state)
{
	char root[96], dir[96], sub[96];

	assert_int_equal(harness_sh(&h, "ls $MNT/dir/sub >/dev/null"), 0);
	get_id("", root, sizeof(root));
	get_id("dir", dir, sizeof(dir));
	get_id("dir/sub", sub, sizeof(sub));
	for (size_t i = 0; i < samples_odd.n; i++) {
		const struct sample *sample = &samples_odd.v[i];
		char *a = replaced(sample->what, "$ROOT", root), *b = replaced(a, "$DIR", dir);
		char *page = replaced(b, "$SUB", sub);
		size_t before = log_size();
		char name[48];

		run_delta(page);
		if (sample->names)
			expect_logged(before, sample, "");
		speak_sense();
		snprintf(name, sizeof(name), "after-odd-%zu.txt", i);
		harness_create_text(&h, name, "x");
		harness_wait_until(access(harness_path(&h, "%s", name), F_OK) == 0);
		if (!harness_trees_equal(&h, true))
			fail_msg("the tree was changed by %s", page);
		free(a);
		free(b);
		free(page);
	}
}

static int64_t skipped_n(void)
{
	struct json_object *status = harness_status(&h), *member;
	int64_t n = json_object_object_get_ex(status, "skipped", &member)
			    ? json_object_get_int64(member)
			    : -1;

	json_object_put(status);
	return n;
}

/* One page with all of them: they are left out, one by one, and everything else goes on. */
static void test_items(void **state)
{
	char kept[96], *page = NULL;
	size_t before = log_size(), len = 0;
	FILE *f = open_memstream(&page, &len);

	get_id("dir/sub/kept.txt", kept, sizeof(kept));
	(void)fputs("{\"value\":[", f);
	for (size_t i = 0; i < samples_item.n; i++) {
		char id[32];
		char *item;

		snprintf(id, sizeof(id), "BAD%zu", i);
		item = replaced(samples_item.v[i].what, "$ID", id);
		fprintf(f, "%s,", item);
		free(item);
	}
	fprintf(f,
		"{\"id\":\"%s\",\"name\":\"other\",\"size\":\"7\",\"file\":{}}],"
		"\"@odata.deltaLink\":\"{delta}\"}",
		kept);
	assert_int_equal(fclose(f), 0);
	run_delta(page);
	for (size_t i = 0; i < samples_item.n; i++) {
		char item[64];

		snprintf(item, sizeof(item), "item BAD%zu is left as it was", i);
		expect_logged(before, &samples_item.v[i], item);
	}
	speak_sense();
	harness_create_text(&h, "after-items.txt", "x");
	harness_wait_until(access(harness_path(&h, "after-items.txt"), F_OK) == 0);
	harness_wait_equal(&h, RECOVER_MS);
	assert_int_equal(skipped_n(), samples_item.n + 1);
	/* Told properly, it is one of the others again. */
	harness_write_text(&h, "dir/sub/kept.txt", "mended\n");
	harness_wait_until(harness_sh(&h, "grep -q mended $MNT/dir/sub/kept.txt") == 0);
	assert_int_equal(skipped_n(), samples_item.n);
	free(page);
}

/* --- what a person asks for --- */

static void install(int kind, const char *class, const struct samples *samples)
{
	for (size_t i = 0; i < samples->n; i++)
		harness_fault(&h, "{\"class\":\"%s\",\"match\":\"%s\",\"action\":%s}", class,
			      ids[kind][i], samples->v[i].what);
}

/* Every rule has struck. */
static void expect_struck(const struct samples *samples)
{
	struct json_object *reply = harness_admin(&h, "GET", "/faults", NULL), *rules, *struck;

	assert_true(json_object_object_get_ex(reply, "rules", &rules));
	assert_int_equal(json_object_array_length(rules), samples->n);
	for (size_t i = 0; i < samples->n; i++) {
		assert_true(json_object_object_get_ex(json_object_array_get_idx(rules, i), "struck",
						      &struck));
		if (json_object_get_int64(struck) == 0)
			fail_msg("never sent: %s", samples->v[i].what);
	}
	json_object_put(reply);
}

/* The shell function "one" for each number below n, all at once; each leaves its status in rc.i: 0
 * right, 1 wrong, 2 an error. */
static void run_all(size_t n, const char *one)
{
	assert_int_equal(harness_sh(&h,
				    "ADMIN='%s'; one() { %s\n}; for i in $(seq 0 %zu); do "
				    "(one $i; echo $? >$DIR/rc.$i) & done; wait",
				    h.admin, one, n - 1),
			 0);
}

static int status_of(size_t i)
{
	char path[128], text[16] = "";
	FILE *f;

	snprintf(path, sizeof(path), "%s/rc.%zu", h.dir, i);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	(void)fclose(f);
	return atoi(text);
}

static bool are_all_right(size_t n, const char *one)
{
	run_all(n, one);
	for (size_t i = 0; i < n; i++)
		if (status_of(i) != 0)
			return false;
	return true;
}

/* too: the log's line of a sample also holds its id. */
static void try_all(int kind, const char *class, const struct samples *samples, const char *one,
		    bool too)
{
	size_t before = log_size();

	install(kind, class, samples);
	run_all(samples->n, one);
	expect_struck(samples);
	for (size_t i = 0; i < samples->n; i++) {
		const struct sample *sample = &samples->v[i];

		if (status_of(i) != (sample->names ? 2 : 0)) {
			show_log_after(before);
			fail_msg("%s ended with %d", sample->what, status_of(i));
		}
		if (sample->names)
			expect_logged(before, sample, too ? ids[kind][i] : "");
	}
	harness_no_faults(&h);
	harness_wait_until(are_all_right(samples->n, one));
}

static void test_listings(void **state)
{
	try_all(LISTING, "children", &samples_listing,
		"out=$(ls $MNT/list$1 2>/dev/null) || return 2; test \"$out\" = inside.txt", true);
}

#define READ(name)                                                                        \
	"cat $MNT/" name "/" name "$1 >$DIR/got.$1 2>/dev/null || return 2; "             \
	"curl -sfG --noproxy '*' \"$ADMIN/content\" --data-urlencode path=" name "/" name \
	"$1 -o $DIR/right.$1 || return 3; cmp -s $DIR/got.$1 $DIR/right.$1"

static void test_contents(void **state)
{
	harness_wait_equal(&h, RECOVER_MS);
	try_all(INFO, "item", &samples_info, READ("info"), true);
	try_all(REDIRECT, "content_url", &samples_redirect, READ("redirect"), false);
	try_all(CONTENT, "content", &samples_content, READ("content"), false);
}

/* --- the channel --- */

static bool has_reason(const char *text)
{
	struct json_object *status = harness_status(&h), *reason;
	bool has = json_object_object_get_ex(status, "reason", &reason) &&
		   strstr(json_object_get_string(reason), text);

	json_object_put(status);
	return has;
}

static void test_subscriptions(void **state)
{
	for (size_t i = 0; i < samples_subscription.n; i++) {
		const struct sample *sample = &samples_subscription.v[i];
		size_t before = log_size();

		harness_fault(&h, "{\"class\":\"socketio\",\"action\":%s}", sample->what);
		harness_do(&h, "/socket", NULL, "{\"action\":\"drop\"}");
		harness_wait_until(is_logged(before, "channel down: ", ""));
		/* The status tells, and so does the log where the reply itself is malformed. */
		harness_wait_until(has_reason(sample->names));
		harness_no_faults(&h);
		harness_wait_until(is_logged(before, "channel up", ""));
	}
}

static void test_handshakes(void **state)
{
	for (size_t i = 0; i < samples_handshake.n; i++) {
		const struct sample *sample = &samples_handshake.v[i];
		size_t before = log_size();

		harness_do(&h, "/socket", NULL, "{%s}", sample->what);
		harness_do(&h, "/socket", NULL, "{\"action\":\"drop\"}");
		harness_wait_until(is_logged(before, "channel down: ", ""));
		if (sample->names)
			expect_logged(before, sample, "channel ");
		harness_do(&h, "/socket", NULL, "{\"action\":\"normal\"}");
		/* What went well before may have gone on; then there is nothing to wait for. */
		harness_wait_until(is_joined());
	}
	harness_wait_state(&h, "live");
}

static void test_frames(void **state)
{
	for (size_t i = 0; i < samples_frame.n; i++) {
		const struct sample *sample = &samples_frame.v[i];
		size_t before = log_size();

		harness_do(&h, "/socket/send", NULL, "{%s}", sample->what);
		if (sample->names) {
			expect_logged(before, sample, "channel down: ");
			harness_wait_until(is_logged(before, "channel up", ""));
		} else {
			/* A notification behind it arrives, by the same channel. */
			run_delta("{\"value\":[],\"@odata.deltaLink\":\"{delta}\"}");
			speak_sense();
			if (is_logged(before, "channel down", ""))
				fail_msg("the channel went down after %s", sample->what);
		}
	}
	harness_wait_state(&h, "live");
	harness_create_text(&h, "after-frames.txt", "x");
	harness_wait_until(access(harness_path(&h, "after-frames.txt"), F_OK) == 0);
	/* What a client says in answer to nonsense is no fault of its own. */
	json_object_put(harness_admin(&h, "DELETE", "/violations", NULL));
}

/* --- signing in --- */

static void try_logins(const char *class, const struct samples *samples)
{
	for (size_t i = 0; i < samples->n; i++) {
		harness_fault(&h, "{\"class\":\"%s\",\"action\":%s}", class, samples->v[i].what);
		assert_int_equal(
			harness_sh(&h,
				   "$GRAPHFS login --account broken --client-id "
				   "11111111-2222-3333-4444-555555555555 --graph-url '%s' "
				   "--login-url '%s' >$DIR/login.out 2>$DIR/login.err; test $? = 1",
				   h.api, h.login),
			0);
		if (harness_sh(&h, "grep -qF \"%s\" $DIR/login.err", samples->v[i].names) != 0) {
			harness_sh(&h, "cat $DIR/login.err");
			fail_msg("%s was not named after %s", samples->v[i].names,
				 samples->v[i].what);
		}
		expect_struck(&(struct samples){ &samples->v[i], 1 });
		harness_no_faults(&h);
	}
}

static void test_logins(void **state)
{
	try_logins("devicecode", &samples_code);
	try_logins("token", &samples_token);
	assert_int_equal(harness_sh(&h, "test ! -e $DIR/config/graphfs/accounts/broken"), 0);
}

static void test_nothing_was_changed(void **state)
{
	assert_true(samples_count() >= SAMPLES_MIN);
	assert_int_equal(kill(h.mount_pid, 0), 0);
	harness_wait_equal(&h, RECOVER_MS);
	harness_wait_state(&h, "live");
	printf("%zu samples\n", samples_count());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* Before anything makes their folders known. */
		cmocka_unit_test(test_listings),   cmocka_unit_test(test_pages),
		cmocka_unit_test(test_odd_pages),  cmocka_unit_test(test_items),
		cmocka_unit_test(test_contents),   cmocka_unit_test(test_subscriptions),
		cmocka_unit_test(test_handshakes), cmocka_unit_test(test_frames),
		cmocka_unit_test(test_logins),     cmocka_unit_test(test_nothing_was_changed),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

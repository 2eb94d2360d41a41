/*
 * Names from the service that no directory can hold, or that mean harm: each is shown once, can be
 * opened, and leads nowhere else; the ordinary files beside them stay as they are.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define N20   "nnnnnnnnnnnnnnnnnnnn"
#define N300  N20 N20 N20 N20 N20 N20 N20 N20 N20 N20 N20 N20 N20 N20 N20
#define EURO5 "\\u20ac\\u20ac\\u20ac\\u20ac\\u20ac"
#define EURO255                                                                                   \
	EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 \
		EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5     \
			EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5   \
				EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5 EURO5

static const struct {
	const char *what, *members; /* members of POST /raw_item but parent and text */
	const char *shown;          /* NULL: cut, and told apart by a hash */
} hostile[] = {
	{ "parent folder", "\"name\":\"..\"", "%2E%2E" },
	{ "this folder", "\"name\":\".\"", "%2E" },
	{ "slash", "\"name\":\"a/b\"", "a%2Fb" },
	{ "absolute path", "\"name\":\"/etc/passwd\"", "%2Fetc%2Fpasswd" },
	{ "climbing path", "\"name\":\"../../x\"", "..%2F..%2Fx" },
	{ "300 bytes", "\"name\":\"" N300 "\"", NULL },
	{ "255 characters of three bytes", "\"name\":\"" EURO255 "\"", NULL },
	{ "newline", "\"name\":\"two\\nlines\"", "two%0Alines" },
	{ "escape sequence", "\"name\":\"\\u001b]0;title\\u0007\"", "%1B]0;title%07" },
	{ "C1 control", "\"name_b64\":\"YcKbYg==\"", "a%C2%9Bb" },
	{ "NUL", "\"name_b64\":\"bnVsADEudHh0\"", "nul%001.txt" },
	{ "no UTF-8", "\"name_b64\":\"aW52YWxpZP/+LnR4dA==\"", "invalid%FF%FE.txt" },
	{ "overlong slash", "\"name_b64\":\"YcCvYg==\"", "a%C0%AFb" },
	{ "lone surrogate", "\"name_b64\":\"Ye2ggGI=\"", "a%ED%A0%80b" },
	{ "empty", "\"name\":\"e\",\"set\":{\"name\":\"\"}", "%" },
	{ "looks escaped", "\"name\":\"c%2Fd\"", "c%252Fd" },
	{ "percent", "\"name\":\"100% sure\"", "100% sure" },
	{ "blanks", "\"name\":\" x \"", " x " },
};
enum { HOSTILE_N = sizeof(hostile) / sizeof(hostile[0]) };

/* What nobody can show; each must be left out, and break nothing else. */
static const char *const broken[] = {
	"\"name\":\"no name\",\"remove\":[\"name\"]",
	"\"name\":\"number name\",\"set\":{\"name\":7}",
	"\"name\":\"negative size\",\"set\":{\"size\":-5}",
	"\"name\":\"text size\",\"set\":{\"size\":\"many\"}",
	"\"name\":\"facets are text\",\"set\":{\"file\":\"x\",\"folder\":\"y\"}",
	"\"name\":\"wrong times\",\"set\":{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"soon\"}}",
};
enum { BROKEN_N = sizeof(broken) / sizeof(broken[0]) };

static struct harness h;

static void make_hostile(const char *parent)
{
	for (size_t i = 0; i < HOSTILE_N; i++)
		json_object_put(harness_admin(&h, "POST", "/raw_item",
					      "{\"parent\":\"%s\",\"text\":\"%s\",%s}", parent,
					      hostile[i].what, hostile[i].members));
}

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_create_text(&h, "hostile/ordinary.txt", "ordinary\n");
	harness_create_text(&h, "broken/ordinary.txt", "ordinary\n");
	harness_create_text(&h, "outside.txt", "outside\n");
	harness_mkdir(&h, "late");
	make_hostile("hostile");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static bool holds(const char *path, const char *text)
{
	char data[128] = "";
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(data, 1, sizeof(data) - 1, f) : 0;

	if (f)
		(void)fclose(f);
	return f && n == strlen(text) && strcmp(data, text) == 0;
}

/* Can be printed, and is a name. */
static void expect_harmless(const char *name)
{
	assert_true(strlen(name) <= 255);
	for (const unsigned char *c = (const unsigned char *)name; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			fail_msg("control character %#x in a name", *c);
	assert_true(mbstowcs(NULL, name, 0) != (size_t)-1);
}

static void expect_each_once(const char *dir, size_t others_n)
{
	bool found[HOSTILE_N] = { false };
	DIR *d = opendir(harness_path(&h, "%s", dir));
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while (errno = 0, (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		expect_harmless(e->d_name);
		for (size_t i = 0; i < HOSTILE_N; i++) {
			if (!holds(harness_path(&h, "%s/%s", dir, e->d_name), hostile[i].what))
				continue;
			if (found[i] ||
			    (hostile[i].shown && strcmp(hostile[i].shown, e->d_name) != 0))
				fail_msg("%s is shown as \"%s\"", hostile[i].what, e->d_name);
			found[i] = true;
		}
	}
	assert_int_equal(errno, 0);
	closedir(d);
	for (size_t i = 0; i < HOSTILE_N; i++)
		if (!found[i])
			fail_msg("not readable under any name: %s", hostile[i].what);
	assert_int_equal(n, HOSTILE_N + others_n);
}

static void test_every_name_is_shown_once(void **state)
{
	expect_each_once("hostile", 1);
}

/* By delta, into a folder that the kernel has and somebody watches. */
static void test_names_that_arrive(void **state)
{
	struct watch w;

	watch_open(&w, harness_path(&h, "late"), IN_CREATE);
	assert_int_equal(harness_sh(&h, "ls $MNT/late"), 0);
	make_hostile("late");
	harness_create_text(&h, "late/last.txt", "last\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "last.txt", HARNESS_WAIT_MS));
	expect_each_once("late", 1);
	for (size_t i = 0; i < HOSTILE_N; i++)
		if (hostile[i].shown && watch_count(&w, IN_CREATE, hostile[i].shown) != 1)
			fail_msg("%s was not told once as %s", hostile[i].what, hostile[i].shown);
	watch_close(&w);
}

static void test_nothing_leads_outside(void **state)
{
	assert_true(holds(harness_path(&h, "hostile/ordinary.txt"), "ordinary\n"));
	assert_true(holds(harness_path(&h, "hostile/../outside.txt"), "outside\n"));
	assert_int_equal(harness_sh(&h, "test -d $MNT/hostile/. -a -d $MNT/hostile/.."), 0);
	/* Nothing was written outside the program's own directories. */
	assert_int_equal(harness_sh(&h, "test ! -e $DIR/x && test ! -e $DIR/mnt/x"), 0);
}

static int64_t number_of(const char *key)
{
	struct json_object *status = harness_status(&h), *member;
	int64_t n = json_object_object_get_ex(status, key, &member) ? json_object_get_int64(member)
								    : -1;

	json_object_put(status);
	return n;
}

static bool has_reason(const char *text)
{
	struct json_object *status = harness_status(&h), *member;
	bool has = json_object_object_get_ex(status, "reason", &member) &&
		   strstr(json_object_get_string(member), text);

	json_object_put(status);
	return has;
}

static void test_broken_items_break_nothing(void **state)
{
	for (size_t i = 0; i < BROKEN_N; i++) {
		char path[64];

		snprintf(path, sizeof(path), "broken/after-%zu.txt", i);
		json_object_put(harness_admin(&h, "POST", "/raw_item",
					      "{\"parent\":\"broken\",\"text\":\"x\",%s}",
					      broken[i]));
		harness_create_text(&h, path, "after\n");
		harness_wait_until(holds(harness_path(&h, "%s", path), "after\n"));
		assert_true(holds(harness_path(&h, "broken/ordinary.txt"), "ordinary\n"));
	}
	assert_int_equal(number_of("skipped"), BROKEN_N);
	assert_int_equal(harness_sh(&h, "test $(ls $MNT/broken | wc -l) = %d", BROKEN_N + 1), 0);
}

/* Nobody can say what it stands for, so that nothing of its page can be believed. It is told, and
 * when the service speaks sense again (here: the item is gone, and so is the place whose tombstone
 * is as damaged as it was) the drive goes on by itself. */
static void test_item_without_an_id(void **state)
{
	json_object_put(harness_admin(&h, "POST", "/raw_item",
				      "{\"parent\":\"broken\",\"text\":\"x\",\"name\":\"no id\","
				      "\"remove\":[\"id\"]}"));
	harness_wait_until(has_reason("id is missing"));
	harness_create_text(&h, "waits.txt", "waits\n");
	assert_true(holds(harness_path(&h, "broken/ordinary.txt"), "ordinary\n"));
	assert_int_equal(access(harness_path(&h, "waits.txt"), F_OK), -1);
	harness_delete(&h, "broken");
	harness_do(&h, "/delta", NULL, "{\"resync_now\":true}");
	harness_wait_until(holds(harness_path(&h, "waits.txt"), "waits\n"));
	harness_wait_until(access(harness_path(&h, "broken"), F_OK) == -1);
	harness_wait_state(&h, "live");
}

static void test_log_has_no_control_characters(void **state)
{
	assert_int_equal(harness_sh(&h, "! grep -qP '[\\x00-\\x08\\x0b-\\x1f]' $DIR/mount.log"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_name_is_shown_once),
		cmocka_unit_test(test_names_that_arrive),
		cmocka_unit_test(test_nothing_leads_outside),
		cmocka_unit_test(test_broken_items_break_nothing),
		cmocka_unit_test(test_item_without_an_id),
		cmocka_unit_test(test_log_has_no_control_characters),
	};

	harness_require_fuse();
	/* For mbstowcs(). */
	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * Names from the service that no directory can hold, or that mean harm: each is shown once, can be
 * opened, and leads nowhere else; the ordinary files beside them stay as they are.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct harness h;

static const struct {
	const char *what, *members; /* members of POST /raw_item but parent and text */
} hostile[] = {
	{ "parent folder", "\"name\":\"..\"" },
	{ "this folder", "\"name\":\".\"" },
	{ "slash", "\"name\":\"a/b\"" },
	{ "absolute path", "\"name\":\"/etc/passwd\"" },
	{ "climbing path", "\"name\":\"../../x\"" },
	{ "300 bytes",
	  "\"name\":"
	  "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
	  "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn\"" },
	{ "newline", "\"name\":\"two\\nlines\"" },
	{ "escape sequence", "\"name\":\"\\u001b]0;title\\u0007\"" },
	{ "NUL", "\"name_b64\":\"bnVsADEudHh0\"" },
};

/* The service cannot have these names; they must be left out or escaped, never break the rest. */
static const char *const broken[] = {
	"\"name_b64\":\"aW52YWxpZP/+LnR4dA==\"",
	"\"name\":\"empty\",\"set\":{\"name\":\"\"}",
	"\"name\":\"no name\",\"remove\":[\"name\"]",
	"\"name\":\"number name\",\"set\":{\"name\":7}",
	"\"name\":\"negative size\",\"set\":{\"size\":-5}",
	"\"name\":\"text size\",\"set\":{\"size\":\"many\"}",
	"\"name\":\"no facets\",\"remove\":[\"file\"]",
	"\"name\":\"no id\",\"remove\":[\"id\"]",
	"\"name\":\"facets are text\",\"set\":{\"file\":\"x\",\"folder\":\"y\"}",
	"\"name\":\"wrong times\",\"set\":{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"soon\"}}",
};

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_create_text(&h, "hostile/ordinary.txt", "ordinary\n");
	harness_create_text(&h, "broken/ordinary.txt", "ordinary\n");
	harness_create_text(&h, "outside.txt", "outside\n");
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++)
		json_object_put(harness_admin(&h, "POST", "/raw_item",
					      "{\"parent\":\"hostile\",\"text\":\"%s\",%s}",
					      hostile[i].what, hostile[i].members));
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

static void test_every_name_is_shown_once(void **state)
{
	bool found[sizeof(hostile) / sizeof(hostile[0])] = { false };
	DIR *d = opendir(harness_path(&h, "hostile"));
	struct dirent *e;
	size_t n = 0;

	assert_non_null(d);
	while (errno = 0, (e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		n++;
		for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++) {
			if (holds(harness_path(&h, "hostile/%s", e->d_name), hostile[i].what)) {
				assert_false(found[i]);
				found[i] = true;
			}
		}
	}
	assert_int_equal(errno, 0);
	closedir(d);
	assert_int_equal(n, sizeof(hostile) / sizeof(hostile[0]) + 1);
	for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++)
		if (!found[i])
			fail_msg("not readable under any name: %s", hostile[i].what);
}

static void test_nothing_leads_outside(void **state)
{
	assert_true(holds(harness_path(&h, "hostile/ordinary.txt"), "ordinary\n"));
	assert_true(holds(harness_path(&h, "hostile/../outside.txt"), "outside\n"));
	assert_int_equal(harness_sh(&h, "test -d $MNT/hostile/. -a -d $MNT/hostile/.."), 0);
	/* Nothing was written outside the program's own directories. */
	assert_int_equal(harness_sh(&h, "test ! -e $DIR/x && test ! -e $DIR/mnt/x"), 0);
}

static void test_broken_items_break_nothing(void **state)
{
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		json_object_put(harness_admin(&h, "POST", "/raw_item",
					      "{\"parent\":\"broken\",\"text\":\"x\",%s}",
					      broken[i]));
		harness_sh(&h, "ls -la $MNT/broken >/dev/null 2>&1");
		assert_true(holds(harness_path(&h, "broken/ordinary.txt"), "ordinary\n"));
	}
	/* A page that cannot be believed is not applied, and its token is kept; when the service
	 * speaks sense again (here: the items are gone, and so is the place whose tombstones are
	 * as damaged as they were) the drive goes on by itself. */
	harness_delete(&h, "broken");
	harness_do(&h, "/delta", NULL, "{\"resync_now\":true}");
	harness_create_text(&h, "after.txt", "after\n");
	harness_wait_until(holds(harness_path(&h, "after.txt"), "after\n"));
}

static void test_log_has_no_control_characters(void **state)
{
	assert_int_equal(harness_sh(&h, "! grep -qP '[\\x00-\\x08\\x0b-\\x1f]' $DIR/mount.log"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_name_is_shown_once),
		cmocka_unit_test(test_nothing_leads_outside),
		cmocka_unit_test(test_broken_items_break_nothing),
		cmocka_unit_test(test_log_has_no_control_characters),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

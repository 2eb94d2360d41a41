/*
 * What programs on GLib see: "gio monitor" on a mounted folder prints the line that belongs to
 * each change by "somebody else", and no other. Exit 77 (skipped, and says so) without gio.
 */
#include "harness.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { EXIT_SKIPPED = 77, LINES_MAX = 2, SETTLE_MS = 500 };

static struct harness h;

enum op { CREATE, MKDIR, WRITE, TOUCH, MOVE, DELETE };

static const struct step {
	enum op op;
	const char *path, *to;
	const char *lines[LINES_MAX]; /* of the watched folder "in" */
} steps[] = {
	{ CREATE, "in/a.txt", NULL, { "in/a.txt: created" } },
	{ WRITE, "in/a.txt", NULL, { "in/a.txt: changed", "in/a.txt: changes done" } },
	{ TOUCH, "in/a.txt", NULL, { "in/a.txt: attributes changed" } },
	{ MOVE, "in/a.txt", "in/b.txt", { "in/a.txt: renamed to in/b.txt" } },
	{ MOVE, "in/b.txt", "out/b.txt", { "in/b.txt: moved out" } },
	{ MOVE, "out/b.txt", "in/c.txt", { "in/c.txt: moved in" } },
	{ DELETE, "in/c.txt", NULL, { "in/c.txt: deleted" } },
	{ MKDIR, "in/sub", NULL, { "in/sub: created", "in/sub: changes done" } },
	{ MOVE, "in/sub", "in/übrig", { "in/sub: renamed to in/übrig" } },
	{ DELETE, "in/übrig", NULL, { "in/übrig: deleted" } },
};

static void require_gio(void)
{
	if (system("command -v gio >/dev/null") == 0)
		return;
	fprintf(stderr, "SKIP: gio (libglib2.0-bin) is not installed. Nothing was tested.\n");
	exit(EXIT_SKIPPED);
}

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_mkdir(&h, "in");
	harness_mkdir(&h, "out");
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	/* Both folders are known to the kernel, as they are to whoever looks at them. */
	assert_int_equal(harness_sh(&h, "ls $MNT/in $MNT/out >/dev/null"), 0);
	return 0;
}

static int tear_down(void **state)
{
	harness_sh(&h, "kill $(cat $DIR/gio.pid)");
	harness_stop(&h);
	return 0;
}

static void make(const struct step *s)
{
	switch (s->op) {
	case CREATE:
		harness_create_text(&h, s->path, "one\n");
		break;
	case MKDIR:
		harness_mkdir(&h, s->path);
		break;
	case WRITE:
		harness_write_text(&h, s->path, "another\n");
		break;
	case TOUCH:
		harness_touch(&h, s->path, 1500000000);
		break;
	case MOVE:
		harness_move(&h, s->path, s->to);
		break;
	case DELETE:
		harness_delete(&h, s->path);
		break;
	}
}

/* What gio said so far, with the paths made relative to the mount. The caller frees. */
static char *said(void)
{
	/* "FOLDER: FILE: what" and, for a rename, an empty line of gio's own. */
	return harness_sh_output(&h, NULL,
				 "sed -E \"s|^$MNT/in: ||; s|$MNT/||g; /^$/d\" "
				 "$DIR/gio.out");
}

static void assert_said(const char *text)
{
	uint64_t until = harness_now_ms() + HARNESS_WAIT_MS;
	char *out = said();

	while (strcmp(out, text) != 0 && harness_now_ms() < until) {
		harness_nap();
		free(out);
		out = said();
	}
	assert_string_equal(out, text);
	free(out);
}

static void start_gio(void)
{
	assert_int_equal(
		harness_sh(&h, "LC_ALL=C.UTF-8 gio monitor $MNT/in >$DIR/gio.out 2>$DIR/gio.err & "
			       "echo $! >$DIR/gio.pid"),
		0);
	/* The kernel's own word for it that the watch is there. */
	harness_wait_until(harness_sh(&h, "grep -qs '^inotify wd' "
					  "/proc/$(cat $DIR/gio.pid)/fdinfo/*") == 0);
}

static void test_monitor(void **state)
{
	char expected[2048] = "";

	start_gio();
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		for (unsigned k = 0; k < LINES_MAX && steps[i].lines[k]; k++) {
			strcat(expected, steps[i].lines[k]);
			strcat(expected, "\n");
		}
		make(&steps[i]);
		assert_said(expected);
	}
	poll(NULL, 0, SETTLE_MS); /* for lines that nothing called for */
	assert_said(expected);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_monitor) };

	harness_require_fuse();
	require_gio();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * One change of each kind by "somebody else": what stat, ls and cat show, and exactly which
 * inotify events a watcher of the folder gets.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENT_MS = 10000 };

static const uint32_t all_events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |
				   IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF;

static struct harness h;

static int set_up(void **state)
{
	const char *const args[] = { "--seed-demo", NULL };

	harness_start(&h, args);
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static bool reads(const char *path, const char *text)
{
	char data[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data) - 1);

	if (fd >= 0)
		close(fd);
	if (n < 0)
		return false;
	data[n] = '\0';
	return strcmp(data, text) == 0;
}

static int64_t mtime_of(const char *path)
{
	struct stat st;

	return stat(path, &st) < 0 ? -1 : (int64_t)st.st_mtim.tv_sec;
}

static bool is_listed(const char *dir, const char *name)
{
	int status;
	char *out = harness_sh_output(&h, &status, "ls -A '%s' | grep -Fxq -- '%s' && echo yes",
				      dir, name);
	bool is = strcmp(out, "yes\n") == 0;

	free(out);
	return is;
}

/* A folder of its own for each test, known to the kernel and watched. */
static void begin(struct watch *w, const char *dir)
{
	harness_mkdir(&h, dir);
	harness_wait_until(access(harness_path(&h, "%s", dir), F_OK) == 0);
	harness_sh(&h, "ls \"$MNT/%s\" >/dev/null", dir);
	watch_open(w, harness_path(&h, "%s", dir), all_events);
}

static void test_create(void **state)
{
	struct watch w;

	begin(&w, "create");
	assert_int_not_equal(access(harness_path(&h, "create/a.txt"), F_OK), 0);
	harness_create_text(&h, "create/a.txt", "first\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "a.txt", EVENT_MS));
	assert_true(reads(harness_path(&h, "create/a.txt"), "first\n"));
	assert_true(is_listed(harness_path(&h, "create"), "a.txt"));
	harness_mkdir(&h, "create/sub");
	assert_non_null(watch_wait(&w, IN_CREATE | IN_ISDIR, "sub", EVENT_MS));
	assert_int_equal(watch_count(&w, IN_CREATE, "a.txt"), 1);
	assert_int_equal(watch_count(&w, IN_CREATE, "sub"), 1);
	watch_close(&w);
}

static void test_delete(void **state)
{
	struct watch w;

	begin(&w, "delete");
	harness_create_text(&h, "delete/a.txt", "x");
	harness_mkdir(&h, "delete/sub");
	assert_non_null(watch_wait(&w, IN_CREATE, "sub", EVENT_MS));
	assert_non_null(watch_wait(&w, IN_CREATE, "a.txt", EVENT_MS));
	harness_delete(&h, "delete/a.txt");
	assert_non_null(watch_wait(&w, IN_DELETE, "a.txt", EVENT_MS));
	assert_int_equal(access(harness_path(&h, "delete/a.txt"), F_OK), -1);
	assert_int_equal(errno, ENOENT);
	harness_delete(&h, "delete/sub");
	assert_non_null(watch_wait(&w, IN_DELETE | IN_ISDIR, "sub", EVENT_MS));
	assert_false(is_listed(harness_path(&h, "delete"), "sub"));
	assert_int_equal(watch_count(&w, IN_DELETE, "a.txt"), 1);
	watch_close(&w);
}

static void test_rename_has_one_cookie(void **state)
{
	const struct watch_event *to;
	uint32_t cookie;
	struct stat before, after;
	struct watch w;

	begin(&w, "rename");
	harness_create_text(&h, "rename/old.txt", "same\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "old.txt", EVENT_MS));
	assert_int_equal(stat(harness_path(&h, "rename/old.txt"), &before), 0);
	harness_move(&h, "rename/old.txt", "rename/new.txt");
	to = watch_wait(&w, IN_MOVED_TO, "new.txt", EVENT_MS);
	assert_non_null(to);
	cookie = to->cookie;
	assert_int_equal(watch_wait(&w, IN_MOVED_FROM, "old.txt", EVENT_MS)->cookie, cookie);
	assert_int_not_equal(cookie, 0);
	assert_int_equal(stat(harness_path(&h, "rename/new.txt"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(access(harness_path(&h, "rename/old.txt"), F_OK), -1);
	assert_true(reads(harness_path(&h, "rename/new.txt"), "same\n"));
	watch_close(&w);
}

static void test_move_of_a_folder(void **state)
{
	struct watch from, to;

	begin(&from, "from");
	begin(&to, "to");
	harness_mkdir(&h, "from/sub");
	assert_non_null(watch_wait(&from, IN_CREATE, "sub", EVENT_MS));
	harness_create_text(&h, "from/sub/deep.txt", "deep\n");
	harness_wait_until(reads(harness_path(&h, "from/sub/deep.txt"), "deep\n"));
	harness_move(&h, "from/sub", "to/moved");
	assert_non_null(watch_wait(&to, IN_MOVED_TO | IN_ISDIR, "moved", EVENT_MS));
	assert_non_null(watch_wait(&from, IN_MOVED_FROM | IN_ISDIR, "sub", EVENT_MS));
	assert_true(reads(harness_path(&h, "to/moved/deep.txt"), "deep\n"));
	assert_int_equal(access(harness_path(&h, "from/sub"), F_OK), -1);
	watch_close(&from);
	watch_close(&to);
}

static void test_content(void **state)
{
	struct watch w;

	begin(&w, "content");
	harness_create_text(&h, "content/a.txt", "one\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "a.txt", EVENT_MS));
	assert_true(reads(harness_path(&h, "content/a.txt"), "one\n"));
	watch_clear(&w);
	harness_write_text(&h, "content/a.txt", "another\n");
	assert_non_null(watch_wait(&w, IN_CLOSE_WRITE, "a.txt", EVENT_MS));
	assert_int_equal(watch_count(&w, IN_MODIFY, "a.txt"), 1);
	assert_int_equal(watch_count(&w, IN_CLOSE_WRITE, "a.txt"), 1);
	assert_true(reads(harness_path(&h, "content/a.txt"), "another\n"));
	watch_clear(&w);
	harness_write_text(&h, "content/a.txt", "ANOTHER\n"); /* the same length */
	assert_non_null(watch_wait(&w, IN_CLOSE_WRITE, "a.txt", EVENT_MS));
	assert_true(reads(harness_path(&h, "content/a.txt"), "ANOTHER\n"));
	watch_close(&w);
}

static void test_open_file_keeps_its_version(void **state)
{
	char data[64];
	struct stat st;
	struct watch w;
	int fd;

	begin(&w, "open");
	harness_create_text(&h, "open/a.txt", "old version\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "a.txt", EVENT_MS));
	fd = open(harness_path(&h, "open/a.txt"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, data, 3, 0), 3);
	harness_write_text(&h, "open/a.txt", "the new version\n");
	assert_non_null(watch_wait(&w, IN_CLOSE_WRITE, "a.txt", EVENT_MS));
	assert_true(reads(harness_path(&h, "open/a.txt"), "the new version\n"));
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, strlen("old version\n"));
	memset(data, 0, sizeof(data));
	assert_int_equal(pread(fd, data, sizeof(data), 0), strlen("old version\n"));
	assert_string_equal(data, "old version\n");
	close(fd);
	assert_true(reads(harness_path(&h, "open/a.txt"), "the new version\n"));
	watch_close(&w);
}

static void test_times(void **state)
{
	struct watch w;

	begin(&w, "times");
	harness_create_text(&h, "times/a.txt", "x");
	assert_non_null(watch_wait(&w, IN_CREATE, "a.txt", EVENT_MS));
	watch_clear(&w);
	harness_touch(&h, "times/a.txt", 1500000000);
	assert_non_null(watch_wait(&w, IN_ATTRIB, "a.txt", EVENT_MS));
	assert_int_equal(mtime_of(harness_path(&h, "times/a.txt")), 1500000000);
	assert_int_equal(watch_count(&w, IN_MODIFY, "a.txt"), 0);
	watch_close(&w);
}

static void test_swapped_names(void **state)
{
	struct watch w;

	begin(&w, "swap");
	harness_create_text(&h, "swap/a", "was a\n");
	harness_create_text(&h, "swap/b", "was b\n");
	assert_non_null(watch_wait(&w, IN_CREATE, "b", EVENT_MS));
	harness_move(&h, "swap/a", "swap/c");
	harness_move(&h, "swap/b", "swap/a");
	harness_move(&h, "swap/c", "swap/b");
	harness_wait_until(reads(harness_path(&h, "swap/a"), "was b\n") &&
			   reads(harness_path(&h, "swap/b"), "was a\n"));
	watch_close(&w);
}

static void test_nobody_may_write(void **state)
{
	assert_int_equal(open(harness_path(&h, "x"), O_CREAT | O_WRONLY, 0600), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(mkdir(harness_path(&h, "x"), 0700), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(rename(harness_path(&h, "content"), harness_path(&h, "x")), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(unlink(harness_path(&h, "content/a.txt")), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(truncate(harness_path(&h, "content/a.txt"), 0), -1);
	assert_int_equal(errno, EROFS);
	assert_int_equal(chmod(harness_path(&h, "content/a.txt"), 0777), -1);
	assert_int_equal(errno, EROFS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_create),
		cmocka_unit_test(test_delete),
		cmocka_unit_test(test_rename_has_one_cookie),
		cmocka_unit_test(test_move_of_a_folder),
		cmocka_unit_test(test_content),
		cmocka_unit_test(test_open_file_keeps_its_version),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_swapped_names),
		cmocka_unit_test(test_nobody_may_write),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

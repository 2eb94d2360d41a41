/*
 * What the kernel is given of inodes: how many of them, their blocks, and who may do what.
 */
#include "inner.h"

#include "inodes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOBODY = 65534, EVENT_MS = 10000, BUDGET = 100 };

static const uint32_t all_events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |
				   IN_CLOSE_WRITE | IN_ATTRIB;

static size_t count_names(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* --- the budget of known inodes --- */

static int make_dir(struct inner *in, const char *name, int files_n, int *ret_files)
{
	int dir;

	inner_hold(in);
	inner_begin(in);
	dir = inner_mkdir(in, INNER_ROOT, name);
	for (int i = 0; i < files_n; i++) {
		char file[16];

		snprintf(file, sizeof(file), "f%d", i);
		ret_files[i] = inner_create(in, dir, file, 10);
	}
	inner_end(in);
	inner_drop(in);
	return dir;
}

static void test_budget(void **state)
{
	struct inner *in =
		inner_start(&(struct inner_options){ .umask = 022, .known_inodes = BUDGET });
	struct inodes *inodes = inner_inodes(in);
	int small[80], large[300], small_dir, large_dir;
	uint64_t before;
	struct stat st;

	small_dir = make_dir(in, "small", 80, small);
	large_dir = make_dir(in, "large", 300, large);
	/* Under it a listing brings the inodes: no stat asks. */
	assert_int_equal(count_names(inner_path(in, "small")), 80);
	assert_int_equal(inodes_known_n(inodes), 81);
	before = fs_requests_n(inner_fs(in));
	for (int i = 0; i < 80; i++)
		assert_int_equal(stat(inner_path(in, "small/f%d", i), &st), 0);
	assert_int_equal(fs_requests_n(inner_fs(in)), before);
	/* The reply that goes over it is the last one with inodes. */
	assert_int_equal(count_names(inner_path(in, "large")), 300);
	assert_true(inodes_known_n(inodes) > BUDGET);
	assert_true(inodes_known_n(inodes) < 300);
	assert_int_equal(stat(inner_path(in, "large/f299"), &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(st.st_ino, inner_ino(in, large[299]));
	/* When the kernel has forgotten enough, the bare listing goes, and the next brings them. */
	for (int i = 0; i < 200; i++)
		inner_delete(in, large[i]);
	inner_settle(in);
	harness_wait_until(inodes_known_n(inodes) < BUDGET * 7 / 8);
	for (int i = 0; i < 80; i++)
		inner_delete(in, small[i]);
	inner_settle(in);
	harness_wait_until(inodes_known_n(inodes) < 60);
	inner_settle(in);
	assert_int_equal(count_names(inner_path(in, "large")), 100);
	before = fs_requests_n(inner_fs(in));
	for (int i = 200; i < 300; i++)
		assert_int_equal(stat(inner_path(in, "large/f%d", i), &st), 0);
	assert_int_equal(fs_requests_n(inner_fs(in)), before);
	/* All that was counted is counted down. */
	for (int i = 200; i < 300; i++)
		inner_delete(in, large[i]);
	inner_delete(in, small_dir);
	inner_delete(in, large_dir);
	inner_settle(in);
	assert_int_equal(count_names(inner_path(in, ".")), 0);
	harness_wait_until(inodes_known_n(inodes) == 0);
	inner_stop(in);
}

/* --- blocks: what is here --- */

static uint64_t blocks_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return (uint64_t)st.st_blocks;
}

static void test_blocks(void **state)
{
	enum { SIZE = 100000 };
	struct inner *in = inner_start(&(struct inner_options){ .umask = 022 });
	int dir = inner_mkdir(in, INNER_ROOT, "d"), item = inner_create(in, dir, "f", SIZE), fd;
	char *path = strdup(inner_path(in, "d/f")), byte;

	inner_settle(in);
	/* Not 0, which tar takes for nothing but zeros. */
	assert_int_equal(blocks_of(path), 1);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, &byte, 1), 1);
	close(fd);
	/* The reading made the kernel ask again. The block is counted once it is on disk. */
	harness_wait_until(blocks_of(path) == (SIZE + 511) / 512);
	inner_write(in, item, SIZE + 1);
	inner_settle(in);
	assert_int_equal(blocks_of(path), 1);
	free(path);
	inner_stop(in);
}

/* --- who may --- */

/* What open(2), or with access: access(2), says to somebody. */
static int error_for(uid_t uid, const char *path, int how, bool access_only)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		int r;

		if (uid != 0 && (syscall(SYS_setgid, uid) < 0 || syscall(SYS_setuid, uid) < 0))
			_exit(255);
		r = access_only ? access(path, how) : open(path, how);
		_exit(r < 0 ? errno : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void require_root(void)
{
	if (geteuid() == 0)
		return;
	fprintf(stderr, "SKIP: only root can be somebody else.\n");
	skip();
}

static void test_owner_only(void **state)
{
	char *path, *folder;
	struct inner *in;
	int dir;

	require_root();
	in = inner_start(&(struct inner_options){ .umask = 022 });
	dir = inner_mkdir(in, INNER_ROOT, "d");
	folder = strdup(inner_path(in, "d"));
	inner_create(in, dir, "f", 0);
	inner_settle(in);
	path = strdup(inner_path(in, "d/f"));
	assert_int_equal(error_for(0, path, O_RDONLY, false), 0);
	assert_int_equal(error_for(0, path, O_RDWR, false), EROFS);
	assert_int_equal(error_for(0, path, R_OK, true), 0);
	assert_int_equal(error_for(0, path, W_OK, true), EROFS);
	assert_int_equal(error_for(0, path, X_OK, true), EACCES);
	assert_int_equal(error_for(0, folder, R_OK | X_OK, true), 0);
	assert_int_equal(error_for(NOBODY, path, O_RDONLY, false), EACCES);
	assert_int_equal(error_for(NOBODY, path, R_OK, true), EACCES);
	assert_int_equal(error_for(NOBODY, folder, O_RDONLY | O_DIRECTORY, false), EACCES);
	free(path);
	free(folder);
	inner_stop(in);
}

static void test_others_by_mode(void **state)
{
	static const struct {
		mode_t umask;
		int read, list;
	} cases[] = {
		{ 022, 0, 0 },
		{ 077, EACCES, EACCES },
		{ 026, EACCES, 0 }, /* files 0640, folders 0751: entered, not listed */
	};

	require_root();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct inner *in = inner_start(&(struct inner_options){
			.umask = cases[i].umask, .fuse_options = "allow_other" });
		int dir = inner_mkdir(in, INNER_ROOT, "d");
		char *path, *folder = strdup(inner_path(in, "d"));

		inner_create(in, dir, "f", 0);
		inner_settle(in);
		path = strdup(inner_path(in, "d/f"));
		assert_int_equal(error_for(NOBODY, path, O_RDONLY, false), cases[i].read);
		assert_int_equal(error_for(NOBODY, path, R_OK, true), cases[i].read);
		assert_int_equal(error_for(NOBODY, folder, X_OK, true), cases[i].list);
		assert_int_equal(error_for(0, path, O_RDONLY, false), 0);
		free(path);
		free(folder);
		inner_stop(in);
	}
}

/* Root without its right to write everywhere is anybody. */
static void set_override(bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	const uint32_t bit = 1u << CAP_DAC_OVERRIDE;

	assert_int_equal(syscall(SYS_capget, &head, data), 0);
	data[0].effective = on ? data[0].effective | bit : data[0].effective & ~bit;
	assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

/* The kernel refuses the replays in a folder that may not be written to: something is heard. */
static void test_unwritable_folder(void **state)
{
	struct notify_stats stats;
	unsigned parked_n;
	struct inner *in;
	struct watch w;
	int dir, item;

	require_root();
	set_override(false);
	in = inner_start(&(struct inner_options){ .umask = 0222, .fuse_options = "allow_other" });
	dir = inner_mkdir(in, INNER_ROOT, "d");
	inner_settle(in);
	watch_open(&w, inner_path(in, "d"), all_events);
	item = inner_create(in, dir, "f", 10);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_ATTRIB, "f", EVENT_MS));
	assert_int_equal(count_names(inner_path(in, "d")), 1);
	watch_clear(&w);
	inner_write(in, item, 20);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_ATTRIB, "f", EVENT_MS));
	watch_clear(&w);
	inner_move(in, item, dir, "g");
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_ATTRIB | IN_ISDIR, "", EVENT_MS));
	assert_int_equal(access(inner_path(in, "d/g"), F_OK), 0);
	assert_int_not_equal(access(inner_path(in, "d/f"), F_OK), 0);
	watch_clear(&w);
	inner_delete(in, item);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_ATTRIB | IN_ISDIR, "", EVENT_MS));
	assert_int_equal(count_names(inner_path(in, "d")), 0);
	assert_int_equal(watch_count(&w, IN_DELETE, "g"), 0);
	fs_get_stats(inner_fs(in), &stats, &parked_n);
	assert_int_equal(stats.fallbacks_n, 5); /* the folder's own creation among them */
	watch_close(&w);
	inner_stop(in);
	set_override(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_budget),
		cmocka_unit_test(test_blocks),
		cmocka_unit_test(test_owner_only),
		cmocka_unit_test(test_others_by_mode),
		cmocka_unit_test(test_unwritable_folder),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

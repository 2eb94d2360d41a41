#include "paths.h"

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static struct scratch s;

static int setup(void **state)
{
	static const char *const names[] = { "XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME",
					     "XDG_RUNTIME_DIR" };

	scratch_open(&s);
	for (size_t i = 0; i < array_n(names); i++)
		unsetenv(names[i]);
	setenv("HOME", s.path, 1);
	return 0;
}

static int teardown(void **state)
{
	scratch_close(&s);
	return 0;
}

struct open {
	const char *root, *sub;
	enum paths_kind kind;
	int result, fd;
};

static void open_it(void *arg)
{
	struct open *o = arg;

	o->fd = -1;
	o->result = paths_open(o->kind, o->root, o->sub, &o->fd);
}

/* want: below the scratch directory. */
static void check_open(enum paths_kind kind, const char *sub, const char *want)
{
	struct open o = { .kind = kind, .sub = sub };
	auto_free char *path = NULL;
	struct stat st;

	open_it(&o);
	assert_int_equal(o.result, 0);
	path = paths_of_fd(o.fd);
	assert_non_null(path);
	assert_memory_equal(path, s.path, strlen(s.path));
	assert_string_equal(path + strlen(s.path), want);
	assert_int_equal(fstat(o.fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	close(o.fd);
}

static void test_xdg(void **state)
{
	char text[100];
	mode_t mask = umask(0);

	check_open(PATHS_CONFIG, NULL, "/.config/graphfs");
	check_open(PATHS_CONFIG, "accounts", "/.config/graphfs/accounts");
	check_open(PATHS_STATE, "abc", "/.local/state/graphfs/abc");
	check_open(PATHS_CACHE, NULL, "/.cache/graphfs");
	check_open(PATHS_RUNTIME, NULL, "/.local/state/graphfs");
	snprintf(text, sizeof(text), "%s/elsewhere/deep", s.path);
	setenv("XDG_CACHE_HOME", text, 1);
	check_open(PATHS_CACHE, NULL, "/elsewhere/deep/graphfs");
	/* The specification: a relative path is to be ignored. */
	setenv("XDG_CACHE_HOME", "elsewhere", 1);
	check_open(PATHS_CACHE, NULL, "/.cache/graphfs");
	setenv("XDG_CACHE_HOME", "", 1);
	check_open(PATHS_CACHE, NULL, "/.cache/graphfs");
	unsetenv("XDG_CACHE_HOME");
	umask(mask);
}

static void test_a_root_of_the_users(void **state)
{
	char root[100];
	struct open o = { .kind = PATHS_CACHE, .root = root, .sub = "x" };
	auto_free char *path = NULL;

	snprintf(root, sizeof(root), "%s/given", s.path);
	open_it(&o);
	assert_int_equal(o.result, 0);
	path = paths_of_fd(o.fd);
	assert_string_equal(path + strlen(s.path), "/given/graphfs/x");
	close(o.fd);
}

static void test_what_is_not_ours_is_refused(void **state)
{
	char dir[100], root[100];
	struct open o = { .kind = PATHS_STATE, .root = root };
	auto_free char *log = NULL;

	snprintf(root, sizeof(root), "%s/shared", s.path);
	snprintf(dir, sizeof(dir), "%s/shared/graphfs", s.path);
	assert_int_equal(mkdir(root, 0700), 0);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(chmod(dir, 0770), 0);
	log = scratch_log_of(open_it, &o);
	assert_int_equal(o.result, -EPERM);
	assert_int_equal(o.fd, -1);
	assert_non_null(strstr(log, "writable by nobody else"));
	/* A link that somebody put there leads anywhere. */
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(symlink(s.path, dir), 0);
	free(scratch_log_of(open_it, &o));
	assert_true(o.result < 0);
	assert_int_equal(o.fd, -1);
	assert_int_equal(unlink(dir), 0);
	scratch_write(&s, "shared/graphfs", "a file");
	free(scratch_log_of(open_it, &o));
	assert_int_equal(o.result, -ENOTDIR);
}

static void test_absolute(void **state)
{
	char link[100], want[PATH_MAX];
	auto_free char *path = NULL, *missing = NULL, *slashes = NULL, *relative = NULL;
	char *untouched = (char *)"x";

	assert_int_equal(mkdirat(s.fd, "real", 0700), 0);
	snprintf(link, sizeof(link), "%s/link", s.path);
	assert_int_equal(symlink("real", link), 0);
	snprintf(want, sizeof(want), "%s/real", s.path);
	assert_int_equal(paths_absolute(link, &path), 0);
	assert_string_equal(path, want);

	snprintf(link, sizeof(link), "%s/link/none", s.path);
	snprintf(want, sizeof(want), "%s/real/none", s.path);
	assert_int_equal(paths_absolute(link, &missing), 0);
	assert_string_equal(missing, want);
	snprintf(link, sizeof(link), "%s/link/none///", s.path);
	assert_int_equal(paths_absolute(link, &slashes), 0);
	assert_string_equal(slashes, want);

	assert_int_equal(fchdir(s.fd), 0);
	assert_int_equal(paths_absolute("link/none", &relative), 0);
	assert_string_equal(relative, want);
	assert_int_equal(paths_absolute("no/such", &untouched), -ENOENT);
	assert_string_equal(untouched, "x");
	assert_int_equal(chdir("/"), 0);
}

/* Whatever an account or a drive is called, its directory is sixteen digits, and another one. */
static void test_hash(void **state)
{
	static const char *const names[] = {
		"default/me", "default/drives/b!x", "default/drives/b!X", "a/me",
		"am/e",       "../../etc/passwd",   "default/..",         "x y\n",
		"",
	};
	char hashes[array_n(names)][17];

	for (size_t i = 0; i < array_n(names); i++) {
		paths_hash(names[i], hashes[i]);
		assert_int_equal(strspn(hashes[i], "0123456789abcdef"), 16);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(hashes[i], hashes[j]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_xdg),
		cmocka_unit_test(test_a_root_of_the_users),
		cmocka_unit_test(test_what_is_not_ours_is_refused),
		cmocka_unit_test(test_absolute),
		cmocka_unit_test(test_hash),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}

/*
 * What each change gives over a writable mount: a table of errors, and that the tree is the
 * service's afterwards.
 */
#include "sent.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

static struct harness h;

static int set_up(void **state)
{
	sent_start(&h, "0s");
	harness_create_text(&h, "d/a.txt", "content of a\n");
	harness_create_text(&h, "d/b.txt", "content of b\n");
	harness_create_text(&h, "d/full/x", "x\n");
	harness_mkdir(&h, "d/empty");
	harness_mkdir(&h, "d/other");
	sent_heard(&h);
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

/* --- the table --- */

enum call {
	CREATE,
	CREATE_EXCL,
	OPEN_WRITE,
	OPEN_TRUNC,
	OPEN_DIR_WRITE,
	MKDIR,
	MKNOD,
	MKFIFO,
	UNLINK,
	RMDIR,
	RENAME,
	NOREPLACE,
	EXCHANGE,
	WHITEOUT,
	SYMLINK,
	LINK,
	TRUNCATE,
	TRUNCATE_BACK,
	CHMOD,
	CHOWN_SAME,
	CHOWN_OTHER,
	CHGRP_OTHER,
	UTIMENS,
	PUNCH,
	ALLOCATE,
	ALLOCATE_KEEP,
	SETXATTR,
};

static int rename2(const char *from, const char *to, unsigned flags)
{
	return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
}

static int open_and_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0644);

	return fd < 0 ? -1 : close(fd);
}

static int allocate(const char *path, int mode)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), r, error;

	if (fd < 0)
		return -1;
	r = (int)syscall(SYS_fallocate, fd, mode, (off_t)0, (off_t)100);
	error = errno;
	close(fd);
	errno = error;
	return r;
}

static int set_xattr(const char *path)
{
	return (int)syscall(SYS_setxattr, path, "user.mine", "x", (size_t)1, 0);
}

static int perform(enum call call, const char *path, const char *to)
{
	static const struct timespec times[2] = { { .tv_sec = 1500000000 },
						  { .tv_sec = 1500000000 } };

	switch (call) {
	case CREATE:
		return open_and_close(path, O_CREAT | O_WRONLY);
	case CREATE_EXCL:
		return open_and_close(path, O_CREAT | O_EXCL | O_WRONLY);
	case OPEN_WRITE:
		return open_and_close(path, O_WRONLY);
	case OPEN_TRUNC:
		return open_and_close(path, O_WRONLY | O_TRUNC);
	case OPEN_DIR_WRITE:
		return open_and_close(path, O_RDWR);
	case MKDIR:
		return mkdir(path, 0755);
	case MKNOD:
		return mknod(path, S_IFREG | 0644, 0);
	case MKFIFO:
		return mkfifo(path, 0644);
	case UNLINK:
		return unlink(path);
	case RMDIR:
		return rmdir(path);
	case RENAME:
		return rename(path, to);
	case NOREPLACE:
		return rename2(path, to, RENAME_NOREPLACE);
	case EXCHANGE:
		return rename2(path, to, RENAME_EXCHANGE);
	case WHITEOUT:
		return rename2(path, to, RENAME_WHITEOUT);
	case SYMLINK:
		return symlink("a.txt", path);
	case LINK:
		return link(path, to);
	case TRUNCATE:
		return truncate(path, 5);
	case TRUNCATE_BACK:
		return truncate(path, -1);
	case CHMOD:
		return chmod(path, 0600);
	case CHOWN_SAME:
		return chown(path, geteuid(), getegid());
	case CHOWN_OTHER:
		return chown(path, geteuid() + 1, (gid_t)-1);
	case CHGRP_OTHER:
		return chown(path, (uid_t)-1, getegid() + 1);
	case UTIMENS:
		return utimensat(AT_FDCWD, path, times, 0);
	case PUNCH:
		return allocate(path, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
	case ALLOCATE:
		return allocate(path, 0);
	case ALLOCATE_KEEP:
		return allocate(path, FALLOC_FL_KEEP_SIZE);
	case SETXATTR:
		return set_xattr(path);
	default:
		return -1;
	}
}

struct row {
	enum call call;
	const char *path, *to;
	int error; /* 0: it works */
};

static void check_rows(const struct row *rows, size_t n)
{
	unsigned wrong_n = 0;

	for (size_t i = 0; i < n; i++) {
		const struct row *row = &rows[i];
		char to[4200] = "";
		int got;

		if (row->to)
			snprintf(to, sizeof(to), "%s", harness_path(&h, "%s", row->to));
		errno = 0;
		got = perform(row->call, harness_path(&h, "%s", row->path), to) < 0 ? errno : 0;
		if (got == row->error)
			continue;
		print_error("row %zu: call %d of \"%s\"%s%s: %s instead of %s\n", i, row->call,
			    row->path, row->to ? " to " : "", row->to ? row->to : "",
			    strerrorname_np(got) ? strerrorname_np(got) : "0",
			    strerrorname_np(row->error));
		wrong_n++;
	}
	assert_int_equal(wrong_n, 0);
}

#define LETTERS_50  "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"
#define LETTERS_250 LETTERS_50 LETTERS_50 LETTERS_50 LETTERS_50 LETTERS_50

static void test_what_is_refused(void **state)
{
	static const struct row rows[] = {
		{ CREATE_EXCL, "d/a.txt", NULL, EEXIST },
		{ CREATE, "d/none/x", NULL, ENOENT },
		{ CREATE, "d/a.txt/x", NULL, ENOTDIR },
		{ CREATE, "d/empty", NULL, EISDIR },
		{ OPEN_WRITE, "d/none", NULL, ENOENT },
		{ OPEN_TRUNC, "d/none", NULL, ENOENT },
		{ OPEN_DIR_WRITE, "d/empty", NULL, EISDIR },
		{ MKDIR, "d/empty", NULL, EEXIST },
		{ MKDIR, "d/a.txt", NULL, EEXIST },
		{ MKDIR, "d/none/x", NULL, ENOENT },
		{ MKNOD, "d/a.txt", NULL, EEXIST },
		{ MKFIFO, "d/fifo", NULL, EPERM },
		{ SYMLINK, "d/symlink", NULL, EPERM },
		{ LINK, "d/a.txt", "d/hard", EPERM },
		{ UNLINK, "d/none", NULL, ENOENT },
		{ UNLINK, "d/empty", NULL, EISDIR },
		{ RMDIR, "d/a.txt", NULL, ENOTDIR },
		{ RMDIR, "d/none", NULL, ENOENT },
		{ RMDIR, "d/full", NULL, ENOTEMPTY },
		{ RMDIR, "d", NULL, ENOTEMPTY },
		{ RENAME, "d/none", "d/none2", ENOENT },
		{ RENAME, "d/a.txt", "d/none/x", ENOENT },
		{ RENAME, "d/a.txt", "d/empty", EISDIR },
		{ RENAME, "d/empty", "d/a.txt", ENOTDIR },
		{ RENAME, "d/other", "d/full", ENOTEMPTY },
		{ RENAME, "d/full", "d/full/below", EINVAL },
		{ NOREPLACE, "d/a.txt", "d/b.txt", EEXIST },
		{ NOREPLACE, "d/other", "d/empty", EEXIST },
		{ EXCHANGE, "d/a.txt", "d/b.txt", EINVAL },
		{ WHITEOUT, "d/a.txt", "d/w", EINVAL },
		{ TRUNCATE, "d/none", NULL, ENOENT },
		{ TRUNCATE, "d/empty", NULL, EISDIR },
		{ TRUNCATE_BACK, "d/a.txt", NULL, EINVAL },
		{ CHOWN_OTHER, "d/a.txt", NULL, EPERM },
		{ CHGRP_OTHER, "d/a.txt", NULL, EPERM },
		{ PUNCH, "d/a.txt", NULL, EOPNOTSUPP },
		{ SETXATTR, "d/a.txt", NULL, EOPNOTSUPP },
	};

	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
	assert_int_equal(rename("/etc/hostname", harness_path(&h, "d/x")), -1);
	assert_int_equal(errno, EXDEV);
}

static void test_names(void **state)
{
	static const struct row rows[] = {
		{ CREATE, "d/a\"b", NULL, EINVAL },
		{ CREATE, "d/a*b", NULL, EINVAL },
		{ CREATE, "d/a:b", NULL, EINVAL },
		{ CREATE, "d/a<b", NULL, EINVAL },
		{ CREATE, "d/a>b", NULL, EINVAL },
		{ CREATE, "d/a?b", NULL, EINVAL },
		{ CREATE, "d/a\\b", NULL, EINVAL },
		{ CREATE, "d/a|b", NULL, EINVAL },
		{ CREATE, "d/tab\t", NULL, EINVAL },
		{ CREATE, "d/dot.", NULL, EINVAL },
		{ CREATE, "d/space ", NULL, EINVAL },
		{ CREATE, "d/ space", NULL, EINVAL },
		{ CREATE, "d/CON", NULL, EINVAL },
		{ CREATE, "d/com1", NULL, EINVAL },
		{ CREATE, "d/desktop.ini", NULL, EINVAL },
		{ CREATE, "d/a_vti_b", NULL, EINVAL },
		{ CREATE, "d/~$a.docx", NULL, EINVAL },
		{ CREATE, "d/\xff", NULL, EILSEQ },
		{ MKDIR, "d/~tmp", NULL, EINVAL },
		{ MKDIR, "d/a:b", NULL, EINVAL },
		{ MKNOD, "d/a:b", NULL, EINVAL },
		{ RENAME, "d/a.txt", "d/a:b", EINVAL },
		{ RENAME, "d/empty", "d/dot.", EINVAL },
		{ CREATE, "d/" LETTERS_250 "123456", NULL, ENAMETOOLONG },
		{ RENAME, "d/a.txt", "d/" LETTERS_250 "123456", ENAMETOOLONG },
		{ CREATE, "d/" LETTERS_250 "12345", NULL, 0 },
		{ UNLINK, "d/" LETTERS_250 "12345", NULL, 0 },
		/* What differs in case only. */
		{ CREATE, "d/A.TXT", NULL, EEXIST },
		{ CREATE_EXCL, "d/A.TXT", NULL, EEXIST },
		{ MKDIR, "d/EMPTY", NULL, EEXIST },
		{ MKNOD, "d/A.TXT", NULL, EEXIST },
		{ RENAME, "d/b.txt", "d/A.TXT", EEXIST },
		{ RENAME, "d/other", "d/EMPTY", EEXIST },
		{ OPEN_WRITE, "d/A.TXT", NULL, ENOENT },
		{ UNLINK, "d/A.TXT", NULL, ENOENT },
	};

	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
}

static void test_what_works(void **state)
{
	static const struct row rows[] = {
		{ MKDIR, "w", NULL, 0 },           { CREATE_EXCL, "w/a", NULL, 0 },
		{ CREATE, "w/a", NULL, 0 },        { MKNOD, "w/b", NULL, 0 },
		{ RENAME, "w/a", "w/a", 0 },       { NOREPLACE, "w/a", "w/c", 0 },
		{ RENAME, "w/b", "w/c", 0 },       { RENAME, "w/c", "w/C", 0 },
		{ MKDIR, "w/sub", NULL, 0 },       { MKDIR, "w/sub2", NULL, 0 },
		{ RENAME, "w/sub", "w/sub2", 0 },  { RENAME, "w/sub2", "w/SUB2", 0 },
		{ ALLOCATE_KEEP, "w/C", NULL, 0 }, { ALLOCATE, "w/C", NULL, 0 },
		{ CHMOD, "w/C", NULL, 0 },         { CHOWN_SAME, "w/C", NULL, 0 },
		{ UTIMENS, "w/C", NULL, 0 },       { RENAME, "w/C", "w/SUB2/c", 0 },
		{ MKDIR, "w/gone", NULL, 0 },      { RMDIR, "w/gone", NULL, 0 },
	};
	struct stat st;

	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
	assert_int_equal(stat(harness_path(&h, "w/SUB2/c"), &st), 0);
	assert_int_equal(st.st_size, 100);
	assert_int_equal(st.st_mode, S_IFREG | 0600);
	assert_int_equal(st.st_mtim.tv_sec, 1500000000);
	sent_wait(&h);
	assert_true(sent_is(&h, "w/SUB2/c", (char[100]){ 0 }, 100));
	assert_int_equal(sent_get(&h, "w/SUB2/c").mtime_s, 1500000000);
	assert_int_equal(sent_count(&h, "w", ""), 1);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

/* Of items that the service has: the id stays. */
static void test_case_only_rename(void **state)
{
	const struct sent_item before = sent_get(&h, "d/b.txt");

	assert_int_equal(rename(harness_path(&h, "d/b.txt"), harness_path(&h, "d/B.txt")), 0);
	assert_int_equal(access(harness_path(&h, "d/b.txt"), F_OK), -1);
	sent_wait(&h);
	assert_string_equal(sent_get(&h, "d/B.txt").id, before.id);
	assert_int_equal(rename(harness_path(&h, "d/full"), harness_path(&h, "d/FULL")), 0);
	sent_wait(&h);
	assert_true(sent_exists(&h, "d/FULL/x"));
	assert_int_equal(rename(harness_path(&h, "d/FULL"), harness_path(&h, "d/full")), 0);
	assert_int_equal(rename(harness_path(&h, "d/B.txt"), harness_path(&h, "d/b.txt")), 0);
	sent_wait(&h);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

static void test_removed_but_open(void **state)
{
	char data[32] = "";
	struct stat st;
	int fd = open(harness_path(&h, "d/open"), O_RDWR | O_CREAT, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, "before", 6), 6);
	assert_int_equal(unlink(harness_path(&h, "d/open")), 0);
	assert_int_equal(pwrite(fd, " after", 6, 6), 6);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 12);
	assert_string_equal(data, "before after");
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 12);
	assert_int_equal(ftruncate(fd, 3), 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, 3);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_int_equal(close(fd), 0);
	sent_wait(&h);
	assert_false(sent_exists(&h, "d/open"));
	/* One of the service's, and another under its name meanwhile. */
	fd = open(harness_path(&h, "d/a.txt"), O_RDWR);
	assert_true(fd >= 0);
	/* What nobody has read by then is gone with the item. */
	assert_int_equal(pread(fd, data, sizeof(data), 0), 13);
	assert_int_equal(unlink(harness_path(&h, "d/a.txt")), 0);
	assert_int_equal(perform(CREATE_EXCL, harness_path(&h, "d/a.txt"), NULL), 0);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 13);
	assert_memory_equal(data, "content of a\n", 13);
	assert_int_equal(pwrite(fd, "C", 1, 0), 1);
	assert_int_equal(pread(fd, data, sizeof(data), 0), 13);
	assert_memory_equal(data, "Content of a\n", 13);
	assert_int_equal(close(fd), 0);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "d/a.txt", ""));
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

static void test_open_flags(void **state)
{
	char data[32] = "";
	int fd = open(harness_path(&h, "flags"), O_WRONLY | O_CREAT | O_EXCL, 0640), other;

	assert_true(fd >= 0);
	assert_int_equal(read(fd, data, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(write(fd, "0123456789", 10), 10);
	other = open(harness_path(&h, "flags"), O_WRONLY | O_APPEND);
	assert_int_equal(write(other, "ab", 2), 2);
	assert_int_equal(pwrite(fd, "X", 1, 0), 1);
	assert_int_equal(write(other, "cd", 2), 2);
	close(other);
	close(fd);
	fd = open(harness_path(&h, "flags"), O_RDONLY);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(read(fd, data, sizeof(data)), 14);
	assert_string_equal(data, "X123456789abcd");
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "flags", "X123456789abcd"));
	fd = open(harness_path(&h, "flags"), O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, "new", 3), 3);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "flags", "new"));
	assert_int_equal(perform(OPEN_TRUNC, harness_path(&h, "flags"), NULL), 0);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "flags", ""));
}

static void test_read_only(void **state)
{
	static const struct row rows[] = {
		{ CREATE, "x", NULL, EROFS },
		{ MKDIR, "x", NULL, EROFS },
		{ MKNOD, "x", NULL, EROFS },
		{ MKFIFO, "x", NULL, EROFS },
		{ SYMLINK, "x", NULL, EROFS },
		{ LINK, "d/a.txt", "x", EROFS },
		{ UNLINK, "d/a.txt", NULL, EROFS },
		{ RMDIR, "d/empty", NULL, EROFS },
		{ RENAME, "d/a.txt", "x", EROFS },
		{ OPEN_WRITE, "d/a.txt", NULL, EROFS },
		{ OPEN_TRUNC, "d/a.txt", NULL, EROFS },
		{ TRUNCATE, "d/a.txt", NULL, EROFS },
		{ CHMOD, "d/a.txt", NULL, EROFS },
		{ CHOWN_SAME, "d/a.txt", NULL, EROFS },
		{ UTIMENS, "d/a.txt", NULL, EROFS },
		{ CREATE, "a:b", NULL, EROFS },
	};

	sent_mount_fresh(&h);
	check_rows(rows, sizeof(rows) / sizeof(rows[0]));
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_refused), cmocka_unit_test(test_names),
		cmocka_unit_test(test_what_works),      cmocka_unit_test(test_case_only_rename),
		cmocka_unit_test(test_open_flags),      cmocka_unit_test(test_removed_but_open),
		cmocka_unit_test(test_read_only),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

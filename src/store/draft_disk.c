#include "draft_disk.h"

#include "draft_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { CID_DIGITS = 16, ASIDE_TRIES = 1000, COPY_BYTES = 1 << 20 };

static const char damaged_dir[] = "damaged";

void draft_disk_name(uint64_t cid, const char *suffix, char ret[DRAFT_NAME_BYTES])
{
	snprintf(ret, DRAFT_NAME_BYTES, "%016" PRIx64 "%s", cid, suffix);
}

bool draft_disk_parse(const char *name, uint64_t *ret_cid, const char **ret_suffix)
{
	char again[DRAFT_NAME_BYTES];
	uint64_t cid;

	if (strspn(name, "0123456789abcdef") != CID_DIGITS)
		return false;
	cid = strtoull(name, NULL, 16);
	draft_disk_name(cid, "", again);
	*ret_cid = cid;
	*ret_suffix = name + CID_DIGITS;
	return strncmp(name, again, CID_DIGITS) == 0;
}

int draft_disk_open(int dir_fd, uint64_t cid, const char *suffix, int flags)
{
	char name[DRAFT_NAME_BYTES];
	int fd;

	draft_disk_name(cid, suffix, name);
	fd = openat(dir_fd, name, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	return fd < 0 ? -errno : fd;
}

int draft_disk_open_old(int dir_fd, uint64_t cid, const char *suffix)
{
	int fd = draft_disk_open(dir_fd, cid, suffix, O_RDWR);

	return fd == -EROFS ? draft_disk_open(dir_fd, cid, suffix, O_RDONLY) : fd;
}

uint64_t draft_disk_boot(void)
{
	auto_close int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[64];
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	return n <= 0 ? 0 : draft_log_sum(text, (size_t)n, 0) | 1;
}

int draft_disk_pread(int fd, void *buf, size_t len, uint64_t off)
{
	while (len > 0) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -ENODATA;
		buf = (char *)buf + n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

ssize_t draft_disk_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = pwrite(fd, (const char *)buf + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return done > 0 ? (ssize_t)done : n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

int draft_disk_pwrite_all(int fd, const void *buf, size_t len, uint64_t off)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = draft_disk_pwrite(fd, (const char *)buf + done, len - done, off + done);

		if (n < 0)
			return (int)n;
		done += (size_t)n;
	}
	return 0;
}

/* --- removal --- */

static int unlink_one(int dir_fd, uint64_t cid, const char *suffix)
{
	char name[DRAFT_NAME_BYTES];

	draft_disk_name(cid, suffix, name);
	return unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

int draft_disk_end_removal(int dir_fd, uint64_t cid)
{
	int r = unlink_one(dir_fd, cid, "");

	return r < 0 ? r : unlink_one(dir_fd, cid, ".gone");
}

int draft_disk_begin_removal(int dir_fd, uint64_t cid)
{
	char log[DRAFT_NAME_BYTES], gone[DRAFT_NAME_BYTES];

	draft_disk_name(cid, ".log", log);
	draft_disk_name(cid, ".gone", gone);
	return renameat(dir_fd, log, dir_fd, gone) < 0 ? -errno : 0;
}

/* --- what is damaged --- */

static int move_one(int dir_fd, const char *from, int to_fd, const char *to)
{
	/* Not every file system knows RENAME_NOREPLACE. Nobody else writes there. */
	if (faccessat(to_fd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return renameat(dir_fd, from, to_fd, to) < 0 && errno != ENOENT ? -errno : 0;
}

int draft_disk_set_aside(int dir_fd, uint64_t cid, char ret[DRAFT_NAME_BYTES])
{
	char data[DRAFT_NAME_BYTES], log[DRAFT_NAME_BYTES];
	char to[DRAFT_NAME_BYTES], to_log[DRAFT_NAME_BYTES + 8];
	auto_close int to_fd = -1;
	int r = -EEXIST;

	draft_disk_name(cid, "", data);
	draft_disk_name(cid, ".log", log);
	if (mkdirat(dir_fd, damaged_dir, 0700) < 0 && errno != EEXIST)
		return -errno;
	to_fd = openat(dir_fd, damaged_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (to_fd < 0)
		return -errno;
	for (int i = 1; r == -EEXIST && i < ASIDE_TRIES; i++) {
		char suffix[8] = "";

		if (i > 1)
			snprintf(suffix, sizeof(suffix), ".%d", i);
		draft_disk_name(cid, suffix, to);
		snprintf(to_log, sizeof(to_log), "%s.log", to);
		if (faccessat(to_fd, to_log, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		r = move_one(dir_fd, data, to_fd, to);
		if (r == 0)
			r = move_one(dir_fd, log, to_fd, to_log);
	}
	if (r < 0)
		return r;
	memcpy(ret, to, DRAFT_NAME_BYTES);
	return 0;
}

uint64_t draft_disk_count_damaged(int dir_fd)
{
	int fd = openat(dir_fd, damaged_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t n = 0;
	struct dirent *e;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	/* A draft's data, or its log if that is all there is of it. */
	while ((e = readdir(dir))) {
		char data[sizeof(e->d_name)];
		char *end;

		snprintf(data, sizeof(data), "%s", e->d_name);
		end = strstr(data, ".log");
		if (end)
			*end = '\0';
		n += data[0] != '.' && (!end || faccessat(fd, data, F_OK, AT_SYMLINK_NOFOLLOW) < 0);
	}
	closedir(dir);
	return n;
}

/* --- giving away --- */

static int copy_bytes(int from_fd, int to_fd)
{
	auto_free char *buf = malloc(COPY_BYTES);
	struct stat st;
	int r;

	if (!buf)
		return -ENOMEM;
	if (fstat(from_fd, &st) < 0 || ftruncate(to_fd, st.st_size) < 0)
		return -errno;
	for (off_t at = 0; at < st.st_size;) {
		off_t data = lseek(from_fd, at, SEEK_DATA), left;
		size_t len;

		if (data < 0 && errno == ENXIO)
			break;
		at = data < at ? at : data;
		left = st.st_size - at;
		len = left < COPY_BYTES ? (size_t)left : COPY_BYTES;
		r = draft_disk_pread(from_fd, buf, len, (uint64_t)at);
		if (r == 0)
			r = draft_disk_pwrite_all(to_fd, buf, len, (uint64_t)at);
		if (r < 0)
			return r;
		at += (off_t)len;
	}
	return fdatasync(to_fd) < 0 ? -errno : 0;
}

static int give_copy(int data_fd, int to_fd, const char *name)
{
	auto_close int fd = -1;
	char part[NAME_MAX + 1];
	int r;

	if (snprintf(part, sizeof(part), "%s.part", name) >= (int)sizeof(part))
		return -ENAMETOOLONG;
	fd = openat(to_fd, part, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = copy_bytes(data_fd, fd);
	if (r == 0 && renameat(to_fd, part, to_fd, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(to_fd, part, 0); /* r says what is wrong */
	return r;
}

int draft_disk_give(int dir_fd, uint64_t cid, int data_fd, int to_fd, const char *name)
{
	char data[DRAFT_NAME_BYTES];

	draft_disk_name(cid, "", data);
	if (unlinkat(to_fd, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (linkat(dir_fd, data, to_fd, name, 0) == 0)
		return 0;
	/* Another file system, or one without links. */
	if (errno != EXDEV && errno != EPERM && errno != EOPNOTSUPP && errno != EMLINK)
		return -errno;
	return give_copy(data_fd, to_fd, name);
}

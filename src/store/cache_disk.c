#define LOG_MODULE "cache"
#include "cache_disk.h"

#include "cache.h"
#include "cache_db.h"
#include "clock.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { NAME_MAX_N = 32, TEXT_MAX = 256, SWEEP_FILES = 512 };

static const char running_file[] = "running", epoch_file[] = "epoch";
static const char old_prefix[] = "old.";

int cache_disk_pread(int fd, void *buf, size_t len, uint64_t off)
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

int cache_disk_pwrite(int fd, const void *buf, size_t len, uint64_t off)
{
	while (len > 0) {
		ssize_t n = pwrite(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		buf = (const char *)buf + n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return 0;
}

/* --- the two small files --- */

static int read_text(int dir_fd, const char *name, char ret[TEXT_MAX])
{
	auto_close int fd = openat(dir_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, ret, TEXT_MAX - 1);
	if (n < 0)
		return -errno;
	ret[n] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	return 0;
}

static int write_text(int dir_fd, const char *name, const char *text)
{
	auto_close int fd =
		openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = cache_disk_pwrite(fd, text, strlen(text), 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	return r;
}

static int read_boot(char ret[TEXT_MAX])
{
	return read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", ret);
}

/* --- the tree of folders --- */

static bool is_fanout(const char *name)
{
	return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static void format_fanout(uint64_t cid, char ret[3])
{
	snprintf(ret, 3, "%02x", (unsigned)(cid & 0xff));
}

static void format_name(uint64_t cid, bool map, char ret[NAME_MAX_N])
{
	snprintf(ret, NAME_MAX_N, "%016" PRIx64 "%s", cid, map ? ".map" : "");
}

static int open_fanout(int dir_fd, uint64_t cid, bool create)
{
	char name[3];
	int fd;

	format_fanout(cid, name);
	if (create && mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static DIR *open_listing(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir && fd >= 0)
		close(fd);
	return dir;
}

static void close_listing(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

/* --- what is to be thrown away --- */

static bool is_old(const char *name)
{
	return strncmp(name, old_prefix, sizeof(old_prefix) - 1) == 0;
}

int cache_disk_discard(int dir_fd)
{
	auto_call(close_listing) DIR *top = NULL;
	auto_close int old = -1;
	char name[NAME_MAX_N];
	struct dirent *d;
	int r = cache_db_discard(dir_fd);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "%s%016" PRIx64, old_prefix, (uint64_t)clock_real_ns());
	if (mkdirat(dir_fd, name, 0700) < 0)
		return -errno;
	old = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	top = open_listing(dir_fd, ".");
	if (old < 0 || !top)
		return -errno;
	while ((d = readdir(top)))
		if (is_fanout(d->d_name) && renameat(dir_fd, d->d_name, old, d->d_name) < 0)
			return -errno;
	return 0;
}

/* Removes up to *left files of a folder, and the folder when it is empty. */
static void sweep_fanout(int old, const char *name, unsigned *left)
{
	auto_call(close_listing) DIR *dir = open_listing(old, name);
	struct dirent *d;

	while (dir && *left > 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.')
			continue;
		if (unlinkat(dirfd(dir), d->d_name, 0) == 0)
			--*left;
	}
	if (*left > 0)
		(void)unlinkat(old, name, dir ? AT_REMOVEDIR : 0);
}

bool cache_disk_sweep(int dir_fd)
{
	auto_call(close_listing) DIR *top = open_listing(dir_fd, ".");
	unsigned left = SWEEP_FILES;
	struct dirent *d, *e;

	while (top && left > 0 && (d = readdir(top))) {
		auto_call(close_listing) DIR *old = NULL;

		if (!is_old(d->d_name) || !(old = open_listing(dir_fd, d->d_name)))
			continue;
		while (left > 0 && (e = readdir(old)))
			if (e->d_name[0] != '.')
				sweep_fanout(dirfd(old), e->d_name, &left);
		if (left > 0)
			(void)unlinkat(dir_fd, d->d_name, AT_REMOVEDIR);
	}
	return left == 0;
}

/* --- begin and end --- */

/* May the contents be believed? */
static bool is_usable(int dir_fd, const char *epoch, const char *boot)
{
	char text[TEXT_MAX];
	int r = read_text(dir_fd, epoch_file, text);

	if (r < 0 || strcmp(text, epoch) != 0) {
		if (r != -ENOENT)
			log_info("cached contents belong to another tree: thrown away");
		return false;
	}
	if (!cache_db_exists(dir_fd))
		return false;
	r = read_text(dir_fd, running_file, text);
	if (r == -ENOENT || (r == 0 && boot[0] && strcmp(text, boot) == 0))
		return true;
	log_warn("the machine stopped while contents were being cached: thrown away");
	return false;
}

int cache_disk_begin(int dir_fd, const char *epoch, struct cache_disk_use *ret)
{
	char boot[TEXT_MAX] = "";
	bool is_fresh;
	int r = 0;

	if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EBUSY : -errno;
	/* Without the boot's name a killed process cannot be told from a crash. */
	if (read_boot(boot) < 0)
		log_warn("the kernel does not tell its boot: cached contents are used once");
	is_fresh = !is_usable(dir_fd, epoch, boot);
	ret->dir_fd = dir_fd;
	ret->is_marked = faccessat(dir_fd, running_file, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
	/* What a killed process wrote is on no list. */
	ret->is_unlisted = ret->is_marked;
	ret->listed_n = 0;
	ret->sync = fdatasync;
	if (is_fresh) {
		ret->is_marked = ret->is_unlisted = false;
		r = cache_disk_discard(dir_fd);
		if (r == 0)
			r = write_text(dir_fd, epoch_file, epoch);
		if (r == 0)
			r = cache_disk_mark(ret);
	}
	if (r < 0)
		(void)flock(dir_fd, LOCK_UN);
	return r;
}

int cache_disk_mark(struct cache_disk_use *use)
{
	char boot[TEXT_MAX] = "";
	int r;

	if (use->is_marked)
		return 0;
	(void)read_boot(boot);
	r = write_text(use->dir_fd, running_file, boot);
	if (r == 0 && fsync(use->dir_fd) < 0)
		r = -errno;
	use->is_marked = r == 0;
	return r;
}

void cache_disk_note(struct cache_disk_use *use, uint64_t cid)
{
	if (use->listed_n == CACHE_DISK_LISTED_MAX)
		use->is_unlisted = true;
	else
		use->listed[use->listed_n++] = cid;
}

void cache_disk_distrust(int dir_fd)
{
	(void)unlinkat(dir_fd, epoch_file, 0);
}

/* --- the end, within a time --- */

/* Who decides about the mark: the thread that syncs, or the one that does not wait any longer. */
enum { SYNCING, UNMARKING, ENDED, GIVEN_UP };

struct ending {
	struct cache_disk_use use; /* with a descriptor of its own */
	atomic_int state;
	atomic_int refs_n;
	int done_fd; /* closed when it is through */
};

static int sync_name(const struct cache_disk_use *use, int dir, const char *name)
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	return use->sync(fd) < 0 ? -errno : 0;
}

/* Evicted meanwhile: nothing is to be done. The folder, for the names in it. */
static int sync_content(const struct cache_disk_use *use, uint64_t cid)
{
	auto_close int dir = open_fanout(use->dir_fd, cid, false);
	char name[NAME_MAX_N];
	int r;

	if (dir < 0)
		return dir == -ENOENT ? 0 : dir;
	format_name(cid, false, name);
	r = sync_name(use, dir, name);
	format_name(cid, true, name);
	if (r == 0)
		r = sync_name(use, dir, name);
	if (r == 0)
		r = sync_name(use, dir, ".");
	return r;
}

/* Not the whole file system unless it must be: others may be writing much. */
static int sync_all(const struct cache_disk_use *use)
{
	int r = 0;

	if (use->is_unlisted)
		return syncfs(use->dir_fd) < 0 ? -errno : 0;
	for (unsigned i = 0; r == 0 && i < use->listed_n; i++)
		r = sync_content(use, use->listed[i]);
	if (r == 0)
		r = cache_db_sync(use->dir_fd, use->sync);
	return r < 0 ? r : sync_name(use, use->dir_fd, ".");
}

static void unref(struct ending *e)
{
	if (atomic_fetch_sub(&e->refs_n, 1) == 1)
		free(e);
}

static void *end_work(void *arg)
{
	struct ending *e = arg;
	int expected = SYNCING, r = sync_all(&e->use);

	if (r < 0)
		log_warn("cached contents cannot be synced: %s", strerror(-r));
	if (r == 0 && atomic_compare_exchange_strong(&e->state, &expected, UNMARKING)) {
		(void)unlinkat(e->use.dir_fd, running_file, 0);
		atomic_store(&e->state, ENDED);
	}
	/* Whoever was told may want to unmount. */
	close(e->use.dir_fd);
	close(e->done_fd);
	unref(e);
	return NULL;
}

/* The thread cannot be ended while the kernel syncs for it. */
static void wait_for_end(struct ending *e, int done_fd, unsigned wait_ms)
{
	struct pollfd p = { .fd = done_fd };
	uint64_t end_ms = clock_mono_ms() + wait_ms, now;
	int expected = SYNCING;

	while ((now = clock_mono_ms()) < end_ms && poll(&p, 1, (int)(end_ms - now)) < 0)
		continue;
	if (p.revents)
		return;
	if (atomic_compare_exchange_strong(&e->state, &expected, GIVEN_UP))
		log_warn("the disk takes long: cached contents are lost if the machine stops now");
	else
		while (atomic_load(&e->state) == UNMARKING)
			poll(NULL, 0, 1);
}

static int begin_end(const struct cache_disk_use *use, struct ending **ret, int *ret_done_fd)
{
	struct ending *e = malloc(sizeof(*e));
	int fds[2] = { -1, -1 }, r = 0;
	pthread_t thread = 0;

	if (!e)
		return -ENOMEM;
	e->use = *use;
	e->use.dir_fd = fcntl(use->dir_fd, F_DUPFD_CLOEXEC, 0);
	atomic_init(&e->state, SYNCING);
	atomic_init(&e->refs_n, 2);
	if (e->use.dir_fd < 0 || pipe2(fds, O_CLOEXEC) < 0) {
		r = -errno;
	} else {
		e->done_fd = fds[1];
		r = -pthread_create(&thread, NULL, end_work, e);
	}
	if (r == 0) {
		pthread_detach(thread);
		*ret = e;
		*ret_done_fd = fds[0];
		return 0;
	}
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (e->use.dir_fd >= 0)
		close(e->use.dir_fd);
	free(e);
	return r;
}

void cache_disk_end(struct cache_disk_use *use, unsigned wait_ms)
{
	struct ending *e = NULL;
	int done_fd = -1, r = use->is_marked ? begin_end(use, &e, &done_fd) : 0;

	if (r < 0)
		log_warn("cached contents cannot be synced: %s", strerror(-r));
	if (e) {
		wait_for_end(e, done_fd, wait_ms);
		unref(e);
		close(done_fd);
	}
	(void)flock(use->dir_fd, LOCK_UN);
}

/* --- contents --- */

/* What is on a disk that became read-only can still be read. */
static int open_one(int dir, const char *name)
{
	const int flags = O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
	int fd = openat(dir, name, O_RDWR | flags);

	return fd < 0 && errno == EROFS ? openat(dir, name, O_RDONLY | flags) : fd;
}

int cache_disk_open(int dir_fd, uint64_t cid, int *ret_fd, int *ret_map_fd)
{
	auto_close int dir = open_fanout(dir_fd, cid, false);
	auto_close int fd = -1;
	char name[NAME_MAX_N];
	int map_fd;

	if (dir < 0)
		return dir;
	format_name(cid, false, name);
	fd = open_one(dir, name);
	if (fd < 0)
		return -errno;
	format_name(cid, true, name);
	map_fd = open_one(dir, name);
	if (map_fd < 0)
		return -errno;
	*ret_fd = take_fd(&fd);
	*ret_map_fd = map_fd;
	return 0;
}

uint64_t cache_disk_count(int dir_fd, uint64_t cid)
{
	auto_close int fd = -1, map_fd = -1;
	struct cache_disk_header header;
	uint8_t have[4096];
	uint64_t n, bytes = 0;
	size_t len;

	if (cache_disk_open(dir_fd, cid, &fd, &map_fd) < 0 ||
	    cache_disk_pread(map_fd, &header, sizeof(header), 0) < 0 ||
	    header.size > CACHE_SIZE_MAX)
		return 0;
	n = (header.size + CACHE_BLOCK_BYTES - 1) / CACHE_BLOCK_BYTES;
	for (uint64_t at = 0; at < n; at += len) {
		len = n - at < sizeof(have) ? (size_t)(n - at) : sizeof(have);
		if (cache_disk_pread(map_fd, have, len, sizeof(header) + at) < 0)
			return 0;
		for (size_t i = 0; i < len; i++)
			bytes += have[i] ? CACHE_BLOCK_BYTES : 0;
	}
	return bytes < header.size ? bytes : header.size;
}

static int create_one(int dir, uint64_t cid, bool map, uint64_t length)
{
	char name[NAME_MAX_N];
	int fd, r;

	format_name(cid, map, name);
	if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)length) == 0)
		return fd;
	r = -errno;
	close(fd);
	return r;
}

int cache_disk_create(int dir_fd, const struct cache_disk_header *header, uint64_t blocks_n,
		      int *ret_fd, int *ret_map_fd)
{
	auto_close int dir = open_fanout(dir_fd, header->cid, true);
	auto_close int fd = -1, map_fd = -1;
	int r;

	if (dir < 0)
		return dir;
	fd = create_one(dir, header->cid, false, header->size);
	map_fd = fd < 0 ? fd : create_one(dir, header->cid, true, sizeof(*header) + blocks_n);
	r = map_fd < 0 ? map_fd : cache_disk_pwrite(map_fd, header, sizeof(*header), 0);
	if (r < 0) {
		cache_disk_remove(dir_fd, header->cid);
		return r;
	}
	*ret_fd = take_fd(&fd);
	*ret_map_fd = take_fd(&map_fd);
	return 0;
}

void cache_disk_remove(int dir_fd, uint64_t cid)
{
	auto_close int dir = open_fanout(dir_fd, cid, false);
	char name[NAME_MAX_N];

	if (dir < 0)
		return;
	/* The map first: data without a map is nothing. */
	format_name(cid, true, name);
	(void)unlinkat(dir, name, 0);
	format_name(cid, false, name);
	(void)unlinkat(dir, name, 0);
}

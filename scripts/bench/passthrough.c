/*
 * bench_passthrough SOURCE MOUNTPOINT: the least a filesystem in user space can do. Shows a local
 * folder, with the kernel caches, threads and way of replying that graphfs has: the limit of its
 * design. For benchmarks only: nothing may change below SOURCE while it runs.
 *
 * The number of an inode is the source's; its path is remembered for ever.
 */
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { IO_MAX = 1 << 20, THREADS = 2, SLOTS_N = 1 << 20 };

static const double LEASE_S = 3600;

/* ino -> path below the source, open addressing. Locked: two threads. */
static struct slot {
	uint64_t ino;
	char *path;
} slots[SLOTS_N];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t root_ino;
static int source = -1;

static struct slot *slot_of(uint64_t ino)
{
	uint64_t at = ino * 0x9e3779b97f4a7c15u >> 44;

	while (slots[at].ino && slots[at].ino != ino)
		at = (at + 1) % SLOTS_N;
	return &slots[at];
}

/* "" for what is not known. Never freed. */
static const char *path_of(fuse_ino_t ino)
{
	const char *path;

	if (ino == FUSE_ROOT_ID)
		return ".";
	pthread_mutex_lock(&lock);
	path = slot_of(ino)->path;
	pthread_mutex_unlock(&lock);
	return path ? path : "";
}

static void remember(uint64_t ino, const char *folder, const char *name)
{
	struct slot *slot;

	pthread_mutex_lock(&lock);
	slot = slot_of(ino);
	if (!slot->ino && asprintf(&slot->path, "%s/%s", folder, name) >= 0)
		slot->ino = ino;
	pthread_mutex_unlock(&lock);
}

/* 0 or an errno: the entry of a name in a folder, remembered. */
static int find(const char *folder, int dir, const char *name, struct fuse_entry_param *ret)
{
	*ret = (struct fuse_entry_param){ .attr_timeout = LEASE_S, .entry_timeout = LEASE_S };
	if (fstatat(dir, name, &ret->attr, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	if (ret->attr.st_ino == root_ino)
		ret->attr.st_ino = FUSE_ROOT_ID;
	else
		remember(ret->attr.st_ino, folder, name);
	ret->ino = ret->attr.st_ino;
	return 0;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want |= conn->capable & FUSE_CAP_READDIRPLUS;
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	conn->want |= conn->capable &
		      (FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ);
	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->max_background = 64;
	conn->congestion_threshold = 48;
	conn->max_write = IO_MAX;
	conn->max_read = IO_MAX;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	const char *folder = path_of(parent);
	auto_close int dir = openat(source, folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct fuse_entry_param entry;
	int r = dir < 0 ? errno : find(folder, dir, name, &entry);

	if (r == ENOENT)
		entry.ino = 0;
	if (r == 0 || r == ENOENT)
		fuse_reply_entry(req, &entry);
	else
		fuse_reply_err(req, r);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	(void)fi;
	if (fstatat(source, path_of(ino), &st, AT_SYMLINK_NOFOLLOW) < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	st.st_ino = ino;
	fuse_reply_attr(req, &st, LEASE_S);
}

/* Once, and the kernel opens folders itself, with its caches kept. */
static void on_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

/* 0 or an errno: fills data from a position on. */
static int fill(fuse_req_t req, fuse_ino_t ino, off_t off, char *data, size_t size,
		size_t *ret_used)
{
	const char *folder = path_of(ino);
	int fd = openat(source, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir)
		return errno;
	seekdir(dir, off);
	while ((e = readdir(dir))) {
		bool is_dots = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
		struct fuse_entry_param entry = { .attr = { .st_ino = ino, .st_mode = S_IFDIR } };
		size_t n;

		if (!is_dots && find(folder, dirfd(dir), e->d_name, &entry) != 0)
			continue;
		n = fuse_add_direntry_plus(req, data + *ret_used, size - *ret_used, e->d_name,
					   &entry, e->d_off);
		if (n > size - *ret_used)
			break;
		*ret_used += n;
	}
	closedir(dir);
	return 0;
}

static void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
			   struct fuse_file_info *fi)
{
	auto_free char *data = malloc(size);
	size_t used = 0;
	int r = data ? fill(req, ino, off, data, size, &used) : ENOMEM;

	(void)fi;
	if (r == 0)
		fuse_reply_buf(req, data, used);
	else
		fuse_reply_err(req, r);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	int fd = openat(source, path_of(ino), O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		fuse_reply_err(req, errno);
		return;
	}
	fi->fh = (uint64_t)fd;
	fi->keep_cache = 1;
	fi->noflush = 1;
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	static _Thread_local char data[IO_MAX];
	ssize_t n = pread((int)fi->fh, data, size < IO_MAX ? size : IO_MAX, off);

	(void)ino;
	if (n < 0)
		fuse_reply_err(req, errno);
	else
		fuse_reply_buf(req, data, (size_t)n);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	close((int)fi->fh);
	fuse_reply_err(req, 0);
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	(void)ino;
	(void)n;
	fuse_reply_none(req);
}

static const struct fuse_lowlevel_ops ops = {
	.init = on_init,
	.lookup = on_lookup,
	.forget = on_forget,
	.getattr = on_getattr,
	.opendir = on_opendir,
	.readdirplus = on_readdirplus,
	.open = on_open,
	.read = on_read,
	.release = on_release,
};

static int serve(const char *mountpoint)
{
	char *argv[] = { "bench_passthrough", "-o", "fsname=passthrough,max_read=1048576,ro" };
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct fuse_session *session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r = -1;

	fuse_loop_cfg_set_max_threads(config, THREADS);
	fuse_loop_cfg_set_clone_fd(config, 0);
	if (session && fuse_set_signal_handlers(session) == 0 &&
	    fuse_session_mount(session, mountpoint) == 0) {
		r = fuse_session_loop_mt(session, config);
		fuse_session_unmount(session);
	}
	if (session)
		fuse_session_destroy(session);
	fuse_loop_cfg_destroy(config);
	fuse_opt_free_args(&args);
	return r;
}

int main(int argc, char **argv)
{
	struct stat st;

	if (argc != 3) {
		fprintf(stderr, "usage: bench_passthrough SOURCE MOUNTPOINT\n");
		return 2;
	}
	source = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (source < 0 || fstat(source, &st) < 0) {
		perror(argv[1]);
		return 1;
	}
	root_ino = st.st_ino;
	/* On ext4 only the root can have FUSE's number of it, and it is no source here. */
	return serve(argv[2]) == 0 ? 0 : 1;
}

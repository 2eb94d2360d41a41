#define LOG_MODULE "notify"
#include "tell.h"

#include "inodes.h"
#include "log.h"
#include "replay.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

/* include/uapi/linux/fuse.h; libfuse 3.14 has no function for it, the kernel takes it from 6.16
 * on and refuses unknown codes with EINVAL. */
enum { FUSE_NOTIFY_INC_EPOCH = 8 };
enum { SLICE_N = 128, REPLAY_TRIES = 8 };

struct tell {
	struct fuse_session *session;
	struct notify_options options;
	dev_t dev; /* of the mount */
	atomic_bool has_no_epoch;
};

int tell_new(struct fuse_session *session, dev_t dev, const struct notify_options *options,
	     struct tell **ret)
{
	struct tell *tell = calloc(1, sizeof(*tell));

	if (!tell)
		return -ENOMEM;
	tell->session = session;
	tell->dev = dev;
	tell->options = *options;
	tell->has_no_epoch = options->no_epoch;
	*ret = tell;
	return 0;
}

void tell_free(struct tell *tell)
{
	free(tell);
}

void tell_enter(struct tell *tell)
{
	replay_begin(tell->options.replay, NULL);
}

/* --- invalidations; what the kernel does not know is no error --- */

static void inval_attr(const struct tell *tell, uint64_t ino)
{
	(void)fuse_lowlevel_notify_inval_inode(tell->session, ino, -1, 0);
}

static void inval_entry(const struct tell *tell, uint64_t parent, const char *name)
{
	(void)fuse_lowlevel_notify_inval_entry(tell->session, parent, name, strlen(name));
}

static void expire_entry(const struct tell *tell, uint64_t parent, const char *name)
{
	(void)fuse_lowlevel_notify_expire_entry(tell->session, parent, name, strlen(name),
						FUSE_LL_EXPIRE_ONLY);
}

void tell_drop_pages(struct tell *tell, uint64_t ino)
{
	(void)fuse_lowlevel_notify_inval_inode(tell->session, ino, 0, 0);
}

/* --- replays --- */

/* Without asking the filesystem. */
static int get_dev(int fd, dev_t *ret)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -errno;
	*ret = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

/* The mount's root. Once it is unmounted its path leads to the folder below, where a replayed
 * deletion would be a real one: -ENODEV. */
static int open_root(const struct tell *tell)
{
	auto_close int fd = open(tell->options.mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	dev_t dev = 0;
	int r = fd < 0 ? -errno : get_dev(fd, &dev);

	if (r < 0)
		return r;
	return dev == tell->dev ? take_fd(&fd) : -ENODEV;
}

/* The directory as the kernel has it now; walks from the root without following anything. Nothing
 * is kept open between changes: that would make the mount busy for umount. -ENOTDIR: it is not
 * where it was. */
static int open_dir(const struct tell *tell, const char *path)
{
	auto_free char *copy = strdup(path);
	auto_close int at = open_root(tell);
	char *rest = copy, *name;
	dev_t dev = 0;

	if (!copy || at < 0)
		return copy ? at : -ENOMEM;
	while ((name = strsep(&rest, "/"))) {
		int next;

		if (!name[0])
			continue;
		next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0)
			return errno == ENOENT ? -ENOTDIR : -errno;
		close(at);
		at = next;
	}
	/* Something else may be mounted on the way. */
	if (get_dev(at, &dev) < 0 || dev != tell->dev)
		return -ENODEV;
	return take_fd(&at);
}

static int touch(int dir, const char *name)
{
	const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };

	return utimensat(dir, name, now, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int replay_create(const struct change *c, int dir)
{
	int r = c->attr.kind == TREE_DIR ? mkdirat(dir, c->name, 0755)
					 : mknodat(dir, c->name, S_IFREG | 0644, 0);

	return r < 0 ? -errno : 0;
}

static int replay_content(const struct change *c, int dir)
{
	auto_close int fd = openat(dir, c->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	return ftruncate(fd, (off_t)c->attr.size) < 0 ? -errno : 0;
}

static void look_up(int dir, const char *name)
{
	int fd = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
}

static int replay_move(const struct tell *tell, const struct change *c, int dir)
{
	auto_close int to = open_dir(tell, c->to_dir_path);

	if (to < 0)
		return to;
	/* Whoever looked a directory up at its new place has moved the kernel's only entry for it
	 * there. Looking it up moves it back; inside rename(2) that fails with ESTALE, because it
	 * needs the lock that rename(2) holds. */
	if (c->attr.kind == TREE_DIR)
		look_up(dir, c->name);
	return renameat2(dir, c->name, to, c->to_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int replay_once(const struct tell *tell, const struct change *c)
{
	auto_close int dir = open_dir(tell, c->dir_path);
	int flags = c->attr.kind == TREE_DIR ? AT_REMOVEDIR : 0;

	if (dir < 0)
		return dir;
	switch (c->kind) {
	case CHANGE_CREATE:
		return replay_create(c, dir);
	case CHANGE_DELETE:
		return unlinkat(dir, c->name, flags) < 0 ? -errno : 0;
	case CHANGE_MOVE:
		return replay_move(tell, c, dir);
	case CHANGE_CONTENT:
		return replay_content(c, dir);
	case CHANGE_ATTR:
	default:
		return touch(dir, c->name);
	}
}

static void drop_names(struct tell *tell, const struct change *c)
{
	inval_entry(tell, c->parent, c->name);
	if (c->kind == CHANGE_MOVE)
		inval_entry(tell, c->to_parent, c->to_name);
}

/* Somebody else's rename, or the like, is under way: 0.1 ms, then twice that ... */
static void wait_a_little(int tries)
{
	const struct timespec time = { .tv_nsec = 100000l << tries };

	(void)nanosleep(&time, NULL);
}

/* Whoever looked a name up since the commit has put what the tree says by now into the kernel's
 * cache, and the system call would end there: a name to be made exists, one to be removed does
 * not. Without the name the kernel asks us, and we know that it is a replay that asks. */
static int replay_change(struct tell *tell, const struct change *c)
{
	int r = -EIO;

	replay_begin(tell->options.replay, c);
	for (int i = 0; i < REPLAY_TRIES; i++) {
		r = replay_once(tell, c);
		if (r != -EEXIST && r != -ENOENT && r != -ESTALE)
			break;
		drop_names(tell, c);
		if (r == -ESTALE)
			wait_a_little(i);
	}
	replay_end(tell->options.replay);
	return r;
}

/* The change itself cannot be raised (a race was lost for good, or the kernel checks permissions
 * and the directory may not be written to): watchers hear at least that something is different
 * there. */
static void touch_instead(struct tell *tell, const struct change *c)
{
	struct change touched = *c;
	auto_close int dir = open_dir(tell, c->dir_path);
	auto_close int to = c->kind == CHANGE_MOVE ? open_dir(tell, c->to_dir_path) : -1;
	bool is_there = c->kind != CHANGE_DELETE && c->kind != CHANGE_MOVE;

	touched.kind = CHANGE_ATTR;
	replay_begin(tell->options.replay, &touched);
	/* A failure is no news: nobody can be told then. */
	if (dir >= 0)
		(void)touch(dir, is_there ? c->name : ".");
	if (to >= 0)
		(void)touch(to, ".");
	replay_end(tell->options.replay);
}

static void invalidate_before(struct tell *tell, const struct change *c)
{
	inval_attr(tell, c->parent);
	if (c->kind == CHANGE_MOVE)
		inval_attr(tell, c->to_parent);
	if (c->kind != CHANGE_CONTENT && c->kind != CHANGE_ATTR)
		return;
	/* A new inode under an old name: the dentry must go, expiring it is not enough for those
	 * who have it open at the moment. */
	if (c->old_ino != c->attr.ino)
		inval_entry(tell, c->parent, c->name);
	else
		expire_entry(tell, c->parent, c->name);
	inval_attr(tell, c->attr.ino);
}

static void invalidate_after_failure(struct tell *tell, const struct change *c)
{
	drop_names(tell, c);
	inval_attr(tell, c->attr.ino);
	inval_attr(tell, c->parent);
	if (c->kind == CHANGE_MOVE)
		inval_attr(tell, c->to_parent);
}

/* Nobody watches a directory that the kernel does not hold. */
static bool may_be_watched(const struct tell *tell, const struct change *c)
{
	bool is_move = c->kind == CHANGE_MOVE;

	if (!c->dir_path || (is_move && !c->to_dir_path))
		return false;
	return inodes_is_dir_known(tell->options.inodes, c->parent) ||
	       (is_move && inodes_is_dir_known(tell->options.inodes, c->to_parent));
}

bool tell_change(struct tell *tell, const struct change *c)
{
	int r;

	invalidate_before(tell, c);
	if (!may_be_watched(tell, c)) {
		if (c->kind == CHANGE_MOVE)
			invalidate_after_failure(tell, c);
		return true;
	}
	r = replay_change(tell, c);
	if (r < 0) {
		log_debug("replay of kind %d failed: %s", (int)c->kind, strerror(-r));
		invalidate_after_failure(tell, c);
		touch_instead(tell, c);
	}
	/* What the replay left in the attribute cache is the tree's, but others may have asked
	 * before it: the directory's time is told again. */
	inval_attr(tell, c->parent);
	if (c->kind == CHANGE_MOVE)
		inval_attr(tell, c->to_parent);
	return r == 0;
}

/* --- everything --- */

static int inc_epoch(struct tell *tell)
{
	struct {
		uint32_t len;
		int32_t code;
		uint64_t unique;
	} message = { .len = 16, .code = FUSE_NOTIFY_INC_EPOCH };

	if (tell->has_no_epoch)
		return -EINVAL;
	if (write(fuse_session_fd(tell->session), &message, sizeof(message)) == sizeof(message))
		return 0;
	tell->has_no_epoch = errno == EINVAL;
	return -errno;
}

/* The names in the root, each with its end. */
struct names {
	char *v;
	size_t len, cap;
};

static int add_name(void *arg, const struct tree_attr *attr, const char *name)
{
	struct names *names = arg;
	size_t n = strlen(name) + 1;

	if (names->len + n > names->cap) {
		size_t cap = names->cap * 2 + n + 4096;
		char *v = realloc(names->v, cap);

		if (!v)
			return 1;
		names->v = v;
		names->cap = cap;
	}
	memcpy(names->v + names->len, name, n);
	names->len += n;
	return 0;
}

/* Nothing is told inside tree_list(): the kernel may make us wait. */
static void expire_root(struct tell *tell)
{
	struct names names = { 0 };

	if (tree_list(tell->options.tree, TREE_ROOT_INO, 0, add_name, &names) < 0)
		log_error("the root cannot be read to invalidate it");
	for (size_t at = 0; at < names.len; at += strlen(names.v + at) + 1)
		expire_entry(tell, TREE_ROOT_INO, names.v + at);
	free(names.v);
}

/* The directory's entry goes from the cache, and with it all below that nobody uses. */
static void drop_dir(struct tell *tell, uint64_t ino)
{
	auto_call(tree_meta_fini) struct tree_meta meta = { 0 };

	if (ino != TREE_ROOT_INO && tree_get_meta(tell->options.tree, ino, &meta) == 0)
		inval_entry(tell, meta.attr.parent, meta.name);
}

/* Who works in a directory whose entry was dropped has no path until somebody looks it up. */
static void look_up_dir(struct tell *tell, uint64_t ino)
{
	auto_free char *path = NULL;
	int fd = tree_path(tell->options.tree, ino, &path) == 0 ? open_dir(tell, path) : -1;

	if (fd >= 0)
		close(fd);
}

/* Each call takes a directory's lock: requests must get through. */
static void let_others(size_t i)
{
	if (i % SLICE_N == SLICE_N - 1)
		sched_yield();
}

/*
 * Kernels before 6.16 have no epoch. Which names the kernel holds is not known, only which inodes:
 * dropping a directory's entry takes its names along, and every inode whose attributes are asked
 * again and that is gone is answered with ESTALE, upon which the kernel looks the name up anew.
 * What this leaves, until its lease ends, is the old name of something that was moved away from
 * the root (or is in use) in a change set so large that it came without names.
 */
static void walk(struct tell *tell, const uint64_t *inodes, size_t n)
{
	expire_root(tell);
	for (size_t i = 0; i < n; i++) {
		if (inodes_is_dir_known(tell->options.inodes, inodes[i]))
			drop_dir(tell, inodes[i]);
		let_others(i);
	}
	for (size_t i = 0; i < n; i++) {
		if (inodes_is_dir_known(tell->options.inodes, inodes[i]))
			look_up_dir(tell, inodes[i]);
		let_others(i);
	}
}

void tell_all(struct tell *tell)
{
	auto_free uint64_t *inodes = NULL;
	size_t n = 0;
	bool must_walk = inc_epoch(tell) < 0;

	/* An epoch is of names; what is open, and directories that somebody works in, keep their
	 * attributes. */
	if (inodes_snapshot(tell->options.inodes, must_walk, &inodes, &n) < 0) {
		log_error("no memory to invalidate what the kernel holds");
		return;
	}
	if (must_walk)
		walk(tell, inodes, n);
	for (size_t i = 0; i < n; i++) {
		inval_attr(tell, inodes[i]);
		let_others(i);
	}
	log_info("all that the kernel holds was invalidated (%s)", must_walk ? "walk" : "epoch");
}

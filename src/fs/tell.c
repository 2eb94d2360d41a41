#define LOG_MODULE "notify"
#include "tell.h"

#include "inodes.h"
#include "log.h"
#include "replay.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

/* include/uapi/linux/fuse.h; libfuse 3.14 has no function for it, the kernel takes it from 6.16
 * on and refuses unknown codes with EINVAL. */
enum { FUSE_NOTIFY_INC_EPOCH = 8 };
enum { SLICE_N = 128 };

struct tell {
	struct fuse_session *session;
	struct notify_options options;
	atomic_bool has_no_epoch;
};

int tell_new(struct fuse_session *session, const struct notify_options *options, struct tell **ret)
{
	struct tell *tell = calloc(1, sizeof(*tell));

	if (!tell)
		return -ENOMEM;
	tell->session = session;
	tell->options = *options;
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

static void inval_attr(struct tell *tell, uint64_t ino)
{
	(void)fuse_lowlevel_notify_inval_inode(tell->session, ino, -1, 0);
}

static void inval_entry(struct tell *tell, uint64_t parent, const char *name)
{
	(void)fuse_lowlevel_notify_inval_entry(tell->session, parent, name, strlen(name));
}

static void expire_entry(struct tell *tell, uint64_t parent, const char *name)
{
	(void)fuse_lowlevel_notify_expire_entry(tell->session, parent, name, strlen(name),
						FUSE_LL_EXPIRE_ONLY);
}

void tell_drop_pages(struct tell *tell, uint64_t ino)
{
	(void)fuse_lowlevel_notify_inval_inode(tell->session, ino, 0, 0);
}

/* --- replays --- */

/* The directory as the kernel has it now; walks from the root without following anything. Nothing
 * is kept open between changes: that would make the mount busy for umount. */
static int open_dir(struct tell *tell, const char *path)
{
	int at = open(tell->options.mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_free char *copy = strdup(path);
	char *rest = copy, *name;

	if (!copy || at < 0) {
		if (at >= 0)
			close(at);
		return -ENOMEM;
	}
	while ((name = strsep(&rest, "/"))) {
		int next;

		if (!name[0])
			continue;
		next = openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0) {
			int error = -errno;

			close(at);
			return error;
		}
		close(at);
		at = next;
	}
	return at;
}

static int touch(int dir, const char *name)
{
	const struct timespec now[2] = { { .tv_nsec = UTIME_NOW }, { .tv_nsec = UTIME_NOW } };

	return utimensat(dir, name, now, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
}

static int replay_create(struct tell *tell, const struct change *c, int dir)
{
	int r = c->attr.kind == TREE_DIR ? mkdirat(dir, c->name, 0755)
					 : mknodat(dir, c->name, S_IFREG | 0644, 0);

	if (r == 0)
		return 0;
	/* Somebody looked it up before us: it is known, only the event is missing. */
	if (errno == EEXIST) {
		expire_entry(tell, c->parent, c->name);
		return touch(dir, c->name) < 0 ? -EEXIST : 0;
	}
	return -errno;
}

static int replay_content(const struct change *c, int dir)
{
	auto_close int fd = openat(dir, c->name, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -errno;
	return ftruncate(fd, (off_t)c->attr.size) < 0 ? -errno : 0;
}

static int replay_move(struct tell *tell, const struct change *c, int dir)
{
	auto_close int to = open_dir(tell, c->to_dir_path);

	if (to < 0)
		return to;
	return renameat2(dir, c->name, to, c->to_name, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

static int replay_change(struct tell *tell, const struct change *c)
{
	auto_close int dir = open_dir(tell, c->dir_path);
	int flags = c->attr.kind == TREE_DIR ? AT_REMOVEDIR : 0;

	if (dir < 0)
		return dir;
	switch (c->kind) {
	case CHANGE_CREATE:
		return replay_create(tell, c, dir);
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
	inval_entry(tell, c->parent, c->name);
	if (c->kind == CHANGE_MOVE)
		inval_entry(tell, c->to_parent, c->to_name);
	inval_attr(tell, c->attr.ino);
	inval_attr(tell, c->parent);
}

bool tell_change(struct tell *tell, const struct change *c)
{
	int r;

	invalidate_before(tell, c);
	if (!c->dir_path || (c->kind == CHANGE_MOVE && !c->to_dir_path) ||
	    !inodes_is_dir_known(tell->options.inodes, c->parent)) {
		/* Nobody watches a directory that the kernel does not hold. */
		if (c->kind == CHANGE_MOVE)
			invalidate_after_failure(tell, c);
		return true;
	}
	replay_begin(tell->options.replay, c);
	r = replay_change(tell, c);
	replay_end(tell->options.replay);
	/* What the replay left in the attribute cache is the tree's, but others may have asked
	 * before it: the directory's time is told again. */
	inval_attr(tell, c->parent);
	if (r == 0)
		return true;
	log_debug("replay of kind %d failed: %s", (int)c->kind, strerror(-r));
	invalidate_after_failure(tell, c);
	return false;
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

static int expire_child(void *arg, const struct tree_attr *attr, const char *name)
{
	struct tell *tell = arg;

	expire_entry(tell, attr->parent, name);
	return 0;
}

void tell_all(struct tell *tell)
{
	auto_free uint64_t *inodes = NULL;
	size_t n = 0;
	bool walk = inc_epoch(tell) < 0;

	if (inodes_snapshot(tell->options.inodes, &inodes, &n) < 0) {
		log_error("no memory to invalidate what the kernel holds");
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if (walk && inodes_is_dir_known(tell->options.inodes, inodes[i]) &&
		    tree_list(tell->options.tree, inodes[i], 0, expire_child, tell) < 0)
			log_error("a directory cannot be read to invalidate it");
		inval_attr(tell, inodes[i]);
		/* Requests must get through: each call takes a directory's lock. */
		if (i % SLICE_N == SLICE_N - 1)
			sched_yield();
	}
	inval_attr(tell, TREE_ROOT_INO);
	log_info("all that the kernel holds was invalidated (%s)", walk ? "walk" : "epoch");
}

/*
 * Changes of the tree by those who use the mount. Each is one job of the store lane, which commits
 * it and then answers: a few tens of microseconds, unless the lane is busy with a page of the
 * service. So nothing of it can be interrupted, but for the wait for a folder's listing.
 */
#define LOG_MODULE "fs"
#include "ops.h"

#include "clock.h"
#include "content.h"
#include "inodes.h"
#include "itemname.h"
#include "lane.h"
#include "listing.h"
#include "log.h"
#include "names.h"
#include "tree_local.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>

struct change_op {
	struct lane_job job;
	struct parked parked; /* while the folder "waiter" is being listed */
	struct listing_waiter waiter;
	fuse_req_t req;
	struct fs *fs;
	/* 0, or -errno; answers itself when it gives 0. */
	int (*run)(struct change_op *op);
	uint64_t parent, to_parent;
	uint64_t lists; /* run() gave -EAGAIN: this folder must be listed first */
	enum tree_kind kind;
	mode_t mode;
	unsigned flags;
	struct fuse_file_info fi;
	struct stat wanted;
	int to_set;
	char *name, *to_name; /* behind the struct */
};

static void perform(void *arg);

/* --- waiting for a listing --- */

static bool cancel_op(struct parked *parked)
{
	struct change_op *op = container_of(parked, struct change_op, parked);

	return listing_unwant(op->fs->options.listing, &op->waiter);
}

static void keep_op(struct parked *parked)
{
	free(container_of(parked, struct change_op, parked));
}

static void on_listed(struct listing_waiter *w, int status)
{
	struct change_op *op = container_of(w, struct change_op, waiter);
	struct tree_attr dir;
	struct fs *fs = op->fs;

	if (status == LISTING_MORE && tree_get(fs->options.tree, w->dir, &dir) == 0 &&
	    !dir.complete) {
		listing_want(fs->options.listing, w);
		return;
	}
	if (!park_claim(&op->parked)) {
		park_unref(&op->parked);
		return;
	}
	if (status < 0) {
		fuse_reply_err(op->req, -status);
		park_unref(&op->parked);
		return;
	}
	/* What held it while it was parked is done with it; it goes on as a job. */
	lane_push(fs->options.store_lane, &op->job, perform, NULL, op);
}

static void wait_for_listing(struct change_op *op)
{
	op->parked = (struct parked){ .req = op->req, .cancel = cancel_op, .free = keep_op };
	op->waiter = (struct listing_waiter){ .dir = op->lists, .fn = on_listed };
	list_init(&op->waiter.node);
	if (!park_begin(op->fs->park, &op->parked))
		return;
	listing_want(op->fs->options.listing, &op->waiter);
	park_arm(&op->parked);
}

/* --- jobs --- */

static void perform(void *arg)
{
	struct change_op *op = arg;
	int r = op->run(op);

	if (r == -EAGAIN && op->lists) {
		wait_for_listing(op);
		return;
	}
	if (r < 0)
		fuse_reply_err(op->req, -r);
	if (r == 0 && op->fs->options.on_local)
		op->fs->options.on_local(op->fs->options.arg);
	free(op);
}

static struct change_op *new_op(fuse_req_t req, const char *name, const char *to_name)
{
	size_t len = name ? strlen(name) + 1 : 0, to_len = to_name ? strlen(to_name) + 1 : 0;
	struct change_op *op = calloc(1, sizeof(*op) + len + to_len);

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	op->req = req;
	op->fs = fuse_req_userdata(req);
	op->name = (char *)(op + 1);
	op->to_name = op->name + len;
	if (name)
		memcpy(op->name, name, len);
	if (to_name)
		memcpy(op->to_name, to_name, to_len);
	return op;
}

static void start(struct change_op *op, int (*run)(struct change_op *op))
{
	op->run = run;
	lane_push(op->fs->options.store_lane, &op->job, perform, NULL, op);
}

/* Replays end with 0; everybody may be refused. True: the request is answered. */
static bool is_answered(fuse_req_t req)
{
	struct fs *fs = ops_fs(req);

	if (ops_is_replay(req)) {
		fuse_reply_err(req, 0);
		return true;
	}
	if (!fs->options.is_writable) {
		fuse_reply_err(req, EROFS);
		return true;
	}
	return false;
}

/* What the service will not take is refused at once, and the log says why. */
static int check_name(const char *name, uint64_t parent, enum tree_kind kind)
{
	const struct itemname_place place = {
		.is_folder = kind == TREE_DIR,
		.is_in_root = parent == TREE_ROOT_INO,
	};
	const char *why;
	auto_free char *meant = NULL;
	size_t len;
	int r = itemname_check(name, strlen(name), &place, &why);

	/* It would come back from the service as another name. */
	if (r == 0 && names_unshow(name, &meant, &len) < 0) {
		r = -EINVAL;
		why = "it looks like an escaped name, but is none";
	}
	if (r == 0)
		r = itemname_check(meant, len, &place, &why);
	if (r < 0)
		log_info("\"%s\" is refused: %s", log_text(name), why);
	return r;
}

/* --- create --- */

static int run_make(struct change_op *op, struct tree_attr *ret)
{
	const struct tree_local_new what = {
		.parent = op->parent,
		.name = op->name,
		.kind = op->kind,
		.mode = (op->mode & 07777) | TREE_MODE_SET,
		.now_ns = clock_real_ns(),
	};
	int r = check_name(op->name, op->parent, op->kind);

	return r < 0 ? r : tree_local_create(op->fs->options.tree, &what, ret);
}

static int run_mknod(struct change_op *op)
{
	struct tree_attr attr;
	int r = run_make(op, &attr);

	if (r == 0)
		ops_reply_entry(op->req, &attr, ops_lease_s(op->fs));
	return r;
}

static int run_create(struct change_op *op)
{
	struct tree_attr attr;
	struct content_handle *h;
	bool keep_cache;
	int r = run_make(op, &attr);

	if (r < 0)
		return r;
	r = content_open(op->fs->options.content, attr.ino, &h, &keep_cache);
	if (r != 0)
		return r < 0 ? r : -EIO;
	content_set_writer(h);
	ops_reply_create(op->req, &attr, h, &op->fi);
	return 0;
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct change_op *op;

	if (ops_is_replay(req)) {
		ops_reply_replayed(req);
		return;
	}
	if (is_answered(req))
		return;
	if (!S_ISREG(mode)) {
		log_info("\"%s\" is refused: the service has files and folders only",
			 log_text(name));
		fuse_reply_err(req, EPERM);
		return;
	}
	op = new_op(req, name, NULL);
	if (!op)
		return;
	op->parent = parent;
	op->kind = TREE_FILE;
	op->mode = mode;
	start(op, run_mknod);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct change_op *op;

	if (ops_is_replay(req)) {
		ops_reply_replayed(req);
		return;
	}
	if (is_answered(req))
		return;
	op = new_op(req, name, NULL);
	if (!op)
		return;
	op->parent = parent;
	op->kind = TREE_DIR;
	op->mode = mode;
	start(op, run_mknod);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		struct fuse_file_info *fi)
{
	struct change_op *op;

	if (is_answered(req))
		return;
	op = new_op(req, name, NULL);
	if (!op)
		return;
	op->parent = parent;
	op->kind = TREE_FILE;
	op->mode = mode;
	op->fi = *fi;
	start(op, run_create);
}

/* --- remove --- */

/* -EAGAIN: what is to be listed is the entry. */
static int note_listing(struct change_op *op, int r, uint64_t parent, const char *name)
{
	struct tree_attr attr;

	if (r == -EAGAIN && tree_lookup(op->fs->options.tree, parent, name, &attr) == 0)
		op->lists = attr.ino;
	return r == -EAGAIN && !op->lists ? -EIO : r;
}

static int run_remove(struct change_op *op)
{
	struct tree_attr removed;
	int r = tree_local_remove(op->fs->options.tree, op->parent, op->name, op->kind,
				  clock_real_ns(), &removed);

	if (r < 0)
		return note_listing(op, r, op->parent, op->name);
	content_drop(op->fs->options.content, &removed);
	fuse_reply_err(op->req, 0);
	return 0;
}

static void start_remove(fuse_req_t req, fuse_ino_t parent, const char *name, enum tree_kind kind)
{
	struct change_op *op;

	if (is_answered(req))
		return;
	op = new_op(req, name, NULL);
	if (!op)
		return;
	op->parent = parent;
	op->kind = kind;
	start(op, run_remove);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	start_remove(req, parent, name, TREE_FILE);
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	start_remove(req, parent, name, TREE_DIR);
}

/* --- rename --- */

static int run_rename(struct change_op *op)
{
	struct tree_attr replaced = { 0 }, attr;
	int r = tree_lookup(op->fs->options.tree, op->parent, op->name, &attr);

	if (r == 0)
		r = check_name(op->to_name, op->to_parent, attr.kind);
	if (r == 0)
		r = tree_local_rename(op->fs->options.tree,
				      &(struct tree_local_move){
					      .parent = op->parent,
					      .name = op->name,
					      .to_parent = op->to_parent,
					      .to_name = op->to_name,
					      .keeps = op->flags & RENAME_NOREPLACE,
					      .now_ns = clock_real_ns(),
				      },
				      &replaced);
	if (r < 0)
		return note_listing(op, r, op->to_parent, op->to_name);
	if (replaced.ino)
		content_drop(op->fs->options.content, &replaced);
	fuse_reply_err(op->req, 0);
	return 0;
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
		const char *to_name, unsigned int flags)
{
	struct change_op *op;

	if (is_answered(req))
		return;
	/* The service has no such operation, and two renames are not one. */
	if (flags & ~(unsigned)RENAME_NOREPLACE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	op = new_op(req, name, to_name);
	if (!op)
		return;
	op->parent = parent;
	op->to_parent = to_parent;
	op->flags = flags;
	start(op, run_rename);
}

/* --- attributes --- */

static int64_t time_of(const struct change_op *op)
{
	const struct timespec *t = &op->wanted.st_mtim;

	return op->to_set & FUSE_SET_ATTR_MTIME_NOW ? clock_real_ns()
						    : t->tv_sec * INT64_C(1000000000) + t->tv_nsec;
}

static int run_setattr(struct change_op *op)
{
	struct fs *fs = op->fs;
	struct tree_local_stat stat = {
		.has_mtime = op->to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW),
		.mtime_ns = time_of(op),
		.has_mode = op->to_set & FUSE_SET_ATTR_MODE,
		.mode = (op->wanted.st_mode & 07777) | TREE_MODE_SET,
	};
	struct change_set *changes = NULL;
	struct tree_attr attr;
	struct stat st;
	int r = 0;

	if (op->to_set & FUSE_SET_ATTR_SIZE)
		r = content_truncate(fs->options.content, op->parent, (uint64_t)op->wanted.st_size,
				     clock_real_ns(), &attr, &changes);
	if (changes)
		fs_push_changes(fs, changes);
	if (r == 0 && stat.has_mtime)
		content_set_mtime(fs->options.content, op->parent, stat.mtime_ns);
	if (r == 0 && (stat.has_mtime || stat.has_mode))
		r = tree_local_set(fs->options.tree, op->parent, &stat, &attr);
	else if (r == 0 && !(op->to_set & FUSE_SET_ATTR_SIZE))
		r = tree_get(fs->options.tree, op->parent, &attr);
	/* Of a file that was removed while it is open nobody keeps these. */
	if (r == -ENOENT)
		r = content_find_attr(fs->options.content, op->parent, &attr);
	if (r < 0)
		return r;
	content_update_attr(fs->options.content, &attr);
	ops_stat(fs, &attr, &st);
	fuse_reply_attr(op->req, &st, ops_lease_s(fs));
	return 0;
}

void ops_change_attr(fuse_req_t req, fuse_ino_t ino, const struct stat *wanted, int to_set)
{
	const struct fs *fs = fuse_req_userdata(req);
	struct change_op *op;

	if (((to_set & FUSE_SET_ATTR_UID) && wanted->st_uid != fs->options.uid) ||
	    ((to_set & FUSE_SET_ATTR_GID) && wanted->st_gid != fs->options.gid)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	op = new_op(req, NULL, NULL);
	if (!op)
		return;
	op->parent = ino;
	op->wanted = *wanted;
	op->to_set = to_set;
	start(op, run_setattr);
}

/* --- what the service cannot hold --- */

static void refuse(fuse_req_t req, const char *name, const char *what)
{
	if (is_answered(req))
		return;
	log_info("\"%s\" is refused: the service has no %s", log_text(name), what);
	fuse_reply_err(req, EPERM);
}

void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	refuse(req, name, "symbolic links");
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	refuse(req, name, "hard links");
}

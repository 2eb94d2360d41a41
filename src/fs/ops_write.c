/*
 * Writing to open files. A write that finds its draft is answered by the thread that got it; the
 * first one goes by way of the store lane, where the row is told.
 */
#define LOG_MODULE "fs"
#include "ops.h"

#include "clock.h"
#include "content.h"
#include "lane.h"
#include "log.h"
#include "tree_local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

struct write_op {
	struct lane_job job;
	fuse_req_t req;
	struct fs *fs;
	fuse_ino_t ino;
	struct content_handle *h;
	uint64_t off;
	size_t size;
	int error;
	char data[];
};

static struct content_handle *handle_of(const struct fuse_file_info *fi)
{
	return (struct content_handle *)(uintptr_t)fi->fh;
}

static struct write_op *new_op(fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi,
			       size_t size)
{
	struct write_op *op = malloc(sizeof(*op) + size);

	if (!op) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	*op = (struct write_op){
		.req = req,
		.fs = fuse_req_userdata(req),
		.ino = ino,
		.h = handle_of(fi),
		.size = size,
	};
	return op;
}

static bool is_answered(fuse_req_t req, const struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);

	if (fs->options.is_writable && fi && fi->fh)
		return false;
	fuse_reply_err(req, fs->options.is_writable ? EBADF : EROFS);
	return true;
}

/* --- write --- */

static void begin_writing(void *arg)
{
	struct write_op *op = arg;
	struct change_set *changes = NULL;
	ssize_t r = content_edit(op->h, &changes);

	if (changes)
		fs_push_changes(op->fs, changes);
	if (r == 0)
		r = content_write_now(op->h, op->off, op->data, op->size);
	if (r < 0)
		fuse_reply_err(op->req, r == -EAGAIN ? EIO : (int)-r);
	else
		fuse_reply_write(op->req, (size_t)r);
	free(op);
}

void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	       struct fuse_file_info *fi)
{
	struct write_op *op;
	ssize_t r;

	if (is_answered(req, fi))
		return;
	r = content_write_now(handle_of(fi), (uint64_t)off, buf, size);
	if (r >= 0) {
		fuse_reply_write(req, (size_t)r);
		return;
	}
	if (r != -EAGAIN) {
		fuse_reply_err(req, (int)-r);
		return;
	}
	op = new_op(req, ino, fi, size);
	if (!op)
		return;
	op->off = (uint64_t)off;
	memcpy(op->data, buf, size);
	lane_push(op->fs->options.store_lane, &op->job, begin_writing, NULL, op);
}

/* --- fallocate --- */

static void grow(void *arg)
{
	struct write_op *op = arg;
	struct change_set *changes = NULL;
	struct tree_attr attr;
	int r = 0;

	content_get_attr(op->h, &attr);
	if (attr.size < op->off)
		r = content_truncate(op->fs->options.content, op->ino, op->off, clock_real_ns(),
				     &attr, &changes);
	if (changes)
		fs_push_changes(op->fs, changes);
	fuse_reply_err(op->req, -r);
	free(op);
}

/* Space cannot be kept for what is to be sent away; only the size that comes with it counts. */
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		   struct fuse_file_info *fi)
{
	struct write_op *op;

	if (is_answered(req, fi))
		return;
	if (mode & ~FALLOC_FL_KEEP_SIZE) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	if (mode & FALLOC_FL_KEEP_SIZE) {
		fuse_reply_err(req, 0);
		return;
	}
	op = new_op(req, ino, fi, 0);
	if (!op)
		return;
	op->off = (uint64_t)off + (uint64_t)len;
	lane_push(op->fs->options.store_lane, &op->job, grow, NULL, op);
}

/* --- fsync --- */

/* The content is on the disk: now the row that says that it is to be sent. Store lane. */
static void sync_row(void *arg)
{
	struct write_op *op = arg;
	int r = op->error;

	if (r == 0 && op->h)
		r = content_settle(op->fs->options.content, op->ino);
	if (r == 0)
		r = tree_sync(op->fs->options.tree);
	fuse_reply_err(op->req, -r);
	free(op);
}

static void sync_content(void *arg)
{
	struct write_op *op = arg;

	op->error = content_sync(op->h);
	lane_push(op->fs->options.store_lane, &op->job, sync_row, NULL, op);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);
	struct write_op *op;

	/* Nobody ever wrote here. */
	if (!fs->options.is_writable || !fi || !fi->fh) {
		fuse_reply_err(req, 0);
		return;
	}
	op = new_op(req, ino, fi, 0);
	if (op)
		lane_push(fs->sync_lane, &op->job, sync_content, NULL, op);
}

void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	const struct fuse_file_info none = { .fh = 0 };
	struct fs *fs = ops_fs(req);
	struct write_op *op;

	if (!fs->options.is_writable) {
		fuse_reply_err(req, 0);
		return;
	}
	op = new_op(req, ino, &none, 0);
	if (op)
		lane_push(fs->options.store_lane, &op->job, sync_row, NULL, op);
}

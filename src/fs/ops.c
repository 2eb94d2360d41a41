#define LOG_MODULE "fs"
#include "ops.h"

#include "content.h"
#include "inodes.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum { MAX_BACKGROUND = 64, CONGESTION = 48 };

struct fs *ops_fs(fuse_req_t req)
{
	struct fs *fs = fuse_req_userdata(req);

	fs->requests_n++;
	return fs;
}

bool ops_is_replay(fuse_req_t req)
{
	struct fs *fs = fuse_req_userdata(req);

	return replay_is_ours(fs->replay, fuse_req_ctx(req)->pid);
}

double ops_lease_s(const struct fs *fs)
{
	return (double)fs->options.lease_ms(fs->options.arg) / 1000.0;
}

/* Never 0 for a file with content: GNU tar --sparse takes that for a file of zeros, and does not
 * read it. */
static blkcnt_t blocks_of(const struct fs *fs, const struct tree_attr *attr)
{
	uint64_t bytes = content_cached_bytes(fs->options.content, attr->cid);

	return bytes > 0 || attr->size == 0 ? (blkcnt_t)((bytes + 511) / 512) : 1;
}

void ops_stat(const struct fs *fs, const struct tree_attr *attr, struct stat *ret)
{
	bool is_dir = attr->kind == TREE_DIR;
	mode_t mode = attr->mode & 07777;

	if (!(attr->mode & TREE_MODE_SET))
		mode &= ~fs->options.umask;
	*ret = (struct stat){
		.st_ino = attr->ino,
		.st_mode = mode | (is_dir ? S_IFDIR : S_IFREG),
		/* One link for a folder: its subfolders are not counted, as on other filesystems
		 * that do not, and programs know it. */
		.st_nlink = 1,
		.st_uid = fs->options.uid,
		.st_gid = fs->options.gid,
		.st_size = is_dir ? 4096 : (off_t)attr->size,
		.st_blksize = 4096,
		.st_blocks = is_dir ? 8 : blocks_of(fs, attr),
	};
	ret->st_mtim.tv_sec = attr->mtime_ns / 1000000000;
	ret->st_mtim.tv_nsec = attr->mtime_ns % 1000000000;
	ret->st_atim = ret->st_ctim = ret->st_mtim;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	struct fs *fs = userdata;

	/* Always readdirplus: the adaptive form leaves a cached listing without inodes, and then
	 * every stat of a walk is a request. */
	conn->want |= conn->capable & FUSE_CAP_READDIRPLUS;
	conn->want &= ~(unsigned)FUSE_CAP_READDIRPLUS_AUTO;
	/* The kernel drops pages by itself when it sees a new mtime, and hears of sizes from us. */
	conn->want |= conn->capable &
		      (FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_READ);
	conn->want &= ~(unsigned)(FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
				  FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_ATOMIC_O_TRUNC);
	fs->has_parallel_dirops = conn->capable & FUSE_CAP_PARALLEL_DIROPS;
	conn->max_background = MAX_BACKGROUND;
	conn->congestion_threshold = CONGESTION;
	conn->max_write = OPS_IO_MAX;
	/* The mount option says the same; libfuse insists on both. */
	conn->max_read = OPS_IO_MAX;
	fs->is_ready = true;
	fs->options.on_ready(fs->options.arg);
}

/* When there is room again for inodes, listings that were answered without are asked again. */
static void drop_bare(struct fs *fs)
{
	uint64_t dirs[64];
	size_t n = inodes_take_bare(fs->options.inodes, dirs, array_n(dirs));

	if (n > 0)
		notify_drop_pages(fs->notify, dirs, n);
}

static void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	struct fs *fs = ops_fs(req);

	inodes_forget(fs->options.inodes, ino, nlookup);
	drop_bare(fs);
	fuse_reply_none(req);
}

static void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	struct fs *fs = ops_fs(req);

	for (size_t i = 0; i < count; i++)
		inodes_forget(fs->options.inodes, forgets[i].ino, forgets[i].nlookup);
	drop_bare(fs);
	fuse_reply_none(req);
}

/* Once, and the kernel serves open and close of directories itself, with its caches kept: our
 * listings need no handle. */
static void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ops_fs(req);
	fuse_reply_err(req, ENOSYS);
}

/* What the service knows of an item cannot be set, and nothing else is kept. */
static void refuse(fuse_req_t req)
{
	struct fs *fs = ops_fs(req);

	fuse_reply_err(req, fs->options.is_writable ? EOPNOTSUPP : EROFS);
}

static void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
			 size_t size, int flags)
{
	refuse(req);
}

static void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	refuse(req);
}

const struct fuse_lowlevel_ops ops_table = {
	.init = on_init,
	.lookup = ops_lookup,
	.forget = ops_forget,
	.forget_multi = ops_forget_multi,
	.getattr = ops_getattr,
	.setattr = ops_setattr,
	.opendir = ops_opendir,
	.readdir = ops_readdir,
	.readdirplus = ops_readdirplus,
	.open = ops_open,
	.read = ops_read,
	.release = ops_release,
	.statfs = ops_statfs,
	.getxattr = ops_getxattr,
	.listxattr = ops_listxattr,
	.access = ops_access,
	.mknod = ops_mknod,
	.mkdir = ops_mkdir,
	.unlink = ops_unlink,
	.rmdir = ops_rmdir,
	.rename = ops_rename,
	.symlink = ops_symlink,
	.link = ops_link,
	.create = ops_create,
	.write = ops_write,
	.fallocate = ops_fallocate,
	.fsync = ops_fsync,
	.fsyncdir = ops_fsyncdir,
	.setxattr = ops_setxattr,
	.removexattr = ops_removexattr,
};

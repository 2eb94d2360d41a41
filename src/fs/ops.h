/* The operations and what they share: private to src/fs. */
#pragma once

#include "fs.h"
#include "notify.h"
#include "park.h"
#include "reader.h"
#include "replay.h"
#include "tree.h"

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* Bytes of one read or write that are agreed upon with the kernel. */
enum { OPS_IO_MAX = 1024 * 1024 };

struct content_handle;

struct fs {
	struct fs_options options; /* strings owned */
	struct park *park;
	struct notify *notify;
	struct replay *replay;
	struct reader *reader;
	struct fuse_session *session;
	dev_t dev;             /* of the mount */
	atomic_bool has_ended; /* the session's loop */
	atomic_uint_fast64_t requests_n;
	struct lane *sync_lane; /* waits for the disk; NULL: nothing can be written */
	pthread_t loop_thread;
	int stop_pipe[2];
	atomic_bool is_ready, is_init_answered, has_parallel_dirops;
};

/* ops.c */
extern const struct fuse_lowlevel_ops ops_table;
struct fs *ops_fs(fuse_req_t req); /* also counts the request */
/* Is it one of our own replaying threads? */
bool ops_is_replay(fuse_req_t req);
/* Seconds for the kernel's timeouts. */
double ops_lease_s(const struct fs *fs);
/* st_blocks says what of the content is here: 1 for a file that was never read. The kernel keeps it
 * with the other attributes and is not told when it changes: a stat after a read is right (a read
 * makes the kernel ask again), what was evicted may show for as long as the lease. */
void ops_stat(const struct fs *fs, const struct tree_attr *attr, struct stat *ret);

/* ops_dir.c */
void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi);
/* A replayed creation: the kernel gets the inode that the tree has had since the commit. */
void ops_reply_replayed(fuse_req_t req);
void ops_fill_entry(const struct fs *fs, const struct tree_attr *attr, double lease_s,
		    struct fuse_entry_param *ret);
/* Replies with an entry; counts its lookup and undoes that when the reply fails. */
void ops_reply_entry(fuse_req_t req, const struct tree_attr *attr, double lease_s);

/* ops_file.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* The new file with its handle, which is closed if nobody takes it. */
void ops_reply_create(fuse_req_t req, const struct tree_attr *attr, struct content_handle *h,
		      struct fuse_file_info *fi);

/* ops_change.c */
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		struct fuse_file_info *fi);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
		const char *to_name, unsigned int flags);
void ops_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
/* A change of attributes that is allowed, and no replay. */
void ops_change_attr(fuse_req_t req, fuse_ino_t ino, const struct stat *wanted, int to_set);

/* ops_write.c */
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	       struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
		   struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

/* ops_attr.c */
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		 struct fuse_file_info *fi);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_access(fuse_req_t req, fuse_ino_t ino, int mask);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);

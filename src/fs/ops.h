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
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
/* Replies with an entry; counts its lookup and undoes that when the reply fails. */
void ops_reply_entry(fuse_req_t req, const struct tree_attr *attr, double lease_s);

/* ops_file.c */
void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);

/* ops_attr.c */
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		 struct fuse_file_info *fi);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_access(fuse_req_t req, fuse_ino_t ino, int mask);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);

/*
 * The filesystem of one drive: a FUSE session, its operations and the kernel notifier.
 *
 * Two FUSE threads answer from the tree and from local content; what needs the network is parked,
 * and what changes the tree is a job of the store lane. Unless the drive is writable, everybody but
 * the replaying threads is told EROFS when he wants to change something.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct fs;
struct change_set;
struct content;
struct inodes;
struct lane;
struct listing;
struct notify_stats;
struct reader_rules;
struct reader_stats;
struct tree;

struct fs_space {
	uint64_t total, free; /* bytes */
};

struct fs_options {
	struct tree *tree;
	struct inodes *inodes;
	struct content *content;
	struct listing *listing;
	const char *mountpoint; /* absolute */
	const char *name;       /* in the mount table */
	/* As after "-o"; NULL. With allow_other the kernel checks mode bits (default_permissions);
	 * else only the owner comes in, whose bits the tree decides. */
	const char *fuse_options;
	bool no_epoch; /* struct notify_options */
	bool is_writable;
	struct lane *store_lane;            /* of the tree's writer */
	const struct reader_rules *readers; /* reader.h; must outlive the fs; NULL: the defaults */
	uid_t uid;
	gid_t gid;
	mode_t umask;
	void *arg;
	uint64_t (*lease_ms)(void *arg);                    /* any thread */
	void (*get_space)(void *arg, struct fs_space *ret); /* any thread, never waits */
	void (*on_ready)(void *arg);                        /* the mount answers; a FUSE thread */
	void (*on_local)(void *arg); /* the tree was changed here; store lane; may be NULL */
};

/* Is a graphfs, alive or dead, the topmost mount on this absolute path? Any thread. */
bool fs_is_mounted(const char *path);

/* Mounts. -EINVAL options, -ENOTEMPTY and others: the mount point; a log line says what. A dead
 * mount of an earlier daemon on it is taken away first. */
must_check int fs_new(const struct fs_options *options, struct fs **ret);
/* Serves until fs_stop() or an unmount from outside; then everything of it has ended but the
 * memory. Not from the loop thread. */
must_check int fs_run(struct fs *fs);
/* Any thread, also a signal's; never blocks. */
void fs_stop(struct fs *fs);
void fs_free(struct fs *fs);

/* For the store lane and the loop. */
void fs_push_changes(struct fs *fs, struct change_set *set);
void fs_push_all(struct fs *fs);
void fs_get_stats(struct fs *fs, struct notify_stats *ret, unsigned *ret_parked_n);
/* One for each enum reader_class. */
void fs_get_readers(struct fs *fs, struct reader_stats *ret);
/* Waits until the kernel has been told all that was pushed; for tests. */
void fs_settle(struct fs *fs);
/* Requests of the kernel, for tests and status. */
uint64_t fs_requests_n(const struct fs *fs);

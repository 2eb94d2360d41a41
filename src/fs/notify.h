/*
 * Tells the kernel what changed: drops its caches and replays the change through the mount, so
 * that the kernel itself raises the inotify events. The only caller of fuse_lowlevel_notify_*.
 *
 * Runs on threads of its own. Nothing here is called with a lock held that a FUSE thread could
 * want, and no FUSE thread waits for it: an entry notification waits for the directory's lock in
 * the kernel, which a request in that directory holds until it is answered.
 *
 *  - Jobs of one directory run in order; different directories do not wait for each other.
 *    Changes of directories themselves (their move, creation, removal) also order what happens
 *    below them.
 *  - While requests are parked in a directory its jobs wait (notify_park_begin/end): the parked
 *    answer will come from the new tree anyway.
 *  - Only directories that the kernel holds are replayed into. A replay that loses a race (the
 *    name is already known: EEXIST, ENOENT) drops the name and tries again, a few times; then, or
 *    when the directory may not be written to, it is invalidation and IN_ATTRIB by utimensat.
 *  - More than NOTIFY_JOBS_MAX waiting jobs, or a bulk change set: one epoch instead (raw
 *    FUSE_NOTIFY_INC_EPOCH, kernel 6.16; else a walk over the known directories), and attribute
 *    invalidation of every known directory and open file. The events of these changes are lost.
 *  - Pages are dropped in a lane of their own, never for a file with a read in flight.
 *  - Stops before the FUSE loop stops.
 *
 * Sources: ARCHITECTURE.md, "What the kernel makes necessary"; kernel fs/fuse/dev.c, dir.c;
 * libfuse fuse_lowlevel.h.
 */
#pragma once

#include "change.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct notify;

enum { NOTIFY_JOBS_MAX = 2048 };

/* Any thread; takes the set. Never blocks. */
void notify_push(struct notify *notify, struct change_set *set);
/* Everything handed out so far may be stale (after a gap). Any thread, never blocks. */
void notify_push_all(struct notify *notify);

/* Inodes whose cached pages (of a directory: its listing) are to be dropped. Any thread, never
 * blocks; what is too much is not dropped. */
void notify_drop_pages(struct notify *notify, const uint64_t *inodes, size_t n);

/* Around a request of directory dir that is parked for the network. Any thread. */
void notify_park_begin(struct notify *notify, uint64_t dir);
void notify_park_end(struct notify *notify, uint64_t dir);

struct fuse_session;
struct inodes;
struct tree;
struct replay;

struct notify_options {
	struct inodes *inodes;
	struct tree *tree;
	struct replay *replay; /* the expectations that the operations look into */
	const char *mountpoint;
	bool no_epoch; /* walk, as on kernels that have no epoch */
};

struct notify_stats {
	uint64_t replays_n;   /* changes raised as events */
	uint64_t fallbacks_n; /* could not be: invalidated instead */
	uint64_t bulks_n;
	unsigned waiting_n; /* jobs that are not done; 0: the kernel knows everything */
};

/* Made before the session; told of it by notify_start(), when the mount answers. dev: the mount's
 * device number. */
must_check int notify_new(const struct notify_options *options, struct notify **ret);
must_check int notify_start(struct notify *notify, struct fuse_session *session, dev_t dev);
/* No notification after this; joins the threads. Parked requests must be answered first. */
void notify_stop(struct notify *notify);
void notify_free(struct notify *notify);
void notify_get_stats(struct notify *notify, struct notify_stats *ret);
/* Waits until nothing is left to tell; for tests. */
void notify_settle(struct notify *notify);

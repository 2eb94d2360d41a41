/*
 * One change into the kernel: invalidation, then its replay through the mount. Called by the
 * threads of notify.c only; may wait for the kernel.
 */
#pragma once

#include "notify.h"

struct tell;
struct fuse_session;

must_check int tell_new(struct fuse_session *session, const struct notify_options *options,
			struct tell **ret);
void tell_free(struct tell *tell);
/* Makes the calling thread one of the replaying ones; once, before anything else. */
void tell_enter(struct tell *tell);

/* true: replayed, its event was raised (or nobody could have seen it); false: the replay lost a
 * race, and the caches were dropped instead. */
bool tell_change(struct tell *tell, const struct change *change);
/* Everything that the kernel holds is to be asked again. */
void tell_all(struct tell *tell);
/* Drops the pages of an inode; waits for those that a running read has locked. */
void tell_drop_pages(struct tell *tell, uint64_t ino);

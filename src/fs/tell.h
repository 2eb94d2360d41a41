/*
 * One change into the kernel: invalidation, then its replay through the mount. Called by the
 * threads of notify.c only; may wait for the kernel.
 */
#pragma once

#include "notify.h"

#include <sys/types.h>

struct tell;
struct fuse_session;

/* dev: the mount's device number. Nothing is replayed where the mount point has another. */
must_check int tell_new(struct fuse_session *session, dev_t dev,
			const struct notify_options *options, struct tell **ret);
void tell_free(struct tell *tell);
/* Makes the calling thread one of the replaying ones; once, before anything else. */
void tell_enter(struct tell *tell);

/* true: replayed, its event was raised (or nobody could have seen it); false: that was not
 * possible, the caches were dropped and watchers got IN_ATTRIB instead: of the name, or of the
 * directory when the name is gone. */
bool tell_change(struct tell *tell, const struct change *change);
/* Everything that the kernel holds is to be asked again. */
void tell_all(struct tell *tell);
/* Drops the pages of a file, or the cached listing of a directory; waits for those that a running
 * read has locked. */
void tell_drop_pages(struct tell *tell, uint64_t ino);

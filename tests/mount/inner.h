/*
 * A mount inside the test's own process: real FUSE, tree, content and notifier over a service that
 * is a table in memory. What a test over the whole program cannot do is possible here: to commit
 * now and tell the kernel later, and to hold a reply on its way to the kernel.
 *
 * One test thread; it may look at the mount itself, since other threads serve it. A failure of the
 * rig itself fails the test.
 */
#pragma once

#include "fs.h"
#include "harness.h"
#include "notify.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { INNER_ROOT = 0 };

struct inner;

struct inner_options {
	const char *fuse_options;
	mode_t umask;
	bool no_epoch;
	size_t known_inodes; /* 0: the default budget */
};

struct inner *inner_start(const struct inner_options *options);
void inner_stop(struct inner *in);

struct fs *inner_fs(struct inner *in);
struct tree *inner_tree(struct inner *in);
struct inodes *inner_inodes(struct inner *in);
/* Path below the mount, in one of eight static buffers; name may be "". */
const char *inner_path(struct inner *in, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Changes on the service, each one commit. Items are known by small numbers. A folder must be empty
 * to be deleted. Contents are of letters, another one for each version: inner_letter(). */
int inner_mkdir(struct inner *in, int parent, const char *name);
int inner_create(struct inner *in, int parent, const char *name, uint64_t size);
void inner_write(struct inner *in, int item, uint64_t size); /* the time stays as it is */
void inner_touch(struct inner *in, int item, int64_t mtime_s);
void inner_move(struct inner *in, int item, int parent, const char *name);
void inner_delete(struct inner *in, int item);
char inner_letter(struct inner *in, int item);
uint64_t inner_ino(struct inner *in, int item);

/* Changes until inner_end() are one commit. */
void inner_begin(struct inner *in);
void inner_end(struct inner *in);
/* Commits are not told to the kernel until inner_tell(). */
void inner_hold(struct inner *in);
void inner_tell(struct inner *in);
/* Never tells them: as if they were from before the mount. */
void inner_drop(struct inner *in);
/* Waits until the kernel was told all. */
void inner_settle(struct inner *in);
/* Waits until it was told all, or a notifier waits for a lock of the kernel. */
void inner_wait_told_or_blocked(struct inner *in);

/* Makes a directory incomplete: whoever asks for what is not known of it waits, until inner_list()
 * makes the listing fail. */
void inner_unlist(struct inner *in, int dir);
void inner_wait_parked(struct inner *in, unsigned n);
void inner_list(struct inner *in);

/* Holds the next reply of this kind (computed, but not given to the kernel) until
 * inner_let_reply(). inner_wait_held() waits until one is held. */
enum inner_reply { INNER_LISTING, INNER_ENTRY };
void inner_hold_reply(enum inner_reply kind);
void inner_wait_held(void);
void inner_let_reply(void);

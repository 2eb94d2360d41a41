/*
 * How the filesystem knows its own replays: each replaying thread says what it is about to do
 * before it does it, and the operations that the kernel then sends carry that thread's id.
 *
 * Such operations are answered from what was said and from the tree as it already is; they change
 * nothing and never wait.
 */
#pragma once

#include "change.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { REPLAY_THREADS_MAX = 8 };

struct replay;

must_check int replay_new(struct replay **ret);
void replay_free(struct replay *replay);

/* By the replaying thread, around the system calls of one change; the change is borrowed. A
 * thread that replays nothing at the moment is still one of ours (change NULL). */
void replay_begin(struct replay *replay, const struct change *change);
void replay_end(struct replay *replay);

/* For the operations; any thread. tid: fuse_req_ctx(req)->pid. */
bool replay_is_ours(struct replay *replay, pid_t tid);

/* What a LOOKUP of a replaying thread must be told. */
enum replay_answer {
	REPLAY_NORMAL, /* the path to the directory: as anybody, but without waiting */
	REPLAY_HIDDEN, /* the name that is about to be made: not there yet */
	REPLAY_OLD,    /* the name that is about to go: still there, *ret_attr */
};
enum replay_answer replay_lookup(struct replay *replay, pid_t tid, uint64_t parent,
				 const char *name, struct tree_attr *ret_attr);
/* The attributes that the change of this thread ends with; false: no change. */
bool replay_get_attr(struct replay *replay, pid_t tid, struct tree_attr *ret);

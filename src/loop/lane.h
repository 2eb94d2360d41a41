/*
 * Worker lanes: threads that do what the loop may not (disk, SQLite writes, hashes). A lane with
 * one thread runs its jobs strictly in order; the store's writer is such a lane.
 * Any thread may push. A job holds no lock while it calls out.
 */
#pragma once

#include "loop.h"

struct lane;

struct lane_job {
	struct list node;      /* private */
	struct loop_call call; /* private */
	loop_fn work;          /* on a thread of the lane */
	loop_fn done;          /* on the loop thread, after work; may be NULL */
	void *arg;
};

/* threads_n: 1 to 16. loop may be NULL if no job has a done. */
must_check int lane_new(struct loop *loop, const char *name, unsigned threads_n, struct lane **ret);
/* Runs everything that was pushed, then stops the threads. NULL-safe. Done calls that were posted
 * run when the loop does. Not from a thread of the lane. */
void lane_free(struct lane *lane);

/* The storage is the caller's and must live until work (done, if there is one) has run. */
void lane_push(struct lane *lane, struct lane_job *job, loop_fn work, loop_fn done, void *arg);
/* True on a thread of this lane. */
bool lane_is_current(const struct lane *lane);

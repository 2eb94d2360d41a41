/*
 * The event loop: thin over libuv. One thread runs loop_run(); the state of net, sync's engines
 * and the control socket belongs to that thread and needs no lock. Everyone else reaches it with
 * loop_post().
 *
 * A callback of the loop never blocks: no file hashing, no SQLite write, no kernel notification,
 * no lock that is held by someone who does one of these. With GRAPHFS_LOG=debug a turn longer
 * than 50 ms is logged.
 */
#pragma once

#include "list.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct loop;

typedef void (*loop_fn)(void *arg);

/* Call from the thread that will run it, or before any other thread knows it. */
must_check int loop_new(struct loop **ret);
/* After loop_run() returned; runs what is still posted first. NULL-safe. */
void loop_free(struct loop *loop);

/* Runs until loop_stop(). 0, or -errno when the loop could not start. */
must_check int loop_run(struct loop *loop);
/* Runs what is ready and returns, for programs with a loop of their own. */
void loop_run_once(struct loop *loop);
/* Any thread. */
void loop_stop(struct loop *loop);

/* A call to be made on the loop thread. The storage is the caller's and must live until fn runs;
 * fn may free or post it again. Posted calls run in order. */
struct loop_call {
	struct list node;
	loop_fn fn;
	void *arg;
};

/* Any thread, the loop's included (then it runs in the next turn, never at once). */
void loop_post(struct loop *loop, struct loop_call *call, loop_fn fn, void *arg);
/* As loop_post() with storage of its own. -ENOMEM: not posted. */
must_check int loop_post_new(struct loop *loop, loop_fn fn, void *arg);

bool loop_is_current(const struct loop *loop);

/* Monotonic milliseconds as of this turn. Loop thread. */
uint64_t loop_now_ms(struct loop *loop);

/* One-shot timer; loop thread. The storage is the caller's; disarm before it is freed. */
struct loop_timer {
	struct loop *loop;
	loop_fn fn;
	void *arg;
	void *handle; /* private: a heap uv_timer_t that outlives this struct until closed */
};

must_check int loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn fn, void *arg);
/* Arms or re-arms. */
void loop_timer_arm(struct loop_timer *t, uint64_t in_ms);
void loop_timer_disarm(struct loop_timer *t);
bool loop_timer_is_armed(const struct loop_timer *t);
/* Disarms and releases; may be called twice, and on zeroed storage. */
void loop_timer_fini(struct loop_timer *t);

/* The libuv loop below, for guests (libcurl, libwebsockets, pipes). */
uv_loop_t *loop_uv(struct loop *loop);

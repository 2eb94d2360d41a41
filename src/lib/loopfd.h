/*
 * An event loop as one descriptor that is readable when the loop has something to do, its timers
 * included, so that it can live in somebody else's loop. The thread of the loop.
 *
 * The loop's own epoll descriptor knows of sockets and posted calls only; a timerfd stands for its
 * timers, and for what libuv registers with epoll in its next turn.
 */
#pragma once

#include "loop.h"
#include "mem.h"

struct loopfd {
	struct loop *loop;
	int fd; /* watch this for input */
	int timer_fd;
};

must_check int loopfd_init(struct loopfd *f, struct loop *loop);
/* May be called twice, and on zeroed storage. */
void loopfd_fini(struct loopfd *f);
/* Runs what is ready. */
void loopfd_turn(struct loopfd *f);
/* After the last turn: when is the next one due? */
void loopfd_arm(struct loopfd *f);

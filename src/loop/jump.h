/*
 * Tells when time jumped: the machine slept and woke up, or somebody set the wall clock. Costs no
 * wake-ups meanwhile: the kernel cancels a timer that asked for it.
 *
 * Source: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET; kernel fs/timerfd.c, timerfd_resume().
 */
#pragma once

#include "loop.h"
#include "mem.h"

struct jump;

/* Loop thread, before the loop runs or on it; fn runs on it. */
must_check int jump_new(struct loop *loop, loop_fn fn, void *arg, struct jump **ret);
/* No callback afterwards. NULL-safe. */
void jump_free(struct jump *jump);

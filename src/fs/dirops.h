/*
 * Lookups and listings of one directory side by side. libfuse before 3.17 accepts
 * FUSE_CAP_PARALLEL_DIROPS and does not pass it on (libfuse pull request 861), and without it the
 * kernel holds every request for a directory, uninterruptibly, while one is unanswered: one that
 * waits for the network would stop them all.
 */
#pragma once

#include "mem.h"

struct fs;

/* Once, after the session is mounted and before it is served: adds the flag to the reply to INIT,
 * if the kernel offered it. */
must_check int dirops_enable(struct fs *fs);

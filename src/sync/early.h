/*
 * One small file, fetched whole into the cache for a reader who is yet to come.
 */
#pragma once

#include "content.h"

struct early;

enum { EARLY_HERE = 1 };

/* 0: done will be called once, on the loop thread or a lane, maybe before this returns, unless it
 * is stopped | EARLY_HERE: it is cached, or there is nothing to fetch | -errno. Any thread but the
 * loop's: touches the disk. */
must_check int early_start(struct content *content, uint64_t ino, void (*done)(void *arg),
			   void *arg, struct early **ret);
/* Any thread. True: done will not be called (any more). */
bool early_stop(struct early *early);
/* After done ran, or early_stop() was true. Touches the disk. */
void early_free(struct early *early);

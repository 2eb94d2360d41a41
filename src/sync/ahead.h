/*
 * Small files ahead of a reader who goes through a folder: when files of one folder are read one
 * after the other, the next ones are fetched side by side before they are asked for, so that
 * grep -r, cp -r and git status wait for few round trips instead of one or two for each file.
 *
 *  - The order is the folder's own (as listings come) or that of the names, whichever the reader
 *    keeps to. A third file in a row starts it; in a folder that the same reader comes to next, the
 *    first does.
 *  - How far it goes doubles with each further file, up to AHEAD_FILES_MAX files and
 *    AHEAD_BYTES_MAX bytes on their way or not reached yet, over all folders.
 *  - Files beyond AHEAD_SMALL_BYTES are left to their own readers. Those that are cached cost a
 *    look.
 *  - Only the reader moves it on: when he stops, nothing more is begun. When he leaves the order,
 *    or nothing is heard of him for AHEAD_IDLE_MS, what is on its way is cancelled.
 *  - A handle that is marked quiet (content_set_quiet()) neither starts it nor moves it on.
 *  - While all that is read is cached, nothing is looked at.
 *
 * Its work is done on a lane of its own; it reads the tree and the cache there.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

struct ahead;
struct loop;
struct tree;
struct tree_attr;

enum {
	AHEAD_SMALL_BYTES = 1 << 20,
	AHEAD_FILES_MAX = 32,
	AHEAD_BYTES_MAX = 16 << 20,
	AHEAD_IDLE_MS = 2000,
	AHEAD_FOLDERS = 4,     /* that are watched at a time */
	AHEAD_NAMES_MAX = 8192 /* larger folders have no order of names */
};

/* Who fetches; early.h in the program. On the lane. */
struct ahead_source {
	void *arg;
	/* 0: done will be called once, from any thread, unless it is stopped. Else there is nothing
	 * to wait for. */
	int (*start)(void *arg, uint64_t ino, void (*done)(void *done_arg), void *done_arg,
		     void **ret);
	/* True: done will not be called (any more). */
	bool (*stop)(void *job);
	/* After done, or stop was true. */
	void (*free)(void *job);
};

/* tree is borrowed. */
must_check int ahead_new(struct loop *loop, struct tree *tree, const struct ahead_source *source,
			 struct ahead **ret);
/* After loop_run() returned, on its thread; nobody notes any more. Cancels what is on its way.
 * NULL-safe. */
void ahead_free(struct ahead *ahead);
/* A handle of this file was read for the first time. Any thread; never blocks. */
void ahead_note(struct ahead *ahead, const struct tree_attr *attr, bool is_cached);

struct ahead_stats {
	uint64_t started_n; /* files that had to be fetched */
	uint64_t running_n;
	uint64_t looked_n; /* reads that were looked at */
};
/* Any thread. */
void ahead_get_stats(struct ahead *ahead, struct ahead_stats *ret);

/*
 * All objects of a mount (or a watch), made in order and freed in the reverse. The caller's thread
 * is the loop's until mounted_run_loop() gives it one of its own.
 */
#pragma once

#include "cache.h"
#include "config.h"
#include "content.h"
#include "draft.h"
#include "control.h"
#include "drive.h"
#include "fs.h"
#include "inodes.h"
#include "lane.h"
#include "push.h"
#include "service.h"
#include "tree.h"

#include <pthread.h>
#include <stdatomic.h>

struct mounted {
	struct config config;
	struct service service;
	char *drive_id;
	struct lane *store;
	struct tree *tree;
	struct cache *cache;
	int drafts_fd, sent_fd; /* valid while there are drafts */
	struct draft_dir *drafts;
	struct inodes *inodes;
	struct content *content;
	struct ahead *ahead;
	struct drive *drive;
	struct push *push; /* NULL: nothing can be written */
	struct control *control;
	_Atomic(struct fs *) fs;
	pthread_t loop_thread;
	bool has_loop_thread;
	bool is_waiting; /* mounted_start() runs the loop */
	int ready_error;
	char ready_text[200];
	/* For watch; const after mounted_open(). */
	void *watch_arg;
	void (*on_live)(void *arg, enum live_event event, const char *reason);
	void (*on_page)(void *arg, const struct item_page *page);
};

/* state_fd, cache_fd: directories of this account and drive; cache_fd -1: nothing is cached. */
must_check int mounted_open(struct mounted *m, const char *account, const char *drive, int state_fd,
			    int cache_fd);
/* Starts the drive and waits until its tree can be used. */
must_check int mounted_start(struct mounted *m);
must_check int mounted_run_loop(struct mounted *m);
/* Something was changed here that is to be sent. Any thread. */
void mounted_wake(struct mounted *m);
void mounted_close(struct mounted *m);

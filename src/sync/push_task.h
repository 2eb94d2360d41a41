/* One pending item on its way to the service: private to src/sync/push*.c. */
#pragma once

#include "push.h"

#include "content.h"
#include "draft.h"
#include "graph_write.h"
#include "item.h"
#include "lane.h"
#include "list.h"
#include "loop.h"
#include "mutex.h"
#include "tree_local.h"
#include "upload.h"

#include <stdatomic.h>

enum {
	PUSH_BACKOFFS = 256, /* items that wait after a failure; beyond, all do */
	PUSH_SCAN_ROWS = 512,
	PUSH_FIRSTS = 4096, /* files that wait to be moved or deleted; beyond, some do not wait */
};

struct push_backoff {
	uint64_t ino, due_ms; /* monotonic; ino 0: free */
	unsigned tries;
};

/* When a file was first found moved or deleted. */
struct push_first {
	uint64_t ino, at_ms; /* monotonic */
};

struct push {
	struct push_options options;
	char *drive_id;
	struct lane *lane; /* reads drafts, hashes them */
	struct upload_pool *uploads;
	struct loop_timer timer, sync_timer;
	struct lane_job sync_job;
	bool is_syncing;
	bool is_reachable, is_closing;
	bool is_scanning, is_idle; /* idle: nothing may go before something happens */
	bool has_news;             /* since the pass began: it may have missed something */
	bool forgets;              /* the next pass: what waits after a failure waits no more */
	unsigned tasks_n;
	struct push_task *running[PUSH_PARALLEL];
	uint64_t looked_ms;      /* the end of the last look */
	uint64_t pause_until_ms; /* after a failure that concerns everything */
	unsigned pauses;
	uint64_t retry_at_ms; /* when what failed for good is tried again */
	struct loop_call wake_call;
	atomic_bool is_woken;

	/* A look at some of what is pending: the store lane's while it is there. A pass goes from
	 * the first to the last, in several looks. */
	struct lane_job scan_job;
	struct push_task *taken[PUSH_PARALLEL];
	unsigned taken_n, room;
	uint64_t cursor, now_ms, next_due_ms, ring;
	unsigned pass_taken_n, pass_ready_n, pass_failed_n;
	bool is_pass_over, retries_failed, forgets_now;

	/* Store lane. */
	struct list sending;
	struct push_backoff backoffs[PUSH_BACKOFFS];
	struct push_first firsts[PUSH_FIRSTS]; /* by inode */

	atomic_uint sending_n, failed_n;
	atomic_bool is_stuck;
};

/* What becomes of a task in the tree. */
enum push_end {
	PUSH_DONE,    /* sent; answer: what the service says, or none */
	PUSH_LEARN,   /* the service has something else: answer */
	PUSH_GONE,    /* the service does not have gone_id */
	PUSH_FAILED,  /* for good: error, text */
	PUSH_LATER,   /* this one, after a while */
	PUSH_PAUSE,   /* everything, after a while */
	PUSH_DROPPED, /* it is not pending any more, or was changed: whatever is there now is sent
		       */
};

struct push_task {
	struct list node; /* push->sending */
	struct push *push;
	struct tree_local_item item;
	char *ask_id;    /* an item to be asked for; nothing is sent */
	char *temp_name; /* a name of its own for a ring of names; replaces item.name */
	unsigned what;   /* of item.what: what is being sent */
	uint64_t note;   /* tree_note() when it was taken */
	struct lane_job job;
	struct graph_call *call;
	struct upload *upload;
	bool was_compared; /* what the service has was looked at: it is our base */
	bool is_content_old;
	bool is_crowded; /* it cannot be remembered as one that waits */

	/* A content. */
	struct draft *draft; /* NULL: it is empty */
	uint64_t version, size, fill_off, fill_len;
	uint8_t hash[20];
	char *body; /* all of a small one; else what is filled in */
	int job_error;
	struct content_handle *base;
	struct content_read read;
	bool is_reading;   /* loop: read is under way */
	bool is_cancelled; /* the upload, whose read is under way */
	void *read_buf;    /* the upload's */
	uint64_t read_off;
	size_t read_len;

	/* The end. */
	enum push_end end;
	struct item answer;
	bool has_answer, is_in_the_way, is_kept;
	char *gone_id;
	int error;
	char text[200];
};

/* push.c */
/* Loop: the task has ended; it is freed when the tree knows. */
void push_end(struct push_task *task, enum push_end end);
/* The same, with what a request ended with, if there is nothing better to do about it. */
void push_end_result(struct push_task *task, const struct graph_result *result);
/* Keeps a copy of what the service says. */
must_check int push_take_answer(struct push_task *task, const struct item *item);

/* push_send.c: everything but contents, and what is asked when a request was refused. */
void push_send_start(struct push_task *task);
/* The service has another content, or something else, than the base: what has it? */
void push_send_look(struct push_task *task);
/* Who has the name that was to be ours, or was the lost answer a yes? */
void push_send_look_by_name(struct push_task *task);

/* The end is near: what can be cancelled is. */
void push_send_cancel(struct push_task *task);

/* push_content.c */
void push_content_start(struct push_task *task);
/* Its base is what the service has, whatever its tags say: it goes. */
void push_content_go_on(struct push_task *task);
/* Push lane: a content that was sent is one of the cache from now on, if nobody has it open. */
void push_content_keep(struct push_task *task);

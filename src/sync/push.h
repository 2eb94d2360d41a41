/*
 * Sends what was changed here and is pending (tree_local.h), in the background, for as long as that
 * takes. Nothing is planned ahead: whenever there is room the next pending item that may go is
 * taken, sent as it is by then, and the answer is noted in the tree. So a stop at any moment loses
 * nothing, and a start needs nothing but the tree.
 *
 * A content is sent once it was closed and has not changed for quiet_ms; of a file that is partly
 * here what is missing is fetched first. A file is moved or deleted quiet_ms after it was here:
 * until then a program that saves by way of another file is done. A lost answer is never sent again
 * before the service was asked what it has. What the service refuses for good is put down with its
 * reason (tree_local_fail()), keeps its data, and is tried again when it changes and every
 * PUSH_RETRY_MS.
 *
 * Within a second of being told of a change it also makes what was written survive a power cut: the
 * contents first, then the rows.
 *
 * Loop thread, but for what says otherwise.
 */
#pragma once

#include "graph.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

struct change_set; /* store/change.h */
struct cache;      /* store/cache.h */
struct content;
struct draft_dir;
struct lane;
struct loop;
struct push;
struct tree;

enum { PUSH_PARALLEL = 4, PUSH_RETRY_MS = 10 * 60 * 1000 };

struct push_options {
	struct loop *loop;
	struct lane *store_lane;
	struct tree *tree;
	struct content *content;
	struct draft_dir *drafts;
	struct graph *graph;
	const char *drive_id; /* copied */
	struct cache *cache;  /* NULL: what was sent is not kept */
	int sent_fd;          /* a directory of ours, empty, for contents on their way there */
	uint64_t quiet_ms;
	/* Store lane: what an answer changed; the set is the callee's. */
	void (*on_changes)(void *arg, struct change_set *set);
	void *arg;
};

must_check int push_new(const struct push_options *options, struct push **ret);
/* Ends what is being sent; turns the loop until that is so. No callback afterwards. NULL-safe. */
void push_free(struct push *push);

/* Something is pending that was not before. Any thread. */
void push_wake(struct push *push);
/* Everything is tried again at once: what was refused for good, and what waits after a failure. */
void push_retry(struct push *push);
/* The service can be reached, or not. */
void push_set_reachable(struct push *push, bool is_reachable);
/* For struct tree_guard's is_sending; arg is the push. Store lane. */
bool push_is_sending(void *push, uint64_t ino, const char *id);

struct push_stats {
	uint64_t pending_n;
	unsigned sending_n, failed_n; /* failed: for good, as far as was seen */
	bool is_stuck;                /* nothing goes before something is changed, or tried again */
};
/* Any thread. */
void push_get_stats(struct push *push, struct push_stats *ret);

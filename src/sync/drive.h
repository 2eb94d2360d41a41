/*
 * One drive, kept in step: joins the service's client, the notification channel, the tree and the
 * engines of this layer. Loop thread only, but for what says otherwise.
 */
#pragma once

#include "auth.h"
#include "coherence.h"
#include "delta.h"
#include "graph.h"
#include "http.h"
#include "lane.h"
#include "listing.h"
#include "live.h"
#include "loop.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>

struct drive;

struct drive_options {
	struct coherence_options coherence;
	struct live_options live;
	struct delta_options delta;
	bool crawl;
	uint64_t verify_ms; /* verify.h; 0: never */
};

struct drive_events {
	void *arg;
	/* Store lane, after a commit: what the kernel must hear of; the set is the callee's. */
	source_changes_fn on_changes;
	/* Loop, as what follows: everything that was handed out may be stale. */
	void (*on_revoke)(void *arg);
	/* The service cannot be reached any more, or can be again; may be NULL. */
	void (*on_offline)(void *arg, bool offline);
	/* The tree can be used: at once if it was known before, else after the first run. error:
	 * the drive cannot be used at all. Once. */
	void (*on_ready)(void *arg, int error, const char *text);
	/* For "watch"; may be NULL. */
	void (*on_live)(void *arg, enum live_event event, const char *reason);
	void (*on_page)(void *arg, const struct item_page *page);
};

/* All given objects must outlive the drive. */
must_check int drive_new(struct loop *loop, struct lane *store, struct graph *graph, struct ws *ws,
			 struct tree *tree, const char *drive_id,
			 const struct drive_options *options, const struct drive_events *events,
			 struct drive **ret);
/* Turns the loop until the store lane has done what was given to it: not from inside a callback of
 * the loop, and no call of another thread any more. No callback afterwards. NULL-safe. */
void drive_free(struct drive *drive);
void drive_start(struct drive *drive);
/* Something looks as if delta had news (a version that is gone, a user's wish). */
void drive_look(struct drive *drive);

struct listing *drive_listing(struct drive *drive);
bool drive_is_offline(const struct drive *drive);
/* How long replies to the kernel may be believed; any thread. */
uint64_t drive_lease_ms(const struct drive *drive);

/* The drive's quota as last heard, for statfs; any thread, never waits: one that is older than a
 * minute is asked for again meanwhile. has_quota false: unknown. */
struct drive_quota {
	uint64_t total, used, remaining;
	bool has_quota;
};
void drive_get_quota(struct drive *drive, struct drive_quota *ret);

struct drive_status {
	const char *state;  /* "live", "polling", "offline" */
	const char *reason; /* "" while live */
	const char *url_host;
	int64_t connected_since_s, last_notification_s, last_delta_s; /* wall clock; 0: never */
	bool is_crawling;
	uint64_t crawl_items_n;
	unsigned
		skipped_n; /* items left as they were: what the service says of them is malformed */
};
/* Borrowed strings, valid until the next turn. */
void drive_get_status(struct drive *drive, struct drive_status *ret);

/*
 * Delta: the only writer of remote truth. Asks what changed since the stored link, stages the
 * pages, applies them in one transaction with the new link, and hands on what changed.
 * Loop thread only.
 *
 * A notification only says "look": the first runs delta at once, those that come meanwhile cause
 * exactly one more run. The service's delta lags behind its own notifications, so a run that
 * brings nothing after one keeps its old link and is asked again after recheck_ms[0] and [1].
 *
 * What cannot be believed (a malformed page, a link elsewhere, pages without end, no link at the
 * end) fails the run: nothing of it is applied, the stored link stays, and the run is made again
 * later. One malformed item does not stop the drive: when asking again did not help (graph.h), its
 * row stays as it is, or absent, and everything else is applied. An item that does not even say
 * which it is fails the run, because a full enumeration would delete its row. A link that the
 * service no longer knows (410 and its other spellings) leads to a full enumeration; what that does
 * not bring is gone.
 */
#pragma once

#include "lane.h"
#include "loop.h"
#include "source.h"
#include "tree.h"

#include <stdbool.h>

struct delta;

struct delta_options {
	uint64_t recheck_ms[2]; /* 0: 5 s and 25 s */
};

struct delta_events {
	void *arg;
	/* On the store lane, after each commit that changed something. */
	source_changes_fn on_changes;
	void *changes_arg;
	/* On the loop: each page's entries as the service sent them, for "watch"; may be NULL. */
	void (*on_page)(void *arg, const struct item_page *page);
	/* On the loop: a run ended. began_ms: loop time of its beginning. error: 0 or -errno;
	 * changed: it brought something. text: why it failed. */
	void (*on_end)(void *arg, int error, bool offline, bool changed, uint64_t began_ms,
		       const char *text);
};

must_check int delta_new(struct loop *loop, struct lane *store, struct tree *tree,
			 const struct source *source, const struct delta_options *options,
			 const struct delta_events *events, struct delta **ret);
/* Waits (turning the loop) for a job on the store lane; no callback afterwards. NULL-safe. */
void delta_free(struct delta *delta);

/* Something may have changed. notified: the service says so. */
void delta_look(struct delta *delta, bool notified);
bool delta_is_running(const struct delta *delta);

/*
 * Directories that are not fully known are listed when somebody asks: one listing at a time for
 * each directory, however many wait; entries appear in the tree page by page.
 *
 * Who lists one folder after the other will come to all of them, and so will a crawl that is under
 * way, with fewer requests: his next listing waits for the end of the crawl. Such waiting is
 * bounded for a mount, all of it together; the first folder never waits, nor who looks a name up,
 * nor who takes his time between two folders.
 */
#pragma once

#include "list.h"
#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

struct listing;
struct change_set; /* store/change.h */

enum { LISTING_MORE = 1 };

/* One who waits. Storage is the caller's until fn ran or listing_unwant() returned true. */
struct listing_waiter {
	struct list node; /* private */
	uint64_t dir;
	/* Called once, on the loop thread: LISTING_MORE the tree has more of dir than when
	 * listing_want() was called | 0 dir is complete | -errno the listing failed (-ENETDOWN
	 * offline, -ETIMEDOUT, -ENOENT the folder is gone, -EACCES, -EIO ...). The waiter may be
	 * used again from inside. */
	void (*fn)(struct listing_waiter *w, int status);
	void *arg;
	bool is_walk; /* all of the directory is wanted, not one name in it */
	int state;    /* private */
};

/*
 * Asks for more of w->dir, any thread; w->dir, fn, arg and is_walk are set by the caller. fn is
 * always called: within progress_ms without a page, after hold_ms at most; at once when the service
 * is known to be unreachable, or when the same folder failed a second ago.
 */
void listing_want(struct listing *listing, struct listing_waiter *w);
/* Any thread: true when fn will not be called (any more); false when it ran or is running. */
bool listing_unwant(struct listing *listing, struct listing_waiter *w);

struct listing_options {
	/* On the store lane, after a page that corrected something the kernel may hold. */
	void (*on_changes)(void *arg, struct change_set *set);
	void *arg;
	uint64_t progress_ms; /* how long to wait for a page; 0: 10 s */
	uint64_t hold_ms;     /* how long to wait for the crawl, in all; 0: 5 s */
	uint64_t gap_ms;      /* between two folders of one walk; 0: 100 ms */
};

struct lane;
struct loop;
struct source;
struct tree;

/* Loop thread. */
must_check int listing_new(struct loop *loop, struct lane *store, struct tree *tree,
			   const struct source *source, const struct listing_options *options,
			   struct listing **ret);
/* Fails who still waits with -ENODEV. Loop thread; no listing_want() after this began. */
void listing_free(struct listing *listing);
/* The service cannot be reached: who asks is told so at once. Loop thread. */
void listing_set_offline(struct listing *listing, bool offline);
/* A crawl that will make every directory complete is under way, or (any more) not. Loop thread. */
void listing_set_crawling(struct listing *listing, bool crawling);
/* Directories being listed now. Loop thread. */
unsigned listing_running_n(const struct listing *listing);

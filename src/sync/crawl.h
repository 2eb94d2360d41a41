/*
 * The crawl: a full delta at low priority that makes the whole tree known, so that find, du and
 * work without a network need no further requests. Its pages are merged as they come, with the
 * link of the next one in the same transaction: after a restart it goes on where it was.
 * Loop thread only.
 */
#pragma once

#include "lane.h"
#include "loop.h"
#include "source.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>

struct crawl;

must_check int crawl_new(struct loop *loop, struct lane *store, struct tree *tree,
			 const struct source *source, source_changes_fn on_changes, void *arg,
			 struct crawl **ret);
/* As delta_free(). */
void crawl_free(struct crawl *crawl);
/* The service can be reached: begins, or goes on if that is what it waited for. Nothing when it is
 * done, or pauses because the service refused it. */
void crawl_start(struct crawl *crawl);
bool crawl_is_running(const struct crawl *crawl);
/* Calls fn at each change of crawl_is_running(), when everything is done that goes with it. Not by
 * crawl_free(). */
void crawl_on_running(struct crawl *crawl, void (*fn)(void *arg, bool is_running), void *arg);
uint64_t crawl_items_n(const struct crawl *crawl);

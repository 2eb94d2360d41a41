/*
 * Pages that lead from one to the next: says when they do so without an end. Constant memory,
 * whatever the number of pages. One thread.
 *
 * A page is repeated by the service when its link is, so a link that comes twice in one run is a
 * loop. Brent's algorithm finds it: one link is remembered, and replaced at each power of two.
 */
#pragma once

#include "item.h"
#include "mem.h"

struct paging {
	unsigned pages_n, empty_n; /* of this run; empty ones in a row */
	unsigned mark_at;          /* the page whose link is remembered next */
	char *mark;
};

/* Zeroed storage is ready. Before a new run, and at the end. */
void paging_reset(struct paging *paging);
/* A page has come. 0 | -EBADMSG the pages have no end: ret_text says why | -ENOMEM */
must_check int paging_note(struct paging *paging, const struct item_page *page,
			   const char **ret_text);

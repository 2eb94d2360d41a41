/*
 * Items that the service keeps describing in a way that cannot be believed, and that are left as
 * they were for this reason. Remembered so that each is asked again only when it is new, and so
 * that their number can be shown. Bounded: the oldest is forgotten, and would be asked again. One
 * thread.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>

enum { SKIPS_MAX = 256 };

/* Zeroed storage is ready. */
struct skips {
	char *ids[SKIPS_MAX];
	unsigned n, next;
};

void skips_fini(struct skips *skips);
bool skips_has(const struct skips *skips, const char *id);
must_check int skips_add(struct skips *skips, const char *id);
/* The item can be believed again. */
void skips_remove(struct skips *skips, const char *id);

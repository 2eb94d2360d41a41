/*
 * Pre-authenticated URLs of contents that were read not long ago, so that opening one again, or a
 * range of it, costs one round trip. In memory only, because a URL is a secret; wiped when it
 * goes. Bounded in number and bytes, least recently used first out. Loop thread.
 *
 * A URL leads to an item, not to a version: with it are kept the entity tags under which the
 * service served this version. What comes under another tag is asked about.
 *
 * Source: Microsoft Graph, driveItem, @microsoft.graph.downloadUrl (about an hour; never stored).
 */
#pragma once

#include "mem.h"

#include <stddef.h>
#include <stdint.h>

enum { URLS_MAX = 1024, URLS_BYTES_MAX = 2 << 20, URLS_LIFE_MS = 45 * 60 * 1000, URLS_TAGS = 3 };

struct urls;

/* Strings are owned by whoever holds it; NULL: none. */
struct urls_known {
	char *url;
	uint64_t since_ms; /* CLOCK_MONOTONIC: when the service gave it */
	char *tags[URLS_TAGS];
};
void urls_known_fini(struct urls_known *known);

must_check int urls_new(struct urls **ret);
/* NULL-safe. */
void urls_free(struct urls *urls);
/* Takes what known holds and leaves it empty; nothing is kept when there is no memory for it. */
void urls_put(struct urls *urls, uint64_t cid, struct urls_known *known);
/* Moves the URL of a content to the caller; -ENOENT, too when it is too old. */
must_check int urls_take(struct urls *urls, uint64_t cid, uint64_t now_ms, struct urls_known *ret);
size_t urls_n(const struct urls *urls);

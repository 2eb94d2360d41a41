/*
 * What tests of writing ask the simulated service: is everything sent, and what has it? Paths have
 * no leading slash.
 */
#pragma once

#include "harness.h"

/* A writable mount of an empty drive, that sends a content after so long ("0s": at once). */
void sent_start(struct harness *h, const char *quiet);
/* kill -9, and the same mount again. */
void sent_kill_and_mount(struct harness *h);
/* A new client that knows nothing, which may not write. */
void sent_mount_fresh(struct harness *h);
/* Waits until nothing is pending; fails when the service refused something for good. */
void sent_wait(struct harness *h);
/* Waits until the mount has heard of all that somebody else has changed until now. */
void sent_heard(struct harness *h);

/* While held, what is changed here stays pending; reading works. */
void sent_hold(struct harness *h);
void sent_let(struct harness *h);

bool sent_exists(struct harness *h, const char *path);
/* The service's content is this. */
bool sent_is(struct harness *h, const char *path, const void *data, size_t len);
bool sent_is_text(struct harness *h, const char *path, const char *text);
/* What the service says of an item; fails the test when there is none. */
struct sent_item {
	char id[64];
	int64_t size, mtime_s;
	unsigned contents_n; /* how many it has had */
};
struct sent_item sent_get(struct harness *h, const char *path);
/* Names in a folder ("" is the root) that begin with this. */
unsigned sent_count(struct harness *h, const char *dir, const char *begin);

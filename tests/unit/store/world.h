/*
 * A small drive as the service has it, changed at random, and what it says of itself: items as
 * delta and listings bring them. One thread.
 */
#pragma once

#include "item.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WORLD_THINGS = 40, WORLD_OTHERS = 28, WORLD_ROOT = 0, WORLD_NAMES = 64 };

struct thing {
	char id[16]; /* "": never used */
	bool live, dir;
	int parent, name;
	unsigned rev, content;
	int64_t mtime_s;
	uint64_t changed; /* when, in ticks of the world */
	uint64_t moved;   /* when it last changed its place or its kind, or came back */
};

struct world {
	struct thing t[WORLD_THINGS];
	uint64_t tick, random;
	uint64_t told; /* deletions before this tick need not be told any more */
	unsigned ids_n, contents_n;
	char given[WORLD_NAMES][256]; /* names that a client gave */
	bool folds;                   /* two names that differ by case are one */
	bool no_ctag;                 /* a business drive: delta leaves cTag out */
	uint64_t flipped;             /* when a file last became a folder, or the reverse */
};

void world_init(struct world *w, uint64_t seed);
/* 0 .. below - 1 */
unsigned world_random(struct world *w, unsigned below);
/* Somebody does something. */
void world_step(struct world *w);
/* The name of a thing, as the service has it. */
const char *world_name(const struct world *w, const struct thing *t);
/* One of those that somebody gives. */
const char *world_any_name(struct world *w);
/* What the service says of a thing now, by a listing or by delta. Tombstones of delta come with or
 * without a name and a parent. The caller finishes the item. */
void world_item(struct world *w, int at, bool by_delta, struct item *ret);

/*
 * What a client asks for. 0, or -ENOENT: no such item; -ENOTDIR: no such folder; -EEXIST: the name
 * is taken, by ret; -ESTALE: the item is not at rev; -ELOOP: below itself; -ENOSPC.
 */
int world_find(const struct world *w, const char *id);
/* content 0: a folder. */
int world_create(struct world *w, const char *parent_id, const char *name, unsigned content,
		 int64_t mtime_s, int *ret);
/* rev 0: whatever it has now. */
int world_put(struct world *w, const char *id, unsigned rev, unsigned content, int *ret);
int world_move(struct world *w, const char *id, const char *parent_id, const char *name, int *ret);
int world_set_time(struct world *w, const char *id, int64_t mtime_s, int *ret);
/* With all that is in it. */
int world_delete(struct world *w, const char *id);
/* Is it at or below top? */
bool world_is_below(const struct world *w, int at, int top);

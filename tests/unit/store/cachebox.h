/*
 * A cache in a scratch directory, and contents whose bytes tell which content and which place they
 * are of. Fails the test when something cannot be set up.
 */
#pragma once

#include "cache.h"
#include "quickxor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK = CACHE_BLOCK_BYTES };
#define GIB (UINT64_C(1) << 30)

struct cachebox {
	char path[64];
	int fd;
};

/* For cmocka; *state is the box. */
int cachebox_setup(void **state);
int cachebox_teardown(void **state);
struct cache *cachebox_open(struct cachebox *p, const char *epoch, uint64_t budget);
/* A file in the directory. */
void cachebox_file(struct cachebox *p, const char *name, const char *text);

/* What a block of a content holds. */
void cachebox_fill(uint64_t cid, uint64_t block, char *buf, size_t len);
void cachebox_hash(uint64_t cid, uint64_t size, uint8_t ret[QUICKXOR_BYTES]);
/* Writes it; gives what cache_write() gave. */
int cachebox_write(struct cache_file *f, uint64_t cid, uint64_t block);
/* Is it there, and right? */
bool cachebox_is_right(struct cache_file *f, uint64_t cid, uint64_t block);
/* Opens, writes block 0, closes; or looks whether it is there. */
void cachebox_put(struct cache *cache, uint64_t cid, uint64_t size);
bool cachebox_has(struct cache *cache, uint64_t cid, uint64_t size);

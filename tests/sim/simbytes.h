/*
 * Contents of files without their bytes: a pure function of (item, version, kind, offset), so a
 * file of 10 GB costs nothing. Small given texts are kept as they are. Earlier versions stay
 * known for the version history. One thread.
 */
#pragma once

#include "simtree.h"

enum simbytes_kind {
	SIMBYTES_RANDOM, /* incompressible */
	SIMBYTES_TEXT,   /* lines of words */
	SIMBYTES_ZERO,
	SIMBYTES_LITERAL,
};

/* A text or an earlier version; see simbytes.c. */
struct simbytes_entry;

struct simbytes {
	struct simtree *tree;
	struct simbytes_entry *entries; /* open addressing on (item, version) */
	size_t entry_n, cap;
	uint64_t hash_max_bytes; /* longer files have no hash */
};

/* One version of one file: what a transfer holds on to. */
struct simbytes_ref {
	uint32_t item, version;
	enum simbytes_kind kind;
	uint64_t size;
	int64_t mtime_ms;
	const char *literal; /* owned by the table, kept for ever */
};

void simbytes_init(struct simbytes *b, struct simtree *tree);
void simbytes_fini(struct simbytes *b);
/* "random", "text" or "zero". */
bool simbytes_parse_kind(const char *name, enum simbytes_kind *ret);

/* Gives a file its first content; to be called before anybody can have seen it. */
void simbytes_set(struct simbytes *b, uint32_t item, enum simbytes_kind kind, uint64_t size,
		  const char *literal);
/* New content: remembers the present version, counts up and logs the change. */
void simbytes_replace(struct simbytes *b, uint32_t item, enum simbytes_kind kind, uint64_t size,
		      const char *literal);
/* False: no such version of this item. */
bool simbytes_find(struct simbytes *b, uint32_t item, uint32_t version, struct simbytes_ref *ret);
void simbytes_read(const struct simbytes_ref *ref, uint64_t offset, void *ret_data, size_t len);
/* False when the file is longer than hash_max_bytes. Computed once, then remembered. */
bool simbytes_hash(struct simbytes *b, uint32_t item, char ret[29]);

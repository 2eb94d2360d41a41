/*
 * Contents of files. Most have no bytes: they are a pure function of (item, version, kind, offset),
 * so a file of 10 GB costs nothing. Small given texts are kept as they are, uploads in the spool.
 * Earlier versions stay known for the version history. One thread.
 */
#pragma once

#include "simspool.h"
#include "simtree.h"

enum simbytes_kind {
	SIMBYTES_RANDOM, /* incompressible */
	SIMBYTES_TEXT,   /* lines of words */
	SIMBYTES_ZERO,
	SIMBYTES_LITERAL,
	SIMBYTES_STORED, /* in the spool */
};

/* A text or an earlier version; see simbytes.c. */
struct simbytes_entry;

struct simbytes {
	struct simtree *tree;
	struct simspool *spool;
	struct simbytes_entry *entries; /* open addressing on (item, version) */
	size_t entry_n, cap;
	uint64_t hash_max_bytes; /* longer files have no hash */
};

/* A content, and one version of one file: what a transfer holds on to. */
struct simbytes_ref {
	uint32_t item, version;
	enum simbytes_kind kind;
	uint64_t size;
	int64_t mtime_ms;
	const char *literal; /* owned by the table, kept for ever */
	uint64_t at;         /* STORED: its region, kept for ever */
	uint64_t seed;       /* generated content: what it is a function of */
	const struct simspool *spool;
};

/* spool may be NULL where nothing is ever uploaded. */
void simbytes_init(struct simbytes *b, struct simtree *tree, struct simspool *spool);
void simbytes_fini(struct simbytes *b);
/* "random", "text" or "zero". */
bool simbytes_parse_kind(const char *name, enum simbytes_kind *ret);

/* Gives a file its first content; to be called before anybody can have seen it. Of content, kind
 * and size count, and literal (which is copied), at or seed (0: the file's own). */
void simbytes_set(struct simbytes *b, uint32_t item, const struct simbytes_ref *content);
/* New content: remembers the present version, counts up and logs the change. */
void simbytes_replace(struct simbytes *b, uint32_t item, const struct simbytes_ref *content);
/* False: no such version of this item. */
bool simbytes_find(struct simbytes *b, uint32_t item, uint32_t version, struct simbytes_ref *ret);
void simbytes_read(const struct simbytes_ref *ref, uint64_t offset, void *ret_data, size_t len);
/* False when the file is longer than hash_max_bytes. Computed once, then remembered. */
bool simbytes_hash(struct simbytes *b, uint32_t item, char ret[29]);
/* Of any version; not remembered. */
void simbytes_hash_ref(const struct simbytes_ref *ref, char ret[29]);
/* What the present content's hash is known to be. */
void simbytes_know_hash(struct simbytes *b, uint32_t item, const char hash[29]);

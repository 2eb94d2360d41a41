/*
 * quickXorHash, the content hash that every flavour of the service has. Any thread; no state but
 * the caller's.
 *
 * 160 bits; byte i of the content is XORed in at bit (11 * i) mod 160, and the length at the end.
 * It is linear: the lanes of blocks hashed apart, at any offsets and in any order, are combined by
 * XOR. Not cryptographic: it finds damage, not malice.
 *
 * Source: Microsoft, "Code Snippets: QuickXorHash Algorithm".
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QUICKXOR_LANES = 160, QUICKXOR_BYTES = 20, QUICKXOR_TEXT = 28 };

struct quickxor {
	uint8_t lane[QUICKXOR_LANES];
};

void quickxor_init(struct quickxor *x);
/* Adds the bytes that stand at this offset of the content; any order, each byte once. */
void quickxor_add(struct quickxor *x, uint64_t offset, const void *data, size_t len);
/* Takes in what was added elsewhere. */
void quickxor_combine(struct quickxor *x, const struct quickxor *other);
/* The hash of a content of this length; x stays usable. */
void quickxor_finish(const struct quickxor *x, uint64_t length, uint8_t ret[QUICKXOR_BYTES]);

/* Base64 as the service writes it. -EBADMSG. */
must_check int quickxor_parse(const char *text, uint8_t ret[QUICKXOR_BYTES]);
void quickxor_format(const uint8_t hash[QUICKXOR_BYTES], char ret[QUICKXOR_TEXT + 1]);

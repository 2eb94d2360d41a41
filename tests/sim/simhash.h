/*
 * quickXorHash: a second, independent reading of the description in the API's documentation, so
 * that a mistake in the client's implementation cannot be confirmed by the service's.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct simhash {
	uint8_t lanes[160];
	uint64_t len;
};

void simhash_update(struct simhash *h, const void *data, size_t len);
void simhash_final(const struct simhash *h, uint8_t ret[20]);
/* 28 characters of base64 and a NUL. */
void simhash_text(const uint8_t hash[20], char ret[29]);

#include "simhash.h"

#include <string.h>

/* The shift 11*i mod 160 repeats every 160 bytes, so bytes of equal i mod 160 fold into a lane. */
enum { LANES = 160, SHIFT = 11, STATE_BITS = 160 };

void simhash_update(struct simhash *h, const void *data, size_t len)
{
	const uint8_t *at = data;
	size_t lane = h->len % LANES;

	h->len += len;
	for (; len > 0 && lane != 0; len--, lane = (lane + 1) % LANES)
		h->lanes[lane] ^= *at++;
	for (; len >= LANES; len -= LANES, at += LANES) {
		for (size_t i = 0; i < LANES; i += 8) {
			uint64_t a, b;

			memcpy(&a, h->lanes + i, 8);
			memcpy(&b, at + i, 8);
			a ^= b;
			memcpy(h->lanes + i, &a, 8);
		}
	}
	for (size_t i = 0; i < len; i++)
		h->lanes[lane + i] ^= at[i];
}

void simhash_final(const struct simhash *h, uint8_t ret[20])
{
	memset(ret, 0, 20);
	for (unsigned i = 0; i < LANES; i++) {
		unsigned bit = SHIFT * i % STATE_BITS, byte = bit / 8, shift = bit % 8;

		ret[byte] ^= (uint8_t)(h->lanes[i] << shift);
		if (shift)
			ret[(byte + 1) % 20] ^= (uint8_t)(h->lanes[i] >> (8 - shift));
	}
	for (unsigned i = 0; i < 8; i++)
		ret[12 + i] ^= (uint8_t)(h->len >> (8 * i));
}

void simhash_text(const uint8_t hash[20], char ret[29])
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (unsigned i = 0; i < 7; i++) {
		uint32_t three = (uint32_t)hash[i * 3] << 16 | (uint32_t)hash[i * 3 + 1] << 8 |
				 (i * 3 + 2 < 20 ? hash[i * 3 + 2] : 0);

		for (unsigned j = 0; j < 4; j++)
			ret[i * 4 + j] = letters[three >> (18 - 6 * j) & 63];
	}
	ret[27] = '=';
	ret[28] = '\0';
}

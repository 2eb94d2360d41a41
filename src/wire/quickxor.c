#include "quickxor.h"

#include <errno.h>
#include <string.h>

enum { SHIFT = 11, BITS = 160 };

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void quickxor_init(struct quickxor *x)
{
	memset(x, 0, sizeof(*x));
}

/* Rounds of 160 bytes. In words of its own, which cannot overlap with the input: of bytes the
 * compiler has to assume that they do, and takes them one by one. */
static const uint8_t *add_rounds(uint8_t lane[QUICKXOR_LANES], const uint8_t *in, size_t rounds)
{
	uint64_t sum[QUICKXOR_LANES / 8];

	memcpy(sum, lane, sizeof(sum));
	for (; rounds > 0; rounds--) {
		for (size_t i = 0; i < QUICKXOR_LANES / 8; i++) {
			uint64_t word;

			memcpy(&word, in, sizeof(word));
			sum[i] ^= word;
			in += sizeof(word);
		}
	}
	memcpy(lane, sum, sizeof(sum));
	return in;
}

void quickxor_add(struct quickxor *x, uint64_t offset, const void *data, size_t len)
{
	const uint8_t *in = data;
	size_t at = (size_t)(offset % QUICKXOR_LANES);

	/* Up to the next whole round. */
	while (len > 0 && at != 0) {
		x->lane[at] ^= *in++;
		at = (at + 1) % QUICKXOR_LANES;
		len--;
	}
	in = add_rounds(x->lane, in, len / QUICKXOR_LANES);
	len %= QUICKXOR_LANES;
	for (size_t i = 0; i < len; i++)
		x->lane[i] ^= in[i];
}

void quickxor_combine(struct quickxor *x, const struct quickxor *other)
{
	for (size_t i = 0; i < QUICKXOR_LANES; i++)
		x->lane[i] ^= other->lane[i];
}

void quickxor_finish(const struct quickxor *x, uint64_t length, uint8_t ret[QUICKXOR_BYTES])
{
	memset(ret, 0, QUICKXOR_BYTES);
	for (unsigned i = 0; i < QUICKXOR_LANES; i++) {
		unsigned bit = i * SHIFT % BITS, byte = bit / 8, shift = bit % 8;

		ret[byte] ^= (uint8_t)(x->lane[i] << shift);
		if (shift > 0)
			ret[(byte + 1) % QUICKXOR_BYTES] ^= (uint8_t)(x->lane[i] >> (8 - shift));
	}
	for (unsigned i = 0; i < 8; i++)
		ret[QUICKXOR_BYTES - 8 + i] ^= (uint8_t)(length >> (8 * i));
}

int quickxor_parse(const char *text, uint8_t ret[QUICKXOR_BYTES])
{
	uint8_t out[QUICKXOR_TEXT / 4 * 3];

	if (strlen(text) != QUICKXOR_TEXT || text[QUICKXOR_TEXT - 1] != '=')
		return -EBADMSG;
	for (size_t i = 0; i < QUICKXOR_TEXT; i += 4) {
		uint32_t v = 0;

		for (size_t k = 0; k < 4; k++) {
			char c = text[i + k];
			const char *at = strchr(alphabet, c);
			bool is_padding = i + k == QUICKXOR_TEXT - 1;

			if (!is_padding && (c == '\0' || !at))
				return -EBADMSG;
			v = v << 6 | (is_padding ? 0 : (uint32_t)(at - alphabet));
		}
		out[i / 4 * 3] = (uint8_t)(v >> 16);
		out[i / 4 * 3 + 1] = (uint8_t)(v >> 8);
		out[i / 4 * 3 + 2] = (uint8_t)v;
	}
	/* Bits that belong to no byte: another encoder's text, or damage. */
	if (out[QUICKXOR_BYTES] != 0)
		return -EBADMSG;
	memcpy(ret, out, QUICKXOR_BYTES);
	return 0;
}

void quickxor_format(const uint8_t hash[QUICKXOR_BYTES], char ret[QUICKXOR_TEXT + 1])
{
	for (size_t i = 0; i < QUICKXOR_TEXT / 4; i++) {
		const uint8_t *in = hash + 3 * i;
		uint32_t third = 3 * i + 2 < QUICKXOR_BYTES ? in[2] : 0;
		uint32_t v = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | third;

		for (size_t k = 0; k < 4; k++)
			ret[4 * i + k] = alphabet[v >> (18 - 6 * k) & 63];
	}
	ret[QUICKXOR_TEXT - 1] = '=';
	ret[QUICKXOR_TEXT] = '\0';
}

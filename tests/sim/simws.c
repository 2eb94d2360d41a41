#include "simws.h"

#include <libwebsockets.h>
#include <string.h>
#include <unistr.h>

bool simws_parse(const void *data, size_t len, struct simws_frame *ret)
{
	const uint8_t *at = data;
	size_t length_n;

	if (len < 2)
		return false;
	*ret = (struct simws_frame){
		.is_final = at[0] & 0x80,
		.reserved = at[0] >> 4 & 7,
		.op = (enum simws_op)(at[0] & 15),
		.is_masked = at[1] & 0x80,
		.len = at[1] & 0x7f,
	};
	length_n = ret->len == 126 ? 2 : ret->len == 127 ? 8 : 0;
	ret->head_len = 2 + length_n + (ret->is_masked ? 4 : 0);
	if (len < ret->head_len)
		return false;
	if (length_n > 0)
		ret->len = 0;
	for (size_t i = 0; i < length_n; i++)
		ret->len = ret->len << 8 | at[2 + i];
	if (ret->is_masked)
		memcpy(ret->mask, at + 2 + length_n, 4);
	return true;
}

void simws_unmask(const struct simws_frame *frame, char *payload)
{
	for (size_t i = 0; frame->is_masked && i < frame->len; i++)
		payload[i] = (char)(payload[i] ^ frame->mask[i % 4]);
}

void simws_write(struct simjson *out, enum simws_op op, bool is_final, const void *data, size_t len)
{
	uint8_t head[10] = { (uint8_t)((is_final ? 0x80 : 0) | op) };
	size_t n = 2;

	if (len < 126) {
		head[1] = (uint8_t)len;
	} else {
		unsigned bytes = len < 65536 ? 2 : 8;

		head[1] = bytes == 2 ? 126 : 127;
		for (unsigned i = 0; i < bytes; i++)
			head[n++] = (uint8_t)((uint64_t)len >> (8 * (bytes - 1 - i)));
	}
	simjson_raw(out, head, n);
	simjson_raw(out, data, len);
}

void simws_write_message(struct simjson *out, enum simws_op op, const void *data, size_t len,
			 size_t fragment, bool with_pings)
{
	const char *at = data;
	bool is_first = true;

	if (with_pings)
		simws_write(out, SIMWS_PING, true, "before", 6);
	do {
		size_t n = fragment > 0 && fragment < len ? fragment : len;

		simws_write(out, is_first ? op : SIMWS_MORE, n == len, at, n);
		is_first = false;
		at += n;
		len -= n;
		if (with_pings && len > 0)
			simws_write(out, SIMWS_PING, true, "between", 7);
	} while (len > 0);
}

void simws_accept(const char *key, char ret[64])
{
	char text[128];
	unsigned char digest[20];
	int n = snprintf(text, sizeof(text), "%.60s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);

	lws_SHA1((unsigned char *)text, (size_t)n, digest);
	lws_b64_encode_string((char *)digest, sizeof(digest), ret, 64);
}

bool simws_is_utf8(const char *data, size_t len)
{
	return u8_check((const uint8_t *)data, len) == NULL;
}

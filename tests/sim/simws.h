/* WebSocket frames as bytes (RFC 6455), the server's side; no sockets. */
#pragma once

#include "simjson.h"

enum simws_op {
	SIMWS_MORE = 0,
	SIMWS_TEXT = 1,
	SIMWS_BINARY = 2,
	SIMWS_CLOSE = 8,
	SIMWS_PING = 9,
	SIMWS_PONG = 10,
};

struct simws_frame {
	bool is_final, is_masked;
	unsigned reserved; /* RSV bits */
	enum simws_op op;
	uint64_t len;
	size_t head_len;
	uint8_t mask[4];
};

/* False: the header is not all there yet. */
bool simws_parse(const void *data, size_t len, struct simws_frame *ret);
void simws_unmask(const struct simws_frame *frame, char *payload);
void simws_write(struct simjson *out, enum simws_op op, bool is_final, const void *data,
		 size_t len);
/* A message in frames of at most fragment bytes (0: one frame), with pings between if asked. */
void simws_write_message(struct simjson *out, enum simws_op op, const void *data, size_t len,
			 size_t fragment, bool with_pings);
/* Sec-WebSocket-Accept for a key. */
void simws_accept(const char *key, char ret[64]);
/* True when the bytes are UTF-8 by the Unicode standard. */
bool simws_is_utf8(const char *data, size_t len);

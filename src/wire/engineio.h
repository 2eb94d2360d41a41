/*
 * Engine.IO packets of the WebSocket transport: one text message is one packet. Pure; any thread.
 *
 * Source: Engine.IO protocol, revisions 3 and 4.
 */
#pragma once

#include "mem.h"

#include <stddef.h>
#include <stdint.h>

enum engineio_type {
	ENGINEIO_OPEN,
	ENGINEIO_CLOSE,
	ENGINEIO_PING,
	ENGINEIO_PONG,
	ENGINEIO_MESSAGE,
	ENGINEIO_UPGRADE,
	ENGINEIO_NOOP,
};

struct engineio_packet {
	enum engineio_type type;
	const char *payload; /* borrowed from the frame; not NUL-terminated */
	size_t payload_len;
};

/* -EBADMSG: empty, or a type that does not exist over WebSocket. */
must_check int engineio_decode(const char *frame, size_t len, struct engineio_packet *ret);

/* What the open packet says. Absent or senseless numbers become the reference server's defaults
 * (25 s and 20 s), others are kept within 100 ms and 10 minutes. */
struct engineio_open {
	uint64_t ping_interval_ms, ping_timeout_ms;
};
/* -EBADMSG: not a JSON object. */
must_check int engineio_decode_open(const char *payload, size_t len, struct engineio_open *ret);

/*
 * Socket.IO packets, protocol 5 (and 4, which differs in what CONNECT and ERROR carry). Pure; any
 * thread.
 *
 *   <type>[<attachments>-][<namespace>,][<ack id>][<JSON>]
 *
 * Source: Socket.IO protocol, revision 5; socket.io-parser for what is refused.
 */
#pragma once

#include "buf.h"
#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum socketio_type {
	SOCKETIO_CONNECT,
	SOCKETIO_DISCONNECT,
	SOCKETIO_EVENT,
	SOCKETIO_ACK,
	SOCKETIO_ERROR,
	SOCKETIO_BINARY_EVENT,
	SOCKETIO_BINARY_ACK,
};

enum { SOCKETIO_ATTACHMENTS_MAX = 10 };

/* Views into the frame, not NUL-terminated. */
struct socketio_packet {
	enum socketio_type type;
	const char *ns; /* with its slash, without a query; "/" when the frame names none */
	size_t ns_len;
	bool has_ack;
	uint64_t ack;
	unsigned attachments_n; /* binary messages that belong to it and follow */
	const char *json;       /* NULL when there is none */
	size_t json_len;
};

/* -EBADMSG: what the reference parser refuses, which ends a session; names that it reserves are
 * events like others here. The JSON of events and acks is looked into (an array, an event with a
 * name); connect's and error's is not. */
must_check int socketio_decode(const char *data, size_t len, struct socketio_packet *ret);

/* Is it an event of this name? Compared after unescaping. */
bool socketio_is_event(const struct socketio_packet *packet, const char *name);
bool socketio_is_ns(const struct socketio_packet *packet, const char *ns);
/* Does a connect packet carry a session id? Before protocol 5 it does not. */
bool socketio_has_sid(const struct socketio_packet *packet);
/* The human text of an error packet (a string, or an object's message), cut to size. */
void socketio_error_text(const struct socketio_packet *packet, char *ret, size_t size);

/* Engine.IO frames to send: "40", "40/ns,", "41/ns,", "43/ns,17[]". ns "/" is not written. */
must_check int socketio_encode_connect(struct buf *frame, const char *ns);
must_check int socketio_encode_disconnect(struct buf *frame, const char *ns);
must_check int socketio_encode_ack(struct buf *frame, const struct socketio_packet *packet);

/* Text messages of the notification channel, as Engine.IO and what it carries. */
#include "engineio.h"
#include "socketio.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool is_so)
{
	if (!is_so)
		__builtin_trap();
}

static bool is_within(const char *view, size_t view_len, const char *data, size_t len)
{
	return view >= data && view + view_len <= data + len;
}

/* What we answer is a packet again, of the same namespace and id. */
static void answer(const struct socketio_packet *packet, size_t len)
{
	struct engineio_packet outer;
	struct socketio_packet ack;
	struct buf frame;

	buf_init(&frame, len + 64);
	must(socketio_encode_ack(&frame, packet) == 0);
	must(!memchr(frame.data, '?', frame.len));
	must(engineio_decode(frame.data, frame.len, &outer) == 0);
	must(socketio_decode(outer.payload, outer.payload_len, &ack) == 0);
	must(ack.type == SOCKETIO_ACK && ack.has_ack && ack.ack == packet->ack);
	must(ack.ns_len == packet->ns_len && memcmp(ack.ns, packet->ns, ack.ns_len) == 0);
	buf_fini(&frame);
}

static void message(const char *data, size_t len)
{
	struct socketio_packet p;
	char text[64];

	if (socketio_decode(data, len, &p) != 0)
		return;
	must(p.ns_len > 0 && p.ns[0] == '/');
	must(!p.json || is_within(p.json, p.json_len, data, len));
	must(p.attachments_n <= SOCKETIO_ATTACHMENTS_MAX);
	must(p.type != SOCKETIO_ACK || p.has_ack);
	(void)socketio_is_event(&p, "notification");
	(void)socketio_is_ns(&p, "/notifications");
	must(!socketio_has_sid(&p) || p.type == SOCKETIO_CONNECT);
	socketio_error_text(&p, text, sizeof(text));
	must(strlen(text) < sizeof(text));
	if (p.has_ack)
		answer(&p, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct engineio_packet packet;
	struct engineio_open open;

	if (engineio_decode((const char *)data, len, &packet) != 0)
		return 0;
	must(is_within(packet.payload, packet.payload_len, (const char *)data, len));
	if (packet.type == ENGINEIO_MESSAGE)
		message(packet.payload, packet.payload_len);
	if (packet.type == ENGINEIO_OPEN &&
	    engineio_decode_open(packet.payload, packet.payload_len, &open) == 0) {
		must(open.ping_interval_ms >= 100 && open.ping_interval_ms <= 600000);
		must(open.ping_timeout_ms >= 100 && open.ping_timeout_ms <= 600000);
	}
	return 0;
}

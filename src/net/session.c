#define LOG_MODULE "session"
#include "session.h"

#include "buf.h"
#include "engineio.h"
#include "log.h"
#include "socketio.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FRAME_MAX = 16384, HTTP_BAD_REQUEST = 400 };
enum phase { DIALLING, OPENING, JOINING, UP };

struct session {
	struct loop *loop;
	struct notifyurl where;
	const struct live_options *options;
	const struct session_events *events;
	void *arg;
	struct ws_connection *ws;
	enum phase phase;
	struct engineio_open heartbeat;
	struct loop_timer deadline; /* of the phase; in UP and JOINING of the heartbeat too */
	struct loop_timer ping;     /* Engine.IO 3: the client pings */
	struct loop_call ended;
	char reason[200];
	uint64_t last_ping_ms, join_ends_ms;
	bool is_late, is_over, is_freed, in_ended, is_eio_refused;
	unsigned attachments_due;
	bool attached_is_notification;
};

static void end(struct session *s, const char *fmt, ...) printf_like(2, 3);

static void on_ended(void *arg)
{
	struct session *s = arg;

	s->in_ended = false;
	if (s->is_freed)
		free(s);
	else
		s->events->on_ended(s->arg, s, s->reason);
}

/* Tells the owner in the next turn: he may be in the middle of a call to us. */
static void end(struct session *s, const char *fmt, ...)
{
	va_list ap;

	if (s->is_over)
		return;
	s->is_over = true;
	va_start(ap, fmt);
	(void)vsnprintf(s->reason, sizeof(s->reason), fmt, ap);
	va_end(ap);
	loop_timer_disarm(&s->deadline);
	loop_timer_disarm(&s->ping);
	if (s->ws)
		ws_close(take_ptr(&s->ws), false);
	s->in_ended = true;
	loop_post(s->loop, &s->ended, on_ended, s);
}

static void send_text(struct session *s, const char *text, size_t len)
{
	if (s->ws && ws_send(s->ws, text, len) < 0)
		end(s, "too much waits to be sent");
}

static void send_encoded(struct session *s, int error, const struct buf *frame)
{
	if (error < 0)
		end(s, "an answer cannot be made");
	else
		send_text(s, frame->data, frame->len);
}

static bool is_eio3(const struct session *s)
{
	return s->where.eio == 3;
}

/* --- heartbeat --- */

static uint64_t silence_ms(const struct session *s)
{
	return s->heartbeat.ping_interval_ms + s->heartbeat.ping_timeout_ms;
}

static void arm_watchdog(struct session *s)
{
	uint64_t quiet = loop_now_ms(s->loop) - s->last_ping_ms;
	uint64_t late = s->heartbeat.ping_interval_ms + s->heartbeat.ping_timeout_ms / 2;
	uint64_t next = s->is_late ? silence_ms(s) : late;

	loop_timer_arm(&s->deadline, quiet < next ? next - quiet : 0);
}

static void on_silence(struct session *s)
{
	uint64_t quiet = loop_now_ms(s->loop) - s->last_ping_ms;

	if (quiet >= silence_ms(s)) {
		end(s, "silent for %llu ms", (unsigned long long)quiet);
		return;
	}
	if (!s->is_late &&
	    quiet >= s->heartbeat.ping_interval_ms + s->heartbeat.ping_timeout_ms / 2) {
		s->is_late = true;
		s->events->on_late(s->arg, s);
	}
	if (!s->is_over)
		arm_watchdog(s);
}

static void on_deadline(void *arg)
{
	struct session *s = arg;

	switch (s->phase) {
	case DIALLING:
	case OPENING:
		end(s, "no open packet in %llu ms", (unsigned long long)s->options->dial_ms);
		break;
	case JOINING:
		end(s, "the namespace was not joined in %llu ms",
		    (unsigned long long)s->options->join_ms);
		break;
	case UP:
		on_silence(s);
		break;
	}
}

static void note_heartbeat(struct session *s)
{
	s->last_ping_ms = loop_now_ms(s->loop);
	s->is_late = false;
	s->events->on_ping(s->arg, s);
	if (s->phase == UP && !s->is_over)
		arm_watchdog(s);
}

static void on_ping_timer(void *arg)
{
	struct session *s = arg;

	send_text(s, "2", 1);
	if (!s->is_over)
		loop_timer_arm(&s->ping, s->heartbeat.ping_interval_ms);
}

/* --- packets --- */

static void on_open_packet(struct session *s, const struct engineio_packet *p)
{
	auto_call(buf_fini) struct buf frame = { .max_bytes = FRAME_MAX };
	int r;

	if (s->phase != OPENING)
		return; /* a second one says nothing new */
	if (engineio_decode_open(p->payload, p->payload_len, &s->heartbeat) < 0) {
		end(s, "malformed open packet");
		return;
	}
	s->phase = JOINING;
	s->last_ping_ms = loop_now_ms(s->loop);
	loop_timer_arm(&s->deadline, s->options->join_ms);
	if (is_eio3(s)) {
		/* The server has joined us to "/" unasked; a second CONNECT would end it. */
		loop_timer_arm(&s->ping, s->heartbeat.ping_interval_ms);
	} else {
		send_text(s, "40", 2);
	}
	if (strcmp(s->where.ns, "/") == 0)
		return;
	r = socketio_encode_connect(&frame, s->where.ns);
	send_encoded(s, r, &frame);
}

static void on_connect_packet(struct session *s, const struct socketio_packet *p)
{
	if (s->phase != JOINING)
		return;
	if (!is_eio3(s) && !socketio_has_sid(p)) {
		/* It would wait for our pings, and we for its. */
		s->is_eio_refused = true;
		end(s, "the service speaks an older Socket.IO");
		return;
	}
	if (!socketio_is_ns(p, s->where.ns))
		return;
	s->phase = UP;
	arm_watchdog(s);
	s->events->on_up(s->arg, s);
}

static void on_event_packet(struct session *s, const struct socketio_packet *p)
{
	bool is_ours = socketio_is_ns(p, s->where.ns) || socketio_is_ns(p, "/");
	bool is_notification = is_ours && socketio_is_event(p, "notification");

	/* An answer in a namespace that was not joined would end the session. */
	if (p->has_ack && is_ours) {
		auto_call(buf_fini) struct buf frame = { .max_bytes = FRAME_MAX };

		send_encoded(s, socketio_encode_ack(&frame, p), &frame);
	}
	s->attachments_due = p->attachments_n;
	s->attached_is_notification = is_notification;
	if (is_notification && p->attachments_n == 0 && s->phase == UP)
		s->events->on_notified(s->arg, s);
}

static void on_message_packet(struct session *s, const struct engineio_packet *packet)
{
	struct socketio_packet p;
	char text[120];

	if (s->attachments_due > 0) {
		end(s, "a packet where an attachment was due");
		return;
	}
	if (socketio_decode(packet->payload, packet->payload_len, &p) < 0) {
		end(s, "malformed Socket.IO packet");
		return;
	}
	switch (p.type) {
	case SOCKETIO_CONNECT:
		on_connect_packet(s, &p);
		break;
	case SOCKETIO_DISCONNECT:
		if (socketio_is_ns(&p, s->where.ns) || socketio_is_ns(&p, "/"))
			end(s, "the service ended the session");
		break;
	case SOCKETIO_ERROR:
		if (socketio_is_ns(&p, s->where.ns)) {
			socketio_error_text(&p, text, sizeof(text));
			/* It may quote our secret query. */
			text[strcspn(text, "?=")] = '\0';
			end(s, "the namespace was refused: %s", text);
		}
		break;
	case SOCKETIO_EVENT:
	case SOCKETIO_BINARY_EVENT:
		on_event_packet(s, &p);
		break;
	case SOCKETIO_ACK:
	case SOCKETIO_BINARY_ACK:
		s->attachments_due = p.attachments_n;
		s->attached_is_notification = false;
		break;
	}
}

static void on_ping_packet(struct session *s, const struct engineio_packet *p)
{
	auto_call(buf_fini) struct buf frame = { .max_bytes = FRAME_MAX };
	int r = buf_append_str(&frame, "3");

	if (r == 0)
		r = buf_append(&frame, p->payload, p->payload_len);
	send_encoded(s, r, &frame);
	if (!s->is_over)
		note_heartbeat(s);
}

static void on_text(struct session *s, const char *data, size_t len)
{
	struct engineio_packet p;

	if (engineio_decode(data, len, &p) < 0) {
		end(s, "malformed Engine.IO packet");
		return;
	}
	if (s->phase == OPENING && p.type != ENGINEIO_OPEN && p.type != ENGINEIO_NOOP) {
		end(s, "a packet before the open packet");
		return;
	}
	switch (p.type) {
	case ENGINEIO_OPEN:
		on_open_packet(s, &p);
		break;
	case ENGINEIO_CLOSE:
		end(s, "closed by the service");
		break;
	case ENGINEIO_PING:
		/* In 3 the server closes on a pong. */
		if (!is_eio3(s))
			on_ping_packet(s, &p);
		break;
	case ENGINEIO_PONG:
		if (is_eio3(s))
			note_heartbeat(s);
		break;
	case ENGINEIO_MESSAGE:
		on_message_packet(s, &p);
		break;
	case ENGINEIO_UPGRADE:
	case ENGINEIO_NOOP:
		break;
	}
}

static void on_binary(struct session *s)
{
	if (s->attachments_due == 0) {
		end(s, "a binary message that nothing announced");
		return;
	}
	if (--s->attachments_due == 0 && s->attached_is_notification && s->phase == UP)
		s->events->on_notified(s->arg, s);
}

/* --- the WebSocket below --- */

static void on_ws_open(void *arg)
{
	struct session *s = arg;

	s->phase = OPENING;
}

static void on_ws_message(void *arg, bool is_text, const char *data, size_t len)
{
	struct session *s = arg;

	if (s->is_over)
		return;
	if (is_text)
		on_text(s, data, len);
	else
		on_binary(s);
}

static void on_ws_closed(void *arg, unsigned code, const char *reason)
{
	struct session *s = arg;

	s->ws = NULL;
	if (!s->is_over)
		s->is_eio_refused = (s->phase == DIALLING && code == HTTP_BAD_REQUEST) ||
				    (s->phase == OPENING && code == WS_NO_FRAME);
	end(s, "%s", reason);
}

int session_new(struct loop *loop, struct ws *ws, struct notifyurl *where,
		const struct live_options *options, const struct session_events *events, void *arg,
		struct session **ret)
{
	struct session *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	*s = (struct session){
		.loop = loop,
		.options = options,
		.events = events,
		.arg = arg,
		.where = *where,
	};
	*where = (struct notifyurl){ 0 };
	r = loop_timer_init(&s->deadline, loop, on_deadline, s);
	if (r == 0)
		r = loop_timer_init(&s->ping, loop, on_ping_timer, s);
	if (r == 0)
		r = ws_connect(ws, s->where.host, s->where.port, s->where.tls, s->where.path,
			       &(struct ws_events){
				       .arg = s,
				       .on_open = on_ws_open,
				       .on_message = on_ws_message,
				       .on_closed = on_ws_closed,
			       },
			       &s->ws);
	if (r < 0) {
		session_free(s, false);
		return r;
	}
	loop_timer_arm(&s->deadline, options->dial_ms);
	*ret = s;
	return 0;
}

void session_free(struct session *s, bool polite)
{
	if (!s || s->is_freed)
		return;
	if (s->ws && polite && s->phase == UP) {
		auto_call(buf_fini) struct buf frame = { .max_bytes = FRAME_MAX };

		if (socketio_encode_disconnect(&frame, s->where.ns) == 0)
			send_text(s, frame.data, frame.len);
	}
	if (s->ws)
		ws_close(take_ptr(&s->ws), polite);
	loop_timer_fini(&s->deadline);
	loop_timer_fini(&s->ping);
	notifyurl_fini(&s->where);
	s->is_freed = s->is_over = true;
	/* A posted call still points here and frees it. */
	if (!s->in_ended)
		free(s);
}

bool session_eio_refused(const struct session *s)
{
	return s->is_eio_refused;
}

const char *session_host(const struct session *s)
{
	return s->where.host;
}

uint64_t session_ping_ms(const struct session *s)
{
	return s->heartbeat.ping_interval_ms;
}

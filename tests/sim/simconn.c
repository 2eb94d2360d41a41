#include "simconn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { CHUNK_BYTES = SIMSERVE_CHUNK_BYTES, CATCH_UP_US = 200000 };
enum { IN_MAX_BYTES = SIMHTTP_BODY_MAX_BYTES + (1 << 20) };

static void on_timer(lws_sorted_usec_list_t *timer);
static void begin_reading(struct simconn *c);

static uint64_t now_us(void)
{
	return simtree_now_ns() / 1000;
}

static void wake_after_us(struct simconn *c, uint64_t us)
{
	lws_sul_schedule(c->serve->context, 0, &c->timer, on_timer, (lws_usec_t)us);
}

static bool is_silenced(const struct simconn *c)
{
	return c->port != SIMPORT_ADMIN && c->serve->outage == SIMSERVE_BLACKHOLE;
}

/* --- sending --- */

static void drop_reply(struct simconn *c)
{
	if (c->has_reply)
		simhttp_free_reply(&c->reply);
	c->has_reply = false;
}

/* Disconnecting a connected TCP socket sends a reset at once, whatever is queued. */
void simconn_reset(struct simconn *c)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (connect(lws_get_socket_fd(c->wsi), &none, sizeof(none)) < 0)
		perror("graphsim: reset");
	c->phase = SIMCONN_ENDED;
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static void stall(struct simconn *c)
{
	c->phase = SIMCONN_STALLED;
	c->counts_as_stalled = true;
	c->serve->stalled_n++;
}

/* What comes after the reply; false: the connection is to be closed. */
static bool after_reply(struct simconn *c)
{
	struct simreply *r = &c->reply;

	switch (r->end) {
	case SIMEND_RESET:
		simconn_reset(c);
		return true;
	case SIMEND_STALL:
		stall(c);
		return true;
	case SIMEND_CLOSE:
		return false;
	case SIMEND_NORMAL:
		break;
	}
	if (r->taker) {
		c->phase = SIMCONN_TAKEN;
		r->taker->on_start(r->taker_arg, c);
		return true;
	}
	if (!c->keep_alive)
		return false;
	drop_reply(c);
	c->phase = SIMCONN_READ;
	begin_reading(c);
	return true;
}

static size_t chunk_bytes(const struct simconn *c)
{
	uint64_t rate = c->reply.bytes_per_s ? c->reply.bytes_per_s : c->serve->bytes_per_s;
	uint64_t n = rate / 20 + 1;

	return c->port == SIMPORT_ADMIN || !rate || n > CHUNK_BYTES ? CHUNK_BYTES : (size_t)n;
}

/* Puts the next piece of the body into out; false: there is no more. */
static bool fill(struct simconn *c)
{
	struct simreply *r = &c->reply;
	uint64_t body_n = simhttp_body_bytes(r), total = body_n + r->extra_n;
	size_t n = chunk_bytes(c);
	char *at;

	if (total > r->cut_at)
		total = r->cut_at;
	if (c->body_at >= total)
		return false;
	if (n > total - c->body_at)
		n = (size_t)(total - c->body_at);
	simjson_clear(&c->out);
	c->out_at = 0;
	if (c->body_at < body_n && n > body_n - c->body_at)
		n = (size_t)(body_n - c->body_at);
	at = simjson_extend(&c->out, n);
	if (c->body_at < body_n) {
		if (r->has_ref)
			simbytes_read(&r->ref, r->ref_at + c->body_at, at, n);
		else
			memcpy(at, r->body.data + c->body_at, n);
	} else {
		memset(at, '#', n);
	}
	if (r->flip_at >= c->body_at && r->flip_at - c->body_at < n)
		at[r->flip_at - c->body_at] ^= 1;
	c->body_at += n;
	return true;
}

static void pace(struct simconn *c, size_t sent)
{
	uint64_t rate =
		c->has_reply && c->reply.bytes_per_s ? c->reply.bytes_per_s : c->serve->bytes_per_s;
	uint64_t now = now_us();

	if (c->port == SIMPORT_ADMIN || !rate)
		return;
	/* A little may be made up for, or a late wake-up would be a lower rate. */
	if (c->next_us + CATCH_UP_US < now)
		c->next_us = now - CATCH_UP_US;
	c->next_us += sent * 1000000u / rate;
}

/* Sends one piece. Negative: the connection is broken. */
static int send_piece(struct simconn *c)
{
	size_t n = c->out.len - c->out_at;
	int sent;

	if (n > chunk_bytes(c))
		n = chunk_bytes(c);
	sent = lws_write(c->wsi, (unsigned char *)c->out.data + c->out_at, n, LWS_WRITE_RAW);
	if (sent < 0)
		return -EIO;
	c->out_at += n;
	c->serve->bytes_n += n;
	pace(c, n);
	if (c->out_at == c->out.len) {
		simjson_clear(&c->out);
		c->out_at = 0;
	}
	return 0;
}

/* The socket can take more. Non-zero tells libwebsockets to close. */
int simconn_writable(struct simconn *c)
{
	uint64_t now = now_us();

	if (is_silenced(c) || (c->phase != SIMCONN_SEND && c->phase != SIMCONN_TAKEN))
		return 0;
	if (c->next_us > now) {
		wake_after_us(c, c->next_us - now);
		return 0;
	}
	if (c->out.len > c->out_at && send_piece(c) < 0)
		return -1;
	if (lws_partial_buffered(c->wsi) || c->out.len > c->out_at ||
	    (c->phase == SIMCONN_SEND && fill(c))) {
		lws_callback_on_writable(c->wsi);
		return 0;
	}
	if (c->phase == SIMCONN_TAKEN)
		return c->close_when_sent ? -1 : 0;
	return after_reply(c) ? 0 : -1;
}

static void start_sending(struct simconn *c)
{
	struct simreply *r = &c->reply;

	if (r->stall_at_start) {
		stall(c);
		return;
	}
	c->phase = SIMCONN_SEND;
	c->body_at = 0;
	if (c->next_us < now_us())
		c->next_us = now_us();
	simjson_clear(&c->out);
	c->out_at = 0;
	if (r->raw) {
		simjson_raw(&c->out, r->raw, r->raw_len);
		c->body_at = UINT64_MAX;
	} else if (!r->no_answer) {
		simhttp_write_head(r, c->keep_alive, &c->out);
	} else {
		c->body_at = UINT64_MAX;
	}
	lws_callback_on_writable(c->wsi);
}

static void on_timer(lws_sorted_usec_list_t *timer)
{
	struct simconn *c = container_of(timer, struct simconn, timer);

	if (c->phase == SIMCONN_WAIT)
		start_sending(c);
	else if (c->phase == SIMCONN_BODY)
		lws_rx_flow_control(c->wsi, 1);
	else if (c->phase == SIMCONN_SEND || c->phase == SIMCONN_TAKEN)
		lws_callback_on_writable(c->wsi);
}

/* --- receiving --- */

static void drop_request(struct simconn *c)
{
	if (!c->has_req)
		return;
	if (c->req.is_spooled && !c->req.is_kept)
		simspool_drop(c->serve->spool, c->req.body_at, c->req.body_len);
	simhttp_free_req(&c->req);
	c->has_req = false;
}

static void consume(struct simconn *c, size_t n)
{
	if (n == 0)
		return;
	memmove(c->in.data, c->in.data + n, c->in.len - n);
	c->in.len -= n;
}

static void answer(struct simconn *c)
{
	struct simreq *req = &c->req;
	uint64_t delay_ms = c->port == SIMPORT_ADMIN ? 0 : c->serve->latency_ms;

	c->keep_alive = req->keep_alive;
	simhttp_init_reply(&c->reply);
	c->has_reply = true;
	c->serve->on_request(c->serve->on_request_arg, req, &c->reply);
	if (strcmp(req->method, "HEAD") == 0)
		c->reply.cut_at = 0;
	delay_ms += c->reply.delay_ms;
	c->phase = SIMCONN_WAIT;
	if (delay_ms > 0)
		wake_after_us(c, delay_ms * 1000);
	else
		start_sending(c);
}

static void refuse(struct simconn *c, int status)
{
	simhttp_init_reply(&c->reply);
	c->has_reply = true;
	c->reply.status = status;
	c->reply.end = SIMEND_CLOSE;
	c->keep_alive = false;
	start_sending(c);
}

/* A fault that was to strike amid the body. */
static void cut_off(struct simconn *c)
{
	drop_request(c);
	if (c->cut.end == SIMEND_STALL) {
		stall(c);
	} else if (c->cut.end == SIMEND_RESET) {
		simconn_reset(c);
	} else {
		c->phase = SIMCONN_ENDED;
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
	}
}

/* Takes what is there of the body; answers when that is all of it. */
static void take_body(struct simconn *c)
{
	uint64_t left = c->req.body_len - c->body_got;
	size_t n = c->in.len < left ? c->in.len : (size_t)left;

	if (c->req.is_spooled) {
		simspool_write(c->serve->spool, c->req.body_at + c->body_got, c->in.data, n);
		consume(c, n);
		c->body_got += n;
	} else {
		c->body_got = c->in.len < c->req.body_len ? c->in.len : c->req.body_len;
	}
	if (c->cut.end != SIMEND_NORMAL &&
	    (c->body_got >= c->cut.at || c->body_got == c->req.body_len)) {
		cut_off(c);
		return;
	}
	if (c->body_got < c->req.body_len)
		return;
	if (!c->req.is_spooled)
		c->req.body = c->in.data;
	answer(c);
	if (!c->req.is_spooled)
		consume(c, c->req.body_len);
	drop_request(c);
}

static void begin_reading(struct simconn *c)
{
	size_t used = 0;
	int r = simhttp_parse_head(c->in.data, c->in.len, &c->req, &used);

	if (r < 0) {
		refuse(c, r == -EFBIG ? 431 : 400);
		return;
	}
	if (used == 0)
		return;
	c->has_req = true;
	c->req.port = c->port;
	c->req.conn = c;
	c->req.is_spooled = c->port != SIMPORT_ADMIN && c->req.body_len > 0 &&
			    strcmp(c->req.method, "PUT") == 0;
	if (!c->req.is_spooled && c->req.body_len > SIMHTTP_BODY_MAX_BYTES) {
		drop_request(c);
		refuse(c, 413);
		return;
	}
	consume(c, used);
	c->body_got = 0;
	c->cut = (struct simcut){ .at = UINT64_MAX };
	if (c->port != SIMPORT_ADMIN && c->req.body_len > 0)
		c->cut = c->serve->on_head(c->serve->on_request_arg, &c->req);
	if (c->req.is_spooled)
		c->req.body_at = simspool_reserve(c->serve->spool, c->req.body_len);
	c->phase = SIMCONN_BODY;
	take_body(c);
}

/* Slows a body down: reads on when the bytes so far may have taken their time. */
static void pace_in(struct simconn *c, size_t len)
{
	uint64_t rate = c->serve->bytes_per_s, now = now_us();

	if (c->port == SIMPORT_ADMIN || !rate || c->phase != SIMCONN_BODY)
		return;
	if (c->next_us + CATCH_UP_US < now)
		c->next_us = now - CATCH_UP_US;
	c->next_us += len * 1000000u / rate;
	if (c->next_us > now) {
		lws_rx_flow_control(c->wsi, 0);
		wake_after_us(c, c->next_us - now);
	}
}

int simconn_bytes(struct simconn *c, const char *data, size_t len)
{
	if (is_silenced(c)) {
		c->is_lost = true;
		return 0;
	}
	if (c->phase == SIMCONN_TAKEN) {
		c->reply.taker->on_bytes(c->reply.taker_arg, data, len);
		return 0;
	}
	if (c->in.len + len > IN_MAX_BYTES)
		return -1;
	/* libwebsockets' deadline for the TLS handshake is not lifted for raw connections: it
	 * would end them, replies and all, after five seconds. */
	lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
	simjson_raw(&c->in, data, len);
	if (c->phase == SIMCONN_READ)
		begin_reading(c);
	else if (c->phase == SIMCONN_BODY)
		take_body(c);
	pace_in(c, len);
	return 0;
}

void simconn_open(struct simserve *s, struct simconn *c, struct lws *wsi)
{
	c->serve = s;
	c->wsi = wsi;
	c->port = (enum simport)lws_get_protocol(wsi)->id;
	list_add_tail(&s->conns, &c->link);
	s->conn_n++;
}

void simconn_gone(struct simconn *c)
{
	lws_sul_cancel(&c->timer);
	if (!c->serve)
		return;
	if (c->phase != SIMCONN_READ && c->has_reply && c->reply.taker)
		c->reply.taker->on_close(c->reply.taker_arg);
	c->phase = SIMCONN_ENDED;
	if (c->counts_as_stalled)
		c->serve->stalled_n--;
	drop_reply(c);
	drop_request(c);
	list_del(&c->link);
	c->serve->conn_n--;
	simjson_fini(&c->in);
	simjson_fini(&c->out);
}

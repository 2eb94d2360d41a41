#include "simserve.h"
#include "mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { CHUNK_BYTES = 256 << 10, BACKLOG = 512, CATCH_UP_US = 200000 };
enum { IN_MAX_BYTES = SIMHTTP_BODY_MAX_BYTES + (1 << 20) };

enum phase {
	PHASE_READ,
	PHASE_BODY,
	PHASE_WAIT,
	PHASE_SEND,
	PHASE_STALLED,
	PHASE_TAKEN,
	PHASE_ENDED
};

struct simconn {
	struct list link;
	struct simserve *serve;
	struct lws *wsi;
	enum simport port;
	enum phase phase;
	struct simjson in, out;
	struct simreq req; /* from its head to its reply */
	bool has_req;
	uint64_t body_got;
	struct simcut cut;
	size_t out_at;
	uint64_t body_at; /* bytes of the body put into out so far */
	struct simreply reply;
	bool has_reply, keep_alive, is_lost, counts_as_stalled;
	bool close_when_sent;
	uint64_t next_us; /* bandwidth: not before */
	lws_sorted_usec_list_t timer;
};

static const char *const port_names[SIMPORT_N] = { "api", "content", "notify", "admin" };

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
static void reset(struct simconn *c)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	if (connect(lws_get_socket_fd(c->wsi), &none, sizeof(none)) < 0)
		perror("graphsim: reset");
	c->phase = PHASE_ENDED;
	lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static void stall(struct simconn *c)
{
	c->phase = PHASE_STALLED;
	c->counts_as_stalled = true;
	c->serve->stalled_n++;
}

/* What comes after the reply; false: the connection is to be closed. */
static bool after_reply(struct simconn *c)
{
	struct simreply *r = &c->reply;

	switch (r->end) {
	case SIMEND_RESET:
		reset(c);
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
		c->phase = PHASE_TAKEN;
		r->taker->on_start(r->taker_arg, c);
		return true;
	}
	if (!c->keep_alive)
		return false;
	drop_reply(c);
	c->phase = PHASE_READ;
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
static int on_writable(struct simconn *c)
{
	uint64_t now = now_us();

	if (is_silenced(c) || (c->phase != PHASE_SEND && c->phase != PHASE_TAKEN))
		return 0;
	if (c->next_us > now) {
		wake_after_us(c, c->next_us - now);
		return 0;
	}
	if (c->out.len > c->out_at && send_piece(c) < 0)
		return -1;
	if (lws_partial_buffered(c->wsi) || c->out.len > c->out_at ||
	    (c->phase == PHASE_SEND && fill(c))) {
		lws_callback_on_writable(c->wsi);
		return 0;
	}
	if (c->phase == PHASE_TAKEN)
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
	c->phase = PHASE_SEND;
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

	if (c->phase == PHASE_WAIT)
		start_sending(c);
	else if (c->phase == PHASE_BODY)
		lws_rx_flow_control(c->wsi, 1);
	else if (c->phase == PHASE_SEND || c->phase == PHASE_TAKEN)
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
	c->phase = PHASE_WAIT;
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
		reset(c);
	} else {
		c->phase = PHASE_ENDED;
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
	c->phase = PHASE_BODY;
	take_body(c);
}

/* Slows a body down: reads on when the bytes so far may have taken their time. */
static void pace_in(struct simconn *c, size_t len)
{
	uint64_t rate = c->serve->bytes_per_s, now = now_us();

	if (c->port == SIMPORT_ADMIN || !rate || c->phase != PHASE_BODY)
		return;
	if (c->next_us + CATCH_UP_US < now)
		c->next_us = now - CATCH_UP_US;
	c->next_us += len * 1000000u / rate;
	if (c->next_us > now) {
		lws_rx_flow_control(c->wsi, 0);
		wake_after_us(c, c->next_us - now);
	}
}

static int on_bytes(struct simconn *c, const char *data, size_t len)
{
	if (is_silenced(c)) {
		c->is_lost = true;
		return 0;
	}
	if (c->phase == PHASE_TAKEN) {
		c->reply.taker->on_bytes(c->reply.taker_arg, data, len);
		return 0;
	}
	if (c->in.len + len > IN_MAX_BYTES)
		return -1;
	/* libwebsockets' deadline for the TLS handshake is not lifted for raw connections: it
	 * would end them, replies and all, after five seconds. */
	lws_set_timeout(c->wsi, NO_PENDING_TIMEOUT, 0);
	simjson_raw(&c->in, data, len);
	if (c->phase == PHASE_READ)
		begin_reading(c);
	else if (c->phase == PHASE_BODY)
		take_body(c);
	pace_in(c, len);
	return 0;
}

static void on_open(struct simserve *s, struct simconn *c, struct lws *wsi)
{
	c->serve = s;
	c->wsi = wsi;
	c->port = (enum simport)lws_get_protocol(wsi)->id;
	list_add_tail(&s->conns, &c->link);
	s->conn_n++;
}

static void on_gone(struct simconn *c)
{
	lws_sul_cancel(&c->timer);
	if (!c->serve)
		return;
	if (c->phase != PHASE_READ && c->has_reply && c->reply.taker)
		c->reply.taker->on_close(c->reply.taker_arg);
	c->phase = PHASE_ENDED;
	if (c->counts_as_stalled)
		c->serve->stalled_n--;
	drop_reply(c);
	drop_request(c);
	list_del(&c->link);
	c->serve->conn_n--;
	simjson_fini(&c->in);
	simjson_fini(&c->out);
}

static void accept_all(struct simserve *s, struct lws *listener, enum simport port)
{
	int listen_fd = lws_get_socket_fd(listener);
	bool is_tls = s->tls && port != SIMPORT_ADMIN;

	for (;;) {
		lws_sock_file_fd_type fd = { .sockfd = accept4(listen_fd, NULL, NULL,
							       SOCK_CLOEXEC | SOCK_NONBLOCK) };
		int one = 1;

		if (fd.sockfd < 0)
			return;
		setsockopt(fd.sockfd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		if (!lws_adopt_descriptor_vhost(is_tls ? s->tls : s->plain,
						is_tls ? LWS_ADOPT_SOCKET | LWS_ADOPT_ALLOW_SSL
						       : LWS_ADOPT_SOCKET,
						fd, port_names[port], NULL))
			fprintf(stderr, "graphsim: a connection could not be taken\n");
	}
}

static int callback(struct lws *wsi, enum lws_callback_reasons why, void *user, void *in,
		    size_t len)
{
	struct simconn *c = user;
	struct simserve *s = lws_context_user(lws_get_context(wsi));

	switch (why) {
	case LWS_CALLBACK_RAW_ADOPT:
		on_open(s, c, wsi);
		break;
	case LWS_CALLBACK_RAW_RX_FILE:
		accept_all(s, wsi, (enum simport)lws_get_protocol(wsi)->id);
		break;
	case LWS_CALLBACK_RAW_RX:
		return on_bytes(c, in, len);
	case LWS_CALLBACK_RAW_WRITEABLE:
		return on_writable(c);
	case LWS_CALLBACK_RAW_CLOSE:
		on_gone(c);
		break;
	default:
		break;
	}
	return 0;
}

void simserve_send(struct simconn *c, const void *data, size_t len)
{
	if (c->phase != PHASE_TAKEN || c->close_when_sent)
		return;
	simjson_raw(&c->out, data, len);
	lws_callback_on_writable(c->wsi);
}

void simserve_end(struct simconn *c, enum simend how)
{
	if (c->phase == PHASE_ENDED)
		return;
	if (how == SIMEND_RESET) {
		reset(c);
		return;
	}
	c->close_when_sent = true;
	lws_callback_on_writable(c->wsi);
}

/* --- listening --- */

static int listen_on(struct simserve *s, enum simport port)
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)s->listeners[port].port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;
	lws_sock_file_fd_type desc = { .filefd = fd };

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&at, len) < 0 || listen(fd, BACKLOG) < 0 ||
	    getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return -errno;
	s->listeners[port].port = ntohs(at.sin_port);
	/* libwebsockets closes the descriptor when it refuses it, too. */
	(void)take_fd(&fd);
	s->listeners[port].wsi = lws_adopt_descriptor_vhost(s->plain, LWS_ADOPT_RAW_FILE_DESC, desc,
							    port_names[port], NULL);
	return s->listeners[port].wsi ? 0 : -ENOMEM;
}

static const struct lws_protocols protocols[] = {
	{ "api", callback, sizeof(struct simconn), 65536, SIMPORT_API, NULL, 0 },
	{ "content", callback, sizeof(struct simconn), 65536, SIMPORT_CONTENT, NULL, 0 },
	{ "notify", callback, sizeof(struct simconn), 65536, SIMPORT_NOTIFY, NULL, 0 },
	{ "admin", callback, sizeof(struct simconn), 65536, SIMPORT_ADMIN, NULL, 0 },
	{ NULL, NULL, 0, 0, 0, NULL, 0 },
};

static struct lws_vhost *make_vhost(struct simserve *s, const struct simserve_options *options,
				    bool is_tls)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.protocols = protocols,
		.vhost_name = is_tls ? "tls" : "plain",
		.alpn = "http/1.1",
	};

	if (is_tls) {
		info.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
		info.ssl_cert_filepath = options->cert_path;
		info.ssl_private_key_filepath = options->key_path;
	}
	return lws_create_vhost(s->context, &info);
}

int simserve_init(struct simserve *s, const struct simserve_options *options)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS | LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.protocols = protocols,
		.pt_serv_buf_size = CHUNK_BYTES,
		.user = s,
	};

	list_init(&s->conns);
	lws_set_log_level(LLL_ERR, NULL);
	s->context = lws_create_context(&info);
	if (!s->context)
		return -ENOMEM;
	s->plain = make_vhost(s, options, false);
	s->tls = options->cert_path ? make_vhost(s, options, true) : NULL;
	if (!s->plain || (options->cert_path && !s->tls))
		return -EIO;
	for (unsigned i = 0; i < SIMPORT_N; i++) {
		int r;

		s->listeners[i].port = options->first_port ? options->first_port + (int)i : 0;
		r = listen_on(s, (enum simport)i);
		if (r < 0) {
			fprintf(stderr, "graphsim: cannot listen on port %d: %s\n",
				s->listeners[i].port, strerror(-r));
			return r;
		}
	}
	return 0;
}

void simserve_fini(struct simserve *s)
{
	if (s->context)
		lws_context_destroy(s->context);
}

void simserve_step(struct simserve *s)
{
	lws_service(s->context, 0);
}

static void reset_all(struct simserve *s, bool only_lost)
{
	list_for_each_safe (&s->conns, pos) {
		struct simconn *c = container_of(pos, struct simconn, link);

		if (c->port != SIMPORT_ADMIN && c->phase != PHASE_ENDED &&
		    (!only_lost || c->is_lost || c->phase != PHASE_READ))
			reset(c);
	}
}

void simserve_set_outage(struct simserve *s, enum simserve_outage outage)
{
	enum simserve_outage before = s->outage;

	s->outage = outage;
	if (outage == SIMSERVE_REFUSE)
		reset_all(s, false);
	else if (before == SIMSERVE_BLACKHOLE && outage == SIMSERVE_UP)
		reset_all(s, true);
	for (unsigned i = 0; i < SIMPORT_N; i++) {
		if (i == SIMPORT_ADMIN)
			continue;
		if (outage == SIMSERVE_REFUSE && s->listeners[i].wsi) {
			/* Closed now, not when the loop comes by: the caller counts on it. */
			shutdown(lws_get_socket_fd(s->listeners[i].wsi), SHUT_RDWR);
			lws_set_timeout(s->listeners[i].wsi, PENDING_TIMEOUT_USER_REASON_BASE,
					LWS_TO_KILL_ASYNC);
			s->listeners[i].wsi = NULL;
		} else if (outage != SIMSERVE_REFUSE && !s->listeners[i].wsi &&
			   listen_on(s, (enum simport)i) < 0) {
			fprintf(stderr, "graphsim: port %d was lost\n", s->listeners[i].port);
		}
	}
}

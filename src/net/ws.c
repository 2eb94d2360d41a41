#define LOG_MODULE "ws"
#include "ws.h"

#include "buf.h"
#include "jget.h"
#include "log.h"
#include "resolve.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { HEADER_DATA_MAX = 20480, CONNECT_S = 15, GOODBYE_S = 5 };
/* Of a request with a short path: HEAD_MAX bytes hold it with the longest host. */
enum { HEAD_MAX = 1024 };
#define SHORT_PATH "/"

struct message {
	struct list node;
	size_t len;
	/* LWS_PRE bytes in front of the text are the library's. */
	unsigned char data[];
};

struct ws {
	struct loop *loop;
	struct lws_context *context;
	struct lws_vhost *vhost; /* NULL until the first connection */
	char *ca_file;
	void *foreign_loops[1];
	struct list connections; /* all that the library may still speak of */
	unsigned unanswered_n;   /* attempts: each takes the host's next address */
};

struct ws_connection {
	struct list node;
	struct ws *owner;
	struct lws *wsi; /* NULL once the library has let go of it */
	struct ws_events events;
	struct resolve *resolve; /* while the host is looked up */
	char authority[300];
	uint16_t port;
	bool is_tls;
	char *path;
	struct buf message;
	struct list queue;
	unsigned queue_n;
	bool is_open, is_abandoned, is_closing, is_connecting, is_polite;
	struct loop_call failed;
	unsigned code; /* what on_closed() says */
	char reason[160];
};

static void free_connection(struct ws_connection *c)
{
	while (!list_empty(&c->queue)) {
		struct message *m = container_of(c->queue.next, struct message, node);

		list_del(&m->node);
		free(m);
	}
	buf_fini(&c->message);
	explicit_bzero(c->path, strlen(c->path));
	free(c->path);
	list_del(&c->node);
	free(c);
}

/* The library is done with the connection. */
static void on_gone(struct ws_connection *c, const char *reason)
{
	struct ws_events events = c->events;
	bool tell = !c->is_abandoned;
	unsigned code = c->code;
	char text[sizeof(c->reason)];

	c->owner->unanswered_n += code == 0;
	snprintf(text, sizeof(text), "%s", c->reason[0] ? c->reason : reason);
	if (c->wsi)
		lws_set_wsi_user(c->wsi, NULL);
	free_connection(c);
	if (tell)
		events.on_closed(events.arg, code, text);
}

/* Without a close frame: what goes on coming until the library has sent one overruns its buffer
 * (4.1). */
static int refuse(struct ws_connection *c, const char *reason)
{
	snprintf(c->reason, sizeof(c->reason), "%s", reason);
	return -1;
}

static int on_receive(struct ws_connection *c, struct lws *wsi, const void *data, size_t len)
{
	bool is_text = !lws_frame_is_binary(wsi);

	if (c->is_abandoned)
		return c->is_polite ? 0 : -1;
	if (lws_is_first_fragment(wsi))
		buf_clear(&c->message);
	if (buf_append(&c->message, data, len) < 0)
		return refuse(c, "a message is too long");
	if (lws_remaining_packet_payload(wsi) > 0 || !lws_is_final_fragment(wsi))
		return 0;
	if (is_text && !jget_is_utf8(c->message.data, c->message.len))
		return refuse(c, "a text is not UTF-8");
	c->events.on_message(c->events.arg, is_text, c->message.data ? c->message.data : "",
			     c->message.len);
	return c->is_abandoned && !c->is_polite ? -1 : 0;
}

static int on_writeable(struct ws_connection *c, struct lws *wsi)
{
	struct message *m;
	int n;

	if (list_empty(&c->queue))
		return c->is_closing ? -1 : 0;
	m = container_of(c->queue.next, struct message, node);
	list_del(&m->node);
	c->queue_n--;
	n = lws_write(wsi, m->data + LWS_PRE, m->len, LWS_WRITE_TEXT);
	n = n < (int)m->len ? -1 : 0;
	free(m);
	if (!list_empty(&c->queue) || c->is_closing)
		lws_callback_on_writable(wsi);
	return n;
}

/* Of a path over 2 kB the library cuts off the end and the rest of its line (4.1), so that it gets
 * a short one, and the request line is written anew. */
static int put_path(const struct ws_connection *c, unsigned char **end, size_t room)
{
	static const char line[] = "GET " SHORT_PATH " HTTP/1.1\r\n";
	size_t grows = strlen(c->path) - strlen(SHORT_PATH), steps = 0;
	unsigned char *at = *end - strlen(line);

	while (memcmp(at, line, strlen(line)) != 0) {
		if (steps++ == HEAD_MAX)
			return -1;
		at--;
	}
	if (grows >= room)
		return -1;
	at += strlen("GET ");
	memmove(at + strlen(c->path), at + strlen(SHORT_PATH),
		(size_t)(*end - at) - strlen(SHORT_PATH));
	memcpy(at, c->path, strlen(c->path));
	*end += grows;
	return 0;
}

/* From inside ws_connect() nobody may be called back yet. */
static void on_connection_error(struct ws_connection *c, struct lws *wsi, const char *why)
{
	unsigned status = lws_http_client_http_response(wsi);

	if (status >= 100 && status <= 599) {
		c->code = status;
		snprintf(c->reason, sizeof(c->reason), "the upgrade was answered with %u: %.80s",
			 status, why);
	} else {
		snprintf(c->reason, sizeof(c->reason), "cannot connect: %.100s", why);
	}
	if (!c->is_connecting) {
		on_gone(c, c->reason);
		return;
	}
	lws_set_wsi_user(wsi, NULL);
	c->wsi = NULL;
}

static void on_close_frame(struct ws_connection *c, const unsigned char *payload, size_t len)
{
	c->code = len >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : WS_NO_CODE;
	snprintf(c->reason, sizeof(c->reason), "closed by the other side with code %u", c->code);
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
		    size_t len)
{
	struct ws_connection *c = user;

	if (!c)
		return 0;
	switch (reason) {
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		on_connection_error(c, wsi, in ? in : "no reason given");
		return 0;
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return put_path(c, in, len);
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		c->is_open = true;
		c->code = WS_NO_FRAME;
		if (!c->is_abandoned)
			c->events.on_open(c->events.arg);
		return c->is_abandoned ? -1 : 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return on_receive(c, wsi, in, len);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return on_writeable(c, wsi);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		on_close_frame(c, in, len);
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		on_gone(c, "the connection ended");
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		/* All that it says when a reset ends the upgrade (4.1). */
		on_connection_error(c, wsi, "the connection ended");
		return 0;
	default:
		return 0;
	}
}

static const struct lws_protocols protocols[] = {
	{ .name = "graphfs", .callback = on_event, .rx_buffer_size = 16384 },
	{ 0 },
};

static atomic_flag is_tls_ready = ATOMIC_FLAG_INIT;

static void log_line(int level, const char *line)
{
	/* The library's own lines may hold the URL: only that something went wrong is told. */
	(void)level;
	(void)line;
}

static void describe(struct ws *ws, struct lws_context_creation_info *ret)
{
	*ret = (struct lws_context_creation_info){
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.foreign_loops = ws->foreign_loops,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
		.max_http_header_data = HEADER_DATA_MAX,
		.pt_serv_buf_size = HEADER_DATA_MAX,
		.alpn = "http/1.1",
		.client_ssl_ca_filepath = ws->ca_file,
		.connect_timeout_secs = CONNECT_S,
		.timeout_secs = CONNECT_S,
		.pcontext = &ws->context,
		.uid = -1,
		.gid = -1,
	};
}

int ws_new(struct loop *loop, const char *ca_file, struct ws **ret)
{
	struct lws_context_creation_info info;
	struct ws *ws = calloc(1, sizeof(*ws));

	if (!ws)
		return -ENOMEM;
	lws_set_log_level(0, log_line);
	ws->loop = loop;
	list_init(&ws->connections);
	ws->foreign_loops[0] = loop_uv(loop);
	ws->ca_file = ca_file ? strdup(ca_file) : NULL;
	if (ca_file && !ws->ca_file) {
		ws_free(ws);
		return -ENOMEM;
	}
	describe(ws, &info);
	/* Its OpenSSL set-up is global: done again by another context (4.1), it would forget what
	 * belongs to the vhosts of the first, which then leak. */
	if (!atomic_flag_test_and_set(&is_tls_ready))
		info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	ws->context = lws_create_context(&info);
	if (!ws->context) {
		log_error("libwebsockets cannot start; is its libuv plug-in installed?");
		ws_free(ws);
		return -EIO;
	}
	*ret = ws;
	return 0;
}

void ws_free(struct ws *ws)
{
	if (!ws)
		return;
	/* Its handles on the loop are closed over some turns; then it frees the rest, at once or
	 * when it is told again (4.1). It clears our pointer when nothing is left. */
	for (int i = 0; i < 2 && ws->context; i++) {
		lws_context_destroy(ws->context);
		for (int turn = 0; turn < 100; turn++)
			loop_run_once(ws->loop);
	}
	/* Of an attempt that was under way it says nothing more. */
	while (!list_empty(&ws->connections))
		free_connection(container_of(ws->connections.next, struct ws_connection, node));
	free(ws->ca_file);
	free(ws);
}

static void on_failed(void *arg)
{
	struct ws_connection *c = arg;

	on_gone(c, c->reason);
}

/* Not before it is needed: reading all the system's CAs takes tens of milliseconds, for which the
 * mount of a known drive does not wait. */
static bool make_vhost(struct ws *ws)
{
	struct lws_context_creation_info info;

	if (ws->vhost)
		return true;
	describe(ws, &info);
	info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	ws->vhost = lws_create_vhost(ws->context, &info);
	if (!ws->vhost)
		log_error("libwebsockets cannot make itself ready for TLS");
	return ws->vhost != NULL;
}

/* Nothing is called back from inside: a failure is posted. */
static void dial(struct ws_connection *c, const char *address)
{
	bool is_ready = make_vhost(c->owner);
	struct lws_client_connect_info info = {
		.context = c->owner->context,
		.vhost = c->owner->vhost,
		.address = address,
		.port = c->port,
		.path = SHORT_PATH,
		.host = c->authority,
		.ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT | (c->is_tls ? LCCSCF_USE_SSL : 0),
		.alpn = "http/1.1",
		.local_protocol_name = protocols[0].name,
		.userdata = c,
		.pwsi = &c->wsi,
	};

	c->is_connecting = true;
	if (!is_ready || !lws_client_connect_via_info(&info)) {
		c->wsi = NULL;
		if (!c->reason[0])
			snprintf(c->reason, sizeof(c->reason), "cannot connect");
		loop_post(c->owner->loop, &c->failed, on_failed, c);
	}
	c->is_connecting = false;
}

/* One address for each attempt: with one that swallows everything, trying the next would take
 * longer than the caller waits. */
static void on_resolved(void *arg, int error, const char (*addresses)[RESOLVE_TEXT], size_t n)
{
	struct ws_connection *c = arg;

	c->resolve = NULL;
	if (error) {
		snprintf(c->reason, sizeof(c->reason), "the host's name cannot be looked up: %s",
			 error == -ENOENT ? "there is no such host" : strerror(-error));
		on_gone(c, c->reason);
		return;
	}
	dial(c, addresses[c->owner->unanswered_n % n]);
}

int ws_connect(struct ws *ws, const char *host, uint16_t port, bool tls, const char *path,
	       const struct ws_events *events, struct ws_connection **ret)
{
	struct ws_connection *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	c->path = strdup(path);
	r = c->path ? resolve_start(ws->loop, host, on_resolved, c, &c->resolve) : -ENOMEM;
	if (r < 0) {
		free(c->path);
		free(c);
		return r;
	}
	list_add_tail(&ws->connections, &c->node);
	c->owner = ws;
	c->events = *events;
	c->port = port;
	c->is_tls = tls;
	list_init(&c->queue);
	buf_init(&c->message, WS_MESSAGE_MAX);
	snprintf(c->authority, sizeof(c->authority), strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		 port);
	*ret = c;
	return 0;
}

int ws_send(struct ws_connection *c, const char *text, size_t len)
{
	struct message *m;

	if (c->queue_n == WS_QUEUE_MAX)
		return -EAGAIN;
	m = malloc(sizeof(*m) + LWS_PRE + len);
	if (!m)
		return -ENOMEM;
	m->len = len;
	memcpy(m->data + LWS_PRE, text, len);
	list_add_tail(&c->queue, &m->node);
	c->queue_n++;
	if (c->wsi && c->is_open)
		lws_callback_on_writable(c->wsi);
	return 0;
}

void ws_close(struct ws_connection *c, bool polite)
{
	c->is_abandoned = true;
	if (c->resolve) {
		resolve_cancel(c->resolve);
		free_connection(c);
		return;
	}
	if (!c->wsi)
		return; /* its failure is posted, and frees it */
	if (c->is_open && polite) {
		c->is_closing = c->is_polite = true;
		lws_callback_on_writable(c->wsi);
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, GOODBYE_S);
	} else {
		lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
	}
	/* It looks at its timeouts only when it has something to do. */
	lws_cancel_service(c->owner->context);
}

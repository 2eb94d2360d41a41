#include "simserve.h"
#include "mem.h"
#include "simconn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { BACKLOG = 512 };

static const char *const port_names[SIMPORT_N] = { "api", "content", "notify", "admin" };

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
		simconn_open(s, c, wsi);
		break;
	case LWS_CALLBACK_RAW_RX_FILE:
		accept_all(s, wsi, (enum simport)lws_get_protocol(wsi)->id);
		break;
	case LWS_CALLBACK_RAW_RX:
		return simconn_bytes(c, in, len);
	case LWS_CALLBACK_RAW_WRITEABLE:
		return simconn_writable(c);
	case LWS_CALLBACK_RAW_CLOSE:
		simconn_gone(c);
		break;
	default:
		break;
	}
	return 0;
}

void simserve_send(struct simconn *c, const void *data, size_t len)
{
	if (c->phase != SIMCONN_TAKEN || c->close_when_sent)
		return;
	simjson_raw(&c->out, data, len);
	lws_callback_on_writable(c->wsi);
}

void simserve_end(struct simconn *c, enum simend how)
{
	if (c->phase == SIMCONN_ENDED)
		return;
	if (how == SIMEND_RESET) {
		simconn_reset(c);
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
		.pt_serv_buf_size = SIMSERVE_CHUNK_BYTES,
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

		if (c->port != SIMPORT_ADMIN && c->phase != SIMCONN_ENDED &&
		    (!only_lost || c->is_lost || c->phase != SIMCONN_READ))
			simconn_reset(c);
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

#include "script.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNS_MAX = 256, URLS_N = 8, BODY_MAX = 64 * 1024 * 1024 };

struct script_conn {
	struct script *s;
	int fd;
	bool is_closing, is_reset;
	pthread_t thread;
};

struct script {
	script_fn fn;
	void *arg;
	int fd;
	unsigned port;
	pthread_t thread;
	atomic_uint requests_n, conns_n;
	atomic_bool stopping;

	pthread_mutex_t lock; /* guards what is below, and the connections' descriptors */
	pthread_cond_t wake;
	bool released;
	script_take_fn take;
	struct script_conn conns[CONNS_MAX];
};

void script_send(struct script_conn *conn, const void *data, size_t len)
{
	const char *at = data;

	while (len > 0) {
		ssize_t n = send(conn->fd, at, len, MSG_NOSIGNAL);

		if (n <= 0) {
			conn->is_closing = true;
			return;
		}
		at += n;
		len -= (size_t)n;
	}
}

void script_printf(struct script_conn *conn, const char *fmt, ...)
{
	char text[16384];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		abort();
	script_send(conn, text, (size_t)n);
}

void script_reply(struct script_conn *conn, int status, const char *headers, const char *body)
{
	script_printf(conn, "HTTP/1.1 %d Status\r\nContent-Length: %zu\r\n%s\r\n", status,
		      strlen(body), headers);
	script_send(conn, body, strlen(body));
}

void script_close(struct script_conn *conn)
{
	conn->is_closing = true;
}

void script_reset(struct script_conn *conn)
{
	conn->is_closing = conn->is_reset = true;
}

void script_hold(struct script_conn *conn)
{
	struct script *s = conn->s;

	pthread_mutex_lock(&s->lock);
	while (!s->released)
		pthread_cond_wait(&s->wake, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

void script_release(struct script *s)
{
	pthread_mutex_lock(&s->lock);
	s->released = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

void script_copy(char *to, size_t size, const char *from)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	snprintf(to, size, "%s", from);
	pthread_mutex_unlock(&lock);
}

bool script_header(const struct script_request *req, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	for (const char *line = strstr(req->head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
		const char *value = line + 2 + len;

		if (strncasecmp(line + 2, name, len) != 0 || *value != ':')
			continue;
		value += 1 + strspn(value + 1, " ");
		snprintf(ret, size, "%.*s", (int)strcspn(value, "\r\n"), value);
		return true;
	}
	return false;
}

static bool read_byte(int fd, char *ret)
{
	return recv(fd, ret, 1, 0) == 1;
}

static bool read_body(struct script_conn *conn, struct script_request *req, size_t len)
{
	struct script *s = conn->s;
	script_take_fn fn;
	size_t take;
	ssize_t n = 1;

	pthread_mutex_lock(&s->lock);
	fn = s->take;
	pthread_mutex_unlock(&s->lock);
	take = fn ? fn(req, len, s->arg) : len;
	conn->is_closing = take < len;
	req->body_len = 0;
	req->body = malloc(take + 1);
	if (!req->body)
		return false;
	while (req->body_len < take && n > 0) {
		n = recv(conn->fd, req->body + req->body_len, take - req->body_len, 0);
		req->body_len += n > 0 ? (size_t)n : 0;
	}
	req->body[req->body_len] = '\0';
	return n > 0;
}

/* One byte at a time: slow, simple, and nothing of the next request is taken. */
static bool read_request(struct script_conn *conn, struct script_request *req)
{
	size_t n = 0, body_n = 0;
	char length[32];

	while (n < 4 || memcmp(req->head + n - 4, "\r\n\r\n", 4) != 0) {
		if (n + 1 >= sizeof(req->head) || !read_byte(conn->fd, &req->head[n]))
			return false;
		n++;
	}
	req->head[n] = '\0';
	if (sscanf(req->head, "%15s %1023s", req->method, req->target) != 2)
		return false;
	if (script_header(req, "Content-Length", length, sizeof(length)))
		body_n = strtoul(length, NULL, 10);
	return body_n <= BODY_MAX && read_body(conn, req, body_n);
}

static void *serve(void *arg)
{
	struct script_conn *conn = arg;
	struct script *s = conn->s;
	struct script_request *req = calloc(1, sizeof(*req));
	struct linger at_once = { .l_onoff = 1 };

	while (req && !conn->is_closing && read_request(conn, req)) {
		req->number = s->requests_n++;
		s->fn(conn, req, s->arg);
		free(req->body);
		req->body = NULL;
	}
	if (req)
		free(req->body);
	free(req);
	if (conn->is_reset)
		setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	pthread_mutex_lock(&s->lock);
	close(conn->fd);
	conn->fd = -1;
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct script *s = arg;

	while (!s->stopping && s->conns_n < CONNS_MAX) {
		int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
		struct script_conn *conn = &s->conns[s->conns_n];

		if (fd < 0)
			break;
		conn->s = s;
		conn->fd = fd;
		if (pthread_create(&conn->thread, NULL, serve, conn) != 0)
			abort();
		s->conns_n++;
	}
	return NULL;
}

void script_set_take(struct script *s, script_take_fn take)
{
	pthread_mutex_lock(&s->lock);
	s->take = take;
	pthread_mutex_unlock(&s->lock);
}

struct script *script_start(script_fn fn, void *arg)
{
	struct script *s = calloc(1, sizeof(*s));
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);

	if (!s)
		abort();
	s->fn = fn;
	s->arg = arg;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&addr, len) < 0 || listen(s->fd, 64) < 0 ||
	    getsockname(s->fd, (struct sockaddr *)&addr, &len) < 0 ||
	    pthread_create(&s->thread, NULL, accept_all, s) != 0)
		abort();
	s->port = ntohs(addr.sin_port);
	return s;
}

void script_stop(struct script *s)
{
	s->stopping = true;
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	script_release(s);
	for (unsigned i = 0; i < s->conns_n; i++) {
		pthread_mutex_lock(&s->lock);
		if (s->conns[i].fd >= 0)
			shutdown(s->conns[i].fd, SHUT_RDWR);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->conns[i].thread, NULL);
	}
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *script_url(const struct script *s, const char *path)
{
	static char urls[URLS_N][1024];
	static unsigned next;
	char *url = urls[next++ % URLS_N];

	snprintf(url, sizeof(urls[0]), "http://127.0.0.1:%u%s", s->port, path);
	return url;
}

unsigned script_requests_n(const struct script *s)
{
	return s->requests_n;
}

unsigned script_connections_n(const struct script *s)
{
	return s->conns_n;
}

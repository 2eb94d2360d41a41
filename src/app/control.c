#define LOG_MODULE "control"
#include "control.h"

#include "buf.h"
#include "jget.h"
#include "list.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

enum { CLIENTS_MAX = 16, ASK_S = 10, CLIENT_MS = ASK_S * 1000, REPLY_MAX = 1024 * 1024 };

struct control {
	struct loop *loop;
	uv_pipe_t server;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	control_fn fn;
	void *arg;
	struct list clients;
	unsigned clients_n, open_n; /* open_n: handles that libuv still has */
};

struct client {
	struct list node;
	struct control *control;
	uv_pipe_t pipe;
	uv_write_t write;
	struct loop_timer deadline; /* of the whole exchange */
	struct buf line;
	char *reply;
	char chunk[1024];
};

static int socket_path(int dir_fd, const char *name, char *ret, size_t size)
{
	/* A socket's path is short by law; the descriptor's name always fits. */
	return snprintf(ret, size, "/proc/self/fd/%d/%s", dir_fd, name) < (int)size ? 0
										    : -ENAMETOOLONG;
}

static void on_client_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;

	list_del(&c->node);
	c->control->clients_n--;
	c->control->open_n--;
	loop_timer_fini(&c->deadline);
	buf_fini(&c->line);
	free(c->reply);
	free(c);
}

static void close_client(struct client *c)
{
	if (!uv_is_closing((uv_handle_t *)&c->pipe))
		uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

static void on_late(void *arg)
{
	close_client(arg);
}

static void on_written(uv_write_t *write, int status)
{
	close_client(write->data);
}

static void answer(struct client *c, const char *line, size_t len)
{
	struct json_object *request = NULL, *reply = NULL;
	const char *command = "";
	uv_buf_t data;

	if (jget_parse(line, len, &request) == 0 && jget_str(request, "command", 64, &command) == 0)
		reply = c->control->fn(c->control->arg, command);
	if (!reply) {
		reply = json_object_new_object();
		json_object_object_add(reply, "error",
				       json_object_new_string("not a request that is known"));
	}
	if (asprintf(&c->reply, "%s\n",
		     json_object_to_json_string_ext(
			     reply, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)) < 0)
		c->reply = NULL;
	json_object_put(reply);
	json_object_put(request);
	if (!c->reply) {
		close_client(c);
		return;
	}
	data = uv_buf_init(c->reply, (unsigned)strlen(c->reply));
	c->write.data = c;
	if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &data, 1, on_written) < 0)
		close_client(c);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct client *c = handle->data;

	*ret = uv_buf_init(c->chunk, sizeof(c->chunk));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *data)
{
	struct client *c = stream->data;
	const char *end;

	if (n < 0 || buf_append(&c->line, data->base, (size_t)n) < 0) {
		close_client(c);
		return;
	}
	end = c->line.data ? memchr(c->line.data, '\n', c->line.len) : NULL;
	if (!end)
		return;
	(void)uv_read_stop(stream);
	answer(c, c->line.data, (size_t)(end - c->line.data));
}

static bool is_allowed(uv_pipe_t *pipe)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	int fd;

	return uv_fileno((uv_handle_t *)pipe, &fd) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	       (peer.uid == geteuid() || peer.uid == 0);
}

static void on_connection(uv_stream_t *server, int status)
{
	struct control *control = server->data;
	struct client *c;

	if (status < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		return;
	c->control = control;
	buf_init(&c->line, CONTROL_LINE_MAX);
	uv_pipe_init(loop_uv(control->loop), &c->pipe, 0);
	c->pipe.data = c;
	list_add_tail(&control->clients, &c->node);
	control->clients_n++;
	control->open_n++;
	if (uv_accept(server, (uv_stream_t *)&c->pipe) < 0 || control->clients_n > CLIENTS_MAX ||
	    !is_allowed(&c->pipe) || loop_timer_init(&c->deadline, control->loop, on_late, c) < 0 ||
	    uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read) < 0)
		close_client(c);
	else
		loop_timer_arm(&c->deadline, CLIENT_MS);
}

int control_new(struct loop *loop, int dir_fd, const char *name, control_fn fn, void *arg,
		struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));
	mode_t before;
	int r;

	if (!control)
		return -ENOMEM;
	control->loop = loop;
	control->fn = fn;
	control->arg = arg;
	list_init(&control->clients);
	r = socket_path(dir_fd, name, control->path, sizeof(control->path));
	if (r < 0) {
		free(control);
		return r;
	}
	(void)unlink(control->path); /* what a crash left; the lock file says nobody runs */
	uv_pipe_init(loop_uv(loop), &control->server, 0);
	control->server.data = control;
	control->open_n = 1;
	before = umask(0177);
	r = uv_pipe_bind(&control->server, control->path);
	umask(before);
	if (r == 0)
		r = uv_listen((uv_stream_t *)&control->server, CLIENTS_MAX, on_connection);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret = control;
	return 0;
}

static void on_server_closed(uv_handle_t *handle)
{
	struct control *control = handle->data;

	control->open_n--;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	list_for_each (&control->clients, node)
		close_client(container_of(node, struct client, node));
	uv_close((uv_handle_t *)&control->server, on_server_closed);
	while (control->open_n > 0)
		loop_run_once(control->loop);
	(void)unlink(control->path);
	free(control);
}

/* --- the other end --- */

static int exchange(int fd, const char *command, struct buf *reply)
{
	auto_free char *line = NULL;
	char chunk[4096];
	ssize_t n;
	int len = asprintf(&line, "{\"command\":\"%s\"}\n", command);

	if (len < 0) {
		line = NULL;
		return -ENOMEM;
	}
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		return errno == EPIPE ? -EBUSY : -EIO;
	while ((n = recv(fd, chunk, sizeof(chunk), 0)) > 0) {
		int r = buf_append(reply, chunk, (size_t)n);

		if (r < 0)
			return r;
	}
	if (n < 0)
		return errno == ECONNRESET ? -EBUSY : -errno;
	return reply->len == 0 ? -EBUSY : 0;
}

int control_ask(int dir_fd, const char *name, const char *command, struct json_object **ret)
{
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_call(buf_fini) struct buf reply = { .max_bytes = REPLY_MAX };
	const struct timeval limit = { .tv_sec = ASK_S };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r = fd < 0 ? -errno
		       : socket_path(dir_fd, name, address.sun_path, sizeof(address.sun_path));

	if (r < 0)
		return r;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	r = exchange(fd, command, &reply);
	return r < 0 ? r : jget_parse(reply.data ? reply.data : "", reply.len, ret);
}

#include "multi.h"

#include <errno.h>

/* A socket that libcurl wants watched. */
struct watched {
	uv_poll_t poll;
	struct multi *multi;
	curl_socket_t fd;
};

struct multi {
	struct loop *loop;
	CURLM *curl;
	struct loop_timer timer; /* libcurl's */
	loop_fn on_turn;
	void *arg;
	bool is_inside;
};

static void drive(struct multi *m, curl_socket_t fd, int flags)
{
	int running;

	m->is_inside = true;
	(void)curl_multi_socket_action(m->curl, fd, flags, &running);
	m->is_inside = false;
	m->on_turn(m->arg);
}

static void on_timer(void *arg)
{
	drive(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int set_timer(CURLM *curl, long timeout_ms, void *arg)
{
	struct multi *m = arg;

	if (timeout_ms < 0)
		loop_timer_disarm(&m->timer);
	else
		loop_timer_arm(&m->timer, (uint64_t)timeout_ms);
	return 0;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watched *w = container_of(poll, struct watched, poll);
	int flags = 0;

	if (status < 0)
		flags |= CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	drive(w->multi, w->fd, flags);
}

static void free_watched(uv_handle_t *handle)
{
	free(container_of((uv_poll_t *)handle, struct watched, poll));
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp)
{
	struct multi *m = arg;
	struct watched *w = socketp;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (w) {
			uv_poll_stop(&w->poll);
			uv_close((uv_handle_t *)&w->poll, free_watched);
		}
		(void)curl_multi_assign(m->curl, fd, NULL);
		return 0;
	}
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -1;
		w->multi = m;
		w->fd = fd;
		if (uv_poll_init_socket(loop_uv(m->loop), &w->poll, fd) < 0) {
			free(w);
			return -1;
		}
		(void)curl_multi_assign(m->curl, fd, w);
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&w->poll, events, on_ready) < 0 ? -1 : 0;
}

int multi_new(struct loop *loop, loop_fn on_turn, void *arg, struct multi **ret)
{
	struct multi *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->loop = loop;
	m->on_turn = on_turn;
	m->arg = arg;
	m->curl = curl_multi_init();
	r = m->curl ? loop_timer_init(&m->timer, loop, on_timer, m) : -ENOMEM;
	if (r < 0) {
		multi_free(m);
		return r;
	}
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
	curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	*ret = m;
	return 0;
}

void multi_free(struct multi *m)
{
	if (!m)
		return;
	if (m->curl)
		curl_multi_cleanup(m->curl);
	loop_timer_fini(&m->timer);
	free(m);
}

CURLM *multi_get(struct multi *m)
{
	return m->curl;
}

bool multi_is_inside(const struct multi *m)
{
	return m->is_inside;
}

void multi_set_inside(struct multi *m, bool inside)
{
	m->is_inside = inside;
}

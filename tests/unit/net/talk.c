#include "talk.h"

#include "buf.h"
#include "clock.h"
#include "log.h"
#include "simws.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cmocka.h>

enum {
	STEP_MS = 20000,
	CONNECTIONS_MAX = 64,
	EVENTS_MAX = 4096,
	INPUT_MAX = 1 << 20,
	URL_BYTES = 9000,
	TOKEN_BYTES = 8192,
	PORTS_N = 2,
};

#define SECRET "sEcReT"

struct event {
	const char *name;
	char reason[240];
	uint64_t at_ms;
};

struct connection {
	int fd;
	struct buf in;     /* bytes that are not parsed */
	struct buf inbox;  /* the client's text messages, each with a NUL */
	size_t inbox_read; /* of it */
	unsigned pongs_n;
	bool is_open;  /* 101 was sent */
	bool was_told; /* anything after that */
	bool is_ended;
	int eio;
};

struct talk {
	struct loop *loop;
	struct ws *ws;
	struct live *live;
	int listeners[PORTS_N];
	unsigned ports[PORTS_N];
	struct connection connections[CONNECTIONS_MAX];
	size_t connections_n, dialled_n, current;
	struct event events[EVENTS_MAX];
	size_t events_n, events_read;
	unsigned urls_n;
	char url[URL_BYTES]; /* the last one given */
	const char *step;
	int log_fd;
};

/* --- the server's bytes --- */

static int listen_on_loopback(unsigned *ret_port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_port = ntohs(addr.sin_port);
	return fd;
}

static void take_connections(struct talk *t, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct connection *c = &t->connections[t->connections_n++];

		assert_true(t->connections_n <= CONNECTIONS_MAX);
		*c = (struct connection){ .fd = fd };
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		buf_init(&c->in, INPUT_MAX);
		buf_init(&c->inbox, INPUT_MAX);
	}
}

/* What a strict server would hold against a client. */
static void judge(const struct connection *c, const char *text)
{
	if (!c->was_told)
		fail_msg("\"%s\" before the open packet", text);
	if (strchr(text, '?'))
		fail_msg("a query in \"%s\"", text);
	if (c->eio == 4 && text[0] == '2')
		fail_msg("a ping in Engine.IO 4");
	if (c->eio == 3 && (text[0] == '3' || strcmp(text, "40") == 0))
		fail_msg("\"%s\" in Engine.IO 3", text);
}

static void take_frame(struct connection *c, const struct simws_frame *f, char *payload)
{
	assert_true(f->is_masked && f->is_final && f->reserved == 0);
	simws_unmask(f, payload);
	switch (f->op) {
	case SIMWS_TEXT:
		assert_int_equal(buf_append(&c->inbox, payload, f->len), 0);
		assert_int_equal(buf_append(&c->inbox, "", 1), 0);
		judge(c, c->inbox.data + c->inbox.len - f->len - 1);
		break;
	case SIMWS_PONG:
		c->pongs_n++;
		break;
	case SIMWS_CLOSE:
		c->is_ended = true;
		break;
	default:
		fail_msg("a frame with opcode %d", (int)f->op);
	}
}

static void take_frames(struct connection *c)
{
	struct simws_frame f;

	while (c->in.len > 0 && simws_parse(c->in.data, c->in.len, &f) &&
	       c->in.len - f.head_len >= f.len) {
		take_frame(c, &f, c->in.data + f.head_len);
		buf_consume(&c->in, f.head_len + (size_t)f.len);
	}
}

static void take_input(struct connection *c)
{
	char chunk[65536];
	ssize_t n;

	if (c->fd < 0 || c->is_ended)
		return;
	while ((n = recv(c->fd, chunk, sizeof(chunk), 0)) > 0)
		assert_int_equal(buf_append(&c->in, chunk, (size_t)n), 0);
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		c->is_ended = true;
	if (c->is_open)
		take_frames(c);
}

/* One turn of the client, and what came of it at the server. */
static void turn(struct talk *t)
{
	struct pollfd fds[PORTS_N + CONNECTIONS_MAX];
	nfds_t n = 0;

	loop_run_once(t->loop);
	for (size_t i = 0; i < PORTS_N; i++)
		fds[n++] = (struct pollfd){ .fd = t->listeners[i], .events = POLLIN };
	for (size_t i = 0; i < t->connections_n; i++)
		if (!t->connections[i].is_ended)
			fds[n++] = (struct pollfd){ .fd = t->connections[i].fd, .events = POLLIN };
	(void)poll(fds, n, 1);
	for (size_t i = 0; i < PORTS_N; i++)
		take_connections(t, t->listeners[i]);
	for (size_t i = 0; i < t->connections_n; i++)
		take_input(&t->connections[i]);
}

static void until(struct talk *t, bool (*is_so)(struct talk *t))
{
	uint64_t end_ms = clock_mono_ms() + STEP_MS;

	while (!is_so(t)) {
		if (clock_mono_ms() > end_ms)
			fail_msg("nothing happened at \"%s\"; the last event was %s %s", t->step,
				 t->events_n ? t->events[t->events_n - 1].name : "none",
				 t->events_n ? t->events[t->events_n - 1].reason : "");
		turn(t);
	}
}

static struct connection *here(struct talk *t)
{
	assert_true(t->current < t->dialled_n);
	return &t->connections[t->current];
}

static bool has_room(struct talk *t)
{
	struct pollfd fd = { .fd = here(t)->fd, .events = POLLOUT };

	return here(t)->is_ended || poll(&fd, 1, 0) == 1;
}

/* All of it, unless the client goes away meanwhile. */
static void send_bytes(struct talk *t, const void *data, size_t len)
{
	struct connection *c = here(t);
	const char *at = data;

	while (len > 0 && !c->is_ended) {
		ssize_t n;

		until(t, has_room);
		n = send(c->fd, at, len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0) {
			at += n;
			len -= (size_t)n;
		}
	}
}

static void send_message(struct talk *t, const char *text, size_t len, size_t fragment)
{
	struct simjson out = { 0 };

	simws_write_message(&out, SIMWS_TEXT, text, len, fragment, fragment > 0);
	here(t)->was_told = true;
	send_bytes(t, out.data, out.len);
	simjson_fini(&out);
}

static void send_hex(struct talk *t, const char *hex)
{
	unsigned char bytes[512];
	size_t n = 0;

	for (; *hex; hex++) {
		unsigned v;

		if (*hex == ' ')
			continue;
		assert_int_equal(sscanf(hex, "%2x", &v), 1);
		assert_true(n < sizeof(bytes));
		bytes[n++] = (unsigned char)v;
		hex++;
	}
	here(t)->was_told = true;
	send_bytes(t, bytes, n);
}

/* --- the upgrade --- */

static bool has_head(struct talk *t)
{
	struct connection *c = &t->connections[t->dialled_n];

	return t->dialled_n < t->connections_n && c->in.len > 0 && strstr(c->in.data, "\r\n\r\n");
}

static bool header(const char *head, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	for (const char *line = strstr(head, "\r\n"); line; line = strstr(line + 2, "\r\n")) {
		const char *value = line + 2 + len;

		if (strncasecmp(line + 2, name, len) != 0 || *value != ':')
			continue;
		value += 1 + strspn(value + 1, " ");
		snprintf(ret, size, "%.*s", (int)strcspn(value, "\r\n"), value);
		return true;
	}
	return false;
}

static void check_dial(struct talk *t, int eio)
{
	char want[URL_BYTES * 2], value[256];
	const char *head, *query = strchr(t->url, '?'), *host = strstr(t->url, "//") + 2;
	struct connection *c;

	until(t, has_head);
	t->current = t->dialled_n++;
	c = here(t);
	c->eio = eio;
	head = c->in.data;
	snprintf(want, sizeof(want), "GET /socket.io/?EIO=%d&transport=websocket&%s HTTP/1.1\r\n",
		 eio, query + 1);
	if (strncmp(head, want, strlen(want)) != 0)
		fail_msg("dialled\n%.*s instead of\n%s", (int)strcspn(head, "\r"), head, want);
	snprintf(want, sizeof(want), "%.*s", (int)strcspn(host, "/"), host);
	assert_true(header(head, "Host", value, sizeof(value)));
	assert_string_equal(value, want);
	assert_true(header(head, "Sec-WebSocket-Version", value, sizeof(value)));
	assert_string_equal(value, "13");
	assert_false(header(head, "Authorization", value, sizeof(value)));
	assert_false(header(head, "Sec-WebSocket-Protocol", value, sizeof(value)));
	assert_false(header(head, "Sec-WebSocket-Extensions", value, sizeof(value)));
}

static void accept_upgrade(struct talk *t)
{
	struct connection *c = here(t);
	char key[128], accept[64], reply[256];

	assert_true(header(c->in.data, "Sec-WebSocket-Key", key, sizeof(key)));
	simws_accept(key, accept);
	snprintf(reply, sizeof(reply),
		 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
		 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		 accept);
	buf_clear(&c->in);
	c->is_open = true;
	send_bytes(t, reply, strlen(reply));
}

/* --- the client's events --- */

static void note(struct talk *t, const char *name, const char *reason)
{
	struct event *e = &t->events[t->events_n++];

	assert_true(t->events_n <= EVENTS_MAX);
	e->name = name;
	e->at_ms = loop_now_ms(t->loop);
	snprintf(e->reason, sizeof(e->reason), "%s", reason);
}

static void on_event(void *arg, enum live_event event, const char *reason)
{
	static const char *const names[] = {
		[LIVE_CONNECTING] = "connecting",
		[LIVE_UP] = "up",
		[LIVE_NOTIFICATION] = "note",
		[LIVE_SUSPECT] = "late",
		[LIVE_DOWN] = "down",
		[LIVE_UNSUPPORTED] = "unsupported",
	};

	note(arg, names[event], reason);
}

static void get_endpoint(void *arg)
{
	note(arg, "get", "");
}

static bool has_event(struct talk *t)
{
	return t->events_read < t->events_n;
}

static void expect_event(struct talk *t, const char *what)
{
	const char *times = strchr(what, '*');
	size_t len = times ? (size_t)(times - what) : strlen(what);
	unsigned long n = times ? strtoul(times + 1, NULL, 10) : 1;

	for (; n > 0; n--) {
		const struct event *e = &t->events[t->events_read];

		until(t, has_event);
		if (strlen(e->name) != len || strncmp(e->name, what, len) != 0)
			fail_msg("\"%s\" (%s) instead of \"%s\"", e->name, e->reason, what);
		t->events_read++;
	}
}

static void expect_reason(struct talk *t, const char *text)
{
	assert_true(t->events_read > 0);
	if (!strstr(t->events[t->events_read - 1].reason, text))
		fail_msg("\"%s\" is not about \"%s\"", t->events[t->events_read - 1].reason, text);
}

static void expect_after(struct talk *t, uint64_t ms)
{
	const struct event *e = &t->events[t->events_read - 1];

	assert_true(t->events_read > 1);
	if (e->at_ms - e[-1].at_ms < ms)
		fail_msg("%s came %llu ms after %s", e->name,
			 (unsigned long long)(e->at_ms - e[-1].at_ms), e[-1].name);
}

/* --- answers --- */

static void answer(struct talk *t, unsigned port, int pad, const char *ends_in)
{
	int64_t expires_ns = INT64_MIN;

	if (*ends_in)
		expires_ns = clock_real_ns() + strtoll(ends_in, NULL, 10) * 1000000;
	snprintf(t->url, sizeof(t->url),
		 "http://%s:%u/notifications?token=" SECRET "%%2F%u+%%zz==&applicationId=%0*d",
		 port == 0 ? "127.0.0.1" : "localhost", t->ports[port], t->urls_n++, pad, 1);
	live_set_endpoint(t->live, 0, false, "", t->url, expires_ns);
}

static void answer_error(struct talk *t, const char *text)
{
	static const struct {
		const char *name;
		int error;
	} errors[] = {
		{ "EOPNOTSUPP", -EOPNOTSUPP }, { "EACCES", -EACCES },   { "ENOENT", -ENOENT },
		{ "EAGAIN", -EAGAIN },         { "EIO", -EIO },         { "ENETDOWN", -ENETDOWN },
		{ "ETIMEDOUT", -ETIMEDOUT },   { "EBADMSG", -EBADMSG },
	};
	size_t len = strcspn(text, " ");

	for (size_t i = 0; i < array_n(errors); i++)
		if (strlen(errors[i].name) == len && strncmp(errors[i].name, text, len) == 0) {
			live_set_endpoint(t->live, errors[i].error, text[len] == ' ', text, NULL,
					  INT64_MIN);
			return;
		}
	fail_msg("no error %s", text);
}

/* --- steps --- */

static bool has_message(struct talk *t)
{
	return here(t)->inbox_read < here(t)->inbox.len;
}

static void expect_message(struct talk *t, const char *want)
{
	struct connection *c = here(t);
	const char *got;

	until(t, has_message);
	got = c->inbox.data + c->inbox_read;
	if (strcmp(got, want) != 0)
		fail_msg("the client sent \"%s\" instead of \"%s\"", got, want);
	c->inbox_read += strlen(got) + 1;
}

static bool is_closed(struct talk *t)
{
	return here(t)->is_ended;
}

static void end_connection(struct talk *t, bool by_reset)
{
	struct linger at_once = { .l_onoff = 1 };
	struct connection *c = here(t);

	if (by_reset)
		setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(c->fd);
	c->fd = -1;
	c->is_ended = true;
}

static bool has_pongs(struct talk *t)
{
	return here(t)->pongs_n >= strtoul(t->step + strlen("pongs "), NULL, 10);
}

static void pass_time(struct talk *t, uint64_t ms)
{
	uint64_t end_ms = loop_now_ms(t->loop) + ms;

	while (loop_now_ms(t->loop) <= end_ms)
		turn(t);
	turn(t);
}

static void say(struct talk *t, const char *step)
{
	size_t fragment = step[1] == '<';
	unsigned long n = 1;
	char *text = (char *)step + 1 + fragment;

	if (*text == '*')
		n = strtoul(text + 1, &text, 10), text++;
	while (n-- > 0)
		send_message(t, text, strlen(text), fragment);
}

static void say_much(struct talk *t, size_t n)
{
	char *text = malloc(n);

	assert_non_null(text);
	memset(text, ' ', n);
	text[0] = '6';
	send_message(t, text, n, 0);
	free(text);
}

/* The client's answer to this ping comes after all that it was sent before. */
static void expect_open(struct talk *t)
{
	send_message(t, "2are you there", 14, 0);
	expect_message(t, "3are you there");
	assert_false(is_closed(t));
}

static const char *tail(const char *step, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(step, word, len) != 0 || (step[len] != ' ' && step[len] != '\0'))
		return NULL;
	return step + len + (step[len] == ' ');
}

static bool client_step(struct talk *t, const char *step)
{
	const char *rest;

	if ((rest = tail(step, "=")))
		expect_event(t, rest);
	else if ((rest = tail(step, ":")))
		expect_reason(t, rest);
	else if ((rest = tail(step, "after")))
		expect_after(t, strtoull(rest, NULL, 10));
	else if ((rest = tail(step, "url")))
		answer(t, 0, 1, rest);
	else if ((rest = tail(step, "url2")))
		answer(t, 1, 1, rest);
	else if (tail(step, "url8k"))
		answer(t, 0, TOKEN_BYTES, "");
	else if ((rest = tail(step, "url=")))
		live_set_endpoint(t->live, 0, false, "", rest, INT64_MIN);
	else if ((rest = tail(step, "error")))
		answer_error(t, rest);
	else if (tail(step, "kick"))
		live_kick(t->live);
	else if ((rest = tail(step, "sleep")))
		pass_time(t, strtoull(rest, NULL, 10));
	else
		return false;
	return true;
}

static void server_step(struct talk *t, const char *step)
{
	const char *rest;

	if (step[0] == '<')
		say(t, step);
	else if (step[0] == '>')
		expect_message(t, step + 1);
	else if (tail(step, "dial"))
		check_dial(t, 4);
	else if (tail(step, "dial3"))
		check_dial(t, 3);
	else if ((rest = tail(step, "on")))
		t->current = strtoul(rest, NULL, 10) - 1;
	else if (tail(step, "101"))
		accept_upgrade(t);
	else if ((rest = tail(step, "http")))
		send_bytes(t, rest, strlen(rest));
	else if ((rest = tail(step, "x")))
		send_hex(t, rest);
	else if ((rest = tail(step, "big")))
		say_much(t, strtoul(rest, NULL, 10));
	else if (tail(step, "pongs"))
		until(t, has_pongs);
	else if (tail(step, "fin") || tail(step, "rst"))
		end_connection(t, step[0] == 'r');
	else if (tail(step, "open"))
		expect_open(t);
	else if (tail(step, "closed"))
		until(t, is_closed);
	else
		fail_msg("no step \"%s\"", step);
}

/* --- life --- */

static void start(struct talk *t, const struct live_options *given)
{
	static const char *const hosts[] = { ".svc.ms", NULL };
	struct live_options o = *given;
	const struct live_events events = { t, get_endpoint, on_event };

	o.backoff_min_ms = o.backoff_min_ms ? o.backoff_min_ms : 1;
	o.backoff_max_ms = o.backoff_max_ms ? o.backoff_max_ms : 2;
	o.refused_ms = o.refused_ms ? o.refused_ms : 1;
	o.dial_ms = o.dial_ms ? o.dial_ms : STEP_MS;
	o.join_ms = o.join_ms ? o.join_ms : STEP_MS;
	o.host_suffixes = hosts;
	/* Reading the system's CAs takes longer than some rows give a connection. */
	assert_int_equal(setenv("SSL_CERT_FILE", "/dev/null", 1), 0);
	t->log_fd = memfd_create("log", MFD_CLOEXEC);
	log_set_fd(t->log_fd);
	log_set_level(LOG_LEVEL_DEBUG);
	for (size_t i = 0; i < PORTS_N; i++)
		t->listeners[i] = listen_on_loopback(&t->ports[i]);
	assert_int_equal(loop_new(&t->loop), 0);
	assert_int_equal(ws_new(t->loop, NULL, &t->ws), 0);
	assert_int_equal(live_new(t->loop, t->ws, &o, &events, &t->live), 0);
}

static void check_log(struct talk *t)
{
	char text[65536];
	ssize_t n = pread(t->log_fd, text, sizeof(text) - 1, 0);

	assert_true(n >= 0);
	text[n] = '\0';
	if (strstr(text, SECRET))
		fail_msg("a secret in the log:\n%s", text);
	for (size_t i = 0; i < t->events_n; i++)
		if (strstr(t->events[i].reason, SECRET))
			fail_msg("a secret in the reason \"%s\"", t->events[i].reason);
}

static void stop(struct talk *t)
{
	live_free(t->live);
	for (size_t i = 0; i < t->connections_n; i++) {
		struct connection *c = &t->connections[i];

		if (c->fd >= 0)
			close(c->fd);
		buf_fini(&c->in);
		buf_fini(&c->inbox);
	}
	ws_free(t->ws);
	loop_free(t->loop);
	for (size_t i = 0; i < PORTS_N; i++)
		close(t->listeners[i]);
	check_log(t);
	log_set_fd(-1);
	close(t->log_fd);
}

void talk_run(const struct talk_row *row)
{
	struct talk *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	print_message("%s\n", row->name);
	start(t, &row->options);
	live_start(t->live);
	for (size_t i = 0; row->steps[i]; i++) {
		t->step = row->steps[i];
		if (!client_step(t, t->step))
			server_step(t, t->step);
	}
	stop(t);
	free(t);
}

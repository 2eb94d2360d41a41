#define LOG_MODULE "http"
#include "http.h"

#include "buf.h"
#include "log.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	SLOTS_API = 8,
	SLOTS_CONTENT = 8,
	SLOTS_PERSON = 2, /* of each class, kept free of everything else */
	CONNECT_MS = 8000,
	HEAD_MAX = 64 * 1024,
	HEADER_KEPT_MAX = 16 * 1024,
	IDLE_S = 118,
};

enum header { H_TYPE, H_RANGE, H_ETAG, H_LOCATION, H_RETRY, H_REQUEST_ID, H_WWW, HEADERS_N };

static const char *const header_names[HEADERS_N] = {
	[H_TYPE] = "content-type",    [H_RANGE] = "content-range", [H_ETAG] = "etag",
	[H_LOCATION] = "location",    [H_RETRY] = "retry-after",   [H_REQUEST_ID] = "request-id",
	[H_WWW] = "www-authenticate",
};

struct http_request {
	struct list node; /* queue, or http->running */
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct http_spec spec; /* strings in it are NULL or owned */
	char *body_copy;
	bool is_running;
	bool in_callback;
	int callback_error;

	char *kept[HEADERS_N]; /* headers of the reply */
	size_t head_bytes;
	bool head_told;
	struct buf body;
	uint64_t received, last_byte_ms;
	struct loop_timer deadline, stall;
};

/* A socket that libcurl wants watched. */
struct watched {
	uv_poll_t poll;
	struct http *http;
	curl_socket_t fd;
};

struct http {
	struct loop *loop;
	CURLM *multi;
	struct loop_timer timer; /* libcurl's */
	char *ca_file, *user_agent;
	bool http1_only;
	struct list queued[HTTP_PRIORITIES];
	struct list running;
	unsigned slots[HTTP_CLASSES];
	unsigned busy[HTTP_CLASSES], busy_others[HTTP_CLASSES];
	uint64_t started_n[HTTP_CLASSES];
	bool is_starting;
};

static void start_queued(struct http *http);

/* --- URLs --- */

static char *url_part(const char *url, CURLUPart part)
{
	CURLU *u = curl_url();
	char *value = NULL, *copy = NULL;

	if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
	    curl_url_get(u, part, &value, CURLU_DEFAULT_PORT) == CURLUE_OK)
		copy = strdup(value);
	curl_free(value);
	curl_url_cleanup(u);
	return copy;
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "[::1]") == 0 ||
	       strcasecmp(host, "localhost") == 0;
}

bool http_is_url_allowed(const char *url)
{
	auto_free char *scheme = url_part(url, CURLUPART_SCHEME);
	auto_free char *host = url_part(url, CURLUPART_HOST);
	auto_free char *user = url_part(url, CURLUPART_USER);

	for (const unsigned char *c = (const unsigned char *)url; *c; c++)
		if (*c <= ' ' || *c == 0x7f)
			return false;
	if (!scheme || !host || !host[0] || user)
		return false;
	return strcasecmp(scheme, "https") == 0 ||
	       (strcasecmp(scheme, "http") == 0 && is_loopback(host));
}

bool http_is_same_origin(const char *url, const char *other)
{
	static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };

	for (size_t i = 0; i < array_n(parts); i++) {
		auto_free char *a = url_part(url, parts[i]);
		auto_free char *b = url_part(other, parts[i]);

		if (!a || !b || strcasecmp(a, b) != 0)
			return false;
	}
	return true;
}

/* --- the life of a request --- */

static void request_free(struct http_request *req)
{
	loop_timer_fini(&req->deadline);
	loop_timer_fini(&req->stall);
	if (req->easy)
		curl_easy_cleanup(req->easy);
	curl_slist_free_all(req->headers);
	for (size_t i = 0; i < HEADERS_N; i++)
		free(req->kept[i]);
	buf_fini(&req->body);
	if (req->body_copy)
		explicit_bzero(req->body_copy, req->spec.body_len);
	free(req->body_copy);
	free(req);
}

/* Takes a request out of wherever it is; it holds no slot afterwards. */
static void detach(struct http_request *req)
{
	struct http *http = req->http;
	enum http_class class = req->spec.host_class;

	list_del(&req->node);
	if (!req->is_running)
		return;
	req->is_running = false;
	(void)curl_multi_remove_handle(http->multi, req->easy);
	http->busy[class]--;
	if (req->spec.priority != HTTP_PERSON)
		http->busy_others[class]--;
}

static struct http_head head_of(struct http_request *req)
{
	struct http_head head = {
		.content_length = -1,
		.content_type = req->kept[H_TYPE],
		.content_range = req->kept[H_RANGE],
		.etag = req->kept[H_ETAG],
		.location = req->kept[H_LOCATION],
		.retry_after = req->kept[H_RETRY],
		.request_id = req->kept[H_REQUEST_ID],
		.www_authenticate = req->kept[H_WWW],
	};
	curl_off_t length = -1;

	(void)curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &head.status);
	(void)curl_easy_getinfo(req->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	head.content_length = length;
	return head;
}

static void finish(struct http_request *req, int error)
{
	struct http_head head = head_of(req);
	bool has_head = head.status >= 200;

	detach(req);
	if (error != 0)
		log_debug("%s ended with %s", req->spec.method, strerror(-error));
	req->spec.on_done(req->spec.arg, error, has_head ? &head : NULL,
			  req->body.data ? req->body.data : "", req->body.len);
	start_queued(req->http);
	request_free(req);
}

static int error_of(CURLcode code)
{
	switch (code) {
	case CURLE_OK:
		return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_GOT_NOTHING:
		return -ENETDOWN;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CIPHER:
	case CURLE_USE_SSL_FAILED:
		return -EPROTO;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	case CURLE_FILESIZE_EXCEEDED:
		return -EFBIG;
	default: /* partial files, HTTP/2 stream errors, bad encodings, malformed replies */
		return -EBADMSG;
	}
}

static void on_deadline(void *arg)
{
	finish(arg, -ETIMEDOUT);
}

/* Bytes only note the time: moving a timer at each piece would cost more than this one check. */
static void on_stall(void *arg)
{
	struct http_request *req = arg;
	uint64_t quiet_ms = loop_now_ms(req->http->loop) - req->last_byte_ms;

	if (quiet_ms >= req->spec.stall_ms)
		finish(req, -ETIMEDOUT);
	else
		loop_timer_arm(&req->stall, req->spec.stall_ms - quiet_ms);
}

static void keep_header(struct http_request *req, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len);
	size_t name_len, value_len;
	const char *value;

	if (!colon)
		return;
	name_len = (size_t)(colon - line);
	value = colon + 1;
	value_len = len - name_len - 1;
	while (value_len > 0 && (*value == ' ' || *value == '\t'))
		value++, value_len--;
	while (value_len > 0 && strchr(" \t\r\n", value[value_len - 1]))
		value_len--;
	if (value_len > HEADER_KEPT_MAX || memchr(value, '\0', value_len))
		return;
	for (size_t i = 0; i < HEADERS_N; i++) {
		if (strlen(header_names[i]) != name_len ||
		    strncasecmp(header_names[i], line, name_len) != 0)
			continue;
		free(req->kept[i]);
		req->kept[i] = strndup(value, value_len);
	}
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;

	req->last_byte_ms = loop_now_ms(req->http->loop);
	req->head_bytes += size * n;
	if (req->head_bytes > HEAD_MAX) {
		req->callback_error = -EFBIG;
		return 0;
	}
	/* A new status line (after 100, or a proxy's CONNECT): what came before is not the reply's.
	 */
	if (size * n >= 5 && memcmp(data, "HTTP/", 5) == 0)
		for (size_t i = 0; i < HEADERS_N; i++) {
			free(req->kept[i]);
			req->kept[i] = NULL;
		}
	keep_header(req, data, size * n);
	return size * n;
}

static int tell_head(struct http_request *req)
{
	struct http_head head;

	if (req->head_told || !req->spec.on_head)
		return 0;
	req->head_told = true;
	head = head_of(req);
	return req->spec.on_head(req->spec.arg, &head);
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;
	size_t len = size * n;
	int r;

	req->last_byte_ms = loop_now_ms(req->http->loop);
	req->received += len;
	if (req->received > req->spec.max_body) {
		req->callback_error = -EFBIG;
		return 0;
	}
	req->in_callback = true;
	r = tell_head(req);
	if (r == 0)
		r = req->spec.on_data ? req->spec.on_data(req->spec.arg, data, len)
				      : buf_append(&req->body, data, len);
	req->in_callback = false;
	if (r < 0) {
		req->callback_error = r;
		return 0;
	}
	return len;
}

static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			return true;
	return false;
}

static int add_header(struct http_request *req, const char *line)
{
	struct curl_slist *more;

	/* A value that came from the service must not become a second header. */
	if (has_control(line))
		return -EPERM;
	more = curl_slist_append(req->headers, line);
	if (!more)
		return -ENOMEM;
	req->headers = more;
	return 0;
}

static void set_transport(struct http_request *req)
{
	struct http *http = req->http;
	CURL *easy = req->easy;

	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, (long)IDLE_S);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(easy, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, http->user_agent);
	if (http->ca_file)
		curl_easy_setopt(easy, CURLOPT_CAINFO, http->ca_file);
	if (req->spec.host_class == HTTP_CONTENT || http->http1_only) {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
		curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
	} else {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
		/* Wait for the one connection rather than opening another. */
		curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	}
}

static int set_message(struct http_request *req, const struct http_spec *spec)
{
	CURL *easy = req->easy;
	int r = 0;

	for (size_t i = 0; spec->headers && spec->headers[i] && r == 0; i++)
		r = add_header(req, spec->headers[i]);
	if (r == 0)
		r = add_header(req, "Expect:");
	if (r < 0)
		return r;
	if (spec->bearer) {
		if (has_control(spec->bearer))
			return -EPERM;
		curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
		curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, spec->bearer);
	}
	if (spec->body) {
		req->body_copy = malloc(spec->body_len + 1);
		if (!req->body_copy)
			return -ENOMEM;
		memcpy(req->body_copy, spec->body, spec->body_len);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, req->body_copy);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)spec->body_len);
	}
	if (strcmp(spec->method, "GET") != 0)
		curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, req->spec.method);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, req->headers);
	if (spec->accept_compressed)
		curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
	return 0;
}

static int prepare(struct http_request *req, const struct http_spec *spec)
{
	int r;

	req->easy = curl_easy_init();
	if (!req->easy)
		return -ENOMEM;
	if (curl_easy_setopt(req->easy, CURLOPT_URL, spec->url) != CURLE_OK)
		return -ENOMEM;
	set_transport(req);
	r = set_message(req, spec);
	if (r < 0)
		return r;
	curl_easy_setopt(req->easy, CURLOPT_PRIVATE, req);
	curl_easy_setopt(req->easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(req->easy, CURLOPT_HEADERDATA, req);
	curl_easy_setopt(req->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(req->easy, CURLOPT_WRITEDATA, req);
	r = loop_timer_init(&req->deadline, req->http->loop, on_deadline, req);
	return r < 0 ? r : loop_timer_init(&req->stall, req->http->loop, on_stall, req);
}

int http_start(struct http *http, const struct http_spec *spec, struct http_request **ret)
{
	struct http_request *req;
	int r;

	if (!http_is_url_allowed(spec->url)) {
		log_error("refused to ask %s: not https", log_url(spec->url));
		return -EPERM;
	}
	req = calloc(1, sizeof(*req));
	if (!req)
		return -ENOMEM;
	req->http = http;
	req->spec = *spec;
	req->spec.method = strcmp(spec->method, "POST") == 0 ? "POST" : "GET";
	/* These are only read while the handle is made. */
	req->spec.url = req->spec.bearer = NULL;
	req->spec.headers = NULL;
	req->spec.body = NULL;
	list_init(&req->node);
	buf_init(&req->body, spec->max_body);
	r = prepare(req, spec);
	if (r < 0) {
		request_free(req);
		return r;
	}
	if (spec->total_ms > 0)
		loop_timer_arm(&req->deadline, spec->total_ms);
	list_add_tail(&http->queued[spec->priority], &req->node);
	*ret = req;
	start_queued(http);
	return 0;
}

void http_cancel(struct http_request *req)
{
	struct http *http = req->http;

	detach(req);
	request_free(req);
	start_queued(http);
}

/* --- slots --- */

static bool may_start(const struct http *http, const struct http_request *req)
{
	enum http_class class = req->spec.host_class;

	if (http->busy[class] >= http->slots[class])
		return false;
	return req->spec.priority == HTTP_PERSON ||
	       http->busy_others[class] + SLOTS_PERSON < http->slots[class] ||
	       http->slots[class] <= SLOTS_PERSON;
}

static void start(struct http_request *req)
{
	struct http *http = req->http;
	enum http_class class = req->spec.host_class;

	list_del(&req->node);
	list_add_tail(&http->running, &req->node);
	req->is_running = true;
	http->busy[class]++;
	if (req->spec.priority != HTTP_PERSON)
		http->busy_others[class]++;
	http->started_n[class]++;
	req->last_byte_ms = loop_now_ms(http->loop);
	loop_timer_arm(&req->stall, req->spec.stall_ms);
	/* This only arms libcurl's timer; the work is done from the loop. */
	if (curl_multi_add_handle(http->multi, req->easy) != CURLM_OK)
		loop_timer_arm(&req->deadline, 0);
}

static void start_queued(struct http *http)
{
	if (http->is_starting)
		return;
	http->is_starting = true;
	for (int priority = 0; priority < HTTP_PRIORITIES; priority++) {
		list_for_each_safe (&http->queued[priority], node) {
			struct http_request *req = container_of(node, struct http_request, node);

			if (may_start(http, req))
				start(req);
		}
	}
	http->is_starting = false;
}

/* --- libcurl on the loop --- */

static void check_done(struct http *http)
{
	CURLMsg *msg;
	int left;

	while ((msg = curl_multi_info_read(http->multi, &left))) {
		struct http_request *req;
		CURLcode code;
		int error;

		if (msg->msg != CURLMSG_DONE)
			continue;
		code = msg->data.result;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&req);
		error = req->callback_error ? req->callback_error : error_of(code);
		/* An empty body: nobody was told of the head yet. */
		if (error == 0)
			error = tell_head(req);
		finish(req, error);
	}
}

static void on_curl_timer(void *arg)
{
	struct http *http = arg;
	int running;

	(void)curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	check_done(http);
}

static int set_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http *http = arg;

	if (timeout_ms < 0)
		loop_timer_disarm(&http->timer);
	else
		loop_timer_arm(&http->timer, (uint64_t)timeout_ms);
	return 0;
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct watched *w = container_of(poll, struct watched, poll);
	struct http *http = w->http;
	int flags = 0, running;

	if (status < 0)
		flags |= CURL_CSELECT_ERR;
	if (events & UV_READABLE)
		flags |= CURL_CSELECT_IN;
	if (events & UV_WRITABLE)
		flags |= CURL_CSELECT_OUT;
	(void)curl_multi_socket_action(http->multi, w->fd, flags, &running);
	check_done(http);
}

static void free_watched(uv_handle_t *handle)
{
	free(container_of((uv_poll_t *)handle, struct watched, poll));
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp)
{
	struct http *http = arg;
	struct watched *w = socketp;
	int events = 0;

	if (what == CURL_POLL_REMOVE) {
		if (w) {
			uv_poll_stop(&w->poll);
			uv_close((uv_handle_t *)&w->poll, free_watched);
		}
		(void)curl_multi_assign(http->multi, fd, NULL);
		return 0;
	}
	if (!w) {
		w = calloc(1, sizeof(*w));
		if (!w)
			return -1;
		w->http = http;
		w->fd = fd;
		if (uv_poll_init_socket(loop_uv(http->loop), &w->poll, fd) < 0) {
			free(w);
			return -1;
		}
		(void)curl_multi_assign(http->multi, fd, w);
	}
	if (what & CURL_POLL_IN)
		events |= UV_READABLE;
	if (what & CURL_POLL_OUT)
		events |= UV_WRITABLE;
	return uv_poll_start(&w->poll, events, on_ready) < 0 ? -1 : 0;
}

int http_new(struct loop *loop, const struct http_options *options, struct http **ret)
{
	struct http *http = calloc(1, sizeof(*http));
	int r;

	if (!http)
		return -ENOMEM;
	/* Idempotent, and before any other thread uses libcurl. */
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
	http->loop = loop;
	list_init(&http->running);
	for (int i = 0; i < HTTP_PRIORITIES; i++)
		list_init(&http->queued[i]);
	http->slots[HTTP_API] = options->slots[HTTP_API] ? options->slots[HTTP_API] : SLOTS_API;
	http->slots[HTTP_CONTENT] =
		options->slots[HTTP_CONTENT] ? options->slots[HTTP_CONTENT] : SLOTS_CONTENT;
	http->http1_only = options->http1_only;
	http->user_agent = strdup(options->user_agent);
	http->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
	http->multi = curl_multi_init();
	r = loop_timer_init(&http->timer, loop, on_curl_timer, http);
	if (r < 0 || !http->multi || !http->user_agent || (options->ca_file && !http->ca_file)) {
		http_free(http);
		return -ENOMEM;
	}
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
	*ret = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	if (http->multi)
		curl_multi_cleanup(http->multi);
	loop_timer_fini(&http->timer);
	free(http->ca_file);
	free(http->user_agent);
	free(http);
}

uint64_t http_started_n(const struct http *http, enum http_class host_class)
{
	return http->started_n[host_class];
}

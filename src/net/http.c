#define LOG_MODULE "http"
#include "http.h"

#include "buf.h"
#include "head.h"
#include "log.h"
#include "multi.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum {
	SLOTS_API = 8,
	SLOTS_CONTENT = 10, /* eight for what is read ahead, and those kept for persons */
	SLOTS_PERSON = 2,   /* of each class, kept free of everything else */
	CONNECT_MS = 8000,
	IDLE_S = 118,
	SEND_BUFFER = 512 * 1024,
	/* Content that trickles slower than this is given up: a stall by another name. */
	TRICKLE_BYTES_S = 512,
	TRICKLE_S = 60,
};

struct http_request {
	struct list node; /* queue, or http->running */
	struct http *http;
	CURL *easy;
	struct curl_slist *headers;
	struct http_spec spec; /* strings in it are NULL or owned */
	char *body_copy;
	size_t body_at; /* so much of the body was given to libcurl */
	bool is_running;
	bool is_doomed; /* cancelled from inside libcurl; on http->doomed until it returns */
	int callback_error;

	struct head head;
	bool head_told;
	struct buf body;
	uint64_t received, last_byte_ms;
	curl_off_t sent_bytes; /* of the body, when that was looked at last */
	struct loop_timer deadline, stall;
};

struct http {
	struct loop *loop;
	struct multi *multi;
	char *ca_file, *user_agent;
	bool http1_only;
	struct list queued[HTTP_PRIORITIES];
	struct list running;
	unsigned slots[HTTP_CLASSES];
	unsigned busy[HTTP_CLASSES], busy_others[HTTP_CLASSES];
	uint64_t started_n[HTTP_CLASSES];
	bool is_starting;
	struct list doomed; /* cancelled while libcurl was on the stack */
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
	head_fini(&req->head);
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
	(void)curl_multi_remove_handle(multi_get(http->multi), req->easy);
	http->busy[class]--;
	if (req->spec.priority != HTTP_PERSON)
		http->busy_others[class]--;
}

static struct http_head head_of(struct http_request *req)
{
	struct http_head head = { .content_length = -1 };
	curl_off_t length = -1;

	(void)curl_easy_getinfo(req->easy, CURLINFO_RESPONSE_CODE, &head.status);
	(void)curl_easy_getinfo(req->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	head.content_length = length;
	head_get(&req->head, &head);
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
	case CURLE_SEND_FAIL_REWIND:
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
	curl_off_t sent_bytes = 0;
	uint64_t quiet_ms;

	(void)curl_easy_getinfo(req->easy, CURLINFO_SIZE_UPLOAD_T, &sent_bytes);
	if (sent_bytes > req->sent_bytes)
		req->last_byte_ms = loop_now_ms(req->http->loop);
	req->sent_bytes = sent_bytes;
	quiet_ms = loop_now_ms(req->http->loop) - req->last_byte_ms;
	if (quiet_ms >= req->spec.stall_ms)
		finish(req, -ETIMEDOUT);
	else
		loop_timer_arm(&req->stall, req->spec.stall_ms - quiet_ms);
}

static size_t on_header(char *data, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;
	int r;

	if (req->is_doomed)
		return 0;
	req->last_byte_ms = loop_now_ms(req->http->loop);
	r = head_add_line(&req->head, data, size * n);
	if (r < 0) {
		req->callback_error = r;
		return 0;
	}
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

	if (req->is_doomed)
		return 0;
	req->last_byte_ms = loop_now_ms(req->http->loop);
	req->received += len;
	if (req->received > req->spec.max_body) {
		req->callback_error = -EFBIG;
		return 0;
	}
	r = tell_head(req);
	if (r == 0 && !req->is_doomed)
		r = req->spec.on_data ? req->spec.on_data(req->spec.arg, data, len)
				      : buf_append(&req->body, data, len);
	if (r < 0) {
		req->callback_error = r;
		return 0;
	}
	return req->is_doomed ? 0 : len;
}

static size_t on_send(char *to, size_t size, size_t n, void *arg)
{
	struct http_request *req = arg;
	size_t len = size * n, left = req->spec.body_len - req->body_at;

	/* The body of a cancelled request may not be there any more. */
	if (req->is_doomed)
		return CURL_READFUNC_ABORT;
	req->last_byte_ms = loop_now_ms(req->http->loop);
	len = len < left ? len : left;
	memcpy(to, (const char *)req->spec.body + req->body_at, len);
	req->body_at += len;
	return len;
}

/* libcurl wants to send it again over another connection. */
static int on_rewind(void *arg, curl_off_t at, int origin)
{
	struct http_request *req = arg;

	if (req->is_doomed || req->spec.is_once || origin != SEEK_SET || at < 0 ||
	    (uint64_t)at > req->spec.body_len)
		return CURL_SEEKFUNC_FAIL;
	req->body_at = (size_t)at;
	return CURL_SEEKFUNC_OK;
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

static void set_transport(struct http_request *req, bool is_tls)
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
	if (req->spec.host_class == HTTP_CONTENT || http->http1_only || !is_tls) {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	} else {
		curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
		/* Wait for the one connection rather than opening another. Without TLS nothing
		 * tells at connect that there will be no HTTP/2, and all would wait for the first
		 * reply. */
		curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	}
	if (req->spec.host_class == HTTP_CONTENT) {
		curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, 256L * 1024);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)TRICKLE_BYTES_S);
		curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)TRICKLE_S);
	}
}

static int set_body(struct http_request *req, const struct http_spec *spec)
{
	CURL *easy = req->easy;

	req->spec.body = spec->body;
	if (!spec->is_body_borrowed) {
		req->body_copy = malloc(spec->body_len + 1);
		if (!req->body_copy)
			return -ENOMEM;
		memcpy(req->body_copy, spec->body, spec->body_len);
		req->spec.body = req->body_copy;
	}
	curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
	curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)spec->body_len);
	curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_send);
	curl_easy_setopt(easy, CURLOPT_READDATA, req);
	curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_rewind);
	curl_easy_setopt(easy, CURLOPT_SEEKDATA, req);
	if (spec->send_bytes_s > 0) {
		/* libcurl keeps the rate by waiting after each buffer: several in a second. */
		uint64_t bytes = spec->send_bytes_s / 4;

		curl_easy_setopt(easy, CURLOPT_MAX_SEND_SPEED_LARGE,
				 (curl_off_t)spec->send_bytes_s);
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE,
				 bytes < SEND_BUFFER ? (long)bytes : (long)SEND_BUFFER);
	} else if (req->spec.host_class == HTTP_CONTENT) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, (long)SEND_BUFFER);
	}
	return 0;
}

static const char *method_of(const char *name)
{
	static const char *const methods[] = { "GET", "POST", "PUT", "PATCH", "DELETE" };

	for (size_t i = 0; i < array_n(methods); i++)
		if (strcmp(name, methods[i]) == 0)
			return methods[i];
	return NULL;
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
	r = spec->body ? set_body(req, spec) : 0;
	if (r < 0)
		return r;
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
	set_transport(req, strncasecmp(spec->url, "https:", 6) == 0);
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

	if (!method_of(spec->method))
		return -EINVAL;
	if (!http_is_url_allowed(spec->url)) {
		log_error("refused to ask %s: not https", log_url(spec->url));
		return -EPERM;
	}
	req = calloc(1, sizeof(*req));
	if (!req)
		return -ENOMEM;
	req->http = http;
	req->spec = *spec;
	req->spec.method = method_of(spec->method);
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

	if (multi_is_inside(http->multi)) {
		req->is_doomed = true;
		list_del(&req->node);
		list_add_tail(&http->doomed, &req->node);
		return;
	}
	detach(req);
	request_free(req);
	start_queued(http);
}

static void free_doomed(struct http *http)
{
	while (!list_empty(&http->doomed)) {
		struct http_request *req =
			container_of(http->doomed.next, struct http_request, node);

		detach(req);
		request_free(req);
	}
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
	if (curl_multi_add_handle(multi_get(http->multi), req->easy) != CURLM_OK)
		loop_timer_arm(&req->deadline, 0);
}

static void start_queued(struct http *http)
{
	if (http->is_starting || multi_is_inside(http->multi))
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

/* --- the ends --- */

/* The end of one transfer, as libcurl sees it. */
static void on_transfer_done(struct http *http, struct http_request *req, CURLcode code)
{
	int error = req->callback_error ? req->callback_error : error_of(code);

	/* A connection that ends within the head is an empty reply to libcurl. */
	if (error == 0 && !req->head.ended)
		error = -EBADMSG;
	/* The service was there: a reply that breaks off does not make anyone offline. */
	if (error == -ENETDOWN && req->head.ended)
		error = -EBADMSG;
	/* An empty body: nobody was told of the head yet. */
	if (error == 0) {
		multi_set_inside(http->multi, true);
		error = tell_head(req);
		multi_set_inside(http->multi, false);
	}
	if (!req->is_doomed)
		finish(req, error);
	free_doomed(http);
}

static void on_turn(void *arg)
{
	struct http *http = arg;
	CURLMsg *msg;
	int left;

	free_doomed(http);
	while ((msg = curl_multi_info_read(multi_get(http->multi), &left))) {
		struct http_request *req;
		CURLcode code = msg->data.result;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&req);
		on_transfer_done(http, req, code);
	}
	start_queued(http);
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
	list_init(&http->doomed);
	for (int i = 0; i < HTTP_PRIORITIES; i++)
		list_init(&http->queued[i]);
	http->slots[HTTP_API] = options->slots[HTTP_API] ? options->slots[HTTP_API] : SLOTS_API;
	http->slots[HTTP_CONTENT] =
		options->slots[HTTP_CONTENT] ? options->slots[HTTP_CONTENT] : SLOTS_CONTENT;
	http->http1_only = options->http1_only;
	http->user_agent = strdup(options->user_agent);
	http->ca_file = options->ca_file ? strdup(options->ca_file) : NULL;
	r = multi_new(loop, on_turn, http, &http->multi);
	if (r < 0 || !http->user_agent || (options->ca_file && !http->ca_file)) {
		http_free(http);
		return -ENOMEM;
	}
	*ret = http;
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	multi_free(http->multi);
	free(http->ca_file);
	free(http->user_agent);
	free(http);
}

bool http_was_sent(const struct http_request *req)
{
	long bytes = 0;

	(void)curl_easy_getinfo(req->easy, CURLINFO_REQUEST_SIZE, &bytes);
	return bytes > 0 || req->body_at > 0;
}

uint64_t http_started_n(const struct http *http, enum http_class host_class)
{
	return http->started_n[host_class];
}

#include "simhttp.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* --- requests --- */

static char *cut(char **at, const char *separators)
{
	char *word = *at;
	size_t n = strcspn(word, separators);

	*at = word + n;
	if (**at)
		*(*at)++ = '\0';
	return word;
}

static int parse_lines(struct simreq *req, char *text)
{
	char *line = text + strcspn(text, "\r\n"), *version;

	if (*line)
		*line++ = '\0';
	req->method = cut(&text, " ");
	req->target = cut(&text, " ");
	version = text;
	if (strncmp(version, "HTTP/1.", 7) != 0 || req->target[0] == '\0')
		return -EBADMSG;
	req->keep_alive = version[7] != '0';
	for (line += strspn(line, "\r\n"); *line; line += strspn(line, "\r\n")) {
		char *name = line, *value = strchr(line, ':');
		size_t end = strcspn(line, "\r\n");

		if (!value || value > line + end || req->head_n == SIMHTTP_HEADS_MAX)
			return -EBADMSG;
		line += end;
		if (*line)
			*line++ = '\0';
		*value++ = '\0';
		req->heads[req->head_n].name = name;
		req->heads[req->head_n++].value = value + strspn(value, " \t");
	}
	return 0;
}

static int body_length(const struct simreq *req, size_t *ret)
{
	const char *text = simhttp_head(req, "Content-Length");
	unsigned long long n = 0;
	char *end;

	if (simhttp_head(req, "Transfer-Encoding"))
		return -EBADMSG; /* no client of this service needs it */
	if (text) {
		n = strtoull(text, &end, 10);
		if (!isdigit((unsigned char)text[0]) || *end)
			return -EBADMSG;
	}
	if (n > SIMHTTP_SPOOLED_MAX_BYTES)
		return -EFBIG;
	*ret = n;
	return 0;
}

static int parse_head(struct simreq *req, const char *data, size_t len)
{
	const char *connection;
	size_t target_len;
	int r;

	/* The second half holds a copy of the target that is cut into path and query. */
	req->memory = simjson_alloc(len * 2 + 4);
	memcpy(req->memory, data, len);
	if (memchr(data, '\0', len))
		return -EBADMSG;
	r = parse_lines(req, req->memory);
	if (r < 0)
		return r;
	target_len = strlen(req->target);
	req->path = memcpy(req->memory + len + 1, req->target, target_len + 1);
	req->query = req->path + strcspn(req->path, "?");
	if (*req->query)
		*req->query++ = '\0';
	connection = simhttp_head(req, "Connection");
	if (connection && strcasestr(connection, "close"))
		req->keep_alive = false;
	return 0;
}

int simhttp_parse_head(const char *data, size_t len, struct simreq *req, size_t *ret_used)
{
	const char *end = len > 0 ? memmem(data, len, "\r\n\r\n", 4) : NULL;
	size_t head_len;
	int r;

	*ret_used = 0;
	if (!end)
		return len > SIMHTTP_HEAD_MAX_BYTES ? -EFBIG : 0;
	head_len = (size_t)(end - data) + 4;
	r = parse_head(req, data, head_len);
	if (r == 0)
		r = body_length(req, &req->body_len);
	if (r < 0) {
		simhttp_free_req(req);
		return r;
	}
	*ret_used = head_len;
	return 0;
}

void simhttp_free_req(struct simreq *req)
{
	free(req->memory);
	*req = (struct simreq){ 0 };
}

const char *simhttp_head(const struct simreq *req, const char *name)
{
	for (unsigned i = 0; i < req->head_n; i++)
		if (strcasecmp(req->heads[i].name, name) == 0)
			return req->heads[i].value;
	return NULL;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t simhttp_decode(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		int high = *at == '%' ? hex_digit(at[1]) : -1;
		int low = high >= 0 ? hex_digit(at[2]) : -1;

		*to++ = (char)(low >= 0 ? high << 4 | low : *at);
		if (low >= 0)
			at += 2;
	}
	*to = '\0';
	return (size_t)(to - text);
}

char *simhttp_form(const char *text, size_t len, const char *name)
{
	size_t name_len = strlen(name);

	while (len > 0) {
		const char *next = memchr(text, '&', len);
		size_t n = next ? (size_t)(next - text) : len;

		if (n > name_len && memcmp(text, name, name_len) == 0 && text[name_len] == '=') {
			char *value = simjson_alloc(n);

			memcpy(value, text + name_len + 1, n - name_len - 1);
			for (char *at = value; *at; at++)
				if (*at == '+')
					*at = ' ';
			simhttp_decode(value);
			return value;
		}
		len -= next ? n + 1 : n;
		text += next ? n + 1 : n;
	}
	return NULL;
}

char *simhttp_param(const struct simreq *req, const char *name)
{
	return simhttp_form(req->query, strlen(req->query), name);
}

void simhttp_encode(struct simjson *out, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)text[i];

		if (isalnum(c) || (c && strchr("-._~", c)))
			simjson_raw(out, text + i, 1);
		else
			simjson_format(out, "%%%02X", c);
	}
}

char *simhttp_base64(const char *text, size_t *ret_len)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char *data = simjson_alloc(strlen(text) + 1);
	uint32_t bits = 0;
	unsigned bit_n = 0;
	size_t n = 0;

	for (; *text && *text != '='; text++) {
		const char *at = strchr(letters, *text);

		if (!at) {
			free(data);
			return NULL;
		}
		bits = bits << 6 | (uint32_t)(at - letters);
		bit_n += 6;
		if (bit_n >= 8) {
			bit_n -= 8;
			data[n++] = (char)(bits >> bit_n);
		}
	}
	*ret_len = n;
	return data;
}

/* --- replies --- */

void simhttp_init_reply(struct simreply *r)
{
	*r = (struct simreply){ .status = 200,
				.content_type = "application/json;odata.metadata=minimal;"
						"odata.streaming=true;IEEE754Compatible=false;"
						"charset=utf-8",
				.cut_at = UINT64_MAX,
				.flip_at = UINT64_MAX };
}

void simhttp_free_reply(struct simreply *r)
{
	simjson_fini(&r->heads);
	simjson_fini(&r->body);
	free(r->length_text);
	free(r->raw);
	r->length_text = r->raw = NULL;
}

void simhttp_header(struct simreply *r, const char *name, const char *fmt, ...)
{
	char value[8192];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	simjson_format(&r->heads, "%s: %s\r\n", name, value);
}

uint64_t simhttp_body_bytes(const struct simreply *r)
{
	return r->has_ref ? r->ref_len : r->body.len;
}

static const char *reason(int status)
{
	static const struct {
		int status;
		const char *text;
	} reasons[] = {
		{ 101, "Switching Protocols" },
		{ 200, "OK" },
		{ 201, "Created" },
		{ 202, "Accepted" },
		{ 204, "No Content" },
		{ 206, "Partial Content" },
		{ 302, "Found" },
		{ 304, "Not Modified" },
		{ 400, "Bad Request" },
		{ 401, "Unauthorized" },
		{ 403, "Forbidden" },
		{ 404, "Not Found" },
		{ 405, "Method Not Allowed" },
		{ 409, "Conflict" },
		{ 410, "Gone" },
		{ 412, "Precondition Failed" },
		{ 413, "Payload Too Large" },
		{ 416, "Range Not Satisfiable" },
		{ 423, "Locked" },
		{ 424, "Failed Dependency" },
		{ 429, "Too Many Requests" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 507, "Insufficient Storage" },
	};

	for (size_t i = 0; i < array_n(reasons); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

void simhttp_write_head(const struct simreply *r, bool keep_alive, struct simjson *out)
{
	simjson_format(out, "HTTP/1.1 %d %s\r\n", r->status, reason(r->status));
	if (r->status != 101 && r->status != 204 && r->status != 304) {
		if (r->content_type)
			simjson_format(out, "Content-Type: %s\r\n", r->content_type);
		if (!r->length_text)
			simjson_format(out, "Content-Length: %llu\r\n",
				       (unsigned long long)simhttp_body_bytes(r));
		else if (r->length_text[0])
			simjson_format(out, "Content-Length: %s\r\n", r->length_text);
	}
	if (!keep_alive && r->status != 101)
		simjson_text(out, "Connection: close\r\n");
	simjson_raw(out, r->heads.data, r->heads.len);
	simjson_text(out, "\r\n");
}

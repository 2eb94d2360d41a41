#include "head.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

enum { ALL_MAX = 64 * 1024, VALUE_MAX = 16 * 1024, LENGTH_DIGITS_MAX = 18 };

enum header {
	TYPE,
	RANGE,
	ETAG,
	LOCATION,
	RETRY,
	REQUEST_ID,
	WWW,
	LENGTH,
	LIMIT,
	REMAINING,
	RESET
};

static const char *const names[HEAD_HEADERS] = {
	[TYPE] = "content-type",
	[RANGE] = "content-range",
	[ETAG] = "etag",
	[LOCATION] = "location",
	[RETRY] = "retry-after",
	[REQUEST_ID] = "request-id",
	[WWW] = "www-authenticate",
	[LENGTH] = "content-length",
	[LIMIT] = "ratelimit-limit",
	[REMAINING] = "ratelimit-remaining",
	[RESET] = "ratelimit-reset",
};

static void forget(struct head *head)
{
	head->ended = false;
	for (size_t i = 0; i < HEAD_HEADERS; i++)
		free(take_ptr(&head->kept[i]));
}

void head_fini(struct head *head)
{
	forget(head);
}

/* libcurl lets the last of several lengths stand, and ignores one that is too large for it. */
static bool is_length_sane(const char *before, const char *value)
{
	size_t len = strlen(value);

	return len > 0 && len <= LENGTH_DIGITS_MAX && strspn(value, "0123456789") == len &&
	       (!before || strcmp(before, value) == 0);
}

static int keep(struct head *head, enum header which, const char *value, size_t len)
{
	auto_free char *before = head->kept[which];

	head->kept[which] = strndup(value, len);
	if (!head->kept[which])
		return -ENOMEM;
	return which != LENGTH || is_length_sane(before, head->kept[which]) ? 0 : -EBADMSG;
}

static int add_header(struct head *head, const char *line, size_t len)
{
	const char *colon = memchr(line, ':', len), *value;
	size_t name_len, value_len;

	if (!colon)
		return 0;
	value = colon + 1;
	name_len = (size_t)(colon - line);
	value_len = len - name_len - 1;
	while (value_len > 0 && (*value == ' ' || *value == '\t'))
		value++, value_len--;
	while (value_len > 0 && strchr(" \t\r\n", value[value_len - 1]))
		value_len--;
	if (value_len > VALUE_MAX || memchr(value, '\0', value_len))
		return 0;
	for (size_t i = 0; i < HEAD_HEADERS; i++)
		if (strlen(names[i]) == name_len && strncasecmp(names[i], line, name_len) == 0)
			return keep(head, (enum header)i, value, value_len);
	return 0;
}

int head_add_line(struct head *head, const char *line, size_t len)
{
	head->bytes += len;
	if (head->bytes > ALL_MAX)
		return -EFBIG;
	if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
		forget(head);
		return 0;
	}
	/* Trailers come after the empty line; they tell nothing that is read here. */
	if (head->ended)
		return 0;
	head->ended = len > 0 && (line[0] == '\r' || line[0] == '\n');
	return add_header(head, line, len);
}

void head_get(const struct head *head, struct http_head *ret)
{
	ret->content_type = head->kept[TYPE];
	ret->content_range = head->kept[RANGE];
	ret->etag = head->kept[ETAG];
	ret->location = head->kept[LOCATION];
	ret->retry_after = head->kept[RETRY];
	ret->request_id = head->kept[REQUEST_ID];
	ret->www_authenticate = head->kept[WWW];
	ret->ratelimit_limit = head->kept[LIMIT];
	ret->ratelimit_remaining = head->kept[REMAINING];
	ret->ratelimit_reset = head->kept[RESET];
}

#include "jget.h"

#include <errno.h>
#include <string.h>
#include <unistr.h>

bool jget_is_utf8(const char *s, size_t len)
{
	return u8_check((const uint8_t *)s, len) == NULL;
}

static void free_tokener(struct json_tokener **tok)
{
	if (*tok)
		json_tokener_free(*tok);
}

int jget_parse(const char *text, size_t len, struct json_object **ret)
{
	auto_call(free_tokener) struct json_tokener *tok = json_tokener_new_ex(JGET_DEPTH_MAX);
	struct json_object *obj;

	if (!tok)
		return -ENOMEM;
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	if (len == 0 || len > INT32_MAX)
		return -EBADMSG;
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	obj = json_tokener_parse_ex(tok, text, (int)len);
	if (json_tokener_get_error(tok) != json_tokener_success) {
		json_object_put(obj);
		return -EBADMSG;
	}
	/* White space may follow, nothing else. */
	for (size_t i = json_tokener_get_parse_end(tok); i < len; i++) {
		if (!strchr(" \t\r\n", text[i]) || text[i] == '\0') {
			json_object_put(obj);
			return -EBADMSG;
		}
	}
	*ret = obj;
	return 0;
}

static int member_of(struct json_object *obj, const char *key, enum json_type type,
		     struct json_object **ret)
{
	struct json_object *member;

	if (!json_object_is_type(obj, json_type_object))
		return -EBADMSG;
	if (!json_object_object_get_ex(obj, key, &member) || !member)
		return JGET_ABSENT;
	if (!json_object_is_type(member, type))
		return -EBADMSG;
	*ret = member;
	return 0;
}

int jget_bytes(struct json_object *obj, const char *key, size_t max, const char **ret,
	       size_t *ret_len)
{
	struct json_object *member;
	int r = member_of(obj, key, json_type_string, &member);
	const char *s;
	size_t len;

	if (r != 0)
		return r;
	s = json_object_get_string(member);
	len = (size_t)json_object_get_string_len(member);
	if (len > max)
		return -EBADMSG;
	*ret = s;
	*ret_len = len;
	return 0;
}

int jget_str(struct json_object *obj, const char *key, size_t max, const char **ret)
{
	const char *s;
	size_t len;
	int r = jget_bytes(obj, key, max, &s, &len);

	if (r != 0)
		return r;
	if (memchr(s, '\0', len) || !jget_is_utf8(s, len))
		return -EBADMSG;
	*ret = s;
	return 0;
}

int jget_i64(struct json_object *obj, const char *key, int64_t *ret)
{
	struct json_object *member;
	int r = member_of(obj, key, json_type_int, &member);
	int64_t v;

	if (r != 0)
		return r;
	v = json_object_get_int64(member);
	/* json-c clamps on overflow and says so nowhere, so the ends of the range are refused. */
	if (v == INT64_MAX || v == INT64_MIN)
		return -EBADMSG;
	*ret = v;
	return 0;
}

int jget_u64(struct json_object *obj, const char *key, uint64_t *ret)
{
	int64_t v;
	int r = jget_i64(obj, key, &v);

	if (r != 0)
		return r;
	if (v < 0)
		return -EBADMSG;
	*ret = (uint64_t)v;
	return 0;
}

int jget_bool(struct json_object *obj, const char *key, bool *ret)
{
	struct json_object *member;
	int r = member_of(obj, key, json_type_boolean, &member);

	if (r == 0)
		*ret = json_object_get_boolean(member);
	return r;
}

int jget_obj(struct json_object *obj, const char *key, struct json_object **ret)
{
	return member_of(obj, key, json_type_object, ret);
}

int jget_arr(struct json_object *obj, const char *key, struct json_object **ret)
{
	return member_of(obj, key, json_type_array, ret);
}

/* Reads exactly n digits; -1 when there is something else. */
static int digits(const char **at, int n)
{
	int v = 0;

	for (; n > 0; n--, (*at)++) {
		if (**at < '0' || **at > '9')
			return -1;
		v = v * 10 + (**at - '0');
	}
	return v;
}

static bool skip(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar (years from 0 on): counts whole years
 * from a March, so that the leap day is the last of the year. */
static int64_t days_of(int year, int month, int day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t m = month > 2 ? month - 3 : month + 9;

	return y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1 - 719468;
}

static int fraction_ns(const char **at, int64_t *ret)
{
	int64_t ns = 0;
	int n = 0;

	if (skip(at, '.')) {
		for (; **at >= '0' && **at <= '9'; (*at)++, n++)
			if (n < 9)
				ns = ns * 10 + (**at - '0');
		if (n == 0)
			return -EBADMSG;
		for (; n < 9; n++)
			ns *= 10;
	}
	*ret = ns;
	return 0;
}

int jget_parse_time(const char *text, int64_t *ret_ns)
{
	const char *at = text;
	int year, month, day, hour, minute, second;
	int64_t ns;

	if ((year = digits(&at, 4)) < 0 || !skip(&at, '-') || (month = digits(&at, 2)) < 1 ||
	    month > 12 || !skip(&at, '-') || (day = digits(&at, 2)) < 1 || day > 31)
		return -EBADMSG;
	if (!(skip(&at, 'T') || skip(&at, 't')) || (hour = digits(&at, 2)) < 0 || hour > 23 ||
	    !skip(&at, ':') || (minute = digits(&at, 2)) < 0 || minute > 59 || !skip(&at, ':') ||
	    (second = digits(&at, 2)) < 0 || second > 60)
		return -EBADMSG;
	if (fraction_ns(&at, &ns) < 0 || !(skip(&at, 'Z') || skip(&at, 'z')) || *at != '\0')
		return -EBADMSG;
	/* 2262 is where 64 bits of nanoseconds end. */
	if (year < 1970 || year > 2261)
		return JGET_ABSENT;
	*ret_ns = ((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 * 1000000000 +
		  (int64_t)second * 1000000000 + ns;
	return 0;
}

int jget_time(struct json_object *obj, const char *key, int64_t *ret_ns)
{
	const char *text;
	int r = jget_str(obj, key, 64, &text);

	/* An empty date is another spelling of none. */
	if (r == 0 && text[0] == '\0')
		return JGET_ABSENT;
	return r != 0 ? r : jget_parse_time(text, ret_ns);
}

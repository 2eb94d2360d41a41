#include "jnode.h"

#include "jget.h"

#include <errno.h>
#include <string.h>

/* 20,000 items of 200 values each; a hostile body cannot take more memory than that. */
enum { NODES_MAX = 4 * 1000 * 1000, NODES_FIRST = 64, REPLACEMENT = 0xfffd };

/* Reads and writes one buffer: a string is never longer than what stands for it, so it is decoded
 * where it is, and its end takes the place of the closing quote. */
struct reader {
	struct jnode_doc *doc;
	char *at;
	const char *end; /* *end is NUL */
};

static int read_value(struct reader *r, int depth);

static void skip_space(struct reader *r)
{
	while (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')
		r->at++;
}

static int add(struct reader *r, enum jnode_type type, struct jnode **ret)
{
	struct jnode_doc *doc = r->doc;

	if (doc->n == doc->cap) {
		size_t cap = doc->cap ? doc->cap * 2 : NODES_FIRST;
		struct jnode *nodes;

		if (doc->n >= NODES_MAX)
			return -EBADMSG;
		nodes = realloc(doc->nodes, cap * sizeof(*nodes));
		if (!nodes)
			return -ENOMEM;
		doc->nodes = nodes;
		doc->cap = cap;
	}
	*ret = &doc->nodes[doc->n++];
	**ret = (struct jnode){ .type = type, .span = 1 };
	return 0;
}

static int read_hex(const char *at)
{
	int v = 0;

	for (int i = 0; i < 4; i++) {
		char c = at[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;

		if (digit < 0)
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

static char *put_utf8(char *to, int c)
{
	if (c < 0x80) {
		*to++ = (char)c;
	} else if (c < 0x800) {
		*to++ = (char)(0xc0 | c >> 6);
		*to++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*to++ = (char)(0xe0 | c >> 12);
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	} else {
		*to++ = (char)(0xf0 | c >> 18);
		*to++ = (char)(0x80 | (c >> 12 & 0x3f));
		*to++ = (char)(0x80 | (c >> 6 & 0x3f));
		*to++ = (char)(0x80 | (c & 0x3f));
	}
	return to;
}

/* At the digits after \u. Half of a pair that is alone becomes U+FFFD. */
static int read_unicode(struct reader *r, char **to)
{
	int c = read_hex(r->at), low;

	if (c < 0)
		return -EBADMSG;
	r->at += 4;
	if (c >= 0xd800 && c < 0xdc00) {
		low = r->at[0] == '\\' && r->at[1] == 'u' ? read_hex(r->at + 2) : 0;
		if (low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			r->at += 6;
		}
	}
	*to = put_utf8(*to, c >= 0xd800 && c < 0xe000 ? REPLACEMENT : c);
	return 0;
}

/* At the byte after a backslash. */
static int read_escape(struct reader *r, char **to)
{
	static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
	const char *name;

	if (*r->at == 'u') {
		r->at++;
		return read_unicode(r, to);
	}
	name = *r->at ? strchr(names, *r->at) : NULL;
	if (!name)
		return -EBADMSG;
	*(*to)++ = values[name - names];
	r->at++;
	return 0;
}

/* At the opening quote. */
static int read_string(struct reader *r)
{
	char *from = ++r->at, *to;
	struct jnode *node;
	int code;

	while (*r->at != '"' && *r->at != '\\' && *r->at != '\0')
		r->at++;
	for (to = r->at; *r->at != '"';) {
		if (*r->at == '\0')
			return -EBADMSG;
		if (*r->at != '\\') {
			*to++ = *r->at++;
			continue;
		}
		r->at++;
		code = read_escape(r, &to);
		if (code < 0)
			return code;
	}
	r->at++;
	*to = '\0';
	code = add(r, JNODE_STRING, &node);
	if (code < 0)
		return code;
	node->text = from;
	node->len = (uint32_t)(to - from);
	return 0;
}

static int read_word(struct reader *r, const char *word, enum jnode_type type, int64_t value)
{
	size_t len = strlen(word);
	struct jnode *node;
	int code;

	if (strncmp(r->at, word, len) != 0)
		return -EBADMSG;
	r->at += len;
	code = add(r, type, &node);
	if (code == 0)
		node->number = value;
	return code;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int skip_digits(struct reader *r)
{
	if (!is_digit(*r->at))
		return -EBADMSG;
	while (is_digit(*r->at))
		r->at++;
	return 0;
}

/* The fraction and the exponent of a number, if it has them. */
static int skip_real(struct reader *r, bool *ret_is_real)
{
	*ret_is_real = false;
	if (*r->at == '.') {
		*ret_is_real = true;
		r->at++;
		if (skip_digits(r) < 0)
			return -EBADMSG;
	}
	if (*r->at == 'e' || *r->at == 'E') {
		*ret_is_real = true;
		r->at++;
		if (*r->at == '+' || *r->at == '-')
			r->at++;
		return skip_digits(r);
	}
	return 0;
}

static int read_number(struct reader *r)
{
	bool is_negative = *r->at == '-', is_real, is_over = false;
	int64_t v = 0; /* below zero: that range is the larger one */
	struct jnode *node;
	int code;

	r->at += is_negative;
	if (*r->at == 'I')
		return read_word(r, "Infinity", JNODE_REAL, 0);
	if (!is_digit(*r->at) || (r->at[0] == '0' && is_digit(r->at[1])))
		return -EBADMSG;
	for (; is_digit(*r->at); r->at++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_sub_overflow(v, *r->at - '0', &v))
			is_over = true;
	if (skip_real(r, &is_real) < 0)
		return -EBADMSG;
	code = add(r, is_real ? JNODE_REAL : JNODE_INT, &node);
	if (code < 0)
		return code;
	if (is_over || (!is_negative && v == INT64_MIN))
		node->number = is_negative ? INT64_MIN : INT64_MAX;
	else
		node->number = is_negative ? v : -v;
	return 0;
}

static int read_member(struct reader *r, int depth)
{
	int code;

	if (*r->at != '"')
		return -EBADMSG;
	code = read_string(r);
	if (code < 0)
		return code;
	skip_space(r);
	if (*r->at != ':')
		return -EBADMSG;
	r->at++;
	return read_value(r, depth);
}

/* An object or an array: at its opening bracket. */
static int read_group(struct reader *r, int depth, enum jnode_type type)
{
	char closing = type == JNODE_OBJECT ? '}' : ']';
	size_t self = r->doc->n;
	uint32_t values_n = 0;
	struct jnode *node;
	int code = add(r, type, &node);

	r->at++;
	skip_space(r);
	if (code == 0 && *r->at == closing) {
		r->at++;
		return 0;
	}
	while (code == 0) {
		code = type == JNODE_OBJECT ? read_member(r, depth) : read_value(r, depth);
		values_n++;
		skip_space(r);
		if (code < 0 || *r->at != ',')
			break;
		r->at++;
		skip_space(r);
	}
	if (code < 0 || *r->at != closing)
		return code < 0 ? code : -EBADMSG;
	r->at++;
	r->doc->nodes[self].span = (uint32_t)(r->doc->n - self);
	r->doc->nodes[self].len = values_n;
	return 0;
}

static int read_value(struct reader *r, int depth)
{
	skip_space(r);
	switch (*r->at) {
	case '{':
	case '[':
		if (depth == JGET_DEPTH_MAX)
			return -EBADMSG;
		return read_group(r, depth + 1, *r->at == '{' ? JNODE_OBJECT : JNODE_ARRAY);
	case '"':
		return read_string(r);
	case 't':
		return read_word(r, "true", JNODE_BOOL, 1);
	case 'f':
		return read_word(r, "false", JNODE_BOOL, 0);
	case 'n':
		return read_word(r, "null", JNODE_NULL, 0);
	case 'N':
		return read_word(r, "NaN", JNODE_REAL, 0);
	case 'I':
		return read_word(r, "Infinity", JNODE_REAL, 0);
	default:
		return read_number(r);
	}
}

int jnode_parse(const char *text, size_t len, struct jnode_doc *ret)
{
	auto_call(jnode_fini) struct jnode_doc doc = { 0 };
	struct reader r = { .doc = &doc };
	int code;

	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
		text += 3;
		len -= 3;
	}
	if (len == 0 || len > INT32_MAX)
		return -EBADMSG;
	doc.text = malloc(len + 1);
	if (!doc.text)
		return -ENOMEM;
	memcpy(doc.text, text, len);
	doc.text[len] = '\0';
	r.at = doc.text;
	r.end = doc.text + len;
	code = read_value(&r, 0);
	if (code < 0)
		return code;
	skip_space(&r);
	if (r.at != r.end)
		return -EBADMSG;
	*ret = doc;
	doc = (struct jnode_doc){ 0 };
	return 0;
}

void jnode_fini(struct jnode_doc *doc)
{
	free(doc->text);
	free(doc->nodes);
	*doc = (struct jnode_doc){ 0 };
}

int jnode_member(const struct jnode *obj, const char *key, const struct jnode **ret)
{
	const struct jnode *found = NULL, *name = obj + 1, *end = obj + obj->span;
	size_t len = strlen(key);

	if (obj->type != JNODE_OBJECT)
		return -EBADMSG;
	while (name < end) {
		if (name->len == len && memcmp(name->text, key, len) == 0)
			found = name + 1;
		name = jnode_next(name + 1);
	}
	if (!found || found->type == JNODE_NULL)
		return JGET_ABSENT;
	*ret = found;
	return 0;
}

static int member_of(const struct jnode *obj, const char *key, enum jnode_type type,
		     const struct jnode **ret)
{
	const struct jnode *member;
	int r = jnode_member(obj, key, &member);

	if (r != 0)
		return r;
	if (member->type != type)
		return -EBADMSG;
	*ret = member;
	return 0;
}

int jnode_bytes(const struct jnode *obj, const char *key, size_t max, const char **ret,
		size_t *ret_len)
{
	const struct jnode *member;
	int r = member_of(obj, key, JNODE_STRING, &member);

	if (r != 0)
		return r;
	if (member->len > max)
		return -EBADMSG;
	*ret = member->text;
	*ret_len = member->len;
	return 0;
}

int jnode_str(const struct jnode *obj, const char *key, size_t max, const char **ret)
{
	const char *s;
	size_t len;
	int r = jnode_bytes(obj, key, max, &s, &len);

	if (r != 0)
		return r;
	if (memchr(s, '\0', len) || !jget_is_utf8(s, len))
		return -EBADMSG;
	*ret = s;
	return 0;
}

int jnode_i64(const struct jnode *obj, const char *key, int64_t *ret)
{
	const struct jnode *member;
	int r = member_of(obj, key, JNODE_INT, &member);

	if (r != 0)
		return r;
	/* What is out of range was brought to its ends, so these are refused. */
	if (member->number == INT64_MAX || member->number == INT64_MIN)
		return -EBADMSG;
	*ret = member->number;
	return 0;
}

int jnode_obj(const struct jnode *obj, const char *key, const struct jnode **ret)
{
	return member_of(obj, key, JNODE_OBJECT, ret);
}

int jnode_arr(const struct jnode *obj, const char *key, const struct jnode **ret)
{
	return member_of(obj, key, JNODE_ARRAY, ret);
}

int jnode_time(const struct jnode *obj, const char *key, int64_t *ret_ns)
{
	const char *text;
	int r = jnode_str(obj, key, 64, &text);

	/* An empty date is another spelling of none. */
	if (r == 0 && text[0] == '\0')
		return JGET_ABSENT;
	return r != 0 ? r : jget_parse_time(text, ret_ns);
}

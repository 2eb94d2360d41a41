#include "names.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistr.h>

enum { HASH_DIGITS = 16, TAIL_BYTES = HASH_DIGITS + 1, EXTENSION_MAX = 16 };

/* FNV-1a: stable over versions and machines, which is all that is asked of it. */
static uint64_t hash_of(const char *data, size_t len)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
	return h;
}

static int hex_value(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Only what could be an escape: "%20" in a name is what it is. */
static bool looks_escaped(const char *s, size_t left)
{
	int c;

	if (left < 3 || s[0] != '%' || hex_value(s[1]) < 0 || hex_value(s[2]) < 0)
		return false;
	c = hex_value(s[1]) * 16 + hex_value(s[2]);
	return c < 0x20 || c >= 0x7f || c == '/' || c == '%' || c == '.';
}

/* Bytes of the character at s that may be shown as they are; 0: escape the first one. */
static size_t plain_bytes(const char *s, size_t left)
{
	ucs4_t c;
	int n = u8_mbtoucr(&c, (const uint8_t *)s, left);

	if (n < 0 || c < 0x20 || (c >= 0x7f && c < 0xa0) || c == '/' || looks_escaped(s, left))
		return 0;
	return (size_t)n;
}

/* Names that mean something else as they are: "%" alone shows the empty name. */
static bool is_taken(const char *name, size_t len)
{
	return (len == 1 && name[0] == '%') || (len == 1 && name[0] == '.') ||
	       (len == 2 && name[0] == '.' && name[1] == '.');
}

void names_show(const char *name, size_t len, char ret[NAMES_MAX_BYTES + 1])
{
	/* Where a cut would have to be made, if the name turns out to be too long. */
	size_t used = 0, cut = 0;
	bool taken = is_taken(name, len);

	if (len == 0) {
		memcpy(ret, "%", 2);
		return;
	}
	for (size_t i = 0; i < len;) {
		size_t n = taken ? 0 : plain_bytes(name + i, len - i);
		size_t wide = n > 0 ? n : 3;

		if (used + wide > NAMES_MAX_BYTES) {
			snprintf(ret + cut, TAIL_BYTES + 1, "~%016llx",
				 (unsigned long long)hash_of(name, len));
			return;
		}
		if (n > 0)
			memcpy(ret + used, name + i, n);
		else
			snprintf(ret + used, 4, "%%%02X", (unsigned char)name[i]);
		used += wide;
		i += n > 0 ? n : 1;
		if (used + TAIL_BYTES <= NAMES_MAX_BYTES)
			cut = used;
	}
	ret[used] = '\0';
}

int names_unshow(const char *shown, char **ret, size_t *ret_len)
{
	size_t len = strlen(shown), used = 0;
	auto_free char *out = malloc(len + 1);
	char again[NAMES_MAX_BYTES + 1];

	if (!out)
		return -ENOMEM;
	if (strcmp(shown, "%") != 0) {
		for (size_t i = 0; i < len;) {
			bool escaped = looks_escaped(shown + i, len - i);

			out[used++] = escaped ? (char)(hex_value(shown[i + 1]) * 16 +
						       hex_value(shown[i + 2]))
					      : shown[i];
			i += escaped ? 3 : 1;
		}
	}
	out[used] = '\0';
	names_show(out, used, again);
	if (strcmp(again, shown) != 0)
		return -EINVAL;
	*ret = take_ptr(&out);
	*ret_len = used;
	return 0;
}

/* The longest beginning of s with at most max bytes that ends with a character. */
static size_t cut_at_character(const char *s, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((unsigned char)s[max] & 0xc0) == 0x80)
		max--;
	return max;
}

void names_mark(const char *shown, const char *mark, char ret[NAMES_MAX_BYTES + 1])
{
	const char *dot = strrchr(shown, '.');
	size_t len = strlen(shown);
	size_t stem = dot && dot != shown && len - (size_t)(dot - shown) <= EXTENSION_MAX
			      ? (size_t)(dot - shown)
			      : len;
	size_t max = NAMES_MAX_BYTES - strlen(mark) - 3 - (len - stem);

	snprintf(ret, NAMES_MAX_BYTES + 1, "%.*s (%s)%s", (int)cut_at_character(shown, stem, max),
		 shown, mark, shown + stem);
}

void names_distinguish(const char *shown, const char *id, unsigned nth,
		       char ret[NAMES_MAX_BYTES + 1])
{
	char mark[HASH_DIGITS + 1];

	snprintf(mark, sizeof(mark), "%016" PRIx64, hash_of(id, strlen(id)) + nth);
	names_mark(shown, mark, ret);
}

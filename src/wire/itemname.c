#include "itemname.h"

#include "jget.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>
#include <unicase.h>
#include <unistr.h>

/* One character, and how many bytes it takes; a byte that is not UTF-8 is a character beyond all
 * others, so that it is equal to itself only. */
static size_t next_char(const char *at, size_t left, ucs4_t *ret)
{
	int n = u8_mbtoucr(ret, (const uint8_t *)at, left);

	if (n > 0)
		return (size_t)n;
	*ret = 0x110000 + (unsigned char)*at;
	return 1;
}

/* Both ways, because either alone leaves some pairs apart. The Turkish letters are nobody's other
 * case outside of Turkish. */
static ucs4_t fold_char(ucs4_t c)
{
	if (c < 0x80)
		return c >= 'A' && c <= 'Z' ? c + 32 : c;
	return c == 0x130 || c == 0x131 || c > 0x10ffff ? c : uc_tolower(uc_toupper(c));
}

size_t itemname_units(const char *name, size_t len)
{
	size_t units = 0;
	ucs4_t c;

	for (size_t at = 0; at < len; units++) {
		at += next_char(name + at, len - at, &c);
		units += c >= 0x10000 && c <= 0x10ffff;
	}
	return units;
}

bool itemname_is_same(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t i = 0, j = 0;

	while (i < a_len && j < b_len) {
		ucs4_t x, y;

		i += next_char(a + i, a_len - i, &x);
		j += next_char(b + j, b_len - j, &y);
		if (fold_char(x) != fold_char(y))
			return false;
	}
	return i == a_len && j == b_len;
}

char *itemname_fold(const char *name, size_t len, size_t *ret_len)
{
	/* A character of two bytes may become one of three, none grows more. */
	size_t size = 2 * len + 1, n = 0;
	uint8_t *out = malloc(size);
	ucs4_t c;

	for (size_t at = 0, step; out && at < len; at += step) {
		int wrote;

		step = next_char(name + at, len - at, &c);
		wrote = c > 0x10ffff ? -1 : u8_uctomb(out + n, fold_char(c), (int)(size - n));
		if (wrote < 0)
			out[n++] = (uint8_t)name[at];
		else
			n += (size_t)wrote;
	}
	if (!out)
		return NULL;
	out[n] = '\0';
	*ret_len = n;
	return (char *)out;
}

static bool is_word(const char *name, size_t len, const char *word)
{
	return len == strlen(word) && strncasecmp(name, word, len) == 0;
}

/* The names of devices, alone or before any extension. */
static bool is_device(const char *name, size_t len)
{
	static const char *const words[] = { "CON", "PRN", "AUX", "NUL" };
	const char *dot = memchr(name, '.', len);
	size_t n = dot ? (size_t)(dot - name) : len;

	for (size_t i = 0; i < array_n(words); i++)
		if (is_word(name, n, words[i]))
			return true;
	return n == 4 && name[3] >= '0' && name[3] <= '9' &&
	       (is_word(name, 3, "COM") || is_word(name, 3, "LPT"));
}

static const char *find_bad_char(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < ' ' || c == 0x7f)
			return "control characters are not allowed in names";
		if (strchr("\"*:<>?/\\|", c))
			return "\" * : < > ? / \\ | are not allowed in names";
	}
	return NULL;
}

static const char *find_bad_end(const char *name, size_t len)
{
	if (name[0] == ' ')
		return "names may not begin with a space";
	if (name[len - 1] == ' ')
		return "names may not end with a space";
	return name[len - 1] == '.' ? "names may not end with a dot" : NULL;
}

static bool contains(const char *name, size_t len, const char *word)
{
	for (size_t i = 0, n = strlen(word); i + n <= len; i++)
		if (strncasecmp(name + i, word, n) == 0)
			return true;
	return false;
}

static const char *find_reserved(const char *name, size_t len, const struct itemname_place *place)
{
	if (is_device(name, len))
		return "the name of a device is reserved";
	if (is_word(name, len, ".lock") || is_word(name, len, "desktop.ini"))
		return "the name is reserved by the service";
	if (contains(name, len, "_vti_"))
		return "\"_vti_\" is reserved in names";
	if (len >= 2 && memcmp(name, "~$", 2) == 0)
		return "names may not begin with \"~$\"";
	if (place->is_folder && name[0] == '~')
		return "names of folders may not begin with \"~\"";
	if (place->is_in_root && !place->is_personal && is_word(name, len, "forms"))
		return "\"forms\" is reserved in the root of a library";
	return NULL;
}

static int refuse(int error, const char *why, const char **ret_why)
{
	if (ret_why)
		*ret_why = why;
	return error;
}

int itemname_check(const char *name, size_t len, const struct itemname_place *place,
		   const char **ret_why)
{
	const char *why;

	if (len == 0)
		return refuse(-EINVAL, "a name may not be empty", ret_why);
	if (len > ITEMNAME_BYTES_MAX || itemname_units(name, len) > ITEMNAME_UNITS_MAX)
		return refuse(-ENAMETOOLONG, "names have 255 characters at most", ret_why);
	if (!jget_is_utf8(name, len))
		return refuse(-EILSEQ, "names must be UTF-8", ret_why);
	why = find_bad_char(name, len);
	why = why ? why : find_bad_end(name, len);
	why = why ? why : find_reserved(name, len, place);
	return why ? refuse(-EINVAL, why, ret_why) : 0;
}

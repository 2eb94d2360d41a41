#include "simname.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistr.h>

enum { NAME_MAX_UNITS = 255, PATH_MAX_UNITS = 400 };

static bool is_reserved(const char *name, size_t len)
{
	static const char *const words[] = { "CON", "PRN", "AUX", "NUL" };
	size_t stem = strcspn(name, ".");

	if (stem > len)
		stem = len;
	for (size_t i = 0; stem == 3 && i < array_n(words); i++)
		if (strncasecmp(name, words[i], 3) == 0)
			return true;
	if (stem == 4 && name[3] >= '0' && name[3] <= '9' &&
	    (strncasecmp(name, "COM", 3) == 0 || strncasecmp(name, "LPT", 3) == 0))
		return true;
	return strcasecmp(name, ".lock") == 0 || strcasecmp(name, "desktop.ini") == 0;
}

static bool has_bad_character(const char *name, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (c < 0x20 || c == 0x7f || strchr("\"*:<>?/\\|", c))
			return true;
	}
	return u8_check((const uint8_t *)name, len) != NULL;
}

/* UTF-16 units of valid UTF-8: one a character, two beyond the first plane. */
static size_t units(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) == 0x80 ? 0
		     : (unsigned char)*text >= 0xf0        ? 2
							   : 1;
	return n;
}

const char *simname_check(struct sim *s, uint32_t folder, const char *name, size_t len,
			  bool is_folder)
{
	const struct simtree_item *up = simtree_get(&s->tree, folder);
	auto_free char *above = simtree_path(&s->tree, folder);
	bool is_library = sim_flavour(s, up->drive) == SIMID_LIBRARY;

	if (len == 0 || strlen(name) != len || has_bad_character(name, len))
		return "invalidPath";
	if (name[0] == ' ' || name[len - 1] == ' ' || name[len - 1] == '.')
		return "invalidPath";
	if (is_reserved(name, len) || strncmp(name, "~$", 2) == 0 || strcasestr(name, "_vti_") ||
	    (is_folder && name[0] == '~'))
		return "invalidPath";
	if (is_library && (up->flags & SIMTREE_ROOT) && strcasecmp(name, "forms") == 0)
		return "invalidPath";
	if (units(name) > NAME_MAX_UNITS)
		return "pathIsTooLong";
	return units(above) + (above[0] != '\0') + units(name) > PATH_MAX_UNITS ? "pathIsTooLong"
										: NULL;
}

char *simname_free(struct sim *s, uint32_t folder, const char *name, bool is_folder)
{
	const char *dot = is_folder ? NULL : strrchr(name, '.');
	size_t stem = dot && dot != name ? (size_t)(dot - name) : strlen(name);
	struct simjson text = { 0 };

	for (unsigned i = 1;; i++) {
		simjson_clear(&text);
		simjson_raw(&text, name, stem);
		simjson_format(&text, " %u%s", i, name + stem);
		if (!simtree_child(&s->tree, folder, text.data, text.len))
			return text.data;
	}
}

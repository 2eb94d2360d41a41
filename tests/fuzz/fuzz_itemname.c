/* Names: the first byte says where, the second where the rest is cut into two names. */
#include "itemname.h"
#include "jget.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void check_one(const char *name, size_t len, unsigned place)
{
	struct itemname_place p = { .is_folder = place & 1,
				    .is_in_root = place & 2,
				    .is_personal = place & 4 };
	const char *why = NULL;
	int r = itemname_check(name, len, &p, &why);

	if (r != 0 && r != -EINVAL && r != -EILSEQ && r != -ENAMETOOLONG)
		__builtin_trap();
	if ((r == 0) != (why == NULL))
		__builtin_trap();
	if (r == 0 && (len == 0 || memchr(name, '/', len) || memchr(name, '\0', len) ||
		       !jget_is_utf8(name, len) || itemname_units(name, len) > ITEMNAME_UNITS_MAX))
		__builtin_trap();
}

/* Two names are the same exactly when they have one folded form; which is its own. */
static void check_two(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t x_len = 0, y_len = 0;
	auto_free char *x = itemname_fold(a, a_len, &x_len);
	auto_free char *y = itemname_fold(b, b_len, &y_len);
	bool same;

	if (!x || !y)
		return;
	same = x_len == y_len && memcmp(x, y, x_len) == 0;
	if (same != itemname_is_same(a, a_len, b, b_len) || !itemname_is_same(a, a_len, x, x_len))
		__builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	const char *text = (const char *)data + 2;
	size_t cut;

	if (len < 2)
		return 0;
	len -= 2;
	cut = len > 0 ? data[1] % (len + 1) : 0;
	check_one(text, len, data[0]);
	check_two(text, cut, text + cut, len - cut);
	return 0;
}

/*
 * Names of the service as names of a directory. What the kernel or a terminal cannot hold is
 * escaped, reversibly: "%" and two hex digits for '/', NUL and the other control characters, for
 * bytes that are no UTF-8, for the names ".", ".." and "%", and for a '%' that begins what would
 * be such an escape (so that no other name looks escaped; "%20" is shown as it is). A name longer
 * than 255 bytes is cut at a character and gets "~" and 16 hex digits of its hash; it is not
 * reversible, but stable. Any thread.
 *
 * A directory entry with '/' or an empty name makes the kernel fail the whole listing.
 */
#pragma once

#include "mem.h"

#include <stddef.h>

enum { NAMES_MAX_BYTES = 255 };

/* ret: NUL-terminated. The empty name is shown as "%". */
void names_show(const char *name, size_t len, char ret[NAMES_MAX_BYTES + 1]);
/* The other way; -EINVAL for a name that names_show() never gives. ret: caller frees. */
must_check int names_unshow(const char *shown, char **ret, size_t *ret_len);
/* "stem (mark).ext", the stem cut to fit. mark: at most 128 bytes. */
void names_mark(const char *shown, const char *mark, char ret[NAMES_MAX_BYTES + 1]);
/* "stem (hash of id).ext": for the second of two siblings that are shown alike. nth: another hash,
 * for when somebody has that name too. */
void names_distinguish(const char *shown, const char *id, unsigned nth,
		       char ret[NAMES_MAX_BYTES + 1]);

/*
 * Names of items: which ones the service takes, and which two it takes for the same.
 * Pure functions; any thread.
 *
 * A name that passes here can still be refused by the service (a tenant's own rules, and character
 * references such as "&#65;", which some flavours cannot hold); one that does not pass would be.
 *
 * Source: support.microsoft.com "Restrictions and limitations in OneDrive and SharePoint";
 * learn.microsoft.com "Addressing resources in a drive".
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	ITEMNAME_UNITS_MAX = 255,      /* of one name, in UTF-16 units */
	ITEMNAME_PATH_UNITS_MAX = 400, /* of a whole path from the drive's root, slashes included */
	ITEMNAME_BYTES_MAX = 3 * ITEMNAME_UNITS_MAX,
};

/* Where the item is to be. */
struct itemname_place {
	bool is_folder;   /* it is one itself */
	bool is_in_root;  /* its parent is the root of the drive */
	bool is_personal; /* the drive is a person's own; false: of an organisation, or unknown */
};

/* 0; -EILSEQ the bytes are not UTF-8 | -ENAMETOOLONG | -EINVAL a rule forbids the name. On failure
 * ret_why, if given, is a constant text that says which rule, to follow "NAME: ". */
must_check int itemname_check(const char *name, size_t len, const struct itemname_place *place,
			      const char **ret_why);

/* The length in UTF-16 units, which is what the service counts; a byte that is not UTF-8 counts as
 * one. Paths: the sum of the names and of the slashes between them, against
 * ITEMNAME_PATH_UNITS_MAX. */
size_t itemname_units(const char *name, size_t len);

/* Do the names differ in case at most? By character, as the service does: no name is longer in
 * the other case, and nothing is normalised. Bytes that are not UTF-8 are only equal to themselves.
 */
bool itemname_is_same(const char *a, size_t a_len, const char *b, size_t b_len);
/* The form of a name that is equal for all names that are the same; the caller frees it, NULL when
 * there is no memory. Not for people: it is in neither case of any language. */
char *itemname_fold(const char *name, size_t len, size_t *ret_len);

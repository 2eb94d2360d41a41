/*
 * Strict reading of large replies. A page of a thousand items is a megabyte, and the loop waits
 * while it is read: here all its values are one array of nodes over one copy of the text, without
 * an allocation for each (json-c took five times as long). jget.h is for everything small.
 * Any thread; no state.
 *
 * Every getter: 0 with the output written | JGET_ABSENT no such member, or null; nothing written |
 * -EBADMSG wrong type, range, encoding, or obj is no object; nothing written. Of members with one
 * name the last counts. Strings are borrowed from the document and end with NUL.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jnode_type {
	JNODE_NULL,
	JNODE_BOOL,
	JNODE_INT,
	JNODE_REAL, /* a number with a fraction or an exponent, or one of the words that careless
		     * writers put there (NaN, Infinity); its value is not kept */
	JNODE_STRING,
	JNODE_OBJECT, /* followed by a string and a value for each member */
	JNODE_ARRAY,  /* followed by its values */
};

struct jnode {
	uint8_t type;  /* enum jnode_type */
	uint32_t span; /* nodes that it takes, itself and what is in it included */
	uint32_t len;  /* bytes of a string; values of an array */
	union {
		const char *text;
		int64_t number; /* the nearest end of the range when out of it; 0 or 1 for BOOL */
	};
};

/* The nodes of one text; the first is the outermost value. */
struct jnode_doc {
	char *text;
	struct jnode *nodes;
	size_t n, cap;
};

/* Parses one JSON text that fills len bytes; depth at most JGET_DEPTH_MAX. A byte order mark is
 * accepted. UTF-8 is the getters' business: one odd name must not make a whole page unreadable.
 * -EBADMSG, -ENOMEM. The caller finishes *ret. */
must_check int jnode_parse(const char *text, size_t len, struct jnode_doc *ret);
void jnode_fini(struct jnode_doc *doc);

/* A member of any type but null. */
must_check int jnode_member(const struct jnode *obj, const char *key, const struct jnode **ret);
/* A string without NUL, at most max bytes, valid UTF-8. */
must_check int jnode_str(const struct jnode *obj, const char *key, size_t max, const char **ret);
/* Any bytes, NUL and invalid UTF-8 too, for names, which are escaped where they are shown. */
must_check int jnode_bytes(const struct jnode *obj, const char *key, size_t max, const char **ret,
			   size_t *ret_len);
must_check int jnode_i64(const struct jnode *obj, const char *key, int64_t *ret);
must_check int jnode_obj(const struct jnode *obj, const char *key, const struct jnode **ret);
must_check int jnode_arr(const struct jnode *obj, const char *key, const struct jnode **ret);
/* As jget_time(). */
must_check int jnode_time(const struct jnode *obj, const char *key, int64_t *ret_ns);

/* What follows a value in its array. */
static inline const struct jnode *jnode_next(const struct jnode *value)
{
	return value + value->span;
}

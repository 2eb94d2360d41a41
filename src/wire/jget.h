/*
 * Strict reading of JSON from the service. json-c cuts strings at NUL for careless callers,
 * saturates numbers, takes "12" for 12 and accepts invalid UTF-8; here every read checks type,
 * range, length and encoding. Any thread; no state.
 *
 * Every getter: 0 with the output written | JGET_ABSENT no such member, or null; nothing written |
 * -EBADMSG wrong type, range, encoding; nothing written. Strings are borrowed from obj.
 */
#pragma once

#include "mem.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

enum { JGET_ABSENT = 1 };
enum { JGET_DEPTH_MAX = 32 };

/* Parses one JSON text that fills len bytes; depth at most JGET_DEPTH_MAX. A byte order mark is
 * accepted. UTF-8 is the getters' business: one odd name must not make a whole page unreadable.
 * -EBADMSG, -ENOMEM. The caller puts *ret. */
must_check int jget_parse(const char *text, size_t len, struct json_object **ret);

/* A string without NUL, at most max bytes, valid UTF-8. */
must_check int jget_str(struct json_object *obj, const char *key, size_t max, const char **ret);
/* Any bytes, NUL and invalid UTF-8 too, for names, which are escaped where they are shown. */
must_check int jget_bytes(struct json_object *obj, const char *key, size_t max, const char **ret,
			  size_t *ret_len);
must_check int jget_i64(struct json_object *obj, const char *key, int64_t *ret);
/* Negative is -EBADMSG. */
must_check int jget_u64(struct json_object *obj, const char *key, uint64_t *ret);
must_check int jget_bool(struct json_object *obj, const char *key, bool *ret);
/* obj: the member is an object (facets: present and not null). */
must_check int jget_obj(struct json_object *obj, const char *key, struct json_object **ret);
must_check int jget_arr(struct json_object *obj, const char *key, struct json_object **ret);
/* RFC 3339 in UTC with 0 to 9 fractional digits, as nanoseconds since 1970. Years before 1970,
 * which the service uses for "unknown", are JGET_ABSENT. */
must_check int jget_time(struct json_object *obj, const char *key, int64_t *ret_ns);
must_check int jget_parse_time(const char *text, int64_t *ret_ns);

/* True for well-formed UTF-8 (no surrogates, no overlong forms). */
bool jget_is_utf8(const char *s, size_t len);

/*
 * Writes text and JSON into one growing buffer. graphsim is a tool of tests: when there is no
 * memory left it says so and ends, so nothing here can fail.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct simjson {
	char *data; /* followed by a NUL that is not counted; NULL while nothing was written */
	size_t len, cap;
};

/* malloc and strdup that end the program instead of failing. */
void *simjson_alloc(size_t size);
char *simjson_dup(const char *s);

void simjson_fini(struct simjson *w);
void simjson_clear(struct simjson *w);
/* Makes the text longer by len bytes, for the caller to fill; valid until the next call. */
char *simjson_extend(struct simjson *w, size_t len);
void simjson_raw(struct simjson *w, const void *data, size_t len);
void simjson_text(struct simjson *w, const char *text);
void simjson_format(struct simjson *w, const char *fmt, ...) printf_like(2, 3);

/*
 * Members of objects and elements of arrays: the comma is written when the character before asks
 * for one. key is NULL in an array; keys are constants and are not escaped.
 */
void simjson_open(struct simjson *w, const char *key, char bracket);
void simjson_close(struct simjson *w, char bracket);
/* Bytes from 0x80 pass unchanged, so that invalid UTF-8 can be planted. s NULL: null. */
void simjson_str(struct simjson *w, const char *key, const char *s);
void simjson_strn(struct simjson *w, const char *key, const char *s, size_t len);
void simjson_int(struct simjson *w, const char *key, int64_t value);
void simjson_bool(struct simjson *w, const char *key, bool value);
/* A value that is JSON already. */
void simjson_value(struct simjson *w, const char *key, const char *json);
/* "2024-04-01T10:00:00Z" with 0 to 7 digits of fraction. */
void simjson_time(struct simjson *w, const char *key, int64_t ms, int digits);
void simjson_time_text(char ret[40], int64_t ms, int digits);

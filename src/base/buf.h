/*
 * A byte buffer that grows up to a maximum given when it is made; one byte beyond is -EFBIG, and
 * nothing is appended then. The content is always followed by a NUL that is not counted.
 * Not locked: guarded by its owner.
 */
#pragma once

#include "mem.h"

#include <stdint.h>
#include <stddef.h>

struct buf {
	char *data; /* NULL while nothing was ever appended */
	size_t len, cap, max_bytes;
};

void buf_init(struct buf *b, size_t max_bytes);
/* Frees; the buffer may be used again. NULL-safe on content; may be called twice. */
void buf_fini(struct buf *b);
void buf_clear(struct buf *b);

/* 0, -EFBIG (over max_bytes) or -ENOMEM; unchanged on failure. */
must_check int buf_append(struct buf *b, const void *data, size_t len);
must_check int buf_append_str(struct buf *b, const char *s);
must_check int buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
/* Removes the first n bytes (n <= len). */
void buf_consume(struct buf *b, size_t n);
/* The content as a string the caller owns (empty string for an empty buffer); b is empty after.
 * NULL when there is no memory. */
char *buf_take_str(struct buf *b);

/*
 * The addresses of a host, without waiting: getaddrinfo(3) takes as long as the resolver likes, and
 * cannot be interrupted, so each look-up has a thread of its own that nobody ever waits for.
 *
 * Loop thread; the callback runs on it, never from inside a call.
 */
#pragma once

#include "loop.h"
#include "mem.h"

#include <stddef.h>

enum { RESOLVE_MAX = 8, RESOLVE_TEXT = 64 };

struct resolve;

/* error: 0, or a negative errno: -ENOENT no such host | -ENETDOWN the resolver cannot be reached.
 * addresses: as numbers, in the order to try them; at least one when there is no error. */
typedef void (*resolve_fn)(void *arg, int error, const char (*addresses)[RESOLVE_TEXT], size_t n);

/* host: a name, copied, or an address. */
must_check int resolve_start(struct loop *loop, const char *host, resolve_fn fn, void *arg,
			     struct resolve **ret);
/* Before the callback only: it will not come. Returns at once. NULL-safe. */
void resolve_cancel(struct resolve *resolve);

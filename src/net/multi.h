/*
 * A libcurl multi handle on the loop: its sockets and its timer. Loop thread only.
 *
 * libcurl's callbacks run while it is on the stack, and then no handle may be added or removed:
 * what has to wait for that is done in the turn callback, which comes after libcurl returned.
 */
#pragma once

#include "loop.h"
#include "mem.h"

#include <curl/curl.h>
#include <stdbool.h>

struct multi;

/* on_turn: libcurl has worked; transfers may have ended (curl_multi_info_read). */
must_check int multi_new(struct loop *loop, loop_fn on_turn, void *arg, struct multi **ret);
/* Not from inside on_turn. NULL-safe. */
void multi_free(struct multi *multi);

CURLM *multi_get(struct multi *multi);
/* libcurl, or a callback it made, is on the stack. */
bool multi_is_inside(const struct multi *multi);
/* The same, while the owner calls what libcurl would have called. */
void multi_set_inside(struct multi *multi, bool inside);

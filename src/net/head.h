/*
 * The head of a reply, line by line as libcurl gives it: keeps the headers that graphfs reads,
 * with bounds on each and on all. No I/O; one thread at a time.
 */
#pragma once

#include "http.h"

enum { HEAD_HEADERS = 11 };

struct head {
	char *kept[HEAD_HEADERS];
	size_t bytes;
	bool ended; /* the empty line came */
};

/* Free with head_fini(); zeroed storage is an empty head. */
void head_fini(struct head *head);
/* A line with its end. A status line begins anew: what came before was a 100's or a proxy's.
 * -EFBIG, or -EBADMSG for a Content-Length that is no length or contradicts another. */
must_check int head_add_line(struct head *head, const char *line, size_t len);
/* Fills in the headers; borrowed from head. */
void head_get(const struct head *head, struct http_head *ret);

/*
 * The control socket of a mount: one JSON object a line in, one out. Loop thread.
 * The socket is 0600 in a 0700 directory, and only its owner (or root) is answered. A client that
 * is not done within ten seconds, or is one too many, is hung up on.
 */
#pragma once

#include "loop.h"
#include "mem.h"

#include <json-c/json.h>

struct control;

enum { CONTROL_LINE_MAX = 4096 };

/* Answers a request; the reply is the caller's. */
typedef struct json_object *(*control_fn)(void *arg, const char *command);

must_check int control_new(struct loop *loop, int dir_fd, const char *name, control_fn fn,
			   void *arg, struct control **ret);
/* Closes all, removes the socket, turns the loop until it is gone. NULL-safe. */
void control_free(struct control *control);

/* A client's question (blocking, any thread without the loop): -ENOENT nobody listens there |
 * -EBUSY hung up on | -EAGAIN no answer within ten seconds | -EBADMSG no JSON. */
must_check int control_ask(int dir_fd, const char *name, const char *command,
			   struct json_object **ret);

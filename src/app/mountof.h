/*
 * Asks running mounts something through their control sockets. Blocking; no loop.
 */
#pragma once

#include "mem.h"

#include <json-c/json.h>

enum { MOUNTOF_NAME_MAX = 32 };

/* Asks the mount that holds an absolute path: at the path itself, or at the nearest folder above
 * it. path is cut down to where that is, "" when there is none. ret_name: its socket in dir. Errors
 * as control_ask(); -ENOENT: no mount, or at path there is one that does not answer. */
must_check int mountof_ask(int dir, char *path, const char *command, struct json_object **ret,
			   char ret_name[MOUNTOF_NAME_MAX]);

/* Asks each mount whose socket is in dir, and calls fn with what those say that answer. fn owns
 * nothing. How many did. */
unsigned mountof_ask_all(int dir, const char *command,
			 void (*fn)(void *arg, const char *name, struct json_object *status),
			 void *arg);

/* Says why mountof_ask() failed for path, which the user spelled as word. */
void mountof_complain(const char *word, const char *path, int error);

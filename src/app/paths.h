/*
 * Where things are: the XDG directories, 0700 and ours. Start of the program; any thread.
 */
#pragma once

#include "mem.h"

#include <stdint.h>

enum paths_kind { PATHS_CONFIG, PATHS_STATE, PATHS_CACHE, PATHS_RUNTIME };

/* Opens (makes, 0700) graphfs' directory of this kind, and below it sub, if not NULL. root: instead
 * of the XDG directory; may be NULL. Refuses (-EPERM, logged) a directory that is a link, belongs
 * to somebody else or that others may write to. */
must_check int paths_open(enum paths_kind kind, const char *root, const char *sub, int *ret_fd);
/* The path that a descriptor has, for messages and libraries that want one. Caller frees. */
char *paths_of_fd(int fd);
/* An absolute path without links; the last component need not exist. A dead mount point is taken
 * as it is written. Caller frees. */
must_check int paths_absolute(const char *path, char **ret);
/* A short name for anything, for a file: 16 hex digits. */
void paths_hash(const char *text, char ret[17]);

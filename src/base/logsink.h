/*
 * Where a daemon's log lines go once nobody looks at its standard error: to the journal, or to a
 * file that stays small. One at a time for the whole process. Called before the threads that log
 * need it; lines of any thread go there afterwards.
 */
#pragma once

#include "mem.h"

#include <stddef.h>

/* Where journald listens. */
#define LOGSINK_JOURNAL "/run/systemd/journal/socket"

/*
 * To the journal, as SYSLOG_IDENTIFIER=graphfs with a PRIORITY. A line that the journal does not
 * take at once is lost: logging never waits. -errno: nobody listens there, nothing is changed.
 *
 * Source: systemd, "Native Journal Protocol".
 */
must_check int logsink_journal(const char *socket_path);

/*
 * To a file (0600) in dir_fd, which stays open with it. A file that would grow over max_bytes
 * becomes NAME.1 (the one before goes) and a new one begins. -errno: nothing is changed.
 */
must_check int logsink_file(int dir_fd, const char *name, size_t max_bytes);

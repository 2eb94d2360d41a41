/*
 * Log lines with a level, to stderr (which may lead to journald) or to a sink (logsink.h). Any
 * thread; one line is one write, so lines of two threads never mix.
 *
 * Secrets never reach the log: tokens, notification URLs, pre-authenticated URLs and upload URLs
 * are not passed to it; a URL is printed with log_url(), which keeps scheme, host and path only.
 * Bytes from the service that are not printable (ESC, newline, invalid UTF-8) are escaped.
 *
 * A source file names its module before including this header:
 *   #define LOG_MODULE "delta"
 */
#pragma once

#include "mem.h"

#include <stdbool.h>

#ifndef LOG_MODULE
#define LOG_MODULE "graphfs"
#endif

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Before threads start. Level from GRAPHFS_LOG (error|warn|info|debug), default info; journald
 * when stderr is connected to it (JOURNAL_STREAM), else stderr. */
void log_setup(void);
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
/* Sends later lines to this descriptor (kept, not owned); -1: stderr. */
void log_set_fd(int fd);
/* A person reads standard error: "graphfs: text", warnings and errors only; false: back to lines
 * with time and level, from info on. Nothing happens when GRAPHFS_LOG asks for a level. */
void log_set_plain(bool on);

/* Gets each line whole, escaped, with its newline, "module: text" or with time and level in front;
 * called by any thread, at the same time too. NULL: back to the descriptor. */
typedef void (*log_sink_fn)(enum log_level level, const char *line, size_t len);
void log_set_sink(log_sink_fn fn, bool with_time);

/* How many lines of LOG_LEVEL_ERROR were written: has the trouble been told? Any thread. */
unsigned log_errors_n(void);

void log_write(enum log_level level, const char *module, const char *fmt, ...) printf_like(3, 4);

#define log_error(...) log_write(LOG_LEVEL_ERROR, LOG_MODULE, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, LOG_MODULE, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, LOG_MODULE, __VA_ARGS__)
#define log_debug(...)                                                       \
	do {                                                                 \
		if (log_is_on(LOG_LEVEL_DEBUG))                              \
			log_write(LOG_LEVEL_DEBUG, LOG_MODULE, __VA_ARGS__); \
	} while (0)

/* "scheme://host:port/path" without userinfo, query and fragment, for log lines. The string
 * lives in a buffer of the calling thread until its fourth next call. url may be NULL. */
const char *log_url(const char *url);
/* A text of the service as a terminal may show it: escaped as in the log, and cut at LOG_TEXT_MAX
 * bytes. In one of a few buffers of the thread, as log_url(). */
enum { LOG_TEXT_MAX = 1024 };
const char *log_text(const char *text);

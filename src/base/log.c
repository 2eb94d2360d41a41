#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { LINE_MAX_BYTES = 2048, URL_MAX_BYTES = 512, URL_SLOTS = 4 };

static atomic_int level_now = LOG_LEVEL_INFO;
static atomic_int fd_now = STDERR_FILENO;
/* journald reads a priority from the front of a line of standard error ("<4>"). */
static atomic_bool with_priority;
static atomic_bool plain;
static _Atomic(log_sink_fn) sink_now;
static atomic_bool sink_wants_time;
static atomic_uint errors_n;

static const struct {
	const char *name, *priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", "<3>" },
	[LOG_LEVEL_WARN] = { "warn", "<4>" },
	[LOG_LEVEL_INFO] = { "info", "<6>" },
	[LOG_LEVEL_DEBUG] = { "debug", "<7>" },
};

/* systemd.exec(5): JOURNAL_STREAM holds device and inode of the stream, for this very test. */
static bool stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_setup(void)
{
	const char *wanted = getenv("GRAPHFS_LOG");

	for (size_t i = 0; wanted && i < array_n(levels); i++)
		if (strcmp(wanted, levels[i].name) == 0)
			log_set_level((enum log_level)i);
	with_priority = stderr_is_journal();
}

void log_set_plain(bool on)
{
	if (getenv("GRAPHFS_LOG"))
		return;
	plain = on;
	log_set_level(on ? LOG_LEVEL_WARN : LOG_LEVEL_INFO);
}

void log_set_level(enum log_level level)
{
	level_now = (int)level;
}

bool log_is_on(enum log_level level)
{
	return (int)level <= level_now;
}

void log_set_fd(int fd)
{
	fd_now = fd < 0 ? STDERR_FILENO : fd;
	if (fd >= 0)
		with_priority = false;
}

void log_set_sink(log_sink_fn fn, bool with_time)
{
	sink_wants_time = with_time;
	sink_now = fn;
}

/* Length of the valid, printable UTF-8 character at s, 0 if there is none. */
static size_t printable(const unsigned char *s, size_t len)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;

	if (n == 0 || n > len || s[0] > 0xf4 || s[0] < 0x20 || s[0] == 0x7f)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (n == 2 && s[0] == 0xc2 && s[1] < 0xa0) /* C1 controls */
		return 0;
	return n;
}

/* A terminal or a log reader must not act on what the service sent. */
static size_t escape(char *dst, size_t size, const char *src, size_t len)
{
	size_t used = 0;

	for (size_t i = 0; i < len && used + 5 < size;) {
		size_t n = printable((const unsigned char *)src + i, len - i);

		if (n > 0) {
			memcpy(dst + used, src + i, n);
			used += n;
			i += n;
		} else {
			used += (size_t)snprintf(dst + used, size - used, "\\x%02x",
						 (unsigned char)src[i++]);
		}
	}
	return used;
}

unsigned log_errors_n(void)
{
	return errors_n;
}

static size_t put_time(char *line, size_t size, enum log_level level, const char *module)
{
	struct timespec now;
	struct tm tm;
	char when[32];

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	(void)strftime(when, sizeof(when), "%F %T", &tm);
	return (size_t)snprintf(line, size, "%s.%03ld %s %s: ", when, now.tv_nsec / 1000000,
				levels[level].name, module);
}

static size_t put_prefix(char *line, size_t size, enum log_level level, const char *module,
			 bool has_sink)
{
	if (has_sink ? sink_wants_time : !with_priority && !plain)
		return put_time(line, size, level, module);
	if (has_sink)
		return (size_t)snprintf(line, size, "%s: ", module);
	if (plain)
		return (size_t)snprintf(line, size, "graphfs: ");
	return (size_t)snprintf(line, size, "%s%s: ", levels[level].priority, module);
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
	char text[LINE_MAX_BYTES], line[LINE_MAX_BYTES + 128];
	log_sink_fn sink = sink_now;
	int saved = errno;
	size_t len;
	va_list ap;
	int n;

	if (level == LOG_LEVEL_ERROR)
		errors_n++;
	if (!log_is_on(level))
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = n < 0 ? 0 : (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
	n = (int)put_prefix(line, sizeof(line), level, module, sink != NULL);
	len = (size_t)n + escape(line + n, sizeof(line) - (size_t)n - 1, text, len);
	line[len++] = '\n';
	/* A log that cannot be written has nowhere to be reported. */
	if (sink)
		sink(level, line, len);
	else if (write(fd_now, line, len) < 0)
		(void)0;
	errno = saved;
}

const char *log_text(const char *text)
{
	static _Thread_local char slots[URL_SLOTS][LOG_TEXT_MAX];
	static _Thread_local unsigned next;
	char *out = slots[next++ % URL_SLOTS];

	out[escape(out, LOG_TEXT_MAX, text, strlen(text))] = '\0';
	return out;
}

const char *log_url(const char *url)
{
	static _Thread_local char slots[URL_SLOTS][URL_MAX_BYTES];
	static _Thread_local unsigned next;
	char *out = slots[next++ % URL_SLOTS];
	const char *scheme_end, *host, *at, *end;

	if (!url)
		return "(none)";
	scheme_end = strstr(url, "://");
	if (!scheme_end)
		return "(not a URL)";
	host = scheme_end + 3;
	end = host + strcspn(host, "?#");
	at = memchr(host, '@', strcspn(host, "/?#"));
	if (at)
		host = at + 1;
	snprintf(out, URL_MAX_BYTES, "%.*s://%.*s", (int)(scheme_end - url), url, (int)(end - host),
		 host);
	return out;
}

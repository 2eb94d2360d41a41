#include "simjson.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void *or_end(void *ptr)
{
	if (!ptr) {
		(void)fputs("graphsim: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return ptr;
}

void *simjson_alloc(size_t size)
{
	return or_end(calloc(1, size ? size : 1));
}

char *simjson_dup(const char *s)
{
	return or_end(strdup(s));
}

void simjson_fini(struct simjson *w)
{
	free(w->data);
	*w = (struct simjson){ 0 };
}

void simjson_clear(struct simjson *w)
{
	w->len = 0;
	if (w->data)
		w->data[0] = '\0';
}

static char *grow(struct simjson *w, size_t more)
{
	size_t need = w->len + more + 1;

	if (need > w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 512;

		w->cap = cap > need ? cap : need;
		w->data = or_end(realloc(w->data, w->cap));
	}
	return w->data + w->len;
}

char *simjson_extend(struct simjson *w, size_t len)
{
	char *at = grow(w, len);

	w->len += len;
	w->data[w->len] = '\0';
	return at;
}

void simjson_raw(struct simjson *w, const void *data, size_t len)
{
	char *at = simjson_extend(w, len);

	if (len > 0)
		memcpy(at, data, len);
}

void simjson_text(struct simjson *w, const char *text)
{
	simjson_raw(w, text, strlen(text));
}

void simjson_format(struct simjson *w, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&text, fmt, ap);
	va_end(ap);
	simjson_raw(w, or_end(n < 0 ? NULL : text), (size_t)n);
	free(text);
}

static void begin(struct simjson *w, const char *key)
{
	char last = w->len > 0 ? w->data[w->len - 1] : '{';

	if (last != '{' && last != '[' && last != ':')
		simjson_raw(w, ",", 1);
	if (key) {
		simjson_raw(w, "\"", 1);
		simjson_text(w, key);
		simjson_raw(w, "\":", 2);
	}
}

void simjson_open(struct simjson *w, const char *key, char bracket)
{
	begin(w, key);
	simjson_raw(w, &bracket, 1);
}

void simjson_close(struct simjson *w, char bracket)
{
	simjson_raw(w, &bracket, 1);
}

static void escaped(struct simjson *w, const char *s, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	char *at = grow(w, len * 6);
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '"' || c == '\\') {
			at[n++] = '\\';
			at[n++] = (char)c;
		} else if (c < 0x20) {
			memcpy(at + n, "\\u00", 4);
			at[n + 4] = hex[c >> 4];
			at[n + 5] = hex[c & 15];
			n += 6;
		} else {
			at[n++] = (char)c;
		}
	}
	w->len += n;
	w->data[w->len] = '\0';
}

void simjson_strn(struct simjson *w, const char *key, const char *s, size_t len)
{
	begin(w, key);
	simjson_raw(w, "\"", 1);
	escaped(w, s, len);
	simjson_raw(w, "\"", 1);
}

void simjson_str(struct simjson *w, const char *key, const char *s)
{
	if (s)
		simjson_strn(w, key, s, strlen(s));
	else
		simjson_value(w, key, "null");
}

void simjson_int(struct simjson *w, const char *key, int64_t value)
{
	char digits[24];
	uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		digits[--at] = '-';
	begin(w, key);
	simjson_raw(w, digits + at, sizeof(digits) - at);
}

void simjson_bool(struct simjson *w, const char *key, bool value)
{
	simjson_value(w, key, value ? "true" : "false");
}

void simjson_value(struct simjson *w, const char *key, const char *json)
{
	begin(w, key);
	simjson_text(w, json);
}

static void two_digits(char *at, unsigned value)
{
	at[0] = (char)('0' + value / 10 % 10);
	at[1] = (char)('0' + value % 10);
}

void simjson_time_text(char ret[40], int64_t ms, int digits)
{
	int64_t rest = ms % 1000 < 0 ? ms % 1000 + 1000 : ms % 1000;
	time_t s = (time_t)((ms - rest) / 1000);
	struct tm tm;
	char fraction[8];
	unsigned year;

	gmtime_r(&s, &tm);
	year = (unsigned)tm.tm_year + 1900;
	two_digits(ret, year / 100);
	two_digits(ret + 2, year);
	memcpy(ret + 4, "-mm-ddThh:mm:ss", 15);
	two_digits(ret + 5, (unsigned)tm.tm_mon + 1);
	two_digits(ret + 8, (unsigned)tm.tm_mday);
	two_digits(ret + 11, (unsigned)tm.tm_hour);
	two_digits(ret + 14, (unsigned)tm.tm_min);
	two_digits(ret + 17, (unsigned)tm.tm_sec);
	if (digits > 0) {
		snprintf(fraction, sizeof(fraction), "%03u0000", (unsigned)rest % 1000);
		ret[19] = '.';
		memcpy(ret + 20, fraction, (size_t)digits);
		ret[20 + digits] = 'Z';
		ret[21 + digits] = '\0';
	} else {
		memcpy(ret + 19, "Z", 2);
	}
}

void simjson_time(struct simjson *w, const char *key, int64_t ms, int digits)
{
	char text[40];

	simjson_time_text(text, ms, digits);
	simjson_strn(w, key, text, strlen(text));
}

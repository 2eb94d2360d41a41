#define LOG_MODULE "throttle"
#include "throttle.h"

#include "log.h"

#include <curl/curl.h>
#include <errno.h>
#include <string.h>

enum {
	VAGUE_FIRST_S = 10,
	VAGUE_MAX_S = 120,
	/* Longer than any the service is known to ask for; beyond that something is broken. */
	WAIT_MAX_S = 6 * 3600,
	ADVICE_MAX_S = 300,
	/* Little is left: less than this part of the limit. */
	LITTLE_PARTS = 10,
};

/* In place of seconds. */
enum { WAIT_NONE = -1, WAIT_VAGUE = -2 };

static int64_t vague_s(unsigned n)
{
	int64_t s = VAGUE_FIRST_S;

	for (; n > 0 && s < VAGUE_MAX_S; n--)
		s *= 2;
	return s < VAGUE_MAX_S ? s : VAGUE_MAX_S;
}

/* Seconds or a date; below zero: none, or neither. */
static int64_t parse_wait_s(const char *text, int64_t real_s)
{
	char *rest;
	long long v;
	time_t when;

	if (!text)
		return -1;
	errno = 0;
	v = strtoll(text, &rest, 10);
	if (errno == 0 && rest != text && *rest == '\0')
		return v;
	when = curl_getdate(text, NULL);
	if (when < 0)
		return -1;
	/* A date that has passed by the time it is read asks for nothing more. */
	return when > real_s ? when - real_s : 0;
}

/* Digits, then perhaps parameters. -1: none. */
static int64_t parse_number(const char *text)
{
	size_t n = text ? strspn(text, "0123456789") : 0;

	return n > 0 && n <= 9 && (text[n] == '\0' || strchr(" ,;", text[n])) ? atoll(text) : -1;
}

static void note_advice(struct throttle *t, const struct http_head *head, uint64_t now_ms)
{
	int64_t limit = parse_number(head->ratelimit_limit);
	int64_t remaining = parse_number(head->ratelimit_remaining);
	int64_t reset_s = parse_number(head->ratelimit_reset);

	if (limit <= 0 || remaining < 0 || reset_s <= 0 || remaining >= limit / LITTLE_PARTS)
		return;
	if (reset_s > ADVICE_MAX_S)
		reset_s = ADVICE_MAX_S;
	if (now_ms >= t->advice_ms)
		log_info("little is left of the service's limit: background work waits %lld s",
			 (long long)reset_s);
	t->advice_ms = now_ms + (uint64_t)reset_s * 1000;
}

/* How long a refusal asks to wait. */
static int64_t wait_s(const struct http_head *head, int64_t real_s)
{
	bool is_too_many = head->status == 429 || head->status == 509;
	int64_t said_s = parse_wait_s(head->retry_after, real_s);
	int64_t reset_s = is_too_many ? parse_number(head->ratelimit_reset) : -1;
	int64_t s = said_s > reset_s ? said_s : reset_s;

	if (s >= 0)
		return s < WAIT_MAX_S ? s : WAIT_MAX_S;
	/* What is there but says nothing is a wish to be left alone, too. */
	return is_too_many || head->retry_after ? WAIT_VAGUE : WAIT_NONE;
}

uint64_t throttle_note(struct throttle *t, const struct http_head *head, uint64_t now_ms,
		       int64_t real_s)
{
	int64_t s;

	note_advice(t, head, now_ms);
	if (head->status < 400) {
		t->vague_n = 0;
		return 0;
	}
	s = wait_s(head, real_s);
	/* Those that were under way when the gate was shut tell nothing new. */
	if (s == WAIT_VAGUE && now_ms < t->gate_ms)
		return t->gate_ms - now_ms;
	if (s == WAIT_VAGUE)
		s = vague_s(t->vague_n++);
	if (s <= 0)
		return 0;
	if (now_ms + (uint64_t)s * 1000 > t->gate_ms) {
		t->gate_ms = now_ms + (uint64_t)s * 1000;
		log_warn("the service asks to wait: %ld, %lld s", head->status, (long long)s);
	}
	return (uint64_t)s * 1000;
}

uint64_t throttle_until_ms(const struct throttle *t, enum http_priority priority)
{
	bool waits = priority == HTTP_BACKGROUND && t->advice_ms > t->gate_ms;

	return waits ? t->advice_ms : t->gate_ms;
}

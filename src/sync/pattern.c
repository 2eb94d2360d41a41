#include "pattern.h"

#include "mem.h"

#include <stddef.h>

enum {
	BACK = 256 << 10,
	FORWARD = 512 << 10,
	BACK_PROVEN = 1 << 20,
	NEWS_MIN = 256 << 10,
	STRIDES_MIN = 2, /* equal ones in a row before they are believed */
};

static bool is_next(const struct pattern_trail *t, uint64_t off)
{
	uint64_t back = t->run > 0 ? BACK_PROVEN : BACK, limit = t->end + FORWARD;

	if (t->run > 0 && t->ahead > limit)
		limit = t->ahead;
	return t->is_used && off + back >= t->end && off <= limit;
}

static struct pattern_trail *find_trail(struct pattern *p, uint64_t off)
{
	struct pattern_trail *best = NULL;

	for (size_t i = 0; i < PATTERN_TRAILS; i++) {
		struct pattern_trail *t = &p->trails[i];

		if (is_next(t, off) && (!best || t->used > best->used))
			best = t;
	}
	return best;
}

/* In place of the one that was not read for longest; the others stop. */
static struct pattern_trail *begin_trail(struct pattern *p, uint64_t off)
{
	struct pattern_trail *oldest = &p->trails[0];

	for (size_t i = 0; i < PATTERN_TRAILS; i++) {
		p->trails[i].ahead = p->trails[i].told = 0;
		if (p->trails[i].used < oldest->used)
			oldest = &p->trails[i];
	}
	*oldest = (struct pattern_trail){ .is_used = true, .end = off };
	return oldest;
}

static void grow(struct pattern_trail *t, uint64_t window_max)
{
	uint64_t window = t->run * PATTERN_GROWTH;

	if (window < PATTERN_WINDOW_MIN)
		window = PATTERN_WINDOW_MIN;
	if (window > window_max)
		window = window_max;
	if (t->end + window > t->ahead)
		t->ahead = t->end + window;
}

/* Reads in a row are equal strides too, but those the trail looks after. */
static void note_stride(struct pattern *p, uint64_t off, uint64_t len, bool is_row)
{
	int64_t stride = (int64_t)(off - p->off);
	bool is_same = !is_row && p->turn > 0 && stride != 0 && stride == p->stride;

	p->strides_n = is_same ? p->strides_n + 1 : 0;
	p->stride = stride;
	p->off = off;
	p->len = len;
}

static bool is_news(struct pattern_trail *t)
{
	uint64_t step = (t->ahead - t->end) / 16;

	if (step < NEWS_MIN)
		step = NEWS_MIN;
	if (t->ahead <= t->end || t->ahead < t->told + step)
		return false;
	t->told = t->ahead;
	return true;
}

bool pattern_note(struct pattern *p, uint64_t off, uint64_t end, uint64_t window_max,
		  uint64_t *ret_ahead)
{
	struct pattern_trail *t = find_trail(p, off);
	/* Whoever begins at the beginning most often goes on. */
	bool is_row = t || off == 0;

	note_stride(p, off, end - off, is_row);
	if (!t)
		t = begin_trail(p, off);
	t->used = ++p->turn;
	if (is_row && end > t->end)
		t->run += off > t->end ? end - off : end - t->end;
	if (end > t->end)
		t->end = end;
	if (t->run > 0 && window_max > 0)
		grow(t, window_max);
	*ret_ahead = t->ahead > end ? t->ahead : end;
	return is_news(t) || (window_max > 0 && p->strides_n >= STRIDES_MIN);
}

bool pattern_get_stride(const struct pattern *p, unsigned i, uint64_t size, uint64_t *ret_off,
			uint64_t *ret_end)
{
	uint64_t off = p->off + (uint64_t)p->stride * (i + 1);

	/* Two's complement: a stride that leads below 0 is far beyond the size. */
	if (p->strides_n < STRIDES_MIN || i >= PATTERN_STEPS || i >= p->strides_n || off >= size)
		return false;
	*ret_off = off;
	*ret_end = p->len < size - off ? off + p->len : size;
	return true;
}

bool pattern_wants(const struct pattern *p, uint64_t off, uint64_t end)
{
	uint64_t step_off, step_end;

	for (size_t i = 0; i < PATTERN_TRAILS; i++) {
		const struct pattern_trail *t = &p->trails[i];

		if (t->is_used && t->ahead > t->end && off < t->ahead && end + BACK_PROVEN > t->end)
			return true;
	}
	for (unsigned i = 0; pattern_get_stride(p, i, UINT64_MAX / 2, &step_off, &step_end); i++) {
		if (off < step_end && step_off < end)
			return true;
	}
	return false;
}

void pattern_stop(struct pattern *p)
{
	for (size_t i = 0; i < PATTERN_TRAILS; i++)
		p->trails[i].ahead = p->trails[i].told = 0;
	p->strides_n = 0;
}

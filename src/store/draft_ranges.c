#include "draft_ranges.h"

#include <errno.h>
#include <string.h>

enum { FIRST_CAP = 8 };

void draft_ranges_fini(struct draft_ranges *r)
{
	free(r->v);
	*r = (struct draft_ranges){ 0 };
}

size_t draft_ranges_find(const struct draft_ranges *r, uint64_t off)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->v[mid].end > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* The ranges that a new one touches: from *ret_first, so many. */
static size_t touched(const struct draft_ranges *r, uint64_t off, uint64_t end, size_t *ret_first)
{
	size_t first = off > 0 ? draft_ranges_find(r, off - 1) : 0, next = first;

	while (next < r->n && r->v[next].off <= end)
		next++;
	*ret_first = first;
	return next - first;
}

int draft_ranges_reserve(struct draft_ranges *r, uint64_t off, uint64_t end, size_t max_n)
{
	size_t first, cap = r->cap > 0 ? 2 * r->cap : FIRST_CAP;
	struct draft_range *v;

	if (off >= end || touched(r, off, end, &first) > 0)
		return 0;
	if (r->n >= max_n)
		return -ENOBUFS;
	if (r->n < r->cap)
		return 0;
	v = realloc(r->v, cap * sizeof(*v));
	if (!v)
		return -ENOMEM;
	r->v = v;
	r->cap = cap;
	return 0;
}

void draft_ranges_add(struct draft_ranges *r, uint64_t off, uint64_t end)
{
	size_t first, n;

	if (off >= end)
		return;
	n = touched(r, off, end, &first);
	if (n == 0) {
		memmove(&r->v[first + 1], &r->v[first], (r->n - first) * sizeof(*r->v));
		r->v[first] = (struct draft_range){ off, end };
		r->n++;
		return;
	}
	if (r->v[first].off < off)
		off = r->v[first].off;
	if (r->v[first + n - 1].end > end)
		end = r->v[first + n - 1].end;
	r->v[first] = (struct draft_range){ off, end };
	memmove(&r->v[first + 1], &r->v[first + n], (r->n - first - n) * sizeof(*r->v));
	r->n -= n - 1;
}

void draft_ranges_cut(struct draft_ranges *r, uint64_t end)
{
	while (r->n > 0 && r->v[r->n - 1].off >= end)
		r->n--;
	if (r->n > 0 && r->v[r->n - 1].end > end)
		r->v[r->n - 1].end = end;
}

bool draft_ranges_gap(const struct draft_ranges *r, uint64_t from, uint64_t end,
		      struct draft_range *ret)
{
	size_t i = draft_ranges_find(r, from);

	if (i < r->n && r->v[i].off <= from)
		from = r->v[i++].end;
	if (from >= end)
		return false;
	ret->off = from;
	ret->end = i < r->n && r->v[i].off < end ? r->v[i].off : end;
	return true;
}

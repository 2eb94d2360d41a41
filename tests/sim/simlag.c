#include "simlag.h"
#include "simitem.h"

static struct sim_fresh *push(struct sim *s, uint32_t item)
{
	struct sim_fresh *f = &s->fresh[s->fresh_n++ % SIM_FRESH_MAX];

	free(f->old);
	*f = (struct sim_fresh){ .item = item, .at_ns = simtree_now_ns() };
	return f;
}

void simlag_note(struct sim *s, uint32_t item, bool is_new)
{
	if (s->write.lag_id_ms > 0 || s->write.lag_path_ms > 0)
		push(s, item)->is_new = is_new;
}

void simlag_note_content(struct sim *s, uint32_t item)
{
	struct simjson text = { 0 };

	if (s->write.lag_content_ms == 0)
		return;
	simitem_write(s, &text, NULL, item, SIMITEM_SINGLE, SIMITEM_ALL);
	push(s, item)->old = text.data;
}

static uint64_t age_ms(const struct sim_fresh *f)
{
	return (simtree_now_ns() - f->at_ns) / 1000000;
}

static unsigned fresh_n(const struct sim *s)
{
	return s->fresh_n < SIM_FRESH_MAX ? s->fresh_n : SIM_FRESH_MAX;
}

const char *simlag_old(const struct sim *s, uint32_t item)
{
	const struct sim_fresh *first = NULL;

	/* Of several writes, what was there before the first. */
	for (unsigned i = 0; s->write.lag_content_ms > 0 && i < fresh_n(s); i++) {
		const struct sim_fresh *f = &s->fresh[i];

		if (f->item == item && f->old && age_ms(f) < s->write.lag_content_ms &&
		    (!first || f->at_ns < first->at_ns))
			first = f;
	}
	return first ? first->old : NULL;
}

void simlag_fini(struct sim *s)
{
	for (unsigned i = 0; i < SIM_FRESH_MAX; i++)
		free(s->fresh[i].old);
}

static bool is_hidden(const struct sim *s, const struct sim_fresh *f, bool is_by_path)
{
	return !f->old && ((f->is_new && age_ms(f) < s->write.lag_id_ms) ||
			   (is_by_path && age_ms(f) < s->write.lag_path_ms));
}

bool simlag_hides(struct sim *s, uint32_t item, bool is_by_path)
{
	if (!item || (s->write.lag_id_ms == 0 && s->write.lag_path_ms == 0))
		return false;
	for (unsigned i = 0; i < fresh_n(s); i++) {
		const struct sim_fresh *f = &s->fresh[i];
		/* A path also leads through the folders above. */
		bool is_concerned =
			is_by_path ? simtree_is_below(&s->tree, item, f->item) : f->item == item;

		if (is_concerned && is_hidden(s, f, is_by_path))
			return true;
	}
	return false;
}

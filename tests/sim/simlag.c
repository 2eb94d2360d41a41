#include "simlag.h"

void simlag_note(struct sim *s, uint32_t item, bool is_new)
{
	if (s->write.lag_id_ms == 0 && s->write.lag_path_ms == 0)
		return;
	s->fresh[s->fresh_n++ % SIM_FRESH_MAX] =
		(struct sim_fresh){ .item = item, .is_new = is_new, .at_ns = simtree_now_ns() };
}

static bool is_hidden(const struct sim *s, const struct sim_fresh *f, bool is_by_path)
{
	uint64_t age_ms = (simtree_now_ns() - f->at_ns) / 1000000;

	return (f->is_new && age_ms < s->write.lag_id_ms) ||
	       (is_by_path && age_ms < s->write.lag_path_ms);
}

bool simlag_hides(struct sim *s, uint32_t item, bool is_by_path)
{
	unsigned n = s->fresh_n < SIM_FRESH_MAX ? s->fresh_n : SIM_FRESH_MAX;

	if (!item || (s->write.lag_id_ms == 0 && s->write.lag_path_ms == 0))
		return false;
	for (unsigned i = 0; i < n; i++) {
		const struct sim_fresh *f = &s->fresh[i];
		/* A path also leads through the folders above. */
		bool is_concerned =
			is_by_path ? simtree_is_below(&s->tree, item, f->item) : f->item == item;

		if (is_concerned && is_hidden(s, f, is_by_path))
			return true;
	}
	return false;
}

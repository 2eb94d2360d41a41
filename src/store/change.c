#include "change.h"

#include <stdlib.h>
#include <string.h>

static void free_changes(struct change_set *set)
{
	for (size_t i = 0; i < set->n; i++) {
		free(set->v[i].name);
		free(set->v[i].dir_path);
		free(set->v[i].to_name);
		free(set->v[i].to_dir_path);
	}
	free(set->v);
	set->v = NULL;
	set->n = 0;
}

void change_set_free(struct change_set *set)
{
	if (!set)
		return;
	free_changes(set);
	free(set);
}

void change_set_append(struct change_set **set, struct change_set *more)
{
	struct change_set *to = *set;
	struct change *v;

	if (!to || !more) {
		*set = to ? to : more;
		return;
	}
	if (more->seq > to->seq)
		to->seq = more->seq;
	v = to->bulk || more->bulk || to->n + more->n > CHANGE_SET_MAX
		    ? NULL
		    : realloc(to->v, (to->n + more->n + 1) * sizeof(*v));
	if (!v) {
		free_changes(to);
		to->bulk = true;
		change_set_free(more);
		return;
	}
	if (more->n > 0)
		memcpy(v + to->n, more->v, more->n * sizeof(*v));
	to->v = v;
	to->n += more->n;
	/* Its strings are the set's now. */
	free(more->v);
	free(more);
}

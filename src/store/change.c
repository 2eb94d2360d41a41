#include "change.h"

#include <stdlib.h>

void change_set_free(struct change_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n; i++) {
		free(set->v[i].name);
		free(set->v[i].dir_path);
		free(set->v[i].to_name);
		free(set->v[i].to_dir_path);
	}
	free(set->v);
	free(set);
}

#include "skips.h"

#include <errno.h>
#include <string.h>

static char **find(const struct skips *skips, const char *id)
{
	for (unsigned i = 0; skips->n > 0 && i < SKIPS_MAX; i++)
		if (skips->ids[i] && strcmp(skips->ids[i], id) == 0)
			return (char **)&skips->ids[i];
	return NULL;
}

void skips_fini(struct skips *skips)
{
	for (unsigned i = 0; i < SKIPS_MAX; i++)
		free(skips->ids[i]);
	*skips = (struct skips){ 0 };
}

bool skips_has(const struct skips *skips, const char *id)
{
	return find(skips, id) != NULL;
}

int skips_add(struct skips *skips, const char *id)
{
	char *copy = strdup(id);
	unsigned at = skips->next++ % SKIPS_MAX;

	if (!copy)
		return -ENOMEM;
	if (!skips->ids[at])
		skips->n++;
	free(skips->ids[at]);
	skips->ids[at] = copy;
	return 0;
}

void skips_remove(struct skips *skips, const char *id)
{
	char **at = find(skips, id);

	if (!at)
		return;
	free(take_ptr(at));
	skips->n--;
}

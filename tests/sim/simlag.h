/* Reads that lag writes: what the API's callers wrote is not found for a while. One thread. */
#pragma once

#include "sim.h"

/* An item was made or (is_new false) renamed or moved through the API. */
void simlag_note(struct sim *s, uint32_t item, bool is_new);
/* The content of an item is about to be replaced through the API. */
void simlag_note_content(struct sim *s, uint32_t item);
/* What the item is still shown as, NULL: as it is. Valid until the next note. */
const char *simlag_old(const struct sim *s, uint32_t item);
void simlag_fini(struct sim *s);
/* True while a request that names the item by its path, or by its id, is to get a 404. */
bool simlag_hides(struct sim *s, uint32_t item, bool is_by_path);

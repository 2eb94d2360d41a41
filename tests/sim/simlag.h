/* Reads that lag writes: what the API's callers wrote is not found for a while. One thread. */
#pragma once

#include "sim.h"

/* An item was made or (is_new false) renamed or moved through the API. */
void simlag_note(struct sim *s, uint32_t item, bool is_new);
/* True while a request that names the item by its path, or by its id, is to get a 404. */
bool simlag_hides(struct sim *s, uint32_t item, bool is_by_path);

/* POST /$batch: several requests in one. One thread. */
#pragma once

#include "sim.h"

/* The caller was let in already; the parts are answered as requests of the same caller. */
void simbatch_answer(struct sim *s, struct simreq *req, struct simreply *reply);

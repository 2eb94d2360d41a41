/*
 * Delta: the change log in pages, with the oddities of the service on demand. A token holds
 * everything that is needed to go on, so nothing is kept between calls. One thread.
 */
#pragma once

#include "simapi.h"

void simdelta_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		     const struct simroute *route);

/* Copies on the service, which go on after the request, and the monitors that tell how far they
 * are. One thread. */
#pragma once

#include "simroute.h"

struct simcopy *simcopy_new(void);
void simcopy_free(struct simcopy *c);

/* POST {item}/copy */
void simcopy_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		    const struct simroute *route);
/* True: the request on the content host is one of a monitor. */
bool simcopy_is_route(const struct simreq *req);
void simcopy_answer_monitor(struct sim *s, struct simreq *req, struct simreply *reply);

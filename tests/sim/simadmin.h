/* The admin interface: what a test asks of the service. Described in README.md. One thread. */
#pragma once

#include "sim.h"

void simadmin_answer(struct sim *s, struct simreq *req, struct simreply *reply);

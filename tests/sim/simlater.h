/* What the service does by itself some time after a request. One thread. */
#pragma once

#include "sim.h"

/* Runs fn once, in so many ms (0: with the next turn of the loop), unless the program ends before.
 * Takes arg, which is heap memory or NULL, and frees it afterwards. */
void simlater_add(struct sim *s, uint64_t ms, void (*fn)(struct sim *s, void *arg), void *arg);
void simlater_fini(struct sim *s);

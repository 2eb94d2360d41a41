/*
 * Waits until a mount has sent what was changed in it. Blocking; no loop.
 */
#pragma once

#include "mem.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdio.h>

/* What a mount's answer to "status" or "sync" says of it. Pure. */
struct drain_state {
	unsigned long long unsent_n, refused_n;
	bool is_stuck; /* waiting longer would bring nothing */
	bool is_offline;
};
struct drain_state drain_state_of(struct json_object *status);
/* "3 to send, the service cannot be reached, 1 refused", without a newline. Pure. */
void drain_print(FILE *to, const struct drain_state *state);

/*
 * Asks the mount whose socket is name in dir until nothing is unsent: 0; 1: what is left cannot be
 * sent, which standard error says. Errors as control_ask(). Where standard error is a terminal, it
 * shows how far it is.
 */
must_check int drain_wait(int dir, const char *name);

/*
 * A login service and a Graph in one scripted server, with an account that points at them. A test
 * replaces what Graph answers; the token endpoint is scripted by a few knobs.
 */
#pragma once

#include "auth.h"
#include "fetch.h"
#include "script.h"

#include <stdatomic.h>

struct service {
	struct script *script;
	char url[64];
	script_fn on_graph; /* anything but the login paths */
	void *arg;

	/* What the token endpoint answers; NULL: tokens "access-1", "access-2", ... */
	_Atomic(const char *) token_body;
	atomic_int token_status;
	atomic_int token_expires_s;
	atomic_bool token_hold, token_drop;
	atomic_uint token_asked_n;
	char token_form[4096]; /* the last form; read with script_copy() */

	struct bench bench;
	char dir[64];
	int dir_fd;
	struct auth *auth;
};

/* expires_in_s: of the access token "access-0" that the account begins with. */
void service_init(struct service *sv, script_fn on_graph, void *arg, int expires_in_s);
void service_fini(struct service *sv);
/* Runs the loop until *flag is nonzero; fails after ten seconds. */
void service_run_until(struct service *sv, const unsigned *n, unsigned want);

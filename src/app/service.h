/*
 * What every command that talks to the service needs: an account, the loop and the client on it.
 * Until the loop has a thread of its own, the caller's thread is its thread.
 */
#pragma once

#include "auth.h"
#include "config.h"
#include "graph.h"
#include "http.h"
#include "loop.h"
#include "ws.h"

struct service {
	struct loop *loop;
	struct http *http;
	struct auth *auth;
	struct graph *graph;
	struct ws *ws;
};

/* -ENOENT: not signed in (said). */
must_check int service_open(const char *account, struct service *ret);
void service_close(struct service *s);
/* Asks which drive "me", "drives/ID" ... is; turns the loop. Caller frees *ret_id. */
must_check int service_find_drive(struct service *s, const char *drive, char **ret_id);

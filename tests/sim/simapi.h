/*
 * The API host: sign-in, drives, items, listings, delta, download redirects, subscriptions. One
 * thread.
 */
#pragma once

#include "simroute.h"

void simapi_answer(struct sim *s, struct simreq *req, struct simreply *reply);
/* The same for a part of a batch, whose caller was let in. */
void simapi_answer_part(struct sim *s, struct simreq *req, struct simreply *reply);
/* A fault for the time before the request's body is there. */
struct simcut simapi_cut(struct sim *s, struct simreq *req);
/* Appends an absolute link to path?query with parameter=token and a signature over all of it. */
void simapi_link(struct sim *s, struct simjson *out, const char *path, const char *query,
		 const char *parameter, const char *token);
/* True when the request came by such a link, unchanged; notes a violation otherwise. Lenient mode
 * takes everything. */
bool simapi_check_link(struct sim *s, const struct simreq *req);

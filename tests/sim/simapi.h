/*
 * The API host: sign-in, drives, items, listings, delta, download redirects, subscriptions. One
 * thread.
 */
#pragma once

#include "sim.h"

/* What a request's path names. */
struct simapi_route {
	enum simclass class;
	unsigned drive;
	bool has_drive;    /* false: the path is none of a drive */
	bool is_root_form; /* written as .../root, which delta and subscriptions ask for */
	uint32_t item;     /* SIMTREE_NONE: not there */
	char *prefix;      /* of the drive, as sent: "/v1.0/me/drive"; heap */
	char *sub;         /* what follows the item, decoded, "" for the item itself; heap */
};

void simapi_answer(struct sim *s, struct simreq *req, struct simreply *reply);
/* Appends an absolute link to path?query with parameter=token and a signature over all of it. */
void simapi_link(struct sim *s, struct simjson *out, const char *path, const char *query,
		 const char *parameter, const char *token);
/* True when the request came by such a link, unchanged; notes a violation otherwise. Lenient mode
 * takes everything. */
bool simapi_check_link(struct sim *s, const struct simreq *req);

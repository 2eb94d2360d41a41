/*
 * What a request to the API host names: a kind, a drive, an item or the place for a new one. One
 * thread.
 */
#pragma once

#include "sim.h"

struct simroute {
	enum simclass class;
	unsigned drive;
	bool has_drive;    /* false: the path is none of a drive */
	bool is_root_form; /* written as .../root, which delta and subscriptions ask for */
	uint32_t item;     /* SIMTREE_NONE: not there */
	/* Addressed by path: its last name, and the folder that has or may get it. */
	char *name; /* NULL: not by path; heap */
	uint32_t parent;
	char *prefix; /* of the drive, as sent: "/v1.0/me/drive"; heap */
	char *sub;    /* what follows the item, decoded, "" for the item itself; heap */
};

/* The caller frees what it holds with simroute_fini(). */
void simroute_find(struct sim *s, const struct simreq *req, struct simroute *ret);
void simroute_fini(struct simroute *r);
/* Of the item or of the place for it, "" when there is none; the caller frees. */
char *simroute_path(struct sim *s, const struct simroute *r);

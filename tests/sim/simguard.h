/*
 * What a write is checked for before it happens. Each function that refuses has made the reply.
 * One thread.
 */
#pragma once

#include "simroute.h"

enum simguard_conflict { SIMGUARD_FAIL, SIMGUARD_REPLACE, SIMGUARD_RENAME };

/* False: 403, the caller may not change this item or make one in this folder. */
bool simguard_may_write(struct sim *s, const struct simreq *req, struct simreply *reply,
			uint32_t item);
/* False: 423, the item, or one below it, is locked. */
bool simguard_is_free(struct sim *s, const struct simreq *req, struct simreply *reply,
		      uint32_t item);
/* False: 412, an If-Match or If-None-Match of the request does not hold; item: SIMTREE_NONE for one
 * that is not there. */
bool simguard_matches(struct sim *s, const struct simreq *req, struct simreply *reply,
		      uint32_t item);
/* The same for an If-Match of an earlier request. wanted NULL: holds. */
bool simguard_still_matches(struct sim *s, const struct simreq *req, struct simreply *reply,
			    const char *wanted, uint32_t item);
/* False: 507, no room for a file of so many bytes in place of item's. */
bool simguard_has_room(struct sim *s, const struct simreq *req, struct simreply *reply,
		       unsigned drive, uint32_t item, uint64_t size);
/* False: 400, the folder may have no such name. */
bool simguard_name(struct sim *s, const struct simreq *req, struct simreply *reply, uint32_t folder,
		   const char *name, bool is_folder);
/* conflictBehavior in the query or in one of the objects (which may be NULL); *ret stays when there
 * is none. False: 400, unknown word. */
bool simguard_conflict(const struct simreq *req, struct simreply *reply, struct json_object *a,
		       struct json_object *b, enum simguard_conflict *ret);
void simguard_taken(const struct simreq *req, struct simreply *reply);

/*
 * Uploaded content takes its place in the tree: the common end of PUT content and of upload
 * sessions. One thread.
 */
#pragma once

#include "simchange.h"
#include "simguard.h"
#include "simhash.h"

struct simstore {
	unsigned drive;
	uint32_t folder; /* SIMTREE_NONE: item is addressed by its id */
	const char *name;
	uint32_t item; /* when there is no folder */
	enum simguard_conflict conflict;
	struct simchange_times times;
	const char *if_match;       /* checked again at the end; NULL: not asked for */
	uint64_t at, size;          /* region of the spool */
	const struct simhash *hash; /* of the content, or NULL */
};

/* Makes the reply: 201 or 200 with the item, or the error. True: the content is used. */
bool simstore_put(struct sim *s, const struct simreq *req, struct simreply *reply,
		  const struct simstore *what);
/* fileSystemInfo of a body; false: 400, no time. Times are kept as the flavour keeps them. */
bool simstore_times(struct sim *s, const struct simreq *req, struct simreply *reply, unsigned drive,
		    struct json_object *body, struct simchange_times *ret);
/* The reply for an item that was made or changed. */
void simstore_tell(struct sim *s, const struct simreq *req, struct simreply *reply, int status,
		   uint32_t item);

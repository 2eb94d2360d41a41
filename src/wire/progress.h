/*
 * What the service says about work of its own or ours that takes a while: upload sessions, and the
 * monitor of a copy. Pure functions over a reply body; any thread. -EBADMSG: it cannot be
 * believed; the problem names the field, and nothing is given out.
 *
 * Source: learn.microsoft.com/graph driveitem-createuploadsession, long-running-actions.
 */
#pragma once

#include "item.h"

struct progress_session {
	char *url;          /* a secret; NULL in replies that do not repeat it */
	int64_t expires_ns; /* ITEM_TIME_UNKNOWN */
	bool has_next;      /* false: the service does not ask for any byte */
	uint64_t next;      /* the first byte it asks for */
};

/* Of createUploadSession (a url is there), of a chunk's 202, of the status. Ranges may come in any
 * order; only the first missing byte matters, since bytes are sent in order. */
must_check int progress_parse_session(const char *body, size_t len, struct progress_session *ret,
				      struct item_problem *problem);
void progress_session_fini(struct progress_session *session);

enum progress_state { PROGRESS_RUNS, PROGRESS_DONE, PROGRESS_FAILED };

struct progress_copy {
	enum progress_state state;
	double percent; /* 0 to 100 */
	char *item_id;  /* DONE: the new item, NULL when it was not told */
	char *code;     /* FAILED: why; may be NULL */
};

must_check int progress_parse_copy(const char *body, size_t len, struct progress_copy *ret,
				   struct item_problem *problem);
void progress_copy_fini(struct progress_copy *copy);

/* What a reply to a chunk means: private to src/net/upload*.c. Pure functions. */
#pragma once

#include "graph.h"

enum upload_next {
	UPLOAD_TAKEN,    /* it says which byte it wants next */
	UPLOAD_FINISHED, /* it has all, and made an item of it */
	UPLOAD_ASK,      /* no telling what it has: ask, after a while */
	UPLOAD_WAIT,     /* it took nothing: the same again when it wants to be asked */
	UPLOAD_SMALLER,  /* too much at a time */
	UPLOAD_RENEW,    /* the session is over: begin another */
	UPLOAD_RESHAPE,  /* it does not like the chunks of this session: another, with smaller ones
			  */
	UPLOAD_LATER,    /* end; the session can go on when the reason is gone */
	UPLOAD_FAIL,     /* end; the session is of no more use */
};

/* A reply came; result is filled in when it is no success. Source: learn.microsoft.com/graph
 * driveitem-createuploadsession, "Handle upload errors". */
enum upload_next upload_reply_judge(long status, const char *body, size_t len,
				    struct graph_result *result);

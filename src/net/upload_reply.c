#include "upload_reply.h"

#include "graph_call.h"

#include <errno.h>
#include <strings.h>

static enum upload_next judge_status(long status)
{
	static const struct {
		long status;
		enum upload_next next;
	} rows[] = {
		{ 400, UPLOAD_RESHAPE }, { 401, UPLOAD_RENEW }, { 403, UPLOAD_RENEW },
		{ 404, UPLOAD_RENEW },   { 408, UPLOAD_ASK },   { 410, UPLOAD_RENEW },
		{ 413, UPLOAD_SMALLER }, { 416, UPLOAD_ASK },   { 423, UPLOAD_LATER },
		{ 429, UPLOAD_WAIT },    { 500, UPLOAD_ASK },   { 502, UPLOAD_ASK },
		{ 503, UPLOAD_ASK },     { 504, UPLOAD_ASK },   { 509, UPLOAD_ASK },
	};

	for (size_t i = 0; i < array_n(rows); i++)
		if (rows[i].status == status)
			return rows[i].next;
	return UPLOAD_FAIL;
}

enum upload_next upload_reply_judge(long status, const char *body, size_t len,
				    struct graph_result *result)
{
	if (status == 200 || status == 201)
		return UPLOAD_FINISHED;
	if (status == 202)
		return UPLOAD_TAKEN;
	/* Another success than those: something came to pass, no telling what. */
	if (status > 202 && status < 300)
		return UPLOAD_ASK;
	graph_call_describe(status, body, len, result);
	/* Where the code names a reason that lies with the file, another session would meet it,
	 * too. */
	switch (result->reason) {
	case GRAPH_NAME_TAKEN:
	case GRAPH_CHANGED:
	case GRAPH_FULL:
	case GRAPH_BAD_NAME:
		return UPLOAD_FAIL;
	case GRAPH_FORBIDDEN:
		return result->error == -EACCES ? UPLOAD_RENEW : UPLOAD_FAIL;
	case GRAPH_TOO_LARGE:
		/* Of the whole file, when a code says so. */
		return result->code[0] && strcasecmp(result->code, "maxFragmentLengthExceeded") != 0
			       ? UPLOAD_FAIL
			       : UPLOAD_SMALLER;
	case GRAPH_LOCKED:
		return UPLOAD_LATER;
	default:
		return judge_status(status);
	}
}

#include "graph.h"

#include <errno.h>
#include <strings.h>

/* Graph names the reason better than HTTP does, so its code goes first. */
static const struct {
	const char *code;
	int error;
	enum graph_reason reason;
} codes[] = {
	{ "itemNotFound", -ENOENT, GRAPH_MISSING },
	{ "itemDoesNotExist", -ENOENT, GRAPH_MISSING },
	{ "nameAlreadyExists", -EEXIST, GRAPH_NAME_TAKEN },
	{ "accessDenied", -EACCES, GRAPH_FORBIDDEN },
	{ "accessRestricted", -EACCES, GRAPH_FORBIDDEN },
	{ "unauthenticated", -EACCES, GRAPH_SIGN_IN },
	{ "InvalidAuthenticationToken", -EACCES, GRAPH_SIGN_IN },
	{ "expiredToken", -EACCES, GRAPH_SIGN_IN },
	{ "notAllowed", -EPERM, GRAPH_FORBIDDEN },
	{ "malwareDetected", -EPERM, GRAPH_FORBIDDEN },
	{ "virusSuspicious", -EPERM, GRAPH_FORBIDDEN },
	{ "serviceReadOnly", -EROFS, GRAPH_FORBIDDEN },
	{ "quotaLimitReached", -ENOSPC, GRAPH_FULL },
	{ "childItemCountExceeded", -ENOSPC, GRAPH_FULL },
	{ "maxDocumentCountExceeded", -ENOSPC, GRAPH_FULL },
	{ "maxFolderCountExceeded", -ENOSPC, GRAPH_FULL },
	{ "maxItemCountExceeded", -ENOSPC, GRAPH_FULL },
	{ "maxFileSizeExceeded", -EFBIG, GRAPH_TOO_LARGE },
	{ "maxStreamSizeExceeded", -EFBIG, GRAPH_TOO_LARGE },
	{ "pathIsTooLong", -ENAMETOOLONG, GRAPH_BAD_NAME },
	{ "pathTooDeep", -ENAMETOOLONG, GRAPH_BAD_NAME },
	{ "parameterIsTooLong", -ENAMETOOLONG, GRAPH_BAD_NAME },
	{ "invalidPath", -EINVAL, GRAPH_BAD_NAME },
	{ "invalidRange", -ERANGE, GRAPH_REFUSED },
	{ "resourceModified", -EBUSY, GRAPH_CHANGED },
	{ "entityTagDoesNotMatch", -EBUSY, GRAPH_CHANGED },
	{ "preconditionFailed", -EBUSY, GRAPH_CHANGED },
	{ "lockMismatch", -EBUSY, GRAPH_LOCKED },
	{ "lockOwnerMismatch", -EBUSY, GRAPH_LOCKED },
	{ "resourceLocked", -EBUSY, GRAPH_LOCKED },
	{ "notSupported", -EOPNOTSUPP, GRAPH_REFUSED },
	{ "resyncRequired", -ESTALE, GRAPH_REFUSED },
	{ "resyncApplyDifferences", -ESTALE, GRAPH_REFUSED },
	{ "resyncUploadDifferences", -ESTALE, GRAPH_REFUSED },
	{ "resyncChangesApplyDifferences", -ESTALE, GRAPH_REFUSED },
	{ "resyncChangesUploadDifferences", -ESTALE, GRAPH_REFUSED },
	{ "syncStateNotFound", -ESTALE, GRAPH_REFUSED },
	{ "totalAffectedItemCountExceeded", -E2BIG, GRAPH_REFUSED },
	{ "activityLimitReached", -EAGAIN, GRAPH_THROTTLED },
	{ "throttledRequest", -EAGAIN, GRAPH_THROTTLED },
	{ "serviceNotAvailable", -EIO, GRAPH_FAULT },
	{ "generalException", -EIO, GRAPH_FAULT },
	{ "cannotSnapshotTree", -EIO, GRAPH_FAULT },
};

static const struct {
	long status;
	int error;
	enum graph_reason reason;
} statuses[] = {
	{ 401, -EACCES, GRAPH_SIGN_IN },     { 403, -EACCES, GRAPH_FORBIDDEN },
	{ 404, -ENOENT, GRAPH_MISSING },     { 405, -EOPNOTSUPP, GRAPH_REFUSED },
	{ 408, -EIO, GRAPH_FAULT },          { 409, -EEXIST, GRAPH_NAME_TAKEN },
	{ 410, -ESTALE, GRAPH_MISSING },     { 412, -EBUSY, GRAPH_CHANGED },
	{ 413, -EFBIG, GRAPH_TOO_LARGE },    { 416, -ERANGE, GRAPH_REFUSED },
	{ 423, -EBUSY, GRAPH_LOCKED },       { 429, -EAGAIN, GRAPH_THROTTLED },
	{ 501, -EOPNOTSUPP, GRAPH_REFUSED }, { 507, -ENOSPC, GRAPH_FULL },
	{ 509, -EAGAIN, GRAPH_THROTTLED },
};

/* The most specific code that is known, as an index; -1. */
static int find_code(const struct item_error *error)
{
	for (unsigned i = error->codes_n; i-- > 0;)
		for (size_t j = 0; j < array_n(codes); j++)
			if (strcasecmp(codes[j].code, error->codes[i]) == 0)
				return (int)(i << 8 | j);
	return -1;
}

static int find_status(long status)
{
	for (size_t i = 0; i < array_n(statuses); i++)
		if (statuses[i].status == status)
			return (int)i;
	return -1;
}

int graph_errno(long status, const struct item_error *error, const char **ret_code)
{
	int code = find_code(error), at = find_status(status);

	*ret_code = error->codes_n > 0 ? error->codes[error->codes_n - 1] : "";
	if (status >= 200 && status < 300)
		return 0;
	if (code >= 0) {
		*ret_code = error->codes[code >> 8];
		return codes[code & 0xff].error;
	}
	return at >= 0 ? statuses[at].error : -EIO;
}

/* These statuses have one meaning only, whatever the code beside them. */
static bool is_plain(long status)
{
	return status == 401 || status == 412 || status == 423 || status == 429 || status == 507;
}

enum graph_reason graph_reason(long status, const struct item_error *error)
{
	int code = find_code(error), at = find_status(status);

	if (status >= 200 && status < 300)
		return GRAPH_FINE;
	if (code >= 0 && !is_plain(status))
		return codes[code & 0xff].reason;
	if (at >= 0)
		return statuses[at].reason;
	return status >= 500 ? GRAPH_FAULT : GRAPH_REFUSED;
}

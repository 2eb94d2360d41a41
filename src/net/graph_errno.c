#include "graph.h"

#include <errno.h>
#include <strings.h>

/* Graph names the reason better than HTTP does, so its code goes first. */
static const struct {
	const char *code;
	int error;
} codes[] = {
	{ "itemNotFound", -ENOENT },
	{ "itemDoesNotExist", -ENOENT },
	{ "nameAlreadyExists", -EEXIST },
	{ "accessDenied", -EACCES },
	{ "accessRestricted", -EACCES },
	{ "unauthenticated", -EACCES },
	{ "InvalidAuthenticationToken", -EACCES },
	{ "expiredToken", -EACCES },
	{ "notAllowed", -EPERM },
	{ "malwareDetected", -EPERM },
	{ "virusSuspicious", -EPERM },
	{ "serviceReadOnly", -EROFS },
	{ "quotaLimitReached", -ENOSPC },
	{ "childItemCountExceeded", -ENOSPC },
	{ "maxDocumentCountExceeded", -ENOSPC },
	{ "maxFolderCountExceeded", -ENOSPC },
	{ "maxItemCountExceeded", -ENOSPC },
	{ "maxFileSizeExceeded", -EFBIG },
	{ "maxStreamSizeExceeded", -EFBIG },
	{ "pathIsTooLong", -ENAMETOOLONG },
	{ "pathTooDeep", -ENAMETOOLONG },
	{ "parameterIsTooLong", -ENAMETOOLONG },
	{ "invalidPath", -EINVAL },
	{ "invalidRange", -ERANGE },
	{ "resourceModified", -EBUSY },
	{ "entityTagDoesNotMatch", -EBUSY },
	{ "preconditionFailed", -EBUSY },
	{ "lockMismatch", -EBUSY },
	{ "lockOwnerMismatch", -EBUSY },
	{ "resourceLocked", -EBUSY },
	{ "notSupported", -EOPNOTSUPP },
	{ "resyncRequired", -ESTALE },
	{ "resyncApplyDifferences", -ESTALE },
	{ "resyncUploadDifferences", -ESTALE },
	{ "resyncChangesApplyDifferences", -ESTALE },
	{ "resyncChangesUploadDifferences", -ESTALE },
	{ "syncStateNotFound", -ESTALE },
	{ "totalAffectedItemCountExceeded", -E2BIG },
	{ "activityLimitReached", -EAGAIN },
	{ "throttledRequest", -EAGAIN },
	{ "serviceNotAvailable", -EIO },
	{ "generalException", -EIO },
	{ "cannotSnapshotTree", -EIO },
};

static const struct {
	long status;
	int error;
} statuses[] = {
	{ 401, -EACCES }, { 403, -EACCES }, { 404, -ENOENT }, { 405, -EOPNOTSUPP },
	{ 409, -EEXIST }, { 410, -ESTALE }, { 412, -EBUSY },  { 413, -EFBIG },
	{ 416, -ERANGE }, { 423, -EBUSY },  { 429, -EAGAIN }, { 501, -EOPNOTSUPP },
	{ 507, -ENOSPC }, { 509, -EAGAIN },
};

static int find_code(const char *code)
{
	for (size_t i = 0; i < array_n(codes); i++)
		if (strcasecmp(codes[i].code, code) == 0)
			return codes[i].error;
	return 0;
}

int graph_errno(long status, const struct item_error *error, const char **ret_code)
{
	*ret_code = error->codes_n > 0 ? error->codes[error->codes_n - 1] : "";
	if (status >= 200 && status < 300)
		return 0;
	for (unsigned i = error->codes_n; i-- > 0;) {
		int r = find_code(error->codes[i]);

		if (r != 0) {
			*ret_code = error->codes[i];
			return r;
		}
	}
	for (size_t i = 0; i < array_n(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].error;
	return -EIO;
}

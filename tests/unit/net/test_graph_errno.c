#include "graph.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	long status;
	const char *outer, *inner;
	int want;
	const char *want_code;
} rows[] = {
	/* statuses alone */
	{ 200, "", "", 0, "" },
	{ 204, "", "", 0, "" },
	{ 302, "", "", -EIO, "" },
	{ 400, "", "", -EIO, "" },
	{ 401, "", "", -EACCES, "" },
	{ 403, "", "", -EACCES, "" },
	{ 404, "", "", -ENOENT, "" },
	{ 405, "", "", -EOPNOTSUPP, "" },
	{ 408, "", "", -EIO, "" },
	{ 409, "", "", -EEXIST, "" },
	{ 410, "", "", -ESTALE, "" },
	{ 412, "", "", -EBUSY, "" },
	{ 413, "", "", -EFBIG, "" },
	{ 416, "", "", -ERANGE, "" },
	{ 418, "", "", -EIO, "" },
	{ 422, "", "", -EIO, "" },
	{ 423, "", "", -EBUSY, "" },
	{ 429, "", "", -EAGAIN, "" },
	{ 500, "", "", -EIO, "" },
	{ 501, "", "", -EOPNOTSUPP, "" },
	{ 502, "", "", -EIO, "" },
	{ 503, "", "", -EIO, "" },
	{ 504, "", "", -EIO, "" },
	{ 507, "", "", -ENOSPC, "" },
	{ 509, "", "", -EAGAIN, "" },

	/* a known code says it better than the status */
	{ 404, "itemNotFound", "", -ENOENT, "itemNotFound" },
	{ 404, "itemNotFound", "itemDoesNotExist", -ENOENT, "itemDoesNotExist" },
	{ 409, "nameAlreadyExists", "", -EEXIST, "nameAlreadyExists" },
	{ 403, "accessDenied", "", -EACCES, "accessDenied" },
	{ 403, "accessDenied", "accessRestricted", -EACCES, "accessRestricted" },
	{ 403, "notAllowed", "", -EPERM, "notAllowed" },
	{ 409, "notAllowed", "", -EPERM, "notAllowed" },
	{ 403, "accessDenied", "malwareDetected", -EPERM, "malwareDetected" },
	{ 403, "virusSuspicious", "", -EPERM, "virusSuspicious" },
	{ 403, "serviceReadOnly", "", -EROFS, "serviceReadOnly" },
	{ 401, "InvalidAuthenticationToken", "", -EACCES, "InvalidAuthenticationToken" },
	{ 401, "unauthenticated", "expiredToken", -EACCES, "expiredToken" },
	{ 507, "quotaLimitReached", "", -ENOSPC, "quotaLimitReached" },
	{ 400, "invalidRequest", "childItemCountExceeded", -ENOSPC, "childItemCountExceeded" },
	{ 400, "invalidRequest", "maxFileSizeExceeded", -EFBIG, "maxFileSizeExceeded" },
	{ 400, "invalidRequest", "pathIsTooLong", -ENAMETOOLONG, "pathIsTooLong" },
	{ 400, "invalidRequest", "pathTooDeep", -ENAMETOOLONG, "pathTooDeep" },
	{ 400, "invalidRequest", "invalidPath", -EINVAL, "invalidPath" },
	{ 400, "invalidRequest", "", -EIO, "invalidRequest" },
	{ 400, "notSupported", "", -EOPNOTSUPP, "notSupported" },
	{ 416, "invalidRange", "", -ERANGE, "invalidRange" },
	{ 412, "preconditionFailed", "resourceModified", -EBUSY, "resourceModified" },
	{ 423, "resourceLocked", "lockMismatch", -EBUSY, "lockMismatch" },
	{ 410, "resyncRequired", "resyncChangesApplyDifferences", -ESTALE,
	  "resyncChangesApplyDifferences" },
	{ 400, "syncStateNotFound", "", -ESTALE, "syncStateNotFound" },
	{ 429, "activityLimitReached", "throttledRequest", -EAGAIN, "throttledRequest" },
	{ 503, "serviceNotAvailable", "", -EIO, "serviceNotAvailable" },
	{ 500, "generalException", "cannotSnapshotTree", -EIO, "cannotSnapshotTree" },
	{ 409, "totalAffectedItemCountExceeded", "", -E2BIG, "totalAffectedItemCountExceeded" },
	{ 404, "ITEMNOTFOUND", "", -ENOENT, "ITEMNOTFOUND" },

	/* an unknown code does not hide a known one around it, nor the status */
	{ 403, "notAllowed", "somethingNew", -EPERM, "notAllowed" },
	{ 507, "quotaLimitReached", "-1, Microsoft.SharePoint.X", -ENOSPC, "quotaLimitReached" },
	{ 404, "Request_ResourceNotFound", "", -ENOENT, "Request_ResourceNotFound" },
	{ 403, "ErrorInsufficientPermissionsInAccessToken", "", -EACCES,
	  "ErrorInsufficientPermissionsInAccessToken" },
	{ 404, "UnknownError", "BadGateway", -ENOENT, "BadGateway" },
	{ 599, "UnknownError", "", -EIO, "UnknownError" },
	{ 0, "", "", -EIO, "" },
};

static void test_table(void **state)
{
	for (size_t i = 0; i < array_n(rows); i++) {
		struct item_error error = { 0 };
		const char *code = NULL;
		int r;

		if (rows[i].outer[0])
			snprintf(error.codes[error.codes_n++], 64, "%s", rows[i].outer);
		if (rows[i].inner[0])
			snprintf(error.codes[error.codes_n++], 64, "%s", rows[i].inner);
		r = graph_errno(rows[i].status, &error, &code);
		if (r != rows[i].want || strcmp(code, rows[i].want_code) != 0)
			fail_msg("%ld %s %s gave %d %s", rows[i].status, rows[i].outer,
				 rows[i].inner, r, code);
	}
}

/* What errno does not tell apart. */
static const struct {
	long status;
	const char *outer, *inner;
	enum graph_reason want;
} reasons[] = {
	{ 200, "", "", GRAPH_FINE },
	{ 204, "itemNotFound", "", GRAPH_FINE },
	{ 302, "", "", GRAPH_REFUSED },
	{ 400, "", "", GRAPH_REFUSED },
	{ 400, "invalidRequest", "invalidPath", GRAPH_BAD_NAME },
	{ 400, "invalidRequest", "pathIsTooLong", GRAPH_BAD_NAME },
	{ 401, "", "", GRAPH_SIGN_IN },
	{ 401, "accessDenied", "", GRAPH_SIGN_IN },
	{ 403, "", "", GRAPH_FORBIDDEN },
	{ 403, "accessDenied", "serviceReadOnly", GRAPH_FORBIDDEN },
	{ 403, "quotaLimitReached", "", GRAPH_FULL },
	{ 404, "itemNotFound", "", GRAPH_MISSING },
	{ 409, "", "", GRAPH_NAME_TAKEN },
	{ 409, "nameAlreadyExists", "", GRAPH_NAME_TAKEN },
	{ 409, "resourceModified", "", GRAPH_CHANGED },
	{ 409, "lockMismatch", "", GRAPH_LOCKED },
	{ 409, "somethingNew", "", GRAPH_NAME_TAKEN },
	{ 412, "notAllowed", "", GRAPH_CHANGED },
	{ 412, "notAllowed", "preconditionFailed", GRAPH_CHANGED },
	{ 413, "", "", GRAPH_TOO_LARGE },
	{ 423, "notAllowed", "", GRAPH_LOCKED },
	{ 429, "accessDenied", "", GRAPH_THROTTLED },
	{ 500, "", "", GRAPH_FAULT },
	{ 503, "serviceNotAvailable", "", GRAPH_FAULT },
	{ 503, "activityLimitReached", "", GRAPH_THROTTLED },
	{ 501, "", "", GRAPH_REFUSED },
	{ 507, "generalException", "", GRAPH_FULL },
	{ 509, "", "", GRAPH_THROTTLED },
	{ 599, "UnknownError", "", GRAPH_FAULT },
};

static void test_reasons(void **state)
{
	for (size_t i = 0; i < array_n(reasons); i++) {
		struct item_error error = { 0 };
		enum graph_reason reason;

		if (reasons[i].outer[0])
			snprintf(error.codes[error.codes_n++], 64, "%s", reasons[i].outer);
		if (reasons[i].inner[0])
			snprintf(error.codes[error.codes_n++], 64, "%s", reasons[i].inner);
		reason = graph_reason(reasons[i].status, &error);
		if (reason != reasons[i].want)
			fail_msg("%ld %s %s gave %d", reasons[i].status, reasons[i].outer,
				 reasons[i].inner, reason);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_reasons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

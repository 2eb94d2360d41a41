/* Upload sessions with their strictness, what the service does to files by itself, and the faults
 * of writing. */
#include "simtalk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define RUN(t, steps) simtalk_run(t, steps, sizeof(steps) / sizeof((steps)[0]))
#define SESSION       "/me/drive/root:/a.bin:/createUploadSession"
#define OPEN(n)                                                                                   \
	{                                                                                         \
		"open", "POST", "/me/drive/root:/" n ":/createUploadSession",                     \
			.status = 200,                                                            \
			.body = "{\"item\":{\"@microsoft.graph.conflictBehavior\":\"replace\"}}", \
			.want = "nextExpectedRanges/0=0-;uploadUrl~", .save = "u=uploadUrl"       \
	}
#define WRITING(knobs)                                                        \
	{                                                                     \
		"knob", "POST", "admin/writing", .body = knobs, .status = 200 \
	}
#define FAULT(rule)                                                          \
	{                                                                    \
		"fault", "POST", "admin/faults", .body = rule, .status = 200 \
	}
#define NO_FAULTS                                                    \
	{                                                            \
		"no faults", "DELETE", "admin/faults", .status = 200 \
	}

/* 1 MiB of the pattern in fragments of 960 KiB and the rest. */
#define FIRST(code)                                                                                \
	{                                                                                          \
		"first", "PUT", "{u}", "Content-Range: bytes 0-983039/1048576", .bytes_n = 983040, \
										.status = code     \
	}
#define LAST(code)                                                                   \
	{                                                                            \
		"last", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048576", \
			.bytes_n = 65536, .from = 983040, .status = code             \
	}
#define HASH "XhQes7LH2XNgLdVXMMeilbw5oAI="

static void test_session(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "open", "POST", SESSION, .status = 200,
		  .body = "{\"item\":{\"@microsoft.graph.conflictBehavior\":\"fail\","
			  "\"fileSystemInfo\":"
			  "{\"lastModifiedDateTime\":\"2021-02-03T04:05:06Z\"}}}",
		  .want = "nextExpectedRanges/0=0-;uploadUrl~;expirationDateTime~",
		  .save = "u=uploadUrl" },
		{ "not there yet", "GET", "/me/drive/root:/a.bin", .status = 404 },
		{ "first", "PUT", "{u}", "Content-Range: bytes 0-983039/1048576", .bytes_n = 983040,
		  .status = 202, .want = "nextExpectedRanges/0=983040-;expirationDateTime~" },
		{ "overlap", "PUT", "{u}", "Content-Range: bytes 655360-983039/1048576",
		  .bytes_n = 327680, .status = 416,
		  .want = "code=invalidRange;inner=fragmentOverlap" },
		{ "gap", "PUT", "{u}", "Content-Range: bytes 1000000-1048575/1048576",
		  .bytes_n = 48576, .status = 416, .want = "inner=fragmentOutOfOrder" },
		{ "other total", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048577",
		  .bytes_n = 65536, .status = 400, .want = "inner=fragmentLengthMismatch" },
		{ "other length", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048576",
		  .bytes_n = 65535, .status = 400 },
		{ "no range", "PUT", "{u}", .bytes_n = 65536, .status = 400,
		  .want = "error/message=The Content-Range header is missing or malformed." },
		{ "status", "GET", "{u}", .status = 200,
		  .want = "nextExpectedRanges/0=983040-;nextExpectedRanges#=1" },
		{ "listed", "GET", "admin/sessions", .status = 200,
		  .want = "sessions#=1;sessions/0/path=a.bin;sessions/0/got=983040" },
		{ "last", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048576",
		  .bytes_n = 65536, .from = 983040, .status = 201,
		  .want = "name=a.bin;size=1048576;file/hashes/quickXorHash=" HASH
			  ";fileSystemInfo/lastModifiedDateTime=2021-02-03T04:05:06Z",
		  .save = "f=id;etag=eTag" },
		{ "over", "GET", "{u}", .status = 404,
		  .want = "code=itemNotFound;inner=uploadSessionNotFound" },
		{ "replaced by id", "POST", "/me/drive/items/{f}/createUploadSession", .body = "",
		  .status = 200, .save = "u=uploadUrl" },
		{ "whole", "PUT", "{u}", "Content-Range: bytes 0-9/10", .bytes_n = 10,
		  .status = 200, .want = "id={f};size=10;eTag~{etag}" },
		{ "earlier version", "GET", "/me/drive/items/{f}/versions", .status = 200,
		  .want = "value#=2;value/1/size=1048576" },
		{ "top-level members", "POST", SESSION, .status = 200,
		  .body = "{\"@microsoft.graph.conflictBehavior\":\"rename\"}",
		  .save = "u=uploadUrl" },
		{ "other name", "PUT", "{u}", "Content-Range: bytes 0-9/10", .bytes_n = 10,
		  .status = 201, .want = "name=a 1.bin" },
		OPEN("c.bin"),
		{ "cancel", "DELETE", "{u}", .status = 204 },
		{ "cancelled", "PUT", "{u}", "Content-Range: bytes 0-9/10", .bytes_n = 10,
		  .status = 404 },
		{ "other name than in the URL", "POST", SESSION, .status = 400,
		  .body = "{\"item\":{\"name\":\"b.bin\"}}" },
		{ "bad name", "POST", "/me/drive/root:/a%2a:/createUploadSession", .body = "{}",
		  .status = 400, .want = "inner=invalidPath" },
		{ "no parent", "POST", "/me/drive/root:/no/a:/createUploadSession", .body = "{}",
		  .status = 404 },
		{ "for a folder", "POST", "/me/drive/root/createUploadSession", .body = "{}",
		  .status = 409 },
		{ "counted", "GET", "admin/counters", .status = 200,
		  .want = "fragment=10;upload_status=2;upload_cancel=1;session=8;violations=0" },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

/* What a client is never to do: refused, and noted. */
static void test_rules(void **state)
{
	static const struct simtalk_step steps[] = {
		OPEN("a.bin"),
		{ "not aligned", "PUT", "{u}", "Content-Range: bytes 0-99999/200000",
		  .bytes_n = 100000, .status = 400, .want = "code=invalidRequest" },
		{ "a token", "PUT", "{u}", "Authorization: Bearer x\nContent-Range: bytes 0-9/10",
		  .bytes_n = 10, .status = 401 },
		{ "another URL", "PUT", "{u}%20", "Content-Range: bytes 0-9/10", .bytes_n = 10,
		  .status = 403 },
		{ "too long", "PUT", "{u}", "Content-Range: bytes 0-62914559/62914560",
		  .bytes_n = 62914560, .status = 413, .want = "inner=maxFragmentLengthExceeded" },
		{ "noted", "GET", "admin/violations", .status = 200, .want = "count=4" },
		{ "the longest", "PUT", "{u}", "Content-Range: bytes 0-62586879/62586881",
		  .bytes_n = 62586880, .status = 202 },
		{ "its rest", "PUT", "{u}", "Content-Range: bytes 62586880-62586880/62586881",
		  .bytes_n = 1, .status = 201 },
		{ "forget", "DELETE", "admin/violations", .status = 200 },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

static void test_conflicts(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "a", "PUT", "/me/drive/root:/a.bin:/content", .body = "one", .status = 201,
		  .save = "f=id;etag=eTag;ctag=cTag" },
		{ "wrong tag", "POST", SESSION, "If-Match: \"x\"", .body = "{}", .status = 412,
		  .want = "code=resourceModified;inner=preconditionFailed" },
		{ "none may be there", "POST", SESSION, "If-None-Match: *", .body = "{}",
		  .status = 412 },
		{ "right tag", "POST", SESSION, "If-Match: {ctag}", .body = "{}", .status = 200,
		  .save = "u=uploadUrl" },
		FIRST(202),
		{ "only the name changes", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"2021-02-03T04:05:06Z\"}"
			  "}",
		  .status = 200, .want = "eTag~{etag}" },
		LAST(200),
		{ "tags", "GET", "/me/drive/items/{f}", .status = 200,
		  .save = "etag=eTag;ctag=cTag" },
		{ "right tag again", "POST", SESSION, "If-Match: {ctag}", .body = "{}",
		  .status = 200, .save = "u=uploadUrl" },
		FIRST(202),
		{ "somebody writes", "POST", "admin/write",
		  .body = "{\"path\":\"a.bin\",\"size\":9}", .status = 200 },
		LAST(412),
		{ "the last was not taken", "GET", "{u}", .status = 200,
		  .want = "nextExpectedRanges/0=983040-" },
		{ "theirs is there", "GET", "/me/drive/items/{f}", .status = 200, .want = "size=9",
		  .save = "etag=eTag" },
		{ "cancel", "DELETE", "{u}", .status = 204 },
		/* The service's own bump, which a client must not take for a conflict. */
		WRITING("{\"session_bumps_etag\":true}"),
		{ "eTag", "POST", SESSION, "If-Match: {etag}", .body = "{}", .status = 200,
		  .save = "u=uploadUrl" },
		FIRST(202),
		LAST(412),
		/* A name that was taken meanwhile. */
		WRITING("{\"session_bumps_etag\":false}"),
		{ "fail", "POST", "/me/drive/root:/n.bin:/createUploadSession", .status = 200,
		  .body = "{\"item\":{\"@microsoft.graph.conflictBehavior\":\"fail\"}}",
		  .save = "u=uploadUrl" },
		FIRST(202),
		{ "somebody is first", "POST", "admin/create",
		  .body = "{\"path\":\"N.bin\",\"size\":9}", .status = 200 },
		LAST(409),
		WRITING("{\"session_conflict_early\":true,\"one_session\":true}"),
		{ "at once", "POST", SESSION, .status = 409,
		  .body = "{\"item\":{\"@microsoft.graph.conflictBehavior\":\"fail\"}}" },
		OPEN("m.bin"),
		{ "a second one", "POST", "/me/drive/root:/m.bin:/createUploadSession",
		  .body = "{}", .status = 409, .want = "code=nameAlreadyExists" },
		FIRST(202),
		{ "the file goes", "POST", "admin/mkdir", .body = "{\"path\":\"m.bin\"}",
		  .status = 200 },
		LAST(409),
		WRITING("{\"one_session\":false,\"quota_bytes\":1000}"),
		OPEN("q.bin"),
		FIRST(507),
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

static void test_deferred(void **state)
{
	static const struct simtalk_step business[] = {
		{ "open", "POST", SESSION, .body = "{\"deferCommit\":true}", .status = 200,
		  .save = "u=uploadUrl" },
		FIRST(202),
		{ "too early", "POST", "{u}", .body = "", .status = 400,
		  .want = "inner=uploadSessionIncomplete" },
		LAST(202),
		{ "not there", "GET", "/me/drive/root:/a.bin", .status = 404 },
		{ "nothing is missing", "GET", "{u}", .status = 200,
		  .want = "nextExpectedRanges#=0" },
		{ "commit", "POST", "{u}", .body = "", .status = 201,
		  .want = "file/hashes/quickXorHash=" HASH },
		{ "not so", "PUT", "/me/drive/root:/a.bin",
		  .body = "{\"@microsoft.graph.sourceUrl\":\"{u}\"}", .status = 400 },
	};
	static const struct simtalk_step personal[] = {
		{ "fail", "POST", SESSION, .status = 200,
		  .body = "{\"item\":{\"@microsoft.graph.conflictBehavior\":\"fail\"}}",
		  .save = "u=uploadUrl" },
		FIRST(202),
		{ "taken", "POST", "admin/create", .body = "{\"path\":\"a.bin\",\"size\":9}",
		  .status = 200 },
		LAST(409),
		{ "under another name", "PUT", "/me/drive/root:/a.bin",
		  .body = "{\"name\":\"b.bin\",\"@microsoft.graph.conflictBehavior\":\"rename\","
			  "\"@microsoft.graph.sourceUrl\":\"{u}\"}",
		  .status = 201, .want = "name=b.bin;file/hashes/quickXorHash=" HASH },
		{ "no POST here", "POST", SESSION, .body = "{}", .status = 200,
		  .save = "u=uploadUrl" },
		{ "personal", "POST", "{u}", .body = "", .status = 400 },
		{ "told before", "POST", SESSION, .body = "{\"item\":{\"fileSize\":2000000000000}}",
		  .status = 507 },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, business);
	simtalk_stop(&t);
	simtalk_start(&t, "personal-new");
	RUN(&t, personal);
	simtalk_stop(&t);
}

static void test_expiry(void **state)
{
	static const struct simtalk_step steps[] = {
		OPEN("a.bin"),
		FIRST(202),
		{ "vanish", "DELETE", "admin/sessions", .status = 200 },
		LAST(404),
		{ "no trace", "GET", "/me/drive/root:/a.bin", .status = 404 },
		WRITING("{\"session_lifetime_ms\":1}"),
		OPEN("a.bin"),
	};
	static const struct simtalk_step expired = { "expired", "GET", "{u}", .status = 404 };
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_until(&t, &expired);
	simtalk_stop(&t);
}

/* What reads do after writes, and files after uploads. */
static void test_after(void **state)
{
	static const struct simtalk_step lag[] = {
		WRITING("{\"lag_id_ms\":60000,\"lag_path_ms\":60000}"),
		{ "file", "PUT", "/me/drive/root:/a:/content", .body = "x", .status = 201,
		  .save = "a=id" },
		{ "not by id", "GET", "/me/drive/items/{a}", .status = 404 },
		{ "not by path", "GET", "/me/drive/root:/a", .status = 404 },
		{ "not in the list", "GET", "/me/drive/root/children", .status = 200,
		  .want = "value#=0" },
		{ "written again", "PUT", "/me/drive/root:/a:/content", .body = "y", .status = 200,
		  .want = "id={a}" },
		{ "not to be changed", "PATCH", "/me/drive/items/{a}", .body = "{\"name\":\"b\"}",
		  .status = 404 },
		{ "folder", "POST", "/me/drive/root/children",
		  .body = "{\"name\":\"d\",\"folder\":{}}", .status = 201, .save = "d=id" },
		{ "not to be filled", "PUT", "/me/drive/root:/d/x:/content", .body = "x",
		  .status = 404 },
		WRITING("{\"lag_id_ms\":0,\"lag_path_ms\":300}"),
		{ "by id it is there", "GET", "/me/drive/items/{a}", .status = 200 },
	};
	static const struct simtalk_step appears = { "by path", "GET", "/me/drive/root:/a",
						     .status = 200, .want = "id={a}" };
	static const struct simtalk_step content[] = {
		WRITING("{\"lag_path_ms\":0,\"lag_content_ms\":300}"),
		{ "once", "PUT", "/me/drive/items/{a}/content", .body = "one", .status = 200,
		  .want = "size=3" },
		{ "twice", "PUT", "/me/drive/items/{a}/content", .body = "four", .status = 200,
		  .want = "size=4", .save = "etag=eTag" },
		{ "the one before", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "size=1;eTag~{etag}" },
		WRITING("{\"lag_content_ms\":0}"),
		{ "the new one", "GET", "/me/drive/items/{a}", .status = 200,
		  .want = "size=4;eTag={etag}" },
	};
	static const struct simtalk_step office[] = {
		WRITING("{\"lag_path_ms\":0,\"rewrite_office\":true,\"etag_bump_ms\":50}"),
		{ "document", "PUT", "/me/drive/root:/a.docx:/content", .body = "hello",
		  .status = 201,
		  .want = "size~5;file/hashes/quickXorHash~aCgDG9jwBgAAAAAABQAAAAAAAAA=",
		  .save = "o=id;h=file/hashes/quickXorHash;etag=eTag;ctag=cTag" },
		{ "session", "POST", "/me/drive/root:/b.xlsx:/createUploadSession", .body = "{}",
		  .status = 200, .save = "u=uploadUrl" },
		FIRST(202),
		{ "last", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048576",
		  .bytes_n = 65536, .from = 983040, .status = 201,
		  .want = "size~1048576;file/hashes/quickXorHash~" HASH, .save = "s=size" },
		{ "no document", "PUT", "/me/drive/root:/a.txt:/content", .body = "hello",
		  .status = 201, .want = "size=5" },
	};
	static const struct simtalk_step bumped = { "bumped",
						    "GET",
						    "/me/drive/items/{o}",
						    "If-None-Match: {etag}",
						    .status = 200,
						    .want = "eTag~{etag};cTag={ctag};"
							    "file/hashes/quickXorHash={h}" };
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, lag);
	simtalk_until(&t, &appears);
	RUN(&t, content);
	RUN(&t, office);
	simtalk_until(&t, &bumped);
	simtalk_stop(&t);
}

static void test_faults(void **state)
{
	static const struct simtalk_step steps[] = {
		FAULT("{\"class\":\"put\",\"nth\":2,\"phase\":\"before\",\"action\":{\"status\":"
		      "503}}"),
		{ "one", "PUT", "/me/drive/root:/1:/content", .body = "x", .status = 201 },
		{ "two", "PUT", "/me/drive/root:/2:/content", .body = "x", .status = 503 },
		{ "two did not happen", "GET", "/me/drive/root:/2", .status = 404 },
		{ "three", "PUT", "/me/drive/root:/3:/content", .body = "x", .status = 201 },
		NO_FAULTS,
		FAULT("{\"class\":\"mkdir\",\"first\":1,\"action\":\"reset\"}"),
		{ "lost answer", "POST", "/me/drive/root/children",
		  .body = "{\"name\":\"d\",\"folder\":{}}", .status = SIMTALK_BROKEN },
		{ "but it happened", "GET", "/me/drive/root:/d", .status = 200 },
		FAULT("{\"class\":\"put\",\"match\":\"lost\",\"first\":1,\"action\":\"reset\"}"),
		{ "lost answer", "PUT", "/me/drive/root:/lost:/content", .body = "x",
		  .status = SIMTALK_BROKEN },
		{ "but it happened", "GET", "/me/drive/root:/lost", .status = 200,
		  .want = "size=1" },
		FAULT("{\"class\":\"put\",\"match\":\"cut\",\"first\":1,\"action\":{\"reset_in\":"
		      "500}}"),
		{ "reset amid the body", "PUT", "/me/drive/root:/cut:/content", .bytes_n = 100000,
		  .status = SIMTALK_BROKEN },
		{ "nothing came of it", "GET", "/me/drive/root:/cut", .status = 404 },
		NO_FAULTS,
		FAULT("{\"class\":\"fragment\",\"match\":\"a.bin\",\"nth\":2,"
		      "\"action\":{\"reset_in\":60000}}"),
		OPEN("a.bin"),
		FIRST(202),
		LAST(SIMTALK_BROKEN),
		{ "not received", "GET", "{u}", .status = 200,
		  .want = "nextExpectedRanges/0=983040-" },
		LAST(201),
		NO_FAULTS,
		FAULT("{\"class\":\"fragment\",\"nth\":2,\"action\":\"reset\"}"),
		OPEN("b.bin"),
		FIRST(202),
		LAST(SIMTALK_BROKEN),
		{ "over", "GET", "{u}", .status = 404 },
		{ "and done", "GET", "/me/drive/root:/b.bin", .status = 200,
		  .want = "file/hashes/quickXorHash=" HASH },
		NO_FAULTS,
		FAULT("{\"class\":\"fragment\",\"first\":1,\"action\":{\"drop_in\":0}}"),
		OPEN("c.bin"),
		FIRST(SIMTALK_BROKEN),
		FIRST(202),
		FAULT("{\"class\":\"fragment\",\"first\":1,\"action\":{\"body\":\"\"}}"),
		{ "an empty body", "PUT", "{u}", "Content-Range: bytes 983040-1048575/1048576",
		  .bytes_n = 65536, .from = 983040, .status = 201, .want = "body=" },
		{ "is there", "GET", "/me/drive/root:/c.bin", .status = 200,
		  .want = "file/hashes/quickXorHash=" HASH },
		NO_FAULTS,
		FAULT("{\"class\":\"put\",\"first\":1,\"action\":{\"wrong_hash\":true}}"),
		{ "wrong hash", "PUT", "/me/drive/root:/h:/content", .body = "hello", .status = 201,
		  .want = "file/hashes/quickXorHash=ACgDG9jwBgAAAAAABQAAAAAAAAA=" },
		{ "the right one", "GET", "/me/drive/root:/h", .status = 200,
		  .want = "file/hashes/quickXorHash=aCgDG9jwBgAAAAAABQAAAAAAAAA=" },
		NO_FAULTS,
		FAULT("{\"class\":\"put\",\"first\":1,\"action\":{\"no_hash\":true}}"),
		{ "no hash", "PUT", "/me/drive/root:/h:/content", .body = "hello", .status = 200,
		  .want = "file/hashes/quickXorHash=;size=5" },
		NO_FAULTS,
		FAULT("{\"class\":\"fragment\",\"nth\":2,\"action\":{\"vanish\":true}}"),
		OPEN("v.bin"),
		FIRST(202),
		LAST(404),
		{ "gone for good", "GET", "{u}", .status = 404 },
		NO_FAULTS,
		FAULT("{\"class\":\"write\",\"nth\":2,\"phase\":\"before\","
		      "\"action\":{\"status\":500}}"),
		{ "a write", "PATCH", "/me/drive/root:/h", .body = "{\"name\":\"i\"}",
		  .status = 200 },
		{ "no write", "GET", "/me/drive/root:/i", .status = 200 },
		{ "the second write", "DELETE", "/me/drive/root:/i", .status = 500 },
		NO_FAULTS,
		FAULT("{\"class\":\"patch\",\"first\":1,\"action\":{\"status\":204}}"),
		{ "no content", "PATCH", "/me/drive/root:/i", .body = "{\"name\":\"h\"}",
		  .status = 204, .want = "body=" },
		{ "but a name", "GET", "/me/drive/root:/h", .status = 200 },
		FAULT("{\"class\":\"patch\",\"first\":1,\"action\":{\"as_status\":202}}"),
		{ "another status", "PATCH", "/me/drive/root:/h", .body = "{}", .status = 202,
		  .want = "name=h" },
		FAULT("{\"class\":\"session\",\"first\":1,\"action\":{\"status\":429,"
		      "\"retry_after\":\"3\"}}"),
		{ "throttled", "POST", SESSION, .body = "{}", .status = 429,
		  .want = "code=activityLimitReached;header:Retry-After=3" },
		{ "connections are well", "GET", "admin/counters", .status = 200,
		  .want = "content_stalled=0" },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_session),   cmocka_unit_test(test_rules),
		cmocka_unit_test(test_conflicts), cmocka_unit_test(test_deferred),
		cmocka_unit_test(test_expiry),    cmocka_unit_test(test_after),
		cmocka_unit_test(test_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

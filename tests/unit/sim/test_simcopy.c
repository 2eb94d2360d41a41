/* Copies and batches; and that whatever is written is seen by others and never forgotten. */
#include "simtalk.h"

#include <graphlive/graphlive.h>

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RUN(t, steps) simtalk_run(t, steps, sizeof(steps) / sizeof((steps)[0]))
#define CHILDREN      "/me/drive/root/children"
#define FOLDER(name, behaviour)                                            \
	"{\"name\":\"" name "\",\"folder\":{},\"@microsoft.graph.conflict" \
	"Behavior\":\"" behaviour "\"}"

/* What was ever stored can be found, for tests that nothing is lost. */
static void test_history(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "one", "PUT", "/me/drive/root:/a:/content", .body = "hello", .status = 201,
		  .save = "a=id" },
		{ "two", "PUT", "/me/drive/root:/a:/content", .body = "abc", .status = 200 },
		{ "other", "PUT", "/me/drive/root:/b:/content", .body = "a", .status = 201,
		  .save = "b=id" },
		{ "over it", "PATCH", "/me/drive/items/{b}", .status = 200,
		  .body = "{\"name\":\"a\",\"@microsoft.graph.conflictBehavior\":\"replace\"}" },
		{ "all", "GET", "admin/history", .status = 200,
		  .want = "contents#=3;contents/0/id={a};contents/0/current=false;"
			  "contents/0/hash=aCgDG9jwBgAAAAAABQAAAAAAAAA=;contents/0/deleted=true;"
			  "contents/1/version=2;contents/1/current=true;"
			  "contents/1/hash=YRDDGAAAAAAAAAAAAwAAAAAAAAA=;contents/2/id={b};"
			  "contents/2/deleted=false;contents/2/hash=YQAAAAAAAAAAAAAAAQAAAAAAAAA=" },
		{ "bytes", "GET", "admin/content?id={a}&version=1", .status = 200,
		  .want = "body=hello" },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_stop(&t);
}

static void test_copy(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "folder", "POST", "admin/create",
		  .body = "{\"path\":\"a/b/f.bin\",\"size\":70000,\"mtime\":1000000000}",
		  .status = 200 },
		{ "stored", "PUT", "/me/drive/root:/a/s:/content", .body = "stored",
		  .status = 201 },
		{ "hash", "GET", "/me/drive/root:/a/b/f.bin", .status = 200,
		  .save = "hash=file/hashes/quickXorHash;f=id" },
		{ "slow", "POST", "admin/writing", .body = "{\"copy_ms\":600000}", .status = 200 },
		{ "begin", "POST", "/me/drive/items/{f}/copy", .body = "{\"name\":\"later\"}",
		  .status = 202, .want = "header:Location~;body=", .save = "m=header:Location" },
		{ "not yet", "GET", "{m}", .status = 202,
		  .want = "status=inProgress;operation=ItemCopy" },
		{ "at once", "POST", "admin/writing", .body = "{\"copy_ms\":0}", .status = 200 },
		{ "copy", "POST", "/me/drive/root:/a:/copy", .body = "{\"name\":\"c\"}",
		  .status = 202, .save = "m=header:Location" },
	};
	static const struct simtalk_step is_done = { "done",
						     "GET",
						     "{m}",
						     .status = 200,
						     .want = "status=completed;resourceId~",
						     .save = "c=resourceId" };
	static const struct simtalk_step after[] = {
		{ "the copy", "GET", "/me/drive/items/{c}", .status = 200, .want = "name=c" },
		{ "same bytes, other time", "GET", "/me/drive/root:/c/b/f.bin", .status = 200,
		  .want = "size=70000;file/hashes/quickXorHash={hash};id~{f};"
			  "fileSystemInfo/lastModifiedDateTime~2001-09-09T01:46:40Z" },
		{ "stored bytes", "GET", "admin/content?path=c/s", .status = 200,
		  .want = "body=stored" },
		{ "taken", "POST", "/me/drive/root:/a:/copy", .body = "{\"name\":\"C\"}",
		  .status = 202, .save = "m=header:Location" },
	};
	static const struct simtalk_step failed = {
		"failed", "GET", "{m}", .status = 200,
		.want = "status=failed;code=nameAlreadyExists"
	};
	static const struct simtalk_step last[] = {
		{ "rename", "POST",
		  "/me/drive/root:/a:/copy?@microsoft.graph.conflictBehavior=rename",
		  .body = "{\"name\":\"c\"}", .status = 202, .save = "m=header:Location" },
		{ "the root", "POST", "/me/drive/root/copy", .body = "{}", .status = 400 },
		{ "no key", "GET", "{m}x", .status = 404 },
	};
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	simtalk_until(&t, &is_done);
	RUN(&t, after);
	simtalk_until(&t, &failed);
	simtalk_run(&t, last, 1);
	simtalk_until(&t, &is_done);
	simtalk_run(&t, last + 1, 1);
	simtalk_stop(&t);
}

static void test_batch(void **state)
{
	static const struct simtalk_step steps[] = {
		{ "parts", "POST", "/$batch",
		  .body = "{\"requests\":["
			  "{\"id\":\"1\",\"method\":\"POST\",\"url\":\"/me/drive/root/children\","
			  "\"headers\":{\"Content-Type\":\"application/json\"},"
			  "\"body\":{\"name\":\"a\",\"folder\":{}}},"
			  "{\"id\":\"2\",\"method\":\"PUT\",\"url\":\"/me/drive/root:/a/f:/"
			  "content\","
			  "\"headers\":{\"Content-Type\":\"text/plain\"},\"body\":\"aGVsbG8=\","
			  "\"dependsOn\":[\"1\"]},"
			  "{\"id\":\"3\",\"method\":\"DELETE\",\"url\":\"/me/drive/root:/none\"},"
			  "{\"id\":\"4\",\"method\":\"GET\",\"url\":\"/me/drive/root\","
			  "\"dependsOn\":[\"3\"]},"
			  "{\"id\":\"5\",\"method\":\"GET\",\"url\":\"/me/drive/root:/a/f:/"
			  "content\","
			  "\"dependsOn\":[\"2\"]}]}",
		  .status = 200,
		  .want = "responses#=5;responses/0/id=5;responses/0/status=302;"
			  "responses/0/headers/Location~;responses/1/id=4;responses/1/status=424;"
			  "responses/2/status=404;responses/2/body/error/code=itemNotFound;"
			  "responses/3/status=201;responses/3/body/size=5;responses/4/status=201" },
		{ "bytes", "GET", "admin/content?path=a/f", .status = 200, .want = "body=hello" },
		{ "counted each", "GET", "admin/counters", .status = 200,
		  .want = "batch=1;mkdir=1;put=1;delete=1;content_url=1" },
		{ "throttled part", "POST", "admin/faults",
		  .body = "{\"class\":\"patch\",\"first\":1,\"action\":{\"status\":429,"
			  "\"retry_after\":\"7\"}}",
		  .status = 200 },
		{ "in the whole", "POST", "/$batch",
		  .body = "{\"requests\":[{\"id\":\"x\",\"method\":\"PATCH\","
			  "\"url\":\"/me/drive/root:/a\",\"body\":{\"name\":\"b\"}}]}",
		  .status = 200,
		  .want = "responses/0/status=429;responses/0/headers/Retry-After=7" },
		{ "same id", "POST", "/$batch",
		  .body = "{\"requests\":[{\"id\":\"x\",\"method\":\"GET\",\"url\":\"/me/drive\"},"
			  "{\"id\":\"x\",\"method\":\"GET\",\"url\":\"/me/drive\"}]}",
		  .status = 400 },
		{ "circle", "POST", "/$batch",
		  .body = "{\"requests\":[{\"id\":\"x\",\"method\":\"GET\",\"url\":\"/me/drive\","
			  "\"dependsOn\":[\"y\"]},{\"id\":\"y\",\"method\":\"GET\","
			  "\"url\":\"/me/drive\",\"dependsOn\":[\"x\"]}]}",
		  .status = 400 },
		{ "unknown", "POST", "/$batch",
		  .body = "{\"requests\":[{\"id\":\"x\",\"method\":\"GET\",\"url\":\"/me/drive\","
			  "\"dependsOn\":[\"y\"]}]}",
		  .status = 400 },
		{ "none", "POST", "/$batch", .body = "{\"requests\":[]}", .status = 400 },
	};
	char body[4000] = "{\"requests\":[";
	struct simtalk_step many = { "many",       "POST",        "/$batch",
				     .body = body, .status = 200, .want = "responses#=20" };
	struct simtalk t;

	simtalk_start(&t, "business");
	RUN(&t, steps);
	for (int i = 0; i < 21; i++) {
		size_t n = strlen(body);

		snprintf(body + n, sizeof(body) - n,
			 "{\"id\":\"%d\",\"method\":\"GET\",\"url\":\"/me/drive/root\"}%s", i,
			 i == 19 ? "]}" : ",");
		if (i == 19) {
			simtalk_run(&t, &many, 1);
			body[strlen(body) - 2] = ',';
			body[strlen(body) - 1] = '\0';
		}
	}
	strcpy(body + strlen(body) - 1, "]}");
	many.status = 400;
	many.want = NULL;
	simtalk_run(&t, &many, 1);
	simtalk_stop(&t);
}

/* --- seen by others --- */

struct watch {
	struct simtalk *t;
	bool is_up;
	unsigned notification_n;
};

static void on_event(void *arg, struct graphlive *live, enum graphlive_event event,
		     const char *reason)
{
	struct watch *w = arg;

	w->is_up = w->is_up || event == GRAPHLIVE_UP;
	w->notification_n += event == GRAPHLIVE_NOTIFICATION;
}

static void get_endpoint(void *arg, struct graphlive *live)
{
	struct watch *w = arg;
	char *url = simproc_endpoint(&w->t->proc, w->t->token);

	assert_int_equal(graphlive_set_endpoint(live, url, 0), 0);
	free(url);
}

static void turn(struct graphlive *live, const bool *is_up, const unsigned *n, unsigned more_than)
{
	for (int left = 300; left > 0 && !(n ? *n > more_than : *is_up); left--) {
		struct pollfd p = { .fd = graphlive_fd(live), .events = POLLIN };

		if (poll(&p, 1, 100) > 0)
			assert_int_equal(graphlive_dispatch(live), 0);
	}
	assert_true(n ? *n > more_than : *is_up);
}

/* Each change is in the next delta, and somebody who listens is told. */
static void test_told(void **state)
{
	static const struct simtalk_step start[] = {
		{ "old", "PUT", "/me/drive/root:/old:/content", .body = "x", .status = 201,
		  .save = "f=id" },
		{ "fast copies", "POST", "admin/writing", .body = "{\"copy_ms\":0}",
		  .status = 200 },
		{ "session", "POST", "/me/drive/root:/u:/createUploadSession", .body = "{}",
		  .status = 200, .save = "u=uploadUrl" },
		{ "delta", "GET", "/me/drive/root/delta?token=latest", .status = 200,
		  .save = "delta=@odata.deltaLink" },
	};
	static const struct simtalk_step changes[] = {
		{ "mkdir", "POST", CHILDREN, .body = FOLDER("a", "fail"), .status = 201 },
		{ "put", "PUT", "/me/drive/root:/a/f:/content", .body = "x", .status = 201 },
		{ "replace", "PUT", "/me/drive/root:/a/f:/content", .body = "y", .status = 200 },
		{ "rename", "PATCH", "/me/drive/items/{f}", .body = "{\"name\":\"new\"}",
		  .status = 200 },
		{ "times", "PATCH", "/me/drive/items/{f}",
		  .body = "{\"fileSystemInfo\":{\"lastModifiedDateTime\":\"2021-02-03T04:05:06Z\"}"
			  "}",
		  .status = 200 },
		{ "fragment", "PUT", "{u}", "Content-Range: bytes 0-9/10", .bytes_n = 10,
		  .status = 201 },
		{ "copy", "POST", "/me/drive/items/{f}/copy", .body = "{\"name\":\"copy\"}",
		  .status = 202 },
		{ "delete", "DELETE", "/me/drive/items/{f}", .status = 204 },
	};
	struct graphlive_options options = { .size = sizeof(options),
					     .on_event = on_event,
					     .get_endpoint = get_endpoint };
	struct simtalk t;
	struct watch w = { .t = &t };
	struct graphlive *live;

	simtalk_start(&t, "personal-new");
	options.arg = &w;
	assert_int_equal(graphlive_new(&options, &live), 0);
	assert_int_equal(graphlive_start(live), 0);
	turn(live, &w.is_up, NULL, 0);
	RUN(&t, start);
	turn(live, NULL, &w.notification_n, 0);
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		unsigned before = w.notification_n;
		struct simtalk_step told = { changes[i].what,    "GET",
					     "{delta}",          .status = 200,
					     .want = "value#~0", .save = "delta=@odata.deltaLink" };
		char path[2000];

		simtalk_run(&t, &changes[i], 1);
		turn(live, NULL, &w.notification_n, before);
		/* A link of the service: behind the API's base like any other path. */
		snprintf(path, sizeof(path), "%s", simtalk_saved(&t, "delta") + strlen(t.proc.api));
		told.path = path;
		simtalk_run(&t, &told, 1);
	}
	graphlive_free(live);
	simtalk_stop(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_batch),
		cmocka_unit_test(test_history),
		cmocka_unit_test(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

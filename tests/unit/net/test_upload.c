#include "service.h"
#include "upload.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

enum {
	UNIT = UPLOAD_UNIT,
	SIZE = 3 * UNIT - 1000, /* three chunks of one unit */
	CONTENT_MAX = 16 * UNIT,
	FAULTS_N = 12,
};

static char content(uint64_t i)
{
	return (char)(i * 7 + i / UNIT);
}

/*
 * The service: sessions as the sheet of the API has them, with one fault for each PUT, GET or POST
 * that comes, in their order. A fault is "STATUS HEADERS|BODY", with a "+" before it when the
 * chunk is taken all the same; "reset", "+reset" close the connection in place of an answer;
 * "half" after half of the chunk; "next=N" answers a wrong offset, "take=N" takes N bytes only.
 */
struct fake {
	pthread_mutex_t lock; /* guards all below */
	const char *const *puts, *const *gets, *const *posts;
	atomic_uint puts_n, gets_n, posts_n, deletes_n, items_n;
	unsigned session; /* the number of the one that lives; 0: none */
	uint64_t size, next;
	char *taken; /* CONTENT_MAX */
	bool is_committed, has_secret_leaked, has_bad_chunk;
	char created[2048]; /* the last body of createUploadSession, and its If-Match */
	char url[64];
	bool hides_item; /* the last answer has no body */
};

static const char *fault_at(const char *const *faults, unsigned n)
{
	for (unsigned i = 0; faults && i < FAULTS_N && faults[i]; i++)
		if (i == n)
			return faults[i];
	return "";
}

static void reply(struct script_conn *conn, const char *fault)
{
	const char *bar = strchr(fault, '|');
	char headers[256];

	if (strcmp(fault, "reset") == 0 || strcmp(fault, "half") == 0) {
		script_reset(conn);
		return;
	}
	snprintf(headers, sizeof(headers), "%.*s",
		 (int)(bar - fault) > 4 ? (int)(bar - fault) - 4 : 0, fault + 4);
	script_reply(conn, atoi(fault), headers, bar + 1);
}

#define ITEM "{\"id\":\"I\",\"name\":\"a.bin\",\"size\":%llu,\"eTag\":\"\\\"e,2\\\"\",\"file\":{}}"

static void reply_item(struct script_conn *conn, const struct fake *f, int status)
{
	char body[256];

	snprintf(body, sizeof(body), ITEM, (unsigned long long)f->size);
	script_reply(conn, status, "", f->hides_item && status == 201 ? "" : body);
}

static void reply_ranges(struct script_conn *conn, int status, uint64_t next)
{
	char body[256];

	snprintf(body, sizeof(body),
		 "{\"expirationDateTime\":\"2030-01-01T00:00:00Z\",\"nextExpectedRanges\":[\"%llu-"
		 "\"]}",
		 (unsigned long long)next);
	script_reply(conn, status, "", body);
}

static void on_post(struct script_conn *conn, const struct script_request *req, struct fake *f)
{
	const char *fault = fault_at(f->posts, f->posts_n++);
	char match[128] = "", bearer[64] = "", body[256];

	(void)script_header(req, "If-Match", match, sizeof(match));
	f->has_secret_leaked |= !script_header(req, "Authorization", bearer, sizeof(bearer));
	snprintf(f->created, sizeof(f->created), "%.500s %s %.1000s", req->target, match,
		 req->body);
	if (fault[0]) {
		reply(conn, fault);
		return;
	}
	f->session++;
	f->next = 0;
	snprintf(body, sizeof(body), "{\"uploadUrl\":\"%s/up/%u?secret=%%2F\",%s}", f->url,
		 f->session, "\"nextExpectedRanges\":[\"0-\"]");
	script_reply(conn, 200, "", body);
}

static void take_chunk(struct script_conn *conn, const struct script_request *req, struct fake *f,
		       const char *fault)
{
	unsigned long long first, last, total;
	size_t take = req->body_len;
	char range[100] = "";

	(void)script_header(req, "Content-Range", range, sizeof(range));
	if (sscanf(range, "bytes %llu-%llu/%llu", &first, &last, &total) != 3 ||
	    last - first + 1 != req->body_len || total != f->size ||
	    ((req->body_len % UNIT || req->body_len > UPLOAD_CHUNK_MAX) && last + 1 != total)) {
		f->has_bad_chunk = true;
		script_reply(conn, 400, "", "{\"error\":{\"code\":\"invalidRequest\"}}");
		return;
	}
	if (first != f->next) {
		script_reply(conn, 416, "", "{\"error\":{\"code\":\"invalidRange\"}}");
		return;
	}
	if (strncmp(fault, "take=", 5) == 0)
		take = strtoul(fault + 5, NULL, 10);
	memcpy(f->taken + first, req->body, take);
	f->next += take;
	if (f->next == f->size) {
		f->is_committed = true;
		f->session += 100; /* used up */
	}
	if (fault[0] == '+')
		reply(conn, fault + 1);
	else if (strncmp(fault, "next=", 5) == 0)
		reply_ranges(conn, 202, strtoull(fault + 5, NULL, 10));
	else if (f->is_committed)
		reply_item(conn, f, 201);
	else
		reply_ranges(conn, 202, f->next);
}

static void on_session(struct script_conn *conn, const struct script_request *req, struct fake *f)
{
	unsigned number = (unsigned)atoi(req->target + strlen("/up/"));
	const char *fault;
	char bearer[64];

	f->has_secret_leaked |= script_header(req, "Authorization", bearer, sizeof(bearer)) ||
				!strstr(req->target, "?secret=%2F");
	if (req->method[0] == 'D') {
		f->deletes_n++;
		f->session += number == f->session ? 100 : 0;
		script_printf(conn, "HTTP/1.1 204 No\r\n\r\n");
		return;
	}
	fault = req->method[0] == 'P' ? fault_at(f->puts, f->puts_n++)
				      : fault_at(f->gets, f->gets_n++);
	if (fault[0] && !strchr("+nt", fault[0]))
		reply(conn, fault);
	else if (number != f->session)
		script_reply(conn, 404, "", "{\"error\":{\"code\":\"itemNotFound\"}}");
	else if (req->method[0] == 'P')
		take_chunk(conn, req, f, fault);
	else
		reply_ranges(conn, 200, f->next);
}

static size_t take(const struct script_request *req, size_t len, void *arg)
{
	struct service *sv = arg;
	struct fake *f = sv->arg;
	bool is_half;

	if (req->method[0] != 'P' || req->method[1] != 'U')
		return len;
	pthread_mutex_lock(&f->lock);
	is_half = strcmp(fault_at(f->puts, f->puts_n), "half") == 0;
	pthread_mutex_unlock(&f->lock);
	return is_half ? len / 2 : len;
}

static void answer(struct script_conn *conn, const struct script_request *req, void *arg)
{
	struct fake *f = arg;

	pthread_mutex_lock(&f->lock);
	if (strncmp(req->target, "/up/", 4) == 0) {
		on_session(conn, req, f);
	} else if (req->method[0] == 'P') {
		on_post(conn, req, f);
	} else {
		f->items_n++;
		reply_item(conn, f, 200);
	}
	pthread_mutex_unlock(&f->lock);
}

/* --- the client's side --- */

struct job {
	struct service *sv;
	struct upload *upload;
	atomic_uint ends_n;
	unsigned progress_n;
	struct graph_result result;
	bool has_item, has_url;
	char url[256];
	uint64_t sent_bytes, read_bytes;
	int read_error;
	bool reads_late;
	atomic_uint reads_n;
	/* a read that was not answered */
	bool holds_read;
	uint64_t held_off;
	void *held_buf;
	size_t held_len;
};

static void fill(char *buf, uint64_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = content(off + i);
}

static void answer_late(void *arg)
{
	struct job *job = arg;

	fill(job->held_buf, job->held_off, job->held_len);
	upload_answer(job->upload, job->read_error);
}

static void on_read(void *arg, uint64_t off, void *buf, size_t len)
{
	struct job *job = arg;

	job->reads_n++;
	job->read_bytes += len;
	job->held_buf = buf;
	job->held_off = off;
	job->held_len = len;
	if (job->holds_read)
		return;
	if (job->reads_n % 2 == 0)
		assert_int_equal(loop_post_new(job->sv->bench.loop, answer_late, job), 0);
	else
		answer_late(job);
}

static void on_progress(void *arg, const char *url, uint64_t sent_bytes)
{
	struct job *job = arg;

	job->progress_n++;
	job->has_url = url != NULL;
	if (url)
		snprintf(job->url, sizeof(job->url), "%s", url);
	job->sent_bytes = sent_bytes;
}

static void on_done(void *arg, const struct graph_result *result, const struct item *item)
{
	struct job *job = arg;

	job->upload = NULL;
	job->result = *result;
	job->has_item = item != NULL;
	if (item)
		assert_string_equal(item->id, "I");
	job->ends_n++;
}

struct setup {
	struct service sv;
	struct fake fake;
	struct graph *graph;
	struct upload_pool *pool;
};

static void setup_init(struct setup *s, uint64_t size, const struct upload_options *options)
{
	static const struct upload_options small = { .chunk_bytes = UNIT };

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->fake.lock, NULL);
	s->fake.size = size;
	s->fake.taken = calloc(1, CONTENT_MAX);
	service_init(&s->sv, answer, &s->fake, 3600);
	pthread_mutex_lock(&s->fake.lock);
	snprintf(s->fake.url, sizeof(s->fake.url), "%s", s->sv.url);
	pthread_mutex_unlock(&s->fake.lock);
	script_set_take(s->sv.script, take);
	assert_int_equal(
		graph_new(s->sv.bench.loop, s->sv.bench.http, s->sv.auth, s->sv.url, &s->graph), 0);
	assert_int_equal(upload_pool_new(s->graph, options ? options : &small, &s->pool), 0);
}

static void setup_fini(struct setup *s)
{
	assert_int_equal(upload_pool_bytes(s->pool), 0);
	upload_pool_free(s->pool);
	graph_free(s->graph);
	service_fini(&s->sv);
	pthread_mutex_destroy(&s->fake.lock);
	free(s->fake.taken);
}

static struct upload_spec spec_of(struct setup *s, struct job *job)
{
	job->sv = &s->sv;
	return (struct upload_spec){ .drive_id = "D",
				     .id = "P",
				     .name = "a #1.bin",
				     .conflict = GRAPH_CONFLICT_FAIL,
				     .mtime_ns = 1704067200000000000,
				     .btime_ns = ITEM_TIME_UNKNOWN,
				     .size = s->fake.size,
				     .priority = HTTP_BACKGROUND,
				     .read = on_read,
				     .on_progress = on_progress,
				     .on_done = on_done,
				     .arg = job };
}

static void run_until(struct setup *s, const atomic_uint *n, unsigned want)
{
	uint64_t end_ms = clock_mono_ms() + 60000;

	while (*n < want) {
		bench_turn(&s->sv.bench);
		assert_true(clock_mono_ms() < end_ms);
	}
	/* What the service noted for the last request is all there. */
	pthread_mutex_lock(&s->fake.lock);
	pthread_mutex_unlock(&s->fake.lock);
}

static void check_content(struct setup *s)
{
	for (uint64_t i = 0; i < s->fake.size; i++)
		if (s->fake.taken[i] != content(i))
			fail_msg("byte %llu is another", (unsigned long long)i);
}

/* --- every answer to a chunk: rows --- */

#define ERROR(code) "{\"error\":{\"code\":\"" code "\"}}"

static const struct row {
	const char *name;
	const char *puts[FAULTS_N], *gets[FAULTS_N], *posts[FAULTS_N];
	int want;
	enum graph_reason reason;
	bool is_unclear;
	unsigned sessions_n, puts_n, gets_n, deletes_n;
	bool keeps; /* the session, at the end */
	bool rereads;
} rows[] = {
	{ .name = "all well", .sessions_n = 1, .puts_n = 3 },

	/* lost answers and connections, at each chunk */
	{ .name = "reset in chunk 1",
	  .puts = { "reset" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "reset in chunk 2",
	  .puts = { "", "reset" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "reset in chunk 3",
	  .puts = { "", "", "reset" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "half of chunk 1",
	  .puts = { "half" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "half of chunk 2",
	  .puts = { "", "half" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "half of chunk 3",
	  .puts = { "", "", "half" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "lost answer to chunk 1",
	  .puts = { "+reset" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "lost answer to chunk 2",
	  .puts = { "", "+reset" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "lost answer to the last chunk",
	  .puts = { "", "", "+reset" },
	  .want = -ESTALE,
	  .reason = GRAPH_NO_REPLY,
	  .is_unclear = true,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "500 after the last chunk",
	  .puts = { "", "", "+500|" },
	  .want = -ESTALE,
	  .reason = GRAPH_NO_REPLY,
	  .is_unclear = true,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "500 before the last chunk, then it goes",
	  .puts = { "", "", "500|" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "three in a row",
	  .puts = { "", "reset", "half", "500|" },
	  .sessions_n = 1,
	  .puts_n = 6,
	  .gets_n = 3 },
	{ .name = "the status is lost, too",
	  .puts = { "", "reset" },
	  .gets = { "reset", "503|", "200|<html>", "200|[]" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 5 },
	{ .name = "never again",
	  .puts = { "", "reset", "reset", "reset", "reset", "reset", "reset" },
	  .want = -ENETDOWN,
	  .reason = GRAPH_NO_REPLY,
	  .sessions_n = 1,
	  .puts_n = 7,
	  .gets_n = 5,
	  .keeps = true },

	/* each status */
	{ .name = "500", .puts = { "", "500|" }, .sessions_n = 1, .puts_n = 4, .gets_n = 1 },
	{ .name = "500 after the chunk",
	  .puts = { "", "+500|" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "502", .puts = { "", "502|<html>" }, .sessions_n = 1, .puts_n = 4, .gets_n = 1 },
	{ .name = "503", .puts = { "", "503|" }, .sessions_n = 1, .puts_n = 4, .gets_n = 1 },
	{ .name = "504", .puts = { "", "504|" }, .sessions_n = 1, .puts_n = 4, .gets_n = 1 },
	{ .name = "408", .puts = { "", "408|" }, .sessions_n = 1, .puts_n = 4, .gets_n = 1 },
	{ .name = "509",
	  .puts = { "", "509 Retry-After: 1\r\n|" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "429", .puts = { "", "429 Retry-After: 1\r\n|" }, .sessions_n = 1, .puts_n = 4 },
	{ .name = "400 of another total",
	  .puts = { "", "400|" ERROR("fragmentLengthMismatch") },
	  .sessions_n = 2,
	  .puts_n = 5,
	  .deletes_n = 1,
	  .rereads = true },
	{ .name = "400", .puts = { "400|" }, .sessions_n = 2, .puts_n = 4, .deletes_n = 1 },
	{ .name = "400 for ever",
	  .puts = { "400|", "400|", "400|" },
	  .want = -EIO,
	  .reason = GRAPH_REFUSED,
	  .sessions_n = 3,
	  .puts_n = 3,
	  .deletes_n = 3 },
	{ .name = "400 of a bad name",
	  .puts = { "", "", "400|" ERROR("invalidPath") },
	  .want = -EINVAL,
	  .reason = GRAPH_BAD_NAME,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "401",
	  .puts = { "", "401|" ERROR("expiredToken") },
	  .sessions_n = 2,
	  .puts_n = 5,
	  .rereads = true },
	{ .name = "403 later",
	  .puts = { "", "403|" ERROR("accessDenied") },
	  .sessions_n = 2,
	  .puts_n = 5,
	  .rereads = true },
	{ .name = "403 at once",
	  .puts = { "403|" ERROR("accessDenied") },
	  .want = -EACCES,
	  .reason = GRAPH_FORBIDDEN,
	  .sessions_n = 1,
	  .puts_n = 1,
	  .deletes_n = 1 },
	{ .name = "403 of malware",
	  .puts = { "", "", "403|" ERROR("malwareDetected") },
	  .want = -EPERM,
	  .reason = GRAPH_FORBIDDEN,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "404 later",
	  .puts = { "", "404|" ERROR("itemNotFound") },
	  .sessions_n = 2,
	  .puts_n = 5,
	  .rereads = true },
	{ .name = "404 of the last chunk",
	  .puts = { "", "", "404|" },
	  .sessions_n = 2,
	  .puts_n = 6,
	  .rereads = true },
	{ .name = "404 at once, for a moment",
	  .puts = { "404|" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "404 again and again",
	  .puts = { "", "404|", "", "404|", "", "404|" },
	  .want = -ENOENT,
	  .reason = GRAPH_MISSING,
	  .sessions_n = 3,
	  .puts_n = 6,
	  .deletes_n = 1,
	  .rereads = true },
	{ .name = "410", .puts = { "", "410|" }, .sessions_n = 2, .puts_n = 5, .rereads = true },
	{ .name = "405",
	  .puts = { "", "405|" },
	  .want = -EOPNOTSUPP,
	  .reason = GRAPH_REFUSED,
	  .sessions_n = 1,
	  .puts_n = 2,
	  .deletes_n = 1 },
	{ .name = "409 of the last chunk",
	  .puts = { "", "", "409|" ERROR("nameAlreadyExists") },
	  .want = -EEXIST,
	  .reason = GRAPH_NAME_TAKEN,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "412 of the last chunk",
	  .puts = { "", "", "412|" ERROR("notAllowed") },
	  .want = -EPERM,
	  .reason = GRAPH_CHANGED,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "resourceModified",
	  .puts = { "", "", "409|" ERROR("resourceModified") },
	  .want = -EBUSY,
	  .reason = GRAPH_CHANGED,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "413 of the smallest chunk",
	  .puts = { "413|" },
	  .want = -EFBIG,
	  .reason = GRAPH_TOO_LARGE,
	  .sessions_n = 1,
	  .puts_n = 1,
	  .deletes_n = 1 },
	{ .name = "413 of the file",
	  .puts = { "413|" ERROR("maxFileSizeExceeded") },
	  .want = -EFBIG,
	  .reason = GRAPH_TOO_LARGE,
	  .sessions_n = 1,
	  .puts_n = 1,
	  .deletes_n = 1 },
	{ .name = "416 and it has it",
	  .puts = { "", "+416|" ERROR("fragmentOverlap") },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "416 and it does not",
	  .puts = { "", "416|" ERROR("invalidRange") },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "423",
	  .puts = { "", "", "423|" ERROR("resourceLocked") },
	  .want = -EBUSY,
	  .reason = GRAPH_LOCKED,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .keeps = true },
	{ .name = "507 of the last chunk",
	  .puts = { "", "", "507|" ERROR("quotaLimitReached") },
	  .want = -ENOSPC,
	  .reason = GRAPH_FULL,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .deletes_n = 1 },
	{ .name = "a redirect",
	  .puts = { "", "307 Location: https://evil.example/\r\n|" },
	  .want = -EIO,
	  .reason = GRAPH_REFUSED,
	  .sessions_n = 1,
	  .puts_n = 2,
	  .deletes_n = 1 },

	/* answers that cannot be believed */
	{ .name = "202 of HTML",
	  .puts = { "", "+202|<html>" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "202 without ranges",
	  .puts = { "", "+202|{}" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "202 of a bad range",
	  .puts = { "", "+202|{\"nextExpectedRanges\":[\"x-\"]}" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "200 amid", .puts = { "", "+200|" }, .sessions_n = 1, .puts_n = 3, .gets_n = 1 },
	{ .name = "204", .puts = { "", "+206|" }, .sessions_n = 1, .puts_n = 3, .gets_n = 1 },
	{ .name = "next beyond what was sent",
	  .puts = { "next=700000" },
	  .sessions_n = 2,
	  .puts_n = 4,
	  .deletes_n = 1 },
	{ .name = "200 of HTML at the end",
	  .puts = { "", "", "+200|<html>" },
	  .want = -ESTALE,
	  .reason = GRAPH_NO_REPLY,
	  .is_unclear = true,
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 1 },
	{ .name = "not a byte further",
	  .puts = { "", "next=327680" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 1 },
	{ .name = "status beyond the end",
	  .puts = { "reset" },
	  .gets = { "200|{\"nextExpectedRanges\":[\"9999999-\"]}" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .gets_n = 2 },
	{ .name = "half of a chunk is taken",
	  .puts = { "take=1000" },
	  .sessions_n = 1,
	  .puts_n = 4,
	  .rereads = true },

	/* the service puts it together in its own time */
	{ .name = "202 of the last chunk",
	  .puts = { "", "", "+202|{\"nextExpectedRanges\":[]}" },
	  .gets = { "200|{\"nextExpectedRanges\":[]}",
		    "200|"
		    "{\"id\":\"I\",\"name\":\"a\",\"file\":{}}" },
	  .sessions_n = 1,
	  .puts_n = 3,
	  .gets_n = 2 },

	/* beginning */
	{ .name = "no session at first",
	  .posts = { "503|", "reset" },
	  .sessions_n = 3,
	  .puts_n = 3 },
	{ .name = "full",
	  .posts = { "507|" ERROR("quotaLimitReached") },
	  .want = -ENOSPC,
	  .reason = GRAPH_FULL,
	  .sessions_n = 1 },
	{ .name = "changed",
	  .posts = { "412|" ERROR("resourceModified") },
	  .want = -EBUSY,
	  .reason = GRAPH_CHANGED,
	  .sessions_n = 1 },
	{ .name = "taken",
	  .posts = { "409|" ERROR("nameAlreadyExists") },
	  .want = -EEXIST,
	  .reason = GRAPH_NAME_TAKEN,
	  .sessions_n = 1 },
	{ .name = "a session without a URL", .posts = { "200|{}" }, .sessions_n = 2, .puts_n = 3 },
	{ .name = "sessions of HTML",
	  .posts = { "200|<html>", "200|", "200|7" },
	  .want = -EBADMSG,
	  .reason = GRAPH_NO_REPLY,
	  .sessions_n = 3 },
	{ .name = "a session over http",
	  .posts = { "200|{\"uploadUrl\":\"http://evil.example/u\"}" },
	  .want = -EPERM,
	  .reason = GRAPH_NO_REPLY,
	  .sessions_n = 1 },
	{ .name = "a session with userinfo",
	  .posts = { "200|{\"uploadUrl\":\"https://a@evil.example/u\"}" },
	  .want = -EPERM,
	  .reason = GRAPH_NO_REPLY,
	  .sessions_n = 1 },
};

static unsigned wrong_n;

/* All rows are run, so that one failure shows them all. */
static void wrong(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void wrong(const char *fmt, ...)
{
	va_list ap;

	wrong_n++;
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
}

static void check_row(const struct row *row, const struct setup *s, const struct job *job)
{
	const struct fake *f = &s->fake;

	if (job->result.error != row->want || job->result.reason != row->reason ||
	    job->result.is_unclear != row->is_unclear)
		wrong("%s: %d, reason %d, %s, unclear %d", row->name, job->result.error,
		      job->result.reason, job->result.text, job->result.is_unclear);
	if (f->posts_n != row->sessions_n || f->puts_n != row->puts_n || f->gets_n != row->gets_n ||
	    f->deletes_n != row->deletes_n)
		wrong("%s: %u sessions, %u puts, %u gets, %u deletes", row->name, f->posts_n,
		      f->puts_n, f->gets_n, f->deletes_n);
	if (job->has_url != row->keeps || f->has_secret_leaked || f->has_bad_chunk)
		wrong("%s: url %d, leaked %d, bad chunk %d", row->name, job->has_url,
		      f->has_secret_leaked, f->has_bad_chunk);
	if (job->has_item != (row->want == 0))
		wrong("%s: item %d", row->name, job->has_item);
	if (!row->rereads && job->read_bytes > SIZE)
		wrong("%s: read %llu bytes", row->name, (unsigned long long)job->read_bytes);
}

static void test_answers(void **state)
{
	for (size_t i = 0; i < array_n(rows); i++) {
		const struct row *row = &rows[i];
		struct setup s;
		struct job job = { 0 };
		struct upload_spec spec;

		setup_init(&s, SIZE, NULL);
		pthread_mutex_lock(&s.fake.lock);
		s.fake.puts = row->puts;
		s.fake.gets = row->gets;
		s.fake.posts = row->posts;
		pthread_mutex_unlock(&s.fake.lock);
		spec = spec_of(&s, &job);
		assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
		assert_int_equal(job.ends_n, 0);
		run_until(&s, &job.ends_n, 1);
		for (int turn = 0; turn < 500 && s.fake.deletes_n < row->deletes_n; turn++)
			bench_turn(&s.sv.bench);
		pthread_mutex_lock(&s.fake.lock);
		check_row(row, &s, &job);
		if (row->want == 0)
			check_content(&s);
		pthread_mutex_unlock(&s.fake.lock);
		setup_fini(&s);
	}
	assert_int_equal(wrong_n, 0);
}

/* --- what is asked for --- */

static char logged[65536];
static size_t logged_n;
static pthread_mutex_t logged_lock = PTHREAD_MUTEX_INITIALIZER;

static void keep_log(enum log_level level, const char *line, size_t len)
{
	pthread_mutex_lock(&logged_lock);
	if (logged_n + len < sizeof(logged)) {
		memcpy(logged + logged_n, line, len);
		logged_n += len;
	}
	pthread_mutex_unlock(&logged_lock);
}

static void expect(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("no %s in %s", part, text);
}

static void test_what_is_asked_for(void **state)
{
	static const char *const puts[] = { "", "500|", "404|", NULL };
	struct setup s;
	struct job job = { 0 };
	struct upload_spec spec;

	log_set_sink(keep_log, false);
	log_set_level(LOG_LEVEL_DEBUG);
	setup_init(&s, SIZE, NULL);
	pthread_mutex_lock(&s.fake.lock);
	s.fake.puts = puts;
	pthread_mutex_unlock(&s.fake.lock);
	spec = spec_of(&s, &job);
	spec.if_match = "\"c:{A},7\"";
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, 0);
	expect(s.fake.created,
	       "/drives/D/items/P:/a%20%231.bin:/createUploadSession \"c:{A},7\" {");
	expect(s.fake.created, "\"@microsoft.graph.conflictBehavior\":\"fail\"");
	expect(s.fake.created,
	       "\"fileSystemInfo\":{\"lastModifiedDateTime\":\"2024-01-01T00:00:00Z\"}");
	assert_null(strstr(s.fake.created, "\"name\""));
	/* Replacing by id. */
	pthread_mutex_lock(&s.fake.lock);
	s.fake.is_committed = false;
	s.fake.puts = NULL;
	pthread_mutex_unlock(&s.fake.lock);
	spec.id = "I!1";
	spec.name = spec.if_match = NULL;
	spec.mtime_ns = ITEM_TIME_UNKNOWN;
	spec.conflict = GRAPH_CONFLICT_REPLACE;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 2);
	expect(s.fake.created, "/drives/D/items/I!1/createUploadSession  {\"item\":{");
	expect(s.fake.created, "\"replace\"}}");
	assert_null(strstr(s.fake.created, "fileSystemInfo"));
	setup_fini(&s);
	log_set_level(LOG_LEVEL_INFO);
	log_set_sink(NULL, false);
	logged[logged_n] = '\0';
	/* Something was told, and no secret. */
	assert_true(logged_n > 0);
	assert_null(strstr(logged, "secret"));
	assert_null(strstr(logged, "/up/"));
}

static void test_what_cannot_be_asked_for(void **state)
{
	struct setup s;
	struct job job = { 0 };
	struct upload_spec good, spec;

	setup_init(&s, SIZE, NULL);
	good = spec_of(&s, &job);
	spec = good;
	spec.size = 0;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), -EINVAL);
	spec = good;
	spec.name = "..";
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), -EINVAL);
	spec = good;
	spec.if_match = "\"x\r\nX-Evil: 1\"";
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), -EINVAL);
	spec = good;
	spec.url = "http://evil.example/up/1";
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), -EPERM);
	assert_int_equal(script_connections_n(s.sv.script), 0);
	setup_fini(&s);
}

static void test_nothing_said_at_the_end(void **state)
{
	for (int by_name = 0; by_name < 2; by_name++) {
		struct setup s;
		struct job job = { 0 };
		struct upload_spec spec;

		setup_init(&s, SIZE, NULL);
		pthread_mutex_lock(&s.fake.lock);
		s.fake.hides_item = true;
		pthread_mutex_unlock(&s.fake.lock);
		spec = spec_of(&s, &job);
		spec.name = by_name ? "n" : NULL;
		assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
		run_until(&s, &job.ends_n, 1);
		assert_int_equal(job.result.error, 0);
		assert_true(job.has_item);
		assert_int_equal(s.fake.items_n, 1);
		setup_fini(&s);
	}
}

/* --- sessions of an earlier time --- */

/* Two chunks are there, and the connection broke at the third. */
static void leave_session(struct setup *s, struct job *job)
{
	struct upload_spec spec = spec_of(s, job);

	assert_int_equal(upload_start(s->pool, &spec, &job->upload), 0);
	while (job->sent_bytes < 2 * (uint64_t)UNIT)
		bench_turn(&s->sv.bench);
	upload_cancel(job->upload, true);
	assert_true(job->has_url);
}

static void test_resume(void **state)
{
	struct setup s;
	struct job before = { 0 }, job = { 0 };
	struct upload_spec spec;

	setup_init(&s, SIZE, NULL);
	leave_session(&s, &before);
	assert_int_equal(s.fake.deletes_n, 0);
	/* What was under way may still arrive; then all would be there. */
	pthread_mutex_lock(&s.fake.lock);
	if (s.fake.is_committed) {
		s.fake.session = 1;
		s.fake.is_committed = false;
		s.fake.next = 2 * (uint64_t)UNIT;
	}
	pthread_mutex_unlock(&s.fake.lock);
	spec = spec_of(&s, &job);
	spec.url = before.url;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, 0);
	assert_int_equal(s.fake.posts_n, 1);
	assert_true(s.fake.gets_n >= 1);
	assert_int_equal(job.read_bytes, SIZE - 2 * UNIT);
	assert_false(job.has_url);
	check_content(&s);
	setup_fini(&s);
}

static void test_resume_what_is_gone(void **state)
{
	struct setup s;
	struct job job = { 0 };
	struct upload_spec spec;
	char url[128];

	setup_init(&s, SIZE, NULL);
	snprintf(url, sizeof(url), "%s/up/77?secret=%%2F", s.sv.url);
	spec = spec_of(&s, &job);
	spec.url = url;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, -ESTALE);
	assert_true(job.result.is_unclear);
	assert_false(job.has_url);
	assert_int_equal(job.progress_n, 1);
	assert_int_equal(s.fake.posts_n, 0);
	setup_fini(&s);
}

static void test_resume_where_all_is_there(void **state)
{
	static const char *const gets[] = { "200|{\"nextExpectedRanges\":[]}",
					    "200|{\"id\":\"I\",\"name\":\"a\",\"file\":{}}", NULL };
	struct setup s;
	struct job job = { 0 };
	struct upload_spec spec;
	char url[128];

	setup_init(&s, SIZE, NULL);
	pthread_mutex_lock(&s.fake.lock);
	s.fake.gets = gets;
	pthread_mutex_unlock(&s.fake.lock);
	snprintf(url, sizeof(url), "%s/up/1?secret=%%2F", s.sv.url);
	spec = spec_of(&s, &job);
	spec.url = url;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, 0);
	assert_true(job.has_item);
	assert_int_equal(job.read_bytes, 0);
	setup_fini(&s);
}

/* --- reading, cancelling --- */

static void test_content_that_cannot_be_read(void **state)
{
	struct setup s;
	struct job job = { .read_error = -EUCLEAN };
	struct upload_spec spec;

	setup_init(&s, SIZE, NULL);
	spec = spec_of(&s, &job);
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, -EUCLEAN);
	assert_false(job.has_url);
	assert_int_equal(s.fake.puts_n, 0);
	run_until(&s, &s.fake.deletes_n, 1);
	setup_fini(&s);
}

static void test_cancel_at_every_stage(void **state)
{
	struct setup s;
	struct job job = { .holds_read = true };
	struct upload_spec spec;

	setup_init(&s, SIZE, NULL);
	spec = spec_of(&s, &job);
	/* nothing sent yet */
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	upload_cancel(job.upload, false);
	upload_cancel(NULL, false);
	/* a read is out: its buffer lives until it is answered */
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.reads_n, 1);
	upload_cancel(job.upload, true);
	assert_int_equal(upload_pool_bytes(s.pool), UNIT);
	answer_late(&job);
	assert_int_equal(upload_pool_bytes(s.pool), 0);
	assert_int_equal(s.fake.deletes_n, 0);
	/* the same, and the session is not kept */
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.reads_n, 2);
	upload_cancel(job.upload, false);
	answer_late(&job);
	run_until(&s, &s.fake.deletes_n, 1);
	/* a chunk is under way */
	job.holds_read = false;
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &s.fake.puts_n, 1);
	upload_cancel(job.upload, false);
	run_until(&s, &s.fake.deletes_n, 2);
	assert_int_equal(job.ends_n, 0);
	setup_fini(&s);
}

/* --- what all share --- */

enum { CROWD = 6 };

static void test_memory_is_bounded(void **state)
{
	struct upload_options options = { .chunk_bytes = UNIT, .memory_bytes = 2 * UNIT };
	struct setup s;
	struct job jobs[CROWD] = { 0 };
	struct upload_spec spec;
	unsigned reads_n = 0;

	/* All but two wait for memory, while the reads of those are out. */
	setup_init(&s, SIZE, &options);
	for (int i = 0; i < CROWD; i++) {
		jobs[i].holds_read = true;
		spec = spec_of(&s, &jobs[i]);
		assert_int_equal(upload_start(s.pool, &spec, &jobs[i].upload), 0);
	}
	while (s.fake.posts_n < CROWD || reads_n < 2) {
		bench_turn(&s.sv.bench);
		reads_n = 0;
		for (int i = 0; i < CROWD; i++)
			reads_n += jobs[i].reads_n;
	}
	for (int i = 0; i < 50; i++)
		bench_turn(&s.sv.bench);
	assert_int_equal(upload_pool_bytes(s.pool), 2 * UNIT);
	/* Whoever goes lets the next one in, though he may be waiting himself. */
	for (int gone = 0; gone < CROWD; gone++) {
		int at = 0, out_n = 0;

		for (int i = 0; i < CROWD; i++) {
			out_n += jobs[i].upload && jobs[i].reads_n > 0;
			at = jobs[i].upload && jobs[i].reads_n > 0 ? i : at;
		}
		assert_int_equal(out_n, CROWD - gone < 2 ? CROWD - gone : 2);
		upload_cancel(jobs[at].upload, true);
		answer_late(&jobs[at]);
		jobs[at].upload = NULL;
		for (int i = 0; i < 50; i++)
			bench_turn(&s.sv.bench);
		assert_true(upload_pool_bytes(s.pool) <= 2 * UNIT);
	}
	setup_fini(&s);
}

static void test_limit_is_for_all_together(void **state)
{
	struct setup s;
	struct job job = { 0 };
	struct upload_spec spec;
	uint64_t began_ms = clock_mono_ms();

	setup_init(&s, SIZE, NULL);
	upload_pool_set_limit(s.pool, 2 * UNIT);
	spec = spec_of(&s, &job);
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, 0);
	/* The third chunk may not begin within the second that the two before it are given. */
	assert_true(clock_mono_ms() - began_ms >= 1000);
	setup_fini(&s);
}

/* Large chunks where the line is good, small ones after a failure, none of a wrong size. */
static void test_chunks_fit_the_line(void **state)
{
	static const char *const puts[] = { "", "reset", NULL };
	struct upload_options options = { .chunk_bytes = 8 * UNIT + 5 };
	struct setup s;
	struct job job = { 0 };
	struct upload_spec spec;

	setup_init(&s, CONTENT_MAX - 3, &options);
	pthread_mutex_lock(&s.fake.lock);
	s.fake.puts = puts;
	pthread_mutex_unlock(&s.fake.lock);
	spec = spec_of(&s, &job);
	assert_int_equal(upload_start(s.pool, &spec, &job.upload), 0);
	run_until(&s, &job.ends_n, 1);
	assert_int_equal(job.result.error, 0);
	assert_false(s.fake.has_bad_chunk);
	/* 2 units, 8 that fail, 4, 4, and the rest of what was read before: 6 are left. */
	assert_int_equal(s.fake.puts_n, 5);
	assert_int_equal(job.read_bytes, CONTENT_MAX - 3);
	check_content(&s);
	setup_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_asked_for),
		cmocka_unit_test(test_what_cannot_be_asked_for),
		cmocka_unit_test(test_nothing_said_at_the_end),
		cmocka_unit_test(test_resume),
		cmocka_unit_test(test_resume_what_is_gone),
		cmocka_unit_test(test_resume_where_all_is_there),
		cmocka_unit_test(test_content_that_cannot_be_read),
		cmocka_unit_test(test_cancel_at_every_stage),
		cmocka_unit_test(test_memory_is_bounded),
		cmocka_unit_test(test_limit_is_for_all_together),
		cmocka_unit_test(test_chunks_fit_the_line),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

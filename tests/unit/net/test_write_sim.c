/* Writing against the simulated service (GRAPHSIM_BIN): a second reading of the service's pages. */
#include "clock.h"
#include "fetch.h"
#include "graph_write.h"
#include "quickxor.h"
#include "../lib/simproc.h"
#include "upload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { SIZE = 5 * UPLOAD_UNIT + 123, PATIENCE_MS = 30000 };

static struct {
	struct simproc sim;
	struct bench bench;
	struct auth *auth;
	struct graph *graph;
	struct upload_pool *pool;
	char *token;
	char drive_id[128], root_id[128];
} t;

static struct {
	unsigned ends_n;
	struct graph_result result;
	char id[128], name[128], parent_id[128], etag[128], ctag[128];
	int64_t mtime_ns, size;
	uint8_t hash[20];
	bool has_item, has_hash, is_empty;
} got;

static void answer_token(void *arg)
{
	auth_answer(t.auth, 0, t.token, 3600);
}

static void on_ask(void *arg, bool was_rejected)
{
	assert_int_equal(loop_post_new(t.bench.loop, answer_token, NULL), 0);
}

static void keep(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text ? text : "");
}

static void on_item(void *arg, const struct graph_result *result, const struct item *item)
{
	got.ends_n++;
	got.result = *result;
	got.has_item = item != NULL;
	if (!item)
		return;
	keep(got.id, sizeof(got.id), item->id);
	keep(got.name, sizeof(got.name), item->name);
	keep(got.parent_id, sizeof(got.parent_id), item->parent_id);
	keep(got.etag, sizeof(got.etag), item->etag);
	keep(got.ctag, sizeof(got.ctag), item->ctag);
	got.mtime_ns = item->mtime_ns;
	got.size = item->size;
	got.has_hash = item->has_hash;
	memcpy(got.hash, item->hash, sizeof(got.hash));
}

static void on_drive(void *arg, const struct graph_result *result, const struct item_drive *drive)
{
	assert_int_equal(result->error, 0);
	keep(t.drive_id, sizeof(t.drive_id), drive->id);
	got.ends_n++;
}

static void on_emptiness(void *arg, const struct graph_result *result, bool is_empty)
{
	got.result = *result;
	got.is_empty = is_empty;
	got.ends_n++;
}

static int settle(void)
{
	uint64_t end_ms = clock_mono_ms() + PATIENCE_MS;

	while (got.ends_n == 0) {
		bench_turn(&t.bench);
		assert_true(clock_mono_ms() < end_ms);
	}
	got.ends_n = 0;
	return got.result.error;
}

static int write_one(struct graph_op op)
{
	struct graph_call *call;

	assert_int_equal(
		graph_write(t.graph, t.drive_id, &op, HTTP_BACKGROUND, on_item, NULL, &call), 0);
	return settle();
}

static int make_folder(const char *parent_id, const char *name)
{
	return write_one((struct graph_op){ .parent_id = parent_id, .name = name });
}

static int put(struct graph_put put)
{
	struct graph_call *call;

	put.drive_id = t.drive_id;
	assert_int_equal(graph_put_content(t.graph, &put, HTTP_BACKGROUND, on_item, NULL, &call),
			 0);
	return settle();
}

static int find(const char *folder_id, const char *name)
{
	struct graph_call *call;

	assert_int_equal(graph_get_child(t.graph, t.drive_id, folder_id, name, HTTP_BACKGROUND,
					 on_item, NULL, &call),
			 0);
	return settle();
}

/* --- uploads --- */

static struct {
	struct upload *upload;
	char url[1024];
	uint64_t sent_bytes, read_bytes;
} up;

static char content(uint64_t i)
{
	return (char)(i * 31 + i / 977);
}

static void on_read(void *arg, uint64_t off, void *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		((char *)buf)[i] = content(off + i);
	up.read_bytes += len;
	upload_answer(up.upload, 0);
}

static void on_progress(void *arg, const char *url, uint64_t sent_bytes)
{
	keep(up.url, sizeof(up.url), url);
	up.sent_bytes = sent_bytes;
}

static int upload(struct upload_spec spec)
{
	spec.drive_id = t.drive_id;
	spec.size = SIZE;
	spec.priority = HTTP_BACKGROUND;
	spec.read = on_read;
	spec.on_progress = on_progress;
	spec.on_done = on_item;
	up.read_bytes = 0;
	assert_int_equal(upload_start(t.pool, &spec, &up.upload), 0);
	return settle();
}

static void check_uploaded(void)
{
	struct quickxor hash;
	uint8_t want[20];
	char byte;

	quickxor_init(&hash);
	for (uint64_t i = 0; i < SIZE; i++) {
		byte = content(i);
		quickxor_add(&hash, i, &byte, 1);
	}
	quickxor_finish(&hash, SIZE, want);
	assert_true(got.has_item && got.has_hash);
	assert_int_equal(got.size, SIZE);
	assert_memory_equal(got.hash, want, sizeof(want));
}

/* --- the tests --- */

static void set_up(const char *flavour)
{
	const char *const args[] = { "--flavour", flavour, NULL };
	struct upload_options options = { .chunk_bytes = UPLOAD_UNIT };
	struct graph_call *call;

	simproc_start(&t.sim, args);
	t.token = simproc_token(&t.sim);
	bench_init(&t.bench, NULL);
	assert_int_equal(auth_new_asking(t.bench.loop, on_ask, NULL, &t.auth), 0);
	assert_int_equal(graph_new(t.bench.loop, t.bench.http, t.auth, t.sim.api, &t.graph), 0);
	assert_int_equal(upload_pool_new(t.graph, &options, &t.pool), 0);
	assert_int_equal(graph_get_drive(t.graph, "/me/drive", HTTP_PERSON, on_drive, NULL, &call),
			 0);
	(void)settle();
	assert_int_equal(graph_get_root(t.graph, t.drive_id, HTTP_PERSON, on_item, NULL, &call), 0);
	assert_int_equal(settle(), 0);
	keep(t.root_id, sizeof(t.root_id), got.id);
}

static void tear_down(void)
{
	upload_pool_free(t.pool);
	graph_free(t.graph);
	auth_free(t.auth);
	bench_fini(&t.bench);
	free(t.token);
	simproc_stop(&t.sim);
}

static void check_changes(void)
{
	char folder[128], file[128], etag[128];
	struct graph_call *call;

	assert_int_equal(make_folder(t.root_id, "d #1%"), 0);
	keep(folder, sizeof(folder), got.id);
	assert_int_equal(make_folder(t.root_id, "D #1%"), -EEXIST);
	assert_int_equal(got.result.reason, GRAPH_NAME_TAKEN);
	assert_int_equal(make_folder(t.root_id, "a:b"), -EINVAL);
	assert_int_equal(got.result.reason, GRAPH_BAD_NAME);
	assert_int_equal(graph_get_emptiness(t.graph, t.drive_id, folder, HTTP_BACKGROUND,
					     on_emptiness, NULL, &call),
			 0);
	assert_int_equal(settle(), 0);
	assert_true(got.is_empty);

	assert_int_equal(put((struct graph_put){ .id = folder, .name = "e", .body = "" }), 0);
	assert_int_equal(got.size, 0);
	assert_int_equal(put((struct graph_put){
				 .id = folder, .name = "f", .body = "hello", .body_len = 5 }),
			 0);
	keep(file, sizeof(file), got.id);
	keep(etag, sizeof(etag), got.etag);
	assert_int_equal(
		put((struct graph_put){ .id = folder, .name = "F", .body = "x", .body_len = 1 }),
		-EEXIST);
	assert_int_equal(put((struct graph_put){ .id = file,
						 .conflict = GRAPH_CONFLICT_REPLACE,
						 .body = "hi",
						 .body_len = 2,
						 .if_match = etag }),
			 0);
	assert_string_equal(got.id, file);
	assert_int_equal(put((struct graph_put){ .id = file,
						 .conflict = GRAPH_CONFLICT_REPLACE,
						 .body = "ho",
						 .body_len = 2,
						 .if_match = etag }),
			 -EBUSY);
	assert_int_equal(got.result.reason, GRAPH_CHANGED);
	assert_int_equal(graph_get_emptiness(t.graph, t.drive_id, folder, HTTP_BACKGROUND,
					     on_emptiness, NULL, &call),
			 0);
	assert_int_equal(settle(), 0);
	assert_false(got.is_empty);

	assert_int_equal(write_one((struct graph_op){ .kind = GRAPH_OP_PATCH,
						      .id = file,
						      .name = "g+ \xc3\xa4",
						      .parent_id = t.root_id,
						      .mtime_ns = INT64_C(1704067200000000000),
						      .btime_ns = ITEM_TIME_UNKNOWN }),
			 0);
	assert_string_equal(got.parent_id, t.root_id);
	assert_int_equal(got.mtime_ns, INT64_C(1704067200000000000));
	assert_int_equal(find(t.root_id, "g+ \xc3\xa4"), 0);
	assert_string_equal(got.id, file);
	assert_int_equal(find(t.root_id, "g"), -ENOENT);
	assert_int_equal(write_one((struct graph_op){ .kind = GRAPH_OP_DELETE, .id = folder }), 0);
	assert_int_equal(got.result.status, 204);
	assert_int_equal(write_one((struct graph_op){ .kind = GRAPH_OP_DELETE, .id = folder }), 0);
	assert_int_equal(got.result.status, 404);
}

static void check_uploads(void)
{
	char ctag[128], id[128];

	assert_int_equal(upload((struct upload_spec){ .id = t.root_id,
						      .name = "u.bin",
						      .mtime_ns = INT64_C(1704067200000000000),
						      .btime_ns = ITEM_TIME_UNKNOWN }),
			 0);
	check_uploaded();
	assert_int_equal(got.mtime_ns, INT64_C(1704067200000000000));
	assert_string_equal(up.url, "");
	keep(id, sizeof(id), got.id);
	keep(ctag, sizeof(ctag), got.ctag);
	assert_int_equal(upload((struct upload_spec){ .id = id,
						      .conflict = GRAPH_CONFLICT_REPLACE,
						      .if_match = ctag,
						      .mtime_ns = ITEM_TIME_UNKNOWN,
						      .btime_ns = ITEM_TIME_UNKNOWN }),
			 0);
	assert_string_equal(got.id, id);
	assert_int_equal(upload((struct upload_spec){ .id = id,
						      .conflict = GRAPH_CONFLICT_REPLACE,
						      .if_match = ctag,
						      .mtime_ns = ITEM_TIME_UNKNOWN,
						      .btime_ns = ITEM_TIME_UNKNOWN }),
			 -EBUSY);
	assert_int_equal(upload((struct upload_spec){ .id = t.root_id,
						      .name = "U.BIN",
						      .mtime_ns = ITEM_TIME_UNKNOWN,
						      .btime_ns = ITEM_TIME_UNKNOWN }),
			 -EEXIST);
}

static void check_faults(void)
{
	static const struct {
		const char *rule;
		int want;
		bool is_unclear;
	} rows[] = {
		{ "{\"class\":\"fragment\",\"nth\":1,\"action\":\"reset\"}", 0, false },
		{ "{\"class\":\"fragment\",\"nth\":3,\"action\":\"reset\"}", 0, false },
		{ "{\"class\":\"fragment\",\"nth\":2,\"action\":{\"reset_in\":100000}}", 0, false },
		{ "{\"class\":\"fragment\",\"nth\":2,\"phase\":\"before\",\"action\":{\"status\":"
		  "503}}",
		  0, false },
		{ "{\"class\":\"fragment\",\"nth\":2,\"phase\":\"before\",\"action\":{\"status\":"
		  "429,"
		  "\"retry_after\":\"1\"}}",
		  0, false },
		{ "{\"class\":\"fragment\",\"nth\":3,\"action\":{\"status\":500}}", 0, false },
		{ "{\"class\":\"fragment\",\"nth\":3,\"action\":{\"vanish\":true}}", 0, false },
		{ "{\"class\":\"fragment\",\"nth\":6,\"action\":\"reset\"}", -ESTALE, true },
		{ "{\"class\":\"fragment\",\"nth\":6,\"action\":{\"body\":\"\"}}", 0, false },
	};

	for (size_t i = 0; i < array_n(rows); i++) {
		char name[32];

		snprintf(name, sizeof(name), "fault %zu", i);
		simproc_do(&t.sim, "/faults", rows[i].rule);
		if (upload((struct upload_spec){ .id = t.root_id,
						 .name = name,
						 .mtime_ns = ITEM_TIME_UNKNOWN,
						 .btime_ns = ITEM_TIME_UNKNOWN }) != rows[i].want ||
		    got.result.is_unclear != rows[i].is_unclear)
			fail_msg("%s: %d %s", rows[i].rule, got.result.error, got.result.text);
		simproc_do(&t.sim, "/faults", "DELETE");
		/* Whatever was said, it is there. */
		assert_int_equal(find(t.root_id, name), 0);
		check_uploaded();
	}
}

static struct got_answer {
	int error;
	enum graph_reason reason;
	char name[64];
} answers[GRAPH_BATCH_MAX];

static void on_batch(void *arg, struct graph_answer *a, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		answers[i].error = a[i].result.error;
		answers[i].reason = a[i].result.reason;
		keep(answers[i].name, sizeof(answers[i].name), a[i].item ? a[i].item->name : "");
	}
	got.ends_n++;
}

static void check_batch_and_copy(void)
{
	char ids[3][128];
	struct graph_op ops[4];
	struct graph_call *call;
	struct graph_copy *copy;
	struct graph_copy_spec spec = { .drive_id = t.drive_id,
					.to_drive_id = t.drive_id,
					.to_parent_id = t.root_id,
					.to_name = "copied",
					.fn = on_item };

	for (int i = 0; i < 3; i++) {
		char name[8] = { 'b', (char)('0' + i) };

		assert_int_equal(
			put((struct graph_put){
				.id = t.root_id, .name = name, .body = name, .body_len = 2 }),
			0);
		keep(ids[i], sizeof(ids[i]), got.id);
	}
	ops[0] = (struct graph_op){ .kind = GRAPH_OP_PATCH,
				    .id = ids[0],
				    .name = "c0",
				    .mtime_ns = ITEM_TIME_UNKNOWN,
				    .btime_ns = ITEM_TIME_UNKNOWN };
	ops[1] = (struct graph_op){ .kind = GRAPH_OP_DELETE, .id = ids[1] };
	ops[2] = (struct graph_op){ .parent_id = t.root_id, .name = "batch" };
	ops[3] = (struct graph_op){ .kind = GRAPH_OP_PATCH,
				    .id = ids[2],
				    .name = "c2",
				    .if_match = "\"{nobody},1\"",
				    .mtime_ns = ITEM_TIME_UNKNOWN,
				    .btime_ns = ITEM_TIME_UNKNOWN };
	assert_int_equal(graph_write_batch(t.graph, t.drive_id, ops, 4, HTTP_BACKGROUND, on_batch,
					   NULL, &call),
			 0);
	got.result.error = 0;
	(void)settle();
	assert_int_equal(answers[0].error, 0);
	assert_string_equal(answers[0].name, "c0");
	assert_int_equal(answers[1].error, 0);
	assert_int_equal(answers[2].error, 0);
	assert_string_equal(answers[2].name, "batch");
	assert_int_equal(answers[3].reason, GRAPH_CHANGED);

	spec.id = ids[0];
	assert_int_equal(graph_copy_start(t.graph, &spec, &copy), 0);
	assert_int_equal(settle(), 0);
	assert_string_equal(got.name, "copied");
	assert_int_equal(got.size, 2);
	assert_int_equal(graph_copy_start(t.graph, &spec, &copy), 0);
	assert_int_equal(settle(), -EEXIST);
}

static void test_writing(void **state)
{
	static const char *const flavours[] = { "business", "personal-new", "personal-classic" };

	for (size_t i = 0; i < array_n(flavours); i++) {
		set_up(flavours[i]);
		check_changes();
		check_uploads();
		check_faults();
		check_batch_and_copy();
		tear_down();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_writing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * Sending what is pending, against a service whose every answer the test gives when it wants to:
 * the requests of graph_write.h, graph.h and upload.h are taken here instead. The clocks can be put
 * forward.
 */
#include "push.h"

#include "clock.h"
#include "content.h"
#include "draft.h"
#include "fetch.h"
#include "graph_write.h"
#include "inodes.h"
#include "rig.h"
#include "tree_local.h"
#include "upload.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum kind { FOLDER, PATCH, DELETE, PUT, INFO, CHILD, EMPTY, UPLOAD };

/* A request that waits for its answer. */
struct call {
	struct list node;
	enum kind kind;
	char *id, *name, *parent_id, *url;
	graph_item_fn fn;
	graph_emptiness_fn emptiness_fn;
	void *arg;
	struct upload_spec spec;
	bool is_reading;
};

static struct {
	struct rig rig;
	struct inodes *inodes;
	struct draft_dir *drafts;
	struct content *content;
	struct push *push;
	char dir[64];
	int drafts_fd, sent_fd;

	struct list calls;
	unsigned asked_n, cancelled_n, kept_n, answers_n;
	int upload_error;
	atomic_uint rows_n;
	_Atomic uint64_t forward_ms, frozen_ms; /* frozen: the time of all clocks but for forward */
} t;

/* --- what is taken from the program --- */

uint64_t __real_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void);
int64_t __real_clock_real_ns(void);
int64_t __wrap_clock_real_ns(void);
int __real_tree_local_next(struct tree *tree, uint64_t after, struct tree_local_item *ret);
int __wrap_tree_local_next(struct tree *tree, uint64_t after, struct tree_local_item *ret);
void __real_loop_timer_arm(struct loop_timer *timer, uint64_t ms);
void __wrap_loop_timer_arm(struct loop_timer *timer, uint64_t ms);
int __wrap_graph_write(struct graph *graph, const char *drive_id, const struct graph_op *op,
		       enum http_priority priority, graph_item_fn fn, void *arg,
		       struct graph_call **ret);
int __wrap_graph_put_content(struct graph *graph, const struct graph_put *put,
			     enum http_priority priority, graph_item_fn fn, void *arg,
			     struct graph_call **ret);
int __wrap_graph_get_content_info(struct graph *graph, const char *drive_id, const char *id,
				  enum http_priority priority, graph_item_fn fn, void *arg,
				  struct graph_call **ret);
int __wrap_graph_get_child(struct graph *graph, const char *drive_id, const char *folder_id,
			   const char *name, enum http_priority priority, graph_item_fn fn,
			   void *arg, struct graph_call **ret);
int __wrap_graph_get_emptiness(struct graph *graph, const char *drive_id, const char *id,
			       enum http_priority priority, graph_emptiness_fn fn, void *arg,
			       struct graph_call **ret);
void __wrap_graph_cancel(struct graph_call *call);
int __wrap_upload_pool_new(struct graph *graph, const struct upload_options *options,
			   struct upload_pool **ret);
void __wrap_upload_pool_free(struct upload_pool *pool);
int __wrap_upload_start(struct upload_pool *pool, const struct upload_spec *spec,
			struct upload **ret);
void __wrap_upload_answer(struct upload *upload, int error);
void __wrap_upload_cancel(struct upload *upload, bool keeps_session);

uint64_t __wrap_clock_mono_ms(void)
{
	return (t.frozen_ms ? t.frozen_ms : __real_clock_mono_ms()) + t.forward_ms;
}

int64_t __wrap_clock_real_ns(void)
{
	return __real_clock_real_ns() + (int64_t)t.forward_ms * 1000000;
}

/* A look that is put off because the one before was just over is not put off for long. */
void __wrap_loop_timer_arm(struct loop_timer *timer, uint64_t ms)
{
	__real_loop_timer_arm(timer, ms == 500 ? 1 : ms);
}

int __wrap_tree_local_next(struct tree *tree, uint64_t after, struct tree_local_item *ret)
{
	t.rows_n++;
	return __real_tree_local_next(tree, after, ret);
}

static char *copy(const char *text)
{
	return text ? strdup(text) : NULL;
}

static struct call *new_call(enum kind kind, const char *id, const char *name,
			     const char *parent_id, graph_item_fn fn, void *arg)
{
	struct call *call = calloc(1, sizeof(*call));

	*call = (struct call){
		.kind = kind,
		.id = copy(id),
		.name = copy(name),
		.parent_id = copy(parent_id),
		.fn = fn,
		.arg = arg,
	};
	list_add_tail(&t.calls, &call->node);
	t.asked_n++;
	return call;
}

static void free_call(struct call *call)
{
	list_del(&call->node);
	free(call->id);
	free(call->name);
	free(call->parent_id);
	free(call->url);
	free(call);
}

int __wrap_graph_write(struct graph *graph, const char *drive_id, const struct graph_op *op,
		       enum http_priority priority, graph_item_fn fn, void *arg,
		       struct graph_call **ret)
{
	static const enum kind kinds[] = {
		[GRAPH_OP_FOLDER] = FOLDER,
		[GRAPH_OP_PATCH] = PATCH,
		[GRAPH_OP_DELETE] = DELETE,
	};

	*ret = (struct graph_call *)new_call(kinds[op->kind], op->id, op->name, op->parent_id, fn,
					     arg);
	return 0;
}

int __wrap_graph_put_content(struct graph *graph, const struct graph_put *put,
			     enum http_priority priority, graph_item_fn fn, void *arg,
			     struct graph_call **ret)
{
	*ret = (struct graph_call *)new_call(PUT, put->id, put->name, NULL, fn, arg);
	return 0;
}

int __wrap_graph_get_content_info(struct graph *graph, const char *drive_id, const char *id,
				  enum http_priority priority, graph_item_fn fn, void *arg,
				  struct graph_call **ret)
{
	*ret = (struct graph_call *)new_call(INFO, id, NULL, NULL, fn, arg);
	return 0;
}

int __wrap_graph_get_child(struct graph *graph, const char *drive_id, const char *folder_id,
			   const char *name, enum http_priority priority, graph_item_fn fn,
			   void *arg, struct graph_call **ret)
{
	*ret = (struct graph_call *)new_call(CHILD, folder_id, name, NULL, fn, arg);
	return 0;
}

int __wrap_graph_get_emptiness(struct graph *graph, const char *drive_id, const char *id,
			       enum http_priority priority, graph_emptiness_fn fn, void *arg,
			       struct graph_call **ret)
{
	struct call *call = new_call(EMPTY, id, NULL, NULL, NULL, arg);

	call->emptiness_fn = fn;
	*ret = (struct graph_call *)call;
	return 0;
}

void __wrap_graph_cancel(struct graph_call *call)
{
	if (!call)
		return;
	t.cancelled_n++;
	free_call((struct call *)call);
}

int __wrap_upload_pool_new(struct graph *graph, const struct upload_options *options,
			   struct upload_pool **ret)
{
	return 0;
}

void __wrap_upload_pool_free(struct upload_pool *pool)
{
}

int __wrap_upload_start(struct upload_pool *pool, const struct upload_spec *spec,
			struct upload **ret)
{
	struct call *call = new_call(UPLOAD, spec->id, spec->name, NULL, spec->on_done, spec->arg);

	call->spec = *spec;
	call->url = copy(spec->url);
	*ret = (struct upload *)call;
	return 0;
}

void __wrap_upload_answer(struct upload *upload, int error)
{
	struct call *call = (struct call *)upload;

	t.answers_n++;
	t.upload_error = error;
	call->is_reading = false;
	/* It was cancelled while it read. */
	if (!call->fn)
		free_call(call);
}

void __wrap_upload_cancel(struct upload *upload, bool keeps_session)
{
	struct call *call = (struct call *)upload;

	t.cancelled_n++;
	t.kept_n += keeps_session;
	call->fn = NULL;
	if (!call->is_reading)
		free_call(call);
}

/* --- the world --- */

static void on_changes(void *arg, struct change_set *set)
{
	change_set_free(set);
}

static void on_written(void *arg, uint64_t ino)
{
	if (t.push)
		push_wake(t.push);
}

static bool dir_known(void *arg, uint64_t ino)
{
	return false;
}

static bool file_open(void *arg, uint64_t ino)
{
	return content_is_open(t.content, ino);
}

static bool is_sending(void *arg, uint64_t ino, const char *id)
{
	return t.push && push_is_sending(t.push, ino, id);
}

static int open_dir(const char *name)
{
	char path[100];

	snprintf(path, sizeof(path), "%s/%s", t.dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static void start_push(uint64_t quiet_ms)
{
	assert_int_equal(push_new(&(struct push_options){ .loop = t.rig.loop,
							  .store_lane = t.rig.lane,
							  .tree = t.rig.tree,
							  .content = t.content,
							  .drafts = t.drafts,
							  .drive_id = "D",
							  .sent_fd = t.sent_fd,
							  .quiet_ms = quiet_ms,
							  .on_changes = on_changes },
				  &t.push),
			 0);
	/* It looks once by itself. */
	for (int i = 0; i < 4; i++)
		rig_settle(&t.rig);
}

/* Every folder is fully known. */
static void crawl_work(void *arg)
{
	struct change_set *set = NULL;

	assert_int_equal(tree_merge_crawl(t.rig.tree, NULL, 0, tree_note(t.rig.tree), NULL, &set),
			 0);
	change_set_free(set);
}

/* Root R: files F and G, folder P. */
static int setup(void **state)
{
	static const struct fetch_source none;

	t.forward_ms = t.frozen_ms = 0;
	t.asked_n = t.cancelled_n = t.kept_n = t.answers_n = 0;
	list_init(&t.calls);
	rig_init(&t.rig);
	strcpy(t.dir, "/tmp/gfs-test-push-XXXXXX");
	assert_non_null(mkdtemp(t.dir));
	t.drafts_fd = open_dir("drafts");
	t.sent_fd = open_dir("sent");
	assert_int_equal(draft_dir_new(t.drafts_fd, &t.drafts), 0);
	assert_int_equal(inodes_new(&t.inodes), 0);
	assert_int_equal(content_new(&(struct content_options){ .loop = t.rig.loop,
								.store_lane = t.rig.lane,
								.tree = t.rig.tree,
								.inodes = t.inodes,
								.drafts = t.drafts,
								.drive_id = "D",
								.source = &none },
				     &t.content),
			 0);
	content_set_written(t.content, on_written, NULL);
	tree_set_guard(t.rig.tree, &(struct tree_guard){ .dir_known = dir_known,
							 .file_open = file_open,
							 .is_sending = is_sending });
	rig_seed(&t.rig,
		 RIG_LAST(RIG_ROOT "," RIG_FILE("F", "f", "R", "c1") "," RIG_FILE(
				  "G", "g", "R", "c1") "," RIG_DIR("P", "p", "R"),
			  RIG_LINK("1")),
		 RIG_LINK("1"));
	rig_on_lane(&t.rig, crawl_work, NULL);
	start_push(0);
	return 0;
}

static void end_push(void)
{
	struct push *push = t.push;

	push_free(push);
	t.push = NULL;
}

static int teardown(void **state)
{
	char command[100];

	end_push();
	assert_true(list_empty(&t.calls));
	content_free(t.content);
	rig_settle(&t.rig);
	draft_dir_free(t.drafts);
	inodes_free(t.inodes);
	close(t.drafts_fd);
	close(t.sent_fd);
	snprintf(command, sizeof(command), "rm -r %s", t.dir);
	assert_int_equal(system(command), 0);
	rig_fini(&t.rig);
	return 0;
}

/* --- what is done here --- */

struct doing {
	uint64_t parent, to_parent;
	const char *name, *to_name;
	enum tree_kind kind;
	unsigned first, n;
	struct tree_attr attr;
};

static void make_work(void *arg)
{
	struct doing *d = arg;

	assert_int_equal(tree_local_create(t.rig.tree,
					   &(struct tree_local_new){ .parent = d->parent,
								     .name = d->name,
								     .kind = d->kind,
								     .mode = 0644,
								     .now_ns = clock_real_ns() },
					   &d->attr),
			 0);
}

static uint64_t make(uint64_t parent, const char *name, enum tree_kind kind)
{
	struct doing d = { .parent = parent, .name = name, .kind = kind };

	rig_on_lane(&t.rig, make_work, &d);
	push_wake(t.push);
	return d.attr.ino;
}

static void make_many_work(void *arg)
{
	const struct doing *d = arg;

	for (unsigned i = 0; i < d->n; i++) {
		struct doing one = *d;
		char name[20];

		snprintf(name, sizeof(name), "%u", d->first + i);
		one.name = name;
		make_work(&one);
	}
}

/* Folders with numbers for names. */
static void make_many(uint64_t parent, unsigned n)
{
	enum { AT_ONCE = 1000 };

	for (unsigned i = 0; i < n; i += AT_ONCE) {
		struct doing d = { .parent = parent,
				   .kind = TREE_DIR,
				   .first = i,
				   .n = n - i < AT_ONCE ? n - i : AT_ONCE };

		rig_on_lane(&t.rig, make_many_work, &d);
	}
	push_wake(t.push);
}

static void move_work(void *arg)
{
	struct doing *d = arg;

	assert_int_equal(tree_local_rename(t.rig.tree,
					   &(struct tree_local_move){ .parent = d->parent,
								      .to_parent = d->to_parent,
								      .name = d->name,
								      .to_name = d->to_name,
								      .now_ns = clock_real_ns() },
					   &d->attr),
			 0);
}

static void move(uint64_t parent, const char *name, uint64_t to_parent, const char *to_name)
{
	struct doing d = {
		.parent = parent, .name = name, .to_parent = to_parent, .to_name = to_name
	};

	rig_on_lane(&t.rig, move_work, &d);
}

static void remove_work(void *arg)
{
	struct doing *d = arg;

	assert_int_equal(tree_local_remove(t.rig.tree, d->parent, d->name, d->kind, clock_real_ns(),
					   &d->attr),
			 0);
}

static void take_away(uint64_t parent, const char *name, enum tree_kind kind)
{
	struct doing d = { .parent = parent, .name = name, .kind = kind };

	rig_on_lane(&t.rig, remove_work, &d);
	push_wake(t.push);
}

static uint64_t root(void)
{
	return rig_ino(&t.rig, "R");
}

static struct content_handle *open_file(uint64_t ino)
{
	struct content_handle *h;
	bool keep_cache;

	assert_int_equal(content_open(t.content, ino, &h, &keep_cache), 0);
	return h;
}

static void edit_work(void *arg)
{
	struct change_set *set = NULL;

	assert_int_equal(content_edit(arg, &set), 0);
	change_set_free(set);
}

static void write_to(struct content_handle *h, uint64_t off, size_t len)
{
	auto_free char *data = malloc(len);

	memset(data, 'x', len);
	rig_on_lane(&t.rig, edit_work, h);
	for (size_t at = 0; at < len;) {
		ssize_t n = content_write_now(h, off + at, data + at, len - at);

		assert_true(n > 0);
		at += (size_t)n;
	}
}

/* A new file of so many bytes. */
static uint64_t make_file(const char *name, size_t len)
{
	struct doing d = { .parent = root(), .name = name, .kind = TREE_FILE };
	struct content_handle *h;

	rig_on_lane(&t.rig, make_work, &d);
	h = open_file(d.attr.ino);
	write_to(h, 0, len);
	content_close(h);
	rig_settle(&t.rig);
	push_wake(t.push);
	return d.attr.ino;
}

/* --- what the service does --- */

static unsigned waiting_n(void)
{
	unsigned n = 0;

	for (int i = 0; i < 4; i++)
		rig_settle(&t.rig);
	list_for_each (&t.calls, pos)
		n++;
	return n;
}

static struct call *take_call(enum kind kind)
{
	for (int i = 0; list_empty(&t.calls) && i < 2000; i++)
		rig_settle(&t.rig);
	assert_false(list_empty(&t.calls));
	assert_int_equal(container_of(t.calls.next, struct call, node)->kind, kind);
	return container_of(t.calls.next, struct call, node);
}

static void answer(struct call *call, const char *body)
{
	const struct graph_result result = { .status = 200 };
	struct item_problem problem;
	struct item item;

	if (body)
		assert_int_equal(item_parse_body(body, strlen(body), &item, &problem), 0);
	call->fn(call->arg, &result, body ? &item : NULL);
	if (body)
		item_fini(&item);
	free_call(call);
}

static void refuse(struct call *call, enum graph_reason reason)
{
	const struct graph_result result = { .error = -EIO, .reason = reason, .text = "refused" };

	if (call->kind == EMPTY)
		call->emptiness_fn(call->arg, &result, false);
	else
		call->fn(call->arg, &result, NULL);
	free_call(call);
}

/* A new folder, as it was asked for. */
static void answer_folder(struct call *call)
{
	static unsigned n;
	char body[300];

	snprintf(body, sizeof(body),
		 "{\"id\":\"N%u\",\"name\":\"%s\",\"folder\":{},\"parentReference\":{\"driveId\":"
		 "\"D\",\"id\":\"%s\"}}",
		 n++, call->name, call->parent_id);
	answer(call, body);
}

static void forward(uint64_t ms)
{
	rig_settle(&t.rig);
	t.forward_ms += ms;
	push_wake(t.push);
}

static uint64_t pending_n(void)
{
	rig_settle(&t.rig);
	return tree_local_n(t.rig.tree);
}

static struct push_stats stats(void)
{
	struct push_stats s;

	rig_settle(&t.rig);
	push_get_stats(t.push, &s);
	return s;
}

/* --- the tests --- */

static void test_done(void **state)
{
	make(root(), "d", TREE_DIR);
	assert_int_equal(stats().sending_n, 1);
	answer(take_call(FOLDER), RIG_DIR("N", "d", "R"));
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
	assert_true(rig_has(&t.rig, "N"));
	make_file("new", 3);
	answer(take_call(PUT), RIG_FILE("M", "new", "R", "c"));
	assert_int_equal(waiting_n(), 0);
	assert_true(rig_has(&t.rig, "M"));
	assert_int_equal(t.asked_n, 2);
}

static void test_parents_first(void **state)
{
	uint64_t d = make(root(), "d", TREE_DIR), e = make(d, "e", TREE_DIR);
	struct call *call;

	make(e, "f", TREE_FILE);
	assert_int_equal(waiting_n(), 1);
	answer(take_call(FOLDER), RIG_DIR("N1", "d", "R"));
	assert_int_equal(waiting_n(), 1);
	call = take_call(FOLDER);
	assert_string_equal(call->parent_id, "N1");
	answer(call, RIG_DIR("N2", "e", "N1"));
	assert_int_equal(waiting_n(), 1);
	call = take_call(PUT);
	assert_string_equal(call->id, "N2");
	answer(call, RIG_FILE("N3", "f", "N2", "c"));
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
}

static void test_no_more_than_so_many_at_once(void **state)
{
	make_many(root(), 20);
	for (unsigned sent = 0; sent < 20; sent++) {
		unsigned left = 20 - sent;

		assert_int_equal(waiting_n(), left < PUSH_PARALLEL ? left : PUSH_PARALLEL);
		assert_int_equal(stats().sending_n, waiting_n());
		answer_folder(take_call(FOLDER));
	}
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(t.asked_n, 20);
}

static void test_failed_for_good(void **state)
{
	static const enum graph_reason reasons[] = { GRAPH_FORBIDDEN, GRAPH_FULL, GRAPH_TOO_LARGE,
						     GRAPH_BAD_NAME, GRAPH_REFUSED };
	uint64_t d = make(root(), "d", TREE_DIR);

	make(d, "below", TREE_DIR);
	for (size_t i = 0; i < array_n(reasons); i++) {
		refuse(take_call(FOLDER), reasons[i]);
		assert_int_equal(waiting_n(), 0);
		assert_int_equal(stats().failed_n, 1);
		assert_true(stats().is_stuck);
		forward(1000);
		assert_int_equal(waiting_n(), 0);
		if (i % 2 == 0)
			forward(PUSH_RETRY_MS);
		else
			push_retry(t.push);
		assert_int_equal(waiting_n(), 1);
		assert_int_equal(stats().failed_n, 0);
		assert_false(stats().is_stuck);
	}
	answer(take_call(FOLDER), RIG_DIR("N", "d", "R"));
	answer(take_call(FOLDER), RIG_DIR("M", "below", "N"));
	assert_int_equal(pending_n(), 0);
	assert_false(stats().is_stuck);
}

/* A row that has no name. */
static void test_refused_deletions(void **state)
{
	take_away(root(), "p", TREE_DIR);
	refuse(take_call(EMPTY), GRAPH_FORBIDDEN);
	assert_int_equal(waiting_n(), 0);
	take_away(root(), "f", TREE_FILE);
	answer(take_call(INFO), RIG_FILE("F", "f", "R", "c1"));
	refuse(take_call(DELETE), GRAPH_FORBIDDEN);
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(stats().failed_n, 2);
	push_retry(t.push);
	assert_int_equal(waiting_n(), 2);
	refuse(take_call(INFO), GRAPH_MISSING);
	refuse(take_call(EMPTY), GRAPH_MISSING);
	assert_int_equal(pending_n(), 0);
}

static void test_later(void **state)
{
	static const enum graph_reason reasons[] = { GRAPH_LOCKED, GRAPH_FAULT };
	unsigned n = 0;

	t.frozen_ms = __real_clock_mono_ms();
	make(root(), "d", TREE_DIR);
	for (uint64_t ms = 500; n < 9; ms *= 2) {
		refuse(take_call(FOLDER), reasons[n++ % 2]);
		/* At least half of it, at most all of it. */
		forward(ms / 2 - 100);
		assert_int_equal(waiting_n(), 0);
		forward(ms / 2 + 200);
		assert_int_equal(waiting_n(), 1);
	}
	/* What is not there yet because the service is behind does not wait less for its success
	 * elsewhere. */
	make(root(), "e", TREE_DIR);
	refuse(take_call(FOLDER), GRAPH_LOCKED);
	answer_folder(take_call(FOLDER));
	assert_int_equal(waiting_n(), 0);
	push_retry(t.push);
	answer_folder(take_call(FOLDER));
	assert_int_equal(pending_n(), 0);
	assert_int_equal(stats().failed_n, 0);
}

/* More of them than can be remembered one by one: nothing is asked without end. */
static void test_many_that_wait(void **state)
{
	unsigned asked;

	t.frozen_ms = __real_clock_mono_ms();
	make_many(root(), 300);
	while (waiting_n() > 0)
		refuse(take_call(FOLDER), GRAPH_LOCKED);
	assert_in_range(t.asked_n, 200, 320);
	asked = t.asked_n;
	for (int i = 0; i < 10; i++) {
		forward(1000);
		while (waiting_n() > 0)
			refuse(take_call(FOLDER), GRAPH_LOCKED);
	}
	assert_in_range(t.asked_n, asked + 1, asked + 10 * 300);
	push_retry(t.push);
	while (pending_n() > 0) {
		while (waiting_n() == 0)
			forward(1000);
		answer_folder(take_call(FOLDER));
	}
}

static void test_pause(void **state)
{
	static const enum graph_reason reasons[] = { GRAPH_NO_REPLY, GRAPH_THROTTLED,
						     GRAPH_SIGN_IN };

	make_many(root(), 10);
	for (size_t i = 0; i < array_n(reasons); i++) {
		assert_int_equal(waiting_n(), PUSH_PARALLEL);
		while (waiting_n() > 0)
			refuse(take_call(FOLDER), reasons[i]);
		/* Four failures at once are one: 1 s, then 2, then 4. */
		forward((UINT64_C(500) << i) - 100);
		assert_int_equal(waiting_n(), 0);
		forward((UINT64_C(500) << i) + 200);
	}
	for (int i = 0; i < 10; i++)
		answer_folder(take_call(FOLDER));
	assert_int_equal(pending_n(), 0);
}

static void test_offline(void **state)
{
	push_set_reachable(t.push, false);
	make_many(root(), 3);
	assert_int_equal(waiting_n(), 0);
	assert_false(stats().is_stuck);
	push_set_reachable(t.push, true);
	assert_int_equal(waiting_n(), 3);
	refuse(take_call(FOLDER), GRAPH_NO_REPLY);
	assert_int_equal(waiting_n(), 2);
	/* What was paused goes at once when the service is back. */
	push_set_reachable(t.push, false);
	push_set_reachable(t.push, true);
	assert_int_equal(waiting_n(), 3);
	for (int i = 0; i < 3; i++)
		answer_folder(take_call(FOLDER));
}

static void test_learn(void **state)
{
	make(root(), "d", TREE_DIR);
	refuse(take_call(FOLDER), GRAPH_NAME_TAKEN);
	answer(take_call(CHILD), RIG_DIR("N", "d", "R"));
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
	assert_true(rig_has(&t.rig, "N"));
}

/* The service says what is no help: it is asked a few times at once, then with pauses. */
static void test_learn_is_bounded(void **state)
{
	unsigned n = 0;

	make(root(), "d", TREE_DIR);
	while (waiting_n() > 0 && n++ < 50) {
		refuse(take_call(FOLDER), GRAPH_NAME_TAKEN);
		answer(take_call(CHILD), RIG_DIR("P", "p", "R"));
	}
	assert_in_range(n, 1, 10);
	push_retry(t.push);
	answer_folder(take_call(FOLDER));
}

static void test_gone(void **state)
{
	move(root(), "f", root(), "f2");
	push_wake(t.push);
	refuse(take_call(PATCH), GRAPH_MISSING);
	refuse(take_call(INFO), GRAPH_MISSING);
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
	assert_false(rig_has(&t.rig, "F"));
}

/* A move is refused because of the folder: the file is not lost for it. */
static void test_folder_is_gone(void **state)
{
	struct call *call;

	move(root(), "f", rig_ino(&t.rig, "P"), "f");
	push_wake(t.push);
	refuse(take_call(PATCH), GRAPH_MISSING);
	answer(take_call(INFO), RIG_FILE("F", "f", "R", "c1"));
	call = take_call(INFO);
	assert_string_equal(call->id, "P");
	answer(call, RIG_DIR("P", "p", "R"));
	/* It is there after all: later. */
	assert_int_equal(waiting_n(), 0);
	push_retry(t.push);
	refuse(take_call(PATCH), GRAPH_MISSING);
	answer(take_call(INFO), RIG_FILE("F", "f", "R", "c1"));
	refuse(take_call(INFO), GRAPH_MISSING);
	rig_settle(&t.rig);
	assert_false(rig_has(&t.rig, "P"));
	assert_true(rig_has(&t.rig, "F"));
}

static void end_upload(struct call *call, int error)
{
	const struct graph_result result = { .error = error, .reason = GRAPH_NO_REPLY };

	call->fn(call->arg, &result, NULL);
	free_call(call);
}

/* The upload reads; its answer comes from a lane. */
static void read_chunk(struct call *call, uint64_t off, char *buf, size_t len)
{
	unsigned before = t.answers_n;

	call->is_reading = true;
	call->spec.read(call->arg, off, buf, len);
	for (int i = 0; t.answers_n == before && i < 2000; i++)
		rig_turn_ms(&t.rig, 5);
	assert_int_equal(t.answers_n, before + 1);
}

/* What is read is of two states: it is given up, and what is there by then is sent. */
static void test_written_while_it_is_sent(void **state)
{
	static char chunk[1000];
	uint64_t ino = make_file("big", GRAPH_PUT_MAX + 1);
	struct call *call = take_call(UPLOAD);
	struct content_handle *h = open_file(ino);

	read_chunk(call, 0, chunk, sizeof(chunk));
	assert_int_equal(t.upload_error, 0);
	write_to(h, 5, 10);
	read_chunk(call, sizeof(chunk), chunk, sizeof(chunk));
	assert_int_equal(t.upload_error, -ECANCELED);
	end_upload(call, -ECANCELED);
	/* Not while somebody writes. */
	assert_int_equal(waiting_n(), 0);
	content_close(h);
	call = take_call(UPLOAD);
	answer(call, RIG_FILE("B", "big", "R", "c"));
	assert_int_equal(waiting_n(), 0);
}

/* A session that replaces one is saved, too: the next mount goes on with it. */
static void test_sessions_are_saved(void **state)
{
	static const char *const urls[] = { "https://up.test/1", "https://up.test/2" };
	struct call *call;

	make_file("big", GRAPH_PUT_MAX + 1);
	for (size_t i = 0; i < array_n(urls); i++) {
		call = take_call(UPLOAD);
		if (i > 0)
			assert_string_equal(call->url, urls[i - 1]);
		else
			assert_null(call->url);
		call->spec.on_progress(call->arg, urls[i], 0);
		end_push();
		assert_int_equal(t.kept_n, i + 1);
		start_push(0);
		push_wake(t.push);
	}
	call = take_call(UPLOAD);
	assert_string_equal(call->url, urls[1]);
	answer(call, RIG_FILE("B", "big", "R", "c"));
	assert_int_equal(pending_n(), 0);
}

static const char *name_of_next(void)
{
	return take_call(PATCH)->name;
}

static void answer_patch(const char *id, const char *name)
{
	char body[200];

	snprintf(body, sizeof(body),
		 "{\"id\":\"%s\",\"name\":\"%s\",\"size\":1,\"cTag\":\"c1\",\"file\":{},"
		 "\"parentReference\":{\"driveId\":\"D\",\"id\":\"R\"}}",
		 id, name);
	answer(take_call(PATCH), body);
}

/* Two files that swap their names. */
static void test_ring_of_names(void **state)
{
	char temp[40], id[8];

	move(root(), "f", root(), "t");
	move(root(), "g", root(), "f");
	move(root(), "t", root(), "g");
	push_wake(t.push);
	assert_int_equal(waiting_n(), 1);
	snprintf(temp, sizeof(temp), "%s", name_of_next());
	snprintf(id, sizeof(id), "%s", take_call(PATCH)->id);
	assert_memory_equal(temp, ".graphfs-", 9);
	answer_patch(id, temp);
	assert_int_equal(waiting_n(), 1);
	assert_string_not_equal(take_call(PATCH)->id, id);
	answer_patch(strcmp(id, "F") == 0 ? "G" : "F", strcmp(id, "F") == 0 ? "f" : "g");
	forward(1000);
	assert_string_equal(name_of_next(), strcmp(id, "F") == 0 ? "g" : "f");
	answer_patch(id, strcmp(id, "F") == 0 ? "g" : "f");
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
	assert_int_equal(t.asked_n, 3);
}

/* One waits for a name whose owner is refused: that is no ring that could be broken. */
static void test_waits_for_what_is_refused(void **state)
{
	unsigned n = 0;

	move(root(), "f", root(), "x");
	push_wake(t.push);
	refuse(take_call(PATCH), GRAPH_FORBIDDEN);
	move(root(), "g", root(), "f");
	push_wake(t.push);
	for (int i = 0; i < 20; i++) {
		while (waiting_n() > 0 && n < 100) {
			char temp[40];

			n++;
			snprintf(temp, sizeof(temp), "%s", name_of_next());
			answer_patch("G", temp);
		}
		forward(1000);
	}
	assert_in_range(n, 0, 8);
	push_retry(t.push);
	assert_int_equal(waiting_n(), 1);
	answer_patch("F", "x");
	forward(1000);
	answer_patch("G", "f");
	assert_int_equal(pending_n(), 0);
}

static void test_quiet_time(void **state)
{
	struct content_handle *h;
	uint64_t ino;

	end_push();
	start_push(60000);
	ino = make_file("new", 3);
	make(root(), "d", TREE_DIR);
	answer_folder(take_call(FOLDER)); /* which has no content that could change */
	assert_int_equal(waiting_n(), 0);
	forward(50000);
	h = open_file(ino);
	write_to(h, 0, 5);
	forward(70000);
	assert_int_equal(waiting_n(), 0); /* it is open */
	write_to(h, 0, 6);
	content_close(h);
	forward(50000);
	assert_int_equal(waiting_n(), 0);
	assert_false(stats().is_stuck);
	forward(11000);
	answer(take_call(PUT), RIG_FILE("M", "new", "R", "c"));
	assert_int_equal(pending_n(), 0);
}

/* What delta spoke of while it was being sent is asked for, and not again and again. */
static void test_asks(void **state)
{
	static const char body[] = RIG_LAST(RIG_FILE("F", "f", "R", "c2"), RIG_LINK("2"));
	move(root(), "f", root(), "f2");
	push_wake(t.push);
	(void)take_call(PATCH);
	rig_seed(&t.rig, body, RIG_LINK("2"));
	answer_patch("F", "f2");
	for (int i = 0; i < 5; i++) {
		refuse(take_call(INFO), i % 2 ? GRAPH_FORBIDDEN : GRAPH_FAULT);
		assert_int_equal(waiting_n(), 0);
		forward(UINT64_C(500) << i);
	}
	answer(take_call(INFO), RIG_FILE("F", "f2", "R", "c2"));
	assert_int_equal(waiting_n(), 0);
	assert_int_equal(pending_n(), 0);
}

static void test_freed_while_it_sends(void **state)
{
	static char chunk[1000];
	struct call *call;

	make_file("big", GRAPH_PUT_MAX + 1);
	call = take_call(UPLOAD);
	make_file("small", 3);
	make(root(), "d", TREE_DIR);
	take_away(root(), "p", TREE_DIR);
	assert_int_equal(waiting_n(), 4);
	/* The upload reads at this very moment. */
	call->is_reading = true;
	call->spec.read(call->arg, 0, chunk, sizeof(chunk));
	end_push();
	assert_int_equal(t.cancelled_n, 4);
	assert_int_equal(t.kept_n, 1);
	assert_int_equal(t.answers_n, 1);
	assert_true(list_empty(&t.calls));
	assert_int_equal(pending_n(), 4);
	start_push(0);
	push_wake(t.push);
	assert_int_equal(waiting_n(), 4);
}

static void nothing(void *arg)
{
	unsigned *most = arg;
	static unsigned before;
	unsigned n = t.rows_n;

	if (most && n - before > *most)
		*most = n - before;
	before = n;
}

/* 50,000 that wait for their folder: the lane has time for others, and nothing is kept of them. */
static void test_many_rows(void **state)
{
	enum { ROWS = 50000, LOOKS = 16, LOOK_ROWS = 513 };
	unsigned most = 0, turns = 0;
	uint64_t d;
	size_t before;

	push_set_reachable(t.push, false);
	d = make(root(), "d", TREE_DIR);
	make_many(d, ROWS);
	rig_settle(&t.rig);
	before = mallinfo2().uordblks;
	t.rows_n = 0;
	rig_on_lane(&t.rig, nothing, NULL);
	push_set_reachable(t.push, true);
	(void)take_call(FOLDER);
	while (t.rows_n < 2 * ROWS) {
		rig_on_lane(&t.rig, nothing, &most);
		turns++;
		assert_in_range(turns, 0, 100000);
	}
	rig_turn_ms(&t.rig, 20);
	assert_in_range(most, 1, LOOKS * LOOK_ROWS);
	assert_in_range(turns, 2 * ROWS / (LOOKS * LOOK_ROWS), 100000);
	assert_in_range(mallinfo2().uordblks, 0, before + 1024 * 1024);
	/* It comes to rest: one pass that took something, and one that did not. */
	rig_settle(&t.rig);
	assert_in_range(t.rows_n, 2 * ROWS, 2 * ROWS + 10);
	refuse(take_call(FOLDER), GRAPH_FORBIDDEN);
	rig_turn_ms(&t.rig, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_done),
		TEST(test_parents_first),
		TEST(test_no_more_than_so_many_at_once),
		TEST(test_failed_for_good),
		TEST(test_refused_deletions),
		TEST(test_later),
		TEST(test_many_that_wait),
		TEST(test_pause),
		TEST(test_offline),
		TEST(test_learn),
		TEST(test_learn_is_bounded),
		TEST(test_gone),
		TEST(test_folder_is_gone),
		TEST(test_written_while_it_is_sent),
		TEST(test_sessions_are_saved),
		TEST(test_ring_of_names),
		TEST(test_waits_for_what_is_refused),
		TEST(test_quiet_time),
		TEST(test_asks),
		TEST(test_freed_while_it_sends),
		TEST(test_many_rows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

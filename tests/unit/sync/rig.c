#include "rig.h"

#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, SETTLE_TURNS = 4 };

/* --- the source --- */

static bool is_ours(const char *link)
{
	return !link || strcmp(link, GRAPH_DELTA_LATEST) == 0 ||
	       strncmp(link, RIG_HOST, strlen(RIG_HOST)) == 0;
}

static struct rig_call *new_call(struct rig *rig, enum rig_kind kind, const char *id,
				 const char *link, enum http_priority priority, void *arg)
{
	struct rig_call *call = calloc(1, sizeof(*call));

	assert_non_null(call);
	call->rig = rig;
	call->kind = kind;
	call->priority = priority;
	call->id = id ? strdup(id) : NULL;
	call->link = link ? strdup(link) : NULL;
	call->arg = arg;
	list_add_tail(&rig->calls, &call->node);
	return call;
}

static void free_call(struct rig_call *call)
{
	list_del(&call->node);
	free(call->id);
	free(call->link);
	free(call);
}

static int get_root(void *arg, enum http_priority priority, graph_item_fn fn, void *fn_arg,
		    struct graph_call **ret)
{
	struct rig_call *call = new_call(arg, RIG_GET_ROOT, NULL, NULL, priority, fn_arg);

	call->item_fn = fn;
	*ret = (struct graph_call *)call;
	return 0;
}

static int get_page(struct rig *rig, enum rig_kind kind, const char *id, const char *link,
		    enum http_priority priority, graph_page_fn fn, void *fn_arg,
		    struct graph_call **ret)
{
	struct rig_call *call;

	if (!is_ours(link))
		return -EPERM;
	call = new_call(rig, kind, id, link, priority, fn_arg);
	call->page_fn = fn;
	*ret = (struct graph_call *)call;
	return 0;
}

static int get_item(void *arg, const char *id, enum http_priority priority, graph_item_fn fn,
		    void *fn_arg, struct graph_call **ret)
{
	struct rig_call *call = new_call(arg, RIG_GET_ITEM, id, NULL, priority, fn_arg);

	call->item_fn = fn;
	*ret = (struct graph_call *)call;
	return 0;
}

static int get_children(void *arg, const char *id, const char *link, enum http_priority priority,
			graph_page_fn fn, void *fn_arg, struct graph_call **ret)
{
	return get_page(arg, RIG_GET_CHILDREN, id, link, priority, fn, fn_arg, ret);
}

static int get_delta(void *arg, const char *link, enum http_priority priority, graph_page_fn fn,
		     void *fn_arg, struct graph_call **ret)
{
	return get_page(arg, RIG_GET_DELTA, NULL, link, priority, fn, fn_arg, ret);
}

static void cancel(struct graph_call *graph_call)
{
	struct rig_call *call = (struct rig_call *)graph_call;

	if (!call)
		return;
	call->rig->cancelled_n++;
	free_call(call);
}

/* --- life --- */

void rig_init(struct rig *rig)
{
	*rig = (struct rig){ .dir = "/tmp/graphfs-rig-XXXXXX" };
	assert_non_null(mkdtemp(rig->dir));
	rig->dir_fd = open(rig->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(rig->dir_fd >= 0);
	list_init(&rig->calls);
	rig->source = (struct source){
		.arg = rig,
		.get_root = get_root,
		.get_item = get_item,
		.get_children = get_children,
		.get_delta = get_delta,
		.cancel = cancel,
	};
	assert_int_equal(loop_new(&rig->loop), 0);
	assert_int_equal(lane_new(rig->loop, "store", 1, &rig->lane), 0);
	assert_int_equal(tree_open(rig->dir_fd, "tree.db", "D", &rig->tree), 0);
}

void rig_fini(struct rig *rig)
{
	static const char *const files[] = { "tree.db", "tree.db-wal", "tree.db-shm" };

	assert_true(list_empty(&rig->calls));
	lane_free(rig->lane);
	tree_free(rig->tree);
	loop_free(rig->loop);
	free(rig->value);
	for (size_t i = 0; i < array_n(files); i++)
		(void)unlinkat(rig->dir_fd, files[i], 0);
	close(rig->dir_fd);
	assert_int_equal(rmdir(rig->dir), 0);
}

/* --- turning --- */

static void turn(struct rig *rig)
{
	static const struct timespec moment = { .tv_nsec = 200000 };

	loop_run_once(rig->loop);
	nanosleep(&moment, NULL);
}

void rig_turn_ms(struct rig *rig, unsigned ms)
{
	uint64_t until = clock_mono_ms() + ms;

	while (clock_mono_ms() < until)
		turn(rig);
}

struct errand {
	struct lane_job job;
	loop_fn fn;
	void *arg;
	bool done;
};

static void errand_work(void *arg)
{
	struct errand *errand = arg;

	if (errand->fn)
		errand->fn(errand->arg);
}

static void errand_done(void *arg)
{
	struct errand *errand = arg;

	errand->done = true;
}

void rig_on_lane(struct rig *rig, loop_fn fn, void *arg)
{
	struct errand errand = { .fn = fn, .arg = arg };
	uint64_t until = clock_mono_ms() + PATIENCE_MS;

	lane_push(rig->lane, &errand.job, errand_work, errand_done, &errand);
	while (!errand.done && clock_mono_ms() < until)
		turn(rig);
	assert_true(errand.done);
}

void rig_settle(struct rig *rig)
{
	/* An answer leads to a job, that to the next request or the end, which may begin anew. */
	for (int i = 0; i < SETTLE_TURNS; i++) {
		loop_run_once(rig->loop);
		rig_on_lane(rig, NULL, NULL);
	}
}

unsigned rig_waiting_n(struct rig *rig)
{
	unsigned n = 0;

	rig_settle(rig);
	list_for_each (&rig->calls, node)
		n++;
	return n;
}

/* --- answers --- */

struct rig_call *rig_take(struct rig *rig, enum rig_kind kind)
{
	uint64_t until = clock_mono_ms() + PATIENCE_MS;
	struct rig_call *call;

	while (list_empty(&rig->calls) && clock_mono_ms() < until)
		turn(rig);
	assert_false(list_empty(&rig->calls));
	call = container_of(rig->calls.next, struct rig_call, node);
	assert_int_equal(call->kind, kind);
	return call;
}

static void finish(struct rig_call *call, const struct graph_result *result, struct item_page *page)
{
	if (call->kind == RIG_GET_ROOT || call->kind == RIG_GET_ITEM)
		call->item_fn(call->arg, result, NULL);
	else
		call->page_fn(call->arg, result, page);
	free_call(call);
}

void rig_answer_item(struct rig_call *call, const char *body)
{
	const struct graph_result result = { .status = 200 };
	struct item_problem problem;
	struct item item;

	assert_int_equal(item_parse_body(body, strlen(body), &item, &problem), 0);
	call->item_fn(call->arg, &result, &item);
	item_fini(&item);
	free_call(call);
}

void rig_answer_root(struct rig_call *call)
{
	rig_answer_item(call, RIG_ROOT);
}

void rig_answer(struct rig_call *call, const char *body)
{
	struct graph_result result = { .status = 200 };
	struct item_problem problem = { "" };
	struct item_page page = { 0 };

	result.error = item_parse_page(body, strlen(body), &page, &problem);
	snprintf(result.text, sizeof(result.text), "%s", problem.text);
	finish(call, &result, result.error ? NULL : &page);
	item_page_fini(&page);
}

void rig_refuse(struct rig_call *call, long status, int error)
{
	struct graph_result result = {
		.status = status, .error = error, .text = "refused", .code = "refused"
	};

	finish(call, &result, NULL);
}

void rig_refuse_elsewhere(struct rig_call *call, long status, int error)
{
	struct graph_result result = { .status = status, .error = error, .text = "refused" };

	finish(call, &result, NULL);
}

void rig_refuse_offline(struct rig_call *call)
{
	struct graph_result result = { .error = -ENETDOWN, .is_offline = true, .text = "offline" };

	finish(call, &result, NULL);
}

void rig_refuse_resync(struct rig_call *call, const char *location)
{
	struct graph_result result = { .status = 410, .error = -ESTALE, .is_resync = true };
	auto_free char *copy = location ? strdup(location) : NULL;

	result.location = copy;
	finish(call, &result, NULL);
}

/* --- the tree --- */

void rig_on_changes(void *arg, struct change_set *set)
{
	struct rig *rig = arg;

	rig->sets_n++;
	rig->bulk_n += set->bulk;
	for (size_t i = 0; i < set->n; i++)
		rig->changes_n[set->v[i].kind]++;
	change_set_free(set);
}

struct seed {
	struct tree *tree;
	struct item_page *page;
	const char *link;
};

static void seed_work(void *arg)
{
	struct seed *seed = arg;
	struct change_set *set = NULL;

	assert_int_equal(tree_stage_begin(seed->tree), 0);
	assert_int_equal(tree_stage_page(seed->tree, seed->page->items, seed->page->n), 0);
	assert_int_equal(tree_stage_apply(seed->tree, seed->link, false, &set), 0);
	change_set_free(set);
}

void rig_seed(struct rig *rig, const char *body, const char *link)
{
	struct item_problem problem;
	struct item_page page;
	struct seed seed = { .tree = rig->tree, .page = &page, .link = link };

	assert_int_equal(item_parse_page(body, strlen(body), &page, &problem), 0);
	rig_on_lane(rig, seed_work, &seed);
	item_page_fini(&page);
}

const char *rig_kv(struct rig *rig, const char *key)
{
	free(take_ptr(&rig->value));
	return tree_kv_get(rig->tree, key, &rig->value) == 0 ? rig->value : "";
}

bool rig_has(struct rig *rig, const char *id)
{
	uint64_t ino;

	return tree_find_id(rig->tree, id, &ino) == 0;
}

uint64_t rig_ino(struct rig *rig, const char *id)
{
	uint64_t ino = 0;

	assert_int_equal(tree_find_id(rig->tree, id, &ino), 0);
	return ino;
}

bool rig_is_complete(struct rig *rig, uint64_t dir)
{
	struct tree_attr attr;

	assert_int_equal(tree_get(rig->tree, dir, &attr), 0);
	return attr.complete;
}

#define LOG_MODULE "loop"
#include "loop.h"

#include "clock.h"
#include "log.h"
#include "mutex.h"

#include <errno.h>
#include <stdatomic.h>

enum { LONG_TURN_MS = 50 };

struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	uv_prepare_t before_poll;
	uv_check_t after_poll;
	uint64_t turn_began_ms;
	_Atomic(pthread_t) thread; /* who runs it; 0: nobody yet */
	atomic_bool stopping;

	struct mutex lock; /* MUTEX_RANK_LOOP; guards posted */
	struct list posted;
};

struct own_call {
	struct loop_call call;
	loop_fn fn;
	void *arg;
};

/* Calls what was posted up to now; what these post runs in the next turn. */
static void run_posted(struct loop *loop)
{
	struct list now;

	list_init(&now);
	mutex_lock(&loop->lock);
	list_splice_tail(&now, &loop->posted);
	mutex_unlock(&loop->lock);
	while (!list_empty(&now)) {
		struct loop_call *call = container_of(now.next, struct loop_call, node);

		list_del(&call->node);
		call->fn(call->arg);
	}
}

static void on_wake(uv_async_t *wake)
{
	struct loop *loop = wake->data;

	run_posted(loop);
	if (loop->stopping)
		uv_stop(&loop->uv);
}

static void on_before_poll(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;
	uint64_t took_ms = clock_mono_ms() - loop->turn_began_ms;

	if (loop->turn_began_ms != 0 && took_ms > LONG_TURN_MS)
		log_debug("a turn of the loop took %llu ms", (unsigned long long)took_ms);
}

static void on_after_poll(uv_check_t *check)
{
	struct loop *loop = check->data;

	loop->turn_began_ms = clock_mono_ms();
}

int loop_new(struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return -ENOMEM;
	r = uv_loop_init(&loop->uv);
	if (r < 0) {
		free(loop);
		return r;
	}
	r = uv_async_init(&loop->uv, &loop->wake, on_wake);
	if (r < 0) {
		(void)uv_loop_close(&loop->uv);
		free(loop);
		return r;
	}
	loop->wake.data = loop;
	mutex_init(&loop->lock, MUTEX_RANK_LOOP);
	list_init(&loop->posted);
	if (log_is_on(LOG_LEVEL_DEBUG)) {
		uv_prepare_init(&loop->uv, &loop->before_poll);
		loop->before_poll.data = loop;
		uv_prepare_start(&loop->before_poll, on_before_poll);
		uv_unref((uv_handle_t *)&loop->before_poll);
		uv_check_init(&loop->uv, &loop->after_poll);
		loop->after_poll.data = loop;
		uv_check_start(&loop->after_poll, on_after_poll);
		uv_unref((uv_handle_t *)&loop->after_poll);
	}
	*ret = loop;
	return 0;
}

/* Only handles of this file: a guest's or a timer's still open is its owner's mistake, and then
 * uv_loop_close() says so below. */
static void close_own(uv_handle_t *handle, void *arg)
{
	struct loop *loop = arg;

	if ((void *)handle == &loop->wake || (void *)handle == &loop->before_poll ||
	    (void *)handle == &loop->after_poll)
		uv_close(handle, NULL);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	loop->thread = pthread_self();
	run_posted(loop);
	uv_walk(&loop->uv, close_own, loop);
	while (uv_run(&loop->uv, UV_RUN_NOWAIT) != 0)
		run_posted(loop);
	run_posted(loop);
	if (uv_loop_close(&loop->uv) < 0)
		log_error("the loop was freed with handles still open");
	mutex_fini(&loop->lock);
	free(loop);
}

int loop_run(struct loop *loop)
{
	loop->thread = pthread_self();
	loop->turn_began_ms = 0;
	while (!loop->stopping)
		(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	loop->stopping = false;
	return 0;
}

void loop_run_once(struct loop *loop)
{
	loop->thread = pthread_self();
	(void)uv_run(&loop->uv, UV_RUN_NOWAIT);
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	(void)uv_async_send(&loop->wake);
}

void loop_post(struct loop *loop, struct loop_call *call, loop_fn fn, void *arg)
{
	call->fn = fn;
	call->arg = arg;
	mutex_lock(&loop->lock);
	list_add_tail(&loop->posted, &call->node);
	mutex_unlock(&loop->lock);
	/* Documented as safe from any thread; calls are merged, the list is not. */
	(void)uv_async_send(&loop->wake);
}

static void run_own(void *arg)
{
	struct own_call *own = arg;

	own->fn(own->arg);
	free(own);
}

int loop_post_new(struct loop *loop, loop_fn fn, void *arg)
{
	struct own_call *own = malloc(sizeof(*own));

	if (!own)
		return -ENOMEM;
	own->fn = fn;
	own->arg = arg;
	loop_post(loop, &own->call, run_own, own);
	return 0;
}

bool loop_is_current(const struct loop *loop)
{
	return pthread_equal(loop->thread, pthread_self());
}

uint64_t loop_now_ms(struct loop *loop)
{
	return uv_now(&loop->uv);
}

uv_loop_t *loop_uv(struct loop *loop)
{
	return &loop->uv;
}

static void on_timer(uv_timer_t *handle)
{
	struct loop_timer *t = handle->data;

	t->fn(t->arg);
}

int loop_timer_init(struct loop_timer *t, struct loop *loop, loop_fn fn, void *arg)
{
	uv_timer_t *handle = malloc(sizeof(*handle));

	if (!handle)
		return -ENOMEM;
	uv_timer_init(&loop->uv, handle);
	handle->data = t;
	*t = (struct loop_timer){ .loop = loop, .fn = fn, .arg = arg, .handle = handle };
	return 0;
}

void loop_timer_arm(struct loop_timer *t, uint64_t in_ms)
{
	/* The loop's idea of now is that of the turn's beginning: without this a timer armed late
	 * in a long turn, or before the loop runs, would fire early. */
	uv_update_time(&t->loop->uv);
	uv_timer_start(t->handle, on_timer, in_ms, 0);
}

void loop_timer_disarm(struct loop_timer *t)
{
	if (t->handle)
		uv_timer_stop(t->handle);
}

bool loop_timer_is_armed(const struct loop_timer *t)
{
	return t->handle && uv_is_active(t->handle);
}

static void free_handle(uv_handle_t *handle)
{
	free(handle);
}

void loop_timer_fini(struct loop_timer *t)
{
	if (t->handle)
		uv_close(take_ptr(&t->handle), free_handle);
}

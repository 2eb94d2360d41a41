/*
 * One look at a file: what has ended is cleared away, then as many requests are started as are
 * wanted and allowed. Everything that changes a file's state has it looked at again, so nothing
 * here waits.
 */
#define LOG_MODULE "fetch"
#include "fetch_file.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* --- failures --- */

/* How often a failure without a block in between is tried again, after how long, and what it is
 * to the readers in the end. */
static const struct {
	int error;
	unsigned retries;
	unsigned delay_ms; /* doubles */
	bool forget_url;
	int final; /* 0: as it is */
} failures[] = {
	{ -ESTALE, 1, 0, true, -EACCES },   /* the URL is not accepted */
	{ -ERANGE, 1, 0, true, -EIO },      /* shorter than it was */
	{ -EREMCHG, 2, 0, true, -ESTALE },  /* another length than the tree says */
	{ -EBADMSG, 1, 50, false, -EIO },   /* truncated, no content, a wrong range */
	{ -EAGAIN, 4, 300, false, -EIO },   /* busy */
	{ -ENOENT, 1, 500, true, -ESTALE }, /* the service's reads lag: once is no proof */
	{ -ENETDOWN, 1, 100, false, 0 },
	{ -ETIMEDOUT, 8, 0, false, 0 }, /* reads have deadlines of their own */
};

static bool is_waited(struct fetch_file *file)
{
	bool waited;

	mutex_lock(&file->fetch->lock);
	waited = !list_empty(&file->waits);
	mutex_unlock(&file->fetch->lock);
	return waited;
}

void fetch_pump_failed(struct fetch_file *file, int error)
{
	unsigned retries = 0, delay_ms = 0;
	int final = error;

	for (size_t i = 0; i < array_n(failures); i++) {
		if (failures[i].error != error)
			continue;
		retries = failures[i].retries;
		delay_ms = failures[i].delay_ms;
		final = failures[i].final ? failures[i].final : error;
		if (failures[i].forget_url)
			fetch_url_forget(file);
	}
	if (file->failed < 0)
		return;
	if (error == -ETIMEDOUT && !is_waited(file))
		retries = 0;
	file->round++;
	if (file->fails_n++ < retries) {
		file->retry_ms = clock_mono_ms() +
				 (delay_ms ? (uint64_t)delay_ms << (file->fails_n - 1) : 0);
	} else {
		log_info("reading inode %" PRIu64 " failed: %s", file->version.ino,
			 strerror(-error));
		file->fails_n = 0;
		file->failed = final;
		if (final == -ESTALE)
			fetch_pump_gone(file);
	}
	mutex_lock(&file->fetch->lock);
	fetch_kick(file);
	mutex_unlock(&file->fetch->lock);
}

void fetch_pump_gone(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;

	log_debug("the service has another version of inode %" PRIu64 " now", file->version.ino);
	file->failed = -ESTALE;
	fetch_url_forget(file);
	mutex_lock(&fetch->lock);
	if (file->dead == 0)
		file->dead = -ESTALE;
	fetch_kick(file);
	mutex_unlock(&fetch->lock);
	if (fetch->on_gone)
		fetch->on_gone(fetch->arg, file->version.ino);
}

/* --- ends --- */

static void cancel_all(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;

	if (file->info_call)
		fetch->source.cancel(fetch->source.arg, file->info_call);
	file->info_call = NULL;
	list_for_each (&file->segments, pos)
		fetch_segment_cancel(container_of(pos, struct fetch_segment, node));
}

/* Those that waited for memory, or for another's request to end, are looked at again. */
static void feed_starved(struct fetch *fetch)
{
	if (!fetch->is_starved || !atomic_exchange(&fetch->has_room, false))
		return;
	fetch->is_starved = false;
	mutex_lock(&fetch->lock);
	list_for_each (&fetch->files, pos) {
		struct fetch_file *file = container_of(pos, struct fetch_file, node);

		if (!list_empty(&file->waits) || !list_empty(&file->streams))
			fetch_kick(file);
	}
	mutex_unlock(&fetch->lock);
}

/* Frees requests that have ended and whose blocks are with those who wait. */
static void reap(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	struct list done;

	list_init(&done);
	mutex_lock(&fetch->lock);
	list_for_each_safe (&file->segments, pos) {
		struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

		if (seg->call || seg->pending || !list_empty(&seg->held))
			continue;
		list_del(&seg->node);
		list_add_tail(&done, &seg->node);
	}
	mutex_unlock(&fetch->lock);
	list_for_each_safe (&done, pos)
		fetch_segment_free(container_of(pos, struct fetch_segment, node));
	feed_starved(fetch);
}

static bool is_over(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	bool over;

	mutex_lock(&fetch->lock);
	over = list_empty(&file->segments) && file->jobs_n == 0 && !file->is_kicked;
	mutex_unlock(&fetch->lock);
	return over;
}

static void end_file(struct fetch_file *file)
{
	cancel_all(file);
	reap(file);
	/* Blocks on the lane have it looked at once more. */
	if (is_over(file))
		fetch_destroy(file);
}

/* --- what is wanted --- */

/* Nobody has the block and nobody brings it. With the lock. */
static bool is_missing(const struct fetch_file *file, uint64_t block)
{
	if (file->cache && cache_has_block(file->cache, block))
		return false;
	list_for_each (&file->segments, pos) {
		if (fetch_segment_has(container_of(pos, struct fetch_segment, node), block))
			return false;
	}
	return true;
}

/* From the first missing block of [from, to) on, as many as are missing in a row. */
static bool plan_range(const struct fetch_file *file, uint64_t from, uint64_t to, uint64_t until,
		       uint64_t most, struct fetch_plan *plan)
{
	uint64_t n = fetch_blocks_n(file->size);

	if (until > n)
		until = n;
	while (from < to && from < n && !is_missing(file, from))
		from++;
	if (from >= to || from >= n)
		return false;
	plan->first = from;
	plan->n = 1;
	while (plan->n < most && from + plan->n < until && is_missing(file, from + plan->n))
		plan->n++;
	return true;
}

/* How many blocks one request should bring: as the line needs it, but not more than a fair part of
 * what is to come, so that the requests for the end of a file, and for the beginning of a window,
 * are made side by side. */
static uint64_t portion(const struct fetch_file *file, uint64_t from, uint64_t ahead_bytes)
{
	uint64_t n = fetch_blocks_n(file->size);
	uint64_t most = pace_segment(&file->fetch->pace) / FETCH_BLOCK;
	uint64_t left = (n > from ? n - from : 0) / FETCH_AHEAD_REQUESTS;
	uint64_t part = ahead_bytes / FETCH_BLOCK / FETCH_AHEAD_REQUESTS;

	if (most > left)
		most = left;
	if (most > part)
		most = part;
	return most > FETCH_SEGMENT_MIN ? most : FETCH_SEGMENT_MIN;
}

/* What this reader waits for, and as much beyond it as it will want soon; of a small file, all. */
static bool plan_wait(struct fetch_file *file, const struct fetch_wait *w, struct fetch_plan *plan)
{
	uint64_t n = fetch_blocks_n(file->size), until = w->reach / FETCH_BLOCK;

	plan->is_background = w->read->stream->is_background;
	plan->is_whole = n <= FETCH_SMALL_BLOCKS && !file->fetch->is_uncached &&
			 w->read->stream->limit >= file->size;
	if (until < w->first + w->n || file->fetch->is_uncached)
		until = w->first + w->n;
	for (uint64_t i = 0; i < w->n; i++) {
		uint64_t block = w->first + i;

		if ((w->got >> i & 1) || !is_missing(file, block))
			continue;
		if (plan->is_whole)
			return plan_range(file, 0, n, n, n, plan);
		return plan_range(file, block, block + 1, until,
				  portion(file, block, w->reach - w->off), plan);
	}
	return false;
}

/* What a reader in sequence comes to next. Pieces of a window that is still moving are left until
 * they are worth a request. */
static bool plan_trail(const struct fetch_file *file, const struct pattern_trail *t,
		       struct fetch_plan *plan)
{
	uint64_t n = fetch_blocks_n(file->size), to = t->ahead / FETCH_BLOCK, most;

	if (t->ahead <= t->end)
		return false;
	if (to > n)
		to = n;
	most = portion(file, t->end / FETCH_BLOCK, t->ahead - t->end);
	if (!plan_range(file, t->end / FETCH_BLOCK, to, to, most, plan))
		return false;
	return plan->n == most || plan->first + plan->n < to || to == n;
}

static bool plan_stride(const struct fetch_file *file, const struct pattern *p,
			struct fetch_plan *plan)
{
	uint64_t off, end;

	for (unsigned i = 0; pattern_get_stride(p, i, file->size, &off, &end); i++) {
		uint64_t to = (end - 1) / FETCH_BLOCK + 1;

		if (plan_range(file, off / FETCH_BLOCK, to, to, FETCH_SEGMENT_MIN, plan))
			return true;
	}
	return false;
}

static bool plan_ahead(const struct fetch_file *file, const struct pattern *p,
		       struct fetch_plan *plan)
{
	for (size_t i = 0; i < PATTERN_TRAILS; i++) {
		if (plan_trail(file, &p->trails[i], plan))
			return true;
	}
	return plan_stride(file, p, plan);
}

/* What somebody waits for that is neither here nor on its way; else what somebody will want. */
static bool find_plan(struct fetch_file *file, struct fetch_plan *plan)
{
	*plan = (struct fetch_plan){ 0 };
	list_for_each (&file->waits, pos) {
		if (plan_wait(file, container_of(pos, struct fetch_wait, node), plan))
			return true;
	}
	*plan = (struct fetch_plan){ .is_ahead = true };
	if (file->fetch->is_uncached)
		return false;
	list_for_each (&file->streams, pos) {
		if (plan_ahead(file, &container_of(pos, struct fetch_stream, node)->pattern, plan))
			return true;
	}
	return false;
}

/* Does anyone read there, or will soon? With the lock. */
static bool is_wanted(const struct fetch_file *file, const struct fetch_segment *seg)
{
	uint64_t end = seg->first + seg->n;

	if (seg->is_whole)
		return true;
	list_for_each (&file->waits, pos) {
		const struct fetch_wait *w = container_of(pos, struct fetch_wait, node);

		if (w->first < end && seg->first < w->first + w->n)
			return true;
	}
	list_for_each (&file->streams, pos) {
		const struct fetch_stream *s = container_of(pos, struct fetch_stream, node);

		if (pattern_wants(&s->pattern, seg->first * FETCH_BLOCK, end * FETCH_BLOCK))
			return true;
	}
	return false;
}

/* Ends requests that were made for a reader who went elsewhere, unless most of it is here: the
 * connection goes with the request. */
static void drop_unwanted(struct fetch_file *file)
{
	struct fetch_segment *unwanted;

	do {
		unwanted = NULL;
		mutex_lock(&file->fetch->lock);
		list_for_each (&file->segments, pos) {
			struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

			if (seg->call && (seg->next - seg->first) * 2 <= seg->n &&
			    !is_wanted(file, seg))
				unwanted = seg;
		}
		mutex_unlock(&file->fetch->lock);
		if (unwanted)
			fetch_segment_cancel(unwanted);
	} while (unwanted);
}

/* --- what is allowed --- */

static unsigned running_n(struct fetch_file *file)
{
	unsigned n = 0;

	mutex_lock(&file->fetch->lock);
	list_for_each (&file->segments, pos)
		n += container_of(pos, struct fetch_segment, node)->call != NULL;
	mutex_unlock(&file->fetch->lock);
	return n;
}

/* How many requests of read-ahead this file may have: all, or its part when others read, too. */
static unsigned share(struct fetch_file *file)
{
	unsigned files_n = 1;

	mutex_lock(&file->fetch->lock);
	list_for_each (&file->fetch->files, pos) {
		const struct fetch_file *other = container_of(pos, struct fetch_file, node);

		files_n += other != file && !list_empty(&other->segments);
	}
	mutex_unlock(&file->fetch->lock);
	return files_n < FETCH_AHEAD_REQUESTS ? FETCH_AHEAD_REQUESTS / files_n : 1;
}

/* Cuts the plan to the memory there is; one block is always granted to a reader who waits. */
static bool fit_plan(struct fetch *fetch, struct fetch_plan *plan)
{
	if (fetch->memory_n < FETCH_MEMORY_BLOCKS / 2)
		return true;
	if (plan->is_ahead)
		return false;
	if (fetch->memory_n >= FETCH_MEMORY_BLOCKS && !plan->is_whole)
		plan->n = 1;
	return true;
}

static bool is_allowed(struct fetch_file *file, struct fetch_plan *plan)
{
	struct fetch *fetch = file->fetch;
	unsigned running = running_n(file);
	bool fits;

	mutex_lock(&fetch->lock);
	fits = fit_plan(fetch, plan);
	mutex_unlock(&fetch->lock);
	if (!fits)
		return false;
	if (!plan->is_ahead)
		return running < FETCH_FILE_SEGMENTS;
	return fetch->ahead_n < FETCH_AHEAD_REQUESTS && running < share(file);
}

/* True: another one may be started. */
static bool start_next(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	struct fetch_plan plan;
	bool found;
	int r;

	mutex_lock(&fetch->lock);
	found = find_plan(file, &plan);
	mutex_unlock(&fetch->lock);
	if (!found || !fetch_url_ready(file))
		return false;
	if (!is_allowed(file, &plan)) {
		fetch->is_starved = true;
		return false;
	}
	r = fetch_segment_start(file, &plan);
	if (r < 0)
		fetch_pump_failed(file, r);
	return r == 0;
}

/* --- the look --- */

static bool is_in_doubt(const struct fetch_file *file)
{
	list_for_each (&file->segments, pos) {
		const struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

		if (seg->has_head && !seg->is_certain && (seg->call || !list_empty(&seg->held)))
			return true;
	}
	return false;
}

struct look {
	bool is_closed, is_waited, is_dead, is_rechecked;
};

static struct look look_at(struct fetch_file *file)
{
	struct look look;

	mutex_lock(&file->fetch->lock);
	look = (struct look){
		.is_closed = file->is_closed,
		.is_waited = !list_empty(&file->waits),
		.is_dead = file->dead < 0,
		.is_rechecked = file->wants_recheck,
	};
	file->wants_recheck = false;
	mutex_unlock(&file->fetch->lock);
	return look;
}

void fetch_pump(struct fetch_file *file)
{
	struct look look = look_at(file);
	bool is_late;

	reap(file);
	if (look.is_closed) {
		end_file(file);
		return;
	}
	if (look.is_rechecked)
		fetch_url_forget(file);
	/* Whoever reads next shall not wait for what gives nothing. */
	if (file->is_stalled) {
		file->is_stalled = false;
		cancel_all(file);
		reap(file);
	}
	if (file->failed < 0) {
		int error = file->failed;

		file->failed = 0;
		cancel_all(file);
		fetch_fail_all(file, error);
		reap(file);
		return;
	}
	if (look.is_dead)
		return;
	drop_unwanted(file);
	is_late = clock_mono_ms() >= file->retry_ms;
	if (is_late && is_in_doubt(file))
		fetch_url_ask(file);
	while (is_late && file->failed == 0 && clock_mono_ms() >= file->retry_ms &&
	       start_next(file))
		;
	if ((look.is_waited || file->retry_ms > clock_mono_ms()) &&
	    !loop_timer_is_armed(&file->fetch->tick))
		loop_timer_arm(&file->fetch->tick, FETCH_TICK_MS);
}

/* When did the read, or a request that brings some of it, last get something? With the lock. */
static uint64_t last_progress_ms(const struct fetch_wait *w)
{
	uint64_t last_ms = w->since_ms;

	list_for_each (&w->file->segments, pos) {
		const struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

		if (seg->progress_ms > last_ms && seg->first < w->first + w->n &&
		    w->first < seg->first + seg->n)
			last_ms = seg->progress_ms;
	}
	return last_ms;
}

static uint64_t patience_ms(const struct fetch_wait *w)
{
	bool is_later = w->read->stream->is_background;

	return w->file->fetch->stall_ms * (is_later ? FETCH_LATER_STALLS : 1);
}

/* Deadlines of the reads, and what is to be tried again. True: the file needs the next tick. */
static bool tick_file(struct fetch_file *file, uint64_t now_ms, struct list *claimed)
{
	list_for_each_safe (&file->waits, pos) {
		struct fetch_wait *w = container_of(pos, struct fetch_wait, node);

		if (now_ms < last_progress_ms(w) + patience_ms(w))
			continue;
		fetch_claim(w, -ETIMEDOUT, claimed);
		file->is_stalled = true;
	}
	if (file->is_stalled)
		fetch_kick(file);
	if (file->retry_ms > 0 && now_ms >= file->retry_ms) {
		file->retry_ms = 0;
		fetch_kick(file);
	}
	return !list_empty(&file->waits) || file->retry_ms > 0;
}

void fetch_pump_on_tick(void *arg)
{
	struct fetch *fetch = arg;
	struct list claimed;
	bool again = false;

	list_init(&claimed);
	mutex_lock(&fetch->lock);
	list_for_each (&fetch->files, pos)
		again |= tick_file(container_of(pos, struct fetch_file, node), clock_mono_ms(),
				   &claimed);
	mutex_unlock(&fetch->lock);
	fetch_finish(&claimed);
	if (again)
		loop_timer_arm(&fetch->tick, FETCH_TICK_MS);
}

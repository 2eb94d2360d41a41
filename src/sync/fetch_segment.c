/*
 * A request's bytes come in order. They are gathered into blocks; a full block goes to the disk
 * lane, is written and marked there, and is then copied to the reads that wait for it, from
 * memory: a cache that cannot be written costs no reader its bytes.
 *
 * A block whose version is not certain (the reply's entity tag is none that is known to be of it)
 * is held back until the service has said, later than the reply began, that the item still has
 * the tag of this version.
 */
#define LOG_MODULE "fetch"
#include "fetch_file.h"

#include "clock.h"
#include "config-build.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static uint64_t block_len(const struct fetch_file *file, uint64_t block)
{
	uint64_t left = file->size - block * FETCH_BLOCK;

	return left < FETCH_BLOCK ? left : FETCH_BLOCK;
}

bool fetch_segment_has(const struct fetch_segment *seg, uint64_t block)
{
	return block >= seg->first && block - seg->first < seg->n &&
	       (seg->pending >> (block - seg->first) & 1);
}

/* The block is with those who wait, or lost. With the lock. */
static void settle(struct fetch_segment *seg, uint64_t block)
{
	seg->pending &= ~(UINT64_C(1) << (block - seg->first));
}

/* --- memory --- */

void fetch_segment_drain(struct fetch *fetch)
{
	list_for_each_safe (&fetch->pool, pos) {
		list_del(pos);
		free(container_of(pos, struct fetch_block, node));
	}
	fetch->pool_n = 0;
}

/* With the lock. */
static void put_block(struct fetch *fetch, struct fetch_block *b)
{
	fetch->memory_n--;
	fetch->has_room = true;
	if (b->room < FETCH_BLOCK || fetch->pool_n >= FETCH_POOL_BLOCKS) {
		free(b);
	} else {
		list_add_head(&fetch->pool, &b->node);
		fetch->pool_n++;
	}
	if (fetch->memory_n == 0 && fetch->in_flight_n == 0)
		fetch_segment_drain(fetch);
}

static void drop_block(struct fetch *fetch, struct fetch_block *b)
{
	if (!b)
		return;
	mutex_lock(&fetch->lock);
	put_block(fetch, b);
	mutex_unlock(&fetch->lock);
}

/* Is it the one block without which a reader gets no further? With the lock. */
static bool is_next_of_reader(const struct fetch_file *file, uint64_t block)
{
	list_for_each (&file->waits, pos) {
		const struct fetch_wait *w = container_of(pos, struct fetch_wait, node);
		uint64_t i = 0;

		while (i < w->n && (w->got >> i & 1))
			i++;
		if (w->first + i == block)
			return true;
	}
	return false;
}

/* NULL with -ENOBUFS: the disk is slower than the line. The request ends here, and what it did
 * not bring is asked for again when there is room. */
static int get_block(struct fetch_segment *seg, size_t want, struct fetch_block **ret)
{
	struct fetch *fetch = seg->file->fetch;
	struct fetch_block *b = NULL;
	bool may;

	mutex_lock(&fetch->lock);
	may = fetch->memory_n < FETCH_MEMORY_BLOCKS || is_next_of_reader(seg->file, seg->next);
	if (may)
		fetch->memory_n++;
	if (may && want == FETCH_BLOCK && !list_empty(&fetch->pool)) {
		b = container_of(fetch->pool.next, struct fetch_block, node);
		list_del(&b->node);
		fetch->pool_n--;
	}
	mutex_unlock(&fetch->lock);
	if (!may)
		return -ENOBUFS;
	if (!b)
		b = malloc(sizeof(*b) + want);
	if (b) {
		b->room = want;
		*ret = b;
		return 0;
	}
	mutex_lock(&fetch->lock);
	fetch->memory_n--;
	mutex_unlock(&fetch->lock);
	return -ENOMEM;
}

/* --- delivery, on the lane --- */

/* The content may have got another length since the block was asked for. */
static bool is_cut_right(const struct fetch_file *file, const struct fetch_block *b)
{
	return b->index * FETCH_BLOCK < file->size && b->len == block_len(file, b->index);
}

static void copy_to(struct fetch_wait *w, const struct fetch_block *b, struct list *claimed)
{
	uint64_t block_off = b->index * FETCH_BLOCK, end = block_off + b->len;
	uint64_t from = block_off > w->off ? block_off : w->off;
	uint64_t to = end < w->off + w->len ? end : w->off + w->len;

	if (b->index < w->first || b->index >= w->first + w->n || !is_cut_right(w->file, b))
		return;
	memcpy(w->read->buf + (from - w->off), b->data + (from - block_off), to - from);
	w->got |= UINT64_C(1) << (b->index - w->first);
	w->since_ms = clock_mono_ms();
	if (w->got == (w->n < 64 ? (UINT64_C(1) << w->n) - 1 : UINT64_MAX))
		fetch_claim(w, (ssize_t)w->len, claimed);
}

/* The content is complete and its hash is wrong: whatever was handed to those who still wait is
 * worth nothing. Once that is bad luck, twice it is the content. */
static void reject(struct fetch_file *file, struct list *claimed)
{
	atomic_fetch_add(&file->drops_n, 1);
	file->wants_recheck = true;
	if (file->drops_n > 1) {
		log_error("content of inode %" PRIu64 " is damaged: its hash is wrong again",
			  file->version.ino);
		file->dead = -EIO;
	} else {
		log_warn("content of inode %" PRIu64 " is damaged: asked for again",
			 file->version.ino);
	}
	list_for_each_safe (&file->waits, pos) {
		struct fetch_wait *w = container_of(pos, struct fetch_wait, node);

		w->got = 0;
		if (file->dead < 0)
			fetch_claim(w, file->dead, claimed);
	}
}

static void note_cache(struct fetch *fetch, int result)
{
	bool was_uncached = atomic_exchange(&fetch->is_uncached, result < 0);

	if (result < 0 && !was_uncached)
		log_error("contents cannot be cached, reading goes on without: %s",
			  strerror(-result));
	else if (result == 0 && was_uncached)
		log_info("contents are cached again");
}

static void write_and_deliver(void *arg)
{
	struct fetch_block *b = arg;
	struct fetch_segment *seg = b->seg;
	struct fetch_file *file = seg->file;
	struct fetch *fetch = file->fetch;
	struct list claimed;
	unsigned drops_n = file->drops_n;
	int r = -ENODEV;

	if (file->cache && is_cut_right(file, b)) {
		r = cache_write(file->cache, b->index, b->data, b->len);
		if (r != -EBADMSG)
			note_cache(fetch, r);
	}
	list_init(&claimed);
	mutex_lock(&fetch->lock);
	if (r == -EBADMSG) {
		reject(file, &claimed);
	} else if (file->drops_n == drops_n && is_cut_right(file, b)) {
		list_for_each_safe (&file->waits, pos)
			copy_to(container_of(pos, struct fetch_wait, node), b, &claimed);
		file->had_block = true;
	}
	settle(seg, b->index);
	put_block(fetch, b);
	file->jobs_n--;
	fetch_kick(file);
	mutex_unlock(&fetch->lock);
	fetch_finish(&claimed);
}

/* --- receiving, on the loop --- */

static void push(struct fetch_segment *seg, struct fetch_block *b)
{
	struct fetch *fetch = seg->file->fetch;

	mutex_lock(&fetch->lock);
	seg->file->jobs_n++;
	mutex_unlock(&fetch->lock);
	lane_push(fetch->lane, &b->job, write_and_deliver, NULL, b);
}

void fetch_segment_release(struct fetch_segment *seg)
{
	seg->is_certain = true;
	list_for_each_safe (&seg->held, pos) {
		list_del(pos);
		push(seg, container_of(pos, struct fetch_block, node));
	}
}

/*
 * The reply says another length than the tree does. If the version is still the same when it is
 * asked again, and the next reply says that length too, it is the real one: the service rewrites
 * some documents and reports the size from before.
 */
static int on_odd_size(struct fetch_file *file, uint64_t total)
{
	struct fetch *fetch = file->fetch;
	bool is_again = file->odd_size == total, is_used;

	file->odd_size = total;
	/* Blocks go to the lane from this thread only: there are none, and none will come. */
	mutex_lock(&fetch->lock);
	is_used = file->had_block || file->jobs_n > 0;
	mutex_unlock(&fetch->lock);
	if (!is_again || is_used || (file->cache && cache_set_size(file->cache, total) < 0))
		return -EREMCHG;
	log_warn("content of inode %" PRIu64 " has %" PRIu64 " bytes, its metadata say %" PRIu64,
		 file->version.ino, total, file->version.size);
	fetch_resize(file, total);
	return -EREMCHG; /* the request was cut for the other length */
}

static int on_head(void *arg, uint64_t total_bytes, const char *etag)
{
	struct fetch_segment *seg = arg;
	struct fetch_file *file = seg->file;

	seg->has_head = true;
	if (PLANT_MIXED_VERSION) {
		seg->is_certain = true;
		return 0;
	}
	if (total_bytes != file->size)
		return on_odd_size(file, total_bytes);
	seg->is_certain = etag && fetch_url_is_good(file, etag);
	if (!seg->is_certain) {
		seg->etag = etag ? strdup(etag) : NULL;
		mutex_lock(&file->fetch->lock);
		fetch_kick(file);
		mutex_unlock(&file->fetch->lock);
	}
	return 0;
}

static int begin_block(struct fetch_segment *seg)
{
	size_t want = (size_t)block_len(seg->file, seg->next);
	struct fetch_block *b;
	int r;

	if (seg->next >= seg->first + seg->n)
		return -EBADMSG; /* more than was asked for */
	r = get_block(seg, want, &b);
	if (r < 0)
		return r;
	list_init(&b->node);
	b->seg = seg;
	b->index = seg->next;
	b->len = 0;
	b->want = want;
	seg->filling = b;
	return 0;
}

static void end_block(struct fetch_segment *seg)
{
	struct fetch_block *b = seg->filling;

	seg->filling = NULL;
	seg->next++;
	seg->file->fails_n = 0;
	seg->file->is_proven = true;
	if (seg->is_certain)
		push(seg, b);
	else
		list_add_tail(&seg->held, &b->node);
}

static void measure(struct fetch_segment *seg, size_t len)
{
	struct pace *pace = &seg->file->fetch->pace;
	uint64_t now_us = clock_mono_us();

	seg->progress_ms = clock_mono_ms();
	if (seg->got_bytes == 0) {
		seg->first_us = now_us;
		/* What nobody waits for may have been queued. */
		if (!seg->is_background)
			pace_note_first(pace, now_us - seg->begun_us);
	}
	seg->last_us = now_us;
	seg->got_bytes += len;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct fetch_segment *seg = arg;
	struct fetch_file *file = seg->file;

	measure(seg, len);
	atomic_fetch_add(&file->fetch->fetched_bytes, len);
	while (len > 0) {
		int r = seg->filling ? 0 : begin_block(seg);
		struct fetch_block *b = seg->filling;
		size_t n;

		if (r < 0)
			return r;
		n = b->want - b->len < len ? b->want - b->len : len;
		memcpy(b->data + b->len, data, n);
		b->len += n;
		data = (const char *)data + n;
		len -= n;
		if (b->len == b->want)
			end_block(seg);
	}
	return 0;
}

/* What did not come is nobody's any more. */
static void give_up_rest(struct fetch_segment *seg)
{
	struct fetch *fetch = seg->file->fetch;
	uint64_t before;

	drop_block(fetch, seg->filling);
	seg->filling = NULL;
	mutex_lock(&fetch->lock);
	before = seg->pending;
	for (uint64_t i = seg->next; i < seg->first + seg->n; i++)
		settle(seg, i);
	if (seg->pending != before)
		fetch_kick(seg->file);
	mutex_unlock(&fetch->lock);
}

static void end_call(struct fetch_segment *seg)
{
	struct fetch *fetch = seg->file->fetch;

	seg->call = NULL;
	atomic_fetch_sub(&fetch->in_flight_n, 1);
	if (seg->is_ahead)
		fetch->ahead_n--;
	fetch->has_room = true;
}

static void on_done(void *arg, int error)
{
	struct fetch_segment *seg = arg;

	end_call(seg);
	pace_note_bytes(&seg->file->fetch->pace, seg->got_bytes, seg->last_us - seg->first_us);
	if (error == 0 && seg->next < seg->first + seg->n)
		error = -EBADMSG; /* ended early */
	give_up_rest(seg);
	/* One URL that ran out ends several requests: that is one failure. */
	if (error < 0 && error != -ENOBUFS && seg->round == seg->file->round)
		fetch_pump_failed(seg->file, error);
	mutex_lock(&seg->file->fetch->lock);
	fetch_kick(seg->file);
	mutex_unlock(&seg->file->fetch->lock);
}

void fetch_segment_cancel(struct fetch_segment *seg)
{
	struct fetch *fetch = seg->file->fetch;

	if (seg->call) {
		fetch->source.cancel(fetch->source.arg, seg->call);
		end_call(seg);
	}
	list_for_each_safe (&seg->held, pos) {
		struct fetch_block *b = container_of(pos, struct fetch_block, node);

		mutex_lock(&fetch->lock);
		settle(seg, b->index);
		put_block(fetch, b);
		mutex_unlock(&fetch->lock);
	}
	list_init(&seg->held);
	give_up_rest(seg);
}

void fetch_segment_free(struct fetch_segment *seg)
{
	free(seg->etag);
	free(seg);
}

static struct fetch_segment *new_segment(struct fetch_file *file, const struct fetch_plan *plan)
{
	struct fetch_segment *seg = calloc(1, sizeof(*seg));

	if (!seg)
		return NULL;
	list_init(&seg->node);
	list_init(&seg->held);
	seg->file = file;
	seg->first = seg->next = plan->first;
	seg->n = plan->n;
	seg->is_ahead = plan->is_ahead;
	seg->is_background = plan->is_background;
	seg->is_whole = plan->is_whole;
	seg->round = file->round;
	seg->begun_us = clock_mono_us();
	return seg;
}

int fetch_segment_start(struct fetch_file *file, const struct fetch_plan *plan)
{
	struct fetch *fetch = file->fetch;
	struct fetch_segment *seg = new_segment(file, plan);
	uint64_t off = plan->first * FETCH_BLOCK, end = (plan->first + plan->n) * FETCH_BLOCK;
	bool is_later = plan->is_ahead || plan->is_background;
	int r;

	if (!seg)
		return -ENOMEM;
	r = fetch->source.get_content(
		fetch->source.arg,
		&(struct graph_content){
			.url = file->known.url,
			.off = off,
			.len = (end < file->size ? end : file->size) - off,
			.priority = is_later ? HTTP_PREFETCH : HTTP_PERSON,
			/* Half, so that a second connection can still save the reader. */
			.stall_ms = fetch->stall_ms / 2,
			.on_head = on_head,
			.on_data = on_data,
			.on_done = on_done,
			.arg = seg,
		},
		&seg->call);
	if (r < 0) {
		free(seg);
		return r;
	}
	atomic_fetch_add(&fetch->requests_n, 1);
	atomic_fetch_add(&fetch->in_flight_n, 1);
	fetch->ahead_n += seg->is_ahead;
	mutex_lock(&fetch->lock);
	seg->pending = seg->n < 64 ? (UINT64_C(1) << seg->n) - 1 : UINT64_MAX;
	list_add_tail(&file->segments, &seg->node);
	mutex_unlock(&fetch->lock);
	return 0;
}

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

/* The block is with those who wait, or lost: its memory counts no longer. With the lock. */
static void settle(struct fetch_segment *seg, uint64_t block)
{
	uint32_t bit = UINT32_C(1) << (block - seg->first);

	if (seg->pending & bit) {
		seg->pending &= ~bit;
		seg->file->fetch->reserved_n--;
	}
}

/* --- delivery, on the lane --- */

static void copy_to(struct fetch_wait *w, const struct fetch_block *b, struct list *claimed)
{
	uint64_t block_off = b->index * FETCH_BLOCK, end = block_off + b->len;
	uint64_t from = block_off > w->off ? block_off : w->off;
	uint64_t to = end < w->off + w->len ? end : w->off + w->len;

	if (b->index < w->first || b->index >= w->first + w->n)
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

	if (file->cache) {
		r = cache_write(file->cache, b->index, b->data, b->len);
		if (r != -EBADMSG)
			note_cache(fetch, r);
	}
	list_init(&claimed);
	mutex_lock(&fetch->lock);
	if (r == -EBADMSG) {
		reject(file, &claimed);
	} else if (file->drops_n == drops_n) {
		list_for_each_safe (&file->waits, pos)
			copy_to(container_of(pos, struct fetch_wait, node), b, &claimed);
		file->had_block = true;
	}
	settle(seg, b->index);
	file->jobs_n--;
	fetch_kick(file);
	mutex_unlock(&fetch->lock);
	free(b);
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
	bool is_again = file->odd_size == total;

	file->odd_size = total;
	if (!is_again || file->had_block || (file->cache && cache_set_size(file->cache, total) < 0))
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

static struct fetch_block *new_block(struct fetch_segment *seg)
{
	size_t want = (size_t)block_len(seg->file, seg->next);
	struct fetch_block *b = malloc(sizeof(*b) + want);

	if (!b)
		return NULL;
	list_init(&b->node);
	b->seg = seg;
	b->index = seg->next;
	b->len = 0;
	b->want = want;
	return b;
}

static int on_data(void *arg, const void *data, size_t len)
{
	struct fetch_segment *seg = arg;
	struct fetch_file *file = seg->file;

	seg->progress_ms = clock_mono_ms();
	atomic_fetch_add(&file->fetch->fetched_bytes, len);
	while (len > 0) {
		struct fetch_block *b = seg->filling;
		size_t n;

		if (seg->next >= seg->first + seg->n)
			return -EBADMSG; /* more than was asked for */
		if (!b)
			b = seg->filling = new_block(seg);
		if (!b)
			return -ENOMEM;
		n = b->want - b->len < len ? b->want - b->len : len;
		memcpy(b->data + b->len, data, n);
		b->len += n;
		data = (const char *)data + n;
		len -= n;
		if (b->len < b->want)
			continue;
		seg->filling = NULL;
		seg->next++;
		file->fails_n = 0;
		if (seg->is_certain)
			push(seg, b);
		else
			list_add_tail(&seg->held, &b->node);
	}
	return 0;
}

/* What did not come is nobody's any more. */
static void give_up_rest(struct fetch_segment *seg)
{
	struct fetch *fetch = seg->file->fetch;
	uint32_t before;

	free(seg->filling);
	seg->filling = NULL;
	mutex_lock(&fetch->lock);
	before = seg->pending;
	for (uint64_t i = seg->next; i < seg->first + seg->n; i++)
		settle(seg, i);
	if (seg->pending != before)
		fetch_kick(seg->file);
	mutex_unlock(&fetch->lock);
}

static void on_done(void *arg, int error)
{
	struct fetch_segment *seg = arg;

	seg->call = NULL;
	atomic_fetch_sub(&seg->file->fetch->in_flight_n, 1);
	if (error == 0 && seg->next < seg->first + seg->n)
		error = -EBADMSG; /* ended early */
	give_up_rest(seg);
	/* One URL that ran out ends several requests: that is one failure. */
	if (error < 0 && seg->round == seg->file->round)
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
		seg->call = NULL;
		atomic_fetch_sub(&fetch->in_flight_n, 1);
	}
	list_for_each_safe (&seg->held, pos) {
		struct fetch_block *b = container_of(pos, struct fetch_block, node);

		mutex_lock(&fetch->lock);
		settle(seg, b->index);
		mutex_unlock(&fetch->lock);
		free(b);
	}
	list_init(&seg->held);
	give_up_rest(seg);
}

void fetch_segment_free(struct fetch_segment *seg)
{
	free(seg->etag);
	free(seg);
}

int fetch_segment_start(struct fetch_file *file, uint64_t first, uint64_t n, bool is_prefetch)
{
	struct fetch *fetch = file->fetch;
	struct fetch_segment *seg = calloc(1, sizeof(*seg));
	uint64_t off = first * FETCH_BLOCK, end = (first + n) * FETCH_BLOCK;
	int r;

	if (!seg)
		return -ENOMEM;
	seg->file = file;
	seg->first = seg->next = first;
	seg->n = n;
	seg->is_prefetch = is_prefetch;
	seg->round = file->round;
	list_init(&seg->held);
	r = fetch->source.get_content(
		fetch->source.arg,
		&(struct graph_content){
			.url = file->url,
			.off = off,
			.len = (end < file->size ? end : file->size) - off,
			.priority = is_prefetch ? HTTP_PREFETCH : HTTP_PERSON,
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
	mutex_lock(&fetch->lock);
	seg->pending = n < 32 ? (UINT32_C(1) << n) - 1 : UINT32_MAX;
	fetch->reserved_n += n;
	list_add_tail(&file->segments, &seg->node);
	mutex_unlock(&fetch->lock);
	return 0;
}

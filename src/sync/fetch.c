#define LOG_MODULE "fetch"
#include "fetch_file.h"

#include "clock.h"
#include "log.h"

#include <errno.h>
#include <string.h>

enum { LANE_THREADS = 2 };

/* --- the engine --- */

static int source_info(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		       graph_item_fn fn, void *fn_arg, struct graph_call **ret)
{
	return graph_get_content_info(arg, drive_id, id, priority, fn, fn_arg, ret);
}

static int source_url(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		      graph_item_fn fn, void *fn_arg, struct graph_call **ret)
{
	return graph_get_content_url(arg, drive_id, id, priority, fn, fn_arg, ret);
}

static int source_content(void *arg, const struct graph_content *spec, struct graph_call **ret)
{
	return graph_get_content(arg, spec, ret);
}

static void source_cancel(void *arg, struct graph_call *call)
{
	graph_cancel(call);
}

struct fetch_source fetch_source_graph(struct graph *graph)
{
	return (struct fetch_source){
		.arg = graph,
		.get_info = source_info,
		.get_url = source_url,
		.get_content = source_content,
		.cancel = source_cancel,
	};
}

int fetch_new(const struct fetch_options *options, struct fetch **ret)
{
	struct fetch *fetch = calloc(1, sizeof(*fetch));
	int r;

	if (!fetch)
		return -ENOMEM;
	fetch->loop = options->loop;
	fetch->cache = options->cache;
	fetch->source = options->source;
	fetch->on_gone = options->on_gone;
	fetch->arg = options->arg;
	fetch->stall_ms = options->stall_ms ? options->stall_ms : FETCH_STALL_MS;
	fetch->is_reachable = true;
	fetch->is_uncached = options->cache == NULL;
	mutex_init(&fetch->lock, MUTEX_RANK_FETCH);
	list_init(&fetch->files);
	list_init(&fetch->pool);
	pace_init(&fetch->pace);
	r = loop_timer_init(&fetch->tick, fetch->loop, fetch_pump_on_tick, fetch);
	if (r == 0)
		r = urls_new(&fetch->urls);
	if (r == 0)
		r = lane_new(fetch->loop, "gfs-disk", LANE_THREADS, &fetch->lane);
	if (r < 0) {
		fetch_free(fetch);
		return r;
	}
	*ret = fetch;
	return 0;
}

/* A file that its owner left open. */
static void close_left(struct fetch_file *file)
{
	fetch_fail_all(file, -ENODEV);
	mutex_lock(&file->fetch->lock);
	list_for_each_safe (&file->streams, pos) {
		list_del(pos);
		free(container_of(pos, struct fetch_stream, node));
	}
	file->is_closed = true;
	fetch_kick(file);
	mutex_unlock(&file->fetch->lock);
}

static struct fetch_file *find_open(struct fetch *fetch)
{
	struct fetch_file *found = NULL;

	mutex_lock(&fetch->lock);
	list_for_each (&fetch->files, pos) {
		struct fetch_file *file = container_of(pos, struct fetch_file, node);

		if (!file->is_closed)
			found = file;
	}
	mutex_unlock(&fetch->lock);
	return found;
}

static bool has_files(struct fetch *fetch)
{
	bool has;

	mutex_lock(&fetch->lock);
	has = !list_empty(&fetch->files);
	mutex_unlock(&fetch->lock);
	return has;
}

void fetch_free(struct fetch *fetch)
{
	struct fetch_file *file;

	if (!fetch)
		return;
	while ((file = find_open(fetch)))
		close_left(file);
	/* Each closed file ends on the loop, once its last block was written. */
	while (has_files(fetch)) {
		loop_run_once(fetch->loop);
		usleep(100);
	}
	lane_free(fetch->lane);
	urls_free(fetch->urls);
	fetch_segment_drain(fetch);
	loop_timer_fini(&fetch->tick);
	mutex_fini(&fetch->lock);
	free(fetch);
}

void fetch_set_reachable(struct fetch *fetch, bool reachable)
{
	fetch->is_reachable = reachable;
}

bool fetch_is_caching(const struct fetch *fetch)
{
	return !fetch->is_uncached;
}

void fetch_get_stats(struct fetch *fetch, struct fetch_stats *ret)
{
	mutex_lock(&fetch->lock);
	*ret = (struct fetch_stats){
		.requests_n = fetch->requests_n,
		.in_flight_n = fetch->in_flight_n,
		.fetched_bytes = fetch->fetched_bytes,
		.parked_n = fetch->parked_n,
		.files_n = fetch->files_n,
		.memory_blocks = fetch->memory_n,
		.ahead_n = fetch->ahead_n,
		.is_caching = !fetch->is_uncached,
	};
	mutex_unlock(&fetch->lock);
}

/* --- files --- */

static void on_kick(void *arg)
{
	struct fetch_file *file = arg;

	mutex_lock(&file->fetch->lock);
	file->is_kicked = false;
	mutex_unlock(&file->fetch->lock);
	fetch_pump(file);
}

void fetch_kick(struct fetch_file *file)
{
	if (file->is_kicked)
		return;
	file->is_kicked = file->was_kicked = true;
	loop_post(file->fetch->loop, &file->kick, on_kick, file);
}

static int copy_str(const char *from, const char **to)
{
	*to = from ? strdup(from) : NULL;
	return from && !*to ? -ENOMEM : 0;
}

static void free_file(struct fetch_file *file)
{
	if (file->cache)
		cache_close(file->cache);
	if (file->fetch->cache)
		cache_unpin(file->fetch->cache, &file->pin);
	urls_known_fini(&file->known);
	free((char *)file->version.drive_id);
	free((char *)file->version.id);
	free((char *)file->version.etag);
	free((char *)file->version.ctag);
	free(file);
}

static int copy_version(struct fetch_file *file, const struct fetch_version *v)
{
	file->version = *v;
	file->version.drive_id = file->version.id = NULL;
	file->version.etag = file->version.ctag = NULL;
	if (v->hash) {
		memcpy(file->hash, v->hash, sizeof(file->hash));
		file->version.hash = file->hash;
	}
	if (copy_str(v->drive_id, &file->version.drive_id) < 0 ||
	    copy_str(v->id, &file->version.id) < 0 || copy_str(v->etag, &file->version.etag) < 0 ||
	    copy_str(v->ctag, &file->version.ctag) < 0)
		return -ENOMEM;
	return 0;
}

/* Most files that are opened again are read from the kernel's pages, and never come here. */
static void look_at_cache(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	const struct fetch_version *v = &file->version;
	struct cache_file *cache = NULL;
	int r;

	if (atomic_load(&file->has_looked))
		return;
	/* An empty content needs neither a file nor a request. */
	if (fetch->cache && v->size > 0) {
		r = cache_open(fetch->cache, v->cid, v->size, v->hash, &cache);
		if (r < 0)
			log_warn("content of inode %llu is not cached: %s",
				 (unsigned long long)v->ino, strerror(-r));
	}
	mutex_lock(&fetch->lock);
	if (!file->has_looked) {
		if (cache)
			file->size = cache_size(cache);
		file->cache = take_ptr(&cache);
		atomic_store(&file->has_looked, true);
	}
	mutex_unlock(&fetch->lock);
	/* Two readers came at the same moment. */
	if (cache)
		cache_close(cache);
}

int fetch_open(struct fetch *fetch, const struct fetch_version *version, struct fetch_file **ret)
{
	struct fetch_file *file = calloc(1, sizeof(*file));

	if (!file)
		return -ENOMEM;
	file->fetch = fetch;
	list_init(&file->streams);
	list_init(&file->waits);
	list_init(&file->segments);
	if (fetch->cache)
		cache_pin(fetch->cache, version->cid, version->used, &file->pin);
	if (copy_version(file, version) < 0) {
		free_file(file);
		return -ENOMEM;
	}
	file->size = version->size;
	mutex_lock(&fetch->lock);
	list_add_tail(&fetch->files, &file->node);
	fetch->files_n++;
	mutex_unlock(&fetch->lock);
	*ret = file;
	return 0;
}

void fetch_close(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	bool is_known;

	mutex_lock(&fetch->lock);
	file->is_closed = true;
	is_known = file->was_kicked;
	if (is_known) {
		fetch_kick(file);
	} else {
		list_del(&file->node);
		fetch->files_n--;
	}
	mutex_unlock(&fetch->lock);
	if (!is_known)
		free_file(file);
}

void fetch_destroy(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;

	mutex_lock(&fetch->lock);
	list_del(&file->node);
	fetch->files_n--;
	mutex_unlock(&fetch->lock);
	fetch_url_keep(file);
	free_file(file);
}

uint64_t fetch_size(const struct fetch_file *file)
{
	return file->size;
}

/* --- streams --- */

int fetch_stream_new(struct fetch_file *file, struct fetch_stream **ret)
{
	struct fetch_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	stream->file = file;
	stream->limit = UINT64_MAX;
	mutex_lock(&file->fetch->lock);
	list_add_tail(&file->streams, &stream->node);
	mutex_unlock(&file->fetch->lock);
	*ret = stream;
	return 0;
}

void fetch_stream_set_background(struct fetch_stream *stream)
{
	stream->is_background = true;
}

void fetch_stream_set_limit(struct fetch_stream *stream, uint64_t bytes)
{
	stream->limit = bytes;
}

void fetch_stream_free(struct fetch_stream *stream)
{
	struct fetch *fetch = stream->file->fetch;

	mutex_lock(&fetch->lock);
	list_del(&stream->node);
	mutex_unlock(&fetch->lock);
	free(stream);
}

/* What the reader does is noted, and what it will want next has the file looked at, if not all of
 * it is here. Returns where that ends. */
static uint64_t note_access(struct fetch_stream *stream, uint64_t off, uint64_t end)
{
	struct fetch_file *file = stream->file;
	struct fetch *fetch = file->fetch;
	bool is_alone = stream->is_background || fetch->is_uncached;
	uint64_t ahead;

	mutex_lock(&fetch->lock);
	if (pattern_note(&stream->pattern, off, end, is_alone ? 0 : pace_window(&fetch->pace),
			 &ahead) &&
	    !(file->cache && cache_is_whole(file->cache)))
		fetch_kick(file);
	mutex_unlock(&fetch->lock);
	return ahead;
}

/* --- reads --- */

/* The part of block w->first + i that the read wants. */
static void part_of(const struct fetch_wait *w, uint64_t i, uint64_t *ret_off, size_t *ret_len)
{
	uint64_t from = (w->first + i) * FETCH_BLOCK, to = from + FETCH_BLOCK;

	if (from < w->off)
		from = w->off;
	if (to > w->off + w->len)
		to = w->off + w->len;
	*ret_off = from;
	*ret_len = (size_t)(to - from);
}

static bool is_whole(const struct fetch_wait *w)
{
	return w->got == (w->n < 64 ? (UINT64_C(1) << w->n) - 1 : UINT64_MAX);
}

/* Takes what the cache has. 0, or -errno when the disk fails. */
static int take_cached(struct fetch_wait *w)
{
	for (uint64_t i = 0; w->file->cache && i < w->n; i++) {
		uint64_t off;
		size_t len;
		int r;

		if (w->got >> i & 1)
			continue;
		part_of(w, i, &off, &len);
		r = cache_read(w->file->cache, off, w->read->buf + (off - w->off), len);
		if (r == 0)
			w->got |= UINT64_C(1) << i;
		else if (r != -ENODATA)
			return r;
	}
	return 0;
}

/* Did the cache get something since take_cached()? With the lock. */
static bool has_news(const struct fetch_wait *w)
{
	for (uint64_t i = 0; w->file->cache && i < w->n; i++) {
		if (!(w->got >> i & 1) && cache_has_block(w->file->cache, w->first + i))
			return true;
	}
	return false;
}

/* Does something of it have to be fetched that its reader may not have fetched? With the lock. */
static bool is_beyond_limit(const struct fetch_wait *w)
{
	for (uint64_t i = 0; i < w->n; i++) {
		uint64_t block = w->first + i;

		if (block * FETCH_BLOCK >= w->read->stream->limit && !(w->got >> i & 1) &&
		    !(w->file->cache && cache_has_block(w->file->cache, block)))
			return true;
	}
	return false;
}

/* The content turned out to be shorter; off is within it. With the lock. */
static void cut_wait(struct fetch_wait *w, uint64_t size)
{
	w->len = size - w->off < w->len ? size - w->off : w->len;
	w->n = (w->off + w->len - 1) / FETCH_BLOCK - w->first + 1;
	w->got = 0;
}

/*
 * Puts the read among those who wait, unless a block came since: a block is marked in the cache
 * before those who wait for it are looked for, and here it is the other way round, both under the
 * lock, so one of the two sees the other. 1: parked.
 */
static int try_park(struct fetch_wait *w, unsigned drops_n)
{
	struct fetch_file *file = w->file;
	struct fetch *fetch = file->fetch;
	int r = 0;

	mutex_lock(&fetch->lock);
	if (file->drops_n != drops_n) {
		w->got = 0;
	} else if (w->off >= file->size) {
		r = -ERANGE;
	} else if (w->off + w->len > file->size) {
		cut_wait(w, file->size);
	} else if (is_beyond_limit(w)) {
		r = -ENODATA;
	} else if (file->dead < 0) {
		r = file->dead;
	} else if (!fetch->is_reachable) {
		r = -ENETDOWN;
	} else if (!has_news(w)) {
		w->read->wait = w;
		list_add_tail(&file->waits, &w->node);
		fetch->parked_n++;
		fetch_kick(file);
		r = 1;
	}
	mutex_unlock(&fetch->lock);
	return r;
}

/* 1: parked, w belongs to the file. 0: all bytes are there. */
static int take_or_park(struct fetch_wait *w)
{
	for (;;) {
		unsigned drops_n = w->file->drops_n;
		int r = take_cached(w);

		if (r < 0)
			return r;
		if (is_whole(w) && w->file->drops_n == drops_n)
			return 0;
		r = try_park(w, drops_n);
		if (r != 0)
			return r;
	}
}

void fetch_resize(struct fetch_file *file, uint64_t size)
{
	struct list claimed;

	list_init(&claimed);
	mutex_lock(&file->fetch->lock);
	file->size = size;
	list_for_each_safe (&file->waits, pos) {
		struct fetch_wait *w = container_of(pos, struct fetch_wait, node);

		if (w->off >= size)
			fetch_claim(w, 0, &claimed);
		else
			cut_wait(w, size);
	}
	mutex_unlock(&file->fetch->lock);
	fetch_finish(&claimed);
}

static int read_cached(struct fetch_file *file, uint64_t off, char *buf, size_t len)
{
	unsigned drops_n = file->drops_n;
	int r = 0;

	if (!file->cache)
		return -EAGAIN;
	while (len > 0 && r == 0) {
		size_t n = FETCH_BLOCK - off % FETCH_BLOCK;

		if (n > len)
			n = len;
		r = cache_read(file->cache, off, buf, n);
		off += n;
		buf += n;
		len -= n;
	}
	return r == -ENODATA || file->drops_n != drops_n ? -EAGAIN : r;
}

ssize_t fetch_try(struct fetch_stream *stream, uint64_t off, char *buf, size_t len)
{
	uint64_t size;
	int r;

	look_at_cache(stream->file);
	size = stream->file->size;
	if (off >= size || len == 0)
		return 0;
	if (len > size - off)
		len = (size_t)(size - off);
	r = read_cached(stream->file, off, buf, len);
	if (r < 0)
		return r;
	/* One that has to wait is noted when it does. */
	(void)note_access(stream, off, off + len);
	return (ssize_t)len;
}

ssize_t fetch_start(struct fetch_read *read, bool *ret_parked)
{
	struct fetch_file *file = read->stream->file;
	struct fetch_wait *w;
	size_t len = read->len;
	uint64_t size;
	int r;

	*ret_parked = false;
	read->wait = NULL;
	if (len > FETCH_READ_MAX)
		return -EINVAL;
	look_at_cache(file);
	size = file->size;
	if (read->off >= size || len == 0)
		return 0;
	if (len > size - read->off)
		len = (size_t)(size - read->off);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->reach = note_access(read->stream, read->off, read->off + len);
	w->read = read;
	w->file = file;
	w->off = read->off;
	w->len = len;
	w->first = read->off / FETCH_BLOCK;
	w->n = (read->off + len - 1) / FETCH_BLOCK - w->first + 1;
	w->since_ms = clock_mono_ms();
	r = take_or_park(w);
	if (r > 0) {
		*ret_parked = true;
		return 0;
	}
	len = w->len;
	free(w);
	if (r == -ERANGE)
		return 0; /* behind the end, as it is now known */
	return r < 0 ? r : (ssize_t)len;
}

bool fetch_cancel(struct fetch_read *read)
{
	struct fetch *fetch = read->stream->file->fetch;
	struct fetch_wait *w;

	mutex_lock(&fetch->lock);
	w = read->wait;
	if (w) {
		list_del(&w->node);
		fetch->parked_n--;
		read->wait = NULL;
	}
	mutex_unlock(&fetch->lock);
	free(w);
	return w != NULL;
}

void fetch_claim(struct fetch_wait *w, ssize_t result, struct list *claimed)
{
	list_del(&w->node);
	w->file->fetch->parked_n--;
	w->read->wait = NULL;
	w->result = result;
	list_add_tail(claimed, &w->node);
}

void fetch_finish(struct list *claimed)
{
	list_for_each_safe (claimed, pos) {
		struct fetch_wait *w = container_of(pos, struct fetch_wait, node);

		w->read->done(w->read, w->result);
		free(w);
	}
}

void fetch_fail_all(struct fetch_file *file, int error)
{
	struct list claimed;

	list_init(&claimed);
	mutex_lock(&file->fetch->lock);
	list_for_each_safe (&file->waits, pos)
		fetch_claim(container_of(pos, struct fetch_wait, node), error, &claimed);
	/* Nobody is left to be ahead of. */
	list_for_each (&file->streams, pos)
		pattern_stop(&container_of(pos, struct fetch_stream, node)->pattern);
	mutex_unlock(&file->fetch->lock);
	fetch_finish(&claimed);
}

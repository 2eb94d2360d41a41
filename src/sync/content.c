/*
 * Why bytes of two versions never meet in one open file.
 *
 * A version is a content id of the tree, cid: a new number for each new content. Bytes of a
 * version are kept under its cid only (cache.h), and are put there only from replies that the
 * service itself says are of it (fetch_url.c). What remains is that an inode, behind which the
 * kernel keeps one set of pages, must not go from one cid to another while it is open, and that
 * pages of an earlier cid are dropped before a later one is read.
 *
 * (1) An open inode has one cid: versions are found by inode, and an open with another cid than
 *     the version that is open is refused (wait, then look the name up again).
 *
 * (2) The row of an open inode keeps its cid, or leaves the inode. The writer asks, in its
 *     transaction, whether the inode is open (content_is_open); if so, the row moves to a new
 *     inode number. An open counts itself before it reads the row, so one of these holds:
 *       - it counted itself before the writer asked: the row moves away. It has read the old cid,
 *         which stays with the inode, or finds no row: ESTALE, and the kernel looks again;
 *       - it counted itself after: the commit may put a new cid on the inode that was just opened
 *         with the old one. For this the opener registers the version, then reads the row again;
 *         the writer commits, then looks for registered versions (content_after_commit). Either
 *         the second reading sees the new row, and the open starts over, or the registration came
 *         before the commit and the writer sees it, and moves the row to a new inode then. Until
 *         it has, further opens find two cids and wait.
 *     A row from memory (rows.h) is read in this sense: nothing was committed since it was, and a
 *     commit says that it begins before any reader can see it.
 *
 * (3) Pages. An inode that was not open when the writer asked is marked before the commit
 *     (inodes_expect_stale): every open from then on drops the pages, until content_after_commit()
 *     settles the mark, after which exactly the next open does. So no open that can see the new
 *     cid keeps pages from before. An inode that is open never changes its cid (2), so its pages
 *     need not be dropped.
 *
 * (4) Within a version: fetch_segment.c holds back bytes until their version is certain.
 */
#define LOG_MODULE "content"
#include "content_file.h"

#include "cache.h"
#include "change.h"
#include "config-build.h"
#include "fetch.h"
#include "inodes.h"
#include "lane.h"
#include "list.h"
#include "log.h"
#include "loop.h"
#include "mutex.h"
#include "rows.h"
#include "tree_local.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

_Static_assert((int)CONTENT_HEAD_BYTES == (int)CACHE_BLOCK_BYTES, "a head is a block");

enum { OPEN_TRIES = 4 };

int content_new(const struct content_options *options, struct content **ret)
{
	struct content *content = calloc(1, sizeof(*content));
	int r;

	if (!content)
		return -ENOMEM;
	content->store_lane = options->store_lane;
	content->tree = options->tree;
	content->inodes = options->inodes;
	content->cache = options->cache;
	content->drafts = options->drafts;
	mutex_init(&content->lock, MUTEX_RANK_CONTENT);
	for (size_t i = 0; i < CONTENT_BUCKETS_N; i++)
		list_init(&content->versions[i]);
	content->drive_id = strdup(options->drive_id);
	r = content->drive_id ? rows_new(content->tree, &content->rows) : -ENOMEM;
	if (r == 0)
		r = fetch_new(&(struct fetch_options){ .loop = options->loop,
						       .cache = options->cache,
						       .source = *options->source,
						       .on_gone = options->on_version_changed,
						       .arg = options->arg },
			      &content->fetch);
	if (r < 0) {
		content_free(content);
		return r;
	}
	*ret = content;
	return 0;
}

/* A version that was never closed; fetching closes its file. */
static void free_left(struct content_version *v)
{
	list_for_each_safe (&v->handles, pos)
		free(container_of(pos, struct content_handle, node));
	free(v);
}

void content_free(struct content *content)
{
	if (!content)
		return;
	for (size_t i = 0; i < CONTENT_BUCKETS_N; i++) {
		list_for_each_safe (&content->versions[i], pos)
			free_left(container_of(pos, struct content_version, node));
	}
	fetch_free(content->fetch);
	rows_free(content->rows);
	mutex_fini(&content->lock);
	free(content->drive_id);
	free(content);
}

void content_set_reachable(struct content *content, bool reachable)
{
	fetch_set_reachable(content->fetch, reachable);
}

/* --- open versions --- */

static struct list *bucket_of(struct content *content, uint64_t ino)
{
	return &content->versions[ino % CONTENT_BUCKETS_N];
}

static struct content_version *find(struct content *content, uint64_t ino) REQUIRES(&content->lock)
{
	list_for_each (bucket_of(content, ino), pos) {
		struct content_version *v = container_of(pos, struct content_version, node);

		if (v->attr.ino == ino)
			return v;
	}
	return NULL;
}

static void close_version(struct content *content, struct content_version *v)
{
	struct draft *draft = atomic_load(&v->draft);

	if (v->file)
		fetch_close(v->file);
	free(v->name);
	if (draft) {
		draft_close(draft);
		atomic_fetch_sub(&content->drafts_open_n, 1);
	}
	free(v);
}

struct content_version *content_pin_version(struct content *content, uint64_t ino)
{
	struct content_version *v;

	mutex_lock(&content->lock);
	v = find(content, ino);
	if (v)
		v->opens_n++;
	mutex_unlock(&content->lock);
	return v;
}

void content_unpin_version(struct content *content, struct content_version *v)
{
	bool is_last;

	mutex_lock(&content->lock);
	is_last = --v->opens_n == 0;
	if (is_last) {
		list_del(&v->node);
		content->versions_n--;
	}
	mutex_unlock(&content->lock);
	if (is_last)
		close_version(content, v);
}

/* 1: the version of this cid is pinned; 0: none is open; CONTENT_WAIT is -EAGAIN here. */
static int pin_open(struct content *content, const struct tree_attr *attr,
		    struct content_version **ret) REQUIRES(&content->lock)
{
	struct content_version *v = find(content, attr->ino);

	if (!v)
		return 0;
	if (v->attr.cid != attr->cid)
		return -EAGAIN;
	v->opens_n++;
	*ret = v;
	return 1;
}

/* The content that the service has of a row, or had before a draft. */
static int open_file(struct content *content, struct row *row, uint64_t cid, uint64_t size,
		     const char *id, struct fetch_file **ret)
{
	const struct tree_meta *meta = &row->meta;

	return fetch_open(content->fetch,
			  &(struct fetch_version){
				  .drive_id = meta->drive_id ? meta->drive_id : content->drive_id,
				  .id = id,
				  .etag = meta->etag,
				  .ctag = meta->ctag,
				  .ino = meta->attr.ino,
				  .cid = cid,
				  .size = size,
				  .mtime_ns = meta->attr.mtime_ns,
				  .hash = meta->has_hash ? meta->hash : NULL,
				  .used = &row->used,
			  },
			  ret);
}

/* 1: the row's content is a draft. */
static int open_draft(struct content *content, struct row *row, struct content_version *v)
{
	const struct tree_meta *meta = &row->meta;
	auto_call(draft_header_fini) struct draft_header header = { 0 };
	struct draft *draft;
	int r = content->drafts ? draft_open(content->drafts, meta->attr.cid, &draft) : -ENOENT;

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	v->draft = draft;
	v->mtime_ns = meta->attr.mtime_ns;
	atomic_fetch_add(&content->drafts_open_n, 1);
	r = draft_is_whole(draft) ? 0 : draft_get_header(draft, &header);
	if (r == 0 && header.base_cid && header.item_id)
		r = open_file(content, row, header.base_cid, header.base_size, header.item_id,
			      &v->file);
	return r < 0 ? r : 1;
}

static int new_version(struct content *content, struct row *row, struct content_version **ret)
{
	const struct tree_meta *meta = &row->meta;
	struct content_version *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return -ENOMEM;
	list_init(&v->node);
	list_init(&v->handles);
	v->attr = meta->attr;
	v->opens_n = 1;
	r = open_draft(content, row, v);
	/* A new file that was never written to has nothing behind it. */
	if (r == 0 && !tree_local_is_id(meta->id))
		r = open_file(content, row, meta->attr.cid, meta->attr.size, meta->id, &v->file);
	if (r < 0) {
		close_version(content, v);
		return r;
	}
	*ret = v;
	return 0;
}

/* Registers the row's version as the one that the inode has open. -EAGAIN: another one is. */
static int pin(struct content *content, struct row *row, struct content_version **ret)
{
	const struct tree_attr *attr = &row->meta.attr;
	struct content_version *mine;
	int r;

	mutex_lock(&content->lock);
	r = pin_open(content, attr, ret);
	mutex_unlock(&content->lock);
	if (r != 0)
		return r < 0 ? r : 0;
	r = new_version(content, row, &mine);
	if (r < 0)
		return r;
	mutex_lock(&content->lock);
	r = pin_open(content, attr, ret);
	if (r == 0) {
		list_add_tail(bucket_of(content, attr->ino), &mine->node);
		content->versions_n++;
		*ret = mine;
	}
	mutex_unlock(&content->lock);
	if (r != 0)
		close_version(content, mine);
	return r < 0 ? r : 0;
}

static int check_openable(const struct tree_meta *meta)
{
	if (meta->attr.kind != TREE_FILE)
		return -EISDIR;
	return meta->malware || meta->package ? -EPERM : 0;
}

/* Does the row still have the cid that was pinned? See (2) above. */
static bool is_current(struct content *content, struct row *row)
{
	const struct tree_attr *attr = &row->meta.attr;
	struct tree_attr now;

	if (rows_is_current(content->rows, row))
		return true;
	if (tree_get(content->tree, attr->ino, &now) < 0 || now.cid != attr->cid)
		return false;
	rows_keep(content->rows, row);
	return true;
}

static int pin_current(struct content *content, uint64_t ino, struct content_version **ret)
{
	for (int i = 0; i < OPEN_TRIES; i++) {
		struct row *row;
		bool is_good;
		int r = rows_get(content->rows, ino, &row);

		if (r < 0)
			return r == -ENOENT ? -ESTALE : r;
		r = check_openable(&row->meta);
		if (r == 0)
			r = pin(content, row, ret);
		is_good = r == 0 && is_current(content, row);
		rows_unref(row);
		if (r < 0)
			return r == -EAGAIN ? CONTENT_WAIT : r;
		if (is_good)
			return 0;
		content_unpin_version(content, *ret);
	}
	return CONTENT_WAIT;
}

static int open_handle(struct content *content, uint64_t ino, struct content_handle **ret)
{
	struct content_handle *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	h->content = content;
	r = inodes_ref_open(content->inodes, ino);
	if (r < 0) {
		free(h);
		return r;
	}
	r = pin_current(content, ino, &h->version);
	if (r == 0 && h->version->file) {
		r = fetch_stream_new(h->version->file, &h->stream);
		if (r < 0)
			content_unpin_version(content, h->version);
	}
	if (r != 0) {
		inodes_unref_open(content->inodes, ino);
		free(h);
		return r;
	}
	mutex_lock(&content->lock);
	list_add_tail(&h->version->handles, &h->node);
	mutex_unlock(&content->lock);
	*ret = h;
	return 0;
}

int content_open(struct content *content, uint64_t ino, struct content_handle **ret,
		 bool *ret_keep_cache)
{
	int r = open_handle(content, ino, ret);

	if (r == 0)
		*ret_keep_cache = !inodes_take_stale(content->inodes, ino);
	return r;
}

void content_close_now(struct content_handle *h)
{
	struct content *content = h->content;
	uint64_t ino = h->version->attr.ino;

	mutex_lock(&content->lock);
	list_del(&h->node);
	mutex_unlock(&content->lock);
	if (h->stream)
		fetch_stream_free(h->stream);
	content_unpin_version(content, h->version);
	/* Last: while a version is registered its inode counts as open. */
	inodes_unref_open(content->inodes, ino);
	free(h);
}

struct settled {
	struct lane_job job;
	void (*fn)(void *arg);
	void *arg;
};

static void on_settled(void *arg)
{
	struct settled *settled = arg;
	void (*fn)(void *arg) = settled->fn;
	void *fn_arg = settled->arg;

	free(settled);
	fn(fn_arg);
}

int content_on_settled(struct content *content, void (*fn)(void *arg), void *arg)
{
	struct settled *settled = calloc(1, sizeof(*settled));

	if (!settled)
		return -ENOMEM;
	settled->fn = fn;
	settled->arg = arg;
	/* The lane runs in order, and a commit and what follows it are one job there. */
	lane_push(content->store_lane, &settled->job, on_settled, NULL, settled);
	return 0;
}

uint64_t content_ino(const struct content_handle *h)
{
	return h->version->attr.ino;
}

void content_fill_attr(const struct content_version *v, struct tree_attr *attr)
{
	struct draft *draft = atomic_load(&v->draft);

	if (!draft)
		return;
	attr->size = draft_size(draft);
	attr->mtime_ns = v->mtime_ns;
}

void content_get_attr(const struct content_handle *h, struct tree_attr *ret)
{
	mutex_lock(&h->content->lock);
	*ret = h->version->attr;
	mutex_unlock(&h->content->lock);
	content_fill_attr(h->version, ret);
}

int content_find_attr(struct content *content, uint64_t ino, struct tree_attr *ret)
{
	struct content_version *v = content_pin_version(content, ino);

	if (!v)
		return -ENOENT;
	mutex_lock(&content->lock);
	*ret = v->attr;
	mutex_unlock(&content->lock);
	content_fill_attr(v, ret);
	content_unpin_version(content, v);
	return 0;
}

uint64_t content_cached_bytes(const struct content *content, uint64_t cid)
{
	return content->cache ? cache_bytes(content->cache, cid) : 0;
}

/* --- new contents --- */

bool content_is_open(void *arg, uint64_t ino)
{
	struct content *content = arg;

	if (inodes_is_open(content->inodes, ino))
		return !PLANT_MIXED_VERSION;
	inodes_expect_stale(content->inodes, ino);
	if (content->kept_n < CONTENT_KEPT_MAX)
		content->kept[content->kept_n++] = ino;
	else
		content->is_kept_full = true;
	return false;
}

/* Was the inode opened with a content that its row does not have any more? */
static bool is_split(struct content *content, uint64_t ino)
{
	struct tree_attr row, open;

	return content_find_attr(content, ino, &open) == 0 &&
	       tree_get(content->tree, ino, &row) == 0 && row.cid != open.cid;
}

/* When too many were kept to remember: all that are open. */
static int list_open(struct content *content, uint64_t **ret_v, size_t *ret_n)
{
	size_t n = 0;
	uint64_t *v;

	mutex_lock(&content->lock);
	v = malloc((content->versions_n + 1) * sizeof(*v));
	for (size_t i = 0; v && i < CONTENT_BUCKETS_N; i++) {
		list_for_each (&content->versions[i], pos)
			v[n++] = container_of(pos, struct content_version, node)->attr.ino;
	}
	mutex_unlock(&content->lock);
	if (!v)
		return -ENOMEM;
	*ret_v = v;
	*ret_n = n;
	return 0;
}

/* The content was told by the commit; that it has moved to another inode is no event. */
static void silence(struct change_set *set)
{
	for (size_t i = 0; set && i < set->n; i++) {
		free(set->v[i].dir_path);
		set->v[i].dir_path = NULL;
	}
}

static int detach_split(struct content *content, const uint64_t *v, size_t n,
			struct change_set **more)
{
	int error = 0;

	for (size_t i = 0; i < n; i++) {
		struct change_set *one = NULL;
		int r;

		if (!is_split(content, v[i]))
			continue;
		log_debug("inode %" PRIu64 " was opened while its content changed", v[i]);
		r = tree_detach(content->tree, v[i], &one);
		silence(one);
		if (r < 0)
			error = r;
		else
			change_set_append(more, one);
	}
	return error;
}

int content_after_commit(struct content *content, struct change_set **ret_more)
{
	auto_free uint64_t *all = NULL;
	struct change_set *more = NULL;
	size_t n = content->kept_n;
	int r = 0;

	*ret_more = NULL;
	inodes_settle_stale(content->inodes);
	if (content->is_kept_full)
		r = list_open(content, &all, &n);
	if (r == 0 && !PLANT_MIXED_VERSION)
		r = detach_split(content, all ? all : content->kept, n, &more);
	/* What could not be moved on is looked at again after the next commit. */
	if (r == 0) {
		content->kept_n = 0;
		content->is_kept_full = false;
	}
	*ret_more = more;
	return r;
}

/* --- reads --- */

void content_set_reader(struct content *content, content_reader_fn fn, void *arg)
{
	content->on_reader = fn;
	content->reader_arg = arg;
}

void content_set_quiet(struct content_handle *h)
{
	h->is_quiet = true;
}

void content_set_background(struct content_handle *h, uint64_t fetch_max_bytes)
{
	h->is_quiet = true;
	if (!h->stream)
		return;
	fetch_stream_set_background(h->stream);
	fetch_stream_set_limit(h->stream, fetch_max_bytes);
}

atomic_uint *content_mark(struct content_handle *h)
{
	return &h->mark;
}

int content_open_early(struct content *content, uint64_t ino, struct content_handle **ret)
{
	struct content_handle *h;
	int r;

	if (!fetch_is_caching(content->fetch))
		return -ENODEV;
	r = open_handle(content, ino, &h);
	if (r != 0)
		return r;
	content_set_background(h, UINT64_MAX);
	*ret = h;
	return 0;
}

static void tell_reader(struct content_handle *h, bool is_cached)
{
	struct content *content = h->content;

	if (content->on_reader && !h->is_quiet && !atomic_exchange(&h->was_read, true))
		content->on_reader(content->reader_arg, &h->version->attr, is_cached);
}

ssize_t content_read_now(struct content_handle *h, uint64_t off, char *buf, size_t len)
{
	struct draft *draft = atomic_load(&h->version->draft);
	ssize_t got;

	if (draft)
		return content_read_draft(h, draft, off, buf, len);
	got = h->stream ? fetch_try(h->stream, off, buf, len) : 0;
	if (got > 0)
		tell_reader(h, true);
	return got;
}

/* The part of a read that fetching knows; freed by whoever ends the read. */
struct reading {
	struct fetch_read fetch;
	struct content *content;
	struct content_read *read; /* content->lock */
};

static void on_read(struct fetch_read *fetch_read, ssize_t got)
{
	struct reading *reading = container_of(fetch_read, struct reading, fetch);
	struct content_read *read;
	struct draft *draft;

	mutex_lock(&reading->content->lock);
	read = reading->read;
	read->state = NULL;
	mutex_unlock(&reading->content->lock);
	free(reading);
	draft = atomic_load(&read->h->version->draft);
	if (got >= 0 && draft)
		got = content_overlay_draft(draft, read->off, read->buf, read->len, (size_t)got);
	read->done(read, got);
}

ssize_t content_read_start(struct content_read *read, bool *ret_parked)
{
	struct reading *reading = calloc(1, sizeof(*reading));
	struct draft *draft;
	ssize_t r;

	*ret_parked = false;
	read->state = NULL;
	if (!read->h->stream) {
		free(reading);
		return content_read_now(read->h, read->off, read->buf, read->len);
	}
	if (!reading)
		return -ENOMEM;
	reading->content = read->h->content;
	reading->read = read;
	reading->fetch = (struct fetch_read){
		.stream = read->h->stream,
		.off = read->off,
		.len = read->len,
		.buf = read->buf,
		.done = on_read,
	};
	/* It may be over before the next line is reached. */
	read->state = reading;
	tell_reader(read->h, false);
	r = fetch_start(&reading->fetch, ret_parked);
	if (*ret_parked)
		return 0;
	read->state = NULL;
	free(reading);
	draft = atomic_load(&read->h->version->draft);
	return r >= 0 && draft
		       ? content_overlay_draft(draft, read->off, read->buf, read->len, (size_t)r)
		       : r;
}

bool content_read_cancel(struct content_read *read)
{
	struct content *content = read->h->content;
	struct reading *reading;
	bool cancelled;

	mutex_lock(&content->lock);
	reading = read->state;
	cancelled = reading && fetch_cancel(&reading->fetch);
	if (cancelled)
		read->state = NULL;
	mutex_unlock(&content->lock);
	if (cancelled)
		free(reading);
	return cancelled;
}

void content_get_stats(struct content *content, struct content_stats *ret)
{
	struct fetch_stats fetch;
	struct cache_stats cache = { 0 };

	fetch_get_stats(content->fetch, &fetch);
	if (content->cache)
		cache_get_stats(content->cache, &cache);
	*ret = (struct content_stats){
		.cached_bytes = cache.bytes,
		.cached_files = cache.files,
		.in_flight_n = fetch.in_flight_n,
		.parked_n = fetch.parked_n,
		.fetched_bytes = fetch.fetched_bytes,
		.is_caching = fetch.is_caching,
	};
	mutex_lock(&content->lock);
	ret->open_n = content->versions_n;
	mutex_unlock(&content->lock);
}

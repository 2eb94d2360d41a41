/*
 * Syncing, and shorter logs.
 *
 * The order in draft_sync(): where the log ends, data to disk, a mark that tells that place, log to
 * disk, names to disk. Changes go on meanwhile; what they add is behind the place that is marked.
 */
#define LOG_MODULE "draft"
#include "draft_file.h"

#include "draft_disk.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* --- a new log --- */

static size_t records_n(const struct draft *d)
{
	return d->s.ranges.n + 4;
}

bool draft_is_log_long(const struct draft *d, uint64_t limit)
{
	return d->s.log_end > limit && d->s.log_end > 4 * DRAFT_LOG_RECORD_BYTES * records_n(d);
}

struct writer {
	uint64_t cid;
	uint8_t *data;
	size_t len;
};

static void add(struct writer *w, const struct draft_log_record *record, const void *payload,
		size_t payload_bytes)
{
	struct draft_log_buf buf;
	size_t len = draft_log_encode(w->cid, w->len, record, payload, payload_bytes, &buf);

	memcpy(w->data + w->len, buf.data, len);
	w->len += len;
}

static int compose(const struct draft *d, struct writer *w)
{
	const struct draft_state *s = &d->s;
	struct draft_log_record record = {
		.kind = DRAFT_LOG_HEADER,
		.version = s->version,
		.a = DRAFT_LOG_MAGIC,
		.c = d->dir->boot,
	};
	uint8_t payload[DRAFT_LOG_PAYLOAD_MAX];
	size_t bytes;
	int r = draft_log_pack(&s->header, payload, &bytes);

	if (r < 0)
		return r;
	w->data = malloc(records_n(d) * DRAFT_LOG_RECORD_BYTES + sizeof(struct draft_log_buf));
	if (!w->data)
		return -ENOMEM;
	add(w, &record, payload, bytes);
	record.kind = DRAFT_LOG_STATE;
	record.a = s->size;
	record.b = s->base_end;
	record.c = s->data_end;
	add(w, &record, NULL, 0);
	record.kind = DRAFT_LOG_RANGE;
	record.c = 0;
	for (size_t i = 0; i < s->ranges.n; i++) {
		record.a = s->ranges.v[i].off;
		record.b = s->ranges.v[i].end - record.a;
		add(w, &record, NULL, 0);
	}
	record.kind = DRAFT_LOG_SEAL;
	record.a = s->size;
	record.b = 0;
	if (s->has_hash)
		add(w, &record, s->hash, sizeof(s->hash));
	record.kind = DRAFT_LOG_MARK;
	record.a = w->len;
	add(w, &record, NULL, 0);
	return 0;
}

/* On disk before it has its name. */
static int write_new(struct draft *d, const struct writer *w)
{
	const int flags = O_RDWR | O_CREAT | O_TRUNC;
	char from[DRAFT_NAME_BYTES], to[DRAFT_NAME_BYTES];
	auto_close int fd = draft_disk_open(d->dir->dir_fd, d->cid, ".new", flags);
	int r;

	if (fd < 0)
		return fd;
	draft_disk_name(d->cid, ".new", from);
	draft_disk_name(d->cid, ".log", to);
	r = draft_disk_pwrite_all(fd, w->data, w->len, 0);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(d->dir->dir_fd, from, d->dir->dir_fd, to) < 0)
		r = -errno;
	if (r < 0) {
		(void)unlinkat(d->dir->dir_fd, from, 0); /* the old log is good */
		return r;
	}
	return take_fd(&fd);
}

static int note_error(struct draft *d, int r)
{
	mutex_lock(&d->dir->lock);
	d->sync_error = r;
	mutex_unlock(&d->dir->lock);
	log_error("unsent content of \"%s\" cannot be brought to disk: %s",
		  d->s.header.name ? d->s.header.name : "?", strerror(-r));
	return r;
}

int draft_rewrite(struct draft *d)
{
	struct writer w = { .cid = d->cid };
	int fd, old_fd, r;

	if (d->is_removed)
		return 0;
	if (d->sync_error)
		return d->sync_error;
	if (d->data_fd >= 0 && fdatasync(d->data_fd) < 0)
		return note_error(d, -errno);
	r = compose(d, &w);
	fd = r == 0 ? write_new(d, &w) : r;
	free(w.data);
	if (fd < 0)
		return fd;
	mutex_lock(&d->dir->lock);
	old_fd = d->log_fd;
	d->log_fd = fd;
	d->log_room = d->s.log_end = d->s.changed_end = d->s.synced_end = w.len;
	d->s.boot = d->dir->boot;
	d->is_old = false;
	/* Until names are synced a power cut may bring the old log back, without what the new one
	 * will get. */
	d->is_dir_synced = false;
	if (d->s.kept_end < d->s.data_end)
		d->s.kept_end = d->s.data_end;
	mutex_unlock(&d->dir->lock);
	close(old_fd);
	return 0;
}

/* --- syncing --- */

/* Keeps others from syncing it, and replacing its log. False: there is nothing to do. */
static bool begin_sync(struct draft *d, uint64_t *ret_target)
{
	bool is_dirty;

	mutex_lock(&d->dir->lock);
	while (d->is_syncing)
		mutex_wait(&d->dir->lock, &d->dir->settled);
	is_dirty = draft_is_dirty(d);
	d->syncing_end = d->s.data_end;
	d->is_syncing = is_dirty;
	*ret_target = d->s.log_end;
	mutex_unlock(&d->dir->lock);
	return is_dirty;
}

static void end_sync(struct draft *d, uint64_t target, int r)
{
	draft_take_turn(d, DRAFT_TURN);
	mutex_lock(&d->dir->lock);
	if (r == 0 && target > d->s.synced_end)
		d->s.synced_end = target;
	if (r == 0) {
		d->is_ragged |= d->s.kept_end > d->syncing_end;
		d->s.kept_end = d->syncing_end;
	}
	d->is_syncing = false;
	mutex_unlock(&d->dir->lock);
	draft_end_turn(d, DRAFT_TURN);
}

/* What is cut off before the data is synced is gone with the mark. */
static int trim_first(struct draft *d, bool must_open)
{
	int r;

	draft_take_turn(d, DRAFT_TURN);
	r = must_open || d->is_ragged ? draft_open_files(d) : 0;
	if (r == 0)
		r = draft_trim(d);
	draft_end_turn(d, DRAFT_TURN);
	return r;
}

/* Adds the mark, or a whole new log: then *target is its end. */
static int mark(struct draft *d, uint64_t *target)
{
	struct draft_log_record record = { .kind = DRAFT_LOG_MARK, .a = *target };
	int r;

	draft_take_turn(d, DRAFT_TURN);
	r = draft_open_files(d);
	if (r == 0)
		r = draft_trim(d);
	record.version = d->s.version;
	if (r == 0 && (d->is_old || draft_is_log_long(d, DRAFT_LOG_LONG))) {
		r = draft_rewrite(d);
		*target = d->s.log_end;
		d->syncing_end = d->s.data_end;
	} else if (r == 0) {
		r = draft_append(d, &record, NULL, 0);
	}
	draft_end_turn(d, DRAFT_TURN);
	return r;
}

static int sync_names(struct draft *d)
{
	bool is_synced;
	int r = 0;

	/* First, so that a name that is made meanwhile is not taken for synced. */
	mutex_lock(&d->dir->lock);
	is_synced = d->is_dir_synced;
	d->is_dir_synced = true;
	mutex_unlock(&d->dir->lock);
	if (!is_synced && fsync(d->dir->dir_fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	mutex_lock(&d->dir->lock);
	d->is_dir_synced = false;
	mutex_unlock(&d->dir->lock);
	return r;
}

static int sync_data(struct draft *d)
{
	int fd;

	mutex_lock(&d->dir->lock);
	fd = d->data_fd;
	mutex_unlock(&d->dir->lock);
	if (d->sync_error)
		return d->sync_error;
	return fd >= 0 && fdatasync(fd) < 0 ? note_error(d, -errno) : 0;
}

int draft_sync(struct draft *d)
{
	uint64_t target;
	int r;

	if (!begin_sync(d, &target))
		return 0;
	r = trim_first(d, true);
	if (r == 0)
		r = sync_data(d);
	if (r == 0)
		r = mark(d, &target);
	if (r == 0 && fdatasync(d->log_fd) < 0)
		r = note_error(d, -errno);
	if (r == 0)
		r = sync_names(d);
	end_sync(d, target, r);
	return r;
}

/* --- many at once --- */

struct group {
	struct draft **v;
	uint64_t *targets;
	size_t n;
};

static size_t count_dirty(struct draft_dir *dir, struct draft **v, size_t max_n)
	REQUIRES(&dir->lock)
{
	size_t n = 0;

	for (size_t i = 0; i < DRAFT_BUCKETS_N; i++) {
		list_for_each (&dir->buckets[i], pos) {
			struct draft *d = container_of(pos, struct draft, node);

			if (d->is_settling || !draft_is_dirty(d))
				continue;
			if (n < max_n) {
				d->refs_n++;
				v[n] = d;
			}
			n++;
		}
	}
	return n;
}

static int gather(struct draft_dir *dir, struct group *g)
{
	size_t n;

	mutex_lock(&dir->lock);
	n = count_dirty(dir, NULL, 0);
	g->v = calloc(n + 1, sizeof(struct draft *));
	g->targets = calloc(n + 1, sizeof(uint64_t));
	if (g->v && g->targets)
		g->n = count_dirty(dir, g->v, n);
	mutex_unlock(&dir->lock);
	return g->v && g->targets ? 0 : -ENOMEM;
}

/* Descriptors that only this needed: there may be thousands. */
static void shut(struct draft *d)
{
	int log_fd = -1, data_fd = -1;

	draft_take_turn(d, DRAFT_TURN);
	mutex_lock(&d->dir->lock);
	if (d->refs_n == 1) {
		log_fd = take_fd(&d->log_fd);
		data_fd = take_fd(&d->data_fd);
	}
	mutex_unlock(&d->dir->lock);
	mem_close_fd(&log_fd);
	mem_close_fd(&data_fd);
	draft_end_turn(d, DRAFT_TURN);
}

/* Those of them that need it get their marks between the two. */
static int sync_together(struct draft_dir *dir, struct group *g)
{
	int r = 0;

	for (size_t i = 0; i < g->n && r == 0; i++) {
		if (g->targets[i] == 0)
			continue;
		r = g->v[i]->sync_error ? g->v[i]->sync_error : trim_first(g->v[i], false);
		shut(g->v[i]);
	}
	if (r == 0 && syncfs(dir->dir_fd) < 0)
		r = -errno;
	for (size_t i = 0; i < g->n && r == 0; i++) {
		if (g->targets[i] == 0)
			continue;
		r = mark(g->v[i], &g->targets[i]);
		shut(g->v[i]);
	}
	return r == 0 && syncfs(dir->dir_fd) < 0 ? -errno : r;
}

static int sync_group(struct draft_dir *dir, struct group *g)
{
	int r;

	for (size_t i = 0; i < g->n; i++) {
		struct draft *d = g->v[i];

		if (!begin_sync(d, &g->targets[i])) {
			g->targets[i] = 0;
			continue;
		}
		mutex_lock(&dir->lock);
		d->is_dir_synced = true;
		mutex_unlock(&dir->lock);
	}
	r = sync_together(dir, g);
	for (size_t i = 0; i < g->n; i++) {
		struct draft *d = g->v[i];

		if (g->targets[i] == 0)
			continue;
		if (r < 0) {
			mutex_lock(&dir->lock);
			d->is_dir_synced = false;
			mutex_unlock(&dir->lock);
		}
		end_sync(d, g->targets[i], r);
	}
	return r;
}

int draft_dir_sync(struct draft_dir *dir)
{
	struct group g = { 0 };
	int r;

	mutex_lock(&dir->lock);
	while (dir->is_syncing)
		mutex_wait(&dir->lock, &dir->settled);
	dir->is_syncing = true;
	mutex_unlock(&dir->lock);
	r = gather(dir, &g);
	/* When it fails, each is asked what is wrong with it. */
	if (r == 0 && g.n > DRAFT_SYNC_SINGLE_MAX)
		(void)sync_group(dir, &g);
	for (size_t i = 0; i < g.n; i++) {
		int single = draft_sync(g.v[i]);

		r = r == 0 ? single : r;
		draft_close(g.v[i]);
	}
	free(g.v);
	free(g.targets);
	mutex_lock(&dir->lock);
	dir->is_syncing = false;
	pthread_cond_broadcast(&dir->settled);
	mutex_unlock(&dir->lock);
	return r;
}

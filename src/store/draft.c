#define LOG_MODULE "draft"
#include "draft_file.h"

#include "draft_disk.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

enum { LOG_ROOM_FIRST = 4096 };

static struct list *bucket_of(struct draft_dir *dir, uint64_t cid)
{
	return &dir->buckets[(cid * UINT64_C(0x9e3779b97f4a7c15)) >> 54];
}
_Static_assert(DRAFT_BUCKETS_N == 1 << (64 - 54), "bucket_of() knows it");

/* --- turns --- */

void draft_take_turn(struct draft *d, enum draft_turn turn)
{
	mutex_lock(&d->dir->lock);
	while (d->is_busy || (turn == DRAFT_TURN_ALONE && d->is_syncing))
		mutex_wait(&d->dir->lock, &d->dir->settled);
	d->is_busy = true;
	if (turn == DRAFT_TURN_ALONE)
		d->is_syncing = true;
	mutex_unlock(&d->dir->lock);
}

void draft_end_turn(struct draft *d, enum draft_turn turn)
{
	mutex_lock(&d->dir->lock);
	d->is_busy = false;
	if (turn == DRAFT_TURN_ALONE)
		d->is_syncing = false;
	pthread_cond_broadcast(&d->dir->settled);
	mutex_unlock(&d->dir->lock);
}

/* --- begin and end --- */

int draft_dir_new(int dir_fd, struct draft_dir **ret)
{
	struct draft_dir *dir = calloc(1, sizeof(*dir));
	int r;

	if (!dir)
		return -ENOMEM;
	if (flock(dir_fd, LOCK_EX | LOCK_NB) < 0) {
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
		free(dir);
		return r;
	}
	dir->dir_fd = dir_fd;
	dir->boot = draft_disk_boot();
	mutex_init(&dir->lock, MUTEX_RANK_DRAFT);
	mutex_cond_init(&dir->settled);
	for (size_t i = 0; i < DRAFT_BUCKETS_N; i++)
		list_init(&dir->buckets[i]);
	r = draft_list_begin(dir);
	/* Names that a killed process made. */
	if (r == 0 && fsync(dir_fd) < 0)
		r = -errno;
	if (r < 0) {
		draft_dir_free(dir);
		return r;
	}
	*ret = dir;
	return 0;
}

static void free_draft(struct draft *d)
{
	if (d->log_fd >= 0)
		close(d->log_fd);
	if (d->data_fd >= 0)
		close(d->data_fd);
	draft_state_fini(&d->s);
	free(d);
}

void draft_dir_free(struct draft_dir *dir)
{
	int r;

	if (!dir)
		return;
	r = draft_dir_sync(dir);
	if (r < 0)
		log_error("unsent content may not survive a power cut: %s", strerror(-r));
	for (size_t i = 0; i < DRAFT_BUCKETS_N; i++)
		list_for_each_safe (&dir->buckets[i], pos)
			free_draft(container_of(pos, struct draft, node));
	(void)flock(dir->dir_fd, LOCK_UN);
	pthread_cond_destroy(&dir->settled);
	mutex_fini(&dir->lock);
	free(dir);
}

void draft_dir_get_stats(struct draft_dir *dir, struct draft_stats *ret)
{
	mutex_lock(&dir->lock);
	*ret = dir->stats;
	mutex_unlock(&dir->lock);
}

/* --- opening --- */

bool draft_is_dirty(const struct draft *d)
{
	return !d->is_removed &&
	       (d->s.changed_end > d->s.synced_end || !d->is_dir_synced || d->sync_error);
}

/* What is behind a data file's end was perhaps not counted. */
static void uncount(struct draft *d) REQUIRES(&d->dir->lock)
{
	uint64_t *bytes = &d->dir->stats.bytes;

	*bytes -= *bytes < d->counted_bytes ? *bytes : d->counted_bytes;
	d->counted_bytes = 0;
}

void draft_count_bytes(struct draft *d)
{
	if (d->is_removed)
		return;
	uncount(d);
	d->dir->stats.bytes += d->s.data_end;
	d->counted_bytes = d->s.data_end;
}

void draft_forget(struct draft *d)
{
	list_del(&d->node);
	d->is_removed = true;
	d->s.kept_end = 0;
	d->dir->stats.drafts_n--;
	uncount(d);
}

static struct draft *find(struct draft_dir *dir, uint64_t cid) REQUIRES(&dir->lock)
{
	list_for_each (bucket_of(dir, cid), pos) {
		struct draft *d = container_of(pos, struct draft, node);

		if (d->cid == cid)
			return d;
	}
	return NULL;
}

/* One that is settling; the caller owns the only handle. NULL: no memory. */
static struct draft *add(struct draft_dir *dir, uint64_t cid) REQUIRES(&dir->lock)
{
	struct draft *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->dir = dir;
	d->cid = cid;
	d->refs_n = 1;
	d->is_settling = true;
	d->log_fd = d->data_fd = -1;
	list_add_tail(bucket_of(dir, cid), &d->node);
	return d;
}

/* Waits until nobody makes or removes it. */
static struct draft *find_settled(struct draft_dir *dir, uint64_t cid) REQUIRES(&dir->lock)
{
	struct draft *d;

	while ((d = find(dir, cid)) && d->is_settling)
		mutex_wait(&dir->lock, &dir->settled);
	return d;
}

/* The end of add(). */
static int settle(struct draft *d, int r)
{
	struct draft_dir *dir = d->dir;

	mutex_lock(&dir->lock);
	d->is_settling = false;
	if (r < 0)
		list_del(&d->node);
	pthread_cond_broadcast(&dir->settled);
	mutex_unlock(&dir->lock);
	if (r < 0)
		free_draft(d);
	return r;
}

int draft_open_files(struct draft *d)
{
	int log_fd, data_fd;

	if (d->log_fd >= 0)
		return 0;
	log_fd = draft_disk_open_old(d->dir->dir_fd, d->cid, ".log");
	if (log_fd < 0)
		return log_fd;
	data_fd = draft_disk_open_old(d->dir->dir_fd, d->cid, "");
	if (data_fd < 0 && (data_fd != -ENOENT || d->s.data_end > 0)) {
		close(log_fd);
		return data_fd;
	}
	mutex_lock(&d->dir->lock);
	d->log_fd = log_fd;
	d->data_fd = data_fd < 0 ? -1 : data_fd;
	mutex_unlock(&d->dir->lock);
	return 0;
}

static int load(struct draft *d)
{
	struct stat st = { 0 }, log_st;
	int r = draft_open_files(d);

	if (r < 0)
		return r;
	r = draft_load(d->cid, d->dir->boot, d->log_fd, d->data_fd, false, &d->s);
	if (r < 0)
		return r;
	if ((d->data_fd >= 0 && fstat(d->data_fd, &st) < 0) || fstat(d->log_fd, &log_st) < 0)
		return -errno;
	d->is_old = d->dir->boot == 0 || d->s.boot != d->dir->boot;
	d->is_ragged =
		(uint64_t)st.st_size > d->s.data_end || (uint64_t)log_st.st_size > d->s.log_end;
	d->log_room = d->s.log_end;
	d->is_dir_synced = true; /* draft_dir_new() did it */
	d->counted_bytes = (uint64_t)st.st_size;
	mutex_lock(&d->dir->lock);
	draft_count_bytes(d);
	mutex_unlock(&d->dir->lock);
	return 0;
}

int draft_open(struct draft_dir *dir, uint64_t cid, struct draft **ret)
{
	struct draft *d;
	int r;

	mutex_lock(&dir->lock);
	d = find_settled(dir, cid);
	if (d) {
		d->refs_n++;
		mutex_unlock(&dir->lock);
		/* It may have been closed before it was synced. */
		draft_take_turn(d, DRAFT_TURN);
		r = draft_open_files(d);
		draft_end_turn(d, DRAFT_TURN);
		if (r < 0)
			draft_close(d);
		else
			*ret = d;
		return r;
	}
	d = add(dir, cid);
	mutex_unlock(&dir->lock);
	if (!d)
		return -ENOMEM;
	r = settle(d, load(d));
	if (r == 0)
		*ret = d;
	return r;
}

static int create(struct draft *d, const struct draft_header *header)
{
	struct draft_log_record record = {
		.kind = DRAFT_LOG_HEADER,
		.a = DRAFT_LOG_MAGIC,
		.c = d->dir->boot,
	};
	uint8_t payload[DRAFT_LOG_PAYLOAD_MAX];
	struct draft_log_buf buf;
	char name[DRAFT_NAME_BYTES];
	size_t bytes, len;
	int r = draft_log_pack(header, payload, &bytes);

	if (r == 0)
		r = draft_header_copy(header, &d->s.header);
	if (r < 0)
		return r;
	d->log_fd = draft_disk_open(d->dir->dir_fd, d->cid, ".log", O_RDWR | O_CREAT | O_EXCL);
	if (d->log_fd < 0)
		return d->log_fd;
	len = draft_log_encode(d->cid, 0, &record, payload, bytes, &buf);
	r = draft_disk_pwrite_all(d->log_fd, buf.data, len, 0);
	if (r < 0) {
		draft_disk_name(d->cid, ".log", name);
		(void)unlinkat(d->dir->dir_fd, name, 0); /* nothing is in it */
		return r;
	}
	d->s.size = header->base_size;
	d->s.base_end = header->base_cid ? header->base_size : 0;
	d->s.boot = d->dir->boot;
	d->s.log_end = d->s.changed_end = len;
	d->log_room = len > LOG_ROOM_FIRST ? len : LOG_ROOM_FIRST;
	return 0;
}

int draft_create(struct draft_dir *dir, uint64_t cid, const struct draft_header *header,
		 struct draft **ret)
{
	struct draft *d;
	int r;

	if (header->base_size > DRAFT_SIZE_MAX)
		return -EFBIG;
	mutex_lock(&dir->lock);
	d = find_settled(dir, cid);
	r = d ? -EEXIST : -ENOMEM;
	d = d ? NULL : add(dir, cid);
	mutex_unlock(&dir->lock);
	if (!d)
		return r;
	r = create(d, header);
	if (r == 0) {
		mutex_lock(&dir->lock);
		dir->stats.drafts_n++;
		mutex_unlock(&dir->lock);
	}
	r = settle(d, r);
	if (r == 0)
		*ret = d;
	return r;
}

struct draft *draft_ref(struct draft *d)
{
	mutex_lock(&d->dir->lock);
	d->refs_n++;
	mutex_unlock(&d->dir->lock);
	return d;
}

void draft_close(struct draft *d)
{
	int log_fd = -1, data_fd = -1;
	bool is_gone = false;

	mutex_lock(&d->dir->lock);
	if (--d->refs_n == 0) {
		log_fd = take_fd(&d->log_fd);
		data_fd = take_fd(&d->data_fd);
		is_gone = !draft_is_dirty(d);
		if (is_gone && !d->is_removed)
			list_del(&d->node);
	}
	mutex_unlock(&d->dir->lock);
	mem_close_fd(&log_fd);
	mem_close_fd(&data_fd);
	if (is_gone)
		free_draft(d);
}

/* --- what it is --- */

int draft_get_header(struct draft *d, struct draft_header *ret)
{
	int r;

	mutex_lock(&d->dir->lock);
	r = draft_header_copy(&d->s.header, ret);
	mutex_unlock(&d->dir->lock);
	return r;
}

uint64_t draft_cid(const struct draft *d)
{
	return d->cid;
}

uint64_t draft_size(struct draft *d)
{
	uint64_t size;

	mutex_lock(&d->dir->lock);
	size = d->s.size;
	mutex_unlock(&d->dir->lock);
	return size;
}

/* Changing and reading. */
#define LOG_MODULE "draft"
#include "draft_file.h"

#include "draft_disk.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

enum { LOG_ROOM_STEP = 64 * 1024 };
/* A change that failed may have changed bytes all the same. The numbers that follow are none that
 * a later life, which does not know of it, gives to other states. */
#define VERSION_FAILED (UINT64_C(1) << 32)

/* --- records --- */

int draft_trim(struct draft *d)
{
	uint64_t end = d->s.data_end > d->s.kept_end ? d->s.data_end : d->s.kept_end;

	if (!d->is_ragged)
		return 0;
	if (d->data_fd >= 0 && ftruncate(d->data_fd, (off_t)end) < 0)
		return -errno;
	if (ftruncate(d->log_fd, (off_t)d->s.log_end) < 0)
		return -errno;
	d->log_room = d->s.log_end;
	d->is_ragged = false;
	return 0;
}

/* For a record and a mark behind it. */
static int reserve_log(struct draft *d)
{
	uint64_t end = d->s.log_end + 2 * sizeof(struct draft_log_record);

	if (end <= d->log_room)
		return 0;
	end += LOG_ROOM_STEP;
	if (fallocate(d->log_fd, FALLOC_FL_KEEP_SIZE, (off_t)d->s.log_end,
		      (off_t)(end - d->s.log_end)) < 0 &&
	    errno != EOPNOTSUPP)
		return -errno;
	d->log_room = end;
	return 0;
}

int draft_begin_change(struct draft *d)
{
	enum draft_turn turn = DRAFT_TURN;
	int r;

	draft_take_turn(d, turn);
	if (d->is_old || draft_is_log_long(d, DRAFT_LOG_TOO_LONG)) {
		draft_end_turn(d, turn);
		turn = DRAFT_TURN_ALONE;
		draft_take_turn(d, turn);
	}
	r = draft_open_files(d);
	if (r == 0)
		r = draft_trim(d);
	if (r == 0 && turn == DRAFT_TURN_ALONE &&
	    (d->is_old || draft_is_log_long(d, DRAFT_LOG_TOO_LONG)))
		r = draft_rewrite(d);
	if (r == 0)
		r = reserve_log(d);
	if (r < 0) {
		draft_end_turn(d, turn);
		return r;
	}
	if (turn == DRAFT_TURN_ALONE) {
		mutex_lock(&d->dir->lock);
		d->is_syncing = false;
		pthread_cond_broadcast(&d->dir->settled);
		mutex_unlock(&d->dir->lock);
	}
	return 0;
}

int draft_append(struct draft *d, struct draft_log_record *record, const void *payload,
		 size_t payload_bytes)
{
	struct draft_log_buf buf;
	size_t len = draft_log_encode(d->cid, d->s.log_end, record, payload, payload_bytes, &buf);
	int r;

	if (d->s.log_end + len > DRAFT_LOG_MAX)
		return -EFBIG;
	r = draft_disk_pwrite_all(d->log_fd, buf.data, len, d->s.log_end);
	if (r < 0) {
		d->is_ragged = true;
		return r;
	}
	record->payload_bytes = (uint16_t)payload_bytes;
	mutex_lock(&d->dir->lock);
	d->s.log_end += len;
	if (record->kind == DRAFT_LOG_HEADER || record->kind == DRAFT_LOG_WRITE ||
	    record->kind == DRAFT_LOG_SIZE)
		d->s.changed_end = d->s.log_end;
	mutex_unlock(&d->dir->lock);
	return 0;
}

/* A record, and what it changes in memory; for that room was made. */
static int commit(struct draft *d, struct draft_log_record *record)
{
	int r = draft_append(d, record, NULL, 0);

	if (r < 0)
		return r;
	mutex_lock(&d->dir->lock);
	r = draft_state_apply(&d->s, record, NULL);
	draft_count_bytes(d);
	mutex_unlock(&d->dir->lock);
	return r;
}

static void note_failure(struct draft *d)
{
	d->is_ragged = true;
	mutex_lock(&d->dir->lock);
	d->s.version += VERSION_FAILED;
	d->s.has_hash = false;
	mutex_unlock(&d->dir->lock);
}

static int reserve_range(struct draft *d, uint64_t off, uint64_t end)
{
	int r;

	if (end > d->s.base_end)
		end = d->s.base_end;
	mutex_lock(&d->dir->lock);
	r = draft_ranges_reserve(&d->s.ranges, off, end, DRAFT_RANGES_MAX);
	mutex_unlock(&d->dir->lock);
	if (r == -ENOBUFS)
		log_warn("a file is written in more than %d separate places before all of its old "
			 "content is here",
			 DRAFT_RANGES_MAX);
	return r;
}

/* --- changes --- */

int draft_make_data(struct draft *d)
{
	int fd, flags = O_RDWR | O_CREAT | O_EXCL;

	if (d->data_fd >= 0)
		return 0;
	/* A removed draft that is still open. */
	if (d->is_removed) {
		fd = openat(d->dir->dir_fd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
		fd = fd < 0 ? -errno : fd;
	} else {
		fd = draft_disk_open(d->dir->dir_fd, d->cid, "", flags);
	}
	if (fd < 0)
		return fd;
	mutex_lock(&d->dir->lock);
	d->data_fd = fd;
	d->is_dir_synced = false;
	mutex_unlock(&d->dir->lock);
	return 0;
}

/* As draft_begin_change(). A gap before what is to be written must be zeros, and not what was cut
 * off: then that has to go from the file first, and before that the log to disk. */
static int begin_write(struct draft *d, uint64_t off)
{
	for (;;) {
		int r = draft_begin_change(d);

		if (r < 0 || off <= d->s.data_end || d->s.kept_end <= d->s.data_end)
			return r;
		draft_end_turn(d, DRAFT_TURN);
		r = draft_sync(d);
		if (r < 0)
			return r;
	}
}

static ssize_t write_one(struct draft *d, uint64_t off, const void *buf, size_t len)
{
	struct draft_log_record record = { .kind = DRAFT_LOG_WRITE, .a = off };
	ssize_t n = 0;
	int r = begin_write(d, off);

	if (r < 0)
		return r;
	r = draft_make_data(d);
	if (r == 0)
		r = reserve_range(d, off, off + len);
	if (r == 0) {
		n = draft_disk_pwrite(d->data_fd, buf, len, off);
		r = n < 0 ? (int)n : 0;
		if (r == 0) {
			record.b = (uint64_t)n;
			record.c = draft_log_sum(buf, (size_t)n, 0);
			record.version = d->s.version + 1;
			r = commit(d, &record);
		}
		if (r < 0 || (size_t)n < len)
			note_failure(d);
	}
	draft_end_turn(d, DRAFT_TURN);
	return r < 0 ? r : n;
}

ssize_t draft_write(struct draft *d, uint64_t off, const void *buf, size_t len)
{
	size_t done = 0;

	if (off > DRAFT_SIZE_MAX || len > DRAFT_SIZE_MAX - off)
		return -EFBIG;
	while (done < len) {
		size_t part = len - done < DRAFT_WRITE_MAX ? len - done : DRAFT_WRITE_MAX;
		ssize_t n = write_one(d, off + done, (const char *)buf + done, part);

		if (n < 0)
			return done > 0 ? (ssize_t)done : n;
		done += (size_t)n;
		if ((size_t)n < part)
			break;
	}
	return (ssize_t)done;
}

int draft_truncate(struct draft *d, uint64_t size)
{
	struct draft_log_record record = { .kind = DRAFT_LOG_SIZE, .a = size };
	uint64_t old_end;
	int r;

	if (size > DRAFT_SIZE_MAX)
		return -EFBIG;
	r = draft_begin_change(d);
	if (r < 0)
		return r;
	old_end = d->s.data_end;
	if (size != d->s.size) {
		record.version = d->s.version + 1;
		r = commit(d, &record);
	}
	/* What is cut off already does not count. If this fails the next change does it. */
	if (r == 0 && d->s.data_end < old_end) {
		d->is_ragged = true;
		if (draft_trim(d) < 0)
			log_debug("a file is cut later");
	}
	draft_end_turn(d, DRAFT_TURN);
	return r;
}

static int fill_gap(struct draft *d, const struct draft_range *gap, const void *buf)
{
	struct draft_log_record record = {
		.kind = DRAFT_LOG_FILL,
		.version = d->s.version,
		.a = gap->off,
		.b = gap->end - gap->off,
		.c = draft_log_sum(buf, gap->end - gap->off, 0),
	};
	int r = reserve_log(d);

	if (r == 0)
		r = draft_make_data(d);
	if (r == 0)
		r = reserve_range(d, gap->off, gap->end);
	if (r < 0)
		return r;
	r = draft_disk_pwrite_all(d->data_fd, buf, gap->end - gap->off, gap->off);
	if (r == 0)
		r = commit(d, &record);
	/* Nobody sees what is there but not marked. */
	if (r < 0)
		d->is_ragged = true;
	return r;
}

/* With a turn for each part, so that a writer need not wait for long. */
static int fill_one(struct draft *d, uint64_t off, const void *buf, size_t len)
{
	struct draft_range gap;
	uint64_t end = off + len, at = off;
	int r = draft_begin_change(d);

	if (r < 0)
		return r;
	if (end > d->s.base_end)
		end = d->s.base_end;
	while (r == 0 && draft_ranges_gap(&d->s.ranges, at, end, &gap)) {
		r = fill_gap(d, &gap, (const char *)buf + (gap.off - off));
		at = gap.end;
	}
	draft_end_turn(d, DRAFT_TURN);
	return r;
}

int draft_fill(struct draft *d, uint64_t off, const void *buf, size_t len)
{
	int r = 0;

	if (off > DRAFT_SIZE_MAX || len > DRAFT_SIZE_MAX - off)
		return -EFBIG;
	for (size_t done = 0; r == 0 && done < len; done += DRAFT_WRITE_MAX) {
		size_t part = len - done < DRAFT_WRITE_MAX ? len - done : DRAFT_WRITE_MAX;

		r = fill_one(d, off + done, (const char *)buf + done, part);
	}
	return r;
}

int draft_set_header(struct draft *d, const struct draft_header *header)
{
	struct draft_log_record record = { .kind = DRAFT_LOG_HEADER, .a = DRAFT_LOG_MAGIC };
	uint8_t payload[DRAFT_LOG_PAYLOAD_MAX];
	struct draft_header copy = { 0 }, old;
	size_t bytes;
	int r = draft_log_pack(header, payload, &bytes);

	if (r == 0)
		r = draft_header_copy(header, &copy);
	if (r < 0)
		return r;
	r = draft_begin_change(d);
	if (r < 0) {
		draft_header_fini(&copy);
		return r;
	}
	old = copy;
	if (copy.base_cid != d->s.header.base_cid || copy.base_size != d->s.header.base_size)
		r = -EINVAL;
	record.version = d->s.version;
	record.c = d->dir->boot;
	if (r == 0)
		r = draft_append(d, &record, payload, bytes);
	if (r == 0) {
		mutex_lock(&d->dir->lock);
		old = d->s.header;
		d->s.header = copy;
		mutex_unlock(&d->dir->lock);
	}
	draft_end_turn(d, DRAFT_TURN);
	draft_header_fini(&old);
	return r;
}

uint64_t draft_version(struct draft *d)
{
	uint64_t version;

	draft_take_turn(d, DRAFT_TURN);
	version = d->s.version;
	draft_end_turn(d, DRAFT_TURN);
	return version;
}

/* --- reading --- */

static struct draft_piece piece_at(const struct draft_state *s, uint64_t off, uint64_t end)
{
	const struct draft_ranges *r = &s->ranges;
	struct draft_piece piece = { .kind = DRAFT_BASE, .off = off };
	size_t i;

	if (off >= s->base_end) {
		piece.kind = off < s->data_end ? DRAFT_WRITTEN : DRAFT_ZERO;
		if (piece.kind == DRAFT_WRITTEN && end > s->data_end)
			end = s->data_end;
		piece.len = end - off;
		return piece;
	}
	if (end > s->base_end)
		end = s->base_end;
	i = draft_ranges_find(r, off);
	if (i < r->n && r->v[i].off <= off) {
		piece.kind = DRAFT_WRITTEN;
		end = r->v[i].end < end ? r->v[i].end : end;
	} else if (i < r->n && r->v[i].off < end) {
		end = r->v[i].off;
	}
	piece.len = end - off;
	return piece;
}

static size_t get_pieces(const struct draft_state *s, uint64_t off, uint64_t len,
			 struct draft_piece *pieces, size_t max_n)
{
	uint64_t end = off < s->size && len < s->size - off ? off + len : s->size;
	size_t n = 0;

	while (off < end && n < max_n) {
		pieces[n] = piece_at(s, off, end);
		off += pieces[n].len;
		/* Written over the base and behind it. */
		if (n > 0 && pieces[n - 1].kind == pieces[n].kind)
			pieces[n - 1].len += pieces[n].len;
		else
			n++;
	}
	return n;
}

size_t draft_get_pieces(struct draft *d, uint64_t off, uint64_t len, struct draft_piece *pieces,
			size_t max_n)
{
	size_t n;

	mutex_lock(&d->dir->lock);
	n = get_pieces(&d->s, off, len, pieces, max_n);
	mutex_unlock(&d->dir->lock);
	return n;
}

/* A truncation meanwhile leaves zeros. */
static int read_data(int fd, void *buf, size_t len, uint64_t off)
{
	int r;

	memset(buf, 0, len);
	r = fd < 0 ? -ENODATA : draft_disk_pread(fd, buf, len, off);
	return r == -ENODATA ? 0 : r;
}

ssize_t draft_read(struct draft *d, uint64_t off, void *buf, size_t len)
{
	struct draft_piece piece;
	size_t done = 0;

	while (done < len) {
		size_t n;
		int fd, r = 0;

		mutex_lock(&d->dir->lock);
		n = get_pieces(&d->s, off + done, len - done, &piece, 1);
		fd = d->data_fd;
		mutex_unlock(&d->dir->lock);
		if (n == 0)
			break;
		if (piece.kind == DRAFT_BASE)
			return -ENODATA;
		if (piece.kind == DRAFT_WRITTEN)
			r = read_data(fd, (char *)buf + done, piece.len, piece.off);
		else
			memset((char *)buf + done, 0, piece.len);
		if (r < 0)
			return r;
		done += piece.len;
	}
	return (ssize_t)done;
}

bool draft_next_missing(struct draft *d, uint64_t from, uint64_t *ret_off, uint64_t *ret_len)
{
	struct draft_range gap;
	bool is;

	mutex_lock(&d->dir->lock);
	is = draft_ranges_gap(&d->s.ranges, from, d->s.base_end, &gap);
	mutex_unlock(&d->dir->lock);
	if (!is)
		return false;
	*ret_off = gap.off;
	*ret_len = gap.end - gap.off;
	return true;
}

bool draft_is_whole(struct draft *d)
{
	uint64_t off, len;

	return !draft_next_missing(d, 0, &off, &len);
}

#define LOG_MODULE "draft"
#include "draft_file.h"

#include "draft_disk.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void draft_state_fini(struct draft_state *s)
{
	draft_header_fini(&s->header);
	draft_ranges_fini(&s->ranges);
	*s = (struct draft_state){ 0 };
}

/* --- what a record changes --- */

static int apply_header(struct draft_state *s, const struct draft_log_record *record,
			const uint8_t *payload)
{
	struct draft_header h;
	int r;

	if (record->a != DRAFT_LOG_MAGIC)
		return -EUCLEAN;
	r = draft_log_unpack(payload, record->payload_bytes, &h);
	if (r < 0)
		return r == -EBADMSG ? -EUCLEAN : r;
	/* The first one. */
	if (s->boot == 0) {
		s->size = s->base_end = h.base_size;
		if (h.base_cid == 0)
			s->base_end = 0;
	}
	draft_header_fini(&s->header);
	s->header = h;
	s->boot = record->c | 1;
	return 0;
}

static int apply_range(struct draft_state *s, const struct draft_log_record *record)
{
	uint64_t off = record->a, end;
	int r;

	if (off > DRAFT_SIZE_MAX || record->b > DRAFT_SIZE_MAX - off)
		return -EUCLEAN;
	end = off + record->b;
	if (record->kind == DRAFT_LOG_WRITE) {
		s->has_hash = false;
		s->version = record->version;
	}
	if (record->kind == DRAFT_LOG_WRITE && end > s->size)
		s->size = end;
	if (record->kind == DRAFT_LOG_FILL && end > s->base_end)
		return -EUCLEAN;
	if (record->kind != DRAFT_LOG_RANGE && end > s->data_end)
		s->data_end = end;
	if (end > s->base_end)
		end = s->base_end;
	r = draft_ranges_reserve(&s->ranges, off, end, DRAFT_RANGES_MAX);
	if (r == 0)
		draft_ranges_add(&s->ranges, off, end);
	return r;
}

static int apply_state(struct draft_state *s, const struct draft_log_record *record)
{
	if (record->a > DRAFT_SIZE_MAX || record->b > record->a || record->c > record->a)
		return -EUCLEAN;
	s->size = record->a;
	s->base_end = record->b;
	s->data_end = record->c;
	s->version = record->version;
	return 0;
}

static int apply_size(struct draft_state *s, const struct draft_log_record *record)
{
	if (record->a > DRAFT_SIZE_MAX)
		return -EUCLEAN;
	s->size = record->a;
	s->version = record->version;
	s->has_hash = false;
	if (s->base_end > s->size)
		s->base_end = s->size;
	if (s->data_end > s->size)
		s->data_end = s->size;
	draft_ranges_cut(&s->ranges, s->base_end);
	return 0;
}

int draft_state_apply(struct draft_state *s, const struct draft_log_record *record,
		      const uint8_t *payload)
{
	switch ((enum draft_log_kind)record->kind) {
	case DRAFT_LOG_HEADER:
		return apply_header(s, record, payload);
	case DRAFT_LOG_STATE:
		return apply_state(s, record);
	case DRAFT_LOG_RANGE:
	case DRAFT_LOG_WRITE:
	case DRAFT_LOG_FILL:
		return apply_range(s, record);
	case DRAFT_LOG_SIZE:
		return apply_size(s, record);
	case DRAFT_LOG_SEAL:
		if (record->payload_bytes != QUICKXOR_BYTES || record->a != s->size)
			return -EUCLEAN;
		memcpy(s->hash, payload, QUICKXOR_BYTES);
		s->has_hash = true;
		return 0;
	case DRAFT_LOG_MARK:
		s->synced_end = record->a;
		return 0;
	}
	return -EUCLEAN;
}

/* --- reading --- */

struct scan {
	uint64_t cid;
	uint8_t *log;
	uint64_t len;
	int data_fd;
	uint64_t end;    /* records up to here are right */
	uint64_t marked; /* up to here they and their data are on disk */
	uint64_t boot;
	bool is_foreign; /* the machine was started anew since it was written */
	/* Data that was cut off may have come back. It is cut off after the mark that tells so, and
	 * that is on disk with the next mark. */
	bool is_shrunk;
	uint64_t marked_before; /* by the last mark but one */
};

static int read_log(struct scan *scan, int log_fd)
{
	struct stat st;

	if (fstat(log_fd, &st) < 0)
		return -errno;
	if (st.st_size > DRAFT_LOG_MAX)
		return -EUCLEAN;
	scan->len = (uint64_t)st.st_size;
	scan->log = malloc(scan->len + 1);
	if (!scan->log)
		return -ENOMEM;
	return draft_disk_pread(log_fd, scan->log, scan->len, 0);
}

/* Is there a record in what follows a bad place? One that marks more than that place as synced? */
static bool find_later(const struct scan *scan, bool mark_only)
{
	struct draft_log_record record;
	const uint8_t *payload;
	size_t bytes;

	for (uint64_t at = scan->end + 8; at < scan->len; at += 8) {
		if (draft_log_decode(scan->cid, scan->log, scan->len, at, &record, &payload,
				     &bytes) < 0)
			continue;
		if (!mark_only || (record.kind == DRAFT_LOG_MARK && record.a > scan->end))
			return true;
	}
	return false;
}

/* Where the log ends. A killed process leaves a record that is too short, a power cut anything
 * behind the last mark; everything else is damage. */
static int find_end(struct scan *scan, uint64_t boot)
{
	struct draft_log_record record;
	const uint8_t *payload;
	unsigned marks_n = 0;
	size_t bytes;
	int r = 0;

	while (scan->end < scan->len) {
		r = draft_log_decode(scan->cid, scan->log, scan->len, scan->end, &record, &payload,
				     &bytes);
		if (r < 0)
			break;
		if (record.kind == DRAFT_LOG_HEADER)
			scan->boot = record.c;
		/* What was before a new log is not known. */
		if (record.kind == DRAFT_LOG_STATE)
			scan->is_shrunk = true;
		if (record.kind == DRAFT_LOG_MARK && record.a <= scan->end) {
			scan->is_shrunk &= marks_n++ == 0;
			scan->marked_before = scan->marked;
			scan->marked = record.a;
		}
		scan->end += bytes;
	}
	scan->is_foreign = boot == 0 || scan->boot != boot;
	if (scan->end == 0)
		return r == -EBADMSG || scan->data_fd >= 0 || find_later(scan, false) ? -EUCLEAN
										      : -ENOENT;
	if (r == 0)
		return 0;
	if (scan->is_foreign)
		return find_later(scan, true) ? -EUCLEAN : 0;
	return r == -EAGAIN && !find_later(scan, false) ? 0 : -EUCLEAN;
}

/* Are there only zeros from off to end? 0, 1: no, -errno. */
static int check_zeros(int fd, uint64_t off, uint64_t end)
{
	uint8_t buf[4096];

	while (off < end) {
		off_t data = lseek(fd, (off_t)off, SEEK_DATA);
		size_t len;
		int r;

		if (data < 0)
			return errno == ENXIO ? 0 : -errno;
		off = (uint64_t)data > off ? (uint64_t)data : off;
		if (off >= end)
			break;
		len = end - off < sizeof(buf) ? end - off : sizeof(buf);
		r = draft_disk_pread(fd, buf, len, off);
		if (r < 0)
			return r == -ENODATA ? 0 : r;
		for (size_t i = 0; i < len; i++)
			if (buf[i])
				return 1;
		off += len;
	}
	return 0;
}

/* Is the data there that a record tells? 0, 1: no, -errno. */
static int check_data(const struct scan *scan, const struct draft_state *s,
		      const struct draft_log_record *record)
{
	auto_free void *buf = NULL;
	int r;

	if (record->b > DRAFT_WRITE_MAX)
		return -EUCLEAN;
	if (scan->data_fd < 0)
		return 1;
	/* What a truncation took away may have come back. */
	r = scan->is_shrunk && record->a > s->data_end
		    ? check_zeros(scan->data_fd, s->data_end, record->a)
		    : 0;
	if (r != 0)
		return r;
	buf = malloc(record->b + 1);
	if (!buf)
		return -ENOMEM;
	r = draft_disk_pread(scan->data_fd, buf, record->b, record->a);
	if (r < 0)
		return r == -ENODATA ? 1 : r;
	return draft_log_sum(buf, record->b, 0) == record->c ? 0 : 1;
}

static int apply_all(struct scan *scan, struct draft_state *s)
{
	struct draft_log_record record;
	const uint8_t *payload;
	size_t bytes;
	int r;

	for (uint64_t at = 0; at < scan->end; at += bytes) {
		bool has_data;

		r = draft_log_decode(scan->cid, scan->log, scan->end, at, &record, &payload,
				     &bytes);
		if (r < 0)
			return r;
		if (at == 0 && record.kind != DRAFT_LOG_HEADER)
			return -EUCLEAN;
		scan->is_shrunk |= at >= scan->marked_before && record.kind == DRAFT_LOG_SIZE &&
				   record.a < s->data_end;
		has_data = record.kind == DRAFT_LOG_WRITE || record.kind == DRAFT_LOG_FILL;
		r = scan->is_foreign && at >= scan->marked && has_data
			    ? check_data(scan, s, &record)
			    : 0;
		/* What was filled can be filled again. */
		if (r > 0 && record.kind == DRAFT_LOG_FILL) {
			s->log_end = at + bytes;
			continue;
		}
		s->is_cut = r > 0;
		if (r > 0)
			return 0;
		if (r == 0)
			r = draft_state_apply(s, &record, payload);
		if (r < 0)
			return r;
		s->log_end = at + bytes;
		if (s->log_end <= scan->marked)
			s->kept_end = s->data_end;
		if (record.kind == DRAFT_LOG_HEADER || record.kind == DRAFT_LOG_WRITE ||
		    record.kind == DRAFT_LOG_SIZE)
			s->changed_end = s->log_end;
	}
	return 0;
}

/* Whatever can be read, the last of each thing. */
static int apply_any(const struct scan *scan, struct draft_state *s)
{
	struct draft_log_record record;
	const uint8_t *payload;
	size_t bytes;

	for (uint64_t at = 0; at < scan->len; at += bytes) {
		int r = draft_log_decode(scan->cid, scan->log, scan->len, at, &record, &payload,
					 &bytes);

		if (r == 0)
			r = draft_state_apply(s, &record, payload);
		else
			bytes = 8;
		if (r == -ENOMEM)
			return r;
	}
	return s->boot == 0 ? -EUCLEAN : 0;
}

static int check_length(const struct scan *scan, const struct draft_state *s)
{
	struct stat st = { 0 };

	if (scan->data_fd >= 0 && fstat(scan->data_fd, &st) < 0)
		return -errno;
	return (uint64_t)st.st_size < s->data_end ? -EUCLEAN : 0;
}

int draft_load(uint64_t cid, uint64_t boot, int log_fd, int data_fd, bool any,
	       struct draft_state *ret)
{
	struct scan scan = { .cid = cid, .data_fd = data_fd };
	struct draft_state s = { 0 };
	int r = read_log(&scan, log_fd);

	if (r == 0 && any) {
		r = apply_any(&scan, &s);
	} else if (r == 0) {
		r = find_end(&scan, boot);
		if (r == 0)
			r = apply_all(&scan, &s);
		if (r == 0)
			r = check_length(&scan, &s);
		s.boot = scan.boot;
		if (r == 0 && (scan.end < scan.len || s.is_cut) && scan.is_foreign)
			s.is_cut = true;
	}
	free(scan.log);
	if (r < 0) {
		draft_state_fini(&s);
		return r == -ENODATA || r == -EBADMSG || r == -EAGAIN || r == -ENOBUFS ? -EUCLEAN
										       : r;
	}
	*ret = s;
	return 0;
}

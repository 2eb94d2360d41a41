/* The hash, removing, handing over. */
#include "draft_file.h"

#include "draft_disk.h"

#include <errno.h>
#include <string.h>

enum { HASH_STEP = 1 << 20 };

/* --- the hash --- */

static int hash_all(struct draft *d, uint64_t size, struct quickxor *sum)
{
	auto_free void *buf = malloc(HASH_STEP);

	if (!buf)
		return -ENOMEM;
	quickxor_init(sum);
	for (uint64_t at = 0; at < size;) {
		ssize_t n = draft_read(d, at, buf, size - at < HASH_STEP ? size - at : HASH_STEP);

		if (n <= 0)
			return n < 0 ? (int)n : -EAGAIN;
		quickxor_add(sum, at, buf, (size_t)n);
		at += (uint64_t)n;
	}
	return 0;
}

/* Notes it, if it still is the hash. */
static int seal(struct draft *d, uint64_t version, const uint8_t hash[QUICKXOR_BYTES])
{
	struct draft_log_record record = { .kind = DRAFT_LOG_SEAL, .version = version };
	int r = draft_begin_change(d);

	if (r < 0)
		return r;
	if (d->s.version != version) {
		r = -EAGAIN;
	} else {
		record.a = d->s.size;
		r = draft_append(d, &record, hash, QUICKXOR_BYTES);
	}
	if (r == 0) {
		mutex_lock(&d->dir->lock);
		memcpy(d->s.hash, hash, QUICKXOR_BYTES);
		d->s.has_hash = true;
		mutex_unlock(&d->dir->lock);
	}
	draft_end_turn(d, DRAFT_TURN);
	return r;
}

int draft_hash(struct draft *d, uint8_t ret[QUICKXOR_BYTES])
{
	uint8_t hash[QUICKXOR_BYTES];
	uint64_t version, size;
	struct quickxor sum;
	bool has;
	int r;

	draft_take_turn(d, DRAFT_TURN);
	has = d->s.has_hash;
	version = d->s.version;
	size = d->s.size;
	if (has)
		memcpy(hash, d->s.hash, sizeof(hash));
	draft_end_turn(d, DRAFT_TURN);
	if (!has) {
		r = hash_all(d, size, &sum);
		if (r < 0)
			return r;
		quickxor_finish(&sum, size, hash);
		r = seal(d, version, hash);
		/* Without the note it is as right; on a full disk there is none. */
		if (r == -EAGAIN)
			return r;
	}
	memcpy(ret, hash, sizeof(hash));
	return 0;
}

/* --- the end of a draft --- */

/* Alone, and nobody opens it meanwhile. -EBUSY: not the only handle. */
static int begin_leaving(struct draft *d, bool only)
{
	int r = 0;

	mutex_lock(&d->dir->lock);
	while (d->is_settling)
		mutex_wait(&d->dir->lock, &d->dir->settled);
	if (d->is_removed)
		r = -ENOENT;
	else if (only && d->refs_n > 1)
		r = -EBUSY;
	else
		d->is_settling = true;
	mutex_unlock(&d->dir->lock);
	if (r == 0)
		draft_take_turn(d, DRAFT_TURN_ALONE);
	return r;
}

static void end_leaving(struct draft *d)
{
	mutex_lock(&d->dir->lock);
	d->is_settling = false;
	mutex_unlock(&d->dir->lock);
	draft_end_turn(d, DRAFT_TURN_ALONE);
}

static int remove_now(struct draft *d)
{
	int r = draft_disk_begin_removal(d->dir->dir_fd, d->cid);

	if (r < 0)
		return r;
	mutex_lock(&d->dir->lock);
	draft_forget(d);
	mutex_unlock(&d->dir->lock);
	return draft_disk_end_removal(d->dir->dir_fd, d->cid);
}

int draft_remove(struct draft *d)
{
	int r = begin_leaving(d, false);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = draft_open_files(d);
	if (r == 0)
		r = remove_now(d);
	end_leaving(d);
	return r;
}

static int give(struct draft *d, uint64_t version, int to_fd, const char *name)
{
	struct draft_range gap;
	int r;

	if (d->s.version != version)
		return -EAGAIN;
	if (draft_ranges_gap(&d->s.ranges, 0, d->s.base_end, &gap))
		return -ENODATA;
	r = draft_open_files(d);
	if (r == 0)
		r = draft_make_data(d);
	if (r == 0)
		r = draft_trim(d);
	if (r < 0)
		return r;
	/* More than it counts: to be cut if the draft stays. */
	d->is_ragged = true;
	if (ftruncate(d->data_fd, (off_t)d->s.size) < 0)
		return -errno;
	return draft_disk_give(d->dir->dir_fd, d->cid, d->data_fd, to_fd, name);
}

int draft_take(struct draft *d, uint64_t version, int to_fd, const char *name)
{
	/* So that the file may be made as long as the draft is. */
	int r = draft_sync(d);

	if (r == 0)
		r = begin_leaving(d, true);

	if (r < 0)
		return r;
	r = give(d, version, to_fd, name);
	if (r == 0)
		r = remove_now(d);
	end_leaving(d);
	return r;
}

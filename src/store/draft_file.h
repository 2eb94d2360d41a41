/*
 * Drafts in memory: private to src/store/draft*.c.
 *
 *   draft.c         begin and end, opening and closing
 *   draft_list.c    what is in the directory
 *   draft_load.c    reading a log
 *   draft_io.c      changing and reading
 *   draft_sync.c    syncing, and shorter logs
 *   draft_give.c    the hash, removing, handing over
 *   draft_log.c     records of the log
 *   draft_ranges.c  sets of ranges
 *   draft_disk.c    files
 *
 * In memory are drafts that are open or not yet synced. Whoever changes one takes its turn: a flag
 * under the lock, for which others wait. What is in memory is changed with the turn and the lock;
 * so it may be read with either.
 */
#pragma once

#include "draft.h"
#include "draft_log.h"
#include "draft_ranges.h"
#include "list.h"
#include "mutex.h"

#include <pthread.h>

enum {
	DRAFT_BUCKETS_N = 1024,
	/* The longest data of one record. */
	DRAFT_WRITE_MAX = 1 << 20,
	/* Only a log that is four times as long as it need be is written anew: by draft_sync() from
	 * here on, by whoever writes from there on. */
	DRAFT_LOG_LONG = 1 << 20,
	DRAFT_LOG_TOO_LONG = 8 << 20,
	/* So many are synced one by one. */
	DRAFT_SYNC_SINGLE_MAX = 16,
};

/* What the log says. */
struct draft_state {
	struct draft_header header;
	uint64_t size, base_end;
	uint64_t data_end; /* the data file's length; more than that is not acknowledged */
	uint64_t version;
	struct draft_ranges ranges; /* below base_end */
	bool has_hash;
	uint8_t hash[QUICKXOR_BYTES];
	uint64_t boot;
	uint64_t log_end;
	uint64_t changed_end; /* behind the last record that a power cut must not take */
	uint64_t synced_end;  /* up to here the log and its data are on disk */
	/* The data's length as the log on disk tells it. The file is not made shorter before the
	 * log there says so: a power cut would take what was synced. */
	uint64_t kept_end;
	bool is_cut;
};

struct draft_dir {
	int dir_fd;    /* borrowed */
	uint64_t boot; /* constant; 0: not known */

	struct mutex lock; /* MUTEX_RANK_DRAFT; guards all that follows, drafts included */
	pthread_cond_t settled;
	struct list buckets[DRAFT_BUCKETS_N];
	struct draft_stats stats;
	bool is_syncing; /* a group */
};

struct draft {
	struct draft_dir *dir;
	uint64_t cid;
	struct list node;
	unsigned refs_n;

	bool is_settling; /* being loaded, removed or handed over: whoever opens it waits */
	bool is_busy;     /* somebody has the turn */
	bool is_syncing;  /* somebody uses the descriptors without the turn */
	bool is_removed;  /* and not in the directory */
	bool is_old;      /* the log is of another boot: to be written anew before a change */
	bool is_ragged;   /* a file may be longer than it need be: to be cut before a change */
	bool is_dir_synced;
	int sync_error;
	uint64_t syncing_end;   /* what kept_end becomes */
	int log_fd, data_fd;    /* -1: not open; data_fd also: there is no file yet */
	uint64_t log_room;      /* on disk for the log: a full disk is noticed before the data is */
	uint64_t counted_bytes; /* in the stats */
	struct draft_state s;
};

/* Bits of the turn: also nobody may sync (the log is replaced). */
enum draft_turn { DRAFT_TURN, DRAFT_TURN_ALONE };

/* --- draft.c --- */

void draft_take_turn(struct draft *d, enum draft_turn turn);
void draft_end_turn(struct draft *d, enum draft_turn turn);
/* Opens what is not open; with the turn. */
must_check int draft_open_files(struct draft *d);
/* With the lock. */
bool draft_is_dirty(const struct draft *d);
/* Takes it out of memory's table and out of the stats. */
void draft_forget(struct draft *d) REQUIRES(&d->dir->lock);
void draft_count_bytes(struct draft *d) REQUIRES(&d->dir->lock);

/* --- draft_list.c --- */

/* Ends what a killed process began, and counts. */
must_check int draft_list_begin(struct draft_dir *dir);

/* --- draft_load.c --- */

/*
 * Reads a log. boot: this one. data_fd -1: there is none. -EUCLEAN: it is damaged; -ENOENT: the
 * draft was never made whole, and nothing was written; -EIO ...
 * any: takes whatever is right, for a person to look at, and fails only if not even a header is.
 */
must_check int draft_load(uint64_t cid, uint64_t boot, int log_fd, int data_fd, bool any,
			  struct draft_state *ret);
void draft_state_fini(struct draft_state *s);
/* What a record changes. -EUCLEAN: it says what cannot be; -ENOMEM, -ENOBUFS. */
must_check int draft_state_apply(struct draft_state *s, const struct draft_log_record *record,
				 const uint8_t *payload);

/* --- draft_io.c --- */

/* Takes the turn and makes the files ready for a record. On failure the turn is not taken. */
must_check int draft_begin_change(struct draft *d);
/* Adds a record; with the turn. On failure the log is as before. */
must_check int draft_append(struct draft *d, struct draft_log_record *record, const void *payload,
			    size_t payload_bytes);
/* Makes files as long as they need be; with the turn. */
must_check int draft_trim(struct draft *d);
/* Makes sure that there is a data file; with the turn. */
must_check int draft_make_data(struct draft *d);

/* --- draft_sync.c --- */

/* A new log that says what is, synced like the data; with DRAFT_TURN_ALONE. */
must_check int draft_rewrite(struct draft *d);
bool draft_is_log_long(const struct draft *d, uint64_t limit);

/*
 * Mutexes with a rank and a known holder. A thread takes mutexes in rising rank only; a breach,
 * a second lock of the same mutex and an unlock by a stranger abort in every build.
 *
 * No lock is held across: network, disk, a FUSE reply or notification, a callback.
 */
#pragma once

#include "mem.h"

#include <pthread.h>
#include <stdbool.h>

#if defined(__clang__)
#define MUTEX_ATTR(x) __attribute__((x))
#else
#define MUTEX_ATTR(x)
#endif
#define REQUIRES(lock) MUTEX_ATTR(requires_capability(lock))

/* The whole order, outermost first. A new mutex gets its own line. */
enum mutex_rank {
	MUTEX_RANK_PARK = 1, /* fs/park: parked requests */
	MUTEX_RANK_REPLAY,   /* fs/replay: what replaying threads do */
	MUTEX_RANK_READER,   /* fs/reader: what was seen of processes */
	MUTEX_RANK_NOTIFY,   /* fs/notify: job queue */
	MUTEX_RANK_LISTING,  /* sync/listing: who waits for a directory */
	MUTEX_RANK_INODES,   /* sync/inodes: what the kernel holds */
	MUTEX_RANK_AHEAD,    /* sync/ahead: reads to look at */
	MUTEX_RANK_CONTENT,  /* sync/content: open versions */
	MUTEX_RANK_ROWS,     /* sync/rows: rows of files that were opened */
	MUTEX_RANK_DRIVE,    /* sync/drive: the quota */
	MUTEX_RANK_FETCH,    /* sync/fetch: blocks in flight and their waiters */
	MUTEX_RANK_DRAFT,    /* store/draft: drafts in memory */
	MUTEX_RANK_CACHE,    /* store/cache: open content files */
	MUTEX_RANK_CACHE_DB, /* store/cache_db: who writes */
	MUTEX_RANK_DBPOOL,   /* store/dbpool: connections that read */
	MUTEX_RANK_LANE,     /* loop/lane: job queue */
	MUTEX_RANK_RESOLVE,  /* net/resolve: does anybody still want the answer */
	MUTEX_RANK_LOOP,     /* loop/loop: posted calls */
	MUTEX_RANK_LOG,      /* base/logsink: the log file */
};

struct MUTEX_ATTR(capability("mutex")) mutex {
	pthread_mutex_t m;
	_Atomic(pthread_t) holder;
	enum mutex_rank rank;
};

void mutex_init(struct mutex *m, enum mutex_rank rank);
void mutex_fini(struct mutex *m);
void mutex_lock(struct mutex *m) MUTEX_ATTR(acquire_capability(m));
void mutex_unlock(struct mutex *m) MUTEX_ATTR(release_capability(m));
/* True when the calling thread holds it. */
bool mutex_is_held(const struct mutex *m);
/* Waits with the mutex released, as pthread_cond_wait(). */
void mutex_wait(struct mutex *m, pthread_cond_t *cond) REQUIRES(m);
/* As mutex_wait(), but at most ms; false when the time ran out. cond uses CLOCK_MONOTONIC
 * (mutex_cond_init()). */
must_check bool mutex_wait_ms(struct mutex *m, pthread_cond_t *cond, unsigned ms) REQUIRES(m);
void mutex_cond_init(pthread_cond_t *cond);

/*
 * The parts of fetching: private to src/sync/fetch*.c.
 *
 *   fetch.c          files, streams, reads; any thread
 *   fetch_pump.c     what is asked next, what a failure means; loop thread
 *   fetch_segment.c  one ranged request: from bytes to blocks in the cache to those who wait
 *   fetch_url.c      is it still this version, and where are its bytes; loop thread
 */
#pragma once

#include "fetch.h"
#include "lane.h"
#include "list.h"
#include "loop.h"
#include "mutex.h"
#include "pace.h"
#include "pattern.h"
#include "urls.h"

#include <stdatomic.h>
#include <sys/types.h>

enum {
	FETCH_BLOCK = CACHE_BLOCK_BYTES,
	FETCH_SEGMENT_BLOCKS = PACE_SEGMENT_MAX / FETCH_BLOCK, /* bits of pending */
	FETCH_SEGMENT_MIN = PACE_SEGMENT_MIN / FETCH_BLOCK,
	FETCH_FILE_SEGMENTS = 10, /* requests of one file at a time */
	FETCH_SMALL_BLOCKS = 4,   /* a file of up to 1 MiB is asked for whole */
	FETCH_POOL_BLOCKS = 32,   /* kept for the next requests while any is on its way */
	FETCH_READ_MAX = 8 << 20, /* one read; bits of fetch_wait.got */
	FETCH_TICK_MS = 100,
};

struct fetch {
	struct loop *loop;
	struct cache *cache;
	struct fetch_source source;
	void (*on_gone)(void *arg, uint64_t ino);
	void *arg;
	uint64_t stall_ms;
	struct lane *lane; /* cache writes */
	atomic_bool is_reachable;
	atomic_bool is_uncached; /* the last write to the cache failed */
	atomic_uint_fast64_t requests_n, fetched_bytes, in_flight_n;

	struct loop_timer tick; /* loop */
	struct urls *urls;      /* loop */
	struct pace pace;       /* loop, but for its results */
	atomic_uint ahead_n;    /* requests of read-ahead that are on their way */
	bool is_starved;        /* loop: one waits for memory or for others to end */
	atomic_bool has_room;   /* memory or a request ended since */

	struct mutex lock; /* MUTEX_RANK_FETCH; guards what follows, and what says so below */
	struct list files;
	uint64_t files_n, parked_n;
	uint64_t memory_n; /* blocks */
	struct list pool;  /* of blocks of full size */
	unsigned pool_n;
};

struct fetch_file {
	struct fetch *fetch;
	struct fetch_version version; /* constant; strings owned */
	uint8_t hash[20];
	struct cache_pin pin; /* of fetch->cache, if there is one */
	/* Set by the first read, before anything else looks at it. NULL: it cannot be cached. */
	struct cache_file *cache;
	atomic_bool has_looked;
	atomic_uint_fast64_t size;
	/* Rises when what was handed out may be damaged: reads begin again. */
	atomic_uint drops_n;

	/* fetch->lock */
	struct list node, streams, waits, segments;
	struct loop_call kick;
	bool is_kicked, is_closed;
	bool was_kicked;    /* the loop knows it */
	bool wants_recheck; /* the hash was wrong: ask for the version again */
	bool had_block;
	int dead;        /* -ESTALE, -EIO: nothing is fetched any more */
	unsigned jobs_n; /* on the lane */

	/* Loop. */
	struct graph_call *info_call;
	struct urls_known known; /* tags: of content that is of this version */
	unsigned tag_at;
	bool is_looked_up; /* in the table of URLs */
	bool is_proven;    /* a block came from known.url */
	uint64_t odd_size; /* what a reply said that differed; 0 none */
	unsigned fails_n;  /* since the last block */
	unsigned round;    /* rises with each of them: requests of one round fail together */
	uint64_t retry_ms; /* not before */
	int failed;        /* for all who wait; 0 */
	bool is_stalled;   /* a read gave up waiting */
};

struct fetch_stream {
	struct list node; /* fetch->lock, as all that follows */
	struct fetch_file *file;
	struct pattern pattern;
	/* Constant once it reads. */
	bool is_background;
	uint64_t limit; /* nothing behind it is fetched */
};

struct fetch_wait {
	struct list node; /* fetch->lock */
	struct fetch_read *read;
	struct fetch_file *file;
	uint64_t off, len;
	uint64_t reach;    /* where what it and its reader want ends */
	uint64_t first, n; /* blocks */
	uint64_t got;      /* bits, fetch->lock */
	uint64_t since_ms; /* began, or got a block; fetch->lock */
	ssize_t result;
};

struct fetch_block {
	struct list node;
	struct lane_job job;
	struct fetch_segment *seg;
	uint64_t index;
	size_t len, want, room;
	char data[];
};

/* A request to be made. */
struct fetch_plan {
	uint64_t first, n;  /* blocks */
	bool is_ahead;      /* nobody waits for it yet */
	bool is_background; /* nor does anybody for what it was made for */
	bool is_whole;      /* all of a small file, whoever wants it */
};

struct fetch_segment {
	struct list node; /* fetch->lock */
	struct fetch_file *file;
	uint64_t first, n;
	bool is_ahead, is_background, is_whole;
	uint64_t pending; /* fetch->lock: blocks that nobody has yet */

	/* Loop. */
	struct graph_call *call; /* NULL: ended */
	struct fetch_block *filling;
	uint64_t next; /* block that comes next */
	uint64_t progress_ms;
	uint64_t begun_us, first_us, last_us, got_bytes;
	unsigned round;
	struct list held; /* blocks of a reply whose version is not certain yet */
	bool has_head, is_certain, is_asked;
	char *etag;
};

static inline uint64_t fetch_blocks_n(uint64_t size)
{
	return (size + FETCH_BLOCK - 1) / FETCH_BLOCK;
}

/* --- fetch.c --- */

/* Has the file looked at on the loop. With the lock. */
void fetch_kick(struct fetch_file *file);
/* Takes a wait out, with the lock; its read is answered by fetch_finish() without it. */
void fetch_claim(struct fetch_wait *w, ssize_t result, struct list *claimed);
void fetch_finish(struct list *claimed);
/* Answers all reads that wait for the file. */
void fetch_fail_all(struct fetch_file *file, int error);
/* The content has another length: nothing of it was handed out yet. Loop thread. */
void fetch_resize(struct fetch_file *file, uint64_t size);
/* Frees a closed file that nothing refers to. Loop thread. */
void fetch_destroy(struct fetch_file *file);

/* --- fetch_pump.c --- */

/* Brings the file forward. Loop thread, never from a callback of the source. */
void fetch_pump(struct fetch_file *file);
void fetch_pump_on_tick(void *arg);
/* A request for the file failed. The next pump goes on from there. */
void fetch_pump_failed(struct fetch_file *file, int error);
/* The service has another version: nothing more is fetched. */
void fetch_pump_gone(struct fetch_file *file);

/* --- fetch_segment.c --- */

must_check int fetch_segment_start(struct fetch_file *file, const struct fetch_plan *plan);
/* Its version is certain now: what it holds goes on. */
void fetch_segment_release(struct fetch_segment *seg);
/* Ends the request, drops what it holds. */
void fetch_segment_cancel(struct fetch_segment *seg);
/* Frees the pool. With the lock. */
void fetch_segment_drain(struct fetch *fetch);
/* With the lock. */
bool fetch_segment_has(const struct fetch_segment *seg, uint64_t block);
void fetch_segment_free(struct fetch_segment *seg);

/* --- fetch_url.c --- */

/* The URL may be used. Else it is being asked for, or the file failed. */
bool fetch_url_ready(struct fetch_file *file);
/* Asks whether the service still has this version. */
void fetch_url_ask(struct fetch_file *file);
void fetch_url_forget(struct fetch_file *file);
/* The file goes: what is known of its URL may serve the next open. */
void fetch_url_keep(struct fetch_file *file);
/* Is content with this entity tag known to be of the version? */
bool fetch_url_is_good(const struct fetch_file *file, const char *etag);
void fetch_url_add_good(struct fetch_file *file, const char *etag);

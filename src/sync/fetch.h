/*
 * From a version of a content and a range of it to bytes: cached blocks are read at once, missing
 * ones are asked from the service in ranged requests of 1 to 16 MiB, block by block written to
 * the cache on a disk lane, and handed from there to whoever waits for them.
 *
 *  - A block is on its way once at a time, however many readers wait for it.
 *  - A reader is answered when its own bytes are there, not at the end of a request.
 *  - Readers in sequence or in strides get what comes next ahead of time (pattern.h), as much as
 *    the line can carry (pace.h), over several connections; random readers get one block.
 *  - All requests together hold no more than FETCH_MEMORY_BLOCKS blocks in memory, and beyond
 *    them one for each reader that waits, so that none starves behind a slow disk.
 *  - A URL is asked for once and remembered, also across opens (urls.h).
 *  - Every wait has a deadline: FETCH_STALL_MS without progress; FETCH_LATER_STALLS times that for
 *    background reads, which may have to let others go first.
 *  - Requests belong to the loop thread, cache writes to the lane, the table of waiters to
 *    whoever holds the lock.
 */
#pragma once

#include "cache.h"
#include "graph.h"
#include "mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct fetch;
struct fetch_file;   /* one version that is open */
struct fetch_stream; /* one reader of it, with its read-ahead */

enum {
	FETCH_STALL_MS = 9000,
	FETCH_LATER_STALLS = 7,
	FETCH_MEMORY_BLOCKS = 128,
	FETCH_AHEAD_REQUESTS = 8
};

/*
 * Where bytes come from: the calls of graph.h, as pointers so that tests need no sockets. Loop
 * thread; nothing calls back from inside. A call's handle is only given back to cancel.
 */
struct fetch_source {
	void *arg;
	/* Size, tags, hash and a fresh URL of an item. */
	int (*get_info)(void *arg, const char *drive_id, const char *id,
			enum http_priority priority, graph_item_fn fn, void *fn_arg,
			struct graph_call **ret);
	/* The URL alone, when get_info gave none. */
	int (*get_url)(void *arg, const char *drive_id, const char *id, enum http_priority priority,
		       graph_item_fn fn, void *fn_arg, struct graph_call **ret);
	int (*get_content)(void *arg, const struct graph_content *spec, struct graph_call **ret);
	void (*cancel)(void *arg, struct graph_call *call);
};
struct fetch_source fetch_source_graph(struct graph *graph);

/* What pins a version. Strings are copied. */
struct fetch_version {
	const char *drive_id, *id;
	const char *etag, *ctag; /* as the tree's row has them; NULL unknown */
	uint64_t ino;            /* for on_gone and the log */
	uint64_t cid, size;
	int64_t mtime_ns;
	const uint8_t *hash; /* 20 bytes, or NULL */
	/* Of cache_pin(); only looked at by fetch_open(). May be NULL. */
	atomic_uint_fast64_t *used;
};

struct fetch_options {
	struct loop *loop;
	struct cache *cache; /* NULL: nothing is kept */
	struct fetch_source source;
	/* The service has another version now. Loop thread. */
	void (*on_gone)(void *arg, uint64_t ino);
	void *arg;
	uint64_t stall_ms; /* 0: FETCH_STALL_MS */
};
must_check int fetch_new(const struct fetch_options *options, struct fetch **ret);
/* After loop_run() returned, on its thread: turns the loop until what is on its way has ended.
 * Before the source goes. Files and streams that are still open are closed, reads that still wait
 * get -ENODEV. NULL-safe. */
void fetch_free(struct fetch *fetch);
/* Any thread. Unreachable: reads of what is not cached fail at once. */
void fetch_set_reachable(struct fetch *fetch, bool reachable);

/* Can what is fetched be kept? Any thread. */
bool fetch_is_caching(const struct fetch *fetch);

/* Any thread, no I/O: the cache is looked at by the first read. */
must_check int fetch_open(struct fetch *fetch, const struct fetch_version *version,
			  struct fetch_file **ret);
/* Ends its requests; no stream of it may be left. Any thread; returns at once. */
void fetch_close(struct fetch_file *file);
/* The version's real length; that of the metadata until it is read. */
uint64_t fetch_size(const struct fetch_file *file);
must_check int fetch_stream_new(struct fetch_file *file, struct fetch_stream **ret);
/* Before its first read: its reads go after all others, with a longer deadline, and nothing is read
 * ahead of them. */
void fetch_stream_set_background(struct fetch_stream *stream);
/* Before its first read: for this stream nothing is fetched that lies behind the first bytes of the
 * file (whole blocks). Reads of what is not cached there fail with -ENODATA, at once. */
void fetch_stream_set_limit(struct fetch_stream *stream, uint64_t bytes);
/* Its reads are over by then. */
void fetch_stream_free(struct fetch_stream *stream);

/* Bytes (less than len at the end only) when all of them are cached, else -EAGAIN, or -errno when
 * the disk fails. Any thread; needs no storage of its own. */
must_check ssize_t fetch_try(struct fetch_stream *stream, uint64_t off, char *buf, size_t len);

/* A read that waits; storage is the caller's until done ran or fetch_cancel() was true. */
struct fetch_read {
	struct fetch_stream *stream;
	uint64_t off;
	size_t len;
	char *buf;
	/* On the loop thread or a disk lane, without locks; never from inside fetch_start(). */
	void (*done)(struct fetch_read *read, ssize_t got);
	void *wait; /* private */
};
/* Bytes (less than len at the end only), -errno, or *ret_parked and done will be called:
 * -ESTALE the service has another version | -EIO damaged twice | -ENETDOWN | -ETIMEDOUT | -ENODATA
 * behind the stream's limit | what
 * graph_errno() makes of the service's refusal. Any thread; reads the disk, never the network. */
must_check ssize_t fetch_start(struct fetch_read *read, bool *ret_parked);
/* Any thread. True: done will not be called (any more). */
bool fetch_cancel(struct fetch_read *read);

struct fetch_stats {
	uint64_t requests_n; /* ranged requests ever begun */
	uint64_t in_flight_n, parked_n, files_n;
	uint64_t fetched_bytes;
	uint64_t memory_blocks; /* held now: being filled, written, or of a version in doubt */
	uint64_t ahead_n;       /* requests on their way that nobody waited for at their start */
	bool is_caching;        /* the last block could be written to the cache */
};
void fetch_get_stats(struct fetch *fetch, struct fetch_stats *ret);

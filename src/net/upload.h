/*
 * Content that is larger than one request: an upload session of the service as a state machine on
 * the loop. Loop thread only; every callback runs on it, never from inside upload_start().
 *
 * Bytes are asked for a chunk at a time, once for each chunk, and are sent in order: chunks are
 * multiples of 320 KiB, large on a fast line and small on a slow one, so that a broken connection
 * costs seconds. After any lost answer the service is asked which byte it wants next. A session
 * that the service has forgotten is begun again, a bounded number of times; so are chunks that
 * bring no progress. Then the upload ends with the error, and the session stays for a later try.
 *
 * The URL of a session is a secret that needs no token: https only, never logged, never sent with
 * Authorization.
 *
 * Source: learn.microsoft.com/graph driveitem-createuploadsession.
 */
#pragma once

#include "graph_write.h"

struct upload;
struct upload_pool; /* what all uploads of a drive share: memory and the line */

enum { UPLOAD_UNIT = 320 * 1024, UPLOAD_CHUNK_MAX = 191 * UPLOAD_UNIT };

struct upload_options {
	size_t memory_bytes; /* of all chunks that are in memory; at least one chunk. 0: 40 MiB */
	size_t chunk_bytes;  /* the largest chunk, rounded down to units; 0: 10 MiB */
};
must_check int upload_pool_new(struct graph *graph, const struct upload_options *options,
			       struct upload_pool **ret);
/* Uploads must have ended, those that were cancelled had their reads answered. Deletions of
 * sessions that are under way are given up. NULL-safe. */
void upload_pool_free(struct upload_pool *pool);
/* All uploads together send no more than so many bytes in a second, over a chunk or two; 0: no
 * limit. Chunks that are under way keep their pace. */
void upload_pool_set_limit(struct upload_pool *pool, uint64_t bytes_s);
/* Of chunks in memory. */
size_t upload_pool_bytes(const struct upload_pool *pool);

struct upload_spec {
	const char *drive_id;
	const char *id;   /* the file; with a name: the folder that it is in, or shall be */
	const char *name; /* NULL: id is the file */
	enum graph_conflict conflict;
	const char *if_match;       /* NULL: whatever it is. Beginning a session can move an eTag:
				     * after -EBUSY look whether the content is still the base */
	int64_t mtime_ns, btime_ns; /* whole seconds are kept; ITEM_TIME_UNKNOWN: not said */
	uint64_t size;              /* fixed; not 0 */
	/* A session that was begun earlier, for exactly this content; NULL: begin one. Was it
	 * forgotten, the upload ends with -ESTALE and is_unclear: all may have been there before
	 * the answer was lost. */
	const char *url;
	enum http_priority priority;

	/* Puts len bytes from off on into buf, then upload_answer(), at once or later. An upload
	 * never has two reads under way. */
	void (*read)(void *arg, uint64_t off, void *buf, size_t len);
	/* The session, and what the service has of it: to be saved. url NULL: there is no session
	 * any more. May be NULL. Not to cancel from. */
	void (*on_progress)(void *arg, const char *url, uint64_t sent_bytes);
	/* The end. error as that of graph_write(), and besides: what read was answered with |
	 * -ESTALE see url | -EPERM the service gave a URL that is not https. item: NULL on failure,
	 * and when the service has all but does not say what it made of it. */
	graph_item_fn on_done;
	void *arg;
};

/* -EINVAL: no bytes, a name or tag that cannot be sent | -EPERM: url is not https. All strings are
 * copied. ret is valid until on_done. */
must_check int upload_start(struct upload_pool *pool, const struct upload_spec *spec,
			    struct upload **ret);
/* To a read: 0 when all bytes are there, else -errno, which ends the upload and its session. */
void upload_answer(struct upload *upload, int error);
/* No callback after this, but a read that is under way must still be answered; its buffer lives
 * until then. keeps_session: for a later upload with its url; else the service is told to forget
 * it, as far as it can be reached. NULL-safe. */
void upload_cancel(struct upload *upload, bool keeps_session);

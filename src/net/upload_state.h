/* One upload and the pool of all: private to src/net/upload*.c. Loop thread only. */
#pragma once

#include "upload.h"

#include "graph_write_plan.h"
#include "limit.h"

struct upload_pool {
	struct graph *graph;
	size_t memory_bytes, chunk_bytes; /* fixed */
	size_t used_bytes;
	struct list waiting; /* uploads that want memory, in order */
	struct list drops;
	struct limit limit;
	uint64_t pace_bytes_s; /* of one connection, lately; 0: unknown */
};

enum upload_step { UPLOAD_STEP_CREATE, UPLOAD_STEP_ASK, UPLOAD_STEP_SEND, UPLOAD_STEP_PUT };

struct upload {
	struct list node; /* pool->waiting, or alone */
	struct upload_pool *pool;
	struct upload_spec spec; /* strings owned; url is not used after the start */
	char *url;               /* the session; a secret */

	enum upload_step step; /* what the timer begins */
	struct loop_timer timer;
	struct graph_call *call;
	struct http_request *request;
	bool is_reading, is_cancelled;
	int read_error;

	size_t held_bytes; /* of the pool's memory; as many as data has, or is to have */
	char *data;        /* bytes from data_off on, read once */
	uint64_t data_off;

	uint64_t off;      /* what the service wants next */
	uint64_t best_off; /* how far it ever was in this session */
	uint64_t reach;    /* it cannot have more than this */
	size_t put_len;
	uint64_t put_ms;
	size_t chunk_max;
	unsigned tries_n, joins_n, restarts_n;
	bool is_resumed;  /* begun by somebody else, and not heard of yet */
	bool is_fresh;    /* begun here, and no byte taken yet */
	bool was_unknown; /* and said to be unknown once */
	bool may_be_done; /* all bytes were sent and no answer came that counts */
};

/* --- upload_pool.c --- */

/* How many bytes the next chunk is to have. */
size_t upload_pool_chunk_len(const struct upload *u);
/* Memory for a chunk: true, held_bytes says how much; false, UPLOAD_STEP_SEND begins when there is
 * some. */
bool upload_pool_want(struct upload *u);
/* Frees the chunk. */
void upload_pool_give_back(struct upload *u);
/* Tells the service to forget a session; nobody waits for that, as it would do so by itself. */
void upload_pool_drop(struct upload_pool *pool, const char *url);

/* --- upload.c --- */

/* Begins a step after a while. */
void upload_go(struct upload *u, enum upload_step step, uint64_t wait_ms);
/* Between a half and all of a time that doubles with the tries. */
uint64_t upload_backoff_ms(const struct upload *u, unsigned tries_n);
void upload_tell_progress(const struct upload *u);
struct graph_result upload_no_reply(int error, const char *text);
/* What went wrong, as result says, may be over in a while; too often, and it is upload_stop(). */
void upload_try_again(struct upload *u, enum upload_step step, struct graph_result *result);
/* A new session from the first byte; too often, and it is upload_fail(). */
void upload_restart(struct upload *u, bool still_lives, const struct graph_result *result);
/* The service does not know the session. */
void upload_lose_session(struct upload *u, struct graph_result *result);
/* Ends; the session stays for another try. */
void upload_stop(struct upload *u, struct graph_result *result);
/* Ends, with the session. */
void upload_fail(struct upload *u, const struct graph_result *result);
/* The service says that it is done; false: not in words that can be believed, nothing happened. */
bool upload_finish(struct upload *u, long status, const char *body, size_t len);
void upload_free(struct upload *u);

/* --- upload_chunk.c --- */

/* The steps. begin_chunk may end the upload; the others return -errno, and nothing was begun. */
void upload_begin_chunk(struct upload *u);
must_check int upload_ask(struct upload *u);
must_check int upload_put(struct upload *u);

/* One request of a test and what became of it; a loop that stops when all have ended. */
#pragma once

#include "buf.h"
#include "http.h"
#include "loop.h"

struct bench {
	struct loop *loop;
	struct http *http;
	unsigned open_n;            /* requests that have not ended */
	struct loop_timer patience; /* a test that hangs fails instead */
	bool is_late;
};

struct fetch {
	struct bench *bench;
	struct http_request *request; /* NULL: has ended */
	int error;
	long status;
	unsigned ends_n, heads_n;
	int64_t content_length;
	struct buf body;
	char location[256], etag[64], content_range[64], retry_after[64];
	uint64_t ended_ms;
};

void bench_init(struct bench *b, const struct http_options *options);
void bench_fini(struct bench *b);
/* One turn of the loop, for waiting on something that is not a request's end. */
void bench_turn(struct bench *b);
/* Runs the loop until every request has ended; fails after ten seconds. */
void bench_run(struct bench *b);

/* Starts it; spec's callbacks that are NULL, its arg, limits and method get defaults. */
int fetch_start(struct fetch *f, struct bench *b, struct http_spec spec);
void fetch_fini(struct fetch *f);

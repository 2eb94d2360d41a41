/*
 * A service of one item for tests of fetching: a fetch_source that answers from memory, in turns
 * of the loop. Its fields are used on the loop thread only: fake_do() runs a function there.
 */
#pragma once

#include "fetch.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

struct fake_source {
	struct loop *loop;
	pthread_t thread;

	/* The item as the service has it now. */
	int version; /* decides every byte */
	uint64_t size;
	char etag[32], ctag[32];
	int64_t mtime_ns;

	/* What its content replies say. */
	char content_etag[32];  /* "": the item's etag; "-": none */
	uint64_t content_total; /* 0: the size */

	/* Faults: for the next n requests. */
	int info_error, content_error;
	unsigned info_errors_n, content_errors_n;
	unsigned truncate_n; /* end after truncate_at bytes */
	uint64_t truncate_at;
	unsigned damage_n;     /* one byte is wrong */
	bool is_holding;       /* requests for content get no answer until fake_release() */
	bool is_holding_items; /* the same for the item, until fake_release_items() */
	bool has_no_url;       /* the item comes without its URL */

	atomic_uint infos_n, urls_n, contents_n, cancelled_n; /* any thread */
	atomic_uint later_n; /* requests that were not a person's */
	struct list held, held_items;
};

/* Makes a loop; fake_start() runs it on a thread of its own. */
void fake_init(struct fake_source *fake, uint64_t size);
void fake_start(struct fake_source *fake);
/* Stops the loop; then the fetch may be freed. */
void fake_stop(struct fake_source *fake);
void fake_fini(struct fake_source *fake);
struct fetch_source fake_ops(struct fake_source *fake);

/* Runs fn on the loop thread and waits for it. */
void fake_do(struct fake_source *fake, void (*fn)(struct fake_source *fake));
void fake_release(struct fake_source *fake); /* by fake_do(), as the next */
void fake_release_items(struct fake_source *fake);
/* Another content of the same size, as if somebody had written it. By fake_do(). */
void fake_change(struct fake_source *fake);

char fake_byte(int version, uint64_t off);
bool fake_is_right(int version, uint64_t off, const char *buf, size_t len);
void fake_hash(int version, uint64_t size, uint8_t ret[20]);

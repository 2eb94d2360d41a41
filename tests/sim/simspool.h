/*
 * Uploaded bytes, in one file without a name that grows and is gone with the process: an upload of
 * 20 GB takes no memory. Space is handed out in regions and never moves. When the disk is full
 * graphsim says so and ends. One thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Every region has so many bytes more than asked for: room for what the service adds to a file. */
enum { SIMSPOOL_SLACK_BYTES = 64 };

struct simspool {
	int fd; /* -1: nothing was stored yet */
	uint64_t end, stored_bytes_n;
};

void simspool_init(struct simspool *sp);
void simspool_fini(struct simspool *sp);
/* A new region; its bytes are zero until written. */
uint64_t simspool_reserve(struct simspool *sp, uint64_t len);
void simspool_write(struct simspool *sp, uint64_t at, const void *data, size_t len);
void simspool_read(const struct simspool *sp, uint64_t at, void *ret_data, size_t len);
/* Copies bytes of one region into another. */
void simspool_copy(struct simspool *sp, uint64_t from, uint64_t to, uint64_t len);
/* Gives the region's disk space back. */
void simspool_drop(struct simspool *sp, uint64_t at, uint64_t len);

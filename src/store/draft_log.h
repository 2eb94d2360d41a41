/*
 * The log of a draft: records one after the other, each with a checksum that also knows its place
 * and its draft. Private to src/store/draft*.c. No state, no locks; any thread.
 *
 * The first record is a header. In this machine's byte order: a draft does not travel.
 */
#pragma once

#include "draft.h"

enum draft_log_kind {
	DRAFT_LOG_HEADER =
		1,       /* a: magic and format; b: 0; c: the boot it was written in; payload */
	DRAFT_LOG_STATE, /* a: size; b: base_end; c: data_end; only after a header */
	DRAFT_LOG_RANGE, /* a: offset; b: length; known to be on disk */
	DRAFT_LOG_WRITE, /* a: offset; b: length; c: checksum of the data */
	DRAFT_LOG_FILL,  /* the same, of the base */
	DRAFT_LOG_SIZE,  /* a: size */
	DRAFT_LOG_SEAL,  /* a: size; payload: quickXorHash of all of it */
	DRAFT_LOG_MARK,  /* a: data of the records before this place in the log is on disk */
};

#define DRAFT_LOG_MAGIC UINT64_C(0x3154464152444647) /* "GFDRAFT1" */

struct draft_log_record {
	uint32_t sum;
	uint16_t kind;
	uint16_t payload_bytes; /* follows, filled up to a multiple of 8 */
	uint64_t version;       /* of the draft after this */
	uint64_t a, b, c;
};

enum {
	DRAFT_LOG_RECORD_BYTES = 40,
	DRAFT_LOG_PAYLOAD_MAX = DRAFT_PATH_MAX + 4 * DRAFT_TEXT_MAX + 64,
	/* A longer log is not believed. */
	DRAFT_LOG_MAX = 64 << 20,
};
_Static_assert(sizeof(struct draft_log_record) == DRAFT_LOG_RECORD_BYTES, "no holes in it");

/* Room for a record with the longest payload. */
struct draft_log_buf {
	_Alignas(8) uint8_t data[DRAFT_LOG_RECORD_BYTES + DRAFT_LOG_PAYLOAD_MAX];
};

/* Not cryptographic: it finds what a disk or a power cut does. */
uint64_t draft_log_sum(const void *data, size_t len, uint64_t seed);

/* Makes the record that is to stand at this place of the log; sum and payload_bytes are set here.
 * payload_bytes at most DRAFT_LOG_PAYLOAD_MAX. Gives its length. */
size_t draft_log_encode(uint64_t cid, uint64_t at, const struct draft_log_record *record,
			const void *payload, size_t payload_bytes, struct draft_log_buf *ret);
/* The record at this place of a log of len bytes, its payload and its whole length. -EAGAIN: the
 * log ends within it; -EBADMSG: it is not right. */
must_check int draft_log_decode(uint64_t cid, const uint8_t *log, uint64_t len, uint64_t at,
				struct draft_log_record *ret, const uint8_t **ret_payload,
				size_t *ret_bytes);

/* A header as payload. -ENAMETOOLONG; gives its length. */
must_check int draft_log_pack(const struct draft_header *h, uint8_t ret[DRAFT_LOG_PAYLOAD_MAX],
			      size_t *ret_bytes);
/* -EBADMSG, -ENOMEM. */
must_check int draft_log_unpack(const uint8_t *payload, size_t bytes, struct draft_header *ret);

/*
 * Requests that wait: for a listing, for bytes, for a commit. Each is answered exactly once: by
 * what it waits for, by an interrupt (Ctrl-C: EINTR at once), or at shutdown. Any thread.
 *
 * A request has three owners: the answer, the work, and until park_arm() whoever starts the work,
 * which may be over before the call that starts it returns. The storage is freed when all have let
 * go, so whichever comes late finds valid memory and a claim that fails.
 */
#pragma once

#include "list.h"
#include "mem.h"

#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdint.h>

struct park;
struct notify;

/* on_interrupt: what libfuse is given for each parked request; it calls park_interrupt() with the
 * number that stands in data. */
must_check int park_new(struct notify *notify, fuse_interrupt_func_t on_interrupt,
			struct park **ret);
void park_free(struct park *park);

struct parked {
	struct list node; /* guarded by the park's lock, as is all up to refs_n */
	uint64_t number;
	bool is_claimed, is_armed, is_interrupted;
	unsigned refs_n;

	struct park *park;
	fuse_req_t req;
	uint64_t dir; /* its directory, whose notifications wait meanwhile; 0: none */
	/* Tells the work to stop; true: its callback will not come. No lock is held. */
	bool (*cancel)(struct parked *p);
	void (*free)(struct parked *p);
};

/* Parks the request, before the work is started; an interrupt is kept until park_arm(), which must
 * follow in any case. false: the mount is going away and the request is answered; the work must not
 * start, and the storage is freed. */
must_check bool park_begin(struct park *park, struct parked *p);
/* The work is started, or about to be, and can be cancelled from now on; or it was not needed, and
 * the request is answered. Lets go of the starter's part. */
void park_arm(struct parked *p);
/* An interrupt for the request with this number; it may be gone. */
void park_interrupt(struct park *park, uint64_t number);
/* Who gets true answers the request. */
must_check bool park_claim(struct parked *p);
/* The work will not touch it any more. */
void park_unref(struct parked *p);
/* Answers all with ENODEV, and whatever comes later too. */
void park_drain(struct park *park);
unsigned park_n(struct park *park);

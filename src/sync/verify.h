/*
 * Verification: delta tells each deletion once, and the service is known to lose some. So the
 * whole drive is enumerated now and then, in the background and beside delta, and compared with
 * the tree (check.h). An item that the enumeration lacks is asked for by its id, and once more
 * after a while; it is deleted only if the service does not know it both times. What was missed
 * otherwise is brought in by the way. Loop thread only.
 *
 * Only a tree that was crawled is verified: an enumeration would make all of it known.
 */
#pragma once

#include "lane.h"
#include "loop.h"
#include "source.h"
#include "tree.h"

#include <stdbool.h>
#include <stdint.h>

struct verify;

must_check int verify_new(struct loop *loop, struct lane *store, struct tree *tree,
			  const struct source *source, uint64_t every_ms,
			  source_changes_fn on_changes, void *arg, struct verify **ret);
/* As delta_free(). */
void verify_free(struct verify *verify);
/* The service can be reached and delta is in step: begins if every_ms have passed since the last
 * time (0: never). A failure ends it until an hour has passed. */
void verify_look(struct verify *verify);
bool verify_is_running(const struct verify *verify);

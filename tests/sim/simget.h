/*
 * Pre-authenticated download URLs and the host that serves them. The path and query are compared
 * byte for byte with what was given out: a client that decodes and encodes the URL again is
 * noticed. One thread.
 */
#pragma once

#include "sim.h"

/* As a version: whatever the content is when the request comes. That is how the service's own URLs
 * behave: only the reply's ETag and length tell that a new version answers. */
enum { SIMGET_CURRENT = 0 };

/* Appends the absolute URL of an item's content, good from now for url_lifetime_ms. */
void simget_url(struct sim *s, uint32_t item, uint32_t version, struct simjson *out);
void simget_answer(struct sim *s, struct simreq *req, struct simreply *reply);

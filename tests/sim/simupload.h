/*
 * Upload sessions: createUploadSession on the API host, and the upload URLs, which take fragments,
 * tell where to go on, cancel and commit. One thread.
 */
#pragma once

#include "simroute.h"

struct simupload *simupload_new(void);
void simupload_free(struct simupload *u);

/* POST {item}/createUploadSession */
void simupload_create(struct sim *s, struct simreq *req, struct simreply *reply,
		      const struct simroute *route);
/* PUT {item} with a sourceUrl: what personal drives have in place of a commit. */
void simupload_recommit(struct sim *s, struct simreq *req, struct simreply *reply,
			const struct simroute *route);
/* True: the request on the content host is one of an upload URL. */
bool simupload_is_route(const struct simreq *req);
void simupload_answer(struct sim *s, struct simreq *req, struct simreply *reply);
/* A fault for the time before the body is there. */
struct simcut simupload_cut(struct sim *s, struct simreq *req);
/* Appends the array "sessions". */
void simupload_list(struct sim *s, struct simjson *out);
/* All sessions are gone, as if their time were over. */
void simupload_expire_all(struct sim *s);

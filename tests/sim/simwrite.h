/* The API's calls that change a drive with one request: folders, small files, names, deletions. One
 * thread. */
#pragma once

#include "simroute.h"

/* Of the classes MKDIR, PUT, PATCH, DELETE and PERMANENT_DELETE. */
void simwrite_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		     const struct simroute *route);
/* The request's body; false: 400, it is no JSON object. An empty body is an empty object. The
 * caller puts it. */
bool simwrite_body(const struct simreq *req, struct simreply *reply, struct json_object **ret);
/* The folder that a parentReference of the body names; *ret stays when there is none. False: it is
 * refused. is_any_drive: it may be of another drive. */
bool simwrite_parent(struct sim *s, const struct simreq *req, struct simreply *reply,
		     const struct simroute *route, struct json_object *body, bool is_any_drive,
		     uint32_t *ret);

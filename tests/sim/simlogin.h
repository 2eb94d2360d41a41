/*
 * The sign-in host: device code and refresh grants, and the bearer tokens they give. One thread.
 */
#pragma once

#include "sim.h"

struct simlogin *simlogin_new(void);
void simlogin_free(struct simlogin *l);

/* SIMCLASS_OTHER: the path is none of the sign-in host's. */
enum simclass simlogin_class(const char *path);
bool simlogin_is_route(enum simclass class);
void simlogin_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		     enum simclass class);
/* True when the request bears a token that is good; else the reply is the 401. */
bool simlogin_check(struct sim *s, const struct simreq *req, struct simreply *reply);
/* Every access token is over; refresh tokens stay. */
void simlogin_expire_tokens(struct simlogin *l);
/* Lets device codes that wait for a person through, or not. */
void simlogin_decide(struct simlogin *l, bool is_approved);
/* POST /admin/oauth; NULL or what is wrong with it. */
const char *simlogin_configure(struct simlogin *l, struct json_object *knobs);

/*
 * Requests to graphsim as tables: each row is one request, what its reply has to be, and what of it
 * later rows use. Fails the test when a reply differs. One thread.
 */
#pragma once

#include "simproc.h"

#include <stdbool.h>

enum { SIMTALK_BROKEN = -1 }; /* as a status: the connection ends without a reply */

struct simtalk_step {
	const char *what; /* for messages */
	/* path: behind the API's base; a whole URL is asked without a token; "admin/..." goes to
	 * the admin interface. {name} stands for a saved value, here and below. */
	const char *method, *path;
	const char *heads; /* lines parted by newlines */
	const char *body;  /* text; or else so many bytes of the pattern, from an offset on */
	long bytes_n, from;
	int status;
	/* "name=text;folder/childCount=0": members of the reply by their paths, "code" and "inner"
	 * of an error; "value#" is a number of elements, "header:Name" a header, "body" all. "~"
	 * instead of "=": not that; an empty text also stands for a member that is not there. */
	const char *want;
	const char *save; /* "id=id;tag=eTag": names for such values */
};

struct simtalk {
	struct simproc proc;
	char *token;
	struct {
		char *name, *value;
	} saved[64];
	unsigned saved_n;
};

/* flavour as of --flavour. */
void simtalk_start(struct simtalk *t, const char *flavour);
/* Also fails when graphsim noted a violation. */
void simtalk_stop(struct simtalk *t);
void simtalk_run(struct simtalk *t, const struct simtalk_step *steps, size_t n);
/* Repeats the request until the reply has the status, for some seconds at most. */
void simtalk_until(struct simtalk *t, const struct simtalk_step *step);
/* A saved value. */
const char *simtalk_saved(const struct simtalk *t, const char *name);

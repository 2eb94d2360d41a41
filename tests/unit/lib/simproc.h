/*
 * graphsim (GRAPHSIM_BIN) as a process, its admin interface, and access tokens from its sign-in.
 * Fails the test, or the program during its set-up, when something does not work. One thread.
 */
#pragma once

#include <json-c/json.h>
#include <stddef.h>
#include <sys/types.h>

struct simproc {
	pid_t pid;
	char api[160], login[160], admin[160];
	char ca[160]; /* "" without TLS */
};

/* args: NULL-terminated, behind "--port 0". */
void simproc_start(struct simproc *sim, const char *const *args);
/* Fails when the client broke a rule of the service's protocols. */
void simproc_stop(struct simproc *sim);

/* POSTs JSON to the admin interface. */
void simproc_do(struct simproc *sim, const char *path, const char *body);
/* A fresh access token; caller frees. */
char *simproc_token(struct simproc *sim);
/* Asks Graph for a notification URL of /me/drive, as a caller of the library would; caller frees.
 */
char *simproc_endpoint(struct simproc *sim, const char *token);

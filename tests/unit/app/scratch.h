/* A directory for one test program, and standard error as text. One thread. */
#pragma once

struct scratch {
	char path[40];
	int fd;
};

void scratch_open(struct scratch *s);
/* With all that is in it. */
void scratch_close(struct scratch *s);
void scratch_write(struct scratch *s, const char *name, const char *text);

/* Runs fn with the log going to a file; gives what was logged. Caller frees. */
char *scratch_log_of(void (*fn)(void *arg), void *arg);

/*
 * Changes of the drives: the way of files and their contents into the tree, for the API's callers
 * and for "somebody else", as the admin interface and the seeds ask for him. One thread.
 */
#pragma once

#include "sim.h"

/* The times that a client gives; 0: not given. */
struct simchange_times {
	int64_t mtime_ms, created_ms;
};

void simchange_set_times(struct sim *s, uint32_t item, const struct simchange_times *times);
/* A new file with its content, as one change. Errors of simtree_add(). */
must_check int simchange_add_file(struct sim *s, uint32_t folder, const char *name, size_t len,
				  const struct simbytes_ref *content,
				  const struct simchange_times *times, uint32_t *ret_item);
void simchange_write_file(struct sim *s, uint32_t item, const struct simbytes_ref *content,
			  const struct simchange_times *times);

/*
 * One operation: "create", "mkdir", "write", "move", "delete", "touch", "protect" or "raw_item"
 * with its arguments (README.md). On success appends an object that tells the item and the time of
 * the change to out and gives NULL; else what is wrong, and *ret_status an HTTP status.
 */
const char *simchange_run(struct sim *s, const char *op, struct json_object *args,
			  struct simjson *out, int *ret_status);

/* For seeds. Missing folders of the path are made. Ends the program when it cannot. */
uint32_t simchange_make_folder(struct sim *s, unsigned drive, const char *path);
uint32_t simchange_make_file(struct sim *s, unsigned drive, const char *path,
			     enum simbytes_kind kind, uint64_t size, const char *text,
			     int64_t mtime_ms);

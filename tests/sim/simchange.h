/*
 * Changes by "somebody else", as the admin interface and the seeds ask for them. One thread.
 */
#pragma once

#include "sim.h"

/*
 * One operation: "create", "mkdir", "write", "move", "delete", "touch" or "raw_item" with its
 * arguments (README.md). On success appends an object that tells the item and the time of the
 * change to out and gives NULL; else what is wrong, and *ret_status an HTTP status.
 */
const char *simchange_run(struct sim *s, const char *op, struct json_object *args,
			  struct simjson *out, int *ret_status);

/* For seeds. Missing folders of the path are made. Ends the program when it cannot. */
uint32_t simchange_make_folder(struct sim *s, unsigned drive, const char *path);
uint32_t simchange_make_file(struct sim *s, unsigned drive, const char *path,
			     enum simbytes_kind kind, uint64_t size, const char *text,
			     int64_t mtime_ms);

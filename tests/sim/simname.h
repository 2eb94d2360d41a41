/*
 * The service's rules for names. Source: the naming rules of OneDrive and SharePoint, as listed in
 * their public support pages. One thread.
 */
#pragma once

#include "sim.h"

/* NULL when the folder may have an item of this name; else the inner code of the error: invalidPath
 * or pathIsTooLong. Whether the name is taken is another matter. */
const char *simname_check(struct sim *s, uint32_t folder, const char *name, size_t len,
			  bool is_folder);
/* The first free one of "a 1.txt", "a 2.txt" ...; the caller frees. */
char *simname_free(struct sim *s, uint32_t folder, const char *name, bool is_folder);

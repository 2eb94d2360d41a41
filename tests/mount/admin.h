/* Small pieces between the harness and the simulated service's admin interface. */
#pragma once

#include <json-c/json.h>
#include <stddef.h>

/* Copies a string member; an absent or null one gives "". */
void admin_copy(struct json_object *obj, const char *key, char *ret, size_t size);

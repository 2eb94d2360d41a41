/*
 * What "graphfs status" tells a person. Pure, but for the local time zone; any thread.
 */
#pragma once

#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

/* status: a mount's answer to "status"; what it lacks is left out. now: the wall clock. */
void statusline_print(FILE *to, struct json_object *status, time_t now);

/* Changes by "somebody else", in the words of the admin interface. */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Takes the arguments. Gives the time of the change. */
static uint64_t change(struct harness *h, const char *call, struct json_object *args)
{
	struct json_object *reply =
		harness_admin(h, "POST", call, "%s", json_object_to_json_string(args));
	struct json_object *at;
	uint64_t ns;

	assert_true(json_object_object_get_ex(reply, "at_ns", &at));
	ns = (uint64_t)json_object_get_int64(at);
	json_object_put(reply);
	json_object_put(args);
	return ns;
}

static struct json_object *of_path(const char *path)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "path", json_object_new_string(path));
	return args;
}

static struct json_object *with_size(struct json_object *args, uint64_t size)
{
	json_object_object_add(args, "size", json_object_new_int64((int64_t)size));
	return args;
}

static struct json_object *with_text(struct json_object *args, const char *key, const char *text)
{
	json_object_object_add(args, key, json_object_new_string(text));
	return args;
}

uint64_t harness_create(struct harness *h, const char *path, uint64_t size)
{
	return change(h, "/create", with_size(of_path(path), size));
}

uint64_t harness_create_text(struct harness *h, const char *path, const char *text)
{
	return change(h, "/create", with_text(of_path(path), "text", text));
}

uint64_t harness_mkdir(struct harness *h, const char *path)
{
	return change(h, "/mkdir", of_path(path));
}

uint64_t harness_write(struct harness *h, const char *path, uint64_t size)
{
	return change(h, "/write", with_size(of_path(path), size));
}

uint64_t harness_write_text(struct harness *h, const char *path, const char *text)
{
	return change(h, "/write", with_text(of_path(path), "text", text));
}

uint64_t harness_move(struct harness *h, const char *path, const char *to)
{
	return change(h, "/move", with_text(of_path(path), "to", to));
}

uint64_t harness_delete(struct harness *h, const char *path)
{
	return change(h, "/delete", of_path(path));
}

uint64_t harness_touch(struct harness *h, const char *path, int64_t mtime_s)
{
	struct json_object *args = of_path(path);

	json_object_object_add(args, "mtime", json_object_new_int64(mtime_s));
	return change(h, "/touch", args);
}

void harness_fault(struct harness *h, const char *fmt, ...)
{
	char *rule = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&rule, fmt, ap) >= 0);
	va_end(ap);
	json_object_put(harness_admin(h, "POST", "/faults", "%s", rule));
	free(rule);
}

void harness_no_faults(struct harness *h)
{
	json_object_put(harness_admin(h, "DELETE", "/faults", NULL));
}

#include "admin.h"
#include "harness.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void admin_copy(struct json_object *obj, const char *key, char *ret, size_t size)
{
	struct json_object *member;

	ret[0] = '\0';
	if (json_object_object_get_ex(obj, key, &member) && member)
		snprintf(ret, size, "%s", json_object_get_string(member));
}

struct reply {
	char *data;
	size_t len;
};

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	struct reply *r = arg;

	r->data = realloc(r->data, r->len + size * n + 1);
	assert_non_null(r->data);
	memcpy(r->data + r->len, data, size * n);
	r->len += size * n;
	r->data[r->len] = '\0';
	return size * n;
}

static long perform(struct harness *h, const char *method, const char *path, const char *body,
		    struct reply *reply)
{
	static CURL *curl; /* kept: the connection is used again */
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	char url[4096];
	long status = 0;
	CURLcode rc;

	if (!curl)
		curl = curl_easy_init();
	assert_non_null(curl);
	curl_easy_reset(curl);
	snprintf(url, sizeof(url), "%s%s", h->admin, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 60000L);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	rc = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_slist_free_all(headers);
	if (rc != CURLE_OK)
		fail_msg("%s %s: %s", method, url, curl_easy_strerror(rc));
	return status;
}

static struct json_object *call(struct harness *h, const char *method, const char *path,
				const char *body)
{
	struct reply reply = { 0 };
	long status = perform(h, method, path, body, &reply);
	struct json_object *obj;

	if (status / 100 != 2)
		fail_msg("admin %s %s %s: %ld %s", method, path, body ? body : "", status,
			 reply.data ? reply.data : "");
	obj = reply.len > 0 ? json_tokener_parse(reply.data) : NULL;
	free(reply.data);
	return obj;
}

struct json_object *harness_admin(struct harness *h, const char *method, const char *path,
				  const char *fmt, ...)
{
	char *body = NULL;
	struct json_object *obj;
	va_list ap;

	if (fmt) {
		va_start(ap, fmt);
		assert_true(vasprintf(&body, fmt, ap) >= 0);
		va_end(ap);
	}
	obj = call(h, method, path, body);
	free(body);
	return obj;
}

void harness_do(struct harness *h, const char *path, uint64_t *ret_ns, const char *fmt, ...)
{
	char *body = NULL;
	struct json_object *obj, *member;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&body, fmt, ap) >= 0);
	va_end(ap);
	obj = call(h, "POST", path, body);
	free(body);
	if (ret_ns) {
		assert_true(json_object_object_get_ex(obj, "at_ns", &member));
		*ret_ns = (uint64_t)json_object_get_int64(member);
	}
	json_object_put(obj);
}

bool harness_try(struct harness *h, const char *path, const char *fmt, ...)
{
	struct reply reply = { 0 };
	char *body = NULL;
	long status;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&body, fmt, ap) >= 0);
	va_end(ap);
	status = perform(h, "POST", path, body, &reply);
	free(body);
	free(reply.data);
	return status / 100 == 2;
}

int64_t harness_counter(struct harness *h, const char *name)
{
	struct json_object *obj = call(h, "GET", "/counters", NULL), *member;
	int64_t value = 0;

	if (json_object_object_get_ex(obj, name, &member))
		value = json_object_get_int64(member);
	json_object_put(obj);
	return value;
}

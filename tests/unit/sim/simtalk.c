#include "simtalk.h"

#include <curl/curl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

struct reply {
	long status;
	char *text, *heads;
	size_t len, heads_len;
	struct json_object *json;
};

void simtalk_start(struct simtalk *t, const char *flavour)
{
	const char *args[] = { "--flavour", flavour, NULL };

	*t = (struct simtalk){ 0 };
	simproc_start(&t->proc, args);
	t->token = simproc_token(&t->proc);
}

void simtalk_stop(struct simtalk *t)
{
	simproc_stop(&t->proc);
	free(t->token);
	for (unsigned i = 0; i < t->saved_n; i++) {
		free(t->saved[i].name);
		free(t->saved[i].value);
	}
}

/* --- saved values --- */

const char *simtalk_saved(const struct simtalk *t, const char *name)
{
	for (unsigned i = t->saved_n; i > 0; i--)
		if (strcmp(t->saved[i - 1].name, name) == 0)
			return t->saved[i - 1].value;
	fail_msg("%s was not saved", name);
	return NULL;
}

/* The text with every {name} replaced; braces of JSON stay. The caller frees. */
static char *expand(const struct simtalk *t, const char *text)
{
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	while (*text) {
		size_t n = *text == '{' ? strspn(text + 1, "abcdefghijklmnopqrstuvwxyz") : 0;

		if (n > 0 && text[n + 1] == '}') {
			char *name = strndup(text + 1, n);

			(void)fputs(simtalk_saved(t, name), f);
			free(name);
			text += n + 2;
		} else {
			(void)fputc(*text++, f);
		}
	}
	(void)fclose(f);
	return out;
}

/* --- the request --- */

static size_t on_data(char *data, size_t size, size_t n, void *arg)
{
	return fwrite(data, size, n, arg) * size;
}

static char *pattern(long from, long n)
{
	char *data = malloc((size_t)n + 1);

	assert_non_null(data);
	for (long i = 0; i < n; i++)
		data[i] = (char)(7 * (from + i) + 3);
	return data;
}

static char *url_of(const struct simtalk *t, const struct simtalk_step *step, bool *ret_is_api)
{
	char *path = expand(t, step->path), *url = NULL;
	const char *base = strncmp(path, "admin/", 6) == 0 ? t->proc.admin : t->proc.api;
	const char *rest = base == t->proc.admin ? path + 5 : path;
	int r;

	*ret_is_api = base == t->proc.api && strncmp(path, "http", 4) != 0;
	if (strncmp(path, "http", 4) == 0)
		return path;
	r = asprintf(&url, "%s%s", base, rest);
	assert_true(r > 0);
	free(path);
	return url;
}

static struct curl_slist *heads_of(const struct simtalk *t, const struct simtalk_step *step,
				   bool is_api)
{
	struct curl_slist *list = curl_slist_append(NULL, "Expect:");
	char *heads = expand(t, step->heads ? step->heads : ""), *rest = heads, *line;
	char bearer[6000];

	if (is_api) {
		snprintf(bearer, sizeof(bearer), "Authorization: Bearer %s", t->token);
		list = curl_slist_append(list, bearer);
	}
	if (!strstr(heads, "Content-Type:"))
		list = curl_slist_append(list, "Content-Type: application/json");
	while ((line = strsep(&rest, "\n")))
		if (*line)
			list = curl_slist_append(list, line);
	free(heads);
	return list;
}

static void ask(const struct simtalk *t, const struct simtalk_step *step, struct reply *ret)
{
	bool is_api, has_body = step->body || step->bytes_n || strcmp(step->method, "GET") != 0;
	char *url = url_of(t, step, &is_api);
	char *body = step->body ? expand(t, step->body) : pattern(step->from, step->bytes_n);
	long len = step->body ? (long)strlen(body) : step->bytes_n;
	struct curl_slist *heads = heads_of(t, step, is_api);
	FILE *out = open_memstream(&ret->text, &ret->len);
	FILE *head = open_memstream(&ret->heads, &ret->heads_len);
	CURL *curl = curl_easy_init();
	CURLcode r;

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)PATIENCE_MS);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, heads);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_data);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, head);
	if (has_body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	}
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, step->method);
	r = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &ret->status);
	if (r != CURLE_OK)
		ret->status = SIMTALK_BROKEN;
	curl_easy_cleanup(curl);
	curl_slist_free_all(heads);
	(void)fclose(out);
	(void)fclose(head);
	free(body);
	free(url);
	ret->json = json_tokener_parse(ret->text);
}

static void drop(struct reply *r)
{
	json_object_put(r->json);
	free(r->text);
	free(r->heads);
}

/* --- the reply --- */

static char *header(const struct reply *r, const char *name)
{
	const char *at = r->heads;

	for (; at && *at; at = strchr(at, '\n'), at = at ? at + 1 : NULL)
		if (strncasecmp(at, name, strlen(name)) == 0 && at[strlen(name)] == ':')
			return strndup(at + strlen(name) + 2,
				       strcspn(at + strlen(name) + 2, "\r\n"));
	return strdup("");
}

/* The caller frees; "" when it is not there. */
static char *value_of(const struct reply *r, const char *key)
{
	struct json_object *obj = r->json;
	char path[200], number[32], *rest = path, *part;

	if (strncmp(key, "header:", 7) == 0)
		return header(r, key + 7);
	if (strcmp(key, "body") == 0)
		return strdup(r->text);
	snprintf(path, sizeof(path), "%s",
		 strcmp(key, "code") == 0    ? "error/code"
		 : strcmp(key, "inner") == 0 ? "error/innerError/code"
					     : key);
	while (obj && (part = strsep(&rest, "/"))) {
		bool is_count = part[0] && part[strlen(part) - 1] == '#';

		if (is_count)
			part[strlen(part) - 1] = '\0';
		obj = json_object_is_type(obj, json_type_array)
			      ? json_object_array_get_idx(obj, strtoul(part, NULL, 10))
			      : json_object_object_get(obj, part);
		if (is_count) {
			snprintf(number, sizeof(number), "%zu",
				 obj ? json_object_array_length(obj) : 0);
			return strdup(number);
		}
	}
	return strdup(obj ? json_object_get_string(obj) : "");
}

static void check(const struct simtalk *t, const struct simtalk_step *step, const struct reply *r)
{
	char *wants = expand(t, step->want ? step->want : ""), *rest = wants, *want;

	while ((want = strsep(&rest, ";"))) {
		char *end = want + strcspn(want, "=~"), sign = *end, *is;

		if (!sign)
			continue;
		*end++ = '\0';
		is = value_of(r, want);
		if ((strcmp(is, end) == 0) != (sign == '='))
			fail_msg("%s: %s is '%s', not %s'%s': %s", step->what, want, is,
				 sign == '=' ? "" : "other than ", end, r->text);
		free(is);
	}
	free(wants);
}

static void save(struct simtalk *t, const struct simtalk_step *step, const struct reply *r)
{
	char *names = strdup(step->save ? step->save : ""), *rest = names, *name;

	while ((name = strsep(&rest, ";"))) {
		char *key = strchr(name, '=');

		if (!key)
			continue;
		*key++ = '\0';
		assert_true(t->saved_n < sizeof(t->saved) / sizeof(t->saved[0]));
		t->saved[t->saved_n].name = strdup(name);
		t->saved[t->saved_n++].value = value_of(r, key);
	}
	free(names);
}

void simtalk_run(struct simtalk *t, const struct simtalk_step *steps, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct reply r = { 0 };

		ask(t, &steps[i], &r);
		if (r.status != steps[i].status)
			fail_msg("%s: status %ld, not %d: %s", steps[i].what, r.status,
				 steps[i].status, r.text);
		check(t, &steps[i], &r);
		save(t, &steps[i], &r);
		drop(&r);
	}
}

void simtalk_until(struct simtalk *t, const struct simtalk_step *step)
{
	const struct timespec pause = { .tv_nsec = 20000000 };

	for (int left = PATIENCE_MS / 20; left > 0; left--) {
		struct reply r = { 0 };
		bool is_there;

		ask(t, step, &r);
		is_there = r.status == step->status;
		if (is_there) {
			check(t, step, &r);
			save(t, step, &r);
		}
		drop(&r);
		if (is_there)
			return;
		nanosleep(&pause, NULL);
	}
	fail_msg("%s: the status %d did not come", step->what, step->status);
}

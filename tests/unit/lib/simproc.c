#include "simproc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <curl/curl.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000, ARGS_MAX = 16 };

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	return fwrite(data, size, n, arg) * size;
}

static struct json_object *ask(const struct simproc *sim, const char *method, const char *url,
			       const char *header, const char *body)
{
	struct curl_slist *headers = curl_slist_append(NULL, header);
	CURL *curl = curl_easy_init();
	struct json_object *obj;
	char *text = NULL;
	size_t len;
	long status = 0;
	FILE *out = open_memstream(&text, &len);

	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)PATIENCE_MS);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	if (sim->ca[0])
		curl_easy_setopt(curl, CURLOPT_CAINFO, sim->ca);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	(void)fclose(out);
	if (status / 100 != 2)
		fail_msg("%s %s: %ld %s", method, url, status, text);
	obj = json_tokener_parse(text);
	free(text);
	return obj;
}

static char *take_member(struct json_object *obj, const char *key)
{
	struct json_object *member;
	char *copy;

	assert_true(json_object_object_get_ex(obj, key, &member));
	copy = strdup(json_object_get_string(member));
	json_object_put(obj);
	return copy;
}

static void copy_member(struct json_object *obj, const char *key, char *ret, size_t size)
{
	struct json_object *member;

	assert_true(json_object_object_get_ex(obj, key, &member));
	snprintf(ret, size, "%s", json_object_get_string(member));
}

void simproc_start(struct simproc *sim, const char *const *args)
{
	const char *program = getenv("GRAPHSIM_BIN");
	const char *argv[ARGS_MAX] = { program, "--port", "0", "--exit-with-parent" };
	struct json_object *hello;
	char line[2000];
	int fds[2];
	FILE *out;

	assert_non_null(program);
	for (size_t i = 4; *args; i++) {
		assert_true(i + 1 < ARGS_MAX);
		argv[i] = *args++;
	}
	assert_int_equal(pipe(fds), 0);
	sim->pid = fork();
	if (sim->pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execv(program, (char *const *)argv);
		_exit(127);
	}
	close(fds[1]);
	out = fdopen(fds[0], "r");
	assert_non_null(out);
	assert_non_null(fgets(line, sizeof(line), out));
	(void)fclose(out);
	hello = json_tokener_parse(line);
	assert_non_null(hello);
	copy_member(hello, "api", sim->api, sizeof(sim->api));
	copy_member(hello, "login", sim->login, sizeof(sim->login));
	copy_member(hello, "admin", sim->admin, sizeof(sim->admin));
	if (json_object_object_get(hello, "ca"))
		copy_member(hello, "ca", sim->ca, sizeof(sim->ca));
	json_object_put(hello);
}

void simproc_stop(struct simproc *sim)
{
	char url[200];
	struct json_object *violations;
	int status;

	snprintf(url, sizeof(url), "%s/violations", sim->admin);
	violations = ask(sim, "GET", url, "Accept: application/json", NULL);
	if (json_object_get_int(json_object_object_get(violations, "count")) != 0)
		fail_msg("%s", json_object_to_json_string(violations));
	json_object_put(violations);
	kill(sim->pid, SIGTERM);
	assert_int_equal(waitpid(sim->pid, &status, 0), sim->pid);
	assert_int_equal(status, 0);
}

void simproc_do(struct simproc *sim, const char *path, const char *body)
{
	char url[300];

	snprintf(url, sizeof(url), "%s%s", sim->admin, path);
	json_object_put(ask(sim, strcmp(body, "DELETE") == 0 ? "DELETE" : "POST", url,
			    "Content-Type: application/json",
			    strcmp(body, "DELETE") == 0 ? NULL : body));
}

char *simproc_token(struct simproc *sim)
{
	static const char form[] = "Content-Type: application/x-www-form-urlencoded";
	char url[300], body[3000], *code, *escaped;

	snprintf(url, sizeof(url), "%s/common/oauth2/v2.0/devicecode", sim->login);
	code = take_member(ask(sim, "POST", url, form,
			       "client_id=11111111-2222-3333-4444-555555555555"
			       "&scope=Files.Read.All%20offline_access"),
			   "device_code");
	escaped = curl_easy_escape(NULL, code, 0);
	snprintf(url, sizeof(url), "%s/common/oauth2/v2.0/token", sim->login);
	snprintf(body, sizeof(body),
		 "client_id=11111111-2222-3333-4444-555555555555&device_code=%s"
		 "&grant_type=urn%%3Aietf%%3Aparams%%3Aoauth%%3Agrant-type%%3Adevice_code",
		 escaped);
	curl_free(escaped);
	free(code);
	return take_member(ask(sim, "POST", url, form, body), "access_token");
}

char *simproc_endpoint(struct simproc *sim, const char *token)
{
	char url[300], header[6000];

	snprintf(url, sizeof(url), "%s/me/drive/root/subscriptions/socketIo", sim->api);
	snprintf(header, sizeof(header), "Authorization: Bearer %s", token);
	return take_member(ask(sim, "GET", url, header, NULL), "notificationUrl");
}

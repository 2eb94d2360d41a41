/* Fetching against the simulated service (GRAPHSIM_BIN) as a process: real HTTP, real faults. */
#include "account.h"
#include "clock.h"
#include "fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <json-c/json.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000, MIB = 1 << 20, STALL_MS = 3000 };

static struct {
	pid_t pid;
	char dir[64], api[160], login[160], admin[160];
	int dir_fd, cache_fd;

	struct loop *loop;
	struct http *http;
	struct auth *auth;
	struct graph *graph;
	struct cache *cache;
	struct fetch *fetch;
	char *drive_id;
	unsigned gone_n;
} sim;

static void turn(void)
{
	static const struct timespec moment = { .tv_nsec = 100000 };

	loop_run_once(sim.loop);
	nanosleep(&moment, NULL);
}

#define wait_until(cond)                                                  \
	do {                                                              \
		uint64_t until_ = clock_mono_ms() + PATIENCE_MS;          \
		while (!(cond)) {                                         \
			if (clock_mono_ms() > until_)                     \
				fail_msg("never became true: %s", #cond); \
			turn();                                           \
		}                                                         \
	} while (0)

/* --- the service --- */

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	return fwrite(data, size, n, arg) * size;
}

/* The reply of the admin interface; the caller frees it. */
static char *ask(const char *method, const char *path, const char *body, size_t *ret_len)
{
	CURL *curl = curl_easy_init();
	char *text = NULL, url[300];
	long status = 0;
	FILE *out = open_memstream(&text, ret_len);

	snprintf(url, sizeof(url), "%s%s", sim.admin, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)PATIENCE_MS);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	(void)fclose(out);
	if (status / 100 != 2)
		fail_msg("%s %s: %ld %s", method, path, status, text);
	return text;
}

static void tell(const char *method, const char *path, const char *body)
{
	size_t len;

	free(ask(method, path, body, &len));
}

/* A member of a JSON text, as text; the caller frees it. */
static char *member(const char *json, const char *key)
{
	struct json_object *obj = json_tokener_parse(json), *value;
	char *ret;

	assert_true(json_object_object_get_ex(obj, key, &value));
	ret = strdup(json_object_get_string(value));
	json_object_put(obj);
	return ret;
}

static void copy_member(const char *json, const char *key, char *ret, size_t size)
{
	char *text = member(json, key);

	snprintf(ret, size, "%s", text);
	free(text);
}

static void start_sim(void)
{
	const char *program = getenv("GRAPHSIM_BIN");
	char line[2000];
	int fds[2];
	FILE *out;

	assert_non_null(program);
	assert_int_equal(pipe(fds), 0);
	sim.pid = fork();
	if (sim.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		close(fds[0]);
		close(fds[1]);
		execl(program, program, "--port", "0", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	out = fdopen(fds[0], "r");
	assert_non_null(fgets(line, sizeof(line), out));
	(void)fclose(out);
	copy_member(line, "api", sim.api, sizeof(sim.api));
	copy_member(line, "login", sim.login, sizeof(sim.login));
	copy_member(line, "admin", sim.admin, sizeof(sim.admin));
}

static bool is_signed_in;

static void on_code(void *arg, const char *url, const char *code)
{
}

static void on_signed_in(void *arg, int error, const char *text, const struct account *account)
{
	assert_int_equal(error, 0);
	assert_int_equal(account_save(sim.dir_fd, "default", account), 0);
	is_signed_in = true;
}

static void sign_in(void)
{
	const struct auth_login_events events = { NULL, on_code, on_signed_in };
	const struct account account = {
		.client_id = (char *)"11111111-2222-3333-4444-555555555555",
		.tenant = (char *)"common",
		.login_url = sim.login,
		.graph_url = sim.api,
		.scope = (char *)"offline_access Files.Read.All",
	};
	struct account loaded;
	struct auth_login *login;

	assert_int_equal(auth_login_start(sim.loop, sim.http, &account, &events, &login), 0);
	wait_until(is_signed_in);
	auth_login_free(login);
	assert_int_equal(account_load(sim.dir_fd, "default", &loaded), 0);
	assert_int_equal(auth_new(sim.loop, sim.http, sim.dir_fd, "default", &loaded, &sim.auth),
			 0);
}

static void on_drive(void *arg, const struct graph_result *result, const struct item_drive *drive)
{
	assert_int_equal(result->error, 0);
	sim.drive_id = strdup(drive->id);
}

static void on_gone(void *arg, uint64_t ino)
{
	sim.gone_n++;
}

static int setup_service(void **state)
{
	struct graph_call *call;

	strcpy(sim.dir, "/tmp/gfs-test-reading-XXXXXX");
	assert_non_null(mkdtemp(sim.dir));
	sim.dir_fd = open(sim.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(sim.dir_fd, "cache", 0700), 0);
	sim.cache_fd = openat(sim.dir_fd, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_sim();
	assert_int_equal(loop_new(&sim.loop), 0);
	assert_int_equal(
		http_new(sim.loop, &(struct http_options){ .user_agent = "test" }, &sim.http), 0);
	sign_in();
	assert_int_equal(graph_new(sim.loop, sim.http, sim.auth, sim.api, &sim.graph), 0);
	assert_int_equal(
		graph_get_drive(sim.graph, "/me/drive", HTTP_PERSON, on_drive, NULL, &call), 0);
	wait_until(sim.drive_id);
	assert_int_equal(cache_new(sim.cache_fd, "e", UINT64_C(1) << 30, &sim.cache), 0);
	return fetch_new(
		&(struct fetch_options){
			.loop = sim.loop,
			.cache = sim.cache,
			.source = fetch_source_graph(sim.graph),
			.on_gone = on_gone,
			.stall_ms = STALL_MS,
		},
		&sim.fetch);
}

static int teardown_service(void **state)
{
	char command[100];
	int status;

	fetch_free(sim.fetch);
	cache_free(sim.cache);
	graph_free(sim.graph);
	auth_free(sim.auth);
	http_free(sim.http);
	loop_free(sim.loop);
	free(sim.drive_id);
	kill(sim.pid, SIGTERM);
	assert_int_equal(waitpid(sim.pid, &status, 0), sim.pid);
	close(sim.cache_fd);
	close(sim.dir_fd);
	snprintf(command, sizeof(command), "rm -r %s", sim.dir);
	return system(command);
}

/* --- a file there and here --- */

struct open_file {
	struct fetch_file *file;
	struct fetch_stream *stream;
	char *data; /* what the service has at this moment */
	size_t len;
};

struct known {
	bool done;
	struct fetch_file *file;
	uint64_t cid;
};

static void on_info(void *arg, const struct graph_result *result, const struct item *item)
{
	struct known *known = arg;

	assert_int_equal(result->error, 0);
	assert_int_equal(fetch_open(sim.fetch,
				    &(struct fetch_version){
					    .drive_id = sim.drive_id,
					    .id = item->id,
					    .etag = item->etag,
					    .ctag = item->ctag,
					    .ino = known->cid,
					    .cid = known->cid,
					    .size = (uint64_t)item->size,
					    .mtime_ns = item->mtime_ns,
					    .hash = item->has_hash ? item->hash : NULL,
				    },
				    &known->file),
			 0);
	known->done = true;
}

/* Makes a file at the service and opens it as the tree would have it. */
static struct open_file make(const char *name, size_t size)
{
	static uint64_t cid;
	struct known known = { .cid = ++cid };
	struct open_file f = { 0 };
	struct graph_call *call;
	char body[200], *reply, *id;
	size_t len;

	snprintf(body, sizeof(body), "{\"path\":\"%s\",\"size\":%zu,\"kind\":\"random\"}", name,
		 size);
	reply = ask("POST", "/create", body, &len);
	id = member(reply, "id");
	assert_int_equal(graph_get_content_info(sim.graph, sim.drive_id, id, HTTP_PERSON, on_info,
						&known, &call),
			 0);
	wait_until(known.done);
	f.file = known.file;
	assert_int_equal(fetch_stream_new(f.file, &f.stream), 0);
	snprintf(body, sizeof(body), "/content?path=%s", name);
	f.data = ask("GET", body, NULL, &f.len);
	assert_int_equal(f.len, size);
	free(id);
	free(reply);
	return f;
}

static void done_with(struct open_file *f)
{
	fetch_stream_free(f->stream);
	fetch_close(f->file);
	free(f->data);
	tell("DELETE", "/faults", NULL);
}

struct one {
	struct fetch_read read;
	bool done;
	ssize_t got;
};

/* May run on the disk lane. */
static void on_read(struct fetch_read *read, ssize_t got)
{
	struct one *one = (struct one *)read;

	one->got = got;
	__atomic_store_n(&one->done, true, __ATOMIC_RELEASE);
}

static ssize_t read_at(struct open_file *f, uint64_t off, size_t len)
{
	char *buf = malloc(len);
	struct one one = {
		.read = { .stream = f->stream,
			  .off = off,
			  .len = len,
			  .buf = buf,
			  .done = on_read },
	};
	bool parked;
	ssize_t got = fetch_start(&one.read, &parked);

	if (parked) {
		wait_until(__atomic_load_n(&one.done, __ATOMIC_ACQUIRE));
		got = one.got;
	}
	if (got > 0)
		assert_memory_equal(buf, f->data + off, (size_t)got);
	free(buf);
	return got;
}

/* --- tests --- */

static void test_whole_file(void **state)
{
	struct open_file f = make("whole.bin", 20 * MIB + 77);

	for (size_t off = 0; off < f.len; off += 128 * 1024)
		assert_true(read_at(&f, off, 128 * 1024) > 0);
	assert_int_equal(read_at(&f, f.len - 5, 100), 5);
	assert_int_equal(read_at(&f, f.len, 100), 0);
	done_with(&f);
}

static void test_faults_of_replies(void **state)
{
	static const struct {
		const char *action;
		ssize_t once, always;
	} faults[] = {
		{ "{\"ignore_range\":true}", 1000, 1000 },
		{ "{\"truncate\":5000}", 1000, -EIO },
		{ "{\"reset_at\":5000}", 1000, -1 },
		{ "{\"status\":200,\"body\":\"<html>Sign in to the hotel</html>\","
		  "\"content_type\":\"text/html\"}",
		  1000, -EIO },
		{ "{\"content_range\":\"bytes 0-262143/3145728\"}", 1000, -EIO },
		{ "{\"content_range\":\"bytes 1-0/3\"}", 1000, -EIO },
		{ "{\"overlong\":1000}", 1000, 1000 },
		{ "{\"status\":401}", 1000, -EACCES },
		{ "{\"status\":403}", 1000, -EACCES },
		{ "{\"status\":404}", 1000, -EACCES },
		{ "{\"status\":416}", 1000, -EIO },
		{ "{\"status\":500}", 1000, -1 },
		{ "\"stall\"", 1000, -ETIMEDOUT },
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(*faults); i++) {
		for (int always = 0; always < 2; always++) {
			char name[32], rule[300];
			struct open_file f;
			ssize_t got;

			snprintf(name, sizeof(name), "fault-%zu-%d", i, always);
			f = make(name, 3 * MIB);
			snprintf(rule, sizeof(rule),
				 "{\"class\":\"content\",%s\"phase\":\"after\",\"action\":%s}",
				 always ? "" : "\"first\":1,", faults[i].action);
			tell("POST", "/faults", rule);
			got = read_at(&f, 2 * MIB, 1000);
			if (always && faults[i].always == -1)
				assert_true(got < 0);
			else if (got != (always ? faults[i].always : faults[i].once))
				fail_msg("%s, %s: %zd", faults[i].action,
					 always ? "always" : "once", got);
			tell("DELETE", "/faults", NULL);
			/* Nothing of it stays. */
			assert_int_equal(read_at(&f, 2 * MIB, 1000), 1000);
			done_with(&f);
		}
	}
}

static void test_damaged_content(void **state)
{
	struct open_file f = make("flip-once", 200000), g = make("flip-always", 200000);

	tell("POST", "/faults",
	     "{\"class\":\"content\",\"match\":\"flip-once\",\"first\":1,\"action\":{\"flip\":7}}");
	assert_int_equal(read_at(&f, 0, 200000), 200000);
	tell("POST", "/faults",
	     "{\"class\":\"content\",\"match\":\"flip-always\",\"action\":{\"flip\":7}}");
	assert_int_equal(read_at(&g, 0, 200000), -EIO);
	done_with(&f);
	done_with(&g);
}

static void test_urls_expire(void **state)
{
	struct open_file f = make("expire", 40 * MIB);
	static const struct timespec second = { .tv_sec = 1 };

	tell("POST", "/knobs", "{\"url_lifetime_ms\":500}");
	assert_int_equal(read_at(&f, 0, 1000), 1000);
	nanosleep(&second, NULL);
	assert_int_equal(read_at(&f, 30 * MIB, 1000), 1000);
	tell("POST", "/knobs", "{\"url_lifetime_ms\":3600000}");
	done_with(&f);
}

static void test_written_by_somebody_else(void **state)
{
	struct open_file f = make("other", 40 * MIB);
	unsigned gone_n = sim.gone_n;

	assert_int_equal(read_at(&f, 20 * MIB, 1000), 1000);
	tell("POST", "/write", "{\"path\":\"other\",\"size\":41943040,\"kind\":\"random\"}");
	assert_int_equal(read_at(&f, 30 * MIB, 1000), -ESTALE);
	assert_int_equal(sim.gone_n, gone_n + 1);
	assert_int_equal(read_at(&f, 20 * MIB, 1000), 1000);
	done_with(&f);
}

static void test_renamed_by_somebody_else(void **state)
{
	struct open_file f = make("before", 40 * MIB);

	assert_int_equal(read_at(&f, 20 * MIB, 1000), 1000);
	tell("POST", "/move", "{\"path\":\"before\",\"to\":\"after\"}");
	assert_int_equal(read_at(&f, 30 * MIB, 1000), 1000);
	done_with(&f);
}

static void test_deleted_by_somebody_else(void **state)
{
	struct open_file f = make("gone", 40 * MIB);

	assert_int_equal(read_at(&f, 20 * MIB, 1000), 1000);
	tell("POST", "/delete", "{\"path\":\"gone\"}");
	assert_int_equal(read_at(&f, 30 * MIB, 1000), -ESTALE);
	assert_int_equal(read_at(&f, 20 * MIB, 1000), 1000);
	done_with(&f);
}

/* The service counted what a client must not do. */
static void test_no_rule_was_broken(void **state)
{
	size_t len;
	char *text = ask("GET", "/violations", NULL, &len), *n = member(text, "count");

	if (strcmp(n, "0") != 0)
		fail_msg("%s", text);
	free(n);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_file),
		cmocka_unit_test(test_faults_of_replies),
		cmocka_unit_test(test_damaged_content),
		cmocka_unit_test(test_urls_expire),
		cmocka_unit_test(test_written_by_somebody_else),
		cmocka_unit_test(test_renamed_by_somebody_else),
		cmocka_unit_test(test_deleted_by_somebody_else),
		cmocka_unit_test(test_no_rule_was_broken),
	};

	return cmocka_run_group_tests(tests, setup_service, teardown_service);
}

/* A whole drive against the simulated service (GRAPHSIM_BIN) as a process: no mount, everything
 * else real. */
#include "drive.h"

#include "account.h"
#include "change.h"
#include "clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>
#include <json-c/json.h>

#include <cmocka.h>

enum { PATIENCE_MS = 30000 };

/* The service, for all tests of this program. */
static struct {
	pid_t pid;
	char dir[64], api[160], login[160], admin[160];
	int dir_fd;
} sim;

struct test {
	struct loop *loop;
	struct lane *lane;
	struct http *http;
	struct auth *auth;
	struct graph *graph;
	struct ws *ws;
	struct tree *tree;
	struct drive *drive;
	char tree_name[32];
	char *drive_id;
	unsigned revokes_n, notifications_n, pages_n;
	bool is_ready, is_offline;
	int ready_error;
	atomic_bool is_forgotten;
	atomic_uint created_n, deleted_n, sets_n;
	atomic_uint_fast64_t last_ns; /* of a change set */
};

/* --- turning and asking --- */

static void turn(struct test *t)
{
	static const struct timespec moment = { .tv_nsec = 100000 };

	loop_run_once(t->loop);
	nanosleep(&moment, NULL);
}

#define wait_until(t, cond)                                               \
	do {                                                              \
		uint64_t until_ = clock_mono_ms() + PATIENCE_MS;          \
		while (!(cond)) {                                         \
			if (clock_mono_ms() > until_)                     \
				fail_msg("never became true: %s", #cond); \
			turn(t);                                          \
		}                                                         \
	} while (0)

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	return fwrite(data, size, n, arg) * size;
}

/* Asks the service's admin interface; the caller puts the reply. */
static struct json_object *admin(const char *method, const char *path, const char *body)
{
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
	CURL *curl = curl_easy_init();
	struct json_object *obj;
	char *text = NULL, url[300];
	size_t len;
	long status = 0;
	FILE *out = open_memstream(&text, &len);

	snprintf(url, sizeof(url), "%s%s", sim.admin, path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)PATIENCE_MS);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	assert_int_equal(curl_easy_perform(curl), CURLE_OK);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	curl_slist_free_all(headers);
	(void)fclose(out);
	if (status / 100 != 2)
		fail_msg("%s %s: %ld %s", method, path, status, text);
	obj = json_tokener_parse(text);
	free(text);
	return obj;
}

static void tell(const char *path, const char *body)
{
	json_object_put(admin("POST", path, body));
}

static int64_t counter(const char *name)
{
	struct json_object *obj = admin("GET", "/counters", NULL), *member;
	int64_t n =
		json_object_object_get_ex(obj, name, &member) ? json_object_get_int64(member) : -1;

	json_object_put(obj);
	return n;
}

/* --- the service --- */

static void copy_member(struct json_object *obj, const char *key, char *ret, size_t size)
{
	struct json_object *member;

	assert_true(json_object_object_get_ex(obj, key, &member));
	snprintf(ret, size, "%s", json_object_get_string(member));
}

static void start_sim(void)
{
	const char *program = getenv("GRAPHSIM_BIN");
	struct json_object *hello;
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
		execl(program, program, "--port", "0", "--ping-interval", "1000", "--ping-timeout",
		      "1000", (char *)NULL);
		_exit(127);
	}
	close(fds[1]);
	out = fdopen(fds[0], "r");
	assert_non_null(out);
	assert_non_null(fgets(line, sizeof(line), out));
	(void)fclose(out);
	hello = json_tokener_parse(line);
	assert_non_null(hello);
	copy_member(hello, "api", sim.api, sizeof(sim.api));
	copy_member(hello, "login", sim.login, sizeof(sim.login));
	copy_member(hello, "admin", sim.admin, sizeof(sim.admin));
	json_object_put(hello);
}

struct sign_in {
	bool done;
	int error;
};

static void on_code(void *arg, const char *url, const char *code)
{
}

static void on_signed_in(void *arg, int error, const char *text, const struct account *account)
{
	struct sign_in *sign_in = arg;

	sign_in->done = true;
	sign_in->error = error ? error : account_save(sim.dir_fd, "default", account);
}

static int setup_service(void **state)
{
	struct test t = { 0 };
	struct sign_in sign_in = { 0 };
	const struct account account = {
		.client_id = (char *)"11111111-2222-3333-4444-555555555555",
		.tenant = (char *)"common",
		.login_url = sim.login,
		.graph_url = sim.api,
		.scope = (char *)"offline_access Files.Read.All",
	};
	struct auth_login *login;

	strcpy(sim.dir, "/tmp/graphfs-drive-XXXXXX");
	assert_non_null(mkdtemp(sim.dir));
	sim.dir_fd = open(sim.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	start_sim();
	assert_int_equal(loop_new(&t.loop), 0);
	assert_int_equal(http_new(t.loop, &(struct http_options){ .user_agent = "test" }, &t.http),
			 0);
	assert_int_equal(auth_login_start(t.loop, t.http, &account,
					  &(struct auth_login_events){ .arg = &sign_in,
								       .on_code = on_code,
								       .on_done = on_signed_in },
					  &login),
			 0);
	wait_until(&t, sign_in.done);
	assert_int_equal(sign_in.error, 0);
	auth_login_free(login);
	http_free(t.http);
	loop_free(t.loop);
	return 0;
}

static int teardown_service(void **state)
{
	char command[100];
	int status;

	kill(sim.pid, SIGTERM);
	assert_int_equal(waitpid(sim.pid, &status, 0), sim.pid);
	close(sim.dir_fd);
	snprintf(command, sizeof(command), "rm -r %s", sim.dir);
	return system(command);
}

/* --- a drive --- */

static void on_changes(void *arg, struct change_set *set)
{
	struct test *t = arg;

	t->sets_n++;
	for (size_t i = 0; i < set->n; i++) {
		t->created_n += set->v[i].kind == CHANGE_CREATE;
		t->deleted_n += set->v[i].kind == CHANGE_DELETE;
	}
	t->last_ns = clock_mono_ms();
	change_set_free(set);
}

static void on_revoke(void *arg)
{
	struct test *t = arg;

	t->revokes_n++;
}

static void on_offline(void *arg, bool offline)
{
	struct test *t = arg;

	t->is_offline = offline;
}

static void on_ready(void *arg, int error, const char *text)
{
	struct test *t = arg;

	assert_false(t->is_ready);
	t->is_ready = true;
	t->ready_error = error;
}

static void on_live(void *arg, enum live_event event, const char *reason)
{
	struct test *t = arg;

	t->notifications_n += event == LIVE_NOTIFICATION;
}

static void on_page(void *arg, const struct item_page *page)
{
	struct test *t = arg;

	t->pages_n++;
}

static void on_drive(void *arg, const struct graph_result *result, const struct item_drive *drive)
{
	struct test *t = arg;

	assert_int_equal(result->error, 0);
	t->drive_id = strdup(drive->id);
}

static void find_drive(struct test *t)
{
	struct graph_call *call;

	assert_int_equal(graph_get_drive(t->graph, "/me/drive", HTTP_PERSON, on_drive, t, &call),
			 0);
	wait_until(t, t->drive_id);
}

static void start_drive(struct test *t)
{
	const struct drive_options options = {
		.coherence = {
			.lease_ms = 3600000,
			.lease_suspect_ms = 1000,
			.poll_min_ms = 100,
			.poll_max_ms = 400,
			.safety_ms = 600000,
			.retry_ms = 50,
			.probe_max_ms = 200,
		},
		.live = {
			.backoff_min_ms = 100,
			.backoff_max_ms = 500,
			.refused_ms = 500,
			.renew_min_ms = 500,
		},
		.delta = { .recheck_ms = { 100, 300 } },
		.crawl = true,
	};
	const struct drive_events events = {
		.arg = t,
		.on_changes = on_changes,
		.on_revoke = on_revoke,
		.on_offline = on_offline,
		.on_ready = on_ready,
		.on_live = on_live,
		.on_page = on_page,
	};

	t->is_ready = false;
	assert_int_equal(drive_new(t->loop, t->lane, t->graph, t->ws, t->tree, t->drive_id,
				   &options, &events, &t->drive),
			 0);
	drive_start(t->drive);
}

static int setup(void **state)
{
	static unsigned number;
	static struct test test;
	struct test *t = &test;
	struct account account;

	memset(t, 0, sizeof(*t));
	assert_int_equal(account_load(sim.dir_fd, "default", &account), 0);
	assert_int_equal(loop_new(&t->loop), 0);
	assert_int_equal(lane_new(t->loop, "store", 1, &t->lane), 0);
	assert_int_equal(
		http_new(t->loop, &(struct http_options){ .user_agent = "test" }, &t->http), 0);
	assert_int_equal(auth_new(t->loop, t->http, sim.dir_fd, "default", &account, &t->auth), 0);
	assert_int_equal(graph_new(t->loop, t->http, t->auth, sim.api, &t->graph), 0);
	assert_int_equal(ws_new(t->loop, NULL, &t->ws), 0);
	find_drive(t);
	snprintf(t->tree_name, sizeof(t->tree_name), "tree-%u.db", number++);
	assert_int_equal(tree_open(sim.dir_fd, t->tree_name, t->drive_id, &t->tree), 0);
	*state = t;
	return 0;
}

static int teardown(void **state)
{
	struct test *t = *state;

	tell("/outage", "{\"mode\":\"none\"}");
	tell("/socket", "{\"action\":\"normal\"}");
	json_object_put(admin("DELETE", "/faults", NULL));
	drive_free(t->drive);
	assert_int_equal(counter("violations"), 0);
	ws_free(t->ws);
	graph_free(t->graph);
	auth_free(t->auth);
	http_free(t->http);
	lane_free(t->lane);
	tree_free(t->tree);
	loop_free(t->loop);
	free(t->drive_id);
	return 0;
}

static const char *state_of(struct test *t)
{
	struct drive_status status;

	drive_get_status(t->drive, &status);
	return status.state;
}

static bool is_in_state(struct test *t, const char *state)
{
	return strcmp(state_of(t), state) == 0;
}

static bool has(struct test *t, const char *name)
{
	struct tree_attr attr;

	return tree_lookup(t->tree, TREE_ROOT_INO, name, &attr) == 0;
}

/* As many items as the service has, all folders complete. */
static bool is_equal(struct test *t)
{
	struct json_object *obj = admin("GET", "/tree?drive=0&hash=0", NULL), *items;
	auto_free char *crawled = NULL;
	size_t n;

	assert_true(json_object_object_get_ex(obj, "items", &items));
	n = json_object_array_length(items) + 1;
	json_object_put(obj);
	return tree_kv_get(t->tree, TREE_KV_CRAWL_LINK, &crawled) == 0 &&
	       strcmp(crawled, TREE_CRAWL_DONE) == 0 && tree_items_n(t->tree) == n;
}

static void start_live(struct test *t)
{
	start_drive(t);
	wait_until(t, is_in_state(t, "live"));
	wait_until(t, is_equal(t));
}

/* Names that no other test has. */
static const char *fresh(void)
{
	static char name[32];
	static unsigned number;

	snprintf(name, sizeof(name), "new-%u", number++);
	return name;
}

static void create(const char *name)
{
	char body[300];

	snprintf(body, sizeof(body), "{\"path\":\"%s\",\"size\":10}", name);
	tell("/create", body);
}

static void test_becomes_live_and_known(void **state)
{
	struct test *t = *state;
	struct drive_status status;
	struct drive_quota quota;

	tell("/seed", "{\"dirs\":5,\"files\":100,\"size\":10}");
	start_live(t);
	assert_true(t->is_ready);
	assert_int_equal(t->ready_error, 0);
	drive_get_status(t->drive, &status);
	assert_string_equal(status.reason, "");
	assert_string_equal(status.url_host, "127.0.0.1");
	assert_true(status.connected_since_s > 0);
	assert_true(status.last_delta_s > 0);
	assert_true(drive_lease_ms(t->drive) == 3600000);
	wait_until(t, (drive_get_quota(t->drive, &quota), quota.has_quota));
	assert_true(quota.total >= quota.used);
	assert_int_equal(t->revokes_n, 0);
	assert_int_equal(t->created_n, 0);
}

static void test_change_arrives(void **state)
{
	struct test *t = *state;
	struct drive_status status;
	uint64_t worst_ms = 0;

	start_live(t);
	for (int i = 0; i < 50; i++) {
		const char *name = fresh();
		uint64_t began_ms;

		create(name);
		began_ms = clock_mono_ms();
		wait_until(t, has(t, name));
		if (clock_mono_ms() - began_ms > worst_ms)
			worst_ms = clock_mono_ms() - began_ms;
	}
	print_message("worst of 50: %llu ms\n", (unsigned long long)worst_ms);
	assert_true(worst_ms < 2000);
	wait_until(t, t->created_n == 50);
	drive_get_status(t->drive, &status);
	assert_true(status.last_notification_s > 0);
	assert_int_equal(t->revokes_n, 0);
}

static void test_flood_is_coalesced(void **state)
{
	struct test *t = *state;
	int64_t before;

	start_live(t);
	before = counter("delta");
	tell("/socket/send",
	     "{\"text\":\"42/notifications,[\\\"notification\\\",null]\",\"repeat\":5000}");
	wait_until(t, t->notifications_n >= 5000);
	create("after-the-flood");
	wait_until(t, has(t, "after-the-flood"));
	assert_true(counter("delta") - before < 2500);
}

static void test_missed_while_the_channel_was_gone(void **state)
{
	struct test *t = *state;
	struct drive_status status;

	start_live(t);
	tell("/socket", "{\"refuse\":503}");
	tell("/socket", "{\"action\":\"drop\"}");
	wait_until(t, is_in_state(t, "polling"));
	assert_int_equal(t->revokes_n, 1);
	drive_get_status(t->drive, &status);
	assert_string_not_equal(status.reason, "");
	assert_true(drive_lease_ms(t->drive) <= 400);
	for (int i = 0; i < 100; i++)
		create(fresh());
	wait_until(t, is_equal(t));
	tell("/socket", "{\"action\":\"normal\"}");
	wait_until(t, is_in_state(t, "live"));
	create("after-the-gap");
	wait_until(t, has(t, "after-the-gap"));
	assert_int_equal(t->revokes_n, 1);
}

/* Half-open: nothing comes, nothing is closed. */
static void test_silent_channel_is_noticed(void **state)
{
	struct test *t = *state;

	start_live(t);
	tell("/socket", "{\"action\":\"silence\"}");
	create("said-to-nobody");
	wait_until(t, has(t, "said-to-nobody"));
	wait_until(t, is_in_state(t, "live") && t->revokes_n > 0);
}

static void test_drive_without_a_channel(void **state)
{
	struct test *t = *state;
	struct drive_status status;

	tell("/faults",
	     "{\"class\":\"socketio\",\"action\":{\"status\":400,\"code\":\"notSupported\"}}");
	start_drive(t);
	wait_until(t, is_equal(t));
	assert_true(is_in_state(t, "polling"));
	drive_get_status(t->drive, &status);
	assert_non_null(strstr(status.reason, "notSupported"));
	create("polled");
	wait_until(t, has(t, "polled"));
	assert_int_equal(t->revokes_n, 0);
	json_object_put(admin("DELETE", "/faults", NULL));
	wait_until(t, is_in_state(t, "live"));
}

struct asking {
	struct listing_waiter w;
	bool done;
	int status;
};

static void on_listed(struct listing_waiter *w, int status)
{
	struct asking *asking = w->arg;

	asking->done = true;
	asking->status = status;
}

static int list_root(struct test *t)
{
	struct asking asking = { .w = { .dir = TREE_ROOT_INO, .fn = on_listed } };

	asking.w.arg = &asking;
	listing_want(drive_listing(t->drive), &asking.w);
	wait_until(t, asking.done);
	return asking.status;
}

static void forget_work(void *arg)
{
	struct test *t = arg;

	assert_int_equal(tree_forget_complete(t->tree, TREE_ROOT_INO), 0);
	t->is_forgotten = true;
}

static void test_outage(void **state)
{
	struct test *t = *state;
	struct lane_job job;
	uint64_t began_ms;

	start_live(t);
	tell("/outage", "{\"mode\":\"refuse\"}");
	wait_until(t, is_in_state(t, "offline"));
	assert_true(t->is_offline);
	assert_true(drive_is_offline(t->drive));
	assert_int_equal(drive_lease_ms(t->drive), 3600000);
	lane_push(t->lane, &job, forget_work, NULL, t);
	wait_until(t, t->is_forgotten);
	began_ms = clock_mono_ms();
	assert_int_equal(list_root(t), -ENETDOWN);
	assert_true(clock_mono_ms() - began_ms < 1000);
	create("while-it-was-gone");
	assert_false(has(t, "while-it-was-gone"));
	tell("/outage", "{\"mode\":\"none\"}");
	wait_until(t, is_in_state(t, "live"));
	assert_false(t->is_offline);
	assert_true(has(t, "while-it-was-gone"));
	assert_true(t->revokes_n > 0);
	while (list_root(t) == LISTING_MORE)
		;
	assert_int_equal(list_root(t), 0);
}

static void test_place_is_forgotten_by_the_service(void **state)
{
	struct test *t = *state;

	create("goes-unnoticed");
	start_live(t);
	assert_true(has(t, "goes-unnoticed"));
	tell("/socket", "{\"notify\":false}");
	tell("/delete", "{\"path\":\"goes-unnoticed\"}");
	create("comes-unnoticed");
	tell("/delta", "{\"resync_now\":true}");
	drive_look(t->drive);
	wait_until(t, has(t, "comes-unnoticed"));
	wait_until(t, is_equal(t));
	assert_false(has(t, "goes-unnoticed"));
}

/* What was known can be shown without the service. */
static void test_starts_offline_with_what_it_knows(void **state)
{
	struct test *t = *state;

	create("known");
	start_live(t);
	drive_free(t->drive);
	t->drive = NULL;
	tell("/outage", "{\"mode\":\"refuse\"}");
	start_drive(t);
	assert_true(t->is_ready);
	assert_int_equal(t->ready_error, 0);
	wait_until(t, is_in_state(t, "offline"));
	assert_true(has(t, "known"));
	tell("/outage", "{\"mode\":\"none\"}");
	wait_until(t, is_in_state(t, "live"));
}

/* The first start needs the service, and says so. */
static void test_first_start_fails(void **state)
{
	struct test *t = *state;

	tell("/faults",
	     "{\"class\":\"delta\",\"action\":{\"status\":403,\"code\":\"accessDenied\"}}");
	start_drive(t);
	wait_until(t, t->is_ready);
	assert_int_equal(t->ready_error, -EACCES);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_becomes_live_and_known),
		TEST(test_change_arrives),
		TEST(test_flood_is_coalesced),
		TEST(test_missed_while_the_channel_was_gone),
		TEST(test_silent_channel_is_noticed),
		TEST(test_drive_without_a_channel),
		TEST(test_outage),
		TEST(test_place_is_forgotten_by_the_service),
		TEST(test_starts_offline_with_what_it_knows),
		TEST(test_first_start_fails),
	};

	return cmocka_run_group_tests(tests, setup_service, teardown_service);
}

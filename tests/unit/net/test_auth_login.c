#include "service.h"

#include "clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS_MAX = 4 };

#define CODE                                                                             \
	"{\"device_code\":\"secret device\",\"user_code\":\"ABCD-1234\",\"interval\":1," \
	"\"verification_uri\":\"https://microsoft.com/devicelogin\",\"expires_in\":900}"
#define TOKENS "{\"access_token\":\"a\",\"refresh_token\":\"r\",\"expires_in\":3600}"

/* What the login service answers, one reply for each request; "" drops the connection. */
struct flow {
	const char *name;
	const char *steps[STEPS_MAX];
	int want;
	const char *text; /* part of what the user is told */
	unsigned requests_n;
};

static const struct flow flows[] = {
	{ "granted at once", { CODE, TOKENS }, 0, "", 2 },
	{ "pending", { CODE, "{\"error\":\"authorization_pending\"}", TOKENS }, 0, "", 3 },
	{ "slow down", { CODE, "{\"error\":\"slow_down\"}", TOKENS }, 0, "", 3 },
	{ "network away", { CODE, "", TOKENS }, 0, "", 3 },
	{ "older spelling",
	  { "{\"device_code\":\"d\",\"user_code\":\"ABCD-1234\",\"interval\":0,"
	    "\"verification_url\":\"https://microsoft.com/devicelogin\"}",
	    TOKENS },
	  0,
	  "",
	  2 },
	{ "declined",
	  { CODE,
	    "{\"error\":\"authorization_declined\",\"error_description\":\"The user said no.\"}" },
	  -EACCES,
	  "The user said no.",
	  2 },
	{ "denied", { CODE, "{\"error\":\"access_denied\"}" }, -EACCES, "access_denied", 2 },
	{ "expired", { CODE, "{\"error\":\"expired_token\"}" }, -ETIMEDOUT, "expired_token", 2 },
	{ "wrong code",
	  { CODE, "{\"error\":\"bad_verification_code\"}" },
	  -EINVAL,
	  "bad_verification_code",
	  2 },
	{ "no public client",
	  { "{\"error\":\"invalid_client\",\"error_description\":\"AADSTS7000218: x\\r\\nTrace: "
	    "y\"}" },
	  -EINVAL,
	  "AADSTS7000218: x",
	  1 },
	{ "code is HTML", { "<html>" }, -EBADMSG, "", 1 },
	{ "code without a device code",
	  { "{\"user_code\":\"A\",\"verification_uri\":\"https://h/\"}" },
	  -EBADMSG,
	  "",
	  1 },
	{ "code without a user code",
	  { "{\"device_code\":\"d\",\"verification_uri\":\"https://h/\"}" },
	  -EBADMSG,
	  "",
	  1 },
	{ "code without an address",
	  { "{\"device_code\":\"d\",\"user_code\":\"A\"}" },
	  -EBADMSG,
	  "",
	  1 },
	{ "code with a broken interval",
	  { "{\"device_code\":\"d\",\"user_code\":\"A\",\"verification_uri\":\"https://h/\","
	    "\"interval\":\"5\"}" },
	  -EBADMSG,
	  "",
	  1 },
	{ "tokens are HTML", { CODE, "<html>" }, -EBADMSG, "", 2 },
	{ "tokens without an access token",
	  { CODE, "{\"refresh_token\":\"r\"}" },
	  -EBADMSG,
	  "",
	  2 },
	{ "nobody there", { "" }, -ENETDOWN, "", 1 },
};

/* One sign-in with a service of its own. */
struct run {
	const struct flow *flow;
	struct bench *bench;
	struct script *script;
	struct auth_login *login;
	char forms[STEPS_MAX][2048];
	_Atomic uint64_t asked_ms[STEPS_MAX];

	char url[128], code[64], text[300], access[64];
	int error;
	unsigned codes_n, ends_n;
};

static void answer(struct script_conn *conn, const struct script_request *req, void *arg)
{
	struct run *run = arg;
	const char *step = req->number < STEPS_MAX ? run->flow->steps[req->number] : NULL;

	if (req->number < STEPS_MAX)
		run->asked_ms[req->number] = clock_mono_ms();
	if (!step || !step[0]) {
		script_reset(conn);
		return;
	}
	snprintf(run->forms[req->number], sizeof(run->forms[0]), "%s %.900s", req->target,
		 req->body);
	script_reply(conn, strstr(step, "\"error\"") ? 400 : 200, "", step);
}

static void on_code(void *arg, const char *verification_url, const char *user_code)
{
	struct run *run = arg;

	snprintf(run->url, sizeof(run->url), "%s", verification_url);
	snprintf(run->code, sizeof(run->code), "%s", user_code);
	run->codes_n++;
}

static void on_done(void *arg, int error, const char *text, const struct account *account)
{
	struct run *run = arg;

	run->error = error;
	snprintf(run->text, sizeof(run->text), "%s", text ? text : "");
	snprintf(run->access, sizeof(run->access), "%s", account ? account->access_token : "");
	run->ends_n++;
	if (--run->bench->open_n == 0)
		loop_stop(run->bench->loop);
}

static void begin(struct run *run, struct bench *b, const struct flow *flow)
{
	char url[64];
	struct account account = { .client_id = (char *)"my app",
				   .tenant = (char *)"common",
				   .login_url = url,
				   .graph_url = (char *)"https://graph.microsoft.com/v1.0",
				   .scope = (char *)"Files.Read.All offline_access" };
	struct auth_login_events events = { .arg = run, .on_code = on_code, .on_done = on_done };

	*run = (struct run){ .flow = flow, .bench = b };
	run->script = script_start(answer, run);
	snprintf(url, sizeof(url), "%s", script_url(run->script, ""));
	assert_int_equal(auth_login_start(b->loop, b->http, &account, &events, &run->login), 0);
	b->open_n++;
}

static void check(const struct run *run)
{
	const struct flow *flow = run->flow;

	if (run->ends_n != 1 || run->error != flow->want || !strstr(run->text, flow->text))
		fail_msg("%s: %d \"%s\"", flow->name, run->error, run->text);
	if (flow->want == 0) {
		assert_string_equal(run->url, "https://microsoft.com/devicelogin");
		assert_string_equal(run->code, "ABCD-1234");
		assert_string_equal(run->access, "a");
	}
	assert_null(strstr(run->text, "Trace"));
	assert_int_equal(script_requests_n(run->script), flow->requests_n);
	/* RFC 8628, 3.5: five seconds more from then on. */
	if (strcmp(flow->name, "slow down") == 0)
		assert_true(run->asked_ms[2] - run->asked_ms[1] >= 5900);
	if (strcmp(flow->name, "granted at once") == 0) {
		assert_string_equal(run->forms[0],
				    "/common/oauth2/v2.0/devicecode client_id=my%20app&"
				    "scope=Files.Read.All%20offline_access");
		assert_string_equal(run->forms[1],
				    "/common/oauth2/v2.0/token grant_type="
				    "urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&"
				    "client_id=my%20app&device_code=secret%20device");
	}
}

/* All at once, because each of them waits for seconds. */
static void test_flows(void **state)
{
	static struct run runs[array_n(flows)];
	struct bench b;

	bench_init(&b, NULL);
	for (size_t i = 0; i < array_n(flows); i++)
		begin(&runs[i], &b, &flows[i]);
	bench_run(&b);
	for (size_t i = 0; i < array_n(flows); i++)
		auth_login_free(runs[i].login);
	bench_fini(&b);
	for (size_t i = 0; i < array_n(flows); i++) {
		check(&runs[i]);
		script_stop(runs[i].script);
	}
}

static void test_given_up_while_pending(void **state)
{
	static struct run run;
	uint64_t end_ms = clock_mono_ms() + 10000;
	struct bench b;

	bench_init(&b, NULL);
	begin(&run, &b, &flows[0]);
	while (run.codes_n == 0 && clock_mono_ms() < end_ms)
		bench_turn(&b);
	assert_int_equal(run.codes_n, 1);
	auth_login_free(run.login);
	auth_login_free(NULL);
	bench_fini(&b);
	script_stop(run.script);
	assert_int_equal(run.ends_n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_flows),
		cmocka_unit_test(test_given_up_while_pending),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * graphsim: a drive served over HTTP(S) and WebSocket on loopback, for tests, benchmarks and the
 * demo. Prints one line of JSON with its addresses and serves until SIGTERM or SIGINT.
 */
#include "sim.h"
#include "simcopy.h"
#include "simlag.h"
#include "simlater.h"
#include "simlogin.h"
#include "simseed.h"
#include "simsock.h"
#include "simtls.h"
#include "simupload.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

enum { EXIT_USAGE = 2 };

static volatile sig_atomic_t is_over;
static struct lws_context *woken;

static void on_signal(int number)
{
	(void)number;
	is_over = 1;
	lws_cancel_service(woken);
}

static const char usage[] =
	"graphsim [OPTIONS]: a simulated OneDrive on 127.0.0.1\n"
	"  --port N                 first of four ports; 0 (default): any\n"
	"  --tls DIR                HTTPS; writes ca.pem and more into DIR\n"
	"  --name HOST              the certificate is good for this host name, too\n"
	"  --flavour NAME           business (default), library, personal-new, personal-classic\n"
	"  --lenient                take what strict mode refuses of third-party clients\n"
	"  --seed-demo              a small, lifelike drive\n"
	"  --seed-tree D,F,SIZE     D folders with F files of SIZE bytes each\n"
	"  --latency MS             delay of every reply\n"
	"  --bandwidth BYTES        bytes per second and connection\n"
	"  --ping-interval MS, --ping-timeout MS\n"
	"                           heartbeat of the notification sockets (25000, 20000)\n"
	"  --exit-with-parent       end when the parent process does\n";

struct options {
	struct simserve_options serve;
	const char *tls_dir, *tls_name;
	char cert_path[4096], key_path[4096], ca_path[4096];
	bool has_demo, ends_with_parent;
	unsigned long long folder_n, file_n, size;
};

static bool parse_option(int option, const char *value, struct options *o, struct sim *s)
{
	switch (option) {
	case 'p':
		o->serve.first_port = atoi(value);
		return o->serve.first_port >= 0 && o->serve.first_port < 65533;
	case 't':
		o->tls_dir = value;
		return true;
	case 'n':
		o->tls_name = value;
		return true;
	case 'f':
		return simid_parse_flavour(value, &s->flavour);
	case 'l':
		s->is_strict = false;
		return true;
	case 'd':
		o->has_demo = true;
		return true;
	case 's':
		return sscanf(value, "%llu,%llu,%llu", &o->folder_n, &o->file_n, &o->size) == 3;
	case 'L':
		s->serve.latency_ms = strtoull(value, NULL, 10);
		return true;
	case 'b':
		s->serve.bytes_per_s = strtoull(value, NULL, 10);
		return true;
	case 'i':
		s->sock->knobs.ping_interval_ms = (unsigned)strtoul(value, NULL, 10);
		return s->sock->knobs.ping_interval_ms > 0;
	case 'o':
		s->sock->knobs.ping_timeout_ms = (unsigned)strtoul(value, NULL, 10);
		return s->sock->knobs.ping_timeout_ms > 0;
	case 'e':
		o->ends_with_parent = true;
		return true;
	default:
		return false;
	}
}

static bool parse_options(int argc, char **argv, struct options *o, struct sim *s)
{
	static const struct option known[] = {
		{ "port", required_argument, NULL, 'p' },
		{ "tls", required_argument, NULL, 't' },
		{ "name", required_argument, NULL, 'n' },
		{ "flavour", required_argument, NULL, 'f' },
		{ "lenient", no_argument, NULL, 'l' },
		{ "seed-demo", no_argument, NULL, 'd' },
		{ "seed-tree", required_argument, NULL, 's' },
		{ "latency", required_argument, NULL, 'L' },
		{ "bandwidth", required_argument, NULL, 'b' },
		{ "ping-interval", required_argument, NULL, 'i' },
		{ "ping-timeout", required_argument, NULL, 'o' },
		{ "exit-with-parent", no_argument, NULL, 'e' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		if (!parse_option(option, optarg, o, s))
			return false;
	return optind == argc;
}

static void init_sim(struct sim *s)
{
	s->flavour = SIMID_BUSINESS;
	s->is_strict = true;
	s->children_page = 200;
	s->url_lifetime_ms = 3600 * 1000;
	s->url_refused_status = 401;
	s->epoch = simtree_now_ns() >> 20;
	s->secret = simid_mix(simtree_now_ns());
	s->odd = json_object_new_object();
	simtree_init(&s->tree);
	simspool_init(&s->spool);
	simbytes_init(&s->bytes, &s->tree, &s->spool);
	simfault_init(&s->faults);
	s->login = simlogin_new();
	s->sock = simsock_new(s);
	s->uploads = simupload_new();
	s->copies = simcopy_new();
	list_init(&s->later);
	s->write = (struct sim_write_knobs){ .copy_ms = 200,
					     .session_lifetime_ms = 15 * 60 * 1000,
					     .quota_bytes = 1ull << 40,
					     .monitor_status = 200 };
	s->serve.spool = &s->spool;
	s->serve.on_head = sim_on_head;
	s->serve.on_request = sim_on_request;
	s->serve.on_request_arg = s;
}

static void fini_sim(struct sim *s)
{
	simlater_fini(s);
	simlag_fini(s);
	simserve_fini(&s->serve);
	simupload_free(s->uploads);
	simcopy_free(s->copies);
	simsock_free(s->sock);
	simlogin_free(s->login);
	simfault_clear(&s->faults);
	simbytes_fini(&s->bytes);
	simspool_fini(&s->spool);
	simtree_fini(&s->tree);
	json_object_put(s->odd);
	json_object_put(s->quota);
	json_object_put(s->delta.pages);
	free(s->delta.gone_code);
	for (unsigned i = 0; i < s->violation_n && i < SIM_VIOLATIONS_MAX; i++)
		free(s->violations[i]);
}

static int start(struct sim *s, struct options *o)
{
	int r = 0;

	if (o->tls_dir) {
		snprintf(o->ca_path, sizeof(o->ca_path), "%s/ca.pem", o->tls_dir);
		snprintf(o->cert_path, sizeof(o->cert_path), "%s/cert.pem", o->tls_dir);
		snprintf(o->key_path, sizeof(o->key_path), "%s/key.pem", o->tls_dir);
		o->serve.cert_path = o->cert_path;
		o->serve.key_path = o->key_path;
		r = simtls_make(o->tls_dir, o->tls_name);
	}
	if (r == 0)
		r = simserve_init(&s->serve, &o->serve);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < SIMPORT_N; i++)
		snprintf(s->base[i], sizeof(s->base[i]), "%s://127.0.0.1:%d",
			 o->tls_dir && i != SIMPORT_ADMIN ? "https" : "http",
			 s->serve.listeners[i].port);
	if (o->has_demo)
		simseed_demo(s);
	simseed_tree(s, o->folder_n, o->file_n, o->size);
	s->tree.on_change = simsock_changed;
	s->tree.on_change_arg = s;
	return 0;
}

static void say_hello(struct sim *s, const struct options *o)
{
	struct simjson line = { 0 };

	simjson_format(&line, "{\"api\":\"%s/v1.0\",\"login\":\"%s\",\"content\":\"%s\"",
		       s->base[SIMPORT_API], s->base[SIMPORT_API], s->base[SIMPORT_CONTENT]);
	simjson_str(&line, "notify", s->base[SIMPORT_NOTIFY]);
	simjson_format(&line, ",\"admin\":\"%s/admin\"", s->base[SIMPORT_ADMIN]);
	simjson_str(&line, "ca", o->tls_dir ? o->ca_path : NULL);
	simjson_text(&line, "}\n");
	(void)fputs(line.data, stdout);
	(void)fflush(stdout);
	simjson_fini(&line);
}

int main(int argc, char **argv)
{
	static struct sim s;
	static struct options o;
	struct sigaction on_end = { .sa_handler = on_signal };

	init_sim(&s);
	if (!parse_options(argc, argv, &o, &s)) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	if (o.ends_with_parent)
		prctl(PR_SET_PDEATHSIG, SIGTERM);
	(void)signal(SIGPIPE, SIG_IGN);
	if (start(&s, &o) < 0)
		return EXIT_FAILURE;
	woken = s.serve.context;
	sigaction(SIGTERM, &on_end, NULL);
	sigaction(SIGINT, &on_end, NULL);
	say_hello(&s, &o);
	while (!is_over)
		simserve_step(&s.serve);
	fini_sim(&s);
	return EXIT_SUCCESS;
}

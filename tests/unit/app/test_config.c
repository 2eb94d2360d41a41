#include "config.h"

#include "scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static const struct unit_case {
	const char *text;
	int want;
	uint64_t value;
} durations[] = {
	{ "250ms", 0, 250 },
	{ "5s", 0, 5000 },
	{ "2m", 0, 120000 },
	{ "1h", 0, 3600000 },
	{ "0s", 0, 0 },
	{ "5", -EINVAL },
	{ "", -EINVAL },
	{ "s", -EINVAL },
	{ "-5s", -EINVAL },
	{ " -5s", -EINVAL },
	{ "5 s", -EINVAL },
	{ "5S", -EINVAL },
	{ "1.5s", -EINVAL },
	{ "99999999999999999999s", -EINVAL },
	{ "18446744073709551615h", -EINVAL },
}, sizes[] = {
	{ "0", 0, 0 },
	{ "512", 0, 512 },
	{ "4K", 0, 4096 },
	{ "1M", 0, 1048576 },
	{ "10G", 0, UINT64_C(10737418240) },
	{ "2T", 0, UINT64_C(2199023255552) },
	{ "10GB", -EINVAL },
	{ "10 G", -EINVAL },
	{ "-1", -EINVAL },
	{ "\t-1", -EINVAL },
	{ "99999999T", -EINVAL },
};

static void check_units(int (*parse)(const char *, uint64_t *), const struct unit_case *c, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t value = 4711;
		int r = parse(c[i].text, &value);

		if (r != c[i].want || value != (r == 0 ? c[i].value : 4711))
			fail_msg("\"%s\": %d, %llu", c[i].text, r, (unsigned long long)value);
	}
}

static void test_units(void **state)
{
	check_units(config_parse_duration, durations, array_n(durations));
	check_units(config_parse_size, sizes, array_n(sizes));
}

static void test_no_file_means_the_defaults(void **state)
{
	struct scratch s;
	struct config config;

	scratch_open(&s);
	assert_int_equal(config_load(s.fd, &config), 0);
	assert_true(config.crawl);
	assert_int_equal(config.cache_bytes, UINT64_C(10) << 30);
	assert_true(config.cache_free_bytes == UINT64_MAX);
	assert_int_equal(config.coherence.poll_min_ms, coherence_defaults.poll_min_ms);
	assert_string_equal(config.live.host_suffixes[0], ".svc.ms");
	assert_null(config.live.host_suffixes[1]);
	assert_null(config.client_id);
	config_fini(&config);
	scratch_close(&s);
}

static void test_every_key(void **state)
{
	struct scratch s;
	struct config c;

	scratch_open(&s);
	scratch_write(&s, "config",
		      "# a comment\n[account]\nclient_id = my-app\ntenant=consumers\n\n"
		      "[sync]\ncrawl = off   ; not wanted\npoll_min = 1s\npoll_max = 2m\n"
		      "safety_poll = 1h\n"
		      "[channel]\nhosts = .a.example .b.example,.c.example\ndial = 1s\njoin = 2s\n"
		      "backoff_min = 3s\nbackoff_max = 4s\nstable = 5s\nrenew_min = 6s\n"
		      "[cache]\nsize = 1M\nfree = 2G\n"
		      "[readers]\nscanner = low\nperson_names = a b*\n");
	assert_int_equal(config_load(s.fd, &c), 0);
	assert_string_equal(c.client_id, "my-app");
	assert_string_equal(c.tenant, "consumers");
	assert_false(c.crawl);
	assert_int_equal(c.coherence.poll_min_ms, 1000);
	assert_int_equal(c.coherence.poll_max_ms, 120000);
	assert_int_equal(c.coherence.safety_ms, 3600000);
	assert_int_equal(c.live.dial_ms, 1000);
	assert_int_equal(c.live.join_ms, 2000);
	assert_int_equal(c.live.backoff_min_ms, 3000);
	assert_int_equal(c.live.backoff_max_ms, 4000);
	assert_int_equal(c.live.stable_ms, 5000);
	assert_int_equal(c.live.renew_min_ms, 6000);
	assert_int_equal(c.cache_bytes, 1048576);
	assert_int_equal(c.cache_free_bytes, UINT64_C(2) << 30);
	assert_int_equal(c.readers.policy[READER_SCANNER], READER_LOW);
	assert_int_equal(c.readers.policy[READER_INDEXER], READER_HEAD);
	assert_string_equal(c.readers.names[READER_PERSON], "a b*");
	assert_string_equal(c.live.host_suffixes[0], ".a.example");
	assert_string_equal(c.live.host_suffixes[2], ".c.example");
	assert_null(c.live.host_suffixes[3]);
	config_fini(&c);
	scratch_close(&s);
}

/* Each names the file, the line and what is wrong there. */
static const struct {
	const char *text, *says;
} mistakes[] = {
	{ "[sync]\ncrawl = yes\n", "line 2: [sync] crawl: \"yes\"" },
	{ "[sync]\n\npoll_min = 5\n", "line 3: [sync] poll_min: \"5\"" },
	{ "[sync]\npoll_mim = 5s\n", "line 2: [sync] poll_mim is not a setting" },
	{ "crawl = on\n", "line 1: [] crawl is not a setting" },
	{ "[snyc]\ncrawl = on\n", "line 2: [snyc] crawl is not a setting" },
	{ "[cache]\nsize = 10GB\n", "line 2: [cache] size: \"10GB\"" },
	{ "[cache]\nsize\n", "line 2:" },
	{ "[readers]\nindexer = none\n", "line 2: [readers] indexer: \"none\"" },
	{ "[readers]\nperson = low\n", "line 2: [readers] person is not a setting" },
	{ "[cache\nsize = 1\n", "line 1:" },
	{ "[channel]\nhosts = .a .b .c .d .e .f .g .h .i\n", "line 2: [channel] hosts:" },
	{ "[channel]\nhosts =\n", "line 2: [channel] hosts:" },
	{ "[account]\nclient_id = "
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
	  "not \"key = value\"" },
	/* The first mistake is the one that is told. */
	{ "[sync]\ncrawl = 1\ncrawl = 2\n", "line 2: [sync] crawl: \"1\"" },
};

struct load {
	struct scratch *s;
	int result;
};

static void load(void *arg)
{
	struct load *l = arg;
	struct config config = { .cache_bytes = 4711 };

	l->result = config_load(l->s->fd, &config);
	if (l->result == 0)
		config_fini(&config);
	else
		assert_int_equal(config.cache_bytes, 4711); /* no output on failure */
}

static void test_mistakes_are_named(void **state)
{
	struct scratch s;
	struct load l = { .s = &s };

	scratch_open(&s);
	for (size_t i = 0; i < array_n(mistakes); i++) {
		auto_free char *log = NULL;

		scratch_write(&s, "config", mistakes[i].text);
		log = scratch_log_of(load, &l);
		if (l.result != -EINVAL)
			fail_msg("taken: %s", mistakes[i].text);
		if (!strstr(log, "config, ") || !strstr(log, mistakes[i].says))
			fail_msg("%s does not say: %s", log, mistakes[i].says);
	}
	assert_int_equal(unlinkat(s.fd, "config", 0), 0);
	assert_int_equal(mkdirat(s.fd, "config", 0700), 0);
	free(scratch_log_of(load, &l));
	assert_int_equal(l.result, -EINVAL);
	scratch_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_no_file_means_the_defaults),
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_mistakes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

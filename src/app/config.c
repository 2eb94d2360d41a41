#define LOG_MODULE "config"
#include "config.h"

#include "inodes.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <string.h>

static const char file_name[] = "config";
static const char default_host[] = ".svc.ms";

struct parse {
	struct config *config;
	char wrong[200]; /* the first mistake inih cannot say in words */
};

static int parse_unit(const char *text, const char *const *units, const uint64_t *factors, size_t n,
		      uint64_t *ret)
{
	unsigned long long value;
	uint64_t product;
	char *unit;

	if (text[0] < '0' || text[0] > '9')
		return -EINVAL;
	errno = 0;
	value = strtoull(text, &unit, 10);
	for (size_t i = 0; errno == 0 && i < n; i++) {
		if (strcmp(unit, units[i]) != 0)
			continue;
		if (__builtin_mul_overflow((uint64_t)value, factors[i], &product))
			return -EINVAL;
		*ret = product;
		return 0;
	}
	return -EINVAL;
}

int config_parse_duration(const char *text, uint64_t *ret_ms)
{
	static const char *const units[] = { "ms", "s", "m", "h", "d" };
	static const uint64_t factors[] = { 1, 1000, 60000, 3600000, 24 * 3600000 };

	return parse_unit(text, units, factors, array_n(units), ret_ms);
}

int config_parse_size(const char *text, uint64_t *ret_bytes)
{
	static const char *const units[] = { "", "K", "M", "G", "T" };
	static const uint64_t factors[] = { 1, 1024, 1024ull << 10, 1024ull << 20, 1024ull << 30 };

	return parse_unit(text, units, factors, array_n(units), ret_bytes);
}

static int parse_count(const char *text, uint64_t *ret)
{
	static const char *const units[] = { "" };
	static const uint64_t factors[] = { 1 };

	return parse_unit(text, units, factors, 1, ret);
}

static int parse_switch(const char *text, bool *ret)
{
	if (strcmp(text, "on") != 0 && strcmp(text, "off") != 0)
		return -EINVAL;
	*ret = text[1] == 'n';
	return 0;
}

/* A duration; "off" is 0. */
static int parse_period(const char *text, uint64_t *ret_ms)
{
	if (strcmp(text, "off") != 0)
		return config_parse_duration(text, ret_ms);
	*ret_ms = 0;
	return 0;
}

static int parse_hosts(const char *text, struct config *config)
{
	auto_free char *copy = strdup(text);
	char *save, *word;
	size_t n = 0;

	for (word = copy ? strtok_r(copy, " ,", &save) : NULL; word;
	     word = strtok_r(NULL, " ,", &save)) {
		if (n == CONFIG_HOSTS_MAX)
			return -EINVAL;
		free(config->hosts[n]);
		config->hosts[n] = strdup(word);
		if (!config->hosts[n++])
			return -ENOMEM;
	}
	for (size_t i = n; i <= CONFIG_HOSTS_MAX; i++) {
		free(config->hosts[i]);
		config->hosts[i] = NULL;
	}
	return n > 0 ? 0 : -EINVAL;
}

static int set_text(char **to, const char *value)
{
	free(*to);
	*to = strdup(value);
	return *to ? 0 : -ENOMEM;
}

static int set(struct config *c, const char *section, const char *key, const char *value)
{
	const struct {
		const char *section, *key;
		uint64_t *to;
	} durations[] = {
		{ "sync", "poll_min", &c->coherence.poll_min_ms },
		{ "sync", "poll_max", &c->coherence.poll_max_ms },
		{ "sync", "retry_min", &c->coherence.retry_ms },
		{ "sync", "safety_poll", &c->coherence.safety_ms },
		{ "mount", "quiet", &c->quiet_ms },
		{ "channel", "dial", &c->live.dial_ms },
		{ "channel", "join", &c->live.join_ms },
		{ "channel", "backoff_min", &c->live.backoff_min_ms },
		{ "channel", "backoff_max", &c->live.backoff_max_ms },
		{ "channel", "stable", &c->live.stable_ms },
		{ "channel", "renew_min", &c->live.renew_min_ms },
		{ "channel", "refused", &c->live.refused_ms },
	};

	for (size_t i = 0; i < array_n(durations); i++)
		if (strcmp(section, durations[i].section) == 0 &&
		    strcmp(key, durations[i].key) == 0)
			return config_parse_duration(value, durations[i].to);
	if (strcmp(section, "sync") == 0 && strcmp(key, "crawl") == 0)
		return parse_switch(value, &c->crawl);
	if (strcmp(section, "sync") == 0 && strcmp(key, "verify") == 0)
		return parse_period(value, &c->verify_ms);
	if (strcmp(section, "cache") == 0 && strcmp(key, "size") == 0)
		return config_parse_size(value, &c->cache_bytes);
	if (strcmp(section, "cache") == 0 && strcmp(key, "free") == 0)
		return config_parse_size(value, &c->cache_free_bytes);
	if (strcmp(section, "mount") == 0 && strcmp(key, "known_inodes") == 0)
		return parse_count(value, &c->known_inodes);
	if (strcmp(section, "mount") == 0 && strcmp(key, "write") == 0)
		return parse_switch(value, &c->is_writable);
	if (strcmp(section, "readers") == 0)
		return reader_rules_set(&c->readers, key, value);
	if (strcmp(section, "channel") == 0 && strcmp(key, "hosts") == 0)
		return parse_hosts(value, c);
	if (strcmp(section, "account") == 0 && strcmp(key, "client_id") == 0)
		return set_text(&c->client_id, value);
	if (strcmp(section, "account") == 0 && strcmp(key, "tenant") == 0)
		return set_text(&c->tenant, value);
	return -ENOENT;
}

static int on_entry(void *user, const char *section, const char *key, const char *value)
{
	struct parse *p = user;
	int r = set(p->config, section, key, value);

	if (r < 0 && !p->wrong[0])
		snprintf(p->wrong, sizeof(p->wrong),
			 r == -ENOENT ? "[%s] %s is not a setting" : "[%s] %s: \"%s\" is not valid",
			 section, key, value);
	return r == 0;
}

int config_load(int dir_fd, struct config *ret)
{
	struct config config = {
		.crawl = true,
		.verify_ms = UINT64_C(7) * 24 * 3600 * 1000,
		.cache_bytes = UINT64_C(10) << 30,
		.cache_free_bytes = UINT64_MAX,
		.known_inodes = INODES_BUDGET,
		.quiet_ms = 2000,
		.readers = reader_rules_default,
		.coherence = coherence_defaults,
	};
	struct parse p = { .config = &config };
	int fd = openat(dir_fd, file_name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	FILE *file;
	int line;

	if (fd < 0 && errno != ENOENT) {
		log_error("%s: %s", file_name, strerror(errno));
		config_fini(&config);
		return -EINVAL;
	}
	config.hosts[0] = strdup(default_host);
	if (!config.hosts[0]) {
		if (fd >= 0)
			close(fd);
		config_fini(&config);
		return -ENOMEM;
	}
	if (fd >= 0) {
		file = fdopen(fd, "r");
		line = file ? ini_parse_file(file, on_entry, &p) : -1;
		/* For inih what cannot be read has ended. */
		if (!file || (line == 0 && ferror(file))) {
			line = -1;
			snprintf(p.wrong, sizeof(p.wrong), "it cannot be read");
		}
		if (file)
			(void)fclose(file);
		else
			close(fd);
		if (line != 0) {
			log_error("%s, line %d: %s", file_name, line,
				  p.wrong[0] ? p.wrong : "not \"key = value\" or \"[section]\"");
			config_fini(&config);
			return -EINVAL;
		}
	}
	*ret = config;
	ret->live.host_suffixes = (const char *const *)ret->hosts;
	return 0;
}

void config_fini(struct config *config)
{
	free(config->client_id);
	free(config->tenant);
	reader_rules_fini(&config->readers);
	for (size_t i = 0; i <= CONFIG_HOSTS_MAX; i++)
		free(config->hosts[i]);
	*config = (struct config){ 0 };
}

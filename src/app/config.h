/*
 * The configuration file: $XDG_CONFIG_HOME/graphfs/config, INI. Constant after config_load().
 * A line that is not understood is an error that names file, line and key: a typing mistake must
 * not silently mean the default.
 *
 *   [account]  client_id, tenant
 *   [sync]     crawl = on|off, poll_min, poll_max, retry_min, safety_poll,
 *              verify = off|duration
 *   [channel]  hosts = suffix suffix ..., dial, join, backoff_min, backoff_max, stable,
 *              renew_min, refused
 *   [cache]    size, free
 *   [mount]    known_inodes, write = on|off, quiet
 *   [readers]  thumbnailer, indexer, scanner, backup = allow|low|head|cached (reader.h),
 *              thumbnailer_names ... backup_names, person_names = pattern pattern ...
 *
 * Durations: a number with ms, s, m, h or d. Sizes: a number with K, M, G or T (powers of 1024).
 */
#pragma once

#include "coherence.h"
#include "live.h"
#include "mem.h"
#include "reader.h"

#include <stdbool.h>
#include <stdint.h>

enum { CONFIG_HOSTS_MAX = 8 };

struct config {
	char *client_id, *tenant;
	bool crawl;
	uint64_t verify_ms; /* 0: never */
	uint64_t cache_bytes;
	uint64_t cache_free_bytes; /* UINT64_MAX: what cache.h does by itself */
	uint64_t known_inodes;     /* inodes.h: the budget */
	bool is_writable;
	uint64_t quiet_ms; /* push.h */
	struct reader_rules readers;
	struct coherence_options coherence;
	struct live_options live; /* host_suffixes points at hosts */
	char *hosts[CONFIG_HOSTS_MAX + 1];
};

/* dir_fd: the configuration directory. No file: the defaults. -EINVAL, with a log line. */
must_check int config_load(int dir_fd, struct config *ret);
void config_fini(struct config *config);

/* 0, -EINVAL. */
must_check int config_parse_duration(const char *text, uint64_t *ret_ms);
must_check int config_parse_size(const char *text, uint64_t *ret_bytes);

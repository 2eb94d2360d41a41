/*
 * A signed-in account as a file: endpoints and tokens. 0600 in a 0700 directory; replaced
 * atomically (temporary file, fsync, rename, fsync of the directory), so that at any moment one
 * usable refresh token is on disk. Any thread; blocks on the disk for a moment.
 */
#pragma once

#include "mem.h"

#include <stdint.h>

/* Strings are owned; ca_file and the tokens may be NULL. */
struct account {
	char *client_id, *tenant;
	char *login_url, *graph_url; /* without a slash at the end; graph_url with its version */
	char *ca_file;
	char *scope;
	char *access_token, *refresh_token; /* secrets */
	int64_t expires_s;                  /* wall clock, of the access token */
};

/* Wipes the secrets. May be called twice. */
void account_fini(struct account *account);

/* -ENOENT: no such account | -EPERM: the file is a link, belongs to somebody else, or is readable
 * by others | -EBADMSG malformed. A log line says what is wrong. dir_fd: the accounts' directory.
 */
must_check int account_load(int dir_fd, const char *name, struct account *ret);
must_check int account_save(int dir_fd, const char *name, const struct account *account);

/* Names of accounts are file names: letters, digits, "-", "_", ".", "@", not starting with ".". */
must_check int account_check_name(const char *name);

/* Notification URLs: what is taken can be dialled, and goes to an allowed host only. */
#include "notifyurl.h"

#include <ctype.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void must(bool is_so)
{
	if (!is_so)
		__builtin_trap();
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 ||
	       strcasecmp(host, "localhost") == 0;
}

static void check(const struct notifyurl *u, const char *url)
{
	static const char head[] = "/socket.io/?EIO=4&transport=websocket";
	size_t len = strlen(u->host);

	must(is_loopback(u->host) ||
	     (u->tls && len > 7 && strcasecmp(u->host + len - 7, ".svc.ms") == 0));
	for (const char *c = u->host; *c; c++)
		must(isalnum((unsigned char)*c) || strchr("-._:", *c));
	must(u->port > 0 && u->eio == 4);
	must(strncmp(u->path, head, strlen(head)) == 0);
	/* The rest is the query, byte for byte. */
	if (u->path[strlen(head)]) {
		const char *query = u->path + strlen(head) + 1;

		must(u->path[strlen(head)] == '&' && strstr(url, query));
	}
	for (const char *c = u->path; *c; c++)
		must((unsigned char)*c > ' ' && *c != 0x7f && *c != '#');
	must(u->ns[0] == '/' && !strpbrk(u->ns, ",?# "));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const char *const hosts[] = { ".svc.ms", NULL };
	auto_free char *url = strndup((const char *)data, len);
	struct notifyurl u;

	if (!url || notifyurl_parse(url, 4, hosts, &u) != 0)
		return 0;
	check(&u, url);
	notifyurl_fini(&u);
	must(!u.host && !u.path && !u.ns);
	return 0;
}

#include "notifyurl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { URL_MAX = 16384, HOST_MAX = 255 };

static const char callback[] = "/callback";

void notifyurl_fini(struct notifyurl *u)
{
	free(u->host);
	if (u->path)
		explicit_bzero(u->path, strlen(u->path));
	free(u->path);
	free(u->ns);
	*u = (struct notifyurl){ 0 };
}

static bool is_loopback(const char *host)
{
	return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 ||
	       strcasecmp(host, "localhost") == 0;
}

static bool is_allowed(const char *host, const char *const *suffixes)
{
	size_t len = strlen(host);

	if (!suffixes || is_loopback(host))
		return true;
	for (; *suffixes; suffixes++) {
		size_t n = strlen(*suffixes);

		if (len > n && strcasecmp(host + len - n, *suffixes) == 0)
			return true;
	}
	return false;
}

/* Control characters and blanks would end the request line early. */
static bool is_clean(const char *url)
{
	for (const unsigned char *c = (const unsigned char *)url; *c; c++)
		if (*c <= ' ' || *c == 0x7f)
			return false;
	return strlen(url) <= URL_MAX;
}

/* A name, or the inside of the brackets of an IPv6 address. What a resolver and a list of allowed
 * hosts could read in two ways is no host. */
static bool is_host(const char *s, size_t len, bool is_ipv6)
{
	static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789-._";
	static const char address[] = "0123456789abcdefABCDEF:.";

	if (len == 0 || len > HOST_MAX)
		return false;
	return strspn(s, is_ipv6 ? address : name) >= len && (is_ipv6 || s[0] != '.');
}

static int parse_port(const char *text, size_t len, uint16_t *ret)
{
	unsigned port = 0;

	if (len == 0 || len > 5)
		return -EBADMSG;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -EBADMSG;
		port = port * 10 + (unsigned)(text[i] - '0');
	}
	if (port == 0 || port > 65535)
		return -EBADMSG;
	*ret = (uint16_t)port;
	return 0;
}

static int parse_authority(const char *s, size_t len, struct notifyurl *u)
{
	const char *host_end, *colon;
	size_t host_len;
	bool is_ipv6 = len > 0 && s[0] == '[';

	if (memchr(s, '@', len))
		return -EPERM;
	if (is_ipv6) {
		host_end = memchr(s, ']', len);
		if (!host_end)
			return -EBADMSG;
		s++, len--;
		host_len = (size_t)(host_end - s);
		colon = host_len + 1 < len ? host_end + 1 : NULL;
	} else {
		colon = memchr(s, ':', len);
		host_len = colon ? (size_t)(colon - s) : len;
	}
	if (!is_host(s, host_len, is_ipv6) || (colon && *colon != ':'))
		return -EBADMSG;
	u->host = strndup(s, host_len);
	if (!u->host)
		return -ENOMEM;
	u->port = u->tls ? 443 : 80;
	return colon ? parse_port(colon + 1, len - (size_t)(colon + 1 - s), &u->port) : 0;
}

static int take_path(const char *path, size_t len, struct notifyurl *u)
{
	size_t tail = strlen(callback);

	if (len >= tail && memcmp(path + len - tail, callback, tail) == 0)
		len -= tail;
	/* A comma ends the namespace in a packet. */
	if (memchr(path, ',', len))
		return -EBADMSG;
	while (len > 1 && path[len - 1] == '/')
		len--;
	u->ns = len == 0 ? strdup("/") : strndup(path, len);
	return u->ns ? 0 : -ENOMEM;
}

static int parse(const char *url, int eio, const char *const *suffixes, struct notifyurl *u)
{
	const char *authority, *path, *query;
	int r;

	if (!is_clean(url))
		return -EBADMSG;
	u->tls = strncasecmp(url, "https://", 8) == 0;
	if (!u->tls && strncasecmp(url, "http://", 7) != 0)
		return -EPERM;
	authority = url + (u->tls ? 8 : 7);
	path = authority + strcspn(authority, "/?#");
	r = parse_authority(authority, (size_t)(path - authority), u);
	if (r < 0)
		return r;
	if ((!u->tls && !is_loopback(u->host)) || !is_allowed(u->host, suffixes))
		return -EPERM;
	query = path + strcspn(path, "?#");
	r = take_path(path, (size_t)(query - path), u);
	if (r < 0)
		return r;
	query += *query == '?';
	u->eio = eio;
	if (asprintf(&u->path, "/socket.io/?EIO=%d&transport=websocket%s%.*s", eio,
		     *query && *query != '#' ? "&" : "", (int)strcspn(query, "#"), query) < 0) {
		u->path = NULL;
		return -ENOMEM;
	}
	return 0;
}

int notifyurl_parse(const char *url, int eio, const char *const *suffixes, struct notifyurl *ret)
{
	struct notifyurl u = { 0 };
	int r = parse(url, eio, suffixes, &u);

	if (r < 0) {
		notifyurl_fini(&u);
		return r;
	}
	*ret = u;
	return 0;
}

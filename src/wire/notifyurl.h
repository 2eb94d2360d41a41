/*
 * The service's notificationUrl as what a WebSocket dials. Two shapes:
 *   https://host/notifications?token=...   what the service sends: the path is the namespace
 *   https://host/path/callback?query       what the documentation shows: the path before
 *                                          "/callback" is the namespace
 * The query is opaque and a secret: it is carried byte for byte and never shown. Pure; any thread.
 */
#pragma once

#include "mem.h"

#include <stdbool.h>
#include <stdint.h>

struct notifyurl {
	char *host; /* without brackets for IPv6 */
	uint16_t port;
	bool tls;
	int eio;    /* Engine.IO version that path asks for */
	char *path; /* "/socket.io/?EIO=4&transport=websocket&<query>"; a secret */
	char *ns;   /* "/notifications" */
};

/* eio: 4 or 3. -EPERM: not https (http only to a loopback host), with userinfo, or a host that is
 * neither below one of the suffixes (".svc.ms"; NULL-terminated, NULL: any) nor loopback.
 * -EBADMSG: malformed, or a path that cannot be a namespace. */
must_check int notifyurl_parse(const char *url, int eio, const char *const *suffixes,
			       struct notifyurl *ret);
void notifyurl_fini(struct notifyurl *u);

/*
 * Subscriptions of the notification channel and the host that serves their sockets: who may
 * connect, with which URL, and what is sent to whom when a drive changes. The protocol on an open
 * socket is simengine.h. One thread.
 */
#pragma once

#include "simapi.h"

enum { SIMSOCK_SUBSCRIPTIONS_MAX = 256, SIMSOCK_QUERY_MAX = 256 };

struct simsock_subscription {
	char id[37];
	char query[SIMSOCK_QUERY_MAX];   /* as given out, byte for byte */
	char token[64];                  /* decoded, for lenient mode */
	char space[64], other_space[64]; /* namespaces that may be joined; other: "" is none */
	unsigned drive;
	uint64_t until_ms; /* CLOCK_MONOTONIC; 0: for ever */
	int64_t until_wall_ms;
};

enum simsock_payload {
	SIMSOCK_VALUE,
	SIMSOCK_FLAT,
	SIMSOCK_OBJECT,
	SIMSOCK_NULL,
	SIMSOCK_NOTHING,
};

enum simsock_connect {
	SIMSOCK_ACCEPT,
	SIMSOCK_ERROR,
	SIMSOCK_ERROR_STRING,
	SIMSOCK_IGNORE,
	SIMSOCK_SPACE_FIRST, /* the namespace is answered before "/" */
	SIMSOCK_NO_SID,
};

/* How sockets behave; README.md, "POST /admin/socket". */
struct simsock_knobs {
	bool is_refused; /* upgrades get refuse_status */
	int refuse_status;
	unsigned open_delay_ms, ping_interval_ms, ping_timeout_ms, connect_timeout_ms;
	char *open_text; /* instead of the open packet; "" sends none; heap */
	char *after_101; /* raw bytes after the upgrade, then close; heap */
	bool has_bad_accept, drops_after_connect, is_silent, has_ws_pings;
	size_t fragment;
	enum simsock_connect connect;
	bool has_no_comma;
	enum simsock_payload payload;
	bool is_in_root, has_ack, is_escaped, is_binary;
	char *event; /* NULL: "notification"; heap */
	bool is_notify_off;
	unsigned notify_delay_ms, duplicates;
	/* of the subscription's reply */
	bool is_callback_shape, has_no_expiry, is_past, drops_at_expiry;
	int64_t lifetime_s;
	char *url_base; /* instead of this host's; heap */
};

struct simsock {
	struct sim *sim;
	struct simsock_knobs knobs;
	struct simsock_subscription subscriptions[SIMSOCK_SUBSCRIPTIONS_MAX];
	unsigned subscription_n; /* ever made: the array is a ring */
	struct list sessions;
	unsigned session_n, next_session;
	uint64_t random;
	lws_sorted_usec_list_t delay;
	bool is_due[SIMTREE_DRIVES];
};

struct simsock *simsock_new(struct sim *s);
/* After the server is gone: no session is left. */
void simsock_free(struct simsock *k);

/* GET {drive}/root/subscriptions/socketIo */
void simsock_subscribe(struct sim *s, struct simreq *req, struct simreply *reply,
		       const struct simroute *route);
/* A request on the notification host. */
void simsock_answer(struct sim *s, struct simreq *req, struct simreply *reply);
/* The drive changed; for struct simtree's on_change, arg is the struct sim. */
void simsock_changed(void *arg, unsigned drive);
/* NULL or what is wrong. */
const char *simsock_configure(struct simsock *k, struct json_object *knobs);
/* Acts on open sockets: POST /admin/socket/send. */
const char *simsock_send(struct simsock *k, struct json_object *what);
void simsock_list(struct simsock *k, struct simjson *out);

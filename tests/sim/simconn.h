/*
 * One connection of graphsim: reads requests, has them answered, sends the replies with the delays,
 * limits and damages they ask for. Behind simserve.h, which calls it; nobody else does. One thread.
 */
#pragma once

#include "simserve.h"

enum simconn_phase {
	SIMCONN_READ,
	SIMCONN_BODY,
	SIMCONN_WAIT,
	SIMCONN_SEND,
	SIMCONN_STALLED,
	SIMCONN_TAKEN,
	SIMCONN_ENDED
};

struct simconn {
	struct list link;
	struct simserve *serve;
	struct lws *wsi;
	enum simport port;
	enum simconn_phase phase;
	struct simjson in, out;
	struct simreq req; /* from its head to its reply */
	bool has_req;
	uint64_t body_got;
	struct simcut cut;
	size_t out_at;
	uint64_t body_at; /* bytes of the body put into out so far */
	struct simreply reply;
	bool has_reply, keep_alive, is_lost, counts_as_stalled;
	bool close_when_sent;
	uint64_t next_us; /* bandwidth: not before */
	lws_sorted_usec_list_t timer;
};

/* The calls of the event loop. Non-zero: the connection is to be closed. */
void simconn_open(struct simserve *s, struct simconn *c, struct lws *wsi);
int simconn_bytes(struct simconn *c, const char *data, size_t len);
int simconn_writable(struct simconn *c);
void simconn_gone(struct simconn *c);
/* At once, with a TCP reset. */
void simconn_reset(struct simconn *c);

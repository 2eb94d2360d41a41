/*
 * HTTP/1.1 requests and replies as bytes; no sockets. A reply can be wrong in every way that the
 * fault list asks for. One thread.
 */
#pragma once

#include "simbytes.h"
#include "simjson.h"

enum simport { SIMPORT_API, SIMPORT_CONTENT, SIMPORT_NOTIFY, SIMPORT_ADMIN, SIMPORT_N };

enum {
	SIMHTTP_HEADS_MAX = 64,
	SIMHTTP_HEAD_MAX_BYTES = 64 << 10,
	SIMHTTP_BODY_MAX_BYTES = 64 << 20, /* in memory */
	SIMHTTP_SPOOLED_MAX_BYTES = 1 << 30
};

struct simconn;

struct simreq {
	enum simport port;
	struct simconn *conn;
	char *method, *target; /* target: as sent */
	char *path, *query;    /* parts of a copy of target; query "" when there is none */
	struct {
		char *name, *value;
	} heads[SIMHTTP_HEADS_MAX];
	unsigned head_n;
	const char *body; /* not followed by a NUL; NULL when spooled */
	size_t body_len;
	/* The body of a PUT is a region of the spool instead, at body_at. Whoever keeps the region
	 * says so; else it is given back after the reply. */
	bool is_spooled, is_kept;
	uint64_t body_at;
	bool keep_alive;
	char *memory; /* what the strings above live in */
};

/* What happens when the reply was sent (perhaps only the part of it that a fault lets pass). */
enum simend { SIMEND_NORMAL, SIMEND_CLOSE, SIMEND_RESET, SIMEND_STALL };

/* A connection that ends while the request's body comes in, after so many bytes of it. */
struct simcut {
	uint64_t at; /* UINT64_MAX: it does not */
	enum simend end;
};

struct simreply {
	int status;
	const char *content_type; /* NULL: none */
	struct simjson heads;     /* whole lines with CRLF */
	struct simjson body;
	/* Body taken from a file instead of from `body`, when has_ref. */
	bool has_ref;
	struct simbytes_ref ref;
	uint64_t ref_at, ref_len;

	uint64_t delay_ms;
	bool no_answer;      /* nothing is sent before `end` */
	bool stall_at_start; /* the same, and counts as stalled */
	enum simend end;
	uint64_t cut_at;  /* bytes of body after which `end` happens; UINT64_MAX: all */
	uint64_t flip_at; /* this byte of the body has a bit flipped; UINT64_MAX: none */
	uint64_t extra_n; /* bytes sent after the body that no length announces */
	uint64_t bytes_per_s;
	char *length_text; /* instead of the right Content-Length; "" sends none; heap */
	char *raw;         /* whole reply as bytes instead; heap */
	size_t raw_len;
	/* The connection becomes this owner's after the reply; see simserve.h. */
	const struct simhttp_taker *taker;
	void *taker_arg;
};

/* Reads a request's head at the start of data, body_len included. Gives its length, 0: not all
 * there yet, -EBADMSG: no HTTP, -EFBIG: too long. The caller frees req with simhttp_free_req(). */
must_check int simhttp_parse_head(const char *data, size_t len, struct simreq *req,
				  size_t *ret_used);
void simhttp_free_req(struct simreq *req);
/* NULL when absent. name without regard to case. */
const char *simhttp_head(const struct simreq *req, const char *name);
/* Value of a query parameter, decoded; NULL when absent. The caller frees. */
char *simhttp_param(const struct simreq *req, const char *name);
/* The same for a form body or any "a=b&c=d". */
char *simhttp_form(const char *text, size_t len, const char *name);
/* Decodes %XX in place and gives the new length. */
size_t simhttp_decode(char *text);
/* Appends with everything but unreserved characters encoded. */
void simhttp_encode(struct simjson *out, const char *text, size_t len);
/* Decodes base64; NULL when it is none. The caller frees. */
char *simhttp_base64(const char *text, size_t *ret_len);

void simhttp_init_reply(struct simreply *r);
void simhttp_free_reply(struct simreply *r);
void simhttp_header(struct simreply *r, const char *name, const char *fmt, ...) printf_like(3, 4);
uint64_t simhttp_body_bytes(const struct simreply *r);
/* Status line and headers as they go out. */
void simhttp_write_head(const struct simreply *r, bool keep_alive, struct simjson *out);

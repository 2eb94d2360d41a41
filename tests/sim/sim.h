/*
 * The simulated service as a whole: what its parts share. One thread.
 */
#pragma once

#include "simfault.h"
#include "simserve.h"

struct simcopy;
struct simlogin;
struct simsock;
struct simupload;

enum { SIM_VIOLATIONS_MAX = 200, SIM_FRESH_MAX = 1024 };

/* How delta answers; see README.md, "POST /admin/delta". */
struct sim_delta_knobs {
	uint64_t lag_ms;
	bool reverse, duplicates, replay_unchanged, no_parents;
	unsigned empty_pages, page_size;
	unsigned drop_tombstones; /* so many tombstones are never delivered */
	unsigned gone_n;          /* so many calls more answer 410 */
	bool gone_without_location;
	char *gone_code;           /* NULL: resyncChangesApplyDifferences */
	struct json_object *pages; /* array of bodies to answer instead, or NULL */
	size_t page_at;
};

/* How writing behaves; see README.md, "POST /admin/writing". */
struct sim_write_knobs {
	uint64_t lag_id_ms, lag_path_ms; /* a new item is not found by its id, its path */
	uint64_t lag_content_ms;         /* a replaced file is still the one before */
	uint64_t etag_bump_ms;           /* so long after an upload the eTag changes; 0: never */
	uint64_t copy_ms;
	uint64_t session_lifetime_ms;
	uint64_t quota_bytes;
	bool rewrite_office;
	bool move_resets_mtime;
	bool session_bumps_etag;
	bool session_conflict_early; /* conflictBehavior fail answers 409 at once */
	bool one_session;            /* a second one for a file answers 409 */
	bool delete_if_match;        /* works; else it is always refused */
	unsigned monitor_status;     /* of a copy that is done */
};

/* An item that the API's callers made, moved or wrote lately. */
struct sim_fresh {
	uint32_t item;
	bool is_new;
	uint64_t at_ns;
	char *old; /* its JSON before it was written, or NULL; heap */
};

struct sim {
	enum simid_flavour flavour; /* of the user's own drive; the second drive is a library */
	bool is_strict;
	struct simtree tree;
	struct simbytes bytes;
	struct simspool spool;
	struct simserve serve;
	struct simfault faults;
	struct simlogin *login;
	struct simsock *sock;
	struct json_object *odd; /* item number -> planted JSON, see simitem.h */

	struct simupload *uploads;
	struct simcopy *copies;
	struct list later; /* see simlater.h */

	struct sim_delta_knobs delta;
	struct sim_write_knobs write;
	struct sim_fresh fresh[SIM_FRESH_MAX]; /* a ring */
	unsigned fresh_n;
	unsigned children_page;
	uint64_t url_lifetime_ms;
	int url_refused_status;    /* what an expired URL answers */
	struct json_object *quota; /* given instead of the right one; NULL: the right one */
	bool has_quota_override;
	uint64_t epoch;  /* part of every delta token; a new one makes all tokens answer 410 */
	uint64_t secret; /* signs links */

	uint64_t requests_n, class_n[SIMCLASS_N], status_n[600], notifications_n;
	uint64_t content_bytes_n, upload_bytes_n;
	char *violations[SIM_VIOLATIONS_MAX];
	unsigned violation_n;

	char base[SIMPORT_N][64]; /* "http://127.0.0.1:8001" */
};

/* Notes that a client broke a rule; the text names it and holds no secret. */
void sim_violation(struct sim *s, const char *fmt, ...) printf_like(2, 3);
/* The API's error body: outer code, inner code or NULL, message. */
void sim_error(struct simreply *reply, const struct simreq *req, int status, const char *code,
	       const char *inner, const char *message);
enum simid_flavour sim_flavour(const struct sim *s, unsigned drive);
void sim_drive_id(const struct sim *s, unsigned drive, char ret[SIMID_MAX * 2]);
void sim_item_id(struct sim *s, uint32_t item, char ret[SIMID_MAX]);
/* SIMTREE_NONE: no such living item. */
uint32_t sim_find_id(struct sim *s, unsigned drive, const char *id);
/* 404 itemNotFound. */
void sim_not_found(struct simreply *reply, const struct simreq *req);
/* Whether a fault is to strike before the request's body is there. */
struct simcut sim_on_head(void *sim, struct simreq *req);
/* Routes a request of any port. */
void sim_on_request(void *sim, struct simreq *req, struct simreply *reply);

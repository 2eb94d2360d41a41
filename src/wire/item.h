/*
 * What Graph answers, as structs: driveItem, pages of them, drive, socketIo subscription, errors.
 * Pure functions over a reply body; any thread.
 *
 * A reply that cannot be believed is -EBADMSG with a text that names the field; nothing of it is
 * given out then. Tolerant where the service is known to be untidy: absent fields, null, unknown
 * facets, sizes below zero on folders, numbers as strings in quotas.
 *
 * Source: graph.microsoft.com driveItem, drive, delta and subscriptions pages.
 */
#pragma once

#include "mem.h"

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

enum item_kind {
	ITEM_UNKNOWN, /* no facet tells (tombstones of business drives) */
	ITEM_FILE,
	ITEM_FOLDER,
	ITEM_PACKAGE, /* OneNote and its like */
	ITEM_REMOTE,  /* shortcut into another drive */
};

#define ITEM_TIME_UNKNOWN INT64_MIN

enum {
	ITEM_ID_MAX = 512,
	ITEM_NAME_MAX = 4096, /* bytes; the service's own limit is 255 UTF-16 units */
	ITEM_TAG_MAX = 1024,
	ITEM_URL_MAX = 16384,
	ITEM_PAGE_MAX = 20000, /* items of one page */
	ITEM_BAD_MAX = 64,     /* of them malformed; more, and the page is */
};

/* Strings are owned by the struct and NULL when absent. */
struct item {
	char *id;
	char *name; /* as the service has it; may hold any byte, NUL included */
	size_t name_len;
	char *parent_id;
	char *parent_drive_id;
	char *etag, *ctag;
	char *web_url;
	char *download_url;                /* a secret: pre-authenticated */
	char *remote_drive_id, *remote_id; /* ITEM_REMOTE: where it leads */
	int64_t size;                      /* -1 unknown */
	int64_t mtime_ns, btime_ns;        /* ITEM_TIME_UNKNOWN */
	int64_t child_count;               /* -1 unknown */
	enum item_kind kind;
	uint8_t hash[20]; /* quickXorHash */
	bool has_hash;
	bool is_root, deleted, malware, vault;
};

/* What is wrong with a reply, for the log: names the field, never holds a value that is secret. */
struct item_problem {
	char text[160];
};

/* An item that cannot be believed in a page that can. */
struct item_bad {
	char *id;
	struct item_problem problem;
};

struct item_page {
	struct item *items;
	size_t n;
	struct item_bad *bad; /* not among the items */
	size_t bad_n;
	char *next_link, *delta_link; /* absolute URLs, not checked here */
};

/* One driveItem. Needs an id. */
must_check int item_parse(struct json_object *obj, struct item *ret, struct item_problem *problem);
/* A listing or delta page. An item with a wrong field goes to bad, so that the others can be used;
 * one without an id, or more than ITEM_BAD_MAX with wrong fields, make the page bad: nobody could
 * say what is missing. */
must_check int item_parse_page(const char *body, size_t len, struct item_page *ret,
			       struct item_problem *problem);
/* One driveItem as a whole body. */
must_check int item_parse_body(const char *body, size_t len, struct item *ret,
			       struct item_problem *problem);
void item_fini(struct item *item);
must_check int item_copy(const struct item *item, struct item *ret);
void item_page_fini(struct item_page *page);
/* Moves a page's items and links, which take the place of those before, to the end of another, and
 * frees its rest. -ENOMEM: nothing happened. */
must_check int item_page_append(struct item_page *to, struct item_page *from);

struct item_drive {
	char *id, *type, *name, *web_url;
	bool has_quota; /* false: unknown, not full */
	uint64_t total, used, remaining;
};
must_check int item_parse_drive(const char *body, size_t len, struct item_drive *ret,
				struct item_problem *problem);
void item_drive_fini(struct item_drive *drive);

struct item_subscription {
	char *id;               /* may be NULL */
	char *notification_url; /* a secret */
	int64_t expires_ns;     /* ITEM_TIME_UNKNOWN */
};
must_check int item_parse_subscription(const char *body, size_t len, struct item_subscription *ret,
				       struct item_problem *problem);
void item_subscription_fini(struct item_subscription *sub);

/* The error body of any reply. Never fails: a body that is no error document has no codes.
 * codes: error.code and those of the nested inner errors, outermost first; texts are cut to fit. */
enum { ITEM_ERROR_CODES = 4 };
struct item_error {
	char codes[ITEM_ERROR_CODES][64];
	unsigned codes_n;
	char message[200], request_id[64];
};
void item_parse_error(const char *body, size_t len, struct item_error *ret);

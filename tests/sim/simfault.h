/*
 * Faults on demand: rules that match requests and damage their replies. The grammar is in
 * README.md. One thread.
 */
#pragma once

#include "list.h"
#include "simhttp.h"

#include <json-c/json.h>

enum simclass {
	SIMCLASS_OTHER,
	SIMCLASS_DEVICECODE,
	SIMCLASS_TOKEN,
	SIMCLASS_ME,
	SIMCLASS_DRIVE,
	SIMCLASS_ITEM,
	SIMCLASS_CHILDREN,
	SIMCLASS_DELTA,
	SIMCLASS_VERSIONS,
	SIMCLASS_CONTENT_URL, /* GET {item}/content on the API host */
	SIMCLASS_SOCKETIO,    /* GET {drive}/root/subscriptions/socketIo */
	SIMCLASS_CONTENT,     /* the pre-authenticated URL */
	SIMCLASS_WEBSOCKET,   /* the upgrade */
	SIMCLASS_MKDIR,       /* from here to COMMIT: those that write, but for UPLOAD_STATUS */
	SIMCLASS_PUT,         /* PUT {item}/content */
	SIMCLASS_SESSION,     /* createUploadSession */
	SIMCLASS_PATCH,
	SIMCLASS_DELETE,
	SIMCLASS_PERMANENT_DELETE,
	SIMCLASS_COPY,
	SIMCLASS_BATCH,
	SIMCLASS_FRAGMENT, /* the four of an upload URL */
	SIMCLASS_UPLOAD_STATUS,
	SIMCLASS_UPLOAD_CANCEL,
	SIMCLASS_COMMIT,  /* also PUT of an item with a sourceUrl */
	SIMCLASS_MONITOR, /* of a copy */
	SIMCLASS_N,
};

enum simfault_phase { SIMFAULT_BEFORE, SIMFAULT_AFTER };

struct simfault_rule;

struct simfault {
	struct list rules;
	unsigned rule_n, next_id;
	uint64_t random;
};

const char *simfault_class_name(enum simclass class);

void simfault_init(struct simfault *f);
void simfault_clear(struct simfault *f);
/* NULL, or why the rule was refused (a constant). */
const char *simfault_add(struct simfault *f, struct json_object *rule, unsigned *ret_id);
/* The end that a rule for the time before the body is there asks for; no other rule is looked at,
 * and simfault_match() looks at none of these. */
struct simcut simfault_match_early(struct simfault *f, enum simclass class, const char *path,
				   const char *id);
/* The rule that strikes this request, counting the occurrence; NULL: none. path, id: of the item
 * concerned, "" when there is none. */
struct simfault_rule *simfault_match(struct simfault *f, enum simclass class, const char *path,
				     const char *id);
enum simfault_phase simfault_phase(const struct simfault_rule *rule);
/* True: the content reply is to ignore the Range header. */
bool simfault_ignores_range(const struct simfault_rule *rule);
/* True: the upload session is to be gone before the request is processed. */
bool simfault_vanishes(const struct simfault_rule *rule);
/* Damages the reply, which is made already unless the rule acts before. */
void simfault_apply(const struct simfault_rule *rule, struct simreply *reply);
void simfault_list(const struct simfault *f, struct simjson *out);

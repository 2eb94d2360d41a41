/*
 * What the engines of this layer stand on, without a network: a real loop, a real store lane, a
 * real tree, and a source whose every answer the test gives, when it wants to.
 *
 * Requests wait in rig_take() until the test answers them; nothing happens by itself, so the test
 * decides every order.
 */
#pragma once

#include "change.h"
#include "lane.h"
#include "list.h"
#include "loop.h"
#include "source.h"
#include "tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RIG_HOST    "https://graph.test/v1.0/"
#define RIG_LINK(t) RIG_HOST "drives/D/root/delta?token=" t

#define RIG_ROOT "{\"id\":\"R\",\"name\":\"root\",\"root\":{},\"folder\":{}}"
#define RIG_DIR(id, name, parent)                                                      \
	"{\"id\":\"" id "\",\"name\":\"" name "\",\"folder\":{},\"parentReference\":{" \
	"\"driveId\":\"D\",\"id\":\"" parent "\"}}"
#define RIG_FILE(id, name, parent, ctag)                                                         \
	"{\"id\":\"" id "\",\"name\":\"" name "\",\"size\":1,\"cTag\":\"" ctag "\",\"file\":{}," \
	"\"parentReference\":{\"driveId\":\"D\",\"id\":\"" parent "\"}}"
#define RIG_GONE(id)          "{\"id\":\"" id "\",\"deleted\":{\"state\":\"deleted\"}}"
#define RIG_NEXT(items, link) "{\"value\":[" items "],\"@odata.nextLink\":\"" link "\"}"
#define RIG_LAST(items, link) "{\"value\":[" items "],\"@odata.deltaLink\":\"" link "\"}"
#define RIG_LISTED(items)     "{\"value\":[" items "]}"

enum rig_kind { RIG_GET_ROOT, RIG_GET_ITEM, RIG_GET_CHILDREN, RIG_GET_DELTA };

/* A request that waits for its answer. */
struct rig_call {
	struct list node;
	struct rig *rig;
	enum rig_kind kind;
	enum http_priority priority;
	char *id, *link; /* NULL: none was given */
	graph_item_fn item_fn;
	graph_page_fn page_fn;
	void *arg;
};

struct rig {
	struct loop *loop;
	struct lane *lane;
	struct tree *tree;
	struct source source;
	struct list calls;
	unsigned cancelled_n;
	char dir[64];
	int dir_fd;
	char *value; /* of rig_kv() */

	/* rig_on_changes(): written on the lane, to be read after rig_settle(). */
	unsigned sets_n, changes_n[CHANGE_ATTR + 1], bulk_n;
};

void rig_init(struct rig *rig);
/* After the engines are freed. */
void rig_fini(struct rig *rig);

/* Waits until a request is there and gives the oldest; fails the test after a while. */
struct rig_call *rig_take(struct rig *rig, enum rig_kind kind);
/* Answers and ends the request. */
void rig_answer_root(struct rig_call *call);
/* The item of a RIG_GET_ITEM. */
void rig_answer_item(struct rig_call *call, const char *body);
/* A body as the service sends it; one that does not parse is answered as graph.h says. */
void rig_answer(struct rig_call *call, const char *body);
void rig_refuse(struct rig_call *call, long status, int error);
/* By something on the way to the service: no error of Graph comes with it. */
void rig_refuse_elsewhere(struct rig_call *call, long status, int error);
void rig_refuse_offline(struct rig_call *call);
/* 410; location may be NULL. */
void rig_refuse_resync(struct rig_call *call, const char *location);

/* Until everything that the engines can do without an answer or a timer is done. */
void rig_settle(struct rig *rig);
/* Turns the loop for so long. */
void rig_turn_ms(struct rig *rig, unsigned ms);
/* Settles; how many requests wait. */
unsigned rig_waiting_n(struct rig *rig);
/* Runs fn on the store lane and waits for it. */
void rig_on_lane(struct rig *rig, loop_fn fn, void *arg);

/* A source_changes_fn with the rig as arg. */
void rig_on_changes(void *arg, struct change_set *set);

/* The tree's root is known, and these items (a delta body) are in it. */
void rig_seed(struct rig *rig, const char *body, const char *link);
/* The value of a key of the tree; "" when there is none. Valid until the next call. */
const char *rig_kv(struct rig *rig, const char *key);
bool rig_has(struct rig *rig, const char *id);
bool rig_is_complete(struct rig *rig, uint64_t dir);
uint64_t rig_ino(struct rig *rig, const char *id);

#include "simcopy.h"
#include "simchange.h"
#include "simguard.h"
#include "simlag.h"
#include "simlater.h"
#include "simname.h"
#include "simwrite.h"

#include <stdio.h>
#include <string.h>

enum { COPIES_MAX = 20000, DEPTH_MAX = 200 };

struct copy {
	uint32_t id;
	uint32_t from, folder;
	char *name;
	enum simguard_conflict conflict;
	uint64_t start_ms;
	bool is_over;
	const char *wrong; /* a code of the service; NULL: fine */
	uint32_t made;
};

struct simcopy {
	struct copy *copies; /* number n at n - 1; kept for ever */
	uint32_t n;
};

struct simcopy *simcopy_new(void)
{
	struct simcopy *c = simjson_alloc(sizeof(*c));

	c->copies = simjson_alloc(COPIES_MAX * sizeof(*c->copies));
	return c;
}

void simcopy_free(struct simcopy *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		free(c->copies[i].name);
	free(c->copies);
	free(c);
}

/* --- the copying --- */

static uint32_t copy_one(struct sim *s, uint32_t from, uint32_t folder, const char *name)
{
	struct simtree_item *it = simtree_get(&s->tree, from);
	struct simchange_times none = { 0 };
	struct simbytes_ref content;
	uint32_t item = SIMTREE_NONE;
	int r;

	if (it->flags & SIMTREE_FOLDER)
		r = simtree_add(&s->tree, folder, name, strlen(name), SIMTREE_FOLDER, &item);
	else if (simbytes_find(&s->bytes, from, it->content_n, &content))
		r = simchange_add_file(s, folder, name, strlen(name), &content, &none, &item);
	else
		return SIMTREE_NONE;
	return r < 0 ? SIMTREE_NONE : item;
}

static uint32_t copy_tree(struct sim *s, uint32_t from, uint32_t folder, const char *name,
			  unsigned depth)
{
	uint32_t item = depth < DEPTH_MAX ? copy_one(s, from, folder, name) : SIMTREE_NONE;

	for (uint32_t at = item ? simtree_get(&s->tree, from)->first_child : SIMTREE_NONE; at;
	     at = simtree_get(&s->tree, at)->next_sibling) {
		auto_free char *below = simtree_dup_name(&s->tree, at);

		if (!copy_tree(s, at, item, below, depth + 1))
			return SIMTREE_NONE;
	}
	return item;
}

static uint64_t bytes_below(struct sim *s, uint32_t item)
{
	uint64_t n = simtree_get(&s->tree, item)->size;

	for (uint32_t at = simtree_get(&s->tree, item)->first_child; at;
	     at = simtree_get(&s->tree, at)->next_sibling)
		n += bytes_below(s, at);
	return n;
}

/* NULL, or the code of what is wrong. */
static const char *perform(struct sim *s, struct copy *c)
{
	auto_free char *other = NULL;
	uint32_t taken;
	unsigned drive;

	if (!simtree_is_alive(&s->tree, c->from) || !simtree_is_alive(&s->tree, c->folder))
		return "itemNotFound";
	if (simtree_is_below(&s->tree, c->folder, c->from))
		return "invalidRequest";
	drive = simtree_get(&s->tree, c->folder)->drive;
	if (s->tree.used_bytes[drive] + bytes_below(s, c->from) > s->write.quota_bytes)
		return "quotaLimitReached";
	taken = simtree_child(&s->tree, c->folder, c->name, strlen(c->name));
	if (taken && c->conflict == SIMGUARD_RENAME)
		other = simname_free(s, c->folder, c->name,
				     simtree_get(&s->tree, c->from)->flags & SIMTREE_FOLDER);
	else if (taken && (c->conflict == SIMGUARD_FAIL || taken == c->from))
		return "nameAlreadyExists";
	else if (taken)
		simtree_delete(&s->tree, taken);
	c->made = copy_tree(s, c->from, c->folder, other ? other : c->name, 0);
	if (c->made)
		simlag_note(s, c->made, true);
	return c->made ? NULL : "generalException";
}

static void run(struct sim *s, void *arg)
{
	struct copy *c = &s->copies->copies[*(uint32_t *)arg - 1];

	c->wrong = perform(s, c);
	c->is_over = true;
}

/* --- the request --- */

static const char url_start[] = "/_api/v2.0/monitor/";

static void start(struct sim *s, struct simreply *reply, struct copy *c)
{
	uint32_t *id = simjson_alloc(sizeof(*id));

	*id = c->id;
	c->start_ms = simtree_now_ns() / 1000000;
	simlater_add(s, s->write.copy_ms, run, id);
	reply->status = 202;
	reply->content_type = NULL;
	simhttp_header(reply, "Location", "%s%s%u?key=%016llx", s->base[SIMPORT_CONTENT], url_start,
		       c->id, (unsigned long long)simid_mix(s->secret ^ c->id));
}

static void read_copy(struct sim *s, struct simreq *req, struct simreply *reply,
		      const struct simroute *r, struct json_object *body)
{
	struct copy c = { .from = r->item, .folder = simtree_get(&s->tree, r->item)->parent };
	struct json_object *name = json_object_object_get(body, "name");

	if (!simwrite_parent(s, req, reply, r, body, true, &c.folder))
		return;
	/* conflictBehavior is not documented for personal drives. */
	if (!simid_is_personal(sim_flavour(s, r->drive)) &&
	    !simguard_conflict(req, reply, NULL, NULL, &c.conflict))
		return;
	c.name = name ? simjson_dup(json_object_get_string(name))
		      : simtree_dup_name(&s->tree, r->item);
	if (!simguard_may_write(s, req, reply, c.folder) ||
	    !simguard_name(s, req, reply, c.folder, c.name,
			   simtree_get(&s->tree, r->item)->flags & SIMTREE_FOLDER)) {
		free(c.name);
		return;
	}
	c.id = s->copies->n + 1;
	s->copies->copies[s->copies->n++] = c;
	start(s, reply, &s->copies->copies[c.id - 1]);
}

void simcopy_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		    const struct simroute *route)
{
	struct json_object *body;

	if (!route->item) {
		sim_not_found(reply, req);
		return;
	}
	if (simtree_get(&s->tree, route->item)->flags & SIMTREE_ROOT) {
		sim_error(reply, req, 400, "invalidRequest", NULL, "The root cannot be copied.");
		return;
	}
	if (s->copies->n == COPIES_MAX) {
		sim_error(reply, req, 503, "serviceNotAvailable", NULL, "Too many copies.");
		return;
	}
	if (!simwrite_body(req, reply, &body))
		return;
	read_copy(s, req, reply, route, body);
	json_object_put(body);
}

/* --- the monitor --- */

bool simcopy_is_route(const struct simreq *req)
{
	return strncmp(req->path, url_start, strlen(url_start)) == 0;
}

static struct copy *find(struct sim *s, const struct simreq *req)
{
	unsigned long long key;
	unsigned id;

	if (sscanf(req->target + strlen(url_start), "%u?key=%16llx", &id, &key) != 2 || id == 0 ||
	    id > s->copies->n || key != simid_mix(s->secret ^ id))
		return NULL;
	return &s->copies->copies[id - 1];
}

static void tell(struct sim *s, struct simreply *reply, const struct copy *c)
{
	struct simjson *w = &reply->body;
	uint64_t age_ms = simtree_now_ns() / 1000000 - c->start_ms;
	uint64_t percent = s->write.copy_ms ? age_ms * 100 / s->write.copy_ms : 0;
	char id[SIMID_MAX] = "";

	if (c->made)
		sim_item_id(s, c->made, id);
	reply->status = c->is_over ? (int)s->write.monitor_status : 202;
	simjson_open(w, NULL, '{');
	simjson_str(w, "operation", "ItemCopy");
	simjson_int(w, "percentageComplete", c->is_over ? 100 : percent < 99 ? (int)percent : 99);
	simjson_str(w, "status", !c->is_over ? "inProgress" : c->wrong ? "failed" : "completed");
	simjson_str(w, "resourceId", id);
	if (c->wrong) {
		simjson_open(w, "error", '{');
		simjson_str(w, "code", c->wrong);
		simjson_str(w, "message", "The copy failed.");
		simjson_close(w, '}');
	}
	simjson_close(w, '}');
	if (reply->status == 303)
		simhttp_header(reply, "Location", "%s/v1.0/me/drive/items/%s", s->base[SIMPORT_API],
			       id);
}

void simcopy_answer_monitor(struct sim *s, struct simreq *req, struct simreply *reply)
{
	const struct copy *c = find(s, req);
	struct simfault_rule *rule;

	s->class_n[SIMCLASS_MONITOR]++;
	if (s->is_strict && simhttp_head(req, "Authorization")) {
		sim_violation(s, "Authorization header on a copy's monitor");
		sim_error(reply, req, 401, "unauthenticated", NULL,
			  "No Authorization header may be sent here.");
		return;
	}
	rule = simfault_match(&s->faults, SIMCLASS_MONITOR, c ? c->name : "", "");
	if (!rule || simfault_phase(rule) != SIMFAULT_BEFORE) {
		if (c)
			tell(s, reply, c);
		else
			sim_not_found(reply, req);
	}
	if (rule)
		simfault_apply(rule, reply);
}

#include "sim.h"
#include "simadmin.h"
#include "simapi.h"
#include "simcopy.h"
#include "simget.h"
#include "simlogin.h"
#include "simsock.h"
#include "simupload.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void sim_violation(struct sim *s, const char *fmt, ...)
{
	struct simjson text = { 0 };
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "graphsim: violation: %s\n", line);
	if (s->violation_n < SIM_VIOLATIONS_MAX) {
		simjson_text(&text, line);
		s->violations[s->violation_n] = text.data;
	}
	s->violation_n++;
}

void sim_error(struct simreply *reply, const struct simreq *req, int status, const char *code,
	       const char *inner, const char *message)
{
	static uint64_t next = 1;
	const char *client_id = simhttp_head(req, "client-request-id");
	struct simjson *w = &reply->body;
	char guid[37], date[40];

	simid_guid(next++ << 8, guid);
	simjson_time_text(date, simtree_now_ms(), 0);
	date[strlen(date) - 1] = '\0';
	reply->status = status;
	reply->has_ref = false;
	simjson_clear(w);
	simjson_open(w, NULL, '{');
	simjson_open(w, "error", '{');
	simjson_str(w, "code", code);
	simjson_str(w, "message", message);
	simjson_open(w, "innerError", '{');
	if (inner)
		simjson_str(w, "code", inner);
	simjson_str(w, "date", date);
	simjson_str(w, "request-id", guid);
	simjson_str(w, "client-request-id", client_id ? client_id : guid);
	simjson_text(w, "}}}");
	simhttp_header(reply, "request-id", "%s", guid);
}

enum simid_flavour sim_flavour(const struct sim *s, unsigned drive)
{
	return drive == 0 ? s->flavour : SIMID_LIBRARY;
}

void sim_drive_id(const struct sim *s, unsigned drive, char ret[SIMID_MAX * 2])
{
	simid_drive(sim_flavour(s, drive), drive, ret);
}

void sim_item_id(struct sim *s, uint32_t item, char ret[SIMID_MAX])
{
	const struct simtree_item *it = simtree_get(&s->tree, item);

	simid_item(sim_flavour(s, it->drive), it->drive, item, it->flags & SIMTREE_ROOT, ret);
}

uint32_t sim_find_id(struct sim *s, unsigned drive, const char *id)
{
	bool is_root;
	uint32_t item;

	if (!simid_find(sim_flavour(s, drive), drive, id, &item, &is_root))
		return SIMTREE_NONE;
	if (is_root)
		return s->tree.root[drive];
	return simtree_is_alive(&s->tree, item) && s->tree.items[item].drive == drive
		       ? item
		       : SIMTREE_NONE;
}

static void count(struct sim *s, const struct simreply *reply)
{
	s->requests_n++;
	if (reply->status > 0 && reply->status < 600)
		s->status_n[reply->status]++;
}

void sim_not_found(struct simreply *reply, const struct simreq *req)
{
	sim_error(reply, req, 404, "itemNotFound", "itemDoesNotExist",
		  "The resource could not be found.");
}

struct simcut sim_on_head(void *sim, struct simreq *req)
{
	struct sim *s = sim;
	struct simcut none = { .at = UINT64_MAX };
	struct simcut cut = req->port == SIMPORT_API       ? simapi_cut(s, req)
			    : req->port == SIMPORT_CONTENT ? simupload_cut(s, req)
							   : none;

	if (cut.end != SIMEND_NORMAL)
		s->requests_n++;
	return cut;
}

void sim_on_request(void *sim, struct simreq *req, struct simreply *reply)
{
	struct sim *s = sim;

	switch (req->port) {
	case SIMPORT_ADMIN:
		simadmin_answer(s, req, reply);
		return;
	case SIMPORT_API:
		simapi_answer(s, req, reply);
		break;
	case SIMPORT_CONTENT:
		if (simupload_is_route(req))
			simupload_answer(s, req, reply);
		else if (simcopy_is_route(req))
			simcopy_answer_monitor(s, req, reply);
		else
			simget_answer(s, req, reply);
		break;
	case SIMPORT_NOTIFY:
		simsock_answer(s, req, reply);
		break;
	case SIMPORT_N:
		break;
	}
	count(s, reply);
}

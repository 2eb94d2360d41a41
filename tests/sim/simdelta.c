#include "simdelta.h"
#include "simitem.h"

#include <stdio.h>
#include <string.h>

/* The service's own page, and the most that it gives to who asks for more. */
enum { PAGE_ITEMS = 200, TOP_MAX = 1000, PAGE_MAX = 5000, REPLAYED_N = 5 };

/* What a token says. */
struct cursor {
	bool is_full;     /* enumerating the whole drive, by item number */
	uint64_t seq;     /* changes up to here are known to the client (full: when it ended) */
	uint32_t next;    /* full: the item that comes next */
	unsigned empty_n; /* empty pages still to come before the rest */
};

struct page {
	uint32_t *items;
	size_t n, cap;
	struct cursor next;
	bool is_last;
};

static void push(struct page *p, uint32_t item)
{
	if (p->n == p->cap) {
		uint32_t *more = simjson_alloc((p->cap * 2 + 64) * sizeof(*more));

		if (p->n > 0)
			memcpy(more, p->items, p->n * sizeof(*more));
		free(p->items);
		p->items = more;
		p->cap = p->cap * 2 + 64;
	}
	p->items[p->n++] = item;
}

static bool holds(const struct page *p, uint32_t item)
{
	for (size_t i = p->n; i > 0; i--)
		if (p->items[i - 1] == item)
			return true;
	return false;
}

/* The newest change that delta may show already. */
static uint64_t visible_seq(struct sim *s, unsigned drive)
{
	uint64_t limit = simtree_now_ns() - s->delta.lag_ms * 1000000u;
	uint32_t n = s->tree.log_last[drive];

	while (n && s->delta.lag_ms > 0 && simtree_get(&s->tree, n)->seq > limit)
		n = simtree_get(&s->tree, n)->log_prev;
	return n ? simtree_get(&s->tree, n)->seq : 0;
}

static bool is_hidden(struct sim *s, uint32_t n)
{
	struct simtree_item *it = simtree_get(&s->tree, n);

	if ((it->flags & SIMTREE_DELETED) && s->delta.drop_tombstones > 0 &&
	    !(it->flags & SIMTREE_LOST)) {
		s->delta.drop_tombstones--;
		it->flags |= SIMTREE_LOST;
	}
	return it->flags & SIMTREE_LOST;
}

static void collect_full(struct sim *s, unsigned drive, const struct cursor *at, size_t size,
			 struct page *p)
{
	uint32_t n = at->next;

	for (; n < s->tree.item_n && p->n < size; n++) {
		const struct simtree_item *it = simtree_get(&s->tree, n);

		if (it->drive == drive && !(it->flags & SIMTREE_DELETED))
			push(p, n);
	}
	p->is_last = n >= s->tree.item_n;
	p->next = (struct cursor){ .is_full = !p->is_last, .seq = at->seq, .next = n };
}

/* On business drives every changed item comes with all its folders up to the root. */
static void add_parents(struct sim *s, struct page *p, uint32_t item)
{
	uint32_t up = simtree_get(&s->tree, item)->parent;
	size_t first = p->n;

	for (; up && !holds(p, up); up = simtree_get(&s->tree, up)->parent)
		if (!(simtree_get(&s->tree, up)->flags & SIMTREE_DELETED))
			push(p, up);
	/* Top down. */
	for (size_t i = first, j = p->n; i + 1 < j; i++) {
		uint32_t swap = p->items[i];

		p->items[i] = p->items[--j];
		p->items[j] = swap;
	}
}

static void collect_changes(struct sim *s, unsigned drive, const struct cursor *at, size_t size,
			    bool with_parents, struct page *p)
{
	uint64_t last = visible_seq(s, drive), seq = at->seq;
	uint32_t n = s->tree.log_last[drive];
	size_t left = size;

	while (n && simtree_get(&s->tree, n)->seq > at->seq) {
		uint32_t prev = simtree_get(&s->tree, n)->log_prev;

		if (!prev || simtree_get(&s->tree, prev)->seq <= at->seq)
			break;
		n = prev;
	}
	if (n && simtree_get(&s->tree, n)->seq <= at->seq)
		n = SIMTREE_NONE;
	for (; n && left > 0 && simtree_get(&s->tree, n)->seq <= last;
	     n = simtree_get(&s->tree, n)->log_next) {
		seq = simtree_get(&s->tree, n)->seq;
		if (is_hidden(s, n))
			continue;
		if (with_parents)
			add_parents(s, p, n);
		push(p, n);
		left--;
	}
	p->is_last = !n || simtree_get(&s->tree, n)->seq > last;
	p->next = (struct cursor){ .seq = seq };
}

static void disturb(struct sim *s, unsigned drive, struct page *p)
{
	size_t n = p->n;

	if (s->delta.replay_unchanged) {
		uint32_t at = s->tree.log_first[drive];

		for (unsigned i = 0; at && i < REPLAYED_N; i++) {
			if (!(simtree_get(&s->tree, at)->flags & SIMTREE_DELETED))
				push(p, at);
			at = simtree_get(&s->tree, at)->log_next;
		}
	}
	for (size_t i = 0; s->delta.duplicates && i < n; i++)
		push(p, p->items[i]);
	for (size_t i = 0, j = p->n; s->delta.reverse && i + 1 < j; i++) {
		uint32_t swap = p->items[i];

		p->items[i] = p->items[--j];
		p->items[j] = swap;
	}
}

/* --- tokens --- */

static void write_link(struct sim *s, const struct simreq *req, const struct simroute *route,
		       const struct cursor *c, struct simjson *out)
{
	struct simjson path = { 0 };
	char token[96];

	snprintf(token, sizeof(token), "%llx.%c.%llx.%x.%x", (unsigned long long)s->epoch,
		 c->is_full ? 'F' : 'D', (unsigned long long)c->seq, c->next, c->empty_n);
	simjson_format(&path, "%s/root/delta", route->prefix);
	simapi_link(s, out, path.data, req->query, "token", token);
	simjson_fini(&path);
}

/* 0: fine; else the status to refuse with. */
static int parse_token(struct sim *s, const char *text, struct cursor *ret)
{
	unsigned long long epoch, seq;
	char kind;

	if (sscanf(text, "%llx.%c.%llx.%x.%x", &epoch, &kind, &seq, &ret->next, &ret->empty_n) !=
		    5 ||
	    (kind != 'F' && kind != 'D'))
		return 400;
	ret->is_full = kind == 'F';
	ret->seq = seq;
	return epoch == s->epoch ? 0 : 410;
}

static char *token_of(const struct simreq *req, const char *sub)
{
	const char *quoted = strstr(sub, "token='");

	if (quoted) {
		size_t n = strcspn(quoted + 7, "'");
		char *text = simjson_alloc(n + 1);

		memcpy(text, quoted + 7, n);
		return text;
	}
	return simhttp_param(req, "token");
}

static void answer_gone(struct sim *s, const struct simreq *req, struct simreply *reply,
			const struct simroute *route)
{
	sim_error(reply, req, 410, "resyncRequired",
		  s->delta.gone_code ? s->delta.gone_code : "resyncChangesApplyDifferences",
		  "Resync required. Replace any local items with the server's version.");
	if (!s->delta.gone_without_location)
		simhttp_header(reply, "Location", "%s%s/root/delta", s->base[SIMPORT_API],
			       route->prefix);
}

/* --- replies --- */

static void write_page(struct sim *s, struct simreq *req, const struct simroute *route,
		       const struct page *p, struct simjson *w)
{
	struct simjson link = { 0 };
	unsigned fields = simitem_fields(req);
	bool has_select = fields != SIMITEM_ALL;

	simjson_open(w, NULL, '{');
	simjson_str(w, "@odata.context",
		    "https://graph.microsoft.com/v1.0/$metadata#Collection(driveItem)");
	write_link(s, req, route, &p->next, &link);
	simjson_str(w, p->is_last ? "@odata.deltaLink" : "@odata.nextLink", link.data);
	simjson_fini(&link);
	simjson_open(w, "value", '[');
	for (size_t i = 0; i < p->n; i++)
		simitem_write(s, w, NULL, p->items[i], SIMITEM_DELTA,
			      has_select ? fields : fields & ~(unsigned)SIMITEM_DOWNLOAD);
	simjson_close(w, ']');
	simjson_close(w, '}');
}

/* A body given by the test; {next} and {delta} become links that go on from here. */
static bool answer_given(struct sim *s, struct simreq *req, struct simreply *reply,
			 const struct simroute *route)
{
	struct cursor here = { .seq = visible_seq(s, route->drive) };
	struct simjson link = { 0 };
	struct json_object *page;
	const char *text;

	if (!s->delta.pages || s->delta.page_at >= json_object_array_length(s->delta.pages))
		return false;
	page = json_object_array_get_idx(s->delta.pages, s->delta.page_at++);
	text = json_object_is_type(page, json_type_string)
		       ? json_object_get_string(page)
		       : json_object_to_json_string_ext(
				 page, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	write_link(s, req, route, &here, &link);
	while (*text) {
		bool is_link = strncmp(text, "{next}", 6) == 0 || strncmp(text, "{delta}", 7) == 0;

		if (is_link)
			simjson_text(&reply->body, link.data);
		else
			simjson_raw(&reply->body, text, 1);
		text += is_link ? (text[1] == 'n' ? 6 : 7) : 1;
	}
	simjson_fini(&link);
	return true;
}

static size_t size_of_page(const struct sim *s, const struct simreq *req)
{
	auto_free char *top = simhttp_param(req, "$top");
	unsigned long asked = top ? strtoul(top, NULL, 10) : 0, most = s->delta.page_size;

	if (most == 0)
		most = asked > 0 ? TOP_MAX : PAGE_ITEMS;
	if (asked > 0 && asked < most)
		most = asked;
	return most > PAGE_MAX ? PAGE_MAX : most;
}

static void answer_page(struct sim *s, struct simreq *req, struct simreply *reply,
			const struct simroute *route, const struct cursor *at)
{
	const char *alone = simhttp_head(req, "deltaExcludeParent");
	bool with_parents =
		!simid_is_personal(sim_flavour(s, route->drive)) && !s->delta.no_parents && !alone;
	size_t size = size_of_page(s, req);
	struct page p = { 0 };

	if (at->empty_n > 0) {
		p.next = *at;
		p.next.empty_n--;
	} else if (at->is_full) {
		collect_full(s, route->drive, at, size, &p);
	} else {
		collect_changes(s, route->drive, at, size, with_parents, &p);
	}
	if (p.n > 0)
		disturb(s, route->drive, &p);
	write_page(s, req, route, &p, &reply->body);
	free(p.items);
}

void simdelta_answer(struct sim *s, struct simreq *req, struct simreply *reply,
		     const struct simroute *route)
{
	auto_free char *token = token_of(req, route->sub);
	struct cursor at = { .is_full = true,
			     .seq = visible_seq(s, route->drive),
			     .next = 1,
			     .empty_n = s->delta.empty_pages };
	int status = 0;

	if (!route->is_root_form && !simid_is_personal(sim_flavour(s, route->drive))) {
		sim_error(reply, req, 400, "notSupported", NULL, "Delta works at the root only.");
		return;
	}
	if (s->delta.gone_n > 0 && token) {
		s->delta.gone_n--;
		status = 410;
	}
	if (status == 0 && answer_given(s, req, reply, route))
		return;
	if (status == 0 && token && strcmp(token, "latest") == 0) {
		struct page none = { .is_last = true, .next = { .seq = at.seq } };

		write_page(s, req, route, &none, &reply->body);
		return;
	}
	if (status == 0 && token) {
		status = parse_token(s, token, &at);
		if (status == 0 && !simapi_check_link(s, req))
			status = 400;
	}
	if (status == 410)
		answer_gone(s, req, reply, route);
	else if (status == 400)
		sim_error(reply, req, 400, "invalidRequest", NULL, "The token is not valid.");
	else
		answer_page(s, req, reply, route, &at);
}

#include "simget.h"
#include "simitem.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static uint64_t signature(const struct sim *s, uint32_t item, uint32_t version, uint64_t until_ms)
{
	return simid_mix(s->secret ^ simid_mix((uint64_t)item << 32 | version) ^
			 simid_mix(until_ms));
}

static void write_target(struct sim *s, uint32_t item, uint32_t version, uint64_t until_ms,
			 struct simjson *out)
{
	/* Characters that a URL library likes to change: they must come back as they are. */
	simjson_format(out,
		       "/_layouts/15/download.aspx?UniqueId=%u&Translate=false&v=%u&ApiVersion=2.0"
		       "&note=a%%2fb%%2Bc+d%%7e~'(!)&tempauth=v1.%llu.%016llx",
		       item, version, (unsigned long long)until_ms,
		       (unsigned long long)signature(s, item, version, until_ms));
}

void simget_url(struct sim *s, uint32_t item, uint32_t version, struct simjson *out)
{
	simjson_text(out, s->base[SIMPORT_CONTENT]);
	write_target(s, item, version, simtree_now_ns() / 1000000 + s->url_lifetime_ms, out);
}

static void refuse(struct sim *s, const struct simreq *req, struct simreply *reply, int status,
		   const char *why)
{
	(void)s;
	sim_error(reply, req, status, status == 404 ? "itemNotFound" : "unauthenticated", NULL,
		  why);
}

/* True when the URL is one that was given out; says else which rule it broke. */
static bool check_url(struct sim *s, const struct simreq *req, struct simreply *reply,
		      uint32_t *ret_item, uint32_t *ret_version)
{
	struct simjson right = { 0 };
	unsigned long long until_ms;
	const char *auth = strstr(req->query, "tempauth=v1.");
	bool is_exact;

	if (sscanf(req->query, "UniqueId=%u&Translate=false&v=%u", ret_item, ret_version) != 2 ||
	    !auth || sscanf(auth, "tempauth=v1.%llu", &until_ms) != 1) {
		sim_violation(s, "download URL is none that was given out");
		refuse(s, req, reply, 403, "The URL is malformed.");
		return false;
	}
	write_target(s, *ret_item, *ret_version, until_ms, &right);
	is_exact = strcmp(right.data, req->target) == 0;
	simjson_fini(&right);
	if (!is_exact) {
		sim_violation(s, "download URL was changed on its way");
		refuse(s, req, reply, 403, "The signature does not match.");
		return false;
	}
	if (simtree_now_ns() / 1000000 > until_ms) {
		refuse(s, req, reply, s->url_refused_status, "The URL has expired.");
		return false;
	}
	return true;
}

/* 1: first and last byte of a range; 0: no range that is understood; -ERANGE: beyond the end. */
static int parse_range(const char *text, uint64_t size, uint64_t *ret_first, uint64_t *ret_last)
{
	unsigned long long first = 0, last = UINT64_MAX;
	char *end;

	if (!text || strncasecmp(text, "bytes=", 6) != 0 || strchr(text, ','))
		return 0;
	text += 6;
	if (*text == '-') {
		unsigned long long n = strtoull(text + 1, &end, 10);

		if (*end || n == 0)
			return n == 0 ? -ERANGE : 0;
		*ret_first = n > size ? 0 : size - n;
		*ret_last = size - 1;
		return size == 0 ? -ERANGE : 1;
	}
	if (!isdigit((unsigned char)*text))
		return 0;
	first = strtoull(text, &end, 10);
	if (*end++ != '-')
		return 0;
	if (*end)
		last = strtoull(end, &end, 10);
	if (*end || last < first)
		return 0;
	if (first >= size)
		return -ERANGE;
	*ret_first = first;
	*ret_last = last < size ? last : size - 1;
	return 1;
}

static void last_modified(struct simreply *reply, int64_t mtime_ms)
{
	time_t s = (time_t)(mtime_ms / 1000);
	struct tm tm;
	char text[64];

	gmtime_r(&s, &tm);
	(void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
	simhttp_header(reply, "Last-Modified", "%s", text);
}

static void serve(struct sim *s, struct simreq *req, struct simreply *reply,
		  const struct simbytes_ref *ref, bool ignores_range)
{
	const char *range = ignores_range ? NULL : simhttp_head(req, "Range");
	const char *known = simhttp_head(req, "If-None-Match");
	uint64_t first = 0, last = ref->size - 1;
	char etag[80];
	int r = parse_range(range, ref->size, &first, &last);

	simitem_ctag(s, ref->item, ref->version, etag);
	simhttp_header(reply, "ETag", "%s", etag);
	simhttp_header(reply, "Accept-Ranges", "bytes");
	last_modified(reply, ref->mtime_ms);
	reply->content_type = "application/octet-stream";
	if (known && strcmp(known, etag) == 0) {
		reply->status = 304;
		return;
	}
	if (r == -ERANGE) {
		sim_error(reply, req, 416, "invalidRange", NULL, "The range is beyond the end.");
		simhttp_header(reply, "Content-Range", "bytes */%llu",
			       (unsigned long long)ref->size);
		return;
	}
	reply->has_ref = true;
	reply->ref = *ref;
	reply->ref_at = r ? first : 0;
	reply->ref_len = r ? last - first + 1 : ref->size;
	if (r) {
		reply->status = 206;
		simhttp_header(reply, "Content-Range", "bytes %llu-%llu/%llu",
			       (unsigned long long)first, (unsigned long long)last,
			       (unsigned long long)ref->size);
	}
	s->content_bytes_n += reply->ref_len;
}

static void process(struct sim *s, struct simreq *req, struct simreply *reply, uint32_t item,
		    uint32_t version, bool ignores_range)
{
	struct simbytes_ref ref;

	if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0) {
		sim_error(reply, req, 405, "notAllowed", NULL, "Only GET and HEAD.");
		return;
	}
	if (version == SIMGET_CURRENT)
		version = simtree_get(&s->tree, item)->content_n;
	if (!simtree_is_alive(&s->tree, item) || !simbytes_find(&s->bytes, item, version, &ref)) {
		refuse(s, req, reply, 404, "The file is gone.");
		return;
	}
	serve(s, req, reply, &ref, ignores_range);
}

void simget_answer(struct sim *s, struct simreq *req, struct simreply *reply)
{
	struct simfault_rule *rule;
	uint32_t item = 0, version = 0;
	char id[SIMID_MAX] = "";
	char *path;

	s->class_n[SIMCLASS_CONTENT]++;
	if (s->is_strict && simhttp_head(req, "Authorization")) {
		sim_violation(s, "Authorization header on the content host");
		refuse(s, req, reply, 401, "No Authorization header may be sent here.");
		return;
	}
	if (!check_url(s, req, reply, &item, &version))
		return;
	path = simtree_path(&s->tree, item);
	sim_item_id(s, item, id);
	rule = simfault_match(&s->faults, SIMCLASS_CONTENT, path, id);
	free(path);
	if (!rule || simfault_phase(rule) != SIMFAULT_BEFORE)
		process(s, req, reply, item, version, rule && simfault_ignores_range(rule));
	if (rule)
		simfault_apply(rule, reply);
}

#include "urls.h"

#include "list.h"

#include <errno.h>
#include <string.h>

enum { BUCKETS_N = 256 };

struct entry {
	struct list node, lru;
	uint64_t cid;
	size_t bytes;
	struct urls_known known;
};

struct urls {
	struct list buckets[BUCKETS_N];
	struct list lru; /* newest first */
	size_t n, bytes;
};

void urls_known_fini(struct urls_known *known)
{
	if (known->url)
		explicit_bzero(known->url, strlen(known->url));
	free(known->url);
	for (size_t i = 0; i < URLS_TAGS; i++)
		free(known->tags[i]);
	*known = (struct urls_known){ 0 };
}

static size_t bytes_of(const struct urls_known *known)
{
	size_t bytes = sizeof(struct entry) + strlen(known->url);

	for (size_t i = 0; i < URLS_TAGS; i++)
		bytes += known->tags[i] ? strlen(known->tags[i]) : 0;
	return bytes;
}

static struct entry *find(const struct urls *urls, uint64_t cid)
{
	list_for_each (&urls->buckets[cid % BUCKETS_N], pos) {
		struct entry *e = container_of(pos, struct entry, node);

		if (e->cid == cid)
			return e;
	}
	return NULL;
}

static void drop(struct urls *urls, struct entry *e)
{
	list_del(&e->node);
	list_del(&e->lru);
	urls->n--;
	urls->bytes -= e->bytes;
	urls_known_fini(&e->known);
	free(e);
}

int urls_new(struct urls **ret)
{
	struct urls *urls = calloc(1, sizeof(*urls));

	if (!urls)
		return -ENOMEM;
	list_init(&urls->lru);
	for (size_t i = 0; i < BUCKETS_N; i++)
		list_init(&urls->buckets[i]);
	*ret = urls;
	return 0;
}

void urls_free(struct urls *urls)
{
	if (!urls)
		return;
	list_for_each_safe (&urls->lru, pos)
		drop(urls, container_of(pos, struct entry, lru));
	free(urls);
}

void urls_put(struct urls *urls, uint64_t cid, struct urls_known *known)
{
	struct entry *e = find(urls, cid);

	if (e)
		drop(urls, e);
	e = known->url ? calloc(1, sizeof(*e)) : NULL;
	if (!e) {
		urls_known_fini(known);
		return;
	}
	e->cid = cid;
	e->bytes = bytes_of(known);
	e->known = *known;
	*known = (struct urls_known){ 0 };
	list_add_tail(&urls->buckets[cid % BUCKETS_N], &e->node);
	list_add_head(&urls->lru, &e->lru);
	urls->n++;
	urls->bytes += e->bytes;
	while (urls->n > URLS_MAX || urls->bytes > URLS_BYTES_MAX)
		drop(urls, container_of(urls->lru.prev, struct entry, lru));
}

int urls_take(struct urls *urls, uint64_t cid, uint64_t now_ms, struct urls_known *ret)
{
	struct entry *e = find(urls, cid);
	int r = -ENOENT;

	if (!e)
		return r;
	if (now_ms - e->known.since_ms < URLS_LIFE_MS) {
		*ret = e->known;
		e->known = (struct urls_known){ 0 };
		r = 0;
	}
	drop(urls, e);
	return r;
}

size_t urls_n(const struct urls *urls)
{
	return urls->n;
}

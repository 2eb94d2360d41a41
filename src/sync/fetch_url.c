/*
 * The item is asked for before its first byte is, and whenever a reply leaves the version in
 * doubt. The URL that comes with it leads to the item, not to a version: what the replies behind
 * it are of is decided by their entity tags, and by asking the item again.
 */
#define LOG_MODULE "fetch"
#include "fetch_file.h"

#include "clock.h"
#include "config-build.h"
#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static bool is_same_str(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

/* Does the item still have the version? By the strongest thing that both sides know. */
static bool is_same_version(const struct fetch_version *v, const struct item *item)
{
	if (PLANT_MIXED_VERSION)
		return true;
	if (item->deleted)
		return false;
	if (v->ctag && item->ctag)
		return is_same_str(v->ctag, item->ctag);
	if (is_same_str(v->etag, item->etag))
		return true;
	if (item->size >= 0 && (uint64_t)item->size != v->size)
		return false;
	if (v->hash && item->has_hash)
		return memcmp(v->hash, item->hash, sizeof(item->hash)) == 0;
	return item->size >= 0 && item->mtime_ns != ITEM_TIME_UNKNOWN &&
	       item->mtime_ns == v->mtime_ns;
}

/* Compares entity tags without the marks that hosts add: W/ and quotes. */
static size_t bare(const char *etag, const char **ret)
{
	size_t len;

	if (strncmp(etag, "W/", 2) == 0)
		etag += 2;
	len = strlen(etag);
	if (len >= 2 && etag[0] == '"' && etag[len - 1] == '"') {
		etag++;
		len -= 2;
	}
	*ret = etag;
	return len;
}

static bool is_same_etag(const char *a, const char *b)
{
	const char *bare_a, *bare_b;
	size_t len = bare(a, &bare_a);

	return len > 0 && len == bare(b, &bare_b) && memcmp(bare_a, bare_b, len) == 0;
}

bool fetch_url_is_good(const struct fetch_file *file, const char *etag)
{
	for (size_t i = 0; i < URLS_TAGS; i++) {
		if (file->known.tags[i] && is_same_etag(file->known.tags[i], etag))
			return true;
	}
	return false;
}

void fetch_url_add_good(struct fetch_file *file, const char *etag)
{
	char *copy;

	if (!etag || fetch_url_is_good(file, etag))
		return;
	copy = strdup(etag);
	if (!copy)
		return; /* costs a question */
	free(file->known.tags[file->tag_at]);
	file->known.tags[file->tag_at] = copy;
	file->tag_at = (file->tag_at + 1) % URLS_TAGS;
}

void fetch_url_forget(struct fetch_file *file)
{
	if (file->known.url)
		explicit_bzero(file->known.url, strlen(file->known.url));
	free(file->known.url);
	file->known.url = NULL;
	file->is_proven = false;
}

void fetch_url_keep(struct fetch_file *file)
{
	/* One that leads nowhere would be taken again and again. */
	if (file->known.url && file->is_proven && file->dead == 0)
		urls_put(file->fetch->urls, file->version.cid, &file->known);
}

static void keep_url(struct fetch_file *file, const char *url)
{
	fetch_url_forget(file);
	file->known.url = strdup(url);
	file->known.since_ms = clock_mono_ms();
}

static void kick(struct fetch_file *file)
{
	mutex_lock(&file->fetch->lock);
	fetch_kick(file);
	mutex_unlock(&file->fetch->lock);
}

/* Everything that was answered before the question was asked is of the version. */
static void release_asked(struct fetch_file *file)
{
	list_for_each (&file->segments, pos) {
		struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

		if (seg->is_certain || !seg->is_asked)
			continue;
		fetch_url_add_good(file, seg->etag);
		fetch_segment_release(seg);
	}
}

static void on_url(void *arg, const struct graph_result *result, const struct item *item)
{
	struct fetch_file *file = arg;

	file->info_call = NULL;
	if (result->error < 0)
		fetch_pump_failed(file, result->is_offline ? -ENETDOWN : result->error);
	else if (item->download_url)
		keep_url(file, item->download_url);
	else
		fetch_pump_failed(file, -EBADMSG);
	kick(file);
}

/* Does anybody wait who is not fetching for later? */
static enum http_priority priority_of(struct fetch_file *file)
{
	enum http_priority priority = HTTP_PREFETCH;

	mutex_lock(&file->fetch->lock);
	list_for_each (&file->waits, pos) {
		if (!container_of(pos, struct fetch_wait, node)->read->stream->is_background)
			priority = HTTP_PERSON;
	}
	mutex_unlock(&file->fetch->lock);
	return priority;
}

static void ask_url(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	int r = fetch->source.get_url(fetch->source.arg, file->version.drive_id, file->version.id,
				      priority_of(file), on_url, file, &file->info_call);

	if (r < 0)
		fetch_pump_failed(file, r);
}

static void on_info(void *arg, const struct graph_result *result, const struct item *item)
{
	struct fetch_file *file = arg;

	file->info_call = NULL;
	if (result->error < 0) {
		fetch_pump_failed(file, result->is_offline ? -ENETDOWN : result->error);
	} else if (!is_same_version(&file->version, item)) {
		fetch_pump_gone(file);
	} else {
		/* The service reports this version under this tag. A tag of an item moves with
		 * its name too; then content may come under the old one, and is asked about. */
		fetch_url_add_good(file, item->etag);
		fetch_url_add_good(file, item->ctag);
		release_asked(file);
		if (item->download_url)
			keep_url(file, item->download_url);
		else if (!file->known.url)
			ask_url(file);
	}
	kick(file);
}

void fetch_url_ask(struct fetch_file *file)
{
	struct fetch *fetch = file->fetch;
	int r;

	if (file->info_call)
		return;
	list_for_each (&file->segments, pos) {
		struct fetch_segment *seg = container_of(pos, struct fetch_segment, node);

		seg->is_asked = seg->has_head;
	}
	r = fetch->source.get_info(fetch->source.arg, file->version.drive_id, file->version.id,
				   priority_of(file), on_info, file, &file->info_call);
	if (r < 0)
		fetch_pump_failed(file, r);
}

bool fetch_url_ready(struct fetch_file *file)
{
	uint64_t now_ms = clock_mono_ms();

	if (!file->known.url && !file->is_looked_up && !file->info_call) {
		file->is_looked_up = true;
		if (urls_take(file->fetch->urls, file->version.cid, now_ms, &file->known) == 0) {
			file->is_proven = true;
			return true;
		}
	}
	if (file->known.url && now_ms - file->known.since_ms < URLS_LIFE_MS)
		return true;
	fetch_url_ask(file);
	return false;
}

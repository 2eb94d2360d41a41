#define LOG_MODULE "graph"
#include "graph_call.h"

#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Pages stay small, and tombstones are told as such only when "deleted" is asked for. Without a
 * dollar sign: only then may the download URL be named. */
#define FIELDS                                                                              \
	"id,name,size,eTag,cTag,deleted,file,folder,root,package,remoteItem,specialFolder," \
	"malware,parentReference,fileSystemInfo,lastModifiedDateTime,createdDateTime,webUrl"
#define PAGE_ITEMS "1000"

/* Pages without items before a folder is taken for what it seems: not known to be empty. */
enum { EMPTY_PAGES_MAX = 16 };

static bool is_segment(const char *id, size_t len)
{
	if (len == 0)
		return false;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)id[i] <= ' ' || strchr("/?#%\\\x7f", id[i]) ||
		    (id[i] == '.' && i + 1 < len && id[i + 1] == '.'))
			return false;
	return true;
}

int graph_drive_path(const char *drive, char **ret)
{
	static const char *const kinds[] = { "drives/", "groups/", "users/", "sites/" };

	if (strcmp(drive, "me") == 0)
		return asprintf(ret, "/me/drive") < 0 ? -ENOMEM : 0;
	for (size_t i = 0; i < array_n(kinds); i++) {
		const char *id = drive + strlen(kinds[i]), *rest;

		if (strncmp(drive, kinds[i], strlen(kinds[i])) != 0)
			continue;
		rest = id + strcspn(id, "/");
		if (!is_segment(id, (size_t)(rest - id)))
			return -EINVAL;
		if (kinds[i][0] == 's' && strncmp(rest, "/lists/", 7) == 0) {
			if (!is_segment(rest + 7, strlen(rest + 7)))
				return -EINVAL;
		} else if (*rest) {
			return -EINVAL;
		}
		return asprintf(ret, "/%s%s", drive, kinds[i][0] == 'd' ? "" : "/drive") < 0
			       ? -ENOMEM
			       : 0;
	}
	return -EINVAL;
}

static char *item_url(struct graph *graph, const char *drive_id, const char *id, const char *tail)
{
	return graph_url_item(graph, drive_id, id, NULL, tail);
}

/* How often what cannot be believed is asked for again: it may be a hiccup of the service. */
enum { AGAIN_REPLY = 1, AGAIN_ITEM = 3 };

static bool again(struct graph_call *call, unsigned max_n)
{
	return call->malformed_n < max_n && graph_call_again(call, 0) && ++call->malformed_n;
}

/* A 200 could not be read. False: the call goes on. */
static bool note_bad(struct graph_call *call, struct graph_result *result, int error,
		     const struct item_problem *problem)
{
	snprintf(result->text, sizeof(result->text), "malformed reply: %s",
		 problem->text[0] ? problem->text : strerror(-error));
	if (error == -EBADMSG && again(call, AGAIN_REPLY)) {
		log_debug("%s: %s: asking again", log_url(call->url), result->text);
		return false;
	}
	result->error = error;
	log_warn("%s: %s", log_url(call->url), result->text);
	return true;
}

static bool finish_drive(struct graph_call *call, struct graph_result *result, const char *body,
			 size_t len)
{
	struct item_problem problem = { "" };
	struct item_drive drive = { 0 };
	int r = result->error ? 0 : item_parse_drive(body, len, &drive, &problem);

	if (r < 0 && !note_bad(call, result, r, &problem))
		return false;
	call->fn.drive(call->arg, result, result->error ? NULL : &drive);
	item_drive_fini(&drive);
	return true;
}

static bool finish_item(struct graph_call *call, struct graph_result *result, const char *body,
			size_t len)
{
	struct item_problem problem = { "" };
	struct item item = { 0 };
	int r = result->error ? 0 : item_parse_body(body, len, &item, &problem);

	if (r < 0 && !note_bad(call, result, r, &problem))
		return false;
	call->fn.item(call->arg, result, result->error ? NULL : &item);
	item_fini(&item);
	return true;
}

static bool finish_redirect(struct graph_call *call, struct graph_result *result, const char *body,
			    size_t len)
{
	struct item_problem problem = { "content without a redirect" };
	struct item item = { .size = -1, .mtime_ns = ITEM_TIME_UNKNOWN };

	if (!result->error && result->status != 302 && !note_bad(call, result, -EBADMSG, &problem))
		return false;
	if (!result->error)
		item.download_url = strndup(body, len);
	call->fn.item(call->arg, result, result->error ? NULL : &item);
	item_fini(&item);
	return true;
}

static bool has_new_bad(const struct skips *skips, const struct item_page *page)
{
	for (size_t i = 0; i < page->bad_n; i++)
		if (!skips_has(skips, page->bad[i].id))
			return true;
	return false;
}

/* Remembers which items are left as they were, and which no longer are. */
static int note_skips(struct graph_call *call, const struct item_page *page)
{
	struct skips *skips = &call->graph->skips;
	int r = 0;

	for (size_t i = 0; skips->n > 0 && i < page->n; i++)
		skips_remove(skips, page->items[i].id);
	for (size_t i = 0; r == 0 && i < page->bad_n; i++) {
		if (skips_has(skips, page->bad[i].id))
			continue;
		log_warn("item %s is left as it was: malformed reply: %s", page->bad[i].id,
			 page->bad[i].problem.text);
		r = skips_add(skips, page->bad[i].id);
	}
	return r;
}

/* The bearer goes where these lead, now or at the next start. */
static int check_links(struct graph_call *call, const struct item_page *page,
		       struct item_problem *problem)
{
	const char *base = call->graph->base_url;
	bool is_next_bad = page->next_link && !http_is_same_origin(page->next_link, base);

	if (!is_next_bad && (!page->delta_link || http_is_same_origin(page->delta_link, base)))
		return 0;
	snprintf(problem->text, sizeof(problem->text), "%s leads away from the service",
		 is_next_bad ? "@odata.nextLink" : "@odata.deltaLink");
	return -EBADMSG;
}

static bool finish_page(struct graph_call *call, struct graph_result *result, const char *body,
			size_t len)
{
	struct item_problem problem = { "" };
	struct item_page page = { 0 };
	int r = result->error ? 0 : item_parse_page(body, len, &page, &problem);

	if (r == 0)
		r = check_links(call, &page, &problem);
	if (r == 0 && has_new_bad(&call->graph->skips, &page) && again(call, AGAIN_ITEM)) {
		log_debug("%s: malformed reply: %s: asking again", log_url(call->url),
			  page.bad[0].problem.text);
		item_page_fini(&page);
		return false;
	}
	if (r == 0)
		r = note_skips(call, &page);
	if (r < 0 && !note_bad(call, result, r, &problem)) {
		item_page_fini(&page);
		return false;
	}
	call->fn.page(call->arg, result, result->error ? NULL : &page);
	item_page_fini(&page);
	return true;
}

static bool finish_subscription(struct graph_call *call, struct graph_result *result,
				const char *body, size_t len)
{
	struct item_problem problem = { "" };
	struct item_subscription sub = { 0 };
	int r = result->error ? 0 : item_parse_subscription(body, len, &sub, &problem);

	if (r < 0 && !note_bad(call, result, r, &problem))
		return false;
	call->fn.subscription(call->arg, result, result->error ? NULL : &sub);
	item_subscription_fini(&sub);
	return true;
}

int graph_get_drive(struct graph *graph, const char *drive_path, enum http_priority priority,
		    graph_drive_fn fn, void *arg, struct graph_call **ret)
{
	struct graph_call *call;
	char *url = NULL;
	int r;

	if (asprintf(&url, "%s%s", graph->base_url, drive_path) < 0)
		return -ENOMEM;
	r = graph_call_make(graph, url, priority, arg, finish_drive, &call);
	if (r < 0)
		return r;
	call->fn.drive = fn;
	return graph_call_start(call, ret);
}

static int get_item(struct graph *graph, char *url, enum http_priority priority, graph_item_fn fn,
		    void *arg, bool wants_redirect, struct graph_call **ret)
{
	struct graph_call *call;
	int r = graph_call_make(graph, url, priority, arg,
				wants_redirect ? finish_redirect : finish_item, &call);

	if (r < 0)
		return r;
	call->wants_redirect = wants_redirect;
	call->fn.item = fn;
	return graph_call_start(call, ret);
}

int graph_get_root(struct graph *graph, const char *drive_id, enum http_priority priority,
		   graph_item_fn fn, void *arg, struct graph_call **ret)
{
	return get_item(graph, item_url(graph, drive_id, NULL, "?select=" FIELDS), priority, fn,
			arg, false, ret);
}

int graph_get_content_info(struct graph *graph, const char *drive_id, const char *id,
			   enum http_priority priority, graph_item_fn fn, void *arg,
			   struct graph_call **ret)
{
	return get_item(
		graph,
		item_url(graph, drive_id, id, "?select=" FIELDS ",@microsoft.graph.downloadUrl"),
		priority, fn, arg, false, ret);
}

int graph_get_child(struct graph *graph, const char *drive_id, const char *folder_id,
		    const char *name, enum http_priority priority, graph_item_fn fn, void *arg,
		    struct graph_call **ret)
{
	if (!graph_url_is_name(name))
		return -EINVAL;
	return get_item(graph, graph_url_item(graph, drive_id, folder_id, name, "?select=" FIELDS),
			priority, fn, arg, false, ret);
}

int graph_get_content_url(struct graph *graph, const char *drive_id, const char *id,
			  enum http_priority priority, graph_item_fn fn, void *arg,
			  struct graph_call **ret)
{
	return get_item(graph, item_url(graph, drive_id, id, "/content"), priority, fn, arg, true,
			ret);
}

static int get_page(struct graph *graph, char *url, enum http_priority priority, graph_page_fn fn,
		    void *arg, bool is_delta, struct graph_call **ret)
{
	struct graph_call *call;
	int r = graph_call_make(graph, url, priority, arg, finish_page, &call);

	if (r < 0)
		return r;
	call->takes_dead_token = is_delta;
	call->fn.page = fn;
	return graph_call_start(call, ret);
}

int graph_get_children(struct graph *graph, const char *drive_id, const char *id, const char *link,
		       enum http_priority priority, graph_page_fn fn, void *arg,
		       struct graph_call **ret)
{
	char *url = link ? strdup(link)
			 : item_url(graph, drive_id, id,
				    "/children?$top=" PAGE_ITEMS "&select=" FIELDS);

	return get_page(graph, url, priority, fn, arg, false, ret);
}

int graph_get_delta(struct graph *graph, const char *drive_id, const char *link,
		    enum http_priority priority, graph_page_fn fn, void *arg,
		    struct graph_call **ret)
{
	bool is_latest = link && strcmp(link, GRAPH_DELTA_LATEST) == 0;
	char *url = link && !is_latest
			    ? strdup(link)
			    : item_url(graph, drive_id, NULL,
				       is_latest ? "/delta?token=latest&select=" FIELDS
						 : "/delta?$top=" PAGE_ITEMS "&select=" FIELDS);

	return get_page(graph, url, priority, fn, arg, link && !is_latest, ret);
}

/* An empty page may have another behind it. */
static bool goes_on(struct graph_call *call, struct item_page *page)
{
	if (page->n > 0 || page->bad_n > 0 || !page->next_link)
		return false;
	free(call->url);
	call->url = take_ptr(&page->next_link);
	call->tries_n = 0;
	return ++call->pages_n < EMPTY_PAGES_MAX && graph_call_again(call, 0);
}

static bool finish_emptiness(struct graph_call *call, struct graph_result *result, const char *body,
			     size_t len)
{
	struct item_problem problem = { "" };
	struct item_page page = { 0 };
	int r = result->error ? 0 : item_parse_page(body, len, &page, &problem);
	bool ends = true, is_empty;

	if (r == 0)
		r = check_links(call, &page, &problem);
	if (r < 0)
		ends = note_bad(call, result, r, &problem);
	is_empty = page.n == 0 && page.bad_n == 0 && !page.next_link;
	if (result->error == 0 && ends)
		ends = !goes_on(call, &page);
	item_page_fini(&page);
	if (ends)
		call->fn.emptiness(call->arg, result, result->error == 0 && is_empty);
	return ends;
}

int graph_get_emptiness(struct graph *graph, const char *drive_id, const char *id,
			enum http_priority priority, graph_emptiness_fn fn, void *arg,
			struct graph_call **ret)
{
	struct graph_call *call;
	int r = graph_call_make(graph,
				item_url(graph, drive_id, id, "/children?$top=1&select=id,name"),
				priority, arg, finish_emptiness, &call);

	if (r < 0)
		return r;
	call->fn.emptiness = fn;
	return graph_call_start(call, ret);
}

static int get_subscription(struct graph *graph, char *url, graph_subscription_fn fn, void *arg,
			    struct graph_call **ret)
{
	struct graph_call *call;
	int r = graph_call_make(graph, url, HTTP_BACKGROUND, arg, finish_subscription, &call);

	if (r < 0)
		return r;
	call->fn.subscription = fn;
	return graph_call_start(call, ret);
}

int graph_get_subscription(struct graph *graph, const char *drive_id, graph_subscription_fn fn,
			   void *arg, struct graph_call **ret)
{
	return get_subscription(graph, item_url(graph, drive_id, NULL, "/subscriptions/socketIo"),
				fn, arg, ret);
}

int graph_get_subscription_at(struct graph *graph, const char *drive_path, graph_subscription_fn fn,
			      void *arg, struct graph_call **ret)
{
	char *url = NULL;

	if (asprintf(&url, "%s%s/root/subscriptions/socketIo", graph->base_url, drive_path) < 0)
		return -ENOMEM;
	return get_subscription(graph, url, fn, arg, ret);
}

bool graph_is_channel_unsupported(const struct graph_result *result)
{
	return result->error == -EOPNOTSUPP || result->status == 403 || result->status == 404;
}

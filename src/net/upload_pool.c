#include "upload_state.h"

#include <errno.h>
#include <string.h>

enum {
	MEMORY_BYTES = 40 * 1024 * 1024,
	CHUNK_BYTES = 32 * UPLOAD_UNIT,
	CHUNK_GOAL_MS = 10000, /* so long a chunk is to take */
	DROP_MS = 10000,
	REPLY_MAX = 1024 * 1024,
};

/* A session that is being deleted. */
struct drop {
	struct list node;
	struct http_request *request;
};

int upload_pool_new(struct graph *graph, const struct upload_options *options,
		    struct upload_pool **ret)
{
	struct upload_pool *pool = calloc(1, sizeof(*pool));
	size_t chunk = options && options->chunk_bytes ? options->chunk_bytes : CHUNK_BYTES;

	if (!pool)
		return -ENOMEM;
	chunk = chunk < UPLOAD_CHUNK_MAX ? chunk : UPLOAD_CHUNK_MAX;
	pool->graph = graph;
	pool->chunk_bytes = chunk < UPLOAD_UNIT ? UPLOAD_UNIT : chunk - chunk % UPLOAD_UNIT;
	pool->memory_bytes =
		options && options->memory_bytes ? options->memory_bytes : MEMORY_BYTES;
	list_init(&pool->waiting);
	list_init(&pool->drops);
	*ret = pool;
	return 0;
}

void upload_pool_free(struct upload_pool *pool)
{
	if (!pool)
		return;
	list_for_each_safe (&pool->drops, node) {
		struct drop *drop = container_of(node, struct drop, node);

		http_cancel(drop->request);
		free(drop);
	}
	free(pool);
}

void upload_pool_set_limit(struct upload_pool *pool, uint64_t bytes_s)
{
	pool->limit.bytes_s = bytes_s;
}

size_t upload_pool_bytes(const struct upload_pool *pool)
{
	return pool->used_bytes;
}

static void on_dropped(void *arg, int error, const struct http_head *head, const char *body,
		       size_t len)
{
	struct drop *drop = arg;

	list_del(&drop->node);
	free(drop);
}

void upload_pool_drop(struct upload_pool *pool, const char *url)
{
	struct drop *drop = calloc(1, sizeof(*drop));
	int r = drop ? http_start(pool->graph->http,
				  &(struct http_spec){
					  .method = "DELETE",
					  .url = url,
					  .priority = HTTP_BACKGROUND,
					  .host_class = HTTP_CONTENT,
					  .total_ms = DROP_MS,
					  .stall_ms = DROP_MS,
					  .max_body = REPLY_MAX,
					  .on_done = on_dropped,
					  .arg = drop,
				  },
				  &drop->request)
		     : -ENOMEM;

	if (r < 0) {
		free(drop);
		return;
	}
	list_add_tail(&pool->drops, &drop->node);
}

/* --- memory --- */

size_t upload_pool_chunk_len(const struct upload *u)
{
	const struct upload_pool *pool = u->pool;
	uint64_t pace = pool->pace_bytes_s, len = pool->chunk_bytes / 4;

	if (pool->limit.bytes_s > 0 && (pace == 0 || pool->limit.bytes_s < pace))
		pace = pool->limit.bytes_s;
	if (pace > 0)
		len = pace * CHUNK_GOAL_MS / 1000;
	len = len < u->chunk_max ? len : u->chunk_max;
	len = len > UPLOAD_UNIT ? len - len % UPLOAD_UNIT : UPLOAD_UNIT;
	return len < u->spec.size - u->off ? (size_t)len : (size_t)(u->spec.size - u->off);
}

static bool fits(const struct upload_pool *pool, size_t len)
{
	/* One chunk always does, or nothing would ever go on. */
	return pool->used_bytes == 0 || pool->used_bytes + len <= pool->memory_bytes;
}

static void hold(struct upload *u, size_t len)
{
	u->held_bytes = len;
	u->pool->used_bytes += len;
}

/* Grants what was given back to those who wait, in order. */
static void serve_waiting(struct upload_pool *pool)
{
	while (!list_empty(&pool->waiting)) {
		struct upload *u = container_of(pool->waiting.next, struct upload, node);
		size_t len = upload_pool_chunk_len(u);

		if (!fits(pool, len))
			return;
		list_del(&u->node);
		list_init(&u->node);
		hold(u, len);
		upload_go(u, UPLOAD_STEP_SEND, 0);
	}
}

void upload_pool_give_back(struct upload *u)
{
	if (u->held_bytes == 0)
		return;
	u->pool->used_bytes -= u->held_bytes;
	u->held_bytes = 0;
	free(u->data);
	u->data = NULL;
	serve_waiting(u->pool);
}

bool upload_pool_want(struct upload *u)
{
	struct upload_pool *pool = u->pool;
	size_t len = upload_pool_chunk_len(u);

	if (u->held_bytes > 0)
		return true;
	if (!list_empty(&pool->waiting) || !fits(pool, len)) {
		list_add_tail(&pool->waiting, &u->node);
		return false;
	}
	hold(u, len);
	return true;
}

#include "resolve.h"

#include "mutex.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>

struct resolve {
	struct loop *loop;
	resolve_fn fn;
	void *arg;
	struct loop_call posted;
	char (*addresses)[RESOLVE_TEXT]; /* the thread's until it posts */
	size_t n;
	int error;

	/* MUTEX_RANK_RESOLVE. Held while the answer is posted: a loop is freed only after its
	 * look-ups were cancelled, and then nothing is posted any more. */
	struct mutex lock;
	bool is_cancelled;

	char host[];
};

static void resolve_free(struct resolve *r)
{
	mutex_fini(&r->lock);
	free(r->addresses);
	free(r);
}

static int error_of(int status)
{
	switch (status) {
	case EAI_NONAME:
	case EAI_NODATA:
		return -ENOENT;
	case EAI_MEMORY:
		return -ENOMEM;
	default:
		return -ENETDOWN;
	}
}

static void look_up(struct resolve *r)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	struct addrinfo *found = NULL;
	int status = getaddrinfo(r->host, NULL, &hints, &found);

	if (status == EAI_NONAME) {
		hints.ai_flags = AI_ADDRCONFIG;
		status = getaddrinfo(r->host, NULL, &hints, &found);
	}
	if (status != 0) {
		r->error = error_of(status);
		return;
	}
	r->addresses = calloc(RESOLVE_MAX, sizeof(*r->addresses));
	for (struct addrinfo *a = found; a && r->addresses && r->n < RESOLVE_MAX; a = a->ai_next)
		if (getnameinfo(a->ai_addr, a->ai_addrlen, r->addresses[r->n], RESOLVE_TEXT, NULL,
				0, NI_NUMERICHOST) == 0)
			r->n++;
	freeaddrinfo(found);
	if (r->n == 0)
		r->error = r->addresses ? -ENOENT : -ENOMEM;
}

static void on_posted(void *arg)
{
	struct resolve *r = arg;
	bool is_cancelled;

	/* Also waits until the thread has let go of the lock. */
	mutex_lock(&r->lock);
	is_cancelled = r->is_cancelled;
	mutex_unlock(&r->lock);
	if (!is_cancelled)
		r->fn(r->arg, r->error, (const char(*)[RESOLVE_TEXT])r->addresses, r->n);
	resolve_free(r);
}

static void *run(void *arg)
{
	struct resolve *r = arg;
	bool is_cancelled;

	look_up(r);
	mutex_lock(&r->lock);
	is_cancelled = r->is_cancelled;
	if (!is_cancelled)
		loop_post(r->loop, &r->posted, on_posted, r);
	mutex_unlock(&r->lock);
	if (is_cancelled)
		resolve_free(r);
	return NULL;
}

int resolve_start(struct loop *loop, const char *host, resolve_fn fn, void *arg,
		  struct resolve **ret)
{
	size_t len = strlen(host) + 1;
	struct resolve *r = calloc(1, sizeof(*r) + len);
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	if (!r)
		return -ENOMEM;
	r->loop = loop;
	r->fn = fn;
	r->arg = arg;
	memcpy(r->host, host, len);
	mutex_init(&r->lock, MUTEX_RANK_RESOLVE);
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	error = pthread_create(&thread, &attr, run, r);
	pthread_attr_destroy(&attr);
	if (error) {
		resolve_free(r);
		return -error;
	}
	*ret = r;
	return 0;
}

void resolve_cancel(struct resolve *r)
{
	if (!r)
		return;
	mutex_lock(&r->lock);
	r->is_cancelled = true;
	mutex_unlock(&r->lock);
}

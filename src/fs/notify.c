/*
 * The races between a commit, a request in flight and what the kernel caches, and what closes
 * each:
 *
 *  - A listing answered from the old tree, put into the cache after the invalidation: the
 *    directory's mtime rose with the commit, and the kernel compares it when it next opens the
 *    directory. So a directory's attributes are invalidated before anything else.
 *  - A lookup or readdirplus computed from the old row for an inode that the kernel does not have
 *    yet, linked after the invalidation that found nothing: expire_entry of the name waits for
 *    the directory's lock, so it comes after that reply, and the next use asks again.
 *  - A negative answer in flight for a name that now exists: the replayed mknod takes the
 *    directory's lock too and turns the negative dentry into a positive one.
 *  - An old time with new content: the tree never shows one mtime for two contents.
 *  - Pages of the old content: the next open says so (inodes_take_stale()); dropping them here
 *    only frees memory, so it is done in a lane of its own and only while nobody has the file
 *    open: the drop waits for pages that a running read has locked.
 *  - A notification for a directory in which a request is parked would wait for that request with
 *    the thread: its jobs wait in the queue instead.
 *
 * Nothing here holds the lock while it calls the kernel.
 */
#define LOG_MODULE "notify"
#include "notify.h"

#include "inodes.h"
#include "list.h"
#include "log.h"
#include "mutex.h"
#include "replay.h"
#include "tell.h"
#include "tree.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

enum {
	WORKERS_N = 3,
	KEYS_MAX = 3,
	GATES_MAX = 256,
	PAGES_MAX = 2048,
	BUSY_MAX = 2 * KEYS_MAX * NOTIFY_JOBS_MAX, /* half empty: looking up stays short */
};

struct job {
	struct list node;
	struct change change; /* strings owned */
	uint64_t keys[KEYS_MAX];
	unsigned keys_n;
	bool is_barrier, is_running;
};

struct gate {
	uint64_t dir;
	unsigned n;
};

/* A directory for which an earlier job waits or runs, as seen in one pass over the jobs. */
struct busy {
	uint64_t dir, pass;
};

struct notify {
	struct notify_options options;
	struct tell *tell;                /* const after notify_start() */
	pthread_t threads[WORKERS_N + 1]; /* used by start and stop only */
	unsigned threads_n;

	struct mutex lock; /* MUTEX_RANK_NOTIFY; guards what follows */
	pthread_cond_t wake, idle;
	struct list jobs;
	unsigned jobs_n;
	bool wants_bulk, bulk_running, pages_running, stopping;
	struct gate gates[GATES_MAX];
	unsigned gates_lost;       /* parked requests for which no gate was left */
	uint64_t pages[PAGES_MAX]; /* inodes whose pages are to be dropped */
	unsigned pages_n;
	struct busy busy[BUSY_MAX];
	uint64_t pass;
	struct notify_stats stats;
};

int notify_new(const struct notify_options *options, struct notify **ret)
{
	struct notify *n = calloc(1, sizeof(*n));

	if (!n)
		return -ENOMEM;
	n->options = *options;
	mutex_init(&n->lock, MUTEX_RANK_NOTIFY);
	mutex_cond_init(&n->wake);
	mutex_cond_init(&n->idle);
	list_init(&n->jobs);
	*ret = n;
	return 0;
}

static void job_free(struct job *job)
{
	free(job->change.name);
	free(job->change.dir_path);
	free(job->change.to_name);
	free(job->change.to_dir_path);
	free(job);
}

static void drop_waiting_locked(struct notify *n) REQUIRES(n->lock);

static void drop_waiting_locked(struct notify *n)
{
	list_for_each_safe (&n->jobs, node) {
		struct job *job = container_of(node, struct job, node);

		if (job->is_running)
			continue;
		list_del(&job->node);
		n->jobs_n--;
		job_free(job);
	}
}

void notify_free(struct notify *n)
{
	if (!n)
		return;
	mutex_lock(&n->lock);
	drop_waiting_locked(n);
	mutex_unlock(&n->lock);
	tell_free(n->tell);
	pthread_cond_destroy(&n->wake);
	pthread_cond_destroy(&n->idle);
	mutex_fini(&n->lock);
	free(n);
}

/* --- handing in --- */

static struct job *new_job(struct change *change)
{
	struct job *job = calloc(1, sizeof(*job));
	bool is_dir = change->attr.kind == TREE_DIR;

	if (!job)
		return NULL;
	job->change = *change;
	change->name = change->dir_path = change->to_name = change->to_dir_path = NULL;
	list_init(&job->node);
	job->keys[job->keys_n++] = job->change.parent;
	if (job->change.kind == CHANGE_MOVE && job->change.to_parent != job->change.parent)
		job->keys[job->keys_n++] = job->change.to_parent;
	if (is_dir)
		job->keys[job->keys_n++] = job->change.attr.ino;
	/* Paths below it change with a directory's own place. */
	job->is_barrier = is_dir && job->change.kind == CHANGE_MOVE;
	return job;
}

void notify_push(struct notify *n, struct change_set *set)
{
	bool is_bulk = set->bulk;

	mutex_lock(&n->lock);
	if (n->jobs_n + set->n > NOTIFY_JOBS_MAX)
		is_bulk = true;
	for (size_t i = 0; i < set->n && !is_bulk && !n->stopping; i++) {
		struct job *job = new_job(&set->v[i]);

		if (!job) {
			is_bulk = true;
			break;
		}
		list_add_tail(&n->jobs, &job->node);
		n->jobs_n++;
	}
	if (is_bulk) {
		drop_waiting_locked(n);
		n->wants_bulk = true;
	}
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
	change_set_free(set);
}

void notify_push_all(struct notify *n)
{
	mutex_lock(&n->lock);
	n->wants_bulk = true;
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
}

/* --- gates --- */

static struct gate *find_gate_locked(struct notify *n, uint64_t dir) REQUIRES(n->lock);

static struct gate *find_gate_locked(struct notify *n, uint64_t dir)
{
	for (size_t i = 0; i < GATES_MAX; i++)
		if (n->gates[i].n > 0 && n->gates[i].dir == dir)
			return &n->gates[i];
	return NULL;
}

void notify_park_begin(struct notify *n, uint64_t dir)
{
	struct gate *gate;

	mutex_lock(&n->lock);
	gate = find_gate_locked(n, dir);
	for (size_t i = 0; !gate && i < GATES_MAX; i++)
		if (n->gates[i].n == 0)
			gate = &n->gates[i];
	if (gate) {
		gate->dir = dir;
		gate->n++;
	} else {
		n->gates_lost++;
	}
	mutex_unlock(&n->lock);
}

void notify_park_end(struct notify *n, uint64_t dir)
{
	struct gate *gate;

	mutex_lock(&n->lock);
	gate = find_gate_locked(n, dir);
	if (gate)
		gate->n--;
	else if (n->gates_lost > 0)
		n->gates_lost--;
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
}

/* --- choosing --- */

static bool is_gated_locked(struct notify *n, const struct job *job) REQUIRES(n->lock);

static bool is_gated_locked(struct notify *n, const struct job *job)
{
	for (unsigned i = 0; i < job->keys_n; i++)
		if (find_gate_locked(n, job->keys[i]))
			return true;
	return false;
}

/* Notes it, and tells whether this pass has met it before. */
static bool note_busy_locked(struct notify *n, uint64_t dir) REQUIRES(n->lock);

static bool note_busy_locked(struct notify *n, uint64_t dir)
{
	size_t i = (size_t)((dir * UINT64_C(0x9e3779b97f4a7c15)) >> 32) % BUSY_MAX;

	while (n->busy[i].pass == n->pass) {
		if (n->busy[i].dir == dir)
			return true;
		i = (i + 1) % BUSY_MAX;
	}
	n->busy[i] = (struct busy){ dir, n->pass };
	return false;
}

/* The first job that waits for no earlier one and for no request. */
static struct job *choose_locked(struct notify *n) REQUIRES(n->lock);

static struct job *choose_locked(struct notify *n)
{
	n->pass++;
	list_for_each (&n->jobs, node) {
		struct job *job = container_of(node, struct job, node);
		bool waits = job->is_running || (job->is_barrier && node != n->jobs.next);

		for (unsigned i = 0; i < job->keys_n; i++)
			waits |= note_busy_locked(n, job->keys[i]);
		if (!waits && !is_gated_locked(n, job))
			return job;
		if (job->is_barrier)
			return NULL;
	}
	return NULL;
}

/* --- working --- */

static void add_page_drop_locked(struct notify *n, uint64_t ino) REQUIRES(n->lock);

static void add_page_drop_locked(struct notify *n, uint64_t ino)
{
	/* When there is no room the pages stay until the next open: memory, not correctness. */
	if (n->pages_n < PAGES_MAX)
		n->pages[n->pages_n++] = ino;
}

static void run_job(struct notify *n, struct job *job)
{
	bool was_told = tell_change(n->tell, &job->change);

	mutex_lock(&n->lock);
	list_del(&job->node);
	n->jobs_n--;
	if (was_told)
		n->stats.replays_n++;
	else
		n->stats.fallbacks_n++;
	if (job->change.kind == CHANGE_CONTENT)
		add_page_drop_locked(n, job->change.old_ino);
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
	job_free(job);
}

void notify_drop_pages(struct notify *n, const uint64_t *inodes, size_t inodes_n)
{
	mutex_lock(&n->lock);
	for (size_t i = 0; i < inodes_n; i++)
		add_page_drop_locked(n, inodes[i]);
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
}

static bool is_idle_locked(const struct notify *n) REQUIRES(n->lock);

static bool is_idle_locked(const struct notify *n)
{
	return n->jobs_n == 0 && !n->wants_bulk && !n->bulk_running && n->pages_n == 0 &&
	       !n->pages_running;
}

static void run_bulk(struct notify *n)
{
	tell_all(n->tell);
	mutex_lock(&n->lock);
	n->bulk_running = false;
	n->stats.bulks_n++;
	pthread_cond_broadcast(&n->wake);
	mutex_unlock(&n->lock);
}

static void *work(void *arg)
{
	struct notify *n = arg;

	tell_enter(n->tell);
	mutex_lock(&n->lock);
	while (!n->stopping) {
		struct job *job = NULL;
		bool bulk = n->wants_bulk && !n->bulk_running;

		if (bulk) {
			n->wants_bulk = false;
			n->bulk_running = true;
		} else {
			job = choose_locked(n);
		}
		if (!bulk && !job) {
			if (is_idle_locked(n))
				pthread_cond_broadcast(&n->idle);
			mutex_wait(&n->lock, &n->wake);
			continue;
		}
		if (job)
			job->is_running = true;
		mutex_unlock(&n->lock);
		if (bulk)
			run_bulk(n);
		else
			run_job(n, job);
		mutex_lock(&n->lock);
	}
	mutex_unlock(&n->lock);
	return NULL;
}

static void *drop_pages(void *arg)
{
	struct notify *n = arg;

	mutex_lock(&n->lock);
	while (!n->stopping) {
		uint64_t ino;

		if (n->pages_n == 0) {
			if (is_idle_locked(n))
				pthread_cond_broadcast(&n->idle);
			mutex_wait(&n->lock, &n->wake);
			continue;
		}
		ino = n->pages[--n->pages_n];
		n->pages_running = true;
		mutex_unlock(&n->lock);
		if (!inodes_is_open(n->options.inodes, ino))
			tell_drop_pages(n->tell, ino);
		mutex_lock(&n->lock);
		n->pages_running = false;
	}
	mutex_unlock(&n->lock);
	return NULL;
}

static int start_thread(struct notify *n, void *(*fn)(void *arg))
{
	int r = pthread_create(&n->threads[n->threads_n], NULL, fn, n);

	if (r == 0)
		pthread_setname_np(n->threads[n->threads_n++], "notify");
	return -r;
}

int notify_start(struct notify *n, struct fuse_session *session, dev_t dev)
{
	int r = tell_new(session, dev, &n->options, &n->tell);

	for (size_t i = 0; r == 0 && i < WORKERS_N; i++)
		r = start_thread(n, work);
	if (r == 0)
		r = start_thread(n, drop_pages);
	if (r < 0)
		notify_stop(n);
	return r;
}

void notify_stop(struct notify *n)
{
	mutex_lock(&n->lock);
	n->stopping = true;
	pthread_cond_broadcast(&n->wake);
	pthread_cond_broadcast(&n->idle);
	mutex_unlock(&n->lock);
	while (n->threads_n > 0)
		pthread_join(n->threads[--n->threads_n], NULL);
}

void notify_get_stats(struct notify *n, struct notify_stats *ret)
{
	mutex_lock(&n->lock);
	*ret = n->stats;
	ret->waiting_n = n->jobs_n + n->wants_bulk + n->bulk_running;
	mutex_unlock(&n->lock);
}

void notify_settle(struct notify *n)
{
	mutex_lock(&n->lock);
	while (!n->stopping && !is_idle_locked(n))
		mutex_wait(&n->lock, &n->idle);
	mutex_unlock(&n->lock);
}

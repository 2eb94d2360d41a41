#define LOG_MODULE "ahead"
#include "ahead.h"

#include "clock.h"
#include "lane.h"
#include "list.h"
#include "log.h"
#include "loop.h"
#include "mutex.h"
#include "tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum {
	NOTES_MAX = 64,
	ROW_MIN = 2, /* steps in a row before anything is fetched */
	FIRST_FILES = 4,
	SKIP = 8,         /* files that a reader may leave out; or be late by, when he is several */
	LISTED_MAX = 256, /* files of the folder's order that are looked at in one go */
};

enum order_kind { LISTED, NAMED, ORDERS };

struct file {
	uint64_t ino, size;
};

/* One order of a folder's files, and where in it the reader is. */
struct order {
	struct file *v;
	size_t n;
	size_t at;     /* the file that should come next */
	size_t next;   /* the file that is to be fetched next */
	unsigned row;  /* steps that kept to the order */
	bool is_whole; /* v has all that there are */
};

struct folder {
	uint64_t dir; /* 0: unused */
	uint64_t last_ino, last_ms;
	struct order orders[ORDERS];
	bool is_tried; /* the reader kept to the order himself: no guess from another folder */
};

struct job {
	struct list node;
	struct lane_job lane_job;
	struct ahead *ahead;
	uint64_t dir, size;
	void *handle;
};

struct ahead {
	struct loop *loop;
	struct tree *tree;
	struct ahead_source source;
	struct lane *lane; /* one thread */
	atomic_uint_fast64_t active_ms, started_n, running_n, looked_n;

	/* Loop; what is posted is counted, so that the end can wait for it. */
	struct loop_timer idle;
	struct loop_call arm;
	struct lane_job check;
	atomic_bool is_watching;

	/* Lane. */
	struct folder folders[AHEAD_FOLDERS];
	struct list jobs;
	uint64_t bytes;
	enum order_kind guess; /* ORDERS: none; what the last reader kept to */
	uint64_t guess_ms;
	atomic_bool is_ending;

	struct mutex lock; /* MUTEX_RANK_AHEAD; guards what follows */
	struct file_note {
		uint64_t dir, ino;
	} notes[NOTES_MAX];
	unsigned notes_n;
	bool is_pushed;
	struct lane_job look;
};

/* --- orders --- */

static void clear_order(struct order *o)
{
	free(o->v);
	*o = (struct order){ 0 };
}

static void clear_folder(struct folder *f)
{
	for (int k = 0; k < ORDERS; k++)
		clear_order(&f->orders[k]);
	*f = (struct folder){ 0 };
}

struct named {
	struct file file;
	char *name;
};

struct gather {
	struct named *v;
	size_t n, max;
	bool with_names, is_full, is_failed;
};

static int on_child(void *arg, const struct tree_attr *attr, const char *name)
{
	struct gather *g = arg;

	if (attr->kind != TREE_FILE)
		return 0;
	if (g->n == g->max) {
		g->is_full = true;
		return 1;
	}
	g->v[g->n] = (struct named){ .file = { attr->ino, attr->size } };
	if (g->with_names) {
		g->v[g->n].name = strdup(name);
		if (!g->v[g->n].name) {
			g->is_failed = true;
			return 1;
		}
	}
	g->n++;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void gather_fini(struct gather *g)
{
	for (size_t i = 0; i < g->n; i++)
		free(g->v[i].name);
	free(g->v);
}

/* 0 with what there is; no names at all when there are too many. */
static int gather(struct ahead *a, uint64_t dir, uint64_t after, struct gather *g)
{
	int r;

	g->v = calloc(g->max, sizeof(*g->v));
	if (!g->v)
		return -ENOMEM;
	r = tree_list(a->tree, dir, after, on_child, g);
	if (r < 0 || !g->with_names)
		return r;
	if (g->is_full || g->is_failed)
		return -ENOMEM;
	qsort(g->v, g->n, sizeof(*g->v), by_name);
	return 0;
}

/* Fills the order with the files after an inode; by name with all of the folder. Without memory or
 * with a tree that cannot be read there is no order. */
static void load(struct ahead *a, uint64_t dir, uint64_t after, bool by_names, struct order *o)
{
	struct gather g = { .max = by_names ? AHEAD_NAMES_MAX : LISTED_MAX,
			    .with_names = by_names };
	unsigned row = o->row;

	clear_order(o);
	o->row = row;
	if (gather(a, dir, after, &g) == 0)
		o->v = calloc(g.n + 1, sizeof(*o->v));
	for (size_t i = 0; o->v && i < g.n; i++)
		o->v[o->n++] = g.v[i].file;
	o->is_whole = !g.is_full;
	gather_fini(&g);
}

/* Where the file is among those from index from to to; -1: not there. */
static ssize_t find(const struct order *o, uint64_t ino, size_t from, size_t to)
{
	for (size_t i = from; i < o->n && i < to; i++) {
		if (o->v[i].ino == ino)
			return (ssize_t)i;
	}
	return -1;
}

/* The reader is at this file: did he keep to the order? */
static bool step(struct order *o, uint64_t ino)
{
	ssize_t i = find(o, ino, o->at > SKIP ? o->at - SKIP : 0, o->at + SKIP);

	if (i < 0) {
		o->row = 0;
		return false;
	}
	if ((size_t)i >= o->at) {
		o->at = (size_t)i + 1;
		o->row++;
	}
	if (o->next < o->at)
		o->next = o->at;
	return true;
}

static void place(struct order *o, uint64_t ino)
{
	ssize_t i = find(o, ino, 0, o->n);

	o->at = o->next = i < 0 ? 0 : (size_t)i + 1;
}

/* The folder's own order is looked at piece by piece. The new piece begins a little before where
 * the reader is, and goes on with what was begun. */
static void move_on(struct ahead *a, struct folder *f)
{
	struct order *o = &f->orders[LISTED];
	size_t kept = o->at < SKIP ? o->at : SKIP, from = o->at - kept;
	uint64_t at_ino, next_ino;

	if (o->is_whole || o->at + LISTED_MAX / 2 < o->n || from == 0)
		return;
	at_ino = o->v[o->at - 1].ino;
	next_ino = o->v[(o->next > o->n ? o->n : o->next) - 1].ino;
	load(a, f->dir, o->v[from - 1].ino, false, o);
	place(o, at_ino);
	o->next = (size_t)(find(o, next_ino, 0, o->n) + 1);
	if (o->next < o->at)
		o->next = o->at;
}

static void follow_listed(struct ahead *a, struct folder *f, uint64_t ino)
{
	struct order *o = &f->orders[LISTED];

	if (f->last_ino != 0 && step(o, ino))
		move_on(a, f);
	else
		load(a, f->dir, ino, false, o);
}

static void follow_named(struct ahead *a, struct folder *f, uint64_t ino)
{
	struct order *o = &f->orders[NAMED];

	/* Not before the folder's own order has proved wrong: it costs more. */
	if (!o->v && f->orders[LISTED].row > 0)
		return;
	if (!o->v && (f->last_ino != 0 || a->guess == NAMED)) {
		load(a, f->dir, 0, true, o);
		place(o, f->last_ino ? f->last_ino : ino);
	}
	if (o->v && f->last_ino != 0 && !step(o, ino))
		place(o, ino);
}

/* --- jobs --- */

static void end_job(struct job *job)
{
	struct ahead *a = job->ahead;

	a->source.free(job->handle);
	list_del(&job->node);
	a->bytes -= job->size;
	a->running_n--;
	free(job);
}

static void on_job_done(void *arg)
{
	end_job(arg);
}

/* Any thread. */
static void on_done(void *arg)
{
	struct job *job = arg;

	lane_push(job->ahead->lane, &job->lane_job, on_job_done, NULL, job);
}

/* dir 0: all. One whose end is being told just now ends by that. */
static void cancel_jobs(struct ahead *a, uint64_t dir)
{
	list_for_each_safe (&a->jobs, pos) {
		struct job *job = container_of(pos, struct job, node);

		if ((dir == 0 || job->dir == dir) && a->source.stop(job->handle))
			end_job(job);
	}
}

static void start_job(struct ahead *a, uint64_t dir, const struct file *file)
{
	struct job *job = calloc(1, sizeof(*job));

	if (!job)
		return;
	job->ahead = a;
	job->dir = dir;
	job->size = file->size;
	if (a->source.start(a->source.arg, file->ino, on_done, job, &job->handle) != 0) {
		free(job);
		return;
	}
	list_add_tail(&a->jobs, &job->node);
	a->bytes += job->size;
	a->running_n++;
	a->started_n++;
}

static void fetch_next(struct ahead *a, struct folder *f, struct order *o)
{
	unsigned doublings = o->row - ROW_MIN;
	size_t most = doublings < 3 ? (size_t)FIRST_FILES << doublings : AHEAD_FILES_MAX;

	while (o->next < o->n && o->next - o->at < most && a->running_n < AHEAD_FILES_MAX &&
	       a->bytes + o->v[o->next].size <= AHEAD_BYTES_MAX) {
		const struct file *file = &o->v[o->next++];

		if (file->size > 0 && file->size <= AHEAD_SMALL_BYTES)
			start_job(a, f->dir, file);
	}
}

/* --- silence --- */

static void check_idle(void *arg)
{
	struct ahead *a = arg;
	uint64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < AHEAD_FOLDERS; i++) {
		struct folder *f = &a->folders[i];

		if (f->dir == 0 || now_ms < f->last_ms + AHEAD_IDLE_MS)
			continue;
		cancel_jobs(a, f->dir);
		clear_folder(f);
	}
}

static void arm(void *arg)
{
	struct ahead *a = arg;

	if (!a->is_ending)
		loop_timer_arm(&a->idle, AHEAD_IDLE_MS);
}

static void after_check(void *arg)
{
	struct ahead *a = arg;

	if (clock_mono_ms() < a->active_ms + (uint64_t)2 * AHEAD_IDLE_MS)
		arm(a);
	else
		a->is_watching = false;
}

static void on_idle(void *arg)
{
	struct ahead *a = arg;

	if (!a->is_ending)
		lane_push(a->lane, &a->check, check_idle, after_check, a);
}

static void watch(struct ahead *a)
{
	if (!atomic_exchange(&a->is_watching, true))
		loop_post(a->loop, &a->arm, arm, a);
}

/* --- notes --- */

/* The folder's state; the one that was read longest ago makes room. */
static struct folder *find_folder(struct ahead *a, uint64_t dir)
{
	struct folder *oldest = &a->folders[0];

	for (size_t i = 0; i < AHEAD_FOLDERS; i++) {
		struct folder *f = &a->folders[i];

		if (f->dir == dir)
			return f;
		if (f->last_ms < oldest->last_ms)
			oldest = f;
	}
	if (oldest->dir)
		cancel_jobs(a, oldest->dir);
	clear_folder(oldest);
	oldest->dir = dir;
	return oldest;
}

static void look(struct ahead *a, const struct file_note *note)
{
	struct folder *f = find_folder(a, note->dir);
	uint64_t now_ms = clock_mono_ms();
	bool is_first = f->last_ino == 0;
	struct order *best;
	enum order_kind kind;

	if (now_ms > a->guess_ms + AHEAD_IDLE_MS)
		a->guess = ORDERS;
	follow_listed(a, f, note->ino);
	follow_named(a, f, note->ino);
	f->last_ino = note->ino;
	f->last_ms = now_ms;
	if (is_first && a->guess != ORDERS)
		f->orders[a->guess].row = ROW_MIN;
	f->is_tried = f->is_tried || !is_first;
	kind = f->orders[NAMED].row > f->orders[LISTED].row ? NAMED : LISTED;
	best = &f->orders[kind];
	if (best->row < ROW_MIN) {
		cancel_jobs(a, f->dir);
		return;
	}
	if (f->is_tried) {
		a->guess = kind;
		a->guess_ms = now_ms;
	}
	a->active_ms = now_ms;
	fetch_next(a, f, best);
	watch(a);
}

static void look_at_notes(void *arg)
{
	struct ahead *a = arg;
	struct file_note notes[NOTES_MAX];
	unsigned n;

	mutex_lock(&a->lock);
	n = a->notes_n;
	memcpy(notes, a->notes, n * sizeof(*notes));
	a->notes_n = 0;
	a->is_pushed = false;
	mutex_unlock(&a->lock);
	for (unsigned i = 0; i < n; i++) {
		if (!a->is_ending)
			look(a, &notes[i]);
		a->looked_n++;
	}
}

void ahead_note(struct ahead *a, const struct tree_attr *attr, bool is_cached)
{
	bool must_push = false;

	if (is_cached && clock_mono_ms() > a->active_ms + AHEAD_IDLE_MS)
		return;
	mutex_lock(&a->lock);
	/* One that finds no room is as if it had been left out by the reader. */
	if (a->notes_n < NOTES_MAX) {
		a->notes[a->notes_n++] = (struct file_note){ attr->parent, attr->ino };
		must_push = !a->is_pushed;
		a->is_pushed = true;
	}
	if (must_push)
		lane_push(a->lane, &a->look, look_at_notes, NULL, a);
	mutex_unlock(&a->lock);
}

void ahead_get_stats(struct ahead *a, struct ahead_stats *ret)
{
	*ret = (struct ahead_stats){
		.started_n = a->started_n,
		.running_n = a->running_n,
		.looked_n = a->looked_n,
	};
}

/* --- the module --- */

int ahead_new(struct loop *loop, struct tree *tree, const struct ahead_source *source,
	      struct ahead **ret)
{
	struct ahead *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->loop = loop;
	a->tree = tree;
	a->source = *source;
	a->guess = ORDERS;
	list_init(&a->jobs);
	mutex_init(&a->lock, MUTEX_RANK_AHEAD);
	r = loop_timer_init(&a->idle, loop, on_idle, a);
	if (r == 0)
		r = lane_new(loop, "gfs-ahead", 1, &a->lane);
	if (r < 0) {
		ahead_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

static void end_all(void *arg)
{
	struct ahead *a = arg;

	a->is_ending = true;
	cancel_jobs(a, 0);
}

void ahead_free(struct ahead *a)
{
	struct lane_job end;

	if (!a)
		return;
	if (a->lane)
		lane_push(a->lane, &end, end_all, NULL, a);
	/* Those that could not be stopped are just being told of their end. */
	do {
		loop_run_once(a->loop);
		usleep(100);
	} while (a->lane && (a->running_n > 0 || !a->is_ending));
	lane_free(a->lane);
	/* What the lane and others posted on the way. */
	loop_run_once(a->loop);
	loop_timer_fini(&a->idle);
	for (size_t i = 0; i < AHEAD_FOLDERS; i++)
		clear_folder(&a->folders[i]);
	mutex_fini(&a->lock);
	free(a);
}

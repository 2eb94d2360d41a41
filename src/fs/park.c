#define LOG_MODULE "park"
#include "park.h"

#include "mutex.h"
#include "notify.h"

#include <errno.h>

struct park {
	struct notify *notify;
	fuse_interrupt_func_t on_interrupt;
	struct mutex lock; /* MUTEX_RANK_PARK; guards what follows */
	struct list waiting;
	uint64_t next_number;
	unsigned n;
	bool is_closed;
};

int park_new(struct notify *notify, fuse_interrupt_func_t on_interrupt, struct park **ret)
{
	struct park *park = calloc(1, sizeof(*park));

	if (!park)
		return -ENOMEM;
	park->notify = notify;
	park->on_interrupt = on_interrupt;
	park->next_number = 1;
	mutex_init(&park->lock, MUTEX_RANK_PARK);
	list_init(&park->waiting);
	*ret = park;
	return 0;
}

void park_free(struct park *park)
{
	if (!park)
		return;
	mutex_fini(&park->lock);
	free(park);
}

static void unref(struct parked *p)
{
	bool is_last;

	mutex_lock(&p->park->lock);
	is_last = --p->refs_n == 0;
	mutex_unlock(&p->park->lock);
	if (is_last)
		p->free(p);
}

void park_unref(struct parked *p)
{
	unref(p);
}

static bool claim_locked(struct park *park, struct parked *p) REQUIRES(park->lock);

static bool claim_locked(struct park *park, struct parked *p)
{
	if (p->is_claimed)
		return false;
	p->is_claimed = true;
	list_del(&p->node);
	park->n--;
	return true;
}

/* Lets go of the answer's part, after the claim. */
static void release(struct parked *p)
{
	if (p->dir)
		notify_park_end(p->park->notify, p->dir);
	unref(p);
}

bool park_claim(struct parked *p)
{
	struct park *park = p->park;
	bool claimed;

	mutex_lock(&park->lock);
	claimed = claim_locked(park, p);
	mutex_unlock(&park->lock);
	/* The caller still holds the work's part: p stays valid. */
	if (claimed)
		release(p);
	return claimed;
}

/* The claim is won: stops the work and answers with an error. In this order, because after the
 * answer the caller may close the file that the work is about. */
static void abandon(struct parked *p, int error)
{
	bool is_cancelled = p->cancel(p);

	fuse_reply_err(p->req, error);
	if (is_cancelled)
		unref(p);
	release(p);
}

static void interrupt(struct parked *p)
{
	struct park *park = p->park;
	bool claimed = false;

	mutex_lock(&park->lock);
	if (p->is_armed)
		claimed = claim_locked(park, p);
	else
		p->is_interrupted = true;
	mutex_unlock(&park->lock);
	if (claimed)
		abandon(p, EINTR);
}

/* The number, not the pointer, is what libfuse keeps: it may call after the request was answered
 * by another thread and its storage freed. */
void park_interrupt(struct park *park, uint64_t number)
{
	struct parked *found = NULL;

	mutex_lock(&park->lock);
	list_for_each (&park->waiting, node) {
		struct parked *p = container_of(node, struct parked, node);

		if (p->number == number) {
			found = p;
			p->refs_n++;
			break;
		}
	}
	mutex_unlock(&park->lock);
	if (!found)
		return;
	interrupt(found);
	unref(found);
}

static bool enlist(struct park *park, struct parked *p)
{
	bool is_closed;

	mutex_lock(&park->lock);
	is_closed = park->is_closed;
	if (!is_closed) {
		p->number = park->next_number++;
		list_add_tail(&park->waiting, &p->node);
		park->n++;
	}
	mutex_unlock(&park->lock);
	return !is_closed;
}

bool park_begin(struct park *park, struct parked *p)
{
	p->park = park;
	p->refs_n = 3;
	p->is_claimed = p->is_armed = p->is_interrupted = false;
	list_init(&p->node);
	if (p->dir)
		notify_park_begin(park->notify, p->dir);
	if (enlist(park, p)) {
		/* If it was interrupted already this calls at once, with a lock held that a reply
		 * would need: the interrupt is only noted then. */
		fuse_req_interrupt_func(p->req, park->on_interrupt, (void *)(uintptr_t)p->number);
		return true;
	}
	if (p->dir)
		notify_park_end(park->notify, p->dir);
	fuse_reply_err(p->req, ENODEV);
	p->free(p);
	return false;
}

void park_arm(struct parked *p)
{
	struct park *park = p->park;
	bool claimed = false;
	int error;

	mutex_lock(&park->lock);
	p->is_armed = true;
	error = p->is_interrupted ? EINTR : ENODEV;
	if (p->is_interrupted || park->is_closed)
		claimed = claim_locked(park, p);
	mutex_unlock(&park->lock);
	if (claimed)
		abandon(p, error);
	unref(p);
}

/* One that can be cancelled, claimed; NULL when there is none. */
static struct parked *claim_any_locked(struct park *park) REQUIRES(park->lock);

static struct parked *claim_any_locked(struct park *park)
{
	list_for_each (&park->waiting, node) {
		struct parked *p = container_of(node, struct parked, node);

		if (p->is_armed) {
			(void)claim_locked(park, p);
			return p;
		}
	}
	return NULL;
}

void park_drain(struct park *park)
{
	struct parked *p;

	mutex_lock(&park->lock);
	park->is_closed = true;
	/* Those that are not armed yet see is_closed when they are. */
	while ((p = claim_any_locked(park))) {
		mutex_unlock(&park->lock);
		abandon(p, ENODEV);
		mutex_lock(&park->lock);
	}
	mutex_unlock(&park->lock);
}

unsigned park_n(struct park *park)
{
	unsigned n;

	mutex_lock(&park->lock);
	n = park->n;
	mutex_unlock(&park->lock);
	return n;
}

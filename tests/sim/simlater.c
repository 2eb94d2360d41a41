#include "simlater.h"

struct job {
	struct list link;
	struct sim *sim;
	void (*fn)(struct sim *s, void *arg);
	void *arg;
	lws_sorted_usec_list_t timer;
};

static void drop(struct job *job)
{
	lws_sul_cancel(&job->timer);
	list_del(&job->link);
	free(job->arg);
	free(job);
}

static void on_timer(lws_sorted_usec_list_t *timer)
{
	struct job *job = container_of(timer, struct job, timer);

	job->fn(job->sim, job->arg);
	drop(job);
}

void simlater_add(struct sim *s, uint64_t ms, void (*fn)(struct sim *s, void *arg), void *arg)
{
	struct job *job = simjson_alloc(sizeof(*job));

	job->sim = s;
	job->fn = fn;
	job->arg = arg;
	list_add_tail(&s->later, &job->link);
	lws_sul_schedule(s->serve.context, 0, &job->timer, on_timer, (lws_usec_t)(ms * 1000 + 1));
}

void simlater_fini(struct sim *s)
{
	list_for_each_safe (&s->later, pos)
		drop(container_of(pos, struct job, link));
}

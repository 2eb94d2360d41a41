#include "lane.h"

#include "mutex.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

enum { LANE_THREADS_MAX = 16 };

struct lane {
	struct loop *loop;
	unsigned threads_n;
	pthread_t threads[LANE_THREADS_MAX];
	char name[16];

	struct mutex lock; /* MUTEX_RANK_LANE; guards what follows */
	pthread_cond_t wake;
	struct list jobs;
	bool stopping;
};

static _Thread_local const struct lane *current;

static struct lane_job *pop(struct lane *lane)
{
	struct lane_job *job = NULL;

	mutex_lock(&lane->lock);
	while (list_empty(&lane->jobs) && !lane->stopping)
		mutex_wait(&lane->lock, &lane->wake);
	if (!list_empty(&lane->jobs)) {
		job = container_of(lane->jobs.next, struct lane_job, node);
		list_del(&job->node);
	}
	mutex_unlock(&lane->lock);
	return job;
}

static void *run(void *arg)
{
	struct lane *lane = arg;
	struct lane_job *job;

	current = lane;
	while ((job = pop(lane))) {
		/* After work without a done, the job may be gone. */
		loop_fn done = job->done;

		job->work(job->arg);
		if (done)
			loop_post(lane->loop, &job->call, done, job->arg);
	}
	return NULL;
}

int lane_new(struct loop *loop, const char *name, unsigned threads_n, struct lane **ret)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return -ENOMEM;
	lane->loop = loop;
	snprintf(lane->name, sizeof(lane->name), "%s", name);
	mutex_init(&lane->lock, MUTEX_RANK_LANE);
	mutex_cond_init(&lane->wake);
	list_init(&lane->jobs);
	if (threads_n > LANE_THREADS_MAX)
		threads_n = LANE_THREADS_MAX;
	for (unsigned i = 0; i < threads_n; i++) {
		int r = pthread_create(&lane->threads[i], NULL, run, lane);

		if (r != 0) {
			lane_free(lane);
			return -r;
		}
		lane->threads_n++;
		pthread_setname_np(lane->threads[i], lane->name);
	}
	*ret = lane;
	return 0;
}

void lane_free(struct lane *lane)
{
	if (!lane)
		return;
	mutex_lock(&lane->lock);
	lane->stopping = true;
	pthread_cond_broadcast(&lane->wake);
	mutex_unlock(&lane->lock);
	for (unsigned i = 0; i < lane->threads_n; i++)
		pthread_join(lane->threads[i], NULL);
	pthread_cond_destroy(&lane->wake);
	mutex_fini(&lane->lock);
	free(lane);
}

void lane_push(struct lane *lane, struct lane_job *job, loop_fn work, loop_fn done, void *arg)
{
	job->work = work;
	job->done = done;
	job->arg = arg;
	mutex_lock(&lane->lock);
	list_add_tail(&lane->jobs, &job->node);
	pthread_cond_signal(&lane->wake);
	mutex_unlock(&lane->lock);
}

bool lane_is_current(const struct lane *lane)
{
	return current == lane;
}

#include "mutex.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* More locks at a time than a thread of ours ever holds. */
enum { HELD_MAX = 8 };

static _Thread_local struct mutex *held[HELD_MAX];
static _Thread_local unsigned held_n;

/* Not log_error(): the log has a mutex of its own. */
static _Noreturn void breach(const struct mutex *m, const char *what)
{
	fprintf(stderr, "mutex of rank %d: %s\n", (int)m->rank, what);
	abort();
}

void mutex_init(struct mutex *m, enum mutex_rank rank)
{
	pthread_mutex_init(&m->m, NULL);
	m->holder = 0;
	m->rank = rank;
}

void mutex_fini(struct mutex *m)
{
	pthread_mutex_destroy(&m->m);
}

static void note_taken(struct mutex *m)
{
	if (held_n == HELD_MAX)
		breach(m, "too many locks at a time");
	held[held_n++] = m;
	m->holder = pthread_self();
}

static void note_released(struct mutex *m)
{
	unsigned i = held_n;

	while (i > 0 && held[i - 1] != m)
		i--;
	if (i == 0)
		breach(m, "released by a thread that does not hold it");
	for (; i < held_n; i++)
		held[i - 1] = held[i];
	held_n--;
	m->holder = 0;
}

MUTEX_ATTR(no_thread_safety_analysis) void mutex_lock(struct mutex *m)
{
	for (unsigned i = 0; i < held_n; i++)
		if (held[i]->rank >= m->rank)
			breach(m, "taken while a lock of the same or a later rank is held");
	if (pthread_mutex_lock(&m->m) != 0)
		breach(m, "cannot be taken");
	note_taken(m);
}

MUTEX_ATTR(no_thread_safety_analysis) void mutex_unlock(struct mutex *m)
{
	note_released(m);
	pthread_mutex_unlock(&m->m);
}

bool mutex_is_held(const struct mutex *m)
{
	for (unsigned i = 0; i < held_n; i++)
		if (held[i] == m)
			return true;
	return false;
}

void mutex_wait(struct mutex *m, pthread_cond_t *cond)
{
	note_released(m);
	pthread_cond_wait(cond, &m->m);
	note_taken(m);
}

bool mutex_wait_ms(struct mutex *m, pthread_cond_t *cond, unsigned ms)
{
	struct timespec until;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	note_released(m);
	r = pthread_cond_timedwait(cond, &m->m, &until);
	note_taken(m);
	return r != ETIMEDOUT;
}

void mutex_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

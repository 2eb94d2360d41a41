#include "harness.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <cmocka.h>

void watch_open(struct watch *w, const char *path, uint32_t mask)
{
	memset(w, 0, sizeof(*w));
	w->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	assert_true(w->fd >= 0);
	if (inotify_add_watch(w->fd, path, mask) < 0)
		fail_msg("inotify_add_watch(%s): %s", path, strerror(errno));
}

void watch_close(struct watch *w)
{
	close(w->fd);
	free(w->events);
}

void watch_clear(struct watch *w)
{
	w->n = 0;
}

static void keep(struct watch *w, const struct inotify_event *event)
{
	struct watch_event *e;

	w->events = realloc(w->events, (w->n + 1) * sizeof(*w->events));
	assert_non_null(w->events);
	e = &w->events[w->n++];
	e->mask = event->mask;
	e->cookie = event->cookie;
	e->at_ns = harness_now_ns();
	snprintf(e->name, sizeof(e->name), "%s", event->len ? event->name : "");
}

size_t watch_read(struct watch *w, unsigned ms)
{
	char data[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	struct pollfd p = { .fd = w->fd, .events = POLLIN };
	ssize_t n;

	if (poll(&p, 1, (int)ms) <= 0)
		return w->n;
	while ((n = read(w->fd, data, sizeof(data))) > 0) {
		const char *at = data;

		while (at < data + n) {
			const struct inotify_event *event = (const void *)at;

			keep(w, event);
			at += sizeof(*event) + event->len;
		}
	}
	return w->n;
}

static const struct watch_event *find(const struct watch *w, uint32_t mask, const char *name)
{
	for (size_t i = 0; i < w->n; i++)
		if ((w->events[i].mask & mask) == mask && strcmp(w->events[i].name, name) == 0)
			return &w->events[i];
	return NULL;
}

const struct watch_event *watch_wait(struct watch *w, uint32_t mask, const char *name,
				     unsigned timeout_ms)
{
	uint64_t until = harness_now_ms() + timeout_ms;
	const struct watch_event *e;

	while (!(e = find(w, mask, name)) && harness_now_ms() < until)
		watch_read(w, 50);
	return e;
}

size_t watch_count(const struct watch *w, uint32_t mask, const char *name)
{
	size_t n = 0;

	for (size_t i = 0; i < w->n; i++)
		n += (w->events[i].mask & mask) == mask && strcmp(w->events[i].name, name) == 0;
	return n;
}

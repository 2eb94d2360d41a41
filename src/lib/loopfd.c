#include "loopfd.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

/* One turn may leave work for the next; a caller's loop deserves its share all the same. */
enum { TURNS_MAX = 16 };

static int watch(int epoll, int fd)
{
	struct epoll_event event = { .events = EPOLLIN };

	return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int loopfd_init(struct loopfd *f, struct loop *loop)
{
	auto_close int fd = epoll_create1(EPOLL_CLOEXEC);
	auto_close int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	if (fd < 0 || timer < 0)
		return -errno;
	r = watch(fd, uv_backend_fd(loop_uv(loop)));
	if (r == 0)
		r = watch(fd, timer);
	if (r < 0)
		return r;
	*f = (struct loopfd){ .loop = loop, .fd = take_fd(&fd), .timer_fd = take_fd(&timer) };
	loopfd_arm(f);
	return 0;
}

void loopfd_fini(struct loopfd *f)
{
	if (!f->loop)
		return;
	close(f->fd);
	close(f->timer_fd);
	*f = (struct loopfd){ 0 };
}

void loopfd_turn(struct loopfd *f)
{
	uint64_t expired;

	/* Nothing to read: a socket woke us, not a timer. */
	if (read(f->timer_fd, &expired, sizeof(expired)) < 0)
		expired = 0;
	for (int i = 0; i < TURNS_MAX; i++) {
		loop_run_once(f->loop);
		if (uv_backend_timeout(loop_uv(f->loop)) != 0)
			return;
	}
}

void loopfd_arm(struct loopfd *f)
{
	struct itimerspec when = { 0 };
	int ms;

	uv_update_time(loop_uv(f->loop));
	ms = uv_backend_timeout(loop_uv(f->loop));
	if (ms > 0)
		when.it_value = (struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 };
	else if (ms == 0)
		when.it_value.tv_nsec = 1; /* zero would disarm */
	(void)timerfd_settime(f->timer_fd, 0, &when, NULL);
}

#include "jump.h"

#include <errno.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <unistd.h>

struct jump {
	uv_poll_t poll;
	int fd;
	loop_fn fn;
	void *arg;
};

/* A time that does not come; what is waited for is the cancellation. */
static int arm(int fd)
{
	const struct itimerspec never = { .it_value = { .tv_sec = (time_t)1 << 40 } };

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) < 0
		       ? -errno
		       : 0;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct jump *jump = poll->data;
	uint64_t ticks;

	if (read(jump->fd, &ticks, sizeof(ticks)) < 0 && errno != ECANCELED)
		return;
	/* Without it a later jump goes unnoticed, until a heartbeat is late. */
	(void)arm(jump->fd);
	jump->fn(jump->arg);
}

static void on_closed(uv_handle_t *handle)
{
	struct jump *jump = handle->data;

	close(jump->fd);
	free(jump);
}

int jump_new(struct loop *loop, loop_fn fn, void *arg, struct jump **ret)
{
	struct jump *jump = calloc(1, sizeof(*jump));
	int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	int r = !jump ? -ENOMEM : fd < 0 ? -errno : arm(fd);

	if (r == 0)
		r = uv_poll_init(loop_uv(loop), &jump->poll, fd);
	if (r < 0) {
		if (fd >= 0)
			close(fd);
		free(jump);
		return r;
	}
	jump->fd = fd;
	jump->fn = fn;
	jump->arg = arg;
	jump->poll.data = jump;
	r = uv_poll_start(&jump->poll, UV_READABLE, on_readable);
	if (r < 0) {
		jump_free(jump);
		return r;
	}
	*ret = jump;
	return 0;
}

void jump_free(struct jump *jump)
{
	if (jump)
		uv_close((uv_handle_t *)&jump->poll, on_closed);
}

#include "early.h"

#include <errno.h>

struct early {
	struct content_handle *h;
	struct content_read read;
	void (*done)(void *arg);
	void *arg;
	char byte;
};

static void on_read(struct content_read *read, ssize_t got)
{
	struct early *early = read->arg;

	early->done(early->arg);
}

/* A small file is asked for whole and comes in order: with its last byte all of it is here. */
static int begin(struct early *early, uint64_t size)
{
	bool is_parked;
	ssize_t r;

	if (size == 0 || content_read_now(early->h, size - 1, &early->byte, 1) >= 0)
		return EARLY_HERE;
	early->read = (struct content_read){
		.h = early->h,
		.off = size - 1,
		.len = 1,
		.buf = &early->byte,
		.done = on_read,
		.arg = early,
	};
	r = content_read_start(&early->read, &is_parked);
	if (is_parked)
		return 0;
	return r < 0 ? (int)r : EARLY_HERE;
}

int early_start(struct content *content, uint64_t ino, void (*done)(void *arg), void *arg,
		struct early **ret)
{
	struct early *early = calloc(1, sizeof(*early));
	struct tree_attr attr;
	int r;

	if (!early)
		return -ENOMEM;
	early->done = done;
	early->arg = arg;
	r = content_open_early(content, ino, &early->h);
	if (r != 0) {
		free(early);
		return r == CONTENT_WAIT ? -EAGAIN : r;
	}
	content_get_attr(early->h, &attr);
	r = begin(early, attr.size);
	if (r != 0)
		early_free(early);
	else
		*ret = early;
	return r;
}

bool early_stop(struct early *early)
{
	return content_read_cancel(&early->read);
}

void early_free(struct early *early)
{
	content_close(early->h);
	free(early);
}

#include "simspool.h"

#include "mem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_BYTES = 256 << 10 };

static void must(bool is_fine, const char *what)
{
	if (is_fine)
		return;
	fprintf(stderr, "graphsim: %s uploaded bytes: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

void simspool_init(struct simspool *sp)
{
	*sp = (struct simspool){ .fd = -1 };
}

void simspool_fini(struct simspool *sp)
{
	if (sp->fd >= 0)
		close(sp->fd);
}

/* /var/tmp, because /tmp is memory on many machines. */
static void open_file(struct simspool *sp)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];

	snprintf(path, sizeof(path), "%s/graphsim-XXXXXX", dir ? dir : "/var/tmp");
	sp->fd = mkostemp(path, O_CLOEXEC);
	must(sp->fd >= 0, "cannot make a file for");
	unlink(path);
}

uint64_t simspool_reserve(struct simspool *sp, uint64_t len)
{
	uint64_t at = sp->end;

	if (sp->fd < 0)
		open_file(sp);
	sp->end += len + SIMSPOOL_SLACK_BYTES;
	return at;
}

void simspool_write(struct simspool *sp, uint64_t at, const void *data, size_t len)
{
	const char *from = data;

	sp->stored_bytes_n += len;
	while (len > 0) {
		ssize_t n = pwrite(sp->fd, from, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		must(n > 0, "cannot store");
		from += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
}

void simspool_read(const struct simspool *sp, uint64_t at, void *ret_data, size_t len)
{
	char *to = ret_data;

	while (len > 0) {
		ssize_t n = pread(sp->fd, to, len, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		must(n >= 0, "cannot read");
		if (n == 0) {
			/* Reserved and never written: beyond the end of the file. */
			memset(to, 0, len);
			return;
		}
		to += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
}

void simspool_copy(struct simspool *sp, uint64_t from, uint64_t to, uint64_t len)
{
	static char chunk[CHUNK_BYTES];

	while (len > 0) {
		size_t n = len < CHUNK_BYTES ? (size_t)len : CHUNK_BYTES;

		simspool_read(sp, from, chunk, n);
		simspool_write(sp, to, chunk, n);
		from += n;
		to += n;
		len -= n;
	}
}

void simspool_drop(struct simspool *sp, uint64_t at, uint64_t len)
{
	/* Only disk space: a filesystem that cannot do it loses nothing else. */
	if (sp->fd >= 0 && len > 0)
		(void)!fallocate(sp->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
				 (off_t)len);
}

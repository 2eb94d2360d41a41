#include "dirops.h"

#include "ops.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* The reply to INIT, the first that a session sends, with the flag. false: it is not that. */
static bool patch(const struct iovec *iov, int count, struct fuse_init_out *ret)
{
	const struct fuse_out_header *head = iov[0].iov_base;

	if (count != 2 || iov[0].iov_len != sizeof(*head) || head->error != 0 ||
	    iov[1].iov_len > sizeof(*ret) || iov[1].iov_len < FUSE_COMPAT_22_INIT_OUT_SIZE)
		return false;
	memcpy(ret, iov[1].iov_base, iov[1].iov_len);
	ret->flags |= FUSE_PARALLEL_DIROPS;
	return true;
}

static ssize_t send_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	struct fs *fs = userdata;
	struct fuse_init_out init;

	if (fs->is_init_answered)
		return writev(fd, iov, count);
	fs->is_init_answered = true;
	if (!fs->has_parallel_dirops || !patch(iov, count, &init))
		return writev(fd, iov, count);
	return writev(fd,
		      (struct iovec[]){ iov[0], { .iov_base = &init, .iov_len = iov[1].iov_len } },
		      2);
}

static ssize_t receive(int fd, void *buf, size_t len, void *userdata)
{
	return read(fd, buf, len);
}

int dirops_enable(struct fs *fs)
{
	const struct fuse_custom_io io = { .writev = send_reply, .read = receive };

	return fuse_session_custom_io(fs->session, &io, fuse_session_fd(fs->session));
}

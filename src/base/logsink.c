#include "logsink.h"

#include "log.h"
#include "mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>

/* --- the journal --- */

static struct {
	int fd;
	struct sockaddr_un address;
} journal;

static void to_journal(enum log_level level, const char *line, size_t len)
{
	static const char *const heads[] = {
		[LOG_LEVEL_ERROR] = "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=3\nMESSAGE=",
		[LOG_LEVEL_WARN] = "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=4\nMESSAGE=",
		[LOG_LEVEL_INFO] = "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=6\nMESSAGE=",
		[LOG_LEVEL_DEBUG] = "SYSLOG_IDENTIFIER=graphfs\nPRIORITY=7\nMESSAGE=",
	};
	struct iovec parts[] = {
		{ .iov_base = (char *)heads[level], .iov_len = strlen(heads[level]) },
		{ .iov_base = (char *)line, .iov_len = len },
	};
	/* By name each time: a journald that was restarted is another socket. */
	const struct msghdr message = {
		.msg_name = &journal.address,
		.msg_namelen = sizeof(journal.address),
		.msg_iov = parts,
		.msg_iovlen = array_n(parts),
	};

	(void)sendmsg(journal.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

int logsink_journal(const char *socket_path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	auto_close int trial = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (trial < 0 || fd < 0)
		return -errno;
	if (strlen(socket_path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	if (connect(trial, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	journal.address = address;
	journal.fd = take_fd(&fd);
	log_set_sink(to_journal, false);
	return 0;
}

/* --- a file --- */

static struct {
	int dir_fd; /* these four are fixed when the log begins */
	char name[64], old_name[80];
	size_t max_bytes;

	struct mutex lock; /* MUTEX_RANK_LOG, guards: */
	int fd;
	size_t bytes;
} file;

static int open_log(int extra_flags)
{
	return openat(file.dir_fd, file.name,
		      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | extra_flags, 0600);
}

static void begin_anew_locked(void) REQUIRES(file.lock)
{
	int fd = -1;

	if (renameat(file.dir_fd, file.name, file.dir_fd, file.old_name) == 0)
		fd = open_log(O_TRUNC);
	if (fd >= 0) {
		close(file.fd);
		file.fd = fd;
	} else if (ftruncate(file.fd, 0) < 0) { /* better no history than no bound */
		return;
	}
	file.bytes = 0;
}

static void to_file(enum log_level level, const char *line, size_t len)
{
	ssize_t n;

	(void)level;
	mutex_lock(&file.lock);
	if (file.bytes + len > file.max_bytes)
		begin_anew_locked();
	/* A log that cannot be written has nowhere to be reported. */
	n = write(file.fd, line, len);
	if (n > 0)
		file.bytes += (size_t)n;
	mutex_unlock(&file.lock);
}

int logsink_file(int dir_fd, const char *name, size_t max_bytes)
{
	struct stat st;

	if (strlen(name) >= sizeof(file.name))
		return -ENAMETOOLONG;
	file.dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 3);
	if (file.dir_fd < 0)
		return -errno;
	snprintf(file.name, sizeof(file.name), "%s", name);
	snprintf(file.old_name, sizeof(file.old_name), "%s.1", name);
	file.max_bytes = max_bytes;
	file.fd = open_log(0);
	if (file.fd < 0 || fchmod(file.fd, 0600) < 0 || fstat(file.fd, &st) < 0) {
		int r = -errno;

		if (file.fd >= 0)
			close(file.fd);
		close(file.dir_fd);
		return r;
	}
	file.bytes = (size_t)st.st_size;
	if (file.lock.rank != MUTEX_RANK_LOG)
		mutex_init(&file.lock, MUTEX_RANK_LOG);
	log_set_sink(to_file, true);
	return 0;
}

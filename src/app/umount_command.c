#include "commands.h"

#include "clock.h"
#include "fs.h"
#include "paths.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { WAIT_MS = 10000, LOOK_MS = 20 };

static int run_helper(const char *path)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "--", path, (char *)NULL);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return -EIO;
	return status == 0 ? 0 : -EBUSY;
}

int umount_command(const struct commands_options *o)
{
	auto_free char *path = NULL;
	uint64_t until = clock_mono_ms() + WAIT_MS;
	int r = paths_absolute(o->operand, &path);

	if (r < 0 || !fs_is_mounted(path)) {
		fprintf(stderr, "graphfs: %s: no graphfs mount\n", o->operand);
		return 1;
	}
	r = geteuid() == 0 ? (umount2(path, 0) < 0 ? -errno : 0) : run_helper(path);
	if (r < 0) {
		fprintf(stderr, "graphfs: %s: %s\n", path,
			r == -EBUSY ? "something is still open there" : strerror(-r));
		return 1;
	}
	while (fs_is_mounted(path) && clock_mono_ms() < until)
		poll(NULL, 0, LOOK_MS);
	return fs_is_mounted(path) ? 1 : 0;
}

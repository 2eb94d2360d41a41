#include "commands.h"

#include "clock.h"
#include "control.h"
#include "drain.h"
#include "fs.h"
#include "paths.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { WAIT_MS = 10000, LOOK_MS = 20, BY_ITSELF_MS = 2000 };

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

/* Everything is tried once more, and waited for. 0; else it said what is wrong. */
static int drain(int dir, const char *name)
{
	struct json_object *status;
	int r = control_ask(dir, name, "sync", &status);

	if (r == 0) {
		json_object_put(status);
		r = drain_wait(dir, name);
	}
	if (r < 0)
		fprintf(stderr, "graphfs: the daemon does not answer: %s\n", strerror(-r));
	return r;
}

/* The daemon as a descriptor; -1 when it does not answer. It is waited for, too: until it has
 * ended, the drive's state is locked and could not be mounted again. */
static int find_daemon(int dir, const char *name, unsigned long long *ret_unsent_n)
{
	struct json_object *status, *pid;
	int fd = -1;

	if (control_ask(dir, name, "status", &status) < 0)
		return -1;
	*ret_unsent_n = drain_state_of(status).unsent_n;
	if (json_object_object_get_ex(status, "pid", &pid))
		fd = pidfd_open(json_object_get_int(pid), 0);
	json_object_put(status);
	return fd;
}

/* It ends when its mount does. Another mount namespace that has a copy of the mount (a container, a
 * sandbox) keeps it, and then it is told. False: it has not ended. */
static bool end_daemon(int daemon)
{
	struct pollfd end = { .fd = daemon, .events = POLLIN };

	if (poll(&end, 1, BY_ITSELF_MS) > 0)
		return true;
	(void)pidfd_send_signal(daemon, SIGTERM, NULL, 0);
	return poll(&end, 1, WAIT_MS) > 0;
}

int umount_command(const struct commands_options *o)
{
	auto_free char *path = NULL;
	auto_close int dir = -1;
	auto_close int daemon = -1;
	unsigned long long unsent_n = 0;
	char hash[17], name[32];
	uint64_t until;
	int r = paths_absolute(o->operand, &path);

	if (r < 0 || !fs_is_mounted(path)) {
		fprintf(stderr, "graphfs: %s: no graphfs mount\n", o->operand);
		return 1;
	}
	if (paths_open(PATHS_RUNTIME, NULL, NULL, &dir) < 0)
		return 1;
	paths_hash(path, hash);
	snprintf(name, sizeof(name), "%s.sock", hash);
	if (o->wait && drain(dir, name) != 0) {
		fprintf(stderr, "graphfs: %s: it stays mounted\n", path);
		return 1;
	}
	daemon = find_daemon(dir, name, &unsent_n);
	until = clock_mono_ms() + WAIT_MS;
	r = geteuid() == 0 ? (umount2(path, 0) < 0 ? -errno : 0) : run_helper(path);
	if (r < 0) {
		fprintf(stderr, "graphfs: %s: %s\n", path,
			r == -EBUSY ? "something is still open there" : strerror(-r));
		return 1;
	}
	while (fs_is_mounted(path) && clock_mono_ms() < until)
		poll(NULL, 0, LOOK_MS);
	if (fs_is_mounted(path)) {
		fprintf(stderr, "graphfs: %s: still mounted\n", path);
		return 1;
	}
	if (daemon >= 0 && !end_daemon(daemon)) {
		fprintf(stderr, "graphfs: %s: unmounted, but its daemon is still writing to disk\n",
			path);
		return 1;
	}
	if (unsent_n > 0)
		printf("%llu %s not sent yet; they are kept for the next mount\n", unsent_n,
		       unsent_n == 1 ? "change is" : "changes are");
	return 0;
}

#define LOG_MODULE "fs"
#include "fs.h"

#include "dirops.h"
#include "lane.h"
#include "log.h"
#include "ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FUSE_THREADS = 2, SYNC_THREADS = 2, WAKE_AGAIN_MS = 5 };

/* Of the session's threads, which inherit it from their first. */
#define THREAD_NAME "fuse"

static void on_interrupt(fuse_req_t req, void *data)
{
	struct fs *fs = fuse_req_userdata(req);

	park_interrupt(fs->park, (uint64_t)(uintptr_t)data);
}

/* --- the mount point --- */

bool fs_is_mounted(const char *path)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent entry;
	char text[16384];
	bool found = false;

	while (f && getmntent_r(f, &entry, text, sizeof(text)))
		if (strcmp(entry.mnt_dir, path) == 0)
			found = strcmp(entry.mnt_type, "fuse.graphfs") == 0;
	if (f)
		(void)endmntent(f);
	return found;
}

static int take_away(const char *path)
{
	if (umount2(path, MNT_DETACH) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	/* Not root: the helper that mounted it may unmount it. */
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "--", path, (char *)NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0 ? 0 : -EPERM;
}

/* The daemon behind a mount is gone. Not by stat(2): the kernel answers that from its caches, which
 * are good for an hour; statfs(2) always asks. */
static bool is_dead(const char *path)
{
	struct statvfs st;

	return statvfs(path, &st) < 0 && errno == ENOTCONN;
}

static int check_mountpoint(const char *path)
{
	struct stat st;
	int r;

	if (is_dead(path)) {
		if (!fs_is_mounted(path)) {
			log_error("%s: a dead mount of another filesystem is in the way", path);
			return -EBUSY;
		}
		log_info("%s: taking away the dead mount of an earlier daemon", path);
		r = take_away(path);
		if (r < 0) {
			log_error("%s: the dead mount cannot be taken away: %s", path,
				  strerror(-r));
			return r;
		}
	}
	if (stat(path, &st) < 0) {
		log_error("%s: %s", path, strerror(errno));
		return -errno;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_error("%s: not a directory", path);
		return -ENOTDIR;
	}
	if (fs_is_mounted(path)) {
		log_error("%s: graphfs is mounted there already", path);
		return -EBUSY;
	}
	return 0;
}

/* --- the session --- */

static bool has_option(const char *options, const char *wanted)
{
	size_t len = strlen(wanted);

	for (const char *at = options; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
		if (strncmp(at, wanted, len) == 0 && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

/* What tells the mount from the folder below it. The daemon does not answer yet, so the kernel
 * must not ask it. */
static int note_dev(struct fs *fs)
{
	struct statx st;

	if (statx(AT_FDCWD, fs->options.mountpoint, AT_STATX_DONT_SYNC, STATX_TYPE, &st) < 0)
		return -errno;
	fs->dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

static int make_session(struct fs *fs)
{
	const struct fs_options *o = &fs->options;
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	auto_free char *name = NULL;
	int r = -ENOMEM;

	if (asprintf(&name, "fsname=%s,subtype=graphfs,max_read=1048576%s", o->name,
		     has_option(o->fuse_options, "allow_other") ? ",default_permissions" : "") <
	    0) {
		name = NULL;
		return -ENOMEM;
	}
	if (fuse_opt_add_arg(&args, "graphfs") == 0 && fuse_opt_add_arg(&args, "-o") == 0 &&
	    fuse_opt_add_arg(&args, name) == 0 &&
	    (!o->fuse_options || (fuse_opt_add_arg(&args, "-o") == 0 &&
				  fuse_opt_add_arg(&args, o->fuse_options) == 0))) {
		fs->session = fuse_session_new(&args, &ops_table, sizeof(ops_table), fs);
		r = fs->session ? 0 : -EINVAL;
	}
	fuse_opt_free_args(&args);
	if (r == -EINVAL)
		log_error("a mount option is not known: %s",
			  o->fuse_options ? o->fuse_options : "");
	if (r == 0 && fuse_session_mount(fs->session, o->mountpoint) != 0) {
		log_error("%s cannot be mounted on", o->mountpoint);
		fuse_session_destroy(fs->session);
		fs->session = NULL;
		r = -EACCES;
	}
	if (r == 0)
		r = note_dev(fs);
	if (r == 0)
		r = dirops_enable(fs);
	return r;
}

static int make_parts(struct fs *fs)
{
	const struct reader_rules *rules = fs->options.readers;
	int r = replay_new(&fs->replay);

	if (r == 0)
		r = reader_new("/proc", rules ? rules : &reader_rules_default, &fs->reader);
	if (r == 0)
		r = notify_new(&(struct notify_options){ .inodes = fs->options.inodes,
							 .tree = fs->options.tree,
							 .replay = fs->replay,
							 .mountpoint = fs->options.mountpoint,
							 .no_epoch = fs->options.no_epoch },
			       &fs->notify);
	if (r == 0)
		r = park_new(fs->notify, on_interrupt, &fs->park);
	if (r == 0 && fs->options.is_writable)
		r = lane_new(NULL, "gfs-sync", SYNC_THREADS, &fs->sync_lane);
	if (r == 0 && pipe2(fs->stop_pipe, O_CLOEXEC | O_NONBLOCK) < 0)
		r = -errno;
	return r;
}

int fs_new(const struct fs_options *options, struct fs **ret)
{
	struct fs *fs = calloc(1, sizeof(*fs));
	int r = check_mountpoint(options->mountpoint);

	if (!fs || r < 0) {
		free(fs);
		return r < 0 ? r : -ENOMEM;
	}
	fs->stop_pipe[0] = fs->stop_pipe[1] = -1;
	fs->options = *options;
	fs->options.mountpoint = strdup(options->mountpoint);
	fs->options.name = strdup(options->name);
	fs->options.fuse_options = options->fuse_options ? strdup(options->fuse_options) : NULL;
	r = fs->options.mountpoint && fs->options.name &&
			    (!options->fuse_options || fs->options.fuse_options)
		    ? make_parts(fs)
		    : -ENOMEM;
	if (r == 0)
		r = make_session(fs);
	if (r < 0) {
		fs_free(fs);
		return r;
	}
	*ret = fs;
	return 0;
}

void fs_free(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->session) {
		/* Nothing is left to unmount after fs_run(). */
		fuse_session_unmount(fs->session);
		fuse_session_destroy(fs->session);
	}
	lane_free(fs->sync_lane);
	park_free(fs->park);
	notify_free(fs->notify);
	replay_free(fs->replay);
	reader_free(fs->reader);
	for (int i = 0; i < 2; i++)
		if (fs->stop_pipe[i] >= 0)
			close(fs->stop_pipe[i]);
	free((char *)fs->options.mountpoint);
	free((char *)fs->options.name);
	free((char *)fs->options.fuse_options);
	free(fs);
}

void fs_stop(struct fs *fs)
{
	/* A full pipe says the same. */
	if (write(fs->stop_pipe[1], "x", 1) < 0)
		return;
}

static void *serve(void *arg)
{
	struct fs *fs = arg;
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int r = -ENOMEM;

	pthread_setname_np(pthread_self(), THREAD_NAME);
	if (config) {
		fuse_loop_cfg_set_max_threads(config, FUSE_THREADS);
		fuse_loop_cfg_set_clone_fd(config, 0);
		r = fuse_session_loop_mt(fs->session, config);
		fuse_loop_cfg_destroy(config);
	}
	fs->has_ended = true;
	fs_stop(fs);
	return (void *)(intptr_t)r;
}

/* The mount must be there for the threads that replay through it: they start with it. */
static int start_notifier(struct fs *fs)
{
	int r = notify_start(fs->notify, fs->session, fs->dev);

	if (r < 0)
		log_error("the notifier's threads cannot be started: %s", strerror(-r));
	return r;
}

static void on_wake(int signal)
{
}

/* Interrupts what the session's threads read; they see then that the session is to end. */
static void wake_session(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *e;

	while (tasks && (e = readdir(tasks))) {
		pid_t tid = atoi(e->d_name);
		char path[64], name[16] = "";
		auto_close int fd = -1;

		snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, name, sizeof(name) - 1) > 0 &&
		    strcmp(name, THREAD_NAME "\n") == 0)
			(void)tgkill(getpid(), tid, SIGUSR1);
	}
	if (tasks)
		closedir(tasks);
}

/* The threads of the session wait in read(2). An unmount ends that, but not while another mount
 * namespace (a container, a sandbox) has a copy of the mount. Again and again: one may be between
 * its look at the flag and the read. */
static void end_session(struct fs *fs)
{
	const struct sigaction wake = { .sa_handler = on_wake }; /* no SA_RESTART */

	fuse_session_exit(fs->session);
	sigaction(SIGUSR1, &wake, NULL);
	while (!fs->has_ended) {
		wake_session();
		poll(NULL, 0, WAKE_AGAIN_MS);
	}
	pthread_join(fs->loop_thread, NULL);
}

int fs_run(struct fs *fs)
{
	struct pollfd p = { .fd = fs->stop_pipe[0], .events = POLLIN };
	int r = -pthread_create(&fs->loop_thread, NULL, serve, fs);

	if (r < 0)
		return r;
	r = start_notifier(fs);
	while (r == 0 && poll(&p, 1, -1) < 0 && errno == EINTR)
		continue;
	/* In this order: a notifier may wait for a directory that a parked request holds, and the
	 * session must still answer what its replays ask. */
	park_drain(fs->park);
	notify_stop(fs->notify);
	end_session(fs);
	fuse_session_unmount(fs->session);
	return r;
}

void fs_push_changes(struct fs *fs, struct change_set *set)
{
	notify_push(fs->notify, set);
}

void fs_push_all(struct fs *fs)
{
	notify_push_all(fs->notify);
}

void fs_get_stats(struct fs *fs, struct notify_stats *ret, unsigned *ret_parked_n)
{
	notify_get_stats(fs->notify, ret);
	*ret_parked_n = park_n(fs->park);
}

void fs_get_readers(struct fs *fs, struct reader_stats *ret)
{
	reader_get_stats(fs->reader, ret);
}

void fs_settle(struct fs *fs)
{
	notify_settle(fs->notify);
}

uint64_t fs_requests_n(const struct fs *fs)
{
	return fs->requests_n;
}

#define LOG_MODULE "mount"
#include "commands.h"

#include "clock.h"
#include "log.h"
#include "logsink.h"
#include "mounted.h"
#include "notify.h"
#include "options.h"
#include "paths.h"
#include "reader.h"
#include "sdnotify.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum { LOG_MAX_BYTES = 1024 * 1024 };
enum { LOCK_WAIT_MS = 3000, LOCK_END_MS = 60 * 1000, LOCK_LOOK_MS = 20 };

static const char log_file[] = "log";

struct mount {
	struct mounted m;
	const struct commands_options *o;
	char *path;
	int ready_fd; /* the parent waits at its other end; -1 in the foreground */
	int state_fd;
	char *log_path;            /* of the file, whether it is used or not */
	_Atomic(const char *) log; /* where the lines go, for status; NULL: standard error */
	uv_signal_t signals[2];
	int signals_open;
};

/* --- status --- */

static struct json_object *time_of(int64_t s)
{
	char text[32];
	struct tm tm;
	time_t t = (time_t)s;

	if (s == 0)
		return NULL;
	gmtime_r(&t, &tm);
	(void)strftime(text, sizeof(text), "%FT%TZ", &tm);
	return json_object_new_string(text);
}

static struct json_object *channel_of(const struct drive_status *s)
{
	struct json_object *channel = json_object_new_object();

	json_object_object_add(channel, "url_host",
			       s->url_host[0] ? json_object_new_string(s->url_host) : NULL);
	json_object_object_add(channel, "connected_since", time_of(s->connected_since_s));
	json_object_object_add(channel, "last_notification", time_of(s->last_notification_s));
	return channel;
}

static void add_number(struct json_object *obj, const char *key, uint64_t value)
{
	json_object_object_add(obj, key, json_object_new_int64((int64_t)value));
}

static void add_kernel(struct mount *mount, struct json_object *status)
{
	struct json_object *kernel = json_object_new_object();
	struct fs *fs = mount->m.fs;
	struct notify_stats n = { 0 };
	unsigned parked = 0;

	if (fs) {
		fs_get_stats(fs, &n, &parked);
		add_number(kernel, "requests", fs_requests_n(fs));
	}
	add_number(kernel, "known_inodes", inodes_known_n(mount->m.inodes));
	add_number(kernel, "replays", n.replays_n);
	add_number(kernel, "fallbacks", n.fallbacks_n);
	add_number(kernel, "bulk_invalidations", n.bulks_n);
	add_number(kernel, "waiting", n.waiting_n);
	add_number(kernel, "parked", parked);
	json_object_object_add(status, "kernel", kernel);
}

static void add_readers(struct mount *mount, struct json_object *status)
{
	struct json_object *readers = json_object_new_object();
	struct reader_stats stats[READER_CLASSES] = { 0 };
	struct fs *fs = mount->m.fs;

	if (fs)
		fs_get_readers(fs, stats);
	for (size_t i = 0; i < READER_CLASSES; i++) {
		struct json_object *one = json_object_new_object();

		add_number(one, "opens", stats[i].opens_n);
		add_number(one, "read_bytes", stats[i].read_bytes);
		add_number(one, "refused_files", stats[i].refused_n);
		add_number(one, "refused_bytes", stats[i].refused_bytes);
		json_object_object_add(readers, reader_name((enum reader_class)i), one);
	}
	json_object_object_add(status, "readers", readers);
}

static struct json_object *on_control(void *arg, const char *command)
{
	struct mount *mount = arg;
	struct json_object *status, *cache;
	struct content_stats content;
	struct push_stats push = { 0 };
	struct drive_status s;

	if (strcmp(command, "sync") == 0 && mount->m.push)
		push_retry(mount->m.push);
	else if (strcmp(command, "sync") != 0 && strcmp(command, "status") != 0)
		return NULL;
	drive_get_status(mount->m.drive, &s);
	content_get_stats(mount->m.content, &content);
	status = json_object_new_object();
	json_object_object_add(status, "mountpoint", json_object_new_string(mount->path));
	json_object_object_add(status, "state", json_object_new_string(s.state));
	json_object_object_add(status, "reason", json_object_new_string(s.reason));
	json_object_object_add(status, "channel", channel_of(&s));
	json_object_object_add(status, "last_delta", time_of(s.last_delta_s));
	add_number(status, "items", tree_items_n(mount->m.tree));
	add_number(status, "skipped", s.skipped_n);
	if (mount->m.push)
		push_get_stats(mount->m.push, &push);
	add_number(status, "unsent", push.pending_n);
	add_number(status, "sending", push.sending_n);
	add_number(status, "refused", push.failed_n);
	json_object_object_add(status, "stuck", json_object_new_boolean(push.is_stuck));
	json_object_object_add(status, "crawling", json_object_new_boolean(s.is_crawling));
	cache = json_object_new_object();
	add_number(cache, "bytes", content.cached_bytes);
	add_number(cache, "files", content.cached_files);
	add_number(cache, "in_flight", content.in_flight_n);
	json_object_object_add(status, "cache", cache);
	add_readers(mount, status);
	add_kernel(mount, status);
	if (mount->log)
		json_object_object_add(status, "log", json_object_new_string(mount->log));
	add_number(status, "pid", (uint64_t)getpid());
	return status;
}

/* --- the filesystem's questions --- */

static uint64_t lease_ms(void *arg)
{
	struct mount *mount = arg;

	return drive_lease_ms(mount->m.drive);
}

static void get_space(void *arg, struct fs_space *ret)
{
	struct mount *mount = arg;
	struct drive_quota quota;

	drive_get_quota(mount->m.drive, &quota);
	*ret = (struct fs_space){ .total = quota.has_quota ? quota.total : 0,
				  .free = quota.remaining };
}

/* A file or the journal was given for the log: it stays. */
static bool is_stderr_for_log(void)
{
	struct stat st;

	return fstat(STDERR_FILENO, &st) == 0 &&
	       (S_ISREG(st.st_mode) || (S_ISSOCK(st.st_mode) && getenv("JOURNAL_STREAM")));
}

/* A terminal or a pipe is the caller's, who may wait for its end, and is not written to behind his
 * back. */
static void log_in_background(struct mount *mount)
{
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	log_set_plain(false);
	if (is_stderr_for_log())
		return;
	if (logsink_journal(LOGSINK_JOURNAL) == 0)
		mount->log = "journal";
	else if (logsink_file(mount->state_fd, log_file, LOG_MAX_BYTES) == 0)
		mount->log = mount->log_path;
	else
		log_warn("there is nowhere to log to");
	if (null >= 0)
		dup2(null, STDERR_FILENO);
}

static void on_local(void *arg)
{
	struct mount *mount = arg;

	mounted_wake(&mount->m);
}

static void on_fs_ready(void *arg)
{
	struct mount *mount = arg;

	log_info("%s is mounted", mount->path);
	if (mount->ready_fd >= 0) {
		log_in_background(mount);
		log_info("%s is mounted, the daemon is %d", mount->path, (int)getpid());
	}
	sdnotify_send("READY=1");
	if (mount->ready_fd >= 0 && write(mount->ready_fd, "0", 1) != 1)
		log_warn("nobody waits for the mount");
}

/* --- signals --- */

static void on_signal(uv_signal_t *handle, int number)
{
	struct mount *mount = handle->data;
	struct fs *fs = mount->m.fs;

	log_info("%s: unmounting", strsignal(number));
	sdnotify_send("STOPPING=1");
	if (fs)
		fs_stop(fs);
}

static void on_signal_closed(uv_handle_t *handle)
{
	struct mount *mount = handle->data;

	mount->signals_open--;
}

static void watch_signals(struct mount *mount)
{
	static const int numbers[] = { SIGTERM, SIGINT };

	(void)signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < array_n(numbers); i++) {
		uv_signal_init(loop_uv(mount->m.service.loop), &mount->signals[i]);
		mount->signals[i].data = mount;
		mount->signals_open++;
		uv_signal_start(&mount->signals[i], on_signal, numbers[i]);
	}
}

static void unwatch_signals(struct mount *mount)
{
	int n = mount->signals_open;

	for (int i = 0; i < n; i++)
		uv_close((uv_handle_t *)&mount->signals[i], on_signal_closed);
	while (mount->signals_open > 0)
		loop_run_once(mount->m.service.loop);
	/* It is ending already; umount may say so once more. */
	(void)signal(SIGTERM, SIG_IGN);
}

/* --- the mount --- */

static void read_where(int fd, char ret[PATH_MAX])
{
	ssize_t n = pread(fd, ret, PATH_MAX - 1, 0);

	ret[n > 0 ? n : 0] = '\0';
}

/* An earlier daemon whose folder was just unmounted may still be ending: its contents have to be on
 * disk first. */
static bool try_lock(int fd, char where[PATH_MAX])
{
	uint64_t began = clock_mono_ms(), waited = 0;
	bool is_told = false;

	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		bool is_serving;

		if (errno != EWOULDBLOCK)
			return false;
		read_where(fd, where);
		is_serving = where[0] && fs_is_mounted(where);
		if (waited > (is_serving ? LOCK_WAIT_MS : LOCK_END_MS))
			return false;
		if (waited > LOCK_WAIT_MS && !is_told) {
			log_warn("waiting for an earlier graphfs of this drive, which is ending");
			is_told = true;
		}
		poll(NULL, 0, LOCK_LOOK_MS);
		waited = clock_mono_ms() - began;
	}
	return true;
}

/* One daemon for each state directory; the file says where the drive is mounted. The lock ends with
 * the descriptor, not with the process: that may have to wait for the disk. */
static int lock(const char *path, int state_fd, int *ret_fd)
{
	auto_close int fd =
		openat(state_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	char where[PATH_MAX] = "";

	if (fd < 0)
		return -errno;
	if (try_lock(fd, where)) {
		if (ftruncate(fd, 0) < 0 || pwrite(fd, path, strlen(path), 0) < 0)
			log_debug("the lock does not say what is mounted");
		*ret_fd = take_fd(&fd);
		return 0;
	}
	log_error("this drive is mounted already%s%s", where[0] ? " on " : "", where);
	return -EBUSY;
}

/* As other mounts do, and as nobody expects. */
static void warn_of_hidden(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e = NULL;

	while (dir && (e = readdir(dir)) &&
	       (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0))
		continue;
	if (e)
		log_warn("%s is not empty: what is in it is hidden while the drive is mounted",
			 path);
	if (dir)
		closedir(dir);
}

static int open_dirs(const struct commands_options *o, int *ret_state, int *ret_cache)
{
	auto_free char *text = NULL;
	char name[17];
	int r;

	if (asprintf(&text, "%s/%s", o->account, o->drive) < 0) {
		text = NULL;
		return -ENOMEM;
	}
	paths_hash(text, name);
	r = paths_open(PATHS_STATE, o->state_dir, name, ret_state);
	return r < 0 ? r : paths_open(PATHS_CACHE, o->cache_dir, name, ret_cache);
}

static int make_fs(struct mount *mount)
{
	const char *given = mount->o->fuse_options;
	auto_free char *options = given ? options_without_ro(given) : NULL;
	auto_free char *name = NULL;
	mode_t mask = umask(077);
	struct fs *fs;
	int r;

	if (asprintf(&name, "graphfs#%s", mount->o->drive) < 0) {
		name = NULL;
		return -ENOMEM;
	}
	r = fs_new(
		&(struct fs_options){
			.tree = mount->m.tree,
			.inodes = mount->m.inodes,
			.content = mount->m.content,
			.listing = drive_listing(mount->m.drive),
			.mountpoint = mount->path,
			.name = name,
			.fuse_options = options && options[0] ? options : NULL,
			.readers = &mount->m.config.readers,
			.is_writable = mount->m.config.is_writable,
			.store_lane = mount->m.store,
			.uid = geteuid(),
			.gid = getegid(),
			.umask = mask,
			.arg = mount,
			.lease_ms = lease_ms,
			.get_space = get_space,
			.on_ready = on_fs_ready,
			.on_local = on_local,
		},
		&fs);
	if (r == 0)
		mount->m.fs = fs;
	return r;
}

static int open_control(struct mount *mount)
{
	auto_close int dir = -1;
	char hash[17], name[32];
	int r = paths_open(PATHS_RUNTIME, NULL, NULL, &dir);

	if (r < 0)
		return r;
	paths_hash(mount->path, hash);
	snprintf(name, sizeof(name), "%s.sock", hash);
	/* Kept open: the socket's path goes through it. */
	return control_new(mount->m.service.loop, take_fd(&dir), name, on_control, mount,
			   &mount->m.control);
}

static int find_log_path(struct mount *mount, int state_fd)
{
	auto_free char *dir = paths_of_fd(state_fd);

	mount->state_fd = state_fd;
	if (!dir || asprintf(&mount->log_path, "%s/%s", dir, log_file) < 0) {
		mount->log_path = NULL;
		return -ENOMEM;
	}
	return 0;
}

static int serve(struct mount *mount)
{
	auto_close int state = -1;
	auto_close int cache = -1;
	auto_close int locked = -1;
	int r = open_dirs(mount->o, &state, &cache);

	if (r == 0)
		r = lock(mount->path, state, &locked);
	if (r == 0)
		r = find_log_path(mount, state);
	if (r == 0)
		r = mounted_open(&mount->m, mount->o->account, mount->o->drive, state, cache);
	if (r == 0) {
		r = mounted_start(&mount->m);
		if (r < 0)
			log_error("the drive cannot be used: %s", mount->m.ready_text);
	}
	if (r == 0) {
		warn_of_hidden(mount->path);
		r = make_fs(mount);
	}
	if (r == 0)
		r = open_control(mount);
	if (r == 0) {
		watch_signals(mount);
		r = mounted_run_loop(&mount->m);
	}
	if (r == 0)
		r = fs_run(mount->m.fs);
	if (mount->m.has_loop_thread) {
		loop_stop(mount->m.service.loop);
		pthread_join(mount->m.loop_thread, NULL);
		mount->m.has_loop_thread = false;
	}
	if (mount->signals_open)
		unwatch_signals(mount);
	mounted_close(&mount->m);
	if (r == 0)
		log_info("%s is unmounted", mount->path);
	return r;
}

static void harden(void)
{
	const struct rlimit none = { 0, 0 };

	/* Tokens are in this process' memory. */
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)prctl(PR_SET_DUMPABLE, 0);
}

/* The parent: waits until the mount answers; what goes wrong before is printed by the child. */
static int wait_for_child(int fd)
{
	char byte;

	return read(fd, &byte, 1) == 1 ? 0 : 1;
}

static void go_to_background(struct mount *mount)
{
	auto_close int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	if (null >= 0) {
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
	}
	if (chdir("/") < 0)
		log_warn("the working directory stays busy");
}

static int serve_and_tell(struct mount *mount)
{
	int r = serve(mount);

	if (r < 0 && log_errors_n() == 0)
		fprintf(stderr, "graphfs: cannot mount: %s\n", strerror(-r));
	return r == 0 ? 0 : 1;
}

/* The child serves; the parent waits until the mount answers. */
static int serve_in_background(struct mount *mount)
{
	int fds[2], status;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 || (pid = fork()) < 0) {
		fprintf(stderr, "graphfs: cannot go to the background: %s\n", strerror(errno));
		return 1;
	}
	if (pid > 0) {
		close(fds[1]);
		status = wait_for_child(fds[0]);
		config_fini(&mount->m.config);
		return status;
	}
	close(fds[0]);
	mount->ready_fd = fds[1];
	go_to_background(mount);
	return serve_and_tell(mount);
}

int mount_command(const struct commands_options *o)
{
	struct mount mount = { .o = o, .ready_fd = -1 };
	auto_close int config_dir = -1;
	int r = paths_absolute(o->operand, &mount.path), status = 1;

	if (r < 0) {
		fprintf(stderr, "graphfs: %s: %s\n", o->operand, strerror(-r));
		return 1;
	}
	if (paths_open(PATHS_CONFIG, NULL, NULL, &config_dir) == 0 &&
	    config_load(config_dir, &mount.m.config) == 0) {
		harden();
		status = o->foreground ? serve_and_tell(&mount) : serve_in_background(&mount);
	}
	free(mount.path);
	free(mount.log_path);
	return status;
}

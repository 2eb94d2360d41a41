#include "harness.h"
#include "admin.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { EXIT_SKIPPED = 77, MOUNT_DEADLINE_MS = 30000 };

uint64_t harness_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t harness_now_ms(void)
{
	return harness_now_ns() / 1000000u;
}

void harness_nap(void)
{
	poll(NULL, 0, 5);
}

void harness_require_fuse(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "SKIP: /dev/fuse cannot be opened: %s. Nothing was tested.\n",
			strerror(errno));
		exit(EXIT_SKIPPED);
	}
	close(fd);
}

static const char *program(const char *variable)
{
	const char *path = getenv(variable);

	if (!path) {
		fprintf(stderr, "%s is not set: run this test through meson test\n", variable);
		exit(EXIT_FAILURE);
	}
	return path;
}

static void add_variable(struct harness *h, size_t *n, const char *name, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static void add_variable(struct harness *h, size_t *n, const char *name, const char *fmt, ...)
{
	char value[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	assert_true(*n < sizeof(h->environment) / sizeof(h->environment[0]) - 1);
	assert_true(asprintf(&h->environment[*n], "%s=%s", name, value) >= 0);
	h->environment[++*n] = NULL;
}

static void set_environment(struct harness *h)
{
	static const char *const kept[] = {
		"PATH", "ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS", "LANG",
	};
	const char *level = getenv("GRAPHFS_LOG");
	size_t n = 0;

	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
		if (getenv(kept[i]))
			add_variable(h, &n, kept[i], "%s", getenv(kept[i]));
	add_variable(h, &n, "HOME", "%s/home", h->dir);
	add_variable(h, &n, "XDG_CONFIG_HOME", "%s/config", h->dir);
	add_variable(h, &n, "XDG_STATE_HOME", "%s/state", h->dir);
	add_variable(h, &n, "XDG_CACHE_HOME", "%s/cache", h->dir);
	add_variable(h, &n, "XDG_RUNTIME_DIR", "%s/run", h->dir);
	add_variable(h, &n, "GRAPHFS_LOG", "%s", level ? level : "debug");
	add_variable(h, &n, "MNT", "%s", h->mnt);
	add_variable(h, &n, "DIR", "%s", h->dir);
	add_variable(h, &n, "GRAPHFS", "%s", program("GRAPHFS_BIN"));
}

/* Starts a program; its stdout goes to out_fd when that is not -1, else to log. */
static pid_t spawn(struct harness *h, char *const *argv, const char *log, int out_fd)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		char path[160];
		int fd;

		snprintf(path, sizeof(path), "%s/%s", h->dir, log);
		fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out_fd >= 0 ? out_fd : fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		execve(argv[0], argv, h->environment);
		_exit(127);
	}
	return pid;
}

/* Waits for the end of a child; false when it did not end in time. */
static bool reap(pid_t pid, int *ret_status, unsigned timeout_ms)
{
	uint64_t until = harness_now_ms() + timeout_ms;

	while (waitpid(pid, ret_status, WNOHANG) == 0) {
		if (harness_now_ms() > until)
			return false;
		harness_nap();
	}
	return true;
}

static void show_log(const struct harness *h, const char *log)
{
	char command[200];

	snprintf(command, sizeof(command), "echo '--- %s'; tail -n 40 '%s/%s'", log, h->dir, log);
	if (system(command) != 0)
		fprintf(stderr, "(no %s)\n", log);
}

static void start_sim(struct harness *h, const char *const *sim_args)
{
	char *argv[32] = { (char *)program("GRAPHSIM_BIN"), "--port", "0", "--exit-with-parent" };
	size_t n = 4;
	int fds[2];
	char line[1024];
	/* Stays open: a program that writes more must not die of SIGPIPE. */
	static FILE *out;
	struct json_object *hello;

	while (sim_args && *sim_args && n < 31)
		argv[n++] = (char *)*sim_args++;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	h->sim_pid = spawn(h, argv, "sim.log", fds[1]);
	close(fds[1]);
	out = fdopen(fds[0], "r");
	if (!fgets(line, sizeof(line), out)) {
		show_log(h, "sim.log");
		fail_msg("graphsim did not start");
	}
	hello = json_tokener_parse(line);
	assert_non_null(hello);
	admin_copy(hello, "api", h->api, sizeof(h->api));
	admin_copy(hello, "login", h->login, sizeof(h->login));
	admin_copy(hello, "admin", h->admin, sizeof(h->admin));
	admin_copy(hello, "ca", h->ca, sizeof(h->ca));
	json_object_put(hello);
}

void harness_start(struct harness *h, const char *const *sim_args)
{
	memset(h, 0, sizeof(*h));
	snprintf(h->dir, sizeof(h->dir), "/tmp/graphfs-test.XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->mnt, sizeof(h->mnt), "%s/mnt", h->dir);
	set_environment(h);
	assert_int_equal(harness_sh(h, "umask 077; mkdir -p $DIR/mnt $DIR/home $DIR/run "
				       "$DIR/config/graphfs $DIR/state $DIR/cache"),
			 0);
	start_sim(h, sim_args);
	if (harness_sh(h,
		       "$GRAPHFS login --client-id 11111111-2222-3333-4444-555555555555 "
		       "--graph-url '%s' --login-url '%s' %s%s >$DIR/login.out 2>$DIR/login.err",
		       h->api, h->login, h->ca[0] ? "--ca-file " : "", h->ca) != 0) {
		show_log(h, "login.err");
		show_log(h, "sim.log");
		fail_msg("graphfs login failed");
	}
}

void harness_config(struct harness *h, const char *ini)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/config/graphfs/config", h->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fputs(ini, f);
	(void)fclose(f);
}

static bool answers(const struct harness *h)
{
	struct stat st, above;
	struct statvfs fs;

	/* A dead mount's attributes may still be cached; statfs(2) always asks the daemon. */
	return stat(h->dir, &above) == 0 && stat(h->mnt, &st) == 0 && st.st_dev != above.st_dev &&
	       statvfs(h->mnt, &fs) == 0;
}

void harness_mount(struct harness *h, const char *const *extra_args)
{
	char *argv[32] = { (char *)program("GRAPHFS_BIN"), "mount", "-f" };
	size_t n = 3;
	uint64_t until = harness_now_ms() + MOUNT_DEADLINE_MS;

	while (extra_args && *extra_args && n < 30)
		argv[n++] = (char *)*extra_args++;
	argv[n] = h->mnt;
	h->mount_pid = spawn(h, argv, "mount.log", -1);
	while (!answers(h)) {
		int status;

		if (waitpid(h->mount_pid, &status, WNOHANG) != 0 || harness_now_ms() > until) {
			show_log(h, "mount.log");
			fail_msg("graphfs mount did not come up");
		}
		harness_nap();
	}
	h->is_mounted = true;
}

void harness_umount(struct harness *h)
{
	int status;

	kill(h->mount_pid, SIGTERM);
	if (!reap(h->mount_pid, &status, MOUNT_DEADLINE_MS)) {
		show_log(h, "mount.log");
		kill(h->mount_pid, SIGKILL);
		umount2(h->mnt, MNT_DETACH);
		fail_msg("graphfs did not end after SIGTERM");
	}
	h->is_mounted = false;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		show_log(h, "mount.log");
		fail_msg("graphfs ended with status %#x", (unsigned)status);
	}
	assert_false(answers(h));
}

void harness_kill(struct harness *h)
{
	kill(h->mount_pid, SIGKILL);
	waitpid(h->mount_pid, NULL, 0);
	h->is_mounted = false;
}

static void check_logs(struct harness *h)
{
	if (harness_sh(h,
		       "! grep -l -E 'ERROR: (Address|Leak|Thread)Sanitizer|WARNING: "
		       "ThreadSanitizer|runtime error:' $DIR/*.log $DIR/*.err 2>/dev/null") != 0) {
		harness_sh(h, "grep -h -A 30 -E 'Sanitizer|runtime error:' $DIR/*.log | head -80");
		fail_msg("a sanitizer reported an error");
	}
}

/* The service is strict: a client that breaks a rule of its protocols is noted there. */
static void check_violations(struct harness *h)
{
	struct json_object *reply = harness_admin(h, "GET", "/violations", NULL), *count;

	if (!json_object_object_get_ex(reply, "count", &count) || json_object_get_int(count) != 0)
		fail_msg("rules of the service were broken: %s", json_object_to_json_string(reply));
	json_object_put(reply);
}

void harness_stop(struct harness *h)
{
	if (h->is_mounted)
		harness_umount(h);
	umount2(h->mnt, MNT_DETACH);
	check_violations(h);
	if (h->sim_pid > 0) {
		int status;

		kill(h->sim_pid, SIGTERM);
		if (!reap(h->sim_pid, &status, 5000))
			kill(h->sim_pid, SIGKILL);
	}
	check_logs(h);
	if (!getenv("GRAPHFS_TEST_KEEP"))
		harness_sh(h, "rm -rf --one-file-system $DIR");
	for (size_t i = 0; h->environment[i]; i++)
		free(h->environment[i]);
}

const char *harness_path(const struct harness *h, const char *fmt, ...)
{
	static char paths[8][4200];
	static unsigned next;
	char *path = paths[next++ % 8];
	va_list ap;
	int n = snprintf(path, sizeof(paths[0]), "%s/", h->mnt);

	va_start(ap, fmt);
	(void)vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

static pid_t start_shell(struct harness *h, int out_fd, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));

static pid_t start_shell(struct harness *h, int out_fd, const char *fmt, va_list ap)
{
	char *command = NULL;
	pid_t pid;

	assert_true(vasprintf(&command, fmt, ap) >= 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (out_fd >= 0)
			dup2(out_fd, STDOUT_FILENO);
		execle("/bin/bash", "bash", "-c", command, NULL, h->environment);
		_exit(127);
	}
	free(command);
	return pid;
}

int harness_sh(struct harness *h, const char *fmt, ...)
{
	va_list ap;
	pid_t pid;
	int status;

	va_start(ap, fmt);
	pid = start_shell(h, -1, fmt, ap);
	va_end(ap);
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

char *harness_sh_output(struct harness *h, int *ret_status, const char *fmt, ...)
{
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	char chunk[4096];
	int fds[2], status;
	ssize_t n;
	va_list ap;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	va_start(ap, fmt);
	pid = start_shell(h, fds[1], fmt, ap);
	va_end(ap);
	close(fds[1]);
	while ((n = read(fds[0], chunk, sizeof(chunk))) > 0)
		(void)fwrite(chunk, 1, (size_t)n, f);
	close(fds[0]);
	(void)fclose(f);
	waitpid(pid, &status, 0);
	if (ret_status)
		*ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	return text;
}

struct json_object *harness_status(struct harness *h)
{
	int status;
	char *text = harness_sh_output(h, &status, "$GRAPHFS status --json $MNT");
	struct json_object *obj = status == 0 ? json_tokener_parse(text) : NULL;

	free(text);
	return obj;
}

static bool state_is(struct harness *h, const char *state)
{
	struct json_object *status = harness_status(h), *member;
	bool is = json_object_object_get_ex(status, "state", &member) &&
		  strcmp(json_object_get_string(member), state) == 0;

	json_object_put(status);
	return is;
}

void harness_wait_state(struct harness *h, const char *state)
{
	harness_wait_until(state_is(h, state));
}

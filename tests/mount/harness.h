/*
 * Tests over a real mount: starts graphsim, signs in, mounts, changes things as "somebody else",
 * looks at the mount with ordinary system calls. One thread; a failure of the set-up itself ends
 * the program with a message (these are tests: there is nothing to recover).
 *
 * The programs are found through GRAPHFS_BIN and GRAPHSIM_BIN. Without /dev/fuse
 * harness_require_fuse() says SKIP and exits with 77.
 */
#pragma once

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct harness {
	char dir[64]; /* scratch directory of this run; removed at the end unless kept */
	char mnt[96]; /* the mount point below it */
	char api[160], login[160], admin[160], ca[160];
	char *environment[24];
	pid_t sim_pid;
	pid_t mount_pid; /* graphfs mount -f */
	bool is_mounted;
};

/* A deadline for outcomes that take as long as they take; generous, sanitizers are slow. */
enum { HARNESS_WAIT_MS = 15000 };

void harness_require_fuse(void);

/* Starts graphsim with these arguments (NULL-terminated; "--port 0" and the like are added) and
 * signs in. */
void harness_start(struct harness *h, const char *const *sim_args);
/* Writes the configuration file of graphfs before harness_mount(). */
void harness_config(struct harness *h, const char *ini);
void harness_mount(struct harness *h, const char *const *extra_args);
/* SIGTERM to the daemon, waits for its clean end; fails when it does not end cleanly. */
void harness_umount(struct harness *h);
/* kill -9, and the dead mount point stays behind. */
void harness_kill(struct harness *h);
/* Ends everything; fails when a log holds a sanitizer's report, or when the client broke a rule of
 * the service's protocols. */
void harness_stop(struct harness *h);

/* Path below the mount, in one of eight static buffers. */
const char *harness_path(const struct harness *h, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Runs a shell command with the harness' environment; MNT is the mount point. Exit status. */
int harness_sh(struct harness *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, and gives its standard output (caller frees). */
char *harness_sh_output(struct harness *h, int *ret_status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * The simulated service's admin interface (tests/sim/README.md). body: a JSON text built with
 * printf. Gives the reply; the caller puts it. Fails the test on a status that is not 2xx.
 */
struct json_object *harness_admin(struct harness *h, const char *method, const char *path,
				  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same without a reply; ret_ns may be NULL, else the service's CLOCK_MONOTONIC of the change.
 */
void harness_do(struct harness *h, const char *path, uint64_t *ret_ns, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* A POST that the service may refuse: false. */
bool harness_try(struct harness *h, const char *path, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int64_t harness_counter(struct harness *h, const char *name);

/* Changes by "somebody else". Paths without a leading slash. Each gives the service's
 * CLOCK_MONOTONIC (ns) of the change. */
uint64_t harness_create(struct harness *h, const char *path, uint64_t size);
uint64_t harness_create_text(struct harness *h, const char *path, const char *text);
uint64_t harness_mkdir(struct harness *h, const char *path);
uint64_t harness_write(struct harness *h, const char *path, uint64_t size);
uint64_t harness_write_text(struct harness *h, const char *path, const char *text);
uint64_t harness_move(struct harness *h, const char *path, const char *to);
uint64_t harness_delete(struct harness *h, const char *path);
uint64_t harness_touch(struct harness *h, const char *path, int64_t mtime_s);
/* A rule of the fault table; fmt is the JSON of one rule. */
void harness_fault(struct harness *h, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void harness_no_faults(struct harness *h);

/* graphfs status --json MNT; the caller puts it. */
struct json_object *harness_status(struct harness *h);
/* Waits until "state" is this word. */
void harness_wait_state(struct harness *h, const char *state);

/* True when the mount's tree (paths, types, sizes, mtimes) equals the service's; prints the first
 * differences otherwise when loud. */
bool harness_trees_equal(struct harness *h, bool loud);
/* Waits for it; gives the milliseconds it took. Fails after timeout_ms. */
uint64_t harness_wait_equal(struct harness *h, unsigned timeout_ms);

/* Waits until the condition holds, with HARNESS_WAIT_MS as its limit. */
#define harness_wait_until(cond)                                          \
	do {                                                              \
		uint64_t until_ = harness_now_ms() + HARNESS_WAIT_MS;     \
		while (!(cond)) {                                         \
			if (harness_now_ms() > until_)                    \
				fail_msg("never became true: %s", #cond); \
			harness_nap();                                    \
		}                                                         \
	} while (0)

uint64_t harness_now_ms(void);
uint64_t harness_now_ns(void);
void harness_nap(void); /* one poll interval */

/* --- inotify, read with the real interface --- */

struct watch_event {
	uint32_t mask, cookie;
	char name[256];
	uint64_t at_ns; /* CLOCK_MONOTONIC when it was read */
};

struct watch {
	int fd;
	struct watch_event *events;
	size_t n;
};

void watch_open(struct watch *w, const char *path, uint32_t mask);
void watch_close(struct watch *w);
/* Reads what is there, waiting up to ms for the first. Gives the number of events so far. */
size_t watch_read(struct watch *w, unsigned ms);
/* Waits for an event with all of mask's bits and this name; NULL when none came in time. */
const struct watch_event *watch_wait(struct watch *w, uint32_t mask, const char *name,
				     unsigned timeout_ms);
size_t watch_count(const struct watch *w, uint32_t mask, const char *name);
void watch_clear(struct watch *w);

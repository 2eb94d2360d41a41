/*
 * Random changes of every kind, one after the other, while three processes list, stat and read the
 * tree as fast as they can: none of them ever gets an error, every event is there exactly once,
 * with the right name and cookie, and at the end the mount is what the service says.
 */
#include "inner.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	DIRS_N = 6,
	CHANGES_N = 1500,
	ITEMS_N = 2048,
	EVENTS_N = 3 * CHANGES_N,
	BACKLOG = 500, /* well below what would be told at once */
	READERS_N = 3,
	EVENT_MS = 60000,
	STALE_MAX = 50,
};

/* --- the readers: processes of their own, made before any thread is --- */

static struct shared {
	atomic_bool is_over;
	atomic_uint looks_n, errors_n, stale_n;
	char path[128], first_error[400];
} * shared;

/* What was listed may be gone by the time it is looked at, and so may be the version of a file that
 * was opened, when it is read. A folder that is looked up at its new place while some rename is
 * under way is ESTALE to the kernel itself, which cannot move its entry just then (d_splice_alias);
 * that is rare. Nothing else may happen. */
static void check(int r, const char *what, const char *path, bool is_dir)
{
	if (r >= 0)
		shared->looks_n++;
	if (r >= 0 || errno == ENOENT || (errno == ESTALE && strcmp(what, "read") == 0))
		return;
	if (errno == ESTALE && is_dir) {
		shared->stale_n++;
		return;
	}
	if (shared->errors_n++ == 0)
		snprintf(shared->first_error, sizeof(shared->first_error), "%s %s: %s", what, path,
			 strerror(errno));
}

static void look_at(const char *path, bool is_dir, bool is_reader)
{
	char data[64];
	struct stat st;
	int r = stat(path, &st), fd;

	check(r, "stat", path, is_dir);
	if (r < 0 || !is_reader || !S_ISREG(st.st_mode))
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	check(fd, "open", path, false);
	if (fd < 0)
		return;
	check((int)read(fd, data, sizeof(data)), "read", path, false);
	close(fd);
}

static void look_around(const char *dir, int who)
{
	DIR *d = opendir(dir);
	struct dirent *e;

	check(d ? 0 : -1, "opendir", dir, false);
	while (d && (errno = 0, e = readdir(d))) {
		char path[512];

		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (who > 0)
			look_at(path, e->d_type == DT_DIR, who > 1);
	}
	if (d)
		check(errno ? -1 : 0, "readdir", dir, false);
	if (d)
		closedir(d);
}

static pid_t start_reader(int who, int go)
{
	pid_t pid = fork();
	char byte;

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	if (read(go, &byte, 1) != 1)
		_exit(0);
	while (!shared->is_over) {
		for (int d = 0; d < DIRS_N; d++) {
			char path[200];

			snprintf(path, sizeof(path), "%s/d%d", shared->path, d);
			look_around(path, who);
		}
	}
	_exit(0);
}

/* --- the model --- */

struct expected {
	uint32_t mask;
	int dir, pair; /* pair: index of the other half of a move; -1 */
	char name[24];
};

struct model {
	struct inner *in;
	unsigned seed;
	int dirs[DIRS_N];
	struct {
		int item, dir;
		bool live, is_dir;
		char name[24];
	} v[ITEMS_N];
	int n, names_n, times_n;
	struct expected events[EVENTS_N];
	size_t events_n;
	int touched[DIRS_N]; /* what the last event in there touched; -1 */
};

static int below(struct model *m, int n)
{
	return (int)(rand_r(&m->seed) / (RAND_MAX / (unsigned)n + 1));
}

static void expect(struct model *m, uint32_t mask, int dir, const char *name, int pair)
{
	struct expected *e = &m->events[m->events_n++];

	assert_true(m->events_n <= EVENTS_N);
	m->touched[dir] = -1;
	*e = (struct expected){ .mask = mask, .dir = dir, .pair = pair };
	snprintf(e->name, sizeof(e->name), "%s", name);
}

static void create(struct model *m)
{
	int at = m->n++, dir = below(m, DIRS_N);
	bool is_dir = below(m, 4) == 0;

	assert_true(at < ITEMS_N);
	m->v[at].dir = dir;
	m->v[at].live = true;
	m->v[at].is_dir = is_dir;
	snprintf(m->v[at].name, sizeof(m->v[at].name), "n%d", m->names_n++);
	m->v[at].item =
		is_dir ? inner_mkdir(m->in, m->dirs[dir], m->v[at].name)
		       : inner_create(m->in, m->dirs[dir], m->v[at].name, (uint64_t)below(m, 100));
	expect(m, is_dir ? IN_CREATE | IN_ISDIR : IN_CREATE, dir, m->v[at].name, -1);
}

static void move(struct model *m, int at)
{
	uint32_t flag = m->v[at].is_dir ? IN_ISDIR : 0;
	int from = m->v[at].dir, to = below(m, DIRS_N);

	expect(m, IN_MOVED_FROM | flag, from, m->v[at].name, (int)m->events_n + 1);
	snprintf(m->v[at].name, sizeof(m->v[at].name), "n%d", m->names_n++);
	m->v[at].dir = to;
	expect(m, IN_MOVED_TO | flag, to, m->v[at].name, (int)m->events_n - 1);
	inner_move(m->in, m->v[at].item, m->dirs[to], m->v[at].name);
}

static void step(struct model *m)
{
	int at = m->n > 0 ? below(m, m->n) : 0, what = below(m, 10);

	if (what < 4 || !m->v[at].live) {
		create(m);
	} else if (what < 6) {
		move(m, at);
	} else if (what < 7) {
		m->v[at].live = false;
		inner_delete(m->in, m->v[at].item);
		expect(m, m->v[at].is_dir ? IN_DELETE | IN_ISDIR : IN_DELETE, m->v[at].dir,
		       m->v[at].name, -1);
	} else if (what < 9 && !m->v[at].is_dir) {
		inner_write(m->in, m->v[at].item, (uint64_t)below(m, 100));
		expect(m, IN_MODIFY, m->v[at].dir, m->v[at].name, -1);
		expect(m, IN_CLOSE_WRITE, m->v[at].dir, m->v[at].name, -1);
	} else if (at != m->touched[m->v[at].dir] && !m->v[at].is_dir) {
		/* Two equal events in a row are one to inotify. */
		inner_touch(m->in, m->v[at].item, 1500000000 + m->times_n++);
		expect(m, IN_ATTRIB, m->v[at].dir, m->v[at].name, -1);
		m->touched[m->v[at].dir] = at;
	}
}

static unsigned waiting_n(struct inner *in)
{
	struct notify_stats stats;
	unsigned parked_n;

	fs_get_stats(inner_fs(in), &stats, &parked_n);
	return stats.waiting_n;
}

/* --- the events of each folder, in order --- */

static const struct watch_event *next_event(struct watch *w, size_t at)
{
	uint64_t until = harness_now_ms() + EVENT_MS;

	while (w->n <= at && harness_now_ms() < until)
		watch_read(w, 50);
	return w->n > at ? &w->events[at] : NULL;
}

static void check_events(struct model *m, struct watch *watches)
{
	static uint32_t cookies[EVENTS_N];
	size_t at[DIRS_N] = { 0 };

	for (size_t i = 0; i < m->events_n; i++) {
		const struct expected *want = &m->events[i];
		struct watch *w = &watches[want->dir];
		const struct watch_event *got = next_event(w, at[want->dir]++);

		if (!got || got->mask != want->mask || strcmp(got->name, want->name) != 0)
			fail_msg("d%d: %#x %s, not %#x %s", want->dir, got ? got->mask : 0,
				 got ? got->name : "nothing", want->mask, want->name);
		cookies[i] = got->cookie;
		assert_int_equal(got->cookie != 0, want->pair >= 0);
		if (want->pair >= 0 && (size_t)want->pair < i)
			assert_int_equal(got->cookie, cookies[want->pair]);
	}
	for (int d = 0; d < DIRS_N; d++) {
		watch_read(&watches[d], 0);
		assert_int_equal(watches[d].n, at[d]);
	}
}

static void check_listing(struct model *m)
{
	size_t live_n = 0, found_n = 0;

	for (int i = 0; i < m->n; i++) {
		const char *path = inner_path(m->in, "d%d/%s", m->v[i].dir, m->v[i].name);
		struct stat st;

		assert_int_equal(stat(path, &st) == 0, m->v[i].live);
		live_n += m->v[i].live;
		if (m->v[i].live)
			assert_int_equal(S_ISDIR(st.st_mode), m->v[i].is_dir);
	}
	for (int d = 0; d < DIRS_N; d++) {
		DIR *dir = opendir(inner_path(m->in, "d%d", d));

		assert_non_null(dir);
		while (readdir(dir))
			found_n++;
		closedir(dir);
		found_n -= 2;
	}
	assert_int_equal(found_n, live_n);
}

static void test_load(void **state)
{
	static struct model model;
	static const uint32_t mask = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |
				     IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB;
	struct model *m = &model;
	struct watch watches[DIRS_N];
	pid_t readers[READERS_N];
	struct notify_stats stats;
	unsigned parked_n;
	int go[2];
	uint64_t start;

	assert_int_equal(pipe2(go, O_CLOEXEC), 0);
	for (int i = 0; i < READERS_N; i++)
		readers[i] = start_reader(i, go[0]);
	m->in = inner_start(&(struct inner_options){ .umask = 022 });
	m->seed = getenv("GRAPHFS_SEED") ? (unsigned)atoi(getenv("GRAPHFS_SEED")) : 1;
	for (int d = 0; d < DIRS_N; d++) {
		char name[8];

		snprintf(name, sizeof(name), "d%d", d);
		m->dirs[d] = inner_mkdir(m->in, INNER_ROOT, name);
		inner_settle(m->in);
		watch_open(&watches[d], inner_path(m->in, "%s", name), mask);
	}
	snprintf(shared->path, sizeof(shared->path), "%s", inner_path(m->in, "."));
	assert_int_equal(write(go[1], "xxx", READERS_N), READERS_N);
	harness_wait_until(shared->looks_n > 0);

	start = harness_now_ms();
	for (int i = 0; i < CHANGES_N; i++) {
		step(m);
		while (waiting_n(m->in) > BACKLOG)
			harness_nap();
		for (int d = 0; i % 100 == 0 && d < DIRS_N; d++)
			watch_read(&watches[d], 0);
	}
	inner_settle(m->in);
	fs_get_stats(inner_fs(m->in), &stats, &parked_n);
	print_message(
		"%d changes, %zu events in %llu ms; %llu fell back; %u looks meanwhile, %u stale\n",
		CHANGES_N, m->events_n, (unsigned long long)(harness_now_ms() - start),
		(unsigned long long)stats.fallbacks_n, shared->looks_n, shared->stale_n);
	shared->is_over = true;
	for (int i = 0; i < READERS_N; i++) {
		int status;

		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
		assert_int_equal(status, 0);
	}
	if (shared->errors_n > 0)
		fail_msg("%u errors, the first: %s", shared->errors_n, shared->first_error);
	assert_true(shared->stale_n < STALE_MAX);
	assert_int_equal(stats.bulks_n, 0);
	check_events(m, watches);
	check_listing(m);
	for (int d = 0; d < DIRS_N; d++)
		watch_close(&watches[d]);
	close(go[0]);
	close(go[1]);
	inner_stop(m->in);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_load) };

	harness_require_fuse();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return EXIT_FAILURE;
	return cmocka_run_group_tests(tests, NULL, NULL);
}

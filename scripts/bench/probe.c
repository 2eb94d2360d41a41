/*
 * Measures primitives on a folder from inside one process, so that no start of a process is part
 * of a time. Prints one line of JSON: nanoseconds of all passes, operations and bytes in them.
 *
 *   bench_probe [-n PASSES] COMMAND ...
 *     walk DIR          list everything below
 *     walkstat DIR      list everything below, statx(2) each
 *     stat DIR N        statx(2) of N paths below, in random order
 *     absent DIR N      statx(2) of N names that are not there
 *     orc DIR N         open, read and close N files, in random order
 *     seq FILE BLOCK    read a file from its start to its end
 *     rand FILE N SEED  N reads of 4 KiB at random places
 *     first FILE OFF    open, then read one byte; also prints the time of the read alone
 *     drop PATH         (not timed) let the kernel drop the pages of a file, or of all below
 *
 * What a command needs to know beforehand (paths) is gathered before the clock starts.
 */
#include "mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LIST_BYTES = 32 << 10, DEPTH_MAX = 32, RANDOM_BYTES = 4096 };

struct paths {
	char **paths; /* relative to the root of the walk */
	size_t n, cap;
};

struct walk {
	char *lists[DEPTH_MAX]; /* one for each depth, made when it is first reached */
	bool stats;             /* statx each */
	struct paths *files;    /* gathers what it finds; NULL: does not */
	struct paths *folders;  /* likewise */
	uint64_t entry_n;
};

struct result {
	uint64_t op_n, bytes, read_ns;
};

static void die(const char *what)
{
	fprintf(stderr, "bench_probe: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void push(struct paths *p, const char *folder, const char *name)
{
	if (p->n == p->cap) {
		p->cap = p->cap * 2 + 64;
		p->paths = realloc(p->paths, p->cap * sizeof(*p->paths));
		if (!p->paths)
			die("paths");
	}
	if (asprintf(&p->paths[p->n], "%s%s%s", folder, folder[0] ? "/" : "", name) < 0)
		die("paths");
	p->n++;
}

static void free_paths(struct paths *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->paths[i]);
	free(p->paths);
}

/* --- walking --- */

struct entry {
	uint64_t ino, off;
	uint16_t len;
	uint8_t type;
	char name[];
};

static void stat_one(int dir, const char *path)
{
	static struct statx st;

	if (statx(dir, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &st) < 0)
		die(path);
}

static void walk(struct walk *w, int parent, const char *name, const char *path, unsigned depth);

/* Names are put together only for who asked for them. */
static void walk_below(struct walk *w, int dir, const char *path, const char *name, unsigned depth)
{
	auto_free char *below = NULL;

	if ((w->files || w->folders) &&
	    asprintf(&below, "%s%s%s", path, path[0] ? "/" : "", name) < 0)
		die("paths");
	walk(w, dir, name, below ? below : "", depth);
}

static void visit(struct walk *w, int dir, const char *path, const struct entry *e, unsigned depth)
{
	bool is_dir = e->type == DT_DIR;

	if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
		return;
	w->entry_n++;
	if (w->stats)
		stat_one(dir, e->name);
	if (w->files && !is_dir)
		push(w->files, path, e->name);
	if (w->folders && is_dir)
		push(w->folders, path, e->name);
	if (is_dir)
		walk_below(w, dir, path, e->name, depth + 1);
}

/* The compiler zeroes what is on the stack, so that nothing large is there: it would be measured.
 */
static char *list_of(struct walk *w, unsigned depth)
{
	if (depth >= DEPTH_MAX)
		die("too deep");
	if (!w->lists[depth])
		w->lists[depth] = malloc(LIST_BYTES);
	if (!w->lists[depth])
		die("list");
	return w->lists[depth];
}

static void walk(struct walk *w, int parent, const char *name, const char *path, unsigned depth)
{
	char *list = list_of(w, depth);
	auto_close int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	long n;

	if (dir < 0)
		die(name);
	while ((n = syscall(SYS_getdents64, dir, list, LIST_BYTES)) > 0)
		for (long at = 0; at < n;) {
			const struct entry *e = (const struct entry *)(list + at);

			visit(w, dir, path, e, depth);
			at += e->len;
		}
	if (n < 0)
		die(name);
}

static void free_lists(struct walk *w)
{
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		free(w->lists[i]);
}

static int open_root(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

/* --- chance --- */

static uint64_t next_random(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static void shuffle(struct paths *p)
{
	uint64_t state = 1;

	for (size_t i = p->n; i > 1; i--) {
		size_t j = next_random(&state) % i;
		char *swap = p->paths[i - 1];

		p->paths[i - 1] = p->paths[j];
		p->paths[j] = swap;
	}
}

/* --- commands: prepare() before the clock, run() once for each pass --- */

struct job {
	int argc;
	char **argv; /* from the command on */
	int root;
	struct paths paths;
	char *buf;
	size_t buf_bytes;
	uint64_t n, seed;
};

static uint64_t number(const struct job *j, int i)
{
	return i < j->argc ? strtoull(j->argv[i], NULL, 10) : 0;
}

static void gather(struct job *j, bool folders)
{
	struct walk w = { .files = folders ? NULL : &j->paths,
			  .folders = folders ? &j->paths : NULL };

	j->root = open_root(j->argv[1]);
	walk(&w, j->root, ".", "", 0);
	free_lists(&w);
	j->n = number(j, 2);
}

static void prepare_paths(struct job *j)
{
	gather(j, false);
	shuffle(&j->paths);
}

static void prepare_absent(struct job *j)
{
	struct paths absent = { 0 };

	gather(j, true);
	if (j->paths.n == 0)
		push(&j->paths, "", ".");
	for (uint64_t i = 0; i < j->n; i++) {
		char name[32];

		snprintf(name, sizeof(name), "absent-%06llu", (unsigned long long)i);
		push(&absent, j->paths.paths[i % j->paths.n], name);
	}
	free_paths(&j->paths);
	j->paths = absent;
}

static void prepare_file(struct job *j)
{
	j->n = number(j, 2);
	j->seed = number(j, 3);
	j->buf_bytes = strcmp(j->argv[0], "seq") == 0 ? j->n : RANDOM_BYTES;
	j->buf = malloc(j->buf_bytes + 1);
	if (!j->buf)
		die("buffer");
	/* Page faults of the buffer are not the file's. */
	memset(j->buf, 1, j->buf_bytes);
}

static void prepare_orc(struct job *j)
{
	prepare_paths(j);
	j->buf_bytes = 64 << 10;
	j->buf = malloc(j->buf_bytes + 1);
	if (!j->buf)
		die("buffer");
	memset(j->buf, 1, j->buf_bytes);
}

static void run_walk(struct job *j, struct result *r)
{
	struct walk w = { .stats = j->argv[0][4] != '\0' };

	walk(&w, AT_FDCWD, j->argv[1], "", 0);
	free_lists(&w);
	r->op_n += w.entry_n;
}

static void run_stat(struct job *j, struct result *r)
{
	for (uint64_t i = 0; i < j->n && j->paths.n > 0; i++)
		stat_one(j->root, j->paths.paths[i % j->paths.n]);
	r->op_n += j->n;
}

static void run_absent(struct job *j, struct result *r)
{
	struct statx st;

	for (size_t i = 0; i < j->paths.n; i++)
		if (statx(j->root, j->paths.paths[i], AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS,
			  &st) == 0 ||
		    errno != ENOENT)
			die("a name that should not be there");
	r->op_n += j->paths.n;
}

static void run_orc(struct job *j, struct result *r)
{
	for (uint64_t i = 0; i < j->n && j->paths.n > 0; i++) {
		const char *path = j->paths.paths[i % j->paths.n];
		auto_close int fd = openat(j->root, path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, j->buf, j->buf_bytes);

		if (n < 0)
			die(path);
		r->bytes += (uint64_t)n;
		r->op_n++;
	}
}

static int open_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(path);
	return fd;
}

static void run_seq(struct job *j, struct result *r)
{
	auto_close int fd = open_file(j->argv[1]);
	ssize_t n;

	while ((n = read(fd, j->buf, j->buf_bytes)) > 0) {
		r->bytes += (uint64_t)n;
		r->op_n++;
	}
	if (n < 0)
		die(j->argv[1]);
}

static void run_rand(struct job *j, struct result *r)
{
	auto_close int fd = open_file(j->argv[1]);
	uint64_t state = j->seed;
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < RANDOM_BYTES)
		die(j->argv[1]);
	for (uint64_t i = 0; i < j->n; i++) {
		uint64_t at = next_random(&state) % ((uint64_t)st.st_size / RANDOM_BYTES);

		if (pread(fd, j->buf, RANDOM_BYTES, (off_t)(at * RANDOM_BYTES)) != RANDOM_BYTES)
			die(j->argv[1]);
		r->bytes += RANDOM_BYTES;
		r->op_n++;
	}
}

static void run_first(struct job *j, struct result *r)
{
	auto_close int fd = open_file(j->argv[1]);
	uint64_t began = now_ns();

	if (pread(fd, j->buf, 1, (off_t)j->n) != 1)
		die(j->argv[1]);
	r->read_ns += now_ns() - began;
	r->bytes++;
	r->op_n++;
}

static void drop_one(int dir, const char *path)
{
	auto_close int fd = openat(dir, path, O_RDONLY | O_CLOEXEC);

	/* The kernel keeps dirty pages. */
	if (fd < 0 || fdatasync(fd) < 0 || posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
		die(path);
}

static void run_drop(struct job *j, struct result *r)
{
	struct stat st;

	if (stat(j->argv[1], &st) < 0)
		die(j->argv[1]);
	if (!S_ISDIR(st.st_mode)) {
		drop_one(AT_FDCWD, j->argv[1]);
		return;
	}
	gather(j, false);
	for (size_t i = 0; i < j->paths.n; i++)
		drop_one(j->root, j->paths.paths[i]);
}

static const struct command {
	const char *name;
	int operand_n;
	void (*prepare)(struct job *j); /* NULL: nothing to do */
	void (*run)(struct job *j, struct result *r);
} commands[] = {
	{ "walk", 1, NULL, run_walk },          { "walkstat", 1, NULL, run_walk },
	{ "stat", 2, prepare_paths, run_stat }, { "absent", 2, prepare_absent, run_absent },
	{ "orc", 2, prepare_orc, run_orc },     { "seq", 2, prepare_file, run_seq },
	{ "rand", 3, prepare_file, run_rand },  { "first", 2, prepare_file, run_first },
	{ "drop", 1, NULL, run_drop },
};

static void measure(const struct command *c, struct job *j, unsigned passes)
{
	struct result r = { 0 };
	uint64_t began;

	if (c->prepare)
		c->prepare(j);
	began = now_ns();
	for (unsigned i = 0; i < passes; i++)
		c->run(j, &r);
	printf("{\"ns\":%llu,\"n\":%llu,\"bytes\":%llu,\"read_ns\":%llu}\n",
	       (unsigned long long)(now_ns() - began), (unsigned long long)r.op_n,
	       (unsigned long long)r.bytes, (unsigned long long)r.read_ns);
	free_paths(&j->paths);
	free(j->buf);
}

int main(int argc, char **argv)
{
	unsigned passes = 1;
	int at = 1;

	if (argc > 3 && strcmp(argv[1], "-n") == 0) {
		passes = (unsigned)strtoul(argv[2], NULL, 10);
		at = 3;
	}
	for (size_t i = 0; at < argc && i < array_n(commands); i++) {
		struct job j = { .argc = argc - at, .argv = argv + at, .root = -1 };

		if (strcmp(argv[at], commands[i].name) != 0 || j.argc <= commands[i].operand_n)
			continue;
		measure(&commands[i], &j, passes);
		return 0;
	}
	fprintf(stderr, "usage: bench_probe [-n PASSES] COMMAND ..., see the head of probe.c\n");
	return 2;
}

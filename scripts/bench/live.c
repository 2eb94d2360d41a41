/*
 * How long a change by "somebody else" takes to arrive in the mount.
 *
 *   bench_live [--changes N] [--latency MS] [--csv FILE]
 *
 * Makes N changes of all kinds, one after the other with a short, uneven pause, while the service
 * delays every reply by MS (one simulated round trip). For each it takes the time from the change
 * at the service until
 *   event  all inotify events of that kind were read,
 *   stat   stat(2) shows it,
 *   ls     readdir(3) shows it, tried once both of the above are there,
 *   cat    the file's new content was read, likewise.
 * Listing is not tried earlier because a look at the moment of the change makes a name known
 * before its event is raised, and it is the undisturbed case that is measured.
 *
 * Prints a table with the percentiles beyond two simulated round trips, and ends with 0 only if
 * every event came exactly once and nothing but those events came. The times decide nothing here:
 * they are the reader's to judge.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	GOAL_MS = 100,
	ROUND_TRIPS_N = 2,
	ARRIVE_MS = 20000,
	LOST_MAX = 2, /* then enough is known, and the rest is not tried */
	SETTLE_MS = 1000,
	PAUSE_MAX_MS = 25,
	FILES_N = 200, /* in each watched folder from the start */
	EVENTS_MAX = 2,
	MTIME_S = 1500000000,
};

enum { WATCHED = IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB };

enum op { OP_CREATE, OP_MKDIR, OP_WRITE, OP_TOUCH, OP_MOVE, OP_DELETE };

/* One round makes, changes, moves and deletes a file and a folder of its own. */
static const struct step {
	const char *kind;
	enum op op;
	const char *path, *to; /* the round's number is added */
	uint32_t events[EVENTS_MAX];
	const char *label;
} steps[] = {
	{ "new file", OP_CREATE, "a/file", NULL, { IN_CREATE }, "CREATE" },
	{ "new folder", OP_MKDIR, "a/folder", NULL, { IN_CREATE | IN_ISDIR }, "CREATE" },
	{ "content",
	  OP_WRITE,
	  "a/file",
	  NULL,
	  { IN_MODIFY, IN_CLOSE_WRITE },
	  "MODIFY, CLOSE_WRITE" },
	{ "time", OP_TOUCH, "a/file", NULL, { IN_ATTRIB }, "ATTRIB" },
	{ "rename",
	  OP_MOVE,
	  "a/file",
	  "a/new",
	  { IN_MOVED_FROM, IN_MOVED_TO },
	  "MOVED_FROM, MOVED_TO" },
	{ "move",
	  OP_MOVE,
	  "a/new",
	  "b/file",
	  { IN_MOVED_FROM, IN_MOVED_TO },
	  "MOVED_FROM, MOVED_TO" },
	{ "deleted file", OP_DELETE, "b/file", NULL, { IN_DELETE }, "DELETE" },
	{ "deleted folder", OP_DELETE, "a/folder", NULL, { IN_DELETE | IN_ISDIR }, "DELETE" },
};
enum { STEPS_N = sizeof(steps) / sizeof(steps[0]) };

/* What is measured of each change; times in ns, 0: does not apply. */
enum measure { EVENT, STAT, LS, CAT, MEASURES_N };
static const char *const measure_names[MEASURES_N] = { "event", "stat", "ls", "cat" };

struct change {
	const struct step *step;
	char path[64], to[64], text[64];
	int64_t mtime_s;
	ino_t ino; /* before a move */
	uint64_t at_ns, took_ns[MEASURES_N];
	bool is_lost;
};

struct bench {
	struct harness h;
	struct watch watch;
	struct change *changes;
	unsigned n, latency_ms;
};

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The name that the step's event number i carries. */
static const char *event_name(const struct change *c, unsigned i)
{
	return base_name(c->step->op == OP_MOVE && i == 1 ? c->to : c->path);
}

static void plan(struct bench *b, unsigned i)
{
	struct change *c = &b->changes[i];
	unsigned round = i / STEPS_N;

	c->step = &steps[i % STEPS_N];
	snprintf(c->path, sizeof(c->path), "%s-%u", c->step->path, round);
	if (c->step->to)
		snprintf(c->to, sizeof(c->to), "%s-%u", c->step->to, round);
	/* Another length each time, so that stat(2) tells the versions apart. */
	snprintf(c->text, sizeof(c->text), "round %u%s\n", round,
		 c->step->op == OP_WRITE ? ", the second version" : "");
	c->mtime_s = MTIME_S + i;
}

static void make(struct bench *b, struct change *c)
{
	struct harness *h = &b->h;
	struct stat st;

	/* Also makes the name known to be absent before it is created: the harder case. */
	c->ino = stat(harness_path(h, "%s", c->path), &st) == 0 ? st.st_ino : 0;
	switch (c->step->op) {
	case OP_CREATE:
		c->at_ns = harness_create_text(h, c->path, c->text);
		break;
	case OP_MKDIR:
		c->at_ns = harness_mkdir(h, c->path);
		break;
	case OP_WRITE:
		c->at_ns = harness_write_text(h, c->path, c->text);
		break;
	case OP_TOUCH:
		c->at_ns = harness_touch(h, c->path, c->mtime_s);
		break;
	case OP_MOVE:
		c->at_ns = harness_move(h, c->path, c->to);
		break;
	case OP_DELETE:
		c->at_ns = harness_delete(h, c->path);
		break;
	}
}

static bool stat_shows(struct bench *b, const struct change *c)
{
	struct stat st = { 0 }, to = { 0 };
	bool is_there = stat(harness_path(&b->h, "%s", c->path), &st) == 0;

	switch (c->step->op) {
	case OP_CREATE:
	case OP_WRITE:
		return is_there && st.st_size == (off_t)strlen(c->text);
	case OP_MKDIR:
		return is_there && S_ISDIR(st.st_mode);
	case OP_TOUCH:
		return is_there && st.st_mtim.tv_sec == c->mtime_s;
	case OP_MOVE:
		return !is_there && stat(harness_path(&b->h, "%s", c->to), &to) == 0 &&
		       to.st_ino == c->ino;
	case OP_DELETE:
	default:
		return !is_there;
	}
}

static bool is_listed(struct bench *b, const char *path)
{
	DIR *dir = opendir(harness_path(&b->h, "%.1s", path));
	struct dirent *e;
	bool is = false;

	while (dir && (e = readdir(dir)))
		is = is || strcmp(e->d_name, base_name(path)) == 0;
	if (dir)
		closedir(dir);
	return is;
}

static bool ls_shows(struct bench *b, const struct change *c)
{
	if (c->step->op == OP_MOVE)
		return is_listed(b, c->to) && !is_listed(b, c->path);
	return is_listed(b, c->path) == (c->step->op != OP_DELETE);
}

static bool cat_shows(struct bench *b, const struct change *c)
{
	char text[sizeof(c->text) + 1];
	int fd = open(harness_path(&b->h, "%s", c->path), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(c->text) && memcmp(text, c->text, (size_t)n) == 0;
}

/* When the last of the change's events was read; 0: not all are there. */
static uint64_t arrived_ns(struct bench *b, const struct change *c)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < EVENTS_MAX && c->step->events[i]; i++) {
		const struct watch_event *e =
			watch_wait(&b->watch, c->step->events[i], event_name(c, i), 0);

		if (!e)
			return 0;
		if (e->at_ns > last)
			last = e->at_ns;
	}
	return last;
}

/* Waits for event and stat, whichever comes first, then for the others. */
static void follow(struct bench *b, struct change *c)
{
	uint64_t until = harness_now_ms() + ARRIVE_MS, done[MEASURES_N] = { 0 };
	bool has_content = c->step->op == OP_CREATE || c->step->op == OP_WRITE;

	while (!done[EVENT] || !done[STAT] || !done[LS] || (has_content && !done[CAT])) {
		if (harness_now_ms() > until) {
			c->is_lost = true;
			break;
		}
		if (!done[EVENT]) {
			watch_read(&b->watch, 1);
			done[EVENT] = arrived_ns(b, c);
		}
		if (!done[STAT] && stat_shows(b, c))
			done[STAT] = harness_now_ns();
		if (!done[EVENT] || !done[STAT])
			continue;
		if (!done[LS] && ls_shows(b, c))
			done[LS] = harness_now_ns();
		if (has_content && !done[CAT] && cat_shows(b, c))
			done[CAT] = harness_now_ns();
	}
	for (unsigned m = 0; m < MEASURES_N; m++)
		c->took_ns[m] = done[m] > c->at_ns ? done[m] - c->at_ns : 0;
}

/* --- did everything come exactly once? --- */

static unsigned wrong_counts(const struct bench *b)
{
	unsigned wrong = 0;

	for (unsigned k = 0; k < b->n; k++) {
		const struct change *c = &b->changes[k];

		for (unsigned i = 0; i < EVENTS_MAX && c->step->events[i]; i++) {
			size_t n = watch_count(&b->watch, c->step->events[i], event_name(c, i));

			if (n == 1)
				continue;
			printf("%s of %s: %zu times\n", c->step->kind, c->path, n);
			wrong++;
		}
	}
	return wrong;
}

static unsigned wrong_cookies(struct bench *b)
{
	unsigned wrong = 0;

	for (unsigned k = 0; k < b->n; k++) {
		const struct change *c = &b->changes[k];
		const struct watch_event *from, *to;

		if (c->step->op != OP_MOVE)
			continue;
		from = watch_wait(&b->watch, IN_MOVED_FROM, event_name(c, 0), 0);
		to = watch_wait(&b->watch, IN_MOVED_TO, event_name(c, 1), 0);
		if (from && to && from->cookie && from->cookie == to->cookie)
			continue;
		printf("%s of %s: not one cookie\n", c->step->kind, c->path);
		wrong++;
	}
	return wrong;
}

static bool is_expected(const struct bench *b, const struct watch_event *e)
{
	for (unsigned k = 0; k < b->n; k++) {
		const struct change *c = &b->changes[k];

		for (unsigned i = 0; i < EVENTS_MAX && c->step->events[i]; i++)
			if ((e->mask | IN_ISDIR) == (c->step->events[i] | IN_ISDIR) &&
			    strcmp(e->name, event_name(c, i)) == 0)
				return true;
	}
	return false;
}

static unsigned wrong_events(const struct bench *b)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < b->watch.n; i++) {
		const struct watch_event *e = &b->watch.events[i];

		if (is_expected(b, e))
			continue;
		printf("nobody asked for event %#x of \"%s\"\n", e->mask, e->name);
		wrong++;
	}
	return wrong;
}

/* Prints what is wrong; gives how much. */
static unsigned judge(struct bench *b)
{
	unsigned lost = 0, wrong;

	for (unsigned k = 0; k < b->n; k++) {
		if (!b->changes[k].is_lost)
			continue;
		printf("%s of %s: not seen in full within %d ms\n", b->changes[k].step->kind,
		       b->changes[k].path, ARRIVE_MS);
		lost++;
	}
	wrong = wrong_counts(b) + wrong_cookies(b) + wrong_events(b);
	printf("%u changes, %zu events: %s\n\n", b->n, b->watch.n,
	       lost + wrong ? "NOT each exactly once" : "each arrived exactly once");
	return lost + wrong;
}

/* --- numbers --- */

static int by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static double beyond_ms(const struct bench *b, uint64_t took_ns)
{
	return (double)took_ns / 1e6 - (double)(ROUND_TRIPS_N * b->latency_ms);
}

/* Times of one measure beyond the round trips, sorted; step NULL: of all. The caller frees. */
static double *times_of(const struct bench *b, const struct step *step, enum measure m,
			unsigned *ret_n)
{
	double *v = calloc(b->n + 1, sizeof(*v));

	assert_non_null(v);
	*ret_n = 0;
	for (unsigned k = 0; k < b->n; k++)
		if ((!step || b->changes[k].step == step) && b->changes[k].took_ns[m])
			v[(*ret_n)++] = beyond_ms(b, b->changes[k].took_ns[m]);
	qsort(v, *ret_n, sizeof(*v), by_size);
	return v;
}

static double percentile(const double *sorted, unsigned n, unsigned percent)
{
	/* The smallest value that so many percent do not exceed. */
	return sorted[(n * percent + 99) / 100 - 1];
}

static void print_percentile(const struct bench *b, const struct step *step, enum measure m,
			     unsigned percent)
{
	unsigned n;
	double *v = times_of(b, step, m, &n);

	if (n > 0)
		printf(" %.1f |", percentile(v, n, percent));
	else
		printf(" |");
	free(v);
}

static void print_row(const struct bench *b, const struct step *step)
{
	static const unsigned percents[] = { 50, 90, 99, 100 };
	unsigned n;

	free(times_of(b, step, EVENT, &n));
	printf("| %s | %s | %u |", step ? step->kind : "all", step ? step->label : "", n);
	for (size_t i = 0; i < sizeof(percents) / sizeof(percents[0]); i++)
		print_percentile(b, step, EVENT, percents[i]);
	for (unsigned m = STAT; m < MEASURES_N; m++)
		print_percentile(b, step, m, 99);
	printf("\n");
}

static void print_table(const struct bench *b)
{
	printf("Milliseconds beyond %d round trips of %u ms:\n\n", ROUND_TRIPS_N, b->latency_ms);
	printf("| change | events | n | p50 | p90 | p99 | max | stat p99 | ls p99 | cat p99 |\n");
	printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
	for (unsigned s = 0; s < STEPS_N; s++)
		print_row(b, &steps[s]);
	print_row(b, NULL);
	printf("\n");
	for (unsigned m = 0; m < MEASURES_N; m++) {
		unsigned n;
		double *v = times_of(b, NULL, m, &n);

		if (n > 0)
			printf("goal of %s, p99 at most %d ms: %s\n", measure_names[m], GOAL_MS,
			       percentile(v, n, 99) <= GOAL_MS ? "met" : "MISSED");
		free(v);
	}
}

static void give_up(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(EXIT_FAILURE);
}

static void write_csv(const struct bench *b, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		give_up(path);
	fprintf(f, "n,kind,round_trip_ms,event_ms,stat_ms,ls_ms,cat_ms\n");
	for (unsigned k = 0; k < b->n; k++) {
		const struct change *c = &b->changes[k];

		fprintf(f, "%u,%s,%u", k, c->step->kind, b->latency_ms);
		for (unsigned m = 0; m < MEASURES_N; m++) {
			if (c->took_ns[m])
				fprintf(f, ",%.3f", (double)c->took_ns[m] / 1e6);
			else
				fprintf(f, ",");
		}
		fprintf(f, "\n");
	}
	if (fclose(f) != 0)
		give_up(path);
}

/* --- the run --- */

static void set_up(struct bench *b)
{
	const char *const folders[] = { "a", "b" };

	harness_start(&b->h, NULL);
	for (unsigned d = 0; d < 2; d++) {
		for (unsigned f = 0; f < FILES_N; f++) {
			char path[64];

			snprintf(path, sizeof(path), "%s/other-%u", folders[d], f);
			harness_create(&b->h, path, 1000);
		}
	}
	harness_mount(&b->h, NULL);
	harness_wait_state(&b->h, "live");
	harness_wait_equal(&b->h, ARRIVE_MS);
	/* One descriptor for both folders keeps the order of a move's two events. */
	watch_open(&b->watch, harness_path(&b->h, "a"), WATCHED);
	assert_true(inotify_add_watch(b->watch.fd, harness_path(&b->h, "b"), WATCHED) >= 0);
	json_object_put(
		harness_admin(&b->h, "POST", "/shape", "{\"latency_ms\":%u}", b->latency_ms));
}

static void run(struct bench *b)
{
	unsigned seed = 1, lost = 0, i;

	for (i = 0; i < b->n && lost < LOST_MAX; i++) {
		plan(b, i);
		make(b, &b->changes[i]);
		follow(b, &b->changes[i]);
		lost += b->changes[i].is_lost;
		/* Changes by people do not wait for the one before to be over and done with. */
		poll(NULL, 0, rand_r(&seed) % PAUSE_MAX_MS);
	}
	b->n = i;
	poll(NULL, 0, SETTLE_MS); /* whatever comes twice comes by now */
	watch_read(&b->watch, 0);
}

static void usage(void)
{
	fprintf(stderr, "bench_live [--changes N] [--latency MS] [--csv FILE]\n");
	exit(EXIT_FAILURE);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "changes", required_argument, NULL, 'n' },
		{ "latency", required_argument, NULL, 'l' },
		{ "csv", required_argument, NULL, 'c' },
		{ 0 },
	};
	struct bench b = { .n = 1000 };
	const char *csv = NULL;
	unsigned wrong;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (opt == 'n')
			b.n = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'l')
			b.latency_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'c')
			csv = optarg;
		else
			usage();
	}
	if (b.n == 0 || optind < argc)
		usage();
	harness_require_fuse();
	b.changes = calloc(b.n, sizeof(*b.changes));
	assert_non_null(b.changes);
	set_up(&b);
	run(&b);
	wrong = judge(&b);
	print_table(&b);
	if (csv)
		write_csv(&b, csv);
	watch_close(&b.watch);
	harness_stop(&b.h);
	free(b.changes);
	return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

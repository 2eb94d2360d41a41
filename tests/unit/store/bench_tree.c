/*
 * How fast is the tree, and how much memory does it take? bench_tree [ITEMS [crawl]]
 * A drive of folders with a hundred files each is crawled, looked up, and told again by delta;
 * with "crawl" only crawled.
 */
#include "change.h"
#include "item.h"
#include "tree.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { PAGE = 1000, FOLDER = 100, LOOKUPS = 100000 };

static struct item items[PAGE];
static char ids[PAGE][40], parents[PAGE][40], names[PAGE][40], etags[PAGE][48];

static unsigned long anonymous_kib(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "RssAnon: %lu", &kib) == 1)
			break;
	if (f)
		(void)fclose(f);
	return kib;
}

/* As the service's: in no order. */
static void make_id(char ret[40], unsigned i)
{
	uint64_t h = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	snprintf(ret, 40, "01ABCDEFG%016llXKLMNOPQRS", (unsigned long long)(h ^ h >> 32));
}

static void make_page(unsigned from, unsigned n)
{
	for (unsigned k = 0; k < n; k++) {
		unsigned i = from + k;
		bool is_dir = i % FOLDER == 0;

		make_id(ids[k], i);
		if (is_dir)
			snprintf(parents[k], sizeof(parents[k]), "root");
		else
			make_id(parents[k], i - i % FOLDER);
		snprintf(names[k], sizeof(names[k]), "document %u.docx", i);
		snprintf(etags[k], sizeof(etags[k]), "\"{0123-4567-89AB-%012u},1\"", i);
		items[k] = (struct item){
			.id = ids[k],
			.name = names[k],
			.name_len = strlen(names[k]),
			.parent_id = parents[k],
			.etag = etags[k],
			.ctag = etags[k],
			.size = is_dir ? -1 : (int64_t)i,
			.mtime_ns = i * INT64_C(1000000),
			.btime_ns = i * INT64_C(1000000),
			.kind = is_dir ? ITEM_FOLDER : ITEM_FILE,
			.has_hash = !is_dir,
		};
	}
}

static struct {
	uint64_t wall_ns, cpu_ns;
} began;

static uint64_t now_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void begin(void)
{
	began.wall_ns = now_ns(CLOCK_MONOTONIC);
	began.cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* Time of the processor beside that of the clock: the machine may be shared. */
static void report(const char *what, unsigned n)
{
	double wall_us = (double)(now_ns(CLOCK_MONOTONIC) - began.wall_ns) / 1000 / n;
	double cpu_us = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - began.cpu_ns) / 1000 / n;
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("%-26s %8.2f us each, %8.2f of them CPU (%7.0f/s), %4lu MiB now, %4ld at most\n",
	       what, wall_us, cpu_us, 1000000 / cpu_us, anonymous_kib() / 1024,
	       usage.ru_maxrss / 1024);
}

static int crawl(struct tree *tree, unsigned n)
{
	begin();
	for (unsigned at = 0; at < n; at += PAGE) {
		int r;

		make_page(at, PAGE);
		r = tree_merge_crawl(tree, items, PAGE, tree_note(tree),
				     at + PAGE < n ? "next" : NULL, NULL);
		if (r < 0)
			return r;
	}
	report("crawl", n);
	return 0;
}

static int delta(struct tree *tree, unsigned n, const char *what)
{
	int r;

	begin();
	r = tree_stage_begin(tree);
	for (unsigned at = 0; r == 0 && at < n; at += PAGE) {
		make_page(n - PAGE - at, PAGE);
		r = tree_stage_full_page(tree, items, PAGE, NULL);
	}
	while (r == 0 && (r = tree_stage_unseen(tree)) > 0)
		r = 0;
	report(what, n);
	begin();
	if (r == 0)
		r = tree_stage_apply(tree, "link", true, NULL);
	report("of it the last commit, once", 1);
	return r;
}

static int count(void *arg, const struct tree_attr *attr, const char *name)
{
	++*(unsigned *)arg;
	return 0;
}

static int look_up(struct tree *tree, unsigned n)
{
	unsigned listed = 0, lookups = n < LOOKUPS ? n : LOOKUPS;

	begin();
	for (unsigned k = 0; k < lookups; k++) {
		unsigned i = (unsigned)((uint64_t)k * 7919 % (n / FOLDER)) * FOLDER + 1;
		struct tree_attr dir, attr;
		char name[40];
		int r;

		snprintf(name, sizeof(name), "document %u.docx", i - 1);
		r = tree_lookup(tree, TREE_ROOT_INO, name, &dir);
		snprintf(name, sizeof(name), "document %u.docx", i);
		if (r == 0)
			r = tree_lookup(tree, dir.ino, name, &attr);
		if (r < 0)
			return r;
	}
	report("look-up", 2 * lookups);
	begin();
	for (uint64_t ino = 2; listed < n / 2; ino += FOLDER)
		if (tree_list(tree, ino, 0, count, &listed) < 0)
			return -1;
	report("listing, each entry", listed);
	return 0;
}

static int open_new(int fd, struct tree **ret)
{
	const struct item root = { .id = "root", .is_root = true, .kind = ITEM_FOLDER };
	int r = tree_discard(fd, "tree");

	if (r == 0)
		r = tree_open(fd, "tree", "drive", ret);
	return r < 0 ? r : tree_set_root(*ret, &root, NULL);
}

static int run(int fd, unsigned n, bool only_crawl)
{
	struct tree *tree = NULL;
	int r = open_new(fd, &tree);

	if (r == 0)
		r = crawl(tree, n);
	if (r == 0 && !only_crawl)
		r = look_up(tree, n);
	if (r == 0 && !only_crawl)
		r = delta(tree, n, "enumeration, nothing new");
	tree_free(take_ptr(&tree));
	if (r < 0 || only_crawl)
		return r;
	r = open_new(fd, &tree);
	if (r == 0)
		r = delta(tree, n, "enumeration, all new");
	tree_free(tree);
	return r;
}

int main(int argc, char **argv)
{
	char path[] = "/tmp/gfs-bench-tree-XXXXXX";
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) / PAGE * PAGE : 1000000;
	int r;

	if (n == 0 || !mkdtemp(path))
		return 1;
	auto_close int fd = open(path, O_RDONLY | O_DIRECTORY);
	r = run(fd, n, argc > 2);
	if (tree_discard(fd, "tree") < 0 || rmdir(path) < 0)
		fprintf(stderr, "%s cannot be removed\n", path);
	if (r < 0)
		fprintf(stderr, "failed: %s\n", strerror(-r));
	return r < 0;
}

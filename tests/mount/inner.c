#include "inner_parts.h"

#include "cache.h"
#include "change.h"
#include "content.h"
#include "inodes.h"
#include "item.h"
#include "lane.h"
#include "listing.h"
#include "loop.h"

#include <fuse_lowlevel.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGE = 1000, PATIENCE_S = 200 };

/* --- commits --- */

struct errand {
	struct lane_job job;
	void (*fn)(struct inner *in);
	struct inner *in;
	sem_t done;
};

static void on_errand(void *arg)
{
	struct errand *errand = arg;

	errand->fn(errand->in);
	sem_post(&errand->done);
}

static void sem_take(sem_t *sem)
{
	while (sem_wait(sem) < 0 && errno == EINTR)
		continue;
}

static void on_lane(struct inner *in, void (*fn)(struct inner *in))
{
	struct errand errand = { .in = in, .fn = fn };

	sem_init(&errand.done, 0, 0);
	lane_push(in->lane, &errand.job, on_errand, NULL, &errand);
	sem_take(&errand.done);
	sem_destroy(&errand.done);
}

static char *make(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static char *make(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	assert_true(vasprintf(&text, fmt, ap) >= 0);
	va_end(ap);
	return text;
}

static void fill_item(struct inner *in, int at, struct item *ret)
{
	const struct inner_item *it = &in->items[at];

	*ret = (struct item){
		.id = make("I%d", at),
		.name = strdup(at == INNER_ROOT ? "root" : it->name),
		.parent_id = at == INNER_ROOT ? NULL : make("I%d", it->parent),
		.etag = make("\"%d-%d\"", at, it->version),
		.ctag = make("\"%d-%d\"", at, it->version),
		.size = (int64_t)it->size,
		.mtime_ns = it->mtime_s * 1000000000,
		.btime_ns = 1,
		.child_count = -1,
		.kind = it->is_dir ? ITEM_FOLDER : ITEM_FILE,
		.is_root = at == INNER_ROOT,
		.deleted = !it->live,
	};
	ret->name_len = strlen(ret->name);
}

static void tell_or_hold(struct inner *in, struct change_set *set)
{
	struct change_set *more = NULL;

	assert_int_equal(content_after_commit(in->content, &more), 0);
	change_set_append(&set, more);
	if (!set)
		return;
	if (in->is_holding)
		change_set_append(&in->held, set);
	else
		fs_push_changes(in->fs, set);
}

/* New folders are listed at once, so that nobody has to wait for them. */
static void complete(struct inner *in, int at)
{
	struct change_set *set = NULL;
	uint64_t ino = inner_ino(in, at);
	struct tree_attr attr;

	assert_int_equal(tree_get(in->tree, ino, &attr), 0);
	if (!attr.complete)
		assert_int_equal(tree_merge_children(in->tree, ino, NULL, 0, tree_note(in->tree),
						     true, &set),
				 0);
	change_set_free(set);
}

static void apply(struct inner *in)
{
	struct change_set *set = NULL;

	assert_int_equal(tree_stage_begin(in->tree), 0);
	for (size_t at = 0; at < in->changed_n; at += PAGE) {
		size_t n = in->changed_n - at < PAGE ? in->changed_n - at : PAGE;
		struct item items[PAGE];

		for (size_t i = 0; i < n; i++)
			fill_item(in, in->changed[at + i], &items[i]);
		assert_int_equal(tree_stage_page(in->tree, items, n), 0);
		for (size_t i = 0; i < n; i++)
			item_fini(&items[i]);
	}
	assert_int_equal(tree_stage_apply(in->tree, "link", false, &set), 0);
	for (size_t i = 0; i < in->changed_n; i++) {
		const struct inner_item *it = &in->items[in->changed[i]];

		if (it->is_dir && it->live)
			complete(in, in->changed[i]);
	}
	in->changed_n = 0;
	tell_or_hold(in, set);
}

static void note_changed(struct inner *in, int item)
{
	assert_true(in->changed_n < INNER_ITEMS_MAX);
	in->changed[in->changed_n++] = item;
	if (!in->is_batch)
		on_lane(in, apply);
}

void inner_begin(struct inner *in)
{
	in->is_batch = true;
}

void inner_end(struct inner *in)
{
	in->is_batch = false;
	on_lane(in, apply);
}

void inner_hold(struct inner *in)
{
	in->is_holding = true;
}

void inner_tell(struct inner *in)
{
	in->is_holding = false;
	if (in->held)
		fs_push_changes(in->fs, in->held);
	in->held = NULL;
}

void inner_drop(struct inner *in)
{
	in->is_holding = false;
	change_set_free(in->held);
	in->held = NULL;
}

static int add_item(struct inner *in, int parent, const char *name, bool is_dir, uint64_t size)
{
	int at = in->items_n++;

	assert_true(at < INNER_ITEMS_MAX);
	pthread_mutex_lock(&in->lock);
	in->items[at] = (struct inner_item){
		.live = true,
		.is_dir = is_dir,
		.parent = parent,
		.size = size,
		.mtime_s = 1600000000,
	};
	snprintf(in->items[at].name, sizeof(in->items[at].name), "%s", name);
	pthread_mutex_unlock(&in->lock);
	note_changed(in, at);
	return at;
}

int inner_mkdir(struct inner *in, int parent, const char *name)
{
	return add_item(in, parent, name, true, 0);
}

int inner_create(struct inner *in, int parent, const char *name, uint64_t size)
{
	return add_item(in, parent, name, false, size);
}

void inner_write(struct inner *in, int item, uint64_t size)
{
	pthread_mutex_lock(&in->lock);
	in->items[item].version++;
	in->items[item].size = size;
	pthread_mutex_unlock(&in->lock);
	note_changed(in, item);
}

void inner_touch(struct inner *in, int item, int64_t mtime_s)
{
	pthread_mutex_lock(&in->lock);
	in->items[item].mtime_s = mtime_s;
	pthread_mutex_unlock(&in->lock);
	note_changed(in, item);
}

void inner_move(struct inner *in, int item, int parent, const char *name)
{
	pthread_mutex_lock(&in->lock);
	in->items[item].parent = parent;
	snprintf(in->items[item].name, sizeof(in->items[item].name), "%s", name);
	pthread_mutex_unlock(&in->lock);
	note_changed(in, item);
}

void inner_delete(struct inner *in, int item)
{
	pthread_mutex_lock(&in->lock);
	in->items[item].live = false;
	pthread_mutex_unlock(&in->lock);
	note_changed(in, item);
}

char inner_letter(struct inner *in, int item)
{
	return inner_letter_of(in->items[item].version);
}

uint64_t inner_ino(struct inner *in, int item)
{
	uint64_t ino = 0;
	char id[16];

	snprintf(id, sizeof(id), "I%d", item);
	assert_int_equal(tree_find_id(in->tree, id, &ino), 0);
	return ino;
}

static void forget_complete(struct inner *in)
{
	assert_int_equal(tree_forget_complete(in->tree, in->unlisted), 0);
}

void inner_unlist(struct inner *in, int dir)
{
	in->unlisted = inner_ino(in, dir);
	on_lane(in, forget_complete);
}

/* --- waiting --- */

void inner_settle(struct inner *in)
{
	fs_settle(in->fs);
}

static void get_stats(struct inner *in, struct notify_stats *ret, unsigned *ret_parked_n)
{
	fs_get_stats(in->fs, ret, ret_parked_n);
}

void inner_wait_parked(struct inner *in, unsigned n)
{
	struct notify_stats stats;
	unsigned parked_n = 0;

	harness_wait_until((get_stats(in, &stats, &parked_n), parked_n == n));
}

/* Is a thread of the notifier in an uninterruptible sleep? */
static bool is_blocked(void)
{
	DIR *d = opendir("/proc/self/task");
	bool blocked = false;
	struct dirent *e;

	assert_non_null(d);
	while (!blocked && (e = readdir(d))) {
		char path[300], line[512] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/stat", e->d_name);
		f = fopen(path, "re");
		if (f && fgets(line, sizeof(line), f))
			blocked = strstr(line, "(notify) D ") != NULL;
		if (f)
			(void)fclose(f);
	}
	closedir(d);
	return blocked;
}

void inner_wait_told_or_blocked(struct inner *in)
{
	struct notify_stats stats;
	unsigned parked_n;

	harness_wait_until((get_stats(in, &stats, &parked_n), stats.waiting_n == 0) ||
			   is_blocked());
}

/* --- replies on their way --- */

static atomic_int wanted_reply = -1;
static sem_t reply_held, reply_let;

int __real_fuse_reply_buf(fuse_req_t req, const char *buf, size_t size);
int __wrap_fuse_reply_buf(fuse_req_t req, const char *buf, size_t size);
int __real_fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry);
int __wrap_fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry);

static void hold_if_wanted(int kind)
{
	if (!atomic_compare_exchange_strong(&wanted_reply, &kind, -1))
		return;
	sem_post(&reply_held);
	sem_take(&reply_let);
}

int __wrap_fuse_reply_buf(fuse_req_t req, const char *buf, size_t size)
{
	hold_if_wanted(INNER_LISTING);
	return __real_fuse_reply_buf(req, buf, size);
}

int __wrap_fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *entry)
{
	hold_if_wanted(INNER_ENTRY);
	return __real_fuse_reply_entry(req, entry);
}

void inner_hold_reply(enum inner_reply kind)
{
	wanted_reply = kind;
}

void inner_wait_held(void)
{
	sem_take(&reply_held);
}

void inner_let_reply(void)
{
	sem_post(&reply_let);
}

/* --- life --- */

static bool dir_known(void *arg, uint64_t ino)
{
	struct inner *in = arg;

	return inodes_is_dir_known(in->inodes, ino);
}

static bool file_open(void *arg, uint64_t ino)
{
	struct inner *in = arg;

	return content_is_open(in->content, ino);
}

static uint64_t lease_ms(void *arg)
{
	return 3600 * 1000;
}

static void get_space(void *arg, struct fs_space *ret)
{
}

static void on_ready(void *arg)
{
	struct inner *in = arg;

	in->is_ready = true;
}

static void crawl(struct inner *in)
{
	struct change_set *set = NULL;
	struct item root;

	in->items[INNER_ROOT] = (struct inner_item){ .live = true, .is_dir = true };
	in->items_n = 1;
	fill_item(in, INNER_ROOT, &root);
	assert_int_equal(tree_set_root(in->tree, &root, &set), 0);
	change_set_free(set);
	set = NULL;
	assert_int_equal(tree_merge_crawl(in->tree, &root, 1, tree_note(in->tree), NULL, &set), 0);
	change_set_free(set);
	item_fini(&root);
}

static void *run_loop(void *arg)
{
	struct inner *in = arg;

	return (void *)(intptr_t)loop_run(in->loop);
}

static void *run_fs(void *arg)
{
	struct inner *in = arg;

	return (void *)(intptr_t)fs_run(in->fs);
}

static void make_parts(struct inner *in, const struct inner_options *options)
{
	const struct fetch_source fetch = inner_fetch_source(in);
	const struct source source = inner_source(in);

	assert_int_equal(loop_new(&in->loop), 0);
	assert_int_equal(lane_new(in->loop, "store", 1, &in->lane), 0);
	assert_int_equal(tree_open(in->dir_fd, "tree.db", "D", &in->tree), 0);
	assert_int_equal(cache_new(in->cache_fd, "e", UINT64_C(1) << 30, &in->cache), 0);
	assert_int_equal(inodes_new(&in->inodes), 0);
	if (options->known_inodes)
		inodes_set_budget(in->inodes, options->known_inodes);
	assert_int_equal(content_new(
				 &(struct content_options){
					 .loop = in->loop,
					 .store_lane = in->lane,
					 .tree = in->tree,
					 .inodes = in->inodes,
					 .cache = in->cache,
					 .drive_id = "D",
					 .source = &fetch,
				 },
				 &in->content),
			 0);
	assert_int_equal(listing_new(in->loop, in->lane, in->tree, &source,
				     &(struct listing_options){ .progress_ms = 60000 },
				     &in->listing),
			 0);
	tree_set_guard(
		in->tree,
		&(struct tree_guard){ .arg = in, .dir_known = dir_known, .file_open = file_open });
}

/* A thread of this process that waits for an answer of this process cannot be killed: when the test
 * is ended from outside, or takes too long, the connection must end first. */
static char force_path[80];

static void on_end(int number)
{
	(void)umount2(force_path, MNT_FORCE); /* a system call: NOLINT(bugprone-signal-handler) */
	(void)umount2(force_path, MNT_DETACH);
	(void)signal(number, SIG_DFL);
	(void)raise(number);
}

static void guard(struct inner *in)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGALRM, SIGABRT };

	snprintf(force_path, sizeof(force_path), "%s", in->mnt);
	for (size_t i = 0; i < array_n(signals); i++)
		(void)signal(signals[i], on_end);
	alarm(PATIENCE_S);
}

struct inner *inner_start(const struct inner_options *options)
{
	struct inner *in = calloc(1, sizeof(*in));

	assert_non_null(in);
	sem_init(&reply_held, 0, 0);
	sem_init(&reply_let, 0, 0);
	pthread_mutex_init(&in->lock, NULL);
	in->changed = calloc(INNER_ITEMS_MAX, sizeof(*in->changed));
	snprintf(in->dir, sizeof(in->dir), "/tmp/graphfs-inner.XXXXXX");
	assert_non_null(mkdtemp(in->dir));
	assert_int_equal(chmod(in->dir, 0755), 0);
	strcat(strcpy(in->mnt, in->dir), "/mnt");
	in->dir_fd = open(in->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(mkdirat(in->dir_fd, "mnt", 0755), 0);
	assert_int_equal(mkdirat(in->dir_fd, "cache", 0700), 0);
	in->cache_fd = openat(in->dir_fd, "cache", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	make_parts(in, options);
	on_lane(in, crawl);
	assert_int_equal(pthread_create(&in->loop_thread, NULL, run_loop, in), 0);
	assert_int_equal(fs_new(
				 &(struct fs_options){
					 .tree = in->tree,
					 .inodes = in->inodes,
					 .content = in->content,
					 .listing = in->listing,
					 .mountpoint = in->mnt,
					 .name = "inner",
					 .fuse_options = options->fuse_options,
					 .no_epoch = options->no_epoch,
					 .uid = geteuid(),
					 .gid = getegid(),
					 .umask = options->umask,
					 .arg = in,
					 .lease_ms = lease_ms,
					 .get_space = get_space,
					 .on_ready = on_ready,
				 },
				 &in->fs),
			 0);
	guard(in);
	assert_int_equal(pthread_create(&in->fs_thread, NULL, run_fs, in), 0);
	harness_wait_until(in->is_ready);
	return in;
}

void inner_stop(struct inner *in)
{
	char command[128];

	/* A test that failed may have left one. */
	wanted_reply = -1;
	sem_post(&reply_let);
	fs_stop(in->fs);
	pthread_join(in->fs_thread, NULL);
	lane_free(in->lane);
	loop_stop(in->loop);
	pthread_join(in->loop_thread, NULL);
	listing_free(in->listing);
	content_free(in->content);
	change_set_free(in->held);
	fs_free(in->fs);
	cache_free(in->cache);
	tree_free(in->tree);
	inodes_free(in->inodes);
	loop_free(in->loop);
	close(in->cache_fd);
	close(in->dir_fd);
	(void)umount2(in->mnt, MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf --one-file-system %s", in->dir);
	assert_int_equal(system(command), 0);
	pthread_mutex_destroy(&in->lock);
	free(in->changed);
	free(in);
}

struct fs *inner_fs(struct inner *in)
{
	return in->fs;
}

struct tree *inner_tree(struct inner *in)
{
	return in->tree;
}

struct inodes *inner_inodes(struct inner *in)
{
	return in->inodes;
}

const char *inner_path(struct inner *in, const char *fmt, ...)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];
	va_list ap;
	int n = snprintf(path, sizeof(paths[0]), "%s/", in->mnt);

	va_start(ap, fmt);
	(void)vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

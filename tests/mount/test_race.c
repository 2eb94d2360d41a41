/*
 * The races between a commit, requests in flight and what the kernel caches, each in the order that
 * hurts: a reply is held on its way to the kernel, or a commit is not told yet.
 */
#include "inner.h"

#include "inodes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENT_MS = 10000, T1 = 1500000000, T2 = 1500000001 };

static const uint32_t all_events = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_MODIFY |
				   IN_CLOSE_WRITE | IN_ATTRIB;

static int set_up(void **state)
{
	*state = inner_start(&(struct inner_options){ .umask = 022 });
	return 0;
}

static int tear_down(void **state)
{
	inner_stop(*state);
	return 0;
}

/* --- looking --- */

static bool is_there(struct inner *in, const char *path)
{
	struct stat st;

	return stat(inner_path(in, "%s", path), &st) == 0;
}

static int64_t mtime_of(struct inner *in, const char *path)
{
	struct stat st;

	assert_int_equal(stat(inner_path(in, "%s", path), &st), 0);
	return st.st_mtim.tv_sec;
}

static size_t count_names(const char *dir)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static bool reads(struct inner *in, const char *path, char letter, size_t size)
{
	char data[8192];
	int fd = open(inner_path(in, "%s", path), O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, data, sizeof(data));

	if (fd >= 0)
		close(fd);
	for (ssize_t i = 0; i < n; i++)
		if (data[i] != letter)
			return false;
	return n == (ssize_t)size;
}

/* One look by somebody else, whose reply is held. */
struct look {
	struct inner *in;
	const char *path;
	size_t names_n;
	pthread_t thread;
};

static void *list_it(void *arg)
{
	struct look *look = arg;

	look->names_n = count_names(look->path);
	return NULL;
}

static void *stat_it(void *arg)
{
	struct look *look = arg;
	struct stat st;

	(void)stat(look->path, &st);
	return NULL;
}

static void begin_look(struct look *look, enum inner_reply kind, void *(*fn)(void *arg))
{
	inner_hold_reply(kind);
	assert_int_equal(pthread_create(&look->thread, NULL, fn, look), 0);
	inner_wait_held();
}

static void end_look(struct look *look)
{
	inner_let_reply();
	pthread_join(look->thread, NULL);
	inner_settle(look->in);
}

/* A folder "d" that the kernel holds, with files f0 ... of which it has seen nothing. */
static int make_dir(struct inner *in, int files_n, int *ret_files)
{
	int dir;

	inner_hold(in);
	dir = inner_mkdir(in, INNER_ROOT, "d");
	for (int i = 0; i < files_n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		ret_files[i] = inner_create(in, dir, name, 100);
	}
	inner_drop(in);
	assert_true(is_there(in, "d"));
	return dir;
}

/* --- 1: a listing of before, put into the cache after --- */

static void test_stale_listing(void **state)
{
	struct inner *in = *state;
	int files[10];
	struct look look = { .in = in, .path = inner_path(in, "d") };

	make_dir(in, 10, files);
	begin_look(&look, INNER_LISTING, list_it);
	inner_delete(in, files[3]);
	inner_wait_told_or_blocked(in);
	end_look(&look);
	assert_int_equal(look.names_n, 10); /* the control: it was the old listing */
	assert_int_equal(count_names(inner_path(in, "d")), 9);
	assert_false(is_there(in, "d/f3"));
}

/* Without a replay, which would wait for the listing: only the directory's time tells. Somebody who
 * is in there already does not look the directory up again. */
static void test_stale_listing_and_bulk(void **state)
{
	struct inner *in = *state;
	int files[10], inside;
	struct look look = { .in = in, .path = inner_path(in, "d") };
	char path[64];

	make_dir(in, 10, files);
	inside = open(inner_path(in, "d"), O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_true(inside >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d/.", inside);
	begin_look(&look, INNER_LISTING, list_it);
	inner_hold(in);
	inner_delete(in, files[3]);
	fs_push_all(inner_fs(in));
	inner_settle(in);
	end_look(&look);
	assert_int_equal(look.names_n, 10);
	assert_int_equal(count_names(path), 9);
	assert_int_equal(count_names(inner_path(in, "d")), 9);
	close(inside);
	inner_tell(in);
}

/* --- 2: attributes of before, of an inode that the kernel does not have yet --- */

static void test_stale_lookup(void **state)
{
	struct inner *in = *state;
	int files[1];
	struct look look = { .in = in, .path = inner_path(in, "d/f0") };

	make_dir(in, 1, files);
	begin_look(&look, INNER_ENTRY, stat_it);
	inner_touch(in, files[0], T1);
	inner_wait_told_or_blocked(in);
	end_look(&look);
	assert_int_equal(mtime_of(in, "d/f0"), T1);
}

static void test_stale_readdirplus(void **state)
{
	struct inner *in = *state;
	int files[3];
	struct look look = { .in = in, .path = inner_path(in, "d") };

	make_dir(in, 3, files);
	begin_look(&look, INNER_LISTING, list_it);
	inner_touch(in, files[1], T1);
	inner_wait_told_or_blocked(in);
	end_look(&look);
	assert_int_equal(mtime_of(in, "d/f1"), T1);
}

static void test_stale_absence(void **state)
{
	struct inner *in = *state;
	int dir = make_dir(in, 0, NULL);
	struct look look = { .in = in, .path = inner_path(in, "d/new") };

	begin_look(&look, INNER_ENTRY, stat_it);
	inner_create(in, dir, "new", 1);
	inner_wait_told_or_blocked(in);
	end_look(&look);
	assert_true(is_there(in, "d/new"));
}

/* --- 3: new content under the old time --- */

static void test_same_time_new_content(void **state)
{
	struct inner *in = *state;
	struct stat before, after;
	int files[1];

	make_dir(in, 1, files);
	for (int i = 0; i < 3; i++) {
		assert_true(reads(in, "d/f0", inner_letter(in, files[0]), 100));
		assert_int_equal(stat(inner_path(in, "d/f0"), &before), 0);
		inner_write(in, files[0], 100);
		inner_settle(in);
		assert_true(reads(in, "d/f0", inner_letter(in, files[0]), 100));
		assert_int_equal(stat(inner_path(in, "d/f0"), &after), 0);
		assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
		assert_int_not_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	}
}

/* --- 4: mapped pages --- */

static void test_mapped(void **state)
{
	struct inner *in = *state;
	const char *path = inner_path(in, "d/f0");
	const volatile char *old, *new;
	int files[1], fd;
	char was;

	make_dir(in, 1, files);
	inner_write(in, files[0], 8192);
	inner_settle(in);
	was = inner_letter(in, files[0]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	old = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(old, MAP_FAILED);
	close(fd); /* the mapping alone keeps the version */
	assert_int_equal(old[0], was);
	inner_write(in, files[0], 8192);
	inner_settle(in);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	new = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(new, MAP_FAILED);
	close(fd);
	assert_int_equal(new[0], inner_letter(in, files[0]));
	assert_int_equal(new[8191], inner_letter(in, files[0]));
	assert_int_equal(old[0], was);
	munmap((void *)old, 8192);
	munmap((void *)new, 8192);
	/* Nobody has it open: the same inode, and its pages go. */
	inner_write(in, files[0], 8192);
	inner_settle(in);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	new = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(new, MAP_FAILED);
	close(fd);
	assert_int_equal(new[0], inner_letter(in, files[0]));
	munmap((void *)new, 8192);
}

/* --- 5: a request that waits in the directory --- */

static unsigned waiting_n(struct inner *in)
{
	struct notify_stats stats;
	unsigned parked_n;

	fs_get_stats(inner_fs(in), &stats, &parked_n);
	return stats.waiting_n;
}

static void test_parked_request(void **state)
{
	struct inner *in = *state;
	int waiting = inner_mkdir(in, INNER_ROOT, "waiting"), other = make_dir(in, 0, NULL), item;
	struct look look = { .in = in, .path = inner_path(in, "waiting/unknown") };
	struct watch w, w_other;

	assert_true(is_there(in, "waiting"));
	watch_open(&w, inner_path(in, "waiting"), all_events);
	watch_open(&w_other, inner_path(in, "d"), all_events);
	inner_unlist(in, waiting);
	assert_int_equal(pthread_create(&look.thread, NULL, stat_it, &look), 0);
	inner_wait_parked(in, 1);
	/* More than are looked at from the front of the queue by anybody. */
	item = inner_create(in, waiting, "first", 1);
	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		inner_create(in, waiting, name, 1);
	}
	inner_create(in, other, "quick", 1);
	assert_non_null(watch_wait(&w_other, IN_CREATE, "quick", EVENT_MS));
	/* Its event comes before its job has ended. */
	harness_wait_until(waiting_n(in) == 301);
	inner_wait_parked(in, 1);
	assert_int_equal(watch_read(&w, 0), 0);
	/* Somebody else sees them all the same, and what is looked up here and now comes as an
	 * event later. */
	assert_true(is_there(in, "waiting/first"));
	inner_list(in);
	pthread_join(look.thread, NULL);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_CREATE, "n299", EVENT_MS));
	assert_int_equal(watch_count(&w, IN_CREATE, "first"), 1);
	assert_int_equal(watch_count(&w, IN_ATTRIB, "first"), 0);
	inner_delete(in, item);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_DELETE, "first", EVENT_MS));
	watch_close(&w);
	watch_close(&w_other);
}

/* --- 6: names that somebody looked up between the commit and its replay --- */

static void test_looked_up_before_the_replay(void **state)
{
	struct inner *in = *state;
	int files[4], dir = make_dir(in, 4, files), sub, to;
	struct notify_stats stats;
	uint32_t cookie;
	unsigned parked_n;
	struct watch w;

	sub = inner_mkdir(in, dir, "sub");
	to = inner_mkdir(in, dir, "to");
	inner_settle(in);
	assert_int_equal(count_names(inner_path(in, "d")), 6);
	assert_true(is_there(in, "d/sub") && is_there(in, "d/to"));
	watch_open(&w, inner_path(in, "d"), all_events);
	inner_hold(in);
	inner_create(in, dir, "new", 1);
	inner_mkdir(in, dir, "newdir");
	inner_delete(in, files[0]);
	inner_move(in, files[1], dir, "moved");
	inner_move(in, sub, to, "sub2");
	inner_write(in, files[2], 200);
	inner_touch(in, files[3], T2);
	/* What is cached from before says otherwise; as if it had run out: */
	fs_push_all(inner_fs(in));
	inner_settle(in);
	assert_true(is_there(in, "d/new") && is_there(in, "d/newdir") && is_there(in, "d/moved"));
	assert_true(is_there(in, "d/to/sub2"));
	assert_false(is_there(in, "d/f0") || is_there(in, "d/f1") || is_there(in, "d/sub"));
	assert_true(reads(in, "d/f2", inner_letter(in, files[2]), 200));
	assert_int_equal(mtime_of(in, "d/f3"), T2);
	inner_tell(in);
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_ATTRIB, "f3", EVENT_MS));
	assert_int_equal(watch_count(&w, IN_CREATE, "new"), 1);
	assert_int_equal(watch_count(&w, IN_CREATE | IN_ISDIR, "newdir"), 1);
	assert_int_equal(watch_count(&w, IN_DELETE, "f0"), 1);
	assert_int_equal(watch_count(&w, IN_MOVED_FROM, "f1"), 1);
	assert_int_equal(watch_count(&w, IN_MOVED_TO, "moved"), 1);
	cookie = watch_wait(&w, IN_MOVED_FROM, "f1", 0)->cookie;
	assert_int_equal(watch_wait(&w, IN_MOVED_TO, "moved", 0)->cookie, cookie);
	assert_int_equal(watch_count(&w, IN_MOVED_FROM | IN_ISDIR, "sub"), 1);
	assert_int_equal(watch_count(&w, IN_MODIFY, "f2"), 1);
	assert_int_equal(watch_count(&w, IN_CLOSE_WRITE, "f2"), 1);
	assert_int_equal(w.n, 9);
	fs_get_stats(inner_fs(in), &stats, &parked_n);
	assert_int_equal(stats.fallbacks_n, 0);
	assert_true(is_there(in, "d/new") && is_there(in, "d/moved") && is_there(in, "d/to/sub2"));
	assert_false(is_there(in, "d/f0") || is_there(in, "d/f1") || is_there(in, "d/sub"));
	assert_int_equal(count_names(inner_path(in, "d")), 6);
	watch_close(&w);
}

/* --- the way into a watched folder leads from one that nobody looked at --- */

static void test_moved_in_from_the_unknown(void **state)
{
	struct inner *in = *state;
	int from, item, to = make_dir(in, 0, NULL);
	struct watch w;

	inner_hold(in);
	from = inner_mkdir(in, INNER_ROOT, "from");
	item = inner_create(in, from, "x", 1);
	inner_drop(in);
	assert_false(inodes_is_dir_known(inner_inodes(in), inner_ino(in, from)));
	watch_open(&w, inner_path(in, "d"), all_events);
	inner_move(in, item, to, "x");
	inner_settle(in);
	assert_non_null(watch_wait(&w, IN_MOVED_TO, "x", EVENT_MS));
	assert_int_equal(w.n, 1);
	watch_close(&w);
}

/* --- the mount point is not the mount any more --- */

static void test_nothing_happens_below_the_mount(void **state)
{
	struct inner *in = *state;
	int item = inner_create(in, INNER_ROOT, "victim", 1), fd;
	char below[256];

	inner_settle(in);
	/* Keeps the connection alive after the unmount. */
	fd = open(inner_path(in, "victim"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	snprintf(below, sizeof(below), "%s", inner_path(in, "victim"));
	*strrchr(below, '/') = '\0';
	assert_int_equal(umount2(below, MNT_DETACH), 0);
	close(open(inner_path(in, "victim"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	inner_delete(in, item);
	inner_create(in, INNER_ROOT, "intruder", 1);
	inner_mkdir(in, INNER_ROOT, "folder");
	inner_settle(in);
	close(fd); /* before anything can fail: it keeps the session from ending */
	assert_true(is_there(in, "victim"));
	assert_int_equal(count_names(inner_path(in, ".")), 1);
}

#define race(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		race(test_stale_listing),
		race(test_stale_listing_and_bulk),
		race(test_stale_lookup),
		race(test_stale_readdirplus),
		race(test_stale_absence),
		race(test_same_time_new_content),
		race(test_mapped),
		race(test_parked_request),
		race(test_looked_up_before_the_replay),
		race(test_moved_in_from_the_unknown),
		race(test_nothing_happens_below_the_mount),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

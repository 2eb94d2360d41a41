/*
 * Contents that are written over a mount are the service's byte for byte: in every manner of
 * writing, through kill -9 and remounts, and of a file that is not here only what is missing comes.
 */
#include "sent.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { BIG = 12 << 20, COLD = 8 << 20 };

static struct harness h;

static int set_up(void **state)
{
	sent_start(&h, "0s");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static int open_new(const char *name)
{
	int fd = open(harness_path(&h, "%s", name), O_RDWR | O_CREAT | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	return fd;
}

static void put(const char *name, const char *text)
{
	int fd = open(harness_path(&h, "%s", name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static char *random_bytes(size_t len, unsigned seed)
{
	char *bytes = malloc(len);

	assert_non_null(bytes);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)rand_r(&seed);
	return bytes;
}

static char *reference(const char *path, size_t len)
{
	char *bytes = malloc(len), file[128];
	FILE *f;

	assert_int_equal(harness_sh(&h,
				    "curl -sfG --noproxy '*' '%s/content' --data-urlencode "
				    "'path=%s' >$DIR/ref",
				    h.admin, path),
			 0);
	snprintf(file, sizeof(file), "%s/ref", h.dir);
	f = fopen(file, "re");
	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, len, f), len);
	(void)fclose(f);
	return bytes;
}

static void test_overwrite_append_truncate(void **state)
{
	char want[10000] = { 0 };
	int fd = open_new("plain"), other;

	assert_int_equal(write(fd, "0123456789", 10), 10);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "plain", "0123456789"));
	fd = open_new("plain");
	assert_int_equal(pwrite(fd, "abc", 3, 4), 3);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "plain", "0123abc789"));
	fd = open(harness_path(&h, "plain"), O_WRONLY | O_APPEND);
	assert_int_equal(write(fd, "END", 3), 3);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "plain", "0123abc789END"));
	assert_int_equal(truncate(harness_path(&h, "plain"), 4), 0);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "plain", "0123"));
	assert_int_equal(truncate(harness_path(&h, "plain"), 9000), 0);
	sent_wait(&h);
	memcpy(want, "0123", 4);
	assert_true(sent_is(&h, "plain", want, 9000));
	/* Two handles, one cuts what the other wrote. */
	fd = open_new("plain");
	other = open_new("plain");
	assert_int_equal(pwrite(fd, "tail", 4, 9996), 4);
	assert_int_equal(ftruncate(other, 2), 0);
	assert_int_equal(pwrite(other, "x", 1, 5), 1);
	close(fd);
	close(other);
	sent_wait(&h);
	assert_true(sent_is(&h, "plain", "01\0\0\0x", 6));
}

static void test_sparse(void **state)
{
	char *want = calloc(1, BIG + 3);
	int fd = open_new("sparse");

	assert_non_null(want);
	memcpy(want + BIG, "end", 3);
	memcpy(want + 5000000, "middle", 6);
	assert_int_equal(pwrite(fd, "end", 3, BIG), 3);
	assert_int_equal(pwrite(fd, "middle", 6, 5000000), 6);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is(&h, "sparse", want, BIG + 3));
	free(want);
}

static void test_mmap(void **state)
{
	char *want = random_bytes(100000, 1), *map;
	int fd = open_new("mapped");

	assert_int_equal(write(fd, want, 100000), 100000);
	close(fd);
	sent_wait(&h);
	fd = open_new("mapped");
	map = mmap(NULL, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	assert_memory_equal(map, want, 100000);
	memset(map + 70000, 'm', 5000);
	memset(want + 70000, 'm', 5000);
	assert_int_equal(msync(map, 100000, MS_SYNC), 0);
	/* The descriptor may be closed before the mapping ends. */
	close(fd);
	map[1] = want[1] = 'x';
	assert_int_equal(munmap(map, 100000), 0);
	harness_wait_until(sent_is(&h, "mapped", want, 100000));
	sent_wait(&h);
	free(want);
}

static int64_t downloaded(void)
{
	return harness_counter(&h, "content_bytes");
}

/* Of a file that is not here, nothing comes to write a part of it, and to send it only the rest. */
static void test_part_of_a_cold_file(void **state)
{
	char *want;
	int64_t before;
	int fd;

	harness_create(&h, "cold", COLD);
	sent_heard(&h);
	want = reference("cold", COLD);
	memset(want + (1 << 20), 'w', 5 << 20);
	before = downloaded();
	fd = open(harness_path(&h, "cold"), O_WRONLY);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, want + (1 << 20), 5 << 20, 1 << 20), 5 << 20);
	assert_int_equal(downloaded(), before);
	close(fd);
	sent_wait(&h);
	assert_in_range(downloaded() - before, 3 << 20, (3 << 20) + (1 << 19));
	assert_true(sent_is(&h, "cold", want, COLD));
	free(want);
}

static void test_whole_of_a_cold_file(void **state)
{
	char *want = random_bytes(COLD, 2);
	int64_t before;
	int fd;

	harness_create(&h, "whole", COLD);
	harness_create(&h, "cut", COLD);
	sent_heard(&h);
	before = downloaded();
	fd = open(harness_path(&h, "whole"), O_WRONLY);
	assert_int_equal(write(fd, want, COLD), COLD);
	close(fd);
	fd = open(harness_path(&h, "cut"), O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, want, 10), 10);
	close(fd);
	sent_wait(&h);
	assert_int_equal(downloaded(), before);
	assert_true(sent_is(&h, "whole", want, COLD));
	assert_true(sent_is(&h, "cut", want, 10));
	free(want);
}

/* What a draft does not have is read from the service while it is being written. */
static void test_read_while_written(void **state)
{
	char *want, got[30];
	int fd;

	harness_create(&h, "mixed", COLD);
	sent_heard(&h);
	want = reference("mixed", COLD);
	fd = open_new("mixed");
	memcpy(want + 1000010, "written", 7);
	assert_int_equal(pwrite(fd, "written", 7, 1000010), 7);
	assert_int_equal(pread(fd, got, sizeof(got), 1000000), sizeof(got));
	assert_memory_equal(got, want + 1000000, sizeof(got));
	assert_int_equal(ftruncate(fd, 2000000), 0);
	assert_int_equal(pwrite(fd, "beyond", 6, 3000000), 6);
	memset(want + 2000000, 0, 1000000);
	memcpy(want + 3000000, "beyond", 6);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is(&h, "mixed", want, 3000006));
	free(want);
}

/* --- ends of the daemon --- */

static void test_killed_before_close(void **state)
{
	int fd;

	put("killed", "0123456789");
	sent_wait(&h);
	fd = open_new("killed");
	assert_int_equal(pwrite(fd, "open", 4, 3), 4);
	assert_int_equal(fsync(fd), 0);
	sent_kill_and_mount(&h);
	close(fd);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "killed", "012open789"));
	harness_wait_state(&h, "live");
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

static void test_killed_after_close(void **state)
{
	char *want = random_bytes(BIG, 3);
	const struct sent_item item = sent_get(&h, "killed");
	int fd;

	sent_hold(&h);
	put("closed", "closed, not sent");
	assert_int_equal(mkdir(harness_path(&h, "new"), 0755), 0);
	assert_int_equal(rename(harness_path(&h, "killed"), harness_path(&h, "new/moved")), 0);
	assert_int_equal(unlink(harness_path(&h, "cut")), 0);
	fd = open_new("new/big");
	assert_int_equal(write(fd, want, BIG), BIG);
	close(fd);
	sent_kill_and_mount(&h);
	assert_int_equal(access(harness_path(&h, "new/moved"), F_OK), 0);
	assert_int_equal(access(harness_path(&h, "cut"), F_OK), -1);
	sent_let(&h);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "closed", "closed, not sent"));
	assert_true(sent_is(&h, "new/big", want, BIG));
	assert_string_equal(sent_get(&h, "new/moved").id, item.id);
	assert_false(sent_exists(&h, "cut"));
	harness_wait_state(&h, "live");
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	free(want);
}

/* The answer of what was done is lost, and then the daemon. */
static void test_killed_amid_an_answer(void **state)
{
	harness_fault(&h, "{\"class\":\"write\",\"first\":3,\"action\":\"stall\"}");
	put("lost", "only once");
	assert_int_equal(mkdir(harness_path(&h, "lost-folder"), 0755), 0);
	assert_int_equal(unlink(harness_path(&h, "closed")), 0);
	harness_wait_until(sent_exists(&h, "lost") && sent_exists(&h, "lost-folder"));
	sent_kill_and_mount(&h);
	harness_no_faults(&h);
	sent_wait(&h);
	assert_int_equal(sent_count(&h, "", "lost"), 2);
	assert_int_equal(sent_get(&h, "lost").contents_n, 1);
	assert_false(sent_exists(&h, "closed"));
	harness_wait_state(&h, "live");
	harness_wait_equal(&h, HARNESS_WAIT_MS);
}

static void test_unmounted_with_unsent(void **state)
{
	sent_hold(&h);
	put("unsent", "kept for the next mount");
	harness_umount(&h);
	harness_mount(&h, NULL);
	assert_int_equal(access(harness_path(&h, "unsent"), F_OK), 0);
	sent_let(&h);
	sent_wait(&h);
	assert_true(sent_is_text(&h, "unsent", "kept for the next mount"));
	harness_wait_state(&h, "live");
}

/* --- no echo --- */

/* Ends with 1 when size, time or number of a file are other ones at any time. */
static pid_t start_polling(const char *path, const int fds[2])
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct stat first, st;
		char c;

		close(fds[1]);
		if (stat(path, &first) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) < 0)
			_exit(2);
		while (read(fds[0], &c, 1) != 0) {
			if (stat(path, &st) < 0 || st.st_size != first.st_size ||
			    st.st_ino != first.st_ino ||
			    st.st_mtim.tv_sec != first.st_mtim.tv_sec ||
			    st.st_mtim.tv_nsec != first.st_mtim.tv_nsec) {
				fprintf(stderr,
					"%s: %lld bytes, %lld.%09ld, was %lld, %lld.%09ld\n", path,
					(long long)st.st_size, (long long)st.st_mtim.tv_sec,
					st.st_mtim.tv_nsec, (long long)first.st_size,
					(long long)first.st_mtim.tv_sec, first.st_mtim.tv_nsec);
				_exit(1);
			}
			usleep(1000);
		}
		_exit(0);
	}
	return pid;
}

static void check_no_echo(const char *name, size_t size)
{
	char *bytes = random_bytes(size, 4);
	int fds[2], fd, status;
	struct watch w;
	size_t events_n;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	watch_open(&w, h.mnt,
		   IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB);
	fd = open_new(name);
	assert_int_equal(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	assert_non_null(watch_wait(&w, IN_CLOSE_WRITE, name, HARNESS_WAIT_MS));
	events_n = watch_read(&w, 0);
	pid = start_polling(harness_path(&h, "%s", name), fds);
	close(fds[0]);
	sent_wait(&h);
	sent_heard(&h);
	sent_heard(&h);
	close(fds[1]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* Those of the folders by which we know that delta came. */
	for (size_t i = (watch_read(&w, 0), events_n); i < w.n; i++)
		if (strcmp(w.events[i].name, name) == 0)
			fail_msg("an echo: event %#x of %s", w.events[i].mask, name);
	watch_close(&w);
	free(bytes);
}

static void test_no_echo(void **state)
{
	check_no_echo("echo", 5000);
	check_no_echo("echo", 7000);
	check_no_echo("echo-big", BIG);
	check_no_echo("echo-big", BIG - 5);
	check_no_echo("echo-empty", 0);
}

/* The service's own times and places do not come back either. */
static void test_no_echo_of_a_rename(void **state)
{
	struct watch w;
	struct stat before, after;

	put("echo-a", "x");
	sent_wait(&h);
	sent_heard(&h);
	assert_int_equal(stat(harness_path(&h, "echo-a"), &before), 0);
	watch_open(&w, h.mnt, IN_CREATE | IN_DELETE | IN_MOVE | IN_MODIFY | IN_ATTRIB);
	assert_int_equal(rename(harness_path(&h, "echo-a"), harness_path(&h, "echo-b")), 0);
	assert_int_equal(mkdir(harness_path(&h, "echo-dir"), 0755), 0);
	assert_int_equal(mkdir(harness_path(&h, "echo-no"), 0755), 0);
	assert_int_equal(rmdir(harness_path(&h, "echo-no")), 0);
	sent_wait(&h);
	sent_heard(&h);
	sent_heard(&h);
	(void)watch_read(&w, 0);
	assert_int_equal(watch_count(&w, IN_MOVED_FROM, "echo-a"), 1);
	assert_int_equal(watch_count(&w, IN_MOVED_TO, "echo-b"), 1);
	assert_int_equal(watch_count(&w, IN_CREATE, "echo-dir"), 1);
	assert_int_equal(watch_count(&w, IN_CREATE, "echo-no"), 1);
	assert_int_equal(watch_count(&w, IN_DELETE, "echo-no"), 1);
	assert_int_equal(watch_count(&w, IN_ATTRIB, "echo-b"), 0);
	assert_int_equal(watch_count(&w, IN_MODIFY, "echo-b"), 0);
	assert_int_equal(stat(harness_path(&h, "echo-b"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	watch_close(&w);
}

static void test_fresh_client(void **state)
{
	sent_wait(&h);
	sent_mount_fresh(&h);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	assert_int_equal(harness_sh(&h,
				    "cmp <(curl -sfG --noproxy '*' '%s/content' -d path=new/big) "
				    "$MNT/new/big",
				    h.admin),
			 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overwrite_append_truncate),
		cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_mmap),
		cmocka_unit_test(test_part_of_a_cold_file),
		cmocka_unit_test(test_whole_of_a_cold_file),
		cmocka_unit_test(test_read_while_written),
		cmocka_unit_test(test_killed_before_close),
		cmocka_unit_test(test_killed_after_close),
		cmocka_unit_test(test_killed_amid_an_answer),
		cmocka_unit_test(test_unmounted_with_unsent),
		cmocka_unit_test(test_no_echo),
		cmocka_unit_test(test_no_echo_of_a_rename),
		cmocka_unit_test(test_fresh_client),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

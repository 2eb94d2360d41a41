/*
 * kill -9 while several readers download more than the cache may hold: after each of them no byte
 * that is served differs from the service's. GRAPHFS_TEST_KILLS says how often (15).
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
	KILLS_N = 15,
	FILES_N = 72,
	READERS_N = 4,
	BUDGET = 16 << 20, /* a third of all files */
	LIFE_MAX_MS = 700,
	/* All is compared after that many kills, and at the end. */
	COMPARE_EVERY = 25,
};

struct file {
	int number;
	size_t size;
	const char *bytes; /* the service's */
};

static struct harness h;
static struct file files[FILES_N];
static atomic_bool *is_ending; /* shared with the readers */

/* Small ones, ones of a few blocks and ones of many, with ends within a block and at its edge. */
static size_t size_of(int i)
{
	switch (i % 3) {
	case 0:
		return 100 + (size_t)i * 211;
	case 1:
		return 20000 + (size_t)i * 9001;
	default:
		return i % 2 ? ((size_t)i % 5 + 1) << 20 : (1 << 20) + (size_t)i * 20011;
	}
}

static void map_reference(struct file *file)
{
	char path[200];
	struct stat st = { 0 };
	int fd;

	assert_int_equal(harness_sh(&h,
				    "curl -sfG --noproxy '*' '%s/content' "
				    "--data-urlencode path=files/%d >$DIR/ref-%d",
				    h.admin, file->number, file->number),
			 0);
	snprintf(path, sizeof(path), "%s/ref-%d", h.dir, file->number);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, file->size);
	file->bytes = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, fd, 0);
	assert_true(file->bytes != MAP_FAILED);
	close(fd);
}

static int set_up(void **state)
{
	harness_start(&h, NULL);
	harness_mkdir(&h, "files");
	for (int i = 0; i < FILES_N; i++) {
		char path[64];

		files[i].number = i;
		files[i].size = size_of(i);
		snprintf(path, sizeof(path), "files/%d", i);
		harness_create(&h, path, files[i].size);
		map_reference(&files[i]);
	}
	harness_config(&h, "[cache]\nsize = 16M\n");
	is_ending = mmap(NULL, sizeof(*is_ending), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(is_ending != MAP_FAILED);
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

/* Compares a part of a file. 0, an errno, or -1: the bytes are wrong. */
static int compare(const struct file *file, size_t off, size_t len)
{
	static char buf[1 << 20];
	int fd = open(harness_path(&h, "files/%d", file->number), O_RDONLY);
	int error = fd < 0 ? errno : 0;

	while (error == 0 && len > 0) {
		ssize_t n = pread(fd, buf, len < sizeof(buf) ? len : sizeof(buf), (off_t)off);

		if (n <= 0) {
			error = n < 0 ? errno : ENODATA;
			break;
		}
		if (memcmp(buf, file->bytes + off, (size_t)n) != 0) {
			fprintf(stderr, "files/%d: wrong bytes within %zu + %zd\n", file->number,
				off, n);
			error = -1;
		}
		off += (size_t)n;
		len -= (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	return error;
}

/* Reads until the mount is gone. Ends with 1 if that was not because of the kill, or if a byte was
 * wrong. */
static void read_for_ever(unsigned seed)
{
	for (;;) {
		const struct file *file = &files[rand_r(&seed) % FILES_N];
		size_t off = rand_r(&seed) % 2 ? 0 : (size_t)rand_r(&seed) % file->size;
		size_t len = file->size - off;
		int error;

		if (rand_r(&seed) % 3 == 0 && len > 4096)
			len = 4096;
		error = compare(file, off, len);
		if (error > 0 && !*is_ending)
			fprintf(stderr, "files/%d: %s\n", file->number, strerror(error));
		if (error != 0)
			_exit(error < 0 || !*is_ending);
	}
}

static void compare_all(void)
{
	harness_mount(&h, NULL);
	for (int i = 0; i < FILES_N; i++)
		assert_int_equal(compare(&files[i], 0, files[i].size), 0);
	harness_umount(&h);
}

static void live_and_die(unsigned *seed)
{
	pid_t readers[READERS_N];

	*is_ending = false;
	harness_mount(&h, NULL);
	for (int i = 0; i < READERS_N; i++) {
		unsigned mine = (unsigned)rand_r(seed);

		readers[i] = fork();
		assert_true(readers[i] >= 0);
		if (readers[i] == 0)
			read_for_ever(mine);
	}
	usleep((useconds_t)(rand_r(seed) % LIFE_MAX_MS) *
	       1000); /* when it dies is left to chance */
	*is_ending = true;
	harness_kill(&h);
	for (int i = 0; i < READERS_N; i++) {
		int status;

		assert_int_equal(waitpid(readers[i], &status, 0), readers[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(umount2(h.mnt, MNT_DETACH), 0);
}

static void test_no_wrong_byte_after_kills(void **state)
{
	const char *wanted = getenv("GRAPHFS_TEST_KILLS");
	int kills_n = wanted ? atoi(wanted) : KILLS_N;
	unsigned seed = (unsigned)harness_now_ms();
	struct json_object *status, *cache = NULL, *bytes = NULL;

	print_message("%d kills, seed %u\n", kills_n, seed);
	for (int i = 1; i <= kills_n; i++) {
		live_and_die(&seed);
		if (i % COMPARE_EVERY == 0 || i == kills_n)
			compare_all();
	}
	/* What was cached survives, and the budget holds. */
	harness_mount(&h, NULL);
	status = harness_status(&h);
	json_object_object_get_ex(status, "cache", &cache);
	json_object_object_get_ex(cache, "bytes", &bytes);
	assert_in_range(json_object_get_int64(bytes), BUDGET / 2, BUDGET);
	json_object_put(status);
	harness_umount(&h);
	print_message("%lld bytes downloaded\n", (long long)harness_counter(&h, "content_bytes"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_wrong_byte_after_kills),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

/*
 * Ordinary programs on a mounted drive: what they list and read is what the service holds, byte
 * for byte, and reading it again asks nobody.
 */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

enum { EQUAL_MS = 60000, PIECE_BYTES = 4096, SEEKS_N = 60 };

static struct harness h;

static int set_up(void **state)
{
	const char *const args[] = { "--seed-demo", NULL };

	harness_start(&h, args);
	harness_mount(&h, NULL);
	harness_wait_state(&h, "live");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void test_tree(void **state)
{
	harness_wait_equal(&h, EQUAL_MS);
	assert_int_equal(harness_sh(&h, "find $MNT -type f | wc -l | grep -qx 81"), 0);
	assert_int_equal(harness_sh(&h, "ls -la $MNT/Photos/2023/Norway >/dev/null"), 0);
	assert_int_equal(harness_sh(&h, "test -f \"$MNT/写真/京都 2024/金閣寺.jpg\" && test -f "
					"\"$MNT/Ideas 💡/🚀 launch plan.txt\""),
			 0);
}

static void test_contents(void **state)
{
	/* The service's own copy is fetched from the admin interface. */
	assert_int_equal(harness_sh(&h,
				    "cd $MNT && find . -type f -size -9000k -print0 | while IFS= "
				    "read -r -d '' f; do "
				    "cmp -- \"$f\" <(curl -sfG --noproxy '*' '%s/content' "
				    "--data-urlencode \"path=${f#./}\") || { echo \"differs: $f\"; "
				    "exit 1; }; done",
				    h.admin),
			 0);
	assert_int_equal(harness_sh(&h, "cp -r $MNT/Documents $DIR/copy && diff -r $MNT/Documents "
					"$DIR/copy"),
			 0);
	assert_int_equal(harness_sh(&h, "grep -rq 'light bulbs' $MNT/Documents"), 0);
	assert_int_equal(harness_sh(&h, "test ! -s \"$MNT/Documents/Work/Empty file.txt\" && cat "
					"\"$MNT/Documents/Work/Empty file.txt\""),
			 0);
}

/* A player that seeks: pieces of a long file, in no order. */
static void test_seeking(void **state)
{
	const char *path = harness_path(&h, "Videos/Summer holiday.mp4");
	unsigned seed = 1;
	char piece[PIECE_BYTES];
	char *command = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	for (int i = 0; i < SEEKS_N; i++) {
		off_t at = (off_t)((uint64_t)rand_r(&seed) * 7919 %
				   (uint64_t)(st.st_size - PIECE_BYTES));
		char out[160];
		FILE *f;

		assert_int_equal(pread(fd, piece, sizeof(piece), at), PIECE_BYTES);
		snprintf(out, sizeof(out), "%s/piece.%d.%lld", h.dir, i, (long long)at);
		f = fopen(out, "w");
		assert_non_null(f);
		assert_int_equal(fwrite(piece, 1, sizeof(piece), f), PIECE_BYTES);
		(void)fclose(f);
	}
	close(fd);
	assert_true(
		asprintf(
			&command,
			"curl -sfG --noproxy '*' '%s/content' --data-urlencode 'path=Videos/Summer "
			"holiday.mp4' -o $DIR/film && for p in $DIR/piece.*; do cmp -n %d -i "
			"0:${p##*.} "
			"$p $DIR/film || exit 1; done; rm $DIR/film $DIR/piece.*",
			h.admin, PIECE_BYTES) >= 0);
	assert_int_equal(harness_sh(&h, "%s", command), 0);
	free(command);
}

static void test_warm_walk_asks_nobody(void **state)
{
	int64_t before;

	assert_int_equal(harness_sh(&h, "find $MNT -ls >/dev/null; cat $MNT/README.txt"), 0);
	before = harness_counter(&h, "children") + harness_counter(&h, "item") +
		 harness_counter(&h, "content") + harness_counter(&h, "content_url");
	assert_int_equal(harness_sh(&h, "find $MNT -ls >/dev/null; cat $MNT/README.txt"), 0);
	assert_int_equal(harness_counter(&h, "children") + harness_counter(&h, "item") +
				 harness_counter(&h, "content") +
				 harness_counter(&h, "content_url"),
			 before);
}

static void test_attributes(void **state)
{
	static const char path[] = "Documents/Shopping list.txt";
	struct statvfs fs;
	struct stat st;

	assert_int_equal(stat(harness_path(&h, "%s", path), &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_size, 45);
	assert_int_equal(st.st_uid, getuid());
	assert_int_equal(stat(harness_path(&h, "nothing here"), &st), -1);
	assert_int_equal(errno, ENOENT);
	/* Exact look-up: another case is another name. */
	assert_int_equal(stat(harness_path(&h, "documents"), &st), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(statvfs(h.mnt, &fs), 0);
	assert_true((uint64_t)fs.f_blocks * fs.f_frsize == 1ull << 40);
	assert_int_equal(
		harness_sh(&h,
			   "getfattr -n user.graphfs.id --only-values \"$MNT/%s\" | grep -q "
			   "^01",
			   path),
		0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tree),       cmocka_unit_test(test_contents),
		cmocka_unit_test(test_seeking),    cmocka_unit_test(test_warm_walk_asks_nobody),
		cmocka_unit_test(test_attributes),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

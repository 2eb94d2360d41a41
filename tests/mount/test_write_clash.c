/*
 * Both sides change the same: nothing is lost. Each case twice: the other's change is heard before
 * ours is sent, and ours is sent before we hear of it. And how editors save: the item stays.
 */
#include "sent.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct harness h;

static int set_up(void **state)
{
	sent_start(&h, "0s");
	return 0;
}

/* What is saved by way of another file is not sent before it has its name. */
static int set_up_quiet(void **state)
{
	sent_start(&h, "1s");
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void put(const char *path, const char *text)
{
	int fd = open(harness_path(&h, "%s", path), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static bool shows(const char *path, const char *text)
{
	return harness_sh(&h, "printf %%s '%s' | cmp -s - \"$MNT/%s\"", text, path) == 0;
}

/* --- both sides --- */

struct clash {
	const char *name;
	void (*ours)(void);
	void (*theirs)(void);
	void (*check)(void);
};

/* The only file in c/ with a name for conflicts has this text. */
static bool is_beside(const char *name, const char *text)
{
	return harness_sh(&h, "[ \"$(cat \"$MNT/c/%s (\"*)\" = '%s' ]", name, text) == 0;
}

/* All that is wrong is to be seen at once. */
static unsigned wrong_n;

static void expect(bool is_true, const char *what)
{
	if (is_true)
		return;
	print_error("not so: %s\n", what);
	wrong_n++;
}

#define EXPECT(cond) expect(cond, #cond)

static void ours_write(void)
{
	put("c/file.txt", "ours");
}

static void theirs_write(void)
{
	harness_write_text(&h, "c/file.txt", "theirs, longer");
}

static void check_two(void)
{
	EXPECT(sent_count(&h, "c", "file") == 2);
	EXPECT(sent_is_text(&h, "c/file.txt", "theirs, longer"));
	EXPECT(is_beside("file", "ours"));
}

static void ours_delete(void)
{
	assert_int_equal(unlink(harness_path(&h, "c/file.txt")), 0);
}

static void theirs_delete(void)
{
	harness_delete(&h, "c/file.txt");
}

static void check_theirs(void)
{
	EXPECT(sent_count(&h, "c", "file") == 1);
	EXPECT(sent_is_text(&h, "c/file.txt", "theirs, longer"));
}

static void check_ours(void)
{
	EXPECT(sent_count(&h, "c", "file") == 1);
	EXPECT(sent_is_text(&h, "c/file.txt", "ours"));
}

static void check_none(void)
{
	EXPECT(sent_count(&h, "c", "file") == 0);
}

static void ours_create(void)
{
	put("c/new.txt", "ours");
}

static void theirs_create(void)
{
	harness_create_text(&h, "c/new.txt", "theirs");
}

static void check_new(void)
{
	EXPECT(sent_count(&h, "c", "new") == 2);
	EXPECT(sent_is_text(&h, "c/new.txt", "theirs"));
	EXPECT(is_beside("new", "ours"));
}

static void theirs_create_same(void)
{
	harness_create_text(&h, "c/new.txt", "ours");
}

static void check_same(void)
{
	/* Two, if theirs was heard before ours was closed and its hash known. */
	EXPECT(sent_count(&h, "c", "new") == 1 || is_beside("new", "ours"));
	EXPECT(sent_is_text(&h, "c/new.txt", "ours"));
}

static void ours_below(void)
{
	put("c/dir/unsent.txt", "unsent");
	assert_int_equal(mkdir(harness_path(&h, "c/dir/sub"), 0755), 0);
	put("c/dir/sub/deep.txt", "deep");
}

static void theirs_delete_dir(void)
{
	harness_delete(&h, "c/dir");
}

static void check_below(void)
{
	EXPECT(sent_is_text(&h, "c/dir/unsent.txt", "unsent"));
	EXPECT(sent_is_text(&h, "c/dir/sub/deep.txt", "deep"));
	EXPECT(!sent_exists(&h, "c/dir/old.txt"));
}

static void ours_rename(void)
{
	assert_int_equal(
		rename(harness_path(&h, "c/file.txt"), harness_path(&h, "c/file-ours.txt")), 0);
}

static void check_renamed(void)
{
	EXPECT(sent_count(&h, "c", "file") == 1);
	EXPECT(sent_is_text(&h, "c/file-ours.txt", "theirs, longer"));
}

static void theirs_rename(void)
{
	harness_move(&h, "c/file.txt", "c/file-theirs.txt");
}

static void check_written_renamed(void)
{
	EXPECT(sent_count(&h, "c", "file") == 1);
	EXPECT(sent_is_text(&h, "c/file-theirs.txt", "ours"));
}

static void ours_mkdir(void)
{
	assert_int_equal(mkdir(harness_path(&h, "c/new"), 0755), 0);
	put("c/new/ours", "o");
}

static void theirs_mkdir(void)
{
	harness_create_text(&h, "c/new/theirs", "t");
}

static void check_one_dir(void)
{
	EXPECT(sent_count(&h, "c", "new") == 1);
	EXPECT(sent_is_text(&h, "c/new/ours", "o"));
	EXPECT(sent_is_text(&h, "c/new/theirs", "t"));
}

static void ours_rmdir(void)
{
	assert_int_equal(harness_sh(&h, "rm -r $MNT/c/dir"), 0);
}

static void theirs_put_into(void)
{
	harness_create_text(&h, "c/dir/theirs.txt", "theirs");
}

static void check_kept_dir(void)
{
	EXPECT(sent_is_text(&h, "c/dir/theirs.txt", "theirs"));
	EXPECT(!sent_exists(&h, "c/dir/old.txt"));
}

static const struct clash clashes[] = {
	{ "both write", ours_write, theirs_write, check_two },
	{ "written there, deleted here", ours_delete, theirs_write, check_theirs },
	{ "deleted there, written here", ours_write, theirs_delete, check_ours },
	{ "both delete", ours_delete, theirs_delete, check_none },
	{ "both create", ours_create, theirs_create, check_new },
	{ "both create the same", ours_create, theirs_create_same, check_same },
	{ "folder deleted there, new files here", ours_below, theirs_delete_dir, check_below },
	{ "written there, renamed here", ours_rename, theirs_write, check_renamed },
	{ "renamed there, written here", ours_write, theirs_rename, check_written_renamed },
	{ "both make a folder", ours_mkdir, theirs_mkdir, check_one_dir },
	{ "deleted here, filled there", ours_rmdir, theirs_put_into, check_kept_dir },
};

static void begin(void)
{
	harness_create_text(&h, "c/file.txt", "base");
	harness_create_text(&h, "c/dir/old.txt", "old");
	sent_heard(&h);
	assert_true(shows("c/file.txt", "base"));
	assert_int_equal(harness_sh(&h, "ls -R $MNT/c >/dev/null"), 0);
}

static void end(const struct clash *clash, const char *order)
{
	print_message("%s, %s\n", clash->name, order);
	sent_wait(&h);
	sent_heard(&h);
	sent_wait(&h);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	clash->check();
	harness_delete(&h, "c");
	sent_heard(&h);
	assert_int_equal(access(harness_path(&h, "c"), F_OK), -1);
}

static void test_heard_before_sent(void **state)
{
	wrong_n = 0;
	for (size_t i = 0; i < sizeof(clashes) / sizeof(clashes[0]); i++) {
		begin();
		sent_hold(&h);
		clashes[i].ours();
		clashes[i].theirs();
		sent_heard(&h);
		sent_let(&h);
		end(&clashes[i], "heard before sent");
	}
	assert_int_equal(wrong_n, 0);
}

static void test_sent_before_heard(void **state)
{
	wrong_n = 0;
	for (size_t i = 0; i < sizeof(clashes) / sizeof(clashes[0]); i++) {
		begin();
		harness_do(&h, "/delta", NULL, "{\"lag_ms\":1500}");
		clashes[i].theirs();
		clashes[i].ours();
		sent_wait(&h);
		harness_do(&h, "/delta", NULL, "{\"lag_ms\":0}");
		end(&clashes[i], "sent before heard");
	}
	assert_int_equal(wrong_n, 0);
}

/* --- how editors save --- */

struct save {
	const char *name, *needs, *script;
};

/* F is the file; each makes it "after\n". */
static const struct save saves[] = {
	{ "rename over", "true", "printf 'after\\n' >.f.tmp; mv -f .f.tmp $F" },
	{ "rename away, create, remove", "true",
	  "mv $F $F~; printf 'after\\n' >$F; sync $F; rm $F~" },
	{ "rename away, rename to, remove", "true",
	  "printf 'after\\n' >x.tmp; mv $F x.bak; mv x.tmp $F; rm x.bak" },
	{ "in place", "true", "printf 'after\\n' >$F" },
	{ "sed -i", "sed --version", "sed -i s/before/after/ $F" },
	{ "vim", "vim --version",
	  "vim -es -u NONE -i NONE -c 's/before/after/' -c 'wq' $F </dev/null" },
	{ "vim with a backup", "vim --version",
	  "vim -es -u NONE -i NONE -c 'set backup backupcopy=no' -c 's/before/after/' -c 'wq' $F "
	  "</dev/null; rm -f $F~" },
	{ "gio", "gio version", "printf 'after\\n' | gio save $F" },
	{ "rsync", "rsync --version",
	  "printf 'after\\n' >$DIR/src; rsync --ignore-times $DIR/src $F" },
};

static void test_saves(void **state)
{
	wrong_n = 0;
	for (size_t i = 0; i < sizeof(saves) / sizeof(saves[0]); i++) {
		const struct save *save = &saves[i];
		struct sent_item before, after;

		if (harness_sh(&h, "%s >/dev/null 2>&1", save->needs) != 0) {
			print_message("%s is not installed: not tested\n", save->name);
			continue;
		}
		print_message("%s\n", save->name);
		harness_create_text(&h, "s/doc.txt", "before\n");
		sent_heard(&h);
		before = sent_get(&h, "s/doc.txt");
		assert_int_equal(harness_sh(&h, "cd $MNT/s && F=doc.txt && %s", save->script), 0);
		sent_wait(&h);
		sent_heard(&h);
		harness_wait_equal(&h, HARNESS_WAIT_MS);
		after = sent_get(&h, "s/doc.txt");
		EXPECT(sent_is_text(&h, "s/doc.txt", "after\n"));
		EXPECT(strcmp(after.id, before.id) == 0);
		EXPECT(after.contents_n == before.contents_n + 1);
		EXPECT(sent_count(&h, "s", "") == 1);
		harness_delete(&h, "s");
		sent_heard(&h);
	}
	assert_int_equal(wrong_n, 0);
}

int main(void)
{
	const struct CMUnitTest clash_tests[] = {
		cmocka_unit_test(test_heard_before_sent),
		cmocka_unit_test(test_sent_before_heard),
	};
	const struct CMUnitTest save_tests[] = {
		cmocka_unit_test(test_saves),
	};
	int failed_n;

	harness_require_fuse();
	failed_n = cmocka_run_group_tests(clash_tests, set_up, tear_down);
	return failed_n + cmocka_run_group_tests(save_tests, set_up_quiet, tear_down);
}

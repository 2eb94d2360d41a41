/*
 * The commands as a shell uses them: what they print, what they return, and what they leave
 * behind. The mount is made by "graphfs mount", in the background.
 */
#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct harness h;

static int set_up(void **state)
{
	const char *const args[] = { "--seed-demo", NULL };

	harness_start(&h, args);
	return 0;
}

static int tear_down(void **state)
{
	harness_sh(&h, "$GRAPHFS umount $MNT 2>/dev/null");
	harness_stop(&h);
	return 0;
}

/* Reads what it prints to its end: a daemon that keeps some of it open would never let that come,
 * so there is a limit. */
#define MOUNT(where) "timeout 20 bash -o pipefail -c '$GRAPHFS mount " where " 2>&1 | cat'"

/* Runs it; its status and output, standard error included, must be these. A text that begins with
 * "..." stands for an output that contains the rest. */
static void expect(int status, const char *text, const char *command)
{
	int got;
	char *out = harness_sh_output(&h, &got, "exec 2>&1; %s", command);

	if (got != status ||
	    (strncmp(text, "...", 3) == 0 ? !strstr(out, text + 3) : strcmp(out, text) != 0))
		fail_msg("%s: status %d, \"%s\"", command, got, out);
	free(out);
}

static void test_mount_and_umount(void **state)
{
	expect(1, "...not mounted by graphfs", "$GRAPHFS status $MNT");
	expect(1, "...no graphfs mount", "$GRAPHFS umount $MNT");
	expect(0, "...is mounted", MOUNT("$MNT"));
	expect(0, "This drive is simulated. Nothing here is real.\n", "cat $MNT/README.txt");
	expect(0, "",
	       "$GRAPHFS status $MNT | grep -q 'known .* items' && ! $GRAPHFS status $MNT | "
	       "grep -q '  $'");
	expect(0, "", "cd $MNT && $GRAPHFS status --json . >/dev/null");
	expect(0, "", "$GRAPHFS status $MNT/Documents/Welcome.txt | grep -q ' live'");
	expect(0, "", "$GRAPHFS umount $MNT");
	expect(0, "", "! mountpoint -q $MNT");
}

static void test_busy(void **state)
{
	expect(0, "...", MOUNT("$MNT"));
	expect(1, "...something is still open there", "cd $MNT/Documents && $GRAPHFS umount $MNT");
	expect(0, "...Welcome.txt", "ls $MNT/Documents");
	expect(0, "", "$GRAPHFS umount $MNT");
}

/* A container that was started meanwhile has a copy of the mount, and keeps it. */
static void test_copy_in_another_namespace(void **state)
{
	expect(0, "...", MOUNT("$MNT"));
	expect(0, "",
	       "unshare -m --propagation private sh -c 'touch $0/copied; exec sleep 60' $DIR "
	       ">/dev/null 2>&1 & echo $! >$DIR/copy; until [ -e $DIR/copied ]; do sleep 0.01; "
	       "done");
	expect(0, "", "$GRAPHFS umount $MNT");
	expect(0, "...", MOUNT("$MNT"));
	expect(0, "", "$GRAPHFS umount $MNT; kill $(cat $DIR/copy)");
}

/* The daemon of the mount before has not let go of its lock yet. */
static void test_mount_after_umount(void **state)
{
	expect(0, "...is mounted",
	       "set -- $DIR/state/graphfs/*/lock; "
	       "(exec 9<$1; flock -x -w 10 9; touch $DIR/locked; exec sleep 1) >/dev/null 2>&1 & "
	       "until [ -e $DIR/locked ]; do sleep 0.01; done; " MOUNT("$MNT"));
	expect(0, "", "$GRAPHFS umount $MNT");
}

static void test_mounted_twice(void **state)
{
	expect(0, "...", MOUNT("$MNT"));
	expect(1, "...this drive is mounted already", "mkdir $DIR/other; " MOUNT("$DIR/other"));
	expect(0, "", "$GRAPHFS umount $MNT");
}

/* The folder of a daemon that was killed is recognised, and mounting again repairs it. */
static void test_killed(void **state)
{
	static const char kill_it[] = "kill -9 $($GRAPHFS status --json $MNT | sed -E "
				      "'s/.*\"pid\":([0-9]+).*/\\1/'); "
				      "until ! ls $MNT >/dev/null 2>&1; do sleep 0.01; done";

	expect(0, "...", MOUNT("$MNT"));
	expect(0, "", kill_it);
	expect(0, "...taking away the dead mount", MOUNT("$MNT"));
	expect(0, "...README.txt", "ls $MNT");
	expect(0, "", kill_it);
	expect(0, "", "$GRAPHFS umount $MNT");
	expect(0, "", "! mountpoint -q $MNT");
}

static void test_refusals(void **state)
{
	expect(1, "...No such file or directory", "$GRAPHFS mount $DIR/nothing");
	expect(1, "...not a directory", "touch $DIR/file; $GRAPHFS mount $DIR/file");
	expect(1, "...run: graphfs login --account nobody", "$GRAPHFS mount --account nobody $MNT");
	expect(1, "...cannot be found: 404", "$GRAPHFS mount --drive drives/missing-x $MNT");
	expect(2, "...--drive bogus", "$GRAPHFS mount --drive bogus $MNT");
	expect(2, "...usage:", "$GRAPHFS mount");
	expect(2, "...usage:", "$GRAPHFS frob");
	expect(0, "...usage:", "$GRAPHFS --help");
}

/* Every way to write is refused as a file system that is read-only does. */
static void test_writing(void **state)
{
	static const char *const commands[] = {
		"touch x",
		"mkdir x",
		"rm README.txt",
		"mv README.txt x",
		"rmdir Documents",
		"ln -s a x",
		"ln README.txt x",
		"chmod 600 README.txt",
		"touch README.txt",
		"echo x >README.txt",
		"echo x >>README.txt",
		"cp README.txt x",
		"truncate -s 0 README.txt",
		"rm -r Documents/Letters",
		"sed -i s/a/b/ README.txt",
		"mkfifo x",
		"setfattr -n user.x -v y README.txt",
		"tar xf $DIR/some.tar",
		"rsync -a $DIR/file ./x",
	};

	expect(0, "...", MOUNT("$MNT"));
	expect(0, "", "echo x >$DIR/file && tar cf $DIR/some.tar -C $DIR file");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		char line[160];

		if (strncmp(commands[i], "rsync", 5) == 0 &&
		    harness_sh(&h, "command -v rsync >/dev/null") != 0)
			continue;
		snprintf(line, sizeof(line), "cd $MNT && { %s; } && echo it worked; true",
			 commands[i]);
		expect(0, "...Read-only file system", line);
	}
	expect(0, "", "$GRAPHFS umount $MNT");
}

static void test_sync(void **state)
{
	harness_config(&h, "[mount]\nwrite = on\nquiet = 0s\n");
	expect(1, "...not mounted by graphfs", "$GRAPHFS sync $MNT");
	expect(1, "...nothing is mounted", "$GRAPHFS sync");
	expect(0, "...", MOUNT("$MNT"));
	expect(0, "", "$GRAPHFS sync");
	expect(0, "",
	       "mkdir $MNT/d && for i in 1 2 3; do echo $i >$MNT/d/$i; done && "
	       "$GRAPHFS sync $MNT/d/1");
	assert_true(harness_trees_equal(&h, true));
	expect(0, "", "echo one more >$MNT/d/4 && $GRAPHFS umount --wait $MNT");
	harness_config(&h, "");
	expect(0, "...", MOUNT("$MNT"));
	expect(0, "one more\n", "cat $MNT/d/4");
	expect(0, "", "$GRAPHFS umount --wait $MNT");
}

/* What is refused keeps nobody waiting, and goes when it is not refused any more. */
static void test_refused(void **state)
{
	harness_config(&h, "[mount]\nwrite = on\nquiet = 0s\n");
	expect(0, "...", MOUNT("$MNT"));
	harness_fault(&h, "{\"class\":\"put\",\"phase\":\"before\",\"action\":{\"status\":403}}");
	harness_fault(&h, "{\"class\":\"mkdir\",\"phase\":\"before\",\"action\":{\"status\":403}}");
	harness_fault(&h,
		      "{\"class\":\"delete\",\"phase\":\"before\",\"action\":{\"status\":403}}");
	expect(1, "...1 to send, 3 refused",
	       "echo kept >$MNT/kept && mkdir -p $MNT/new && echo x >$MNT/new/below && "
	       "rm $MNT/README.txt && $GRAPHFS sync $MNT/kept");
	expect(0, "...unsent   4 changes to send, 3 refused: see user.graphfs.state\n",
	       "$GRAPHFS status $MNT");
	expect(0, "...refused: ", "getfattr --only-values -n user.graphfs.state $MNT/kept");
	expect(1, "...it stays mounted", "$GRAPHFS umount --wait $MNT");
	expect(0, "4 changes are not sent yet; they are kept for the next mount\n",
	       "$GRAPHFS umount $MNT");
	expect(0, "...", MOUNT("$MNT"));
	expect(1, "...1 to send, 3 refused", "$GRAPHFS sync");
	harness_no_faults(&h);
	expect(0, "", "$GRAPHFS sync $MNT");
	assert_true(harness_trees_equal(&h, true));
	expect(0, "", "$GRAPHFS umount $MNT");
	harness_config(&h, "");
}

/* Ctrl-C ends the waiting, nothing else. */
static void test_sync_is_interrupted(void **state)
{
	harness_config(&h, "[mount]\nwrite = on\nquiet = 0s\n");
	expect(0, "...", MOUNT("$MNT"));
	harness_fault(&h, "{\"class\":\"write\",\"phase\":\"before\",\"action\":{\"status\":503}}");
	expect(124, "", "echo late >$MNT/late; timeout -s INT 1 $GRAPHFS sync $MNT");
	expect(0, "late\n", "cat $MNT/late");
	harness_no_faults(&h);
	expect(0, "", "$GRAPHFS sync $MNT");
	assert_true(harness_trees_equal(&h, true));
	expect(0, "", "$GRAPHFS umount $MNT");
	harness_config(&h, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mount_and_umount),
		cmocka_unit_test(test_busy),
		cmocka_unit_test(test_copy_in_another_namespace),
		cmocka_unit_test(test_mount_after_umount),
		cmocka_unit_test(test_mounted_twice),
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_writing),
		cmocka_unit_test(test_sync),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_sync_is_interrupted),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

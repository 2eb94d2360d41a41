/*
 * Real programs at work on a writable mount. A second client that knows nothing has the same bytes
 * under the same names afterwards.
 */
#include "sent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct harness h;

struct program {
	const char *name, *needs, *script;
};

static const struct program programs[] = {
	{ "git", "git --version",
	  "export HOME=$DIR/home GIT_CONFIG_NOSYSTEM=1; git config --global user.name x; "
	  "git config --global user.email x@example.org; "
	  "git config --global init.defaultBranch main; "
	  "git init -q $DIR/origin; cd $DIR/origin; for i in $(seq 30); do echo $i >f$i; done; "
	  "ln f1 g; git add .; git commit -qm one; echo 2 >f1; git commit -qam two; "
	  "git clone -q $DIR/origin $MNT/p/clone; cd $MNT/p/clone; "
	  "[ -z \"$(git status --porcelain)\" ] && echo new >f2 && git commit -qam three && "
	  "git gc -q && git fsck && [ -z \"$(git status --porcelain)\" ]" },
	{ "make", "make --version && cc --version",
	  "mkdir $MNT/p/make; cd $MNT/p/make; "
	  "printf 'int f(void);int main(void){return f();}' >m.c; "
	  "printf 'int f(void){return 0;}' >f.c; "
	  "printf 'prog: m.o f.o\\n\\tcc -o $@ m.o f.o\\n' >Makefile; "
	  "make -s && ./prog && make -q && touch f.c && ! make -q && make -s && ./prog" },
	{ "tar", "tar --version",
	  "mkdir -p $DIR/t; cd $DIR/t; for i in $(seq 500); do mkdir -p d$((i % 20)); "
	  "head -c $((i * 37)) /dev/urandom >d$((i % 20))/f$i; done; tar cf $DIR/t.tar .; "
	  "mkdir $MNT/p/tar; tar xf $DIR/t.tar -C $MNT/p/tar && diff -r $DIR/t $MNT/p/tar && "
	  "tar df $DIR/t.tar -C $MNT/p/tar" },
	{ "rsync", "rsync --version",
	  "rsync -a $DIR/t/ $MNT/p/rsync/ && "
	  "[ -z \"$(rsync -ai $DIR/t/ $MNT/p/rsync/ | grep '^[<>c]')\" ]" },
	{ "sqlite", "sqlite3 --version",
	  "cd $MNT/p; sqlite3 db 'PRAGMA journal_mode=WAL; CREATE TABLE t(a); "
	  "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c WHERE x<5000) "
	  "INSERT INTO t SELECT hex(randomblob(50)) FROM c; DELETE FROM t WHERE rowid % 3 = 0;' "
	  ">/dev/null && [ \"$(sqlite3 db 'PRAGMA integrity_check')\" = ok ] && "
	  "[ \"$(sqlite3 db 'SELECT count(*) FROM t')\" = 3334 ]" },
	{ "vim", "vim --version",
	  "cd $MNT/p; printf 'one\\ntwo\\n' >vim.txt; "
	  "vim -es -u NONE -i NONE -c '%s/two/three/' -c 'wq' vim.txt </dev/null; "
	  "[ \"$(tail -1 vim.txt)\" = three ]" },
};

static int set_up(void **state)
{
	sent_start(&h, "0s");
	harness_mkdir(&h, "p");
	sent_heard(&h);
	return 0;
}

static int tear_down(void **state)
{
	harness_stop(&h);
	return 0;
}

static void test_programs(void **state)
{
	unsigned wrong_n = 0;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		const struct program *program = &programs[i];
		uint64_t start = harness_now_ms();
		int status;

		if (harness_sh(&h, "(%s) >/dev/null 2>&1", program->needs) != 0) {
			print_message("%s is not installed: not tested\n", program->name);
			continue;
		}
		status = harness_sh(&h, "%s", program->script);
		print_message("%s: %llu ms\n", program->name,
			      (unsigned long long)(harness_now_ms() - start));
		if (status != 0)
			print_error("%s ended with %d\n", program->name, status);
		wrong_n += status != 0;
	}
	assert_int_equal(wrong_n, 0);
}

/* The second of two runs sent nothing. */
static void test_rsync_twice(void **state)
{
	int64_t before;

	sent_wait(&h);
	before = harness_counter(&h, "upload_bytes");
	assert_int_equal(harness_sh(&h, "mkdir -p $DIR/t; rsync -a $DIR/t/ $MNT/p/rsync/"), 0);
	sent_wait(&h);
	assert_int_equal(harness_counter(&h, "upload_bytes"), before);
}

static void test_fresh_client(void **state)
{
	sent_wait(&h);
	sent_heard(&h);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	assert_int_equal(harness_sh(&h, "cp -a $MNT/p $DIR/ref"), 0);
	sent_mount_fresh(&h);
	harness_wait_equal(&h, HARNESS_WAIT_MS);
	assert_int_equal(harness_sh(&h, "diff -r $DIR/ref $MNT/p"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_programs),
		cmocka_unit_test(test_rsync_twice),
		cmocka_unit_test(test_fresh_client),
	};

	harness_require_fuse();
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

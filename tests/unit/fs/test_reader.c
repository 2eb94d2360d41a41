/* Who is who by a /proc of the test's own, with the built-in rules and with others. */
#include "reader.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PID = 4711 };

static char proc[] = "/tmp/graphfs-reader.XXXXXX";

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%d/%s", proc, PID, name);
	if (!text) {
		(void)unlink(path);
		return;
	}
	/* Not another file: whoever has it open reads the new text, as in /proc. */
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* NULL: it is not there, or may not be seen. */
static void put_process(const char *comm, const char *exe, const char *cgroup)
{
	char path[128];

	put("comm", comm);
	put("cgroup", cgroup);
	snprintf(path, sizeof(path), "%s/%d/exe", proc, PID);
	(void)unlink(path);
	if (exe)
		assert_int_equal(symlink(exe, path), 0);
}

static int set_up(void **state)
{
	char path[128];

	assert_non_null(mkdtemp(proc));
	snprintf(path, sizeof(path), "%s/%d", proc, PID);
	return mkdir(path, 0700);
}

static int tear_down(void **state)
{
	char path[128];

	put_process(NULL, NULL, NULL);
	snprintf(path, sizeof(path), "%s/%d", proc, PID);
	return rmdir(path) + rmdir(proc);
}

/* Of a reader that saw nothing before. */
static enum reader_class ask(const struct reader_rules *rules, pid_t pid)
{
	struct reader *reader;
	enum reader_class class;

	assert_int_equal(reader_new(proc, rules, &reader), 0);
	class = reader_of(reader, pid);
	reader_free(reader);
	return class;
}

#define SESSION "0::/user.slice/user-1000.slice/user@1000.service/"

static const struct process_case {
	const char *comm, *exe, *cgroup;
	enum reader_class want;
} processes[] = {
	{ "cat\n", "/usr/bin/cat", SESSION "app.slice/vte-spawn-1.scope\n", READER_PERSON },
	{ "nautilus\n", "/usr/bin/nautilus", NULL, READER_PERSON },
	{ "rsync\n", "/usr/bin/rsync", NULL, READER_PERSON },
	{ "tumblerd\n", NULL, NULL, READER_THUMBNAILER },
	{ "evince-thumbnai\n", NULL, NULL, READER_THUMBNAILER },
	{ "pool-3\n", "/usr/bin/totem-video-thumbnailer", NULL, READER_THUMBNAILER },
	{ "pool-spawner\n", "/usr/libexec/tracker-extract-3 (deleted)", NULL, READER_INDEXER },
	{ "localsearch-3\n", NULL, NULL, READER_INDEXER },
	{ "baloo_file_extr\n", NULL, NULL, READER_INDEXER },
	{ "worker\n", NULL, SESSION "background.slice/tracker-miner-fs-3.service\n",
	  READER_INDEXER },
	{ "clamd\n", NULL, NULL, READER_SCANNER },
	{ "scan\n", NULL, "9:name=systemd:/system.slice/clamav-daemon.service\n0::/\n",
	  READER_SCANNER },
	{ "restic\n", "/usr/bin/restic", NULL, READER_BACKUP },
	{ "python3\n", "/usr/bin/python3.11",
	  SESSION "app.slice/app-gnome-org.gnome.DejaDup-7.scope\n", READER_BACKUP },
	/* Names of the middle are no names, nor are slices and what contains one. */
	{ "restic-browser\n", NULL, NULL, READER_PERSON },
	{ "x\n", "/opt/restic/bin/x", "0::/restic/restic.slice/x\n", READER_PERSON },
	/* Nothing, nonsense. */
	{ "\n", "", "\n", READER_PERSON },
	{ "", NULL, "::::////.service/.scope", READER_PERSON },
	{ NULL, "/usr/bin/clamd", NULL, READER_PERSON },
};

static void test_who_is_who(void **state)
{
	for (size_t i = 0; i < array_n(processes); i++) {
		const struct process_case *c = &processes[i];
		enum reader_class got;

		put_process(c->comm, c->exe && c->exe[0] ? c->exe : NULL, c->cgroup);
		got = ask(&reader_rules_default, PID);
		if (got != c->want)
			fail_msg("%zu: %s is a %s", i, c->comm ? c->comm : "", reader_name(got));
	}
}

static void test_who_cannot_be_seen_is_a_person(void **state)
{
	struct reader *reader;

	put_process("clamd\n", NULL, NULL);
	assert_int_equal(ask(&reader_rules_default, PID), READER_SCANNER);
	assert_int_equal(ask(&reader_rules_default, 0), READER_PERSON);
	assert_int_equal(ask(&reader_rules_default, -1), READER_PERSON);
	assert_int_equal(ask(&reader_rules_default, PID + 1), READER_PERSON);
	assert_int_equal(reader_new("/nowhere", &reader_rules_default, &reader), 0);
	assert_int_equal(reader_of(reader, PID), READER_PERSON);
	reader_free(reader);
}

/* What it executes now counts, not what it was; what costs more than the name is not asked twice.
 */
static void test_a_process_is_looked_at_once(void **state)
{
	struct reader *reader;

	assert_int_equal(reader_new(proc, &reader_rules_default, &reader), 0);
	put_process("bash\n", "/bin/bash", NULL);
	assert_int_equal(reader_of(reader, PID), READER_PERSON);
	put_process("tumblerd\n", "/usr/lib/tumblerd", NULL);
	assert_int_equal(reader_of(reader, PID), READER_THUMBNAILER);
	put_process("worker\n", "/usr/bin/clamd", NULL);
	assert_int_equal(reader_of(reader, PID), READER_SCANNER);
	put_process("worker\n", NULL, NULL);
	assert_int_equal(reader_of(reader, PID), READER_SCANNER);
	reader_free(reader);
}

/* In the kernel's /proc: its name may change, and its number belongs to nobody once it has ended.
 */
static void test_a_real_process(void **state)
{
	int names[2], renamed[2];
	struct reader *reader;
	char c;
	pid_t pid;

	assert_int_equal(pipe(names) | pipe(renamed), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		close(names[1]);
		while (read(names[0], &c, 1) == 1) {
			prctl(PR_SET_NAME, c == 's' ? "clamd" : "cat");
			if (write(renamed[1], &c, 1) != 1)
				_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(reader_new("/proc", &reader_rules_default, &reader), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(write(names[1], i % 2 ? "s" : "p", 1), 1);
		assert_int_equal(read(renamed[0], &c, 1), 1);
		assert_int_equal(reader_of(reader, pid), i % 2 ? READER_SCANNER : READER_PERSON);
	}
	close(names[1]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(reader_of(reader, pid), READER_PERSON);
	reader_free(reader);
	close(names[0]);
	close(renamed[0]);
	close(renamed[1]);
}

static const struct setting_case {
	const char *key, *value;
	int want;
} settings[] = {
	{ "thumbnailer", "cached", 0 },
	{ "backup", "allow", 0 },
	{ "person_names", "restic  borg*", 0 },
	{ "indexer_names", " my-indexer-of-photos nepomuk* ", 0 },
	{ "person", "cached", -ENOENT },
	{ "thumbnailers", "head", -ENOENT },
	{ "scanner_name", "x", -ENOENT },
	{ "", "x", -ENOENT },
	{ "scanner", "Head", -EINVAL },
	{ "scanner", "", -EINVAL },
	{ "scanner_names",
	  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
	  -EINVAL },
};

static void test_rules(void **state)
{
	struct reader_rules rules = reader_rules_default;

	for (size_t i = 0; i < array_n(settings); i++) {
		const struct setting_case *c = &settings[i];

		if (reader_rules_set(&rules, c->key, c->value) != c->want)
			fail_msg("%s = %s", c->key, c->value);
	}
	assert_int_equal(rules.policy[READER_THUMBNAILER], READER_CACHED);
	assert_int_equal(rules.policy[READER_BACKUP], READER_ALLOW);
	assert_int_equal(rules.policy[READER_INDEXER], READER_HEAD);
	assert_int_equal(rules.policy[READER_SCANNER], READER_CACHED);
	/* Before the built-in names, and beside them. */
	put_process("restic\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_PERSON);
	put_process("borgmatic\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_PERSON);
	put_process("duplicity\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_BACKUP);
	put_process("nepomukindexer\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_INDEXER);
	/* The kernel cuts a name; a name that is as long is another one. */
	put_process("my-indexer-of-p\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_INDEXER);
	put_process("my-indexer-of\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_PERSON);
	assert_int_equal(reader_rules_set(&rules, "person_names", ""), 0);
	put_process("restic\n", NULL, NULL);
	assert_int_equal(ask(&rules, PID), READER_BACKUP);
	reader_rules_fini(&rules);
}

static void test_counts(void **state)
{
	struct reader_stats stats[READER_CLASSES];
	struct reader *reader;

	assert_int_equal(reader_new(proc, &reader_rules_default, &reader), 0);
	reader_note_open(reader, READER_INDEXER);
	reader_note_open(reader, READER_INDEXER);
	reader_note_read(reader, READER_INDEXER, 10);
	reader_note_read(reader, READER_PERSON, 1);
	reader_note_refused(reader, READER_INDEXER, UINT64_C(5) << 30);
	reader_get_stats(reader, stats);
	assert_int_equal(stats[READER_INDEXER].opens_n, 2);
	assert_int_equal(stats[READER_INDEXER].read_bytes, 10);
	assert_int_equal(stats[READER_INDEXER].refused_n, 1);
	assert_int_equal(stats[READER_INDEXER].refused_bytes, UINT64_C(5) << 30);
	assert_int_equal(stats[READER_PERSON].read_bytes, 1);
	assert_int_equal(stats[READER_BACKUP].opens_n, 0);
	reader_free(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_is_who),
		cmocka_unit_test(test_who_cannot_be_seen_is_a_person),
		cmocka_unit_test(test_a_process_is_looked_at_once),
		cmocka_unit_test(test_a_real_process),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_counts),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}

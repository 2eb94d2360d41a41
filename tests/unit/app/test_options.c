#include "options.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { WORDS_MAX = 16 };

/* Runs a command line of words; out and err are what was printed. */
struct line {
	char words[500];
	char *argv[WORDS_MAX + 1];
	int argc, result;
	char *out, *err;
	enum options_command command;
	struct commands_options o;
};

static void parse(struct line *l, const char *words)
{
	size_t len;
	FILE *out = open_memstream(&l->out, &len);
	size_t err_len;
	FILE *err = open_memstream(&l->err, &err_len);

	l->argc = 0;
	snprintf(l->words, sizeof(l->words), "graphfs %s", words);
	for (char *save, *w = strtok_r(l->words, " ", &save); w; w = strtok_r(NULL, " ", &save))
		l->argv[l->argc++] = strcmp(w, "''") == 0 ? (char *)"" : w;
	l->argv[l->argc] = NULL;
	l->o = (struct commands_options){ .operand = "untouched" };
	l->result = options_parse(l->argc, l->argv, out, err, &l->command, &l->o);
	(void)fclose(out);
	(void)fclose(err);
}

static void done(struct line *l)
{
	free(l->out);
	free(l->err);
}

static const struct {
	const char *words, *says;
} mistakes[] = {
	{ "", "usage: graphfs login" },
	{ "remount /mnt", "no command \"remount\"" },
	{ "--json", "no command \"--json\"" },
	{ "mount", "no folder" },
	{ "mount a b", "one argument too many: b" },
	{ "umount", "no folder" },
	{ "watch /mnt", "one argument too many: /mnt" },
	{ "status a b", "one argument too many: b" },
	{ "sync a b", "one argument too many: b" },
	{ "login x", "one argument too many: x" },
	{ "mount --nope a", "--nope is not an option" },
	{ "mount -q a", "-q is not an option" },
	{ "mount a --account", "--account needs an argument" },
	{ "mount a -o", "-o needs an argument" },
	{ "mount --json a", "\"mount\" has no option json" },
	{ "umount --drive me a", "\"umount\" has no option drive" },
	{ "status --account x", "\"status\" has no option account" },
	{ "watch -f", "\"watch\" has no option foreground" },
	{ "watch -o x", "\"watch\" has no option o" },
	{ "status --wait a", "\"status\" has no option wait" },
	{ "sync --json", "\"sync\" has no option json" },
	{ "login --drive me", "\"login\" has no option drive" },
	{ "mount --account ../x a", "\"../x\" cannot be an account's name" },
	{ "mount --account '' a", "\"\" cannot be an account's name" },
	{ "mount --account .x a", "cannot be an account's name" },
	{ "mount --drive '' a", "not a form of drive" },
	{ "mount --drive you a", "--drive you: not a form of drive" },
	{ "mount --drive drives a", "not a form of drive" },
	{ "mount --drive drives/ a", "not a form of drive" },
	{ "mount --drive drives/a/b a", "not a form of drive" },
	{ "mount --drive drives/a?b a", "not a form of drive" },
	{ "mount --drive drives/.. a", "not a form of drive" },
	{ "mount --drive sites/a/lists a", "not a form of drive" },
	{ "mount --drive sites/a/lists/ a", "not a form of drive" },
	{ "mount --drive groups/a/lists/b a", "not a form of drive" },
	{ "mount --drive me/drive a", "not a form of drive" },
	{ "login --graph-url http://graph.example/v1.0", "must be https" },
	{ "login --graph-url http://127.0.0.1.example/v1.0", "must be https" },
	{ "login --graph-url ftp://127.0.0.1/", "must be https" },
	{ "login --graph-url graph.example", "must be https" },
	{ "login --login-url http://192.168.1.1", "must be https" },
	{ "login --login-url https://user@login.example", "must be https" },
	{ "login --login-url https://login.example/?a=b", "must be https" },
};

static void test_mistakes_are_told(void **state)
{
	for (size_t i = 0; i < array_n(mistakes); i++) {
		struct line l;

		parse(&l, mistakes[i].words);
		if (l.result != -EINVAL || !strstr(l.err, mistakes[i].says))
			fail_msg("graphfs %s: %d %s", mistakes[i].words, l.result, l.err);
		assert_string_equal(l.out, "");
		assert_string_equal(l.o.operand, "untouched"); /* no output on failure */
		done(&l);
	}
}

static const struct {
	const char *words;
	enum options_command command;
	const char *operand, *account, *drive, *fuse;
	int foreground, json, wait;
} good[] = {
	{ "mount a", OPTIONS_MOUNT, "a", "default", "me" },
	{ "mount -f a", OPTIONS_MOUNT, "a", "default", "me", NULL, 1 },
	{ "mount a -f -o x,y", OPTIONS_MOUNT, "a", "default", "me", "x,y", 1 },
	{ "mount --foreground -- -a", OPTIONS_MOUNT, "-a", "default", "me", NULL, 1 },
	{ "mount --account work --account home a", OPTIONS_MOUNT, "a", "home", "me" },
	{ "mount --drive=drives/b!x a", OPTIONS_MOUNT, "a", "default", "drives/b!x" },
	{ "mount --drive groups/1-2 a", OPTIONS_MOUNT, "a", "default", "groups/1-2" },
	{ "mount --drive users/me@x.example a", OPTIONS_MOUNT, "a", "default",
	  "users/me@x.example" },
	{ "mount --drive sites/h.example,1,2 a", OPTIONS_MOUNT, "a", "default",
	  "sites/h.example,1,2" },
	{ "watch --json --drive sites/s/lists/l", OPTIONS_WATCH, NULL, "default", "sites/s/lists/l",
	  NULL, 0, 1 },
	{ "umount a", OPTIONS_UMOUNT, "a", "default", "me" },
	{ "umount --wait a", OPTIONS_UMOUNT, "a", "default", "me", NULL, 0, 0, 1 },
	{ "sync", OPTIONS_SYNC, NULL, "default", "me" },
	{ "sync a/b", OPTIONS_SYNC, "a/b", "default", "me" },
	{ "status", OPTIONS_STATUS, NULL, "default", "me" },
	{ "status --json a", OPTIONS_STATUS, "a", "default", "me", NULL, 0, 1 },
	{ "login --graph-url http://127.0.0.1:80/v1.0 --login-url http://localhost:81",
	  OPTIONS_LOGIN, NULL, "default", "me" },
	{ "login --graph-url http://[::1]:80/v1.0", OPTIONS_LOGIN, NULL, "default", "me" },
};

static void expect(const char *words, const char *got, const char *want)
{
	if (!got != !want || (got && strcmp(got, want) != 0))
		fail_msg("graphfs %s: %s instead of %s", words, got ? got : "nothing",
			 want ? want : "nothing");
}

static void test_what_is_right_is_taken(void **state)
{
	for (size_t i = 0; i < array_n(good); i++) {
		struct line l;

		parse(&l, good[i].words);
		if (l.result != 0 || l.err[0])
			fail_msg("graphfs %s: %d %s", good[i].words, l.result, l.err);
		assert_int_equal(l.command, good[i].command);
		expect(good[i].words, l.o.operand, good[i].operand);
		expect(good[i].words, l.o.account, good[i].account);
		expect(good[i].words, l.o.drive, good[i].drive);
		expect(good[i].words, l.o.fuse_options, good[i].fuse);
		assert_int_equal(l.o.foreground, good[i].foreground);
		assert_int_equal(l.o.json, good[i].json);
		assert_int_equal(l.o.wait, good[i].wait);
		done(&l);
	}
}

static void test_texts_go_where_they_belong(void **state)
{
	struct line l;

	parse(&l, "login --client-id c --tenant t --ca-file f --graph-url https://g.example/v1.0 "
		  "--login-url https://l.example");
	assert_int_equal(l.result, 0);
	assert_string_equal(l.o.client_id, "c");
	assert_string_equal(l.o.tenant, "t");
	assert_string_equal(l.o.ca_file, "f");
	assert_string_equal(l.o.graph_url, "https://g.example/v1.0");
	assert_string_equal(l.o.login_url, "https://l.example");
	done(&l);
	parse(&l, "mount --cache-dir c --state-dir s m");
	assert_string_equal(l.o.cache_dir, "c");
	assert_string_equal(l.o.state_dir, "s");
	done(&l);
}

static void test_help_and_version(void **state)
{
	static const struct {
		const char *words, *says;
	} cases[] = {
		{ "--help", "graphfs status [--json]" },
		{ "-h", "usage: graphfs login" },
		{ "help", "usage: graphfs login" },
		{ "--version", "graphfs " },
		{ "-V", "graphfs " },
		{ "mount --version", "graphfs " },
		{ "mount --help", "usage: graphfs mount" },
		{ "mount --help", "sites/SID/lists/LID" },
		{ "login -h", "--client-id ID" },
		{ "umount --help", "usage: graphfs umount [--wait] MOUNTPOINT" },
		{ "watch --help", "--json" },
		{ "sync --help", "usage: graphfs sync [PATH]" },
		{ "status --nonsense --help", NULL },
		{ "status --json --help", "usage: graphfs status" },
	};

	for (size_t i = 0; i < array_n(cases); i++) {
		struct line l;

		parse(&l, cases[i].words);
		assert_int_equal(l.result, cases[i].says ? OPTIONS_SHOWN : -EINVAL);
		if (cases[i].says && (!strstr(l.out, cases[i].says) || l.err[0]))
			fail_msg("graphfs %s: %s%s", cases[i].words, l.out, l.err);
		done(&l);
	}
}

static void test_ro_is_left_out(void **state)
{
	static const char *const cases[][2] = {
		{ "ro", "" },
		{ "", "" },
		{ ",", "" },
		{ "rw", "rw" },
		{ "ro,ro,", "" },
		{ "ro,allow_other", "allow_other" },
		{ "allow_other,ro", "allow_other" },
		{ "a,,ro,b=ro,rox", "a,b=ro,rox" },
	};

	for (size_t i = 0; i < array_n(cases); i++) {
		auto_free char *got = options_without_ro(cases[i][0]);

		assert_string_equal(got, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes_are_told),
		cmocka_unit_test(test_what_is_right_is_taken),
		cmocka_unit_test(test_texts_go_where_they_belong),
		cmocka_unit_test(test_help_and_version),
		cmocka_unit_test(test_ro_is_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

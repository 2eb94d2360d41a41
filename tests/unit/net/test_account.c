#include "account.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

struct place {
	char path[64];
	int fd;
};

static int make_place(void **state)
{
	static struct place place;

	strcpy(place.path, "/tmp/test_account.XXXXXX");
	assert_non_null(mkdtemp(place.path));
	place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(place.fd >= 0);
	*state = &place;
	return 0;
}

static int remove_place(void **state)
{
	static const char *const files[] = { "default.json", "default.json.new", "real",
					     "other.json" };
	struct place *place = *state;

	for (size_t i = 0; i < array_n(files); i++)
		(void)unlinkat(place->fd, files[i], 0);
	close(place->fd);
	return rmdir(place->path);
}

static const struct account sample = {
	.client_id = "client",
	.tenant = "common",
	.login_url = "https://login.microsoftonline.com",
	.graph_url = "https://graph.microsoft.com/v1.0",
	.scope = "Files.Read.All offline_access",
	.access_token = "access \"quoted\"",
	.refresh_token = "refresh",
	.expires_s = 1711965600,
};

static void put_file(const struct place *place, const char *text, mode_t mode)
{
	auto_close int fd = -1;

	(void)unlinkat(place->fd, "default.json", 0);
	fd = openat(place->fd, "default.json", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
}

static void test_what_is_saved_is_loaded(void **state)
{
	const struct place *place = *state;
	struct account got = { 0 };
	struct stat st;
	mode_t before = umask(0);

	assert_int_equal(account_save(place->fd, "default", &sample), 0);
	assert_int_equal(account_save(place->fd, "default", &sample), 0);
	(void)umask(before);
	assert_int_equal(fstatat(place->fd, "default.json", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(fstatat(place->fd, "default.json.new", &st, 0), -1);
	assert_int_equal(account_load(place->fd, "default", &got), 0);
	assert_string_equal(got.client_id, sample.client_id);
	assert_string_equal(got.tenant, sample.tenant);
	assert_string_equal(got.login_url, sample.login_url);
	assert_string_equal(got.graph_url, sample.graph_url);
	assert_string_equal(got.scope, sample.scope);
	assert_string_equal(got.access_token, sample.access_token);
	assert_string_equal(got.refresh_token, sample.refresh_token);
	assert_null(got.ca_file);
	assert_int_equal(got.expires_s, sample.expires_s);
	account_fini(&got);
	account_fini(&got);
}

/* A crash may leave the temporary file behind, whoever's it looks like. */
static void test_leftovers_are_replaced(void **state)
{
	const struct place *place = *state;
	struct account got = { 0 };

	assert_int_equal(symlinkat("real", place->fd, "default.json.new"), 0);
	assert_int_equal(account_save(place->fd, "default", &sample), 0);
	assert_int_equal(faccessat(place->fd, "real", F_OK, 0), -1);
	assert_int_equal(account_load(place->fd, "default", &got), 0);
	account_fini(&got);
}

static void test_files_that_are_refused(void **state)
{
	static const mode_t modes[] = { 0640, 0604, 0660, 0644, 0601, 0620 };
	const struct place *place = *state;
	struct account got = { 0 };

	assert_int_equal(account_load(place->fd, "default", &got), -ENOENT);
	for (size_t i = 0; i < array_n(modes); i++) {
		put_file(place, "{}", modes[i]);
		assert_int_equal(account_load(place->fd, "default", &got), -EPERM);
	}
	assert_int_equal(renameat(place->fd, "default.json", place->fd, "real"), 0);
	assert_int_equal(fchmodat(place->fd, "real", 0600, 0), 0);
	assert_int_equal(symlinkat("real", place->fd, "default.json"), 0);
	assert_int_equal(account_load(place->fd, "default", &got), -EPERM);
	assert_int_equal(unlinkat(place->fd, "default.json", 0), 0);
	/* Nobody ever writes into it: opening must not wait for that. */
	assert_int_equal(mkfifoat(place->fd, "default.json", 0600), 0);
	assert_int_equal(account_load(place->fd, "default", &got), -EPERM);
}

static void test_damage(void **state)
{
	static const char *const texts[] = {
		"",
		"{}",
		"[]",
		"null",
		"{\"client_id\":\"c\"",
		"{\"client_id\":\"c\",\"tenant\":\"t\",\"login_url\":\"l\",\"graph_url\":\"g\"}",
		"{\"client_id\":7,\"tenant\":\"t\",\"login_url\":\"l\",\"graph_url\":\"g\","
		"\"scope\":\"s\"}",
		"{\"client_id\":\"c\",\"tenant\":\"t\",\"login_url\":\"l\",\"graph_url\":\"g\","
		"\"scope\":\"s\",\"expires\":\"soon\"}",
		"{\"client_id\":\"c\",\"tenant\":\"t\",\"login_url\":\"l\",\"graph_url\":\"g\","
		"\"scope\":\"s\",\"refresh_token\":[]}",
		"{\"client_id\":\"c\",\"tenant\":\"t\",\"login_url\":\"l\",\"graph_url\":\"g\","
		"\"scope\":\"s\",\"access_token\":\"a\\u0000b\"}",
	};
	const struct place *place = *state;

	for (size_t i = 0; i < array_n(texts); i++) {
		struct account got = { .expires_s = 77 };

		put_file(place, texts[i], 0600);
		if (account_load(place->fd, "default", &got) != -EBADMSG || got.expires_s != 77)
			fail_msg("%s was taken for an account", texts[i]);
	}
}

static void test_names(void **state)
{
	static const char *const bad[] = { "",     ".",   "..",  ".hidden", "a/b",
					   "../x", "a b", "a\n", "\xc3\xa4" };
	static const char *const good[] = { "default", "me@example.com", "work-2_b", "a.b" };
	const struct place *place = *state;
	struct account got = { 0 };
	char longest[300];

	memset(longest, 'x', sizeof(longest));
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(account_check_name(longest), -EINVAL);
	for (size_t i = 0; i < array_n(bad); i++) {
		assert_int_equal(account_check_name(bad[i]), -EINVAL);
		assert_int_equal(account_load(place->fd, bad[i], &got), -EINVAL);
		assert_int_equal(account_save(place->fd, bad[i], &sample), -EINVAL);
	}
	for (size_t i = 0; i < array_n(good); i++)
		assert_int_equal(account_check_name(good[i]), 0);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		IN_PLACE(test_what_is_saved_is_loaded),
		IN_PLACE(test_leftovers_are_replaced),
		IN_PLACE(test_files_that_are_refused),
		IN_PLACE(test_damage),
		IN_PLACE(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#define LOG_MODULE "account"
#include "account.h"

#include "buf.h"
#include "jget.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_MAX = 256 * 1024, TOKEN_MAX = 64 * 1024, TEXT_MAX = 4096, NAME_BYTES = 200 };

static void wipe(char **secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

void account_fini(struct account *account)
{
	free(account->client_id);
	free(account->tenant);
	free(account->login_url);
	free(account->graph_url);
	free(account->ca_file);
	free(account->scope);
	wipe(&account->access_token);
	wipe(&account->refresh_token);
	*account = (struct account){ 0 };
}

int account_check_name(const char *name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.@";

	if (!name[0] || name[0] == '.' || strlen(name) > NAME_BYTES ||
	    name[strspn(name, allowed)] != '\0')
		return -EINVAL;
	return 0;
}

static void put_object(struct json_object **obj)
{
	json_object_put(*obj);
}

static int check_file(int fd, const char *name)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0)
		return 0;
	log_error("account %s: its file must be a plain file of yours with mode 0600", name);
	return -EPERM;
}

static int read_all(int fd, struct buf *b)
{
	char chunk[4096];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(fd, chunk, sizeof(chunk))) != 0) {
		if (n < 0)
			return -errno;
		r = buf_append(b, chunk, (size_t)n);
	}
	explicit_bzero(chunk, sizeof(chunk));
	return r;
}

static int take(struct json_object *obj, const char *key, size_t max, char **ret)
{
	const char *s;
	int r = jget_str(obj, key, max, &s);

	if (r != 0)
		return r == JGET_ABSENT ? 0 : r;
	*ret = strdup(s);
	return *ret ? 0 : -ENOMEM;
}

static int fill(struct json_object *obj, struct account *a)
{
	int r;

	if ((r = take(obj, "client_id", TEXT_MAX, &a->client_id)) < 0 ||
	    (r = take(obj, "tenant", TEXT_MAX, &a->tenant)) < 0 ||
	    (r = take(obj, "login_url", TEXT_MAX, &a->login_url)) < 0 ||
	    (r = take(obj, "graph_url", TEXT_MAX, &a->graph_url)) < 0 ||
	    (r = take(obj, "ca_file", TEXT_MAX, &a->ca_file)) < 0 ||
	    (r = take(obj, "scope", TEXT_MAX, &a->scope)) < 0 ||
	    (r = take(obj, "access_token", TOKEN_MAX, &a->access_token)) < 0 ||
	    (r = take(obj, "refresh_token", TOKEN_MAX, &a->refresh_token)) < 0 ||
	    (r = jget_i64(obj, "expires", &a->expires_s)) < 0)
		return r;
	return a->client_id && a->tenant && a->login_url && a->graph_url && a->scope ? 0 : -EBADMSG;
}

int account_load(int dir_fd, const char *name, struct account *ret)
{
	auto_close int fd = -1;
	auto_call(put_object) struct json_object *obj = NULL;
	auto_call(buf_fini) struct buf text = { .max_bytes = FILE_MAX };
	struct account account = { 0 };
	char file[NAME_BYTES + 8];
	int r = account_check_name(name);

	if (r < 0)
		return r;
	snprintf(file, sizeof(file), "%s.json", name);
	fd = openat(dir_fd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd < 0) {
		r = errno == ELOOP ? -EPERM : -errno;
		if (r != -ENOENT)
			log_error("account %s cannot be read: %s", name, strerror(-r));
		return r;
	}
	r = check_file(fd, name);
	if (r == 0)
		r = read_all(fd, &text);
	if (r == 0)
		r = jget_parse(text.data ? text.data : "", text.len, &obj);
	if (r == 0)
		r = fill(obj, &account);
	if (text.data)
		explicit_bzero(text.data, text.len);
	if (r < 0) {
		if (r == -EBADMSG || r == -EFBIG)
			log_error("account %s: its file is damaged; sign in again", name);
		account_fini(&account);
		return r;
	}
	*ret = account;
	return 0;
}

static void put(struct json_object *obj, const char *key, const char *value)
{
	if (value)
		json_object_object_add(obj, key, json_object_new_string(value));
}

static struct json_object *to_json(const struct account *a)
{
	struct json_object *obj = json_object_new_object();

	put(obj, "client_id", a->client_id);
	put(obj, "tenant", a->tenant);
	put(obj, "login_url", a->login_url);
	put(obj, "graph_url", a->graph_url);
	put(obj, "ca_file", a->ca_file);
	put(obj, "scope", a->scope);
	put(obj, "access_token", a->access_token);
	put(obj, "refresh_token", a->refresh_token);
	json_object_object_add(obj, "expires", json_object_new_int64(a->expires_s));
	return obj;
}

static int write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int account_save(int dir_fd, const char *name, const struct account *account)
{
	auto_call(put_object) struct json_object *obj = to_json(account);
	auto_close int fd = -1;
	char file[NAME_BYTES + 8], temporary[NAME_BYTES + 16];
	const char *text;
	int r = account_check_name(name);

	if (r < 0)
		return r;
	snprintf(file, sizeof(file), "%s.json", name);
	snprintf(temporary, sizeof(temporary), "%s.json.new", name);
	text = json_object_to_json_string_ext(obj, JSON_C_TO_STRING_PRETTY);
	(void)unlinkat(dir_fd, temporary, 0); /* what a crash left */
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_all(fd, text, strlen(text));
	if (r == 0 && renameat(dir_fd, temporary, dir_fd, file) < 0)
		r = -errno;
	if (r == 0 && fsync(dir_fd) < 0)
		r = -errno;
	return r;
}

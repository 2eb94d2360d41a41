#define LOG_MODULE "paths"
#include "paths.h"

#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
	const char *variable, *below_home;
} places[] = {
	[PATHS_CONFIG] = { "XDG_CONFIG_HOME", ".config" },
	[PATHS_STATE] = { "XDG_STATE_HOME", ".local/state" },
	[PATHS_CACHE] = { "XDG_CACHE_HOME", ".cache" },
	/* Without a session's runtime directory the state directory serves. */
	[PATHS_RUNTIME] = { "XDG_RUNTIME_DIR", ".local/state" },
};

static int home(char **ret)
{
	const char *path = getenv("HOME");
	const struct passwd *user;

	if (!path || path[0] != '/') {
		user = getpwuid(geteuid());
		path = user ? user->pw_dir : NULL;
	}
	if (!path) {
		log_error("HOME is not set");
		return -ENOENT;
	}
	*ret = strdup(path);
	return *ret ? 0 : -ENOMEM;
}

static int base_of(enum paths_kind kind, char **ret)
{
	const char *path = getenv(places[kind].variable);
	auto_free char *home_path = NULL;
	int r;

	if (path && path[0] == '/') {
		*ret = strdup(path);
		return *ret ? 0 : -ENOMEM;
	}
	r = home(&home_path);
	if (r < 0)
		return r;
	return asprintf(ret, "%s/%s", home_path, places[kind].below_home) < 0 ? -ENOMEM : 0;
}

static int make_all(const char *path)
{
	auto_free char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	for (char *slash = copy + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_ours(int at, const char *name, int *ret)
{
	auto_close int fd = -1;
	struct stat st;

	if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() || (st.st_mode & 022)) {
		log_error("%s must be yours, and writable by nobody else", name);
		return -EPERM;
	}
	*ret = take_fd(&fd);
	return 0;
}

int paths_open(enum paths_kind kind, const char *root, const char *sub, int *ret_fd)
{
	auto_free char *base = root ? strdup(root) : NULL;
	auto_close int base_fd = -1;
	auto_close int fd = -1;
	int r = root ? (base ? 0 : -ENOMEM) : base_of(kind, &base);

	if (r == 0)
		r = make_all(base);
	if (r == 0) {
		base_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = base_fd < 0 ? -errno : 0;
	}
	if (r == 0)
		r = open_ours(base_fd, "graphfs", &fd);
	if (r == 0 && sub) {
		int below = -1;

		r = open_ours(fd, sub, &below);
		if (r == 0) {
			close(fd);
			fd = below;
		}
	}
	if (r < 0) {
		log_error("%s/graphfs cannot be used: %s", base ? base : "?", strerror(-r));
		return r;
	}
	*ret_fd = take_fd(&fd);
	return 0;
}

char *paths_of_fd(int fd)
{
	char link[40], path[PATH_MAX];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	return n < 0 ? NULL : strndup(path, (size_t)n);
}

int paths_absolute(const char *path, char **ret)
{
	auto_free char *copy = NULL, *parent = NULL;
	char *real = realpath(path, NULL), *slash;

	if (real) {
		*ret = real;
		return 0;
	}
	if (errno != ENOTCONN && errno != ENOENT)
		return -errno;
	/* A dead mount cannot be looked into; its parent can. */
	copy = path[0] == '/' ? strdup(path) : NULL;
	if (path[0] != '/' && asprintf(&copy, "./%s", path) < 0)
		copy = NULL;
	if (!copy)
		return -ENOMEM;
	for (size_t len = strlen(copy); len > 1 && copy[len - 1] == '/'; len--)
		copy[len - 1] = '\0';
	slash = strrchr(copy, '/');
	*slash = '\0';
	parent = realpath(copy[0] ? copy : "/", NULL);
	if (!parent)
		return -errno;
	return asprintf(ret, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash + 1) < 0
		       ? -ENOMEM
		       : 0;
}

void paths_hash(const char *text, char ret[17])
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * 0x100000001b3u;
	snprintf(ret, 17, "%016llx", (unsigned long long)h);
}

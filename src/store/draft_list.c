/* What is in the directory: tidying up at the beginning, and finding all drafts. */
#define LOG_MODULE "draft"
#include "draft_file.h"

#include "draft_disk.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

enum { LIST_BATCH = 256 };

/* --- at the beginning --- */

static void count_new(struct draft_dir *dir, uint64_t cid)
{
	char name[DRAFT_NAME_BYTES];
	struct stat st;

	dir->stats.drafts_n++;
	draft_disk_name(cid, "", name);
	if (fstatat(dir->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		dir->stats.bytes += (uint64_t)st.st_size;
}

static bool has_file(int dir_fd, uint64_t cid, const char *suffix)
{
	char name[DRAFT_NAME_BYTES];

	draft_disk_name(cid, suffix, name);
	return faccessat(dir_fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Ends what a killed process began. */
static int tidy_one(struct draft_dir *dir, uint64_t cid, const char *suffix)
{
	char name[DRAFT_NAME_BYTES];
	int r;

	if (strcmp(suffix, ".log") == 0) {
		count_new(dir, cid);
		return 0;
	}
	if (strcmp(suffix, ".gone") == 0)
		return draft_disk_end_removal(dir->dir_fd, cid);
	if (strcmp(suffix, ".new") == 0) {
		draft_disk_name(cid, suffix, name);
		return unlinkat(dir->dir_fd, name, 0) < 0 && errno != ENOENT ? -errno : 0;
	}
	/* A listing may still tell what was just removed. */
	if (suffix[0] != '\0' || has_file(dir->dir_fd, cid, ".log") ||
	    !has_file(dir->dir_fd, cid, ""))
		return 0;
	if (has_file(dir->dir_fd, cid, ".gone"))
		return draft_disk_end_removal(dir->dir_fd, cid);
	r = draft_disk_set_aside(dir->dir_fd, cid, name);
	if (r == 0)
		log_error("unsent content without a log: kept as damaged/%s", name);
	return r;
}

/* Calls fn for each name that is one of ours. */
static int walk(struct draft_dir *dir, int (*fn)(void *arg, uint64_t cid, const char *suffix),
		void *arg)
{
	int fd = openat(dir->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	const char *suffix;
	struct dirent *e;
	uint64_t cid;

	if (!stream) {
		r = -errno;
		if (fd >= 0)
			close(fd);
		return r;
	}
	while (r == 0) {
		errno = 0;
		e = readdir(stream);
		if (!e) {
			r = -errno;
			break;
		}
		if (draft_disk_parse(e->d_name, &cid, &suffix))
			r = fn(arg, cid, suffix);
	}
	closedir(stream);
	return r;
}

static int tidy(void *arg, uint64_t cid, const char *suffix)
{
	return tidy_one(arg, cid, suffix);
}

int draft_list_begin(struct draft_dir *dir)
{
	int r = walk(dir, tidy, dir);

	dir->stats.damaged_n = draft_disk_count_damaged(dir->dir_fd);
	return r;
}

/* --- listing --- */

struct batch {
	uint64_t *cids;
	size_t n, cap;
};

static int collect(void *arg, uint64_t cid, const char *suffix)
{
	struct batch *b = arg;

	if (strcmp(suffix, ".log") != 0)
		return 0;
	if (b->n == b->cap) {
		size_t cap = b->cap > 0 ? 2 * b->cap : LIST_BATCH;
		uint64_t *v = realloc(b->cids, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		b->cids = v;
		b->cap = cap;
	}
	b->cids[b->n++] = cid;
	return 0;
}

/* Nothing was written, and it was never told that it was made. */
static int drop_stillborn(struct draft_dir *dir, uint64_t cid)
{
	char name[DRAFT_NAME_BYTES];

	if (has_file(dir->dir_fd, cid, ""))
		return -EUCLEAN;
	draft_disk_name(cid, ".log", name);
	if (unlinkat(dir->dir_fd, name, 0) < 0)
		return errno == ENOENT ? 0 : -errno;
	mutex_lock(&dir->lock);
	dir->stats.drafts_n--;
	mutex_unlock(&dir->lock);
	return 0;
}

static int list_damaged(struct draft_dir *dir, uint64_t cid, draft_list_fn fn, void *arg,
			bool *ret_stop)
{
	auto_close int log_fd = draft_disk_open_old(dir->dir_fd, cid, ".log");
	auto_close int data_fd = draft_disk_open_old(dir->dir_fd, cid, "");
	struct draft_found found = { .cid = cid, .is_damaged = true };
	char name[DRAFT_NAME_BYTES];
	struct draft_state s = { 0 };
	struct stat st = { 0 };
	int r = log_fd < 0 ? -EUCLEAN : draft_load(cid, dir->boot, log_fd, data_fd, true, &s);

	if (r == 0) {
		found.header = &s.header;
		found.size = s.size;
	}
	if (data_fd >= 0)
		(void)fstat(data_fd, &st); /* for counting only */
	r = draft_disk_set_aside(dir->dir_fd, cid, name);
	if (r == 0) {
		const char *file = s.header.name ? s.header.name : "?";

		log_error(
			"unsent content of \"%s\" in \"%s\" has a damaged log: kept as damaged/%s",
			file, s.header.dir_path ? s.header.dir_path : "?", name);
		mutex_lock(&dir->lock);
		dir->stats.drafts_n--;
		dir->stats.bytes -= (uint64_t)st.st_size;
		dir->stats.damaged_n++;
		mutex_unlock(&dir->lock);
		found.name = name;
		*ret_stop = fn(arg, &found) != 0;
	}
	draft_state_fini(&s);
	return r;
}

static int list_one(struct draft_dir *dir, uint64_t cid, draft_list_fn fn, void *arg,
		    bool *ret_stop)
{
	struct draft_found found = { .cid = cid };
	struct draft_header header;
	struct draft *d;
	int r = draft_open(dir, cid, &d);

	if (r == -ENOENT)
		return has_file(dir->dir_fd, cid, ".log") ? drop_stillborn(dir, cid) : 0;
	if (r == -EUCLEAN || r == -ELOOP)
		return list_damaged(dir, cid, fn, arg, ret_stop);
	if (r < 0)
		return r;
	r = draft_get_header(d, &header);
	if (r == 0) {
		mutex_lock(&dir->lock);
		found.size = d->s.size;
		found.is_cut = d->s.is_cut;
		found.has_hash = d->s.has_hash;
		memcpy(found.hash, d->s.hash, sizeof(found.hash));
		mutex_unlock(&dir->lock);
		found.header = &header;
		found.is_whole = draft_is_whole(d);
		if (found.is_cut)
			log_warn("the last changes of \"%s\" in \"%s\" were not on disk when the "
				 "machine stopped",
				 header.name ? header.name : "?",
				 header.dir_path ? header.dir_path : "?");
		*ret_stop = fn(arg, &found) != 0;
		draft_header_fini(&header);
	}
	draft_close(d);
	return r;
}

int draft_dir_list(struct draft_dir *dir, draft_list_fn fn, void *arg)
{
	struct batch b = { 0 };
	bool stop = false;
	int r = walk(dir, collect, &b);

	for (size_t i = 0; r == 0 && !stop && i < b.n; i++)
		r = list_one(dir, b.cids[i], fn, arg, &stop);
	free(b.cids);
	return r;
}

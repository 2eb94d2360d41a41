#define LOG_MODULE "graphfs"
#include "mounted.h"

#include "ahead.h"
#include "change.h"
#include "early.h"
#include "fetch.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char id_file[] = "drive_id", tree_file[] = "tree.db";
static const char drafts_dir[] = "drafts", sent_dir[] = "sent", epoch_file[] = "drafts.epoch";
enum { ID_MAX = 512 };

/* --- which drive: asked once, so that the next mount needs no service --- */

static char *read_id(int dir)
{
	auto_close int fd = openat(dir, id_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char text[ID_MAX + 1];
	ssize_t n = fd < 0 ? -1 : read(fd, text, ID_MAX);

	return n > 0 ? strndup(text, (size_t)n) : NULL;
}

static int save_text(int dir, const char *name, const char *id)
{
	auto_close int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0 || write(fd, id, strlen(id)) != (ssize_t)strlen(id))
		return -EIO;
	return 0;
}

static int find_id(struct mounted *m, const char *drive, int state_fd)
{
	int r;

	m->drive_id = read_id(state_fd);
	if (m->drive_id)
		return 0;
	r = service_find_drive(&m->service, drive, &m->drive_id);
	return r < 0 ? r : save_text(state_fd, id_file, m->drive_id);
}

/* The tree is what the service can tell again: a damaged or foreign one is replaced. */
static int open_tree(struct mounted *m, int state_fd)
{
	int r = tree_open(state_fd, tree_file, m->drive_id, &m->tree);

	if (r != -EUCLEAN && r != -EPROTO && r != -EXDEV)
		return r;
	log_warn("the stored tree cannot be used (%s): beginning anew", strerror(-r));
	r = tree_discard(state_fd, tree_file);
	return r < 0 ? r : tree_open(state_fd, tree_file, m->drive_id, &m->tree);
}

static int open_cache(struct mounted *m, int cache_fd)
{
	auto_free char *epoch = NULL;
	int r;

	if (cache_fd < 0)
		return 0;
	r = tree_kv_get(m->tree, TREE_KV_EPOCH, &epoch);
	if (r == 0)
		r = cache_new(cache_fd, epoch, m->config.cache_bytes, &m->cache);
	if (r < 0) {
		log_warn("nothing will be cached: %s", strerror(-r));
		m->cache = NULL;
		return 0;
	}
	cache_set_keep_free(m->cache, m->config.cache_free_bytes);
	return 0;
}

/* What was written and not sent is of one tree. Should that be lost, it is put aside, not lost. */
static int check_drafts(struct mounted *m, int state_fd)
{
	auto_close int fd = openat(state_fd, epoch_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	auto_free char *epoch = NULL;
	char text[64] = "", aside[64];
	int r = tree_kv_get(m->tree, TREE_KV_EPOCH, &epoch);

	if (r < 0)
		return r;
	if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
		return -errno;
	if (strcmp(text, epoch) == 0)
		return 0;
	snprintf(aside, sizeof(aside), "%s.%s", drafts_dir, text[0] ? text : "unknown");
	if (renameat(state_fd, drafts_dir, state_fd, aside) == 0)
		log_error("the tree was made anew: what was written and not sent is in \"%s\" of "
			  "the state directory",
			  aside);
	else if (errno != ENOENT)
		return -errno;
	return save_text(state_fd, epoch_file, epoch);
}

static int open_dir(int state_fd, const char *name, int *ret)
{
	int fd;

	if (mkdirat(state_fd, name, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(state_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

/* What a process that was killed left there was sent already. */
static void clear_dir(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			(void)unlinkat(dir_fd, e->d_name, 0);
	if (dir)
		closedir(dir);
}

static int open_drafts(struct mounted *m, int state_fd)
{
	int r;

	if (!m->config.is_writable)
		return 0;
	r = check_drafts(m, state_fd);
	if (r < 0)
		return r;
	r = open_dir(state_fd, sent_dir, &m->sent_fd);
	if (r == 0)
		r = open_dir(state_fd, drafts_dir, &m->drafts_fd);
	if (r < 0)
		return r;
	clear_dir(m->sent_fd);
	return draft_dir_new(m->drafts_fd, &m->drafts);
}

/* --- what the parts tell each other --- */

static bool dir_known(void *arg, uint64_t ino)
{
	struct mounted *m = arg;

	return inodes_is_dir_known(m->inodes, ino);
}

static bool file_open(void *arg, uint64_t ino)
{
	struct mounted *m = arg;

	return content_is_open(m->content, ino);
}

static void on_changes(void *arg, struct change_set *set)
{
	struct mounted *m = arg;
	struct change_set *more = NULL;
	struct fs *fs = m->fs;

	if (content_after_commit(m->content, &more) < 0)
		log_error("open files cannot be told from the new version");
	change_set_append(&set, more);
	if (set && fs)
		fs_push_changes(fs, set);
	else
		change_set_free(set);
}

static void on_revoke(void *arg)
{
	struct mounted *m = arg;
	struct fs *fs = m->fs;

	if (fs)
		fs_push_all(fs);
}

static void on_ready(void *arg, int error, const char *text)
{
	struct mounted *m = arg;

	m->ready_error = error;
	snprintf(m->ready_text, sizeof(m->ready_text), "%s", text);
	/* A tree that is known already is ready before the loop runs; a stop would then end the run
	 * that serves the mount. */
	if (m->is_waiting)
		loop_stop(m->service.loop);
}

static void on_offline(void *arg, bool offline)
{
	struct mounted *m = arg;

	content_set_reachable(m->content, !offline);
	if (m->push)
		push_set_reachable(m->push, !offline);
}

static bool is_sending(void *arg, uint64_t ino, const char *id)
{
	struct mounted *m = arg;

	return m->push && push_is_sending(m->push, ino, id);
}

static void on_written(void *arg, uint64_t ino)
{
	mounted_wake(arg);
}

void mounted_wake(struct mounted *m)
{
	if (m->push)
		push_wake(m->push);
}

static void on_version_changed(void *arg, uint64_t ino)
{
	struct mounted *m = arg;

	drive_look(m->drive);
}

static void on_live(void *arg, enum live_event event, const char *reason)
{
	struct mounted *m = arg;

	m->on_live(m->watch_arg, event, reason);
}

static void on_page(void *arg, const struct item_page *page)
{
	struct mounted *m = arg;

	m->on_page(m->watch_arg, page);
}

static int make_content(struct mounted *m)
{
	const struct fetch_source source = fetch_source_graph(m->service.graph);

	return content_new(
		&(struct content_options){
			.loop = m->service.loop,
			.store_lane = m->store,
			.tree = m->tree,
			.inodes = m->inodes,
			.cache = m->cache,
			.drafts = m->drafts,
			.drive_id = m->drive_id,
			.source = &source,
			.on_version_changed = on_version_changed,
			.arg = m,
		},
		&m->content);
}

static int start_early(void *arg, uint64_t ino, void (*done)(void *done_arg), void *done_arg,
		       void **ret)
{
	struct early *early;
	int r = early_start(arg, ino, done, done_arg, &early);

	if (r == 0)
		*ret = early;
	return r;
}

static bool stop_early(void *job)
{
	return early_stop(job);
}

static void free_early(void *job)
{
	early_free(job);
}

static void on_reader(void *arg, const struct tree_attr *attr, bool is_cached)
{
	ahead_note(arg, attr, is_cached);
}

static int make_ahead(struct mounted *m)
{
	int r = ahead_new(m->service.loop, m->tree,
			  &(struct ahead_source){
				  .arg = m->content,
				  .start = start_early,
				  .stop = stop_early,
				  .free = free_early,
			  },
			  &m->ahead);

	if (r == 0)
		content_set_reader(m->content, on_reader, m->ahead);
	return r;
}

static int make_drive(struct mounted *m)
{
	const struct drive_options options = {
		.coherence = m->config.coherence,
		.live = m->config.live,
		.crawl = m->config.crawl && !m->on_page,
		.verify_ms = m->on_page ? 0 : m->config.verify_ms,
	};

	return drive_new(m->service.loop, m->store, m->service.graph, m->service.ws, m->tree,
			 m->drive_id, &options,
			 &(struct drive_events){
				 .arg = m,
				 .on_changes = on_changes,
				 .on_revoke = on_revoke,
				 .on_ready = on_ready,
				 .on_offline = on_offline,
				 .on_live = m->on_live ? on_live : NULL,
				 .on_page = m->on_page ? on_page : NULL,
			 },
			 &m->drive);
}

static int make_push(struct mounted *m)
{
	int r;

	if (!m->drafts)
		return 0;
	r = push_new(&(struct push_options){ .loop = m->service.loop,
					     .store_lane = m->store,
					     .tree = m->tree,
					     .content = m->content,
					     .drafts = m->drafts,
					     .cache = m->cache,
					     .sent_fd = m->sent_fd,
					     .graph = m->service.graph,
					     .drive_id = m->drive_id,
					     .quiet_ms = m->config.quiet_ms,
					     .on_changes = on_changes,
					     .arg = m },
		     &m->push);
	if (r == 0)
		content_set_written(m->content, on_written, m);
	return r;
}

int mounted_open(struct mounted *m, const char *account, const char *drive, int state_fd,
		 int cache_fd)
{
	int r = service_open(account, &m->service);

	if (r == 0)
		r = find_id(m, drive, state_fd);
	if (r == 0)
		r = lane_new(m->service.loop, "store", 1, &m->store);
	if (r == 0)
		r = open_tree(m, state_fd);
	if (r == 0)
		r = open_drafts(m, state_fd);
	if (r == 0)
		r = open_cache(m, cache_fd);
	if (r == 0)
		r = inodes_new(&m->inodes);
	if (r == 0) {
		inodes_set_budget(m->inodes, m->config.known_inodes);
		r = make_content(m);
	}
	if (r == 0)
		r = content_recover(m->content);
	if (r == 0)
		r = make_ahead(m);
	if (r == 0)
		r = make_drive(m);
	if (r == 0)
		r = make_push(m);
	if (r < 0)
		return r;
	tree_set_guard(m->tree, &(struct tree_guard){ .arg = m,
						      .dir_known = dir_known,
						      .file_open = file_open,
						      .is_sending = is_sending });
	return 0;
}

int mounted_start(struct mounted *m)
{
	int r;

	m->ready_error = -EINPROGRESS;
	drive_start(m->drive);
	if (m->ready_error != -EINPROGRESS)
		return m->ready_error;
	m->is_waiting = true;
	r = loop_run(m->service.loop);
	m->is_waiting = false;
	return r < 0 ? r : m->ready_error;
}

static void *run_loop(void *arg)
{
	struct mounted *m = arg;

	return (void *)(intptr_t)loop_run(m->service.loop);
}

int mounted_run_loop(struct mounted *m)
{
	int r;

	/* What an earlier life left. */
	if (m->push)
		push_wake(m->push);
	r = pthread_create(&m->loop_thread, NULL, run_loop, m);
	m->has_loop_thread = r == 0;
	return -r;
}

void mounted_close(struct mounted *m)
{
	struct fs *fs = m->fs;

	if (m->has_loop_thread) {
		loop_stop(m->service.loop);
		pthread_join(m->loop_thread, NULL);
	}
	if (m->tree)
		tree_give_up(m->tree);
	control_free(m->control);
	push_free(m->push);
	m->push = NULL;
	drive_free(m->drive);
	ahead_free(m->ahead);
	content_free(m->content);
	lane_free(m->store);
	m->fs = NULL;
	fs_free(fs);
	/* In this order: contents that are believed after a power cut must not be named by a tree
	 * whose newest rows were lost in it. */
	tree_free(m->tree);
	cache_free(m->cache);
	draft_dir_free(m->drafts);
	inodes_free(m->inodes);
	if (m->service.loop)
		service_close(&m->service);
	free(m->drive_id);
	config_fini(&m->config);
}

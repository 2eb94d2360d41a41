/*
 * Drafts where things go wrong: kills, power cuts, damage, full and failing disks. A disk of a few
 * MiB needs root and a mount namespace; without, those tests are skipped and say so.
 */
#include "draftbox.h"
#include "log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define DATA "0000000000000001"
#define LOG  "0000000000000001.log"

/* --- a disk that forgets --- */

enum { FILES_MAX = 32, PAGE = 512 };

/*
 * What is on the platter: contents as they were when they were last synced, and names as they were
 * then. Syncing goes through here, as these functions stand before those of the C library.
 */
static struct platter {
	bool on;
	struct draftbox *p;
	struct platter_file {
		ino_t ino;
		int fd; /* so that the number is not used again */
		size_t len;
		uint8_t *data;
	} files[FILES_MAX];
	size_t files_n;
	struct {
		char name[64];
		ino_t ino;
		int fd;
	} names[FILES_MAX];
	size_t names_n;
	char order[64]; /* of syncs: d data, l log, n names */
	int fail;       /* errno of the next fdatasync() of data */
} platter;

static size_t read_whole(int fd, uint8_t **ret)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	*ret = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(pread(fd, *ret, (size_t)st.st_size, 0), st.st_size);
	return (size_t)st.st_size;
}

static struct platter_file *platter_find(ino_t ino)
{
	for (size_t i = 0; i < platter.files_n; i++)
		if (platter.files[i].ino == ino)
			return &platter.files[i];
	return NULL;
}

static void platter_keep(int fd)
{
	struct platter_file *file;
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	file = platter_find(st.st_ino);
	if (!file) {
		assert_true(platter.files_n < FILES_MAX);
		file = &platter.files[platter.files_n++];
		*file = (struct platter_file){ .ino = st.st_ino, .fd = dup(fd) };
	}
	free(file->data);
	file->len = read_whole(fd, &file->data);
}

static void platter_drop_names(void)
{
	while (platter.names_n > 0)
		close(platter.names[--platter.names_n].fd);
}

static void platter_keep_names(void)
{
	DIR *dir = opendir(platter.p->path);
	struct dirent *e;

	platter_drop_names();
	while ((e = readdir(dir))) {
		if (e->d_type != DT_REG)
			continue;
		assert_true(platter.names_n < FILES_MAX);
		snprintf(platter.names[platter.names_n].name, 64, "%.60s", e->d_name);
		platter.names[platter.names_n].ino = e->d_ino;
		platter.names[platter.names_n++].fd = openat(platter.p->fd, e->d_name, O_RDONLY);
	}
	closedir(dir);
}

static void note_order(int fd)
{
	char link[64], path[256] = "";
	size_t n = strlen(platter.order);
	bool is_log;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_true(readlink(link, path, sizeof(path) - 1) > 0);
	is_log = strstr(path, ".log") || strstr(path, ".new");
	if (n + 1 < sizeof(platter.order))
		platter.order[n] = is_log ? 'l' : 'd';
}

int fdatasync(int fd)
{
	if (platter.on && platter.fail) {
		errno = platter.fail;
		platter.fail = 0;
		return -1;
	}
	if (platter.on) {
		note_order(fd);
		platter_keep(fd);
	}
	return 0;
}

int fsync(int fd)
{
	if (platter.on) {
		platter.order[strlen(platter.order)] = 'n';
		platter_keep_names();
	}
	return 0;
}

/* After the power cut: of each file any of its newer sectors may have come to the disk, and the
 * names are the old or the new ones. */
static void platter_cut(struct draftbox *p, unsigned *seed)
{
	struct platter_file *file;

	if (rand_r(seed) % 2)
		platter_keep_names();
	for (size_t i = 0; i < platter.names_n; i++) {
		struct platter_file none = { 0 };
		uint8_t *now = NULL, *then;
		size_t now_len = 0, len;
		struct stat st;
		char path[160];
		int fd;

		snprintf(path, sizeof(path), "%s/%s", p->path, platter.names[i].name);
		file = platter_find(platter.names[i].ino);
		file = file ? file : &none;
		fd = open(path, O_RDWR | O_CREAT, 0600);
		assert_true(fd >= 0);
		assert_int_equal(fstat(fd, &st), 0);
		/* Of a file that has lost its name there is what was synced. */
		if (st.st_ino != platter.names[i].ino)
			assert_int_equal(ftruncate(fd, 0), 0);
		if (st.st_ino != platter.names[i].ino)
			assert_int_equal(pwrite(fd, file->data, file->len, 0), file->len);
		now_len = read_whole(fd, &now);
		len = rand_r(seed) % 2 ? now_len : file->len;
		then = calloc(1, len + 1);
		for (size_t at = 0; at < len; at += PAGE) {
			bool is_new = rand_r(seed) % 2;
			const uint8_t *from = is_new ? now : file->data;
			size_t have = is_new ? now_len : file->len;
			size_t part = len - at < PAGE ? len - at : PAGE;

			if (have > at)
				memcpy(then + at, from + at, have - at < part ? have - at : part);
		}
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, then, len, 0), len);
		close(fd);
		free(now);
		free(then);
	}
}

static void platter_begin(struct draftbox *p)
{
	memset(&platter, 0, sizeof(platter));
	platter.p = p;
	platter.on = true;
}

static void platter_end(void)
{
	platter_drop_names();
	for (size_t i = 0; i < platter.files_n; i++) {
		close(platter.files[i].fd);
		free(platter.files[i].data);
	}
	memset(&platter, 0, sizeof(platter));
}

/* The process is no more, so it must not do what it does at its end: sync. */
static void forget_process(struct draftbox *p, struct draft *d)
{
	mutex_lock(&p->dir->lock);
	d->s.synced_end = d->s.changed_end;
	d->is_dir_synced = true;
	mutex_unlock(&p->dir->lock);
	draft_close(d);
	draftbox_end(p);
}

static void rewrite(struct draft *d)
{
	draft_take_turn(d, DRAFT_TURN_ALONE);
	assert_int_equal(draft_rewrite(d), 0);
	draft_end_turn(d, DRAFT_TURN_ALONE);
}

static void test_synced_in_this_order(void **state)
{
	struct draftbox *p = *state;
	struct draft *d;

	platter_begin(p);
	d = draftbox_create(p, 1, 100);
	assert_int_equal(draft_write(d, 0, "abc", 3), 3);
	assert_int_equal(draft_sync(d), 0);
	assert_string_equal(platter.order, "dln");
	assert_int_equal(draft_sync(d), 0);
	assert_string_equal(platter.order, "dln");
	assert_int_equal(draft_truncate(d, 50), 0);
	assert_int_equal(draft_sync(d), 0);
	assert_string_equal(platter.order, "dlndl");
	rewrite(d);
	assert_string_equal(platter.order, "dlndldl");
	assert_int_equal(draft_sync(d), 0);
	assert_string_equal(platter.order, "dlndldldln");
	platter_end();
	draft_close(d);
}

enum { CUTS = 600, BEHIND_MAX = 24 };

/* What the draft may be after the cut: as after the last sync, or after any change since. */
static struct model states[BEHIND_MAX + 1];
static unsigned states_n;

static void sync_states(struct draft *d)
{
	assert_int_equal(draft_sync(d), 0);
	states[0] = states[states_n - 1];
	states_n = 1;
}

/* Makes a draft, with changes that are synced and some that are not. */
static struct draft *make_states(struct draftbox *p, unsigned cut, unsigned *seed, bool never)
{
	unsigned synced_n = never ? 0 : (unsigned)rand_r(seed) % 40;
	unsigned behind_n = (unsigned)rand_r(seed) % (BEHIND_MAX + 1);
	uint64_t base = rand_r(seed) % 4 ? 20000 : 0;
	struct draft *d = draftbox_create(p, 1, base);
	static struct op op;

	model_init(&states[0], base);
	states[0].may_unfill = true;
	states_n = 1;
	for (unsigned i = 0; i <= synced_n + behind_n; i++) {
		bool is_full = states_n > BEHIND_MAX;

		if (!never && (i == synced_n || is_full || rand_r(seed) % 32 == 0))
			sync_states(d);
		if (i == synced_n + behind_n)
			break;
		if (rand_r(seed) % 32 == 0)
			rewrite(d);
		op_make(&op, cut, i);
		assert_int_equal(op_do(&op, d), 0);
		states[states_n] = states[states_n - 1];
		model_apply(&states[states_n++], &op);
	}
	return d;
}

/* Whether it is among the states. Removes it. */
static void check_after_cut(struct draftbox *p, unsigned cut, bool never, unsigned *cut_n)
{
	const struct model *any_of[BEHIND_MAX + 1];
	struct draft *d;
	int r;

	for (unsigned i = 0; i < states_n; i++)
		any_of[i] = &states[i];
	r = draft_open(p->dir, 1, &d);
	if (r < 0 && never) {
		(void)unlinkat(p->fd, DATA, 0);
		(void)unlinkat(p->fd, LOG, 0);
		return;
	}
	assert_int_equal(r, 0);
	*cut_n += d->s.is_cut;
	if (!model_is(any_of, states_n, d, 0, MODEL_MAX))
		fail_msg("cut %u, one of %u states", cut, states_n);
	assert_int_equal(draft_remove(d), 0);
	draft_close(d);
}

static void test_power_cuts(void **state)
{
	struct draftbox *p = *state;
	unsigned seed = 7, cut_n = 0;

	draftbox_end(p);
	for (unsigned cut = 0; cut < CUTS; cut++) {
		bool never = cut % 8 == 0;
		struct draft *d;

		platter_begin(p);
		draftbox_begin_boot(p, 2 * cut);
		d = make_states(p, cut, &seed, never);
		platter.on = false;
		if (platter.names_n == 0)
			platter_keep_names();
		platter_cut(p, &seed);
		forget_process(p, d);
		platter_end();
		draftbox_begin_boot(p, 2 * cut + 2);
		check_after_cut(p, cut, never, &cut_n);
		draftbox_end(p);
	}
	/* They do cut, and not always. */
	assert_in_range(cut_n, CUTS / 20, CUTS - CUTS / 20);
	draftbox_begin(p);
}

static void test_an_error_of_the_disk_is_not_forgotten(void **state)
{
	struct draftbox *p = *state;
	struct draft *d;

	platter_begin(p);
	d = draftbox_create(p, 1, 0);
	assert_int_equal(draft_write(d, 0, "abc", 3), 3);
	platter.fail = EIO;
	assert_int_equal(draft_sync(d), -EIO);
	assert_int_equal(draft_sync(d), -EIO);
	draft_close(d);
	d = draftbox_open(p, 1);
	assert_int_equal(draft_sync(d), -EIO);
	assert_int_equal(draft_dir_sync(p->dir), -EIO);
	draft_close(d);
	platter_end();
}

/* --- kills --- */

enum { KILLS = 150 };

struct progress {
	atomic_uint_fast64_t done; /* changes that were acknowledged */
};

static void change_for_ever(struct draftbox *p, uint64_t cid, struct progress *progress)
{
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);
	static struct op op;
	struct draft_dir *dir;
	struct draft *d;

	if (fd < 0 || draft_dir_new(fd, &dir) < 0)
		_exit(1);
	if (draft_open(dir, cid, &d) < 0)
		_exit(1);
	for (uint64_t i = 0;; i++) {
		op_make(&op, cid, i);
		if (op_do(&op, d) < 0)
			_exit(1);
		atomic_store(&progress->done, i + 1);
		if (i % 3 == 0) {
			draft_take_turn(d, DRAFT_TURN_ALONE);
			if (draft_rewrite(d) < 0)
				_exit(1);
			draft_end_turn(d, DRAFT_TURN_ALONE);
		}
		if (i % 10 == 0 && draft_sync(d) < 0)
			_exit(1);
	}
}

/* Everything that was acknowledged is there; of what was being done, any part. */
static void check_after_kill(struct draftbox *p, uint64_t cid, uint64_t base, uint64_t done)
{
	static struct model before, after;
	const struct model *any_of[] = { &before, &after };
	static struct op op;
	struct draft *d;

	model_init(&before, base);
	for (uint64_t i = 0; i < done; i++) {
		op_make(&op, cid, i);
		model_apply(&before, &op);
	}
	after = before;
	op_make(&op, cid, done);
	model_apply(&after, &op);
	draftbox_begin(p);
	d = draftbox_open(p, cid);
	if (!model_is(any_of, 2, d, 0, MODEL_MAX))
		fail_msg("cid %lu after %lu changes", (unsigned long)cid, (unsigned long)done);
	assert_false(d->s.is_cut);
	/* And it goes on. */
	assert_int_equal(draft_truncate(d, 0), 0);
	assert_int_equal(draft_truncate(d, 1000), 0);
	assert_int_equal(draft_write(d, 500, "x", 1), 1);
	model_init(&after, 1000);
	memset(after.data, 0, sizeof(after.data));
	memset(after.place, 0, sizeof(after.place));
	after.data[500] = 'x';
	any_of[0] = &after;
	assert_true(model_is(any_of, 1, d, 0, MODEL_MAX));
	draft_close(d);
	draftbox_end(p);
}

static void test_kills_in_changes_and_new_logs(void **state)
{
	struct progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct draftbox *p = *state;
	unsigned seed = (unsigned)getpid();
	uint64_t sum = 0;

	for (uint64_t cid = 1; cid <= KILLS; cid++) {
		uint64_t base = cid % 3 ? 60000 : 0;
		int status;
		pid_t pid;

		draft_close(draftbox_create(p, cid, base));
		draftbox_end(p);
		atomic_store(&progress->done, 0);
		pid = fork();
		if (pid == 0)
			change_for_ever(p, cid, progress);
		while (atomic_load(&progress->done) == 0)
			assert_int_equal(waitpid(pid, &status, WNOHANG), 0);
		usleep((useconds_t)rand_r(&seed) % 8000); /* when it dies is left to chance */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		sum += atomic_load(&progress->done);
		check_after_kill(p, cid, base, atomic_load(&progress->done));
		draftbox_begin(p);
	}
	assert_true(sum > KILLS);
	munmap(progress, sizeof(*progress));
}

static void create_for_ever(struct draftbox *p, int ready_fd)
{
	int fd = open(p->path, O_RDONLY | O_DIRECTORY);
	struct draft_header header = draftbox_header(10);
	struct draft_dir *dir;
	struct draft *d;

	if (fd < 0 || draft_dir_new(fd, &dir) < 0)
		_exit(1);
	close(ready_fd);
	for (uint64_t i = 0;; i++) {
		uint64_t cid = 1 + i % 40;

		if (draft_open(dir, cid, &d) == 0) {
			if (draft_remove(d) < 0)
				_exit(1);
			draft_close(d);
		}
		if (draft_create(dir, cid, &header, &d) < 0 || draft_write(d, 0, "abc", 3) != 3)
			_exit(1);
		draft_close(d);
	}
}

static int check_found(void *arg, const struct draft_found *found)
{
	assert_false(found->is_damaged);
	assert_int_equal(found->size, 10);
	return 0;
}

static void test_kills_in_creation_and_removal(void **state)
{
	struct draftbox *p = *state;
	unsigned errors_n = log_errors_n();
	struct draft_stats stats;

	draftbox_end(p);
	for (int i = 0; i < 60; i++) {
		int ready[2], status;
		char byte;
		pid_t pid;

		assert_int_equal(pipe(ready), 0);
		pid = fork();
		if (pid == 0)
			create_for_ever(p, ready[1]);
		close(ready[1]);
		assert_int_equal(read(ready[0], &byte, 1), 0);
		close(ready[0]);
		usleep((useconds_t)(i * 200)); /* when it dies is left to chance */
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		draftbox_begin(p);
		assert_int_equal(draft_dir_list(p->dir, check_found, NULL), 0);
		draft_dir_get_stats(p->dir, &stats);
		assert_int_equal(stats.damaged_n, 0);
		assert_int_equal(log_errors_n(), errors_n);
		assert_true(stats.drafts_n <= 40);
		draftbox_end(p);
	}
	draftbox_begin(p);
}

/* --- damage --- */

static struct draft_found last;
static char last_name[64];

static int note_last(void *arg, const struct draft_found *found)
{
	last = *found;
	if (found->header && found->header->name)
		snprintf(last_name, sizeof(last_name), "%s", found->header->name);
	return 0;
}

/* A draft of two writes, closed. Gives where its last record begins. */
static uint64_t make_two(struct draftbox *p)
{
	struct draft *d = draftbox_create(p, 1, 100);
	uint64_t at;

	assert_int_equal(draft_write(d, 0, "one", 3), 3);
	at = d->s.log_end;
	assert_int_equal(draft_write(d, 50, "two", 3), 3);
	forget_process(p, d);
	return at;
}

static void flip(struct draftbox *p, const char *name, off_t at)
{
	int fd = openat(p->fd, name, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void cut(struct draftbox *p, const char *name, uint64_t len)
{
	int fd = openat(p->fd, name, O_RDWR);

	assert_int_equal(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

static void test_torn_last_record(void **state)
{
	struct draftbox *p = *state;
	struct draft_piece piece;
	char buf[8];

	for (uint64_t bytes = 0; bytes < DRAFT_LOG_RECORD_BYTES; bytes++) {
		uint64_t at = make_two(p);
		struct draft *d;

		cut(p, LOG, at + bytes);
		draftbox_begin(p);
		d = draftbox_open(p, 1);
		assert_int_equal(draft_get_pieces(d, 50, 3, &piece, 1), 1);
		assert_int_equal(piece.kind, DRAFT_BASE);
		assert_int_equal(draft_read(d, 0, buf, 3), 3);
		assert_memory_equal(buf, "one", 3);
		assert_int_equal(draft_write(d, 70, "again", 5), 5);
		draft_close(d);
		draftbox_end(p);
		draftbox_begin(p);
		d = draftbox_open(p, 1);
		assert_int_equal(draft_read(d, 70, buf, 5), 5);
		assert_memory_equal(buf, "again", 5);
		assert_int_equal(draft_remove(d), 0);
		draft_close(d);
	}
}

static void test_damage_is_kept_and_told(void **state)
{
	struct draftbox *p = *state;
	struct draft_stats stats;
	unsigned n = 0;
	uint64_t end = 1;

	/* Any bit of the log. */
	for (uint64_t bad = 0; bad < end; bad += 3) {
		struct draft *d;
		uint64_t at = make_two(p);
		char name[64];

		end = at + DRAFT_LOG_RECORD_BYTES;
		flip(p, LOG, (off_t)bad);
		draftbox_begin(p);
		/* A last record that looks as if it went on behind the end is taken for torn. */
		if (draft_open(p->dir, 1, &d) == 0) {
			assert_true(bad >= at);
			assert_int_equal(draft_remove(d), 0);
			draft_close(d);
			continue;
		}
		n++;
		assert_int_equal(draft_open(p->dir, 1, &d), -EUCLEAN);
		memset(&last, 0, sizeof(last));
		assert_int_equal(draft_dir_list(p->dir, note_last, NULL), 0);
		assert_true(last.is_damaged && last.cid == 1);
		if (bad >= at - DRAFT_LOG_RECORD_BYTES) {
			assert_non_null(last.header);
			assert_string_equal(last_name, "name");
			assert_int_equal(last.size, 100);
		}
		assert_int_equal(draft_open(p->dir, 1, &d), -ENOENT);
		snprintf(name, sizeof(name), n == 1 ? "damaged/" DATA : "damaged/" DATA ".%u", n);
		assert_true(draftbox_has(p, name));
		draft_dir_get_stats(p->dir, &stats);
		assert_int_equal(stats.damaged_n, n);
		assert_int_equal(stats.drafts_n, 0);
	}
	assert_true(n > 40);
}

static void test_lost_files(void **state)
{
	struct draftbox *p = *state;
	struct draft_stats stats;
	struct draft *d;

	/* The log. */
	make_two(p);
	assert_int_equal(unlinkat(p->fd, LOG, 0), 0);
	draftbox_begin(p);
	assert_true(draftbox_has(p, "damaged/" DATA));
	/* The data. */
	make_two(p);
	assert_int_equal(unlinkat(p->fd, DATA, 0), 0);
	draftbox_begin(p);
	assert_int_equal(draft_open(p->dir, 1, &d), -EUCLEAN);
	assert_int_equal(draft_dir_list(p->dir, note_last, NULL), 0);
	assert_true(last.is_damaged);
	assert_true(draftbox_has(p, "damaged/" DATA ".2.log"));
	/* Some of the data. */
	make_two(p);
	cut(p, DATA, 52);
	draftbox_begin(p);
	assert_int_equal(draft_open(p->dir, 1, &d), -EUCLEAN);
	assert_int_equal(draft_dir_list(p->dir, note_last, NULL), 0);
	draft_dir_get_stats(p->dir, &stats);
	assert_int_equal(stats.damaged_n, 3);
}

/* --- full disks --- */

static void mount_disk(struct draftbox *p)
{
	draftbox_end(p);
	if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		print_message("a mount namespace is not allowed here: not tested\n");
		draftbox_begin(p);
		skip();
	}
	assert_int_equal(mount("none", p->path, "tmpfs", 0, "size=4m,mode=0700"), 0);
	close(p->fd);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	draftbox_begin(p);
}

static void umount_disk(struct draftbox *p)
{
	draftbox_end(p);
	close(p->fd);
	assert_int_equal(umount(p->path), 0);
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	draftbox_begin(p);
}

static void fill_disk(struct draftbox *p)
{
	static const char buf[4096] = "x";
	int fd = openat(p->fd, "filler", O_WRONLY | O_CREAT, 0600);

	while (write(fd, buf, sizeof(buf)) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_full_disk(void **state)
{
	static struct model m;
	const struct model *models[] = { &m };
	struct draftbox *p = *state;
	struct draft_header header = draftbox_header(0);
	static struct op op;
	unsigned refused = 0;
	struct draft *d, *none;

	mount_disk(p);
	d = draftbox_create(p, 1, 60000);
	model_init(&m, 60000);
	for (uint64_t i = 0; i < 3000; i++) {
		int r;

		if (i % 100 == 20)
			fill_disk(p);
		if (i % 100 == 80)
			assert_int_equal(unlinkat(p->fd, "filler", 0), 0);
		op_make(&op, 3, i);
		/* Only what finds its place on the disk, or not at all. */
		op.off = op.off / 4096 * 4096;
		op.len = op.len < 4096 ? op.len : 4096;
		op.len = op.len < MODEL_MAX - op.off ? op.len : MODEL_MAX - op.off;
		if (op.kind == OP_FILL)
			for (uint64_t k = 0; k < op.len; k++)
				op.bytes[k] = draftbox_base(op.off + k);
		r = op_do(&op, d);
		if (r == 0) {
			model_apply(&m, &op);
		} else {
			assert_int_equal(r, -ENOSPC);
			refused++;
		}
		assert_true(model_is(models, 1, d, 0, MODEL_MAX));
		if (i % 100 == 50) {
			fill_disk(p);
			assert_int_equal(draft_create(p->dir, 2, &header, &none), -ENOSPC);
			assert_int_equal(draft_open(p->dir, 2, &none), -ENOENT);
		}
		if (i % 70 == 0)
			assert_int_equal(draft_sync(d), 0);
		if (i % 30 == 0) {
			draft_close(d);
			draftbox_end(p);
			draftbox_begin(p);
			d = draftbox_open(p, 1);
		}
	}
	assert_true(refused > 100);
	draft_close(d);
	umount_disk(p);
}

static void test_a_write_that_fits_in_part(void **state)
{
	static char buf[8 << 20], got[64 << 10];
	struct draftbox *p = *state;
	struct draft *d;
	ssize_t n;

	mount_disk(p);
	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (char)(i % 253);
	d = draftbox_create(p, 1, 0);
	n = draft_write(d, 0, buf, sizeof(buf));
	assert_in_range(n, 3 << 20, 4 << 20);
	assert_int_equal(draft_write(d, (uint64_t)n, buf, 4096), -ENOSPC);
	assert_int_equal(draft_size(d), n);
	draft_close(d);
	draftbox_end(p);
	draftbox_begin(p);
	d = draftbox_open(p, 1);
	for (uint64_t at = 0; at < (uint64_t)n; at += sizeof(got)) {
		ssize_t len = draft_read(d, at, got, sizeof(got));

		assert_true(len > 0);
		assert_memory_equal(got, buf + at, len);
	}
	draft_close(d);
	umount_disk(p);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, draftbox_setup, draftbox_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_synced_in_this_order),
		T(test_power_cuts),
		T(test_an_error_of_the_disk_is_not_forgotten),
		T(test_kills_in_changes_and_new_logs),
		T(test_kills_in_creation_and_removal),
		T(test_torn_last_record),
		T(test_damage_is_kept_and_told),
		T(test_lost_files),
		T(test_full_disk),
		T(test_a_write_that_fits_in_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

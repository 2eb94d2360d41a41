#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- choosing --- */

uint64_t model_random(uint64_t *seed, uint64_t n)
{
	uint64_t x = *seed += 0x9e3779b97f4a7c15u;

	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return (x ^ (x >> 31)) % n;
}

/* Few names, so that they meet. */
static void choose_path(uint64_t *seed, bool is_dir, char ret[MODEL_PATH_MAX])
{
	static const char *const dirs[] = { "a", "b", "c" };
	static const char *const files[] = { "f", "g", "h", "i.txt" };
	uint64_t depth = model_random(seed, 10);
	size_t n = 0;

	for (depth = depth < 5 ? 0 : depth < 8 ? 1 : 2; depth > 0; depth--)
		n += (size_t)sprintf(ret + n, "%s/", dirs[model_random(seed, 3)]);
	if (model_random(seed, 25) == 0)
		is_dir = !is_dir;
	(void)sprintf(ret + n, "%s",
		      is_dir ? dirs[model_random(seed, 3)] : files[model_random(seed, 4)]);
}

static size_t choose_size(uint64_t *seed)
{
	switch (model_random(seed, 8)) {
	case 0:
		return (size_t)model_random(seed, MODEL_FILE_MAX);
	case 1:
	case 2:
		return (size_t)model_random(seed, 70000);
	default:
		return (size_t)model_random(seed, 3000);
	}
}

static enum model_kind choose_kind(uint64_t *seed, bool slots)
{
	static const unsigned char weights[MODEL_KINDS_N] = {
		[MODEL_WRITE] = 20,        [MODEL_APPEND] = 8,     [MODEL_TRUNCATE] = 8,
		[MODEL_MMAP] = 6,          [MODEL_REPLACE] = 5,    [MODEL_MKDIR] = 12,
		[MODEL_RMDIR] = 5,         [MODEL_UNLINK] = 9,     [MODEL_RENAME] = 14,
		[MODEL_SAVE] = 6,          [MODEL_OPEN] = 5,       [MODEL_SLOT_WRITE] = 10,
		[MODEL_SLOT_TRUNCATE] = 2, [MODEL_SLOT_FSYNC] = 3, [MODEL_SLOT_CLOSE] = 4,
	};
	unsigned sum = 0;
	uint64_t at;
	unsigned n = slots ? MODEL_KINDS_N : MODEL_OPEN;
	unsigned kind = 0;

	for (unsigned i = 0; i < n; i++)
		sum += weights[i];
	at = model_random(seed, sum);
	while (at >= weights[kind])
		at -= weights[kind++];
	return (enum model_kind)kind;
}

void model_choose(uint64_t *seed, bool slots, struct model_op *ret)
{
	bool is_dir;

	*ret = (struct model_op){ .kind = choose_kind(seed, slots) };
	is_dir = ret->kind == MODEL_MKDIR || ret->kind == MODEL_RMDIR ||
		 (ret->kind == MODEL_RENAME && model_random(seed, 3) == 0);
	choose_path(seed, is_dir, ret->path);
	choose_path(seed, is_dir, ret->to);
	ret->slot = (unsigned)model_random(seed, MODEL_SLOTS);
	ret->off = choose_size(seed);
	ret->len = 1 + choose_size(seed);
	ret->data = model_random(seed, UINT64_MAX);
	if (ret->off + ret->len > MODEL_FILE_MAX)
		ret->len = MODEL_FILE_MAX - ret->off;
}

/* --- doing --- */

static const uint8_t *bytes_of(const struct model_op *op)
{
	static uint8_t bytes[MODEL_FILE_MAX + 8];
	uint64_t seed = op->data;

	for (size_t i = 0; i < op->len; i += 8) {
		uint64_t word = model_random(&seed, UINT64_MAX);

		memcpy(bytes + i, &word, 8);
	}
	return bytes;
}

static int result_of(int r)
{
	return r < 0 ? -errno : 0;
}

static int write_all(int fd, const struct model_op *op, bool at_end)
{
	const uint8_t *bytes = bytes_of(op);

	for (size_t done = 0; done < op->len;) {
		ssize_t n =
			at_end ? write(fd, bytes + done, op->len - done)
			       : pwrite(fd, bytes + done, op->len - done, (off_t)(op->off + done));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

static int open_and_write(int dir, const struct model_op *op, const char *path, int flags)
{
	int fd = openat(dir, path, O_CREAT | O_CLOEXEC | flags, 0644), r;
	struct stat st = { 0 };

	if (fd < 0)
		return -errno;
	if (flags & O_APPEND && fstat(fd, &st) == 0 && st.st_size > MODEL_FILE_MAX)
		r = ftruncate(fd, 0) < 0 ? -errno : 0;
	else
		r = write_all(fd, op, flags & O_APPEND);
	return close(fd) < 0 && r == 0 ? -errno : r;
}

static int map_and_write(int dir, const struct model_op *op)
{
	int fd = openat(dir, op->path, O_RDWR | O_CLOEXEC), r = 0;
	struct stat st = { 0 };
	uint8_t *map;

	if (fd < 0)
		return -errno;
	(void)fstat(fd, &st);
	if ((size_t)st.st_size <= op->off) {
		close(fd);
		return -ERANGE;
	}
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		r = -errno;
	} else {
		size_t left = (size_t)st.st_size - op->off;

		memcpy(map + op->off, bytes_of(op), left < op->len ? left : op->len);
		munmap(map, (size_t)st.st_size);
	}
	return close(fd) < 0 && r == 0 ? -errno : r;
}

static int save(int dir, const struct model_op *op)
{
	char temporary[MODEL_PATH_MAX + 8];
	int r;

	(void)snprintf(temporary, sizeof(temporary), "%s.new", op->path);
	r = open_and_write(dir, op, temporary, O_RDWR | O_TRUNC);
	if (r == 0 && renameat(dir, temporary, dir, op->path) < 0) {
		r = -errno;
		(void)unlinkat(dir, temporary, 0);
	}
	return r;
}

static int open_slot(int dir, struct model_side *side, const struct model_op *op)
{
	int *fd = &side->fds[op->slot];

	if (*fd >= 0)
		return 0;
	*fd = openat(dir, op->path, O_RDWR | O_CLOEXEC | (op->data & 1 ? O_CREAT : 0), 0644);
	return *fd < 0 ? -errno : 0;
}

static int do_slot(struct model_side *side, const struct model_op *op)
{
	int *fd = &side->fds[op->slot], r;

	if (*fd < 0)
		return 0;
	switch (op->kind) {
	case MODEL_SLOT_WRITE:
		return write_all(*fd, op, false);
	case MODEL_SLOT_TRUNCATE:
		return result_of(ftruncate(*fd, (off_t)op->off));
	case MODEL_SLOT_FSYNC:
		return result_of(fsync(*fd));
	default:
		r = result_of(close(*fd));
		*fd = -1;
		return r;
	}
}

static int do_path(struct model_side *side, int dir, const struct model_op *op)
{
	int fd, r;

	switch (op->kind) {
	case MODEL_WRITE:
		return open_and_write(dir, op, op->path, O_RDWR);
	case MODEL_APPEND:
		return open_and_write(dir, op, op->path, O_WRONLY | O_APPEND);
	case MODEL_REPLACE:
		return open_and_write(dir, op, op->path, O_WRONLY | O_TRUNC);
	case MODEL_TRUNCATE:
		fd = openat(dir, op->path, O_WRONLY | O_CLOEXEC);
		r = fd < 0 ? -errno : result_of(ftruncate(fd, (off_t)op->off));
		if (fd >= 0)
			close(fd);
		return r;
	case MODEL_MMAP:
		return map_and_write(dir, op);
	case MODEL_MKDIR:
		return result_of(mkdirat(dir, op->path, 0755));
	case MODEL_RMDIR:
		return result_of(unlinkat(dir, op->path, AT_REMOVEDIR));
	case MODEL_UNLINK:
		return result_of(unlinkat(dir, op->path, 0));
	case MODEL_RENAME:
		return result_of(renameat(dir, op->path, dir, op->to));
	case MODEL_SAVE:
		return save(dir, op);
	case MODEL_OPEN:
		return open_slot(dir, side, op);
	default:
		return do_slot(side, op);
	}
}

int model_do(struct model_side *side, const struct model_op *op)
{
	int dir = open(side->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (dir < 0)
		return -errno;
	r = do_path(side, dir, op);
	close(dir);
	return r;
}

void model_close(struct model_side *side)
{
	for (size_t i = 0; i < MODEL_SLOTS; i++) {
		if (side->fds[i] >= 0)
			close(side->fds[i]);
		side->fds[i] = -1;
	}
}

void model_print(const struct model_op *op, int result)
{
	static const char *const names[MODEL_KINDS_N] = {
		"write", "append",     "truncate",      "mmap",       "replace",
		"mkdir", "rmdir",      "unlink",        "rename",     "save",
		"open",  "slot write", "slot truncate", "slot fsync", "slot close",
	};

	printf("%s %s", names[op->kind], op->path);
	if (op->kind == MODEL_RENAME)
		printf(" %s", op->to);
	printf(" slot %u, %zu + %zu: %s\n", op->slot, op->off, op->len,
	       result == 0 ? "ok" : strerror(-result));
}

ssize_t model_read(const char *root, const char *path, const uint8_t **ret)
{
	static uint8_t bytes[4 * MODEL_FILE_MAX];
	char full[4300];
	ssize_t done = 0, n;
	int fd;

	(void)snprintf(full, sizeof(full), "%s/%s", root, path);
	fd = open(full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while ((n = read(fd, bytes + done, sizeof(bytes) - (size_t)done)) > 0)
		done += n;
	if (n < 0)
		done = -errno;
	close(fd);
	*ret = bytes;
	return done;
}

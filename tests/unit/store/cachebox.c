#include "cachebox.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int cachebox_setup(void **state)
{
	struct cachebox *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/gfs-test-cache-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	return 0;
}

int cachebox_teardown(void **state)
{
	struct cachebox *p = *state;
	char cmd[96];

	close(p->fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", p->path);
	free(p);
	return system(cmd);
}

struct cache *cachebox_open(struct cachebox *p, const char *epoch, uint64_t budget)
{
	struct cache *cache;

	assert_int_equal(cache_new(p->fd, epoch, budget, &cache), 0);
	/* What these tests see must not depend on how full the disk below is. */
	cache_set_keep_free(cache, 0);
	return cache;
}

/* The byte at each place of a content tells its content and its place. */
void cachebox_fill(uint64_t cid, uint64_t block, char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(cid * 31 + block * 7 + i % 251 + 1);
}

int cachebox_write(struct cache_file *f, uint64_t cid, uint64_t block)
{
	static _Thread_local char buf[BLOCK];
	uint64_t left = cache_size(f) - block * BLOCK;
	size_t len = left < BLOCK ? (size_t)left : BLOCK;

	cachebox_fill(cid, block, buf, len);
	return cache_write(f, block, buf, len);
}

bool cachebox_is_right(struct cache_file *f, uint64_t cid, uint64_t block)
{
	static char buf[BLOCK], want[BLOCK];
	uint64_t left = cache_size(f) - block * BLOCK;
	size_t len = left < BLOCK ? (size_t)left : BLOCK;

	cachebox_fill(cid, block, want, len);
	return cache_read(f, block * BLOCK, buf, len) == 0 && memcmp(buf, want, len) == 0;
}

void cachebox_hash(uint64_t cid, uint64_t size, uint8_t ret[QUICKXOR_BYTES])
{
	static char buf[BLOCK];
	struct quickxor x;

	quickxor_init(&x);
	for (uint64_t off = 0; off < size; off += BLOCK) {
		size_t len = size - off < BLOCK ? (size_t)(size - off) : BLOCK;

		cachebox_fill(cid, off / BLOCK, buf, len);
		quickxor_add(&x, off, buf, len);
	}
	quickxor_finish(&x, size, ret);
}

void cachebox_put(struct cache *cache, uint64_t cid, uint64_t size)
{
	struct cache_file *f;

	assert_int_equal(cache_open(cache, cid, size, NULL, &f), 0);
	assert_int_equal(cachebox_write(f, cid, 0), 0);
	cache_close(f);
}

bool cachebox_has(struct cache *cache, uint64_t cid, uint64_t size)
{
	struct cache_file *f;
	bool has;

	assert_int_equal(cache_open(cache, cid, size, NULL, &f), 0);
	has = cache_has_block(f, 0);
	cache_close(f);
	return has;
}

void cachebox_file(struct cachebox *p, const char *name, const char *text)
{
	int fd = openat(p->fd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

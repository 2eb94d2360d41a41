#include "simtree.h"
#include "simjson.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unicase.h>

/* Address space is reserved once and touched as it fills, so nothing is ever copied or moved. */
enum { ITEMS_MAX = 1 << 23, NAMES_MAX_BYTES = 1 << 28, NAME_MAX_BYTES = 4096, BUCKETS_MIN = 1024 };

uint64_t simtree_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int64_t simtree_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void *reserve(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED) {
		perror("graphsim: mmap");
		exit(EXIT_FAILURE);
	}
	return at;
}

static void log_append(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];
	unsigned d = it->drive;
	uint64_t now = simtree_now_ns();

	t->last_seq = now > t->last_seq ? now : t->last_seq + 1;
	it->seq = t->last_seq;
	it->log_prev = t->log_last[d];
	it->log_next = SIMTREE_NONE;
	if (it->log_prev)
		t->items[it->log_prev].log_next = n;
	else
		t->log_first[d] = n;
	t->log_last[d] = n;
}

static void log_remove(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];
	unsigned d = it->drive;

	if (it->log_prev)
		t->items[it->log_prev].log_next = it->log_next;
	else
		t->log_first[d] = it->log_next;
	if (it->log_next)
		t->items[it->log_next].log_prev = it->log_prev;
	else
		t->log_last[d] = it->log_prev;
}

/* What is below a folder changed: another cTag, and nothing that the log would tell. */
static void stir(struct simtree *t, uint32_t folder)
{
	for (; folder; folder = t->items[folder].parent)
		t->items[folder].content_n++;
}

static void changed(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];

	log_remove(t, n);
	log_append(t, n);
	it->change_n++;
	it->modified_ms = simtree_now_ms();
	stir(t, it->parent);
	if (t->on_change)
		t->on_change(t->on_change_arg, it->drive);
}

static uint32_t new_item(struct simtree *t, unsigned drive, unsigned flags)
{
	uint32_t n = t->item_n++;
	struct simtree_item *it = &t->items[n];

	it->drive = (uint8_t)drive;
	it->flags = (uint8_t)flags;
	it->created_ms = it->modified_ms = it->mtime_ms = simtree_now_ms();
	it->content_n = it->change_n = 1;
	return n;
}

void simtree_init(struct simtree *t)
{
	*t = (struct simtree){ .item_n = 1, .bucket_n = BUCKETS_MIN, .name_bytes = 1 };
	t->items = reserve((size_t)ITEMS_MAX * sizeof(*t->items));
	t->names = reserve(NAMES_MAX_BYTES);
	t->buckets = simjson_alloc(BUCKETS_MIN * sizeof(*t->buckets));
	for (unsigned d = 0; d < SIMTREE_DRIVES; d++) {
		t->root[d] = new_item(t, d, SIMTREE_FOLDER | SIMTREE_ROOT);
		log_append(t, t->root[d]);
	}
}

void simtree_fini(struct simtree *t)
{
	munmap(t->items, (size_t)ITEMS_MAX * sizeof(*t->items));
	munmap(t->names, NAMES_MAX_BYTES);
	free(t->buckets);
}

const char *simtree_name(const struct simtree *t, uint32_t n, size_t *ret_len)
{
	if (t->items[n].flags & SIMTREE_ROOT) {
		*ret_len = 4;
		return "root";
	}
	*ret_len = t->items[n].name_len;
	return t->names + t->items[n].name_at;
}

char *simtree_dup_name(const struct simtree *t, uint32_t n)
{
	size_t len;
	const char *name = simtree_name(t, n, &len);
	char *copy = simjson_alloc(len + 1);

	return memcpy(copy, name, len);
}

/* --- names --- */

static bool is_ascii(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)s[i] >= 0x80)
			return false;
	return true;
}

/* The name in the form it is compared in: into fold when it fits, else memory the caller frees. */
static char *folded(const char *name, size_t len, char *fold, size_t *ret_len)
{
	uint8_t *other;

	if (is_ascii(name, len) && len <= NAME_MAX_BYTES) {
		for (size_t i = 0; i < len; i++)
			fold[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] + 32) : name[i];
		*ret_len = len;
		return fold;
	}
	other = u8_casefold((const uint8_t *)name, len, NULL, NULL, NULL, ret_len);
	if (other)
		return (char *)other;
	/* Planted invalid UTF-8: it equals itself only. */
	memcpy(fold, name, len);
	*ret_len = len;
	return fold;
}

static bool same_name(const char *a, size_t a_len, const char *b, size_t b_len)
{
	char a_fold[NAME_MAX_BYTES], b_fold[NAME_MAX_BYTES];
	char *x, *y;
	bool same;

	if (a_len == b_len && memcmp(a, b, a_len) == 0)
		return true;
	if (is_ascii(a, a_len) && is_ascii(b, b_len) && a_len != b_len)
		return false;
	x = folded(a, a_len, a_fold, &a_len);
	y = folded(b, b_len, b_fold, &b_len);
	same = a_len == b_len && memcmp(x, y, a_len) == 0;
	if (x != a_fold)
		free(x);
	if (y != b_fold)
		free(y);
	return same;
}

static uint32_t bucket_of(const struct simtree *t, uint32_t folder, const char *name, size_t len)
{
	char fold[NAME_MAX_BYTES];
	char *x = folded(name, len, fold, &len);
	uint64_t h = 0xcbf29ce484222325u ^ simid_mix(folder);

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char)x[i]) * 0x100000001b3u;
	if (x != fold)
		free(x);
	return (uint32_t)(simid_mix(h) & (t->bucket_n - 1));
}

static void bucket_add(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];
	uint32_t b = bucket_of(t, it->parent, t->names + it->name_at, it->name_len);

	it->bucket_next = t->buckets[b];
	t->buckets[b] = n;
}

static void bucket_remove(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];
	uint32_t b = bucket_of(t, it->parent, t->names + it->name_at, it->name_len);
	uint32_t *at = &t->buckets[b];

	while (*at != n)
		at = &t->items[*at].bucket_next;
	*at = it->bucket_next;
}

static void buckets_grow(struct simtree *t)
{
	free(t->buckets);
	t->bucket_n *= 2;
	t->buckets = simjson_alloc(t->bucket_n * sizeof(*t->buckets));
	for (uint32_t n = 1; n < t->item_n; n++)
		if (t->items[n].parent && !(t->items[n].flags & SIMTREE_DELETED))
			bucket_add(t, n);
}

static void set_name(struct simtree *t, uint32_t n, const char *name, size_t len)
{
	struct simtree_item *it = &t->items[n];

	it->name_at = t->name_bytes;
	it->name_len = (uint16_t)len;
	memcpy(t->names + it->name_at, name, len);
	t->name_bytes += (uint32_t)len;
}

uint32_t simtree_child(struct simtree *t, uint32_t folder, const char *name, size_t len)
{
	if (len == 0 || len > NAME_MAX_BYTES)
		return SIMTREE_NONE;
	for (uint32_t n = t->buckets[bucket_of(t, folder, name, len)]; n;
	     n = t->items[n].bucket_next)
		if (t->items[n].parent == folder &&
		    same_name(t->names + t->items[n].name_at, t->items[n].name_len, name, len))
			return n;
	return SIMTREE_NONE;
}

uint32_t simtree_find(struct simtree *t, uint32_t from, const char *path)
{
	while (from) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			return from;
		from = simtree_child(t, from, path, len);
		path += len;
	}
	return SIMTREE_NONE;
}

bool simtree_is_alive(const struct simtree *t, uint32_t n)
{
	return n > 0 && n < t->item_n && !(t->items[n].flags & SIMTREE_DELETED);
}

bool simtree_is_below(struct simtree *t, uint32_t n, uint32_t folder)
{
	for (; n; n = t->items[n].parent)
		if (n == folder)
			return true;
	return false;
}

char *simtree_path(struct simtree *t, uint32_t n)
{
	size_t len = 0;
	char *path;

	for (uint32_t up = n; t->items[up].parent; up = t->items[up].parent)
		len += t->items[up].name_len + 1u;
	path = simjson_alloc(len + 1);
	if (len == 0)
		return path;
	path[--len] = '\0';
	for (uint32_t up = n; t->items[up].parent; up = t->items[up].parent) {
		len -= t->items[up].name_len;
		memcpy(path + len, t->names + t->items[up].name_at, t->items[up].name_len);
		if (len > 0)
			path[--len] = '/';
	}
	return path;
}

/* --- changes --- */

static void link_child(struct simtree *t, uint32_t n, uint32_t folder)
{
	struct simtree_item *it = &t->items[n], *up = &t->items[folder];

	it->parent = folder;
	it->prev_sibling = up->last_child;
	it->next_sibling = SIMTREE_NONE;
	if (it->prev_sibling)
		t->items[it->prev_sibling].next_sibling = n;
	else
		up->first_child = n;
	up->last_child = n;
	up->child_n++;
	bucket_add(t, n);
}

static void unlink_child(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n], *up = &t->items[it->parent];

	bucket_remove(t, n);
	if (it->prev_sibling)
		t->items[it->prev_sibling].next_sibling = it->next_sibling;
	else
		up->first_child = it->next_sibling;
	if (it->next_sibling)
		t->items[it->next_sibling].prev_sibling = it->prev_sibling;
	else
		up->last_child = it->prev_sibling;
	up->child_n--;
}

int simtree_add(struct simtree *t, uint32_t folder, const char *name, size_t len, unsigned flags,
		uint32_t *ret_item)
{
	uint32_t n;

	if (len == 0 || len > NAME_MAX_BYTES)
		return -EINVAL;
	if (simtree_child(t, folder, name, len))
		return -EEXIST;
	if (t->item_n == ITEMS_MAX || t->name_bytes > NAMES_MAX_BYTES - len)
		return -ENOSPC;
	if (t->item_n > t->bucket_n)
		buckets_grow(t);
	n = new_item(t, t->items[folder].drive, flags);
	set_name(t, n, name, len);
	link_child(t, n, folder);
	log_append(t, n);
	stir(t, folder);
	if (!(flags & SIMTREE_FOLDER))
		t->file_n[t->items[n].drive]++;
	if (t->on_change)
		t->on_change(t->on_change_arg, t->items[n].drive);
	*ret_item = n;
	return 0;
}

int simtree_move(struct simtree *t, uint32_t n, uint32_t folder, const char *name, size_t len)
{
	uint32_t taken;

	if (len == 0 || len > NAME_MAX_BYTES || simtree_is_below(t, folder, n))
		return -EINVAL;
	taken = simtree_child(t, folder, name, len);
	if (taken && taken != n)
		return -EEXIST;
	if (t->name_bytes > NAMES_MAX_BYTES - len)
		return -ENOSPC;
	stir(t, t->items[n].parent);
	unlink_child(t, n);
	set_name(t, n, name, len);
	link_child(t, n, folder);
	changed(t, n);
	return 0;
}

static void delete_one(struct simtree *t, uint32_t n)
{
	struct simtree_item *it = &t->items[n];

	t->used_bytes[it->drive] -= it->size;
	if (!(it->flags & SIMTREE_FOLDER))
		t->file_n[it->drive]--;
	unlink_child(t, n);
	t->items[n].flags |= SIMTREE_DELETED;
	changed(t, n);
}

void simtree_delete(struct simtree *t, uint32_t n)
{
	uint32_t at = n;

	/* Down to the first leaf, delete it, and again from its folder: no recursion. */
	while (t->items[n].first_child) {
		while (t->items[at].first_child)
			at = t->items[at].first_child;
		uint32_t folder = t->items[at].parent;

		delete_one(t, at);
		at = folder;
	}
	delete_one(t, n);
}

void simtree_set_size(struct simtree *t, uint32_t n, uint64_t size)
{
	struct simtree_item *it = &t->items[n];

	t->used_bytes[it->drive] += size - it->size;
	it->size = size;
}

void simtree_touch(struct simtree *t, uint32_t n, bool is_content)
{
	if (is_content)
		t->items[n].content_n++;
	changed(t, n);
}

#include "draftbox.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

int draftbox_setup(void **state)
{
	struct draftbox *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/gfs-test-draft-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	draftbox_begin(p);
	return 0;
}

int draftbox_teardown(void **state)
{
	struct draftbox *p = *state;
	char cmd[96];

	draftbox_end(p);
	close(p->fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", p->path);
	free(p);
	return system(cmd);
}

void draftbox_begin(struct draftbox *p)
{
	assert_int_equal(draft_dir_new(p->fd, &p->dir), 0);
}

void draftbox_begin_boot(struct draftbox *p, uint64_t boot)
{
	draftbox_begin(p);
	p->dir->boot = boot | 1;
}

void draftbox_end(struct draftbox *p)
{
	draft_dir_free(p->dir);
	p->dir = NULL;
}

struct draft_header draftbox_header(uint64_t base_size)
{
	return (struct draft_header){
		.ino = 77,
		.dir_path = (char *)"some/folder",
		.name = (char *)"name",
		.base_cid = base_size > 0 ? 5 : 0,
		.base_size = base_size,
		.base_etag = (char *)"\"{1},1\"",
	};
}

struct draft *draftbox_create(struct draftbox *p, uint64_t cid, uint64_t base_size)
{
	struct draft_header header = draftbox_header(base_size);
	struct draft *d;

	assert_int_equal(draft_create(p->dir, cid, &header, &d), 0);
	return d;
}

struct draft *draftbox_open(struct draftbox *p, uint64_t cid)
{
	struct draft *d;

	assert_int_equal(draft_open(p->dir, cid, &d), 0);
	return d;
}

bool draftbox_has(struct draftbox *p, const char *name)
{
	return faccessat(p->fd, name, F_OK, 0) == 0;
}

/* --- the model --- */

uint8_t draftbox_base(uint64_t off)
{
	return (uint8_t)(off * 7 % 251 + 1);
}

void model_init(struct model *m, uint64_t base_size)
{
	memset(m, 0, sizeof(*m));
	m->size = m->base_end = base_size;
	for (uint64_t i = 0; i < base_size; i++) {
		m->data[i] = draftbox_base(i);
		m->place[i] = MODEL_SHOWS;
	}
}

static uint64_t next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

void op_make(struct op *op, uint64_t seed, uint64_t i)
{
	uint64_t x = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (i + 1) * 0x2545f491, what;

	for (int k = 0; k < 4; k++)
		(void)next(&x);
	what = next(&x) % 16;
	op->kind = what < 9 ? OP_WRITE : what < 12 ? OP_TRUNCATE : OP_FILL;
	op->off = next(&x) % (what < 4 ? MODEL_MAX / 8 : MODEL_MAX);
	op->len = 1 + next(&x) % (what % 3 == 0 ? 100 : MODEL_LEN_MAX);
	if (op->len > MODEL_MAX - op->off)
		op->len = MODEL_MAX - op->off;
	for (uint64_t k = 0; k < op->len; k++)
		op->bytes[k] = op->kind == OP_FILL ? draftbox_base(op->off + k)
						   : (uint8_t)(next(&x) % 255 + 1);
}

int op_do(const struct op *op, struct draft *d)
{
	ssize_t n;

	switch (op->kind) {
	case OP_WRITE:
		n = draft_write(d, op->off, op->bytes, op->len);
		return n < 0 ? (int)n : 0;
	case OP_TRUNCATE:
		return draft_truncate(d, op->off);
	case OP_FILL:
		return draft_fill(d, op->off, op->bytes, op->len);
	}
	return -1;
}

void model_apply(struct model *m, const struct op *op)
{
	uint64_t end = op->off + op->len;

	switch (op->kind) {
	case OP_WRITE:
		memcpy(m->data + op->off, op->bytes, op->len);
		memset(m->place + op->off, 0, op->len);
		m->size = m->size > end ? m->size : end;
		break;
	case OP_TRUNCATE:
		m->size = op->off;
		m->base_end = m->base_end < m->size ? m->base_end : m->size;
		memset(m->data + m->size, 0, MODEL_MAX - m->size);
		memset(m->place + m->size, 0, MODEL_MAX - m->size);
		break;
	case OP_FILL:
		for (uint64_t i = op->off; i < end && i < m->base_end; i++)
			if (m->place[i] == MODEL_SHOWS)
				m->place[i] = MODEL_FILLED;
		break;
	}
}

static bool is_any(const struct model *const *any_of, size_t n, uint64_t at, bool is_base,
		   uint8_t byte)
{
	for (size_t i = 0; i < n; i++) {
		const struct model *m = any_of[i];
		bool shows = m->place[at] == MODEL_SHOWS;

		if (is_base && (shows || (m->may_unfill && m->place[at] == MODEL_FILLED)))
			return true;
		if (!is_base && !shows && m->data[at] == byte)
			return true;
	}
	return false;
}

static bool is_piece(const struct model *const *any_of, size_t n, struct draft *d,
		     const struct draft_piece *piece)
{
	static uint8_t buf[MODEL_MAX];
	bool is_base = piece->kind == DRAFT_BASE;

	if (piece->off + piece->len > MODEL_MAX)
		return false;
	memset(buf, 0, piece->len);
	if (piece->kind == DRAFT_WRITTEN &&
	    draft_read(d, piece->off, buf, piece->len) != (ssize_t)piece->len)
		return false;
	for (uint64_t i = 0; i < piece->len; i++) {
		if (is_any(any_of, n, piece->off + i, is_base, buf[i]))
			continue;
		print_message("byte %lu of kind %d is %d, not %d\n",
			      (unsigned long)(piece->off + i), (int)piece->kind, buf[i],
			      any_of[n - 1]->data[piece->off + i]);
		return false;
	}
	return true;
}

bool model_is(const struct model *const *any_of, size_t n, struct draft *d, uint64_t off,
	      uint64_t len)
{
	uint64_t size = draft_size(d), end = off + len < size ? off + len : size;
	struct draft_piece pieces[64];
	bool is_size = false;

	for (size_t i = 0; i < n; i++)
		is_size |= any_of[i]->size == size;
	if (!is_size) {
		print_message("size %lu, not %lu\n", (unsigned long)size,
			      (unsigned long)any_of[n - 1]->size);
		return false;
	}
	while (off < end) {
		size_t pieces_n = draft_get_pieces(d, off, end - off, pieces, 64);

		if (pieces_n == 0)
			return false;
		for (size_t i = 0; i < pieces_n; i++) {
			if (pieces[i].off != off || pieces[i].len == 0 ||
			    !is_piece(any_of, n, d, &pieces[i]))
				return false;
			off += pieces[i].len;
		}
	}
	return off == end || len == 0 || off >= size;
}

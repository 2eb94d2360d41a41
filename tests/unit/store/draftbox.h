/*
 * Drafts in a scratch directory, changes that follow from a seed, and a plain model of what a draft
 * is after them. Fails the test when something cannot be set up.
 */
#pragma once

#include "draft_file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct draftbox {
	char path[64];
	int fd;
	struct draft_dir *dir; /* NULL: not open */
};

/* For cmocka; *state is the box, its directory open. */
int draftbox_setup(void **state);
int draftbox_teardown(void **state);
void draftbox_begin(struct draftbox *p);
void draftbox_end(struct draftbox *p);
/* As after a reboot: boot is the number that drafts are then written under. */
void draftbox_begin_boot(struct draftbox *p, uint64_t boot);
/* A header with some base, "name" in "some/folder". */
struct draft_header draftbox_header(uint64_t base_size);
struct draft *draftbox_create(struct draftbox *p, uint64_t cid, uint64_t base_size);
struct draft *draftbox_open(struct draftbox *p, uint64_t cid);
bool draftbox_has(struct draftbox *p, const char *name);

enum { MODEL_MAX = 128 * 1024, MODEL_LEN_MAX = 8 * 1024 };

/* What a draft is; what shows of the base is in data, too. */
enum model_place { MODEL_OWN, MODEL_SHOWS, MODEL_FILLED };
struct model {
	uint64_t size, base_end;
	bool may_unfill; /* what was filled may show the base again */
	uint8_t data[MODEL_MAX];
	uint8_t place[MODEL_MAX];
};
enum op_kind { OP_WRITE, OP_TRUNCATE, OP_FILL };
struct op {
	enum op_kind kind;
	uint64_t off, len; /* off: the size, for OP_TRUNCATE */
	uint8_t bytes[MODEL_LEN_MAX];
};

uint8_t draftbox_base(uint64_t off);
void model_init(struct model *m, uint64_t base_size);
/* The i-th change. */
void op_make(struct op *op, uint64_t seed, uint64_t i);
int op_do(const struct op *op, struct draft *d);
void model_apply(struct model *m, const struct op *op);
/* Is the draft, or its part, what one of these models is at each place, in one of their sizes? */
bool model_is(const struct model *const *any_of, size_t n, struct draft *d, uint64_t off,
	      uint64_t len);

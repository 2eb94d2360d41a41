/*
 * One random change of a tree of files by system calls, the same wherever the tree is: a folder of
 * the local disk that gets the same changes is the model of the mount. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MODEL_SLOTS = 3, MODEL_FILE_MAX = 1 << 20, MODEL_PATH_MAX = 64 };

enum model_kind {
	MODEL_WRITE,    /* open, create, write at an offset, close */
	MODEL_APPEND,   /* the same at the end */
	MODEL_TRUNCATE, /* by path */
	MODEL_MMAP,     /* a part of a file that is there */
	MODEL_REPLACE,  /* O_TRUNC */
	MODEL_MKDIR,
	MODEL_RMDIR,
	MODEL_UNLINK,
	MODEL_RENAME,
	MODEL_SAVE, /* a new file, renamed over the path */
	/* A file that stays open: */
	MODEL_OPEN,
	MODEL_SLOT_WRITE,
	MODEL_SLOT_TRUNCATE,
	MODEL_SLOT_FSYNC,
	MODEL_SLOT_CLOSE,
	MODEL_KINDS_N,
};

struct model_op {
	enum model_kind kind;
	char path[MODEL_PATH_MAX], to[MODEL_PATH_MAX];
	unsigned slot;
	size_t off, len;
	uint64_t data; /* of which the bytes are made */
};

struct model_side {
	const char *root;
	int fds[MODEL_SLOTS]; /* -1: free */
};

/* A number below n, of the sequence that the seed gives. */
uint64_t model_random(uint64_t *seed, uint64_t n);
/* The next change; slots: take part in it. */
void model_choose(uint64_t *seed, bool slots, struct model_op *ret);
/* 0, or -errno. */
int model_do(struct model_side *side, const struct model_op *op);
void model_close(struct model_side *side);
void model_print(const struct model_op *op, int result);
/* The file's bytes in a buffer that the next call overwrites: their number, or -errno. */
ssize_t model_read(const char *root, const char *path, const uint8_t **ret);

#define LOG_MODULE "fs"
#include "ops.h"

#include "content.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* --- open --- */

struct parked_open {
	struct parked parked;
	struct fs *fs;
	fuse_ino_t ino;
	struct fuse_file_info fi;
};

static void reply_open(fuse_req_t req, struct content_handle *h, bool keep_cache,
		       struct fuse_file_info *fi)
{
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->keep_cache = keep_cache;
	fi->noflush = 1;
	if (fuse_reply_open(req, fi) != 0)
		content_close(h); /* interrupted: there will be no RELEASE */
}

static bool cancel_open(struct parked *p)
{
	return false; /* the store lane's call comes in any case, and soon */
}

static void free_open(struct parked *p)
{
	free(container_of(p, struct parked_open, parked));
}

/* What was being committed is: the inode is current again, or history (ESTALE, and the kernel
 * looks the name up once more). Store lane. */
static void on_settled(void *arg)
{
	struct parked_open *open = arg;
	struct content_handle *h;
	bool keep_cache;
	int r;

	if (park_claim(&open->parked)) {
		r = content_open(open->fs->options.content, open->ino, &h, &keep_cache);
		if (r == 0)
			reply_open(open->parked.req, h, keep_cache, &open->fi);
		else
			fuse_reply_err(open->parked.req, r == CONTENT_WAIT ? ESTALE : -r);
	}
	park_unref(&open->parked);
}

static void park_open(fuse_req_t req, struct fs *fs, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct parked_open *open = calloc(1, sizeof(*open));

	if (!open) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	open->parked = (struct parked){ .req = req, .cancel = cancel_open, .free = free_open };
	open->fs = fs;
	open->ino = ino;
	open->fi = *fi;
	if (!park_begin(fs->park, &open->parked))
		return;
	park_arm(&open->parked);
	if (content_on_settled(fs->options.content, on_settled, open) < 0) {
		if (park_claim(&open->parked))
			fuse_reply_err(req, ENOMEM);
		park_unref(&open->parked);
	}
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);
	struct content_handle *h;
	bool keep_cache;
	int r;

	if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC)) {
		if (!ops_is_replay(req)) {
			fuse_reply_err(req, EROFS);
			return;
		}
		/* For the event only: no content behind it, and the kernel's pages stay. */
		fi->fh = 0;
		fi->keep_cache = 1;
		fi->noflush = 1;
		(void)fuse_reply_open(req, fi);
		return;
	}
	r = content_open(fs->options.content, ino, &h, &keep_cache);
	if (r == CONTENT_WAIT)
		park_open(req, fs, ino, fi);
	else if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_open(req, h, keep_cache, fi);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ops_fs(req);
	if (fi->fh)
		content_close((struct content_handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* --- read --- */

struct parked_read {
	struct parked parked;
	struct content_read read;
	char data[];
};

static bool cancel_read(struct parked *p)
{
	return content_read_cancel(&container_of(p, struct parked_read, parked)->read);
}

static void free_read(struct parked *p)
{
	free(container_of(p, struct parked_read, parked));
}

static void reply_read(fuse_req_t req, const char *data, ssize_t got)
{
	if (got < 0)
		fuse_reply_err(req, (int)-got);
	else
		fuse_reply_buf(req, data, (size_t)got);
}

static void on_read_done(struct content_read *read, ssize_t got)
{
	struct parked_read *p = container_of(read, struct parked_read, read);

	if (park_claim(&p->parked))
		reply_read(p->parked.req, p->data, got);
	park_unref(&p->parked);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);
	struct parked_read *p;
	bool is_parked = false;
	ssize_t got;

	if (!fi->fh) {
		fuse_reply_err(req, EBADF);
		return;
	}
	p = malloc(sizeof(*p) + size);
	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	p->parked = (struct parked){ .req = req, .cancel = cancel_read, .free = free_read };
	p->read = (struct content_read){
		.h = (struct content_handle *)(uintptr_t)fi->fh,
		.off = (uint64_t)off,
		.len = size,
		.buf = p->data,
		.done = on_read_done,
	};
	if (!park_begin(fs->park, &p->parked))
		return;
	got = content_read_start(&p->read, &is_parked);
	if (is_parked) {
		park_arm(&p->parked);
		return;
	}
	if (park_claim(&p->parked))
		reply_read(req, p->data, got);
	park_unref(&p->parked);
}

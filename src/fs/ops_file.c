#define LOG_MODULE "fs"
#include "ops.h"

#include "content.h"
#include "inodes.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* --- open --- */

/* In a handle's mark, beside the class of its reader. */
enum { MARK_CLASS = 0xff, MARK_REFUSED = 0x100 };

/* Who opens it decides what the handle may do, whoever reads through it later. */
static void set_reader(struct fs *fs, struct content_handle *h, enum reader_class class)
{
	static const uint64_t limits[] = {
		[READER_LOW] = UINT64_MAX,
		[READER_HEAD] = CONTENT_HEAD_BYTES,
		[READER_CACHED] = 0,
	};
	enum reader_policy policy = reader_policy_of(fs->reader, class);

	*content_mark(h) = class;
	reader_note_open(fs->reader, class);
	if (policy != READER_ALLOW)
		content_set_background(h, limits[policy]);
}

static enum reader_class class_of(fuse_req_t req, struct fs *fs)
{
	if (ops_is_replay(req))
		return READER_PERSON;
	return reader_of(fs->reader, fuse_req_ctx(req)->pid);
}

struct parked_open {
	struct parked parked;
	struct fs *fs;
	fuse_ino_t ino;
	enum reader_class class;
	struct fuse_file_info fi;
};

static void reply_open(fuse_req_t req, struct content_handle *h, bool keep_cache,
		       struct fuse_file_info *fi)
{
	if ((fi->flags & O_ACCMODE) != O_RDONLY)
		content_set_writer(h);
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
		if (r == 0) {
			set_reader(open->fs, h, open->class);
			reply_open(open->parked.req, h, keep_cache, &open->fi);
		} else {
			fuse_reply_err(open->parked.req, r == CONTENT_WAIT ? ESTALE : -r);
		}
	}
	park_unref(&open->parked);
}

static void park_open(fuse_req_t req, struct fs *fs, fuse_ino_t ino, enum reader_class class,
		      struct fuse_file_info *fi)
{
	struct parked_open *open = calloc(1, sizeof(*open));

	if (!open) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	open->parked = (struct parked){ .req = req, .cancel = cancel_open, .free = free_open };
	open->fs = fs;
	open->ino = ino;
	open->class = class;
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
	enum reader_class class;
	bool keep_cache;
	int r;

	if ((fi->flags & O_ACCMODE) != O_RDONLY && !fs->options.is_writable &&
	    !ops_is_replay(req)) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if ((fi->flags & O_ACCMODE) != O_RDONLY && ops_is_replay(req)) {
		/* For the event only: no content behind it, and the kernel's pages stay. */
		fi->fh = 0;
		fi->keep_cache = 1;
		fi->noflush = 1;
		(void)fuse_reply_open(req, fi);
		return;
	}
	class = class_of(req, fs);
	r = content_open(fs->options.content, ino, &h, &keep_cache);
	if (r == CONTENT_WAIT) {
		park_open(req, fs, ino, class, fi);
	} else if (r < 0) {
		fuse_reply_err(req, -r);
	} else {
		set_reader(fs, h, class);
		reply_open(req, h, keep_cache, fi);
	}
}

void ops_reply_create(fuse_req_t req, const struct tree_attr *attr, struct content_handle *h,
		      struct fuse_file_info *fi)
{
	struct fs *fs = fuse_req_userdata(req);
	struct fuse_entry_param entry;

	if (inodes_ref_file(fs->options.inodes, attr->ino) < 0) {
		content_close(h);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ops_fill_entry(fs, attr, ops_lease_s(fs), &entry);
	fi->fh = (uint64_t)(uintptr_t)h;
	fi->noflush = 1;
	if (fuse_reply_create(req, &entry, fi) == 0)
		return;
	content_close(h);
	inodes_forget(fs->options.inodes, attr->ino, 1);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ops_fs(req);
	if (fi->fh)
		content_close((struct content_handle *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

/* --- read --- */

/* The kernel copies contents from pages to a buffer and from there to pages. One that begins a few
 * bytes into a page makes that copy up to seven times slower (measured: each load has to wait for
 * the store before it, whose address looks the same). */
enum { BUFFER_ALIGN = 4096 };

struct parked_read {
	struct parked parked;
	struct content_read read;
	_Alignas(BUFFER_ALIGN) char data[];
};

static void *alloc_aligned(size_t size)
{
	void *p;

	return posix_memalign(&p, BUFFER_ALIGN, size) == 0 ? p : NULL;
}

static bool cancel_read(struct parked *p)
{
	return content_read_cancel(&container_of(p, struct parked_read, parked)->read);
}

static void free_read(struct parked *p)
{
	free(container_of(p, struct parked_read, parked));
}

static void note_refused(struct fs *fs, enum reader_class class, struct content_handle *h)
{
	struct tree_attr attr;

	content_get_attr(h, &attr);
	reader_note_refused(fs->reader, class, attr.size);
}

static void count_read(struct fs *fs, struct content_handle *h, ssize_t got)
{
	atomic_uint *mark = content_mark(h);
	enum reader_class class = *mark & MARK_CLASS;

	if (got > 0)
		reader_note_read(fs->reader, class, (uint64_t)got);
	else if (got == -ENODATA && !(atomic_fetch_or(mark, MARK_REFUSED) & MARK_REFUSED))
		note_refused(fs, class, h);
}

static void reply_read(fuse_req_t req, struct content_handle *h, const char *data, ssize_t got)
{
	count_read(fuse_req_userdata(req), h, got);
	if (got < 0)
		fuse_reply_err(req, (int)-got);
	else
		fuse_reply_buf(req, data, (size_t)got);
}

static void on_read_done(struct content_read *read, ssize_t got)
{
	struct parked_read *p = container_of(read, struct parked_read, read);

	if (park_claim(&p->parked))
		reply_read(p->parked.req, read->h, p->data, got);
	park_unref(&p->parked);
}

static pthread_key_t buffer_key;
static pthread_once_t buffer_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
	if (pthread_key_create(&buffer_key, free) != 0)
		abort();
}

/* One for each thread that answers: memory of this size comes from the kernel and goes back there
 * each time, page by page. NULL: none, or a read of a size that was never agreed upon. */
static char *thread_buffer(size_t size)
{
	char *buf;

	if (size > OPS_IO_MAX)
		return NULL;
	(void)pthread_once(&buffer_once, make_key);
	buf = pthread_getspecific(buffer_key);
	if (buf)
		return buf;
	buf = alloc_aligned(OPS_IO_MAX);
	if (buf && pthread_setspecific(buffer_key, buf) != 0) {
		free(buf);
		return NULL;
	}
	return buf;
}

static void park_read(fuse_req_t req, struct fs *fs, struct content_handle *h, size_t size,
		      off_t off)
{
	struct parked_read *p = alloc_aligned(sizeof(*p) + size);
	bool is_parked = false;
	ssize_t got;

	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	p->parked = (struct parked){ .req = req, .cancel = cancel_read, .free = free_read };
	p->read = (struct content_read){
		.h = h,
		.off = (uint64_t)off,
		.len = size,
		.buf = p->data,
		.done = on_read_done,
	};
	if (!park_begin(fs->park, &p->parked))
		return;
	got = content_read_start(&p->read, &is_parked);
	if (!is_parked) {
		if (park_claim(&p->parked))
			reply_read(req, h, p->data, got);
		park_unref(&p->parked);
	}
	park_arm(&p->parked);
}

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct content_handle *h = (struct content_handle *)(uintptr_t)fi->fh;
	struct fs *fs = ops_fs(req);
	char *buf = thread_buffer(size);
	ssize_t got = -EAGAIN;

	if (!h) {
		fuse_reply_err(req, EBADF);
		return;
	}
	if (buf)
		got = content_read_now(h, (uint64_t)off, buf, size);
	if (got == -EAGAIN)
		park_read(req, fs, h, size, off);
	else
		reply_read(req, h, buf, got);
}

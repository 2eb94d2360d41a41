#define LOG_MODULE "fs"
#include "ops.h"

#include "content.h"
#include "inodes.h"
#include "listing.h"
#include "log.h"

#include <errno.h>
#include <string.h>

/* Offsets: 1 behind ".", 2 behind "..", and the inode number plus two behind an entry, so that a
 * position stays right while entries come and go. */
enum { OFF_DOT = 1, OFF_DOTS = 2 };

enum kind { LOOKUP, READDIR, READDIRPLUS };

/* A request of a directory that is not fully known. */
struct parked_dir {
	struct parked parked;
	struct listing_waiter waiter;
	struct fs *fs;
	enum kind kind;
	uint64_t dir, after; /* after: offset to go on from, as the kernel gave it */
	size_t size;
	char name[];
};

/* --- replies --- */

void ops_fill_entry(const struct fs *fs, const struct tree_attr *attr, double lease_s,
		    struct fuse_entry_param *ret)
{
	struct tree_attr now = *attr;

	*ret = (struct fuse_entry_param){
		.ino = attr->ino,
		.attr_timeout = lease_s,
		.entry_timeout = lease_s,
	};
	content_update_attr(fs->options.content, &now);
	ops_stat(fs, &now, &ret->attr);
}

static int ref(const struct fs *fs, const struct tree_attr *attr)
{
	return attr->kind == TREE_DIR ? inodes_ref_dir(fs->options.inodes, attr->ino)
				      : inodes_ref_file(fs->options.inodes, attr->ino);
}

void ops_reply_entry(fuse_req_t req, const struct tree_attr *attr, double lease_s)
{
	struct fs *fs = fuse_req_userdata(req);
	struct fuse_entry_param entry;

	if (ref(fs, attr) < 0) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	ops_fill_entry(fs, attr, lease_s, &entry);
	if (fuse_reply_entry(req, &entry) != 0)
		inodes_forget(fs->options.inodes, attr->ino, 1);
}

static void reply_absent(fuse_req_t req, double lease_s)
{
	const struct fuse_entry_param absent = { .entry_timeout = lease_s };

	fuse_reply_entry(req, &absent);
}

/* --- lookup --- */

/* Answers if the tree can: 0; 1 when the directory must be listed first. */
static int try_lookup(fuse_req_t req, struct fs *fs, uint64_t parent, const char *name,
		      struct parked *parked)
{
	struct tree_attr dir, attr;
	/* The directory first: complete before the look means that the look saw everything. */
	int r = tree_get(fs->options.tree, parent, &dir);
	int found = r < 0 ? r : tree_lookup(fs->options.tree, parent, name, &attr);
	double lease_s = ops_lease_s(fs);

	if (found == -ENOENT && r == 0 && !dir.complete)
		return 1;
	if (parked && !park_claim(parked))
		return 0;
	if (found == 0)
		ops_reply_entry(req, &attr, lease_s);
	else if (found == -ENOENT && r == 0)
		reply_absent(req, lease_s);
	else
		fuse_reply_err(req, found == -ENOENT ? ESTALE : -found);
	return 0;
}

/* --- listings --- */

struct fill {
	fuse_req_t req;
	struct fs *fs;
	char *data;
	size_t used, size;
	bool is_plus, is_full;
	bool is_bare; /* the kernel gets the names, but not the inodes */
	double lease_s;
	uint64_t *inodes; /* whose lookups this reply counts */
	size_t inodes_n, inodes_cap;
};

static bool add(struct fill *f, const struct tree_attr *attr, const char *name, off_t off,
		bool counts)
{
	char *at = f->data + f->used;
	size_t left = f->size - f->used, n;
	struct fuse_entry_param entry;

	ops_fill_entry(f->fs, attr, f->lease_s, &entry);
	if (f->is_bare)
		entry.ino = 0;
	n = f->is_plus ? fuse_add_direntry_plus(f->req, at, left, name, &entry, off)
		       : fuse_add_direntry(f->req, at, left, name, &entry.attr, off);
	if (n > left) {
		f->is_full = true;
		return false;
	}
	if (counts && f->is_plus && !f->is_bare) {
		if (ref(f->fs, attr) < 0) {
			f->is_full = true;
			return false;
		}
		f->inodes[f->inodes_n++] = attr->ino;
	}
	f->used += n;
	return true;
}

static int add_child(void *arg, const struct tree_attr *attr, const char *name)
{
	struct fill *f = arg;

	if (f->inodes_n == f->inodes_cap)
		return 1;
	return !add(f, attr, name, (off_t)attr->ino + OFF_DOTS, true);
}

static int fill_from_tree(struct fill *f, const struct tree_attr *dir, uint64_t off)
{
	struct tree_attr dots = *dir;

	if (off < OFF_DOT && !add(f, dir, ".", OFF_DOT, false))
		return 0;
	if (off < OFF_DOTS) {
		dots.ino = dir->parent ? dir->parent : dir->ino;
		if (!add(f, &dots, "..", OFF_DOTS, false))
			return 0;
	}
	return tree_list(f->fs->options.tree, dir->ino, off > OFF_DOTS ? off - OFF_DOTS : 0,
			 add_child, f);
}

static void drop_filled(struct fill *f)
{
	for (size_t i = 0; i < f->inodes_n; i++)
		inodes_forget(f->fs->options.inodes, f->inodes[i], 1);
}

static void reply_filled(struct fill *f, uint64_t dir)
{
	/* Noted first: room may come as soon as the kernel has the answer. */
	if (f->is_bare && f->used > 0)
		inodes_note_bare(f->fs->options.inodes, dir);
	if (fuse_reply_buf(f->req, f->data, f->used) != 0)
		drop_filled(f);
}

/* As try_lookup(). An empty reply is the end of the directory, and the kernel remembers it: never
 * given while the directory is not complete. */
static int try_readdir(fuse_req_t req, struct fs *fs, enum kind kind, uint64_t ino, size_t size,
		       uint64_t off, struct parked *parked)
{
	auto_free char *data = malloc(size);
	auto_free uint64_t *inodes = malloc((size / 32 + 1) * sizeof(*inodes));
	struct fill f = {
		.req = req,
		.fs = fs,
		.data = data,
		.size = size,
		.is_plus = kind == READDIRPLUS,
		.is_bare = kind == READDIRPLUS && !inodes_has_room(fs->options.inodes),
		.lease_s = ops_lease_s(fs),
		.inodes = inodes,
		.inodes_cap = size / 32 + 1,
	};
	struct tree_attr dir;
	int r = data && inodes ? tree_get(fs->options.tree, ino, &dir) : -ENOMEM;

	if (r == 0 && dir.kind != TREE_DIR)
		r = -ENOTDIR;
	if (r == 0)
		r = fill_from_tree(&f, &dir, off);
	if (r == 0 && f.used == 0 && !dir.complete)
		return 1;
	if (parked && !park_claim(parked)) {
		drop_filled(&f);
		return 0;
	}
	if (r < 0) {
		drop_filled(&f);
		fuse_reply_err(req, r == -ENOENT ? ESTALE : -r);
	} else {
		reply_filled(&f, ino);
	}
	return 0;
}

/* --- waiting for a listing --- */

static int try_again(struct parked_dir *p)
{
	if (p->kind == LOOKUP)
		return try_lookup(p->parked.req, p->fs, p->dir, p->name, &p->parked);
	return try_readdir(p->parked.req, p->fs, p->kind, p->dir, p->size, p->after, &p->parked);
}

static void on_listed(struct listing_waiter *w, int status)
{
	struct parked_dir *p = container_of(w, struct parked_dir, waiter);

	if (status < 0) {
		if (park_claim(&p->parked))
			fuse_reply_err(p->parked.req, -status);
	} else if (try_again(p) > 0) {
		listing_want(p->fs->options.listing, w);
		return;
	}
	park_unref(&p->parked);
}

static bool cancel_dir(struct parked *parked)
{
	struct parked_dir *p = container_of(parked, struct parked_dir, parked);

	return listing_unwant(p->fs->options.listing, &p->waiter);
}

static void free_dir(struct parked *parked)
{
	free(container_of(parked, struct parked_dir, parked));
}

static void park_dir(fuse_req_t req, struct fs *fs, enum kind kind, uint64_t dir, const char *name,
		     size_t size, uint64_t off)
{
	size_t len = strlen(name) + 1;
	struct parked_dir *p = calloc(1, sizeof(*p) + len);

	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	p->parked = (struct parked){
		.req = req,
		.dir = dir,
		.cancel = cancel_dir,
		.free = free_dir,
	};
	p->waiter = (struct listing_waiter){
		.dir = dir,
		.fn = on_listed,
		.is_walk = kind != LOOKUP,
	};
	list_init(&p->waiter.node);
	p->fs = fs;
	p->kind = kind;
	p->dir = dir;
	p->size = size;
	p->after = off;
	memcpy(p->name, name, len);
	if (!park_begin(fs->park, &p->parked))
		return;
	listing_want(fs->options.listing, &p->waiter);
	park_arm(&p->parked);
}

/* --- operations --- */

static void lookup_for_replay(fuse_req_t req, struct fs *fs, fuse_ino_t parent, const char *name)
{
	struct tree_attr attr;

	switch (replay_lookup(fs->replay, fuse_req_ctx(req)->pid, parent, name, &attr)) {
	case REPLAY_HIDDEN:
		reply_absent(req, 0);
		return;
	case REPLAY_OLD:
		ops_reply_entry(req, &attr, 0);
		return;
	case REPLAY_NORMAL:
	default:
		break;
	}
	if (tree_lookup(fs->options.tree, parent, name, &attr) == 0)
		ops_reply_entry(req, &attr, ops_lease_s(fs));
	else
		fuse_reply_err(req, ENOENT);
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fs *fs = ops_fs(req);

	if (ops_is_replay(req))
		lookup_for_replay(req, fs, parent, name);
	else if (try_lookup(req, fs, parent, name, NULL) > 0)
		park_dir(req, fs, LOOKUP, parent, name, 0, 0);
}

static void read_dir(fuse_req_t req, enum kind kind, fuse_ino_t ino, size_t size, off_t off)
{
	struct fs *fs = ops_fs(req);

	if (try_readdir(req, fs, kind, ino, size, (uint64_t)off, NULL) > 0)
		park_dir(req, fs, kind, ino, "", size, (uint64_t)off);
}

void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, READDIR, ino, size, off);
}

void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	read_dir(req, READDIRPLUS, ino, size, off);
}

void ops_reply_replayed(fuse_req_t req)
{
	struct fs *fs = ops_fs(req);
	struct tree_attr attr, now;

	if (!replay_get_attr(fs->replay, fuse_req_ctx(req)->pid, &attr)) {
		fuse_reply_err(req, EIO);
		return;
	}
	/* It may have changed again, or be gone, since; then the next change says so. */
	if (tree_get(fs->options.tree, attr.ino, &now) == 0)
		attr = now;
	ops_reply_entry(req, &attr, ops_lease_s(fs));
}

#define LOG_MODULE "fs"
#include "ops.h"

#include "content.h"
#include "log.h"
#include "quickxor.h"
#include "tree_local.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { BLOCK = 4096, NAME_MAX_BYTES = 255, STATE_BYTES = 256 };

/* Of a drive whose quota the service does not tell: large, as unknown is not full. */
static const uint64_t unknown_bytes = 5ull << 40;

/* An open inode may have outlived its row. */
static int find_attr(struct fs *fs, fuse_ino_t ino, struct tree_attr *ret)
{
	int r = tree_get(fs->options.tree, ino, ret);

	if (r == 0)
		content_update_attr(fs->options.content, ret);
	else if (r == -ENOENT)
		r = content_find_attr(fs->options.content, ino, ret);
	return r == -ENOENT ? -ESTALE : r;
}

static void reply_attr(fuse_req_t req, struct fs *fs, const struct tree_attr *attr)
{
	struct stat st;

	ops_stat(fs, attr, &st);
	fuse_reply_attr(req, &st, ops_lease_s(fs));
}

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);
	struct tree_attr attr;
	int r = find_attr(fs, ino, &attr);

	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_attr(req, fs, &attr);
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *wanted, int to_set,
		 struct fuse_file_info *fi)
{
	struct fs *fs = ops_fs(req);
	struct tree_attr attr;
	int r;

	if (!ops_is_replay(req)) {
		if (fs->options.is_writable)
			ops_change_attr(req, ino, wanted, to_set);
		else
			fuse_reply_err(req, EROFS);
		return;
	}
	r = find_attr(fs, ino, &attr);
	/* The item may have moved on to another inode since the change that is replayed. */
	if (r == -ESTALE && replay_get_attr(fs->replay, fuse_req_ctx(req)->pid, &attr) &&
	    attr.ino == ino)
		r = 0;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_attr(req, fs, &attr);
}

/* Mode bits of the tree, for those who ask with access(2): the kernel checks nothing itself. */
void ops_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	struct fs *fs = ops_fs(req);
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct tree_attr attr;
	struct stat st;
	unsigned bits;
	int r = find_attr(fs, ino, &attr);

	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	if ((mask & W_OK) && !fs->options.is_writable) {
		fuse_reply_err(req, EROFS);
		return;
	}
	ops_stat(fs, &attr, &st);
	bits = ctx->uid == st.st_uid   ? st.st_mode >> 6
	       : ctx->gid == st.st_gid ? st.st_mode >> 3
				       : st.st_mode;
	if (ctx->uid == 0)
		bits |= R_OK | W_OK | (S_ISDIR(st.st_mode) || (st.st_mode & 0111) ? X_OK : 0);
	fuse_reply_err(req, (bits & (unsigned)mask) == (unsigned)mask ? 0 : EACCES);
}

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct fs *fs = ops_fs(req);
	struct fs_space space = { 0 };
	struct statvfs st = {
		.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_namemax = NAME_MAX_BYTES,
		.f_flag = ST_NOSUID | ST_NODEV,
	};

	fs->options.get_space(fs->options.arg, &space);
	if (space.total == 0)
		space.total = space.free = unknown_bytes;
	st.f_blocks = space.total / BLOCK;
	st.f_bfree = st.f_bavail = space.free / BLOCK;
	fuse_reply_statfs(req, &st);
}

/* --- what the service knows of an item --- */

static const char *const xattr_names[] = {
	"user.graphfs.id",    "user.graphfs.etag", "user.graphfs.url",
	"user.graphfs.state", "user.graphfs.hash",
};
enum { X_ID, X_ETAG, X_URL, X_STATE, X_HASH };

/* What getxattr gives, of one item. */
struct facts {
	struct tree_meta meta;
	char hash[QUICKXOR_TEXT + 1];
	char state[STATE_BYTES];
};

static void facts_fini(struct facts *facts)
{
	tree_meta_fini(&facts->meta);
}

static void read_state(struct fs *fs, struct facts *facts)
{
	auto_free char *reason = NULL;
	int error;
	int r = tree_get_unsent(fs->options.tree, facts->meta.attr.ino, &error, &reason);

	if (r == 0 && error)
		snprintf(facts->state, sizeof(facts->state), "refused: %s",
			 reason ? reason : strerror(-error));
	else
		snprintf(facts->state, sizeof(facts->state), "%s",
			 r == 0                ? "unsent"
			 : facts->meta.malware ? "malware"
			 : facts->meta.package ? "package"
					       : "synced");
}

static int read_facts(struct fs *fs, fuse_ino_t ino, struct facts *ret)
{
	int r = tree_get_meta(fs->options.tree, ino, &ret->meta);

	if (r < 0)
		return r;
	read_state(fs, ret);
	if (ret->meta.has_hash)
		quickxor_format(ret->meta.hash, ret->hash);
	return 0;
}

/* NULL: the item has none. A new item has no id that means anything to anybody else. */
static const char *value_of(const struct facts *facts, size_t which)
{
	const struct tree_meta *meta = &facts->meta;

	switch (which) {
	case X_ID:
		return tree_local_is_id(meta->id) ? NULL : meta->id;
	case X_ETAG:
		return meta->etag;
	case X_URL:
		return meta->web_url;
	case X_STATE:
		return facts->state;
	case X_HASH:
		return meta->has_hash ? facts->hash : NULL;
	default:
		return NULL;
	}
}

static void reply_xattr(fuse_req_t req, const char *data, size_t len, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, data, len);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct fs *fs = ops_fs(req);
	auto_call(facts_fini) struct facts facts = { .hash = "" };
	const char *value = NULL;
	int r;

	/* Not ENODATA: a program that is told that there are no access lists and no labels on this
	 * file system (ls, find, cp) asks once and not for every file. */
	if (strncmp(name, "user.", 5) != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	r = strncmp(name, "user.graphfs.", 13) == 0 ? read_facts(fs, ino, &facts) : -ENODATA;
	for (size_t i = 0; r == 0 && i < array_n(xattr_names); i++)
		if (strcmp(name, xattr_names[i]) == 0)
			value = value_of(&facts, i);
	if (value)
		reply_xattr(req, value, strlen(value), size);
	else
		fuse_reply_err(req, r == 0 || r == -ENOENT ? ENODATA : -r);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct fs *fs = ops_fs(req);
	auto_call(facts_fini) struct facts facts = { .hash = "" };
	char names[256];
	size_t len = 0;
	int r = read_facts(fs, ino, &facts);

	for (size_t i = 0; r == 0 && i < array_n(xattr_names); i++) {
		size_t n = strlen(xattr_names[i]) + 1;

		if (value_of(&facts, i) && len + n <= sizeof(names)) {
			memcpy(names + len, xattr_names[i], n);
			len += n;
		}
	}
	if (r < 0 && r != -ENOENT)
		fuse_reply_err(req, -r);
	else
		reply_xattr(req, names, len, size);
}

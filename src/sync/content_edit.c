/*
 * Files that are written here.
 *
 * The first write makes the content a draft: the row gets its content id in one job of the store
 * lane with the draft and the version, so that whoever opens the file sees both or waits
 * (content.c, (1)). Its bytes are there before the write is answered.
 *
 * When a draft was sent, is_pending is taken back; the next write sets it again, with the row. No
 * write is lost between: a writer writes first and then looks at is_pending, whoever notes the
 * sending takes is_pending back first and then looks whether something was written.
 */
#define LOG_MODULE "content"
#include "content_file.h"

#include "cache.h"
#include "clock.h"
#include "inodes.h"
#include "lane.h"
#include "log.h"
#include "tree_local.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

enum { PIECES_N = 32 };

/* --- reading --- */

/* One run of pieces; gives the bytes it covers. */
static ssize_t overlay_some(struct draft *draft, uint64_t off, char *buf, size_t len)
{
	struct draft_piece pieces[PIECES_N];
	size_t n = draft_get_pieces(draft, off, len, pieces, PIECES_N), done = 0;

	for (size_t i = 0; i < n; i++) {
		ssize_t r = 0;

		if (pieces[i].kind == DRAFT_WRITTEN)
			r = draft_read(draft, pieces[i].off, buf + done, (size_t)pieces[i].len);
		else if (pieces[i].kind == DRAFT_ZERO)
			memset(buf + done, 0, (size_t)pieces[i].len);
		if (r < 0)
			return r;
		done += (size_t)pieces[i].len;
	}
	return (ssize_t)done;
}

ssize_t content_overlay_draft(struct draft *draft, uint64_t off, char *buf, size_t len, size_t got)
{
	size_t done = 0;

	/* Where the base ended there is nothing of it. */
	memset(buf + got, 0, len - got);
	while (done < len) {
		ssize_t r = overlay_some(draft, off + done, buf + done, len - done);

		if (r <= 0)
			return r < 0 ? r : (ssize_t)done;
		done += (size_t)r;
	}
	return (ssize_t)done;
}

ssize_t content_read_draft(struct content_handle *h, struct draft *draft, uint64_t off, char *buf,
			   size_t len)
{
	ssize_t got = draft_read(draft, off, buf, len);

	if (got != -ENODATA)
		return got;
	/* Its base belongs to a version that the service does not have any more. */
	if (!h->stream)
		return -ESTALE;
	got = fetch_try(h->stream, off, buf, len);
	return got < 0 ? got : content_overlay_draft(draft, off, buf, len, (size_t)got);
}

void content_update_attr(struct content *content, struct tree_attr *attr)
{
	struct content_version *v;

	if (atomic_load(&content->drafts_open_n) == 0 || attr->kind != TREE_FILE)
		return;
	v = content_pin_version(content, attr->ino);
	if (!v)
		return;
	content_fill_attr(v, attr);
	content_unpin_version(content, v);
}

/* --- writing --- */

static int64_t now_ns(void)
{
	return clock_real_ns();
}

ssize_t content_write_now(struct content_handle *h, uint64_t off, const char *buf, size_t len)
{
	struct content_version *v = h->version;
	struct draft *draft = atomic_load(&v->draft);
	ssize_t r;

	if (!draft)
		return -EAGAIN;
	r = draft_write(draft, off, buf, len);
	if (r < 0)
		return r;
	v->mtime_ns = now_ns();
	v->is_unsettled = true;
	h->was_written = true;
	/* After the write, see the head of this file. What was written stays, and the caller writes
	 * it once more. */
	return v->is_pending ? r : -EAGAIN;
}

static int fill_header(struct content *content, uint64_t ino, const struct tree_local_base *base,
		       struct draft_header *ret)
{
	struct tree_meta meta;
	auto_free char *path = NULL;
	int r = tree_get_meta(content->tree, ino, &meta);
	bool is_new;

	if (r < 0)
		return r;
	is_new = tree_local_is_id(meta.id);
	if (tree_path(content->tree, meta.attr.parent, &path) < 0)
		path = NULL;
	r = draft_header_copy(&(struct draft_header){ .ino = ino,
						      .dir_path = path,
						      .name = meta.name,
						      .item_id = is_new ? NULL : meta.id,
						      .drive_id = meta.drive_id,
						      .base_cid = base->cid,
						      .base_size = base->size,
						      .base_etag = meta.etag },
			      ret);
	tree_meta_fini(&meta);
	return r;
}

/* The draft of a content that is pending. */
static int get_draft(struct content *content, const struct tree_attr *attr,
		     const struct tree_local_base *base, struct draft **ret)
{
	auto_call(draft_header_fini) struct draft_header header = { 0 };
	int r = draft_open(content->drafts, attr->cid, ret);

	if (r != -ENOENT)
		return r;
	r = fill_header(content, attr->ino, base, &header);
	return r < 0 ? r : draft_create(content->drafts, attr->cid, &header, ret);
}

/* The version, if the inode is open, is a draft from now on. */
static void set_draft(struct content *content, struct content_version *v,
		      const struct tree_attr *attr, struct draft *draft)
{
	mutex_lock(&content->lock);
	v->attr.cid = attr->cid;
	mutex_unlock(&content->lock);
	if (atomic_load(&v->draft)) {
		draft_close(draft);
	} else {
		v->mtime_ns = attr->mtime_ns;
		atomic_store(&v->draft, draft);
		atomic_fetch_add(&content->drafts_open_n, 1);
	}
	v->is_pending = true;
}

void content_set_writer(struct content_handle *h)
{
	struct content *content = h->content;
	struct tree_meta meta;
	char *name;

	h->is_writer = true;
	if (tree_get_meta(content->tree, content_ino(h), &meta) < 0)
		return;
	name = take_ptr(&meta.name);
	tree_meta_fini(&meta);
	mutex_lock(&content->lock);
	if (!h->version->name)
		h->version->name = take_ptr(&name);
	mutex_unlock(&content->lock);
	free(name);
}

/* An open file whose item moved on, or is gone, because of others. */
static int branch(struct content *content, struct content_version *v, struct tree_attr *attr,
		  struct tree_local_base *base, struct change_set **ret_changes)
{
	struct draft *draft = atomic_load(&v->draft);
	auto_free char *name = NULL;
	struct tree_attr was;

	mutex_lock(&content->lock);
	was = v->attr;
	name = v->name ? strdup(v->name) : NULL;
	mutex_unlock(&content->lock);
	/* Without its base, which the service does not have any more, it could never be whole. */
	if (!name || (!draft && content_cached_bytes(content, was.cid) < was.size))
		return -ESTALE;
	content_fill_attr(v, &was);
	return tree_local_branch(content->tree, &was, name, draft != NULL, attr, base, ret_changes);
}

/* The first byte for a file that was removed here while it is open: its draft has no name on the
 * disk. */
static int draft_removed(struct content *content, struct content_version *v, struct tree_attr *attr,
			 struct draft **ret)
{
	struct draft_header header = { 0 };
	struct draft *draft;
	int r;

	mutex_lock(&content->lock);
	*attr = v->attr;
	mutex_unlock(&content->lock);
	header.ino = attr->ino;
	header.base_cid = attr->cid;
	header.base_size = attr->size;
	r = draft_create(content->drafts, attr->cid, &header, &draft);
	if (r < 0)
		return r;
	r = draft_remove(draft);
	if (r < 0) {
		draft_close(draft);
		return r;
	}
	*ret = draft;
	return 0;
}

/* v: NULL when the inode is not open; then ret_draft is the caller's, else borrowed. */
static int edit(struct content *content, uint64_t ino, struct content_version *v,
		struct draft **ret_draft, struct change_set **ret_changes)
{
	struct draft *draft = v ? atomic_load(&v->draft) : NULL;
	struct tree_local_base base;
	struct tree_attr attr;
	int r;

	*ret_changes = NULL;
	if (!content->drafts)
		return -EROFS;
	r = tree_local_edit(content->tree, ino, draft != NULL, &attr, &base);
	if (r == -ENOENT && v && !v->is_removed)
		r = branch(content, v, &attr, &base, ret_changes);
	/* A file that was removed here while it is open: it goes on, and is sent nowhere. */
	if (r == -ENOENT && draft) {
		v->is_pending = true;
		*ret_draft = draft;
		return 0;
	}
	if (r == -ENOENT && v && v->is_removed)
		r = draft_removed(content, v, &attr, &draft);
	else if (r == 0)
		r = get_draft(content, &attr, &base, &draft);
	if (r < 0)
		return r;
	*ret_draft = draft;
	if (v)
		set_draft(content, v, &attr, draft);
	return 0;
}

int content_edit(struct content_handle *h, struct change_set **ret_changes)
{
	struct draft *draft;

	return edit(h->content, content_ino(h), h->version, &draft, ret_changes);
}

int content_truncate(struct content *content, uint64_t ino, uint64_t size, int64_t now,
		     struct tree_attr *ret, struct change_set **ret_changes)
{
	struct content_version *v = content_pin_version(content, ino);
	struct tree_local_stat stat = {
		.has_size = true,
		.size = size,
		.has_mtime = true,
		.mtime_ns = now,
	};
	struct draft *draft = NULL;
	int r = edit(content, ino, v, &draft, ret_changes);

	if (r == 0)
		r = draft_truncate(draft, size);
	if (r == 0 && v)
		v->mtime_ns = now;
	if (r == 0)
		r = tree_local_set(content->tree, ino, &stat, ret);
	/* Removed, and open. */
	if (r == -ENOENT && v && draft) {
		mutex_lock(&content->lock);
		*ret = v->attr;
		mutex_unlock(&content->lock);
		content_fill_attr(v, ret);
		r = 0;
	}
	if (draft && !v)
		draft_close(draft);
	if (v)
		content_unpin_version(content, v);
	else if (r == 0 && content->on_written)
		content->on_written(content->written_arg, ino);
	return r;
}

void content_set_mtime(struct content *content, uint64_t ino, int64_t mtime_ns)
{
	struct content_version *v = content_pin_version(content, ino);

	if (!v)
		return;
	if (atomic_load(&v->draft))
		v->mtime_ns = mtime_ns;
	content_unpin_version(content, v);
}

int content_sync(struct content_handle *h)
{
	struct draft *draft = atomic_load(&h->version->draft);

	return draft ? draft_sync(draft) : 0;
}

/* --- closing --- */

static int settle(struct content *content, struct content_version *v)
{
	struct draft *draft = atomic_load(&v->draft);
	struct tree_local_stat stat = { .has_size = true, .has_mtime = true };
	struct tree_attr attr;
	int r;

	if (!draft || !atomic_exchange(&v->is_unsettled, false))
		return 0;
	stat.size = draft_size(draft);
	stat.mtime_ns = v->mtime_ns;
	r = tree_local_set(content->tree, v->attr.ino, &stat, &attr);
	if (r < 0 && r != -ENOENT)
		v->is_unsettled = true;
	return r == -ENOENT ? 0 : r;
}

int content_settle(struct content *content, uint64_t ino)
{
	struct content_version *v = content_pin_version(content, ino);
	int r;

	if (!v)
		return 0;
	r = settle(content, v);
	content_unpin_version(content, v);
	return r;
}

static void close_written(void *arg)
{
	struct content_handle *h = arg;
	struct content *content = h->content;
	uint64_t ino = content_ino(h);
	struct lane_job *job = h->closing;
	int r = settle(content, h->version);

	if (r < 0)
		log_error("the size of inode %" PRIu64 " cannot be stored: %s; it is known again "
			  "at the next start",
			  ino, strerror(-r));
	content_close_now(h);
	if (content->on_written)
		content->on_written(content->written_arg, ino);
	free(job);
}

void content_close(struct content_handle *h)
{
	struct content *content = h->content;
	uint64_t ino = content_ino(h);
	struct lane_job *job;

	if (!h->was_written) {
		bool is_writer = h->is_writer;

		content_close_now(h);
		if (is_writer && content->on_written)
			content->on_written(content->written_arg, ino);
		return;
	}
	job = malloc(sizeof(*job));
	if (!job) {
		content_close_now(h);
		return;
	}
	h->closing = job;
	lane_push(h->content->store_lane, job, close_written, NULL, h);
}

void content_drop(struct content *content, const struct tree_attr *attr)
{
	struct content_version *v = content_pin_version(content, attr->ino);
	struct draft *draft;
	int r;

	if (v) {
		v->is_removed = true;
		content_unpin_version(content, v);
	}
	if (!content->drafts || attr->kind != TREE_FILE)
		return;
	r = draft_open(content->drafts, attr->cid, &draft);
	if (r == -ENOENT)
		return;
	if (r == 0) {
		/* Whoever has it open goes on with it. */
		r = draft_remove(draft);
		draft_close(draft);
	}
	if (r < 0)
		log_warn("what was written of a removed file stays: %s", strerror(-r));
}

/* --- sending --- */

void content_set_written(struct content *content, content_written_fn fn, void *arg)
{
	content->on_written = fn;
	content->written_arg = arg;
}

bool content_is_written(struct content *content, uint64_t ino)
{
	struct content_version *v = content_pin_version(content, ino);
	bool found = false;

	if (!v)
		return false;
	mutex_lock(&content->lock);
	list_for_each (&v->handles, pos) {
		const struct content_handle *h = container_of(pos, struct content_handle, node);

		found |= h->is_writer || h->was_written;
	}
	mutex_unlock(&content->lock);
	content_unpin_version(content, v);
	return found;
}

bool content_note_sent(struct content *content, uint64_t ino, struct draft *draft, uint64_t version)
{
	struct content_version *v = content_pin_version(content, ino);
	bool is_old;

	if (v)
		v->is_pending = false;
	is_old = draft_version(draft) != version;
	if (v) {
		if (is_old)
			v->is_pending = true;
		content_unpin_version(content, v);
	}
	return is_old;
}

bool content_has_draft(struct content *content, uint64_t cid)
{
	struct draft *draft;
	int r = draft_open(content->drafts, cid, &draft);

	if (r == 0)
		draft_close(draft);
	/* One that cannot be opened is one. */
	return r != -ENOENT;
}

/* --- at the start --- */

static bool is_wanted(struct content *content, const struct draft_found *found)
{
	struct tree_local_item item;
	bool is_wanted;

	if (!found->header || tree_local_get(content->tree, found->header->ino, &item) < 0)
		return false;
	is_wanted = item.attr.cid == found->cid && (item.what & (LOCAL_CREATE | LOCAL_CONTENT));
	tree_local_item_fini(&item);
	return is_wanted;
}

static int remove_unwanted(struct content *content, uint64_t cid)
{
	struct draft *draft;
	int r = draft_open(content->drafts, cid, &draft);

	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = draft_remove(draft);
	draft_close(draft);
	return r;
}

static int recover(void *arg, const struct draft_found *found)
{
	struct content *content = arg;
	struct tree_local_stat stat = { .has_size = true, .size = found->size };
	struct tree_attr attr;
	int r;

	if (found->is_damaged)
		return 0;
	if (is_wanted(content, found))
		r = tree_local_set(content->tree, found->header->ino, &stat, &attr);
	else
		r = remove_unwanted(content, found->cid);
	if (r < 0)
		log_error("what was written as content %" PRIu64 " cannot be used now: %s",
			  found->cid, strerror(-r));
	return 0;
}

int content_recover(struct content *content)
{
	return content->drafts ? draft_dir_list(content->drafts, recover, content) : 0;
}

/*
 * What is pending, for whoever sends it, and what becomes of the rows when the service has it.
 */
#define LOG_MODULE "tree"
#include "tree_local.h"

#include "tree_pending.h"
#include "tree_settle.h"

#include <errno.h>
#include <string.h>

void tree_local_item_fini(struct tree_local_item *item)
{
	free(item->id);
	free(item->parent_id);
	free(item->name);
	free(item->etag);
	free(item->ctag);
	free(item->reason);
	free(item->session);
	*item = (struct tree_local_item){ 0 };
}

uint64_t tree_local_n(const struct tree *tree)
{
	return tree->pending_n;
}

/* --- what is to be sent --- */

/* Has the new place of the row become free at the service, and is there a folder? */
static int wait_of_row(struct tree *tree, const struct tree_row *row, const struct tree_row *dir,
		       unsigned what, enum tree_local_wait *ret)
{
	int r;

	*ret = LOCAL_READY;
	if (!(what & (LOCAL_CREATE | LOCAL_PLACE)))
		return 0;
	r = !dir->id || tree_local_is_id(dir->id);
	/* A folder cannot go into one that the service still has below it. */
	if (r == 0 && row->attr.kind == TREE_DIR)
		r = tree_pending_is_below(tree, dir->id, row->id);
	if (r != 0) {
		*ret = LOCAL_WAITS_PARENT;
		return r < 0 ? r : 0;
	}
	r = tree_pending_has_place(tree, row->attr.ino, dir->id, row->name);
	if (r > 0)
		*ret = LOCAL_WAITS_NAME;
	return r < 0 ? r : 0;
}

static int fill_from_row(struct tree *tree, struct tree_row *row, struct tree_local_item *item)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 };
	/* A folder that nobody heard of yet is none. */
	int r = tree_row_get(tree, row->attr.parent, &dir);

	if (r >= 0)
		r = wait_of_row(tree, row, &dir, item->what, &item->wait);
	if (r == 0)
		r = tree_pending_name(row, &item->name, &item->name_len);
	if (r < 0)
		return r;
	item->attr = row->attr;
	if (!tree_local_is_id(row->id))
		item->id = take_ptr(&row->id);
	if (dir.id && !tree_local_is_id(dir.id))
		item->parent_id = take_ptr(&dir.id);
	item->etag = take_ptr(&row->etag);
	item->ctag = take_ptr(&row->ctag);
	item->has_base_hash = row->has_hash;
	memcpy(item->base_hash, row->hash, sizeof(row->hash));
	return 0;
}

static int fill_deletion(struct tree *tree, struct tree_pending *p, struct tree_local_item *item)
{
	int r = tree_pending_has_children(tree, p->id);

	if (r < 0)
		return r;
	item->wait = r > 0 ? LOCAL_WAITS_CHILDREN : LOCAL_READY;
	item->attr.ino = p->ino;
	item->attr.kind = p->base_cid ? TREE_FILE : TREE_DIR;
	item->id = take_ptr(&p->id);
	item->etag = take_ptr(&p->etag);
	item->ctag = take_ptr(&p->ctag);
	item->has_base_hash = p->has_hash;
	memcpy(item->base_hash, p->hash, sizeof(p->hash));
	item->base_size = p->base_size;
	return 0;
}

/* 1, or an error. p is used up. */
static int fill(struct tree *tree, struct tree_pending *p, struct tree_local_item *ret)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	struct tree_local_item item = {
		.what = p->what,
		.base = { .cid = p->base_cid, .size = p->base_cid ? p->base_size : 0 },
		.error = p->error,
		.reason = take_ptr(&p->reason),
		.session = take_ptr(&p->session),
		.session_cid = p->session_cid,
	};
	int r;

	if (p->what & LOCAL_DELETE) {
		r = fill_deletion(tree, p, &item);
	} else {
		r = tree_row_get(tree, p->ino, &row);
		r = r == 0 ? -EUCLEAN : r < 0 ? r : fill_from_row(tree, &row, &item);
	}
	if (r < 0) {
		tree_local_item_fini(&item);
		return r;
	}
	*ret = item;
	return 1;
}

int tree_local_begin_look(struct tree *tree)
{
	return db_exec(tree->db, "BEGIN");
}

void tree_local_end_look(struct tree *tree)
{
	db_rollback(tree->db);
}

int tree_local_next(struct tree *tree, uint64_t after, struct tree_local_item *ret)
{
	struct tree_pending p = { 0 };
	int r;

	tree->pending_now = tree->pending_n;
	r = tree_pending_next(tree, after, &p);
	if (r > 0)
		r = fill(tree, &p, ret);
	tree_pending_fini(&p);
	return r;
}

int tree_local_get(struct tree *tree, uint64_t ino, struct tree_local_item *ret)
{
	struct tree_pending p = { 0 };
	int r;

	tree->pending_now = tree->pending_n;
	r = tree_pending_get(tree, ino, &p);
	if (r > 0)
		r = fill(tree, &p, ret);
	tree_pending_fini(&p);
	return r > 0 ? 0 : r < 0 ? r : -ENOENT;
}

/* Changes a pending row, if it is there still. */
static int change(struct tree *tree, uint64_t ino,
		  int (*fn)(struct tree_pending *p, const void *arg), const void *arg)
{
	struct tree_pending p = { 0 };
	int r = tree_begin(tree);

	if (r == 0) {
		r = tree_pending_get(tree, ino, &p);
		if (r > 0)
			r = fn(&p, arg);
		if (r == 0 && p.what)
			r = tree_pending_put(tree, &p);
	}
	tree_pending_fini(&p);
	return tree_end(tree, r, NULL);
}

static int set_hash(struct tree_pending *p, const void *arg)
{
	if (p->what & LOCAL_DELETE)
		return 0;
	memcpy(p->hash, arg, sizeof(p->hash));
	p->has_hash = true;
	p->is_written = false;
	return 0;
}

int tree_local_sending(struct tree *tree, uint64_t ino, const uint8_t hash[20])
{
	return change(tree, ino, set_hash, hash);
}

struct session {
	const char *url;
	uint64_t cid;
};

static int set_session(struct tree_pending *p, const void *arg)
{
	const struct session *session = arg;
	char *url = session->url ? strdup(session->url) : NULL;

	if (session->url && !url)
		return -ENOMEM;
	free(p->session);
	p->session = url;
	p->session_cid = session->cid;
	return 0;
}

int tree_local_set_session(struct tree *tree, uint64_t ino, uint64_t cid, const char *url)
{
	return change(tree, ino, set_session, &(struct session){ .url = url, .cid = cid });
}

struct failure {
	int error;
	const char *reason;
};

static int set_failure(struct tree_pending *p, const void *arg)
{
	const struct failure *failure = arg;
	char *reason = failure->error && failure->reason ? strdup(failure->reason) : NULL;

	if (failure->error && failure->reason && !reason)
		return -ENOMEM;
	free(p->reason);
	p->reason = reason;
	p->error = failure->error;
	return 0;
}

int tree_local_fail(struct tree *tree, uint64_t ino, int error, const char *reason)
{
	return change(tree, ino, set_failure,
		      &(struct failure){ .error = error, .reason = reason });
}

/* --- what was sent --- */

/* Delta brought the item before its answer came. 1: somebody did something with it, and it stays.
 */
static int drop_early_row(struct tree *tree, const char *id)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	uint64_t child = 0;
	int r = tree_row_by_id(tree, id, &row);

	if (r <= 0)
		return r;
	r = tree_pending_is(tree, row.attr.ino);
	if (r == 0)
		r = tree_row_next_child(tree, row.attr.ino, 0, &child);
	if (r != 0 || child)
		return r < 0 ? r : 1;
	return tree_place_delete(tree, &row);
}

/* The service has an item that is not wanted any more: the row was removed, or became another. */
static int delete_later(struct tree *tree, const struct item *item)
{
	char shown[NAMES_MAX_BYTES + 1];
	struct tree_pending p = {
		.what = LOCAL_DELETE,
		.id = item->id,
		.base_pid = item->parent_id,
		.base_name = shown,
		.base_cid = item->kind == ITEM_FILE ? tree->next_cid++ : 0,
		.base_size = item->size > 0 ? (uint64_t)item->size : 0,
		.etag = item->etag,
		.ctag = item->ctag,
		.has_hash = item->has_hash,
	};
	int r = drop_early_row(tree, item->id);

	if (r != 0)
		return r < 0 ? r : 0;
	names_show(item->name ? item->name : "", item->name_len, shown);
	memcpy(p.hash, item->hash, sizeof(p.hash));
	p.ino = tree->next_ino++;
	return tree_pending_put(tree, &p);
}

static int set_base_place(struct tree_pending *p, const struct tree_local_sent *sent)
{
	char shown[NAMES_MAX_BYTES + 1];

	names_show(sent->name, sent->name_len, shown);
	free(p->base_pid);
	free(p->base_name);
	p->base_pid = strdup(sent->parent_id);
	p->base_name = strdup(shown);
	return p->base_pid && p->base_name ? 0 : -ENOMEM;
}

/* Is the row where it was sent to? 1, 0, or an error. Its name may be one that no name of the
 * service is shown as, so that it gets another now. */
static int is_at(struct tree *tree, const struct tree_row *row, const struct tree_local_sent *sent)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 };
	auto_free char *name = NULL;
	size_t len;
	int r = tree_row_get(tree, row->attr.parent, &dir);

	if (r > 0 && strcmp(dir.id, sent->parent_id) != 0)
		r = 0;
	if (r <= 0)
		return r;
	r = tree_pending_name(row, &name, &len);
	return r < 0 ? r : len == sent->name_len && memcmp(name, sent->name, len) == 0;
}

static int settle_place(struct tree *tree, const struct tree_row *row,
			const struct tree_local_sent *sent, struct tree_pending *p)
{
	int r = set_base_place(p, sent);

	if (r == 0)
		r = is_at(tree, row, sent);
	if (r < 0)
		return r;
	p->what |= LOCAL_PLACE;
	if (r > 0) {
		p->what &= ~(unsigned)LOCAL_PLACE;
		free(take_ptr(&p->base_pid));
		free(take_ptr(&p->base_name));
	}
	return 0;
}

static int replace_tag(char **tag, const char *now)
{
	char *copy = now ? strdup(now) : NULL;

	if (now && !copy)
		return -ENOMEM;
	free(*tag);
	*tag = copy;
	return 0;
}

/* What the service has of the content is the base, whether it is still ours or not. */
static int settle_content(struct tree_row *row, const struct tree_local_sent *sent,
			  struct tree_pending *p)
{
	bool is_ours = row->attr.cid == sent->cid && !sent->is_content_old;

	free(take_ptr(&p->session));
	if (is_ours) {
		p->what &= ~(unsigned)LOCAL_CONTENT;
		p->base_cid = p->base_size = 0;
		/* What the service made of it shows in how its own differs. */
		row->has_hash = p->has_hash;
		memcpy(row->hash, p->hash, sizeof(row->hash));
	} else {
		p->what |= LOCAL_CONTENT;
		p->base_size = sent->item->size > 0 ? (uint64_t)sent->item->size : 0;
		row->has_hash = sent->item->has_hash;
		memcpy(row->hash, sent->item->hash, sizeof(row->hash));
	}
	p->has_hash = p->is_written = false;
	/* Ours has no tags yet, so that those it gets are no news. */
	if (replace_tag(&row->etag, is_ours ? NULL : sent->item->etag) < 0)
		return -ENOMEM;
	return replace_tag(&row->ctag, is_ours ? NULL : sent->item->ctag);
}

/* What is in a folder waits for that id to appear again. */
static int put_children_aside(struct tree *tree, const struct tree_row *dir)
{
	for (;;) {
		auto_call(tree_row_fini) struct tree_row row = { 0 };
		auto_free char *name = NULL;
		uint64_t child;
		int r = tree_row_next_child(tree, dir->attr.ino, 0, &child);

		if (r < 0 || !child)
			return r;
		r = tree_row_get(tree, child, &row);
		name = r > 0 ? strdup(row.name) : NULL;
		if (r <= 0 || !name)
			return r < 0 ? r : r == 0 ? -EUCLEAN : -ENOMEM;
		r = tree_place_move(tree, &row, TREE_ORPHAN, dir->id, name);
		if (r < 0)
			return r;
	}
}

/* A folder or file that was new has an id of the service's. Should delta have brought that already,
 * as something else, then this is it. */
static int settle_id(struct tree *tree, struct tree_row *row, const struct item *item)
{
	auto_call(tree_row_fini) struct tree_row other = { 0 };
	int r = replace_tag(&row->id, item->id);

	if (r == 0)
		r = tree_row_by_id(tree, item->id, &other);
	if (r > 0)
		r = put_children_aside(tree, &other);
	if (r == 0 && other.id)
		r = tree_place_delete(tree, &other);
	/* Delta may have told more than the answer. */
	if (r == 0 && other.id)
		r = tree_pending_ask(tree, row->attr.ino, item->id, item->id);
	return r < 0 ? r : tree_place_unbury(tree, item->id);
}

static int settle_row(struct tree *tree, struct tree_row *row, const struct tree_local_sent *sent,
		      struct tree_pending *p)
{
	bool is_new = p->what & LOCAL_CREATE;
	/* Else it has a content of the service by now. */
	bool is_draft = p->what & (LOCAL_CREATE | LOCAL_CONTENT) || row->attr.cid == sent->cid;
	unsigned times = sent->what & LOCAL_TIMES ? 0 : (unsigned)LOCAL_TIMES;
	int r = is_new ? settle_id(tree, row, sent->item) : 0;

	p->what &= ~(unsigned)LOCAL_CREATE;
	p->error = 0;
	if (r == 0 && sent->what & (LOCAL_CREATE | LOCAL_PLACE))
		r = settle_place(tree, row, sent, p);
	if (r == 0 && row->attr.kind == TREE_FILE && is_draft &&
	    sent->what & (LOCAL_CREATE | LOCAL_CONTENT)) {
		r = settle_content(row, sent, p);
		p->what |= times;
	}
	/* What the service makes of our time is no news. */
	if (sent->item->mtime_ns != ITEM_TIME_UNKNOWN &&
	    sent->what & (LOCAL_CREATE | LOCAL_CONTENT | LOCAL_TIMES))
		row->service_mtime_ns = sent->item->mtime_ns;
	if (sent->what & LOCAL_TIMES) {
		p->what &= ~(unsigned)LOCAL_TIMES;
		if (row->attr.mtime_ns != sent->mtime_ns)
			p->what |= LOCAL_TIMES;
	}
	if (r == 0)
		r = tree_row_update(tree, row);
	if (r == 0)
		r = tree_pending_put(tree, p);
	/* What waited for the folder of this id. */
	if (r == 0 && is_new && row->attr.kind == TREE_DIR)
		r = tree_place_adopt(tree, row);
	return r < 0 ? r : tree_place_item(tree, sent->item, true);
}

/* What was deleted here while it was being sent: it is deleted as it was sent. */
static int settle_deleted(struct tree *tree, const struct tree_local_sent *sent)
{
	auto_call(tree_pending_fini) struct tree_pending p = { 0 };
	int r = tree_pending_find(tree, sent->id, &p);

	if (r > 0 && sent->what & LOCAL_PLACE)
		r = set_base_place(&p, sent);
	if (r >= 0 && p.what && sent->what & LOCAL_CONTENT) {
		p.base_size = sent->item->size > 0 ? (uint64_t)sent->item->size : 0;
		p.has_hash = sent->item->has_hash;
		memcpy(p.hash, sent->item->hash, sizeof(p.hash));
		r = replace_tag(&p.ctag, sent->item->ctag);
	}
	if (r >= 0 && p.what)
		r = replace_tag(&p.etag, sent->item->etag);
	if (r >= 0 && p.what)
		r = tree_pending_put(tree, &p);
	return r < 0 ? r : tree_place_item(tree, sent->item, true);
}

/* 1: delta was quicker and brought the item as a folder, and the row was put into that meanwhile.
 */
static int is_in_itself(struct tree *tree, const struct tree_row *row, const char *id)
{
	struct tree_dir dir = { 0 };
	int r = tree_row_find_dir(tree, id, &dir);

	if (r <= 0 || dir.ino == (int64_t)row->attr.ino)
		return r < 0 ? r : 0;
	return tree_place_is_below(tree, row->parent, (uint64_t)dir.ino);
}

static int settle_new(struct tree *tree, const struct tree_local_sent *sent)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	auto_call(tree_pending_fini) struct tree_pending p = { .ino = sent->ino };
	int r = tree_row_get(tree, sent->ino, &row);

	if (r > 0)
		r = tree_pending_get(tree, sent->ino, &p);
	if (r >= 0 && row.id)
		r = is_in_itself(tree, &row, sent->item->id);
	/* Both are folders of their own: the row stays new, and is sent once more. */
	if (r < 0 || (r > 0 && row.id))
		return r < 0 ? r : 0;
	/* It can be the item's by now, if delta was quicker. */
	if (row.id && (p.what & LOCAL_CREATE || strcmp(row.id, sent->item->id) == 0))
		return settle_row(tree, &row, sent, &p);
	return delete_later(tree, sent->item);
}

static int settle_known(struct tree *tree, const struct tree_local_sent *sent)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	auto_call(tree_pending_fini) struct tree_pending p = { 0 };
	/* By its id, which may be another row's by now: it has its new content. */
	int r = tree_row_by_id(tree, sent->id, &row);

	if (r == 0)
		return settle_deleted(tree, sent);
	if (r > 0)
		r = tree_pending_get(tree, row.attr.ino, &p);
	p.ino = row.attr.ino;
	return r < 0 ? r : settle_row(tree, &row, sent, &p);
}

static int settle(struct tree *tree, const struct tree_local_sent *sent)
{
	uint64_t seq;
	/* Delta was quicker: it is gone again. What is new here stays so, and is sent once more. */
	int r = tree_stage_note_fresh(tree, sent->item->id);

	if (r == 0)
		r = tree_place_is_buried(tree, sent->item->id, &seq);
	if (r != 0)
		return r < 0 ? r : 0;
	/* A complete enumeration does not tell what was made and deleted before it. */
	if (sent->note < tree->full_seq)
		r = tree_pending_ask(tree, sent->ino, sent->item->id, sent->item->id);
	if (r < 0)
		return r;
	return sent->what & LOCAL_CREATE ? settle_new(tree, sent) : settle_known(tree, sent);
}

static int settle_deletion(struct tree *tree, const struct tree_local_sent *sent)
{
	struct tree_pending p = { 0 };
	int r = tree_pending_get(tree, sent->ino, &p);

	if (r > 0 && (p.what & LOCAL_DELETE)) {
		r = tree_place_bury(tree, p.id);
		if (r == 0)
			r = tree_stage_note_fresh(tree, p.id);
		if (r == 0)
			r = tree_pending_drop(tree, sent->ino);
	}
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

int tree_local_done(struct tree *tree, const struct tree_local_sent *sent,
		    struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	if (r == 0)
		r = sent->what & LOCAL_DELETE ? settle_deletion(tree, sent) : settle(tree, sent);
	return tree_end(tree, r, ret_changes);
}

/* 1: what is known of the item may be younger than what was asked for after note. */
static int is_behind(struct tree *tree, const char *id, uint64_t note)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	uint64_t seq;
	int r = tree_row_by_id(tree, id, &row);

	if (r > 0)
		return row.attr.seq > note;
	if (r == 0)
		r = tree_place_is_buried(tree, id, &seq);
	return r > 0 ? seq > note : r;
}

static int learn(struct tree *tree, const struct tree_local_answer *answer)
{
	struct tree_pending p = { 0 };
	int r = is_behind(tree, answer->item->id, answer->note);

	if (r != 0)
		return r < 0 ? r : tree_pending_ask(tree, 0, answer->item->id, answer->item->id);
	if (answer->is_kept) {
		r = tree_pending_find(tree, answer->item->id, &p);
		if (r > 0)
			r = tree_pending_drop(tree, p.ino);
		tree_pending_fini(&p);
	}
	if (r == 0)
		r = tree_pending_answered(tree, answer->item->id);
	if (r == 0)
		r = tree_stage_note_fresh(tree, answer->item->id);
	if (r == 0)
		r = tree_place_unbury(tree, answer->item->id);
	if (r == 0 && answer->is_in_the_way)
		r = tree_settle_taken(tree, answer->ino, answer->item);
	return r < 0 ? r : tree_place_item(tree, answer->item, true);
}

int tree_local_learn(struct tree *tree, const struct tree_local_answer *answer,
		     struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	if (r == 0)
		r = learn(tree, answer);
	return tree_end(tree, r, ret_changes);
}

int tree_local_gone(struct tree *tree, const char *id, struct change_set **ret_changes)
{
	int r = tree_begin(tree);

	if (r == 0)
		r = tree_pending_answered(tree, id);
	if (r == 0)
		r = tree_stage_note_fresh(tree, id);
	if (r == 0)
		r = tree_apply_deletion(tree, id);
	return tree_end(tree, r, ret_changes);
}

int tree_local_asks(struct tree *tree, char **ret_id)
{
	sqlite3_stmt *s = tree->w[W_ASKED_NEXT];
	int64_t n = 0;

	for (;;) {
		auto_free char *id = NULL, *by_id = NULL;
		uint64_t ino;
		int r;

		sqlite3_bind_int64(s, 1, n);
		r = db_step(s);
		if (r <= 0)
			return r;
		n = sqlite3_column_int64(s, 0);
		id = db_take_text(s, 1);
		ino = (uint64_t)sqlite3_column_int64(s, 2);
		by_id = db_take_text(s, 3);
		(void)sqlite3_reset(s);
		if (!id || !by_id)
			return -ENOMEM;
		if (tree->guard.is_sending && tree->guard.is_sending(tree->guard.arg, ino, by_id))
			continue;
		*ret_id = take_ptr(&id);
		return 1;
	}
}

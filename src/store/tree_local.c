/*
 * The filesystem's changes. Each is a row that changes and what that makes pending.
 */
#define LOG_MODULE "tree"
#include "tree_local.h"

#include "log.h"
#include "tree_fold.h"
#include "tree_pending.h"
#include "tree_settle.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int copy_to(char **to, const char *from)
{
	char *copy = from ? strdup(from) : NULL;

	if (from && !copy)
		return -ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

bool tree_local_is_id(const char *id)
{
	return strncmp(id, TREE_LOCAL_ID, sizeof(TREE_LOCAL_ID) - 1) == 0;
}

int tree_local_make_id(struct tree_row *row)
{
	char *id;

	if (asprintf(&id, TREE_LOCAL_ID "%" PRIu64, row->attr.ino) < 0)
		return -ENOMEM;
	free(row->id);
	row->id = id;
	return 0;
}

/* A directory's content changed here. */
static int touch(struct tree *tree, int64_t dir, int64_t now_ns)
{
	sqlite3_stmt *s = tree->w[W_TOUCH_DIR];

	sqlite3_bind_int64(s, 1, dir);
	sqlite3_bind_int64(s, 2, now_ns);
	return db_run(s);
}

/* 1 or an error: it is there and a folder. */
static int get_dir(struct tree *tree, uint64_t ino, struct tree_row *ret)
{
	int r = tree_row_get(tree, ino, ret);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (ret->attr.kind != TREE_DIR || ret->package) {
		tree_row_fini(ret);
		return -ENOTDIR;
	}
	return 1;
}

/* --- create --- */

static int insert(struct tree *tree, const struct tree_local_new *what, struct tree_row *row)
{
	*row = (struct tree_row){
		.attr = {
			.kind = what->kind,
			.mtime_ns = what->now_ns,
			.btime_ns = what->now_ns,
			.mode = what->mode,
			.complete = what->kind == TREE_DIR,
		},
		.parent = (int64_t)what->parent,
		.service_mtime_ns = what->now_ns,
		.name = strdup(what->name),
	};
	row->attr.ino = tree->next_ino;
	if (!row->name || tree_local_make_id(row) < 0)
		return -ENOMEM;
	if (what->kind == TREE_FILE)
		row->attr.cid = tree->next_cid++;
	return tree_row_insert(tree, row);
}

static int create(struct tree *tree, const struct tree_local_new *what, struct tree_attr *ret)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 }, row = { 0 };
	struct tree_pending p = { .what = LOCAL_CREATE };
	int r = get_dir(tree, what->parent, &dir);

	if (r > 0)
		r = tree_fold_is_taken(tree, what->parent, what->name, 0);
	if (r != 0)
		return r < 0 ? r : -EEXIST;
	r = insert(tree, what, &row);
	p.ino = row.attr.ino;
	if (r == 0)
		r = tree_pending_put(tree, &p);
	if (r == 0)
		r = touch(tree, row.parent, what->now_ns);
	*ret = row.attr;
	return r;
}

int tree_local_create(struct tree *tree, const struct tree_local_new *what, struct tree_attr *ret)
{
	struct tree_attr attr = { 0 };
	int r = tree_begin(tree);

	if (r == 0)
		r = create(tree, what, &attr);
	r = tree_end(tree, r, NULL);
	if (r == 0)
		*ret = attr;
	return r;
}

/* --- the identity of an item goes to another row --- */

/*
 * What the service knows as from becomes the content and place of to, a new file: to gets the id,
 * and what it was is the base. was: what was pending of from, which goes.
 */
static int take_identity(struct tree *tree, struct tree_row *to, struct tree_row *from,
			 struct tree_pending *was)
{
	struct tree_pending p = {
		.ino = to->attr.ino,
		.what = LOCAL_CONTENT | (was->what & LOCAL_PLACE),
		.base_pid = take_ptr(&was->base_pid),
		.base_name = take_ptr(&was->base_name),
		.base_size = was->what & LOCAL_CONTENT ? was->base_size : from->attr.size,
	};
	int r = copy_to(&to->id, from->id);

	if (r == 0)
		r = copy_to(&to->etag, from->etag);
	if (r == 0)
		r = copy_to(&to->ctag, from->ctag);
	if (r == 0)
		r = copy_to(&to->web_url, from->web_url);
	memcpy(to->hash, from->hash, sizeof(to->hash));
	to->has_hash = from->has_hash;
	to->service_mtime_ns = from->service_mtime_ns;
	if (r == 0)
		r = tree_pending_put(tree, &p);
	tree_pending_fini(&p);
	return r;
}

/* --- remove --- */

/* The service is to delete what it knows as this row. */
static int make_deletion(struct tree *tree, const struct tree_row *row, struct tree_pending *was)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 };
	struct tree_pending p = {
		.ino = row->attr.ino,
		.what = LOCAL_DELETE,
		.base_cid = row->attr.cid,
		.base_size = was->what & LOCAL_CONTENT ? was->base_size : row->attr.size,
		.has_hash = row->has_hash,
	};
	int r = 0;

	memcpy(p.hash, row->hash, sizeof(p.hash));
	if (was->what & LOCAL_PLACE) {
		p.base_pid = take_ptr(&was->base_pid);
		p.base_name = take_ptr(&was->base_name);
	} else {
		r = tree_row_get(tree, row->attr.parent, &dir);
		r = r == 0 ? -ENOENT : r < 0 ? r : copy_to(&p.base_pid, dir.id);
		if (r == 0)
			r = copy_to(&p.base_name, row->name);
	}
	if (r == 0)
		r = copy_to(&p.id, row->id);
	if (r == 0)
		r = copy_to(&p.etag, row->etag);
	if (r == 0)
		r = copy_to(&p.ctag, row->ctag);
	if (r == 0)
		r = tree_pending_put(tree, &p);
	tree_pending_fini(&p);
	return r;
}

/* 1: a new file has the name that the service has this row under: it is the row's new content. */
static int give_to_heir(struct tree *tree, struct tree_row *row, struct tree_pending *was)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 }, heir = { 0 };
	struct tree_pending p = { 0 };
	int r;

	if (!(was->what & LOCAL_PLACE) || row->attr.kind != TREE_FILE)
		return 0;
	r = tree_row_by_id(tree, was->base_pid, &dir);
	if (r > 0)
		r = tree_row_by_name(tree, (int64_t)dir.attr.ino, was->base_name, &heir);
	if (r > 0 && heir.attr.kind == TREE_FILE)
		r = tree_pending_get(tree, heir.attr.ino, &p);
	else if (r > 0)
		r = 0;
	if (r > 0 && (p.what & LOCAL_CREATE)) {
		was->what &= ~(unsigned)LOCAL_PLACE;
		r = tree_row_delete(tree, row->attr.ino);
		if (r == 0)
			r = take_identity(tree, &heir, row, was);
		if (r == 0)
			r = tree_row_update_here(tree, &heir);
		r = r < 0 ? r : 1;
	} else if (r > 0) {
		r = 0;
	}
	tree_pending_fini(&p);
	return r;
}

/* Everything of a row goes, and what the service knows of it is to be deleted. */
static int remove_row(struct tree *tree, struct tree_row *row)
{
	struct tree_pending was = { 0 };
	int r = tree_pending_get(tree, row->attr.ino, &was);

	if (r > 0)
		r = tree_pending_drop(tree, row->attr.ino);
	if (r == 0 && !(was.what & LOCAL_CREATE)) {
		r = give_to_heir(tree, row, &was);
		if (r == 0)
			r = make_deletion(tree, row, &was);
		else
			goto out;
	}
	if (r == 0)
		r = tree_row_delete(tree, row->attr.ino);
out:
	tree_pending_fini(&was);
	return r < 0 ? r : 0;
}

static int check_empty(struct tree *tree, const struct tree_row *row)
{
	uint64_t child;
	int r;

	if (row->package)
		return -EPERM;
	r = tree_row_next_child(tree, row->attr.ino, 0, &child);
	if (r < 0)
		return r;
	if (child)
		return -ENOTEMPTY;
	return row->attr.complete ? 0 : -EAGAIN;
}

static int remove_entry(struct tree *tree, uint64_t parent, const char *name, enum tree_kind kind,
			int64_t now_ns, struct tree_attr *ret)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	int r = tree_row_by_name(tree, (int64_t)parent, name, &row);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (row.attr.kind != kind)
		return kind == TREE_DIR ? -ENOTDIR : -EISDIR;
	*ret = row.attr;
	r = kind == TREE_DIR ? check_empty(tree, &row) : 0;
	if (r == 0)
		r = remove_row(tree, &row);
	return r < 0 ? r : touch(tree, row.parent, now_ns);
}

int tree_local_remove(struct tree *tree, uint64_t parent, const char *name, enum tree_kind kind,
		      int64_t now_ns, struct tree_attr *ret)
{
	struct tree_attr attr = { 0 };
	int r = tree_begin(tree);

	if (r == 0)
		r = remove_entry(tree, parent, name, kind, now_ns, &attr);
	r = tree_end(tree, r, NULL);
	if (r == 0)
		*ret = attr;
	return r;
}

/* --- rename --- */

/* The service has the row at pid, name: is that where it is here? */
static bool is_base_place(const struct tree_pending *p, const char *pid, const char *name)
{
	return strcmp(p->base_pid, pid) == 0 && strcmp(p->base_name, name) == 0;
}

/* The row is about to leave its place; to: the folder it goes to. */
static int pend_place(struct tree *tree, const struct tree_row *row, const struct tree_row *from,
		      const struct tree_row *to, const char *to_name)
{
	struct tree_pending p = { .ino = row->attr.ino };
	int r = tree_pending_get(tree, row->attr.ino, &p);

	if (r < 0 || (p.what & LOCAL_CREATE))
		goto out;
	r = 0;
	if (!(p.what & LOCAL_PLACE)) {
		r = copy_to(&p.base_pid, from->id);
		if (r == 0)
			r = copy_to(&p.base_name, row->name);
		p.what |= LOCAL_PLACE;
	} else if (is_base_place(&p, to->id, to_name)) {
		p.what &= ~(unsigned)LOCAL_PLACE;
		r = copy_to(&p.base_pid, NULL);
		if (r == 0)
			r = copy_to(&p.base_name, NULL);
	}
	p.error = 0;
	if (r == 0)
		r = tree_pending_put(tree, &p);
out:
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

/* 1: the row is new, and what it goes over is an item of the service: its new content. */
static int replace_content(struct tree *tree, struct tree_row *row, struct tree_row *target)
{
	struct tree_pending p = { 0 }, was = { 0 };
	int r;

	if (row->attr.kind != TREE_FILE || target->package)
		return 0;
	r = tree_pending_get(tree, row->attr.ino, &p);
	if (r > 0 && (p.what & LOCAL_CREATE) && !tree_local_is_id(target->id)) {
		r = tree_pending_get(tree, target->attr.ino, &was);
		if (r > 0)
			r = tree_pending_drop(tree, target->attr.ino);
		if (r == 0)
			r = tree_row_delete(tree, target->attr.ino);
		if (r == 0)
			r = take_identity(tree, row, target, &was);
		r = r < 0 ? r : 1;
	} else if (r > 0) {
		r = 0;
	}
	tree_pending_fini(&p);
	tree_pending_fini(&was);
	return r;
}

/* What is at the new place goes. 1: its identity went to the row. */
static int replace(struct tree *tree, struct tree_row *row, struct tree_row *target, bool keeps)
{
	int r;

	if (keeps)
		return -EEXIST;
	if (row->attr.kind != target->attr.kind)
		return row->attr.kind == TREE_DIR ? -ENOTDIR : -EISDIR;
	if (row->attr.kind == TREE_DIR) {
		r = check_empty(tree, target);
		return r < 0 ? r : remove_row(tree, target);
	}
	r = replace_content(tree, row, target);
	return r != 0 ? r : remove_row(tree, target);
}

static int put_at(struct tree *tree, struct tree_row *row, const struct tree_row *to,
		  const struct tree_local_move *move)
{
	int64_t from = row->parent;
	int r = copy_to(&row->name, move->to_name);

	row->parent = (int64_t)to->attr.ino;
	row->attr.parent = to->attr.ino;
	if (r == 0)
		r = tree_row_update_here(tree, row);
	if (r == 0)
		r = touch(tree, from, move->now_ns);
	return r < 0 || from == row->parent ? r : touch(tree, row->parent, move->now_ns);
}

static int rename_entry(struct tree *tree, const struct tree_local_move *move,
			struct tree_attr *ret_replaced)
{
	auto_call(tree_row_fini) struct tree_row from = { 0 }, to = { 0 }, row = { 0 },
						 target = { 0 };
	int r = get_dir(tree, move->parent, &from), took = 0;

	if (r > 0)
		r = get_dir(tree, move->to_parent, &to);
	if (r > 0)
		r = tree_row_by_name(tree, (int64_t)move->parent, move->name, &row);
	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (row.attr.kind == TREE_DIR) {
		r = tree_place_is_below(tree, (int64_t)move->to_parent, row.attr.ino);
		if (r != 0)
			return r < 0 ? r : -EINVAL;
	}
	r = tree_row_by_name(tree, (int64_t)move->to_parent, move->to_name, &target);
	if (r < 0)
		return r;
	if (r > 0 && target.attr.ino == row.attr.ino)
		return move->keeps ? -EEXIST : 0;
	if (r == 0) {
		r = tree_fold_is_taken(tree, move->to_parent, move->to_name, row.attr.ino);
		if (r != 0)
			return r < 0 ? r : -EEXIST;
	} else {
		*ret_replaced = target.attr;
		took = replace(tree, &row, &target, move->keeps);
		if (took < 0)
			return took;
	}
	r = took ? 0 : pend_place(tree, &row, &from, &to, move->to_name);
	return r < 0 ? r : put_at(tree, &row, &to, move);
}

int tree_local_rename(struct tree *tree, const struct tree_local_move *move,
		      struct tree_attr *ret_replaced)
{
	struct tree_attr replaced = { 0 };
	int r = tree_begin(tree);

	if (r == 0)
		r = rename_entry(tree, move, &replaced);
	r = tree_end(tree, r, NULL);
	if (r == 0)
		*ret_replaced = replaced;
	return r;
}

/* --- content and attributes --- */

/* What was sent is not the last word any more. */
static int note_written(struct tree *tree, struct tree_pending *p)
{
	bool is_known = !p->has_hash || p->is_written;

	if (!(p->what & (LOCAL_CREATE | LOCAL_CONTENT)) || (is_known && !p->error))
		return 0;
	p->is_written |= p->has_hash;
	p->error = 0;
	return tree_pending_put(tree, p);
}

static int edit(struct tree *tree, struct tree_row *row, bool is_whole,
		struct tree_local_base *ret_base)
{
	struct tree_pending p = { .ino = row->attr.ino };
	int r = tree_pending_get(tree, row->attr.ino, &p);

	if (r >= 0 && !(p.what & (LOCAL_CREATE | LOCAL_CONTENT))) {
		p.what |= LOCAL_CONTENT;
		p.base_cid = is_whole ? 0 : row->attr.cid;
		p.base_size = row->attr.size;
		p.has_hash = p.is_written = false;
		p.error = 0;
		if (!is_whole)
			row->attr.cid = tree->next_cid++;
		r = tree_pending_put(tree, &p);
		if (r == 0)
			r = tree_row_update_facts_here(tree, row);
	} else if (r >= 0) {
		r = note_written(tree, &p);
	}
	*ret_base =
		(struct tree_local_base){ .cid = p.base_cid, .size = p.base_cid ? p.base_size : 0 };
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

static int get_file(struct tree *tree, uint64_t ino, struct tree_row *ret)
{
	int r = tree_row_get(tree, ino, ret);

	if (r <= 0)
		return r < 0 ? r : -ENOENT;
	if (ret->attr.kind != TREE_FILE)
		return -EISDIR;
	return ret->package || ret->malware ? -EPERM : 0;
}

int tree_local_edit(struct tree *tree, uint64_t ino, bool is_whole, struct tree_attr *ret,
		    struct tree_local_base *ret_base)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	struct tree_local_base base = { 0 };
	int r = tree_begin(tree);

	if (r == 0)
		r = get_file(tree, ino, &row);
	if (r == 0)
		r = edit(tree, &row, is_whole, &base);
	r = tree_end(tree, r, NULL);
	if (r == 0) {
		*ret = row.attr;
		*ret_base = base;
	}
	return r;
}

static int fill_branch(struct tree *tree, const struct tree_attr *was, const char *name,
		       struct tree_row *row)
{
	auto_call(tree_row_fini) struct tree_row dir = { 0 };
	char free_name[NAMES_MAX_BYTES + 1];
	int r = get_dir(tree, was->parent, &dir);

	*row = (struct tree_row){ .attr = *was, .name = strdup(name) };
	row->service_mtime_ns = was->mtime_ns;
	row->parent = r > 0 ? (int64_t)was->parent : TREE_ROOT_INO;
	row->attr.parent = (uint64_t)row->parent;
	if (!row->name || tree_local_make_id(row) < 0)
		return -ENOMEM;
	r = tree_fold_is_taken(tree, row->attr.parent, name, 0);
	if (r > 0)
		r = tree_settle_conflict_name(tree, row->parent, row, free_name);
	else if (r == 0)
		return 0;
	return r < 0 ? r : copy_to(&row->name, free_name);
}

static int branch(struct tree *tree, struct tree_row *row, struct tree_pending *p)
{
	int r = tree_row_restore(tree, row);

	if (r == 0)
		r = tree_pending_put(tree, p);
	if (r == 0)
		r = tree_row_bump(tree, row->parent);
	if (r == 0)
		r = tree_note_change(tree, &(struct change){ .kind = CHANGE_CREATE,
							     .parent = row->attr.parent,
							     .name = row->name,
							     .old_ino = row->attr.ino,
							     .attr = row->attr });
	if (r == 0)
		log_warn("a file that is open was changed elsewhere: what is written to it is in "
			 "\"%s\"",
			 log_text(row->name));
	return r;
}

int tree_local_branch(struct tree *tree, const struct tree_attr *was, const char *name,
		      bool is_whole, struct tree_attr *ret, struct tree_local_base *ret_base,
		      struct change_set **ret_changes)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	struct tree_pending p = {
		.ino = was->ino,
		.what = LOCAL_CREATE,
		.base_cid = is_whole ? 0 : was->cid,
		.base_size = was->size,
	};
	int r = tree_begin(tree);

	if (r == 0)
		r = fill_branch(tree, was, name, &row);
	if (r == 0 && !is_whole)
		row.attr.cid = tree->next_cid++;
	if (r == 0)
		r = branch(tree, &row, &p);
	r = tree_end(tree, r, ret_changes);
	if (r == 0) {
		*ret = row.attr;
		*ret_base = (struct tree_local_base){ .cid = p.base_cid,
						      .size = p.base_cid ? p.base_size : 0 };
	}
	return r;
}

static int pend_times(struct tree *tree, struct tree_row *row)
{
	struct tree_pending p = { .ino = row->attr.ino };
	int r = tree_pending_get(tree, row->attr.ino, &p);

	if (r >= 0 && !(p.what & (LOCAL_CREATE | LOCAL_CONTENT | LOCAL_TIMES))) {
		p.what |= LOCAL_TIMES;
		p.error = 0;
		r = tree_pending_put(tree, &p);
	}
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

static int set(struct tree *tree, struct tree_row *row, const struct tree_local_stat *stat)
{
	struct tree_pending p = { 0 };
	int r = 0;

	if (stat->has_mode)
		row->attr.mode = stat->mode;
	if (stat->has_size) {
		row->attr.size = stat->size;
		r = tree_pending_get(tree, row->attr.ino, &p);
		if (r > 0)
			r = note_written(tree, &p);
		tree_pending_fini(&p);
	}
	if (stat->has_mtime && stat->mtime_ns != row->attr.mtime_ns) {
		row->attr.mtime_ns = stat->mtime_ns;
		/* The root's time is the service's own. */
		if (r == 0 && row->attr.ino != TREE_ROOT_INO)
			r = pend_times(tree, row);
	}
	return r < 0 ? r : tree_row_update_facts_here(tree, row);
}

int tree_local_set(struct tree *tree, uint64_t ino, const struct tree_local_stat *stat,
		   struct tree_attr *ret)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	int r = tree_begin(tree);

	if (r == 0) {
		r = tree_row_get(tree, ino, &row);
		r = r == 0 ? -ENOENT : r > 0 ? 0 : r;
	}
	if (r == 0)
		r = set(tree, &row, stat);
	r = tree_end(tree, r, NULL);
	if (r == 0)
		*ret = row.attr;
	return r;
}

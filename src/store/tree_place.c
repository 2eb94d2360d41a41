#define LOG_MODULE "tree"
#include "tree_row.h"

#include "clock.h"
#include "log.h"
#include "tree_pending.h"
#include "tree_settle.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A chain of folders longer than this is taken for a ring. */
enum { DEPTH_MAX = 20000 };
/* Marked names are made from a hash: only one that was made to collide is taken. */
enum { NAME_TRIES_MAX = 100 };

/* --- deletion --- */

static int bury(struct tree *tree, const char *id)
{
	sqlite3_stmt *s = tree->w[W_TOMB_SET];

	tree->has_tombs = true;
	db_text(s, 1, id);
	sqlite3_bind_int64(s, 2, (int64_t)tree->seq + 1);
	sqlite3_bind_int64(s, 3, clock_real_s());
	return db_run(s);
}

static int note_update(struct tree *tree, const struct tree_row *row, uint64_t old_ino,
		       enum change_kind kind)
{
	return tree_note_change(tree, &(struct change){
					      .kind = kind,
					      .parent = row->attr.parent,
					      .name = row->name,
					      .old_ino = old_ino,
					      .attr = row->attr,
				      });
}

static int delete_one(struct tree *tree, const struct tree_row *row)
{
	int r = note_update(tree, row, row->attr.ino, CHANGE_DELETE);

	if (r == 0)
		r = tree_row_delete(tree, row->attr.ino);
	if (r == 0 && tree->pending_now > 0)
		r = tree_pending_drop(tree, row->attr.ino);
	if (r == 0)
		r = bury(tree, row->id);
	return r < 0 ? r : tree_row_bump(tree, row->parent);
}

int tree_place_delete(struct tree *tree, const struct tree_row *top)
{
	/* Down to a leaf, delete it, and on from there: no recursion, no list, however deep or wide
	 * the folder is. */
	uint64_t at = top->attr.ino, after = 0;
	int r = tree_settle_rescue(tree, top);

	if (r > 0)
		r = 0;
	while (r == 0) {
		struct tree_row row;
		uint64_t child;
		bool is_top;

		r = tree->gives_up ? -ECANCELED : tree_row_next_child(tree, at, after, &child);
		if (r < 0)
			return r;
		if (child) {
			r = tree_settle_is_elsewhere(tree, child);
			if (r < 0)
				return r;
			at = r > 0 ? at : child;
			after = r > 0 ? child : 0;
			r = 0;
			continue;
		}
		r = tree_row_get(tree, at, &row);
		if (r <= 0)
			return r;
		r = tree_local_is_id(row.id) ? 0 : delete_one(tree, &row);
		is_top = at == top->attr.ino;
		after = at;
		at = row.attr.parent;
		tree_row_fini(&row);
		if (is_top)
			return r;
	}
	return r;
}

static int delete_orphans(struct tree *tree, const char *pid)
{
	sqlite3_stmt *s = tree->w[W_ORPHANS];

	for (;;) {
		struct tree_row row;
		int r;

		db_text(s, 1, pid);
		sqlite3_bind_int64(s, 2, 0);
		r = db_step(s);
		if (r <= 0)
			return r;
		r = sqlite3_column_int64(s, 0) > 0
			    ? tree_row_get(tree, (uint64_t)sqlite3_column_int64(s, 0), &row)
			    : -EUCLEAN;
		(void)sqlite3_reset(s);
		if (r <= 0)
			return r < 0 ? r : -EUCLEAN;
		r = tree_place_delete(tree, &row);
		/* It has changes of here, and is new. */
		if (r == 0)
			r = tree_settle_orphan(tree, row.attr.ino);
		tree_row_fini(&row);
		if (r < 0)
			return r;
	}
}

int tree_place_is_buried(struct tree *tree, const char *id, uint64_t *ret_seq)
{
	sqlite3_stmt *s = tree->w[W_TOMB_GET];
	int r;

	if (!tree->has_tombs)
		return 0;
	db_text(s, 1, id);
	r = db_step(s);
	if (r > 0) {
		*ret_seq = (uint64_t)sqlite3_column_int64(s, 0);
		(void)sqlite3_reset(s);
	}
	return r;
}

int tree_place_unbury(struct tree *tree, const char *id)
{
	if (!tree->has_tombs)
		return 0;
	db_text(tree->w[W_TOMB_DELETE], 1, id);
	return db_run(tree->w[W_TOMB_DELETE]);
}

int tree_place_bury(struct tree *tree, const char *id)
{
	sqlite3_stmt *s = tree->w[W_TOMB_GET];
	int r = delete_orphans(tree, id);

	if (r == 0)
		r = tree_settle_gone(tree, id);
	if (r < 0)
		return r;
	db_text(s, 1, id);
	r = db_step(s);
	if (r < 0)
		return r;
	if (r > 0) {
		(void)sqlite3_reset(s);
		return 0;
	}
	tree->changed = true;
	return bury(tree, id);
}

/* --- places --- */

/* was, is: is the row in sight before and after? */
static int note_move(struct tree *tree, const struct tree_row *row, int64_t to_parent,
		     const char *to_name, bool was, bool is)
{
	struct change c = {
		.parent = row->attr.parent,
		.name = row->name,
		.old_ino = row->attr.ino,
		.attr = row->attr,
	};

	if (was && is) {
		c.kind = CHANGE_MOVE;
		c.to_parent = (uint64_t)to_parent;
		c.to_name = (char *)to_name;
		c.attr.parent = (uint64_t)to_parent;
	} else if (was) {
		c.kind = CHANGE_DELETE; /* out of what is known */
	} else if (is) {
		c.kind = CHANGE_CREATE; /* into it */
		c.parent = c.attr.parent = (uint64_t)to_parent;
		c.name = (char *)to_name;
	} else {
		return 0;
	}
	return tree_note_change(tree, &c);
}

static int note_one(struct tree *tree, uint64_t ino, enum change_kind kind)
{
	struct tree_row row;
	int r = tree_row_get(tree, ino, &row);

	if (r <= 0)
		return r < 0 ? r : -EIO;
	r = note_update(tree, &row, row.attr.ino, kind);
	tree_row_fini(&row);
	return r;
}

/* A folder goes out of sight, or comes into it, with all that is below it, while the rows stay:
 * tells what is below, children before their parents or after them, without a list or
 * recursion. */
static int note_below(struct tree *tree, uint64_t top, enum change_kind kind)
{
	uint64_t at = top, after = 0, child;
	int64_t parent = 0;

	while (!tree->changes->bulk) {
		int r = tree_row_next_child(tree, at, after, &child);

		if (r == 0 && child) {
			at = child;
			after = 0;
			if (kind == CHANGE_CREATE)
				r = note_one(tree, at, kind);
			if (r < 0)
				return r;
			continue;
		}
		if (r < 0 || at == top)
			return r;
		after = at;
		r = kind == CHANGE_DELETE ? note_one(tree, at, kind) : 0;
		if (r == 0)
			r = tree_row_parent(tree, at, &parent);
		if (r <= 0)
			return r < 0 ? r : -EIO;
		at = (uint64_t)parent;
	}
	return 0;
}

static int move_row(struct tree *tree, struct tree_row *row, int64_t to_parent, const char *pid,
		    const char *to_name, bool tell)
{
	int64_t from = row->parent;
	int was = tree_row_in_sight(tree, from), is = tree_row_in_sight(tree, to_parent);
	char *name = strdup(to_name), *new_pid = pid ? strdup(pid) : NULL;
	int r = was < 0 ? was : is < 0 ? is : 0;

	if (!name || (pid && !new_pid)) {
		free(name);
		free(new_pid);
		return -ENOMEM;
	}
	if (r == 0 && row->attr.kind == TREE_DIR && was && !is)
		r = note_below(tree, row->attr.ino, CHANGE_DELETE);
	if (r == 0 && tell)
		r = note_move(tree, row, to_parent, to_name, was, is);
	free(row->name);
	free(row->pid);
	row->name = name;
	row->pid = new_pid;
	row->parent = to_parent;
	row->attr.parent = to_parent > 0 ? (uint64_t)to_parent : 0;
	if (r == 0)
		r = tree_row_update(tree, row);
	if (r == 0 && row->attr.kind == TREE_DIR && !was && is && tell)
		r = note_below(tree, row->attr.ino, CHANGE_CREATE);
	if (r == 0)
		r = tree_row_bump(tree, from);
	return r < 0 || from == to_parent ? r : tree_row_bump(tree, to_parent);
}

int tree_place_move(struct tree *tree, struct tree_row *row, int64_t parent, const char *pid,
		    const char *name)
{
	return move_row(tree, row, parent, pid, name, true);
}

int tree_place_rename(struct tree *tree, struct tree_row *row, const char *name)
{
	return move_row(tree, row, row->parent, row->pid, name, true);
}

int tree_place_aside(struct tree *tree, struct tree_row *row)
{
	char name[64];

	snprintf(name, sizeof(name), ".graphfs-moving-%llu", (unsigned long long)row->attr.ino);
	if (strcmp(row->name, name) == 0)
		return 0;
	return tree_place_rename(tree, row, name);
}

int tree_place_is_below(struct tree *tree, int64_t dir, uint64_t ino)
{
	for (int depth = 0; dir > 0; depth++) {
		int r;

		if ((uint64_t)dir == ino || depth == DEPTH_MAX)
			return 1;
		r = tree_row_parent(tree, (uint64_t)dir, &dir);
		if (r <= 0)
			return r;
	}
	return 0;
}

/* Where the item belongs: inode of its parent, or TREE_ORPHAN. complete: what the parent did not
 * have until now is news to everybody. */
static int find_parent(struct tree *tree, const struct item *item, int64_t *ret, bool *ret_complete)
{
	struct tree_dir dir = { 0 };
	int r;

	*ret = TREE_ORPHAN;
	*ret_complete = false;
	if (!item->parent_id)
		return 0;
	r = tree_row_find_dir(tree, item->parent_id, &dir);
	if (r > 0 && dir.is_dir)
		*ret = dir.ino;
	*ret_complete = dir.complete;
	return r < 0 ? r : 0;
}

/* The name to show for this id in parent: the wanted one, or with a mark if another has it. */
static int free_name(struct tree *tree, int64_t parent, const char *id, const char *wanted,
		     char ret[NAMES_MAX_BYTES + 1])
{
	int r = tree_row_is_taken(tree, parent, id, wanted);

	if (r > 0) {
		r = tree_pending_ask_after(tree, parent, wanted, id);
		r = r < 0 ? r : 1;
	}
	memcpy(ret, wanted, strlen(wanted) + 1);
	for (unsigned nth = 0; r > 0 && nth < NAME_TRIES_MAX; nth++) {
		names_distinguish(wanted, id, nth, ret);
		r = tree_row_is_taken(tree, parent, id, ret);
	}
	return r > 0 ? -EEXIST : r;
}

/* --- content and attributes --- */

static bool differs(const char *a, const char *b)
{
	return a && b && strcmp(a, b) != 0;
}

/* cTag says it; where it is left out (delta of business drives) hash and size do, and where there
 * is no hash, a new eTag with a new time does. */
static bool has_new_content(const struct tree_row *row, const struct tree_row *now,
			    const struct item *item)
{
	if (row->attr.kind != TREE_FILE)
		return false;
	if (item->size >= 0 && now->attr.size != row->attr.size)
		return true;
	if (item->has_hash && row->has_hash)
		return memcmp(item->hash, row->hash, sizeof(row->hash)) != 0;
	if (item->ctag && row->ctag)
		return differs(item->ctag, row->ctag);
	return differs(item->etag, row->etag) && item->mtime_ns != ITEM_TIME_UNKNOWN &&
	       item->mtime_ns != row->service_mtime_ns;
}

static void replace(char **to, char **from)
{
	if (*from) {
		free(*to);
		*to = take_ptr(from);
	}
}

/* The time shown never repeats for a new content: the kernel tells versions by it. */
static void take_times(struct tree_row *row, const struct item *item, bool new_content)
{
	if (item->mtime_ns != ITEM_TIME_UNKNOWN && item->mtime_ns != row->service_mtime_ns) {
		row->service_mtime_ns = item->mtime_ns;
		if (row->attr.kind == TREE_FILE || item->mtime_ns > row->attr.mtime_ns)
			row->attr.mtime_ns = item->mtime_ns;
	} else if (new_content) {
		row->attr.mtime_ns++;
	}
	if (item->btime_ns != ITEM_TIME_UNKNOWN)
		row->attr.btime_ns = item->btime_ns;
}

static bool is_open(struct tree *tree, const struct tree_row *row)
{
	return row->attr.kind == TREE_FILE && tree->guard.file_open &&
	       tree->guard.file_open(tree->guard.arg, row->attr.ino);
}

static int update_row(struct tree *tree, struct tree_row *row, struct tree_row *now,
		      const struct item *item, const struct tree_settled *settled)
{
	bool new_content = !settled->keeps_content && has_new_content(row, now, item);
	int64_t shown_before = row->attr.mtime_ns;
	bool silent = differs(item->etag, row->etag) || differs(item->ctag, row->ctag) ||
		      (item->has_hash && !row->has_hash) || item->malware != row->malware ||
		      (item->etag && !row->etag) || (item->ctag && !row->ctag);
	uint64_t old_ino = row->attr.ino;
	bool visible;
	int r;

	if (!settled->keeps_time)
		take_times(row, item, new_content);
	visible = new_content || row->attr.mtime_ns != shown_before;
	if (!visible && !silent)
		return 0;
	if (new_content) {
		row->attr.size = item->size >= 0 ? now->attr.size : row->attr.size;
		row->attr.cid = now->attr.cid;
		row->has_hash = false;
		/* A tag of the content that was: business delta brings none of the new one. */
		free(row->ctag);
		row->ctag = NULL;
	}
	if (item->has_hash) {
		memcpy(row->hash, item->hash, sizeof(row->hash));
		row->has_hash = true;
	}
	row->malware = item->malware;
	replace(&row->etag, &now->etag);
	replace(&row->ctag, &now->ctag);
	replace(&row->web_url, &now->web_url);
	/* An open file goes on with the version it has, under the number it has. */
	if (new_content && is_open(tree, row)) {
		r = tree_row_renumber(tree, row);
		/* The folder's listing names another inode now. */
		if (r == 0)
			r = tree_row_bump(tree, row->parent);
	} else {
		r = tree_row_update_facts(tree, row);
	}
	if (r < 0 || !visible)
		return r;
	return note_update(tree, row, old_ino, new_content ? CHANGE_CONTENT : CHANGE_ATTR);
}

/* --- inserting and adopting --- */

static int adopt(struct tree *tree, const struct tree_row *dir, uint64_t ino, bool tell)
{
	char name[NAMES_MAX_BYTES + 1];
	struct tree_row row;
	int r = tree_row_get(tree, ino, &row);

	if (r <= 0)
		return r < 0 ? r : -EIO;
	/* A ring of folders stays out of sight. */
	r = tree_place_is_below(tree, (int64_t)dir->attr.ino, ino);
	if (r == 0) {
		r = free_name(tree, (int64_t)dir->attr.ino, row.id, row.name, name);
		if (r == 0)
			r = move_row(tree, &row, (int64_t)dir->attr.ino, NULL, name, tell);
	}
	tree_row_fini(&row);
	return r < 0 ? r : 0;
}

/* Rows that waited for this folder to appear. tell: the folder itself was told. */
static int adopt_orphans(struct tree *tree, const struct tree_row *dir, bool tell)
{
	sqlite3_stmt *s = tree->w[W_ORPHANS];
	uint64_t ino = 0;

	for (;;) {
		int r;

		db_text(s, 1, dir->id);
		sqlite3_bind_int64(s, 2, (int64_t)ino);
		r = db_step(s);
		if (r <= 0)
			return r;
		ino = (uint64_t)sqlite3_column_int64(s, 0);
		(void)sqlite3_reset(s);
		r = adopt(tree, dir, ino, tell);
		if (r < 0)
			return r;
	}
}

int tree_place_adopt(struct tree *tree, const struct tree_row *dir)
{
	return adopt_orphans(tree, dir, true);
}

static int insert(struct tree *tree, struct tree_row *row, const struct item *item, int64_t parent,
		  const char *wanted, bool is_news)
{
	char name[NAMES_MAX_BYTES + 1];
	int r = free_name(tree, parent, item->id, wanted, name);
	bool tell = is_news && parent > 0;

	if (r < 0)
		return r;
	row->parent = parent;
	row->name = strdup(name);
	row->pid = parent == TREE_ORPHAN && item->parent_id ? strdup(item->parent_id) : NULL;
	if (!row->name || (parent == TREE_ORPHAN && item->parent_id && !row->pid))
		return -ENOMEM;
	r = tree_row_insert(tree, row);
	if (r == 0 && tell) {
		r = tree_row_bump(tree, parent);
		if (r == 0)
			r = note_update(tree, row, row->attr.ino, CHANGE_CREATE);
	}
	return r < 0 || row->attr.kind != TREE_DIR ? r : adopt_orphans(tree, row, tell);
}

/* Is the row where the item says it is, under its name or the one it had to take? */
static bool is_in_place(const struct tree_row *row, int64_t parent, const char *name)
{
	return row->parent == parent && strcmp(row->name, name) == 0;
}

static int move_to_item(struct tree *tree, struct tree_row *row, const struct item *item,
			int64_t parent, const char *wanted)
{
	char name[NAMES_MAX_BYTES + 1];
	int r;

	if (is_in_place(row, parent, wanted))
		return 0;
	if (parent > 0 && row->attr.kind == TREE_DIR && row->parent != parent) {
		r = tree_place_is_below(tree, parent, row->attr.ino);
		if (r > 0)
			r = tree_settle_ring(tree, row, parent);
		if (r < 0)
			return r;
		if (r > 0) {
			log_warn("the service says that a folder is below itself: left where it "
				 "was");
			parent = row->parent;
		}
	}
	r = free_name(tree, parent, item->id, wanted, name);
	if (r < 0 || is_in_place(row, parent, name))
		return r;
	return move_row(tree, row, parent, parent == TREE_ORPHAN ? item->parent_id : NULL, name,
			true);
}

static int place_known(struct tree *tree, struct tree_row *row, struct tree_row *now,
		       const struct item *item, int64_t parent, const char *wanted,
		       const struct tree_settled *settled)
{
	int r = 0;

	/* A tombstone's twin or a partial entry may come without a name or a parent. */
	if (item->name && item->parent_id && !settled->keeps_place)
		r = move_to_item(tree, row, item, parent, wanted);
	return r < 0 ? r : update_row(tree, row, now, item, settled);
}

static bool is_other_kind(const struct tree_row *row, const struct item *item)
{
	bool is_file = item->kind == ITEM_FILE;

	return item->kind != ITEM_UNKNOWN && is_file != (row->attr.kind == TREE_FILE);
}

int tree_place_row(struct tree *tree, struct tree_row *row, const struct item *item, bool is_news)
{
	char wanted[NAMES_MAX_BYTES + 1];
	struct tree_settled settled = { 0 };
	struct tree_row now = { 0 };
	int64_t parent;
	bool complete;
	int r;

	/* Called no root this time. It stays one. */
	if (row && row->attr.ino == TREE_ROOT_INO)
		return tree_place_root(tree, item);
	r = find_parent(tree, item, &parent, &complete);
	names_show(item->name ? item->name : "", item->name_len, wanted);
	if (r == 0 && row && is_other_kind(row, item)) {
		/* A file became a folder, or the reverse: for the kernel another thing. */
		r = tree_place_delete(tree, row);
		row = NULL;
	}
	if (r == 0)
		r = tree_settle_item(tree, row, item, parent, wanted, &settled);
	if (r < 0 || settled.is_done)
		return r;
	r = tree_row_from_item(tree, item, &now);
	if (r == 0)
		r = row && !settled.is_new
			    ? place_known(tree, row, &now, item, parent, wanted, &settled)
			    : insert(tree, &now, item, parent, wanted,
				     is_news || complete || settled.is_news);
	tree_row_fini(&now);
	return r;
}

int tree_place_item(struct tree *tree, const struct item *item, bool is_news)
{
	struct tree_row row = { 0 };
	int r = tree_row_by_id(tree, item->id, &row);

	if (r >= 0)
		r = tree_place_row(tree, r > 0 ? &row : NULL, item, is_news);
	tree_row_fini(&row);
	return r;
}

/* A row that stays where it is: 1 when it has the item's facts now. */
static int update_in_place(struct tree *tree, struct tree_row *row, const struct item *item,
			   int64_t parent, const char *wanted)
{
	struct tree_row now;
	int r;

	if (row->attr.ino == TREE_ROOT_INO || !is_in_place(row, parent, wanted) ||
	    is_open(tree, row))
		return 0;
	r = tree_pending_is(tree, row->attr.ino);
	if (r != 0)
		return r < 0 ? r : 0;
	r = tree_row_from_item(tree, item, &now);
	if (r < 0)
		return r;
	if (item->kind == ITEM_UNKNOWN || now.attr.kind == row->attr.kind) {
		r = update_row(tree, row, &now, item, &(struct tree_settled){ 0 });
		r = r < 0 ? r : 1;
	}
	tree_row_fini(&now);
	return r;
}

/* A new row under a free name. */
static int insert_easily(struct tree *tree, const struct item *item, int64_t parent,
			 const char *wanted)
{
	struct tree_row now;
	int r = tree_row_is_taken(tree, parent, item->id, wanted);

	if (r == 0)
		r = tree_pending_is_deletion(tree, item->id);
	if (r != 0)
		return r < 0 ? r : 0;
	r = tree_place_unbury(tree, item->id);
	if (r == 0)
		r = tree_row_from_item(tree, item, &now);
	if (r < 0)
		return r;
	r = insert(tree, &now, item, parent, wanted, true);
	tree_row_fini(&now);
	return r < 0 ? r : 1;
}

int tree_place_easily(struct tree *tree, const struct item *item, bool may_insert)
{
	char wanted[NAMES_MAX_BYTES + 1];
	struct tree_row row = { 0 };
	int64_t parent;
	bool complete;
	int r = item->name ? find_parent(tree, item, &parent, &complete) : 0;

	if (r < 0 || !item->name || parent == TREE_ORPHAN)
		return r;
	names_show(item->name, item->name_len, wanted);
	r = tree_row_by_id(tree, item->id, &row);
	if (r > 0)
		r = update_in_place(tree, &row, item, parent, wanted);
	else if (r == 0 && (may_insert || parent == TREE_ROOT_INO))
		r = insert_easily(tree, item, parent, wanted);
	tree_row_fini(&row);
	return r;
}

/* The root is known by another id now. */
static int rename_root(struct tree *tree, struct tree_row *root, struct tree_row *now)
{
	struct tree_row other;
	int r = tree_row_by_id(tree, now->id, &other);

	if (r < 0)
		return r;
	if (r > 0) {
		tree_row_fini(&other);
		log_warn("the service calls an item the root that is known as another: ignored");
		return 1;
	}
	replace(&root->id, &now->id);
	r = tree_row_update(tree, root);
	return r < 0 ? r : adopt_orphans(tree, root, true);
}

int tree_place_root(struct tree *tree, const struct item *item)
{
	struct tree_row row, now;
	int r = tree_row_get(tree, TREE_ROOT_INO, &row);

	if (r <= 0)
		return r < 0 ? r : -EIO;
	r = tree_row_from_item(tree, item, &now);
	if (r == 0) {
		if (strcmp(row.id, now.id) != 0)
			r = rename_root(tree, &row, &now);
		if (r == 0)
			r = update_row(tree, &row, &now, item, &(struct tree_settled){ 0 });
		tree_row_fini(&now);
	}
	tree_row_fini(&row);
	return r < 0 ? r : 0;
}

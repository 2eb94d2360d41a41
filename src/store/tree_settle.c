#define LOG_MODULE "tree"
#include "tree_settle.h"

#include "clock.h"
#include "itemname.h"
#include "log.h"
#include "tree_pending.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { NAME_TRIES_MAX = 100 };

static bool is_sending(struct tree *tree, uint64_t ino, const char *id)
{
	return tree->guard.is_sending && tree->guard.is_sending(tree->guard.arg, ino, id);
}

/* 1: the row is being sent, and what is said of the item is asked for afterwards. */
static int waits_for(struct tree *tree, uint64_t ino, const char *id, const struct item *item)
{
	int r;

	if (!is_sending(tree, ino, id))
		return 0;
	r = tree_pending_ask(tree, ino, id, item->id);
	return r < 0 ? r : 1;
}

/* --- names --- */

int tree_settle_conflict_name(struct tree *tree, int64_t parent, const struct tree_row *row,
			      char ret[NAMES_MAX_BYTES + 1])
{
	char host[65] = "", date[32], mark[112], marked[NAMES_MAX_BYTES + 1];
	auto_free char *name = NULL;
	size_t len;
	time_t now = (time_t)clock_real_s();
	struct tm tm;
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	if (!localtime_r(&now, &tm) || strftime(date, sizeof(date), "%Y-%m-%d %H-%M", &tm) == 0)
		date[0] = '\0';
	r = tree_pending_name(row, &name, &len);
	if (r < 0)
		return r;
	for (unsigned nth = 1; nth <= NAME_TRIES_MAX; nth++) {

		if (nth == 1)
			snprintf(mark, sizeof(mark), "conflict %s %s", host, date);
		else
			snprintf(mark, sizeof(mark), "conflict %s %s %u", host, date, nth);
		/* The mark goes on the service's name, or the escapes of the shown one would be
		 * taken for what they look like. */
		names_mark(name, mark, marked);
		names_show(marked, strlen(marked), ret);
		r = tree_row_is_taken(tree, parent, row->id, ret);
		if (r <= 0)
			return r;
	}
	return -EEXIST;
}

/* Renames a row of ours, because the service has its name for something else. */
static int yield_name(struct tree *tree, struct tree_row *row)
{
	char name[NAMES_MAX_BYTES + 1];
	int r = tree_settle_conflict_name(tree, row->parent, row, name);

	if (r < 0)
		return r;
	log_warn("\"%s\" was changed elsewhere, too: what was written here is in \"%s\"",
		 log_text(row->name), log_text(name));
	return tree_place_rename(tree, row, name);
}

/* --- the same thing made on both sides --- */

/* Is it what was sent last? The hash is one of the length, too. */
static bool is_same_content(const struct tree_pending *p, const struct item *item)
{
	return p->has_hash && item->has_hash && memcmp(p->hash, item->hash, sizeof(p->hash)) == 0;
}

/* The content that was sent has arrived, and its answer was lost: it is the base. */
static void take_sent(struct tree_row *row, struct tree_pending *p, const struct item *item)
{
	p->what &= ~(unsigned)LOCAL_CONTENT;
	p->what |= LOCAL_TIMES;
	if (p->is_written) {
		p->what |= LOCAL_CONTENT;
		p->base_size = item->size > 0 ? (uint64_t)item->size : 0;
	}
	p->has_hash = p->is_written = false;
	row->has_hash = true;
	memcpy(row->hash, item->hash, sizeof(row->hash));
	/* Of what was before. */
	free(take_ptr(&row->etag));
	free(take_ptr(&row->ctag));
}

/* A folder of one name is one folder; a file is ours if it has our content, whose answer was
 * lost. */
static bool is_same_thing(const struct tree_row *row, const struct tree_pending *p,
			  const struct item *item)
{
	if (!(p->what & LOCAL_CREATE))
		return false;
	if (row->attr.kind == TREE_DIR)
		return item->kind == ITEM_FOLDER;
	return item->kind == ITEM_FILE && is_same_content(p, item);
}

/* The new row is the item. */
static int adopt_item(struct tree *tree, struct tree_row *row, struct tree_pending *p,
		      const struct item *item)
{
	char *id = strdup(item->id);
	int r;

	if (!id)
		return -ENOMEM;
	free(row->id);
	row->id = id;
	if (item->mtime_ns != ITEM_TIME_UNKNOWN)
		row->service_mtime_ns = item->mtime_ns;
	p->what = 0;
	p->error = 0;
	if (row->attr.kind == TREE_FILE)
		take_sent(row, p, item);
	else
		row->attr.complete = false;
	r = tree_place_unbury(tree, item->id);
	if (r == 0)
		r = tree_row_update(tree, row);
	if (r == 0)
		r = tree_pending_put(tree, p);
	if (r == 0 && row->attr.kind == TREE_DIR)
		r = tree_place_adopt(tree, row);
	return r < 0 ? r : tree_place_item(tree, item, true);
}

/* The name that the item wants is a row's of ours. */
static int settle_name(struct tree *tree, const struct item *item, bool is_known, int64_t parent,
		       const char *wanted, struct tree_settled *ret)
{
	auto_call(tree_row_fini) struct tree_row other = { 0 };
	struct tree_pending p = { 0 };
	int r = parent > 0 ? tree_row_by_name(tree, parent, wanted, &other) : 0;

	if (r <= 0 || strcmp(other.id, item->id) == 0)
		return r < 0 ? r : 0;
	r = tree_pending_get(tree, other.attr.ino, &p);
	if (r > 0 && p.what & (LOCAL_CREATE | LOCAL_PLACE)) {
		r = waits_for(tree, other.attr.ino, other.id, item);
		/* An item that has a row of its own is another thing. */
		ret->is_done = r > 0 || (!is_known && is_same_thing(&other, &p, item));
		if (r == 0)
			r = ret->is_done ? adopt_item(tree, &other, &p, item)
					 : yield_name(tree, &other);
	}
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

/* Does the row have the item's name, or one that differs in case, in the same folder? */
static int has_name_of(struct tree *tree, const struct tree_row *row, const struct item *item)
{
	auto_free char *name = NULL;
	struct tree_dir dir;
	size_t len;
	int r;

	if (!item->parent_id || !item->name || names_unshow(row->name, &name, &len) < 0 ||
	    !itemname_is_same(name, len, item->name, item->name_len))
		return 0;
	r = tree_row_find_dir(tree, item->parent_id, &dir);
	return r > 0 ? dir.ino == row->parent : r;
}

int tree_settle_taken(struct tree *tree, uint64_t ino, const struct item *item)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 }, known = { 0 };
	auto_call(tree_pending_fini) struct tree_pending p = { 0 }, of_known = { 0 };
	int r = tree_row_get(tree, ino, &row);

	if (r > 0)
		r = tree_pending_get(tree, ino, &p);
	if (r <= 0 || !(p.what & (LOCAL_CREATE | LOCAL_PLACE)) || strcmp(row.id, item->id) == 0)
		return r < 0 ? r : 0;
	r = has_name_of(tree, &row, item);
	if (r <= 0)
		return r;
	r = tree_row_by_id(tree, item->id, &known);
	if (r > 0)
		r = tree_pending_get(tree, known.attr.ino, &of_known);
	else if (r == 0)
		r = tree_pending_find(tree, item->id, &of_known);
	/* It goes away, by our will. */
	if (r < 0 || of_known.what & (LOCAL_PLACE | LOCAL_DELETE))
		return r < 0 ? r : 0;
	return !known.id && is_same_thing(&row, &p, item) ? adopt_item(tree, &row, &p, item)
							  : yield_name(tree, &row);
}

/* --- deleted here --- */

static bool is_text_other(const char *a, const char *b)
{
	return a && b && strcmp(a, b) != 0;
}

static bool is_base_content(const struct tree_pending *p, const struct item *item)
{
	bool was_file = p->base_cid != 0;

	if (item->kind != ITEM_UNKNOWN && was_file != (item->kind == ITEM_FILE))
		return false;
	if (!was_file)
		return true;
	if (item->size >= 0 && (uint64_t)item->size != p->base_size)
		return false;
	if (item->has_hash && p->has_hash)
		return memcmp(item->hash, p->hash, sizeof(p->hash)) == 0;
	return !is_text_other(item->ctag, p->ctag);
}

static bool is_base_place(const struct tree_pending *p, const char *pid, const char *shown)
{
	return p->base_pid && p->base_name && strcmp(p->base_pid, pid) == 0 &&
	       strcmp(p->base_name, shown) == 0;
}

/* The item is to be deleted at the service: unless somebody changed it meanwhile. */
static int settle_deleted(struct tree *tree, struct tree_pending *p, const struct item *item,
			  const char *wanted, struct tree_settled *ret)
{
	bool is_unchanged = is_base_content(p, item) && (!item->parent_id || !item->name ||
							 is_base_place(p, item->parent_id, wanted));
	/* While the deletion is sent it may have been deleted, and be there again. */
	int r = waits_for(tree, p->ino, item->id, item);

	if (r != 0 || is_unchanged) {
		ret->is_done = true;
		return r < 0 ? r : 0;
	}
	log_warn("\"%s\" was deleted here and changed elsewhere: it is back", log_text(wanted));
	ret->is_news = true;
	return tree_pending_drop(tree, p->ino);
}

/* --- changed here --- */

static bool is_news_of_content(const struct tree_row *row, uint64_t base_size,
			       const struct item *item)
{
	if (item->size >= 0 && (uint64_t)item->size != base_size)
		return true;
	if (item->has_hash && row->has_hash)
		return memcmp(item->hash, row->hash, sizeof(row->hash)) != 0;
	if (item->ctag && row->ctag)
		return is_text_other(item->ctag, row->ctag);
	return is_text_other(item->etag, row->etag) && item->mtime_ns != ITEM_TIME_UNKNOWN &&
	       item->mtime_ns != row->service_mtime_ns;
}

int tree_local_make_new(struct tree *tree, struct tree_row *row, struct tree_pending *p)
{
	struct tree_pending now = {
		.ino = row->attr.ino,
		.what = LOCAL_CREATE,
		.base_cid = p->base_cid,
		.base_size = p->base_size,
		.has_hash = p->has_hash,
		.is_written = p->is_written,
	};
	int r = tree_local_make_id(row);

	memcpy(now.hash, p->hash, sizeof(now.hash));
	free(take_ptr(&row->etag));
	free(take_ptr(&row->ctag));
	free(take_ptr(&row->web_url));
	row->has_hash = false;
	/* What else the service had in the folder goes, and nothing comes. */
	row->attr.complete = row->attr.kind == TREE_DIR;
	if (r == 0)
		r = tree_row_update(tree, row);
	return r < 0 ? r : tree_pending_put(tree, &now);
}

/* Both sides have a new content. Theirs keeps name and id; ours is a file of its own. */
static int split(struct tree *tree, struct tree_row *row, struct tree_pending *p,
		 struct tree_settled *ret)
{
	int r = tree_local_make_new(tree, row, p);

	if (r == 0)
		r = yield_name(tree, row);
	ret->is_new = true;
	ret->is_news = true;
	return r;
}

static int settle_content(struct tree *tree, struct tree_row *row, struct tree_pending *p,
			  const struct item *item, struct tree_settled *ret)
{
	if (!is_news_of_content(row, p->base_size, item)) {
		ret->keeps_content = true;
		return 0;
	}
	if (!is_same_content(p, item))
		return split(tree, row, p, ret);
	take_sent(row, p, item);
	ret->keeps_content = p->what & LOCAL_CONTENT;
	return tree_row_update_facts(tree, row);
}

static int settle_place(struct tree *tree, const struct tree_row *row, struct tree_pending *p,
			const struct item *item, int64_t parent, const char *wanted,
			struct tree_settled *ret)
{
	char *pid, *name;

	if (!item->name || !item->parent_id || is_base_place(p, item->parent_id, wanted)) {
		ret->keeps_place = true;
		return 0;
	}
	if (row->parent == parent && strcmp(row->name, wanted) == 0) {
		p->what &= ~(unsigned)LOCAL_PLACE;
		return 0;
	}
	pid = strdup(item->parent_id);
	name = strdup(wanted);
	free(p->base_pid);
	free(p->base_name);
	p->base_pid = pid;
	p->base_name = name;
	ret->keeps_place = true;
	return pid && name ? 0 : -ENOMEM;
}

static int settle_changed(struct tree *tree, struct tree_row *row, struct tree_pending *p,
			  const struct item *item, int64_t parent, const char *wanted,
			  struct tree_settled *ret)
{
	int r = waits_for(tree, row->attr.ino, row->id, item);

	if (r != 0) {
		ret->is_done = true;
		return r < 0 ? r : 0;
	}
	if (p->what & LOCAL_CONTENT)
		r = settle_content(tree, row, p, item, ret);
	/* A time that was set here was that of the content then. */
	else if (p->what & LOCAL_TIMES && row->attr.kind == TREE_FILE &&
		 is_news_of_content(row, row->attr.size, item)) {
		p->what &= ~(unsigned)LOCAL_TIMES;
		row->service_mtime_ns = ITEM_TIME_UNKNOWN;
	}
	if (r < 0 || ret->is_new)
		return r;
	if (p->what & LOCAL_PLACE)
		r = settle_place(tree, row, p, item, parent, wanted, ret);
	if (p->what & (LOCAL_TIMES | LOCAL_CONTENT)) {
		ret->keeps_time = true;
		if (item->mtime_ns != ITEM_TIME_UNKNOWN &&
		    item->mtime_ns != row->service_mtime_ns) {
			row->service_mtime_ns = item->mtime_ns;
			r = r < 0 ? r : tree_row_update_facts(tree, row);
		}
	}
	return r < 0 ? r : tree_pending_put(tree, p);
}

int tree_settle_item(struct tree *tree, struct tree_row *row, const struct item *item,
		     int64_t parent, const char *wanted, struct tree_settled *ret)
{
	struct tree_pending p = { 0 };
	int r;

	*ret = (struct tree_settled){ 0 };
	if (tree->pending_now == 0)
		return 0;
	r = row ? tree_pending_get(tree, row->attr.ino, &p) : tree_pending_find(tree, item->id, &p);
	if (r > 0 && row)
		r = settle_changed(tree, row, &p, item, parent, wanted, ret);
	else if (r > 0)
		r = settle_deleted(tree, &p, item, wanted, ret);
	tree_pending_fini(&p);
	if (r == 0 && !ret->is_done && !ret->keeps_place && item->name)
		r = settle_name(tree, item, row != NULL, parent, wanted, ret);
	return r;
}

int tree_settle_has_place(struct tree *tree, const char *id)
{
	struct tree_pending p = { 0 };
	struct tree_row row;
	int r = tree->pending_now > 0 ? tree_row_by_id(tree, id, &row) : 0;

	if (r > 0) {
		r = tree_pending_get(tree, row.attr.ino, &p);
		tree_row_fini(&row);
	}
	r = r > 0 ? (p.what & (LOCAL_CREATE | LOCAL_PLACE)) != 0 : r;
	tree_pending_fini(&p);
	return r;
}

/* --- deleted there --- */

/* The row and the folders up to top are to be made again. */
static int rescue(struct tree *tree, uint64_t ino, uint64_t top)
{
	for (;;) {
		auto_call(tree_row_fini) struct tree_row row = { 0 };
		auto_call(tree_pending_fini) struct tree_pending p = { 0 };
		int r = tree_row_get(tree, ino, &row);

		if (r > 0)
			r = tree_pending_get(tree, ino, &p);
		if (r >= 0 && row.id && !tree_local_is_id(row.id)) {
			log_warn(
				"\"%s\" was deleted elsewhere, but has changes of here: it is kept",
				log_text(row.name));
			r = tree_place_bury(tree, row.id);
			if (r == 0)
				r = tree_local_make_new(tree, &row, &p);
		}
		if (r < 0 || !row.id || ino == top)
			return r < 0 ? r : 0;
		ino = row.attr.parent;
	}
}

enum unsent { UNSENT_NOTHING, UNSENT_CONTENT, UNSENT_PLACE };

/* What of a row below top, whose id is id, must not be lost with it; enum unsent. */
static int find_unsent(struct tree *tree, uint64_t ino, uint64_t top, const char *id)
{
	auto_call(tree_pending_fini) struct tree_pending p = { 0 };
	int r = tree_pending_get(tree, ino, &p);

	if (r <= 0)
		return r;
	if (p.what & LOCAL_PLACE && ino != top) {
		r = tree_pending_is_below(tree, p.base_pid, id);
		if (r <= 0)
			return r < 0 ? r : UNSENT_PLACE;
	}
	if (p.what & (LOCAL_CREATE | LOCAL_CONTENT))
		return UNSENT_CONTENT;
	/* Where it is to be is of no matter any more. */
	return p.what & LOCAL_PLACE ? tree_pending_drop(tree, ino) : UNSENT_NOTHING;
}

/* The next row after at, below top; below at itself only if goes_down. 0: none. */
static int next_below(struct tree *tree, uint64_t top, uint64_t at, bool goes_down, uint64_t *ret)
{
	uint64_t child = 0, after = 0;
	int64_t parent;
	int r = goes_down ? tree_row_next_child(tree, at, 0, &child) : 0;

	while (r == 0 && !child && at != top) {
		after = at;
		r = tree_row_parent(tree, at, &parent);
		if (r <= 0)
			return r < 0 ? r : -EUCLEAN;
		at = (uint64_t)parent;
		r = tree_row_next_child(tree, at, after, &child);
	}
	*ret = child;
	return r < 0 ? r : child != 0;
}

/* is_look: rescues nothing, and ends at the first that it finds. */
static int rescue_below(struct tree *tree, const struct tree_row *top, bool is_look)
{
	uint64_t at = top->attr.ino, up;
	bool found = false;
	int r = 1;

	while (r > 0) {
		int unsent = find_unsent(tree, at, top->attr.ino, top->id);
		struct tree_row row;

		if (unsent < 0)
			return unsent;
		found = found || unsent;
		if (unsent && is_look)
			return 1;
		up = at;
		if (unsent == UNSENT_PLACE) {
			r = tree_row_get(tree, at, &row);
			if (r <= 0)
				return r < 0 ? r : -EUCLEAN;
			up = row.attr.parent;
			tree_row_fini(&row);
		}
		r = unsent ? rescue(tree, up, top->attr.ino) : 0;
		if (r == 0)
			r = next_below(tree, top->attr.ino, at, unsent != UNSENT_PLACE, &at);
	}
	return r < 0 ? r : found;
}

int tree_settle_rescue(struct tree *tree, const struct tree_row *top)
{
	return tree->pending_now > 0 ? rescue_below(tree, top, false) : 0;
}

int tree_settle_is_elsewhere(struct tree *tree, uint64_t ino)
{
	struct tree_pending p = { 0 };
	int r = tree_pending_get(tree, ino, &p);

	r = r > 0 ? (p.what & LOCAL_PLACE) != 0 : r;
	tree_pending_fini(&p);
	return r;
}

int tree_settle_aside(struct tree *tree, struct tree_row *row)
{
	int r = tree->pending_now > 0 ? rescue_below(tree, row, true) : 0;

	if (r < 0)
		return r;
	return r > 0 ? yield_name(tree, row) : tree_place_aside(tree, row);
}

/* --- out of the way --- */

/* To this folder, under this name or one that says that it was in the way. */
static int send_to(struct tree *tree, struct tree_row *row, int64_t parent, const char *name)
{
	char free_name[NAMES_MAX_BYTES + 1];
	int r = tree_row_is_taken(tree, parent, row->id, name);

	snprintf(free_name, sizeof(free_name), "%s", name);
	if (r > 0)
		r = tree_settle_conflict_name(tree, parent, row, free_name);
	return r < 0 ? r : tree_place_move(tree, row, parent, NULL, free_name);
}

int tree_settle_orphan(struct tree *tree, uint64_t ino)
{
	auto_call(tree_row_fini) struct tree_row row = { 0 };
	int r = tree_row_get(tree, ino, &row);

	if (r <= 0 || row.parent != TREE_ORPHAN)
		return r < 0 ? r : 0;
	return send_to(tree, &row, TREE_ROOT_INO, row.name);
}

/* Back to where the service has it; into the root if that is no way out. */
static int send_back(struct tree *tree, struct tree_row *row, struct tree_pending *p, uint64_t ring)
{
	auto_free char *name = strdup(p->base_name);
	struct tree_dir dir = { 0 };
	int64_t to = TREE_ROOT_INO;
	int r = tree_row_find_dir(tree, p->base_pid, &dir);

	if (!name)
		return -ENOMEM;
	if (r > 0 && dir.is_dir) {
		r = tree_place_is_below(tree, dir.ino, row->attr.ino);
		if (r == 0)
			r = tree_place_is_below(tree, dir.ino, ring);
		if (r == 0)
			to = dir.ino;
	}
	if (r < 0)
		return r;
	log_warn("\"%s\" cannot be where it was moved to: what that is in was moved into it "
		 "elsewhere",
		 log_text(row->name));
	r = send_to(tree, row, to, name);
	if (r < 0 || to != dir.ino || strcmp(row->name, name) != 0)
		return r;
	p->what &= ~(unsigned)LOCAL_PLACE;
	free(take_ptr(&p->base_pid));
	free(take_ptr(&p->base_name));
	return tree_pending_put(tree, p);
}

/* The lowest folder from dir up to the row ring that is there by our will goes. 1: there was one.
 */
static int break_ring(struct tree *tree, int64_t dir, uint64_t ring)
{
	while (dir > 0 && (uint64_t)dir != ring) {
		auto_call(tree_row_fini) struct tree_row row = { 0 };
		auto_call(tree_pending_fini) struct tree_pending p = { 0 };
		int r = tree_row_get(tree, (uint64_t)dir, &row);

		if (r > 0)
			r = tree_pending_get(tree, row.attr.ino, &p);
		if (r > 0 && p.what & LOCAL_PLACE) {
			r = send_back(tree, &row, &p, ring);
			return r < 0 ? r : 1;
		}
		if (r < 0 || !row.id)
			return r;
		dir = row.parent;
	}
	return 0;
}

/* What is between dir and the row may be elsewhere by now, and is asked for: then the row is, too.
 */
static int ask_after_ring(struct tree *tree, int64_t dir, const struct tree_row *row)
{
	while (dir > 0 && (uint64_t)dir != row->attr.ino) {
		auto_call(tree_row_fini) struct tree_row between = { 0 };
		int r = tree_row_get(tree, (uint64_t)dir, &between);

		if (r > 0)
			r = tree_pending_ask_after(tree, between.parent, between.name, row->id);
		if (r < 0 || !between.id)
			return r;
		dir = between.parent;
	}
	return 0;
}

int tree_settle_ring(struct tree *tree, struct tree_row *row, int64_t dir)
{
	auto_call(tree_row_fini) struct tree_row now = { 0 };
	int r = 1;

	while (r > 0) {
		r = break_ring(tree, dir, row->attr.ino);
		if (r == 0) {
			r = ask_after_ring(tree, dir, row);
			return r < 0 ? r : 1;
		}
		if (r > 0)
			r = tree_place_is_below(tree, dir, row->attr.ino);
	}
	/* Something left it. */
	if (r == 0)
		r = tree_row_get(tree, row->attr.ino, &now);
	if (r > 0)
		row->attr.mtime_ns = now.attr.mtime_ns;
	return r < 0 ? r : 0;
}

int tree_settle_gone(struct tree *tree, const char *id)
{
	struct tree_pending p = { 0 };
	int r = tree_pending_find(tree, id, &p);

	if (r > 0 && !is_sending(tree, p.ino, id))
		r = tree_pending_drop(tree, p.ino);
	tree_pending_fini(&p);
	return r < 0 ? r : 0;
}

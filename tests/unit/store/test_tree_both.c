/*
 * Both sides change a drive at random: here through tree_local_*, there as somebody else, while
 * delta runs are gathered, and what is pending is sent, answered late, or never. When all is told
 * and sent, both sides have the same, no content that was written here is missing, and none of
 * somebody else was written over unseen.
 * GRAPHFS_CASES: how many rounds (20,000); GRAPHFS_SEED: the first one.
 */
#include "feed.h"
#include "names.h"
#include "tree_local.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

enum {
	ROUNDS = 12,
	STEPS_MAX = 24,
	SENDS = 3,
	NUMBERS_MAX = 8192,
	ENTRIES_MAX = 20,
	SETTLE_ROUNDS_MAX = 60,
	SENDS_MAX = 200
};

/* One request on its way: not done, done, or refused. */
struct sending {
	bool used, is_done, is_old;
	struct tree_local_item item;
	unsigned what, content;
	uint64_t note;
	char *name;
	int result, at;
	struct item answer;
};

struct client {
	char path[64];
	int fd;
	struct world w;
	struct feed f;
	uint64_t token, old_token;
	struct sending sends[SENDS];
	unsigned content_of_cid[NUMBERS_MAX];
	/* Of a content: written here; the service has had it; seen here and then replaced or
	 * removed here. */
	bool is_ours[NUMBERS_MAX], has_arrived[NUMBERS_MAX], is_released[NUMBERS_MAX];
	bool is_taken_back[NUMBERS_MAX]; /* and lost it by a request of ours */
	unsigned made_of[NUMBERS_MAX];   /* the service made this content of ours */
	bool opens_files, is_quiet, is_verbose;
};

static uint64_t seed_now;

static bool chance(struct client *c, unsigned in)
{
	return world_random(&c->w, in) == 0;
}

#define say(c, ...)                                 \
	do {                                        \
		if ((c)->is_verbose)                \
			print_message(__VA_ARGS__); \
	} while (0)

/* --- what the tree asks --- */

static bool is_open(void *arg, uint64_t ino)
{
	struct client *c = arg;

	return c->opens_files && chance(c, 2);
}

static bool is_sending(void *arg, uint64_t ino, const char *id)
{
	struct client *c = arg;

	for (int i = 0; i < SENDS; i++)
		if (c->sends[i].used &&
		    (c->sends[i].item.attr.ino == ino ||
		     (c->sends[i].item.id && strcmp(c->sends[i].item.id, id) == 0)))
			return true;
	return false;
}

/* --- contents --- */

static unsigned content_of(struct client *c, const struct tree_attr *attr)
{
	struct tree_meta meta;
	unsigned content;

	if (attr->kind != TREE_FILE)
		return 0;
	assert_true(attr->cid < NUMBERS_MAX);
	if (c->content_of_cid[attr->cid])
		return c->content_of_cid[attr->cid];
	assert_int_equal(tree_get_meta(c->f.tree, attr->ino, &meta), 0);
	memcpy(&content, meta.hash, sizeof(content));
	tree_meta_fini(&meta);
	return content;
}

static unsigned new_content(struct client *c)
{
	assert_true(c->w.contents_n + 1 < NUMBERS_MAX);
	return ++c->w.contents_n;
}

/* --- somebody works here --- */

static void begin_change(struct client *c)
{
	view_take(c->f.tree, &c->f.before);
}

/* The kernel knows what it asked for. */
static void end_change(struct client *c)
{
	view_take(c->f.tree, &c->f.now);
	view_check(&c->f.before, &c->f.now, false);
}

static struct entry *any_entry(struct client *c)
{
	return &c->f.before.v[world_random(&c->w, (unsigned)c->f.before.n)];
}

static struct entry *any_folder(struct client *c)
{
	struct entry *e = any_entry(c);

	return e->attr.kind == TREE_DIR ? e : &c->f.before.v[0];
}

/* Names that differ by case only are refused before the tree is asked. */
static bool is_name_free(struct client *c, uint64_t dir, const char *name, uint64_t but)
{
	for (size_t i = 1; i < c->f.before.n; i++) {
		const struct entry *e = &c->f.before.v[i];

		if (e->attr.parent == dir && e->attr.ino != but && strcasecmp(e->name, name) == 0 &&
		    strcmp(e->name, name) != 0)
			return false;
	}
	return true;
}

static struct entry *find_entry(struct client *c, uint64_t dir, const char *name)
{
	for (size_t i = 1; i < c->f.before.n; i++)
		if (c->f.before.v[i].attr.parent == dir && strcmp(c->f.before.v[i].name, name) == 0)
			return &c->f.before.v[i];
	return NULL;
}

static void any_name(struct client *c, char ret[NAMES_MAX_BYTES + 1])
{
	const char *name = world_any_name(&c->w);

	names_show(name, strlen(name), ret);
}

static int64_t any_time(struct client *c)
{
	return 2000000000 + (int64_t)world_random(&c->w, 1000000000) * 1000003;
}

static void write_file(struct client *c, uint64_t ino)
{
	struct tree_local_stat stat = { .has_size = true, .has_mtime = true };
	struct tree_local_base base;
	struct tree_attr attr;
	unsigned content;
	bool is_whole;

	assert_int_equal(tree_get(c->f.tree, ino, &attr), 0);
	c->is_released[content_of(c, &attr)] = true;
	/* What was written here before is at hand, and is written on. */
	is_whole = c->content_of_cid[attr.cid] && chance(c, 2);
	assert_int_equal(tree_local_edit(c->f.tree, ino, is_whole, &attr, &base), 0);
	content = new_content(c);
	c->is_ours[content] = true;
	assert_true(attr.cid < NUMBERS_MAX);
	c->content_of_cid[attr.cid] = content;
	stat.size = 100 + content % 3;
	stat.mtime_ns = any_time(c);
	assert_int_equal(tree_local_set(c->f.tree, ino, &stat, &attr), 0);
	view_find(&c->f.before, ino)->attr = attr;
	for (int i = 0; i < SENDS; i++)
		if (c->sends[i].item.attr.cid == attr.cid)
			c->sends[i].is_old = true;
	say(c, "here: %llu has content %u\n", (unsigned long long)ino, content);
}

static void create(struct client *c)
{
	char name[NAMES_MAX_BYTES + 1];
	struct tree_local_new what = { .mode = 0644, .name = name, .now_ns = any_time(c) };
	struct entry *e = &c->f.before.v[c->f.before.n];
	struct tree_attr attr;
	int r;

	what.parent = any_folder(c)->attr.ino;
	what.kind = chance(c, 3) ? TREE_DIR : TREE_FILE;
	any_name(c, name);
	if (c->f.before.n > ENTRIES_MAX || !is_name_free(c, what.parent, name, 0))
		return;
	r = tree_local_create(c->f.tree, &what, &attr);
	if (r < 0) {
		assert_int_equal(r, -EEXIST);
		assert_non_null(find_entry(c, what.parent, name));
		return;
	}
	say(c, "here: %llu is new in %llu as %s%s\n", (unsigned long long)attr.ino,
	    (unsigned long long)what.parent, name, what.kind == TREE_DIR ? "/" : "");
	*e = (struct entry){ .attr = attr };
	snprintf(e->name, sizeof(e->name), "%s", name);
	c->f.before.n++;
	if (what.kind == TREE_FILE)
		write_file(c, attr.ino);
}

/* All that the service has in a folder, so that it can be removed. */
static void list(struct client *c, uint64_t ino)
{
	struct item items[WORLD_THINGS];
	struct tree_meta meta;
	struct change_set *set;
	size_t n = 0;
	int at;

	assert_int_equal(tree_get_meta(c->f.tree, ino, &meta), 0);
	at = world_find(&c->w, meta.id);
	tree_meta_fini(&meta);
	if (at < 0 || !c->w.t[at].dir)
		return;
	for (int i = 1; i < WORLD_THINGS; i++)
		if (c->w.t[i].live && c->w.t[i].parent == at)
			world_item(&c->w, i, false, &items[n++]);
	view_take(c->f.tree, &c->f.before);
	assert_int_equal(
		tree_merge_children(c->f.tree, ino, items, n, tree_note(c->f.tree), true, &set), 0);
	feed_tell(&c->f, set, true);
	for (size_t i = 0; i < n; i++)
		item_fini(&items[i]);
}

static void forget_entry(struct client *c, struct entry *e)
{
	*e = c->f.before.v[--c->f.before.n];
}

static void remove_any(struct client *c)
{
	struct entry *e = any_entry(c);
	unsigned content = content_of(c, &e->attr);
	struct tree_attr was;
	int r;

	if (e->attr.ino == TREE_ROOT_INO)
		return;
	r = tree_local_remove(c->f.tree, e->attr.parent, e->name, e->attr.kind, any_time(c), &was);
	if (r == -EAGAIN) {
		list(c, e->attr.ino);
		view_take(c->f.tree, &c->f.before);
		return;
	}
	if (r == -ENOTEMPTY)
		return;
	assert_int_equal(r, 0);
	assert_int_equal(was.ino, e->attr.ino);
	say(c, "here: %llu is removed\n", (unsigned long long)was.ino);
	c->is_released[content] = true;
	forget_entry(c, e);
}

static void rename_any(struct client *c)
{
	struct entry *e = any_entry(c), *to = chance(c, 2) ? any_folder(c) : NULL, *target;
	char name[NAMES_MAX_BYTES + 1];
	struct tree_local_move move = { .name = e->name, .to_name = name, .now_ns = any_time(c) };
	struct tree_attr was;
	unsigned content;
	uint64_t ino = e->attr.ino;
	int r;

	if (ino == TREE_ROOT_INO)
		return;
	move.parent = e->attr.parent;
	move.to_parent = to ? to->attr.ino : e->attr.parent;
	snprintf(name, sizeof(name), "%s", e->name);
	if (!to || chance(c, 2))
		any_name(c, name);
	target = find_entry(c, move.to_parent, name);
	if (target == e || !is_name_free(c, move.to_parent, name, ino))
		return;
	content = target ? content_of(c, &target->attr) : 0;
	r = tree_local_rename(c->f.tree, &move, &was);
	if (r == -EAGAIN || r == -ENOTEMPTY || r == -EISDIR || r == -ENOTDIR || r == -EINVAL)
		return;
	assert_int_equal(r, 0);
	say(c, "here: %llu goes to %s in %llu, over %llu\n", (unsigned long long)ino, name,
	    (unsigned long long)move.to_parent, (unsigned long long)was.ino);
	assert_int_equal(was.ino, target ? target->attr.ino : 0);
	c->is_released[content] = true;
	if (target)
		forget_entry(c, target);
	e = view_find(&c->f.before, ino);
	e->attr.parent = move.to_parent;
	snprintf(e->name, sizeof(e->name), "%s", name);
}

static void set_time(struct client *c)
{
	struct tree_local_stat stat = { .has_mtime = true, .mtime_ns = any_time(c) };
	struct entry *e = any_entry(c);

	if (e->attr.ino != TREE_ROOT_INO)
		assert_int_equal(tree_local_set(c->f.tree, e->attr.ino, &stat, &e->attr), 0);
}

static void work_here(struct client *c)
{
	unsigned what = world_random(&c->w, 100);
	struct entry *e;

	begin_change(c);
	e = any_entry(c);
	if (what < 30)
		create(c);
	else if (what < 50 && e->attr.kind == TREE_FILE)
		write_file(c, e->attr.ino);
	else if (what < 65)
		remove_any(c);
	else if (what < 92)
		rename_any(c);
	else
		set_time(c);
	end_change(c);
}

/* --- sending --- */

static void end_sending(struct sending *s)
{
	tree_local_item_fini(&s->item);
	item_fini(&s->answer);
	free(s->name);
	*s = (struct sending){ 0 };
}

/* What goes in one request. */
static unsigned part_of(struct client *c, const struct tree_local_item *item)
{
	unsigned times = chance(c, 4) ? 0 : LOCAL_TIMES;

	if (item->what & LOCAL_DELETE)
		return LOCAL_DELETE;
	if (item->what & LOCAL_CREATE)
		return LOCAL_CREATE | times;
	if (item->what & LOCAL_CONTENT &&
	    (!(item->what & LOCAL_PLACE) || item->wait != LOCAL_READY || chance(c, 2)))
		return LOCAL_CONTENT | times;
	if (item->what & LOCAL_PLACE)
		return LOCAL_PLACE | (item->what & times);
	return LOCAL_TIMES;
}

static void begin_sending(struct client *c, struct sending *s, bool is_aside)
{
	uint8_t hash[20] = { 0 };

	s->used = true;
	s->note = tree_note(c->f.tree);
	s->what = part_of(c, &s->item);
	if (is_aside)
		assert_true(asprintf(&s->name, "aside-%llu", (unsigned long long)s->item.attr.ino) >
			    0);
	else if (s->item.name)
		s->name = strdup(s->item.name);
	if (s->item.attr.kind == TREE_FILE && s->what & (LOCAL_CREATE | LOCAL_CONTENT)) {
		s->content = c->content_of_cid[s->item.attr.cid];
		assert_int_not_equal(s->content, 0);
		assert_int_equal(s->item.attr.size, 100 + s->content % 3);
		memcpy(hash, &s->content, sizeof(s->content));
		assert_int_equal(tree_local_sending(c->f.tree, s->item.attr.ino, hash), 0);
	}
	say(c, "send %llu what %u id %s to %s as %s content %u\n",
	    (unsigned long long)s->item.attr.ino, s->what, s->item.id ? s->item.id : "-",
	    s->item.parent_id ? s->item.parent_id : "-", s->name ? s->name : "-", s->content);
}

static bool is_ready(const struct tree_local_item *item)
{
	return item->wait == LOCAL_READY || item->what & LOCAL_CONTENT ||
	       (item->what == LOCAL_TIMES);
}

/* 1: something is on its way now. */
static int send_any(struct client *c)
{
	struct sending *s = &c->sends[world_random(&c->w, SENDS)];
	struct tree_local_item item, waits = { 0 };
	bool is_idle = true;
	uint64_t after = 0;
	unsigned n = 0, waits_n = 0;
	int r;

	for (int i = 0; i < SENDS; i++)
		is_idle = is_idle && !c->sends[i].used;
	if (s->used)
		return 0;
	while ((r = tree_local_next(c->f.tree, after, &item)) > 0) {
		bool is_good =
			is_ready(&item) && !is_sending(c, item.attr.ino, item.id ? item.id : "");

		after = item.attr.ino;
		if (is_good)
			is_idle = false;
		if (is_good && world_random(&c->w, ++n) == 0) {
			tree_local_item_fini(&s->item);
			s->item = item;
		} else if (item.wait == LOCAL_WAITS_NAME && world_random(&c->w, ++waits_n) == 0) {
			tree_local_item_fini(&waits);
			waits = item;
		} else {
			tree_local_item_fini(&item);
		}
	}
	assert_int_equal(r, 0);
	if (n > 0) {
		begin_sending(c, s, false);
	} else if (is_idle && waits.name) {
		s->item = waits;
		waits = (struct tree_local_item){ 0 };
		begin_sending(c, s, true);
	}
	tree_local_item_fini(&waits);
	return s->used;
}

/* A request of ours is about to make the service lose a content. What was written here may be on
 * its way under another name. */
static void check_may_go(struct client *c, int at)
{
	const struct thing *t = &c->w.t[at];
	unsigned ours = c->made_of[t->content] ? c->made_of[t->content] : t->content;

	if (t->dir || c->is_released[t->content] || c->is_released[ours])
		return;
	if (!c->is_ours[ours])
		fail_msg("content %u was lost at the service", t->content);
	c->is_taken_back[ours] = true;
	for (int i = 1; i < WORLD_THINGS; i++)
		if (i != at && c->w.t[i].live &&
		    (c->w.t[i].content == ours || c->made_of[c->w.t[i].content] == ours))
			c->is_taken_back[ours] = false;
}

static int delete_there(struct client *c, struct sending *s)
{
	int at = world_find(&c->w, s->item.id);
	const struct thing *t;

	if (at < 0)
		return 0;
	t = &c->w.t[at];
	if (t->dir != (s->item.attr.kind == TREE_DIR))
		return -ENOTEMPTY;
	for (int i = 1; t->dir && i < WORLD_THINGS; i++)
		if (c->w.t[i].live && c->w.t[i].parent == at)
			return -ENOTEMPTY;
	if (!t->dir && (!s->item.has_base_hash ||
			memcmp(s->item.base_hash, &t->content, sizeof(t->content)) != 0))
		return -ENOTEMPTY;
	check_may_go(c, at);
	return world_delete(&c->w, s->item.id);
}

static int put_there(struct client *c, struct sending *s)
{
	int at = world_find(&c->w, s->item.id);
	unsigned rev = s->item.etag ? (unsigned)atoi(s->item.etag + 1) : 0;

	if (at >= 0 && rev == 0 &&
	    (!s->item.has_base_hash ||
	     memcmp(s->item.base_hash, &c->w.t[at].content, sizeof(unsigned)) != 0))
		return -ESTALE;
	if (at >= 0 && rev == c->w.t[at].rev)
		check_may_go(c, at);
	return world_put(&c->w, s->item.id, rev, s->content, &s->at);
}

/* The service does what it was asked for, or refuses. */
static void do_there(struct client *c, struct sending *s)
{
	int64_t time_s = s->item.attr.mtime_ns / 1000000000;

	s->is_done = true;
	if (s->what & LOCAL_DELETE)
		s->result = delete_there(c, s);
	else if (s->what & LOCAL_CREATE)
		s->result = world_create(&c->w, s->item.parent_id, s->name, s->content,
					 (int64_t)world_random(&c->w, 1000), &s->at);
	else if (s->what & LOCAL_CONTENT)
		s->result = put_there(c, s);
	else if (s->what & LOCAL_PLACE)
		s->result = world_move(&c->w, s->item.id, s->item.parent_id, s->name, &s->at);
	else
		s->result = world_set_time(&c->w, s->item.id, time_s, &s->at);
	say(c, "there: %llu what %u: %d\n", (unsigned long long)s->item.attr.ino, s->what,
	    s->result);
	if (s->result < 0 || s->what & LOCAL_DELETE)
		return;
	if (s->what & LOCAL_TIMES)
		c->w.t[s->at].mtime_s = time_s;
	if (s->content)
		c->has_arrived[s->content] = true;
	c->is_taken_back[s->content] = false;
	/* A document is written anew by the service. */
	if (s->content && chance(c, 10)) {
		c->w.t[s->at].content = new_content(c);
		c->made_of[c->w.t[s->at].content] = s->content;
		say(c, "content %u is %u there\n", s->content, c->w.t[s->at].content);
	}
	world_item(&c->w, s->at, false, &s->answer);
}

static void learn(struct client *c, int at, const struct sending *s, bool is_kept, bool is_in_way)
{
	struct item item;
	struct tree_local_answer answer = {
		.ino = s ? s->item.attr.ino : 0,
		.note = tree_note(c->f.tree),
		.item = &item,
		.is_kept = is_kept,
		.is_in_the_way = is_in_way,
	};
	struct change_set *set;

	say(c, "learn %s\n", c->w.t[at].id);
	world_item(&c->w, at, false, &item);
	begin_change(c);
	assert_int_equal(tree_local_learn(c->f.tree, &answer, &set), 0);
	feed_tell(&c->f, set, false);
	item_fini(&item);
}

/* The item of this id is asked for. */
static void ask(struct client *c, const char *id, const struct sending *s, bool is_kept)
{
	int at = world_find(&c->w, id);
	struct change_set *set;

	if (at >= 0) {
		learn(c, at, s, is_kept, false);
		return;
	}
	say(c, "gone %s\n", id);
	begin_change(c);
	assert_int_equal(tree_local_gone(c->f.tree, id, &set), 0);
	feed_tell(&c->f, set, false);
}

static void refuse(struct client *c, const struct sending *s)
{
	switch (s->result) {
	case -ESTALE:
	case -ENOENT:
		ask(c, s->item.id, s, false);
		break;
	case -ENOTEMPTY:
		ask(c, s->item.id, s, true);
		break;
	case -ENOTDIR:
		ask(c, s->item.parent_id, s, false);
		break;
	case -EEXIST:
		if (c->w.t[s->at].live)
			learn(c, s->at, s, false, true);
		break;
	default:
		assert_true(s->result == -ELOOP || s->result == -ENOSPC);
	}
}

static void ask_all(struct client *c)
{
	char *id;

	while (tree_local_asks(c->f.tree, &id) > 0) {
		ask(c, id, NULL, false);
		free(id);
	}
}

static void answer(struct client *c, struct sending *s)
{
	struct tree_local_sent sent = {
		.ino = s->item.attr.ino,
		.what = s->what,
		.id = s->item.id,
		.parent_id = s->item.parent_id,
		.name = s->name,
		.name_len = s->name ? strlen(s->name) : 0,
		.cid = s->item.attr.cid,
		.is_content_old = s->is_old,
		.mtime_ns = s->item.attr.mtime_ns,
		.note = s->note,
		.item = &s->answer,
	};
	struct change_set *set;

	say(c, "answer %llu what %u%s\n", (unsigned long long)sent.ino, sent.what,
	    sent.is_content_old ? ", old" : "");
	s->used = false;
	if (s->result < 0) {
		refuse(c, s);
	} else {
		begin_change(c);
		assert_int_equal(tree_local_done(c->f.tree, &sent, &set), 0);
		feed_tell(&c->f, set, false);
	}
	end_sending(s);
	ask_all(c);
}

static void go_on_sending(struct client *c)
{
	struct sending *s = &c->sends[world_random(&c->w, SENDS)];

	if (!s->used) {
		(void)send_any(c);
	} else if (!s->is_done) {
		do_there(c, s);
	} else if (chance(c, 8)) {
		say(c, "lost %llu\n", (unsigned long long)s->item.attr.ino);
		end_sending(s);
		ask_all(c);
	} else {
		answer(c, s);
	}
}

/* --- rounds --- */

static void open_tree(struct client *c)
{
	const struct tree_guard guard = { .arg = c,
					  .file_open = is_open,
					  .is_sending = is_sending };

	assert_int_equal(tree_open(c->fd, "tree", "drive", &c->f.tree), 0);
	tree_set_guard(c->f.tree, &guard);
}

static void close_tree(struct client *c)
{
	for (int i = 0; i < SENDS; i++)
		end_sending(&c->sends[i]);
	tree_free(c->f.tree);
	c->f.tree = NULL;
}

static void work(void *arg)
{
	struct client *c = arg;

	for (unsigned n = world_random(&c->w, 3); !c->is_quiet && n > 0; n--) {
		if (chance(c, 2))
			work_here(c);
		else
			go_on_sending(c);
	}
}

static void run_delta(struct client *c, uint64_t token, bool full)
{
	uint64_t tick;

	say(c, "delta from %llu%s\n", (unsigned long long)token, full ? ", full" : "");
	tick = feed_apply(&c->f, token, full);
	ask_all(c);
	c->w.told = c->old_token = c->token;
	c->token = tick;
	if (c->is_verbose)
		view_print(&c->f.now);
}

static void begin(struct client *c, uint64_t seed)
{
	struct change_set *set;
	struct item root;

	seed_now = seed;
	world_init(&c->w, seed);
	c->w.folds = true;
	c->f.w = &c->w;
	c->f.between = work;
	c->f.arg = c;
	c->is_quiet = false;
	memset(c->content_of_cid, 0, sizeof(c->content_of_cid));
	memset(c->is_ours, 0, sizeof(c->is_ours));
	memset(c->has_arrived, 0, sizeof(c->has_arrived));
	memset(c->is_taken_back, 0, sizeof(c->is_taken_back));
	memset(c->made_of, 0, sizeof(c->made_of));
	memset(c->is_released, 0, sizeof(c->is_released));
	open_tree(c);
	c->opens_files = chance(c, 3);
	for (unsigned n = world_random(&c->w, 3) * 15; n > 0; n--)
		world_step(&c->w);
	c->token = c->old_token = c->w.told = c->w.tick;
	world_item(&c->w, WORLD_ROOT, false, &root);
	assert_int_equal(tree_set_root(c->f.tree, &root, &set), 0);
	change_set_free(set);
	item_fini(&root);
	if (chance(c, 2))
		run_delta(c, 0, true);
}

static void end(struct client *c)
{
	close_tree(c);
	unlinkat(c->fd, "tree", 0);
	unlinkat(c->fd, "tree-wal", 0);
	unlinkat(c->fd, "tree-shm", 0);
}

static void check_times(struct client *c)
{
	for (size_t i = 1; i < c->f.now.n; i++) {
		const struct tree_attr *attr = &c->f.now.v[i].attr;
		struct tree_meta meta;

		if (attr->kind != TREE_FILE)
			continue;
		assert_int_equal(tree_get_meta(c->f.tree, attr->ino, &meta), 0);
		if (attr->mtime_ns / 1000000000 != c->w.t[world_find(&c->w, meta.id)].mtime_s)
			print_message("%llu\n", (unsigned long long)attr->ino);
		assert_int_equal(attr->mtime_ns / 1000000000,
				 c->w.t[world_find(&c->w, meta.id)].mtime_s);
		tree_meta_fini(&meta);
	}
}

static void print_pending(struct client *c)
{
	struct tree_local_item item;

	for (uint64_t after = 0; tree_local_next(c->f.tree, after, &item) > 0;) {
		after = item.attr.ino;
		print_message("%llu %s to %s in %s: what %u waits %u\n", (unsigned long long)after,
			      item.id ? item.id : "-", item.name ? item.name : "-",
			      item.parent_id ? item.parent_id : "-", item.what, item.wait);
		tree_local_item_fini(&item);
	}
}

/* Everything is told and sent. */
static void settle(struct client *c)
{
	int n = 0;

	c->is_quiet = true;
	for (; n < SETTLE_ROUNDS_MAX; n++) {
		for (int i = 0; i < SENDS; i++) {
			if (!c->sends[i].used)
				continue;
			if (!c->sends[i].is_done)
				do_there(c, &c->sends[i]);
			answer(c, &c->sends[i]);
		}
		for (int sent = 0; sent < SENDS_MAX && send_any(c); sent++)
			for (int i = 0; i < SENDS; i++)
				if (c->sends[i].used) {
					do_there(c, &c->sends[i]);
					answer(c, &c->sends[i]);
				}
		if (tree_local_n(c->f.tree) == 0 && c->token == c->w.tick)
			break;
		run_delta(c, c->token, false);
	}
	c->is_quiet = false;
	print_pending(c);
	assert_int_equal(tree_local_n(c->f.tree), 0);
	assert_true(n < SETTLE_ROUNDS_MAX);
	feed_check_equal(&c->f);
	check_times(c);
	for (unsigned i = 1; i <= c->w.contents_n; i++)
		if (c->is_ours[i] && !c->is_released[i] &&
		    (!c->has_arrived[i] || c->is_taken_back[i]))
			fail_msg("content %u was lost here", i);
}

static void run_round(struct client *c)
{
	for (unsigned n = 1 + world_random(&c->w, STEPS_MAX); n > 0; n--) {
		unsigned what = world_random(&c->w, 100);

		if (what < 20)
			world_step(&c->w);
		else if (what < 55)
			work_here(c);
		else if (what < 98)
			go_on_sending(c);
		else {
			say(c, "crash\n");
			close_tree(c);
			open_tree(c);
		}
	}
	run_delta(c, chance(c, 8) ? c->old_token : c->token, chance(c, 12));
	if (chance(c, 3))
		settle(c);
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static void test_both_sides_end_equal(void **state)
{
	struct client *c = *state;
	uint64_t cases = number_of("GRAPHFS_CASES", 20000), seed = number_of("GRAPHFS_SEED", 1);

	c->is_verbose = getenv("GRAPHFS_SAY") != NULL;
	for (uint64_t n = 0; n < cases; n += ROUNDS) {
		begin(c, seed++);
		for (int i = 0; i < ROUNDS; i++)
			run_round(c);
		settle(c);
		end(c);
	}
}

static int setup(void **state)
{
	struct client *c = calloc(1, sizeof(*c));

	strcpy(c->path, "/tmp/gfs-test-both-XXXXXX");
	if (!mkdtemp(c->path))
		return -1;
	c->fd = open(c->path, O_RDONLY | O_DIRECTORY);
	*state = c;
	return 0;
}

static int teardown(void **state)
{
	struct client *c = *state;

	print_message("last seed: %llu\n", (unsigned long long)seed_now);
	end(c);
	close(c->fd);
	rmdir(c->path);
	free(c);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_both_sides_end_equal, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

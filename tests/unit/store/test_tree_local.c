/*
 * What is changed here, step by step in a small language:
 *
 *   new PATH, mkdir PATH, rm PATH, rmdir PATH, mv PATH PATH, touch PATH, write PATH=CONTENT
 *   delta ITEM..., list PATH ITEM...   what the service tells (below)
 *   gather ITEM..., apply              a run of delta that takes its time
 *   send LABEL PATH | send LABEL -ID   what is pending of it is on its way, a deletion by its id
 *   aside LABEL PATH                   the same under a name that nobody has
 *   done LABEL ITEM | done LABEL       the service has it, and says this of it | it is deleted
 *   old LABEL ITEM                     the same, but it was written to meanwhile
 *   lost LABEL                         nobody hears whether it has it
 *   learn ITEM, keep ITEM, taken PATH ITEM, gone ID     what it says when asked
 *   reopen                             the tree is closed and opened
 *
 * An item is "id:name@parent", a folder ends in "/", a tombstone is "-id"; a content is a number, 1
 * unless "=n" follows.
 */
#include "change.h"
#include "item.h"
#include "tree.h"
#include "tree_local.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ITEMS_MAX = 8, CIDS_MAX = 64, WORDS_MAX = 12, LABELS = 4 };
static const int64_t now_ns = 2000000000500000000;

struct on_way {
	bool used;
	struct tree_local_item item;
	char *name;
};

struct place {
	char path[64];
	int fd;
	struct tree *tree;
	int content_of_cid[CIDS_MAX];
	struct on_way on_way[LABELS];
	char events[512];
};

static bool is_sending(void *arg, uint64_t ino, const char *id)
{
	struct place *p = arg;

	for (int i = 0; i < LABELS; i++) {
		const struct on_way *w = &p->on_way[i];

		if (w->used &&
		    (w->item.attr.ino == ino || (w->item.id && strcmp(w->item.id, id) == 0)))
			return true;
	}
	return false;
}

static void open_tree(struct place *p)
{
	assert_int_equal(tree_open(p->fd, "tree", "drive", &p->tree), 0);
	tree_set_guard(p->tree, &(struct tree_guard){ .arg = p, .is_sending = is_sending });
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/gfs-test-local-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	char cmd[96];

	tree_free(p->tree);
	close(p->fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", p->path);
	free(p);
	return system(cmd);
}

/* --- items --- */

static void read_item(char *word, struct item *ret)
{
	char *name = strchr(word, ':'), *parent = strchr(word, '@'), *content = strchr(word, '=');
	size_t len = strlen(word);
	int n = content ? atoi(content + 1) : 1;

	*ret = (struct item){ .size = -1, .mtime_ns = 1000000000, .btime_ns = 1000000000 };
	ret->child_count = -1;
	if (word[0] == '-') {
		ret->id = word + 1;
		ret->deleted = true;
		return;
	}
	ret->kind = word[len - 1] == '/' ? ITEM_FOLDER : ITEM_FILE;
	if (ret->kind == ITEM_FOLDER)
		word[len - 1] = '\0';
	if (content)
		*content = '\0';
	*name = *parent = '\0';
	ret->id = word;
	ret->name = name + 1;
	ret->name_len = strlen(ret->name);
	ret->parent_id = parent + 1;
	if (ret->kind == ITEM_FOLDER)
		return;
	ret->hash[0] = (uint8_t)n;
	ret->has_hash = true;
	ret->size = 10L * n;
	ret->mtime_ns += n;
	assert_true(asprintf(&ret->etag, "e%d", n) > 0);
	assert_true(asprintf(&ret->ctag, "c%d", n) > 0);
}

static void drop_tags(struct item *item)
{
	free(item->etag);
	free(item->ctag);
}

/* --- what the tree looks like --- */

static uint64_t find_path(struct place *p, const char *path)
{
	struct tree_attr attr = { .ino = TREE_ROOT_INO };
	char copy[256], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", path);
	for (char *name = strtok_r(copy, "/", &save); name; name = strtok_r(NULL, "/", &save))
		if (tree_lookup(p->tree, attr.ino, name, &attr) != 0)
			fail_msg("no %s", path);
	return attr.ino;
}

static uint64_t find_parent(struct place *p, const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	char dir[256];

	*ret_name = slash ? slash + 1 : path;
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	return find_path(p, dir);
}

static int content_of(struct place *p, const struct tree_attr *attr)
{
	struct tree_meta meta;
	int n;

	assert_true(attr->cid < CIDS_MAX);
	if (p->content_of_cid[attr->cid])
		return p->content_of_cid[attr->cid];
	assert_int_equal(tree_get_meta(p->tree, attr->ino, &meta), 0);
	n = meta.hash[0];
	tree_meta_fini(&meta);
	return n;
}

struct lines {
	char *v[32];
	size_t n;
	struct place *p;
	uint64_t dirs[32];
	const char *prefix;
};

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name of this machine and the date are of no matter. */
static void shorten(char *text)
{
	char *from = strstr(text, " (conflict "), *to = from ? strchr(from, ')') : NULL;

	if (to)
		memmove(from + strlen(" (conflict"), to, strlen(to) + 1);
}

static int add_line(void *arg, const struct tree_attr *attr, const char *name)
{
	struct lines *l = arg;

	l->dirs[l->n] = attr->kind == TREE_DIR ? attr->ino : 0;
	if (attr->kind == TREE_DIR)
		assert_true(asprintf(&l->v[l->n], "%s%s/", l->prefix, name) > 0);
	else
		assert_true(asprintf(&l->v[l->n], "%s%s=%d", l->prefix, name,
				     content_of(l->p, attr)) > 0);
	shorten(l->v[l->n++]);
	return 0;
}

static void append(char *out, size_t size, const char *text)
{
	snprintf(out + strlen(out), size - strlen(out), "%s%s", out[0] ? " " : "", text);
}

static void show_tree(struct place *p, uint64_t dir, const char *prefix, char *out, size_t size)
{
	struct lines l = { .p = p, .prefix = prefix };
	char *paths[32];

	assert_int_equal(tree_list(p->tree, dir, 0, add_line, &l), 0);
	memcpy(paths, l.v, sizeof(paths));
	qsort(l.v, l.n, sizeof(l.v[0]), compare);
	for (size_t i = 0; i < l.n; i++) {
		append(out, size, l.v[i]);
		for (size_t j = 0; j < l.n; j++)
			if (paths[j] == l.v[i] && l.dirs[j])
				show_tree(p, l.dirs[j], l.v[i], out, size);
	}
	for (size_t i = 0; i < l.n; i++)
		free(l.v[i]);
}

static void show_pending(struct place *p, char *out, size_t size)
{
	static const char *const waits[] = { "", "?parent", "?name", "?children" };
	struct tree_local_item item;
	uint64_t after = 0, n = 0;

	for (; tree_local_next(p->tree, after, &item) > 0; n++) {
		char what[8] = "", line[512];

		for (int i = 0; i < 5; i++)
			if (item.what & 1U << i)
				snprintf(what + strlen(what), 2, "%c", "NCPTD"[i]);
		snprintf(line, sizeof(line), "%s%s%s:%s%s", item.id ? item.id : "",
			 item.id && item.name ? "," : "", item.name ? item.name : "", what,
			 waits[item.wait]);
		shorten(line);
		append(out, size, line);
		after = item.attr.ino;
		tree_local_item_fini(&item);
	}
	assert_int_equal(n, tree_local_n(p->tree));
}

static void note_events(struct place *p, struct change_set *set)
{
	static const char *const kinds[] = { "create", "delete", "move", "content", "attr" };

	for (size_t i = 0; set && i < set->n; i++) {
		const struct change *c = &set->v[i];
		char line[600];

		if (c->parent == 0)
			continue;
		snprintf(line, sizeof(line), "%s %s%s%s%s%s", kinds[c->kind],
			 c->dir_path ? c->dir_path : "?", c->dir_path && c->dir_path[0] ? "/" : "",
			 c->name, c->to_name ? " " : "", c->to_name ? c->to_name : "");
		shorten(line);
		append(p->events, sizeof(p->events), line);
	}
	change_set_free(set);
}

/* --- steps --- */

static void gather(struct place *p, char **words, int n)
{
	struct item items[ITEMS_MAX];

	for (int i = 0; i < n; i++)
		read_item(words[i], &items[i]);
	assert_int_equal(tree_stage_begin(p->tree), 0);
	assert_int_equal(tree_stage_page(p->tree, items, (size_t)n), 0);
	for (int i = 0; i < n; i++)
		drop_tags(&items[i]);
}

static void apply(struct place *p)
{
	struct change_set *set;

	assert_int_equal(tree_stage_apply(p->tree, "link", false, &set), 0);
	note_events(p, set);
}

/* An item with another time than its content would have. */
static void tell_time(struct place *p, char *word, int64_t mtime_ns)
{
	struct change_set *set;
	struct item item;

	p->events[0] = '\0';
	read_item(word, &item);
	item.mtime_ns = mtime_ns;
	assert_int_equal(tree_stage_begin(p->tree), 0);
	assert_int_equal(tree_stage_page(p->tree, &item, 1), 0);
	assert_int_equal(tree_stage_apply(p->tree, "link", false, &set), 0);
	note_events(p, set);
	drop_tags(&item);
}

static void list(struct place *p, char **words, int n)
{
	struct item items[ITEMS_MAX];
	struct change_set *set;

	for (int i = 1; i < n; i++)
		read_item(words[i], &items[i]);
	assert_int_equal(tree_merge_children(p->tree, find_path(p, words[0]), items + 1,
					     (size_t)n - 1, tree_note(p->tree), true, &set),
			 0);
	note_events(p, set);
	for (int i = 1; i < n; i++)
		drop_tags(&items[i]);
}

static int create(struct place *p, const char *path, enum tree_kind kind)
{
	struct tree_local_new what = { .kind = kind, .mode = 0644, .now_ns = now_ns };
	struct tree_attr attr;
	int r;

	what.parent = find_parent(p, path, &what.name);
	r = tree_local_create(p->tree, &what, &attr);
	if (r == 0 && kind == TREE_FILE)
		p->content_of_cid[attr.cid] = 99;
	return r;
}

static int drop(struct place *p, const char *path, enum tree_kind kind)
{
	struct tree_attr was;
	const char *name;
	uint64_t parent = find_parent(p, path, &name);

	return tree_local_remove(p->tree, parent, name, kind, now_ns, &was);
}

static int move(struct place *p, const char *from, const char *to, bool keeps)
{
	struct tree_local_move move = { .keeps = keeps, .now_ns = now_ns };
	struct tree_attr was;

	move.parent = find_parent(p, from, &move.name);
	move.to_parent = find_parent(p, to, &move.to_name);
	return tree_local_rename(p->tree, &move, &was);
}

static void write_file(struct place *p, char *word)
{
	struct tree_local_stat stat = { .has_size = true, .has_mtime = true, .mtime_ns = now_ns };
	char *content = strchr(word, '=');
	struct tree_local_base base;
	struct tree_attr attr;

	*content++ = '\0';
	assert_int_equal(tree_local_edit(p->tree, find_path(p, word), false, &attr, &base), 0);
	stat.size = 10U * (unsigned)atoi(content);
	assert_int_equal(tree_local_set(p->tree, attr.ino, &stat, &attr), 0);
	assert_true(attr.cid < CIDS_MAX);
	p->content_of_cid[attr.cid] = atoi(content);
}

static void touch(struct place *p, const char *path)
{
	struct tree_local_stat stat = { .has_mtime = true, .mtime_ns = now_ns + 1000000000 };
	struct tree_attr attr;

	assert_int_equal(tree_local_set(p->tree, find_path(p, path), &stat, &attr), 0);
}

static struct on_way *find_way(struct place *p, const char *label)
{
	assert_true(label[0] >= 'a' && label[0] < 'a' + LABELS);
	return &p->on_way[label[0] - 'a'];
}

static void send(struct place *p, const char *label, const char *what, bool is_aside)
{
	struct on_way *w = find_way(p, label);
	uint64_t after = 0;
	uint8_t hash[20] = { 0 };

	if (what[0] != '-')
		assert_int_equal(tree_local_get(p->tree, find_path(p, what), &w->item), 0);
	while (what[0] == '-') {
		assert_int_equal(tree_local_next(p->tree, after, &w->item), 1);
		if (w->item.id && strcmp(w->item.id, what + 1) == 0)
			break;
		after = w->item.attr.ino;
		tree_local_item_fini(&w->item);
	}
	if (is_aside || w->item.name)
		w->name = strdup(is_aside ? "aside" : w->item.name);
	if (w->item.attr.kind == TREE_FILE && w->item.what & (LOCAL_CREATE | LOCAL_CONTENT)) {
		hash[0] = (uint8_t)p->content_of_cid[w->item.attr.cid];
		assert_int_equal(tree_local_sending(p->tree, w->item.attr.ino, hash), 0);
	}
	w->used = true;
}

static void forget_way(struct on_way *w)
{
	tree_local_item_fini(&w->item);
	free(take_ptr(&w->name));
	w->used = false;
}

static void done(struct place *p, const char *label, char *word, bool is_old)
{
	struct on_way *w = find_way(p, label);
	struct item item = { 0 };
	struct tree_local_sent sent = {
		.ino = w->item.attr.ino,
		.what = w->item.what | (w->item.what & LOCAL_DELETE ? 0 : LOCAL_TIMES),
		.id = w->item.id,
		.parent_id = w->item.parent_id,
		.name = w->name,
		.name_len = w->name ? strlen(w->name) : 0,
		.cid = w->item.attr.cid,
		.is_content_old = is_old,
		.mtime_ns = w->item.attr.mtime_ns,
		.item = word ? &item : NULL,
	};
	struct change_set *set;

	assert_true(w->used);
	w->used = false;
	if (word)
		read_item(word, &item);
	/* The service keeps whole seconds. */
	item.mtime_ns = sent.mtime_ns / 1000000000 * 1000000000;
	assert_int_equal(tree_local_done(p->tree, &sent, &set), 0);
	note_events(p, set);
	drop_tags(&item);
	forget_way(w);
}

static void learn(struct place *p, const char *path, char *word, bool is_kept)
{
	struct item item;
	struct tree_local_answer answer = {
		.ino = path ? find_path(p, path) : 0,
		.note = tree_note(p->tree),
		.item = &item,
		.is_kept = is_kept,
		.is_in_the_way = path,
	};
	struct change_set *set;

	read_item(word, &item);
	assert_int_equal(tree_local_learn(p->tree, &answer, &set), 0);
	note_events(p, set);
	drop_tags(&item);
}

static void run_local(struct place *p, char **words)
{
	if (strcmp(words[0], "new") == 0)
		assert_int_equal(create(p, words[1], TREE_FILE), 0);
	else if (strcmp(words[0], "mkdir") == 0)
		assert_int_equal(create(p, words[1], TREE_DIR), 0);
	else if (strcmp(words[0], "rm") == 0)
		assert_int_equal(drop(p, words[1], TREE_FILE), 0);
	else if (strcmp(words[0], "rmdir") == 0)
		assert_int_equal(drop(p, words[1], TREE_DIR), 0);
	else if (strcmp(words[0], "mv") == 0)
		assert_int_equal(move(p, words[1], words[2], false), 0);
	else if (strcmp(words[0], "write") == 0)
		write_file(p, words[1]);
	else if (strcmp(words[0], "touch") == 0)
		touch(p, words[1]);
	else
		fail_msg("no step %s", words[0]);
}

static void run_step(struct place *p, char **words, int n)
{
	struct change_set *set;

	p->events[0] = '\0';
	if (strcmp(words[0], "delta") == 0) {
		gather(p, words + 1, n - 1);
		apply(p);
	} else if (strcmp(words[0], "gather") == 0) {
		gather(p, words + 1, n - 1);
	} else if (strcmp(words[0], "apply") == 0) {
		apply(p);
	} else if (strcmp(words[0], "list") == 0) {
		list(p, words + 1, n - 1);
	} else if (strcmp(words[0], "send") == 0 || strcmp(words[0], "aside") == 0) {
		send(p, words[1], words[2], words[0][0] == 'a');
	} else if (strcmp(words[0], "done") == 0 || strcmp(words[0], "old") == 0) {
		done(p, words[1], n > 2 ? words[2] : NULL, words[0][0] == 'o');
	} else if (strcmp(words[0], "lost") == 0) {
		forget_way(find_way(p, words[1]));
	} else if (strcmp(words[0], "learn") == 0 || strcmp(words[0], "keep") == 0) {
		learn(p, NULL, words[1], words[0][0] == 'k');
	} else if (strcmp(words[0], "taken") == 0) {
		learn(p, words[1], words[2], false);
	} else if (strcmp(words[0], "gone") == 0) {
		assert_int_equal(tree_local_gone(p->tree, words[1], &set), 0);
		note_events(p, set);
	} else if (strcmp(words[0], "reopen") == 0) {
		tree_free(p->tree);
		open_tree(p);
	} else {
		run_local(p, words);
	}
}

static void run_script(struct place *p, const char *text)
{
	char copy[1024], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *step = strtok_r(copy, ";", &save); step; step = strtok_r(NULL, ";", &save)) {
		char *words[WORDS_MAX] = { 0 }, *in_step = NULL;
		int n = 0;

		for (char *word = strtok_r(step, " ", &in_step); word && n < WORDS_MAX;
		     word = strtok_r(NULL, " ", &in_step))
			words[n++] = word;
		run_step(p, words, n);
	}
}

static void begin(struct place *p)
{
	const struct item root = { .id = "root", .is_root = true, .kind = ITEM_FOLDER, .size = -1 };

	tree_free(p->tree);
	p->tree = NULL;
	assert_int_equal(tree_discard(p->fd, "tree"), 0);
	open_tree(p);
	memset(p->content_of_cid, 0, sizeof(p->content_of_cid));
	assert_int_equal(tree_set_root(p->tree, &root, NULL), 0);
	/* The root is listed. */
	assert_int_equal(tree_merge_children(p->tree, TREE_ROOT_INO, NULL, 0, tree_note(p->tree),
					     true, NULL),
			 0);
}

static void end(struct place *p)
{
	for (int i = 0; i < LABELS; i++)
		forget_way(&p->on_way[i]);
}

/* --- scenarios --- */

static const struct {
	const char *what, *script, *tree, *pending, *events;
} scenarios[] = {
	/* Merging what is done to one item. */
	{ "new, renamed and written is one", "new a; mv a b; write b=2", "b=2", "b:N", "" },
	{ "new and removed is nothing", "new a; rm a", "", "", "" },
	{ "a new folder and removed is nothing", "mkdir d; rmdir d", "", "", "" },
	{ "there and back is nothing", "delta x:a@root; mv a b; mv b a", "a=1", "", "" },
	{ "moved twice is moved once", "delta x:a@root d:d@root/; mv a b; mv b d/c", "d/ d/c=1",
	  "x,c:P", "" },
	{ "all of one item", "delta x:a@root; mv a b; write b=2; touch b", "b=2", "x,b:CP", "" },
	{ "a time alone", "delta x:a@root; touch a", "a=1", "x,a:T", "" },
	{ "removed after all that", "delta x:a@root; mv a b; write b=2; rm b", "", "x:D", "" },
	{ "a removed name is made anew", "delta x:a@root; rm a; new a; write a=2", "a=2",
	  "x:D a:N?name", "" },

	/* Save by rename. */
	{ "a new file over an old one is its content", "delta x:a@root; new t; write t=2; mv t a",
	  "a=2", "x,a:C", "" },
	{ "over a moved one it keeps the move", "delta x:a@root; mv a b; new t; write t=2; mv t b",
	  "b=2", "x,b:CP", "" },
	{ "over a written one", "delta x:a@root; write a=3; new t; write t=2; mv t a", "a=2",
	  "x,a:C", "" },
	{ "over a new one", "new a; new t; write t=2; mv t a", "a=2", "a:N", "" },
	{ "an old file over an old one", "delta x:a@root y:b@root=2; mv b a", "a=2",
	  "x:D y,a:P?name", "" },
	{ "away, new, and the old removed", "delta x:a@root; mv a b; new a; write a=2; rm b", "a=2",
	  "x,a:C", "" },
	{ "away, new, and the old stays", "delta x:a@root; mv a b; new a; write a=2", "a=2 b=1",
	  "x,b:P a:N?name", "" },
	{ "saved again while it is sent",
	  "delta x:a@root; write a=2; send a a; new t; write t=3; mv t a; delta x:a@root=2;"
	  "done a x:a@root=2",
	  "a=3", "x,a:C", "" },

	/* Order. */
	{ "the parent first", "mkdir d; new d/a; mkdir d/e; new d/e/b", "d/ d/a=99 d/e/ d/e/b=99",
	  "d:N a:N?parent e:N?parent b:N?parent", "" },
	{ "a name in another case is not free, either", "delta x:a@root; rm a; new A; write A=2",
	  "A=2", "x:D A:N?name", "" },
	{ "a swap has no beginning", "delta x:a@root y:b@root=2; mv a t; mv b a; mv t b", "a=2 b=1",
	  "x,b:P?name y,a:P?name", "" },
	{ "until one is put aside",
	  "delta x:a@root y:b@root=2; mv a t; mv b a; mv t b; aside a a; done a y:aside@root=2",
	  "a=2 b=1", "x,b:P y,a:P?name", "" },
	{ "and then it ends",
	  "delta x:a@root y:b@root=2; mv a t; mv b a; mv t b; aside a a; done a y:aside@root=2;"
	  "send b b; done b x:b@root; send a a; done a y:a@root=2",
	  "a=2 b=1", "", "" },
	{ "a folder waits for what leaves it",
	  "delta d:d@root/ x:a@d; list d x:a@d; mv d/a a; rmdir d", "a=1", "d:D?children x,a:P",
	  "" },
	{ "and for what is removed in it", "delta d:d@root/ x:a@d; list d x:a@d; rm d/a; rmdir d",
	  "", "d:D?children x:D", "" },
	{ "a folder goes into what comes out of it", "delta d:d@root/ e:e@d/; mv d/e e; mv d e/d",
	  "e/ e/d/", "d,d:P?parent e,e:P", "" },
	{ "once that is out",
	  "delta d:d@root/ e:e@d/; mv d/e e; mv d e/d; send a e; done a e:e@root/", "e/ e/d/",
	  "d,d:P", "" },

	/* What the service took. */
	{ "a new file", "new a; write a=2; send a a; done a x:a@root=2", "a=2", "", "" },
	{ "its echo is none", "new a; write a=2; send a a; done a x:a@root=2; delta x:a@root=2",
	  "a=2", "", "attr a" },
	{ "a new folder with what is in it",
	  "mkdir d; new d/a; write d/a=2; send a d; done a d:d@root/", "d/ d/a=2", "a:N", "" },
	{ "renamed meanwhile", "new a; write a=2; send a a; mv a b; done a x:a@root=2", "b=2",
	  "x,b:P", "" },
	{ "written meanwhile", "new a; write a=2; send a a; write a=3; old a x:a@root=2", "a=3",
	  "x,a:C", "" },
	{ "removed meanwhile", "new a; write a=2; send a a; rm a; done a x:a@root=2", "", "x:D",
	  "" },
	{ "replaced meanwhile",
	  "new a; write a=2; send a a; new t; write t=3; mv t a; done a x:a@root=2", "a=3",
	  "a:N?name x:D", "" },
	{ "has become the content of another meanwhile",
	  "delta y:b@root; new a; write a=2; send a a; mv a b; done a x:a@root=2", "b=2",
	  "y,b:C x:D", "" },
	{ "a content, removed meanwhile",
	  "delta x:a@root; write a=2; send a a; rm a; done a x:a@root=2; delta x:a@root=2", "",
	  "x:D", "" },
	{ "a place, moved on meanwhile",
	  "delta x:a@root; mv a b; send a b; mv b c; done a x:b@root", "c=1", "x,c:P", "" },
	{ "a place, moved back meanwhile",
	  "delta x:a@root; mv a b; send a b; mv b a; done a x:b@root", "a=1", "x,a:P", "" },
	{ "a deletion", "delta x:a@root; rm a; send a -x; done a", "", "", "" },
	{ "a document that is written anew", "new a; write a=2; send a a; done a x:a@root=5", "a=5",
	  "", "content a" },
	{ "and is no news again", "new a; write a=2; send a a; done a x:a@root=5; delta x:a@root=5",
	  "a=5", "", "attr a" },
	{ "delta was quicker than the answer",
	  "new a; write a=2; send a a; delta x:a@root=2; done a x:a@root=2", "a=2", "", "" },
	{ "quicker, and the file has another name here",
	  "mkdir d; send a d; mv d e; delta x:d@root/ y:f@x; done a x:d@root/", "e/ e/f=1", "x,e:P",
	  NULL },
	{ "quicker, and it was put into itself",
	  "mkdir d; send a d; mv d e; delta x:d@root/; mv e d/e; done a x:d@root/", "d/ d/e/",
	  "e:N", "" },
	{ "quicker, and it is gone again",
	  "delta x:a@root; write a=2; send a a; delta -x; done a x:a@root=2", "a=2", "a:N", "" },

	/* Both sides. */
	{ "two contents are two files", "delta x:a@root; write a=2; delta x:a@root=3",
	  "a (conflict)=2 a=3", "a (conflict):N", "move a a (conflict) create a" },
	{ "one content is one file",
	  "delta x:a@root; write a=2; send a a; lost a; delta x:a@root=2", "a=2", "x,a:T", "" },
	{ "one content, and written since",
	  "delta x:a@root; write a=2; send a a; lost a; write a=3; delta x:a@root=2", "a=3",
	  "x,a:CT", NULL },
	{ "a new one, and its answer was lost",
	  "new a; write a=2; send a a; lost a; delta x:a@root=2", "a=2", "x,a:T", "" },
	{ "deleted there, changed here", "delta x:a@root; write a=2; delta -x", "a=2", "a:N", "" },
	{ "deleted there, only renamed here", "delta x:a@root; mv a b; delta -x", "", "",
	  "delete b" },
	{ "deleted there with its folders, changed here",
	  "delta d:d@root/ e:e@d/ x:a@e y:b@d; write d/e/a=2; delta -d -e -x -y", "d/ d/e/ d/e/a=2",
	  "d:N e:N?parent a:N?parent", "delete d/b" },
	{ "a folder deleted there, a new file in it", "delta d:d@root/ y:b@d; new d/a; delta -y -d",
	  "d/ d/a=99", "d:N a:N?parent", "delete d/b" },
	{ "a folder deleted there, something moved into it here",
	  "delta d:d@root/ x:a@root; mv a d/a; delta -d", "d/ d/a=1", "d:N x,a:P?parent", "" },
	{ "deleted and made anew there, a new file in it",
	  "delta d:d@root/; new d/a; delta -d e:d@root/", "d (conflict)/ d (conflict)/a=99 d/",
	  "d (conflict):N a:N?parent", NULL },
	{ "changed there, deleted here", "delta x:a@root; rm a; delta x:a@root=2", "a=2", "",
	  "create a" },
	{ "deleted here, an echo of what was", "delta x:a@root; rm a; delta x:a@root", "", "x:D",
	  "" },
	{ "deleted on both sides", "delta x:a@root; rm a; delta -x", "", "", "" },
	{ "moved there, moved here", "delta x:a@root; mv a b; delta x:c@root", "b=1", "x,b:P", "" },
	{ "moved to the same place", "delta x:a@root; mv a b; delta x:b@root", "b=1", "", "" },
	{ "moved here, changed there", "delta x:a@root; mv a b; delta x:a@root=2", "b=2", "x,b:P",
	  "content b" },
	{ "a time here, a content there", "delta x:a@root; touch a; delta x:a@root=2", "a=2", "",
	  "content a" },
	{ "a new file of each side", "new a; write a=2; delta x:a@root=3", "a (conflict)=2 a=3",
	  "a (conflict):N", "move a a (conflict) create a" },
	{ "a new folder of each side", "mkdir d; new d/a; delta x:d@root/", "d/ d/a=99", "a:N",
	  "" },
	{ "a new folder here, a file there", "mkdir d; delta x:d@root", "d (conflict)/ d=1",
	  "d (conflict):N", "move d d (conflict) create d" },
	{ "moved to a name that somebody took", "delta x:a@root; mv a b; delta y:b@root=2",
	  "b (conflict)=1 b=2", "x,b (conflict):P", "move b b (conflict) create b" },
	{ "each folder went into the other", "delta d:d@root/ e:e@root/; mv d e/d; delta e:e@d/",
	  "d/ d/e/", "", "move e/d d move e e" },
	{ "moved into a folder, which went away with it there",
	  "delta d:d@root/ x:a@d; mv d/a a; delta -d; gone x", "", "", "delete a" },

	/* What delta says while something is sent. */
	{ "it waits", "delta x:a@root; write a=2; send a a; delta x:a@root=3", "a=2", "x,a:C", "" },
	{ "and is told afterwards",
	  "delta x:a@root; write a=2; send a a; delta x:a@root=3; done a x:a@root=2; learn "
	  "x:a@root=3",
	  "a=3", "", "content a" },
	{ "a run that was gathered before the answer came",
	  "delta x:a@root; write a=2; gather x:a@root; send a a; done a x:a@root=2; apply", "a=2",
	  "", "" },
	{ "and before a deletion was done",
	  "delta x:a@root; rm a; gather x:a@root; send a -x; done a; apply", "", "", "" },
	{ "of a deletion, too",
	  "delta x:a@root; rm a; send a -x; delta x:a@root; done a; learn x:a@root", "a=1", "",
	  "create a" },
	{ "a name that is being sent",
	  "new a; write a=2; send a a; delta y:a@root=3; lost a;"
	  "taken a y:a@root=3",
	  "a (conflict)=2 a=3", "a (conflict):N", NULL },

	/* What was refused. */
	{ "the name is taken in another case", "new a; write a=2; taken a x:A@root=3",
	  "A=3 a (conflict)=2", "a (conflict):N", NULL },
	{ "by our own, of which the answer was lost",
	  "new a; write a=2; send a a; lost a;"
	  "taken a x:a@root=2",
	  "a=2", "x,a:T", "" },
	{ "by what goes away here",
	  "delta x:a@root; rm a; new b; write b=2; mv b A; taken A x:a@root", "A=2", "x:D A:N?name",
	  NULL },
	{ "a deletion of what changed there", "delta x:a@root; rm a; keep x:a@root=2", "a=2", "",
	  "create a" },
	{ "the folder is gone", "delta d:d@root/; new d/a; gone d", "d/ d/a=99", "d:N a:N?parent",
	  "" },

	/* The database keeps it. */
	{ "over a new start",
	  "delta x:a@root y:b@root d:d@root/; write a=2; mv b d/b; mkdir d/e; reopen; delta "
	  "x:a@root",
	  "a=2 d/ d/b=1 d/e/", "x,a:C y,b:P e:N", "" },
	{ "and what was sent", "new a; write a=2; send a a; lost a; reopen; delta x:a@root=2",
	  "a=2", "x,a:T", "" },

	/* Names. */
	{ "a name that looks escaped",
	  "new %2E%2E_x; write %2E%2E_x=2; send a %2E%2E_x;"
	  "done a x:%2E%2E_x@root=2",
	  "%252E%252E_x=2", "", "move %2E%2E_x %252E%252E_x" },
	{ "a mark on a name that is escaped", "new %2E%2E; write %2E%2E=2; delta x:..@root=3",
	  "%2E%2E=3 . (conflict).=2", ". (conflict).:N", NULL },
};

static void test_scenarios(void **state)
{
	struct place *p = *state;
	bool all_good = true;

	for (size_t i = 0; i < array_n(scenarios); i++) {
		char tree[2048] = "", pending[2048] = "";
		bool is_good;

		begin(p);
		run_script(p, scenarios[i].script);
		show_tree(p, TREE_ROOT_INO, "", tree, sizeof(tree));
		show_pending(p, pending, sizeof(pending));
		is_good = strcmp(tree, scenarios[i].tree) == 0 &&
			  strcmp(pending, scenarios[i].pending) == 0 &&
			  (!scenarios[i].events || strcmp(p->events, scenarios[i].events) == 0);
		all_good = all_good && is_good;
		if (!is_good)
			print_error("%s\n  tree    \"%s\"\n  instead \"%s\"\n  pending \"%s\"\n"
				    "  instead \"%s\"\n  events  \"%s\"\n",
				    scenarios[i].what, tree, scenarios[i].tree, pending,
				    scenarios[i].pending, p->events);
		end(p);
	}
	assert_true(all_good);
}

/* --- errors --- */

static void test_errors(void **state)
{
	static const struct {
		const char *step, *path, *to;
		int want;
	} steps[] = {
		{ "new", "a", NULL, -EEXIST },
		{ "new", "d", NULL, -EEXIST },
		{ "new", "a/b", NULL, -ENOTDIR },
		{ "mkdir", "a", NULL, -EEXIST },
		{ "rm", "b", NULL, -ENOENT },
		{ "rm", "d", NULL, -EISDIR },
		{ "rmdir", "b", NULL, -ENOENT },
		{ "rmdir", "a", NULL, -ENOTDIR },
		{ "rmdir", "d", NULL, -ENOTEMPTY },
		{ "rmdir", "d/e", NULL, -EAGAIN },
		{ "mv", "b", "c", -ENOENT },
		{ "mv", "d", "d/e/f", -EINVAL },
		{ "mv", "d", "d/f", -EINVAL },
		{ "mv", "a", "d", -EISDIR },
		{ "mv", "d", "a", -ENOTDIR },
		{ "mv", "n", "d", -ENOTEMPTY },
		{ "mv", "n", "d/e", -EAGAIN },
		{ "mv", "a", "a/b", -ENOTDIR },
		{ "mv -n", "a", "d/x", -EEXIST },
		{ "mv -n", "a", "a", -EEXIST },
		{ "mv", "a", "a", 0 },
	};
	struct place *p = *state;

	begin(p);
	run_script(p, "delta x:a@root d:d@root/ e:e@d/ y:x@d; mkdir n");
	for (size_t i = 0; i < array_n(steps); i++) {
		char tree[512] = "", pending[512] = "";
		int r;

		if (strcmp(steps[i].step, "new") == 0)
			r = create(p, steps[i].path, TREE_FILE);
		else if (strcmp(steps[i].step, "mkdir") == 0)
			r = create(p, steps[i].path, TREE_DIR);
		else if (strcmp(steps[i].step, "rm") == 0)
			r = drop(p, steps[i].path, TREE_FILE);
		else if (strcmp(steps[i].step, "rmdir") == 0)
			r = drop(p, steps[i].path, TREE_DIR);
		else
			r = move(p, steps[i].path, steps[i].to, steps[i].step[2] != '\0');
		if (r != steps[i].want)
			fail_msg("%s %s: %d", steps[i].step, steps[i].path, r);
		show_tree(p, TREE_ROOT_INO, "", tree, sizeof(tree));
		show_pending(p, pending, sizeof(pending));
		assert_string_equal(tree, "a=1 d/ d/e/ d/x=1 n/");
		assert_string_equal(pending, "n:N");
	}
}

/* --- what stays as it is --- */

static void test_no_echo(void **state)
{
	static const char *const scripts[] = {
		"new a; write a=2",
		"delta x:a@root; write a=2",
		"delta x:b@root; mv b a; write a=2",
		"delta x:a@root; new t; write t=2; mv t a",
		"delta x:a@root; touch a",
	};
	struct place *p = *state;

	for (size_t i = 0; i < array_n(scripts); i++) {
		struct tree_attr before, after;
		bool is_touched = strstr(scripts[i], "touch") != NULL;
		char answer[64], delta[64];

		begin(p);
		run_script(p, scripts[i]);
		assert_int_equal(tree_lookup(p->tree, TREE_ROOT_INO, "a", &before), 0);
		snprintf(answer, sizeof(answer), "send a a; done a x:a@root=%d",
			 is_touched ? 1 : 2);
		run_script(p, answer);
		assert_string_equal(p->events, "");
		/* Whole seconds, as in the answer. */
		snprintf(delta, sizeof(delta), "x:a@root=%d", is_touched ? 1 : 2);
		tell_time(p, delta, before.mtime_ns / 1000000000 * 1000000000);
		assert_string_equal(p->events, "");
		assert_int_equal(tree_lookup(p->tree, TREE_ROOT_INO, "a", &after), 0);
		assert_int_equal(after.ino, before.ino);
		assert_int_equal(after.cid, before.cid);
		assert_int_equal(after.size, before.size);
		assert_int_equal(after.mtime_ns, before.mtime_ns);
		assert_int_equal(tree_local_n(p->tree), 0);
		end(p);
	}
}

static void test_what_is_kept_of_an_item(void **state)
{
	struct place *p = *state;
	struct tree_local_item item;
	struct tree_meta meta;
	struct tree_attr attr;
	uint64_t ino;

	/* A new file over one of the service: inode and content are the new one's, the rest not. */
	begin(p);
	run_script(p, "delta x:a@root=3; new t; write t=2");
	ino = find_path(p, "t");
	run_script(p, "mv t a");
	assert_int_equal(tree_get_meta(p->tree, ino, &meta), 0);
	assert_string_equal(meta.id, "x");
	assert_string_equal(meta.etag, "e3");
	assert_int_equal(meta.attr.size, 20);
	tree_meta_fini(&meta);
	assert_int_equal(tree_local_get(p->tree, ino, &item), 0);
	assert_string_equal(item.etag, "e3");
	assert_int_equal(item.base_hash[0], 3);
	assert_int_equal(item.base.cid, 0);
	tree_local_item_fini(&item);

	/* A conflict: ours keeps its inode, content id and draft. */
	begin(p);
	run_script(p, "delta x:a@root=3; write a=2");
	assert_int_equal(tree_lookup(p->tree, TREE_ROOT_INO, "a", &attr), 0);
	run_script(p, "delta x:a@root=4");
	assert_int_equal(tree_find_id(p->tree, "x", &ino), 0);
	assert_int_not_equal(ino, attr.ino);
	assert_int_equal(tree_local_get(p->tree, attr.ino, &item), 0);
	assert_int_equal(item.what, LOCAL_CREATE);
	assert_int_equal(item.attr.cid, attr.cid);
	assert_int_not_equal(item.base.cid, 0);
	tree_local_item_fini(&item);
}

static void test_failures_and_sessions_are_kept(void **state)
{
	struct place *p = *state;
	struct tree_local_item item;
	uint64_t ino;

	begin(p);
	run_script(p, "new a; write a=2");
	ino = find_path(p, "a");
	assert_int_equal(tree_local_set_session(p->tree, ino, 7, "https://up/1"), 0);
	assert_int_equal(tree_local_fail(p->tree, ino, -EDQUOT, "the drive is full"), 0);
	run_script(p, "reopen");
	assert_int_equal(tree_local_get(p->tree, ino, &item), 0);
	assert_string_equal(item.session, "https://up/1");
	assert_int_equal(item.session_cid, 7);
	assert_int_equal(item.error, -EDQUOT);
	assert_string_equal(item.reason, "the drive is full");
	tree_local_item_fini(&item);
	assert_int_equal(tree_local_fail(p->tree, ino, 0, NULL), 0);
	assert_int_equal(tree_local_set_session(p->tree, ino, 0, NULL), 0);
	assert_int_equal(tree_local_get(p->tree, ino, &item), 0);
	assert_null(item.session);
	assert_null(item.reason);
	assert_int_equal(item.error, 0);
	tree_local_item_fini(&item);
	assert_int_equal(tree_local_get(p->tree, ino + 100, &item), -ENOENT);
}

static void test_asks_for_what_waited(void **state)
{
	struct place *p = *state;
	char *id;

	begin(p);
	run_script(p, "delta x:a@root; write a=2; send a a; delta x:a@root=3");
	/* Not while it is sent; and over a new start. */
	assert_int_equal(tree_local_asks(p->tree, &id), 0);
	run_script(p, "lost a; reopen");
	assert_int_equal(tree_local_asks(p->tree, &id), 1);
	assert_string_equal(id, "x");
	free(id);
	run_script(p, "learn x:a@root=3");
	assert_int_equal(tree_local_asks(p->tree, &id), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_scenarios, setup, teardown),
		cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_echo, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_kept_of_an_item, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failures_and_sessions_are_kept, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_asks_for_what_waited, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "change.h"
#include "item.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { SPEC_ITEMS = 16, DEEP = 5000, WIDE = 100000, PAGE = 1000 };

struct place {
	char path[64];
	int fd;
	struct tree *tree;
};

static void open_tree(struct place *p)
{
	assert_int_equal(tree_open(p->fd, "tree", "drive", &p->tree), 0);
}

static void close_tree(struct place *p)
{
	tree_free(p->tree);
	p->tree = NULL;
}

static int setup(void **state)
{
	const struct item root = { .id = "root", .is_root = true, .kind = ITEM_FOLDER, .size = -1 };
	struct place *p = calloc(1, sizeof(*p));

	strcpy(p->path, "/tmp/gfs-test-tree-XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_RDONLY | O_DIRECTORY);
	*state = p;
	open_tree(p);
	return tree_set_root(p->tree, &root, NULL);
}

static int teardown(void **state)
{
	struct place *p = *state;
	char cmd[96];

	close_tree(p);
	close(p->fd);
	snprintf(cmd, sizeof(cmd), "rm -rf %s", p->path);
	free(p);
	return system(cmd);
}

/*
 * Items in short: "id:name@parent", a folder ends in "/", a tombstone is "-id", an enumeration of
 * several is separated by blanks; "_" in a name is a blank. Content 1 unless "=n" follows.
 */
struct spec {
	char text[1024];
	struct item items[SPEC_ITEMS];
	size_t n;
};

static void read_item(char *word, struct item *ret)
{
	char *name = strchr(word, ':'), *parent = strchr(word, '@'), *content = strchr(word, '=');
	size_t len = strlen(word);

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
	ret->hash[0] = (uint8_t)(content ? atoi(content + 1) : 1);
	ret->has_hash = ret->kind == ITEM_FILE;
	ret->size = ret->kind == ITEM_FILE ? 10 : -1;
	if (content)
		*content = '\0';
	*name = *parent = '\0';
	ret->id = word;
	ret->name = name + 1;
	ret->name_len = strlen(ret->name);
	for (char *c = ret->name; *c; c++)
		*c = *c == '_' ? ' ' : *c;
	ret->parent_id = parent[1] ? parent + 1 : NULL;
}

static void read_spec(const char *text, struct spec *ret)
{
	char *save = NULL;

	ret->n = 0;
	snprintf(ret->text, sizeof(ret->text), "%s", text);
	for (char *word = strtok_r(ret->text, " ", &save); word; word = strtok_r(NULL, " ", &save))
		read_item(word, &ret->items[ret->n++]);
}

static struct change_set *apply(struct tree *tree, const char *text, bool full)
{
	struct change_set *set;
	struct spec spec;

	read_spec(text, &spec);
	assert_int_equal(tree_stage_begin(tree), 0);
	assert_int_equal(tree_stage_page(tree, spec.items, spec.n), 0);
	assert_int_equal(tree_stage_apply(tree, "link", full, &set), 0);
	return set;
}

static struct change_set *merge(struct tree *tree, const char *text, uint64_t note, bool last)
{
	struct change_set *set;
	struct spec spec;

	read_spec(text, &spec);
	assert_int_equal(
		tree_merge_children(tree, TREE_ROOT_INO, spec.items, spec.n, note, last, &set), 0);
	return set;
}

static uint64_t ino_of(struct tree *tree, const char *id)
{
	uint64_t ino;

	return tree_find_id(tree, id, &ino) == 0 ? ino : 0;
}

/* --- what the tree looks like --- */

struct listing {
	char *names[64];
	uint64_t inos[64];
	size_t n;
};

static int add_name(void *arg, const struct tree_attr *attr, const char *name)
{
	struct listing *l = arg;

	assert_true(l->n < array_n(l->names));
	l->inos[l->n] = attr->kind == TREE_DIR ? attr->ino : 0;
	assert_true(asprintf(&l->names[l->n++], "%s%s", name, attr->kind == TREE_DIR ? "/" : "") >
		    0);
	return 0;
}

static void print_dir(struct tree *tree, uint64_t dir, const char *prefix, char *out, size_t size)
{
	struct listing l = { .n = 0 };

	assert_int_equal(tree_list(tree, dir, 0, add_name, &l), 0);
	for (size_t done = 0; done < l.n; done++) {
		size_t first = 0;
		char path[512];

		for (size_t i = 0; i < l.n; i++)
			if (l.names[i] &&
			    (!l.names[first] || strcmp(l.names[i], l.names[first]) < 0))
				first = i;
		snprintf(path, sizeof(path), "%s%s", prefix, l.names[first]);
		snprintf(out + strlen(out), size - strlen(out), "%s%s", out[0] ? " " : "", path);
		free(take_ptr(&l.names[first]));
		if (l.inos[first])
			print_dir(tree, l.inos[first], path, out, size);
	}
}

static void assert_looks(struct tree *tree, const char *want)
{
	char out[2048] = "";

	print_dir(tree, TREE_ROOT_INO, "", out, sizeof(out));
	assert_string_equal(out, want);
}

/* --- runs of delta --- */

static const struct {
	const char *what, *before, *delta, *want;
	bool full;
} runs[] = {
	{ "the last of an item counts", "", "x:a@root x:b@root", "b" },
	{ "child before its parent", "", "c:c@d d:d@root/", "d/ d/c" },
	{ "parent never sent", "", "c:c@nowhere", "" },
	{ "no parent named", "", "c:c@", "" },
	{ "grandchildren before all", "", "e:e@c c:c@d/ d:d@root/", "d/ d/c/ d/c/e" },
	{ "tombstone after the item", "", "x:a@root -x", "" },
	{ "item after its tombstone", "x:a@root", "-x x:b@root", "b" },
	{ "self parent, new", "", "x:a@x/", "" },
	{ "self parent, known", "x:a@root/", "x:a@x/", "a/" },
	{ "ring of new folders", "", "x:a@y/ y:b@x/", "" },
	{ "ring of known folders", "x:a@root/ y:b@root/", "x:a@y/ y:b@x/", "a/ a/b/" },
	{ "into its own child", "x:a@root/ y:b@x/", "x:a@y/", "a/ a/b/" },
	{ "folders change sides", "x:a@root/ y:b@x/ z:c@y/", "x:a@z/ y:b@root/", "b/ b/c/ b/c/a/" },
	{ "folders change sides and names", "x:a@root/ y:a@x/", "x:a@y/ y:a@root/", "a/ a/a/" },
	{ "two swap names", "x:a@root=1 y:b@root/", "x:b@root y:a@root/", "a/ b" },
	{ "three rotate names", "x:a@root y:b@root z:c@root/", "x:b@root y:c@root z:a@root/",
	  "a/ b c" },
	{ "a case only", "x:readme@root", "x:README@root", "README" },
	{ "deleted and made anew", "x:a@root", "-x y:a@root", "a" },
	{ "a folder made anew", "x:a@root/ c:c@x", "y:a@root/ d:d@y -x -c", "a/ a/d" },
	{ "file becomes folder", "x:a@root", "x:a@root/ c:c@x", "a/ a/c" },
	{ "folder becomes file", "x:a@root/ c:c@x", "x:a@root", "a" },
	{ "folder becomes file, and what was in it moves", "x:a@root/ y:b@x/ z:c@y/ c:c@z d:d@z",
	  "x:a@root -y z:c@root/", "a c/ c/c c/d" },
	{ "folder goes with what is in it", "x:a@root/ c:c@x d:d@x/ e:e@d", "-x", "" },
	{ "what was moved out stays", "x:a@root/ c:c@x", "-x c:c@root", "c" },
	{ "deletion of what is not known", "x:a@root", "-nobody", "a" },
	{ "deletion of the root", "x:a@root", "-root", "a" },
	{ "the root as a file of its own child", "x:a@root/", "root:r@x", "a/" },
	{ "back from the bin", "x:a@root", "-x x:a@root", "a" },
	{ "out of what is known", "x:a@root/ c:c@x", "x:a@nowhere/", "" },
	{ "and back", "n:n@root/ c:c@x x:a@nowhere/", "x:a@n/", "n/ n/a/ n/a/c" },
	{ "names that no folder can hold", "", "x:..@root y:a/b@root z:.@root",
	  "%2E %2E%2E a%2Fb" },
	{ "two of one name", "", "x:a.txt@root y:a.txt@root", "a (af63f44c86021554).txt a.txt" },
	{ "one of them goes", "x:a.txt@root y:a.txt@root", "-x y:a.txt@root", "a.txt" },
	{ "the marked name is taken too", "", "q:a_(af63f44c86021554)@root x:a@root y:a@root",
	  "a a (af63f44c86021554) a (af63f44c86021555)" },
	{ "an enumeration lacks items", "x:a@root y:b@root/ c:c@y", "x:a@root", "a", true },
	{ "and brings what was in them", "y:b@root/ c:c@y z:z@root/", "c:c@z z:z@root/", "z/ z/c",
	  true },
	{ "and has their names again", "x:a@root/ c:c@x", "y:a@root/", "a/", true },
};

static void test_runs_of_delta(void **state)
{
	struct place *p = *state;

	for (size_t i = 0; i < array_n(runs); i++) {
		print_message("%s\n", runs[i].what);
		if (i > 0) {
			assert_int_equal(teardown(state), 0);
			assert_int_equal(setup(state), 0);
			p = *state;
		}
		change_set_free(apply(p->tree, runs[i].before, false));
		change_set_free(apply(p->tree, runs[i].delta, runs[i].full));
		assert_looks(p->tree, runs[i].want);
		assert_null(apply(p->tree, runs[i].delta, runs[i].full));
	}
}

/* --- what the kernel is told --- */

static void test_what_is_unchanged_is_not_told(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_meta meta;
	struct spec spec;
	uint64_t seq;

	change_set_free(apply(tree, "x:a@root d:d@root/", false));
	seq = tree_note(tree);
	assert_null(apply(tree, "x:a@root d:d@root/", false));
	assert_int_equal(tree_note(tree), seq);
	/* A new eTag alone is kept, but nobody can see it. */
	read_spec("x:a@root", &spec);
	spec.items[0].etag = "e2";
	struct change_set *set;
	assert_int_equal(tree_stage_begin(tree), 0);
	assert_int_equal(tree_stage_page(tree, spec.items, 1), 0);
	assert_int_equal(tree_stage_apply(tree, NULL, false, &set), 0);
	assert_null(set);
	assert_int_equal(tree_get_meta(tree, ino_of(tree, "x"), &meta), 0);
	assert_string_equal(meta.etag, "e2");
	tree_meta_fini(&meta);
}

static void test_the_hash_decides_about_content(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_attr before, after;
	struct change_set *set;

	change_set_free(apply(tree, "x:a@root=1", false));
	assert_int_equal(tree_lookup(tree, TREE_ROOT_INO, "a", &before), 0);
	set = apply(tree, "x:a@root=2", false);
	assert_non_null(set);
	assert_int_equal(set->n, 1);
	assert_int_equal(set->v[0].kind, CHANGE_CONTENT);
	assert_int_equal(set->v[0].old_ino, before.ino);
	assert_string_equal(set->v[0].dir_path, "");
	change_set_free(set);
	assert_int_equal(tree_lookup(tree, TREE_ROOT_INO, "a", &after), 0);
	assert_int_equal(after.ino, before.ino);
	assert_true(after.cid > before.cid);
	/* Told with an equal time: the kernel must still see another. */
	assert_true(after.mtime_ns > before.mtime_ns);
}

static bool no(void *arg, uint64_t ino)
{
	return false;
}

static bool yes(void *arg, uint64_t ino)
{
	return true;
}

static void test_an_open_file_keeps_its_inode(void **state)
{
	const struct tree_guard guard = { .file_open = yes };
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_attr before, after, dir, dir_after;
	struct change_set *set;

	change_set_free(apply(tree, "x:a@root=1", false));
	assert_int_equal(tree_lookup(tree, TREE_ROOT_INO, "a", &before), 0);
	assert_int_equal(tree_get(tree, TREE_ROOT_INO, &dir), 0);
	tree_set_guard(tree, &guard);
	set = apply(tree, "x:a@root=2", false);
	assert_int_equal(set->v[0].old_ino, before.ino);
	assert_int_not_equal(set->v[0].attr.ino, before.ino);
	change_set_free(set);
	assert_int_equal(tree_get(tree, before.ino, &after), -ENOENT);
	assert_int_equal(tree_lookup(tree, TREE_ROOT_INO, "a", &after), 0);
	assert_int_equal(tree_get(tree, TREE_ROOT_INO, &dir_after), 0);
	assert_true(dir_after.mtime_ns > dir.mtime_ns);
	assert_int_equal(tree_detach(tree, after.ino, &set), 0);
	assert_int_equal(set->n, 1);
	assert_int_equal(set->v[0].old_ino, after.ino);
	assert_int_equal(set->v[0].attr.cid, after.cid);
	change_set_free(set);
	assert_int_equal(tree_detach(tree, after.ino, &set), 0);
	assert_null(set);
}

static void test_what_the_kernel_does_not_hold_is_not_told(void **state)
{
	const struct tree_guard guard = { .dir_known = no };
	struct tree *tree = ((struct place *)*state)->tree;
	struct change_set *set;

	change_set_free(apply(tree, "d:d@root/ x:a@d", false));
	tree_set_guard(tree, &guard);
	assert_null(apply(tree, "x:b@d y:c@d", false));
	assert_looks(tree, "d/ d/b d/c");
	/* Into the root, which is always held. */
	set = apply(tree, "x:b@root", false);
	assert_int_equal(set->n, 1);
	assert_int_equal(set->v[0].kind, CHANGE_MOVE);
	assert_string_equal(set->v[0].dir_path, "d");
	assert_string_equal(set->v[0].to_dir_path, "");
	change_set_free(set);
}

static void stage_many(struct tree *tree, unsigned from, unsigned to, const char *parent)
{
	static char ids[PAGE][16];
	static struct item items[PAGE];
	size_t n = 0;

	assert_int_equal(tree_stage_begin(tree), 0);
	for (unsigned i = from; i < to; i++) {
		snprintf(ids[n], sizeof(ids[n]), "i%u", i);
		items[n] = (struct item){ .id = ids[n],
					  .name = ids[n],
					  .name_len = strlen(ids[n]),
					  .parent_id = (char *)parent,
					  .kind = ITEM_FILE };
		if (++n == PAGE || i + 1 == to) {
			assert_int_equal(tree_stage_page(tree, items, n), 0);
			n = 0;
		}
	}
}

static void test_too_much_is_told_at_once(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct change_set *set;

	stage_many(tree, 0, CHANGE_SET_MAX, "root");
	assert_int_equal(tree_stage_apply(tree, NULL, false, &set), 0);
	assert_false(set->bulk);
	assert_int_equal(set->n, CHANGE_SET_MAX);
	change_set_free(set);
	stage_many(tree, CHANGE_SET_MAX, 2 * CHANGE_SET_MAX + 1, "root");
	assert_int_equal(tree_stage_apply(tree, NULL, false, &set), 0);
	assert_true(set->bulk);
	assert_int_equal(set->n, 0);
	change_set_free(set);
}

/* --- pages that were under way --- */

static void test_a_page_does_not_undo_what_came_after(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_attr root;
	uint64_t note;

	change_set_free(apply(tree, "x:a@root y:b@root z:c@root", false));
	note = tree_note(tree);
	change_set_free(apply(tree, "x:renamed@root -y -never_seen", false));
	change_set_free(
		merge(tree, "x:a@root y:b@root z:c@root never_seen:n@root q:q@", note, true));
	assert_looks(tree, "c q renamed");
	assert_int_equal(tree_get(tree, TREE_ROOT_INO, &root), 0);
	assert_true(root.complete);
	/* What a listing finds was there before: it is news only where all was known. */
	assert_int_equal(tree_forget_complete(tree, 0), 0);
	assert_null(merge(tree, "new:new@root", tree_note(tree), true));
	struct change_set *set = merge(tree, "newer:newer@root", tree_note(tree), true);
	assert_int_equal(set->n, 1);
	assert_int_equal(set->v[0].kind, CHANGE_CREATE);
	change_set_free(set);
	set = NULL;
	assert_int_equal(tree_merge_children(tree, 999, NULL, 0, note, true, &set), -ENOENT);
	assert_int_equal(tree_merge_children(tree, ino_of(tree, "x"), NULL, 0, note, true, &set),
			 -ENOTDIR);
}

static void test_the_crawl_makes_all_complete(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_attr attr;
	struct spec spec;
	auto_free char *link = NULL;

	read_spec("c:c@d d:d@root/", &spec);
	assert_int_equal(tree_merge_crawl(tree, spec.items, 1, tree_note(tree), "next", NULL), 0);
	assert_looks(tree, "");
	assert_int_equal(tree_kv_get(tree, TREE_KV_CRAWL_LINK, &link), 0);
	assert_string_equal(link, "next");
	assert_int_equal(tree_merge_crawl(tree, spec.items + 1, 1, tree_note(tree), NULL, NULL), 0);
	assert_looks(tree, "d/ d/c");
	free(take_ptr(&link));
	assert_int_equal(tree_kv_get(tree, TREE_KV_CRAWL_LINK, &link), -ENOENT);
	assert_int_equal(tree_items_n(tree), 3);
	assert_int_equal(tree_get(tree, TREE_ROOT_INO, &attr), 0);
	assert_true(attr.complete);
	assert_int_equal(tree_get(tree, ino_of(tree, "d"), &attr), 0);
	assert_true(attr.complete);
}

/* --- the database --- */

static void test_a_tree_survives_a_restart(void **state)
{
	struct place *p = *state;
	auto_free char *link = NULL, *path = NULL, *epoch = NULL, *epoch_after = NULL;
	struct tree_attr before, after;
	struct stat st;
	uint64_t seq;

	change_set_free(apply(p->tree, "d:d@root/ x:a@d", false));
	assert_int_equal(tree_get(p->tree, ino_of(p->tree, "x"), &before), 0);
	assert_int_equal(tree_kv_get(p->tree, TREE_KV_EPOCH, &epoch), 0);
	seq = tree_note(p->tree);
	close_tree(p);
	assert_int_equal(fstatat(p->fd, "tree", &st, 0), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(tree_open(p->fd, "tree", "another", &p->tree), -EXDEV);
	open_tree(p);
	assert_int_equal(tree_note(p->tree), seq);
	assert_int_equal(tree_get(p->tree, ino_of(p->tree, "x"), &after), 0);
	assert_int_equal(after.ino, before.ino);
	assert_int_equal(after.cid, before.cid);
	assert_int_equal(after.mtime_ns, before.mtime_ns);
	assert_int_equal(tree_kv_get(p->tree, TREE_KV_DELTA_LINK, &link), 0);
	assert_string_equal(link, "link");
	assert_int_equal(tree_kv_get(p->tree, TREE_KV_EPOCH, &epoch_after), 0);
	assert_string_equal(epoch, epoch_after);
	assert_int_equal(tree_path(p->tree, after.ino, &path), 0);
	assert_string_equal(path, "d/a");
	/* Numbers are not used again. */
	change_set_free(apply(p->tree, "-x", false));
	change_set_free(apply(p->tree, "x:a@d", false));
	assert_true(ino_of(p->tree, "x") > before.ino);
	assert_int_equal(tree_get(p->tree, ino_of(p->tree, "x"), &after), 0);
	assert_true(after.cid > before.cid);
}

static void overwrite(struct place *p, off_t at, size_t n)
{
	auto_close int fd = openat(p->fd, "tree", O_WRONLY | O_CREAT, 0600);
	char junk[4096];

	memset(junk, 0x5a, sizeof(junk));
	assert_true(fd >= 0);
	for (; n > 0; n -= sizeof(junk), at += sizeof(junk))
		assert_int_equal(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
}

static void test_a_damaged_database_is_refused(void **state)
{
	struct place *p = *state;

	close_tree(p);
	overwrite(p, 0, 8192);
	assert_int_equal(tree_open(p->fd, "tree", "drive", &p->tree), -EUCLEAN);
	assert_int_equal(tree_discard(p->fd, "tree"), 0);
	assert_int_equal(tree_discard(p->fd, "tree"), 0);
	open_tree(p);
}

/* A child that is killed leaves a database that nobody closed. */
static void fill_and_die(struct place *p, unsigned pages)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct tree *tree;

		if (tree_open(p->fd, "tree", "drive", &tree) != 0)
			_exit(1);
		for (unsigned i = 0; i < pages; i++) {
			stage_many(tree, i * PAGE, (i + 1) * PAGE, "root");
			if (tree_stage_apply(tree, "link", false, NULL) != 0)
				_exit(2);
		}
		(void)raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
}

static void test_damage_is_looked_for_after_a_crash(void **state)
{
	struct place *p = *state;
	struct stat st;

	close_tree(p);
	fill_and_die(p, 5);
	open_tree(p);
	assert_int_equal(tree_items_n(p->tree), 5 * PAGE + 1);
	close_tree(p);
	fill_and_die(p, 1);
	assert_int_equal(fstatat(p->fd, "tree", &st, 0), 0);
	overwrite(p, st.st_size / 8192 * 4096, 32768);
	assert_int_equal(tree_open(p->fd, "tree", "drive", &p->tree), -EUCLEAN);
	assert_int_equal(tree_discard(p->fd, "tree"), 0);
	open_tree(p);
}

/* The start and the end of a process that writes nothing need not wait for the disk. */
static void test_only_who_writes_is_noted(void **state)
{
	struct place *p = *state;
	struct stat st;

	for (int writes = 0; writes < 2; writes++) {
		auto_free char *text = NULL;

		close_tree(p);
		open_tree(p);
		assert_int_equal(tree_kv_get(p->tree, "in_use", &text), -ENOENT);
		assert_int_equal(fstatat(p->fd, "tree-wal", &st, 0), 0);
		assert_int_equal(st.st_size, 0);
		change_set_free(writes ? apply(p->tree, "x:a@root", false) : NULL);
		assert_int_equal(tree_kv_get(p->tree, "in_use", &text), writes ? 0 : -ENOENT);
	}
}

static bool die(void *arg, uint64_t ino)
{
	(void)raise(SIGKILL);
	return true;
}

static void die_while_applying(struct place *p)
{
	const struct tree_guard guard = { .dir_known = die };
	struct tree *tree;

	if (tree_open(p->fd, "tree", "drive", &tree) != 0)
		_exit(1);
	tree_set_guard(tree, &guard);
	change_set_free(apply(tree, "x:a@root y:b@root d:d@root/ z:c@d", false));
	_exit(2);
}

/* The new link without the rows would lose them for ever. */
static void test_link_and_rows_come_together(void **state)
{
	struct place *p = *state;
	auto_free char *link = NULL;
	pid_t pid;
	int status;

	change_set_free(apply(p->tree, "x:old@root", false));
	assert_int_equal(tree_kv_set(p->tree, TREE_KV_DELTA_LINK, "link-before"), 0);
	close_tree(p);
	pid = fork();
	if (pid == 0)
		die_while_applying(p);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	open_tree(p);
	assert_looks(p->tree, "old");
	assert_int_equal(tree_kv_get(p->tree, TREE_KV_DELTA_LINK, &link), 0);
	assert_string_equal(link, "link-before");
	change_set_free(apply(p->tree, "x:a@root y:b@root", false));
	assert_looks(p->tree, "a b");
}

/* --- readers --- */

struct reader {
	struct tree *tree;
	atomic_bool *stop;
	unsigned rounds, wrong;
};

static int see_name(void *arg, const struct tree_attr *attr, const char *name)
{
	unsigned *seen = arg;

	*seen |= name[0] == 'a' ? 1u : name[0] == 'b' ? 2u : 4u;
	return 0;
}

/* Two names swap all the time: every listing has both, once. */
static void *read_on(void *arg)
{
	struct reader *reader = arg;

	do {
		struct tree_attr attr;
		unsigned seen = 0;

		reader->wrong += tree_list(reader->tree, TREE_ROOT_INO, 0, see_name, &seen) != 0;
		reader->wrong += seen != 3;
		reader->wrong += tree_lookup(reader->tree, TREE_ROOT_INO, "a", &attr) != 0;
		reader->rounds++;
	} while (!atomic_load(reader->stop));
	return NULL;
}

static void test_readers_see_whole_commits(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct reader readers[4];
	pthread_t threads[4];
	atomic_bool stop = false;

	change_set_free(apply(tree, "x:a@root y:b@root", false));
	for (size_t i = 0; i < array_n(readers); i++) {
		readers[i] = (struct reader){ .tree = tree, .stop = &stop };
		assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
	}
	for (int i = 0; i < 300; i++)
		change_set_free(
			apply(tree, i % 2 ? "x:a@root y:b@root" : "x:b@root y:a@root", false));
	atomic_store(&stop, true);
	for (size_t i = 0; i < array_n(readers); i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_true(readers[i].rounds > 0);
		assert_int_equal(readers[i].wrong, 0);
	}
}

/* --- size --- */

static void test_a_deep_tree(void **state)
{
	const struct tree_guard guard = { .dir_known = no };
	struct tree *tree = ((struct place *)*state)->tree;
	char *path;

	tree_set_guard(tree, &guard);
	/* Children first: every one waits for its parent. */
	assert_int_equal(tree_stage_begin(tree), 0);
	for (int i = DEEP; i > 0; i--) {
		char id[16], parent[16];
		struct item item = { .id = id, .name = id, .kind = ITEM_FOLDER, .size = -1 };

		snprintf(id, sizeof(id), "i%d", i);
		snprintf(parent, sizeof(parent), i > 1 ? "i%d" : "root", i - 1);
		item.name_len = strlen(id);
		item.parent_id = parent;
		assert_int_equal(tree_stage_page(tree, &item, 1), 0);
	}
	assert_int_equal(tree_stage_apply(tree, NULL, false, NULL), 0);
	assert_int_equal(tree_path(tree, ino_of(tree, "i5000"), &path), -ENAMETOOLONG);
	assert_int_equal(tree_path(tree, ino_of(tree, "i500"), &path), 0);
	assert_string_equal(path + strlen(path) - 10, "/i499/i500");
	free(path);
	change_set_free(apply(tree, "i2500:m@root/", false));
	assert_int_equal(tree_path(tree, ino_of(tree, "i2501"), &path), 0);
	assert_string_equal(path, "m/i2501");
	free(path);
	change_set_free(apply(tree, "-i1 -i2500", false));
	assert_int_equal(tree_items_n(tree), 1);
}

static int count(void *arg, const struct tree_attr *attr, const char *name)
{
	uint64_t *last = arg;

	assert_true(attr->ino > *last);
	*last = attr->ino;
	return 0;
}

static int take_three(void *arg, const struct tree_attr *attr, const char *name)
{
	uint64_t *v = arg;

	v[1] = attr->ino;
	return ++v[0] == 3;
}

static void test_a_wide_folder(void **state)
{
	struct tree *tree = ((struct place *)*state)->tree;
	struct tree_attr attr;
	uint64_t last = 0, three[2] = { 0, 0 };
	struct change_set *set;

	stage_many(tree, 0, WIDE, "root");
	assert_int_equal(tree_stage_apply(tree, NULL, false, &set), 0);
	assert_true(set->bulk);
	change_set_free(set);
	assert_int_equal(tree_list(tree, TREE_ROOT_INO, 0, count, &last), 0);
	assert_int_equal(tree_lookup(tree, TREE_ROOT_INO, "i99999", &attr), 0);
	assert_int_equal(tree_list(tree, TREE_ROOT_INO, attr.ino - 2, take_three, three), 0);
	assert_int_equal(three[0], 2);
	assert_int_equal(three[1], last);
	three[0] = 0;
	assert_int_equal(tree_list(tree, TREE_ROOT_INO, attr.ino - 9, take_three, three), 0);
	assert_int_equal(three[0], 3);
	assert_int_equal(three[1], attr.ino - 6);
	assert_int_equal(tree_items_n(tree), WIDE + 1);
}

/* --- a complete enumeration --- */

static void stage_full(struct tree *tree, const char *text)
{
	struct change_set *set;
	struct spec spec;

	read_spec(text, &spec);
	assert_int_equal(tree_stage_full_page(tree, spec.items, spec.n, &set), 0);
	change_set_free(set);
}

static void test_an_enumeration_comes_in_steps(void **state)
{
	struct place *p = *state;
	struct tree *tree = p->tree;
	struct change_set *set;
	uint64_t keeps;

	change_set_free(apply(tree,
			      "d:d@root/ keeps:k@d moves:m@d swaps:s@root gone:g@root young:y@root"
			      " old:o@root/ in_old:i@old",
			      false));
	keeps = ino_of(tree, "keeps");
	assert_int_equal(tree_stage_begin(tree), 0);
	/* At once: new content in its place, and what is new below the root or a folder seen. Not
	 * yet: what moves, whose name another has, and what is in a folder that was not seen. */
	stage_full(tree, "d:d@root/ keeps:k@d=2 new:n@d moves:m@root other:s@root swaps:t@root"
			 " late:l@old");
	assert_looks(tree, "d/ d/k d/m d/n g o/ o/i s y");
	while (tree_stage_unseen(tree) > 0)
		;
	/* Found missing, but then a listing brings another version. */
	change_set_free(merge(tree, "young:y@root=2", tree_note(tree), false));
	assert_looks(tree, "d/ d/k d/m d/n g o/ o/i s y");
	assert_int_equal(tree_stage_apply(tree, "link", true, &set), 0);
	change_set_free(set);
	assert_looks(tree, "d/ d/k d/n m s t y");
	assert_int_equal(ino_of(tree, "keeps"), keeps);
	assert_int_equal(ino_of(tree, "late"), 0);
}

static void test_gives_up(void **state)
{
	struct place *p = *state;
	struct tree *tree = p->tree;
	struct change_set *set;
	struct spec spec;

	change_set_free(apply(tree, "a:a@root", false));
	read_spec("-a b:b@root", &spec);
	assert_int_equal(tree_stage_begin(tree), 0);
	assert_int_equal(tree_stage_page(tree, spec.items, spec.n), 0);
	tree_give_up(tree);
	assert_int_equal(tree_stage_apply(tree, "later", false, &set), -ECANCELED);
	assert_looks(tree, "a");
	assert_int_equal(tree_items_n(tree), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_runs_of_delta),
		TEST(test_what_is_unchanged_is_not_told),
		TEST(test_the_hash_decides_about_content),
		TEST(test_an_open_file_keeps_its_inode),
		TEST(test_what_the_kernel_does_not_hold_is_not_told),
		TEST(test_too_much_is_told_at_once),
		TEST(test_a_page_does_not_undo_what_came_after),
		TEST(test_the_crawl_makes_all_complete),
		TEST(test_a_tree_survives_a_restart),
		TEST(test_a_damaged_database_is_refused),
		TEST(test_damage_is_looked_for_after_a_crash),
		TEST(test_only_who_writes_is_noted),
		TEST(test_link_and_rows_come_together),
		TEST(test_readers_see_whole_commits),
		TEST(test_a_deep_tree),
		TEST(test_an_enumeration_comes_in_steps),
		TEST(test_gives_up),
		TEST(test_a_wide_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

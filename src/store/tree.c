#define LOG_MODULE "tree"
#include "tree_row.h"

#include "log.h"
#include "tree_fold.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
	VERSION = 4,
	WRITER_CACHE_KIB = 24576,
	READER_CACHE_KIB = 2048,
	READERS_MAX = 12,
	PROGRESS_STEPS = 100000
};
enum { R_GET, R_LOOKUP, R_META, R_BY_ID, R_LIST, R_KV, R_PENDING, R_N };

#define COLUMNS                                                                                 \
	"ino, id, parent, pid, name, kind, size, smtime, mtime, btime, mode, cid, seq, flags, " \
	"etag, ctag, hash, web_url"

/* hid: tree_id_hash(). An index of the ids themselves would be four times as large, and they come
 * in no order: at a million items it would neither stay in the page cache nor be written in few
 * pages. */
static const char schema[] =
	"CREATE TABLE items(ino INTEGER PRIMARY KEY, id TEXT NOT NULL, hid INTEGER NOT NULL,"
	" parent INTEGER NOT NULL, pid TEXT, name TEXT NOT NULL, kind INTEGER NOT NULL,"
	" size INTEGER NOT NULL, smtime INTEGER NOT NULL, mtime INTEGER NOT NULL,"
	" btime INTEGER NOT NULL, mode INTEGER NOT NULL, cid INTEGER NOT NULL,"
	" seq INTEGER NOT NULL, flags INTEGER NOT NULL, etag TEXT, ctag TEXT, hash BLOB,"
	" web_url TEXT);"
	"CREATE INDEX items_id ON items(hid);"
	"CREATE UNIQUE INDEX items_name ON items(parent, name) WHERE parent > 0;"
	"CREATE INDEX items_parent ON items(parent);"
	"CREATE INDEX items_orphan ON items(pid) WHERE pid IS NOT NULL;"
	"CREATE TABLE stage(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
	" pid TEXT, name BLOB, kind INTEGER, size INTEGER, mtime INTEGER, btime INTEGER,"
	" flags INTEGER NOT NULL, etag TEXT, ctag TEXT, hash BLOB, web_url TEXT,"
	" state INTEGER NOT NULL);"
	"CREATE TABLE tomb(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
	" seq INTEGER NOT NULL, at INTEGER NOT NULL);"
	"CREATE TABLE pending(ino INTEGER PRIMARY KEY, what INTEGER NOT NULL, id TEXT,"
	" base_pid TEXT, base_name TEXT, base_cid INTEGER NOT NULL, base_size INTEGER NOT NULL,"
	" etag TEXT, ctag TEXT, hash BLOB, error INTEGER NOT NULL, reason TEXT, session TEXT,"
	" session_cid INTEGER NOT NULL, is_written INTEGER NOT NULL, hid INTEGER);"
	"CREATE INDEX pending_id ON pending(hid) WHERE hid IS NOT NULL;"
	"CREATE INDEX pending_place ON pending(base_pid, base_name COLLATE NOCASE)"
	" WHERE base_pid IS NOT NULL;"
	"CREATE TABLE fresh(id TEXT PRIMARY KEY) WITHOUT ROWID;"
	"CREATE TABLE asked(n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ino INTEGER NOT NULL,"
	" by_id TEXT NOT NULL);"
	"CREATE TABLE kv(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;"
	"INSERT INTO items(" COLUMNS ", hid) VALUES(1, '', 0, NULL, '', 1, 0, 0, 0, 0, 493, 0, 0,"
	" 0, NULL, NULL, NULL, NULL, 0)";

#define ATTRIBUTES "ino, parent, kind, size, mtime, btime, mode, cid, seq, flags & 1"
#define PENDING                                                                              \
	"ino, what, id, base_pid, base_name, base_cid, base_size, etag, ctag, hash, error, " \
	"reason,"                                                                            \
	" session, session_cid, is_written"
#define STAGED "n, id, pid, name, kind, size, mtime, btime, flags, etag, ctag, hash, web_url"

static const char *const writer_sql[W_N] = {
	[W_GET] = "SELECT " COLUMNS " FROM items WHERE ino = ?1",
	[W_NEXT] = "SELECT " COLUMNS " FROM items WHERE ino > ?1 ORDER BY ino LIMIT 1",
	[W_PLACE] = "SELECT parent, name FROM items WHERE ino = ?1",
	[W_BY_ID] = "SELECT " COLUMNS " FROM items WHERE hid = ?1 AND id = ?2",
	[W_DIR_BY_ID] = "SELECT ino, kind, flags & 1 FROM items WHERE hid = ?1 AND id = ?2",
	[W_ID_BY_NAME] = "SELECT id FROM items WHERE parent = ?1 AND name = ?2 AND parent > 0",
	[W_BY_NAME] =
		"SELECT " COLUMNS " FROM items WHERE parent = ?1 AND name = ?2 AND parent > 0",
	[W_INSERT] =
		"INSERT INTO items(" COLUMNS ", hid) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
		" ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
	[W_UPDATE] = "UPDATE items SET id = ?2, parent = ?3, pid = ?4, name = ?5, kind = ?6,"
		     " size = ?7, smtime = ?8, mtime = ?9, btime = ?10, mode = ?11, cid = ?12,"
		     " seq = ?13, flags = ?14, etag = ?15, ctag = ?16, hash = ?17, web_url = ?18,"
		     " hid = ?19 WHERE ino = ?1",
	/* What has no index: none is touched then. */
	[W_UPDATE_FACTS] = "UPDATE items SET kind = ?6, size = ?7, smtime = ?8, mtime = ?9,"
			   " btime = ?10, mode = ?11, cid = ?12, seq = ?13, flags = ?14,"
			   " etag = ?15, ctag = ?16, hash = ?17, web_url = ?18 WHERE ino = ?1",
	[W_DELETE] = "DELETE FROM items WHERE ino = ?1",
	[W_BUMP_DIR] = "UPDATE items SET mtime = mtime + 1 WHERE ino = ?1",
	[W_NEXT_CHILD] = "SELECT ino FROM items WHERE parent = ?1 AND ino > ?2"
			 " ORDER BY ino LIMIT 1",
	[W_ORPHANS] = "SELECT ino FROM items WHERE pid = ?1 AND parent = -1 AND ino > ?2"
		      " ORDER BY ino LIMIT 1",
	[W_KV_SET] = "INSERT OR REPLACE INTO kv VALUES(?1, ?2)",
	[W_KV_DELETE] = "DELETE FROM kv WHERE key = ?1",
	[W_TOMB_SET] = "INSERT OR REPLACE INTO tomb(id, seq, at) VALUES(?1, ?2, ?3)",
	[W_TOMB_GET] = "SELECT seq, at FROM tomb WHERE id = ?1",
	[W_TOMB_ANY] = "SELECT 1 FROM tomb LIMIT 1",
	[W_TOMB_DELETE] = "DELETE FROM tomb WHERE id = ?1",
	[W_TOMB_PRUNE] = "DELETE FROM tomb WHERE at < ?1 OR at > ?2"
			 " OR n <= (SELECT max(n) FROM tomb) - ?3",
	[W_SET_COMPLETE] = "UPDATE items SET flags = flags | 1 WHERE ino = ?1",
	[W_ALL_COMPLETE] = "UPDATE items SET flags = flags | 1 WHERE kind = 1 AND flags & 1 = 0",
	[W_STAGE_PUT] = "INSERT OR REPLACE INTO stage(id, pid, name, kind, size, mtime, btime,"
			" flags, etag, ctag, hash, web_url, state)"
			" VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
	[W_STAGE_NEXT] = "SELECT n, id FROM stage WHERE n > ?1 AND state = 0 AND flags & 1 = 0"
			 " ORDER BY n LIMIT 1",
	[W_STAGE_AGAIN] = "UPDATE stage SET state = 0 WHERE state = 3",
	[W_STAGE_GET] = "SELECT " STAGED ", state FROM stage WHERE id = ?1",
	[W_STAGE_GET_STATE] = "SELECT state, flags & 1 FROM stage WHERE id = ?1",
	[W_STAGE_STATE] = "UPDATE stage SET state = ?2 WHERE id = ?1",
	[W_STAGE_DEAD] = "SELECT n, id FROM stage WHERE n > ?1 AND flags & 1 AND state <> 2"
			 " ORDER BY n LIMIT 1",
	[W_FRESH_PUT] = "INSERT OR IGNORE INTO fresh VALUES(?1)",
	[W_FRESH_IS] = "SELECT 1 FROM fresh WHERE id = ?1",
	[W_FRESH_ASK] = "INSERT OR IGNORE INTO asked(id, ino, by_id) SELECT id, 0, id FROM fresh"
			" WHERE (?1 OR EXISTS (SELECT 1 FROM stage WHERE stage.id = fresh.id))",
	[W_FRESH_DONE] = "UPDATE stage SET state = 2 WHERE id IN (SELECT id FROM fresh)",
	/* As good as told deleted; size is the inode then. */
	[W_STAGE_UNSEEN] =
		"INSERT INTO stage(id, flags, state, size) SELECT id, 9, 0, ino"
		" FROM items WHERE ino > ?2 AND ino <= ?3 AND seq <= ?1 AND flags & 8 = 0"
		" AND NOT EXISTS (SELECT 1 FROM stage WHERE stage.id = items.id)",
	/* Others told of them since they were found missing. */
	[W_STAGE_YOUNG] = "DELETE FROM stage WHERE flags = 9 AND NOT coalesce("
			  "(SELECT seq <= ?1 FROM items WHERE ino = stage.size), 0)",
	[W_FORGET_COMPLETE] =
		"UPDATE items SET flags = flags & ~1 WHERE ino = ?1 AND flags & 8 = 0",
	[W_FORGET_ALL] = "UPDATE items SET flags = flags & ~1 WHERE kind = 1 AND flags & 8 = 0",
	[W_TOUCH_DIR] = "UPDATE items SET mtime = max(mtime + 1, ?2) WHERE ino = ?1",
	[W_NAMES] = "SELECT ino, name FROM items WHERE parent = ?1",
	[W_PENDING_GET] = "SELECT " PENDING " FROM pending WHERE ino = ?1",
	[W_PENDING_BY_ID] = "SELECT " PENDING " FROM pending WHERE hid = ?1 AND id = ?2",
	[W_PENDING_NEXT] = "SELECT " PENDING " FROM pending WHERE ino > ?1 ORDER BY ino LIMIT 1",
	[W_PENDING_IS] = "SELECT 1 FROM pending WHERE ino = ?1",
	[W_PENDING_PUT] = "INSERT OR REPLACE INTO pending(" PENDING ", hid) VALUES(?1, ?2, ?3, ?4,"
			  " ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
	[W_PENDING_DROP] = "DELETE FROM pending WHERE ino = ?1",
	[W_PENDING_PLACE] = "SELECT 1 FROM pending WHERE base_pid = ?1"
			    " AND base_name = ?2 COLLATE NOCASE AND ino <> ?3 LIMIT 1",
	[W_PENDING_RENUMBER] = "UPDATE pending SET ino = ?2 WHERE ino = ?1",
	[W_ASKED_PUT] = "INSERT OR REPLACE INTO asked(id, ino, by_id) VALUES(?1, ?2, ?3)",
	[W_ASKED_DROP] = "DELETE FROM asked WHERE id = ?1",
	[W_ASKED_NEXT] = "SELECT n, id, ino, by_id FROM asked WHERE n > ?1 ORDER BY n LIMIT 1",
	[W_ASKED_AFTER] =
		"INSERT OR REPLACE INTO asked(id, ino, by_id) SELECT ?3, asked.ino, asked.by_id"
		" FROM items JOIN asked ON asked.id = items.id"
		" WHERE parent = ?1 AND name = ?2 AND parent > 0",
	[W_PENDING_CHILD] = "SELECT 1 FROM pending WHERE base_pid = ?1 LIMIT 1",
};

static const char *const reader_sql[R_N] = {
	[R_GET] = "SELECT " ATTRIBUTES " FROM items WHERE ino = ?1",
	[R_LOOKUP] = "SELECT " ATTRIBUTES " FROM items WHERE parent = ?1 AND name = ?2"
		     " AND parent > 0",
	[R_META] = "SELECT " ATTRIBUTES ", id, name, etag, ctag, web_url, hash, flags FROM items"
		   " WHERE ino = ?1",
	[R_BY_ID] = "SELECT ino FROM items WHERE hid = ?1 AND id = ?2",
	[R_LIST] = "SELECT " ATTRIBUTES ", name FROM items WHERE parent = ?1 AND ino > ?2"
		   " ORDER BY ino",
	[R_KV] = "SELECT value FROM kv WHERE key = ?1",
	[R_PENDING] = "SELECT error, reason FROM pending WHERE ino = ?1",
};

/* Changes when what was committed is synced. */
#define KV_SYNCED "synced"
/* There while a process that wrote has the tree open. */
#define KV_IN_USE "in_use"

static int kv_write(struct tree *tree, const char *key, const char *value)
{
	sqlite3_stmt *s = tree->w[value ? W_KV_SET : W_KV_DELETE];

	db_text(s, 1, key);
	if (value)
		db_text(s, 2, value);
	return db_run(s);
}

/* --- open --- */

static int load_counter(struct tree *tree, const char *key, uint64_t *ret)
{
	auto_free char *text = NULL;
	int r = tree_kv_get(tree, key, &text);

	if (r == 0)
		*ret = strtoull(text, NULL, 10);
	return r == -ENOENT ? 0 : r;
}

static int load_tombs(struct tree *tree)
{
	sqlite3_stmt *s = tree->w[W_TOMB_ANY];
	int r = db_step(s);

	tree->has_tombs = r > 0;
	if (r > 0)
		(void)sqlite3_reset(s);
	return r < 0 ? r : 0;
}

static int load_pending(struct tree *tree)
{
	sqlite3_stmt *s;
	const char *sql = "SELECT count(*) FROM pending";
	int r = db_prepare(tree->db, &sql, 1, &s);

	if (r < 0)
		return r;
	r = db_step(s);
	if (r > 0)
		tree->pending_n = (uint64_t)sqlite3_column_int64(s, 0);
	db_finalize(&s, 1);
	return r < 0 ? r : 0;
}

static int make_epoch(struct tree *tree)
{
	unsigned char bytes[16];
	char text[33];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -EIO;
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	return tree_kv_set(tree, TREE_KV_EPOCH, text);
}

/* A new database gets its epoch and its drive; an old one must be of the same drive. */
static int check_drive(struct tree *tree, const char *drive_id)
{
	auto_free char *found = NULL, *epoch = NULL;
	int r = tree_kv_get(tree, "drive_id", &found);

	if (r == -ENOENT)
		r = tree_kv_set(tree, "drive_id", drive_id);
	else if (r == 0 && strcmp(found, drive_id) != 0)
		return -EXDEV;
	if (r == 0)
		r = tree_kv_get(tree, TREE_KV_EPOCH, &epoch);
	return r == -ENOENT ? make_epoch(tree) : r;
}

static int open_files(struct tree *tree, int dir_fd, const char *name)
{
	tree->dir_fd = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
	if (tree->dir_fd < 0)
		return -errno;
	/* The directory was checked by whoever opened it; this names it whatever happens to its
	 * path. */
	if (asprintf(&tree->path, "/proc/self/fd/%d/%s", tree->dir_fd, name) < 0)
		return -ENOMEM;
	return db_open(tree->path, schema, VERSION, WRITER_CACHE_KIB, &tree->db);
}

/* A database that nobody closed may have seen a power cut or a failing disk. */
static int check_sound(struct tree *tree)
{
	auto_free char *in_use = NULL;
	int r = tree_kv_get(tree, KV_IN_USE, &in_use);

	tree->is_marked = r == 0;
	if (r == 0)
		r = db_check(tree->db);
	return r == -ENOENT ? 0 : r;
}

/* Of SQLite, from time to time in a statement that takes long. */
static int on_progress(void *arg)
{
	struct tree *tree = arg;

	return tree->gives_up;
}

int tree_open(int dir_fd, const char *name, const char *drive_id, struct tree **ret)
{
	struct tree *tree = calloc(1, sizeof(*tree));
	uint64_t seq = 0, items_n = 1;
	int r;

	if (!tree)
		return -ENOMEM;
	tree->next_cid = 1;
	tree->next_ino = TREE_ROOT_INO + 1;
	r = open_files(tree, dir_fd, name);
	if (r == 0) {
		dbpool_init(&tree->readers, &(struct dbpool_options){ .path = tree->path,
								      .sql = reader_sql,
								      .sql_n = R_N,
								      .cache_kib = READER_CACHE_KIB,
								      .readers = READERS_MAX });
		tree->has_readers = true;
		r = db_prepare(tree->db, writer_sql, W_N, tree->w);
	}
	if (r == 0) {
		sqlite3_progress_handler(tree->db, PROGRESS_STEPS, on_progress, tree);
		r = check_drive(tree, drive_id);
	}
	if (r == 0)
		r = check_sound(tree);
	if (r == 0)
		r = load_counter(tree, "seq", &seq);
	if (r == 0)
		r = load_counter(tree, "items", &items_n);
	if (r == 0)
		r = load_counter(tree, "next_cid", &tree->next_cid);
	if (r == 0)
		r = load_counter(tree, "next_ino", &tree->next_ino);
	if (r == 0)
		r = load_pending(tree);
	if (r == 0)
		r = load_tombs(tree);
	if (r < 0) {
		tree_free(tree);
		return r;
	}
	tree->seq = seq;
	tree->items_n = items_n;
	tree->is_open = true;
	*ret = tree;
	return 0;
}

void tree_free(struct tree *tree)
{
	if (!tree)
		return;
	if (tree->has_readers)
		dbpool_fini(&tree->readers);
	if (tree->is_open && tree->is_marked && kv_write(tree, KV_IN_USE, NULL) < 0)
		log_warn("the next start will check the whole tree");
	db_finalize(tree->w, W_N);
	db_close(tree->db);
	tree_fold_free(tree);
	if (tree->dir_fd >= 0)
		close(tree->dir_fd);
	free(tree->path);
	free(tree);
}

int tree_discard(int dir_fd, const char *name)
{
	static const char *const suffixes[] = { "-wal", "-shm", "" };
	char file[NAME_MAX + 1];

	for (size_t i = 0; i < array_n(suffixes); i++) {
		if (snprintf(file, sizeof(file), "%s%s", name, suffixes[i]) >= (int)sizeof(file))
			return -ENAMETOOLONG;
		if (unlinkat(dir_fd, file, 0) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

void tree_set_guard(struct tree *tree, const struct tree_guard *guard)
{
	tree->guard = *guard;
}

void tree_give_up(struct tree *tree)
{
	tree->gives_up = true;
}

uint64_t tree_note(struct tree *tree)
{
	return tree->seq;
}

uint64_t tree_commits_n(const struct tree *tree)
{
	return tree->commits_n;
}

/* --- reading --- */

static void take_attr(sqlite3_stmt *s, struct tree_attr *ret)
{
	int64_t parent = sqlite3_column_int64(s, 1);

	*ret = (struct tree_attr){
		.ino = (uint64_t)sqlite3_column_int64(s, 0),
		.parent = parent > 0 ? (uint64_t)parent : 0,
		.kind = (enum tree_kind)sqlite3_column_int(s, 2),
		.size = (uint64_t)sqlite3_column_int64(s, 3),
		.mtime_ns = sqlite3_column_int64(s, 4),
		.btime_ns = sqlite3_column_int64(s, 5),
		.mode = (uint32_t)sqlite3_column_int(s, 6),
		.cid = (uint64_t)sqlite3_column_int64(s, 7),
		.seq = (uint64_t)sqlite3_column_int64(s, 8),
		.complete = sqlite3_column_int(s, 9) != 0,
	};
}

/* An orphan is in no directory: for the kernel it does not exist. */
static bool is_visible(sqlite3_stmt *s)
{
	return sqlite3_column_int64(s, 1) >= 0;
}

int tree_get(struct tree *tree, uint64_t ino, struct tree_attr *ret)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_GET];
	sqlite3_bind_int64(s, 1, (int64_t)ino);
	r = db_step(s);
	if (r > 0) {
		if (is_visible(s))
			take_attr(s, ret);
		else
			r = 0;
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	return r > 0 ? 0 : r == 0 ? -ENOENT : -EIO;
}

int tree_lookup(struct tree *tree, uint64_t parent, const char *name, struct tree_attr *ret)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_LOOKUP];
	sqlite3_bind_int64(s, 1, (int64_t)parent);
	db_text(s, 2, name);
	r = db_step(s);
	if (r > 0) {
		take_attr(s, ret);
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	return r > 0 ? 0 : r == 0 ? -ENOENT : -EIO;
}

void tree_meta_fini(struct tree_meta *m)
{
	free(m->id);
	free(m->drive_id);
	free(m->name);
	free(m->etag);
	free(m->ctag);
	free(m->web_url);
	*m = (struct tree_meta){ 0 };
}

int tree_get_meta(struct tree *tree, uint64_t ino, struct tree_meta *ret)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	struct tree_meta m = { 0 };
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_META];
	sqlite3_bind_int64(s, 1, (int64_t)ino);
	r = db_step(s);
	if (r > 0) {
		int flags = sqlite3_column_int(s, 16);

		take_attr(s, &m.attr);
		m.id = db_take_text(s, 10);
		m.name = db_take_text(s, 11);
		m.etag = db_take_text(s, 12);
		m.ctag = db_take_text(s, 13);
		m.web_url = db_take_text(s, 14);
		m.has_hash = sqlite3_column_bytes(s, 15) == (int)sizeof(m.hash);
		if (m.has_hash)
			memcpy(m.hash, sqlite3_column_blob(s, 15), sizeof(m.hash));
		m.malware = flags & 2;
		m.package = flags & 4;
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	if (r <= 0)
		return r == 0 ? -ENOENT : -EIO;
	if (!m.id || !m.name) {
		tree_meta_fini(&m);
		return -ENOMEM;
	}
	*ret = m;
	return 0;
}

int tree_find_id(struct tree *tree, const char *id, uint64_t *ret_ino)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_BY_ID];
	sqlite3_bind_int64(s, 1, tree_id_hash(id));
	db_text(s, 2, id);
	r = db_step(s);
	if (r > 0) {
		*ret_ino = (uint64_t)sqlite3_column_int64(s, 0);
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	return r > 0 ? 0 : r == 0 ? -ENOENT : -EIO;
}

int tree_path(struct tree *tree, uint64_t ino, char **ret)
{
	/* From the end to the beginning. */
	char path[PATH_MAX], *at = path + sizeof(path) - 1;

	*at = '\0';
	while (ino != TREE_ROOT_INO) {
		struct tree_meta m;
		size_t len;
		int r = ino ? tree_get_meta(tree, ino, &m) : -ENOENT;

		if (r < 0)
			return r;
		len = strlen(m.name);
		if (len + 1 > (size_t)(at - path)) {
			tree_meta_fini(&m);
			return -ENAMETOOLONG;
		}
		if (*at)
			*--at = '/';
		at -= len;
		memcpy(at, m.name, len);
		ino = m.attr.parent;
		tree_meta_fini(&m);
	}
	*ret = strdup(at);
	return *ret ? 0 : -ENOMEM;
}

int tree_list(struct tree *tree, uint64_t dir, uint64_t after, tree_list_fn fn, void *arg)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	sqlite3_stmt *s;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_LIST];
	sqlite3_bind_int64(s, 1, (int64_t)dir);
	sqlite3_bind_int64(s, 2, (int64_t)after);
	while ((r = db_step(s)) > 0) {
		struct tree_attr attr;

		take_attr(s, &attr);
		if (fn(arg, &attr, (const char *)sqlite3_column_text(s, 10)) != 0) {
			(void)sqlite3_reset(s);
			break;
		}
	}
	dbpool_put(&tree->readers, reader);
	return r < 0 ? -EIO : 0;
}

uint64_t tree_items_n(const struct tree *tree)
{
	return tree->items_n;
}

int tree_get_unsent(struct tree *tree, uint64_t ino, int *ret_error, char **ret_reason)
{
	struct dbpool_reader *reader;
	sqlite3_stmt *s;
	int r;

	if (tree->pending_n == 0)
		return -ENOENT;
	reader = dbpool_get(&tree->readers);
	if (!reader)
		return -EIO;
	s = reader->s[R_PENDING];
	sqlite3_bind_int64(s, 1, (int64_t)ino);
	r = db_step(s);
	if (r > 0) {
		*ret_error = sqlite3_column_int(s, 0);
		*ret_reason = db_take_text(s, 1);
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	return r > 0 ? 0 : r == 0 ? -ENOENT : -EIO;
}

int tree_sync(struct tree *tree)
{
	/* A commit that is synced takes all that came before it along: they are in one log. */
	int r = db_exec(tree->db, "PRAGMA synchronous = FULL");

	if (r == 0)
		r = tree_kv_set(tree, KV_SYNCED, tree->is_synced_odd ? "1" : "0");
	tree->is_synced_odd = !tree->is_synced_odd;
	if (db_exec(tree->db, "PRAGMA synchronous = NORMAL") < 0 && r == 0)
		r = -EIO;
	return r;
}

int tree_kv_get(struct tree *tree, const char *key, char **ret)
{
	struct dbpool_reader *reader = dbpool_get(&tree->readers);
	sqlite3_stmt *s;
	char *value = NULL;
	int r;

	if (!reader)
		return -EIO;
	s = reader->s[R_KV];
	db_text(s, 1, key);
	r = db_step(s);
	if (r > 0) {
		value = db_take_text(s, 0);
		(void)sqlite3_reset(s);
	}
	dbpool_put(&tree->readers, reader);
	if (r <= 0)
		return r == 0 ? -ENOENT : r;
	if (!value)
		return -ENOMEM;
	*ret = value;
	return 0;
}

int tree_mark(struct tree *tree)
{
	int r = tree->is_marked ? 0 : kv_write(tree, KV_IN_USE, "1");

	tree->is_marked |= r == 0;
	return r;
}

int tree_kv_set(struct tree *tree, const char *key, const char *value)
{
	int r = tree_mark(tree);

	return r < 0 ? r : kv_write(tree, key, value);
}

#include "reader.h"

#include "clock.h"
#include "mutex.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
	COMM_LEN = 15,    /* the kernel cuts names there */
	PATTERN_MAX = 64, /* of one name */
	WHO_NAMES = 16,
	SEEN_N = 256,
	SEEN_MS = 60000,
	NAMES_N = 16,
};

static const char *const class_names[READER_CLASSES] = {
	[READER_PERSON] = "person",   [READER_THUMBNAILER] = "thumbnailer",
	[READER_INDEXER] = "indexer", [READER_SCANNER] = "scanner",
	[READER_BACKUP] = "backup",
};

static const char *const policy_names[] = {
	[READER_ALLOW] = "allow",
	[READER_LOW] = "low",
	[READER_HEAD] = "head",
	[READER_CACHED] = "cached",
};

static const char *const known_names[READER_CLASSES] = {
	[READER_THUMBNAILER] = "tumblerd *thumbnail* *-thum*",
	[READER_INDEXER] = "tracker-miner* tracker-extract* localsearch* baloo_file* recollindex "
			   "updatedb updatedb.* *Tracker3.Miner*",
	[READER_SCANNER] = "clamd clamscan clamdscan clamonacc clamav-* wdavdaemon* savd savscand "
			   "kesl esets_*",
	[READER_BACKUP] = "restic borg borgmatic duplicity deja-dup* *DejaDup* duplicati* kopia "
			  "bup bupstash rdiff-backup rsnapshot backintime* vorta tarsnap "
			  "bacula-fd bareos-fd urbackup*",
};

const struct reader_rules reader_rules_default = {
	.policy = {
		[READER_THUMBNAILER] = READER_HEAD,
		[READER_INDEXER] = READER_HEAD,
		[READER_SCANNER] = READER_CACHED,
		[READER_BACKUP] = READER_LOW,
	},
};

/* What was seen of a process. */
struct seen {
	pid_t pid; /* 0: nothing */
	char comm[COMM_LEN + 1];
	enum reader_class class;
	uint64_t until_ms;
};

/* The name of a process, kept open: it is read for each file that the process opens. Once that
 * process has ended, it gives nothing more, whoever has its number then. */
struct name {
	pid_t pid; /* 0: none */
	int fd;
};

struct counts {
	atomic_uint_fast64_t opens_n, read_bytes, refused_n, refused_bytes;
};

struct reader {
	const struct reader_rules *rules;
	int proc_fd;
	struct counts counts[READER_CLASSES];
	struct mutex lock; /* MUTEX_RANK_READER; guards what follows */
	struct seen seen[SEEN_N];
	struct name names[NAMES_N];
};

/* --- rules --- */

static int set_names(char **names, const char *value)
{
	char *copy;

	for (const char *at = value; *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");

		if (len >= PATTERN_MAX)
			return -EINVAL;
		at += len;
	}
	copy = strdup(value);
	if (!copy)
		return -ENOMEM;
	free(*names);
	*names = copy;
	return 0;
}

static int set_policy(enum reader_policy *policy, const char *value)
{
	for (size_t i = 0; i < array_n(policy_names); i++) {
		if (strcmp(value, policy_names[i]) != 0)
			continue;
		*policy = (enum reader_policy)i;
		return 0;
	}
	return -EINVAL;
}

int reader_rules_set(struct reader_rules *rules, const char *key, const char *value)
{
	for (size_t i = 0; i < READER_CLASSES; i++) {
		size_t len = strlen(class_names[i]);

		if (strncmp(key, class_names[i], len) != 0)
			continue;
		if (strcmp(key + len, "_names") == 0)
			return set_names(&rules->names[i], value);
		if (key[len] == '\0' && i != READER_PERSON)
			return set_policy(&rules->policy[i], value);
	}
	return -ENOENT;
}

void reader_rules_fini(struct reader_rules *rules)
{
	for (size_t i = 0; i < READER_CLASSES; i++)
		free(rules->names[i]);
	*rules = (struct reader_rules){ 0 };
}

/* --- a process --- */

/* All names that a process goes by. The first is that of the kernel. */
struct who {
	char comm[COMM_LEN + 2];
	char exe[PATH_MAX];
	char cgroup[4096];
	const char *names[WHO_NAMES];
	size_t n;
};

static int open_text(const struct reader *reader, pid_t pid, const char *name)
{
	char path[32];

	snprintf(path, sizeof(path), "%d/%s", (int)pid, name);
	return openat(reader->proc_fd, path, O_RDONLY | O_CLOEXEC);
}

static int read_text(int fd, char *buf, size_t size)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, size - 1, 0);

	if (n < 0)
		return -errno;
	buf[n] = '\0';
	return 0;
}

static struct name *name_of(struct reader *reader, pid_t pid)
{
	return &reader->names[(unsigned)pid % NAMES_N];
}

static int read_kept_comm(struct reader *reader, pid_t pid, struct who *who)
{
	struct name *name = name_of(reader, pid);
	int r = -ENOENT;

	mutex_lock(&reader->lock);
	if (name->pid == pid)
		r = read_text(name->fd, who->comm, sizeof(who->comm));
	mutex_unlock(&reader->lock);
	return r;
}

static void keep_comm(struct reader *reader, pid_t pid, int fd)
{
	struct name *name = name_of(reader, pid);
	struct name old;

	mutex_lock(&reader->lock);
	old = *name;
	*name = (struct name){ pid, fd };
	mutex_unlock(&reader->lock);
	if (old.pid != 0)
		close(old.fd);
}

static int read_comm(struct reader *reader, pid_t pid, struct who *who)
{
	int r = read_kept_comm(reader, pid, who);

	if (r < 0) {
		auto_close int fd = open_text(reader, pid, "comm");

		r = read_text(fd, who->comm, sizeof(who->comm));
		if (r == 0)
			keep_comm(reader, pid, take_fd(&fd));
	}
	if (r == 0)
		who->comm[strcspn(who->comm, "\n")] = '\0';
	return r;
}

static void add_name(struct who *who, const char *name)
{
	if (who->n < WHO_NAMES)
		who->names[who->n++] = name;
}

static void cut_end(char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);

	if (len > end_len && strcmp(text + len - end_len, end) == 0)
		text[len - end_len] = '\0';
}

/* Only the owner of a process (and root) may see what it executes. */
static void add_exe(const struct reader *reader, pid_t pid, struct who *who)
{
	char path[32], *slash;
	ssize_t n;

	snprintf(path, sizeof(path), "%d/exe", (int)pid);
	n = readlinkat(reader->proc_fd, path, who->exe, sizeof(who->exe) - 1);
	if (n <= 0)
		return;
	who->exe[n] = '\0';
	cut_end(who->exe, " (deleted)");
	slash = strrchr(who->exe, '/');
	add_name(who, slash ? slash + 1 : who->exe);
}

/* Of its path in the hierarchy the systemd units, without the ends of their names. */
static void add_units(const struct reader *reader, pid_t pid, struct who *who)
{
	static const char *const ends[] = { ".service", ".scope" };
	auto_close int fd = open_text(reader, pid, "cgroup");
	char *save = NULL;

	if (read_text(fd, who->cgroup, sizeof(who->cgroup)) < 0)
		return;
	for (char *part = strtok_r(who->cgroup, "/\n", &save); part;
	     part = strtok_r(NULL, "/\n", &save)) {
		size_t len = strlen(part);

		for (size_t i = 0; i < array_n(ends); i++)
			cut_end(part, ends[i]);
		if (strlen(part) < len)
			add_name(who, part);
	}
}

static bool is_match(const char *pattern, const struct who *who)
{
	for (size_t i = 0; i < who->n; i++) {
		if (fnmatch(pattern, who->names[i], 0) == 0)
			return true;
	}
	return strlen(who->comm) == COMM_LEN && strncmp(pattern, who->comm, COMM_LEN) == 0;
}

static bool is_listed(const char *patterns, const struct who *who)
{
	for (const char *at = patterns; at && *at; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");
		char pattern[PATTERN_MAX];

		snprintf(pattern, sizeof(pattern), "%.*s", (int)len, at);
		if (len > 0 && is_match(pattern, who))
			return true;
		at += len;
	}
	return false;
}

static enum reader_class classify(const struct reader *reader, const struct who *who)
{
	const char *const *const lists[] = { (const char *const *)reader->rules->names,
					     known_names };

	for (size_t i = 0; i < array_n(lists); i++) {
		for (size_t class = 0; class < READER_CLASSES; class ++) {
			if (is_listed(lists[i][class], who))
				return (enum reader_class) class;
		}
	}
	return READER_PERSON;
}

enum reader_class reader_of(struct reader *reader, pid_t pid)
{
	struct seen *seen = &reader->seen[(unsigned)pid % SEEN_N];
	uint64_t now_ms = clock_mono_ms();
	enum reader_class class = READER_PERSON;
	struct who who;
	bool is_seen;

	if (pid <= 0 || read_comm(reader, pid, &who) < 0)
		return READER_PERSON;
	mutex_lock(&reader->lock);
	is_seen = seen->pid == pid && now_ms < seen->until_ms && strcmp(seen->comm, who.comm) == 0;
	if (is_seen)
		class = seen->class;
	mutex_unlock(&reader->lock);
	if (is_seen)
		return class;
	who.n = 0;
	add_name(&who, who.comm);
	add_exe(reader, pid, &who);
	add_units(reader, pid, &who);
	class = classify(reader, &who);
	mutex_lock(&reader->lock);
	*seen = (struct seen){ .pid = pid, .class = class, .until_ms = now_ms + SEEN_MS };
	snprintf(seen->comm, sizeof(seen->comm), "%s", who.comm);
	mutex_unlock(&reader->lock);
	return class;
}

/* --- life and counts --- */

int reader_new(const char *proc, const struct reader_rules *rules, struct reader **ret)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	reader->rules = rules;
	reader->proc_fd = open(proc, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	mutex_init(&reader->lock, MUTEX_RANK_READER);
	*ret = reader;
	return 0;
}

void reader_free(struct reader *reader)
{
	if (!reader)
		return;
	mutex_fini(&reader->lock);
	for (size_t i = 0; i < NAMES_N; i++) {
		if (reader->names[i].pid != 0)
			close(reader->names[i].fd);
	}
	if (reader->proc_fd >= 0)
		close(reader->proc_fd);
	free(reader);
}

enum reader_policy reader_policy_of(const struct reader *reader, enum reader_class class)
{
	return reader->rules->policy[class];
}

const char *reader_name(enum reader_class class)
{
	return class_names[class];
}

void reader_note_open(struct reader *reader, enum reader_class class)
{
	reader->counts[class].opens_n++;
}

void reader_note_read(struct reader *reader, enum reader_class class, uint64_t bytes)
{
	reader->counts[class].read_bytes += bytes;
}

void reader_note_refused(struct reader *reader, enum reader_class class, uint64_t size)
{
	reader->counts[class].refused_n++;
	reader->counts[class].refused_bytes += size;
}

void reader_get_stats(struct reader *reader, struct reader_stats ret[READER_CLASSES])
{
	for (size_t i = 0; i < READER_CLASSES; i++) {
		const struct counts *c = &reader->counts[i];

		ret[i] = (struct reader_stats){
			.opens_n = c->opens_n,
			.read_bytes = c->read_bytes,
			.refused_n = c->refused_n,
			.refused_bytes = c->refused_bytes,
		};
	}
}

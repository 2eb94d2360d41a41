/*
 * Who reads: a person, or a program that opens everything it comes across. Such programs are known
 * by their name, the name of their executable or their systemd unit, and get by default less than a
 * person does, so that browsing a folder does not download it.
 *
 * A process is looked at when it opens a file: only what the kernel answers without waiting for
 * the process (not its command line, which is in memory that may be mapped from this very mount).
 * What was seen of it is kept in a small table for a minute, while its name is the same; the name
 * itself is looked at each time, since a process that executes another program keeps its number.
 *
 * What is refused fails with ENODATA: no program takes that for something to wait for (EAGAIN,
 * EINTR, ETIMEDOUT), for the file's end or for a broken disk (EIO). A program that has mapped the
 * file gets SIGBUS instead.
 */
#pragma once

#include "mem.h"

#include <stdint.h>
#include <sys/types.h>

struct reader;

enum reader_class {
	READER_PERSON,
	READER_THUMBNAILER,
	READER_INDEXER,
	READER_SCANNER,
	READER_BACKUP,
	READER_CLASSES
};

enum reader_policy {
	READER_ALLOW,  /* as a person */
	READER_LOW,    /* everything, after all people; nothing ahead of it */
	READER_HEAD,   /* the file's first CONTENT_HEAD_BYTES, and what is cached */
	READER_CACHED, /* what is cached */
};

/* Constant while anybody uses them; the strings are owned. */
struct reader_rules {
	enum reader_policy policy[READER_CLASSES];
	/* Patterns as of fnmatch(3) with blanks between; NULL none. They go before the built-in
	 * ones. */
	char *names[READER_CLASSES];
};
extern const struct reader_rules reader_rules_default;
/*
 * One setting: "CLASS" is allow, low, head or cached (a person has no such setting), "CLASS_names"
 * is names[CLASS], in place of what an earlier line set. -ENOENT no such key, -EINVAL, -ENOMEM.
 */
must_check int reader_rules_set(struct reader_rules *rules, const char *key, const char *value);
void reader_rules_fini(struct reader_rules *rules);

/* proc: where the kernel tells of processes, "/proc"; without it everybody is a person. The rules
 * are borrowed. */
must_check int reader_new(const char *proc, const struct reader_rules *rules, struct reader **ret);
/* NULL-safe. */
void reader_free(struct reader *reader);

/* A thread or process by its number. A person where nothing can be seen of it, as for 0: a process
 * that this one's namespace does not hold. Any thread; a look into /proc. */
enum reader_class reader_of(struct reader *reader, pid_t pid);
enum reader_policy reader_policy_of(const struct reader *reader, enum reader_class class);
/* "person", "thumbnailer" ... */
const char *reader_name(enum reader_class class);

/* Counts since the start; refused: files of which some was refused, each open counts, and their
 * whole sizes: what would have been downloaded. */
struct reader_stats {
	uint64_t opens_n, read_bytes, refused_n, refused_bytes;
};
/* Any thread, as the next two. */
void reader_note_open(struct reader *reader, enum reader_class class);
void reader_note_read(struct reader *reader, enum reader_class class, uint64_t bytes);
/* Once for each open. */
void reader_note_refused(struct reader *reader, enum reader_class class, uint64_t size);
void reader_get_stats(struct reader *reader, struct reader_stats ret[READER_CLASSES]);

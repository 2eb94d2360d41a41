#include "replay.h"

#include "mutex.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

struct slot {
	pid_t tid; /* 0: free */
	const struct change *change;
};

struct replay {
	/* How many slots were ever used: most requests are answered by a look at this and the
	 * thread ids, without the lock. */
	atomic_uint used_n;
	_Atomic pid_t tids[REPLAY_THREADS_MAX];

	struct mutex lock; /* MUTEX_RANK_REPLAY; guards slots */
	struct slot slots[REPLAY_THREADS_MAX];
};

int replay_new(struct replay **ret)
{
	struct replay *replay = calloc(1, sizeof(*replay));

	if (!replay)
		return -ENOMEM;
	mutex_init(&replay->lock, MUTEX_RANK_REPLAY);
	*ret = replay;
	return 0;
}

void replay_free(struct replay *replay)
{
	if (!replay)
		return;
	mutex_fini(&replay->lock);
	free(replay);
}

static struct slot *find_locked(struct replay *replay, pid_t tid) REQUIRES(replay->lock);

static struct slot *find_locked(struct replay *replay, pid_t tid)
{
	for (size_t i = 0; i < REPLAY_THREADS_MAX; i++)
		if (replay->slots[i].tid == tid)
			return &replay->slots[i];
	return NULL;
}

void replay_begin(struct replay *replay, const struct change *change)
{
	pid_t tid = gettid();
	struct slot *slot;

	mutex_lock(&replay->lock);
	slot = find_locked(replay, tid);
	if (!slot) {
		slot = find_locked(replay, 0);
		if (slot) {
			slot->tid = tid;
			replay->tids[slot - replay->slots] = tid;
			replay->used_n++;
		}
	}
	if (slot)
		slot->change = change;
	mutex_unlock(&replay->lock);
}

void replay_end(struct replay *replay)
{
	struct slot *slot;

	mutex_lock(&replay->lock);
	slot = find_locked(replay, gettid());
	if (slot)
		slot->change = NULL;
	mutex_unlock(&replay->lock);
}

bool replay_is_ours(struct replay *replay, pid_t tid)
{
	for (size_t i = 0; i < replay->used_n && i < REPLAY_THREADS_MAX; i++)
		if (replay->tids[i] == tid)
			return true;
	return false;
}

static bool is_at(uint64_t dir, const char *name, uint64_t parent, const char *wanted)
{
	return dir == parent && name && strcmp(name, wanted) == 0;
}

static enum replay_answer answer(const struct change *c, uint64_t parent, const char *name)
{
	switch (c->kind) {
	case CHANGE_CREATE:
		return is_at(c->parent, c->name, parent, name) ? REPLAY_HIDDEN : REPLAY_NORMAL;
	case CHANGE_DELETE:
		return is_at(c->parent, c->name, parent, name) ? REPLAY_OLD : REPLAY_NORMAL;
	case CHANGE_MOVE:
		if (is_at(c->to_parent, c->to_name, parent, name))
			return REPLAY_HIDDEN;
		return is_at(c->parent, c->name, parent, name) ? REPLAY_OLD : REPLAY_NORMAL;
	case CHANGE_CONTENT:
	case CHANGE_ATTR:
	default:
		/* The tree may be further on already; this change's own inode is what is meant. */
		return is_at(c->parent, c->name, parent, name) ? REPLAY_OLD : REPLAY_NORMAL;
	}
}

enum replay_answer replay_lookup(struct replay *replay, pid_t tid, uint64_t parent,
				 const char *name, struct tree_attr *ret_attr)
{
	enum replay_answer a = REPLAY_NORMAL;
	struct slot *slot;

	mutex_lock(&replay->lock);
	slot = find_locked(replay, tid);
	if (slot && slot->change) {
		a = answer(slot->change, parent, name);
		if (a == REPLAY_OLD)
			*ret_attr = slot->change->attr;
	}
	mutex_unlock(&replay->lock);
	return a;
}

bool replay_get_attr(struct replay *replay, pid_t tid, struct tree_attr *ret)
{
	struct slot *slot;
	bool has;

	mutex_lock(&replay->lock);
	slot = find_locked(replay, tid);
	has = slot && slot->change;
	if (has)
		*ret = slot->change->attr;
	mutex_unlock(&replay->lock);
	return has;
}

/*
 * The pieces of an inner mount: private to tests/mount/inner*.c.
 */
#pragma once

#include "fetch.h"
#include "inner.h"
#include "source.h"

#include <pthread.h>
#include <stdatomic.h>

struct cache;
struct change_set;
struct content;
struct lane;
struct listing;
struct loop;

enum { INNER_ITEMS_MAX = 16384 };

struct inner_item {
	bool live, is_dir;
	int parent, version;
	char name[64];
	uint64_t size;
	int64_t mtime_s;
};

struct inner {
	char dir[64], mnt[80];
	int dir_fd, cache_fd;
	struct loop *loop;
	struct lane *lane;
	struct tree *tree;
	struct cache *cache;
	struct inodes *inodes;
	struct content *content;
	struct listing *listing;
	struct fs *fs;
	pthread_t loop_thread, fs_thread;
	atomic_bool is_ready;

	pthread_mutex_t lock; /* guards what the loop and the test thread share */
	struct inner_item items[INNER_ITEMS_MAX];
	graph_page_fn listing_fn; /* a listing that waits */
	void *listing_arg;

	/* Test thread, handed to the lane. */
	int items_n;
	int *changed;
	size_t changed_n;
	bool is_batch, is_holding;
	uint64_t unlisted;
	struct change_set *held;
};

/* inner_service.c: the table as a service. */
char inner_letter_of(int version);
struct fetch_source inner_fetch_source(struct inner *in);
struct source inner_source(struct inner *in);

/*
 * Intrusive doubly linked list. Headers only. A list is guarded by whatever guards its owner.
 * A node that is on no list points at itself, so list_del() may be called twice.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *l)
{
	l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_add_tail(struct list *head, struct list *node)
{
	node->prev = head->prev;
	node->next = head;
	head->prev->next = node;
	head->prev = node;
}

static inline void list_add_head(struct list *head, struct list *node)
{
	list_add_tail(head->next, node);
}

static inline void list_del(struct list *node)
{
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

/* Moves all of src to the end of dst; src is empty afterwards. */
static inline void list_splice_tail(struct list *dst, struct list *src)
{
	if (list_empty(src))
		return;
	src->next->prev = dst->prev;
	dst->prev->next = src->next;
	src->prev->next = dst;
	dst->prev = src->prev;
	list_init(src);
}

#define list_for_each(head, pos) \
	for (struct list *pos = (head)->next; pos != (head); pos = pos->next)

/* The body may remove pos, and nothing else, from the list. */
#define list_for_each_safe(head, pos)                                            \
	for (struct list *pos = (head)->next, *next_ = pos->next; pos != (head); \
	     pos = next_, next_ = pos->next)

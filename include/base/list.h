/* Intrusive doubly linked list. A link that is on no list points at itself, so list_remove
 * may be called twice. The list does not own its members. */
#ifndef PGUSHER_BASE_LIST_H
#define PGUSHER_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/mem.h"

struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *l)
{
	l->prev = l->next = l;
}

static inline bool list_is_empty(const struct list *l)
{
	return l->next == l;
}

static inline void list_push_back(struct list *l, struct list *link)
{
	link->prev = l->prev;
	link->next = l;
	l->prev->next = link;
	l->prev = link;
}

static inline void list_push_front(struct list *l, struct list *link)
{
	list_push_back(l->next, link);
}

static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

/* Unlinks and returns the first link, NULL when the list is empty. */
static inline struct list *list_pop_front(struct list *l)
{
	struct list *link = l->next;

	if (link == l)
		return NULL;
	list_remove(link);
	return link;
}

/* All links of `from` go behind those of l. */
static inline void list_move(struct list *l, struct list *from)
{
	struct list *link;

	while ((link = list_pop_front(from)) != NULL)
		list_push_back(l, link);
}

#define LIST_MEMBER(link, type, member) CONTAINER_OF(link, type, member)
#define LIST_FIRST(head, type, member)                                                             \
	(list_is_empty(head) ? NULL : LIST_MEMBER((head)->next, type, member))
/* The body may remove `link` itself, nothing else. */
#define LIST_FOREACH(link, head)                                                                   \
	for (struct list *link = (head)->next, *link##_next = link->next; link != (head);          \
	     link = link##_next, link##_next = link->next)

#endif

/* The queue between one producer and the writer: a ring of records, filled and emptied in place.
 *
 * The producer owns head, the writer tail; each only reads the other's, so neither ever waits.
 * Statements fill three quarters at most: a flood of them leaves room for what happens less often
 * and tells more. */
#include <string.h>

#include "audit_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

struct audit_queue *audit_queue_new(struct audit *audit, uint32_t events, uint32_t size)
{
	struct audit_queue *q = mem_zalloc(sizeof(*q));

	MUST((size & (size - 1)) == 0);
	OBJ_INIT(q, AUDIT_QUEUE_MAGIC);
	q->audit = audit;
	atomic_init(&q->events, events);
	q->size = size;
	q->records = mem_zalloc(size * sizeof(q->records[0]));
	return q;
}

void audit_queue_free(struct audit_queue **qp)
{
	struct audit_queue *q = *qp;

	*qp = NULL;
	OBJ_FINI(q, AUDIT_QUEUE_MAGIC);
	mem_free(q->records);
	mem_free(q);
}

bool audit_wants(const struct audit_queue *q, enum audit_event event)
{
	return q != NULL &&
	       (atomic_load_explicit(&q->events, memory_order_relaxed) & (1u << event)) != 0;
}

/* The writer's tail is read only when the one last seen leaves no room. */
static bool has_room(struct audit_queue *q, uint32_t head, uint32_t room)
{
	if (head - q->tail_seen < room)
		return true;
	q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
	return head - q->tail_seen < room;
}

struct audit_record *audit_begin(struct audit_queue *q, enum audit_event event)
{
	struct audit_record *r;
	uint32_t head, room;

	if (!audit_wants(q, event))
		return NULL;
	OBJ_CHECK(q, AUDIT_QUEUE_MAGIC);
	head = atomic_load_explicit(&q->head, memory_order_relaxed);
	room = event == AUDIT_STATEMENTS ? q->size / 4 * 3 : q->size;
	if (!has_room(q, head, room)) {
		atomic_fetch_add_explicit(&q->n_dropped, 1, memory_order_relaxed);
		return NULL;
	}
	r = &q->records[head & (q->size - 1)];
	*r = (struct audit_record){.wall_us = clock_wall_us(), .event = event};
	return r;
}

void audit_commit(struct audit_queue *q)
{
	uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);

	atomic_store_explicit(&q->head, head + 1, memory_order_release);
	audit_wake(q->audit);
}

const struct audit_record *audit_queue_look(struct audit_queue *q)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	if (tail == atomic_load_explicit(&q->head, memory_order_acquire))
		return NULL;
	return &q->records[tail & (q->size - 1)];
}

void audit_queue_drop(struct audit_queue *q)
{
	uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);

	atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
}

uint64_t audit_queue_dropped(struct audit_queue *q)
{
	uint64_t all = atomic_load_explicit(&q->n_dropped, memory_order_relaxed);
	uint64_t fresh = all - q->dropped_told;

	q->dropped_told = all;
	return fresh;
}

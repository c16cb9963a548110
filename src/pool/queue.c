/* The queue of those who wait for a server: one list a tenant, tenants taken in turn, so that
 * one tenant's flood costs only that tenant its own latency. A tenant's list exists while it
 * has members. The oldest waiter's time is shown to the other workers, who lend by it. */
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

static uint64_t tenant_hash(const char *tenant)
{
	return hash_bytes(tenant, strlen(tenant));
}

static struct tenant_queue *tenant_find(struct pool *pool, const char *tenant)
{
	struct map_node *node = map_find(&pool->by_tenant, tenant_hash(tenant));

	for (; node != NULL; node = map_find_next(node)) {
		struct tenant_queue *q = CONTAINER_OF(node, struct tenant_queue, node);

		if (strcmp(q->tenant, tenant) == 0)
			return q;
	}
	return NULL;
}

static struct tenant_queue *tenant_new(struct pool *pool, const char *tenant)
{
	struct tenant_queue *q = mem_zalloc(sizeof(*q));

	MUST(strlen(tenant) < sizeof(q->tenant));
	snprintf(q->tenant, sizeof(q->tenant), "%s", tenant);
	list_init(&q->waiters);
	list_push_back(&pool->tenants, &q->link);
	map_insert(&pool->by_tenant, &q->node, tenant_hash(tenant));
	return q;
}

static void show_oldest(struct pool *pool)
{
	const struct pool_waiter *w = LIST_FIRST(&pool->waiters, struct pool_waiter, in_pool);
	int64_t since_us = w != NULL ? w->since_us : 0;

	atomic_store_explicit(&pool->shared->oldest_us[pool->pools->env.worker], since_us,
	                      memory_order_seq_cst);
}

void queue_push(struct pool *pool, struct pool_waiter *w)
{
	struct tenant_queue *q = tenant_find(pool, w->tenant);

	MUST(w->queue == NULL);
	if (q == NULL)
		q = tenant_new(pool, w->tenant);
	w->queue = q;
	w->pool = pool;
	w->since_us = clock_mono_us();
	list_push_back(&q->waiters, &w->in_tenant);
	list_push_back(&pool->waiters, &w->in_pool);
	if (pool->n_waiters++ == 0)
		show_oldest(pool);
}

void queue_remove(struct pool_waiter *w)
{
	struct pool *pool = w->pool;
	struct tenant_queue *q = w->queue;
	bool was_oldest = pool->waiters.next == &w->in_pool;

	list_remove(&w->in_tenant);
	list_remove(&w->in_pool);
	w->queue = NULL;
	pool->n_waiters--;
	if (list_is_empty(&q->waiters)) {
		list_remove(&q->link);
		map_remove(&pool->by_tenant, &q->node);
		mem_free(q);
	}
	if (was_oldest)
		show_oldest(pool);
	if (pool->n_waiters == 0)
		pool_stop_starving(pool);
}

struct pool_waiter *queue_pop(struct pool *pool)
{
	struct tenant_queue *q = LIST_FIRST(&pool->tenants, struct tenant_queue, link);
	struct pool_waiter *w;

	if (q == NULL)
		return NULL;
	w = LIST_FIRST(&q->waiters, struct pool_waiter, in_tenant);
	list_remove(&q->link);
	list_push_back(&pool->tenants, &q->link);
	queue_remove(w);
	return w;
}

void queue_refuse_all(struct pool *pool, const struct wire_error *error)
{
	/* Those who come while we are at it are not in this round. */
	for (unsigned n = pool->n_waiters; n > 0; n--) {
		struct pool_waiter *w = queue_pop(pool);

		if (w == NULL)
			return;
		w->on_refused(w, error);
	}
}

void pool_waiter_init(struct pool_waiter *w)
{
	list_init(&w->in_tenant);
	list_init(&w->in_pool);
	w->queue = NULL;
	w->pool = NULL;
}

bool pool_is_waiting(const struct pool_waiter *w)
{
	return w->queue != NULL;
}

void pool_wait_end(struct pool_waiter *w)
{
	if (w->queue != NULL)
		queue_remove(w);
}

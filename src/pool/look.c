/* Pools as the console shows them. The numbers are the worker's own: who wants those of all workers
 * asks each on its own thread and adds them up. */
#include <string.h>

#include "pool_int.h"

const char *pool_database(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->shared->name;
}

const char *pool_node_name(struct server *server)
{
	return server_note(server)->node->name;
}

const char *pool_section(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->shared->section;
}

const char *pool_role(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->shared->role;
}

struct counters *pool_counters(struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return &pool->counters;
}

void pool_count_client(struct pool *pool, int change)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	pool->n_clients += (unsigned)change;
}

static enum server_use server_use(struct server *server)
{
	if (server_note(server)->cancelling)
		return SERVER_CANCELLING;
	return clean_is_at_work(server) ? SERVER_CLEANED : SERVER_ACTIVE;
}

static struct pool_info info_of(struct pool *pool)
{
	const struct pool_waiter *w = LIST_FIRST(&pool->waiters, struct pool_waiter, in_pool);
	struct pool_info info = {
		.id = pool->shared->home_id,
		.database = pool_database(pool),
		.dbname = pool->database != NULL
	                          ? conf_database_dbname(pool->database, pool->shared->name)
	                          : pool->shared->name,
		.user = pool->shared->role,
		.n_clients = pool->n_clients,
		.n_waiters = pool->n_waiters,
		.n_dialing = pool->n_dialing,
		.oldest_us = w != NULL ? w->since_us : 0,
		.counters = &pool->counters,
		.older = &pool->older,
		.is_paused = pool->is_paused,
	};

	LIST_FOREACH(link, &pool->idle) {
		info.n_idle++;
	}
	LIST_FOREACH(link, &pool->busy) {
		enum server_use use = server_use(server_of_link(link));

		info.n_active += use == SERVER_ACTIVE;
		info.n_cleaned += use == SERVER_CLEANED;
		info.n_cancelling += use == SERVER_CANCELLING;
	}
	return info;
}

void pools_each(struct pools *pools, void (*visit)(void *arg, const struct pool_info *info),
                void *arg)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct pool_info info;

		if (pools->pools[i] == NULL)
			continue;
		info = info_of(pools->pools[i]);
		visit(arg, &info);
	}
}

static struct server_info server_info_of(struct server *server, const struct pool_info *pool,
                                         enum server_use use)
{
	const struct server_note *note = server_note(server);

	return (struct server_info){
		.pool = pool,
		.server = server,
		.node = note->node->name,
		.port = note->node->port,
		.use = use,
		.opened_us = note->opened_us,
		.used_us = note->used_us,
		.close_needed = note->is_doomed || (note->taint & TAINT_DOUBT) || pool->is_paused ||
	                        note->opened_us <= pool_of(server)->reconnect_us ||
	                        pool_is_stale(pool_of(server), note),
	};
}

void pools_each_server(struct pools *pools,
                       void (*visit)(void *arg, const struct server_info *info), void *arg)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct pool *pool = pools->pools[i];
		struct pool_info info;
		struct server_info server;

		if (pool == NULL)
			continue;
		info = info_of(pool);
		LIST_FOREACH(link, &pool->busy) {
			server = server_info_of(server_of_link(link), &info,
			                        server_use(server_of_link(link)));
			visit(arg, &server);
		}
		LIST_FOREACH(link, &pool->idle) {
			server = server_info_of(server_of_link(link), &info, SERVER_IDLE);
			visit(arg, &server);
		}
	}
}

struct tenant_visit {
	void (*visit)(void *arg, const struct tenant_info *info);
	void *arg;
};

static void visit_tenant(struct map_node *node, void *arg)
{
	const struct tenant_queue *q = CONTAINER_OF(node, struct tenant_queue, node);
	const struct pool_waiter *w = LIST_FIRST(&q->waiters, struct pool_waiter, in_tenant);
	const struct tenant_visit *v = arg;
	struct tenant_info info = {
		.tenant = q->name,
		.n_clients = where_is_fixed(q->pool) ? 0 : q->n_users, /* each has one home */
		.n_active = q->n_leases,
		.n_waiters = q->n_waiters,
		.server_us = q->server_us,
		.oldest_us = w != NULL ? w->since_us : 0,
		.n_rejected = atomic_load_explicit(&q->shared->n_rejected, memory_order_relaxed),
	};

	v->visit(v->arg, &info);
}

void pools_each_tenant(struct pools *pools,
                       void (*visit)(void *arg, const struct tenant_info *info), void *arg)
{
	struct tenant_visit v = {visit, arg};

	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL)
			map_each(&pools->pools[i]->by_tenant, visit_tenant, &v);
	}
}

void pools_mark_stats(struct pools *pools)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct pool *pool = pools->pools[i];

		if (pool == NULL)
			continue;
		pool->older = pool->newer;
		pool->newer = pool->counters;
	}
}

int pools_shared_servers(struct pools_shared *shared, const char *database)
{
	int n = 0;

	MUST(pthread_mutex_lock(&shared->lock) == 0);
	for (unsigned i = 0; i < shared->n_pools; i++) {
		struct pool_shared *pool = shared->pools[i];

		if (database == NULL || strcmp(pool->name, database) == 0)
			n += atomic_load(&pool->n_servers);
	}
	MUST(pthread_mutex_unlock(&shared->lock) == 0);
	return n;
}

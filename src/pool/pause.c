/* PAUSE, RESUME and RECONNECT: which pools may have servers; DISABLE and ENABLE: which new clients.
 * Each worker keeps its own lists of names, so that nothing on the data path asks another thread;
 * the console tells every worker. Databases are known by name, because a pool may come (with its
 * first client) after the PAUSE, and because another configuration may take the place of the one at
 * hand. */
#include <string.h>

#include "pool_int.h"

struct paused_name {
	struct list link;
	char database[];
};

static struct paused_name *name_find(const struct list *names, const char *database)
{
	LIST_FOREACH(link, names) {
		struct paused_name *name = LIST_MEMBER(link, struct paused_name, link);

		if (strcmp(name->database, database) == 0)
			return name;
	}
	return NULL;
}

bool pause_has(const struct pools *pools, const char *database)
{
	return pools->is_paused || name_find(&pools->paused, database) != NULL;
}

static void name_add(struct list *names, const char *database)
{
	size_t size = strlen(database) + 1;
	struct paused_name *name;

	if (name_find(names, database) != NULL)
		return;
	name = mem_zalloc(sizeof(*name) + size);
	memcpy(name->database, database, size);
	list_push_back(names, &name->link);
}

static void name_free(struct paused_name *name)
{
	list_remove(&name->link);
	mem_free(name);
}

void pause_fini(struct pools *pools)
{
	while (!list_is_empty(&pools->paused))
		name_free(LIST_MEMBER(pools->paused.next, struct paused_name, link));
	while (!list_is_empty(&pools->disabled))
		name_free(LIST_MEMBER(pools->disabled.next, struct paused_name, link));
}

void pools_disable(struct pools *pools, const char *database, bool is_disabled)
{
	struct paused_name *name = name_find(&pools->disabled, database);

	OBJ_CHECK(pools, POOLS_MAGIC);
	if (is_disabled)
		name_add(&pools->disabled, database);
	else if (name != NULL)
		name_free(name);
}

bool pools_are_disabled(const struct pools *pools, const char *database)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	return name_find(&pools->disabled, database) != NULL;
}

bool pools_are_paused(const struct pools *pools, const char *database)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	return database != NULL ? pause_has(pools, database) : pools->is_paused;
}

static bool is_meant(const struct pool *pool, const char *database)
{
	return pool != NULL && (database == NULL || strcmp(pool_database(pool), database) == 0);
}

void pool_close_idle(struct pool *pool, enum close_reason reason)
{
	while (!list_is_empty(&pool->idle))
		pool_close(server_of_link(pool->idle.next), reason);
}

void pools_pause(struct pools *pools, const char *database)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	if (database == NULL)
		pools->is_paused = true;
	else
		name_add(&pools->paused, database);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (!is_meant(pools->pools[i], database))
			continue;
		/* All of them first: a closed server makes room for those who want one. */
		pools->pools[i]->is_paused = true;
		place_unwanted(pools->pools[i]);
	}
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (is_meant(pools->pools[i], database))
			pool_close_idle(pools->pools[i], CLOSE_SERVER_PAUSED);
	}
}

bool pools_resume(struct pools *pools, const char *database)
{
	struct paused_name *name = database != NULL ? name_find(&pools->paused, database) : NULL;

	OBJ_CHECK(pools, POOLS_MAGIC);
	if (database == NULL ? !pools->is_paused : name == NULL)
		return false;
	if (database == NULL)
		pools->is_paused = false;
	else
		name_free(name);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct pool *pool = pools->pools[i];

		if (!is_meant(pool, database))
			continue;
		pool->is_paused = pause_has(pools, pool_database(pool));
		if (!pool->is_paused && pool->n_wanted > 0)
			pool_want(pool);
	}
	return true;
}

void pools_reconnect(struct pools *pools, const char *database)
{
	int64_t now_us = clock_mono_us();

	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (!is_meant(pools->pools[i], database))
			continue;
		pools->pools[i]->reconnect_us = now_us;
		pool_close_idle(pools->pools[i], CLOSE_SERVER_RECONNECT);
	}
}

bool pool_is_paused(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->is_paused;
}

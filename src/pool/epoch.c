/* Schema epochs: a number for each database, another whenever a statement that was parsed before
 * may mean something else when it is parsed now (a table altered, a view replaced). Sessions keep
 * with a prepared statement the epoch that it was parsed in, so that what is prepared behind the
 * change does not get what was parsed before it. Relaxed atomics, any thread; databases that share
 * a slot cost each other a Parse. */
#include <string.h>

#include "pool_int.h"

static size_t slot(const struct pool *pool)
{
	const char *name = pool->database != NULL
	                           ? conf_database_dbname(pool->database, pool->shared->name)
	                           : pool->shared->name;

	return hash_bytes(name, strlen(name)) % EPOCH_SLOTS;
}

uint64_t pool_epoch(const struct pool *pool)
{
	return atomic_load_explicit(&pool->pools->env.shared->epochs[slot(pool)],
	                            memory_order_relaxed);
}

uint64_t pool_epoch_draw(struct pool *pool)
{
	return atomic_fetch_add_explicit(&pool->pools->env.shared->epochs_drawn, 1,
	                                 memory_order_relaxed) +
	       1;
}

void pool_epoch_begin(struct pool *pool)
{
	struct pools_shared *shared = pool->pools->env.shared;
	size_t i = slot(pool);

	atomic_store_explicit(&shared->epochs_begun[i], clock_mono_us(), memory_order_relaxed);
	atomic_store_explicit(&shared->epochs[i], pool_epoch_draw(pool), memory_order_relaxed);
}

int64_t pool_epoch_begun(const struct pool *pool)
{
	return atomic_load_explicit(&pool->pools->env.shared->epochs_begun[slot(pool)],
	                            memory_order_relaxed);
}

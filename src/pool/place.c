/* Places: how many connections a pool and a node may have, and which pool gets the next place on a
 * full node.
 *
 * A pool (of one worker) that wants a place and may not have one starves: it stands on the node's
 * list. The heir is the pool there that has the fewest connections, among equals the one that
 * starves longest. While there is one, no other pool takes a free place, unless it has fewer
 * still. A released server is closed for the heir though its own clients wait, where
 *
 *   its pool has at least two connections more than the heir: so places even out, and then stay
 *   or the heir has none at all (more pools than places): they take turns
 *
 * but not before it has been open for KEEP_US. An idle one is closed for the heir at once, unless
 * its place was contended when it was opened, or its pool has no more than the heir: then KEEP_US
 * must have passed, since it was opened or was used last. So the connections opened for such
 * changes are at most one a place in each KEEP_US.
 *
 * The order by which no wake-up is lost: who starves joins the list, then tries again; who frees a
 * place takes it off the count, then looks whether anybody starves (lend_slot_freed: all are told).
 * Who leaves the list, or is not first there any more, passes on what is still free. An heir must
 * act when it is told: who cannot (paused, failing logins, enough dials under way) leaves.
 *
 * The lists are under the registry's lock; that is taken only where places are short. */
#include <limits.h>

#include "pool_int.h"

/* A connection costs the server 2 to 10 ms: a tenth of this at most. */
#define KEEP_US (100 * US_PER_MS)

/* ---- who starves --------------------------------------------------------------------------- */

static int servers_of(const struct pool_shared *pool)
{
	return atomic_load(&pool->n_servers);
}

/* Under the lock. */
static void choose_heir(struct pool_node *node)
{
	const struct pool *best = NULL;
	int best_n = 0;

	LIST_FOREACH(link, &node->starving) {
		const struct pool *p = LIST_MEMBER(link, struct pool, in_starving);
		int n = servers_of(p->shared);

		if (best != NULL &&
		    (n > best_n ||
		     (n == best_n && p->starving_since_us >= best->starving_since_us)))
			continue;
		best = p;
		best_n = n;
	}
	atomic_store(&node->heir, best != NULL ? best->shared : NULL);
}

static bool is_full(const struct pool *pool, const struct pool_node *node)
{
	return atomic_load(&node->n_servers) >= pool->pools->env.conf->pgusher.max_server_conn;
}

static void join(struct pool *pool, struct pool_node *node)
{
	pthread_mutex_t *lock = &pool->pools->env.shared->lock;

	MUST(pthread_mutex_lock(lock) == 0);
	pool->starving_on = node;
	pool->starving_since_us = clock_mono_us();
	list_push_back(&node->starving, &pool->in_starving);
	atomic_fetch_add(&node->n_starving, 1);
	choose_heir(node);
	MUST(pthread_mutex_unlock(lock) == 0);
}

/* For good, or to the end of the line: it has got a place. */
static void leave(struct pool *pool, bool for_good)
{
	pthread_mutex_t *lock = &pool->pools->env.shared->lock;
	struct pool_node *node = pool->starving_on;

	if (node == NULL)
		return;
	MUST(pthread_mutex_lock(lock) == 0);
	pool->starving_since_us = clock_mono_us();
	if (for_good) {
		list_remove(&pool->in_starving);
		atomic_fetch_sub(&node->n_starving, 1);
		pool->starving_on = NULL;
	}
	choose_heir(node);
	MUST(pthread_mutex_unlock(lock) == 0);
	if (!is_full(pool, node))
		lend_slot_freed(pool, node);
}

static void set_full(struct pool *pool, bool is_full)
{
	if (pool->is_full != is_full)
		atomic_fetch_add(&pool->shared->n_full, is_full ? 1 : -1);
	pool->is_full = is_full;
}

void place_unwanted(struct pool *pool)
{
	leave(pool, true);
	set_full(pool, false);
}

/* ---- taking a place ------------------------------------------------------------------------ */

static bool take(_Atomic int *count, int max)
{
	int now = atomic_load(count);

	while (now < max) {
		if (atomic_compare_exchange_weak(count, &now, now + 1))
			return true;
	}
	return false;
}

enum reserved { RESERVED, RESERVED_POOL_FULL, RESERVED_NODE_FULL };

static bool is_anothers_turn(const struct pool *pool, const struct pool_node *node)
{
	const struct pool_shared *heir = atomic_load(&node->heir);

	return heir != NULL && heir != pool->shared && servers_of(pool->shared) >= servers_of(heir);
}

/* A place for one more connection, by pool_size and by the node's limit. */
static enum reserved reserve(struct pool *pool, struct pool_node *node, bool *is_contended)
{
	struct pools *pools = pool->pools;
	int max = pools->env.conf->pgusher.max_server_conn;
	int size = conf_pool_size(pools->env.conf, pool->database);

	size = size == 0 ? INT_MAX : size;
	*is_contended = pool->starving_on != NULL;
	if (servers_of(pool->shared) >= size)
		return RESERVED_POOL_FULL;
	if (is_anothers_turn(pool, node))
		return RESERVED_NODE_FULL;
	if (!take(&node->n_servers, max)) {
		*is_contended = true;
		if (!place_make_room(pools, node, pool->shared) || !take(&node->n_servers, max))
			return RESERVED_NODE_FULL;
	}
	if (take(&pool->shared->n_servers, size))
		return RESERVED;
	atomic_fetch_sub(&node->n_servers, 1);
	lend_slot_freed(pool, node);
	return RESERVED_POOL_FULL;
}

/* Shows that it wants a place. False: it did already. */
static bool starve(struct pool *pool, enum reserved why, struct pool_node *node)
{
	bool was_full = pool->is_full;

	set_full(pool, why == RESERVED_POOL_FULL);
	if (pool->is_full) {
		leave(pool, true);
		return !was_full;
	}
	if (pool->starving_on == node)
		return false;
	leave(pool, true);
	join(pool, node);
	return true;
}

bool place_find(struct pool *pool, struct pool_node *node, bool *is_contended)
{
	enum reserved got = reserve(pool, node, is_contended);

	if (got != RESERVED) {
		if (!starve(pool, got, node))
			return false;
		got = reserve(pool, node, is_contended);
	}
	if (got == RESERVED) {
		leave(pool, false);
		return true;
	}
	if (got == RESERVED_POOL_FULL)
		lend_borrow(pool);
	else
		lend_ask(pool);
	return false;
}

/* ---- giving one away ----------------------------------------------------------------------- */

/* NULL: nobody else wants it, or there is a free one for him already. */
static const struct pool_shared *heir_of(struct server *server)
{
	const struct pool *pool = pool_of(server);
	const struct pool_node *node = server_note(server)->node;
	const struct pool_shared *heir = atomic_load_explicit(&node->heir, memory_order_relaxed);

	return heir != NULL && heir != pool->shared && is_full(pool, node) ? heir : NULL;
}

bool place_gives_way(struct server *server)
{
	const struct pool_shared *heir = heir_of(server);
	int n;

	if (heir == NULL || server_note(server)->opened_us + KEEP_US > clock_mono_us())
		return false;
	n = servers_of(heir);
	return n == 0 || n + 2 <= servers_of(pool_of(server)->shared);
}

/* From when on an idle server may be closed for a pool of n connections. */
static int64_t spare_at_us(struct server *server, int n)
{
	const struct server_note *note = server_note(server);
	int64_t at_us = note->opened_us + (note->is_contended ? KEEP_US : 0);
	int64_t unused_us = note->used_us + KEEP_US;

	if (servers_of(pool_of(server)->shared) <= n && unused_us > at_us)
		at_us = unused_us;
	return at_us;
}

static void look_later(struct pools *pools, int64_t at_us, int64_t now_us)
{
	int64_t delay_us = at_us > now_us ? at_us - now_us : 0;

	if (at_us != INT64_MAX && !timer_is_armed(&pools->keep))
		timer_arm(pools->env.timers, &pools->keep, delay_us);
}

bool place_is_spare(struct server *server)
{
	const struct pool_shared *heir = heir_of(server);
	int64_t now_us, at_us;

	if (heir == NULL)
		return false;
	now_us = clock_mono_us();
	at_us = spare_at_us(server, servers_of(heir));
	if (at_us <= now_us)
		return true;
	look_later(pool_of(server)->pools, at_us, now_us);
	return false;
}

static struct server *last_idle(const struct pool *pool)
{
	return pool == NULL || list_is_empty(&pool->idle) ? NULL : server_of_link(pool->idle.prev);
}

bool place_make_room(struct pools *pools, const struct pool_node *node,
                     const struct pool_shared *heir)
{
	int64_t now_us = clock_mono_us(), later_us = INT64_MAX;
	struct server *oldest = NULL;

	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct server *server = last_idle(pools->pools[i]);
		int64_t at_us;

		if (server == NULL || server_note(server)->node != node)
			continue;
		/* One of its own that could not be lent is of no use to it. */
		at_us = heir != NULL && heir != pools->pools[i]->shared
		                ? spare_at_us(server, servers_of(heir))
		                : now_us;
		if (at_us > now_us)
			later_us = at_us < later_us ? at_us : later_us;
		else if (oldest == NULL ||
		         server_note(server)->used_us < server_note(oldest)->used_us)
			oldest = server;
	}
	if (oldest == NULL) {
		look_later(pools, later_us, now_us);
		return false;
	}
	pool_close(oldest, CLOSE_SERVER_EVICTED);
	return true;
}

/* Idle servers that could not be closed for an heir yet. */
void place_look(struct timer *timer)
{
	struct pools *pools = CONTAINER_OF(timer, struct pools, keep);
	int64_t now_us = clock_mono_us(), later_us = INT64_MAX;

	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct server *server = last_idle(pools->pools[i]);
		const struct pool_shared *heir = server != NULL ? heir_of(server) : NULL;
		int64_t at_us;

		if (heir == NULL)
			continue;
		at_us = spare_at_us(server, servers_of(heir));
		if (at_us <= now_us)
			pool_close(server, CLOSE_SERVER_EVICTED);
		else
			later_us = at_us < later_us ? at_us : later_us;
	}
	look_later(pools, later_us, now_us);
}

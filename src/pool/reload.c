/* Another configuration takes the place of the one at hand. Pools and nodes are known by name and
 * stay; what they mean is looked up again by each worker when the configuration comes to it, by
 * mail, so for a moment two workers may work by two configurations. A server carries the
 * generation of the one that opened it, and pool_shared.valid_from says from which on the login
 * is today's: so a server that is lent across that moment is closed all the same. */
#include <openssl/crypto.h>
#include <string.h>

#include "pool_int.h"

/* ---- nodes ------------------------------------------------------------------------------- */

/* Under the registry's lock; NULL: no configuration before this one had it. */
static struct pool_node *node_find(const struct pools_shared *shared, const struct conf_node *conf)
{
	for (size_t i = 0; i < shared->n_nodes; i++) {
		struct pool_node *node = shared->nodes[i];

		if (node->port == conf->port && strcmp(node->name, conf->name) == 0 &&
		    strcmp(node->host, conf->host) == 0)
			return node;
	}
	return NULL;
}

static struct pool_node *node_get(struct pools_shared *shared, const struct conf_node *conf)
{
	struct pool_node *node = node_find(shared, conf);

	if (node != NULL)
		return node;
	node = mem_zalloc(sizeof(*node));
	node->name = mem_strdup(conf->name);
	node->host = mem_strdup(conf->host);
	node->port = conf->port;
	list_init(&node->starving);
	shared->nodes = mem_realloc(shared->nodes, (shared->n_nodes + 1) * sizeof(node));
	shared->nodes[shared->n_nodes++] = node;
	return node;
}

struct pool_node **nodes_of(struct pools_shared *shared, const struct conf *conf)
{
	struct pool_node **nodes = mem_zalloc((conf->n_nodes + 1) * sizeof(struct pool_node *));

	MUST(pthread_mutex_lock(&shared->lock) == 0);
	for (size_t i = 0; i < conf->n_nodes; i++)
		nodes[i] = node_get(shared, &conf->nodes[i]);
	MUST(pthread_mutex_unlock(&shared->lock) == 0);
	return nodes;
}

int pools_shared_node_servers(struct pools_shared *shared, const struct conf_node *node)
{
	const struct pool_node *found;
	int n;

	MUST(pthread_mutex_lock(&shared->lock) == 0);
	found = node_find(shared, node);
	n = found != NULL ? atomic_load(&found->n_servers) : 0;
	MUST(pthread_mutex_unlock(&shared->lock) == 0);
	return n;
}

void nodes_fini(struct pools_shared *shared)
{
	for (size_t i = 0; i < shared->n_nodes; i++) {
		mem_free(shared->nodes[i]->name);
		mem_free(shared->nodes[i]->host);
		mem_free(shared->nodes[i]);
	}
	mem_free(shared->nodes);
}

/* ---- what a pool is for ------------------------------------------------------------------ */

/* The section of this name, not the one that would stand in for it. NULL also where [database *]
 * calls it otherwise now. */
static const struct conf_database *find_database(const struct conf *conf,
                                                 const struct pool_shared *pool)
{
	const struct conf_database *db = conf_find_database(conf, pool->section);

	if (db == NULL || strcmp(db->name, pool->section) != 0)
		return NULL;
	if (strcmp(db->name, "*") == 0 &&
	    strcmp(conf_database_dbname(db, pool->name), pool->name) != 0)
		return NULL;
	return db;
}

void pool_resolve(struct pool *pool)
{
	const struct conf *conf = pool->pools->env.conf;

	pool->database = find_database(conf, pool->shared);
	pool->role = conf_find_role(conf, pool->shared->role);
	where_resolve(pool);
}

bool pool_is_gone(const struct pool *pool)
{
	return pool->database == NULL || pool->role == NULL ||
	       (where_is_fixed(pool) && pool->where == NULL);
}

bool pool_lost_database(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->database == NULL;
}

bool pool_lost_role(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	return pool->role == NULL;
}

bool pool_is_stale(const struct pool *pool, const struct server_note *note)
{
	return note->generation <
	       atomic_load_explicit(&pool->shared->valid_from, memory_order_relaxed);
}

static bool node_is_over(const struct pools *pools, const struct pool_node *node)
{
	return atomic_load_explicit(&node->n_servers, memory_order_relaxed) >
	       pools->env.conf->pgusher.max_server_conn;
}

static bool size_is_over(const struct pool *pool)
{
	int size = pool_is_gone(pool) ? 0 : conf_pool_size(pool->pools->env.conf, pool->database);

	return size > 0 &&
	       atomic_load_explicit(&pool->shared->n_servers, memory_order_relaxed) > size;
}

bool pool_is_over(const struct pool *pool, const struct pool_node *node)
{
	return node_is_over(pool->pools, node) || size_is_over(pool);
}

/* ---- the change -------------------------------------------------------------------------- */

static bool same_password(const struct conf_role *a, const struct conf_role *b)
{
	size_t len = strlen(a->password);

	return strlen(b->password) == len && CRYPTO_memcmp(a->password, b->password, len) == 0;
}

bool node_is_same(const struct conf_node *a, const struct conf_node *b)
{
	return a->port == b->port && a->role == b->role && strcmp(a->name, b->name) == 0 &&
	       strcmp(a->host, b->host) == 0;
}

static bool has_node(const struct conf_database *db, const struct conf_node *node)
{
	for (size_t i = 0; i < db->n_nodes; i++) {
		if (node_is_same(db->nodes[i], node))
			return true;
	}
	return false;
}

/* What of a configuration that goes the pool was for. */
struct login {
	const struct conf_database *database;
	const struct conf_role *role;
	const struct conf_node *where;
};

/* A server of the old one's is as good as one that would be opened now. More nodes are no reason to
 * close any. */
static bool same_login(const struct login *old, const struct pool *pool)
{
	if (strcmp(old->database->dbname, pool->database->dbname) != 0 ||
	    !same_password(old->role, pool->role))
		return false;
	if (old->where != NULL)
		return has_node(pool->database, old->where);
	for (size_t i = 0; i < old->database->n_nodes; i++) {
		if (!has_node(pool->database, old->database->nodes[i]))
			return false;
	}
	return true;
}

static void invalidate(struct pool *pool)
{
	uint64_t now = pool->pools->env.conf->generation;
	uint64_t from = atomic_load(&pool->shared->valid_from);

	while (from < now && !atomic_compare_exchange_weak(&pool->shared->valid_from, &from, now))
		;
	pool_close_idle(pool, CLOSE_SERVER_RECONNECT);
	/* The reason to wait may be gone. */
	pool_forget_failure(pool);
}

/* Of those that are there; a worker that has no such pool has no such server. */
static void pool_change(struct pool *pool)
{
	const struct login old = {pool->database, pool->role, pool->where};
	bool was_gone = pool_is_gone(pool);
	struct wire_error error;

	pool_resolve(pool);
	/* It was looked for on a node of the old list. */
	place_unwanted(pool);
	if (!was_gone && (pool_is_gone(pool) || !same_login(&old, pool)))
		invalidate(pool);
	/* Sessions take the configuration after us: who waits must not be told now. */
	if (pool->n_waiters > 0 && where_is_lost(pool, &error))
		timer_arm(pool->pools->env.timers, &pool->retry, 0);
}

static void shed(struct pools *pools)
{
	for (size_t i = 0; i < pools->env.conf->n_nodes; i++) {
		while (node_is_over(pools, pools->nodes[i]) &&
		       place_make_room(pools, pools->nodes[i], NULL))
			;
	}
	for (unsigned i = 0; i < pools->n_pools; i++) {
		struct pool *pool = pools->pools[i];

		while (pool != NULL && size_is_over(pool) && !list_is_empty(&pool->idle))
			pool_close(server_of_link(pool->idle.prev), CLOSE_SERVER_EVICTED);
	}
}

void pools_set_conf(struct pools *pools, struct conf *conf)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	pools->env.conf = conf;
	mem_free(pools->nodes);
	pools->nodes = nodes_of(pools->env.shared, conf);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL)
			pool_change(pools->pools[i]);
	}
	shed(pools);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL && pools->pools[i]->n_waiters > 0)
			pool_want(pools->pools[i]);
	}
	/* Who waits for his tenant's limit is served behind this: sessions take the configuration
	 * after us. */
	timer_cancel(pools->env.timers, &pools->sweep);
	timer_arm(pools->env.timers, &pools->sweep, 0);
}

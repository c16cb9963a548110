/* Where a pool's servers are: at the primary, wherever that is, or at one node.
 *
 * Roles are asked, not configured. The candidates for the primary are the database's nodes with
 * role = auto, in order; one that turns out to be a standby or does not answer makes the next one
 * the candidate, for all workers. A pool at one node (pool_at) takes standbys only, or whatever an
 * analytics node is; when its node is promoted, its servers are closed as soon as they are free. */
#include <string.h>

#include "pool_int.h"

/* Where the primary is looked for: an analytics node never is one, and conf has checked that there
 * is another. The index may come from a configuration with another list. */
const struct conf_node *pool_candidate(const struct pool *pool)
{
	const struct conf_database *database = pool->database;
	size_t at = atomic_load(&pool->shared->node), n = database->n_nodes;

	if (where_is_fixed(pool))
		return pool->where;
	MUST(n > 0);
	for (size_t i = 0; i < n; i++, at++) {
		if (database->nodes[at % n]->role == CONF_NODE_AUTO)
			break;
	}
	return database->nodes[at % n];
}

struct pool_node *pool_node(const struct pool *pool)
{
	const struct pools *pools = pool->pools;

	return pools->nodes[pool_candidate(pool) - pools->env.conf->nodes];
}

/* Makes the next node the candidate, unless another worker did already. */
void where_next(struct pool *pool, const struct conf_node *failed)
{
	const struct conf_database *database = pool->database;
	unsigned at = atomic_load(&pool->shared->node), next = 0;
	unsigned n = (unsigned)database->n_nodes;

	MUST(n > 0);
	if (where_is_fixed(pool) || pool_candidate(pool) != failed)
		return;
	while (database->nodes[next] != failed)
		next++;
	do
		next = (next + 1) % n;
	while (database->nodes[next]->role != CONF_NODE_AUTO);
	atomic_compare_exchange_strong(&pool->shared->node, &at, next);
}

void where_resolve(struct pool *pool)
{
	const struct conf_database *database = pool->database;

	pool->where = NULL;
	for (size_t i = 0; database != NULL && i < database->n_nodes; i++) {
		if (strcmp(database->nodes[i]->name, pool->shared->where) == 0)
			pool->where = database->nodes[i];
	}
	/* By index in another list. */
	MEM_FREE(&pool->at);
	pool->n_at = 0;
}

const char *where_objection(const struct pool *pool, const struct conf_node *node, bool is_standby)
{
	if (!where_is_fixed(pool))
		return is_standby ? "it is a standby, not the primary" : NULL;
	if (node->role == CONF_NODE_ANALYTICS || is_standby)
		return NULL;
	return "it is a primary, not a standby";
}

/* PostgreSQL reports in_hot_standby since version 14: a promotion with the first transaction behind
 * it. What an older one is was asked when it was opened. */
bool where_is_wrong(struct server *server)
{
	const struct pool *pool = pool_of(server);

	if (!where_is_fixed(pool))
		return server_is_standby(server);
	return pool->where != NULL && pool->where->role != CONF_NODE_ANALYTICS &&
	       server_was_promoted(server);
}

bool where_is_lost(const struct pool *pool, struct wire_error *error)
{
	if (!where_is_fixed(pool) || !pool_is_gone(pool))
		return false;
	*error =
		(struct wire_error){.severity = "ERROR",
	                            .sqlstate = SQLSTATE_CANNOT_CONNECT_NOW,
	                            .message = "the node was removed from PgUsher's configuration"};
	return true;
}

/* Where a pool's servers are: at the primary, wherever that is, or at one node.
 *
 * Roles are asked, not configured. Where the probe measures, env.fresh says who the primary is, and
 * pools follow: its servers are the only ones that are used, those on another node are closed as
 * soon as they are free. Where it does not, or the primary does not answer it, the primary is
 * looked for by trying: the candidates are the database's nodes with role = auto, in order; one
 * that turns out to be a standby or does not answer makes the next one the candidate, for all
 * workers.
 *
 * Of several nodes that say they are the primary the one with the highest timeline counts. The
 * others are fenced: never tried, though that one be silent, because it may have what they have
 * not. Where two have the same timeline nobody can say which one counts, and no server is used at
 * all.
 *
 * A pool at one node (pool_at) takes standbys only, or whatever an analytics node is; when its node
 * is promoted, its servers are closed as soon as they are free. */
#include <string.h>

#include "pool_int.h"

/* ---- what the probe says ------------------------------------------------------------------- */

static const struct fresh *fresh_of(const struct pool *pool)
{
	return pool->pools->env.fresh;
}

/* Whom the probe takes for the primary, whether it answers or not; NULL: nobody so far. */
static const struct conf_node *elected(const struct pool *pool)
{
	int path = pool->path == FRESH_NO_PATH
	                   ? FRESH_NO_PATH
	                   : fresh_primary(fresh_of(pool), (size_t)pool->path, NULL);

	return path == FRESH_NO_PATH ? NULL : pool->database->nodes[path - pool->path];
}

static struct pool_node *node_of(const struct pool *pool, const struct conf_node *node)
{
	const struct pools *pools = pool->pools;

	return pools->nodes[node - pools->env.conf->nodes];
}

static bool is_silent(const struct pool *pool, const struct conf_node *node)
{
	size_t i = 0;

	while (pool->database->nodes[i] != node)
		i++;
	return fresh_fault(fresh_of(pool), (size_t)pool->path + i) == FRESH_DOWN;
}

/* It is not the primary, whatever it says. */
static bool is_fenced(const struct pool *pool, const struct pool_node *node)
{
	const struct conf_node *primary = elected(pool);

	if (primary == NULL || node_of(pool, primary) == node)
		return false;
	if (!is_silent(pool, primary))
		return true;
	for (size_t i = 0; i < pool->database->n_nodes; i++) {
		if (node_of(pool, pool->database->nodes[i]) == node)
			return fresh_role(fresh_of(pool), (size_t)pool->path + i) == FRESH_PRIMARY;
	}
	return false;
}

bool where_is_undecided(const struct pool *pool)
{
	return !where_is_fixed(pool) && pool->path != FRESH_NO_PATH &&
	       fresh_is_undecided(fresh_of(pool), (size_t)pool->path);
}

bool where_is_unsettled(const struct pool *pool)
{
	return !where_is_fixed(pool) && pool->path != FRESH_NO_PATH &&
	       fresh_is_unsettled(fresh_of(pool), (size_t)pool->path);
}

bool where_lacks_primary(const struct pool *pool, struct wire_error *error)
{
	const struct conf_node *primary;

	if (where_is_undecided(pool)) {
		*error = (struct wire_error){
			.severity = "ERROR",
			.sqlstate = SQLSTATE_CANNOT_CONNECT_NOW,
			.message = "two servers say that they are the primary",
			.detail = "They are on the same timeline: nobody can say which one counts.",
			.hint = "An operator must stop one of them, or make it a standby of the "
				"other: see SHOW NODES on PgUsher's console."};
		return true;
	}
	primary = where_is_fixed(pool) ? NULL : elected(pool);
	/* With a server it has been found by trying. */
	if (primary == NULL || !is_silent(pool, primary) || atomic_load(&pool->shared->n_alive) > 0)
		return false;
	*error = (struct wire_error){
		.severity = "ERROR",
		.sqlstate = SQLSTATE_CANNOT_CONNECT_NOW,
		.message = "there is no primary to send this to",
		.detail = pool->message[0] != '\0' ? pool->message : NULL,
		.hint = "Statements go on when the primary is back, or another node is promoted: "
			"see SHOW NODES on PgUsher's console."};
	return true;
}

/* ---- which node ---------------------------------------------------------------------------- */

/* An analytics node never is the primary. */
static bool may_be_primary(const struct pool *pool, const struct conf_node *node)
{
	return node->role == CONF_NODE_AUTO && !is_fenced(pool, node_of(pool, node));
}

/* conf has checked that a database has a node with role = auto. The index may come from a
 * configuration with another list. */
const struct conf_node *pool_candidate(const struct pool *pool)
{
	const struct conf_database *database = pool->database;
	const struct conf_node *primary;
	size_t at = atomic_load(&pool->shared->node), n = database->n_nodes;

	if (where_is_fixed(pool))
		return pool->where;
	primary = elected(pool);
	if (primary != NULL && !is_silent(pool, primary))
		return primary;
	MUST(n > 0);
	for (size_t i = 0; i < n; i++, at++) {
		if (may_be_primary(pool, database->nodes[at % n]))
			break;
	}
	return database->nodes[at % n];
}

struct pool_node *pool_node(const struct pool *pool)
{
	return node_of(pool, pool_candidate(pool));
}

/* Makes the next node the candidate, unless another worker did already. */
void where_next(struct pool *pool, const struct conf_node *failed)
{
	const struct conf_database *database = pool->database;
	unsigned at = atomic_load(&pool->shared->node), next = 0, tries = 0;
	unsigned n = (unsigned)database->n_nodes;

	MUST(n > 0);
	if (where_is_fixed(pool) || pool_candidate(pool) != failed)
		return;
	while (database->nodes[next] != failed)
		next++;
	do
		next = (next + 1) % n;
	while (!may_be_primary(pool, database->nodes[next]) && ++tries < n);
	atomic_compare_exchange_strong(&pool->shared->node, &at, next);
}

/* ---- what the configuration says ----------------------------------------------------------- */

/* The probe measures what it began with: another list of nodes is unknown to it. */
static int find_path(const struct pool *pool)
{
	const struct fresh *fresh = fresh_of(pool);
	size_t n = pool->database != NULL && fresh != NULL ? fresh_count(fresh) : 0, first = 0;
	const struct conf_database *measured;

	while (first < n && strcmp(fresh_database(fresh, first)->name, pool->shared->section) != 0)
		first += fresh_database(fresh, first)->n_nodes;
	if (first >= n)
		return FRESH_NO_PATH;
	measured = fresh_database(fresh, first);
	if (measured->n_nodes != pool->database->n_nodes)
		return FRESH_NO_PATH;
	for (size_t i = 0; i < measured->n_nodes; i++) {
		if (!node_is_same(measured->nodes[i], pool->database->nodes[i]))
			return FRESH_NO_PATH;
	}
	return (int)first;
}

void where_resolve(struct pool *pool)
{
	const struct conf_database *database = pool->database;

	pool->where = NULL;
	pool->path = find_path(pool);
	for (size_t i = 0; database != NULL && where_is_fixed(pool) && i < database->n_nodes; i++) {
		if (strcmp(database->nodes[i]->name, pool->shared->where) != 0)
			continue;
		pool->where = database->nodes[i];
		pool->path += pool->path != FRESH_NO_PATH ? (int)i : 0;
	}
	/* By index in another list. */
	MEM_FREE(&pool->at);
	pool->n_at = 0;
}

int pool_path(const struct pool *primary, unsigned node)
{
	OBJ_CHECK(primary, POOL_MAGIC);
	return primary->path == FRESH_NO_PATH ? FRESH_NO_PATH : primary->path + (int)node;
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

/* ---- servers ------------------------------------------------------------------------------- */

static bool is_known_primary(const struct pool *pool)
{
	return pool->path != FRESH_NO_PATH &&
	       fresh_role(fresh_of(pool), (size_t)pool->path) == FRESH_PRIMARY;
}

const char *where_objection(const struct pool *pool, const struct pool_node *node, bool is_standby)
{
	/* RELOAD has changed what it is for: the dial's outcome says nothing about that. */
	if (pool_is_gone(pool))
		return NULL;
	if (!where_is_fixed(pool)) {
		if (where_is_undecided(pool))
			return "it is one of two primaries";
		if (is_fenced(pool, node))
			return "another node is the primary";
		return is_standby ? "it is a standby, not the primary" : NULL;
	}
	if (pool->where->role == CONF_NODE_ANALYTICS || (is_standby && !is_known_primary(pool)))
		return NULL;
	return "it is a primary, not a standby";
}

/* The replica was promoted, but does not count. */
static bool is_false_primary(const struct pool *pool)
{
	const struct fresh *fresh = fresh_of(pool);
	size_t n, first;

	if (pool->where->role == CONF_NODE_ANALYTICS || !is_known_primary(pool))
		return false;
	first = (size_t)fresh_find_name(fresh, pool->shared->section, &n);
	return fresh_is_undecided(fresh, first) || fresh_primary(fresh, first, NULL) != pool->path;
}

bool pool_server_is_fenced(struct server *server)
{
	const struct pool *pool = pool_of(server);

	if (pool_is_gone(pool))
		return false;
	if (where_is_fixed(pool))
		return is_false_primary(pool);
	return where_is_undecided(pool) || is_fenced(pool, server_note(server)->node);
}

/* PostgreSQL reports in_hot_standby since version 14: a promotion with the first transaction behind
 * it. Of an older one only the probe knows. */
bool where_is_wrong(struct server *server)
{
	const struct pool *pool = pool_of(server);

	if (pool_is_gone(pool))
		return false; /* stale, anyway */
	if (!where_is_fixed(pool))
		return server_is_standby(server) || pool_server_is_fenced(server);
	return pool->where->role != CONF_NODE_ANALYTICS &&
	       (server_was_promoted(server) || is_known_primary(pool));
}

/* ---- following ----------------------------------------------------------------------------- */

static void follow_one(struct pool *pool)
{
	struct wire_error error;
	const struct conf_node *primary;

	primary = pool->path != FRESH_NO_PATH && !where_is_fixed(pool) ? elected(pool) : NULL;
	if (where_is_undecided(pool) && where_lacks_primary(pool, &error)) {
		queue_refuse_all(pool, &error);
		return;
	}
	/* Whoever is up may be tried again at once. */
	if (where_is_fixed(pool) ? !pool->is_refused : primary != NULL && !is_silent(pool, primary))
		pool_forget_failure(pool);
	if (pool->n_wanted > 0)
		pool_want(pool);
}

void pools_follow(struct pools *pools)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	if (pools->is_stopped)
		return;
	/* All of them first: a closed server makes room for those who want one. */
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] == NULL)
			continue;
		LIST_FOREACH(link, &pools->pools[i]->idle) {
			if (where_is_wrong(server_of_link(link)))
				pool_close(server_of_link(link), CLOSE_SERVER_MOVED);
		}
	}
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL && !pool_is_gone(pools->pools[i]))
			follow_one(pools->pools[i]);
	}
}

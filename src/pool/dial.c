/* Opening connections: how many, where the primary is, and what to do when it fails.
 *
 * A pool dials as long as its waiters could use more servers than dials are under way, and
 * pool_size and the node's limit allow.
 * All traffic goes to the primary: the candidates are the database's nodes with role = auto, in
 * order; one that turns out to be a standby or does not answer makes the next one the
 * candidate, for all workers. After a failure the pool waits, doubling from BACKOFF_MIN_US up to
 * server_login_retry (never less than the former); a login that the server itself refuses (wrong
 * password, no such database) is told to the waiting clients at once, and to those who come until
 * the next try: unless the pool still has a server, on whichever worker, to wait for. What libpq
 * says is for the log only: it names hosts and roles, and clients are tenants. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

#define BACKOFF_MIN_US (100 * US_PER_MS)

struct pool_dial {
	struct dial dial;
	struct pool *pool;
};

const struct conf_node *pool_node(const struct pool *pool)
{
	const struct conf_database *database = pool->shared->database;

	return database->nodes[atomic_load(&pool->shared->node) % database->n_nodes];
}

/* Makes the next node the candidate, unless another worker did already. */
static void next_node(struct pool *pool, const struct conf_node *failed)
{
	const struct conf_database *database = pool->shared->database;
	unsigned at = atomic_load(&pool->shared->node), next = at;

	if (database->nodes[at % database->n_nodes] != failed)
		return;
	for (size_t i = 0; i < database->n_nodes; i++) {
		next++;
		if (database->nodes[next % database->n_nodes]->role == CONF_NODE_AUTO)
			break;
	}
	atomic_compare_exchange_strong(&pool->shared->node, &at,
	                               next % (unsigned)database->n_nodes);
}

static bool take_place(_Atomic int *count, int max)
{
	int now = atomic_load(count);

	while (now < max) {
		if (atomic_compare_exchange_weak(count, &now, now + 1))
			return true;
	}
	return false;
}

enum reserved { RESERVED, RESERVED_POOL_FULL, RESERVED_NODE_FULL };

/* A place for one more connection, by pool_size and by the node's limit. */
static enum reserved reserve(struct pool *pool, const struct conf_node *node)
{
	struct pools *pools = pool->pools;
	struct pools_shared *shared = pools->env.shared;
	_Atomic int *on_node = &shared->node_servers[node - shared->nodes];
	int size = conf_pool_size(pools->env.conf, pool->shared->database);

	size = size == 0 ? INT_MAX : size;
	if (atomic_load(&pool->shared->n_servers) >= size)
		return RESERVED_POOL_FULL;
	if (!take_place(on_node, shared->max_server_conn) &&
	    !(pool_make_room(pools, node) && take_place(on_node, shared->max_server_conn)))
		return RESERVED_NODE_FULL;
	if (take_place(&pool->shared->n_servers, size))
		return RESERVED;
	atomic_fetch_sub(on_node, 1);
	lend_slot_freed(pool, node);
	return RESERVED_POOL_FULL;
}

void pool_stop_starving(struct pool *pool)
{
	struct pools_shared *shared = pool->pools->env.shared;

	if (pool->starving)
		atomic_fetch_sub(&shared->node_starving[pool->starving_on - shared->nodes], 1);
	if (pool->is_full)
		atomic_fetch_sub(&pool->shared->n_full, 1);
	pool->starving = pool->is_full = false;
}

/* Shows that it wants a place. False: it did already. */
static bool starve(struct pool *pool, enum reserved why, const struct conf_node *node)
{
	struct pools_shared *shared = pool->pools->env.shared;

	if (why == RESERVED_POOL_FULL) {
		if (pool->is_full)
			return false;
		pool->is_full = true;
		atomic_fetch_add(&pool->shared->n_full, 1);
		return true;
	}
	if (pool->starving)
		return false;
	pool->starving = true;
	pool->starving_on = node;
	atomic_fetch_add(&shared->node_starving[node - shared->nodes], 1);
	return true;
}

/* Who closes a connection looks for those who show that they want its place: so they show it
 * first, and look again then. False: there is none, and whoever could help has been asked. */
static bool find_place(struct pool *pool, const struct conf_node *node)
{
	enum reserved got = reserve(pool, node);

	if (got == RESERVED)
		return true;
	if (!starve(pool, got, node))
		return false;
	got = reserve(pool, node);
	if (got == RESERVED)
		return true;
	if (got == RESERVED_POOL_FULL)
		lend_borrow(pool);
	else
		lend_ask(pool);
	return false;
}

bool pool_is_hopeless(const struct pool *pool)
{
	return pool->is_refused && atomic_load(&pool->shared->n_alive) == 0;
}

bool pool_is_failing(const struct pool *pool, struct wire_error *error)
{
	if (pool->backoff_us == 0)
		return false;
	*error = (struct wire_error){.severity = "ERROR",
	                             .sqlstate = SQLSTATE_CANNOT_CONNECT_NOW,
	                             .message = "PgUsher cannot log in to the server",
	                             .detail = pool->message,
	                             .hint = "The log of PgUsher says more."};
	return true;
}

static void on_failure(struct pool *pool, const struct dial *dial, bool try_next)
{
	const struct conf *conf = pool->pools->env.conf;
	struct wire_error error;

	pool->backoff_us *= 2;
	if (pool->backoff_us > conf->pgusher.server_login_retry)
		pool->backoff_us = conf->pgusher.server_login_retry;
	if (pool->backoff_us < BACKOFF_MIN_US)
		pool->backoff_us = BACKOFF_MIN_US;
	pool->retry_at_us = clock_mono_us() + pool->backoff_us;
	pool->is_refused = strncmp(dial->sqlstate, "28", 2) == 0 ||
	                   strncmp(dial->sqlstate, "3D", 2) == 0 ||
	                   strncmp(dial->sqlstate, "42", 2) == 0;
	snprintf(pool->message, sizeof(pool->message), "Node \"%s\": SQLSTATE %s.",
	         dial->node->name, dial->sqlstate);
	/* PostgreSQL's words have the database's name in them, which may be a client's choice. */
	log_warning("login to node \"%s\" database %s as role \"%s\" failed: %s %s; next try "
	            "in %lld ms",
	            dial->node->name, LOG_QUOTE(pool->shared->dbname), dial->role->name,
	            dial->sqlstate, log_is_token(pool->shared->dbname) ? "" : dial->message,
	            (long long)(pool->backoff_us / US_PER_MS));
	if (try_next)
		next_node(pool, dial->node);
	if (pool_is_hopeless(pool) && pool_is_failing(pool, &error))
		queue_refuse_all(pool, &error);
	else
		lend_borrow(pool);
	timer_arm(pool->pools->env.timers, &pool->retry, pool->backoff_us);
}

static void on_connected(struct pool *pool, const struct dial *dial)
{
	struct server *server = server_new(pool->pools->env.backend, dial->conn);
	struct server_note *note = server_note(server);

	note->pool = pool;
	note->node = dial->node;
	note->opened_us = note->used_us = clock_mono_us();
	atomic_fetch_add(&pool->shared->n_alive, 1);
	pool->backoff_us = 0;
	pool->retry_at_us = 0;
	pool->is_refused = false;
	pool_learn_parameters(pool, server);
	server_set_sink(server, &pool_idle_sink, server);
	log_debug("server %u connected: node \"%s\" database %s role \"%s\"", server_pid(server),
	          dial->node->name, LOG_QUOTE(pool->shared->dbname), dial->role->name);
	pool_offer(server);
}

static void dial_deliver(struct mail *mail, void *owner)
{
	struct dial *dial = CONTAINER_OF(mail, struct dial, mail);
	struct pool_dial *order = CONTAINER_OF(dial, struct pool_dial, dial);
	struct pool *pool = order->pool;
	struct pools_shared *shared = pool->pools->env.shared;

	(void)owner;
	OBJ_CHECK(pool, POOL_MAGIC);
	pool->n_dialing--;
	if (dial->conn != NULL && !dial->is_standby) {
		on_connected(pool, dial);
		mem_free(order);
		return;
	}
	if (dial->conn != NULL) {
		PQfinish(dial->conn);
		snprintf(dial->sqlstate, sizeof(dial->sqlstate), "%s", "57P03");
		snprintf(dial->message, sizeof(dial->message), "it is a standby, not the primary");
	}
	atomic_fetch_sub(&pool->shared->n_servers, 1);
	atomic_fetch_sub(&shared->node_servers[dial->node - shared->nodes], 1);
	lend_slot_freed(pool, dial->node);
	on_failure(pool, dial, strncmp(dial->sqlstate, "28", 2) != 0);
	mem_free(order);
}

static void dial_start(struct pool *pool, const struct conf_node *node)
{
	const struct pools_env *env = &pool->pools->env;
	struct pool_dial *order = mem_zalloc(sizeof(*order));

	order->pool = pool;
	order->dial.mail.deliver = dial_deliver;
	order->dial.reply_to = env->mailbox;
	order->dial.conf = env->conf;
	order->dial.node = node;
	order->dial.database = pool->shared->database;
	order->dial.dbname = pool->shared->dbname;
	order->dial.role = pool->shared->role;
	pool->n_dialing++;
	env->dialer.dial(env->dialer.dialer, &order->dial);
}

void pool_want(struct pool *pool)
{
	struct pools *pools = pool->pools;
	const struct conf_node *node;

	if (pools->is_stopped || pool->is_paused)
		return;
	if (clock_mono_us() < pool->retry_at_us) {
		lend_borrow(pool);
		return;
	}
	while (pool->n_dialing < pool->n_wanted) {
		node = pool_node(pool);
		if (!find_place(pool, node))
			return;
		dial_start(pool, node);
	}
}

void pool_retry(struct timer *timer)
{
	pool_want(CONTAINER_OF(timer, struct pool, retry));
}

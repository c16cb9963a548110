/* Opening connections: how many, and what to do when it fails.
 *
 * A pool dials as long as its waiters could use more servers than dials are under way, and
 * there are places for them (place.c); where.c says on which node. After a failure the pool waits,
 * doubling from BACKOFF_MIN_US up to server_login_retry (never less than the former); a login that
 * the server itself refuses (wrong password, no such database) is told to the waiting clients at
 * once, and to those who come until the next try: unless the pool still has a server, on whichever
 * worker, to wait for. The clients of a pool at one node are told of any failure in this way,
 * because they have elsewhere to go. What libpq says is for the log only: it names hosts and
 * roles, and clients are tenants. */
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

#define BACKOFF_MIN_US (100 * US_PER_MS)

struct pool_dial {
	struct dial dial;
	struct pool *pool;
	struct pool_node *node;
	bool is_contended; /* others wanted its place, too */
};

bool pool_is_hopeless(const struct pool *pool)
{
	return (pool->is_refused || (where_is_fixed(pool) && pool->backoff_us > 0)) &&
	       atomic_load(&pool->shared->n_alive) == 0;
}

void pool_forget_failure(struct pool *pool)
{
	pool->backoff_us = 0;
	pool->retry_at_us = 0;
	pool->is_refused = false;
	timer_cancel(pool->pools->env.timers, &pool->retry);
}

bool pool_is_failing(const struct pool *pool, struct wire_error *error)
{
	if (where_lacks_primary(pool, error))
		return true;
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
	            dial->node->name, LOG_QUOTE(dial->dbname), dial->role->name, dial->sqlstate,
	            log_has_token(dial->dbname) ? "" : dial->message,
	            (long long)(pool->backoff_us / US_PER_MS));
	if (try_next)
		where_next(pool, dial->node);
	place_unwanted(pool);
	if (pool_is_hopeless(pool) && pool_is_failing(pool, &error))
		queue_refuse_all(pool, &error);
	else
		lend_borrow(pool);
	timer_arm(pool->pools->env.timers, &pool->retry, pool->backoff_us);
}

static void on_connected(struct pool *pool, const struct pool_dial *order)
{
	const struct dial *dial = &order->dial;
	struct server *server = server_new(pool->pools->env.backend, dial->conn);
	struct server_note *note = server_note(server);

	note->pool = pool;
	note->node = order->node;
	note->is_contended = order->is_contended;
	note->generation = dial->conf->generation;
	note->opened_us = note->used_us = clock_mono_us();
	atomic_fetch_add(&pool->shared->n_alive, 1);
	pool->backoff_us = 0;
	pool->retry_at_us = 0;
	pool->is_refused = false;
	if (!where_is_fixed(pool))
		pool_learn_parameters(pool, server);
	server_set_sink(server, &pool_idle_sink, server);
	log_debug("server %u connected: node \"%s\" database %s role \"%s\"", server_pid(server),
	          dial->node->name, LOG_QUOTE(dial->dbname), dial->role->name);
	pool_offer(server);
}

static void order_free(struct pool_dial *order)
{
	conf_put(&order->dial.conf);
	mem_free(order);
}

static void dial_deliver(struct mail *mail, void *owner)
{
	struct dial *dial = CONTAINER_OF(mail, struct dial, mail);
	struct pool_dial *order = CONTAINER_OF(dial, struct pool_dial, dial);
	struct pool *pool = order->pool;
	const char *objection = NULL;

	(void)owner;
	OBJ_CHECK(pool, POOL_MAGIC);
	pool->n_dialing--;
	if (dial->conn != NULL)
		objection = where_objection(pool, order->node, dial->is_standby);
	if (dial->conn != NULL && objection == NULL) {
		on_connected(pool, order);
		order_free(order);
		return;
	}
	if (dial->conn != NULL) {
		PQfinish(dial->conn);
		snprintf(dial->sqlstate, sizeof(dial->sqlstate), "%s", "57P03");
		snprintf(dial->message, sizeof(dial->message), "%s", objection);
	}
	atomic_fetch_sub(&pool->shared->n_servers, 1);
	atomic_fetch_sub(&order->node->n_servers, 1);
	lend_slot_freed(pool, order->node);
	/* What an old configuration could not do says nothing about the new one. */
	if (dial->conf == pool->pools->env.conf)
		on_failure(pool, dial, strncmp(dial->sqlstate, "28", 2) != 0);
	else
		pool_want(pool);
	order_free(order);
}

static void dial_start(struct pool *pool, struct pool_node *node, bool is_contended)
{
	const struct pools_env *env = &pool->pools->env;
	struct pool_dial *order = mem_zalloc(sizeof(*order));

	order->pool = pool;
	order->dial.mail.deliver = dial_deliver;
	order->dial.reply_to = env->mailbox;
	order->node = node;
	order->is_contended = is_contended;
	order->dial.conf = conf_get(env->conf);
	order->dial.node = pool_candidate(pool);
	order->dial.database = pool->database;
	order->dial.dbname = conf_database_dbname(pool->database, pool->shared->name);
	order->dial.role = pool->role;
	pool->n_dialing++;
	env->dialer.dial(env->dialer.dialer, &order->dial);
}

void pool_want(struct pool *pool)
{
	struct pools *pools = pool->pools;
	struct pool_node *node;
	bool is_contended;

	if (pools->is_stopped || pool->is_paused || pool_is_gone(pool) || where_is_unsettled(pool))
		return; /* pools_follow comes back for the last one */
	if (clock_mono_us() < pool->retry_at_us) {
		place_unwanted(pool);
		lend_borrow(pool);
		return;
	}
	while (pool->n_dialing < pool->n_wanted) {
		node = pool_node(pool);
		if (!place_find(pool, node, &is_contended))
			return;
		dial_start(pool, node, is_contended);
	}
	place_unwanted(pool);
}

void pool_retry(struct timer *timer)
{
	struct pool *pool = CONTAINER_OF(timer, struct pool, retry);
	struct wire_error error;

	if (where_is_lost(pool, &error))
		queue_refuse_all(pool, &error);
	else
		pool_want(pool);
}

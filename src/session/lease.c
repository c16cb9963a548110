/* The client's lease of a server: waiting for one, what is put in front of the client's bytes, and
 * giving it back. */
#include "route_int.h"

void lease_attach(struct client *c, struct server *server)
{
	c->server = server;
	c->lease++;
	c->alterations = 0;
	c->is_fresh = true;
	if (c->is_for_session)
		server_note(server)->taint |= TAINT_SCRUB;
	server_set_sink(server, &session_sink, c);
}

enum lease lease_get(struct client *c)
{
	struct server *server;

	if (c->server != NULL)
		return LEASE_OK;
	if (c->is_refused) {
		c->is_refused = false;
		return LEASE_REFUSED;
	}
	if (route_is_elsewhere(c)) {
		enum lease lease = route_lease(c);

		if (lease != LEASE_REFUSED)
			return lease;
	}
	if (c->route != NULL && route_is_refused(c))
		return LEASE_REFUSED;
	c->waiter.tenant = c->ticket->tenant;
	server = pool_acquire(c->pool, &c->waiter);
	if (server != NULL) {
		lease_attach(c, server);
		return LEASE_OK;
	}
	if (c->is_refused) {
		c->is_refused = false;
		return LEASE_REFUSED;
	}
	c->flow = FLOW_WAIT_SERVER;
	lease_start_wait(c);
	return LEASE_WAIT;
}

/* No server was to be had for the message at hand: says so by the rules of its protocol. */
enum step lease_none(struct client *c, bool in_batch)
{
	return in_batch ? batch_refuse(c, &c->refused) : query_refuse(c, &c->refused);
}

void lease_waited(struct client *c, const struct pool_waiter *w)
{
	c->counters->wait_time_us += (uint64_t)(clock_mono_us() - w->since_us);
}

void lease_granted(struct pool_waiter *w, struct server *server)
{
	struct client *c = CONTAINER_OF(w, struct client, waiter);

	OBJ_CHECK(c, CLIENT_MAGIC);
	timer_cancel(c->env->timers, &c->wait_timer);
	lease_waited(c, w);
	lease_attach(c, server);
	c->flow = FLOW_OPEN;
	session_run(c);
}

/* The message that waits is taken again, and lease_get tells it. */
void lease_refused(struct pool_waiter *w, const struct wire_error *e)
{
	struct client *c = CONTAINER_OF(w, struct client, waiter);

	OBJ_CHECK(c, CLIENT_MAGIC);
	timer_cancel(c->env->timers, &c->wait_timer);
	c->is_refused = true;
	c->refused = *e;
	c->flow = FLOW_OPEN;
	session_run(c);
}

void lease_end_wait(struct client *c, const struct wire_error *e)
{
	if (!route_end_wait(c))
		pool_wait_end(&c->waiter);
	c->waiter.on_refused(&c->waiter, e);
}

void lease_start_wait(struct client *c)
{
	int64_t timeout_us = pool_wait_timeout_us(&c->waiter);

	if (timeout_us > 0)
		timer_arm(c->env->timers, &c->wait_timer, timeout_us);
}

void lease_timeout(struct timer *timer)
{
	struct client *c = CONTAINER_OF(timer, struct client, wait_timer);
	struct wire_error error = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_QUERY_CANCELED,
		.message = "no server connection became free in time (query_wait_timeout)",
		.hint = "All server connections are in use: see max_server_conn."};

	if (route_give_up(c))
		return;
	if (pool_is_tenant_full(&c->waiter))
		error.hint = "Your tenant holds as many server connections as it may have "
			     "(max_server_conn of [tenants] or its own section): use fewer "
			     "clients, or shorter transactions.";
	if (pool_is_paused(c->pool))
		error.hint = "The database is paused: an operator must RESUME it.";
	(void)pool_is_failing(c->pool, &error);
	pool_count_rejected(c->env->pools, c->waiter.tenant);
	lease_end_wait(c, &error);
}

/* The clock of the event at hand will do: a client's turn is 2 ms at most. */
static void start_clocks(struct client *c)
{
	if (!c->is_query_timed) {
		c->is_query_timed = true;
		c->query_us = c->env->now_us;
	}
	if (!c->is_xact_timed) {
		c->is_xact_timed = true;
		c->xact_us = c->query_us;
	}
}

struct outvec *lease_send(struct client *c)
{
	if (!c->sending) {
		if (!c->is_query_timed || c->is_fresh)
			route_sent(c);
		start_clocks(c);
		(void)server_begin(c->server);
		c->sending = true;
		if (c->is_fresh)
			settings_put(c, false);
		c->is_fresh = false;
	}
	return c->env->backend->to_server;
}

void lease_sent(struct client *c)
{
	if (!c->sending)
		return;
	c->sending = false;
	deadline_sent(c);
	/* A broken server tells by itself: on_lost. */
	(void)server_end(c->server);
}

/* The BEGIN that was kept back; when the transaction has failed since, it fails there too.
 *
 * This and the context use the unnamed portal, and true is returned where it is left behind: the
 * next Query or Bind of the unnamed portal replaces it, anything else must not meet it. */
bool lease_begin(struct client *c)
{
	if (!c->txn.is_deferred)
		return false;
	c->txn.is_deferred = false;
	(void)lease_send(c);
	server_put_begin(c->server);
	if (c->txn.state == TXN_FAILED)
		server_put_failure(c->server);
	return true;
}

bool lease_context(struct client *c)
{
	c->context_given = true;
	if (c->is_tenantless)
		return false;
	(void)lease_send(c);
	server_put_context(c->server, c->ticket->tenant);
	txn_context_sent(&c->txn);
	return true;
}

bool lease_before(struct client *c, const struct sql_stmt *stmt)
{
	bool began = lease_begin(c);

	return (txn_needs_context(&c->txn, stmt) && lease_context(c)) || began;
}

void lease_after(struct client *c, const struct sql_stmt *stmt)
{
	if (c->written_database != 0)
		route_note_stmt(c, stmt);
	/* A RESET ALL in front of it in the batch is what it ends, or keeps. */
	if (c->reset_is_due && c->end == TXN_END_NONE &&
	    (stmt->savepoint != 0 || identity_is_end(stmt->kind)))
		identity_reset(c, true);
	/* Nothing was put in front of it. */
	if (c->is_tenantless && txn_needs_context(&c->txn, stmt))
		c->context_given = true;
	identity_sent(c, stmt);
	/* What it takes away may be needed in the same batch. */
	if (stmt->bits & SQL_DISCARDS)
		server_forget_prepared(c->server);
	if (stmt->savepoint != 0)
		identity_savepoint(c, stmt);
	txn_sent(&c->txn, stmt);
	c->batch_bits |= stmt->bits;
	if (stmt->bits & SQL_RESETS_ALL) {
		c->reset_is_due = true;
		c->startup_is_back = false;
	}
	identity_leaves(c, stmt->bits);
	stmts_alter(c, stmt->bits);
	/* What begins behind it, before ReadyForQuery said 'I', is another transaction. */
	if (stmt->kind == SQL_COMMIT_CHAIN || stmt->kind == SQL_ROLLBACK_CHAIN ||
	    stmt->kind == SQL_COMMIT || stmt->kind == SQL_ROLLBACK ||
	    stmt->kind == SQL_PREPARE_TRANSACTION) {
		c->is_chained = true;
		c->in_txn_us = 0;
	}
	if (c->touched != NULL && (stmt->kind == SQL_BEGIN || identity_is_end(stmt->kind)))
		settings_doubt(c);
}

void lease_give_back(struct client *c)
{
	struct server *server = c->server;

	if (c->route != NULL)
		route_leave(c);
	c->server = NULL;
	portals_forget(c);
	identity_forget_left(c);
	pin_forget(c);
	pool_release(server);
}

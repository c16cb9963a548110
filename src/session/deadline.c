/* A client's deadlines: how long it may log in, idle, keep a transaction open, have a query run.
 * One timer a client, armed for the earliest of them and looked at again when it fires, so that a
 * transaction costs two clock reads and no timer operation, and nothing where no timeout is
 * configured. Waiting for a server has a timer of its own (lease.c). */
#include "session_int.h"

/* Long enough for a login over a bad line. Where all places are taken, whoever opens connections
 * and says nothing must not keep the others out for client_login_timeout. */
#define STRANGER_US (3 * US_PER_S)
#define STRANGERS_LOOKED_AT 64

struct deadline {
	int64_t due_us;
	enum close_reason reason;
};

static bool is_wanted(const struct conf_pgusher *conf)
{
	return (conf->query_timeout | conf->transaction_timeout | conf->idle_transaction_timeout |
	        conf->client_idle_timeout) != 0;
}

static void consider(struct deadline *d, int64_t since_us, int64_t timeout_us,
                     enum close_reason reason)
{
	if (since_us == 0 || timeout_us == 0 || since_us + timeout_us >= d->due_us)
		return;
	d->due_us = since_us + timeout_us;
	d->reason = reason;
}

/* Its server has nothing to do until the client goes on: with COPY, with a message that it began,
 * or with the Sync of a batch that it has flushed. PostgreSQL's idle_in_transaction_session_timeout
 * does not see these. */
static bool is_awaited(const struct client *c)
{
	if (c->server == NULL || server_backlog_bytes(c->server) > 0)
		return false;
	return c->flow == FLOW_COPY_IN || (c->body_left > 0 && c->body_passes) ||
	       (c->flow == FLOW_OPEN && server_owed(c->server) == 0);
}

static struct deadline earliest(const struct client *c)
{
	const struct conf_pgusher *conf = &c->env->conf->pgusher;
	struct deadline d = {.due_us = INT64_MAX};

	if (c->phase != PHASE_READY) {
		consider(&d, c->heard_us, conf->client_login_timeout, CLOSE_CLIENT_LOGIN_TIMEOUT);
		return d;
	}
	consider(&d, c->busy_us, conf->query_timeout, CLOSE_CLIENT_QUERY_TIMEOUT);
	consider(&d, c->in_txn_us, conf->transaction_timeout, CLOSE_CLIENT_TRANSACTION_TIMEOUT);
	if (c->busy_us != 0 && is_awaited(c))
		consider(&d, c->heard_us, conf->idle_transaction_timeout,
		         CLOSE_CLIENT_IDLE_TRANSACTION);
	if (c->busy_us != 0 || c->flow != FLOW_OPEN)
		return d;
	if (c->txn.state != TXN_NONE)
		consider(&d, c->heard_us, conf->idle_transaction_timeout,
		         CLOSE_CLIENT_IDLE_TRANSACTION);
	else
		consider(&d, c->heard_us, conf->client_idle_timeout, CLOSE_CLIENT_IDLE);
	return d;
}

static void arm(struct client *c, const struct deadline *d, int64_t now_us)
{
	if (d->due_us == INT64_MAX ||
	    (timer_is_armed(&c->deadline_timer) && c->deadline_us <= d->due_us))
		return;
	c->deadline_us = d->due_us;
	timer_cancel(c->env->timers, &c->deadline_timer);
	timer_arm(c->env->timers, &c->deadline_timer, d->due_us > now_us ? d->due_us - now_us : 0);
}

void deadline_fire(struct timer *timer)
{
	struct client *c = CONTAINER_OF(timer, struct client, deadline_timer);
	struct deadline d = earliest(c);
	int64_t now_us = clock_mono_us();

	if (d.due_us <= now_us)
		session_close(c, d.reason);
	else
		arm(c, &d, now_us);
}

/* It has just connected. */
void deadline_login(struct client *c)
{
	struct deadline d;

	c->heard_us = clock_mono_us();
	d = earliest(c);
	arm(c, &d, c->heard_us);
}

static void set(struct client *c, int64_t now_us)
{
	struct deadline d = earliest(c);

	arm(c, &d, now_us);
}

/* Who has been let in has proved who he is, and the one that newcomers find is the oldest. Those
 * who wait for their turn with us (is_parked) are not to blame. */
bool deadline_make_place(struct session_env *env, const struct client *c)
{
	int64_t since_us = clock_mono_us() - STRANGER_US;
	unsigned n = 0;

	LIST_FOREACH(link, &env->strangers) {
		struct client *other = LIST_MEMBER(link, struct client, stranger_link);

		if (other->heard_us > since_us || n++ == STRANGERS_LOOKED_AT)
			return false;
		if (other == c || other->is_parked)
			continue;
		session_close(other, CLOSE_CLIENT_LOGIN_PLACE);
		return true;
	}
	return false;
}

/* It said something. */
void deadline_heard(struct client *c)
{
	if (c->phase != PHASE_READY || c->busy_us != 0 || !is_wanted(&c->env->conf->pgusher))
		return;
	c->heard_us = clock_mono_us();
	set(c, c->heard_us);
}

/* Something was sent to its server. */
void deadline_sent(struct client *c)
{
	if (!is_wanted(&c->env->conf->pgusher))
		return;
	c->heard_us = clock_mono_us();
	if (c->busy_us == 0)
		c->busy_us = c->heard_us;
	if (c->in_txn_us == 0)
		c->in_txn_us = c->heard_us;
	set(c, c->heard_us);
}

/* Its server said something: what it had to do took time that is not the client's. */
void deadline_replied(struct client *c)
{
	if (c->env->conf->pgusher.idle_transaction_timeout == 0 || c->busy_us == 0 ||
	    !is_awaited(c))
		return;
	c->heard_us = clock_mono_us();
	set(c, c->heard_us);
}

/* ReadyForQuery. */
void deadline_ready(struct client *c)
{
	c->busy_us = 0;
	if (c->txn.state == TXN_NONE)
		c->in_txn_us = 0;
	if (!is_wanted(&c->env->conf->pgusher))
		return;
	c->heard_us = clock_mono_us();
	set(c, c->heard_us);
}

/* What a client asks of its answers, how fresh they must be.
 *
 *   wish_of     the ini's defaults, then the token's claims, then the session's settings
 *   wish_hint   then the statement's own comment
 *
 * On the worker's thread, as all of the module. */
#include <string.h>

#include "session_int.h"
#include "sql_hint.h"

void wish_set_conf(struct client *c)
{
	const struct conf *conf = c->env->conf;
	const struct conf_database *database = conf_find_database(conf, c->database);

	/* A database that is gone: its clients are about to end. */
	if (database != NULL)
		c->wish_default.consistency = database->consistency;
	c->wish_default.max_lag_us = conf->freshness.max_lag;
	c->wish_default.read_your_writes = conf->freshness.read_your_writes;
}

/* Put together anew for each statement: that costs less than to know when it has changed. */
const struct fresh_wish *wish_of(struct client *c)
{
	const struct auth_ticket *ticket = c->ticket;

	c->wish = c->wish_default;
	if (ticket->has_consistency)
		c->wish.consistency = ticket->consistency;
	if (ticket->has_max_lag)
		c->wish.max_lag_us = ticket->max_lag_us;
	return &c->wish;
}

/* A value that means nothing counts as the one that promises most: a typing error must not get a
 * staler answer than was meant. */
void wish_hint(const char *text, size_t len, struct fresh_wish *wish)
{
	struct sql_hints hints;

	if (!sql_may_have_hints(text, len) || !sql_hints_read(text, len, &hints))
		return;
	if (hints.has[SQL_HINT_CONSISTENCY] &&
	    !conf_consistency_read(hints.value[SQL_HINT_CONSISTENCY], &wish->consistency))
		wish->consistency = CONF_CONSISTENCY_STRONG;
	if (hints.has[SQL_HINT_MAX_LAG] &&
	    !conf_duration_read(hints.value[SQL_HINT_MAX_LAG], &wish->max_lag_us))
		wish->max_lag_us = 0;
	if (hints.has[SQL_HINT_READ_YOUR_WRITES] &&
	    !conf_read_your_writes_read(hints.value[SQL_HINT_READ_YOUR_WRITES],
	                                &wish->read_your_writes))
		wish->read_your_writes = CONF_RYW_TENANT;
}

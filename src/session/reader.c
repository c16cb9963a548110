/* What a server that is not the primary's is not asked to do: a replica cannot, and on an analytics
 * node what were written would be lost to the primary. Stateless. */
#include "route_int.h"

/* It would bind the client to a server that cannot write. */
static const struct wire_error no_state = {
	.severity = "ERROR",
	.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
	.message = "this READ ONLY transaction runs on a replica, where nothing can be made that "
		   "outlives it",
	.hint = "SET usher.consistency = 'strong' before the transaction."};

/* An analytics node may be a server that can write, and then only its default says that it must
 * not (dial.c): nothing may go against that. */
static const struct wire_error no_mode = {
	.severity = "ERROR",
	.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
	.message = "this transaction runs on an analytics node, where its mode cannot be changed",
	.hint = "Say it with BEGIN: BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY."};

static const struct wire_error no_setting = {
	.severity = "ERROR",
	.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
	.message =
		"this transaction runs on an analytics node, where nothing is set for the session",
	.hint = "Use SET LOCAL, or SET before the transaction."};

bool route_is_to_analytics(const struct client *c)
{
	return route_is_elsewhere(c) && c->route->consistency == CONF_CONSISTENCY_ANALYTICS;
}

static const struct wire_error *analytics_refusal(const struct client *c,
                                                  const struct sql_stmt *stmt)
{
	if (stmt->kind == SQL_SET_TRANSACTION ||
	    (stmt->kind == SQL_BEGIN && route_part(c, stmt) != ROUTE_BEGINS &&
	     !(stmt->bits & SQL_BARE)))
		return &no_mode;
	return stmt->bits & (SQL_SETS_SESSION | SQL_RESETS_ALL) ? &no_setting : NULL;
}

const struct wire_error *route_refusal(const struct client *c, const struct sql_stmt *stmt)
{
	if (!route_is_elsewhere(c))
		return NULL;
	if (stmt->bits & SQL_MAKES_STATE)
		return &no_state;
	return route_is_to_analytics(c) ? analytics_refusal(c, stmt) : NULL;
}

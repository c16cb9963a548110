/* What another configuration, or another primary, means for the clients that are there. They keep
 * no pointer into it: limits and timeouts are looked up when they are next needed. */
#include "route_int.h"

static enum close_reason reason_of(const struct client *c)
{
	const struct conf_role *role;

	if (c->pool == NULL)
		return CLOSE_NONE;
	if (pool_lost_database(c->pool))
		return CLOSE_CLIENT_DATABASE_REMOVED;
	if (pool_lost_role(c->pool))
		return CLOSE_CLIENT_ROLE_REMOVED;
	role = conf_find_role(c->env->conf, c->user);
	/* Its token was judged by the other rule. */
	if ((role->tenant == CONF_TENANT_NONE) != c->is_tenantless)
		return CLOSE_CLIENT_ROLE_CHANGED;
	return CLOSE_NONE;
}

static bool take_conf(struct client *c, void *arg)
{
	enum close_reason reason = reason_of(c);

	(void)arg;
	report_set_conf(c);
	if (c->pool != NULL)
		wish_set_conf(c);
	if (reason == CLOSE_NONE)
		return true;
	c->leaving = reason;
	/* Without a server it has done nothing yet, a BEGIN that we have answered at most, and
	 * there will be no server for it any more. */
	if (c->server == NULL || session_is_idle(c))
		session_close(c, reason);
	return true;
}

void session_set_conf(struct session_env *env, const struct conf *conf)
{
	env->conf = conf;
	session_each(env, take_conf, NULL);
}

/* A COMMIT that a fenced server acknowledges may be lost: better no answer. A read by itself
 * commits nothing, and one that a replica will not answer any more is the primary's. */
static bool leave_node(struct client *c, void *arg)
{
	(void)arg;
	if (c->server != NULL && pool_server_is_fenced(c->server) && !route_is_kept(c))
		session_close(c, CLOSE_SERVER_MOVED);
	else if (route_is_stuck(c))
		session_sink.on_lost(c, CLOSE_SERVER_LOST);
	return true;
}

void session_follow_roles(struct session_env *env)
{
	session_each(env, leave_node, NULL);
}

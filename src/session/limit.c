/* The limits on clients of one tenant, database or role. A client counts from its login to its end,
 * under the tenant that it logged in as: what SET usher.token makes of it later is the
 * connection's affair. */
#include <stdio.h>
#include <string.h>

#include "session_int.h"

struct limit {
	enum limit_kind kind;
	const char *name;
	int max;
};

#define LIMITS 3

static void limits_of(const struct client *c, struct limit limits[LIMITS])
{
	const struct conf *conf = c->env->conf;
	const struct conf_database *database = conf_find_database(conf, c->database);
	const char *tenant = identity_login(c)->tenant;

	limits[0] = (struct limit){LIMIT_TENANT, tenant,
	                           conf_tenant_limits(conf, tenant).max_client_conn};
	limits[1] = (struct limit){LIMIT_DATABASE, database->name, database->max_client_conn};
	limits[2] = (struct limit){LIMIT_ROLE, c->role->name, c->role->max_client_conn};
	/* A service role has no tenant, or any: it is the role that limits it. */
	if (c->role->tenant == CONF_TENANT_NONE)
		limits[0].max = 0;
}

static void leave(struct client *c, const struct limit *limits, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		limit_leave(c->env->pools, limits[i].kind, limits[i].name);
}

const char *client_limit_enter(struct client *c)
{
	static const char *const refusals[] = {
		[LIMIT_TENANT] = "too many connections of this tenant",
		[LIMIT_DATABASE] = "too many connections to this database",
		[LIMIT_ROLE] = "too many connections of this role",
	};
	struct limit limits[LIMITS];

	limits_of(c, limits);
	for (unsigned i = 0; i < LIMITS; i++) {
		if (limit_enter(c->env->pools, limits[i].kind, limits[i].name, limits[i].max))
			continue;
		leave(c, limits, i);
		if (limits[i].kind == LIMIT_TENANT)
			pool_count_rejected(c->env->pools, limits[i].name);
		return refusals[limits[i].kind];
	}
	c->is_counted = true;
	return NULL;
}

void client_limit_leave(struct client *c)
{
	struct limit limits[LIMITS];

	if (!c->is_counted)
		return;
	c->is_counted = false;
	limits_of(c, limits);
	leave(c, limits, LIMITS);
}

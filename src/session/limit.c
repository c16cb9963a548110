/* The limits on clients of one tenant, database or role. A client counts from its login to its end,
 * under the tenant that it logged in as: what SET usher.token makes of it later is the
 * connection's affair. */
#include <stdio.h>
#include <string.h>

#include "session_int.h"

struct limit {
	enum limit_kind kind;
	const char *name;
};

#define LIMITS 3

/* By the names that it was let in under: the configuration may be another when it leaves. */
static void names_of(const struct client *c, struct limit limits[LIMITS])
{
	limits[0] = (struct limit){LIMIT_TENANT, identity_login(c)->tenant};
	limits[1] = (struct limit){LIMIT_DATABASE, pool_section(c->pool)};
	limits[2] = (struct limit){LIMIT_ROLE, pool_role(c->pool)};
}

static int max_of(const struct client *c, const struct limit *limit)
{
	const struct conf *conf = c->env->conf;
	switch (limit->kind) {
	case LIMIT_DATABASE:
		return conf_find_database(conf, c->database)->max_client_conn;
	case LIMIT_ROLE:
		return conf_find_role(conf, c->user)->max_client_conn;
	case LIMIT_TENANT:
	case LIMIT_PINNED:
		break;
	}
	/* A service role has no tenant, or any: it is the role that limits it. */
	if (c->is_tenantless)
		return 0;
	return conf_tenant_limits(conf, limit->name).max_client_conn;
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

	names_of(c, limits);
	for (unsigned i = 0; i < LIMITS; i++) {
		if (limit_enter(c->env->pools, limits[i].kind, limits[i].name,
		                max_of(c, &limits[i])))
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
	names_of(c, limits);
	leave(c, limits, LIMITS);
}

/* What a new tenant directory means for the clients that are there: those of tenants that are not
 * active any more are ended. A client's tenants are all that it could act as: by the token that
 * counts now, and by those that it can go back to. */
#include "auth_directory.h"
#include "session_int.h"

#define ENDED_PER_TURN 64 /* ending so many takes about 2 ms */

bool directory_is_wanted(const struct client *c)
{
	return c->env->conf->tenants.directory_query[0] != '\0';
}

static bool is_inactive(const void *arg, const struct auth_ticket *ticket)
{
	return !auth_directory_has(arg, ticket->tenant);
}

static bool must_end(const struct session_env *env, const struct client *c)
{
	return c->ticket != NULL && !c->is_tenantless &&
	       identity_any(c, is_inactive, env->directory) != NULL;
}

static bool apply(struct client *c, void *arg)
{
	struct session_env *env = c->env;
	unsigned *n_ended = arg;

	if (!must_end(env, c))
		return true;
	if ((*n_ended)++ == ENDED_PER_TURN) {
		env->is_directory_new = true;
		env->wake_edge(env->worker);
		return false;
	}
	session_close(c, CLOSE_CLIENT_INACTIVE);
	return true;
}

void directory_apply(struct session_env *env)
{
	unsigned n_ended = 0;

	env->is_directory_new = false;
	session_each(env, apply, &n_ended);
}

void session_set_directory(struct session_env *env, struct auth_directory *directory)
{
	auth_directory_put(&env->directory);
	env->directory = directory;
	env->is_directory_new = true;
	env->wake_edge(env->worker);
}

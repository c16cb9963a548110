/* The sessions as the console shows them. */
#include <string.h>

#include "route_int.h"
#include "session_console.h"

static struct client *find(const struct session_env *env, uint32_t pid)
{
	struct map_node *node = map_find(&env->by_pid, pid);
	struct client *c = node != NULL ? CONTAINER_OF(node, struct client, by_pid) : NULL;

	return c != NULL && (c->phase == PHASE_READY || c->phase == PHASE_CONSOLE) ? c : NULL;
}

struct pids {
	uint32_t *pids;
	size_t n;
};

static void add_pid(struct map_node *node, void *arg)
{
	const struct client *c = CONTAINER_OF(node, struct client, by_pid);
	struct pids *list = arg;

	list->pids[list->n++] = c->pid;
}

uint32_t *session_pids(struct session_env *env, size_t *n)
{
	struct pids list = {.pids = mem_alloc((env->by_pid.count + 1) * sizeof(uint32_t))};

	map_each(&env->by_pid, add_pid, &list);
	*n = list.n;
	return list.pids;
}

size_t session_n_logins(const struct session_env *env)
{
	return env->n_here - env->n_ready - env->n_consoles;
}

size_t session_client_bytes(void)
{
	return sizeof(struct client);
}

static const char *state_of(const struct client *c)
{
	if (pool_is_waiting(&c->waiter) || route_is_waiting(c))
		return "waiting";
	return c->server != NULL || c->flow != FLOW_OPEN ? "active" : "idle";
}

bool session_look(struct session_env *env, uint32_t pid, struct session_info *info)
{
	struct client *c = find(env, pid);
	const char *name;

	if (c == NULL)
		return false;
	name = client_setting(c, "application_name");
	*info = (struct session_info){
		.user = c->user,
		.database = c->database,
		.pool_database = c->pool != NULL ? pool_database(c->pool) : NULL,
		.application_name = name != NULL ? name : "",
		.tenant = c->ticket != NULL && c->pool != NULL ? c->ticket->tenant : "",
		.state = state_of(c),
		.peer = c->peer.text,
		.session_id = c->session_id,
		.stream = &c->stream,
		.connected_s = c->connected_s,
		.request_us = c->query_us,
		.waiting_us = pool_is_waiting(&c->waiter) ? c->waiter.since_us
	                      : route_is_waiting(c)       ? c->route->waiter.since_us
	                                                  : 0,
		.server_pid = c->server != NULL ? server_pid(c->server) : 0,
		.n_statements = c->stmts.count,
	};
	pin_describe(c, info->pinned, sizeof(info->pinned));
	return true;
}

bool session_has_token(struct session_env *env, uint32_t pid, const char *jti, int64_t *exp_s)
{
	struct client *c = find(env, pid);
	const struct auth_ticket *ticket = c != NULL ? identity_find(c, jti) : NULL;

	if (ticket == NULL)
		return false;
	*exp_s = ticket->exp_s;
	return true;
}

bool session_is_of_tenant(struct session_env *env, uint32_t pid, const char *tenant)
{
	const struct client *c = find(env, pid);

	return c != NULL && c->pool != NULL &&
	       (strcmp(c->ticket->tenant, tenant) == 0 ||
	        strcmp(identity_login(c)->tenant, tenant) == 0);
}

uint32_t session_of_server(const struct server *server)
{
	void *owner;
	const struct client *c;

	if (server_sink(server, &owner) != &session_sink)
		return 0;
	c = owner;
	OBJ_CHECK(c, CLIENT_MAGIC);
	return c->pid;
}

bool session_kill(struct session_env *env, uint32_t pid, enum close_reason reason)
{
	struct client *c = find(env, pid);

	if (c == NULL)
		return false;
	session_close(c, reason);
	return true;
}

/* The end of the login: the server's parameters, the cancel key, ReadyForQuery.
 *
 * What a client is told of the server's parameters is what a server reported. The first client of
 * a pool therefore waits for its first connection; so does one with startup settings other than
 * application_name, which are tried on a server, so that a wrong value ends the login, as
 * PostgreSQL would, and not some later query. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "route_int.h"

#define PID_PEER_SHIFT 24
#define PID_PEER_MASK 0x7fu
#define PID_LOCAL_MASK (SESSION_PID_MARK - 1)

/* How many process ids a worker has. */
static uint32_t pid_share(unsigned n_workers)
{
	return (PID_LOCAL_MASK + 1) / n_workers;
}

int session_pid_peer(uint32_t pid)
{
	return (int)(pid >> PID_PEER_SHIFT & PID_PEER_MASK);
}

unsigned session_pid_worker(uint32_t pid, unsigned n_workers)
{
	return (pid & PID_LOCAL_MASK) / pid_share(n_workers) % n_workers;
}

struct client *welcome_find(struct session_env *env, uint32_t pid)
{
	struct map_node *node = map_find(&env->by_pid, pid);

	return node != NULL ? CONTAINER_OF(node, struct client, by_pid) : NULL;
}

bool welcome_draw_key(struct client *c)
{
	struct session_env *env = c->env;
	uint32_t share = pid_share(env->n_workers);
	uint32_t first = (uint32_t)env->conf->pgusher.peer_id << PID_PEER_SHIFT | SESSION_PID_MARK;

	if (env->by_pid.count >= share - 1) {
		session_fail(c, CLOSE_CLIENT_LIMIT);
		return false;
	}
	do {
		env->next_pid = (env->next_pid + 1) % share;
		c->pid = first | (env->worker_index * share + env->next_pid);
	} while (welcome_find(env, c->pid) != NULL);
	random_bytes(&c->secret, sizeof(c->secret));
	map_insert(&env->by_pid, &c->by_pid, c->pid);
	return true;
}

/* With protocol 3.0 the four random bytes. With 3.2 there are 32, made of them under the process's
 * own key each time that they are needed: an idle client has no room for them. */
static void key_of(const struct client *c, struct wire_cancel *key)
{
	uint64_t parts[] = {c->session_id, (uint64_t)c->pid << 32 | c->secret};

	key->pid = c->pid;
	key->key_len = c->has_long_key ? SHA256_BYTES : 4;
	if (c->has_long_key)
		hash_hmac(parts, sizeof(parts), key->key);
	else
		be32_set(key->key, c->secret);
}

void welcome_put_key(const struct client *c, struct buf *b)
{
	struct wire_cancel key;

	key_of(c, &key);
	wire_put_key_data(b, &key);
}

static bool is_key_of(const struct client *c, const struct wire_cancel *cancel)
{
	struct wire_cancel own;

	key_of(c, &own);
	return cancel->key_len == own.key_len && secret_equals(cancel->key, own.key, own.key_len);
}

void session_cancel(struct session_env *env, const struct wire_cancel *cancel)
{
	static const struct wire_error error = {.severity = "ERROR",
	                                        .sqlstate = SQLSTATE_QUERY_CANCELED,
	                                        .message =
	                                                "canceling statement due to user request"};
	struct client *c = welcome_find(env, cancel->pid);

	if (c == NULL || c->phase != PHASE_READY || !is_key_of(c, cancel))
		return;
	if (pool_is_waiting(&c->waiter) || route_is_waiting(c)) {
		lease_end_wait(c, &error);
	} else if (c->server != NULL && !server_is_quiet(c->server)) {
		route_cancelled(c, &error);
		pool_cancel(c->server);
	}
}

void session_cancel_done(struct session_env *env, uint32_t asker)
{
	struct client *c = welcome_find(env, asker);

	if (c != NULL && c->phase == PHASE_CANCEL)
		session_close(c, CLOSE_CLIENT_CANCEL_DONE);
}

/* ---- the messages --------------------------------------------------------------------------- */

/* pg_clean_ascii: what PostgreSQL makes of an application_name. */
void client_put_application_name(struct buf *b, const char *value)
{
	char clean[64];
	size_t len = 0;

	for (; *value != '\0' && len + 1 < sizeof(clean); value++)
		clean[len++] = (char)(*value < 32 || *value > 126 ? '?' : *value);
	clean[len] = '\0';
	wire_put_parameter(b, "application_name", clean);
}

const char *client_setting(const struct client *c, const char *name)
{
	const char *found = NULL, *at = settings_list(c->settings);
	const char *end = at + settings_len(c->settings);

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcasecmp(at, name) == 0)
			found = value;
		at = value + strlen(value) + 1;
	}
	return found;
}

static void put_parameter(void *arg, const char *name, const char *value)
{
	struct client *c = arg;
	struct buf *b = c->env->backend->scratch;
	const char *mine = client_setting(c, "application_name");

	if (strcmp(name, "application_name") == 0)
		client_put_application_name(b, mine != NULL ? mine : "");
	else
		wire_put_parameter(b, name, value);
}

static void put_pool_parameters(struct client *c)
{
	size_t len;
	const char *at = pool_parameters(c->pool, &len), *end = at + len;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		put_parameter(c, at, value);
		at = value + strlen(value) + 1;
	}
	parameters_begin(c, end - len, len);
}

/* server: one with the client's settings made, or NULL. */
static void welcome(struct client *c, const struct server *server)
{
	struct buf *b = c->env->backend->scratch;

	/* Since it waited for a server. */
	if (identity_is_revoked(c)) {
		session_fail(c, CLOSE_CLIENT_REVOKED);
		return;
	}
	if (!welcome_draw_key(c))
		return;
	wire_put_auth(b, 0);
	if (server != NULL) {
		server_each_parameter(server, put_parameter, c);
		parameters_begin_at(c, server);
	} else {
		put_pool_parameters(c);
	}
	welcome_put_key(c, b);
	wire_put_ready(b, 'I');
	client_put(c, b);
	timer_cancel(c->env->timers, &c->deadline_timer);
	c->waiter.on_granted = lease_granted;
	c->waiter.on_refused = lease_refused;
	c->phase = PHASE_READY;
	c->env->n_ready++;
	deadline_ready(c);
}

/* ---- trying the settings on a server -------------------------------------------------------- */

static void fail(struct client *c, const char *sqlstate, const char *message, const char *detail)
{
	struct wire_error e = {.sqlstate = sqlstate, .message = message, .detail = detail};

	session_fatal(c, CLOSE_CLIENT_LOGIN_FAILED, &e);
}

static void try_bytes(void *owner, const void *p, size_t len)
{
	(void)owner, (void)p, (void)len;
}

static void try_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	struct client *c = owner;

	(void)e;
	if (outcome == EXPECT_FAILED)
		c->batch_failed = true;
}

static bool try_ready(void *owner, char status)
{
	(void)owner, (void)status;
	return false;
}

static void try_nothing(void *owner)
{
	(void)owner;
}

static bool try_settled(void *owner)
{
	struct client *c = owner;
	struct server *server = c->server;

	if (!server_is_quiet(server))
		return true;
	if (c->batch_failed)
		fail(c, "22023", server_last_error(server), "A startup setting was refused.");
	else
		welcome(c, server);
	client_flush(c);
	c->server = NULL;
	pool_release(server);
	session_run(c);
	session_settle(c);
	return false;
}

static void try_lost(void *owner, enum close_reason reason)
{
	struct client *c = owner;
	struct server *server = c->server;

	c->server = NULL;
	pool_drop(server, reason);
	session_close(c, reason);
}

static const struct sink_ops try_sink = {
	.on_bytes = try_bytes,
	.on_reply = try_reply,
	.on_ready = try_ready,
	.on_copy_in = try_nothing,
	.on_flush = try_nothing,
	.on_settled = try_settled,
	.on_cancelled = try_nothing,
	.on_drained = try_nothing,
	.on_lost = try_lost,
};

/* True: there are settings whose value only a server can judge. */
static bool needs_trial(const struct client *c)
{
	const char *end = settings_list(c->settings) + settings_len(c->settings);

	for (const char *at = settings_list(c->settings); at < end;) {
		const char *value = at + strlen(at) + 1;

		if (strcasecmp(at, "application_name") != 0)
			return true;
		at = value + strlen(value) + 1;
	}
	return false;
}

static void try_server(struct client *c, struct server *server)
{
	if (!needs_trial(c)) {
		welcome(c, NULL);
		pool_release(server);
		return;
	}
	c->server = server;
	server_set_sink(server, &try_sink, c);
	(void)server_begin(server);
	settings_put(c, true);
	server_put_sync(server, FATE_OURS);
	(void)server_end(server);
}

static void on_granted(struct pool_waiter *w, struct server *server)
{
	struct client *c = CONTAINER_OF(w, struct client, waiter);

	timer_cancel(c->env->timers, &c->wait_timer);
	lease_waited(c, &c->waiter);
	try_server(c, server);
	session_run(c);
}

static void on_refused(struct pool_waiter *w, const struct wire_error *e)
{
	struct client *c = CONTAINER_OF(w, struct client, waiter);

	session_fatal(c, CLOSE_CLIENT_LOGIN_FAILED, e);
	session_run(c);
	session_settle(c);
}

void welcome_start(struct client *c)
{
	struct server *server;
	size_t len;

	c->waiter.tenant = c->ticket->tenant;
	pool_waiter_enter(c->pool, &c->waiter);
	if (pool_parameters(c->pool, &len) != NULL && !needs_trial(c)) {
		welcome(c, NULL);
		return;
	}
	c->phase = PHASE_WELCOME;
	c->waiter.on_granted = on_granted;
	c->waiter.on_refused = on_refused;
	server = pool_acquire(c->pool, &c->waiter);
	if (server != NULL)
		try_server(c, server);
	else if (pool_is_waiting(&c->waiter))
		lease_start_wait(c);
}

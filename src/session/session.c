/* A client's life. The life of one query, in order:
 *
 *   on_readable ─► session_run            reads into the worker's buffer
 *     session_step_ready                  one message: its header, then by its type
 *       query_take | batch_parse, _bind, _execute, _sync ...
 *         guard_classify                  what is it? (remembered by normalised text)
 *         lease_get ─► pool_acquire       a server, or the tenant's turn in the queue
 *         lease_before                    deferred BEGIN, tenant context
 *         server_expect, outvec_ref       the client's own bytes behind them
 *       lease_sent ─► server_end          all of it in one write
 *   server_on_readable ─► consume         steps over the replies; ours are swallowed
 *     session_sink: on_bytes, on_ready    (relay.c) the client's bytes; the transaction's status
 *     on_flush ─► client_flush            one write
 *     on_settled ─► lease_give_back       the server goes to the next one who waits
 *
 * A client belongs to one worker and is touched on its thread only. It is freed at the loop's edge
 * (session_reap), so that whoever is further up the stack may still look at it. What cannot be
 * taken yet is kept in `held`; while the client is blocked (it waits for a server, for
 * ReadyForQuery, or its peer does not take bytes) nothing is read from it, so memory is bounded
 * in both directions. */
#include "route_int.h"

#include "auth_directory.h"
#include "pool_look.h"
#include "sql_catalog.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MORE_BYTES 16384
#define SERVER_OWED_MAX 4096 /* replies: more messages wait until some have come */
#define RUN_SHARE_US (2 * US_PER_MS)
/* Signature checks (0.1 to 0.4 ms) and steps of TLS handshakes in one turn of the loop: thousands
 * of forged tokens at once must not stop those who are in. */
#define LOGINS_PER_TURN 4
#define SWEEP_CLIENTS 1000 /* at about 0.5 us each */
#define FINISH_GRACE_US (5 * US_PER_S)

typedef enum step step_fn(struct client *c, const uint8_t *p, size_t n, size_t *used);

static step_fn *const steps[PHASE_COUNT] = {
	[PHASE_STARTUP] = session_step_startup,
	[PHASE_PASSWORD] = session_step_password,
	[PHASE_READY] = session_step_ready,
	[PHASE_CONSOLE] = session_step_console,
};

/* ---- output -------------------------------------------------------------------------------- */

/* What another client was told just before goes out first: a server that one gives back can set the
 * next one going in the middle of an event. */
struct outvec *client_out(struct client *c)
{
	struct outvec *v = c->env->to_client;

	if (v->to == &c->stream)
		return v;
	if (v->to != NULL)
		(void)outvec_end(v); /* a broken stream tells its owner by itself */
	outvec_begin(v, &c->stream);
	return v;
}

void client_put(struct client *c, struct buf *b)
{
	c->counters->sent_bytes += b->len;
	outvec_copy(client_out(c), b->data, b->len);
	b->len = 0;
}

void client_put_bare(struct client *c, uint8_t type)
{
	wire_put_bare(c->env->backend->scratch, type);
	client_put(c, c->env->backend->scratch);
}

/* The end of a query that no server was asked about. */
void client_put_ready(struct client *c)
{
	c->counters->query_count++;
	c->counters->xact_count += c->txn.state == TXN_NONE;
	wire_put_ready(c->env->backend->scratch, txn_status(&c->txn));
	client_put(c, c->env->backend->scratch);
	/* As relay_end_batch. */
	if (session_leaving(c) != CLOSE_NONE && session_is_idle(c))
		session_fail(c, session_leaving(c));
}

void client_put_error(struct client *c, const struct wire_error *e)
{
	wire_put_error(c->env->backend->scratch, e);
	client_put(c, c->env->backend->scratch);
}

void client_flush(struct client *c)
{
	if (c->env->to_client->to != &c->stream)
		return;
	if (!outvec_end(c->env->to_client))
		session_fail(c, CLOSE_CLIENT_IO);
}

/* ---- input ----------------------------------------------------------------------------------- */

static bool server_takes(const struct client *c)
{
	return c->server == NULL ||
	       (server_backlog_bytes(c->server) == 0 && !server_note(c->server)->cancelling &&
	        server_owed(c->server) < SERVER_OWED_MAX);
}

static bool can_take(const struct client *c)
{
	if (c->closing != CLOSE_NONE || steps[c->phase] == NULL || c->is_parked ||
	    stream_backlog_bytes(&c->stream) > CLIENT_BACKLOG_MAX)
		return false;
	if (c->phase == PHASE_CONSOLE)
		return c->flow == FLOW_OPEN;
	if (c->phase != PHASE_READY)
		return true;
	if (c->batch_ended && c->body_left == 0)
		return false; /* the server is about to be given back */
	return (c->flow == FLOW_OPEN || c->flow == FLOW_COPY_IN) && server_takes(c);
}

/* No more is taken until replies have come, and a server may keep them back until a Flush or
 * Sync, which the client has not sent, or which is what is not taken. */
static void ask_for_replies(struct client *c)
{
	static const uint8_t flush[] = {'H', 0, 0, 0, 4};

	if (c->server == NULL || server_owed(c->server) < SERVER_OWED_MAX || c->body_left > 0)
		return;
	outvec_copy(lease_send(c), flush, sizeof(flush));
}

/* Takes as many messages as it can; returns how many bytes that was. */
static size_t take(struct client *c, const uint8_t *p, size_t n)
{
	size_t at = 0;

	while (at < n && can_take(c)) {
		size_t used = 0;
		enum step step = steps[c->phase](c, p + at, n - at, &used);

		at += used;
		if (step != STEP_MORE || (at < n && clock_mono_us() > c->env->run_until_us))
			break;
	}
	ask_for_replies(c);
	lease_sent(c);
	deadline_heard(c);
	return at;
}

static void take_held(struct client *c)
{
	size_t used = take(c, c->held.data, c->held.len);

	buf_consume(&c->held, used);
	if (c->held.len == 0)
		buf_fini(&c->held);
}

static enum close_reason broken(const struct client *c)
{
	const char *failure = stream_tls_failure(&c->stream);

	if (failure == NULL)
		return CLOSE_CLIENT_IO;
	log_info("client %s: TLS failed: %s", c->peer.text, failure);
	return CLOSE_CLIENT_TLS;
}

/* One read: behind what is held, or taken at once where it lies and the rest held. False: nothing
 * to read now. */
static bool read_once(struct client *c)
{
	bool in_held = c->held.len > 0;
	uint8_t *at = c->env->in;
	size_t cap = c->env->in_size;
	ssize_t n;

	if (in_held) {
		at = buf_reserve(&c->held, READ_MORE_BYTES);
		cap = c->held.cap - c->held.len;
	}
	n = stream_read(&c->stream, at, cap);
	if (n == STREAM_WAIT)
		return false;
	if (n < 0) {
		session_fail(c, n == STREAM_EOF ? CLOSE_CLIENT_EOF : broken(c));
		return false;
	}
	c->counters->received_bytes += (size_t)n;
	if (in_held) {
		c->held.len += (size_t)n;
	} else {
		size_t used = take(c, at, (size_t)n);

		buf_put(&c->held, at + used, (size_t)n - used);
	}
	return true;
}

bool session_may_login(struct client *c)
{
	struct session_env *env = c->env;

	if (env->logins_left > 0) {
		env->logins_left--;
		return true;
	}
	c->is_parked = true;
	list_remove(&c->run_link);
	list_push_back(&env->logins, &c->run_link);
	env->wake_edge(env->worker);
	return false;
}

static bool is_in_handshake(const struct client *c)
{
	return c->is_encrypted && c->phase == PHASE_STARTUP;
}

/* Until the client is blocked, has nothing more to say, or has had its share of the worker's
 * time; then its next turn comes when the others have had theirs. */
static void run_one(struct client *c)
{
	bool try_held = true, has_begun = false;

	c->is_running = true;
	c->env->now_us = clock_mono_us();
	c->env->run_until_us = c->env->now_us + RUN_SHARE_US;
	while (c->closing == CLOSE_NONE) {
		if (try_held && c->held.len > 0 && can_take(c)) {
			take_held(c);
			has_begun = true;
		}
		/* Only here, where nothing lies in the read buffer: the server may go to a client
		 * who then reads. */
		try_held = relay_end_batch(c);
		if (try_held)
			continue;
		if (!can_take(c))
			break;
		if (has_begun && clock_mono_us() > c->env->run_until_us) {
			list_remove(&c->run_link);
			list_push_back(&c->env->again, &c->run_link);
			c->env->wake_edge(c->env->worker);
			break;
		}
		try_held = c->held.len > 0;
		if (is_in_handshake(c) && !session_may_login(c))
			break;
		if (!read_once(c))
			break;
		has_begun = true;
	}
	client_flush(c);
	c->is_running = false;
	session_settle(c);
}

/* Never nested: there is one read buffer. A client that another one's message sets going (by
 * giving it a server) has its turn right behind. */
void session_run(struct client *c)
{
	struct session_env *env = c->env;
	struct list *link = &c->run_link;

	OBJ_CHECK(c, CLIENT_MAGIC);
	if (c->is_running || c->is_parked || c->phase == PHASE_CLOSED)
		return;
	list_remove(link);
	list_push_back(&env->runnable, link);
	if (env->is_running)
		return;
	env->is_running = true;
	while ((link = list_pop_front(&env->runnable)) != NULL)
		run_one(LIST_MEMBER(link, struct client, run_link));
	env->is_running = false;
}

/* One share of the time for all of them: then the loop looks who else has something to say. Who
 * comes on the list again has had a whole share. */
static void run_again(struct session_env *env)
{
	int64_t until_us = clock_mono_us() + RUN_SHARE_US;
	struct list *link;

	while ((link = list_pop_front(&env->again)) != NULL) {
		session_run(LIST_MEMBER(link, struct client, run_link));
		if (clock_mono_us() >= until_us)
			return;
	}
}

static void run_logins(struct session_env *env)
{
	env->logins_left = LOGINS_PER_TURN;
	while (env->logins_left > 0 && !list_is_empty(&env->logins)) {
		struct client *c =
			LIST_MEMBER(list_pop_front(&env->logins), struct client, run_link);

		c->is_parked = false;
		session_run(c);
	}
}

void session_edge(struct session_env *env)
{
	if (!list_is_empty(&env->again))
		run_again(env);
	run_logins(env);
	if (env->is_directory_new)
		directory_apply(env);
	if (!list_is_empty(&env->again) || !list_is_empty(&env->logins))
		env->wake_edge(env->worker);
	session_reap(env);
}

/* While the client is blocked nothing is read, so its end must be asked for. One that is gone
 * gives up its server at once; one that has only finished sending gets its reply, if that does
 * not take too long: a killed client looks the same, and must not hold a server for hours. */
static void look_at_peer(struct client *c)
{
	switch (stream_peer(&c->stream)) {
	case STREAM_PEER_GONE:
		session_close(c, CLOSE_CLIENT_IO);
		break;
	case STREAM_PEER_FINISHED:
		/* During the login it is no half-closed client that wants its reply: it has given
		 * up, and would hold its place until client_login_timeout, or until the issuer has
		 * answered. */
		if (c->phase == PHASE_WELCOME || c->phase == PHASE_KEYS || c->phase == PHASE_CANCEL)
			session_close(c, CLOSE_CLIENT_EOF);
		else if ((c->phase == PHASE_READY || c->phase == PHASE_CONSOLE) &&
		         !timer_is_armed(&c->finish_timer))
			timer_arm(c->env->timers, &c->finish_timer, FINISH_GRACE_US);
		break;
	case STREAM_PEER_THERE:
		break;
	}
}

static void on_finish_timeout(struct timer *timer)
{
	session_close(CONTAINER_OF(timer, struct client, finish_timer), CLOSE_CLIENT_EOF);
}

static void on_readable(void *owner)
{
	struct client *c = owner;

	/* Blocked already: this is not a message, or not one that is wanted now. */
	if (c->phase == PHASE_STARTUP || c->phase == PHASE_PASSWORD || c->phase == PHASE_CLOSED ||
	    can_take(c)) {
		session_run(c);
		return;
	}
	look_at_peer(c);
	/* A backlog that could not be sent is gone, and no on_writable will come: whoever waits for
	 * that goes on, and the next write tells. */
	if (c->server != NULL && stream_backlog_bytes(&c->stream) == 0)
		server_resume(c->server);
}

/* A reset that comes together with the last bytes is not told apart from them (one edge, and
 * libevent hides EPOLLERR), so every client is looked at now and then. */
void session_sweep(struct session_env *env)
{
	struct list *last = env->clients.prev;

	for (unsigned n = 0; n < SWEEP_CLIENTS && !list_is_empty(&env->clients); n++) {
		struct client *c = LIST_MEMBER(env->clients.next, struct client, link);
		bool was_last = &c->link == last;

		list_remove(&c->link);
		list_push_back(&env->clients, &c->link);
		look_at_peer(c);
		if (was_last)
			return;
	}
}

/* The client takes bytes again: so may the server be read again. */
static void on_writable(void *owner)
{
	struct client *c = owner;

	OBJ_CHECK(c, CLIENT_MAGIC);
	if (c->server != NULL)
		server_resume(c->server);
	session_run(c);
}

static const struct stream_events client_events = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

/* ---- birth ---------------------------------------------------------------------------------- */

static struct client *client_new(struct session_env *env, const struct peer *peer)
{
	struct client *c = mem_zalloc(sizeof(*c));

	OBJ_INIT(c, CLIENT_MAGIC);
	c->env = env;
	c->first_path = FRESH_NO_PATH;
	c->peer = *peer;
	c->counters = &env->nobody;
	c->connected_s = clock_wall_s();
	list_init(&c->link);
	list_init(&c->run_link);
	list_init(&c->stranger_link);
	list_push_back(&env->clients, &c->link);
	list_push_back(&env->strangers, &c->stranger_link);
	map_init(&c->stmts);
	pool_waiter_init(&c->waiter);
	c->waiter.on_granted = lease_granted;
	c->waiter.on_refused = lease_refused;
	timer_init(&c->wait_timer, lease_timeout);
	timer_init(&c->deadline_timer, deadline_fire);
	timer_init(&c->finish_timer, on_finish_timeout);
	deadline_login(c);
	report_begin(c);
	atomic_fetch_add(env->n_clients, 1);
	env->n_here++;
	return c;
}

/* The descriptors left are for others: no waiting for its first message, no TLS. */
static void refuse_at_once(struct session_env *env, int fd)
{
	struct buf *b = env->backend->scratch;

	/* Unread bytes would make the close a reset, which takes our last word with it. */
	(void)recv(fd, env->in, env->in_size, MSG_DONTWAIT);
	wire_put_close_reason(b, CLOSE_CLIENT_ROOM);
	(void)send(fd, b->data, b->len, MSG_NOSIGNAL | MSG_DONTWAIT);
	b->len = 0;
	close(fd);
}

void session_accept(struct session_env *env, int fd, const struct peer *peer)
{
	struct client *c;

	if (env->client_room > 0 && atomic_load(env->n_clients) >= env->client_room &&
	    !deadline_make_place(env, NULL)) {
		refuse_at_once(env, fd);
		return;
	}
	if (env->is_draining) {
		close(fd);
		return;
	}
	c = client_new(env, peer);
	/* What it has said already comes as an event of its own: not in the listener's, which takes
	 * many clients at once. */
	stream_init(&c->stream, env->base, fd, &client_events, c);
}

struct client *session_accept_fake(struct session_env *env, const struct stream_ops *ops,
                                   const struct peer *peer)
{
	struct client *c = client_new(env, peer);

	stream_init_fake(&c->stream, ops, &client_events, c);
	return c;
}

/* ---- death ---------------------------------------------------------------------------------- */

void session_fail(struct client *c, enum close_reason reason)
{
	if (c->closing == CLOSE_NONE)
		c->closing = reason;
}

void session_fatal(struct client *c, enum close_reason reason, const struct wire_error *e)
{
	struct wire_error fatal = *e;

	if (c->closing != CLOSE_NONE)
		return;
	fatal.severity = "FATAL";
	client_put_error(c, &fatal);
	c->closing = reason;
	c->is_told = true;
}

static void give_up_server(struct client *c)
{
	struct server *server = c->server;

	stmts_ready(c);
	c->server = NULL;
	if (server == NULL)
		return;
	if (c->has_written)
		route_wrote(c);
	if (server_is_quiet(server) && !(c->body_left > 0 && c->body_passes)) {
		pool_release(server);
	} else {
		server_forget_expected(server);
		pool_abandon(server);
	}
}

static void log_end(const struct client *c)
{
	const struct close_reason_info *info = close_reason_info(c->closing);

	if (c->closing == CLOSE_CLIENT_CANCEL_DONE || !c->env->conf->pgusher.log_disconnections)
		return;
	log_info("client %s closed: %s user=%s database=%s tenant=%s", c->peer.text, info->label,
	         LOG_QUOTE(c->user), LOG_QUOTE(c->database),
	         c->ticket != NULL ? c->ticket->tenant : "");
}

/* Everything but the memory of the struct itself. */
void session_settle(struct client *c)
{
	struct session_env *env = c->env;

	if (c->closing == CLOSE_NONE || c->phase == PHASE_CLOSED || c->is_running)
		return;
	env->n_ready -= c->phase == PHASE_READY;
	c->phase = PHASE_CLOSED;
	log_end(c);
	report_end(c);
	if (!c->is_told && (c->server == NULL || !server_is_mid_message(c->server))) {
		wire_put_close_reason(env->backend->scratch, c->closing);
		if (env->backend->scratch->len > 0)
			client_put(c, env->backend->scratch);
		client_flush(c);
	}
	pin_leave(c);
	client_limit_leave(c);
	pool_wait_end(&c->waiter);
	pool_waiter_fini(&c->waiter);
	route_free(c);
	timer_cancel(env->timers, &c->wait_timer);
	timer_cancel(env->timers, &c->deadline_timer);
	timer_cancel(env->timers, &c->finish_timer);
	stream_fini(&c->stream);
	if (c->pid != 0)
		map_remove(&env->by_pid, &c->by_pid);
	atomic_fetch_sub(env->n_clients, 1);
	env->n_here--;
	admin_leave(c);
	if (c->pool != NULL)
		pool_count_client(c->pool, -1);
	list_remove(&c->run_link);
	list_remove(&c->stranger_link);
	list_remove(&c->link);
	list_push_back(&env->dead, &c->link);
	env->wake_edge(env->worker);
	give_up_server(c);
}

struct client *session_of_link(struct list *link)
{
	struct client *c = LIST_MEMBER(link, struct client, link);

	OBJ_CHECK(c, CLIENT_MAGIC);
	return c;
}

void session_close(struct client *c, enum close_reason reason)
{
	OBJ_CHECK(c, CLIENT_MAGIC);
	session_fail(c, reason);
	session_settle(c);
}

static void client_free(struct client *c)
{
	list_remove(&c->link);
	script_free(c);
	stmts_forget(c);
	map_fini(&c->stmts);
	text_put(c->env, &c->unnamed);
	portals_forget(c);
	admin_free(c);
	text_put(c->env, &c->own_portal);
	wish_free(c);
	identity_free(c);
	report_free(c);
	mem_free(c->startup_token);
	buf_fini(&c->held);
	buf_fini(&c->refusal);
	settings_free(c);
	parameters_free(c);
	mem_free(c->database);
	mem_free(c->user);
	OBJ_FINI(c, CLIENT_MAGIC);
	mem_free(c);
}

void session_reap(struct session_env *env)
{
	while (!list_is_empty(&env->dead))
		client_free(LIST_MEMBER(env->dead.next, struct client, link));
}

/* ---- all clients ---------------------------------------------------------------------------- */

void session_env_init(struct session_env *env)
{
	list_init(&env->clients);
	list_init(&env->dead);
	list_init(&env->runnable);
	list_init(&env->again);
	list_init(&env->strangers);
	list_init(&env->logins);
	env->logins_left = LOGINS_PER_TURN;
	map_init(&env->by_pid);
	map_init(&env->texts);
	map_init(&env->settings);
	map_init(&env->parameters);
}

void session_env_fini(struct session_env *env)
{
	session_reap(env);
	MUST(list_is_empty(&env->clients));
	auth_directory_put(&env->directory);
	sql_catalog_put(&env->catalog);
	map_fini(&env->by_pid);
	map_fini(&env->texts);
	map_fini(&env->settings);
	map_fini(&env->parameters);
}

void session_each(struct session_env *env, bool (*visit)(struct client *c, void *arg), void *arg)
{
	for (size_t left = env->n_here; left > 0 && !list_is_empty(&env->clients); left--) {
		struct client *c = LIST_MEMBER(env->clients.next, struct client, link);

		list_remove(&c->link);
		list_push_back(&env->clients, &c->link);
		if (!visit(c, arg))
			return;
	}
}

static bool drain(struct client *c, void *arg)
{
	(void)arg;
	if (c->phase != PHASE_READY || session_is_idle(c))
		session_close(c, CLOSE_SHUTDOWN);
	return true;
}

void session_drain(struct session_env *env)
{
	env->is_draining = true;
	session_each(env, drain, NULL);
}

enum close_reason session_leaving(const struct client *c)
{
	return c->env->is_draining ? CLOSE_SHUTDOWN : c->leaving;
}

bool session_is_idle(const struct client *c)
{
	return c->phase == PHASE_READY && c->flow == FLOW_OPEN && !c->batch_open &&
	       c->txn.state == TXN_NONE;
}

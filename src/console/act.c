/* Commands that do something. What concerns databases is checked at the first worker, whose state
 * all rounds meet in the same order; then every worker does its part.
 *
 * PAUSE closes servers as they become free (pool/pause.c) and answers when the last one is gone:
 * their number is shared by all workers, so home looks at it every 50 ms. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "console_int.h"

#define POLL_US (50 * US_PER_MS)

/* NULL: all of them. */
static const char *database_of(const struct round *r)
{
	return r->command.arg[0] != '\0' ? r->command.arg : NULL;
}

static struct pools *pools_of(const struct console *console)
{
	return console->env.session->pools;
}

/* At the first worker only. False: refused. */
static bool check_database(struct console *console, struct round *r, const char *what)
{
	const char *database = database_of(r);

	if (console->env.worker != 0 || database == NULL || r->pids != NULL)
		return true;
	if (conf_is_console(database))
		round_fail(r, SQLSTATE_NOT_IN_STATE, "cannot %s admin db: %s", what, database);
	else if (conf_find_database(console->env.session->conf, database) == NULL)
		round_fail(r, SQLSTATE_UNKNOWN_DATABASE, "no such database: %s", database);
	return !r->is_error;
}

static bool check_unpaused(struct console *console, struct round *r)
{
	if (console->env.worker == 0 && r->pids == NULL &&
	    pools_are_paused(pools_of(console), NULL))
		round_fail(r, SQLSTATE_NOT_IN_STATE, "already suspended/paused");
	return !r->is_error;
}

/* ---- PAUSE, RESUME --------------------------------------------------------------------------- */

static enum visit visit_pause(struct console *console, struct round *r)
{
	if (!check_unpaused(console, r) || !check_database(console, r, "pause"))
		return VISIT_STOP;
	pools_pause(pools_of(console), database_of(r));
	return VISIT_DONE;
}

/* True: it is finished, well or not. */
static bool pause_is_over(struct console *console, struct round *r)
{
	if (pools_shared_servers(console->env.pools, database_of(r)) == 0 ||
	    !session_console_is_there(console->env.session, &r->asker))
		return true;
	if (pools_are_paused(pools_of(console), database_of(r)))
		return false;
	round_fail(r, SQLSTATE_QUERY_CANCELED, "RESUME came before the servers were released");
	return true;
}

static bool finish_pause(struct console *console, struct round *r)
{
	if (pause_is_over(console, r))
		return true;
	list_push_back(&console->pausers, &r->waiting);
	if (!timer_is_armed(&console->pause_timer))
		timer_arm(console->env.timers, &console->pause_timer, POLL_US);
	return false;
}

void act_poll_pausers(struct timer *timer)
{
	struct console *console = CONTAINER_OF(timer, struct console, pause_timer);
	struct list over;
	struct list *link;

	list_init(&over);
	LIST_FOREACH(at, &console->pausers) {
		if (!pause_is_over(console, LIST_MEMBER(at, struct round, waiting)))
			continue;
		list_remove(at);
		list_push_back(&over, at);
	}
	if (!list_is_empty(&console->pausers))
		timer_arm(console->env.timers, timer, POLL_US);
	/* Its client may ask for the next PAUSE before this returns. */
	while ((link = list_pop_front(&over)) != NULL)
		round_finish(LIST_MEMBER(link, struct round, waiting));
}

ACTION(PAUSE, visit_pause, finish_pause, "PAUSE");

static enum visit visit_resume(struct console *console, struct round *r)
{
	const char *database = database_of(r);

	if (!check_database(console, r, "resume"))
		return VISIT_STOP;
	if (pools_resume(pools_of(console), database) || console->env.worker != 0)
		return VISIT_DONE;
	if (database == NULL)
		round_fail(r, SQLSTATE_NOT_IN_STATE, "pooler is not paused/suspended");
	else
		round_fail(r, SQLSTATE_NOT_IN_STATE, "database %s is not paused", database);
	return VISIT_STOP;
}

ACTION(RESUME, visit_resume, NULL, "RESUME");

static enum visit visit_signal_pause(struct console *console, struct round *r)
{
	(void)r;
	pools_pause(pools_of(console), NULL);
	return VISIT_DONE;
}

ACTION(SIGNAL_PAUSE, visit_signal_pause, NULL, "");

static enum visit visit_signal_resume(struct console *console, struct round *r)
{
	(void)r;
	(void)pools_resume(pools_of(console), NULL);
	return VISIT_DONE;
}

ACTION(SIGNAL_RESUME, visit_signal_resume, NULL, "");

static enum visit visit_reconnect(struct console *console, struct round *r)
{
	if (!check_database(console, r, "reconnect"))
		return VISIT_STOP;
	pools_reconnect(pools_of(console), database_of(r));
	return VISIT_DONE;
}

ACTION(RECONNECT, visit_reconnect, NULL, "RECONNECT");

/* ---- WAIT_CLOSE ------------------------------------------------------------------------------ */

struct closing {
	struct round *round;
	const char *database;
};

static void count_closing(void *arg, const struct server_info *info)
{
	const struct closing *closing = arg;

	if (closing->database == NULL || strcmp(info->pool->database, closing->database) == 0)
		closing->round->n_hit += info->close_needed;
}

/* Servers that RECONNECT or PAUSE has told to close: until none is left. */
static enum visit visit_wait_close(struct console *console, struct round *r)
{
	struct closing closing = {r, database_of(r)};

	if (!check_database(console, r, "wait_close"))
		return VISIT_STOP;
	pools_each_server(pools_of(console), count_closing, &closing);
	return VISIT_DONE;
}

static bool finish_wait_close(struct console *console, struct round *r)
{
	if (r->n_hit == 0 || !session_console_is_there(console->env.session, &r->asker))
		return true;
	list_push_back(&console->closers, &r->waiting);
	if (!timer_is_armed(&console->close_timer))
		timer_arm(console->env.timers, &console->close_timer, POLL_US);
	return false;
}

/* They go round the workers once more. */
void act_poll_closers(struct timer *timer)
{
	struct console *console = CONTAINER_OF(timer, struct console, close_timer);
	struct list *link;

	while ((link = list_pop_front(&console->closers)) != NULL) {
		struct round *r = LIST_MEMBER(link, struct round, waiting);

		r->n_hit = 0;
		r->is_home = false;
		round_start(r);
	}
}

ACTION(WAIT_CLOSE, visit_wait_close, finish_wait_close, "WAIT_CLOSE");

/* ---- DISABLE, ENABLE ------------------------------------------------------------------------- */

static enum visit visit_disable(struct console *console, struct round *r)
{
	if (!check_database(console, r, "disable"))
		return VISIT_STOP;
	pools_disable(pools_of(console), database_of(r), true);
	return VISIT_DONE;
}

ACTION(DISABLE, visit_disable, NULL, "DISABLE");

static enum visit visit_enable(struct console *console, struct round *r)
{
	if (!check_database(console, r, "enable"))
		return VISIT_STOP;
	pools_disable(pools_of(console), database_of(r), false);
	return VISIT_DONE;
}

ACTION(ENABLE, visit_enable, NULL, "ENABLE");

/* ---- what PgBouncer's online restart is made of ---------------------------------------------- */

static bool refuse_takeover(struct round *r, const char *command)
{
	round_fail(r, SQLSTATE_FEATURE_NOT_SUPPORTED,
	           "%s is not supported: no process takes over another one's connections. Start "
	           "the next PgUsher beside this one on the same port, then SHUTDOWN "
	           "WAIT_FOR_CLIENTS here; to keep queries from the servers, PAUSE",
	           command);
	return true;
}

static bool finish_suspend(struct console *console, struct round *r)
{
	(void)console;
	return refuse_takeover(r, "SUSPEND");
}

ACTION(SUSPEND, NULL, finish_suspend, "SUSPEND");

static bool finish_fds(struct console *console, struct round *r)
{
	(void)console;
	return refuse_takeover(r, "SHOW FDS");
}

ACTION(SHOW_FDS, NULL, finish_fds, "SHOW");

/* ---- KILL, KILL_CLIENT, KILL_TENANT, REVOKE -------------------------------------------------- */

/* Paused until RESUME, as PgBouncer does it, so that nobody comes back at once. */
static enum visit visit_kill(struct console *console, struct round *r)
{
	struct session_env *session = console->env.session;
	const char *database = database_of(r);
	struct session_info info;
	unsigned n = 0;
	uint32_t pid;

	if (r->pids == NULL) {
		if (!check_unpaused(console, r) || !check_database(console, r, "kill"))
			return VISIT_STOP;
		pools_pause(pools_of(console), database);
	}
	while ((pid = round_next_pid(console, r, &n)) != 0) {
		if (session_look(session, pid, &info) && info.pool_database != NULL &&
		    (database == NULL || strcmp(info.pool_database, database) == 0))
			(void)session_kill(session, pid, CLOSE_CLIENT_KILLED);
	}
	return round_slice_ends(r);
}

ACTION(KILL, visit_kill, NULL, "KILL");

/* SHOW CLIENTS' id, or its ptr. 0: neither. */
static uint32_t parse_id(const char *text)
{
	char *end;
	unsigned long long id;

	if (text[0] < '0' || text[0] > '9')
		return 0;
	id = strtoull(text, &end, strncasecmp(text, "0x", 2) == 0 ? 16 : 10);
	return *end == '\0' && id <= UINT32_MAX ? (uint32_t)id : 0;
}

static enum visit visit_kill_client(struct console *console, struct round *r)
{
	uint32_t id = parse_id(r->command.arg);

	if (id == 0) {
		round_fail(r, SQLSTATE_SYNTAX_ERROR, "invalid client id");
		return VISIT_STOP;
	}
	r->n_hit += session_kill(console->env.session, id, CLOSE_CLIENT_KILLED);
	return VISIT_DONE;
}

static bool finish_kill_client(struct console *console, struct round *r)
{
	(void)console;
	if (r->n_hit == 0)
		round_fail(r, SQLSTATE_UNDEFINED_OBJECT, "client not found");
	return true;
}

ACTION(KILL_CLIENT, visit_kill_client, finish_kill_client, "KILL_CLIENT");

/* New clients of it may come: REVOKE its tokens as well, or let the issuer stop. */
static enum visit visit_kill_tenant(struct console *console, struct round *r)
{
	struct session_env *session = console->env.session;
	unsigned n = 0;
	uint32_t pid;

	while ((pid = round_next_pid(console, r, &n)) != 0) {
		if (session_is_of_tenant(session, pid, r->command.arg))
			r->n_hit += session_kill(session, pid, CLOSE_CLIENT_KILLED);
	}
	return round_slice_ends(r);
}

static bool finish_kill_tenant(struct console *console, struct round *r)
{
	(void)console;
	if (r->n_hit == 0)
		round_fail(r, SQLSTATE_UNDEFINED_OBJECT, "tenant has no clients");
	return true;
}

ACTION(KILL_TENANT, visit_kill_tenant, finish_kill_tenant, "KILL_TENANT");

/* From the first slice on nobody logs in with it any more. Sessions tell when it expires. */
static enum visit visit_revoke(struct console *console, struct round *r)
{
	struct session_env *session = console->env.session;
	const char *jti = r->command.arg;
	int64_t exp_s;
	unsigned n = 0;
	uint32_t pid;

	if (r->pids == NULL && !auth_revoked_add(session->revoked, jti, 0, clock_wall_s())) {
		round_fail(r, SQLSTATE_PROGRAM_LIMIT, "too many revoked tokens");
		return VISIT_STOP;
	}
	while ((pid = round_next_pid(console, r, &n)) != 0) {
		if (!session_has_token(session, pid, jti, &exp_s))
			continue;
		(void)auth_revoked_add(session->revoked, jti, exp_s, clock_wall_s());
		(void)session_kill(session, pid, CLOSE_CLIENT_REVOKED);
	}
	return round_slice_ends(r);
}

ACTION(REVOKE, visit_revoke, NULL, "REVOKE");

/* ---- what the main thread does --------------------------------------------------------------- */

/* False: it is on its way. */
static bool order(struct console *console, struct round *r, enum console_order_kind kind)
{
	const struct console_main *main = &console->env.shared->main;

	if (r->is_ordered) {
		if (r->order.error[0] != '\0')
			round_fail(r, "F0000", "%s", r->order.error); /* config_file_error */
		return true;
	}
	r->is_ordered = true;
	r->order.kind = kind;
	main->take(main->arg, &r->order);
	return false;
}

static bool finish_reload(struct console *console, struct round *r)
{
	return order(console, r, ORDER_RELOAD);
}

ACTION(RELOAD, NULL, finish_reload, "RELOAD");

static bool finish_shutdown(struct console *console, struct round *r)
{
	const char *how = r->command.arg;

	if (how[0] == '\0')
		return order(console, r, ORDER_SHUTDOWN);
	if (strcasecmp(how, "wait_for_servers") == 0)
		return order(console, r, ORDER_SHUTDOWN_SERVERS);
	if (strcasecmp(how, "wait_for_clients") == 0)
		return order(console, r, ORDER_SHUTDOWN_CLIENTS);
	round_fail(r, SQLSTATE_SYNTAX_ERROR, "invalid command 'SHUTDOWN %s', use SHOW HELP;", how);
	return true;
}

ACTION(SHUTDOWN, NULL, finish_shutdown, "SHUTDOWN");

/* What happens to a server between two clients, and to one that nobody has.
 *
 *   pool_release ─► clean_start ─► quiet, status I, no taint ─────────────► pool_offer
 *                       │ in a transaction: ROLLBACK   ┐ on_ready,
 *                       │ tainted: DISCARD ALL         ┤
 *                       │ or only by settings: RESET   ┴─ on_settled ─► clean_start again
 *                       └ anything in doubt ─► pool_close
 *
 * The rule is that a connection whose state is not known to be clean is closed, not pooled. */
#include "pool_int.h"

static void idle_bytes(void *owner, const void *p, size_t len)
{
	(void)owner, (void)p, (void)len;
}

static void idle_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	(void)owner, (void)e, (void)outcome;
}

static bool idle_ready(void *owner, char status)
{
	(void)owner, (void)status;
	return false;
}

static void idle_nothing(void *owner)
{
	(void)owner;
}

static bool idle_settled(void *owner)
{
	(void)owner;
	return true;
}

static void idle_lost(void *owner, enum close_reason reason)
{
	pool_close(owner, reason);
}

/* An idle server: notices and parameters may come, and the end. */
const struct sink_ops pool_idle_sink = {
	.on_bytes = idle_bytes,
	.on_reply = idle_reply,
	.on_ready = idle_ready,
	.on_copy_in = idle_nothing,
	.on_flush = idle_nothing,
	.on_settled = idle_settled,
	.on_cancelled = idle_nothing,
	.on_drained = idle_nothing,
	.on_lost = idle_lost,
};

static void clean_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	(void)e;
	if (outcome == EXPECT_FAILED)
		server_note(owner)->taint |= TAINT_DOUBT;
}

static bool clean_settled(void *owner)
{
	struct server *server = owner;

	/* More is to come, and may be there already: the stream is read until it is drained. */
	if (!server_is_quiet(server))
		return true;
	if (clean_start(server))
		pool_recycle(server);
	return false;
}

/* A cancel was under way when the server came back: now it can be looked at. */
static void clean_cancelled(void *owner)
{
	(void)clean_settled(owner);
}

static const struct sink_ops clean_sink = {
	.on_bytes = idle_bytes,
	.on_reply = clean_reply,
	.on_ready = idle_ready,
	.on_copy_in = idle_nothing,
	.on_flush = idle_nothing,
	.on_settled = clean_settled,
	.on_cancelled = clean_cancelled,
	.on_drained = idle_nothing,
	.on_lost = idle_lost,
};

bool clean_is_at_work(const struct server *server)
{
	return server_sink(server, NULL) == &clean_sink;
}

/* What a client has set may keep the next one's settings from being made (statement_timeout), or
 * end the idle connection. Its prepared statements can stay. */
static void take_settings_back(struct server *server)
{
	server_note(server)->taint = 0;
	server_put_settings(server, NULL, 0, false);
}

/* True: the server is clean. False: it is being cleaned, or is closed. */
bool clean_start(struct server *server)
{
	struct server_note *note = server_note(server);
	const char *sql = NULL;

	server_set_sink(server, &clean_sink, server);
	if (note->cancelling)
		return false;
	if ((note->taint & TAINT_DOUBT) || !server_is_quiet(server)) {
		pool_close(server, CLOSE_SERVER_DIRTY);
		return false;
	}
	if (server_status(server) != 'I') {
		sql = "ROLLBACK";
	} else if (note->taint & ~TAINT_SETTINGS) {
		note->taint = 0;
		server_forget_prepared(server);
		server_forget_settings(server);
		sql = "DISCARD ALL";
	}
	if (sql == NULL && note->taint == 0)
		return true;
	(void)server_begin(server);
	if (sql != NULL)
		server_put_query(server, sql, FATE_PASS);
	else
		take_settings_back(server);
	(void)server_end(server);
	return server_is_quiet(server);
}

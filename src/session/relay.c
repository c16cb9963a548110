/* The way back: what the server says, to the client. */
#include "route_int.h"
#include "sql_catalog.h"

static void on_bytes(void *owner, const void *p, size_t len)
{
	struct client *c = owner;

	if (c->route != NULL) {
		if (c->route->has_failed)
			return;
		route_on_bytes(c);
	}
	c->counters->sent_bytes += len;
	outvec_ref(client_out(c), p, len);
}

/* The unnamed statement: a Parse that failed has destroyed it; a Parse or Close that was skipped
 * has not. When several were skipped, the first knows what was there. */
static void unnamed_outcome(struct client *c, const struct expect *e, enum expect_outcome outcome)
{
	struct text *before = e->obj;

	if (e->fate == FATE_SWALLOW) {
		if (outcome != EXPECT_DONE && c->unnamed != NULL)
			c->unnamed->lease = 0; /* ours did not get there */
		return;
	}
	if (outcome == EXPECT_SKIPPED && !c->unnamed_restored) {
		text_put(c->env, &c->unnamed);
		c->unnamed = before;
		c->unnamed_restored = true;
		return;
	}
	text_put(c->env, &before);
	if (outcome == EXPECT_FAILED) {
		text_put(c->env, &c->unnamed);
		c->unnamed_restored = true;
	}
}

/* A Parse that failed or was skipped leaves the name free, a Close that was skipped leaves the
 * statement there. */
static void named_outcome(struct client *c, const struct expect *e, enum expect_outcome outcome)
{
	struct client_stmt *s = e->obj;

	if (e->kind == EXPECT_PARSE && outcome == EXPECT_DONE && e->server_stmt != 0)
		stmts_parsed(c, e->server_stmt);
	if (s == NULL)
		return;
	if (e->kind == EXPECT_PARSE && outcome == EXPECT_DONE)
		stmt_learn(c, s);
	if (e->kind == EXPECT_PARSE && outcome != EXPECT_DONE)
		stmt_unlist(c, s);
	if (e->kind == EXPECT_CLOSE) {
		s->is_closing = false;
		if (outcome == EXPECT_DONE)
			stmt_unlist(c, s);
	}
	stmt_put(c, s);
}

/* The unnamed portal is there, or not any more: a Bind that failed has closed the one before. */
static void portal_outcome(struct client *c, enum expect_outcome outcome)
{
	if (c->portal_binds == 0)
		return; /* of before the last Query */
	c->portal_binds--;
	if (outcome != EXPECT_SKIPPED)
		c->is_portal_bound = outcome == EXPECT_DONE;
}

static void on_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	struct client *c = owner;

	if (e->fate == FATE_ASK) {
		/* Then all that pins stays where it is. */
		settings_failed(c);
		pin_failed(c);
		return;
	}
	if (e->is_reported)
		report_outcome(c, e, outcome);
	if (e->is_unnamed)
		unnamed_outcome(c, e, outcome);
	else if (e->kind == EXPECT_PARSE || e->kind == EXPECT_CLOSE)
		named_outcome(c, e, outcome);
	else if (e->kind == EXPECT_DESCRIBE && e->tell)
		shape_answered(c, e, outcome);
	if (e->mark == MARK_PORTAL)
		portal_outcome(c, outcome);
	if (e->mark == MARK_UNNAMED && outcome == EXPECT_FAILED)
		text_put(c->env, &c->unnamed);
	if (e->is_outdated)
		stmts_outdated(c, e->server_stmt);
	if (outcome == EXPECT_DONE && e->mark == MARK_STAYS)
		identity_stays(c);
	if (outcome == EXPECT_DONE && e->mark == MARK_ENDS_TXN) {
		identity_ended(c);
		route_committed(c);
	} else if (outcome == EXPECT_DONE && e->kind == EXPECT_EXECUTE &&
	           c->flow == FLOW_COPY_START) {
		c->flow = FLOW_OPEN; /* it was no COPY after all */
	}
	if (outcome == EXPECT_DONE || e->fate == FATE_OURS)
		return;
	c->batch_failed = true;
	if (e->kind == EXPECT_QUERY && outcome == EXPECT_SKIPPED) {
		/* A Query inside a batch that had failed: only a Sync ends it. */
		c->flow = FLOW_OPEN;
		c->batch_open = true;
	}
	if (c->flow == FLOW_COPY_START || (c->flow == FLOW_COPY_IN && outcome == EXPECT_FAILED))
		c->flow = c->copy_is_simple ? FLOW_WAIT_READY : FLOW_OPEN;
}

static void on_value(void *owner, const char *p, size_t len)
{
	struct client *c = owner;

	if (c->pin_look == PIN_LOOK_ASKED)
		pin_value(c, p, len);
	else
		settings_value(c, p, len);
}

static void on_sqlstate(void *owner, const char *sqlstate)
{
	struct client *c = owner;

	if (c->report != NULL)
		report_sqlstate(c, sqlstate);
	if (c->route != NULL)
		route_on_error(c, sqlstate);
}

static uint32_t told_pid(void *owner)
{
	return ((const struct client *)owner)->pid;
}

static void on_copy_in(void *owner)
{
	struct client *c = owner;

	c->copy_is_simple = c->flow == FLOW_WAIT_READY;
	c->flow = FLOW_COPY_IN;
	c->copy_ate_sync = false;
}

/* Once it is there for the catalogue's reader to see. */
static void note_definitions(struct client *c)
{
	c->has_defined = c->has_defined || (c->batch_bits & SQL_DEFINES);
	if (!c->has_defined || c->txn.state != TXN_NONE)
		return;
	c->has_defined = false;
	if (c->env->catalog != NULL)
		sql_catalog_ask(c->env->catalog);
}

/* Statements that changed the server's session: who may have it next? */
static void note_taint(struct client *c)
{
	struct server_note *note = server_note(c->server);
	uint32_t bits = c->batch_bits;

	if (bits == 0)
		return;
	c->batch_bits = 0;
	pin_note(c, bits);
	if ((bits & SQL_OPAQUE) ||
	    ((bits & SQL_RESETS_ALL) && (c->batch_failed || (bits & SQL_DISCARDS))))
		note->taint |= TAINT_SCRUB;
	if ((bits & SQL_RESETS_ALL) && !c->batch_failed) {
		settings_were_reset(c, c->reset_is_due);
		if (c->reset_is_due)
			identity_reset(c, c->txn.state != TXN_NONE);
	}
	c->reset_is_due = false;
	if ((bits & SQL_DISCARDS) == 0)
		return;
	server_forget_prepared(c->server);
	if (c->batch_failed) {
		/* Did it run? */
		note->taint |= TAINT_SCRUB;
		return;
	}
	stmts_forget(c);
	if (bits & SQL_RESETS_ALL) {
		if ((bits & (SQL_MAKES_STATE | SQL_OPAQUE)) == 0)
			identity_forget_left(c);
		pin_discarded(c, bits);
	}
}

/* All counting costs 0.2 to 0.4 % of a transaction's instructions (callgrind, SELECT 1). */
static void count_ready(struct client *c)
{
	uint64_t now_us = (uint64_t)clock_mono_us();

	c->counters->query_count++;
	c->counters->query_time_us += now_us - (uint64_t)c->query_us;
	c->is_query_timed = false;
	if (c->txn.state != TXN_NONE)
		return;
	c->counters->xact_count++;
	c->counters->xact_time_us += now_us - (uint64_t)c->xact_us;
	c->is_xact_timed = false;
}

static bool on_ready(void *owner, char status)
{
	struct client *c = owner;

	if (route_has_failed(c))
		return false; /* on_settled has it repeated */
	txn_ready(&c->txn, status);
	if (c->has_written)
		route_wrote(c);
	if (c->batch_failed)
		settings_error(c);
	if (c->txn.state == TXN_NONE) {
		/* What SET LOCAL changed is as it was. */
		c->alterations += c->alterations > 0;
		c->is_chained = false;
		portals_forget(c);
		settings_ready(c);
	}
	c->script_goes_on = query_has_more(c);
	note_definitions(c);
	if (c->txn.state == TXN_NONE)
		stmts_ready(c);
	else
		stmts_block_goes_on(c);
	note_taint(c);
	identity_ready(c, status);
	c->batch_failed = false;
	c->unnamed_restored = false;
	c->copy_ate_sync = false;
	c->batch_open = false;
	if (c->script_goes_on)
		return false;
	script_free(c);
	parameters_report(c);
	wish_report(c);
	report_ready(c);
	count_ready(c);
	c->flow = FLOW_OPEN;
	c->batch_ended = true;
	deadline_ready(c);
	return true;
}

static void on_flush(void *owner)
{
	struct client *c = owner;

	if (c->route != NULL)
		route_on_flush(c);
	client_flush(c);
	if (stream_backlog_bytes(&c->stream) > 0 && c->closing == CLOSE_NONE && !c->batch_ended)
		server_pause(c->server);
}

/* A failed COPY whose early Sync we took: the server never saw it. */
static void send_eaten_sync(struct client *c)
{
	struct expect e = {.kind = EXPECT_SYNC, .fate = FATE_PASS};
	static const uint8_t sync[] = {'S', 0, 0, 0, 4};

	c->copy_ate_sync = false;
	outvec_copy(lease_send(c), sync, sizeof(sync));
	server_expect(c->server, &e);
	lease_sent(c);
	c->flow = FLOW_WAIT_READY;
}

/* After ReadyForQuery: is the server still the client's? It is while a transaction is open, while
 * state of the session lives on it, and while half a message of the client's is on its way to it
 * (a COPY that failed early). */
bool relay_end_batch(struct client *c)
{
	if (!c->batch_ended || (c->body_left > 0 && c->body_passes))
		return false;
	if (c->txn.state == TXN_NONE && c->touched != NULL && settings_are_asked(c))
		return false;
	if (c->txn.state == TXN_NONE && c->pin_look != PIN_LOOK_NONE && !identity_left(c) &&
	    pin_is_looked_at(c))
		return false;
	c->batch_ended = false;
	if (c->txn.state != TXN_NONE)
		return true;
	if (identity_left(c))
		server_note(c->server)->taint |= TAINT_SCRUB;
	if (identity_left(c) ||
	    (!(server_note(c->server)->taint & TAINT_PIN) && !c->is_for_session))
		lease_give_back(c);
	if (session_leaving(c) != CLOSE_NONE)
		session_fail(c, session_leaving(c));
	return true;
}

/* What the replica could not answer; its server is all right, or lost. */
static void repeat(struct client *c, struct server *server, enum close_reason lost)
{
	server_note(server)->tells_errors = false;
	/* A lock that a function took outlives its error. */
	if (c->batch_bits & (SQL_OPAQUE | SQL_MAKES_STATE))
		server_note(server)->taint |= TAINT_SCRUB;
	if (lost != CLOSE_NONE)
		server_forget_expected(server);
	c->server = NULL;
	route_repeat(c);
	if (lost != CLOSE_NONE)
		pool_drop(server, lost);
	else
		pool_release(server);
	session_run(c);
	session_settle(c);
}

static bool on_settled(void *owner)
{
	struct client *c = owner;
	struct server *server = c->server;

	if (route_has_failed(c) && c->closing == CLOSE_NONE) {
		if (server_owed(server) > 0)
			return true;
		/* The client has had its share of the time in mid-batch: its Sync is to come. */
		if (c->flow != FLOW_WAIT_READY)
			return true;
		repeat(c, server, CLOSE_NONE);
		return false;
	}
	if (c->closing == CLOSE_NONE && c->script_goes_on) {
		c->script_goes_on = false;
		query_go_on(c);
		return true;
	}
	if (c->closing == CLOSE_NONE && c->copy_ate_sync && c->flow == FLOW_OPEN && c->batch_failed)
		send_eaten_sync(c);
	if (c->flow == FLOW_WAIT_REPLIES && server_owed(server) == 0)
		c->flow = FLOW_OPEN;
	if (c->closing == CLOSE_NONE)
		(void)relay_end_batch(c);
	session_run(c);
	if (c->server == server && c->closing == CLOSE_NONE)
		deadline_replied(c);
	session_settle(c);
	return c->server == server;
}

static void go_on(void *owner)
{
	session_run(owner);
}

static void on_cancelled(void *owner)
{
	struct client *c = owner;

	/* Its replies may have come in the meantime. */
	session_run(c);
}

static void on_lost(void *owner, enum close_reason reason)
{
	struct client *c = owner;
	struct server *server = c->server;
	bool mid_message = server_is_mid_message(server);

	if (route_is_lost(c)) {
		repeat(c, server, reason);
		return;
	}
	if (c->has_written)
		route_wrote(c);
	/* Nothing can be put behind half a message, nor need it behind the server's own words. */
	if (mid_message || (server_has_said_why(server) && !route_has_failed(c)))
		c->is_told = true;
	client_flush(c);
	server_forget_expected(server);
	c->server = NULL;
	pool_drop(server, reason);
	session_close(c, reason);
}

const struct sink_ops session_sink = {
	.on_bytes = on_bytes,
	.on_reply = on_reply,
	.on_value = on_value,
	.on_ready = on_ready,
	.on_tag = report_tag,
	.on_sqlstate = on_sqlstate,
	.on_described = shape_described,
	.told_pid = told_pid,
	.on_parameter = parameters_passed,
	.on_copy_in = on_copy_in,
	.on_flush = on_flush,
	.on_settled = on_settled,
	.on_cancelled = on_cancelled,
	.on_drained = go_on,
	.on_lost = on_lost,
};

/* PHASE_READY: one message of the client's at a time, by its type. Messages whose text matters are
 * waited for whole; CopyData and the parameters of a large Bind are handed on in pieces. */
#include <stdio.h>

#include "session_int.h"

/* As much of a Bind as must be here to know its names. */
#define BIND_HEAD_MAX 8192
/* PQ_SMALL_MESSAGE_LIMIT in PostgreSQL's pqcomm.h, with the length word. */
#define SMALL_MESSAGE_MAX 10000

static bool is_expired(struct client *c)
{
	if (clock_wall_s() <= c->ticket->exp_s + c->ticket->leeway_s)
		return false;
	session_fail(c, CLOSE_CLIENT_EXPIRED);
	return true;
}

bool ready_is_expired(struct client *c, enum sql_kind kind)
{
	if (identity_is_revoked(c)) {
		session_fail(c, CLOSE_CLIENT_REVOKED);
		return true;
	}
	/* What is under way may finish; AND CHAIN does not prolong it. */
	if ((c->context_given && !c->is_chained) || kind == SQL_BEGIN || kind == SQL_OWN ||
	    c->txn.state == TXN_FAILED)
		return false;
	return is_expired(c);
}

/* Is there more behind the ROLLBACK than another BEGIN? */
static bool goes_beyond(const struct sql_stmt *stmts, unsigned n)
{
	bool has_ended = false;

	for (unsigned i = 0; i < n; i++) {
		if (stmts[i].kind == SQL_UNPARSED)
			return true;
		if (identity_is_end(stmts[i].kind))
			has_ended = true;
		else if (has_ended && stmts[i].kind != SQL_BEGIN)
			return true;
	}
	return false;
}

bool ready_is_string_expired(struct client *c, const struct sql_stmt *stmts, unsigned n)
{
	if (ready_is_expired(c, n == 1 ? stmts[0].kind : SQL_DATA))
		return true;
	/* A transaction that has failed may end, and no other hide behind that. */
	return c->txn.state == TXN_FAILED && goes_beyond(stmts, n) && is_expired(c);
}

static enum step refuse_message(struct client *c, const struct message *m)
{
	log_info("client %s sent a message that is not allowed here: '%c'", c->peer.text,
	         m->type >= ' ' && m->type < 127 ? m->type : '?');
	session_fail(c, CLOSE_CLIENT_PROTOCOL);
	return STEP_DONE;
}

static enum step refuse_type(struct client *c, const struct message *m)
{
	char text[64];
	struct wire_error e = {.sqlstate = SQLSTATE_PROTOCOL_VIOLATION, .message = text};

	snprintf(text, sizeof(text), "invalid frontend message type %d", m->type);
	session_fatal(c, CLOSE_CLIENT_PROTOCOL, &e);
	return refuse_message(c, m);
}

/* PostgreSQL's limit for messages of the type (postgres.c, SocketBackend), 0: there is no such
 * type. Nobody waits for the rest of a message that cannot be one. */
static uint32_t type_max(uint8_t type)
{
	switch (type) {
	case 'Q':
	case 'F':
	case 'P':
	case 'B':
	case 'd':
		return WIRE_MESSAGE_MAX;
	case 'C':
	case 'D':
	case 'E':
	case 'H':
	case 'S':
	case 'X':
	case 'c':
	case 'f':
		return SMALL_MESSAGE_MAX;
	default:
		return 0;
	}
}

/* The body is taken as it comes, to the server or to nobody. */
static void stream_body(struct client *c, const struct message *m, bool passes)
{
	c->body_left = m->body_len - (uint32_t)m->have;
	c->body_passes = passes;
	if (passes)
		outvec_ref(lease_send(c), m->start, WIRE_HEADER_BYTES + m->have);
}

/* ---- COPY FROM STDIN (55.2.6) --------------------------------------------------------------- */

static enum step copy_message(struct client *c, const struct message *m)
{
	switch (m->type) {
	case 'd':
		c->copy_ate_sync = false;
		stream_body(c, m, true);
		return STEP_MORE;
	case 'c':
	case 'f':
		c->copy_ate_sync = false;
		stream_body(c, m, true);
		c->flow = c->copy_is_simple ? FLOW_WAIT_READY : FLOW_OPEN;
		return STEP_MORE;
	case 'S':
		/* The server ignores Sync and Flush here, and so do we. */
		c->copy_ate_sync = !c->copy_is_simple;
		return STEP_MORE;
	case 'H':
		return STEP_MORE;
	case 'X':
		session_fail(c, CLOSE_CLIENT_TERMINATE);
		return STEP_DONE;
	default:
		return refuse_message(c, m);
	}
}

/* ---- everything else ------------------------------------------------------------------------- */

static size_t needed(const struct message *m)
{
	switch (m->type) {
	case 'd':
		return 0;
	case 'B':
		return m->body_len < BIND_HEAD_MAX ? m->body_len : BIND_HEAD_MAX;
	default:
		return m->body_len;
	}
}

static enum step open_message(struct client *c, const struct message *m)
{
	switch (m->type) {
	case 'Q':
		return query_take(c, m);
	case 'F':
		return query_function(c, m);
	case 'P':
		return batch_parse(c, m);
	case 'B':
		return batch_bind(c, m);
	case 'D':
		return batch_describe(c, m);
	case 'E':
		return batch_execute(c, m);
	case 'C':
		return batch_close(c, m);
	case 'H':
		return batch_flush(c, m);
	case 'S':
		return batch_sync(c, m);
	case 'd':
	case 'c':
	case 'f':
		/* Still coming after a COPY that failed (55.2.6): dropped. */
		stream_body(c, m, false);
		return STEP_MORE;
	case 'X':
		session_fail(c, CLOSE_CLIENT_TERMINATE);
		return STEP_DONE;
	default:
		return refuse_message(c, m);
	}
}

static bool is_too_long(const struct message *m)
{
	return m->type != 'd' && m->type != 'B' && m->body_len > SQL_TEXT_MAX;
}

static enum step refuse_long(struct client *c, const struct message *m)
{
	static const struct wire_error error = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_PROGRAM_LIMIT,
		.message = "the statement is too long for PgUsher to look at (16 MB)",
		.hint = "Send large values as parameters or with COPY."};
	enum step step = m->type == 'Q' ? query_refuse(c, &error) : batch_refuse(c, &error);

	if (step == STEP_MORE)
		stream_body(c, m, false);
	return step;
}

/* A message that continues: its body goes on to where its beginning went. */
static enum step take_body(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	size_t len = n < c->body_left ? n : c->body_left;

	if (c->body_passes && c->server != NULL)
		outvec_ref(lease_send(c), p, len);
	c->body_left -= (uint32_t)len;
	*used = len;
	return STEP_MORE;
}

static enum step take_message(struct client *c, const struct message *m)
{
	if (c->flow == FLOW_COPY_IN)
		return copy_message(c, m);
	if (c->batch_failed && m->type != 'S' && m->type != 'X') {
		/* After an error everything up to Sync is skipped (55.2.3). */
		stream_body(c, m, false);
		return STEP_MORE;
	}
	if (is_too_long(m))
		return refuse_long(c, m);
	return open_message(c, m);
}

enum step session_step_ready(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	struct wire_frame f = {0};
	struct message m;
	enum wire_read r;
	enum step step;

	if (c->body_left > 0)
		return take_body(c, p, n, used);
	r = wire_frame_read(p, n, &f);
	if (r == WIRE_READ_SHORT)
		return STEP_WAIT;
	m = (struct message){.type = p[0],
	                     .body_len = f.body_len,
	                     .start = p,
	                     .body = p + WIRE_HEADER_BYTES,
	                     .have = n - WIRE_HEADER_BYTES,
	                     .ahead = n};
	if (type_max(m.type) == 0)
		return refuse_type(c, &m);
	if (r == WIRE_READ_BAD || m.body_len + 4 > type_max(m.type))
		return refuse_message(c, &m);
	if (m.have > m.body_len)
		m.have = m.body_len;
	if (m.have < needed(&m) && !is_too_long(&m) && !c->batch_failed)
		return STEP_WAIT;
	step = take_message(c, &m);
	if (step != STEP_MORE)
		return step;
	*used = WIRE_HEADER_BYTES + m.have;
	/* A Bind that was refused: what is still to come of it must not be taken for messages. */
	if (m.have < m.body_len && c->body_left == 0)
		stream_body(c, &m, false);
	/* Of the message that waited: taken without a server after all, it needs no refusal. */
	c->is_refused = false;
	return STEP_MORE;
}

/* The extended protocol (55.2.3): Parse, Bind, Describe, Execute, Close, Flush, up to Sync.
 *
 * Messages go on to the server as they come; the server is leased with the first that needs it and
 * given back after the Sync that leaves no transaction. Named statements have names of ours
 * on servers, and are prepared there when they are first used on one; a Parse or Close that
 * changes nothing there is answered by us in its turn. An error of ours inside a batch is made the
 * server's (server_put_refusal), so that its transaction fails with the client's. */
#include <stdio.h>
#include <string.h>

#include "route_int.h"

/* ---- errors --------------------------------------------------------------------------------- */

static enum step refuse(struct client *c, const struct wire_error *e, enum expect_mark mark)
{
	c->batch_open = true;
	c->batch_failed = true;
	if (c->server == NULL) {
		txn_failed_here(&c->txn);
		client_put_error(c, e);
		if (mark == MARK_UNNAMED)
			text_put(c->env, &c->unnamed);
		return STEP_MORE;
	}
	(void)lease_begin(c);
	(void)lease_send(c);
	c->refusal.len = 0;
	wire_put_error(&c->refusal, e);
	server_put_refusal(c->server, &c->refusal, mark);
	return STEP_MORE;
}

enum step batch_refuse(struct client *c, const struct wire_error *e)
{
	return refuse(c, e, MARK_NONE);
}

static enum step refuse_named(struct client *c, const char *sqlstate, const char *fmt,
                              const char *name)
{
	char message[256];
	struct wire_error e = {.severity = "ERROR", .sqlstate = sqlstate, .message = message};

	snprintf(message, sizeof(message), fmt, name);
	return batch_refuse(c, &e);
}

static bool is_no_portal(const struct client *c, const char *name)
{
	return name[0] == '\0' && !c->is_portal_bound && c->portal_binds == 0;
}

/* Not asked of the server: a Query that failed inside a transaction leaves it a portal whose memory
 * is gone, and PostgreSQL (15.20 at least) crashes when that is executed. */
static enum step refuse_no_portal(struct client *c)
{
	return refuse_named(c, SQLSTATE_UNDEFINED_CURSOR, "portal \"%s\" does not exist", "");
}

static enum step refuse_unknown(struct client *c, const char *name)
{
	if (name[0] == '\0')
		return refuse_named(c, SQLSTATE_UNDEFINED_STATEMENT, "%s",
		                    "unnamed prepared statement does not exist");
	return refuse_named(c, SQLSTATE_UNDEFINED_STATEMENT,
	                    "prepared statement \"%s\" does not exist", name);
}

/* PostgreSQL's words (pqformat.c), and like there an error that the batch's Sync heals. */
#define NO_STRING "invalid string in message"
#define TOO_SHORT "insufficient data left in message"
#define TOO_LONG "invalid message format"

static enum step malformed(struct client *c, const char *what)
{
	struct wire_error e = {
		.severity = "ERROR", .sqlstate = SQLSTATE_PROTOCOL_VIOLATION, .message = what};

	return batch_refuse(c, &e);
}

/* ---- what all have in common ---------------------------------------------------------------- */

static const struct sql_stmt unknown_stmt = {.kind = SQL_DATA};

/* A server for the message at hand. STEP_MORE: c->server is there. */
static enum step start(struct client *c, const struct message *m, const struct sql_stmt *stmt)
{
	const struct wire_error *refusal;

	if (ready_is_expired(c, stmt->kind))
		return STEP_DONE;
	if (route_is_open(c))
		route_batch(c, m, stmt);
	switch (lease_get(c)) {
	case LEASE_WAIT:
		return STEP_WAIT;
	case LEASE_REFUSED:
		(void)lease_none(c, true);
		return STEP_DONE;
	case LEASE_OK:
		break;
	}
	c->batch_open = true;
	/* Settings go first, before anything is expected. */
	(void)lease_send(c);
	refusal = identity_refusal(c, stmt, 1, stmt->fingerprint);
	if (refusal != NULL) {
		(void)batch_refuse(c, refusal);
		return STEP_DONE;
	}
	return STEP_MORE;
}

/* The deferred BEGIN, without a trace of its portal. */
static void begin(struct client *c)
{
	if (lease_begin(c))
		server_put_close_portal(c->server);
}

/* start() came to an end: what does the message's handler return? */
static enum step not_started(struct client *c, enum step step)
{
	return step == STEP_DONE && c->batch_failed ? STEP_MORE : step;
}

static void expect_pass(struct client *c, enum expect_kind kind)
{
	struct expect e = {.kind = (uint8_t)kind, .fate = FATE_PASS};

	server_expect(c->server, &e);
}

static void pass_whole(struct client *c, const struct message *m)
{
	outvec_ref(lease_send(c), m->start, WIRE_HEADER_BYTES + m->have);
	c->body_left = m->body_len - (uint32_t)m->have;
	c->body_passes = true;
}

/* Passes a message on with another name in it: `type, length, before, name, rest`. */
static void pass_renamed(struct client *c, const struct message *m, const uint8_t *before,
                         size_t before_len, const char *name, const uint8_t *rest)
{
	struct buf *b = c->env->backend->scratch;
	struct outvec *v = lease_send(c);
	const uint8_t *end = m->body + m->have;
	size_t old_head = (size_t)(rest - m->body), new_head = before_len + strlen(name) + 1;

	buf_put_u8(b, m->type);
	buf_put_be32(b, (uint32_t)(4 + m->body_len - old_head + new_head));
	buf_put(b, before, before_len);
	buf_put_cstr(b, name);
	outvec_copy(v, b->data, b->len);
	b->len = 0;
	outvec_ref(v, rest, (size_t)(end - rest));
	c->body_left = m->body_len - (uint32_t)m->have;
	c->body_passes = true;
}

/* ---- Parse ---------------------------------------------------------------------------------- */

static void parse_unnamed(struct client *c, const struct message *m, const uint8_t *text,
                          size_t len, const struct sql_stmt *stmt)
{
	/* The one before comes back if the server skips this Parse. */
	struct expect e = {.kind = EXPECT_PARSE,
	                   .fate = FATE_PASS,
	                   .tell = true,
	                   .is_unnamed = true,
	                   .obj = c->unnamed};

	c->unnamed = text_get(c, text, len, stmt, false);
	prepare_note(c, stmt);
	pass_whole(c, m);
	server_expect(c->server, &e);
}

/* The server's unnamed statement is not the client's any more. */
static void unnamed_is_elsewhere(struct client *c)
{
	if (c->unnamed != NULL)
		c->unnamed->lease = 0;
}

/* Without a server, or in its turn behind what the server was asked. */
static void answer_here(struct client *c, struct expect *e)
{
	c->batch_open = true;
	if (c->server == NULL) {
		client_put_bare(c, e->answer);
		return;
	}
	e->fate = FATE_ANSWER;
	e->tell = true;
	server_expect(c->server, e);
	server_answer(c->server);
	if (c->route != NULL && server_owed(c->server) == 0)
		route_answered(c);
}

static void answer_parse(struct client *c, struct client_stmt *s)
{
	struct expect e = {.kind = EXPECT_PARSE, .answer = '1'};

	if (c->server != NULL)
		e.obj = stmt_get(s);
	answer_here(c, &e);
}

static void parse_named(struct client *c, const struct message *m, struct client_stmt *s)
{
	struct expect e = {.kind = EXPECT_PARSE, .fate = FATE_PASS, .tell = true};
	struct server_stmt_ref ref;

	(void)lease_send(c);
	stmt_place(c, s, &ref);
	if (!ref.is_new && c->txn.state != TXN_FAILED) {
		answer_parse(c, s);
		return;
	}
	prepare_note(c, &s->text->stmt);
	e.obj = stmt_get(s);
	e.server_stmt = ref.is_new ? ref.id : 0;
	/* In a failed transaction the server must say what it thinks of it: it is parsed again,
	 * under no name. */
	if (!ref.is_new)
		unnamed_is_elsewhere(c);
	pass_renamed(c, m, NULL, 0, ref.is_new ? ref.name : "",
	             m->body + m->body_len - s->text->len);
	server_expect(c->server, &e);
}

/* A named statement: its name is checked; what a server of the pool has parsed before is not asked
 * again, but prepared where it is first bound. So a client that only prepares needs no server. */
static enum step take_named(struct client *c, const struct message *m, const char *name,
                            const uint8_t *body, const struct sql_stmt *stmt)
{
	struct client_stmt *s;
	enum step step;

	if (ready_is_expired(c, stmt->kind))
		return STEP_DONE;
	if (stmt_find(c, name) != NULL)
		return refuse_named(c, SQLSTATE_DUPLICATE_STATEMENT,
		                    "prepared statement \"%s\" already exists", name);
	if (c->stmts.count >= CLIENT_STMTS_MAX ||
	    c->stmt_bytes + m->body_len > CLIENT_STMT_BYTES_MAX)
		return refuse_named(c, SQLSTATE_PROGRAM_LIMIT,
		                    "too many prepared statements: \"%s\" is not taken", name);
	s = stmt_add(c, name,
	             text_get(c, body, (size_t)(m->body + m->body_len - body), stmt, true));
	if (stmt->kind == SQL_OWN || (c->txn.state != TXN_FAILED && stmt_is_known(c, s))) {
		answer_parse(c, s);
		return STEP_MORE;
	}
	step = start(c, m, stmt);
	if (step != STEP_MORE) {
		stmt_unlist(c, s);
		return not_started(c, step);
	}
	begin(c);
	parse_named(c, m, s);
	return STEP_MORE;
}

static enum step parse_own(struct client *c, const struct message *m, const char *name,
                           const uint8_t *body)
{
	static const struct sql_stmt stmt = {.kind = SQL_OWN};
	enum step step = own_parse(c, (const char *)body);

	if (step != STEP_MORE || c->batch_failed)
		return step;
	if (name[0] != '\0')
		return take_named(c, m, name, body, &stmt);
	text_put(c->env, &c->unnamed);
	c->unnamed = text_get(c, body, (size_t)(m->body + m->body_len - body), &stmt, false);
	client_put_bare(c, '1');
	return STEP_MORE;
}

enum step batch_parse(struct client *c, const struct message *m)
{
	struct wire_cursor cur = {m->body, m->body + m->body_len};
	const char *name = wire_cursor_cstr(&cur);
	const uint8_t *text = cur.at;
	const char *query = name != NULL ? wire_cursor_cstr(&cur) : NULL;
	const struct sql_info *info;
	struct sql_stmt stmt;
	struct sql_own own;
	enum step step;

	if (query == NULL || cur.end - cur.at < 2)
		return malformed(c, query == NULL ? NO_STRING : TOO_SHORT);
	if (sql_read_own(query, strlen(query), &own))
		return parse_own(c, m, name, text);
	info = guard_classify(c, query, strlen(query));
	if (info->refusal != NULL) {
		struct wire_error e = guard_refuse(c, info->refusal, info->fingerprint);

		/* A Parse that fails has closed the unnamed statement before (55.2.3). */
		return refuse(c, &e, name[0] == '\0' ? MARK_UNNAMED : MARK_NONE);
	}
	stmt = guard_stmt(c, info, text, (size_t)(m->body + m->body_len - text));
	if (name[0] != '\0')
		return take_named(c, m, name, text, &stmt);
	step = start(c, m, &stmt);
	if (step != STEP_MORE)
		return not_started(c, step);
	begin(c);
	parse_unnamed(c, m, text, (size_t)(cur.end - text), &stmt);
	return STEP_MORE;
}

/* ---- Bind, Describe, Execute, Close --------------------------------------------------------- */

static enum step refuse_judged(struct client *c, const struct sql_info *info)
{
	struct wire_error e = guard_refuse(c, info->refusal, info->fingerprint);

	e.position = 0; /* the client has no text at hand */
	return refuse(c, &e, MARK_NONE);
}

enum step batch_bind(struct client *c, const struct message *m)
{
	struct wire_cursor cur = {m->body, m->body + m->have};
	const char *portal = wire_cursor_cstr(&cur);
	size_t portal_len = (size_t)(cur.at - m->body);
	const char *name = portal != NULL ? wire_cursor_cstr(&cur) : NULL;
	struct expect e = {.kind = EXPECT_BIND, .fate = FATE_PASS};
	struct client_stmt *s;
	struct text *text;
	struct server_stmt_ref ref;
	const struct sql_info *judged;
	const struct wire_error *full;
	enum step step;

	if (name == NULL)
		return malformed(c, NO_STRING);
	s = name[0] != '\0' ? stmt_find(c, name) : NULL;
	text = s != NULL ? s->text : name[0] == '\0' ? c->unnamed : NULL;
	if (text != NULL && text->stmt.kind == SQL_OWN)
		return own_bind(c, m, text, portal, cur.at);
	judged = text != NULL ? guard_judge_again(c, text) : NULL;
	if (judged != NULL)
		return refuse_judged(c, judged);
	step = start(c, m, text != NULL ? &text->stmt : &unknown_stmt);
	if (step != STEP_MORE)
		return not_started(c, step);
	if (text == NULL)
		return refuse_unknown(c, name);
	full = route_refusal(c, &text->stmt);
	if (full != NULL)
		return batch_refuse(c, full);
	full = pin_refusal(c, &text->stmt, 1, text->stmt.fingerprint);
	if (full != NULL)
		return refuse(c, full, MARK_NONE);
	if (portal[0] != '\0' && c->n_portals >= CLIENT_PORTALS_MAX)
		return refuse_named(c, SQLSTATE_PROGRAM_LIMIT,
		                    "too many portals: \"%s\" is not taken", portal);
	if (lease_before(c, &text->stmt) && portal[0] != '\0')
		server_put_close_portal(c->server);
	if (s == NULL) {
		prepare_unnamed(c);
		pass_whole(c, m);
	} else {
		step = prepare_named(c, s, &ref);
		if (step != STEP_MORE)
			return not_started(c, step);
		pass_renamed(c, m, m->body, portal_len, ref.name, cur.at);
		e.server_stmt = ref.id;
	}
	if (portal[0] == '\0') {
		e.mark = MARK_PORTAL;
		e.tell = true;
		c->portal_binds++;
	}
	server_expect(c->server, &e);
	portal_set(c, portal, &text->stmt);
	if (portal[0] == '\0')
		portal_deallocates(c, text);
	/* Already now: which statement a portal really holds is the server's to know, when a Bind
	 * or Close was skipped. */
	c->batch_bits |= text->stmt.bits;
	if (text->stmt.bits & (SQL_SETS_SESSION | SQL_RESETS_ALL))
		settings_touch_text(c, text);
	identity_leaves(c, text->stmt.bits);
	stmts_alter(c, text->stmt.bits);
	return STEP_MORE;
}

/* What is known of the portal or statement that a Describe names. */
static const struct sql_stmt *described(struct client *c, bool is_portal, const char *name)
{
	const struct client_stmt *s;

	if (is_portal)
		return portal_find(c, name);
	if (name[0] == '\0')
		return c->unnamed != NULL ? &c->unnamed->stmt : &unknown_stmt;
	s = stmt_find(c, name);
	return s != NULL ? &s->text->stmt : &unknown_stmt;
}

/* The same, of a SQL_OWN statement: its text. */
static const char *own_text(struct client *c, bool is_portal, const char *name)
{
	const struct text *text = is_portal         ? c->own_portal
	                          : name[0] == '\0' ? c->unnamed
	                                            : stmt_find(c, name)->text;

	return (const char *)text->body;
}

/* Describe and Close: 'S' or 'P', and a name. NULL: refused. */
static const char *read_named(struct client *c, const struct message *m, const char *what)
{
	struct wire_cursor cur = {m->body + 1, m->body + m->body_len};
	const char *name = m->body_len > 1 ? wire_cursor_cstr(&cur) : NULL;
	char text[64];

	if (m->body_len == 0)
		malformed(c, "no data left in message");
	else if (name == NULL)
		malformed(c, NO_STRING);
	else if (cur.at != cur.end)
		malformed(c, TOO_LONG);
	else if (m->body[0] == 'S' || m->body[0] == 'P')
		return name;
	else {
		snprintf(text, sizeof(text), "invalid %s message subtype %d", what, m->body[0]);
		malformed(c, text);
	}
	return NULL;
}

enum step batch_describe(struct client *c, const struct message *m)
{
	const char *name = read_named(c, m, "DESCRIBE");
	const struct sql_stmt *stmt;
	struct client_stmt *s;
	struct expect e = {.kind = EXPECT_DESCRIBE, .fate = FATE_PASS};
	struct server_stmt_ref ref;
	enum step step;

	if (name == NULL)
		return STEP_MORE;
	stmt = described(c, m->body[0] == 'P', name);
	if (stmt->kind == SQL_OWN)
		return own_describe(c, own_text(c, m->body[0] == 'P', name), m->body[0] == 'S');
	step = start(c, m, stmt);
	if (step != STEP_MORE)
		return not_started(c, step);
	begin(c);
	if (m->body[0] == 'P') {
		if (is_no_portal(c, name))
			return refuse_no_portal(c);
		pass_whole(c, m);
	} else if (name[0] == '\0') {
		if (c->unnamed == NULL)
			return refuse_unknown(c, name);
		prepare_unnamed(c);
		pass_whole(c, m);
	} else {
		s = stmt_find(c, name);
		if (s == NULL)
			return refuse_unknown(c, name);
		step = prepare_named(c, s, &ref);
		if (step != STEP_MORE)
			return not_started(c, step);
		pass_renamed(c, m, m->body, 1, ref.name, m->body + m->body_len);
		e.server_stmt = ref.id;
		e.tell = true;
		e.obj = stmt_get(s);
	}
	server_expect(c->server, &e);
	return STEP_MORE;
}

/* DEALLOCATE of a statement that was prepared by the protocol: its name means nothing to the
 * server, which has bound and described it all the same. */
static bool execute_deallocate(struct client *c, const char *portal)
{
	struct client_stmt *s = c->deallocates;
	struct expect e = {.kind = EXPECT_CLOSE, .answer = 'C', .obj = s};

	/* One that was closed since the Bind is unknown to the server too, which says so. */
	if (portal[0] != '\0' || s == NULL || !s->is_listed || s->is_closing || c->server == NULL)
		return false;
	s->is_closing = true;
	c->deallocates = NULL;
	answer_here(c, &e);
	return true;
}

enum step batch_execute(struct client *c, const struct message *m)
{
	struct wire_cursor cur = {m->body, m->body + m->body_len};
	const char *portal = wire_cursor_cstr(&cur);
	static const uint8_t flush[] = {'H', 0, 0, 0, 4};
	struct expect e = {.kind = EXPECT_EXECUTE, .fate = FATE_PASS};
	const struct sql_stmt *stmt;
	bool may_copy;
	enum step step;

	if (portal == NULL || cur.end - cur.at != 4)
		return malformed(c, portal == NULL         ? NO_STRING
		                    : cur.end - cur.at < 4 ? TOO_SHORT
		                                           : TOO_LONG);
	stmt = portal_find(c, portal);
	if (stmt->kind == SQL_OWN)
		return own_execute(c, be32_get(cur.at));
	if (execute_deallocate(c, portal))
		return STEP_MORE;
	/* Whether it is of the transaction that may just have ended, or of the next? */
	if ((stmt->bits & SQL_RESETS_ALL) && c->end != TXN_END_NONE && own_turn(c) != STEP_MORE)
		return STEP_WAIT;
	may_copy = stmt->kind == SQL_COPY_IN || stmt->kind == SQL_UNPARSED;
	step = start(c, m, stmt);
	if (step != STEP_MORE)
		return not_started(c, step);
	begin(c);
	if (is_no_portal(c, portal))
		return refuse_no_portal(c);
	pass_whole(c, m);
	e.mark = identity_is_end(stmt->kind) ? MARK_ENDS_TXN : MARK_NONE;
	e.tell = may_copy || e.mark == MARK_ENDS_TXN;
	report_sent(c, &e, stmt->fingerprint, stmt->kind);
	server_expect(c->server, &e);
	lease_after(c, stmt);
	settings_put_back(c, stmt);
	c->end_is_told = e.mark == MARK_ENDS_TXN || c->end_is_told;
	if (may_copy) {
		/* A Sync that follows would be ignored by the server if COPY starts, and not
		 * if it fails: what comes next waits until we know. */
		outvec_copy(lease_send(c), flush, sizeof(flush));
		c->flow = FLOW_COPY_START;
		c->copy_is_simple = false;
	}
	return STEP_MORE;
}

/* What is closed goes when its turn has come: an error before that leaves it there. */
static void close_named(struct client *c, struct client_stmt *s)
{
	struct expect e = {.kind = EXPECT_CLOSE, .answer = '3'};

	if (s != NULL && c->server == NULL) {
		stmt_unlist(c, s);
	} else if (s != NULL) {
		s->is_closing = true;
		e.obj = stmt_get(s);
	}
	answer_here(c, &e);
}

static void close_unnamed(struct client *c)
{
	struct expect e = {.kind = EXPECT_CLOSE, .answer = '3', .is_unnamed = true};

	if (c->server == NULL) {
		text_put(c->env, &c->unnamed);
	} else {
		e.obj = c->unnamed;
		c->unnamed = NULL;
	}
	answer_here(c, &e);
}

enum step batch_close(struct client *c, const struct message *m)
{
	const char *name = read_named(c, m, "CLOSE");

	if (name == NULL)
		return STEP_MORE;
	if (m->body[0] == 'S') {
		if (name[0] != '\0')
			close_named(c, stmt_find(c, name));
		else
			close_unnamed(c);
		return STEP_MORE;
	}
	c->batch_open = true;
	if (name[0] == '\0' && (c->own_portal != NULL || c->deallocates != NULL))
		portal_forget_unnamed(c);
	portal_close(c, name);
	if (c->server == NULL) {
		client_put_bare(c, '3');
		return STEP_MORE;
	}
	pass_whole(c, m);
	expect_pass(c, EXPECT_CLOSE);
	return STEP_MORE;
}

/* ---- Flush, Sync ---------------------------------------------------------------------------- */

/* Where a batch ends is not known any more. */
static enum step violation(struct client *c)
{
	session_fail(c, CLOSE_CLIENT_PROTOCOL);
	return STEP_DONE;
}

enum step batch_flush(struct client *c, const struct message *m)
{
	if (m->body_len != 0)
		return violation(c);
	if (c->server != NULL)
		pass_whole(c, m);
	return STEP_MORE;
}

enum step batch_sync(struct client *c, const struct message *m)
{
	if (m->body_len != 0)
		return violation(c);
	if (c->server == NULL) {
		if (c->txn.state == TXN_NONE) {
			portal_forget_unnamed(c);
			identity_end(c, !c->batch_failed);
		}
		c->batch_open = false;
		c->batch_failed = false;
		client_put_ready(c);
		return STEP_MORE;
	}
	pass_whole(c, m);
	expect_pass(c, EXPECT_SYNC);
	c->flow = FLOW_WAIT_READY;
	return STEP_MORE;
}

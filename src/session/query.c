/* The simple protocol: Query (55.2.2), and FunctionCall, which is refused.
 *
 * A Query of several statements runs as one implicit transaction unless it commits inside. It is
 * sent as it is when the context is only needed in front of it; otherwise in pieces, cut where the
 * context must be set, each sent when the one before has succeeded:
 *
 *   BEGIN; SELECT 1; COMMIT; SELECT 2     the client's one Query
 *   [BEGIN;] ctx [SELECT 1; COMMIT;] ctx [SELECT 2]
 *
 * A piece keeps its place in the text (blanks stand for what was before), so that error
 * positions stay right, and only the last ReadyForQuery is passed on. Behind RESET ALL the cut is
 * in the middle of a transaction, which a block of ours keeps in one piece:
 *
 *   INSERT …; RESET ALL; SELECT 1         BEGIN ctx [INSERT …; RESET ALL;] ctx [SELECT 1] COMMIT
 *
 * RESET of a setting of the client's startup is a piece of its own, and goes out as a batch, in
 * which the startup's value is made behind it (settings_put_back). */
#include <string.h>

#include "route_int.h"

/* Beyond this, blanks for the sake of error positions cost more than they are worth. */
#define PADDING_MAX 65536

void script_free(struct client *c)
{
	if (c->script == NULL)
		return;
	mem_free(c->script->text);
	mem_free(c->script->stmts);
	MEM_FREE(&c->script);
}

/* ---- answers of our own --------------------------------------------------------------------- */

enum step query_refuse(struct client *c, const struct wire_error *e)
{
	if (c->server == NULL) {
		txn_failed_here(&c->txn);
		if (c->txn.state == TXN_NONE)
			identity_end(c, false);
		c->batch_open = false;
		client_put_error(c, e);
		client_put_ready(c);
		return STEP_MORE;
	}
	/* The server's transaction must fail too. */
	(void)lease_begin(c);
	(void)lease_send(c);
	c->refusal.len = 0;
	wire_put_error(&c->refusal, e);
	server_put_refusal(c->server, &c->refusal, MARK_NONE);
	server_put_sync(c->server, FATE_PASS);
	c->flow = FLOW_WAIT_READY;
	return STEP_MORE;
}

static enum step answer(struct client *c, const char *tag)
{
	wire_put_command_complete(c->env->backend->scratch, tag);
	client_put(c, c->env->backend->scratch);
	client_put_ready(c);
	return STEP_MORE;
}

/* BEGIN is kept back until there is something to do in the transaction, and a transaction that ends
 * before that has never been. */
static bool answer_deferred(struct client *c, const struct sql_stmt *stmt)
{
	struct txn *t = &c->txn;
	bool failed = t->state == TXN_FAILED;

	if (stmt->kind == SQL_BEGIN && (stmt->bits & SQL_BARE) && t->state == TXN_NONE &&
	    c->server == NULL && c->env->conf->pgusher.deferred_begin) {
		t->state = TXN_BLOCK;
		t->is_deferred = true;
		answer(c, (stmt->bits & SQL_START_WORD) ? "START TRANSACTION" : "BEGIN");
		return true;
	}
	if (!t->is_deferred)
		return false;
	switch (stmt->kind) {
	case SQL_COMMIT:
		identity_end(c, !failed);
		txn_ready(t, 'I');
		answer(c, failed ? "ROLLBACK" : "COMMIT");
		return true;
	case SQL_ROLLBACK:
		identity_end(c, false);
		txn_ready(t, 'I');
		answer(c, "ROLLBACK");
		return true;
	default:
		return false;
	}
}

/* DEALLOCATE of a statement that was prepared by the protocol: its name means nothing to servers.
 * */
static bool answer_deallocate(struct client *c, const struct message *m)
{
	char name[NAME_MAX_BYTES];
	struct client_stmt *s;

	if (c->txn.state == TXN_FAILED ||
	    !sql_deallocate_name((const char *)m->body, m->body_len - 1, name, sizeof(name)))
		return false;
	s = stmt_find(c, name);
	if (s == NULL)
		return false;
	stmt_unlist(c, s);
	answer(c, "DEALLOCATE");
	return true;
}

static bool answer_here(struct client *c, const struct message *m, const struct sql_info *info)
{
	if (c->batch_open)
		return false;
	if (info->n_stmts == 0 && c->server == NULL) {
		client_put_bare(c, 'I');
		client_put_ready(c);
		return true;
	}
	if (info->n_stmts != 1)
		return false;
	if ((info->stmts[0].bits & SQL_NAMES_PREPARED) && answer_deallocate(c, m))
		return true;
	return answer_deferred(c, &info->stmts[0]);
}

/* ---- sending -------------------------------------------------------------------------------- */

/* Must the context be set in front of stmts[i]? Where no transaction is open, statements that
 * could do without (SHOW, SET TRANSACTION) are in one with the data statements behind them, and
 * cannot be parted from those. *ahead: how far has been looked, at first i; kept from call to
 * call while i grows, so that a run of such statements is read once. */
static bool needs_context(const struct txn *t, const struct sql_stmt *stmts, unsigned n, unsigned i,
                          unsigned *ahead)
{
	if (t->state != TXN_NONE)
		return txn_needs_context(t, &stmts[i]);
	if (*ahead < i)
		*ahead = i;
	while (*ahead + 1 < n &&
	       (stmts[*ahead].kind == SQL_SHOW || stmts[*ahead].kind == SQL_SET_TRANSACTION))
		(*ahead)++;
	return txn_needs_context(t, &stmts[*ahead]);
}

/* It goes out as a batch. Where a batch of the client's is open, its Sync would end that too. */
static bool is_reset_apart(const struct client *c, const struct sql_stmt *stmt)
{
	return !c->batch_open && settings_go_back(c, stmt);
}

/* The statements from `from` that can go out together: up to the first that needs the context when
 * others have gone before it. */
static unsigned piece_end(const struct client *c, const struct sql_stmt *stmts, unsigned n,
                          unsigned from)
{
	struct txn t = c->txn;
	struct sql_stmt sent;
	unsigned ahead = from;

	/* The server refuses it in a string, and with it what is behind it. Alone, it would run. */
	if (from < n && stmts[from].kind == SQL_NO_TRANSACTION)
		return n;
	for (unsigned i = from; i < n; i++) {
		if (stmts[i].kind != SQL_NO_TRANSACTION && is_reset_apart(c, &stmts[i]))
			return i > from ? i : i + 1;
		if (!c->is_tenantless && needs_context(&t, stmts, n, i, &ahead)) {
			if (i > from)
				return i;
			txn_context_sent(&t);
		}
		sent = stmts[i];
		/* Not alone in its Query, CALL or DO cannot commit inside. */
		if (n > 1)
			sent.bits &= ~(uint32_t)SQL_ENDS_INSIDE;
		txn_sent(&t, &sent);
	}
	return n;
}

/* As far as the statements tell. */
static bool is_implicit(const struct txn *before, const struct sql_stmt *stmts, unsigned from,
                        unsigned to)
{
	struct txn t = *before;

	for (unsigned i = from; i < to; i++)
		txn_sent(&t, &stmts[i]);
	return t.state == TXN_NONE;
}

static bool may_copy_in(const struct sql_stmt *stmts, unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		if (stmts[i].kind == SQL_COPY_IN || stmts[i].kind == SQL_UNPARSED)
			return true;
	return false;
}

static void send_around(struct client *c, const struct sql_stmt *stmts, unsigned n, unsigned from,
                        unsigned to, void (*put)(struct client *c, const void *arg),
                        const void *arg)
{
	struct expect e = {.kind = EXPECT_QUERY, .fate = FATE_PASS, .alone = !c->batch_open};
	unsigned ahead = from;

	(void)lease_begin(c);
	if (from < to && needs_context(&c->txn, stmts, n, from, &ahead))
		(void)lease_context(c);
	e.is_implicit = server_is_in_batch(c->server) && is_implicit(&c->txn, stmts, from, to);
	e.sync_follows = e.is_implicit && e.alone && server_keeps_implicit(c->server) &&
	                 !may_copy_in(stmts, from, to);
	put(c, arg);
	report_sent(c, &e, c->query_fingerprint, to - from == 1 ? stmts[from].kind : SQL_DATA);
	server_expect(c->server, &e);
	if (e.sync_follows)
		server_put_implicit_end(c->server);
	for (unsigned i = from; i < to; i++) {
		lease_after(c, &stmts[i]);
		/* Then it is the client's block. */
		if (c->script != NULL && stmts[i].kind == SQL_BEGIN)
			c->script->has_block = false;
	}
	c->flow = FLOW_WAIT_READY;
}

/* The same for one of is_reset_apart, text NUL-terminated. */
static void send_reset(struct client *c, const struct sql_stmt *stmt, const char *text)
{
	struct expect e = {.kind = EXPECT_EXECUTE, .fate = FATE_PASS};

	(void)lease_before(c, stmt);
	(void)lease_send(c);
	report_sent(c, &e, c->query_fingerprint, stmt->kind);
	server_put_statement(c->server, text, &e);
	lease_after(c, stmt);
	settings_put_back(c, stmt);
	server_put_sync(c->server, FATE_PASS);
	c->flow = FLOW_WAIT_READY;
}

static void put_message(struct client *c, const void *arg)
{
	const struct message *m = arg;

	outvec_ref(lease_send(c), m->start, WIRE_HEADER_BYTES + (size_t)m->body_len);
}

struct piece {
	const char *text;
	size_t start, end;
};

static void put_piece(struct client *c, const void *arg)
{
	const struct piece *piece = arg;
	struct buf *b = c->env->backend->scratch;
	struct outvec *v = lease_send(c);
	size_t at;

	buf_put_u8(b, 'Q');
	at = b->len;
	buf_put_be32(b, 0);
	for (size_t i = 0; i < piece->start && piece->start <= PADDING_MAX; i++) {
		uint8_t byte = (uint8_t)piece->text[i];

		if ((byte & 0xc0) != 0x80) /* a character of UTF-8 is one blank */
			buf_put_u8(b, byte == '\n' ? '\n' : ' ');
	}
	buf_put(b, piece->text + piece->start, piece->end - piece->start);
	buf_put_u8(b, 0);
	be32_set(b->data + at, (uint32_t)(b->len - at));
	outvec_copy(v, b->data, b->len);
	b->len = 0;
}

/* Does the piece that ends before stmts[to] leave an implicit transaction behind it open? */
static bool parts_transaction(const struct client *c, const struct script *s, unsigned to)
{
	if (c->txn.state != TXN_NONE || to == s->n_stmts ||
	    (!(s->stmts[to - 1].bits & SQL_RESETS_ALL) && !is_reset_apart(c, &s->stmts[to - 1]) &&
	     !is_reset_apart(c, &s->stmts[to])))
		return false;
	for (unsigned i = s->next; i < to; i++)
		if (s->stmts[i].kind == SQL_BEGIN)
			return false;
	return true;
}

static void end_block(struct client *c)
{
	const struct sql_stmt end = {.kind = c->txn.state == TXN_FAILED ? SQL_ROLLBACK
	                                                                : SQL_COMMIT};

	c->script->has_block = false;
	(void)lease_send(c);
	server_put_commit(c->server);
	lease_after(c, &end);
	lease_sent(c);
}

bool query_has_more(struct client *c)
{
	struct script *s = c->script;

	if (s == NULL)
		return false;
	if (c->batch_failed)
		s->next = s->n_stmts;
	s->has_block = s->has_block && c->txn.state != TXN_NONE;
	return s->next < s->n_stmts || s->has_block;
}

void query_go_on(struct client *c)
{
	struct script *s = c->script;
	unsigned from = s->next, to;
	struct piece piece = {.text = s->text};

	if (from == s->n_stmts) {
		end_block(c);
		return;
	}
	to = piece_end(c, s->stmts, s->n_stmts, from);
	if (parts_transaction(c, s, to)) {
		s->has_block = c->txn.is_deferred = true;
		c->txn.state = TXN_BLOCK;
		to = piece_end(c, s->stmts, s->n_stmts, from);
	}
	piece.start = from == 0 ? 0 : s->stmts[from].start_bytes;
	piece.end = to == s->n_stmts ? s->len : s->stmts[to].start_bytes;
	s->next = to;
	if (to - from == 1 && is_reset_apart(c, &s->stmts[from])) {
		char *text = mem_strndup(piece.text + piece.start, piece.end - piece.start);

		send_reset(c, &s->stmts[from], text);
		mem_free(text);
	} else {
		send_around(c, s->stmts, s->n_stmts, from, to, put_piece, &piece);
	}
	lease_sent(c);
}

static void start_script(struct client *c, const struct message *m, const struct sql_info *info)
{
	struct script *s = mem_zalloc(sizeof(*s));

	MUST(c->script == NULL);
	c->script = s;
	s->len = m->body_len - 1;
	s->text = mem_strndup((const char *)m->body, s->len);
	s->n_stmts = info->n_stmts;
	s->stmts = mem_dup(info->stmts, info->n_stmts * sizeof(s->stmts[0]));
	query_go_on(c);
}

static bool is_one_string(const struct message *m)
{
	return m->body_len > 0 && memchr(m->body, '\0', m->body_len) == m->body + m->body_len - 1;
}

/* In PostgreSQL's words (pqformat.c). */
static enum step refuse_malformed(struct client *c, const struct message *m)
{
	bool is_terminated = m->body_len > 0 && memchr(m->body, '\0', m->body_len) != NULL;
	struct wire_error e = {.severity = "ERROR",
	                       .sqlstate = SQLSTATE_PROTOCOL_VIOLATION,
	                       .message = is_terminated ? "invalid message format"
	                                                : "invalid string in message"};

	return query_refuse(c, &e);
}

enum step query_take(struct client *c, const struct message *m)
{
	const struct sql_info *info;
	const struct wire_error *refusal;
	struct sql_own own;
	struct wire_error e;

	if (!is_one_string(m))
		return refuse_malformed(c, m);
	/* A simple query destroys the unnamed statement and portal, whatever becomes of it. */
	text_put(c->env, &c->unnamed);
	portal_forget_unnamed(c);
	if (sql_read_own((const char *)m->body, m->body_len - 1, &own))
		return own_query(c, &own);
	info = guard_classify(c, (const char *)m->body, m->body_len - 1);
	if (info->refusal != NULL) {
		e = guard_refuse(c, info->refusal, info->fingerprint);
		return query_refuse(c, &e);
	}
	if (answer_here(c, m, info))
		return STEP_MORE;
	if (ready_is_string_expired(c, info->stmts, info->n_stmts))
		return STEP_DONE;
	if (route_is_open(c))
		route_query(c, m, info);
	switch (lease_get(c)) {
	case LEASE_WAIT:
		return STEP_WAIT;
	case LEASE_REFUSED:
		return lease_none(c, false);
	case LEASE_OK:
		break;
	}
	for (unsigned i = 0; route_is_elsewhere(c) && i < info->n_stmts; i++) {
		refusal = route_refusal(c, &info->stmts[i]);
		if (refusal != NULL)
			return query_refuse(c, refusal);
	}
	refusal = identity_refusal(c, info->stmts, info->n_stmts, info->fingerprint);
	if (refusal == NULL)
		refusal = pin_refusal(c, info->stmts, info->n_stmts, info->fingerprint);
	if (refusal != NULL)
		return query_refuse(c, refusal);
	settings_touch(c, info);
	c->query_fingerprint = info->fingerprint;
	if (piece_end(c, info->stmts, info->n_stmts, 0) < info->n_stmts)
		start_script(c, m, info);
	else if (info->n_stmts == 1 && c->txn.state != TXN_FAILED &&
	         is_reset_apart(c, &info->stmts[0]))
		send_reset(c, &info->stmts[0], (const char *)m->body);
	else
		send_around(c, info->stmts, info->n_stmts, 0, info->n_stmts, put_message, m);
	return STEP_MORE;
}

/* It calls functions by number, past every rule about statements. */
enum step query_function(struct client *c, const struct message *m)
{
	struct wire_error e = guard_refuse(c, &sql_rule_info(SQL_RULE_FUNCTION_CALL)->refusal, 0);

	(void)m;
	return query_refuse(c, &e);
}

/* Which tenant a client is, when that changes inside a connection: SET usher.token.
 *
 *   own.c               ─► identity_settle, identity_change ─► auth_verify
 *   lease_after         ─► identity_sent     a COMMIT or ROLLBACK is on its way
 *   on_ready            ─► identity_ready    it has come true, or not
 *
 * client.ticket is the token that counts for the next statement. A SET outside of a transaction
 * changes it for the session; one inside becomes the session's with the COMMIT, and SET LOCAL
 * ends with the transaction. In one transaction there is one tenant: once its context has gone
 * out, a change is refused, because ROLLBACK TO a savepoint would bring the old context back.
 *
 * RESET ALL is the way to change what COMMIT brings, and ROLLBACK TO undoes it (savepoint.h).
 *
 * Where a batch fails behind a COMMIT, or a savepoint with a RESET ALL about, and nobody can say
 * which token holds, the connection is closed. The other settings (wish.c) live and end with the
 * same transactions. */
#include <string.h>

#include "savepoint.h"
#include "session_int.h"

struct identity {
	struct auth_ticket *login;
	struct auth_ticket *session; /* what holds outside of the transaction at hand */
	struct auth_ticket *txn;     /* set in it; NULL: the session's holds */
	struct auth_ticket *pending; /* the session's after COMMIT; NULL: no change */
	/* Of the transaction at hand. */
	struct buf savepoints; /* struct held */
	bool varies;           /* RESET ALL has changed it; SET cannot, behind a savepoint */
	bool sent_savepoint;   /* in the batch at hand; RELEASE and ROLLBACK TO, too */
	bool is_unsure;        /* such a batch has failed: which of them the server has? */
};

/* What held at a savepoint. */
struct held {
	uint64_t savepoint;
	struct auth_ticket *txn, *pending;
};

static void move(struct auth_ticket **to, struct auth_ticket **from)
{
	auth_ticket_put(to);
	*to = *from;
	*from = NULL;
}

static void assign(struct auth_ticket **to, struct auth_ticket *from)
{
	struct auth_ticket *ref = auth_ticket_get(from);

	move(to, &ref);
}

static struct identity *identity_of(struct client *c)
{
	if (c->identity == NULL) {
		c->identity = mem_zalloc(sizeof(*c->identity));
		c->identity->login = auth_ticket_get(c->ticket);
		c->identity->session = auth_ticket_get(c->ticket);
	}
	return c->identity;
}

const struct auth_ticket *identity_login(const struct client *c)
{
	return c->identity != NULL ? c->identity->login : c->ticket;
}

static const struct auth_ticket *any_held(const struct identity *id,
                                          bool (*holds)(const void *arg,
                                                        const struct auth_ticket *),
                                          const void *arg)
{
	const struct held *all = (const struct held *)(const void *)id->savepoints.data;

	for (size_t i = 0; i < id->savepoints.len / sizeof(*all); i++) {
		if (all[i].txn != NULL && holds(arg, all[i].txn))
			return all[i].txn;
		if (all[i].pending != NULL && holds(arg, all[i].pending))
			return all[i].pending;
	}
	return NULL;
}

const struct auth_ticket *identity_any(const struct client *c,
                                       bool (*holds)(const void *arg, const struct auth_ticket *),
                                       const void *arg)
{
	const struct identity *id = c->identity;
	const struct auth_ticket *all[] = {
		c->ticket, id != NULL ? id->login : NULL, id != NULL ? id->session : NULL,
		id != NULL ? id->txn : NULL, id != NULL ? id->pending : NULL};

	for (size_t i = 0; i < COUNT_OF(all); i++) {
		if (all[i] != NULL && holds(arg, all[i]))
			return all[i];
	}
	return id != NULL ? any_held(id, holds, arg) : NULL;
}

static bool has_jti(const void *jti, const struct auth_ticket *ticket)
{
	return strcmp(ticket->jti, jti) == 0;
}

const struct auth_ticket *identity_find(const struct client *c, const char *jti)
{
	return identity_any(c, has_jti, jti);
}

bool identity_is_revoked(const struct client *c)
{
	return c->env->revoked != NULL && c->ticket != NULL &&
	       auth_revoked_has(c->env->revoked, c->ticket);
}

static void keep_savepoints(struct identity *id, size_t n)
{
	struct held *all = (struct held *)(void *)id->savepoints.data;

	for (size_t i = id->savepoints.len / sizeof(*all); i > n; i--) {
		auth_ticket_put(&all[i - 1].txn);
		auth_ticket_put(&all[i - 1].pending);
	}
	id->savepoints.len = n * sizeof(*all);
	if (n == 0)
		buf_fini(&id->savepoints);
}

void identity_free(struct client *c)
{
	if (c->identity != NULL) {
		keep_savepoints(c->identity, 0);
		auth_ticket_put(&c->identity->login);
		auth_ticket_put(&c->identity->session);
		auth_ticket_put(&c->identity->txn);
		auth_ticket_put(&c->identity->pending);
		MEM_FREE(&c->identity);
	}
	auth_ticket_put(&c->state_of);
	auth_ticket_put(&c->ticket);
}

/* ---- the ends of transactions --------------------------------------------------------------- */

/* The transaction is over: what was set in it ends, or is the session's. */
void identity_end(struct client *c, bool committed)
{
	struct identity *id = c->identity;

	c->context_given = false;
	wish_end(c, committed);
	if (id == NULL)
		return;
	keep_savepoints(id, 0);
	id->varies = id->is_unsure = false;
	if (id->txn == NULL)
		return;
	if (committed && id->pending != NULL)
		move(&id->session, &id->pending);
	auth_ticket_put(&id->pending);
	auth_ticket_put(&id->txn);
	assign(&c->ticket, id->session);
}

bool identity_is_end(enum sql_kind kind)
{
	return kind == SQL_COMMIT || kind == SQL_COMMIT_CHAIN || kind == SQL_ROLLBACK ||
	       kind == SQL_ROLLBACK_CHAIN || kind == SQL_PREPARE_TRANSACTION;
}

void identity_sent(struct client *c, const struct sql_stmt *stmt)
{
	struct identity *id = c->identity;

	bool is_end = identity_is_end(stmt->kind);

	c->end_is_last = is_end && c->end == TXN_END_NONE;
	if (!is_end)
		return;
	c->given_before_end = c->given_before_end || c->context_given;
	c->context_given = false;
	if (c->end != TXN_END_NONE)
		return;
	c->end = stmt->kind != SQL_ROLLBACK && stmt->kind != SQL_ROLLBACK_CHAIN &&
	                         c->txn.state != TXN_FAILED
	                 ? TXN_END_COMMIT
	                 : TXN_END_ROLLBACK;
	c->end_is_told = false;
	/* What follows in the batch runs only if this succeeds. */
	wish_assume_end(c, c->end == TXN_END_COMMIT);
	if (id != NULL && id->txn != NULL)
		assign(&c->ticket,
		       c->end == TXN_END_COMMIT && id->pending != NULL ? id->pending : id->session);
}

static void resolve(struct client *c, bool ended)
{
	bool committed = c->end == TXN_END_COMMIT, given = c->context_given;
	struct identity *id = c->identity;

	c->end = TXN_END_NONE;
	if (ended) {
		identity_end(c, committed);
		c->given_before_end = false;
		c->context_given = given;
		return;
	}
	c->context_given = given || c->given_before_end;
	c->given_before_end = false;
	wish_assume_none(c);
	if (id != NULL && id->txn != NULL)
		assign(&c->ticket, id->txn);
}

void identity_settle(struct client *c)
{
	if (c->end != TXN_END_NONE)
		resolve(c, true);
}

/* CommandComplete of an Execute that ends a transaction. */
void identity_ended(struct client *c)
{
	if (c->end != TXN_END_NONE)
		resolve(c, true);
}

/* The same, but it was something else: which statement a portal holds is the server's to know. */
void identity_stays(struct client *c)
{
	if (c->end != TXN_END_NONE)
		resolve(c, false);
}

/* A batch is over. */
static void doubt_savepoints(struct client *c)
{
	struct identity *id = c->identity;

	id->is_unsure = id->is_unsure || (id->sent_savepoint && c->batch_failed);
	id->sent_savepoint = false;
}

/* ReadyForQuery: c->batch_failed says whether anything in the batch did. */
void identity_ready(struct client *c, char status)
{
	/* In a string of several statements, which one failed? */
	bool doubt = c->batch_failed && !c->end_is_told && !c->end_is_last;

	if (c->identity != NULL)
		doubt_savepoints(c);
	if (c->end == TXN_END_NONE) {
		if (status == 'I')
			identity_end(c, !c->batch_failed);
	} else if (!c->batch_failed) {
		resolve(c, true);
	} else {
		if (doubt && c->identity != NULL && c->identity->txn != NULL)
			session_fail(c, CLOSE_CLIENT_TOKEN_DOUBT);
		if (doubt)
			wish_doubt(c);
		/* It failed itself, and so ended in a rollback; or it was skipped. */
		if (status == 'I')
			c->end = TXN_END_ROLLBACK;
		resolve(c, status == 'I');
	}
	/* Of several transactions in the batch, which one failed? */
	c->context_given = status != 'I' && (c->context_given || c->batch_failed);
}

/* RESET ALL, DISCARD ALL; in a transaction it takes hold, or not, with its end. */
void identity_reset(struct client *c, bool in_txn)
{
	struct identity *id = c->identity;

	c->reset_is_due = false;
	wish_reset(c, in_txn);
	if (id == NULL)
		return;
	assign(&id->pending, id->login);
	if (id->txn == NULL)
		assign(&id->txn, c->ticket);
	id->varies = true;
	if (!in_txn)
		identity_end(c, true);
}

/* ---- savepoints ------------------------------------------------------------------------------ */

static struct auth_ticket *get_or_none(struct auth_ticket *ticket)
{
	return ticket != NULL ? auth_ticket_get(ticket) : NULL;
}

static void note_savepoint(struct identity *id, uint64_t name)
{
	struct held now = {.savepoint = name,
	                   .txn = get_or_none(id->txn),
	                   .pending = get_or_none(id->pending)};

	if (savepoint_note(&id->savepoints, &now, sizeof(now)))
		return;
	auth_ticket_put(&now.txn);
	auth_ticket_put(&now.pending);
	id->is_unsure = true;
}

static void go_back(struct client *c, const struct held *to)
{
	struct identity *id = c->identity;

	if (!id->varies)
		return;
	auth_ticket_put(&id->txn);
	auth_ticket_put(&id->pending);
	id->txn = get_or_none(to->txn);
	id->pending = get_or_none(to->pending);
	assign(&c->ticket, id->txn != NULL ? id->txn : id->session);
}

static void token_savepoint(struct client *c, const struct sql_stmt *stmt)
{
	struct identity *id = c->identity;
	const struct held *all, *to;

	if (stmt->kind == SQL_SAVEPOINT) {
		id->sent_savepoint = true;
		note_savepoint(id, stmt->savepoint);
		return;
	}
	if (stmt->kind == SQL_ROLLBACK_TO && id->is_unsure && id->varies)
		session_fail(c, CLOSE_CLIENT_TOKEN_DOUBT);
	to = savepoint_find(&id->savepoints, sizeof(*to), stmt->savepoint);
	if (to == NULL)
		return; /* nor will the server know it */
	all = (const struct held *)(const void *)id->savepoints.data;
	id->sent_savepoint = true;
	if (stmt->kind == SQL_ROLLBACK_TO)
		go_back(c, to++);
	keep_savepoints(id, (size_t)(to - all));
}

/* SAVEPOINT, RELEASE or ROLLBACK TO was sent. Behind an end of the transaction that is still on its
 * way there is nothing to note: no change of the token goes out before that has come true. In a
 * failed transaction only ROLLBACK TO has an effect. */
void identity_savepoint(struct client *c, const struct sql_stmt *stmt)
{
	if (c->end != TXN_END_NONE || (c->txn.state == TXN_FAILED && stmt->kind != SQL_ROLLBACK_TO))
		return;
	wish_savepoint(c, stmt);
	if (c->identity != NULL)
		token_savepoint(c, stmt);
}

/* ---- the change ----------------------------------------------------------------------------- */

static struct wire_error error(const char *sqlstate, const char *message, const char *hint)
{
	return (struct wire_error){
		.severity = "ERROR", .sqlstate = sqlstate, .message = message, .hint = hint};
}

/* What one tenant's statements left on the server must not meet another's. */
static bool leaves_state(const struct client *c, const struct auth_ticket *ticket)
{
	return c->state_of != NULL && strcmp(ticket->tenant, c->state_of->tenant) != 0;
}

/* A statement is sent that may leave something in the server's session. */
void identity_leaves(struct client *c, uint32_t bits)
{
	if (!(bits & (SQL_MAKES_STATE | SQL_OPAQUE)))
		return;
	c->state_is_mixed = c->state_is_mixed || leaves_state(c, c->ticket);
	if (c->state_of == NULL)
		c->state_of = auth_ticket_get(c->ticket);
}

/* The tenant has changed by itself since (SET LOCAL ended, RESET ALL): the server must be cleaned
 * before its next statement. */
bool identity_left(const struct client *c)
{
	return c->state_is_mixed || leaves_state(c, c->ticket);
}

/* Whose the statements behind this COMMIT or ROLLBACK are. */
static const struct auth_ticket *after_end(const struct client *c, enum sql_kind kind)
{
	const struct identity *id = c->identity;
	bool commits = kind != SQL_ROLLBACK && kind != SQL_ROLLBACK_CHAIN;

	if (id->txn == NULL || c->end != TXN_END_NONE)
		return c->ticket;
	return commits && c->txn.state != TXN_FAILED && id->pending != NULL ? id->pending
	                                                                    : id->session;
}

const struct wire_error *identity_refusal(struct client *c, const struct sql_stmt *stmts,
                                          unsigned n, uint64_t fingerprint)
{
	static const struct wire_error error = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_OBJECT_IN_USE,
		.message = "the session holds state of another tenant on the server",
		.hint = "It is dropped behind a COMMIT or ROLLBACK, without AND CHAIN, that is the "
			"last of its string or batch."};
	const struct auth_ticket *of = c->state_of, *now = c->ticket;
	bool has_ended = false;

	if (c->identity == NULL)
		return NULL;
	for (unsigned i = 0; i < n; i++) {
		if (identity_is_end(stmts[i].kind)) {
			now = has_ended ? now : after_end(c, stmts[i].kind);
			has_ended = true;
		} else if (stmts[i].kind != SQL_BEGIN) {
			if (c->state_is_mixed ||
			    (of != NULL && strcmp(of->tenant, now->tenant) != 0)) {
				report_guard(c, "session_state", fingerprint);
				return &error;
			}
			if (of == NULL && (stmts[i].bits & (SQL_MAKES_STATE | SQL_OPAQUE)))
				of = now;
		}
	}
	return NULL;
}

/* Another server, or none: nothing is left on it. */
void identity_forget_left(struct client *c)
{
	auth_ticket_put(&c->state_of);
	c->state_is_mixed = false;
}

static void place(struct client *c, const struct sql_own *own, struct auth_ticket *ticket,
                  bool in_txn)
{
	struct identity *id = identity_of(c);

	if (!in_txn && own->is_local)
		return; /* as PostgreSQL: no effect outside of a transaction */
	assign(in_txn ? &id->txn : &id->session, ticket);
	if (in_txn && !own->is_local)
		assign(&id->pending, ticket);
	assign(&c->ticket, ticket);
}

bool identity_change(struct client *c, const struct sql_own *own, bool in_txn, struct wire_error *e)
{
	struct auth_ticket *ticket = NULL;
	enum auth_reason reason = AUTH_OK;
	const char *hint = NULL;
	bool is_done = false;

	if (c->context_given) {
		*e = error(SQLSTATE_ACTIVE_TRANSACTION,
		           "usher.token must be set before any query of its transaction",
		           "A transaction has one tenant.");
		report_token(c, "transaction");
		return false;
	}
	if (own->value != NULL)
		reason = login_verify(c, own->value, own->len, &ticket, &hint);
	else
		ticket = auth_ticket_get(identity_of(c)->login);
	if (reason != AUTH_OK) {
		*e = error(SQLSTATE_INVALID_AUTHORIZATION, auth_reason_text(reason), hint);
	} else if (leaves_state(c, ticket)) {
		*e = error(SQLSTATE_OBJECT_IN_USE,
		           "the session holds state of its present tenant on the server",
		           "Temporary tables, LISTEN, cursors WITH HOLD, prepared statements and "
		           "advisory locks go with DISCARD ALL.");
	} else {
		place(c, own, ticket, in_txn);
		is_done = true;
	}
	report_token(c, is_done             ? NULL
	                : reason != AUTH_OK ? auth_reason_label(reason)
	                                    : "session_state");
	auth_ticket_put(&ticket);
	return is_done;
}

bool identity_begin(struct client *c, const char *token, size_t len)
{
	struct sql_own own = {.value = token, .len = len};
	struct wire_error e;

	if (identity_change(c, &own, false, &e))
		return true;
	session_fatal(c, CLOSE_CLIENT_AUTH, &e);
	return false;
}

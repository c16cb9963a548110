/* What the audit log is told: logins and their ends, tokens, refusals, and statements where [audit]
 * events asks for them. Fingerprints, never texts. On the worker's thread; nothing here waits.
 *
 * Statements, only where they are wanted (c->report):
 *
 *   report_sent      an Execute or Query goes out: its entry in the queue of replies carries the
 *                    fingerprint home
 *   report_tag       CommandComplete: an Execute is done, a Query has one more result
 *   report_sqlstate  an error: report_outcome says whose, or whom it kept from running
 *   report_ready     the batch is over */
#include <string.h>

#include "pool_look.h"
#include "sasl.h"

/* ---- records --------------------------------------------------------------------------------- */

static struct audit_record *record(struct client *c, enum audit_event event)
{
	struct audit_record *r = audit_begin(c->env->audit, event);

	if (r == NULL)
		return NULL;
	r->session = c->session_id;
	AUDIT_COPY(r->client, c->peer.text);
	AUDIT_COPY(r->role, c->user);
	AUDIT_COPY(r->database, c->database);
	if (c->ticket != NULL && c->admin == NULL)
		AUDIT_COPY(r->tenant, c->ticket->tenant);
	return r;
}

static void put(struct client *c, enum audit_event event, const char *action, const char *outcome,
                const char *reason)
{
	struct audit_record *r = record(c, event);

	if (r == NULL)
		return;
	AUDIT_COPY(r->action, action);
	r->outcome = outcome;
	r->reason = reason;
	audit_commit(c->env->audit);
}

void report_begin(struct client *c)
{
	random_bytes(&c->session_id, sizeof(c->session_id));
	report_set_conf(c);
}

/* In the middle of a batch too: what is under way is told as it was sent. */
void report_set_conf(struct client *c)
{
	if (c->env->backend->reports && c->report == NULL)
		c->report = mem_zalloc(sizeof(*c->report));
	else if (!c->env->backend->reports && c->report != NULL && c->report->n_sent == 0)
		report_free(c);
}

void report_free(struct client *c)
{
	MEM_FREE(&c->report);
}

/* ---- connections ----------------------------------------------------------------------------- */

static enum audit_event event_of(const struct client *c)
{
	return c->admin != NULL ? AUDIT_ADMIN : AUDIT_AUTH;
}

void report_login(struct client *c)
{
	c->is_let_in = true;
	put(c, event_of(c), "login", "accepted", NULL);
}

/* Who has not said who he is (a port scan, a cancel request), or has only asked where to get a
 * token, is nobody's login. */
void report_end(struct client *c)
{
	const char *label = close_reason_info(c->closing)->label;

	if (c->is_let_in)
		put(c, event_of(c), "close", "done", label);
	else if (c->user != NULL && !sasl_was_question(c))
		put(c, AUDIT_AUTH, "login", "refused",
		    c->refused_as != NULL ? c->refused_as : label);
}

void report_token(struct client *c, const char *reason)
{
	put(c, AUDIT_AUTH, "token", reason == NULL ? "accepted" : "refused", reason);
}

void report_guard(struct client *c, const char *rule, uint64_t fingerprint)
{
	struct audit_record *r = record(c, AUDIT_GUARD);

	if (r == NULL)
		return;
	r->outcome = "refused";
	r->reason = rule;
	r->fingerprint = fingerprint;
	audit_commit(c->env->audit);
}

void report_route(struct client *c, int path, const struct fresh_choice *choice)
{
	struct audit_record *r = record(c, AUDIT_ROUTE);

	if (r == NULL)
		return;
	r->outcome = choice->is_refused ? "refused" : "fallback";
	r->reason = fresh_verdict_words(choice->why);
	if (path != FRESH_NO_PATH)
		AUDIT_COPY(r->node, fresh_node(c->env->fresh, (size_t)path)->name);
	audit_commit(c->env->audit);
}

/* ---- statements ------------------------------------------------------------------------------ */

static const char *kind_word(uint8_t kind)
{
	static const char *const words[] = {
		[SQL_EMPTY] = "empty",
		[SQL_DATA] = "data",
		[SQL_BEGIN] = "begin",
		[SQL_COMMIT] = "commit",
		[SQL_ROLLBACK] = "rollback",
		[SQL_COMMIT_CHAIN] = "commit_chain",
		[SQL_ROLLBACK_CHAIN] = "rollback_chain",
		[SQL_SAVEPOINT] = "savepoint",
		[SQL_RELEASE] = "release",
		[SQL_ROLLBACK_TO] = "rollback_to",
		[SQL_PREPARE_TRANSACTION] = "prepare_transaction",
		[SQL_SET_TRANSACTION] = "set_transaction",
		[SQL_SHOW] = "show",
		[SQL_COPY_IN] = "copy_in",
		[SQL_NO_TRANSACTION] = "no_transaction",
		[SQL_OWN] = "own",
		[SQL_UNPARSED] = "unparsed",
	};

	return words[kind];
}

/* "INSERT 0 5" is the action INSERT and five rows (55.7, CommandComplete). */
static void read_tag(struct report *p, const char *tag, size_t len)
{
	size_t word = 0, at = len;
	int64_t rows = 0, scale = 1;

	while (word < len && !(tag[word] >= '0' && tag[word] <= '9'))
		word++;
	for (; at > word && tag[at - 1] != ' ' && scale < INT64_MAX / 100; at--, scale *= 10)
		rows += (tag[at - 1] - '0') * scale;
	if (word < len) {
		p->rows += rows;
		p->has_rows = true;
	}
	while (word > 0 && tag[word - 1] == ' ')
		word--;
	word = word < sizeof(p->tag) - 1 ? word : sizeof(p->tag) - 1;
	memcpy(p->tag, tag, word);
	p->tag[word] = '\0';
}

/* The statement of this entry is over. */
static void finish(struct client *c, const struct expect *e, const char *outcome)
{
	struct report *p = c->report;
	struct audit_record *r = record(c, AUDIT_STATEMENTS);
	int64_t now_us = clock_mono_us();

	if (r != NULL) {
		r->fingerprint = e->fingerprint;
		r->kind = kind_word(e->sql_kind);
		r->outcome = outcome;
		r->rows = p->rows;
		r->has_rows = p->has_rows;
		r->duration_us = now_us - p->from_us;
		AUDIT_COPY(r->action, p->tag);
		AUDIT_COPY(r->node, p->node);
		if (strcmp(outcome, "failed") == 0)
			AUDIT_COPY(r->sqlstate, p->sqlstate);
		audit_commit(c->env->audit);
	}
	if (strcmp(outcome, "failed") == 0)
		p->sqlstate[0] = '\0';
	p->n_sent -= p->n_sent > 0;
	p->from_us = now_us;
	p->rows = 0;
	p->has_rows = p->is_failed = false;
	p->tag[0] = '\0';
}

/* The first one that an error meets is what failed: an Execute, or the one whose Bind did. */
static void finish_failed(struct client *c, const struct expect *e)
{
	struct report *p = c->report;
	bool is_first = !p->is_blamed;

	p->is_blamed = true;
	finish(c, e, is_first ? "failed" : "skipped");
}

void report_sent(struct client *c, struct expect *e, uint64_t fingerprint, enum sql_kind kind)
{
	struct report *p = c->report;

	if (p == NULL || !c->env->backend->reports)
		return;
	e->is_reported = true;
	e->fingerprint = fingerprint;
	e->sql_kind = (uint8_t)kind;
	e->tell = e->tell || e->kind == EXPECT_QUERY;
	if (p->n_sent++ == 0)
		p->from_us = clock_mono_us();
	p->node = pool_node_name(c->server);
}

void report_tag(void *owner, const struct expect *e, const char *tag, size_t len)
{
	struct client *c = owner;

	if (tag != NULL)
		read_tag(c->report, tag, len);
	if (e->kind == EXPECT_EXECUTE)
		finish(c, e, tag != NULL ? "done" : "suspended");
}

void report_sqlstate(void *owner, const char *sqlstate)
{
	struct client *c = owner;

	AUDIT_COPY(c->report->sqlstate, sqlstate);
	c->report->is_blamed = false;
}

/* A Query's entry stands until its ReadyForQuery; behind an error of ours in front of it, it has
 * become a Sync's. Of a script only the last piece is told, or the one that failed. */
void report_outcome(struct client *c, const struct expect *e, enum expect_outcome outcome)
{
	struct report *p = c->report;

	if (outcome == EXPECT_SKIPPED || (outcome == EXPECT_FAILED && e->kind == EXPECT_EXECUTE)) {
		finish_failed(c, e);
	} else if (outcome == EXPECT_FAILED) {
		p->is_failed = true;
	} else if (e->kind == EXPECT_SYNC) {
		finish_failed(c, e);
	} else if (e->kind == EXPECT_QUERY && c->script_goes_on) {
		p->n_sent -= p->n_sent > 0;
	} else if (e->kind == EXPECT_QUERY) {
		finish(c, e, p->is_failed ? "failed" : "done");
	}
}

void report_ready(struct client *c)
{
	struct report *p = c->report;

	if (p == NULL)
		return;
	p->is_blamed = false;
	/* An error that met no statement: of a Parse alone. A Query's is still to be told. */
	if (p->n_sent > 0)
		return;
	p->sqlstate[0] = '\0';
	report_set_conf(c);
}

/* What a client asks of its answers: how fresh they must be.
 *
 *   wish_of     the ini's defaults, then the token's claims, then the session's settings
 *   wish_hint   then the statement's own comment
 *
 * The settings (usher.consistency, usher.max_lag, usher.read_your_writes, usher.report) behave in
 * transactions as PostgreSQL's own: what is set in one is the session's with its COMMIT, SET LOCAL
 * ends with it, ROLLBACK TO brings back what held at the savepoint. identity.c knows when
 * transactions end; here is what that means for the values.
 *
 * On the worker's thread, as all of the module. */
#include <string.h>
#include <strings.h>

#include "savepoint.h"
#include "session_int.h"
#include "sql_hint.h"

struct values {
	uint8_t has; /* a bit for each enum own_setting */
	bool is_silent;
	struct fresh_wish wish;
};

struct savepoint {
	uint64_t name;
	struct values txn, pending;
};

struct wishes {
	struct values startup; /* what RESET goes back to */
	struct values session; /* what holds outside of the transaction at hand */
	/* In a transaction that has set something: what holds in it, and what is the session's with
	 * its COMMIT. */
	bool in_txn;
	struct values txn, pending;
	struct values now; /* for the next statement */
	struct buf savepoints;
};

static bool has(const struct values *v, enum own_setting setting)
{
	return v->has >> setting & 1;
}

static struct wishes *wishes_of(struct client *c)
{
	if (c->wishes == NULL)
		c->wishes = mem_zalloc(sizeof(*c->wishes));
	return c->wishes;
}

void wish_free(struct client *c)
{
	if (c->wishes == NULL)
		return;
	buf_fini(&c->wishes->savepoints);
	MEM_FREE(&c->wishes);
}

void wish_set_conf(struct client *c)
{
	const struct conf *conf = c->env->conf;
	const struct conf_database *database = conf_find_database(conf, c->database);

	/* A database that is gone: its clients are about to end. */
	if (database != NULL)
		c->wish_default.consistency = database->consistency;
	c->wish_default.max_lag_us = conf->freshness.max_lag;
	c->wish_default.read_your_writes = conf->freshness.read_your_writes;
}

static void lay_over(struct fresh_wish *wish, const struct values *v)
{
	if (has(v, OWN_CONSISTENCY))
		wish->consistency = v->wish.consistency;
	if (has(v, OWN_MAX_LAG))
		wish->max_lag_us = v->wish.max_lag_us;
	if (has(v, OWN_READ_YOUR_WRITES))
		wish->read_your_writes = v->wish.read_your_writes;
}

/* Without the session's settings. */
static struct fresh_wish wish_by_token(const struct client *c)
{
	const struct auth_ticket *ticket = c->ticket;
	struct fresh_wish wish = c->wish_default;

	if (ticket->has_consistency)
		wish.consistency = ticket->consistency;
	if (ticket->has_max_lag)
		wish.max_lag_us = ticket->max_lag_us;
	return wish;
}

/* Put together anew for each statement: that costs less than to know when it has changed. */
const struct fresh_wish *wish_of(struct client *c)
{
	c->wish = wish_by_token(c);
	if (c->wishes != NULL)
		lay_over(&c->wish, &c->wishes->now);
	return &c->wish;
}

bool wish_reports(const struct client *c)
{
	return c->wishes == NULL || !c->wishes->now.is_silent;
}

/* A value that means nothing counts as the one that promises most: a typing error must not get a
 * staler answer than was meant. */
void wish_hint(const char *text, size_t len, struct fresh_wish *wish)
{
	struct sql_hints hints;

	if (!sql_may_have_hints(text, len) || !sql_hints_read(text, len, &hints))
		return;
	if (hints.has[SQL_HINT_CONSISTENCY] &&
	    !conf_consistency_read(hints.value[SQL_HINT_CONSISTENCY], &wish->consistency))
		wish->consistency = CONF_CONSISTENCY_STRONG;
	if (hints.has[SQL_HINT_MAX_LAG] &&
	    !conf_duration_read(hints.value[SQL_HINT_MAX_LAG], &wish->max_lag_us))
		wish->max_lag_us = 0;
	if (hints.has[SQL_HINT_READ_YOUR_WRITES] &&
	    !conf_read_your_writes_read(hints.value[SQL_HINT_READ_YOUR_WRITES],
	                                &wish->read_your_writes))
		wish->read_your_writes = CONF_RYW_TENANT;
}

/* ---- one value ------------------------------------------------------------------------------- */

/* As PostgreSQL reads a boolean: any beginning of the word that is not ambiguous. */
static bool read_switch(const char *text, bool *is_on)
{
	static const struct {
		const char *word;
		size_t least;
		bool is_on;
	} words[] = {{"true", 1, true}, {"false", 1, false}, {"yes", 1, true}, {"no", 1, false},
	             {"on", 2, true},   {"off", 2, false},   {"1", 1, true},   {"0", 1, false}};
	size_t len = strlen(text);

	for (size_t i = 0; i < COUNT_OF(words); i++) {
		if (len < words[i].least || len > strlen(words[i].word) ||
		    strncasecmp(text, words[i].word, len) != 0)
			continue;
		*is_on = words[i].is_on;
		return true;
	}
	return false;
}

static bool read_value(struct values *v, enum own_setting setting, const char *text)
{
	bool is_on, is_read = false;

	switch (setting) {
	case OWN_CONSISTENCY:
		is_read = conf_consistency_read(text, &v->wish.consistency);
		break;
	case OWN_MAX_LAG:
		is_read = conf_duration_read(text, &v->wish.max_lag_us);
		break;
	case OWN_READ_YOUR_WRITES:
		is_read = conf_read_your_writes_read(text, &v->wish.read_your_writes);
		break;
	case OWN_REPORT:
		is_read = read_switch(text, &is_on);
		v->is_silent = is_read ? !is_on : v->is_silent;
		break;
	default:
		MUST_NOT_REACH();
	}
	if (is_read)
		v->has |= (uint8_t)(1u << setting);
	return is_read;
}

static void copy_value(struct values *to, const struct values *from, enum own_setting setting)
{
	uint8_t bit = (uint8_t)(1u << setting);

	to->has = (uint8_t)((to->has & ~bit) | (from->has & bit));
	if (setting == OWN_CONSISTENCY)
		to->wish.consistency = from->wish.consistency;
	else if (setting == OWN_MAX_LAG)
		to->wish.max_lag_us = from->wish.max_lag_us;
	else if (setting == OWN_READ_YOUR_WRITES)
		to->wish.read_your_writes = from->wish.read_your_writes;
	else
		to->is_silent = from->is_silent;
}

/* ---- transactions ---------------------------------------------------------------------------- */

static void begin_txn(struct wishes *w)
{
	if (w->in_txn)
		return;
	w->in_txn = true;
	w->txn = w->pending = w->session;
}

bool wish_set(struct client *c, enum own_setting setting, const char *value, bool in_txn,
              bool is_local)
{
	struct wishes *w = wishes_of(c);
	struct values wanted = w->startup;

	if (value != NULL && !read_value(&wanted, setting, value))
		return false;
	if (!in_txn && is_local)
		return true; /* as PostgreSQL: no effect outside of a transaction */
	if (in_txn)
		begin_txn(w);
	copy_value(in_txn ? &w->txn : &w->session, &wanted, setting);
	if (in_txn && !is_local)
		copy_value(&w->pending, &wanted, setting);
	w->now = in_txn ? w->txn : w->session;
	return true;
}

bool wish_begin(struct client *c, enum own_setting setting, const char *value)
{
	struct wishes *w = wishes_of(c);

	if (!read_value(&w->startup, setting, value))
		return false;
	w->session = w->now = w->startup;
	return true;
}

void wish_end(struct client *c, bool committed)
{
	struct wishes *w = c->wishes;

	if (w == NULL || !w->in_txn)
		return;
	if (committed)
		w->session = w->pending;
	w->now = w->session;
	w->in_txn = false;
	buf_fini(&w->savepoints);
}

void wish_assume_end(struct client *c, bool commits)
{
	if (c->wishes != NULL && c->wishes->in_txn)
		c->wishes->now = commits ? c->wishes->pending : c->wishes->session;
}

void wish_assume_none(struct client *c)
{
	if (c->wishes != NULL && c->wishes->in_txn)
		c->wishes->now = c->wishes->txn;
}

void wish_reset(struct client *c, bool in_txn)
{
	struct wishes *w = c->wishes;

	if (w == NULL)
		return;
	begin_txn(w);
	w->txn = w->pending = w->now = w->startup;
	if (!in_txn)
		wish_end(c, true);
}

/* Then each setting is whichever promises more of what it may be. */
void wish_doubt(struct client *c)
{
	struct fresh_wish before = wish_by_token(c), after = before;
	struct wishes *w = c->wishes;

	if (w == NULL || !w->in_txn)
		return;
	lay_over(&before, &w->session);
	lay_over(&after, &w->pending);
	if (after.consistency < before.consistency)
		copy_value(&w->session, &w->pending, OWN_CONSISTENCY);
	if (after.max_lag_us < before.max_lag_us)
		copy_value(&w->session, &w->pending, OWN_MAX_LAG);
	if (after.read_your_writes > before.read_your_writes)
		copy_value(&w->session, &w->pending, OWN_READ_YOUR_WRITES);
	if (!w->pending.is_silent)
		copy_value(&w->session, &w->pending, OWN_REPORT);
}

/* ---- savepoints ------------------------------------------------------------------------------ */

void wish_savepoint(struct client *c, const struct sql_stmt *stmt)
{
	struct wishes *w = c->wishes;
	struct savepoint *s;
	size_t at;

	if (w == NULL || !w->in_txn)
		return;
	if (stmt->kind == SQL_SAVEPOINT) {
		struct savepoint now = {
			.name = stmt->savepoint, .txn = w->txn, .pending = w->pending};

		(void)savepoint_note(&w->savepoints, &now, sizeof(now));
		return;
	}
	/* NULL: it is from before the transaction's first SET, or one too many. */
	s = savepoint_find(&w->savepoints, sizeof(*s), stmt->savepoint);
	at = s != NULL ? (size_t)((uint8_t *)s - w->savepoints.data) : 0;
	if (stmt->kind == SQL_ROLLBACK_TO) {
		w->txn = s != NULL ? s->txn : w->session;
		w->pending = s != NULL ? s->pending : w->session;
		w->now = w->txn;
		at += s != NULL ? sizeof(*s) : 0;
	}
	w->savepoints.len = at;
}

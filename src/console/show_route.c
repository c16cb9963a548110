/* EXPLAIN ROUTE: what a statement is taken for, and where it would go now, as a tenant's first one
 * in its session. Known at home. */
#include <stdio.h>
#include <string.h>

#include "console_int.h"
#include "fresh_route.h"

#define DETAIL_MAX 160

static const struct column route[] = {
	{"item", COLUMN_TEXT},
	{"name", COLUMN_TEXT},
	{"detail", COLUMN_TEXT},
};

static void put(struct round *r, const char *item, const char *name, const char *detail)
{
	struct row row = row_begin(&r->rows);

	row_text(&row, item);
	row_text(&row, name);
	row_text(&row, detail);
	row_end(&row);
}

/* ---- what it is ------------------------------------------------------------------------------ */

static void put_statement(struct round *r, const struct sql_stmt *stmt, unsigned number)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", number);
	put(r, "statement", name, sql_kind_words(stmt->kind));
	for (uint32_t bits = stmt->bits; bits != 0; bits &= bits - 1) {
		if (sql_bit_words(bits) != NULL)
			put(r, "class", name, sql_bit_words(bits));
	}
}

/* Whether it may go anywhere but to the primary. */
static bool put_class(struct round *r, const struct sql_info *info)
{
	bool only_reads = info->n_stmts > 0 && info->refusal == NULL;

	for (unsigned i = 0; i < info->n_stmts; i++) {
		put_statement(r, &info->stmts[i], i + 1);
		only_reads = only_reads &&
		             (info->stmts[i].bits & (SQL_READ_ONLY | SQL_BEGINS_READ_ONLY)) != 0;
	}
	if (info->refusal == NULL)
		put(r, "guard", "passes", NULL);
	else
		put(r, "guard", info->refusal->rule, info->refusal->message);
	return only_reads;
}

static void put_call(struct round *r, const struct sql_call *call)
{
	char name[sizeof(call->schema) + sizeof(call->name) + 1];
	char detail[DETAIL_MAX];

	snprintf(name, sizeof(name), "%s%s%s", call->schema, call->schema[0] != '\0' ? "." : "",
	         call->name);
	if ((call->facts & SQL_FUNCTION_KNOWN) == 0)
		snprintf(detail, sizeof(detail), "not known: taken for volatile");
	else
		snprintf(detail, sizeof(detail), "%s%s%s",
		         (call->facts & SQL_FUNCTION_VOLATILE) != 0 ? "volatile"
		                                                    : "stable or immutable",
		         (call->facts & SQL_FUNCTION_USER) != 0 ? ", not PostgreSQL's own" : "",
		         (call->facts & SQL_FUNCTION_OPAQUE) != 0 ? ", may leave something behind"
		                                                  : "");
	put(r, "function", name, detail);
}

static void put_calls(struct round *r, struct sql_cache *cache, const char *text)
{
	struct buf calls = {0};
	struct sql_call call;

	sql_calls(cache, text, strlen(text), &calls);
	for (size_t at = 0; at < calls.len; at += sizeof(call)) {
		memcpy(&call, calls.data + at, sizeof(call));
		put_call(r, &call);
	}
	buf_fini(&calls);
}

/* ---- where it would go ----------------------------------------------------------------------- */

static void put_path(struct round *r, const struct fresh *fresh, const char *item, int path,
                     const char *detail)
{
	char name[2 * CONSOLE_ARG_MAX + 2];

	snprintf(name, sizeof(name), "%s/%s", fresh_database(fresh, (size_t)path)->name,
	         fresh_node(fresh, (size_t)path)->name);
	put(r, item, name, detail);
}

/* Where no probe asks, the pools find the primary by trying. */
static bool is_measured(const struct fresh *fresh, size_t path)
{
	enum fresh_fault fault = fresh_fault(fresh, path);

	return fault != FRESH_NO_ROLE && fault != FRESH_NO_DBNAME;
}

static void put_candidate(struct round *r, const struct fresh *fresh, size_t path,
                          const struct fresh_ask *ask)
{
	int64_t lag_us = fresh_lag_us(fresh, path, ask->now_us);
	const char *words = !is_measured(fresh, path)
	                            ? "not measured"
	                            : fresh_verdict_words(fresh_judge(fresh, path, ask));
	char detail[DETAIL_MAX];

	if (lag_us == FRESH_INFINITE)
		snprintf(detail, sizeof(detail), "%s (%s)", words,
		         fresh_fault_word(fresh_fault(fresh, path)));
	else
		snprintf(detail, sizeof(detail), "%s, lag %.3f s", words,
		         (double)lag_us / (double)US_PER_S);
	put_path(r, fresh, "candidate", (int)path, detail);
}

static void put_choice(struct round *r, const struct fresh *fresh, size_t first,
                       const struct fresh_choice *choice, const char *why)
{
	int primary = fresh_primary(fresh, first, NULL);

	if (choice->is_refused)
		put(r, "route", NULL, why);
	else if (choice->path != FRESH_NO_PATH)
		put_path(r, fresh, "route", choice->path, why);
	else if (primary != FRESH_NO_PATH)
		put_path(r, fresh, "route", primary, why);
	else if (!is_measured(fresh, first))
		put(r, "route", NULL, "the primary, looked for by trying the nodes in order");
	else
		put(r, "route", NULL, "waits for a primary: none is known");
}

/* As a session without settings of its own asks. */
static struct fresh_ask ask_of(const struct conf *conf, const struct conf_database *database)
{
	return (struct fresh_ask){
		.wish = {database->consistency, conf->freshness.max_lag,
	                 conf->freshness.read_your_writes},
		.since_us = FRESH_NEVER,
		.now_us = clock_mono_us(),
		.analytics_target_us = conf->freshness.analytics_target_lag,
		.analytics_max_us = conf->freshness.analytics_max_lag,
		.serves_late = conf->freshness.analytics_fallback == CONF_ANALYTICS_SERVE,
	};
}

static void put_wish(struct round *r, const struct fresh_wish *wish)
{
	char detail[DETAIL_MAX];

	snprintf(detail, sizeof(detail), "max_lag %.3f s, read_your_writes %s",
	         (double)wish->max_lag_us / (double)US_PER_S,
	         conf_read_your_writes_name(wish->read_your_writes));
	put(r, "wish", conf_consistency_name(wish->consistency), detail);
}

static const char *why_of(const struct fresh_choice *choice, const struct fresh_ask *ask,
                          char text[DETAIL_MAX])
{
	if (choice->path != FRESH_NO_PATH)
		return choice->is_late ? "fits, past its target: with a notice"
		                       : "fits; the one with the least work is taken";
	if (ask->wish.consistency == CONF_CONSISTENCY_STRONG)
		return "strong: the primary";
	if (choice->why <= FRESH_NO_WEIGHT)
		return choice->is_refused ? "refused: no analytics node"
		                          : "the primary: there is no replica";
	snprintf(text, DETAIL_MAX, "%s: %s", choice->is_refused ? "refused" : "no replica fits",
	         fresh_verdict_words(choice->why));
	return text;
}

static void why_not_read_only(struct sql_cache *cache, const char *text, char why[DETAIL_MAX])
{
	struct sql_why reason;

	sql_why_not_read_only(cache, text, strlen(text), &reason);
	snprintf(why, DETAIL_MAX, "the primary: it %s%s%s",
	         reason.what != NULL ? reason.what : "does not only read",
	         reason.name[0] != '\0' ? ": " : "", reason.name);
}

/* A database whose paths are n from first. why: it must go to the primary; NULL: it need not. */
static void put_route(struct round *r, struct console *console, size_t first, size_t n,
                      const char *why)
{
	const struct fresh *fresh = console->env.fresh;
	struct fresh_ask ask = ask_of(console->env.session->conf, fresh_database(fresh, first));
	struct fresh_choice choice = {.path = FRESH_NO_PATH};
	char text[DETAIL_MAX];

	wish_hint(r->command.statement, strlen(r->command.statement), &ask.wish);
	put_wish(r, &ask.wish);
	for (size_t i = 0; i < n; i++)
		put_candidate(r, fresh, first + i, &ask);
	if (why == NULL) {
		fresh_route(fresh, first, n, &ask, &choice);
		why = why_of(&choice, &ask, text);
	}
	put_choice(r, fresh, first, &choice, why);
}

static bool finish_route(struct console *console, struct round *r)
{
	const struct session_env *env = console->env.session;
	const struct fresh *fresh = console->env.fresh;
	const char *text = r->command.statement;
	const struct sql_info *info;
	char why[DETAIL_MAX];
	struct sql_own own;
	bool only_reads, is_refused;

	if (sql_read_own(text, strlen(text), &own)) {
		put(r, "statement", "1", sql_kind_words(SQL_OWN));
		return true;
	}
	info = sql_classify(env->sql, text, strlen(text));
	is_refused = info->refusal != NULL;
	only_reads = put_class(r, info);
	put_calls(r, env->sql, text);
	if (is_refused) {
		put(r, "route", NULL, "nowhere: refused");
		return true;
	}
	if (!only_reads)
		why_not_read_only(env->sql, text, why);
	for (size_t first = 0, n; first < fresh_count(fresh); first += n) {
		MUST(fresh_find_name(fresh, fresh_database(fresh, first)->name, &n) == (int)first);
		put_route(r, console, first, n, only_reads ? NULL : why);
	}
	return true;
}

const struct action action_EXPLAIN_ROUTE = {
	.columns = route, .n_columns = COUNT_OF(route), .finish = finish_route, .tag = "EXPLAIN"};

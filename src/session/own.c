/* Statements about usher.*: which setting, whether it may be done, the answer by either protocol.
 *
 *   query_take ─► own_query                    SET, RESET, SHOW, current_setting, set_config
 *   batch_*    ─► own_parse, own_bind, own_describe, own_execute
 *     run ─► identity_change (usher.token) | wish_set (the others), answer_put_row
 *
 * They are answered here and never sent. Inside a batch they wait until every reply that the server
 * owes has come, so that nothing needs to be undone when an earlier one fails. Errors are those of
 * PostgreSQL's own settings. On the worker's thread. */
#include <stdio.h>
#include <string.h>

#include "session_int.h"

#define VALUE_MAX 64 /* of all but the token; with its NUL */

enum access { ACCESS_SET = 1, ACCESS_SHOW = 2, ACCESS_BOTH = 3 };

static const struct {
	const char *word;
	enum access access;
	const char *values;
} settings[] = {
#define OWN_SETTING(name, word, access, values) [OWN_##name] = {word, ACCESS_##access, values},
#include "tbl/own_settings.h"
#undef OWN_SETTING
};

/* OWN_SETTINGS: there is none of this name. */
static enum own_setting find(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(settings); i++)
		if (strcmp(settings[i].word, name) == 0)
			return (enum own_setting)i;
	return OWN_SETTINGS;
}

static const struct wire_error aborted = {
	.severity = "ERROR",
	.sqlstate = SQLSTATE_IN_FAILED_TRANSACTION,
	.message = "current transaction is aborted, commands ignored until end of transaction "
		   "block"};

/* ---- errors ---------------------------------------------------------------------------------- */

static bool fail(struct own_error *error, const char *sqlstate, const char *hint,
                 const char *before, const char *name, const char *after)
{
	snprintf(error->message, sizeof(error->message), "%s\"usher.%s\"%s", before, name, after);
	error->e = (struct wire_error){
		.severity = "ERROR", .sqlstate = sqlstate, .message = error->message, .hint = hint};
	return false;
}

static bool fail_unknown(struct own_error *error, const char *name)
{
	return fail(error, SQLSTATE_UNDEFINED_OBJECT,
	            "PgUsher's settings are usher.token, usher.consistency, usher.max_lag, "
	            "usher.read_your_writes, usher.report, and to SHOW only usher.data_source, "
	            "usher.data_lag_seconds, usher.consistency_level, usher.freshness.",
	            "unrecognized configuration parameter ", name, "");
}

static bool fail_value(struct own_error *error, enum own_setting setting, const char *value)
{
	char after[VALUE_MAX + 8];

	snprintf(after, sizeof(after), ": \"%s\"", value);
	return fail(error, SQLSTATE_INVALID_PARAMETER, settings[setting].values,
	            "invalid value for parameter ", settings[setting].word, after);
}

/* Whoever tries to change, or to see, who the client is, is on record. identity_change reports what
 * it refuses itself. */
static void report_refused(struct client *c, const struct sql_own *own, const char *why)
{
	bool is_show = own->verb == SQL_OWN_SHOW || own->verb == SQL_OWN_CURRENT_SETTING;
	enum own_setting setting = find(own->name);

	if (setting == OWN_TOKEN && !is_show)
		report_token(c, why);
	else if (setting == OWN_TOKEN)
		report_guard(c, "usher_token", 0);
	else if (setting == OWN_SETTINGS && !is_show)
		report_guard(c, "usher_setting", 0);
}

/* ---- what is done ---------------------------------------------------------------------------- */

static bool only_shows(const struct sql_own *own)
{
	return own->verb == SQL_OWN_SHOW || own->verb == SQL_OWN_CURRENT_SETTING;
}

/* What it answers, or why it cannot be done, as far as that is known beforehand. */
static bool plan(const struct sql_own *own, struct answer *a, struct own_error *error)
{
	enum own_setting setting = find(own->name);
	bool is_show = only_shows(own);

	*a = (struct answer){.setting = setting};
	if (setting == OWN_SETTINGS && !own->is_missing_ok)
		return fail_unknown(error, own->name);
	a->is_null = setting == OWN_SETTINGS;
	if (!a->is_null && !is_show && !(settings[setting].access & ACCESS_SET))
		return fail(error, SQLSTATE_CANNOT_CHANGE, NULL, "parameter ", own->name,
		            " cannot be changed");
	if (!a->is_null && is_show && !(settings[setting].access & ACCESS_SHOW))
		return fail(error, SQLSTATE_INSUFFICIENT_PRIVILEGE, NULL, "parameter ", own->name,
		            " cannot be shown");
	if (own->verb == SQL_OWN_CURRENT_SETTING && setting == OWN_FRESHNESS)
		return fail(error, SQLSTATE_FEATURE_NOT_SUPPORTED,
		            "Use SHOW usher.freshness, which answers a row of four columns.",
		            "parameter ", own->name, " has no single value");
	a->n_columns = own->verb == SQL_OWN_SET || own->verb == SQL_OWN_RESET ? 0
	               : setting == OWN_FRESHNESS                             ? 4
	                                                                      : 1;
	if (own->verb == SQL_OWN_CURRENT_SETTING)
		a->column = "current_setting";
	if (own->verb == SQL_OWN_SET_CONFIG)
		a->column = "set_config";
	return true;
}

static bool set(struct client *c, const struct sql_own *own, enum own_setting setting, bool in_txn,
                struct own_error *error)
{
	char value[VALUE_MAX];

	if (own->value != NULL && (own->len >= sizeof(value) || memchr(own->value, 0, own->len)))
		return fail_value(error, setting, "...");
	if (own->value != NULL) {
		memcpy(value, own->value, own->len);
		value[own->len] = '\0';
	}
	return wish_set(c, setting, own->value != NULL ? value : NULL, in_txn, own->is_local) ||
	       fail_value(error, setting, value);
}

/* in_txn: what is set ends, or takes hold, with a transaction. */
static bool run(struct client *c, const struct sql_own *own, bool in_txn, struct answer *a,
                struct own_error *error)
{
	/* The server has answered all that went before. */
	if (c->reset_is_due)
		identity_reset(c, in_txn);
	identity_settle(c);
	if (c->txn.state == TXN_FAILED) {
		error->e = aborted;
		report_refused(c, own, "failed_transaction");
		return false;
	}
	if (!plan(own, a, error)) {
		report_refused(c, own, NULL);
		return false;
	}
	if (only_shows(own))
		return true;
	if (a->setting == OWN_TOKEN)
		return identity_change(c, own, in_txn, &error->e);
	return set(c, own, a->setting, in_txn, error);
}

bool own_begin(struct client *c, const char *name, const char *value, struct own_error *error)
{
	struct sql_own own = {.verb = SQL_OWN_SET, .value = value, .len = strlen(value)};
	struct answer a;
	size_t i = 0;

	for (; name[i] != '\0' && i + 1 < sizeof(own.name); i++)
		own.name[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i]);
	if (!plan(&own, &a, error))
		return false;
	return (own.len < VALUE_MAX && wish_begin(c, a.setting, value)) ||
	       fail_value(error, a.setting, own.len < VALUE_MAX ? value : "...");
}

/* ---- answers --------------------------------------------------------------------------------- */

static void warn_if_local(struct client *c, const struct sql_own *own)
{
	static const struct wire_error warning = {
		.severity = "WARNING",
		.sqlstate = SQLSTATE_NO_ACTIVE_TRANSACTION,
		.message = "SET LOCAL can only be used in transaction blocks"};

	if (own->verb != SQL_OWN_SET || !own->is_local || c->txn.state != TXN_NONE)
		return;
	wire_put_notice(c->env->backend->scratch, &warning);
	client_put(c, c->env->backend->scratch);
}

static void put_complete(struct client *c, const struct sql_own *own)
{
	static const char *const tags[] = {
		[SQL_OWN_SET] = "SET",
		[SQL_OWN_RESET] = "RESET",
		[SQL_OWN_SHOW] = "SHOW",
		[SQL_OWN_CURRENT_SETTING] = "SELECT 1",
		[SQL_OWN_SET_CONFIG] = "SELECT 1",
	};

	wire_put_command_complete(c->env->backend->scratch, tags[own->verb]);
	client_put(c, c->env->backend->scratch);
}

enum step own_query(struct client *c, const struct sql_own *own)
{
	struct own_error error = {
		.e = {.severity = "ERROR",
	              .sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
	              .message = "usher settings are not answered to a Query inside a batch",
	              .hint = "Send Sync first."}};
	struct buf *b = c->env->backend->scratch;
	struct answer a;

	if (c->batch_open)
		report_refused(c, own, "batch");
	if (c->batch_open || !run(c, own, c->txn.state != TXN_NONE, &a, &error))
		return query_refuse(c, &error.e);
	warn_if_local(c, own);
	if (a.n_columns > 0) {
		answer_put_columns(b, &a, 0);
		answer_put_row(c, b, &a, 0);
		client_put(c, b);
	}
	put_complete(c, own);
	client_put_ready(c);
	return STEP_MORE;
}

/* ---- the extended protocol ------------------------------------------------------------------- */

static struct sql_own read_own(const char *text)
{
	struct sql_own own;

	MUST(sql_read_own(text, strlen(text), &own));
	return own;
}

enum step own_turn(struct client *c)
{
	static const uint8_t flush[] = {'H', 0, 0, 0, 4};

	if (c->server == NULL || server_owed(c->server) == 0) {
		c->batch_open = true;
		return STEP_MORE;
	}
	outvec_copy(lease_send(c), flush, sizeof(flush));
	c->flow = FLOW_WAIT_REPLIES;
	return STEP_WAIT;
}

enum step own_parse(struct client *c, const char *text)
{
	enum step step = own_turn(c);
	struct sql_own own = read_own(text);

	if (step != STEP_MORE || c->txn.state != TXN_FAILED)
		return step;
	report_refused(c, &own, "failed_transaction");
	return batch_refuse(c, &aborted);
}

/* What is behind the names of a Bind: formats of values, values, of which there must be none, and
 * the formats of the columns, which go to *formats (be16 each) and *n. */
static bool binds_nothing(const uint8_t *p, const uint8_t *end, const uint8_t **formats, size_t *n)
{
	size_t skip;

	if (end - p < 2)
		return false;
	skip = 2 + 2 * (size_t)be16_get(p);
	if ((size_t)(end - p) < skip + 4 || be16_get(p + skip) != 0)
		return false;
	*n = be16_get(p + skip + 2);
	*formats = p + skip + 4;
	return (size_t)(end - *formats) == 2 * *n;
}

/* None: text. One: that for all columns. */
static bool read_formats(const uint8_t *formats, size_t n, const struct answer *a,
                         uint8_t *is_binary)
{
	*is_binary = 0;
	if (a->n_columns == 0 || n == 0)
		return true;
	if (n != 1 && n != a->n_columns)
		return false;
	for (unsigned i = 0; i < a->n_columns; i++) {
		uint16_t format = be16_get(formats + (n == 1 ? 0 : 2 * i));

		if (format > 1)
			return false;
		*is_binary |= (uint8_t)(format << i);
	}
	return true;
}

enum step own_bind(struct client *c, const struct message *m, struct text *text, const char *portal,
                   const uint8_t *rest)
{
	static const struct wire_error named = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
		.message = "statements about usher settings run in the unnamed portal only"};
	static const struct wire_error format = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_PROTOCOL_VIOLATION,
		.message = "bind message has other result formats than the statement has columns"};
	struct sql_own own = read_own((const char *)text->body);
	enum step step = own_turn(c);
	const struct wire_error *refusal;
	const uint8_t *formats;
	struct own_error error;
	struct answer a;
	size_t n;

	if (step != STEP_MORE)
		return step;
	if (!binds_nothing(rest, m->body + m->have, &formats, &n)) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	refusal = portal[0] != '\0'                                  ? &named
	          : !plan(&own, &a, &error)                          ? &error.e
	          : !read_formats(formats, n, &a, &c->own_is_binary) ? &format
	                                                             : NULL;
	if (refusal != NULL) {
		report_refused(c, &own, "bind");
		return batch_refuse(c, refusal);
	}
	portal_set(c, "", &text->stmt);
	text->refs++;
	c->own_portal = text;
	c->own_is_done = false;
	client_put_bare(c, '2');
	return STEP_MORE;
}

enum step own_describe(struct client *c, const char *text, bool is_statement)
{
	struct sql_own own = read_own(text);
	struct buf *b = c->env->backend->scratch;
	enum step step = own_turn(c);
	struct own_error error;
	struct answer a;

	if (step != STEP_MORE)
		return step;
	if (!plan(&own, &a, &error)) {
		report_refused(c, &own, NULL);
		return batch_refuse(c, &error.e);
	}
	if (is_statement)
		wire_put_no_parameters(b);
	if (a.n_columns > 0)
		answer_put_columns(b, &a, is_statement ? 0 : c->own_is_binary);
	else
		wire_put_bare(b, 'n');
	client_put(c, b);
	return STEP_MORE;
}

/* One row; asked for one row at most, PostgreSQL does not look whether there are more. */
static bool put_row(struct client *c, const struct answer *a, uint32_t max_rows)
{
	struct buf *b = c->env->backend->scratch;

	if (a->n_columns == 0 || c->own_is_done)
		return false;
	c->own_is_done = true;
	answer_put_row(c, b, a, c->own_is_binary);
	if (max_rows == 1)
		wire_put_bare(b, 's');
	client_put(c, b);
	return max_rows == 1;
}

enum step own_execute(struct client *c, uint32_t max_rows)
{
	enum step step = own_turn(c);
	struct sql_own own = read_own((const char *)c->own_portal->body);
	struct own_error error;
	struct answer a;

	if (step != STEP_MORE)
		return step;
	/* Without a block it is in the batch's own transaction, which ends with Sync; so SET LOCAL
	 * has its use, and gets no warning. */
	if (!run(c, &own, true, &a, &error))
		return batch_refuse(c, &error.e);
	if (!put_row(c, &a, max_rows))
		put_complete(c, &own);
	return STEP_MORE;
}

/* Replays of the settings usher.*: they are answered here and never sent, they live and end with
 * transactions as PostgreSQL's own, and clients are told where their statements ran. */
#include "replay.h"

/* SHOW's answer. */
static void shows(struct actor *c, struct actor *s, const char *query, const char *column,
                  const char *value, char status)
{
	client_sends(c, QUERY(query));
	client_gets(c, ROW_DESCRIPTION(column), ROW(value), COMPLETE("SHOW"), READY(status));
	gets_nothing(s);
}

#define level_is(c, s, value, status)                                                              \
	shows(c, s, "show usher.consistency", "usher.consistency", value, status)

static void set_level(struct actor *c, struct actor *s, const char *query, char status)
{
	client_sends(c, QUERY(query));
	client_gets(c, COMPLETE("SET"), READY(status));
	gets_nothing(s);
}

/* One statement there and back, in a block. */
static void runs(struct actor *c, struct actor *s, const char *query, const char *tag, char status)
{
	client_sends(c, QUERY(query));
	server_gets(s, QUERY(query));
	server_says(s, COMPLETE(tag), READY(status));
	client_gets(c, COMPLETE(tag), READY(status));
}

static void session_settings(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	level_is(c, s, "bounded", 'I');
	set_level(c, s, "set usher.consistency = strong", 'I');
	level_is(c, s, "strong", 'I');
	set_level(c, s, "SET SESSION usher.consistency TO 'Eventual'", 'I');
	level_is(c, s, "eventual", 'I');
	client_sends(c, QUERY("reset usher.consistency"));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	level_is(c, s, "bounded", 'I');
	shows(c, s, "show usher.max_lag", "usher.max_lag", "5s", 'I');
	set_level(c, s, "set usher.max_lag = 1.5", 'I');
}

static void values_are_shown_in_one_spelling(struct replay *t)
{
	static const char *const lags[][2] = {{"'1500ms'", "1500ms"}, {"'60s'", "1min"},
	                                      {"90", "90s"},          {"0.25", "250ms"},
	                                      {"'2h'", "2h"},         {"0", "0"}};
	struct actor *c, *s;
	char query[64];

	replay_warm(t, &c, &s);
	for (size_t i = 0; i < sizeof(lags) / sizeof(lags[0]); i++) {
		snprintf(query, sizeof(query), "set usher.max_lag = %s", lags[i][0]);
		set_level(c, s, query, 'I');
		shows(c, s, "show usher.max_lag", "usher.max_lag", lags[i][1], 'I');
	}
	set_level(c, s, "set usher.read_your_writes = tenant", 'I');
	shows(c, s, "show usher.read_your_writes", "usher.read_your_writes", "tenant", 'I');
	shows(c, s, "show usher.report", "usher.report", "off", 'I');
	set_level(c, s, "set usher.report = tru", 'I');
	shows(c, s, "show usher.report", "usher.report", "on", 'I');
}

static void refused(struct actor *c, struct actor *s, const char *query, const char *code,
                    const char *text)
{
	client_sends(c, QUERY(query));
	client_gets(c, REFUSED(code, text), READY('I'));
	gets_nothing(s);
}

static void errors(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	refused(c, s, "set usher.consistency = 'stronk'", "22023",
	        "invalid value for parameter \"usher.consistency\": \"stronk\"");
	refused(c, s, "set usher.max_lag = '5 parsecs'", "22023", "usher.max_lag");
	refused(c, s, "set usher.report = o", "22023", "usher.report");
	refused(c, s, "set usher.nothing = 1", "42704",
	        "unrecognized configuration parameter \"usher.nothing\"");
	refused(c, s, "show usher.nothing", "42704", "\"usher.nothing\"");
	refused(c, s, "reset usher.nothing", "42704", "\"usher.nothing\"");
	refused(c, s, "select current_setting('usher.nothing')", "42704", "\"usher.nothing\"");
	refused(c, s, "set usher.data_source = 'a'", "55P02",
	        "parameter \"usher.data_source\" cannot be changed");
	refused(c, s, "reset usher.freshness", "55P02", "cannot be changed");
	refused(c, s, "show usher.token", "42501", "\"usher.token\" cannot be shown");
	refused(c, s, "select 1; set usher.consistency = strong", "0A000", "of their own");
	refused(c, s, "select current_setting('usher.freshness')", "0A000", "no single value");
	level_is(c, s, "bounded", 'I');
}

static void functions(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select set_config('usher.max_lag', '500ms', false)"));
	client_gets(c, ROW_DESCRIPTION("set_config"), ROW("500ms"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_sends(c, QUERY("select current_setting('usher.max_lag')"));
	client_gets(c, ROW_DESCRIPTION("current_setting"), ROW("500ms"), COMPLETE("SELECT 1"),
	            READY('I'));
	gets_nothing(s);
}

/* begin; SET; a statement; then an end of the transaction. */
static void set_in_block(struct actor *c, struct actor *s)
{
	set_level(c, s, "set usher.consistency = strong", 'I');
	replay_open_block(c, s);
	set_level(c, s, "set usher.consistency = eventual", 'T');
	set_level(c, s, "set local usher.max_lag = '1s'", 'T');
	level_is(c, s, "eventual", 'T');
}

static void kept_by_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	runs(c, s, "commit", "COMMIT", 'I');
	level_is(c, s, "eventual", 'I');
	shows(c, s, "show usher.max_lag", "usher.max_lag", "5s", 'I');
}

static void undone_by_rollback(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	runs(c, s, "rollback", "ROLLBACK", 'I');
	level_is(c, s, "strong", 'I');
	/* So is it in a block that no server ever saw. */
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	set_level(c, s, "set usher.consistency = eventual", 'T');
	client_sends(c, QUERY("rollback"));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	level_is(c, s, "strong", 'I');
}

static void local_over_session(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	set_level(c, s, "set usher.consistency = strong", 'T');
	set_level(c, s, "set local usher.consistency = eventual", 'T');
	level_is(c, s, "eventual", 'T');
	runs(c, s, "commit", "COMMIT", 'I');
	level_is(c, s, "strong", 'I');
	client_sends(c, QUERY("set local usher.consistency = eventual"));
	client_gets(c,
	            msg_error('N', "WARNING", "25P01",
	                      "SET LOCAL can only be used in transaction blocks"),
	            COMPLETE("SET"), READY('I'));
	level_is(c, s, "strong", 'I');
}

static void savepoints(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	runs(c, s, "savepoint before", "SAVEPOINT", 'T');
	set_level(c, s, "set usher.consistency = strong", 'T');
	runs(c, s, "savepoint a", "SAVEPOINT", 'T');
	set_level(c, s, "set local usher.consistency = eventual", 'T');
	runs(c, s, "savepoint B", "SAVEPOINT", 'T');
	set_level(c, s, "set usher.consistency = analytics", 'T');
	runs(c, s, "rollback to b", "ROLLBACK", 'T');
	level_is(c, s, "eventual", 'T');
	runs(c, s, "release b", "RELEASE", 'T');
	level_is(c, s, "eventual", 'T');
	runs(c, s, "rollback to savepoint \"a\"", "ROLLBACK", 'T');
	level_is(c, s, "strong", 'T');
	runs(c, s, "rollback to before", "ROLLBACK", 'T');
	level_is(c, s, "bounded", 'T');
	set_level(c, s, "set usher.consistency = eventual", 'T');
	runs(c, s, "commit", "COMMIT", 'I');
	level_is(c, s, "eventual", 'I');
}

/* In a failed transaction nothing is answered; ROLLBACK TO brings back what was. */
static void failed_block(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	set_level(c, s, "set usher.consistency = strong", 'T');
	runs(c, s, "savepoint a", "SAVEPOINT", 'T');
	set_level(c, s, "set usher.consistency = eventual", 'T');
	client_sends(c, QUERY("select x"));
	server_gets(s, QUERY("select x"));
	server_says(s, SERVER_ERROR("42703", "no x"), READY('E'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('E'));
	client_sends(c, QUERY("show usher.consistency"));
	server_gets(s, REFUSAL, SYNC);
	server_says(s, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_gets(c, REFUSED("25P02", "current transaction is aborted"), READY('E'));
	runs(c, s, "rollback to a", "ROLLBACK", 'T');
	level_is(c, s, "strong", 'T');
	/* A bad value fails the transaction. */
	client_sends(c, QUERY("set usher.max_lag = 'x'"));
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('E'));
	client_gets(c, REFUSED("22023", "usher.max_lag"), READY('E'));
	runs(c, s, "commit", "ROLLBACK", 'I');
	level_is(c, s, "bounded", 'I');
}

static void extended(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "set usher.consistency = eventual"), BIND("", ""),
	             DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, NO_ROWS, COMPLETE("SET"), READY('I'));
	client_sends(c, PARSE("p", "show usher.consistency"), DESCRIBE_STATEMENT("p"), SYNC);
	client_gets(c, PARSE_COMPLETE, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("usher.consistency"),
	            READY('I'));
	client_sends(c, BIND("", "p"), DESCRIBE_PORTAL(""), EXECUTE_ROWS("", 1), EXECUTE(""), SYNC);
	client_gets(c, BIND_COMPLETE, ROW_DESCRIPTION("usher.consistency"), ROW("eventual"),
	            SUSPENDED, COMPLETE("SHOW"), READY('I'));
	client_sends(c, PARSE("", "show usher.nothing"), BIND("", ""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, REFUSED("42704", "usher.nothing"), READY('I'));
	gets_nothing(s);
}

/* A batch that fails undoes what was set in it, and one that does not keeps it. */
static void set_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "set usher.consistency = eventual"), BIND("", ""), EXECUTE(""),
	             PARSE("", "select x"), BIND("", ""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"));
	server_gets(s, PARSE("", "select x"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	level_is(c, s, "bounded", 'I');
	client_sends(c, PARSE("", "set local usher.consistency = strong"), BIND("", ""),
	             EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"), READY('I'));
	level_is(c, s, "bounded", 'I');
}

/* Of a string that failed behind its COMMIT nobody knows what came true: the stricter value holds. */
static void doubt(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_level(c, s, "set usher.max_lag = '1s'", 'I');
	replay_open_block(c, s);
	set_level(c, s, "set usher.consistency = strong", 'T');
	set_level(c, s, "set usher.max_lag = '9s'", 'T');
	client_sends(c, QUERY("commit; show x"));
	server_gets(s, QUERY("commit; show x"));
	server_says(s, COMPLETE("COMMIT"), SERVER_ERROR("42704", "no x"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), SERVER_ERROR("42704", "no x"), READY('I'));
	level_is(c, s, "strong", 'I');
	shows(c, s, "show usher.max_lag", "usher.max_lag", "1s", 'I');
}

static void reset_all(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_level(c, s, "set usher.consistency = strong", 'I');
	client_sends(c, QUERY("reset all"));
	server_gets(s, CONTEXT("123"), QUERY("reset all"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("RESET"), READY('I'));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	level_is(c, s, "bounded", 'I');
}

static void at_startup(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	c = client_starts(t, "123",
	                  (const char *const[]){"options", "-c usher.consistency=strong", NULL});
	client_is_welcome(c);
	level_is(c, s, "strong", 'I');
	set_level(c, s, "set usher.consistency = eventual", 'I');
	client_sends(c, QUERY("reset usher.consistency"));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	level_is(c, s, "strong", 'I');
	c = client_starts(t, "123", (const char *const[]){"usher.max_lag", "soon", NULL});
	client_gets(c, FATAL("22023", "\"usher.max_lag\": \"soon\""));
	is_closed(c);
	c = client_starts(t, "123", (const char *const[]){"usher.nothing", "1", NULL});
	client_gets(c, FATAL("42704", "\"usher.nothing\""));
	is_closed(c);
}

static void claims_are_defaults(struct replay *t)
{
	struct actor *c, *s;
	const char *token;
	char query[2048];

	replay_warm(t, &c, &s);
	token = replay_token(t, "123", "consistency=eventual");
	snprintf(query, sizeof(query), "set usher.token = '%s'", token);
	set_level(c, s, query, 'I');
	level_is(c, s, "eventual", 'I');
	set_level(c, s, "set usher.consistency = strong", 'I');
	level_is(c, s, "strong", 'I');
	snprintf(query, sizeof(query), "set usher.token = '%s'",
	         replay_token(t, "123", "max_lag=soon"));
	client_sends(c, QUERY(query));
	client_gets(c, REFUSED("28000", "consistency or max_lag"), READY('I'));
}

/* In front of ReadyForQuery, what has changed and nothing else. */
static void told(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_level(c, s, "set usher.report = on", 'I');
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), PARAMETER("usher.data_source", "a"),
	            PARAMETER("usher.data_lag_seconds", "0"),
	            PARAMETER("usher.consistency_level", "bounded"), READY('I'));
	round_trip(c, s, "123");
	set_level(c, s, "set usher.consistency = strong", 'I');
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"),
	            PARAMETER("usher.consistency_level", "strong"), READY('I'));
	shows(c, s, "show usher.consistency_level", "usher.consistency_level", "strong", 'I');
	client_sends(c, QUERY("reset usher.consistency"));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	set_level(c, s, "set usher.report = off", 'I');
	round_trip(c, s, "123");
	shows(c, s, "show usher.consistency_level", "usher.consistency_level", "bounded", 'I');
}

int main(void)
{
	static const struct scenario scenarios[] = {
		SCENARIO(session_settings),
		SCENARIO(values_are_shown_in_one_spelling),
		SCENARIO(errors),
		SCENARIO(functions),
		SCENARIO(kept_by_commit),
		SCENARIO(undone_by_rollback),
		SCENARIO(local_over_session),
		SCENARIO(savepoints),
		SCENARIO(failed_block),
		SCENARIO(extended),
		SCENARIO(set_in_a_batch),
		SCENARIO(doubt),
		SCENARIO(reset_all),
		SCENARIO(at_startup),
		SCENARIO(claims_are_defaults),
		SCENARIO(told),
	};

	return replay_run("wish", scenarios, sizeof(scenarios) / sizeof(scenarios[0]));
}

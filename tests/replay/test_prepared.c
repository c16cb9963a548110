/* Replays of prepared statements: names are the client's, on servers they are PgUsher's, and a
 * statement is prepared on whichever server it is used on. Traps 13 to 15; isolation row 7. */
#include "replay.h"

/* Two clients over one server, which has the context's statement. */
static void two_clients(struct replay *t, struct actor **a, struct actor **b, struct actor **s)
{
	replay_start(t, "max_server_conn = 1");
	replay_warm(t, a, s);
	*b = client_logs_in(t, "456");
}

/* Parse name, Sync; the server takes it as STMT(16). */
static void prepares(struct actor *c, struct actor *s, const char *name, const char *sql,
                     const char *name_there)
{
	client_sends(c, PARSE(name, sql), SYNC);
	server_gets(s, PARSE(name_there, sql), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, READY('I'));
}

static void runs(struct actor *c, struct actor *s, const char *tenant, const char *name,
                 const char *name_there)
{
	client_sends(c, BIND("", name), EXECUTE(""), SYNC);
	server_gets(s, CONTEXT(tenant), BIND("", name_there), EXECUTE(""), SYNC);
	server_says(s, CONTEXT_DONE(tenant), BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
}

/* The same where the statement is not there yet. */
static void prepares_and_runs(struct actor *c, struct actor *s, const char *tenant,
                              const char *name, const char *name_there, const char *sql)
{
	client_sends(c, BIND("", name), EXECUTE(""), SYNC);
	server_gets(s, CONTEXT(tenant), PARSE(name_there, sql), BIND("", name_there), EXECUTE(""),
	            SYNC);
	server_says(s, CONTEXT_DONE(tenant), PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
}

/* ---- names ------------------------------------------------------------------------------ */

static void named_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	runs(c, s, "123", "s1", STMT(16));
	client_sends(c, DESCRIBE_STATEMENT("s1"), SYNC);
	server_gets(s, msg_strings('D', "S" STMT(16), (const char *)NULL), SYNC);
	server_says(s, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"), READY('I'));
	client_gets(c, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"), READY('I'));
	runs(c, s, "123", "s1", STMT(16));
}

static void parse_bind_execute_in_one_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select 1"), DESCRIBE_STATEMENT("s1"), BIND("", "s1"),
	             EXECUTE(""), SYNC);
	server_gets(s, PARSE(STMT(16), "select 1"), DESCRIBE_STATEMENT("{theirs}_16"),
	            CONTEXT("123"), BIND("", STMT(16)), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"),
	            CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"), BIND_COMPLETE,
	            ROW("1"), COMPLETE("SELECT 1"), READY('I'));
}

static void clients_share_a_text(struct replay *t)
{
	struct actor *a, *b, *s;

	two_clients(t, &a, &b, &s);
	prepares(a, s, "s1", "select 1", STMT(16));
	/* Another name, the same text: nothing to ask anybody. */
	client_sends(b, PARSE("other", "select 1"), SYNC);
	client_gets(b, PARSE_COMPLETE, READY('I'));
	gets_nothing(s);
	runs(b, s, "456", "other", STMT(16));
	runs(a, s, "123", "s1", STMT(16));
}

static void clients_share_a_name(struct replay *t)
{
	struct actor *a, *b, *s;

	two_clients(t, &a, &b, &s);
	prepares(a, s, "s1", "select 1", STMT(16));
	prepares(b, s, "s1", "select 2", STMT(17));
	runs(a, s, "123", "s1", STMT(16));
	runs(b, s, "456", "s1", STMT(17));
}

static void parameter_types_are_part_of_the_text(struct replay *t)
{
	struct actor *c, *s;
	/* PARSE with one parameter type, int4. */
	struct msg *typed = msg_bytes('P', "s2\0select $1\0\0\1\0\0\0\27", 19);

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select $1", STMT(16));
	client_sends(c, typed, SYNC);
	server_gets(s, msg_bytes('P', "{theirs}_17\0select $1\0\0\1\0\0\0\27", 28), SYNC);
}

static void name_that_is_taken(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, PARSE("s1", "select 2"), BIND("", "s1"), EXECUTE(""), SYNC);
	client_gets(c, REFUSED("42P05", "prepared statement \"s1\" already exists"), READY('I'));
	gets_nothing(s);
	/* With a server at hand its transaction fails as well. */
	client_sends(c, PARSE("", "select 3"), PARSE("s1", "select 2"), SYNC);
	server_gets(s, PARSE("", "select 3"), REFUSAL, SYNC);
	server_says(s, PARSE_COMPLETE, REFUSAL_FAILS, READY('I'));
	client_gets(c, PARSE_COMPLETE, REFUSED("42P05", "prepared statement \"s1\" already exists"),
	            READY('I'));
	runs(c, s, "123", "s1", STMT(16));
}

static void name_that_is_unknown(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BIND("", "s1"), EXECUTE(""), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "prepared statement \"s1\" does not exist"), READY('I'));
	client_sends(c, DESCRIBE_STATEMENT("s1"), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "prepared statement \"s1\" does not exist"), READY('I'));
	client_sends(c, BIND("", ""), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "unnamed prepared statement does not exist"), READY('I'));
	/* Nobody can name ours. */
	client_sends(c, BIND("", OURS(2), "456"), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "does not exist"), READY('I'));
	round_trip(c, s, "123");
}

static void failed_parse_leaves_the_name_free(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select x"), SYNC);
	server_gets(s, PARSE(STMT(16), "select x"), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	prepares(c, s, "s1", "select x", STMT(17));
	runs(c, s, "123", "s1", STMT(17));
}

static void skipped_parse_leaves_the_name_free(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select x"), PARSE("s1", "select 1"), SYNC);
	server_gets(s, PARSE("", "select x"), PARSE(STMT(16), "select 1"), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	prepares(c, s, "s1", "select 1", STMT(17));
}

static void statement_outlives_a_later_error(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select 1"), PARSE("", "select x"), SYNC);
	server_gets(s, PARSE(STMT(16), "select 1"), PARSE("", "select x"), SYNC);
	server_says(s, PARSE_COMPLETE, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, PARSE_COMPLETE, SERVER_ERROR("42703", "no x"), READY('I'));
	runs(c, s, "123", "s1", STMT(16));
}

/* There the server prepares nothing, and must say so itself. */
static void parse_in_a_failed_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, QUERY("begin"), QUERY("select 1/0"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1/0"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"),
	            SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), SERVER_ERROR("22012", "division by zero"),
	            READY('E'));
	client_sends(c, PARSE("s2", "select 1"), SYNC);
	server_gets(s, PARSE("", "select 1"), SYNC);
	server_says(s, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_gets(c, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	/* What was there before is there still; the name of the other one is free. */
	runs(c, s, "123", "s1", STMT(16));
	client_sends(c, PARSE("s2", "select 1"), SYNC);
	client_gets(c, PARSE_COMPLETE, READY('I'));
}

/* ---- Close ------------------------------------------------------------------------------ */

static void close_forgets_the_name(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, CLOSE_STATEMENT("s1"), CLOSE_STATEMENT("s1"), CLOSE_STATEMENT("never"),
	             SYNC);
	client_gets(c, CLOSE_COMPLETE, CLOSE_COMPLETE, CLOSE_COMPLETE, READY('I'));
	gets_nothing(s);
	client_sends(c, PARSE("s1", "select 2"), SYNC);
	server_gets(s, PARSE(STMT(17), "select 2"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, READY('I'));
	/* Its old text is still on the server, for the next one who wants it. */
	client_sends(c, PARSE("s3", "select 1"), SYNC);
	client_gets(c, PARSE_COMPLETE, READY('I'));
	runs(c, s, "123", "s3", STMT(16));
}

/* Answers of ours keep their turn among the server's. */
static void close_answers_in_its_turn(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, BIND("", "s1"), EXECUTE(""), CLOSE_STATEMENT("s1"), PARSE("s1", "select 2"),
	             CLOSE_STATEMENT("x"), SYNC);
	server_gets(s, CONTEXT("123"), BIND("", STMT(16)), EXECUTE(""), PARSE(STMT(17), "select 2"),
	            SYNC);
	gets_nothing(c);
	server_says(s, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"));
	client_gets(c, BIND_COMPLETE, COMPLETE("SELECT 1"), CLOSE_COMPLETE);
	server_says(s, PARSE_COMPLETE);
	client_gets(c, PARSE_COMPLETE, CLOSE_COMPLETE);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	runs(c, s, "123", "s1", STMT(17));
}

static void skipped_close_keeps_the_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, PARSE("", "select x"), CLOSE_STATEMENT("s1"), PARSE("s1", "select 2"),
	             SYNC);
	server_gets(s, PARSE("", "select x"), PARSE(STMT(17), "select 2"), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	runs(c, s, "123", "s1", STMT(16));
}

/* ---- another server --------------------------------------------------------------------- */

static void statement_follows_to_another_server(struct replay *t)
{
	struct actor *a, *b, *s, *other;

	replay_warm(t, &a, &s);
	prepares(a, s, "s1", "select 1", STMT(16));
	b = client_logs_in(t, "456");
	client_sends(b, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("456"), QUERY("select 1"));
	client_sends(a, BIND("", "s1"), EXECUTE(""), SYNC);
	other = replay_server(t, 1);
	assert_non_null(other);
	server_gets(other, FIRST_CONTEXT("123"), PARSE(STMT(16), "select 1"), BIND("", STMT(16)),
	            EXECUTE(""), SYNC);
	server_says(other, FIRST_CONTEXT_DONE("123"), PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	runs(a, other, "123", "s1", STMT(16));
}

/* A Parse of ours fails, where the client thinks that it was all right before. */
static void statement_that_another_server_refuses(struct replay *t)
{
	struct actor *a, *b, *s;

	two_clients(t, &a, &b, &s);
	prepares(a, s, "s1", "select 1", STMT(16));
	server_says(s, SERVER_FATAL("57P01", "terminating connection"));
	actor_hangs_up(s);
	is_closed(s);
	client_sends(a, BIND("", "s1"), EXECUTE(""), SYNC);
	s = replay_server(t, 1);
	server_gets(s, FIRST_CONTEXT("123"), PARSE(STMT(16), "select 1"), BIND("", STMT(16)),
	            EXECUTE(""), SYNC);
	server_says(s, FIRST_CONTEXT_DONE("123"), SERVER_ERROR("42P01", "no such table"),
	            READY('I'));
	client_gets(a, SERVER_ERROR("42P01", "no such table"), READY('I'));
	/* The client has it still; the table may be there again. */
	prepares_and_runs(a, s, "123", "s1", STMT(17), "select 1");
}

static void unnamed_statement_on_another_lease(struct replay *t)
{
	struct actor *a, *b, *s;

	two_clients(t, &a, &b, &s);
	client_sends(a, PARSE("", "select 'a'"), SYNC);
	server_gets(s, PARSE("", "select 'a'"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(a, PARSE_COMPLETE, READY('I'));
	client_sends(b, PARSE("", "select 'b'"), SYNC);
	server_gets(s, PARSE("", "select 'b'"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(b, PARSE_COMPLETE, READY('I'));
	/* Never the other one's. */
	prepares_and_runs(a, s, "123", "", "", "select 'a'");
	prepares_and_runs(b, s, "456", "", "", "select 'b'");
	client_sends(a, DESCRIBE_STATEMENT(""), SYNC);
	server_gets(s, PARSE("", "select 'a'"), DESCRIBE_STATEMENT(""), SYNC);
	server_says(s, PARSE_COMPLETE, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"), READY('I'));
	client_gets(a, PARAMETER_DESCRIPTION, ROW_DESCRIPTION("x"), READY('I'));
}

static void query_destroys_the_unnamed_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), SYNC);
	server_gets(s, PARSE("", "select 1"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, READY('I'));
	round_trip(c, s, "123");
	client_sends(c, BIND("", ""), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "unnamed prepared statement does not exist"), READY('I'));
}

static void failed_parse_leaves_no_unnamed_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select x"), SYNC);
	server_gets(s, PARSE("", "select x"), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	client_sends(c, BIND("", ""), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "unnamed prepared statement does not exist"), READY('I'));
}

static void close_of_the_unnamed_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), CLOSE_STATEMENT(""), BIND("", ""), SYNC);
	server_gets(s, PARSE("", "select 1"), REFUSAL, SYNC);
	server_says(s, PARSE_COMPLETE, REFUSAL_FAILS, READY('I'));
	client_gets(c, PARSE_COMPLETE, CLOSE_COMPLETE,
	            REFUSED("26000", "unnamed prepared statement does not exist"), READY('I'));
}

/* ---- room on the server ----------------------------------------------------------------- */

static void least_recently_used_is_closed(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "max_prepared_statements = 2");
	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	prepares(c, s, "s2", "select 2", STMT(17));
	runs(c, s, "123", "s1", STMT(16));
	client_sends(c, PARSE("s3", "select 3"), SYNC);
	server_gets(s, CLOSE_STATEMENT("{theirs}_17"), PARSE(STMT(18), "select 3"), SYNC);
	server_says(s, CLOSE_COMPLETE, PARSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, READY('I'));
	runs(c, s, "123", "s1", STMT(16));
	/* The one that was closed comes back when it is used, in the place of the oldest. */
	client_sends(c, BIND("", "s2"), EXECUTE(""), SYNC);
	server_gets(s, CONTEXT("123"), CLOSE_STATEMENT("{theirs}_18"), PARSE(STMT(19), "select 2"),
	            BIND("", STMT(19)), EXECUTE(""), SYNC);
	server_says(s, CONTEXT_DONE("123"), CLOSE_COMPLETE, PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
}

/* A Close of ours that the server skipped is made up for, or statements would pile up there. */
static void skipped_close_of_ours_is_made_up_for(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "max_prepared_statements = 1");
	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, PARSE("", "select x"), PARSE("s2", "select 2"), SYNC);
	server_gets(s, PARSE("", "select x"), CLOSE_STATEMENT("{theirs}_16"),
	            PARSE(STMT(17), "select 2"), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_sends(c, BIND("", "s1"), SYNC);
	server_gets(s, FIRST_CONTEXT("123"), PARSE(STMT(18), "select 1"), BIND("", STMT(18)), SYNC);
}

/* ---- SQL that names prepared statements ------------------------------------------------- */

/* Drivers say it for statements that they prepared by the protocol. */
static void deallocate_by_name(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "S 1", "select 1", STMT(16));
	client_sends(c, QUERY("DEALLOCATE \"S 1\""));
	client_gets(c, COMPLETE("DEALLOCATE"), READY('I'));
	client_sends(c, PARSE("S 1", "select 2"), SYNC);
	server_gets(s, PARSE(STMT(17), "select 2"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, READY('I'));
	/* Any other name is the server's affair. */
	client_sends(c, QUERY("deallocate x"));
	server_gets(s, CONTEXT("123"), QUERY("deallocate x"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("26000", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("26000", "no x"), READY('I'));
	runs(c, s, "123", "S 1", STMT(17));
}

#define BIND_DEALLOCATE(name) PARSE("", "DEALLOCATE " name), BIND("", ""), DESCRIBE_PORTAL("")

/* By the extended protocol (psycopg 3 in a pipeline), in its turn among what the server says. */
static void deallocate_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, BIND("", "s1"), EXECUTE(""), BIND_DEALLOCATE("s1"), EXECUTE(""),
	             PARSE("s1", "select 2"), SYNC);
	server_gets(s, CONTEXT("123"), BIND("", STMT(16)), EXECUTE(""), BIND_DEALLOCATE("s1"),
	            PARSE(STMT(17), "select 2"), SYNC);
	server_says(s, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"), PARSE_COMPLETE,
	            BIND_COMPLETE);
	client_gets(c, BIND_COMPLETE, COMPLETE("SELECT 1"), PARSE_COMPLETE, BIND_COMPLETE);
	server_says(s, NO_ROWS, PARSE_COMPLETE, READY('I'));
	client_gets(c, NO_ROWS, COMPLETE("DEALLOCATE"), PARSE_COMPLETE, READY('I'));
	runs(c, s, "123", "s1", STMT(17));
}

static void skipped_deallocate_keeps_the_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, PARSE("", "select x"), BIND_DEALLOCATE("s1"), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select x"), PARSE("", "DEALLOCATE s1"), CONTEXT("123"),
	            BIND("", ""), DESCRIBE_PORTAL(""), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	runs(c, s, "123", "s1", STMT(16));
}

/* Where it is gone when its turn comes, the server says so. */
static void deallocate_of_what_was_closed(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, BIND_DEALLOCATE("s1"), CLOSE_STATEMENT("s1"), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "DEALLOCATE s1"), CONTEXT("123"), BIND("", ""),
	            DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, NO_ROWS,
	            SERVER_ERROR("26000", "no s1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, NO_ROWS, CLOSE_COMPLETE,
	            SERVER_ERROR("26000", "no s1"), READY('I'));
}

static void deallocate_all_forgets_the_clients(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, QUERY("deallocate all"));
	server_gets(s, CONTEXT("123"), QUERY("deallocate all"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("DEALLOCATE ALL"), READY('I'));
	client_gets(c, COMPLETE("DEALLOCATE ALL"), READY('I'));
	client_sends(c, BIND("", "s1"), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "\"s1\" does not exist"), READY('I'));
	/* Ours went with them. */
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

static void other_clients_keep_theirs(struct replay *t)
{
	struct actor *a, *b, *s;

	two_clients(t, &a, &b, &s);
	prepares(b, s, "s1", "select 1", STMT(16));
	client_sends(a, QUERY("deallocate all"));
	server_gets(s, CONTEXT("123"), QUERY("deallocate all"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("DEALLOCATE ALL"), READY('I'));
	client_gets(a, COMPLETE("DEALLOCATE ALL"), READY('I'));
	client_sends(b, BIND("", "s1"), EXECUTE(""), SYNC);
	server_gets(s, FIRST_CONTEXT("456"), PARSE(STMT(17), "select 1"), BIND("", STMT(17)),
	            EXECUTE(""), SYNC);
	server_says(s, FIRST_CONTEXT_DONE("456"), PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
}

/* Did it run? All that PgUsher knows is that it had better prepare anew, under other names: a
 * server on which ours are there already would refuse every transaction from now on. */
static void deallocate_all_that_was_not_reached(struct replay *t)
{
	struct actor *c, *s;
	char before[sizeof(s->ours)];

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	memcpy(before, s->ours, sizeof(before));
	client_sends(c, QUERY("select 1/0; deallocate all"));
	server_gets(s, CONTEXT("123"), QUERY("select 1/0; deallocate all"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_sends(c, BIND("", "s1"), EXECUTE(""), SYNC);
	server_gets(s, FIRST_CONTEXT("123"), PARSE(STMT(17), "select 1"), BIND("", STMT(17)),
	            EXECUTE(""), SYNC);
	assert_string_not_equal(s->ours, before);
}

/* The same on a server that is pinned, and therefore not scrubbed. */
static void deallocate_all_that_was_not_reached_while_pinned(struct replay *t)
{
	struct actor *c, *s;
	char before[sizeof(s->ours)];

	replay_warm(t, &c, &s);
	memcpy(before, s->ours, sizeof(before));
	client_sends(c, QUERY("create temp table x ()"));
	server_gets(s, CONTEXT("123"), QUERY("create temp table x ()"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("CREATE TABLE"), READY('I'));
	client_gets(c, COMPLETE("CREATE TABLE"), READY('I'));
	client_sends(c, PARSE("", "select 1/0"), BIND("", ""), EXECUTE(""),
	             PARSE("", "deallocate all"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select 1/0"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            PARSE("", "deallocate all"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE,
	            SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, SERVER_ERROR("22012", "division by zero"),
	            READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
	assert_string_not_equal(s->ours, before);
}

static void discard_all_forgets_everything(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	prepares(c, s, "s1", "select 1", STMT(16));
	client_sends(c, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_gets(c, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_sends(c, BIND("", "s1"), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "\"s1\" does not exist"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

static const struct scenario scenarios[] = {
	SCENARIO(named_statement),
	SCENARIO(parse_bind_execute_in_one_batch),
	SCENARIO(clients_share_a_text),
	SCENARIO(clients_share_a_name),
	SCENARIO(parameter_types_are_part_of_the_text),
	SCENARIO(name_that_is_taken),
	SCENARIO(name_that_is_unknown),
	SCENARIO(failed_parse_leaves_the_name_free),
	SCENARIO(skipped_parse_leaves_the_name_free),
	SCENARIO(statement_outlives_a_later_error),
	SCENARIO(parse_in_a_failed_transaction),
	SCENARIO(close_forgets_the_name),
	SCENARIO(close_answers_in_its_turn),
	SCENARIO(skipped_close_keeps_the_statement),
	SCENARIO(statement_follows_to_another_server),
	SCENARIO(statement_that_another_server_refuses),
	SCENARIO(unnamed_statement_on_another_lease),
	SCENARIO(query_destroys_the_unnamed_statement),
	SCENARIO(failed_parse_leaves_no_unnamed_statement),
	SCENARIO(close_of_the_unnamed_statement),
	SCENARIO(least_recently_used_is_closed),
	SCENARIO(skipped_close_of_ours_is_made_up_for),
	SCENARIO(deallocate_by_name),
	SCENARIO(deallocate_in_a_batch),
	SCENARIO(skipped_deallocate_keeps_the_statement),
	SCENARIO(deallocate_of_what_was_closed),
	SCENARIO(deallocate_all_forgets_the_clients),
	SCENARIO(other_clients_keep_theirs),
	SCENARIO(deallocate_all_that_was_not_reached),
	SCENARIO(deallocate_all_that_was_not_reached_while_pinned),
	SCENARIO(discard_all_forgets_everything),
};

int main(void)
{
	return replay_run("replay/prepared", scenarios, COUNT_OF(scenarios));
}

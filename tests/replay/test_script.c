/* Replays of a Query of several statements that must be cut, because the context has to be set
 * between them (query.c): each piece at its own place in the text, one ReadyForQuery at the end.
 * Traps 8 and 18 of isolation: the context is there for every data statement. */
#include "replay.h"

static void cut_after_begin_and_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin; select 1; commit; select 2"));
	server_gets(s, QUERY("begin; "));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"));
	server_gets(s, CONTEXT("123"), QUERY("       select 1; commit; "));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"),
	            READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"));
	server_gets(s, CONTEXT("123"), QUERY("                         select 2"));
	server_says(s, CONTEXT_DONE("123"), ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

/* The context of an implicit transaction stays when BEGIN makes it a block. */
static void not_cut_where_the_context_stays(struct replay *t)
{
	struct actor *c, *s;
	const char *sql = "select 1; begin; select 2; savepoint a; select 3";

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), COMPLETE("BEGIN"),
	            COMPLETE("SELECT 1"), COMPLETE("SAVEPOINT"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("BEGIN"), COMPLETE("SELECT 1"),
	            COMPLETE("SAVEPOINT"), COMPLETE("SELECT 1"), READY('T'));
	/* The transaction has it still. */
	client_sends(c, QUERY("select 4; commit"));
	server_gets(s, QUERY("select 4; commit"));
	server_says(s, COMPLETE("SELECT 1"), COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("COMMIT"), READY('I'));
}

static void cut_after_and_chain(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1; rollback and chain; select 2"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"),
	            QUERY("select 1; rollback and chain; "));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            COMPLETE("ROLLBACK"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("ROLLBACK"));
	server_gets(s, CONTEXT("123"), QUERY("                              select 2"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
}

static void cut_after_reset_all(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1;reset all;select 2"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1;reset all;"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            COMPLETE("RESET"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("RESET"));
	server_gets(s, CONTEXT("123"), QUERY("                   select 2"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
}

/* Outside of a block the cut is in the middle of a transaction, which we keep in one. */
static void a_block_around_reset_all(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1;reset all;select 2"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1;reset all;"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            COMPLETE("RESET"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("RESET"));
	server_gets(s, CONTEXT("123"), QUERY("                   select 2"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"));
	server_gets(s, FIRST_COMMIT, SYNC);
	server_says(s, FIRST_COMMIT_DONE, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

/* DO cannot commit when it is not alone in its Query, so there is nothing to cut, and cutting would
 * make two transactions of what is one. */
static void not_cut_after_do(struct replay *t)
{
	struct actor *c, *s;
	const char *sql = "insert into t values (1); do $$begin end$$; insert into t values (2)";

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
}

/* Positions of errors are counted in characters, and LINE in newlines. */
static void pieces_keep_their_place(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(
		c, QUERY("select '\xc3\xa4\xe2\x82\xac',\n'\xf0\x9f\x98\x80';\ncommit; select x"));
	server_gets(s, CONTEXT("123"),
	            QUERY("select '\xc3\xa4\xe2\x82\xac',\n'\xf0\x9f\x98\x80';\ncommit; "));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("COMMIT"));
	server_gets(s, CONTEXT("123"), QUERY("            \n    \n        select x"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("42703", "no x at 34"), READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x at 34"), READY('I'));
}

static void error_stops_the_rest(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1/0; commit; select 2"), QUERY(""));
	server_gets(s, CONTEXT("123"), QUERY("select 1/0; commit; "));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"));
	client_gets(c, SERVER_ERROR("22012", "division by zero"));
	server_says(s, READY('I'));
	gets_nothing(s);
	client_gets(c, READY('I'), EMPTY_QUERY, READY('I'));
	round_trip(c, s, "123");
}

static void error_in_the_context_stops_the_rest(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1; commit; select 2"));
	server_gets(s, CONTEXT("123"), QUERY("select 1; commit; "));
	server_says(s, SERVER_ERROR("53200", "out of memory"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, SERVER_ERROR("53200", "out of memory"), READY('I'));
	round_trip(c, s, "123");
}

static void error_inside_the_block_of_a_script(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin; select 1/0; commit"));
	server_gets(s, QUERY("begin; "));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	server_gets(s, CONTEXT("123"), QUERY("       select 1/0; commit"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_gets(c, COMPLETE("BEGIN"), SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void refused_script_sends_nothing(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1; commit; set app.current_tenant_id = '456'"));
	client_gets(c, REFUSED("42501", "tenant context"), READY('I'));
	gets_nothing(s);
}

/* A script that waits for a server is taken as a whole when it comes. */
static void script_waits_for_a_server(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, QUERY("select 1; commit; select 2"));
	gets_nothing(s);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("select 1; commit; "));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"), READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("                  select 2"));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), COMPLETE("COMMIT"), COMPLETE("SELECT 1"), READY('I'));
}

static void service_role_needs_no_pieces(struct replay *t)
{
	struct actor *c = client_connects(t), *s;
	const char *sql = "begin; select 1; commit; select 2";

	client_sends(c, STARTUP("user", "service", "database", "eav", "usher.report", "off"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, NULL, "role=service")));
	client_is_welcome(c);
	s = replay_server(t, 0);
	client_sends(c, QUERY(sql));
	server_gets(s, QUERY(sql));
	server_says(s, COMPLETE("BEGIN"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("BEGIN"), COMPLETE("SELECT 1"), COMPLETE("COMMIT"),
	            COMPLETE("SELECT 1"), READY('I'));
}

static const struct scenario scenarios[] = {
	SCENARIO(cut_after_begin_and_commit),
	SCENARIO(not_cut_where_the_context_stays),
	SCENARIO(cut_after_and_chain),
	SCENARIO(cut_after_reset_all),
	SCENARIO(a_block_around_reset_all),
	SCENARIO(not_cut_after_do),
	SCENARIO(pieces_keep_their_place),
	SCENARIO(error_stops_the_rest),
	SCENARIO(error_in_the_context_stops_the_rest),
	SCENARIO(error_inside_the_block_of_a_script),
	SCENARIO(refused_script_sends_nothing),
	SCENARIO(script_waits_for_a_server),
	SCENARIO(service_role_needs_no_pieces),
};

int main(void)
{
	return replay_run("replay/script", scenarios, COUNT_OF(scenarios));
}

/* Replays of how connections end: the client's in each state, and what becomes of its server; the
 * server's, and what its client is told. Traps 22, 30; isolation rows 6 and 19: in any doubt a
 * server is closed, not pooled. */
#include "replay.h"

#define ROLLED_BACK COMPLETE("ROLLBACK"), READY('I')
#define SCRUBBED COMPLETE("DISCARD ALL"), READY('I')

/* The server was at work for a client who is gone: what it runs is cancelled, then it is closed. */
static void is_abandoned(struct replay *t, struct actor *s)
{
	gets_nothing(s);
	assert_ptr_equal(cancel_waiting(t), s);
	is_open(s);
	cancel_ends(t, true);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

/* ---- the client ends -------------------------------------------------------------------- */

static void idle_client_leaves(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_warm(t, &c, &s);
	client_sends(c, TERMINATE);
	is_closed(c);
	gets_nothing(c);
	b = client_logs_in(t, "456");
	round_trip(b, s, "456");
	actor_hangs_up(b);
	is_closed(b);
	gets_nothing(b);
	b = client_logs_in(t, "789");
	round_trip(b, s, "789");
	actor_breaks(b);
	is_closed(b);
	is_open(s);
	gets_nothing(s);
}

static void clients_leave_before_they_are_logged_in(struct replay *t)
{
	struct actor *c = client_connects(t);

	actor_hangs_up(c);
	is_closed(c);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "eav"));
	client_gets(c, AUTH(3));
	client_sends(c, TERMINATE);
	is_closed(c);
	gets_nothing(c);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "eav"));
	client_gets(c, AUTH(3));
	actor_breaks(c);
	is_closed(c);
}

static void client_leaves_in_a_transaction(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	actor_hangs_up(c);
	is_closed(c);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, ROLLED_BACK);
	assert_int_equal(replay_busy_servers(t), 0);
	b = client_logs_in(t, "456");
	round_trip(b, s, "456");
}

static void client_leaves_in_a_failed_transaction(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, QUERY("select 1/0"));
	server_gets(s, QUERY("select 1/0"));
	server_says(s, SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_sends(c, TERMINATE);
	is_closed(c);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, ROLLED_BACK);
	b = client_logs_in(t, "456");
	round_trip(b, s, "456");
}

/* The next one in the queue gets it, but not before it is clean. */
static void who_waits_gets_it_clean(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &c, &s);
	b = client_logs_in(t, "456");
	replay_open_block(c, s);
	client_sends(b, QUERY("select 1"));
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, COMPLETE("ROLLBACK"));
	gets_nothing(s);
	server_says(s, READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("select 1"));
}

static void rollback_that_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, SERVER_ERROR("XX000", "what?"), READY('T'));
	is_closed(s);
}

static void client_leaves_with_a_deferred_begin(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, TERMINATE);
	is_closed(c);
	gets_nothing(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

/* FIN behind a Query: it still gets its reply. */
static void half_closed_client_gets_its_reply(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	actor_hangs_up(c);
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	is_closed(c);
	b = client_logs_in(t, "456");
	round_trip(b, s, "456");
}

static void client_resets_in_mid_result(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"));
	client_gets(c, ROW("1"));
	c->is_broken = true;
	server_says(s, ROW("2"));
	is_closed(c);
	is_abandoned(t, s);
}

static void client_leaves_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""));
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""));
	actor_hangs_up(c);
	is_closed(c);
	is_abandoned(t, s);
}

/* All replies have come, and yet a transaction is open there, with its context: the next client's
 * Query would commit it. */
static void client_leaves_in_a_batch_that_was_flushed(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &c, &s);
	b = client_logs_in(t, "456");
	client_sends(c, PARSE("", "insert into t values (1)"), BIND("", ""), EXECUTE(""), FLUSH);
	server_gets(s, PARSE("", "insert into t values (1)"), CONTEXT("123"), BIND("", ""),
	            EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("INSERT 0 1"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("INSERT 0 1"));
	client_sends(b, QUERY("select 1"));
	actor_hangs_up(c);
	is_closed(c);
	gets_nothing(s);
	if (cancel_waiting(t) != NULL)
		cancel_ends(t, true);
	is_closed(s);
	s = replay_server(t, 1);
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

static void client_leaves_after_an_error_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select x"), FLUSH);
	server_gets(s, PARSE("", "select x"), FLUSH);
	server_says(s, SERVER_ERROR("42703", "no x"));
	client_gets(c, SERVER_ERROR("42703", "no x"));
	actor_hangs_up(c);
	is_closed(c);
	is_abandoned(t, s);
}

static void client_leaves_with_named_statements_under_way(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select 1"), PARSE("s2", "select 2"), CLOSE_STATEMENT("s1"));
	server_gets(s, PARSE(STMT(16), "select 1"), PARSE(STMT(17), "select 2"));
	client_sends(c, TERMINATE);
	is_closed(c);
	is_abandoned(t, s);
}

static void client_leaves_in_a_portal(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, PARSE("", "select 2"), BIND("p", ""), EXECUTE_ROWS("p", 1), SYNC);
	server_gets(s, PARSE("", "select 2"), BIND("p", ""), EXECUTE_ROWS("p", 1), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, ROW("2"), SUSPENDED, READY('T'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("2"), SUSPENDED, READY('T'));
	actor_hangs_up(c);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, ROLLED_BACK);
	is_open(s);
}

static void client_leaves_during_a_script(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin; select 1; commit"));
	server_gets(s, QUERY("begin; "));
	c->is_broken = true;
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	is_closed(c);
	/* Not a word of the rest. */
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, ROLLED_BACK);
	is_open(s);
}

static void client_leaves_while_it_waits(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	replay_open_block(a, s);
	client_sends(b, QUERY("select 1"));
	b->is_broken = true;
	/* Nothing is read from it while it waits; the next write finds out. */
	client_sends(a, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(a, COMPLETE("COMMIT"), READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("456"), ROW("1"));
	is_closed(b);
	is_abandoned(t, s);
}

/* ---- what it leaves behind -------------------------------------------------------------- */

static void state_of_a_gone_client_is_scrubbed(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("create temp table x (a int)"));
	server_gets(s, CONTEXT("123"), QUERY("create temp table x (a int)"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("CREATE TABLE"), READY('I'));
	client_gets(c, COMPLETE("CREATE TABLE"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 1);
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("DISCARD ALL"));
	b = client_logs_in(t, "456");
	assert_int_equal(replay_busy_servers(t), 1);
	server_says(s, COMPLETE("DISCARD ALL"), PARAMETER("TimeZone", "Etc/UTC"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	client_sends(b, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

static void transaction_and_state_of_a_gone_client(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, QUERY("listen a"));
	server_says(s, COMPLETE("LISTEN"), READY('T'));
	client_gets(c, COMPLETE("LISTEN"), READY('T'));
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, ROLLED_BACK);
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, SCRUBBED);
	assert_int_equal(replay_busy_servers(t), 0);
	is_open(s);
}

static void scrub_that_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, CONTEXT("123"), QUERY("listen a"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'));
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, SERVER_ERROR("XX000", "no"), READY('I'));
	is_closed(s);
}

/* CALL runs code that we do not see: scrubbed before anybody else gets it. */
static void opaque_code_is_scrubbed_at_once(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("call p()"));
	server_gets(s, CONTEXT("123"), QUERY("call p()"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("CALL"), READY('I'));
	client_gets(c, COMPLETE("CALL"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, SCRUBBED);
	assert_int_equal(replay_busy_servers(t), 0);
}

/* ---- the server ends -------------------------------------------------------------------- */

static void idle_server_ends(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	server_says(s, SERVER_FATAL("57P01", "terminating connection"));
	actor_hangs_up(s);
	is_closed(s);
	is_open(c);
	gets_nothing(c);
	client_sends(c, QUERY("select 1"));
	s = replay_server(t, 1);
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

static void server_ends_in_a_query(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	actor_hangs_up(s);
	is_closed(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
}

static void server_ends_between_rows(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"));
	actor_breaks(s);
	client_gets(c, ROW("1"), FATAL("08006", "server closed the connection"));
	is_closed(c);
}

/* Nothing can be put behind half a message. */
static void server_ends_within_a_row(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), HEADER('D', 4 + 10), RAW("\0\1\0\0", 4));
	actor_hangs_up(s);
	client_gets(c, HEADER('D', 4 + 10), RAW("\0\1\0\0", 4));
	is_closed(c);
	is_closed(s);
}

static void server_ends_in_an_idle_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	server_says(s, SERVER_FATAL("57P01", "terminating connection"));
	client_gets(c, SERVER_FATAL("57P01", "terminating connection"));
	actor_hangs_up(s);
	is_closed(s);
	is_closed(c);
	gets_nothing(c); /* it has been told why */
}

static void server_says_why_it_ends(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"),
	            SERVER_FATAL("57P01", "terminating connection"));
	actor_hangs_up(s);
	client_gets(c, ROW("1"), SERVER_FATAL("57P01", "terminating connection"));
	is_closed(c);
	gets_nothing(c);
}

/* An error is no farewell. */
static void server_ends_behind_an_error(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"));
	actor_hangs_up(s);
	client_gets(c, SERVER_ERROR("22012", "division by zero"),
	            FATAL("08006", "server closed the connection"));
	is_closed(c);
}

static void server_ends_in_copy(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	client_sends(c, COPY_DATA("1\n"));
	server_gets(s, COPY_DATA("1\n"));
	actor_breaks(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
}

static void server_ends_while_it_is_cleaned(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	actor_hangs_up(s);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void server_that_cannot_be_written_to(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	s->is_broken = true;
	client_sends(c, QUERY("select 1"));
	/* The next thing that the loop says about it. */
	actor_breaks(s);
	is_closed(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
}

static void server_dies_between_requests_of_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select 1"), BIND("", "s1"), FLUSH);
	server_gets(s, PARSE(STMT(16), "select 1"), CONTEXT("123"), BIND("", STMT(16)), FLUSH);
	server_says(s, PARSE_COMPLETE);
	client_gets(c, PARSE_COMPLETE);
	actor_hangs_up(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
}

/* ---- the server says something else ----------------------------------------------------- */

static void reply_that_was_not_expected(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), PARSE_COMPLETE, ROW("not for you"));
	is_closed(s);
	client_gets(c, FATAL("08P01", "not expected"));
	is_closed(c);
}

static void reply_to_nobody(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	server_says(s, ROW("1"));
	is_closed(s);
	is_open(c);
	gets_nothing(c);
}

static void reply_too_many(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	server_says(s, READY('I'));
	is_closed(s);
	client_gets(c, FATAL("08P01", "not expected"));
	is_closed(c);
}

static void status_that_does_not_exist(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('X'));
	is_closed(s);
	client_gets(c, COMPLETE("SELECT 1"), FATAL("08P01", "not expected"));
	is_closed(c);
}

static void server_with_an_impossible_length(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), HEADER('D', 3));
	is_closed(s);
	client_gets(c, FATAL("08P01", "not expected"));
	is_closed(c);
}

static const struct scenario scenarios[] = {
	SCENARIO(idle_client_leaves),
	SCENARIO(clients_leave_before_they_are_logged_in),
	SCENARIO(client_leaves_in_a_transaction),
	SCENARIO(client_leaves_in_a_failed_transaction),
	SCENARIO(who_waits_gets_it_clean),
	SCENARIO(rollback_that_fails),
	SCENARIO(client_leaves_with_a_deferred_begin),
	SCENARIO(half_closed_client_gets_its_reply),
	SCENARIO(client_resets_in_mid_result),
	SCENARIO(client_leaves_in_a_batch),
	SCENARIO(client_leaves_in_a_batch_that_was_flushed),
	SCENARIO(client_leaves_after_an_error_in_a_batch),
	SCENARIO(client_leaves_with_named_statements_under_way),
	SCENARIO(client_leaves_in_a_portal),
	SCENARIO_WHOLE(client_leaves_during_a_script),
	SCENARIO(client_leaves_while_it_waits),
	SCENARIO(state_of_a_gone_client_is_scrubbed),
	SCENARIO(transaction_and_state_of_a_gone_client),
	SCENARIO(scrub_that_fails),
	SCENARIO(opaque_code_is_scrubbed_at_once),
	SCENARIO(idle_server_ends),
	SCENARIO(server_ends_in_a_query),
	SCENARIO(server_ends_between_rows),
	SCENARIO(server_ends_within_a_row),
	SCENARIO(server_ends_in_an_idle_transaction),
	SCENARIO(server_says_why_it_ends),
	SCENARIO(server_ends_behind_an_error),
	SCENARIO(server_ends_in_copy),
	SCENARIO(server_ends_while_it_is_cleaned),
	SCENARIO(server_that_cannot_be_written_to),
	SCENARIO(server_dies_between_requests_of_a_batch),
	SCENARIO(reply_that_was_not_expected),
	SCENARIO(reply_to_nobody),
	SCENARIO(reply_too_many),
	SCENARIO(status_that_does_not_exist),
	SCENARIO(server_with_an_impossible_length),
};

int main(void)
{
	return replay_run("replay/end", scenarios, COUNT_OF(scenarios));
}

/* Replays of transactions: the BEGIN that is kept back, the context once in each transaction and
 * again after whatever ends it, savepoints, and that a transaction keeps its server. Traps 23 (a
 * transaction stays on one node), 25; isolation row 18. */
#include "replay.h"

/* ---- the deferred BEGIN ----------------------------------------------------------------- */

static void begin_is_answered_at_once(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("commit"));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	client_sends(c, QUERY("start transaction"), QUERY("abort"));
	client_gets(c, COMPLETE("START TRANSACTION"), READY('T'), COMPLETE("ROLLBACK"), READY('I'));
	client_sends(c, QUERY("BEGIN WORK"), QUERY("END"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("COMMIT"), READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void begin_goes_with_the_first_statement(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1"));
	came_in_one_write(s);
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), ROW("1"),
	            COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('T'));
	/* The context is there: the rest goes bare. */
	client_sends(c, QUERY("select 2"));
	server_gets(s, QUERY("select 2"));
	server_says(s, ROW("2"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, ROW("2"), COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	/* And the next one has its own. */
	client_sends(c, QUERY("begin"), QUERY("select 3"));
	server_gets(s, DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 3"));
}

static void begin_goes_with_an_extended_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, FIRST_DEFERRED_BEGIN, CLOSE_PORTAL(""), PARSE("", "select 1"),
	            CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CLOSE_COMPLETE, PARSE_COMPLETE,
	            CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('T'));
}

static void begin_with_options_is_not_kept_back(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin isolation level serializable"));
	server_gets(s, QUERY("begin isolation level serializable"));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	/* Nothing that takes a snapshot may come before this. */
	client_sends(c, QUERY("set transaction read only"));
	server_gets(s, QUERY("set transaction read only"));
	server_says(s, COMPLETE("SET"), READY('T'));
	client_gets(c, COMPLETE("SET"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

static void set_transaction_goes_behind_the_begin(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("set transaction isolation level serializable"));
	server_gets(s, FIRST_DEFERRED_BEGIN, QUERY("set transaction isolation level serializable"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, COMPLETE("SET"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SET"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

static void second_begin_is_the_servers_affair(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("begin"));
	server_gets(s, FIRST_DEFERRED_BEGIN, QUERY("begin"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, NOTICE("there is already a transaction"),
	            COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), NOTICE("there is already a transaction"),
	            COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

static void begin_that_the_server_refuses(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, PARSE_COMPLETE, SERVER_ERROR("53200", "out of memory"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), SERVER_ERROR("53200", "out of memory"),
	            READY('I'));
	round_trip(c, s, "123");
}

static void deferred_begin_can_be_turned_off(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "deferred_begin = no");
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	server_gets(s, QUERY("begin"));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

/* The block fails without any server knowing of it, and ends so. */
static void error_of_ours_inside_a_deferred_begin(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("set role postgres"), QUERY(""));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), REFUSED("42501", "role"), READY('E'),
	            EMPTY_QUERY, READY('E'));
	client_sends(c, QUERY("commit"));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

/* Where a server gets to know of the block after all, it must have failed there too. */
static void failed_deferred_begin_fails_on_the_server(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("set role postgres"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), REFUSED("42501", "role"), READY('E'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, REFUSAL, SYNC, QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, REFUSAL_FAILS, READY('E'));
	gets_nothing(c);
	server_says(s, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_gets(c, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_sends(c, QUERY("rollback; select 1"));
	server_gets(s, QUERY("rollback; "));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("          select 1"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), COMPLETE("SELECT 1"), READY('I'));
	/* It was a failure of ours, not a doubt. */
	round_trip(c, s, "123");
}

static void failed_deferred_begin_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("set role postgres"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), REFUSED("42501", "role"), READY('E'));
	client_sends(c, PARSE("", "rollback"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, FIRST_DEFERRED_BEGIN, REFUSAL, SYNC, CLOSE_PORTAL(""), PARSE("", "rollback"),
	            BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, REFUSAL_FAILS, READY('E'), CLOSE_COMPLETE,
	            PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

/* A client that has only said BEGIN holds no server. */
static void deferred_begin_holds_no_server(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("begin"));
	client_gets(a, COMPLETE("BEGIN"), READY('T'));
	round_trip(b, s, "456");
	client_sends(a, QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
}

static void wait_timeout_inside_a_deferred_begin(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1\nquery_wait_timeout = 5");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, QUERY("begin"), QUERY("select 2"));
	client_gets(b, COMPLETE("BEGIN"), READY('T'));
	replay_sleep(t, 6 * US_PER_S);
	client_gets(b, REFUSED("57014", "query_wait_timeout"), READY('E'));
	client_sends(b, QUERY("rollback"));
	client_gets(b, COMPLETE("ROLLBACK"), READY('I'));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	round_trip(b, s, "456");
}

/* ---- the context in a transaction ------------------------------------------------------- */

/* A statement that goes to the server as it is, and what it is answered with. */
static void passes(struct actor *c, struct actor *s, const char *sql, const char *tag, char status)
{
	client_sends(c, QUERY(sql));
	server_gets(s, QUERY(sql));
	server_says(s, COMPLETE(tag), READY(status));
	client_gets(c, COMPLETE(tag), READY(status));
}

static void passes_behind_context(struct actor *c, struct actor *s, const char *sql,
                                  const char *tag, char status)
{
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE(tag), READY(status));
	client_gets(c, COMPLETE(tag), READY(status));
}

static void fails(struct actor *c, struct actor *s, const char *sql)
{
	client_sends(c, QUERY(sql));
	server_gets(s, QUERY(sql));
	server_says(s, SERVER_ERROR("22012", "division by zero"), READY('E'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('E'));
}

static void context_again_after_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	passes(c, s, "commit", "COMMIT", 'I');
	passes_behind_context(c, s, "select 2", "SELECT 1", 'I');
	passes_behind_context(c, s, "select 3", "SELECT 1", 'I');
}

static void context_again_after_and_chain(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	passes(c, s, "commit and chain", "COMMIT", 'T');
	passes_behind_context(c, s, "select 2", "SELECT 1", 'T');
	passes(c, s, "select 3", "SELECT 1", 'T');
	fails(c, s, "select 1/0");
	passes(c, s, "rollback and chain", "ROLLBACK", 'T');
	passes_behind_context(c, s, "select 4", "SELECT 1", 'T');
	passes(c, s, "rollback", "ROLLBACK", 'I');
}

static void context_again_after_reset_all(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	passes(c, s, "reset all", "RESET", 'T');
	passes_behind_context(c, s, "select 2", "SELECT 1", 'T');
	passes(c, s, "select 3", "SELECT 1", 'T');
}

static void context_stays_over_savepoints(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("savepoint a"));
	/* A context set inside it would be undone by ROLLBACK TO. */
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("savepoint a"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SAVEPOINT"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SAVEPOINT"), READY('T'));
	passes(c, s, "select 1", "SELECT 1", 'T');
	fails(c, s, "select 1/0");
	passes(c, s, "rollback to savepoint a", "ROLLBACK", 'T');
	passes(c, s, "select 2", "SELECT 1", 'T');
	passes(c, s, "release savepoint a", "RELEASE", 'T');
	passes(c, s, "commit", "COMMIT", 'I');
	round_trip(c, s, "123");
}

static void context_again_after_call(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	/* It may commit inside, and did: what follows in the batch needs the context again. */
	client_sends(c, PARSE("", "call p()"), BIND("", ""), EXECUTE(""), PARSE("", "select 1"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "call p()"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
}

static void context_again_inside_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "begin"), BIND("", ""), EXECUTE(""),
	             PARSE("", "insert into t values (1)"), BIND("", ""), EXECUTE(""),
	             PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 1"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "begin"), BIND("", ""), EXECUTE(""),
	            PARSE("", "insert into t values (1)"), CONTEXT("123"), BIND("", ""),
	            EXECUTE(""), PARSE("", "commit"), BIND("", ""), EXECUTE(""),
	            PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("BEGIN"), PARSE_COMPLETE,
	            CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("INSERT 0 1"), PARSE_COMPLETE,
	            BIND_COMPLETE, COMPLETE("COMMIT"), PARSE_COMPLETE, CONTEXT_DONE("123"),
	            BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("BEGIN"), PARSE_COMPLETE,
	            BIND_COMPLETE, COMPLETE("INSERT 0 1"), PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("COMMIT"), PARSE_COMPLETE, BIND_COMPLETE, ROW("1"),
	            COMPLETE("SELECT 1"), READY('I'));
}

static void prepare_transaction_ends_it(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	passes(c, s, "prepare transaction 'x'", "PREPARE TRANSACTION", 'I');
	passes(c, s, "commit prepared 'x'", "COMMIT PREPARED", 'I');
	round_trip(c, s, "123");
}

static void failed_commit_ends_it(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, SERVER_ERROR("23503", "a deferred constraint"), READY('I'));
	client_gets(c, SERVER_ERROR("23503", "a deferred constraint"), READY('I'));
	round_trip(c, s, "123");
}

/* ---- the server in a transaction -------------------------------------------------------- */

static void transaction_keeps_its_server(struct replay *t)
{
	struct actor *a, *b, *s, *other;

	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	replay_open_block(a, s);
	client_sends(b, QUERY("select 1"));
	gets_nothing(s);
	other = replay_server(t, 1);
	assert_non_null(other);
	server_gets(other, FIRST_CONTEXT("456"), QUERY("select 1"));
	server_says(other, FIRST_CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	assert_string_not_equal(s->ours, other->ours);
	passes(a, s, "select 2", "SELECT 1", 'T');
	assert_int_equal(replay_busy_servers(t), 1);
	passes(a, s, "commit", "COMMIT", 'I');
	assert_int_equal(replay_busy_servers(t), 0);
}

static const struct scenario scenarios[] = {
	SCENARIO(begin_is_answered_at_once),
	SCENARIO(begin_goes_with_the_first_statement),
	SCENARIO(begin_goes_with_an_extended_batch),
	SCENARIO(begin_with_options_is_not_kept_back),
	SCENARIO(set_transaction_goes_behind_the_begin),
	SCENARIO(second_begin_is_the_servers_affair),
	SCENARIO(begin_that_the_server_refuses),
	SCENARIO(deferred_begin_can_be_turned_off),
	SCENARIO(error_of_ours_inside_a_deferred_begin),
	SCENARIO(failed_deferred_begin_fails_on_the_server),
	SCENARIO(failed_deferred_begin_in_a_batch),
	SCENARIO(deferred_begin_holds_no_server),
	SCENARIO(wait_timeout_inside_a_deferred_begin),
	SCENARIO(context_again_after_commit),
	SCENARIO(context_again_after_and_chain),
	SCENARIO(context_again_after_reset_all),
	SCENARIO(context_stays_over_savepoints),
	SCENARIO(context_again_after_call),
	SCENARIO(context_again_inside_a_batch),
	SCENARIO(prepare_transaction_ends_it),
	SCENARIO(failed_commit_ends_it),
	SCENARIO(transaction_keeps_its_server),
};

int main(void)
{
	return replay_run("replay/txn", scenarios, COUNT_OF(scenarios));
}

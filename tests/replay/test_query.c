/* Replays of the simple protocol (55.2.2): one Query at a time, what goes in front of it, refusals
 * and errors in every state. Traps 8, 18, 20; isolation rows 1 and 4. */
#include "replay.h"

static void context_goes_first(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	came_in_one_write(s);
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW_DESCRIPTION("?column?"), ROW("1"),
	            COMPLETE("SELECT 1"), READY('I'));
	came_in_one_write(c);
	client_gets(c, ROW_DESCRIPTION("?column?"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

static void first_context_is_parsed_with_it(struct replay *t)
{
	struct actor *c = client_logs_in(t, "123"), *s = replay_server(t, 0);

	gets_nothing(s);
	client_sends(c, QUERY("select 1"));
	came_in_one_write(s);
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
}

static void replies_come_as_they_are_made(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select generate_series(1, 2)"));
	server_gets(s, CONTEXT("123"), QUERY("select generate_series(1, 2)"));
	gets_nothing(c);
	server_says(s, CONTEXT_DONE("123"));
	gets_nothing(c);
	server_says(s, ROW("1"));
	client_gets(c, ROW("1"));
	server_says(s, ROW("2"), COMPLETE("SELECT 2"));
	client_gets(c, ROW("2"), COMPLETE("SELECT 2"));
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
}

static void empty_queries_need_no_server(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(""));
	client_gets(c, EMPTY_QUERY, READY('I'));
	client_sends(c, QUERY(" \n /* nothing */ -- at all"), QUERY(";"));
	client_gets(c, EMPTY_QUERY, READY('I'), EMPTY_QUERY, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void empty_query_in_a_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin isolation level serializable"));
	server_gets(s, QUERY("begin isolation level serializable"));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY(""));
	server_gets(s, QUERY(""));
	server_says(s, EMPTY_QUERY, READY('T'));
	client_gets(c, EMPTY_QUERY, READY('T'));
}

static void several_statements_go_as_one(struct replay *t)
{
	struct actor *c, *s;
	const char *sql = "select 1; select 2;;";

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), ROW("2"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), ROW("2"), COMPLETE("SELECT 1"), READY('I'));
}

static void error_of_the_server_passes(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1; select 1/0; select 3"));
	server_gets(s, CONTEXT("123"), QUERY("select 1; select 1/0; select 3"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"),
	            SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), SERVER_ERROR("22012", "division by zero"),
	            READY('I'));
	round_trip(c, s, "123");
}

static void statements_outside_transactions_go_bare(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("vacuum t"));
	server_gets(s, QUERY("vacuum t"));
	server_says(s, COMPLETE("VACUUM"), READY('I'));
	client_gets(c, COMPLETE("VACUUM"), READY('I'));
	round_trip(c, s, "123");
}

/* ---- the context goes wrong ------------------------------------------------------------- */

/* The server skips the Query, and nobody else would send the Sync that ends that. */
static void context_refused_by_the_server(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("insert into t values (1)"));
	server_gets(s, CONTEXT("123"), QUERY("insert into t values (1)"));
	server_says(s, BIND_COMPLETE, SERVER_ERROR("42501", "not for you"));
	server_gets(s, SYNC);
	client_gets(c, SERVER_ERROR("42501", "not for you"));
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

static void context_that_cannot_be_parsed_is_tried_again(struct replay *t)
{
	struct actor *c = client_logs_in(t, "123"), *s = replay_server(t, 0);

	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
	server_says(s, SERVER_ERROR("53200", "out of memory"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, SERVER_ERROR("53200", "out of memory"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

/* ---- refusals --------------------------------------------------------------------------- */

#define SPOOF QUERY("set app.current_tenant_id = '456'")
#define SPOOF_REFUSED REFUSED("42501", "tenant context")

static void refusal_without_a_server(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, SPOOF);
	client_gets(c, SPOOF_REFUSED, READY('I'));
	client_sends(c,
	             QUERY("select 1; select set_config('app.current_tenant_id', '456', false)"));
	client_gets(c, SPOOF_REFUSED, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void refusal_fails_the_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), ROW("1"),
	            COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), ROW("1"), COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, SPOOF);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS);
	client_gets(c, SPOOF_REFUSED);
	server_says(s, READY('E'));
	client_gets(c, READY('E'));
	/* Again, in the failed one. */
	client_sends(c, SPOOF);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('E'));
	client_gets(c, SPOOF_REFUSED, READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void function_calls_are_refused(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, FUNCTION_CALL);
	client_gets(c, REFUSED("42501", "FunctionCall"), READY('I'));
	gets_nothing(s);
	client_sends(c, QUERY("begin"), FUNCTION_CALL);
	client_gets(c, COMPLETE("BEGIN"), READY('T'), REFUSED("42501", "FunctionCall"), READY('E'));
	gets_nothing(s);
	client_sends(c, QUERY("rollback"));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void malformed_query_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, RAW("Q\0\0\0\5a", 6));
	client_gets(c, REFUSED("08P01", "invalid string in message"), READY('I'));
	client_sends(c, RAW("Q\0\0\0\7a\0b", 8));
	client_gets(c, REFUSED("08P01", "invalid message format"), READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void unknown_messages_end_it(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, msg_bytes('z', "abc", 3));
	client_gets(c, FATAL("08P01", "invalid frontend message type 122"));
	is_closed(c);
	gets_nothing(s);
}

/* ---- what may come at any time (55.2.7) ------------------------------------------------- */

static void asynchronous_messages_pass(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, NOTIFICATION("a"), BIND_COMPLETE, NOTICE("one"), ROW("123"),
	            PARAMETER("TimeZone", "CET"), COMPLETE("SELECT 1"), NOTICE("two"), ROW("1"),
	            COMPLETE("SELECT 1"), PARAMETER("is_superuser", "off"), READY('I'));
	client_gets(c, NOTIFICATION("a"), NOTICE("one"), PARAMETER("TimeZone", "CET"),
	            NOTICE("two"), ROW("1"), COMPLETE("SELECT 1"), PARAMETER("is_superuser", "off"),
	            READY('I'));
}

static void idle_servers_may_speak(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	server_says(s, NOTICE("one"), PARAMETER("in_hot_standby", "off"), NOTIFICATION("a"));
	gets_nothing(c);
	is_open(s);
	round_trip(c, s, "123");
}

static void notices_between_statements_of_a_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
	server_says(s, NOTICE("between"), NOTIFICATION("b"));
	client_gets(c, NOTICE("between"), NOTIFICATION("b"));
}

static void queries_wait_for_the_reply_before(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"), QUERY("select 2"), QUERY(""));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("select 2"));
	server_says(s, CONTEXT_DONE("123"), ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("2"), COMPLETE("SELECT 1"), READY('I'), EMPTY_QUERY, READY('I'));
}

static const struct scenario scenarios[] = {
	SCENARIO(context_goes_first),
	SCENARIO(first_context_is_parsed_with_it),
	SCENARIO(replies_come_as_they_are_made),
	SCENARIO(empty_queries_need_no_server),
	SCENARIO(empty_query_in_a_transaction),
	SCENARIO(several_statements_go_as_one),
	SCENARIO(error_of_the_server_passes),
	SCENARIO(statements_outside_transactions_go_bare),
	SCENARIO(context_refused_by_the_server),
	SCENARIO(context_that_cannot_be_parsed_is_tried_again),
	SCENARIO(refusal_without_a_server),
	SCENARIO(refusal_fails_the_transaction),
	SCENARIO(function_calls_are_refused),
	SCENARIO(malformed_query_fails),
	SCENARIO(unknown_messages_end_it),
	SCENARIO(asynchronous_messages_pass),
	SCENARIO(idle_servers_may_speak),
	SCENARIO(notices_between_statements_of_a_transaction),
	SCENARIO(queries_wait_for_the_reply_before),
};

int main(void)
{
	return replay_run("replay/query", scenarios, COUNT_OF(scenarios));
}

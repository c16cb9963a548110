/* Replays of timeouts: a query, a transaction, an idle transaction, an idle client; each ends what
 * it should, when it should, and nothing else. */
#include "replay.h"

#define INI "server_idle_timeout = 0\nserver_lifetime = 24h\n"

static void query_timeout(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "query_timeout = 5\nclient_idle_timeout = 3600");
	replay_warm(t, &c, &s);
	replay_sleep(t, 100 * US_PER_S); /* idle is no query */
	round_trip(c, s, "123");
	client_sends(c, QUERY("select pg_sleep(9)"));
	server_gets(s, CONTEXT("123"), QUERY("select pg_sleep(9)"));
	replay_sleep(t, 4 * US_PER_S);
	is_open(c);
	replay_sleep(t, 2 * US_PER_S);
	client_gets(c, FATAL("57014", "query_timeout"));
	is_closed(c);
	/* It is cancelled, and nobody else gets it. */
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	is_closed(s);
}

static void transaction_timeout(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "transaction_timeout = 5");
	replay_warm(t, &c, &s);
	for (int i = 0; i < 3; i++) {
		round_trip(c, s, "123"); /* each is its own */
		replay_sleep(t, 3 * US_PER_S);
	}
	replay_open_block(c, s);
	replay_sleep(t, 3 * US_PER_S);
	client_sends(c, QUERY("select 2"));
	server_gets(s, QUERY("select 2"));
	server_says(s, COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
	is_open(c);
	replay_sleep(t, 3 * US_PER_S);
	client_gets(c, FATAL("57014", "transaction_timeout"));
	is_closed(c);
	server_gets(s, QUERY("ROLLBACK"));
}

/* AND CHAIN begins another one. */
static void transaction_timeout_of_a_chain(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "transaction_timeout = 5");
	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	for (int i = 0; i < 4; i++) {
		replay_sleep(t, 3 * US_PER_S);
		client_sends(c, QUERY("commit and chain"));
		server_gets(s, QUERY("commit and chain"));
		server_says(s, COMPLETE("COMMIT"), READY('T'));
		client_gets(c, COMPLETE("COMMIT"), READY('T'));
		is_open(c);
	}
	replay_sleep(t, 6 * US_PER_S);
	client_gets(c, FATAL("57014", "transaction_timeout"));
	is_closed(c);
}

static void idle_transaction_timeout(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "idle_transaction_timeout = 5");
	replay_warm(t, &c, &s);
	replay_sleep(t, 100 * US_PER_S);
	replay_open_block(c, s);
	for (int i = 0; i < 3; i++) {
		replay_sleep(t, 3 * US_PER_S);
		client_sends(c, QUERY("select 2"));
		server_gets(s, QUERY("select 2"));
		replay_sleep(t, 7 * US_PER_S); /* a long query is not idle */
		server_says(s, COMPLETE("SELECT 1"), READY('T'));
		client_gets(c, COMPLETE("SELECT 1"), READY('T'));
	}
	replay_sleep(t, 6 * US_PER_S);
	client_gets(c, FATAL("25P03", "idle_transaction_timeout"));
	is_closed(c);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
}

/* The replies are there, and the server waits for Sync. */
static void idle_behind_flush(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "idle_transaction_timeout = 5");
	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), FLUSH);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	replay_sleep(t, 7 * US_PER_S); /* it is the server that takes so long */
	is_open(c);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"));
	replay_sleep(t, 4 * US_PER_S);
	is_open(c);
	replay_sleep(t, 2 * US_PER_S);
	client_gets(c, FATAL("25P03", "idle_transaction_timeout"));
	is_closed(c);
}

static void idle_in_copy(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "idle_transaction_timeout = 5");
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy x from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy x from stdin"));
	replay_sleep(t, 7 * US_PER_S); /* for a lock */
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	for (int i = 0; i < 3; i++) {
		replay_sleep(t, 4 * US_PER_S);
		client_sends(c, COPY_DATA("1\n"));
		server_gets(s, COPY_DATA("1\n"));
	}
	replay_sleep(t, 6 * US_PER_S);
	client_gets(c, FATAL("25P03", "idle_transaction_timeout"));
	is_closed(c);
}

/* Also one whose BEGIN was kept back. */
static void idle_in_deferred_begin(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, INI "idle_transaction_timeout = 5");
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	replay_sleep(t, 6 * US_PER_S);
	client_gets(c, FATAL("25P03", "idle_transaction_timeout"));
	is_closed(c);
	gets_nothing(s);
}

static void client_idle_timeout(struct replay *t)
{
	struct actor *a, *b, *c, *s;

	replay_start(t, INI "client_idle_timeout = 5\nmax_server_conn = 1");
	replay_warm(t, &a, &s);
	replay_open_block(a, s);
	b = client_logs_in(t, "456");
	c = client_logs_in(t, "789");
	client_sends(b, QUERY("select 1"));
	replay_sleep(t, 6 * US_PER_S);
	is_open(a); /* in a transaction */
	is_open(b); /* waits for a server */
	client_gets(c, FATAL("57P05", "client_idle_timeout"));
	is_closed(c);
	client_sends(a, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(a, COMPLETE("COMMIT"), READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	replay_sleep(t, 3 * US_PER_S);
	client_sends(a, QUERY(""));
	client_gets(a, EMPTY_QUERY, READY('I'));
	replay_sleep(t, 3 * US_PER_S);
	is_open(a);
	client_gets(b, FATAL("57P05", "client_idle_timeout"));
	is_closed(b);
	replay_sleep(t, 3 * US_PER_S);
	client_gets(a, FATAL("57P05", "client_idle_timeout"));
	is_closed(a);
}

static const struct scenario scenarios[] = {
	SCENARIO(query_timeout),
	SCENARIO(transaction_timeout),
	SCENARIO(transaction_timeout_of_a_chain),
	SCENARIO(idle_transaction_timeout),
	SCENARIO(idle_behind_flush),
	SCENARIO(idle_in_copy),
	SCENARIO(idle_in_deferred_begin),
	SCENARIO(client_idle_timeout),
};

int main(void)
{
	return replay_run("replay/deadline", scenarios, COUNT_OF(scenarios));
}

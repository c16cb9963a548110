/* Replays of ends that are PgUsher's own: tokens that expire, shutting down. What is under way may
 * finish (interface.md, 4; design.md, 14). */
#include "replay.h"

/* The transaction under way may finish, the next statement is refused. */
static void token_expires(struct replay *t)
{
	struct actor *a, *b, *c, *s;

	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	c = client_logs_in(t, "789");
	replay_open_block(a, s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	replay_sleep(t, 3601 * US_PER_S);
	is_open(b);
	client_sends(b, QUERY("select 1"));
	client_gets(b, FATAL("28000", "expired"));
	is_closed(b);
	client_sends(a, QUERY("select 2"));
	server_gets(s, QUERY("select 2"));
	server_says(s, COMPLETE("SELECT 1"), READY('T'));
	client_gets(a, COMPLETE("SELECT 1"), READY('T'));
	client_sends(a, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(a, COMPLETE("COMMIT"), READY('I'));
	client_sends(a, PARSE("", "select 3"));
	client_gets(a, FATAL("28000", "expired"));
	is_closed(a);
	gets_nothing(s);
}

/* It ran out while the client waited for a server, which goes to the next one. */
static void token_expires_in_the_queue(struct replay *t)
{
	struct actor *a, *b, *c, *s;

	replay_start(t, "max_server_conn = 1\nquery_wait_timeout = 0\n"
	                "server_idle_timeout = 0\nserver_lifetime = 24h");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	replay_sleep(t, 1800 * US_PER_S);
	c = client_logs_in(t, "789");
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, QUERY("select 2"));
	client_sends(c, QUERY("select 3"));
	replay_sleep(t, 1801 * US_PER_S);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, FATAL("28000", "expired"));
	is_closed(b);
	server_gets(s, CONTEXT("789"), QUERY("select 3"));
}

static void draining_a_pinned_client(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, CONTEXT("123"), QUERY("listen a"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'));
	session_drain(replay_session(t));
	replay_turn(t);
	client_gets(c, FATAL("57P01", "shutting down"));
	is_closed(c);
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
}

static void draining(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	replay_open_block(a, s);
	session_drain(replay_session(t));
	replay_turn(t);
	client_gets(b, FATAL("57P01", "shutting down"));
	is_closed(b);
	is_open(a);
	client_sends(a, QUERY("select 2"));
	server_gets(s, QUERY("select 2"));
	server_says(s, COMPLETE("SELECT 1"), READY('T'));
	client_gets(a, COMPLETE("SELECT 1"), READY('T'));
	client_sends(a, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(a, COMPLETE("COMMIT"), READY('I'), FATAL("57P01", "shutting down"));
	is_closed(a);
	assert_int_equal(replay_busy_servers(t), 0);
}

static const struct scenario scenarios[] = {
	SCENARIO(token_expires),
	SCENARIO(token_expires_in_the_queue),
	SCENARIO(draining),
	SCENARIO(draining_a_pinned_client),
};

int main(void)
{
	return replay_run("replay/expiry", scenarios, COUNT_OF(scenarios));
}

/* Replays of waiting for a server: whose turn it is, waits that end without one, logins to servers
 * that fail. Traps 11 and 31; isolation row 24. */
#include "replay.h"

/* One server, which client a holds in a Query; b and the others have none. */
static void all_taken(struct replay *t, const char *ini, struct actor **a, struct actor **b,
                      struct actor **s)
{
	replay_start(t, ini);
	replay_warm(t, a, s);
	*b = client_logs_in(t, "456");
	client_sends(*a, QUERY("select 1"));
	server_gets(*s, CONTEXT("123"), QUERY("select 1"));
}

static void finishes(struct actor *c, struct actor *s, const char *tenant)
{
	server_says(s, CONTEXT_DONE(tenant), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
}

static void query_waits(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 1", &a, &b, &s);
	client_sends(b, QUERY("select 2"), QUERY("select 3"));
	gets_nothing(b);
	finishes(a, s, "123");
	server_gets(s, CONTEXT("456"), QUERY("select 2"));
	finishes(b, s, "456");
	server_gets(s, CONTEXT("456"), QUERY("select 3"));
	finishes(b, s, "456");
}

static void batch_waits(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 1", &a, &b, &s);
	client_sends(b, PARSE("s1", "select 2"), BIND("", "s1"), EXECUTE(""), SYNC);
	gets_nothing(b);
	finishes(a, s, "123");
	server_gets(s, PARSE(STMT(16), "select 2"), CONTEXT("456"), BIND("", STMT(16)), EXECUTE(""),
	            SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("456"), BIND_COMPLETE, COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(b, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
}

static void query_waits_too_long(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 1\nquery_wait_timeout = 5", &a, &b, &s);
	client_sends(b, QUERY("select 2"), QUERY(""));
	replay_sleep(t, 4 * US_PER_S);
	gets_nothing(b);
	replay_sleep(t, 2 * US_PER_S);
	client_gets(b, REFUSED("57014", "query_wait_timeout"), READY('I'), EMPTY_QUERY, READY('I'));
	is_open(b);
	/* Its turn has passed. */
	finishes(a, s, "123");
	gets_nothing(s);
	round_trip(b, s, "456");
}

/* The error at once, ReadyForQuery only after the client's Sync. */
static void batch_waits_too_long(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 1\nquery_wait_timeout = 5", &a, &b, &s);
	client_sends(b, PARSE("s1", "select 2"), BIND("", "s1"), EXECUTE(""));
	replay_sleep(t, 6 * US_PER_S);
	client_gets(b, REFUSED("57014", "query_wait_timeout"));
	client_sends(b, DESCRIBE_PORTAL(""), QUERY("select 3"));
	gets_nothing(b);
	client_sends(b, SYNC);
	client_gets(b, READY('I'));
	finishes(a, s, "123");
	gets_nothing(s);
	/* The name is free. */
	client_sends(b, PARSE("s1", "select 2"), SYNC);
	server_gets(s, PARSE(STMT(16), "select 2"), SYNC);
}

/* In mid-batch: what was answered before stays answered. */
static void known_parse_then_a_wait_too_long(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1\nquery_wait_timeout = 5");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, PARSE("x", "select 2"), SYNC);
	server_gets(s, PARSE(STMT(16), "select 2"), SYNC);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(a, PARSE_COMPLETE, READY('I'));
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, PARSE("s1", "select 2"), BIND("", "s1"), EXECUTE(""), SYNC);
	client_gets(b, PARSE_COMPLETE);
	replay_sleep(t, 6 * US_PER_S);
	client_gets(b, REFUSED("57014", "query_wait_timeout"), READY('I'));
	finishes(a, s, "123");
	client_sends(b, BIND("", "s1"), SYNC);
	server_gets(s, CONTEXT("456"), BIND("", STMT(16)), SYNC);
}

/* The wait ended in an error, but by then the message needs no server any more: the error is gone
 * with it, and not kept for the next one. */
static void error_of_a_wait_is_not_kept(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1\nquery_wait_timeout = 5");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, PARSE("x", "select 2"), FLUSH);
	server_gets(s, PARSE(STMT(16), "select 2"), FLUSH);
	client_sends(b, PARSE("s1", "select 2"), SYNC);
	server_says(s, PARSE_COMPLETE);
	client_gets(a, PARSE_COMPLETE);
	replay_sleep(t, 6 * US_PER_S);
	/* Whether it is told of the timeout or of the success. */
	if (b->in.len > 0 && b->in.data[0] == '1')
		client_gets(b, PARSE_COMPLETE, READY('I'));
	else
		client_gets(b, REFUSED("57014", "query_wait_timeout"), READY('I'));
	client_sends(a, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(a, READY('I'));
	round_trip(b, s, "456");
}

/* The tenant that has used less server time is next: the flood of the one that has just had the
 * server does not keep the other one's client waiting, who came last. */
static void tenants_take_turns(struct replay *t)
{
	struct actor *a, *b, *s, *flood[5];

	all_taken(t, "max_server_conn = 1", &a, &b, &s);
	for (size_t i = 0; i < COUNT_OF(flood); i++) {
		flood[i] = client_logs_in(t, "123");
		client_sends(flood[i], QUERY("select 1"));
	}
	client_sends(b, QUERY("select 1"));
	finishes(a, s, "123");
	server_gets(s, CONTEXT("456"), QUERY("select 1"));
	finishes(b, s, "456");
	for (size_t i = 0; i < COUNT_OF(flood); i++) {
		server_gets(s, CONTEXT("123"), QUERY("select 1"));
		finishes(flood[i], s, "123");
	}
}

static void server_frees_its_place_when_it_ends(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 1", &a, &b, &s);
	client_sends(b, QUERY("select 2"));
	assert_int_equal(replay_servers(t), 1);
	actor_hangs_up(s);
	is_closed(a);
	assert_int_equal(replay_servers(t), 2);
	server_gets(replay_server(t, 1), FIRST_CONTEXT("456"), QUERY("select 2"));
}

/* ---- dials ------------------------------------------------------------------------------ */

static void as_many_dials_as_clients_wait(struct replay *t)
{
	struct actor *a, *b, *s;

	all_taken(t, "max_server_conn = 2", &a, &b, &s);
	dials_wait(t);
	client_sends(b, QUERY("select 2"));
	assert_int_equal(dials_waiting(t), 1);
	gets_nothing(b);
	/* It is served by whichever comes first. */
	finishes(a, s, "123");
	server_gets(s, CONTEXT("456"), QUERY("select 2"));
	finishes(b, s, "456");
	s = dial_connects(t);
	gets_nothing(s);
	client_sends(b, QUERY("select 3"));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 3"));
}

static void first_clients_share_the_first_server(struct replay *t)
{
	static const char *const none[] = {NULL};
	struct actor *a, *b, *c;

	replay_start(t, "");
	dials_wait(t);
	a = client_starts(t, "123", none);
	b = client_starts(t, "456", none);
	c = client_starts(t, "789", none);
	assert_int_equal(dials_waiting(t), 3);
	gets_nothing(a);
	(void)dial_connects(t);
	client_is_welcome(a);
	client_is_welcome(b);
	client_is_welcome(c);
	client_sends(b, QUERY("select 1"));
	server_gets(replay_server(t, 0), FIRST_CONTEXT("456"), QUERY("select 1"));
}

static void login_that_the_server_refuses(struct replay *t)
{
	static const char *const none[] = {NULL};
	struct actor *a, *b;

	replay_start(t, "");
	dials_wait(t);
	a = client_starts(t, "123", none);
	dial_fails(t, "28P01", "password authentication failed");
	client_gets(a, FATAL("57P03", "cannot log in"));
	is_closed(a);
	/* Those who come until the next try are told at once. */
	b = client_starts(t, "456", none);
	client_gets(b, FATAL("57P03", "cannot log in"));
	is_closed(b);
	assert_int_equal(dials_waiting(t), 0);
	replay_sleep(t, 16 * US_PER_S);
	b = client_starts(t, "456", none);
	assert_int_equal(dials_waiting(t), 1);
	(void)dial_connects(t);
	client_is_welcome(b);
}

/* A server that is not there may come back: clients wait for it, and it is tried again with
 * growing pauses, not once for each client. */
static void server_that_is_not_there(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 2");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	dials_wait(t);
	actor_hangs_up(s);
	client_sends(a, QUERY("select 1"));
	assert_int_equal(dials_waiting(t), 1);
	dial_fails(t, "08001", "connection refused");
	assert_int_equal(dials_waiting(t), 0);
	client_sends(b, QUERY("select 2"));
	assert_int_equal(dials_waiting(t), 0);
	gets_nothing(a);
	replay_sleep(t, 150 * US_PER_MS);
	assert_int_equal(dials_waiting(t), 2);
	dial_fails(t, "08001", "connection refused");
	dial_fails(t, "08001", "connection refused");
	replay_sleep(t, 150 * US_PER_MS);
	assert_int_equal(dials_waiting(t), 0);
	replay_sleep(t, 300 * US_PER_MS);
	assert_int_equal(dials_waiting(t), 2);
	s = dial_connects(t);
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
	s = dial_connects(t);
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 2"));
}

static void refused_login_of_a_later_server(struct replay *t)
{
	struct actor *a, *s;

	replay_warm(t, &a, &s);
	dials_wait(t);
	actor_hangs_up(s);
	client_sends(a, QUERY("begin"), QUERY("select 1"));
	dial_fails(t, "28P01", "password authentication failed");
	client_gets(a, COMPLETE("BEGIN"), READY('T'), REFUSED("57P03", "cannot log in"),
	            READY('E'));
	client_sends(a, QUERY("rollback"));
	client_gets(a, COMPLETE("ROLLBACK"), READY('I'));
	client_sends(a, PARSE("", "select 1"), BIND("", ""));
	client_gets(a, REFUSED("57P03", "cannot log in"));
	client_sends(a, SYNC);
	client_gets(a, READY('I'));
	is_open(a);
}

/* ---- servers that nobody wants ---------------------------------------------------------- */

static void idle_servers_are_closed(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "server_idle_timeout = 60");
	replay_warm(t, &c, &s);
	replay_sleep(t, 50 * US_PER_S);
	is_open(s);
	round_trip(c, s, "123");
	replay_sleep(t, 50 * US_PER_S);
	is_open(s);
	replay_sleep(t, 20 * US_PER_S);
	is_closed(s);
}

static void old_servers_are_closed(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "server_lifetime = 60");
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
	replay_sleep(t, 100 * US_PER_S);
	is_open(s);
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	is_closed(s);
}

static const struct scenario scenarios[] = {
	SCENARIO(query_waits),
	SCENARIO(batch_waits),
	SCENARIO(query_waits_too_long),
	SCENARIO(batch_waits_too_long),
	SCENARIO(known_parse_then_a_wait_too_long),
	SCENARIO(error_of_a_wait_is_not_kept),
	SCENARIO(tenants_take_turns),
	SCENARIO(server_frees_its_place_when_it_ends),
	SCENARIO(as_many_dials_as_clients_wait),
	SCENARIO(first_clients_share_the_first_server),
	SCENARIO(login_that_the_server_refuses),
	SCENARIO(server_that_is_not_there),
	SCENARIO(refused_login_of_a_later_server),
	SCENARIO(idle_servers_are_closed),
	SCENARIO(old_servers_are_closed),
};

int main(void)
{
	return replay_run("replay/wait", scenarios, COUNT_OF(scenarios));
}

/* Replays of reads that go to a replica: the decision, the repetition on the primary, and what becomes
 * of them when the client cancels or goes. The session is route.c's side of docs/freshness.md; on
 * a real cluster it is tried by tests/system/test_routing.py. */
#include "replay.h"

#define ANSWER ROW("1"), COMPLETE("SELECT 1"), READY('I')
#define CONFLICT SERVER_ERROR("40001", "canceling statement due to conflict with recovery")

/* A client, the primary's server, and a replica's; both have the context's statement. */
static void warm(struct replay *t, const char *ini, struct actor **c, struct actor **p,
                 struct actor **r)
{
	replay_start(t, ini);
	*c = client_logs_in(t, "123");
	*p = replay_server(t, 0);
	client_sends(*c, QUERY("/*consistency=strong*/ select 1"));
	server_gets(*p, FIRST_CONTEXT("123"), QUERY("/*consistency=strong*/ select 1"));
	server_says(*p, FIRST_CONTEXT_DONE("123"), ANSWER);
	client_gets(*c, ANSWER);
	client_sends(*c, QUERY("select 1"));
	*r = replay_server(t, 1);
	assert_true((*r)->is_standby);
	server_gets(*r, FIRST_CONTEXT("123"), QUERY("select 1"));
	server_says(*r, FIRST_CONTEXT_DONE("123"), ANSWER);
	client_gets(*c, ANSWER);
	gets_nothing(*p);
}

/* "select 2" is under way at this server, and the other has heard nothing. */
static void reads_at(struct actor *c, struct actor *server, struct actor *other)
{
	client_sends(c, QUERY("select 2"));
	server_gets(server, CONTEXT("123"), QUERY("select 2"));
	gets_nothing(other);
}

static void answered_by(struct actor *c, struct actor *server)
{
	server_says(server, CONTEXT_DONE("123"), ANSWER);
	client_gets(c, ANSWER);
}

static void by_lag_and_comment(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	round_trip(c, r, "123");
	replay_sleep(t, 6 * US_PER_S);
	round_trip(c, p, "123");
	replica_has(t, 1 * US_PER_S);
	round_trip(c, r, "123");
	client_sends(c, QUERY("/*max_lag=500ms*/ select 1"));
	server_gets(p, CONTEXT("123"), QUERY("/*max_lag=500ms*/ select 1"));
	answered_by(c, p);
	replay_sleep(t, 60 * US_PER_S);
	client_sends(c, QUERY("select 1 /*consistency='eventual'*/"));
	server_gets(r, CONTEXT("123"), QUERY("select 1 /*consistency='eventual'*/"));
	answered_by(c, r);
}

static void own_writes(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	replay_sleep(t, 1);
	client_sends(c, QUERY("insert into t values (1)"));
	server_gets(p, CONTEXT("123"), QUERY("insert into t values (1)"));
	server_says(p, CONTEXT_DONE("123"), COMPLETE("INSERT 0 1"), READY('I'));
	client_gets(c, COMPLETE("INSERT 0 1"), READY('I'));
	gets_nothing(r);
	round_trip(c, p, "123");
	replay_sleep(t, 5);
	replica_has(t, 6);
	round_trip(c, p, "123");
	replica_has(t, 5);
	round_trip(c, r, "123");
}

static void read_only_block(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	client_sends(c, QUERY("begin read only"));
	server_gets(r, QUERY("begin read only"));
	server_says(r, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(r, CONTEXT("123"), QUERY("select 1"));
	/* In a block nothing is repeated. */
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('E'));
	client_gets(c, CONFLICT, READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(r, QUERY("rollback"));
	server_says(r, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	gets_nothing(p);
	round_trip(c, r, "123");
}

static void repeated_after_an_error(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT);
	gets_nothing(c);
	gets_nothing(p);
	server_says(r, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	gets_nothing(c);
	answered_by(c, p);
	/* The replica itself is all right. */
	assert_int_equal(replay_busy_servers(t), 0);
	round_trip(c, r, "123");
}

static void repeated_once(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), SERVER_ERROR("42P01", "no t"), READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	server_says(p, CONTEXT_DONE("123"), SERVER_ERROR("42P01", "nor here"), READY('I'));
	client_gets(c, SERVER_ERROR("42P01", "nor here"), READY('I'));
	gets_nothing(r);
}

/* What the client sent behind the read waits until that is answered. */
static void repeated_in_order(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	client_sends(c, QUERY("select 2"), QUERY("select 3"));
	server_gets(r, CONTEXT("123"), QUERY("select 2"));
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	gets_nothing(r);
	server_says(p, CONTEXT_DONE("123"), ANSWER);
	server_gets(r, CONTEXT("123"), QUERY("select 3"));
	client_gets(c, ANSWER);
	answered_by(c, r);
}

static void errors_of_the_data_are_not(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('I'));
	gets_nothing(p);
}

/* The client has a row already. */
static void what_was_passed_on_is_not(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), ROW_DESCRIPTION("x"), ROW("1"));
	client_gets(c, ROW_DESCRIPTION("x"), ROW("1"));
	server_says(r, CONFLICT, READY('I'));
	client_gets(c, CONFLICT, READY('I'));
	gets_nothing(p);
}

static void repeated_after_a_loss(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	actor_breaks(r);
	is_closed(r);
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	answered_by(c, p);
	/* It is left out until the probe has heard of it. */
	round_trip(c, p, "123");
	replay_sleep(t, 1);
	replica_has(t, 0);
	client_sends(c, QUERY("select 1"));
	server_gets(replay_server(t, 2), FIRST_CONTEXT("123"), QUERY("select 1"));
}

static void repeated_after_a_shutdown(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), SERVER_FATAL("57P01", "terminating connection"));
	actor_hangs_up(r);
	is_closed(r);
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	answered_by(c, p);
}

/* Whole, or its Sync is not here yet, and then it is the primary's. */
static void batch_is_repeated(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	client_sends(c, PARSE("q", "select 2"), BIND("", "q"), EXECUTE(""), SYNC);
	server_gets(r, PARSE(STMT(16), "select 2"), CONTEXT("123"), BIND("", STMT(16)), EXECUTE(""),
	            SYNC);
	server_says(r, PARSE_COMPLETE, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	/* A server has said that it parses, if only the replica's. */
	client_gets(c, PARSE_COMPLETE);
	server_gets(p, CONTEXT("123"), PARSE(STMT(16), "select 2"), BIND("", STMT(16)), EXECUTE(""),
	            SYNC);
	server_says(p, CONTEXT_DONE("123"), PARSE_COMPLETE, BIND_COMPLETE, ANSWER);
	client_gets(c, BIND_COMPLETE, ANSWER);
	/* It is there to stay. */
	client_sends(c, BIND("", "q"), EXECUTE(""), SYNC);
	server_gets(r, CONTEXT("123"), PARSE(STMT(17), "select 2"), BIND("", STMT(17)), EXECUTE(""),
	            SYNC);
	server_says(r, CONTEXT_DONE("123"), PARSE_COMPLETE, BIND_COMPLETE, ANSWER);
	client_gets(c, BIND_COMPLETE, ANSWER);
}

/* Its Sync is not here yet when the first of it is sent. */
static void batch_in_pieces(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	client_sends(c, PARSE("", "select 2"), BIND("", ""), EXECUTE(""));
	client_sends(c, SYNC);
	server_gets(p, PARSE("", "select 2"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(p, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ANSWER);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ANSWER);
	gets_nothing(r);
}

/* ---- cancel, and the client's end ----------------------------------------------------------- */

static void cancel_on_the_replica(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	(void)client_cancels(t, c->pid, c->secret);
	assert_ptr_equal(cancel_waiting(t), r);
	cancel_ends(t, true);
	server_says(r, CONTEXT_DONE("123"), SERVER_ERROR("57014", "canceling"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "canceling"), READY('I'));
	gets_nothing(p);
	round_trip(c, r, "123");
}

/* The replica had a reason of its own to fail, or is gone; the client wants it no more. */
static void cancelled_is_not_repeated(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	(void)client_cancels(t, c->pid, c->secret);
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	client_gets(c, REFUSED("57014", "user request"), READY('I'));
	gets_nothing(p);
	cancel_ends(t, true);
	round_trip(c, r, "123");
	reads_at(c, r, p);
	(void)client_cancels(t, c->pid, c->secret);
	actor_breaks(r);
	client_gets(c, REFUSED("57014", "user request"), READY('I'));
	gets_nothing(p);
	cancel_ends(t, false);
	round_trip(c, p, "123");
}

/* The error has been dropped, ReadyForQuery is not here yet. */
static void cancel_before_the_repetition(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT);
	(void)client_cancels(t, c->pid, c->secret);
	server_says(r, READY('I'));
	client_gets(c, REFUSED("57014", "user request"), READY('I'));
	gets_nothing(p);
	cancel_ends(t, true);
	round_trip(c, r, "123");
}

/* It came too late: what is next is not meant. */
static void cancel_ends_with_its_read(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	(void)client_cancels(t, c->pid, c->secret);
	answered_by(c, r);
	cancel_ends(t, true);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	answered_by(c, p);
}

static void cancel_of_the_repetition(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	(void)client_cancels(t, c->pid, c->secret);
	assert_ptr_equal(cancel_waiting(t), p);
	cancel_ends(t, true);
	assert_null(cancel_waiting(t));
	server_says(p, CONTEXT_DONE("123"), SERVER_ERROR("57014", "canceling"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "canceling"), READY('I'));
}

static void client_ends_on_the_replica(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	session_close(c->client, CLOSE_CLIENT_KILLED);
	is_closed(c);
	assert_ptr_equal(cancel_waiting(t), r);
	cancel_ends(t, true);
	is_closed(r);
	gets_nothing(p);
	is_open(p);
}

/* Its error has come, its ReadyForQuery not yet. */
static void client_ends_before_the_repetition(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT);
	session_close(c->client, CLOSE_CLIENT_KILLED);
	is_closed(c);
	gets_nothing(p);
	is_open(p);
}

static void client_ends_in_the_repetition(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	session_close(c->client, CLOSE_CLIENT_KILLED);
	is_closed(c);
	assert_ptr_equal(cancel_waiting(t), p);
	cancel_ends(t, true);
	is_closed(p);
	is_open(r);
}

/* It sends no more, and is to get what it asked for. */
static void client_half_closes_before_the_repetition(struct replay *t)
{
	struct actor *c, *p, *r;

	warm(t, WITH_REPLICA, &c, &p, &r);
	reads_at(c, r, p);
	actor_hangs_up(c);
	server_says(r, CONTEXT_DONE("123"), CONFLICT, READY('I'));
	server_gets(p, CONTEXT("123"), QUERY("select 2"));
	answered_by(c, p);
	is_closed(c);
}

/* ---- waiting for a replica's connection ----------------------------------------------------- */

static void starts_waiting(struct replay *t, struct actor **c, struct actor **p)
{
	replay_start(t, WITH_REPLICA);
	*c = client_logs_in(t, "123");
	*p = replay_server(t, 0);
	dials_wait(t);
	client_sends(*c, QUERY("select 2"));
	gets_nothing(*p);
	assert_int_equal(dials_waiting(t), 1);
}

static void who_waits_too_long_goes_elsewhere(struct replay *t)
{
	struct actor *c, *p;

	starts_waiting(t, &c, &p);
	replay_sleep(t, 499 * US_PER_MS);
	gets_nothing(p);
	replay_sleep(t, 1 * US_PER_MS);
	server_gets(p, FIRST_CONTEXT("123"), QUERY("select 2"));
	server_says(p, FIRST_CONTEXT_DONE("123"), ANSWER);
	client_gets(c, ANSWER);
	gets_nothing(dial_connects(t));
	assert_int_equal(replay_busy_servers(t), 0);
}

static void who_is_refused_goes_elsewhere(struct replay *t)
{
	struct actor *c, *p;

	starts_waiting(t, &c, &p);
	dial_fails(t, "57P03", "the database system is starting up");
	server_gets(p, FIRST_CONTEXT("123"), QUERY("select 2"));
	server_says(p, FIRST_CONTEXT_DONE("123"), ANSWER);
	client_gets(c, ANSWER);
}

/* The wait took too long for the answer to be fresh enough. */
static void judged_once_more(struct replay *t)
{
	struct actor *c, *p;

	starts_waiting(t, &c, &p);
	replica_has(t, 6 * US_PER_S);
	gets_nothing(dial_connects(t));
	server_gets(p, FIRST_CONTEXT("123"), QUERY("select 2"));
	assert_int_equal(replay_busy_servers(t), 1);
}

static void client_ends_in_the_wait(struct replay *t)
{
	struct actor *c, *p;

	starts_waiting(t, &c, &p);
	session_close(c->client, CLOSE_CLIENT_KILLED);
	is_closed(c);
	gets_nothing(dial_connects(t));
	gets_nothing(p);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void cancel_in_the_wait(struct replay *t)
{
	struct actor *c, *p;

	starts_waiting(t, &c, &p);
	(void)client_cancels(t, c->pid, c->secret);
	assert_null(cancel_waiting(t));
	client_gets(c, REFUSED("57014", "user request"), READY('I'));
	gets_nothing(dial_connects(t));
	gets_nothing(p);
}

int main(void)
{
	static const struct scenario scenarios[] = {
		SCENARIO(by_lag_and_comment),
		SCENARIO(own_writes),
		SCENARIO(read_only_block),
		SCENARIO(repeated_after_an_error),
		SCENARIO(repeated_once),
		SCENARIO(repeated_in_order),
		SCENARIO(errors_of_the_data_are_not),
		SCENARIO(what_was_passed_on_is_not),
		SCENARIO(repeated_after_a_loss),
		SCENARIO(repeated_after_a_shutdown),
		SCENARIO_WHOLE(batch_is_repeated),
		SCENARIO(batch_in_pieces),
		SCENARIO(cancel_on_the_replica),
		SCENARIO(cancelled_is_not_repeated),
		SCENARIO(cancel_before_the_repetition),
		SCENARIO(cancel_ends_with_its_read),
		SCENARIO(cancel_of_the_repetition),
		SCENARIO(client_ends_on_the_replica),
		SCENARIO(client_ends_before_the_repetition),
		SCENARIO(client_ends_in_the_repetition),
		SCENARIO(client_half_closes_before_the_repetition),
		SCENARIO(who_waits_too_long_goes_elsewhere),
		SCENARIO(who_is_refused_goes_elsewhere),
		SCENARIO(judged_once_more),
		SCENARIO(client_ends_in_the_wait),
		SCENARIO(cancel_in_the_wait),
	};

	return replay_run("route", scenarios, sizeof(scenarios) / sizeof(scenarios[0]));
}

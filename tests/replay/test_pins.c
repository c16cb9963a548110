/* State that cannot move keeps its server with the client until it is gone. */
#include "replay.h"

#define ASKED(value) BIND_COMPLETE, ROW(value), COMPLETE("SELECT 1")

/* What came for the server matters less than what it says. */
static void server_gets_some(struct actor *s)
{
	assert_true(s->in.len > 0);
	s->in.len = 0;
}

/* A statement after which the server is the client's, and nobody else's. */
static void pins(struct replay *t, const char *sql, const char *tag)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE(tag), READY('I'));
	client_gets(a, COMPLETE(tag), READY('I'));
	client_sends(b, QUERY("select 1"));
	gets_nothing(s);
	round_trip(a, s, "123");
	gets_nothing(b);
	client_sends(a, TERMINATE);
	server_gets(s, QUERY("DISCARD ALL"));
	gets_nothing(b);
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

static void set_of_more_than_a_value_pins(struct replay *t)
{
	pins(t, "set seed = 0.5", "SET");
}

static void temp_table_pins(struct replay *t)
{
	pins(t, "create temp table x (a int)", "CREATE TABLE");
}

static void listen_pins(struct replay *t)
{
	pins(t, "listen a", "LISTEN");
}

static void advisory_lock_pins(struct replay *t)
{
	pins(t, "select pg_advisory_lock(1)", "SELECT 1");
}

static void prepare_pins(struct replay *t)
{
	pins(t, "prepare p as select 1", "PREPARE");
}

static void set_local_does_not_pin(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("set local work_mem = '8MB'"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("set local work_mem = '8MB'"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SET"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SET"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	gets_nothing(s);
}

static void discard_all_unpins(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("listen x"));
	server_gets(s, CONTEXT("123"), QUERY("listen x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_sends(b, QUERY("select 1"));
	gets_nothing(s);
	client_sends(a, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_gets(a, COMPLETE("LISTEN"), READY('I'), COMPLETE("DISCARD ALL"), READY('I'));
	/* Ours once more, for what the client did is its own affair. */
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

/* With a statement that may end it, the server is asked what is left: still something, then no more.
 * Scrubbed it is in any case. */
static void pin_ends_with_its_state(struct replay *t)
{
	static const char *const left[] = {"f", "t"};
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("listen x"));
	server_gets(s, CONTEXT("123"), QUERY("listen x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(a, COMPLETE("LISTEN"), READY('I'));
	client_sends(b, QUERY("select 1"));
	for (int i = 0; i < 2; i++) {
		client_sends(a, QUERY("unlisten x"));
		server_gets(s, CONTEXT("123"), QUERY("unlisten x"));
		server_says(s, CONTEXT_DONE("123"), COMPLETE("UNLISTEN"), READY('I'));
		client_gets(a, COMPLETE("UNLISTEN"), READY('I'));
		server_gets_some(s);
		if (i == 0)
			server_says(s, PARSE_COMPLETE);
		server_says(s, ASKED(left[i]), READY('I'));
		gets_nothing(a);
	}
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

/* It crashed PgUsher once. */
static void client_ends_while_its_server_is_asked(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen x"));
	server_gets(s, CONTEXT("123"), QUERY("listen x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'));
	client_sends(c, QUERY("unlisten x"));
	server_gets(s, CONTEXT("123"), QUERY("unlisten x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("UNLISTEN"), READY('I'));
	client_gets(c, COMPLETE("UNLISTEN"), READY('I'));
	server_gets_some(s);
	c->is_broken = true;
	server_says(s, NOTIFICATION("x"));
	is_closed(c);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void pin_stays_where_nobody_can_tell(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen x"));
	server_gets(s, CONTEXT("123"), QUERY("listen x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_sends(c, QUERY("unlisten x"), QUERY("load 'x'"));
	server_gets(s, CONTEXT("123"), QUERY("unlisten x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("UNLISTEN"), READY('I'));
	server_gets_some(s);
	server_says(s, SERVER_ERROR("42501", "permission denied"), READY('I'));
	server_gets(s, PARSE(OURS(8), "SELECT pgusher_session.is_clean()"), BIND("", OURS(8)),
	            EXECUTE(""), SYNC);
	server_says(s, SERVER_ERROR("3F000", "no such schema"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("load 'x'"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LOAD"), READY('I'));
	client_sends(c, QUERY("unlisten x"));
	server_gets(s, CONTEXT("123"), QUERY("unlisten x"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("UNLISTEN"), READY('I'));
	gets_nothing(s);
	assert_int_equal(replay_busy_servers(t), 1);
}

/* It failed, so everything is still there. */
static void failed_discard_all_does_not_unpin(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, CONTEXT("123"), QUERY("listen a"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_sends(c, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, SERVER_ERROR("57014", "canceling"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'), SERVER_ERROR("57014", "canceling"),
	            READY('I'));
	assert_int_equal(replay_busy_servers(t), 1);
	gets_nothing(s);
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("DISCARD ALL"));
}

/* State made in a transaction that is rolled back: better safe. */
static void rolled_back_state_is_scrubbed(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("create temp table x ()"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("create temp table x ()"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("CREATE TABLE"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("CREATE TABLE"), READY('T'));
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
}

static void notifications_reach_a_pinned_client(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, CONTEXT("123"), QUERY("listen a"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'));
	server_says(s, NOTIFICATION("a"));
	client_gets(c, NOTIFICATION("a"));
	/* Its own it knows by the process id that it was told. */
	server_says(s, NOTIFICATION_BY(SERVER_PID, "a"));
	client_gets(c, NOTIFICATION_BY(c->pid, "a"));
	round_trip(c, s, "123");
}

static const struct scenario scenarios[] = {
	SCENARIO(set_of_more_than_a_value_pins),
	SCENARIO(temp_table_pins),
	SCENARIO(listen_pins),
	SCENARIO(advisory_lock_pins),
	SCENARIO(prepare_pins),
	SCENARIO(set_local_does_not_pin),
	SCENARIO(discard_all_unpins),
	SCENARIO(pin_ends_with_its_state),
	SCENARIO(client_ends_while_its_server_is_asked),
	SCENARIO(pin_stays_where_nobody_can_tell),
	SCENARIO(failed_discard_all_does_not_unpin),
	SCENARIO(rolled_back_state_is_scrubbed),
	SCENARIO(notifications_reach_a_pinned_client),
};

int main(void)
{
	return replay_run("replay/pins", scenarios, COUNT_OF(scenarios));
}

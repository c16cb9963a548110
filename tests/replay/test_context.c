/* Replays of the tenant context's promise: every data statement has its own tenant's, its echo is
 * checked before a row passes, and servers go from tenant to tenant without a trace. Isolation
 * rows 7, 18, 19. */
#include "replay.h"

static void two_tenants_on_one_server(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "9223372036854775807");
	for (int i = 0; i < 3; i++) {
		round_trip(a, s, "123");
		round_trip(b, s, "9223372036854775807");
	}
	assert_int_equal(replay_servers(t), 1);
}

static void tenants_in_turn(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("select 1"), QUERY("select 3"));
	client_sends(b, QUERY("select 2"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, CONTEXT("456"), QUERY("select 2"));
	server_says(s, CONTEXT_DONE("456"), ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("select 3"));
	server_says(s, CONTEXT_DONE("123"), ROW("3"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, ROW("1"), COMPLETE("SELECT 1"), READY('I'), ROW("3"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(b, ROW("2"), COMPLETE("SELECT 1"), READY('I'));
}

/* ---- the echo --------------------------------------------------------------------------- */

/* Asks, and answers the context's Execute with this instead: nothing may pass, and the server is
 * not to be used any more. */
static void echo_is(struct replay *t, struct msg *const *echo)
{
	struct msg *all[16] = {BIND_COMPLETE};
	struct actor *c, *s;
	size_t n = 1;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select secret from t"));
	server_gets(s, CONTEXT("123"), QUERY("select secret from t"));
	for (; *echo != NULL; echo++)
		all[n++] = *echo;
	all[n++] = COMPLETE("SELECT 1");
	all[n++] = ROW("secret");
	all[n++] = COMPLETE("SELECT 1");
	all[n++] = READY('I');
	actor_sends(s, all, __FILE__, __LINE__);
	is_closed(s);
	client_gets(c, FATAL("XX000", "tenant context"));
	is_closed(c);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void echo_of_another_tenant(struct replay *t)
{
	echo_is(t, MSGS(ROW("456")));
}

static void echo_of_a_longer_tenant(struct replay *t)
{
	echo_is(t, MSGS(ROW("1234")));
}

static void echo_of_a_shorter_tenant(struct replay *t)
{
	echo_is(t, MSGS(ROW("12")));
}

static void echo_that_is_empty(struct replay *t)
{
	echo_is(t, MSGS(ROW("")));
}

static void echo_that_is_null(struct replay *t)
{
	echo_is(t, MSGS(msg_bytes('D', "\0\1\377\377\377\377", 6)));
}

static void echo_of_two_columns(struct replay *t)
{
	echo_is(t, MSGS(ROW("123", "123")));
}

static void echo_that_is_missing(struct replay *t)
{
	echo_is(t, MSGS(RAW("", 0)));
}

static void second_echo_is_wrong(struct replay *t)
{
	echo_is(t, MSGS(ROW("123"), ROW("456")));
}

static void echo_that_is_too_long(struct replay *t)
{
	echo_is(t, MSGS(msg_bytes('D', "\0\1\0\0\0\0031234567890", 16)));
}

/* ---- where it may get lost -------------------------------------------------------------- */

/* The transaction failed before its context was set. It can only be rolled back now, and the next
 * one gets its own. */
static void context_that_was_skipped(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin isolation level serializable"));
	server_gets(s, QUERY("begin isolation level serializable"));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, PARSE("", "select x"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select x"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('E'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('E'));
	client_sends(c, QUERY("rollback and chain"));
	server_gets(s, QUERY("rollback and chain"));
	server_says(s, COMPLETE("ROLLBACK"), READY('T'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

/* A pipeline whose first batch fails: the second has its own context. */
static void context_after_a_failed_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select x"), BIND("", ""), EXECUTE(""), SYNC,
	             PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select x"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('I'));
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'), PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("SELECT 1"), READY('I'));
}

/* COMMIT in the middle of a pipelined batch fails: what comes behind it is skipped. */
static void commit_in_a_batch_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 1"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 1"),
	            CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, SERVER_ERROR("23503", "deferred"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, SERVER_ERROR("23503", "deferred"),
	            READY('I'));
	round_trip(c, s, "123");
}

/* What the parser does not know may do anything: the context is set in front of it, and again
 * behind it, and what follows waits until it is known to be no COPY. */
static void context_around_unknown_statements(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select frob frob frob"), BIND("", ""), EXECUTE(""),
	             PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select frob frob frob"), CONTEXT("123"), BIND("", ""),
	            EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"));
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"));
}

/* If it was one, the Sync behind its data is the client's, and is answered. */
static void unknown_statement_is_a_copy(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "copy frob frob frob"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "copy frob frob frob"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COPY_IN);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COPY_IN);
	gets_nothing(s);
	client_sends(c, COPY_DATA("1\n"), COPY_DONE, SYNC);
	server_gets(s, COPY_DATA("1\n"), COPY_DONE, SYNC);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
}

/* A portal that is executed later than it was bound. */
static void portal_bound_before_a_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("p", ""), PARSE("", "commit"), BIND("", ""),
	             EXECUTE(""), PARSE("", "select 2"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), CLOSE_PORTAL(""), BIND("p", ""),
	            PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 2"),
	            CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
}

/* ---- our own statements ----------------------------------------------------------------- */

/* Names are random for each server, and those of clients' statements, which errors may show, tell
 * nothing about ours. */
static void names_of_ours_are_not_to_be_guessed(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s1", "select 1"), SYNC);
	server_gets(s, PARSE(STMT(16), "select 1"), SYNC);
	assert_int_equal(strlen(s->ours), 20);
	assert_int_equal(strlen(s->theirs), 20);
	assert_string_not_equal(s->ours, s->theirs);
}

static void service_role_has_no_context(struct replay *t)
{
	struct actor *c = client_connects(t), *s;

	client_sends(c, STARTUP("user", "service", "database", "eav", "usher.report", "off"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, NULL, "role=service")));
	client_is_welcome(c);
	s = replay_server(t, 0);
	client_sends(c, QUERY("select 1"));
	server_gets(s, QUERY("select 1"));
	server_says(s, COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
}

/* Its servers are never those of a role with tenants. */
static void roles_do_not_share_servers(struct replay *t)
{
	struct actor *c, *a, *s;

	replay_warm(t, &a, &s);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "service", "database", "eav", "usher.report", "off"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, NULL, "role=service")));
	client_is_welcome(c);
	client_sends(c, QUERY("select 1"));
	gets_nothing(s);
	server_gets(replay_server(t, 1), QUERY("select 1"));
}

static const struct scenario scenarios[] = {
	SCENARIO(two_tenants_on_one_server),
	SCENARIO(tenants_in_turn),
	SCENARIO(echo_of_another_tenant),
	SCENARIO(echo_of_a_longer_tenant),
	SCENARIO(echo_of_a_shorter_tenant),
	SCENARIO(echo_that_is_empty),
	SCENARIO(echo_that_is_null),
	SCENARIO(echo_of_two_columns),
	SCENARIO(echo_that_is_missing),
	SCENARIO(second_echo_is_wrong),
	SCENARIO(echo_that_is_too_long),
	SCENARIO(context_that_was_skipped),
	SCENARIO(context_after_a_failed_batch),
	SCENARIO(commit_in_a_batch_fails),
	SCENARIO(context_around_unknown_statements),
	SCENARIO(unknown_statement_is_a_copy),
	SCENARIO(portal_bound_before_a_commit),
	SCENARIO(names_of_ours_are_not_to_be_guessed),
	SCENARIO(service_role_has_no_context),
	SCENARIO(roles_do_not_share_servers),
};

int main(void)
{
	return replay_run("replay/context", scenarios, COUNT_OF(scenarios));
}

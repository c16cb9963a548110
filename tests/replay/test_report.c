/* Replays of what the audit log is told of statements: of each Query and Execute one record, and
 * what has become of it. It is turned on while the client is there, as by RELOAD. */
#include "replay.h"

#include "audit/audit_int.h"
#include "session/session_int.h"

#define RECORDS 64

static void begin(struct replay *t, struct actor **c, struct actor **s)
{
	struct session_env *env = replay_session(t);

	replay_warm(t, c, s);
	env->audit = audit_queue_new(NULL, 1u << AUDIT_STATEMENTS, RECORDS);
	env->backend->reports = true;
	session_set_conf(env, env->conf);
}

/* Nothing has been told that was not asked for. */
static void end(struct replay *t)
{
	struct session_env *env = replay_session(t);

	assert_null(audit_queue_look(env->audit));
	audit_queue_free(&env->audit);
	env->backend->reports = false;
	session_set_conf(env, env->conf);
}

/* rows: -1 where none are told. */
static void told(struct replay *t, const char *outcome, const char *action, int64_t rows,
                 const char *sqlstate)
{
	struct audit_queue *queue = replay_session(t)->audit;
	const struct audit_record *r = audit_queue_look(queue);

	assert_non_null(r);
	assert_string_equal(r->outcome, outcome);
	assert_string_equal(r->action, action);
	assert_string_equal(r->sqlstate, sqlstate);
	assert_string_equal(r->tenant, "123");
	assert_int_equal(r->has_rows ? r->rows : -1, rows);
	assert_true(r->fingerprint != 0);
	audit_queue_drop(queue);
}

static void of_a_query(struct replay *t)
{
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, QUERY("select 1; update t set n = 2"));
	server_gets(s, CONTEXT("123"), QUERY("select 1; update t set n = 2"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), COMPLETE("UPDATE 30"),
	            READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), COMPLETE("UPDATE 30"), READY('I'));
	told(t, "done", "UPDATE", 31, "");
	end(t);
}

static void of_a_query_that_fails(struct replay *t)
{
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, QUERY("select 1/0"));
	server_gets(s, CONTEXT("123"), QUERY("select 1/0"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('I'));
	told(t, "failed", "", -1, "22012");
	round_trip(c, s, "123");
	told(t, "done", "SELECT", 1, "");
	end(t);
}

/* Of three Executes the second fails, and the third never runs. */
static void of_a_batch(struct replay *t)
{
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), BIND("", ""), EXECUTE(""),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            BIND("", ""), EXECUTE(""), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"),
	            COMPLETE("SELECT 1"), BIND_COMPLETE, SERVER_ERROR("22012", "no"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), BIND_COMPLETE,
	            SERVER_ERROR("22012", "no"), READY('I'));
	told(t, "done", "SELECT", 1, "");
	told(t, "failed", "", -1, "22012");
	told(t, "skipped", "", -1, "");
	end(t);
}

static void of_a_portal_that_is_suspended(struct replay *t)
{
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE_ROWS("", 1), EXECUTE(""),
	             SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE_ROWS("", 1),
	            EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"), SUSPENDED,
	            ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), SUSPENDED, ROW("2"),
	            COMPLETE("SELECT 1"), READY('I'));
	told(t, "suspended", "", -1, "");
	told(t, "done", "SELECT", 1, "");
	end(t);
}

static void of_copy(struct replay *t)
{
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	client_sends(c, COPY_DATA("1\n"), COPY_DONE);
	server_gets(s, COPY_DATA("1\n"), COPY_DONE);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
	told(t, "done", "COPY", 1, "");
	end(t);
}

/* What is under way when nobody wants to know any more; and again when somebody does. */
static void turned_off_and_on_in_a_batch(struct replay *t)
{
	struct session_env *env = replay_session(t);
	struct actor *c, *s;

	begin(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	env->backend->reports = false;
	atomic_store(&env->audit->events, 0);
	session_set_conf(env, env->conf);
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	env->backend->reports = true;
	atomic_store(&env->audit->events, 1u << AUDIT_STATEMENTS);
	session_set_conf(env, env->conf);
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	assert_null(audit_queue_look(env->audit));
	round_trip(c, s, "123");
	told(t, "done", "SELECT", 1, "");
	end(t);
}

static const struct scenario scenarios[] = {
	SCENARIO(of_a_query), SCENARIO(of_a_query_that_fails),
	SCENARIO(of_a_batch), SCENARIO(of_a_portal_that_is_suspended),
	SCENARIO(of_copy),    SCENARIO(turned_off_and_on_in_a_batch),
};

int main(void)
{
	return replay_run("replay/report", scenarios, COUNT_OF(scenarios));
}

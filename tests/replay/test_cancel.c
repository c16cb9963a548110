/* Replays of CancelRequest: it reaches only what its client has under way, and nothing is sent to
 * the server while one is on its way there. Traps 27 to 29; isolation row 9. */
#include "replay.h"

static void cancel_of_an_idle_client(struct replay *t)
{
	struct actor *c, *s, *x;

	replay_warm(t, &c, &s);
	x = client_cancels(t, c->pid, c->secret);
	is_closed(x);
	gets_nothing(x);
	assert_null(cancel_waiting(t));
	/* Nor of one that is idle in a transaction. */
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
	(void)client_cancels(t, c->pid, c->secret);
	assert_null(cancel_waiting(t));
	gets_nothing(c);
	is_open(c);
}

static void cancel_of_a_running_query(struct replay *t)
{
	struct actor *c, *s, *x;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select pg_sleep(9)"));
	server_gets(s, CONTEXT("123"), QUERY("select pg_sleep(9)"));
	x = client_cancels(t, c->pid, c->secret);
	is_closed(x);
	assert_ptr_equal(cancel_waiting(t), s);
	/* Asked again while it is on its way: once is enough. */
	(void)client_cancels(t, c->pid, c->secret);
	cancel_ends(t, true);
	assert_null(cancel_waiting(t));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("57014", "canceling"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "canceling"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	round_trip(c, s, "123");
}

static void wrong_key(struct replay *t)
{
	struct actor *c, *s, *x;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select pg_sleep(9)"));
	server_gets(s, CONTEXT("123"), QUERY("select pg_sleep(9)"));
	x = client_cancels(t, c->pid, c->secret ^ 1);
	is_closed(x);
	gets_nothing(x);
	x = client_cancels(t, c->pid + 1000, c->secret);
	is_closed(x);
	x = client_cancels(t, 0, 0);
	is_closed(x);
	assert_null(cancel_waiting(t));
}

/* Protocol 3.2: a key of 32 bytes, all of which count; its first four alone are no key, nor is one
 * with more behind it. */
static void long_key(struct replay *t)
{
	struct actor *c, *s, *other = client_connects(t);
	struct wire_cancel key;

	client_sends(other, STARTUP_3_2("user", "app", "database", "eav"));
	client_gets(other, AUTH(3));
	client_sends(other, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(other);
	c = client_connects(t);
	client_sends(
		c, STARTUP_3_2("user", "app", "database", "eav", "options", "-c usher.report=off"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(c);
	assert_int_equal(c->key.key_len, 32);
	assert_memory_not_equal(c->key.key, other->key.key, 32);
	s = replay_server(t, 0);
	client_sends(c, QUERY("select pg_sleep(9)"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select pg_sleep(9)"));
	for (uint16_t i = 0; i < 32; i++) {
		key = c->key;
		key.key[i] ^= 1;
		(void)client_cancels_with(t, &key);
	}
	for (uint16_t len = 1; len <= WIRE_CANCEL_KEY_MAX; len = (uint16_t)(2 * len)) {
		key = c->key;
		key.key_len = len != 32 ? len : 33;
		is_closed(client_cancels_with(t, &key));
	}
	key = other->key;
	key.pid = c->pid;
	(void)client_cancels_with(t, &key);
	assert_null(cancel_waiting(t));
	(void)client_cancels_with(t, &c->key);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
}

static void key_of_a_client_that_is_gone(struct replay *t)
{
	struct actor *c, *s, *b;
	uint32_t pid, secret;

	replay_warm(t, &c, &s);
	pid = c->pid;
	secret = c->secret;
	client_sends(c, TERMINATE);
	b = client_logs_in(t, "456");
	assert_int_not_equal(b->pid, pid);
	assert_int_not_equal(b->secret, secret);
	client_sends(b, QUERY("select pg_sleep(9)"));
	server_gets(s, CONTEXT("456"), QUERY("select pg_sleep(9)"));
	(void)client_cancels(t, pid, secret);
	assert_null(cancel_waiting(t));
}

/* Its wait ends; no server hears of it. */
static void cancel_of_a_waiting_client(struct replay *t)
{
	struct actor *a, *b, *s, *x;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, QUERY("select 2"));
	x = client_cancels(t, b->pid, b->secret);
	is_closed(x);
	assert_null(cancel_waiting(t));
	client_gets(b, REFUSED("57014", "user request"), READY('I'));
	/* In a batch: ReadyForQuery only after its Sync. */
	client_sends(b, PARSE("", "select 2"), BIND("", ""), EXECUTE(""));
	(void)client_cancels(t, b->pid, b->secret);
	client_gets(b, REFUSED("57014", "user request"));
	client_sends(b, SYNC);
	client_gets(b, READY('I'));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	round_trip(b, s, "456");
}

/* The reply comes before the cancel has got there: it would hit the next query, so that waits. */
static void nothing_is_sent_while_it_is_under_way(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	(void)client_cancels(t, c->pid, c->secret);
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, QUERY("select 2"));
	gets_nothing(s);
	cancel_ends(t, true);
	server_gets(s, QUERY("select 2"));
	server_says(s, COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
}

static void nobody_else_gets_the_server_meanwhile(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	client_sends(b, QUERY("select 2"));
	(void)client_cancels(t, a->pid, a->secret);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	gets_nothing(s);
	/* Not its old client either. */
	client_sends(a, QUERY("select 3"));
	gets_nothing(s);
	cancel_ends(t, true);
	server_gets(s, CONTEXT("456"), QUERY("select 2"));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("select 3"));
}

/* It may arrive yet, whenever: nobody may get the server any more. */
static void cancel_that_is_lost(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	(void)client_cancels(t, c->pid, c->secret);
	cancel_ends(t, false);
	is_open(s);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	is_closed(s);
	client_sends(c, QUERY("select 2"));
	server_gets(replay_server(t, 1), FIRST_CONTEXT("123"), QUERY("select 2"));
}

static void cancel_that_is_lost_after_the_reply(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	(void)client_cancels(t, c->pid, c->secret);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	is_open(s);
	cancel_ends(t, false);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void client_leaves_while_its_cancel_is_under_way(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	(void)client_cancels(t, c->pid, c->secret);
	c->is_broken = true;
	server_says(s, CONTEXT_DONE("123"), ROW("1"));
	is_closed(c);
	/* The key is borrowed from it until then. */
	is_open(s);
	gets_nothing(s);
	cancel_ends(t, true);
	is_closed(s);
	assert_null(cancel_waiting(t));
}

static void server_ends_while_its_cancel_is_under_way(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	(void)client_cancels(t, c->pid, c->secret);
	actor_hangs_up(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
	cancel_ends(t, true);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void cancel_in_copy(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	(void)client_cancels(t, c->pid, c->secret);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	/* The server looks at it when data comes. */
	client_sends(c, COPY_DATA("1\n"));
	server_gets(s, COPY_DATA("1\n"));
	server_says(s, SERVER_ERROR("57014", "canceling"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "canceling"), READY('I'));
	client_sends(c, COPY_DONE);
	round_trip(c, s, "123");
}

/* The asker hears of the end only when the other worker is through. */
static void cancel_of_another_workers_client(struct replay *t)
{
	struct actor *c, *s, *x;

	replay_warm(t, &c, &s);
	replay_cancel_elsewhere(t);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	x = client_cancels(t, c->pid, c->secret);
	assert_ptr_equal(cancel_waiting(t), s);
	is_closed(x);
	gets_nothing(x);
	cancel_ends(t, true);
}

static void malformed_cancel(struct replay *t)
{
	struct actor *x = client_connects(t);
	uint8_t packet[12 + WIRE_CANCEL_KEY_MAX + 1];

	client_sends(x, RAW("\0\0\0\14\4\322\26\56\0\0\0\1", 12));
	client_gets(x, FATAL("08P01", "protocol"));
	is_closed(x);
	x = client_connects(t);
	/* 257 bytes. */
	memset(packet, 1, sizeof(packet));
	be32_set(packet, sizeof(packet));
	be32_set(packet + 4, WIRE_CANCEL_REQUEST);
	client_sends(x, RAW((const char *)packet, sizeof(packet)));
	client_gets(x, FATAL("08P01", "protocol"));
	is_closed(x);
	assert_null(cancel_waiting(t));
}

/* Who gave out a process id can be told from it, also when the counter starts again; and it never
 * has the mark of one that was passed on, always that of one that is no server's. */
static void process_ids_say_whose_they_are(struct replay *t)
{
	struct session_env *env;
	struct actor *c, *s;

	replay_start(t, "peer_id = 127");
	env = replay_session(t);
	env->worker_index = 2;
	env->n_workers = 3;
	replay_warm(t, &c, &s);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(session_pid_peer(c->pid), 127);
		assert_int_equal(session_pid_worker(c->pid, 3), 2);
		assert_int_equal(c->pid & SESSION_PID_FORWARDED, 0);
		assert_int_equal(c->pid & SESSION_PID_MARK, SESSION_PID_MARK);
		env->next_pid = (1u << 23) / 3 - 3 + (uint32_t)i;
		c = client_logs_in(t, "123");
	}
}

static const struct scenario scenarios[] = {
	SCENARIO(process_ids_say_whose_they_are),
	SCENARIO(cancel_of_an_idle_client),
	SCENARIO(cancel_of_a_running_query),
	SCENARIO(wrong_key),
	SCENARIO(long_key),
	SCENARIO(key_of_a_client_that_is_gone),
	SCENARIO(cancel_of_a_waiting_client),
	SCENARIO(nothing_is_sent_while_it_is_under_way),
	SCENARIO(nobody_else_gets_the_server_meanwhile),
	SCENARIO(cancel_that_is_lost),
	SCENARIO(cancel_that_is_lost_after_the_reply),
	SCENARIO(client_leaves_while_its_cancel_is_under_way),
	SCENARIO(server_ends_while_its_cancel_is_under_way),
	SCENARIO(cancel_in_copy),
	SCENARIO(cancel_of_another_workers_client),
	SCENARIO(malformed_cancel),
};

int main(void)
{
	return replay_run("replay/cancel", scenarios, COUNT_OF(scenarios));
}

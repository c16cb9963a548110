/* Replays of the extended protocol (55.2.3): batches up to Sync, errors in them, Flush, portals,
 * pipelining, a Query in the middle. Traps 9 to 12 and 21. */
#include <stdio.h>

#include "replay.h"

static void a_whole_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select $1::text"), BIND("", "", "x"), DESCRIBE_PORTAL(""),
	             EXECUTE(""), SYNC);
	came_in_one_write(s);
	server_gets(s, PARSE("", "select $1::text"), CONTEXT("123"), BIND("", "", "x"),
	            DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW_DESCRIPTION("text"),
	            ROW("x"), COMPLETE("SELECT 1"), READY('I'));
	came_in_one_write(c);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW_DESCRIPTION("text"), ROW("x"),
	            COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

static void context_once_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), BIND("p", ""),
	             EXECUTE("p"), CLOSE_PORTAL("p"), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            BIND("p", ""), EXECUTE("p"), CLOSE_PORTAL("p"), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"),
	            BIND_COMPLETE, COMPLETE("SELECT 1"), CLOSE_COMPLETE, READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"), BIND_COMPLETE,
	            COMPLETE("SELECT 1"), CLOSE_COMPLETE, READY('I'));
}

static void sync_alone_needs_no_server(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, SYNC, SYNC, FLUSH, SYNC);
	client_gets(c, READY('I'), READY('I'), READY('I'));
	client_sends(c, QUERY("begin"), SYNC);
	client_gets(c, COMPLETE("BEGIN"), READY('T'), READY('T'));
	gets_nothing(s);
}

/* ---- errors ----------------------------------------------------------------------------- */

#define BAD PARSE("", "select x")
#define BAD_ERROR SERVER_ERROR("42703", "column x does not exist")

static void error_skips_to_sync(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BAD, BIND("", ""), DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_gets(s, BAD, CONTEXT("123"), BIND("", ""), DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_says(s, BAD_ERROR);
	client_gets(c, BAD_ERROR);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

static void messages_after_a_known_error_are_dropped(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BAD, FLUSH);
	server_gets(s, BAD, FLUSH);
	server_says(s, BAD_ERROR);
	client_gets(c, BAD_ERROR);
	client_sends(c, BIND("", ""), EXECUTE(""), QUERY("select 2"), FLUSH, CLOSE_STATEMENT(""),
	             FUNCTION_CALL, COPY_DATA("x"));
	gets_nothing(s);
	gets_nothing(c);
	assert_int_equal(replay_busy_servers(t), 1);
	client_sends(c, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	round_trip(c, s, "123");
}

/* As many ReadyForQuery as there are Syncs and Queries that were not skipped. */
static void each_sync_has_its_ready(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BAD, QUERY("select 1"), SYNC, SYNC, QUERY(""));
	/* The Query ends the batch if nothing fails, so its reply is waited for. */
	server_gets(s, BAD, CONTEXT("123"), QUERY("select 1"));
	server_says(s, BAD_ERROR);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, BAD_ERROR, READY('I'), READY('I'), EMPTY_QUERY, READY('I'));
	round_trip(c, s, "123");
}

static void query_inside_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), QUERY("select 2"), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            QUERY("select 2"));
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"),
	            COMPLETE("SELECT 1"), ROW("2"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), ROW("2"),
	            COMPLETE("SELECT 1"), READY('I'), READY('I'));
	round_trip(c, s, "123");
}

static void script_inside_a_batch_that_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BAD, QUERY("select 1; commit; select 2"));
	server_gets(s, BAD, CONTEXT("123"), QUERY("select 1; commit; "));
	server_says(s, BAD_ERROR);
	client_gets(c, BAD_ERROR);
	client_sends(c, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	client_sends(c, QUERY("select 1; commit; select 2"));
	server_gets(s, CONTEXT("123"), QUERY("select 1; commit; "));
}

static void begin_inside_a_batch_is_not_kept_back(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), QUERY("begin"));
	server_gets(s, PARSE("", "select 1"), QUERY("begin"));
	server_says(s, PARSE_COMPLETE, COMPLETE("BEGIN"), READY('T'));
	client_gets(c, PARSE_COMPLETE, COMPLETE("BEGIN"), READY('T'));
}

static void refusal_inside_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "insert into t values (1)"), BIND("", ""), EXECUTE(""),
	             PARSE("", "set app.current_tenant_id = '456'"), BIND("", ""), EXECUTE(""),
	             SYNC);
	/* What went before fails with it, as it would have. */
	server_gets(s, PARSE("", "insert into t values (1)"), CONTEXT("123"), BIND("", ""),
	            EXECUTE(""), REFUSAL, SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("INSERT 0 1"),
	            REFUSAL_FAILS, READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("INSERT 0 1"),
	            REFUSED("42501", "tenant context"), READY('I'));
	round_trip(c, s, "123");
}

static void refusal_at_the_start_of_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("s", "set app.current_tenant_id = '456'"), BIND("", "s"),
	             EXECUTE(""));
	client_gets(c, REFUSED("42501", "tenant context"));
	client_sends(c, QUERY("select 1"), SYNC);
	client_gets(c, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

/* The server failed before it came to the refusal: one error, the first. */
static void refusal_behind_an_error(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, BAD, PARSE("", "set role postgres"), SYNC);
	server_gets(s, BAD, REFUSAL, SYNC);
	server_says(s, BAD_ERROR, READY('I'));
	client_gets(c, BAD_ERROR, READY('I'));
}

/* Two errors in one packet would be two if the second message were looked at. */
static void context_fails_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, SERVER_ERROR("53200", "out of memory"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, SERVER_ERROR("53200", "out of memory"), READY('I'));
	round_trip(c, s, "123");
}

/* ---- Flush ------------------------------------------------------------------------------ */

static void flush_is_not_sync(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), FLUSH);
	server_gets(s, PARSE("", "select 1"), FLUSH);
	server_says(s, PARSE_COMPLETE);
	client_gets(c, PARSE_COMPLETE);
	replay_sleep(t, 1000 * US_PER_S);
	assert_int_equal(replay_busy_servers(t), 1);
	client_sends(c, BIND("", ""), EXECUTE(""), FLUSH);
	server_gets(s, CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"));
	client_gets(c, BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"));
	assert_int_equal(replay_busy_servers(t), 1);
	client_sends(c, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
}

/* ---- portals ---------------------------------------------------------------------------- */

static void portal_in_pieces(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select generate_series(1, 3)"), BIND("p", ""),
	             EXECUTE_ROWS("p", 2), FLUSH);
	/* Ours is in the unnamed portal, where the client must not find it. */
	server_gets(s, PARSE("", "select generate_series(1, 3)"), CONTEXT("123"), CLOSE_PORTAL(""),
	            BIND("p", ""), EXECUTE_ROWS("p", 2), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), CLOSE_COMPLETE, BIND_COMPLETE, ROW("1"),
	            ROW("2"), SUSPENDED);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), ROW("2"), SUSPENDED);
	client_sends(c, EXECUTE_ROWS("p", 2), SYNC);
	server_gets(s, EXECUTE_ROWS("p", 2), SYNC);
	server_says(s, ROW("3"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, ROW("3"), COMPLETE("SELECT 1"), READY('I'));
}

/* Whether a portal is there is the server's affair. */
static void portal_that_is_not_there(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, EXECUTE("p"), DESCRIBE_PORTAL("q"), SYNC);
	server_gets(s, EXECUTE("p"), DESCRIBE_PORTAL("q"), SYNC);
	server_says(s, SERVER_ERROR("34000", "portal \"p\" does not exist"), READY('I'));
	client_gets(c, SERVER_ERROR("34000", "portal \"p\" does not exist"), READY('I'));
	client_sends(c, CLOSE_PORTAL("p"), SYNC);
	client_gets(c, CLOSE_COMPLETE, READY('I'));
	round_trip(c, s, "123");
}

static void empty_statement_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", ""), BIND("", ""), DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", ""), BIND("", ""), DESCRIBE_PORTAL(""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, NO_ROWS, EMPTY_QUERY, READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, NO_ROWS, EMPTY_QUERY, READY('I'));
}

/* ---- pipelining ------------------------------------------------------------------------- */

static void batches_in_one_packet(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC, BIND("", ""),
	             EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("1"),
	            COMPLETE("SELECT 1"), READY('I'));
	/* A new lease: nobody knows what the unnamed statement is by now. */
	server_gets(s, CONTEXT("123"), PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, CONTEXT_DONE("123"), PARSE_COMPLETE, BIND_COMPLETE, ROW("1"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('I'),
	            BIND_COMPLETE, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
}

static void three_hundred_batches(struct replay *t)
{
	struct msg *msgs[300 * 4 + 1] = {NULL};
	struct actor *c, *s;
	char sql[32];

	replay_warm(t, &c, &s);
	for (int i = 0; i < 300; i++) {
		snprintf(sql, sizeof(sql), "select %d", i);
		msgs[4 * i] = PARSE("", sql);
		msgs[4 * i + 1] = BIND("", "");
		msgs[4 * i + 2] = EXECUTE("");
		msgs[4 * i + 3] = SYNC;
	}
	actor_sends(c, msgs, __FILE__, __LINE__);
	for (int i = 0; i < 300; i++) {
		snprintf(sql, sizeof(sql), "select %d", i);
		server_gets(s, PARSE("", sql), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
		server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW(sql),
		            COMPLETE("SELECT 1"), READY('I'));
		client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW(sql), COMPLETE("SELECT 1"),
		            READY('I'));
	}
	round_trip(c, s, "123");
}

/* More expected replies than the ring has room for at first. */
static void many_messages_in_one_batch(struct replay *t)
{
	struct msg *sent[202] = {NULL}, *says[202] = {NULL};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""), FLUSH);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), FLUSH);
	for (int i = 0; i < 200; i++) {
		sent[i] = EXECUTE_ROWS("", 1);
		says[i] = SUSPENDED;
	}
	sent[200] = SYNC;
	says[200] = READY('I');
	actor_sends(c, sent, __FILE__, __LINE__);
	actor_gets(s, sent, __FILE__, __LINE__);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE);
	actor_sends(s, says, __FILE__, __LINE__);
	actor_gets(c, says, __FILE__, __LINE__);
	round_trip(c, s, "123");
}

/* ---- malformed -------------------------------------------------------------------------- */

/* PostgreSQL's words, and its way on: an error up to the Sync. */
static void malformed_messages_fail_their_batch(struct replay *t)
{
	static const struct {
		char type;
		size_t len;
		const char *body;
		const char *error;
	} bad[] = {
		{'P', 3, "a\0b", "invalid string"},
		{'P', 3, "\0\0\0", "insufficient data"},
		{'B', 2, "ab", "invalid string"},
		{'B', 3, "\0ab", "invalid string"},
		{'D', 0, "", "no data left"},
		{'D', 3, "Xa\0", "invalid DESCRIBE message subtype 88"},
		{'D', 4, "Sa\0b", "invalid message format"},
		{'E', 1, "\0", "insufficient data"},
		{'E', 6, "\0\0\0\0\0\0", "invalid message format"},
		{'C', 1, "S", "invalid string"},
		{'C', 3, "Za\0", "invalid CLOSE message subtype 90"},
	};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	c = client_logs_in(t, "123");
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		client_sends(c, msg_bytes((uint8_t)bad[i].type, bad[i].body, bad[i].len), SYNC);
		client_gets(c, REFUSED("08P01", bad[i].error), READY('I'));
	}
	gets_nothing(s);
}

static void unknown_types_end_it(struct replay *t)
{
	static const uint8_t types[] = {0, 'z', 'W', 'Z', 'p', 255};
	char text[64];
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		c = client_logs_in(t, "123");
		client_sends(c, HEADER(types[i], 0x10000));
		snprintf(text, sizeof(text), "invalid frontend message type %d", types[i]);
		client_gets(c, FATAL("08P01", text));
		is_closed(c);
	}
	gets_nothing(s);
}

static void small_messages_have_a_limit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (const char *type = "CDEHSXcf"; *type != '\0'; type++) {
		c = client_logs_in(t, "123");
		client_sends(c, HEADER((uint8_t)*type, 10001));
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
	gets_nothing(s);
}

/* Where such a batch would end is not known. */
static void sync_with_a_body_ends_it(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (const char *type = "SH"; *type != '\0'; type++) {
		c = client_logs_in(t, "123");
		client_sends(c, msg_bytes((uint8_t)*type, "a", 1));
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
	gets_nothing(s);
}

/* The rest of a Bind that was refused by its names comes later, and is not a message. */
static void rest_of_a_refused_bind_is_dropped(struct replay *t)
{
	static char body[20000];
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	memcpy(body, "\0none", 6);
	for (size_t at = 6; at + 13 <= sizeof(body); at += 13)
		memcpy(body + at, "Q\0\0\0\014SELECT 1", 13);
	client_sends(c, msg_bytes('B', body, sizeof(body)), SYNC);
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("26000", "prepared statement \"none\" does not exist"), READY('I'));
	round_trip(c, s, "123");
}

static void impossible_lengths_end_it(struct replay *t)
{
	static const uint32_t lengths[] = {0, 3, 0x40000000, 0x7fffffff, 0x80000000, UINT32_MAX};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		c = client_logs_in(t, "123");
		client_sends(c, HEADER('Q', lengths[i]));
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
	gets_nothing(s);
}

static const struct scenario scenarios[] = {
	SCENARIO(a_whole_batch),
	SCENARIO(context_once_in_a_batch),
	SCENARIO(sync_alone_needs_no_server),
	SCENARIO(error_skips_to_sync),
	SCENARIO(messages_after_a_known_error_are_dropped),
	SCENARIO(each_sync_has_its_ready),
	SCENARIO(query_inside_a_batch),
	SCENARIO(script_inside_a_batch_that_fails),
	SCENARIO(begin_inside_a_batch_is_not_kept_back),
	SCENARIO(refusal_inside_a_batch),
	SCENARIO(refusal_at_the_start_of_a_batch),
	SCENARIO(refusal_behind_an_error),
	SCENARIO(context_fails_in_a_batch),
	SCENARIO(flush_is_not_sync),
	SCENARIO(portal_in_pieces),
	SCENARIO(portal_that_is_not_there),
	SCENARIO(empty_statement_in_a_batch),
	SCENARIO(batches_in_one_packet),
	SCENARIO(three_hundred_batches),
	SCENARIO(many_messages_in_one_batch),
	SCENARIO(malformed_messages_fail_their_batch),
	SCENARIO(sync_with_a_body_ends_it),
	SCENARIO(unknown_types_end_it),
	SCENARIO(small_messages_have_a_limit),
	SCENARIO(rest_of_a_refused_bind_is_dropped),
	SCENARIO(impossible_lengths_end_it),
};

int main(void)
{
	return replay_run("replay/batch", scenarios, COUNT_OF(scenarios));
}

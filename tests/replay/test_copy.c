/* Replays of COPY in both protocols (55.2.6): data both ways, Sync and Flush in it, failures
 * before, during and after the data. Trap 17, and 19 where half a message is under way. */
#include "replay.h"

#define COPY_SQL "copy t from stdin"

/* COPY t FROM STDIN by Query, up to the server's CopyInResponse. */
static void starts_simple(struct actor *c, struct actor *s)
{
	client_sends(c, QUERY(COPY_SQL));
	server_gets(s, CONTEXT("123"), QUERY(COPY_SQL));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
}

/* The same by Parse, Bind, Execute; what follows the Execute waits for the server's word, and so
 * that the server says it we add a Flush. */
static void starts_extended(struct actor *c, struct actor *s)
{
	client_sends(c, PARSE("", COPY_SQL), BIND("", ""), EXECUTE(""));
	server_gets(s, PARSE("", COPY_SQL), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COPY_IN);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COPY_IN);
}

static void copy_in_by_query(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_simple(c, s);
	client_sends(c, COPY_DATA("1\n"), COPY_DATA("2\n"));
	server_gets(s, COPY_DATA("1\n"), COPY_DATA("2\n"));
	client_sends(c, COPY_DATA(""), COPY_DONE, QUERY(""));
	server_gets(s, COPY_DATA(""), COPY_DONE);
	gets_nothing(c);
	server_says(s, COMPLETE("COPY 2"), READY('I'));
	client_gets(c, COMPLETE("COPY 2"), READY('I'), EMPTY_QUERY, READY('I'));
	round_trip(c, s, "123");
}

static void copy_in_by_execute(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_extended(c, s);
	client_sends(c, COPY_DATA("1\n"), COPY_DONE, SYNC);
	server_gets(s, COPY_DATA("1\n"), COPY_DONE, SYNC);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

/* libpq sends the Sync with the Execute, and another one at the end: the first is ignored. */
static void early_sync_is_ignored(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", COPY_SQL), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", COPY_SQL), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COPY_IN);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COPY_IN);
	gets_nothing(s);
	client_sends(c, FLUSH, SYNC, COPY_DATA("1\n"), FLUSH, COPY_DONE, SYNC);
	server_gets(s, COPY_DATA("1\n"), COPY_DONE, SYNC);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

static void copy_that_does_not_start(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	/* Simple: the data that comes all the same is dropped. */
	client_sends(c, QUERY(COPY_SQL), COPY_DATA("1\n"), COPY_DONE);
	server_gets(s, CONTEXT("123"), QUERY(COPY_SQL));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("42P01", "no t"), READY('I'));
	client_gets(c, SERVER_ERROR("42P01", "no t"), READY('I'));
	gets_nothing(s);
	/* Extended: the early Sync is the one that ends the batch. */
	client_sends(c, PARSE("", COPY_SQL), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", COPY_SQL), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE,
	            SERVER_ERROR("42P01", "no t"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, SERVER_ERROR("42P01", "no t"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

/* An error before the Execute's turn comes: nothing of the COPY is ever answered. */
static void copy_that_is_skipped(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", COPY_SQL), BIND("", ""), EXECUTE(""), COPY_DATA("1\n"), COPY_DONE,
	             SYNC);
	server_gets(s, PARSE("", COPY_SQL), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, SERVER_ERROR("42P01", "no t"));
	client_gets(c, SERVER_ERROR("42P01", "no t"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

static void copy_fail(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_simple(c, s);
	client_sends(c, COPY_DATA("1\n"), COPY_FAIL("no more"));
	server_gets(s, COPY_DATA("1\n"), COPY_FAIL("no more"));
	server_says(s, SERVER_ERROR("57014", "COPY failed: no more"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "COPY failed: no more"), READY('I'));
	starts_extended(c, s);
	client_sends(c, COPY_FAIL("no more"), SYNC);
	server_gets(s, COPY_FAIL("no more"), SYNC);
	server_says(s, SERVER_ERROR("57014", "COPY failed: no more"), READY('I'));
	client_gets(c, SERVER_ERROR("57014", "COPY failed: no more"), READY('I'));
	round_trip(c, s, "123");
}

#define BAD_DATA SERVER_ERROR("22P02", "invalid input")

static void bad_data_by_query(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_simple(c, s);
	client_sends(c, COPY_DATA("x\n"));
	server_gets(s, COPY_DATA("x\n"));
	server_says(s, BAD_DATA);
	client_gets(c, BAD_DATA);
	/* Between the error and its ReadyForQuery. */
	client_sends(c, COPY_DATA("y\n"));
	gets_nothing(s);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	client_sends(c, COPY_DATA("z\n"), COPY_DONE, QUERY(""));
	client_gets(c, EMPTY_QUERY, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void bad_data_by_execute(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_extended(c, s);
	client_sends(c, COPY_DATA("x\n"));
	server_gets(s, COPY_DATA("x\n"));
	server_says(s, BAD_DATA);
	client_gets(c, BAD_DATA);
	client_sends(c, COPY_DATA("y\n"), COPY_DONE, PARSE("", "select 1"));
	gets_nothing(s);
	client_sends(c, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

/* PostgreSQL, seen direct: the Sync before the data is ignored, the one behind it ends the
 * batch. */
static void bad_data_between_early_and_late_sync(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", COPY_SQL), BIND("", ""), EXECUTE(""), SYNC, COPY_DATA("x\n"));
	server_gets(s, PARSE("", COPY_SQL), CONTEXT("123"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COPY_IN);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COPY_IN);
	server_gets(s, COPY_DATA("x\n"));
	server_says(s, BAD_DATA);
	client_gets(c, BAD_DATA);
	gets_nothing(s);
	client_sends(c, COPY_DONE, SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

/* The Sync was taken as one in the COPY; the server had failed already, so it counts. */
static void sync_crosses_the_error(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_extended(c, s);
	client_sends(c, COPY_DATA("x\n"), SYNC);
	server_gets(s, COPY_DATA("x\n"));
	server_says(s, BAD_DATA);
	client_gets(c, BAD_DATA);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

static void copy_in_a_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY(COPY_SQL));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY(COPY_SQL));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COPY_IN);
	client_sends(c, COPY_DATA("x\n"), COPY_DONE);
	server_gets(s, COPY_DATA("x\n"), COPY_DONE);
	server_says(s, BAD_DATA, READY('E'));
	client_gets(c, BAD_DATA, READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void other_messages_during_copy_end_it(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_simple(c, s);
	client_sends(c, QUERY("select 1"));
	client_gets(c, FATAL("08P01", "protocol"));
	is_closed(c);
	gets_nothing(s);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	is_closed(s);
}

static void terminate_during_copy(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	starts_simple(c, s);
	client_sends(c, COPY_DATA("1\n"), TERMINATE);
	is_closed(c);
	server_gets(s, COPY_DATA("1\n"));
	/* Nobody may think that the data was all. */
	assert_ptr_equal(cancel_waiting(t), s);
	gets_nothing(s);
	cancel_ends(t, true);
	is_closed(s);
}

static void copy_data_outside_copy_is_dropped(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, COPY_DATA("1\n"), COPY_DONE, COPY_FAIL("x"), QUERY(""));
	client_gets(c, EMPTY_QUERY, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

/* ---- half a message --------------------------------------------------------------------- */

/* The server fails while half a CopyData is on its way to it: it waits for the other half, and
 * would take whatever comes for it. So nobody else may get it before that has come. */
static void error_in_the_middle_of_a_message(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &c, &s);
	b = client_logs_in(t, "456");
	starts_simple(c, s);
	client_sends(c, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_gets(s, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_says(s, BAD_DATA, READY('I'));
	client_gets(c, BAD_DATA, READY('I'));
	client_sends(b, QUERY("select 1"));
	gets_nothing(s);
	client_sends(c, RAW("56789", 5));
	server_gets(s, RAW("56789", 5), CONTEXT("456"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

static void client_vanishes_in_the_middle_of_a_message(struct replay *t)
{
	struct actor *c, *s, *b;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &c, &s);
	b = client_logs_in(t, "456");
	starts_simple(c, s);
	client_sends(c, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_gets(s, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_says(s, BAD_DATA, READY('I'));
	client_gets(c, BAD_DATA, READY('I'));
	client_sends(b, QUERY("select 1"));
	actor_hangs_up(c);
	is_closed(c);
	gets_nothing(s);
	/* Whether by way of a cancel or not. */
	if (cancel_waiting(t) != NULL)
		cancel_ends(t, true);
	is_closed(s);
	s = replay_server(t, 1);
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
}

static void error_in_the_middle_of_a_message_in_a_transaction(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY(COPY_SQL));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY(COPY_SQL));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COPY_IN);
	client_sends(c, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_gets(s, COPY_DATA("x\n"), HEADER('d', 4 + 10), RAW("01234", 5));
	server_says(s, BAD_DATA, READY('E'));
	client_gets(c, BAD_DATA, READY('E'));
	actor_hangs_up(c);
	is_closed(c);
	/* A ROLLBACK would be taken for the other half. */
	gets_nothing(s);
	if (cancel_waiting(t) != NULL)
		cancel_ends(t, true);
	is_closed(s);
}

/* ---- COPY TO STDOUT --------------------------------------------------------------------- */

static void copy_out(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t to stdout"));
	server_gets(s, CONTEXT("123"), QUERY("copy t to stdout"));
	server_says(s, CONTEXT_DONE("123"), COPY_OUT, COPY_DATA("1\n"), COPY_DATA("2\n"));
	client_gets(c, COPY_OUT, COPY_DATA("1\n"), COPY_DATA("2\n"));
	server_says(s, COPY_DONE, COMPLETE("COPY 2"), READY('I'));
	client_gets(c, COPY_DONE, COMPLETE("COPY 2"), READY('I'));
	client_sends(c, PARSE("", "copy t to stdout"), BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "copy t to stdout"), CONTEXT("123"), BIND("", ""), EXECUTE(""),
	            SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COPY_OUT,
	            COPY_DATA("1\n"), COPY_DONE, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COPY_OUT, COPY_DATA("1\n"), COPY_DONE,
	            COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

static void copy_out_that_fails(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t to stdout"));
	server_gets(s, CONTEXT("123"), QUERY("copy t to stdout"));
	server_says(s, CONTEXT_DONE("123"), COPY_OUT, COPY_DATA("1\n"),
	            SERVER_ERROR("22012", "division by zero"), READY('I'));
	client_gets(c, COPY_OUT, COPY_DATA("1\n"), SERVER_ERROR("22012", "division by zero"),
	            READY('I'));
	round_trip(c, s, "123");
}

/* It belongs to replication. */
static void copy_both_is_refused(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), COPY_BOTH);
	client_gets(c, FATAL("08P01", "not expected"));
	is_closed(c);
	is_closed(s);
}

static const struct scenario scenarios[] = {
	SCENARIO(copy_in_by_query),
	SCENARIO(copy_in_by_execute),
	SCENARIO(early_sync_is_ignored),
	SCENARIO(copy_that_does_not_start),
	SCENARIO(copy_that_is_skipped),
	SCENARIO(copy_fail),
	SCENARIO(bad_data_by_query),
	SCENARIO(bad_data_by_execute),
	SCENARIO(bad_data_between_early_and_late_sync),
	SCENARIO(sync_crosses_the_error),
	SCENARIO(copy_in_a_transaction),
	SCENARIO(other_messages_during_copy_end_it),
	SCENARIO(terminate_during_copy),
	SCENARIO(copy_data_outside_copy_is_dropped),
	SCENARIO_ROOMY(error_in_the_middle_of_a_message),
	SCENARIO(client_vanishes_in_the_middle_of_a_message),
	SCENARIO(error_in_the_middle_of_a_message_in_a_transaction),
	SCENARIO(copy_out),
	SCENARIO(copy_out_that_fails),
	SCENARIO(copy_both_is_refused),
};

int main(void)
{
	return replay_run("replay/copy", scenarios, COUNT_OF(scenarios));
}

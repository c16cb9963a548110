/* Replays of a server as PostgreSQL 18 is: a Query behind our context runs in an implicit block,
 * which stays open behind the Query's ReadyForQuery ('T') until a Parse and a Sync end it. */
#include "replay.h"

#define END PARSE("", ""), SYNC

/* The server shows what it is. */
static void warm(struct replay *t, struct actor **c, struct actor **s)
{
	replay_warm(t, c, s);
	client_sends(*c, QUERY("select 1"));
	server_gets(*s, CONTEXT("123"), QUERY("select 1"));
	server_says(*s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(*c, ROW("1"), COMPLETE("SELECT 1"));
	gets_nothing(*c);
	server_gets(*s, END);
	server_says(*s, PARSE_COMPLETE, READY('I'));
	client_gets(*c, READY('I'));
}

static void kept_transactions_are_ended(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	for (int i = 0; i < 2; i++) {
		client_sends(c, QUERY("insert into t values (1)"));
		came_in_one_write(s);
		server_gets(s, CONTEXT("123"), QUERY("insert into t values (1)"), END);
		server_says(s, CONTEXT_DONE("123"), COMPLETE("INSERT 0 1"), READY('T'));
		client_gets(c, COMPLETE("INSERT 0 1"));
		gets_nothing(c);
		server_says(s, PARSE_COMPLETE, READY('I'));
		client_gets(c, READY('I'));
	}
}

static void error_at_the_commit(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("delete from t"));
	server_gets(s, CONTEXT("123"), QUERY("delete from t"), END);
	server_says(s, CONTEXT_DONE("123"), COMPLETE("DELETE 1"), READY('T'), PARSE_COMPLETE,
	            SERVER_ERROR("23503", "still referenced"), READY('I'));
	client_gets(c, COMPLETE("DELETE 1"), SERVER_ERROR("23503", "still referenced"), READY('I'));
}

static void error_of_the_query(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("select 1/0"));
	server_gets(s, CONTEXT("123"), QUERY("select 1/0"), END);
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("22012", "division by zero"), READY('I'),
	            PARSE_COMPLETE, READY('I'));
	client_gets(c, SERVER_ERROR("22012", "division by zero"), READY('I'));
}

/* The server skips all up to the Sync that is there already. */
static void context_refused(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("select 2"), QUERY("select 3"));
	server_gets(s, CONTEXT("123"), QUERY("select 2"), END);
	server_says(s, BIND_COMPLETE, SERVER_ERROR("42501", "not for you"), READY('I'));
	client_gets(c, SERVER_ERROR("42501", "not for you"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("select 3"), END);
	server_says(s, CONTEXT_DONE("123"), ROW("3"), COMPLETE("SELECT 1"), READY('T'),
	            PARSE_COMPLETE, READY('I'));
	client_gets(c, ROW("3"), COMPLETE("SELECT 1"), READY('I'));
}

static void blocks_are_left_alone(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
}

/* What the parser does not know may have opened a block: the Sync leaves that as it is. */
static void block_that_nobody_saw(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("select 1 1; begin"));
	server_gets(s, CONTEXT("123"), QUERY("select 1 1; begin"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), COMPLETE("BEGIN"), READY('T'));
	server_gets(s, END);
	server_says(s, PARSE_COMPLETE, READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), COMPLETE("BEGIN"), READY('T'));
}

/* It would take a Parse for a broken COPY. */
static void copy_has_its_end_behind_it(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	client_sends(c, COPY_DATA("1\n"), COPY_DONE);
	server_gets(s, COPY_DATA("1\n"), COPY_DONE);
	server_says(s, COMPLETE("COPY 1"), READY('T'));
	client_gets(c, COMPLETE("COPY 1"));
	server_gets(s, END);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, READY('I'));
}

/* A Query in a batch of the client's, whose Sync is still to come. */
static void query_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	warm(t, &c, &s);
	client_sends(c, PARSE("", "select 1"), QUERY("select 2"));
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), QUERY("select 2"));
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), ROW("2"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, PARSE_COMPLETE, ROW("2"), COMPLETE("SELECT 1"));
	server_gets(s, END);
	server_says(s, PARSE_COMPLETE, READY('I'));
	client_gets(c, READY('I'));
}

static const struct scenario scenarios[] = {
	SCENARIO(kept_transactions_are_ended), SCENARIO(error_at_the_commit),
	SCENARIO(error_of_the_query),          SCENARIO(context_refused),
	SCENARIO(blocks_are_left_alone),       SCENARIO(block_that_nobody_saw),
	SCENARIO(copy_has_its_end_behind_it),  SCENARIO(query_in_a_batch),
};

int main(void)
{
	return replay_run("replay/kept", scenarios, COUNT_OF(scenarios));
}

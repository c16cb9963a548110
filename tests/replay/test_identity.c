/* Replays of SET usher.token: it is answered here and never sent; one transaction has one tenant;
 * what was set in a transaction ends or takes hold with it, pipelined, skipped or failed. */
#include <stdio.h>

#include "replay.h"

static const char *set(struct replay *t, const char *how, const char *tenant)
{
	static char text[4][2048];
	static unsigned next;
	char *out = text[next++ % 4];

	snprintf(out, sizeof(text[0]), "%s usher.token = '%s'", how, replay_token(t, tenant, NULL));
	return out;
}

static void set_token_simply(struct actor *c, const char *how, const char *tenant, char status)
{
	client_sends(c, QUERY(set(c->t, how, tenant)));
	client_gets(c, COMPLETE("SET"), READY(status));
}

static void session_token(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_token_simply(c, "SET", "456", 'I');
	gets_nothing(s);
	round_trip(c, s, "456");
	set_token_simply(c, "set session", "789", 'I');
	round_trip(c, s, "789");
	client_sends(c, QUERY("RESET usher.token"));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	round_trip(c, s, "123");
	set_token_simply(c, "SET", "456", 'I');
	client_sends(c, QUERY("set usher.token to default"));
	client_gets(c, COMPLETE("SET"), READY('I'));
	round_trip(c, s, "123");
}

static void local_token(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	set_token_simply(c, "SET LOCAL", "456", 'T');
	gets_nothing(s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("456"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("456"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	round_trip(c, s, "123");
}

static void local_token_outside_a_block(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(set(t, "SET LOCAL", "456")));
	client_gets(c,
	            msg_error('N', "WARNING", "25P01",
	                      "SET LOCAL can only be used in transaction blocks"),
	            COMPLETE("SET"), READY('I'));
	round_trip(c, s, "123");
}

/* begin; SET usher.token; select; then an end of the transaction. */
static void set_in_block(struct actor *c, struct actor *s)
{
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	set_token_simply(c, "SET", "456", 'T');
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("456"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("456"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
}

static void kept_by_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	round_trip(c, s, "456");
}

static void undone_by_rollback(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void undone_by_a_failed_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, SERVER_ERROR("23503", "deferred"), READY('I'));
	client_gets(c, SERVER_ERROR("23503", "deferred"), READY('I'));
	round_trip(c, s, "123");
}

/* A COMMIT that is skipped leaves the transaction, and its token, where they were. */
static void kept_by_a_skipped_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, PARSE("", "select x"), BIND("", ""), EXECUTE(""), PARSE("", "commit"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select x"), BIND("", ""), EXECUTE(""), PARSE("", "commit"),
	            BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, SERVER_ERROR("42703", "no x"), READY('E'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

/* Behind a COMMIT in the same batch the session's token holds already. */
static void pipelined_behind_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 2"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select 2"),
	            CONTEXT("456"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), PARSE_COMPLETE,
	            CONTEXT_DONE("456"), BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), PARSE_COMPLETE,
	            BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "456");
}

/* A COMMIT that came true holds, whatever fails behind it. */
static void kept_by_a_commit_before_an_error(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select x"),
	             SYNC);
	server_gets(s, PARSE("", "commit"), BIND("", ""), EXECUTE(""), PARSE("", "select x"), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"),
	            SERVER_ERROR("42703", "no x"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"),
	            SERVER_ERROR("42703", "no x"), READY('I'));
	round_trip(c, s, "456");
}

/* In one string: did the COMMIT fail, or what is behind it? Nobody can say. */
static void doubt_ends_the_connection(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, QUERY("commit; begin isolation level serializable; vacuum"));
	gets_nothing(c);
	server_gets(s, QUERY("commit; begin isolation level serializable; vacuum"));
	server_says(s, COMPLETE("COMMIT"), SERVER_ERROR("25001", "x"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), SERVER_ERROR("25001", "x"), READY('I'),
	            FATAL("28000", "which usher.token holds"));
	is_closed(c);
}

/* ROLLBACK TO would bring the old tenant's context back. */
static void not_behind_the_context(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, QUERY(set(t, "SET LOCAL", "456")));
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('E'));
	client_gets(c, REFUSED("25001", "before any query"), READY('E'));
	client_sends(c, QUERY(set(t, "SET LOCAL", "456")));
	server_gets(s, REFUSAL, SYNC);
	server_says(s, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_gets(c, REFUSED("25P02", "aborted"), READY('E'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "123");
}

static void extended(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("", ""), DESCRIBE_PORTAL(""),
	             EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, NO_ROWS, COMPLETE("SET"), READY('I'));
	gets_nothing(s);
	round_trip(c, s, "456");
	client_sends(c, PARSE("p", set(t, "SET", "789")), DESCRIBE_STATEMENT("p"), SYNC);
	client_gets(c, PARSE_COMPLETE, PARAMETER_DESCRIPTION, NO_ROWS, READY('I'));
	round_trip(c, s, "456");
	client_sends(c, BIND("", "p"), EXECUTE(""), SYNC);
	client_gets(c, BIND_COMPLETE, COMPLETE("SET"), READY('I'));
	round_trip(c, s, "789");
}

/* In one batch with the statement that it is for. */
static void extended_in_front(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", set(t, "SET LOCAL", "456")), BIND("", ""), EXECUTE(""),
	             PARSE("", "select 1"), BIND("", ""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"));
	server_gets(s, PARSE("", "select 1"), CONTEXT("456"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("456"), BIND_COMPLETE, COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

/* It waits for what was asked before it, and is skipped when that fails. */
static void extended_skipped(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "select x"), PARSE("", set(t, "SET", "456")), BIND("", ""),
	             EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "select x"), FLUSH);
	server_says(s, SERVER_ERROR("42703", "no x"));
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('I'));
	round_trip(c, s, "123");
}

static void extended_refused(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "SET usher.token = 'no.to.ken'"), BIND("", ""), EXECUTE(""),
	             PARSE("", "select 1"), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, REFUSED("28000", "well-formed"), READY('I'));
	gets_nothing(s);
	client_sends(c, QUERY("SET usher.token = 'no.to.ken'"));
	client_gets(c, REFUSED("28000", "well-formed"), READY('I'));
	round_trip(c, s, "123");
}

/* A Bind with values, a named portal: the server would not have it, nor do we. */
static void extended_malformed(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("p", ""), SYNC);
	client_gets(c, PARSE_COMPLETE, REFUSED("0A000", "unnamed portal"), READY('I'));
	client_sends(c, BIND("", "", "value"));
	client_gets(c, FATAL("08P01", "protocol"));
	is_closed(c);
	gets_nothing(s);
}

/* Elsewhere and otherwise spelt it is refused, and no server sees it. */
static void refused_spellings(struct replay *t)
{
	static const char *const texts[] = {
		"select 1; set usher.token = 'a'",
		"set \"usher\".\"token\" = 'a'",
		"set usher.token = E'a'",
		"select set_config('usher.token', 'a', false)",
		"do $$ begin set usher.token = 'a'; end $$",
		"set usher.token = 'a",
	};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		client_sends(c, QUERY(texts[i]));
		client_gets(c, REFUSED("42501", ""), READY('I'));
		gets_nothing(s);
	}
}

/* What one tenant left on the server is not for another. */
static void state_stays_with_its_tenant(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("listen a"));
	server_gets(s, CONTEXT("123"), QUERY("listen a"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("LISTEN"), READY('I'));
	client_gets(c, COMPLETE("LISTEN"), READY('I'));
	client_sends(c, QUERY(set(t, "SET", "456")));
	server_gets(s, REFUSAL, SYNC);
	server_says(s, REFUSAL_FAILS, READY('I'));
	client_gets(c, REFUSED("55006", "present tenant"), READY('I'));
	set_token_simply(c, "SET", "123", 'I');
	client_sends(c, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_gets(c, COMPLETE("DISCARD ALL"), READY('I'));
	set_token_simply(c, "SET", "456", 'I');
}

/* SET LOCAL ends by itself: what the other tenant left is cleaned away before the next statement. */
static void state_ends_with_the_tenant(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	set_token_simply(c, "SET LOCAL", "456", 'T');
	client_sends(c, QUERY("create temp table loot (a int)"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("456"),
	            QUERY("create temp table loot (a int)"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("456"), COMPLETE("CREATE TABLE"),
	            READY('T'));
	client_gets(c, COMPLETE("CREATE TABLE"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

/* Also inside the batch that made it, before anybody was told. */
static void state_of_the_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", "create temp table loot (a int)"), BIND("", ""), EXECUTE(""),
	             PARSE("", "commit"), BIND("", ""), EXECUTE(""), FLUSH);
	server_gets(s, PARSE("", "create temp table loot (a int)"), CONTEXT("123"), BIND("", ""),
	            EXECUTE(""), PARSE("", "commit"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("CREATE TABLE"),
	            PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("CREATE TABLE"), PARSE_COMPLETE,
	            BIND_COMPLETE, COMPLETE("COMMIT"));
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("", ""), EXECUTE(""));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE);
	server_gets(s, REFUSAL);
	server_says(s, REFUSAL_FAILS);
	client_gets(c, REFUSED("55006", "present tenant"));
}

/* A portal is not what we take it for: its command tag says that no transaction ended. */
static void end_that_was_none(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, PARSE("", "commit"), BIND("", ""), EXECUTE(""), FLUSH);
	server_gets(s, PARSE("", "commit"), BIND("", ""), EXECUTE(""), FLUSH);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"));
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("", ""), EXECUTE(""));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE);
	server_gets(s, REFUSAL);
	server_says(s, REFUSAL_FAILS);
	client_gets(c, REFUSED("25001", "before any query"));
}

/* A Query that is refused here ends the batch's own transaction, and what was set in it. */
static void undone_by_a_refused_query(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("", ""), EXECUTE(""),
	             QUERY("set role x"));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"), REFUSED("42501", ""),
	            READY('I'));
	round_trip(c, s, "123");
}

/* A COMMIT ends the batch's own transaction, too. */
static void kept_by_a_bare_commit(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", set(t, "SET", "456")), BIND("", ""), EXECUTE(""),
	             PARSE("", "commit"), BIND("", ""), EXECUTE(""), SYNC);
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"));
	server_gets(s, PARSE("", "commit"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), READY('I'));
	round_trip(c, s, "456");
}

/* RESET ALL in a block takes hold, or not, with its end. */
static void reset_all_in_a_block(struct replay *t)
{
	static const char *const ends[] = {"rollback", "commit"}, *const after[] = {"456", "123"};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_token_simply(c, "SET", "456", 'I');
	for (int i = 0; i < 2; i++) {
		client_sends(c, QUERY("begin isolation level serializable"));
		server_gets(s, QUERY("begin isolation level serializable"));
		server_says(s, COMPLETE("BEGIN"), READY('T'));
		client_gets(c, COMPLETE("BEGIN"), READY('T'));
		client_sends(c, QUERY("reset all"));
		server_gets(s, CONTEXT("456"), QUERY("reset all"));
		server_says(s, CONTEXT_DONE("456"), COMPLETE("RESET"), READY('T'));
		client_gets(c, COMPLETE("RESET"), READY('T'));
		client_sends(c, QUERY("select 1"));
		server_gets(s, CONTEXT("456"), QUERY("select 1"));
		server_says(s, CONTEXT_DONE("456"), COMPLETE("SELECT 1"), READY('T'));
		client_gets(c, COMPLETE("SELECT 1"), READY('T'));
		client_sends(c, QUERY(ends[i]));
		server_gets(s, QUERY(ends[i]));
		server_says(s, COMPLETE(i == 0 ? "ROLLBACK" : "COMMIT"), READY('I'));
		client_gets(c, COMPLETE(i == 0 ? "ROLLBACK" : "COMMIT"), READY('I'));
		round_trip(c, s, after[i]);
	}
}

/* One statement there and back, in a block. */
static void runs(struct actor *c, struct actor *s, const char *query, const char *tag, char status)
{
	client_sends(c, QUERY(query));
	server_gets(s, QUERY(query));
	server_says(s, COMPLETE(tag), READY(status));
	client_gets(c, COMPLETE(tag), READY(status));
}

static void undoes_reset_all(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	runs(c, s, "savepoint a", "SAVEPOINT", 'T');
	runs(c, s, "reset all", "RESET", 'T');
	runs(c, s, "rollback to a", "ROLLBACK", 'T');
	runs(c, s, "commit", "COMMIT", 'I');
	round_trip(c, s, "456");
}

/* The batch has the end of its transaction, too; RESET ALL behind another end waits for that. */
static void reset_all_in_a_batch(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	client_sends(c, PARSE("", "commit and chain"), BIND("", ""), EXECUTE(""),
	             PARSE("", "reset all"), BIND("", ""), EXECUTE(""), PARSE("", "rollback"),
	             BIND("", ""), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", "commit and chain"), BIND("", ""), EXECUTE(""),
	            PARSE("", "reset all"), CONTEXT("456"), BIND("", ""), FLUSH);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), PARSE_COMPLETE,
	            CONTEXT_DONE("456"), BIND_COMPLETE);
	server_gets(s, EXECUTE(""), PARSE("", "rollback"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, COMPLETE("RESET"), PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("ROLLBACK"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("COMMIT"), PARSE_COMPLETE,
	            BIND_COMPLETE, COMPLETE("RESET"), PARSE_COMPLETE, BIND_COMPLETE,
	            COMPLETE("ROLLBACK"), READY('I'));
	round_trip(c, s, "456");
}

/* Does the server know the second "a"? Nobody can say which of the two is gone back to. */
static void doubtful_savepoint(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_in_block(c, s);
	runs(c, s, "savepoint a", "SAVEPOINT", 'T');
	runs(c, s, "reset all", "RESET", 'T');
	client_sends(c, QUERY("select x; savepoint a; select y"));
	server_gets(s, CONTEXT("456"), QUERY("select x; savepoint a; select y"));
	server_says(s, CONTEXT_DONE("456"), SERVER_ERROR("42703", "no x"), READY('E'));
	client_gets(c, SERVER_ERROR("42703", "no x"), READY('E'));
	client_sends(c, QUERY("rollback to a"));
	client_gets(c, FATAL("28000", "which usher.token holds"));
	is_closed(c);
}

static void discarded(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	set_token_simply(c, "SET", "456", 'I');
	client_sends(c, QUERY("reset all"));
	server_gets(s, CONTEXT("456"), QUERY("reset all"));
	server_says(s, CONTEXT_DONE("456"), COMPLETE("RESET"), READY('I'));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

/* The login's token runs out, another goes on. */
static void goes_on_after_expiry(struct replay *t)
{
	struct actor *c, *s;
	const char *later;

	replay_start(t, "server_idle_timeout = 0\nserver_lifetime = 24h");
	replay_warm(t, &c, &s);
	replay_sleep(t, 3000 * US_PER_S);
	later = set(t, "SET LOCAL", "456");
	replay_sleep(t, 1000 * US_PER_S);
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY(later));
	client_gets(c, COMPLETE("SET"), READY('T'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("456"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("456"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("SELECT 1"), READY('T'));
	client_sends(c, QUERY("commit"));
	server_gets(s, QUERY("commit"));
	server_says(s, COMPLETE("COMMIT"), READY('I'));
	client_gets(c, COMPLETE("COMMIT"), READY('I'));
	client_sends(c, QUERY("begin"));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 1"));
	client_gets(c, FATAL("28000", "expired"));
	is_closed(c);
	gets_nothing(s);
}

static void at_startup(struct replay *t)
{
	char options[2048];
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	snprintf(options, sizeof(options), "-c usher.token=%s", replay_token(t, "456", NULL));
	c = client_starts(t, "123", (const char *const[]){"options", options, NULL});
	client_is_welcome(c);
	round_trip(c, s, "456");
	client_sends(c, QUERY("RESET usher.token"));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	round_trip(c, s, "123");
	c = client_starts(t, "123",
	                  (const char *const[]){"options", "-c usher.token=no.to.ken", NULL});
	client_gets(c, FATAL("28000", "well-formed"));
	is_closed(c);
	gets_nothing(s);
}

static const struct scenario scenarios[] = {
	SCENARIO(session_token),
	SCENARIO(local_token),
	SCENARIO(local_token_outside_a_block),
	SCENARIO(kept_by_commit),
	SCENARIO(undone_by_rollback),
	SCENARIO(undone_by_a_failed_commit),
	SCENARIO(kept_by_a_skipped_commit),
	SCENARIO(pipelined_behind_commit),
	SCENARIO(kept_by_a_commit_before_an_error),
	SCENARIO(doubt_ends_the_connection),
	SCENARIO(not_behind_the_context),
	SCENARIO(extended),
	SCENARIO(extended_in_front),
	SCENARIO(extended_skipped),
	SCENARIO(extended_refused),
	SCENARIO(extended_malformed),
	SCENARIO(refused_spellings),
	SCENARIO(state_stays_with_its_tenant),
	SCENARIO(state_ends_with_the_tenant),
	SCENARIO(state_of_the_batch),
	SCENARIO(end_that_was_none),
	SCENARIO(undone_by_a_refused_query),
	SCENARIO(kept_by_a_bare_commit),
	SCENARIO(reset_all_in_a_block),
	SCENARIO(undoes_reset_all),
	SCENARIO(reset_all_in_a_batch),
	SCENARIO(doubtful_savepoint),
	SCENARIO(discarded),
	SCENARIO(goes_on_after_expiry),
	SCENARIO(at_startup),
};

int main(void)
{
	return replay_run("replay/identity", scenarios, COUNT_OF(scenarios));
}

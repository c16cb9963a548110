/* Replays of session state: a client's startup settings follow it from server to server, what it
 * sets later pins its server, and DISCARD ALL lets go. Isolation rows 3 and 6. */
#include "replay.h"

/* Logs in with this application_name. */
static struct actor *named(struct replay *t, const char *tenant, const char *name)
{
	const char *const parameters[] = {"application_name", name, NULL};
	struct actor *c = client_starts(t, tenant, parameters);

	client_is_welcome(c);
	assert_string_equal(client_was_told(c, "application_name"), name);
	return c;
}

static void settings_go_in_front(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	gets_nothing(s);
	client_sends(c, QUERY("select 1"));
	came_in_one_write(s);
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, FIRST_CONTEXT("123"),
	            QUERY("select 1"));
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), PARAMETER("application_name", "a"),
	            READY('I'), FIRST_CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	/* They are there now. */
	round_trip(c, s, "123");
}

static void settings_change_with_the_client(struct replay *t)
{
	struct actor *a, *b, *n, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &n, &s);
	a = named(t, "123", "a");
	b = named(t, "456", "b");
	client_sends(a, QUERY("select 1"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, CONTEXT("123"),
	            QUERY("select 1"));
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), READY('I'), CONTEXT_DONE("123"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(a, COMPLETE("SELECT 1"), READY('I'));
	client_sends(b, QUERY("select 1"));
	server_gets(s, SETTING("application_name", "b"), SYNC, CONTEXT("456"), QUERY("select 1"));
	server_says(s, SETTING_DONE("b"), READY('I'), CONTEXT_DONE("456"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	round_trip(b, s, "456");
	/* One without any: back to the server's own value (NULL). */
	client_sends(n, QUERY("select 1"));
	server_gets(s,
	            msg_bytes('B',
	                      "\0{ours}_3\0\0\0\0\2\0\0\0\20application_name\377\377\377\377\0\0",
	                      40),
	            EXECUTE(""), SYNC, CONTEXT("123"), QUERY("select 1"));
	server_says(s, SETTING_DONE(""), READY('I'), CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(n, COMPLETE("SELECT 1"), READY('I'));
}

/* A value that only a server can judge is tried at login. */
static void settings_are_tried_at_login(struct replay *t)
{
	const char *const parameters[] = {"TimeZone", "CET", "options", "-c extra_float_digits=2",
	                                  NULL};
	struct actor *c = client_starts(t, "123", parameters), *s = replay_server(t, 0);

	gets_nothing(c);
	server_gets(s, PARSE_SETTING, SETTING("TimeZone", "CET"),
	            SETTING("extra_float_digits", "2"), SYNC, SYNC);
	server_says(s, PARSE_COMPLETE, SETTING_DONE("CET"), SETTING_DONE("2"),
	            PARAMETER("TimeZone", "CET"), READY('I'), READY('I'));
	client_is_welcome(c);
	assert_string_equal(client_was_told(c, "TimeZone"), "CET");
	assert_int_equal(replay_busy_servers(t), 0);
	client_sends(c, QUERY("select 1"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("select 1"));
}

static void wrong_setting_ends_the_login(struct replay *t)
{
	const char *const parameters[] = {"TimeZone", "Nowhere", NULL};
	struct actor *c = client_starts(t, "123", parameters), *s = replay_server(t, 0);

	server_gets(s, PARSE_SETTING, SETTING("TimeZone", "Nowhere"), SYNC, SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE,
	            SERVER_ERROR("22023", "invalid value for parameter \"TimeZone\""), READY('I'),
	            READY('I'));
	client_gets(c, FATAL("22023", "invalid value for parameter \"TimeZone\""));
	is_closed(c);
	/* The settings on it are not what was meant: nobody gets it like that. */
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	is_open(s);
}

/* It fails on this server, though it did not at login: nothing is passed on, both ends close. */
static void setting_that_fails_later(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	client_sends(c, QUERY("select 1"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, FIRST_CONTEXT("123"),
	            QUERY("select 1"));
	server_says(s, SERVER_ERROR("53200", "out of memory"), READY('I'),
	            FIRST_CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, FATAL("XX000", "settings could not be made"));
	is_closed(c);
	is_closed(s);
}

/* They are the session's defaults, which is what RESET ALL goes back to. */
static void settings_outlive_reset_all(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	client_sends(c, QUERY("reset all"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, FIRST_CONTEXT("123"),
	            QUERY("reset all"));
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), READY('I'), FIRST_CONTEXT_DONE("123"),
	            COMPLETE("RESET"), READY('I'));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, SETTING("application_name", "a"), SYNC, CONTEXT("123"), QUERY("select 1"));
	server_says(s, SETTING_DONE("a"), READY('I'), CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

/* ---- pinned ----------------------------------------------------------------------------- */

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

static void set_pins(struct replay *t)
{
	pins(t, "set work_mem = '8MB'", "SET");
}

static void set_config_pins(struct replay *t)
{
	pins(t, "select set_config('work_mem', '8MB', false)", "SELECT 1");
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
	client_sends(a, QUERY("set work_mem = '8MB'"));
	server_gets(s, CONTEXT("123"), QUERY("set work_mem = '8MB'"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	client_sends(b, QUERY("select 1"));
	gets_nothing(s);
	client_sends(a, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	client_gets(a, COMPLETE("SET"), READY('I'), COMPLETE("DISCARD ALL"), READY('I'));
	/* Ours once more, for what the client did is its own affair. */
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, FIRST_CONTEXT("456"), QUERY("select 1"));
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
	round_trip(c, s, "123");
}

static const struct scenario scenarios[] = {
	SCENARIO(settings_go_in_front),
	SCENARIO(settings_change_with_the_client),
	SCENARIO(settings_are_tried_at_login),
	SCENARIO(wrong_setting_ends_the_login),
	SCENARIO(setting_that_fails_later),
	SCENARIO(settings_outlive_reset_all),
	SCENARIO(set_pins),
	SCENARIO(set_config_pins),
	SCENARIO(temp_table_pins),
	SCENARIO(listen_pins),
	SCENARIO(advisory_lock_pins),
	SCENARIO(prepare_pins),
	SCENARIO(set_local_does_not_pin),
	SCENARIO(discard_all_unpins),
	SCENARIO(failed_discard_all_does_not_unpin),
	SCENARIO(rolled_back_state_is_scrubbed),
	SCENARIO(notifications_reach_a_pinned_client),
};

int main(void)
{
	return replay_run("replay/settings", scenarios, COUNT_OF(scenarios));
}

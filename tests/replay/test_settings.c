/* Replays of session state: a client's startup settings and what it sets later follow it from server
 * to server, other state pins its server, and DISCARD ALL lets go. Isolation rows 3 and 6. */
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

/* It ends before it has made them: that is no fault of theirs. */
static void server_ends_in_front_of_the_settings(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	client_sends(c, QUERY("select 1"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, FIRST_CONTEXT("123"),
	            QUERY("select 1"));
	server_says(s, SERVER_FATAL("57P01", "terminating connection"));
	client_gets(c, FATAL("08006", "closed the connection unexpectedly"));
	is_closed(c);
	is_closed(s);
}

/* set_config(name, NULL, false), as bytes. */
#define UNSET(name, len_byte)                                                                      \
	msg_bytes('B', "\0{ours}_3\0\0\0\0\2\0\0\0" len_byte name "\377\377\377\377\0\0",          \
	          23 + sizeof(name)),                                                              \
		EXECUTE("")

/* Behind a RESET of the client's: what it had at startup. */
#define PARSE_BACK PARSE(OURS(9), "SELECT pg_catalog.set_config($1,$2,$3)")
#define BACK(name, value, is_local)                                                                \
	BIND(OURS(9), OURS(9), name, value, is_local), EXECUTE(OURS(9)), CLOSE_PORTAL(OURS(9))
#define BACK_DONE(value) SETTING_DONE(value), CLOSE_COMPLETE

/* They are the session's defaults, which is what RESET ALL goes back to; and nobody else's. */
static void behind_reset_all(struct replay *t, bool others)
{
	struct actor *c, *b, *s;

	replay_start(t, "max_server_conn = 1");
	c = named(t, "123", "a");
	b = client_logs_in(t, "456");
	s = replay_server(t, 0);

	client_sends(c, QUERY("reset all"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC, FIRST_CONTEXT("123"),
	            PARSE("", "reset all"), BIND("", ""), EXECUTE(""), PARSE_BACK,
	            BACK("application_name", "a", "f"), SYNC);
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), READY('I'), FIRST_CONTEXT_DONE("123"),
	            PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("RESET"), PARSE_COMPLETE,
	            BACK_DONE("a"), READY('I'));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	if (others) {
		client_sends(b, QUERY("select 1"));
		server_gets(s, UNSET("application_name", "\20"), SYNC, CONTEXT("456"),
		            QUERY("select 1"));
		server_says(s, SETTING_DONE(""), READY('I'), CONTEXT_DONE("456"),
		            COMPLETE("SELECT 1"), READY('I'));
		client_gets(b, COMPLETE("SELECT 1"), READY('I'));
		round_trip(b, s, "456");
	}
	client_sends(c, QUERY("select 1"));
	server_gets(s, SETTING("application_name", "a"), SYNC, CONTEXT("123"), QUERY("select 1"));
	server_says(s, SETTING_DONE("a"), READY('I'), CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

static void settings_outlive_reset_all(struct replay *t)
{
	behind_reset_all(t, false);
}

static void settings_of_before_reset_all_are_nobody_elses(struct replay *t)
{
	behind_reset_all(t, true);
}

/* Another setting's RESET is the server's own, and so is any in a failed transaction. */
static void reset_of_what_is_not_of_the_startup(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	client_sends(c, QUERY("begin isolation level serializable"));
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC,
	            QUERY("begin isolation level serializable"));
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), READY('I'), COMPLETE("BEGIN"),
	            READY('T'));
	client_sends(c, QUERY("reset work_mem"));
	server_gets(s, FIRST_CONTEXT("123"), QUERY("reset work_mem"));
	server_says(s, FIRST_CONTEXT_DONE("123"), SERVER_ERROR("42704", "none"), READY('E'));
	client_sends(c, QUERY("reset application_name"));
	server_gets(s, QUERY("reset application_name"));
	server_says(s, SERVER_ERROR("25P02", "aborted"), READY('E'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), REFUSED("42704", "none"), READY('E'),
	            REFUSED("25P02", "aborted"), READY('E'));
}

/* The value that is made behind it fails, and with it the client's transaction. */
static void reset_that_cannot_go_back(struct replay *t)
{
	struct actor *c = named(t, "123", "a"), *s = replay_server(t, 0);

	client_sends(c, PARSE("", "set local application_name to default"), BIND("", ""),
	             EXECUTE(""), SYNC);
	server_gets(s, PARSE_SETTING, SETTING("application_name", "a"), SYNC,
	            PARSE("", "set local application_name to default"), FIRST_CONTEXT("123"),
	            BIND("", ""), EXECUTE(""), PARSE_BACK, BACK("application_name", "a", "t"),
	            SYNC);
	server_says(s, PARSE_COMPLETE, SETTING_DONE("a"), READY('I'), PARSE_COMPLETE,
	            FIRST_CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SET"), PARSE_COMPLETE,
	            BIND_COMPLETE, SERVER_ERROR("53200", "out of memory"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SET"),
	            REFUSED("53200", "out of memory"), READY('I'));
	round_trip(c, s, "123");
}

/* ---- what is SET follows ------------------------------------------------------------------- */

#define PARSE_ASK PARSE(OURS(4), "SELECT pg_catalog.left(pg_catalog.current_setting($1,true),4097)")
#define ASK(name) BIND("", OURS(4), name), EXECUTE("")
/* Where something failed: only what is set in the session counts. */
#define PARSE_ASK_SET                                                                              \
	PARSE(OURS(5), "SELECT (SELECT pg_catalog.left(pg_catalog.current_setting($1,true),4097)"  \
	               " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE"               \
	               " pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower($1)"       \
	               " AND source OPERATOR(pg_catalog.<>) 'session'))")
#define ASK_SET(name) BIND("", OURS(5), name), EXECUTE("")
#define ASKED(value) BIND_COMPLETE, ROW(value), COMPLETE("SELECT 1")
#define NULL_ROW msg_bytes('D', "\0\1\377\377\377\377", 6)

/* a sends the statement alone, the server is asked, and says so. */
static void sets(struct actor *a, struct actor *s, bool first, const char *sql, const char *name,
                 const char *value)
{
	client_sends(a, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	client_gets(a, COMPLETE("SET"), READY('I'));
	came_in_one_write(s);
	if (first)
		server_gets(s, PARSE_ASK, ASK(name), SYNC);
	else
		server_gets(s, ASK(name), SYNC);
	if (first)
		server_says(s, PARSE_COMPLETE);
	server_says(s, ASKED(value), READY('I'));
	gets_nothing(a);
}

static void set_is_asked_for(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	sets(c, s, true, "set work_mem = '8192'", "work_mem", "8MB");
	assert_int_equal(replay_busy_servers(t), 0);
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void set_config_by_parameter_is_asked_for(struct replay *t)
{
	static const char sql[] = "select set_config('my.x', $1, false)";
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, PARSE("", sql), BIND("", "", "5"), EXECUTE(""), SYNC);
	server_gets(s, PARSE("", sql), CONTEXT("123"), BIND("", "", "5"), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, ROW("5"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, ROW("5"), COMPLETE("SELECT 1"), READY('I'));
	server_gets(s, PARSE_ASK, ASK("my.x"), SYNC);
	server_says(s, PARSE_COMPLETE, ASKED("5"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
}

/* Two clients take turns on one server. */
static void set_follows(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	sets(a, s, true, "set work_mem = '8MB'", "work_mem", "8MB");
	client_sends(b, QUERY("select 1"));
	server_gets(s, PARSE_SETTING, UNSET("work_mem", "\10"), SYNC, CONTEXT("456"),
	            QUERY("select 1"));
	server_says(s, PARSE_COMPLETE, SETTING_DONE("4MB"), READY('I'), CONTEXT_DONE("456"),
	            COMPLETE("SELECT 1"), READY('I'));
	client_gets(b, COMPLETE("SELECT 1"), READY('I'));
	round_trip(b, s, "456");
	client_sends(a, QUERY("show work_mem"));
	came_in_one_write(s);
	server_gets(s, SETTING("work_mem", "8MB"), SYNC, QUERY("show work_mem"));
	server_says(s, SETTING_DONE("8MB"), READY('I'), ROW("8MB"), COMPLETE("SHOW"), READY('I'));
	client_gets(a, ROW("8MB"), COMPLETE("SHOW"), READY('I'));
}

static void same_settings_need_no_exchange(struct replay *t)
{
	const char *const parameters[] = {"work_mem", "8MB", NULL};
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	sets(a, s, true, "set work_mem = '8192'", "work_mem", "8MB");
	b = client_starts(t, "456", parameters);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_is_welcome(b);
	assert_int_equal(replay_session(t)->settings.count, 1);
	round_trip(b, s, "456");
	round_trip(a, s, "123");
}

static void set_in_a_block_is_asked_for_at_its_end(struct replay *t)
{
	static const char *const ends[] = {"rollback", "commit"};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	for (int i = 0; i < 2; i++) {
		client_sends(c, QUERY("set work_mem = '8MB'"));
		server_gets(s, QUERY("set work_mem = '8MB'"));
		server_says(s, COMPLETE("SET"), READY('T'));
		client_sends(c, QUERY("rollback to a"));
		server_gets(s, QUERY("rollback to a"));
		server_says(s, COMPLETE("ROLLBACK"), READY('T'));
		client_sends(c, QUERY(ends[i]));
		server_gets(s, QUERY(ends[i]));
		server_says(s, COMPLETE("ROLLBACK"), READY('I'));
		client_gets(c, COMPLETE("SET"), READY('T'), COMPLETE("ROLLBACK"), READY('T'),
		            COMPLETE("ROLLBACK"), READY('I'));
		if (i == 0)
			server_gets(s, PARSE_ASK, ASK("work_mem"), SYNC);
		else
			server_gets(s, ASK("work_mem"), SYNC);
		if (i == 0)
			server_says(s, PARSE_COMPLETE);
		server_says(s, ASKED("4MB"), READY('I'));
		assert_int_equal(replay_busy_servers(t), 0);
		gets_nothing(s);
		if (i == 0) {
			client_sends(c, QUERY("begin isolation level serializable"));
			server_gets(s, QUERY("begin isolation level serializable"));
			server_says(s, COMPLETE("BEGIN"), READY('T'));
			client_sends(c, QUERY("select 1"));
			server_gets(s, CONTEXT("123"), QUERY("select 1"));
			server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('T'));
			client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"),
			            READY('T'));
		}
	}
}

static void several_names_are_asked_for_at_once(struct replay *t)
{
	static const char sql[] =
		"set my.a = 1; select set_config('my.b', '2', false), set_config('MY.a', '3', "
		"false); set local my.c = 4; set session characteristics as transaction read only";
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	server_gets(s, PARSE_ASK, ASK("my.a"), ASK("my.b"), ASK("default_transaction_isolation"),
	            ASK("default_transaction_read_only"), ASK("default_transaction_deferrable"),
	            SYNC);
}

static void setting_that_is_none_is_forgotten(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("set nothing = 1"));
	server_gets(s, CONTEXT("123"), QUERY("set nothing = 1"));
	server_says(s, CONTEXT_DONE("123"), SERVER_ERROR("42704", "unrecognized"), READY('I'));
	client_gets(c, SERVER_ERROR("42704", "unrecognized"), READY('I'));
	server_gets(s, PARSE_ASK_SET, ASK_SET("nothing"), SYNC);
	server_says(s, PARSE_COMPLETE, BIND_COMPLETE, NULL_ROW, COMPLETE("SELECT 1"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	assert_int_equal(replay_session(t)->settings.count, 0);
	gets_nothing(s);
}

static void client_waits_for_the_answer(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("set work_mem = '8MB'"), QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("set work_mem = '8MB'"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	server_gets(s, PARSE_ASK, ASK("work_mem"), SYNC);
	client_gets(c, COMPLETE("SET"), READY('I'));
	server_says(s, PARSE_COMPLETE, ASKED("8MB"), READY('I'));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
}

/* Nobody knows what was set: it stays there, until DISCARD ALL. */
static void answer_that_fails_pins(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("set statement_timeout = 1"));
	server_gets(s, CONTEXT("123"), QUERY("set statement_timeout = 1"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	client_gets(c, COMPLETE("SET"), READY('I'));
	server_gets(s, PARSE_ASK, ASK("statement_timeout"), SYNC);
	server_says(s, PARSE_COMPLETE, SERVER_ERROR("57014", "timeout"), READY('I'));
	gets_nothing(c);
	assert_int_equal(replay_busy_servers(t), 1);
	round_trip(c, s, "123");
	client_sends(c, QUERY("set my.x = 1"));
	server_gets(s, CONTEXT("123"), QUERY("set my.x = 1"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	gets_nothing(s);
	client_sends(c, QUERY("discard all"));
	server_gets(s, QUERY("discard all"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
	server_says(s, COMPLETE("DISCARD ALL"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
}

static void answer_that_is_long_pins(struct replay *t)
{
	struct actor *c, *s;
	char *value = mem_zalloc(4098);

	memset(value, 'x', 4097);
	replay_warm(t, &c, &s);
	sets(c, s, true, "set my.x = 'xxx'", "my.x", value);
	mem_free(value);
	assert_int_equal(replay_busy_servers(t), 1);
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("DISCARD ALL"));
}

static void reset_all_goes_back(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	sets(c, s, true, "set work_mem = '8MB'", "work_mem", "8MB");
	client_sends(c, QUERY("reset all"));
	server_gets(s, CONTEXT("123"), QUERY("reset all"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("RESET"), READY('I'));
	client_gets(c, COMPLETE("RESET"), READY('I'));
	gets_nothing(s);
	assert_int_equal(replay_busy_servers(t), 0);
	assert_int_equal(replay_session(t)->settings.count, 0);
	round_trip(c, s, "123");
}

/* Whether it lasts, only the server knows. */
static void reset_all_that_is_rolled_back(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	sets(c, s, true, "set work_mem = '8MB'", "work_mem", "8MB");
	client_sends(c, QUERY("begin isolation level serializable"));
	server_gets(s, QUERY("begin isolation level serializable"));
	server_says(s, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("reset all"));
	server_gets(s, CONTEXT("123"), QUERY("reset all"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("RESET"), READY('T'));
	client_sends(c, QUERY("rollback"));
	server_gets(s, QUERY("rollback"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("RESET"), READY('T'),
	            COMPLETE("ROLLBACK"), READY('I'));
	server_gets(s, ASK("work_mem"), SYNC);
	server_says(s, ASKED("8MB"), READY('I'));
	assert_int_equal(replay_session(t)->settings.count, 1);
	round_trip(c, s, "123");
}

/* It could end the next client's own settings: gone before that one comes. */
static void short_timeout_is_taken_back(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	sets(c, s, true, "set lock_timeout = 5", "lock_timeout", "5ms");
	server_gets(s, PARSE_SETTING, UNSET("lock_timeout", "\14"), SYNC);
	assert_int_equal(replay_busy_servers(t), 1);
	server_says(s, PARSE_COMPLETE, SETTING_DONE("0"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	client_sends(c, QUERY("set lock_timeout = '5s'"));
	server_gets(s, SETTING("lock_timeout", "5ms"), SYNC, CONTEXT("123"),
	            QUERY("set lock_timeout = '5s'"));
	server_says(s, SETTING_DONE("5ms"), READY('I'), CONTEXT_DONE("123"), COMPLETE("SET"),
	            READY('I'));
	server_gets(s, ASK("lock_timeout"), SYNC);
	server_says(s, ASKED("5s"), READY('I'));
	client_gets(c, COMPLETE("SET"), READY('I'));
	/* The short one was on this server, so nobody trusts it. */
	server_gets(s, UNSET("lock_timeout", "\14"), SYNC);
	server_says(s, SETTING_DONE("0"), READY('I'));
	client_sends(c, QUERY("select 1"));
	server_gets(s, SETTING("lock_timeout", "5s"), SYNC, CONTEXT("123"), QUERY("select 1"));
	server_says(s, SETTING_DONE("5s"), READY('I'), CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	assert_int_equal(replay_busy_servers(t), 0);
	gets_nothing(s);
}

static void leaving_in_mid_set_scrubs(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	replay_open_block(c, s);
	client_sends(c, QUERY("set work_mem = '8MB'"));
	server_gets(s, QUERY("set work_mem = '8MB'"));
	server_says(s, COMPLETE("SET"), READY('T'));
	client_gets(c, COMPLETE("SET"), READY('T'));
	client_sends(c, TERMINATE);
	server_gets(s, QUERY("ROLLBACK"));
	server_says(s, COMPLETE("ROLLBACK"), READY('I'));
	server_gets(s, QUERY("DISCARD ALL"));
}

/* Its server is in the middle of an answer that nobody wants. */
static void cut_off_while_asked(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("set work_mem = '8MB'"));
	server_gets(s, CONTEXT("123"), QUERY("set work_mem = '8MB'"));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SET"), READY('I'));
	server_gets(s, PARSE_ASK, ASK("work_mem"), SYNC);
	client_gets(c, COMPLETE("SET"), READY('I'));
	session_close(c->client, CLOSE_CLIENT_IO);
	assert_non_null(cancel_waiting(t));
	cancel_ends(t, true);
	is_closed(s);
}

static const struct scenario scenarios[] = {
	SCENARIO(settings_go_in_front),
	SCENARIO(settings_change_with_the_client),
	SCENARIO(settings_are_tried_at_login),
	SCENARIO(wrong_setting_ends_the_login),
	SCENARIO(setting_that_fails_later),
	SCENARIO(server_ends_in_front_of_the_settings),
	SCENARIO(settings_outlive_reset_all),
	SCENARIO(settings_of_before_reset_all_are_nobody_elses),
	SCENARIO(reset_of_what_is_not_of_the_startup),
	SCENARIO(reset_that_cannot_go_back),
	SCENARIO(set_is_asked_for),
	SCENARIO(set_config_by_parameter_is_asked_for),
	SCENARIO(set_follows),
	SCENARIO(same_settings_need_no_exchange),
	SCENARIO(set_in_a_block_is_asked_for_at_its_end),
	SCENARIO(several_names_are_asked_for_at_once),
	SCENARIO(setting_that_is_none_is_forgotten),
	SCENARIO(client_waits_for_the_answer),
	SCENARIO(answer_that_fails_pins),
	SCENARIO(answer_that_is_long_pins),
	SCENARIO(reset_all_goes_back),
	SCENARIO(reset_all_that_is_rolled_back),
	SCENARIO(short_timeout_is_taken_back),
	SCENARIO(leaving_in_mid_set_scrubs),
	SCENARIO(cut_off_while_asked),
};

int main(void)
{
	return replay_run("replay/settings", scenarios, COUNT_OF(scenarios));
}

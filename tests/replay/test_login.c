/* Replays of logging in (55.2.1): requests for encryption, startup parameters, the token, and every
 * way to be refused. Traps 1 to 7; isolation rows 3, 21, 22. */
#include <stdio.h>

#include "replay.h"

#define SSL_REQUEST RAW("\0\0\0\10\4\322\26\57", 8)
#define GSS_REQUEST RAW("\0\0\0\10\4\322\26\60", 8)
#define PLAIN_STARTUP STARTUP("user", "app", "database", "eav")

/* Startup with these parameters is refused so, before a token is asked for. */
static void is_refused(struct replay *t, const char *sqlstate, const char *text,
                       const char *const *parameters)
{
	struct actor *c = client_connects(t);

	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0, parameters));
	client_gets(c, FATAL(sqlstate, text));
	is_closed(c);
}
#define REFUSES(sqlstate, text, ...)                                                               \
	is_refused(t, sqlstate, text,                                                              \
	           (const char *const[]){"user", "app", "database", "eav", __VA_ARGS__, NULL})

/* The same behind the token: nobody else makes us judge settings. */
static void is_refused_inside(struct replay *t, const char *sqlstate, const char *text,
                              const char *name, const char *value)
{
	struct actor *c = client_starts(t, "123", (const char *const[]){name, value, NULL});

	client_gets(c, FATAL(sqlstate, text));
	is_closed(c);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "eav", name, value));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD("secret"));
	client_gets(c, FATAL("28000", "not a well-formed JWT"));
	is_closed(c);
}

/* ---- encryption ------------------------------------------------------------------------- */

static void no_encryption_here(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c, GSS_REQUEST);
	client_gets(c, RAW("N", 1));
	client_sends(c, SSL_REQUEST);
	client_gets(c, RAW("N", 1));
	client_sends(c, PLAIN_STARTUP);
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(c);
}

static void each_request_once(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c, SSL_REQUEST, SSL_REQUEST);
	client_gets(c, RAW("N", 1), FATAL("08P01", "protocol"));
	is_closed(c);
	c = client_connects(t);
	client_sends(c, GSS_REQUEST, GSS_REQUEST);
	client_gets(c, RAW("N", 1), FATAL("08P01", "protocol"));
	is_closed(c);
}

/* CVE-2021-23222: plain bytes behind the request must not pass for encrypted ones. */
static void bytes_behind_the_ssl_request(struct replay *t)
{
	struct actor *c = client_connects(t);

	/* Never looked into: the connection ends before. */
	replay_session(t)->tls = (struct ssl_ctx_st *)replay_session(t);
	client_sends(c, RAW("\0\0\0\10\4\322\26\57Q", 9));
	client_gets(c, FATAL("08P01", "protocol"));
	is_closed(c);
}

static void tls_is_required_from_afar(struct replay *t)
{
	struct peer peer = {.uid = -1, .text = "10.0.0.1:1"};
	struct peer local = {.is_unix = true, .uid = 1000, .text = "unix"};
	struct actor *c = client_connects_from(t, &peer);

	client_sends(c, PLAIN_STARTUP);
	client_gets(c, FATAL("28000", "TLS is required"));
	is_closed(c);
	c = client_connects_from(t, &local);
	client_sends(c, PLAIN_STARTUP);
	client_gets(c, AUTH(3));
}

/* ---- the startup packet ----------------------------------------------------------------- */

static void lengths_are_checked_first(struct replay *t)
{
	static const uint32_t lengths[] = {0, 4, 7, 10001, 0x7fffffff, UINT32_MAX, 0x16030100};
	struct actor *c;

	for (size_t i = 0; i < COUNT_OF(lengths); i++) {
		uint8_t packet[8] = {0};

		be32_set(packet, lengths[i]);
		c = client_connects(t);
		client_sends(c, RAW((const char *)packet, sizeof(packet)));
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
}

static void malformed_parameters(struct replay *t)
{
	static const struct {
		const char *bytes;
		size_t len;
	} bad[] = {
		{"\0\0\0\10\0\3\0\0", 8},              /* no end */
		{"\0\0\0\15\0\3\0\0user\0", 13},       /* no value */
		{"\0\0\0\16\0\3\0\0user\0a", 14},      /* not terminated */
		{"\0\0\0\21\0\3\0\0user\0a\0\0x", 17}, /* more behind the end */
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct actor *c = client_connects(t);

		client_sends(c, RAW(bad[i].bytes, bad[i].len));
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
}

static void other_protocols(struct replay *t)
{
	static const char *const none[] = {"user", "app", NULL};
	struct actor *c = client_connects(t);

	client_sends(c, msg_startup(2 << 16, none));
	client_gets(c, FATAL("0A000", "unsupported frontend protocol"));
	is_closed(c);
}

static void newer_minor_version(struct replay *t)
{
	static const char *const parameters[] = {"user", "app",      "_pq_.one", "1", "_pq_.two",
	                                         "2",    "database", "eav",      NULL};
	struct actor *c = client_connects(t);

	/* Of two versions it is the older one that is spoken; unknown options are named. */
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0 | 9999, parameters));
	client_gets(c, msg_bytes('v', "\0\3\0\2\0\0\0\2_pq_.one\0_pq_.two", 26), AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(c);
	assert_int_equal(c->key.key_len, 32);
	c = client_connects(t);
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0, parameters));
	client_gets(c, msg_bytes('v', "\0\3\0\0\0\0\0\2_pq_.one\0_pq_.two", 26), AUTH(3));
	c = client_connects(t);
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0 | 99, parameters + 6));
	client_gets(c, FATAL("28000", "no user name"));
}

/* However many options there are, each of them is named. */
static void many_unknown_options(struct replay *t)
{
	const char *parameters[2 + 2 * 40 + 1] = {"user", "app"};
	struct actor *c = client_connects(t);
	struct buf names = {0};
	char name[40][12];

	buf_put_be32(&names, WIRE_PROTOCOL_3_2);
	buf_put_be32(&names, 40);
	for (int i = 0; i < 40; i++) {
		snprintf(name[i], sizeof(name[i]), "_pq_.o%d", i);
		buf_put_cstr(&names, name[i]);
		parameters[2 + 2 * i] = name[i];
		parameters[3 + 2 * i] = "";
	}
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_2, parameters));
	client_gets(c, msg_bytes('v', (const char *)names.data, names.len), AUTH(3));
	buf_fini(&names);
}

/* 3.1 was never released: it is 3.0 by another number, also to PostgreSQL 18. */
static void protocols_that_are_spoken(struct replay *t)
{
	static const char *const parameters[] = {"user", "app", "database", "eav", NULL};
	static const struct {
		uint32_t version;
		uint16_t key_len;
	} spoken[] = {{WIRE_PROTOCOL_3_0, 4}, {WIRE_PROTOCOL_3_0 | 1, 4}, {WIRE_PROTOCOL_3_2, 32}};

	for (size_t i = 0; i < COUNT_OF(spoken); i++) {
		struct actor *c = client_connects(t);

		client_sends(c, msg_startup(spoken[i].version, parameters));
		client_gets(c, AUTH(3));
		client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
		client_is_welcome(c);
		assert_int_equal(c->key.key_len, spoken[i].key_len);
	}
}

static void parameters_that_are_refused(struct replay *t)
{
	REFUSES("0A000", "replication", "replication", "true");
	REFUSES("0A000", "replication", "replication", "database");
	REFUSES("0A000", "options", "options", "-d 5");
	REFUSES("0A000", "options", "options", "-c nothing");
	is_refused_inside(t, "42501", "tenant context", "app.current_tenant_id", "456");
	is_refused_inside(t, "42501", "tenant context", "options", "-c app.current_tenant_id=456");
	is_refused_inside(t, "42501", "tenant context", "options",
	                  "-c work_mem=1MB --App.current-tenant-id=456");
	is_refused_inside(t, "42501", "tenant context", "options", "-capp.current_\\tenant_id=456");
	is_refused_inside(t, "42501", "role", "role", "postgres");
	is_refused_inside(t, "42501", "role", "options", "--session_authorization=postgres");
	is_refused_inside(t, "42501", "row_security", "options", "-c row_security=off");
	is_refused_inside(t, "42501", "encoding", "client_encoding", "SJIS");
	is_refused_inside(t, "42501", "standard_conforming_strings", "standard_conforming_strings",
	                  "off");
	assert_int_equal(replay_servers(t), 0);
}

/* In options or as parameters of their own: 64 settings are taken, one more is not. */
static void too_many_settings(struct replay *t)
{
	char options[65 * 12 + 1], *at = options;
	struct actor *c;

	for (int i = 0; i < 64; i++)
		at += sprintf(at, " -c a.b%02d=1", i);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "options", options));
	client_gets(c, AUTH(3));
	REFUSES("54000", "too many startup settings", "options", options, "work_mem", "1MB");
	sprintf(at, " -c a.b64=1");
	REFUSES("54000", "too many startup settings", "options", options);
}

static void parameters_that_mean_nothing(struct replay *t)
{
	const char *const parameters[] = {"replication", "false", "client_encoding", "UTF8", NULL};
	struct actor *c = client_starts(t, "123", parameters);

	client_is_welcome(c);
	client_sends(c, QUERY("select 1"));
	server_gets(replay_server(t, 0), FIRST_CONTEXT("123"), QUERY("select 1"));
}

static void names_that_are_not_configured(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c, STARTUP("user", "app", "database", "other"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_gets(c, FATAL("3D000", "\"other\""));
	is_closed(c);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "other", "database", "eav"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", "role=other")));
	client_gets(c, FATAL("28000", "\"other\""));
	is_closed(c);
}

/* ---- the token -------------------------------------------------------------------------- */

/* The password packet with this is refused so. */
static void password_is_refused(struct replay *t, const char *token, const char *text)
{
	struct actor *c = client_connects(t);

	client_sends(c, PLAIN_STARTUP);
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(token));
	client_gets(c, FATAL("28000", text));
	is_closed(c);
}

static void tokens_that_are_refused(struct replay *t)
{
	replay_start(t, "");
	password_is_refused(t, "", "not a well-formed JWT");
	password_is_refused(t, "secret", "not a well-formed JWT");
	password_is_refused(t, "a.b.c", "not a well-formed JWT");
	password_is_refused(t, replay_token(t, NULL, NULL), "no valid tenant");
	password_is_refused(t, replay_token(t, "123", "tenant_id=\"-1\""), "no valid tenant");
	password_is_refused(t, replay_token(t, "123", "role=other"), "does not allow this role");
	password_is_refused(t, replay_token(t, "123", "exp=1600000000"), "expired");
	password_is_refused(t, replay_token(t, "123", "nbf=1800000000"), "not yet valid");
	assert_int_equal(replay_servers(t), 0);
}

static void what_is_no_password_message(struct replay *t)
{
	struct msg *const bad[] = {QUERY("select 1"),       msg_bytes('p', "", 0),
	                           msg_bytes('p', "ab", 2), msg_bytes('p', "a\0b\0", 4),
	                           HEADER('p', 3),          HEADER('p', 4 + 16384 + 2)};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct actor *c = client_connects(t);

		client_sends(c, PLAIN_STARTUP);
		client_gets(c, AUTH(3));
		client_sends(c, bad[i]);
		client_gets(c, FATAL("08P01", "protocol"));
		is_closed(c);
	}
}

/* ---- keys that are fetched ----------------------------------------------------------------- */

static struct actor *waits_for_keys(struct replay *t, const char *token)
{
	struct actor *c = client_connects(t);
	size_t n = keys_awaited(t);

	client_sends(c, PLAIN_STARTUP);
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(token));
	gets_nothing(c);
	assert_int_equal(keys_awaited(t), n + 1);
	return c;
}

static void login_waits_for_keys(struct replay *t)
{
	struct actor *c, *other;

	replay_start(t, WITH_URL_KEYS);
	c = waits_for_keys(t, replay_token(t, "123", "iss=url"));
	other = client_logs_in(t, "456"); /* of another issuer: not held up */
	is_open(other);
	keys_fetched(t, true, true);
	client_is_welcome(c);
	assert_int_equal(keys_awaited(t), 0);
}

/* What the client has sent behind its token waits as well. */
static void query_behind_the_token_waits(struct replay *t)
{
	struct actor *c, *s;

	replay_start(t, WITH_URL_KEYS);
	replay_warm(t, &c, &s);
	c = client_connects(t);
	client_sends(c, PLAIN_STARTUP, PASSWORD(replay_token(t, "123", "iss=url")),
	             QUERY("select 1"));
	client_gets(c, AUTH(3));
	keys_fetched(t, true, true);
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
}

static void no_keys_came(struct replay *t)
{
	struct actor *c;

	replay_start(t, WITH_URL_KEYS);
	c = waits_for_keys(t, replay_token(t, "123", "iss=url"));
	keys_fetched(t, false, true);
	client_gets(c, FATAL("28000", "no keys are loaded yet"));
	is_closed(c);
}

/* Keys came, but not this one: if they were asked for before, once more, then no more. */
static void unknown_key_asks_again(struct replay *t)
{
	static const char token[] = /* {"alg":"HS256","kid":"new"}.{"iss":"url","exp":1700000100} */
		"eyJhbGciOiJIUzI1NiIsImtpZCI6Im5ldyJ9."
		"eyJpc3MiOiJ1cmwiLCJleHAiOjE3MDAwMDAxMDB9.AAAA";
	struct actor *c;

	replay_start(t, WITH_URL_KEYS);
	c = waits_for_keys(t, token);
	keys_fetched(t, true, false);
	gets_nothing(c);
	assert_int_equal(keys_awaited(t), 1);
	keys_fetched(t, true, true);
	client_gets(c, FATAL("28000", "unknown key"));
	is_closed(c);
	assert_int_equal(keys_awaited(t), 0);
}

static void ends_while_keys_are_awaited(struct replay *t)
{
	struct actor *gone, *late, *drained;

	replay_start(t, "client_login_timeout = 5" WITH_URL_KEYS);
	gone = waits_for_keys(t, replay_token(t, "123", "iss=url"));
	late = waits_for_keys(t, replay_token(t, "123", "iss=url"));
	actor_breaks(gone);
	replay_sleep(t, 6 * US_PER_S);
	client_gets(late, FATAL("57014", "client_login_timeout"));
	is_closed(late);
	drained = waits_for_keys(t, replay_token(t, "123", "iss=url"));
	session_drain(replay_session(t));
	replay_turn(t);
	client_gets(drained, FATAL("57P01", "shutting down"));
	while (keys_awaited(t) > 0) /* the answers come all the same */
		keys_fetched(t, true, true);
}

static void no_edge(void *worker)
{
	(void)worker;
}

/* Many tokens at once are checked a few in each turn of the loop, first come first served; one
 * that was seen before does not wait behind them. */
static void many_tokens_at_once(struct replay *t)
{
	struct actor *flood[10], *known;
	struct session_env *env;
	void (*wake_edge)(void *worker);
	size_t n_answered = 0;
	char *token;

	known = client_connects(t);
	token = mem_strdup(replay_token(t, "123", NULL));
	client_sends(known, PLAIN_STARTUP, PASSWORD(token));
	env = replay_session(t);
	wake_edge = env->wake_edge;
	session_edge(env);
	env->wake_edge = no_edge;
	for (size_t i = 0; i < COUNT_OF(flood); i++) {
		flood[i] = client_connects(t);
		client_sends(flood[i], PLAIN_STARTUP);
		client_gets(flood[i], AUTH(3));
		client_sends(flood[i], PASSWORD("a.b.c"));
		/* More of it, and its end, change nothing. */
		if (i >= 4)
			client_sends(flood[i], RAW("x", 1));
	}
	known = client_connects(t);
	client_sends(known, PLAIN_STARTUP);
	client_gets(known, AUTH(3));
	client_sends(known, PASSWORD(token));
	client_is_welcome(known);
	mem_free(token);
	for (size_t turn = 0; turn < 3; turn++) {
		for (; n_answered < COUNT_OF(flood) && flood[n_answered]->in.len > 0; n_answered++)
			client_gets(flood[n_answered], FATAL("28000", "not a well-formed JWT"));
		assert_int_equal(n_answered, turn == 2 ? 10 : 4 * (turn + 1));
		for (size_t i = n_answered; i < COUNT_OF(flood); i++) {
			gets_nothing(flood[i]);
			is_open(flood[i]);
		}
		session_edge(env);
		replay_turn(t);
	}
	env->wake_edge = wake_edge;
}

static void long_tokens_are_taken(struct replay *t)
{
	struct actor *c = client_connects(t);
	char claim[9000] = "padding=";

	memset(claim + 8, 'x', sizeof(claim) - 9);
	claim[sizeof(claim) - 1] = '\0';
	client_sends(c, PLAIN_STARTUP);
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", claim)));
	client_is_welcome(c);
}

/* ---- the welcome ------------------------------------------------------------------------ */

static void welcome_says_what_servers_say(struct replay *t)
{
	struct actor *c = client_logs_in(t, "123"), *b;

	assert_string_equal(client_was_told(c, "server_version"), "15.4");
	assert_string_equal(client_was_told(c, "client_encoding"), "UTF8");
	assert_string_equal(client_was_told(c, "TimeZone"), "Etc/UTC");
	assert_string_equal(client_was_told(c, "application_name"), "");
	assert_null(client_was_told(c, "search_path"));
	/* The second needs no server for that. */
	dials_wait(t);
	b = client_logs_in(t, "456");
	assert_string_equal(client_was_told(b, "server_version"), "15.4");
	assert_int_equal(replay_servers(t), 1);
	assert_int_not_equal(b->pid, c->pid);
	assert_int_not_equal(b->secret, c->secret);
}

static void everything_in_one_packet(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c, PLAIN_STARTUP, PASSWORD(replay_token(t, "123", NULL)), QUERY("select 1"));
	server_gets(replay_server(t, 0), FIRST_CONTEXT("123"), QUERY("select 1"));
	is_open(c);
}

/* ---- limits ----------------------------------------------------------------------------- */

static void too_many_clients(struct replay *t)
{
	struct actor *c, *b;

	replay_start(t, "max_client_conn = 1");
	c = client_logs_in(t, "123");
	b = client_connects(t);
	client_sends(b, PLAIN_STARTUP);
	client_gets(b, FATAL("53300", "max_client_conn"));
	is_closed(b);
	client_sends(c, TERMINATE);
	c = client_logs_in(t, "123");
	is_open(c);
}

static void login_takes_too_long(struct replay *t)
{
	struct actor *a, *b, *c, *in;

	replay_start(t, "client_login_timeout = 5");
	in = client_logs_in(t, "123");
	a = client_connects(t);
	b = client_connects(t);
	client_sends(b, PLAIN_STARTUP);
	client_gets(b, AUTH(3));
	actor_hangs_up(replay_server(t, 0));
	dials_wait(t);
	c = client_starts(t, "123", (const char *const[]){"TimeZone", "CET", NULL});
	replay_sleep(t, 4 * US_PER_S);
	is_open(a);
	replay_sleep(t, 2 * US_PER_S);
	client_gets(a, FATAL("57014", "client_login_timeout"));
	client_gets(b, FATAL("57014", "client_login_timeout"));
	client_gets(c, FATAL("57014", "client_login_timeout"));
	is_closed(a);
	is_closed(b);
	is_closed(c);
	is_open(in);
}

/* A server was asked about the settings and does not answer. */
static void trial_takes_too_long(struct replay *t)
{
	static const char *const parameters[] = {"TimeZone", "CET", NULL};
	struct actor *c, *s;

	replay_start(t, "client_login_timeout = 5");
	c = client_starts(t, "123", parameters);
	s = replay_server(t, 0);
	server_gets(s, PARSE_SETTING, SETTING("TimeZone", "CET"), SYNC, SYNC);
	replay_sleep(t, 6 * US_PER_S);
	client_gets(c, FATAL("57014", "client_login_timeout"));
	is_closed(c);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	is_closed(s);
	assert_int_equal(replay_busy_servers(t), 0);
}

static void server_ends_during_the_trial(struct replay *t)
{
	static const char *const parameters[] = {"TimeZone", "CET", NULL};
	struct actor *c = client_starts(t, "123", parameters), *s = replay_server(t, 0);

	actor_hangs_up(s);
	is_closed(s);
	client_gets(c, FATAL("08006", "server closed the connection"));
	is_closed(c);
}

static void login_while_draining(struct replay *t)
{
	struct actor *c = client_connects(t);

	session_drain(replay_session(t));
	replay_turn(t);
	client_gets(c, FATAL("57P01", "shutting down"));
	is_closed(c);
}

static const struct scenario scenarios[] = {
	SCENARIO(no_encryption_here),
	SCENARIO(each_request_once),
	SCENARIO_WHOLE(bytes_behind_the_ssl_request),
	SCENARIO(tls_is_required_from_afar),
	SCENARIO(lengths_are_checked_first),
	SCENARIO(malformed_parameters),
	SCENARIO(other_protocols),
	SCENARIO(newer_minor_version),
	SCENARIO(many_unknown_options),
	SCENARIO(protocols_that_are_spoken),
	SCENARIO(parameters_that_are_refused),
	SCENARIO_WHOLE(too_many_settings),
	SCENARIO(parameters_that_mean_nothing),
	SCENARIO(names_that_are_not_configured),
	SCENARIO(tokens_that_are_refused),
	SCENARIO(login_waits_for_keys),
	SCENARIO(query_behind_the_token_waits),
	SCENARIO(no_keys_came),
	SCENARIO(unknown_key_asks_again),
	SCENARIO(ends_while_keys_are_awaited),
	SCENARIO(what_is_no_password_message),
	SCENARIO_WHOLE(many_tokens_at_once),
	SCENARIO(long_tokens_are_taken),
	SCENARIO(welcome_says_what_servers_say),
	SCENARIO(everything_in_one_packet),
	SCENARIO(too_many_clients),
	SCENARIO(login_takes_too_long),
	SCENARIO(trial_takes_too_long),
	SCENARIO(server_ends_during_the_trial),
	SCENARIO(login_while_draining),
};

int main(void)
{
	return replay_run("replay/login", scenarios, COUNT_OF(scenarios));
}

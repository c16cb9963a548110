/* Replays of logging in by SASL OAUTHBEARER (RFC 7628): the token in its envelope, the question for
 * where to get one, refusals in two steps, and what is malformed. */
#include <stdio.h>

#include "replay.h"
#include "wire_sasl.h"

#define OAUTH "auth_type = oauth"
#define NAMED_ISSUER OAUTH "\n[oauth]\nissuer = https://id.example\nscope = openid tenant\n"
#define OFFER msg_bytes('R', "\0\0\0\12OAUTHBEARER\0", 17)
#define GO_ON msg_bytes('R', "\0\0\0\13", 4)
#define RESPONSE(text) msg_bytes('p', text, strlen(text))
#define KVSEP RESPONSE("\1")
#define QUESTION "n,,\1auth=\1\1"
#define FAILURE(more) failure("{ \"status\": \"invalid_token\"" more " }")

static struct msg *failure(const char *json)
{
	struct buf b = {0};
	struct msg *m;

	wire_put_sasl_continue(&b, json, strlen(json));
	m = msg_bytes('R', (const char *)b.data + WIRE_HEADER_BYTES, b.len - WIRE_HEADER_BYTES);
	buf_fini(&b);
	return m;
}

/* SASLInitialResponse with a response. */
static struct msg *initial(const char *mechanism, const char *response)
{
	struct buf b = {0};
	struct msg *m;

	buf_put_cstr(&b, mechanism);
	buf_put_be32(&b, (uint32_t)strlen(response));
	buf_put(&b, response, strlen(response));
	m = msg_bytes('p', (const char *)b.data, b.len);
	buf_fini(&b);
	return m;
}

/* Borrowed until the next call. */
static const char *bearer(const char *token)
{
	static char text[20000];

	snprintf(text, sizeof(text), "n,,\1host=x\1auth=Bearer %s\1\1", token);
	return text;
}

static struct actor *is_offered(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c,
	             STARTUP("user", "app", "database", "eav", "options", "-c usher.report=off"));
	client_gets(c, OFFER);
	return c;
}

static void token_gets_in(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	c = is_offered(t);
	client_sends(c, initial(WIRE_OAUTHBEARER, bearer(replay_token(t, "123", NULL))));
	client_is_welcome(c);
	client_sends(c, QUERY("select 1"));
	server_gets(replay_server(t, 0), FIRST_CONTEXT("123"), QUERY("select 1"));
}

/* Without a response in the first message, which is then asked for. */
static void token_in_a_second_message(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	c = is_offered(t);
	client_sends(c, msg_bytes('p', "OAUTHBEARER\0\377\377\377\377", 16));
	client_gets(c, GO_ON);
	client_sends(c, RESPONSE(bearer(replay_token(t, "123", NULL))));
	client_is_welcome(c);
}

/* Whichever is the ini's default. */
static void client_chooses(struct replay *t)
{
	struct actor *c = client_connects(t);

	client_sends(c, STARTUP("user", "app", "database", "eav", "usher.auth", "oauth"));
	client_gets(c, OFFER);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "eav", "options",
	                        "-c Usher.Auth=OAuth --usher.auth=password"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(c);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "usher.auth", "scram-sha-256"));
	client_gets(c, FATAL("22023", "usher.auth"));
	is_closed(c);
}

static void password_where_oauth_is_the_default(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "eav", "usher.auth", "password"));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, "123", NULL)));
	client_is_welcome(c);
}

static void newer_protocol_is_negotiated_before(struct replay *t)
{
	static const char *const parameters[] = {"user", "app", "_pq_.x", "1", NULL};
	struct actor *c;

	replay_start(t, OAUTH);
	c = client_connects(t);
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0 | 9999, parameters));
	client_gets(c, msg_bytes('v', "\0\3\0\2\0\0\0\1_pq_.x", 15), OFFER);
}

/* ---- no ------------------------------------------------------------------------------------ */

static void question_is_answered(struct replay *t)
{
	struct actor *c;

	replay_start(t, NAMED_ISSUER);
	c = is_offered(t);
	client_sends(c, initial(WIRE_OAUTHBEARER, QUESTION));
	client_gets(c, FAILURE(", \"openid-configuration\": "
	                       "\"https://id.example/.well-known/openid-configuration\", "
	                       "\"scope\": \"openid tenant\""));
	is_open(c);
	client_sends(c, KVSEP);
	client_gets(c, FATAL("28000", "no token was given"));
	is_closed(c);
}

static void discovery_document_is_named(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH "\n[oauth]\nissuer = "
	                      "https://id.example/.well-known/oauth-authorization-server\n");
	c = is_offered(t);
	client_sends(c, initial(WIRE_OAUTHBEARER, QUESTION));
	client_gets(c, FAILURE(", \"openid-configuration\": "
	                       "\"https://id.example/.well-known/oauth-authorization-server\""));
}

static void nothing_is_known_of_an_issuer(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	c = is_offered(t);
	client_sends(c, initial(WIRE_OAUTHBEARER, QUESTION));
	client_gets(c, FAILURE(""));
}

/* The reason comes last, as for a password. */
static void token_is_refused(struct replay *t, const char *message, const char *text)
{
	struct actor *c = is_offered(t);

	client_sends(c, initial(WIRE_OAUTHBEARER, message));
	client_gets(c, FAILURE(""));
	client_sends(c, KVSEP);
	client_gets(c, FATAL("28000", text));
	is_closed(c);
}

static void tokens_that_are_refused(struct replay *t)
{
	char *longest = mem_zalloc(AUTH_TOKEN_MAX + 2);

	replay_start(t, OAUTH);
	token_is_refused(t, bearer("secret"), "not a well-formed JWT");
	token_is_refused(t, bearer(""), "not a well-formed JWT");
	token_is_refused(t, "n,,\1auth=Basic YTpi\1\1", "not a well-formed JWT");
	token_is_refused(t, bearer(replay_token(t, NULL, NULL)), "no valid tenant");
	token_is_refused(t, bearer(replay_token(t, "123", "role=other")), "this role");
	token_is_refused(t, bearer(replay_token(t, "123", "exp=1600000000")), "expired");
	token_is_refused(t, bearer(memset(longest, 'a', AUTH_TOKEN_MAX + 1)),
	                 "not a well-formed JWT");
	mem_free(longest);
	assert_int_equal(replay_servers(t), 0);
}

static void good_token_but_no_such_database(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	c = client_connects(t);
	client_sends(c, STARTUP("user", "app", "database", "other"));
	client_gets(c, OFFER);
	client_sends(c, initial(WIRE_OAUTHBEARER, bearer(replay_token(t, "123", NULL))));
	client_gets(c, FATAL("3D000", "\"other\""));
	is_closed(c);
}

/* Behind a refusal nothing gets in any more, not even a good token. */
static void what_follows_a_refusal(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH);
	for (int i = 0; i < 4; i++) {
		struct msg *const wrong[] = {
			RESPONSE("\1\1"), RESPONSE(""), RESPONSE("x"),
			initial(WIRE_OAUTHBEARER, bearer(replay_token(t, "123", NULL)))};

		c = is_offered(t);
		client_sends(c, initial(WIRE_OAUTHBEARER, bearer("secret")));
		client_gets(c, FAILURE(""));
		client_sends(c, wrong[i]);
		client_gets(c, FATAL("08P01", "malformed OAUTHBEARER message"));
		is_closed(c);
	}
	c = is_offered(t);
	client_sends(c, initial(WIRE_OAUTHBEARER, QUESTION));
	client_gets(c, FAILURE(""));
	actor_hangs_up(c);
	is_closed(c);
}

/* ---- malformed ------------------------------------------------------------------------------ */

static void what_is_no_response(struct replay *t)
{
	struct {
		struct msg *msg;
		const char *code, *text;
	} bad[] = {
		{QUERY("select 1"), "08P01", "protocol"},
		{RESPONSE(""), "08P01", "protocol"},
		{RESPONSE("OAUTHBEARER"), "08P01", "protocol"},
		{PASSWORD(replay_token(t, "123", NULL)), "08P01", "protocol"},
		{HEADER('p', 4 + 16384 + 1024 + 1), "08P01", "protocol"},
		{initial("SCRAM-SHA-256", "n,,n=,r=abc"), "08P01", "invalid SASL authentication"},
		{initial("oauthbearer", bearer("x")), "08P01", "invalid SASL authentication"},
		{initial(WIRE_OAUTHBEARER, ""), "08P01", "malformed OAUTHBEARER"},
		{initial(WIRE_OAUTHBEARER, "\1"), "08P01", "malformed OAUTHBEARER"},
		{initial(WIRE_OAUTHBEARER, "p=x,,\1auth=Bearer a\1\1"), "08P01", "malformed OAUTH"},
		{initial(WIRE_OAUTHBEARER, "n,,\1auth=Bearer a\1"), "08P01", "malformed OAUTH"},
		{initial(WIRE_OAUTHBEARER, "n,a=b,\1auth=Bearer a\1\1"), "0A000",
	         "authorization id"},
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct actor *c = client_connects(t);

		client_sends(c, STARTUP("user", "app", "database", "eav", "usher.auth", "oauth"));
		client_gets(c, OFFER);
		client_sends(c, bad[i].msg);
		client_gets(c, FATAL(bad[i].code, bad[i].text));
		is_closed(c);
	}
}

/* ---- TLS ---------------------------------------------------------------------------------------- */

/* The same rule as for passwords: where every issuer wants TLS, no token is asked for without; else
 * the token's own issuer says. */
static void tokens_in_plain_text(struct replay *t)
{
	struct peer peer = {.text = "192.0.2.1:5000"};
	struct actor *c;

	replay_start(t, OAUTH WITH_URL_KEYS "require_tls = no\n");
	c = client_connects_from(t, &peer);
	client_sends(c, STARTUP("user", "app", "database", "eav"));
	client_gets(c, OFFER);
	client_sends(c, initial(WIRE_OAUTHBEARER, bearer(replay_token(t, "123", NULL))));
	client_gets(c, FAILURE(""));
	client_sends(c, KVSEP);
	client_gets(c, FATAL("28000", "must come over TLS"));
	is_closed(c);
	c = client_connects_from(t, &peer);
	client_sends(c, STARTUP("user", "app", "database", "eav"));
	client_gets(c, OFFER);
	client_sends(c, initial(WIRE_OAUTHBEARER, bearer(replay_token(t, "123", "iss=url"))));
	keys_fetched(t, true, true);
	client_is_welcome(c);
}

static void nothing_is_asked_for_in_plain_text(struct replay *t)
{
	struct peer peer = {.text = "192.0.2.1:5000"};
	struct actor *c;

	replay_start(t, OAUTH);
	c = client_connects_from(t, &peer);
	client_sends(c, STARTUP("user", "app", "database", "eav"));
	client_gets(c, FATAL("28000", "TLS is required"));
	is_closed(c);
}

/* ---- waiting ---------------------------------------------------------------------------------- */

/* The message is kept meanwhile, whichever of the two it is. */
static void login_waits_for_keys(struct replay *t)
{
	struct actor *c;

	replay_start(t, OAUTH WITH_URL_KEYS);
	for (int i = 0; i < 2; i++) {
		c = is_offered(t);
		if (i == 0) {
			client_sends(c, msg_bytes('p', "OAUTHBEARER\0\377\377\377\377", 16));
			client_gets(c, GO_ON);
			client_sends(c, RESPONSE(bearer(replay_token(t, "123", "iss=url"))));
			gets_nothing(c);
			keys_fetched(t, false, true);
			client_gets(c, FAILURE(""));
			client_sends(c, KVSEP);
			client_gets(c, FATAL("28000", "no keys are loaded yet"));
		} else {
			client_sends(c, initial(WIRE_OAUTHBEARER,
			                        bearer(replay_token(t, "123", "iss=url"))));
			gets_nothing(c);
			keys_fetched(t, true, true);
			client_is_welcome(c);
		}
	}
}

static void who_says_nothing_is_ended(struct replay *t)
{
	struct actor *offered, *refused;

	replay_start(t, "client_login_timeout = 5\n" OAUTH);
	offered = is_offered(t);
	refused = is_offered(t);
	client_sends(refused, initial(WIRE_OAUTHBEARER, bearer("secret")));
	client_gets(refused, FAILURE(""));
	replay_sleep(t, 6 * US_PER_S);
	client_gets(offered, FATAL("57014", "client_login_timeout"));
	is_closed(offered);
	client_gets(refused, FATAL("57014", "client_login_timeout"));
	is_closed(refused);
}

static const struct scenario scenarios[] = {
	SCENARIO(token_gets_in),
	SCENARIO(token_in_a_second_message),
	SCENARIO(client_chooses),
	SCENARIO(password_where_oauth_is_the_default),
	SCENARIO(newer_protocol_is_negotiated_before),
	SCENARIO(question_is_answered),
	SCENARIO(discovery_document_is_named),
	SCENARIO(nothing_is_known_of_an_issuer),
	SCENARIO_WHOLE(tokens_that_are_refused),
	SCENARIO(good_token_but_no_such_database),
	SCENARIO(what_follows_a_refusal),
	SCENARIO(what_is_no_response),
	SCENARIO(tokens_in_plain_text),
	SCENARIO(nothing_is_asked_for_in_plain_text),
	SCENARIO(login_waits_for_keys),
	SCENARIO(who_says_nothing_is_ended),
};

int main(void)
{
	return replay_run("replay/sasl", scenarios, COUNT_OF(scenarios));
}

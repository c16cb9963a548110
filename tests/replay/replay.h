/* Scripted byte exchanges against the real session, backend, pool, sql and auth code, with
 * streams, dialer and clock of the test's: no sockets, no threads.
 *
 *	static void context_goes_first(struct replay *t)
 *	{
 *		struct actor *c, *s;
 *
 *		replay_warm(t, &c, &s);
 *		client_sends(c, QUERY("select 1"));
 *		server_gets(s, CONTEXT("123"), QUERY("select 1"));
 *		server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
 *		client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
 *	}
 *
 * An actor is one end of a connection that the test plays: a client's or a server's. What PgUsher
 * wrote to it is compared byte for byte, and all of it: gets() takes everything that has come.
 * Every scenario is run in each enum replay_mode: whole, and cut at every byte in both
 * directions. All that a test makes is freed by its teardown.
 *
 * world.c has the environment, replica.c a second node, actor.c the streams and libpq's functions, message.c builds
 * messages, compare.c compares and prints them. */
#ifndef PGUSHER_TESTS_REPLAY_H
#define PGUSHER_TESTS_REPLAY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "session.h"

enum replay_mode {
	REPLAY_WHOLE, /* reads give all there is, writes take all */
	REPLAY_BYTES, /* every byte comes by itself, with its own event */
	REPLAY_DRIP,  /* all is there, but each read gives one byte */
	REPLAY_TIGHT, /* writes take one byte, the rest waits for room, byte after byte */
	REPLAY_MODES
};

/* What an actor is sent or sends; made by the macros below, freed with the test. */
struct msg;

struct actor {
	struct replay *t;
	char name[24];
	bool is_server;
	struct stream *stream; /* NULL: PgUsher has closed it */
	struct client *client; /* NULL: a server's */
	struct buf in;         /* written by PgUsher, not looked at yet */
	struct buf out;        /* for PgUsher to read */
	size_t may_read;       /* of out: what has arrived */
	size_t room;           /* what it takes until the next event; SIZE_MAX: all */
	bool is_stopped;       /* takes nothing */
	bool is_eof, is_broken;
	bool is_standby;      /* on a server: it is at node b of WITH_REPLICA */
	unsigned n_writes;    /* since the last server_gets, client_gets */
	uint32_t pid, secret; /* a client's cancel key; with protocol 3.2 it is: */
	struct wire_cancel key;
	/* On a server, learned from Parse: how the random names begin of PgUsher's own statements,
	 * and of those that it prepares for clients. */
	char ours[32], theirs[32];
};

/* ---- a scenario's world ----------------------------------------------------------------- */

struct replay;

struct scenario {
	const char *name;
	void (*play)(struct replay *t);
	unsigned modes; /* bits 1 << enum replay_mode */
};
#define EVERY_WAY ((1u << REPLAY_MODES) - 1)
#define SCENARIO(fn)                                                                               \
	{                                                                                          \
		.play = fn, .name = #fn, .modes = EVERY_WAY                                        \
	}
/* For scenarios about amounts of bytes or about writing itself. */
#define SCENARIO_WHOLE(fn)                                                                         \
	{                                                                                          \
		.play = fn, .name = #fn, .modes = 1u << REPLAY_WHOLE                               \
	}
/* For scenarios in which it matters that a write is taken at once. */
#define SCENARIO_ROOMY(fn)                                                                         \
	{                                                                                          \
		.play = fn, .name = #fn, .modes = EVERY_WAY & ~(1u << REPLAY_TIGHT)                \
	}
/* Runs all of them in all their modes; main's result. */
int replay_run(const char *group, const struct scenario *scenarios, size_t n);

/* Begins, with these lines more in [pgusher]; needed only where the defaults do not do. */
void replay_start(struct replay *t, const char *ini);
/* A logged-in client of tenant 123 and an idle server that has the context's statement. */
void replay_warm(struct replay *t, struct actor **client, struct actor **server);
/* BEGIN and one statement of such a client's: a transaction is open and has its context. */
void replay_open_block(struct actor *c, struct actor *s);
enum replay_mode replay_mode(const struct replay *t);
struct session_env *replay_session(struct replay *t);
size_t replay_busy_servers(const struct replay *t);

/* Lets time pass on both clocks, timers included. */
void replay_sleep(struct replay *t, int64_t us);
/* Runs what waits in the mailbox and at the loop's edge. */
void replay_turn(struct replay *t);

/* ---- clients ---------------------------------------------------------------------------- */

/* Has connected and said nothing yet. */
struct actor *client_connects(struct replay *t);
struct actor *client_connects_from(struct replay *t, const struct peer *peer);
/* Logs in as role app with a token of this tenant; a server is dialed if need be. With usher.report
 * off, unless the startup parameters say otherwise: where statements ran is told by test_wish.c. */
struct actor *client_logs_in(struct replay *t, const char *tenant);
/* The same with startup parameters, "name", "value", ..., NULL. Up to the Password message. */
struct actor *client_starts(struct replay *t, const char *tenant, const char *const *parameters);
/* AuthenticationOk, parameters, a cancel key (kept in c), ReadyForQuery have come. */
#define client_is_welcome(c) client_is_welcome_at((c), __FILE__, __LINE__)
void client_is_welcome_at(struct actor *c, const char *file, int line);
/* The value of a ParameterStatus among what came with the welcome; NULL: none. */
const char *client_was_told(const struct actor *c, const char *parameter);
/* A token of role app; extra claim "name=value" or NULL. */
const char *replay_token(struct replay *t, const char *tenant, const char *claim);
/* A CancelRequest on a connection of its own, which is returned. */
struct actor *client_cancels(struct replay *t, uint32_t pid, uint32_t secret);
struct actor *client_cancels_with(struct replay *t, const struct wire_cancel *key);
/* For replay_start: tokens with the claim iss=url are checked under keys that are fetched; there are
 * none at first. */
#define WITH_URL_KEYS                                                                              \
	"\n[jwt url]\nissuer = url\njwks_url = https://localhost/k\nalgorithms = HS256\nleeway = " \
	"0\n"
/* How many logins wait for them. */
size_t keys_awaited(const struct replay *t);
/* The keys have been fetched, or nothing new (come false); tells the one who has waited longest. */
void keys_fetched(struct replay *t, bool come, bool is_final);
/* For replay_start: the database's nodes are a, the primary, and b, a replica that has all there is
 * so far; its lag grows with replay_sleep. */
#define WITH_REPLICA                                                                               \
	"\n[node b]\nhost = b\n[role probe]\ntenant = none\n[freshness]\nprobe_role = probe\n"
/* The replica has answered the probe: it has all that was committed lag_us ago. */
void replica_has(struct replay *t, int64_t lag_us);
/* From now on cancels go to another worker and are answered by session_cancel_done. */
void replay_cancel_elsewhere(struct replay *t);

/* ---- servers ---------------------------------------------------------------------------- */

/* The one that was connected as number i, NULL. */
struct actor *replay_server(struct replay *t, size_t i);
size_t replay_servers(const struct replay *t);
/* From now on dials wait for one of the two below. */
void dials_wait(struct replay *t);
size_t dials_waiting(const struct replay *t);
struct actor *dial_connects(struct replay *t);
void dial_fails(struct replay *t, const char *sqlstate, const char *message);
/* Who the oldest cancel under way is for, NULL: there is none. */
struct actor *cancel_waiting(const struct replay *t);
void cancel_ends(struct replay *t, bool ok);

/* ---- what they do ----------------------------------------------------------------------- */

#define MSGS(...)                                                                                  \
	(struct msg *const[])                                                                      \
	{                                                                                          \
		__VA_ARGS__, NULL                                                                  \
	}
#define client_sends(c, ...) actor_sends((c), MSGS(__VA_ARGS__), __FILE__, __LINE__)
#define server_says(s, ...) actor_sends((s), MSGS(__VA_ARGS__), __FILE__, __LINE__)
#define client_gets(c, ...) actor_gets((c), MSGS(__VA_ARGS__), __FILE__, __LINE__)
#define server_gets(s, ...) actor_gets((s), MSGS(__VA_ARGS__), __FILE__, __LINE__)
#define gets_nothing(a) actor_gets((a), (struct msg *const[]){NULL}, __FILE__, __LINE__)
void actor_sends(struct actor *a, struct msg *const *msgs, const char *file, int line);
void actor_gets(struct actor *a, struct msg *const *msgs, const char *file, int line);
/* Closes its end (FIN), or breaks off (RST). */
void actor_hangs_up(struct actor *a);
void actor_breaks(struct actor *a);
/* Takes no bytes; and again. */
void actor_stops(struct actor *a);
void actor_takes(struct actor *a);

#define is_closed(a) check_closed((a), true, __FILE__, __LINE__)
#define is_open(a) check_closed((a), false, __FILE__, __LINE__)
void check_closed(const struct actor *a, bool closed, const char *file, int line);
/* All that came since the last gets() came in one write (looked at in REPLAY_WHOLE only). */
#define came_in_one_write(a) check_one_write((a), __FILE__, __LINE__)
void check_one_write(const struct actor *a, const char *file, int line);

/* "select 1" there and back, on a server that has the context's statement. */
#define round_trip(c, s, tenant) replay_round_trip((c), (s), (tenant), __FILE__, __LINE__)
void replay_round_trip(struct actor *c, struct actor *s, const char *tenant, const char *file,
                       int line);

/* ---- messages --------------------------------------------------------------------------- */

/* In names these stand for the random prefixes on that server. */
#define OURS(n) "{ours}_" #n
#define STMT(n) "{theirs}_" #n

/* Frontend */
#define QUERY(sql) msg_strings('Q', sql, (const char *)NULL)
#define PARSE(name, sql) msg_parse(name, sql)
#define BIND(...) msg_bind(__VA_ARGS__, (const char *)NULL) /* portal, statement, values */
#define EXECUTE(portal) msg_execute(portal, 0)
#define EXECUTE_ROWS(portal, n) msg_execute(portal, n)
#define DESCRIBE_STATEMENT(name) msg_strings('D', "S" name, (const char *)NULL)
#define DESCRIBE_PORTAL(name) msg_strings('D', "P" name, (const char *)NULL)
#define CLOSE_STATEMENT(name) msg_strings('C', "S" name, (const char *)NULL)
#define CLOSE_PORTAL(name) msg_strings('C', "P" name, (const char *)NULL)
#define SYNC msg_bytes('S', "", 0)
#define FLUSH msg_bytes('H', "", 0)
#define TERMINATE msg_bytes('X', "", 0)
#define COPY_DATA(text) msg_bytes('d', text, strlen(text))
#define COPY_DONE msg_bytes('c', "", 0)
#define COPY_FAIL(text) msg_strings('f', text, (const char *)NULL)
#define FUNCTION_CALL msg_bytes('F', "\0\0\0\1\0\0\0\0\0\0", 10)
#define PASSWORD(token) msg_strings('p', token, (const char *)NULL)

/* Backend */
#define PARSE_COMPLETE msg_bytes('1', "", 0)
#define BIND_COMPLETE msg_bytes('2', "", 0)
#define CLOSE_COMPLETE msg_bytes('3', "", 0)
#define READY(status) msg_byte('Z', status)
#define ROW(...) msg_row(__VA_ARGS__, (const char *)NULL)
#define COMPLETE(tag) msg_strings('C', tag, (const char *)NULL)
#define ROW_DESCRIPTION(name) msg_row_description(name)
#define PARAMETER_DESCRIPTION msg_bytes('t', "\0\0", 2)
#define NO_ROWS msg_bytes('n', "", 0)
#define EMPTY_QUERY msg_bytes('I', "", 0)
#define SUSPENDED msg_bytes('s', "", 0)
#define COPY_IN msg_bytes('G', "\0\0\0", 3)
#define COPY_OUT msg_bytes('H', "\0\0\0", 3)
#define COPY_BOTH msg_bytes('W', "\0\0\0", 3)
#define NOTICE(text) msg_error('N', "NOTICE", "00000", text)
#define SERVER_ERROR(code, text) msg_error('E', "ERROR", code, text)
#define SERVER_FATAL(code, text) msg_error('E', "FATAL", code, text)
#define PARAMETER(name, value) msg_strings('S', name, value, (const char *)NULL)
#define SERVER_PID 4711
#define NOTIFICATION(channel) msg_notification(SERVER_PID + 1, channel)
#define NOTIFICATION_BY(pid, channel) msg_notification(pid, channel)
#define AUTH(code) msg_u32('R', code)
/* Expected only: an ErrorResponse of PgUsher's with this severity and code, whose message has
 * this in it. */
#define REFUSED(code, text) msg_like("ERROR", code, text)
#define FATAL(code, text) msg_like("FATAL", code, text)

/* Bytes as they are, without a header. */
#define RAW(bytes, len) msg_raw(bytes, len)
/* Any type, with a length word that claims this. */
#define HEADER(type, length_word) msg_header(type, length_word)

/* PgUsher's own, where the statement is there already, and the first time. */
#define CONTEXT(tenant) BIND("", OURS(2), tenant), EXECUTE("")
#define CONTEXT_DONE(tenant) BIND_COMPLETE, ROW(tenant), COMPLETE("SELECT 1")
#define PARSE_CONTEXT                                                                              \
	PARSE(OURS(2), "SELECT pg_catalog.set_config('app.current_tenant_id',$1,true)")
#define FIRST_CONTEXT(tenant) PARSE_CONTEXT, CONTEXT(tenant)
#define FIRST_CONTEXT_DONE(tenant) PARSE_COMPLETE, CONTEXT_DONE(tenant)
#define DEFERRED_BEGIN BIND("", OURS(1)), EXECUTE("")
#define DEFERRED_BEGIN_DONE BIND_COMPLETE, COMPLETE("BEGIN")
#define FIRST_DEFERRED_BEGIN PARSE(OURS(1), "BEGIN"), DEFERRED_BEGIN
#define FIRST_DEFERRED_BEGIN_DONE PARSE_COMPLETE, DEFERRED_BEGIN_DONE
#define FIRST_COMMIT PARSE(OURS(7), "COMMIT"), BIND("", OURS(7)), EXECUTE("")
#define FIRST_COMMIT_DONE PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("ROLLBACK")
#define PARSE_SETTING PARSE(OURS(3), "SELECT pg_catalog.set_config($1,$2,false)")
#define SETTING(name, value) BIND("", OURS(3), name, value), EXECUTE("")
#define SETTING_DONE(value) BIND_COMPLETE, ROW(value), COMPLETE("SELECT 1")
/* A Bind that must fail on the server. */
#define REFUSAL BIND("", OURS(0))
#define REFUSAL_FAILS SERVER_ERROR("26000", "prepared statement \"pgu_secret_0\" does not exist")

struct msg *msg_bytes(uint8_t type, const char *body, size_t len);
struct msg *msg_strings(int type, ...) __attribute__((sentinel));
struct msg *msg_byte(uint8_t type, char byte);
struct msg *msg_u32(uint8_t type, uint32_t value);
struct msg *msg_parse(const char *name, const char *sql);
struct msg *msg_bind(const char *portal, const char *statement, ...) __attribute__((sentinel));
struct msg *msg_execute(const char *portal, uint32_t rows);
struct msg *msg_row(const char *first, ...) __attribute__((sentinel));
struct msg *msg_row_description(const char *name);
struct msg *msg_error(uint8_t type, const char *severity, const char *sqlstate, const char *text);
struct msg *msg_notification(uint32_t pid, const char *channel);
struct msg *msg_like(const char *severity, const char *sqlstate, const char *text);
struct msg *msg_raw(const char *bytes, size_t len);
struct msg *msg_header(uint8_t type, uint32_t length_word);
/* A packet before login. */
struct msg *msg_startup(uint32_t code, const char *const *parameters);
#define STARTUP(...) msg_startup(WIRE_PROTOCOL_3_0, (const char *const[]){__VA_ARGS__, NULL})
#define STARTUP_3_2(...) msg_startup(WIRE_PROTOCOL_3_2, (const char *const[]){__VA_ARGS__, NULL})

#endif

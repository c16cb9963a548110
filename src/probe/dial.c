/* One connection attempt: libpq logs in, then the connection is looked over and given to the
 * asker. On the dialer's thread only.
 *
 *   dial_begin ─► LOGIN (PQconnectPoll) ─► attempt_look_over ─► ASK ─► answered
 *
 * ASK asks pg_is_in_recovery() of a server that does not report it, and in any case lets
 * libpq parse what it has read.
 *
 * An attempt owns its PGconn until it answers, and has one event, armed anew (once, for what
 * libpq waits for and until the deadline) after each step: libpq may close its descriptor and
 * open another inside PQconnectPoll, and by then the old one must not be registered. */
#include <event2/event_struct.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf.h"
#include "probe/probe_int.h"

#define ATTEMPT_MAGIC 0x41545450u /* ATTP */

/* A path that no file can have. For libpq an empty file name means a default below $HOME. */
#define NO_FILE "/dev/null/none"

#define SQLSTATE_UNABLE "08001" /* sqlclient_unable_to_establish_sqlconnection */

enum attempt_phase { ATTEMPT_LOGIN, ATTEMPT_ASK };

struct attempt {
	uint32_t magic;
	enum attempt_phase phase;
	struct list link;
	struct dial *order;
	struct event_base *base;
	PGconn *conn;
	struct event event;
	int64_t deadline_us; /* 0: none */
	bool has_answer;     /* to pg_is_in_recovery() */
};

static void attempt_step(struct attempt *a);

/* ---- ends ----------------------------------------------------------------------------- */

static void attempt_free(struct attempt *a)
{
	event_del(&a->event);
	if (a->conn != NULL)
		PQfinish(a->conn);
	list_remove(&a->link);
	OBJ_FINI(a, ATTEMPT_MAGIC);
	mem_free(a);
}

static void dial_fail(struct dial *order, const char *why)
{
	order->conn = NULL;
	memcpy(order->sqlstate, SQLSTATE_UNABLE, sizeof(order->sqlstate));
	snprintf(order->message, sizeof(order->message), "connection to node %s (%s port %u): %s",
	         order->node->name, order->node->host, (unsigned)order->node->port, why);
	mailbox_post(order->reply_to, &order->mail);
}

static void attempt_fail(struct attempt *a, const char *why)
{
	struct dial *order = a->order;

	attempt_free(a);
	dial_fail(order, why);
}

/* As attempt_fail, with what libpq says. */
static void attempt_fail_libpq(struct attempt *a)
{
	struct dial *order = a->order;

	order->conn = NULL;
	dial_error_read(PQerrorMessage(a->conn), order->sqlstate, order->message,
	                sizeof(order->message));
	attempt_free(a);
	mailbox_post(order->reply_to, &order->mail);
}

static void attempt_succeed(struct attempt *a)
{
	struct dial *order = a->order;

	order->conn = a->conn;
	a->conn = NULL;
	memcpy(order->sqlstate, "00000", sizeof(order->sqlstate));
	order->message[0] = '\0';
	attempt_free(a);
	mailbox_post(order->reply_to, &order->mail);
}

/* ---- waiting -------------------------------------------------------------------------- */

static void on_attempt_event(evutil_socket_t fd, short what, void *arg)
{
	struct attempt *a = arg;

	(void)fd;
	OBJ_CHECK(a, ATTEMPT_MAGIC);
	/* A server that trickles bytes keeps the event from timing out, hence the clock. */
	if ((what & EV_TIMEOUT) != 0 || (a->deadline_us != 0 && clock_mono_us() >= a->deadline_us))
		attempt_fail(a, "timed out (server_connect_timeout)");
	else
		attempt_step(a);
}

static void attempt_wait(struct attempt *a, short what)
{
	struct timeval tv = {0, 0};
	int64_t left_us = 0;

	if (a->deadline_us != 0) {
		left_us = a->deadline_us - clock_mono_us();
		if (left_us < 0)
			left_us = 0;
		tv.tv_sec = (time_t)(left_us / US_PER_S);
		tv.tv_usec = (suseconds_t)(left_us % US_PER_S);
	}
	MUST(event_assign(&a->event, a->base, PQsocket(a->conn), what, on_attempt_event, a) == 0);
	MUST(event_add(&a->event, a->deadline_us != 0 ? &tv : NULL) == 0);
}

/* ---- steps ---------------------------------------------------------------------------- */

static bool parameter_is(PGconn *conn, const char *name, const char *value)
{
	const char *is = PQparameterStatus(conn, name);

	return is != NULL && strcmp(is, value) == 0;
}

/* Logged in: is this a connection that the workers can use as they assume? */
static void attempt_look_over(struct attempt *a)
{
	PGconn *conn = a->conn;

	if (PQsetnonblocking(conn, 1) != 0) {
		attempt_fail_libpq(a);
		return;
	}
	/* Our lexer reads SQL as this server does only under these two (design.md 3.7). */
	if (!parameter_is(conn, "standard_conforming_strings", "on")) {
		attempt_fail(a, "standard_conforming_strings is not on");
		return;
	}
	if (!parameter_is(conn, "client_encoding", "UTF8")) {
		attempt_fail(a, "client_encoding is not UTF8");
		return;
	}
	if (PQparameterStatus(conn, "server_encoding") == NULL) {
		attempt_fail(a, "the server does not report server_encoding");
		return;
	}
	if (PQparameterStatus(conn, "in_hot_standby") != NULL) { /* PostgreSQL 14 and later */
		a->order->is_standby = parameter_is(conn, "in_hot_standby", "on");
		a->has_answer = true;
	} else if (PQsendQuery(conn, "SELECT pg_catalog.pg_is_in_recovery()") != 1) {
		attempt_fail_libpq(a);
		return;
	}
	a->phase = ATTEMPT_ASK;
	attempt_step(a);
}

static void attempt_step_login(struct attempt *a)
{
	dial_tls_use(&a->order->conf->pgusher);
	switch (PQconnectPoll(a->conn)) {
	case PGRES_POLLING_READING:
		attempt_wait(a, EV_READ);
		break;
	case PGRES_POLLING_WRITING:
		attempt_wait(a, EV_WRITE);
		break;
	case PGRES_POLLING_OK:
		attempt_look_over(a);
		break;
	default:
		attempt_fail_libpq(a);
		break;
	}
}

static void attempt_take_answer(struct attempt *a, PGresult *result)
{
	if (PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
	    PQnfields(result) == 1) {
		a->order->is_standby = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
		a->has_answer = true;
	}
	PQclear(result);
}

/* PQisBusy has libpq parse what came in one read with the end of the login (a late
 * ParameterStatus, a notice): the worker reads the socket, and would not see it. */
static void attempt_step_ask(struct attempt *a)
{
	PGconn *conn = a->conn;
	PGresult *result;
	PGnotify *notify;
	int unsent = PQflush(conn);

	if (unsent < 0 || (!a->has_answer && PQconsumeInput(conn) != 1)) {
		attempt_fail_libpq(a);
		return;
	}
	while (!PQisBusy(conn)) {
		result = PQgetResult(conn);
		if (result == NULL)
			break;
		attempt_take_answer(a, result);
	}
	if (PQisBusy(conn)) {
		attempt_wait(a, unsent > 0 ? EV_READ | EV_WRITE : EV_READ);
		return;
	}
	while ((notify = PQnotifies(conn)) != NULL)
		PQfreemem(notify);
	if (PQstatus(conn) != CONNECTION_OK)
		attempt_fail_libpq(a);
	else if (!a->has_answer)
		attempt_fail(a, "pg_is_in_recovery() could not be asked");
	else if (PQtransactionStatus(conn) != PQTRANS_IDLE)
		attempt_fail(a, "not idle after the login");
	else
		attempt_succeed(a);
}

static void attempt_step(struct attempt *a)
{
	if (a->phase == ATTEMPT_LOGIN)
		attempt_step_login(a);
	else
		attempt_step_ask(a);
}

/* ---- beginning ------------------------------------------------------------------------ */

static void on_notice(void *arg, const char *text)
{
	(void)arg;
	log_debug("notice from a server during login: %s", text);
}

/* [database *] has no name of its own: without order->dbname it leads nowhere, and not to
 * libpq's default, the database called like the user. */
static const char *dbname_of(const struct dial *order)
{
	if (order->dbname != NULL)
		return order->dbname;
	return conf_database_dbname(order->database, order->database->name);
}

static const char *file_or_none(const char *path)
{
	return path != NULL && path[0] != '\0' ? path : NO_FILE;
}

/* Under allow and prefer nothing is verified: libpq would take a server whose certificate does not
 * fit for one without TLS, and go on in plain text. */
static const char *authorities_of(const struct conf_pgusher *conf)
{
	return conf->server_tls_sslmode >= CONF_TLS_SERVER_REQUIRE ? conf->server_tls_ca_file
	                                                           : NULL;
}

/* Every parameter that decides where to, as whom and how is said, and none is left empty
 * where libpq has a default of its own: it takes an empty one for one not given. A password
 * that is not set is no exception, dialer_new has removed PGPASSWORD. */
static PGconn *connect_start(const struct dial *order)
{
	const struct conf_pgusher *conf = &order->conf->pgusher;
	char port[8];
	const struct {
		const char *key, *value;
	} params[] = {
		{"host", order->node->host},
		{"port", port},
		{"dbname", dbname_of(order)},
		{"user", order->role->name},
		{"password", order->role->password},
		{"passfile", NO_FILE},
		{"sslmode", conf_tls_server_mode_name(conf->server_tls_sslmode)},
		{"sslrootcert", file_or_none(authorities_of(conf))},
		{"ssl_min_protocol_version", dial_tls_lowest(conf->server_tls_protocols)},
		{"ssl_max_protocol_version", dial_tls_highest(conf->server_tls_protocols)},
		{"sslcert", file_or_none(conf->server_tls_cert_file)},
		{"sslkey", file_or_none(conf->server_tls_key_file)},
		{"sslcrl", NO_FILE},
		{"gssencmode", "disable"},
		{"channel_binding", "prefer"},
		{"target_session_attrs", "any"},
		{"keepalives", "1"},
		{"client_encoding", "UTF8"},
		/* An analytics node may be one that can write. */
		{"options", order->node->role == CONF_NODE_ANALYTICS
	                            ? "-c default_transaction_read_only=on"
	                            : " "},
		{"fallback_application_name", "pgusher"},
	};
	const char *keys[COUNT_OF(params) + 1] = {NULL}, *values[COUNT_OF(params) + 1] = {NULL};

	snprintf(port, sizeof(port), "%u", (unsigned)order->node->port);
	for (size_t i = 0; i < COUNT_OF(params); i++) {
		keys[i] = params[i].key;
		values[i] = params[i].value;
	}
	return PQconnectStartParams(keys, values, 0);
}

void dial_begin(struct dial *order, struct event_base *base, struct list *attempts)
{
	int64_t timeout_us = order->conf->pgusher.server_connect_timeout;
	struct attempt *a = mem_zalloc(sizeof(*a));

	OBJ_INIT(a, ATTEMPT_MAGIC);
	a->phase = ATTEMPT_LOGIN;
	a->order = order;
	a->base = base;
	a->deadline_us = timeout_us > 0 ? clock_mono_us() + timeout_us : 0;
	list_push_back(attempts, &a->link);
	MUST(event_assign(&a->event, base, -1, 0, on_attempt_event, a) == 0);
	order->is_standby = false;
	a->conn = connect_start(order);
	MUST(a->conn != NULL);
	PQsetErrorVerbosity(a->conn, PQERRORS_VERBOSE);
	PQsetNoticeProcessor(a->conn, on_notice, NULL);
	if (PQstatus(a->conn) == CONNECTION_BAD)
		attempt_fail_libpq(a);
	else
		attempt_wait(a, EV_WRITE); /* as libpq's manual says for before the first poll */
}

void dial_refuse(struct dial *order)
{
	dial_fail(order, "shutting down");
}

void dial_end_all(struct list *attempts)
{
	struct attempt *a;

	while ((a = LIST_FIRST(attempts, struct attempt, link)) != NULL)
		attempt_fail(a, "shutting down");
}

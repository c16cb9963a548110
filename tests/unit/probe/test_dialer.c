/* The dialer against servers of the test's own: a closed port, a port that never answers, and
 * the fake of fake_pg.h. (The real PostgreSQL is the system tests' affair.) */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "conf.h"
#include "fake_pg.h"
#include "probe/probe_int.h"

#define PASSWORD "sesame-4711"

/* ---- an asker --------------------------------------------------------------------------- */

struct asker {
	struct event_base *base;
	struct mailbox *box;
	struct dialer *dialer;
	struct conf conf;
	struct conf_node node;
	struct conf_database database;
	struct conf_role role;
	int n_answers, n_awaited;
};

static void on_answer(struct mail *mail, void *owner)
{
	struct asker *a = owner;

	(void)mail;
	if (++a->n_answers == a->n_awaited)
		event_base_loopbreak(a->base);
}

static void asker_init(struct asker *a, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->base = event_base_new();
	a->box = mailbox_new(a->base, a);
	a->node.name = "node-1";
	a->node.host = "127.0.0.1";
	a->node.port = port;
	a->database.name = "eav";
	a->database.dbname = "eav_1";
	a->role.name = "app";
	a->role.password = PASSWORD;
	a->conf.pgusher.server_tls_sslmode = CONF_TLS_SERVER_DISABLE;
	a->conf.pgusher.server_connect_timeout = 20 * US_PER_S;
	a->conf.pgusher.server_tls_ca_file = "";
	a->conf.pgusher.server_tls_cert_file = "";
	a->conf.pgusher.server_tls_key_file = "";
	a->conf.pgusher.server_tls_protocols = CONF_TLS_SECURE;
	a->conf.pgusher.server_tls_ciphers = "default";
	a->conf.pgusher.server_tls13_ciphers = "";
	a->dialer = dialer_new();
}

static void asker_fini(struct asker *a)
{
	if (a->dialer != NULL)
		dialer_free(&a->dialer);
	mailbox_free(&a->box);
	event_base_free(a->base);
}

/* Until n answers came; 20 s are the end of it. */
static void asker_await(struct asker *a, int n)
{
	const struct timeval limit = {20, 0};

	a->n_awaited = n;
	event_base_loopexit(a->base, &limit);
	if (a->n_answers < n)
		event_base_loop(a->base, EVLOOP_NO_EXIT_ON_EMPTY);
	assert_int_equal(a->n_answers, n);
}

static void order_init(struct dial *order, struct asker *a)
{
	memset(order, 0, sizeof(*order));
	order->mail.deliver = on_answer;
	order->reply_to = a->box;
	order->conf = &a->conf;
	order->node = &a->node;
	order->database = &a->database;
	order->role = &a->role;
}

static void dial_and_await(struct dial *order, struct asker *a)
{
	order_init(order, a);
	a->n_answers = 0;
	dialer_dial(a->dialer, order);
	asker_await(a, 1);
}

static void cancel_init(struct cancel_order *order, struct asker *a, PGconn *conn)
{
	memset(order, 0, sizeof(*order));
	order->mail.deliver = on_answer;
	order->reply_to = a->box;
	order->conn = conn;
	order->ok = true; /* so that false is an answer */
}

static void assert_failed(const struct dial *order, const char *sqlstate, const char *says)
{
	assert_null(order->conn);
	assert_string_equal(order->sqlstate, sqlstate);
	if (strstr(order->message, says) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", says, order->message);
	assert_null(strchr(order->message, '\n'));
	assert_null(strstr(order->message, PASSWORD));
}

/* The value of a startup parameter, NULL: it was not sent. */
static const char *startup_value(const struct server *s, const char *name)
{
	const char *p = (const char *)s->startup.data, *end = p + s->startup.len;

	while (p < end && *p != '\0') {
		const char *value = p + strlen(p) + 1;

		if (strcmp(p, name) == 0)
			return value;
		p = value + strlen(value) + 1;
	}
	return NULL;
}

static const struct script plain = {.encoding = "UTF8", .strings = "on", .in_standby = "off"};

/* ---- dials ------------------------------------------------------------------------------ */

static void test_login(void **state)
{
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	server_start(&s, &plain);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	assert_false(order.is_standby);
	assert_string_equal(order.sqlstate, "00000");
	assert_string_equal(order.message, "");
	assert_int_equal(PQstatus(order.conn), CONNECTION_OK);
	assert_int_equal(PQisnonblocking(order.conn), 1);
	assert_int_equal(PQtransactionStatus(order.conn), PQTRANS_IDLE);
	assert_string_equal(startup_value(&s, "user"), "app");
	assert_string_equal(startup_value(&s, "database"), "eav_1");
	assert_string_equal(startup_value(&s, "application_name"), "pgusher");
	assert_string_equal(startup_value(&s, "client_encoding"), "UTF8");
	PQfinish(order.conn);
	asker_fini(&a);
	server_stop(&s);
}

/* [database *] and a section without dbname. */
static void test_database_name(void **state)
{
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	server_start(&s, &plain);
	asker_init(&a, s.port);
	order_init(&order, &a);
	order.dbname = "of_the_client host=elsewhere";
	dialer_dial(a.dialer, &order);
	asker_await(&a, 1);
	assert_non_null(order.conn);
	PQfinish(order.conn);
	assert_string_equal(startup_value(&s, "database"), "of_the_client host=elsewhere");
	a.database.dbname = "";
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	PQfinish(order.conn);
	assert_string_equal(startup_value(&s, "database"), "eav");
	asker_fini(&a);
	server_stop(&s);
}

static void test_standby(void **state)
{
	static const struct {
		struct script script;
		bool is_standby;
	} cases[] = {
		{{.encoding = "UTF8", .strings = "on", .in_standby = "on"}, true},
		{{.encoding = "UTF8", .strings = "on", .answer = "t"}, true},
		{{.encoding = "UTF8", .strings = "on", .answer = "f"}, false},
	};
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		server_start(&s, &cases[i].script);
		asker_init(&a, s.port);
		dial_and_await(&order, &a);
		assert_non_null(order.conn);
		assert_int_equal(order.is_standby, cases[i].is_standby);
		assert_int_equal(PQtransactionStatus(order.conn), PQTRANS_IDLE);
		if (cases[i].script.answer != NULL)
			assert_string_equal(s.query, "SELECT pg_catalog.pg_is_in_recovery()");
		PQfinish(order.conn);
		asker_fini(&a);
		server_stop(&s);
	}
}

/* What libpq read behind the end of the login is not lost: it has parsed it. */
static void test_late_parameter(void **state)
{
	struct script script = plain;
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	script.says_more = true;
	server_start(&s, &script);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	assert_string_equal(PQparameterStatus(order.conn, "application_name"), "late");
	PQfinish(order.conn);
	asker_fini(&a);
	server_stop(&s);
}

static void test_unfit_server(void **state)
{
	static const struct {
		struct script script;
		const char *says;
	} cases[] = {
		{{.encoding = "UTF8", .strings = "off", .in_standby = "off"},
	         "standard_conforming_strings is not on"},
		{{.encoding = "UTF8", .in_standby = "off"},
	         "standard_conforming_strings is not on"},
		{{.encoding = "SJIS", .strings = "on", .in_standby = "off"},
	         "client_encoding is not UTF8"},
	};
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		server_start(&s, &cases[i].script);
		asker_init(&a, s.port);
		dial_and_await(&order, &a);
		assert_failed(&order, "08001", cases[i].says);
		asker_fini(&a);
		server_stop(&s);
	}
}

static void test_wrong_password(void **state)
{
	static const char error[] = "SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for "
				    "user \"app\"\0Fauth.c\0L338\0Rauth_failed\0";
	static const struct script script = {
		.asks_password = true, .error = error, .error_len = sizeof(error)};
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	server_start(&s, &script);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_failed(&order, "28P01", "FATAL:  password authentication failed for user \"app\"");
	assert_null(strstr(order.message, "LOCATION"));
	assert_string_equal(s.password, PASSWORD); /* it was sent, and is in no message */
	asker_fini(&a);
	server_stop(&s);
}

/* Nothing of the environment reaches a connection. */
static void test_environment(void **state)
{
	static const char *const leaks[][2] = {
		{"PGTZ", "Asia/Tokyo"},
		{"PGDATESTYLE", "German"},
		{"PGGEQO", "off"},
		{"PGSERVICE", "none"},
		{"PGPASSWORD", "leaked"},
		{"PGOPTIONS", "-c geqo=off"},
		{"PGAPPNAME", "leaked"},
		{"PGHOSTADDR", "::2"},
		{"PGSSLMODE", "verify-full"},
		{"PGCLIENTENCODING", "SQL_ASCII"},
	};
	static const struct script script = {
		.encoding = "UTF8", .strings = "on", .in_standby = "off", .asks_password = true};
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		assert_int_equal(setenv(leaks[i][0], leaks[i][1], 1), 0);
	setenv("PGUSHER_KEPT", "1", 1);
	server_start(&s, &script);
	asker_init(&a, s.port);
	for (size_t i = 0; i < COUNT_OF(leaks); i++)
		assert_null(getenv(leaks[i][0]));
	assert_non_null(getenv("PGUSHER_KEPT"));
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	assert_string_equal(s.password, PASSWORD);
	assert_string_equal(startup_value(&s, "application_name"), "pgusher");
	assert_string_equal(startup_value(&s, "options"), " ");
	assert_null(startup_value(&s, "TimeZone"));
	assert_null(startup_value(&s, "timezone"));
	assert_null(startup_value(&s, "datestyle"));
	assert_null(startup_value(&s, "geqo"));
	PQfinish(order.conn);
	a.role.password = "";
	dial_and_await(&order, &a);
	assert_failed(&order, "08001", "no password supplied");
	asker_fini(&a);
	server_stop(&s);
}

static void test_refused_port(void **state)
{
	struct asker a;
	struct dial order;
	uint16_t port;

	(void)state;
	close(listen_anywhere(&port));
	asker_init(&a, port);
	dial_and_await(&order, &a);
	assert_failed(&order, "08001", "Connection refused");
	asker_fini(&a);
}

static void test_unix_socket_host(void **state)
{
	struct asker a;
	struct dial order;

	(void)state;
	asker_init(&a, 5432);
	a.node.host = "/nonexistent-dir";
	dial_and_await(&order, &a);
	assert_failed(&order, "08001", "/nonexistent-dir/.s.PGSQL.5432");
	asker_fini(&a);
}

static void test_timeout(void **state)
{
	struct asker a;
	struct dial order;
	uint16_t port;
	int64_t began_us;
	int fd = listen_anywhere(&port);

	(void)state;
	asker_init(&a, port);
	a.conf.pgusher.server_connect_timeout = 300 * US_PER_MS;
	began_us = clock_mono_us();
	dial_and_await(&order, &a);
	assert_failed(&order, "08001", "timed out (server_connect_timeout)");
	assert_in_range(clock_mono_us() - began_us, 290 * US_PER_MS, 5 * US_PER_S);
	asker_fini(&a);
	close(fd);
}

static void test_shutdown_answers_dials(void **state)
{
	struct asker a;
	struct dial orders[3];
	uint16_t port;
	int fd = listen_anywhere(&port);

	(void)state;
	asker_init(&a, port);
	for (size_t i = 0; i < COUNT_OF(orders); i++) {
		order_init(&orders[i], &a);
		dialer_dial(a.dialer, &orders[i]);
		if (i == 0)
			usleep(20000); /* one surely begun, the last perhaps not */
	}
	dialer_free(&a.dialer);
	assert_null(a.dialer);
	asker_await(&a, 3);
	for (size_t i = 0; i < COUNT_OF(orders); i++)
		assert_failed(&orders[i], "08001", "shutting down");
	asker_fini(&a);
	close(fd);
}

static void test_idle_dialer_ends(void **state)
{
	struct asker a;

	(void)state;
	asker_init(&a, 1);
	asker_fini(&a);
}

/* ---- cancels ---------------------------------------------------------------------------- */

static void test_cancel(void **state)
{
	struct cancel_order cancels[40]; /* more than go at once */
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	server_start(&s, &plain);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	a.n_answers = 0;
	for (size_t i = 0; i < COUNT_OF(cancels); i++) {
		cancel_init(&cancels[i], &a, order.conn);
		cancels[i].ok = false;
		dialer_cancel(a.dialer, &cancels[i]);
	}
	asker_await(&a, COUNT_OF(cancels));
	for (size_t i = 0; i < COUNT_OF(cancels); i++)
		assert_true(cancels[i].ok);
	asker_fini(&a);
	server_stop(&s);
	assert_int_equal(s.n_cancels, COUNT_OF(cancels));
	PQfinish(order.conn);
}

static void test_cancel_refused(void **state)
{
	struct cancel_order cancel;
	struct server s;
	struct asker a;
	struct dial order;

	(void)state;
	server_start(&s, &plain);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	server_stop(&s);
	cancel_init(&cancel, &a, order.conn);
	a.n_answers = 0;
	dialer_cancel(a.dialer, &cancel);
	asker_await(&a, 1);
	assert_false(cancel.ok);
	PQfinish(order.conn);
	asker_fini(&a);
}

/* A server that does not answer holds up neither the answer, nor other orders, nor the end. */
static void test_cancel_at_a_deaf_server(void **state)
{
	struct cancel_order timely, stuck[40];
	struct server s;
	struct asker a;
	struct dial order, next;
	int64_t began_us = clock_mono_us();

	(void)state;
	server_start(&s, &plain);
	asker_init(&a, s.port);
	dial_and_await(&order, &a);
	assert_non_null(order.conn);
	server_go_deaf(&s);
	cancel_init(&timely, &a, order.conn);
	timely.timeout_us = 300 * US_PER_MS;
	a.n_answers = 0;
	dialer_cancel(a.dialer, &timely);
	asker_await(&a, 1);
	assert_false(timely.ok);
	a.n_answers = 0;
	for (size_t i = 0; i < COUNT_OF(stuck); i++) {
		cancel_init(&stuck[i], &a, order.conn);
		dialer_cancel(a.dialer, &stuck[i]);
	}
	a.node.port = 1; /* nobody listens */
	order_init(&next, &a);
	dialer_dial(a.dialer, &next);
	asker_await(&a, 1);
	assert_failed(&next, "08001", "Connection refused");
	dialer_free(&a.dialer);
	asker_await(&a, 1 + COUNT_OF(stuck));
	for (size_t i = 0; i < COUNT_OF(stuck); i++)
		assert_false(stuck[i].ok);
	assert_in_range(clock_mono_us() - began_us, 0, 15 * US_PER_S);
	PQfinish(order.conn);
	asker_fini(&a);
	server_stop(&s); /* resets what is still waiting there */
	usleep(100000);  /* so that a leak checker finds those threads gone */
}

/* ---- errors ----------------------------------------------------------------------------- */

static void test_error_text(void **state)
{
	static const struct {
		const char *text, *sqlstate, *message;
	} cases[] = {
		{"connection to server at \"h\" (::1), port 5 failed: FATAL:  57P03: starting up\n"
	         "LOCATION:  ProcessStartupPacket, postmaster.c:1\n",
	         "57P03",
	         "connection to server at \"h\" (::1), port 5 failed: FATAL:  starting up"},
		/* the server's language */
		{"connection to server on socket \"/s\" failed: \320\222\320\220:  53300: x\n",
	         "53300", "connection to server on socket \"/s\" failed: \320\222\320\220:  x"},
		/* the last with a code wins, then the last at all */
		{"connection to server at \"a\", port 5 failed: FATAL:  28000: ssl\n"
	         "connection to server at \"a\", port 5 failed: FATAL:  28P01: plain\nDETAIL:  d\n"
	         "connection to server at \"b\", port 5 failed: Connection refused\n\tIs it "
	         "there?\n",
	         "28P01", "connection to server at \"a\", port 5 failed: FATAL:  plain"},
		{"connection to server at \"a\", port 5 failed: Network is unreachable\n"
	         "connection to server at \"b\", port 5 failed: Connection refused\n\tIs it "
	         "there?\n",
	         "08001", "connection to server at \"b\", port 5 failed: Connection refused"},
		{"could not translate host name \"x\" to address: no\r\n", "08001",
	         "could not translate host name \"x\" to address: no "},
		/* looks like a code, and is none */
		{"connection to server at \"a\", port 5 failed: FATAL: 28P01: one space\n", "08001",
	         "connection to server at \"a\", port 5 failed: FATAL: 28P01: one space"},
		{"connection to server at \"a\", port 5 failed: FATAL:  28p01: lower\n", "08001",
	         "connection to server at \"a\", port 5 failed: FATAL:  28p01: lower"},
		{"connection to server at \"a\", port 5 failed: :  28P01: no severity\n", "08001",
	         "connection to server at \"a\", port 5 failed: :  28P01: no severity"},
		{"connection to server at \"a\", port 5 failed: say:  \"FATAL:  28P01: x\"\n",
	         "08001",
	         "connection to server at \"a\", port 5 failed: say:  \"FATAL:  28P01: x\""},
		{"DETAIL failed: FATAL:  28P01: not a head line\n", "08001",
	         "DETAIL failed: FATAL:  28P01: not a head line"},
		{"connection to server at \"a\", port 5 failed: FATAL:  28P01", "08001",
	         "connection to server at \"a\", port 5 failed: FATAL:  28P01"},
		{"connection to server failed: F:  28P01: ", "28P01",
	         "connection to server failed: F:  "},
		{"", "08001", ""},
	};
	char sqlstate[6], message[256];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		dial_error_read(cases[i].text, sqlstate, message, sizeof(message));
		assert_string_equal(sqlstate, cases[i].sqlstate);
		assert_string_equal(message, cases[i].message);
	}
}

/* A line that is too long is cut, not inside a character. */
static void test_error_cut(void **state)
{
	char sqlstate[6], message[8];

	(void)state;
	dial_error_read("1234567890", sqlstate, message, sizeof(message));
	assert_string_equal(message, "1234567");
	dial_error_read("123456\303\244", sqlstate, message, sizeof(message));
	assert_string_equal(message, "123456");
	dial_error_read("12345\303\244", sqlstate, message, sizeof(message));
	assert_string_equal(message, "12345\303\244");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_database_name),
		cmocka_unit_test(test_standby),
		cmocka_unit_test(test_late_parameter),
		cmocka_unit_test(test_unfit_server),
		cmocka_unit_test(test_wrong_password),
		cmocka_unit_test(test_environment),
		cmocka_unit_test(test_refused_port),
		cmocka_unit_test(test_unix_socket_host),
		cmocka_unit_test(test_timeout),
		cmocka_unit_test(test_shutdown_answers_dials),
		cmocka_unit_test(test_idle_dialer_ends),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_refused),
		cmocka_unit_test(test_cancel_at_a_deaf_server),
		cmocka_unit_test(test_error_text),
		cmocka_unit_test(test_error_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

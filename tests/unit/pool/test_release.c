/* A server comes back, in every state that one can be in: nobody else gets it before it is known to
 * be clean, and what is in doubt is closed. */
#include <string.h>

#include "unit/pool/kit.h"

/* A seat with a server, and another that waits for it. */
struct scene {
	struct kit k;
	struct pool *pool;
	struct seat first, next;
	struct server *server;
	struct fake *fake;
};

static void scene_open(struct scene *s)
{
	kit_open(&s->k, 1, 1);
	s->pool = kit_pool(&s->k, 0, 0);
	seat_connected(&s->first, &s->k, "a1", s->pool);
	s->server = s->first.server;
	s->fake = fake_of(&s->k, s->server);
	seat_init(&s->next, &s->k, "b1");
	assert_false(seat_take(&s->next, s->pool));
	assert_log(&s->k, "granted a1");
}

/* The waiter gives back what it has, or leaves. */
static void scene_close(struct scene *s)
{
	pool_wait_end(&s->next.waiter);
	if (s->next.server != NULL)
		seat_give(&s->next);
	kit_close(&s->k);
}

static void expect_reply(struct server *server, enum expect_kind kind)
{
	struct expect e = {.kind = (uint8_t)kind, .fate = FATE_PASS, .alone = true};

	server_expect(server, &e);
}

/* The client's last Query has left the server in this status. */
static void leave_in(struct scene *s, char status)
{
	expect_reply(s->server, EXPECT_QUERY);
	fake_reply(s->fake, "SELECT 1", status);
	fake_deliver(s->fake);
	assert_int_equal(server_status(s->server), status);
}

static void reply(struct scene *s, const char *tag, char status)
{
	fake_reply(s->fake, tag, status);
	fake_deliver(s->fake);
}

static void assert_granted(struct scene *s)
{
	assert_log(&s->k, "granted b1");
	assert_ptr_equal(s->next.server, s->server);
	assert_true(server_is_quiet(s->server));
	assert_int_equal(server_status(s->server), 'I');
	assert_int_equal(server_note(s->server)->taint, 0);
}

/* The server is gone, and another one is on its way for who waits. */
static void assert_closed(struct scene *s)
{
	assert_log(&s->k, "closed");
	assert_null(s->next.server);
	assert_int_equal(s->k.n_dials, 1);
	assert_int_equal(kit_servers(&s->k, 0), 1);
}

static void assert_nobody_has_it(struct scene *s)
{
	assert_log(&s->k, "");
	assert_true(pool_is_waiting(&s->next.waiter));
	assert_int_equal(pools_busy(s->k.workers[0].pools), 1);
	assert_int_equal(s->k.n_dials, 0);
}

/* ---- clean and dirty ----------------------------------------------------------------------- */

static void test_quiet(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	leave_in(&s, 'I');
	seat_give(&s.first);
	assert_granted(&s);
	assert_queries(s.fake, "");
	scene_close(&s);
}

static void test_in_transaction(void **state)
{
	static const char statuses[] = {'T', 'E'};

	(void)state;
	for (size_t i = 0; i < sizeof(statuses); i++) {
		struct scene s;

		scene_open(&s);
		leave_in(&s, statuses[i]);
		seat_give(&s.first);
		assert_queries(s.fake, "ROLLBACK");
		assert_nobody_has_it(&s);
		reply(&s, "ROLLBACK", 'I');
		assert_granted(&s);
		scene_close(&s);
	}
}

static void test_tainted(void **state)
{
	static const uint8_t taints[] = {TAINT_SCRUB, TAINT_PIN, TAINT_SCRUB | TAINT_PIN};

	(void)state;
	for (size_t i = 0; i < sizeof(taints); i++) {
		struct scene s;

		scene_open(&s);
		leave_in(&s, 'I');
		server_note(s.server)->taint = taints[i];
		seat_give(&s.first);
		assert_queries(s.fake, "DISCARD ALL");
		assert_nobody_has_it(&s);
		reply(&s, "DISCARD ALL", 'I');
		assert_granted(&s);
		scene_close(&s);
	}
}

static void test_tainted_in_transaction(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	leave_in(&s, 'T');
	server_note(s.server)->taint = TAINT_SCRUB;
	seat_give(&s.first);
	assert_queries(s.fake, "ROLLBACK");
	reply(&s, "ROLLBACK", 'I');
	assert_queries(s.fake, "DISCARD ALL");
	assert_nobody_has_it(&s);
	reply(&s, "DISCARD ALL", 'I');
	assert_granted(&s);
	scene_close(&s);
}

/* What DISCARD ALL takes away is not believed to be there any more. */
static void test_scrub_forgets(void **state)
{
	uint8_t digest[SHA256_BYTES] = {1};
	struct server_stmt_ref ref;
	struct scene s;

	(void)state;
	scene_open(&s);
	(void)server_begin(s.server);
	server_prepare(s.server, digest, &ref);
	assert_true(server_end(s.server));
	assert_true(ref.is_new);
	server_note(s.server)->taint = TAINT_SCRUB;
	seat_give(&s.first);
	reply(&s, "DISCARD ALL", 'I');
	assert_granted(&s);
	s.fake->sent.len = 0;
	(void)server_begin(s.server);
	server_prepare(s.server, digest, &ref);
	assert_true(server_end(s.server));
	assert_true(ref.is_new);
	scene_close(&s);
}

/* ---- in doubt ------------------------------------------------------------------------------ */

static void test_doubtful(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	server_note(s.server)->taint = TAINT_DOUBT;
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

static void test_replies_owed(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	expect_reply(s.server, EXPECT_QUERY);
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

/* All replies have come, but no Sync was sent: it would be the next client's transaction. */
static void test_batch_without_sync(void **state)
{
	static const struct {
		enum expect_kind kind;
		uint8_t reply;
	} cases[] = {{EXPECT_PARSE, '1'}, {EXPECT_BIND, '2'}, {EXPECT_EXECUTE, 's'}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct scene s;

		scene_open(&s);
		expect_reply(s.server, cases[i].kind);
		wire_put_bare(&s.fake->said, cases[i].reply);
		fake_deliver(s.fake);
		assert_int_equal(server_status(s.server), 'I');
		seat_give(&s.first);
		assert_closed(&s);
		scene_close(&s);
	}
}

static void test_skipping(void **state)
{
	const struct wire_error e = {.severity = "ERROR", .sqlstate = "XX000", .message = "no"};
	struct scene s;

	(void)state;
	scene_open(&s);
	expect_reply(s.server, EXPECT_BIND);
	wire_put_error(&s.fake->said, &e);
	fake_deliver(s.fake);
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

static void test_half_a_message(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	buf_put(&s.fake->said, "N\0\0\0\x20", 5);
	fake_deliver(s.fake);
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

/* The server does not take what it was sent. */
static void test_backlog(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	s.fake->accept = 2;
	(void)server_begin(s.server);
	server_put_query(s.server, "SELECT 1", FATE_PASS);
	assert_true(server_end(s.server));
	reply(&s, "SELECT 1", 'I');
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

static void test_dropped(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	s.first.server = NULL;
	pool_drop(s.server, CLOSE_SERVER_CONTEXT);
	assert_closed(&s);
	scene_close(&s);
}

static void test_lost_in_use(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	s.fake->end = STREAM_EOF;
	fake_deliver(s.fake);
	assert_int_equal(s.first.n_lost, 1);
	assert_closed(&s);
	scene_close(&s);
}

/* ---- while it is cleaned ------------------------------------------------------------------- */

static void test_lost_while_cleaned(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	leave_in(&s, 'T');
	seat_give(&s.first);
	s.fake->end = STREAM_EOF;
	fake_deliver(s.fake);
	assert_closed(&s);
	scene_close(&s);
}

static void test_cleaning_fails(void **state)
{
	const struct wire_error e = {.severity = "ERROR", .sqlstate = "XX000", .message = "no"};
	struct scene s;

	(void)state;
	scene_open(&s);
	server_note(s.server)->taint = TAINT_SCRUB;
	seat_give(&s.first);
	wire_put_error(&s.fake->said, &e);
	wire_put_ready(&s.fake->said, 'I');
	fake_deliver(s.fake);
	assert_closed(&s);
	scene_close(&s);
}

/* The replies come in many reads of one event: reading goes on until the stream is drained, for
 * nobody says again that there is more. */
static void test_cleaned_in_many_reads(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	leave_in(&s, 'T');
	server_note(s.server)->taint = TAINT_SCRUB;
	s.fake->chunk = 3;
	seat_give(&s.first);
	wire_put_parameter(&s.fake->said, "TimeZone", "UTC");
	reply(&s, "ROLLBACK", 'I');
	assert_queries(s.fake, "ROLLBACK; DISCARD ALL");
	wire_put_parameter(&s.fake->said, "TimeZone", "UTC");
	reply(&s, "DISCARD ALL", 'I');
	assert_granted(&s);
	scene_close(&s);
}

/* Two answers at once, though the second was not asked for yet, are not believed. */
static void test_cleaning_answered_too_soon(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	leave_in(&s, 'T');
	server_note(s.server)->taint = TAINT_SCRUB;
	seat_give(&s.first);
	fake_reply(s.fake, "ROLLBACK", 'I');
	fake_reply(s.fake, "DISCARD ALL", 'I');
	fake_deliver(s.fake);
	assert_closed(&s);
	scene_close(&s);
}

/* ---- cancels ------------------------------------------------------------------------------- */

/* Given back while a cancel for it is under way: it may hit whatever runs, so nothing may run. */
static void test_cancelling_quiet(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_cancel(s.server);
	pool_cancel(s.server);
	assert_int_equal(s.k.n_cancels, 1);
	assert_ptr_equal(s.k.cancels[0]->conn, server_conn(s.server));
	assert_int_equal(s.k.cancels[0]->timeout_us, 10 * US_PER_S);
	leave_in(&s, 'T');
	seat_give(&s.first);
	assert_queries(s.fake, "");
	assert_nobody_has_it(&s);
	kit_cancelled(&s.k, true);
	assert_queries(s.fake, "ROLLBACK");
	assert_nobody_has_it(&s);
	reply(&s, "ROLLBACK", 'I');
	assert_granted(&s);
	assert_int_equal(s.first.n_cancelled, 0);
	scene_close(&s);
}

/* The same with replies still to come: first the cancel, or first the replies. */
static void test_cancelling_busy(void **state)
{
	(void)state;
	for (int replies_first = 0; replies_first < 2; replies_first++) {
		struct scene s;

		scene_open(&s);
		expect_reply(s.server, EXPECT_QUERY);
		pool_cancel(s.server);
		seat_give(&s.first);
		assert_nobody_has_it(&s);
		if (replies_first)
			reply(&s, "SELECT 1", 'I');
		else
			kit_cancelled(&s.k, true);
		assert_nobody_has_it(&s);
		if (replies_first)
			kit_cancelled(&s.k, true);
		else
			reply(&s, "SELECT 1", 'I');
		assert_granted(&s);
		scene_close(&s);
	}
}

/* A large result comes in many reads while the cancel is under way. */
static void test_cancelling_many_reads(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	expect_reply(s.server, EXPECT_QUERY);
	pool_cancel(s.server);
	seat_give(&s.first);
	s.fake->chunk = 5;
	for (int i = 0; i < 100; i++)
		buf_put(&s.fake->said, "D\0\0\0\x0c\0\1\0\0\0\2xy", 13);
	reply(&s, "SELECT 100", 'I');
	assert_nobody_has_it(&s);
	kit_cancelled(&s.k, true);
	assert_granted(&s);
	scene_close(&s);
}

/* It did not get there in time, and may yet: nobody may be hit by it. */
static void test_cancel_failed(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_cancel(s.server);
	leave_in(&s, 'I');
	seat_give(&s.first);
	assert_nobody_has_it(&s);
	kit_cancelled(&s.k, false);
	assert_closed(&s);
	scene_close(&s);
}

/* While the client keeps the server, it is told; the doubt comes out when it is given back. */
static void test_cancel_failed_in_use(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_cancel(s.server);
	kit_cancelled(&s.k, false);
	assert_int_equal(s.first.n_cancelled, 1);
	assert_nobody_has_it(&s);
	seat_give(&s.first);
	assert_closed(&s);
	scene_close(&s);
}

static void test_cancelled_in_use(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_cancel(s.server);
	kit_cancelled(&s.k, true);
	assert_int_equal(s.first.n_cancelled, 1);
	/* Another one may follow. */
	pool_cancel(s.server);
	kit_cancelled(&s.k, true);
	assert_int_equal(s.first.n_cancelled, 2);
	seat_give(&s.first);
	assert_granted(&s);
	scene_close(&s);
}

/* The connection ends under the cancel: what the dialer reads of it stays until the answer. */
static void test_lost_while_cancelling(void **state)
{
	(void)state;
	for (int ok = 0; ok < 2; ok++) {
		struct scene s;

		scene_open(&s);
		pool_cancel(s.server);
		s.fake->end = STREAM_EOF;
		fake_deliver(s.fake);
		assert_int_equal(s.first.n_lost, 1);
		assert_nobody_has_it(&s);
		kit_cancelled(&s.k, ok);
		assert_closed(&s);
		scene_close(&s);
	}
}

static void test_abandoned(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	expect_reply(s.server, EXPECT_QUERY);
	s.first.server = NULL;
	pool_abandon(s.server);
	assert_int_equal(s.k.n_cancels, 1);
	assert_nobody_has_it(&s);
	/* What it still says is nobody's. */
	reply(&s, "SELECT 1", 'I');
	assert_nobody_has_it(&s);
	kit_cancelled(&s.k, true);
	assert_closed(&s);
	assert_int_equal(s.first.n_cancelled, 0);
	scene_close(&s);
}

static void test_abandoned_while_cancelling(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	expect_reply(s.server, EXPECT_QUERY);
	pool_cancel(s.server);
	s.first.server = NULL;
	pool_abandon(s.server);
	assert_int_equal(s.k.n_cancels, 1);
	kit_cancelled(&s.k, true);
	assert_closed(&s);
	scene_close(&s);
}

/* ---- age ----------------------------------------------------------------------------------- */

static void test_lifetime(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	kit_pass(&s.k, 3599 * US_PER_S);
	seat_give(&s.first);
	assert_granted(&s);
	kit_pass(&s.k, 1 * US_PER_S);
	/* In use it may grow older. */
	assert_log(&s.k, "");
	seat_give(&s.next);
	assert_log(&s.k, "closed");
	scene_close(&s);
}

static void test_idle_timeout(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_wait_end(&s.next.waiter);
	seat_give(&s.first);
	kit_pass(&s.k, 599 * US_PER_S);
	assert_log(&s.k, "");
	assert_true(seat_take(&s.next, s.pool));
	seat_give(&s.next);
	/* Used in between: the time counts from there. */
	kit_pass(&s.k, 599 * US_PER_S);
	assert_log(&s.k, "");
	kit_pass(&s.k, 3 * US_PER_S);
	assert_log(&s.k, "closed");
	assert_int_equal(kit_servers(&s.k, 0), 0);
	scene_close(&s);
}

static void test_idle_for_ever(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	s.k.conf.pgusher.server_idle_timeout = 0;
	pool_wait_end(&s.next.waiter);
	seat_give(&s.first);
	kit_pass(&s.k, 3599 * US_PER_S);
	assert_log(&s.k, "");
	kit_pass(&s.k, 3 * US_PER_S);
	assert_log(&s.k, "closed");
	scene_close(&s);
}

/* An idle server says something, and ends. */
static void test_lost_when_idle(void **state)
{
	struct scene s;

	(void)state;
	scene_open(&s);
	pool_wait_end(&s.next.waiter);
	seat_give(&s.first);
	wire_put_parameter(&s.fake->said, "TimeZone", "UTC");
	fake_deliver(s.fake);
	assert_log(&s.k, "");
	assert_true(seat_take(&s.next, s.pool));
	assert_ptr_equal(s.next.server, s.server);
	seat_give(&s.next);
	s.fake->end = STREAM_ERROR;
	fake_deliver(s.fake);
	assert_log(&s.k, "closed");
	assert_int_equal(kit_servers(&s.k, 0), 0);
	scene_close(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_quiet),
		cmocka_unit_test(test_in_transaction),
		cmocka_unit_test(test_tainted),
		cmocka_unit_test(test_tainted_in_transaction),
		cmocka_unit_test(test_scrub_forgets),
		cmocka_unit_test(test_doubtful),
		cmocka_unit_test(test_replies_owed),
		cmocka_unit_test(test_batch_without_sync),
		cmocka_unit_test(test_skipping),
		cmocka_unit_test(test_half_a_message),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_dropped),
		cmocka_unit_test(test_lost_in_use),
		cmocka_unit_test(test_lost_while_cleaned),
		cmocka_unit_test(test_cleaning_fails),
		cmocka_unit_test(test_cleaned_in_many_reads),
		cmocka_unit_test(test_cleaning_answered_too_soon),
		cmocka_unit_test(test_cancelling_quiet),
		cmocka_unit_test(test_cancelling_busy),
		cmocka_unit_test(test_cancelling_many_reads),
		cmocka_unit_test(test_cancel_failed),
		cmocka_unit_test(test_cancel_failed_in_use),
		cmocka_unit_test(test_cancelled_in_use),
		cmocka_unit_test(test_lost_while_cancelling),
		cmocka_unit_test(test_abandoned),
		cmocka_unit_test(test_abandoned_while_cancelling),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_idle_timeout),
		cmocka_unit_test(test_idle_for_ever),
		cmocka_unit_test(test_lost_when_idle),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

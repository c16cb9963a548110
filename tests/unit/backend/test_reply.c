/* The queue of expected replies: every kind of message with every fate, in success and failure. */
#include <string.h>

#include "unit/backend/kit.h"

/* What PostgreSQL answers to each kind (documentation 55.2.3, 55.2.4). */
static void say_success(struct kit *k, enum expect_kind kind)
{
	switch (kind) {
	case EXPECT_PARSE:
		say(k, "1");
		break;
	case EXPECT_BIND:
		say(k, "2");
		break;
	case EXPECT_DESCRIBE:
		say_raw(k, 't', "\0\0", 2);
		say_raw(k, 'T', "\0\0", 2);
		break;
	case EXPECT_EXECUTE:
		say_row(k, "42");
		say_complete(k, "SELECT 1");
		break;
	case EXPECT_CLOSE:
		say(k, "3");
		break;
	case EXPECT_SYNC:
		say_ready(k, 'T');
		break;
	case EXPECT_QUERY:
		say_raw(k, 'T', "\0\0", 2);
		say_row(k, "42");
		say_complete(k, "SELECT 1");
		say(k, "I");
		say_ready(k, 'T');
		break;
	case EXPECT_FUNCTION:
		say_raw(k, 'V', "\0\0\0\0", 4);
		say_ready(k, 'T');
		break;
	}
}

static bool ends_with_ready(enum expect_kind kind)
{
	return kind == EXPECT_SYNC || kind == EXPECT_QUERY || kind == EXPECT_FUNCTION;
}

static const char *const success[] = {"1", "2", "tT", "DC", "3", "Z", "TDCIZ", "VZ"};

static void test_success_passed(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int kind = EXPECT_PARSE; kind <= EXPECT_FUNCTION; kind++) {
		kit_expect(&k, kind, FATE_PASS);
		assert_false(server_is_quiet(k.server));
		say_success(&k, kind);
		kit_deliver(&k);
		assert_bytes(&k.bytes, &k.said);
		assert_passed(&k, success[kind]);
		assert_log(&k, ends_with_ready(kind) ? "ready T" : "");
		kit_clear(&k);
	}
	assert_int_equal(server_status(k.server), 'T');
	assert_true(server_is_quiet(k.server));
	kit_close(&k);
}

static void test_success_swallowed(void **state)
{
	static const enum expect_fate fates[] = {FATE_SWALLOW, FATE_CONTEXT, FATE_OURS};
	struct kit k;

	(void)state;
	kit_open(&k);
	k.tenant = 42;
	for (size_t i = 0; i < COUNT_OF(fates); i++) {
		for (int kind = EXPECT_PARSE; kind <= EXPECT_FUNCTION; kind++) {
			if (fates[i] == FATE_CONTEXT && kind != EXPECT_EXECUTE)
				continue;
			kit_expect(&k, kind, fates[i]);
			say_success(&k, kind);
			kit_deliver(&k);
			assert_passed(&k, "");
			assert_log(&k, "");
			kit_clear(&k);
		}
	}
	/* It is known to whom it matters all the same. */
	assert_int_equal(server_status(k.server), 'T');
	assert_int_equal(server_note(k.server)->taint, 0);
	kit_close(&k);
}

/* on_reply for success only where it is wanted. */
static void test_tell(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int kind = EXPECT_PARSE; kind <= EXPECT_FUNCTION; kind++) {
		static const char *const want[] = {"parse done",          "bind done",
		                                   "describe done",       "execute done",
		                                   "close done",          "ready T; sync done",
		                                   "ready T; query done", "ready T; function done"};
		struct expect e = {.kind = (uint8_t)kind, .fate = FATE_PASS, .tell = true};

		kit_expect_full(&k, &e);
		say_success(&k, kind);
		kit_deliver(&k);
		assert_log(&k, want[kind]);
		kit_clear(&k);
	}
	kit_close(&k);
}

/* An error pops what it answers, and everything behind it up to Sync is skipped. */
static void test_failure(void **state)
{
	static const char *const names[] = {"parse", "bind", "describe", "execute", "close"};
	static const enum expect_fate fates[] = {FATE_PASS, FATE_SWALLOW, FATE_CONTEXT, FATE_OURS};
	struct kit k;

	(void)state;
	kit_open(&k);
	for (size_t i = 0; i < COUNT_OF(fates) * COUNT_OF(names); i++) {
		enum expect_fate fate = fates[i % COUNT_OF(fates)];
		enum expect_kind kind = (enum expect_kind)(i / COUNT_OF(fates));
		/* We believe what is not so: that a setting is made, that a statement is gone. */
		bool taints = fate == FATE_OURS || (fate == FATE_SWALLOW && kind == EXPECT_CLOSE);
		char want[128];

		server_note(k.server)->taint = 0;
		kit_expect(&k, kind, fate);
		kit_expect(&k, EXPECT_DESCRIBE, FATE_PASS);
		kit_expect(&k, EXPECT_EXECUTE, FATE_SWALLOW);
		kit_expect(&k, EXPECT_SYNC, FATE_PASS);
		say_error(&k, "no");
		say_ready(&k, 'E');
		kit_deliver(&k);
		snprintf(want, sizeof(want),
		         "%s failed; describe skipped; execute skipped; ready E", names[kind]);
		assert_log(&k, want);
		/* Not ours: the client never asked for it. */
		assert_passed(&k, fate == FATE_OURS ? "Z" : "EZ");
		assert_string_equal(server_last_error(k.server), fate == FATE_OURS ? "no" : "");
		k.server->last_error[0] = '\0';
		assert_int_equal(server_note(k.server)->taint, taints ? TAINT_SCRUB : 0);
		kit_clear(&k);
	}
	kit_close(&k);
}

/* An error of what ends with ReadyForQuery does not end it. */
static void test_failure_before_ready(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int kind = EXPECT_SYNC; kind <= EXPECT_FUNCTION; kind++) {
		static const char *const want[] = {[EXPECT_SYNC] = "sync failed",
		                                   [EXPECT_QUERY] = "query failed",
		                                   [EXPECT_FUNCTION] = "function failed"};

		kit_expect(&k, kind, FATE_PASS);
		kit_expect(&k, EXPECT_PARSE, FATE_PASS);
		say_error(&k, "no");
		kit_deliver(&k);
		assert_log(&k, want[kind]);
		assert_passed(&k, "E");
		say_ready(&k, 'I');
		say(&k, "1");
		kit_deliver(&k);
		assert_log(&k, "ready I");
		assert_passed(&k, "Z1");
		kit_clear(&k);
	}
	kit_close(&k);
}

/* What is sent while the server skips is skipped too, until a Sync. */
static void test_sent_while_skipping(void **state)
{
	struct expect answer = {
		.kind = EXPECT_PARSE, .fate = FATE_ANSWER, .answer = '1', .tell = true};
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	say_error(&k, "no");
	kit_deliver(&k);
	assert_log(&k, "bind failed");
	assert_false(server_is_quiet(k.server));
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	assert_log(&k, "execute skipped");
	kit_expect_full(&k, &answer);
	server_answer(k.server);
	assert_log(&k, "parse skipped");
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	assert_log(&k, "");
	/* From here on it listens again. */
	kit_expect(&k, EXPECT_PARSE, FATE_PASS);
	say_ready(&k, 'E');
	say(&k, "1");
	kit_deliver(&k);
	assert_log(&k, "ready E");
	assert_passed(&k, "EZ1");
	kit_close(&k);
}

/* The first of two batches fails, the second was on its way already. */
static void test_only_to_the_next_sync(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int i = 0; i < 3; i++) {
		kit_expect(&k, EXPECT_PARSE, FATE_PASS);
		kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
		kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	}
	say_error(&k, "first");
	say_ready(&k, 'I');
	say(&k, "1");
	say_error(&k, "second");
	say_ready(&k, 'I');
	say(&k, "1");
	say_complete(&k, "SELECT 0");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "parse failed; execute skipped; ready I; execute failed; ready I; ready I");
	assert_passed(&k, "EZ1EZ1CZ");
	assert_true(server_is_quiet(k.server));
	kit_close(&k);
}

/* A Query that the client sent alone, with our context in front, which fails: the server skips the
 * Query and waits for a Sync that no client would send. */
static void test_lone_query_skipped(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_BIND, FATE_SWALLOW);
	kit_expect(&k, EXPECT_EXECUTE, FATE_CONTEXT);
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	say_error(&k, "no");
	kit_deliver(&k);
	assert_log(&k, "bind failed; execute skipped");
	assert_sent(&k, "S");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "ready I");
	assert_passed(&k, "EZ");
	assert_true(server_is_quiet(k.server));
	kit_close(&k);
}

/* One inside the client's own batch is ended by the client's Sync. */
static void test_query_in_batch_skipped(void **state)
{
	struct expect query = {.kind = EXPECT_QUERY, .fate = FATE_PASS};
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	kit_expect_full(&k, &query);
	say_error(&k, "no");
	kit_deliver(&k);
	assert_log(&k, "bind failed; query skipped");
	assert_sent(&k, "");
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "ready I");
	assert_passed(&k, "EZ");
	kit_close(&k);
}

/* ---- answers of our own -------------------------------------------------------------------- */

static void expect_answer(struct kit *k, enum expect_kind kind, uint8_t answer)
{
	struct expect e = {
		.kind = (uint8_t)kind, .fate = FATE_ANSWER, .answer = answer, .tell = true};

	kit_expect_full(k, &e);
	server_answer(k->server);
}

static void test_answer_at_once(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	expect_answer(&k, EXPECT_PARSE, '1');
	expect_answer(&k, EXPECT_CLOSE, '3');
	assert_log(&k, "parse done; close done");
	/* The bytes are static: the owner flushes when it likes. */
	stream_fake_event(server_stream(k.server), true, false);
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_passed(&k, "13Z");
	kit_close(&k);
}

static void test_answer_in_turn(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_PARSE, FATE_PASS);
	expect_answer(&k, EXPECT_CLOSE, '3');
	expect_answer(&k, EXPECT_PARSE, '1');
	kit_expect(&k, EXPECT_BIND, FATE_SWALLOW);
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	expect_answer(&k, EXPECT_CLOSE, '3');
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	assert_log(&k, "");
	say(&k, "12");
	kit_deliver(&k);
	assert_log(&k, "close done; parse done");
	assert_passed(&k, "131");
	say_row(&k, "1");
	say_complete(&k, "SELECT 1");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "close done; ready I");
	assert_passed(&k, "DC3Z");
	kit_close(&k);
}

static void test_answer_skipped(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	expect_answer(&k, EXPECT_CLOSE, '3');
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	expect_answer(&k, EXPECT_PARSE, '1');
	say_error(&k, "no");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "bind failed; close skipped; ready I; parse done");
	assert_passed(&k, "EZ1");
	kit_close(&k);
}

/* The server's error about a statement that does not exist becomes the one that is meant. */
static void test_refuse(void **state)
{
	struct wire_error meant = {.severity = "ERROR", .sqlstate = "42501", .message = "meant"};
	struct buf error = {0}, want = {0};
	struct kit k;

	(void)state;
	kit_open(&k);
	wire_put_error(&error, &meant);
	(void)server_begin(k.server);
	server_put_refusal(k.server, &error, MARK_NONE);
	assert_true(server_end(k.server));
	assert_sent(&k, "B");
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_error(&k, "prepared statement \"refused_by_pgusher\" does not exist");
	say_ready(&k, 'E');
	kit_deliver(&k);
	assert_log(&k, "bind failed; execute skipped; ready E");
	wire_put_error(&want, &meant);
	wire_put_ready(&want, 'E');
	assert_bytes(&k.bytes, &want);
	buf_fini(&error);
	buf_fini(&want);
	kit_close(&k);
}

/* Behind another error it is skipped like everything else, and says nothing. */
static void test_refuse_skipped(void **state)
{
	struct buf error = {0};
	struct kit k;

	(void)state;
	kit_open(&k);
	buf_put_cstr(&error, "must not be seen");
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	(void)server_begin(k.server);
	server_put_refusal(k.server, &error, MARK_NONE);
	assert_true(server_end(k.server));
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_error(&k, "first");
	say_ready(&k, 'E');
	kit_deliver(&k);
	assert_log(&k, "bind failed; bind skipped; ready E");
	assert_passed(&k, "EZ");
	buf_fini(&error);
	kit_close(&k);
}

/* ---- the queue itself ---------------------------------------------------------------------- */

/* It grows while its head is anywhere, and keeps the order. */
static void test_queue_grows(void **state)
{
	struct kit k;

	(void)state;
	for (int before = 0; before < 20; before++) {
		kit_open(&k);
		for (int i = 0; i < before; i++) {
			kit_expect(&k, EXPECT_PARSE, FATE_PASS);
			say(&k, "1");
			kit_deliver(&k);
		}
		kit_clear(&k);
		for (int i = 0; i < 100; i++) {
			kit_expect(&k, EXPECT_PARSE, FATE_SWALLOW);
			kit_expect(&k, EXPECT_BIND, FATE_PASS);
			kit_expect(&k, EXPECT_CLOSE, FATE_SWALLOW);
		}
		for (int i = 0; i < 100; i++)
			say(&k, "123");
		kit_deliver(&k);
		assert_log(&k, "");
		assert_int_equal(k.bytes.len, 100 * WIRE_HEADER_BYTES);
		for (int i = 0; i < 100; i++)
			assert_int_equal(k.bytes.data[i * WIRE_HEADER_BYTES], '2');
		assert_int_equal(k.server->count, 0);
		kit_close(&k);
	}
}

/* ReadyForQuery goes to the client only if its owner says so. */
static void test_ready_held_back(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	k.passes_ready = false;
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	say_complete(&k, "BEGIN");
	say_ready(&k, 'T');
	kit_deliver(&k);
	assert_log(&k, "ready T");
	assert_passed(&k, "C");
	assert_int_equal(server_status(k.server), 'T');
	kit_close(&k);
}

static void test_copy(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	say_raw(&k, 'G', "\0\0\0", 3);
	kit_deliver(&k);
	assert_log(&k, "copy in");
	assert_passed(&k, "G");
	say_complete(&k, "COPY 1");
	say_raw(&k, 'H', "\0\0\0", 3);
	say_raw(&k, 'd', "row\n", 4);
	say_raw(&k, 'd', "row\n", 4);
	say(&k, "c");
	say_complete(&k, "COPY 2");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "ready I");
	assert_passed(&k, "CHddcCZ");
	/* The same bound. */
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_raw(&k, 'G', "\0\0\0", 3);
	say_error(&k, "bad row");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "copy in; execute failed; ready I");
	kit_close(&k);
}

/* PortalSuspended and EmptyQueryResponse end an Execute, NoData a Describe. */
static void test_other_ends(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_DESCRIBE, FATE_PASS);
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_EXECUTE, FATE_SWALLOW);
	kit_expect(&k, EXPECT_CLOSE, FATE_PASS);
	say(&k, "n");
	say_row(&k, "1");
	say(&k, "sI3");
	kit_deliver(&k);
	assert_passed(&k, "nDs3");
	assert_int_equal(k.server->count, 0);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_success_passed),
		cmocka_unit_test(test_success_swallowed),
		cmocka_unit_test(test_tell),
		cmocka_unit_test(test_failure),
		cmocka_unit_test(test_failure_before_ready),
		cmocka_unit_test(test_sent_while_skipping),
		cmocka_unit_test(test_only_to_the_next_sync),
		cmocka_unit_test(test_lone_query_skipped),
		cmocka_unit_test(test_query_in_batch_skipped),
		cmocka_unit_test(test_answer_at_once),
		cmocka_unit_test(test_answer_in_turn),
		cmocka_unit_test(test_answer_skipped),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_refuse_skipped),
		cmocka_unit_test(test_queue_grows),
		cmocka_unit_test(test_ready_held_back),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_other_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
